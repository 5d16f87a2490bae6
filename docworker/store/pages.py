"""Pages in the catalog: what became of each URL, and the commit that proves a page is indexed.

One page stands in the index once. Of pages with the same text the nearest is kept, of a page and the one that it says it is a
copy of the latter; who comes later may take the place of who came first, so the outcome does not depend on the order. Each
function takes a connection and runs inside the caller's transaction.
"""

import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass

import apsw

from docworker import CHUNKER_VERSION, EXTRACTOR_VERSION
from docworker.model import Asked, Chunk, Claim, Document, Link, PageIntent, PageState, Reason, Section, Stamp, Symbol
from docworker.store import docsets, symbols
from docworker.store.frontier import add, pack_links, unpack_links
from docworker.urls import spelling

# A page that holds the whole text of this many others, which make up this share of its own, repeats a manual; a page counts
# as held from this share of its text on. Text on more pages than this is boilerplate.
_REPEATED_PAGES, _REPEATED_SHARE, _HELD_SHARE, _BOILERPLATE_PAGES = 3, 0.6, 0.8, 3
_MAX_CHAIN = 50
_SAME_PAGE, _CANONICAL = "same page", "rel=canonical"  # how a URL that does not redirect was found to be an alias


@dataclass(frozen=True, slots=True)
class Page:
    """A page as the listing shows it."""

    id: str
    url: str
    title: str | None
    state: PageState
    reason: Reason | None
    message: str | None
    depth: int
    discovered_from: str | None
    fetched_at: int | None
    indexed_at: int | None


