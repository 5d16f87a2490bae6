"""Talking to the daemon: finding it through the data folder, starting and stopping it, asking it over HTTP."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import click
import httpx

from docworker.contract import DocsetResponse, HealthResponse, StatusResponse
from docworker.folder import DaemonFile, is_held, told_in
from docworker.settings import ENV_PREFIX, Settings

EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_NOT_FOUND = 1, 2, 3, 4
_HEALTH_S, _STOP_S = 2.0, 10.0
_START_S = 120.0  # 67,000 chunks on a machine at seven times its load were open after 34 s
_POLL_S = 0.05
# /index waits for the seed page: as long as its attempts may take.
_ANSWER_S = 600.0
_NO_TLS = False  # the daemon speaks plain HTTP; reading the authorities' certificates for it would take 30 ms
_EVENTS_S = 60.0  # the daemon says every 15 s that it is still there
_EVENT_TRIES = 3


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
    token: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request has to show."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


def find(settings: Settings) -> Address | None:
    """The daemon of this data folder, if it answers; another one at the same port is not it."""
    found = _look(settings)
    return None if found is None else found[0]


def _look(settings: Settings, timeout_s: float = _HEALTH_S) -> tuple[Address, bool] | None:
    """The daemon of this data folder, if it answers, and whether it is ready to answer questions."""
    told = told_in(settings.data_dir)
    if told is None or not is_held(settings.data_dir):  # it was killed: who answers there may be anybody, and is told no token
        return None
    address = _address(told, settings)
    health = _health(address, timeout_s)
    return (address, health.ready) if health is not None and health.instance == address.instance else None


def _address(told: DaemonFile, settings: Settings) -> Address:
    bound = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(told.host, told.host)
    host = f"[{bound}]" if ":" in bound else bound
    token = None if settings.token is None else settings.token.get_secret_value()
    return Address(told.instance, told.pid, f"http://{host}:{told.port}", told.version, token)


def _http(address: Address, timeout: httpx.Timeout | float) -> httpx.Client:
    return httpx.Client(base_url=address.url, headers=address.headers, timeout=timeout, verify=_NO_TLS, trust_env=False)


def _health(address: Address, timeout_s: float = _HEALTH_S) -> HealthResponse | None:
    try:
        with _http(address, timeout_s) as http:
            return HealthResponse.model_validate_json(http.get("/health").content)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


class _Lost(Exception):
    """Another daemon had the data folder, and has ended meanwhile."""


def start(settings: Settings, flags: Mapping[str, object | None]) -> Address:
    """The daemon of this data folder, started in the background if it does not run; waits until it answers questions.

    Raises Failure with what the daemon said when it does not come up.
    """
    deadline = time.monotonic() + _START_S
    address = _await_start(settings, None, deadline)  # it may be on its way, up or down
    while address is None:
        try:
            address = _launch(settings, flags, deadline)
        except _Lost:
            continue
    return address


def _launch(settings: Settings, flags: Mapping[str, object | None], deadline: float) -> Address:
    command = [sys.executable, "-m", "cli", "serve"]
    for name, value in flags.items():
        if value is True:
            command.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            command += [f"--{name.replace('_', '-')}", str(value)]
    with tempfile.TemporaryFile() as complaints:
        daemon = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            start_new_session=True,  # a terminal that closes, or Ctrl-C in it, does not end it
            env={**os.environ, f"{ENV_PREFIX}DATA_DIR": str(settings.data_dir)},
        )
        address = _await_start(settings, daemon, deadline)
        if address is not None:
            return address
        if daemon.poll() is None:
            what = f"The daemon (pid {daemon.pid}) does not answer questions yet, and goes on starting; see `docworker logs`."
            raise Failure(what, EXIT_UNREACHABLE)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
    raise Failure(f"The daemon did not start: {said or 'see `docworker logs`'}", EXIT_UNREACHABLE)


def _await_start(settings: Settings, daemon: "subprocess.Popen[bytes] | None", deadline: float) -> Address | None:
    """The daemon once it is ready: `daemon`, or one that another shell started; None when there is none.

    Raises _Lost when it was another one, which did not stay.
    """
    ended: float | None = None
    while time.monotonic() < deadline:
        found = _look(settings)
        if found is not None:
            address, ready = found
            if ready:
                return address
        elif daemon is None:
            return None
        elif daemon.poll() is not None:
            if not is_held(settings.data_dir):
                if ended is None:
                    return None  # it ended by itself
                raise _Lost
            ended = ended or time.monotonic()
            if time.monotonic() > ended + _STOP_S:
                return None
        time.sleep(_POLL_S)
    return None


def stop(settings: Settings) -> bool:
    """Stop the daemon of this data folder and wait until it is gone; returns whether one ran."""
    deadline = time.monotonic() + _STOP_S
    address = find(settings)
    while address is None and is_held(settings.data_dir):  # starting, stopping, or too busy to say
        if time.monotonic() > deadline:
            raise absent(settings)
        time.sleep(_POLL_S)
        address = find(settings)
    if address is None:
        return False
    os.kill(address.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while is_held(settings.data_dir):
        now = find(settings)
        if now is not None and now.instance != address.instance:  # somebody started another one
            break
        if time.monotonic() > deadline:
            raise Failure(f"The daemon (pid {address.pid}) did not stop within {_STOP_S:g} s; see `docworker logs`.")
        time.sleep(_POLL_S)
    return True


def absent(settings: Settings) -> Failure:
    """Why there is no daemon to ask."""
    if is_held(settings.data_dir):
        told = told_in(settings.data_dir)
        pid = "" if told is None else f" (pid {told.pid})"
        message = f"A daemon holds {settings.data_dir} and does not answer; if it stays so, end its process{pid}."
        return Failure(message, EXIT_UNREACHABLE)
    return Failure("docworker does not run; start it with `docworker start`.", EXIT_UNREACHABLE)


def flags_of(settings: Settings) -> Mapping[str, str | int | bool]:
    """The settings that stood on the command line of the daemon of this data folder, as it told them when it started."""
    told = told_in(settings.data_dir)
    return {} if told is None else told.flags


def await_another(settings: Settings, gone: Address) -> Address | None:
    """The daemon that takes the place of `gone`, once it is ready; None when it does not come."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        found = _look(settings)
        if found is not None:
            address, ready = found
            if ready and address.instance != gone.instance:
                return address
        time.sleep(_POLL_S)
    return None


