"""Requests and responses of every front end, as `api-reference` has them. camelCase outside, snake_case inside.

Unknown request fields are refused; `null` for an optional field means the same as leaving it out. Keys that the reference
names are never changed or removed; new ones stand beside them.
"""

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from docworker.model import DocsetState, PageState, Reason

MAX_QUERY_CHARS = 8_192
MAX_HEADERS = 20
# A character that is no white space as Unicode and pydantic define it; `\\S` is another set in every language.
NOT_BLANK = r"[^\t-\r \u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]"


def _whole(value: object) -> object:
    """JSON has one kind of number: 5.0 is the whole number 5; true is none."""
    if isinstance(value, bool):
        raise ValueError("a whole number")
    return int(value) if isinstance(value, float) and value.is_integer() else value


# A bound also makes pydantic refuse text that is no Unicode, such as half of a surrogate pair.
Text = Annotated[str, StringConstraints(strict=True, max_length=2_048)]
Whole = Annotated[int, Field(strict=True), BeforeValidator(_whole)]
Hours = Annotated[float, Field(strict=True, ge=0, le=1_000_000, allow_inf_nan=False)]


# What is shown to people as a name: one line, nothing that commands a terminal or turns the direction of what stands around it.
_LINE = r"^[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"


def _named(text: str) -> str:
    if not re.fullmatch(_LINE, text):
        raise ValueError("one line without control characters")
    return text


Name = Annotated[
    str, StringConstraints(strict=True, min_length=1), AfterValidator(_named), Field(json_schema_extra={"pattern": _LINE})
]
Patterns = Annotated[list[Annotated[Text, StringConstraints(min_length=1, pattern=r"^[/*?\[]")]], Field(max_length=100)]

# RFC 9110 sections 5.1 and 5.5, of whose values only those that every server reads the same.
_NAME, _VALUE = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", r"[!-~]([\t -~]{0,4094}[!-~])?"
# What the request itself says: where it goes, how it is framed, and which part or form of the page is wanted.
_NOT_GIVEN = (
    r"host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|proxy-.*|accept-encoding|range|if-.*"
)
_IN_ANY_CASE = re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", _NOT_GIVEN)  # JSON Schema has no flags


def _sendable(headers: object) -> object:
    """Headers as a site can be sent them. What is wrong is said without any of their values, nor what may be one."""
    if not isinstance(headers, dict):
        raise ValueError('an object of names and values, such as {"Authorization": "Bearer …"}')
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"at most {MAX_HEADERS} headers")
    for number, (name, value) in enumerate(headers.items(), 1):
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            raise ValueError(f"names of letters, digits and !#$%&'*+-.^_`|~, which that of header {number} is not")
        if re.fullmatch(_NOT_GIVEN, name, re.IGNORECASE):
            raise ValueError(f"headers that docworker does not set itself, which {name} is")
        if not isinstance(value, str) or not re.fullmatch(_VALUE, value):
            raise ValueError(f"1 to 4,096 printable ASCII characters as the value of {name}, with no blank at its ends")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("each header once, in upper or lower case")
    return headers


Headers = Annotated[
    dict[str, str],
    BeforeValidator(_sendable),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_HEADERS,
            "propertyNames": {"pattern": f"^(?!({_IN_ANY_CASE})$){_NAME}$"},
            "additionalProperties": {"type": "string", "pattern": f"^{_VALUE}$"},
            "description": "Each name once, in upper or lower case.",
        }
    ),
]


def _given(field: str) -> JsonDict:
    """The schema of a request in which an optional field has a value."""
    return {"required": [field], "properties": {field: {"type": "string"}}}


class _Model(BaseModel):
    model_config = ConfigDict(
        defer_build=True,  # a command needs few of them
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        json_schema_serialization_defaults_required=True,  # an answer has all its keys, always
    )


