"""How a docset's site may be asked. Each function takes a connection and runs inside the caller's transaction."""

import json
from collections.abc import Mapping

import apsw

from docworker.model import Access
from docworker.urls import origin


def keep(db: apsw.Connection, docset_id: str, *, inside: bool | None, headers: Mapping[str, str] | None) -> None:
    """Keep what the user allowed with the seed; what is None stays as it was given before."""
    db.execute(
        "INSERT INTO access (docset_id, inside, headers) VALUES (?1, coalesce(?2, 0), coalesce(?3, '{}'))"
        " ON CONFLICT (docset_id) DO UPDATE SET inside = coalesce(?2, inside), headers = coalesce(?3, headers)",
        (docset_id, inside, None if headers is None else json.dumps(headers)),
    )


def of(db: apsw.Connection, docset_id: str) -> Access | None:
    """How the docset's site may be asked; None when there is no such docset."""
    row = db.execute(
        "SELECT seed_url, coalesce(inside, 0), coalesce(headers, '{}') FROM docsets"
        " LEFT JOIN access ON docset_id = id WHERE id = ?",
        (docset_id,),
    ).fetchone()
    return None if row is None else Access(origin(row[0]), bool(row[1]), tuple(json.loads(row[2]).items()))
