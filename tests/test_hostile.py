"""Sites that mean harm or are broken beyond belief: every one comes to an end, is said to have, and costs little.

What bounds each case stands beside it. Throughout, the daemon answers GET /health, and its memory stays below 1.5 GB.
"""

import gzip
import itertools
import re
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
import pytest

from docworker.chunking import chunk
from docworker.crawl.discovery import read_sitemap
from docworker.extract import extract
from tests.daemon import Daemon
from tests.site import Answer, Site
from tests.test_fetcher import Endless, Wire, bomb, drip, response

MAX_PAGES, MAX_DEPTH, MAX_QUERIES, MAX_REDIRECTS, ATTEMPTS, ROUNDS = 25, 15, 10, 10, 2, 3
MAX_BYTES, MAX_ASKED, MAX_LINKS, MAX_SITEMAPS = 4 * 2**20, 5 * MAX_PAGES + 100, 10_000, 100
MAX_TOTAL_BYTES, MAX_SITEMAP_BYTES, MAX_ROBOTS_BYTES = 200 * 2**20, 50 * 2**20, 500 * 2**10
MAX_MEMORY, LONGEST_HEALTH_S = 1.5 * 2**30, 5.0
BUFFERS = 16 * 2**20  # what a site may have given to the operating system before it learns that nobody reads
SETTINGS: Mapping[str, object] = {
    "max_pages": MAX_PAGES,
    "max_depth": MAX_DEPTH,
    "max_queries_per_path": MAX_QUERIES,
    "max_redirects": MAX_REDIRECTS,
    "max_response_bytes": MAX_BYTES,
    "max_page_bytes": MAX_BYTES,
    "max_total_bytes": MAX_TOTAL_BYTES,
    "request_timeout_s": 10,
    "request_attempts": ATTEMPTS,
    "extract_timeout_s": 60,
    "extract_workers": 2,
    "down_pause_s": 0.3,
}