class _Request(_Model):
    model_config = ConfigDict(validate_by_name=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        optional = {field.alias for field in cls.model_fields.values() if not field.is_required()}
        return {key: value for key, value in data.items() if value is not None or key not in optional}


# -- GET /health


class HealthResponse(_Model):
    """`instance` tells one running daemon from another; `ready` whether it serves more than this already."""

    status: Literal["ok"]
    timestamp: int
    version: str
    instance: str
    ready: bool


# -- POST /index


class IndexRequest(_Request):
    """Index a documentation site.

    Patterns are matched against a page's whole path, with its query: `*` is any text, `?` a character, `[…]` one of several.
    What `exclude` matches is left out; what `include` matches is taken although docworker would leave it out. `headers` are sent
    to the site itself with every request; without them those given before stay, and an empty object removes them.
    """

    base_url: Annotated[Text, Field(examples=["https://docs.example.org"])]
    """Address of the site, http or https: without user, query and fragment."""
    seed_slug: Annotated[Text, Field(examples=["/guide/start"])]
    """Path of the first page, or its full URL on that site."""
    name: Annotated[Name, StringConstraints(max_length=200)] | None = None
    """Default: the title of the site or of the first page, else the host."""
    allowed_paths: Annotated[list[Text], Field(min_length=1, max_length=100)] | None = None
    """Paths below which pages are taken, by whole segments; the first page has to lie there. Default: its directory."""
    wait_for_seed: StrictBool = True
    """Answer when the first page can be found, and with 502 when it cannot be had; else at once."""
    max_pages: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = None
    """Most pages. Default: as the settings say."""
    include: Patterns | None = None
    exclude: Patterns | None = None
    headers: Annotated[Headers | None, Field(repr=False)] = None


class IndexResponse(_Model):
    """The docset that was made or reused."""

    docset_id: str
    status: DocsetState
    seed_indexed: bool


# -- POST /retrieve


class RetrieveRequest(_Request):
    """Search for passages."""

    query: Annotated[
        str,
        StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS),
        Field(examples=["limit open connections"], json_schema_extra={"pattern": NOT_BLANK}),
    ]
    """The question, or a whole prompt. White space around it does not count."""
    top_k: Whole = 5
    """Most results. Less than 1 counts as 1, more than 100 as 100."""
    docset_ids: Annotated[list[Text], Field(max_length=1_000)] | None = None
    """The docsets to search, default all. An empty list finds nothing."""
    max_chunks_per_page: Annotated[Whole, Field(ge=1)] = 3
    """Most results of one page."""
    max_total_chars: Annotated[Whole, Field(ge=1)] = 32_000
    """The budget: most characters of all results together."""
    format_snippets: StrictBool = True
    """Give each result its `snippet`, ready for context injection."""

    @model_validator(mode="after")
    def _clamp(self) -> "RetrieveRequest":
        self.top_k = max(1, min(100, self.top_k))
        return self


class SnippetResponse(_Model):
    """A result made ready for context injection; `char_count` counts `formatted`."""

    formatted: str
    title: str
    url: str
    breadcrumb: str
    content: str
    char_count: int


class ResultResponse(_Model):
    """A passage; `score` is 0 to 1 and comparable within one response."""

    chunk_id: str
    page_id: str
    docset_id: str
    content: str
    url: str
    title: str
    heading: str
    score: float
    snippet: SnippetResponse | None = None


class RetrieveResponse(_Model):
    """Passages best first; `total_chars` is what they cost of the budget."""

    query: str
    results: list[ResultResponse]
    total_chars: int
    truncated: bool


# -- GET /status, GET /docset/:id


class StatusRequest(_Request):
    """Which docsets, and whether with details of stuck pages."""

    docset_id: Text | None = None
    """Only this docset."""
    include_stuck: bool = False
    """List the pages that are stuck (`stuckPageDetails`), not only their number."""


class DocsetRequest(_Request):
    """One docset by its id."""

    id: Text
    """The docset's id."""


class StuckPage(_Model):
    """A page whose lease ran out without an outcome."""

    id: str
    url: str


