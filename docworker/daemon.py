"""The composition root: builds everything in order, runs it in one event loop, closes it in reverse.

lock the data folder → listen (/health answers) → catalog → shelf → sweep → answer questions → mend the shelf → crawls, refreshes
                                                                                      → model → vectors
It stops at a signal, or by itself when the last editor has gone and its work is done. A stop takes 5 s at most: what is not at
its end by then is left as a crash would leave it, which loses nothing.
"""

import asyncio
import ctypes
import importlib
import logging
import logging.handlers
import multiprocessing
import os
import secrets
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from filelock import FileLock, Timeout

from docworker import __version__
from docworker.api.app import Desk, application
from docworker.api.connections import Runner
from docworker.errors import AlreadyRunning, ShelfDamaged, StoreError
from docworker.events import Events
from docworker.folder import CATALOG, DAEMON_FILE, LOCK, LOG_FILE, DaemonFile, foreign, planted, tell
from docworker.settings import Settings
from docworker.upkeep import answers, not_listening, told_by

if TYPE_CHECKING:
    from docworker.store.shelf import Shelf

_log = logging.getLogger(__name__)
_LOG_BYTES, _LOG_FILES = 5 * 2**20, 3
_PAGES_GRACE_S = 2.0  # for pages under way when the daemon is told to stop
_REQUESTS_GRACE_S = 1.0  # for requests under way
_STOP_S = 3.5  # for all of it; what is promised is 5 s, for the process has to get its turn on a machine that has much to do
# mallopt's names and glibc's own first values. Set, they stay: by itself glibc raises them with every large block that is
# freed, and what LanceDB needs for a moment is never given back (569 MB after 20,000 pages instead of 397).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _GIVE_BACK_BYTES = -1, -3, 128 * 2**10
_OPEN_FILES = 4_096  # LanceDB, connections, crawls; macOS gives 256
_LOCK_S = 0.3  # it may be tried for a moment by who only asks whether it is held


