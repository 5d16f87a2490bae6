"""The catalog: SQLite through apsw, in WAL mode. Owns the connections and what a transaction is.

The tables are spoken to by plain functions that take a connection (`docsets.py`, `pages.py`, `chunks.py`); the catalog runs
them. One thread owns the writing connection and one the reading connection, so that a question never waits behind a
commit and the event loop never waits at all:

    await catalog.write(pages.commit_indexed, claim, intent, …)     one IMMEDIATE transaction
    await catalog.read(pages.listing, docset_id, …)                 one snapshot
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import apsw

from docworker.errors import StoreError
from docworker.store.migrations import migrate, refuse_foreign

_BUSY_TIMEOUT_MS = 5_000
_LONGEST_WAL = 2**20
# What is the data folder's fault, and may be over later; anything else is a bug.
_TROUBLES = (
    apsw.FullError,
    apsw.ReadOnlyError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.IOError,
    apsw.CantOpenError,
)

P = ParamSpec("P")
T = TypeVar("T")


class Catalog:
    """Two connections to `catalog.sqlite`, each in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(1, "catalog-write")
        self._reader = ThreadPoolExecutor(1, "catalog-read")
        self._write_db: apsw.Connection
        self._read_db: apsw.Connection

    @classmethod
    async def open(cls, path: Path) -> "Catalog":
        """Open, or make, the catalog at `path`; one of an older docworker is brought up to date.

        Raises StoreError when the file is not a catalog, comes from a newer docworker or cannot be written.
        """
        self = cls(path)
        loop = asyncio.get_running_loop()
        try:
            self._write_db = await loop.run_in_executor(self._writer, connect, path)
            await self.write(migrate)
            self._read_db = await loop.run_in_executor(self._reader, connect, path)
        except apsw.Error as error:
            await self.close()
            raise StoreError(said(error)) from error
        except StoreError:
            await self.close()
            raise
        return self

    async def write(self, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, …)` as one transaction: all of it is kept, or none.

        Raises StoreError when the disk is full, the file cannot be written, or another program holds it.
        """
        return await self._write(None, function, *args, **kwargs)

    async def write_from(
        self, fresh: Path, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same, with the closed catalog at `fresh` attached under that name."""
        return await self._write(fresh, function, *args, **kwargs)

    async def _write(
        self, fresh: Path | None, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def transaction() -> T:
            db = self._write_db
            if fresh is not None:
                db.execute("ATTACH ? AS fresh", (str(fresh),))
            try:
                db.execute("BEGIN IMMEDIATE")
                try:
                    result = function(db, *args, **kwargs)
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            finally:
                if fresh is not None:
                    db.execute("DETACH fresh")
            return result

        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, transaction)
        except _TROUBLES as error:
            raise StoreError(said(error)) from error

    async def read(self, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, …)` on one snapshot of the catalog. Raises StoreError when it cannot be read."""

        def snapshot() -> T:
            self._read_db.execute("BEGIN")
            try:
                return function(self._read_db, *args, **kwargs)
            finally:
                self._read_db.execute("COMMIT")

        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, snapshot)
        except _TROUBLES as error:
            raise StoreError(said(error)) from error

    async def check(self) -> str | None:
        """What SQLite finds wrong in the file, looking at all of it; None when it is whole."""
        found = await self.read(_quick_check)
        return None if found == ["ok"] else "; ".join(found)

    async def close(self) -> None:
        """Close both connections; closing again does nothing."""
        for executor, name in ((self._reader, "_read_db"), (self._writer, "_write_db")):
            connection: apsw.Connection | None = getattr(self, name, None)
            if connection is not None:
                await asyncio.get_running_loop().run_in_executor(executor, connection.close)
                delattr(self, name)
            executor.shutdown()


def connect(path: Path) -> apsw.Connection:
    """A connection to the catalog at `path`, which is made if it is not there."""
    with suppress(OSError):  # it holds the headers of private sites; SQLite gives its log the same mode
        if not path.exists():
            path.touch(mode=0o600)
        path.chmod(0o600)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    try:
        refuse_foreign(connection)
    except StoreError:  # it is left byte for byte
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.close()
        raise
    # WAL with synchronous=NORMAL never corrupts; a power cut may lose the last commits, which the crawl then repeats.
    # fetchall: a statement that yields a row is followed by the next one only when the row is taken
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON").fetchall()
    connection.pragma("journal_size_limit", _LONGEST_WAL)  # after a large transaction it shrinks to this again
    return connection


def _quick_check(db: apsw.Connection) -> list[str]:
    found = [str(row[0]) for row in db.execute("PRAGMA quick_check(10)")]
    foreign = len(db.execute("PRAGMA foreign_key_check").fetchall())
    return [*found, *([f"{foreign} rows belong to nothing"] if foreign else [])] if found != ["ok"] or foreign else found


def said(error: apsw.Error) -> str:
    """What is wrong with the catalog, and what to do, in a sentence."""
    match error:
        case apsw.FullError():
            return "The disk of the data folder is full; make room, and what was interrupted goes on by itself."
        case apsw.ReadOnlyError():
            return "The data folder cannot be written; give its user the right to."
        case apsw.BusyError() | apsw.LockedError():
            return "Another program holds the catalog (catalog.sqlite in the data folder); end it, or try again."
        case apsw.CorruptError() | apsw.NotADBError():
            return f"The catalog (catalog.sqlite in the data folder) is damaged: {error}. `docworker doctor` says what to do."
        case _:
            return f"The catalog (catalog.sqlite in the data folder) cannot be used: {error}."
