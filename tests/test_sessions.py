"""Editor sessions: who is connected, for how long, and when the daemon stops by itself. The rule alone, then with a catalog and a
clock that the test turns, then real daemons.
"""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from docworker.errors import NotFound, Unavailable
from docworker.events import Events
from docworker.model import Session
from docworker.sessions import Roll, Sessions, Terms, Verdict
from docworker.store import sessions as store
from docworker.store.catalog import Catalog
from tests.daemon import Daemon, wait_until
from tests.site import Answer
from tests.stopping_site import AT_ONCE, GoingDown, StoppingSite
from tests.test_cli import assert_one_sentence, done, run

PAGES = 12
LEASE_S, GRACE_S = 100.0, 10.0
TERMS = Terms(LEASE_S, GRACE_S, keep_alive=False)


def editor(id_: str, at: int = 0) -> Session:
    return Session(id_, "vim", at, at)


# -- the rule


def filled(*events: tuple[str, str, float], terms: Terms = TERMS) -> Roll:
    """A roll after `("renew" | "drop", id, at)`."""
    roll = Roll(terms)
    for what, id_, at in events:
        if what == "renew":
            roll.renew(editor(id_), at)
        else:
            roll.drop(id_, at)
    return roll


@pytest.mark.parametrize(
    ("events", "at", "verdict", "wait_s", "stop_is_due"),
    [
        ([], 1e6, Verdict.NEEDED, 60, False),
        ([("drop", "a", 0)], 1e6, Verdict.NEEDED, 60, False),
        ([("renew", "a", 0)], 0, Verdict.NEEDED, 100, False),
        ([("renew", "a", 0)], 99, Verdict.NEEDED, 1, False),
        ([("renew", "a", 0)], 100, Verdict.NEEDED, 0, False),
        ([("renew", "a", 0), ("renew", "a", 70)], 100, Verdict.NEEDED, 70, False),
        ([("renew", "a", 0), ("drop", "a", 5)], 5, Verdict.GRACE, 10, True),
        ([("renew", "a", 0), ("drop", "a", 5)], 14, Verdict.GRACE, 1, True),
        ([("renew", "a", 0), ("drop", "a", 5)], 15, Verdict.DUE, 0, True),
        ([("renew", "a", 0), ("drop", "a", 5), ("drop", "a", 9)], 15, Verdict.DUE, 0, True),
        ([("renew", "a", 0), ("drop", "a", 5), ("renew", "b", 14)], 1_000, Verdict.NEEDED, 0, False),
        ([("renew", "a", 0), ("renew", "b", 1), ("drop", "a", 5)], 50, Verdict.NEEDED, 51, False),
        ([("renew", "a", 0), ("renew", "b", 1), ("drop", "a", 5), ("drop", "b", 6)], 16, Verdict.DUE, 0, True),
    ],
)
def test_what_the_roll_says(
    events: list[tuple[str, str, float]], at: float, verdict: Verdict, wait_s: float, stop_is_due: bool
) -> None:
    roll = filled(*events)
    assert (roll.verdict(at), roll.wait_s(at), roll.stop_is_due) == (verdict, wait_s, stop_is_due)


def test_a_daemon_to_be_kept_alive_is_always_needed() -> None:
    roll = filled(("renew", "a", 0), ("drop", "a", 1), terms=Terms(LEASE_S, GRACE_S, keep_alive=True))
    assert (roll.verdict(1e6), roll.stop_is_due, roll.wait_s(1e6)) == (Verdict.NEEDED, False, 60)


def test_without_a_grace_the_stop_is_due_at_once() -> None:
    roll = filled(("renew", "a", 0), ("drop", "a", 1), terms=Terms(LEASE_S, 0, keep_alive=False))
    assert roll.verdict(1) is Verdict.DUE


