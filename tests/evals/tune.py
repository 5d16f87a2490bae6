"""Which weights rank best, and how well do weights chosen on eight corpora rank the ninth?

    python -m tests.evals.tune [--keep .eval]            after `make eval`: reads its index, asks nothing of a daemon

Searches once for each question of `fixtures/evals`, its corpus alone; then scores what was found with every combination of
weights below, through the very functions that answer questions. Prints the best combinations, the figures of leaving one
corpus out (its questions are ranked with the weights that are best on the others), and the evidence that questions with and
without an answer have, from which the floor of silence is chosen, likewise with one corpus left out.
"""

import argparse
import asyncio
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from docworker.embedding.loader import ModelLoader, ModelSource
from docworker.model import Candidate
from docworker.retrieval.fusion import SPREAD, choose
from docworker.retrieval.scoring import CHOSEN, Weights, score
from docworker.retrieval.search import Found, Question, Searcher
from docworker.store import docsets
from docworker.store.catalog import Catalog
from docworker.store.shelf import Shelf
from docworker.urls import with_anchor
from tests.evals import metrics
from tests.evals.metrics import Gold, Place, place
from tests.evals.questions import CORPORA, base_url, negatives, questions

_ROOT = Path(__file__).parent.parent.parent
_GRID = {
    "covered": (0.7, 1.0, 1.4),
    "page_cosine": (0.5, 1.0, 1.5),
    "page_covered": (0.0, 0.5),
    "per_length": (0.04, 0.08),
}
_COLUMNS = ("nDCG@5", "Hit@1", "Hit@5", "Anchor@5")
_SILENCED = 0.02  # of the questions that have an answer


@dataclass(frozen=True, slots=True)
class Case:
    """A question, or a prompt without an answer (no gold), with what was found for it."""

    corpus: str
    gold: Sequence[Gold]
    found: Found
    places: Mapping[str, Place]


async def collect(keep: Path) -> list[Case]:
    """Search for every question and prompt."""
    catalog = await Catalog.open(keep / "data/catalog.sqlite")
    shelf = await Shelf.open(keep / "data/shelf", 384)
    model = ModelLoader(ModelSource(None, Path(sys.prefix) / "model", download=False, retry_s=60), threads=1)
    loading = asyncio.create_task(model.load_forever())
    await model.ready.wait()
    searcher = Searcher(catalog, shelf, model)
    of_url: dict[str, list[str]] = {}
    for docset in await catalog.read(docsets.all_docsets):
        of_url.setdefault(docset.base_url, []).append(docset.id)
    cases = []
    for corpus in CORPORA:
        ids = of_url[base_url(corpus)]
        asked = [(each.query, each.gold) for each in questions(corpus)] + [(each.query, ()) for each in negatives(corpus)]
        for query, gold in asked:
            found = await searcher.find(Question(query, 5, ids, 3, 32_000, formatted=True))
            rows = await shelf.load([each.chunk_id for each in found.candidates])
            places = {id_: place(with_anchor(row.url, row.anchor)) for id_, row in rows.items()}
            cases.append(Case(corpus, gold, found, places))
    loading.cancel()
    model.close()
    await shelf.close()
    await catalog.close()
    return cases


def figures(case: Case, weights: Weights) -> tuple[float, ...]:
    """The columns for one question, ranked with these weights."""
    scored, _ = score(case.found.candidates, case.found.wanted, weights=weights)
    places = [case.places[each.lead.chunk_id] for each in choose(scored, {}, 5, 3, spread=SPREAD)]
    pages, grade_of = metrics.ranking(places), metrics.grades(case.gold)
    wanted = metrics.relevant(grade_of)
    return (
        metrics.ndcg(pages, grade_of),
        metrics.hit(pages, wanted, 1),
        metrics.hit(pages, wanted, 5),
        metrics.anchored(places, case.gold),
    )


def _means(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(metrics.mean(column) for column in zip(*rows, strict=True))


def _line(name: str, row: Sequence[float]) -> str:
    return f"{name:58}" + "  ".join(f"{column} {value:.3f}" for column, value in zip(_COLUMNS, row, strict=False))


def tune(cases: Sequence[Case]) -> None:
    """Print which weights are best, and what leaving one corpus out costs."""
    answered = [case for case in cases if case.gold]
    combinations = [Weights(**dict(zip(_GRID, values, strict=True))) for values in itertools.product(*_GRID.values())]
    rows = {weights: [figures(case, weights) for case in answered] for weights in {CHOSEN, *combinations}}
    print(_line("as chosen", _means(rows[CHOSEN])))
    for weights in sorted(combinations, key=lambda one: -_means(rows[one])[0])[:5]:
        print(_line(f"  {', '.join(f'{name} {getattr(weights, name)}' for name in _GRID)}", _means(rows[weights])))
    left_out = []
    for corpus in CORPORA:
        others = [number for number, case in enumerate(answered) if case.corpus != corpus]
        best = max(combinations, key=lambda one: _means([rows[one][number] for number in others])[0])
        own = [rows[best][number] for number, case in enumerate(answered) if case.corpus == corpus]
        print(_line(f"  {corpus} with what is best on the others", _means(own)))
        left_out += own
    print(_line("one corpus left out", _means(left_out)))


def silence(cases: Sequence[Case]) -> None:
    """Print what the floor silences, and what one chosen without each corpus does."""
    blind = [replace(case, found=Found(case.found.wanted, _blind(case.found), by_meaning=False)) for case in cases]
    for title, some in (("with vectors", cases), ("words alone", blind)):
        over = [(case, score(case.found.candidates, case.found.wanted, by_meaning=case.found.by_meaning)[1]) for case in some]
        real, none = sorted(e for case, e in over if case.gold), sorted(e for case, e in over if not case.gold)
        silenced, silent = sum(e < 0 for e in real), sum(e < 0 for e in none)
        print(f"silence, {title}")
        print(f"  prompts without an answer: {silent} of {len(none)} silent (recall {silent / len(none):.3f})")
        print(f"  questions: {silenced} of {len(real)} silenced ({silenced / len(real):.3f})")
        print(f"  precision of silence {silent / max(1, silent + silenced):.3f}")
        for what, ordered, shares in (("questions", real, (0.01, 0.02, 0.03, 0.5)), ("others", none, (0.5, 0.9, 0.95))):
            print(f"  over the floor, {what}: {', '.join(f'{share:.0%} {_at(ordered, share):+.3f}' for share in shares)}")
        lost = kept_silent = 0
        for corpus in CORPORA:
            floor = _at(sorted(e for case, e in over if case.gold and case.corpus != corpus), _SILENCED)
            lost += sum(e < floor for case, e in over if case.gold and case.corpus == corpus)
            kept_silent += sum(e < floor for case, e in over if not case.gold and case.corpus == corpus)
        print(f"  one corpus left out: {kept_silent / len(none):.3f} silent, {lost / len(real):.3f} of the questions silenced")


def _blind(found: Found) -> list[Candidate]:
    """What words alone would have found."""
    return [replace(candidate, cosine=None) for candidate in found.candidates if candidate.words]


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[int(share * len(ordered))]


def main() -> None:
    """Collect, then tune."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, default=_ROOT / ".eval", metavar="FOLDER", help="where `make eval` keeps its index")
    cases = asyncio.run(collect(parser.parse_args().keep.absolute()))
    tune(cases)
    silence(cases)


if __name__ == "__main__":
    main()