class Watch:
    """Asks a daemon for its health ten times a second, and looks at the memory of its processes."""

    def __init__(self, daemon: Daemon) -> None:
        self._url = daemon.url + "/health"
        assert daemon.process is not None
        self._process = psutil.Process(daemon.process.pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.polls = 0
        self.longest_s = 0.0
        self.most_memory = 0
        self.trouble: str | None = None

    def _look(self) -> None:
        with httpx.Client(timeout=LONGEST_HEALTH_S, verify=False, trust_env=False) as client:
            while self.trouble is None:
                begin = time.monotonic()
                try:
                    answer = client.get(self._url)
                    if answer.status_code != 200:
                        self.trouble = f"/health answered {answer.status_code}"
                except httpx.HTTPError as error:
                    self.trouble = f"/health: {error!r} after {time.monotonic() - begin:.1f} s"
                self.polls += 1
                self.longest_s = max(self.longest_s, time.monotonic() - begin)
                self.most_memory = max(self.most_memory, _memory(self._process))
                if self.most_memory > MAX_MEMORY:
                    self.trouble = self.trouble or f"the daemon took {self.most_memory / 2**20:.0f} MB"
                if self._ended.wait(0.1):
                    return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None:
            assert self.trouble is None, self.trouble
            assert self.polls > 0
            assert self.longest_s < LONGEST_HEALTH_S


def _memory(process: psutil.Process) -> int:
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


class Trap(Site):
    """A site that makes its pages as they are asked for; what it does not make is looked up in `pages`."""

    def __init__(self, make: Callable[[str], str | Answer | None], pages: Mapping[str, str | Answer] | None = None) -> None:
        super().__init__({"/docs/last": page("Last"), **(pages or {})})
        self.make = make

    def answer(self, path: str) -> Answer:
        made = self.make(path)
        if made is None:
            return super().answer(path)
        return made if isinstance(made, Answer) else Answer(body=made)


def page(title: str, *links: str, text: str = "") -> str:
    anchors = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    text = text or f"The {title} is described here, and nowhere else, in a sentence or two."
    return f"<title>{title} — Trap</title><main><h1>{title}</h1><p>{text}</p></main><nav><ul>{anchors}</ul></nav>"


def start(*links: str) -> str:
    """The seed; the last of its pages tells whether the crawl went on."""
    return page("Start", *links, "/docs/last")


@dataclass
class Crawled:
    """What came of a crawl."""

    docset: Any
    pages: dict[str, Any]

    @property
    def message(self) -> str:
        return self.docset["message"] or ""

    def said(self, path: str) -> tuple[str, str]:
        """(status, message) of a page."""
        return self.pages[path]["status"], self.pages[path]["errorMessage"] or ""


def begin(daemon: Daemon, site: Site | Wire) -> str:
    """Start a docset; one of an earlier site at the same port is removed."""
    for docset in daemon.get("/status")["docsets"]:
        if docset["baseUrl"] == site.url:
            daemon.request("DELETE", f"/docset/{docset['id']}").raise_for_status()
    return str(daemon.post("/index", baseUrl=site.url, seedSlug="/docs/", waitForSeed=False)["docsetId"])


def wait(daemon: Daemon, docset_id: str, watch: Watch, timeout_s: float = 90) -> Crawled:
    """The outcome of a crawl, which must come without any trouble on the way."""
    deadline = time.monotonic() + timeout_s
    with httpx.Client(base_url=daemon.url, timeout=2 * LONGEST_HEALTH_S, verify=False, trust_env=False) as client:
        while True:
            assert watch.trouble is None, watch.trouble
            docset = client.get(f"/docset/{docset_id}").raise_for_status().json()
            if docset["status"] in ("ready", "error"):
                break
            assert time.monotonic() < deadline, f"not ready after {timeout_s} s: {docset}"
            time.sleep(0.1)
        pages = client.get(f"/docset/{docset_id}/pages", params={"limit": 500}).raise_for_status().json()["pages"]
    return Crawled(docset, {found["path"]: found for found in pages})


def crawl(daemon: Daemon, site: Site | Wire, timeout_s: float = 90) -> Crawled:
    """Index a site to its end: it is ready, nothing is left to do, and the page after the trap is there."""
    with Watch(daemon) as watch:
        found = wait(daemon, begin(daemon, site), watch, timeout_s)
    counts = found.docset["indexStatus"]
    assert (found.docset["status"], counts["pendingPages"]) == ("ready", 0), found.docset
    assert found.said("/docs/last") == ("indexed", "")
    assert counts["indexedPages"] <= MAX_PAGES
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("hostile") / "data", cache_dir, **SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    """For what takes all the time it is given."""
    settings = {**SETTINGS, "request_attempts": 1, "request_timeout_s": 2, "extract_timeout_s": 8}
    with Daemon(tmp_path_factory.mktemp("impatient") / "data", cache_dir, **settings) as running:
        yield running


def said_and_bounded(found: Crawled, message: str, site: Site, asked: int) -> None:
    """The docset's message says which limit it was, and the site was not asked more often than that."""
    assert re.search(message, found.message), found.message
    assert site.requests.total() <= asked


# -- redirects


def moved(target: str) -> Answer:
    return Answer(302, headers={"Location": target})


@pytest.mark.parametrize("linked", ["one of them", "all of them"])
@pytest.mark.parametrize("length", [1, 2, 3, 10])
def test_a_short_circle_of_redirects(shared: Daemon, length: int, linked: str) -> None:
    """Bound: no URL is asked twice."""
    circle = {f"/docs/c{n}": moved(f"c{(n + 1) % length}") for n in range(length)}
    links = list(circle) if linked == "all of them" else ["/docs/c0"]
    with Trap(lambda path: None, circle | {"/docs/": start(*links)}) as site:
        found = crawl(shared, site)
        assert all(site.requests[path] == 1 for path in circle)
    (left_out,) = [each for each in found.pages.values() if each["path"] in circle]
    assert (left_out["status"], left_out["reason"]) == ("skipped", "redirects")
    if length == 1:
        assert left_out["errorMessage"] == "The page redirects to itself."
    else:
        assert "redirects in a circle: " in left_out["errorMessage"]
        assert left_out["errorMessage"].count(" → ") == length


@pytest.mark.parametrize("length", [30, 10**9])
def test_a_long_circle_and_an_endless_chain_of_redirects(shared: Daemon, length: int) -> None:
    """Bound: max_redirects."""

    def make(path: str) -> Answer | None:
        number = re.fullmatch(r"/docs/r(\d+)", path)
        return moved(f"r{(int(number[1]) + 1) % length}") if number else None

    with Trap(make, {"/docs/": start("r0")}) as site:
        found = crawl(shared, site)
        assert sum(path.startswith("/docs/r") for path in site.requests) == MAX_REDIRECTS + 1
    status, message = found.said(f"/docs/r{MAX_REDIRECTS}")
    assert status == "skipped"
    assert f"through {MAX_REDIRECTS} redirects and redirects again (setting max_redirects)" in message


def test_pages_that_refresh_to_each_other(shared: Daemon) -> None:
    """Bound: no URL is asked twice."""
    pages = {f"/docs/m{n}": f'<meta http-equiv="refresh" content="0; url=m{1 - n}"><h1>Wait</h1>' for n in range(2)}
    with Trap(lambda path: None, {**pages, "/docs/": start("m0")}) as site:
        found = crawl(shared, site)
        assert (site.requests["/docs/m0"], site.requests["/docs/m1"]) == (1, 1)
    (left_out,) = [each for each in found.pages.values() if each["path"] in pages]
    assert "redirects in a circle" in left_out["errorMessage"]


def test_redirects_to_elsewhere(shared: Daemon) -> None:
    """Bound: nothing is asked but the docset's own origin and paths."""
    with Site({"/docs/": page("Elsewhere")}) as other:
        targets = [
            f"{other.url}/docs/", f"//{other.url.removeprefix('http://')}/docs/", "/private", "/docs/../private", "file:///etc/passwd",
            "http://169.254.169.254/latest/meta-data/", "http://[broken",
        ]  # fmt: skip
        pages = {f"/docs/t{n}": moved(target) for n, target in enumerate(targets)}
        with Trap(lambda path: None, {**pages, "/docs/": start(*pages), "/private": page("Private")}) as site:
            found = crawl(shared, site)
            assert "/private" not in site.requests
        assert other.requests.total() == 0
    for path in pages:
        status, message = found.said(path)
        assert status == "skipped"
        assert re.search("redirects to .* which is outside this docset", message), message


def test_a_redirect_to_what_is_no_address(shared: Daemon) -> None:
    """Bound: such a page is asked once, as any that leads outside."""
    with Trap(lambda path: None, {"/docs/": start("script"), "/docs/script": moved("javascript:alert(1)")}) as site:
        found = crawl(shared, site)
        assert found.said("/docs/script")[0] == "skipped"
        assert site.requests["/docs/script"] == 1


def test_a_thousand_stubs_that_redirect(shared: Daemon) -> None:
    """Bound: five URLs asked for each page that may be kept, and 100 more."""

    def make(path: str) -> Answer | None:
        return moved(f"/docs/target{int(path[10:]) % 20}") if path.startswith("/docs/stub") else None

    targets = {f"/docs/target{n}": page(f"Target {n}") for n in range(20)}
    with Trap(make, {**targets, "/docs/": page("Start", "last", *(f"stub{n}" for n in range(1_000)))}) as site:
        found = crawl(shared, site)
        said_and_bounded(found, rf"{MAX_ASKED} were asked, .*{MAX_PAGES} pages.*\d+ more were not", site, MAX_ASKED + 30)
    assert found.docset["indexStatus"]["indexedPages"] == 22


# -- pages without end


def calendar(path: str) -> str | None:
    found = re.fullmatch(r"/docs/cal/(\d+)/(\d+)", path)
    if not found:
        return None
    year, month = divmod(int(found[1]) * 12 + int(found[2]), 12)
    return page(path.removeprefix("/docs/cal/"), f"/docs/cal/{year}/{month + 1}")


def calendar_by_query(path: str) -> str | None:
    found = re.fullmatch(r"/docs/cal\?month=(\d+)", path)
    return page(f"Month {found[1]}", f"?month={int(found[1]) + 1}", f"?month={int(found[1]) + 1}&utm_source=x") if found else None


def permutations(path: str) -> str | None:
    """A list that can be sorted and filtered: each page links to itself with one parameter more, in any order."""
    if not path.startswith("/docs/list"):
        return None
    asked = path.partition("?")[2]
    more = [f"?{asked}&{name}={value}" for name in "abcdefgh" for value in (1, 2, 3)]
    return page(f"List {asked}", *more, *(f"?{'&'.join(order)}" for order in itertools.permutations(asked.split("&")[:4])))


@pytest.mark.parametrize(
    ("make", "first", "match", "asked"),
    [
        # bound: max_depth, since each month is one link farther away
        (calendar, "/docs/cal/2026/11", rf"{MAX_DEPTH} links.*\(max_depth\)", MAX_DEPTH),
        # bound: max_queries_per_path
        (calendar_by_query, "/docs/cal?month=1", rf"{MAX_QUERIES} are kept.*\(max_queries_per_path\)", MAX_QUERIES),
        # bound: max_queries_per_path
        (permutations, "/docs/list", rf"{MAX_QUERIES} are kept.*\(max_queries_per_path\)", MAX_QUERIES + 1),
        # bound: max_depth; all of them have the same text
        (
            lambda path: page("Same", "a/", text="The same.") if path.startswith("/docs/a/") else None,
            "/docs/a/",
            rf"{MAX_DEPTH} links.*\(max_depth\)",
            MAX_DEPTH,
        ),
        # bound: max_pages, long before the depth of a tree
        (
            lambda path: page(f"Node {path}", *(f"{n}/" for n in range(20))) if path.startswith("/docs/tree/") else None,
            "/docs/tree/",
            rf"The limit of {MAX_PAGES} pages \(max_pages\) left out \d+ more",
            MAX_PAGES,
        ),
        # bound: URLs asked, since pages without text are not kept
        (
            lambda path: page("", *(f"{path}{n}/" for n in range(40)), text=" ") if path.startswith("/docs/empty/") else None,
            "/docs/empty/",
            rf"{MAX_ASKED} were asked, .*{MAX_PAGES} pages.*\d+ more were not",
            MAX_ASKED,
        ),
    ],
    ids=["calendar", "calendar by query", "permutations", "growing links", "tree", "tree without text"],
)  # fmt: skip
def test_pages_without_end(shared: Daemon, make: Callable[[str], str | None], first: str, match: str, asked: int) -> None:
    with Trap(make, {"/docs/": start(first)}) as site:
        said_and_bounded(crawl(shared, site), match, site, asked + 4)  # robots.txt, sitemap, seed and last page


def test_thirty_thousand_links_on_one_page(shared: Daemon) -> None:
    """Bound: 10,000 links of a page are followed, of these max_pages."""
    with Trap(lambda path: page(path) if path.startswith("/docs/n") else None) as site:
        site.pages["/docs/"] = page("Start", "last", *(f"n{n}" for n in range(30_000)))
        found = crawl(shared, site)
        said_and_bounded(found, rf"\(max_pages\) left out {MAX_LINKS + 1 - MAX_PAGES} more", site, MAX_PAGES + 3)
    assert re.search(rf"{30_001 - MAX_LINKS} links on pages with over {MAX_LINKS} of them", found.message)
    assert found.docset["indexStatus"]["indexedPages"] == MAX_PAGES


# -- bodies without end


def test_a_body_of_10_gb(shared: Daemon) -> None:
    """Bound: max_response_bytes; what is announced is not even begun."""
    streamed, announced, packed = Endless(), Endless(), Endless(gzip.compress(bytes(2**16)) * 64)
    pages = {
        "/docs/streamed": Answer(stream=streamed),
        "/docs/announced": Answer(stream=announced, headers={"Content-Length": str(10 * 2**30)}),
        "/docs/packed": Answer(stream=packed, headers={"Content-Encoding": "gzip"}),
    }
    with Trap(lambda path: None, {**pages, "/docs/": start(*pages)}) as site:
        found = crawl(shared, site)
        assert {site.requests[path] for path in pages} == {1}
    for path in pages:
        status, message = found.said(path)
        assert status == "skipped"
        assert re.search(rf"larger than {MAX_BYTES} bytes \(setting max_(response|page)_bytes\)", message), message
    assert max(streamed.sent, announced.sent, packed.sent) < BUFFERS


def test_a_bomb_of_1_gb(shared: Daemon) -> None:
    """Bound: max_page_bytes, of what is unpacked."""
    with Trap(lambda path: None, {"/docs/": start("bomb")}) as site:
        site.pages["/docs/bomb"] = Answer(body=bomb(), headers={"Content-Encoding": "gzip"})
        found = crawl(shared, site)
    status, message = found.said("/docs/bomb")
    assert status == "skipped"
    assert f"larger than {MAX_BYTES} bytes (setting max_page_bytes)" in message


HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
SLOW: dict[str, Callable[[], Iterator[bytes]]] = {
    "a body that does not end": lambda: drip(HTML + b"\r\n<h1>"),
    "headers that do not end": lambda: drip(HTML, piece=b"X-More: yes\r\n"),
    "headers that do not come": lambda: drip(piece=b""),
    "hints that do not end": lambda: itertools.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500),
}


