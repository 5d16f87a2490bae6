"""Filling in vectors. A listed chunk whose vector is not on the shelf waits, whatever stopped it from getting one.

chunks.waiting → is the text known? → embed → vectors.remember → shelf.add_vectors → chunks.mark_embedded
"""

import asyncio
import logging

from docworker.chunking import embedded_text
from docworker.embedding.loader import ModelLoader
from docworker.indexing.pipeline import Tools
from docworker.store import chunks, vectors
from docworker.store.chunks import Waiting
from docworker.store.shelf import Row, VectorRow

_log = logging.getLogger(__name__)
_BATCH = 128  # about a second of work on two cores: a stop waits no longer, a crash repeats no more


async def embed_forever(tools: Tools, model: ModelLoader, mended: asyncio.Event) -> None:
    """Embed whatever waits, each time `listed` is set, for as long as the daemon runs; first wait until there is a model.

    While the shelf is not `mended`, what waits may not be there yet, and most of it gets the vector that it had.
    """
    await model.ready.wait()
    model_id = model.model_id or ""
    if await tools.catalog.read(chunks.shelf_model) not in (None, model_id):
        _log.info("another embedding model is in use: all vectors are made again")
        await tools.shelf.forget_vectors()  # first: a crash must not leave them there as the new model's
    await tools.catalog.write(chunks.adopt_model, model_id)
    while True:
        await mended.wait()
        tools.listed.clear()
        await embed_waiting(tools, model)
        await tools.listed.wait()


async def embed_waiting(tools: Tools, model: ModelLoader) -> None:
    """Embed what waits in the catalog of `tools`. Each distinct text is embedded once, ever, but for a full refresh."""
    after_seq: dict[str, int] = {}
    while waiting := await tools.catalog.read(chunks.waiting, after_seq, _BATCH):
        after_seq[waiting[0].docset_id] = waiting[-1].seq
        await _embed(tools, model, model.model_id or "", waiting)


async def _embed(tools: Tools, model: ModelLoader, model_id: str, waiting: list[Waiting]) -> None:
    rows = await tools.shelf.load([chunk.chunk_id for chunk in waiting])
    waiting = [chunk for chunk in waiting if chunk.chunk_id in rows]  # the others come when the shelf is rebuilt
    texts = {chunk.text_hash: _embedded_text(rows[chunk.chunk_id]) for chunk in waiting}
    known = await tools.catalog.read(vectors.known, model_id, texts)
    if tools.served is not None and not tools.full:
        known = await tools.served.read(vectors.known, model_id, texts) | known
    unknown = sorted(texts.keys() - known.keys(), key=lambda text_hash: len(texts[text_hash]))
    if unknown:
        made = dict(zip(unknown, await model.embed_batch([texts[key] for key in unknown]), strict=True))
        await tools.catalog.write(vectors.remember, model_id, made)
        known |= made
    await tools.shelf.add_vectors([VectorRow(chunk.chunk_id, chunk.docset_id, known[chunk.text_hash]) for chunk in waiting])
    gone = await tools.catalog.write(chunks.mark_embedded, [chunk.chunk_id for chunk in waiting])
    if tools.served is None:
        await tools.shelf.remove(gone)  # their page changed, or their docset was deleted, while they were embedded


def _embedded_text(row: Row) -> str:
    return embedded_text(row.title, row.path, row.text)
