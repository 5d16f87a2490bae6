"""Data folders of older and of newer versions: what each start makes of them. See fixtures/folders/README.md."""

import asyncio
import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import FTS, BTree

from docworker import SCHEMA_VERSION
from docworker.errors import StoreError
from docworker.indexing import decide
from docworker.model import Document, Section, Symbol
from docworker.store import docsets, pages
from docworker.store.catalog import Catalog
from docworker.store.migrations import migrate
from tests.conftest import FIXTURES
from tests.daemon import Daemon, wait_until
from tests.site import Answer, Site
from tests.test_life import serve_again, shelved

FOLDERS = FIXTURES / "folders"
OLDER = range(1, SCHEMA_VERSION)
DIMENSIONS = 384
QUICK = {"request_attempts": 1, "pause_s": 0, "request_timeout_s": 300}
VALIDATORS = {"if-none-match", "if-modified-since"}

HOST = "http://manual.test"
KETTLE, LID = f"{HOST}/kettle/", f"{HOST}/lid/"


class ManualSite(Site):
    """The site that the folders in fixtures/folders were crawled from, `http://manual.test`, as a proxy serves it: at any port.

    Nothing is answered while `open` is not set. `asked_with` are the headers of each request, by path.
    """

    def __init__(self) -> None:
        super().__init__(manual())
        self.asked_with: dict[str, list[Mapping[str, str]]] = {}
        self.open = threading.Event()
        self.open.set()

    def answer(self, path: str) -> Answer:
        self.open.wait(300)
        return super().answer(path.removeprefix(HOST))

    def asked(self, path: str, headers: Mapping[str, str]) -> int:
        path = path.removeprefix(HOST)
        self.asked_with.setdefault(path, []).append({name.lower(): value for name, value in headers.items()})
        return super().asked(path, headers)

    def __exit__(self, *trouble: Any) -> None:
        self.open.set()
        super().__exit__(*trouble)


