"""What docworker tells about a URL: `GET /why` of a real daemon after a real crawl, and `docworker why` as a shell runs it."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.daemon import Daemon
from tests.site import Answer, Site

MAX_PAGES = 2
UNKNOWN = (
    "status", "reason", "depth", "discoveredFrom", "title", "chunks", "linksDropped", "attempts", "requests", "httpStatus",
    "sizeBytes", "fetchedAt", "indexedAt",
)  # fmt: skip


def page(title: str, *links: str, head: str = "", text: str = "") -> str:
    anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
    return (
        f"<html><head><title>{title} — Handbook</title>{head}</head>"
        f"<body><main><h1>{title}</h1><p>{text or f'All about {title}.'}</p></main><nav>{anchors}</nav></body></html>"
    )


def moved(to: str, status: int = 301) -> Answer:
    return Answer(status, headers={"Location": to})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests, without a model: no vector is waited for."""
    folder = tmp_path_factory.mktemp("why")
    with Daemon(folder / "data", folder / "cache", model_dir=folder, request_attempts=1, max_redirects=2) as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A handbook below /docs with everything that can become of a URL, and a part below /api that is over its limit."""
    links = (
        "guide", "old", "copy", "original", "twin", "twin-long", "dir/", "private", "drafts/x", "_modules/x.html", "gone",
        "hidden", "failing", "loop", "out", "/blog/", "/docsets/",
    )  # fmt: skip
    pages: dict[str, str | Answer] = {
        "/robots.txt": "User-agent: *\nDisallow: /docs/private",
        "/docs/": page("Welcome", *links),
        "/docs/guide": page("Guide", "guide/deep"),
        "/docs/guide/deep": page("Deep"),
        "/docs/old": moved("older"),
        "/docs/older": '<meta http-equiv="refresh" content="0; url=new"><h1>Moved</h1>',
        "/docs/new": page("New"),
        "/docs/copy": page("Copy", head='<link rel="canonical" href="/docs/original">'),
        "/docs/original": page("Original"),
        "/docs/twin": page("Twin"),
        "/docs/twin-long": page("Twin"),
        "/docs/dir/": page("Folder", "dir/index.html", "index.html"),
        "/docs/dir/index.html": page("Folder"),
        "/docs/hidden": page("Hidden", head='<meta name="robots" content="noindex">'),
        "/docs/failing": Answer(500, "broken"),
        "/docs/loop": moved("loop2"),
        "/docs/loop2": moved("loop"),
        "/docs/out": moved("/blog/"),
        "/docs/unlisted": page("Unlisted"),
        "/api/": page("Reference", "a", "b", "c", "/docs/guide"),
        **{f"/api/{name}": page(f"Entry {name}") for name in "abc"},
    }
    with Site(pages) as running:
        running.pages["/sitemap.xml"] = f"<urlset><url><loc>{running.url}/docs/unlisted</loc></url></urlset>"
        yield running


def crawl(daemon: Daemon, site: Site, seed: str, **more: object) -> str:
    made = daemon.post("/index", baseUrl=site.url, seedSlug=seed, **more)
    daemon.wait_ready(made["docsetId"])
    return str(made["docsetId"])


@pytest.fixture(scope="module")
def handbook(shared: Daemon, site: Site) -> str:
    """The id of the docset below /docs."""
    return crawl(shared, site, "/docs/", exclude=["/docs/drafts/*"])


@pytest.fixture(scope="module")
def reference(shared: Daemon, site: Site, handbook: str) -> str:
    """The id of the docset below /api, which is full."""
    return crawl(shared, site, "/api/", maxPages=MAX_PAGES, name="Reference")


class Asked:
    """Answers about URLs of the handbook alone."""

    def __init__(self, daemon: Daemon, site: Site, docset_id: str) -> None:
        self.site = site
        self._http = httpx.Client(base_url=daemon.url, timeout=60, trust_env=False)
        self._docset_id = docset_id

    def __call__(self, path: str) -> Any:
        url = path if "://" in path else self.site.url + path
        answer = self._http.get("/why", params={"url": url, "docsetId": self._docset_id}).raise_for_status().json()
        (found,) = answer["docsets"]
        assert found["docsetId"] == self._docset_id
        return found


@pytest.fixture(scope="module")
def why(shared: Daemon, site: Site, handbook: str) -> Asked:
    return Asked(shared, site, handbook)


@pytest.fixture(scope="module")
def why_full(shared: Daemon, site: Site, reference: str) -> Asked:
    return Asked(shared, site, reference)


# -- GET /why


def test_an_indexed_page_tells_how_it_was_found_and_what_came_of_it(why: Asked, site: Site, handbook: str) -> None:
    found = why("/docs/guide/deep")
    u = site.url
    assert {key: found[key] for key in ("docsetId", "docsetName", "url", "redirects", "otherUrls", "title", "chunks")} == {
        "docsetId": handbook, "docsetName": "Handbook", "url": f"{u}/docs/guide/deep", "redirects": [], "otherUrls": [],
        "title": "Deep", "chunks": 1,
    }  # fmt: skip
    assert found["path"] == [f"{u}/docs/", f"{u}/docs/guide", f"{u}/docs/guide/deep"]
    assert (found["depth"], found["discoveredFrom"]) == (2, f"{u}/docs/guide")
    assert (found["status"], found["reason"], found["message"]) == ("indexed", None, "It is indexed, with 1 chunk.")
    assert (found["httpStatus"], found["requests"], found["attempts"]) == (200, 1, 1)
    assert found["sizeBytes"] == len(str(site.pages["/docs/guide/deep"]).encode())
    assert found["linksDropped"] == 0
    assert found["fetchedAt"] <= found["indexedAt"] <= time.time() * 1_000
    assert (found["inScope"], found["scope"]) == (True, f"It is inside the docset: {u} below /docs.")
    assert (found["robotsAllowed"], found["robots"]) == (True, "robots.txt allows it.")


def test_the_first_page_is_its_own_path(why: Asked, site: Site) -> None:
    found = why("/docs/")
    assert (found["path"], found["depth"], found["discoveredFrom"]) == ([f"{site.url}/docs/"], 0, None)


@pytest.mark.parametrize("spelling", ["/docs/guide#part", "/docs/./guide?utm_source=x", "/docs/%67uide", "/docs/x/../guide?"])
def test_any_spelling_of_a_url_is_understood(why: Asked, site: Site, spelling: str) -> None:
    assert (why(spelling)["url"], why(spelling)["status"]) == (f"{site.url}/docs/guide", "indexed")


def test_a_page_of_a_sitemap_was_found_by_it(why: Asked, site: Site) -> None:
    found = why("/docs/unlisted")
    assert found["path"] == [f"{site.url}/sitemap.xml", f"{site.url}/docs/unlisted"]
    assert (found["status"], found["discoveredFrom"]) == ("indexed", f"{site.url}/sitemap.xml")


def test_every_redirect_is_told(why: Asked, site: Site) -> None:
    found, u = why("/docs/old"), f"{site.url}/docs/"
    assert found["redirects"] == [
        {"url": f"{u}old", "target": f"{u}older", "how": "HTTP 301"},
        {"url": f"{u}older", "target": f"{u}new", "how": "meta refresh"},
    ]
    assert (found["url"], found["status"], found["title"], found["depth"]) == (f"{u}new", "indexed", "New", 1)
    assert found["path"] == [u, f"{u}old", f"{u}older", f"{u}new"]
    assert f"{u}older" in why("/docs/new")["otherUrls"]
    assert why("/docs/new")["redirects"] == []


def test_a_copy_leads_to_its_original(why: Asked, site: Site) -> None:
    found, u = why("/docs/copy"), f"{site.url}/docs/"
    assert found["redirects"] == [{"url": f"{u}copy", "target": f"{u}original", "how": "rel=canonical"}]
    assert (found["url"], found["status"]) == (f"{u}original", "indexed")
    assert why("/docs/original")["otherUrls"] == [f"{u}copy"]


def test_another_spelling_of_a_page_leads_to_it(why: Asked, site: Site) -> None:
    found, u = why("/docs/dir/index.html"), f"{site.url}/docs/dir/"
    assert found["redirects"] == [{"url": f"{u}index.html", "target": u, "how": "same page"}]
    assert (found["url"], found["status"], found["otherUrls"]) == (u, "indexed", [f"{u}index.html"])


@pytest.mark.parametrize(
    ("path", "status", "reason", "message", "http_status", "requests"),
    [
        ("twin-long", "skipped", "duplicate", r"^The same text as http://[\d.:]+/docs/twin, which is kept\.$", 200, 1),
        ("private", "skipped", "robots", r"^The site's robots.txt forbids it.$", None, 0),
        ("drafts/x", "skipped", "excluded", r"^Left out by the pattern '/docs/drafts/\*' of the docset\.$", None, 0),
        (
            "_modules/x.html",
            "skipped",
            "source-listing",
            r"Sphinx's listing of source code.*--include '/docs/_modules/x",
            None,
            0,
        ),
        ("gone", "skipped", "gone", r"^The site has no such page \(404\)\.$", 404, 1),
        ("hidden", "skipped", "noindex", r"\(noindex\)\.$", 200, 1),
        ("out", "skipped", "moved-out", r"^The page redirects to /blog/, which is outside this docset\.$", 301, 1),
        ("failing", "error", "server-error", r"^The site answered 500 \(1 attempt\)\.$", 500, 3),
    ],
)
def test_a_page_that_is_not_indexed_tells_why(
    why: Asked, path: str, status: str, reason: str, message: str, http_status: int | None, requests: int
) -> None:
    found = why(f"/docs/{path}")
    assert (found["status"], found["reason"]) == (status, reason)
    assert re.search(message, found["message"]), found["message"]
    assert (found["httpStatus"], found["requests"]) == (http_status, requests)
    assert (found["fetchedAt"] is None) is (requests == 0)
    assert (found["indexedAt"], found["chunks"], found["depth"]) == (None, 0, 1)
    assert (found["robotsAllowed"], found["robots"]) == (
        (False, "robots.txt forbids it.") if path == "private" else (True, "robots.txt allows it.")
    )


def test_a_circle_of_redirects_is_told(why: Asked, site: Site) -> None:
    found, u = why("/docs/loop"), f"{site.url}/docs/"
    assert (found["url"], found["status"], found["reason"]) == (f"{u}loop", "skipped", "redirects")
    assert found["message"] == f"The page redirects in a circle: {u}loop → {u}loop2 → {u}loop."


@pytest.mark.parametrize("path", ["/blog/", "/docsets/", "/docs.html", "/"])
def test_a_url_out_of_scope_is_said_to_be(why: Asked, site: Site, path: str) -> None:
    found = why(path)
    assert (found["inScope"], found["path"], found["redirects"], found["otherUrls"]) == (False, [], [], [])
    assert found["message"] == found["scope"] == f"It is outside the docset: {site.url} below /docs."
    assert [key for key in UNKNOWN if found[key] is not None] == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/docs/nowhere", "No page that was read links to it, and no sitemap names it."),
        ("/docs/private/nowhere", "Nothing led to it, and robots.txt forbids it."),
        (
            "/docs/drafts/nowhere",
            "Nothing led to it, and it would be left out. Left out by the pattern '/docs/drafts/*' of the docset.",
        ),
    ],
)
def test_a_url_that_was_never_met_is_said_to_be(why: Asked, path: str, message: str) -> None:
    found = why(path)
    assert (found["inScope"], found["message"], found["path"]) == (True, message, [])
    assert [key for key in UNKNOWN if found[key] is not None] == []


def test_a_url_over_a_limit_tells_the_limit(why_full: Asked) -> None:
    assert why_full("/api/a")["status"] == "indexed"
    found = why_full("/api/c")
    assert found["status"] is None
    assert f"The limit of {MAX_PAGES} pages (max_pages) left out 2 more." in found["message"]


def test_a_url_over_a_limit_is_not_said_to_be_linked_by_nothing(why_full: Asked) -> None:
    message = why_full("/api/c")["message"]
    assert "No page that was read links to it" not in message
    assert message.startswith(f"{why_full.site.url}/api/ leads to it, but a limit keeps it out. ")


def test_a_url_is_told_by_every_docset_of_its_site_the_one_that_has_it_first(
    shared: Daemon, site: Site, handbook: str, reference: str
) -> None:
    for path, first, other in (("/docs/guide", handbook, reference), ("/api/a", reference, handbook)):
        answer = shared.get("/why", url=f"{site.url}{path}#part")
        assert answer["url"] == f"{site.url}{path}"
        assert [(found["docsetId"], found["status"], found["inScope"]) for found in answer["docsets"]] == [
            (first, "indexed", True),
            (other, None, False),
        ]


def test_a_docset_of_another_site_says_that_the_url_is_outside(why: Asked) -> None:
    found = why("https://elsewhere.example/docs/guide")
    assert (found["inScope"], found["status"]) == (False, None)


def test_a_crawl_under_way_says_that_more_may_come(shared: Daemon) -> None:
    with Site({"/docs/": page("Held", "a")}) as held:
        held.gate.clear()
        made = shared.post("/index", baseUrl=held.url, seedSlug="/docs/", waitForSeed=False)
        (seed,) = shared.get("/why", url=f"{held.url}/docs/")["docsets"]
        (other,) = shared.get("/why", url=f"{held.url}/docs/a")["docsets"]
        assert (seed["status"], seed["message"]) == ("pending", "It waits for its turn.")
        assert (seed["robotsAllowed"], seed["robots"]) == (None, "robots.txt has not been read yet.")
        assert (other["status"], other["message"]) == (None, "Nothing has led to it so far; the crawl goes on.")
        held.gate.set()
        shared.wait_ready(made["docsetId"])
        (seed,) = shared.get("/why", url=f"{held.url}/docs/")["docsets"]
        assert (seed["robotsAllowed"], seed["status"]) == (True, "indexed")
        assert seed["robots"] == "The site has no robots.txt, or an empty one: everything is allowed."


def test_more_redirects_than_allowed_are_told(shared: Daemon) -> None:
    with Site({"/docs/": page("Docs", "1"), "/docs/1": moved("2"), "/docs/2": moved("3"), "/docs/3": moved("4")}) as long:
        crawl(shared, long, "/docs/")
        (found,) = shared.get("/why", url=f"{long.url}/docs/1")["docsets"]
    assert [step["target"] for step in found["redirects"]] == [f"{long.url}/docs/2", f"{long.url}/docs/3"]
    assert (found["url"], found["reason"]) == (f"{long.url}/docs/3", "redirects")
    assert found["message"] == "The page is reached through 2 redirects and redirects again (setting max_redirects)."


@pytest.mark.parametrize(
    ("query", "status", "match"),
    [
        ({"url": "https://elsewhere.example:443/docs"}, 404, "^No docset is of elsewhere.example; GET /status lists"),
        ({"url": "http://127.0.0.1/docs/"}, 404, "^No docset is of 127.0.0.1;"),
        ({"url": "SITE/docs/", "docsetId": "nope"}, 404, "There is no docset 'nope'"),
        ({"url": "no URL"}, 400, "^url: expected an http or https address, got 'no URL'"),
        ({"url": "mailto:someone@example.org"}, 400, "^url: expected an http or https address"),
        ({"url": "http://[broken"}, 400, "^url: expected"),
        ({"url": "http://user@127.0.0.1/docs/"}, 400, "^url: expected"),
        ({"url": ""}, 400, "^url: "),
        ({}, 400, "^url: required"),
        ({"url": "SITE/docs/", "docset": "x"}, 400, "^docset: unknown"),
    ],
)
def test_what_cannot_be_told_is_refused_in_a_sentence(
    shared: Daemon, site: Site, handbook: str, query: dict[str, str], status: int, match: str
) -> None:
    params = {key: value.replace("SITE", site.url) for key, value in query.items()}
    response = shared.request("GET", "/why", params=params)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert re.search(match, response.json()["error"]), response.json()["error"]


# -- docworker why


def run(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "why", *arguments]
    return subprocess.run(command, env=daemon.environment, capture_output=True, text=True, timeout=120, check=False)


def said(finished: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that it printed, their ages left out."""
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "\x1b" not in finished.stdout
    return re.sub(r"\d+ (seconds|minutes) ago", "… ago", finished.stdout).splitlines()