@pytest.fixture(scope="module")
def slow(impatient: Daemon) -> Iterator[dict[str, tuple[Wire, Crawled]]]:
    """Sites that cost time-outs, crawled at once."""

    def site(bad: Callable[[], Iterator[bytes]]) -> Wire:
        good = {"/docs/": start("bad"), "/docs/last": page("Last")}

        def talk(path: str) -> Iterator[bytes]:
            if path == "/docs/bad":
                return bad()
            if path in good:
                return iter([response(good[path].encode())])
            return iter([response(b"", status="404 Not Found")])

        return Wire(talk)

    with ExitStack() as sites, Watch(impatient) as watch:
        wires = {name: sites.enter_context(site(bad)) for name, bad in SLOW.items()}
        started = {name: begin(impatient, wire) for name, wire in wires.items()}
        yield {name: (wires[name], wait(impatient, docset_id, watch)) for name, docset_id in started.items()}


@pytest.mark.parametrize("name", SLOW)
def test_an_answer_without_end(slow: dict[str, tuple[Wire, Crawled]], name: str) -> None:
    """Bound: request_timeout_s, for each attempt of three rounds."""
    wire, found = slow[name]
    assert found.docset["status"] == "ready"
    assert found.said("/docs/last") == ("indexed", "")
    assert found.said("/docs/bad") == ("error", "The site did not answer within 2 s (1 attempt).")
    assert wire.requests.count("/docs/bad") == ROUNDS


