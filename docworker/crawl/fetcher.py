"""Fetching one URL over HTTP. Owns httpx and tenacity; every answer and every failure comes back as a value.

Redirects are not followed here: the target is another page of the frontier, so loops end and nothing is asked twice. Bodies
are streamed and unpacked piece by piece, so that an answer without end costs no more than the limit. Each connection is made by
`network`, which lets no site lead docworker inside; a docset's own headers go to its own origin alone.
"""

import asyncio
import email.utils
import re
import socket
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
import tenacity

from docworker import PROJECT_URL, __version__
from docworker.crawl.addresses import literal, refused, refused_elsewhere
from docworker.crawl.network import Network, NotAllowed, Transport
from docworker.crawl.pacing import PATIENCE_S, Held, Pace, Pacer
from docworker.model import Access, Asked, Failed, Fetched, FetchOutcome, NotModified, Reason, Redirected, Refused, Stamp
from docworker.urls import on_site
from docworker.visible import visible_line

USER_AGENT = f"docworker/{__version__} (+{PROJECT_URL})"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRYABLE = frozenset({408, 425, 429}) | frozenset(range(500, 600)) - {501, 505}
_OVERLOADED = frozenset({429, 503})
_REFUSALS = {
    401: (Reason.FORBIDDEN, "wants a login (401)"),
    403: (Reason.FORBIDDEN, "forbids it (403)"),
    404: (Reason.GONE, "has no such page (404)"),
    410: (Reason.GONE, "says it is gone (410)"),
}
_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/markdown", "text/x-markdown"})
# Plain text is documentation under these names; else it is source code, a log, a patch.
_TEXT_NAMES = re.compile(r"/[^/.]*$|\.(txt|text|md|markdown|rst|adoc)$", re.IGNORECASE)
_LOCATION = "docworker-location"
_MAX_MEMBERS = 100  # of a gzip body; servers send one
# Waits of 0 to 0.5 s, then 0 to 1 s, then 0 to 2 s …, at most 8 s ("full jitter", AWS Architecture Blog 2015).
_WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=8)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a request may cost: its whole time with the body, its attempts, bytes as received and bytes unpacked.

    `max_rest_s` is the longest rest that a site may ask for with `Retry-After`.
    """

    timeout_s: float
    attempts: int
    max_response_bytes: int
    max_bytes: int
    max_rest_s: float


class _Retryable(Exception):
    """This attempt failed in a way that the next may not; the message says how."""

    def __init__(self, reason: Reason, message: str, status: int | None = None, rest_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.rest_s = rest_s


@dataclass(slots=True)
class _Tally:
    requests: int = 0
    size: int = 0
    status: int | None = None


class Fetcher:
    """The connections of every crawl. An async context manager; `pacer` says when a host may be asked.

    Docsets that may be led to a private address have connections of their own, so that no other docset uses them.
    """

    def __init__(self, limits: FetchLimits, pacer: Pacer, network: Network | None = None) -> None:
        self._limits = limits
        self.pacer = pacer
        self._network = network or Network()
        tls = httpx.create_ssl_context()
        self._outside = self._client(Transport(self._network, tls, inside=False))
        self._inside = self._client(Transport(self._network, tls, inside=True))

    def _client(self, transport: Transport) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers={
                "User-Agent": USER_AGENT,
                "Accept": "text/html,application/xhtml+xml;q=0.9,text/markdown;q=0.8,text/plain;q=0.7,*/*;q=0.1",
                "Accept-Encoding": "gzip, deflate",
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # a site learns nothing from one request for the next
            timeout=self._limits.timeout_s,
            follow_redirects=False,
            event_hooks={"response": [_hide_location]},
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._outside.aclose()
        await self._inside.aclose()

    async def leads_inside(self, url: str) -> bool | None:
        """Whether the host of a URL that the user gives is a name that leads to private addresses; None when it leads nowhere.

        Raises Forbidden when it is, or leads to, an address that is never asked, or this machine by a name that does not say so.
        """
        return await self._network.leads_inside(urlsplit(url).hostname or "")

    async def fetch(self, url: str, *, access: Access, keep: int | None = None, known: Stamp | None = None) -> Asked:
        """Ask for `url` until there is an answer or the attempts are used up; never raises for what a site does.

        `access` says how the docset's site may be asked; a URL of any other is asked without its headers, and only outside.
        With `keep`, a file and not a page is wanted: any content type will do, and of a longer one the first `keep` bytes.
        With `known`, only a page that has changed since then is wanted (RFC 9110 section 13.1), else NotModified comes back.
        """
        tally = _Tally()
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._limits.attempts),
            wait=_WAIT,
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, _Retryable) and error.rest_s is None),
            reraise=True,
        )
        outcome: FetchOutcome
        try:
            outcome = await retrying(self._once, url, access, keep, known, tally)
        except _Retryable as failure:
            attempts = f"{tally.requests} attempts" if tally.requests != 1 else "1 attempt"
            outcome = Failed(url, failure.reason, f"{failure} ({attempts}).", failure.rest_s)
        return Asked(outcome, tally.status, tally.requests, tally.size)

    async def _once(self, url: str, access: Access, keep: int | None, known: Stamp | None, tally: _Tally) -> FetchOutcome:
        own = on_site(url, access.origin) == url  # also by https where the docset was begun by http, never the other way
        if (said := _refused(url, own=own, inside=access.inside)) is not None:
            return Failed(url, Reason.ADDRESS, said)
        client = self._inside if own and access.inside else self._outside
        headers = {**(dict(access.headers) if own else {}), **_conditions(known)}
        try:
            async with self.pacer.slot(url) as pace:
                return await self._ask(client, url, headers, keep, known, tally, pace)
        except NotAllowed as refusal:
            tally.requests -= 1  # it came to no request
            return Failed(url, Reason.ADDRESS, str(refusal))
        except Held as held:
            said = f"The site asks to be left alone for {held.wait_s:.0f} s"
            raise _Retryable(Reason.SERVER_ERROR, said, tally.status, held.wait_s) from None

    async def _ask(
        self,
        client: httpx.AsyncClient,
        url: str,
        headers: Mapping[str, str],
        keep: int | None,
        known: Stamp | None,
        tally: _Tally,
        pace: Pace,
    ) -> FetchOutcome:
        tally.requests += 1
        tally.status = None
        begin = time.monotonic()
        try:
            asking = client.stream("GET", url, headers=headers)
            async with asyncio.timeout(self._limits.timeout_s), asking as response:
                tally.status = response.status_code
                self._note(pace, response, time.monotonic() - begin)
                if known is not None and _conditions(known) and response.status_code == 304:
                    # which may tell newer validators (section 15.4.5)
                    etag, last_modified = response.headers.get("etag"), response.headers.get("last-modified")
                    await response.aread()  # nothing; but only a connection that was read to the end is used again
                    return NotModified(url, etag or known.etag, last_modified or known.last_modified)
                return await self._read(url, response, keep, tally)
        except (TimeoutError, httpx.TimeoutException):
            pace.overloaded(time.monotonic())
            raise _Retryable(Reason.NO_ANSWER, f"The site did not answer within {self._limits.timeout_s:g} s") from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _Retryable(Reason.NO_ANSWER, _why(url, error)) from error

    def _note(self, pace: Pace, response: httpx.Response, latency_s: float) -> None:
        """Tell the pace what the host's answer says about it. Raises when the host asks for a rest."""
        now, status = time.monotonic(), response.status_code
        if status not in _RETRYABLE:
            pace.answered(latency_s, now)
            return
        rest_s = _rest_s(response.headers.get("retry-after"))
        if rest_s is not None:
            rest_s = min(rest_s, self._limits.max_rest_s)
        if status in _OVERLOADED or rest_s is not None:
            pace.overloaded(now, rest_s)
        long_rest_s = rest_s if rest_s is not None and rest_s > PATIENCE_S else None
        raise _Retryable(Reason.SERVER_ERROR, f"The site answered {status}", status, long_rest_s)

    async def _read(self, url: str, response: httpx.Response, keep: int | None, tally: _Tally) -> FetchOutcome:
        status = response.status_code
        if status in _REDIRECTS and (location := response.headers.get(_LOCATION)):
            return Redirected(url, location, str(status))
        if status in _REFUSALS:
            reason, said = _REFUSALS[status]
            return Refused(url, reason, f"The site {said}.")
        if status != 200:
            return Failed(url, Reason.SERVER_ERROR, f"The site answered {status}.")
        content_type = (response.headers.get("content-type") or "text/html").partition(";")[0].strip().lower()
        if keep is None and not _is_page(url, content_type):
            return Refused(
                url,
                Reason.NOT_HTML,
                f"Not documentation: the site sends {visible_line(content_type)}, not HTML, Markdown or text.",
            )
        max_received, max_bytes = self._limits.max_response_bytes, self._limits.max_bytes
        if keep is not None:
            max_received = max_bytes = keep
        elif (announced := response.headers.get("content-length", "")).isdigit() and int(announced) > max_received:
            return _too_large(url, max_received, "max_response_bytes")
        unpack = _Unpacker(response.headers.get("content-encoding", ""))
        body, received = bytearray(), 0
        async for piece in response.aiter_raw():
            received += len(piece)
            tally.size += len(piece)
            body += unpack.feed(piece, max_bytes - len(body) + 1)
            if len(body) > max_bytes or received > max_received:
                if keep is not None:
                    del body[keep:]
                    break
                if len(body) > max_bytes:
                    return _too_large(url, max_bytes, "max_page_bytes")
                return _too_large(url, max_received, "max_response_bytes")
        else:
            unpack.end()
        return Fetched(
            url,
            content_type,
            response.charset_encoding,
            bytes(body),
            response.headers.get("etag"),
            response.headers.get("last-modified"),
            "\n".join(response.headers.get_list("x-robots-tag")) or None,
        )


