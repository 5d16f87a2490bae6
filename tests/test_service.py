"""docworker as a service: what the units say, what is written and removed, and what systemctl and launchctl are told.

systemctl and launchctl are programs of other people; here scripts of these names on PATH write down how they are called.
"""

import json
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cli import service
from cli.client import Failure
from cli.managers import Launchd, manager_of
from cli.units import (
    AGENT,
    MARK,
    PERIODS,
    REFRESH,
    REFRESH_AGENT,
    SERVICE,
    TIMER,
    Wanted,
    environment,
    environment_of,
    systemd_units,
)
from docworker.errors import AlreadyRunning
from docworker.folder import LOG_FILE
from docworker.settings import Loaded, Settings, load
from docworker.upkeep import discard
from tests import forked
from tests.daemon import Daemon
from tests.site import Site

ROOT = Path(__file__).parent.parent
NASTY = '/srv/it\'s 100%h of "my" $docs\\now; é'
Finished = subprocess.CompletedProcess[str]


@dataclass
class Program:
    """A program of another's, such as systemctl, of which only the calls count.

    `calls` lists them without what all have in common; a verb in `fails` ends with 1; `shows` is what `show` or `print` says.
    """

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.folder.mkdir()
        program = self.folder / self.name
        program.write_text(
            f"#!/bin/sh\nhere={shlex.quote(str(self.folder))}\n"
            'for word in "$@"; do printf "%s\\n" "$word"; done >> "$here/calls"; echo >> "$here/calls"\n'
            '[ "$1" = --user ] && shift\n'
            'if [ "$1" = show ] || [ "$1" = print ]; then cat "$here/shows"; fi\n'
            'if [ -e "$here/do-$1" ]; then . "$here/do-$1"; fi\n'
            'if [ -e "$here/fail-$1" ]; then echo "no bus" >&2; exit 1; fi\n'
        )
        program.chmod(0o755)
        (self.folder / "shows").touch()

    def calls(self) -> list[str]:
        """Every call since the last time this was asked, its words joined."""
        file = self.folder / "calls"
        if not file.exists():
            return []
        found = [" ".join(call.split("\n")) for call in file.read_text().removesuffix("\n\n").split("\n\n")]
        file.unlink()
        return [call for call in found if " show " not in call]

    def fails(self, *verbs: str) -> None:
        for verb in verbs:
            (self.folder / f"fail-{verb}").touch()

    def does(self, verb: str, script: str) -> None:
        (self.folder / f"do-{verb}").write_text(script)

    def shows(self, text: str) -> None:
        (self.folder / "shows").write_text(text)


@dataclass
class Home:
    """A user's home folder with a systemctl of its own."""

    folder: Path
    systemctl: Program
    variables: dict[str, str]

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> Finished:
        return forked.command(self.variables | variables, *arguments, stdin=stdin)

    def json(self, *arguments: str, **variables: str) -> Any:
        finished = self.run(*arguments, "--json", **variables)
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr == ""
        return json.loads(finished.stdout)

    @property
    def units(self) -> Path:
        return self.folder / "config" / "systemd" / "user"

    @property
    def data(self) -> Path:
        return self.folder / "my data"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    systemctl = Program(tmp_path / "bin", "systemctl")
    folder = tmp_path / "home"
    folder.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("DOCWORKER_")}
    variables |= {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PATH": f"{systemctl.folder}:{os.environ['PATH']}",
        "DOCWORKER_DATA_DIR": str(folder / "my data"),
        "DOCWORKER_CACHE_DIR": str(folder / "cache"),
        "DOCWORKER_PORT": "0",
    }
    return Home(folder, systemctl, variables)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the command takes the platform it runs on")


# -- the units


def wanted(refresh: str = "daily", command: tuple[str, ...] = ("/bin/docworker",), **variables: str) -> Wanted:
    return Wanted(command, variables, refresh, "here")


# what an environment may hold, of what systemd takes: UTF-8 without control characters but tab and line feed
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n%\\\"'$;#"), max_size=30)


@given(VALUES)
def test_what_is_quoted_in_a_unit_is_read_back(value: str) -> None:
    unit = systemd_units(wanted(DOCWORKER_DATA_DIR=value, DOCWORKER_PORT="7"))[SERVICE]
    assert environment_of(unit) == {"DOCWORKER_DATA_DIR": value, "DOCWORKER_PORT": "7"}


