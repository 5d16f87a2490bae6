"""`docworker logs`: the last entries over rotated files, and those that are added, through rotation and truncation."""

import json
import logging
import logging.handlers
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from docworker.folder import LOG_FILE
from tests import forked
from tests.daemon import Daemon

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"  # the daemon's
Finished = subprocess.CompletedProcess[str]


class Log:
    """A log as the daemon writes it, rotated after `size` bytes."""

    def __init__(self, folder: Path, size: int = 1_000_000) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._handler = logging.handlers.RotatingFileHandler(folder / LOG_FILE, maxBytes=size, backupCount=3, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter(FORMAT))
        self._logger = logging.Logger("docworker.test")
        self._logger.addHandler(self._handler)

    def say(self, *messages: str, level: int = logging.INFO) -> None:
        for message in messages:
            self._logger.log(level, message)

    def fail(self, message: str) -> None:
        """An entry with a traceback."""
        try:
            raise ValueError("of\ntwo lines")
        except ValueError:
            self._logger.exception(message)

    def close(self) -> None:
        self._handler.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "data")
    yield made
    made.close()


def environment(folder: Path) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("DOCWORKER_")}
    return found | {"DOCWORKER_DATA_DIR": str(folder), "TZ": "UTC"}


def run(folder: Path, *arguments: str) -> Finished:
    return forked.command(environment(folder), "logs", *arguments)


def shown(folder: Path, *arguments: str) -> list[str]:
    """The lines without their heads."""
    finished = run(folder, *arguments)
    assert (finished.returncode, finished.stderr) == (0, "")
    return [re.sub(r"^[\d-]+ [\d:,]+ [A-Z]+ docworker\.test: ", "", line) for line in finished.stdout.splitlines()]