@dataclass(frozen=True, slots=True)
class Trace:
    """All that is known of a URL; `state` is None for an alias, which has a `target` and `how` it was found to be one."""

    url: str
    state: PageState | None
    reason: Reason | None
    message: str | None
    target: str | None
    how: str | None
    depth: int
    from_sitemap: bool
    discovered_from: str | None
    attempts: int
    requests: int
    http_status: int | None
    size: int
    links_dropped: int
    title: str | None
    read_as: str | None
    chunks: int
    fetched_at: int | None
    indexed_at: int | None


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit came to: in words for the log, and chunk ids whose rows are to be taken off the shelf."""

    said: str
    remove: tuple[str, ...] = ()


# What unpacking raises when SQLite did not see that the text is damaged.
UNREADABLE = (zlib.error, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Stored:
    """An indexed page with its text, which `chunker` has cut into chunks with these ids; without, when that is damaged."""

    seq: int
    page_id: str
    docset_id: str
    url: str
    chunker: int
    document: Document | None
    chunk_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """A page as it was before a refresh. Without a `stamp` it cannot be told whether it has changed."""

    state: PageState
    reason: Reason | None
    message: str | None
    stamp: Stamp | None
    title: str
    read_as: str
    content_hash: str | None
    main_hash: str
    canonical: str | None
    follow: tuple[str, ...]
    links_dropped: int
    size: int
    passages: tuple[int, ...]
    chunks: frozenset[str]
    with_vector: frozenset[str]
    extractor: int


@dataclass(frozen=True, slots=True)
class _Rival:
    """An indexed page that may be the same as another. Of two that are, the one that sorts first is kept."""

    turn: int
    depth: int
    url: str
    seq: int
    docset_id: str

    @property
    def rank(self) -> tuple[bool, int, int, int, str]:
        return (self.depth > 0, self.turn, self.depth, len(self.url), self.url)


def commit_indexed(
    db: apsw.Connection,
    claimed: Claim,
    asked: Asked,
    stamp: Stamp | None,
    document: Document | None,
    intent: PageIntent,
    with_vector: Collection[str],
    now: int,
    message: str | None = None,
    extractor: int = EXTRACTOR_VERSION,
) -> Committed:
    """The proof that a page is indexed: chunk list, hashes, validators, links, text and state, in one transaction.

    `with_vector` are ids of chunks whose vector is on the shelf already. A page that turns out to be another one is
    noted as that, and its chunks are to be removed; so are those of indexed pages that turn out to be this one.
    Without a `document`, the page's text is as it was before the refresh that this is the catalog of; `message` says why
    nothing newer is known, and `extractor` which one read it.
    """
    me = _rival(db, claimed.page_id)
    canonical = intent.canonical or _twin(db, claimed, intent.twins)
    new_ids = tuple(chunk.id for chunk in intent.chunks)
    _note(db, claimed, asked, intent.follow, intent.links_dropped, stamp, now)
    db.execute(
        "UPDATE pages SET title = ?, read_as = ?, canonical = ? WHERE id = ?",
        (intent.title, intent.read_as, canonical, claimed.page_id),
    )
    gone: list[str] = [*intent.remove]
    original = None if canonical is None else _original(db, claimed, canonical)
    rivals = [] if original is not None else _same_text(db, claimed, intent)
    winner = min([me, *rivals], key=lambda rival: rival.rank)
    kept_url = original or winner.url
    gone += _absorb_copies(db, claimed, intent.main_hash, canonical, kept_url)
    if kept_url != claimed.url:
        gone += _drop(db, me.seq)
        if original is None:
            said = _give_way(db, me, winner)
        else:
            _become_alias(db, me.seq, original, _CANONICAL)
            said = f"is a copy of {original}"
        return Committed(said, (*new_ids, *gone))
    for rival in rivals:
        gone += _drop(db, rival.seq)
        _give_way(db, rival, me)
    db.execute(
        "UPDATE pages SET state = 'indexed', reason = NULL, message = ?, target = NULL, content_hash = ?,"
        " main_hash = ?, extractor = ?, chunker = ?, document = ?, kept = ?, indexed_at = ? WHERE id = ?",
        (
            message,
            intent.content_hash,
            intent.main_hash,
            extractor,
            CHUNKER_VERSION,
            None if document is None else _pack(document),
            document is None,
            now,
            claimed.page_id,
        ),
    )
    db.execute("DELETE FROM passages WHERE page_seq = ?", (me.seq,))
    db.executemany(
        "INSERT OR IGNORE INTO passages (docset_id, hash, page_seq) VALUES (?, ?, ?)",
        ((claimed.docset_id, hash_, me.seq) for hash_ in intent.passages),
    )
    if document is None:
        return Committed("as it was", tuple(gone))
    symbols.keep(db, claimed.docset_id, me.seq, document.symbols, intent.chunks)
    db.executemany("DELETE FROM chunks WHERE id = ?", ((id_,) for id_ in intent.remove))
    _list_chunks(db, claimed.page_id, claimed.docset_id, intent.chunks, with_vector)
    return Committed(f"indexed, {len(intent.chunks)} chunks, {len(intent.add)} of them new", tuple(gone))


def _list_chunks(
    db: apsw.Connection, of_page: str, docset_id: str, chunks: Sequence[Chunk], with_vector: Collection[str]
) -> None:
    db.executemany(
        "INSERT INTO chunks (id, page_id, docset_id, ordinal, section, anchor, chars, text_hash, embedded)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET ordinal = excluded.ordinal,"
        " section = excluded.section, embedded = max(embedded, excluded.embedded)",
        (
            (
                chunk.id,
                of_page,
                docset_id,
                chunk.ordinal,
                chunk.section,
                chunk.anchor,
                len(chunk.text),
                chunk.text_hash,
                chunk.id in with_vector,
            )
            for chunk in chunks
        ),
    )


def recut(
    db: apsw.Connection, page: "Stored", chunks: Sequence[Chunk], content_hash: str, with_vector: Collection[str]
) -> list[str]:
    """Put what a newer chunker makes of a page's text in the place of what an older one did; returns ids that are gone.

    Nothing happens to a page whose text has changed since `page` was read; the ids of `chunks` are then gone.
    """
    row = db.execute("SELECT document FROM pages WHERE seq = ?", (page.seq,)).fetchone()
    if row is None or row[0] is None or unpack(row[0]) != page.document:
        return [chunk.id for chunk in chunks]
    new = {chunk.id for chunk in chunks}
    gone = [id_ for id_ in chunk_ids(db, page.page_id) if id_ not in new]
    db.executemany("DELETE FROM chunks WHERE id = ?", ((id_,) for id_ in gone))
    _list_chunks(db, page.page_id, page.docset_id, chunks, with_vector)
    told = set(page.document.symbols)
    listed = [(page.url, symbol) for symbol in symbols.of_page(db, page.page_id) if symbol not in told]
    symbols.keep(db, page.docset_id, page.seq, page.document.symbols, chunks)
    symbols.add_listed(db, page.docset_id, listed)
    db.execute(  # what an older extractor read is to be written anew, whatever its text
        "UPDATE pages SET chunker = ?, content_hash = iif(extractor = ?, ?, NULL) WHERE seq = ?",
        (CHUNKER_VERSION, EXTRACTOR_VERSION, content_hash, page.seq),
    )
    return gone


def commit_left_out(
    db: apsw.Connection,
    claimed: Claim,
    asked: Asked | None,
    state: PageState,
    reason: Reason,
    message: str,
    follow: Sequence[str],
    stamp: Stamp | None,
    now: int,
) -> Committed:
    """Note why a page is `skipped` or `error`, and the links it had all the same; `asked` is None when nobody asked.

    With a `stamp`, the page was read, and is left out for what it is.
    """
    gone = _drop(db, _rival(db, claimed.page_id).seq)
    _note(db, claimed, asked, follow, 0, stamp, now)
    db.execute("UPDATE pages SET state = ?, reason = ?, message = ? WHERE id = ?", (state, reason, message, claimed.page_id))
    return Committed(f"{state}: {message}", tuple(gone))


def commit_moved(
    db: apsw.Connection, claimed: Claim, asked: Asked, target: Link, how: str, follow: Sequence[str], max_hops: int, now: int
) -> Committed:
    """The URL redirects: it leaves no page behind, its target takes its place in the frontier. A seed that leads to https takes
    its docset there.

    One that goes round in a circle, or through more than `max_hops` redirects, is left out and says so.
    """
    if claimed.depth == 0 and target.url.startswith("https:") and claimed.url.startswith("http:"):
        docsets.move_up(db, claimed.docset_id)
    *between, url = chain(db, claimed.docset_id, target.url)
    if url == claimed.url:
        return _circle(db, claimed, asked, [claimed.url, *between], how, follow, now)
    if claimed.hops >= max_hops:
        message = f"The page is reached through {claimed.hops} redirects and redirects again (setting max_redirects)."
        return commit_left_out(db, claimed, asked, PageState.SKIPPED, Reason.REDIRECTS, message, follow, None, now)
    me = _rival(db, claimed.page_id)
    gone = _drop(db, me.seq)
    _note(db, claimed, asked, follow, 0, None, now)
    place: int = db.execute("SELECT place FROM pages WHERE seq = ?", (me.seq,)).get
    _become_alias(db, me.seq, target.url, how)
    add(db, claimed.docset_id, target, place=place, hops=claimed.hops + 1)
    if db.execute("SELECT state FROM pages WHERE docset_id = ? AND url = ?", (claimed.docset_id, url)).get == "indexed":
        gone += _absorb_copies(db, claimed, None, None, url)
    return Committed(f"redirects to {target.url}", tuple(gone))


def _circle(
    db: apsw.Connection, claimed: Claim, asked: Asked, urls: list[str], how: str, follow: Sequence[str], now: int
) -> Committed:
    """Redirects that lead from the claimed page back to it: the first of them in the frontier stands for all, and says so."""
    _note(db, claimed, asked, follow, 0, None, now)
    rank = "SELECT place, hops, url FROM pages WHERE docset_id = ? AND url = ?"
    first = urls.index(min(urls, key=lambda url: tuple(db.execute(rank, (claimed.docset_id, url)).get)))
    way = [*urls[first:], *urls[: first + 1]]
    message = f"The page redirects in a circle: {' → '.join(way)[:1_000]}."
    me = _rival(db, claimed.page_id)
    gone = _drop(db, me.seq)
    _become_alias(db, me.seq, urls[1], how)
    db.execute(
        "UPDATE pages SET state = 'skipped', reason = ?, message = ?, target = NULL WHERE docset_id = ? AND url = ?",
        (Reason.REDIRECTS, message, claimed.docset_id, way[0]),
    )
    return Committed(f"skipped: {message}", tuple(gone))


def leave_out_indexed(
    db: apsw.Connection, of_page: str, reason: Reason, message: str, *, reopen: bool = False
) -> tuple[str, ...]:
    """Take an indexed page out of the index; returns the ids of its chunks. `reopen`: what gave way to it is asked again."""
    me = _rival(db, of_page)
    gone = _drop(db, me.seq)
    db.execute("UPDATE pages SET state = 'skipped', reason = ?, message = ? WHERE id = ?", (reason, message, of_page))
    if reopen:
        reopen_copies(db, me.docset_id, me.url)
    return tuple(gone)


def _note(
    db: apsw.Connection,
    claimed: Claim,
    asked: Asked | None,
    follow: Sequence[str],
    links_dropped: int,
    stamp: Stamp | None,
    now: int,
) -> None:
    """What came of asking, and what the page leads to."""
    requests, size, status = (0, 0, None) if asked is None else (asked.requests, asked.size, asked.status)
    db.execute(
        "UPDATE pages SET lease_until = NULL, requests = requests + ?, size = ?, http_status = ?, fetched_at = ?, links = ?,"
        " links_dropped = ?, followed = 0, etag = ?, last_modified = ?, body_hash = ?, rules = ? WHERE id = ?",
        (
            requests,
            size,
            status,
            None if asked is None else now,
            pack_links(follow) if follow else None,
            links_dropped,
            *((None,) * 4 if stamp is None else (stamp.etag, stamp.last_modified, stamp.body_hash, stamp.rules)),
            claimed.page_id,
        ),
    )


def _rival(db: apsw.Connection, of_page: str) -> _Rival:
    row: tuple[int, int, int, str, str] = db.execute(
        "SELECT seq, turn, depth, url, docset_id FROM pages WHERE id = ?", (of_page,)
    ).get
    seq, turn, depth, url, docset_id = row
    return _Rival(turn, depth, url, seq, docset_id)


def _same_text(db: apsw.Connection, claimed: Claim, intent: PageIntent) -> list[_Rival]:
    """Other indexed pages of the same text, but for those that say they are copies of this one, unless it says so of them."""
    if not intent.main_hash:  # taken as schema 1 had it: its text was not compared
        return []
    rows = db.execute(
        "SELECT id FROM pages WHERE docset_id = ? AND main_hash = ? AND state = 'indexed' AND id != ?"
        " AND (canonical IS NOT ? OR url IS ?)",
        (claimed.docset_id, intent.main_hash, claimed.page_id, claimed.url, intent.canonical),
    ).fetchall()
    return [_rival(db, str(id_)) for (id_,) in rows]


def _twin(db: apsw.Connection, claimed: Claim, candidates: Sequence[str]) -> str | None:
    """The first of the candidates that is an indexed page, or leads to one."""
    return next((url for url in candidates if _original(db, claimed, url) is not None), None)


def _original(db: apsw.Connection, claimed: Claim, canonical: str) -> str | None:
    """The indexed page that a page says it is a copy of; None when there is none, or when each says so of the other."""
    url = canonical
    for _ in range(_MAX_CHAIN):
        row = db.execute(
            "SELECT state, reason, target, canonical FROM pages WHERE docset_id = ? AND url = ?", (claimed.docset_id, url)
        ).fetchone()
        if row is None or claimed.url in (url, row[3]):
            return None
        state, reason, target, _ = row
        if state == "indexed":
            return url
        if target is None or (state != "alias" and reason != Reason.DUPLICATE):
            return None
        url = str(target)
    return None


def _absorb_copies(db: apsw.Connection, claimed: Claim, main_hash: str | None, canonical: str | None, kept_url: str) -> list[str]:
    """Let pages that say they are copies of this one become aliases of what is kept; returns ids of their chunks.

    What had given way to such a copy gives way to this page if it has its text and is not nearer, else it is asked again.
    """
    gone, me = [], _rival(db, claimed.page_id)
    for url in _leading_to(db, claimed.docset_id, claimed.url):
        copies = db.execute(
            "SELECT id, main_hash FROM pages WHERE docset_id = ?1 AND canonical = ?2 AND id != ?3 AND url NOT IN (?4, ?5)"
            " AND (state = 'indexed' OR (state = 'skipped' AND reason = ?6)) ORDER BY seq",
            (claimed.docset_id, url, claimed.page_id, canonical or "", kept_url, Reason.DUPLICATE),
        ).fetchall()
        for id_, hash_ in copies:
            copy = _rival(db, str(id_))
            gone += _drop(db, copy.seq)
            _become_alias(db, copy.seq, kept_url, _CANONICAL)
            for (other,) in db.execute(
                "SELECT id FROM pages WHERE docset_id = ? AND target = ? AND state = 'skipped' AND reason = ?",
                (copy.docset_id, copy.url, Reason.DUPLICATE),
            ).fetchall():
                rival = _rival(db, str(other))
                if hash_ == main_hash and me.rank < rival.rank:
                    _say_duplicate(db, rival.seq, kept_url)
                else:
                    db.execute(
                        "UPDATE pages SET state = 'pending', reason = NULL, message = NULL, target = NULL WHERE seq = ?",
                        (rival.seq,),
                    )
    return gone


def _leading_to(db: apsw.Connection, docset_id: str, url: str) -> list[str]:
    """`url` and the URLs that lead to it through aliases, in any number of steps."""
    found = [url]
    for each in found:
        found += [alias for alias in aliases(db, docset_id, each, _MAX_CHAIN) if alias not in found]
        if len(found) > _MAX_CHAIN:
            break
    return found


def _give_way(db: apsw.Connection, loser: _Rival, winner: _Rival) -> str:
    """One of two pages with the same text goes: as another spelling of the other's URL, or as its duplicate.

    What gave way to the loser before gives way to the winner now.
    """
    for seq, state in db.execute(
        "SELECT seq, state FROM pages WHERE docset_id = ?1 AND target = ?2"
        " AND ((state = 'skipped' AND reason = ?3) OR (state = 'alias' AND reason IN (?4, ?5)))",
        (loser.docset_id, loser.url, Reason.DUPLICATE, _SAME_PAGE, _CANONICAL),
    ).fetchall():
        if state == "skipped":
            _say_duplicate(db, int(str(seq)), winner.url)
        else:
            db.execute("UPDATE pages SET target = ? WHERE seq = ?", (winner.url, seq))
    if spelling(loser.url) == spelling(winner.url):
        _become_alias(db, loser.seq, winner.url, _SAME_PAGE)
        return f"is {winner.url} under another URL"
    return f"skipped: {_say_duplicate(db, loser.seq, winner.url)}"


def _say_duplicate(db: apsw.Connection, seq: int, kept_url: str) -> str:
    message = f"The same text as {kept_url}, which is kept."
    db.execute(
        "UPDATE pages SET state = 'skipped', reason = ?, message = ?, target = ? WHERE seq = ?",
        (Reason.DUPLICATE, message, kept_url, seq),
    )
    return message


def _become_alias(db: apsw.Connection, seq: int, target: str, how: str) -> None:
    db.execute("UPDATE pages SET state = 'alias', target = ?, reason = ?, message = NULL WHERE seq = ?", (target, how, seq))


def _drop(db: apsw.Connection, seq: int) -> list[str]:
    """Forget a page's text and chunks; returns their ids."""
    gone = [
        str(row[0]) for row in db.execute("SELECT id FROM chunks WHERE page_id = (SELECT id FROM pages WHERE seq = ?)", (seq,))
    ]
    db.execute("DELETE FROM chunks WHERE page_id = (SELECT id FROM pages WHERE seq = ?)", (seq,))
    db.execute("DELETE FROM passages WHERE page_seq = ?", (seq,))
    symbols.keep(db, "", seq, ())
    db.execute(
        "UPDATE pages SET document = NULL, content_hash = NULL, indexed_at = NULL, kept = 0, etag = NULL, last_modified = NULL,"
        " body_hash = NULL, rules = NULL WHERE seq = ?",
        (seq,),
    )
    return gone


