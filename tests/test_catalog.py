"""The catalog on a real SQLite file: transactions, the frontier, the commit that proves a page, and what deleting leaves."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker import CHUNKER_VERSION, EXTRACTOR_VERSION, SCHEMA_VERSION
from docworker.chunking import chunk
from docworker.errors import StoreError
from docworker.model import (
    Asked,
    Chunk,
    Claim,
    Docset,
    DocsetState,
    Document,
    Failed,
    Fetched,
    Link,
    Member,
    PageIntent,
    PageState,
    Reason,
    Redirected,
    Section,
    Stamp,
    Symbol,
    Turn,
)
from docworker.store import access, chunks, docsets, frontier, migrations, pages, robots, symbols, vectors
from docworker.store.catalog import Catalog
from docworker.store.chunks import Listed
from docworker.store.frontier import Cut, FrontierLimits, Limit
from docworker.store.pages import Committed, Stored

NOW = 1_700_000_000_000
LEASE_MS = 60_000
SITE = "https://example.org"
SEED = f"{SITE}/docs"
A, B, C = (f"{SEED}/{name}" for name in "abc")
LIMITS = FrontierLimits(max_pages=1_000, max_depth=100, max_queries_per_path=100)


def docset(id_: str = "aaa", *, seed: str = SEED, created_at: int = NOW) -> Docset:
    return Docset(
        id_, "Example", False, SITE, seed, ("/docs",), None, (), (), None, DocsetState.PENDING, None, created_at, created_at, None
    )  # fmt: skip


def piece(
    id_: str, ordinal: int = 0, text_hash: str | None = None, *, section: int | None = None, anchor: str | None = None
) -> Chunk:
    """A chunk that is a section of its own unless the section is given."""
    return Chunk(
        id=id_,
        ordinal=ordinal,
        section=ordinal if section is None else section,
        path=("Heading",),
        anchor=anchor,
        text=f"text of {id_}",
        embedded_text=f"embedded text of {id_}",
        text_hash=text_hash or f"hash-{id_}",
        words=f"words of {id_}",
    )


def intent(
    *listed: Chunk,
    text: str = "text",
    add: Sequence[Chunk] | None = None,
    remove: Sequence[str] = (),
    follow: Sequence[str] = (),
    canonical: str | None = None,
    passages: Sequence[int] = (),
    dropped: int = 0,
) -> PageIntent:
    """`text` is the page's whole text: pages with the same one are the same page."""
    return PageIntent(
        title="Title",
        read_as="generic",
        content_hash=f"content of {text}",
        main_hash=text,
        passages=tuple(passages),
        canonical=canonical,
        twins=(),
        left_out=None,
        chunks=listed,
        add=tuple(listed if add is None else add),
        remove=tuple(remove),
        follow=tuple(follow),
        links_dropped=dropped,
    )


def fetched(url: str = SEED) -> Fetched:
    return Fetched(url, "text/html", "utf-8", b"<p>", '"etag"', "Sat, 01 Jan 2000 00:00:00 GMT", None)


def asked(url: str = SEED, *, requests: int = 1, size: int = 100) -> Asked:
    return Asked(fetched(url), 200, requests, size)


STAMP = Stamp('"etag"', "Sat, 01 Jan 2000 00:00:00 GMT", "hash of the body", "hash of the rules")


DOCUMENT = Document(
    "Title",
    "Site",
    (Section(1, "Title", "top", "Some *text* – ü."), Section(2, "f", None, "`f()`", True)),
    (Symbol("m.f", "function", "f"),),
)


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    opened = await Catalog.open(tmp_path / "catalog.sqlite")
    yield opened
    await opened.close()


def links(*urls: str, depth: int | None = None, found_on: str | None = SEED, turn: Turn = Turn.LINKED) -> list[Link]:
    """The seed at depth 0 and all others at depth 1, unless `depth` is given."""
    return [
        Link(url, int(url != SEED) if depth is None else depth, None if url == SEED else found_on, turn) for url in urls
    ]  # fmt: skip


async def with_frontier(catalog: Catalog, *urls: str, id_: str = "aaa") -> None:
    await catalog.write(docsets.insert, docset(id_))
    await catalog.write(frontier.discover, id_, links(*urls), LIMITS)


def how_many(cut: Cut) -> dict[Limit, int]:
    return {limit: len(urls) for limit, urls in cut.items() if urls}


async def discover(
    catalog: Catalog, found: Iterable[Link], limits: FrontierLimits = LIMITS
) -> tuple[int, dict[Limit, int], set[str]]:
    """How many are new, how many each limit kept out, and what led to these."""
    new, cut, parents = await catalog.write(frontier.discover, "aaa", found, limits)
    return new, how_many(cut), parents


async def next_claim(catalog: Catalog, id_: str = "aaa", now: int = NOW, turn: Turn = Turn.LAST) -> Claim | None:
    return await catalog.write(frontier.claim, id_, turn, now, LEASE_MS)


async def claim(catalog: Catalog, id_: str = "aaa", now: int = NOW, turn: Turn = Turn.LAST) -> Claim:
    claimed = await next_claim(catalog, id_, now, turn)
    assert claimed is not None
    return claimed


async def claim_all(catalog: Catalog, id_: str = "aaa") -> dict[str, Claim]:
    claims: dict[str, Claim] = {}
    while (claimed := await next_claim(catalog, id_)) is not None:
        claims[claimed.url] = claimed
    return claims


async def index(
    catalog: Catalog,
    claimed: Claim,
    what: PageIntent | None = None,
    with_vector: Collection[str] = (),
    now: int = NOW,
    document: Document = DOCUMENT,
    stamp: Stamp | None = STAMP,
) -> Committed:
    """Commit that a page is indexed, with a text of its own unless `what` is given."""
    what = what or intent(text=claimed.url)
    return await catalog.write(pages.commit_indexed, claimed, asked(claimed.url), stamp, document, what, with_vector, now)


async def leave_out(
    catalog: Catalog,
    claimed: Claim,
    state: PageState = PageState.SKIPPED,
    reason: Reason = Reason.GONE,
    follow: Sequence[str] = (),
    stamp: Stamp | None = None,
) -> Committed:
    failed = Asked(Failed(claimed.url, reason, "It failed."), 404, 1, 10)
    return await catalog.write(pages.commit_left_out, claimed, failed, state, reason, f"Because: {reason}.", follow, stamp, NOW)


async def move(
    catalog: Catalog,
    claimed: Claim,
    target: str,
    *,
    max_hops: int = 10,
    follow: Sequence[str] = (),
    left_out: tuple[Reason, str] | tuple[None, None] = (None, None),
) -> Committed:
    redirected = Asked(Redirected(claimed.url, target, "301"), 301, 1, 0)
    link = Link(target, claimed.depth, claimed.url, claimed.turn, *left_out)
    return await catalog.write(pages.commit_moved, claimed, redirected, link, "HTTP 301", follow, max_hops, NOW)


async def listed_states(catalog: Catalog, id_: str = "aaa") -> dict[str, PageState]:
    found, _ = await catalog.read(pages.listing, id_, None, 1_000, 0)
    return {page.url: page.state for page in found}


async def page_at(catalog: Catalog, url: str, id_: str = "aaa") -> pages.Page:
    page = await catalog.read(pages.by_url, id_, url)
    assert page is not None
    return page


async def trace_of(catalog: Catalog, url: str, id_: str = "aaa") -> pages.Trace:
    found = await catalog.read(pages.trace, id_, url)
    assert found is not None
    return found


async def follow_part(catalog: Catalog, limits: FrontierLimits = LIMITS) -> tuple[int, Cut]:
    """Follow what pages lead to, as much as is taken at once."""
    found, looked_through = await catalog.read(frontier.new_links, "aaa")
    new = [Link(url, depth, found_on) for url, depth, found_on in found]
    return await catalog.write(frontier.follow, "aaa", new, looked_through, limits)


async def follow_all(catalog: Catalog, limits: FrontierLimits = LIMITS) -> tuple[int, dict[Limit, int]]:
    """Follow what pages lead to until all of them are looked through: how many are new, how many each limit kept out."""
    new, cut = 0, Cut()
    while (await catalog.read(frontier.new_links, "aaa"))[1]:
        more, also_cut = await follow_part(catalog, limits)
        new += more
        for limit, urls in also_cut.items():
            cut.setdefault(limit, set()).update(urls)
    return new, how_many(cut)


# -- transactions


async def test_connections_enforce_foreign_keys_and_sync_as_wal_allows(catalog: Catalog) -> None:
    def pragmas(db: apsw.Connection) -> tuple[object, object, object]:
        return db.pragma("journal_mode"), db.pragma("foreign_keys"), db.pragma("synchronous")

    assert await catalog.write(pragmas) == await catalog.read(pragmas) == ("wal", 1, 1)


async def test_a_write_that_raises_leaves_nothing(catalog: Catalog) -> None:
    def insert_two_then_fail(db: apsw.Connection) -> None:
        docsets.insert(db, docset("one"))
        docsets.insert(db, docset("two"))
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await catalog.write(insert_two_then_fail)
    assert await catalog.read(docsets.all_docsets) == []


async def test_a_write_that_breaks_a_constraint_leaves_nothing_and_the_next_one_works(catalog: Catalog) -> None:
    def insert_twice(db: apsw.Connection) -> None:
        docsets.insert(db, docset("one"))
        docsets.insert(db, docset("one"))

    with pytest.raises(apsw.ConstraintError):
        await catalog.write(insert_twice)
    assert await catalog.read(docsets.all_docsets) == []
    await catalog.write(docsets.insert, docset("one"))
    assert await catalog.read(docsets.get, "one") == docset("one")


async def test_a_read_that_raises_leaves_the_catalog_usable(catalog: Catalog) -> None:
    def fail(db: apsw.Connection) -> None:
        db.execute("SELECT * FROM docsets").fetchall()
        raise RuntimeError("while reading")

    with pytest.raises(RuntimeError, match="while reading"):
        await catalog.read(fail)
    await catalog.write(docsets.insert, docset("one"))
    assert [known.id for known in await catalog.read(docsets.all_docsets)] == ["one"]


async def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    first = await Catalog.open(tmp_path / "catalog.sqlite")
    await first.write(docsets.insert, docset())
    await first.close()
    await first.close()  # closing again does nothing
    second = await Catalog.open(tmp_path / "catalog.sqlite")
    assert await second.read(docsets.get, "aaa") == docset()
    await second.close()


# -- files that are not ours


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
async def test_a_file_of_a_newer_schema_version_is_refused_with_a_sentence(tmp_path: Path, version: int) -> None:
    file = tmp_path / "catalog.sqlite"
    await (await Catalog.open(file)).close()
    db = apsw.Connection(str(file))
    db.pragma("user_version", version)
    db.close()
    with pytest.raises(
        StoreError, match=rf"a newer docworker \(schema {version}, this one reads up to {SCHEMA_VERSION}\).*--data-dir\.$"
    ):
        await Catalog.open(file)


async def test_a_refused_file_is_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    db = apsw.Connection(str(file))
    db.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    db.pragma("user_version", 99)
    db.close()
    with pytest.raises(StoreError):
        await Catalog.open(file)
    db = apsw.Connection(str(file))
    assert db.execute("SELECT name FROM sqlite_master").get == "theirs"
    assert db.pragma("user_version") == 99
    db.close()


async def test_a_file_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    db = apsw.Connection(str(file))
    db.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    db.close()
    with pytest.raises(StoreError):
        await Catalog.open(file)
    db = apsw.Connection(str(file))
    assert db.execute("SELECT name, x FROM sqlite_schema, theirs").fetchall() == [("theirs", 1)]
    db.close()


@pytest.mark.parametrize("content", [b"this is no database, " * 500, b"\x00" * 8192], ids=["text", "zeros"])
async def test_a_file_that_is_not_sqlite_gives_a_store_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "catalog.sqlite"
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"catalog\.sqlite in the data folder\) is damaged: file is not a database\."):
        await Catalog.open(file)
    assert file.read_bytes() == content


async def test_a_folder_that_does_not_exist_gives_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        await Catalog.open(tmp_path / "missing" / "catalog.sqlite")


