"""A documentation site on loopback for tests, the demo and the benchmarks: real HTTP, served from a thread.

    with Site({"/": "<h1>Home</h1>…", "/gone": Answer(410)}) as site:
        … site.url, site.requests["/"], site.pages["/"] = "changed" …
    with Site(folder=Path("fixtures/sites/handbook")) as site: …
    with Site(pages, faults=Faults(fail=0.05, cut=0.02)) as site: …          503s and broken-off answers among the good ones
    with Site(pages, tls=context) as site: …                               http:// and https:// on the same port

Run as a program (`python -m tests.site FOLDER --port 8800`) it serves a folder until it is interrupted.
"""

import argparse
import hashlib
import math
import mimetypes
import random
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

Validators = Literal["etag", "last-modified", "both", "neither"]
_TLS_HANDSHAKE = 0x16  # the first byte of a TLS connection


@dataclass(frozen=True)
class Answer:
    """What a path answers when it is more than a page of HTML. `delay_s` is waited before the answer.

    A header in `headers` takes the place of the automatic one of that name; one that is "" is not sent. `stream` makes
    the body instead of `body`, piece by piece, for as long as the client takes it: sent chunked, or as it is when
    `headers` announce its Content-Length. `cut_at` breaks the connection off after so many bytes of the body.
    """

    status: int = 200
    body: bytes | str = ""
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    stream: Callable[[], Iterator[bytes]] | None = None
    cut_at: int | None = None


@dataclass(frozen=True)
class Faults:
    """Shares of all answers that go wrong, drawn from the seed, the path and how often it was asked: the same every time.

    `fail` are 503, of which `retry_after` carry `Retry-After: 1`, half of them as a date; `cut` end in the middle of the
    body; `slow` come `slow_s` late.
    """

    fail: float = 0.0
    retry_after: float = 0.0
    cut: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.0
    seed: int = 1

    def of(self, path: str, number: int, answer: Callable[[], Answer]) -> Answer:
        """What the `number`th request of `path` gets instead of `answer`, or that."""
        draw = random.Random(f"{self.seed} {number} {path}")
        what, wait = draw.random(), draw.random()
        if what < self.fail:
            seconds = "1" if wait < self.retry_after / 2 else formatdate(math.ceil(time.time()) + 1, usegmt=True)
            headers = {"Retry-After": seconds} if wait < self.retry_after else {}
            return Answer(503, "<title>Unavailable</title><h1>Unavailable</h1>", headers=headers)
        good = answer()
        if what < self.fail + self.cut:
            return replace(good, cut_at=len(good.body) // 2)
        if what < self.fail + self.cut + self.slow:
            return replace(good, delay_s=good.delay_s + self.slow_s)
        return good


class Site:
    """Pages by path, or a folder's files; counts requests and answers by path. 304 for every page that the client has already.

    Files that are links are followed as far as `links_within`, by default only inside `folder`. `validators` says what a page
    is known again by; Last-Modified is a file's own, other pages tell theirs in their headers.
    """

    def __init__(
        self,
        pages: Mapping[str, str | Answer] | None = None,
        *,
        folder: Path | None = None,
        links_within: Path | None = None,
        port: int = 0,
        faults: Faults | None = None,
        tls: ssl.SSLContext | None = None,
        validators: Validators = "etag",
    ) -> None:
        self.pages: dict[str, str | Answer] = dict(pages or {})
        self.requests: Counter[str] = Counter()
        self.answers: Counter[tuple[str, int]] = Counter()  # by path and status; 0 is an answer that broke off
        self.headers: list[Mapping[str, str]] = []
        self.folder = folder
        self.links_within = links_within or folder
        self.faults = faults
        self.tls = tls
        self.validators = validators
        self.gate = threading.Event()  # cleared, every answer waits for it
        self.gate.set()
        self.ended = threading.Event()
        self._counting = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler) if port else _at_fresh_port()
        self._server.site = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str) -> Answer:
        """What `path` answers."""
        found = self.pages.get(path)
        if isinstance(found, Answer):
            return found
        if found is not None:
            return Answer(body=found)
        if self.folder is not None:
            return self._file(self.folder, path)
        return _not_found()

    def answer_to(self, path: str, scheme: str) -> Answer:
        """What `path` answers over `http` or `https`."""
        return self.answer(path)

    def _file(self, folder: Path, path: str) -> Answer:
        asked = urlsplit(path).path
        file = folder / unquote(asked).lstrip("/")
        try:
            if file.is_dir():
                if not asked.endswith("/"):
                    return Answer(301, headers={"Location": asked + "/"})
                file /= "index.html"
            elif asked.endswith("/"):
                return _not_found()
            if file.is_file() and file.resolve().is_relative_to((self.links_within or folder).resolve()):
                kind, packed = mimetypes.guess_type(file.name)
                kind = "application/gzip" if packed else kind or "application/octet-stream"
                dated = self.validators in ("last-modified", "both")
                headers = {"Last-Modified": formatdate(file.stat().st_mtime, usegmt=True)} if dated else {}
                return Answer(body=file.read_bytes(), content_type=kind, headers=headers)
        except OSError:  # a name that is too long
            pass
        return _not_found()

    def asked(self, path: str, headers: Mapping[str, str]) -> int:
        """Count a request; how many of this path there were."""
        with self._counting:
            self.requests[path] += 1
            self.headers.append(headers)
            return self.requests[path]

    def answered(self, path: str, status: int) -> None:
        """Count an answer."""
        with self._counting:
            self.answers[path, status] += 1

    def broke_off(self, path: str, status: int) -> None:
        """Count an answer that was counted, and whose client then went away, as one that broke off."""
        with self._counting:
            self.answers[path, status] -= 1
            self.answers[path, 0] += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.gate.set()
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def _not_found() -> Answer:
    return Answer(404, "<title>Not found</title><h1>Not found</h1>")


