"""The daemon's HTTP server in the test's own loop, with one handler; and a client that does not read."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from docworker.api.connections import Bounds, Runner


@asynccontextmanager
async def served(handle: Callable[[web.Request], Awaitable[web.StreamResponse]], *, unread_s: float) -> AsyncIterator[Runner]:
    """The server, which answers so at `/`; an answer that is not read for `unread_s` ends its connection."""
    app = web.Application()
    app.router.add_get("/", handle)
    runner = Runner(app, shutdown_timeout_s=1, bounds=Bounds(unread_s=unread_s))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner
    finally:
        await runner.cleanup()


def port_of(runner: Runner) -> int:
    """Where it answers."""
    return int(runner.addresses[0][1])


@asynccontextmanager
async def deaf_client(port: int) -> AsyncIterator[socket.socket]:
    """One that asks for `/`, reads nothing by itself, and takes next to nothing that is not read."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", port))
        await loop.sock_sendall(deaf, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        yield deaf