def test_blanks_quotes_and_percent_signs_are_written_as_systemd_reads_them() -> None:
    unit = systemd_units(wanted(command=("/my bin/100%/$docworker",), DOCWORKER_DATA_DIR=NASTY))[SERVICE].splitlines()
    assert r'ExecStart="/my bin/100%%/$docworker" serve --keep-alive' in unit
    assert r'''Environment="DOCWORKER_DATA_DIR=/srv/it's 100%%h of \"my\" $docs\\now; é"''' in unit
    unit = systemd_units(wanted(command=("/it's $mine/python", "-m", "cli")))[SERVICE].splitlines()
    assert r"""ExecStart="/usr/bin/env" "/it's $$mine/python" "-m" "cli" serve --keep-alive""" in unit


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd's own checker")
@pytest.mark.parametrize("refresh", [*PERIODS, "off"])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, refresh: str) -> None:
    program = tmp_path / 'my 100% "bin"' / "docworker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = systemd_units(wanted(refresh, command=(str(program),), DOCWORKER_DATA_DIR=NASTY, DOCWORKER_PORT="0"))
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in units]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    checked = subprocess.run(
        ["systemd-analyze", "--user", "verify", *files], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    (tmp_path / SERVICE).write_text(units[SERVICE].replace("Restart=on-failure", "Restart=sometimes"))
    checked = subprocess.run(
        ["systemd-analyze", "--user", "verify", *files], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "sometimes" in checked.stderr, "it looks at what it is given"


def test_a_refresh_asks_for_what_is_a_little_younger_than_its_period() -> None:
    """What was refreshed late the last time would else count as fresh this time, and be refreshed every other time."""
    hours = {"hourly": 1, "daily": 24, "weekly": 168}
    assert hours.keys() == PERIODS.keys()
    for refresh, period in hours.items():
        units = systemd_units(wanted(refresh))
        age = float(re.findall(r"--max-age ([\d.]+)$", units[REFRESH], re.MULTILINE)[0])
        assert period / 2 <= age < period
        assert "Persistent=true" in units[TIMER]
    assert systemd_units(wanted("off")).keys() == {SERVICE}


def test_machines_refresh_at_moments_of_their_own_and_each_always_at_the_same() -> None:
    moments = {systemd_units(Wanted(("/bin/docworker",), {}, "daily", f"machine {n}"))[TIMER] for n in range(20)}
    assert len(moments) > 15
    assert systemd_units(wanted()) == systemd_units(wanted())


def test_settings_of_environment_and_flags_stand_in_the_units_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("max_pages = 5")
    loaded = load({"data_dir": tmp_path}, {"DOCWORKER_PORT": "0", "DOCWORKER_IGNORE_ROBOTS": "yes", "DOCWORKER_HOST": "::1"})
    found = environment(loaded)
    assert found == {
        "DOCWORKER_DATA_DIR": str(tmp_path),
        "DOCWORKER_HOST": "::1",
        "DOCWORKER_IGNORE_ROBOTS": "True",
        "DOCWORKER_PORT": "0",
    }
    assert load({}, found).settings == loaded.settings, "a daemon with these variables has the same settings"
    assert environment(load({}, {})) == {"DOCWORKER_DATA_DIR": str(Settings().data_dir)}


def test_a_token_never_stands_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path / "data", token=SecretStr("s3cret-s3cret-s3cret"))
    loaded = Loaded(settings, {"data_dir": "flag", "port": "DOCWORKER_PORT", "token": "DOCWORKER_TOKEN"})
    manager, _ = launchd(tmp_path, monkeypatch)
    done = service.install(manager, loaded, service.wanted(loaded, ("/bin/docworker",), "daily"), force=False)
    assert done.files
    assert not any("s3cret" in Path(path).read_text() for path in done.files)
    assert any(f"put it into {tmp_path / 'data' / 'config.toml'}" in said for said in done.said)
    quiet = Loaded(settings, {"data_dir": "flag", "token": "config.toml"})
    done = service.install(manager, quiet, service.wanted(quiet, ("/bin/docworker",), "daily"), force=False)
    assert not any("token" in said for said in done.said)


# -- install and uninstall, with systemd


@linux_only
def test_install_writes_the_units_and_has_them_started(home: Home) -> None:
    said = home.json("service", "install")
    written = {str(home.units / name) for name in (SERVICE, REFRESH, TIMER)}
    assert said["files"] == dict.fromkeys(written, "written")
    assert (said["manager"], said["active"]) == ("systemd", True)
    assert {str(path) for path in home.units.iterdir()} == written
    unit = (home.units / SERVICE).read_text()
    assert f'ExecStart="{sys.executable}" "-m" "cli" serve --keep-alive\n' in unit
    assert environment_of(unit) == {name: value for name, value in home.variables.items() if name.startswith("DOCWORKER_")}
    calls = home.systemctl.calls()
    assert calls[0] == "--user daemon-reload"
    assert f"--user enable --now {TIMER} {SERVICE}" in calls
    assert not any(REFRESH in call.split() for call in calls), "the timer starts it"
    assert not home.data.exists()


@linux_only
def test_install_again_changes_nothing_and_a_change_restarts_what_runs(home: Home) -> None:
    home.json("service", "install")
    before = {path: path.stat().st_mtime_ns for path in home.units.iterdir()}
    home.systemctl.calls()
    home.systemctl.shows(f"Id={SERVICE}\nActiveState=active\nMainPID=7\n")
    said = home.json("service", "install")
    assert set(said["files"].values()) == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in home.units.iterdir()} == before
    assert not any("restart" in call for call in home.systemctl.calls())
    said = home.json("service", "install", DOCWORKER_PORT="7500")
    assert said["files"][str(home.units / SERVICE)] == "written"
    assert f"--user restart {SERVICE}" in home.systemctl.calls()


