"""The shelf: what retrieval needs, in LanceDB, derived from the catalog. Owns all of lancedb and pyarrow.

    chunks     a row per chunk: its words, which BM25 searches, its text, and what else a hit shows of it
    vectors    a row per embedded chunk: id, docset, vector; only ever added to and deleted from

Deleted whole or damaged, it is made again from the catalog without the network: `damaged` is set when that is due.
Vectors stand in a table of their own because LanceDB rewrites a column when it is filled in: 20,500 chunks cost 976 MB of
writes in one table, 59 MB in two (measured).
Reads may run at any time and at once; writes are taken one after the other.

    add → search_words finds the rows at once; add_vectors → search_vector finds them
    tend_forever folds new rows into both indexes, merges small files and drops old versions
"""

import asyncio
import importlib
import logging
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docworker.errors import ShelfDamaged, StoreError
from docworker.store.vocabulary import Vocabulary

if TYPE_CHECKING:  # lancedb takes a second to import: it is loaded when the shelf is opened, not before /health answers
    import lancedb
    import pyarrow as pa

_log = logging.getLogger(__name__)
_CHUNKS, _VECTORS = "chunks", "vectors"
_WORDS_INDEX, _ID_INDEX, _VECTOR_INDEX = "words_idx", "id_idx", "vector_idx"
# BM25 reads rows that are not in its index one by one: about 28 ms for 1,000 of them, while folding them in takes 0.5 s.
# In a large table it has to be a larger share of it: folding in writes the whole table again.
_TEND_ROWS, _TEND_SHARE = 2_000, 0.1
_QUIET_S = 1.0
# Rows written since the last compaction of the vectors; a question then opens some 20 files.
_COMPACT_VECTORS = 5_000
# From so many on, vectors are searched through an index of them as bytes (scalar quantisation). Of the 200 nearest of 68,500
# it finds 198, in 4 ms instead of 110; nearly all of its partitions of 8,192 are searched.
_INDEX_VECTORS = 5_000
_PARTITIONS_SEARCHED = 50
# A question takes milliseconds; a version that was replaced a minute ago is no longer being read.
_KEEP_VERSIONS = timedelta(minutes=1)
# What the system says when the files are not to blame, and what is told.
_NO_DAMAGE = {
    "No space left": "The disk of the data folder is full; make room, and what was interrupted goes on by itself.",
    "Disk quota": "The quota of the data folder's disk is used up; make room, and what was interrupted goes on by itself.",
    "File too large": "A file of the index may not grow (File too large); lift the limit, and what was interrupted goes on.",
    "Read-only file system": "The data folder cannot be written; give its user the right to.",
    "Permission denied": "The data folder cannot be written; give its user the right to.",
    "Too many open files": "docworker has too many files open; raise the limit (ulimit -n), or restart it.",
}
# What LanceDB raises when it comes upon what it thought impossible; neither can be imported.
_PANICS = ("RustPanic", "PanicException")
# LanceDB's own defaults are gigabytes.
_INDEX_CACHE_BYTES, _METADATA_CACHE_BYTES = 128 * 2**20, 32 * 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk as the shelf holds it."""

    id: str
    docset_id: str
    page_id: str
    url: str
    title: str
    path: tuple[str, ...]
    anchor: str | None
    text: str
    words: str


@dataclass(frozen=True, slots=True)
class VectorRow:
    """A chunk's vector: little-endian float32."""

    id: str
    docset_id: str
    vector: bytes


