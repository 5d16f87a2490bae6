"""docworker as a service that starts at login: `docworker service install`, `uninstall` and `status`.

What is written stands in `units`, who starts it in `managers`. A file that docworker did not write is never overwritten
unasked, nor removed.
"""

import platform
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from cli.client import Failure, find
from cli.client import stop as stop_daemon
from cli.managers import Manager, State, manager_of
from cli.options import data_dir_option, json_option, say, sentences
from cli.units import MARK, PERIODS, SECRET, Wanted, environment
from docworker.settings import ENV_PREFIX, Loaded, Settings, load


@dataclass(slots=True)
class Outcome:
    """What install or uninstall did: each file with what became of it, and sentences for people."""

    manager: str
    files: dict[str, str] = field(default_factory=dict)
    active: bool = False
    said: list[str] = field(default_factory=list)


def own_command() -> tuple[str, ...]:
    """How this very program is called from anywhere."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return (sys.executable, "-m", "cli")
    return (str(Path(shutil.which(program) or program).absolute()),)


def wanted(loaded: Loaded, command: tuple[str, ...], refresh: str) -> Wanted:
    """What a service of these settings is to run."""
    return Wanted(command, environment(loaded), refresh, platform.node())


def refuse(platform_name: str, manager: Manager | None, what: Wanted) -> None:
    """Raises Failure, naming what to do instead, where nothing can start a service."""
    missing = f"docworker knows no services of {platform_name}" if manager is None else manager.missing()
    if missing:
        variables = [f"{name}={shlex.quote(value)}" for name, value in what.environment.items()]
        line = " ".join([*variables, *map(shlex.quote, what.command), "start --keep-alive"]).replace("%", r"\%")
        raise Failure(f"{missing}; where there is cron, this line of `crontab -e` starts docworker: @reboot {line}")


def install(manager: Manager, loaded: Loaded, what: Wanted, *, force: bool) -> Outcome:
    """Write the files for `what`, and have the manager take them over. Raises Failure."""
    outcome = Outcome(manager.name)
    texts = manager.texts(what)
    foreign = [path for path in texts if _exists(path) and not _is_own(path)]
    if foreign and not force:
        listed = ", ".join(map(str, foreign))
        raise Failure(f"{listed} was not written by docworker; move it away, or overwrite it with --force.")
    changed = [path for path, content in texts.items() if path.is_symlink() or _read(path) != content]
    stale = [path for path in manager.paths() if path not in texts and _is_own(path)]
    if stale:
        outcome.said += manager.deactivate(stale)
    for path in stale:
        path.unlink()
        outcome.files[str(path)] = "removed"
    for path, content in texts.items():
        if path in changed:
            _write(path, content)
        outcome.files[str(path)] = "written" if path in changed else "unchanged"
    if loaded.origins.get(SECRET, "default") not in ("default", "config.toml"):
        file = loaded.settings.data_dir / "config.toml"
        outcome.said.append(f"The {SECRET} is not written into units, which others may read; put it into {file}.")
    address = find(loaded.settings)
    state = manager.state() if address is not None else State(reachable=False)
    if address is not None and state.reachable and state.pid != address.pid:
        stop_daemon(loaded.settings)  # it would keep the data folder from the service
        outcome.said.append(f"Stopped the daemon that ran (pid {address.pid}); the service goes on with its work.")
    did = manager.activate(list(texts), changed)
    outcome.active = did is not None
    later = f"{manager.name} does not answer for this user here; once it does, run: {manager.later(list(texts))}"
    outcome.said += [later] if did is None else did
    return outcome


def uninstall(manager: Manager) -> Outcome:
    """Stop what was installed and remove its files, and nothing else."""
    outcome = Outcome(manager.name)
    own = [path for path in manager.paths() if _is_own(path)]
    outcome.files |= {str(path): "left: not docworker's" for path in manager.paths() if _exists(path) and path not in own}
    if own:
        outcome.said += manager.deactivate(own)
        for path in own:
            path.unlink()
            outcome.files[str(path)] = "removed"
        manager.forget()
    return outcome


def settings_of(manager: Manager) -> Mapping[str, str]:
    """The folders that the installed service uses, as flags."""
    for path in manager.paths():
        content = _read(path) if _is_own(path) else None
        if content is not None:
            found = manager.environment(content)
            names = ("data_dir", "cache_dir")
            return {name: found[ENV_PREFIX + name.upper()] for name in names if ENV_PREFIX + name.upper() in found}
    return {}


def runs(pid: int) -> Manager | None:
    """The manager that runs the daemon `pid` as a service, if one does."""
    manager = manager_of(sys.platform)
    if manager is None or manager.missing() or not any(map(_is_own, manager.paths())):
        return None
    return manager if manager.state().pid == pid else None


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _is_own(path: Path) -> bool:
    return not path.is_symlink() and MARK.encode() in (_read(path) or b"")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror or error}.") from None


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing; a link is replaced, not followed."""
    scratch = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(content)
        scratch.replace(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}.") from None


# -- the commands


