"""What happens to a page, from its claim to the shelf. What is claimed, and when, is `crawl`'s.

    frontier.claim          one UPDATE … RETURNING with a lease: no page is taken twice, none is lost in a crash
    | robots                pure  what robots.txt forbids is left out unasked
    | fetch                 I/O   → Fetched | NotModified | Redirected | Refused | Failed       values, not exceptions
    |                             A refresh asks for what has changed; what has not is taken as it was.
    | extract, chunk        pure  → Document, chunks, links                       in a worker process
    | decide                pure  → PageIntent(left out?, add, remove, follow)    in the same worker
    | put_on_shelf          I/O   idempotent by chunk id; with the vector if the catalog knows the text's
    | pages.commit_indexed  ONE transaction: chunk list, hashes, validators, text, links, state. This is the proof.
    |                             Here a page turns out to be another one: then it gives way, or the other does.
    | shelf.remove          I/O   rows that no page has any more

A crash at any point repeats work and hides none: before the commit the page is still to be done, and what already stands on
the shelf is not listed by the catalog, so no question finds it. Vectors are filled in by `embedding_loop`.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from docworker.crawl import rules
from docworker.crawl.fetcher import Fetcher
from docworker.crawl.robots import Robots
from docworker.errors import ExtractionFailed
from docworker.events import Events
from docworker.indexing.decide import rules_hash
from docworker.indexing.workers import ExtractionWorkers
from docworker.model import (
    Access,
    Asked,
    Chunk,
    Claim,
    Docset,
    Document,
    Failed,
    Fetched,
    Link,
    NotModified,
    PageIntent,
    PageState,
    Reason,
    Redirected,
    Refused,
    Stamp,
    digest,
)  # fmt: skip
from docworker.store import chunks, docsets, pages, vectors
from docworker.store.catalog import Catalog
from docworker.store.frontier import FrontierLimits
from docworker.store.pages import Committed, Earlier
from docworker.store.shelf import Row, Shelf, VectorRow
from docworker.urls import canonical, in_scope, on_site, origin
from docworker.visible import visible_line


@dataclass(frozen=True, slots=True)
class CrawlLimits:
    """What a crawl may cost, how many pages are worked on at once, and whether robots directives count.

    `down_pause_s` is the first pause when a site does not answer; the next ones are longer.
    """

    frontier: FrontierLimits
    at_once: int
    max_redirects: int
    max_total_bytes: int
    obey_robots: bool
    down_pause_s: float


@dataclass(frozen=True, slots=True)
class Tools:
    """What a crawl works with. `model_id` tells the model in use, None while there is none; `listed` is set when new
    chunks are listed in the catalog, so that their vectors can be made; `events` hears of every page.

    A refresh keeps its notes in a catalog of its own: `served` is then the one that questions are answered from, which tells
    what was known before, or with `full` only which chunks are on the shelf.
    """

    catalog: Catalog
    shelf: Shelf
    fetcher: Fetcher
    workers: ExtractionWorkers
    limits: CrawlLimits
    now: Callable[[], int]
    model_id: Callable[[], str | None]
    listed: asyncio.Event
    events: Events
    served: Catalog | None = None
    full: bool = False


@dataclass(frozen=True, slots=True)
class OfPage:
    """Chunks of one page, and what else the shelf shows with them."""

    page_id: str
    docset_id: str
    url: str
    title: str
    chunks: Sequence[Chunk]


async def work_on(tools: Tools, docset: Docset, access: Access, robots: Robots, claimed: Claim) -> tuple[str, Asked | None]:
    """Do all there is to do about a claimed page and commit it; returns what became of it, in words, and what was asked.

    A page that could not be had is not committed: the caller decides whether that is the page's fault or the site's.
    """
    if not robots.allows(claimed.url):
        refused = Refused(claimed.url, Reason.ROBOTS, "The site's robots.txt forbids it.")
        return await leave_out(tools, claimed, PageState.SKIPPED, None, refused.reason, refused.message), None
    before = None if tools.served is None else await tools.served.read(pages.earlier, docset.id, claimed.url)
    stamp_rules = rules_hash(docset, is_seed=claimed.depth == 0, obey_robots=tools.limits.obey_robots)
    known = None if before is None or tools.full or before.stamp is None or before.stamp.rules != stamp_rules else before.stamp
    asked = await tools.fetcher.fetch(claimed.url, access=access, known=known)
    match asked.outcome:
        case NotModified(etag=etag, last_modified=last_modified) if before is not None and known is not None:
            stamp = replace(known, etag=etag, last_modified=last_modified)
            return await as_before(tools, docset, claimed, asked, before, stamp), asked
        case Fetched() as fetched:
            stamp = Stamp(fetched.etag, fetched.last_modified, _hash(fetched), stamp_rules)
            if before is not None and known is not None and known.body_hash == stamp.body_hash:
                return await as_before(tools, docset, claimed, asked, before, stamp), asked
            return await _fetched(tools, docset, claimed, asked, fetched, stamp, before), asked
        case Redirected(target=target, how=how):
            return await _moved(tools, docset, claimed, asked, target, f"HTTP {how}", ()), asked
        case Refused(reason=reason, message=message):
            return await leave_out(tools, claimed, PageState.SKIPPED, asked, reason, message), asked
        case Failed(message=message):
            return message, asked
        case NotModified():
            raise AssertionError("only what is known can be unchanged")


def _hash(fetched: Fetched) -> str:
    """Of all that the site sent and that is read: the same bytes declared otherwise are another text."""
    declared = digest(fetched.content_type, fetched.charset or "", fetched.robots or "")
    return blake2b(declared.encode() + fetched.body, digest_size=16).hexdigest()


async def leave_out(
    tools: Tools,
    claimed: Claim,
    state: PageState,
    asked: Asked | None,
    reason: Reason,
    message: str,
    follow: Sequence[str] = (),
    stamp: Stamp | None = None,
) -> str:
    """Commit that a page is `skipped` or `error`; returns it in words."""
    committed = await tools.catalog.write(
        pages.commit_left_out, claimed, asked, state, reason, message, follow, stamp, tools.now()
    )
    return await _kept(tools, committed)


async def as_before(
    tools: Tools, docset: Docset, claimed: Claim, asked: Asked, before: Earlier, stamp: Stamp | None, message: str | None = None
) -> str:
    """Commit that a page is as it was before the refresh; with a `message`, as far as anybody knows."""
    asked = replace(asked, size=before.size)  # what a first crawl would have received
    if before.state is PageState.SKIPPED:
        said = before.reason or Reason.NO_TEXT, before.message or ""
        return await leave_out(tools, claimed, PageState.SKIPPED, asked, *said, before.follow, stamp)
    if claimed.depth == 0 and tools.served is not None:
        known = await tools.served.read(docsets.get, docset.id)
        inventory, _ = await tools.served.read(docsets.inventory, docset.id)
        await _learn(tools, docset, None, None if known is None else known.language, inventory)
    intent = PageIntent(
        title=before.title,
        read_as=before.read_as,
        content_hash=before.content_hash or "",
        main_hash=before.main_hash,
        passages=before.passages,
        canonical=before.canonical,
        twins=rules.twins(claimed.url) if before.read_as == "markdown" else (),
        left_out=None,
        chunks=(),
        add=(),
        remove=(),
        follow=before.follow,
        links_dropped=before.links_dropped,
    )
    committed = await tools.catalog.write(
        pages.commit_indexed, claimed, asked, stamp, None, intent, (), tools.now(), message, before.extractor
    )
    return await _kept(tools, committed)


async def _fetched(
    tools: Tools, docset: Docset, claimed: Claim, asked: Asked, fetched: Fetched, stamp: Stamp, before: Earlier | None
) -> str:
    old_ids = frozenset(await tools.catalog.read(pages.chunk_ids, claimed.page_id))
    if before is not None and not tools.full:
        old_ids |= before.chunks
    begin = time.monotonic()
    try:
        page, intent = await tools.workers.read(
            docset, fetched, old_ids, is_seed=claimed.depth == 0, obey_robots=tools.limits.obey_robots
        )
    except ExtractionFailed as error:
        return await leave_out(tools, claimed, PageState.ERROR, asked, Reason.EXTRACTION, str(error))
    if page.redirect is not None:
        return await _moved(tools, docset, claimed, asked, page.redirect, "meta refresh", intent.follow)
    if intent.left_out is not None:
        return await leave_out(tools, claimed, PageState.SKIPPED, asked, *intent.left_out, intent.follow, stamp)
    if claimed.depth == 0:
        name = page.document.site or page.document.title
        await _learn(tools, docset, name, page.language, page.inventory)
    document: Document | None = page.document
    with_vector = frozenset[str]()
    if before is not None and not tools.full:
        if before.state is PageState.INDEXED and before.content_hash == intent.content_hash:
            document = None  # another menu, another date: the text is what it was
        with_vector = before.with_vector
    extracted = time.monotonic()
    first_time = claimed.attempts == 1 and not old_ids and not tools.full  # what a crash left behind was swept at the start
    if document is not None:
        lacking = OfPage(claimed.page_id, docset.id, fetched.url, intent.title, intent.add)
        with_vector |= await put_on_shelf(tools, [lacking], new=first_time)
    committed = await tools.catalog.write(pages.commit_indexed, claimed, asked, stamp, document, intent, with_vector, tools.now())
    tools.listed.set()
    said = await _kept(tools, committed)
    return f"{said}, extracted in {extracted - begin:.2f} s, kept in {time.monotonic() - extracted:.2f} s"


async def _learn(tools: Tools, docset: Docset, name: str | None, language: str | None, inventory: str | None) -> None:
    """The seed page names the docset, and tells its language and where the site lists its names."""
    if name:
        await tools.catalog.write(docsets.rename, docset.id, name, by_user=False, now=tools.now())
    if language:
        await tools.catalog.write(docsets.set_language, docset.id, language)
    if inventory:
        await tools.catalog.write(docsets.note_inventory, docset.id, inventory)


async def _moved(tools: Tools, docset: Docset, claimed: Claim, asked: Asked, target: str, how: str, follow: Sequence[str]) -> str:
    """The page lives elsewhere: its target takes its place in the frontier, if it belongs to the docset."""
    found = canonical(target, claimed.url)
    site = origin(docset.seed_url)
    if found is None or not in_scope(found, site, docset.allowed_paths):
        message = f"The page redirects to {visible_line(target)[:500]}, which is outside this docset."
        return await leave_out(tools, claimed, PageState.SKIPPED, asked, Reason.MOVED_OUT, message, follow)
    url = on_site(found, site) or found
    if url == claimed.url:
        what = "itself" if found == url else f"{found}, which is not encrypted"
        return await leave_out(
            tools, claimed, PageState.SKIPPED, asked, Reason.REDIRECTS, f"The page redirects to {what}.", follow
        )
    max_hops = tools.limits.max_redirects
    link = Link(url, claimed.depth, claimed.url, claimed.turn, *(rules.by_url(docset, url) or (None, None)))
    committed = await tools.catalog.write(pages.commit_moved, claimed, asked, link, how, follow, max_hops, tools.now())
    return await _kept(tools, committed)


async def _kept(tools: Tools, committed: Committed) -> str:
    await discard(tools, committed.remove)
    return committed.said


async def discard(tools: Tools, chunk_ids: Sequence[str]) -> None:
    """Take chunks off the shelf that no page has any more; during a refresh they stay, for they may still be served."""
    if chunk_ids and tools.served is None:
        await tools.shelf.remove(chunk_ids)


async def put_on_shelf(
    tools: Tools, lacking: Sequence[OfPage], *, new: bool = False, with_vector: Collection[str] = ()
) -> frozenset[str]:
    """Add the chunks that the shelf lacks of some pages, and those vectors that are known already; returns ids of the latter.

    `new`: none of these chunks is there. Those `with_vector` have theirs.
    """
    memory = tools.served or tools.catalog
    model_id = tools.model_id() or await memory.read(chunks.shelf_model)
    known: Mapping[str, bytes] = {}
    pieces = [(chunk, page.docset_id) for page in lacking for chunk in page.chunks]
    if model_id is not None and not tools.full:
        known = await memory.read(vectors.known, model_id, [chunk.text_hash for chunk, _ in pieces])
    await tools.shelf.add([_row(chunk, page) for page in lacking for chunk in page.chunks], new=new)
    there = [
        VectorRow(chunk.id, docset_id, known[chunk.text_hash])
        for chunk, docset_id in pieces
        if chunk.text_hash in known and chunk.id not in with_vector
    ]
    await tools.shelf.add_vectors(there, new=new)
    return frozenset(row.id for row in there)


def _row(chunk: Chunk, page: OfPage) -> Row:
    return Row(
        id=chunk.id,
        docset_id=page.docset_id,
        page_id=page.page_id,
        url=page.url,
        title=page.title,
        path=chunk.path,
        anchor=chunk.anchor,
        text=chunk.text,
        words=chunk.words,
    )
