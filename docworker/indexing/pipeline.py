"""What happens to a page, from its claim to the shelf. What is claimed, and when, is `crawl`'s.

    frontier.claim          one UPDATE … RETURNING with a lease: no page is taken twice, none is lost in a crash
    | robots                pure  what robots.txt forbids is left out unasked
    | fetch                 I/O   → Fetched | Redirected | Refused | Failed       values, not exceptions
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from docworker.crawl import rules
from docworker.crawl.fetcher import Fetcher
from docworker.crawl.robots import Robots
from docworker.errors import ExtractionFailed
from docworker.indexing.workers import ExtractionWorkers
from docworker.model import (
    Asked,
    Chunk,
    Claim,
    Docset,
    Extracted,
    Failed,
    Fetched,
    Link,
    PageState,
    Reason,
    Redirected,
    Refused,
)  # fmt: skip
from docworker.store import chunks, docsets, pages
from docworker.store.catalog import Catalog
from docworker.store.frontier import FrontierLimits
from docworker.store.pages import Committed
from docworker.store.shelf import Row, Shelf, VectorRow
from docworker.urls import canonical, in_scope, on_site, origin


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
    chunks are listed in the catalog, so that their vectors can be made."""

    catalog: Catalog
    shelf: Shelf
    fetcher: Fetcher
    workers: ExtractionWorkers
    limits: CrawlLimits
    now: Callable[[], int]
    model_id: Callable[[], str | None]
    listed: asyncio.Event


async def work_on(tools: Tools, docset: Docset, robots: Robots, claimed: Claim) -> tuple[str, Asked | None]:
    """Do all there is to do about a claimed page and commit it; returns what became of it, in words, and what was asked.

    A page that could not be had is not committed: the caller decides whether that is the page's fault or the site's.
    """
    if not robots.allows(claimed.url):
        refused = Refused(claimed.url, Reason.ROBOTS, "The site's robots.txt forbids it.")
        return await leave_out(tools, claimed, PageState.SKIPPED, None, refused.reason, refused.message), None
    asked = await tools.fetcher.fetch(claimed.url)
    match asked.outcome:
        case Fetched() as fetched:
            return await _fetched(tools, docset, claimed, asked, fetched), asked
        case Redirected(target=target, how=how):
            return await _moved(tools, docset, claimed, asked, target, f"HTTP {how}", ()), asked
        case Refused(reason=reason, message=message):
            return await leave_out(tools, claimed, PageState.SKIPPED, asked, reason, message), asked
        case Failed(message=message):
            return message, asked


async def leave_out(
    tools: Tools,
    claimed: Claim,
    state: PageState,
    asked: Asked | None,
    reason: Reason,
    message: str,
    follow: Sequence[str] = (),
) -> str:
    """Commit that a page is `skipped` or `error`; returns it in words."""
    committed = await tools.catalog.write(pages.commit_left_out, claimed, asked, state, reason, message, follow, tools.now())
    return await _kept(tools, committed)


async def _fetched(tools: Tools, docset: Docset, claimed: Claim, asked: Asked, fetched: Fetched) -> str:
    old_ids = await tools.catalog.read(pages.chunk_ids, claimed.page_id)
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
        return await leave_out(tools, claimed, PageState.SKIPPED, asked, *intent.left_out, intent.follow)
    if claimed.depth == 0:
        await _learn_from_seed(tools, docset, page)
    extracted = time.monotonic()
    first_time = claimed.attempts == 1 and not old_ids  # what a crash left behind was swept when the daemon started
    with_vector = await put_on_shelf(tools, claimed.page_id, docset.id, fetched.url, intent.title, intent.add, new=first_time)
    committed = await tools.catalog.write(
        pages.commit_indexed, claimed, asked, fetched, page.document, intent, with_vector, tools.now()
    )
    tools.listed.set()
    said = await _kept(tools, committed)
    return f"{said}, extracted in {extracted - begin:.2f} s, kept in {time.monotonic() - extracted:.2f} s"


async def _learn_from_seed(tools: Tools, docset: Docset, page: Extracted) -> None:
    """The seed page names the docset, and tells its language and where the site lists its names."""
    name = page.document.site or page.document.title
    if name:
        await tools.catalog.write(docsets.rename, docset.id, name, by_user=False, now=tools.now())
    if page.language:
        await tools.catalog.write(docsets.set_language, docset.id, page.language)
    if page.inventory:
        await tools.catalog.write(docsets.note_inventory, docset.id, page.inventory)


async def _moved(tools: Tools, docset: Docset, claimed: Claim, asked: Asked, target: str, how: str, follow: Sequence[str]) -> str:
    """The page lives elsewhere: its target takes its place in the frontier, if it belongs to the docset."""
    found = canonical(target, claimed.url)
    site = origin(docset.seed_url)
    if found is None or not in_scope(found, site, docset.allowed_paths):
        message = f"The page redirects to {target[:500]}, which is outside this docset."
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
    if claimed.depth == 0 and url.startswith("https:") and claimed.url.startswith("http:"):
        await tools.catalog.write(docsets.move_up, docset.id)
    return await _kept(tools, committed)


async def _kept(tools: Tools, committed: Committed) -> str:
    if committed.remove:
        await tools.shelf.remove(committed.remove)
    return committed.said


async def put_on_shelf(
    tools: Tools, page_id: str, docset_id: str, url: str, title: str, lacking: Sequence[Chunk], *, new: bool = False
) -> frozenset[str]:
    """Add the chunks that the shelf lacks of a page, and those vectors that are known already; returns ids of the latter.

    `new`: no chunk of the page has ever been added.
    """
    model_id = tools.model_id()
    known: Mapping[str, bytes] = {}
    if model_id is not None:
        known = await tools.catalog.read(chunks.vectors, model_id, [chunk.text_hash for chunk in lacking])
    await tools.shelf.add([_row(chunk, page_id, docset_id, url, title) for chunk in lacking], new=new)
    vectors = [VectorRow(chunk.id, docset_id, known[chunk.text_hash]) for chunk in lacking if chunk.text_hash in known]
    await tools.shelf.add_vectors(vectors)
    return frozenset(row.id for row in vectors)


def _row(chunk: Chunk, page_id: str, docset_id: str, url: str, title: str) -> Row:
    return Row(
        id=chunk.id,
        docset_id=docset_id,
        page_id=page_id,
        url=url,
        title=title,
        path=chunk.path,
        anchor=chunk.anchor,
        text=chunk.text,
        words=chunk.words,
    )