@linux_only
def test_refresh_off_takes_the_timer_away(home: Home) -> None:
    home.json("service", "install", "--refresh", "weekly")
    home.systemctl.calls()
    said = home.json("service", "install", "--refresh", "off")
    assert {Path(path).name: state for path, state in said["files"].items()} == {
        SERVICE: "unchanged",
        REFRESH: "removed",
        TIMER: "removed",
    }
    assert [path.name for path in home.units.iterdir()] == [SERVICE]
    calls = home.systemctl.calls()
    assert calls[0] == f"--user disable --now {REFRESH} {TIMER}"
    assert f"--user enable --now {SERVICE}" in calls


@linux_only
def test_data_dir_as_a_flag_holds_for_the_service(home: Home) -> None:
    home.json("service", "install", "--data-dir", str(home.folder / NASTY[1:]))
    assert environment_of((home.units / SERVICE).read_text())["DOCWORKER_DATA_DIR"] == str(home.folder / NASTY[1:])


@linux_only
def test_print_shows_what_would_be_written_and_writes_nothing(home: Home) -> None:
    shown = home.json("service", "install", "--print")["files"]
    said = home.run("service", "install", "--print")
    assert said.returncode == 0
    assert not home.units.exists()
    assert home.systemctl.calls() == []
    home.json("service", "install")
    assert shown == {str(path): path.read_text() for path in home.units.iterdir()}
    assert all(f"# {path}\n{text}" in said.stdout for path, text in shown.items())


@linux_only
@pytest.mark.parametrize("kind", ["file", "link", "dead link"])
def test_a_file_of_another_is_refused_and_overwritten_only_with_force(home: Home, kind: str) -> None:
    home.units.mkdir(parents=True)
    other = home.folder / "other"
    if kind != "dead link":
        other.write_text(f"# my own\n# {MARK}\n" if kind == "link" else "# my own\n")
    if kind == "file":
        other.rename(home.units / SERVICE)
    else:
        (home.units / SERVICE).symlink_to(other)
    finished = home.run("service", "install")
    assert finished.returncode == 1
    assert finished.stderr == (
        f"{home.units / SERVICE} was not written by docworker; move it away, or overwrite it with --force.\n"
    )
    assert [path.name for path in home.units.iterdir()] == [SERVICE]
    assert home.systemctl.calls() == []
    assert home.json("service", "uninstall")["files"] == {str(home.units / SERVICE): "left: not docworker's"}
    assert (home.units / SERVICE).is_symlink() or (home.units / SERVICE).exists()
    home.json("service", "install", "--force")
    assert not (home.units / SERVICE).is_symlink()
    assert MARK in (home.units / SERVICE).read_text()
    if kind == "link":
        assert other.read_text().startswith("# my own"), "the link was replaced, not followed"
    assert other.exists() == (kind == "link")


