"""Outages in the middle of the work: site, model, disk, lock, damaged files. Real daemons, real sites over HTTP, real faults.

Of each the same is asked: what there was is found all the while, a clear sentence says what is wrong, and when the cause is gone
the docset comes by itself to what a first crawl would have come to.
"""

import asyncio
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import apsw
import lancedb
import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.client import find
from cli.main import main
from docworker.crawl.fetcher import Fetcher
from docworker.daemon import now_ms
from docworker.embedding import DIMENSIONS
from docworker.errors import ShelfDamaged
from docworker.events import Events
from docworker.indexing.pipeline import CrawlLimits, Tools
from docworker.indexing.reconcile import Mender, compare, sweep
from docworker.indexing.workers import ExtractionWorkers
from docworker.store import chunks
from docworker.store.catalog import Catalog
from docworker.store.salvage import salvage
from docworker.words import question_words
from tests.daemon import HIDE_MODEL_PACKAGE, Daemon, wait_until
from tests.site import Answer, Site

# Of each page a word that stands on no other.
WORDS = ("albatross", "badger", "cormorant", "dingo", "falcon", "gecko", "walrus", "ibex")
PATHS = ("/docs/", *(f"/docs/p{number}" for number in range(1, len(WORDS))))
QUICK = {"request_attempts": 1, "down_pause_s": 0.2}
PARTS = 3

Found = dict[str, tuple[str, int] | str]


def page(number: int, version: int, *, links: bool = True, more: str = "") -> str:
    """A page of three sections that tell its word and version, with links to all others."""
    menu = "".join(f'<a href="{path}">other</a>' for path in PATHS) if links else ""
    told = f"Page {number} tells of the {WORDS[number]}, version {version}."
    parts = "".join(f'<h2 id="s{part}">Part {part}</h2><p>{f"{told} This is part {part}. " * 8}</p>' for part in range(PARTS))
    return f"<title>Page {number}</title><main><h1>Page {number}</h1>{parts}{more}</main><nav>{menu}</nav>"


def edition(version: int) -> dict[str, str | Answer]:
    return {path: page(number, version) for number, path in enumerate(PATHS)}


class MovingSite(Site):
    """Eight pages. It holds what is asked after so many answers, and `trouble` may answer in its place."""

    def __init__(self, version: int = 1, port: int = 0) -> None:
        super().__init__(edition(version), port=port)
        self.trouble: Callable[[str], Answer | None] = lambda path: None
        self._hold_after: int | None = None
        self._answered = 0
        self._release = threading.Event()
        self._lock = threading.Lock()

    def answer(self, path: str) -> Answer:
        if path in PATHS:
            with self._lock:
                self._answered += 1
                held = self._hold_after is not None and self._answered > self._hold_after
            if held:
                self._release.wait(60)
        return self.trouble(path) or super().answer(path)

    def hold(self, after: int) -> None:
        """From here on, let so many requests for pages pass and hold the others."""
        with self._lock:
            self._hold_after, self._answered = after, 0
            self._release.clear()

    @property
    def holds(self) -> bool:
        """Whether a request is being held."""
        with self._lock:
            return self._hold_after is not None and self._answered > self._hold_after

    def let_go(self) -> None:
        with self._lock:
            self._hold_after = None
        self._release.set()

    def change(self, version: int) -> None:
        self.pages.update(edition(version))

    def __exit__(self, *trouble: Any) -> None:
        self.let_go()
        super().__exit__(*trouble)


def unavailable(path: str) -> Answer:
    return Answer(503, "<title>Unavailable</title><h1>Unavailable</h1>")


def hung_up(path: str) -> Answer:
    raise ConnectionResetError  # ends the connection without an answer


# -- what is looked at


def index(daemon: Daemon, site: Site, *, vectors: bool = True) -> str:
    docset_id = str(daemon.post("/index", baseUrl=site.url, seedSlug="/docs/")["docsetId"])
    assert daemon.wait_ready(docset_id, vectors=vectors)["status"] == "ready"
    return docset_id


def begin_refresh(daemon: Daemon, docset_id: str) -> None:
    assert daemon.post("/refresh", docsetId=docset_id, force=True)["refreshed"] is True


def hold_refresh(daemon: Daemon, site: MovingSite, docset_id: str, version: int) -> None:
    """Begin a refresh to another version of the site, which holds still at its fourth page."""
    site.change(version=version)
    site.hold(after=3)
    begin_refresh(daemon, docset_id)
    wait_until(lambda: site.holds, "the fourth page")


def ended(daemon: Daemon, docset_id: str, *, vectors: bool = False) -> Any:
    """The docset when its refresh has ended."""

    def over() -> bool:
        docset = daemon.get(f"/docset/{docset_id}")
        return docset["refresh"] is None and docset["status"] in ("ready", "error")

    wait_until(over, f"the end of the refresh ({daemon.get(f'/docset/{docset_id}')['message']})")
    return daemon.wait_ready(docset_id, vectors=vectors, timeout_s=60)


def refreshed(daemon: Daemon, docset_id: str) -> Any:
    begin_refresh(daemon, docset_id)
    return ended(daemon, docset_id)


def ask(daemon: Daemon, docset_id: str, word: str) -> tuple[str, int] | str:
    """Title and version of the best passage; what was said when there is none."""
    answer = daemon.request("POST", "/retrieve", json={"query": word, "docsetIds": [docset_id], "topK": 1})
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text}"
    results = answer.json()["results"]
    version = re.search(rf"{word}, version (\d)", results[0]["content"]) if results else None
    return "nothing" if version is None else (results[0]["title"], int(version[1]))


def found(daemon: Daemon, docset_id: str) -> Found:
    return {word: ask(daemon, docset_id, word) for word in WORDS}


def told(version: int, pages: int = len(WORDS)) -> Found:
    return {word: (f"Page {number}", version) if number < pages else "nothing" for number, word in enumerate(WORDS)}


def message_of(daemon: Daemon, docset_id: str) -> str:
    return str(daemon.get(f"/docset/{docset_id}")["message"] or "")


