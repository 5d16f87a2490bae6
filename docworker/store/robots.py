"""What sites said in their robots.txt. Each function takes a connection and runs inside the caller's transaction."""

import apsw


def keep(db: apsw.Connection, docset_id: str, body: str, now: int) -> None:
    """Keep what a docset's site said; "" when it has no robots.txt."""
    db.execute("INSERT OR REPLACE INTO robots (docset_id, body, fetched_at) VALUES (?, ?, ?)", (docset_id, body, now))


def forget(db: apsw.Connection, docset_id: str) -> None:
    """Let a docset's site be asked for its robots.txt again."""
    db.execute("DELETE FROM robots WHERE docset_id = ?", (docset_id,))


def kept(db: apsw.Connection, docset_id: str, since: int = 0, now: int | None = None) -> str | None:
    """What was kept at `since` or later, and not after `now`, when the clock was set back; None when nothing was."""
    row = db.execute(
        "SELECT body FROM robots WHERE docset_id = ?1 AND fetched_at >= ?2 AND (?3 IS NULL OR fetched_at <= ?3)",
        (docset_id, since, now),
    ).fetchone()
    return None if row is None else str(row[0])
