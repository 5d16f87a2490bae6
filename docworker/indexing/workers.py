"""Worker processes for what is heavy on the CPU: extraction and chunking of one page at a time.

Each slot is a process of its own, so that one page that hangs or kills its worker takes nothing else with it.
"""

import asyncio
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from docworker.errors import ExtractionFailed
from docworker.indexing.decide import decide
from docworker.model import Docset, Extracted, Fetched, PageIntent

_log = logging.getLogger(__name__)
_NICENESS = 1
_TASKS_PER_PROCESS = 2_000  # a new process now and then gives back what parsers keep


class ExtractionWorkers:
    """`count` processes, started when they are first needed."""

    def __init__(self, count: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._free: asyncio.Queue[ProcessPoolExecutor] = asyncio.Queue()
        for _ in range(count):
            self._free.put_nowait(_worker())

    async def read(
        self, docset: Docset, fetched: Fetched, old_ids: Iterable[str], *, is_seed: bool, obey_robots: bool
    ) -> tuple[Extracted, PageIntent]:
        """Extract a page and decide about it, in a worker.

        Raises ExtractionFailed when the page takes longer than the limit or ends its worker; the worker is replaced.
        """
        worker = await self._free.get()
        try:
            task = asyncio.get_running_loop().run_in_executor(
                worker, _read, docset, fetched, tuple(old_ids), is_seed, obey_robots
            )
            async with asyncio.timeout(self._timeout_s):
                return await task
        except TimeoutError:
            _kill(worker)
            worker = _worker()
            raise ExtractionFailed(f"Extraction took longer than {self._timeout_s:g} s.") from None
        except BrokenProcessPool:
            worker = _worker()
            raise ExtractionFailed("Extraction ended its process (out of memory?).") from None
        except Exception as error:  # a bug that one page brings to light must not end the crawl of the others
            _log.exception("extraction of %s failed", fetched.url)
            raise ExtractionFailed(f"Extraction failed: {type(error).__name__}.") from error
        finally:
            self._free.put_nowait(worker)

    def close(self) -> None:
        """End the workers at once; what they were at is done again later."""
        while not self._free.empty():
            _kill(self._free.get_nowait())


def _worker() -> ProcessPoolExecutor:
    # spawn: a fork of a process with threads inherits locks that nobody will open
    return ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=_initialise, max_tasks_per_child=_TASKS_PER_PROCESS
    )


def _initialise() -> None:
    # a terminal and a service manager tell all processes of a daemon at once: what the daemon has in hand must not fail by it
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)


def _end_with_parent() -> None:
    """A daemon that is killed cannot end its workers: they notice by themselves."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _read(
    docset: Docset, fetched: Fetched, old_ids: tuple[str, ...], is_seed: bool, obey_robots: bool
) -> tuple[Extracted, PageIntent]:
    from docworker.extract import extract

    page = extract(fetched.url, fetched.body, fetched.charset, fetched.content_type)
    intent = decide(docset, fetched, page, old_ids, is_seed=is_seed, obey_robots=obey_robots)
    return replace(page, links=()), intent  # the links have been decided about; there may be very many


def _kill(worker: ProcessPoolExecutor) -> None:
    for process in (getattr(worker, "_processes", None) or {}).values():
        process.kill()
    worker.shutdown(wait=False, cancel_futures=True)
