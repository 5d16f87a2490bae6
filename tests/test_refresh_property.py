"""A refresh equals a fresh crawl: random sites, random edits, and after each refresh all that is served is what a crawl of the
same site into an empty folder comes to; and what was known before is not embedded again.

Everything is real but for time: HTTP on loopback, extraction in a worker process, SQLite, LanceDB, the model. A vector that the
model has made is kept for the next sequence. To run more sequences, raise `SEQUENCES`.
"""

import asyncio
import hashlib
import itertools
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any, Literal, NamedTuple

import apsw
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from docworker.crawl.fetcher import Fetcher, FetchLimits
from docworker.crawl.pacing import Pacer
from docworker.daemon import now_ms
from docworker.embedding import DIMENSIONS, Embedder
from docworker.embedding.loader import ModelLoader, ModelSource
from docworker.events import Events
from docworker.indexing import refresh
from docworker.indexing.crawl import Crawl
from docworker.indexing.embedding_loop import embed_waiting
from docworker.indexing.pipeline import CrawlLimits, Tools
from docworker.indexing.reconcile import compare
from docworker.indexing.workers import ExtractionWorkers
from docworker.model import Docset, DocsetState, Extracted, Fetched, Link, PageIntent, digest
from docworker.store import chunks, docsets, frontier, refreshes
from docworker.store.catalog import Catalog
from docworker.store.frontier import FrontierLimits
from docworker.store.refreshes import Begun, Report
from docworker.store.shelf import Shelf
from docworker.urls import default_allowed_path
from tests.site import Answer, Site

SEQUENCES, REFRESHES = 70, 2

# -- the model of a site

SEED = "/docs/"
# Spellings of one page, a Markdown twin, queries, what may be the whole manual, a listing of source code, a page out of scope.
PATHS = (
    SEED,
    "/docs/a",
    "/docs/a.html",
    "/docs/b/",
    "/docs/c?v=1",
    "/docs/c?v=2",
    "/docs/d.html",
    "/docs/d.md",
    "/docs/e",
    "/docs/f/g",
    "/docs/all.html",
    "/docs/_modules/h.html",
    "/other/",
)
TITLES = ("Antelope", "Beaver", "Cormorant")
HEADINGS = ("Feeding", "<code>run()</code>", "Nests")
ANCHORS = ("", "s1", "s2")
TEXTS = (
    "",
    "It sleeps.",
    "The café of the herd opens at dawn, and closes when the last of them has had its cup of dew.",
    "A river bends where the old dam stood, and nobody remembers who built it or why it was left.",
    "Every name is looked up once, then kept for as long as the process lives; a second look-up costs nothing at all.",
    *(
        f"{name} comes before all others here. " + f"What is told of {name} is long enough to stand alone. " * 6
        for name in ("Alpha", "Gamma", "Omega")
    ),
)
LANGUAGES = ("", "en", "de")
CHARSETS = ("utf-8", "iso-8859-1")
VALIDATORS = ("etag", "last-modified", "both", "neither")
REFUSALS = (404, 410, 403)


class Part(NamedTuple):
    """A section by its heading, anchor and text."""

    heading: int
    anchor: int
    text: int


