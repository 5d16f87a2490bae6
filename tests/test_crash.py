"""kill -9 at any step: the next start converges to what an undisturbed run comes to, and what was found is found throughout.

A chain of kills goes through one operation: each time the daemon is started it dies at another step (`tests.crash_at`), so that
each start is also the recovery from the kill before. After each kill the disk is looked at, and a poller asks all the while.
"""

import json
import random
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import httpx
import lancedb
import numpy as np
import pytest
import trustme

from cli.client import find
from docworker import EXTRACTOR_VERSION
from tests.daemon import Daemon, wait_until
from tests.site import Answer, Site

AT_ONCE = 2
BETWEEN_QUESTIONS_S, WHEN_NOBODY_ANSWERS_S = 0.02, 0.1  # a poller that never rests takes a core from the daemon that it watches
PATIENCE_S = 120  # on a machine that does other things too, a start takes ten times as long
# A word for each page, which stands in one of its sections and nowhere else.
UNCHANGED = {"/docs/": "antelope", "/docs/same": "beaver", "/docs/still": "cormorant", "/docs/plain": "dingo"}
CHANGED = {"/docs/edit1": "egret", "/docs/edit2": "falcon", "/docs/edit3": "gecko", "/docs/edit4": "hyena"}
REMOVED = {"/docs/gone": "ibis", "/docs/unlinked": "jackal"}
ADDED = {"/docs/fresh1": "kestrel", "/docs/fresh2": "lemur"}
MOVED, MOVED_TO, OF_MOVED = "/docs/old", "/docs/new", "marmot"
OLD, NEW = "first edition", "second edition"
_FILLER = (  # noqa: SIM905
    "table river engine garden letter window market signal mountain paper doctor circle bottle winter harbour member music"
    " number office pencil question station teacher village weather yellow ladder kitchen island hammer forest evening desert"
    " corner bridge answer button candle driver factory glass"
).split()


def page(path: str, word: str, edition: str, links: Sequence[str] = (), title: str = "") -> str:
    """A page of two sections and a function; the second section has the page's word and tells the edition."""
    draw = random.Random(title or path)
    name = (title or path).strip("/").replace("/", ".")
    first, second = (" ".join(draw.choices(_FILLER, k=70)) for _ in range(2))
    return (
        f'<html lang="en"><title>{name}</title><script id="documentation_options" data-url_root="/docs/"></script>'
        f'<main><h1>{name}</h1><h2 id="one">One</h2><p>{first}.</p>'
        f'<h2 id="two">Two</h2><p>{second}. The {word} is told of in the {edition}.</p>'
        f'<dl class="py function"><dt id="{name}.call">{name}.call()</dt><dd>{draw.choice(_FILLER)} {edition}.</dd></dl></main>'
        f"<nav>{''.join(f'<a href={link}>link</a>' for link in links)}</nav></html>"
    )


def pages(edition: str) -> dict[str, str | Answer]:
    """The site before its change (`OLD`) or after it (`NEW`)."""
    new = edition == NEW
    all_words = UNCHANGED | CHANGED | REMOVED | {MOVED: OF_MOVED} | ({"/docs/fresh1": ADDED["/docs/fresh1"]} if new else {})
    linked = [path for path in (*all_words, "/docs/hidden", "/docs/twin") if path not in ("/docs/", *(REMOVED if new else ()))]
    made: dict[str, str | Answer] = {}
    for path, word in all_words.items():
        links = linked if path == "/docs/" else ["/docs/fresh2"] if path == "/docs/fresh1" else ()
        made[path] = page(path, word, edition if path in CHANGED else OLD, links)
    made["/docs/plain"] = Answer(body=str(made["/docs/plain"]), headers={"ETag": ""})
    made["/docs/twin"] = page("/docs/twin", UNCHANGED["/docs/same"], OLD, title="/docs/same")
    made["/docs/hidden"] = '<meta name="robots" content="noindex"><h1>Hidden</h1><p>Nothing.</p>'
    if new:
        del made["/docs/gone"]
        made["/docs/fresh2"] = page("/docs/fresh2", ADDED["/docs/fresh2"], NEW)
        made[MOVED_TO] = str(made[MOVED])
        made[MOVED] = Answer(301, headers={"Location": MOVED_TO})
    names = "".join(f"listed.{path[6:]} py:data 1 {path[6:]}#one -\n" for path in (*CHANGED, *(ADDED if new else ())))
    made["/docs/objects.inv"] = Answer(
        body=b"# Sphinx inventory version 2\n#\n#\n#\n" + zlib.compress(names.encode()), content_type="application/octet-stream"
    )
    return made