def reopen_copies(db: apsw.Connection, docset_id: str, url: str) -> None:
    """Put the pages that gave way to `url`, which is taken out, back into the frontier."""
    db.execute(
        "UPDATE pages SET state = 'pending', reason = NULL, message = NULL, target = NULL WHERE docset_id = ? AND target = ?"
        " AND ((state = 'skipped' AND reason = ?) OR (state = 'alias' AND reason IN (?, ?)))",
        (docset_id, url, Reason.DUPLICATE, _SAME_PAGE, _CANONICAL),
    )


def repeating(db: apsw.Connection, docset_id: str) -> list[tuple[str, str, int]]:
    """(page id, url, number of pages repeated) of indexed pages that hold the whole text of several others and little else.

    The seed is none of them.
    """
    rows = db.execute("SELECT page_seq, count(*) FROM passages WHERE docset_id = ? GROUP BY page_seq", (docset_id,))
    totals: dict[int, int] = dict(rows)
    shared = db.execute(
        "SELECT one.page_seq, other.page_seq, count(*) FROM passages AS one JOIN passages AS other"
        " ON other.docset_id = one.docset_id AND other.hash = one.hash AND other.page_seq != one.page_seq"
        " WHERE one.docset_id = ?1 AND one.hash IN"
        " (SELECT hash FROM passages WHERE docset_id = ?1 GROUP BY hash HAVING count(*) BETWEEN 2 AND ?2) GROUP BY 1, 2",
        (docset_id, _BOILERPLATE_PAGES),
    )
    held: dict[int, list[int]] = {}
    for one, other, number in shared:
        if number >= _HELD_SHARE * totals[other]:
            held.setdefault(one, []).append(number)
    found = []
    for seq, numbers in sorted(held.items()):
        if len(numbers) >= _REPEATED_PAGES and sum(numbers) >= _REPEATED_SHARE * totals[seq]:
            id_, url, depth = db.execute("SELECT id, url, depth FROM pages WHERE seq = ?", (seq,)).get
            if depth > 0:
                found.append((id_, url, len(numbers)))
    return found