# -- robots.txt and sitemaps


def text_file(body: str | bytes) -> Answer:
    return Answer(body=body, content_type="text/plain")


@pytest.mark.parametrize("announced", [True, False])
def test_a_robots_txt_of_10_gb(shared: Daemon, announced: bool) -> None:
    """Bound: the first 500 KB are read, and obeyed."""
    endless = Endless(b"# nothing to see here, nor in the next line\n" * 1_000)

    def robots() -> Iterator[bytes]:
        yield b"User-agent: *\nDisallow: /docs/secret\n"
        yield from endless()

    headers = {"Content-Length": str(10 * 2**30)} if announced else {}
    with Trap(lambda path: None, {"/docs/": start("secret"), "/docs/secret": page("Secret")}) as site:
        site.pages["/robots.txt"] = Answer(stream=robots, headers=headers, content_type="text/plain")
        found = crawl(shared, site)
        assert site.requests["/docs/secret"] == 0
    assert found.said("/docs/secret")[0] == "skipped"
    assert "robots.txt forbids it" in found.said("/docs/secret")[1]
    assert endless.sent < BUFFERS


def test_a_robots_txt_of_20_000_rules(shared: Daemon) -> None:
    """Bound: 500 KB of rules; the last one counts as much as the first."""
    rules = "".join(f"Disallow: /docs/*{n}$\n" if n % 2 else f"Disallow: /x{n}*\n" for n in range(20_000))
    body = f"User-agent: *\n{rules}Disallow: /docs/secret\n"
    assert len(body) < MAX_ROBOTS_BYTES
    pages = {f"/docs/p{n}": page(f"Page {n}") for n in range(2, 40, 2)}
    with Trap(lambda path: None, {"/docs/": start("secret", "19999", *pages), "/robots.txt": text_file(body), **pages}) as site:
        found = crawl(shared, site)
    for path in ("/docs/secret", "/docs/19999"):
        assert "robots.txt forbids it" in found.said(path)[1]
    assert found.docset["indexStatus"]["indexedPages"] == 21


