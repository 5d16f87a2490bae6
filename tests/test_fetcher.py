"""Fetching one URL, against real HTTP on loopback: retries, rests, limits, encodings, and what a site may do wrong."""

import asyncio
import gzip
import math
import random
import re
import socket
import socketserver
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import cache
from types import TracebackType
from typing import Self

import pytest
import tenacity

from docworker.crawl import fetcher, pacing
from docworker.crawl.fetcher import USER_AGENT, Fetcher, FetchLimits
from docworker.crawl.pacing import Pacer
from docworker.model import Access, Asked, Failed, Fetched, Reason, Redirected, Refused
from docworker.urls import origin
from tests.daemon import wait_until
from tests.site import Answer, Site

REAL_FIRST_STEP_S = pacing._FIRST_STEP_S
MAX_RECEIVED, MAX_BYTES = 2**20, 2 * 2**20
# What a server may have given to the operating system before it learns that nobody reads: buffers of two sockets.
BUFFERS = 16 * 2**20
HTML = "text/html; charset=utf-8"
TEXT = b"<title>Page</title><p>" + b"Some words of a page. " * 200
PAGE = Answer(body=TEXT)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, but for what the site itself asks for."""
    monkeypatch.setattr(fetcher, "_WAIT", tenacity.wait_none())
    monkeypatch.setattr(pacing, "_FIRST_STEP_S", 0.0)


def new_fetcher(
    *,
    timeout_s: float = 10.0,
    attempts: int = 3,
    max_received: int = MAX_RECEIVED,
    max_bytes: int = MAX_BYTES,
    max_rest_s: float = 3_600.0,
    at_once: int = 4,
) -> Fetcher:
    return Fetcher(FetchLimits(timeout_s, attempts, max_received, max_bytes, max_rest_s), Pacer(at_once, 0.0))


async def fetch(url: str, *, keep: int | None = None, **limits: float) -> Asked:
    async with new_fetcher(**limits) as made:  # type: ignore[arg-type]
        return await ask(made, url, keep=keep)


async def ask(made: Fetcher, url: str, *, keep: int | None = None) -> Asked:
    """Ask for a page of the docset's own site."""
    return await made.fetch(url, access=Access(origin(url)), keep=keep)


