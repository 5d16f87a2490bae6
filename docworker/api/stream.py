"""`GET /events`: what happens, as server-sent events (HTML standard, section 9.2).

how things stand (`progress` of each docset) → what happens from here on; with `Last-Event-ID`, what came since then

An id is `instance-number`: that of another run of the daemon, or of an event that is forgotten, is answered with `missed`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from docworker.api.connections import when_lost
from docworker.contract import DocsetResponse
from docworker.events import Event, Events, Reader

_log = logging.getLogger(__name__)
_STILL_THERE_S = 15.0
_PATIENCE_S = 10.0  # with who does not read
LAST_ID = "Last-Event-ID"
KINDS = """Each event has an id, a kind and a JSON object. `progress` is a docset as GET /docset tells it, first as it stands and
then at most twice a second while it is worked on; `page` is what became of one page (docsetId, url, status, message); `ready`
and `failed` end a docset's crawl or refresh (docsetId, status, message), `deleted` the docset (docsetId); `session` tells of an
editor (sessionId, change, count); `missed` that events were forgotten meanwhile. Who does not keep up is let go."""


async def stream(
    request: web.Request,
    events: Events,
    instance: str,
    docset_id: str | None,
    present: Callable[[], Awaitable[list[DocsetResponse]]],
) -> web.StreamResponse:
    """Send events until the client goes, does not keep up, or the daemon stops."""
    last = request.headers.get(LAST_ID)
    with events.listen(docset_id, None if last is None else _after(last, instance)) as reader, when_lost(request, reader.end):
        found = await present()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            for docset in found:
                await _write(response, f"event: progress\ndata: {docset.model_dump_json(by_alias=True)}\n\n")
            await _send(response, reader, instance)
        except TimeoutError:
            reader.lost = True
        except ConnectionError:
            return response
        if reader.lost:
            _log.info("a reader of events did not keep up and is let go")
            if request.transport is not None:
                request.transport.abort()
        return response


async def _send(response: web.StreamResponse, reader: Reader, instance: str) -> None:
    while True:
        try:
            async with asyncio.timeout(_STILL_THERE_S):
                event = await reader.next()
        except TimeoutError:
            await _write(response, ": still here\n\n")
            continue
        if event is None:
            return
        await _write(response, _as_text(event, instance))


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        await response.write(text.encode())


def _as_text(event: Event, instance: str) -> str:
    return f"id: {instance}-{event.number}\nevent: {event.kind}\ndata: {event.data}\n\n"


def _after(last: str, instance: str) -> int:
    """The number of the last event that the client has heard; -1 when that was told by another run."""
    told_by, _, number = last.rpartition("-")
    return int(number) if told_by == instance and number.isascii() and number.isdecimal() and len(number) < 16 else -1