def manual() -> dict[str, str | Answer]:
    """Two manuals: one as Sphinx makes them, with all that can become of a page, and a small one."""
    long = " ".join(f"Step {number} of the tuning asks how much water a samovar takes at noon." for number in range(1, 21))
    guide = _sphinx(
        "Guide",
        f"""<section id="guide"><h1>Guide</h1><p>How a queue is kept warm, in the words of the samovar.</p>
        <section id="first"><h2>First steps</h2><p>Open it, then fill it.</p></section>
        <section id="second"><h2>Second steps</h2><p>Close it when the steam is gone.</p></section>
        <section id="tuning"><h2>Tuning</h2><p>{long}</p>
        <div class="highlight-python"><pre>import kettle\n\nqueue = kettle.connect("tea.db")\nqueue.put("water")</pre></div>
        </section></section>""",
    )
    return {
        "/kettle/": _sphinx(
            "Kettle",
            """<section id="kettle"><h1>Kettle</h1><p>Kettle keeps queues in a file; this is its zarf,
            the page that holds it all.</p>
            <ul><li><a href="guide.html">Guide</a></li><li><a href="api.html">API</a></li>
            <li><a href="install.html">Install</a></li><li><a href="empty.html">Empty</a></li>
            <li><a href="old.html">Old</a></li><li><a href="broken.html">Broken</a></li>
            <li><a href="guide-again.html">The guide again</a></li><li><a href="private.html">Private</a></li></ul></section>""",
        ),
        "/kettle/guide.html": guide,
        "/kettle/guide-again.html": guide,
        "/kettle/install.html": Answer(301, headers={"Location": f"{KETTLE}setup.html"}),
        "/kettle/setup.html": _sphinx(
            "Setup",
            """<section id="setup"><h1>Setup</h1><p>Setting up takes a spoon of teasel and the package manager of your choice.</p>
            <p>See also the <a href="guide.html">guide</a>.</p></section>""",
        ),
        "/kettle/api.html": _sphinx(
            "API reference",
            """<section id="module-kettle"><h1>API reference</h1>
            <p>All of it can be imported from kettle, the oolong of modules.</p>
            <dl class="py function"><dt class="sig sig-object py" id="kettle.connect">
            <span class="sig-prename descclassname">kettle.</span><span class="sig-name descname">connect</span>(<em>path</em>)
            </dt><dd><p>Open the queue stored at <em>path</em>, and make the file if there is none.</p></dd></dl>
            <dl class="py class"><dt class="sig sig-object py" id="kettle.Queue"><em class="property">class </em>
            <span class="sig-prename descclassname">kettle.</span><span class="sig-name descname">Queue</span>(<em>file</em>)</dt>
            <dd><p>A queue in a file. It is closed when nothing refers to it any more.</p>
            <dl class="py method"><dt class="sig sig-object py" id="kettle.Queue.put"><span class="sig-name descname">put</span>(
            <em>item</em>)</dt><dd><p>Add an item at the end, and wait until it is on the disk.</p></dd></dl></dd></dl>
            <section id="constants"><h2>Constants</h2><p id="kettle.BOILING">BOILING is the temperature of water that boils, in
            degrees, and the first thing that is asked for by those who read constants.</p></section></section>""",
        ),
        "/kettle/empty.html": '<!DOCTYPE html><html lang="en"><head><title></title></head><body></body></html>',
        "/kettle/old.html": Answer(410),
        "/kettle/broken.html": Answer(500, "<title>Broken</title><h1>Broken</h1>"),
        "/kettle/private.html": '<!DOCTYPE html><html lang="en"><head><title>Private</title>'
        '<meta name="robots" content="noindex"></head><body><h1>Private</h1>'
        "<p>Nobody is to find what is written of the tisane here.</p></body></html>",
        "/kettle/news.html": _sphinx(
            "News", "<section id='news'><h1>News</h1><p>Only the sitemap tells of the matcha that came in May.</p></section>"
        ),
        "/kettle/objects.inv": Answer(body=_inventory(), content_type="application/octet-stream"),
        "/sitemap.xml": Answer(
            body='<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
            f"<url><loc>{KETTLE}news.html</loc></url></urlset>",
            content_type="application/xml",
        ),
        "/lid/": """<!DOCTYPE html><html lang="en"><head><title>Lid</title></head><body><main><h1>Lid</h1>
            <p>The lid has a manual of its own, which begins with the gaiwan.</p><h2 id="more">More of it</h2>
            <p>What is to be said of handles stands on <a href="/lid/handles">another page</a>.</p></main></body></html>""",
        "/lid/handles": """<!DOCTYPE html><html lang="en"><head><title>Handles</title></head><body><main><h1>Handles</h1>
            <p>A handle of rooibos stays cold when the water boils.</p></main></body></html>""",
    }


# Of each page that stays in the index, something that is said on no other.
SAID = {
    f"{KETTLE}": "this is its zarf, the page that holds it all",
    f"{KETTLE}guide.html": "how a queue is kept warm, in the words of the samovar",
    f"{KETTLE}setup.html": "setting up takes a spoon of teasel and the package manager",
    f"{KETTLE}api.html": "all of it can be imported from kettle, the oolong of modules",
    f"{LID}": "the lid has a manual of its own, which begins with the gaiwan",
    f"{LID}handles": "a handle of rooibos stays cold when the water boils",
}


def _sphinx(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en" data-content_root="./"><head><title>{title} &#8212; Kettle 2.4 documentation</title>'
        '<link rel="stylesheet" href="_static/pygments.css"><link rel="index" title="Index" href="genindex.html"></head><body>'
        f'<div class="document"><div class="body" role="main">{body}</div></div></body></html>'
    )


def _inventory() -> bytes:
    names = ["kettle.connect py:function 1 api.html#$ -", "kettle.BOILING py:data 1 api.html#$ -"]
    head = b"# Sphinx inventory version 2\n# Project: Kettle\n# Version: 2.4\n# The remainder is compressed using zlib.\n"
    return head + zlib.compress("\n".join([*names, ""]).encode())


# -- folders as older versions left them


def old_folder(folder: Path, version: int, *, shelf: bool = True) -> Path:
    """A data folder as a docworker of that version left it when it was told to stop."""
    folder.mkdir()
    db = apsw.Connection(str(folder / "catalog.sqlite"))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.execute("BEGIN")
    db.execute((FOLDERS / f"schema-{version}.sql").read_text("utf-8")).fetchall()
    db.execute("COMMIT")
    db.close()
    if shelf:
        _old_shelf(folder, version)
    return folder