@dataclass(frozen=True)
class Page:
    """A page of the model; `menu` and the other paths are indices of PATHS. What is not text changes nothing that is searched."""

    title: int
    parts: tuple[Part, ...]
    menu: frozenset[int]
    validators: int = 0
    canonical: int | None = None
    refresh: int | None = None
    language: int = 0
    charset: int = 0
    noindex: Literal["", "meta", "header"] = ""
    nofollow: bool = False
    footer: int = 0
    touched: int = 0
    binary: bool = False

    def answer(self, path: str) -> Answer:
        """What it sends, without validators."""
        if path.endswith(".md"):
            parts = "".join(f"## {HEADINGS[part.heading]}\n\n{TEXTS[part.text]}\n\n" for part in self.parts)
            menu = "".join(f"- [{PATHS[n]}]({PATHS[n]})\n" for n in sorted(self.menu))
            return Answer(body=f"# {TITLES[self.title]}\n\n{parts}{menu}", content_type="text/markdown")
        head = f"<title>{TITLES[self.title]} — Handbook</title>"
        if self.canonical is not None:
            head += f'<link rel="canonical" href="{PATHS[self.canonical]}">'
        if self.refresh is not None:
            head += f'<meta http-equiv="refresh" content="0; url={PATHS[self.refresh]}">'
        said = ["noindex"] * (self.noindex == "meta") + ["nofollow"] * self.nofollow
        if said:
            head += f'<meta name="robots" content="{", ".join(said)}">'
        parts = "".join(
            f'<h2 id="{ANCHORS[part.anchor]}">{HEADINGS[part.heading]}</h2><p>{TEXTS[part.text]}</p>' for part in self.parts
        )
        menu = "".join(f'<li><a href="{PATHS[n]}">{PATHS[n]}</a></li>' for n in sorted(self.menu))
        language = f' lang="{LANGUAGES[self.language]}"' if self.language else ""
        return Answer(
            body=f"<!doctype html><html{language}><head>{head}</head><body><nav><ul>{menu}</ul></nav>"
            f"<main><h1>{TITLES[self.title]}</h1>{parts}</main><footer>Built {self.footer} times</footer></body></html>",
            content_type="application/json" if self.binary else f"text/html; charset={CHARSETS[self.charset]}",
            headers={"X-Robots-Tag": "noindex"} if self.noindex == "header" else {},
        )


@dataclass(frozen=True)
class Moved:
    """A redirect."""

    status: int
    target: int

    def answer(self, path: str) -> Answer:
        return Answer(self.status, headers={"Location": PATHS[self.target]})


@dataclass(frozen=True)
class Refusal:
    """A page that was there, or never was."""

    status: int

    def answer(self, path: str) -> Answer:
        return Answer(self.status, "<h1>No</h1>")


class Edit(NamedTuple):
    """A change of the site: what, and two numbers that say where and to what."""

    kind: str
    a: int
    b: int