def test_the_command_tells_an_indexed_page_and_its_redirects(shared: Daemon, site: Site, handbook: str) -> None:
    u = f"{site.url}/docs/"
    size = len(str(site.pages["/docs/new"]).encode())
    assert said(run(shared, f"{u}old", "--docset", handbook)) == [
        f"Handbook  {handbook}",
        "  indexed: It is indexed, with 1 chunk.",
        f"  redirect   {u}old → {u}older (HTTP 301)",
        f"  redirect   {u}older → {u}new (meta refresh)",
        f"  page       {u}new",
        "  title      New",
        f"  found by   {u} → {u}old → {u}older → {u}new",
        "  depth      1 link from there",
        f"  also at    {u}older",
        f"  scope      It is inside the docset: {site.url} below /docs.",
        "  robots     robots.txt allows it.",
        "  read as    generic",
        f"  fetched    … ago: HTTP 200, {size} B, 1 request",
    ]


def test_the_command_tells_a_page_that_is_left_out_and_one_never_met(shared: Daemon, site: Site, handbook: str) -> None:
    u = f"{site.url}/docs/"
    assert said(run(shared, f"{u}private", "--docset", u)) == [
        f"Handbook  {handbook}",
        "  skipped: The site's robots.txt forbids it.",
        f"  found by   {u} → {u}private",
        "  depth      1 link from there",
        f"  scope      It is inside the docset: {site.url} below /docs.",
        "  robots     robots.txt forbids it.",
    ]
    lines = said(run(shared, f"{u}nowhere", "--docset", handbook))
    assert lines[1] == "  not met: No page that was read links to it, and no sitemap names it."


def test_the_command_prints_the_answer_as_json(shared: Daemon, site: Site, handbook: str, reference: str) -> None:
    url = f"{site.url}/docs/guide"
    finished = run(shared, url, "--json")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert json.loads(finished.stdout) == shared.get("/why", url=url)
    assert len(json.loads(finished.stdout)["docsets"]) == 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "match"),
    [
        (["elsewhere.example/docs"], 4, "^No docset is of elsewhere.example"),
        (["http://[broken"], 2, "^url: expected an http or https address"),
        (["http://127.0.0.1/", "--docset", "nope"], 4, "^There is no docset 'nope'"),
    ],
)
def test_the_command_ends_with_a_sentence_when_there_is_nothing_to_tell(
    shared: Daemon, handbook: str, arguments: list[str], exit_code: int, match: str
) -> None:
    finished = run(shared, *arguments)
    assert (finished.returncode, finished.stdout) == (exit_code, "")
    assert re.search(match, finished.stderr)
    assert finished.stderr.count("\n") == 1