# -- what is on disk

# When something was written, and how often it was tried, is not what an index comes to.
_PASSING = frozenset({"seq", "attempts", "requests", "fetched_at", "indexed_at", "created_at", "updated_at", "kept"})


def rows(db: apsw.Connection, table: str, order: str) -> list[dict[str, Any]]:
    columns = [str(row[1]) for row in db.execute(f"PRAGMA table_info({table})") if str(row[1]) not in _PASSING]
    found = db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}")
    return [dict(zip(columns, row, strict=True)) for row in found]


def copied(folder: Path) -> apsw.Connection:
    """A copy of the catalog, which stays as the kill left it."""
    copy = folder.parent / "copied"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in folder.glob("catalog.sqlite*"):
        shutil.copy(file, copy)
    return apsw.Connection(str(copy / "catalog.sqlite"))


def catalog(folder: Path) -> dict[str, Any]:
    """What the catalog holds."""
    db = copied(folder)
    of_page = "JOIN pages AS p ON p.seq = page_seq ORDER BY p.url"
    found: dict[str, Any] = {
        "pages": rows(db, "pages", "docset_id, place, url"),
        "chunks": rows(db, "chunks", "page_id, ordinal"),
        "symbols": list(db.execute(f"SELECT p.url, key, name, kind, anchor, chunk, listed FROM symbols {of_page}, key, listed")),
        "passages": list(db.execute(f"SELECT p.url, hash FROM passages {of_page}, hash")),
        "robots": list(db.execute("SELECT docset_id, body FROM robots")),
        "docsets": rows(db, "docsets", "id"),
        "vectors": list(db.execute("SELECT text_hash, model, unused_since IS NULL FROM vectors ORDER BY text_hash, model")),
    }
    db.close()
    return found


def shelf(folder: Path) -> dict[str, Any]:
    """What the shelf holds: all of the chunks, and which vectors."""
    tables = lancedb.connect(str(folder / "shelf"))
    of_chunks = tables.open_table("chunks").to_arrow().to_pylist()
    of_vectors = tables.open_table("vectors").to_arrow().select(["id", "docset_id"]).to_pylist()
    return {
        "shelf": sorted(of_chunks, key=lambda row: str(row["id"])),
        "shelf vectors": sorted(of_vectors, key=lambda row: str(row["id"])),
    }