@linux_only
def test_without_a_user_manager_files_are_written_and_what_to_run_is_said(home: Home) -> None:
    home.systemctl.fails("daemon-reload", "show")
    said = home.json("service", "install")
    assert said["active"] is False
    assert len(list(home.units.iterdir())) == 3
    assert said["messages"] == [
        "systemd does not answer for this user here; once it does, run: "
        f"systemctl --user daemon-reload && systemctl --user enable --now {TIMER} {SERVICE}"
    ]
    assert home.systemctl.calls() == ["--user daemon-reload"]
    status = home.json("service", "status")
    assert (status["installed"], status["reachable"], status["running"]) == (True, False, None)
    home.systemctl.fails("disable")
    home.json("service", "uninstall")
    assert list(home.units.iterdir()) == []


@linux_only
def test_without_systemctl_cron_is_named(home: Home) -> None:
    folder = str(home.folder / "100% mine")
    finished = home.run("service", "install", PATH=str(home.folder), DOCWORKER_DATA_DIR=folder)
    assert finished.returncode == 1
    assert finished.stderr.startswith("There is no systemctl here; ")
    assert finished.stderr.count("\n") == 1
    line = finished.stderr.partition("@reboot ")[2].strip()
    assert rf"DOCWORKER_DATA_DIR='{home.folder}/100\% mine'" in line, "cron reads a bare % as the end of the line"
    words = shlex.split(line.replace(r"\%", "%"))
    assert words[-5:] == [sys.executable, "-m", "cli", "start", "--keep-alive"]
    assert f"DOCWORKER_DATA_DIR={folder}" in words
    assert not home.units.exists()


@linux_only
def test_what_systemctl_refuses_is_said(home: Home) -> None:
    home.systemctl.fails("enable")
    finished = home.run("service", "install")
    assert finished.returncode == 1
    assert finished.stderr == f"`systemctl --user enable --now {TIMER} {SERVICE}` failed: no bus\n"


@linux_only
def test_a_folder_that_cannot_be_written_is_said(home: Home) -> None:
    home.units.parent.mkdir(parents=True)
    home.units.write_text("a file")
    finished = home.run("service", "install")
    assert finished.returncode == 1
    assert re.fullmatch(rf"{re.escape(str(home.units))}/\S+ cannot be (read|written): .+\n", finished.stderr)


@linux_only
def test_a_daemon_that_runs_gives_way_to_the_service(home: Home) -> None:
    pid = home.json("start")["pid"]
    try:
        # one that the service runs already stays
        home.systemctl.shows(f"Id={SERVICE}\nActiveState=active\nMainPID={pid}\n")
        home.json("service", "install")
        assert home.json("start")["pid"] == pid
        home.systemctl.shows(f"Id={SERVICE}\nActiveState=inactive\nMainPID=0\n")
        # one that nobody would start again stays too
        home.systemctl.fails("show")
        home.json("service", "install")
        assert home.json("start")["pid"] == pid
        (home.systemctl.folder / "fail-show").unlink()
        said = home.json("service", "install")
        assert said["messages"][0].startswith(f"Stopped the daemon that ran (pid {pid})")
    finally:
        stopped = home.json("stop")
    assert stopped == {"stopped": False}


@linux_only
def test_uninstall_removes_what_was_installed_and_nothing_else(home: Home) -> None:
    home.json("service", "install")
    mine = home.units / "mine.service"
    mine.write_text("# mine\n")
    for target, unit in (("default.target", SERVICE), ("timers.target", TIMER)):
        (home.units / f"{target}.wants").mkdir()
        (home.units / f"{target}.wants" / unit).symlink_to(home.units / unit)
    home.data.mkdir()
    (home.data / "catalog.sqlite").write_text("")
    home.systemctl.calls()
    said = home.json("service", "uninstall")
    assert set(said["files"].values()) == {"removed"}
    assert said["dataDir"] == str(home.data)
    assert [path for path in home.units.rglob("*") if not path.is_dir()] == [mine]
    assert (home.data / "catalog.sqlite").exists()
    calls = home.systemctl.calls()
    assert calls[0] == f"--user disable --now {REFRESH} {TIMER} {SERVICE}"
    assert "--user daemon-reload" in calls
    again = home.run("service", "uninstall")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("docworker is not installed as a service.\nIndex and settings stay in ")
    assert home.systemctl.calls() == []


