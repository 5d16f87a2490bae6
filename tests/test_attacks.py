"""Attacks on the daemon's HTTP and on its data folder: what is refused, and what goes on all the while.

Every attack goes over a real socket to a real daemon. It is answered with `{"error": …}` or, where no answer is possible, with
the end of the connection; the daemon answers others at once, and its log tells of no failure.
"""

import asyncio
import gzip
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from aiohttp import web
from filelock import FileLock
from pydantic import SecretStr

from cli.client import find
from docworker.operations import OPERATIONS
from tests import forked
from tests.daemon import Daemon, wait_until
from tests.hasty_daemon import PATIENCE_S, SESSIONS
from tests.served import deaf_client, port_of, served
from tests.site import Site

QUICK_S = 1.5  # for an answer to somebody else, on a busy machine
NOBODY = 65_534
DOCSETS = 15
JSON = "Content-Type: application/json"
QUESTION = b'{"query": "antelope"}'


# -- asking by hand


@dataclass(frozen=True)
class Answer:
    """One answer; `closed` when the daemon ended the connection after it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The sentence of an error, which is JSON and nothing else."""
        assert self.headers["content-type"].startswith("application/json"), self
        told = json.loads(self.body)
        assert list(told) == ["error"], self
        assert isinstance(told["error"], str)
        assert len(told["error"]) < 600, "an error does not say all again that was said"
        assert "Traceback" not in told["error"]
        return told["error"]


def connect(daemon: Daemon, *, small: bool = False) -> socket.socket:
    """A connection; a `small` one takes next to nothing that is not read."""
    link = socket.socket(socket.AF_INET)
    if small:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    link.settimeout(20)
    link.connect(("127.0.0.1", int(daemon.url.rpartition(":")[2])))
    return link


def head(daemon: Daemon, line: str, *headers: str, host: str | None = "", close: bool = True) -> bytes:
    """A request without a body; `host` is the daemon's own unless it is given, None for none."""
    named = [] if host is None else [f"Host: {host or daemon.url.removeprefix('http://')}"]
    last = ["Connection: close"] if close else []
    return "\r\n".join([line, *named, *headers, *last, "", ""]).encode("utf-8", "surrogateescape")


def post(
    daemon: Daemon, body: bytes, *headers: str, path: str = "/retrieve", length: int | None = None, close: bool = True
) -> bytes:
    """A POST; of JSON, unless the headers say something else."""
    kind = [] if any(header.lower().startswith("content-type") for header in headers) else [JSON]
    said = [f"Content-Length: {len(body) if length is None else length}"]
    return head(daemon, f"POST {path} HTTP/1.1", *kind, *headers, *said, close=close) + body


def answers(link: socket.socket) -> list[Answer]:
    """All that comes until the daemon ends the connection."""
    received = bytearray()
    with suppress(ConnectionError):
        while piece := link.recv(65_536):
            received += piece
    found, rest = [], bytes(received)
    while rest:
        told, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = told.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", 0))
        found.append(Answer(int(first.split(" ")[1]), headers, rest[:size]))
        rest = rest[size:]
    return found


def talk(daemon: Daemon, raw: bytes) -> list[Answer]:
    """What the daemon answers to these bytes until it ends the connection."""
    with closing(connect(daemon)) as link:
        with suppress(ConnectionError):  # it may end it while it is still being told
            link.sendall(raw)
        return answers(link)


def assert_alive(daemon: Daemon) -> None:
    """Others are answered, soon."""
    begin = time.monotonic()
    assert daemon.request("GET", "/health").status_code == 200
    assert time.monotonic() - begin < QUICK_S


def assert_calm(daemon: Daemon, since: int = 0) -> None:
    """The log tells of nothing that failed."""
    told = daemon.log()[since:]
    assert "Traceback" not in told
    assert " ERROR " not in told


def connections(daemon: Daemon) -> int:
    """How many the daemon has."""
    port = int(daemon.url.rpartition(":")[2])
    return sum(each.laddr.port == port and bool(each.raddr) for each in process(daemon).net_connections("tcp"))


def process(daemon: Daemon) -> psutil.Process:
    assert daemon.process is not None
    return psutil.Process(daemon.process.pid)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    text = "The antelope lives on the plain and eats grass. " * 8
    with Site({"/docs/": f"<title>Animals</title><main><h1>Animals</h1><p>{text}</p></main>"}) as served:
        yield served


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path, site: Site) -> Iterator[Daemon]:
    """A daemon that has a docset, and that no session keeps from running."""
    with Daemon(tmp_path_factory.mktemp("attacks") / "data", cache_dir, keep_alive=True) as daemon:
        daemon.wait_ready(daemon.post("/index", baseUrl=site.url, seedSlug="/docs/")["docsetId"], vectors=True)
        yield daemon


