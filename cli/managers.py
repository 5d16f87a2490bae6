"""What starts a service at login: systemd's user manager, and launchd. Owns every call of systemctl and launchctl.

A manager writes nothing of its own; it is told which files are new, and says what it did in sentences.
"""

import os
import plistlib
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cli.client import Failure
from cli.units import AGENT, REFRESH, REFRESH_AGENT, SERVICE, TIMER, Wanted, environment_of, launchd_agents, systemd_units
from docworker.settings import user_config_dir

_CALL_S = 60.0
_BOOTSTRAP_ATTEMPTS, _BOOTSTRAP_PAUSE_S = 5, 0.5  # launchd forgets an agent some time after it was told to


@dataclass(frozen=True, slots=True)
class State:
    """What a manager knows of docworker; None where it cannot be told. Times in epoch milliseconds."""

    reachable: bool
    enabled: bool | None = None
    running: bool | None = None
    pid: int | None = None
    refresh_enabled: bool | None = None
    next_refresh: int | None = None
    last_refresh: int | None = None
    last_result: str | None = None


class Manager(Protocol):
    """systemd or launchd, below the home folder of a user."""

    @property
    def name(self) -> str:
        """How it is called."""

    @property
    def folder(self) -> Path:
        """Where its files of this user lie."""

    def missing(self) -> str | None:
        """Why this machine has no such manager at all, as a sentence's end; None when it has one."""

    def paths(self) -> tuple[Path, ...]:
        """Every file that docworker may have here."""

    def texts(self, wanted: Wanted) -> dict[Path, bytes]:
        """The files for `wanted`."""

    def environment(self, content: bytes) -> Mapping[str, str]:
        """The variables that stand in such a file."""

    def state(self) -> State:
        """What runs and what is to run."""

    def activate(self, files: Collection[Path], changed: Collection[Path]) -> list[str] | None:
        """Take `files` over, of which `changed` are new; sentences, or None where no manager answers. Raises Failure."""

    def later(self, files: Collection[Path]) -> str:
        """The command that does what `activate` could not."""

    def deactivate(self, files: Collection[Path]) -> list[str]:
        """Stop and forget what runs of `files`, before they are removed; works without a manager too."""

    def forget(self) -> None:
        """After files were removed."""

    def restart(self) -> None:
        """Stop the daemon and start it again. Raises Failure."""


def manager_of(platform: str, home: Path | None = None) -> Manager | None:
    """The manager of a platform as sys.platform names it; None where docworker knows none."""
    if platform == "linux":
        return Systemd()
    if platform == "darwin":
        return Launchd(home or Path.home())
    return None


def _call(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_CALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"`{' '.join(command)}` has not ended after {_CALL_S:g} s.") from None
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _must(*command: str) -> None:
    done = _call(*command)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().replace("\n", " ")
        raise Failure(f"`{' '.join(command)}` failed: {said or f'it ended with {done.returncode}'}")


@dataclass(frozen=True, slots=True)
class Systemd:
    """The user manager of systemd, asked through `systemctl --user`."""

    name: str = "systemd"
    folder: Path = field(default_factory=lambda: user_config_dir() / "systemd" / "user")

    def missing(self) -> str | None:
        return None if shutil.which("systemctl") else "There is no systemctl here"

    def paths(self) -> tuple[Path, ...]:
        return tuple(self.folder / name for name in (SERVICE, REFRESH, TIMER))

    def texts(self, wanted: Wanted) -> dict[Path, bytes]:
        return {self.folder / name: text.encode() for name, text in systemd_units(wanted).items()}

    def environment(self, content: bytes) -> Mapping[str, str]:
        return environment_of(content.decode(errors="replace"))

    def state(self) -> State:
        # UTC, since names of other time zones cannot be read back
        shown = _call(
            *("env", "TZ=UTC", "systemctl", "--user", "show", SERVICE, REFRESH, TIMER),
            "--property=Id,UnitFileState,ActiveState,MainPID,Result,NextElapseUSecRealtime,ExecMainExitTimestamp",
        )
        if shown.returncode:
            return State(reachable=False)
        units: dict[str, dict[str, str]] = {}
        for block in shown.stdout.split("\n\n"):
            unit = dict(line.partition("=")[::2] for line in block.splitlines())
            units[unit.get("Id", "")] = unit
        service, timer, refresh = (units.get(name, {}) for name in (SERVICE, TIMER, REFRESH))
        # not the timer's LastTriggerUSec: that is set when the timer is first started
        last = _epoch_ms(refresh.get("ExecMainExitTimestamp", ""))
        return State(
            reachable=True,
            enabled=service.get("UnitFileState") == "enabled",
            running=service.get("ActiveState") == "active",
            pid=int(service.get("MainPID", "0")) or None,
            refresh_enabled=timer.get("UnitFileState") == "enabled",
            next_refresh=_epoch_ms(timer.get("NextElapseUSecRealtime", "")),
            last_refresh=last,
            last_result=refresh.get("Result") if last else None,
        )

    def activate(self, files: Collection[Path], changed: Collection[Path]) -> list[str] | None:
        if _call("systemctl", "--user", "daemon-reload").returncode:
            return None
        runs = self.state().running
        started = _startable(files)
        _call("systemctl", "--user", "reset-failed", *started)
        _must("systemctl", "--user", "enable", "--now", *started)
        new = [name for name in _startable(changed) if name != SERVICE or runs]
        if new:
            _must("systemctl", "--user", "restart", *new)
        return [f"Enabled and started {', '.join(started)}."]

    def later(self, files: Collection[Path]) -> str:
        return f"systemctl --user daemon-reload && systemctl --user enable --now {' '.join(_startable(files))}"

    def deactivate(self, files: Collection[Path]) -> list[str]:
        names = sorted(file.name for file in files)
        said = []
        # the refresh first: it would start the service again
        if not _call("systemctl", "--user", "disable", "--now", *sorted(names, key=lambda name: name == SERVICE)).returncode:
            said = [f"Stopped and disabled {', '.join(names)}."]
        if TIMER in names:
            _call("systemctl", "--user", "clean", "--what=state", TIMER)  # when it last elapsed
        # what `disable` does, where no manager answers
        for link in (self.folder / "default.target.wants" / SERVICE, self.folder / "timers.target.wants" / TIMER):
            if link.name in names and link.is_symlink():
                link.unlink()
        return said

    def forget(self) -> None:
        _call("systemctl", "--user", "daemon-reload")
        _call("systemctl", "--user", "reset-failed", SERVICE, REFRESH, TIMER)

    def restart(self) -> None:
        _must("systemctl", "--user", "restart", SERVICE)


