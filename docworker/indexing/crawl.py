"""One docset's crawl: what is asked, in which order, and when it is over.

    robots.txt → the seed → level by level what pages lead to → what only sitemaps name → pages that may repeat the whole manual
    → pages that failed, once more; in a refresh, what still cannot be had is taken as it was
    → pages that turned out to repeat others are taken out

Owns the crawl's course; its state is in the catalog, so that any stop, also a kill, resumes where it was. A page's own life is
in `pipeline`. A site that stops answering pauses its docset: pages keep their place, and the site is tried again after growing
pauses.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b

from docworker.crawl import rules
from docworker.crawl.discovery import MAX_LINKS, MAX_SITEMAP_BYTES, MAX_SITEMAP_URLS, pages_to_follow, read_sitemap
from docworker.crawl.inventory import MAX_INVENTORY_BYTES, read_inventory
from docworker.crawl.pacing import LONGEST_CRAWL_DELAY_S
from docworker.crawl.robots import FORBIDDEN, Robots, read_robots
from docworker.indexing.pipeline import Tools, as_before, discard, leave_out, work_on
from docworker.model import (
    Access,
    Asked,
    Claim,
    Docset,
    DocsetState,
    Failed,
    Fetched,
    Link,
    PageState,
    Reason,
    Redirected,
    Symbol,
    Turn,
)
from docworker.store import access, docsets, frontier, pages, symbols
from docworker.store import robots as robots_store
from docworker.store.frontier import Cut, FrontierLimits, Limit
from docworker.urls import canonical, on_site, origin

_log = logging.getLogger(__name__)
# Longer than any page can take: waiting for its turn at the host, time-outs of every attempt, extraction, waiting for a worker.
_LEASE_MS = 30 * 60 * 1_000
_ROBOTS_MS = 24 * 60 * 60 * 1_000  # RFC 9309 section 2.4: what is older must be asked for again
_MAX_SITEMAPS, _SITEMAP_ROUNDS = 100, 3
_PROBE_BYTES = 64 * 2**10
_LINKS_AT_ONCE = 5_000
_LONGEST_PAUSE_S, _MAX_PAUSES = 900.0, 12  # with pauses from 15 s on: two hours


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a site lists, each with the URL of its page, and a hash of that list; "" when it cannot be read."""

    listed: list[tuple[str, Symbol]]
    hash: str


