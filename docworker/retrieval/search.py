"""Asking both stores and putting the answer together. Owns the order of the steps and the time each takes; what is good is
`scoring`'s, what is shown `fusion`'s, how it is cut `snippets`'."""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from docworker.embedding.loader import ModelLoader
from docworker.model import Candidate, Hit, Passage, Scored, Snippet
from docworker.retrieval import scoring
from docworker.retrieval.fusion import SPREAD, WIDEST_CHARS, choose, fold, fuse
from docworker.retrieval.scoring import Wanted
from docworker.retrieval.snippets import fit
from docworker.settings import Ranking
from docworker.store import chunks
from docworker.store.catalog import Catalog
from docworker.store.shelf import Row, Shelf
from docworker.urls import with_anchor
from docworker.visible import visible, visible_line
from docworker.words import named_words, names, prose, question_words

# How many each search contributes: enough that the cap per page and the fold of equal texts leave 100 of them. More, when most of
# them are what a refresh has put on the shelf and no page lists yet.
_DEPTHS = (200, 1_000, 5_000)
# Below this cosine a passage is about something else: what is nearest to a question that has an answer has .3 to .8.
_MIN_COSINE = 0.25
# Of a long prompt only the words that tell most are searched, as each costs time.
_MAX_WORDS = 48
# Chunks that explain a name: a name that more do is a common word.
_MAX_EXPLAINING = 20
# Passages chosen beyond those asked for, in the place of such as say the same as others.
_SPARE = 5
# Characters that the model sees of a question, about. A longer one is asked without its code, then by its beginning and its end.
_MODEL_SEES = 1_000
# What scores less than this share of the best only fills a list. Of the pages that answer a question of fixtures/evals, and are
# among the first five, 0.4 % do.
_WORTH = 0.5
# In a list of so many places another page is worth more than another passage of the same; in a longer one places are not scarce.
_SHORT_LIST = 10
# How often a question is asked when what it finds is replaced at that moment.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what the answer may be. `docset_ids` is None for all docsets."""

    text: str
    top_k: int
    docset_ids: Collection[str] | None
    max_per_page: int
    max_total_chars: int
    formatted: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Snippets best first. `truncated` says that the budget made one shorter or left one out. `took_ms` is by step."""

    snippets: list[Snippet]
    truncated: bool
    took_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """What the searches found. `by_meaning`: most of what words found could have been found by its vector too."""

    wanted: Wanted
    candidates: Sequence[Candidate]
    by_meaning: bool


@dataclass(slots=True)
class _Stopwatch:
    took_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.took_ms[name] = (time.perf_counter() - begin) * 1e3


class Searcher:
    """Answers questions from the shelf, as far as the catalog vouches for it."""

    def __init__(self, catalog: Catalog, shelf: Shelf, model: ModelLoader, ranking: Ranking = "scored") -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._model = model
        self._ranking = ranking

    async def answer(self, question: Question) -> Answer:
        """Search, score, choose, load, fit. Without a model words answer alone."""
        watch = _Stopwatch()
        for _ in range(_TRIES):
            found = await self.find(question, watch)
            with watch.step("score"):
                scored = self._scored(found)
            with watch.step("choose"):
                passages = await self._choose(scored, question)
            with watch.step("load"):
                rows = await self._shelf.load([id_ for passage in passages for id_ in passage.chunk_ids])
            if all(id_ in rows for passage in passages for id_ in passage.chunk_ids):
                break  # else another text has meanwhile taken the place of what was found
        with watch.step("fit"):
            there = [
                replace(passage, chunk_ids=tuple(id_ for id_ in passage.chunk_ids if id_ in rows))
                for passage in passages
                if passage.lead.chunk_id in rows
            ]
            folded = fold(there, {id_: row.text for id_, row in rows.items()})[: question.top_k]
            snippets, truncated = fit(
                [_hit(passage, rows) for passage in folded], question.max_total_chars, formatted=question.formatted
            )
        return Answer(snippets, truncated, watch.took_ms)

    async def find(self, question: Question, watch: _Stopwatch | None = None) -> Found:
        """All three searches, as far as the catalog lists what they find."""
        watch = watch or _Stopwatch()
        text = question.text if len(question.text) <= _MODEL_SEES else prose(question.text)
        words = question_words(text)
        times, chunk_count = self._shelf.times(words, question.docset_ids)
        wanted = Wanted.of(words, named_words(text), times, chunk_count, _MAX_WORDS)
        for depth in _DEPTHS:
            by_vector, by_words, by_name = await asyncio.gather(
                self._by_vector(text, question, depth, watch),
                self._by_words(wanted, question, depth, watch),
                self._by_name(question, watch),
            )
            with watch.step("catalog"):
                candidates, by_meaning = await self._candidates(by_vector, by_words, by_name)
            met = {*(by_vector or ()), *by_words, *by_name}
            if 2 * len(candidates) >= len(met) or max(len(by_vector or ()), len(by_words)) < depth:
                break
        return Found(wanted, candidates, by_meaning)

    async def _by_vector(self, text: str, question: Question, depth: int, watch: _Stopwatch) -> dict[str, float] | None:
        """Cosines by chunk id; None when nothing can be found by meaning."""
        if self._ranking == "words":
            return None
        with watch.step("embed"):
            vector = await self._model.embed_question(_seen(text))
        if vector is None:
            return None
        with watch.step("vectors"):
            nearest = await self._shelf.search_vector(vector, question.docset_ids, depth)
        return {id_: cosine for id_, cosine in nearest if cosine >= _MIN_COSINE}

    async def _by_words(self, wanted: Wanted, question: Question, depth: int, watch: _Stopwatch) -> dict[str, str]:
        if self._ranking == "vectors" or not wanted.weights:
            return {}
        with watch.step("words"):
            return dict(await self._shelf.search_words(wanted.weights, question.docset_ids, depth))

    async def _by_name(self, question: Question, watch: _Stopwatch) -> dict[str, str]:
        if self._ranking != "scored":
            return {}
        with watch.step("names"):
            return await self._catalog.read(chunks.explaining, names(question.text), question.docset_ids, _MAX_EXPLAINING)

    async def _candidates(
        self, vectors: Mapping[str, float] | None, by_words: Mapping[str, str], by_name: Mapping[str, str]
    ) -> tuple[list[Candidate], bool]:
        """All that was found and the catalog lists; and whether most of what words found could have been found by meaning."""
        by_vector = vectors or {}
        rest = await self._shelf.load([id_ for id_ in by_name if id_ not in by_words])
        words = {**by_words, **{id_: row.words for id_, row in rest.items()}}
        listed = await self._catalog.read(chunks.listed, list(dict.fromkeys([*by_vector, *by_words, *by_name])))
        ranks = {id_: rank for rank, id_ in enumerate((id_ for id_ in by_words if id_ in listed), 1)}
        candidates = [
            Candidate(
                chunk_id=id_,
                page_id=chunk.page_id,
                docset_id=chunk.docset_id,
                ordinal=chunk.ordinal,
                section=chunk.section,
                page_chunks=chunk.page_chunks,
                cosine=by_vector.get(id_),
                word_rank=ranks.get(id_),
                words=words.get(id_, ""),
                name=by_name.get(id_),
            )
            for id_, chunk in listed.items()
        ]
        embedded = sum(listed[id_].embedded for id_ in by_words if id_ in listed)
        return candidates, vectors is not None and 2 * embedded >= len(ranks)

    def _scored(self, found: Found) -> list[Scored]:
        if self._ranking != "scored":
            return _plain(found.candidates)
        scored, evidence = scoring.score(found.candidates, found.wanted, by_meaning=found.by_meaning)
        return [each for each in scored if each.score >= _WORTH * scored[0].score] if evidence >= 0 else []

    async def _choose(self, scored: Sequence[Scored], question: Question) -> list[Passage]:
        places = question.top_k + _SPARE
        if self._ranking != "scored":
            return choose(scored, {}, places, question.max_per_page)
        leads = {(each.candidate.page_id, each.candidate.section) for each in scored[: 3 * places]}
        sections = await self._catalog.read(chunks.sections, leads)
        spread = SPREAD if question.top_k <= _SHORT_LIST else 0.0
        return choose(scored, sections, places, question.max_per_page, spread=spread, widest=WIDEST_CHARS)


def _plain(candidates: Sequence[Candidate]) -> list[Scored]:
    """Candidates by their places in the two searches, or in the one that was asked."""
    by_vector = sorted((one for one in candidates if one.cosine is not None), key=lambda one: (-(one.cosine or 0), one.chunk_id))
    by_words = sorted((one for one in candidates if one.word_rank is not None), key=lambda one: one.word_rank or 0)
    of_id = {one.chunk_id: one for one in candidates}
    fused = fuse([[one.chunk_id for one in by_vector], [one.chunk_id for one in by_words]])
    return [Scored(of_id[id_], score) for id_, score in fused]


def _seen(text: str) -> str:
    """What the model sees of a question: of one that is too long its beginning and its end, where the question stands."""
    half = _MODEL_SEES // 2
    return text if len(text) <= _MODEL_SEES else f"{text[:half]}\n{text[-half:]}"


def _hit(passage: Passage, rows: Mapping[str, Row]) -> Hit:
    """All that is shown of a passage. An older extractor, which kept characters that nobody sees, may have read it, and its site
    may be away: they are removed here too."""
    row, at = rows[passage.lead.chunk_id], passage.chunk_ids.index(passage.lead.chunk_id)
    return Hit(
        chunk_id=row.id,
        page_id=row.page_id,
        docset_id=row.docset_id,
        url=with_anchor(row.url, row.anchor),
        title=visible_line(row.title),
        path=tuple(visible_line(heading) for heading in row.path),
        text=visible(row.text),
        score=passage.score,
        before=tuple(visible(rows[id_].text) for id_ in passage.chunk_ids[:at]),
        after=tuple(visible(rows[id_].text) for id_ in passage.chunk_ids[at + 1 :]),
    )
