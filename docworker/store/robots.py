"""What sites said in their robots.txt. Each function takes a connection and runs inside the caller's transaction."""

import apsw


def keep(db: apsw.Connection, docset_id: str, body: str, now: int) -> None:
    """Keep what a docset's site said; "" when it has no robots.txt."""
    db.execute("INSERT OR REPLACE INTO robots (docset_id, body, fetched_at) VALUES (?, ?, ?)", (docset_id, body, now))


def kept(db: apsw.Connection, docset_id: str, since: int = 0) -> str | None:
    """What was kept at `since` or later; None when nothing was."""
    row = db.execute("SELECT body FROM robots WHERE docset_id = ? AND fetched_at >= ?", (docset_id, since)).fetchone()
    return None if row is None else str(row[0])