class IndexStatus(_Model):
    """How far a docset is. `embedded_chunks` of `total_chunks` have their vector; BM25 finds the others too."""

    docset_id: str
    total_pages: int
    indexed_pages: int
    pending_pages: int
    error_pages: int
    skipped_pages: int
    total_chunks: int
    embedded_chunks: int
    status: DocsetState
    stuck_pages: int
    retried_pages: int
    stuck_page_details: list[StuckPage] | None = None


class RefreshProgress(_Model):
    """How far a refresh is: pages met so far, those of them that wait, chunks whose vector waits. The old state is served until
    it is done."""

    begun_at: int
    full_reindex: bool
    pages: int
    pending_pages: int
    pending_chunks: int


class RefreshReport(_Model):
    """What the last refresh came to. Not `done`, it changed nothing, and `message` says why.

    `not_modified` pages were as before, `unsure` ones could not be had and are kept as they were; `embedded` counts texts.
    """

    begun_at: int
    ended_at: int
    full_reindex: bool
    done: bool
    message: str | None
    requests: int
    pages: int
    not_modified: int
    changed: int
    added: int
    removed: int
    unsure: int
    embedded: int


class DocsetResponse(_Model):
    """A docset; `message` says why it failed or which limit it reached, `crawled_at` when all of it was last crawled. Of the
    request headers that were given for it only the names are told.

    While it is refreshed, `refresh` says how far that is, and everything else is about what is served meanwhile.
    """

    id: str
    name: str
    base_url: str
    seed_slug: str
    allowed_paths: list[str]
    include: list[str]
    exclude: list[str]
    header_names: list[str]
    language: str | None
    created_at: int
    updated_at: int
    crawled_at: int | None
    status: DocsetState
    message: str | None
    refresh: RefreshProgress | None
    last_refresh: RefreshReport | None
    index_status: IndexStatus


class ModelStatus(_Model):
    """The embedding model: `unavailable` means that BM25 answers alone, and `message` says why."""

    state: Literal["loading", "ready", "unavailable"]
    id: str | None
    message: str | None


class StatusResponse(_Model):
    """All there is to say about what is indexed."""

    docsets: list[DocsetResponse]
    model: ModelStatus
    size_bytes: int


# -- GET /docset/:id/pages


class PagesRequest(_Request):
    """A page of the listing."""

    id: Text
    """The docset's id."""
    status: PageState | None = None
    """Only pages in this state."""
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    """Most pages in the answer."""
    offset: Annotated[int, Field(ge=0, le=2**53)] = 0
    """How many pages to skip."""


class PageResponse(_Model):
    """What became of a page; `reason` is a word for what `error_message` says in a sentence."""

    id: str
    url: str
    path: str
    title: str | None
    status: PageState
    reason: Reason | None
    depth: int
    discovered_from: str | None
    error_message: str | None
    fetched_at: int | None
    indexed_at: int | None


class PagesResponse(_Model):
    """A page of the listing and the length of the whole."""

    pages: list[PageResponse]
    total: int
    limit: int
    offset: int


# -- POST /refresh, POST /refresh-all


class RefreshAllRequest(_Request):
    """Ask the sites of all docsets that were last crawled `max_age` hours ago or longer, with `force` of all, what has changed.

    `full_reindex` takes nothing as it was: every page is read, and every text embedded, anew.
    """

    force: StrictBool = False
    """Also what is fresh."""
    max_age: Hours = 24.0
    """Hours after which a docset is no longer fresh."""
    full_reindex: StrictBool = False
    """Read every page, and embed every text, anew."""


