"""The HTTP server under the application: how many may be connected, for how long nothing may come, and errors below any route.

aiohttp closes a connection that sends no whole request head in time, and reads bodies up to a limit. What it lacks is here: a
bound on connections, the end of one that does not read its answer, and `{"error": …}` for what is no HTTP.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

_log = logging.getLogger(__name__)
_MAX_LINE_BYTES = 2**16  # two texts of 2,048 characters take 48 KiB in a query string
_MAX_HEADER_BYTES, _MAX_HEADERS = 8_190, 64
HEADERS = {
    "Server": "docworker",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
FAILED = "docworker failed at this request; see `docworker logs`."
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b'Content-Length: %d\r\n\r\n{"error": "%s"}'
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections there may be, and how long one may keep its place while it is the client's turn.

    Each costs a file descriptor, of which many systems give 1,024 (macOS 256); LanceDB and the crawls need theirs.
    """

    most: int = 128
    head_s: float = 30.0  # for a whole request head
    linger_s: float = 5.0  # for a body that nobody wants
    unread_s: float = 30.0  # for an answer that is not read


class Runner(web.AppRunner):
    """Runs an application on bounded connections."""

    def __init__(self, app: web.Application, *, shutdown_timeout_s: float, bounds: Bounds | None = None) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout_s)
        self._bounds = bounds or Bounds()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            expected = request.headers.get(hdrs.EXPECT, "100-continue")
            if expected.lower() != "100-continue":  # aiohttp would say so in plain text, before any middleware
                return refused(417, f"Nothing else can be expected than 100-continue, got {expected[:100]!r}.")
            return await made.request_handler(request)

        return _Server(answer, self._bounds, request_factory=made.request_factory)


class _Server(web.Server):
    def __init__(self, handler: Any, bounds: Bounds, *, request_factory: Any) -> None:
        super().__init__(handler, request_factory=request_factory)
        self._bounds = bounds
        self._said = False

    def __call__(self) -> RequestHandler:
        return _Connection(
            self,
            unread_s=self._bounds.unread_s,
            loop=self._loop,
            keepalive_timeout=self._bounds.head_s,
            lingering_time=self._bounds.linger_s,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            auto_decompress=False,  # a few kilobytes would become gigabytes
            access_log=None,
        )

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        most = self._bounds.most
        # those that are ended already leave in the loop's next turn: they neither count nor can be ended again
        open_ = [each for each in self.connections if isinstance(each, _Connection) and each.transport is not None]
        if len(open_) <= most:
            self._said = False
            return
        if not self._said:
            self._said = True
            _log.warning("more than %d connections: those that are idle longest are closed", most)
        others = [each for each in open_ if each is not handler]
        found = next((each for each in others if each.idle), None) or next((each for each in others if each.awaited), None)
        if found is not None:
            found.abort()
            return
        said = f"{most} requests are being answered; try again in a second.".encode()
        transport.write(_FULL % (len(said) + len(b'{"error": ""}'), said))
        handler.force_close()


class _Connection(RequestHandler):
    __slots__ = ("_unread", "_unread_s", "on_lost")

    def __init__(self, *args: Any, unread_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread_s = unread_s
        self._unread: asyncio.TimerHandle | None = None
        self.on_lost: Callable[[], None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self._request_in_progress

    @property
    def awaited(self) -> bool:
        """Whether it is the client's turn all the same: to send the rest of its request, or to read what it asked for."""
        request = self._current_request
        return self._unread is not None or (request is not None and not request.content.is_eof())

    def abort(self) -> None:
        """End it now, whatever is still to be sent."""
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # what is written waits for the client, however little it is: what waits has an end then, and closing has too
        cast(asyncio.Transport, transport).set_write_buffer_limits(0)
        super().connection_made(transport)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._unread = self._loop.call_later(self._unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._read()
        if self.on_lost is not None:
            self.on_lost()
        super().connection_lost(exc)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What came is no HTTP, or more of it than may be."""
        if request.writer.output_size > 0:
            raise ConnectionError("half of an answer is sent already")
        if status == 500:
            _log.error("a request failed below its route", exc_info=exc)
            response = refused(500, FAILED)
        else:
            response = refused(status, f"The request cannot be read: {' '.join((message or '').split())[:200]}")
        response.force_close()
        return response


@contextmanager
def when_lost(request: web.BaseRequest, call: Callable[[], None]) -> Iterator[None]:
    """Call this as soon as the client has gone: aiohttp would say so at the next attempt to write."""
    connection = request.protocol
    assert isinstance(connection, _Connection)
    connection.on_lost = call
    try:
        yield
    finally:
        connection.on_lost = None


def refused(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer that says in one sentence what is wrong."""
    return web.json_response({"error": message}, status=status, headers={**HEADERS, **(headers or {})})
