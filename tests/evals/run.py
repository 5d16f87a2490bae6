"""How good is retrieval? Asks a real daemon, with the real model, the questions of `fixtures/evals` over HTTP.

    python -m tests.evals.run [CORPUS …]                     index what is not current below .eval, ask, print, write result.json
    … --compare OLD.json                                     and say which questions got better or worse since
    … --setting NAME=VALUE   --field NAME=JSON               the daemon, or each request, with something more: see Variant

The same index then answers the same questions ranked by BM25 alone, by vectors alone and by plain RRF of the two.
Each question is asked one after the other: with its corpus alone (topK 5; then topK 20 within 2,000, 4,000 and 8,000
characters), and with every corpus of the index at once (topK 5). The prompts that a corpus cannot answer must find nothing.
Documentation is served from what `make corpora` unpacked, at ports from 17501 on, only while it is indexed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from docworker import __version__
from docworker.errors import DocworkerError
from tests.daemon import Daemon
from tests.evals import metrics, report
from tests.evals.kept import Kept, docset_ids, wait_for_vectors
from tests.evals.metrics import Place, place
from tests.evals.questions import CORPORA, Negative, Question, negatives, questions
from tests.evals.report import Asked, Refused

_ROOT = Path(__file__).parent.parent.parent
_BUDGETS = (2_000, 4_000, 8_000)
_PLENTY = 1_000_000
_ABLATIONS = {"BM25 only": "words", "vectors only": "vectors", "plain RRF": "rrf"}
_WARM_UP = ("how to begin", "configuration", "error")


@dataclass(frozen=True, slots=True)
class Variant:
    """What is asked beyond the usual. The place for ablations: settings of the daemon, or fields of each /retrieve."""

    settings: Mapping[str, object] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and how long it took."""

    urls: Sequence[str]
    texts: Sequence[str]
    chars: int
    ms: float

    @property
    def places(self) -> list[Place]:
        """Where the results point to."""
        return [place(url) for url in self.urls]


