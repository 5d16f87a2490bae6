"""The data folder: whose it is, whether a daemon has it, and where that one answers.

What a file in it says is believed when nobody else can have written it. Windows keeps users' folders apart by itself.
"""

import os
import stat
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel

LOCK, DAEMON_FILE, LOG_FILE, CATALOG = "lock", "daemon.json", "docworker.log", "catalog.sqlite"
_DAEMON_FILE_BYTES = 65_536


class DaemonFile(BaseModel, frozen=True):
    """Where the daemon of a data folder answers, as `daemon.json` there tells its clients.

    `flags`: the settings that stood on its command line, for `docworker restart`.
    """

    instance: str
    pid: int
    host: str
    port: int
    version: str
    flags: Mapping[str, str | int | bool] = {}


class NotOwn(OSError):
    """Others may have written it; the message says why that is thought."""


def read_own(path: Path, max_bytes: int) -> bytes:
    """The content of a file that only the user, or root, can have written. Never waits.

    Raises NotOwn for a file that others may have written, another OSError when there is none, it is no file, or too large.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no file")
        if (why := _by_others(path.parent.stat(), found)) is not None:
            raise NotOwn(why)
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(f"it is larger than {max_bytes} bytes")
    return content


def told_in(folder: Path) -> DaemonFile | None:
    """What the daemon of a data folder told when it started; None when that is gone, or may be another user's word."""
    try:
        return DaemonFile.model_validate_json(read_own(folder / DAEMON_FILE, _DAEMON_FILE_BYTES))
    except (OSError, ValueError):
        return None


def tell(folder: Path, told: DaemonFile) -> None:
    """Tell the daemon's clients where it answers: all of it or nothing, readable by the user alone, not through a link."""
    scratch = (folder / DAEMON_FILE).with_suffix(".new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
        new.write(told.model_dump_json())
    scratch.replace(folder / DAEMON_FILE)


def _by_others(folder: os.stat_result, file: os.stat_result) -> str | None:
    """Why a file may say what others want; None when only the user, or root, can have written it."""
    if not hasattr(os, "geteuid"):
        return None
    if folder.st_uid not in (os.geteuid(), 0) or (folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX):
        return "its folder is another user's, or anybody may write there"
    if file.st_uid not in (os.geteuid(), 0) or file.st_mode & stat.S_IWOTH:
        return "it is another user's, or anybody may write it"
    return None


def foreign(folder: Path) -> str | None:
    """Why a data folder is not to be used at all: it is another user's; None when it is one's own."""
    user = os.geteuid() if hasattr(os, "geteuid") else None
    if user is not None and (owner := folder.stat().st_uid) != user:
        return f"The data folder {folder} belongs to another user (id {owner}); choose another one with --data-dir."
    return None


def planted(folder: Path) -> str | None:
    """What in a data folder is not docworker's: it stands elsewhere, is another user's, or no file; None when nothing is."""
    for entry in chain(folder.iterdir(), folder.glob("refreshing/**/*"), folder.glob("shelf/**/*")):
        if entry.name == "config.toml":  # whoever reads it looks at it: it may well stand elsewhere
            continue
        found = entry.lstat()
        if stat.S_ISLNK(found.st_mode):
            return f"{entry} is a link, and docworker does not write through links; delete it, or move the whole data folder."
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            return f"{entry} belongs to another user; delete it, or choose another folder with --data-dir."
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            return f"{entry} is neither a file nor a folder; delete it."
    return None


def is_held(folder: Path) -> bool:
    """Whether a process has the data folder for itself, also one that does not answer."""
    try:
        if not stat.S_ISREG((folder / LOCK).lstat().st_mode):
            return False
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except FileNotFoundError:
        return False
    except (Timeout, OSError):
        return True
    lock.release()
    return False