def resolve(db: apsw.Connection, docset_id: str, url: str) -> str:
    """Where `url` leads through known aliases (itself when it is none)."""
    return chain(db, docset_id, url)[-1]


def chain(db: apsw.Connection, docset_id: str, url: str) -> list[str]:
    """`url` and every URL that it leads to through known aliases, in this order."""
    urls = [url]
    while len(urls) < _MAX_CHAIN:
        row = db.execute(
            "SELECT target FROM pages WHERE docset_id = ? AND url = ? AND state = 'alias'", (docset_id, urls[-1])
        ).fetchone()
        if row is None or row[0] in urls:
            break
        urls.append(str(row[0]))
    return urls


def trace(db: apsw.Connection, docset_id: str, url: str) -> Trace | None:
    """All that is known of a URL itself, aliases not resolved."""
    row = db.execute(
        "SELECT url, state, reason, message, target, depth, turn, discovered_from, attempts, requests, http_status, size,"
        " links_dropped, title, read_as, (SELECT count(*) FROM chunks WHERE page_id = pages.id), fetched_at, indexed_at"
        " FROM pages WHERE docset_id = ? AND url = ?",
        (docset_id, url),
    ).fetchone()
    if row is None:
        return None
    url, state, reason, message, target, depth, turn, found_on, attempts, requests, status, size, dropped, *rest = row
    title, read_as, chunks, fetched_at, indexed_at = rest
    alias = state == "alias"
    return Trace(
        url=url,
        state=None if alias else PageState(state),
        reason=None if alias or reason is None else Reason(reason),
        message=message,
        target=target,
        how=reason if alias else None,
        depth=depth,
        from_sitemap=turn == 1,
        discovered_from=found_on,
        attempts=attempts,
        requests=requests,
        http_status=status,
        size=size,
        links_dropped=dropped,
        title=title,
        read_as=read_as,
        chunks=chunks,
        fetched_at=fetched_at,
        indexed_at=indexed_at,
    )


