"""The editor sessions that outlive a restart. Each function takes a connection and runs inside the caller's transaction."""

from collections.abc import Iterable

import apsw

from docworker.model import Session


def all_sessions(db: apsw.Connection) -> list[Session]:
    """Every session, oldest first."""
    rows = db.execute("SELECT id, client_type, connected_at, last_heartbeat FROM sessions ORDER BY connected_at, id")
    return [Session(*row) for row in rows]


def put(db: apsw.Connection, session: Session) -> None:
    """Add a session, or replace it."""
    db.execute(
        "INSERT OR REPLACE INTO sessions (id, client_type, connected_at, last_heartbeat) VALUES (?, ?, ?, ?)",
        (session.id, session.client_type, session.connected_at, session.last_heartbeat),
    )


def remove(db: apsw.Connection, session_ids: Iterable[str]) -> None:
    """Remove sessions."""
    db.executemany("DELETE FROM sessions WHERE id = ?", ((each,) for each in session_ids))