def glance(settings: Settings, path: str, timeout_s: float) -> str | None:
    """What the daemon of this data folder answers to a GET, if it does so within `timeout_s`; else None, and nothing is said."""
    found = _look(settings, timeout_s)
    if found is None:
        return None
    try:
        with _http(found[0], timeout_s) as http:
            return http.get(path).raise_for_status().text
    except httpx.HTTPError:
        return None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `data` is a JSON object."""

    id: str | None
    kind: str
    data: str


class Client:
    """Requests to a daemon that runs. Every failure is a Failure with the exit code of its kind."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._http = _http(address, httpx.Timeout(_ANSWER_S, connect=5))

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
            raise _silent(error) from None
        if response.is_success:
            return response.text
        self._fail(response)

    def _fail(self, response: httpx.Response) -> NoReturn:
        try:
            message = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            message = f"The daemon answered {response.status_code}."
        exit_code = {400: EXIT_USAGE, 404: EXIT_NOT_FOUND}.get(response.status_code, EXIT_FAILED)
        raise Failure(message, EXIT_UNREACHABLE if response.status_code == 503 and not self._serves() else exit_code)

    def _serves(self) -> bool:
        """Whether the daemon answers questions: it is not on its way, up or down."""
        health = _health(self._address)
        return health is not None and health.ready

    def events(self, docset_id: str | None = None) -> Iterator[Event]:
        """What happens, as it happens; first how things stand. Ends with a Failure when the daemon does not answer any more."""
        query = {} if docset_id is None else {"docsetId": docset_id}
        last: dict[str, str] = {}
        missed = 0
        while True:
            try:
                with self._http.stream("GET", "/events", params=query, headers=last, timeout=_EVENTS_S) as response:
                    if not response.is_success:
                        response.read()
                        if response.status_code != 503 or self._serves():
                            self._fail(response)
                    for event in _parsed(response.iter_lines()):
                        missed = 0
                        if event.id is not None:
                            last = {"Last-Event-ID": event.id}
                        yield event
                # it was ended: the daemon stops, or we were too slow
                why = Failure("The daemon is stopping; what is under way goes on at its next start.", EXIT_UNREACHABLE)
            except httpx.HTTPError as error:
                why = _silent(error)
            missed += 1
            if missed > _EVENT_TRIES:
                raise why
            time.sleep(_POLL_S)

    def changes(self, docset_id: str | None = None) -> Iterator[None]:
        """One item when something has changed since the last one was taken, and at least one a minute."""
        changed, failures = threading.Event(), list[Failure]()

        def hear() -> None:
            try:
                for event in self.events(docset_id):
                    if event.id is not None:
                        changed.set()
            except Failure as failure:
                failures.append(failure)
                changed.set()

        threading.Thread(target=hear, daemon=True).start()
        while True:
            changed.wait(_EVENTS_S)
            changed.clear()
            if failures:
                raise failures[0]
            yield

    def follow(self, docset_id: str) -> Iterator[DocsetResponse]:
        """How a docset stands, now and whenever that has changed. Raises Failure when it is deleted."""
        for event in self.events(docset_id):
            match event.kind:
                case "progress":
                    yield DocsetResponse.model_validate_json(event.data)
                case "ready" | "failed" | "deleted" | "missed":
                    yield self.docset(docset_id)

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


def _silent(error: httpx.HTTPError) -> Failure:
    return Failure(f"The daemon does not answer any more ({error}); see `docworker logs`.", EXIT_UNREACHABLE)


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events, as the daemon writes them."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            if "event" in fields and "data" in fields:
                yield Event(fields.get("id"), fields["event"], fields["data"])
            fields = {}


def _inside(url: str, docset: DocsetResponse) -> bool:
    """Whether a URL as the user typed it lies inside a docset."""
    if "://" not in url:
        return False
    parsed = httpx.URL(url)
    home = httpx.URL(docset.base_url)
    if (parsed.scheme, parsed.host, parsed.port) != (home.scheme, home.host, home.port):
        return False
    return any(parsed.path == path or parsed.path.startswith(path.rstrip("/") + "/") for path in docset.allowed_paths)
