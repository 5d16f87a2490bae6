"""A documentation site on loopback for tests, the demo and the benchmarks: real HTTP, served from a thread.

    with Site({"/": "<h1>Home</h1>…", "/gone": Answer(410)}) as site:
        … site.url, site.requests["/"], site.pages["/"] = "changed" …
    with Site(folder=Path("fixtures/sites/handbook")) as site: …

Run as a program (`python -m tests.site FOLDER --port 8800`) it serves a folder until it is interrupted.
"""

import argparse
import hashlib
import mimetypes
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Answer:
    """What a path answers when it is more than a page of HTML. `delay_s` is waited before the answer."""

    status: int = 200
    body: bytes | str = ""
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


class Site:
    """Pages by path, or a folder's files; counts requests by path. ETag and 304 for every page."""

    def __init__(self, pages: Mapping[str, str | Answer] | None = None, *, folder: Path | None = None, port: int = 0) -> None:
        self.pages: dict[str, str | Answer] = dict(pages or {})
        self.requests: Counter[str] = Counter()
        self.headers: list[Mapping[str, str]] = []
        self.folder = folder
        self.gate = threading.Event()  # cleared, every answer waits for it
        self.gate.set()
        self._server = _Server(("127.0.0.1", port), _Handler)
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
            file = self.folder / unquote(urlsplit(path).path).lstrip("/")
            if file.is_dir():
                if not path.endswith("/"):
                    return Answer(301, headers={"Location": path + "/"})
                file /= "index.html"
            if file.is_file() and file.resolve().is_relative_to(self.folder.resolve()):
                kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                return Answer(body=file.read_bytes(), content_type=kind)
        return Answer(404, "<title>Not found</title><h1>Not found</h1>")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    site: Site
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client goes away: tests end daemons in the middle of a request."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        site.requests[self.path] += 1
        site.headers.append(dict(self.headers))
        site.gate.wait(30)
        answer = site.answer(self.path)
        time.sleep(answer.delay_s)
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        etag = f'"{hashlib.sha1(body).hexdigest()[:16]}"'
        if answer.status == 200 and self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.send_header("ETag", etag)
            self.end_headers()
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", etag)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

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
