"""Talking to the daemon: finding it through the data folder, starting and stopping it, asking it over HTTP."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import click
import httpx

from docworker.contract import DocsetResponse, HealthResponse, StatusResponse
from docworker.settings import ENV_PREFIX, Settings

EXIT_FAILED, EXIT_UNREACHABLE, EXIT_NOT_FOUND = 1, 3, 4
_DAEMON_FILE = "daemon.json"
_HEALTH_S, _START_S, _STOP_S = 2.0, 30.0, 10.0
_POLL_S = 0.05
# /index waits for the seed page: as long as its attempts may take.
_ANSWER_S = 600.0


class Failure(click.ClickException):
    """What ends a command: one sentence on stderr and an exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class, and reads it of the instance

    def show(self, file: object = None) -> None:
        click.echo(self.message, err=True)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the daemon of a data folder answers."""

    instance: str
    pid: int
    url: str
    version: str


def find(settings: Settings) -> Address | None:
    """The daemon of this data folder, if it answers; another one at the same port is not it."""
    try:
        told = json.loads((settings.data_dir / _DAEMON_FILE).read_text("utf-8"))
        host = f"[{told['host']}]" if ":" in told["host"] else told["host"]
        address = Address(told["instance"], told["pid"], f"http://{host}:{told['port']}", told["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    health = _health(address.url)
    return address if health is not None and health.instance == address.instance else None


def _health(url: str) -> HealthResponse | None:
    try:
        return HealthResponse.model_validate_json(httpx.get(f"{url}/health", timeout=_HEALTH_S, trust_env=False).content)
    except (httpx.HTTPError, ValueError):
        return None


def start(settings: Settings, flags: Mapping[str, object | None]) -> Address:
    """The daemon of this data folder, started in the background if it does not run; waits until it answers questions.

    Raises Failure with what the daemon said when it does not come up.
    """
    address = find(settings)
    if address is None:
        command = [sys.executable, "-m", "cli", "serve"]
        for name, value in flags.items():
            if value is True:
                command.append(f"--{name.replace('_', '-')}")
            elif value is not None and value is not False:
                command += [f"--{name.replace('_', '-')}", str(value)]
        environment = {**os.environ, f"{ENV_PREFIX}DATA_DIR": str(settings.data_dir)}
        with tempfile.TemporaryFile() as complaints:
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,
                env=environment,
            )
            address = _await_start(settings, daemon)
            if address is None:
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise Failure(f"The daemon did not start: {said or 'see docworker.log in the data folder'}", EXIT_UNREACHABLE)
    return address


def _await_start(settings: Settings, daemon: "subprocess.Popen[bytes]") -> Address | None:
    """The daemon once it is ready: `daemon`, or the one that another shell started at the same moment."""
    deadline = time.monotonic() + _START_S
    ended: float | None = None
    while time.monotonic() < deadline:
        address = find(settings)
        if address is not None:
            health = _health(address.url)
            if health is not None and health.ready:
                return address
        if ended is None and daemon.poll() is not None:
            ended = time.monotonic()
        if ended is not None and address is None and time.monotonic() > ended + _HEALTH_S:
            return None
        time.sleep(_POLL_S)
    return None


def stop(settings: Settings) -> bool:
    """Stop the daemon of this data folder and wait until it is gone; returns whether one ran."""
    address = find(settings)
    if address is None:
        return False
    os.kill(address.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while time.monotonic() < deadline:
        if not (settings.data_dir / _DAEMON_FILE).exists() and not _alive(address.pid):
            return True
        time.sleep(_POLL_S)
    raise Failure(f"The daemon (pid {address.pid}) did not stop within {_STOP_S:g} s; see docworker.log in the data folder.")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def flags_of(settings: Settings) -> dict[str, str | int | bool]:
    """The settings that stood on the command line of the daemon of this data folder, as it told them when it started."""
    try:
        told = json.loads((settings.data_dir / _DAEMON_FILE).read_text("utf-8"))
        return {str(name): value for name, value in told["flags"].items() if isinstance(value, str | int)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def await_another(settings: Settings, gone: Address) -> Address | None:
    """The daemon that takes the place of `gone`, once it is ready; None when it does not come."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        address = find(settings)
        if address is not None and address.instance != gone.instance:
            health = _health(address.url)
            if health is not None and health.ready:
                return address
        time.sleep(_POLL_S)
    return None