class Script(Site):
    """Answers the n-th request of a path with the n-th of `answers`, and every further one with the last."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.script = answers
        self.times: list[tuple[float, float]] = []  # when each request came: by the clock of pauses, and by that of dates

    def asked(self, path: str, headers: object) -> int:
        self.times.append((time.monotonic(), time.time()))
        return super().asked(path, headers)  # type: ignore[arg-type]

    def answer(self, path: str) -> Answer:
        return self.script[min(self.requests[path], len(self.script)) - 1]


class Wire:
    """A server that says exactly what it is told to: `talk` makes the bytes for each request, one for each connection.

    Between two pieces it notices that its client, or the test, has gone.
    """

    def __init__(self, talk: Callable[[str], Iterator[bytes]]) -> None:
        self.ended = threading.Event()
        self.requests: list[str] = []
        wire = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                connection: socket.socket = self.request
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = connection.recv(65_536)
                    if not piece:
                        return
                    head += piece
                path = head.split(b" ", 2)[1].decode()
                wire.requests.append(path)
                try:
                    for piece in talk(path):
                        if wire.ended.is_set():
                            return
                        connection.sendall(piece)
                except OSError:
                    return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def response(body: bytes = TEXT, *headers: str, status: str = "200 OK") -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/html", f"Content-Length: {len(body)}", *headers, "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def drip(*begin: bytes, piece: bytes = b"x") -> Iterator[bytes]:
    """Some bytes, then one piece after the other without end."""
    yield from begin
    while True:
        yield piece
        time.sleep(0.02)


class Endless:
    """A body of 10 GB, in pieces of 64 KB: counts the bytes that were sent."""

    def __init__(self, piece: bytes = b"x" * 65_536) -> None:
        self.piece = piece
        self.sent = 0

    def __call__(self) -> Iterator[bytes]:
        for _ in range(10 * 2**30 // len(self.piece)):
            self.sent += len(self.piece)
            yield self.piece


@cache
def bomb() -> bytes:
    """1 GB of zeros in one gzip member of 1 MB: a block that is flushed whole may be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(16 * 2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + block * 64 + b"\x03\x00" + bytes(8)


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failed(asked: Asked, match: str, reason: Reason = Reason.SERVER_ERROR) -> Failed:
    assert isinstance(asked.outcome, Failed), asked
    assert asked.outcome.reason is reason, asked
    assert re.search(match, asked.outcome.message), asked.outcome.message
    return asked.outcome


def refused(asked: Asked, match: str, reason: Reason) -> None:
    assert isinstance(asked.outcome, Refused), asked
    assert asked.outcome.reason is reason, asked
    assert re.search(match, asked.outcome.message), asked.outcome.message


def body_of(asked: Asked) -> bytes:
    assert isinstance(asked.outcome, Fetched), asked
    return asked.outcome.body


# -- what comes back


async def test_a_page_comes_with_its_type_charset_and_validators() -> None:
    headers = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT", "ETag": '"abc"', "Content-Type": "Text/HTML ; charset=Latin-1"}
    with Script(Answer(body=TEXT, headers=headers)) as site:
        asked = await fetch(f"{site.url}/page")
    assert asked == Asked(
        Fetched(f"{site.url}/page", "text/html", "Latin-1".lower(), TEXT, '"abc"', headers["Last-Modified"], None),
        200,
        1,
        len(TEXT),
    )


async def test_the_request_says_who_asks_and_what_it_can_read() -> None:
    with Script(PAGE) as site:
        await fetch(f"{site.url}/page?b=1&a=2")
        (headers,) = site.headers
    assert headers["User-Agent"] == USER_AGENT
    assert re.fullmatch(r"docworker/\d+\.\d+\S* \(\+https?://\S+\)", USER_AGENT)
    assert headers["Host"] == site.url.removeprefix("http://")
    assert {name.strip() for name in headers["Accept-Encoding"].split(",")} == {"gzip", "deflate"}
    assert "text/html" in headers["Accept"]
    assert not {"Cookie", "Referer", "Authorization"} & headers.keys()
    assert list(site.requests) == ["/page?b=1&a=2"]


@pytest.mark.parametrize("content_type", ["text/html", "TEXT/HTML;charset=utf-8", "application/xhtml+xml", ""])
async def test_html_is_taken(content_type: str) -> None:
    with Script(Answer(body=TEXT, headers={"Content-Type": content_type})) as site:
        assert body_of(await fetch(f"{site.url}/page")) == TEXT


@pytest.mark.parametrize("content_type", ["image/png", "application/pdf", "text/x-python", "text/htmlx", "application/json"])
async def test_other_types_are_refused_without_reading_them(content_type: str) -> None:
    endless = Endless()
    with Script(Answer(content_type=content_type, stream=endless)) as site:
        asked = await fetch(f"{site.url}/page")
    refused(asked, re.escape(content_type), Reason.NOT_HTML)
    assert (asked.status, asked.requests) == (200, 1)
    assert endless.sent < BUFFERS


@pytest.mark.parametrize("name", ["page", "page.md", "guide.markdown", "README", "notes.txt", "x/guide.RST?a=1"])
async def test_markdown_is_taken_and_text_by_its_name(name: str) -> None:
    for content_type in ("text/markdown", "text/plain; charset=utf-8"):
        with Script(Answer(body=TEXT, headers={"Content-Type": content_type})) as site:
            assert body_of(await fetch(f"{site.url}/{name}")) == TEXT


@pytest.mark.parametrize("name", ["x.c", "x.py", "x.log", "x.patch", "x.txt.asc", "guide.md/x.c"])
async def test_text_under_the_name_of_something_else_is_refused(name: str) -> None:
    with Script(Answer(body=TEXT, headers={"Content-Type": "text/plain"})) as site:
        refused(await fetch(f"{site.url}/{name}"), "text/plain", Reason.NOT_HTML)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["other", "/there?x=1", "https://elsewhere.example/", "http://[broken"])
async def test_redirects_are_returned_and_not_followed(status: int, target: str) -> None:
    with Script(Answer(status, headers={"Location": target})) as site:
        asked = await fetch(f"{site.url}/page")
        assert site.requests.total() == 1
    assert asked.outcome == Redirected(f"{site.url}/page", target, str(status))
    assert (asked.status, asked.requests) == (status, 1)


async def test_a_redirect_to_nowhere_is_a_failure() -> None:
    with Script(Answer(302)) as site:
        asked = await fetch(f"{site.url}/page")
    failed(asked, "answered 302")
    assert asked.requests == 1


async def test_robots_headers_are_joined_a_line_each() -> None:
    said = ("X-Robots-Tag: noindex", "x-robots-tag: otherbot: none", "X-ROBOTS-TAG: unavailable_after: 25 Jun 2026, nofollow")
    with Wire(lambda path: iter([response(TEXT, *said)])) as wire:
        asked = await fetch(f"{wire.url}/page")
    assert isinstance(asked.outcome, Fetched)
    assert asked.outcome.robots == "noindex\notherbot: none\nunavailable_after: 25 Jun 2026, nofollow"