def _refused(url: str, *, own: bool, inside: bool) -> str | None:
    """Why a URL is not asked, as far as its host says so without being looked up: what a proxy looks up is not seen here."""
    host = urlsplit(url).hostname or ""
    if not own:
        return refused_elsewhere(host)
    return None if literal(host) is None else refused(host, host, inside=inside)


def _conditions(known: Stamp | None) -> dict[str, str]:
    said = {} if known is None else {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in said.items() if value is not None}


def _is_page(url: str, content_type: str) -> bool:
    plain = content_type == "text/plain" and _TEXT_NAMES.search(urlsplit(url).path) is not None
    return plain or content_type in _PAGE_TYPES


async def _hide_location(response: httpx.Response) -> None:
    """httpx makes a request of every redirect, also when it is not to follow it, and raises when the target is no address."""
    if (location := response.headers.pop("location", None)) is not None:
        response.headers[_LOCATION] = location


class _Unpacker:
    """Undoes a Content-Encoding piece by piece, never making more of a piece than there is room for."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise _Retryable(Reason.SERVER_ERROR, f"The site sends the encoding {self._encoding[:40]}, which was not asked for")
        self._packed = self._encoding not in ("", "identity")
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16 if "gzip" in self._encoding else zlib.MAX_WBITS)
        self._fed = b""  # while nothing has come out: the bare stream, without zlib's head, cannot be told before
        self._begun = False
        self._members = 1

    def feed(self, piece: bytes, room: int) -> bytes:
        """At most `room` bytes of what `piece` holds; the rest is lost, since the limit is reached by then."""
        if not self._packed:
            return piece[:room]
        out = b""
        try:
            while piece and len(out) < room:
                if self._stream.eof:  # several members may follow each other
                    self._members += 1
                    if self._members > _MAX_MEMBERS:
                        raise _Retryable(
                            Reason.SERVER_ERROR, f"The site sends over {_MAX_MEMBERS} pieces of {self._encoding} in one"
                        )
                    self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16 if "gzip" in self._encoding else zlib.MAX_WBITS)
                self._fed = b"" if self._begun else self._fed + piece
                out += self._stream.decompress(piece, room - len(out))
                self._begun = self._begun or bool(out)
                piece = self._stream.unused_data
        except zlib.error as error:
            if self._begun or self._encoding != "deflate":
                raise _Retryable(Reason.SERVER_ERROR, f"The site sends damaged {self._encoding} ({error})") from None
            self._stream, self._begun = zlib.decompressobj(-zlib.MAX_WBITS), True  # many mean the bare stream by it
            return self.feed(self._fed, room)
        return out

    def end(self) -> None:
        """Raises when the packed body stops before its end."""
        if self._packed and (self._begun or self._fed) and not self._stream.eof:
            raise _Retryable(Reason.NO_ANSWER, f"The site sends {self._encoding} that is cut off")


def _too_large(url: str, limit: int, setting: str) -> Refused:
    return Refused(url, Reason.TOO_LARGE, f"The page is larger than {limit} bytes (setting {setting}).")


def _rest_s(retry_after: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, in either form (RFC 9110 section 10.2.3); None when there is none to read."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _why(url: str, error: Exception) -> str:
    """What went wrong with a connection, in words: the cause is what the operating system said."""
    host = urlsplit(url).netloc
    if isinstance(error, httpx.LocalProtocolError):  # it cites the request's headers
        return f"The request to {host} cannot be sent"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return f"The host {host} does not exist or cannot be looked up"
        if isinstance(cause, ConnectionRefusedError):
            return f"Nothing listens at {host}"
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
            continue
        cause = cause.__cause__ or cause.__context__
    return f"The connection to {host} failed: {error or type(error).__name__}"
