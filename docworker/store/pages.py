"""Pages in the catalog: the frontier, what became of each URL, and the commit that proves a page is indexed.

Each function takes a connection and runs inside the caller's transaction.
"""

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import apsw

from docworker.model import Claim, Document, Fetched, PageIntent, PageState, Section, digest

# A page that was claimed this often without an outcome ended its process each time: leave it alone.
MAX_ATTEMPTS = 5
_NOT_FOLLOWED = (
    "FROM links JOIN pages ON pages.id = links.page_id WHERE docset_id = ?1"
    " AND NOT EXISTS (SELECT 1 FROM pages AS known WHERE known.docset_id = ?1 AND known.url = target)"
    " AND NOT EXISTS (SELECT 1 FROM aliases WHERE aliases.docset_id = ?1 AND aliases.url = target)"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page as the listing shows it."""

    id: str
    url: str
    title: str | None
    state: PageState
    message: str | None
    fetched_at: int | None
    indexed_at: int | None


def page_id(docset_id: str, url: str) -> str:
    """The id of a docset's page: the same URL always has the same one."""
    return digest(docset_id, url)


def discover(db: apsw.Connection, docset_id: str, urls: Iterable[str], depth: int, found_on: str | None, max_pages: int) -> None:
    """Put URLs that are not known yet into the frontier, as long as the docset has fewer than `max_pages` pages."""
    room = max_pages - int(db.execute("SELECT count(*) FROM pages WHERE docset_id = ?", (docset_id,)).get)
    for url in urls:
        if room <= 0:
            return
        db.execute(
            "INSERT INTO pages (id, docset_id, url, depth, discovered_from, state) SELECT ?1, ?2, ?3, ?4, ?5, 'pending'"
            " WHERE NOT EXISTS (SELECT 1 FROM pages WHERE docset_id = ?2 AND url = ?3)"
            " AND NOT EXISTS (SELECT 1 FROM aliases WHERE docset_id = ?2 AND url = ?3)",
            (page_id(docset_id, url), docset_id, url, depth, found_on),
        )
        room -= db.changes()


def not_followed(db: apsw.Connection, docset_id: str) -> int:
    """How many URLs that pages link to are not known: what a limit left out."""
    number: int = db.execute(f"SELECT count(DISTINCT target) {_NOT_FOLLOWED}", (docset_id,)).get
    return number


def follow_left_out(db: apsw.Connection, docset_id: str, max_pages: int) -> None:
    """Put what a smaller limit left out into the frontier, nearest first."""
    rows = db.execute(f"SELECT target, min(depth), url {_NOT_FOLLOWED} GROUP BY target ORDER BY 2", (docset_id,)).fetchall()
    for target, depth, found_on in rows:
        discover(db, docset_id, [str(target)], int(str(depth)) + 1, str(found_on), max_pages)


def claim(db: apsw.Connection, docset_id: str, now: int, lease_ms: int) -> Claim | None:
    """Lease the nearest page that waits, so that nobody else takes it until `lease_ms` have passed; None when none waits."""
    row = db.execute(
        "UPDATE pages SET state = 'fetching', lease_until = ?1 + ?2, attempts = attempts + 1 WHERE seq = coalesce("
        " (SELECT seq FROM pages WHERE docset_id = ?3 AND state = 'fetching' AND lease_until < ?1 ORDER BY depth, seq LIMIT 1),"
        " (SELECT seq FROM pages WHERE docset_id = ?3 AND state = 'pending' ORDER BY depth, seq LIMIT 1))"
        " RETURNING id, docset_id, url, depth, attempts",
        (now, lease_ms, docset_id),
    ).fetchone()
    return None if row is None else Claim(*row)


def give_back(db: apsw.Connection, claimed: Claim) -> None:
    """Put a page back that was claimed and not finished, because the crawl was told to stop; the attempt does not count."""
    db.execute(
        "UPDATE pages SET state = 'pending', lease_until = NULL, attempts = attempts - 1 WHERE id = ? AND state = 'fetching'",
        (claimed.page_id,),
    )


def retry(db: apsw.Connection, docset_id: str, url: str) -> None:
    """Put a page that was left out back into the frontier."""
    db.execute(
        "UPDATE pages SET state = 'pending', message = NULL, attempts = 0"
        " WHERE docset_id = ? AND url = ? AND state IN ('skipped', 'error')",
        (docset_id, url),
    )


def waiting(db: apsw.Connection, docset_id: str) -> bool:
    """Whether the docset's frontier holds a page."""
    found: int = db.execute("SELECT EXISTS (SELECT 1 FROM pages WHERE docset_id = ? AND state = 'pending')", (docset_id,)).get
    return bool(found)


def release(db: apsw.Connection, docset_id: str) -> None:
    """Free the leases of a docset whose crawl begins: nobody holds one. A page that ended too many processes is given up."""
    db.execute(
        "UPDATE pages SET lease_until = NULL, state = iif(attempts >= ?1, 'error', 'pending'),"
        " message = iif(attempts >= ?1, 'Given up: docworker ended ' || attempts || ' times while it read this page.', NULL)"
        " WHERE docset_id = ?2 AND state = 'fetching'",
        (MAX_ATTEMPTS, docset_id),
    )


def commit_indexed(
    db: apsw.Connection,
    claimed: Claim,
    fetched: Fetched,
    document: Document,
    intent: PageIntent,
    with_vector: Collection[str],
    max_pages: int,
    now: int,
) -> None:
    """The proof that a page is indexed: chunk list, hash, validators, links, text and state, in one transaction.

    `with_vector` are ids of new chunks whose vector is on the shelf already.
    """
    db.execute(
        "UPDATE pages SET state = 'indexed', message = NULL, lease_until = NULL, title = ?, content_hash = ?, etag = ?,"
        " last_modified = ?, document = ?, fetched_at = ?, indexed_at = ? WHERE id = ?",
        (
            intent.title,
            intent.content_hash,
            fetched.etag,
            fetched.last_modified,
            _pack(document),
            now,
            now,
            claimed.page_id,
        ),
    )
    db.executemany("DELETE FROM chunks WHERE id = ?", ((id_,) for id_ in intent.remove))
    db.executemany(
        "INSERT INTO chunks (id, page_id, docset_id, ordinal, text_hash, embedded) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET ordinal = excluded.ordinal, embedded = max(embedded, excluded.embedded)",
        (
            (chunk.id, claimed.page_id, claimed.docset_id, chunk.ordinal, chunk.text_hash, chunk.id in with_vector)
            for chunk in intent.chunks
        ),
    )
    _follow(db, claimed, intent.follow, max_pages)


def commit_left_out(
    db: apsw.Connection,
    claimed: Claim,
    state: PageState,
    message: str,
    follow: Sequence[str],
    max_pages: int,
    now: int,
) -> None:
    """Note why a page is `skipped` or `error`, and the links it had all the same."""
    db.execute(
        "UPDATE pages SET state = ?, message = ?, lease_until = NULL, fetched_at = ? WHERE id = ?",
        (state, message, now, claimed.page_id),
    )
    _follow(db, claimed, follow, max_pages)


def commit_alias(db: apsw.Connection, claimed: Claim, target: str, max_pages: int) -> None:
    """The URL turned out to be another page's: it leaves no page behind, its target joins the frontier."""
    db.execute("DELETE FROM pages WHERE id = ?", (claimed.page_id,))
    db.execute(
        "INSERT OR REPLACE INTO aliases (docset_id, url, target) VALUES (?, ?, ?)",
        (claimed.docset_id, claimed.url, target),
    )
    discover(db, claimed.docset_id, [target], claimed.depth, claimed.url, max_pages)


def _follow(db: apsw.Connection, claimed: Claim, targets: Sequence[str], max_pages: int) -> None:
    db.execute("DELETE FROM links WHERE page_id = ?", (claimed.page_id,))
    db.executemany("INSERT OR IGNORE INTO links (page_id, target) VALUES (?, ?)", ((claimed.page_id, url) for url in targets))
    discover(db, claimed.docset_id, targets, claimed.depth + 1, claimed.url, max_pages)


def resolve(db: apsw.Connection, docset_id: str, url: str) -> str:
    """Where `url` leads through known redirects (itself when it is no alias)."""
    seen = {url}
    while row := db.execute("SELECT target FROM aliases WHERE docset_id = ? AND url = ?", (docset_id, url)).fetchone():
        url = row[0]
        if url in seen:
            break
        seen.add(url)
    return url


def by_url(db: apsw.Connection, docset_id: str, url: str) -> Page | None:
    """The page at a canonical URL, redirects resolved."""
    pages = _listing(db, "docset_id = ? AND url = ?", (docset_id, resolve(db, docset_id, url)), 1, 0)
    return pages[0] if pages else None


def listing(db: apsw.Connection, docset_id: str, state: PageState | None, limit: int, offset: int) -> tuple[list[Page], int]:
    """One page of the listing in order of discovery, and how many there are in all."""
    where, bindings = "docset_id = ?", [docset_id]
    if state is not None:
        where, bindings = where + " AND state = ?", [docset_id, state]
    total: int = db.execute(f"SELECT count(*) FROM pages WHERE {where}", bindings).get
    return _listing(db, where, bindings, limit, offset), total


def stuck(db: apsw.Connection, docset_id: str, now: int) -> list[Page]:
    """Pages whose lease ran out without an outcome (at most 500)."""
    return _listing(db, "docset_id = ? AND state = 'fetching' AND lease_until < ?", (docset_id, now), 500, 0)


def _listing(db: apsw.Connection, where: str, bindings: Sequence[str | int], limit: int, offset: int) -> list[Page]:
    rows = db.execute(
        "SELECT id, url, title, state, message, fetched_at, indexed_at FROM pages"
        f" WHERE {where} ORDER BY depth, seq LIMIT ? OFFSET ?",
        (*bindings, limit, offset),
    )
    return [
        Page(id_, url, title, PageState(state), message, fetched_at, indexed_at)
        for id_, url, title, state, message, fetched_at, indexed_at in rows
    ]


def documents(db: apsw.Connection, after_seq: int, limit: int) -> list[tuple[int, str, str, str, Document]]:
    """Indexed pages after `after_seq` in order, as (seq, page id, docset id, url, document): for rebuilding the shelf."""
    rows = db.execute(
        "SELECT seq, id, docset_id, url, document FROM pages WHERE seq > ? AND state = 'indexed' ORDER BY seq LIMIT ?",
        (after_seq, limit),
    )
    return [(seq, id_, docset_id, url, _unpack(document)) for seq, id_, docset_id, url, document in rows]


def chunk_ids(db: apsw.Connection, of_page: str) -> tuple[str, ...]:
    """The ids of a page's chunks in page order."""
    return tuple(row[0] for row in db.execute("SELECT id FROM chunks WHERE page_id = ? ORDER BY ordinal", (of_page,)))


def _pack(document: Document) -> bytes:
    return zlib.compress(json.dumps(asdict(document), ensure_ascii=False, separators=(",", ":")).encode())


def _unpack(packed: bytes) -> Document:
    fields = json.loads(zlib.decompress(packed))
    return Document(fields["title"], fields["site"], tuple(_sections(fields["sections"])))


def _sections(rows: list[dict[str, str | int | bool | None]]) -> Iterator[Section]:
    for row in rows:
        anchor = row["anchor"]
        yield Section(
            int(row["level"] or 0),
            str(row["heading"]),
            None if anchor is None else str(anchor),
            str(row["text"]),
            bool(row["entry"]),
        )
