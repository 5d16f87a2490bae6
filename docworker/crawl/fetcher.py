"""Fetching one page over HTTP. Owns httpx and tenacity; every answer and every failure comes back as a value.

Redirects are not followed here: the target is another page of the frontier, so loops end and nothing is asked twice.
"""

import asyncio
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
import tenacity

from docworker import __version__
from docworker.model import Failed, Fetched, FetchOutcome, Redirected, Refused

_USER_AGENT = f"docworker/{__version__} (local documentation index)"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSALS = {
    401: "wants a login (401)",
    403: "forbids it (403)",
    404: "has no such page (404)",
    410: "says it is gone (410)",
}
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
# Waits of 0 to 0.5 s, then 0 to 1 s, then 0 to 2 s …, at most 8 s ("full jitter", AWS Architecture Blog 2015).
_WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=8)


class _Retryable(Exception):
    """This attempt failed in a way that the next may not; the message says how."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a request may cost: its whole time with the body, its attempts, and bytes of the unpacked body."""

    timeout_s: float
    attempts: int
    max_bytes: int


class Fetcher:
    """One pool of connections, used by every crawl. An async context manager."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._client = httpx.AsyncClient(
            headers={"User-Agent": _USER_AGENT, "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1"},
            timeout=limits.timeout_s,
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def fetch(self, url: str) -> FetchOutcome:
        """Ask for `url` until there is an answer or the attempts are used up; never raises for what a site does."""
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._limits.attempts),
            wait=_WAIT,
            retry=tenacity.retry_if_exception_type(_Retryable),
            reraise=True,
        )
        try:
            return await retrying(self._once, url)
        except _Retryable as failure:
            return Failed(url, f"{failure} ({self._limits.attempts} attempts).")

    async def _once(self, url: str) -> FetchOutcome:
        try:
            async with asyncio.timeout(self._limits.timeout_s), self._client.stream("GET", url) as response:
                return await self._read(url, response)
        except (TimeoutError, httpx.TimeoutException):
            raise _Retryable(f"The site did not answer within {self._limits.timeout_s:g} s") from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _Retryable(_reason(url, error)) from error

    async def _read(self, url: str, response: httpx.Response) -> FetchOutcome:
        status = response.status_code
        if status in _REDIRECTS and (location := response.headers.get("location")):
            return Redirected(url, location)
        if status in _RETRYABLE:
            raise _Retryable(f"The site answered {status}")
        if status in _REFUSALS:
            return Refused(url, f"The site {_REFUSALS[status]}.")
        if status != 200:
            return Failed(url, f"The site answered {status}.")
        content_type = (response.headers.get("content-type") or "text/html").partition(";")[0].strip().lower()
        if content_type not in _HTML_TYPES:
            return Refused(url, f"Not documentation: the site sends {content_type}, not HTML.")
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > self._limits.max_bytes:
                return Refused(url, f"The page is larger than {self._limits.max_bytes} bytes (setting max_page_bytes).")
        return Fetched(
            url,
            content_type,
            response.charset_encoding,
            bytes(body),
            response.headers.get("etag"),
            response.headers.get("last-modified"),
        )


def _reason(url: str, error: Exception) -> str:
    """What went wrong with a connection, in words: the cause is what the operating system said."""
    host = urlsplit(url).netloc
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