async def test_a_catalog_that_another_program_holds_says_so(catalog: Catalog, tmp_path: Path) -> None:
    await catalog.write(lambda db: db.set_busy_timeout(0))
    other = apsw.Connection(str(tmp_path / "catalog.sqlite"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"^Another program holds the catalog"):
        await catalog.write(docsets.insert, docset())
    assert await catalog.read(docsets.all_docsets) == []
    other.execute("ROLLBACK")
    await catalog.write(docsets.insert, docset())
    assert await catalog.read(docsets.all_docsets) == [docset()]
    other.close()


async def test_a_full_disk_says_so_and_leaves_nothing_half_written(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    limit = await catalog.write(lambda db: (db.pragma("max_page_count"), db.pragma("max_page_count", 1))[0])
    many = [replace(piece(f"c{number}", number), text="x" * 500) for number in range(2_000)]
    with pytest.raises(StoreError, match=r"^The disk of the data folder is full; make room"):
        await index(catalog, claimed, intent(*many))
    assert await catalog.read(chunks.all_ids) == set()
    assert await listed_states(catalog) == {SEED: PageState.FETCHING}
    await catalog.write(lambda db: db.pragma("max_page_count", int(limit)))
    await index(catalog, claimed, intent(*many))
    assert len(await catalog.read(chunks.all_ids)) == 2_000


async def test_a_catalog_that_cannot_be_written_says_so_and_can_be_read(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await catalog.write(lambda db: db.pragma("query_only", True))
    with pytest.raises(StoreError, match=r"^The data folder cannot be written"):
        await catalog.write(docsets.delete, "aaa")
    assert await catalog.read(docsets.get, "aaa") == docset()


async def test_what_is_wrong_in_the_code_is_no_trouble_of_the_folder(catalog: Catalog) -> None:
    for run in (catalog.read, catalog.write):
        with pytest.raises(apsw.SQLError, match="no such table"):
            await run(lambda db: db.execute("SELECT * FROM nowhere").fetchall())


# -- another catalog beside it


async def test_another_catalog_is_beside_it_for_one_transaction(catalog: Catalog, tmp_path: Path) -> None:
    other = await Catalog.open(tmp_path / "other.sqlite")
    await other.write(docsets.insert, docset("theirs"))
    await other.close()
    await catalog.write(docsets.insert, docset("ours"))

    def take(db: apsw.Connection, prefix: str) -> list[str]:
        return [f"{prefix}{row[0]}" for row in db.execute("SELECT id FROM fresh.docsets UNION ALL SELECT id FROM docsets")]

    for _ in range(2):
        assert await catalog.write_from(tmp_path / "other.sqlite", take, "a ") == ["a theirs", "a ours"]
    with pytest.raises(apsw.SQLError, match="no such table"):
        await catalog.write(take, "")


async def test_a_transaction_with_another_catalog_that_raises_leaves_both_as_they_were(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "other.sqlite"
    other = await Catalog.open(file)
    await other.write(docsets.insert, docset("theirs"))
    await other.close()

    def fail(db: apsw.Connection) -> None:
        docsets.insert(db, docset("ours"))
        db.execute("DELETE FROM fresh.docsets")
        next(iter(db.execute("SELECT * FROM docsets")))
        raise RuntimeError("in the middle")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="in the middle"):
            await catalog.write_from(file, fail)
    assert await catalog.read(docsets.all_docsets) == []
    other = await Catalog.open(file)
    assert await other.read(docsets.all_docsets) == [docset("theirs")]
    await other.close()


# -- files of an older docworker


# What makes a catalog of version 4 one of version 3, and so on.
DOWN = {
    4: """
        DROP INDEX pages_by_place;
        DROP INDEX vectors_unused;
        ALTER TABLE docsets DROP COLUMN inventory_hash;
        ALTER TABLE docsets DROP COLUMN refreshed;
        ALTER TABLE pages DROP COLUMN body_hash;
        ALTER TABLE pages DROP COLUMN rules;
        ALTER TABLE pages DROP COLUMN extractor;
        ALTER TABLE pages DROP COLUMN chunker;
        ALTER TABLE pages DROP COLUMN kept;
        ALTER TABLE symbols DROP COLUMN listed;
        ALTER TABLE vectors DROP COLUMN unused_since;
    """,
    3: """
        ALTER TABLE symbols DROP COLUMN chunk;
        ALTER TABLE chunks DROP COLUMN section;
        ALTER TABLE chunks DROP COLUMN anchor;
        ALTER TABLE chunks DROP COLUMN chars;
    """,
    2: """
        DROP TABLE symbols;
        ALTER TABLE docsets DROP COLUMN inventory;
        ALTER TABLE pages DROP COLUMN read_as;
    """,
}
FIRST = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE docsets (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, named INTEGER NOT NULL, base_url TEXT NOT NULL, seed_url TEXT NOT NULL,
        origin TEXT NOT NULL, allowed_paths TEXT NOT NULL, max_pages INTEGER, state TEXT NOT NULL, message TEXT,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, crawled_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX docsets_by_origin ON docsets (origin);
    CREATE TABLE pages (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, docset_id TEXT NOT NULL REFERENCES docsets (id) ON DELETE CASCADE,
        url TEXT NOT NULL, depth INTEGER NOT NULL, discovered_from TEXT, state TEXT NOT NULL, message TEXT, lease_until INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0, title TEXT, content_hash TEXT, etag TEXT, last_modified TEXT, document BLOB,
        fetched_at INTEGER, indexed_at INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX pages_by_url ON pages (docset_id, url);
    CREATE INDEX pages_by_state ON pages (docset_id, state, depth, seq);
    CREATE TABLE aliases (
        docset_id TEXT NOT NULL REFERENCES docsets (id) ON DELETE CASCADE, url TEXT NOT NULL, target TEXT NOT NULL,
        PRIMARY KEY (docset_id, url)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE links (
        page_id TEXT NOT NULL REFERENCES pages (id) ON DELETE CASCADE, target TEXT NOT NULL, PRIMARY KEY (page_id, target)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE chunks (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, page_id TEXT NOT NULL REFERENCES pages (id) ON DELETE CASCADE,
        docset_id TEXT NOT NULL, ordinal INTEGER NOT NULL, text_hash TEXT NOT NULL, embedded INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX chunks_by_page ON chunks (page_id, ordinal);
    CREATE INDEX chunks_by_docset ON chunks (docset_id, embedded);
    CREATE INDEX chunks_by_text ON chunks (text_hash);
    CREATE INDEX chunks_waiting ON chunks (docset_id, seq) WHERE embedded = 0;
    CREATE TABLE vectors (
        model TEXT NOT NULL, text_hash TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (model, text_hash)
    ) STRICT;
    PRAGMA user_version = 1;
"""


def made_older(file: Path, version: int) -> None:
    """Make a catalog of today one of an older docworker."""
    db = apsw.Connection(str(file))
    for older, statements in DOWN.items():
        if older >= version:
            db.execute(statements)
    db.pragma("user_version", version)
    db.close()


def schema(db: apsw.Connection) -> dict[str, str]:
    return {str(name): str(sql) for name, sql in db.execute("SELECT name, sql FROM sqlite_schema")}


async def with_everything(catalog: Catalog) -> None:
    """A docset with a page in each state, what they lead to and the rest that there is to keep."""
    await with_frontier(catalog, SEED, A, B, C)
    listed = (piece("x", 0), piece("y", 1, anchor="f"))
    await index(catalog, await claim(catalog), intent(*listed, follow=[A, f"{SEED}/new"], passages=[1, -2]), {"x"})
    await move(catalog, await claim(catalog), f"{SEED}/moved")
    await leave_out(catalog, await claim(catalog))
    await catalog.write(docsets.note_inventory, "aaa", f"{SITE}/objects.inv")
    await catalog.write(docsets.inventory_read, "aaa", "hash of the list")
    await catalog.write(docsets.set_max_pages, "aaa", 7)
    await catalog.write(robots.keep, "aaa", "User-agent: *", NOW)
    await catalog.write(vectors.remember, "model-1", {"hash-x": b"vector of x"})
    await catalog.write(chunks.adopt_model, "model-1")


@pytest.mark.parametrize("version", [2, 3, 4])
async def test_a_file_of_an_older_docworker_is_brought_up_to_date_with_all_that_it_holds(tmp_path: Path, version: int) -> None:
    file = tmp_path / "catalog.sqlite"
    catalog = await Catalog.open(file)
    await with_everything(catalog)
    of_today = await catalog.read(schema)
    known, traces = await catalog.read(docsets.get, "aaa"), [await trace_of(catalog, url) for url in (SEED, A, B, C)]
    stored = await catalog.read(pages.documents, 0, 10)
    await catalog.close()
    made_older(file, version)

    catalog = await Catalog.open(file)
    assert await catalog.read(schema) == of_today
    assert await catalog.read(lambda db: db.execute("PRAGMA foreign_key_check").fetchall()) == []
    assert await catalog.read(docsets.get, "aaa") == known
    as_then = [replace(trace, chunks=0) if version < 4 else trace for trace in traces]
    if version < 3:
        as_then = [replace(trace, read_as=None) for trace in as_then]
    assert [await trace_of(catalog, url) for url in (SEED, A, B, C)] == as_then
    kept = () if version < 4 else stored[0].chunk_ids
    assert await catalog.read(pages.documents, 0, 10) == [replace(stored[0], chunker=0, chunk_ids=kept)]
    assert await catalog.read(frontier.new_links, "aaa") == ([(f"{SEED}/new", 1, SEED)], await _seqs(catalog, SEED))
    assert await catalog.read(robots.kept, "aaa") == "User-agent: *"
    assert await catalog.read(vectors.known, "model-1", ["hash-x"]) == {"hash-x": b"vector of x"}
    assert await catalog.read(chunks.shelf_model) == "model-1"
    assert await catalog.read(symbols.of_page, stored[0].page_id) == (() if version < 3 else DOCUMENT.symbols)
    assert await catalog.read(chunks.all_embedded) == (set() if version < 4 else {"x"})
    assert await catalog.read(explaining_f) == ({} if version < 4 else {"y": "m.f"})

    before = await catalog.read(pages.earlier, "aaa", SEED)
    assert before is not None
    assert (before.stamp, before.passages) == (None, (-2, 1))
    assert await catalog.read(docsets.inventory, "aaa") == (None, None)  # it is asked for again
    assert await catalog.read(pages.cut_otherwise) == 1
    assert await catalog.read(pages.read_otherwise) == ["aaa"]
    assert await catalog.write(docsets.delete, "aaa") is True
    left = {table for table, number in (await catalog.read(rows_by_table)).items() if number}
    assert left == ({"vectors"} if version < 4 else set())  # of texts that were not cut again yet: nobody knows whose they are
    await catalog.close()


def explaining_f(db: apsw.Connection) -> dict[str, str]:
    return chunks.explaining(db, ["m.f"], None, 9)


async def test_a_file_of_the_first_docworker_is_brought_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    catalog = await Catalog.open(file)
    of_today = await catalog.read(schema)
    await catalog.close()
    for part in file.parent.iterdir():
        part.unlink()
    text = b'{"title":"Title","site":null,"sections":[{"level":1,"heading":"A","anchor":null,"text":"t","entry":false}]}'
    db = apsw.Connection(str(file))
    db.execute(FIRST)
    db.execute(
        "INSERT INTO docsets VALUES ('aaa', 'Example', 1, ?1, ?2, ?1, '[\"/docs\"]', NULL, 'ready', NULL, ?3, ?3, ?3)",
        (SITE, SEED, NOW),
    )
    rows = [(SEED, 0, "indexed", zlib.compress(text)), (A, 1, "skipped", None), (B, 1, "pending", None)]
    db.executemany(
        "INSERT INTO pages (id, docset_id, url, depth, state, document, indexed_at) VALUES (?, 'aaa', ?, ?, ?, ?, ?)",
        ((frontier.page_id("aaa", url), url, depth, state, document, document and NOW) for url, depth, state, document in rows),
    )
    db.execute("INSERT INTO aliases VALUES ('aaa', ?, ?)", (C, SEED))
    db.executemany("INSERT INTO links VALUES (?, ?)", ((frontier.page_id("aaa", SEED), url) for url in (A, B)))
    db.execute("INSERT INTO chunks VALUES (1, 'x', ?, 'aaa', 0, 'hash-x', 1)", (frontier.page_id("aaa", SEED),))
    db.execute("INSERT INTO vectors VALUES ('model-1', 'hash-x', ?)", (b"vector of x",))
    db.close()

    catalog = await Catalog.open(file)
    assert await catalog.read(schema) == of_today
    expected = replace(docset(), named=True, state=DocsetState.READY, crawled_at=NOW)
    assert await catalog.read(docsets.get, "aaa") == expected
    assert await listed_states(catalog) == {SEED: PageState.INDEXED, A: PageState.SKIPPED, B: PageState.PENDING}
    assert (await claim(catalog)).url == B
    (stored,) = await catalog.read(pages.documents, 0, 10)
    assert stored.document == Document("Title", None, (Section(1, "A", None, "t"),))
    assert (stored.chunker, stored.chunk_ids) == (0, ())
    assert await catalog.read(vectors.known, "model-1", ["hash-x"]) == {"hash-x": b"vector of x"}
    assert await catalog.read(pages.read_otherwise) == ["aaa"]
    assert await catalog.write(docsets.delete, "aaa") is True
    await catalog.close()


async def test_an_old_file_is_as_it_was_when_bringing_it_up_to_date_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "catalog.sqlite"
    catalog = await Catalog.open(file)
    await with_everything(catalog)
    await catalog.close()
    made_older(file, 4)
    db = apsw.Connection(str(file))
    before = schema(db), rows_by_table(db)
    db.close()
    carry_over = migrations._carry_over

    def fail_at_chunks(db: apsw.Connection, table: str) -> None:
        if table == "chunks":
            raise apsw.FullError("database or disk is full")
        carry_over(db, table)

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "_carry_over", fail_at_chunks)
        with pytest.raises(StoreError, match="The disk of the data folder is full"):
            await Catalog.open(file)
    db = apsw.Connection(str(file))
    assert (schema(db), rows_by_table(db)) == before
    assert db.pragma("user_version") == 4
    db.close()
    catalog = await Catalog.open(file)
    assert len(await listed_states(catalog)) == 4
    await catalog.close()


# -- the frontier: what is claimed


async def test_concurrent_claims_take_distinct_pages_and_all_of_them(catalog: Catalog) -> None:
    urls = [f"{SEED}/{number}" for number in range(40)]
    await with_frontier(catalog, *urls)
    claimed = await asyncio.gather(*(next_claim(catalog) for _ in range(50)))
    taken = [one.url for one in claimed if one is not None]
    assert sorted(taken) == sorted(urls)
    assert claimed.count(None) == 10


async def test_claims_are_by_turn_then_nearest_first_then_in_order_of_discovery(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(f"{SEED}/all.html", depth=1, turn=Turn.LAST))
    await discover(catalog, links(f"{SEED}/named", depth=1, turn=Turn.SITEMAP))
    await discover(catalog, links(f"{SEED}/far", depth=3))
    await discover(catalog, links(f"{SEED}/near2", f"{SEED}/near1", depth=1))
    await discover(catalog, links(SEED))
    order = [(await claim(catalog)).url.removeprefix(SEED) for _ in range(6)]
    assert order == ["", "/near2", "/near1", "/far", "/named", "/all.html"]
    assert await next_claim(catalog) is None


async def test_no_page_is_claimed_before_its_turn(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, [*links(A, turn=Turn.LAST), *links(B, turn=Turn.SITEMAP), *links(C)])
    assert [(await claim(catalog, turn=Turn.LINKED)).url] == [C]
    assert await next_claim(catalog, turn=Turn.LINKED) is None
    assert (await claim(catalog, turn=Turn.SITEMAP)).turn is Turn.SITEMAP
    assert await next_claim(catalog, turn=Turn.SITEMAP, now=NOW) is None
    assert (await claim(catalog, turn=Turn.LAST)).url == A


async def test_an_expired_lease_is_claimed_only_in_its_turn_too(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(A, turn=Turn.LAST))
    await claim(catalog)
    late = NOW + LEASE_MS + 1
    assert await next_claim(catalog, now=late, turn=Turn.LINKED) is None
    assert (await claim(catalog, now=late)).url == A


async def test_a_claim_says_all_that_is_known_of_its_page(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(A, depth=7, turn=Turn.SITEMAP))
    assert await claim(catalog) == Claim(frontier.page_id("aaa", A), "aaa", A, 7, Turn.SITEMAP, 0, 1)


async def test_a_claim_takes_only_pages_of_its_docset(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, id_="aaa")
    await with_frontier(catalog, SEED, id_="bbb")
    assert (await claim(catalog, "bbb")).docset_id == "bbb"
    assert await next_claim(catalog, "bbb") is None
    assert (await claim(catalog, "aaa")).docset_id == "aaa"


async def test_the_same_url_has_the_same_page_id_in_its_docset_only() -> None:
    assert frontier.page_id("aaa", A) == frontier.page_id("aaa", A)
    assert len({frontier.page_id(id_, url) for id_ in ("aaa", "bbb") for url in (A, B)}) == 4


async def test_a_leased_page_is_claimed_again_only_when_the_lease_has_run_out(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    first = await claim(catalog)
    assert await next_claim(catalog, now=NOW + LEASE_MS) is None
    again = await claim(catalog, now=NOW + LEASE_MS + 1)
    assert (first.page_id, first.attempts) == (again.page_id, 1)
    assert again.attempts == 2


async def test_a_page_with_an_expired_lease_is_stuck_until_it_is_claimed_again(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await claim(catalog)
    assert await catalog.read(pages.stuck, "aaa", NOW) == []
    late = NOW + LEASE_MS + 1
    assert [page.url for page in await catalog.read(pages.stuck, "aaa", late)] == [SEED]
    assert (await catalog.read(docsets.counts, "aaa", late)).stuck == 1
    await claim(catalog, now=late)
    counted = await catalog.read(docsets.counts, "aaa", late)
    assert (counted.stuck, counted.retried) == (0, 1)


async def test_release_frees_every_lease_of_the_docset_and_nothing_else(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B)
    done, held = await claim(catalog), await claim(catalog)
    await leave_out(catalog, done)
    await catalog.write(frontier.release, "aaa")
    assert await listed_states(catalog) == {SEED: PageState.SKIPPED, A: PageState.PENDING, B: PageState.PENDING}
    assert (await claim(catalog)).page_id == held.page_id


async def test_release_leaves_the_leases_of_other_docsets(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_frontier(catalog, SEED, id_=id_)
        await claim(catalog, id_)
    await catalog.write(frontier.release, "aaa")
    assert await listed_states(catalog, "aaa") == {SEED: PageState.PENDING}
    assert await listed_states(catalog, "bbb") == {SEED: PageState.FETCHING}


async def test_a_page_that_never_came_to_an_outcome_is_given_up_after_max_attempts(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    for attempt in range(1, frontier.MAX_ATTEMPTS + 1):
        assert (await claim(catalog)).attempts == attempt
        await catalog.write(frontier.release, "aaa")
    page = await page_at(catalog, SEED)
    assert (page.state, page.reason) == (PageState.ERROR, Reason.EXTRACTION)
    assert page.message is not None
    assert page.message.startswith(f"Given up: docworker ended {frontier.MAX_ATTEMPTS} times")
    assert await next_claim(catalog) is None
    assert await catalog.write(frontier.second_chance, "aaa") == 0


async def test_a_page_given_back_waits_again_and_its_attempt_does_not_count(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    for _ in range(frontier.MAX_ATTEMPTS + 1):
        claimed = await claim(catalog)
        assert claimed.attempts == 1
        await catalog.write(frontier.give_back, claimed)
    assert await listed_states(catalog) == {SEED: PageState.PENDING}


async def test_a_page_given_back_keeps_its_place_and_what_it_cost_the_site(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B)
    await leave_out(catalog, await claim(catalog))
    claimed = await claim(catalog)
    await catalog.write(frontier.give_back, claimed, 3)
    again = await claim(catalog)
    assert again == claimed
    await index(catalog, again)
    assert (await trace_of(catalog, A)).requests == 4


async def test_a_page_that_came_to_an_outcome_is_not_given_back(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await leave_out(catalog, claimed)
    await catalog.write(frontier.give_back, claimed, 1)
    found = await trace_of(catalog, SEED)
    assert (found.state, found.attempts, found.requests) == (PageState.SKIPPED, 1, 1)


async def test_retry_puts_only_a_page_that_was_left_out_back(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B)
    failed, good, skipped = await claim(catalog), await claim(catalog), await claim(catalog)
    await leave_out(catalog, failed, PageState.ERROR, Reason.NO_ANSWER)
    await index(catalog, good)
    await leave_out(catalog, skipped)
    for url in (SEED, A, B, f"{SEED}/unknown"):
        await catalog.write(frontier.retry, "aaa", url)
    assert await listed_states(catalog) == {SEED: PageState.PENDING, A: PageState.INDEXED, B: PageState.PENDING}
    assert await catalog.read(frontier.waiting, "aaa") == 2
    again = await page_at(catalog, SEED)
    assert (again.reason, again.message) == (None, None)


async def test_a_page_put_back_after_it_was_given_up_gets_its_attempts_anew(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    for _ in range(frontier.MAX_ATTEMPTS):
        await claim(catalog)
        await catalog.write(frontier.release, "aaa")
    await catalog.write(frontier.retry, "aaa", SEED)
    await claim(catalog)
    await catalog.write(frontier.release, "aaa")
    assert await listed_states(catalog) == {SEED: PageState.PENDING}


async def test_only_pages_that_failed_for_the_sites_sake_get_a_second_chance_and_a_third(catalog: Catalog) -> None:
    silent, broken, unread = A, B, C
    await with_frontier(catalog, SEED, silent, broken, unread)
    await leave_out(catalog, await claim(catalog))
    for reason in (Reason.NO_ANSWER, Reason.SERVER_ERROR, Reason.EXTRACTION):
        await leave_out(catalog, await claim(catalog), PageState.ERROR, reason)
    for attempt in (2, 3):
        assert await catalog.write(frontier.second_chance, "aaa") == 2
        claims = await claim_all(catalog)
        assert {url: claimed.attempts for url, claimed in claims.items()} == {silent: attempt, broken: attempt}
        for claimed in claims.values():
            await leave_out(catalog, claimed, PageState.ERROR, Reason.NO_ANSWER)
    assert await catalog.write(frontier.second_chance, "aaa") == 0
    assert await next_claim(catalog) is None
    assert (await trace_of(catalog, silent)).requests == 3
    assert (await catalog.read(docsets.counts, "aaa", NOW)).retried == 2


async def test_every_page_that_failed_is_tried_anew_when_it_is_asked_for_again(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B, C)
    for reason in (Reason.NO_ANSWER, Reason.EXTRACTION):
        await leave_out(catalog, await claim(catalog), PageState.ERROR, reason)
    await leave_out(catalog, await claim(catalog))
    await index(catalog, await claim(catalog))
    await catalog.write(frontier.reopen_failed, "aaa")
    assert await listed_states(catalog) == {
        SEED: PageState.PENDING, A: PageState.PENDING, B: PageState.SKIPPED, C: PageState.INDEXED
    }  # fmt: skip
    page = await page_at(catalog, A)
    assert (page.reason, page.message) == (None, None)
    assert [(await claim(catalog)).attempts for _ in range(2)] == [1, 1]


async def test_a_page_can_be_put_back_and_keeps_its_text_until_it_is_decided_about(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    claimed = await claim(catalog)
    await index(catalog, claimed, intent(piece("x")))
    await catalog.write(frontier.reopen_page, claimed.page_id)
    assert await listed_states(catalog) == {SEED: PageState.PENDING, A: PageState.PENDING}
    assert await catalog.read(chunks.all_ids) == {"x"}
    assert (await leave_out(catalog, await claim(catalog))).remove == ("x",)
    assert await catalog.read(chunks.all_ids) == set()


async def test_close_takes_every_page_that_waits_out_for_a_reason_and_reopen_puts_these_back(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B, C)
    done, under_way = await claim(catalog), await claim(catalog)
    await leave_out(catalog, done)
    assert await catalog.write(frontier.close, "aaa", PageState.SKIPPED, Reason.LIMIT, "Full.") == 2
    assert await catalog.read(frontier.waiting, "aaa") == 0
    assert await catalog.read(frontier.over_limits, "aaa") == (0, 2)
    closed = await page_at(catalog, B)
    assert (closed.state, closed.reason, closed.message) == (PageState.SKIPPED, Reason.LIMIT, "Full.")
    await catalog.write(frontier.reopen, "aaa", Reason.LIMIT)
    assert await listed_states(catalog) == {
        SEED: PageState.SKIPPED, under_way.url: PageState.FETCHING, B: PageState.PENDING, C: PageState.PENDING
    }  # fmt: skip
    again = await page_at(catalog, B)
    assert (again.reason, again.message) == (None, None)
    assert await catalog.read(frontier.over_limits, "aaa") == (0, 0)


async def test_close_and_reopen_leave_other_docsets_alone(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_frontier(catalog, SEED, id_=id_)
    await catalog.write(frontier.close, "aaa", PageState.SKIPPED, Reason.LIMIT, "Full.")
    await catalog.write(frontier.reopen, "bbb", Reason.LIMIT)
    assert await listed_states(catalog, "aaa") == {SEED: PageState.SKIPPED}
    assert await listed_states(catalog, "bbb") == {SEED: PageState.PENDING}


# -- the frontier: what is put into it


async def test_discover_puts_what_is_new_into_the_frontier_in_its_order(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    assert await discover(catalog, links(C, A, C, SEED, B)) == (3, {}, set())
    assert list(await listed_states(catalog)) == [SEED, C, A, B]
    page = await page_at(catalog, C)
    assert (page.depth, page.discovered_from, page.reason) == (1, SEED, None)


async def test_discover_keeps_to_max_pages_and_says_how_many_it_left_out_and_who_led_there(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    limits = replace(LIMITS, max_pages=4)
    found = [Link(f"{SEED}/{n}", 1, A if n < 5 else B) for n in range(10)]
    assert await discover(catalog, found, limits) == (3, {Limit.PAGES: 7}, {A, B})
    _, cut, _ = await catalog.write(frontier.discover, "aaa", found, limits)
    assert cut[Limit.PAGES] == {f"{SEED}/{n}" for n in range(3, 10)}
    assert list(await listed_states(catalog)) == [SEED, f"{SEED}/0", f"{SEED}/1", f"{SEED}/2"]
    assert await discover(catalog, links(f"{SEED}/more"), limits) == (0, {Limit.PAGES: 1}, {SEED})
    assert len(await listed_states(catalog)) == 4


async def test_discover_leaves_known_pages_as_they_are_and_they_are_not_cut(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await leave_out(catalog, await claim(catalog))
    assert await discover(catalog, links(SEED, SEED, A, A, B), replace(LIMITS, max_pages=2)) == (2, {}, set())
    assert await discover(catalog, links(SEED, A, B), replace(LIMITS, max_pages=2)) == (0, {}, set())
    assert await listed_states(catalog) == {SEED: PageState.SKIPPED, A: PageState.PENDING, B: PageState.PENDING}


async def test_a_page_that_is_left_out_or_leads_elsewhere_frees_its_room(catalog: Catalog) -> None:
    limits = replace(LIMITS, max_pages=4)
    await with_frontier(catalog, SEED, A, B, C)
    indexed, skipped, moved, failed = [await claim(catalog) for _ in range(4)]
    assert await discover(catalog, links(f"{SEED}/1"), limits) == (0, {Limit.PAGES: 1}, {SEED})  # those under way take room
    await index(catalog, indexed)
    await leave_out(catalog, skipped)
    await move(catalog, moved, indexed.url)
    await leave_out(catalog, failed, PageState.ERROR, Reason.NO_ANSWER)
    more = links(*(f"{SEED}/{n}" for n in range(5)))
    assert await discover(catalog, more, limits) == (3, {Limit.PAGES: 2}, {SEED})


async def test_pages_of_other_docsets_take_no_room(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B, id_="bbb")
    await with_frontier(catalog, SEED)
    assert await discover(catalog, links(A), replace(LIMITS, max_pages=2)) == (1, {}, set())


async def test_a_site_that_leads_to_nothing_to_keep_is_not_asked_without_end(catalog: Catalog) -> None:
    limits = replace(LIMITS, max_pages=2)
    assert limits.max_asked == 110

    def ask_for_all(db: apsw.Connection) -> None:
        docsets.insert(db, docset())
        frontier.discover(db, "aaa", links(SEED), limits)
        number = 0
        while (claimed := frontier.claim(db, "aaa", Turn.LAST, NOW, LEASE_MS)) is not None:
            nothing = Asked(Failed(claimed.url, Reason.GONE, ""), 404, 1, 0)
            pages.commit_left_out(db, claimed, nothing, PageState.SKIPPED, Reason.GONE, "Gone.", (), None, NOW)
            number += 1
            frontier.discover(db, "aaa", links(f"{SEED}/{number}"), limits)

    await catalog.write(ask_for_all)
    assert await discover(catalog, links(A, B), limits) == (0, {Limit.ASKED: 2}, {SEED})
    assert len(await listed_states(catalog)) == limits.max_asked


async def test_a_page_that_was_left_out_unasked_does_not_count_as_asked(catalog: Catalog) -> None:
    limits = replace(LIMITS, max_pages=2)
    await with_frontier(catalog, SEED)
    listing = [Link(f"{SEED}/{n}", 1, SEED, Turn.LINKED, Reason.SOURCE, "Source.") for n in range(200)]
    assert await discover(catalog, listing, limits) == (200, {}, set())
    assert await discover(catalog, links(A, B), limits) == (1, {Limit.PAGES: 1}, {SEED})


async def test_discover_goes_no_further_than_max_depth(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    limits = replace(LIMITS, max_depth=2)
    found = [*links(A, depth=2), *links(B, C, depth=3, found_on=A)]
    assert await discover(catalog, found, limits) == (1, {Limit.DEPTH: 2}, {A})
    assert set(await listed_states(catalog)) == {SEED, A}


async def test_max_depth_0_is_the_seed_alone(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    assert await discover(catalog, links(SEED, A), replace(LIMITS, max_depth=0)) == (1, {Limit.DEPTH: 1}, {SEED})


async def test_of_one_path_only_so_many_queries_are_kept(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    limits = replace(LIMITS, max_queries_per_path=2)
    found = [f"{A}?page={n}" for n in range(4)]
    assert await discover(catalog, links(A, *found, B, f"{B}?x=1", f"{A}b?x=1"), limits) == (6, {Limit.QUERIES: 2}, {SEED})
    assert set(await listed_states(catalog)) == {SEED, A, *found[:2], B, f"{B}?x=1", f"{A}b?x=1"}
    assert await discover(catalog, links(f"{A}?page=9", f"{B}?x=2", f"{B}?x=3"), limits) == (1, {Limit.QUERIES: 2}, {SEED})
    assert await discover(catalog, links(f"{A}/deeper?x=1", f"{A}b"), limits) == (2, {}, set())


async def test_a_query_that_a_rule_leaves_out_takes_no_room_of_others(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    limits = replace(LIMITS, max_queries_per_path=1)
    await discover(catalog, [Link(f"{A}?x=1", 1, SEED, Turn.LINKED, Reason.EXCLUDED, "Left out by a pattern.")], limits)
    assert await discover(catalog, links(f"{A}?x=2", f"{A}?x=3"), limits) == (1, {Limit.QUERIES: 1}, {SEED})


async def test_what_is_remembered_of_urls_that_limits_keep_out_has_an_end(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier, "_MOST_CUT", 2)
    await with_frontier(catalog, SEED)
    found = [Link(f"{SEED}/{n}", 1, A if n < 5 else B) for n in range(10)]
    assert await discover(catalog, found, replace(LIMITS, max_pages=1)) == (0, {Limit.PAGES: 2}, {A, B})


async def test_no_query_at_all_may_be_kept(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    found = links(A, f"{A}?x=1", B)
    assert await discover(catalog, found, replace(LIMITS, max_queries_per_path=0)) == (2, {Limit.QUERIES: 1}, {SEED})


async def test_what_a_rule_leaves_out_is_known_with_its_reason_takes_no_room_and_is_never_asked(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    limits = FrontierLimits(max_pages=1, max_depth=0, max_queries_per_path=0)
    left_out = Link(f"{A}?x=1", 5, SEED, Turn.LINKED, Reason.EXCLUDED, "Left out by a pattern.")
    assert await discover(catalog, [left_out], limits) == (1, {}, set())
    page = await page_at(catalog, left_out.url)
    assert (page.state, page.reason, page.message) == (PageState.SKIPPED, Reason.EXCLUDED, "Left out by a pattern.")
    assert (await claim(catalog)).url == SEED
    assert await next_claim(catalog) is None


async def test_decided_are_all_pages_but_aliases_with_what_became_of_them(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B)
    await index(catalog, await claim(catalog))
    await leave_out(catalog, await claim(catalog))
    await move(catalog, await claim(catalog), C)
    decided = await catalog.read(frontier.decided, "aaa")
    assert {row[1:] for row in decided} == {(SEED, "indexed", None), (A, "skipped", "gone"), (C, "pending", None)}
    assert {row[0] for row in decided} == {frontier.page_id("aaa", url) for url in (SEED, A, C)}


# -- the frontier: what pages lead to


async def test_links_wait_until_their_level_is_followed_in_the_order_of_pages_and_links(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B)
    claims = [await claim(catalog) for _ in range(3)]
    for claimed, follow in zip(claims[::-1], ([f"{SEED}/5", f"{SEED}/2"], [f"{SEED}/4", f"{SEED}/2"], [A, C, SEED]), strict=True):
        await index(catalog, claimed, intent(text=claimed.url, follow=follow))
        assert await next_claim(catalog) is None
    found, looked_through = await catalog.read(frontier.new_links, "aaa")
    assert found == [(C, 1, SEED), (f"{SEED}/4", 2, A), (f"{SEED}/2", 2, A), (f"{SEED}/5", 2, B)]
    assert looked_through.keys() == {SEED, A, B}
    assert await follow_all(catalog) == (4, {})
    assert [(await claim(catalog)).url for _ in range(4)] == [url for url, _, _ in found]
    assert await catalog.read(pages.path, "aaa", f"{SEED}/4") == [SEED, A, f"{SEED}/4"]


async def test_a_page_is_looked_through_once(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await index(catalog, await claim(catalog), intent(follow=[A, B]))
    assert await follow_all(catalog) == (2, {})
    assert await catalog.read(frontier.new_links, "aaa") == ([], {})
    assert await follow_all(catalog) == (0, {})


async def test_what_leads_nowhere_new_is_looked_through_too(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    await index(catalog, await claim(catalog), intent(follow=[A]))
    await leave_out(catalog, await claim(catalog))
    found, looked_through = await catalog.read(frontier.new_links, "aaa")
    assert (found, set(looked_through)) == ([], {SEED})
    await follow_all(catalog)
    assert await catalog.read(frontier.new_links, "aaa") == ([], {})


async def test_a_page_that_is_left_out_or_moved_leads_on_all_the_same(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    await leave_out(catalog, await claim(catalog), reason=Reason.INDEX, follow=[B])
    await move(catalog, await claim(catalog), SEED, follow=[C])
    assert await catalog.read(frontier.new_links, "aaa") == ([(B, 1, SEED), (C, 2, A)], await _seqs(catalog, SEED, A))


async def _seqs(catalog: Catalog, *urls: str) -> dict[str, int]:
    def read(db: apsw.Connection) -> dict[str, int]:
        return {url: int(db.execute("SELECT seq FROM pages WHERE docset_id = 'aaa' AND url = ?", (url,)).get) for url in urls}

    return await catalog.read(read)


async def test_links_that_found_no_room_are_followed_when_there_is_some(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    first, second = await claim(catalog), await claim(catalog)
    await index(catalog, first, intent(text="first", follow=[f"{SEED}/{n}" for n in range(5)]))
    await index(catalog, second, intent(text="second", follow=[f"{SEED}/0"]))
    assert await follow_all(catalog, replace(LIMITS, max_pages=4)) == (2, {Limit.PAGES: 3})
    assert await catalog.read(frontier.new_links, "aaa") == ([], {})
    assert await catalog.write(frontier.look_again, "aaa") == 1
    found, looked_through = await catalog.read(frontier.new_links, "aaa")
    assert ([url for url, _, _ in found], set(looked_through)) == ([f"{SEED}/{n}" for n in (2, 3, 4)], {SEED})
    assert await follow_all(catalog, replace(LIMITS, max_pages=6)) == (2, {Limit.PAGES: 1})
    assert await catalog.write(frontier.look_again, "aaa") == 1
    assert await follow_all(catalog) == (1, {})
    assert await catalog.write(frontier.look_again, "aaa") == 0
    assert await catalog.read(frontier.new_links, "aaa") == ([], {})
    assert list(await listed_states(catalog)) == [SEED, A, *(f"{SEED}/{n}" for n in range(5))]


async def test_links_are_taken_in_parts_when_they_are_many(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "_LINKS_AT_ONCE", 3)
    await with_frontier(catalog, SEED, A, B)
    for number, claimed in enumerate([await claim(catalog) for _ in range(3)]):
        await index(catalog, claimed, intent(text=claimed.url, follow=[f"{SEED}/{number}{n}" for n in range(2)]))
    found, looked_through = await catalog.read(frontier.new_links, "aaa")
    assert (len(found), set(looked_through)) == (4, {SEED, A})
    assert [(await follow_part(catalog))[0] for _ in range(3)] == [4, 2, 0]
    assert list(await listed_states(catalog))[3:] == [f"{SEED}/{number}{n}" for number in range(3) for n in range(2)]


async def test_links_that_a_limit_keeps_out_do_not_hide_those_of_later_pages(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier, "_LINKS_AT_ONCE", 3)
    limits = replace(LIMITS, max_queries_per_path=1)
    await with_frontier(catalog, SEED, A)
    first, second = await claim(catalog), await claim(catalog)
    await index(catalog, first, intent(text="first", follow=[f"{SEED}/list?sort={n}" for n in range(10)]))
    await index(catalog, second, intent(text="second", follow=[B, C]))
    assert await follow_all(catalog, limits) == (3, {Limit.QUERIES: 9})
    assert list(await listed_states(catalog)) == [SEED, A, f"{SEED}/list?sort=0", B, C]


async def test_look_again_leaves_other_docsets_alone(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await index(catalog, await claim(catalog), intent(follow=[A, B]))
    await follow_all(catalog, replace(LIMITS, max_pages=2))
    await with_frontier(catalog, SEED, id_="bbb")
    assert await catalog.write(frontier.look_again, "bbb") == 0
    assert await catalog.read(frontier.new_links, "aaa") == ([], {})


async def test_a_page_that_leads_to_what_a_limit_kept_out_can_be_told(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    await index(catalog, await claim(catalog), intent(text="first", follow=[A, B]))
    await index(catalog, await claim(catalog), intent(text="second", follow=[B, C]))
    assert await catalog.read(frontier.cut_from, "aaa", C) is None
    await follow_all(catalog, replace(LIMITS, max_pages=2))
    told = {url: await catalog.read(frontier.cut_from, "aaa", url) for url in (B, C, f"{SEED}/never")}
    assert told == {B: SEED, C: A, f"{SEED}/never": None}
    assert await catalog.read(frontier.cut_from, "bbb", B) is None


async def test_over_limits_counts_links_over_the_limit_of_their_page(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    await index(catalog, await claim(catalog), intent(text="first", dropped=7))
    await index(catalog, await claim(catalog), intent(text="second", dropped=5))
    assert await catalog.read(frontier.over_limits, "aaa") == (12, 0)
    assert (await trace_of(catalog, SEED)).links_dropped == 7


async def test_size_is_what_was_received_for_all_pages(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B)
    assert await catalog.read(frontier.size, "aaa") == 0
    await index(catalog, await claim(catalog))
    await leave_out(catalog, await claim(catalog))
    assert await catalog.read(frontier.size, "aaa") == 110
    assert await catalog.read(frontier.size, "other") == 0


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20), max_size=20))
@settings(max_examples=50, deadline=None)
def test_links_are_stored_as_they_are(urls: list[str]) -> None:
    assert frontier.unpack_links(frontier.pack_links(urls)) == urls


def test_the_links_of_a_menu_take_little_room() -> None:
    urls = [f"https://example.org/docs/reference/module/page-{number}.html" for number in range(1_000)]
    assert len(frontier.pack_links(urls)) < sum(map(len, urls)) / 10


# -- aliases


async def test_an_alias_leaves_no_page_and_its_target_takes_its_place(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B, C)
    await leave_out(catalog, await claim(catalog))
    committed = await move(catalog, await claim(catalog), f"{SEED}/start")
    assert committed == Committed(f"redirects to {SEED}/start")
    assert list(await listed_states(catalog)) == [SEED, f"{SEED}/start", B, C]
    assert (await catalog.read(docsets.counts, "aaa", NOW)).pages == {PageState.SKIPPED: 1, PageState.PENDING: 3}
    target = await claim(catalog)
    assert (target.url, target.depth, target.turn, target.hops) == (f"{SEED}/start", 1, Turn.LINKED, 1)
    page = await page_at(catalog, A)
    assert (page.url, page.discovered_from) == (f"{SEED}/start", A)


async def test_the_target_of_a_redirect_has_the_turn_of_its_redirect(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(A, depth=4, turn=Turn.SITEMAP))
    await move(catalog, await claim(catalog), B)
    assert await next_claim(catalog, turn=Turn.LINKED) is None
    target = await claim(catalog, turn=Turn.SITEMAP)
    assert (target.url, target.depth, target.turn) == (B, 4, Turn.SITEMAP)


async def test_the_target_of_a_redirect_may_be_left_out_by_a_rule(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await move(catalog, await claim(catalog), A, left_out=(Reason.EXCLUDED, "Left out by a pattern."))
    assert await next_claim(catalog) is None
    page = await page_at(catalog, SEED)
    assert (page.url, page.state, page.reason, page.message) == (
        A, PageState.SKIPPED, Reason.EXCLUDED, "Left out by a pattern."
    )  # fmt: skip


async def test_an_alias_is_never_discovered_again(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await move(catalog, await claim(catalog), A)
    assert await discover(catalog, links(SEED, A, B)) == (1, {}, set())
    assert list(await listed_states(catalog)) == [A, B]


async def test_a_redirect_to_a_page_that_is_known_leaves_that_as_it_is(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B)
    await index(catalog, await claim(catalog), intent(piece("x"), text="seed"))
    await leave_out(catalog, await claim(catalog))
    await move(catalog, await claim(catalog), SEED)
    assert await listed_states(catalog) == {SEED: PageState.INDEXED, A: PageState.SKIPPED}
    assert (await page_at(catalog, B)).url == SEED
    assert (await trace_of(catalog, SEED)).depth == 0


async def test_aliases_resolve_through_every_step_to_the_page(catalog: Catalog) -> None:
    await with_frontier(catalog, f"{SEED}/1")
    for number in (2, 3, 4):
        claimed = await claim(catalog)
        assert claimed.hops == number - 2
        await move(catalog, claimed, f"{SEED}/{number}")
    assert await catalog.read(pages.resolve, "aaa", f"{SEED}/1") == f"{SEED}/4"
    assert await catalog.read(pages.chain, "aaa", f"{SEED}/2") == [f"{SEED}/{number}" for number in (2, 3, 4)]
    assert await catalog.read(pages.resolve, "aaa", f"{SEED}/4") == f"{SEED}/4"
    assert await catalog.read(pages.resolve, "aaa", f"{SEED}/unknown") == f"{SEED}/unknown"
    assert (await page_at(catalog, f"{SEED}/1")).url == f"{SEED}/4"
    assert await catalog.read(pages.path, "aaa", f"{SEED}/4") == [SEED, *(f"{SEED}/{number}" for number in range(1, 5))]


async def test_aliases_are_of_one_docset(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, id_="aaa")
    await with_frontier(catalog, SEED, id_="bbb")
    await move(catalog, await claim(catalog, "aaa"), A)
    assert await catalog.read(pages.resolve, "bbb", SEED) == SEED
    assert await catalog.read(pages.aliases, "bbb", A, 10) == []


async def test_the_urls_that_lead_to_a_page_in_one_step_are_told(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B, C)
    await index(catalog, await claim(catalog))
    await move(catalog, await claim(catalog), SEED)
    await move(catalog, await claim(catalog), SEED)
    await move(catalog, await claim(catalog), B)
    assert await catalog.read(pages.aliases, "aaa", SEED, 10) == [A, B]
    assert await catalog.read(pages.aliases, "aaa", SEED, 1) == [A]
    assert await catalog.read(pages.aliases, "aaa", B, 10) == [C]
    assert await catalog.read(pages.aliases, "aaa", A, 10) == []


@pytest.mark.parametrize("length", [2, 3, 7])
async def test_of_a_circle_of_redirects_one_page_is_left_which_says_so(catalog: Catalog, length: int) -> None:
    circle = [f"{SEED}/{number}" for number in range(length)]
    await with_frontier(catalog, circle[0])
    for target in [*circle[1:], circle[0]]:
        await move(catalog, await claim(catalog), target)
    assert await next_claim(catalog) is None
    assert await listed_states(catalog) == {circle[0]: PageState.SKIPPED}
    for url in circle:
        page = await page_at(catalog, url)
        assert (page.url, page.reason) == (circle[0], Reason.REDIRECTS)
        assert page.message == f"The page redirects in a circle: {' → '.join([*circle, circle[0]])}."


async def test_the_first_page_of_a_circle_in_the_frontier_stands_for_it_whichever_answers_last(catalog: Catalog) -> None:
    circle = {C: A, A: B, B: C}
    for number, order in enumerate(permutations(circle)):
        id_ = f"d{number}"
        await with_frontier(catalog, *circle, id_=id_)
        claims = await claim_all(catalog, id_)
        for url in order:
            await move(catalog, claims[url], circle[url])
        assert await listed_states(catalog, id_) == {C: PageState.SKIPPED}
        page = await page_at(catalog, B, id_)
        assert (page.url, page.message) == (C, f"The page redirects in a circle: {' → '.join((C, A, B, C))}.")


async def test_a_redirect_into_a_circle_that_it_is_not_part_of_ends_where_that_stands(catalog: Catalog) -> None:
    await with_frontier(catalog, A, C)
    first, outside = await claim(catalog), await claim(catalog)
    await move(catalog, first, B)
    await move(catalog, await claim(catalog), A)
    await move(catalog, outside, B)
    assert await catalog.read(pages.chain, "aaa", C) == [C, B, A]
    assert (await page_at(catalog, C)).reason is Reason.REDIRECTS


async def test_of_two_redirects_to_one_page_the_first_in_the_frontier_led_to_it_whichever_answers_first(catalog: Catalog) -> None:
    for id_, order in (("forward", (A, B)), ("backward", (B, A))):
        await with_frontier(catalog, A, B, C, id_=id_)
        claims = await claim_all(catalog, id_)
        await catalog.write(frontier.give_back, claims[C])
        for url in order:
            await move(catalog, claims[url], f"{SEED}/target")
        page = await page_at(catalog, f"{SEED}/target", id_)
        assert page.discovered_from == A
        assert [(await claim(catalog, id_)).url for _ in range(2)] == [f"{SEED}/target", C]


async def test_redirects_end_after_so_many(catalog: Catalog) -> None:
    await with_frontier(catalog, f"{SEED}/0")
    for number in range(1, 4):
        await move(catalog, await claim(catalog), f"{SEED}/{number}", max_hops=2)
    assert await next_claim(catalog) is None
    page = await page_at(catalog, f"{SEED}/0")
    assert (page.url, page.state, page.reason) == (f"{SEED}/2", PageState.SKIPPED, Reason.REDIRECTS)
    assert page.message == "The page is reached through 2 redirects and redirects again (setting max_redirects)."


async def test_no_redirect_at_all_may_be_followed(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await move(catalog, await claim(catalog), A, max_hops=0)
    assert await listed_states(catalog) == {SEED: PageState.SKIPPED}


async def test_a_page_that_moves_after_it_was_indexed_takes_its_text_with_it(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await index(catalog, claimed, intent(piece("x"), piece("y", 1)))
    assert (await move(catalog, claimed, A)).remove == ("x", "y")
    assert await catalog.read(chunks.all_ids) == set()
    assert await catalog.read(pages.documents, 0, 10) == []


# -- all that is known of a URL


async def test_a_trace_tells_what_became_of_a_page_and_what_it_cost(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(SEED))
    await discover(catalog, links(A, depth=3, found_on=f"{SITE}/sitemap.xml", turn=Turn.SITEMAP))
    await leave_out(catalog, await claim(catalog), PageState.ERROR, Reason.NO_ANSWER)
    await index(catalog, await claim(catalog), intent(piece("x"), piece("y", 1), dropped=3), now=NOW + 9)
    assert await trace_of(catalog, A) == pages.Trace(
        url=A,
        state=PageState.INDEXED,
        reason=None,
        message=None,
        target=None,
        how=None,
        depth=3,
        from_sitemap=True,
        discovered_from=f"{SITE}/sitemap.xml",
        attempts=1,
        requests=1,
        http_status=200,
        size=100,
        links_dropped=3,
        title="Title",
        read_as="generic",
        chunks=2,
        fetched_at=NOW + 9,
        indexed_at=NOW + 9,
    )
    failed = await trace_of(catalog, SEED)
    assert (failed.state, failed.reason, failed.message) == (PageState.ERROR, Reason.NO_ANSWER, "Because: no-answer.")
    assert (failed.http_status, failed.from_sitemap, failed.fetched_at, failed.indexed_at) == (404, False, NOW, None)
    assert await catalog.read(pages.trace, "aaa", B) is None


async def test_a_trace_of_an_alias_tells_where_it_leads_and_how(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await move(catalog, await claim(catalog), A)
    found = await trace_of(catalog, SEED)
    assert (found.state, found.reason, found.target, found.how, found.http_status) == (None, None, A, "HTTP 301", 301)


async def test_a_page_that_was_never_asked_has_no_trace_of_an_answer(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await catalog.write(
        pages.commit_left_out, await claim(catalog), None, PageState.SKIPPED, Reason.ROBOTS, "Forbidden.", (), None, NOW
    )  # fmt: skip
    found = await trace_of(catalog, SEED)
    assert (found.reason, found.message) == (Reason.ROBOTS, "Forbidden.")
    assert (found.requests, found.http_status, found.size, found.fetched_at) == (0, None, 0, None)


async def test_the_path_of_a_page_begins_where_nothing_led_to(catalog: Catalog) -> None:
    sitemap = f"{SITE}/sitemap.xml"
    await with_frontier(catalog, SEED)
    await discover(catalog, [*links(A, found_on=sitemap, turn=Turn.SITEMAP), *links(B, depth=2, found_on=A)])
    assert await catalog.read(pages.path, "aaa", SEED) == [SEED]
    assert await catalog.read(pages.path, "aaa", B) == [sitemap, A, B]
    assert await catalog.read(pages.path, "aaa", C) == [C]


# -- the commit that proves a page


async def test_an_indexed_page_is_listed_with_its_chunks_in_page_order_and_its_document(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    listed = (piece("z", 0), piece("a", 1), piece("m", 2))
    committed = await index(catalog, claimed, intent(*listed, add=listed[:2]), {"a"}, NOW + 5)
    assert committed == Committed("indexed, 3 chunks, 2 of them new")
    page = await page_at(catalog, SEED)
    assert (page.state, page.title, page.reason, page.message, page.fetched_at, page.indexed_at) == (
        PageState.INDEXED, "Title", None, None, NOW + 5, NOW + 5
    )  # fmt: skip
    assert await catalog.read(pages.chunk_ids, claimed.page_id) == ("z", "a", "m")
    assert await catalog.read(chunks.all_ids) == {"z", "a", "m"}
    (seq,) = (await _seqs(catalog, SEED)).values()
    assert await catalog.read(pages.documents, 0, 10) == [
        Stored(seq, claimed.page_id, "aaa", SEED, CHUNKER_VERSION, DOCUMENT, ("z", "a", "m"))
    ]
    counted = await catalog.read(docsets.counts, "aaa", NOW)
    assert (counted.pages, counted.chunks, counted.embedded) == ({PageState.INDEXED: 1}, 3, 1)


async def test_a_new_commit_keeps_embedded_of_unchanged_chunks_and_drops_removed_ones(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await index(catalog, claimed, intent(piece("a", 0), piece("b", 1)))
    await catalog.write(chunks.mark_embedded, ["a", "b"])
    again = intent(piece("c", 0), piece("b", 1), text="new text", add=[piece("c", 0)], remove=["a"])
    assert (await index(catalog, claimed, again, now=NOW + 1)).remove == ("a",)
    assert await catalog.read(pages.chunk_ids, claimed.page_id) == ("c", "b")
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 10)] == ["c"]
    assert set(await catalog.read(chunks.listed, ["a", "b", "c"])) == {"b", "c"}


async def test_a_commit_that_fails_half_way_leaves_the_page_unindexed(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    broken = intent(piece("a", 0), replace(piece("b", 1), text_hash=None), follow=[A])  # type: ignore[arg-type]
    with pytest.raises(apsw.ConstraintError):
        await index(catalog, claimed, broken)
    assert await listed_states(catalog) == {SEED: PageState.FETCHING}
    assert await catalog.read(chunks.all_ids) == set()
    assert await catalog.read(frontier.new_links, "aaa") == ([], {})


async def test_a_page_that_is_left_out_loses_the_text_it_had(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await index(catalog, claimed, intent(piece("a"), piece("b", 1)))
    assert (await leave_out(catalog, claimed)).remove == ("a", "b")
    page = await page_at(catalog, SEED)
    assert (page.state, page.reason, page.message, page.indexed_at) == (
        PageState.SKIPPED, Reason.GONE, "Because: gone.", None
    )  # fmt: skip
    assert await catalog.read(chunks.all_ids) == set()
    assert await catalog.read(pages.documents, 0, 10) == []


async def test_an_indexed_page_can_be_taken_out_again(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    claimed = await claim(catalog)
    await index(catalog, claimed, intent(piece("a"), follow=[B]))
    gone = await catalog.write(pages.leave_out_indexed, claimed.page_id, Reason.MANUAL, "It repeats all others.")
    assert gone == ("a",)
    page = await page_at(catalog, SEED)
    assert (page.state, page.reason, page.message) == (PageState.SKIPPED, Reason.MANUAL, "It repeats all others.")
    assert await catalog.read(chunks.all_ids) == set()
    assert await follow_all(catalog) == (1, {})


async def test_a_page_that_was_left_out_and_is_indexed_after_all_has_no_reason_any_more(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await leave_out(catalog, claimed, PageState.ERROR, Reason.NO_ANSWER)
    await index(catalog, claimed)
    page = await page_at(catalog, SEED)
    assert (page.state, page.reason, page.message) == (PageState.INDEXED, None, None)


async def test_chunks_wait_for_their_vector_in_the_order_they_came(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    for listed in ((piece("z", 0), piece("y", 1)), (piece("a", 0),)):
        claimed = await claim(catalog)
        await index(catalog, claimed, intent(*listed, text=claimed.url))
    first = await catalog.read(chunks.waiting, {}, 2)
    assert [chunk.chunk_id for chunk in first] == ["z", "y"]
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {first[-1].docset_id: first[-1].seq}, 2)] == ["a"]
    assert await catalog.write(chunks.mark_embedded, ["z", "y", "unknown"]) == ["unknown"]
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 2)] == ["a"]


async def test_the_docset_with_the_fewest_waiting_chunks_gets_its_vectors_first(catalog: Catalog) -> None:
    for docset_id, names in (("big", ("a", "b", "c")), ("small", ("d",))):
        await with_frontier(catalog, f"{SEED}/{docset_id}", id_=docset_id)
        listed = [piece(name, ordinal) for ordinal, name in enumerate(names)]
        await index(catalog, await claim(catalog, docset_id), intent(*listed))
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 2)] == ["d"]
    await catalog.write(chunks.mark_embedded, ["d"])
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 2)] == ["a", "b"]


async def test_keep_embedded_agrees_with_the_shelf_both_ways(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await index(catalog, await claim(catalog), intent(piece("a", 0), piece("b", 1)), {"a"})
    await catalog.write(chunks.keep_embedded, {"b", "unknown"})
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 9)] == ["a"]


async def test_forget_embedded_agrees_with_the_shelf_on_what_is_lost_only(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await index(catalog, await claim(catalog), intent(*(piece(name, number) for number, name in enumerate("abc"))), {"a", "b"})
    await catalog.write(chunks.forget_embedded, {"b", "c", "unknown"})
    assert await catalog.read(chunks.all_embedded) == {"b"}
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 9)] == ["a", "c"]


async def test_listing_filters_by_state_and_pages_through_without_gaps(catalog: Catalog) -> None:
    urls = [f"{SEED}/{number}" for number in range(8)]
    await with_frontier(catalog, *urls)
    for _ in range(3):
        await leave_out(catalog, await claim(catalog))
    await move(catalog, await claim(catalog), urls[0])  # an alias is in no listing
    skipped, total = await catalog.read(pages.listing, "aaa", PageState.SKIPPED, 2, 0)
    assert ([page.url for page in skipped], total) == (urls[:2], 3)
    seen = []
    for offset in range(0, 8, 2):
        found, total = await catalog.read(pages.listing, "aaa", None, 2, offset)
        assert total == 7
        seen += [page.url for page in found]
    assert seen == [*urls[:3], *urls[4:]]


# -- pages that are the same


Spec = tuple[str, int, str, str | None]  # path, depth, text, the page that it says it is a copy of
Outcome = dict[str, tuple[str, str | None]]  # by path: its state (of an alias: how), and whose it is


def path_of(url: str | None) -> str | None:
    return None if url is None else url.removeprefix(SEED)


async def outcomes(catalog: Catalog, *specs: Spec) -> list[Outcome]:
    """What becomes of these pages, for every order in which they may be committed."""
    found = []
    for number, order in enumerate(permutations(specs)):
        id_ = f"d{number}"
        await catalog.write(docsets.insert, docset(id_))
        await catalog.write(
            frontier.discover, id_, [Link(SEED + path, depth, None) for path, depth, _, _ in specs], LIMITS
        )  # fmt: skip
        claims = await claim_all(catalog, id_)
        on_shelf = set[str]()
        while claims:  # a page whose text is no longer kept by another one is put back, and done once more
            for path, _, text, canonical in order:
                if SEED + path in claims:
                    chunk = piece(f"{id_}{path}")
                    what = intent(chunk, text=text, canonical=None if canonical is None else SEED + canonical)
                    committed = await index(catalog, claims[SEED + path], what)
                    on_shelf = (on_shelf | {chunk.id}) - set(committed.remove)
            claims = await claim_all(catalog, id_)
        traces = [await trace_of(catalog, SEED + path, id_) for path, *_ in specs]
        outcome: Outcome = {
            str(path_of(trace.url)): (trace.reason or trace.state or trace.how or "", path_of(trace.target)) for trace in traces
        }
        kept = {f"{id_}{path}" for path, (state, _) in outcome.items() if state == "indexed"}
        assert kept == on_shelf == {chunk for chunk in await catalog.read(chunks.all_ids) if chunk.startswith(f"{id_}/")}
        assert [trace.url for trace in traces if trace.chunks] == [SEED + path for path, (state, _) in outcome.items()
                                                                    if state == "indexed"]  # fmt: skip
        found.append(outcome)
    return found


def kept_of(outcome: Outcome) -> list[str]:
    return sorted(path for path, (state, _) in outcome.items() if state == "indexed")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(("/a-long-name", 0), ("/b", 1), id="the seed"),
        pytest.param(("/a-long-name", 1), ("/b", 2), id="nearer"),
        pytest.param(("/b", 1), ("/longer", 1), id="shorter"),
        pytest.param(("/a", 1), ("/b", 1), id="first of the alphabet"),
    ],
)
async def test_of_pages_with_one_text_the_nearest_is_kept_in_whatever_order_they_come(
    catalog: Catalog, better: tuple[str, int], worse: tuple[str, int]
) -> None:
    found = await outcomes(catalog, (*better, "same", None), (*worse, "same", None))
    assert found == [{better[0]: ("indexed", None), worse[0]: ("duplicate", better[0])}] * 2


async def test_a_page_that_links_reach_is_kept_before_one_that_only_a_sitemap_names(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(A, turn=Turn.SITEMAP))
    await index(catalog, await claim(catalog), intent(piece("x"), text="same"))
    await discover(catalog, links(f"{SEED}/a-long-name", depth=9))
    assert (await index(catalog, await claim(catalog), intent(piece("y"), text="same"))).remove == ("x",)
    page = await page_at(catalog, A)
    assert (page.reason, page.message) == (Reason.DUPLICATE, f"The same text as {SEED}/a-long-name, which is kept.")


async def test_of_many_pages_with_one_text_the_same_one_is_kept_in_every_order(catalog: Catalog) -> None:
    specs: list[Spec] = [("/c", 2, "same", None), ("/bb", 1, "same", None), ("/a", 2, "same", None), ("/x", 1, "other", None)]
    for outcome in await outcomes(catalog, *specs):
        assert kept_of(outcome) == ["/bb", "/x"]
        assert (outcome["/a"][0], outcome["/c"][0]) == ("duplicate", "duplicate")


async def test_a_duplicate_always_names_the_page_that_is_kept(catalog: Catalog) -> None:
    specs: list[Spec] = [("/c", 2, "same", None), ("/bb", 1, "same", None), ("/a", 1, "same", None)]
    for outcome in await outcomes(catalog, *specs):
        assert outcome == {"/a": ("indexed", None), "/bb": ("duplicate", "/a"), "/c": ("duplicate", "/a")}
    for number in range(6):
        for url in (f"{SEED}/bb", C):
            assert (await page_at(catalog, url, f"d{number}")).message == f"The same text as {A}, which is kept."


async def test_a_duplicate_names_the_page_that_is_kept_when_that_is_another_spelling(catalog: Catalog) -> None:
    specs: list[Spec] = [("/b", 2, "same", None), ("/a", 2, "same", None), ("/a/", 1, "same", None)]
    for outcome in await outcomes(catalog, *specs):
        assert outcome == {"/a/": ("indexed", None), "/a": ("same page", "/a/"), "/b": ("duplicate", "/a/")}


async def test_another_spelling_of_a_page_is_no_page_of_its_own(catalog: Catalog) -> None:
    for outcome in await outcomes(catalog, ("/a/", 1, "same", None), ("/a", 2, "same", None)):
        assert outcome == {"/a/": ("indexed", None), "/a": ("same page", "/a/")}
    assert await listed_states(catalog, "d0") == {f"{A}/": PageState.INDEXED}
    assert (await page_at(catalog, A, "d0")).url == f"{A}/"
    assert await catalog.read(pages.aliases, "d0", f"{A}/", 10) == [A]
    assert (await trace_of(catalog, A, "d0")).message is None


async def test_another_spelling_with_another_text_is_a_page_of_its_own(catalog: Catalog) -> None:
    for outcome in await outcomes(catalog, ("/a/", 1, "one", None), ("/a", 1, "two", None)):
        assert kept_of(outcome) == ["/a", "/a/"]


async def test_a_duplicate_leads_on_and_keeps_its_title_but_no_text(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    await index(catalog, await claim(catalog), intent(piece("x"), text="same"))
    committed = await index(catalog, await claim(catalog), intent(piece("y"), text="same", follow=[B]))
    assert committed == Committed(f"skipped: The same text as {SEED}, which is kept.", ("y",))
    assert [stored.url for stored in await catalog.read(pages.documents, 0, 10)] == [SEED]
    assert await catalog.read(chunks.all_ids) == {"x"}
    assert await follow_all(catalog) == (1, {})
    assert (await page_at(catalog, B)).discovered_from == A
    assert (await page_at(catalog, A)).title == "Title"


async def test_pages_of_other_docsets_are_no_duplicates(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_frontier(catalog, SEED, id_=id_)
        await index(catalog, await claim(catalog, id_), intent(piece(id_), text="same"))
        assert await listed_states(catalog, id_) == {SEED: PageState.INDEXED}


async def test_a_page_that_is_indexed_anew_is_no_duplicate_of_itself(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    for _ in range(2):
        assert (await index(catalog, claimed, intent(piece("x")))).remove == ()
    assert await listed_states(catalog) == {SEED: PageState.INDEXED}


async def test_when_the_page_kept_for_a_text_is_taken_out_those_that_gave_way_to_it_wait_again(catalog: Catalog) -> None:
    other = f"{SEED}/other"
    await with_frontier(catalog, A, f"{A}/", B, C, other)
    kept, *gave_way = [await claim(catalog) for _ in range(4)]
    await index(catalog, kept, intent(piece("x"), text="same"))
    for claimed, canonical in zip(gave_way, (None, None, A), strict=True):
        await index(catalog, claimed, intent(text="same", canonical=canonical))
    await move(catalog, await claim(catalog), A)
    assert await listed_states(catalog) == {A: PageState.INDEXED, B: PageState.SKIPPED}
    await catalog.write(pages.leave_out_indexed, kept.page_id, Reason.EXCLUDED, "Left out by a pattern.")
    await catalog.write(pages.reopen_copies, "aaa", A)
    assert await listed_states(catalog) == {
        A: PageState.SKIPPED, f"{A}/": PageState.PENDING, B: PageState.PENDING, C: PageState.PENDING
    }  # fmt: skip
    found = await trace_of(catalog, B)
    assert (found.reason, found.message, found.target) == (None, None, None)
    assert await catalog.read(pages.resolve, "aaa", other) == A  # what redirects does so whatever becomes of its target


async def test_copies_of_one_page_wait_again_in_its_docset_only(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_frontier(catalog, A, B, C, f"{SEED}/longer", id_=id_)
        for text in ("one", "one", "two", "two"):
            await index(catalog, await claim(catalog, id_), intent(text=text))
    await catalog.write(pages.reopen_copies, "aaa", A)
    assert (await listed_states(catalog, "aaa"))[B] == PageState.PENDING
    assert (await listed_states(catalog, "aaa"))[f"{SEED}/longer"] == PageState.SKIPPED
    assert (await listed_states(catalog, "bbb"))[B] == PageState.SKIPPED


# -- pages that say they are copies


@pytest.mark.parametrize("text", ["same", "other"], ids=["the same text", "another text"])
@pytest.mark.parametrize("depth", [1, 3], ids=["beside it", "further away"])
async def test_a_page_that_says_it_is_a_copy_gives_way_in_whatever_order_they_come(
    catalog: Catalog, text: str, depth: int
) -> None:
    for outcome in await outcomes(catalog, ("/a", 1, "same", "/original"), ("/original", depth, text, None)):
        assert outcome == {"/original": ("indexed", None), "/a": ("rel=canonical", "/original")}
    assert await listed_states(catalog, "d0") == {f"{SEED}/original": PageState.INDEXED}


async def test_a_copy_of_a_page_that_was_never_met_is_kept(catalog: Catalog) -> None:
    for outcome in await outcomes(catalog, ("/a", 1, "one", "/never"), ("/b", 1, "two", None)):
        assert kept_of(outcome) == ["/a", "/b"]


@pytest.mark.parametrize("reason", [Reason.GONE, Reason.NOINDEX, Reason.EXCLUDED])
async def test_a_copy_of_a_page_that_is_left_out_is_kept(catalog: Catalog, reason: Reason) -> None:
    for first in ("copy", "original"):
        await with_frontier(catalog, A, B, id_=first)
        copy, original = await claim(catalog, first), await claim(catalog, first)
        if first == "original":
            await leave_out(catalog, original, reason=reason)
        await index(catalog, copy, intent(canonical=B))
        if first == "copy":
            await leave_out(catalog, original, reason=reason)
        assert await listed_states(catalog, first) == {A: PageState.INDEXED, B: PageState.SKIPPED}


async def test_a_copy_of_a_copy_leads_to_the_original_in_whatever_order_they_come(catalog: Catalog) -> None:
    specs: list[Spec] = [("/a", 1, "one", "/b"), ("/b", 1, "two", "/c"), ("/c", 1, "three", None)]
    for number, outcome in enumerate(await outcomes(catalog, *specs)):
        assert kept_of(outcome) == ["/c"]
        assert await catalog.read(pages.resolve, f"d{number}", A) == C
        assert await catalog.read(pages.resolve, f"d{number}", B) == C


async def test_a_copy_of_a_url_that_redirects_is_a_copy_of_where_it_leads(catalog: Catalog) -> None:
    for first in ("copy", "redirect"):
        await with_frontier(catalog, A, B, C, id_=first)
        copy, redirect, target = [await claim(catalog, first) for _ in range(3)]
        if first == "redirect":
            await move(catalog, redirect, C)
            await index(catalog, target, intent(text="original"))
        await index(catalog, copy, intent(text="copy", canonical=B))
        if first == "copy":
            await move(catalog, redirect, C)
            await index(catalog, target, intent(text="original"))
        assert await listed_states(catalog, first) == {C: PageState.INDEXED}
        assert await catalog.read(pages.resolve, first, A) == C


async def test_a_copy_of_a_url_that_redirects_twice_is_a_copy_of_where_it_leads(catalog: Catalog) -> None:
    for first in ("copy", "redirects"):
        await with_frontier(catalog, A, B, C, f"{SEED}/d", id_=first)
        copy, once, twice, target = [await claim(catalog, first) for _ in range(4)]
        if first == "copy":
            await index(catalog, copy, intent(text="copy", canonical=B))
        await move(catalog, once, C)
        await move(catalog, twice, f"{SEED}/d")
        await index(catalog, target, intent(text="original"))
        if first == "redirects":
            await index(catalog, copy, intent(text="copy", canonical=B))
        assert await catalog.read(pages.resolve, first, A) == f"{SEED}/d"


async def test_a_page_that_says_it_is_a_copy_of_its_own_redirect_is_kept(catalog: Catalog) -> None:
    await with_frontier(catalog, A)
    await move(catalog, await claim(catalog), B)
    await index(catalog, await claim(catalog), intent(canonical=A))
    assert await listed_states(catalog) == {B: PageState.INDEXED}
    assert (await page_at(catalog, A)).url == B


async def test_a_copy_of_a_duplicate_is_a_copy_of_what_is_kept(catalog: Catalog) -> None:
    await with_frontier(catalog, A, f"{SEED}/longer", C)
    await index(catalog, await claim(catalog), intent(text="same"))
    await index(catalog, await claim(catalog), intent(text="same"))
    await index(catalog, await claim(catalog), intent(text="copy", canonical=f"{SEED}/longer"))
    assert await catalog.read(pages.resolve, "aaa", C) == A


async def test_of_two_pages_that_each_say_they_are_a_copy_of_the_other_both_are_kept(catalog: Catalog) -> None:
    for outcome in await outcomes(catalog, ("/a", 1, "one", "/b"), ("/b", 1, "two", "/a")):
        assert kept_of(outcome) == ["/a", "/b"]


async def test_of_two_pages_with_one_text_that_each_say_they_are_a_copy_of_the_other_one_is_kept(catalog: Catalog) -> None:
    for outcome in await outcomes(catalog, ("/a", 1, "same", "/b"), ("/b", 1, "same", "/a")):
        assert kept_of(outcome) == ["/a"]


async def test_of_copies_with_one_text_the_original_is_kept_in_every_order(catalog: Catalog) -> None:
    specs: list[Spec] = [("/x?a=1", 1, "same", "/x"), ("/x?b=1", 1, "same", "/x"), ("/x", 1, "same", None)]
    for outcome in await outcomes(catalog, *specs):
        assert kept_of(outcome) == ["/x"]


async def test_all_copies_with_one_text_lead_to_the_original_in_every_order(catalog: Catalog) -> None:
    specs: list[Spec] = [("/x?a=1", 1, "same", "/x"), ("/x?b=1", 1, "same", "/x"), ("/x", 1, "same", None)]
    for number, outcome in enumerate(await outcomes(catalog, *specs)):
        assert outcome["/x"] == ("indexed", None)
        for copy in ("/x?a=1", "/x?b=1"):
            assert await catalog.read(pages.resolve, f"d{number}", SEED + copy) == f"{SEED}/x"


async def test_no_text_is_lost_when_the_page_kept_for_it_turns_out_to_be_a_copy_of_another(catalog: Catalog) -> None:
    specs: list[Spec] = [("/a", 1, "same", "/original"), ("/longer", 1, "same", None), ("/original", 2, "other", None)]
    for outcome in await outcomes(catalog, *specs):
        assert kept_of(outcome) == ["/longer", "/original"]


async def test_what_is_kept_does_not_depend_on_the_order_with_copies_and_duplicates_among_each_other(catalog: Catalog) -> None:
    specs: list[Spec] = [("/q", 1, "same", "/pppp"), ("/rr", 1, "same", None), ("/pppp", 1, "same", None)]
    assert len({tuple(kept_of(outcome)) for outcome in await outcomes(catalog, *specs)}) == 1


# -- pages that repeat a whole manual


async def with_passages(catalog: Catalog, **by_name: Sequence[int]) -> None:
    await with_frontier(catalog, *(f"{SEED}/{name}" for name in by_name))
    for name, passages in by_name.items():
        claimed = await claim(catalog)
        assert claimed.url == f"{SEED}/{name}"
        await index(catalog, claimed, intent(text=name, passages=passages))


async def repeating(catalog: Catalog) -> dict[str, int]:
    found = await catalog.read(pages.repeating, "aaa")
    assert all(id_ == frontier.page_id("aaa", url) for id_, url, _ in found)
    return {url.removeprefix(f"{SEED}/"): number for _, url, number in found}


async def test_a_page_that_holds_the_whole_text_of_three_others_repeats_them(catalog: Catalog) -> None:
    await with_passages(catalog, one=[1, 2], two=[3, 4], three=[5], four=[6], all=[1, 2, 3, 4, 5, -(2**63), 2**63 - 1])
    assert await repeating(catalog) == {"all": 3}


async def test_two_pages_that_hold_all_others_both_repeat_them(catalog: Catalog) -> None:
    await with_passages(catalog, one=[1], two=[2], three=[3], all=[1, 2, 3, 10], everything=[1, 2, 3, 11])
    assert await repeating(catalog) == {"all": 3, "everything": 3}


@pytest.mark.parametrize(
    "of_all",
    [
        pytest.param([1, 2, 3, 4], id="two of them only"),
        pytest.param([1, 2, 3, 4, 5, 6, *range(20, 40)], id="little of its own text"),
        pytest.param([1, 3, 5, 7], id="half of each"),
        pytest.param([], id="none of them"),
    ],
)
async def test_a_page_with_less_of_others_repeats_nothing(catalog: Catalog, of_all: list[int]) -> None:
    await with_passages(catalog, one=[1, 2], two=[3, 4], three=[5, 6], four=[7, 8], all=of_all)
    assert await repeating(catalog) == {}


async def test_most_of_a_page_is_enough_to_repeat_it(catalog: Catalog) -> None:
    five = {name: list(range(10 * number, 10 * number + 5)) for number, name in enumerate(("one", "two", "three"))}
    await with_passages(catalog, **five, all=[passage for of in five.values() for passage in of[:4]])
    assert await repeating(catalog) == {"all": 3}


async def test_text_that_stands_on_many_pages_is_no_repetition(catalog: Catalog) -> None:
    await with_passages(catalog, **{f"p{number}": [1, 2] for number in range(6)})
    assert await repeating(catalog) == {}


async def test_a_page_that_is_out_of_the_index_neither_repeats_nor_is_repeated(catalog: Catalog) -> None:
    await with_passages(catalog, one=[1], two=[2], three=[3], all=[1, 2, 3])
    await catalog.write(pages.leave_out_indexed, frontier.page_id("aaa", f"{SEED}/all"), Reason.MANUAL, "It repeats.")
    assert await repeating(catalog) == {}
    assert await catalog.read(lambda db: int(db.execute("SELECT count(*) FROM passages").get)) == 3


async def test_pages_of_other_docsets_are_not_repeated(catalog: Catalog) -> None:
    await with_passages(catalog, one=[1], two=[2], three=[3])
    await with_frontier(catalog, f"{SEED}/all", id_="bbb")
    await index(catalog, await claim(catalog, "bbb"), intent(text="all", passages=[1, 2, 3]))
    assert await repeating(catalog) == {}
    assert await catalog.read(pages.repeating, "bbb") == []


async def test_a_page_that_is_indexed_anew_with_another_text_repeats_its_old_one_no_more(catalog: Catalog) -> None:
    await with_passages(catalog, one=[1], two=[2], three=[3])
    await discover(catalog, links(f"{SEED}/all"))
    claimed = await claim(catalog)
    await index(catalog, claimed, intent(text="old", passages=[1, 2, 3]))
    await index(catalog, claimed, intent(text="new", passages=[10]))
    assert await repeating(catalog) == {}


# -- robots.txt


async def test_what_a_site_said_is_kept_for_a_time(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    assert await catalog.read(robots.kept, "aaa") is None
    await catalog.write(robots.keep, "aaa", "User-agent: *", NOW)
    assert await catalog.read(robots.kept, "aaa") == await catalog.read(robots.kept, "aaa", NOW) == "User-agent: *"
    assert await catalog.read(robots.kept, "aaa", NOW + 1) is None
    await catalog.write(robots.keep, "aaa", "", NOW + 1)
    assert await catalog.read(robots.kept, "aaa", NOW + 1) == ""
    assert await catalog.read(robots.kept, "bbb") is None


# -- what a refresh asks of what was there


async def keep(
    catalog: Catalog,
    claimed: Claim,
    *,
    text: str | None = None,
    passages: Sequence[int] = (),
    follow: Sequence[str] = (),
    message: str | None = None,
    extractor: int = EXTRACTOR_VERSION,
) -> Committed:
    """Commit, in the catalog of a refresh, that a page is as it was before."""
    what = intent(text=text or claimed.url, passages=passages, follow=follow)
    return await catalog.write(
        pages.commit_indexed, claimed, asked(claimed.url), STAMP, None, what, (), NOW, message, extractor
    )  # fmt: skip


async def earlier(catalog: Catalog, url: str, id_: str = "aaa") -> pages.Earlier:
    before = await catalog.read(pages.earlier, id_, url)
    assert before is not None
    return before


async def test_what_was_known_of_an_indexed_page_is_told_whole(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    listed = (piece("x", 0), piece("y", 1))
    what = intent(*listed, follow=[B, A], passages=[7, -(2**63)], canonical=f"{SITE}/elsewhere", dropped=3)
    await index(catalog, await claim(catalog), what, {"y"})
    assert await earlier(catalog, SEED) == pages.Earlier(
        state=PageState.INDEXED,
        reason=None,
        message=None,
        stamp=STAMP,
        title="Title",
        read_as="generic",
        content_hash="content of text",
        main_hash="text",
        canonical=f"{SITE}/elsewhere",
        follow=(B, A),
        links_dropped=3,
        size=100,
        passages=(-(2**63), 7),
        chunks=frozenset({"x", "y"}),
        with_vector=frozenset({"y"}),
        extractor=EXTRACTOR_VERSION,
    )
    assert await catalog.read(pages.earlier, "bbb", SEED) is None


async def test_a_page_that_was_read_and_left_out_is_known_by_its_stamp_too(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    await leave_out(catalog, await claim(catalog), reason=Reason.NOINDEX, follow=[B], stamp=STAMP)
    await leave_out(catalog, await claim(catalog), reason=Reason.GONE)
    read = await earlier(catalog, SEED)
    assert (read.state, read.reason, read.message) == (PageState.SKIPPED, Reason.NOINDEX, "Because: noindex.")
    assert (read.stamp, read.follow, read.content_hash, read.chunks) == (STAMP, (B,), None, frozenset())
    assert (await earlier(catalog, A)).stamp is None


async def test_nothing_is_known_of_a_page_that_has_no_outcome_failed_or_leads_elsewhere(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B, C)
    await leave_out(catalog, await claim(catalog), PageState.ERROR, Reason.NO_ANSWER)
    await move(catalog, await claim(catalog), f"{SEED}/new")
    await claim(catalog)
    for url in (SEED, A, B, C, f"{SEED}/new", f"{SEED}/unknown"):
        assert await catalog.read(pages.earlier, "aaa", url) is None


async def test_a_page_whose_text_is_dropped_has_no_stamp_any_more(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    first, second = await claim(catalog), await claim(catalog)
    await index(catalog, second, intent(text="same"))
    await index(catalog, first, intent(text="same"))
    gave_way = await earlier(catalog, A)
    assert (gave_way.state, gave_way.reason, gave_way.stamp) == (PageState.SKIPPED, Reason.DUPLICATE, None)
    await catalog.write(pages.leave_out_indexed, first.page_id, Reason.EXCLUDED, "Left out by a pattern.")
    assert (await earlier(catalog, SEED)).stamp is None
    await leave_out(catalog, first)
    assert (await earlier(catalog, SEED)).stamp is None


async def test_a_page_that_is_indexed_without_a_stamp_loses_an_older_one(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await index(catalog, claimed)
    await index(catalog, claimed, stamp=None)
    assert (await earlier(catalog, SEED)).stamp is None
    await index(catalog, claimed, stamp=Stamp(None, None, "hash", "rules"))
    assert (await earlier(catalog, SEED)).stamp == Stamp(None, None, "hash", "rules")


async def test_a_page_that_is_as_it_was_is_indexed_without_its_text(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    committed = await keep(catalog, await claim(catalog), passages=[1, 2], follow=[B])
    assert committed == Committed("as it was")
    page = await page_at(catalog, SEED)
    assert (page.state, page.title, page.message) == (PageState.INDEXED, "Title", None)
    assert await catalog.read(pages.documents, 0, 10) == []
    assert await catalog.read(pages.cut_otherwise) == 0
    assert await catalog.read(chunks.all_ids) == set()
    before = await earlier(catalog, SEED)
    assert (before.stamp, before.passages, before.content_hash) == (STAMP, (1, 2), f"content of {SEED}")
    assert await follow_all(catalog) == (1, {})
    await keep(catalog, await claim(catalog), message="Taken as it was before: no answer.", extractor=EXTRACTOR_VERSION + 1)
    page = await page_at(catalog, A)
    assert (page.state, page.message) == (PageState.INDEXED, "Taken as it was before: no answer.")
    assert await catalog.read(pages.read_otherwise) == ["aaa"]


@pytest.mark.parametrize("kept_first", [True, False])
async def test_of_a_page_as_it_was_and_one_of_the_same_text_the_nearer_stands_in_the_index(
    catalog: Catalog, kept_first: bool
) -> None:
    for id_, nearer_is_kept in (("aaa", True), ("bbb", False)):
        await with_frontier(catalog, A, f"{SEED}/longer", id_=id_)
        near, far = await claim(catalog, id_), await claim(catalog, id_)
        kept, read = (near, far) if nearer_is_kept else (far, near)
        for is_kept in (kept_first, not kept_first):
            if is_kept:
                await keep(catalog, kept, text="same", passages=[1])
            else:
                await index(catalog, read, intent(piece(id_), text="same", passages=[1]))
        assert await listed_states(catalog, id_) == {A: PageState.INDEXED, f"{SEED}/longer": PageState.SKIPPED}
        assert await catalog.read(chunks.all_ids, id_) == (set() if nearer_is_kept else {id_})
        assert (await earlier(catalog, A, id_)).passages == (1,)
        assert (await earlier(catalog, f"{SEED}/longer", id_)).passages == ()
        assert await catalog.read(_kept_urls, id_) == ([A] if nearer_is_kept else [])


def _kept_urls(db: apsw.Connection, docset_id: str) -> list[str]:
    return [str(row[0]) for row in db.execute("SELECT url FROM pages WHERE docset_id = ? AND kept ORDER BY url", (docset_id,))]


async def test_a_page_as_it_was_that_is_read_after_all_is_as_it_was_no_more(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A, B)
    first, second, third = [await claim(catalog) for _ in range(3)]
    for claimed in (first, second, third):
        await keep(catalog, claimed)
    await index(catalog, first)
    await leave_out(catalog, second)
    await move(catalog, third, C)
    assert await catalog.read(_kept_urls, "aaa") == []


async def test_pages_that_failed_are_told_as_they_were_claimed(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, id_="bbb")
    await leave_out(catalog, await claim(catalog, "bbb"), PageState.ERROR, Reason.NO_ANSWER)
    await with_frontier(catalog, SEED, A, B, C)
    for state in (PageState.SKIPPED, PageState.ERROR):
        await leave_out(catalog, await claim(catalog), state, Reason.SERVER_ERROR)
    await index(catalog, await claim(catalog))
    assert await catalog.read(frontier.failed, "aaa") == [
        (Claim(frontier.page_id("aaa", A), "aaa", A, 1, Turn.LINKED, 0, 1), "Because: server-error.")
    ]


async def test_seeds_are_what_the_user_began_with_and_nothing_that_led_from_there(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, [Link(B, 0, None), Link(SEED, 0, None), Link(A, 1, SEED)])
    await discover(catalog, [Link(C, 1, f"{SITE}/sitemap.xml", Turn.SITEMAP)])
    await move(catalog, await claim(catalog), f"{SEED}/moved")
    assert (await trace_of(catalog, f"{SEED}/moved")).depth == 0
    assert await catalog.read(frontier.seeds, "aaa") == [B, SEED]
    assert await catalog.read(frontier.seeds, "bbb") == []


async def test_chunk_ids_are_told_of_one_docset_or_of_all_and_which_have_their_vector(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_frontier(catalog, SEED, id_=id_)
        await index(catalog, await claim(catalog, id_), intent(piece(f"{id_}0"), piece(f"{id_}1", 1)), {f"{id_}1"})
    assert await catalog.read(chunks.all_ids) == {"aaa0", "aaa1", "bbb0", "bbb1"}
    assert await catalog.read(chunks.all_ids, "bbb") == {"bbb0", "bbb1"}
    assert await catalog.read(chunks.all_ids, "ccc") == set()
    assert await catalog.read(chunks.all_embedded) == {"aaa1", "bbb1"}


# -- pages that older code cut or read


async def made_of_older_code(catalog: Catalog, url: str, *, chunker: int = CHUNKER_VERSION, extractor: int) -> None:
    await catalog.write(
        lambda db: db.execute("UPDATE pages SET chunker = ?, extractor = ? WHERE url = ?", (chunker, extractor, url))
    )


async def test_pages_that_another_chunker_or_extractor_made_are_told(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_frontier(catalog, *((SEED, A) if id_ == "aaa" else (B,)), id_=id_)
        for claimed in (await claim_all(catalog, id_)).values():
            await index(catalog, claimed)
    assert await catalog.read(pages.cut_otherwise) == 0
    assert await catalog.read(pages.read_otherwise) == []
    await made_of_older_code(catalog, A, chunker=CHUNKER_VERSION - 1, extractor=EXTRACTOR_VERSION)
    assert await catalog.read(pages.cut_otherwise) == 1
    await made_of_older_code(catalog, B, chunker=CHUNKER_VERSION + 1, extractor=EXTRACTOR_VERSION - 1)
    assert await catalog.read(pages.cut_otherwise) == 2
    assert await catalog.read(pages.read_otherwise) == ["bbb"]
    await catalog.write(pages.leave_out_indexed, frontier.page_id("bbb", B), Reason.EXCLUDED, "Left out by a pattern.")
    assert await catalog.read(pages.cut_otherwise) == 1
    assert await catalog.read(pages.read_otherwise) == []


async def test_a_page_that_is_cut_anew_has_its_new_chunks_and_keeps_what_both_have(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    first, second = await claim(catalog), await claim(catalog)
    document = naming(Symbol("m.f", "function", "f"), Symbol("m.page", "module", None))
    listed = (piece("a", 0), piece("b", 1, anchor="f"), piece("c", 2))
    await index(catalog, first, intent(*listed), {"a", "b"}, document=document)
    await index(catalog, second, intent(piece("other"), text="other"), document=naming())
    await catalog.write(symbols.keep_listed, "aaa", [(SEED, Symbol("m.g", "data", "g")), (SEED, Symbol("m.h", "data", "new"))])
    await made_of_older_code(catalog, SEED, chunker=CHUNKER_VERSION - 1, extractor=EXTRACTOR_VERSION)
    stored, _ = await catalog.read(pages.documents, 0, 10)
    again = (piece("new", 0, anchor="new"), piece("c", 1, section=0), piece("b", 2, anchor="f"))
    assert await catalog.write(pages.recut, stored, again, "new hash", {"new"}) == ["a"]
    assert await catalog.read(chunks.listed, ["a", "b", "c", "new", "other"]) == {
        "new": Listed("new", first.page_id, "aaa", 0, 0, 3, 1),
        "c": Listed("c", first.page_id, "aaa", 1, 0, 3, 0),
        "b": Listed("b", first.page_id, "aaa", 2, 2, 3, 1),
        "other": Listed("other", second.page_id, "aaa", 0, 0, 1, 0),
    }
    assert await explained(catalog, "m.f", "page", "m.h") == {"b": "m.f", "c": "page", "new": "m.h"}
    assert set(await catalog.read(symbols.of_page, first.page_id)) == {
        *document.symbols, Symbol("m.g", "data", "g"), Symbol("m.h", "data", "new")
    }  # fmt: skip
    assert await catalog.read(_listed_names) == ["m.g", "m.h"]
    assert await catalog.read(pages.cut_otherwise) == 0
    assert (await earlier(catalog, SEED)).content_hash == "new hash"
    assert (await earlier(catalog, SEED)).stamp == STAMP


def _listed_names(db: apsw.Connection) -> list[str]:
    """The names that inventories told."""
    return [str(row[0]) for row in db.execute("SELECT name FROM symbols WHERE listed ORDER BY name")]


async def test_a_page_whose_text_has_changed_meanwhile_is_not_cut_anew(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    first, second = await claim(catalog), await claim(catalog)
    for claimed in (first, second):
        await index(catalog, claimed, intent(piece(f"of {claimed.url}"), text=claimed.url))
    stored = await catalog.read(pages.documents, 0, 10)
    newer = replace(DOCUMENT, sections=(Section(1, "Title", None, "Another text."),))
    await index(catalog, first, intent(piece("newer"), text="newer", remove=[f"of {SEED}"]), document=newer)
    await leave_out(catalog, second)
    for page in stored:
        assert await catalog.write(pages.recut, page, [piece("cut")], "new hash", set()) == ["cut"]
    assert await catalog.read(chunks.all_ids) == {"newer"}
    assert (await earlier(catalog, SEED)).content_hash == "content of newer"


# -- vectors


async def test_vectors_are_remembered_by_model_and_text(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    listed = replace(piece("a"), text_hash="h1"), replace(piece("b", 1), text_hash="h2")
    await index(catalog, await claim(catalog), intent(*listed))
    await catalog.write(vectors.remember, "model-1", {"h1": b"one", "h2": b"two"})
    await catalog.write(vectors.remember, "model-2", {"h1": b"other"})
    await catalog.write(vectors.remember, "model-1", {"h2": b"two again"})
    assert await catalog.read(vectors.known, "model-1", ["h1", "h2", "h3"]) == {"h1": b"one", "h2": b"two again"}
    assert await catalog.read(vectors.known, "model-2", ["h1", "h2"]) == {"h1": b"other"}


async def test_a_vector_of_a_text_that_is_gone_is_not_remembered(catalog: Catalog) -> None:
    await catalog.write(vectors.remember, "model-1", {"gone": b"late"})
    assert await catalog.read(vectors.known, "model-1", ["gone"]) == {}


async def with_texts(catalog: Catalog, *text_hashes: str) -> Claim:
    """A page with a chunk of each of these texts, and their vectors."""
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await has_texts(catalog, claimed, *text_hashes)
    await catalog.write(vectors.remember, "m", {text_hash: text_hash.encode() for text_hash in text_hashes})
    return claimed


async def has_texts(catalog: Catalog, claimed: Claim, *text_hashes: str) -> None:
    """The page has chunks of these texts and no other."""
    before = await catalog.read(pages.chunk_ids, claimed.page_id)
    listed = [piece(f"c-{text_hash}", number, text_hash) for number, text_hash in enumerate(text_hashes)]
    gone = [id_ for id_ in before if id_ not in {chunk.id for chunk in listed}]
    await index(catalog, claimed, intent(*listed, remove=gone))


def _unused(db: apsw.Connection) -> dict[str, int]:
    """Since when no chunk has these texts."""
    rows = db.execute("SELECT text_hash, unused_since FROM vectors WHERE unused_since IS NOT NULL")
    return {str(text_hash): int(str(since)) for text_hash, since in rows}


async def test_a_vector_outlives_its_text_and_is_there_when_that_comes_back(catalog: Catalog) -> None:
    claimed = await with_texts(catalog, "stays", "goes", "goes too")
    await has_texts(catalog, claimed, "stays")
    await catalog.write(vectors.note_unused, ["goes", "stays", "unknown"], NOW)
    assert await catalog.read(_unused) == {"goes": NOW}
    await catalog.write(vectors.note_unused, ["goes", "goes too"], NOW + 1)
    assert await catalog.read(_unused) == {"goes": NOW, "goes too": NOW + 1}
    every = {text: text.encode() for text in ("stays", "goes", "goes too")}
    assert await catalog.read(vectors.known, "m", every) == every
    await has_texts(catalog, claimed, "stays", "goes")
    await catalog.write(vectors.note_unused, (), NOW + 2)
    assert await catalog.read(_unused) == {"goes too": NOW + 1}
    await has_texts(catalog, claimed, "stays")
    await catalog.write(vectors.note_unused, ["goes"], NOW + 3)
    assert await catalog.read(_unused) == {"goes too": NOW + 1, "goes": NOW + 3}
    assert await catalog.read(vectors.known, "m", every) == every


async def test_all_texts_that_no_chunk_has_can_be_noted_at_once(catalog: Catalog) -> None:
    claimed = await with_texts(catalog, "stays", "goes", "goes too")
    await catalog.write(vectors.remember, "other model", {"goes": b"v"})
    await has_texts(catalog, claimed, "stays")
    await catalog.write(vectors.note_unused, None, NOW)
    await catalog.write(vectors.note_unused, None, NOW + 1)
    assert await catalog.read(_unused) == {"goes": NOW, "goes too": NOW}
    assert await catalog.read(lambda db: int(db.execute("SELECT count(*) FROM vectors WHERE unused_since = ?", (NOW,)).get)) == 3


async def test_of_vectors_without_a_text_only_the_latest_are_kept(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_MOST_UNUSED", 2)
    texts = [f"t{number}" for number in range(5)]
    claimed = await with_texts(catalog, "stays", *texts)
    for number in range(5):
        await has_texts(catalog, claimed, "stays", *texts[number + 1 :])
        await catalog.write(vectors.note_unused, [texts[number]], NOW + number)
    assert await catalog.read(_unused) == {"t3": NOW + 3, "t4": NOW + 4}
    assert set(await catalog.read(vectors.known, "m", ["stays", *texts])) == {"stays", "t3", "t4"}
    await catalog.write(vectors.note_unused, None, NOW + 9)
    assert await catalog.read(_unused) == {"t3": NOW + 3, "t4": NOW + 4}


async def test_vectors_in_use_do_not_count_among_those_without_a_text(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_MOST_UNUSED", 1)
    claimed = await with_texts(catalog, "comes back", "goes", "stays")
    await has_texts(catalog, claimed, "stays", "goes")
    await catalog.write(vectors.note_unused, ["comes back"], NOW)
    await has_texts(catalog, claimed, "stays", "comes back")
    await catalog.write(vectors.note_unused, ["goes"], NOW - 1)
    assert set(await catalog.read(vectors.known, "m", ["stays", "comes back", "goes"])) == {"stays", "comes back", "goes"}
    assert await catalog.read(_unused) == {"goes": NOW - 1}


async def test_a_vector_that_is_made_again_is_in_use(catalog: Catalog) -> None:
    claimed = await with_texts(catalog, "text")
    await has_texts(catalog, claimed)
    await catalog.write(vectors.note_unused, ["text"], NOW)
    await has_texts(catalog, claimed, "text")
    await catalog.write(vectors.remember, "m", {"text": b"again"})
    assert await catalog.read(_unused) == {}
    assert await catalog.read(vectors.known, "m", ["text"]) == {"text": b"again"}


async def test_what_no_chunk_of_one_docset_has_may_be_in_use_in_another(catalog: Catalog) -> None:
    claimed = await with_texts(catalog, "shared", "own")
    await with_frontier(catalog, SEED, id_="bbb")
    await index(catalog, await claim(catalog, "bbb"), intent(piece("theirs", 0, "shared")))
    await has_texts(catalog, claimed)
    await catalog.write(vectors.note_unused, ["shared", "own"], NOW)
    assert await catalog.read(_unused) == {"own": NOW}


async def test_another_model_makes_every_chunk_wait_and_the_same_one_none(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await index(catalog, await claim(catalog), intent(piece("a")), {"a"})
    assert await catalog.read(chunks.shelf_model) is None
    for _ in range(2):
        await catalog.write(chunks.adopt_model, "model-1")
        assert await catalog.read(chunks.shelf_model) == "model-1"
        assert await catalog.read(chunks.waiting, {}, 9) == []
    await catalog.write(chunks.adopt_model, "model-2")
    assert await catalog.read(chunks.shelf_model) == "model-2"
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 9)] == ["a"]
    await catalog.write(chunks.mark_embedded, ["a"])
    await catalog.write(chunks.adopt_model, "model-2")
    assert await catalog.read(chunks.waiting, {}, 9) == []


# -- docsets


async def test_a_name_from_a_page_never_replaces_the_users(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    names = []
    for name, by_user in (("From page", False), ("From page 2", False), ("Mine", True), ("From page 3", False), ("Mine 2", True)):
        await catalog.write(docsets.rename, "aaa", name, by_user=by_user, now=NOW)
        found = await catalog.read(docsets.get, "aaa")
        assert found is not None
        names.append(found.name)
    assert names == ["From page", "From page 2", "Mine", "Mine", "Mine 2"]


async def test_only_the_first_language_that_is_noted_counts(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    for language in ("de", "en"):
        await catalog.write(docsets.set_language, "aaa", language)
    found = await catalog.read(docsets.get, "aaa")
    assert found is not None
    assert found.language == "de"


async def test_limits_and_patterns_of_a_docset_can_be_changed(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, replace(docset(), max_pages=5, include=("/a/*",), exclude=("/b?",)))
    found = await catalog.read(docsets.get, "aaa")
    assert found is not None
    assert (found.max_pages, found.include, found.exclude) == (5, ("/a/*",), ("/b?",))
    await catalog.write(docsets.set_max_pages, "aaa", 7)
    await catalog.write(docsets.set_patterns, "aaa", (), ("/c/*", "/d"))
    found = await catalog.read(docsets.get, "aaa")
    assert found is not None
    assert (found.max_pages, found.include, found.exclude) == (7, (), ("/c/*", "/d"))


async def test_a_site_that_answers_by_https_is_an_https_site_from_then_on(catalog: Catalog) -> None:
    plain = replace(docset(), base_url="http://example.org:8080", seed_url="http://example.org:8080/docs")
    await catalog.write(docsets.insert, plain)
    for _ in range(2):
        await catalog.write(docsets.move_up, "aaa")
        found = await catalog.read(docsets.get, "aaa")
        assert found is not None
        assert (found.base_url, found.seed_url) == ("https://example.org:8080", "https://example.org:8080/docs")
        assert await catalog.read(docsets.on_origin, "https://example.org:8080") == [found]
        assert await catalog.read(docsets.on_origin, "http://example.org:8080") == []


async def test_that_the_sitemaps_were_read_is_noted(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    assert await catalog.read(docsets.sitemaps_read, "aaa") is False
    await catalog.write(docsets.note_sitemaps, "aaa")
    assert await catalog.read(docsets.sitemaps_read, "aaa") is True


async def test_unfinished_are_docsets_with_a_frontier_or_without_an_end(catalog: Catalog) -> None:
    for id_, state in (("new", DocsetState.PENDING), ("crawling", DocsetState.INDEXING), ("waits", DocsetState.READY)):
        await catalog.write(docsets.insert, docset(id_))
        await catalog.write(docsets.set_state, id_, state, None, NOW)
    await catalog.write(docsets.insert, docset("done"))
    await catalog.write(docsets.finish_crawl, "done", DocsetState.READY, None, NOW)
    await catalog.write(frontier.discover, "waits", links(SEED), LIMITS)
    assert {found.id for found in await catalog.read(docsets.unfinished)} == {"new", "crawling", "waits"}


def rows_by_table(db: apsw.Connection) -> dict[str, int]:
    tables = [str(row[0]) for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'meta'")]
    return {table: int(db.execute(f"SELECT count(*) FROM {table}").get) for table in tables}


async def test_delete_removes_everything_of_a_docset(catalog: Catalog) -> None:
    await with_frontier(catalog, A)
    await catalog.write(robots.keep, "aaa", "User-agent: *", NOW)
    await move(catalog, await claim(catalog), SEED)
    await index(catalog, await claim(catalog), intent(piece("a"), follow=[B], passages=[1, 2]))
    await catalog.write(vectors.remember, "model-1", {"hash-a": b"v"})
    await catalog.write(vectors.remember, "model-2", {"hash-a": b"w"})
    await catalog.write(access.keep, "aaa", inside=True, headers={"Cookie": "a=b"})
    assert {table for table, number in (await catalog.read(rows_by_table)).items() if not number} == {"sessions"}
    assert await catalog.write(docsets.delete, "aaa") is True
    assert not any((await catalog.read(rows_by_table)).values())
    assert await catalog.write(docsets.delete, "aaa") is False


async def test_delete_keeps_what_another_docset_has_and_vectors_that_it_shares(catalog: Catalog) -> None:
    for id_, own in (("aaa", "only-a"), ("bbb", "only-b")):
        await with_frontier(catalog, SEED, id_=id_)
        listed = (piece(f"{id_}1", 0, "shared"), piece(f"{id_}2", 1, own))
        await index(catalog, await claim(catalog, id_), intent(*listed, passages=[1]))
    await catalog.write(vectors.remember, "m", {"shared": b"s", "only-a": b"a", "only-b": b"b"})
    await catalog.write(docsets.delete, "aaa")
    assert await catalog.read(vectors.known, "m", ["shared", "only-a", "only-b"]) == {"shared": b"s", "only-b": b"b"}
    assert await catalog.read(chunks.all_ids) == {"bbb1", "bbb2"}
    assert await listed_states(catalog, "bbb") == {SEED: PageState.INDEXED}


# -- symbols


async def test_a_page_keeps_the_names_that_it_explains_and_its_next_commit_replaces_them(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(SEED))
    claimed = await claim(catalog)
    for _ in range(2):
        await index(catalog, claimed)
        assert await catalog.read(symbols.of_page, claimed.page_id) == DOCUMENT.symbols


async def test_a_page_that_gives_way_loses_its_names(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(SEED, A))
    first, second = await claim(catalog), await claim(catalog)
    await index(catalog, second, intent(text="same"))
    await index(catalog, first, intent(text="same"))
    assert await catalog.read(symbols.of_page, second.page_id) == ()
    assert await catalog.read(symbols.of_page, first.page_id) == DOCUMENT.symbols


async def test_names_from_a_list_are_added_to_indexed_pages_that_do_not_tell_them(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(SEED, A))
    claimed = await claim(catalog)
    await index(catalog, claimed)
    listed = [
        (SEED, Symbol("m.f", "function", "elsewhere")),
        (SEED, Symbol("f", "function", "f")),
        (SEED, Symbol("m.g", "data", "g")),
        (A, Symbol("m.h", "data", "h")),
    ]
    assert await catalog.write(symbols.keep_listed, "aaa", listed) == 1
    assert await catalog.read(symbols.of_page, claimed.page_id) == (*DOCUMENT.symbols, Symbol("m.g", "data", "g"))
    assert await catalog.write(symbols.add_listed, "aaa", listed) == 0
    assert await catalog.write(symbols.keep_listed, "aaa", listed) == 1
    assert await catalog.read(symbols.of_page, claimed.page_id) == (*DOCUMENT.symbols, Symbol("m.g", "data", "g"))


async def test_a_newer_list_of_names_takes_the_place_of_an_older_one_in_its_docset_only(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_frontier(catalog, SEED, id_=id_)
        await index(catalog, await claim(catalog, id_))
        await catalog.write(
            symbols.keep_listed, id_, [(SEED, Symbol(f"m.{id_}", "data", "old")), (SEED, Symbol("m.g", "data", "g"))]
        )
    page, other = (frontier.page_id(id_, SEED) for id_ in ("aaa", "bbb"))
    assert (
        await catalog.write(symbols.keep_listed, "aaa", [(SEED, Symbol("m.h", "data", "h")), (SEED, Symbol("m.g", "data", "g"))])
        == 2
    )
    assert await catalog.read(symbols.of_page, page) == (
        *DOCUMENT.symbols,
        Symbol("m.h", "data", "h"),
        Symbol("m.g", "data", "g"),
    )
    assert await catalog.read(symbols.of_page, other) == (
        *DOCUMENT.symbols, Symbol("m.bbb", "data", "old"), Symbol("m.g", "data", "g")
    )  # fmt: skip
    assert await catalog.write(symbols.keep_listed, "aaa", []) == 0
    assert await catalog.read(symbols.of_page, page) == DOCUMENT.symbols


async def test_where_a_site_lists_its_names_and_that_they_were_read_is_noted(catalog: Catalog) -> None:
    assert await catalog.read(docsets.inventory, "aaa") == (None, None)
    await catalog.write(docsets.insert, docset())
    assert await catalog.read(docsets.inventory, "aaa") == (None, None)
    for place in ("first", "second"):
        await catalog.write(docsets.note_inventory, "aaa", f"{SITE}/{place}.inv")
    assert await catalog.read(docsets.inventory, "aaa") == (f"{SITE}/first.inv", None)
    for hash_ in ("", "hash"):
        await catalog.write(docsets.inventory_read, "aaa", hash_)
        assert await catalog.read(docsets.inventory, "aaa") == (f"{SITE}/first.inv", hash_)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("asyncio.create_task", "create_task"),
        ("std::vec::Vec", "vec"),
        ("--dry-run", "dry-run"),
        ("-n", "n"),
        ("Path#resolve", "resolve"),
        ("kettle.Queue.get()", "get"),
        ("SELECT", "select"),
        ("||", "||"),
        ("...", "..."),
    ],
)
def test_a_name_is_found_by_its_last_part(name: str, key: str) -> None:
    assert symbols.key(name) == key


# -- what a search asks about chunks


async def test_a_listed_chunk_tells_its_place_its_section_and_how_long_its_page_is(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    first, second = await claim(catalog), await claim(catalog)
    parts = (piece("a", 0), piece("b", 1), piece("c", 2, section=1))
    await index(catalog, first, intent(*parts), {"b"})
    await index(catalog, second, intent(piece("d"), text="other"))
    assert await catalog.read(chunks.listed, ["c", "unknown", "d", "b"]) == {
        "b": Listed("b", first.page_id, "aaa", 1, 1, 3, 1),
        "c": Listed("c", first.page_id, "aaa", 2, 1, 3, 0),
        "d": Listed("d", second.page_id, "aaa", 0, 0, 1, 0),
    }
    assert await catalog.read(chunks.listed, []) == {}


async def test_a_chunk_that_moves_on_its_page_is_listed_at_its_new_place(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await index(catalog, claimed, intent(piece("a", 0), piece("b", 1, anchor="old"), piece("c", 2, section=1)))
    moved = intent(piece("b", 0, anchor="new"), piece("c", 1, section=0), text="new text", add=(), remove=["a"])
    await index(catalog, claimed, moved, document=naming(Symbol("f", "function", "new")))
    assert await catalog.read(chunks.listed, ["a", "b", "c"]) == {
        "b": Listed("b", claimed.page_id, "aaa", 0, 0, 2, 0),
        "c": Listed("c", claimed.page_id, "aaa", 1, 0, 2, 0),
    }
    assert await catalog.read(chunks.explaining, ["f"], None, 9) == {"b": "f"}


async def test_a_section_is_its_chunks_in_page_order_with_their_lengths(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    first, second = await claim(catalog), await claim(catalog)
    long = replace(piece("long", 2, section=1), text="ü" * 500)
    await index(catalog, first, intent(piece("z", 0), piece("y", 1), long, piece("a", 3, section=1), piece("b", 4)))
    await index(catalog, second, intent(piece("other", 1), text="other"))
    page = first.page_id
    asked_for = [(page, 0), (page, 1), (page, 4), (page, 2), (page, 9), (second.page_id, 1), ("unknown", 0)]
    assert await catalog.read(chunks.sections, asked_for) == {
        (page, 0): [Member("z", 0, 9)],
        (page, 1): [Member("y", 1, 9), Member("long", 2, 500), Member("a", 3, 9)],
        (page, 4): [Member("b", 4, 9)],
        (page, 2): [],
        (page, 9): [],
        (second.page_id, 1): [Member("other", 1, len("text of other"))],
        ("unknown", 0): [],
    }
    assert await catalog.read(chunks.sections, []) == {}


def naming(*symbols: Symbol) -> Document:
    return replace(DOCUMENT, symbols=symbols)


async def explained(catalog: Catalog, *names: str, docset_ids: Collection[str] | None = None, limit: int = 20) -> dict[str, str]:
    """The names that chunks explain, by their ids."""
    return await catalog.read(chunks.explaining, names, docset_ids, limit)


async def with_names(catalog: Catalog, *names: str, id_: str = "aaa") -> None:
    """A page with a chunk for each of these names: `aaa0`, `aaa1`, …"""
    await with_frontier(catalog, SEED, id_=id_)
    listed = [piece(f"{id_}{number}", number, anchor=f"at-{number}") for number in range(len(names))]
    document = naming(*(Symbol(name, "function", f"at-{number}") for number, name in enumerate(names)))
    await index(catalog, await claim(catalog, id_), intent(*listed), document=document)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("asyncio.create_task", ["aaa0"]),
        ("asyncio.create_task()", ["aaa0"]),
        ("Asyncio.CREATE_TASK", ["aaa0"]),
        ("create_task", ["aaa0", "aaa1"]),
        ("create_task()", ["aaa0", "aaa1"]),
        ("Loop.create_task", ["aaa1"]),
        ("events.Loop.create_task", ["aaa1"]),
        ("other.create_task", []),
        ("create", []),
        ("task", []),
        ("Vec", ["aaa2"]),
        ("vec::Vec", ["aaa2"]),
        ("--dry-run", ["aaa3"]),
        ("dry-run", ["aaa3"]),
        ("open", ["aaa4"]),
        ("os.open", ["aaa5"]),
        ("ERR_CLOSED", ["aaa6"]),
        ("err_closed", ["aaa6"]),
        ("unknown", []),
        ("()", []),
        ("'; DROP TABLE symbols; --", []),
    ],
)
async def test_a_name_finds_what_explains_it_whole_or_by_its_end_in_any_case(
    catalog: Catalog, name: str, found: list[str]
) -> None:
    await with_names(
        catalog,
        "asyncio.create_task", "asyncio.events.Loop.create_task()", "std::vec::Vec", "--dry-run", "open", "os.open", "ERR_CLOSED",
    )  # fmt: skip
    assert await explained(catalog, name) == dict.fromkeys(found, name)


async def test_several_names_find_what_explains_each_and_a_chunk_is_found_for_the_first(catalog: Catalog) -> None:
    await with_names(catalog, "a.start", "a.stop", "b.pause")
    assert await explained(catalog, "stop", "a.start", "a.stop", "unknown") == {"aaa0": "a.start", "aaa1": "stop"}
    assert await explained(catalog) == {}


async def test_only_the_docsets_asked_for_explain_a_name(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_names(catalog, "m.f", id_=id_)
    assert await explained(catalog, "f") == {"aaa0": "f", "bbb0": "f"}
    assert await explained(catalog, "f", docset_ids=["bbb"]) == {"bbb0": "f"}
    assert await explained(catalog, "f", docset_ids=["bbb", "aaa", "unknown"]) == {"aaa0": "f", "bbb0": "f"}
    assert await explained(catalog, "f", docset_ids=[]) == {}


async def test_a_name_that_many_chunks_explain_finds_none_but_its_whole_form_does(catalog: Catalog) -> None:
    await with_names(catalog, *(f"Class{number}.run" for number in range(5)))
    assert len(await explained(catalog, "run", limit=5)) == 5
    assert await explained(catalog, "run", limit=4) == {}
    assert await explained(catalog, "run", "Class3.run", limit=4) == {"aaa3": "Class3.run"}


async def test_a_name_without_an_anchor_is_explained_by_the_first_chunk_of_its_page(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    listed = (piece("a", 0), piece("b", 1), piece("c", 2, anchor="here"))
    document = naming(
        Symbol("git rebase", "command", None), Symbol("--onto", "option", "here"), Symbol("lost", "data", "nowhere")
    )
    await index(catalog, await claim(catalog), intent(*listed), document=document)
    assert await explained(catalog, "git rebase", "--onto", "lost") == {"a": "git rebase", "c": "--onto"}


async def test_a_name_is_explained_by_the_first_piece_of_its_section_on_its_own_page(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, A)
    first, second = await claim(catalog), await claim(catalog)
    listed = (piece("z", 0), piece("b", 1, anchor="f"), piece("a", 2, section=1, anchor="f"), piece("c", 3, anchor="g"))
    await index(catalog, first, intent(*listed), document=naming(Symbol("m.f", "function", "f")))
    await index(catalog, second, intent(piece("d", anchor="f"), text="other"), document=naming())
    assert await explained(catalog, "m.f") == {"b": "m.f"}


async def test_of_several_sections_with_one_anchor_the_one_under_the_name_explains_it(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    above = piece("a", 0, anchor="here")
    under = replace(piece("b", 1, anchor="here"), path=("Options", "m.f(x)"))
    document = naming(Symbol("m.f", "function", "here"), Symbol("m.g", "function", "here"))
    await index(catalog, await claim(catalog), intent(above, under), document=document)
    assert await explained(catalog, "m.f", "m.g") == {"b": "m.f", "a": "m.g"}


async def test_names_from_a_list_are_explained_by_the_first_piece_of_their_section(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    listed = (piece("a", 0), piece("b", 1, anchor="g"), piece("c", 2, section=1, anchor="g"))
    await index(catalog, await claim(catalog), intent(*listed), document=naming())
    added = [(SEED, Symbol("m.g", "data", "g")), (SEED, Symbol("m.page", "data", None)), (SEED, Symbol("m.lost", "data", "none"))]
    assert await catalog.write(symbols.keep_listed, "aaa", added) == 3
    assert await explained(catalog, "m.g", "page", "lost") == {"b": "m.g", "a": "page"}


async def test_a_page_that_is_taken_out_explains_nothing(catalog: Catalog) -> None:
    await with_names(catalog, "m.f")
    await catalog.write(pages.leave_out_indexed, frontier.page_id("aaa", SEED), Reason.MANUAL, "It repeats.")
    assert await explained(catalog, "m.f") == {}


# -- Markdown twins


async def test_the_markdown_twin_of_an_indexed_page_becomes_another_address_of_it(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await discover(catalog, links(SEED, A, B))
    html, markdown, other = await claim(catalog), await claim(catalog), await claim(catalog)
    await index(catalog, html)
    committed = await index(catalog, markdown, replace(intent(text="twin"), twins=(B, SEED)))
    assert committed.said == f"is a copy of {SEED}"
    assert (await trace_of(catalog, A)).target == SEED
    await index(catalog, other, replace(intent(text="alone"), twins=(f"{SITE}/nowhere",)))
    assert (await trace_of(catalog, B)).state == PageState.INDEXED


async def test_a_whole_name_is_found_among_many_with_the_same_end(catalog: Catalog) -> None:
    await with_names(catalog, *(f"Class{number}.new" for number in range(300)))
    assert await explained(catalog, "Class250.new") == {"aaa250": "Class250.new"}


async def test_the_end_of_a_name_begins_at_one_of_its_parts(catalog: Catalog) -> None:
    await with_names(catalog, "asyncio.run", "hashlib.md.update")
    assert await explained(catalog, "io.run", "d.update") == {}


async def test_a_chunk_counts_once_however_many_of_its_names_end_so(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    document = naming(*(Symbol(f"C{n}.f", "method", "here") for n in range(30)))
    await index(catalog, await claim(catalog), intent(piece("a", 0, anchor="here")), document=document)
    assert await explained(catalog, "f") == {"a": "f"}


async def test_a_name_without_an_anchor_is_explained_by_its_page(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    listed = (piece("a", 0, anchor="top"), piece("b", 1, anchor="x"))
    await index(catalog, await claim(catalog), intent(*listed), document=naming(Symbol("git rebase", "command", None)))
    assert await explained(catalog, "git rebase") == {"a": "git rebase"}


async def test_names_of_sections_that_were_joined_are_explained_by_the_chunk_of_both(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    codes = ("ERR_A_CLOSED", "ERR_B_CLOSED")
    sections = (Section(2, "Codes", "codes", "All."), *(Section(3, code, code.lower(), "It was closed.") for code in codes))
    document = Document("Errors", None, sections, tuple(Symbol(code, "symbol", code.lower()) for code in codes))
    await index(catalog, await claim(catalog), intent(*chunk(document, "aaa", SEED)), document=document)
    assert len({*(await explained(catalog, codes[0])), *(await explained(catalog, codes[1]))}) == 1


async def test_vectors_of_texts_that_are_gone_are_looked_up_and_not_searched_for(catalog: Catalog) -> None:
    plan = await catalog.read(lambda db: str(list(db.execute("EXPLAIN QUERY PLAN DELETE FROM vectors WHERE text_hash = 'x'"))))
    assert "SEARCH vectors" in plan
    assert "SCAN" not in plan
