"""The values that flow through docworker, each named for its stage. Frozen, without behaviour or I/O.

    Link → Claim → Asked(Fetched | NotModified | Redirected | Refused | Failed) → Document → Chunk → PageIntent    indexing
    Candidate → Hit → Snippet                                                              retrieval

All times are epoch milliseconds, all lengths are Unicode characters unless the name says bytes. Every URL that is
stored is canonical (see `docworker.urls.canonical`).
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
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


class Reason(StrEnum):
    """Why a page is not indexed: rightly left out, or (the last four) failed."""

    GONE = "gone"
    FORBIDDEN = "forbidden"
    NOT_HTML = "not-html"
    TOO_LARGE = "too-large"
    NO_TEXT = "no-text"
    MOVED_OUT = "moved-out"
    REDIRECTS = "redirects"
    ROBOTS = "robots"
    NOINDEX = "noindex"
    DUPLICATE = "duplicate"
    SOURCE = "source-listing"
    MANUAL = "whole-manual"
    INDEX = "index-page"
    SEARCH = "search-page"
    LANGUAGE = "other-language"
    EXCLUDED = "excluded"
    LIMIT = "limit"
    ADDRESS = "address"
    NO_ANSWER = "no-answer"
    SERVER_ERROR = "server-error"
    EXTRACTION = "extraction"


class Turn(IntEnum):
    """When a page is claimed: what links reach comes first, then what only a sitemap names, then what may repeat it all."""

    LINKED = 0
    SITEMAP = 1
    LAST = 2


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
    include: tuple[str, ...]  # patterns of paths that no default rule leaves out
    exclude: tuple[str, ...]  # patterns of paths that are left out
    language: str | None  # of the seed page, as `en`; None while unknown
    state: DocsetState
    message: str | None
    created_at: int
    updated_at: int
    crawled_at: int | None  # when all of it was last crawled


@dataclass(frozen=True, slots=True)
class Session:
    """An editor that is connected; times in epoch milliseconds."""

    id: str
    client_type: str
    connected_at: int
    last_heartbeat: int


@dataclass(frozen=True, slots=True)
class Access:
    """How a site may be asked: `headers` go to `origin` (and its https twin) alone, and never show in a log or a message."""

    origin: str
    inside: bool = False  # its host's name may lead to a private address: the user gave it as the seed
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Link:
    """A URL for the frontier: how many links it is from the seed, and what named it. With a `reason` it is never asked."""

    url: str
    depth: int
    found_on: str | None
    turn: Turn = Turn.LINKED
    reason: Reason | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A page leased from the frontier for one attempt; `hops` is the number of redirects that led to it."""

    page_id: str
    docset_id: str
    url: str
    depth: int
    turn: Turn
    hops: int
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
    robots: str | None  # its X-Robots-Tag headers, joined


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a later refresh knows a page that is as it was: what the site said of its version, and a hash of what it sent.

    `rules` is a hash of all else that decided what the page came to: the extractor's version, the docset's patterns.
    """

    etag: str | None
    last_modified: str | None
    body_hash: str
    rules: str


@dataclass(frozen=True, slots=True)
class NotModified:
    """The page is as it was when the site gave these validators (HTTP 304)."""

    url: str
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class Redirected:
    """The site, or the page itself, says that the page lives elsewhere. `target` is not yet canonical; `how` is shown."""

    url: str
    target: str
    how: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The page is rightly left out: gone, forbidden, not documentation, over a limit."""

    url: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The page could not be had although it should exist; a later attempt may succeed.

    With the reason ADDRESS it was not asked, because its host leads where docworker must not go; that is no outage of the site.
    `retry_after_s`: the site asked to be left alone for so long, which is longer than a request waits.
    """

    url: str
    reason: Reason
    message: str
    retry_after_s: float | None = None


FetchOutcome = Fetched | NotModified | Redirected | Refused | Failed


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking for a page: the last status (None without an answer), requests made, and bytes received."""

    outcome: FetchOutcome
    status: int | None
    requests: int
    size: int


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
class Symbol:
    """A name that the page explains: qualified, without arguments; `kind` as `function`; where on the page."""

    name: str
    kind: str
    anchor: str | None


