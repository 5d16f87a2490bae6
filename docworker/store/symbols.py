"""Names that indexed pages explain: kept with their page, found by the last part of the name. Inside the caller's transaction."""

import re
from collections.abc import Iterable

import apsw

from docworker.model import Symbol

_PARTS = re.compile(r"[.:#/>]+|^-+")


def key(name: str) -> str:
    """By what a name is found, however it is qualified: `create_task` of `asyncio.create_task`, `dry-run` of `--dry-run`."""
    parts = [part for part in _PARTS.split(name.rstrip("()")) if part]
    return (parts[-1] if parts else name).casefold()


def keep(db: apsw.Connection, docset_id: str, page_seq: int, symbols: Iterable[Symbol]) -> None:
    """Put these in the place of what a page explained before."""
    db.execute("DELETE FROM symbols WHERE page_seq = ?", (page_seq,))
    db.executemany(
        "INSERT INTO symbols (docset_id, key, page_seq, name, kind, anchor) VALUES (?, ?, ?, ?, ?, ?)",
        ((docset_id, key(each.name), page_seq, each.name, each.kind, each.anchor) for each in symbols),
    )


def add_missing(db: apsw.Connection, docset_id: str, named: Iterable[tuple[str, Symbol]]) -> int:
    """Add names by the URL of their page, as far as that is indexed and does not tell them itself; returns how many."""
    added = 0
    for url, symbol in named:
        db.execute(
            "INSERT INTO symbols (docset_id, key, page_seq, name, kind, anchor)"
            " SELECT docset_id, ?1, seq, ?2, ?3, ?4 FROM pages WHERE docset_id = ?5 AND url = ?6 AND state = 'indexed'"
            " AND NOT EXISTS (SELECT 1 FROM symbols WHERE page_seq = pages.seq AND (name = ?2 OR anchor = ?4))",
            (key(symbol.name), symbol.name, symbol.kind, symbol.anchor, docset_id, url),
        )
        added += db.changes()
    return added


def of_page(db: apsw.Connection, page_id: str) -> tuple[Symbol, ...]:
    """What a page explains, in page order."""
    rows = db.execute(
        "SELECT s.name, s.kind, s.anchor FROM symbols s JOIN pages p ON p.seq = s.page_seq WHERE p.id = ? ORDER BY s.rowid",
        (page_id,),
    )
    return tuple(Symbol(name, kind, anchor) for name, kind, anchor in rows)