class Life(RuleBasedStateMachine):
    """The roll, used as `Sessions.watch` uses it, against a record of who was connected when."""

    @initialize(lease=st.integers(1, 30), grace=st.integers(0, 20), keep_alive=st.booleans())
    def begin(self, lease: int, grace: int, keep_alive: bool) -> None:
        self.terms = Terms(lease, grace, keep_alive)
        self.roll = Roll(self.terms)
        self.now = 0
        self.until: dict[str, int] = {}  # who is connected, and when that lease ends
        self.empty_since: int | None = None  # None: somebody is connected, or nobody ever was

    ids = st.sampled_from("abc")

    @rule(id_=ids)
    def register_or_beat(self, id_: str) -> None:
        self.roll.renew(editor(id_), self.now)
        self.until[id_] = self.now + int(self.terms.lease_s)
        self.empty_since = None

    @rule(id_=ids)
    def unregister(self, id_: str) -> None:
        assert self.roll.drop(id_, self.now) is (id_ in self.until)
        self.gone(id_)

    def gone(self, id_: str) -> None:
        if self.until.pop(id_, None) is not None and not self.until:
            self.empty_since = self.now

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        end = self.now + seconds
        while True:
            expired = self.roll.expired(self.now)
            assert sorted(expired) == sorted(id_ for id_, until in self.until.items() if until <= self.now)
            for id_ in expired:
                self.roll.drop(id_, self.now)
                self.gone(id_)
            verdict, wait_s = self.roll.verdict(self.now), self.roll.wait_s(self.now)
            if verdict is Verdict.DUE or self.now + wait_s > end:
                break
            assert wait_s > 0, "it would never sleep"
            for asleep in (self.now + wait_s / 2, self.now + wait_s - 0.25):
                assert (self.roll.expired(asleep), self.roll.verdict(asleep)) == ([], verdict), "it would sleep past a change"
            self.now += int(wait_s)
        self.now = end

    @invariant()
    def it_is_due_exactly_a_grace_after_the_last_one_left(self) -> None:
        if self.terms.keep_alive or self.empty_since is None:
            assert self.roll.verdict(self.now) is Verdict.NEEDED
            assert not self.roll.stop_is_due
            return
        assert self.roll.stop_is_due
        due = self.now >= self.empty_since + self.terms.grace_s
        assert self.roll.verdict(self.now) is (Verdict.DUE if due else Verdict.GRACE)

    @invariant()
    def it_knows_who_is_connected(self) -> None:
        assert {session.id for session in self.roll.all()} == self.until.keys()
        assert len(self.roll) == len(self.until)


TestLife = Life.TestCase
TestLife.settings = hypothesis_settings(max_examples=150, stateful_step_count=30, deadline=None)


# -- with a catalog, and clocks that the test turns


@dataclass
class Clocks:
    """The monotonic clock in seconds, and the wall clock in epoch milliseconds: the latter may be set."""

    s: float = 1_000.0
    wall_ms: int = 1_700_000_000_000

    def turn(self, seconds: float) -> None:
        self.s += seconds
        self.wall_ms += int(seconds * 1_000)


@dataclass
class Watched:
    """Sessions with their watch, and what came of it."""

    sessions: Sessions
    catalog: Catalog
    clocks: Clocks
    busy: bool = False
    stops: int = 0
    told: list[tuple[str, str, int]] = field(default_factory=list)
    watch: "asyncio.Task[None] | None" = None

    async def turn(self, seconds: float) -> None:
        """Let time pass, and the watch look."""
        self.clocks.turn(seconds)
        await self.sessions.unregister("nobody")  # wakes it
        await self.settled()

    async def settled(self) -> None:
        await self.catalog.write(lambda db: None)  # after what it writes
        for _ in range(20):
            await asyncio.sleep(0)

    def count_stop(self) -> None:
        self.stops += 1


@asynccontextmanager
async def watched(folder: Path, clocks: Clocks | None = None, terms: Terms = TERMS) -> AsyncIterator[Watched]:
    """What one run of a daemon does with its sessions; the next one on the same folder is the restart."""
    catalog = await Catalog.open(folder / "catalog.sqlite")
    events, turned = Events(), clocks or Clocks()
    sessions = Sessions(catalog, terms, events, busy=lambda: of.busy, now=lambda: turned.wall_ms, clock=lambda: turned.s)
    of = Watched(sessions, catalog, turned)

    async def hear() -> None:
        with events.listen(None, None) as reader:
            while (event := await reader.next()) is not None:
                said = json.loads(event.data)
                of.told.append((said["sessionId"], said["change"], said["count"]))

    await sessions.restore()
    hearing = asyncio.create_task(hear())
    of.watch = asyncio.create_task(sessions.watch(of.count_stop))
    await of.settled()
    try:
        yield of
    finally:
        for task in (of.watch, hearing):
            task.cancel()
        await asyncio.gather(of.watch, hearing, return_exceptions=True)
        await catalog.close()