# -- retries


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(status: int) -> None:
    with Script(Answer(status, "Not now"), PAGE) as site:
        asked = await fetch(f"{site.url}/page")
        assert site.requests["/page"] == 2
    assert body_of(asked) == TEXT
    assert (asked.status, asked.requests) == (200, 2)


@pytest.mark.parametrize(
    ("status", "reason", "match"),
    [
        (401, Reason.FORBIDDEN, "login"),
        (403, Reason.FORBIDDEN, "forbids"),
        (404, Reason.GONE, "no such page"),
        (410, Reason.GONE, "gone"),
    ],
)
async def test_a_final_no_is_believed_at_once(status: int, reason: Reason, match: str) -> None:
    with Script(Answer(status, TEXT), PAGE) as site:
        asked = await fetch(f"{site.url}/page")
        assert site.requests["/page"] == 1
    refused(asked, match, reason)
    assert (asked.status, asked.requests) == (status, 1)


@pytest.mark.parametrize("status", [204, 206, 400, 405, 406, 418, 431, 451, 501, 505])
async def test_other_answers_fail_at_once(status: int) -> None:
    with Script(Answer(status), PAGE) as site:
        asked = await fetch(f"{site.url}/page")
        assert site.requests["/page"] == 1
    failed(asked, f"answered {status}")
    assert (asked.status, asked.requests) == (status, 1)


@pytest.mark.parametrize("cut_at", [0, 1, len(TEXT) - 1])
async def test_a_body_that_breaks_off_is_asked_again(cut_at: int) -> None:
    with Script(Answer(body=TEXT, cut_at=cut_at), Answer(body=TEXT, cut_at=cut_at), PAGE) as site:
        asked = await fetch(f"{site.url}/page")
    assert body_of(asked) == TEXT
    assert (asked.status, asked.requests) == (200, 3)


async def test_what_was_received_before_a_body_broke_off_counts() -> None:
    with Script(Answer(body=TEXT, cut_at=1_000), Answer(body=TEXT, cut_at=2_000), PAGE) as site:
        asked = await fetch(f"{site.url}/page")
    assert asked.size == len(TEXT) + 3_000


async def test_a_chunked_body_that_breaks_off_is_asked_again() -> None:
    broken = Answer(stream=lambda: iter([TEXT]), cut_at=100)
    with Script(broken, Answer(stream=lambda: iter([TEXT[:100], TEXT[100:]]))) as site:
        asked = await fetch(f"{site.url}/page")
    assert body_of(asked) == TEXT
    assert asked.requests == 2


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"])
async def test_a_connection_that_breaks_off_before_the_answer_is_tried_again(begin: bytes) -> None:
    pieces = iter([begin, begin, response()])
    with Wire(lambda path: iter([next(pieces)])) as wire:
        asked = await fetch(f"{wire.url}/page")
    assert body_of(asked) == TEXT
    assert (asked.status, asked.requests) == (200, 3)


@pytest.mark.parametrize(("attempts", "said"), [(1, "(1 attempt)."), (2, "(2 attempts)."), (5, "(5 attempts).")])
@pytest.mark.parametrize(
    ("answer", "reason", "match", "status"),
    [
        (Answer(503), Reason.SERVER_ERROR, "The site answered 503", 503),
        (Answer(500), Reason.SERVER_ERROR, "The site answered 500", 500),
        (Answer(body=TEXT, cut_at=10), Reason.NO_ANSWER, "The connection to 127.0.0.1:.* failed", 200),
    ],
)
async def test_attempts_are_bounded_and_said(
    attempts: int, said: str, answer: Answer, reason: Reason, match: str, status: int
) -> None:
    with Script(answer) as site:
        asked = await fetch(f"{site.url}/page", attempts=attempts)
        assert site.requests["/page"] == attempts
    failed(asked, f"^{match}.*{re.escape(said)}$", reason)
    assert (asked.status, asked.requests) == (status, attempts)


async def test_the_last_failure_is_what_is_said() -> None:
    with Script(Answer(500), Answer(503), Answer(502)) as site:
        asked = await fetch(f"{site.url}/page")
    failed(asked, "answered 502")
    assert asked.status == 502


async def test_a_host_where_nothing_listens_is_tried_as_often() -> None:
    port = free_port()
    asked = await fetch(f"http://127.0.0.1:{port}/page")
    failed(asked, rf"Nothing listens at 127\.0\.0\.1:{port} \(3 attempts\)", Reason.NO_ANSWER)
    assert (asked.status, asked.requests, asked.size) == (None, 3, 0)