@dataclass(frozen=True, slots=True)
class Document:
    """What a reader of the page came for. Links in its Markdown are absolute."""

    title: str
    site: str | None
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...] = ()


@dataclass(frozen=True, slots=True)
class Extracted:
    """A page after extraction: its text, its out-going links (absolute), and what it says about itself.

    `generator` is the name of the profile that read it, `fell_back` that of one that knew the page but found nothing on it;
    `inventory` is where the site lists all its names.
    `redirect` is where it sends its reader by itself, `canonical` where it says its content lives. `language` is the
    declared one, as `en`. `directives` are the contents of its robots meta elements. Of its main content, `linked_share`
    is the share of characters that stand in links, `main_links` the number of these, `prose_chars` the characters outside
    of links of its wordiest paragraph; `search_form` tells a page that can search the site.
    """

    document: Document
    links: tuple[str, ...]
    redirect: str | None
    canonical: str | None
    language: str | None
    directives: tuple[str, ...]
    linked_share: float
    main_links: int
    prose_chars: int
    search_form: bool
    generator: str
    fell_back: str | None
    inventory: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of one page: the unit that is searched and handed over.

    `section` is the ordinal of the first chunk of its section. `path` is the heading path below the title, `text` what is
    shown, `embedded_text` what its vector is of and `text_hash` the hash of that, `words` what it is searched by.
    """

    id: str
    ordinal: int
    section: int
    path: tuple[str, ...]
    anchor: str | None
    text: str
    embedded_text: str
    text_hash: str
    words: str


@dataclass(frozen=True, slots=True)
class PageIntent:
    """What is to be done about a page, decided without I/O: rows to add and remove on the shelf, links to follow.

    With a `left_out` (reason and message) it has no chunks. `canonical` is a page of the docset that this one says it
    is a copy of. `main_hash` is the same for pages of the same text, `passages` hold a hash of every longer section.
    `read_as` names the profile that read the page. `links_dropped` is the number of links over
    the limit of one page. Of `twins`, URLs that a Markdown page is the twin of if they are pages of the docset, one is its
    original.
    """

    title: str
    read_as: str
    content_hash: str
    main_hash: str
    passages: tuple[int, ...]
    canonical: str | None
    twins: tuple[str, ...]
    left_out: tuple[Reason, str] | None
    chunks: tuple[Chunk, ...]
    add: tuple[Chunk, ...]
    remove: tuple[str, ...]
    follow: tuple[str, ...]
    links_dropped: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that a search found and the catalog lists, with all that its score is made from.

    `section` is the ordinal of the first chunk of its section, `page_chunks` the number of chunks of its page. `cosine` is
    None when it was not among those nearest to the question; `word_rank` (from 1) and `words` (set apart by blanks) are those
    of the search by words, None and empty when that did not find it. `name` is the name in the question that it explains.
    """

    chunk_id: str
    page_id: str
    docset_id: str
    ordinal: int
    section: int
    page_chunks: int
    cosine: float | None = None
    word_rank: int | None = None
    words: str = ""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with its score, 0 to 1."""

    candidate: Candidate
    score: float


@dataclass(frozen=True, slots=True)
class Member:
    """A chunk of a section: its id, its ordinal on the page, and the length of its text in characters."""

    chunk_id: str
    ordinal: int
    chars: int


@dataclass(frozen=True, slots=True)
class Passage:
    """What one result shows: `lead`, the chunk that won, and the ids of the chunks that are shown with it, in page order."""

    lead: Candidate
    score: float
    chunk_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A winning chunk with all that is shown of it. `url` carries the section's anchor when there is one.

    Around the chunk's own `text` stand those `before` and `after` it in its section, as far as there is room for them.
    """

    chunk_id: str
    page_id: str
    docset_id: str
    url: str
    title: str
    path: tuple[str, ...]
    text: str
    score: float
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snippet:
    """A hit made to fit the budget. `formatted` is None when only the content was asked for."""

    hit: Hit
    content: str
    formatted: str | None
    char_count: int