@pytest.fixture
def calm(shared: Daemon) -> Iterator[Daemon]:
    """The shared daemon, which afterwards answers as before and has nothing to complain of."""
    since = len(shared.log())
    yield shared
    assert_alive(shared)
    assert_calm(shared, since)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path, site: Site) -> Iterator[Daemon]:
    """A daemon whose patience is a second, and which has a lot to say: 400 kB of each docset."""
    daemon = Daemon(tmp_path_factory.mktemp("impatient") / "data", cache_dir, keep_alive=True)
    daemon.command = [sys.executable, "-m", "tests.hasty_daemon"]
    long = [f"/{number}{'x' * 2_000}*" for number in range(100)]
    with daemon:
        for number in range(DOCSETS):
            site.pages[f"/many/{number}/"] = f"<h1>Number {number}</h1><p>One of many.</p>"
            seed = {"baseUrl": site.url, "seedSlug": f"/many/{number}/", "include": long, "exclude": long}
            daemon.wait_ready(daemon.post("/index", **seed)["docsetId"])
        yield daemon


@pytest.fixture
def hasty(impatient: Daemon) -> Iterator[Daemon]:
    """The impatient daemon, which afterwards answers as before and has nothing to complain of."""
    since = len(impatient.log())
    yield impatient
    assert_alive(impatient)
    assert_calm(impatient, since)


# -- who asks