async def test_a_host_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    asked = await fetch("http://docs.invalid/page", attempts=2)
    failed(asked, r"docs\.invalid does not exist", Reason.NO_ANSWER)
    assert asked.requests == 2


async def test_attempts_after_an_overload_are_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_FIRST_STEP_S", REAL_FIRST_STEP_S)
    with Script(Answer(503), Answer(429), PAGE) as site:
        body_of(await fetch(f"{site.url}/page"))
        (first, _), (second, _), (third, _) = site.times
    assert second - first >= 0.5
    assert third - second >= 1.0


# -- Retry-After


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_seconds_of_retry_after_are_waited_for(status: int) -> None:
    with Script(Answer(status, headers={"Retry-After": "1"}), PAGE) as site:
        asked = await fetch(f"{site.url}/page")
        (first, _), (second, _) = site.times
    assert body_of(asked) == TEXT
    assert asked.requests == 2
    assert second - first >= 1.0


async def test_a_date_of_retry_after_is_waited_for() -> None:
    until = math.ceil(time.time()) + 1
    with Script(Answer(503, headers={"Retry-After": formatdate(until, usegmt=True)}), PAGE) as site:
        asked = await fetch(f"{site.url}/page")
        (_, second) = site.times[1]
    assert body_of(asked) == TEXT
    assert second >= until - 0.02  # two clocks of one machine


async def test_retry_after_holds_requests_for_other_pages_of_the_host() -> None:
    with Script(Answer(503, headers={"Retry-After": "1"}), PAGE) as site:
        async with new_fetcher(attempts=1) as made:
            failed(await ask(made, f"{site.url}/page"), "503")
            site.script = (PAGE,)
            await asyncio.gather(*(ask(made, f"{site.url}/{number}") for number in range(3)))
        (first, _), *others = site.times
    assert len(others) == 3
    assert min(time_ for time_, _ in others) - first >= 1.0


@pytest.mark.parametrize("said", ["soon", "-5", "1.5", "1e9", "Wed, 99 Foo 2015 99:99:99 GMT", "0x10", "; 3600", "NaN", "inf"])
async def test_a_malformed_retry_after_is_as_none(said: str) -> None:
    with Script(Answer(503, headers={"Retry-After": said}), PAGE) as site:
        async with new_fetcher() as made:
            asked = await ask(made, f"{site.url}/page")
            assert made.pacer.pace(site.url).held_until <= time.monotonic()
    assert body_of(asked) == TEXT
    assert asked.requests == 2


@pytest.mark.parametrize(
    "said", ["0", formatdate(0, usegmt=True), "Thu, 01 Jan 1970 00:00:00 -0000", "Mon, 01 Jan 0001 00:00:00 GMT"]
)
async def test_a_rest_that_is_over_already_holds_nothing(said: str) -> None:
    with Script(Answer(429, headers={"Retry-After": said}), PAGE) as site:
        assert body_of(await fetch(f"{site.url}/page")) == TEXT


async def test_a_rest_is_waited_for_only_after_an_answer_that_wants_one() -> None:
    with Script(Answer(body=TEXT, headers={"Retry-After": "3600"})) as site:
        async with new_fetcher() as made:
            assert body_of(await ask(made, f"{site.url}/page")) == TEXT
            assert body_of(await ask(made, f"{site.url}/other")) == TEXT


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_long_rest_is_not_waited_for_but_said(status: int) -> None:
    with Script(Answer(status, headers={"Retry-After": "600"})) as site, Script(PAGE) as other:
        async with new_fetcher() as made:
            asked = await ask(made, f"{site.url}/page")
            assert failed(asked, f"answered {status}").retry_after_s == 600
            assert (asked.status, asked.requests) == (status, 1)

            again = await ask(made, f"{site.url}/other")
            rest_s = failed(again, r"left alone for \d+ s").retry_after_s
            assert rest_s is not None
            assert 30 < rest_s <= 600
            assert (again.status, again.requests, again.size) == (None, 0, 0)

            assert body_of(await ask(made, f"{other.url}/page")) == TEXT
        assert site.requests.total() == 1


async def test_a_long_rest_until_a_date_is_said() -> None:
    with Script(Answer(503, headers={"Retry-After": formatdate(time.time() + 600, usegmt=True)})) as site:
        asked = await fetch(f"{site.url}/page")
    rest_s = failed(asked, "503").retry_after_s
    assert rest_s is not None
    assert 500 < rest_s <= 600
    assert asked.requests == 1


