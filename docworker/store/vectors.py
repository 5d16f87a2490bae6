"""Vectors by model and text, so that a text that moves, comes back or stands in two docsets is embedded once. Each function takes
a connection and runs inside the caller's transaction."""

from collections.abc import Iterable, Mapping

import apsw

# Vectors of texts that no chunk has any more, kept in case they come back: 15 MB.
_MOST_UNUSED = 10_000
_USED = "EXISTS (SELECT 1 FROM chunks WHERE chunks.text_hash = vectors.text_hash)"


def known(db: apsw.Connection, model: str, text_hashes: Iterable[str]) -> dict[str, bytes]:
    """The known vectors (little-endian float32) of these texts under `model`, by text hash."""
    found: dict[str, bytes] = {}
    for text_hash in text_hashes:
        row = db.execute("SELECT vector FROM vectors WHERE model = ? AND text_hash = ?", (model, text_hash)).fetchone()
        if row is not None:
            found[text_hash] = row[0]
    return found


def remember(db: apsw.Connection, model: str, by_text_hash: Mapping[str, bytes]) -> None:
    """Keep vectors, so that their texts are never embedded again under this model; those of texts that are gone are not."""
    db.executemany(
        "INSERT OR REPLACE INTO vectors (model, text_hash, vector) SELECT ?1, ?2, ?3"
        " WHERE EXISTS (SELECT 1 FROM chunks WHERE chunks.text_hash = ?2)",
        ((model, text_hash, vector) for text_hash, vector in by_text_hash.items()),
    )


def note_unused(db: apsw.Connection, text_hashes: Iterable[str] | None, now: int) -> None:
    """Note which of these texts (None: of all) no chunk has any more; the latest 10,000 such vectors are kept."""
    db.execute(f"UPDATE vectors SET unused_since = NULL WHERE unused_since IS NOT NULL AND {_USED}")
    mark = f"UPDATE vectors SET unused_since = ? WHERE unused_since IS NULL AND NOT {_USED}"
    if text_hashes is None:
        db.execute(mark, (now,))
    else:
        db.executemany(f"{mark} AND text_hash = ?", ((now, text_hash) for text_hash in text_hashes))
    db.execute(
        "DELETE FROM vectors WHERE rowid IN"
        " (SELECT rowid FROM vectors WHERE unused_since IS NOT NULL ORDER BY unused_since DESC LIMIT -1 OFFSET ?)",
        (_MOST_UNUSED,),
    )
