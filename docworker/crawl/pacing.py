"""How fast a host is asked. Owns the pause between requests, which follows what the host can bear.

Every request takes a slot: at most so many to one host at once, and a pause between their begins. The pause doubles when the
host says that it is too much (429, 503) or does not answer in time, grows while its answers take ever longer, and shrinks
with every good answer, down to the base: the setting or the site's Crawl-delay. A `Retry-After` holds all requests to the host.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from urllib.parse import urlsplit

from docworker.crawl.addresses import is_this_machine

# A host that asks for a longer rest than this is not waited for with a page in hand.
PATIENCE_S = 30.0
# A longer Crawl-delay would make a crawl of some hundred pages last days; the crawl says that it is shortened.
LONGEST_CRAWL_DELAY_S = 30.0
_LONGEST_PAUSE_S = 60.0
_FIRST_STEP_S = 0.5
_SHRINK = 0.7
# The host gets slower when the median of its last answers is so much longer than usual; one slow page says nothing.
_RECENT, _RISEN, _RISEN_S = 5, 2.0, 0.1
_USUAL = 0.03  # weight of the newest answer in the moving average


@dataclass(slots=True)
class Pace:
    """One host's pace. Pure but for its own fields; all times are seconds of one clock.

    `answered_at` is when the host last gave a good answer.
    """

    base_s: float
    pause_s: float = 0.0
    next_at: float = 0.0
    held_until: float = 0.0
    slowed_at: float = float("-inf")
    answered_at: float = float("-inf")
    usual_s: float | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def wait_s(self, now: float) -> float:
        """How long the next request is to wait."""
        return max(0.0, self.next_at - now, self.held_until - now)

    def started(self, now: float) -> None:
        """A request begins."""
        self.next_at = now + max(self.base_s, self.pause_s)

    def answered(self, latency_s: float, now: float) -> None:
        """A good answer began after `latency_s`."""
        self.answered_at = now
        self.recent.append(latency_s)
        self.usual_s = latency_s if self.usual_s is None else self.usual_s + _USUAL * (latency_s - self.usual_s)
        typical_s = median(self.recent)
        if len(self.recent) == _RECENT and typical_s > _RISEN * self.usual_s + _RISEN_S:
            self.pause_s = min(_LONGEST_PAUSE_S, max(self.pause_s, typical_s - self.usual_s))
        else:
            self.pause_s = self.pause_s * _SHRINK if self.pause_s > 0.01 else 0.0

    def overloaded(self, now: float, retry_after_s: float | None = None) -> None:
        """The host said that it is too much, or did not answer in time. Requests under way together count once."""
        if now - self.slowed_at >= self.pause_s:
            self.pause_s = min(_LONGEST_PAUSE_S, max(_FIRST_STEP_S, 2 * max(self.pause_s, self.base_s)))
            self.slowed_at = now
            self.next_at = max(self.next_at, now + self.pause_s)
        if retry_after_s is not None:
            self.held_until = max(self.held_until, now + retry_after_s)

    def recovered(self) -> None:
        """The host answers again after an outage: what the attempts meanwhile met says nothing about its pace."""
        self.pause_s = 0.0


class Held(Exception):
    """The host asked to be left alone for longer than a request waits."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class Pacer:
    """The pace of every host that was asked; one of them for all crawls."""

    def __init__(self, at_once: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._pause_s = pause_s
        self._clock = clock
        self._hosts: dict[str, tuple[Pace, asyncio.Semaphore]] = {}  # as many as there are docsets' hosts

    def pace(self, url: str) -> Pace:
        """The pace of a URL's host."""
        return self._host(url)[0]

    def obey(self, url: str, crawl_delay_s: float) -> None:
        """Never ask the host more often than its robots.txt says, up to the longest delay."""
        pace = self.pace(url)
        pace.base_s = max(pace.base_s, min(crawl_delay_s, LONGEST_CRAWL_DELAY_S))

    @asynccontextmanager
    async def slot(self, url: str) -> AsyncIterator[Pace]:
        """Wait for one's turn and hold it. Raises Held when the host asked for a rest of more than 30 s."""
        pace, slots = self._host(url)
        async with slots:
            while (wait_s := pace.wait_s(self._clock())) > 0:
                if pace.held_until - self._clock() > PATIENCE_S:
                    raise Held(pace.held_until - self._clock())
                await asyncio.sleep(wait_s)
            pace.started(self._clock())
            yield pace

    def _host(self, url: str) -> tuple[Pace, asyncio.Semaphore]:
        netloc = urlsplit(url).netloc
        if netloc not in self._hosts:
            base_s = 0.0 if is_this_machine(urlsplit(url).hostname or "") else self._pause_s
            self._hosts[netloc] = (Pace(base_s), asyncio.Semaphore(self._at_once))
        return self._hosts[netloc]
