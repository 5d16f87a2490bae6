"""Names that indexed pages explain: kept with their page, found by the last part of the name. Inside the caller's transaction."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import apsw

from docworker.model import Chunk, Symbol

_PARTS = re.compile(r"[.:#/>]+|^-+")


def key(name: str) -> str:
    """By what a name is found, however it is qualified: `create_task` of `asyncio.create_task`, `dry-run` of `--dry-run`."""
    parts = [part for part in _PARTS.split(name.rstrip("()")) if part]
    return (parts[-1] if parts else name).casefold()


def keep(db: apsw.Connection, docset_id: str, page_seq: int, symbols: Iterable[Symbol], chunks: Iterable[Chunk] = ()) -> None:
    """Put these in the place of what a page explained before; each is explained in one of its `chunks`."""
    db.execute("DELETE FROM symbols WHERE page_seq = ?", (page_seq,))
    at = defaultdict[str | None, list[Chunk]](list)
    for chunk in chunks:
        at[chunk.anchor].append(chunk)
    db.executemany(
        "INSERT INTO symbols (docset_id, key, page_seq, name, kind, anchor, chunk) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (docset_id, key(each.name), page_seq, each.name, each.kind, each.anchor, _explained(each.name, at[each.anchor]))
            for each in symbols
        ),
    )


def _explained(name: str, chunks: Sequence[Chunk]) -> int | None:
    """The ordinal of the first of these chunks that stands under the name, or else of the first."""
    under = (chunk for chunk in chunks if chunk.path and name in chunk.path[-1])
    found = next(under, chunks[0] if chunks else None)
    return None if found is None else found.ordinal


def add_missing(db: apsw.Connection, docset_id: str, named: Iterable[tuple[str, Symbol]]) -> int:
    """Add names by the URL of their page, as far as that is indexed and does not tell them itself; returns how many."""
    added = 0
    for url, symbol in named:
        db.execute(
            "INSERT INTO symbols (docset_id, key, page_seq, name, kind, anchor, chunk)"
            " SELECT docset_id, ?1, seq, ?2, ?3, ?4, (SELECT min(ordinal) FROM chunks WHERE page_id = pages.id AND anchor IS ?4)"
            " FROM pages WHERE docset_id = ?5 AND url = ?6 AND state = 'indexed'"
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