def state(folder: Path) -> dict[str, Any]:
    """What all that is kept comes to once no daemon runs."""
    found = catalog(folder) | shelf(folder)
    refreshing = folder / "refreshing"
    found["refreshing"] = sorted(file.name for file in refreshing.iterdir()) if refreshing.exists() else []
    for docset in found["docsets"]:
        del docset["refreshed"], docset["crawled_at"]
    return found


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert that two states are the same, a table at a time: so the difference can be read."""
    for name, of_expected in expected.items():
        assert found[name] == of_expected, name


def vectors_are_of_their_texts(folder: Path) -> bool:
    """Whether each vector on the shelf is the one that the catalog has for the chunk's text, but for the last digits."""
    db = apsw.Connection(str(folder / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    known: dict[Any, Any] = dict(db.execute("SELECT id, vector FROM chunks JOIN vectors USING (text_hash)"))
    db.close()
    on_shelf = lancedb.connect(str(folder / "shelf")).open_table("vectors").to_arrow().to_pylist()
    return all(np.dot(row["vector"], np.frombuffer(known[row["id"]], "<f4")) > 0.98 for row in on_shelf)


# -- what is found


@dataclass
class Poller(threading.Thread):
    """Asks for each word in turn, whoever answers, and keeps the answers in their order."""

    daemon_of: Callable[[], Daemon]
    answers: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    rounds: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._stopping = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        always = [*UNCHANGED.values(), *CHANGED.values(), OF_MOVED]
        words = [*always, *REMOVED.values(), *ADDED.values()]
        with httpx.Client(timeout=PATIENCE_S) as client:
            while not self._stopping.is_set():
                answered = 0
                for word in words:
                    pause_s = WHEN_NOBODY_ANSWERS_S
                    with suppress(httpx.TransportError):
                        body = {"query": word, "topK": 20, "maxChunksPerPage": 10, "maxTotalChars": 100_000}
                        answer = client.post(self.daemon_of().url + "/retrieve", json=body)
                        if answer.status_code == 200:
                            answered += word in always
                            self.answers.append((word, answer.json()["results"]))
                            pause_s = BETWEEN_QUESTIONS_S
                        elif answer.status_code != 503:
                            self.failures.append(f"{word}: {answer.status_code} {answer.text}")
                    self._stopping.wait(pause_s)
                self.rounds += answered == len(always)

    def whole_round(self) -> None:
        """Wait until every word that is always found was asked for and answered once more."""
        begun = self.rounds
        wait_until(lambda: self.rounds >= begun + 2, "a round of the poller", PATIENCE_S)

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)


def edition_found(word: str, results: Sequence[dict[str, Any]], site: Site) -> str | None:
    """Which edition an answer is of, if it tells; asserts that each page is found as it is to be."""
    ids = [result["chunkId"] for result in results]
    assert len(ids) == len(set(ids)), f"{word}: a chunk twice"
    found = [result for result in results if word in result["content"]]
    where = [str(result["url"]).removeprefix(site.url).partition("#")[0] for result in found]
    if word in UNCHANGED.values():
        assert [UNCHANGED[path] for path in where] == [word], f"{word}: {where}"
        assert found[0]["content"].count(word) == 1
        return None
    if word in CHANGED.values():
        assert [CHANGED[path] for path in where] == [word], f"{word}: {where}"
        editions = [edition for edition in (OLD, NEW) if f"The {word} is told of in the {edition}" in found[0]["content"]]
        assert len(editions) == 1, f"{word}: {editions}"
        return editions[0]
    if word == OF_MOVED:
        assert where in ([MOVED], [MOVED_TO]), f"{word}: {where}"
        return OLD if where == [MOVED] else NEW
    assert len(where) <= 1, f"{word}: {where}"
    return OLD if bool(where) == (word in REMOVED.values()) else NEW


Judge = Callable[[str, list[dict[str, Any]], Site], str | None]


@contextmanager
def polled(site: Site, daemon: Daemon, *, then: str, judge: Judge = edition_found) -> Iterator[Poller]:
    """Poll throughout; what is found is first the old edition, then at some moment the new one, and at the end `then`."""
    poller = Poller(lambda: daemon)
    poller.start()
    try:
        yield poller
    finally:
        poller.stop()
    assert poller.failures == []
    editions = [edition for word, results in poller.answers if (edition := judge(word, results, site)) is not None]
    assert editions == sorted(editions, key=(OLD, NEW).index)
    assert editions[-1] == then


# -- dying and living on


def run_until(daemon: Daemon, command: Sequence[str], ask: Callable[[], object], over: Callable[[bool], bool]) -> float:
    """Start the daemon by `command`, ask for the work as soon as it is ready, and return when it is dead, or `over`, which is
    told whether it was asked, says so; returns after how many seconds."""
    begun, asked = time.monotonic(), False
    with (daemon.settings.data_dir.parent / "stderr").open("wb") as complaints:
        daemon.process = process = subprocess.Popen([sys.executable, "-m", *command], env=daemon.environment, stderr=complaints)
    while process.poll() is None and not over(asked):
        if time.monotonic() > begun + PATIENCE_S:
            daemon.end(signal.SIGKILL)
            raise AssertionError(f"{command} is not over: {daemon.log()[-3000:]}")
        with suppress(httpx.TransportError):
            address = None if asked else find(daemon.settings)
            if address is not None and address.pid == process.pid:
                daemon.url = address.url
                if daemon.get("/health")["ready"]:
                    asked = True
                    ask()
        time.sleep(0.02)
    return time.monotonic() - begun


def die_at(daemon: Daemon, point: str, ask: Callable[[], object], poller: Poller | None = None) -> None:
    """Start the daemon with `point` deadly, ask for the work as soon as it is ready, and wait until it is dead.

    A point that ends with `held` is stayed at, while the poller asks.
    """
    when, where, number, *held = point.split()
    folder = daemon.settings.data_dir.parent
    marker = folder / "held"
    marker.unlink(missing_ok=True)
    command = ["tests.crash_at", when, where, number, *(["--hold", str(marker)] if held else [])]
    run_until(daemon, command, ask, lambda asked: marker.exists())
    try:
        if held and poller is not None:
            poller.whole_round()
    finally:
        if held:
            daemon.end(signal.SIGKILL)
    assert daemon.process is not None
    ended = daemon.process.wait(10)
    assert ended == -signal.SIGKILL, f"{point}: {(folder / 'stderr').read_text()} {daemon.log()[-3000:]}"


@contextmanager
def without_model(daemon: Daemon) -> Iterator[None]:
    """What the daemon does meanwhile, it does before its model is there."""
    daemon.environment["DOCWORKER_MODEL_DIR"] = str(daemon.settings.data_dir.parent / "no model")
    yield
    del daemon.environment["DOCWORKER_MODEL_DIR"]


class Work:
    """Something that a daemon is asked to do, until it has said yes."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self.agreed = False

    def __call__(self) -> None:
        if not self.agreed:
            self._ask()
            self.agreed = True


def idle(daemon: Daemon) -> bool:
    """Whether nothing is left to do."""
    docsets = daemon.get("/status")["docsets"]
    counts = [docset["indexStatus"] for docset in docsets]
    return all(docset["status"] == "ready" and docset["refresh"] is None for docset in docsets) and all(
        count["embeddedChunks"] == count["totalChunks"] for count in counts
    )


def converge(daemon: Daemon, work: Callable[[], object]) -> None:
    """Start the daemon, let it come to its end, and stop it."""
    daemon.start()
    work()
    wait_until(lambda: idle(daemon), "the end of all work", PATIENCE_S)


def listed(folder: Path) -> set[str]:
    """Ids of the chunks that can be found; asserts that all of them are on the shelf."""
    db = copied(folder)
    ids = {str(row[0]) for row in db.execute("SELECT id FROM chunks")}
    assert db.execute("PRAGMA integrity_check").get == "ok"
    db.close()
    assert ids <= {row["id"] for row in shelf(folder)["shelf"]}
    return ids


SERVED = ("pages", "chunks", "symbols", "passages")


def is_either(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Assert that the catalog is what it was before or what it is afterwards, and nothing in between; returns its docset."""
    found = catalog(folder)
    listed(folder)
    if any(found[name] != before[name] for name in SERVED):
        same({name: found[name] for name in SERVED}, {name: after[name] for name in SERVED})
    (docset,) = found["docsets"]
    return dict(docset)


# -- the undisturbed runs


@dataclass(frozen=True)
class Undisturbed:
    """The data folder of a run that nothing disturbed, and what it came to."""

    folder: Path
    state: dict[str, Any]
    start_s: float
    work_s: float


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


@pytest.fixture(autouse=True)
def site_before(site: Site) -> None:
    site.pages = pages(OLD)


def index(daemon: Daemon, site: Site) -> None:
    daemon.post("/index", baseUrl=site.url, seedSlug="/docs/", waitForSeed=False)


def refresh(daemon: Daemon, *, full: bool = False) -> None:
    daemon.post("/refresh", docsetId=daemon.get("/status")["docsets"][0]["id"], force=True, fullReindex=full)


def delete(daemon: Daemon) -> None:
    for docset in daemon.get("/status")["docsets"]:
        daemon.request("DELETE", f"/docset/{docset['id']}").raise_for_status()


def undisturbed(folder: Path, cache_dir: Path, work: Callable[[Daemon], object], **settings: object) -> Undisturbed:
    begun = time.monotonic()
    with Daemon(folder, cache_dir, requests_per_host=AT_ONCE, **settings) as daemon:
        ready = time.monotonic()
        work(daemon)
        wait_until(lambda: idle(daemon), "the end of all work", PATIENCE_S)
        ended = time.monotonic()
    return Undisturbed(folder, state(folder), ready - begun, ended - ready)


@pytest.fixture(scope="module")
def crawled(site: Site, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Undisturbed:
    site.pages = pages(OLD)
    return undisturbed(tmp_path_factory.mktemp("crawled") / "data", cache_dir, lambda daemon: index(daemon, site))


@pytest.fixture(scope="module")
def refreshed(crawled: Undisturbed, site: Site, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Undisturbed:
    folder = shutil.copytree(crawled.folder, tmp_path_factory.mktemp("refreshed") / "data")
    site.pages = pages(NEW)
    return undisturbed(folder, cache_dir, refresh)


@pytest.fixture(scope="module")
def refreshed_in_full(crawled: Undisturbed, site: Site, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Undisturbed:
    folder = shutil.copytree(crawled.folder, tmp_path_factory.mktemp("full") / "data")
    site.pages = pages(NEW)
    return undisturbed(folder, cache_dir, lambda daemon: refresh(daemon, full=True))


@pytest.fixture
def of(crawled: Undisturbed, make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon, not started, on a copy of the crawled folder."""
    daemon = make_daemon(requests_per_host=AT_ONCE)
    shutil.copytree(crawled.folder, daemon.settings.data_dir)
    return daemon


# -- crawl and embedding

# Inside a transaction a kill leaves the disk as before it and as after the step before: one of the three is enough.
CRAWL = (
    "after service:_ensure_docset 1",
    "inside store.pages:commit_indexed 1",
    "after store.frontier:follow 1",
    "after store.pages:commit_indexed 3",
    "before store.docsets:finish_crawl 1",
)
EMBEDDING = (
    "after store.vectors:remember 1",
    "before store.chunks:mark_embedded 1",
)


def test_a_crawl_killed_at_every_step_comes_to_the_same_end(
    make_daemon: Callable[..., Daemon], site: Site, crawled: Undisturbed
) -> None:
    daemon = make_daemon(requests_per_host=AT_ONCE)
    folder = daemon.settings.data_dir
    work = Work(lambda: index(daemon, site))
    expected = {chunk["id"] for chunk in crawled.state["chunks"]}
    seen = set[str]()
    for points, model in ((CRAWL, without_model(daemon)), (EMBEDDING, nullcontext())):
        with model:
            for point in points:
                die_at(daemon, point, work)
                now = listed(folder)
                assert seen <= now <= expected, point
                seen = now
    with polled(site, daemon, then=OLD) as poller:
        converge(daemon, work)
        poller.whole_round()
    daemon.end()
    same(state(folder), crawled.state)
    assert vectors_are_of_their_texts(folder)


# -- refresh

COMPACTION = (  # at the start, of what the crawl has left; the first has ended when the second begins
    "5 store.shelf:Shelf._compact 1",
    "5 store.shelf:Shelf._compact 2",
)
REFRESH = (
    "after store.refreshes:begin 1",
    "inside store.pages:commit_indexed 2",
    "after store.pages:commit_left_out 1",
)
PUBLISHING = (
    "after store.vectors:remember 1",
    "before store.chunks:mark_embedded 1",
    "inside store.refreshes:publish 1 held",
    "after store.refreshes:publish 1 held",
    "after store.shelf:Shelf._write 1",
    "after indexing.refresh:tidy 1",
)


def test_a_refresh_killed_at_every_step_comes_to_the_same_end(
    of: Daemon, site: Site, crawled: Undisturbed, refreshed: Undisturbed
) -> None:
    folder, work = of.settings.data_dir, Work(lambda: refresh(of))
    site.pages = pages(NEW)
    with polled(site, of, then=NEW) as poller:
        with without_model(of):
            for point in COMPACTION:
                die_at(of, point, lambda: None)
                is_either(folder, crawled.state, crawled.state)
            for point in REFRESH:
                die_at(of, point, work)
                is_either(folder, crawled.state, refreshed.state)
        published = None
        for point in PUBLISHING:
            die_at(of, point, work, poller)
            docset = is_either(folder, crawled.state, refreshed.state)
            published = published or (docset if docset["refreshed"] else None)
        converge(of, work)
        poller.whole_round()
    of.end()
    same(state(folder), refreshed.state)
    assert vectors_are_of_their_texts(folder)
    (docset,) = catalog(folder)["docsets"]
    assert docset == published, "it was said to be refreshed once more"


IN_FULL = ("after store.pages:commit_indexed 2", "after store.vectors:remember 1")  # from there on it is a refresh like others


def test_a_full_refresh_killed_on_its_way_still_makes_everything_anew(
    of: Daemon, site: Site, crawled: Undisturbed, refreshed_in_full: Undisturbed
) -> None:
    folder, work = of.settings.data_dir, Work(lambda: refresh(of, full=True))
    site.pages = pages(NEW)
    with polled(site, of, then=NEW) as poller:
        for point in IN_FULL:
            die_at(of, point, work, poller)
            is_either(folder, crawled.state, refreshed_in_full.state)
        converge(of, work)
        poller.whole_round()
    of.end()
    same(state(folder), refreshed_in_full.state)
    assert vectors_are_of_their_texts(folder)
    assert embedded(folder) == embedded(refreshed_in_full.folder)


def embedded(folder: Path) -> int:
    """How many texts the last refresh is said to have embedded."""
    (docset,) = catalog(folder)["docsets"]
    return int(json.loads(docset["refreshed"])["embedded"])


def test_the_shelf_is_whole_after_a_kill_in_the_compaction_of_what_a_refresh_wrote(
    of: Daemon, site: Site, crawled: Undisturbed, refreshed: Undisturbed
) -> None:
    folder, work = of.settings.data_dir, Work(lambda: refresh(of))
    site.pages = pages(NEW)
    with polled(site, of, then=NEW) as poller:
        die_at(of, "20 store.shelf:Shelf._compact 3", work)
        is_either(folder, crawled.state, refreshed.state)
        converge(of, work)
        poller.whole_round()
    of.end()
    same(state(folder), refreshed.state)


# -- deletion

DELETION = ("inside store.docsets:delete 1 held", "after store.shelf:Shelf._write 1 held")


def found_at_all(word: str, results: list[dict[str, Any]], site: Site) -> str | None:
    """Whether the docset is there (`OLD`) or gone (`NEW`)."""
    if word in ADDED.values():
        return None
    return OLD if any(word in result["content"] for result in results) else NEW


def is_empty(folder: Path) -> None:
    """Assert that nothing is left of any docset but vectors of texts that had no chunk any more before it was deleted."""
    found = state(folder)
    found["vectors"] = [row for row in found["vectors"] if row[-1]]
    assert {name: of for name, of in found.items() if of} == {}


def test_a_docset_whose_deletion_is_killed_is_there_whole_or_gone(of: Daemon, site: Site, crawled: Undisturbed) -> None:
    folder = of.settings.data_dir
    work = Work(lambda: delete(of))
    inside, between = DELETION
    with without_model(of), polled(site, of, then=NEW, judge=found_at_all) as poller:
        die_at(of, inside, in_a_thread(work), poller)
        is_either(folder, crawled.state, crawled.state)
        die_at(of, between, in_a_thread(work), poller)
        assert not catalog(folder)["docsets"]
        assert not listed(folder)
        converge(of, work)
        poller.whole_round()
    of.end()
    is_empty(folder)


def in_a_thread(work: Work) -> Callable[[], None]:
    """Work whose answer is not waited for: it may be held."""

    def ask() -> None:
        with suppress(httpx.TransportError):
            work()

    return lambda: threading.Thread(target=ask, daemon=True).start()


# -- migration

MIGRATION = (  # what is killed inside it is in tests.test_migrations
    "after store.migrations:migrate 1",
    "inside store.pages:recut 2 held",
    "after store.pages:recut 4",
)
_SINCE_SCHEMA_4 = {
    "pages": ("body_hash", "rules", "extractor", "chunker", "kept"),
    "docsets": ("inventory_hash", "refreshed"),
    "symbols": ("listed",),
    "vectors": ("unused_since",),
}


def make_older(folder: Path) -> None:
    """Let a data folder be as schema 4 had it, whose chunks had other ids."""
    db = apsw.Connection(str(folder / "catalog.sqlite"))
    db.execute("DROP INDEX pages_by_place; DROP INDEX vectors_unused").fetchall()
    for table, columns in _SINCE_SCHEMA_4.items():
        for column in columns:
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    db.execute("UPDATE docsets SET inventory = ''; UPDATE chunks SET id = 'older ' || id; PRAGMA user_version = 4").fetchall()
    db.close()
    for table in ("chunks", "vectors"):
        lancedb.connect(str(folder / "shelf")).open_table(table).update(values_sql={"id": "concat('older ', id)"})


def cut_anew(folder: Path) -> bool:
    db = apsw.Connection(str(folder / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    left = db.execute("SELECT count(*) FROM chunks WHERE id LIKE 'older%'").get
    db.close()
    return not left and not any(row["id"].startswith("older") for row in shelf(folder)["shelf"])


def read_anew(folder: Path) -> bool:
    db = apsw.Connection(str(folder / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    others = db.execute("SELECT count(*) FROM pages WHERE state = 'indexed' AND extractor != ?", (EXTRACTOR_VERSION,)).get
    db.close()
    return not others and not any((folder / "refreshing").glob("*"))


@pytest.fixture(scope="module")
def older(crawled: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(crawled.folder, tmp_path_factory.mktemp("older") / "data")
    make_older(folder)
    return folder


def found_once(word: str, results: list[dict[str, Any]], site: Site) -> str | None:
    return None if word in ADDED.values() else edition_found(word, results, site)


def test_a_migration_killed_at_every_step_comes_to_the_same_end(
    older: Path, make_daemon: Callable[..., Daemon], site: Site, cache_dir: Path
) -> None:
    def end(daemon: Daemon) -> None:
        wait_until(lambda: cut_anew(daemon.settings.data_dir), "that all is cut anew", PATIENCE_S)
        wait_until(lambda: read_anew(daemon.settings.data_dir), "that all is read anew", PATIENCE_S)

    no_model = older.parent  # the vectors are known
    smooth = undisturbed(shutil.copytree(older, older.parent / "smooth" / "data"), cache_dir, end, model_dir=no_model)
    daemon = make_daemon(requests_per_host=AT_ONCE, model_dir=no_model)
    folder = shutil.copytree(older, daemon.settings.data_dir)
    with polled(site, daemon, then=OLD, judge=found_once) as poller:
        for point in MIGRATION:
            die_at(daemon, point, lambda: None, poller)
            assert len(listed(folder)) == len(smooth.state["chunks"]), point
        converge(daemon, lambda: end(daemon))
        poller.whole_round()
    daemon.end()
    same(state(folder), smooth.state)
    assert vectors_are_of_their_texts(folder)


# -- what belongs together


def ended(daemon: Daemon) -> bool:
    return all(docset["status"] in ("ready", "error") for docset in daemon.get("/status")["docsets"])


def test_a_site_moves_up_to_https_also_when_its_first_answer_was_the_last(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    daemon = make_daemon(requests_per_host=AT_ONCE, model_dir=tmp_path)
    daemon.environment["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    with MovedUp(tls=context) as site:
        site.pages = {"/docs/": page("/docs/", "mole", OLD, [f"{site.url}/docs/a"]), "/docs/a": page("/docs/a", "newt", OLD)}
        die_at(daemon, "after store.pages:commit_moved 1", Work(lambda: index(daemon, site)))
        daemon.start()
        wait_until(lambda: ended(daemon), "the end of the crawl", PATIENCE_S)
        assert daemon.get("/status")["docsets"][0]["baseUrl"] == site.url.replace("http:", "https:")
        assert ("http", "/docs/a") not in site.asked_by


class MovedUp(Site):
    """Its first page says by http that it has moved to https."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.asked_by: list[tuple[str, str]] = []

    def answer_to(self, path: str, scheme: str) -> Answer:
        self.asked_by.append((scheme, path))
        if (scheme, path) == ("http", "/docs/"):
            return Answer(301, headers={"Location": self.url.replace("http:", "https:") + path})
        return super().answer_to(path, scheme)


def test_a_page_whose_original_is_excluded_is_indexed_also_after_a_kill(of: Daemon, site: Site) -> None:
    exclude = {"baseUrl": site.url, "seedSlug": "/docs/", "exclude": ["/docs/same"], "waitForSeed": False}
    with without_model(of):
        die_at(of, "before store.shelf:Shelf.remove 1", Work(lambda: of.post("/index", **exclude)))
        of.start()
        wait_until(lambda: ended(of), "the end of the crawl", PATIENCE_S)
        became = {path: of.get("/why", url=site.url + path)["docsets"][0]["status"] for path in ("/docs/same", "/docs/twin")}
    assert became == {"/docs/same": "skipped", "/docs/twin": "indexed"}


# -- at any time


def die_within(daemon: Daemon, work: Callable[[], object], draw: random.Random, usual: Undisturbed) -> None:
    """Start the daemon and kill it at some time: one in four while it starts, else while it works."""
    starting = draw.random() < 0.25
    after_s = draw.uniform(0, usual.start_s if starting else usual.work_s)
    since: list[float] = [time.monotonic()] if starting else []

    def over(asked: bool) -> bool:
        if asked and not since:
            since.append(time.monotonic())
        return bool(since) and time.monotonic() > since[0] + after_s

    run_until(daemon, ["cli", "serve"], work, over)
    daemon.end(signal.SIGKILL)


def test_kills_at_any_time_change_nothing_in_what_it_comes_to(
    make_daemon: Callable[..., Daemon], site: Site, crawled: Undisturbed, refreshed: Undisturbed
) -> None:
    draw = random.Random(1)
    daemon = make_daemon(requests_per_host=AT_ONCE)
    folder = daemon.settings.data_dir
    work = Work(lambda: index(daemon, site))
    for _ in range(2):
        die_within(daemon, work, draw, crawled)
    converge(daemon, work)
    daemon.end()
    same(state(folder), crawled.state)
    work = Work(lambda: refresh(daemon))
    site.pages = pages(NEW)
    with polled(site, daemon, then=NEW) as poller:
        for _ in range(3):
            die_within(daemon, work, draw, refreshed)
            is_either(folder, crawled.state, refreshed.state)
        converge(daemon, work)
        poller.whole_round()
    daemon.end()
    same(state(folder), refreshed.state)
