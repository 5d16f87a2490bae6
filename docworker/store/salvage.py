"""What can still be read of a damaged catalog → a new one. The damaged file is kept beside it, under another name.

Docsets, pages with their texts, and vectors are taken row by row; chunk lists and names are cut anew from the texts, and what was
lost is asked for again by a refresh, which begins by itself: all pages are marked as read by an older extractor.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from docworker.errors import StoreError
from docworker.store.catalog import connect, said
from docworker.store.frontier import unpack_links
from docworker.store.migrations import columns, migrate
from docworker.store.pages import UNREADABLE
from docworker.store.pages import unpack as unpack_document

_TABLES = ("docsets", "access", "pages", "robots", "vectors", "meta")
_MAX_SKIPPED = 2**20  # rows that cannot be read, one after the other, before the rest is given up


@dataclass(frozen=True, slots=True)
class Salvaged:
    """How many docsets, indexed pages and vectors could be read, and where the damaged file is now."""

    docsets: int
    pages: int
    vectors: int
    damaged: Path


def is_damaged(path: Path) -> bool:
    """Whether the catalog at `path` is there and SQLite finds damage in it (it looks at everything).

    Raises StoreError when it cannot be looked at, as on a full disk.
    """
    if not path.exists():
        return False
    try:
        db = connect(path)
        try:
            return bool(db.pragma("quick_check") != "ok")
        finally:
            db.close()
    except (apsw.CorruptError, apsw.NotADBError):
        return True
    except apsw.Error as error:
        raise StoreError(said(error)) from error


def salvage(path: Path) -> Salvaged:
    """Make a new catalog at `path` of what can be read of the damaged one there. Nobody else may have it open."""
    number = 1
    while (damaged := path.with_name(f"catalog.damaged-{number}.sqlite")).exists():
        number += 1
    scratch = path.with_name("catalog.salvaged.sqlite")
    for suffix in ("", "-wal", "-shm"):
        scratch.with_name(scratch.name + suffix).unlink(missing_ok=True)
    new = connect(scratch)
    try:
        with new:
            migrate(new)
        old = apsw.Connection(str(path))
        try:
            with new:
                for table in _TABLES:
                    _copy(old, new, table)
                new.execute("DELETE FROM pages WHERE docset_id NOT IN (SELECT id FROM docsets)")
                new.execute("DELETE FROM access WHERE docset_id NOT IN (SELECT id FROM docsets)")
                new.execute("DELETE FROM robots WHERE docset_id NOT IN (SELECT id FROM docsets)")
                new.execute("UPDATE pages SET extractor = 0, chunker = 0, content_hash = NULL, rules = NULL")
                new.execute("UPDATE pages SET state = 'pending' WHERE state = 'indexed' AND document IS NULL")
            docsets, pages, vectors = new.execute(
                "SELECT (SELECT count(*) FROM docsets), (SELECT count(*) FROM pages WHERE state = 'indexed'),"
                " (SELECT count(*) FROM vectors)"
            ).get
        finally:
            old.close()
    finally:
        new.close()
    for suffix in ("-wal", "-shm", ""):  # the catalog last: as long as it is there, this can be done again
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(damaged.with_name(damaged.name + suffix))
    scratch.rename(path)
    return Salvaged(docsets, pages, vectors, damaged)


def _copy(old: apsw.Connection, new: apsw.Connection, table: str) -> None:
    try:
        there = columns(old, table)
    except apsw.Error:
        return
    names = [name for name in columns(new, table) if name in there]
    if not names:
        return
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for row in _rows(old, table, names):
        try:
            new.execute(insert, _checked(table, names, row))
        except apsw.ConstraintError:  # a value that is no value of this column any more
            continue


def _checked(table: str, names: list[str], row: "Sequence[Any]") -> "list[Any]":
    """A row without what SQLite takes for whole and is not: texts, links and headers that cannot be unpacked."""
    values = dict(zip(names, row, strict=True))
    if table == "access" and not _headers_whole(values["headers"]):
        values["headers"] = "{}"
    if table == "pages":
        for name, unpack in (("document", unpack_document), ("links", unpack_links)):
            try:
                if values.get(name) is not None:
                    unpack(values[name])
            except UNREADABLE:
                values[name] = None
    return list(values.values())


def _headers_whole(text: object) -> bool:
    try:
        headers = json.loads(str(text))
    except ValueError:
        return False
    return isinstance(headers, dict) and all(isinstance(value, str) for value in headers.values())


def _rows(old: apsw.Connection, table: str, names: list[str]) -> Iterator[tuple[str | int | float | bytes | None, ...]]:
    """The rows that can be read, in order; over each place that cannot, growing steps are taken."""
    listed = ", ".join(names)
    if table in ("docsets", "access", "meta", "robots"):  # few rows, without numbers
        try:
            yield from old.execute(f"SELECT {listed} FROM {table}")
        except (apsw.Error, UnicodeDecodeError):
            return
        return
    at, step = 0, 1
    while step < _MAX_SKIPPED:
        try:
            for rowid, *row in old.execute(f"SELECT rowid, {listed} FROM {table} WHERE rowid > ? ORDER BY rowid", (at,)):
                at, step = int(str(rowid)), 1
                yield tuple(row)
            return
        except (apsw.Error, UnicodeDecodeError):
            at, step = at + step, 2 * step
