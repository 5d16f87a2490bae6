"""Refreshing a docset: over HTTP and from a shell, against real sites that change, with a real daemon and the real model."""

import json
import re
import signal
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import httpx
import lancedb
import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from cli.main import main
from docworker.contract import RefreshAllRequest, RefreshRequest
from tests.daemon import Daemon, wait_until
from tests.site import Answer, Site, Validators
from tests.stopping_site import AT_ONCE, PAGES, StoppingSite
from tests.test_api import JSON, Shape, asked_for_pages, assert_error, assert_shape, pages_of
from tests.test_cli import assert_one_sentence, document, done, run

HOUR_MS = 60 * 60 * 1_000
REFRESH: Mapping[str, Shape] = {
    "docsetId": str, "status": str, "refreshed": bool, "message": str,
    "incremental": {"preservedHashes": int, "clearedHashes": int},
}  # fmt: skip
PROGRESS: Mapping[str, Shape] = {
    "begunAt": int, "fullReindex": bool, "pages": int, "pendingPages": int, "pendingChunks": int,
}  # fmt: skip
REPORT: Mapping[str, Shape] = {
    "begunAt": int, "endedAt": int, "fullReindex": bool, "done": bool, "message": (str, type(None)), "requests": int,
    "pages": int, "notModified": int, "changed": int, "added": int, "removed": int, "unsure": int, "embedded": int,
}  # fmt: skip


def section(heading: str, about: str, anchor: str | None = None) -> str:
    """A section that is a chunk of its own, and tells of something."""
    text = " ".join(f"Sentence {n} of the {about} says something about the {about}." for n in range(8))
    return f'<h2 id="{anchor or heading.lower()}">{heading}</h2><p>{text}</p>'


def page(title: str, body: str, *links: str, site: str = "Handbook", language: str = "en", head: str = "") -> str:
    anchors = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    begin = f"<html lang={language}><head><title>{title} — {site}</title>{head}</head>"
    return f"{begin}<body><main><h1>{title}</h1>{body}</main><nav><ul>{anchors}</ul></nav>"


class Told(Site):
    """Notes on which conditions each path is asked for, and answers `held` paths only after `release` was set.

    When it ends, its docsets are deleted.
    """

    def __init__(self, pages: Mapping[str, str | Answer] | None = None, *, validators: Validators = "etag") -> None:
        super().__init__(pages, validators=validators)
        self.conditions: dict[str, list[dict[str, str]]] = {}
        self.held: set[str] = set()
        self.docsets: list[tuple[Daemon, str]] = []
        self.release = threading.Event()

    def asked(self, path: str, headers: Mapping[str, str]) -> int:
        said = {name: value for name, value in headers.items() if name.lower().startswith("if-")}
        self.conditions.setdefault(path, []).append(said)
        return super().asked(path, headers)

    def answer(self, path: str) -> Answer:
        if path in self.held:
            self.release.wait(30)
        return super().answer(path)

    def forget(self) -> None:
        """Count from here on."""
        self.requests.clear()
        self.conditions.clear()

    def __exit__(self, *trouble: Any) -> None:
        self.release.set()
        for daemon, docset_id in self.docsets:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.request("DELETE", f"/docset/{docset_id}")
        super().__exit__(*trouble)


class Asked(Daemon):
    """Keeps its connections: a client made for each request takes ten times as long as the request."""

    _client = httpx.Client(timeout=120, trust_env=False)

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._client.request(method, self.url + path, **arguments)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    """One daemon for all tests that leave others' docsets alone."""
    with Asked(tmp_path_factory.mktemp("refresh") / "data", cache_dir, request_attempts=1) as running:
        yield running


@pytest.fixture
def site() -> Iterator[Told]:
    with Told() as empty:
        yield empty


def first_crawl(daemon: Daemon, site: Site, slug: str = "/docs/", **more: object) -> str:
    """The id of the site's docset, with all its vectors, and no job of it running any more."""
    wanted = {"baseUrl": site.url, "seedSlug": slug} | more
    docset_id = str(daemon.post("/index", **wanted)["docsetId"])
    if isinstance(site, Told):
        site.docsets.append((daemon, docset_id))
    at_rest(daemon, docset_id)
    return docset_id


def at_rest(daemon: Daemon, docset_id: str) -> Any:
    """The docset once nothing is done about it any more."""
    daemon.wait_ready(docset_id, vectors=True, timeout_s=30)
    wait_until(lambda: "is fresh" in daemon.post("/refresh", docsetId=docset_id)["message"], "the end of the crawl", 30)
    return daemon.wait_ready(docset_id, vectors=True, timeout_s=30)