@dataclass
class Model:
    """The site as it is meant to be, and when each answer last became another one."""

    pages: dict[int, Page | Moved | Refusal]
    robots: int | None = None
    sitemap: frozenset[int] = frozenset()
    served: dict[str, Answer] = field(default_factory=dict)
    _changed: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    _clock: Iterator[int] = field(default_factory=itertools.count)

    def serve(self, site: Site) -> None:
        """Let the site be this one."""
        self.served = {PATHS[n]: self._with_validators(PATHS[n], page) for n, page in self.pages.items()}
        self.served["/robots.txt"] = (
            Answer(404)
            if self.robots is None
            else Answer(body=f"User-agent: *\nDisallow: {PATHS[self.robots]}\n", content_type="text/plain")
        )
        urls = "".join(f"<url><loc>{site.url}{PATHS[n]}</loc></url>" for n in sorted(self.sitemap))
        self.served["/sitemap.xml"] = (
            Answer(body=f"<urlset>{urls}</urlset>", content_type="application/xml") if self.sitemap else Answer(404)
        )
        site.pages = dict(self.served)

    def _with_validators(self, path: str, page: Page | Moved | Refusal) -> Answer:
        answer = page.answer(path)
        unseen = (page.touched, page.validators) if isinstance(page, Page) else ()
        mark = hashlib.sha1(repr((answer, unseen)).encode()).digest()
        if path not in self._changed or self._changed[path][0] != mark:
            self._changed[path] = (mark, next(self._clock))
        kind = VALIDATORS[page.validators] if isinstance(page, Page) else "neither"
        since = formatdate(1_700_000_000 + self._changed[path][1], usegmt=True)
        return replace(
            answer,
            headers={
                **answer.headers,
                "ETag": f'"{mark.hex()}"' if kind in ("etag", "both") else "",
                "Last-Modified": since if kind in ("last-modified", "both") else "",
            },
        )

    # -- edits

    def edit(self, edit: Edit) -> None:
        """Change the site; an edit that finds nothing to change does nothing."""
        there = sorted(n for n, page in self.pages.items() if isinstance(page, Page))
        if not there:
            self.pages[edit.b % len(PATHS)] = Page(0, (Part(0, 0, 2),), frozenset())
            return
        n = there[edit.a % len(there)]
        page = self.pages[n]
        assert isinstance(page, Page)
        to = edit.b % len(PATHS)
        if edit.kind in _OF_PAGE:
            self.pages[n] = _OF_PAGE[edit.kind](page, edit.b)
        elif edit.kind in ("delete", "redirect", "move") and n == 0 and edit.a:
            return  # the first page goes now and then only: without it there is nothing
        elif edit.kind == "delete":
            self.pages[n] = Refusal(REFUSALS[edit.b % len(REFUSALS)])
        elif edit.kind == "redirect":
            self.pages[n] = Moved((301, 302)[edit.a % 2], to)
        elif edit.kind == "move":
            self.pages[to] = page
            if to != n:
                self.pages[n] = Moved(301, to) if edit.a % 2 else Refusal(404)
            self._menus(lambda menu: (menu - {n}) | {to} if n in menu else menu)
        elif edit.kind == "copy":
            self.pages[to] = page
            self._menus(lambda menu: menu | {to} if n in menu else menu)
        elif edit.kind == "swap":
            other = self.pages.get(to, Refusal(404))
            self.pages[n], self.pages[to] = other, page
        elif edit.kind == "add":
            self.pages[to] = Page(edit.a % len(TITLES), (Part(0, 1, edit.a % len(TEXTS)),), frozenset(), edit.a % len(VALIDATORS))
            self.pages[n] = replace(page, menu=page.menu | {to})
        elif edit.kind == "unlink":
            self._menus(lambda menu: menu - {to})
        elif edit.kind == "robots":
            self.robots = None if to == 0 or self.robots == to else to
        elif edit.kind == "sitemap":
            self.sitemap = self.sitemap ^ {to}
        else:
            raise AssertionError(edit.kind)

    def _menus(self, change: Callable[[frozenset[int]], frozenset[int]]) -> None:
        for n, page in self.pages.items():
            if isinstance(page, Page):
                self.pages[n] = replace(page, menu=change(page.menu))


def _with_part(page: Page, at: int, change: Callable[[Part], Part]) -> Page:
    if not page.parts:
        return page
    at %= len(page.parts)
    return replace(page, parts=(*page.parts[:at], change(page.parts[at]), *page.parts[at + 1 :]))


_OF_PAGE: dict[str, Callable[[Page, int], Page]] = {
    "text": lambda page, b: _with_part(page, b, lambda part: part._replace(text=b % len(TEXTS))),
    "heading": lambda page, b: _with_part(page, b, lambda part: part._replace(heading=b % len(HEADINGS))),
    "anchor": lambda page, b: _with_part(page, b, lambda part: part._replace(anchor=b % len(ANCHORS))),
    "grow": lambda page, b: replace(page, parts=(Part(b % len(HEADINGS), 0, b % len(TEXTS)), *page.parts[:2])),
    "shrink": lambda page, b: replace(page, parts=page.parts[1:]),
    "turn": lambda page, b: replace(page, parts=page.parts[::-1]),
    "title": lambda page, b: replace(page, title=b % len(TITLES)),
    "menu": lambda page, b: replace(page, menu=page.menu ^ {b % len(PATHS)}),
    "footer": lambda page, b: replace(page, footer=b),
    "touch": lambda page, b: replace(page, touched=page.touched + 1),
    "validators": lambda page, b: replace(page, validators=b % len(VALIDATORS)),
    "canonical": lambda page, b: replace(page, canonical=None if b == 0 else b % len(PATHS)),
    "hop": lambda page, b: replace(page, refresh=None if page.refresh is not None else b % len(PATHS)),
    "language": lambda page, b: replace(page, language=b % len(LANGUAGES)),
    "charset": lambda page, b: replace(page, charset=b % len(CHARSETS)),
    "noindex": lambda page, b: replace(page, noindex=("", "meta", "header")[b % 3]),
    "nofollow": lambda page, b: replace(page, nofollow=not page.nofollow),
    "binary": lambda page, b: replace(page, binary=not page.binary),
}
_OF_SITE = ("delete", "redirect", "move", "copy", "swap", "add", "unlink", "robots", "sitemap")
EDITS = st.builds(Edit, st.sampled_from((*_OF_PAGE, *_OF_SITE)), st.integers(0, 7), st.integers(0, len(PATHS) - 1))


