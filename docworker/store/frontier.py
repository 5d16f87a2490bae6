"""The frontier in the catalog: which URLs are known, which is next, and what a page leads to.

The crawl goes level by level: what the pages of one level lead to is put into the frontier when all of them are done, in the
order of the pages and of the links on them. So depths are exact, and the same site always gives the same frontier, however
many pages are worked on at once. Each function takes a connection and runs inside the caller's transaction.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import apsw

from docworker.model import Claim, Link, PageState, Reason, Turn, digest

# A page that was claimed this often without an outcome may be what ends the process each time: leave it alone.
MAX_ATTEMPTS = 20
# A page that failed for the site's sake is tried in so many rounds, each with the fetcher's attempts.
_ROUNDS = 3
# For so many pages to keep, at most so many URLs are asked: a site may lead to duplicates and redirects without end.
_ASKED_PER_PAGE, _ASKED_MORE = 5, 100
# What is taken into memory at once of what pages lead to.
_LINKS_AT_ONCE = 50_000
_MOST_CUT = 100_000
_FOLLOWED, _CUT = 1, 2  # values of `followed`


@dataclass(frozen=True, slots=True)
class FrontierLimits:
    """How large a docset may grow: pages kept, links from the seed, URLs of one path that differ in their query."""

    max_pages: int
    max_depth: int
    max_queries_per_path: int

    @property
    def max_asked(self) -> int:
        """How many URLs are asked at most to find the pages to keep."""
        return _ASKED_PER_PAGE * self.max_pages + _ASKED_MORE


class Limit(StrEnum):
    """Which limit keeps a URL out of the frontier."""

    PAGES = "max_pages"
    ASKED = "asked"
    DEPTH = "max_depth"
    QUERIES = "max_queries_per_path"


Cut = dict[Limit, set[str]]
"""The URLs that limits keep out, up to 100,000 for each limit."""


def page_id(docset_id: str, url: str) -> str:
    """The id of a docset's page: the same URL always has the same one."""
    return digest(docset_id, url)


def known(db: apsw.Connection, docset_id: str, url: str) -> bool:
    """Whether the URL was found before."""
    return db.execute("SELECT 1 FROM pages WHERE docset_id = ? AND url = ?", (docset_id, url)).fetchone() is not None


def discover(db: apsw.Connection, docset_id: str, links: Iterable[Link], limits: FrontierLimits) -> tuple[int, Cut, set[str]]:
    """Put URLs that are not known yet into the frontier, in this order, as far as the limits allow.

    Returns how many there were new, what the limits kept out, and the pages that led to those.
    """
    kept, asked = db.execute(
        "SELECT coalesce(sum(state IN ('pending', 'fetching', 'indexed')), 0),"
        " coalesce(sum(requests > 0 OR state IN ('pending', 'fetching')), 0) FROM pages WHERE docset_id = ?",
        (docset_id,),
    ).get
    new, parents = 0, set[str]()
    cut: Cut = {limit: set() for limit in Limit}
    queries: dict[str, int] = {}
    for link in links:
        if known(db, docset_id, link.url):
            continue
        over: Limit | None = None
        if link.reason is None:
            path, mark, _ = link.url.partition("?")
            if mark and path not in queries:
                queries[path] = _queries(db, docset_id, path)
            if link.depth > limits.max_depth:
                over = Limit.DEPTH
            elif mark and queries[path] >= limits.max_queries_per_path:
                over = Limit.QUERIES
            elif kept >= limits.max_pages:
                over = Limit.PAGES
            elif asked >= limits.max_asked:
                over = Limit.ASKED
        if over is not None:
            if len(cut[over]) < _MOST_CUT:
                cut[over].add(link.url)
            parents.add(link.found_on or "")
            continue
        add(db, docset_id, link)
        new += 1
        if link.reason is None:
            kept, asked = kept + 1, asked + 1
            if mark:
                queries[path] += 1
    return new, cut, parents


def add(db: apsw.Connection, docset_id: str, link: Link, *, place: int | None = None, hops: int = 0) -> None:
    """Put a URL into the frontier, or, with a reason, among the pages left out; nothing happens when it is known."""
    db.execute(
        "INSERT OR IGNORE INTO pages (id, docset_id, url, turn, depth, place, hops, discovered_from, state, reason, message)"
        " VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, (SELECT coalesce(max(place), 0) + 1 FROM pages WHERE docset_id = ?2)), ?7,"
        " ?8, ?9, ?10, ?11)",
        (
            page_id(docset_id, link.url),
            docset_id,
            link.url,
            link.turn,
            link.depth,
            place,
            hops,
            link.found_on,
            PageState.PENDING if link.reason is None else PageState.SKIPPED,
            link.reason,
            link.message,
        ),
    )
    if place is not None:  # of two redirects to one page, the first in the frontier led to it, whichever answers first
        db.execute(
            "UPDATE pages SET place = ?1, discovered_from = ?2, hops = ?3"
            " WHERE docset_id = ?4 AND url = ?5 AND hops > 0 AND depth = ?6 AND place > ?1",
            (place, link.found_on, hops, docset_id, link.url, link.depth),
        )


