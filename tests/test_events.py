"""What happens, told as it happens: the memory and the queues alone, over HTTP, and as the commands show it on a terminal."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import ClientSession, web

from docworker.api.stream import stream
from docworker.contract import DocsetResponse
from docworker.errors import Unavailable
from docworker.events import Event, Events, Reader
from tests.daemon import Daemon, wait_until
from tests.served import deaf_client, port_of, served
from tests.site import Answer, Site
from tests.stopping_site import AT_ONCE, PAGES, GoingDown, StoppingSite
from tests.terminal import CTRL_C, Terminal
from tests.test_cli import assert_one_sentence, done, run

KEPT = 1_000


# -- the memory and the queues


async def drained(reader: Reader, number: int) -> list[Event]:
    """The next `number` events."""
    found = [await asyncio.wait_for(reader.next(), 5) for _ in range(number)]
    assert None not in found
    return [event for event in found if event is not None]


def tell(events: Events, number: int, docset_id: str | None = None) -> None:
    for n in range(number):
        events.publish("page", {"n": n}, docset_id)


async def test_everybody_hears_everything_in_order() -> None:
    events = Events()
    with events.listen(None, None) as one, events.listen(None, None) as other:
        tell(events, 500)
        for reader in (one, other):
            assert [(event.number, event.data) for event in await drained(reader, 500)] == [
                (n + 1, f'{{"n": {n}}}') for n in range(500)
            ]
    assert not events.heard


async def test_who_asks_for_a_docset_hears_of_that_alone() -> None:
    events = Events()
    with events.listen("mine", None) as reader:
        events.publish("page", {}, "yours")
        events.publish("session", {})
        events.publish("page", {}, "mine")
        assert [event.number for event in await drained(reader, 1)] == [3]


@pytest.mark.parametrize(
    ("told", "after", "expected"),
    [
        (5, 5, []),
        (5, 3, [4, 5]),
        (5, 0, [1, 2, 3, 4, 5]),
        (0, 0, []),
        (KEPT + 5, 5, list(range(6, KEPT + 6))),
        (KEPT + 5, 4, ["missed"]),
        (5, 6, ["missed"]),
        (5, -1, ["missed"]),
        (0, 1, ["missed"]),
    ],
)
async def test_who_comes_back_hears_what_came_since_then_or_that_it_was_missed(
    told: int, after: int, expected: list[int | str]
) -> None:
    events = Events()
    tell(events, told)
    with events.listen(None, after) as reader:
        events.publish("ready", {})
        heard = await drained(reader, len(expected) + 1)
    assert [event.kind if event.kind == "missed" else event.number for event in heard[:-1]] == expected
    assert (heard[-1].kind, heard[-1].number) == ("ready", told + 1)


async def test_of_large_events_fewer_are_kept() -> None:
    events = Events()
    for n in range(10):
        events.publish("page", {"n": n, "long": "x" * 2**20})
    with events.listen(None, 7) as reader:
        assert [event.number for event in await drained(reader, 3)] == [8, 9, 10]
    with events.listen(None, 5) as reader:
        assert [event.kind for event in await drained(reader, 1)] == ["missed"]


async def test_who_comes_back_to_all_that_is_kept_has_room_for_what_happens_meanwhile() -> None:
    events = Events()
    tell(events, KEPT)
    with events.listen(None, 0) as reader:
        tell(events, KEPT // 2)  # before the first of them can be sent
        assert [event.number for event in await drained(reader, KEPT * 3 // 2)] == list(range(1, KEPT * 3 // 2 + 1))
        assert not reader.lost


async def test_who_does_not_keep_up_is_let_go_and_the_others_hear_on() -> None:
    events = Events()
    with events.listen(None, None) as slow, events.listen(None, None) as quick:
        for _ in range(4):
            tell(events, KEPT)
            await drained(quick, KEPT)
        assert slow.lost
        assert await asyncio.wait_for(slow.next(), 5) is None  # what waited for it is forgotten too
        assert not quick.lost
    with events.listen(None, 3 * KEPT) as late:
        assert len(await drained(late, KEPT)) == KEPT  # no more is kept


async def test_at_the_end_all_are_let_go_and_nobody_is_taken_any_more() -> None:
    events = Events()
    with events.listen(None, None) as reader:
        tell(events, 10)
        events.close()
        assert await asyncio.wait_for(reader.next(), 5) is None
        assert not reader.lost
    with pytest.raises(Unavailable, match="stopping"), events.listen(None, None):
        pass


async def test_so_many_may_listen_and_no_more() -> None:
    events = Events()
    with ExitStack() as listening:
        for _ in range(64):
            listening.enter_context(events.listen(None, None))
        with pytest.raises(Unavailable, match="64 listen already"), events.listen(None, None):
            pass
    with events.listen(None, None):
        assert events.heard


def streamed(
    events: Events, present: Callable[[], Awaitable[list[DocsetResponse]]], ended: asyncio.Event
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of /events, on events that a test publishes; `ended` is set when one reader is let go."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await stream(request, events, "run", None, present)
        finally:
            ended.set()

    return handle


async def test_a_client_that_leaves_makes_room_at_once_though_nothing_is_told() -> None:
    events, ended = Events(), asyncio.Event()

    async def nothing() -> list[DocsetResponse]:
        return []

    async with served(streamed(events, nothing, ended), unread_s=60) as server:
        answer, client = await asyncio.open_connection("127.0.0.1", port_of(server))
        client.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await answer.readuntil(b"\r\n\r\n")
        assert events.heard
        client.close()
        async with asyncio.timeout(10):  # an attempt to write comes after 15 s
            await ended.wait()
        assert not events.heard


async def test_a_client_that_does_not_read_is_cut_off_while_another_hears_everything() -> None:
    """The real server, with what a test can publish in no time."""
    events, number, size = Events(), 4_000, 2_500  # more than the system's buffers take and the memory keeps
    both_listen, one_is_let_go = asyncio.Barrier(3), asyncio.Event()

    async def nothing() -> list[DocsetResponse]:
        await both_listen.wait()
        return []

    heard: list[int] = []
    async with (
        served(streamed(events, nothing, one_is_let_go), unread_s=60) as server,
        deaf_client(port_of(server)) as deaf,
        ClientSession() as client,
    ):
        asking = asyncio.create_task(client.get(f"http://127.0.0.1:{port_of(server)}/"))
        await asyncio.wait_for(both_listen.wait(), 10)
        answer = await asking
        for n in range(number):
            events.publish("page", {"text": "x" * size, "n": n})
            if n % 100 == 99:  # it keeps up, the other one does not
                while len(heard) <= n:
                    line = await asyncio.wait_for(answer.content.readline(), 10)
                    if line.startswith(b"id: "):
                        heard.append(int(line.rpartition(b"-")[2]))
        await asyncio.wait_for(one_is_let_go.wait(), 30)
        received = b""
        with suppress(ConnectionError):
            while some := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(deaf, 65_536), 10):
                received += some
        assert len(received) < size * number / 2
        assert not received.endswith(b"\r\n0\r\n\r\n")  # it is cut off, and not at an end
        assert events.heard
        answer.close()
    assert heard == list(range(1, number + 1))


# -- over HTTP


@dataclass(frozen=True)
class Heard:
    id: str | None
    kind: str
    data: dict[str, Any]

    @property
    def number(self) -> int:
        assert self.id is not None
        return int(self.id.rpartition("-")[2])


class Listener(threading.Thread):
    """A client of `GET /events`; entered, it has heard how things stand."""

    def __init__(self, daemon: Daemon, docset_id: str | None = None, last: str | None = None) -> None:
        super().__init__(daemon=True)
        query = "" if docset_id is None else f"?docsetId={docset_id}"
        self._url = f"{daemon.url}/events{query}"
        self._headers = {} if last is None else {"Last-Event-ID": last}
        self.heard: list[Heard] = []
        self.began, self.over, self._leaving = threading.Event(), threading.Event(), False
        self._response: httpx.Response | None = None

    def run(self) -> None:
        fields: dict[str, str] = {}
        try:
            with httpx.stream("GET", self._url, headers=self._headers, timeout=60) as response:
                assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
                self.began.set()
                for line in response.iter_lines():
                    if self._leaving:
                        return
                    if line:
                        name, _, value = line.partition(": ")
                        fields[name] = value
                    elif "event" in fields:
                        self.heard.append(Heard(fields.get("id"), fields["event"], json.loads(fields["data"])))
                        fields = {}
                    else:
                        fields = {}
        except httpx.TransportError:
            pass
        finally:
            self.over.set()

    def of(self, *kinds: str) -> list[Heard]:
        """What was heard of some kinds."""
        return [each for each in list(self.heard) if each.kind in kinds]

    def wait_for(self, holds: Callable[[Heard], bool], what: str) -> None:
        wait_until(lambda: any(holds(each) for each in list(self.heard)), what)

    def __enter__(self) -> "Listener":
        self.start()
        assert self.began.wait(30)
        return self

    def __exit__(self, *trouble: object) -> None:
        self._leaving = True


def told(listener: Listener) -> list[Heard]:
    """What was told, without how things stood at the begin."""
    return [each for each in list(listener.heard) if each.id is not None]


def is_complete(docset: dict[str, Any]) -> bool:
    counts = docset["indexStatus"]
    return bool(docset["status"] == "ready" and counts["embeddedChunks"] == counts["totalChunks"] > 0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("events") / "data"
    with Daemon(folder, cache_dir, requests_per_host=AT_ONCE, request_attempts=1, keep_alive=True) as running:
        yield running


def begin(daemon: Daemon, site: Site, **more: object) -> str:
    return str(daemon.post("/index", baseUrl=site.url, seedSlug="/docs/", **more)["docsetId"])


def test_a_crawl_a_refresh_and_a_deletion_are_told_whole_and_in_order(shared: Daemon, generated: StoppingSite) -> None:
    """Two listen: one all the time, one that goes in between and comes back."""
    generated.begin(hold_after=15)
    with Listener(shared) as all_along:
        with Listener(shared) as leaves:
            docset_id = begin(shared, generated)
            wait_until(lambda: len(leaves.of("page")) == 15, "15 pages")
        last = told(leaves)[-1].id
        generated.let_go()
        all_along.wait_for(lambda each: each.kind == "progress" and is_complete(each.data), "the end of the crawl")

        with Listener(shared, last=last) as back:
            wait_until(lambda: len(told(leaves)) + len(told(back)) >= len(told(all_along)), "what came since then")
            pages = all_along.of("page")
            paths = sorted(each.data["url"].removeprefix(generated.url) for each in pages)
            assert paths == sorted(generated.pages)  # each once
            assert {(each.data["docsetId"], each.data["status"]) for each in pages} == {(docset_id, "indexed")}
            (ready,) = all_along.of("ready")
            assert ready.data == {"docsetId": docset_id, "status": "ready", "message": None}
            assert ready.number > pages[-1].number
            progress = [each for each in told(all_along) if each.kind == "progress"]
            seen = [each.data["indexStatus"]["indexedPages"] for each in progress]
            assert (seen, seen[-1]) == (sorted(seen), PAGES + 1)
            numbers = [each.number for each in told(all_along)]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # nothing is left out

            heard_in_two = [each.number for each in [*told(leaves), *told(back)]]
            assert heard_in_two == numbers[: len(heard_in_two)]  # no loss, nothing twice

            before = len(told(all_along))
            generated.begin(hold_after=5)
            changed, original = "/docs/p5", generated.pages["/docs/p5"]
            generated.pages[changed] = str(original).replace("Part 0", "Part zero")
            assert shared.post("/refresh", docsetId=docset_id, force=True)["refreshed"] is True
            all_along.wait_for(lambda each: each.kind == "progress" and bool(each.data["refresh"]), "the refresh's progress")
            generated.let_go()
            all_along.wait_for(lambda each: each.kind == "ready" and each.number > ready.number, "the end of the refresh")
            all_along.wait_for(
                lambda each: (
                    each.id is not None and each.kind == "progress" and (each.data["lastRefresh"] or {}).get("done", False)
                ),
                "the refresh's report",
            )
            of_refresh = [each for each in told(all_along)[before:] if each.kind == "page"]
            assert len({each.data["url"] for each in of_refresh}) == len(of_refresh) == PAGES + 1
            generated.pages[changed] = original

            shared.request("DELETE", f"/docset/{docset_id}").raise_for_status()
            all_along.wait_for(lambda each: each.kind == "deleted", "the deletion")
            assert all_along.of("deleted")[0].data == {"docsetId": docset_id}


def test_failures_and_sessions_are_told_and_a_docset_can_be_chosen(shared: Daemon) -> None:
    with Site({"/docs/": "<h1>Docs</h1><p>Some text.</p>"}) as site, Site({"/docs/": Answer(500)}) as broken:
        mine = begin(shared, site)
        shared.wait_ready(mine)
        with Listener(shared) as everything, Listener(shared, mine) as chosen:
            chosen.wait_for(lambda each: each.id is None, "how it stands")
            assert [each.data["id"] for each in chosen.heard if each.id is None] == [mine]  # how it stands
            failed = begin(shared, broken, waitForSeed=False)
            everything.wait_for(lambda each: each.kind == "failed" and each.data["docsetId"] == failed, "the failure")
            shared.post("/session/register", sessionId="one")
            shared.post("/session/unregister", sessionId="one")
            wait_until(lambda: len(everything.of("session")) == 2, "two sessions' events")
            assert [each.data for each in everything.of("session")] == [
                {"sessionId": "one", "change": "registered", "count": 1},
                {"sessionId": "one", "change": "unregistered", "count": 0},
            ]
            assert "500" in everything.of("failed")[0].data["message"]
            shared.request("DELETE", f"/docset/{failed}")
            shared.request("DELETE", f"/docset/{mine}")
            chosen.wait_for(lambda each: each.kind == "deleted", "the deletion")
            assert {each.data.get("docsetId", each.data.get("id")) for each in chosen.heard} == {mine}
    assert shared.request("GET", "/events", params={"docsetId": mine}).status_code == 404


def test_what_began_and_ended_between_two_looks_is_told_too(shared: Daemon) -> None:
    with Site({"/docs/": "<title>Quick</title><h1>Docs</h1><p>Text number 0.</p>"}) as site, Listener(shared) as listener:
        docset_id = begin(shared, site)
        listener.wait_for(lambda each: each.kind == "progress" and is_complete(each.data), "the crawl")
        wait_until(lambda: len(listener.of("ready")) == 1, "the end of the crawl")
        for n in range(1, 6):
            site.pages["/docs/"] = f"<title>Quick</title><h1>Docs</h1><p>Text number {n}.</p>"
            shared.post("/refresh", docsetId=docset_id, force=True)
            wait_until(lambda n=n: len(listener.of("ready")) == n + 1, "the refresh")  # type: ignore[misc]
            ended = shared.get(f"/docset/{docset_id}")["lastRefresh"]["endedAt"]
            listener.wait_for(
                lambda each, ended=ended: each.kind == "progress" and (each.data["lastRefresh"] or {}).get("endedAt") == ended,  # type: ignore[misc]
                f"the report of refresh {n}",
            )
        shared.request("DELETE", f"/docset/{docset_id}")


@pytest.mark.parametrize("last", ["0123456789abcdef-1", "nonsense", "{instance}-999999", "{instance}--1", "{instance}-x"])
def test_what_was_told_by_another_run_is_missed(shared: Daemon, last: str) -> None:
    shared.post("/session/register", sessionId="one")
    with Listener(shared, last=last.format(instance=shared.get("/health")["instance"])) as listener:
        listener.wait_for(lambda each: each.kind == "missed", "that it was missed")
        missed = listener.of("missed")[0]
        assert missed.data == {"message": "Events were missed; ask for the status."}
        with Listener(shared, last=missed.id) as back:  # from there on nothing is
            shared.post("/session/unregister", sessionId="one")
            back.wait_for(lambda each: each.kind == "session", "the next event")
            assert back.of("missed") == []


def test_who_listens_is_let_go_at_a_stop_which_waits_for_nobody(make_daemon: Callable[..., Daemon]) -> None:
    with make_daemon() as daemon, ExitStack() as listening:
        listeners = [listening.enter_context(Listener(daemon)) for _ in range(20)]
        deaf = listening.enter_context(socket.create_connection(("127.0.0.1", int(daemon.url.rpartition(":")[2]))))
        deaf.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        daemon.end()
        assert all(listener.over.wait(10) for listener in listeners)
        assert "stopped without waiting" not in daemon.log()
        assert daemon.log().rstrip().endswith("stopped")


# -- on a terminal


def test_index_shows_its_way_on_a_terminal(shared: Daemon, generated: StoppingSite) -> None:
    generated.begin(hold_after=15)
    with Terminal(shared.environment, "index", f"{generated.url}/docs/", "--name", "Bar") as terminal:
        terminal.wait_for("15 pages, ")
        assert re.search(r"\[#+-+\] .*15 pages, \d+ chunks, \d+ embedded/s, \d+ pages to go", terminal.shown)
        generated.let_go()
        code, shown = terminal.ended()
    assert code == 0, shown
    assert re.search(rf"{PAGES + 1} pages, \d+ chunks, \d+ embedded/s, done", shown)
    assert f"pages   {PAGES + 1} indexed" in shown
    assert "Traceback" not in shown
    shared.request("DELETE", f"/docset/{shared.get('/status')['docsets'][0]['id']}").raise_for_status()


def test_index_shows_that_a_site_is_down_and_ctrl_c_leaves_the_crawl_running(make_daemon: Callable[..., Daemon]) -> None:
    links = "".join(f'<a href="p{n}">p{n}</a>' for n in range(6))
    pages: dict[str, str | Answer] = {"/docs/": f"<title>Down</title><h1>Down</h1><p>It was up.</p>{links}"}
    pages |= {f"/docs/p{n}": f"<h1>Page {n}</h1><p>The text of page {n}.</p>" for n in range(6)}
    with GoingDown(pages) as site, make_daemon(request_attempts=1, down_pause_s=1) as daemon:
        with Terminal(daemon.environment, "index", f"{site.url}/docs/") as terminal:
            terminal.wait_for("Paused: ")
            assert re.search(r"Paused: .*500.*\. The site is tried again at \d\d:\d\d:\d\d\.", terminal.shown)
            terminal.press(CTRL_C)
            code, shown = terminal.ended()
        assert code == 130
        assert shown.rstrip().endswith("The crawl goes on; see `docworker status`.")
        assert "Traceback" not in shown
        site.up = True
        docset_id = daemon.get("/status")["docsets"][0]["id"]
        assert daemon.wait_ready(docset_id)["indexStatus"]["indexedPages"] == 7


def test_status_watch_shows_what_changes_and_ends_quietly(shared: Daemon, generated: StoppingSite) -> None:
    generated.begin(hold_after=15)
    docset_id = begin(shared, generated, name="Watched")
    wait_until(lambda: shared.get(f"/docset/{docset_id}")["indexStatus"]["indexedPages"] == 15, "15 pages")
    with Terminal(shared.environment, "status", "Watched", "--watch") as terminal:
        terminal.wait_for("15 indexed")
        generated.let_go()
        terminal.wait_for(f"{PAGES + 1} indexed")
        terminal.wait_for("ready")
        terminal.press(CTRL_C)
        code, shown = terminal.ended()
    assert code == 130
    assert "Traceback" not in shown
    assert "Aborted" not in shown
    shared.request("DELETE", f"/docset/{docset_id}").raise_for_status()


def test_json_is_one_document_so_it_does_not_go_with_watch(shared: Daemon) -> None:
    finished = run(shared, "status", "--watch", "--json")
    assert done(finished, 2) == ""
    assert "--json prints one document" in finished.stderr


# -- when the daemon goes


FOLLOWING = [["index", "{url}/docs/"], ["index", "{url}/docs/", "--json"], ["status", "--watch"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_command_that_follows_says_in_one_sentence_that_its_daemon_is_gone(
    make_daemon: Callable[..., Daemon], number: signal.Signals
) -> None:
    with StoppingSite() as site, make_daemon(requests_per_host=AT_ONCE) as daemon:
        site.begin(hold_after=5)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "cli", *(part.format(url=site.url) for part in command)],
                env=daemon.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for command in FOLLOWING
        ]
        wait_until(lambda: site.asked_for_pages == 5 + AT_ONCE, "the site's holding still")
        for process in processes:
            wait_until(lambda pid=process.pid: listening(pid, daemon), "the command's listening")  # type: ignore[misc]
        daemon.end(number)
        for command, process in zip(FOLLOWING, processes, strict=True):
            out, err = process.communicate(timeout=30)
            finished = subprocess.CompletedProcess(command, process.returncode, "" if command[0] == "status" else out, err)
            assert_one_sentence(finished, 3, r"^The daemon (is stopping; what is under way goes on|does not answer any more)")


def listening(pid: int, daemon: Daemon) -> bool:
    """Whether a process is connected to the daemon for a while: it follows what happens."""
    import psutil

    port = int(daemon.url.rpartition(":")[2])

    def connected() -> set[int]:
        try:
            found = psutil.Process(pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            return set()
        return {each.laddr.port for each in found if each.raddr and each.raddr.port == port}

    first = connected()
    time.sleep(0.3)  # a connection for one question is gone by then, or idle: then it asks no more before it follows
    return bool(first & connected())


def test_ctrl_c_before_the_first_page_is_there_leaves_the_crawl_running_too(shared: Daemon, generated: StoppingSite) -> None:
    generated.begin(hold_after=0)
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "index", f"{generated.url}/docs/"],
        env=shared.environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: generated.asked_for_pages == 1, "the first request")
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "The crawl goes on; see `docworker status`.\n")
    generated.let_go()
    docset_id = shared.get("/status")["docsets"][0]["id"]
    assert shared.wait_ready(docset_id)["indexStatus"]["indexedPages"] == PAGES + 1
    shared.request("DELETE", f"/docset/{docset_id}").raise_for_status()