def ids(of: Watched) -> list[str]:
    return [session.id for session in of.sessions.all()]


async def test_the_watch_stops_once_a_grace_after_the_last_one_left(tmp_path: Path) -> None:
    async with watched(tmp_path) as of:
        await of.sessions.register("a", "vim")
        await of.turn(50)
        assert await of.sessions.unregister("a") is True
        await of.turn(GRACE_S - 0.5)
        assert (of.stops, of.sessions.stop_is_due) == (0, True)
        await of.turn(0.5)
        assert of.stops == 1
        assert of.watch is not None
        assert of.watch.done()
        await of.turn(1_000)
        assert of.stops == 1
        assert of.told == [("a", "registered", 1), ("a", "unregistered", 0)]


async def test_nobody_ever_was_so_nothing_stops(tmp_path: Path) -> None:
    async with watched(tmp_path) as of:
        assert await of.sessions.unregister("a") is False
        await of.turn(1e6)
        assert (of.stops, of.sessions.stop_is_due) == (0, False)


async def test_one_who_registers_during_the_grace_cancels_the_stop(tmp_path: Path) -> None:
    async with watched(tmp_path) as of:
        await of.sessions.register("a", "vim")
        await of.sessions.unregister("a")
        await of.turn(GRACE_S - 1)
        await of.sessions.register("b", None)
        assert not of.sessions.stop_is_due
        await of.turn(LEASE_S - 1)
        assert of.stops == 0
        assert [session.client_type for session in of.sessions.all()] == ["unknown"]


async def test_an_editor_that_crashed_ends_with_its_lease(tmp_path: Path) -> None:
    async with watched(tmp_path) as of:
        await of.sessions.register("a", "vim")
        await of.turn(60)
        await of.sessions.heartbeat("a")
        await of.turn(LEASE_S - 1)
        assert ids(of) == ["a"]
        await of.turn(1)
        assert (ids(of), await of.catalog.read(store.all_sessions)) == ([], [])
        with pytest.raises(NotFound, match="register it again"):
            await of.sessions.heartbeat("a")
        assert of.stops == 0
        await of.turn(GRACE_S)
        assert of.stops == 1
        assert of.told == [("a", "registered", 1), ("a", "expired", 0)]


async def test_of_two_editors_the_last_one_counts(tmp_path: Path) -> None:
    async with watched(tmp_path) as of:
        await of.sessions.register("a", "vim")
        await of.turn(60)
        await of.sessions.register("b", "emacs")
        await of.turn(40)
        assert ids(of) == ["b"]
        await of.turn(GRACE_S + 1)
        assert (of.stops, of.sessions.stop_is_due) == (0, False)
        await of.sessions.unregister("b")
        await of.turn(GRACE_S)
        assert of.stops == 1


async def test_a_session_that_registers_again_keeps_its_begin_and_beats(tmp_path: Path) -> None:
    async with watched(tmp_path) as of:
        first = await of.sessions.register("a", "vim")
        await of.turn(60)
        again = await of.sessions.register("a", None)
        assert (again.connected_at, again.client_type) == (first.connected_at, "vim")
        assert again.last_heartbeat == first.last_heartbeat + 60_000
        assert (await of.sessions.register("a", "neovim")).client_type == "neovim"
        await of.turn(LEASE_S - 1)
        assert ids(of) == ["a"]
        assert of.told == [("a", "registered", 1)]


async def test_work_under_way_is_waited_for_and_meanwhile_one_may_come(tmp_path: Path) -> None:
    async with watched(tmp_path) as of:
        of.busy = True
        await of.sessions.register("a", "vim")
        await of.sessions.unregister("a")
        await of.turn(GRACE_S + 100)
        assert (of.stops, of.sessions.stop_is_due) == (0, True)
        await of.sessions.register("b", "vim")
        of.busy = False
        await of.turn(5)
        assert (of.stops, of.sessions.stop_is_due) == (0, False)
        await of.sessions.unregister("b")
        await of.turn(GRACE_S)
        assert of.stops == 1