@pytest.mark.parametrize("said", ["86400", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_rest_is_bounded_by_the_setting(said: str) -> None:
    with Script(Answer(503, headers={"Retry-After": said})) as site:
        asked = await fetch(f"{site.url}/page", max_rest_s=45.0)
    assert failed(asked, "503").retry_after_s == 45.0


async def test_a_setting_of_no_rest_takes_none() -> None:
    with Script(Answer(503, headers={"Retry-After": "86400"}), PAGE) as site:
        assert body_of(await fetch(f"{site.url}/page", max_rest_s=0.0)) == TEXT


async def test_a_failure_without_a_long_rest_says_none() -> None:
    with Script(Answer(503), Answer(503, headers={"Retry-After": "1"}), Answer(500)) as site:
        asked = await fetch(f"{site.url}/page", attempts=1)
        assert failed(asked, "503").retry_after_s is None
        asked = await fetch(f"{site.url}/page", attempts=2)
    assert failed(asked, "500").retry_after_s is None


# -- limits


async def test_a_body_of_the_limit_is_taken_and_a_byte_more_is_not() -> None:
    for limits in ({"max_received": 5_000}, {"max_bytes": 5_000}):
        with Script(Answer(body=b"x" * 5_000), Answer(body=b"x" * 5_001)) as site:
            assert len(body_of(await fetch(f"{site.url}/page", **limits))) == 5_000
            refused(await fetch(f"{site.url}/page", **limits), "larger than 5000 bytes", Reason.TOO_LARGE)


async def test_a_length_over_the_limit_is_refused_without_reading() -> None:
    endless = Endless()
    with Script(Answer(headers={"Content-Length": str(10 * 2**30)}, stream=endless)) as site:
        asked = await fetch(f"{site.url}/page")
    refused(asked, rf"larger than {MAX_RECEIVED} bytes \(setting max_response_bytes\)", Reason.TOO_LARGE)
    assert (asked.status, asked.requests, asked.size) == (200, 1, 0)
    assert endless.sent < BUFFERS


@pytest.mark.parametrize("length", ["", str(10 * 2**30)])
async def test_a_streamed_body_is_cut_at_the_limit(length: str) -> None:
    """Whether its length is not told or, when a file is wanted, is no reason to refuse it."""
    endless = Endless()
    with Script(Answer(headers={"Content-Length": length}, stream=endless)) as site:
        asked = await fetch(f"{site.url}/page", keep=MAX_RECEIVED if length else None)
    if length:
        assert len(body_of(asked)) == MAX_RECEIVED
    else:
        refused(asked, f"larger than {MAX_RECEIVED} bytes", Reason.TOO_LARGE)
    assert MAX_RECEIVED < asked.size < 2 * MAX_RECEIVED
    assert asked.requests == 1
    assert endless.sent < BUFFERS


async def test_a_body_that_lies_about_its_length_is_no_longer_than_said() -> None:
    with Wire(lambda path: iter([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", b"x" * 10_000])) as wire:
        assert body_of(await fetch(f"{wire.url}/page")) == b"xxxxx"


async def test_a_bomb_of_1_gb_is_refused_in_little_memory() -> None:
    packed = bomb()
    assert len(packed) < 1.2 * 2**20
    tracemalloc.start()
    try:
        with Script(Answer(body=packed, headers={"Content-Encoding": "gzip"})) as site:
            asked = await fetch(f"{site.url}/page", max_received=2 * 2**20, max_bytes=4 * 2**20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    refused(asked, rf"larger than {4 * 2**20} bytes \(setting max_page_bytes\)", Reason.TOO_LARGE)
    assert asked.requests == 1
    assert peak < 64 * 2**20


async def test_a_bomb_of_many_members_is_refused_in_little_memory() -> None:
    packed = gzip.compress(bytes(2**20)) * 900
    tracemalloc.start()
    try:
        with Script(Answer(body=packed, headers={"Content-Encoding": "gzip"})) as site:
            asked = await fetch(f"{site.url}/page", max_received=2 * 2**20, max_bytes=4 * 2**20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    refused(asked, "max_page_bytes", Reason.TOO_LARGE)
    assert peak < 64 * 2**20


@pytest.mark.parametrize(
    ("encoding", "member"), [("gzip", gzip.compress(b"")), ("deflate", zlib.compress(b""))], ids=["gzip", "deflate"]
)
async def test_members_without_number_are_not_undone(encoding: str, member: bytes) -> None:
    tracemalloc.start()
    try:
        with Script(Answer(body=member * 1_000, headers={"Content-Encoding": encoding})) as site:
            outcome = (await fetch(f"{site.url}/page")).outcome
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, Failed)
    assert f"over 100 pieces of {encoding}" in outcome.message
    assert peak < 16 * 2**20


# -- encodings


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        pytest.param("gzip", gzip.compress(TEXT), id="gzip"),
        pytest.param("GZip ", gzip.compress(TEXT), id="gzip in other letters"),
        pytest.param("x-gzip", gzip.compress(TEXT), id="x-gzip"),
        pytest.param(
            "gzip", gzip.compress(TEXT[:99]) + gzip.compress(b"") + gzip.compress(TEXT[99:]), id="gzip of several members"
        ),
        pytest.param("deflate", zlib.compress(TEXT), id="deflate as zlib"),
        pytest.param("deflate", raw_deflate(TEXT), id="deflate as the bare stream"),
        pytest.param("identity", TEXT, id="identity"),
    ],
)
async def test_encodings_are_undone(encoding: str, packed: bytes) -> None:
    with Script(Answer(body=packed, headers={"Content-Encoding": encoding})) as site:
        asked = await fetch(f"{site.url}/page")
    assert body_of(asked) == TEXT
    assert (asked.requests, asked.size) == (1, len(packed))


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        pytest.param("gzip", gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:]), id="gzip"),
        pytest.param("deflate", zlib.compress(TEXT), id="deflate as zlib"),
        pytest.param("deflate", raw_deflate(TEXT), id="deflate as the bare stream"),
    ],
)
async def test_encodings_are_undone_wherever_the_pieces_end(encoding: str, packed: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        for byte in packed:
            yield bytes([byte])
            time.sleep(0.001)  # so that they are not put together on their way

    with Script(Answer(headers={"Content-Encoding": encoding}, stream=pieces)) as site:
        asked = await fetch(f"{site.url}/page")
    assert body_of(asked) == TEXT
    assert asked.size == len(packed)


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_a_long_packed_body_comes_whole(encoding: str, wbits: int) -> None:
    text = random.Random(1).randbytes(900_000) + bytes(900_000)
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(text) + packer.flush()
    with Script(Answer(body=packed, headers={"Content-Encoding": encoding})) as site:
        assert body_of(await fetch(f"{site.url}/page")) == text


DAMAGED = gzip.compress(TEXT)[:20] + b"\xff\x00\xff\x00" + gzip.compress(TEXT)[24:]


@pytest.mark.parametrize(
    ("encoding", "body", "reason", "match"),
    [
        pytest.param("gzip", DAMAGED, Reason.SERVER_ERROR, "damaged gzip", id="damaged gzip"),
        pytest.param("gzip", gzip.compress(TEXT)[:-4] + b"oops", Reason.SERVER_ERROR, "damaged gzip", id="wrong length"),
        pytest.param("gzip", TEXT, Reason.SERVER_ERROR, "damaged gzip", id="not packed"),
        pytest.param("deflate", b"\xff" * 100, Reason.SERVER_ERROR, "damaged deflate", id="damaged deflate"),
        pytest.param("gzip", gzip.compress(TEXT)[:-9], Reason.NO_ANSWER, "gzip that is cut off", id="gzip cut off"),
        pytest.param("gzip", gzip.compress(TEXT)[:5], Reason.NO_ANSWER, "gzip that is cut off", id="gzip cut off in its head"),
        pytest.param("deflate", zlib.compress(TEXT)[:-5], Reason.NO_ANSWER, "deflate that is cut off", id="deflate cut off"),
        pytest.param("br", b"\x0b\x02\x80abc\x03", Reason.SERVER_ERROR, "encoding br, which was not asked for", id="br"),
        pytest.param("zstd", b"(\xb5/\xfd", Reason.SERVER_ERROR, "encoding zstd", id="zstd"),
        pytest.param("gzip, br", gzip.compress(TEXT), Reason.SERVER_ERROR, "encoding gzip, br", id="two of them"),
        pytest.param("x" * 5_000, TEXT, Reason.SERVER_ERROR, r"encoding x{40}, which", id="an endless name"),
    ],
)
async def test_what_cannot_be_unpacked_is_tried_again_and_then_failed(
    encoding: str, body: bytes, reason: Reason, match: str
) -> None:
    bad = Answer(body=body, headers={"Content-Encoding": encoding})
    with Script(bad) as site:
        asked = await fetch(f"{site.url}/page")
        assert site.requests["/page"] == 3
    failed(asked, rf"{match}.*\(3 attempts\)\.$", reason)
    assert asked.requests == 3
    with Script(bad, PAGE) as site:
        assert body_of(await fetch(f"{site.url}/page")) == TEXT


async def test_an_empty_body_may_be_called_packed() -> None:
    with Script(Answer(body=b"", headers={"Content-Encoding": "gzip"})) as site:
        assert body_of(await fetch(f"{site.url}/page")) == b""


# -- what does not end


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(lambda: drip(piece=b""), id="no answer"),
        pytest.param(lambda: drip(b"HTTP/1.1 200"), id="a status line that does not end"),
        pytest.param(lambda: drip(b"HTTP/1.1 200 OK\r\n", piece=b"X-More: yes\r\n"), id="headers that do not end"),
        pytest.param(lambda: drip(piece=b"HTTP/1.1 103 Early Hints\r\n\r\n"), id="hints that do not end"),
        pytest.param(lambda: drip(b"HTTP/1.1 200 OK\r\n\r\n"), id="a body that does not end"),
        pytest.param(lambda: drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", piece=b""), id="a body that does not come"),
        pytest.param(
            lambda: drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", piece=b"x"), id="a chunk's head without end"
        ),
    ],
)
async def test_a_trickle_is_ended_by_the_time_out(talk: Callable[[], Iterator[bytes]]) -> None:
    with Wire(lambda path: talk()) as wire:
        asked = await fetch(f"{wire.url}/page", timeout_s=0.4, attempts=2)
    failed(asked, r"did not answer within 0\.4 s \(2 attempts\)", Reason.NO_ANSWER)
    assert asked.requests == 2