class Shelf:
    """The two tables in a folder of their own."""

    def __init__(
        self,
        database: "lancedb.AsyncConnection",
        chunks: "lancedb.AsyncTable",
        vectors: "lancedb.AsyncTable",
        folder: Path,
        dimensions: int,
    ) -> None:
        self._database = database
        self._chunks = chunks
        self._vectors = vectors
        self._folder = folder
        self._dimensions = dimensions
        self.damaged = asyncio.Event()
        self.remade = 0  # how often: what was found before is worth nothing
        self._vocabulary = Vocabulary()
        self._writing = asyncio.Lock()
        self._new_rows: list[Row] = []
        self._new_written: asyncio.Task[None] | None = None
        self._new_vectors = 0
        self._changed = asyncio.Event()

    @classmethod
    async def open(cls, folder: Path, dimensions: int) -> "Shelf":
        """Open, or make, the shelf in `folder`. Raises ShelfDamaged when it cannot be read, of which `discard` is the cure, and
        StoreError when the disk is full or cannot be written.
        """
        with _told():
            shelf = cls(*await _open_tables(folder, dimensions), folder, dimensions)
            await shelf._count_words()
        await shelf._try_out()
        return shelf

    async def remake(self) -> None:
        """Put an empty shelf in the place of a damaged one."""
        async with self._writing:
            with _told():
                await asyncio.to_thread(self.discard, self._folder)
                # the old tables are not closed: lancedb panics when a question under way meets a closed one
                self._database, self._chunks, self._vectors = await _open_tables(self._folder, self._dimensions)
            self.remade += 1
            self._vocabulary = Vocabulary()
            self._new_vectors = 0
            self.damaged.clear()

    async def is_whole(self) -> bool:
        """Whether all of it can be read after all: a question may fail for another reason than damage."""
        try:
            with self._told():
                for table in (self._chunks, self._vectors):  # every column: a text may be what is damaged
                    async for _ in await table.query().to_batches():
                        pass
            await self._try_out()
        except ShelfDamaged:
            return False
        self.damaged.clear()
        return True

    async def _try_out(self) -> None:
        """Read all files that a question needs."""
        await self.vector_ids()
        await self.search_words([_ID_INDEX], None, 1)
        await self.search_vector(bytes(4 * (self._dimensions - 1)) + b"\0\0\x80?", None, 1)
        await self.load([_ID_INDEX])

    @staticmethod
    def discard(folder: Path) -> None:
        """Delete the shelf's folder; the catalog holds all that it takes to make it again."""
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.unlink(missing_ok=True)

    async def close(self) -> None:
        """Close the tables and their database, after the write under way."""
        async with self._writing:
            self._close_tables()

    def _close_tables(self) -> None:
        for closable in (self._chunks, self._vectors, self._database):
            closable.close()  # type: ignore[no-untyped-call]  # lancedb leaves it out

    # -- writing

    async def add(self, rows: Sequence[Row], *, new: bool = False) -> None:
        """Put chunks on the shelf; one whose id is there already is replaced.

        `new`: none is there, so none is looked for. That is 20 times as fast among a thousand pages just added; and what
        several callers add while another write is under way is written at once, as every write makes the next one slower.
        """
        if not new:
            await self._uncount([row.id for row in rows])
        self._count([row.docset_id for row in rows], [row.words for row in rows])
        if rows and new:
            self._new_rows += rows
            if self._new_written is None:
                self._new_written = asyncio.create_task(self._write(self._add_new))
            await asyncio.shield(self._new_written)
        elif rows:
            await self._write(lambda: _upsert(self._chunks, _chunk_table(rows)))

    async def _add_new(self) -> None:
        rows, self._new_rows, self._new_written = self._new_rows, [], None
        await self._chunks.add(_chunk_table(rows))

    async def add_vectors(self, rows: Sequence[VectorRow], *, new: bool = False) -> None:
        """Put vectors on the shelf; one whose id is there already is replaced. `new`: none is there, so none is looked for."""
        if rows:
            self._new_vectors += len(rows)
            table = _vector_table(rows, self._dimensions)
            await self._write(lambda: self._vectors.add(table) if new else _upsert(self._vectors, table))

    async def forget_vectors(self) -> None:
        """Take all vectors off the shelf, because another model is in use."""
        await self._write(lambda: self._vectors.delete("true"))

    async def remove(self, ids: Collection[str]) -> None:
        """Take chunks and their vectors off the shelf."""
        if ids:
            await self._uncount(ids)
            await self._delete(f"id IN ({_quoted(ids)})")

    async def remove_docset(self, docset_id: str) -> None:
        """Take all that belongs to a docset off the shelf."""
        self._vocabulary.forget(docset_id)
        await self._delete(f"docset_id IN ({_quoted([docset_id])})")

    async def _delete(self, where: str) -> None:
        await self._write(lambda: self._chunks.delete(where))
        await self._write(lambda: self._vectors.delete(where))

    async def _write(self, write: Callable[[], Awaitable[object]]) -> None:
        """One write after the other. A caller that is cancelled leaves the write to its end: what follows waits for it."""

        async def alone() -> None:
            async with self._writing:
                with self._told():
                    await write()
            self._changed.set()

        await asyncio.shield(asyncio.create_task(alone()))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What LanceDB raises as StoreError; a damaged shelf is noted."""
        remade = self.remade
        try:
            with _told():
                yield
        except ShelfDamaged:
            if remade == self.remade:  # else it was the one before
                self.damaged.set()
            raise

    async def tend_forever(self) -> None:
        """Keep the tables small to read: compact when many rows are new, or when nothing was written for a second."""
        with self._told():
            await self._tend_forever()

    async def _tend_forever(self) -> None:
        await self._index_vectors()
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(_QUIET_S)
            stats = await self._chunks.index_stats(_WORDS_INDEX)
            waiting = stats.num_unindexed_rows if stats is not None else 0
            quiet = not self._changed.is_set()
            many = max(_TEND_ROWS, _TEND_SHARE * await self._chunks.count_rows())
            if waiting >= many or (quiet and waiting):
                await self._compact(self._chunks, _KEEP_VERSIONS)
            # not when quiet: a batch of vectors takes a second too, and each time the whole table would be written again
            if self._new_vectors >= _COMPACT_VECTORS:
                self._new_vectors = 0
                await self._index_vectors()
                await self._compact(self._vectors, _KEEP_VERSIONS)
            if quiet:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_KEEP_VERSIONS.total_seconds()):
                        await self._changed.wait()
                    continue  # written to again: what is new is folded in first
                await self.prune()

    async def _index_vectors(self) -> None:
        """Make the vectors' index when they have become many; compacting folds later ones into it."""
        from lancedb.index import IvfSq

        if await self._vectors.count_rows() >= _INDEX_VECTORS and not any(
            index.name == _VECTOR_INDEX for index in await self._vectors.list_indices()
        ):
            async with self._writing:
                await self._vectors.create_index("vector", config=IvfSq(distance_type="cosine"), name=_VECTOR_INDEX)  # type: ignore[arg-type]  # left out of the annotation

    async def _count_words(self) -> None:
        async for batch in await self._chunks.query().select(["docset_id", "words"]).to_batches():
            await asyncio.to_thread(self._count, batch["docset_id"].to_pylist(), batch["words"].to_pylist())

    async def _uncount(self, ids: Collection[str]) -> None:
        """What is to be replaced or taken off is counted no more."""
        with self._told():
            rows = await self._chunks.query().where(f"id IN ({_quoted(ids)})").select(["docset_id", "words"]).to_list()
        for row in rows:
            self._vocabulary.uncount(row["docset_id"], row["words"])

    def _count(self, docset_ids: Sequence[str], words: Sequence[str]) -> None:
        for docset_id, some in zip(docset_ids, words, strict=True):
            self._vocabulary.count(docset_id, some)

    async def prune(self, *, alone: bool = False) -> None:
        """Drop versions that nobody reads any more. `alone`: nobody reads or writes; leftovers of a crash go too."""
        keep = timedelta(milliseconds=1) if alone else _KEEP_VERSIONS
        with self._told():
            for table in (self._chunks, self._vectors):
                await self._compact(table, keep, leftovers=alone)

    async def _compact(self, table: "lancedb.AsyncTable", keep: timedelta, *, leftovers: bool = False) -> None:
        async with self._writing:
            await table.optimize(cleanup_older_than=keep, delete_unverified=leftovers)

    # -- reading

    async def search_words(self, words: Collection[str], docset_ids: Collection[str] | None, limit: int) -> list[tuple[str, str]]:
        """(id, words) of the chunks that share some of `words`, the best by BM25 first."""
        from lancedb.query import MatchQuery

        wanted = MatchQuery(query=" ".join(words), column="words")  # type: ignore[call-arg]  # its defaults are hidden from mypy
        found = self._chunks.query().nearest_to_text(wanted)
        if docset_ids is not None:
            found = found.where(f"docset_id IN ({_quoted(docset_ids)})")
        with self._told():
            rows = await found.select(["id", "words", "_score"]).limit(limit).to_arrow()
            return list(zip(rows["id"].to_pylist(), rows["words"].to_pylist(), strict=True))

    async def search_vector(self, vector: bytes, docset_ids: Collection[str] | None, limit: int) -> list[tuple[str, float]]:
        """(id, cosine similarity) of the chunks nearest to `vector`, best first."""
        import numpy as np

        found = self._vectors.query().nearest_to(np.frombuffer(vector, "<f4")).distance_type("cosine")
        found = found.nprobes(_PARTITIONS_SEARCHED).refine_factor(1)  # distances are those of the vectors, not of their bytes
        if docset_ids is not None:
            found = found.where(f"docset_id IN ({_quoted(docset_ids)})")
        with self._told():
            rows = await found.select(["id", "_distance"]).limit(limit).to_arrow()
        return [(id_, 1 - far) for id_, far in zip(rows["id"].to_pylist(), rows["_distance"].to_pylist(), strict=True)]

    def times(self, words: Collection[str], docset_ids: Collection[str] | None) -> tuple[Mapping[str, int], int]:
        """How often each word stands in the chunks of these docsets, and how many chunks these are."""
        return self._vocabulary.times(words, docset_ids)

    async def load(self, ids: Collection[str]) -> dict[str, Row]:
        """The chunks with these ids, as far as they are there."""
        if not ids:
            return {}
        with self._told():
            rows = await self._chunks.query().where(f"id IN ({_quoted(ids)})").limit(len(ids)).to_list()
        return {row["id"]: Row(**{**row, "path": tuple(row["path"])}) for row in rows}

    async def ids(self, docset_id: str | None = None) -> set[str]:
        """The id of every chunk, of one docset or of all."""
        with self._told():
            return await _ids(self._chunks, docset_id)

    async def catch_up(self) -> None:
        """See what another program has made of the files."""
        with self._told():
            for table in (self._chunks, self._vectors):
                await table.checkout_latest()  # type: ignore[no-untyped-call]  # lancedb leaves it out

    async def vector_ids(self) -> set[str]:
        """The id of every chunk that has its vector."""
        with self._told():
            return await _ids(self._vectors, None)