def known(data_dir: Path, docset_id: str) -> list[tuple[object, ...]]:
    """Every URL with what became of it and its chunks, each with whether its vector is there; as the catalog on disk has it."""
    db = apsw.Connection(str(data_dir / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(5_000)
    try:
        return db.execute(
            "SELECT url, turn, depth, discovered_from, state, reason, target, title, content_hash, (SELECT"
            " group_concat(id || ' ' || embedded ORDER BY ordinal) FROM chunks WHERE page_id = pages.id) FROM pages"
            " WHERE docset_id = ? ORDER BY url",
            (docset_id,),
        ).fetchall()
    finally:
        db.close()


def listed(data_dir: Path, docset_id: str) -> list[str]:
    db = apsw.Connection(str(data_dir / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(5_000)
    try:
        return sorted(str(id_) for (id_,) in db.execute("SELECT id FROM chunks WHERE docset_id = ?", (docset_id,)))
    finally:
        db.close()


def shelved(data_dir: Path, table: str, docset_id: str) -> list[str]:
    """The ids of a docset in one of the shelf's tables, as often as they are there."""
    rows = lancedb.connect(str(data_dir / "shelf")).open_table(table).to_arrow().to_pylist()
    return sorted(str(row["id"]) for row in rows if row["docset_id"] == docset_id)


def shelf_agrees(data_dir: Path, docset_id: str) -> bool:
    """Whether the shelf on disk holds what the catalog lists, each once, with its vector."""
    with suppress(OSError, RuntimeError, ValueError):
        return shelved(data_dir, "chunks", docset_id) == shelved(data_dir, "vectors", docset_id) == listed(data_dir, docset_id)
    return False


def assert_as_a_first_crawl(daemon: Daemon, site: Site, docset_id: str) -> None:
    """What there is is what a crawl of the site into an empty docset comes to."""
    folder = daemon.settings.data_dir
    daemon.wait_ready(docset_id, vectors=True, timeout_s=60)
    wait_until(lambda: shelf_agrees(folder, docset_id), "the agreement of shelf and catalog", 20)
    before = known(folder, docset_id)
    assert daemon.request("DELETE", f"/docset/{docset_id}").status_code == 200
    assert index(daemon, site) == docset_id
    assert before == known(folder, docset_id)


def command(daemon: Daemon, *arguments: str) -> Result:
    """A command of the CLI, run in this process."""
    environment = {name: value for name, value in daemon.environment.items() if name.startswith("DOCWORKER_")}
    return CliRunner().invoke(main, arguments, env=environment)


def command_apart(daemon: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command in a process of its own: what it starts is no child of this one."""
    line = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(line, env=daemon.environment, capture_output=True, text=True, timeout=90, check=False)


def assert_refused(refused: "subprocess.CompletedProcess[str]", match: str) -> None:
    """It ended with 1 and one sentence."""
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(rf"[^\n]*{match}[^\n]*\.\n", refused.stderr), refused.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    """A daemon for every test that does not need the model, the folder or the process for itself."""
    with Daemon(tmp_path_factory.mktemp("outages") / "data", cache_dir, **QUICK) as daemon:
        yield daemon


@pytest.fixture
def site() -> Iterator[MovingSite]:
    with MovingSite() as site:
        yield site


@pytest.fixture(scope="module")
def looked_up(shared: Daemon) -> Iterator[tuple[MovingSite, str]]:
    """A docset in which no refresh changes anything, and its site."""
    with MovingSite() as site:
        yield site, index(shared, site)


@dataclass(frozen=True)
class Kept:
    """A data folder at rest, with one docset and all its vectors, and where its site was."""

    folder: Path
    port: int
    docset_id: str


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Kept:
    folder = tmp_path_factory.mktemp("kept") / "data"
    with MovingSite() as site, Daemon(folder, cache_dir, **QUICK) as daemon:
        docset_id = index(daemon, site)
        site.pages["/docs/p1"] = page(1, 1, more="<p>Another paragraph.</p>")  # so that there are deletions, and older versions
        assert refreshed(daemon, docset_id)["lastRefresh"]["changed"] == 1
        daemon.wait_ready(docset_id, vectors=True)
        return Kept(folder, int(site.url.rpartition(":")[2]), docset_id)


@pytest.fixture
def copied(kept: Kept, make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon, not started, on a copy of that folder."""
    daemon = make_daemon(**QUICK)
    shutil.copytree(kept.folder, daemon.settings.data_dir)
    return daemon


@pytest.fixture
def kept_site(kept: Kept) -> Iterator[MovingSite]:
    with MovingSite(port=kept.port) as site:
        site.pages["/docs/p1"] = page(1, 1, more="<p>Another paragraph.</p>")
        yield site


# -- the site


@pytest.mark.parametrize("how", ["it answers 503", "it hangs up", "nobody listens"])
def test_a_site_that_goes_down_in_the_middle_of_a_refresh_is_waited_for(shared: Daemon, site: MovingSite, how: str) -> None:
    docset_id = index(shared, site)
    site.change(version=2)
    site.hold(after=6)  # each 503 slows down what is asked after it
    begin_refresh(shared, docset_id)
    wait_until(lambda: site.holds, "the seventh page")
    site.trouble = unavailable if how == "it answers 503" else hung_up
    with again_at(site) if how == "nobody listens" else same(site) as back:
        wait_until(lambda: message_of(shared, docset_id).startswith("Paused: "), "the pause")
        assert re.fullmatch(
            r"Paused: (The site answered 503|The connection to \S+ failed: .*|Nothing listens at \S+) \(1 attempt\)\."
            r" The site is tried again at \d\d:\d\d:\d\d\.",
            message_of(shared, docset_id),
        )
        assert found(shared, docset_id) == told(version=1)
        assert "being refreshed already" in shared.post("/refresh", docsetId=docset_id, force=True)["message"]
        docset = shared.get("/status", docsetId=docset_id)["docsets"][0]
        assert docset["indexStatus"]["indexedPages"] == len(PATHS)
        assert docset["message"].startswith("Paused: ")
        assert docset["refresh"]["pendingPages"] > 0
        back()
        docset = ended(shared, docset_id)
    report = docset["lastRefresh"]
    assert (docset["status"], docset["message"], report["done"]) == ("ready", None, True)
    assert [report[name] for name in ("pages", "changed", "added", "removed", "unsure")] == [8, 8, 0, 0, 0]
    assert found(shared, docset_id) == told(version=2)


@contextmanager
def same(site: MovingSite) -> Iterator[Callable[[], None]]:
    """The site, in trouble, and how it comes back."""
    site.let_go()

    def back() -> None:
        site.trouble = lambda path: None

    yield back


@contextmanager
def again_at(site: MovingSite) -> Iterator[Callable[[], None]]:
    """Nobody listens any more at the site's port until it comes back."""
    port = int(site.url.rpartition(":")[2])
    site.__exit__(None, None, None)
    later: list[MovingSite] = []

    def back() -> None:
        later.append(MovingSite(version=2, port=port))
        later[0].__enter__()

    try:
        yield back
    finally:
        for each in later:
            each.__exit__(None, None, None)


def test_a_site_that_stays_down_over_a_kill_and_a_start_is_waited_for(copied: Daemon, kept: Kept, kept_site: MovingSite) -> None:
    docset_id = kept.docset_id
    copied.environment["DOCWORKER_REQUEST_TIMEOUT_S"] = "1"
    kept_site.change(version=2)
    kept_site.hold(after=6)
    copied.start()
    begin_refresh(copied, docset_id)  # the seventh page hangs, and so does every other from there on
    wait_until(lambda: message_of(copied, docset_id).startswith("Paused: The site did not answer within 1 s"), "the pause")
    assert found(copied, docset_id) == told(version=1)
    copied.end(signal.SIGKILL)
    had = [path for path in PATHS if kept_site.answers[path, 200]]
    copied.start()
    wait_until(lambda: message_of(copied, docset_id).startswith("Paused: "), "the pause after the start")
    assert found(copied, docset_id) == told(version=1)
    kept_site.let_go()
    asked_before = {path: kept_site.requests[path] for path in had if path != "/docs/"}
    report = ended(copied, docset_id)["lastRefresh"]
    assert (report["done"], report["pages"], report["removed"], report["unsure"]) == (True, 8, 0, 0)
    assert found(copied, docset_id) == told(version=2)
    assert {path: kept_site.requests[path] for path in asked_before} == asked_before, "a page that was had is not asked again"
    assert_as_a_first_crawl(copied, kept_site, docset_id)


def test_a_site_that_is_slow_is_refreshed_all_the_same(shared: Daemon, site: MovingSite) -> None:
    docset_id = index(shared, site)
    site.change(version=2)
    for path in PATHS:
        site.pages[path] = Answer(body=cast(str, site.pages[path]), delay_s=0.5)
    begin_refresh(shared, docset_id)
    wait_until(lambda: site.requests["/docs/"] == 2, "the first page")
    assert found(shared, docset_id) == told(version=1)
    report = ended(shared, docset_id)["lastRefresh"]
    assert (report["done"], report["changed"], report["removed"], report["unsure"]) == (True, 8, 0, 0)
    assert found(shared, docset_id) == told(version=2)


SOFT_404 = "<title>Oops</title><main><h1>Page not found</h1><p>What you look for is not here. It may have moved.</p></main>"
LOGIN = (
    "<title>Sign in</title><main><h1>Sign in</h1><p>Use the account of your company to go on to {path}.</p>"
    '<form action="/login" method="post"><input name="user"><input name="password" type="password"></form></main>'
)
PORTAL = Answer(302, headers={"Location": "http://portal.test/welcome"})
NOTHING, FEW = (
    "The refresh found no page, and nothing was changed: ",
    "The refresh found only 1 of 8 pages, and nothing was changed: ",
)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        pytest.param(unavailable, NOTHING + "robots.txt cannot be read, so nothing may be asked: .*503", id="503 for all"),
        pytest.param(hung_up, NOTHING + "robots.txt cannot be read, so nothing may be asked: .*failed", id="no answer"),
        pytest.param(
            lambda path: Answer(body="User-agent: *\nDisallow: /") if path == "/robots.txt" else None,
            NOTHING + "The site's robots.txt forbids it",
            id="robots.txt forbids all",
        ),
        pytest.param(
            lambda path: unavailable(path) if path in PATHS else None, NOTHING + "The site answered 503", id="503 for all pages"
        ),
        pytest.param(lambda path: Answer(404), NOTHING + "The site has no such page", id="404 for all"),
        pytest.param(lambda path: Answer(401), NOTHING + "The site wants a login", id="401 for all"),
        pytest.param(lambda path: Answer(body=""), NOTHING, id="nothing but emptiness"),
        pytest.param(lambda path: PORTAL, NOTHING + "The page redirects to http://portal.test/welcome", id="a captive portal"),
        pytest.param(lambda path: PORTAL if path != "/docs/" else None, FEW, id="a captive portal but for one page"),
        pytest.param(
            lambda path: Answer(body=SOFT_404) if path not in ("/docs/", "/robots.txt") else None,
            FEW.replace("only 1", "only 2"),
            id="a soft 404 but for one page",
        ),
        pytest.param(lambda path: Answer(body=LOGIN.format(path=path)), FEW, id="a login page"),
        pytest.param(lambda path: None if path in PATHS[:3] else Answer(404), FEW.replace("1 of", "3 of"), id="three pages left"),
    ],
)
def test_a_refresh_that_finds_almost_nothing_removes_nothing_and_says_so(
    shared: Daemon, looked_up: tuple[MovingSite, str], trouble: Callable[[str], Answer | None], said: str
) -> None:
    site, docset_id = looked_up
    before = known(shared.settings.data_dir, docset_id)
    site.trouble = trouble
    try:
        finished = command(shared, "refresh", docset_id, "--force", "--wait")
    finally:
        site.trouble = lambda path: None
    docset = shared.get(f"/docset/{docset_id}")
    assert re.match(said, docset["message"])
    assert (finished.exit_code, finished.stderr) == (1, f"Page 0 ({docset_id}): {docset['message']}\n")
    assert finished.stderr.count("\n") == 1
    assert (docset["status"], docset["lastRefresh"]["done"]) == ("ready", False)
    assert docset["lastRefresh"]["message"] == docset["message"]
    assert known(shared.settings.data_dir, docset_id) == before
    assert found(shared, docset_id) == told(version=1)


def test_after_a_refresh_that_found_nothing_the_next_one_finds_what_is_there(shared: Daemon, site: MovingSite) -> None:
    docset_id = index(shared, site)
    site.change(version=2)
    site.trouble = lambda path: PORTAL
    assert command(shared, "refresh", docset_id, "--force", "--wait").exit_code == 1
    site.trouble = lambda path: None
    finished = command(shared, "refresh", docset_id, "--force", "--wait")
    assert (finished.exit_code, finished.stderr) == (0, "")
    docset = shared.get(f"/docset/{docset_id}")
    assert (docset["message"], docset["lastRefresh"]["done"], docset["lastRefresh"]["changed"]) == (None, True, 8)
    assert found(shared, docset_id) == told(version=2)


def test_a_refresh_that_finds_half_of_the_pages_takes_it_as_it_is(shared: Daemon, site: MovingSite) -> None:
    docset_id = index(shared, site)
    site.trouble = lambda path: None if path in PATHS[:4] or path == "/robots.txt" else Answer(404)
    docset = refreshed(shared, docset_id)
    assert (docset["status"], docset["message"]) == ("ready", None)
    assert (docset["lastRefresh"]["done"], docset["lastRefresh"]["removed"]) == (True, 4)
    assert found(shared, docset_id) == told(version=1, pages=4)


def test_a_page_that_alone_cannot_be_had_is_kept_as_it_was(shared: Daemon, site: MovingSite) -> None:
    docset_id = index(shared, site)
    site.change(version=2)
    site.trouble = lambda path: Answer(500) if path == "/docs/p4" else None
    docset = refreshed(shared, docset_id)
    report = docset["lastRefresh"]
    assert [report[name] for name in ("done", "pages", "changed", "removed", "unsure")] == [True, 8, 7, 0, 1]
    assert found(shared, docset_id) == told(version=2) | {WORDS[4]: ("Page 4", 1)}
    site.trouble = lambda path: None
    assert refreshed(shared, docset_id)["lastRefresh"]["unsure"] == 0
    assert found(shared, docset_id) == told(version=2)
    assert_as_a_first_crawl(shared, site, docset_id)


# -- the model


def test_without_the_model_a_refresh_is_published_and_vectors_follow_when_it_is_back(
    copied: Daemon, kept: Kept, kept_site: MovingSite, tmp_path: Path
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(HIDE_MODEL_PACKAGE, "utf-8")
    without = {"DOCWORKER_MODEL_DOWNLOAD": "false", "DOCWORKER_CACHE_DIR": str(tmp_path / "no cache")}
    with_model = copied.environment
    copied.environment = with_model | without | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), *sys.path])}
    copied.start()
    kept_site.change(version=2)
    docset = refreshed(copied, kept.docset_id)
    assert (docset["status"], docset["message"], docset["lastRefresh"]["changed"]) == ("ready", None, 8)
    assert docset["indexStatus"]["embeddedChunks"] == 0
    wait_until(lambda: copied.get("/status")["model"]["state"] == "unavailable", "the model's state")
    assert copied.get("/status")["model"]["message"].startswith("No embedding model: there is none in the cache")
    assert found(copied, kept.docset_id) == told(version=2)
    copied.end()
    copied.environment = with_model
    copied.start()
    assert_as_a_first_crawl(copied, kept_site, kept.docset_id)
    assert found(copied, kept.docset_id) == told(version=2)


