"""One method per use case: contract in, contract out. Knows neither HTTP nor SQL; raises what `docworker.errors` draws."""

import asyncio
import logging
import re
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit

import apsw

from docworker.contract import (
    Check,
    DeleteResponse,
    DocsetRequest,
    DocsetResponse,
    DoctorRequest,
    DoctorResponse,
    EventsRequest,
    HeartbeatResponse,
    Incremental,
    IndexRequest,
    IndexResponse,
    IndexStatus,
    ModelStatus,
    PageResponse,
    PagesRequest,
    PagesResponse,
    RedirectResponse,
    RefreshAllRequest,
    RefreshAllResponse,
    RefreshProgress,
    RefreshReport,
    RefreshRequest,
    RefreshResponse,
    RegisterRequest,
    RegisterResponse,
    ResultResponse,
    RetrieveRequest,
    RetrieveResponse,
    SessionRequest,
    SessionResponse,
    SessionsRequest,
    SessionsResponse,
    SnippetResponse,
    StatusRequest,
    StatusResponse,
    StuckPage,
    UnregisterResponse,
    WhyDocset,
    WhyRequest,
    WhyResponse,
)  # fmt: skip
from docworker.crawl.robots import Robots
from docworker.crawl.rules import by_url, let_in
from docworker.embedding.loader import ModelLoader
from docworker.errors import Conflict, InvalidRequest, NotFound, ShelfDamaged, SiteFailed
from docworker.events import Events
from docworker.indexing.pipeline import Tools
from docworker.jobs import Jobs
from docworker.model import Access, Docset, DocsetState, Link, PageState, Reason, Session, Snippet, digest
from docworker.retrieval.search import Question, Searcher
from docworker.sessions import Sessions
from docworker.settings import Ranking
from docworker.store import access, chunks, docsets, frontier, pages, refreshes
from docworker.store import robots as robots_store
from docworker.store.frontier import FrontierLimits
from docworker.store.pages import Page, Trace
from docworker.store.refreshes import Begun
from docworker.urls import canonical, covers, default_allowed_path, in_scope, on_site, origin, path_of
from docworker.visible import visible_line

_log = logging.getLogger(__name__)
_MAX_OTHER_URLS = 20
_USER_INFO = re.compile(r"//[^/?#]*@")
_PROGRESS_S = 0.5
_PATIENCE_S = 3.0
_SEARCHES_AT_ONCE = 8  # each opens files of the shelf; more of them at once answer no more in a second
_SIZE_S = 5.0
_HOUR_MS = 60 * 60 * 1_000
_LEAST_FREE_BYTES = 200 * 2**20
# What a site may have answered only because it did not know who asks; some send such a reader to their login page.
_MAY_WANT_LOGIN = (Reason.FORBIDDEN, Reason.GONE, Reason.MOVED_OUT, Reason.REDIRECTS)
_FINAL = frozenset({PageState.INDEXED, PageState.SKIPPED, PageState.ERROR})