@linux_only
def test_status_tells_what_systemd_knows(home: Home) -> None:
    none = home.json("service", "status")
    assert (none["installed"], none["files"]) == (False, [])
    assert "not installed" in home.run("service", "status").stdout
    home.json("service", "install")
    home.systemctl.shows(
        f"Id={SERVICE}\nUnitFileState=enabled\nActiveState=active\nMainPID=4711\nResult=success\n\n"
        f"Id={REFRESH}\nUnitFileState=static\nActiveState=failed\nMainPID=0\nResult=exit-code\n"
        "ExecMainExitTimestamp=Mon 2026-11-23 14:10:05 UTC\n\n"
        f"Id={TIMER}\nUnitFileState=enabled\nActiveState=active\nNextElapseUSecRealtime=Tue 2026-11-24 14:03:00 UTC\n"
    )
    said = home.json("service", "status")
    assert said == {
        "manager": "systemd",
        "installed": True,
        "files": [str(home.units / name) for name in (SERVICE, REFRESH, TIMER)],
        "reachable": True,
        "enabled": True,
        "running": True,
        "pid": 4711,
        "refreshEnabled": True,
        "nextRefresh": 1795528980000,
        "lastRefresh": 1795443005000,
        "lastResult": "exit-code",
    }
    text = home.run("service", "status", TZ="Asia/Tokyo").stdout
    assert "It starts at login, and runs (pid 4711).\nNext refresh: Tuesday, 2026-11-24 23:03.\n" in text
    assert "Last refresh: Monday, 2026-11-23 23:10, exit-code.\n" in text


