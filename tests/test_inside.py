"""Docsets under names that the tests hand out, through the whole of crawl and refresh: who is led inside, who is not, and that a
docset whose host turns inward ends at once and keeps what it has. All tests share one loop and, in it, one extraction worker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from docworker.contract import DocsetRequest, DocsetResponse, IndexRequest, PagesRequest, RefreshRequest
from docworker.crawl.fetcher import Fetcher, FetchLimits
from docworker.crawl.network import Network
from docworker.crawl.pacing import Pacer
from docworker.daemon import now_ms
from docworker.embedding import DIMENSIONS
from docworker.embedding.loader import ModelLoader, ModelSource
from docworker.errors import Forbidden, SiteFailed
from docworker.events import Events
from docworker.indexing.pipeline import CrawlLimits, Tools
from docworker.indexing.workers import ExtractionWorkers
from docworker.jobs import Jobs
from docworker.model import Access, DocsetState, PageState, Reason
from docworker.service import Service
from docworker.sessions import Sessions, Terms
from docworker.store import access
from docworker.store.catalog import Catalog
from docworker.store.frontier import FrontierLimits
from docworker.store.shelf import Shelf
from tests.site import Answer, Site
from tests.test_network import METADATA, OTHER, PRIVATE, PUBLIC, Names, Wires

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOON_S = 10.0  # a site that is down is left alone for two hours
LAST = {"Connection": "close"}  # each page over a connection of its own


def page(title: str, *links: str) -> Answer:
    listed = "".join(f"<li><a href='{link}'>{link}</a>" for link in links)
    text = (
        f"<title>{title}</title><main><h1>{title}</h1><p>All about the {title}, in a sentence or two.</p></main><ul>{listed}</ul>"
    )
    return Answer(body=text, headers=LAST)


class Desk:
    """A service with all that works for it, but for the daemon's own loops; names are the test's."""

    def __init__(self, service: Service, catalog: Catalog, jobs: Jobs) -> None:
        self.service, self.catalog, self._jobs = service, catalog, jobs

    async def index(self, site: Site, host: str = "docs.example", **more: object) -> DocsetResponse:
        """The docset once its crawl has ended."""
        base = f"http://{host}:{urlsplit(site.url).port}"
        request = IndexRequest.model_validate({"baseUrl": base, "seedSlug": "/docs/", "waitForSeed": False, **more})
        return await self.ended((await self.service.index(request)).docset_id)

    async def refresh(self, docset_id: str) -> DocsetResponse:
        await self.service.refresh(RefreshRequest.model_validate({"docsetId": docset_id, "force": True}))
        return await self.ended(docset_id)

    async def ended(self, docset_id: str) -> DocsetResponse:
        async with asyncio.timeout(60):
            while True:
                change = self._jobs.next_change
                if not self._jobs.running(docset_id):
                    return await self.service.docset(DocsetRequest(id=docset_id))
                await change.wait()

    async def pages(self, docset_id: str) -> dict[str, tuple[PageState, Reason | None]]:
        listed = await self.service.pages(PagesRequest(id=docset_id))
        return {each.path: (each.status, each.reason) for each in listed.pages}

    async def access(self, docset_id: str) -> Access:
        told: Access | None = await self.catalog.read(access.of, docset_id)
        assert told is not None
        return told


@asynccontextmanager
async def opened(folder: Path, workers: ExtractionWorkers, names: Names, wires: Wires | None = None) -> AsyncIterator[Desk]:
    catalog = await Catalog.open(folder / "catalog.sqlite")
    shelf = await Shelf.open(folder / "shelf", DIMENSIONS)
    model = ModelLoader(ModelSource(folder, folder, False, 3_600), 1)
    model.decided.set()  # there is none
    limits = CrawlLimits(FrontierLimits(1_000, 100, 100), 1, 3, 2**30, True, 0.01)
    mended = asyncio.Event()
    mended.set()
    async with Fetcher(FetchLimits(10, 1, 2**20, 2**20, 60), Pacer(1, 0), Network(names, wires or Wires())) as fetcher:
        tools = Tools(catalog, shelf, fetcher, workers, limits, now_ms, lambda: None, asyncio.Event(), Events())
        jobs = Jobs(tools, model, folder, mended)
        sessions = Sessions(catalog, Terms(1_800, 10, False), tools.events, busy=lambda: False, now=now_ms)
        service = Service(tools, jobs, model, sessions, data_dir=folder, ranking="words")
        try:
            yield Desk(service, catalog, jobs)
        finally:
            await jobs.stop(10)
            model.close()
            await shelf.close()
            await catalog.close()


@pytest.fixture(scope="module")
def workers() -> Iterator[ExtractionWorkers]:
    made = ExtractionWorkers(1, 60)
    yield made
    made.close()


Opener = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def desk(tmp_path: Path, workers: ExtractionWorkers) -> Opener:
    return partial(opened, tmp_path, workers)


@pytest.fixture
def site() -> Iterator[Site]:
    pages: dict[str, str | Answer] = {
        "/docs/": page("Kettle", "one", "two"),
        "/docs/one": page("Spout"),
        "/docs/two": page("Lid"),
        "/robots.txt": Answer(404, headers=LAST),
        "/sitemap.xml": Answer(404, headers=LAST),
    }
    with Site(pages, validators="neither") as running:
        yield running


async def soon(work: Awaitable[DocsetResponse]) -> DocsetResponse:
    return await asyncio.wait_for(work, SOON_S)


async def test_a_public_site_is_indexed(desk: Opener, site: Site) -> None:
    wires = Wires()
    async with desk(Names({"docs.example": [[PUBLIC, PRIVATE, "127.0.0.1"]]}), wires) as made:
        docset = await made.index(site)
        assert (docset.status, docset.index_status.indexed_pages) == (DocsetState.READY, 3)
        assert await made.access(docset.id) == Access(f"http://docs.example:{urlsplit(site.url).port}", False)
    assert set(wires.connected) == {PUBLIC}


async def test_a_site_inside_is_indexed_when_the_user_gives_it_and_refreshed_as_long_as_it_is_there(
    desk: Opener, site: Site
) -> None:
    names, wires = Names({"wiki.example": [[PRIVATE]]}), Wires()
    async with desk(names, wires) as made:
        docset = await made.index(site, "wiki.example")
        assert (docset.status, docset.index_status.indexed_pages) == (DocsetState.READY, 3)
        assert (await made.access(docset.id)).inside
        assert set(wires.connected) == {PRIVATE}
        assert (await made.refresh(docset.id)).last_refresh is not None
        names.answers["wiki.example"] = [[PUBLIC]]
        refreshed = await made.refresh(docset.id)
        assert refreshed.last_refresh is not None
        assert refreshed.last_refresh.done
        assert (await made.access(docset.id)).inside, "a refresh changes nothing about it"
        await made.index(site, "wiki.example")
        assert not (await made.access(docset.id)).inside, "the user has given it again"
        names.answers["wiki.example"] = [[PRIVATE]]
        failed = await soon(made.refresh(docset.id))
        assert failed.last_refresh is not None
        assert not failed.last_refresh.done
        await made.index(site, "wiki.example")
        assert (await made.access(docset.id)).inside
        names.answers["wiki.example"] = [[]]  # nobody knows the name now
        await made.index(site, "wiki.example")
        assert (await made.access(docset.id)).inside


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["::1"], [METADATA], ["0.0.0.0", "127.0.0.1"]])
async def test_a_name_that_leads_to_this_machine_or_to_metadata_is_no_seed(desk: Opener, site: Site, answer: list[str]) -> None:
    wires = Wires()
    async with desk(Names({"docs.example": [answer]}), wires) as made:
        with pytest.raises(Forbidden, match=f"docs.example leads to {answer[0]}"):
            await made.index(site)
        assert (await made.service.refresh_all(RefreshRequest.model_validate({}))).total == 0
    assert (wires.connected, site.requests.total()) == ([], 0)


async def test_a_name_that_nobody_knows_is_said_by_the_crawl(desk: Opener, site: Site) -> None:
    async with desk(Names({})) as made:
        docset = await made.index(site)
        assert docset.status is DocsetState.ERROR
        with pytest.raises(SiteFailed, match=r"docs\.example"):
            await made.index(site, waitForSeed=True)


@pytest.mark.parametrize("turned", [["127.0.0.1"], [PRIVATE], [METADATA]])
@pytest.mark.parametrize("answers", [1, 2, 3], ids=["before robots.txt", "before the seed", "after the seed"])
async def test_a_docset_whose_host_turns_inward_ends_at_once(desk: Opener, site: Site, turned: list[str], answers: int) -> None:
    wires = Wires()
    async with desk(Names({"docs.example": [*[[PUBLIC]] * answers, turned]}), wires) as made:
        docset = await soon(made.index(site))
        assert docset.message is not None
        assert docset.message.startswith(f"docs.example leads to {turned[0]}, ")
        pages = await made.pages(docset.id)
        if answers == 3:
            assert docset.status is DocsetState.READY
            assert pages == {
                "/docs/": (PageState.INDEXED, None),
                "/docs/one": (PageState.ERROR, Reason.ADDRESS),
                "/docs/two": (PageState.ERROR, Reason.ADDRESS),
            }
        else:
            assert docset.status is DocsetState.ERROR
            assert pages == {"/docs/": (PageState.ERROR, Reason.ADDRESS)}
    assert set(wires.connected) == {PUBLIC} if answers > 1 else wires.connected == []
    assert site.requests.total() == answers - 1


async def test_a_host_that_turns_inward_while_it_fails_is_not_waited_for(desk: Opener, site: Site) -> None:
    site.pages["/docs/one"] = Answer(500, headers=LAST)  # whether it is the whole site, its first page shows
    async with desk(Names({"docs.example": [*[[PUBLIC]] * 4, [PRIVATE]]})) as made:
        docset = await soon(made.index(site))
        assert docset.status is DocsetState.READY
        assert (docset.message or "").startswith(f"docs.example leads to {PRIVATE}, ")
        assert await made.pages(docset.id) == {
            "/docs/": (PageState.INDEXED, None),
            "/docs/one": (PageState.ERROR, Reason.ADDRESS),
            "/docs/two": (PageState.ERROR, Reason.ADDRESS),
        }


async def test_pages_that_were_not_asked_are_asked_when_the_site_is_indexed_again(desk: Opener, site: Site) -> None:
    names = Names({"docs.example": [*[[PUBLIC]] * 3, [PRIVATE]]})
    async with desk(names) as made:
        docset = await soon(made.index(site))
        names.answers["docs.example"] = [[OTHER]]
        docset = await made.index(site)
        assert (docset.status, docset.message, docset.index_status.indexed_pages) == (DocsetState.READY, None, 3)


@pytest.mark.parametrize("answers", [0, 1, 2, 3])
async def test_a_refresh_of_a_docset_whose_host_turned_inward_changes_no_page(desk: Opener, site: Site, answers: int) -> None:
    names = Names({"docs.example": [[PUBLIC]]})
    async with desk(names) as made:
        docset = await made.index(site)
        before = await made.pages(docset.id)
        names.answers["docs.example"] = [*[[PUBLIC]] * answers, ["127.0.0.1"]]
        refreshed = await soon(made.refresh(docset.id))
        assert "docs.example leads to 127.0.0.1" in (refreshed.message or "")
        assert await made.pages(docset.id) == before
        assert refreshed.last_refresh is not None
        assert (refreshed.status, refreshed.last_refresh.done) == (DocsetState.READY, answers > 1)


LEADS: dict[str, Callable[[str], dict[str, str | Answer]]] = {
    "link": lambda url: {"/docs/": page("Kettle", url, "one")},
    "redirect": lambda url: {"/docs/one": Answer(302, headers={"Location": url})},
    "redirect of the seed": lambda url: {"/docs/": Answer(301, headers={"Location": url})},
    "meta refresh": lambda url: {"/docs/one": f'<meta http-equiv="refresh" content="0; url={url}">'},
    "canonical": lambda url: {"/docs/one": f'<link rel="canonical" href="{url}"><h1>One</h1><p>Text of one, all of it.'},
    "robots.txt": lambda url: {"/robots.txt": Answer(302, headers={"Location": url})},
    "sitemap": lambda url: {"/robots.txt": f"Sitemap: {url}"},
    "sitemap that redirects": lambda url: {"/sitemap.xml": Answer(302, headers={"Location": url})},
    "page in a sitemap": lambda url: {"/sitemap.xml": f"<urlset><url><loc>{url}</loc></url></urlset>"},
}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "wiki.example", "[::1]", METADATA])
@pytest.mark.parametrize("by", LEADS)
async def test_no_site_leads_docworker_inside(desk: Opener, site: Site, by: str, host: str) -> None:
    wires = Wires()
    names = Names({"docs.example": [[PUBLIC]], "localhost": [["127.0.0.1"]], "wiki.example": [[PRIVATE]]})
    with Site({"/docs/": page("Secret"), "/docs/inside": page("Secret")}) as inner:
        site.pages |= LEADS[by](f"http://{host}:{urlsplit(inner.url).port}/docs/inside")
        async with desk(names, wires) as made:
            await made.index(inner, "wiki.example")  # what is inside is indexed too, and its connections are open
            inner.requests.clear()
            wires.connected.clear()
            await soon(made.index(site))
        assert set(wires.connected) == {PUBLIC}
        assert inner.requests.total() == 0
