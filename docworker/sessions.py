"""Editor sessions: who is connected, until when, and whether the daemon is needed any longer.

register, heartbeat → the lease is renewed | unregister, a lease that ran out → it is gone | none left → grace → work done → stop

`Roll` decides, without I/O and with the time passed in; `Sessions` keeps what it decides in the catalog, so that a restart
forgets nobody. Leases run by a clock that stands still while the machine sleeps: an editor on a laptop that was closed is not
gone.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from docworker.errors import NotFound, StoreError, Unavailable
from docworker.events import Events
from docworker.model import Session
from docworker.store import sessions
from docworker.store.catalog import Catalog

_log = logging.getLogger(__name__)
_MOST = 10_000
_LOOK_AGAIN_S = 1.0  # at work that the stop waits for
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a session lives without a heartbeat, how long the daemon waits without a session, and whether for ever."""

    lease_s: float
    grace_s: float
    keep_alive: bool


class Verdict(StrEnum):
    """Whether the daemon goes on."""

    NEEDED = "needed"  # somebody is connected, nobody ever was, or it is to be kept alive
    GRACE = "grace"  # the last session has ended: another one may come
    DUE = "due"  # it stops once its work is done


class Roll:
    """Who is connected. Every method takes the time in seconds of one clock."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._sessions: dict[str, Session] = {}
        self._renewed_s: dict[str, float] = {}
        self._left_s: float | None = None  # when the last one ended; None while there is one, or never was

    def renew(self, session: Session, now_s: float) -> None:
        """A session began, or beats."""
        self._sessions[session.id] = session
        self._renewed_s[session.id] = now_s
        self._left_s = None

    def drop(self, session_id: str, now_s: float) -> bool:
        """A session ended; whether there was one."""
        if self._sessions.pop(session_id, None) is None:
            return False
        del self._renewed_s[session_id]
        if not self._sessions:
            self._left_s = now_s
        return True

    def get(self, session_id: str) -> Session | None:
        """The session with this id."""
        return self._sessions.get(session_id)

    def all(self) -> list[Session]:
        """Every session, the oldest first."""
        return sorted(self._sessions.values(), key=lambda session: (session.connected_at, session.id))

    def __len__(self) -> int:
        return len(self._sessions)

    def expired(self, now_s: float) -> list[str]:
        """Ids of the sessions whose lease has run out."""
        return [id_ for id_, renewed_s in self._renewed_s.items() if now_s - renewed_s >= self._terms.lease_s]

    @property
    def stop_is_due(self) -> bool:
        """Whether the daemon stops when nobody comes back: what `shouldStop` tells."""
        return self._left_s is not None and not self._terms.keep_alive

    def verdict(self, now_s: float) -> Verdict:
        """Whether the daemon goes on."""
        if self._left_s is None or self._terms.keep_alive:
            return Verdict.NEEDED
        return Verdict.DUE if now_s - self._left_s >= self._terms.grace_s else Verdict.GRACE

    def wait_s(self, now_s: float) -> float:
        """How long nothing can change by itself."""
        ends = [self._left_s + self._terms.grace_s] if self._left_s is not None and not self._terms.keep_alive else []
        if self._renewed_s:
            ends.append(min(self._renewed_s.values()) + self._terms.lease_s)
        return max(0.0, min((end - now_s for end in ends), default=_LONGEST_WAIT_S))


class Sessions:
    """The sessions of a daemon; `busy` tells whether work is under way that a stop waits for."""

    def __init__(
        self,
        catalog: Catalog,
        terms: Terms,
        events: Events,
        *,
        busy: Callable[[], bool],
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._terms = terms
        self._roll = Roll(terms)
        self._events = events
        self._busy = busy
        self._now = now
        self._clock = clock
        self._changed = asyncio.Event()

    async def restore(self) -> None:
        """Go on with the sessions of the run before; those that ended meanwhile count as if they had never been."""
        now, now_s, gone = self._now(), self._clock(), []
        for session in await self._catalog.read(sessions.all_sessions):
            age_s = max(0, now - session.last_heartbeat) / 1000  # negative when the clock was set back
            if age_s >= self._terms.lease_s:
                gone.append(session.id)
            else:
                self._roll.renew(session, now_s - age_s)
        if gone:
            await self._catalog.write(sessions.remove, gone)

    def all(self) -> list[Session]:
        """Every session, the oldest first."""
        return self._roll.all()

    def __len__(self) -> int:
        return len(self._roll)

    @property
    def stop_is_due(self) -> bool:
        """Whether the daemon stops when nobody comes back."""
        return self._roll.stop_is_due

    async def register(self, session_id: str, client_type: str | None) -> Session:
        """Begin a session; one that there is already beats. Raises Unavailable when there are too many."""
        now, known = self._now(), self._roll.get(session_id)
        if known is not None:
            session = replace(known, client_type=client_type or known.client_type, last_heartbeat=now)
        elif len(self._roll) >= _MOST:
            raise Unavailable(f"{_MOST} sessions are registered already; unregister those that have ended.")
        else:
            session = Session(session_id, client_type or "unknown", now, now)
            self._changed.set()
        await self._put(session)
        if known is None:
            self._tell(session_id, "registered")
        return session

    async def heartbeat(self, session_id: str) -> Session:
        """Renew a session's lease. Raises NotFound when there is no such session: then it has to be registered again."""
        known = self._roll.get(session_id)
        if known is None:
            raise NotFound(f"There is no session {session_id[:100]!r}; register it again.")
        session = replace(known, last_heartbeat=self._now())
        await self._put(session)
        return session

    async def _put(self, session: Session) -> None:
        # before it is written: a stop must not come in between
        self._roll.renew(session, self._clock())
        await self._catalog.write(sessions.put, session)

    async def unregister(self, session_id: str) -> bool:
        """End a session; whether there was one."""
        existed = self._roll.drop(session_id, self._clock())
        self._changed.set()
        if existed:
            self._tell(session_id, "unregistered")
            await self._catalog.write(sessions.remove, [session_id])
        return existed

    async def watch(self, stop: Callable[[], None]) -> None:
        """End sessions whose lease has run out, until the daemon is needed no longer: then call `stop` and return."""
        while True:
            self._changed.clear()
            await self._drop_expired()
            wait_s = self._roll.wait_s(self._clock())
            if self._roll.verdict(self._clock()) is Verdict.DUE:
                wait_s = _LOOK_AGAIN_S
                if not self._busy():
                    _log.info("no editor is connected any more")
                    stop()
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, _LONGEST_WAIT_S)):
                    await self._changed.wait()

    async def _drop_expired(self) -> None:
        expired = self._roll.expired(self._clock())
        for session_id in expired:
            self._roll.drop(session_id, self._clock())
            self._tell(session_id, "expired")
        if expired:
            with suppress(StoreError):  # they are dropped again at the next start
                await self._catalog.write(sessions.remove, expired)

    def _tell(self, session_id: str, change: str) -> None:
        _log.info("session %s: %s, %d left", session_id, change, len(self._roll))
        self._events.publish("session", {"sessionId": session_id, "change": change, "count": len(self._roll)})