def parts() -> st.SearchStrategy[tuple[Part, ...]]:
    index = st.integers(0, 2)
    return st.lists(st.builds(Part, index, index, st.integers(1, len(TEXTS) - 1)), min_size=1, max_size=3).map(tuple)


def pages_of(menu: st.SearchStrategy[frozenset[int]]) -> st.SearchStrategy[Page]:
    return st.builds(Page, st.integers(0, len(TITLES) - 1), parts(), menu, st.integers(0, len(VALIDATORS) - 1))


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Sites of 3 to 8 pages, most of which the first page leads to."""
    others = draw(st.lists(st.sampled_from(range(1, len(PATHS) - 1)), min_size=2, max_size=7, unique=True))
    some = st.frozensets(st.sampled_from(range(len(PATHS))), max_size=3)
    missing = draw(st.frozensets(st.sampled_from(others), max_size=1))
    pages: dict[int, Page | Moved | Refusal] = {0: draw(pages_of(st.just(frozenset(others) - missing)))}
    for n in others:
        pages[n] = draw(pages_of(some))
    model = Model(pages, sitemap=draw(st.just(frozenset[int]()) | some))
    for edit in draw(st.lists(EDITS, max_size=3)):
        model.edit(edit)
    return model


# -- what indexes it


class Remembering:
    """An embedder that counts the texts it is given, and makes each vector once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, bytes] = {}
        self.given: list[str] = []

    @property
    def model_id(self) -> str:
        return self._embedder.model_id

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        self.given += texts
        unknown = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        self._vectors |= zip(unknown, self._embedder.embed(unknown), strict=True) if unknown else ()
        return [self._vectors[text] for text in texts]


class AtTheEnd(asyncio.Event):
    """Who waits for it hears of it when it is asked after: a refresh embeds when its crawl is done, and not meanwhile.

    Else the texts of pages that later give way to others may be embedded, or may not.
    """

    def is_set(self) -> bool:
        self.set()
        return True


class RememberingWorkers(ExtractionWorkers):
    """What a page was read as, once it was read: extraction is a function of these arguments."""

    def __init__(self, count: int, timeout_s: float) -> None:
        super().__init__(count, timeout_s)
        self._read: dict[tuple[object, ...], tuple[Extracted, PageIntent]] = {}

    async def read(
        self, docset: Docset, fetched: Fetched, old_ids: Iterable[str], *, is_seed: bool, obey_robots: bool
    ) -> tuple[Extracted, PageIntent]:
        sent = (fetched.url, fetched.content_type, fetched.charset, fetched.body, fetched.robots)
        key = (*sent, docset.id, docset.language, frozenset(old_ids), is_seed)
        if key not in self._read:
            self._read[key] = await super().read(docset, fetched, old_ids, is_seed=is_seed, obey_robots=obey_robots)
        return self._read[key]


