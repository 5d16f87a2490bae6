"""The values that flow through docworker, each named for its stage. Frozen, without behaviour or I/O.

    Claim → Fetched | Redirected | Refused | Failed → Document → Chunk → PageIntent        indexing
    Candidate → Hit → Snippet                                                              retrieval

All times are epoch milliseconds, all lengths are Unicode characters unless the name says bytes. Every URL that is
stored is canonical (see `docworker.urls.canonical`).
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b


class DocsetState(StrEnum):
    """What a docset is doing: waiting for its crawl, crawling, done, or without any page."""

    PENDING = "pending"
    INDEXING = "indexing"
    READY = "ready"
    ERROR = "error"


class PageState(StrEnum):
    """What became of a page; `skipped` is a page rightly left out, its message says why."""

    PENDING = "pending"
    FETCHING = "fetching"
    INDEXED = "indexed"
    SKIPPED = "skipped"
    ERROR = "error"


def digest(*parts: str, size: int = 8) -> str:
    """Hex digest of `parts` (joined so that no two lists of parts collide), 2 × `size` characters long."""
    return blake2b("".join(f"{len(part)}:{part}" for part in parts).encode(), digest_size=size).hexdigest()


@dataclass(frozen=True, slots=True)
class Docset:
    """A documentation site, or the part of one below its allowed paths."""

    id: str
    name: str
    named: bool  # the user gave the name: titles of pages no longer change it
    base_url: str
    seed_url: str
    allowed_paths: tuple[str, ...]
    max_pages: int | None  # None: as the settings say
    state: DocsetState
    message: str | None
    created_at: int
    updated_at: int
    crawled_at: int | None  # when a crawl last came to its end


@dataclass(frozen=True, slots=True)
class Claim:
    """A page leased from the frontier for one attempt."""

    page_id: str
    docset_id: str
    url: str
    depth: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page's body as the site sent it."""

    url: str
    content_type: str
    charset: str | None
    body: bytes
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class Redirected:
    """The site, or the page itself, says that the page lives elsewhere. `target` is absolute, not yet canonical."""

    url: str
    target: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The page is rightly left out: gone, forbidden, not documentation, over a limit."""

    url: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The page could not be had although it should exist; a later crawl may succeed."""

    url: str
    reason: str


FetchOutcome = Fetched | Redirected | Refused | Failed


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, or an API entry, and the Markdown below it up to the next one.

    `level` is 1 to 6 for headings; an API entry (`dt` with an id) is one deeper than what it stands in.
    `text` is without the heading; an entry's text begins with its signature.
    """

    level: int
    heading: str
    anchor: str | None
    text: str
    entry: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """What a reader of the page came for."""

    title: str
    site: str | None
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Extracted:
    """A page after extraction: its text, its out-going links (absolute), or where it says it lives."""

    document: Document
    links: tuple[str, ...]
    redirect: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of one page: the unit that is searched and handed over.

    `path` is the heading path below the title, `text` what is shown, `search_text` what is searched and embedded.
    """

    id: str
    ordinal: int
    path: tuple[str, ...]
    anchor: str | None
    text: str
    search_text: str
    text_hash: str


@dataclass(frozen=True, slots=True)
class PageIntent:
    """What is to be done about a page, decided without I/O: rows to add and remove on the shelf, links to follow."""

    title: str
    content_hash: str
    chunks: tuple[Chunk, ...]
    add: tuple[Chunk, ...]
    remove: tuple[str, ...]
    follow: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that the catalog lists, with its place in the fused ranking."""

    chunk_id: str
    page_id: str
    docset_id: str
    text_hash: str
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A winning chunk with all that is shown of it. `url` carries the section's anchor when there is one."""

    chunk_id: str
    page_id: str
    docset_id: str
    url: str
    title: str
    path: tuple[str, ...]
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Snippet:
    """A hit made to fit the budget. `formatted` is None when only the content was asked for."""

    hit: Hit
    content: str
    formatted: str | None
    char_count: int
