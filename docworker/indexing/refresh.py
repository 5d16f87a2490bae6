"""One docset's refresh: a crawl from the beginning into a catalog of its own, which then takes the place of what was there.

    begin → a catalog in the folder `refreshing`, with the docset's seeds      that it is there is the proof that it was asked for
    | Crawl            asks for what has changed; pages that have not are taken as they were, also those that cannot be had
    | embed            what is new gets its vectors while the old state serves
    | is it the site?  less than half of the pages that there were: nothing is changed
    | publish          ONE transaction in the catalog that is served
    | tidy             what no page has any more leaves the shelf; the catalog of the refresh is deleted

A crash at any point repeats work and loses nothing: the next start goes on where it was. What the refresh puts on the shelf is
listed nowhere until it is published, so no question finds it before.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from docworker.embedding.loader import ModelLoader
from docworker.errors import DocworkerError, StoreError
from docworker.indexing.crawl import Crawl
from docworker.indexing.embedding_loop import embed_waiting
from docworker.indexing.pipeline import Tools
from docworker.indexing.reconcile import rebuild
from docworker.model import Docset, DocsetState
from docworker.store import chunks, docsets, frontier, pages, refreshes
from docworker.store.catalog import Catalog
from docworker.store.refreshes import Begun, Report

_log = logging.getLogger(__name__)
# Fewer of the pages that there were are no documentation any more, but a login page, a portal, a failure that answers 200.
_LEAST_SHARE = 0.5
_FOLDER, _SUFFIX = "refreshing", ".sqlite"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a refresh is: pages met so far, those of them that wait, chunks that wait for their vector; why it pauses."""

    begun_at: int
    full: bool
    pages: int
    waiting: int
    chunks_waiting: int
    message: str | None


class Refresh:
    """A refresh that was begun."""

    def __init__(self, data_dir: Path, docset_id: str, tools: Tools, model: ModelLoader, begun: Begun | None = None) -> None:
        self._file = file_of(data_dir, docset_id)
        self._docset_id = docset_id
        self._tools = tools
        self._model = model
        self._catalog: Catalog | None = None
        self._crawl: Crawl | None = None
        self._begun = begun or Begun(full=False, why="", at=tools.now())
        self._running = False
        self._stopping = False

    def stop(self) -> None:
        """Claim no more pages; `run` returns when those under way are done, and the next one goes on from there."""
        self._stopping = True
        if self._crawl is not None:
            self._crawl.stop()

    @property
    def active(self) -> bool:
        """Whether it runs, and does not wait for its site."""
        return self._running and not self.paused

    @property
    def paused(self) -> bool:
        """Whether its site does not answer, and is left alone for a while."""
        return self._crawl is not None and self._crawl.paused

    async def progress(self) -> Progress:
        """How far it is."""
        found: tuple[int, int, int, str | None] = (0, 0, 0, None)
        if self._catalog is not None:
            with suppress(StoreError, RuntimeError):  # it ends at this moment
                found = await self._catalog.read(refreshes.progress, self._docset_id)
        return Progress(self._begun.at, self._begun.full, *found)

    async def run(self, on_page: Callable[[], None]) -> None:
        """Refresh the docset, or say in its message why nothing was changed; stopped, leave the rest to another run."""
        self._running = True
        try:
            if await self._refresh(on_page):
                self._tools.listed.set()
                await tidy(self._tools, self._docset_id)
                discard(self._file)
        finally:
            self._running = False

    async def _refresh(self, on_page: Callable[[], None]) -> bool:
        """Crawl, embed, publish; whether that came to its end."""
        served = self._tools.catalog
        self._catalog = await Catalog.open(self._file)
        try:
            known = await self._catalog.read(refreshes.begun)
            if known is None:
                raise StoreError("The refresh was not begun whole; ask for it again.")
            docset, self._begun = known
            last = await served.read(refreshes.report, docset.id)
            if last is not None and last.begun_at == self._begun.at:
                return True  # published before the daemon was ended
            await served.write(docsets.set_state, docset.id, DocsetState.INDEXING, None, self._tools.now())
            tools = replace(self._tools, catalog=self._catalog, served=served, full=self._begun.full, listed=asyncio.Event())
            done = await self._crawl_and_embed(docset, tools, on_page)
            if self._stopping:
                return False
            await self._complete_shelf(tools)
            failure = await self._failure(docset, tools, done=done)
            names = None if failure or self._crawl is None else await self._crawl.names()
        finally:
            catalog, self._catalog = self._catalog, None
            await catalog.close()
        if failure is not None:
            _log.warning("docset %s: %s", docset.id, failure)
            await served.write_from(self._file, refreshes.fail, docset.id, self._begun, failure, self._tools.now())
        else:
            report = await served.write_from(
                self._file,
                refreshes.publish,
                docset.id,
                None if names is None else (names.listed, names.hash),
                self._begun,
                self._tools.now(),
            )
            _log.info("docset %s: %s", docset.id, "deleted meanwhile" if report is None else said(report))
        return True

    async def _crawl_and_embed(self, docset: Docset, tools: Tools, on_page: Callable[[], None]) -> bool:
        """Crawl, and give what is new its vectors, as far as there is a model; whether the crawl came to its end."""
        crawled = asyncio.Event()
        embedding = asyncio.create_task(self._embed_until(crawled, tools), name=f"embedding for the refresh of {docset.id}")
        try:
            self._crawl = Crawl(docset, tools)
            if self._stopping:
                return False
            done = await self._crawl.run(on_page)
            if done and not self._stopping:
                await self._model.decided.wait()  # soon after a start it may still be loading
                if self._model.ready.is_set():
                    crawled.set()
                    tools.listed.set()
                    await embedding  # not cancelled: what a batch under way has made would be made again
            return done
        finally:
            embedding.cancel()
            await asyncio.gather(embedding, return_exceptions=True)

    async def _embed_until(self, crawled: asyncio.Event, tools: Tools) -> None:
        """Embed whatever waits, and once more when nothing more is listed."""
        await self._model.ready.wait()
        while True:
            last = crawled.is_set()
            tools.listed.clear()
            await self._embed(tools)
            if last:
                return
            await tools.listed.wait()

    async def _embed(self, tools: Tools) -> None:
        """What cannot be embedded now is published without its vector, and waits for it there."""
        try:
            await embed_waiting(tools, self._model)
        except (DocworkerError, RuntimeError, ValueError, OSError) as error:
            _log.warning("docset %s: vectors are left for later: %s", self._docset_id, error)

    async def _complete_shelf(self, tools: Tools) -> None:
        """Put back what the shelf has lost of this refresh since it was put there."""
        listed = await tools.catalog.read(chunks.all_ids)
        if listed - await tools.shelf.ids(self._docset_id):
            await rebuild(tools)
            await tools.catalog.write(chunks.forget_embedded, await tools.shelf.vector_ids())

    async def _failure(self, docset: Docset, tools: Tools, *, done: bool) -> str | None:
        """Why what was found must not take the place of what there is; None when it may."""
        assert tools.served is not None
        there_were = await tools.served.read(refreshes.indexed, docset.id)
        found = await tools.catalog.read(refreshes.indexed, docset.id)
        said = await tools.catalog.read(docsets.get, docset.id)
        why = (said.message if said else None) or ""
        if not done:
            return f"The refresh was given up, and nothing was changed: {why}"
        if found < _LEAST_SHARE * there_were:
            if not found:
                return f"The refresh found no page, and nothing was changed: {why}"
            return (
                f"The refresh found only {found} of {there_were} pages, and nothing was changed: is the site in trouble, or does"
                " it want a login? If that is all there is now, delete the docset and index it again."
            )
        return None