def aliases(db: apsw.Connection, docset_id: str, url: str, limit: int) -> list[str]:
    """URLs that lead to `url` in one step, at most `limit`."""
    rows = db.execute(
        "SELECT url FROM pages WHERE docset_id = ? AND target = ? AND state = 'alias' ORDER BY seq LIMIT ?",
        (docset_id, url, limit),
    )
    return [str(row[0]) for row in rows]


def path(db: apsw.Connection, docset_id: str, url: str) -> list[str]:
    """How `url` was found: from the seed, or from a sitemap, each URL that led to the next, and `url` itself."""
    urls = [url]
    while len(urls) < _MAX_CHAIN:
        row = db.execute("SELECT discovered_from FROM pages WHERE docset_id = ? AND url = ?", (docset_id, urls[0])).fetchone()
        if row is None or row[0] is None or row[0] in urls:
            break
        urls.insert(0, str(row[0]))
    return urls


def by_url(db: apsw.Connection, docset_id: str, url: str) -> Page | None:
    """The page at a canonical URL, redirects resolved."""
    pages = _listing(db, "docset_id = ? AND url = ? AND state != 'alias'", (docset_id, resolve(db, docset_id, url)), 1, 0)
    return pages[0] if pages else None


def listing(db: apsw.Connection, docset_id: str, state: PageState | None, limit: int, offset: int) -> tuple[list[Page], int]:
    """One page of the listing, nearest first, and how many there are in all."""
    where, bindings = "docset_id = ? AND state != 'alias'", [docset_id]
    if state is not None:
        where, bindings = "docset_id = ? AND state = ?", [docset_id, state]
    total: int = db.execute(f"SELECT count(*) FROM pages WHERE {where}", bindings).get
    return _listing(db, where, bindings, limit, offset), total