def _old_shelf(folder: Path, version: int) -> None:
    rows = json.loads((FOLDERS / f"schema-{version}.shelf.json").read_text("utf-8"))
    columns = {name: pa.string() for name in rows[0]} | {"path": pa.list_(pa.string())}
    lance = lancedb.connect(folder / "shelf")
    chunks = lance.create_table("chunks", pa.Table.from_pylist(rows, pa.schema(list(columns.items()))))
    words = "words" if "words" in columns else "search_text"
    chunks.create_index("id", config=BTree(), name="id_idx")
    chunks.create_index(words, config=FTS(base_tokenizer="whitespace", lower_case=False, stem=False), name=f"{words}_idx")
    values = pa.list_(pa.float32(), DIMENSIONS)
    made = [
        {"id": id_, "docset_id": docset_id, "vector": np.frombuffer(vector, "<f4")}
        for id_, docset_id, vector in rows_of(
            folder, "SELECT id, docset_id, vector FROM chunks JOIN vectors ON vectors.text_hash = chunks.text_hash"
        )
    ]
    schema = pa.schema([("id", pa.string()), ("docset_id", pa.string()), ("vector", values)])
    lance.create_table("vectors", pa.Table.from_pylist(made, schema)).create_index("id", config=BTree(), name="id_idx")


