"""What a refresh takes over into the catalog that is served: on two real SQLite files, one attached to the other."""

import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from docworker import EXTRACTOR_VERSION
from docworker.model import (
    Asked,
    Chunk,
    Claim,
    Docset,
    DocsetState,
    Document,
    Link,
    NotModified,
    PageState,
    Reason,
    Section,
    Stamp,
    Symbol,
    Turn,
)
from docworker.store import chunks, docsets, frontier, pages, refreshes, robots, symbols, vectors
from docworker.store.catalog import Catalog
from docworker.store.refreshes import Begun, Report
from tests.test_catalog import (
    LIMITS,
    NOW,
    SEED,
    SITE,
    A,
    B,
    C,
    asked,
    claim,
    docset,
    index,
    intent,
    leave_out,
    links,
    listed_states,
    move,
    page_at,
    piece,
    trace_of,
)

BEGUN = Begun(full=False, why="asked for", at=NOW + 10)
LATER = NOW + 20
INVENTORY = f"{SITE}/objects.inv"
Names = tuple[list[tuple[str, Symbol]], str]


@dataclass(frozen=True)
class Text:
    """What a page says: its text, with one chunk, one name and one passage for each of its parts, in this order; and of which
    page it says that it is a copy."""

    parts: tuple[str, ...]
    title: str = "Title"
    canonical: str | None = None

    @property
    def whole(self) -> str:
        return "/".join((self.title, *self.parts))

    def document(self) -> Document:
        sections = tuple(Section(2, part, part, f"About {part}.") for part in self.parts)
        return Document(self.title, None, sections, tuple(Symbol(f"m.{part}", "data", part) for part in self.parts))

    def passages(self) -> list[int]:
        return [zlib.crc32(part.encode()) for part in self.parts]

    def chunks(self, id_: str, url: str) -> list[Chunk]:
        return [
            piece(f"{id_} {url} {self.title} {part}", number, f"text of {part}", anchor=part)
            for number, part in enumerate(self.parts)
        ]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Catalog]:
    opened = await Catalog.open(tmp_path / "catalog.sqlite")
    yield opened
    await opened.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the catalog of the refresh is."""
    return tmp_path / "fresh.sqlite"


Says = Text | Reason | str | None
"""What becomes of a page: a text, left out for a reason, moved to another URL; None: it is as it was."""


async def crawl(catalog: Catalog, site: Mapping[str, Says], *, id_: str = "aaa", before: Catalog | None = None) -> None:
    """Come to these pages, in this order; the first is the seed."""
    await catalog.write(frontier.discover, id_, links(*site), LIMITS)
    while (claimed := await catalog.write(frontier.claim, id_, Turn.LAST, NOW, 60_000)) is not None:
        says = site.get(claimed.url, Reason.GONE)
        if isinstance(says, Text):
            listed = says.chunks(id_, claimed.url)
            what = intent(*listed, text=says.whole, passages=says.passages(), canonical=says.canonical)
            what = replace(what, title=says.title)
            await index(catalog, claimed, what, document=says.document())
        elif isinstance(says, Reason):
            await leave_out(catalog, claimed, reason=says)
        elif isinstance(says, str):
            await move(catalog, claimed, says)
        else:
            assert before is not None
            await keep(catalog, claimed, before)


async def keep(catalog: Catalog, claimed: Claim, before: Catalog, message: str | None = None) -> None:
    """Commit that a page is as it was before, as the crawl of a refresh does."""
    was = await before.read(pages.earlier, claimed.docset_id, claimed.url)
    assert was is not None
    answer = Asked(NotModified(claimed.url, None, None), 304, 1, was.size)
    if was.state is PageState.SKIPPED:
        reason = was.reason or Reason.NO_TEXT
        said = was.message or ""
        await catalog.write(
            pages.commit_left_out, claimed, answer, PageState.SKIPPED, reason, said, was.follow, was.stamp, NOW
        )  # fmt: skip
        return
    what = replace(
        intent(text=was.main_hash, passages=was.passages, follow=was.follow, canonical=was.canonical),
        title=was.title,
        content_hash=was.content_hash or "",
    )
    await catalog.write(pages.commit_indexed, claimed, answer, was.stamp, None, what, (), LATER, message, was.extractor)


async def first_crawl(catalog: Catalog, site: Mapping[str, Says], id_: str = "aaa") -> None:
    await catalog.write(docsets.insert, docset(id_))
    await crawl(catalog, site, id_=id_)
    await catalog.write(docsets.finish_crawl, id_, DocsetState.READY, None, NOW)


def forget(file: Path) -> None:
    """Delete the catalog of an earlier refresh."""
    file.unlink(missing_ok=True)


@asynccontextmanager
async def refreshing(served: Catalog, file: Path, begun: Begun = BEGUN) -> AsyncIterator[Catalog]:
    """The catalog of a refresh that was begun; closed afterwards, so that it can be attached."""
    known = await get(served)
    forget(file)
    fresh = await Catalog.open(file)
    try:
        await fresh.write(refreshes.begin, known, await served.read(frontier.seeds, "aaa"), begun)
        yield fresh
        await fresh.write(docsets.finish_crawl, "aaa", DocsetState.READY, None, LATER)
    finally:
        await fresh.close()


async def publish(served: Catalog, file: Path, names: Names | None = None) -> Report | None:
    return await served.write_from(file, refreshes.publish, "aaa", names, BEGUN, LATER)


async def give_up(served: Catalog, file: Path, message: str, *, begun: Begun = BEGUN, now: int = LATER) -> None:
    if not file.exists():  # noqa: ASYNC240  (a test)
        await (await Catalog.open(file)).close()
    await served.write_from(file, refreshes.fail, "aaa", begun, message, now)


async def refresh(served: Catalog, file: Path, site: Mapping[str, Says], names: Names | None = None) -> Report:
    """Refresh docset `aaa` from what the site is now."""
    async with refreshing(served, file) as fresh:
        await crawl(fresh, site, before=served)
    report = await publish(served, file, names)
    assert report is not None
    return report


def content(db: apsw.Connection, id_: str = "aaa") -> dict[str, list[tuple[object, ...]]]:
    """All that a question, a listing or a later crawl sees of a docset, without times, costs and the places of rows."""
    columns = (
        "url, turn, depth, place, hops, discovered_from, state, reason, message, target, attempts, title, read_as, content_hash,"
        " main_hash, canonical, etag, last_modified, body_hash, rules, extractor, chunker, kept, document, links, links_dropped,"
        " followed, indexed_at IS NULL"
    )
    of_page = "FROM {} AS of JOIN pages ON pages.seq = of.page_seq WHERE of.docset_id = ?1"
    found = {
        "pages": f"SELECT {columns} FROM pages WHERE docset_id = ?1 ORDER BY url",
        "chunks": "SELECT c.id, url, ordinal, section, anchor, chars, text_hash FROM chunks AS c JOIN pages ON pages.id = page_id"
        " WHERE c.docset_id = ?1 ORDER BY url, ordinal",
        "passages": f"SELECT url, hash {of_page.format('passages')} ORDER BY 1, 2",
        "symbols": f"SELECT url, key, name, kind, anchor, chunk, listed {of_page.format('symbols')} ORDER BY 1, 2, 3, 4, 5, 6",
        "names": "SELECT inventory, inventory_hash FROM docsets WHERE id = ?1",
    }
    return {name: db.execute(query, (id_,)).fetchall() for name, query in found.items()}


def rows(db: apsw.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, as it stands there."""
    tables = [str(row[0]) for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return {table: sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in tables}


def watch(db: apsw.Connection) -> None:
    """From here on, note for each row that is written in which table it stands."""
    db.execute("CREATE TEMP TABLE written (name TEXT)")
    for table in ("docsets", "pages", "passages", "symbols", "robots", "chunks", "vectors", "meta"):
        for event in ("INSERT", "UPDATE", "DELETE"):
            db.execute(
                f"CREATE TEMP TRIGGER {table}_{event} AFTER {event} ON main.{table}"
                f" BEGIN INSERT INTO written VALUES ('{table}'); END"
            )


def written(db: apsw.Connection) -> dict[str, int]:
    """How many rows of each table were written since they are watched."""
    return {str(name): int(str(number)) for name, number in db.execute("SELECT name, count(*) FROM written GROUP BY name")}


async def get(catalog: Catalog, id_: str = "aaa") -> Docset:
    found = await catalog.read(docsets.get, id_)
    assert found is not None
    return found


ONE, TWO, THREE = Text(("one", "shared")), Text(("two", "more", "shared")), Text(("three",))
THREE_PAGES: dict[str, Says] = {SEED: ONE, A: TWO, B: THREE}
AS_IT_WAS: dict[str, Says] = dict.fromkeys(THREE_PAGES)


# -- beginning


async def test_the_catalog_of_a_refresh_begins_with_its_docset_and_seeds_and_says_why(served: Catalog, file: Path) -> None:
    known = replace(
        docset(), name="Mine", named=True, max_pages=7, include=("/docs/*",), exclude=("/docs/old/*",), language="de",
        state=DocsetState.READY, message="It reached a limit.", crawled_at=NOW,
    )  # fmt: skip
    await served.write(docsets.insert, known)
    await served.write(frontier.discover, "aaa", [Link(SEED, 0, None), Link(B, 0, None), Link(A, 1, SEED)], LIMITS)
    begun = Begun(full=True, why="docworker reads otherwise", at=NOW + 5)
    async with refreshing(served, file, begun) as fresh:
        found = await fresh.read(refreshes.begun)
        assert found == (replace(known, language=None, message=None, crawled_at=None), begun)
        assert await listed_states(fresh) == {SEED: PageState.PENDING, B: PageState.PENDING}
        for place, url in enumerate((SEED, B), 1):
            assert await claim(fresh) == Claim(frontier.page_id("aaa", url), "aaa", url, 0, Turn.LINKED, 0, 1)
            assert await fresh.read(_place, url) == place


def _place(db: apsw.Connection, url: str) -> int:
    number: int = db.execute("SELECT place FROM pages WHERE url = ?", (url,)).get
    return number


async def test_a_refresh_begins_from_the_docsets_first_page_wherever_that_has_moved(served: Catalog, file: Path) -> None:
    await first_crawl(served, {SEED: A, A: ONE})
    async with refreshing(served, file) as fresh:
        assert await listed_states(fresh) == {SEED: PageState.PENDING}


async def test_the_seeds_of_a_site_that_went_over_to_https_are_asked_by_https(served: Catalog, file: Path) -> None:
    plain = "http://example.org"
    await served.write(docsets.insert, replace(docset(), base_url=plain, seed_url=f"{plain}/docs"))
    seeds = [Link(f"{plain}/docs", 0, None), Link(f"{plain}/docs/b", 0, None)]
    await served.write(frontier.discover, "aaa", seeds, LIMITS)
    await served.write(docsets.move_up, "aaa")
    async with refreshing(served, file) as fresh:
        assert list(await listed_states(fresh)) == [f"{SITE}/docs", f"{SITE}/docs/b"]


async def test_an_empty_catalog_is_of_no_refresh(file: Path) -> None:
    fresh = await Catalog.open(file)
    assert await fresh.read(refreshes.begun) is None
    await fresh.close()


# -- progress


async def test_progress_tells_the_pages_met_those_that_wait_chunks_without_a_vector_and_why_it_pauses(
    served: Catalog, file: Path
) -> None:
    await first_crawl(served, THREE_PAGES)
    async with refreshing(served, file) as fresh:
        assert await fresh.read(refreshes.progress, "aaa") == (1, 1, 0, None)
        await fresh.write(frontier.discover, "aaa", links(A, B, C), LIMITS)
        assert await fresh.read(refreshes.progress, "aaa") == (4, 4, 0, None)
        await index(fresh, await claim(fresh), intent(piece("x"), piece("y", 1)), {"x"})
        await move(fresh, await claim(fresh), SEED)
        await claim(fresh)
        await fresh.write(docsets.set_state, "aaa", DocsetState.INDEXING, "The site does not answer.", NOW)
        assert await fresh.read(refreshes.progress, "aaa") == (3, 2, 1, "The site does not answer.")
        assert await fresh.read(refreshes.progress, "unknown") == (0, 0, 0, None)
        assert await fresh.read(refreshes.indexed, "aaa") == 1
    assert await served.read(refreshes.indexed, "aaa") == 3


# -- publishing: what is written


async def test_a_site_that_is_as_it_was_leaves_every_chunk_name_passage_and_vector_unwritten(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES | {C: Reason.NO_TEXT})
    before, seen = await served.read(rows), await served.read(content)
    await served.write(watch)
    report = await refresh(served, file, dict.fromkeys((*THREE_PAGES, C)))
    assert report == Report(BEGUN.at, LATER, False, True, None, requests=4, pages=3, not_modified=3)
    assert await served.write(written) == {"docsets": 2, "pages": 4}  # when each was asked and what that cost
    after = await served.read(rows)
    assert {name for name in before if before[name] != after[name]} == {"docsets", "pages"}
    assert await served.read(content) == seen
    for url in THREE_PAGES:
        trace = await trace_of(served, url)
        assert (trace.http_status, trace.requests, trace.indexed_at) == (304, 1, NOW)


async def test_a_page_that_was_asked_for_again_with_the_same_answer_is_not_written_at_all(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    await refresh(served, file, AS_IT_WAS)
    await served.write(watch)
    await refresh(served, file, AS_IT_WAS)
    assert await served.write(written) == {"docsets": 2}


async def test_of_a_page_that_has_changed_only_the_chunks_that_differ_are_written(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    await served.write(chunks.mark_embedded, sorted(await served.read(chunks.all_ids)))
    before = await served.read(_seqs)
    await served.write(watch)
    report = await refresh(served, file, AS_IT_WAS | {A: Text(("two", "new", "shared"))})
    assert report == Report(BEGUN.at, LATER, False, True, None, requests=3, pages=3, not_modified=2, changed=1)
    assert (await served.write(written))["chunks"] == 2
    after = await served.read(_seqs)
    gone, new = f"aaa {A} Title more", f"aaa {A} Title new"
    assert before.keys() - after.keys() == {gone}
    assert after.keys() - before.keys() == {new}
    assert all(after[id_] == seq for id_, seq in before.items() if id_ != gone)
    assert [chunk.chunk_id for chunk in await served.read(chunks.waiting, {}, 9)] == [new]
    assert (await trace_of(served, A)).indexed_at == NOW
    assert await served.read(chunks.explaining, ["m.new", "m.more", "m.shared"], None, 9) == {
        new: "m.new", f"aaa {A} Title shared": "m.shared", f"aaa {SEED} Title shared": "m.shared"
    }  # fmt: skip


def _seqs(db: apsw.Connection) -> dict[str, int]:
    return {str(id_): int(str(seq)) for id_, seq in db.execute("SELECT id, seq FROM chunks")}


async def test_chunks_that_changed_places_are_moved_and_keep_their_vectors(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    await served.write(chunks.mark_embedded, sorted(await served.read(chunks.all_ids)))
    await served.write(watch)
    await refresh(served, file, AS_IT_WAS | {A: Text(("shared", "more", "two"))})
    assert (await served.write(written))["chunks"] == 2
    assert await served.read(pages.chunk_ids, frontier.page_id("aaa", A)) == (
        f"aaa {A} Title shared", f"aaa {A} Title more", f"aaa {A} Title two"
    )  # fmt: skip
    assert await served.read(chunks.waiting, {}, 9) == []
    assert (await served.read(docsets.counts, "aaa", NOW)).embedded == 6


async def test_a_page_that_was_read_anew_and_says_the_same_has_not_changed_and_is_whole(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    seen = await served.read(content)
    await served.write(watch)
    report = await refresh(served, file, THREE_PAGES)
    assert (report.not_modified, report.changed, report.added, report.removed) == (0, 0, 0, 0)
    assert "chunks" not in await served.write(written)
    assert await served.read(content) == seen


async def test_pages_that_are_new_gone_moved_or_left_out_are_so_from_then_on(served: Catalog, file: Path) -> None:
    other = f"{SEED}/other"
    await first_crawl(served, {SEED: ONE, A: TWO, B: THREE, C: Text(("four",)), other: Reason.NO_TEXT})
    report = await refresh(
        served, file, {SEED: None, A: Reason.GONE, B: f"{SEED}/moved", f"{SEED}/moved": THREE, other: Text(("five",))}
    )
    assert report == Report(
        BEGUN.at, LATER, False, True, None, requests=5, pages=3, not_modified=1, changed=0, added=2, removed=3
    )
    assert await listed_states(served) == {
        SEED: PageState.INDEXED, A: PageState.SKIPPED, f"{SEED}/moved": PageState.INDEXED, other: PageState.INDEXED
    }  # fmt: skip
    assert (await page_at(served, A)).message == "Because: gone."
    assert (await page_at(served, B)).url == f"{SEED}/moved"
    assert await served.read(pages.by_url, "aaa", C) is None
    assert await served.read(chunks.all_ids) == {
        f"aaa {SEED} Title one", f"aaa {SEED} Title shared", f"aaa {SEED}/moved Title three", f"aaa {other} Title five"
    }  # fmt: skip
    assert await served.read(lambda db: db.execute("PRAGMA foreign_key_check").fetchall()) == []
    assert await served.read(lambda db: db.execute("PRAGMA integrity_check").get) == "ok"


async def test_a_page_that_could_not_be_had_is_kept_and_told_apart(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    seen = await served.read(content)
    async with refreshing(served, file) as fresh:
        await crawl(fresh, {SEED: None, A: None}, before=served)
        await fresh.write(frontier.discover, "aaa", links(B), LIMITS)
        await keep(fresh, await claim(fresh), served, "Taken as it was before: no answer.")
    report = await publish(served, file)
    assert report == Report(BEGUN.at, LATER, False, True, None, requests=3, pages=3, not_modified=2, unsure=1)
    page = await page_at(served, B)
    assert (page.state, page.message) == (PageState.INDEXED, "Taken as it was before: no answer.")
    after = await served.read(content)
    assert {name for name in seen if seen[name] != after[name]} == {"pages"}
    assert (await refresh(served, file, AS_IT_WAS)).unsure == 0
    assert await served.read(content) == seen


async def test_what_another_extractor_read_is_said_to_be_read_by_that_as_long_as_it_is_kept(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    await served.write(lambda db: db.execute("UPDATE pages SET extractor = ? WHERE url = ?", (EXTRACTOR_VERSION - 1, A)))
    await refresh(served, file, AS_IT_WAS)
    assert await served.read(pages.read_otherwise) == ["aaa"]
    await refresh(served, file, AS_IT_WAS | {A: TWO})
    assert await served.read(pages.read_otherwise) == []


async def test_newer_validators_of_a_page_that_is_as_it_was_are_taken(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    newer = Stamp('"newer"', None, "hash of the body", "other rules")
    async with refreshing(served, file) as fresh:
        claimed = await claim(fresh)
        was = await served.read(pages.earlier, "aaa", SEED)
        assert was is not None
        what = replace(intent(text=was.main_hash, passages=was.passages), content_hash=was.content_hash or "")
        await fresh.write(pages.commit_indexed, claimed, asked(SEED), newer, None, what, (), LATER)
        await crawl(fresh, {A: None, B: None}, before=served)
    await publish(served, file)
    before = await served.read(pages.earlier, "aaa", SEED)
    assert before is not None
    assert before.stamp == newer
    assert len(before.chunks) == 2


async def test_other_docsets_are_left_as_they_are(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES, "bbb")
    await first_crawl(served, THREE_PAGES)
    await served.write(robots.keep, "bbb", "User-agent: theirs", NOW)
    await served.write(symbols.keep_listed, "bbb", [(A, Symbol("theirs", "data", "two"))])
    await served.write(vectors.remember, "m", {"text of two": b"2", "text of three": b"3"})

    def theirs(db: apsw.Connection) -> dict[str, list[tuple[object, ...]]]:
        key = {"docsets": "id", "vectors": "'bbb'", "meta": "'bbb'"}
        return {
            table: db.execute(f"SELECT * FROM {table} WHERE {key.get(table, 'docset_id')} = 'bbb'").fetchall()
            for table in rows(db)
            if table not in ("aliases", "sessions")
        }

    before = await served.read(theirs)
    await refresh(served, file, {SEED: Text(("new",)), C: Text(("newer",))}, ([], "hash"))
    assert await served.read(theirs) == before


# -- publishing: what comes of it is what a first crawl would have come to


def some_text() -> st.SearchStrategy[Text]:
    parts = st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True).map(tuple)
    canonical = st.sampled_from([None, None, None, SEED, A, B, f"{SEED}/d"])
    return st.builds(Text, parts, st.sampled_from(["Title", "Other"]), canonical)


def some_site() -> st.SearchStrategy[dict[str, Says]]:
    urls = (A, B, C, f"{SEED}/d", f"{SEED}/e")
    says = st.one_of(some_text(), some_text(), st.sampled_from([Reason.GONE, Reason.NOINDEX]), st.sampled_from([SEED, *urls]))
    rest = st.lists(st.tuples(st.sampled_from(urls), says), max_size=5, unique_by=lambda each: each[0])
    return st.builds(lambda seed, others: {SEED: seed, **{url: says for url, says in others if url != says}}, some_text(), rest)


def some_names() -> st.SearchStrategy[frozenset[tuple[str, str]] | None]:
    return st.none() | st.frozensets(st.tuples(st.sampled_from([SEED, A, B, C]), st.sampled_from("abxyz")), max_size=4)


def names_of(found: Iterable[tuple[str, str]] | None) -> Names | None:
    """The names that a site lists; None when it has no list."""
    listed = [(url, Symbol(f"listed.{name}", "data", name)) for url, name in sorted(found or ())]
    return None if found is None else (listed, f"hash of {listed}")


async def names_kept(catalog: Catalog, names: Names | None) -> None:
    """What a first crawl does with them at its end."""
    if names is not None:
        await catalog.write(symbols.keep_listed, "aaa", names[0])
        await catalog.write(docsets.inventory_read, "aaa", names[1])


@given(
    before=some_site(), after=some_site(), read_anew=st.frozensets(st.sampled_from([SEED, A, B, C])),
    names=some_names(), later_names=some_names(),
)  # fmt: skip
@example(before={SEED: ONE, A: TWO}, after={SEED: TWO, A: TWO}, read_anew=frozenset(), names=None, later_names=None)
@example(before={SEED: ONE, A: ONE}, after={SEED: TWO, A: ONE}, read_anew=frozenset(), names=None, later_names=None)
@example(
    before={SEED: ONE, A: TWO}, after={SEED: ONE, A: TWO}, read_anew=frozenset({A}),
    names=frozenset({(A, "x")}), later_names=frozenset({(A, "x")}),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
async def test_a_refresh_comes_to_what_a_first_crawl_would_have_come_to(
    before: dict[str, Says],
    after: dict[str, Says],
    read_anew: frozenset[str],
    names: frozenset[tuple[str, str]] | None,
    later_names: frozenset[tuple[str, str]] | None,
) -> None:
    with TemporaryDirectory() as folder:
        served = await Catalog.open(Path(folder) / "catalog.sqlite")
        first = await Catalog.open(Path(folder) / "first.sqlite")
        try:
            await first_crawl(served, before)
            await names_kept(served, names_of(names))
            was_indexed = {url for url, state in (await listed_states(served)).items() if state is PageState.INDEXED}
            same = {url for url, says in after.items() if before.get(url) == says}
            same = {url for url in same if url in was_indexed or isinstance(after[url], Reason)}
            kept = dict.fromkeys(same - read_anew)
            report = await refresh(served, Path(folder) / "fresh.sqlite", after | kept, names_of(later_names))
            await first_crawl(first, after)
            await names_kept(first, names_of(later_names))
            expected, found = await first.read(content), await served.read(content)
            assert found == expected
            indexed = {url for url, state in (await listed_states(served)).items() if state is PageState.INDEXED}
            assert report.pages == len(indexed)
            assert (report.added, report.removed) == (len(indexed - was_indexed), len(was_indexed - indexed))
            assert report.not_modified == len(indexed & kept.keys())
            texts = [(before[url], after[url]) for url in indexed & was_indexed]
            assert report.changed == sum(
                isinstance(was, Text) and isinstance(now, Text) and (was.parts, was.title) != (now.parts, now.title)
                for was, now in texts
            )
            assert await served.read(lambda db: db.execute("PRAGMA foreign_key_check").fetchall()) == []
        finally:
            await first.close()
            await served.close()


# -- publishing: names that the site lists


LISTED = [(SEED, Symbol("listed.one", "data", "x")), (A, Symbol("listed.two", "data", "y"))]


def listed_names(db: apsw.Connection) -> list[tuple[str, str]]:
    """The names that came from the site's own list, with their pages."""
    found = db.execute("SELECT url, name FROM symbols JOIN pages ON pages.seq = page_seq WHERE listed ORDER BY url, name")
    return [(str(url), str(name)) for url, name in found]


async def with_names(served: Catalog) -> None:
    await first_crawl(served, THREE_PAGES)
    await served.write(docsets.note_inventory, "aaa", INVENTORY)
    await names_kept(served, (LISTED, "hash"))


async def test_a_list_of_names_that_is_as_it_was_is_not_written_again(served: Catalog, file: Path) -> None:
    await with_names(served)
    await served.write(watch)
    await refresh(served, file, AS_IT_WAS, (LISTED, "hash"))
    assert "symbols" not in await served.write(written)
    assert await served.read(listed_names) == [(SEED, "listed.one"), (A, "listed.two")]


async def test_a_list_of_names_that_has_changed_takes_the_place_of_the_older_one(served: Catalog, file: Path) -> None:
    await with_names(served)
    newer = [(A, Symbol("listed.two", "data", "y")), (B, Symbol("listed.three", "data", "z"))]
    await refresh(served, file, AS_IT_WAS, (newer, "newer hash"))
    assert await served.read(listed_names) == [(A, "listed.two"), (B, "listed.three")]
    assert (await served.read(docsets.inventory, "aaa"))[1] == "newer hash"


async def test_names_of_a_page_that_has_changed_are_looked_up_anew_in_the_same_list(served: Catalog, file: Path) -> None:
    await with_names(served)
    told = Text(("x", "one"))
    await refresh(served, file, AS_IT_WAS | {SEED: told, C: THREE}, (LISTED, "hash"))
    assert await served.read(listed_names) == [(A, "listed.two")]  # the seed tells the other itself now
    assert await served.read(symbols.of_page, frontier.page_id("aaa", SEED)) == told.document().symbols


async def test_a_list_that_cannot_be_read_leaves_the_names_of_pages_that_are_as_they_were(served: Catalog, file: Path) -> None:
    await with_names(served)
    await refresh(served, file, AS_IT_WAS, ([], ""))
    assert await served.read(listed_names) == [(SEED, "listed.one"), (A, "listed.two")]
    await refresh(served, file, AS_IT_WAS | {B: Text(("new",))}, ([], ""))
    assert await served.read(listed_names) == [(SEED, "listed.one"), (A, "listed.two")]


async def test_names_of_a_page_that_changed_while_their_list_could_not_be_read_come_back_with_it(
    served: Catalog, file: Path
) -> None:
    await with_names(served)
    await refresh(served, file, AS_IT_WAS | {SEED: Text(("one", "new"))}, ([], ""))
    await refresh(served, file, AS_IT_WAS, (LISTED, "hash"))
    assert await served.read(listed_names) == [(SEED, "listed.one"), (A, "listed.two")]
    assert (await served.read(docsets.inventory, "aaa"))[1] == "hash"


async def test_a_site_that_lists_no_names_any_more_has_none(served: Catalog, file: Path) -> None:
    await with_names(served)
    await refresh(served, file, AS_IT_WAS, None)
    assert await served.read(listed_names) == []
    assert await served.read(docsets.inventory, "aaa") == (None, None)


async def test_a_list_that_could_not_be_read_before_is_read_now(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    await names_kept(served, ([], ""))
    async with refreshing(served, file) as fresh:
        await crawl(fresh, AS_IT_WAS, before=served)
        await fresh.write(docsets.note_inventory, "aaa", INVENTORY)
    await publish(served, file, (LISTED, "hash"))
    assert await served.read(listed_names) == [(SEED, "listed.one"), (A, "listed.two")]
    assert await served.read(docsets.inventory, "aaa") == (INVENTORY, "hash")


# -- publishing: vectors


async def test_vectors_that_the_refresh_made_are_taken_and_those_of_texts_that_are_gone_wait_for_them(
    served: Catalog, file: Path
) -> None:
    await first_crawl(served, THREE_PAGES)
    every = {f"text of {part}": part.encode() for part in ("one", "two", "more", "three", "shared")}
    await served.write(vectors.remember, "m", every)
    await served.write(chunks.mark_embedded, sorted(await served.read(chunks.all_ids)))
    async with refreshing(served, file) as fresh:
        await crawl(fresh, {SEED: None, A: Text(("new", "shared"))}, before=served)
        await fresh.write(vectors.remember, "m", {"text of new": b"new", "text of shared": b"shared"})
        await fresh.write(chunks.mark_embedded, [f"aaa {A} Title new", f"aaa {A} Title shared"])
    report = await publish(served, file)
    assert report is not None
    assert report.embedded == 2
    known = every | {"text of new": b"new"}
    assert await served.read(vectors.known, "m", known) == known
    assert await served.read(unused) == {"text of two": LATER, "text of more": LATER, "text of three": LATER}
    assert await served.read(chunks.waiting, {}, 9) == []
    await refresh(served, file, {SEED: None, A: None, B: THREE}, None)
    assert await served.read(unused) == {"text of two": LATER, "text of more": LATER}
    assert await served.read(vectors.known, "m", known) == known


def unused(db: apsw.Connection) -> dict[str, int]:
    found = db.execute("SELECT text_hash, unused_since FROM vectors WHERE unused_since IS NOT NULL")
    return {str(text_hash): int(str(since)) for text_hash, since in found}


async def test_a_text_that_another_docset_has_stays_in_use(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES, "bbb")
    await first_crawl(served, THREE_PAGES | {C: Text(("own",))})
    await served.write(vectors.remember, "m", {"text of two": b"2", "text of own": b"o"})
    await refresh(served, file, {SEED: None})
    assert await served.read(unused) == {"text of own": LATER}


async def test_a_vector_that_got_on_the_shelf_on_either_side_is_there(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    one, shared = f"aaa {SEED} Title one", f"aaa {SEED} Title shared"
    async with refreshing(served, file) as fresh:
        await crawl(fresh, {SEED: ONE, A: TWO, B: None}, before=served)
        await fresh.write(chunks.mark_embedded, [one])
    await served.write(chunks.mark_embedded, [shared])
    await served.write(watch)
    await publish(served, file)
    assert (await served.write(written))["chunks"] == 1
    assert await served.read(chunks.all_embedded) == {one, shared}


# -- publishing: the docset itself


async def test_a_docset_takes_over_what_its_first_page_and_the_crawl_told(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    await served.write(docsets.set_language, "aaa", "de")
    await served.write(docsets.note_inventory, "aaa", f"{SITE}/old.inv")
    await served.write(robots.keep, "aaa", "User-agent: old", NOW)
    async with refreshing(served, file) as fresh:
        await crawl(fresh, AS_IT_WAS, before=served)
        await fresh.write(docsets.rename, "aaa", "From its page", by_user=False, now=LATER)
        await fresh.write(docsets.set_language, "aaa", "en")
        await fresh.write(docsets.note_inventory, "aaa", INVENTORY)
        await fresh.write(docsets.note_sitemaps, "aaa")
        await fresh.write(robots.keep, "aaa", "User-agent: new", NOW + 15)
    fresh = await Catalog.open(file)
    await fresh.write(docsets.finish_crawl, "aaa", DocsetState.READY, "It reached a limit.", NOW + 16)
    await fresh.close()
    await publish(served, file)
    assert await get(served) == replace(
        docset(), name="From its page", language="en", state=DocsetState.READY, message="It reached a limit.",
        updated_at=LATER, crawled_at=LATER,
    )  # fmt: skip
    assert (await served.read(docsets.inventory, "aaa"))[0] == INVENTORY
    assert await served.read(docsets.sitemaps_read, "aaa") is True
    assert await served.read(robots.kept, "aaa", NOW + 15) == "User-agent: new"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_name_that_the_user_gave_is_kept(served: Catalog, file: Path, when: str) -> None:
    await first_crawl(served, THREE_PAGES)
    if when == "before":
        await served.write(docsets.rename, "aaa", "Mine", by_user=True, now=NOW)
    async with refreshing(served, file) as fresh:
        await crawl(fresh, AS_IT_WAS, before=served)
        await fresh.write(docsets.rename, "aaa", "From its page", by_user=False, now=LATER)
    if when == "meanwhile":
        await served.write(docsets.rename, "aaa", "Mine", by_user=True, now=NOW)
    await publish(served, file)
    found = await get(served)
    assert (found.name, found.named) == ("Mine", True)


async def test_limits_and_patterns_that_were_given_meanwhile_are_kept(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    async with refreshing(served, file) as fresh:
        await crawl(fresh, AS_IT_WAS, before=served)
    await served.write(docsets.set_max_pages, "aaa", 7)
    await served.write(docsets.set_patterns, "aaa", ("/docs/*",), ("/docs/a",))
    await publish(served, file)
    found = await get(served)
    assert (found.max_pages, found.include, found.exclude) == (7, ("/docs/*",), ("/docs/a",))


async def test_a_seed_that_was_given_meanwhile_still_waits(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    async with refreshing(served, file) as fresh:
        await crawl(fresh, AS_IT_WAS, before=served)
    await served.write(frontier.discover, "aaa", [Link(C, 0, None)], LIMITS)
    report = await publish(served, file)
    assert report is not None
    assert (report.pages, report.removed) == (3, 0)
    assert await listed_states(served) == dict.fromkeys(THREE_PAGES, PageState.INDEXED) | {C: PageState.PENDING}
    assert await served.read(frontier.seeds, "aaa") == [SEED, C]
    assert (await claim(served)).url == C


async def test_a_site_that_went_over_to_https_is_an_https_site_from_then_on(served: Catalog, file: Path) -> None:
    plain = "http://example.org"
    await served.write(docsets.insert, replace(docset(), base_url=plain, seed_url=f"{plain}/docs"))
    await served.write(frontier.discover, "aaa", [Link(f"{plain}/docs", 0, None)], LIMITS)
    await index(served, await claim(served), intent(piece("x")))
    async with refreshing(served, file) as fresh:
        await fresh.write(docsets.move_up, "aaa")
        await move(fresh, await claim(fresh), SEED)
        await index(fresh, await claim(fresh), intent(piece("y")))
    await publish(served, file)
    found = await get(served)
    assert (found.base_url, found.seed_url) == (SITE, SEED)
    assert await served.read(docsets.on_origin, SITE) == [found]
    assert await served.read(chunks.all_ids) == {"y"}
    assert (await page_at(served, f"{plain}/docs")).url == SEED


async def test_nothing_comes_of_the_refresh_of_a_docset_that_was_deleted_meanwhile(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES, "bbb")
    await first_crawl(served, THREE_PAGES)
    async with refreshing(served, file) as fresh:
        await crawl(fresh, AS_IT_WAS | {C: Text(("new",))}, before=served)
        await fresh.write(vectors.remember, "m", {"text of new": b"new"})
        await fresh.write(robots.keep, "aaa", "", NOW)
    await served.write(docsets.delete, "aaa")
    before = await served.read(rows)
    assert await publish(served, file, (LISTED, "hash")) is None
    assert await served.read(rows) == before


async def test_a_publication_that_fails_half_way_leaves_all_as_it_was_and_can_be_done_again(
    served: Catalog, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await first_crawl(served, THREE_PAGES)
    async with refreshing(served, file) as fresh:
        await crawl(fresh, {SEED: None, A: Text(("new",)), C: THREE}, before=served)
    before = await served.read(rows)

    def fail(*given_: object) -> None:
        raise apsw.FullError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(refreshes, "note", fail)
        with pytest.raises(Exception, match="disk of the data folder is full"):
            await publish(served, file)
    assert await served.read(rows) == before
    report = await publish(served, file)
    assert report is not None
    assert (report.changed, report.added, report.removed) == (1, 1, 1)


async def test_what_was_published_can_be_published_again(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    await refresh(served, file, {SEED: None, A: Text(("new",)), C: THREE}, (LISTED, "hash"))
    seen = await served.read(content)
    report = await publish(served, file, (LISTED, "hash"))
    assert report is not None
    assert (report.pages, report.not_modified, report.changed, report.added, report.removed) == (3, 1, 0, 0, 0)
    assert await served.read(content) == seen


# -- what is said of it afterwards


async def test_what_a_refresh_came_to_is_kept_until_the_next_one(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    assert await served.read(refreshes.report, "aaa") is None
    assert await served.read(refreshes.report, "unknown") is None
    report = await refresh(served, file, {SEED: None, A: Text(("new",)), C: Text(("newer",))})
    assert await served.read(refreshes.report, "aaa") == report
    await give_up(served, file, "The site is gone.", begun=replace(BEGUN, full=True), now=LATER + 1)
    assert await served.read(refreshes.report, "aaa") == Report(BEGUN.at, LATER + 1, True, False, "The site is gone.")


async def test_a_refresh_that_fails_changes_nothing_but_what_is_said(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    await served.write(docsets.set_state, "aaa", DocsetState.INDEXING, None, NOW)
    seen = await served.read(content)
    await served.write(watch)
    await give_up(served, file, "Only a login page.")
    assert (await served.write(written)).keys() == {"docsets"}
    assert await served.read(content) == seen
    assert await get(served) == replace(
        docset(), state=DocsetState.READY, message="Only a login page.", updated_at=LATER, crawled_at=NOW
    )


async def test_the_vectors_that_a_failed_refresh_made_are_not_made_again(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES)
    async with refreshing(served, file) as fresh:
        await crawl(fresh, {SEED: None, A: Text(("new",))}, before=served)
        texts = [hash_ for (hash_,) in await fresh.read(lambda db: db.execute("SELECT text_hash FROM chunks").fetchall())]
        await fresh.write(vectors.remember, "model", dict.fromkeys(map(str, texts), b"vector"))
    await give_up(served, file, "Only a login page.")
    assert texts
    assert await served.read(vectors.known, "model", map(str, texts)) == dict.fromkeys(texts, b"vector")
    assert await served.read(lambda db: db.execute("SELECT count(*) FROM vectors WHERE unused_since = ?", (LATER,)).get) == len(
        texts
    )


async def test_a_refresh_that_fails_where_nothing_was_indexed_leaves_the_docset_in_error(served: Catalog, file: Path) -> None:
    await first_crawl(served, {SEED: Reason.NO_TEXT})
    await give_up(served, file, "Nothing again.")
    found = await get(served)
    assert (found.state, found.message) == (DocsetState.ERROR, "Nothing again.")


async def test_the_failure_of_a_docset_that_was_deleted_meanwhile_is_nobodys(served: Catalog, file: Path) -> None:
    await first_crawl(served, THREE_PAGES, "bbb")
    before = await served.read(rows)
    await give_up(served, file, "Gone.")
    assert await served.read(rows) == before