@contextmanager
def with_embedder(daemon: Daemon, record: Path, *arguments: str) -> Iterator[None]:
    """The daemon with an embedder that writes down what it embeds, and may fail."""
    line = [sys.executable, "-m", "tests.failing_embedder", str(record), *arguments]
    daemon.process = subprocess.Popen(line, env=daemon.environment, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        address = find(daemon.settings)
        daemon.url = address.url if address is not None else ""
        return address is not None and bool(daemon.get("/health")["ready"])

    wait_until(answers, "the start")
    wait_until(lambda: daemon.get("/status")["model"]["state"] == "ready", "the model")
    try:
        yield
    finally:
        daemon.end()


def embedded(record: Path) -> list[str]:
    """The passages that were embedded, without the questions."""
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    return [text for text in map(json.loads, lines) if text not in WORDS]


def test_embedding_that_fails_half_way_through_a_refresh_loses_nothing(
    copied: Daemon, kept: Kept, kept_site: MovingSite, tmp_path: Path
) -> None:
    record, docset_id = tmp_path / "embedded", kept.docset_id
    kept_site.change(version=2)
    kept_site.hold(after=2)
    with with_embedder(copied, record, "--after", str(2 * PARTS)):
        begin_refresh(copied, docset_id)
        wait_until(lambda: len(embedded(record)) == 2 * PARTS, "the vectors of two pages")
        kept_site.let_go()
        docset = ended(copied, docset_id)
        assert (docset["status"], docset["message"], docset["lastRefresh"]["changed"]) == ("ready", None, 8)
        assert docset["indexStatus"]["embeddedChunks"] == 2 * PARTS
        assert found(copied, docset_id) == told(version=2), "where a question cannot be embedded, its words answer"
        model = next(check for check in copied.post("/doctor")["checks"] if check["name"] == "model")
        assert (model["ok"], "the embedder fails" in model["message"]) == (False, True)
    with with_embedder(copied, record):
        assert found(copied, docset_id) == told(version=2)
        copied.wait_ready(docset_id, vectors=True, timeout_s=60)
        texts = embedded(record)
        assert len(texts) == len(set(texts)) == len(listed(copied.settings.data_dir, docset_id)) == 8 * PARTS
        assert_as_a_first_crawl(copied, kept_site, docset_id)


# -- the disk


IN_THE_WAY = re.compile(
    r"(The disk of the data folder is full; make room, and what was interrupted goes on by itself"
    r"|A file of the index may not grow \(File too large\); lift the limit, and what was interrupted goes on"
    r"|The index cannot be written; what was interrupted goes on by itself"
    r"|The catalog \(catalog\.sqlite in the data folder\) cannot be used: disk I/O error)\."
)


def look_while_nothing_can_be_written(daemon: Daemon, site: Site, docset_id: str, idle: str) -> None:
    """What is asked is answered; what would have to be written is refused, but for the little that finds room; both say why."""
    pattern = f"Interrupted, and tried again by itself: {IN_THE_WAY.pattern}"
    wait_until(lambda: re.fullmatch(pattern, message_of(daemon, docset_id)) is not None, "the trouble's being told")
    refusals = 0
    for _ in range(3):
        assert found(daemon, docset_id) == told(version=1)
        assert daemon.get("/status", docsetId=docset_id)["docsets"][0]["message"].startswith("Interrupted, ")
        for path, body in (
            ("/refresh", {"docsetId": idle, "force": True}),
            ("/index", {"baseUrl": site.url, "seedSlug": "/more/", "waitForSeed": False}),
        ):
            answer = daemon.request("POST", path, json=body)
            if answer.status_code != 200:
                refusals += 1
                assert answer.status_code == 503
                assert IN_THE_WAY.fullmatch(answer.json()["error"])
        assert daemon.request("GET", f"/docset/{docset_id}/pages").status_code == 200
    assert refusals > 0
    assert daemon.get("/health")["ready"] is True


def assert_refreshed(daemon: Daemon, docset_id: str, version: int) -> None:
    """The refresh has gone on by itself to its end."""
    report = ended(daemon, docset_id)["lastRefresh"]
    assert [report[name] for name in ("done", "pages", "changed", "removed", "unsure")] == [True, 8, 8, 0, 0]
    assert found(daemon, docset_id) == told(version)


def assert_whole_again(daemon: Daemon, site: Site, docset_id: str, version: int = 2) -> None:
    """The refresh has gone on by itself, and what there is is what a first crawl comes to."""
    assert_refreshed(daemon, docset_id, version)
    assert_as_a_first_crawl(daemon, site, docset_id)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process's limits can be set on Linux alone")
@pytest.mark.parametrize("limit", [0, 65_536])
def test_when_no_file_may_grow_in_the_middle_of_a_refresh_it_goes_on_when_they_may(
    shared: Daemon, site: MovingSite, limit: int
) -> None:
    assert shared.process is not None
    with Site({"/docs/": page(0, 1, links=False)}) as other:
        idle = index(shared, other)
        docset_id = index(shared, site)
        hold_refresh(shared, site, docset_id, version=2)
        usual = resource.prlimit(shared.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(shared.process.pid, resource.RLIMIT_FSIZE, (limit, usual[1]))
        try:
            site.let_go()
            look_while_nothing_can_be_written(shared, other, docset_id, idle)
        finally:
            resource.prlimit(shared.process.pid, resource.RLIMIT_FSIZE, usual)
        assert_whole_again(shared, site, docset_id)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    mounted = None if shutil.which("mount") is None else subprocess.run(line, capture_output=True, text=True, check=False)
    if mounted is None or mounted.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted: {mounted.stderr.strip() if mounted else 'there is no mount'}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No byte is free on the disk, also when some become so."""
    enough = threading.Event()

    def fill() -> None:
        with (disk / "big").open("ab", buffering=0) as out:
            while not enough.wait(0.02):
                for size in (2**16, 1):
                    with suppress(OSError):
                        while True:
                            out.write(b"x" * size)

    filling = threading.Thread(target=fill)
    filling.start()
    wait_until(lambda: shutil.disk_usage(disk).free == 0, "the disk's being full", 10)
    try:
        yield
    finally:
        enough.set()
        filling.join()
        (disk / "big").unlink()


def test_on_a_full_disk_a_refresh_waits_for_room_and_a_daemon_ends_and_starts_with_a_sentence(
    small_disk: Path, kept: Kept, kept_site: MovingSite, cache_dir: Path
) -> None:
    daemon = Daemon(small_disk / "data", cache_dir, **QUICK)
    folder, docset_id = daemon.settings.data_dir, kept.docset_id
    shutil.copytree(kept.folder, folder)
    with full(small_disk):
        assert_refused(command_apart(daemon, "serve"), "data folder")
        assert not (folder / "daemon.json").exists()
        doctor = command(daemon, "doctor")
        assert isinstance(doctor.exception, SystemExit | None)
        assert (doctor.exit_code, doctor.stderr.count("\n")) == (1, 1)
    with daemon, Site({"/docs/": page(0, 1, links=False)}) as other:
        idle = index(daemon, other)
        hold_refresh(daemon, kept_site, docset_id, version=2)
        with full(small_disk):
            kept_site.let_go()
            look_while_nothing_can_be_written(daemon, other, docset_id, idle)
        assert_refreshed(daemon, docset_id, version=2)
        hold_refresh(daemon, kept_site, docset_id, version=3)
        with full(small_disk):
            kept_site.let_go()
            wait_until(lambda: "Interrupted" in message_of(daemon, docset_id), "the trouble's being told")
            daemon.end()
            assert daemon.process is not None
            assert daemon.process.returncode == 0
            assert_refused(command_apart(daemon, "serve"), "data folder")
        daemon.start()
        assert_whole_again(daemon, kept_site, docset_id, version=3)


@pytest.fixture
def read_only(copied: Daemon) -> Iterator[Daemon]:
    """A daemon whose data folder cannot be written."""
    folder = str(copied.settings.data_dir)
    if os.geteuid() != 0:
        copied.settings.data_dir.chmod(0o500)
        yield copied
        copied.settings.data_dir.chmod(0o700)
        return
    bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
    if bound.returncode != 0:
        pytest.skip(f"root may write everything, and a folder cannot be mounted: {bound.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield copied
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_folder_that_cannot_be_written_is_said_and_left_as_it_is(read_only: Daemon, kept: Kept) -> None:
    assert_refused(
        command_apart(read_only, "serve"), re.escape(f"The data folder {read_only.settings.data_dir} cannot be used: ")
    )
    doctor = command(read_only, "doctor", "--fix")
    assert (doctor.exit_code, doctor.stderr) == (1, "Something is wrong.\n")
    assert f"{read_only.settings.data_dir} cannot be written; give its user the right to." in doctor.stdout
    for file in ("catalog.sqlite", "docworker.log"):
        assert (read_only.settings.data_dir / file).read_bytes() == (kept.folder / file).read_bytes()


# -- the catalog


def test_a_locked_catalog_delays_the_end_of_a_refresh(shared: Daemon, site: MovingSite) -> None:
    docset_id = index(shared, site)
    site.change(version=2)
    site.hold(after=7)
    begin_refresh(shared, docset_id)
    wait_until(lambda: site.holds, "the last page")
    other = apsw.Connection(str(shared.settings.data_dir / "catalog.sqlite"))
    other.execute("BEGIN IMMEDIATE")
    try:
        site.let_go()
        refused = shared.request("POST", "/index", json={"baseUrl": site.url, "seedSlug": "/more/", "waitForSeed": False})
        assert (refused.status_code, refused.json()["error"]) == (
            503,
            "Another program holds the catalog (catalog.sqlite in the data folder); end it, or try again.",
        )
        wait_until(lambda: "Another program holds the catalog" in message_of(shared, docset_id), "the trouble's being told")
        assert found(shared, docset_id) == told(version=1)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert_whole_again(shared, site, docset_id)


def test_a_catalog_that_is_none_is_left_as_it_is_and_doctor_makes_a_new_one(copied: Daemon) -> None:
    file = copied.settings.data_dir / "catalog.sqlite"
    garbage = random.Random(1).randbytes(100_000)
    file.write_bytes(garbage)
    assert_refused(
        command_apart(copied, "serve"),
        r"The catalog \(catalog\.sqlite in the data folder\) is damaged: .*`docworker doctor` says what",
    )
    assert file.read_bytes() == garbage
    doctor = command(copied, "doctor")
    assert (doctor.exit_code, doctor.stderr.count("\n")) == (1, 1)
    assert "`docworker doctor --fix`" in doctor.stdout
    assert file.read_bytes() == garbage
    try:
        mended = command_apart(copied, "doctor", "--fix")
        assert mended.returncode == 0
        assert "0 docsets, 0 pages and 0 vectors could be read" in mended.stdout
        assert (file.with_name("catalog.damaged-1.sqlite")).read_bytes() == garbage
    finally:
        assert command_apart(copied, "stop").returncode == 0


def pages_of(file: Path, table: str, kind: str) -> list[int]:
    """The numbers of a table's pages of a kind, from 0."""
    db = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    rows = db.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY pageno", (table, kind)).fetchall()
    db.close()
    return [int(str(number)) - 1 for (number,) in rows]


def garble(file: Path, at: int, size: int) -> None:
    with file.open("r+b") as out:
        out.seek(at)
        out.write(random.Random(at).randbytes(size))


def large(number: int, version: int) -> str:
    """A page whose text fills several pages of the catalog."""
    draw = random.Random(number)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=8)) for _ in range(1_800)]
    return page(number, version, more="".join(f"<p>{' '.join(words[at : at + 60])}.</p>" for at in range(0, len(words), 60)))


