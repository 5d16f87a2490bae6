"""What a site is spared, and how a crawl outlasts a site that fails: a real daemon, times and counts as the site sees them."""

import math
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, wait_until
from tests.site import Answer, Faults, Site

AT_ONCE, ATTEMPTS, ROUNDS = 3, 2, 3
WITHOUT_MODEL = {"model_dir": "/nowhere", "model_download": "false"}
PAUSED = r"^Paused: .*[^.]\. The site is tried again at \d\d:\d\d:\d\d\.$"


class Watched(Site):
    """Notes when requests come and when answers begin, and how many are between the two; may go down."""

    def __init__(self, pages: Mapping[str, str | Answer], *, port: int = 0, faults: Faults | None = None) -> None:
        super().__init__(pages, port=port, faults=faults)
        self.begun: list[tuple[str, float]] = []
        self.done: list[tuple[str, int, float]] = []
        self.under_way = self.most_under_way = 0
        self.down: str | None = None  # how: the status of every answer, or "closes" every connection
        self.down_after: int | None = None  # so many pages answered
        self.spared: frozenset[str] = frozenset()  # paths that are never down
        self._lock = threading.Lock()

    def asked(self, path: str, headers: Mapping[str, str]) -> int:
        with self._lock:
            self.begun.append((path, time.time()))
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        return super().asked(path, headers)

    def answer_to(self, path: str, scheme: str) -> Answer:
        with self._lock:
            if self.down_after is not None and sum(path.startswith("/docs") for path, _, _ in self.done) >= self.down_after:
                self.down, self.down_after = self.down or "503", None
            down = self.down if self.down_after is None and path not in self.spared else None
            if self.ended.is_set() or down == "closes":
                self.under_way -= 1
                raise ConnectionResetError
        return Answer(int(down), "Down") if down else super().answer_to(path, scheme)

    def answered(self, path: str, status: int) -> None:
        with self._lock:
            self.under_way -= 1
            self.done.append((path, status, time.time()))
        super().answered(path, status)

    def go_down(self, how: str, after: int) -> None:
        self.down, self.down_after = how, after

    def come_back(self) -> None:
        with self._lock:
            self.down = self.down_after = None


def page(title: str, *links: str) -> str:
    anchors = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    text = f"The {title} is described here, and nowhere else, in a sentence or two."
    return f"<title>{title} — Manual</title><main><h1>{title}</h1><p>{text}</p></main><nav><ul>{anchors}</ul></nav>"


def manual(pages: int) -> dict[str, str | Answer]:
    """A seed and so many pages below it."""
    made: dict[str, str | Answer] = {f"/docs/p{number}": page(f"Page {number}") for number in range(1, pages + 1)}
    return {"/docs/": page("Start", *made), **made}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests that need no settings of their own."""
    folder = tmp_path_factory.mktemp("politeness")
    settings = {**WITHOUT_MODEL, "requests_per_host": AT_ONCE, "request_attempts": ATTEMPTS, "down_pause_s": 0.3}
    with Daemon(folder / "data", folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One that makes one request at once: none is on its way when an answer says something."""
    folder = tmp_path_factory.mktemp("single")
    settings = {**WITHOUT_MODEL, "requests_per_host": 1, "request_attempts": ATTEMPTS, "down_pause_s": 0.3}
    with Daemon(folder / "data", folder, **settings) as running:
        yield running


def begin(daemon: Daemon, site: Site) -> str:
    """Start a docset and do not wait for its seed; one of an earlier site at the same port is removed."""
    for docset in daemon.get("/status")["docsets"]:
        if docset["baseUrl"] == site.url:
            daemon.request("DELETE", f"/docset/{docset['id']}").raise_for_status()
    return str(daemon.post("/index", baseUrl=site.url, seedSlug="/docs/", waitForSeed=False)["docsetId"])