@pytest.mark.parametrize(
    "piece",
    [b"X-More: yes\r\n" * 5_000, b"x" * 65_536, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000],
    ids=["headers", "a header", "hints"],
)
async def test_a_flood_instead_of_an_answer_ends(piece: bytes) -> None:
    def flood() -> Iterator[bytes]:
        yield b"" if piece.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\nX-Long: "
        while True:
            yield piece

    with Wire(lambda path: flood()) as wire:
        asked = await fetch(f"{wire.url}/page", timeout_s=1.0, attempts=1)
    failed(asked, "", Reason.NO_ANSWER)


async def test_time_is_counted_anew_for_each_attempt_and_waiting_for_a_turn_is_not() -> None:
    with Script(Answer(body=TEXT, delay_s=0.6)) as site:
        async with new_fetcher(timeout_s=2.0, at_once=1, attempts=1) as made:
            all_asked = await asyncio.gather(*(ask(made, f"{site.url}/{number}") for number in range(4)))
    assert [body_of(asked) for asked in all_asked] == [TEXT] * 4


# -- what is strange


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x01\x02 not HTTP\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 1000 High\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-Bad\xff\xfe: \xff\xfe\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-Bad: \xff\xfe\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n folded: yes\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Type: \xff\xfe;;;=;charset=\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset*=utf-9''%ff%fe\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset*0*=a'b'%ff; charset*2=x\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=\"\xe9\x00\"\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\x7f\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: //[::1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: " + b";" * 30_000 + b"\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; expires=" + b"0 " * 3_000 + b"x\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/0.9 200 OK\r\n\r\nhello",
        b"HTTP/2 200\r\n\r\nhello",
        b"<html>hello</html>",
    ],
)  # fmt: skip
async def test_whatever_a_site_says_comes_back_as_a_value(said: bytes) -> None:
    with Wire(lambda path: iter([said])) as wire:
        asked = await fetch(f"{wire.url}/page", attempts=2)
    assert isinstance(asked.outcome, Fetched | Failed | Refused | Redirected)
    assert 1 <= asked.requests <= 2