def stuck(db: apsw.Connection, docset_id: str, now: int) -> list[Page]:
    """Pages whose lease ran out without an outcome (at most 500)."""
    return _listing(db, "docset_id = ? AND state = 'fetching' AND lease_until < ?", (docset_id, now), 500, 0)


def _listing(db: apsw.Connection, where: str, bindings: Sequence[str | int], limit: int, offset: int) -> list[Page]:
    rows = db.execute(
        "SELECT id, url, title, state, reason, message, depth, discovered_from, fetched_at, indexed_at FROM pages"
        f" WHERE {where} ORDER BY turn, depth, place, seq LIMIT ? OFFSET ?",
        (*bindings, limit, offset),
    )
    return [
        Page(
            id_,
            url,
            title,
            PageState(state),
            None if reason is None else Reason(reason),
            message,
            depth,
            found_on,
            fetched,
            indexed,
        )
        for id_, url, title, state, reason, message, depth, found_on, fetched, indexed in rows
    ]


def documents(db: apsw.Connection, after_seq: int, limit: int) -> list[Stored]:
    """Pages with a text after `after_seq` in order: for rebuilding the shelf."""
    rows = db.execute(
        "SELECT seq, id, docset_id, url, chunker, document FROM pages WHERE seq > ? AND document IS NOT NULL"
        " ORDER BY seq LIMIT ?",
        (after_seq, limit),
    )
    return [
        Stored(seq, id_, docset_id, url, chunker, _unpacked(document), chunk_ids(db, str(id_)))
        for seq, id_, docset_id, url, chunker, document in rows
    ]