class Workshop:
    """What all sequences share: the site, the connection pool, the worker process, the model; and an empty folder to copy."""

    def __init__(self, site: Site, cache_dir: Path, folder: Path, runner: asyncio.Runner) -> None:
        self.site = site
        self.folder = folder
        self.runner = runner
        self.workers = RememberingWorkers(1, 60)
        self.fetcher = Fetcher(FetchLimits(20, 1, 2**20, 2**20, 60), Pacer(4, 0))
        self._numbers = itertools.count()
        runner.run(self._prepare(cache_dir))

    async def _prepare(self, cache_dir: Path) -> None:
        self.model = ModelLoader(ModelSource(None, cache_dir, False, 60), 1)
        await self.model.load_forever()
        assert self.model._embedder is not None
        self.model._embedder = self.embedder = Remembering(self.model._embedder)
        shelf = await Shelf.open(self.folder / "empty", DIMENSIONS)
        await shelf.close()

    def close(self) -> None:
        self.runner.run(self.fetcher.__aexit__(None, None, None))
        self.workers.close()
        self.model.close()

    @property
    def docset_id(self) -> str:
        return digest(self.site.url, default_allowed_path(SEED), size=6)

    async def index(self, max_pages: int | None) -> "Folder":
        """Crawl the site into an empty folder."""
        path = self.folder / str(next(self._numbers))
        path.mkdir()
        shutil.copytree(self.folder / "empty", path / "shelf")
        catalog = await Catalog.open(path / "catalog.sqlite")
        shelf = await Shelf.open(path / "shelf", DIMENSIONS)
        limits = CrawlLimits(FrontierLimits(1_000, 100, 100), 4, 3, 2**30, True, 15)
        listed = asyncio.Event()
        tools = Tools(catalog, shelf, self.fetcher, self.workers, limits, now_ms, lambda: self.model.model_id, listed, Events())
        folder = Folder(self, path, tools)
        await folder.begin(max_pages)
        return folder


class Folder:
    """A data folder with the docset in it."""

    def __init__(self, workshop: Workshop, path: Path, tools: Tools) -> None:
        self._workshop = workshop
        self._path = path
        self._tools = tools

    async def begin(self, max_pages: int | None) -> None:
        """Make the docset and crawl it, as the service and the daemon's loops do."""
        tools, url, id_ = self._tools, self._workshop.site.url, self._workshop.docset_id
        paths, now = (default_allowed_path(SEED),), now_ms()
        docset = Docset(
            id_, url.removeprefix("http://"), False, url + SEED, url + SEED, paths, max_pages, (), (), None,
            DocsetState.PENDING, None, now, now, None,
        )  # fmt: skip
        await tools.catalog.write(docsets.insert, docset)
        await tools.catalog.write(frontier.discover, id_, [Link(url + SEED, 0, None)], tools.limits.frontier)
        await tools.catalog.write(chunks.adopt_model, self._workshop.model.model_id or "")
        assert await Crawl(docset, tools).run(lambda: None)
        await embed_waiting(tools, self._workshop.model)

    async def refresh(self, *, full: bool, meanwhile: bool) -> Report:
        """Refresh the docset, as the jobs and the daemon's loops do; `meanwhile`, texts are embedded during the crawl too."""
        tools, model, id_ = self._tools, self._workshop.model, self._workshop.docset_id
        model.ready = asyncio.Event() if meanwhile else AtTheEnd()
        if meanwhile:
            model.ready.set()
        docset = await tools.catalog.read(docsets.get, id_)
        assert docset is not None
        await refresh.begin(self._path, docset, tools.catalog, Begun(full, "asked for", now_ms()))
        await tools.catalog.write(docsets.set_state, id_, DocsetState.PENDING, docset.message, now_ms())
        await refresh.Refresh(self._path, id_, tools, model).run(lambda: None)
        before = len(self._workshop.embedder.given)
        await embed_waiting(tools, model)
        assert len(self._workshop.embedder.given) == before, "the refresh left vectors for later"
        assert refresh.under_way(self._path) == []
        assert list((self._path / "refreshing").iterdir()) == []
        report = await tools.catalog.read(refreshes.report, id_)
        assert report is not None
        return report

    async def state(self) -> "State":
        """All that is served, and that shelf and catalog agree about it."""
        differing = await compare(self._tools)
        assert not (differing.unknown or differing.missing or differing.misnoted), differing
        catalog = await self._tools.catalog.read(_listed)
        shelf = self._tools.shelf
        rows = (await shelf._chunks.query().to_arrow()).to_pylist()
        vectors = (await shelf._vectors.query().to_arrow()).to_pylist()
        words = sorted({word for row in rows for word in row["words"].split(" ")} | {"alpha", "gamma", "omega"})
        times, number = shelf.times(words, [self._workshop.docset_id])
        return State(
            **catalog,
            rows=sorted(tuple(map(str, row.values())) for row in rows),
            vectors=sorted((row["id"], row["docset_id"], tuple(row["vector"])) for row in vectors),
            times={"": number, **{word: times for word, times in times.items() if times}},
        )

    async def close(self) -> None:
        await self._tools.shelf.close()
        await self._tools.catalog.close()
        shutil.rmtree(self._path)