def test_a_robots_txt_of_rules_that_are_hard_to_match(shared: Daemon) -> None:
    """Bound: matching a rule is linear in the URL, however many asterisks it has."""
    hard = "/docs/" + "a" * 1_500
    body = "User-agent: *\n" + "".join(f"Disallow: /{'*a' * n}*b{end}\n" for n in range(50, 350) for end in ("", "$"))
    with Trap(lambda path: None, {"/docs/": start(hard), "/robots.txt": text_file(body), hard: page("Hard")}) as site:
        assert crawl(shared, site).said(hard) == ("indexed", "")


def sitemap_site(sitemap: Answer, more: Mapping[str, str | Answer] | None = None) -> Trap:
    def make(path: str) -> str | None:
        return page(path) if path.startswith("/docs/named") else None

    return Trap(make, {"/docs/": start(), "/sitemap.xml": sitemap, **(more or {})})


def xml(*pieces: bytes | Iterable[bytes]) -> Answer:
    """A sitemap that is made as it is sent."""

    def stream() -> Iterator[bytes]:
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from piece

    return Answer(stream=stream, content_type="application/xml")


def test_a_sitemap_of_100_mb(shared: Daemon) -> None:
    """Bound: its first 50 MB, or 50,000 URLs, whatever comes first; of these max_pages."""
    with sitemap_site(Answer()) as site:
        names = "".join(f"<url><loc>{site.url}/docs/named{n}</loc></url>" for n in range(60_000)).encode()
        padding = b"<!--%b-->" % (b"x" * 2**20)
        sent = 0

        def blocks() -> Iterator[bytes]:
            nonlocal sent
            for block in (names, *[padding] * 100):
                sent += len(block)
                yield block

        site.pages["/sitemap.xml"] = xml(b"<urlset>", blocks())
        found = crawl(shared, site)
        said_and_bounded(found, rf"\(max_pages\) left out {50_000 + 2 - MAX_PAGES} more", site, MAX_PAGES + 2)
    assert sent < MAX_SITEMAP_BYTES + BUFFERS
    assert found.docset["indexStatus"]["indexedPages"] == MAX_PAGES


