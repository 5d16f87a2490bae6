"""A refresh crawls its docset afresh, into a catalog of its own beside the one that questions are answered from. When it is done,
what differs is taken over in one transaction: so no question sees a page missing, double or half, and what comes of it is what a
crawl into an empty folder would have come to.

    begin: docset and seeds → the catalog of the refresh          the crawl fills it; pages that are as they were are `kept` there
    publish: chunks, pages, names, vectors, docset                 from `fresh`, as the attached catalog is called, to `main`

Each function takes a connection and runs inside the caller's transaction.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import apsw

from docworker.model import Docset, DocsetState, Link, PageState, Symbol
from docworker.store import docsets, frontier, symbols, vectors
from docworker.urls import on_site, origin

# What the two catalogs differ in where nothing has changed: where a row stands, and when it was written.
_OWN = frozenset({"seq", "id", "docset_id", "kept", "document", "indexed_at"})


@dataclass(frozen=True, slots=True)
class Begun:
    """Why a refresh was begun, and when; `full` means that nothing that was known before is taken as it was."""

    full: bool
    why: str
    at: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a refresh came to. `not_modified` are pages that the site said, or a hash showed, are as they were; `unsure` those of
    the others that could not be had; `embedded` is the number of texts embedded. Not `done`, it has changed nothing, and
    `message` says why."""

    begun_at: int
    ended_at: int
    full: bool
    done: bool
    message: str | None
    requests: int = 0
    pages: int = 0
    not_modified: int = 0
    changed: int = 0
    added: int = 0
    removed: int = 0
    unsure: int = 0
    embedded: int = 0


def begin(db: apsw.Connection, docset: Docset, seeds: Sequence[str], begun: Begun) -> None:
    """Fill the empty catalog of a refresh with its docset and the URLs that this was begun from."""
    docsets.insert(db, replace(docset, language=None, message=None, crawled_at=None))
    db.execute("INSERT INTO meta (key, value) VALUES ('refresh', ?)", (json.dumps(asdict(begun)),))
    site = origin(docset.seed_url)
    for seed in dict.fromkeys([docset.seed_url, *(on_site(url, site) or url for url in seeds)]):
        frontier.add(db, docset.id, Link(seed, 0, None))


def begun(db: apsw.Connection) -> tuple[Docset, Begun] | None:
    """What the catalog of a refresh is one of; None when it was never filled."""
    row = db.execute("SELECT value FROM meta WHERE key = 'refresh'").fetchone()
    found = docsets.all_docsets(db)
    return (found[0], Begun(**json.loads(str(row[0])))) if row is not None and found else None


def progress(db: apsw.Connection, docset_id: str) -> tuple[int, int, int, str | None]:
    """(pages found so far, those that wait, chunks that wait for their vector, why it pauses) of a refresh under way."""
    found, waiting = db.execute(
        "SELECT count(*), coalesce(sum(state IN ('pending', 'fetching')), 0) FROM pages WHERE docset_id = ? AND state != 'alias'",
        (docset_id,),
    ).get
    chunks: int = db.execute("SELECT count(*) FROM chunks WHERE docset_id = ? AND embedded = 0", (docset_id,)).get
    docset = docsets.get(db, docset_id)
    return found, waiting, chunks, None if docset is None else docset.message


def indexed(db: apsw.Connection, docset_id: str) -> int:
    """How many pages of a docset are indexed."""
    number: int = db.execute("SELECT count(*) FROM pages WHERE docset_id = ? AND state = ?", (docset_id, PageState.INDEXED)).get
    return number


def note(db: apsw.Connection, docset_id: str, report: Report) -> None:
    """Keep what a refresh came to, in the place of an earlier one."""
    db.execute("UPDATE docsets SET refreshed = ? WHERE id = ?", (json.dumps(asdict(report)), docset_id))


def report(db: apsw.Connection, docset_id: str) -> Report | None:
    """What the last refresh of a docset came to."""
    kept = db.execute("SELECT refreshed FROM docsets WHERE id = ?", (docset_id,)).get
    return None if kept is None else Report(**json.loads(kept))


