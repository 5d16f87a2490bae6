"""Bringing a catalog up to date: one transaction, so that a crash leaves the old one as it was.

Whatever the version, the tables are made anew and what both have is carried over. What was cut or read by older code is marked so
by its `chunker` and `extractor` (0 before schema 5, which had none); `indexing.reconcile` cuts it anew from the stored texts, and
a refresh reads it anew.
"""

from importlib import resources

import apsw

from docworker import SCHEMA_VERSION
from docworker.errors import StoreError

# what is referred to comes first
_TABLES = ("docsets", "access", "pages", "passages", "symbols", "robots", "chunks", "vectors", "sessions", "meta")
# What a column that an older table lacks is filled with, where its default will not do. By table, in terms of the old columns.
_MISSING = {
    "docsets": {"include": "'[]'", "exclude": "'[]'"},
    "pages": {"turn": "0", "place": "seq", "hops": "0"},
}
_CHUNKS_AS_NOW = 4  # since this version chunks can be served as they are until they are cut anew
_NOTED = 5  # since this version the list of names is remembered


def migrate(db: apsw.Connection) -> None:
    """Make the tables in a new file, or anew from those of an older docworker. Raises StoreError for those of a newer one."""
    found = refuse_foreign(db)
    if found == SCHEMA_VERSION:
        return
    db.execute("DROP TABLE IF EXISTS sqlite_stat1; DROP TABLE IF EXISTS sqlite_stat4")  # of an ANALYZE by hand
    old = _tables(db)
    for (index,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").fetchall():
        db.execute(f"DROP INDEX {index}")
    for table in old:
        db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    db.execute(resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))
    for table in _TABLES:
        if table in old and (table != "chunks" or found >= _CHUNKS_AS_NOW):
            _carry_over(db, table)
    if 0 < found < _NOTED:
        db.execute("UPDATE docsets SET inventory = NULL")  # until schema 4 it was forgotten once it was read
    for table in reversed(_TABLES):
        db.execute(f"DROP TABLE IF EXISTS old_{table}")
    for table in old - set(_TABLES):
        db.execute(f"DROP TABLE IF EXISTS old_{table}")
    db.pragma("user_version", SCHEMA_VERSION)


def refuse_foreign(db: apsw.Connection) -> int:
    """The version of the file, 0 when it is new. Writes nothing. Raises StoreError when it is not ours, or newer."""
    found: int = db.pragma("user_version")
    if found > SCHEMA_VERSION:
        raise StoreError(
            f"The data folder was written by a newer docworker (schema {found}, this one reads up to {SCHEMA_VERSION}); "
            "update docworker, or choose another folder with --data-dir."
        )
    if not found and _tables(db):
        raise StoreError("catalog.sqlite in the data folder is of another program; choose another folder with --data-dir.")
    return found


def _tables(db: apsw.Connection) -> set[str]:
    return {
        str(row[0])
        for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    }


def _carry_over(db: apsw.Connection, table: str) -> None:
    before = columns(db, f"old_{table}")
    values = {name: name for name in columns(db, table) if name in before}
    values |= {name: value for name, value in _MISSING.get(table, {}).items() if name not in before}
    db.execute(f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM old_{table}")


def columns(db: apsw.Connection, table: str) -> list[str]:
    """The names of a table's columns; none when there is no such table."""
    return [str(row[1]) for row in db.execute(f"PRAGMA table_info({table})")]