def _queries(db: apsw.Connection, docset_id: str, path: str) -> int:
    """How many URLs of this path with a query are known: `?` is followed by `@` in the order of characters."""
    number: int = db.execute(
        "SELECT count(*) FROM pages WHERE docset_id = ? AND url >= ? AND url < ? AND coalesce(reason, '') NOT IN (?, ?)",
        (docset_id, path + "?", path + "@", Reason.EXCLUDED, Reason.SOURCE),
    ).get
    return number


def new_links(db: apsw.Connection, docset_id: str) -> tuple[list[tuple[str, int, str]], dict[str, int]]:
    """(URL, depth, page that leads to it) of what is not known yet, nearest first, and the pages looked through, with their seq.

    At most some 50,000 at once; the next call has the others, once `follow` was told of these.
    """
    found: dict[str, tuple[int, str]] = {}
    looked_through: dict[str, int] = {}
    rows = db.execute(
        "SELECT seq, url, depth, links FROM pages WHERE docset_id = ? AND followed = 0 AND links IS NOT NULL"
        " ORDER BY depth, place, seq",
        (docset_id,),
    )
    for seq, url, depth, links in rows:
        for target in unpack_links(links):
            if target not in found and not known(db, docset_id, target):
                found[target] = (depth + 1, url)
        looked_through[url] = seq
        if len(found) >= _LINKS_AT_ONCE:
            break
    return [(target, depth, url) for target, (depth, url) in found.items()], looked_through


def follow(
    db: apsw.Connection, docset_id: str, links: Sequence[Link], looked_through: Mapping[str, int], limits: FrontierLimits
) -> tuple[int, Cut]:
    """Put what pages lead to into the frontier; pages some of whose links found no room are looked through by `look_again`."""
    new, cut, parents = discover(db, docset_id, links, limits)
    db.executemany(
        "UPDATE pages SET followed = ? WHERE seq = ?",
        ((_CUT if url in parents else _FOLLOWED, seq) for url, seq in looked_through.items()),
    )
    return new, cut


def cut_from(db: apsw.Connection, docset_id: str, url: str) -> str | None:
    """A page that leads to `url` although a limit kept that out; at most 1,000 pages are looked through."""
    rows = db.execute(
        "SELECT url, links FROM pages WHERE docset_id = ? AND followed = ? AND links IS NOT NULL"
        " ORDER BY depth, place LIMIT 1000",
        (docset_id, _CUT),
    )
    return next((str(page) for page, links in rows if url in unpack_links(links)), None)


def look_again(db: apsw.Connection, docset_id: str) -> int:
    """Let pages whose links found no room be looked through again: there may be room now; returns how many."""
    db.execute("UPDATE pages SET followed = 0 WHERE docset_id = ? AND followed = ?", (docset_id, _CUT))
    return db.changes()


def claim(db: apsw.Connection, docset_id: str, last_turn: Turn, now: int, lease_ms: int) -> Claim | None:
    """Lease the next page that waits, so that nobody else takes it until `lease_ms` have passed; None when none waits."""
    row = db.execute(
        "UPDATE pages SET state = 'fetching', lease_until = ?1 + ?2, attempts = attempts + 1 WHERE seq = coalesce("
        " (SELECT seq FROM pages WHERE docset_id = ?3 AND state = 'fetching' AND turn <= ?4 AND lease_until < ?1"
        "  ORDER BY turn, depth, place, seq LIMIT 1),"
        " (SELECT seq FROM pages WHERE docset_id = ?3 AND state = 'pending' AND turn <= ?4"
        "  ORDER BY turn, depth, place, seq LIMIT 1))"
        " RETURNING id, docset_id, url, depth, turn, hops, attempts",
        (now, lease_ms, docset_id, last_turn),
    ).fetchone()
    if row is None:
        return None
    id_, docset, url, depth, turn, hops, attempts = row
    return Claim(id_, docset, url, depth, Turn(turn), hops, attempts)


def give_back(db: apsw.Connection, claimed: Claim, requests: int = 0) -> None:
    """Put a page back that was claimed and not finished, through no fault of its own; the attempt does not count."""
    db.execute(
        "UPDATE pages SET state = 'pending', lease_until = NULL, attempts = attempts - 1, requests = requests + ?"
        " WHERE id = ? AND state = 'fetching'",
        (requests, claimed.page_id),
    )


def retry(db: apsw.Connection, docset_id: str, url: str) -> None:
    """Put a page that was left out back into the frontier."""
    db.execute(
        "UPDATE pages SET state = 'pending', reason = NULL, message = NULL, attempts = 0"
        " WHERE docset_id = ? AND url = ? AND state IN ('skipped', 'error')",
        (docset_id, url),
    )