async def test_the_end_of_the_work_is_noticed_by_itself(tmp_path: Path) -> None:
    async with watched(tmp_path) as of:
        of.busy = True
        await of.sessions.register("a", "vim")
        await of.sessions.unregister("a")
        await of.turn(GRACE_S)
        of.busy = False
        assert of.watch is not None
        await asyncio.wait_for(of.watch, 10)
        assert of.stops == 1


async def test_a_daemon_to_be_kept_alive_does_not_stop(tmp_path: Path) -> None:
    async with watched(tmp_path, terms=Terms(LEASE_S, GRACE_S, keep_alive=True)) as of:
        await of.sessions.register("a", "vim")
        await of.turn(LEASE_S)
        assert ids(of) == []
        await of.turn(1e6)
        assert (of.stops, of.sessions.stop_is_due) == (0, False)


async def test_sessions_outlive_a_restart_with_the_age_that_they_have(tmp_path: Path) -> None:
    clocks = Clocks()
    async with watched(tmp_path, clocks) as of:
        first = await of.sessions.register("a", "vim")
        await of.turn(30)
        await of.sessions.register("b", "emacs")
    clocks.turn(40)
    clocks.s = 5.0  # the machine was started anew
    async with watched(tmp_path, clocks) as of:
        assert [(session.id, session.client_type) for session in of.sessions.all()] == [("a", "vim"), ("b", "emacs")]
        assert of.sessions.all()[0].connected_at == first.connected_at
        await of.turn(29)
        assert ids(of) == ["a", "b"]
        await of.turn(1)
        assert ids(of) == ["b"]
        await of.turn(30)
        assert ids(of) == []
        await of.turn(GRACE_S)
        assert of.stops == 1


async def test_those_who_ended_while_no_daemon_ran_count_as_if_they_had_never_been(tmp_path: Path) -> None:
    clocks = Clocks()
    async with watched(tmp_path, clocks) as of:
        await of.sessions.register("a", "vim")
    clocks.turn(LEASE_S)
    async with watched(tmp_path, clocks) as of:
        assert (ids(of), await of.catalog.read(store.all_sessions)) == ([], [])
        await of.turn(1e6)
        assert (of.stops, of.told) == (0, [])


async def test_a_clock_that_was_set_back_neither_ends_a_session_nor_makes_it_immortal(tmp_path: Path) -> None:
    clocks = Clocks()
    async with watched(tmp_path, clocks) as of:
        await of.sessions.register("a", "vim")
        clocks.wall_ms -= 86_400_000
        await of.turn(LEASE_S - 1)
        assert ids(of) == ["a"]
    async with watched(tmp_path, clocks) as of:
        await of.turn(LEASE_S - 1)
        assert ids(of) == ["a"]
        await of.turn(1)
        assert ids(of) == []


async def test_there_are_so_many_sessions_and_no_more(tmp_path: Path) -> None:
    clocks = Clocks()
    async with watched(tmp_path, clocks) as of:
        for n in range(10_000):
            await of.catalog.write(store.put, editor(f"s{n}", clocks.wall_ms))
    async with watched(tmp_path, clocks) as of:
        with pytest.raises(Unavailable, match="10000 sessions are registered already"):
            await of.sessions.register("one more", "vim")
        await of.sessions.register("s7", "vim")
        await of.sessions.unregister("s8")
        await of.sessions.register("one more", "vim")


# -- real daemons


def register(daemon: Daemon, id_: str, client: str | None = "vim") -> Any:
    return daemon.post("/session/register", sessionId=id_, clientType=client)


def unregister(daemon: Daemon, id_: str) -> tuple[bool, int, bool]:
    """(existed, remainingSessions, shouldStop)."""
    said = daemon.post("/session/unregister", sessionId=id_)
    assert said["success"] is True
    return said["existed"], said["remainingSessions"], said["shouldStop"]


def ends_by_itself(daemon: Daemon) -> None:
    """Wait for it; asserts that it ends as it should."""
    assert daemon.process is not None
    assert daemon.process.wait(60) == 0, daemon.log()[-3000:]
    assert "no editor is connected any more" in daemon.log()
    assert not (daemon.settings.data_dir / "daemon.json").exists()