class Service:
    """All that docworker does for whoever asks."""

    def __init__(
        self, tools: Tools, jobs: Jobs, model: ModelLoader, sessions: Sessions, *, data_dir: Path, ranking: Ranking
    ) -> None:
        self._catalog = tools.catalog
        self._shelf = tools.shelf
        self._fetcher = tools.fetcher
        self._events = tools.events
        self._limits = tools.limits.frontier
        self._obey_robots = tools.limits.obey_robots
        self._now = tools.now
        self._jobs = jobs
        self._model = model
        self._sessions = sessions
        self._searcher = Searcher(tools.catalog, tools.shelf, model, ranking)
        self._data_dir = data_dir
        self._size, self._sized_s = 0, float("-inf")
        self._searching = asyncio.Semaphore(_SEARCHES_AT_ONCE)
        self._indexing = asyncio.Lock()  # two requests for the same site make one docset

    # -- indexing

    async def index(self, request: IndexRequest) -> IndexResponse:
        """Make a docset, or reuse the one that covers it, and crawl it.

        Raises InvalidRequest for a seed that is no page of the site, Forbidden when its host leads where docworker does not go,
        and SiteFailed when the seed was waited for and cannot be had or holds no text; a docset made by this very request is
        then not kept.
        """
        base_url, seed_url, allowed_paths = _target(request)
        inside = await self._fetcher.leads_inside(seed_url)
        async with self._indexing:
            docset, new, seed_url = await self._catalog.write(
                _ensure_docset, base_url, seed_url, allowed_paths, request, inside, self._limits, self._now()
            )
        seed = await self._catalog.read(pages.by_url, docset.id, seed_url)
        self._jobs.start(docset)  # also when all seems done: settings may have changed, failed pages are asked again
        if request.wait_for_seed and not _done(seed):
            seed = await self._wait_for_page(docset.id, seed_url)
            if seed is None or seed.state is not PageState.INDEXED:
                reason = seed.message if seed and seed.message else "It redirects in a circle, or the docset is full."
                if new:
                    await self._remove(docset.id)
                raise SiteFailed(f"{seed_url} could not be indexed: {reason}")
        now = await self._catalog.read(docsets.get, docset.id)
        return IndexResponse(
            docset_id=docset.id,
            status=now.state if now else docset.state,
            seed_indexed=seed is not None and seed.state is PageState.INDEXED,
        )

    async def _wait_for_page(self, docset_id: str, url: str) -> Page | None:
        """What became of a page, once its crawl got to it; None when the crawl ended without."""
        while True:
            change = self._jobs.next_change
            running = self._jobs.running(docset_id)
            page = await self._catalog.read(pages.by_url, docset_id, url)
            if _done(page) or not running:
                return page
            await change.wait()

    async def delete(self, request: DocsetRequest) -> DeleteResponse:
        """Stop a docset's crawl and remove all of it; nothing of it is found from here on. Raises NotFound."""
        await self._docset(request.id)
        await self._remove(request.id)
        return DeleteResponse(success=True, docset_id=request.id)

    async def _remove(self, docset_id: str) -> None:
        await self._jobs.cancel(docset_id)
        await self._catalog.write(docsets.delete, docset_id)
        await self._shelf.remove_docset(docset_id)
        _log.info("docset %s deleted", docset_id)
        self._events.publish("deleted", {"docsetId": docset_id}, docset_id)

    # -- refreshing

    async def refresh(self, request: RefreshRequest) -> RefreshResponse:
        """Begin to bring a docset up to date, unless it is fresh; what there is serves until then.

        Raises InvalidRequest without docsetId or baseUrl, NotFound, and Conflict when several docsets have the baseUrl.
        """
        if request.docset_id is not None:
            docset = await self._docset(request.docset_id)
            if request.base_url is not None and docset.id not in {each.id for each in await self._at(request.base_url)}:
                raise InvalidRequest(f"baseUrl: expected that of docset {docset.id}, {docset.base_url}, or none.")
        elif request.base_url is not None:
            found = await self._at(request.base_url)
            if not found:
                raise NotFound(f"No docset is of {_shown(request.base_url)}; GET /status lists those there are.")
            if len(found) > 1:
                listed = ", ".join(f"{each.id} ({each.name})" for each in found)
                raise Conflict(f"Several docsets are of {_shown(request.base_url)}: {listed}. Send the docsetId of one.")
            docset = found[0]
        else:
            raise InvalidRequest("docsetId: required, or a baseUrl in its place, but both are missing.")
        return await self._refresh(docset, request)

    async def refresh_all(self, request: RefreshAllRequest) -> RefreshAllResponse:
        """Begin to bring every docset up to date that is not fresh."""
        results = [await self._refresh(docset, request) for docset in await self._catalog.read(docsets.all_docsets)]
        return RefreshAllResponse(total=len(results), refreshed=sum(result.refreshed for result in results), results=results)

    async def _at(self, base_url: str) -> list[Docset]:
        """The docsets of a base URL, else those of its site; by http as by https."""
        url = canonical(base_url)
        if url is None:
            raise InvalidRequest(f"baseUrl: expected an http or https address, got {_shown(base_url)}.")
        site = [each for each in await self._catalog.read(docsets.all_docsets) if _same_host(url, each)]
        path = urlsplit(url).path.rstrip("/")
        return [each for each in site if urlsplit(each.base_url).path.rstrip("/") == path] or site

    async def _refresh(self, docset: Docset, request: RefreshAllRequest) -> RefreshResponse:
        counts = await self._catalog.read(docsets.counts, docset.id, self._now())
        total = sum(counts.pages.values())
        hashes = 0 if request.full_reindex else counts.pages.get(PageState.INDEXED, 0)
        refreshed, age = True, None if docset.state is DocsetState.ERROR else _age_ms(docset, self._now())
        if self._jobs.refreshing(docset.id):
            message = f"{docset.name} is being refreshed already; this request joins that."
        elif self._jobs.running(docset.id) and docset.crawled_at is None:
            message = f"{docset.name} is being indexed, which asks for what is new; this request joins that."
        elif age is not None and age < request.max_age * _HOUR_MS and not request.force:
            refreshed = False
            message = (
                f"{docset.name} is fresh: all of it was asked for {_said_age(age)} ago, and maxAge is {request.max_age:g} hours."
                " To refresh it all the same, send force."
            )
        else:
            mode = "full reindex" if request.full_reindex else "incremental mode"
            message = f"Refreshing {total} pages from {docset.name} ({mode})"
            begun = Begun(request.full_reindex, "asked for", self._now())
            if not await self._jobs.refresh(docset, begun):
                message = f"{docset.name} is being refreshed already; this request joins that."
        now = await self._docset(docset.id)
        return RefreshResponse(
            docset_id=docset.id,
            status=now.state,
            refreshed=refreshed,
            message=message,
            incremental=Incremental(preserved_hashes=hashes, cleared_hashes=total - hashes),
        )

    async def refresh_stale(self, max_age_h: float) -> None:
        """Refresh what was last crawled so long ago, for as long as the daemon runs."""
        request = RefreshAllRequest.model_validate({"maxAge": max_age_h})
        while True:
            for docset in await self._catalog.read(docsets.all_docsets):
                last = await self._catalog.read(refreshes.report, docset.id)
                if last is None or last.done or self._now() - last.ended_at >= max_age_h * _HOUR_MS:  # one that failed waits too
                    await self._refresh(docset, request)
            await asyncio.sleep(min(60.0, max_age_h * 3_600))

    async def refresh_read_otherwise(self) -> None:
        """Read the pages anew that an older extractor read."""
        why = "docworker reads pages otherwise than the version that indexed them"
        for docset_id in await self._catalog.read(pages.read_otherwise):
            docset = await self._catalog.read(docsets.get, docset_id)
            if docset is not None and await self._jobs.refresh(docset, Begun(False, why, self._now())):
                _log.info("docset %s is refreshed: %s", docset_id, why)

    # -- retrieval

    async def retrieve(self, request: RetrieveRequest) -> RetrieveResponse:
        """Passages for a question, inside its budget. Raises NotFound for a docset that does not exist."""
        if request.docset_ids:
            for docset_id in request.docset_ids:
                await self._docset(docset_id)
        remade = self._shelf.remade
        question = Question(
            request.query,
            request.top_k,
            None if request.docset_ids is None else list(dict.fromkeys(request.docset_ids)),
            request.max_chunks_per_page,
            request.max_total_chars,
            request.format_snippets,
        )
        async with self._searching:
            answer = await self._searcher.answer(question)
            # soon after a start nobody knows yet whether the index is whole
            if not answer.snippets and not self._jobs.mended and await self._jobs.soon_mended(_PATIENCE_S):
                answer = await self._searcher.answer(question)
        if self._shelf.remade != remade or not (answer.snippets or self._jobs.mended):
            raise ShelfDamaged("The index is being made again from what the catalog holds. Try again soon.")
        return RetrieveResponse(
            query=request.query,
            results=[_result(snippet) for snippet in answer.snippets],
            total_chars=sum(snippet.char_count for snippet in answer.snippets),
            truncated=answer.truncated,
        )

    # -- sessions

    async def register(self, request: RegisterRequest) -> RegisterResponse:
        """Register an editor's session; one that is registered already beats."""
        session = await self._sessions.register(request.session_id, request.client_type)
        return RegisterResponse(success=True, session=_session(session), total_sessions=len(self._sessions))

    async def heartbeat(self, request: SessionRequest) -> HeartbeatResponse:
        """Renew a session's lease. Raises NotFound when it has ended."""
        return HeartbeatResponse(success=True, session=_session(await self._sessions.heartbeat(request.session_id)))

    async def unregister(self, request: SessionRequest) -> UnregisterResponse:
        """End a session; with the last one the daemon stops, unless another one comes soon."""
        existed = await self._sessions.unregister(request.session_id)
        return UnregisterResponse(
            success=True, existed=existed, remaining_sessions=len(self._sessions), should_stop=self._sessions.stop_is_due
        )

    async def sessions(self, _request: SessionsRequest) -> SessionsResponse:
        """The editors that are connected."""
        found = [_session(session) for session in self._sessions.all()]
        return SessionsResponse(sessions=found, count=len(found))

    # -- events

    @property
    def events(self) -> Events:
        """What happens, as it happens."""
        return self._events

    async def progress(self, request: EventsRequest) -> list[DocsetResponse]:
        """How things stand when somebody begins to listen. Raises NotFound for an unknown docset."""
        return await self._chosen(request.docset_id, include_stuck=False)

    async def tell_progress(self) -> None:
        """Publish how far the docsets are that are worked on, for as long as somebody listens."""
        told: dict[str, str] = {}
        before: set[str] = set()
        heard = self._events.number
        while True:
            if self._events.heard:
                # what began and ended since the last look is at work no more, but something happened to it
                touched, heard = self._events.about(heard), self._events.number
                at_work = touched | self._jobs.all_running() | set(await self._catalog.read(chunks.docsets_waiting))
                for docset in await self._catalog.read(docsets.all_docsets):
                    if docset.id in told and docset.id not in at_work | before:
                        continue
                    found = (await self._describe(docset, include_stuck=False)).model_dump_json(by_alias=True)
                    if told.get(docset.id) != found:
                        self._events.publish("progress", found, docset.id)
                        told[docset.id] = found
                before = at_work
            else:
                told.clear()
            await asyncio.sleep(_PROGRESS_S)

    # -- health

    async def doctor(self, request: DoctorRequest) -> DoctorResponse:
        """Look at the data folder, the catalog, the shelf and the model; with `fix`, mend what can be mended."""
        damage = await self._catalog.check()
        found, mended = await self._jobs.check(fix=request.fix)
        wrong = ", ".join(
            f"{number} {what}"
            for number, what in (
                (len(found.missing), "chunks are missing"),
                (len(found.unknown), "are there that no page has"),
                (len(found.misnoted), "have a wrong note about their vector"),
                (found.cut_otherwise, "pages are cut as by an older docworker"),
            )
            if number
        )
        free = shutil.disk_usage(self._data_dir).free
        checks = [
            Check(
                name="catalog",
                ok=damage is None,
                message=f"Damaged: {damage}. Run `docworker stop`, then `docworker doctor --fix`." if damage else "It is whole.",
            ),
            Check(
                name="index",
                ok=found.agree or mended,
                message=f"Index and catalog disagree: {wrong}." if wrong else "Index and catalog agree.",
                fixed=mended,
            ),
            Check(
                name="disk",
                ok=free >= _LEAST_FREE_BYTES,
                message=f"{free // 2**20} MiB are free{'' if free >= _LEAST_FREE_BYTES else ': make room'}.",
            ),
            Check(
                name="model",
                ok=self._model.reason is None,
                message=self._model.reason or f"{self._model.model_id or 'It'} is {self._model.state.value}.",
            ),
        ]
        for docset in await self._catalog.read(docsets.all_docsets):
            if docset.state is DocsetState.ERROR:
                checks.append(Check(name=f"docset {docset.name}", ok=False, message=docset.message or "It has no page."))
        return DoctorResponse(ok=all(check.ok for check in checks), checks=checks)

    # -- status

    async def status(self, request: StatusRequest) -> StatusResponse:
        """Every docset, or one, with its numbers; and the state of the model. Raises NotFound for an unknown docset."""
        return StatusResponse(
            docsets=await self._chosen(request.docset_id, include_stuck=request.include_stuck),
            model=ModelStatus(state=self._model.state.value, id=self._model.model_id, message=self._model.reason),
            size_bytes=await self._folder_size(),
        )

    async def _folder_size(self) -> int:
        """Bytes on disk, as of some seconds ago at most: there may be thousands of files."""
        if (now_s := time.monotonic()) - self._sized_s >= _SIZE_S:
            self._sized_s, self._size = now_s, await asyncio.to_thread(_size, self._data_dir)
        return self._size

    async def _chosen(self, docset_id: str | None, *, include_stuck: bool) -> list[DocsetResponse]:
        all_or_one = await self._catalog.read(docsets.all_docsets) if docset_id is None else [await self._docset(docset_id)]
        return [await self._describe(docset, include_stuck=include_stuck) for docset in all_or_one]

    async def docset(self, request: DocsetRequest) -> DocsetResponse:
        """One docset with its numbers. Raises NotFound."""
        return await self._describe(await self._docset(request.id), include_stuck=False)

    async def pages(self, request: PagesRequest) -> PagesResponse:
        """What became of each page of a docset, in order of discovery. Raises NotFound."""
        await self._docset(request.id)
        found, total = await self._catalog.read(pages.listing, request.id, request.status, request.limit, request.offset)
        return PagesResponse(
            pages=[
                PageResponse(
                    id=page.id,
                    url=page.url,
                    path=path_of(page.url),
                    title=_title(page.title),
                    status=page.state,
                    reason=page.reason,
                    depth=page.depth,
                    discovered_from=page.discovered_from,
                    error_message=page.message,
                    fetched_at=page.fetched_at,
                    indexed_at=page.indexed_at,
                )
                for page in found
            ],
            total=total,
            limit=request.limit,
            offset=request.offset,
        )

    async def why(self, request: WhyRequest) -> WhyResponse:
        """What became of a URL, and why. Raises NotFound for an unknown docset, or when none is of its site."""
        url = canonical(request.url)
        if url is None:
            raise InvalidRequest(f"url: expected an http or https address, got {_shown(request.url)}.")
        if request.docset_id is not None:
            chosen = [await self._docset(request.docset_id)]
        else:
            chosen = [d for d in await self._catalog.read(docsets.all_docsets) if _same_host(url, d)]
        if not chosen:
            raise NotFound(f"No docset is of {urlsplit(url).netloc}; GET /status lists those there are.")
        found = [await self._why(docset, url) for docset in chosen]
        return WhyResponse(url=url, docsets=sorted(found, key=lambda each: (each.status is None, not each.in_scope)))

    async def _why(self, docset: Docset, asked: str) -> WhyDocset:
        if await self._catalog.read(pages.trace, docset.id, asked) is None:  # the docset may know it by the other scheme
            swapped = {"http": "https", "https": "http"}[urlsplit(asked).scheme] + asked.removeprefix(urlsplit(asked).scheme)
            if await self._catalog.read(pages.trace, docset.id, swapped) is not None:
                asked = swapped
        chain = await self._catalog.read(pages.chain, docset.id, asked)
        steps = [await self._catalog.read(pages.trace, docset.id, url) for url in chain]
        url, page = chain[-1], steps[-1]
        robots = await self._catalog.read(robots_store.kept, docset.id)
        allowed = None if robots is None or not self._obey_robots else await asyncio.to_thread(_allows, robots, url)
        inside = in_scope(url, origin(docset.seed_url), docset.allowed_paths)
        known = page if page is not None and page.state is not None else None
        return WhyDocset(
            docset_id=docset.id,
            docset_name=docset.name,
            url=url,
            redirects=[
                RedirectResponse(url=step.url, target=step.target, how=step.how or "")
                for step in steps
                if step is not None and step.target is not None and step.state is None
            ],
            in_scope=inside,
            scope=_scope(docset, url, inside=inside),
            robots_allowed=allowed,
            robots=self._robots_said(robots, allowed),
            status=known.state if known else None,
            reason=known.reason if known else None,
            message=_what_became(known)
            if known
            else _why_unknown(
                docset, url, await self._catalog.read(frontier.cut_from, docset.id, url), inside=inside, allowed=allowed
            ),
            depth=known.depth if known else None,
            discovered_from=known.discovered_from if known else None,
            path=await self._catalog.read(pages.path, docset.id, url) if known else [],
            other_urls=await self._catalog.read(pages.aliases, docset.id, url, _MAX_OTHER_URLS),
            title=_title(known.title) if known else None,
            read_as=known.read_as if known else None,
            chunks=known.chunks if known else None,
            links_dropped=known.links_dropped if known else None,
            attempts=known.attempts if known else None,
            requests=known.requests if known else None,
            http_status=known.http_status if known else None,
            size_bytes=known.size if known else None,
            fetched_at=known.fetched_at if known else None,
            indexed_at=known.indexed_at if known else None,
        )

    def _robots_said(self, robots: str | None, allowed: bool | None) -> str:
        if not self._obey_robots:
            return "robots.txt is not asked for (setting ignore_robots)."
        if robots is None:
            return "robots.txt has not been read yet."
        if not robots.strip():
            return "The site has no robots.txt, or an empty one: everything is allowed."
        return "robots.txt allows it." if allowed else "robots.txt forbids it."

    async def _docset(self, docset_id: str) -> Docset:
        docset = await self._catalog.read(docsets.get, docset_id)
        if docset is None:
            raise NotFound(f"There is no docset {docset_id[:100]!r}; GET /status lists those there are.")
        return docset

    async def _describe(self, docset: Docset, *, include_stuck: bool) -> DocsetResponse:
        now = self._now()
        counts = await self._catalog.read(docsets.counts, docset.id, now)
        stuck = await self._catalog.read(pages.stuck, docset.id, now) if include_stuck else None
        waiting = counts.pages.get(PageState.PENDING, 0) + counts.pages.get(PageState.FETCHING, 0)
        progress = await self._jobs.progress(docset.id)
        report = await self._catalog.read(refreshes.report, docset.id)
        told: Access | None = await self._catalog.read(access.of, docset.id)
        return DocsetResponse(
            id=docset.id,
            name=docset.name,
            base_url=docset.base_url,
            seed_slug=path_of(docset.seed_url),
            allowed_paths=list(docset.allowed_paths),
            include=list(docset.include),
            exclude=list(docset.exclude),
            header_names=[name for name, _ in told.headers] if told else [],
            language=docset.language,
            created_at=docset.created_at,
            updated_at=docset.updated_at,
            crawled_at=docset.crawled_at,
            status=docset.state,
            message=self._jobs.trouble(docset.id) or (progress.message if progress else docset.message),
            refresh=None
            if progress is None
            else RefreshProgress(
                begun_at=progress.begun_at,
                full_reindex=progress.full,
                pages=progress.pages,
                pending_pages=progress.waiting,
                pending_chunks=progress.chunks_waiting,
            ),
            last_refresh=None
            if report is None
            else RefreshReport(
                full_reindex=report.full, **{name: value for name, value in asdict(report).items() if name != "full"}
            ),
            index_status=IndexStatus(
                docset_id=docset.id,
                total_pages=sum(counts.pages.values()),
                indexed_pages=counts.pages.get(PageState.INDEXED, 0),
                pending_pages=waiting,
                error_pages=counts.pages.get(PageState.ERROR, 0),
                skipped_pages=counts.pages.get(PageState.SKIPPED, 0),
                total_chunks=counts.chunks,
                embedded_chunks=counts.embedded,
                status=docset.state,
                stuck_pages=counts.stuck,
                retried_pages=counts.retried,
                stuck_page_details=[StuckPage(id=page.id, url=page.url) for page in stuck] if stuck is not None else None,
            ),
        )