def glance(settings: Settings, path: str, timeout_s: float) -> str | None:
    """What the daemon of this data folder answers to a GET, if it does so within `timeout_s`; else None, and nothing is said."""
    try:
        told = json.loads((settings.data_dir / _DAEMON_FILE).read_text("utf-8"))
        host = f"[{told['host']}]" if ":" in told["host"] else told["host"]
        with httpx.Client(base_url=f"http://{host}:{told['port']}", timeout=timeout_s, trust_env=False) as http:
            if HealthResponse.model_validate_json(http.get("/health").content).instance == told["instance"]:
                return http.get(path).raise_for_status().text
    except (OSError, ValueError, KeyError, TypeError, httpx.HTTPError, httpx.InvalidURL):
        pass
    return None


class Client:
    """Requests to a daemon that runs. Every failure is a Failure with the exit code of its kind."""

    def __init__(self, address: Address) -> None:
        self._http = httpx.Client(base_url=address.url, timeout=httpx.Timeout(_ANSWER_S, connect=5), trust_env=False)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int | bool] | None = None,
    ) -> str:
        """The body of a successful answer, JSON as text."""
        try:
            response = self._http.request(method, path, json=body, params=query)
        except httpx.HTTPError as error:
            raise Failure(f"The daemon does not answer any more ({error}); see docworker.log.", EXIT_UNREACHABLE) from None
        if response.is_success:
            return response.text
        _fail(response)

    def status(self) -> StatusResponse:
        """All docsets with their numbers."""
        return StatusResponse.model_validate_json(self.call("GET", "/status"))

    def docset(self, docset_id: str) -> DocsetResponse:
        """One docset with its numbers."""
        return DocsetResponse.model_validate_json(self.call("GET", f"/docset/{docset_id}"))

    def resolve(self, docset: str) -> DocsetResponse:
        """The docset that an id, an unambiguous prefix of one, a name, or a URL inside it means."""
        known = self.status().docsets
        for matches in (
            [d for d in known if d.id == docset],
            [d for d in known if d.name.lower() == docset.lower()],
            [d for d in known if d.id.startswith(docset)],
            [d for d in known if _inside(docset, d)],
        ):
            if len(matches) == 1:
                return matches[0]
            if matches:
                listed = ", ".join(f"{d.id} ({d.name})" for d in matches)
                raise Failure(f"{docset!r} means several docsets: {listed}. Name one by its id.", EXIT_NOT_FOUND)
        listed = ", ".join(f"{d.id} ({d.name})" for d in known[:20]) or "none yet; make one with `docworker index URL`"
        raise Failure(f"There is no docset {docset!r}. Known: {listed}.", EXIT_NOT_FOUND)


def _fail(response: httpx.Response) -> NoReturn:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = f"The daemon answered {response.status_code}."
    raise Failure(message, EXIT_NOT_FOUND if response.status_code == 404 else EXIT_FAILED)


def _inside(url: str, docset: DocsetResponse) -> bool:
    """Whether a URL as the user typed it lies inside a docset."""
    if "://" not in url:
        return False
    parsed = httpx.URL(url)
    home = httpx.URL(docset.base_url)
    if (parsed.scheme, parsed.host, parsed.port) != (home.scheme, home.host, home.port):
        return False
    return any(parsed.path == path or parsed.path.startswith(path.rstrip("/") + "/") for path in docset.allowed_paths)
