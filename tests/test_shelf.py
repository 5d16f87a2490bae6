"""The shelf on a real LanceDB folder: what is added is found, what is removed is not, and a lost folder can be made again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import lancedb
import numpy as np
import pytest

from docworker.errors import ShelfDamaged
from docworker.store.shelf import Row, Shelf, VectorRow
from docworker.words import index_words, question_words

DIMENSIONS = 4


def row(id_: str, text: str, docset_id: str = "docs", page_id: str = "page") -> Row:
    words = " ".join(index_words(text))
    return Row(id_, docset_id, page_id, "https://example.org/docs", "Title", ("Above", "Heading"), "anchor", text, words)


def vector(*values: float) -> bytes:
    found = np.array(values, "<f4")
    unit: bytes = (found / np.linalg.norm(found)).astype("<f4").tobytes()
    return unit


def at(id_: str, *values: float, docset_id: str = "docs") -> VectorRow:
    return VectorRow(id_, docset_id, vector(*values))


async def found(shelf: Shelf, query: str, docset_ids: list[str] | None = None, limit: int = 10) -> list[str]:
    return [id_ for id_, _ in await shelf.search_words(question_words(query), docset_ids, limit)]


async def near(shelf: Shelf, *values: float, docset_ids: list[str] | None = None, limit: int = 10) -> list[str]:
    return [id_ for id_, _ in await shelf.search_vector(vector(*values), docset_ids, limit)]


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    opened = await Shelf.open(tmp_path / "shelf", DIMENSIONS)
    yield opened
    await opened.close()


async def test_an_empty_shelf_finds_nothing(shelf: Shelf) -> None:
    assert await found(shelf, "anything") == []
    assert await near(shelf, 1, 0, 0, 0) == []
    assert await shelf.load(["x"]) == {}
    assert await shelf.load([]) == {}
    assert await shelf.ids() == await shelf.vector_ids() == set()


async def test_a_row_is_found_by_its_text_at_once_and_loaded_as_it_was(shelf: Shelf) -> None:
    zebra = row("1", "The zebra crosses the road.")
    await shelf.add([zebra, row("2", "A giraffe stands still.")])
    assert await found(shelf, "zebra") == ["1"]
    assert await shelf.load(["1", "missing"]) == {"1": zebra}


async def test_a_row_without_path_and_anchor_is_loaded_as_it_was(shelf: Shelf) -> None:
    bare = Row("1", "d", "p", "https://example.org/", "", (), None, "Text – ü 漢字 🙂", "Text – ü 漢字 🙂")
    await shelf.add([bare])
    assert await shelf.load(["1"]) == {"1": bare}


async def test_a_question_in_many_words_finds_rows_with_some_of_them_the_best_first(shelf: Shelf) -> None:
    some, most = row("some", "Install the package."), row("most", "How to install with pip.")
    await shelf.add([some, row("none", "Nothing here."), most])
    asked = question_words("how do I install something with pip")
    assert await shelf.search_words(asked, None, 10) == [("most", most.words), ("some", some.words)]


async def test_adding_is_idempotent_by_id(shelf: Shelf) -> None:
    await shelf.add([row("1", "walrus")])
    await shelf.add([row("1", "walrus"), row("2", "penguin")])
    await shelf.add([row("1", "seal")])
    assert await found(shelf, "walrus") == []
    assert await found(shelf, "seal") == ["1"]
    assert await shelf.ids() == {"1", "2"}
    await shelf.add_vectors([at("1", 1, 0, 0, 0)])
    await shelf.add_vectors([at("1", 0, 1, 0, 0), at("2", 1, 0, 0, 0)])
    assert await shelf.vector_ids() == {"1", "2"}
    assert await near(shelf, 0, 1, 0, 0) == ["1", "2"]


async def test_adding_nothing_does_nothing(shelf: Shelf) -> None:
    await shelf.add([])
    await shelf.add_vectors([])
    await shelf.remove([])
    assert await shelf.ids() == set()


async def test_the_docset_filter_works_inside_the_search_not_on_its_first_results(shelf: Shelf) -> None:
    crowd = [row(f"many{number}", "badger badger badger", "many") for number in range(60)]
    await shelf.add([*crowd, row("few1", "one badger among other words of no interest", "few")])
    await shelf.add_vectors([at(f"many{number}", 1, 0.001 * number, 0, 0, docset_id="many") for number in range(60)])
    await shelf.add_vectors([at("few1", 0, 1, 0, 0, docset_id="few")])
    assert await found(shelf, "badger", ["few"], 5) == ["few1"]
    assert await near(shelf, 1, 0, 0, 0, docset_ids=["few"], limit=5) == ["few1"]
    assert len(await found(shelf, "badger", ["few", "many"], 100)) == 61
    assert len(await found(shelf, "badger", None, 100)) == 61


async def test_an_empty_filter_finds_nothing(shelf: Shelf) -> None:
    await shelf.add([row("1", "otter")])
    await shelf.add_vectors([at("1", 1, 0, 0, 0)])
    assert await found(shelf, "otter", []) == []
    assert await near(shelf, 1, 0, 0, 0, docset_ids=[]) == []


@pytest.mark.parametrize("id_", ["it's", "a'b''c", "') OR ('1' = '1", 'say "x"', "back\\slash", "per%cent_", "`tick`"])
async def test_quotes_and_marks_in_ids_are_only_characters(shelf: Shelf, id_: str) -> None:
    await shelf.add([row(id_, "heron", docset_id=id_), row("other", "heron", docset_id="other")])
    await shelf.add_vectors([at(id_, 1, 0, 0, 0, docset_id=id_), at("other", 1, 0, 0, 0, docset_id="other")])
    assert set(await shelf.load([id_])) == {id_}
    assert await found(shelf, "heron", [id_]) == [id_]
    assert await near(shelf, 1, 0, 0, 0, docset_ids=[id_]) == [id_]
    await shelf.remove([id_])
    assert await shelf.ids() == await shelf.vector_ids() == {"other"}
    await shelf.add([row(id_, "heron", docset_id=id_)])
    await shelf.remove_docset(id_)
    assert await shelf.ids() == {"other"}


@pytest.mark.parametrize(
    "query",
    [
        "it's a heron", '"heron', "heron AND", "heron OR (", "(((heron", "heron~2", "+heron -x", "words:heron", "heron*",
        "heron^5", "[heron TO x]", "{heron}", "heron\\", "heron && ||", "'; DROP TABLE chunks; --heron ", "NOT heron",
        "heron\x00",
        "<heron>",
    ],
)  # fmt: skip
async def test_query_syntax_is_only_characters(shelf: Shelf, query: str) -> None:
    await shelf.add([row("1", "A grey heron waits."), row("2", "Something else.")])
    assert await found(shelf, query) == ["1"]
    as_they_stand = [query, *query.split()]
    assert {id_ for id_, _ in await shelf.search_words(as_they_stand, None, 10)} <= {"1"}


@pytest.mark.parametrize("query", ["", " ", "!!!", "***", "()", "🙂", "\x00", "the of and"])
async def test_a_query_without_a_word_that_is_indexed_finds_nothing(shelf: Shelf, query: str) -> None:
    await shelf.add([row("1", "A grey heron waits.")])
    assert await found(shelf, query) == []
    assert await shelf.search_words([query], None, 10) == []


async def test_nearest_come_first_with_their_cosine_similarity(shelf: Shelf) -> None:
    await shelf.add_vectors(
        [at("far", 0, 0, 1, 0), at("same", 2, 0, 0, 0), at("half", 1, 3**0.5, 0, 0), at("against", -1, 0, 0, 0)]
    )
    scored = await shelf.search_vector(vector(1, 0, 0, 0), None, 10)
    assert [id_ for id_, _ in scored] == ["same", "half", "far", "against"]
    assert [score for _, score in scored] == pytest.approx([1.0, 0.5, 0.0, -1.0], abs=1e-5)
    assert await near(shelf, 1, 0, 0, 0, limit=2) == ["same", "half"]


async def test_removed_rows_are_gone_from_both_tables_and_others_stay(shelf: Shelf) -> None:
    await shelf.add([row("1", "lynx"), row("2", "lynx"), row("3", "lynx", "other")])
    await shelf.add_vectors([at("1", 1, 0, 0, 0), at("2", 1, 0, 0, 0), at("3", 1, 0, 0, 0, docset_id="other")])
    await shelf.remove(["1", "unknown"])
    assert await shelf.ids() == await shelf.vector_ids() == {"2", "3"}
    assert sorted(await found(shelf, "lynx")) == sorted(await near(shelf, 1, 0, 0, 0)) == ["2", "3"]
    await shelf.remove_docset("docs")
    assert await shelf.ids() == await shelf.vector_ids() == {"3"}
    assert await found(shelf, "lynx") == await near(shelf, 1, 0, 0, 0) == ["3"]


async def test_forgotten_vectors_leave_the_chunks(shelf: Shelf) -> None:
    await shelf.add([row("1", "lynx")])
    await shelf.add_vectors([at("1", 1, 0, 0, 0)])
    await shelf.forget_vectors()
    assert await near(shelf, 1, 0, 0, 0) == []
    assert await found(shelf, "lynx") == ["1"]
    await shelf.add_vectors([at("1", 0, 1, 0, 0)])
    assert await near(shelf, 1, 0, 0, 0) == ["1"]


async def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    first = await Shelf.open(tmp_path / "shelf", DIMENSIONS)
    await first.add([row("1", "moose"), row("2", "elk")])
    await first.add_vectors([at("1", 1, 0, 0, 0)])
    await first.remove(["2"])
    await first.close()
    second = await Shelf.open(tmp_path / "shelf", DIMENSIONS)
    assert await second.load(["1", "2"]) == {"1": row("1", "moose")}
    assert await found(second, "moose") == await near(second, 1, 0, 0, 0) == ["1"]
    await second.add([row("3", "moose calf")])
    assert sorted(await found(second, "moose")) == ["1", "3"]
    await second.close()


async def test_pruning_alone_drops_old_versions_and_loses_no_row(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    shelf = await Shelf.open(folder, DIMENSIONS)
    for number in range(30):
        await shelf.add([row(str(number), f"common {'k' * number}word")])
        await shelf.add_vectors([at(str(number), 1, number, 0, 0)])
    await shelf.remove([str(number) for number in range(10)])
    before = sum(1 for _ in folder.rglob("*"))
    await shelf.prune(alone=True)
    kept = {str(number) for number in range(10, 30)}
    assert await shelf.ids() == await shelf.vector_ids() == kept
    assert set(await found(shelf, "common", limit=50)) == set(await near(shelf, 1, 0, 0, 0, limit=50)) == kept
    assert await found(shelf, f"{'k' * 17}word") == ["17"]
    assert sum(1 for _ in folder.rglob("*")) < before / 3
    await shelf.close()
    again = await Shelf.open(folder, DIMENSIONS)
    assert await again.ids() == kept
    await again.close()


async def test_ids_are_told_of_one_docset_or_of_all(shelf: Shelf) -> None:
    await shelf.add([row("1", "moose"), row("2", "moose", 'it\'s "other"')])
    assert await shelf.ids() == {"1", "2"}
    assert await shelf.ids("docs") == {"1"}
    assert await shelf.ids('it\'s "other"') == {"2"}
    assert await shelf.ids("unknown") == set()


async def test_pruning_twice_and_an_empty_shelf_are_fine(shelf: Shelf) -> None:
    await shelf.prune(alone=True)
    await shelf.add([row("1", "moose")])
    await shelf.prune(alone=True)
    await shelf.prune(alone=True)
    assert await found(shelf, "moose") == ["1"]


def spoil(folder: Path, how: str) -> None:
    """Do to a shelf's folder what disks and people do."""
    match how:
        case "garbage files":
            for file in [file for file in folder.rglob("*") if file.is_file()]:
                file.write_bytes(b"garbage" * 30)
        case "empty files":
            for file in [file for file in folder.rglob("*") if file.is_file()]:
                file.write_bytes(b"")
        case "no versions":
            for file in list(folder.rglob("*.manifest")):
                file.unlink()
        case "a file in its place":
            Shelf.discard(folder)
            folder.write_text("not a folder", "utf-8")