def _unpacked(packed: bytes) -> Document | None:
    try:
        return unpack(packed)
    except UNREADABLE:
        return None


def lose(db: apsw.Connection, seq: int) -> None:
    """The text of a page is damaged: it has none until a refresh has read the page anew."""
    db.execute("DELETE FROM chunks WHERE page_id = (SELECT id FROM pages WHERE seq = ?)", (seq,))
    db.execute("UPDATE pages SET document = NULL, content_hash = NULL, rules = NULL, extractor = 0 WHERE seq = ?", (seq,))


def cut_otherwise(db: apsw.Connection) -> int:
    """How many pages an older chunker cut."""
    number: int = db.execute("SELECT count(*) FROM pages WHERE document IS NOT NULL AND chunker != ?", (CHUNKER_VERSION,)).get
    return number


def read_otherwise(db: apsw.Connection) -> list[str]:
    """Ids of docsets with pages that another version of the extractor read."""
    rows = db.execute("SELECT DISTINCT docset_id FROM pages WHERE state = 'indexed' AND extractor != ?", (EXTRACTOR_VERSION,))
    return [str(row[0]) for row in rows]


def earlier(db: apsw.Connection, docset_id: str, url: str) -> Earlier | None:
    """What is known of a page that a refresh comes to; None when it is not known by this URL, or never was asked."""
    row = db.execute(
        "SELECT seq, id, state, reason, message, etag, last_modified, body_hash, rules, title, read_as, content_hash, main_hash,"
        " canonical, links, links_dropped, size, extractor FROM pages"
        " WHERE docset_id = ? AND url = ? AND state IN ('indexed', 'skipped')",
        (docset_id, url),
    ).fetchone()
    if row is None:
        return None
    seq, id_, state, reason, message, etag, last_modified, body_hash, rules, *rest = row
    title, read_as, content_hash, main_hash, canonical, links, links_dropped, size, extractor = rest
    listed = db.execute("SELECT id, embedded FROM chunks WHERE page_id = ?", (id_,)).fetchall()
    return Earlier(
        state=PageState(state),
        reason=None if reason is None else Reason(reason),
        message=message,
        stamp=None if rules is None else Stamp(etag, last_modified, body_hash, rules),
        title=title or "",
        read_as=read_as or "",
        content_hash=content_hash,
        main_hash=main_hash or "",
        canonical=canonical,
        follow=tuple(unpack_links(links)) if links else (),
        links_dropped=links_dropped,
        size=size,
        passages=tuple(int(row[0]) for row in db.execute("SELECT hash FROM passages WHERE page_seq = ?", (seq,))),
        chunks=frozenset(str(id_) for id_, _ in listed),
        with_vector=frozenset(str(id_) for id_, embedded in listed if embedded),
        extractor=extractor,
    )


def read_as(db: apsw.Connection, docset_id: str) -> list[tuple[str, int]]:
    """Which profile read how many of the indexed pages, the most first."""
    rows = db.execute(
        "SELECT coalesce(read_as, ''), count(*) FROM pages WHERE docset_id = ? AND state = 'indexed'"
        " GROUP BY read_as ORDER BY 2 DESC, 1",
        (docset_id,),
    )
    return [(str(name), int(number)) for name, number in rows]


def chunk_ids(db: apsw.Connection, of_page: str) -> tuple[str, ...]:
    """The ids of a page's chunks in page order."""
    return tuple(row[0] for row in db.execute("SELECT id FROM chunks WHERE page_id = ? ORDER BY ordinal", (of_page,)))


def _pack(document: Document) -> bytes:
    return zlib.compress(json.dumps(asdict(document), ensure_ascii=False, separators=(",", ":")).encode())


def unpack(packed: bytes) -> Document:
    """What `_pack` packed."""
    fields = json.loads(zlib.decompress(packed))
    named = tuple(Symbol(**symbol) for symbol in fields.get("symbols", ()))  # until schema 2 there were none
    return Document(fields["title"], fields["site"], tuple(_sections(fields["sections"])), named)


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