class Crawl:
    """One docset's crawl, from what its frontier holds until that is empty."""

    def __init__(self, docset: Docset, tools: Tools) -> None:
        self._docset = docset
        self._tools = tools
        self._access = Access(origin(docset.seed_url))
        limits = tools.limits.frontier
        max_pages = docset.max_pages or limits.max_pages
        self._limits = FrontierLimits(max_pages, limits.max_depth, limits.max_queries_per_path)
        self._robots: dict[str, Robots] = {}  # by origin: that of the seed, and its https twin when links lead there
        self._cut: Cut = {}
        self._from_sitemaps: dict[str, str] | None = None  # URL → the sitemap that named it; None: not read
        self._sitemaps_cut: Cut = {}
        self._size = 0
        self._forbidden = False  # robots.txt cannot be had
        self._closed: str | None = None  # why no page at all can be had
        self._superseded = False
        self._stopping = asyncio.Event()
        self._down: str | None = None  # why the site is thought to be down
        self._rest_s = 0.0  # how long it asked to be left alone
        self._pauses = 0  # since a page could last be had
        self._probe = asyncio.Lock()
        self._reading_robots = asyncio.Lock()
        self._on_page: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Claim no more pages; `run` returns when those under way are done."""
        self._stopping.set()

    @property
    def paused(self) -> bool:
        """Whether the site does not answer, and is left alone for a while."""
        return self._down is not None

    def supersede(self) -> None:
        """Another round follows: leave it to that one to say that the crawl is done."""
        self._superseded = True

    async def run(self, on_page: Callable[[], None]) -> bool:
        """Work until the frontier is empty (True), or `stop` was called or the site stays down (False).

        `on_page` hears of every page done. Cancelled, it gives the pages under way back.
        """
        self._on_page = on_page
        tools, id_ = self._tools, self._docset.id
        catalog = tools.served or tools.catalog  # that of a refresh has no headers
        told = await catalog.read(access.of, id_)
        self._access = told or self._access
        await tools.catalog.write(frontier.release, id_)
        await tools.catalog.write(docsets.set_state, id_, DocsetState.INDEXING, None, tools.now())
        self._size = await tools.catalog.read(frontier.size, id_)
        if self._size < tools.limits.max_total_bytes:
            await tools.catalog.write(frontier.reopen, id_, Reason.LIMIT)
        if not await self._obey_robots():
            return False
        if not self._forbidden:
            await self._reconsider()
            while await self._levels():
                if not await self._take_out_repeating():
                    break
            else:
                return False
        if tools.served is None:
            await self._keep_names()
        if not self._superseded:
            await self._finish()
        return True

    async def _levels(self) -> bool:
        """Claim and follow until there is nothing more; whether it came to that."""
        turn = Turn.SITEMAP  # what a sitemap names comes after all links: it is found when they are at their end
        while True:
            if not await self._drain(turn):
                return False
            if await self._follow() or await self._follow_sitemaps():
                continue
            if await self._tools.catalog.write(frontier.second_chance, self._docset.id) or await self._keep_failed():
                continue
            if turn is Turn.LAST:
                return True
            turn = Turn.LAST

    async def _keep_failed(self) -> int:
        """In a refresh, take pages that could not be had as they were, with what they lead to; returns how many.

        None, when no page at all could be had: then nothing is known of the site.
        """
        tools, id_ = self._tools, self._docset.id
        counted = await tools.catalog.read(docsets.counts, id_, tools.now())
        if tools.served is None or not counted.pages.get(PageState.INDEXED):
            return 0
        number = 0
        for claimed, message in await tools.catalog.read(frontier.failed, id_):
            before = await tools.served.read(pages.earlier, id_, claimed.url)
            if before is not None and before.state is PageState.INDEXED:
                asked = Asked(Failed(claimed.url, Reason.NO_ANSWER, message), None, 0, before.size)
                await as_before(tools, self._docset, claimed, asked, before, before.stamp, f"Taken as it was before: {message}")
                number += 1
        return number

    async def _reconsider(self) -> None:
        """Apply the docset's patterns, the site's robots.txt and the settings, which may be new, to the pages that are known."""
        tools, docset = self._tools, self._docset
        for page_id, url, state, reason in await tools.catalog.read(frontier.decided, docset.id):
            left_out = rules.by_url(docset, url)
            if left_out is not None and reason not in (Reason.EXCLUDED, Reason.SOURCE):
                await discard(tools, await tools.catalog.write(pages.leave_out_indexed, page_id, *left_out, reopen=True))
            elif left_out is None and state == PageState.SKIPPED and reason and await self._reopens(url, Reason(reason)):
                await tools.catalog.write(frontier.retry, docset.id, url)

    async def _reopens(self, url: str, reason: Reason) -> bool:
        """Whether a page that was left out for `reason` is to be asked again."""
        if reason is Reason.ROBOTS:
            return (await self._robots_of(url)).allows(url)
        return rules.reopens(self._docset, url, reason) or (reason is Reason.NOINDEX and not self._tools.limits.obey_robots)

    # -- claiming

    async def _drain(self, turn: Turn) -> bool:
        """Work on what waits, several pages at once; False when the crawl is to stop before nothing waits any more."""
        tools = self._tools
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                while len(running) < tools.limits.at_once and not self._stopping.is_set() and self._down is None:
                    if self._size >= tools.limits.max_total_bytes:
                        message = (
                            f"Not asked: the docset has reached {tools.limits.max_total_bytes} bytes (setting max_total_bytes)."
                        )
                        await tools.catalog.write(frontier.close, self._docset.id, PageState.SKIPPED, Reason.LIMIT, message)
                    claimed = await tools.catalog.write(frontier.claim, self._docset.id, turn, tools.now(), _LEASE_MS)
                    if claimed is None:
                        break
                    running.add(asyncio.create_task(self._page(claimed), name=claimed.url))
                if running:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()  # a page's own failures are values: an exception is an outage, and ends the crawl
                        self._on_page()
                elif self._stopping.is_set():
                    return False
                elif self._down is None:
                    return True
                elif not await self._site_is_back():
                    return False
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _page(self, claimed: Claim) -> None:
        begin = time.monotonic()
        try:
            robots = await self._robots_of(claimed.url)
            said, asked = await work_on(self._tools, self._docset, self._access, robots, claimed)
            if asked is not None:
                self._size += asked.size
                if isinstance(asked.outcome, Failed):
                    said = await self._failed(claimed, asked, asked.outcome, begin)
                else:
                    self._pauses = 0
            if claimed.depth == 0:  # it may have told the language, or that the site has moved up to https
                learned: Docset | None = await self._tools.catalog.read(docsets.get, self._docset.id)
                self._docset = learned or self._docset
        except asyncio.CancelledError:
            await self._tools.catalog.write(frontier.give_back, claimed)
            raise
        _log.info("page %s: %s, all in %.2f s", claimed.url, said, time.monotonic() - begin)
        page = await self._tools.catalog.read(pages.by_url, self._docset.id, claimed.url)
        told = {"docsetId": self._docset.id, "url": claimed.url, "status": page.state.value if page else None, "message": said}
        self._tools.events.publish("page", told, self._docset.id)

    async def _failed(self, claimed: Claim, asked: Asked, failed: Failed, begin: float) -> str:
        """The page could not be had: its own failure when the site answers otherwise, else the docset pauses."""
        tools = self._tools
        if failed.reason is Reason.ADDRESS:
            await self._close(failed.reason, failed.message)
        elif claimed.depth > 0 and (failed.retry_after_s is not None or not await self._site_answers(begin)):
            self._down, self._rest_s = failed.message, max(self._rest_s, failed.retry_after_s or 0.0)
            await tools.catalog.write(frontier.give_back, claimed, asked.requests)
            return f"given back: {failed.message}"
        return await leave_out(tools, claimed, PageState.ERROR, asked, failed.reason, failed.message)

    async def _site_answers(self, since: float) -> bool:
        """Whether the site gave a good answer since then: to another page, or now to its first page asked once more."""
        pacer, seed = self._tools.fetcher.pacer, self._docset.seed_url
        async with self._probe:  # one asks for all
            if self._down is not None:
                return False
            if pacer.pace(seed).answered_at >= since:
                return True
            asked = await self._tools.fetcher.fetch(seed, access=self._access, keep=_PROBE_BYTES)
            return not isinstance(asked.outcome, Failed) or asked.outcome.reason is Reason.ADDRESS

    async def _site_is_back(self) -> bool:
        """Wait until the site answers again, in growing pauses; False when the crawl stops or the site stays down."""
        tools, id_ = self._tools, self._docset.id
        pause_s = min(tools.limits.down_pause_s * 2**self._pauses, _LONGEST_PAUSE_S)
        reason = self._down or ""
        while self._pauses < _MAX_PAUSES:
            self._pauses += 1
            wait_s, self._rest_s = max(pause_s, self._rest_s), 0.0
            when = time.strftime("%H:%M:%S", time.localtime(tools.now() / 1000 + wait_s))
            message = f"Paused: {reason.rstrip('.')}. The site is tried again at {when}."
            _log.warning("docset %s: %s", id_, message)
            await tools.catalog.write(docsets.set_state, id_, DocsetState.INDEXING, message, tools.now())
            self._on_page()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
                return False
            self._down = None
            if await self._site_answers(time.monotonic()):
                tools.fetcher.pacer.pace(self._docset.seed_url).recovered()
                await tools.catalog.write(docsets.set_state, id_, DocsetState.INDEXING, None, tools.now())
                return True
            self._down, pause_s = reason, min(2 * pause_s, _LONGEST_PAUSE_S)
        await self._give_up(reason)
        return False

    async def _give_up(self, reason: str) -> None:
        tools, id_ = self._tools, self._docset.id
        counted = await tools.catalog.read(docsets.counts, id_, tools.now())
        waiting = await tools.catalog.read(frontier.waiting, id_)
        state = DocsetState.READY if counted.pages.get(PageState.INDEXED) else DocsetState.ERROR
        message = f"{reason.rstrip('.')}."
        if tools.served is None:
            message += f" {waiting} pages wait; they are asked when the docset is indexed again, or at the next start."
        await tools.catalog.write(docsets.set_state, id_, state, message, tools.now())
        _log.error("docset %s: %s", id_, message)

    async def _close(self, reason: Reason, message: str) -> None:
        """Ask for none of the pages that wait: what keeps one from being had keeps them all."""
        await self._tools.catalog.write(frontier.close, self._docset.id, PageState.ERROR, reason, message)
        self._closed = message

    # -- what to claim

    async def _obey_robots(self) -> bool:
        """Read what the site allows, once a day; False when it cannot be had and so nothing may be asked."""
        tools, id_, site = self._tools, self._docset.id, origin(self._docset.seed_url)
        if not tools.limits.obey_robots:
            return True
        text: str | Failed | None = await tools.catalog.read(robots_store.kept, id_, tools.now() - _ROBOTS_MS, tools.now())
        while text is None or isinstance(text, Failed):
            text = await read_robots(tools.fetcher, site, self._access)
            if not isinstance(text, Failed):
                await tools.catalog.write(robots_store.keep, id_, text, tools.now())
                break
            if text.reason is Reason.ADDRESS:
                self._forbidden = True
                await self._close(text.reason, text.message)
                return True
            message = f"robots.txt cannot be read, so nothing may be asked: {text.message}"
            counted = await tools.catalog.read(docsets.counts, id_, tools.now())
            if not counted.pages.get(PageState.INDEXED):
                self._forbidden = True
                await self._close(text.reason, message)
                return True
            self._down, self._rest_s = message, text.retry_after_s or 0.0
            if not await self._site_is_back():
                return False
        self._obey(site, text)
        return True

    def _obey(self, site: str, text: str) -> Robots:
        robots = self._robots[site] = Robots(text)
        if robots.crawl_delay_s is not None:
            self._tools.fetcher.pacer.obey(site, robots.crawl_delay_s)
            if robots.crawl_delay_s > LONGEST_CRAWL_DELAY_S:
                _log.warning("%s: a Crawl-delay of %g s is shortened to %g s", site, robots.crawl_delay_s, LONGEST_CRAWL_DELAY_S)
        return robots

    async def _robots_of(self, url: str) -> Robots:
        """What the robots.txt of the URL's origin says: a site that was begun by http may go on by https."""
        site = origin(url)
        if not self._tools.limits.obey_robots:
            return Robots()
        async with self._reading_robots:
            if site not in self._robots:
                text = await read_robots(self._tools.fetcher, site, self._access)
                if isinstance(text, Failed):
                    self._robots[site] = FORBIDDEN
                else:
                    self._obey(site, text)
                    await self._tools.catalog.write(robots_store.keep, self._docset.id, text, self._tools.now())
            return self._robots[site]

    async def _follow(self) -> int:
        """Put what the pages done so far lead to into the frontier; returns how many URLs are new."""
        new = await self._follow_unfollowed()
        if not new and await self._tools.catalog.write(frontier.look_again, self._docset.id) > 0:
            self._cut = {}
            new = await self._follow_unfollowed()
        return new

    async def _follow_unfollowed(self) -> int:
        catalog, id_ = self._tools.catalog, self._docset.id
        new = 0
        while True:
            found, looked_through = await catalog.read(frontier.new_links, id_)
            if not looked_through:
                return new
            links = [self._link(url, depth, page, rules.turn(url)) for url, depth, page in found]
            more, cut = await catalog.write(frontier.follow, id_, links, looked_through, self._limits)
            new += more
            _add_cut(self._cut, cut)

    def _link(self, url: str, depth: int, found_on: str, turn: Turn) -> Link:
        reason, message = rules.by_url(self._docset, url) or (None, None)
        return Link(url, depth, found_on, turn, reason, message)

    async def _follow_sitemaps(self) -> int:
        """Put what only sitemaps name into the frontier, once links lead nowhere any more; returns how many URLs are new."""
        catalog, id_ = self._tools.catalog, self._docset.id
        if self._from_sitemaps is None:
            if await catalog.read(docsets.sitemaps_read, id_):
                return 0
            self._from_sitemaps, complete = await self._read_sitemaps()
        else:
            complete = False
        links = [self._link(url, 1, on, max(Turn.SITEMAP, rules.turn(url))) for url, on in self._from_sitemaps.items()]
        new = 0
        self._sitemaps_cut = {}
        for begin in range(0, len(links), _LINKS_AT_ONCE):
            more, cut, _ = await catalog.write(frontier.discover, id_, links[begin : begin + _LINKS_AT_ONCE], self._limits)
            new += more
            _add_cut(self._sitemaps_cut, cut)
        if complete and not any(self._sitemaps_cut.values()):
            await catalog.write(docsets.note_sitemaps, id_)
        return new

    async def _read_sitemaps(self) -> tuple[dict[str, str], bool]:
        """What the site's sitemaps name, each URL with its sitemap, and whether all of them could be read.

        They are those of its robots.txt, else /sitemap.xml, and those that they name. What fails is tried again, twice.
        """
        tools, id_, site = self._tools, self._docset.id, origin(self._docset.seed_url)
        robots = await self._robots_of(site + "/")
        first = robots.sitemaps or (f"{site}/sitemap.xml",)
        waiting = deque((url, 1) for url in list(dict.fromkeys(first))[:_MAX_SITEMAPS])
        asked, named = set[str](), dict[str, str]()
        complete = True
        while waiting and len(asked) < _MAX_SITEMAPS and len(named) < MAX_SITEMAP_URLS and not self._stopping.is_set():
            if self._size >= tools.limits.max_total_bytes:
                break
            location, round_ = waiting.popleft()
            found = canonical(location, f"{site}/")
            url = None if found is None else on_site(found, site)
            if url is None or (url in asked and round_ == 1) or not robots.allows(url):
                continue
            asked.add(url)
            answer = await tools.fetcher.fetch(url, access=self._access, keep=MAX_SITEMAP_BYTES)
            self._size += answer.size
            match answer.outcome:
                case Redirected(target=target):
                    if (moved := canonical(target, url)) is not None:
                        waiting.append((moved, 1))
                case Fetched(body=body):
                    locations, further = await asyncio.to_thread(read_sitemap, body)
                    waiting += [(more, 1) for more in list(dict.fromkeys(further))[: _MAX_SITEMAPS + 1]]
                    for page in await asyncio.to_thread(self._in_scope, locations):
                        named.setdefault(page, url)
                case Failed() if round_ < _SITEMAP_ROUNDS:
                    waiting.append((url, round_ + 1))
                case Failed():
                    complete = False
        if waiting and not self._stopping.is_set():
            _log.warning("docset %s: the sitemaps name more files or pages than are read", id_)
        return named, complete and not self._stopping.is_set()

    def _in_scope(self, locations: Sequence[str]) -> list[str]:
        site, allowed = origin(self._docset.seed_url), self._docset.allowed_paths
        parts = range(0, len(locations), MAX_LINKS)
        return [url for begin in parts for url in pages_to_follow(locations[begin : begin + MAX_LINKS], site, allowed)[0]]

    # -- the end

    async def _take_out_repeating(self) -> bool:
        """Leave pages out that turned out to repeat many others; whether there were any, which makes room."""
        tools = self._tools
        taken_out = False
        for page_id, url, repeated in await tools.catalog.read(pages.repeating, self._docset.id):
            if (left_out := rules.manual(self._docset, url, repeated)) is not None:
                await discard(tools, await tools.catalog.write(pages.leave_out_indexed, page_id, *left_out))
                _log.info("page %s: %s", url, left_out[1])
                taken_out = True
        return taken_out

    async def _keep_names(self) -> None:
        """Take from the site's own list the names that its pages do not tell; once."""
        tools, id_ = self._tools, self._docset.id
        _, read = await tools.catalog.read(docsets.inventory, id_)
        names = await self.names() if read is None else None
        if names is not None:
            added = await tools.catalog.write(symbols.keep_listed, id_, names.listed)
            await tools.catalog.write(docsets.inventory_read, id_, names.hash)
            _log.info("docset %s: %s names are listed, %s of them new", id_, len(names.listed), added)

    async def names(self) -> Names | None:
        """What the site lists of its names; None when it has no such list."""
        tools, id_ = self._tools, self._docset.id
        url, _ = await tools.catalog.read(docsets.inventory, id_)
        if url is None or on_site(url, origin(self._docset.seed_url)) is None or not (await self._robots_of(url)).allows(url):
            return None
        answer = (await tools.fetcher.fetch(url, access=self._access, keep=MAX_INVENTORY_BYTES)).outcome
        if not isinstance(answer, Fetched):
            _log.info("docset %s: %s cannot be read", id_, url)
            return Names([], "")
        listed = await asyncio.to_thread(read_inventory, answer.body, url)
        return Names(listed, blake2b(answer.body, digest_size=16).hexdigest())

    async def _finish(self) -> None:
        tools, id_ = self._tools, self._docset.id
        now = tools.now()
        counted = await tools.catalog.read(docsets.counts, id_, now)
        indexed = counted.pages.get(PageState.INDEXED, 0)
        seed = await tools.catalog.read(pages.by_url, id_, self._docset.seed_url)
        state = DocsetState.READY if indexed else DocsetState.ERROR
        message = self._closed or await self._limits_reached()
        if not indexed:
            message = (seed.message if seed else None) or "No page could be indexed."
        await tools.catalog.write(docsets.finish_crawl, id_, state, message, now)
        read_as = ", ".join(f"{name} {number}" for name, number in await tools.catalog.read(pages.read_as, id_))
        _log.info("docset %s %s: %s pages indexed (%s), %s chunks%s", id_, state, indexed, read_as, counted.chunks,
                  f". {message}" if message else "")  # fmt: skip

    async def _limits_reached(self) -> str | None:
        """Which limits kept how much out, in a sentence each."""
        limits, max_bytes = self._limits, self._tools.limits.max_total_bytes
        links, over_bytes = await self._tools.catalog.read(frontier.over_limits, self._docset.id)
        cut = {limit: len(self._cut.get(limit, set()) | self._sitemaps_cut.get(limit, set())) for limit in Limit}
        pages_ = f"{limits.max_pages} page{'s' * (limits.max_pages != 1)}"
        depth = f"{limits.max_depth} link{'s' * (limits.max_depth != 1)}"
        reached = (
            (cut[Limit.PAGES], f"The limit of {pages_} (max_pages) left out {cut[Limit.PAGES]} more."),
            (
                cut[Limit.ASKED],
                f"Few of the site's URLs were pages to keep: {limits.max_asked} were asked, which is the most for {pages_}"
                f" (max_pages), and {cut[Limit.ASKED]} more were not.",
            ),
            (cut[Limit.DEPTH], f"Left out: {cut[Limit.DEPTH]} URLs more than {depth} away from the first page (max_depth)."),
            (
                cut[Limit.QUERIES],
                f"Left out: {cut[Limit.QUERIES]} URLs that differ from others only in their query; {limits.max_queries_per_path}"
                " are kept for each path (max_queries_per_path).",
            ),
            (links, f"Not followed: {links} links on pages with over {MAX_LINKS} of them."),
            (over_bytes, f"Not asked: {over_bytes} more, after {max_bytes} bytes received (max_total_bytes)."),
        )
        return " ".join(said for number, said in reached if number) or None


def _add_cut(whole: Cut, part: Cut) -> None:
    for limit, urls in part.items():
        whole.setdefault(limit, set()).update(urls)