class RefreshRequest(RefreshAllRequest):
    """Ask the site of one docset, by its id or its base URL, what has changed."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_given("docsetId"), _given("baseUrl")]})

    docset_id: Text | None = None
    """Which docset; this or `baseUrl` is required."""
    base_url: Text | None = None
    """Its base URL in place of its id, when no other docset has the same."""


class Incremental(_Model):
    """Pages that keep their hash and validators, and pages that have none that could be used."""

    preserved_hashes: int
    cleared_hashes: int


class RefreshResponse(_Model):
    """What is being done about a docset; `refreshed` is false when it is fresh enough."""

    docset_id: str
    status: DocsetState
    refreshed: bool
    message: str
    incremental: Incremental


class RefreshAllResponse(_Model):
    """Every docset, and how many of them are being refreshed."""

    total: int
    refreshed: int
    results: list[RefreshResponse]


# -- POST /doctor


class DoctorRequest(_Request):
    """Look at everything; with `fix`, mend what can be mended."""

    fix: StrictBool = False
    """Mend what can be mended."""


class Check(_Model):
    """One thing that was looked at: what is wrong with it and what to do, or what is well. `fixed`: it was wrong until now."""

    name: str
    ok: bool
    message: str
    fixed: bool = False


class DoctorResponse(_Model):
    """All that was looked at; `ok` when all of it is."""

    ok: bool
    checks: list[Check]


# -- GET /why


class WhyRequest(_Request):
    """Which URL, and in which docset (default: all of its site)."""

    url: Annotated[Text, Field(examples=["https://docs.example.org/guide/start"])]
    """The URL, http or https, with or without a fragment."""
    docset_id: Text | None = None
    """Only this docset."""


class RedirectResponse(_Model):
    """One step from a URL to the page that it turned out to be."""

    url: str
    target: str
    how: str


class WhyDocset(_Model):
    """What one docset knows of a URL. `url` is the page that it leads to, through `redirects`; `other_urls` lead there too.

    `message` says in a sentence what was decided and why, `scope` and `robots` what those two say. `path` leads from the seed, or
    from a sitemap, to the page, by the links that it was found by. Keys from `depth` on are null for a URL that was never met.
    `read_as` names the profile of a documentation generator by which its content was told from the rest of it.
    """

    docset_id: str
    docset_name: str
    url: str
    redirects: list[RedirectResponse]
    in_scope: bool
    scope: str
    robots_allowed: bool | None
    robots: str
    status: PageState | None
    reason: Reason | None
    message: str
    depth: int | None
    discovered_from: str | None
    path: list[str]
    other_urls: list[str]
    title: str | None
    read_as: str | None
    chunks: int | None
    links_dropped: int | None
    attempts: int | None
    requests: int | None
    http_status: int | None
    size_bytes: int | None
    fetched_at: int | None
    indexed_at: int | None


class WhyResponse(_Model):
    """What every docset of the URL's site knows of it."""

    url: str
    docsets: list[WhyDocset]


# -- POST /session/register, /session/heartbeat, /session/unregister, GET /sessions

SessionId = Annotated[Name, StringConstraints(max_length=200)]


class RegisterRequest(_Request):
    """An editor begins; one that is registered already beats."""

    session_id: SessionId
    client_type: Annotated[Name, StringConstraints(max_length=100)] | None = None


class SessionRequest(_Request):
    """A session by its id."""

    session_id: SessionId


class SessionsRequest(_Request):
    """Nothing: all of them."""


class SessionResponse(_Model):
    """An editor that is connected."""

    id: str
    client_type: str
    connected_at: int
    last_heartbeat: int


class RegisterResponse(_Model):
    """The session, and how many there are with it."""

    success: bool
    session: SessionResponse
    total_sessions: int


class HeartbeatResponse(_Model):
    """The session, whose lease is renewed."""

    success: bool
    session: SessionResponse


class UnregisterResponse(_Model):
    """Whether there was such a session, how many are left, and whether the daemon stops now, unless another one comes soon."""

    success: bool
    existed: bool
    remaining_sessions: int
    should_stop: bool


class SessionsResponse(_Model):
    """Every editor that is connected, the first one first."""

    sessions: list[SessionResponse]
    count: int


# -- GET /events


class EventsRequest(_Request):
    """Of which docset; all events when it is left out."""

    docset_id: Text | None = None


# -- DELETE /docset/:id


class DeleteResponse(_Model):
    """The docset is gone."""

    success: bool
    docset_id: str