def settled(daemon: Daemon, docset_id: str, timeout_s: float = 30) -> Any:
    """The docset once its refresh has ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = daemon.get(f"/docset/{docset_id}")
        if found["refresh"] is None and found["status"] in ("ready", "error"):
            return found
        time.sleep(0.02)
    raise AssertionError(f"the refresh did not end within {timeout_s} s: {daemon.log()[-2000:]}")


def refreshed(daemon: Daemon, docset_id: str, **fields: object) -> Any:
    """What a refresh that is begun now comes to; it is done, and every vector is there."""
    answer = daemon.post("/refresh", **({"docsetId": docset_id, "force": True} | fields))
    assert answer["refreshed"] is True
    assert answer["message"].startswith("Refreshing "), answer["message"]
    found = settled(daemon, docset_id)
    report = found["lastRefresh"]
    assert (report["done"], report["message"], found["status"]) == (True, None, "ready"), report
    assert found["indexStatus"]["embeddedChunks"] == found["indexStatus"]["totalChunks"]
    return report


def ask(daemon: Daemon, query: str, docset_id: str | None = None, **more: object) -> list[Any]:
    """Results of a question."""
    found = daemon.post("/retrieve", query=query, docsetIds=None if docset_id is None else [docset_id], **more)
    results: list[Any] = found["results"]
    return results


@contextmanager
def catalog(daemon: Daemon) -> Iterator[apsw.Connection]:
    """The catalog on disk, beside the daemon."""
    db = apsw.Connection(str(daemon.settings.data_dir / "catalog.sqlite"))
    db.set_busy_timeout(5_000)
    try:
        yield db
    finally:
        db.close()


def make_older(daemon: Daemon, docset_id: str, hours: float) -> None:
    """As if the docset had been crawled so much earlier."""
    with catalog(daemon) as db:
        db.execute("UPDATE docsets SET crawled_at = crawled_at - ? WHERE id = ?", (int(hours * HOUR_MS), docset_id)).fetchall()


def chunks_of(daemon: Daemon, docset_id: str) -> dict[str, list[tuple[str, str]]]:
    """(id, hash of the text) of every chunk in page order, by path."""
    found: dict[str, list[tuple[str, str]]] = {}
    with catalog(daemon) as db:
        rows = db.execute(
            "SELECT url, chunks.id, text_hash FROM chunks JOIN pages ON pages.id = page_id WHERE pages.docset_id = ?"
            " ORDER BY url, ordinal",
            (docset_id,),
        ).fetchall()
    for url, id_, text_hash in rows:
        found.setdefault(httpx.URL(str(url)).path, []).append((str(id_), str(text_hash)))
    return found


def texts(chunks: Mapping[str, list[tuple[str, str]]]) -> set[str]:
    return {text_hash for of_page in chunks.values() for _, text_hash in of_page}


def page_lines(daemon: Daemon, site: Site, path: str) -> list[str]:
    """What the log says became of a page, each time."""
    return re.findall(rf"page {re.escape(site.url + path)}: (.*), all in", daemon.log())


def handbook(word: str = "giraffe", *more: str) -> dict[str, str | Answer]:
    """Four pages, one of which tells of `word`."""
    return {
        "/docs/": page("Welcome", section("Begin", "frobnicator"), "first", "second", "third", *more),
        "/docs/first": page("First", section("One", word)),
        "/docs/second": page("Second", section("Two", "pelican")),
        "/docs/third": page("Third", section("Three", "sextant")),
    }


# -- requests


@pytest.mark.parametrize("model", [RefreshAllRequest, RefreshRequest])
def test_the_defaults_of_both_requests(model: type[BaseModel]) -> None:
    absent = dict.fromkeys(("docset_id", "base_url")) if model is RefreshRequest else {}
    assert model.model_validate({}).model_dump() == {"force": False, "max_age": 24.0, "full_reindex": False} | absent
    nulls = {str(field.alias): None for field in model.model_fields.values()}
    assert model.model_validate(nulls) == model.model_validate({})


WRONG: Mapping[str, list[object]] = {
    "force": ["true", "", 1, 0, 1.0, [True], {}],
    "fullReindex": ["false", 1, 0, []],
    "maxAge": ["24", "", True, False, -1, -0.001, -1e-300, 1_000_000.5, 1e300, 10**400, [24], {}],
    **{name: [True] for name in ("Force", "full_reindex", "max_age", "fullreindex", "full", "docsetIds", "id", "waitForSeed")},
}


@pytest.mark.parametrize("path", ["/refresh", "/refresh-all"])
@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_wrong_field_is_refused_by_its_name(shared: Daemon, path: str, field: str, value: object) -> None:
    fields: dict[str, object] = {field: value}
    if path == "/refresh":
        fields["docsetId"] = "none"  # what is wrong in the request is said before whether there is such a docset
    unknown = field not in ("force", "fullReindex", "maxAge")
    response = shared.request("POST", path, content=json.dumps(fields), headers=JSON)
    assert_error(response, 400, rf"^{field}: unknown field; expected .*maxAge" if unknown else rf"^{field}: expected ")
    assert len(response.json()["error"]) < 300


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_an_age_that_is_no_number_of_hours_is_refused(shared: Daemon, value: str) -> None:
    for path, more in (("/refresh", ', "docsetId": "x"'), ("/refresh-all", "")):
        body = f'{{"maxAge": {value}{more}}}'
        assert_error(shared.request("POST", path, content=body, headers=JSON), 400, "^maxAge: expected ")


@pytest.mark.parametrize(
    ("arguments", "status", "match"),
    [
        ({"json": {}}, 400, "^docsetId: required, or a baseUrl"),
        ({"content": b""}, 400, "^docsetId: required, or a baseUrl"),
        ({"json": {"docsetId": None, "baseUrl": None, "force": True}}, 400, "^docsetId: required, or a baseUrl"),
        ({"json": {"docsetId": 5}}, 400, "^docsetId: expected "),
        ({"json": {"docsetId": True}}, 400, "^docsetId: expected "),
        ({"json": {"docsetId": ["x"]}}, 400, "^docsetId: expected "),
        ({"json": {"docsetId": "x" * 2_049}}, 400, "^docsetId: expected at most 2048 characters"),
        ({"json": {"baseUrl": 5}}, 400, "^baseUrl: expected "),
        ({"json": {"baseUrl": "http://x.example/" + "x" * 2_048}}, 400, "^baseUrl: expected at most 2048 characters"),
        ({"json": {"baseUrl": "ftp://127.0.0.1/docs"}}, 400, "^baseUrl: expected an http or https address"),
        ({"json": {"baseUrl": "127.0.0.1"}}, 400, "^baseUrl: expected an http or https address"),
        ({"json": {"baseUrl": ""}}, 400, "^baseUrl: expected an http or https address"),
        ({"content": b'{"docsetId": "\\ud800"}', "headers": JSON}, 400, "^docsetId: "),
        ({"json": {"docsetId": "unheard-of"}}, 404, "'unheard-of'"),
        ({"json": {"docsetId": ""}}, 404, "There is no docset ''"),
        ({"json": {"docsetId": "x" * 2_048}}, 404, "There is no docset"),
        ({"json": {"baseUrl": "http://127.0.0.1:1"}}, 404, "'http://127.0.0.1:1'"),
        ({"json": {"baseUrl": "https://unheard-of.example/docs"}}, 404, "unheard-of.example"),
        ({"json": ["docsetId"]}, 400, "JSON object"),
        ({"content": b'{"docsetId": "x"}'}, 415, "application/json"),
    ],
)  # fmt: skip
def test_a_refresh_that_means_no_docset_is_refused(shared: Daemon, arguments: dict[str, Any], status: int, match: str) -> None:
    assert_error(shared.request("POST", "/refresh", **arguments), status, match)


@pytest.mark.parametrize(
    ("arguments", "status", "match"),
    [
        ({"content": b"{", "headers": JSON}, 400, "not well-formed JSON"),
        ({"content": b" ", "headers": JSON}, 400, "not well-formed JSON"),
        ({"content": b"null", "headers": JSON}, 400, "JSON object"),
        ({"content": b"[]", "headers": JSON}, 400, "JSON object"),
        ({"content": b'"all"', "headers": JSON}, 400, "JSON object"),
        ({"content": b"{}"}, 415, "application/json"),
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "application/json"),
        ({"data": {"force": "true"}}, 415, "application/json"),
        ({"json": {"docsetId": "x"}}, 400, "^docsetId: unknown field; expected force, fullReindex, maxAge"),
        ({"json": {"baseUrl": "http://x.example"}}, 400, "^baseUrl: unknown field"),
        ({"content": b'{"maxAge": 1' + b" " * 2**20 + b"}", "headers": JSON}, 413, "larger than"),
    ],
)  # fmt: skip
def test_a_wrong_body_of_refresh_all_is_refused(shared: Daemon, arguments: dict[str, Any], status: int, match: str) -> None:
    assert_error(shared.request("POST", "/refresh-all", **arguments), status, match)


@pytest.mark.parametrize("path", ["/refresh", "/refresh-all", "/doctor"])
def test_only_post_refreshes(shared: Daemon, path: str) -> None:
    response = shared.request("GET", path)
    assert_error(response, 405, "GET")
    assert response.headers["Allow"] == "POST"


@dataclass(frozen=True)
class Held:
    """A docset of five pages, one of which could not be had, and one of which is not there."""

    docset_id: str
    site: Told


@pytest.fixture(scope="module")
def fresh(shared: Daemon) -> Iterator[Held]:
    """A docset that no test refreshes."""
    pages = handbook("giraffe", "missing", "broken") | {"/docs/broken": Answer(500, "Out of order.")}
    with Told(pages) as running:
        docset_id = first_crawl(shared, running)
        running.forget()
        yield Held(docset_id, running)


@pytest.mark.parametrize(
    "arguments",
    [
        {"content": b""},
        {"content": b"", "headers": JSON},
        {"content": b"", "headers": {"Content-Type": "text/plain"}},
        {"content": iter([b""])},
        {"json": {}},
        {"json": {"force": None, "maxAge": None, "fullReindex": None}},
        {"json": {"maxAge": 24}},
        {"json": {"maxAge": 1_000_000}},
        {"content": b"{}", "headers": {"Content-Type": "application/json; charset=utf-8"}},
    ],
    ids=["none", "none-json", "none-text", "none-chunked", "object", "nulls", "age", "longest", "charset"],
)
def test_refresh_all_takes_an_empty_body_and_every_default(shared: Daemon, fresh: Held, arguments: dict[str, Any]) -> None:
    answer = shared.request("POST", "/refresh-all", **arguments)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == {"total", "refreshed", "results"}
    assert body["total"] == len(body["results"]) == len(shared.get("/status")["docsets"]) >= 1
    assert body["refreshed"] == sum(result["refreshed"] for result in body["results"]) == 0
    assert fresh.docset_id in [result["docsetId"] for result in body["results"]]


def test_a_refresh_that_is_not_due_changes_nothing_and_says_how_old_the_docset_is(shared: Daemon, fresh: Held) -> None:
    before = shared.get(f"/docset/{fresh.docset_id}")
    answer = shared.post("/refresh", docsetId=fresh.docset_id)
    assert_shape(answer, REFRESH)
    assert answer.keys() == REFRESH.keys()
    assert answer["incremental"].keys() == {"preservedHashes", "clearedHashes"}
    assert (answer["docsetId"], answer["status"], answer["refreshed"]) == (fresh.docset_id, "ready", False)
    assert re.search(r"is fresh: .* \d+ minutes ago.* 24 hours", answer["message"])
    assert shared.get(f"/docset/{fresh.docset_id}") == before
    assert before["refresh"] is before["lastRefresh"] is None
    assert asked_for_pages(fresh.site) == {}


@pytest.mark.parametrize(("full", "preserved", "cleared"), [(False, 4, 2), (True, 0, 6)])
def test_the_counts_of_hashes_tell_which_pages_could_be_used(
    shared: Daemon, fresh: Held, full: bool, preserved: int, cleared: int
) -> None:
    """Of six pages one answers 404, and one failed: neither was ever indexed."""
    for answer in (
        shared.post("/refresh", docsetId=fresh.docset_id, fullReindex=full),
        *(one for one in shared.post("/refresh-all", fullReindex=full)["results"] if one["docsetId"] == fresh.docset_id),
    ):
        assert answer["incremental"] == {"preservedHashes": preserved, "clearedHashes": cleared}
        assert answer["refreshed"] is False


@pytest.mark.parametrize(
    "spelling", ["{url}", "{url}/", "{upper}", "{upper}/", "{url}/docs", "{url}/docs/", "{url}/docs/first", " {url} "]
)
def test_a_base_url_means_its_docset_however_it_is_spelt(shared: Daemon, fresh: Held, spelling: str) -> None:
    base_url = spelling.format(url=fresh.site.url, upper=fresh.site.url.replace("http", "HTTP"))
    answer = shared.post("/refresh", baseUrl=base_url)
    assert (answer["docsetId"], answer["refreshed"]) == (fresh.docset_id, False)


def test_a_host_in_capitals_is_the_same_host(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    by_name = site.url.replace("127.0.0.1", "localhost")
    docset_id = first_crawl(shared, site, baseUrl=by_name)
    assert shared.post("/refresh", baseUrl=by_name.replace("localhost", "LocalHost") + "/")["docsetId"] == docset_id
    assert_error(shared.request("POST", "/refresh", json={"baseUrl": site.url}), 404, "127.0.0.1")


def test_an_id_together_with_a_base_url_has_to_be_of_it(shared: Daemon, fresh: Held) -> None:
    both = {"docsetId": fresh.docset_id, "baseUrl": fresh.site.url}
    assert shared.post("/refresh", **both)["docsetId"] == fresh.docset_id
    wrong = shared.request("POST", "/refresh", json=both | {"baseUrl": "http://127.0.0.1:1"})
    assert_error(wrong, 400, f"^baseUrl: expected that of docset {fresh.docset_id}")


def test_a_base_url_of_several_docsets_is_a_conflict_that_names_them(shared: Daemon, site: Told) -> None:
    site.pages |= {f"/{part}/": page(part, section("Part", part)) for part in ("a", "b", "c")}
    of_a, of_b = (first_crawl(shared, site, f"/{part}/", name=f"Part {part}") for part in ("a", "b"))
    site.forget()
    refused = shared.request("POST", "/refresh", json={"baseUrl": site.url, "force": True})
    assert_error(refused, 409, f"{of_a} .*{of_b} ")
    assert "Part a" in refused.json()["error"]
    of_c = first_crawl(shared, site, "/c/", baseUrl=f"{site.url}/c")
    assert shared.post("/refresh", baseUrl=f"{site.url}/c/")["docsetId"] == of_c
    still = shared.request("POST", "/refresh", json={"baseUrl": site.url})
    assert_error(still, 409, f"{of_a} .*{of_b} ")
    assert of_c not in still.json()["error"]


# -- when it is due


def test_a_docset_is_due_when_its_crawl_is_as_old_as_asked_for(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    docset_id = first_crawl(shared, site)
    site.forget()
    make_older(shared, docset_id, 5.02)
    for fields in ({}, {"maxAge": 24}, {"maxAge": 5.5}, {"maxAge": None}, {"fullReindex": True}, {"maxAge": 1_000_000}):
        answer = shared.post("/refresh", docsetId=docset_id, **fields)
        assert (answer["refreshed"], answer["status"]) == (False, "ready"), fields
        assert "5.0 hours ago" in answer["message"]
    assert asked_for_pages(site) == {}

    crawled_at = shared.get(f"/docset/{docset_id}")["crawledAt"]
    report = refreshed(shared, docset_id, force=False, maxAge=4.5)
    assert report["requests"] == site.requests["/docs/first"] * 4 == 4
    assert shared.get(f"/docset/{docset_id}")["crawledAt"] == report["endedAt"] > crawled_at
    assert shared.post("/refresh", docsetId=docset_id, maxAge=0.01)["refreshed"] is False

    for age, due in ((23.9, False), (0.2, True)):  # the second on top of the first
        make_older(shared, docset_id, age)
        answer = shared.post("/refresh", docsetId=docset_id)
        assert answer["refreshed"] is due
    assert settled(shared, docset_id)["lastRefresh"]["begunAt"] > report["begunAt"]


def test_an_age_of_0_and_force_refresh_what_is_fresh(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    docset_id = first_crawl(shared, site)
    for fields in ({"maxAge": 0, "force": False}, {"maxAge": 24, "force": True}):
        site.forget()
        answer = shared.post("/refresh", docsetId=docset_id, **fields)
        assert_shape(answer, REFRESH)
        assert answer.keys() == REFRESH.keys()
        assert (answer["refreshed"], answer["incremental"]) == (True, {"preservedHashes": 4, "clearedHashes": 0})
        assert answer["status"] in ("pending", "indexing")
        assert answer["message"] == "Refreshing 4 pages from Handbook (incremental mode)"
        assert settled(shared, docset_id)["lastRefresh"]["requests"] == asked_for_pages(site).pop("/docs/") * 4 == 4


def test_a_refresh_by_base_url_refreshes(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    docset_id = first_crawl(shared, site)
    site.pages |= handbook("okapi")
    assert refreshed(shared, docset_id, docsetId=None, baseUrl=f"{site.url}/")["changed"] == 1
    assert ask(shared, "What is said of the okapi?", docset_id)[0]["title"] == "First"


# -- one at a time


def hold(daemon: Daemon, site: Told, docset_id: str, *paths: str, pages: int, **fields: object) -> Any:
    """Begin a refresh, and return how far it is when nothing but these paths is left to do."""
    site.held, site.release = set(paths), threading.Event()
    answer = daemon.post("/refresh", **({"docsetId": docset_id, "force": True} | fields))
    assert answer["message"].startswith("Refreshing "), answer["message"]

    def is_held() -> bool:
        found = daemon.get(f"/docset/{docset_id}")["refresh"]
        return found is not None and (found["pages"], found["pendingPages"]) == (pages, len(paths))

    wait_until(is_held, "the site's holding still", 30)
    return daemon.get(f"/docset/{docset_id}")


def test_while_a_refresh_goes_on_all_that_is_told_is_about_what_is_served(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    docset_id = first_crawl(shared, site)
    before = shared.get(f"/docset/{docset_id}")
    listed, found = pages_of(shared, docset_id), shared.post("/retrieve", query="giraffe pelican", docsetIds=[docset_id])
    size = shared.get("/why", url=f"{site.url}/docs/first")
    site.pages = {
        "/docs/": page("Hello", section("Begin", "gadget"), "first", "third", "fourth", site="Manual", language="fr"),
        "/docs/first": page("Premier", section("Un", "okapi"), language="fr"),
        "/docs/third": page("Third", section("Three", "sextant"), language="fr"),
        "/docs/fourth": page("Fourth", section("Four", "zebra"), language="fr"),
    }
    meanwhile = hold(shared, site, docset_id, "/docs/third", pages=4)
    assert_shape(meanwhile["refresh"], PROGRESS)
    assert (meanwhile["status"], meanwhile["indexStatus"]["status"]) == ("indexing", "indexing")
    assert meanwhile["refresh"]["fullReindex"] is False
    assert before["updatedAt"] <= meanwhile["refresh"]["begunAt"] <= meanwhile["updatedAt"]
    told = {"status", "refresh", "updatedAt", "indexStatus"}
    assert {key: value for key, value in meanwhile.items() if key not in told} == {
        key: value for key, value in before.items() if key not in told
    }
    assert meanwhile["indexStatus"] | {"status": "ready"} == before["indexStatus"]
    assert shared.get("/status", docsetId=docset_id)["docsets"][0] | {"updatedAt": 0} == meanwhile | {"updatedAt": 0}
    assert pages_of(shared, docset_id) == listed
    assert shared.get("/why", url=f"{site.url}/docs/first") == size
    assert shared.post("/retrieve", query="giraffe pelican", docsetIds=[docset_id]) == found
    assert ask(shared, "okapi zebra gadget", docset_id) == [] or all(
        "okapi" not in hit["content"] and "zebra" not in hit["content"] for hit in ask(shared, "okapi zebra gadget", docset_id)
    )

    site.release.set()
    after = settled(shared, docset_id)
    report = after["lastRefresh"]
    assert_shape(report, REPORT)
    assert report.keys() == REPORT.keys()
    assert (after["name"], after["language"], after["refresh"]) == ("Manual", "fr", None)
    assert report["begunAt"] == meanwhile["refresh"]["begunAt"] <= report["endedAt"] == after["crawledAt"]
    assert {name: report[name] for name in ("pages", "changed", "added", "removed", "notModified", "unsure", "requests")} == {
        "pages": 4, "changed": 2, "added": 1, "removed": 1, "notModified": 1, "unsure": 0, "requests": 4
    }  # fmt: skip
    assert pages_of(shared, docset_id).keys() == site.pages.keys()


def test_a_second_refresh_joins_the_one_under_way(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    docset_id = first_crawl(shared, site)
    site.forget()
    begun_at = hold(shared, site, docset_id, "/docs/second", pages=4)["refresh"]["begunAt"]
    others = {"total", "refreshed", "results"}
    for fields in ({}, {"force": True}, {"maxAge": 0}, {"fullReindex": True, "force": True}):
        answer = shared.post("/refresh", docsetId=docset_id, **fields)
        assert answer.keys() == REFRESH.keys()
        assert (answer["refreshed"], answer["status"]) == (True, "indexing")
        assert re.search(r"Handbook is being refreshed already; this request joins that\.$", answer["message"])
    everything = shared.post("/refresh-all")
    assert everything.keys() == others
    (mine,) = [result for result in everything["results"] if result["docsetId"] == docset_id]
    assert (mine["refreshed"], everything["refreshed"]) == (True, 1)
    site.release.set()
    report = settled(shared, docset_id)["lastRefresh"]
    assert (report["begunAt"], report["fullReindex"], report["requests"]) == (begun_at, False, 4)
    assert set(asked_for_pages(site).values()) == {1}


def test_of_many_refreshes_begun_at_the_same_moment_one_is_made(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    docset_id = first_crawl(shared, site)
    site.pages |= handbook("okapi")
    site.forget()
    together = threading.Barrier(8)

    def refresh(_: int) -> httpx.Response:
        shared.request("GET", "/health")  # each has its connection
        together.wait(30)
        return shared.request("POST", "/refresh", json={"docsetId": docset_id, "force": True})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(refresh, range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8, {answer.text for answer in answers}
    assert all(answer.json()["refreshed"] for answer in answers)
    assert sum(answer.json()["message"].startswith("Refreshing ") for answer in answers) == 1
    report = settled(shared, docset_id)["lastRefresh"]
    assert (report["done"], report["message"], report["changed"]) == (True, None, 1)
    assert set(asked_for_pages(site).values()) == {1}


def test_a_refresh_during_the_first_crawl_joins_that(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    site.held = {"/docs/second"}
    docset_id = shared.post("/index", baseUrl=site.url, seedSlug="/docs/")["docsetId"]
    site.docsets.append((shared, docset_id))
    answer = shared.post("/refresh", docsetId=docset_id, force=True, fullReindex=True)
    assert (answer["refreshed"], answer["status"]) == (True, "indexing")
    assert "this request joins that" in answer["message"]
    assert shared.get(f"/docset/{docset_id}")["refresh"] is None
    site.release.set()
    assert at_rest(shared, docset_id)["indexStatus"]["indexedPages"] == 4
    assert set(asked_for_pages(site).values()) == {1}


def test_a_refresh_that_is_forced_during_a_later_crawl_is_not_lost(shared: Daemon, site: Told) -> None:
    """A crawl that only asks for a page which is new says nothing about those that are known."""
    site.pages |= handbook() | {"/docs/island": page("Island", section("Sand", "coconut"))}
    docset_id = first_crawl(shared, site)
    site.pages |= handbook("okapi")
    site.held = {"/docs/island"}
    shared.post("/index", baseUrl=site.url, seedSlug="/docs/island", waitForSeed=False)
    wait_until(lambda: site.requests["/docs/island"] == 1, "the new page's request", 30)
    assert shared.post("/refresh", docsetId=docset_id, force=True)["refreshed"] is True
    site.release.set()
    wait_until(lambda: pages_of(shared, docset_id)["/docs/island"]["status"] == "indexed", "the new page", 30)
    at_rest(shared, docset_id)
    assert ask(shared, "What is said of the okapi?", docset_id)[0]["title"] == "First"


def test_a_docset_is_deleted_in_the_middle_of_its_refresh(shared: Daemon, site: Told) -> None:
    site.pages |= handbook("quokka")
    docset_id = first_crawl(shared, site)
    site.pages |= handbook("numbat")
    hold(shared, site, docset_id, "/docs/second", pages=4)
    folder = shared.settings.data_dir
    assert [file.name for file in (folder / "refreshing").glob(f"{docset_id}*")]
    assert shared.request("DELETE", f"/docset/{docset_id}").json() == {"success": True, "docsetId": docset_id}
    for _ in range(2):
        assert all("quokka" not in hit["content"] and "numbat" not in hit["content"] for hit in ask(shared, "quokka numbat"))
        assert_error(shared.request("POST", "/refresh", json={"docsetId": docset_id}), 404, docset_id)
        assert [file.name for file in (folder / "refreshing").glob(f"{docset_id}*")] == []
        site.release.set()
        time.sleep(0.3)  # for what may still come
    tables = lancedb.connect(str(folder / "shelf"))
    assert [tables.open_table(name).count_rows(f"docset_id = '{docset_id}'") for name in ("chunks", "vectors")] == [0, 0]
    assert first_crawl(shared, site) == docset_id
    assert ask(shared, "What is said of the numbat?", docset_id)[0]["title"] == "First"


def test_patterns_given_during_a_refresh_hold_in_the_end(shared: Daemon, site: Told) -> None:
    site.pages |= handbook("quagga", "old/a") | {"/docs/old/a": page("Old", section("Past", "dodo"), "b")}
    site.pages["/docs/old/b"] = page("Older", section("Before", "mammoth"))
    docset_id = first_crawl(shared, site)
    hold(shared, site, docset_id, "/docs/second", pages=5)  # what /docs/old/a leads to is the next level
    made = shared.post("/index", baseUrl=site.url, seedSlug="/docs/", exclude=["/docs/old/*"], name="Renamed")
    assert (made["docsetId"], made["seedIndexed"]) == (docset_id, True)
    site.release.set()
    wait_until(lambda: pages_of(shared, docset_id).get("/docs/old/a", {}).get("reason") == "excluded", "the pattern's effect", 30)
    found = at_rest(shared, docset_id)
    assert (found["name"], found["exclude"], found["indexStatus"]["indexedPages"]) == ("Renamed", ["/docs/old/*"], 4)
    assert all("mammoth" not in hit["content"] and "dodo" not in hit["content"] for hit in ask(shared, "mammoth dodo", docset_id))
    site.forget()
    assert refreshed(shared, docset_id)["pages"] == 4
    assert shared.get(f"/docset/{docset_id}")["name"] == "Renamed"
    assert asked_for_pages(site).keys() == {"/docs/", "/docs/first", "/docs/second", "/docs/third"}


def test_a_page_that_is_indexed_by_itself_during_a_refresh_is_kept(shared: Daemon, site: Told) -> None:
    site.pages |= handbook() | {"/docs/island": page("Island", section("Sand", "coconut"))}
    docset_id = first_crawl(shared, site)
    hold(shared, site, docset_id, "/docs/second", pages=4)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(shared.request, "POST", "/index", json={"baseUrl": site.url, "seedSlug": "/docs/island"})
        wait_until(lambda: "/docs/island" in pages_of(shared, docset_id), "the new page in the frontier", 30)
        site.release.set()
        answer = asked.result(60)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["docsetId"], answer.json()["seedIndexed"]) == (docset_id, True)
    at_rest(shared, docset_id)
    assert ask(shared, "What is said of the coconut?", docset_id)[0]["title"] == "Island"
    assert refreshed(shared, docset_id)["pages"] == 5


def test_docsets_are_refreshed_at_once_each_from_its_own_site(shared: Daemon) -> None:
    words = ("narwhal", "ocelot", "platypus", "quetzal", "rhinoceros")
    with ExitStack() as ending:
        sites = [ending.enter_context(Told(handbook("giraffe"))) for _ in words]
        ids = [first_crawl(shared, each) for each in sites]
        for each, word in zip(sites, words, strict=True):
            each.pages |= handbook(word)
            each.gate.clear()
        for docset_id in ids:
            assert shared.post("/refresh", docsetId=docset_id, force=True, fullReindex=True)["refreshed"] is True
        meanwhile = [shared.get(f"/docset/{docset_id}") for docset_id in ids]
        assert all(found["status"] in ("pending", "indexing") for found in meanwhile)
        wait_until(lambda: sum(each.requests["/robots.txt"] == 2 for each in sites) >= 2, "two refreshes under way", 30)
        told = [shared.get(f"/docset/{docset_id}")["refresh"] for docset_id in ids]
        assert [each["fullReindex"] for each in told] == [True] * len(ids)  # also of the one that waits for its turn
        for each in sites:
            each.gate.set()
        for docset_id, word, begun in zip(ids, words, told, strict=True):
            report = settled(shared, docset_id)["lastRefresh"]
            assert (report["pages"], report["begunAt"], report["fullReindex"]) == (4, begun["begunAt"], True)
            assert word in ask(shared, f"What is said of the {word}?", docset_id)[0]["content"]


def test_sites_that_do_not_answer_keep_no_other_docset_from_being_refreshed(shared: Daemon) -> None:
    with ExitStack() as ending:
        *silent, well = [ending.enter_context(Told(handbook("giraffe"))) for _ in range(5)]
        *waiting, docset_id = [first_crawl(shared, each) for each in (*silent, well)]
        for each, of_silent in zip(silent, waiting, strict=True):
            hold(shared, each, of_silent, "/docs/first", "/docs/second", "/docs/third", pages=4)
            each.pages = {path: Answer(500, "Out of order.") for path in each.pages}
            each.release.set()

        def paused(of_silent: str) -> bool:
            return str(shared.get(f"/docset/{of_silent}")["message"]).startswith("Paused: ")

        wait_until(lambda: all(map(paused, waiting)), "four pauses", 30)
        well.pages |= handbook("okapi")
        assert shared.post("/refresh", docsetId=docset_id, force=True)["refreshed"] is True
        assert settled(shared, docset_id, 10)["lastRefresh"]["changed"] == 1
        assert all(map(paused, waiting))
        assert ask(shared, "giraffe", waiting[0])[0]["title"] == "First"


# -- what the site is asked, and what that costs

NO_DATE = "Sun, 1 Nov 2026 10:00:00 GMT"  # not as RFC 9110 wants it: sent back as it came
VALIDATED: dict[str, dict[str, str]] = {
    "/docs/both": {"ETag": '"both-1"', "Last-Modified": "Sun, 01 Nov 2026 10:00:00 GMT"},
    "/docs/etag": {"ETag": '"a:/?=,;b--gzip"'},
    "/docs/weak": {"ETag": 'W/"weak"'},
    "/docs/bare": {"ETag": "v17-no-quotes"},
    "/docs/dated": {"Last-Modified": "Tue, 03 Nov 2026 07:08:09 GMT"},
    "/docs/undated": {"Last-Modified": NO_DATE},
    "/docs/neither": {},
}  # fmt: skip


def conditions(headers: Mapping[str, str]) -> dict[str, str]:
    asked = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
    return {asked[name]: value for name, value in headers.items()}


def validated() -> dict[str, str | Answer]:
    names = [path.rpartition("/")[2] for path in VALIDATED]
    pages: dict[str, str | Answer] = {"/docs/": page("Welcome", section("Begin", "frobnicator"), *names)}
    for name, (path, headers) in zip(names, VALIDATED.items(), strict=True):
        pages[path] = Answer(body=page(name.title(), section("About", f"{name} hedgehog")), headers=headers)
    return pages


def test_validators_are_sent_back_as_they_came_and_what_is_not_modified_is_not_read(shared: Daemon) -> None:
    with Told(validated(), validators="neither") as site:
        docset_id = first_crawl(shared, site)
        before = chunks_of(shared, docset_id), pages_of(shared, docset_id)
        assert all(asked == [{}] for asked in site.conditions.values())
        for _ in range(2):
            site.forget()
            site.answers.clear()
            report = refreshed(shared, docset_id)
            assert {path: site.conditions[path] for path in VALIDATED} == {
                path: [conditions(headers)] for path, headers in VALIDATED.items()
            }
            assert {path for path, status in site.answers if status == 304} == VALIDATED.keys() - {"/docs/neither"}
            assert site.answers["/docs/neither", 200] == site.answers["/docs/", 200] == 1
            assert {name: report[name] for name in ("requests", "pages", "notModified", "embedded", "changed", "unsure")} == {
                "requests": 8, "pages": 8, "notModified": 8, "embedded": 0, "changed": 0, "unsure": 0
            }  # fmt: skip
        assert chunks_of(shared, docset_id) == before[0]
        after = pages_of(shared, docset_id)
        assert {path: found["indexedAt"] for path, found in after.items()} == {
            path: found["indexedAt"] for path, found in before[1].items()
        }
        assert all(after[path]["fetchedAt"] > before[1][path]["fetchedAt"] for path in after)
        for path in site.pages:  # read once, by the first crawl: the same bytes are the same page
            first, *others = page_lines(shared, site, path)
            assert "extracted in" in first
            assert others == ["as it was"] * 2

        site.pages["/docs/etag"] = Answer(304, headers={"ETag": '"newer"', "Last-Modified": NO_DATE})
        refreshed(shared, docset_id)
        site.forget()
        refreshed(shared, docset_id)
        assert site.conditions["/docs/etag"] == [{"If-None-Match": '"newer"', "If-Modified-Since": NO_DATE}]


def test_a_304_to_an_unconditional_request_is_a_failure_of_that_page(shared: Daemon) -> None:
    with Told(validated(), validators="neither") as site:
        docset_id = first_crawl(shared, site)
        names = [path.rpartition("/")[2] for path in VALIDATED]
        site.pages["/docs/"] = page("Welcome", section("Begin", "frobnicator"), *names, "unread")
        site.pages["/docs/neither"] = site.pages["/docs/unread"] = Answer(304)
        report = refreshed(shared, docset_id)
        assert (report["pages"], report["unsure"], report["changed"], report["notModified"]) == (8, 1, 0, 7)
        found = pages_of(shared, docset_id)
        assert (found["/docs/unread"]["status"], found["/docs/unread"]["errorMessage"]) == ("error", "The site answered 304.")
        assert found["/docs/neither"]["status"] == "indexed"
        assert found["/docs/neither"]["errorMessage"] == "Taken as it was before: The site answered 304."
        assert "neither hedgehog" in ask(shared, "Tell me of the neither hedgehog", docset_id)[0]["content"]
        assert all(asked == {} for asked in site.conditions["/docs/unread"])
        site.pages |= {
            "/docs/neither": page("Neither", section("About", "badger")),
            "/docs/unread": page("Unread", section("U", "vole")),
        }
        report = refreshed(shared, docset_id)
        assert (report["unsure"], report["changed"], report["added"], report["embedded"]) == (0, 1, 1, 2)
        assert pages_of(shared, docset_id)["/docs/neither"]["errorMessage"] is None


def test_a_page_that_fails_is_kept_as_it_was_until_it_can_be_had_again(shared: Daemon, site: Told) -> None:
    site.pages |= handbook("walrus", "fourth") | {"/docs/fourth": page("Fourth", section("Four", "tapir"))}
    site.pages["/docs/first"] = page("First", section("One", "walrus"), "below")
    site.pages["/docs/below"] = page("Below", section("Under", "mole"))
    docset_id = first_crawl(shared, site)
    kept = site.pages["/docs/first"]
    site.pages["/docs/first"] = Answer(500, "Out of order.")
    report = refreshed(shared, docset_id)
    assert (report["pages"], report["unsure"], report["removed"]) == (6, 1, 0)
    assert ask(shared, "What is said of the walrus?", docset_id)[0]["title"] == "First"
    assert ask(shared, "What is said of the mole?", docset_id)[0]["title"] == "Below"
    site.pages["/docs/first"] = kept
    site.forget()
    report = refreshed(shared, docset_id)
    assert (report["unsure"], report["notModified"], report["embedded"]) == (0, 6, 0)
    assert site.answers["/docs/first", 304] == 1


def test_the_same_bytes_are_read_anew_when_they_are_declared_otherwise(shared: Daemon) -> None:
    with Told(handbook(), validators="neither") as site:
        body = page("First", section("One", "größte Känguru")).encode()
        site.pages["/docs/first"] = Answer(body=body, content_type="text/html; charset=iso-8859-1")
        site.pages["/docs/second"] = Answer(body=b"# Two\n\n*Two* of [them](x).", content_type="text/html; charset=utf-8")
        docset_id = first_crawl(shared, site)
        assert "grÃ¶" in ask(shared, "Sentence one of the First", docset_id)[0]["content"]
        site.pages["/docs/first"] = Answer(body=body)
        site.pages["/docs/second"] = Answer(body=b"# Two\n\n*Two* of [them](x).", content_type="text/markdown; charset=utf-8")
        assert refreshed(shared, docset_id)["changed"] == 2
        assert "größte Känguru" in ask(shared, "What is said of the größte Känguru?", docset_id)[0]["content"]
        assert pages_of(shared, docset_id)["/docs/second"]["title"] == "Two"


def versions(daemon: Daemon) -> dict[str, int]:
    """The version of each table on the shelf, once nothing waits to be folded in."""
    tables = lancedb.connect(str(daemon.settings.data_dir / "shelf"))

    def now() -> dict[str, int]:
        return {name: tables.open_table(name).version for name in ("chunks", "vectors")}

    def folded() -> bool:
        stats = tables.open_table("chunks").index_stats("words_idx")
        return stats is not None and stats.num_unindexed_rows == 0

    wait_until(folded, "the folding in of new rows", 30)
    found: dict[str, int] = {}
    while found != (found := now()):
        time.sleep(0.2)
    return found


def test_another_menu_rewrites_nothing(shared: Daemon, site: Told) -> None:
    site.pages |= handbook("lemur")
    docset_id = first_crawl(shared, site)
    chunks, before = chunks_of(shared, docset_id), versions(shared)
    indexed_at = {path: found["indexedAt"] for path, found in pages_of(shared, docset_id).items()}
    for path, body in handbook("lemur").items():
        assert isinstance(body, str)
        site.pages[path] = body.replace("<nav>", "<nav>Built on Monday <a href='second'>Two</a>") + "<footer>Today</footer>"
    report = refreshed(shared, docset_id)
    assert {name: report[name] for name in ("notModified", "changed", "embedded", "requests")} == {
        "notModified": 4, "changed": 0, "embedded": 0, "requests": 4
    }  # fmt: skip
    assert versions(shared) == before
    assert chunks_of(shared, docset_id) == chunks
    assert {path: found["indexedAt"] for path, found in pages_of(shared, docset_id).items()} == indexed_at
    assert "extracted in" in page_lines(shared, site, "/docs/first")[-1]
    site.forget()
    assert refreshed(shared, docset_id)["notModified"] == 4
    assert site.answers["/docs/first", 304] == 1  # by the validator of the page as it is now


# -- what is embedded


def sections(*words: str) -> str:
    return "".join(section(f"Part {number}", word, f"part{number}") for number, word in enumerate(words))


def test_of_a_changed_page_only_the_changed_text_is_embedded_and_not_again_when_it_comes_back(shared: Daemon, site: Told) -> None:
    site.pages |= handbook() | {"/docs/second": page("Second", sections("alder", "birch", "cedar", "dogwood"))}
    docset_id = first_crawl(shared, site)
    before = chunks_of(shared, docset_id)
    site.pages["/docs/second"] = page("Second", sections("alder", "birch", "ebony", "dogwood"))
    report = refreshed(shared, docset_id)
    assert {name: report[name] for name in ("changed", "notModified", "embedded")} == {
        "changed": 1, "notModified": 3, "embedded": 1
    }  # fmt: skip
    after = chunks_of(shared, docset_id)
    changed = [(old, new) for old, new in zip(before.pop("/docs/second"), after["/docs/second"], strict=True) if old != new]
    assert len(changed) == len(texts(after) - texts(before) - {old[1] for old, _ in changed}) - 3 == 1
    assert {path: of_page for path, of_page in after.items() if path != "/docs/second"} == before
    assert "ebony" in ask(shared, "What is said of the ebony?", docset_id)[0]["content"]
    assert all("cedar" not in hit["content"] for hit in ask(shared, "What is said of the cedar?", docset_id))

    site.pages["/docs/second"] = page("Second", sections("alder", "birch", "cedar", "dogwood"))
    report = refreshed(shared, docset_id)
    assert (report["changed"], report["embedded"]) == (1, 0)
    assert changed[0][0] in chunks_of(shared, docset_id)["/docs/second"]
    assert "cedar" in ask(shared, "What is said of the cedar?", docset_id)[0]["content"]
    assert all("ebony" not in hit["content"] for hit in ask(shared, "What is said of the ebony?", docset_id))


def test_text_that_moves_is_not_embedded_again(shared: Daemon, site: Told) -> None:
    site.pages |= handbook() | {"/docs/second": page("Second", sections("alder", "birch", "cedar"))}
    docset_id = first_crawl(shared, site)
    site.pages |= {
        "/docs/": page("Welcome", section("Begin", "frobnicator"), "first", "moved", "third"),
        "/docs/moved": page("Second", section("Part 2", "cedar", "part2") + section("Part 0", "alder", "other")),
    }
    site.pages.pop("/docs/second")
    report = refreshed(shared, docset_id)
    assert (report["added"], report["removed"], report["embedded"]) == (1, 1, 0)
    (first, *_) = ask(shared, "What is said of the alder?", docset_id)
    assert first["url"] == f"{site.url}/docs/moved#other"


def test_text_in_two_docsets_is_embedded_once(shared: Daemon, site: Told) -> None:
    with Told(handbook("linden")) as other:
        site.pages |= handbook("linden")
        ids = [first_crawl(shared, each) for each in (site, other)]
        for each in (site, other):
            each.pages |= handbook("poplar")
        assert [refreshed(shared, docset_id)["embedded"] for docset_id in ids] == [1, 0]
        for docset_id in ids:
            assert "poplar" in ask(shared, "What is said of the poplar?", docset_id)[0]["content"]
        assert shared.request("DELETE", f"/docset/{ids[0]}").status_code == 200
        assert "poplar" in ask(shared, "What is said of the poplar?", ids[1])[0]["content"]
        assert refreshed(shared, ids[1])["embedded"] == 0


def test_a_full_reindex_embeds_every_text_once_and_changes_no_chunk(shared: Daemon, site: Told) -> None:
    same = section("Licence", "licence")
    site.pages |= handbook("marten", "a/log", "b/log") | {
        f"/docs/{part}/log": page("Log", same + section("News", f"{part} marmot")) for part in ("a", "b")
    }
    docset_id = first_crawl(shared, site)
    before, listed = chunks_of(shared, docset_id), pages_of(shared, docset_id)
    number = sum(len(of_page) for of_page in before.values())
    site.forget()
    report = refreshed(shared, docset_id, fullReindex=True)
    assert all(asked == [{}] for asked in site.conditions.values())
    assert (report["fullReindex"], report["requests"], report["pages"]) == (True, 6, 6)
    assert report["embedded"] == len(texts(before)) == number - 1
    assert chunks_of(shared, docset_id) == before
    after = pages_of(shared, docset_id)
    assert [after[path]["id"] for path in listed] == [listed[path]["id"] for path in listed]
    assert all("extracted in" in page_lines(shared, site, path)[-1] for path in site.pages)
    shelf = lancedb.connect(str(shared.settings.data_dir / "shelf"))
    of_docset = f"docset_id = '{docset_id}'"
    for name in ("chunks", "vectors"):
        rows = shelf.open_table(name).search().where(of_docset).limit(1_000).to_arrow()["id"].to_pylist()
        assert sorted(rows) == sorted(id_ for of_page in before.values() for id_, _ in of_page)
    assert refreshed(shared, docset_id)["embedded"] == 0


# -- what became of each page


@dataclass(frozen=True)
class Changed:
    """A site that changed in many ways, before and after one refresh."""

    site: Told
    docset_id: str
    before: dict[str, Any]
    after: dict[str, Any]
    chunks_before: dict[str, list[tuple[str, str]]]
    chunks_after: dict[str, list[tuple[str, str]]]
    report: dict[str, Any]


STAYING = ("same", "still", "quiet", "calm", "rest", "idle")


@pytest.fixture(scope="module")
def changed(shared: Daemon) -> Iterator[Changed]:
    going = ("gone404", "gone410", "moved", "out", "unlinked", "forbidden", "noindex", "noindex-header", "login")
    others = ("title", "anchors", "returning", "shy")
    pages: dict[str, str | Answer] = {
        f"/docs/{name}": page(name.title(), section("About", f"{name} otter")) for name in (*STAYING, *going, *others)
    }
    pages["/docs/"] = page("Welcome", section("Begin", "frobnicator"), *STAYING, *going, *others)
    pages["/docs/returning"] = Answer(404, "Not yet.")
    pages["/docs/shy"] = page("Shy", section("About", "shy otter"), head='<meta name="robots" content="noindex">')
    pages["/docs/unlinked"] = page("Unlinked", section("About", "unlinked otter"), "deep")
    pages["/docs/deep"] = page("Deep", section("About", "deep otter"))
    with Told(pages) as site:
        docset_id = first_crawl(shared, site)
        before, chunks_before = pages_of(shared, docset_id), chunks_of(shared, docset_id)
        links = (*STAYING, *(name for name in going if name != "unlinked"), *others, "new")
        site.pages |= {
            "/robots.txt": Answer(
                body=f"User-agent: *\nDisallow: /docs/forbidden\nSitemap: {site.url}/map.xml", content_type="text/plain"
            ),
            "/map.xml": Answer(body=f"<urlset><url><loc>{site.url}/docs/mapped</loc></url></urlset>", content_type="text/xml"),
            "/docs/": page("Welcome", section("Begin", "frobnicator"), *links),
            "/docs/new": page("New", section("About", "new otter"), "newer"),
            "/docs/newer": page("Newer", section("About", "newer otter")),
            "/docs/mapped": page("Mapped", section("About", "mapped otter")),
            "/docs/gone404": Answer(404, "Gone."),
            "/docs/gone410": Answer(410, "Gone."),
            "/docs/login": Answer(401, "Who are you?"),
            "/docs/moved": Answer(301, headers={"Location": "/docs/moved-to"}),
            "/docs/moved-to": page("Moved", section("About", "moved otter")),
            "/docs/out": Answer(302, headers={"Location": "/elsewhere"}),
            "/docs/noindex": page("Noindex", section("About", "noindex otter"), head="<meta name=robots content=noindex>"),
            "/docs/noindex-header": Answer(  # the same bytes, and another header
                body=page("Noindex-Header", section("About", "noindex-header otter")),
                headers={"X-Robots-Tag": "noindex", "ETag": '"not to be indexed"'},
            ),
            "/docs/title": page("Headline", section("About", "title otter")),
            "/docs/anchors": page("Anchors", section("About", "anchors otter", "elsewhere")),
            "/docs/returning": page("Returning", section("About", "returning otter")),
            "/docs/shy": page("Shy", section("About", "shy otter")),
        }
        site.forget()
        report = refreshed(shared, docset_id)
        yield Changed(site, docset_id, before, pages_of(shared, docset_id), chunks_before, chunks_of(shared, docset_id), report)


@pytest.mark.parametrize(
    ("path", "was", "now"),
    [
        *((f"/docs/{name}", "indexed", "indexed") for name in (*STAYING, "title", "anchors")),
        ("/docs/", "indexed", "indexed"),
        ("/docs/new", None, "indexed"),
        ("/docs/newer", None, "indexed"),
        ("/docs/mapped", None, "indexed"),
        ("/docs/returning", "gone", "indexed"),
        ("/docs/shy", "noindex", "indexed"),
        ("/docs/gone404", "indexed", "gone"),
        ("/docs/gone410", "indexed", "gone"),
        ("/docs/login", "indexed", "forbidden"),
        ("/docs/moved", "indexed", None),
        ("/docs/moved-to", None, "indexed"),
        ("/docs/out", "indexed", "moved-out"),
        ("/docs/unlinked", "indexed", None),
        ("/docs/deep", "indexed", None),
        ("/docs/forbidden", "indexed", "robots"),
        ("/docs/noindex", "indexed", "noindex"),
        ("/docs/noindex-header", "indexed", "noindex"),
    ],
)  # fmt: skip
def test_every_kind_of_change_comes_to_its_outcome(
    shared: Daemon, changed: Changed, path: str, was: str | None, now: str | None
) -> None:
    def outcome(found: dict[str, Any]) -> str | None:
        return found[path]["reason"] or found[path]["status"] if path in found else None

    assert (outcome(changed.before), outcome(changed.after)) == (was, now)
    assert (path in changed.chunks_after) is (now == "indexed")
    about = path.rpartition("/")[2]
    if about:
        urls = {hit["url"].partition("#")[0] for hit in ask(shared, f"The {about} otter", changed.docset_id, topK=50)}
        assert (changed.site.url + path in urls) is (now == "indexed")


def test_the_report_counts_what_was_changed_added_and_removed(changed: Changed) -> None:
    expected = {
        "done": True, "fullReindex": False, "message": None, "pages": 15, "notModified": 7, "changed": 2, "added": 6,
        "removed": 10, "unsure": 0,
    }  # fmt: skip
    assert {name: changed.report[name] for name in expected} == expected
    assert changed.report["requests"] == sum(
        number for path, number in asked_for_pages(changed.site).items() if path != "/map.xml"
    )
    assert changed.report["embedded"] == len(texts(changed.chunks_after) - texts(changed.chunks_before)) == 6
    assert changed.site.requests["/docs/forbidden"] == changed.site.requests["/docs/unlinked"] == 0
    assert changed.site.requests["/robots.txt"] == changed.site.requests["/map.xml"] == 1


def test_what_stays_keeps_its_pages_and_chunks(changed: Changed) -> None:
    for path in (f"/docs/{name}" for name in STAYING):
        assert changed.chunks_after[path] == changed.chunks_before[path]
        assert changed.after[path] | {"fetchedAt": 0} == changed.before[path] | {"fetchedAt": 0}
        assert changed.after[path]["fetchedAt"] > changed.before[path]["fetchedAt"]


def test_a_new_title_and_a_new_anchor_reach_the_results(shared: Daemon, changed: Changed) -> None:
    titled = ask(shared, "The title otter", changed.docset_id)[0]
    assert (titled["title"], titled["snippet"]["title"]) == ("Headline", "Headline")
    assert titled["snippet"]["formatted"].startswith("## Headline\n")
    anchored = ask(shared, "The anchors otter", changed.docset_id)[0]
    assert anchored["url"] == f"{changed.site.url}/docs/anchors#elsewhere"
    (old,), (new,) = changed.chunks_before["/docs/anchors"], changed.chunks_after["/docs/anchors"]
    assert old[0] != new[0]
    assert old[1] == new[1]  # the text is the same: it is not embedded again


def test_why_tells_what_became_of_a_page_in_the_refresh(shared: Daemon, changed: Changed) -> None:
    def why(path: str) -> Any:
        return shared.get("/why", url=changed.site.url + path)["docsets"][0]

    assert why("/docs/moved")["redirects"] == [
        {"url": f"{changed.site.url}/docs/moved", "target": f"{changed.site.url}/docs/moved-to", "how": "HTTP 301"}
    ]
    assert why("/docs/forbidden")["robotsAllowed"] is False
    assert why("/docs/unlinked")["status"] is None
    assert why("/docs/mapped")["discoveredFrom"] == f"{changed.site.url}/map.xml"
    assert (why("/docs/same")["requests"], why("/docs/same")["httpStatus"]) == (1, 304)


def test_another_refresh_finds_nothing_left_to_do(shared: Daemon, changed: Changed) -> None:
    report = refreshed(shared, changed.docset_id)
    assert {name: report[name] for name in ("notModified", "changed", "added", "removed", "embedded")} == {
        "notModified": 15, "changed": 0, "added": 0, "removed": 0, "embedded": 0
    }  # fmt: skip
    assert chunks_of(shared, changed.docset_id) == changed.chunks_after


def test_another_language_of_the_first_page_decides_anew_about_all_others(shared: Daemon, site: Told) -> None:
    pages = {f"/docs/{language}{n}": page(f"{language}{n}", section("A", f"{language} lynx {n}"), language=language)
             for language in ("en", "de") for n in range(3)}  # fmt: skip
    names = [path.rpartition("/")[2] for path in pages]
    site.pages |= {"/docs/": page("Welcome", section("Begin", "frobnicator"), *names), **pages}
    docset_id = first_crawl(shared, site)
    assert {path for path, found in pages_of(shared, docset_id).items() if found["status"] == "indexed"} == {
        "/docs/", "/docs/en0", "/docs/en1", "/docs/en2"
    }  # fmt: skip
    site.pages["/docs/"] = page("Willkommen", section("Beginn", "frobnicator"), *names, language="de")
    site.forget()
    report = refreshed(shared, docset_id)
    found = pages_of(shared, docset_id)
    assert {path: each["reason"] or each["status"] for path, each in found.items()} == {
        "/docs/": "indexed",
        **{
            f"/docs/{language}{n}": "other-language" if language == "en" else "indexed"
            for language in ("en", "de")
            for n in range(3)
        },
    }
    assert (report["added"], report["removed"]) == (3, 3)
    assert shared.get(f"/docset/{docset_id}")["language"] == "de"
    assert all(asked == [{}] for path, asked in site.conditions.items() if path in pages)  # not modified, and yet to be read
    site.forget()
    assert refreshed(shared, docset_id)["notModified"] == 4
    assert site.answers["/docs/de0", 304] == 1


def test_a_docset_with_two_seeds_keeps_both(shared: Daemon, site: Told) -> None:
    site.pages |= handbook() | {
        "/docs/island": page("Island", section("Sand", "coconut"), "lagoon"),
        "/docs/lagoon": page("Lagoon", section("Water", "dugong")),
    }
    docset_id = first_crawl(shared, site)
    assert first_crawl(shared, site, "/docs/island") == docset_id
    for word in ("okapi", "zebu"):
        site.pages |= handbook(word)
        report = refreshed(shared, docset_id)
        assert (report["pages"], report["changed"], report["removed"]) == (6, 1, 0)
        found = pages_of(shared, docset_id)
        assert {path for path, each in found.items() if each["status"] == "indexed"} == site.pages.keys()
        assert (found["/docs/island"]["depth"], found["/docs/island"]["discoveredFrom"]) == (0, None)
    site.pages["/docs/island"] = Answer(404, "Sunken.")
    assert refreshed(shared, docset_id)["removed"] == 2
    site.pages["/docs/island"] = page("Island", section("Sand", "coconut"))
    assert refreshed(shared, docset_id)["added"] == 1


def test_the_most_pages_of_a_docset_are_kept_to(shared: Daemon, site: Told) -> None:
    site.pages |= handbook("stork", "fourth", "fifth")
    site.pages |= {f"/docs/{name}": page(name, section("More", f"{name} heron")) for name in ("fourth", "fifth")}
    docset_id = first_crawl(shared, site, maxPages=4)
    before = shared.get(f"/docset/{docset_id}")
    assert "(max_pages) left out 2 more" in before["message"]
    assert refreshed(shared, docset_id)["notModified"] == 4
    assert shared.get(f"/docset/{docset_id}")["message"] == before["message"]
    site.pages["/docs/second"] = Answer(404)
    report = refreshed(shared, docset_id)
    assert (report["pages"], report["added"], report["removed"]) == (4, 1, 1)
    assert "(max_pages) left out 1 more" in shared.get(f"/docset/{docset_id}")["message"]


def inventory(*names: str) -> Answer:
    lines = "".join(f"{name} py:function 1 first#one -\n" for name in names)
    return Answer(body=b"# Sphinx inventory version 2\n#\n#\n#\n" + zlib.compress(lines.encode()), content_type="application/x")


def names_of(daemon: Daemon, docset_id: str) -> set[str]:
    with catalog(daemon) as db:
        return {str(name) for (name,) in db.execute("SELECT name FROM symbols WHERE docset_id = ?", (docset_id,)).fetchall()}


def test_names_that_a_site_lists_are_taken_anew(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    sphinx = '<script id="documentation_options" data-url_root="./"></script>'
    site.pages["/docs/"] = page("Welcome", section("Begin", "frobnicator"), "first", "second", "third", head=sphinx)
    site.pages["/docs/objects.inv"] = inventory("zoo.feed")
    docset_id = first_crawl(shared, site)
    assert names_of(shared, docset_id) == {"zoo.feed"}

    site.pages["/docs/objects.inv"] = inventory("zoo.clean")
    report = refreshed(shared, docset_id)
    assert (report["notModified"], names_of(shared, docset_id)) == (4, {"zoo.clean"})

    site.pages |= handbook("okapi") | {"/docs/": site.pages["/docs/"]}  # another text of the page that the name is on
    assert refreshed(shared, docset_id)["changed"] == 1
    assert names_of(shared, docset_id) == {"zoo.clean"}

    site.pages["/docs/objects.inv"] = Answer(503)  # what cannot be read today is as it was
    assert refreshed(shared, docset_id)["changed"] == 0
    assert names_of(shared, docset_id) == {"zoo.clean"}

    site.pages["/docs/objects.inv"] = Answer(404)
    assert refreshed(shared, docset_id)["changed"] == 0


def test_names_of_a_page_that_changed_while_their_list_could_not_be_read_come_back_with_it(shared: Daemon, site: Told) -> None:
    site.pages |= handbook()
    sphinx = '<script id="documentation_options" data-url_root="./"></script>'
    site.pages["/docs/"] = page("Welcome", section("Begin", "frobnicator"), "first", "second", "third", head=sphinx)
    listed = site.pages["/docs/objects.inv"] = inventory("zoo.feed")
    docset_id = first_crawl(shared, site)
    site.pages |= handbook("okapi") | {"/docs/": site.pages["/docs/"], "/docs/objects.inv": Answer(500)}
    assert refreshed(shared, docset_id)["changed"] == 1
    site.pages["/docs/objects.inv"] = listed
    refreshed(shared, docset_id)
    assert names_of(shared, docset_id) == {"zoo.feed"}


# -- when it fails


def test_a_site_that_has_become_something_else_changes_nothing(shared: Daemon, site: Told) -> None:
    site.pages |= handbook("puffin")
    docset_id = first_crawl(shared, site)
    before, chunks = shared.get(f"/docset/{docset_id}"), chunks_of(shared, docset_id)
    site.pages = {path: Answer(404, "Nothing.") for path in site.pages} | {"/docs/": page("Log in", section("Who", "password"))}
    assert shared.post("/refresh", docsetId=docset_id, force=True)["refreshed"] is True
    found = settled(shared, docset_id)
    report = found["lastRefresh"]
    assert_shape(report, REPORT)
    assert (found["status"], report["done"], report["pages"], report["embedded"]) == ("ready", False, 0, 0)
    assert report["message"] == found["message"]
    assert "found only 1 of 4 pages, and nothing was changed" in report["message"]
    assert (found["crawledAt"], found["indexStatus"], chunks_of(shared, docset_id)) == (
        before["crawledAt"], before["indexStatus"], chunks
    )  # fmt: skip
    assert ask(shared, "What is said of the puffin?", docset_id)[0]["title"] == "First"
    site.pages = handbook("puffin")
    assert refreshed(shared, docset_id)["notModified"] == 4
    assert shared.get(f"/docset/{docset_id}")["message"] is None


# -- questions meanwhile


def test_a_question_finds_the_old_state_or_the_new_one_and_never_neither_or_both(shared: Daemon, site: Told) -> None:
    site.pages |= handbook("aardwolf, as the first edition has it,")
    docset_id = first_crawl(shared, site)
    site.pages |= handbook("aardwolf, as the second edition has it,")
    seen: list[str] = []
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            contents = [hit["content"] for hit in ask(shared, "aardwolf", docset_id) if "aardwolf" in hit["content"]]
            seen.append("+".join(edition for edition in ("first", "second") for text in contents if f"{edition} edition" in text))

    with ThreadPoolExecutor(2) as pool:
        polling = [pool.submit(poll) for _ in range(2)]
        try:
            hold(shared, site, docset_id, "/docs/second", pages=4)
            asked = len(seen)
            wait_until(lambda: len(seen) >= asked + 10, "ten more answers", 30)
            assert set(seen) == {"first"}
            site.release.set()
            settled(shared, docset_id)
            asked = len(seen)
            wait_until(lambda: len(seen) >= asked + 10, "ten more answers", 30)
        finally:
            stop.set()
        for one in polling:
            one.result()
    assert set(seen) == {"first", "second"}, Counter(seen)
    assert set(seen[-6:]) == {"second"}


# -- a stop, a schedule


def test_a_refresh_that_was_stopped_goes_on_at_the_next_start(make_daemon: Callable[..., Daemon]) -> None:
    with StoppingSite() as site:
        site.begin(None)
        daemon = make_daemon(requests_per_host=AT_ONCE, request_timeout_s=120)
        with daemon:
            docset_id = first_crawl(daemon, site)
            before = chunks_of(daemon, docset_id)
            edited = str(site.pages["/docs/p3"]).replace("tells of the", "no longer tells of the")
            site.pages["/docs/p3"] = edited
            site.begin(hold_after=15)
            begun = daemon.post("/refresh", docsetId=docset_id, force=True)
            assert begun["refreshed"] is True
            wait_until(lambda: site.asked_for_pages == 15 + AT_ONCE, "the site's holding still", 30)

            def done_pages() -> int:
                found = daemon.get(f"/docset/{docset_id}")["refresh"]
                return int(found["pages"] - found["pendingPages"])

            wait_until(lambda: done_pages() == 15, "15 pages", 30)
            begun_at = daemon.get(f"/docset/{docset_id}")["refresh"]["begunAt"]
            asked = {path for path in site.pages if site.requests[path]}
            daemon.end(signal.SIGTERM)
            assert daemon.process is not None
            assert daemon.process.returncode == 0
            assert chunks_of(daemon, docset_id) == before
            site.let_go()
            daemon.start()
            assert daemon.get(f"/docset/{docset_id}")["indexStatus"]["indexedPages"] == PAGES + 1
            report = settled(daemon, docset_id)["lastRefresh"]
            assert (report["done"], report["begunAt"], report["pages"]) == (True, begun_at, PAGES + 1)
            assert (report["changed"], report["notModified"]) == (1, PAGES)
            twice = {path for path in site.pages if site.requests[path] != 1}
            assert twice <= asked
            assert len(twice) == AT_ONCE  # those that were under way
            assert site.requests["/robots.txt"] == 1
            assert "no longer tells" in ask(daemon, "What does page 3 no longer tell of?", docset_id)[0]["content"]
            assert list((daemon.settings.data_dir / "refreshing").iterdir()) == []


def test_what_is_older_than_the_setting_is_refreshed_by_itself(make_daemon: Callable[..., Daemon], site: Told) -> None:
    site.pages |= handbook()
    with make_daemon(refresh_hours=0.0005, request_attempts=1) as daemon:
        docset_id = str(daemon.post("/index", baseUrl=site.url, seedSlug="/docs/")["docsetId"])
        daemon.wait_ready(docset_id, timeout_s=30)
        site.pages |= handbook("okapi")
        ends = set()

        def two_reports() -> bool:
            report = daemon.get(f"/docset/{docset_id}")["lastRefresh"]
            if report is not None:
                ends.add(report["begunAt"])
            return len(ends) == 2

        wait_until(two_reports, "two refreshes", 30)
        first, second = sorted(ends)
        assert second - first > 0.0005 * HOUR_MS  # not again before it is as old as that
        assert ask(daemon, "What is said of the okapi?", docset_id)[0]["title"] == "First"


def test_without_the_setting_nothing_is_refreshed_by_itself(shared: Daemon, site: Told) -> None:
    assert shared.settings.refresh_hours == 0
    site.pages |= handbook()
    docset_id = first_crawl(shared, site)
    make_older(shared, docset_id, 10_000)
    site.forget()
    time.sleep(1)
    assert site.requests.total() == 0
    assert shared.get(f"/docset/{docset_id}")["lastRefresh"] is None


# -- from a shell


@dataclass(frozen=True)
class Shelved:
    """Two docsets of a daemon of their own."""

    daemon: Daemon
    atlas: str
    atlas_site: Told
    log: str
    log_site: Told


@pytest.fixture(scope="module")
def cron(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Shelved]:
    atlas = {path: str(body).replace("Handbook", "Atlas") for path, body in handbook("fjord").items()}
    log = {path: str(body).replace("Handbook", "Logbook") for path, body in handbook("anchor").items()}
    with (
        Asked(tmp_path_factory.mktemp("cron") / "data", cache_dir, request_attempts=1) as daemon,
        Told(atlas) as atlas_site,
        Told(log) as log_site,
    ):
        yield Shelved(daemon, first_crawl(daemon, atlas_site), atlas_site, first_crawl(daemon, log_site), log_site)


def in_process(daemon: Daemon, *arguments: str, ends_with: int) -> str:
    """What a command says to standard output that asks no daemon; it is spared a process of its own."""
    ended = CliRunner().invoke(main, arguments, env=daemon.environment)
    assert isinstance(ended.exception, SystemExit | None), ended.exception
    assert ended.exit_code == ends_with, ended.output
    return ended.stdout


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("refresh", ("DOCSET", "--force", "--max-age HOURS", "--full", "--wait", "--no-start", "--json")),
        ("refresh-all", ("--force", "--max-age HOURS", "--full", "--wait", "--no-start", "--json")),
        ("doctor", ("--fix", "--json")),
    ],
)
def test_the_help_names_every_option(cron: Shelved, command: str, options: tuple[str, ...]) -> None:
    said = in_process(cron.daemon, command, "--help", ends_with=0)
    assert [option for option in options if not re.search(rf"{option}\b", said)] == []
    assert re.search(r"Ends with 1|do it|For cron", said)


@pytest.mark.parametrize(
    "arguments",
    [
        ["refresh"],
        ["refresh", "Atlas", "Logbook"],
        ["refresh", "Atlas", "--max-age", "-1"],
        ["refresh", "Atlas", "--max-age", "nan"],
        ["refresh-all", "--max-age", "often"],
        ["refresh-all", "Atlas"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_ends_with_2(cron: Shelved, arguments: list[str]) -> None:
    assert in_process(cron.daemon, *arguments, ends_with=2) == ""


def test_a_docset_is_refreshed_from_a_shell(cron: Shelved) -> None:
    daemon, site = cron.daemon, cron.atlas_site
    site.forget()
    assert re.fullmatch(r"Atlas is fresh: .* minutes ago.*\n", done(run(daemon, "refresh", "Atlas", "--wait")))
    fresh = document(done(run(daemon, "refresh", f"{site.url}/docs/first", "--max-age", "0.5", "--json")))
    assert (fresh.keys(), fresh["refreshed"], fresh["docsetId"]) == (REFRESH.keys(), False, cron.atlas)
    assert site.requests.total() == 0

    site.pages["/docs/second"] = page("Second", section("Two", "glacier"), site="Atlas")
    finished = run(daemon, "refresh", cron.atlas[:6], "--max-age", "0", "--wait")
    assert done(finished) == "Atlas: 4 pages, 1 changed, 0 added, 0 removed, 1 texts embedded\n"
    assert finished.stderr == ""
    assert "glacier" in ask(daemon, "What is said of the glacier?", cron.atlas)[0]["content"]
    assert re.search(r"^  refresh \d+ seconds ago: 4 pages, 1 changed", done(run(daemon, "status", "Atlas")), re.MULTILINE)

    finished = run(daemon, "refresh", "Atlas", "--force", "--full", "--wait", "--json")
    (found,) = document(done(finished))
    assert (found["id"], found["lastRefresh"]["fullReindex"], found["lastRefresh"]["embedded"]) == (cron.atlas, True, 4)
    assert (finished.stdout.count("\n"), finished.stderr) == (1, "")


def test_a_refresh_without_waiting_returns_at_once(cron: Shelved) -> None:
    site = cron.log_site
    site.gate.clear()
    try:
        answer = document(done(run(cron.daemon, "refresh", "Logbook", "--force", "--json")))
        assert_shape(answer, REFRESH)
        assert answer["refreshed"] is True
        said = done(run(cron.daemon, "status", "Logbook"))
        assert re.search(r"^  refresh Logbook: \d+ of \d+ pages found", said, re.MULTILINE)
    finally:
        site.gate.set()
    assert settled(cron.daemon, cron.log)["lastRefresh"]["done"] is True


def test_refresh_all_is_quiet_when_all_is_well(cron: Shelved) -> None:
    for site in (cron.atlas_site, cron.log_site):
        site.forget()
    finished = run(cron.daemon, "refresh-all")
    assert (done(finished), finished.stderr) == ("", "")
    assert cron.atlas_site.requests.total() == cron.log_site.requests.total() == 0
    make_older(cron.daemon, cron.log, 30)
    finished = run(cron.daemon, "refresh-all", "--wait")
    assert (done(finished), finished.stderr) == ("", "")
    assert cron.atlas_site.requests.total() == 0
    assert settled(cron.daemon, cron.log)["lastRefresh"]["requests"] == 4
    body = document(done(run(cron.daemon, "refresh-all", "--json")))
    assert (body["total"], body["refreshed"], len(body["results"])) == (2, 0, 2)
    found = document(done(run(cron.daemon, "refresh-all", "--force", "--wait", "--json")))
    assert {each["id"] for each in found} == {cron.atlas, cron.log}
    assert all(each["lastRefresh"]["done"] for each in found)


def test_over_http_all_that_is_stale_is_refreshed(cron: Shelved) -> None:
    make_older(cron.daemon, cron.atlas, 3)
    body = cron.daemon.post("/refresh-all", maxAge=2.5)
    assert_shape(body, {"total": int, "refreshed": int, "results": [REFRESH]})
    assert (body["total"], body["refreshed"]) == (2, 1)
    assert {result["docsetId"]: result["refreshed"] for result in body["results"]} == {cron.atlas: True, cron.log: False}
    assert all(result.keys() == REFRESH.keys() for result in body["results"])
    settled(cron.daemon, cron.atlas)
    body = cron.daemon.post("/refresh-all", force=True)
    assert (body["total"], body["refreshed"]) == (2, 2)
    for docset_id in (cron.atlas, cron.log):
        settled(cron.daemon, docset_id)


def test_each_docset_that_failed_is_a_line_and_ends_with_1(cron: Shelved) -> None:
    whole = {site: dict(site.pages) for site in (cron.atlas_site, cron.log_site)}
    try:
        cron.log_site.pages = {path: Answer(500, "Out of order.") for path in whole[cron.log_site]}
        assert_one_sentence(run(cron.daemon, "refresh", "Logbook", "--force", "--wait"), 1, rf"^Logbook \({cron.log}\): .*500")
        cron.atlas_site.pages = {"/docs/": page("Log in", section("Who", "password"))}
        finished = run(cron.daemon, "refresh-all", "--force", "--wait")
        assert done(finished, 1) == ""
        first, second = finished.stderr.splitlines()
        assert re.match(rf"Atlas \({cron.atlas}\): .*only 1 of 4 pages", first)
        assert re.match(rf"Logbook \({cron.log}\): ", second)
        finished = run(cron.daemon, "refresh", "Logbook", "--force", "--wait", "--json")
        assert [each["lastRefresh"]["done"] for each in document(done(finished, 1))] == [False]
        assert "refresh" in done(run(cron.daemon, "status", "Logbook"))
        assert "failed, nothing was changed" in done(run(cron.daemon, "status", "Logbook"))
    finally:
        for site, pages in whole.items():
            site.pages = pages
    assert done(run(cron.daemon, "refresh-all", "--force", "--wait")) == ""


def test_a_docset_that_is_unknown_ends_with_4_and_a_daemon_that_is_none_with_3(
    cron: Shelved, make_daemon: Callable[..., Daemon]
) -> None:
    assert_one_sentence(run(cron.daemon, "refresh", "Almanac", "--json"), 4, "no docset 'Almanac'")
    nobody = make_daemon("nobody")
    assert_one_sentence(run(nobody, "refresh", "Atlas", "--no-start"), 3, "docworker does not run")
    assert_one_sentence(run(nobody, "refresh-all", "--no-start", "--json"), 3, "docworker does not run")
    assert not nobody.settings.data_dir.exists()


# -- doctor


DOCTOR: Mapping[str, Shape] = {"ok": bool, "checks": [{"name": str, "ok": bool, "message": str, "fixed": bool}]}


def by_name(found: Any) -> dict[str, Any]:
    return {check["name"]: check for check in found["checks"]}


def test_doctor_finds_nothing_wrong_with_what_is_well(cron: Shelved) -> None:
    body = cron.daemon.post("/doctor")
    assert_shape(body, DOCTOR)
    assert body["ok"] is True
    assert by_name(body).keys() == {"catalog", "index", "disk", "model"}
    assert cron.daemon.request("POST", "/doctor").json()["ok"] is True  # without a body
    for fields in ({"fix": "yes"}, {"fix": 1}, {"mend": True}):
        assert_error(cron.daemon.request("POST", "/doctor", json=fields), 400, f"^{next(iter(fields))}: ")
    said = done(run(cron.daemon, "doctor"))
    assert [line.split()[0] for line in said.splitlines()] == ["ok"] * 5
    assert cron.daemon.url in said


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE chunks SET embedded = 0 WHERE seq IN (SELECT min(seq) FROM chunks)", "1 have a wrong note"),
        ("DELETE FROM chunks WHERE seq IN (SELECT max(seq) FROM chunks)", "1 are there that no page has"),
    ],
    ids=["note", "row"],
)
def test_doctor_mends_an_index_that_disagrees_with_its_catalog(cron: Shelved, damage: str, said: str) -> None:
    folder = cron.daemon.settings.data_dir
    with catalog(cron.daemon) as db:
        kept = db.execute("SELECT * FROM chunks").fetchall()
        db.execute(damage).fetchall()
    try:
        finished = run(cron.daemon, "doctor")
        assert finished.returncode == 1
        assert re.search(rf"^wrong +index: .*{said}", finished.stdout, re.MULTILINE)
        assert re.search(r"docworker doctor --fix", finished.stderr)
        finished = run(cron.daemon, "doctor", "--fix", "--json")
        mended = by_name(document(done(finished)))["index"]
        assert (mended["ok"], mended["fixed"]) == (True, True)
        assert "disagree" in mended["message"]
        assert by_name(cron.daemon.post("/doctor"))["index"] == {
            "name": "index", "ok": True, "message": "Index and catalog agree.", "fixed": False
        }  # fmt: skip
        tables = lancedb.connect(str(folder / "shelf"))
        with catalog(cron.daemon) as db:
            listed = {str(id_) for (id_,) in db.execute("SELECT id FROM chunks WHERE embedded").fetchall()}
        for name in ("chunks", "vectors"):
            assert set(tables.open_table(name).to_arrow()["id"].to_pylist()) == listed
    finally:
        if "DELETE" in damage:  # the page has lost a chunk for good: it is made again
            assert len(kept) == 8
            refreshed(cron.daemon, cron.log, fullReindex=True)


def test_doctor_looks_at_a_data_folder_without_a_daemon(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("idle")
    folder = daemon.settings.data_dir
    assert "is made at the first start" in done(run(daemon, "doctor"))
    assert not folder.exists()
    folder.mkdir(mode=0o755)
    finished = run(daemon, "doctor", "--json")
    found = document(done(finished, 1))
    assert (found["ok"], by_name(found)["data folder"]["ok"]) == (False, False)
    assert finished.stderr.count("\n") == 1
    (folder / "catalog.sqlite").write_bytes(b"no database " * 1_000)
    try:
        finished = run(daemon, "doctor", "--fix", "--json")
        checks = document(done(finished))["checks"]
        assert [check["name"] for check in checks if check["fixed"]] == ["data folder", "catalog"]
        assert all(check["ok"] for check in checks)
        mended = by_name({"checks": checks})
        assert mended["daemon"]["message"].startswith("It answers at ")
        assert mended["index"]["ok"] is True
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "catalog.damaged-1.sqlite").read_bytes() == b"no database " * 1_000
    finally:
        run(daemon, "stop")
    assert done(run(daemon, "doctor")).count("\n") == 4