def states(daemon: Daemon, docset_id: str) -> dict[str, tuple[str, str | None]]:
    """(status, message) of each page by its path."""
    listed = daemon.get(f"/docset/{docset_id}/pages", limit=500)["pages"]
    return {found["path"]: (found["status"], found["errorMessage"]) for found in listed}


def wait_paused(daemon: Daemon, docset_id: str) -> Any:
    """The docset as it is paused; it must not end before."""
    seen: list[Any] = []

    def paused() -> bool:
        docset = daemon.get(f"/docset/{docset_id}")
        assert docset["status"] in ("pending", "indexing"), docset
        seen.append(docset)
        return (docset["message"] or "").startswith("Paused: ")  # soon after a start it waits for the index

    wait_until(paused, "the pause")
    return seen[-1]


def assert_all_indexed(docset: Any, pages: int) -> None:
    counts = docset["indexStatus"]
    assert (docset["status"], docset["message"]) == ("ready", None)
    assert (counts["totalPages"], counts["indexedPages"], counts["errorPages"], counts["pendingPages"]) == (pages, pages, 0, 0)


# -- how fast, how much at once


def test_a_crawl_delay_spaces_requests(shared: Daemon) -> None:
    robots = "User-agent: *\nCrawl-delay: 25\n\nUser-agent: docworker\nCrawl-delay: 0.3\n"
    with Watched(manual(5) | {"/robots.txt": Answer(body=robots, content_type="text/plain")}) as site:
        assert_all_indexed(shared.wait_ready(begin(shared, site)), 6)
        assert site.begun[0][0] == "/robots.txt"
        times = [when for _, when in site.begun[1:]]
    assert len(times) >= 6
    assert min(b - a for a, b in pairwise(times)) > 0.05
    assert times[-1] - times[0] >= 0.3 * (len(times) - 1) - 0.2  # requests may come late; the first one too


def test_no_more_requests_are_under_way_than_is_set(shared: Daemon) -> None:
    with Watched(manual(20)) as site:
        docset_id = begin(shared, site)
        wait_until(lambda: any(path == "/docs/" for path, _, _ in site.done), "the seed")
        site.gate.clear()
        wait_until(lambda: site.under_way >= AT_ONCE, "as many requests under way as are allowed")
        time.sleep(0.5)
        assert site.under_way == AT_ONCE
        site.gate.set()
        assert_all_indexed(shared.wait_ready(docset_id), 21)
        assert site.most_under_way == AT_ONCE


def test_two_docsets_of_one_host_share_its_limit(shared: Daemon) -> None:
    pages = manual(10) | {path.replace("/docs", "/other"): text for path, text in manual(10).items()}
    pages["/other/"] = page("Others", *(f"/other/p{number}" for number in range(1, 11)))
    slow = {path: Answer(body=str(text), delay_s=0.05) for path, text in pages.items()}
    with Watched(slow) as site:
        docset_id = begin(shared, site)
        other = shared.post("/index", baseUrl=site.url, seedSlug="/other/", waitForSeed=False)["docsetId"]
        for each in (docset_id, other):
            assert_all_indexed(shared.wait_ready(each), 11)
        assert 1 < site.most_under_way <= AT_ONCE


@pytest.mark.parametrize("status", [429, 503])
def test_no_request_of_any_kind_comes_before_a_rest_is_over(single: Daemon, status: int) -> None:
    tired: dict[str, float] = {}

    class Tired(Watched):
        def answer_to(self, path: str, scheme: str) -> Answer:
            if path not in ("/robots.txt", "/docs/", "/docs/p2", "/sitemap.xml") or path in tired:
                return super().answer_to(path, scheme)
            as_date = len(tired) % 2 == 1
            tired[path] = math.ceil(time.time()) + 1 if as_date else time.time() + 1
            return Answer(status, headers={"Retry-After": formatdate(tired[path], usegmt=True) if as_date else "1"})

    with Tired(manual(3)) as site:
        docset = single.wait_ready(begin(single, site))
        assert_all_indexed(docset, 4)
        assert docset["indexStatus"]["retriedPages"] == 2
        assert tired.keys() == {"/robots.txt", "/docs/", "/docs/p2", "/sitemap.xml"}
        for path, until in tired.items():
            answered = next(when for done, said, when in site.done if (done, said) == (path, status))
            following = min(when for _, when in site.begun if when > answered)
            assert following >= until - 0.02, path  # two clocks of one machine