# Not compared: where a row stands, when and how often the site was asked, and what it answered then (200 or 304).
_PASSING = {"seq", "kept", "lease_until", "requests", "http_status", "fetched_at", "indexed_at"}
# Not compared of pages that are not indexed: what stays of an earlier text depends on which of two pages answered first.
_OF_INDEXED = ("main_hash", "extractor", "chunker")
_OF_DOCSET = (
    "id, name, named, base_url, seed_url, origin, allowed_paths, max_pages, include, exclude, language, sitemaps_read, inventory,"
    " inventory_hash, state, message"
)


def _listed(db: apsw.Connection) -> dict[str, Any]:
    columns = [str(row[1]) for row in db.execute("PRAGMA table_info(pages)") if row[1] not in _PASSING]
    pages: dict[str, dict[str, Any]] = {}
    for row in db.execute(f"SELECT {', '.join(columns)} FROM pages ORDER BY url"):
        page = dict(zip(columns, row, strict=True))
        for name in ("document", "links"):
            page[name] = page[name] and zlib.decompress(page[name]).decode()
        if page["document"]:  # what it calls the site is not searched
            page["document"] = {name: part for name, part in json.loads(page["document"]).items() if name != "site"}
        if page["state"] != "indexed":
            page |= dict.fromkeys(_OF_INDEXED)
        pages[page.pop("url")] = page
    for page in pages.values():  # whether by way of another alias depends on which of two pages answered first
        while (target := pages.get(page["target"] or "")) is not None and target["state"] == "alias":
            page["target"] = target["target"]
    urls = "SELECT url FROM pages WHERE pages.{0}"
    page_url, seq_url = urls.format("id = page_id"), urls.format("seq = page_seq")
    return {
        "pages": pages,
        "chunks": sorted(
            db.execute(
                f"SELECT ({page_url}), ordinal, id, docset_id, section, coalesce(anchor, '-'), chars, text_hash, embedded"
                " FROM chunks"
            )
        ),
        "symbols": db.execute(
            f"SELECT ({seq_url}), docset_id, key, name, kind, anchor, chunk, listed FROM symbols ORDER BY 1, rowid"
        ).fetchall(),
        "passages": sorted(db.execute(f"SELECT ({seq_url}), docset_id, hash FROM passages")),
        "docset": db.execute(f"SELECT {_OF_DOCSET} FROM docsets").fetchall(),
        "robots": db.execute("SELECT docset_id, body FROM robots").fetchall(),
    }


@dataclass(frozen=True)
class State:
    """What a folder serves."""

    pages: dict[str, dict[str, Any]]
    chunks: list[tuple[Any, ...]]
    symbols: list[tuple[Any, ...]]
    passages: list[tuple[Any, ...]]
    docset: list[tuple[Any, ...]]
    robots: list[tuple[Any, ...]]
    rows: list[tuple[Any, ...]]
    vectors: list[tuple[Any, ...]]
    times: dict[str, int]

    @property
    def indexed(self) -> dict[str, str]:
        """The content of each indexed page, by URL."""
        return {url: page["content_hash"] for url, page in self.pages.items() if page["state"] == "indexed"}

    @property
    def texts(self) -> set[str]:
        """Hashes of all texts that have vectors."""
        return {chunk[7] for chunk in self.chunks}