@cache
def laughs() -> bytes:
    entities = b"".join(b'<!ENTITY a%d "%b">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12))
    return b'<!DOCTYPE urlset [<!ENTITY a0 "ha">%b]><urlset><url><loc>&a11;</loc></url></urlset>' % entities


def broken_sitemap_ends_quietly(daemon: Daemon, body: bytes) -> None:
    with sitemap_site(Answer(body=body, content_type="application/xml")) as site:
        assert crawl(daemon, site).pages.keys() == {"/docs/", "/docs/last"}
        assert site.requests.keys() == {"/robots.txt", "/sitemap.xml", "/docs/", "/docs/last"}


@pytest.mark.parametrize(
    "body",
    [
        laughs(),
        b'<!DOCTYPE urlset [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset><url><loc>&x;</loc></url></urlset>',
        b"<urlset><url><loc>",
        b"<" + b"a" * 100_000,
        b"\x1f\x8b\x08\x00" + b"\xff" * 10_000,
        b"\xff\xfe" + "<urlset><url><loc>".encode("utf-16-le"),
        b"\x00" * 100_000,
        b"",
    ],
    ids=["laughs", "file", "cut off", "tag", "damaged gzip", "utf-16", "zeros", "empty"],
)
def test_a_sitemap_that_is_none(shared: Daemon, body: bytes) -> None:
    """Bound: what cannot be read names nothing."""
    broken_sitemap_ends_quietly(shared, body)


@pytest.mark.parametrize("encoding", ["shift_jis", "gbk", "utf-7", "hex", "nonsense"])
def test_a_sitemap_in_an_unknown_encoding(shared: Daemon, encoding: str) -> None:
    """Bound: what cannot be read names nothing."""
    broken_sitemap_ends_quietly(shared, b'<?xml version="1.0" encoding="%s"?><urlset/>' % encoding.encode())


def test_sitemaps_that_name_themselves_and_others_without_end(shared: Daemon) -> None:
    """Bound: no sitemap is asked twice, and 100 of them at most."""

    def make(path: str) -> Answer | None:
        if not path.startswith("/sitemap"):
            return None
        number = int("0" + "".join(filter(str.isdigit, path)))
        names = [
            path,
            "/sitemap.xml",
            f"/sitemap{number + 1}.xml",
            f"/sitemap{number + 1}.xml?again",
            "https://elsewhere.example/",
        ]
        body = "".join(f"<sitemap><loc>{name}</loc></sitemap>" for name in names)
        return Answer(body=f"<sitemapindex>{body}</sitemapindex>", content_type="application/xml")

    with Trap(make, {"/docs/": start()}) as site:
        crawl(shared, site)
        asked = {path: number for path, number in site.requests.items() if path.startswith("/sitemap")}
    assert len(asked) == MAX_SITEMAPS
    assert set(asked.values()) == {1}


def test_a_sitemap_that_names_itself_300_000_times(shared: Daemon) -> None:
    """Bound: 100 sitemaps, also of those that are named."""
    packer = zlib.compressobj(6, wbits=31)
    body = packer.compress(b"<sitemapindex>" + b"<sitemap><loc>/sitemap.xml</loc></sitemap>" * 300_000) + packer.flush()
    with sitemap_site(Answer(body=body, content_type="application/xml", headers={"Content-Encoding": "gzip"})) as site:
        crawl(shared, site)


def memory_of_reading(sitemap: bytes) -> float:
    """How many times the size of a sitemap reading it takes."""
    tracemalloc.start()
    try:
        read_sitemap(sitemap)
        return tracemalloc.get_traced_memory()[1] / len(sitemap)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "sitemap",
    [
        pytest.param(b"<urlset>" + b"<url><loc>https://docs.example/page</loc></url>" * 20_000, id="a good one"),
        # bound: a sitemap is three elements deep
        pytest.param(b"<a>" * 300_000, id="nested"),
        # bound: elements that name nothing are not kept
        pytest.param(b"<urlset>" + b"<a/>" * 250_000, id="elements"),
        # bound: entities are not expanded (expat itself bounds them to a hundred times what it was given)
        pytest.param(
            b'<!DOCTYPE urlset [<!ENTITY a "%b">]><urlset><!--%b--><url><loc>%b</loc></url></urlset>'
            % (b"y" * 100_000, b"x" * 500_000, b"&a;" * 400),
            id="entities",
        ),
    ],
)
def test_reading_a_sitemap_takes_little_more_memory_than_the_sitemap(sitemap: bytes) -> None:
    assert memory_of_reading(sitemap) < 12