def rows_of(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in the catalog of a folder."""
    db = apsw.Connection(str(folder / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [tuple(row) for row in db.execute(query)]
    finally:
        db.close()


def change(folder: Path, statements: str) -> None:
    """Run statements on the catalog of a folder on which no daemon runs."""
    db = apsw.Connection(str(folder / "catalog.sqlite"))
    db.execute(statements).fetchall()
    db.close()


def dumped(file: Path) -> list[tuple[object, ...]]:
    """All that a catalog holds, with its version."""
    db = apsw.Connection(str(file))
    found: list[tuple[object, ...]] = [(db.pragma("user_version"),)]
    found += [tuple(row) for row in db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")]
    for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid").fetchall():
        found += sorted(((table, *row) for row in db.execute(f"SELECT * FROM {table}")), key=repr)
    db.close()
    return found


def schema_of(db: apsw.Connection) -> list[tuple[str, ...]]:
    rows = db.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")
    return [tuple(" ".join(str(part).replace('"', "").split()) for part in row) for row in rows]


def document_in(packed: bytes) -> Document:
    """A text as it is stored, read without docworker."""
    fields = json.loads(zlib.decompress(packed))
    named = tuple(Symbol(**symbol) for symbol in fields.get("symbols", ()))
    return Document(fields["title"], fields["site"], tuple(Section(**section) for section in fields["sections"]), named)


# -- what is the same for the same site


def state(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a folder tells of its docsets, but when it was found, in which order, and what a refresh reported."""
    one = "SELECT url FROM pages WHERE pages"
    known = {
        "docsets": "SELECT id, name, named, base_url, seed_url, origin, allowed_paths, max_pages, include, exclude, language,"
        " sitemaps_read, inventory, inventory_hash, state, message FROM docsets ORDER BY id",
        "pages": "SELECT docset_id, url, id, turn, depth, dense_rank() OVER (PARTITION BY docset_id ORDER BY place), hops,"
        " discovered_from, state, reason, message, target, lease_until, attempts, requests,"
        " iif(http_status = 304, 200, http_status), size, title, read_as, content_hash, main_hash, canonical, etag,"
        " last_modified, body_hash, rules, extractor, chunker, kept, document, links,"
        " links_dropped, followed FROM pages ORDER BY docset_id, url",
        "passages": f"SELECT docset_id, hash, ({one}.seq = page_seq) FROM passages ORDER BY 1, 2, 3",
        "symbols": f"SELECT docset_id, key, ({one}.seq = page_seq), name, kind, anchor, chunk, listed FROM symbols"
        " ORDER BY 1, 2, 3, 4, 5, 6",
        "robots": "SELECT docset_id, body FROM robots ORDER BY 1",
        "chunks": f"SELECT id, ({one}.id = page_id), docset_id, ordinal, section, anchor, chars, text_hash, embedded FROM chunks"
        " ORDER BY 2, 4",
        "texts": "SELECT DISTINCT text_hash FROM chunks WHERE EXISTS (SELECT 1 FROM vectors"
        " WHERE vectors.text_hash = chunks.text_hash AND unused_since IS NULL) ORDER BY 1",
        "meta": "SELECT key, value FROM meta ORDER BY 1",
    }
    return {name: rows_of(folder, query) for name, query in known.items()} | shelf_of(folder)


def shelf_of(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What stands on the shelf; of vectors what is told by ten digits of each."""
    lance = lancedb.connect(folder / "shelf")
    rows = lance.open_table("chunks").to_arrow().to_pylist()
    vectors = lance.open_table("vectors").to_arrow().to_pylist()
    return {
        "rows": sorted((tuple(map(repr, row.items())) for row in rows), key=repr),
        "vectors": sorted((row["id"], row["docset_id"], *(round(value, 2) for value in row["vector"][:4])) for row in vectors),
    }


def vectors_of(folder: Path) -> dict[tuple[str, str], bytes]:
    rows = rows_of(folder, "SELECT model, text_hash, vector FROM vectors")
    return {(model, text_hash): vector for model, text_hash, vector in rows}


def differing(one: Mapping[str, list[tuple[Any, ...]]], other: Mapping[str, list[tuple[Any, ...]]]) -> dict[str, Any]:
    """By what two states differ."""
    return {
        name: ([row for row in one[name] if row not in other[name]], [row for row in other[name] if row not in one[name]])
        for name in one
        if one[name] != other[name]
    }


def through(daemon: Daemon, proxy: str) -> Daemon:
    """The daemon, which reaches `http://manual.test` through this proxy."""
    daemon.environment |= {"DOCWORKER_PROXY": proxy}
    return daemon


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The address of a proxy that is not there: nothing of the site can be had."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """The data folder of a crawl of the site into an empty folder; its daemon has ended."""
    folder = tmp_path_factory.mktemp("fresh") / "data"
    with ManualSite() as site, through(Daemon(folder, cache_dir, **QUICK), site.url) as daemon:
        ids = [
            daemon.post("/index", baseUrl=HOST, seedSlug="/kettle/")["docsetId"],
            daemon.post("/index", baseUrl=HOST, seedSlug="/lid/", name="The lid")["docsetId"],
        ]
        for docset_id in ids:
            daemon.wait_ready(docset_id, vectors=True)
    return folder


def found_by(daemon: Daemon, said: str) -> list[str]:
    """URLs of the pages that a question finds; none, while that is said to be so because the index is made again."""
    answer = daemon.request("POST", "/retrieve", json={"query": said, "topK": 10})
    if answer.status_code == 503:
        assert "being made again" in answer.json()["error"]
        return []
    return [str(result["url"]).partition("#")[0] for result in answer.raise_for_status().json()["results"]]


def unfound(daemon: Daemon) -> list[str]:
    """Pages that are not found by what is said only on them."""
    return [url for url, said in SAID.items() if url not in found_by(daemon, said)]


def described(daemon: Daemon) -> list[Any]:
    return list(daemon.get("/status")["docsets"])


def refreshed(daemon: Daemon) -> bool:
    """Whether every docset's refresh has ended."""
    return all(docset["lastRefresh"] and not docset["refresh"] for docset in described(daemon))


def mended(daemon: Daemon) -> bool:
    """Whether every page is cut as now and has its vectors."""
    folder = daemon.settings.data_dir
    (left,) = rows_of(folder, "SELECT count(*) FROM pages WHERE document IS NOT NULL AND chunker != 1")[0]
    ((chunks, embedded),) = rows_of(folder, "SELECT count(*), sum(embedded) FROM chunks")
    return bool(left == 0 and chunks and chunks == embedded)


# -- the catalog


@pytest.mark.parametrize("version", OLDER)
async def test_the_catalog_of_an_older_version_is_brought_up_to_date_with_all_that_it_holds(tmp_path: Path, version: int) -> None:
    folder = old_folder(tmp_path / "data", version, shelf=False)
    file = folder / "catalog.sqlite"
    told = "SELECT id, name, named, base_url, seed_url, origin, allowed_paths, max_pages, state, message, created_at, updated_at,"
    docsets_before = rows_of(folder, f"{told} crawled_at FROM docsets ORDER BY id")
    of_page = (
        "SELECT id, docset_id, url, depth, discovered_from, state, message, attempts, title, etag, last_modified, document,"
        " fetched_at, indexed_at FROM pages ORDER BY id"
    )
    pages_before, vectors_before = rows_of(folder, of_page), vectors_of(folder)
    more = ("meta", *(("robots", "passages") if version > 1 else ()))
    more_before = [sorted(rows_of(folder, f"SELECT * FROM {table}")) for table in more]
    symbols = "SELECT docset_id, key, page_seq, name, kind, anchor FROM symbols ORDER BY rowid"
    symbols_before = rows_of(folder, symbols) if version > 2 else []
    fresh = await Catalog.open(tmp_path / "fresh.sqlite")

    for _ in range(2):  # the second time nothing is left to do
        catalog = await Catalog.open(file)
        assert await catalog.read(lambda db: db.pragma("user_version")) == SCHEMA_VERSION == 6
        assert await catalog.read(schema_of) == await fresh.read(schema_of)
        assert await catalog.read(lambda db: db.execute("PRAGMA foreign_key_check").fetchall()) == []
        assert await catalog.read(lambda db: db.execute("PRAGMA integrity_check").get) == "ok"
        assert [each.name for each in await catalog.read(docsets.all_docsets)] == ["Kettle 2.4 documentation", "The lid"]
        stored = {page.page_id: page.document for page in await catalog.read(pages.documents, 0, 100)}
        await catalog.close()
        assert rows_of(folder, f"{told} crawled_at FROM docsets ORDER BY id") == docsets_before
        assert rows_of(folder, of_page) == pages_before
        read_by = rows_of(folder, "SELECT DISTINCT extractor FROM pages WHERE state = 'indexed'")
        assert read_by == [(1 if version >= 5 else 0,)]  # as it says itself, if it does
        assert stored == {row[0]: document_in(row[11]) for row in pages_before if row[11] is not None}
        assert {row[2] for row in pages_before if row[0] in stored} >= SAID.keys()
        assert vectors_of(folder) == vectors_before
        assert [sorted(rows_of(folder, f"SELECT * FROM {table}")) for table in more] == more_before
        assert rows_of(folder, symbols) == symbols_before
    await fresh.close()


@pytest.mark.parametrize("version", OLDER)
def test_a_migration_that_is_killed_leaves_the_catalog_as_it_was(tmp_path: Path, version: int) -> None:
    file = old_folder(tmp_path / "data", version, shelf=False) / "catalog.sqlite"
    before = dumped(file)
    program = f"""
import os, signal, apsw
from docworker.store.migrations import migrate
db = apsw.Connection({str(file)!r})
db.execute("PRAGMA foreign_keys = ON; PRAGMA cache_size = 1; PRAGMA cache_spill = 1").fetchall()
db.execute("BEGIN IMMEDIATE")
migrate(db)
assert os.path.getsize({str(file) + "-wal"!r}) > 50_000
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert dumped(file) == before


@pytest.mark.parametrize("version", OLDER)
def test_a_migration_for_which_the_disk_has_no_room_leaves_the_catalog_as_it_was(tmp_path: Path, version: int) -> None:
    file = old_folder(tmp_path / "data", version, shelf=False) / "catalog.sqlite"
    before = dumped(file)
    db = apsw.Connection(str(file))
    db.execute("PRAGMA foreign_keys = ON").fetchall()
    db.execute(f"PRAGMA max_page_count = {db.pragma('page_count') + 5}").fetchall()
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.FullError):
        migrate(db)
    if db.in_transaction:
        db.execute("ROLLBACK")
    db.close()
    assert dumped(file) == before


async def test_a_daemon_that_cannot_write_the_new_catalog_says_so_and_leaves_the_old_one(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    folder = old_folder(tmp_path / "data", 3, shelf=False)
    before = dumped(folder / "catalog.sqlite")
    refused = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cli", "serve"],
        env=make_daemon().environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert refused.returncode == 1
    assert re.fullmatch(r"The (catalog|disk) .*\.\n", refused.stderr), refused.stderr
    assert dumped(folder / "catalog.sqlite") == before
    catalog = await Catalog.open(folder / "catalog.sqlite")  # once it may write
    assert await catalog.read(lambda db: db.pragma("user_version")) == SCHEMA_VERSION
    await catalog.close()


# -- the start


# The oldest and the newest of them; what follows begins with the ones between.
@pytest.mark.parametrize("version", [OLDER[0], OLDER[-1]])
def test_what_an_older_version_indexed_is_found_without_its_site_and_a_refresh_makes_it_a_fresh_crawl(
    make_daemon: Callable[..., Daemon], tmp_path: Path, fresh: Path, version: int
) -> None:
    folder = old_folder(tmp_path / "data", version)
    before = vectors_of(folder)
    with ManualSite() as site:
        site.open.clear()
        daemon = through(make_daemon(**QUICK), site.url)
        daemon.start()
        if version >= 4:  # its chunks serve until they are cut anew
            assert unfound(daemon) == []
        wait_until(lambda: unfound(daemon) == [], "every page")
        wait_until(lambda: mended(daemon), "every vector")
        assert unfound(daemon) == []
        assert "kettle.connect" in daemon.post("/retrieve", query="kettle.connect", topK=1)["results"][0]["content"]
        assert [docset["status"] for docset in described(daemon)] == ["indexing"] * 2
        assert [docset["refresh"] is not None for docset in described(daemon)] == [True] * 2
        assert daemon.log().count("docworker reads pages otherwise than the version that indexed them") == 2
        assert site.answers.total() == 0
        kept = {key: vector for key, vector in vectors_of(folder).items() if key in before}
        assert kept == before
        shelf = [sorted(id_ for (id_,) in rows_of(folder, "SELECT id FROM chunks"))] * 2
        assert [shelved(folder, "chunks"), shelved(folder, "vectors")] == shelf
        if version >= 4:
            assert vectors_of(folder).keys() == before.keys()
            parts = ("chunks", "symbols", "rows", "vectors")  # the same texts, cut as now
            ours, theirs = state(folder), state(fresh)
            assert differing({name: ours[name] for name in parts}, theirs) == {}

        site.open.set()
        wait_until(lambda: refreshed(daemon), "the end of the refreshes")
        assert [docset["lastRefresh"]["done"] for docset in described(daemon)] == [True, True]
        assert unfound(daemon) == []
        if version == 1:
            assert f"{KETTLE}news.html" in found_by(daemon, "only the sitemap tells of the matcha that came in May")
            assert f"{KETTLE}private.html" not in found_by(daemon, "nobody is to find what is written of the tisane")
        known = [path for path, asked in site.asked_with.items() if any(VALIDATORS & headers.keys() for headers in asked)]
        assert known == [], "only what was read as now may be as it was"
        wait_until(lambda: mended(daemon), "every vector")
        daemon.end()
    assert differing(state(folder), state(fresh)) == {}


def test_a_refresh_that_reads_otherwise_is_tried_again_at_the_next_start_until_it_is_done(
    make_daemon: Callable[..., Daemon], tmp_path: Path, fresh: Path, nowhere: str
) -> None:
    folder = old_folder(tmp_path / "data", 3)
    before = vectors_of(folder)
    change(
        folder,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
        " INSERT INTO vectors SELECT 'of another model', i, x'00' FROM n",
    )
    with through(make_daemon(**QUICK), nowhere) as daemon:
        wait_until(lambda: mended(daemon), "every vector")  # of the many that are known none is forgotten before that
        used = {text_hash for (text_hash,) in rows_of(folder, "SELECT text_hash FROM chunks")}
        after = vectors_of(folder)
        assert len(used & {text_hash for _, text_hash in before}) > 10
        assert {key: after.get(key) for key in before if key[1] in used} == {
            key: vector for key, vector in before.items() if key[1] in used
        }
        wait_until(lambda: refreshed(daemon), "the end of the refreshes")
        assert [docset["lastRefresh"]["done"] for docset in described(daemon)] == [False, False]
        assert all("nothing was changed" in docset["message"] for docset in described(daemon))
        assert [docset["status"] for docset in described(daemon)] == ["ready", "ready"]
        assert unfound(daemon) == []
    with ManualSite() as site, through(daemon, site.url):
        wait_until(lambda: all(docset["lastRefresh"]["done"] for docset in described(daemon)), "the refreshes")
        wait_until(lambda: mended(daemon), "every vector")
    assert differing(state(folder), state(fresh)) == {}


# -- a newer version


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.startswith("catalog.sqlite")}


@pytest.mark.parametrize("left", ["closed", "killed", "not in WAL mode"])
def test_a_folder_of_a_newer_version_is_refused_with_a_sentence_and_left_byte_for_byte(
    make_daemon: Callable[..., Daemon], fresh: Path, left: str
) -> None:
    daemon = make_daemon()
    folder = daemon.settings.data_dir
    shutil.copytree(fresh, folder)
    if left == "killed":
        program = f"""
import os, signal, apsw
db = apsw.Connection({str(folder / "catalog.sqlite")!r})
db.execute("PRAGMA user_version = {SCHEMA_VERSION + 1}").fetchall()
os.kill(os.getpid(), signal.SIGKILL)
"""
        assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == -signal.SIGKILL
        assert (folder / "catalog.sqlite-wal").stat().st_size > 0
    else:
        change(folder, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        if left == "not in WAL mode":
            change(folder, "PRAGMA journal_mode = DELETE")
    before, others = bytes_of(folder), sorted(file.name for file in (folder / "shelf").rglob("*"))
    refused = serve_again(daemon)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"The data folder was written by a newer docworker (schema {SCHEMA_VERSION + 1}, this one reads up to {SCHEMA_VERSION});"
        " update docworker, or choose another folder with --data-dir.\n"
    )
    after = bytes_of(folder)
    assert after["catalog.sqlite"] == before["catalog.sqlite"]
    assert after.get("catalog.sqlite-wal", b"") == before.get("catalog.sqlite-wal", b"")
    assert sorted(file.name for file in (folder / "shelf").rglob("*")) == others
    assert not (folder / "daemon.json").exists()


async def test_the_file_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    db = apsw.Connection(str(file))
    db.execute("CREATE TABLE theirs (x); CREATE INDEX of_theirs ON theirs (x); INSERT INTO theirs VALUES (1)").fetchall()
    db.close()
    before = dumped(file)
    with pytest.raises(StoreError):
        await (await Catalog.open(file)).close()
    assert dumped(file) == before


async def test_a_catalog_that_was_analysed_by_hand_is_brought_up_to_date_too(tmp_path: Path) -> None:
    folder = old_folder(tmp_path / "data", 4, shelf=False)
    change(folder, "ANALYZE")
    catalog = await Catalog.open(folder / "catalog.sqlite")
    assert await catalog.read(lambda db: db.pragma("user_version")) == SCHEMA_VERSION
    await catalog.close()


# -- another chunker, another extractor


def test_what_an_older_chunker_cut_is_cut_anew_from_the_texts_and_answers_all_the_while(
    make_daemon: Callable[..., Daemon], fresh: Path, nowhere: str
) -> None:
    daemon = through(make_daemon(**QUICK), nowhere)
    folder = daemon.settings.data_dir
    shutil.copytree(fresh, folder)
    # an older chunker gave other ids, and of the longest page less
    cut = "SELECT id FROM chunks WHERE page_id = (SELECT id FROM pages WHERE url LIKE '%/guide.html') AND ordinal > 0"
    lost = [id_ for (id_,) in rows_of(folder, cut)]
    assert lost
    change(folder, f"DELETE FROM chunks WHERE id IN ({cut}); UPDATE chunks SET id = 'old' || id; UPDATE pages SET chunker = 0")
    lance = lancedb.connect(folder / "shelf")
    for name in ("chunks", "vectors"):
        table = lance.open_table(name)
        table.delete(f"id IN ({', '.join(map(repr, lost))})")
        table.update(values_sql={"id": "concat('old', id)"})
    before = vectors_of(folder)

    missed: list[tuple[str, list[str]]] = []
    asked = [0]
    over = threading.Event()

    def ask(url: str) -> None:
        while not over.is_set():
            found = found_by(daemon, SAID[url])
            asked[0] += 1
            if url not in found:
                missed.append((url, found))

    with daemon:
        threads = [threading.Thread(target=ask, args=(url,)) for url in SAID]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: mended(daemon), "every page")
            time.sleep(0.3)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert all(docset["refresh"] is None and docset["lastRefresh"] is None for docset in described(daemon))
        assert asked[0] > len(SAID)
        assert missed == []
    assert vectors_of(folder) == before
    assert differing(state(folder), state(fresh)) == {}


def test_what_an_older_extractor_read_is_asked_for_and_read_anew_without_embedding_what_is_as_it_was(
    make_daemon: Callable[..., Daemon], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make_daemon(**QUICK)
    folder = daemon.settings.data_dir
    shutil.copytree(fresh, folder)
    monkeypatch.setattr(decide, "EXTRACTOR_VERSION", 0)
    db = apsw.Connection(str(folder / "catalog.sqlite"))
    for docset in docsets.all_docsets(db):
        for is_seed, depths in ((True, "depth = 0"), (False, "depth > 0")):
            rules = decide.rules_hash(docset, is_seed=is_seed, obey_robots=True)
            db.execute(
                f"UPDATE pages SET extractor = 0, rules = ? WHERE docset_id = ? AND rules IS NOT NULL AND {depths}",
                (rules, docset.id),
            ).fetchall()
    db.close()
    before = vectors_of(folder)
    with ManualSite() as site, through(daemon, site.url):
        wait_until(lambda: refreshed(daemon), "the end of the refreshes")
        reports = [docset["lastRefresh"] for docset in described(daemon)]
        assert [(report["done"], report["embedded"], report["added"], report["removed"]) for report in reports] == [
            (True, 0, 0, 0)
        ] * 2
        read = {url.removeprefix(HOST) for (url,) in rows_of(fresh, "SELECT url FROM pages WHERE rules IS NOT NULL")}
        assert read <= site.asked_with.keys()
        assert [path for path, asked in site.asked_with.items() if any(VALIDATORS & headers.keys() for headers in asked)] == []
    assert vectors_of(folder) == before
    assert differing(state(folder), state(fresh)) == {}


# -- folders that are not as they should be


def test_pages_that_cannot_be_had_in_the_first_refresh_are_kept_each_for_itself(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    old_folder(tmp_path / "data", 2)
    site = ManualSite()
    site.pages |= dict.fromkeys(("/kettle/setup.html", "/kettle/api.html"), Answer(500))
    with site, through(make_daemon(**QUICK), site.url) as daemon:
        wait_until(lambda: refreshed(daemon), "the end of the refreshes")
        reports = {docset["name"]: docset["lastRefresh"] for docset in described(daemon)}
        assert reports["Kettle 2.4 documentation"]["unsure"] == 2
        assert unfound(daemon) == []


def test_a_crawl_that_an_older_version_had_not_ended_goes_on_and_comes_to_what_a_fresh_one_would(
    make_daemon: Callable[..., Daemon], tmp_path: Path, fresh: Path
) -> None:
    folder = old_folder(tmp_path / "data", 4)
    change(
        folder,
        "DELETE FROM chunks WHERE page_id = (SELECT id FROM pages WHERE url LIKE '%/api.html');"
        "UPDATE pages SET state = 'pending', attempts = 0, document = NULL, content_hash = NULL, fetched_at = NULL,"
        " indexed_at = NULL WHERE url LIKE '%/api.html'; UPDATE docsets SET state = 'indexing', crawled_at = NULL;",
    )
    with ManualSite() as site, through(make_daemon(**QUICK), site.url) as daemon:
        wait_until(lambda: all(docset["status"] == "ready" for docset in described(daemon)), "the end of the crawls")
        assert unfound(daemon) == []
        wait_until(lambda: refreshed(daemon), "the end of the refreshes")
    assert differing(state(folder), state(fresh)) == {}


def test_a_refresh_that_cannot_be_begun_does_not_end_a_daemon_that_answers(
    make_daemon: Callable[..., Daemon], tmp_path: Path, nowhere: str
) -> None:
    folder = old_folder(tmp_path / "data", 2)
    (folder / "refreshing").write_bytes(b"no folder")
    with through(make_daemon(**QUICK), nowhere) as daemon:
        assert daemon.process is not None
        wait_until(lambda: daemon.process is None or daemon.process.poll() is not None or mended(daemon), "every vector")
        assert daemon.process.poll() is None
        assert unfound(daemon) == []