def now_ms() -> int:
    """The time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def serve(settings: Settings, *, to_stderr: bool, flags: Mapping[str, str | int | bool] | None = None) -> None:
    """Run the daemon until SIGINT, SIGTERM or SIGHUP; `flags` are told to `docworker restart`.

    Raises AlreadyRunning or StoreError when it cannot start.
    """
    folder = settings.data_dir
    os.umask(0o077)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (why := foreign(folder)) is not None:
            raise StoreError(why)
        os.chmod(folder, 0o700)  # before what is in it is looked at: nobody plants anything from here on
        if (why := planted(folder)) is not None:
            raise StoreError(why)
        lock = _locked(folder)
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be used: {error.strerror or error}.") from error
    try:
        _log_to(folder / LOG_FILE, settings.log_level, to_stderr=to_stderr)
        _give_memory_back()
        _let_many_files_be_open()
        asyncio.run(_run(settings, flags or {}))
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be used: {error.strerror or error}.") from error
    finally:
        lock.release()


def _locked(folder: Path) -> FileLock:
    """Have a data folder for oneself. One that is about to stop, or to start, is waited for; raises AlreadyRunning else."""
    lock = FileLock(folder / LOCK)
    deadline = time.monotonic() + _STOP_S + 2.5
    while True:
        try:
            lock.acquire(timeout=_LOCK_S, poll_interval=0.05)
            return lock
        except Timeout:
            if time.monotonic() > deadline or asyncio.run(answers(folder)):
                raise AlreadyRunning(f"Another docworker runs on {folder}{told_by(folder)}.") from None


def _give_memory_back() -> None:
    with suppress(AttributeError, OSError, TypeError):  # a C library without mallopt: not Linux, or not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _GIVE_BACK_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _GIVE_BACK_BYTES)


def _let_many_files_be_open() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(settings: Settings, flags: Mapping[str, str | int | bool]) -> None:
    stop = asyncio.Event()
    token = None if settings.token is None else settings.token.get_secret_value()
    desk, events = Desk(secrets.token_hex(8), settings.host, now_ms, token), Events()

    loop, end_in_time = asyncio.get_running_loop(), _end_in_time()

    def stop_now() -> None:
        desk.stopping = True  # in the same moment: no editor is told that it is registered, and then left alone
        stop.set()
        end_in_time()

    def on_signal(*_: object) -> None:
        end_in_time()  # the loop may have much to do before it gets to this
        loop.call_soon_threadsafe(stop_now)

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # that is what nohup asks for
        signal.signal(signal.SIGHUP, on_signal)
    async with AsyncExitStack() as closing:
        runner, port = await _listen(desk, settings)
        closing.push_async_callback(runner.cleanup)
        told = DaemonFile(
            instance=desk.instance, pid=os.getpid(), host=settings.host, port=port, version=__version__, flags=flags
        )
        tell(settings.data_dir, told)
        closing.callback((settings.data_dir / DAEMON_FILE).unlink, missing_ok=True)
        _log.info("docworker %s answers at http://%s:%s", __version__, settings.host, port)
        stopping = asyncio.create_task(stop.wait())
        building = asyncio.create_task(_build(desk, settings, closing, events, stop_now))
        await asyncio.wait({stopping, building}, return_when=asyncio.FIRST_COMPLETED)
        if building.done():
            building.result()  # a store that cannot be opened ends the daemon here
        await stopping
        _log.info("stopping")
        (settings.data_dir / DAEMON_FILE).unlink(missing_ok=True)  # who starts another one now waits for this one's end
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)
        events.close()
        await runner.cleanup()  # requests under way are answered before what answers them is closed
    _log.info("stopped")


def _end_in_time() -> Callable[[], object]:
    """What, called once or again, also by a signal handler, sees to it that the process ends soon, whatever it is at."""
    hear, tell = os.pipe()

    def end() -> None:
        os.read(hear, 1)
        time.sleep(_STOP_S)
        _log.warning("stopped without waiting any longer; what was under way goes on at the next start")
        logging.shutdown()
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(0)

    threading.Thread(target=end, name="end in time", daemon=True).start()
    return lambda: os.write(tell, b"!")


async def _listen(desk: Desk, settings: Settings) -> tuple[web.AppRunner, int]:
    """Answer HTTP from here on; also returns the port. Raises AlreadyRunning when it is taken."""
    runner = Runner(application(desk), shutdown_timeout_s=_REQUESTS_GRACE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        await runner.cleanup()
        raise AlreadyRunning(await not_listening(settings, error)) from None
    return runner, int(runner.addresses[0][1])


async def _build(desk: Desk, settings: Settings, closing: AsyncExitStack, events: Events, stop: Callable[[], None]) -> None:
    """Open the stores, begin to answer, and start what runs in the background."""
    await asyncio.to_thread(importlib.import_module, "docworker.service")  # and nearly all else; /health is answered meanwhile
    from docworker.crawl.fetcher import Fetcher, FetchLimits
    from docworker.crawl.network import Network
    from docworker.crawl.pacing import Pacer
    from docworker.embedding import DIMENSIONS
    from docworker.embedding.loader import ModelLoader, ModelSource
    from docworker.indexing.embedding_loop import embed_forever
    from docworker.indexing.pipeline import CrawlLimits, Tools
    from docworker.indexing.reconcile import Mender, sweep
    from docworker.indexing.refresh import open_all
    from docworker.indexing.workers import ExtractionWorkers
    from docworker.jobs import Jobs, keep_running
    from docworker.service import Service
    from docworker.sessions import Sessions, Terms
    from docworker.store.catalog import Catalog
    from docworker.store.frontier import FrontierLimits

    source = ModelSource(settings.model_dir, settings.cache_dir, settings.model_download, settings.model_retry_s)
    model = ModelLoader(source, settings.embed_threads)
    closing.callback(model.close)
    catalog = await Catalog.open(settings.data_dir / CATALOG)
    closing.push_async_callback(catalog.close)
    shelf = await _open_shelf(settings.data_dir / "shelf", DIMENSIONS)
    closing.push_async_callback(shelf.close)
    fetch_limits = FetchLimits(
        settings.request_timeout_s,
        settings.request_attempts,
        settings.max_response_bytes,
        settings.max_page_bytes,
        settings.max_rest_s,
    )
    pacer = Pacer(settings.requests_per_host, settings.pause_s)
    fetcher = await closing.enter_async_context(Fetcher(fetch_limits, pacer, Network(proxy=settings.proxy)))
    workers = ExtractionWorkers(settings.extract_workers, settings.extract_timeout_s)
    closing.callback(workers.close)
    frontier_limits = FrontierLimits(settings.max_pages, settings.max_depth, settings.max_queries_per_path)
    limits = CrawlLimits(
        frontier_limits,
        settings.requests_per_host,
        settings.max_redirects,
        settings.max_total_bytes,
        not settings.ignore_robots,
        settings.down_pause_s,
    )
    listed = asyncio.Event()
    tools = Tools(catalog, shelf, fetcher, workers, limits, now_ms, lambda: model.model_id, listed, events)
    mender = Mender(tools)
    jobs = Jobs(tools, model, settings.data_dir, mender.mended)

    refreshing = await open_all(settings.data_dir, catalog, now_ms)
    try:
        await shelf.prune(alone=True)
        await sweep(tools, refreshing.values())
    except ShelfDamaged:
        await shelf.remake()
        await sweep(tools, refreshing.values())
    for other in refreshing.values():
        await other.close()
    terms = Terms(settings.session_lease_s, settings.stop_grace_s, settings.keep_alive)

    def busy() -> bool:
        to_embed = model.ready.is_set() and mender.mended.is_set() and listed.is_set()
        return jobs.busy or model.at_work or to_embed

    sessions = Sessions(catalog, terms, events, busy=busy, now=now_ms)
    await sessions.restore()
    desk.service = service = Service(tools, jobs, model, sessions, data_dir=settings.data_dir, ranking=settings.ranking)
    _log.info("ready")
    loops: dict[str, Callable[[], Awaitable[None]]] = {
        "model": model.load_forever,
        "embedding": lambda: embed_forever(tools, model, mender.mended),
        "shelf": shelf.tend_forever,
        "mending": mender.mend_forever,
        "sessions": lambda: sessions.watch(stop),
        "progress": service.tell_progress,
    }
    if settings.refresh_hours:
        loops["schedule"] = lambda: service.refresh_stale(settings.refresh_hours)
    tasks = [asyncio.create_task(keep_running(name, loop), name=name) for name, loop in loops.items()]
    closing.push_async_callback(_cancel, tasks)
    closing.push_async_callback(jobs.stop, _PAGES_GRACE_S)
    await jobs.resume(list(refreshing))

    async def read_anew() -> None:
        await mender.mended.wait()  # mending may find texts that are damaged
        await service.refresh_read_otherwise()

    again = asyncio.create_task(keep_running("reading anew", read_anew), name="reading anew")
    closing.push_async_callback(_cancel, [again])


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _open_shelf(folder: Path, dimensions: int) -> "Shelf":
    """The shelf; one that cannot be read is made anew, since the catalog holds all that it takes."""
    from docworker.store.shelf import Shelf

    try:
        return await Shelf.open(folder, dimensions)
    except ShelfDamaged:
        Shelf.discard(folder)
        return await Shelf.open(folder, dimensions)


class _OneLine(logging.Formatter):
    """A message is one line, whatever names and ids it tells of: none of them forges another, or commands a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in super().formatMessage(record))


def _log_to(file: Path, level: str, *, to_stderr: bool) -> None:
    handlers: list[logging.Handler] = [
        logging.handlers.RotatingFileHandler(file, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8")
    ]
    if to_stderr:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=handlers)
    logging.raiseExceptions = False  # a log that cannot be written is no reason to write to stderr, once a line
    for library in ("httpx", "httpcore"):  # the page's own line says the same and more, and no cookie of a private site
        logging.getLogger(library).setLevel(logging.WARNING)
