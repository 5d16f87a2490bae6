"""Docsets in the catalog. Each function takes a connection and runs inside the caller's transaction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from docworker.model import Docset, DocsetState, PageState
from docworker.urls import origin
from docworker.visible import visible_line

_COLUMNS = (
    "id, name, named, base_url, seed_url, allowed_paths, max_pages, include, exclude, language, state, message, created_at,"
    " updated_at, crawled_at"
)
_Row = tuple[str, str, int, str, str, str, int | None, str, str, str | None, str, str | None, int, int, int | None]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many pages of a docset are in each state, how many chunks it has and with vectors, and its tries."""

    pages: dict[PageState, int]
    chunks: int
    embedded: int
    stuck: int
    retried: int


def _docset(row: _Row) -> Docset:
    (id_, name, named, base_url, seed_url, paths, max_pages, include, exclude, language, state, message, created, updated,
     crawled) = row  # fmt: skip
    return Docset(
        id_,
        visible_line(name),  # an older extractor may have read it
        bool(named),
        base_url,
        seed_url,
        tuple(json.loads(paths)),
        max_pages,
        tuple(json.loads(include)),
        tuple(json.loads(exclude)),
        language,
        DocsetState(state),
        message,
        created,
        updated,
        crawled,
    )


def all_docsets(db: apsw.Connection) -> list[Docset]:
    """Every docset, oldest first."""
    return [_docset(row) for row in db.execute(f"SELECT {_COLUMNS} FROM docsets ORDER BY created_at, id")]


def get(db: apsw.Connection, docset_id: str) -> Docset | None:
    """The docset with this id."""
    row = db.execute(f"SELECT {_COLUMNS} FROM docsets WHERE id = ?", (docset_id,)).fetchone()
    return None if row is None else _docset(row)


def on_origin(db: apsw.Connection, site_origin: str) -> list[Docset]:
    """The docsets of one origin, oldest first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM docsets WHERE origin = ? ORDER BY created_at, id", (site_origin,))
    return [_docset(row) for row in rows]


def insert(db: apsw.Connection, docset: Docset) -> None:
    """Add a docset."""
    db.execute(
        "INSERT INTO docsets (id, name, named, base_url, seed_url, origin, allowed_paths, max_pages, include, exclude, language,"
        " state, message, created_at, updated_at, crawled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            docset.id,
            docset.name,
            docset.named,
            docset.base_url,
            docset.seed_url,
            origin(docset.seed_url),
            json.dumps(docset.allowed_paths),
            docset.max_pages,
            json.dumps(docset.include),
            json.dumps(docset.exclude),
            docset.language,
            docset.state,
            docset.message,
            docset.created_at,
            docset.updated_at,
            docset.crawled_at,
        ),
    )


def rename(db: apsw.Connection, docset_id: str, name: str, *, by_user: bool, now: int) -> None:
    """Name a docset; a name that the user gave is never replaced by one from a page."""
    db.execute(
        "UPDATE docsets SET name = ?, named = max(named, ?), updated_at = ? WHERE id = ? AND (? OR NOT named)",
        (name, by_user, now, docset_id, by_user),
    )


def set_max_pages(db: apsw.Connection, docset_id: str, max_pages: int) -> None:
    """Give a docset a limit of its own."""
    db.execute("UPDATE docsets SET max_pages = ? WHERE id = ?", (max_pages, docset_id))


def set_patterns(db: apsw.Connection, docset_id: str, include: Sequence[str], exclude: Sequence[str]) -> None:
    """Give a docset other patterns of what is taken and what is left out."""
    db.execute("UPDATE docsets SET include = ?, exclude = ? WHERE id = ?", (json.dumps(include), json.dumps(exclude), docset_id))


def set_language(db: apsw.Connection, docset_id: str, language: str) -> None:
    """Note the language of the seed page; the first one noted stays."""
    db.execute("UPDATE docsets SET language = ? WHERE id = ? AND language IS NULL", (language, docset_id))


def note_inventory(db: apsw.Connection, docset_id: str, url: str) -> None:
    """Note where the site lists its names; the first place noted stays."""
    db.execute("UPDATE docsets SET inventory = ? WHERE id = ? AND inventory IS NULL", (url, docset_id))


def inventory(db: apsw.Connection, docset_id: str) -> tuple[str | None, str | None]:
    """Where the site lists its names, as far as is known; and the hash of that list when it was read, "" when it could not be."""
    url, hash_ = db.execute("SELECT inventory, inventory_hash FROM docsets WHERE id = ?", (docset_id,)).fetchone() or (None,) * 2
    return url, hash_


def inventory_read(db: apsw.Connection, docset_id: str, hash_: str) -> None:
    """Note that the list of names was read, or, with "", that it cannot be."""
    db.execute("UPDATE docsets SET inventory_hash = ? WHERE id = ?", (hash_, docset_id))


def move_up(db: apsw.Connection, docset_id: str) -> None:
    """The site of a docset answers by https: from here on it is an https site."""
    db.execute(
        "UPDATE docsets SET seed_url = 'https' || substr(seed_url, 5), origin = 'https' || substr(origin, 5),"
        " base_url = 'https' || substr(base_url, 5) WHERE id = ? AND origin LIKE 'http://%'",
        (docset_id,),
    )


def sitemaps_read(db: apsw.Connection, docset_id: str) -> bool:
    """Whether the site's sitemaps were read in this crawl."""
    return bool(db.execute("SELECT sitemaps_read FROM docsets WHERE id = ?", (docset_id,)).get)