def _startable(files: Collection[Path]) -> list[str]:
    """The units among files that are enabled and started; the timer starts the refresh."""
    return sorted(file.name for file in files if file.name != REFRESH)


def _epoch_ms(shown: str) -> int | None:
    """A moment as systemctl shows it in UTC, such as `Tue 2026-11-24 14:03:00 UTC`."""
    try:
        return int(datetime.strptime(shown, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Launchd:
    """launchd, in the domain of the user's graphical session."""

    home: Path
    name: str = "launchd"

    @property
    def folder(self) -> Path:
        return self.home / "Library" / "LaunchAgents"

    def missing(self) -> str | None:
        return None if shutil.which("launchctl") else "There is no launchctl here"

    def paths(self) -> tuple[Path, ...]:
        return tuple(self.folder / f"{label}.plist" for label in (AGENT, REFRESH_AGENT))

    def texts(self, wanted: Wanted) -> dict[Path, bytes]:
        log = self.home / "Library" / "Logs" / "docworker.log"
        return {self.folder / name: content for name, content in launchd_agents(wanted, log).items()}

    def environment(self, content: bytes) -> Mapping[str, str]:
        return {str(name): str(value) for name, value in plistlib.loads(content).get("EnvironmentVariables", {}).items()}

    def state(self) -> State:
        agent, refresh = self._print(AGENT), self._print(REFRESH_AGENT)
        reachable = agent is not None or not _call("launchctl", "print", _domain()).returncode
        pid = next((int(line.split("=")[1]) for line in (agent or "").splitlines() if line.strip().startswith("pid =")), None)
        known = agent is not None if reachable else None
        return State(
            reachable,
            enabled=known,
            running=pid is not None if reachable else None,
            pid=pid,
            refresh_enabled=refresh is not None if reachable else None,
        )

    def activate(self, files: Collection[Path], changed: Collection[Path]) -> list[str] | None:
        if _call("launchctl", "print", _domain()).returncode:
            return None
        for file in sorted(files):
            label = file.stem
            loaded = self._print(label) is not None
            if loaded and file not in changed:
                continue
            if loaded:
                _call("launchctl", "bootout", f"{_domain()}/{label}")
            _call("launchctl", "enable", f"{_domain()}/{label}")
            for attempt in range(1, _BOOTSTRAP_ATTEMPTS + 1):
                if attempt == _BOOTSTRAP_ATTEMPTS:
                    _must("launchctl", "bootstrap", _domain(), str(file))
                elif not _call("launchctl", "bootstrap", _domain(), str(file)).returncode:
                    break
                else:
                    time.sleep(_BOOTSTRAP_PAUSE_S)
        return [f"Enabled and started {', '.join(sorted(file.stem for file in files))}."]

    def later(self, files: Collection[Path]) -> str:
        return " && ".join(f"launchctl bootstrap {_domain()} '{file}'" for file in sorted(files))

    def deactivate(self, files: Collection[Path]) -> list[str]:
        labels = [file.stem for file in sorted(files, reverse=True)]
        stopped = [label for label in labels if not _call("launchctl", "bootout", f"{_domain()}/{label}").returncode]
        return [f"Stopped {', '.join(stopped)}."] if stopped else []

    def forget(self) -> None:
        pass

    def restart(self) -> None:
        _must("launchctl", "kickstart", "-k", f"{_domain()}/{AGENT}")

    def _print(self, label: str) -> str | None:
        done = _call("launchctl", "print", f"{_domain()}/{label}")
        return None if done.returncode else done.stdout


def _domain() -> str:
    return f"gui/{os.getuid()}"
