"""Chunks and vectors in the catalog. Each function takes a connection and runs inside the caller's transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import apsw

from docworker.model import Member
from docworker.store.symbols import key

# Of one section; the passage that shows some of them is shorter.
_MAX_MEMBERS = 200
# Chunks looked at for one name.
_MAX_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Waiting:
    """A listed chunk without its vector; `seq` is its place in the order of embedding."""

    seq: int
    chunk_id: str
    docset_id: str
    text_hash: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A chunk that the catalog vouches for; see `docworker.model.Candidate`. `embedded` is 1 when its vector is on the shelf."""

    chunk_id: str
    page_id: str
    docset_id: str
    ordinal: int
    section: int
    page_chunks: int
    embedded: int


def listed(db: apsw.Connection, ids: Sequence[str]) -> dict[str, Listed]:
    """Those of `ids` that belong to an indexed page. Anything else on the shelf is half-finished or stale."""
    rows = db.execute(
        "SELECT id, page_id, docset_id, ordinal, section,"
        " (SELECT max(ordinal) + 1 FROM chunks AS last WHERE last.page_id = chunks.page_id), embedded"
        f" FROM chunks WHERE id IN ({_marks(ids)})",
        tuple(ids),
    )
    return {row[0]: Listed(*row) for row in rows}


def sections(db: apsw.Connection, of: Collection[tuple[str, int]]) -> dict[tuple[str, int], list[Member]]:
    """The chunks of sections, each named by its page's id and its first ordinal, in page order."""
    found: dict[tuple[str, int], list[Member]] = {}
    for page_id, section in of:
        rows = db.execute(
            "SELECT id, ordinal, chars FROM chunks WHERE page_id = ?1 AND ordinal >= ?2 AND section = ?2"
            " ORDER BY ordinal LIMIT ?3",
            (page_id, section, _MAX_MEMBERS),
        )
        found[page_id, section] = [Member(*row) for row in rows]
    return found


def explaining(db: apsw.Connection, names: Iterable[str], docset_ids: Collection[str] | None, limit: int) -> dict[str, str]:
    """Ids of chunks that explain one of these names, and the name; at most `limit` for each.

    A name is found whole (`asyncio.create_task`), then by its end (`create_task`), in any case. Where more than `limit`
    chunks explain it, it tells nothing and finds none.
    """
    found: dict[str, str] = {}
    within = "" if docset_ids is None else f"AND s.docset_id IN ({_marks(docset_ids)})"
    for name in names:
        wanted = name.rstrip("()").casefold()
        rows = db.execute(
            "SELECT s.name, c.id FROM symbols s JOIN pages p ON p.seq = s.page_seq"
            " JOIN chunks c ON c.page_id = p.id AND c.ordinal = s.chunk"
            f" WHERE s.key = ? {within} ORDER BY lower(s.name) != ?, c.seq LIMIT ?",
            (key(name), *(docset_ids or ()), wanted, _MAX_LOOKED_AT),
        ).fetchall()
        named = [(str(symbol).rstrip("()").casefold(), str(id_)) for symbol, id_ in rows]
        whole = [id_ for symbol, id_ in named if symbol == wanted]
        ids = dict.fromkeys(whole or [id_ for symbol, id_ in named if _ends_with(symbol, wanted)])
        if len(ids) <= limit:
            found |= {id_: name for id_ in ids if id_ not in found}
    return found


def all_ids(db: apsw.Connection, docset_id: str | None = None) -> set[str]:
    """Every chunk id that the catalog lists, of one docset or of all."""
    return {row[0] for row in db.execute("SELECT id FROM chunks WHERE ?1 IS NULL OR docset_id = ?1", (docset_id,))}


def all_embedded(db: apsw.Connection) -> set[str]:
    """Ids of the chunks whose vector is said to be on the shelf."""
    return {row[0] for row in db.execute("SELECT id FROM chunks WHERE embedded")}


def waiting(db: apsw.Connection, after_seq: Mapping[str, int], limit: int) -> list[Waiting]:
    """Up to `limit` chunks of one docset whose vector is not on the shelf, oldest first: the seed and what is near it.

    The docset with the fewest waiting comes first, so that a small one is not kept waiting by a large one. `after_seq`
    tells, by docset, how far it has been worked through; what it passes over is left out.
    """
    docset_ids = db.execute(
        "SELECT docset_id FROM chunks WHERE embedded = 0 GROUP BY docset_id ORDER BY count(*), docset_id"
    ).fetchall()
    for (docset_id,) in docset_ids:
        rows = db.execute(
            "SELECT seq, id, docset_id, text_hash FROM chunks"
            " WHERE docset_id = ? AND embedded = 0 AND seq > ? ORDER BY seq LIMIT ?",
            (docset_id, after_seq.get(str(docset_id), 0), limit),
        )
        if found := [Waiting(*row) for row in rows]:
            return found
    return []


def docsets_waiting(db: apsw.Connection) -> list[str]:
    """Ids of the docsets that have chunks whose vector is not on the shelf."""
    return [str(id_) for (id_,) in db.execute("SELECT DISTINCT docset_id FROM chunks WHERE embedded = 0")]


def mark_embedded(db: apsw.Connection, ids: Sequence[str]) -> list[str]:
    """Note that vectors are on the shelf; returns the ids that are listed no more."""
    gone = []
    for id_ in ids:
        db.execute("UPDATE chunks SET embedded = 1 WHERE id = ?", (id_,))
        if not db.changes():
            gone.append(id_)
    return gone


def keep_embedded(db: apsw.Connection, on_shelf: set[str]) -> None:
    """Let every chunk wait for its vector whose id is not in `on_shelf`, and none that is."""
    rows = db.execute("SELECT id, embedded FROM chunks").fetchall()
    wrong = [(id_ in on_shelf, id_) for id_, embedded in rows if bool(embedded) != (id_ in on_shelf)]
    db.executemany("UPDATE chunks SET embedded = ? WHERE id = ?", wrong)


def forget_embedded(db: apsw.Connection, on_shelf: set[str]) -> None:
    """Let every chunk wait for its vector whose id is not in `on_shelf`; those that wait go on waiting."""
    lost = [(str(id_),) for (id_,) in db.execute("SELECT id FROM chunks WHERE embedded") if id_ not in on_shelf]
    db.executemany("UPDATE chunks SET embedded = 0 WHERE id = ?", lost)


def shelf_model(db: apsw.Connection) -> str | None:
    """Which model the vectors on the shelf are of; None while there are none."""
    row = db.execute("SELECT value FROM meta WHERE key = 'shelf_model'").fetchone()
    return None if row is None else str(row[0])


def adopt_model(db: apsw.Connection, model: str) -> None:
    """Note which model the vectors on the shelf are of from here on; when it is another one, all chunks wait for theirs anew."""
    if shelf_model(db) not in (None, model):
        db.execute("UPDATE chunks SET embedded = 0")
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('shelf_model', ?)", (model,))


def _ends_with(symbol: str, wanted: str) -> bool:
    """Whether it ends with these parts, and not in the middle of one: `asyncio.run` with `run`, not with `io.run`."""
    before = symbol[: -len(wanted)]
    return symbol.endswith(wanted) and not (before[-1:].isalnum() and wanted[:1].isalnum()) and before[-1:] != "_"


def _marks(values: Collection[object]) -> str:
    return ",".join("?" * len(values))