def differences(found: State, expected: State) -> list[str]:
    """How a state differs from what it should be, a line for each page or row."""
    lines = []
    for url in sorted(found.pages.keys() | expected.pages.keys()):
        mine, other = found.pages.get(url), expected.pages.get(url)
        if mine is None or other is None:
            lines.append(f"{url}: {'missing' if mine is None else 'should not be there'}: {mine or other}")
        else:
            lines += [f"{url}: {name} is {mine[name]!r}, not {other[name]!r}" for name in mine if mine[name] != other[name]]
    for name in ("chunks", "symbols", "passages", "docset", "robots", "rows", "vectors"):
        mine, other = getattr(found, name), getattr(expected, name)
        if mine != other:
            lines += [f"{name}: should not be there: {json.dumps(row)[:300]}" for row in mine if row not in other]
            lines += [f"{name}: missing: {json.dumps(row)[:300]}" for row in other if row not in mine]
            lines.append(f"{name} differ in order or number")
    if found.times != expected.times:
        lines.append(f"words: {set(found.times.items()) ^ set(expected.times.items())}")
    return lines


def as_if_had(state: State) -> State:
    """Without what tells when and from where a page was reached: what only a page that fails leads to is found at the end.

    Nor by which rules it was read: such a page as by those of then.
    """
    told = ("turn", "depth", "place", "discovered_from", "hops", "attempts", "followed", "rules")
    return replace(state, pages={url: {name: page[name] for name in page.keys() - told} for url, page in state.pages.items()})


# -- the property