def test_a_long_rest_pauses_the_docset_and_nothing_is_asked(shared: Daemon) -> None:
    with Watched(manual(12)) as site:
        site.pages["/docs/p4"] = Answer(503, headers={"Retry-After": "600"})
        docset_id = begin(shared, site)
        docset = wait_paused(shared, docset_id)
        when = re.search(r"^Paused: .*tried again at (\d\d:\d\d:\d\d)\.$", docset["message"])
        assert when, docset["message"]
        in_10_minutes = [time.strftime("%H:%M:%S", time.localtime(time.time() + 600 + seconds)) for seconds in range(-60, 5)]
        assert when[1] in in_10_minutes
        wait_until(lambda: site.under_way == 0, "the end of what was under way")
        asked = site.requests.total()
        time.sleep(1)
        assert site.requests.total() == asked
        assert shared.get(f"/docset/{docset_id}")["indexStatus"]["errorPages"] == 0
        shared.request("DELETE", f"/docset/{docset_id}").raise_for_status()


# -- failures now and then


def test_failures_now_and_then_cost_no_page_and_are_counted(shared: Daemon) -> None:
    with Watched(manual(30), faults=Faults(fail=0.1, cut=0.1, seed=3)) as site:
        docset_id = begin(shared, site)
        docset = shared.wait_ready(docset_id)
        assert_all_indexed(docset, 31)
        again = {path: number for path, number in site.requests.items() if path.startswith("/docs/p") and number > 1}
        assert len(again) >= 3, "the faults are too few to show anything"
        assert docset["indexStatus"]["retriedPages"] == len(again)
        for path, number in again.items():
            (why,) = shared.get("/why", url=site.url + path, docsetId=docset_id)["docsets"]
            assert (why["status"], why["requests"]) == ("indexed", number)


BAD: dict[str, Answer] = {
    "500": Answer(500, "broken"),
    "closes": Answer(),
    "breaks off": Answer(body=page("Broken"), cut_at=20),
    "damaged": Answer(body=b"\x1f\x8b\x08\x00 this is no gzip", headers={"Content-Encoding": "gzip"}),
}


@pytest.fixture(scope="module")
def with_a_bad_page(shared: Daemon) -> Iterator[dict[str, tuple[Watched, Any]]]:
    """Sites with one page that always fails, and their docsets."""

    class OneBad(Watched):
        def answer_to(self, path: str, scheme: str) -> Answer:
            if path == "/docs/p5" and self.pages[path] == BAD["closes"]:
                raise ConnectionResetError
            return super().answer_to(path, scheme)

    with ExitStack() as open_sites:
        sites = {how: open_sites.enter_context(OneBad(manual(10) | {"/docs/p5": bad})) for how, bad in BAD.items()}
        started = {how: begin(shared, site) for how, site in sites.items()}
        yield {how: (sites[how], shared.wait_ready(docset_id)) for how, docset_id in started.items()}


@pytest.mark.parametrize("how", BAD)
def test_a_page_that_always_fails_is_one_error_and_the_docset_does_not_pause(
    shared: Daemon, with_a_bad_page: dict[str, tuple[Watched, Any]], how: str
) -> None:
    site, docset = with_a_bad_page[how]
    counts = docset["indexStatus"]
    assert (docset["status"], docset["message"]) == ("ready", None)
    assert (counts["indexedPages"], counts["errorPages"], counts["pendingPages"], counts["retriedPages"]) == (10, 1, 0, 1)
    status, message = states(shared, docset["id"])["/docs/p5"]
    assert status == "error"
    assert message is not None
    assert f"({ATTEMPTS} attempts)" in message
    assert site.requests["/docs/p5"] == ATTEMPTS * ROUNDS
    assert f"docset {docset['id']}: Paused" not in shared.log()


