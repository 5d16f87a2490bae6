"""Connections: a name is looked up once, and what it leads to is checked and then connected to. Owns httpcore.

    Transport (httpx's, one for each rule) → httpcore's pool → _Guarded.connect_tcp → look up → check → connect

What is connected to is an address that was checked, never the name again, so that a second answer of its server (DNS rebinding)
changes nothing; TLS still asks for the name and verifies it. Behind a proxy, names are looked up by that.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import httpcore
import httpx

from docworker.crawl.addresses import Kind, is_this_machine, kind, literal, refused
from docworker.errors import Forbidden

# A host may have several addresses, some of which do not answer: the next is tried soon, and not all of very many.
_NEXT_AFTER_S, _MOST_TRIED = 2.0, 8
_LOOK_UP_S = 5.0  # for a user who waits
_KEPT, _KEPT_S = 20, 5.0  # connections that wait for their next request, as httpx has them
_MOST_CONNECTIONS = 100

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host in the order of RFC 6724, as the system's resolver says. Raises OSError."""
    # bytes: Python's own idna codec refuses names that resolvers know
    found = await asyncio.get_running_loop().getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class NotAllowed(Exception):
    """The host leads only to addresses that must not be connected to; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Network:
    """How docworker reaches sites: what looks names up, what connects to an address, and the proxy, `http://host:port`."""

    look_up: LookUp = look_up
    connect: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)
    proxy: str | None = None

    async def leads_inside(self, host: str) -> bool | None:
        """See `Fetcher.leads_inside`."""
        addresses: Sequence[str] = [host]
        if literal(host) is None:
            if self.proxy is not None:
                return None
            try:
                async with asyncio.timeout(_LOOK_UP_S):
                    addresses = await self.look_up(host, 0)
            except (OSError, TimeoutError, UnicodeError):
                return None
        if not addresses:
            return None
        said = [refused(host, address, inside=True) for address in addresses]
        if None not in said:
            raise Forbidden(str(said[0]))
        kinds = {kind(address) for address in addresses}
        return literal(host) is None and not is_this_machine(host) and Kind.PRIVATE in kinds and Kind.PUBLIC not in kinds


class Transport(httpx.AsyncHTTPTransport):
    """httpx's transport over a pool that connects as `network` says, under one rule: may names lead to private addresses?

    httpx has no option for httpcore's network backend, so the pool is made here, with httpx's own options. Its own pool is not
    made at all: were it kept under another name in a later httpx, every request would fail, and none would pass unchecked.
    """

    def __init__(self, network: Network, tls: ssl.SSLContext, *, inside: bool) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            proxy=None if network.proxy is None else httpcore.Proxy(network.proxy),
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=_KEPT,
            keepalive_expiry=_KEPT_S,
            network_backend=network.connect if network.proxy is not None else _Guarded(network, inside=inside),
        )


class _Guarded(httpcore.AsyncNetworkBackend):
    """Looks a host up once, and connects to the first of its addresses that may be asked and answers."""

    def __init__(self, network: Network, *, inside: bool) -> None:
        self._network = network
        self._inside = inside

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (so httpcore calls it)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        begin = time.monotonic()
        try:
            addresses = list(dict.fromkeys(await self._network.look_up(host, port)))
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        said = {address: refused(host, address, inside=self._inside) for address in addresses}
        allowed = _by_turns([address for address in addresses if said[address] is None])[:_MOST_TRIED]
        if not allowed:
            raise NotAllowed(said[addresses[0]]) if addresses else httpcore.ConnectError(f"{host} has no address")
        for address in allowed[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                patience_s = _NEXT_AFTER_S if timeout is None else min(_NEXT_AFTER_S, timeout)
                return await self._network.connect.connect_tcp(address, port, patience_s, local_address, socket_options)
        left_s = None if timeout is None else max(0.001, timeout - (time.monotonic() - begin))
        return await self._network.connect.connect_tcp(allowed[-1], port, left_s, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _by_turns(addresses: Sequence[str]) -> list[str]:
    """IPv6 and IPv4 alternating, each in its order, that of the first one first: where one of them leads nowhere, the other
    is tried next (RFC 8305 section 4)."""
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    second = [address for address in addresses if address not in first]
    return [address for address in chain.from_iterable(zip_longest(first, second)) if address is not None]