class _Server(ThreadingHTTPServer):
    site: Site
    daemon_threads = True
    request_queue_size = 128

    def finish_request(self, request: object, client_address: object) -> None:
        """Serve one connection, in its own thread; its first byte says whether it is TLS."""
        assert isinstance(request, socket.socket)
        if self.site.tls is None or request.recv(1, socket.MSG_PEEK) != bytes([_TLS_HANDSHAKE]):
            _Handler(request, client_address, self)
            return
        with self.site.tls.wrap_socket(request, server_side=True) as wrapped:
            _Handler(wrapped, client_address, self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client goes away or refuses the certificate: tests end daemons in the middle of a request."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


_ports: set[int] = set()


def _at_fresh_port() -> _Server:
    """A server where none has been in this process: a daemon of an earlier test may still ask for pages of an earlier site."""
    taken: list[_Server] = []
    while (server := _Server(("127.0.0.1", 0), _Handler)).server_port in _ports:
        taken.append(server)  # held, so that the system offers another one
    for each in taken:
        each.server_close()
    _ports.add(server.server_port)
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        number = site.asked(self.path, dict(self.headers))
        site.gate.wait(30)
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        if site.faults is None:
            answer = site.answer_to(self.path, scheme)
        else:
            answer = site.faults.of(self.path, number, lambda: site.answer_to(self.path, scheme))
        time.sleep(answer.delay_s)
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        headers = self._headers_of(answer, body)
        if answer.status == 200 and self._has_already(headers):
            answer, body = Answer(304), b""
            headers = {name: headers[name] for name in ("server", "date", "etag", "last-modified") if name in headers}
        chunked = "transfer-encoding" in headers
        cut_at = answer.cut_at if answer.stream or (answer.cut_at or 0) < len(body) else None
        length = headers.get("content-length", ("", "0" if answer.status in (204, 304) else ""))[1]
        if cut_at is not None or not (chunked or length == str(len(body))):  # only the end of the connection ends the body
            self.close_connection = True
        status = answer.status if cut_at is None else 0
        site.answered(self.path, status)
        try:
            self.send_response_only(answer.status)
            for name, value in headers.values():
                self.send_header(name, value)
            self.end_headers()
            if answer.stream is not None:
                self._stream(answer.stream(), cut_at, chunked=chunked)
            else:
                self.wfile.write(body[:cut_at])
        except OSError:
            site.broke_off(self.path, status)
            raise

    def _has_already(self, headers: Mapping[str, tuple[str, str]]) -> bool:
        """Whether the client knows this page; If-Modified-Since counts only without If-None-Match (RFC 9110 section 13.2.2)."""
        etag, modified = (headers.get(name, ("", ""))[1] for name in ("etag", "last-modified"))
        known, since = self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since")
        if known is not None:
            return known == etag
        if not modified or since is None:
            return False
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)

    def _headers_of(self, answer: Answer, body: bytes) -> dict[str, tuple[str, str]]:
        """The headers to send, by name in lower case: the automatic ones, and the answer's in their place."""
        headers = {"Server": self.version_string(), "Date": self.date_time_string(), "Content-Type": answer.content_type}
        if answer.stream is None:
            headers["Content-Length"] = str(len(body))
            if self.server.site.validators in ("etag", "both"):
                headers["ETag"] = f'"{hashlib.sha1(body).hexdigest()[:16]}"'
        elif not any(name.lower() == "content-length" and value for name, value in answer.headers.items()):
            headers |= {"Transfer-Encoding": "chunked"} if self.request_version == "HTTP/1.1" else {"Connection": "close"}
        found = {name.lower(): (name, value) for name, value in [*headers.items(), *answer.headers.items()]}
        return {name: (written, value) for name, (written, value) in found.items() if value}

    def _stream(self, pieces: Iterator[bytes], cut_at: int | None, *, chunked: bool) -> None:
        """Send the pieces, at most `cut_at` bytes of them, until they or the site end."""
        left = cut_at
        for piece in pieces:
            if self.server.site.ended.is_set():
                self.close_connection = True
                return
            part = piece if left is None else piece[:left]
            if part:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            if left is not None:
                left -= len(part)
                if left <= 0:
                    return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder on loopback until interrupted.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8800)
    arguments = parser.parse_args()
    with Site(folder=arguments.folder, port=arguments.port) as site:
        print(site.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
