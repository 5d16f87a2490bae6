"""Making the shelf agree with the catalog after a crash, or after the shelf was lost. Never touches the network."""

import asyncio
import logging

from docworker.chunking import chunk
from docworker.indexing.pipeline import Tools, put_on_shelf
from docworker.store import chunks, pages

_log = logging.getLogger(__name__)
_PAGES_AT_ONCE = 20


async def sweep(tools: Tools) -> bool:
    """Take off the shelf what the catalog does not list; returns whether listed ones are missing there.

    Only while no crawl runs: a page adds its rows before it lists them.
    """
    on_shelf, with_vector = await tools.shelf.ids(), await tools.shelf.vector_ids()
    listed = await tools.catalog.read(chunks.all_ids)
    unknown = (on_shelf | with_vector) - listed
    if unknown:
        _log.info("%s chunks of unfinished pages taken off the shelf", len(unknown))
        await tools.shelf.remove(unknown)
    await tools.catalog.write(chunks.keep_embedded, with_vector)
    return bool(listed - on_shelf)


async def rebuild(tools: Tools) -> None:
    """Put back every listed chunk that the shelf lacks, from the pages' stored text."""
    on_shelf = await tools.shelf.ids()
    seq, restored = 0, 0
    while batch := await tools.catalog.read(pages.documents, seq, _PAGES_AT_ONCE):
        for seq, page_id, docset_id, url, document in batch:  # noqa: B007  (the last seq is where to go on)
            listed = set(await tools.catalog.read(pages.chunk_ids, page_id))
            again = await asyncio.to_thread(chunk, document, docset_id, url)
            lacking = [piece for piece in again if piece.id in listed - on_shelf]
            with_vector = await put_on_shelf(tools, page_id, docset_id, url, document.title, lacking)
            await tools.catalog.write(chunks.mark_embedded, sorted(with_vector))
            tools.listed.set()
            restored += len(lacking)
    _log.info("shelf rebuilt from the catalog: %s chunks restored", restored)