def said(report: Report) -> str:
    """A report in words."""
    parts = [
        f"{report.pages} pages refreshed with {report.requests} requests: {report.not_modified} as they were",
        f"{report.changed} changed, {report.added} added, {report.removed} removed",
        f"{report.embedded} texts embedded",
    ]
    if report.unsure:
        parts.append(f"{report.unsure} could not be had and are kept as they were")
    return ", ".join(parts)


def file_of(data_dir: Path, docset_id: str) -> Path:
    """Where the catalog of a docset's refresh stands."""
    return data_dir / _FOLDER / f"{docset_id}{_SUFFIX}"


def under_way(data_dir: Path) -> list[str]:
    """Ids of the docsets whose refresh was begun and has not ended."""
    folder = data_dir / _FOLDER
    return sorted(file.stem for file in folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []


async def begin(data_dir: Path, docset: Docset, served: Catalog, begun: Begun) -> None:
    """Note that the docset is to be refreshed, so that it is after a crash too. Raises StoreError when that cannot be written."""
    file = file_of(data_dir, docset.id)
    scratch = file.with_suffix(".new")
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        discard(scratch)
        catalog = await Catalog.open(scratch)
        try:
            seeds = await served.read(frontier.seeds, docset.id)
            await catalog.write(refreshes.begin, docset, seeds, begun)
        finally:
            await catalog.close()
        scratch.replace(file)
    except OSError as error:
        raise StoreError(f"The refresh cannot be begun: {error.strerror or error}.") from error


async def open_all(data_dir: Path, served: Catalog, now: Callable[[], int]) -> dict[str, Catalog]:
    """The catalogs of refreshes that were interrupted, open, by docset. One that is of no use is begun anew, and one
    whose docset is gone is deleted."""
    opened: dict[str, Catalog] = {}
    for docset_id in under_way(data_dir):
        file = file_of(data_dir, docset_id)
        docset = await served.read(docsets.get, docset_id)
        if docset is None:
            discard(file)
            continue
        catalog = await _usable(file)
        if catalog is None:
            _log.warning("docset %s: its refresh is begun anew", docset_id)
            discard(file)
            await begin(data_dir, docset, served, Begun(full=False, why="begun anew", at=now()))
            catalog = await Catalog.open(file)
        opened[docset_id] = catalog
    return opened


async def _usable(file: Path) -> Catalog | None:
    """The catalog of a refresh, if it is whole and what it holds was read and cut as it would be now."""
    try:
        catalog = await Catalog.open(file)
    except StoreError:
        return None
    with suppress(StoreError):
        of_old_code = [await catalog.read(pages.cut_otherwise) > 0, await catalog.read(pages.read_otherwise) != []]
        if await catalog.read(refreshes.begun) is not None and not any(of_old_code):
            return catalog
    await catalog.close()
    return None


async def tidy(tools: Tools, docset_id: str) -> None:
    """Take off the shelf what no page of the docset has any more."""
    listed = await tools.catalog.read(chunks.all_ids, docset_id)
    await tools.shelf.remove(await tools.shelf.ids(docset_id) - listed)


def discard(file: Path) -> None:
    """Delete the catalog of a refresh."""
    for suffix in ("-wal", "-shm", ""):  # the file last: a log without it would be taken for that of the next one
        file.with_name(file.name + suffix).unlink(missing_ok=True)