def publish(
    db: apsw.Connection, docset_id: str, names: tuple[list[tuple[str, Symbol]], str] | None, begun: Begun, now: int
) -> Report | None:
    """Make the docset what the attached catalog `fresh` says it is, writing only what differs; returns what differed.

    `names` are those that the site lists, and the hash of that list; "" when it could not be read. None: it has no such list.
    Nothing happens, and None comes back, when the docset was deleted meanwhile.
    """
    if docsets.get(db, docset_id) is None:
        return None
    counted = _count(db, docset_id)
    gone = _drop_chunks(db, docset_id)
    _take_pages(db, docset_id)
    _take_names(db, docset_id, names, read_anew=_read_anew(db, docset_id))
    _take_docset(db, docset_id, now)
    vectors.note_unused(db, [*gone, *_take_vectors(db)], now)
    report = replace(counted, begun_at=begun.at, ended_at=now, full=begun.full)
    note(db, docset_id, report)
    return report


def _count(db: apsw.Connection, docset_id: str) -> Report:
    known = "SELECT 1 FROM pages AS old WHERE old.id = new.id AND old.state = 'indexed'"
    requests, pages, kept, unsure, added = db.execute(
        "SELECT coalesce(sum(requests), 0), coalesce(sum(state = 'indexed'), 0),"
        " coalesce(sum(state = 'indexed' AND kept), 0), coalesce(sum(state = 'indexed' AND kept AND message IS NOT NULL), 0),"
        f" coalesce(sum(state = 'indexed' AND NOT EXISTS ({known})), 0) FROM fresh.pages AS new WHERE docset_id = ?",
        (docset_id,),
    ).get
    removed = db.execute(
        "SELECT count(*) FROM pages AS old WHERE docset_id = ? AND state = 'indexed' AND NOT EXISTS"
        " (SELECT 1 FROM fresh.pages AS new WHERE new.id = old.id AND new.state = 'indexed')",
        (docset_id,),
    ).get
    embedded = db.execute("SELECT count(*) FROM fresh.vectors").get
    changed = db.execute(
        "SELECT count(*) FROM fresh.pages AS new JOIN pages AS old ON old.id = new.id WHERE new.docset_id = ?"
        " AND new.state = 'indexed' AND old.state = 'indexed' AND NOT new.kept AND new.content_hash IS NOT old.content_hash",
        (docset_id,),
    ).get
    return Report(0, 0, False, True, None, requests, pages, kept - unsure, changed, added, removed, unsure, embedded)


def _drop_chunks(db: apsw.Connection, docset_id: str) -> list[str]:
    """Drop chunks that their pages have no more; returns the hashes of their texts."""
    gone = db.execute(
        "SELECT id, text_hash FROM chunks WHERE docset_id = ?1"
        " AND page_id NOT IN (SELECT id FROM fresh.pages WHERE docset_id = ?1 AND state = 'indexed' AND kept)"
        " AND id NOT IN (SELECT id FROM fresh.chunks)",
        (docset_id,),
    ).fetchall()
    db.executemany("DELETE FROM chunks WHERE id = ?", ((id_,) for id_, _ in gone))
    return [str(text_hash) for _, text_hash in gone]


