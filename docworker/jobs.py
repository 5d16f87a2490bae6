"""What runs in the background: one crawl a docset, and loops that must not end. Owns their tasks, progress and stop.

One of the two places that catch every exception: what a job dies of is logged here, once, and kept as the docset's message.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from docworker.indexing.crawl import Crawl
from docworker.indexing.pipeline import Tools
from docworker.model import Docset, DocsetState
from docworker.store import docsets

_log = logging.getLogger(__name__)
# A loop that failed is started again after the first pause, then after twice it, up to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Jobs:
    """The crawls under way, by docset."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._crawls: dict[str, tuple[Crawl, asyncio.Task[None]]] = {}
        self._again: dict[str, Docset] = {}
        self._stopping = False
        self._pulse = asyncio.Event()  # replaced each time a page is done or a crawl ends

    def running(self, docset_id: str) -> bool:
        """Whether a crawl of this docset is under way."""
        return docset_id in self._crawls

    def start(self, docset: Docset) -> None:
        """Begin a docset's crawl; one under way is followed by another round, for what may have changed meanwhile."""
        if docset.id in self._crawls:
            self._again[docset.id] = docset
            self._crawls[docset.id][0].supersede()
            return
        crawl = Crawl(docset, self._tools)
        task = asyncio.create_task(self._run(docset, crawl), name=f"crawl {docset.id}")
        self._crawls[docset.id] = (crawl, task)

    async def resume_unfinished(self) -> None:
        """Go on with the crawls that a stop or a crash interrupted."""
        for docset in await self._tools.catalog.read(docsets.unfinished):
            _log.info("going on with docset %s", docset.id)
            self.start(docset)

    @property
    def next_change(self) -> asyncio.Event:
        """Set when, from now on, a page is done or a crawl has ended."""
        return self._pulse

    async def cancel(self, docset_id: str) -> None:
        """End a docset's crawl at once and wait until it has ended."""
        if docset_id in self._crawls:
            _, task = self._crawls[docset_id]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def stop(self, grace_s: float) -> None:
        """Let the pages under way be finished for up to `grace_s`, then end what is left; it resumes on the next start."""
        self._stopping = True
        tasks = [task for _, task in self._crawls.values()]
        for crawl, _ in self._crawls.values():
            crawl.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _on_page(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

    async def _run(self, docset: Docset, crawl: Crawl) -> None:
        try:
            while True:
                self._again.pop(docset.id, None)
                await crawl.run(self._on_page)
                if self._stopping or docset.id not in self._again:
                    break
                docset = self._again[docset.id]
                crawl = Crawl(docset, self._tools)
                self._crawls[docset.id] = (crawl, self._crawls[docset.id][1])
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _log.exception("the crawl of docset %s stopped", docset.id)
            reason = f"The crawl stopped: {error}. It goes on at the next start."
            await self._tools.catalog.write(docsets.set_state, docset.id, DocsetState.ERROR, reason, self._tools.now())
        finally:
            del self._crawls[docset.id]
            self._on_page()


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