class Asker:
    """Asks one daemon, one question after the other, over one connection."""

    def __init__(self, url: str, variant: Variant) -> None:
        self._http = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self._fields = variant.fields

    def ask(self, query: str, docset_ids: Sequence[str] | None, top_k: int = 5, budget: int = _PLENTY) -> Answer:
        """`docset_ids` None: all that is indexed."""
        body = {"query": query, "docsetIds": docset_ids, "topK": top_k, "maxTotalChars": budget, "formatSnippets": True}
        begin = time.perf_counter()
        answer = self._http.post("/retrieve", json=body | dict(self._fields))
        ms = (time.perf_counter() - begin) * 1e3
        if answer.is_error:
            raise RuntimeError(f"{query[:80]!r}: {answer.status_code} {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        results = found["results"]
        if found["totalChars"] > budget:
            raise RuntimeError(f"{query[:80]!r}: {found['totalChars']} characters, {budget} were allowed")
        texts = [result["snippet"]["formatted"] for result in results]
        return Answer([result["url"] for result in results], texts, found["totalChars"], ms)

    def question(self, question: Question, docset_ids: Sequence[str]) -> Asked:
        """All that is asked of one question."""
        own, among_all = self.ask(question.query, docset_ids), self.ask(question.query, None)
        scores = _ranked(question, own) | {"silent": float(not own.urls), "chars": float(own.chars)}
        for budget in _BUDGETS:
            within = self.ask(question.query, docset_ids, 20, budget)
            scores[f"Answer@{budget}"] = metrics.holds(within.texts, question.phrase)
            scores[f"chars@{budget}"] = float(within.chars)
        return Asked(
            question.id,
            question.corpus,
            question.intent,
            question.style,
            question.query,
            scores,
            _ranked(question, among_all),
            own.urls,
            among_all.urls,
            round(own.ms, 2),
            round(among_all.ms, 2),
        )

    def negative(self, negative: Negative, docset_ids: Sequence[str]) -> Refused:
        """A prompt that must find nothing."""
        answer = self.ask(negative.query, docset_ids)
        return Refused(negative.id, negative.corpus, negative.query, len(answer.urls), answer.urls, round(answer.ms, 2))

    def close(self) -> None:
        """End the connection."""
        self._http.close()


def _ranked(question: Question, answer: Answer) -> dict[str, float]:
    pages, grade_of = metrics.ranking(answer.places), metrics.grades(question.gold)
    wanted = metrics.relevant(grade_of)
    return {
        "nDCG@5": metrics.ndcg(pages, grade_of),
        "MRR": metrics.reciprocal_rank(pages, wanted),
        "Recall@5": metrics.recall(pages, wanted),
        "Hit@1": metrics.hit(pages, wanted, 1),
        "Hit@3": metrics.hit(pages, wanted, 3),
        "Hit@5": metrics.hit(pages, wanted, 5),
        "Anchor@5": metrics.anchored(answer.places, question.gold),
    }


@dataclass(frozen=True, slots=True)
class Run:
    """All that was asked, and gold pages that the index lacks (which no ranking can find), by question."""

    asked: Sequence[Asked]
    refused: Sequence[Refused]
    missing: Mapping[str, Sequence[str]]


def ask_all(daemon: Daemon, corpora: Sequence[str], variant: Variant) -> Run:
    """Ask every question of the corpora."""
    ids = {corpus: docset_ids(daemon, corpus) for corpus in corpora}
    asked: list[Asked] = []
    refused: list[Refused] = []
    missing: dict[str, list[str]] = {}
    asker = Asker(daemon.url, variant)
    try:
        for corpus in corpora:
            indexed = _indexed(daemon, ids[corpus])
            for query in _WARM_UP:
                asker.ask(query, ids[corpus])
                asker.ask(query, None)
            for question in questions(corpus):
                asked.append(asker.question(question, ids[corpus]))
                lacking = sorted({gold.page for gold in question.gold} - indexed)
                missing |= {question.id: lacking} if lacking else {}
            refused += [asker.negative(negative, ids[corpus]) for negative in negatives(corpus)]
            print(f"{corpus}: asked", file=sys.stderr)
    finally:
        asker.close()
    return Run(asked, refused, missing)


def _indexed(daemon: Daemon, ids: Sequence[str]) -> set[str]:
    """The pages that are indexed."""
    found: set[str] = set()
    for id_ in ids:
        for offset in range(0, sys.maxsize, 500):
            rows = daemon.get(f"/docset/{id_}/pages", status="indexed", limit=500, offset=offset)["pages"]
            found |= {place(row["url"]).page for row in rows}
            if len(rows) < 500:
                break
    return found


def wait_for_model(daemon: Daemon, patience_s: float = 120) -> None:
    """Raises RuntimeError when there is no model: the figures would be those of BM25 alone."""
    deadline = time.monotonic() + patience_s
    while (model := daemon.get("/status")["model"])["state"] != "ready":
        if model["state"] == "unavailable" or time.monotonic() > deadline:
            raise RuntimeError(model["message"] or f"the model is not loaded after {patience_s:.0f} s")
        time.sleep(0.1)


def _summary(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """The tables by their titles."""
    own_ms, all_ms = [each.ms for each in run.asked], [each.ms_all for each in run.asked]
    return {
        "its corpus alone": report.averages(run.asked, lambda each: each.own),
        "all corpora in one index": report.averages(run.asked, lambda each: each.all),
        "prompts without an answer": report.silence(run.refused),
        "latency, topK 5": report.latencies({"its corpus alone": own_ms, "all corpora": all_ms}),
    }


def _run(kept: Kept, corpora: Sequence[str], variant: Variant) -> Run:
    """Ask a daemon of its own."""
    with kept.daemon(**variant.settings) as daemon:
        wait_for_model(daemon)
        wait_for_vectors(daemon, [id_ for corpus in corpora for id_ in docset_ids(daemon, corpus)])
        return ask_all(daemon, corpora, variant)


def _side_by_side(runs: Mapping[str, Run]) -> dict[str, dict[str, float]]:
    """The overall figures of several rankings."""
    rows = {}
    for name, run in runs.items():
        alone, among_all = report.averages(run.asked, lambda each: each.own), report.averages(run.asked, lambda each: each.all)
        silent = report.silence(run.refused).get("overall", {}).get("silent", 0.0)
        rows[name] = alone["overall"] | {"all Hit@5": among_all["overall"]["Hit@5"], "negatives silent": silent}
    return rows


def _evaluate(kept: Kept, corpora: Sequence[str], variant: Variant, *, ablations: bool) -> dict[str, Any]:
    """Ask, and put together what is written."""
    run = _run(kept, corpora, variant)
    runs = {"as it is": run}
    for name, ranking in _ABLATIONS.items() if ablations else ():
        print(f"{name}:", file=sys.stderr)
        runs[name] = _run(kept, corpora, Variant({**variant.settings, "ranking": ranking}, variant.fields))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "docworker": __version__,
        "model": kept.model_id,
        "stamp": kept.stamp,
        "settings": dict(variant.settings),
        "fields": dict(variant.fields),
        "index": {name: asdict(made) for name, made in kept.index.corpora.items()},
        "tables": _summary(run) | {"side by side": _side_by_side(runs)},
        "gold pages that are not indexed": run.missing,
        "questions": {each.id: asdict(each) for each in run.asked},
        "negatives": {each.id: asdict(each) for each in run.refused},
    }


def _show(result: Mapping[str, Any], others: Mapping[str, str]) -> None:
    for title, rows in result["tables"].items():
        print(report.table(title, rows), end="\n\n")
    for name, made in result["index"].items():
        print(f"{name}: {made['pages']} pages, {made['chunks']} chunks, indexed in {made['seconds']} s")
    if others:
        print(f"also in the index, not asked: {', '.join(f'{name} ({state})' for name, state in others.items())}")
    for id_, pages in result["gold pages that are not indexed"].items():
        print(f"{id_}: not indexed: {', '.join(pages)}")


def _compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The differences; first those that are not of retrieval."""
    lines = [f"compared with {before['date']}, docworker {before['docworker']}"]
    lines += [
        f"  {what}: {before[what]} → {now[what]}"
        for what in ("model", "stamp", "settings", "fields")
        if before[what] != now[what]
    ]
    if before["index"].keys() != now["index"].keys():
        lines.append(f"  in the index: {', '.join(before['index'])} → {', '.join(now['index'])}: BM25 weighs words by all of it")
    queries = {id_: each["query"] for id_, each in now["questions"].items()}
    lines.append(report.differences(before["questions"], now["questions"], queries))
    for id_ in now["negatives"].keys() & before["negatives"].keys():
        was, new = before["negatives"][id_]["results"], now["negatives"][id_]["results"]
        if bool(was) != bool(new):
            lines.append(f"  {id_:16} {'silent now' if was else 'no longer silent'}  “{now['negatives'][id_]['query'][:70]}”")
    return "\n".join(lines)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main() -> int:
    """Evaluate the corpora that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*", metavar="CORPUS", help=f"of {', '.join(CORPORA)}; all by default")
    parser.add_argument("--tree", type=Path, default=os.environ.get("CORPORA_TREE", _ROOT / ".corpora/tree"))
    parser.add_argument("--keep", type=Path, default=_ROOT / ".eval", metavar="FOLDER", help="where the index is kept")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the result is written; FOLDER/result.json by default")
    parser.add_argument("--fresh", action="store_true", help="index again even what is current")
    parser.add_argument("--reshelve", action="store_true", help="make the shelf again from the catalog: after a change to it")
    parser.add_argument("--no-ablations", action="store_true", help="only as it is, not BM25, vectors and RRF alone")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="a result of before")
    parser.add_argument("--setting", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="of the daemon")
    parser.add_argument("--field", type=_pair, action="append", default=[], metavar="NAME=JSON", help="of each /retrieve")
    given = parser.parse_args()
    for word in {*given.corpora} - {*CORPORA}:
        parser.error(f"{word} is no corpus of {', '.join(CORPORA)}")
    corpora = [name for name in CORPORA if name in given.corpora or not given.corpora]
    variant = Variant(dict(given.setting), {name: json.loads(value) for name, value in given.field})
    before = json.loads(given.compare.read_text("utf-8")) if given.compare else None  # before it is written over
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemon is ended too
    try:
        kept = Kept(given.keep.absolute())
        kept.bring_up_to_date(corpora, given.tree.absolute(), fresh=given.fresh, reshelve=given.reshelve)
        result = _evaluate(kept, corpora, variant, ablations=not given.no_ablations)
    except (RuntimeError, httpx.HTTPError, subprocess.TimeoutExpired, DocworkerError) as error:
        print(error, file=sys.stderr)
        return 1
    _show(result, kept.others(corpora))
    out = given.out or kept.home / "result.json"
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"written to {out}")
    if before is not None:
        print(f"\n{_compare(before, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