@pytest.mark.parametrize("length", [1_900, 2_048])
async def test_a_url_of_any_length_and_with_escapes_is_asked_as_it_is(length: int) -> None:
    with Script(PAGE) as site:
        url = f"{site.url}/%C3%BC%2F?q=%26&x="
        url += "a" * (length - len(url))
        assert body_of(await fetch(url)) == TEXT
        assert list(site.requests) == [url.removeprefix(site.url)]


async def test_a_site_learns_nothing_from_one_request_about_the_next() -> None:
    with Script(Answer(body=TEXT, headers={"Set-Cookie": "session=1; Path=/"})) as site:
        async with new_fetcher() as made:
            await ask(made, f"{site.url}/one")
            await ask(made, f"{site.url}/two")
        assert [headers.get("Cookie") for headers in site.headers] == [None, None]


# -- files


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/octet-stream", "image/png", ""])
async def test_a_file_may_be_of_any_type(content_type: str) -> None:
    with Script(Answer(body=b"User-agent: *", headers={"Content-Type": content_type})) as site:
        assert body_of(await fetch(f"{site.url}/robots.txt", keep=1_000)) == b"User-agent: *"


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("keep", [0, 1, 999, 200_000])
async def test_of_a_longer_file_the_first_bytes_are_kept(encoding: str, keep: int) -> None:
    text = random.Random(1).randbytes(400_000)
    answer = Answer(body=gzip.compress(text) if encoding else text, headers={"Content-Encoding": encoding})
    with Script(answer) as site:
        asked = await fetch(f"{site.url}/robots.txt", keep=keep)
    assert body_of(asked) == text[:keep]
    assert asked.requests == 1