def _shown(url: str) -> str:
    """What the user gave as a URL, for a message: without a password, and not all of a long one."""
    return repr(_USER_INFO.sub("//…@", url)[:200])


def _target(request: IndexRequest) -> tuple[str, str, tuple[str, ...]]:
    """(base URL, seed URL, allowed paths) of a request, canonical. Raises InvalidRequest naming the field."""
    base_url = canonical(request.base_url)
    if base_url is None or "?" in request.base_url or "#" in request.base_url:
        raise InvalidRequest(
            "baseUrl: expected an http or https address without user, query or fragment, such as https://example.org, "
            f"got {_shown(request.base_url)}."
        )
    site = origin(base_url)
    slug = request.seed_slug.strip()
    full = slug.lower().startswith(("http://", "https://"))
    seed_url = canonical(slug) if full else canonical(site + "/" + slug.removeprefix("/"))
    if seed_url is None or origin(seed_url) != site or not slug:
        raise InvalidRequest(f"seedSlug: expected a path on {site}, such as /docs, got {_shown(request.seed_slug)}.")
    seed_path = urlsplit(seed_url).path
    allowed_paths = _allowed_paths(request.allowed_paths, site) or (default_allowed_path(seed_path),)
    if not any(covers(path, seed_path) for path in allowed_paths):
        raise InvalidRequest(
            f"seedSlug: expected a path inside allowedPaths ({', '.join(allowed_paths)[:200]}), got {seed_path[:200]!r}."
        )
    return base_url.rstrip("/"), seed_url, allowed_paths