def test_a_sitemap_that_fails_for_a_while_is_read_in_the_end(shared: Daemon) -> None:
    class Late(Watched):
        def answer_to(self, path: str, scheme: str) -> Answer:
            if path == "/sitemap.xml" and self.requests[path] <= ATTEMPTS:
                return Answer(500)
            return super().answer_to(path, scheme)

    pages = manual(3)
    with Late(pages | {"/docs/hidden": page("Hidden")}) as site:
        site.pages["/sitemap.xml"] = Answer(
            body=f"<urlset><url><loc>{site.url}/docs/hidden</loc></url></urlset>", content_type="application/xml"
        )
        docset_id = begin(shared, site)
        shared.wait_ready(docset_id)
        assert states(shared, docset_id).get("/docs/hidden") == ("indexed", None)


# -- a site that goes down


def test_a_site_that_goes_down_pauses_its_docset_until_it_is_back(single: Daemon) -> None:
    pages = manual(8)
    with ExitStack() as open_sites:
        sites = {how: Watched(pages) for how in ("503", "closes", "stopped")}
        for how, site in sites.items():
            site.go_down("503" if how == "503" else "closes", after=4)
            open_sites.enter_context(site)
        started = {how: begin(single, site) for how, site in sites.items()}
        for how, docset_id in started.items():
            wait_paused(single, docset_id)
            if how == "stopped":
                port = int(sites[how].url.rpartition(":")[2])
                sites[how].__exit__(None, None, None)
        deadline = time.monotonic() + 1.5  # some further tries
        while time.monotonic() < deadline:
            for how, docset_id in started.items():
                docset = single.get(f"/docset/{docset_id}")
                counts = docset["indexStatus"]
                assert docset["status"] == counts["status"] == "indexing", how
                assert re.search(PAUSED, docset["message"]), docset["message"]
                assert counts["errorPages"] == 0, how
                assert counts["indexedPages"] >= 3
                assert counts["indexedPages"] + counts["pendingPages"] == 9, how
        for site in (sites["503"], sites["closes"]):
            site.come_back()
        open_sites.enter_context(Watched(pages, port=port))
        for docset_id in started.values():
            assert_all_indexed(single.wait_ready(docset_id), 9)
            assert f"docset {docset_id}: Paused" in single.log()


def test_a_site_that_goes_down_but_for_its_robots_txt_pauses_too(shared: Daemon) -> None:
    with Watched(manual(8)) as site:
        site.spared = frozenset({"/robots.txt"})
        site.go_down("closes", after=4)
        docset_id = begin(shared, site)
        wait_until(lambda: site.down is not None and site.down_after is None, "the site going down")
        wait_paused(shared, docset_id)
        site.come_back()
        assert_all_indexed(shared.wait_ready(docset_id), 9)


@pytest.mark.parametrize("status", ["521", "530"])
def test_a_site_that_is_gone_behind_its_proxy_pauses_too(shared: Daemon, status: str) -> None:
    """Cloudflare's: the server behind it is down, or its name is not known."""
    with Watched(manual(8)) as site:
        site.go_down(status, after=4)
        docset_id = begin(shared, site)
        wait_paused(shared, docset_id)
        site.come_back()
        assert_all_indexed(shared.wait_ready(docset_id), 9)