SPOILT = ["garbage files", "empty files", "no versions", "a file in its place"]


@pytest.mark.parametrize("how", SPOILT)
async def test_a_folder_that_is_spoilt_says_that_it_is_damaged_and_discard_cures_it(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "shelf"
    shelf = await Shelf.open(folder, DIMENSIONS)
    await shelf.add([row("1", "moose")])
    await shelf.close()
    spoil(folder, how)
    with pytest.raises(ShelfDamaged, match=r"^The index is damaged; it is being made again from what the catalog holds\."):
        await Shelf.open(folder, DIMENSIONS)
    Shelf.discard(folder)
    cured = await Shelf.open(folder, DIMENSIONS)
    assert await cured.ids() == set()
    await cured.add([row("2", "moose")])
    assert await found(cured, "moose") == ["2"]
    await cured.close()


async def test_rows_that_come_after_a_quiet_moment_are_folded_into_the_index_soon(shelf: Shelf, tmp_path: Path) -> None:
    """Once quiet, the shelf waits a minute before it drops old versions; what is written meanwhile must not wait that long."""

    async def folded_in(number: int) -> None:
        while True:
            table = await asyncio.to_thread(lambda: lancedb.connect(str(tmp_path / "shelf")).open_table("chunks"))
            stats = await asyncio.to_thread(table.index_stats, "words_idx")
            if stats is not None and (stats.num_indexed_rows, stats.num_unindexed_rows) == (number, 0):
                return
            await asyncio.sleep(0.1)

    tending = asyncio.create_task(shelf.tend_forever())
    try:
        for number in (1, 2):
            await shelf.add([row(str(number), f"badger {number}")])
            await asyncio.wait_for(folded_in(number), 30)
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)