def _allowed_paths(given: list[str] | None, site: str) -> tuple[str, ...]:
    """The prefixes in canonical form, each once, without those that another one covers."""
    paths: dict[str, None] = {}
    for path in given or ():
        url = canonical(site + path) if path.startswith("/") else None
        if url is None or "?" in path or "#" in path:
            raise InvalidRequest(f"allowedPaths: expected paths that begin with /, such as /docs, got {path[:200]!r}.")
        paths[urlsplit(url).path.rstrip("/") or "/"] = None
    return tuple(sorted(path for path in paths if not any(covers(other, path) for other in paths if other != path)))


def _ensure_docset(
    db: apsw.Connection,
    base_url: str,
    seed_url: str,
    allowed_paths: tuple[str, ...],
    request: IndexRequest,
    inside: bool | None,
    limits: FrontierLimits,
    now: int,
) -> tuple[Docset, bool, str]:
    """The docset of that site that covers the request, else a new one; the seed is in its frontier or known.

    Returns the docset, whether it is new, and the seed's URL in it: https when the docset has moved up to that.
    """
    seed_path = urlsplit(seed_url).path
    docset, new = None, False
    for site in (origin(seed_url), "https" + origin(seed_url).removeprefix("http")):
        for known in docsets.on_origin(db, site):
            if all(any(covers(mine, path) for mine in known.allowed_paths) for path in (*allowed_paths, seed_path)):
                docset = docset or known
    if docset is None:
        new = True
        id_ = digest(origin(seed_url), *allowed_paths, size=6)
        docset = Docset(
            id=id_,
            name=request.name or urlsplit(seed_url).netloc,
            named=request.name is not None,
            base_url=base_url,
            seed_url=seed_url,
            allowed_paths=allowed_paths,
            max_pages=request.max_pages,
            include=tuple(request.include or ()),
            exclude=tuple(request.exclude or ()),
            language=None,
            state=DocsetState.PENDING,
            message=None,
            created_at=now,
            updated_at=now,
            crawled_at=None,
        )
        docsets.insert(db, docset)
    elif request.name is not None:
        docsets.rename(db, docset.id, request.name, by_user=True, now=now)
    if request.max_pages is not None and request.max_pages != docset.max_pages:
        docsets.set_max_pages(db, docset.id, request.max_pages)
    include = docset.include if request.include is None else tuple(request.include)
    exclude = docset.exclude if request.exclude is None else tuple(request.exclude)
    if (include, exclude) != (docset.include, docset.exclude):
        docsets.set_patterns(db, docset.id, include, exclude)
        _reopen_let_in(db, docset, replace(docset, include=include))
    if docset.state is not DocsetState.INDEXING:
        docsets.set_state(db, docset.id, DocsetState.PENDING, docset.message, now)
    frontier.reopen_failed(db, docset.id)
    before = access.of(db, docset.id)
    if request.headers is not None and before is not None and request.headers != dict(before.headers):
        frontier.reopen(db, docset.id, *_MAY_WANT_LOGIN)
        docsets.ask_again(db, docset.id)
        robots_store.forget(db, docset.id)
    access.keep(db, docset.id, inside=inside, headers=request.headers)
    seed_url = on_site(seed_url, origin(docset.seed_url)) or seed_url
    frontier.retry(db, docset.id, pages.resolve(db, docset.id, seed_url))
    max_pages = request.max_pages or docset.max_pages or limits.max_pages
    frontier.discover(db, docset.id, [Link(seed_url, 0, None)], replace(limits, max_pages=max_pages))
    return docsets.get(db, docset.id) or docset, new, seed_url