@pytest.mark.parametrize("size", [999, 1_000, 1_001])
async def test_a_file_of_about_the_wanted_length_is_kept_exactly(size: int) -> None:
    with Script(Answer(body=b"x" * size)) as site:
        assert len(body_of(await fetch(f"{site.url}/robots.txt", keep=1_000))) == min(size, 1_000)


async def test_a_file_may_be_longer_than_a_page() -> None:
    with Script(Answer(body=bytes(3 * 2**20), content_type="application/xml")) as site:
        assert len(body_of(await fetch(f"{site.url}/sitemap.xml", keep=10 * 2**20))) == 3 * 2**20


async def test_a_file_that_is_a_bomb_is_kept_up_to_its_limit_in_little_memory() -> None:
    packed = bomb()
    tracemalloc.start()
    try:
        with Script(Answer(body=packed, headers={"Content-Encoding": "gzip"})) as site:
            asked = await fetch(f"{site.url}/robots.txt", keep=500_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body_of(asked) == bytes(500_000)
    assert peak < 64 * 2**20


async def test_a_file_that_is_not_there_is_refused_as_a_page_is() -> None:
    with Script(Answer(404, TEXT)) as site:
        refused(await fetch(f"{site.url}/robots.txt", keep=1_000), "404", Reason.GONE)


# -- the host's pace


async def test_answers_set_the_pace_of_their_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_FIRST_STEP_S", REAL_FIRST_STEP_S)
    with Script(PAGE, Answer(500), Answer(503)) as site:
        async with new_fetcher(attempts=1) as made:
            pace = made.pacer.pace(site.url)
            begin = time.monotonic()
            await ask(made, f"{site.url}/page")
            answered = pace.answered_at
            assert begin <= answered <= time.monotonic()
            await ask(made, f"{site.url}/page")
            assert (pace.pause_s, pace.answered_at) == (0, answered)
            await ask(made, f"{site.url}/page")
            assert pace.pause_s >= 0.5
            assert pace.answered_at == answered


async def test_an_answer_that_does_not_come_slows_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_FIRST_STEP_S", REAL_FIRST_STEP_S)
    with Wire(lambda path: drip(piece=b"")) as wire:
        async with new_fetcher(attempts=1, timeout_s=0.1) as made:
            failed(await ask(made, f"{wire.url}/page"), "did not answer", Reason.NO_ANSWER)
            assert made.pacer.pace(wire.url).pause_s >= 0.5


async def test_no_more_requests_are_under_way_than_the_pacer_allows() -> None:
    with Script(PAGE) as site:
        site.gate.clear()
        async with new_fetcher(at_once=3) as made:
            tasks = [asyncio.create_task(ask(made, f"{site.url}/{number}")) for number in range(12)]
            await asyncio.to_thread(wait_until, lambda: site.requests.total() >= 3, "three requests")
            await asyncio.sleep(0.2)
            assert site.requests.total() == 3
            site.gate.set()
            all_asked = await asyncio.gather(*tasks)
    assert [body_of(asked) for asked in all_asked] == [TEXT] * 12


async def test_a_fetch_that_is_cancelled_gives_its_turn_back() -> None:
    with Script(PAGE) as site:
        site.gate.clear()
        async with new_fetcher(at_once=1) as made:
            task = asyncio.create_task(ask(made, f"{site.url}/one"))
            await asyncio.to_thread(wait_until, lambda: site.requests.total() == 1, "the request")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            site.gate.set()
            assert body_of(await ask(made, f"{site.url}/two")) == TEXT


def test_the_bomb_is_one() -> None:
    unpacker, size, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, bomb()[10:]
    while not unpacker.eof:
        size += len(unpacker.decompress(packed, 2**24))
        packed = unpacker.unconsumed_tail
    assert size == 2**30
