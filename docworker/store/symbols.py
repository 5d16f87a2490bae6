"""Names that indexed pages explain: kept with their page, found by the last part of the name. Inside the caller's transaction."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import apsw

from docworker.model import Chunk, Symbol

_JOINED_HEADING = re.compile(r"^\*\*(.+)\*\*$", re.MULTILINE)  # of a small section in a chunk with others
_PARTS = re.compile(r"[.:#/>]+|^-+")


def key(name: str) -> str:
    """By what a name is found, however it is qualified: `create_task` of `asyncio.create_task`, `dry-run` of `--dry-run`."""
    parts = [part for part in _PARTS.split(name.rstrip("()")) if part]
    return (parts[-1] if parts else name).casefold()


def keep(db: apsw.Connection, docset_id: str, page_seq: int, symbols: Iterable[Symbol], chunks: Iterable[Chunk] = ()) -> None:
    """Put these in the place of what a page explained before; each is explained in one of its `chunks`."""
    db.execute("DELETE FROM symbols WHERE page_seq = ?", (page_seq,))
    at, under = defaultdict[str | None, list[Chunk]](list), dict[str, Chunk]()
    for chunk in chunks:
        at[chunk.anchor].append(chunk)
        for heading in (*chunk.path[-1:], *_JOINED_HEADING.findall(chunk.text)):
            under.setdefault(_bare(heading), chunk)
    db.executemany(
        "INSERT INTO symbols (docset_id, key, page_seq, name, kind, anchor, chunk) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (docset_id, key(each.name), page_seq, each.name, each.kind, each.anchor, _explained(each, at, under))
            for each in symbols
        ),
    )


def _explained(symbol: Symbol, at: Mapping[str | None, Sequence[Chunk]], under: Mapping[str, Chunk]) -> int | None:
    """The ordinal of the chunk at the symbol's anchor, of several the first whose heading has its name; where there is none,
    of the chunk with its name as a heading, and of a symbol without anchor of the page's first."""
    here = at.get(symbol.anchor, ())
    named = (chunk for chunk in here if chunk.path and symbol.name in chunk.path[-1])
    found = next(named, here[0] if here else under.get(_bare(symbol.name)))
    return found.ordinal if found is not None else 0 if symbol.anchor is None else None


def _bare(heading: str) -> str:
    return heading.strip("`* ").partition("(")[0].casefold()


def keep_listed(db: apsw.Connection, docset_id: str, named: Iterable[tuple[str, Symbol]]) -> int:
    """Put the names of a site's inventory, by the URL of their page, in the place of those of an earlier one.

    They are kept as far as the page is indexed and does not tell them itself; returns how many.
    """
    db.execute("DELETE FROM symbols WHERE listed AND page_seq IN (SELECT seq FROM pages WHERE docset_id = ?)", (docset_id,))
    return add_listed(db, docset_id, named)


def add_listed(db: apsw.Connection, docset_id: str, named: Iterable[tuple[str, Symbol]]) -> int:
    """Add names of a site's inventory, by the URL of their page, as far as it does not tell them itself; returns how many."""
    added = 0
    for url, symbol in named:
        db.execute(
            "INSERT INTO symbols (docset_id, key, page_seq, name, kind, anchor, chunk, listed)"
            " SELECT docset_id, ?1, seq, ?2, ?3, ?4, (SELECT min(ordinal) FROM chunks WHERE page_id = pages.id AND anchor IS ?4),"
            " 1"
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