def test_many_sitemaps_of_50_mb(shared: Daemon) -> None:
    """Bound: max_total_bytes."""
    endless = Endless(b"x" * 2**20)

    def make(path: str) -> Answer | None:
        if not path.startswith("/sitemap"):
            return None
        return Answer(stream=endless, content_type="text/plain")

    with Trap(make, {"/docs/": start()}) as site:
        site.pages["/robots.txt"] = text_file("".join(f"Sitemap: {site.url}/sitemap{n}.txt\n" for n in range(8)))
        crawl(shared, site)
    assert endless.sent < MAX_TOTAL_BYTES + MAX_SITEMAP_BYTES + 8 * BUFFERS


# -- pages that are hard to read


def words(number: int) -> str:
    return " ".join(f"word{n}" for n in range(number))


# The first takes longer than it may, and the others as long as it takes to see that they end.
HARD = {
    "nested": "<div>" * 50_000 + "deep",
    "nested quotations": "<h1>Deep</h1>" + "<blockquote>" * 2_000 + "deep",
    "nested lists": "<h1>Deep</h1>" + "<ul><li>" * 1_000 + "deep",
    "nested tables": "<h1>Deep</h1>" + "<table><tr><td>" * 700 + "deep",
    "crossed elements": "<h1>Deep</h1>" + "<b><i>" * 5_000 + "deep" + "</b></i>" * 5_000,
    "one line": f"<h1>Line</h1><p>{words(5_000)}</p>",
    "one word": f"<h1>Word</h1><p>{'x' * 2**20}</p>",
    "one line of code": f"<h1>Code</h1><pre>{'x = 1; ' * 8_000}</pre>",
    "one line without an element": "More " + words(5_000),
    "wide cell": "<h1>Table</h1><table><tr><td colspan='999999999' rowspan='999999999'>x</td></tr></table>",
    "headings": "<h1>" * 5_000 + "x",
    "attributes": "<h1>Attributes</h1><p " + " ".join(f"a{n}=x" for n in range(10_000)) + ">x</p>",
    "entities": "<h1>Entities</h1><p>" + "&amp;&lt;&nbsp;" * 5_000,
    "fences": "<h1>Fences</h1><pre>" + "```\n~~~\n" * 5_000,
    "comments": "<!--" * 400_000,
    "refresh": "<h1>Refresh</h1><meta http-equiv=refresh content='" + "0;" * 500_000 + "'>",
    "title of separators": "<title>" + "— " * 500_000 + "</title><h1>Title</h1><p>Text.",
}