def lives_for(daemon: Daemon, seconds: float) -> None:
    """It answers throughout."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert daemon.get("/health")["ready"] is True
        time.sleep(0.05)


def test_sessions_come_beat_and_go_and_with_the_last_one_the_daemon_stops(make_daemon: Callable[..., Daemon]) -> None:
    with make_daemon(stop_grace_s=1.5) as daemon:
        first = register(daemon, "one")
        assert (first["success"], first["totalSessions"]) == (True, 1)
        begun = first["session"]
        assert (begun["id"], begun["clientType"], begun["connectedAt"]) == ("one", "vim", begun["lastHeartbeat"])
        assert register(daemon, "two", None)["totalSessions"] == 2
        wait_until(lambda: time.time_ns() // 1_000_000 > begun["lastHeartbeat"], "the next millisecond")
        again = register(daemon, "one", "neovim")["session"]
        assert (again["connectedAt"], again["clientType"]) == (begun["connectedAt"], "neovim")
        assert again["lastHeartbeat"] > begun["lastHeartbeat"]
        beaten = daemon.post("/session/heartbeat", sessionId="one")
        assert (beaten["success"], beaten["session"]["connectedAt"]) == (True, begun["connectedAt"])
        unknown = daemon.request("POST", "/session/heartbeat", json={"sessionId": "three"})
        assert (unknown.status_code, unknown.json()) == (404, {"error": "There is no session 'three'; register it again."})
        found = daemon.get("/sessions")
        assert [(each["id"], each["clientType"]) for each in found["sessions"]] == [("one", "neovim"), ("two", "unknown")]
        assert found["count"] == 2

        assert unregister(daemon, "two") == (True, 1, False)
        assert unregister(daemon, "two") == (False, 1, False)
        assert unregister(daemon, "one") == (True, 0, True)
        assert unregister(daemon, "one") == (False, 0, True)
        assert register(daemon, "one")["totalSessions"] == 1  # during the grace
        lives_for(daemon, 2)
        left = time.monotonic()
        assert unregister(daemon, "one") == (True, 0, True)
        ends_by_itself(daemon)
        assert time.monotonic() - left > 1.5


def test_a_session_that_is_not_heard_of_any_more_ends_and_so_does_the_daemon(make_daemon: Callable[..., Daemon]) -> None:
    with make_daemon(stop_grace_s=0.2, session_lease_s=1) as daemon:
        register(daemon, "crashed")
        register(daemon, "beating")
        for _ in range(8):
            time.sleep(0.25)
            daemon.post("/session/heartbeat", sessionId="beating")
        assert [each["id"] for each in daemon.get("/sessions")["sessions"]] == ["beating"]
        ends_by_itself(daemon)


def test_who_never_had_a_session_or_is_to_be_kept_alive_stays(make_daemon: Callable[..., Daemon]) -> None:
    with make_daemon("never", stop_grace_s=0.1) as never, make_daemon("kept", stop_grace_s=0.1, keep_alive=True) as kept:
        assert unregister(never, "nobody") == (False, 0, False)
        register(kept, "one")
        assert unregister(kept, "one") == (True, 0, False)
        lives_for(kept, 0.7)
        lives_for(never, 0.7)


def test_a_crawl_and_a_refresh_under_way_are_finished_before_the_daemon_stops(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(stop_grace_s=0.1, requests_per_host=AT_ONCE)
    with daemon, StoppingSite(PAGES) as generated:
        generated.begin(hold_after=5)
        register(daemon, "one")
        docset_id = daemon.post("/index", baseUrl=generated.url, seedSlug="/docs/")["docsetId"]
        wait_until(lambda: generated.asked_for_pages == 5 + AT_ONCE, "the site's holding still")
        assert unregister(daemon, "one") == (True, 0, True)
        lives_for(daemon, 1.5)
        generated.let_go()
        ends_by_itself(daemon)

        daemon.start()
        docset = daemon.get(f"/docset/{docset_id}")
        counts = docset["indexStatus"]
        assert (docset["status"], counts["indexedPages"], counts["pendingPages"]) == ("ready", PAGES + 1, 0)
        assert counts["embeddedChunks"] == counts["totalChunks"] > 0  # also the vectors were waited for
        assert generated.asked_for_pages == PAGES + 1

        generated.begin(hold_after=3)
        register(daemon, "two")
        assert daemon.post("/refresh", docsetId=docset_id, force=True)["refreshed"] is True
        wait_until(lambda: generated.asked_for_pages == 4, "the first level, of which one page is held")
        unregister(daemon, "two")
        lives_for(daemon, 1.5)
        generated.let_go()
        ends_by_itself(daemon)

        daemon.start()
        docset = daemon.get(f"/docset/{docset_id}")
        assert (docset["status"], docset["refresh"]) == ("ready", None)
        assert (docset["lastRefresh"]["done"], docset["lastRefresh"]["notModified"]) == (True, PAGES + 1)
        assert generated.asked_for_pages == PAGES + 1


def test_a_crawl_of_a_site_that_is_down_keeps_no_daemon_alive_and_goes_on_at_the_next_start(
    make_daemon: Callable[..., Daemon],
) -> None:
    links = "".join(f'<a href="p{n}">p{n}</a>' for n in range(6))
    pages: dict[str, str | Answer] = {"/docs/": f"<title>Down</title><h1>Down</h1><p>It was up.</p>{links}"}
    pages |= {f"/docs/p{n}": f"<h1>Page {n}</h1><p>The text of page {n}.</p>" for n in range(6)}
    with GoingDown(pages) as site:
        daemon = make_daemon(stop_grace_s=0.1, down_pause_s=600, request_attempts=1)
        with daemon:
            register(daemon, "one")
            docset_id = daemon.post("/index", baseUrl=site.url, seedSlug="/docs/")["docsetId"]
            wait_until(lambda: "Paused" in str(daemon.get(f"/docset/{docset_id}")["message"]), "the pause")
            unregister(daemon, "one")
            ends_by_itself(daemon)
            site.up = True
            daemon.start()
            counts = daemon.wait_ready(docset_id)["indexStatus"]
            assert (counts["indexedPages"], counts["errorPages"]) == (7, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_session_outlives_its_daemon(make_daemon: Callable[..., Daemon], number: signal.Signals) -> None:
    with make_daemon(stop_grace_s=0.1) as daemon:
        begun = register(daemon, "one")["session"]
        register(daemon, "gone before")
        unregister(daemon, "gone before")
        daemon.end(number)
        daemon.start()
        assert daemon.get("/sessions")["sessions"] == [begun]
        lives_for(daemon, 0.5)
        assert daemon.post("/session/heartbeat", sessionId="one")["session"]["connectedAt"] == begun["connectedAt"]
        assert unregister(daemon, "one") == (True, 0, True)
        ends_by_itself(daemon)


def test_no_session_is_taken_by_a_daemon_that_stops(make_daemon: Callable[..., Daemon]) -> None:
    """Many come and go around the moment of the stop: who was told yes is there afterwards."""
    with make_daemon(stop_grace_s=0.05) as daemon, httpx.Client(base_url=daemon.url, timeout=30) as client:
        yes, number = "", 0
        while daemon.process is not None and daemon.process.poll() is None:
            number += 1
            try:
                answer = client.post("/session/register", json={"sessionId": f"s{number}"})
                if answer.status_code == 200:
                    yes = f"s{number}"
                    time.sleep(0.03 + number % 5 / 100)
                    if client.post("/session/unregister", json={"sessionId": yes}).status_code == 200:
                        yes = ""
                        time.sleep(0.03 + number % 7 / 100)
                else:
                    assert answer.status_code == 503
            except httpx.TransportError:
                continue
        assert yes == "", "it stopped though an editor was connected"


def test_plugins_that_are_shell_scripts_use_the_commands(make_daemon: Callable[..., Daemon]) -> None:
    with make_daemon(stop_grace_s=0.1) as daemon:
        assert done(run(daemon, "sessions")) == "No editor is connected.\n"
        assert done(run(daemon, "session", "register", "s1", "--client", "vim")) == "s1 is registered; 1 in all.\n"
        assert done(run(daemon, "session", "heartbeat", "s1")) == "s1 is renewed.\n"
        assert_one_sentence(run(daemon, "session", "heartbeat", "s2"), 4, "There is no session 's2'; register it again.")
        assert done(run(daemon, "session", "unregister", "s2")) == "There was no session s2; 1 left.\n"
        assert done(run(daemon, "sessions")).splitlines()[1].split()[:2] == ["s1", "vim"]
        assert json.loads(done(run(daemon, "session", "unregister", "s1", "--json"))) == {
            "success": True, "existed": True, "remainingSessions": 0, "shouldStop": True,
        }  # fmt: skip
        ends_by_itself(daemon)