@linux_only
def test_restart_leaves_a_service_to_its_manager(home: Home, make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    home.json("service", "install", DOCWORKER_DATA_DIR=daemon.environment["DOCWORKER_DATA_DIR"])
    with daemon:
        assert daemon.process is not None
        home.systemctl.calls()
        home.systemctl.shows(f"Id={SERVICE}\nActiveState=active\nMainPID={daemon.process.pid}\n")
        home.systemctl.does(
            "restart",
            f"kill {daemon.process.pid}\nwhile [ -e {shlex.quote(str(daemon.settings.data_dir / 'daemon.json'))} ]; do :; done\n"
            f"{shlex.quote(sys.executable)} -m cli serve >/dev/null 2>&1 &\n",
        )
        variables = {name: value for name, value in daemon.environment.items() if name.startswith("DOCWORKER_")}
        said = home.json("restart", **variables)
        assert home.systemctl.calls() == [f"--user restart {SERVICE}"]
        assert daemon.process.wait(30) == 0
        assert said["ran"] is True
        assert said["pid"] != daemon.process.pid
        assert home.json("stop", **variables) == {"stopped": True}


# -- uninstall --purge


@pytest.fixture
def used(home: Home) -> Home:
    """A home with an index and a model, as docworker makes them."""
    home.data.mkdir()
    for name in (
        "lock",
        "catalog.sqlite",
        "catalog.sqlite-wal",
        "catalog.damaged-1.sqlite",
        LOG_FILE,
        f"{LOG_FILE}.2",
        "config.toml",
    ):
        (home.data / name).touch()
    (home.data / "shelf" / "chunks.lance").mkdir(parents=True)
    model = home.folder / "cache" / "all-MiniLM-L6-v2-1"
    model.mkdir(parents=True)
    (model / "model.onnx").touch()
    return home


@linux_only
def test_purge_asks_and_then_deletes_index_settings_and_models(used: Home) -> None:
    refused = used.run("service", "uninstall", "--purge", stdin="n\n")
    assert refused.returncode == 1
    assert f"Delete the index and settings in {used.data}, and the models in {used.folder / 'cache'}?" in refused.stderr
    assert (used.data / "catalog.sqlite").exists()
    said = used.json("service", "uninstall", "--purge", "--yes")
    assert said["purged"] == [str(used.data), str(used.folder / "cache")]
    assert said["left"] == []
    assert not used.data.exists()
    assert not (used.folder / "cache").exists()
    assert used.json("service", "uninstall", "--purge", "--yes")["purged"] == []


@linux_only
def test_purge_takes_the_folders_of_the_installed_service(used: Home) -> None:
    used.json("service", "install")
    other = {"DOCWORKER_DATA_DIR": str(used.folder / "other"), "DOCWORKER_CACHE_DIR": str(used.folder / "other cache")}
    said = used.json("service", "uninstall", "--purge", "--yes", **other)
    assert said["purged"] == [str(used.data), str(used.folder / "cache")]


@linux_only
def test_purge_leaves_what_docworker_did_not_make_and_follows_no_link(used: Home) -> None:
    precious = used.folder / "precious"
    precious.mkdir()
    (precious / "photo").touch()
    (used.data / "shelf" / "link").symlink_to(precious)
    (used.data / "refreshing").symlink_to(precious)
    (used.data / "notes.txt").touch()
    (used.folder / "cache" / "of another").mkdir()
    said = used.json("service", "uninstall", "--purge", "--yes")
    assert [path.name for path in used.data.iterdir()] == ["notes.txt"]
    assert [path.name for path in (used.folder / "cache").iterdir()] == ["of another"]
    assert said["left"] == [str(used.data / "notes.txt"), str(used.folder / "cache" / "of another")]
    assert str(used.data) not in said["purged"]
    assert (precious / "photo").exists()


@linux_only
@pytest.mark.parametrize("kind", ["link", "no catalog", "no lock"])
def test_purge_touches_no_folder_that_is_not_docworkers_own(used: Home, kind: str) -> None:
    moved = used.folder / "elsewhere"
    match kind:
        case "link":
            used.data.rename(moved)
            used.data.symlink_to(moved)
        case "no catalog":
            (used.data / "catalog.sqlite").unlink()
            (used.data / LOG_FILE).unlink()
        case "no lock":
            (used.data / "lock").unlink()
    before = sorted(used.data.rglob("*"))
    said = used.json("service", "uninstall", "--purge", "--yes")
    assert said["left"] == [str(used.data)]
    assert sorted(used.data.rglob("*")) == before


def test_purge_touches_nothing_while_a_daemon_holds_the_folder(used: Home) -> None:
    settings = Settings(data_dir=used.data, cache_dir=used.folder / "cache")
    before = sorted(used.folder.rglob("*"))
    with FileLock(used.data / "lock"), pytest.raises(AlreadyRunning, match="nothing was removed"):
        discard(settings)
    assert sorted(used.folder.rglob("*")) == before


@linux_only
def test_purge_stops_the_daemon_and_deletes_all_that_one_made(home: Home) -> None:
    with Site({"/docs/": "<h1>Docs</h1><p>Text.</p>"}) as site:
        home.json("index", f"{site.url}/docs/")
    assert any((home.folder / "cache").iterdir())
    said = home.json("service", "uninstall", "--purge", "--yes")
    assert said["left"] == []
    assert said["purged"] == [str(home.data), str(home.folder / "cache")]
    assert home.json("stop") == {"stopped": False}
    assert list(home.folder.iterdir()) == []


# -- launchd


def launchd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Launchd, Program]:
    """The manager of a Mac whose home folder is `tmp_path`, and its launchctl."""
    launchctl = Program(tmp_path / "mac bin", "launchctl")
    monkeypatch.setenv("PATH", f"{launchctl.folder}:{os.environ['PATH']}")
    manager = manager_of("darwin", tmp_path)
    assert isinstance(manager, Launchd)
    return manager, launchctl


def test_on_a_mac_agents_are_written_and_bootstrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, launchctl = launchd(tmp_path, monkeypatch)
    loaded = load({"data_dir": tmp_path / NASTY[1:]}, {"DOCWORKER_PORT": "0"})
    what = service.wanted(loaded, ("/my bin/docworker",), "daily")
    # nothing is loaded yet: `print` of an agent fails, `print` of the domain does not
    launchctl.does("print", 'case "$2" in */*/*) exit 113;; esac\n')
    done = service.install(manager, loaded, what, force=False)
    domain, agents = f"gui/{os.getuid()}", tmp_path / "Library" / "LaunchAgents"
    assert done.active
    assert sorted(path.name for path in agents.iterdir()) == [f"{AGENT}.plist", f"{REFRESH_AGENT}.plist"]
    calls = [call for call in launchctl.calls() if not call.startswith("print")]
    assert calls == [
        f"enable {domain}/{AGENT}", f"bootstrap {domain} {agents / AGENT}.plist",
        f"enable {domain}/{REFRESH_AGENT}", f"bootstrap {domain} {agents / REFRESH_AGENT}.plist",
    ]  # fmt: skip
    agent = plistlib.loads((agents / f"{AGENT}.plist").read_bytes())
    assert agent["ProgramArguments"] == ["/my bin/docworker", "serve", "--keep-alive"]
    assert agent["EnvironmentVariables"] == {"DOCWORKER_DATA_DIR": str(tmp_path / NASTY[1:]), "DOCWORKER_PORT": "0"}
    assert (agent["RunAtLoad"], agent["KeepAlive"], agent["Umask"]) == (True, {"SuccessfulExit": False}, 0o077)
    refresh = plistlib.loads((agents / f"{REFRESH_AGENT}.plist").read_bytes())
    assert refresh["ProgramArguments"][1:] == ["refresh-all", "--wait", "--no-start", "--max-age", "20"]
    assert refresh["StartCalendarInterval"].keys() == {"Hour", "Minute"}
    assert service.settings_of(manager)["data_dir"] == str(tmp_path / NASTY[1:])


