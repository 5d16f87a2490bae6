"""Asking both stores and putting the answer together. Owns the order of the steps; the choices are in `fusion`."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from docworker.embedding.loader import ModelLoader
from docworker.model import Candidate, Hit, Snippet
from docworker.retrieval.fusion import choose, fuse
from docworker.retrieval.snippets import fit
from docworker.store import chunks
from docworker.store.catalog import Catalog
from docworker.store.shelf import Row, Shelf
from docworker.urls import with_anchor

# How many each search contributes: enough that the cap per page and the fold of equal texts leave 100 of them.
_DEPTH = 200
# Below this cosine a passage is about something else: the best one had .36 to .76 for questions that the python documentation
# answers, .22 to .50 for prompts that it does not (fixtures/evals, 60 and 40 of them).
_MIN_COSINE = 0.25


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
    """Snippets best first. `truncated` says that the budget made one shorter or left one out."""

    snippets: list[Snippet]
    truncated: bool


class Searcher:
    """Answers questions from the shelf, as far as the catalog vouches for it."""

    def __init__(self, catalog: Catalog, shelf: Shelf, model: ModelLoader) -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._model = model

    async def answer(self, question: Question) -> Answer:
        """Search, fuse, choose, load, fit. Without a model BM25 answers alone."""
        by_vector, by_text = await asyncio.gather(
            self._by_vector(question), self._shelf.search_text(question.text, question.docset_ids, _DEPTH)
        )
        fused = fuse([by_vector, [id_ for id_, _ in by_text]])
        listed = await self._catalog.read(chunks.listed, [id_ for id_, _ in fused])
        candidates = (
            Candidate(id_, listed[id_].page_id, listed[id_].docset_id, listed[id_].text_hash, score)
            for id_, score in fused
            if id_ in listed
        )
        chosen = choose(candidates, question.top_k, question.max_per_page)
        rows = await self._shelf.load([candidate.chunk_id for candidate in chosen])
        hits = [_hit(rows[candidate.chunk_id], candidate) for candidate in chosen if candidate.chunk_id in rows]
        snippets, truncated = fit(hits, question.max_total_chars, formatted=question.formatted)
        return Answer(snippets, truncated)

    async def _by_vector(self, question: Question) -> list[str]:
        vector = await self._model.embed_question(question.text)
        if vector is None:
            return []
        nearest = await self._shelf.search_vector(vector, question.docset_ids, _DEPTH)
        return [id_ for id_, cosine in nearest if cosine >= _MIN_COSINE]


def _hit(row: Row, candidate: Candidate) -> Hit:
    return Hit(
        chunk_id=row.id,
        page_id=row.page_id,
        docset_id=row.docset_id,
        url=with_anchor(row.url, row.anchor),
        title=row.title,
        path=row.path,
        text=row.text,
        score=candidate.score,
    )