def _reopen_let_in(db: apsw.Connection, old: Docset, new: Docset) -> None:
    """Let pages be judged again that only a pattern which is gone let in."""
    for page_id, url, state, _ in frontier.decided(db, old.id):
        if state == PageState.INDEXED and let_in(old, url) and not let_in(new, url):
            frontier.reopen_page(db, page_id)


def _session(session: Session) -> SessionResponse:
    return SessionResponse(
        id=session.id,
        client_type=session.client_type,
        connected_at=session.connected_at,
        last_heartbeat=session.last_heartbeat,
    )


def _done(page: Page | None) -> bool:
    return page is not None and page.state in _FINAL


def _result(snippet: Snippet) -> ResultResponse:
    hit, breadcrumb = snippet.hit, " > ".join(snippet.hit.path)
    formatted = snippet.formatted
    return ResultResponse(
        chunk_id=hit.chunk_id,
        page_id=hit.page_id,
        docset_id=hit.docset_id,
        content=snippet.content,
        url=hit.url,
        title=hit.title,
        heading=hit.path[-1] if hit.path else hit.title,
        score=round(hit.score, 4),
        snippet=None
        if formatted is None
        else SnippetResponse(
            formatted=formatted,
            title=hit.title,
            url=hit.url,
            breadcrumb=breadcrumb,
            content=snippet.content,
            char_count=snippet.char_count,
        ),
    )


