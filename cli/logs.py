"""`docworker logs`: the end of the daemon's log, over rotated files, and what is added to it. Needs no daemon."""

import itertools
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click

from cli.client import Failure
from cli.options import data_dir_option, json_option, sentences
from docworker.folder import LOG_FILE
from docworker.settings import load

_LEVELS = ("debug", "info", "warning", "error", "critical")
_POLL_S = 0.2
_INTERRUPTED = 130  # as of a program that SIGINT ended
_HEAD = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ([A-Z]+) (\S+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the log with all its lines, those of a traceback too."""

    text: str

    def parts(self) -> dict[str, str | None]:
        """Its time, with the offset of this machine's clock, level, logger and message; only a message where it has no head."""
        found = _HEAD.fullmatch(self.text)
        if found is None:
            return {"time": None, "level": None, "logger": None, "message": self.text}
        moment = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").astimezone()
        when = moment.isoformat(timespec="milliseconds")
        return {"time": when, "level": found[2].lower(), "logger": found[3], "message": found[4]}

    def passes(self, level: str | None) -> bool:
        """Whether it is of this level or a higher one."""
        found = _HEAD.match(self.text)
        own = found[2].lower() if found else None
        return level is None or (own in _LEVELS and _LEVELS.index(own) >= _LEVELS.index(level))


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Lines put together to entries: a line without a head belongs to the one before it."""
    gathered: list[str] = []
    for line in lines:
        if gathered and _HEAD.match(line):
            yield Entry("\n".join(gathered))
            gathered = []
        gathered.append(line)
    if gathered:
        yield Entry("\n".join(gathered))


def files(folder: Path) -> list[Path]:
    """The log and the files it was rotated into, the newest first."""
    rotated = [path for path in folder.glob(f"{LOG_FILE}.*") if path.suffix[1:].isdecimal()]
    found = [folder / LOG_FILE, *sorted(rotated, key=lambda path: int(path.suffix[1:]))]
    return [path for path in found if path.is_file()]


def tail(newest_first: Iterable[bytes], number: int, level: str | None) -> list[Entry]:
    """The last `number` entries of this level or a higher one; takes no more of the files than it needs."""
    found: list[Entry] = []
    for content in newest_first:
        lines = content.decode(errors="replace").removesuffix("\n").split("\n") if content else []
        found = [entry for entry in entries(lines) if entry.passes(level)] + found
        if len(found) >= number:
            break
    return found[-number:] if number else []


class Follower:
    """Reads what is added to the log, through rotation and truncation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def read(self) -> bytes:
        """What was added since the last call: at first all that the log holds."""
        if self._file is None:
            return self._open(self._folder / LOG_FILE)
        added = self._file.read()
        own = os.fstat(self._file.fileno())
        try:
            now = (self._folder / LOG_FILE).stat()
        except FileNotFoundError:  # just being rotated
            return added
        if os.path.samestat(own, now):
            if now.st_size < self._file.tell():
                self._file.seek(0)
                added += self._file.read()
            return added
        # what was written until the rotation, then all that came after it
        added += self._file.read()
        newer = list(itertools.takewhile(lambda path: not os.path.samestat(path.stat(), own), files(self._folder)))
        if len(newer) == len(files(self._folder)):  # the old one was removed, and no rotated file is newer
            newer = newer[:1]
        return added + b"".join(self._open(path) for path in reversed(newer))

    def _open(self, path: Path) -> bytes:
        try:
            opened = path.open("rb")
        except FileNotFoundError:
            return b""
        if self._file is not None:
            self._file.close()
        self._file = opened
        return opened.read()


def follow(follower: Follower, rest: bytes) -> Iterator[Entry]:
    """The entries that are added, forever; each when the next begins, or when nothing more came for a moment.

    `rest` is the beginning of a line that was read already.
    """
    gathered: list[str] = []
    while True:
        added = follower.read()
        *lines, rest = (rest + added).split(b"\n")
        for line in (each.decode(errors="replace") for each in lines):
            if gathered and _HEAD.match(line):
                yield Entry("\n".join(gathered))
                gathered = []
            gathered.append(line)
        if not added:
            if gathered:
                yield Entry("\n".join(gathered))
                gathered = []
            time.sleep(_POLL_S)


@click.command()
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("-n", "--lines", "number", type=click.IntRange(0), default=100, show_default=True, help="Entries to show.")
@click.option("--level", type=click.Choice(_LEVELS, case_sensitive=False), help="Only entries of this level or a higher one.")
@data_dir_option
@json_option
@sentences
def logs(following: bool, number: int, level: str | None, data_dir: str | None, as_json: bool) -> None:
    """Print the end of the daemon's log, whether it runs or not. The lines of a traceback belong to their entry.

    With --json it is a list of {time, level, logger, message}; with --json and -f it is one such document per line.
    """
    folder = load({"data_dir": data_dir}).settings.data_dir
    follower = Follower(folder)
    newest = follower.read()
    older = files(folder)[1:]
    if not newest and not files(folder) and not following:
        raise Failure(f"There is no log in {folder}: no daemon has run there yet.")
    rest = b""
    if following:  # a line that is being written comes with what follows
        *_, rest = newest.split(b"\n")
        newest = newest[: len(newest) - len(rest)]
    found = tail(itertools.chain([newest], (path.read_bytes() for path in older)), number, level)
    if not following:
        if as_json:
            click.echo(json.dumps([entry.parts() for entry in found]))
        elif found:
            click.echo("\n".join(entry.text for entry in found))
        return
    try:
        for entry in itertools.chain(found, follow(follower, rest)):
            if entry.passes(level):
                click.echo(json.dumps(entry.parts()) if as_json else entry.text)
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
