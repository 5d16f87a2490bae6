"""The catalog on a real SQLite file: transactions, the frontier, the commit that proves a page, and what deleting leaves."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from docworker import SCHEMA_VERSION
from docworker.errors import StoreError
from docworker.model import (
    Chunk,
    Claim,
    Docset,
    DocsetState,
    Document,
    Fetched,
    PageIntent,
    PageState,
    Section,
)
from docworker.store import chunks, docsets, pages
from docworker.store.catalog import Catalog

NOW = 1_700_000_000_000
LEASE_MS = 60_000
SITE = "https://example.org"
SEED = f"{SITE}/docs"


def docset(id_: str = "aaa", *, seed: str = SEED, created_at: int = NOW) -> Docset:
    return Docset(
        id_, "Example", False, SITE, seed, ("/docs",), None, DocsetState.PENDING, None, created_at, created_at, None
    )  # fmt: skip


def piece(id_: str, ordinal: int = 0, text_hash: str | None = None) -> Chunk:
    return Chunk(id_, ordinal, ("Heading",), None, f"text of {id_}", f"search text of {id_}", text_hash or f"hash-{id_}")


def intent(
    *listed: Chunk, add: Sequence[Chunk] | None = None, remove: Sequence[str] = (), follow: Sequence[str] = ()
) -> PageIntent:
    return PageIntent("Title", "content", listed, tuple(listed if add is None else add), tuple(remove), tuple(follow))


def fetched(url: str = SEED) -> Fetched:
    return Fetched(url, "text/html", "utf-8", b"<p>", '"etag"', "Sat, 01 Jan 2000 00:00:00 GMT")


DOCUMENT = Document("Title", "Site", (Section(1, "Title", "top", "Some *text* – ü."), Section(2, "f", None, "`f()`", True)))


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    opened = await Catalog.open(tmp_path / "catalog.sqlite")
    yield opened
    await opened.close()


async def with_frontier(catalog: Catalog, *urls: str, id_: str = "aaa") -> None:
    await catalog.write(docsets.insert, docset(id_))
    await catalog.write(pages.discover, id_, urls, 0, None, 1_000)


async def claim(catalog: Catalog, id_: str = "aaa", now: int = NOW) -> Claim:
    claimed = await catalog.write(pages.claim, id_, now, LEASE_MS)
    assert claimed is not None
    return claimed


async def listed_states(catalog: Catalog, id_: str = "aaa") -> dict[str, PageState]:
    found, _ = await catalog.read(pages.listing, id_, None, 1_000, 0)
    return {page.url: page.state for page in found}


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
async def test_a_file_of_another_schema_version_is_refused_with_a_sentence(tmp_path: Path, version: int) -> None:
    file = tmp_path / "catalog.sqlite"
    await (await Catalog.open(file)).close()
    db = apsw.Connection(str(file))
    db.pragma("user_version", version)
    db.close()
    with pytest.raises(
        StoreError, match=rf"another docworker \(schema {version}, this one reads {SCHEMA_VERSION}\).*--data-dir\.$"
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


@pytest.mark.parametrize("content", [b"this is no database, " * 500, b"\x00" * 8192], ids=["text", "zeros"])
async def test_a_file_that_is_not_sqlite_gives_a_store_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "catalog.sqlite"
    file.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be used"):
        await Catalog.open(file)
    assert file.read_bytes() == content


async def test_a_folder_that_does_not_exist_gives_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        await Catalog.open(tmp_path / "missing" / "catalog.sqlite")


# -- the frontier


async def test_concurrent_claims_take_distinct_pages_and_all_of_them(catalog: Catalog) -> None:
    urls = [f"{SEED}/{number}" for number in range(40)]
    await with_frontier(catalog, *urls)
    claimed = await asyncio.gather(*(catalog.write(pages.claim, "aaa", NOW, LEASE_MS) for _ in range(50)))
    taken = [one.url for one in claimed if one is not None]
    assert sorted(taken) == sorted(urls)
    assert claimed.count(None) == 10


async def test_claims_are_nearest_first_then_in_order_of_discovery(catalog: Catalog) -> None:
    await catalog.write(docsets.insert, docset())
    await catalog.write(pages.discover, "aaa", [f"{SEED}/far"], 3, None, 100)
    await catalog.write(pages.discover, "aaa", [f"{SEED}/near2", f"{SEED}/near1"], 1, None, 100)
    await catalog.write(pages.discover, "aaa", [SEED], 0, None, 100)
    order = [(await claim(catalog)).url for _ in range(4)]
    assert order == [SEED, f"{SEED}/near2", f"{SEED}/near1", f"{SEED}/far"]
    assert await catalog.write(pages.claim, "aaa", NOW, LEASE_MS) is None


async def test_a_claim_takes_only_pages_of_its_docset(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, id_="aaa")
    await with_frontier(catalog, SEED, id_="bbb")
    assert (await claim(catalog, "bbb")).docset_id == "bbb"
    assert await catalog.write(pages.claim, "bbb", NOW, LEASE_MS) is None
    assert (await claim(catalog, "aaa")).docset_id == "aaa"


async def test_a_leased_page_is_claimed_again_only_when_the_lease_has_run_out(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    first = await claim(catalog)
    assert await catalog.write(pages.claim, "aaa", NOW + LEASE_MS, LEASE_MS) is None
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
    await with_frontier(catalog, SEED, f"{SEED}/a", f"{SEED}/b")
    done, held = await claim(catalog), await claim(catalog)
    await catalog.write(pages.commit_left_out, done, PageState.SKIPPED, "gone", (), 100, NOW)
    await catalog.write(pages.release, "aaa")
    assert await listed_states(catalog) == {
        SEED: PageState.SKIPPED, held.url: PageState.PENDING, f"{SEED}/b": PageState.PENDING
    }  # fmt: skip
    assert (await claim(catalog)).page_id == held.page_id


async def test_release_leaves_the_leases_of_other_docsets(catalog: Catalog) -> None:
    for id_ in ("aaa", "bbb"):
        await with_frontier(catalog, SEED, id_=id_)
        await claim(catalog, id_)
    await catalog.write(pages.release, "aaa")
    assert await listed_states(catalog, "aaa") == {SEED: PageState.PENDING}
    assert await listed_states(catalog, "bbb") == {SEED: PageState.FETCHING}


async def test_a_page_that_never_came_to_an_outcome_is_given_up_after_max_attempts(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    for attempt in range(1, pages.MAX_ATTEMPTS + 1):
        assert (await claim(catalog)).attempts == attempt
        await catalog.write(pages.release, "aaa")
    page = await catalog.read(pages.by_url, "aaa", SEED)
    assert page is not None
    assert page.state is PageState.ERROR
    assert page.message is not None
    assert page.message.startswith(f"Given up: docworker ended {pages.MAX_ATTEMPTS} times")
    assert await catalog.write(pages.claim, "aaa", NOW, LEASE_MS) is None


async def test_a_page_given_back_waits_again_and_its_attempt_does_not_count(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    for _ in range(pages.MAX_ATTEMPTS + 1):
        claimed = await claim(catalog)
        assert claimed.attempts == 1
        await catalog.write(pages.give_back, claimed)
    assert await listed_states(catalog) == {SEED: PageState.PENDING}


async def test_retry_puts_only_a_page_that_was_left_out_back(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, f"{SEED}/ok")
    failed, good = await claim(catalog), await claim(catalog)
    await catalog.write(pages.commit_left_out, failed, PageState.ERROR, "down", (), 100, NOW)
    await catalog.write(pages.commit_indexed, good, fetched(good.url), DOCUMENT, intent(piece("x")), set(), 100, NOW)
    for url in (failed.url, good.url):
        await catalog.write(pages.retry, "aaa", url)
    assert await listed_states(catalog) == {failed.url: PageState.PENDING, good.url: PageState.INDEXED}
    assert await catalog.read(pages.waiting, "aaa")


async def test_a_page_put_back_after_it_was_given_up_gets_its_attempts_anew(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    for _ in range(pages.MAX_ATTEMPTS):
        await claim(catalog)
        await catalog.write(pages.release, "aaa")
    await catalog.write(pages.retry, "aaa", SEED)
    await claim(catalog)
    await catalog.write(pages.release, "aaa")
    assert await listed_states(catalog) == {SEED: PageState.PENDING}


async def test_discover_keeps_to_max_pages_and_counts_every_page(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await catalog.write(pages.discover, "aaa", [f"{SEED}/{n}" for n in range(10)], 1, SEED, 4)
    assert list(await listed_states(catalog)) == [SEED, f"{SEED}/0", f"{SEED}/1", f"{SEED}/2"]
    await catalog.write(pages.discover, "aaa", [f"{SEED}/more"], 1, SEED, 4)
    assert len(await listed_states(catalog)) == 4


async def test_discover_leaves_known_pages_as_they_are_and_they_take_no_room(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await catalog.write(pages.commit_left_out, claimed, PageState.SKIPPED, "gone", (), 100, NOW)
    await catalog.write(pages.discover, "aaa", [SEED, SEED, f"{SEED}/a", f"{SEED}/a", f"{SEED}/b"], 1, SEED, 3)
    assert await listed_states(catalog) == {
        SEED: PageState.SKIPPED, f"{SEED}/a": PageState.PENDING, f"{SEED}/b": PageState.PENDING
    }  # fmt: skip


async def test_links_beyond_the_limit_are_counted_and_followed_when_it_grows(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    follow = [f"{SEED}/{n}" for n in range(5)]
    await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, intent(piece("x"), follow=follow), set(), 3, NOW)
    assert await catalog.read(pages.not_followed, "aaa") == 3
    await catalog.write(pages.follow_left_out, "aaa", 5)
    assert await catalog.read(pages.not_followed, "aaa") == 1
    assert list(await listed_states(catalog)) == [SEED, *follow[:4]]


# -- aliases


async def test_an_alias_leaves_no_page_and_its_target_takes_its_place_at_the_same_depth(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await catalog.write(pages.commit_alias, claimed, f"{SEED}/start", 100)
    assert await listed_states(catalog) == {f"{SEED}/start": PageState.PENDING}
    assert (await claim(catalog)).depth == claimed.depth


async def test_an_alias_is_never_discovered_again(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await catalog.write(pages.commit_alias, await claim(catalog), f"{SEED}/start", 100)
    await catalog.write(pages.discover, "aaa", [SEED, f"{SEED}/start", f"{SEED}/new"], 1, None, 100)
    assert list(await listed_states(catalog)) == [f"{SEED}/start", f"{SEED}/new"]


async def test_aliases_resolve_through_every_step_to_the_page(catalog: Catalog) -> None:
    await with_frontier(catalog, f"{SEED}/1")
    for number in (2, 3, 4):
        await catalog.write(pages.commit_alias, await claim(catalog), f"{SEED}/{number}", 100)
    assert await catalog.read(pages.resolve, "aaa", f"{SEED}/1") == f"{SEED}/4"
    assert await catalog.read(pages.resolve, "aaa", f"{SEED}/unknown") == f"{SEED}/unknown"
    page = await catalog.read(pages.by_url, "aaa", f"{SEED}/1")
    assert page is not None
    assert page.url == f"{SEED}/4"


async def test_aliases_are_of_one_docset(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, id_="aaa")
    await with_frontier(catalog, SEED, id_="bbb")
    await catalog.write(pages.commit_alias, await claim(catalog, "aaa"), f"{SEED}/start", 100)
    assert await catalog.read(pages.resolve, "bbb", SEED) == SEED


async def test_a_circle_of_aliases_ends_and_leaves_no_page(catalog: Catalog) -> None:
    await with_frontier(catalog, f"{SEED}/1")
    await catalog.write(pages.commit_alias, await claim(catalog), f"{SEED}/2", 100)
    await catalog.write(pages.commit_alias, await claim(catalog), f"{SEED}/1", 100)
    assert await catalog.read(pages.resolve, "aaa", f"{SEED}/1") in (f"{SEED}/1", f"{SEED}/2")
    assert await catalog.read(pages.by_url, "aaa", f"{SEED}/1") is None
    assert await listed_states(catalog) == {}


# -- the commit that proves a page


async def test_an_indexed_page_is_listed_with_its_chunks_in_page_order_and_its_document(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    listed = (piece("z", 0), piece("a", 1), piece("m", 2))
    await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, intent(*listed), {"a"}, 100, NOW + 5)
    page = await catalog.read(pages.by_url, "aaa", SEED)
    assert page is not None
    assert (page.state, page.title, page.message, page.fetched_at, page.indexed_at) == (
        PageState.INDEXED, "Title", None, NOW + 5, NOW + 5
    )  # fmt: skip
    assert await catalog.read(pages.chunk_ids, claimed.page_id) == ("z", "a", "m")
    assert await catalog.read(chunks.all_ids) == {"z", "a", "m"}
    ((_, page_id, docset_id, url, document),) = await catalog.read(pages.documents, 0, 10)
    assert (page_id, docset_id, url, document) == (claimed.page_id, "aaa", SEED, DOCUMENT)
    counted = await catalog.read(docsets.counts, "aaa", NOW)
    assert (counted.pages, counted.chunks, counted.embedded) == ({PageState.INDEXED: 1}, 3, 1)


async def test_a_new_commit_keeps_embedded_of_unchanged_chunks_and_drops_removed_ones(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, intent(piece("a", 0), piece("b", 1)), set(), 9, NOW)
    await catalog.write(chunks.mark_embedded, ["a", "b"])
    again = intent(piece("c", 0), piece("b", 1), add=[piece("c", 0)], remove=["a"])
    await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, again, set(), 9, NOW + 1)
    assert await catalog.read(pages.chunk_ids, claimed.page_id) == ("c", "b")
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 10)] == ["c"]
    assert set(await catalog.read(chunks.listed, ["a", "b", "c"])) == {"b", "c"}


async def test_a_commit_that_fails_half_way_leaves_the_page_unindexed(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    broken = intent(piece("a", 0), Chunk("b", 1, (), None, "", "", None))  # type: ignore[arg-type]
    with pytest.raises(apsw.ConstraintError):
        await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, broken, set(), 9, NOW)
    assert await listed_states(catalog) == {SEED: PageState.FETCHING}
    assert await catalog.read(chunks.all_ids) == set()


async def test_chunks_wait_for_their_vector_in_the_order_they_came(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED, f"{SEED}/2")
    for listed in ((piece("z", 0), piece("y", 1)), (piece("a", 0),)):
        claimed = await claim(catalog)
        await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, intent(*listed), set(), 9, NOW)
    first = await catalog.read(chunks.waiting, {}, 2)
    assert [chunk.chunk_id for chunk in first] == ["z", "y"]
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {first[-1].docset_id: first[-1].seq}, 2)] == ["a"]
    assert await catalog.write(chunks.mark_embedded, ["z", "y", "unknown"]) == ["unknown"]
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 2)] == ["a"]


async def test_the_docset_with_the_fewest_waiting_chunks_gets_its_vectors_first(catalog: Catalog) -> None:
    for docset_id, names in (("big", ("a", "b", "c")), ("small", ("d",))):
        await with_frontier(catalog, f"{SEED}/{docset_id}", id_=docset_id)
        listed = [piece(name, ordinal) for ordinal, name in enumerate(names)]
        claimed = await claim(catalog, docset_id)
        await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, intent(*listed), set(), 9, NOW)
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 2)] == ["d"]
    await catalog.write(chunks.mark_embedded, ["d"])
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 2)] == ["a", "b"]


async def test_keep_embedded_agrees_with_the_shelf_both_ways(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    claimed = await claim(catalog)
    await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, intent(piece("a", 0), piece("b", 1)), {"a"}, 9, NOW)
    await catalog.write(chunks.keep_embedded, {"b", "unknown"})
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 9)] == ["a"]


async def test_listing_filters_by_state_and_pages_through_without_gaps(catalog: Catalog) -> None:
    urls = [f"{SEED}/{number}" for number in range(7)]
    await with_frontier(catalog, *urls)
    for _ in range(3):
        await catalog.write(pages.commit_left_out, await claim(catalog), PageState.SKIPPED, "gone", (), 100, NOW)
    skipped, total = await catalog.read(pages.listing, "aaa", PageState.SKIPPED, 2, 0)
    assert ([page.url for page in skipped], total) == (urls[:2], 3)
    seen = []
    for offset in range(0, 8, 2):
        found, total = await catalog.read(pages.listing, "aaa", None, 2, offset)
        assert total == 7
        seen += [page.url for page in found]
    assert seen == urls


# -- vectors


async def test_vectors_are_remembered_by_model_and_text(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    listed = replace(piece("a"), text_hash="h1"), replace(piece("b", 1), text_hash="h2")
    await catalog.write(pages.commit_indexed, await claim(catalog), fetched(), DOCUMENT, intent(*listed), set(), 9, NOW)
    await catalog.write(chunks.remember_vectors, "model-1", {"h1": b"one", "h2": b"two"})
    await catalog.write(chunks.remember_vectors, "model-2", {"h1": b"other"})
    await catalog.write(chunks.remember_vectors, "model-1", {"h2": b"two again"})
    assert await catalog.read(chunks.vectors, "model-1", ["h1", "h2", "h3"]) == {"h1": b"one", "h2": b"two again"}
    assert await catalog.read(chunks.vectors, "model-2", ["h1", "h2"]) == {"h1": b"other"}


async def test_a_vector_of_a_text_that_is_gone_is_not_remembered(catalog: Catalog) -> None:
    await catalog.write(chunks.remember_vectors, "model-1", {"gone": b"late"})
    assert await catalog.read(chunks.vectors, "model-1", ["gone"]) == {}


async def test_another_model_makes_every_chunk_wait_and_the_same_one_none(catalog: Catalog) -> None:
    await with_frontier(catalog, SEED)
    await catalog.write(pages.commit_indexed, await claim(catalog), fetched(), DOCUMENT, intent(piece("a")), {"a"}, 9, NOW)
    assert await catalog.write(chunks.adopt_model, "model-1") is False
    assert await catalog.write(chunks.adopt_model, "model-1") is False
    assert await catalog.read(chunks.waiting, {}, 9) == []
    assert await catalog.write(chunks.adopt_model, "model-2") is True
    assert [chunk.chunk_id for chunk in await catalog.read(chunks.waiting, {}, 9)] == ["a"]
    assert await catalog.write(chunks.adopt_model, "model-2") is False


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


async def test_unfinished_are_docsets_with_a_frontier_or_without_an_end(catalog: Catalog) -> None:
    for id_, state in (("new", DocsetState.PENDING), ("crawling", DocsetState.INDEXING), ("waits", DocsetState.READY)):
        await catalog.write(docsets.insert, docset(id_))
        await catalog.write(docsets.set_state, id_, state, None, NOW)
    await catalog.write(docsets.insert, docset("done"))
    await catalog.write(docsets.finish_crawl, "done", DocsetState.READY, None, NOW)
    await catalog.write(pages.discover, "waits", [SEED], 0, None, 9)
    assert {found.id for found in await catalog.read(docsets.unfinished)} == {"new", "crawling", "waits"}


def rows_by_table(db: apsw.Connection) -> dict[str, int]:
    tables = [str(row[0]) for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'meta'")]
    return {table: int(db.execute(f"SELECT count(*) FROM {table}").get) for table in tables}


async def test_delete_removes_everything_of_a_docset(catalog: Catalog) -> None:
    await with_frontier(catalog, f"{SEED}/old")
    await catalog.write(pages.commit_alias, await claim(catalog), SEED, 100)
    filled = intent(piece("a"), follow=[f"{SEED}/next"])
    await catalog.write(pages.commit_indexed, await claim(catalog), fetched(), DOCUMENT, filled, set(), 100, NOW)
    await catalog.write(chunks.remember_vectors, "model-1", {"hash-a": b"v"})
    await catalog.write(chunks.remember_vectors, "model-2", {"hash-a": b"w"})
    assert all((await catalog.read(rows_by_table)).values())
    assert await catalog.write(docsets.delete, "aaa") is True
    assert not any((await catalog.read(rows_by_table)).values())
    assert await catalog.write(docsets.delete, "aaa") is False


async def test_delete_keeps_what_another_docset_has_and_vectors_that_it_shares(catalog: Catalog) -> None:
    for id_, own in (("aaa", "only-a"), ("bbb", "only-b")):
        await with_frontier(catalog, SEED, id_=id_)
        listed = (piece(f"{id_}1", 0, "shared"), piece(f"{id_}2", 1, own))
        claimed = await claim(catalog, id_)
        await catalog.write(pages.commit_indexed, claimed, fetched(), DOCUMENT, intent(*listed), set(), 9, NOW)
    await catalog.write(chunks.remember_vectors, "m", {"shared": b"s", "only-a": b"a", "only-b": b"b"})
    await catalog.write(docsets.delete, "aaa")
    assert await catalog.read(chunks.vectors, "m", ["shared", "only-a", "only-b"]) == {"shared": b"s", "only-b": b"b"}
    assert await catalog.read(chunks.all_ids) == {"bbb1", "bbb2"}
    assert await listed_states(catalog, "bbb") == {SEED: PageState.INDEXED}
