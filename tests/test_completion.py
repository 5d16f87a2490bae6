"""Completion in shells: what a Tab offers, by the very protocol that the scripts speak, and by bash itself."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from docworker.model import PageState
from tests import forked
from tests.daemon import Daemon
from tests.site import Site

ROOT = Path(__file__).parent.parent
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `docworker` as an installation makes it."""
    file = tmp_path_factory.mktemp("bin") / "docworker"
    file.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom cli.main import main\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    file.chmod(0o755)
    return file


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    """A daemon with docsets of three names."""
    with (
        Daemon(tmp_path_factory.mktemp("completion") / "data", cache_dir) as running,
        Site({"/": "<h1>Docs</h1><p>T.</p>"}) as site,
    ):
        for number, name in enumerate(("Almanac", "Alpine-3.20", "Big $(touch oops) Book")):
            site.pages[f"/{number}/"] = "<h1>Docs</h1><p>Text.</p>"
            running.post("/index", baseUrl=site.url, seedSlug=f"/{number}/", name=name)
        yield running


def offered(program: Path, environment: dict[str, str], line: str, shell: str = "bash") -> list[str]:
    """What is offered at the end of `line`, as the shell's script asks for it."""
    words = line.split(" ")
    variables = {"_DOCWORKER_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    if shell == "fish":
        variables["COMP_CWORD"] = words[-1]
    finished = forked.command(environment | variables, program=program)
    assert (finished.returncode, finished.stderr) == (0, "")
    return [line for line in finished.stdout.splitlines() if line]  # an empty line when nothing is offered


def values(program: Path, daemon: Daemon, line: str) -> list[str]:
    return [value.removeprefix("plain,") for value in offered(program, daemon.environment, line)]


def ids(daemon: Daemon) -> dict[str, str]:
    return {docset["name"]: docset["id"] for docset in daemon.get("/status")["docsets"]}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_printed(program: Path, shared: Daemon, shell: str) -> None:
    printed = subprocess.run(
        [program, "completion", shell], env=shared.environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert f"_DOCWORKER_COMPLETE={shell}_complete" in printed.stdout
    assert printed.stderr == ""
    as_json = forked.command(shared.environment, "completion", shell, "--json", program=program)
    assert json.loads(as_json.stdout) == {"shell": shell, "script": printed.stdout}
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=printed.stdout, capture_output=True, text=True, timeout=60, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_commands_and_their_options_are_completed(program: Path, shared: Daemon) -> None:
    assert values(program, shared, "docworker re") == ["refresh", "refresh-all", "restart"]
    assert values(program, shared, "docworker service un") == ["uninstall"]
    assert values(program, shared, "docworker logs --l") == ["--lines", "--level"]
    assert values(program, shared, "docworker service install --refresh w") == ["weekly"]


def test_states_are_completed(program: Path, shared: Daemon) -> None:
    assert values(program, shared, "docworker pages Almanac --status ") == [state.value for state in PageState]


@pytest.mark.parametrize(
    "line", ["status", "pages", "refresh", "delete", "search x --docset", "why https://x.example/ --docset", "pages --limit 5"]
)
def test_a_docset_is_completed_wherever_one_is_named(program: Path, shared: Daemon, line: str) -> None:
    assert set(values(program, shared, f"docworker {line} ")) == {"Almanac", "Alpine-3.20", ids(shared)["Big $(touch oops) Book"]}


def test_a_docset_is_completed_by_its_id_and_by_a_name_that_is_one_word(program: Path, shared: Daemon) -> None:
    known = ids(shared)
    id_, *others = known.values()
    length = next(n for n in range(1, 13) if not any(other.startswith(id_[:n]) for other in others))
    assert id_ in values(program, shared, f"docworker pages {id_[:length]}")
    assert values(program, shared, "docworker pages al") == ["Almanac", "Alpine-3.20"]
    assert values(program, shared, "docworker pages big") == [known["Big $(touch oops) Book"]], (
        "no shell reads its name as a word"
    )
    assert values(program, shared, "docworker pages nothing") == []


def test_zsh_is_told_what_a_docset_is(program: Path, shared: Daemon) -> None:
    kind, value, described = offered(program, shared.environment, "docworker pages alm", "zsh")
    assert (kind, value) == ("plain", "Almanac")
    assert described.startswith("Almanac, http")
    assert offered(program, shared.environment, "docworker pages alm", "fish")[-1].startswith("plain")


def test_without_a_daemon_nothing_is_offered_started_or_said(program: Path, tmp_path: Path, shared: Daemon) -> None:
    environment = shared.environment | {"DOCWORKER_DATA_DIR": str(tmp_path / "data")}
    assert offered(program, environment, "docworker pages ") == []
    assert not (tmp_path / "data").exists()
    assert offered(program, environment | {"DOCWORKER_NONSENSE": "1"}, "docworker pages ") == []
    (tmp_path / "data").mkdir()
    told = json.loads((shared.settings.data_dir / "daemon.json").read_text())
    for wrong in ("", "[]", "{}", json.dumps(told | {"instance": "another"}), json.dumps(told | {"host": "a b"})):
        (tmp_path / "data" / "daemon.json").write_text(wrong)
        assert offered(program, environment, "docworker pages ") == []


def test_a_daemon_that_does_not_answer_is_not_waited_for(program: Path, tmp_path: Path, shared: Daemon) -> None:
    environment = shared.environment | {"DOCWORKER_DATA_DIR": str(tmp_path)}
    begin = time.monotonic()
    assert offered(program, environment, "docworker pages ") == []
    alone_s = time.monotonic() - begin
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server, FileLock(tmp_path / "lock"):
        threading.Thread(target=lambda: held.append(server.accept()[0]), daemon=True).start()
        told = {"instance": "x", "pid": os.getpid(), "host": "127.0.0.1", "port": server.getsockname()[1], "version": "0"}
        (tmp_path / "daemon.json").write_text(json.dumps(told))
        begin = time.monotonic()
        assert offered(program, environment, "docworker pages ") == []
        waited_s = time.monotonic() - begin
    assert held, "it was asked"
    held[0].close()
    assert waited_s < alone_s + 5


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_with_the_script(program: Path, shared: Daemon, tmp_path: Path) -> None:
    script = (
        'eval "$(docworker completion bash)"; complete -p docworker\n'
        'try() { COMP_WORDS=(docworker "$@"); COMP_CWORD=$#; COMPREPLY=(); _docworker_completion docworker; '
        'printf "%s|" "${COMPREPLY[@]}"; echo; }\n'
        "compopt() { :; }\ntry re\ntry pages al\ntry pages Almanac --status s\n"
    )
    environment = shared.environment | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    finished = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path
    )
    assert finished.stderr == ""
    assert finished.stdout.splitlines() == [
        "complete -o nosort -F _docworker_completion docworker",
        "refresh|refresh-all|restart|",
        "Almanac|Alpine-3.20|",
        "skipped|",
    ]