def note_sitemaps(db: apsw.Connection, docset_id: str) -> None:
    """Note that the site's sitemaps were read."""
    db.execute("UPDATE docsets SET sitemaps_read = 1 WHERE id = ?", (docset_id,))


def ask_again(db: apsw.Connection, docset_id: str) -> None:
    """Let the next crawl ask once more for what lists the site's pages and names."""
    db.execute("UPDATE docsets SET sitemaps_read = 0, inventory_hash = NULL WHERE id = ?", (docset_id,))


def set_state(db: apsw.Connection, docset_id: str, state: DocsetState, message: str | None, now: int) -> None:
    """Set a docset's state and what is to be said about it."""
    db.execute("UPDATE docsets SET state = ?, message = ?, updated_at = ? WHERE id = ?", (state, message, now, docset_id))


def delete(db: apsw.Connection, docset_id: str) -> bool:
    """Remove a docset with its pages, chunks and links, and vectors that no other docset's text needs.

    Returns whether there was one.
    """
    hashes = [row[0] for row in db.execute("SELECT DISTINCT text_hash FROM chunks WHERE docset_id = ?", (docset_id,))]
    db.execute("DELETE FROM docsets WHERE id = ?", (docset_id,))
    existed = db.changes() > 0
    db.executemany(
        "DELETE FROM vectors WHERE text_hash = ?1 AND NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.text_hash = ?1)",
        ((text_hash,) for text_hash in hashes),
    )
    return existed


def counts(db: apsw.Connection, docset_id: str, now: int) -> Counts:
    """The numbers that `indexStatus` shows."""
    pages = {
        PageState(state): number
        for state, number in db.execute(
            "SELECT state, count(*) FROM pages WHERE docset_id = ? AND state != 'alias' GROUP BY state", (docset_id,)
        )
    }
    chunks, embedded = db.execute("SELECT count(*), coalesce(sum(embedded), 0) FROM chunks WHERE docset_id = ?", (docset_id,)).get
    stuck, retried = db.execute(
        "SELECT coalesce(sum(state = 'fetching' AND lease_until < ?), 0), coalesce(sum(attempts > 1 OR requests > 1), 0)"
        " FROM pages WHERE docset_id = ? AND state != 'alias'",
        (now, docset_id),
    ).get
    return Counts(pages, chunks, embedded, stuck, retried)


def finish_crawl(db: apsw.Connection, docset_id: str, state: DocsetState, message: str | None, now: int) -> None:
    """Note that a docset's crawl came to its end, and how. What a later one adds does not make the rest any fresher."""
    set_state(db, docset_id, state, message, now)
    db.execute("UPDATE docsets SET crawled_at = coalesce(crawled_at, ?) WHERE id = ?", (now, docset_id))


def unfinished(db: apsw.Connection) -> list[Docset]:
    """The docsets whose crawl is to go on, oldest first: those with pages in the frontier, or no end noted yet."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM docsets WHERE state IN ('pending', 'indexing')"
        " OR EXISTS (SELECT 1 FROM pages WHERE docset_id = docsets.id AND pages.state IN ('pending', 'fetching'))"
        " ORDER BY created_at, id"
    )
    return [_docset(row) for row in rows]