@contextmanager
def _told() -> Iterator[None]:
    """What LanceDB raises, as StoreError: it says of its files the same things in many ways, of the disk what the system says."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, OSError | RuntimeError | ValueError) and type(error).__name__ not in _PANICS:
            raise
        for sign, sentence in _NO_DAMAGE.items():
            if sign in str(error):
                raise StoreError(sentence) from error
        _log.warning("the shelf is damaged: %s", error)
        raise ShelfDamaged("The index is damaged; it is being made again from what the catalog holds. Try again soon.") from error


async def _open_tables(
    folder: Path, dimensions: int
) -> tuple["lancedb.AsyncConnection", "lancedb.AsyncTable", "lancedb.AsyncTable"]:
    lancedb = await asyncio.to_thread(importlib.import_module, "lancedb")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240  (once, at the start)
    session = lancedb.Session(_INDEX_CACHE_BYTES, _METADATA_CACHE_BYTES)
    database = await lancedb.connect_async(str(folder), session=session)
    tables = [
        await _table(database, name, schema)
        for name, schema in ((_CHUNKS, _chunk_schema()), (_VECTORS, _vector_schema(dimensions)))
    ]
    return database, tables[0], tables[1]


async def _table(database: "lancedb.AsyncConnection", name: str, schema: "pa.Schema") -> "lancedb.AsyncTable":
    """Open a table, or make it; with its indices, also after a crash between the two."""
    from lancedb.index import FTS, BTree

    if name in (await database.list_tables()).tables:
        table = await database.open_table(name)
        if await table.schema() != schema:
            raise ValueError(f"the table {name} has other columns")  # of an older docworker
    else:
        table = await database.create_table(name, schema=schema)
    present = {index.name for index in await table.list_indices()}
    if _ID_INDEX not in present:
        await table.create_index("id", config=BTree(), name=_ID_INDEX)
    if name == _CHUNKS and _WORDS_INDEX not in present:
        as_they_are = FTS(
            base_tokenizer="whitespace",
            max_token_length=None,
            lower_case=False,
            stem=False,
            remove_stop_words=False,
            ascii_folding=False,
        )
        await table.create_index("words", config=as_they_are, name=_WORDS_INDEX)
    return table


async def _upsert(table: "lancedb.AsyncTable", rows: "pa.Table") -> None:
    await table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)


async def _ids(table: "lancedb.AsyncTable", docset_id: str | None) -> set[str]:
    query = table.query() if docset_id is None else table.query().where(f"docset_id IN ({_quoted([docset_id])})")
    return set((await query.select(["id"]).to_arrow())["id"].to_pylist())


def _chunk_schema() -> "pa.Schema":
    import pyarrow as pa

    fields = {name: pa.string() for name in Row.__slots__} | {"path": pa.list_(pa.string())}
    return pa.schema(list(fields.items()))


def _vector_schema(dimensions: int) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([("id", pa.string()), ("docset_id", pa.string()), ("vector", pa.list_(pa.float32(), dimensions))])


def _chunk_table(rows: Sequence[Row]) -> "pa.Table":
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in Row.__slots__}
    return pa.table(columns | {"path": [list(row.path) for row in rows]}, schema=_chunk_schema())


def _vector_table(rows: Sequence[VectorRow], dimensions: int) -> "pa.Table":
    import numpy as np
    import pyarrow as pa

    values = np.concatenate([np.frombuffer(row.vector, "<f4") for row in rows])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), dimensions)
    ids, docset_ids = [row.id for row in rows], [row.docset_id for row in rows]
    return pa.table([pa.array(ids), pa.array(docset_ids), vectors], schema=_vector_schema(dimensions))


def _quoted(values: Collection[str]) -> str:
    """An SQL list of string literals; an empty one matches nothing."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values) or "NULL"
