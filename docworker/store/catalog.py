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
from importlib import resources
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import apsw

from docworker import SCHEMA_VERSION
from docworker.errors import StoreError

_BUSY_TIMEOUT_MS = 5_000

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
        """Open, or make, the catalog at `path`.

        Raises StoreError when the file is not a catalog, comes from a newer docworker or cannot be written.
        """
        self = cls(path)
        loop = asyncio.get_running_loop()
        try:
            self._write_db = await loop.run_in_executor(self._writer, _connect, path)
            await self.write(_migrate)
            self._read_db = await loop.run_in_executor(self._reader, _connect, path)
        except apsw.Error as error:
            await self.close()
            raise StoreError(f"The catalog in {path.parent} cannot be used: {error}.") from error
        except StoreError:
            await self.close()
            raise
        return self

    async def write(self, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, …)` as one transaction: all of it is kept, or none."""

        def transaction() -> T:
            self._write_db.execute("BEGIN IMMEDIATE")
            try:
                result = function(self._write_db, *args, **kwargs)
                self._write_db.execute("COMMIT")
            except BaseException:
                if self._write_db.in_transaction:
                    self._write_db.execute("ROLLBACK")
                raise
            return result

        return await asyncio.get_running_loop().run_in_executor(self._writer, transaction)

    async def read(self, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, …)` on one snapshot of the catalog."""

        def snapshot() -> T:
            self._read_db.execute("BEGIN")
            try:
                return function(self._read_db, *args, **kwargs)
            finally:
                self._read_db.execute("COMMIT")

        return await asyncio.get_running_loop().run_in_executor(self._reader, snapshot)

    async def close(self) -> None:
        """Close both connections; closing again does nothing."""
        for executor, name in ((self._reader, "_read_db"), (self._writer, "_write_db")):
            connection: apsw.Connection | None = getattr(self, name, None)
            if connection is not None:
                await asyncio.get_running_loop().run_in_executor(executor, connection.close)
                delattr(self, name)
            executor.shutdown()


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    # WAL with synchronous=NORMAL never corrupts; a power cut may lose the last commits, which the crawl then repeats.
    # fetchall: a statement that yields a row is followed by the next one only when the row is taken
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON").fetchall()
    return connection


def _migrate(db: apsw.Connection) -> None:
    """Make the tables in a new file; refuse one that a newer docworker wrote."""
    found = db.pragma("user_version")
    if found == 0:
        db.execute(resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))
        db.pragma("user_version", SCHEMA_VERSION)
    elif found != SCHEMA_VERSION:
        raise StoreError(
            f"The data folder was written by another docworker (schema {found}, this one reads {SCHEMA_VERSION}); "
            "use that version, or choose another folder with --data-dir."
        )