def decided(db: apsw.Connection, docset_id: str) -> list[tuple[str, str, str, str | None]]:
    """(page id, url, state, reason) of every page that a rule could decide about otherwise: all but aliases."""
    rows = db.execute("SELECT id, url, state, reason FROM pages WHERE docset_id = ? AND state != 'alias'", (docset_id,))
    return [(str(id_), str(url), str(state), reason) for id_, url, state, reason in rows]


def reopen_page(db: apsw.Connection, page_id_: str) -> None:
    """Put one page back into the frontier; it stays searchable until it is decided about."""
    db.execute("UPDATE pages SET state = 'pending', reason = NULL, message = NULL WHERE id = ?", (page_id_,))


def reopen_failed(db: apsw.Connection, docset_id: str) -> None:
    """Put every page that failed back into the frontier, as if it had never been tried."""
    db.execute(
        "UPDATE pages SET state = 'pending', reason = NULL, message = NULL, attempts = 0 WHERE docset_id = ? AND state = 'error'",
        (docset_id,),
    )


def second_chance(db: apsw.Connection, docset_id: str) -> int:
    """Put pages that failed for the site's sake back into the frontier, twice at most; returns how many."""
    db.execute(
        "UPDATE pages SET state = 'pending' WHERE docset_id = ? AND state = 'error' AND reason IN (?, ?) AND attempts < ?",
        (docset_id, Reason.NO_ANSWER, Reason.SERVER_ERROR, _ROUNDS),
    )
    return db.changes()


def failed(db: apsw.Connection, docset_id: str) -> list[tuple[Claim, str]]:
    """The pages that could not be had, as they were claimed, and why."""
    rows = db.execute(
        "SELECT id, docset_id, url, depth, turn, hops, attempts, message FROM pages WHERE docset_id = ? AND state = 'error'",
        (docset_id,),
    )
    return [
        (Claim(id_, docset, url, depth, Turn(turn), hops, attempts), str(message))
        for id_, docset, url, depth, turn, hops, attempts, message in rows
    ]


def seeds(db: apsw.Connection, docset_id: str) -> list[str]:
    """The URLs that the docset was begun from, by its user, the first one first."""
    rows = db.execute(
        "SELECT url FROM pages WHERE docset_id = ? AND depth = 0 AND discovered_from IS NULL ORDER BY place, seq", (docset_id,)
    )
    return [str(row[0]) for row in rows]


def close(db: apsw.Connection, docset_id: str, state: PageState, reason: Reason, message: str) -> int:
    """Take every page that waits out of the frontier, for one reason; returns how many."""
    db.execute(
        "UPDATE pages SET state = ?, reason = ?, message = ? WHERE docset_id = ? AND state = 'pending'",
        (state, reason, message, docset_id),
    )
    return db.changes()


def reopen(db: apsw.Connection, docset_id: str, *reasons: Reason) -> None:
    """Put the pages that were left out for one of `reasons` back into the frontier."""
    db.executemany(
        "UPDATE pages SET state = 'pending', reason = NULL, message = NULL"
        " WHERE docset_id = ? AND state = 'skipped' AND reason = ?",
        ((docset_id, reason) for reason in reasons),
    )


def waiting(db: apsw.Connection, docset_id: str) -> int:
    """How many pages the docset's frontier holds."""
    number: int = db.execute("SELECT count(*) FROM pages WHERE docset_id = ? AND state = 'pending'", (docset_id,)).get
    return number


def release(db: apsw.Connection, docset_id: str) -> None:
    """Free the leases of a docset whose crawl begins: nobody holds one. A page that ended too many processes is given up."""
    db.execute(
        "UPDATE pages SET lease_until = NULL, state = iif(attempts >= ?1, 'error', 'pending'),"
        " reason = iif(attempts >= ?1, ?3, NULL),"
        " message = iif(attempts >= ?1, 'Given up: docworker ended ' || attempts || ' times while it read this page.', NULL)"
        " WHERE docset_id = ?2 AND state = 'fetching'",
        (MAX_ATTEMPTS, docset_id, Reason.EXTRACTION),
    )


def size(db: apsw.Connection, docset_id: str) -> int:
    """Bytes received for a docset's pages."""
    number: int = db.execute("SELECT coalesce(sum(size), 0) FROM pages WHERE docset_id = ?", (docset_id,)).get
    return number


def over_limits(db: apsw.Connection, docset_id: str) -> tuple[int, int]:
    """(links over the limit of their page, pages over the limit of bytes)."""
    links, pages = db.execute(
        "SELECT coalesce(sum(links_dropped), 0), coalesce(sum(state = 'skipped' AND reason = ?), 0) FROM pages"
        " WHERE docset_id = ?",
        (Reason.LIMIT, docset_id),
    ).get
    return int(links), int(pages)


def pack_links(urls: Sequence[str]) -> bytes:
    """URLs as they are stored; the menu of a site, which stands on every page, shrinks to little."""
    return zlib.compress("\n".join(urls).encode())


def unpack_links(packed: bytes) -> list[str]:
    """What `pack_links` packed."""
    text = zlib.decompress(packed).decode()
    return text.split("\n") if text else []
