"""What happens to a page, from the frontier to the shelf.

    pages.claim             one UPDATE … RETURNING with a lease: no page is taken twice, none is lost in a crash
    | fetch                 I/O   → Fetched | Redirected | Refused | Failed       values, not exceptions
    | extract, chunk        pure  → Document, chunks, links                       in a worker process
    | decide                pure  → PageIntent(add, remove, follow)               in the same worker
    | put_on_shelf          I/O   idempotent by chunk id; with the vector if the catalog knows the text's
    | pages.commit_indexed  ONE transaction: chunk list, hash, validators, text, links, state. This is the proof.
    | shelf.remove          I/O   rows that the page no longer has

A crash at any point repeats work and hides none: before the commit the page is still to be done, and what already stands on
the shelf is not listed by the catalog, so no question finds it. Vectors are filled in by `embedding_loop`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from docworker.crawl.fetcher import Fetcher
from docworker.errors import ExtractionFailed
from docworker.indexing.workers import ExtractionWorkers
from docworker.model import (
    Chunk,
    Claim,
    Docset,
    DocsetState,
    Failed,
    Fetched,
    PageIntent,
    PageState,
    Redirected,
    Refused,
)  # fmt: skip
from docworker.store import chunks, docsets, pages
from docworker.store.catalog import Catalog
from docworker.store.shelf import Row, Shelf, VectorRow
from docworker.urls import canonical, in_scope, origin

_log = logging.getLogger(__name__)
# Longer than any page can take: time-outs of every attempt, extraction, and waiting for a worker.
_LEASE_MS = 15 * 60 * 1_000


@dataclass(frozen=True, slots=True)
class CrawlLimits:
    """How many pages a docset may have, and how many of them are worked on at once."""

    max_pages: int
    at_once: int


@dataclass(frozen=True, slots=True)
class Tools:
    """What a crawl works with. `model_id` tells the model in use, None while there is none; `listed` is set when new
    chunks are listed in the catalog, so that their vectors can be made."""

    catalog: Catalog
    shelf: Shelf
    fetcher: Fetcher
    workers: ExtractionWorkers
    limits: CrawlLimits
    now: Callable[[], int]
    model_id: Callable[[], str | None]
    listed: asyncio.Event


class Crawl:
    """One docset's crawl, from what its frontier holds until that is empty."""

    def __init__(self, docset: Docset, tools: Tools) -> None:
        self._docset = docset
        self._tools = tools
        self._max_pages = docset.max_pages or tools.limits.max_pages
        self._stopping = False

    async def run(self, on_page: Callable[[], None]) -> bool:
        """Work until the frontier is empty (True) or `stop` was called (False); `on_page` hears of every page done.

        Cancelled, it gives the pages under way back.
        """
        tools, docset = self._tools, self._docset
        await tools.catalog.write(pages.release, docset.id)
        await tools.catalog.write(docsets.set_state, docset.id, DocsetState.INDEXING, None, tools.now())
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                while len(running) < tools.limits.at_once and not self._stopping:
                    claimed = await tools.catalog.write(pages.claim, docset.id, tools.now(), _LEASE_MS)
                    if claimed is None:
                        break
                    running.add(asyncio.create_task(self._page(claimed), name=claimed.url))
                if not running:
                    break
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # a page's own failures are values: an exception is an outage, and ends the crawl
                    on_page()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if not self._stopping:
            await self._finish()
        return not self._stopping

    def stop(self) -> None:
        """Claim no more pages; `run` returns when those under way are done."""
        self._stopping = True

    async def _finish(self) -> None:
        tools, docset = self._tools, self._docset
        now = tools.now()
        counted = await tools.catalog.read(docsets.counts, docset.id, now)
        indexed = counted.pages.get(PageState.INDEXED, 0)
        seed = await tools.catalog.read(pages.by_url, docset.id, docset.seed_url)
        state = DocsetState.READY if indexed else DocsetState.ERROR
        message = None
        if not indexed:
            message = (seed.message if seed else None) or "No page could be indexed."
        elif left_out := await tools.catalog.read(pages.not_followed, docset.id):
            message = f"The limit of {self._max_pages} pages (max_pages) left out {left_out} more."
        await tools.catalog.write(docsets.finish_crawl, docset.id, state, message, now)
        _log.info("docset %s %s: %s pages indexed, %s chunks%s", docset.id, state, indexed, counted.chunks,
                  f". {message}" if message else "")  # fmt: skip

    async def _page(self, claimed: Claim) -> None:
        begin = time.monotonic()
        try:
            said = await self._work_on(claimed)
        except asyncio.CancelledError:
            await self._tools.catalog.write(pages.give_back, claimed)
            raise
        _log.info("page %s: %s, all in %.2f s", claimed.url, said, time.monotonic() - begin)

    async def _work_on(self, claimed: Claim) -> str:
        outcome = await self._tools.fetcher.fetch(claimed.url)
        match outcome:
            case Fetched():
                return await self._fetched(claimed, outcome)
            case Redirected():
                return await self._moved(claimed, outcome.target)
            case Refused():
                return await self._leave_out(claimed, PageState.SKIPPED, outcome.reason)
            case Failed():
                return await self._leave_out(claimed, PageState.ERROR, outcome.reason)

    async def _fetched(self, claimed: Claim, fetched: Fetched) -> str:
        tools = self._tools
        old_ids = await tools.catalog.read(pages.chunk_ids, claimed.page_id)
        begin = time.monotonic()
        try:
            page, intent = await tools.workers.read(self._docset, fetched, old_ids)
        except ExtractionFailed as error:
            return await self._leave_out(claimed, PageState.ERROR, str(error))
        if page.redirect is not None:
            return await self._moved(claimed, page.redirect)
        if not intent.chunks:
            return await self._leave_out(claimed, PageState.SKIPPED, "The page holds no text.", intent.follow)
        if claimed.depth == 0:
            name = page.document.site or page.document.title
            if name:
                await tools.catalog.write(docsets.rename, self._docset.id, name, by_user=False, now=tools.now())
        extracted = time.monotonic()
        with_vector = await put_on_shelf(tools, claimed.page_id, self._docset.id, fetched.url, intent)
        await tools.catalog.write(
            pages.commit_indexed, claimed, fetched, page.document, intent, with_vector, self._max_pages, tools.now()
        )
        tools.listed.set()
        await tools.shelf.remove(intent.remove)
        times = f"extracted in {extracted - begin:.2f} s, kept in {time.monotonic() - extracted:.2f} s"
        return f"indexed, {len(intent.chunks)} chunks, {len(intent.add)} of them new, {times}"

    async def _moved(self, claimed: Claim, target: str) -> str:
        """The page lives elsewhere: its target takes its place in the frontier, if it belongs to the docset."""
        url = canonical(target, claimed.url)
        if url is None or not in_scope(url, origin(self._docset.seed_url), self._docset.allowed_paths):
            reason = f"The page redirects to {target[:500]}, which is outside this docset."
            return await self._leave_out(claimed, PageState.SKIPPED, reason)
        if url == claimed.url:
            return await self._leave_out(claimed, PageState.ERROR, "The page redirects to itself.")
        await self._tools.catalog.write(pages.commit_alias, claimed, url, self._max_pages)
        return f"redirects to {url}"

    async def _leave_out(self, claimed: Claim, state: PageState, reason: str, follow: Sequence[str] = ()) -> str:
        await self._tools.catalog.write(pages.commit_left_out, claimed, state, reason, follow, self._max_pages, self._tools.now())
        return f"{state}: {reason}"


async def put_on_shelf(tools: Tools, page_id: str, docset_id: str, url: str, intent: PageIntent) -> frozenset[str]:
    """Add the chunks that the shelf lacks of a page, and those vectors that are known already; returns ids of the latter."""
    model_id = tools.model_id()
    known: Mapping[str, bytes] = {}
    if model_id is not None:
        known = await tools.catalog.read(chunks.vectors, model_id, [chunk.text_hash for chunk in intent.add])
    await tools.shelf.add([_row(chunk, page_id, docset_id, url, intent.title) for chunk in intent.add])
    vectors = [VectorRow(chunk.id, docset_id, known[chunk.text_hash]) for chunk in intent.add if chunk.text_hash in known]
    await tools.shelf.add_vectors(vectors)
    return frozenset(row.id for row in vectors)


def _row(chunk: Chunk, page_id: str, docset_id: str, url: str, title: str) -> Row:
    return Row(
        id=chunk.id,
        docset_id=docset_id,
        page_id=page_id,
        url=url,
        title=title,
        path=chunk.path,
        anchor=chunk.anchor,
        text=chunk.text,
        search_text=chunk.search_text,
    )
