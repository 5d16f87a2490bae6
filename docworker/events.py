"""What happens, told as it happens: a bounded memory of events, and a bounded queue for each who listens. Knows no HTTP.

publish → the last 1,000, or 4 MB → each reader's queue      a reader that does not keep up is let go, never waited for
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from docworker.errors import Unavailable

_KEPT, _KEPT_CHARS = 1_000, 4 * 2**20
_QUEUED = 2 * _KEPT  # all that is kept, and as much that happens while that is sent
_MAX_READERS = 64

Kind = Literal["page", "progress", "ready", "failed", "deleted", "session", "missed"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `data` is a JSON object, `docset_id` the docset that it is about. `number` counts from 1."""

    number: int
    kind: Kind
    docset_id: str | None
    data: str


class Reader:
    """What one listener has not yet heard."""

    def __init__(self, docset_id: str | None) -> None:
        self._docset_id = docset_id
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(_QUEUED)
        self.lost = False  # it did not keep up

    def put(self, event: Event) -> None:
        """Let it hear an event, if it is for it."""
        if self.lost or (self._docset_id is not None and event.docset_id != self._docset_id):
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.end()
            self.lost = True

    def end(self) -> None:
        """Nothing more comes, not even what waits."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def next(self) -> Event | None:
        """The next event; None when no more will come."""
        return await self._queue.get()


class Events:
    """All that was told since the daemon's start, as far as it is kept."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque()
        self._kept_chars = 0
        self._number = 0
        self._readers: set[Reader] = set()
        self._closed = False

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._readers)

    @property
    def number(self) -> int:
        """The number of the last event."""
        return self._number

    def about(self, after: int) -> set[str]:
        """Ids of the docsets that something happened to since event `after`, beyond their progress."""
        return {
            event.docset_id
            for event in self._kept
            if event.number > after and event.kind != "progress" and event.docset_id is not None
        }

    def publish(self, kind: Kind, data: Mapping[str, object] | str, docset_id: str | None = None) -> None:
        """Tell everybody; `data` is an object, or the JSON of one."""
        self._number += 1
        event = Event(self._number, kind, docset_id, data if isinstance(data, str) else json.dumps(data))
        self._kept.append(event)
        self._kept_chars += len(event.data)
        while len(self._kept) > _KEPT or self._kept_chars > _KEPT_CHARS:
            self._kept_chars -= len(self._kept.popleft().data)
        for reader in self._readers:
            reader.put(event)

    @contextmanager
    def listen(self, docset_id: str | None, after: int | None) -> Iterator[Reader]:
        """Hear what happens from here on; with `after`, what came after that event too, or `missed` where that is forgotten.

        Raises Unavailable when too many listen, or the daemon stops.
        """
        if self._closed or len(self._readers) >= _MAX_READERS:
            raise Unavailable("docworker is stopping." if self._closed else f"{_MAX_READERS} listen already; close one of them.")
        reader = Reader(docset_id)
        if after is not None:
            oldest = self._kept[0].number if self._kept else self._number + 1
            if not oldest - 1 <= after <= self._number:
                reader.put(Event(self._number, "missed", docset_id, '{"message": "Events were missed; ask for the status."}'))
            else:
                for event in self._kept:
                    if event.number > after:
                        reader.put(event)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def close(self) -> None:
        """Let all go."""
        self._closed = True
        for reader in self._readers:
            reader.end()