@pytest.fixture(scope="module")
def hard(impatient: Daemon) -> Iterator[tuple[Trap, Crawled]]:
    """A site of all of them."""
    pages = {f"/docs/hard{number}": body for number, body in enumerate(HARD.values())}
    with Trap(lambda path: None, {**pages, "/docs/": start(*pages)}) as site:
        yield site, crawl(impatient, site)


@pytest.mark.parametrize("number", range(len(HARD)), ids=list(HARD))
def test_a_page_that_is_hard_to_read(hard: tuple[Trap, Crawled], number: int) -> None:
    """Bound: extract_timeout_s, and a process of its own that may end."""
    site, found = hard
    path = f"/docs/hard{number}"
    assert site.requests[path] == 1
    status, message = found.said(path)
    assert status in ("indexed", "skipped", "error")
    assert status == "indexed" or 0 < len(message) < 1_000


@pytest.mark.parametrize("unit", ["x", "createTask "])
@pytest.mark.parametrize("where", ["title", "heading", "anchor"])
def test_what_every_passage_of_a_page_repeats_is_bounded(where: str, unit: str) -> None:
    """Bound: the length of a title and of an anchor. One of 8 MB, on a page of 16 MB, stands there 8,000 times."""
    long = unit * (100_000 // len(unit))
    title, heading, anchor = (long if where == each else each for each in ("title", "heading", "anchor"))
    text = "".join(f"<p>{f'Paragraph {n} says something. ' * 15}</p>" for n in range(200))
    body = f"<title>{title}</title><main><h2 id='{anchor}'>{heading}</h2>{text}</main>".encode()
    chunks = chunk(extract("https://docs.example/page", body, None).document, "docset", "https://docs.example/page")
    assert len(chunks) > 50
    kept = sum(len(each.embedded_text) + len(each.words) + len(each.anchor or "") + sum(map(len, each.path)) for each in chunks)
    assert kept < 10 * len(body)


def test_pages_that_set_a_cookie_each(shared: Daemon) -> None:
    """Bound: nothing of an answer is sent with the next request."""

    def make(path: str) -> Answer | None:
        if not path.startswith("/docs/n"):
            return None
        return Answer(body=page(path), headers={"Set-Cookie": f"{path.rpartition('/')[2]}={'x' * 3_500}; Path=/"})

    with Trap(make, {"/docs/": page("Start", *(f"n{n}" for n in range(20)), "last")}) as site:
        found = crawl(shared, site)
    assert found.docset["indexStatus"]["indexedPages"] == 22