def _title(kept: str | None) -> str | None:
    """A page's title as it is seen: an older extractor may have read it."""
    return None if kept is None else visible_line(kept)


def _age_ms(docset: Docset, now: int) -> int | None:
    """How long ago all of a docset was last crawled; None when it never was, or when the clock was set back since."""
    return None if docset.crawled_at is None or docset.crawled_at > now else now - docset.crawled_at


def _said_age(age_ms: int) -> str:
    return f"{age_ms / _HOUR_MS:.1f} hours" if age_ms >= _HOUR_MS else f"{age_ms // 60_000} minutes"


def _same_host(url: str, docset: Docset) -> bool:
    return urlsplit(url).netloc == urlsplit(docset.seed_url).netloc


def _allows(robots: str, url: str) -> bool:
    return Robots(robots).allows(url)


def _scope(docset: Docset, url: str, *, inside: bool) -> str:
    below = f"{origin(docset.seed_url)} below {', '.join(docset.allowed_paths)}"
    return f"It is {'inside' if inside else 'outside'} the docset: {below}."


def _what_became(page: Trace) -> str:
    """What was decided about a page that is known."""
    if page.message:
        return page.message
    match page.state:
        case PageState.INDEXED:
            return f"It is indexed, with {page.chunks} chunk{'s' * (page.chunks != 1)}."
        case PageState.FETCHING:
            return "It is being fetched."
        case _:
            return "It waits for its turn."


def _why_unknown(docset: Docset, url: str, cut_from: str | None, *, inside: bool, allowed: bool | None) -> str:
    """Why a URL has not been met."""
    if not inside:
        return _scope(docset, url, inside=False)
    if cut_from is not None:
        return f"{cut_from} leads to it, but a limit keeps it out. {docset.message or ''}".strip()
    if allowed is False:
        return "Nothing led to it, and robots.txt forbids it."
    if (left_out := by_url(docset, url)) is not None:
        return f"Nothing led to it, and it would be left out. {left_out[1]}"
    if docset.state in (DocsetState.PENDING, DocsetState.INDEXING):
        return "Nothing has led to it so far; the crawl goes on."
    return f"No page that was read links to it, and no sitemap names it. {docset.message or ''}".strip()


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:  # removed meanwhile
            continue
    return total