async def test_how_often_words_stand_there_is_told_at_once_and_after_opening_again(tmp_path: Path) -> None:
    shelf = await Shelf.open(tmp_path / "shelf", DIMENSIONS)
    await shelf.add([row("1", "the badger"), row("2", "the otter"), row("3", "the otter", "other")])
    await shelf.add([row("4", "the badger and the badger", "other")], new=True)
    words = ["the", "badger", "otter", "unknown"]
    everywhere = {"the": 5, "badger": 3, "otter": 2, "unknown": 0}, 4
    in_docs = {"the": 2, "badger": 1, "otter": 1, "unknown": 0}, 2
    assert (shelf.times(words, None), shelf.times(words, ["docs"])) == (everywhere, in_docs)
    await shelf.close()
    again = await Shelf.open(tmp_path / "shelf", DIMENSIONS)
    assert (again.times(words, None), again.times(words, ["docs"])) == (everywhere, in_docs)
    await again.remove_docset("other")
    assert again.times(words, None) == in_docs
    await again.close()


async def test_what_is_taken_off_or_replaced_counts_no_more(tmp_path: Path) -> None:
    shelf = await Shelf.open(tmp_path / "shelf", DIMENSIONS)
    await shelf.add([row("1", "the badger"), row("2", "the otter"), row("3", "the otter", "other")], new=True)
    words = ["the", "badger", "otter", "seal"]
    await shelf.add([row("2", "the seal"), row("4", "the seal")])
    await shelf.add([row("4", "the seal")])
    assert shelf.times(words, None) == ({"the": 4, "badger": 1, "otter": 1, "seal": 2}, 4)
    await shelf.remove(["1", "3", "unknown"])
    await shelf.remove(["1"])
    assert shelf.times(words, None) == ({"the": 2, "badger": 0, "otter": 0, "seal": 2}, 2)
    assert shelf.times(words, ["other"]) == ({"the": 0, "badger": 0, "otter": 0, "seal": 0}, 0)
    counted = shelf.times(words, None)
    await shelf.close()
    again = await Shelf.open(tmp_path / "shelf", DIMENSIONS)
    assert again.times(words, None) == counted
    await again.close()