def test_on_a_mac_only_what_changed_is_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, launchctl = launchd(tmp_path, monkeypatch)
    launchctl.shows(f"gui/501/{AGENT} = {{\n\tactive count = 1\n\tstate = running\n\tpid = 4711\n}}\n")
    loaded = load({"data_dir": tmp_path / "data"}, {})
    service.install(manager, loaded, service.wanted(loaded, ("/bin/docworker",), "daily"), force=False)
    launchctl.calls()
    service.install(manager, loaded, service.wanted(loaded, ("/bin/docworker",), "weekly"), force=False)
    domain, file = f"gui/{os.getuid()}", tmp_path / "Library" / "LaunchAgents" / f"{REFRESH_AGENT}.plist"
    calls = [call for call in launchctl.calls() if not call.startswith("print")]
    assert calls == [f"bootout {domain}/{REFRESH_AGENT}", f"enable {domain}/{REFRESH_AGENT}", f"bootstrap {domain} {file}"]
    state = manager.state()
    assert (state.reachable, state.enabled, state.running, state.pid) == (True, True, True, 4711)
    manager.restart()
    assert launchctl.calls()[-1] == f"kickstart -k {domain}/{AGENT}"


def test_on_a_mac_uninstall_boots_the_agents_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, launchctl = launchd(tmp_path, monkeypatch)
    loaded = load({"data_dir": tmp_path / "data"}, {})
    service.install(manager, loaded, service.wanted(loaded, ("/bin/docworker",), "daily"), force=False)
    launchctl.calls()
    done = service.uninstall(manager)
    assert set(done.files.values()) == {"removed"}
    domain = f"gui/{os.getuid()}"
    assert launchctl.calls() == [f"bootout {domain}/{REFRESH_AGENT}", f"bootout {domain}/{AGENT}"]
    assert list((tmp_path / "Library" / "LaunchAgents").iterdir()) == []


def test_on_a_mac_without_a_session_what_to_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, launchctl = launchd(tmp_path, monkeypatch)
    launchctl.fails("print")
    loaded = load({"data_dir": tmp_path / "data"}, {})
    done = service.install(manager, loaded, service.wanted(loaded, ("/bin/docworker",), "off"), force=False)
    assert not done.active
    file = tmp_path / "Library" / "LaunchAgents" / f"{AGENT}.plist"
    assert file.exists()
    assert done.said == [
        f"launchd does not answer for this user here; once it does, run: launchctl bootstrap gui/{os.getuid()} '{file}'"
    ]
    assert not manager.state().reachable


def test_a_platform_without_services_is_told_of_cron() -> None:
    assert manager_of("freebsd14") is None
    with pytest.raises(
        Failure, match=r"^docworker knows no services of freebsd14; .*@reboot .*'/b i/docworker' start --keep-alive$"
    ):
        service.refuse("freebsd14", None, wanted(command=("/b i/docworker",)))


@linux_only
def test_the_command_that_is_installed_is_the_one_that_was_called(home: Home) -> None:
    program = home.folder / "docworker"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom cli.main import main\nmain()\n")
    program.chmod(0o755)
    variables = home.variables | {"PATH": f"{home.folder}:{home.variables['PATH']}"}
    for called, folder in (("docworker", None), ("./docworker", home.folder)):
        finished = subprocess.run(
            [called, "service", "install", "--print", "--refresh", "off"],
            env=variables, cwd=folder, capture_output=True, text=True, timeout=60, check=True,
            executable=str(program) if folder is None else None,
        )  # fmt: skip
        assert f'ExecStart="{program}" serve --keep-alive\n' in finished.stdout
