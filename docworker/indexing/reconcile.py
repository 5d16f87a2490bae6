"""Making the shelf agree with the catalog after a crash, after the shelf was lost, or when a newer chunker cuts otherwise. Never
touches the network."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from docworker import CHUNKER_VERSION
from docworker.chunking import chunk, content_hash
from docworker.indexing.pipeline import OfPage, Tools, put_on_shelf
from docworker.model import Chunk, Document
from docworker.store import chunks, pages, vectors
from docworker.store.catalog import Catalog
from docworker.store.pages import Stored

_log = logging.getLogger(__name__)
_PAGES_AT_ONCE = 50
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Ids by what is wrong with them: on the shelf and listed nowhere, listed and not there, with a wrong note about the
    vector; and the number of pages that an older chunker cut."""

    unknown: frozenset[str]
    missing: frozenset[str]
    misnoted: frozenset[str]
    cut_otherwise: int

    @property
    def agree(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.unknown or self.missing or self.misnoted or self.cut_otherwise)

    @property
    def incomplete(self) -> bool:
        """Whether there is something to put on the shelf."""
        return bool(self.missing or self.cut_otherwise)


async def compare(tools: Tools, others: Collection[Catalog] = ()) -> Disagreement:
    """How shelf and catalog differ. `others` are the catalogs of refreshes, whose chunks may be on the shelf too."""
    on_shelf, with_vector = await tools.shelf.ids(), await tools.shelf.vector_ids()
    listed, noted = await tools.catalog.read(chunks.all_ids), await tools.catalog.read(chunks.all_embedded)
    known = listed.union(*[await other.read(chunks.all_ids) for other in others])
    return Disagreement(
        frozenset((on_shelf | with_vector) - known),
        frozenset(listed - on_shelf),
        frozenset(noted ^ (with_vector & listed)),
        await tools.catalog.read(pages.cut_otherwise),
    )


async def sweep(tools: Tools, others: Collection[Catalog] = ()) -> None:
    """Take off the shelf what no catalog lists, and note which vectors are there.

    Only while no crawl runs: a page adds its rows before it lists them.
    """
    found = await compare(tools, others)
    if found.unknown:
        _log.info("%s chunks of unfinished pages taken off the shelf", len(found.unknown))
        await tools.shelf.remove(found.unknown)
    with_vector = await tools.shelf.vector_ids()
    await tools.catalog.write(chunks.keep_embedded, with_vector)
    for other in others:
        await other.write(chunks.forget_embedded, with_vector)


class Mender:
    """Keeps the shelf whole. `mended` is set while it is: until then no job begins, so that the first mending is undisturbed."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._alone = True
        self.mended = asyncio.Event()

    async def mend_forever(self) -> None:
        """Mend the shelf now, and make it again whenever it turns out to be damaged."""
        tools = self._tools
        while True:
            if tools.shelf.damaged.is_set() and not await tools.shelf.is_whole():
                await tools.shelf.remake()
                await tools.catalog.write(chunks.keep_embedded, set())
            for _ in range(_ROUNDS):  # what a crawl was adding when the shelf was lost is found by the next round
                if not (await compare(tools)).incomplete:
                    break
                await rebuild(tools, alone=self._alone)
            self._alone = False
            self.mended.set()
            await tools.catalog.write(vectors.note_unused, None, tools.now())
            await tools.shelf.damaged.wait()
            self.mended.clear()


async def rebuild(tools: Tools, *, alone: bool = False) -> None:
    """Put back every listed chunk that the shelf lacks, from the pages' stored text; what was cut otherwise is cut anew.

    `alone`: nobody else writes to the shelf, so nothing that it lacks needs to be looked for there, which is much faster.
    """
    on_shelf, with_vector = await tools.shelf.ids(), await tools.shelf.vector_ids()
    seq, restored = 0, 0
    while batch := await tools.catalog.read(pages.documents, seq, _PAGES_AT_ONCE):
        seq = batch[-1].seq
        cut: list[tuple[Stored, Document, Sequence[Chunk]]] = []
        for page in batch:
            if page.document is None:
                _log.warning("the text of %s is damaged; it is asked for again", page.url)
                await tools.catalog.write(pages.lose, page.seq)
            elif page.chunker != CHUNKER_VERSION or not page.chunk_ids or not on_shelf.issuperset(page.chunk_ids):
                cut.append((page, page.document, await asyncio.to_thread(chunk, page.document, page.docset_id, page.url)))
        lacking = [
            OfPage(page.page_id, page.docset_id, page.url, document.title, [one for one in again if one.id not in on_shelf])
            for page, document, again in cut
        ]
        with_vector |= await put_on_shelf(tools, lacking, new=alone, with_vector=with_vector)
        for page, document, again in cut:
            if page.chunker == CHUNKER_VERSION and page.chunk_ids == tuple(one.id for one in again):
                await tools.catalog.write(chunks.mark_embedded, [one.id for one in again if one.id in with_vector])
            else:
                await tools.shelf.remove(await tools.catalog.write(pages.recut, page, again, content_hash(document), with_vector))
        restored += sum(len(page.chunks) for page in lacking)
        tools.listed.set()
    _log.info("shelf mended from the catalog: %s chunks put back or cut anew", restored)
