"""How a docset's site may be asked. Each function takes a connection and runs inside the caller's transaction."""

import json
from collections.abc import Mapping

import apsw

from docworker.model import Access
from docworker.urls import origin


def keep(db: apsw.Connection, docset_id: str, *, inside: bool, headers: Mapping[str, str] | None) -> None:
    """Keep what the user allowed with the seed; without `headers` those given before stay."""
    db.execute(
        "INSERT INTO access (docset_id, inside, headers) VALUES (?1, ?2, coalesce(?3, '{}'))"
        " ON CONFLICT (docset_id) DO UPDATE SET inside = ?2, headers = coalesce(?3, headers)",
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