def _here() -> Manager:
    manager = manager_of(sys.platform)
    if manager is None:
        raise Failure(f"docworker knows no services of {sys.platform}.")
    return manager


@click.group()
def service() -> None:
    """Start docworker at login, and refresh on time: systemd on Linux, launchd on macOS. Each command takes --json."""


@service.command("install")
@click.option("--refresh", default="daily", show_default=True, type=click.Choice([*PERIODS, "off"]), help="How often to refresh.")
@data_dir_option
@click.option("--force", is_flag=True, help="Overwrite a file that docworker did not write.")
@click.option("--print", "only_print", is_flag=True, help="Show what would be written, and write nothing.")
@json_option
@sentences
def _install(refresh: str, data_dir: str | None, force: bool, only_print: bool, as_json: bool) -> None:
    """Start the daemon now and at every login, and refresh all docsets daily (--refresh).

    The settings that stand in the environment or in --data-dir hold for the service too. May be repeated at any time, to
    change them or after docworker was moved.
    """
    loaded = load({"data_dir": data_dir})
    what = wanted(loaded, own_command(), refresh)
    manager = manager_of(sys.platform)
    try:
        if only_print:
            _print(_here(), what, as_json=as_json)
            return
        refuse(sys.platform, manager, what)
        done = install(_here(), loaded, what, force=force)
    except UnicodeEncodeError:
        raise Failure("A unit can hold only UTF-8, and a folder here is not named so; choose another with --data-dir.") from None
    document = {"manager": done.manager, "files": done.files, "active": done.active, "messages": done.said}
    say(as_json, document, "\n".join([*(f"{state:9} {path}" for path, state in done.files.items()), *done.said]))


def _print(manager: Manager, what: Wanted, *, as_json: bool) -> None:
    texts = {str(path): content.decode() for path, content in manager.texts(what).items()}
    shown = "\n".join(f"# {path}\n{text}" for path, text in texts.items())
    say(as_json, {"manager": manager.name, "files": texts}, shown)


@service.command("uninstall")
@click.option("--purge", is_flag=True, help="Also delete the index, its settings and the prepared models.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_dir_option
@json_option
@sentences
def _uninstall(purge: bool, yes: bool, data_dir: str | None, as_json: bool) -> None:
    """Stop the service and remove its files; the index and the settings stay, unless --purge."""
    manager = _here()
    given = dict(settings_of(manager)) | ({"data_dir": data_dir} if data_dir else {})
    settings = load(given).settings
    if purge and not yes:
        question = f"Delete the index and settings in {settings.data_dir}, and the models in {settings.cache_dir}?"
        click.confirm(question, abort=True, err=True)
    done = uninstall(manager)
    removed, left = _purge(settings) if purge else ([], [])
    lines = [f"{state:9} {path}" for path, state in done.files.items()] or ["docworker is not installed as a service."]
    lines += done.said + [f"removed   {path}" for path in removed] + [f"left      {path}" for path in left]
    if not purge:
        lines.append(f"Index and settings stay in {settings.data_dir}, prepared models in {settings.cache_dir}.")
    document = {
        "manager": done.manager,
        "files": done.files,
        "dataDir": str(settings.data_dir),
        "cacheDir": str(settings.cache_dir),
        "purged": [str(path) for path in removed],
        "left": [str(path) for path in left],
    }
    say(as_json, document, "\n".join(lines))


def _purge(settings: Settings) -> tuple[list[Path], list[Path]]:
    from docworker.upkeep import discard

    stop_daemon(settings)
    return discard(settings)


@service.command("status")
@json_option
@sentences
def _status(as_json: bool) -> None:
    """Whether the service is installed, starts at login, runs, and when it refreshes next."""
    manager = _here()
    files = [str(path) for path in manager.paths() if _is_own(path)]
    state = State(reachable=False) if manager.missing() else manager.state()
    document = {"manager": manager.name, "installed": bool(files), "files": files} | {
        "".join([first, *map(str.capitalize, others)]): value
        for name, value in asdict(state).items()
        for first, *others in [name.split("_")]
    }
    say(as_json, document, "\n".join(_told(files, manager, state)))


def _told(files: list[str], manager: Manager, state: State) -> list[str]:
    if not files:
        return ["docworker is not installed as a service; `docworker service install` does it."]
    lines = [f"installed {file}" for file in files]
    if not state.reachable:
        return [*lines, f"{manager.name} does not answer for this user here."]
    runs_now = f"runs (pid {state.pid})" if state.running else "does not run"
    lines.append(f"It {'starts' if state.enabled else 'does not start'} at login, and {runs_now}.")
    if state.refresh_enabled:
        lines.append(f"Next refresh: {_time(state.next_refresh)}.")
    else:
        lines.append("It does not refresh by itself.")
    if state.last_refresh is not None:
        lines.append(f"Last refresh: {_time(state.last_refresh)}, {state.last_result}.")
    return lines


def _time(epoch_ms: int | None) -> str:
    return "on time" if epoch_ms is None else time.strftime("%A, %Y-%m-%d %H:%M", time.localtime(epoch_ms / 1000))