def test_doctor_saves_what_can_be_read_of_a_damaged_catalog_and_the_rest_comes_back_by_itself(
    make_daemon: Callable[..., Daemon], site: MovingSite
) -> None:
    daemon = make_daemon(**QUICK)
    file = daemon.settings.data_dir / "catalog.sqlite"
    for number in (3, 5):
        site.pages[PATHS[number]] = large(number, 1)
    with daemon:
        docset_id = index(daemon, site)
    before = known(daemon.settings.data_dir, docset_id)
    # each vector is marked in its least bit, so that those made anew can be told from those that could be read
    db = apsw.Connection(str(file))
    rows = [(int(str(rowid)), cast(bytes, vector)) for rowid, vector in db.execute("SELECT rowid, vector FROM vectors")]
    marked = [(bytes([vector[0] ^ 1]) + vector[1:], rowid) for rowid, vector in rows]
    db.executemany("UPDATE vectors SET vector = ? WHERE rowid = ?", marked)
    db.close()
    texts, vectors = pages_of(file, "pages", "overflow"), pages_of(file, "vectors", "leaf")
    garble(file, 4_096 * texts[0] + 8, 2_000)  # inside a text: SQLite takes it for whole
    garble(file, 4_096 * texts[-1], 4_096)
    garble(file, 4_096 * vectors[len(vectors) // 2], 8_192)
    damaged = file.read_bytes()
    doctor = command(daemon, "doctor")
    assert doctor.exit_code == 1
    assert "It is damaged; `docworker doctor --fix` makes a new one of what can be read." in doctor.stdout
    assert file.read_bytes() == damaged
    site.requests.clear()
    try:
        mended = command_apart(daemon, "doctor", "--fix")
        assert (mended.returncode, mended.stderr) == (0, "")
        counted = re.search(r"1 docsets, (\d+) pages and (\d+) vectors could be read; the rest is asked for again", mended.stdout)
        assert counted is not None
        assert 6 <= int(counted[1]) < 8
        assert len(vectors) // 2 < int(counted[2]) < len(marked)
        assert file.with_name("catalog.damaged-1.sqlite").read_bytes() == damaged
        address = find(daemon.settings)
        assert address is not None
        daemon.url = address.url
        wait_until(lambda: daemon.get(f"/docset/{docset_id}")["lastRefresh"] is not None, "the refresh that begins by itself")
        docset = ended(daemon, docset_id, vectors=True)
        assert (docset["status"], docset["lastRefresh"]["done"]) == ("ready", True)
        assert found(daemon, docset_id) == told(version=1)
        assert set(site.requests) >= set(PATHS)
        wait_until(lambda: shelf_agrees(daemon.settings.data_dir, docset_id), "the agreement of shelf and catalog", 20)
        assert known(daemon.settings.data_dir, docset_id) == before
    finally:
        assert command_apart(daemon, "stop").returncode == 0
    db = apsw.Connection(str(file))
    now = {bytes(cast(bytes, vector)) for (vector,) in db.execute("SELECT vector FROM vectors")}
    db.close()
    assert len(now & {vector for vector, _ in marked}) == int(counted[2]), "what could be read is not made again"


def test_whatever_is_damaged_in_a_catalog_what_is_saved_of_it_can_be_read(kept: Kept, tmp_path: Path) -> None:
    whole = (kept.folder / "catalog.sqlite").read_bytes()
    titles = whole.replace(b"Page 5", b"\xff\xfe\xfd\xfc!!")  # no UTF-8
    draw = random.Random(1)
    saved: list[int] = []
    for number in range(60):
        content = bytearray(titles if number % 4 == 0 else whole)
        size = draw.choice([64, 512, 4_096, 8_192])
        at = draw.randrange(4_096, len(content) - size)
        content[at : at + size] = draw.randbytes(size)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "catalog.sqlite").write_bytes(content)
        saved.append(salvage(folder / "catalog.sqlite").pages)
        assert (folder / "catalog.damaged-1.sqlite").read_bytes() == content
        db = apsw.Connection(str(folder / "catalog.sqlite"))
        assert db.pragma("quick_check") == "ok"
        for title, document, links in db.execute("SELECT title, document, links FROM pages"):
            assert isinstance(title, str | None)
            for packed in (document, links):
                assert packed is None or zlib.decompress(cast(bytes, packed))
        assert {size for (size,) in db.execute("SELECT length(vector) FROM vectors")} <= {4 * DIMENSIONS}
        db.close()
    assert sorted(saved)[len(saved) // 4] >= 6, "most of the pages are saved from most of the catalogs"


def test_a_text_that_is_damaged_keeps_nothing_else_from_being_mended_and_comes_back_by_itself(
    copied: Daemon, kept: Kept, kept_site: MovingSite
) -> None:
    folder = copied.settings.data_dir
    db = apsw.Connection(str(folder / "catalog.sqlite"))  # as SQLite does not see it: it keeps no checksum of what it is given
    db.execute("UPDATE pages SET document = zeroblob(length(document)) WHERE url LIKE '%/p5'")
    db.close()
    shutil.rmtree(folder / "shelf")
    with copied:
        others = told(version=1)
        del others[WORDS[5]]
        wait_until(lambda: others.items() <= found(copied, kept.docset_id).items(), "the return of what can be read", 20)
        wait_until(lambda: found(copied, kept.docset_id) == told(version=1), "the page's being read anew", 20)
        docset = ended(copied, kept.docset_id, vectors=True)
        assert (docset["status"], docset["lastRefresh"]["done"], docset["message"]) == ("ready", True, None)
        assert_as_a_first_crawl(copied, kept_site, kept.docset_id)


def test_a_clock_that_was_set_back_keeps_nothing_from_being_asked(
    copied: Daemon, kept: Kept, kept_site: MovingSite, tmp_path: Path
) -> None:
    copied.environment["DOCWORKER_MODEL_DIR"] = str(tmp_path / "no model")
    year_ms = 365 * 24 * 60 * 60 * 1_000
    db = apsw.Connection(str(copied.settings.data_dir / "catalog.sqlite"))
    for table, column in (
        ("docsets", "created_at"), ("docsets", "updated_at"), ("docsets", "crawled_at"), ("pages", "fetched_at"),
        ("pages", "indexed_at"), ("robots", "fetched_at"),
    ):  # fmt: skip
        db.execute(f"UPDATE {table} SET {column} = {column} + ?", (year_ms,))
    db.close()
    kept_site.change(version=2)
    with copied:
        assert copied.post("/refresh", docsetId=kept.docset_id)["refreshed"] is True
        docset = ended(copied, kept.docset_id)
        assert (docset["lastRefresh"]["done"], docset["lastRefresh"]["changed"]) == (True, 8)
        assert dict(kept_site.requests) == {"/robots.txt": 1, "/sitemap.xml": 1} | dict.fromkeys(PATHS, 1)
        assert docset["crawledAt"] <= now_ms()
        assert copied.post("/refresh", docsetId=kept.docset_id)["refreshed"] is False
        assert found(copied, kept.docset_id) == told(version=2)
        db = apsw.Connection(str(copied.settings.data_dir / "catalog.sqlite"))
        db.set_busy_timeout(5_000)
        db.execute("UPDATE robots SET fetched_at = fetched_at + ?", (year_ms,))
        db.close()
        copied.post("/index", baseUrl=kept_site.url, seedSlug="/docs/")
        copied.wait_ready(kept.docset_id)
        assert kept_site.requests["/robots.txt"] == 2, "what was read in the future is not fresh for a year"


# -- the shelf


def current(shelf: Path, table: str, kind: str) -> Path:
    """A file of the kind that the table's newest version needs, or as near to that as can be told from outside."""
    folder = shelf / f"{table}.lance"
    versions = sorted((folder / "_versions").glob("*.manifest"))
    match kind:
        case "newest manifest":
            return versions[0]
        case "oldest manifest":
            return versions[-1]
        case "hint":
            return folder / "_versions" / "latest_version_hint.json"
    found = [file for file in (folder / kind).rglob("*") if file.is_file()]
    named = [
        file for file in found if (file.parent.name if kind == "_indices" else file.name).encode() in versions[0].read_bytes()
    ]
    return max(named or found, key=lambda file: file.stat().st_size)


def damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    match how:
        case "deleted":
            file.unlink()
        case "cut off":
            file.write_bytes(content[: len(content) // 2])
        case "garbled":
            file.write_bytes(random.Random(1).randbytes(len(content)))
        case "pointing beyond its end":  # a manifest ends with the place where it begins, two numbers and a mark
            file.write_bytes(content[:-16] + len(content).to_bytes(8, "little") + content[-8:])


async def mend(folder: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Open the stores as the daemon does, mend, let something happen, and look at all that a question finds."""
    from docworker.daemon import _open_shelf

    catalog = await Catalog.open(folder / "catalog.sqlite")
    shelf = await _open_shelf(folder / "shelf", DIMENSIONS)
    nobody, none = cast(Fetcher, None), cast(ExtractionWorkers, None)
    tools = Tools(catalog, shelf, nobody, none, cast(CrawlLimits, None), now_ms, lambda: None, asyncio.Event(), Events())
    mender = Mender(tools)
    try:
        try:
            await shelf.prune(alone=True)
            await sweep(tools)
        except ShelfDamaged:
            await shelf.remake()
            await sweep(tools)
        mending = asyncio.create_task(mender.mend_forever())
        try:
            await asyncio.wait_for(mender.mended.wait(), 20)
            meanwhile()
            for _ in range(2):  # what the start does not see, the first question does
                await asyncio.wait_for(mender.mended.wait(), 20)
                with suppress(ShelfDamaged):
                    await look(tools)
                    return
                assert shelf.damaged.is_set()
                async with asyncio.timeout(20):
                    while shelf.damaged.is_set():  # noqa: ASYNC110  (an Event cannot be waited for to be cleared)
                        await asyncio.sleep(0.01)
            await asyncio.wait_for(mender.mended.wait(), 20)
            await look(tools)
        finally:
            mending.cancel()
            await asyncio.gather(mending, return_exceptions=True)
    finally:
        await shelf.close()
        await catalog.close()


async def look(tools: Tools) -> None:
    """Shelf and catalog agree, and every page is found by its word."""
    ids = await tools.catalog.read(chunks.all_ids)
    rows = await tools.shelf.load(sorted(ids))
    assert rows.keys() == ids
    assert (await compare(tools)).agree
    assert await tools.shelf.vector_ids() == ids
    nearest = await tools.shelf.search_vector(np.eye(1, DIMENSIONS, dtype="<f4").tobytes(), None, 100)
    assert {id_ for id_, _ in nearest} == ids
    for number, word in enumerate(WORDS):
        hits = [id_ for id_, _ in await tools.shelf.search_words(question_words(word), None, 100)]
        assert {rows[id_].title for id_ in hits} == {f"Page {number}"}
        assert all(f"tells of the {word}, version 1." in rows[id_].text for id_ in hits)


# Both tables lose what is read of every table in the same way; what else there is of one, the table of chunks loses.
FILES = [
    *(
        ("chunks", kind)
        for kind in ("data", "newest manifest", "oldest manifest", "hint", "_indices", "_deletions", "_transactions")
    ),
    *(("vectors", kind) for kind in ("data", "newest manifest", "_indices")),
]


@pytest.mark.parametrize(("table", "kind"), FILES, ids=[" ".join(each) for each in FILES])
async def test_a_shelf_that_lost_a_file_is_mended_from_the_catalog(kept: Kept, tmp_path: Path, table: str, kind: str) -> None:
    for how in ("deleted", "cut off", "garbled", *(["pointing beyond its end"] if "manifest" in kind else [])):
        folder = tmp_path / how
        folder.mkdir()
        shutil.copy(kept.folder / "catalog.sqlite", folder)
        shutil.copytree(kept.folder / "shelf", folder / "shelf")
        damage(current(folder / "shelf", table, kind), how)
        await mend(folder)


@pytest.mark.parametrize("lost", [".", "chunks.lance"])  # vectors alone come back as others do, by the embedding: tests.test_life
async def test_a_shelf_that_is_not_there_is_made_again_from_the_catalog(kept: Kept, tmp_path: Path, lost: str) -> None:
    shutil.copy(kept.folder / "catalog.sqlite", tmp_path)
    shutil.copytree(kept.folder / "shelf", tmp_path / "shelf")
    shutil.rmtree(tmp_path / "shelf" / lost)
    await mend(tmp_path)


async def test_a_shelf_whose_texts_are_damaged_is_mended_when_one_is_asked_for(kept: Kept, tmp_path: Path) -> None:
    shutil.copy(kept.folder / "catalog.sqlite", tmp_path)
    shutil.copytree(kept.folder / "shelf", tmp_path / "shelf")

    def spoil() -> None:
        for file in (tmp_path / "shelf" / "chunks.lance" / "data").iterdir():
            file.write_bytes(file.read_bytes().replace(b"This is part", b"\xff" * len("This is part")))

    await mend(tmp_path, spoil)


def test_a_daemon_starts_on_a_shelf_that_lost_a_file_and_mends_it_without_a_request(
    copied: Daemon, kept: Kept, kept_site: MovingSite
) -> None:
    folder = copied.settings.data_dir
    db = apsw.Connection(str(folder / "catalog.sqlite"))  # a page that a kill left half done, so that there is something to sweep
    db.execute("PRAGMA foreign_keys = ON").fetchall()
    db.execute("DELETE FROM pages WHERE url LIKE '%/p7'")
    db.close()
    damage(current(folder / "shelf", "vectors", "data"), "deleted")
    with copied:
        wait_until(lambda: found(copied, kept.docset_id) == told(version=1, pages=7), "the shelf's return", 20)
        wait_until(lambda: shelf_agrees(folder, kept.docset_id), "the agreement of shelf and catalog", 20)
        assert command(copied, "doctor").exit_code == 0
    assert kept_site.requests.total() == 0


def lose(shelf: Path, loss: str) -> None:
    """Take files away from under a running daemon."""
    match loss:
        case "all":
            shutil.rmtree(shelf)
        case "vectors":
            shutil.rmtree(shelf / "vectors.lance")
        case "all is garbage":
            for file in [file for file in shelf.rglob("*") if file.is_file()]:
                with suppress(FileNotFoundError):
                    file.write_bytes(b"garbage" * 50)
        case "data of chunks":
            for file in (shelf / "chunks.lance" / "data").iterdir():
                damage(file, "garbled")
        case "data of vectors":
            for file in (shelf / "vectors.lance" / "data").iterdir():
                damage(file, "cut off")
        case "the newest manifest":
            current(shelf, "chunks", "newest manifest").unlink()


def look_while_the_shelf_is_made_again(daemon: Daemon, docset_id: str, version: int, timeout_s: float = 20) -> None:
    """Each question is answered rightly or refused with a sentence; after a while each is answered."""
    right, wrong = 0, list[object]()
    deadline = time.monotonic() + timeout_s
    while right < 3 * len(WORDS):
        assert time.monotonic() < deadline, "the shelf did not come back"
        for number, word in enumerate(WORDS):
            try:
                answer = ask(daemon, docset_id, word)
            except Exception as error:
                answer = repr(error)
            if answer == (f"Page {number}", version):
                right += 1
            else:
                right = 0
                if not re.fullmatch(r'503 \{"error": "The index is [^"]*\."\}', str(answer)):
                    wrong.append(answer)
    assert wrong == []


@pytest.mark.parametrize("loss", ["all", "vectors", "all is garbage", "data of chunks", "data of vectors", "the newest manifest"])
def test_a_shelf_that_is_lost_while_the_daemon_runs_comes_back_by_itself(
    shared: Daemon, looked_up: tuple[MovingSite, str], loss: str
) -> None:
    site, docset_id = looked_up
    site.requests.clear()
    lose(shared.settings.data_dir / "shelf", loss)
    look_while_the_shelf_is_made_again(shared, docset_id, version=1)
    if loss != "the newest manifest":  # which is in memory, and on disk again with the next write
        wait_until(lambda: shelf_agrees(shared.settings.data_dir, docset_id), "the shelf's return", 20)
    assert shared.wait_ready(docset_id, vectors=True, timeout_s=20)["status"] == "ready"
    assert site.requests.total() == 0


def test_a_shelf_that_is_lost_in_the_middle_of_a_refresh_comes_back_and_the_refresh_ends_right(
    shared: Daemon, site: MovingSite
) -> None:
    docset_id = index(shared, site)
    site.change(version=2)
    site.hold(after=4)
    begin_refresh(shared, docset_id)
    wait_until(lambda: site.holds, "the fifth page")
    lose(shared.settings.data_dir / "shelf", "all")
    look_while_the_shelf_is_made_again(shared, docset_id, version=1)
    site.let_go()
    assert_whole_again(shared, site, docset_id)


# -- doctor


def test_doctor_finds_nothing_wrong_where_nothing_is(shared: Daemon, looked_up: tuple[MovingSite, str]) -> None:
    doctor = command(shared, "doctor", "--json")
    assert (doctor.exit_code, doctor.stderr) == (0, "")
    checks = json.loads(doctor.stdout)["checks"]
    assert {"daemon", "catalog", "index", "disk", "model"} <= {check["name"] for check in checks}
    assert [check for check in checks if not check["ok"] or check["fixed"]] == []


def test_doctor_sees_and_mends_what_another_program_took_off_the_shelf(shared: Daemon, looked_up: tuple[MovingSite, str]) -> None:
    site, docset_id = looked_up
    site.requests.clear()
    ids = listed(shared.settings.data_dir, docset_id)
    for table, gone in (("chunks", ids[:2]), ("vectors", ids[1:5])):
        quoted: Sequence[str] = [f"'{id_}'" for id_ in gone]
        lancedb.connect(str(shared.settings.data_dir / "shelf")).open_table(table).delete(f"id IN ({', '.join(quoted)})")
    doctor = command(shared, "doctor")
    assert (doctor.exit_code, doctor.stderr) == (1, "Something is wrong; `docworker doctor --fix` mends what can be mended.\n")
    assert re.search(r"wrong +index: Index and catalog disagree: 2 chunks are missing", doctor.stdout)
    doctor = command(shared, "doctor", "--fix")
    assert (doctor.exit_code, doctor.stderr) == (0, "")
    assert re.search(r"mended +index: ", doctor.stdout)
    doctor = command(shared, "doctor")
    assert doctor.exit_code == 0, doctor.stdout
    shared.wait_ready(docset_id, vectors=True, timeout_s=20)
    wait_until(lambda: shelf_agrees(shared.settings.data_dir, docset_id), "the agreement of shelf and catalog", 20)
    assert found(shared, docset_id) == told(version=1)
    assert site.requests.total() == 0


def test_doctor_without_a_daemon_finds_nothing_wrong_with_a_folder_at_rest(copied: Daemon) -> None:
    doctor = command(copied, "doctor")
    assert (doctor.exit_code, doctor.stderr) == (0, "")
    assert doctor.stdout.count("\n") == 4
