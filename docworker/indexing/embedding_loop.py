"""Filling in vectors. A listed chunk whose vector is not on the shelf waits, whatever stopped it from getting one.

chunks.waiting → is the text known? → embed → chunks.remember_vectors → shelf.add_vectors → chunks.mark_embedded
"""

import asyncio
import logging

from docworker.chunking import embedded_text
from docworker.embedding.loader import ModelLoader
from docworker.store import chunks
from docworker.store.catalog import Catalog
from docworker.store.chunks import Waiting
from docworker.store.shelf import Row, Shelf, VectorRow

_log = logging.getLogger(__name__)
_BATCH = 128  # about a second of work on two cores: a stop waits no longer, a crash repeats no more


async def embed_forever(catalog: Catalog, shelf: Shelf, model: ModelLoader, listed: asyncio.Event) -> None:
    """Embed whatever waits, each time `listed` is set, for as long as the daemon runs; first wait until there is a model."""
    await model.ready.wait()
    model_id = model.model_id or ""
    if await catalog.write(chunks.adopt_model, model_id):
        _log.info("another embedding model is in use: all vectors are made again")
        await shelf.forget_vectors()
    while True:
        listed.clear()
        after_seq: dict[str, int] = {}
        while waiting := await catalog.read(chunks.waiting, after_seq, _BATCH):
            after_seq[waiting[0].docset_id] = waiting[-1].seq
            await _embed(catalog, shelf, model, model_id, waiting)
        await listed.wait()


async def _embed(catalog: Catalog, shelf: Shelf, model: ModelLoader, model_id: str, waiting: list[Waiting]) -> None:
    """Give chunks their vectors. Each distinct text is embedded once, ever."""
    rows = await shelf.load([chunk.chunk_id for chunk in waiting])
    waiting = [chunk for chunk in waiting if chunk.chunk_id in rows]  # the others come when the shelf is rebuilt
    texts = {chunk.text_hash: _embedded_text(rows[chunk.chunk_id]) for chunk in waiting}
    vectors = await catalog.read(chunks.vectors, model_id, texts)
    unknown = sorted(texts.keys() - vectors.keys(), key=lambda text_hash: len(texts[text_hash]))
    if unknown:
        made = dict(zip(unknown, await model.embed_batch([texts[key] for key in unknown]), strict=True))
        await catalog.write(chunks.remember_vectors, model_id, made)
        vectors |= made
    await shelf.add_vectors([VectorRow(chunk.chunk_id, chunk.docset_id, vectors[chunk.text_hash]) for chunk in waiting])
    gone = await catalog.write(chunks.mark_embedded, [chunk.chunk_id for chunk in waiting])
    await shelf.remove(gone)  # their page changed, or their docset was deleted, while they were embedded


def _embedded_text(row: Row) -> str:
    return embedded_text(row.title, row.path, row.text)