ROUTES = sorted(
    {(each.method, each.path.replace("{id}", "x")) for each in OPERATIONS}
    | {
        ("GET", "/health"),
        ("GET", "/events"),
        ("GET", "/none"),
        ("PUT", "/status"),
        ("OPTIONS", "/retrieve"),
        ("HEAD", "/health"),
    }
)
FOREIGN_HOSTS = [
    *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:7432", "0.0.0.0", "192.168.0.1"),
    *("user@127.0.0.1", "127.0.0.1@evil.example", "127.0.0.1/evil", "127.0.0.1?evil", "127.0.0.1#evil", "127.0.0.1:evil"),
    *("[::ffff:127.0.0.1]", "[::1", "localhost.", "2130706433", "0x7f.1", "127.1", "127.0.0.1, evil.example", "\udcff", " "),
]
FOREIGN_PAGES = [
    *("Origin: http://evil.example", "Origin: null", "Origin: http://localhost:3000", "Origin: https://{own}", "Origin: "),
    *("Origin: http://{own} http://evil.example", "Origin: http://{own}\r\nOrigin: http://evil.example"),
    *("Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site"),
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_host_is_refused_on_every_route(calm: Daemon, host: str) -> None:
    for method, path in ROUTES:
        (answer,) = talk(calm, head(calm, f"{method} {path} HTTP/1.1", host=host))
        assert answer.status == 403, (method, path, answer)
        assert method == "HEAD" or "does not answer to the host" in answer.error


@pytest.mark.parametrize("header", FOREIGN_PAGES)
def test_a_page_of_another_site_is_refused_on_every_route(calm: Daemon, header: str) -> None:
    told = header.replace("{own}", calm.url.removeprefix("http://"))
    for method, path in ROUTES:
        (answer,) = talk(calm, head(calm, f"{method} {path} HTTP/1.1", told))
        assert answer.status == 403, (method, path, answer)
        assert method == "HEAD" or "does not answer to pages of" in answer.error


@pytest.mark.parametrize(
    ("line", "hosts", "status"),
    [
        ("GET /health HTTP/1.1", (), 400),
        ("GET /health HTTP/1.0", (), 403),
        ("GET /health HTTP/1.1", ("127.0.0.1", "evil.example"), 400),
        ("GET /health HTTP/1.1", ("evil.example", "127.0.0.1"), 400),
        ("GET http://evil.example/health HTTP/1.1", ("127.0.0.1",), 403),
        ("DELETE http://evil.example/docset/x HTTP/1.1", ("localhost",), 403),
        ("GET http://127.0.0.1/health HTTP/1.1", ("evil.example",), 403),
        ("CONNECT evil.example:80 HTTP/1.1", ("127.0.0.1",), 403),
        ("OPTIONS * HTTP/1.1", ("127.0.0.1",), 403),
        ("GET //evil.example/health HTTP/1.1", ("127.0.0.1",), 404),
    ],
)
def test_a_target_or_a_host_that_is_not_one_is_refused(calm: Daemon, line: str, hosts: tuple[str, ...], status: int) -> None:
    (answer,) = talk(calm, head(calm, line, *(f"Host: {host}" for host in hosts), host=None))
    assert answer.status == status
    assert answer.error
    assert answer.headers["server"] == "docworker"


def test_a_link_on_another_site_may_be_followed_to_read_but_a_form_on_it_not_be_sent(calm: Daemon) -> None:
    told = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
    assert [answer.status for answer in talk(calm, head(calm, "GET /health HTTP/1.1", *told))] == [200]
    for path in ("/refresh-all", "/doctor"):
        (answer,) = talk(calm, post(calm, b"", *told, "Content-Type: text/plain", path=path))
        assert answer.status == 403


def test_no_page_is_told_beforehand_that_it_may_ask(calm: Daemon) -> None:
    asked = ("Access-Control-Request-Method: POST", "Access-Control-Request-Private-Network: true")
    for origin in ((), ("Origin: http://evil.example",), (f"Origin: {calm.url}",)):
        for _, path in ROUTES:
            (answer,) = talk(calm, head(calm, f"OPTIONS {path} HTTP/1.1", *asked, *origin))
            assert answer.status in (403, 404, 405)
            assert not [name for name in answer.headers if name.startswith("access-control")]


# -- what is asked


def _json(text: str) -> tuple[bytes, tuple[str, ...]]:
    return text.encode("utf-8", "surrogatepass"), ()


BODIES: dict[str, tuple[tuple[bytes, tuple[str, ...]], int]] = {
    "plain text": ((QUESTION, ("Content-Type: text/plain",)), 415),
    "a form": ((QUESTION, ("Content-Type: application/x-www-form-urlencoded",)), 415),
    "parts": ((QUESTION, ("Content-Type: multipart/form-data; boundary=x",)), 415),
    "two kinds": ((QUESTION, ("Content-Type: application/json, text/plain",)), 415),
    "two headers": ((QUESTION, ("Content-Type: text/plain", JSON)), 400),
    "a charset": ((QUESTION, (f"{JSON}; charset=utf-8",)), 200),
    "a charset that is none": ((QUESTION, (f"{JSON}; charset=nonsense",)), 200),
    "a byte order mark": ((b"\xef\xbb\xbf" + QUESTION, ()), 200),
    "no UTF-8": ((b'{"query": "\xff"}', ()), 400),
    "NaN": (_json('{"query": "x", "topK": NaN}'), 400),
    "NaN of no field": (_json('{"query": NaN}'), 400),
    "Infinity": (_json('{"query": "x", "maxTotalChars": -Infinity}'), 400),
    "1e400": (_json('{"query": "x", "topK": 1e400}'), 400),
    "4,000 digits": (_json(f'{{"query": "x", "topK": {"9" * 4_000}, "maxTotalChars": {"9" * 4_000}}}'), 200),
    "10,000 digits": (_json(f'{{"query": "x", "topK": {"9" * 10_000}}}'), 400),
    "a field twice": (_json('{"query": "x", "query": "y"}'), 400),
    "a field twice further in": (_json('{"query": "x", "topK": {"a": 1, "a": 2}}'), 400),
    "lists in lists": (_json('{"query": ' + "[" * 100_000), 400),
    "objects in objects": (_json('{"a":' * 100_000), 400),
    "half a surrogate": (_json('{"query": "\\ud800"}'), 400),
    "half a surrogate as a field": (_json('{"\\ud800": 1, "query": "x"}'), 400),
    "NUL": (_json('{"query": "\\u0000antelope"}'), 200),
    "a raw NUL": (_json('{"query": "\0"}'), 400),
    "a long field": (_json(f'{{"query": "x", "{"k" * 500_000}": 1}}'), 400),
    "a long id": (_json(f'{{"query": "x", "docsetIds": ["{"a" * 100_000}"]}}'), 400),
    "many ids": (_json(json.dumps({"query": "x", "docsetIds": ["a"] * 2_049})), 400),
    "two documents": (_json("{}{}"), 400),
    "a megabyte and a byte": (_json('{"query": "' + "x" * 2**20 + '"}'), 413),
    "a bomb": ((gzip.compress(b'{"query": "' + b" " * 2**26 + b'"}'), ("Content-Encoding: gzip",)), 415),
    "gzip that is none": ((QUESTION, ("Content-Encoding: gzip",)), 415),
    "gzip twice": ((gzip.compress(gzip.compress(QUESTION)), ("Content-Encoding: gzip, gzip",)), 415),
    "an encoding that is none": ((QUESTION, ("Content-Encoding: br",)), 415),
    "a large promise": ((QUESTION, ("Expect: the-moon",)), 417),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_answered_or_refused_with_a_sentence(calm: Daemon, name: str) -> None:
    (body, headers), status = BODIES[name]
    (answer,) = talk(calm, post(calm, body, *headers))
    assert answer.status == status
    assert status == 200 or answer.error


def test_values_that_nest_just_deeply_enough_to_be_read_are_refused_with_a_sentence(calm: Daemon) -> None:
    with httpx.Client(base_url=calm.url, headers={"Content-Type": "application/json"}) as client:
        for depth in range(900, 1_000):
            answer = client.post("/retrieve", content='{"query": ' + "[" * depth + "]" * depth + "}")
            assert answer.status_code == 400, depth


CHUNKED = (JSON, "Transfer-Encoding: chunked")
WHOLE = b"%x\r\n%b\r\n0\r\n\r\n" % (len(QUESTION), QUESTION)
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==", "Sec-WebSocket-Version: 13")


def client_hello() -> bytes:
    """The first bytes of TLS."""
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


FRAMES: dict[str, tuple[Callable[[Daemon], bytes], list[int]]] = {
    "too little": (lambda d: post(d, QUESTION, length=3), [400]),
    "less than nothing": (lambda d: post(d, QUESTION, length=-1), [400]),
    "two lengths": (lambda d: post(d, QUESTION, "Content-Length: 5"), [400]),
    "a length like no other": (lambda d: post(d, QUESTION, length=10**23), [400]),
    "a terabyte": (lambda d: post(d, QUESTION, length=10**12), [413]),
    "a length and chunks": (lambda d: head(d, "POST /retrieve HTTP/1.1", *CHUNKED, "Content-Length: 5") + WHOLE, [400]),
    "chunks": (lambda d: head(d, "POST /retrieve HTTP/1.1", *CHUNKED) + WHOLE, [200]),
    "chunks of another kind": (lambda d: head(d, "POST /retrieve HTTP/1.1", JSON, "Transfer-Encoding: xchunked") + WHOLE, [400]),
    "chunks twice": (lambda d: head(d, "POST /retrieve HTTP/1.1", *CHUNKED, "Transfer-Encoding: identity") + WHOLE, [400]),
    "chunks with a space": (lambda d: head(d, "POST /retrieve HTTP/1.1", JSON, "Transfer-Encoding : chunked") + WHOLE, [400]),
    "a folded header": (lambda d: head(d, "GET /health HTTP/1.1", "X: a\r\n Transfer-Encoding: chunked"), [400]),
    "a chunk of no size": (lambda d: head(d, "POST /retrieve HTTP/1.1", *CHUNKED) + b"zz\r\n", [400]),
    "a chunk of any size": (lambda d: head(d, "POST /retrieve HTTP/1.1", *CHUNKED) + b"f" * 20 + b"\r\nabc", [400]),
    "trailers": (lambda d: head(d, "POST /retrieve HTTP/1.1", *CHUNKED) + WHOLE[:-2] + b"X: y\r\n" * 10_000, [400]),
    "a second one in the body": (
        lambda d: post(d, QUESTION, close=False) + head(d, "DELETE /docset/x HTTP/1.1", host="evil.example"), [200, 403]
    ),
    "a hundred": (lambda d: head(d, "GET /health HTTP/1.1", close=False) * 99 + head(d, "GET /no HTTP/1.1"), [200] * 99 + [404]),
    "lines that end otherwise": (lambda d: b"GET /health HTTP/1.1\nHost: 127.0.0.1\n\n", [400]),
    "a small method": (lambda d: head(d, "get /health HTTP/1.1"), [400]),
    "a method of one's own": (lambda d: head(d, "STEAL /health HTTP/1.1"), [400]),
    "no method": (lambda d: head(d, " /health HTTP/1.1"), [400]),
    "a rare method": (lambda d: head(d, "M-SEARCH /health HTTP/1.1"), [405]),
    "a trace": (lambda d: head(d, "TRACE /health HTTP/1.1"), [405]),
    "a newer protocol": (lambda d: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "a protocol that is none": (lambda d: head(d, "GET /health HTTP/9.9"), [400]),
    "TLS": (lambda d: client_hello(), [400]),
    "zeros": (lambda d: bytes(2_000), [400]),
    "any bytes": (lambda d: bytes(range(255, -1, -1)) * 8, [400]),
    "a NUL in a header": (lambda d: head(d, "GET /health HTTP/1.1", "X: a\0b"), [400]),
    "a long line": (lambda d: head(d, f"GET /{'a' * 100_000} HTTP/1.1"), [400]),
    "a long header": (lambda d: head(d, "GET /health HTTP/1.1", f"X: {'a' * 100_000}"), [400]),
    "a long name": (lambda d: head(d, "GET /health HTTP/1.1", f"{'a' * 100_000}: x"), [400]),
    "10,000 headers": (lambda d: head(d, "GET /health HTTP/1.1", *(f"X-{n}: a" for n in range(10_000))), [400]),
    "a web socket": (lambda d: head(d, "GET /health HTTP/1.1", *UPGRADE, close=False) + b"\x81\x85rubbish" * 9, [200, 400]),
    "an offer that is taken": (lambda d: post(d, QUESTION, "Expect: 100-continue"), [100, 200]),
    "an expectation": (lambda d: head(d, "GET /health HTTP/1.1", "Expect: gold"), [417]),
    "an expectation of nothing": (lambda d: head(d, "GET /none HTTP/1.1", "Expect: gold"), [417]),
    "events for their head alone": (lambda d: head(d, "HEAD /events HTTP/1.1"), [405]),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_what_is_hardly_http_is_answered_with_a_sentence(calm: Daemon, name: str) -> None:
    made, statuses = FRAMES[name]
    found = talk(calm, made(calm))
    assert [answer.status for answer in found] == statuses
    assert all(answer.error for answer in found if answer.status >= 400 and answer.body)
    assert found[-1].headers["server"] == "docworker"
    assert found[-1].headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/docset/..%2f..%2fetc%2fpasswd", 404),
        ("/docset/../status", 404),
        ("/docset/%2e%2e%2fhealth", 404),
        ("/docset/%00", 404),
        ("/docset/%ff", 404),
        ("/docset/%", 404),
        ("/docset/a%0d%0aSet-Cookie:%20b", 404),
        ("/docset/%E2%80%AE", 404),
        ("/docset/%F0%9F%98%80", 404),
        ("/docset/" + "a" * 2_049, 400),
        ("/docset/" + "a" * 100_000, 400),
        ("/docset/x/pages?limit=" + "9" * 5_000, 400),
        ("/docset/x/pages?limit=%D9%A1", 400),
        ("/docset/x/pages?offset=nan", 400),
        ("/status?docsetId=a&docsetId=b", 400),
        ("/status?docsetId=" + "a" * 5_000, 400),
        ("/status?" + "k" * 7_000 + "=1", 400),
        ("/status?" + "k" * 3_000 + "=1&" + "k" * 3_000 + "=2", 400),
        ("/status?" + "&".join(f"x{number}=1" for number in range(900)), 400),
        ("/status?%00=%ff", 400),
        ("/events?docsetId=%00", 404),
        ("/why?url=http%3A%2F%2F%00", 400),
        ("/why?url=http://[::1", 400),
        ("/why?url=" + "http://x/" + "a" * 5_000, 400),
        ("/%00", 404),
    ],
)
def test_a_path_leads_nowhere_else(calm: Daemon, path: str, status: int) -> None:
    (answer,) = talk(calm, head(calm, f"GET {path} HTTP/1.1"))
    assert answer.status == status
    assert answer.error


@pytest.mark.parametrize(
    "query", ["a." * 4_096, "_" * 8_192, "aB" * 4_096, "(" * 8_192, '"' * 8_192, "\u0300" * 8_192, "ﷺ" * 8_192, "<`" * 4_096]
)
def test_no_question_takes_long(calm: Daemon, query: str) -> None:
    begin = time.monotonic()
    assert calm.request("POST", "/retrieve", json={"query": query, "topK": 100, "maxTotalChars": 10**9}).status_code == 200
    assert time.monotonic() - begin < QUICK_S


# -- names

NAMES = ["a\nb", "a\r", "\x1b[31m", "\0", "\x7f", "\x9b31m", "\u202e", "\u2066", "\u2028", "x" * 5_000]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_one_line_that_commands_no_terminal(calm: Daemon, name: str) -> None:
    for path in ("/session/register", "/session/heartbeat", "/session/unregister"):
        assert calm.request("POST", path, json={"sessionId": name}).status_code == 400
    assert calm.request("POST", "/session/register", json={"sessionId": "x", "clientType": name}).status_code == 400
    assert calm.request("POST", "/index", json={"baseUrl": calm.url, "seedSlug": "/", "name": name}).status_code == 400


@pytest.mark.parametrize("name", ["../../x", "%2e%2e%2f", "😀", "'; DROP TABLE sessions; --", "ключ", "a b"])
def test_any_other_name_is_a_name(calm: Daemon, name: str) -> None:
    assert calm.post("/session/register", sessionId=name)["session"]["id"] == name
    assert name in [each["id"] for each in calm.get("/sessions")["sessions"]]
    assert calm.post("/session/unregister", sessionId=name)["existed"] is True


def test_nothing_that_is_logged_forges_a_line_or_commands_a_terminal(tmp_path: Path) -> None:
    told = tmp_path / "docworker.log"
    logs = f"import logging, pathlib, docworker.daemon as d; d._log_to(pathlib.Path({str(told)!r}), 'info', to_stderr=True)"
    said = "logging.getLogger('docworker').info('page %s: kept', 'http://a/\\n2026-01-01 ERROR forged\\x1b[31m\\u202e\\x9b')"
    ended = subprocess.run([sys.executable, "-c", f"{logs}; {said}"], capture_output=True, text=True, timeout=60, check=True)
    assert told.read_text("utf-8") == ended.stderr
    assert ended.stderr.endswith(" INFO docworker: page http://a/\\n2026-01-01 ERROR forged\\x1b[31m\\u202e\\x9b: kept\n")
    assert ended.stderr.count("\n") == 1


# -- slow, and many


def test_slow_clients_come_to_their_end_and_others_do_not_wait(hasty: Daemon) -> None:
    """A head that comes byte by byte, a body that does not come, one without end, one that nobody wants."""
    begun = head(hasty, "GET /health HTTP/1.1")[:-2]
    halves = [
        post(hasty, QUESTION, length=100),
        head(hasty, "POST /retrieve HTTP/1.1", *CHUNKED) + WHOLE[:-5],
        head(hasty, "GET /health HTTP/1.1", "Content-Length: 100", close=False),
        head(hasty, "POST /session/register HTTP/1.1", JSON, "Content-Length: 10", close=False),
    ]
    with ExitStack() as open_:
        slow = open_.enter_context(closing(connect(hasty)))
        links = [open_.enter_context(closing(connect(hasty))) for _ in halves]
        for link, half in zip(links, halves, strict=True):
            link.sendall(half)
        begin = time.monotonic()
        with pytest.raises(ConnectionError):
            for byte in begun * 100:
                slow.sendall(bytes([byte]))
                assert_alive(hasty)
                assert time.monotonic() - begin < PATIENCE_S + 4, "a head may come for ever"
                time.sleep(PATIENCE_S / 10)
        assert [[answer.status for answer in answers(link)] for link in links] == [[408], [408], [200], [408]]
        assert time.monotonic() - begin < 3 * PATIENCE_S + 4


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure(calm: Daemon) -> None:
    with closing(connect(calm)) as link:
        link.sendall(post(calm, QUESTION, length=100))
    with closing(connect(calm)) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        link.sendall(post(calm, QUESTION, length=100))
    for _ in range(10):  # it hears of their end before it answers the last of these
        assert_alive(calm)


def test_answers_that_are_not_read_are_given_up(hasty: Daemon) -> None:
    with ExitStack() as open_:
        for _ in range(5):
            link = open_.enter_context(closing(connect(hasty, small=True)))
            link.sendall(head(hasty, "GET /status HTTP/1.1", close=False) * 10)
        assert_alive(hasty)
        wait_until(lambda: connections(hasty) == 0, "the end of the connections")


def test_a_thousand_idle_connections_cost_little_and_shut_nobody_out(calm: Daemon) -> None:
    daemon = process(calm)
    memory = daemon.memory_info().rss
    with ExitStack() as open_:
        for _ in range(1_000):
            open_.enter_context(closing(connect(calm)))
        assert_alive(calm)
        assert connections(calm) <= 128
        assert daemon.memory_info().rss < memory + 30 * 2**20
    wait_until(lambda: connections(calm) == 0, "the end of the connections")


def test_clients_that_keep_the_daemon_waiting_give_way_to_others(calm: Daemon) -> None:
    with ExitStack() as open_:
        for _ in range(200):
            open_.enter_context(closing(connect(calm))).sendall(post(calm, QUESTION, length=100))
        assert_alive(calm)
        assert (
            calm.request("POST", "/retrieve", content=QUESTION, headers={"Content-Type": "application/json"}).status_code == 200
        )


async def test_an_answer_that_is_not_read_ends_its_connection_also_when_little_of_it_waits() -> None:
    sent = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        sent.set()
        return web.Response(body=bytes(40_000))  # less than asyncio lets wait by itself, more than the system takes

    async with served(handle, unread_s=0.5) as server, deaf_client(port_of(server)):
        await sent.wait()
        async with asyncio.timeout(10):
            while server.server is not None and server.server.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


# -- events


def listen(daemon: Daemon, open_: ExitStack, *headers: str, small: bool = False) -> socket.socket:
    link = open_.enter_context(closing(connect(daemon, small=small)))
    link.sendall(head(daemon, "GET /events HTTP/1.1", *headers))
    return link


def heard(link: socket.socket, what: bytes) -> bytes:
    """All that was heard until `what` was."""
    received = b""
    while what not in received:
        piece = link.recv(65_536)
        assert piece, "it was ended"
        received += piece
    return received


def test_more_readers_of_events_than_there_may_be_are_told_so(calm: Daemon) -> None:
    with ExitStack() as open_:
        for link in [listen(calm, open_) for _ in range(64)]:
            heard(link, b"event: progress")
        (answer,) = talk(calm, head(calm, "GET /events HTTP/1.1"))
        assert answer.status == 503
        assert "64 listen already" in answer.error
        assert_alive(calm)


def test_a_reader_that_does_not_read_is_let_go_and_the_others_hear_on(hasty: Daemon) -> None:
    daemon, memory = process(hasty), process(hasty).memory_info().rss
    with ExitStack() as open_:
        deaf = [listen(hasty, open_, small=True) for _ in range(8)]
        good = listen(hasty, open_)
        heard(good, b": still here")
        wait_until(lambda: connections(hasty) == 1, "the end of the deaf")
        assert all(link.fileno() >= 0 for link in deaf)  # it was not they that left
        assert daemon.memory_info().rss < memory + 100 * 2**20
        hasty.post("/session/register", sessionId="heard of")
        heard(good, b"heard of")
        hasty.post("/session/unregister", sessionId="heard of")


@pytest.mark.parametrize(
    "last", ["x", "-1", "evil-3", "\udcff-9", "9" * 5_000, "{instance}-99999999", "{instance}--1", "{instance}-1e3"]
)
def test_an_event_that_never_was_is_answered_with_what_was_missed(calm: Daemon, last: str) -> None:
    told = last.replace("{instance}", calm.get("/health")["instance"])
    with ExitStack() as open_:
        assert b"event: missed" in heard(listen(calm, open_, f"Last-Event-ID: {told}"), b"event: missed")


def test_there_are_no_more_sessions_than_may_be(hasty: Daemon) -> None:
    for number in range(SESSIONS):
        hasty.post("/session/register", sessionId=f"editor {number}")
    refused = hasty.request("POST", "/session/register", json={"sessionId": "one more"})
    assert refused.status_code == 503
    assert f"{SESSIONS} sessions are registered already" in refused.json()["error"]
    hasty.post("/session/register", sessionId="editor 0")  # one that is known may beat
    hasty.post("/session/unregister", sessionId="editor 0")
    hasty.post("/session/register", sessionId="one more")
    for each in hasty.get("/sessions")["sessions"]:
        hasty.post("/session/unregister", sessionId=each["id"])


# -- the token

TOKEN = "a-token-that-nobody-guesses-0123456789"


def command(daemon: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command with the daemon's environment; one that hangs is a failure."""
    return forked.command(daemon.environment, *arguments, timeout_s=30)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "docs.example"])
def test_without_a_token_nothing_but_loopback_is_listened_at(make_daemon: Callable[..., Daemon], host: str) -> None:
    refused = command(make_daemon(), "serve", "--host", host)
    assert refused.returncode == 2
    assert re.fullmatch(rf".*{re.escape(host)} can be reached by others, which needs a token.*\n", refused.stderr)


def test_a_token_that_is_refused_is_not_said(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    daemon.environment["DOCWORKER_TOKEN"] = "secret word"
    refused = command(daemon, "status")
    assert refused.returncode == 2
    assert "secret" not in refused.stderr
    assert "token" in refused.stderr


def test_with_a_token_every_route_asks_for_it_and_nothing_tells_it(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(host="0.0.0.0", token=TOKEN, log_level="debug")
    daemon.command = [sys.executable, "-m", "cli", "serve"]
    folder = daemon.settings.data_dir
    daemon.process = subprocess.Popen(daemon.command, env=daemon.environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: find(daemon.settings) is not None, "listening")
    address = find(daemon.settings)
    assert address is not None
    daemon.url = address.url
    own = f"Authorization: Bearer {TOKEN}"
    wait_until(lambda: daemon.request("GET", "/status", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200, "ready")
    for method, path in ROUTES:
        for wrong in (
            (),
            ("Authorization: Bearer nonsense-nonsense",),
            (f"Authorization: {TOKEN}",),
            ("Authorization: Bearer \udcff",),
        ):
            (answer,) = talk(daemon, head(daemon, f"{method} {path} HTTP/1.1", *wrong))
            assert answer.status == 401, (method, path)
            assert method == "HEAD" or TOKEN not in answer.error
    for host, status in {"192.0.2.7:80": 200, "[::1]": 200, socket.gethostname(): 200, "evil.example": 403}.items():
        (answer,) = talk(daemon, head(daemon, "GET /status HTTP/1.1", own, host=host))
        assert answer.status == status, host
        assert TOKEN.encode() not in answer.body
    shown = command(daemon, "config", "--json")
    assert json.loads(shown.stdout)["token"] == {"value": "(set, not shown)", "from": "DOCWORKER_TOKEN"}
    said = [shown, command(daemon, "config"), command(daemon, "status"), command(daemon, "doctor", "--json")]
    assert [each.returncode for each in said] == [0] * 4
    del daemon.environment["DOCWORKER_TOKEN"]
    (folder / "config.toml").write_text(f'token = "{TOKEN}"\n')
    (folder / "config.toml").chmod(0o600)
    said += [command(daemon, "status"), command(daemon, "config")]
    assert [each.returncode for each in said[4:]] == [0] * 2
    assert TOKEN not in "".join(each.stdout + each.stderr for each in said)
    assert TOKEN not in daemon.log() + (folder / "daemon.json").read_text()
    for each in [process(daemon), *process(daemon).children(recursive=True)]:
        assert TOKEN not in " ".join(each.cmdline())


class Thief(HTTPServer):
    """A server of somebody else that says what docworker would, and keeps what it is told."""

    def __init__(self, instance: str) -> None:
        self.heard: list[dict[str, str]] = []
        body = json.dumps({"status": "ok", "timestamp": 1, "version": "0", "instance": instance, "ready": True}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                self.heard.append(dict(handler.headers))
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            def log_message(handler, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def plant(self, folder: Path) -> Path:
        """A `daemon.json` that leads here."""
        told = {"instance": "thief", "pid": os.getpid(), "host": "127.0.0.1", "port": self.server_port, "version": "0"}
        file = folder / "daemon.json"
        file.write_text(json.dumps(told))
        file.chmod(0o600)
        return file


@pytest.fixture
def thief() -> Iterator[Thief]:
    with Thief("thief") as server:
        yield server
        server.shutdown()


def test_who_listens_where_a_killed_daemon_did_is_told_nothing(make_daemon: Callable[..., Daemon], thief: Thief) -> None:
    daemon = make_daemon(token=TOKEN)
    daemon.settings.data_dir.mkdir(mode=0o700)
    thief.plant(daemon.settings.data_dir)
    assert find(daemon.settings) is None
    (daemon.settings.data_dir / "lock").touch()  # as a kill leaves it
    assert find(daemon.settings) is None
    refused = command(daemon, "status")
    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr
    assert command(daemon, "stop").returncode == 0
    assert thief.heard == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["file of another", "file for anybody", "folder of another", "folder for anybody"])
def test_a_daemon_file_that_others_may_have_written_is_not_believed(
    make_daemon: Callable[..., Daemon], thief: Thief, what: str
) -> None:
    daemon = make_daemon()
    folder = daemon.settings.data_dir
    folder.mkdir(mode=0o700)
    settings = daemon.settings.model_copy(update={"token": SecretStr(TOKEN)})
    file = thief.plant(folder)
    with FileLock(folder / "lock"):  # as a daemon holds it, so that nothing but the file is in doubt
        assert find(settings) is not None
        assert "Authorization" in thief.heard[-1]
        thief.heard.clear()
        target = folder if what.startswith("folder") else file
        if what.endswith("another"):
            os.chown(target, NOBODY, -1)
        else:
            target.chmod(0o777)
        assert find(settings) is None
        assert thief.heard == []


# -- the data folder


def refused(daemon: Daemon, match: str, code: int = 1) -> None:
    """The daemon does not start, says why in a sentence, and leaves nothing behind that says it runs."""
    ended = command(daemon, "serve")
    assert ended.returncode == code, ended.stderr
    assert re.search(match, ended.stderr), ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (daemon.settings.data_dir / "daemon.json").is_file()


@pytest.fixture
def folder(make_daemon: Callable[..., Daemon]) -> Iterator[tuple[Daemon, Path]]:
    """A daemon that does not run, and its data folder."""
    daemon = make_daemon()
    daemon.settings.data_dir.mkdir(mode=0o700)
    yield daemon, daemon.settings.data_dir


PLACES = [
    *("catalog.sqlite", "catalog.sqlite-wal", "docworker.log", "daemon.json", "daemon.new", "lock", "shelf", "refreshing"),
    *("refreshing/x.sqlite", "shelf/chunks.lance", "shelf/chunks.lance/data"),
]


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_written_through_a_link(folder: tuple[Daemon, Path], tmp_path: Path, place: str) -> None:
    daemon, data = folder
    elsewhere = tmp_path / "elsewhere"
    is_folder = place in ("shelf", "refreshing", "shelf/chunks.lance", "shelf/chunks.lance/data")
    victim = elsewhere / "letters" if is_folder else elsewhere
    victim.parent.mkdir(exist_ok=True)
    victim.write_bytes(b"my letters")
    (data / place).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / place).symlink_to(elsewhere)
    ended = command(daemon, "serve")
    assert ended.returncode == 1
    assert "is a link, and docworker does not write through links" in ended.stderr
    for arguments in (("doctor", "--fix"), ("stop",), ("status",)):
        assert "Traceback" not in command(daemon, *arguments).stderr
    assert victim.read_bytes() == b"my letters"
    assert [each.name for each in victim.parent.iterdir()].count(victim.name) == 1
    assert not is_folder or list(elsewhere.iterdir()) == [victim]


@pytest.mark.parametrize(
    "place", ["daemon.json", "lock", "docworker.log", "catalog.sqlite", "config.toml", "daemon.new", "shelf"]
)
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_said_and_never_waited_for(
    folder: tuple[Daemon, Path], place: str, kind: str
) -> None:
    daemon, data = folder
    if kind == "pipe":
        os.mkfifo(data / place)
    elif place == "shelf":
        return
    else:
        (data / place).mkdir()
    ended = command(daemon, "serve")
    assert ended.returncode in (1, 2)
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert str(data) in ended.stderr or f"{place} in the data folder" in ended.stderr
    for arguments in (("doctor",), ("status",), ("stop",)):
        assert "Traceback" not in command(daemon, *arguments).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    "place", ["", "catalog.sqlite", "docworker.log", "daemon.json", "lock", "shelf/x", "refreshing/x.sqlite"]
)
def test_what_belongs_to_another_user_is_not_used(folder: tuple[Daemon, Path], place: str) -> None:
    daemon, data = folder
    if place:
        (data / place).parent.mkdir(exist_ok=True)
        (data / place).touch()
    os.chown(data / place, NOBODY, -1)
    mode = stat.S_IMODE(data.stat().st_mode)
    ended = command(daemon, "serve")
    assert ended.returncode == 1
    assert "belongs to another user" in ended.stderr
    assert stat.S_IMODE(data.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["file of another", "file for anybody", "folder of another", "folder for anybody", "a pipe"])
def test_settings_that_others_may_have_written_are_not_used(folder: tuple[Daemon, Path], what: str) -> None:
    daemon, data = folder
    file = data / "config.toml"
    if what == "a pipe":
        os.mkfifo(file, 0o600)
    else:
        file.write_text("max_pages = 7\n")
        target = data if what.startswith("folder") else file
        if what.endswith("another"):
            os.chown(target, NOBODY, -1)
        else:
            target.chmod(0o777)
    for arguments in (("serve",), ("status",), ("config",), ("stop",)):
        ended = command(daemon, *arguments)
        assert ended.returncode == 2, arguments
        assert ended.stdout == ""
        assert re.fullmatch(rf"{re.escape(str(file))} (is not used|cannot be read).*\n", ended.stderr)


def test_links_of_ones_own_to_the_folder_and_to_the_settings_are_followed(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to(tmp_path / "real")
    (tmp_path / "mine.toml").write_text("max_pages = 7\n")
    (tmp_path / "real/config.toml").symlink_to(tmp_path / "mine.toml")
    with make_daemon() as daemon:
        assert (tmp_path / "real/daemon.json").is_file()
        assert json.loads(command(daemon, "config", "--json").stdout)["max_pages"] == {"value": 7, "from": "config.toml"}


def test_whatever_the_umask_nobody_else_reads_a_file(make_daemon: Callable[..., Daemon], site: Site) -> None:
    before = os.umask(0)
    try:
        daemon = make_daemon()
        daemon.settings.data_dir.mkdir(mode=0o777)
        with daemon:
            docset = daemon.post("/index", baseUrl=site.url, seedSlug="/docs/")["docsetId"]
            daemon.wait_ready(docset, vectors=True)
            daemon.post("/refresh", docsetId=docset, force=True)
            wait_until(lambda: daemon.get(f"/docset/{docset}")["lastRefresh"] is not None, "the refresh")
            found = [daemon.settings.data_dir, *daemon.settings.data_dir.rglob("*")]
            assert {each.name for each in found} >= {"catalog.sqlite", "docworker.log", "daemon.json", "lock", "shelf"}
            assert [each for each in found if each.stat().st_mode & 0o077] == []
        daemon.end()
        (daemon.settings.data_dir / "catalog.sqlite").write_bytes(b"no database " * 1_000)
        command(daemon, "doctor", "--fix")
        assert [each for each in daemon.settings.data_dir.rglob("*") if each.stat().st_mode & 0o077] == []
    finally:
        os.umask(before)