class Refreshes(RuleBasedStateMachine):
    """A folder that is refreshed after each change of its site."""

    def __init__(self, workshop: Workshop) -> None:
        super().__init__()
        self.workshop = workshop
        self.folder: Folder | None = None

    def run(self, coroutine: Any) -> Any:
        return self.workshop.runner.run(coroutine)

    @initialize(model=models(), max_pages=st.sampled_from((None, None, None, 4)))
    def begin(self, model: Model, max_pages: int | None) -> None:
        self.model = model
        self.max_pages = max_pages
        self.model.serve(self.workshop.site)
        self.folder = self.run(self.workshop.index(max_pages))
        self.state: State = self.run(self.folder.state())
        self.known = set(self.state.texts)
        self.had = dict(self.model.served)

    def teardown(self) -> None:
        if self.folder is not None:
            self.run(self.folder.close())

    def afresh(self) -> State:
        async def crawl() -> State:
            folder = await self.workshop.index(self.max_pages)
            try:
                return await folder.state()
            finally:
                await folder.close()

        state: State = self.run(crawl())
        if not any(page["state"] == "indexed" and page["depth"] == 0 for page in state.pages.values()):
            # without a first page a docset is called by its host, and a refreshed one what it was called before
            state = replace(state, docset=[(id_, self.state.docset[0][1], *rest) for id_, _, *rest in state.docset])
        return state

    def refreshed(self, *, full: bool, meanwhile: bool) -> tuple[Report, State, list[str]]:
        """What a refresh says, what is served after it, and the texts that it embedded."""
        assert self.folder is not None
        given = self.workshop.embedder.given
        given.clear()
        report = self.run(self.folder.refresh(full=full, meanwhile=meanwhile))
        return report, self.run(self.folder.state()), given[:]

    @rule(edits=st.lists(EDITS, max_size=4))
    def edit_and_refresh(self, edits: list[Edit]) -> None:
        self.is_as_afresh(edits, full=False, meanwhile=False)

    @rule(edits=st.lists(EDITS, max_size=4))
    def edit_and_refresh_in_full(self, edits: list[Edit]) -> None:
        self.is_as_afresh(edits, full=True, meanwhile=False)

    @rule(edits=st.lists(EDITS, max_size=4))
    def edit_and_refresh_with_the_model_at_work_meanwhile(self, edits: list[Edit]) -> None:
        self.is_as_afresh(edits, full=False, meanwhile=True)

    def is_as_afresh(self, edits: list[Edit], *, full: bool, meanwhile: bool) -> None:
        """After a refresh there is what a fresh crawl finds; with less than half of the pages, what there was."""
        for edit in edits:
            self.model.edit(edit)
        self.model.serve(self.workshop.site)
        expected = self.afresh()
        before = self.state
        report, self.state, embedded = self.refreshed(full=full, meanwhile=meanwhile)
        if 2 * len(expected.indexed) < len(before.indexed):
            self.nothing_changed(before, report)
            return
        assert report.done, report
        assert not (found := differences(self.state, expected)), "\n".join(found)
        new = self.state.texts - (set() if full else self.known)
        hashes = [digest(text, size=16) for text in embedded]
        assert len(set(hashes)) == len(hashes), "a text was embedded twice"
        assert set(hashes) >= new, "a new text was not embedded"
        if meanwhile:  # also those of pages that later gave way to others
            assert full or not set(hashes) & self.known
        else:
            assert set(hashes) == new, "texts were embedded that are known"
            assert report.embedded == len(new)
        self.known |= self.state.texts
        self.had = dict(self.model.served)
        assert report.pages == len(expected.indexed)
        assert report.added == len(expected.indexed.keys() - before.indexed.keys())
        assert report.removed == len(before.indexed.keys() - expected.indexed.keys())
        assert report.unsure == 0
        if not full:
            common = expected.indexed.keys() & before.indexed.keys()
            assert report.changed == sum(expected.indexed[url] != before.indexed[url] for url in common)
            assert report.not_modified == len(common) - report.changed

    @rule(edits=st.lists(EDITS, max_size=3), which=st.integers(0, 7))
    def edit_and_refresh_while_a_page_fails(self, edits: list[Edit], which: int) -> None:
        """A page that cannot be had counts as it was: there is what a fresh crawl finds of the site with that page as it was."""
        before, url = self.state, self.workshop.site.url
        paths = sorted(path.removeprefix(url) for path in before.indexed if path != url + SEED)
        if not paths or self.max_pages is not None:
            return
        path = paths[which % len(paths)]
        for edit in edits:
            if edit.kind != "language":  # which decides about other pages than those that it is on
                self.model.edit(edit)
        self.model.serve(self.workshop.site)
        self.workshop.site.pages[path] = self.had[path]
        expected = self.afresh()
        self.workshop.site.pages[path] = Answer(500)
        report, self.state, embedded = self.refreshed(full=False, meanwhile=False)
        fewer = 2 * len(expected.indexed) < len(before.indexed)
        if not report.done:  # when no other page can be had, nothing is known of the site
            assert fewer or not expected.indexed.keys() - {url + path}
            self.nothing_changed(before, report)
            return
        assert not fewer
        pages = dict(self.state.pages)
        for found, page in self.state.pages.items():
            if page["message"] is not None and page["state"] == "indexed":
                assert (found, report.unsure) == (url + path, 1)
                assert page["message"].startswith("Taken as it was before: The site answered 500")
                pages[found] = {**page, "message": None}
        assert not (lines := differences(as_if_had(replace(self.state, pages=pages)), as_if_had(expected))), "\n".join(lines)
        assert len(embedded) == len(self.state.texts - self.known)
        self.known |= self.state.texts
        self.had = {**self.model.served, path: self.had[path]}

    def nothing_changed(self, before: State, report: Report) -> None:
        assert not report.done
        *described, state, message = self.state.docset[0]
        assert (state, message) == ("ready", report.message)
        assert described == list(before.docset[0][:-2])
        self.state = replace(self.state, docset=before.docset)
        assert not (found := differences(self.state, before)), "\n".join(found)


@pytest.fixture(scope="module")
def workshop(cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with asyncio.Runner() as runner, Site() as site:
        made = Workshop(site, cache_dir, tmp_path_factory.mktemp("folders"), runner)
        yield made
        made.close()


def test_a_refresh_equals_a_fresh_crawl(workshop: Workshop) -> None:
    run_state_machine_as_test(
        lambda: Refreshes(workshop),  # type: ignore[arg-type]  # a function will do
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=REFRESHES,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        ),
    )