# -- the index of many vectors

WIDE = 32


def random_vectors(number: int, docset_id: str = "docs", seed: int = 1) -> list[VectorRow]:
    values = np.random.default_rng(seed).normal(size=(number, WIDE))
    return [at(f"{docset_id}{place}", *each, docset_id=docset_id) for place, each in enumerate(values)]


def nearest(asked: bytes, among: list[VectorRow], limit: int) -> dict[str, float]:
    """What an exact search finds: ids and cosines, best first."""
    cosines = np.stack([np.frombuffer(each.vector, "<f4") for each in among]) @ np.frombuffer(asked, "<f4")
    return {among[place].id: float(cosines[place]) for place in np.argsort(-cosines)[:limit]}


async def indexed_vectors(folder: Path) -> int | None:
    """How many vectors are in their index; None while there is none."""
    table = await (await lancedb.connect_async(str(folder))).open_table("vectors")
    stats = await table.index_stats("vector_idx")
    return None if stats is None else stats.num_indexed_rows


async def all_indexed(folder: Path, number: int) -> None:
    for _ in range(300):
        if await indexed_vectors(folder) == number:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{await indexed_vectors(folder)} vectors are in the index after 30 s, not {number}")


async def test_many_vectors_are_searched_through_an_index_that_finds_what_an_exact_search_does(tmp_path: Path) -> None:
    shelf = await Shelf.open(tmp_path / "shelf", WIDE)
    crowd = random_vectors(5_500)
    tending = asyncio.create_task(shelf.tend_forever())
    try:
        for start in range(0, len(crowd), 2_000):
            await shelf.add_vectors(crowd[start : start + 2_000])
        few = random_vectors(5, "few", seed=2)
        await shelf.add_vectors(few)

        await all_indexed(tmp_path / "shelf", 5_505)
        for asked in [each.vector for each in random_vectors(20, seed=3)] + [each.vector for each in crowd[:20]]:
            exact = nearest(asked, [*crowd, *few], 5_505)
            found = await shelf.search_vector(asked, None, 100)
            assert found[0][0] == next(iter(exact))
            assert len(dict(found).keys() & set(list(exact)[:100])) >= 95
            assert dict(found) == pytest.approx({id_: exact[id_] for id_, _ in found}, abs=1e-5)
            in_few = dict(await shelf.search_vector(asked, ["few"], 100))
            assert in_few == pytest.approx(nearest(asked, few, 5), abs=1e-5)

        late = random_vectors(3, "late", seed=4)
        await shelf.add_vectors(late)
        await shelf.add_vectors([VectorRow("docs0", "docs", late[0].vector)])
        await shelf.remove(["docs1"])
        for each in late[1:]:
            assert (await shelf.search_vector(each.vector, None, 1))[0][0] == each.id
        assert {id_ for id_, _ in await shelf.search_vector(late[0].vector, None, 2)} == {"docs0", "late0"}
        assert "docs1" not in dict(await shelf.search_vector(crowd[1].vector, None, 100))
        assert len(await shelf.search_vector(late[0].vector, ["late"], 100)) == 3
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await shelf.close()


