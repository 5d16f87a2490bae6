"""The HTTP server under the application: how many may be connected, for how long nothing may come, and errors below any route.

aiohttp closes a connection that sends no whole request head in time, and reads bodies up to a limit. What it lacks is here: a
bound on connections, the end of one that does not read its answer, and `{"error": …}` for what is no HTTP.
"""

import asyncio
import logging
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_log = logging.getLogger(__name__)
# Each costs a file descriptor, of which many systems give 1,024 (macOS 256); LanceDB and the crawls need theirs.
MOST = 128
_KEEP_ALIVE_S = 30.0  # without a whole request head
_LINGER_S = 5.0  # for a body that nobody wants
_UNREAD_S = 30.0  # for an answer that is not read
_MAX_LINE_BYTES = 2**16  # two texts of 2,048 characters take 48 KiB in a query string
_MAX_HEADER_BYTES, _MAX_HEADERS = 8_190, 64
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b'Content-Length: %d\r\n\r\n{"error": "%s"}'
)


class Runner(web.AppRunner):
    """Runs an application on bounded connections."""

    def __init__(self, app: web.Application, *, shutdown_timeout_s: float) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout_s)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory)


class _Server(web.Server):
    def __init__(self, handler: Any, *, request_factory: Any) -> None:
        super().__init__(handler, request_factory=request_factory)
        self._said = False

    def __call__(self) -> RequestHandler:
        return _Connection(
            self,
            loop=self._loop,
            keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=_LINGER_S,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            access_log=None,
        )

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        connections = self.connections
        if len(connections) <= MOST:
            self._said = False
            return
        if not self._said:
            self._said = True
            _log.warning("more than %d connections: those that are idle longest are closed", MOST)
        idle = next((each for each in connections if isinstance(each, _Connection) and each.idle and each is not handler), None)
        if idle is not None:
            idle.force_close()
        else:
            said = f"{MOST} requests are being answered; try again in a second.".encode()
            transport.write(_FULL % (len(said) + len(b'{"error": ""}'), said))
            handler.force_close()


class _Connection(RequestHandler):
    __slots__ = ("_unread",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self._request_in_progress

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._unread = self._loop.call_later(_UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._read()
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
        said = " ".join((message or "").split())[:200]
        if status == 500:
            _log.error("a request failed below its route", exc_info=exc)
            said = "docworker failed at this request; its log says more (docworker.log in the data folder)."
        response = web.json_response({"error": f"The request cannot be read: {said}"}, status=status)
        response.force_close()
        return response
