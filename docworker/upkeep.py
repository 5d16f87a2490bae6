"""What is done to a data folder on which no daemon runs: it is examined, mended, removed; and who keeps one from running."""

import asyncio
import errno
import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout
from filelock import FileLock, Timeout

from docworker.contract import Check, HealthResponse
from docworker.errors import AlreadyRunning, StoreError
from docworker.folder import CATALOG, DAEMON_FILE, LOCK, LOG_FILE, foreign, planted, told_in
from docworker.settings import Settings

_NEIGHBOUR_S = 1.0  # for who has the port already to say who it is
# What docworker makes in its folders, as patterns of names.
_DATA_ENTRIES = (
    *(CATALOG, f"{CATALOG}-*", "catalog.damaged-*", "catalog.salvaged.sqlite*", "shelf", "refreshing"),
    *("config.toml", DAEMON_FILE, "daemon.new", LOG_FILE, f"{LOG_FILE}.[0-9]", LOCK),
)
_SIGNS = (CATALOG, LOG_FILE)  # by which, besides the lock, a folder is known as docworker's
_CACHE_ENTRIES = ("all-MiniLM-L6-v2-*", "fastembed", ".preparing-*")


async def answers(folder: Path) -> bool:
    """Whether the daemon of the data folder answers questions; what it told may be of one that was killed."""
    told = told_in(folder)
    found = None if told is None else await _health(told.host, told.port)
    return told is not None and found is not None and found.ready and found.instance == told.instance


def examine(settings: Settings, *, fix: bool) -> list[Check]:
    """What is wrong with a data folder on which no daemon runs; with `fix`, a damaged catalog is made of what can be read."""
    folder, path = settings.data_dir, settings.data_dir / CATALOG
    if folder.exists() and (why := foreign(folder) or planted(folder)) is not None:
        return [Check(name="data folder", ok=False, message=why)]
    checks = [_folder_check(folder, fix=fix), _port_check(settings)]
    if not checks[0].ok or not path.exists():
        return checks
    try:
        with FileLock(folder / LOCK, timeout=0):
            return [*checks, _catalog_check(path, fix=fix)]
    except Timeout:
        message = f"A process holds the data folder and does not answer{told_by(folder)}; end it."
        return [*checks, Check(name="daemon", ok=False, message=message)]


def _catalog_check(path: Path, *, fix: bool) -> Check:
    from docworker.store.salvage import is_damaged, salvage

    if not is_damaged(path):
        return Check(name="catalog", ok=True, message="It is whole.")
    if not fix:
        message = "It is damaged; `docworker doctor --fix` makes a new one of what can be read."
        return Check(name="catalog", ok=False, message=message)
    os.umask(0o077)
    found = salvage(path)
    read = f"{found.docsets} docsets, {found.pages} pages and {found.vectors} vectors could be read"
    then = "the rest is asked for again" if found.docsets else "index the sites again"
    message = f"It was damaged. {read}; {then}. The damaged file is kept as {found.damaged.name}."
    return Check(name="catalog", ok=True, message=message, fixed=True)


def discard(settings: Settings) -> tuple[list[Path], list[Path]]:
    """Remove the data folder, on which no daemon runs, and the prepared models; returns what is gone and what is left.

    Only what docworker makes is removed, and a folder only when nothing else is in it: a setting may name a folder that
    holds more. No link is followed. Raises AlreadyRunning, or StoreError when something cannot be removed.
    """
    gone: list[Path] = []
    left: list[Path] = []
    data, cache = settings.data_dir, settings.cache_dir
    try:
        if _is_own_folder(data) and (data / LOCK).is_file() and any((data / name).is_file() for name in _SIGNS):
            with FileLock(data / LOCK, timeout=0):
                _discard(data, _DATA_ENTRIES, gone, left)
        elif data.exists():
            left.append(data)
        if _is_own_folder(cache):
            _discard(cache, _CACHE_ENTRIES, gone, left)
        elif cache.exists():
            left.append(cache)
    except Timeout:
        raise AlreadyRunning(f"Another docworker runs on {data}{told_by(data)}; nothing was removed.") from None
    except OSError as error:
        raise StoreError(f"{error.filename or data} cannot be removed: {error.strerror or error}.") from error
    return gone, left


def _is_own_folder(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink()


def _discard(folder: Path, own: Sequence[str], gone: list[Path], left: list[Path]) -> None:
    removed, kept = [], []
    for entry in sorted(folder.iterdir(), key=lambda entry: (entry.name == LOCK, entry.name)):  # the lock last
        if not any(fnmatchcase(entry.name, pattern) for pattern in own):
            kept.append(entry)
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
        removed.append(entry)
    if not kept:
        folder.rmdir()
        removed = [folder]
    gone += removed
    left += kept


def _folder_check(folder: Path, *, fix: bool) -> Check:
    if not folder.exists():
        return Check(name="data folder", ok=True, message=f"{folder} is made at the first start.")
    mode = folder.stat().st_mode & 0o777
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Check(name="data folder", ok=False, message=f"{folder} cannot be written; give its user the right to.")
    if mode & 0o077:
        if fix:
            folder.chmod(0o700)
        message = f"{folder} {'was' if fix else 'is'} open to other users (mode {mode:o})."
        return Check(name="data folder", ok=fix, message=message, fixed=fix)
    return Check(name="data folder", ok=True, message=f"{folder} is private and can be written.")


def _port_check(settings: Settings) -> Check:
    at = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            if os.name == "posix":  # as the daemon does: what only waits for its last packets is no obstacle
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((settings.host, settings.port))
    except OSError as error:
        return Check(name="port", ok=False, message=asyncio.run(not_listening(settings, error)))
    return Check(name="port", ok=True, message=f"{at} is free." if settings.port else "A free one is taken at the start.")


async def not_listening(settings: Settings, error: OSError) -> str:
    """Why the port cannot be had, and what to do."""
    other = await _health(settings.host, settings.port) if error.errno == errno.EADDRINUSE else None
    why, what = error.strerror or str(error), "stop what uses it"
    if other is not None:
        why, what = f"another docworker ({other.version}) answers there, for another folder", "stop that one"
    return (
        f"{settings.host}:{settings.port} cannot be listened at: {why}; {what}, or choose another port with --port (0 takes a"
        " free one)."
    )


async def _health(host: str, port: int) -> HealthResponse | None:
    """What the docworker says that answers there; None when it is something else, or asks for a token, which is not told."""
    at = f"[{host}]" if ":" in host else host
    with suppress(ClientError, TimeoutError, ValueError, OSError):
        async with (
            ClientSession(timeout=ClientTimeout(total=_NEIGHBOUR_S)) as client,
            client.get(f"http://{at}:{port}/health", allow_redirects=False) as answer,
        ):
            return HealthResponse.model_validate_json(await answer.content.read(4_096))
    return None


def told_by(folder: Path) -> str:
    """Which process has a data folder, and where it answers, as a clause; empty when that is not known."""
    told = told_in(folder)
    return "" if told is None else f" (pid {told.pid}, http://{told.host}:{told.port})"