def read(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    finished = run(folder, *arguments, "--json")
    assert (finished.returncode, finished.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(finished.stdout)
    return found


class Following:
    """`docworker logs -f` as it runs; lines are read as they come."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "cli", "logs", "-f", *arguments]
        self.process = subprocess.Popen(
            command, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.removesuffix("\n"))

    def lines(self, number: int) -> list[str]:
        """The next lines, without their heads."""
        found = [self._lines.get(timeout=60) for _ in range(number)]
        return [re.sub(r"^[\d-]+ [\d:,]+ [A-Z]+ docworker\.test: ", "", line) for line in found]

    def nothing_more(self) -> bool:
        return self._lines.empty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait(30)


# -- the end of it


def test_the_end_of_the_log_is_shown(log: Log) -> None:
    log.say(*(f"entry {n}" for n in range(250)))
    assert shown(log.folder) == [f"entry {n}" for n in range(150, 250)]
    assert shown(log.folder, "-n", "2") == ["entry 248", "entry 249"]
    assert len(shown(log.folder, "-n", "1000")) == 250
    assert shown(log.folder, "-n", "0") == []


def test_what_is_asked_for_is_taken_from_rotated_files_too(tmp_path: Path) -> None:
    log = Log(tmp_path / "data", size=1_000)
    log.say(*(f"entry {n}" for n in range(60)))
    log.close()
    kept = shown(log.folder, "-n", "1000")
    assert len(list(log.folder.iterdir())) == 4
    assert kept == [f"entry {n}" for n in range(60 - len(kept), 60)]
    in_newest = len((log.folder / LOG_FILE).read_text().splitlines())
    assert 0 < in_newest < len(kept) // 3
    for number in (in_newest - 1, in_newest, in_newest + 1, len(kept) - 1):
        assert shown(log.folder, "-n", str(number)) == kept[-number:]


def test_json_tells_the_parts_of_each_entry_and_keeps_a_traceback_together(log: Log) -> None:
    log.say("one: with a colon")
    log.fail("it broke")
    log.say("deux — é", level=logging.WARNING)
    first, second, third = read(log.folder)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert first == {"level": "info", "logger": "docworker.test", "message": "one: with a colon"}
    assert second["message"].startswith("it broke\nTraceback (most recent call last):\n")
    assert second["message"].endswith("\nValueError: of\ntwo lines")
    assert (third["level"], third["message"]) == ("warning", "deux — é")
    assert [entry["message"] for entry in read(log.folder, "-n", "2")] == [second["message"], third["message"]]
    assert shown(log.folder, "-n", "2")[0] == "it broke"


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", "diwec"), ("info", "iwec"), ("warning", "wec"), ("ERROR", "ec"), ("critical", "c")],
)
def test_only_entries_of_a_level_or_a_higher_one(log: Log, level: str, expected: str) -> None:
    for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        log.say(name[0].lower(), level=getattr(logging, name))
    assert "".join(shown(log.folder, "--level", level)) == expected
    assert [entry["message"] for entry in read(log.folder, "--level", level, "-n", "1")] == [expected[-1]]


def test_lines_that_are_no_entries_are_shown_and_break_nothing(log: Log) -> None:
    (log.folder / LOG_FILE).write_bytes(b"\xff\xfe no head\nstill none\n")
    log.say("an entry with \u2028 in it")
    first, second = read(log.folder)
    assert first == {"time": None, "level": None, "logger": None, "message": "\ufffd\ufffd no head\nstill none"}
    assert second["message"] == "an entry with \u2028 in it"
    assert len(read(log.folder, "--level", "debug")) == 1


def test_without_a_log_one_sentence_says_so(tmp_path: Path) -> None:
    for arguments in ([], ["--json"]):
        finished = run(tmp_path, *arguments)
        assert (finished.returncode, finished.stdout) == (1, "")
        assert finished.stderr == f"There is no log in {tmp_path}: no daemon has run there yet.\n"
    (tmp_path / LOG_FILE).touch()
    assert read(tmp_path) == []


def test_the_log_of_a_daemon_is_read_while_it_runs_and_after(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    with daemon:
        found = read(daemon.settings.data_dir)
        assert f"answers at {daemon.url}" in found[0]["message"]
        assert (found[0]["level"], found[0]["logger"]) == ("info", "docworker.daemon")
    assert read(daemon.settings.data_dir, "-n", "1")[0]["message"] == "stopped"
    assert all(entry["time"] for entry in read(daemon.settings.data_dir))


# -- following


def test_following_shows_the_end_and_then_what_is_added(log: Log) -> None:
    log.say("a", "b", "c")
    with Following(log.folder, "-n", "2") as following:
        assert following.lines(2) == ["b", "c"]
        log.say("d")
        assert following.lines(1) == ["d"]
        log.fail("it broke")
        assert following.lines(2) == ["it broke", "Traceback (most recent call last):"]


def test_following_goes_on_through_every_rotation(tmp_path: Path) -> None:
    log = Log(tmp_path / "data", size=1_000)
    log.say("entry 0")
    with Following(log.folder) as following:
        assert following.lines(1) == ["entry 0"]
        for begin in range(1, 200, 20):  # each time it is rotated once or twice
            log.say(*(f"entry {n}" for n in range(begin, begin + 20)))
            assert following.lines(20) == [f"entry {n}" for n in range(begin, begin + 20)]
        assert following.nothing_more()
    log.close()


def test_following_goes_on_when_the_log_is_emptied(log: Log) -> None:
    log.say("a" * 100)
    with Following(log.folder) as following:
        following.lines(1)
        os.truncate(log.folder / LOG_FILE, 0)
        log.say("b")
        assert following.lines(1) == ["b"]


def test_following_waits_for_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    with Following(tmp_path / "data") as following:
        log = Log(tmp_path / "data")
        log.say("first")
        assert following.lines(1) == ["first"]
        log.close()


def test_a_line_is_shown_when_it_is_whole(log: Log) -> None:
    log.say("a")
    with (log.folder / LOG_FILE).open("a") as file:
        file.write("2026-01-02 03:04:05,678 INFO docworker.test: in tw")
        file.flush()
        with Following(log.folder) as following:
            assert following.lines(1) == ["a"]
            file.write("o pieces\n")
            file.flush()
            assert following.lines(1) == ["in two pieces"]


def test_following_as_json_is_one_document_a_line(log: Log) -> None:
    log.say("a")
    log.fail("it broke")
    with Following(log.folder, "--json", "--level", "warning") as following:
        (line,) = following.lines(1)
        assert json.loads(line)["message"].startswith("it broke\nTraceback")
        log.say("passed over")
        log.say("b", level=logging.WARNING)
        (line,) = following.lines(1)
        assert json.loads(line)["message"] == "b"


def test_ctrl_c_ends_it_quietly(log: Log) -> None:
    log.say("a")
    with Following(log.folder) as following:
        following.lines(1)
        following.process.send_signal(signal.SIGINT)
        assert following.process.wait(30) == 130
        assert following.process.stderr is not None
        assert following.process.stderr.read() == ""


def test_a_reader_that_is_gone_ends_it_quietly(log: Log) -> None:
    log.say("a", "b")
    command = f'"{sys.executable}" -m cli logs -f | head -n 1'
    with subprocess.Popen(
        ["bash", "-c", command], env=environment(log.folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(": a\n")
        while process.poll() is None:  # it notices when it writes
            log.say("more")
            wait_a_moment(process)
        assert process.stderr.read() == ""


def wait_a_moment(process: "subprocess.Popen[str]") -> None:
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        return
