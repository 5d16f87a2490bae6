"""What runs in the background: one crawl or refresh a docset, and loops that must not end. Owns their tasks, progress and stop.

One of the two places that catch every exception: what a job dies of is logged here, once, and kept as the docset's message. Where
that is the data folder's fault (a full disk, a lock), the job is tried again until the cause is gone.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from docworker.embedding.loader import ModelLoader
from docworker.errors import StoreError
from docworker.indexing import refresh
from docworker.indexing.crawl import Crawl
from docworker.indexing.pipeline import Tools
from docworker.indexing.reconcile import Disagreement, compare, rebuild, sweep
from docworker.indexing.refresh import Progress, Refresh
from docworker.model import Docset, DocsetState
from docworker.store import docsets, frontier
from docworker.store.refreshes import Begun

_log = logging.getLogger(__name__)
# What failed is started again after the first pause, then after twice it, up to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_REFRESHES_AT_ONCE = 4
_MENDING_S = 60.0  # how long a check waits for what is being mended already


class Jobs:
    """The crawls and refreshes under way, by docset. They begin to work when `mended` is set: shelf and catalog agree."""

    def __init__(self, tools: Tools, model: ModelLoader, data_dir: Path, mended: asyncio.Event) -> None:
        self._tools = tools
        self._model = model
        self._data_dir = data_dir
        self._mended = mended
        self._running: dict[str, asyncio.Task[None]] = {}
        self._work: dict[str, Crawl | Refresh] = {}
        self._again: dict[str, Docset] = {}
        self._troubles: dict[str, str] = {}
        self._beginning = asyncio.Lock()  # two requests for the same refresh begin one
        self._stopping = asyncio.Event()
        self._pulse = asyncio.Event()  # replaced each time a page is done or a job ends

    def running(self, docset_id: str) -> bool:
        """Whether a crawl or a refresh of this docset is under way."""
        return docset_id in self._running

    def all_running(self) -> set[str]:
        """Ids of the docsets that a crawl or a refresh is under way of."""
        return set(self._running)

    @property
    def busy(self) -> bool:
        """Whether work is under way, and does not wait: for a site that does not answer, for a disk that is full."""
        return any(not work.paused and id_ not in self._troubles for id_, work in self._work.items())

    def refreshing(self, docset_id: str) -> bool:
        """Whether a refresh of this docset is under way, or waits for its turn."""
        follows = docset_id in self._running and self._asked_for(docset_id)
        return isinstance(self._work.get(docset_id), Refresh) or follows

    async def progress(self, docset_id: str) -> Progress | None:
        """How far a docset's refresh is; None when there is none."""
        work = self._work.get(docset_id)
        return await work.progress() if isinstance(work, Refresh) else None

    @property
    def mended(self) -> bool:
        """Whether shelf and catalog agree, as far as is known."""
        return self._mended.is_set()

    async def soon_mended(self, patience_s: float) -> bool:
        """Wait for that, but not for long; whether it came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._mended.wait()
        return self._mended.is_set()

    def trouble(self, docset_id: str) -> str | None:
        """What keeps a docset's job from going on at the moment."""
        if docset_id in self._running and not self._mended.is_set():
            return "It waits until the index is mended from the catalog."
        return self._troubles.get(docset_id)

    def start(self, docset: Docset) -> None:
        """Begin a docset's crawl; one under way is followed by another round, for what may have changed meanwhile."""
        if docset.id not in self._running:
            self._begin(docset.id, lambda: Crawl(docset, self._tools))
            return
        self._again[docset.id] = docset
        work = self._work[docset.id]
        if isinstance(work, Crawl):
            work.supersede()

    async def refresh(self, docset: Docset, begun: Begun) -> bool:
        """Begin a docset's refresh, which is remembered over a crash; it follows a crawl under way. Returns whether it is new.

        Raises StoreError when the refresh cannot be written down.
        """
        async with self._beginning:
            if self.refreshing(docset.id) or await self._tools.catalog.read(docsets.get, docset.id) is None:
                return False
            if not self._asked_for(docset.id):  # else one was begun, and something kept it from its work
                await refresh.begin(self._data_dir, docset, self._tools.catalog, begun)
            if docset.id not in self._running:
                await self._tools.catalog.write(
                    docsets.set_state, docset.id, DocsetState.PENDING, docset.message, self._tools.now()
                )
        if docset.id not in self._running:
            self._start_refresh(docset.id, begun)
        return True

    def _asked_for(self, docset_id: str) -> bool:
        return refresh.file_of(self._data_dir, docset_id).exists()

    def _start_refresh(self, docset_id: str, begun: Begun | None = None) -> None:
        self._begin(docset_id, self._refresh_of(docset_id, begun))

    def _refresh_of(self, docset_id: str, begun: Begun | None = None) -> Callable[[], Refresh]:
        return lambda: Refresh(self._data_dir, docset_id, self._tools, self._model, begun)

    def _begin(self, docset_id: str, make: Callable[[], Crawl | Refresh]) -> None:
        self._work[docset_id] = make()
        self._running[docset_id] = asyncio.create_task(self._run(docset_id, make), name=f"job of {docset_id}")

    async def resume(self, unfinished: list[str]) -> None:
        """Go on with the refreshes that a stop or a crash interrupted, then with such crawls."""
        for docset_id in unfinished:
            self._start_refresh(docset_id)
        for docset in await self._tools.catalog.read(docsets.unfinished):
            if docset.id in self._running:
                if await self._tools.catalog.read(frontier.waiting, docset.id):  # pages that were added during the refresh
                    self._again[docset.id] = docset
            else:
                _log.info("going on with docset %s", docset.id)
                self.start(docset)

    async def check(self, *, fix: bool) -> tuple[Disagreement, bool]:
        """How shelf and catalog differ; and whether that was mended, which can only be done while no job runs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MENDING_S):
                await self._mended.wait()
        await self._tools.shelf.catch_up()
        found = await compare(self._tools)
        if found.misnoted:  # a vector may have been made between the two looks: what is wrong stays wrong
            again = await compare(self._tools)
            found = replace(again, misnoted=found.misnoted & again.misnoted)
        if self._running:  # what they are at stands on the shelf before it is listed
            return replace(found, unknown=frozenset()), False
        if not fix or found.agree:
            return found, False
        await sweep(self._tools)
        if found.incomplete:
            await rebuild(self._tools)
        self._tools.listed.set()
        return found, True

    @property
    def next_change(self) -> asyncio.Event:
        """Set when, from now on, a page is done or a job has ended."""
        return self._pulse

    async def cancel(self, docset_id: str) -> None:
        """End a docset's job at once and wait until it has ended; a refresh is forgotten."""
        async with self._beginning:
            if docset_id in self._running:
                task = self._running[docset_id]
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            refresh.discard(refresh.file_of(self._data_dir, docset_id))

    async def stop(self, grace_s: float) -> None:
        """Let the pages under way be finished for up to `grace_s`, then end what is left; it resumes on the next start."""
        self._stopping.set()
        tasks = list(self._running.values())
        for work in self._work.values():
            work.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _on_page(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

    async def _run(self, docset_id: str, make: Callable[[], Crawl | Refresh]) -> None:
        pause_s = _FIRST_PAUSE_S
        try:
            while not self._stopping.is_set():
                await self._mended.wait()
                try:
                    await self._do(self._work[docset_id])
                except StoreError as error:
                    self._troubles[docset_id] = f"Interrupted, and tried again by itself: {error}"
                    _log.warning("docset %s: %s Trying again in %g s.", docset_id, error, pause_s)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause_s):
                            await self._stopping.wait()
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                else:
                    self._troubles.pop(docset_id, None)
                    if docset_id in self._again:
                        make = functools.partial(Crawl, self._again.pop(docset_id), self._tools)
                    elif not self._stopping.is_set() and self._asked_for(docset_id):
                        make = self._refresh_of(docset_id)
                    else:
                        break
                self._work[docset_id] = make()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _log.exception("the job of docset %s stopped", docset_id)
            reason = f"It stopped: {error}. It goes on at the next start."
            with suppress(StoreError):
                await self._tools.catalog.write(docsets.set_state, docset_id, DocsetState.ERROR, reason, self._tools.now())
        finally:
            for of_docset in (self._troubles, self._again, self._work):
                of_docset.pop(docset_id, None)
            del self._running[docset_id]
            self._on_page()
        await self._tell_end(docset_id)  # who hears of it may begin the next one

    async def _tell_end(self, docset_id: str) -> None:
        """Tell who listens what the docset came to."""
        with suppress(StoreError, RuntimeError):  # RuntimeError: the catalog is closed meanwhile
            docset = await self._tools.catalog.read(docsets.get, docset_id)
            if docset is not None and docset.state in (DocsetState.READY, DocsetState.ERROR):
                kind: Literal["ready", "failed"] = "ready" if docset.state is DocsetState.READY else "failed"
                said = {"docsetId": docset_id, "status": docset.state.value, "message": docset.message}
                self._tools.events.publish(kind, said, docset_id)

    async def _do(self, work: Crawl | Refresh) -> None:
        if isinstance(work, Crawl):
            await work.run(self._on_page)
        else:
            while sum(isinstance(each, Refresh) and each.active for each in self._work.values()) >= _REFRESHES_AT_ONCE:
                await self._pulse.wait()
            await work.run(self._on_page)


async def keep_running(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run `loop` until it returns; when it fails, say so and start it again after a growing pause."""
    pause = _FIRST_PAUSE_S
    while True:
        try:
            await loop()
            return
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("%s failed; trying again in %g s", name, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