def _take_pages(db: apsw.Connection, docset_id: str) -> None:
    """Pages, then what belongs to those whose text is not as it was."""
    columns = [str(row[1]) for row in db.execute("PRAGMA fresh.table_info(pages)")]
    compared = [name for name in columns if name not in _OWN]
    db.execute(  # a seed that the user has given meanwhile is not asked yet
        "DELETE FROM pages WHERE docset_id = ?1 AND id NOT IN (SELECT id FROM fresh.pages WHERE docset_id = ?1)"
        " AND NOT (depth = 0 AND discovered_from IS NULL AND state IN ('pending', 'fetching'))",
        (docset_id,),
    )
    taken, old, new = (", ".join(form.format(name) for name in compared) for form in ("{0} = new.{0}", "pages.{0}", "new.{0}"))
    db.execute(f"UPDATE pages SET {taken} FROM fresh.pages AS new WHERE new.id = pages.id AND ({old}) IS NOT ({new})")
    db.execute(
        "UPDATE pages SET document = new.document, indexed_at = new.indexed_at FROM fresh.pages AS new"
        " WHERE new.id = pages.id AND NOT new.kept"
        " AND (pages.document, pages.indexed_at) IS NOT (new.document, new.indexed_at)"
    )
    inserted = ", ".join([*compared, "id", "docset_id", "document", "indexed_at"])
    db.execute(
        f"INSERT INTO pages ({inserted}) SELECT {inserted} FROM fresh.pages AS new"
        " WHERE NOT EXISTS (SELECT 1 FROM pages WHERE pages.id = new.id) ORDER BY seq"
    )
    db.execute(
        "INSERT INTO chunks (id, page_id, docset_id, ordinal, section, anchor, chars, text_hash, embedded)"
        " SELECT id, page_id, docset_id, ordinal, section, anchor, chars, text_hash, embedded FROM fresh.chunks WHERE true"
        " ORDER BY seq ON CONFLICT (id) DO UPDATE SET ordinal = excluded.ordinal, section = excluded.section,"
        " embedded = max(embedded, excluded.embedded) WHERE (ordinal, section) IS NOT (excluded.ordinal, excluded.section)"
        " OR embedded < excluded.embedded"
    )
    of_read = "SELECT old.seq FROM pages AS old JOIN fresh.pages AS new ON new.id = old.id WHERE NOT new.kept"
    for table, taken in (("passages", "docset_id, hash"), ("symbols", "docset_id, key, name, kind, anchor, chunk")):
        db.execute(f"DELETE FROM {table} WHERE page_seq IN ({of_read})")
        values = ", ".join(f"of.{name.strip()}" for name in taken.split(","))
        db.execute(
            f"INSERT INTO {table} ({taken}, page_seq) SELECT {values}, old.seq FROM fresh.{table} AS of"
            " JOIN fresh.pages AS new ON new.seq = of.page_seq AND NOT new.kept JOIN pages AS old ON old.id = new.id"
            f" ORDER BY of.{'hash' if table == 'passages' else 'rowid'}"
        )


def _read_anew(db: apsw.Connection, docset_id: str) -> bool:
    """Whether there are pages whose names were written anew, without those that the site lists."""
    return bool(
        db.execute(
            "SELECT EXISTS (SELECT 1 FROM fresh.pages WHERE docset_id = ? AND state = 'indexed' AND NOT kept)", (docset_id,)
        ).get
    )


def _take_names(
    db: apsw.Connection, docset_id: str, names: tuple[list[tuple[str, Symbol]], str] | None, *, read_anew: bool
) -> None:
    listed, hash_ = names or ([], None)
    _, before = docsets.inventory(db, docset_id)
    if hash_ == "":  # a list that cannot be read today may come back tomorrow: then it is taken, for pages that changed lack it
        if read_anew:
            db.execute("UPDATE docsets SET inventory_hash = '' WHERE id = ?", (docset_id,))
    elif read_anew or hash_ != before:
        symbols.keep_listed(db, docset_id, listed)
        db.execute("UPDATE docsets SET inventory_hash = ? WHERE id = ?", (hash_, docset_id))


def _take_docset(db: apsw.Connection, docset_id: str, now: int) -> None:
    db.execute(
        "UPDATE docsets SET name = iif(docsets.named, docsets.name, new.name), base_url = new.base_url, seed_url = new.seed_url,"
        " origin = new.origin, language = new.language, inventory = new.inventory, sitemaps_read = new.sitemaps_read,"
        " state = new.state, message = new.message, updated_at = ?1, crawled_at = ?1 FROM fresh.docsets AS new"
        " WHERE new.id = docsets.id AND docsets.id = ?2",
        (now, docset_id),
    )
    db.execute("INSERT OR REPLACE INTO robots (docset_id, body, fetched_at) SELECT docset_id, body, fetched_at FROM fresh.robots")


def _take_vectors(db: apsw.Connection) -> list[str]:
    """Take over the vectors that were made; returns the hashes of their texts."""
    db.execute("INSERT OR REPLACE INTO vectors (model, text_hash, vector) SELECT model, text_hash, vector FROM fresh.vectors")
    return [str(row[0]) for row in db.execute("SELECT text_hash FROM fresh.vectors")]


def fail(db: apsw.Connection, docset_id: str, begun: Begun, message: str, now: int) -> None:
    """A refresh that changes nothing: the docset is what it was, and says why. The vectors that `fresh` has are not lost."""
    made = _take_vectors(db)
    vectors.note_unused(db, made, now)
    state = DocsetState.READY if indexed(db, docset_id) else DocsetState.ERROR
    docsets.set_state(db, docset_id, state, message, now)
    note(db, docset_id, Report(begun.at, now, begun.full, False, message))