def test_a_daemon_that_is_stopped_during_a_pause_goes_on_at_its_next_start(tmp_path: Path) -> None:
    """It is stopped in a long pause, starts while the site is still down, and is stopped again while the site is tried."""
    settings = {**WITHOUT_MODEL, "requests_per_host": AT_ONCE, "request_attempts": ATTEMPTS, "down_pause_s": 900}
    with Watched(manual(8)) as site, Daemon(tmp_path / "data", tmp_path, **settings) as daemon:

        def stop() -> set[str]:
            """The pages that were answered before, each of which is indexed."""
            before = daemon.get(f"/docset/{docset_id}")["indexStatus"]["indexedPages"]
            begun = time.monotonic()
            daemon.end()
            assert time.monotonic() - begun < 15
            assert daemon.process is not None
            assert daemon.process.returncode == 0
            assert daemon.log().rstrip().endswith("stopped")
            site.gate.set()
            answered = {path for path, status, _ in site.done if path.startswith("/docs") and status == 200}
            assert len(answered) == before
            return answered

        site.go_down("closes", after=4)
        docset_id = begin(daemon, site)
        wait_paused(daemon, docset_id)
        answered = stop()

        daemon.environment["DOCWORKER_DOWN_PAUSE_S"] = "0.3"
        asked = site.requests.total()
        daemon.start()
        wait_until(lambda: site.requests.total() > asked, "a try, whatever is left of the pause")
        docset = wait_paused(daemon, docset_id)
        assert re.search(PAUSED, docset["message"])
        assert docset["indexStatus"]["errorPages"] == 0
        site.gate.clear()
        site.come_back()
        wait_until(lambda: site.under_way > 0, "the next try")
        assert stop() == answered

        daemon.start()
        assert_all_indexed(daemon.wait_ready(docset_id), 9)
        for path in answered - {"/docs/"}:  # which is asked whether the site is back
            assert site.requests[path] == 1, "what was indexed is not asked again"


def test_a_docset_can_be_deleted_during_its_pause(shared: Daemon) -> None:
    with Watched(manual(8)) as site:
        site.go_down("closes", after=4)
        docset_id = begin(shared, site)
        wait_paused(shared, docset_id)
        shared.request("DELETE", f"/docset/{docset_id}").raise_for_status()
        wait_until(lambda: site.under_way == 0, "the end of what was under way")
        asked = site.requests.total()
        time.sleep(1)
        assert site.requests.total() == asked
        assert shared.request("GET", f"/docset/{docset_id}").status_code == 404


# -- a site that is down from the beginning


def assert_refused(daemon: Daemon, url: str, match: str) -> None:
    """The request fails with one sentence, and no docset is left behind."""
    answer = daemon.request("POST", "/index", json={"baseUrl": url, "seedSlug": "/docs/"})
    assert answer.status_code == 502, answer.text
    assert re.search(match, answer.json()["error"]), answer.text
    assert url not in [docset["baseUrl"] for docset in daemon.get("/status")["docsets"]]


def test_a_site_where_nothing_listens_is_said_at_once(shared: Daemon) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert_refused(shared, url, f"Nothing listens at {url.removeprefix('http://')}")


@pytest.mark.parametrize("how", ["503", "closes"])
def test_a_site_that_only_fails_is_said_at_once(shared: Daemon, how: str) -> None:
    with Watched(manual(3)) as site:
        site.down = how
        assert_refused(shared, site.url, "The site answered 503" if how == "503" else "The connection to .* failed")


def test_a_seed_that_fails_is_said_at_once(shared: Daemon) -> None:
    with Watched(manual(3) | {"/docs/": Answer(503, headers={"Retry-After": "600"})}) as site:
        assert_refused(shared, site.url, "The site answered 503")
        assert site.requests == {"/robots.txt": 1, "/docs/": 1}


@pytest.mark.parametrize("status", [500, 503])
def test_a_robots_txt_that_cannot_be_read_forbids_everything(shared: Daemon, status: int) -> None:
    with Watched(manual(3) | {"/robots.txt": Answer(status)}) as site:
        site.pages["/sitemap.xml"] = Answer(body=f"{site.url}/docs/p1\n", content_type="text/plain")
        docset = shared.wait_ready(begin(shared, site))
        assert site.requests.keys() == {"/robots.txt"}
        assert docset["status"] == "error"
        assert re.search(f"^robots.txt cannot be read, so nothing may be asked: The site answered {status}", docset["message"])