async def test_a_shelf_that_is_opened_with_many_vectors_and_no_index_makes_it(tmp_path: Path) -> None:
    """A daemon may be stopped between the vectors and their index."""
    first = await Shelf.open(tmp_path / "shelf", WIDE)
    await first.add_vectors(random_vectors(5_000))
    await first.close()
    assert await indexed_vectors(tmp_path / "shelf") is None
    second = await Shelf.open(tmp_path / "shelf", WIDE)
    tending = asyncio.create_task(second.tend_forever())
    try:
        await all_indexed(tmp_path / "shelf", 5_000)
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await second.close()


async def test_new_rows_that_come_while_another_write_goes_on_are_written_together(shelf: Shelf, tmp_path: Path) -> None:
    database = await lancedb.connect_async(str(tmp_path / "shelf"))
    before = await (await database.open_table("chunks")).version()
    await asyncio.gather(
        shelf.add([row("first", "The zebra.")]), *(shelf.add([row(f"{number}", "The okapi.")], new=True) for number in range(20))
    )
    assert await shelf.ids() == {"first", *(f"{number}" for number in range(20))}
    assert await (await database.open_table("chunks")).version() - before < 10


async def test_every_caller_whose_new_rows_could_not_be_written_hears_of_it(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.add([row("first", "The zebra.")])
    Shelf.discard(tmp_path / "shelf")
    (tmp_path / "shelf").write_text("in the way")
    failed = await asyncio.gather(*(shelf.add([row(f"{number}", "x")], new=True) for number in range(5)), return_exceptions=True)
    assert all(isinstance(failure, Exception) for failure in failed)
    assert len(failed) == 5
