"""What holds for every command, those of groups too: help, --json, a line in the README, a quiet end, a quick start."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cli.main import main
from tests import forked
from tests.daemon import Daemon

README = Path(__file__).parent.parent / "README.md"
Finished = subprocess.CompletedProcess[str]


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path; of groups also those inside."""
    for name, command in sorted(group.commands.items()):
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


ALL = dict(walk(main))


def environment(tmp_path: Path) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("DOCWORKER_")}
    return found | {
        "DOCWORKER_DATA_DIR": str(tmp_path / "data"),
        "DOCWORKER_CACHE_DIR": str(tmp_path / "cache"),
        "DOCWORKER_PORT": "0",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


def run(variables: Mapping[str, str], *arguments: str) -> Finished:
    return forked.command(variables, *arguments)


def document(finished: Finished) -> Any:
    assert (finished.returncode, finished.stderr) == (0, "")
    return json.loads(finished.stdout)


def test_the_walk_finds_the_commands_of_groups() -> None:
    assert {("service", "install"), ("logs",), ("completion",), ("restart",)} <= ALL.keys()


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_that_says_what_it_does_and_what_each_option_means(path: tuple[str, ...]) -> None:
    found = CliRunner().invoke(main, [*path, "--help"], prog_name="docworker")
    assert found.exit_code == 0
    assert found.output.startswith(f"Usage: docworker {' '.join(path)} ")
    assert len(found.output.split("\n")[2].strip()) > 10
    options = [parameter for parameter in ALL[path].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("path", [path for path, command in ALL.items() if not isinstance(command, click.Group)], ids=" ".join)
def test_every_command_takes_json(path: tuple[str, ...]) -> None:
    assert "--json" in {name for parameter in ALL[path].params for name in parameter.opts}


@pytest.mark.parametrize("path", [path for path, command in ALL.items() if not isinstance(command, click.Group)], ids=" ".join)
def test_the_readmes_table_of_commands_names_every_command(path: tuple[str, ...]) -> None:
    text = README.read_text("utf-8")
    table = text[text.index("| command | does |") :].partition("\n\n")[0]
    cells = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]
    # a cell names one command or several, of a group as "`docworker service install` · `uninstall`"
    named = set()
    for cell in cells:
        first, *others = [name.removeprefix("docworker ") for name in re.findall(r"`([^`]+)`", cell)]
        group = first.split(" ")[0]
        before = f"{group} " if isinstance(main.commands.get(group), click.Group) else ""
        named |= {first, *(before + other for other in others)}
    assert any(name == " ".join(path) or name.startswith(" ".join([*path, ""])) for name in named)


PIPED = {
    "completion bash": "",
    "service install --print": "",
    "service status": "",
    "logs": "2026-01-02 03:04:05,678 INFO x: text\n" * 5_000,
    "logs --json": "2026-01-02 03:04:05,678 INFO x: text\n" * 5_000,
}


@pytest.mark.parametrize("command", PIPED)
def test_output_piped_to_a_reader_that_goes_away_ends_quietly(tmp_path: Path, command: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "docworker.log").write_text(PIPED[command])
    more = ["-n", "5000"] if command.startswith("logs") else []
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *command.split(), *more],
        env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(60)


@pytest.mark.parametrize("arguments", [["--help"], ["service", "--help"], ["logs", "--help"], ["completion", "bash"]])
def test_help_and_completion_load_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stderr.split()
    assert "click" in loaded
    heavy = {"aiohttp", "apsw", "fastembed", "lancedb", "lxml", "numpy", "onnx", "onnxruntime", "pyarrow", "selectolax"}
    assert heavy & set(loaded) == set()


# -- restart


@pytest.fixture
def idle(make_daemon: Callable[..., Daemon]) -> dict[str, str]:
    """The environment of a daemon that does not run yet."""
    return make_daemon("idle").environment


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_restart_starts_a_daemon_where_none_runs(idle: dict[str, str]) -> None:
    said = document(run(idle, "restart", "--json"))
    assert said["ran"] is False
    started = document(run(idle, "start", "--json"))
    assert (started["url"], started["pid"]) == (said["url"], said["pid"])


def test_restart_keeps_the_flags_that_the_daemon_was_started_with(idle: dict[str, str]) -> None:
    port = free_port()
    before = document(run(idle, "start", "--json", "--port", str(port), "--host", "localhost", "--keep-alive"))
    file = Path(idle["DOCWORKER_DATA_DIR"]) / "daemon.json"
    flags = {"port": port, "host": "localhost", "keep_alive": True}
    assert json.loads(file.read_text())["flags"] == flags
    after = document(run(idle, "restart", "--json"))
    assert after["url"] == before["url"] == f"http://localhost:{port}"
    assert after["pid"] != before["pid"]
    assert after["ran"] is True
    assert json.loads(file.read_text())["flags"] == flags, "the next restart keeps them too"


def test_restart_takes_over_settings_that_have_changed_and_says_the_new_address(idle: dict[str, str]) -> None:
    """Settings are no flags: whoever changes one and restarts wants it to hold."""
    before = document(run(idle, "start", "--json"))
    port = free_port()
    finished = run(idle | {"DOCWORKER_PORT": str(port)}, "restart")
    assert finished.returncode == 0
    assert re.fullmatch(
        rf"docworker answers at http://127\.0\.0\.1:{port} \(pid \d+\)\. It was at {re.escape(before['url'])} before\.\n",
        finished.stdout,
    )


def test_a_wrong_setting_is_said_before_anything_is_stopped(idle: dict[str, str]) -> None:
    before = document(run(idle, "start", "--json"))
    finished = run(idle | {"DOCWORKER_PORT": "many"}, "restart")
    assert finished.returncode == 2
    assert "port (from DOCWORKER_PORT)" in finished.stderr
    still = document(run(idle, "start", "--json"))
    assert (still["pid"], still["url"]) == (before["pid"], before["url"])


def test_a_daemon_of_an_earlier_version_that_tells_no_flags_is_restarted(idle: dict[str, str]) -> None:
    before = document(run(idle, "start", "--json"))
    file = Path(idle["DOCWORKER_DATA_DIR"]) / "daemon.json"
    told = json.loads(file.read_text())
    del told["flags"]
    file.write_text(json.dumps(told))
    after = document(run(idle, "restart", "--json"))
    assert after["ran"] is True
    assert after["pid"] != before["pid"]
