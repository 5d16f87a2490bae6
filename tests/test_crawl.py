"""What a crawl asks for, keeps and leaves out: a real daemon against real sites on loopback, a small site for each rule."""

import gzip
import json
import re
import ssl
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from docworker import PROJECT_URL, __version__
from tests.daemon import Daemon
from tests.site import Answer, Site

MAX_QUERIES, MAX_REDIRECTS, MAX_DEPTH = 3, 3, 5
MAX_RESPONSE_BYTES, MAX_PAGE_BYTES, MAX_TOTAL_BYTES = 100_000, 150_000, 600_000
LIMITS = {
    "max_queries_per_path": MAX_QUERIES,
    "max_redirects": MAX_REDIRECTS,
    "max_depth": MAX_DEPTH,
    "max_response_bytes": MAX_RESPONSE_BYTES,
    "max_page_bytes": MAX_PAGE_BYTES,
    "max_total_bytes": MAX_TOTAL_BYTES,
    "request_attempts": 1,
}
Pages = dict[str, str | Answer]


def page(title: str, text: str = "", *links: str, head: str = "", lang: str = "", body: str = "") -> str:
    """A page with a text of its own and its links in the navigation."""
    anchors = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    return (
        f"<html{f' lang={lang}' if lang else ''}><head><title>{title} — Handbook</title>{head}</head>"
        f"<body><main><h1>{title}</h1><p>{text or f'All about {title}.'}</p>{body}</main>"
        f"<nav><ul>{anchors}</ul></nav></body></html>"
    )


def moved(to: str, status: int = 302) -> Answer:
    return Answer(status, headers={"Location": to})


def copy_of(original: str) -> str:
    return f'<link rel="canonical" href="{original}">'


def sitemap(*urls: str) -> str:
    entries = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'


def sitemap_index(*urls: str) -> str:
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f'<?xml version="1.0"?><sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</sitemapindex>'


def delayed(pages: Mapping[str, str | Answer], path: str, delay_s: float = 0.3) -> Pages:
    """The pages, one of which answers after the others of its level."""
    found = pages[path]
    answer = found if isinstance(found, Answer) else Answer(body=found)
    return {**pages, path: replace(answer, delay_s=delay_s)}


@dataclass(frozen=True)
class Crawled:
    """A docset whose crawl has ended, and its pages by path."""

    docset: Any
    pages: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.docset["id"])

    @property
    def message(self) -> str:
        return str(self.docset["message"] or "")

    @property
    def outcomes(self) -> dict[str, str]:
        """By path: `indexed`, or the reason why not."""
        return {path: found["reason"] or found["status"] for path, found in self.pages.items()}

    @property
    def indexed(self) -> set[str]:
        return {path for path, outcome in self.outcomes.items() if outcome == "indexed"}

    def said(self, path: str) -> str:
        return str(self.pages[path]["errorMessage"])


class Crawler:
    """Indexes sites with a daemon; what it made is deleted after each test, since a later site may get the same port."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._http = httpx.Client(base_url=daemon.url, timeout=120, trust_env=False)
        self._made = set[str]()

    def get(self, path: str, **query: str | int) -> Any:
        return self._http.get(path, params=query).raise_for_status().json()

    def post(self, path: str, **body: object) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()

    def index(self, site: Site | str, seed: str = "/docs/", **more: object) -> Crawled:
        """Index a site, or index it again with something changed, and wait for the end of the crawl."""
        url = site if isinstance(site, str) else site.url
        return self.ended(str(self.post("/index", baseUrl=url, seedSlug=seed, **{"waitForSeed": False} | more)["docsetId"]))

    def ended(self, docset_id: str) -> Crawled:
        """The docset once its crawl has ended."""
        deadline = time.monotonic() + 60
        self._made.add(docset_id)
        while (docset := self.get(f"/docset/{docset_id}"))["status"] not in ("ready", "error"):
            assert time.monotonic() < deadline, f"the crawl does not end: {self.daemon.log()[-2000:]}"
            time.sleep(0.05)
        listed = self.get(f"/docset/{docset_id}/pages", limit=500)["pages"]
        return Crawled(docset, {found["path"]: found for found in listed})

    def refused(self, site: Site | str, seed: str = "/docs/") -> str:
        """Why a site cannot be indexed."""
        response = self._http.post("/index", json={"baseUrl": site if isinstance(site, str) else site.url, "seedSlug": seed})
        assert response.status_code == 502, response.text
        return str(response.json()["error"])

    def found(self, docset_id: str, query: str) -> set[str]:
        """Titles of the pages that answer a question."""
        results = self.post("/retrieve", query=query, docsetIds=[docset_id], topK=50)["results"]
        return {result["title"] for result in results}

    def forget(self) -> None:
        for docset_id in self._made:
            self._http.delete(f"/docset/{docset_id}")
        self._made.clear()

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """Who signs the certificates of https sites, and the file by which daemons know it."""
    made, file = trustme.CA(), tmp_path_factory.mktemp("authority") / "ca.pem"
    made.cert_pem.write_to_path(str(file))
    return made, file


@pytest.fixture(scope="module")
def tls(authority: tuple[trustme.CA, Path]) -> ssl.SSLContext:
    """What an https site on loopback serves with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1").configure_cert(context)
    return context


MakeDaemon = Callable[..., Daemon]


@pytest.fixture(scope="module")
def daemon_of(tmp_path_factory: pytest.TempPathFactory, authority: tuple[trustme.CA, Path]) -> Iterator[MakeDaemon]:
    """Makes daemons that run, have no model (no vector is waited for here), and know the https sites."""
    made: list[Daemon] = []

    def make(**settings: object) -> Daemon:
        folder = tmp_path_factory.mktemp("crawl")
        daemon = Daemon(folder / "data", folder / "cache", model_dir=folder, **settings)
        daemon.environment["SSL_CERT_FILE"] = str(authority[1])
        made.append(daemon)
        daemon.start()
        return daemon

    yield make
    for daemon in made:
        daemon.end()


@pytest.fixture(scope="module")
def shared(daemon_of: MakeDaemon) -> Iterator[Crawler]:
    """The daemon of nearly all tests, with small limits."""
    with closing(Crawler(daemon_of(**LIMITS))) as made:
        yield made


@pytest.fixture(scope="module")
def shared_unruly(daemon_of: MakeDaemon) -> Iterator[Crawler]:
    """A daemon that ignores robots.txt and robots directives, and does not wait long."""
    with closing(Crawler(daemon_of(**LIMITS | {"ignore_robots": "true", "request_timeout_s": 1}))) as made:
        yield made


@pytest.fixture
def crawler(shared: Crawler) -> Iterator[Crawler]:
    yield shared
    shared.forget()


@pytest.fixture
def unruly(shared_unruly: Crawler) -> Iterator[Crawler]:
    yield shared_unruly
    shared_unruly.forget()


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as empty:
        yield empty


class TwoSchemes(Site):
    """A site on http and https of one port; `by_scheme` replaces answers, `asked_by` tells what was asked how."""

    def __init__(self, pages: Mapping[str, str | Answer], tls: ssl.SSLContext) -> None:
        super().__init__(pages, tls=tls)
        self.by_scheme: dict[tuple[str, str], str | Answer] = {}
        self.asked_by: set[tuple[str, str]] = set()

    @property
    def secure(self) -> str:
        return self.url.replace("http:", "https:")

    def asked_for(self, scheme: str) -> set[str]:
        """The pages asked for so, besides what every crawl asks for."""
        return {path for by, path in self.asked_by if by == scheme} - {"/robots.txt", "/sitemap.xml"}

    def answer_to(self, path: str, scheme: str) -> Answer:
        self.asked_by.add((scheme, path))
        found = self.by_scheme.get((scheme, path))
        if found is None:
            return self.answer(path)
        return found if isinstance(found, Answer) else Answer(body=found)


def docs(site: Site) -> dict[str, int]:
    """How often each page was asked for, besides what every crawl asks for."""
    return {path: number for path, number in site.requests.items() if path not in ("/robots.txt", "/sitemap.xml")}


# -- one URL, one page


def test_spellings_of_a_url_are_one_request_and_one_page(crawler: Crawler, site: Site) -> None:
    host = site.url.removeprefix("http://")
    spellings = (
        "one", "./one", "../docs/one", "x/../one", "/docs/./one", "one#part", "one?", "%6Fne", f"//{host}/docs/one",
        f"HTTP://{host}/docs/one", f"http://{host}/docs/one#top", "one?utm_source=mail&amp;_ga=x", "one?gclid=1#a", "one?&amp;",
        "caf%C3%A9", "café", "caf%c3%a9", "two?b=2&amp;a=1", "two?a=1&amp;b=2", "two?fbclid=z&amp;a=1&amp;b=2&amp;utm_id=y",
    )  # fmt: skip
    site.pages |= {
        "/docs/": page("Docs", "", *spellings),
        "/docs/one": page("One"),
        "/docs/caf%C3%A9": page("Café"),
        "/docs/two?a=1&b=2": page("Two"),
    }
    found = crawler.index(site)
    assert found.outcomes == dict.fromkeys(site.pages, "indexed")
    assert docs(site) == dict.fromkeys(site.pages, 1)


def test_other_queries_are_pages_of_their_own(crawler: Crawler, site: Site) -> None:
    site.pages["/docs/"] = page("Docs", "", "show?id=1", "show?id=2", "show", "show?id=%32")
    site.pages |= {f"/docs/show{query}": page(f"Show {query}") for query in ("", "?id=1", "?id=2")}
    assert crawler.index(site).indexed == set(site.pages)
    assert docs(site) == dict.fromkeys(site.pages, 1)


def queries_left_out(number: int) -> str:
    return (
        f"Left out: {number} URLs that differ from others only in their query; {MAX_QUERIES} are kept for each path"
        " (max_queries_per_path)."
    )


def test_queries_of_a_path_are_bounded_and_the_docset_says_so(crawler: Crawler, site: Site) -> None:
    few, many = [f"few?p={n}" for n in range(MAX_QUERIES)], [f"many?p={n}" for n in range(10)]
    site.pages["/docs/"] = page("Docs", "", *few, *many, "many", "manyfold?p=1")
    site.pages |= {f"/docs/{link}": page(link) for link in (*few, *many, "many", "manyfold?p=1")}
    found = crawler.index(site)
    assert found.indexed == set(site.pages) - {f"/docs/{link}" for link in many[MAX_QUERIES:]}
    assert found.message == queries_left_out(7)
    assert found.docset["status"] == "ready"


def test_queries_that_a_pattern_leaves_out_do_not_use_up_the_bound(crawler: Crawler, site: Site) -> None:
    sorts = [f"list?sort={n}" for n in range(MAX_QUERIES)]
    site.pages["/docs/"] = page("Docs", "", *sorts, "list?v=1")
    site.pages |= {f"/docs/{link}": page(link) for link in (*sorts, "list?v=1")}
    assert "/docs/list?v=1" not in crawler.index(site).pages
    assert crawler.index(site, exclude=["*sort=*"]).indexed == {"/docs/", "/docs/list?v=1"}


def test_queries_of_a_sitemap_are_bounded_and_the_docset_says_so(crawler: Crawler, site: Site) -> None:
    names = [f"list?p={n}" for n in range(MAX_QUERIES + 2)]
    site.pages |= {f"/docs/{name}": page(name) for name in names} | {"/docs/": page("Docs")}
    site.pages["/sitemap.xml"] = sitemap(*(f"{site.url}/docs/{name}" for name in names))
    found = crawler.index(site)
    assert found.indexed == {"/docs/", *(f"/docs/{name}" for name in names[:MAX_QUERIES])}
    assert found.message == queries_left_out(2)


# -- redirects


def test_a_redirect_leaves_no_page_and_its_target_is_indexed_once(crawler: Crawler, site: Site) -> None:
    statuses = (301, 302, 303, 307, 308)
    site.pages["/docs/"] = page(
        "Docs", "", *(f"{name}{status}" for status in statuses for name in ("old", "new", "older", "alone"))
    )
    for status in statuses:
        site.pages |= {
            f"/docs/old{status}": moved(f"new{status}", status),
            f"/docs/older{status}": moved(f"{site.url}/docs/new{status}#part", status),
            f"/docs/alone{status}": moved(f"/docs/only-from-there{status}", status),
            f"/docs/new{status}": page(f"New {status}"),
            f"/docs/only-from-there{status}": page(f"Only from there {status}"),
        }
    found = crawler.index(site)
    targets = {f"/docs/{name}{status}" for name in ("new", "only-from-there") for status in statuses}
    assert found.outcomes == dict.fromkeys({"/docs/", *targets}, "indexed")
    assert docs(site) == dict.fromkeys(site.pages, 1)
    assert {found.pages[path]["depth"] for path in targets} == {1}


def test_a_meta_refresh_is_a_redirect_in_all_its_forms(crawler: Crawler, site: Site) -> None:
    forms = {
        "quoted": "0;URL='quoted-target'",
        "bare": "0; ./bare-target",
        "double": '0; url="double-target"',
        "usual": "5;url=usual-target",
        "spaced": " 0 ; URL = spaced-target",
        "absolute": f"0; url={site.url}/docs/absolute-target",
    }
    site.pages["/docs/"] = page("Docs", "", *forms, "status")
    for name, content in forms.items():
        meta = "<meta HTTP-EQUIV=Refresh content='{}'>" if '"' in content else '<meta http-equiv="refresh" content="{}">'
        site.pages[f"/docs/{name}"] = f"<title>Moved</title>{meta.format(content)}<h1>Moved</h1><p>Wait.</p>"
        site.pages[f"/docs/{name}-target"] = page(f"Target of {name}")
    site.pages["/docs/status"] = page("Status", head='<meta http-equiv="refresh" content="30">')
    found = crawler.index(site)
    targets = {f"/docs/{name}-target" for name in forms}
    assert found.outcomes == dict.fromkeys({"/docs/", "/docs/status", *targets}, "indexed")
    assert set(docs(site).values()) == {1}


def test_a_chain_of_redirects_leads_to_its_end(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "a"),
        "/docs/a": moved("b"),
        "/docs/b": '<meta http-equiv="refresh" content="0; url=c">',
        "/docs/c": moved("d", 301),
        "/docs/d": page("The end"),
    }
    found = crawler.index(site)
    assert found.outcomes == dict.fromkeys(("/docs/", "/docs/d"), "indexed")
    assert (found.pages["/docs/d"]["depth"], found.pages["/docs/d"]["discoveredFrom"]) == (1, f"{site.url}/docs/c")


def test_more_redirects_than_allowed_are_said_and_the_next_target_is_not_asked(crawler: Crawler, site: Site) -> None:
    site.pages["/docs/"] = page("Docs", "", "0")
    site.pages |= {f"/docs/{n}": moved(str(n + 1)) for n in range(MAX_REDIRECTS + 2)}
    found = crawler.index(site)
    assert found.outcomes == {"/docs/": "indexed", f"/docs/{MAX_REDIRECTS}": "redirects"}
    assert re.search(rf"through {MAX_REDIRECTS} redirects .*max_redirects", found.said(f"/docs/{MAX_REDIRECTS}"))
    assert f"/docs/{MAX_REDIRECTS + 1}" not in site.requests


def test_redirects_in_a_circle_are_said(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "self", "two1", "meta1"),
        "/docs/self": moved("self"),
        "/docs/two1": moved("two2"),
        "/docs/two2": moved("two1"),
        "/docs/meta1": '<meta http-equiv="refresh" content="0; url=meta2">',
        "/docs/meta2": '<meta http-equiv="refresh" content="0; url=meta1">',
    }
    found = crawler.index(site)
    assert Counter(found.outcomes.values()) == {"indexed": 1, "redirects": 3}
    assert found.said("/docs/self") == "The page redirects to itself."
    u = f"{site.url}/docs/"
    assert found.said("/docs/two1") == f"The page redirects in a circle: {u}two1 → {u}two2 → {u}two1."
    assert found.said("/docs/meta1") == f"The page redirects in a circle: {u}meta1 → {u}meta2 → {u}meta1."
    assert docs(site) == dict.fromkeys(site.pages, 1)


def test_a_redirect_out_of_scope_is_left_out_and_its_target_not_asked(crawler: Crawler, site: Site) -> None:
    with Site({"/docs/x": page("Elsewhere")}) as other:
        site.pages |= {
            "/docs/": page("Docs", "", "path", "similar", "origin", "refresh"),
            "/docs/path": moved("/blog/x"),
            "/docs/similar": moved("/docsets/x"),
            "/docs/origin": moved(f"{other.url}/docs/x"),
            "/docs/refresh": f'<meta http-equiv="refresh" content="0; url={other.url}/docs/x">',
            "/blog/x": page("Blog"),
            "/docsets/x": page("Docsets"),
        }
        found = crawler.index(site)
        assert other.requests == {}
    outside = dict.fromkeys((f"/docs/{name}" for name in ("path", "similar", "origin", "refresh")), "moved-out")
    assert found.outcomes == {"/docs/": "indexed"} | outside
    assert found.said("/docs/path") == "The page redirects to /blog/x, which is outside this docset."
    assert f"{other.url}/docs/x" in found.said("/docs/origin")
    assert docs(site) == dict.fromkeys(("/docs/", *outside), 1)


def test_a_redirect_does_not_lead_around_the_patterns_and_rules_of_the_docset(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "pattern", "source"),
        "/docs/pattern": moved("old/a"),
        "/docs/old/a": page("Old"),
        "/docs/source": moved("_modules/x.html"),
        "/docs/_modules/x.html": page("Source"),
    }
    found = crawler.index(site, exclude=["/docs/old/*"])
    assert found.outcomes == {"/docs/": "indexed", "/docs/old/a": "excluded", "/docs/_modules/x.html": "source-listing"}
    assert docs(site).keys() == {"/docs/", "/docs/pattern", "/docs/source"}


# -- rel=canonical


def test_a_copy_that_names_its_original_is_no_page(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "copy", "original", "relative"),
        "/docs/copy": page("Copy", "The text with a banner.", "behind", head=copy_of(f"{site.url}/docs/original#top")),
        "/docs/original": page("Original"),
        "/docs/relative": page("Relative", head=copy_of("original")),
        "/docs/behind": page("Behind the copy"),
    }
    found = crawler.index(site)
    assert found.outcomes == dict.fromkeys(("/docs/", "/docs/original", "/docs/behind"), "indexed")
    assert crawler.found(found.id, "banner") == set()


def test_a_copy_and_its_original_may_answer_in_any_order(crawler: Crawler) -> None:
    for slow in ("copy", "original"):
        pages: Pages = {"/docs/": page("Docs", "", "copy", "original")}
        pages |= {"/docs/copy": page("Copy", head=copy_of("original")), "/docs/original": page("Original")}
        with Site(delayed(pages, f"/docs/{slow}")) as site:
            assert crawler.index(site).indexed == {"/docs/", "/docs/original"}


def test_a_copy_of_a_page_that_redirects_to_a_page_known_already_is_no_page(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "copy", "original"),
        "/docs/copy": page("Copy", head=copy_of("moved")),
        "/docs/moved": moved("original"),
        "/docs/original": page("Original"),
    }
    assert crawler.index(site).indexed == {"/docs/", "/docs/original"}


def test_an_original_that_nothing_else_links_to_is_fetched(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "copy"),
        "/docs/copy": page("Copy", head=copy_of("original")),
        "/docs/original": page("Original"),
    }
    found = crawler.index(site)
    assert found.indexed == {"/docs/", "/docs/original"}
    assert found.pages["/docs/original"]["discoveredFrom"] == f"{site.url}/docs/copy"
    assert "/docs/copy" not in found.pages


def test_an_original_that_cannot_take_its_place_is_ignored(crawler: Crawler, site: Site) -> None:
    with Site({"/docs/x": page("Elsewhere")}) as other:
        named = {
            "file": "file:///build/docs/file.html",
            "other-origin": f"{other.url}/docs/x",
            "out-of-scope": "/blog/x",
            "gone": "no-such-page",
            "noindex": "hidden",
            "back": "goes-back",
            "malformed": "http://[broken",
            "empty": "",
            "itself": "itself",
            "not-html": "picture",
        }
        site.pages |= {
            "/docs/": page("Docs", "", *named, "two"),
            "/docs/two": page("Two", head=copy_of("/docs/gone") + copy_of("/docs/file")),
            "/docs/hidden": page("Hidden", head='<meta name="robots" content="noindex">'),
            "/docs/goes-back": moved("back"),
            "/docs/picture": Answer(200, b"\x89PNG", "image/png"),
            "/blog/x": page("Blog"),
        }
        site.pages |= {f"/docs/{name}": page(name, head=copy_of(original)) for name, original in named.items()}
        found = crawler.index(site)
        assert other.requests == {}
    assert found.indexed == {"/docs/", "/docs/two", *(f"/docs/{name}" for name in named)}
    assert "/blog/x" not in site.requests


@pytest.mark.parametrize("front", ["/docs/", "/", "/docs/index.html"])
def test_a_front_page_named_on_all_pages_is_not_their_original(crawler: Crawler, site: Site, front: str) -> None:
    names = ("a", "b", "c")
    site.pages["/docs/"] = page("Docs", "", *names, head=copy_of(front))
    site.pages |= {f"/docs/{name}": page(name, head=copy_of(front)) for name in names}
    assert crawler.index(site).indexed == set(site.pages)


def test_pages_that_name_each_other_as_the_original_are_both_kept(crawler: Crawler) -> None:
    pages: Pages = {
        "/docs/": page("Docs", "", "a", "b"),
        "/docs/a": page("A", head=copy_of("b")),
        "/docs/b": page("B", head=copy_of("a")),
    }
    for slow in ("/docs/a", "/docs/b"):
        with Site(delayed(pages, slow)) as site:
            assert crawler.index(site).indexed == set(pages)


def test_of_pages_of_one_text_that_name_each_other_one_is_kept(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "a", "bb"),
        "/docs/a": page("Same", head=copy_of("bb")),
        "/docs/bb": page("Same", head=copy_of("a")),
    }
    assert crawler.index(site).indexed == {"/docs/", "/docs/a"}


# -- the usual spellings of one page


def test_spellings_of_a_page_with_one_text_become_one_page(crawler: Crawler, site: Site) -> None:
    spellings = {"dir": ("dir/", "dir/index.html", "dir"), "page": ("page.html", "page", "page/")}
    site.pages["/docs/"] = page("Docs", "", *spellings["dir"], *spellings["page"], "index.html")
    site.pages["/docs/index.html"] = site.pages["/docs/"]
    site.pages |= {f"/docs/{link}": page(f"The {name}") for name, links in spellings.items() for link in links}
    found = crawler.index(site)
    assert found.outcomes == dict.fromkeys(("/docs/", "/docs/dir", "/docs/page"), "indexed")
    assert docs(site) == dict.fromkeys(site.pages, 1)


def test_spellings_with_other_texts_stay_pages_of_their_own(crawler: Crawler, site: Site) -> None:
    links = ("dir/", "dir/index.html", "dir", "page", "page.html")
    site.pages["/docs/"] = page("Docs", "", *links)
    site.pages |= {f"/docs/{link}": page(f"Page {link}") for link in links}
    assert crawler.index(site).outcomes == dict.fromkeys(site.pages, "indexed")


# -- the same text


def test_the_same_text_is_kept_once_whatever_the_navigation_around_it(crawler: Crawler, site: Site) -> None:
    text = "The aardvark is described here."
    site.pages |= {
        "/docs/": page("Docs", "", "v1/aardvark", "aardvark"),
        "/docs/aardvark": page("Aardvark", text, "behind"),
        "/docs/v1/aardvark": page("Aardvark", text, "old", "older").replace("Handbook", "Old handbook"),
        "/docs/behind": page("Behind"),
        "/docs/v1/old": page("Old"),
        "/docs/v1/older": page("Older", text="The aardvark  is\ndescribed here.").replace("Older", "Aardvark"),
    }
    found = crawler.index(site)
    kept = f"{site.url}/docs/aardvark"
    assert found.indexed == {"/docs/", "/docs/aardvark", "/docs/behind", "/docs/v1/old"}
    for path in ("/docs/v1/aardvark", "/docs/v1/older"):
        assert (found.outcomes[path], found.said(path)) == ("duplicate", f"The same text as {kept}, which is kept.")
        assert found.pages[path]["status"] == "skipped"
    answers = crawler.post("/retrieve", query="aardvark", docsetIds=[found.id])["results"]
    assert [answer["url"] for answer in answers] == [kept]


def test_the_page_that_is_kept_does_not_depend_on_which_answers_first(crawler: Crawler) -> None:
    names = ("copy-b", "copy", "copy-aa")
    pages: Pages = {"/docs/": page("Docs", "", *names)}
    pages |= {f"/docs/{name}": page("Same") for name in names}
    for slow in names:
        with Site(delayed(pages, f"/docs/{slow}")) as site:
            found = crawler.index(site)
        kept = {"/docs/": "indexed", "/docs/copy": "indexed"}
        assert found.outcomes == kept | {"/docs/copy-b": "duplicate", "/docs/copy-aa": "duplicate"}


def in_worst_order() -> Pages:
    """Pages of one text, of which each answers before a better one."""
    delays = {"same-long": 0.0, "same-b": 0.4, "same": 0.8}
    pages: Pages = {"/docs/": page("Docs", "", *delays)}
    return pages | {f"/docs/{name}": Answer(body=page("Same"), delay_s=delay_s) for name, delay_s in delays.items()}


def test_every_duplicate_names_the_page_that_is_kept_whatever_the_order(crawler: Crawler) -> None:
    with Site(in_worst_order()) as site:
        found = crawler.index(site)
    assert found.indexed == {"/docs/", "/docs/same"}
    message = f"The same text as {site.url}/docs/same, which is kept."
    assert [found.said(f"/docs/{name}") for name in ("same-b", "same-long")] == [message, message]


def test_a_duplicate_has_its_title_whatever_the_order(crawler: Crawler) -> None:
    for slow in ("/docs/same", "/docs/same-long"):
        pages: Pages = {"/docs/": page("Docs", "", "same", "same-long")}
        pages |= {"/docs/same": page("Same"), "/docs/same-long": page("Same")}
        with Site(delayed(pages, slow)) as site:
            assert crawler.index(site).pages["/docs/same-long"]["title"] == "Same"


def test_a_linked_page_is_kept_rather_than_a_shorter_one_of_a_sitemap(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "linked"),
        "/docs/linked": page("Linked", "", "linked-page"),
        "/docs/linked-page": page("Same"),
        "/docs/x": page("Same"),
        "/sitemap.xml": sitemap(f"{site.url}/docs/x"),
    }
    found = crawler.index(site)
    assert found.outcomes["/docs/x"] == "duplicate"
    assert "/docs/linked-page" in found.indexed


# -- links


def test_links_are_resolved_against_the_base_of_the_page(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "x", "../up", head='<base href="/docs/deep/er/">'),
        "/docs/deep/er/x": page("X", "", "y", head=f'<base href="{site.url}/docs/">'),
        "/docs/deep/up": page("Up", "", "z", head='<base href="http://[broken">'),
        "/docs/deep/z": page("Z"),
        "/docs/y": page("Y"),
    }
    assert crawler.index(site).outcomes == dict.fromkeys(site.pages, "indexed")


def test_areas_and_frames_lead_to_pages(crawler: Crawler, site: Site) -> None:
    host = site.url.removeprefix("http:")
    body = '<map><area href="area" alt=""></map><iframe src="iframe"></iframe>'
    site.pages |= {
        "/docs/": page("Docs", "", "frames", f"{host}/docs/schemeless", body=body),
        "/docs/frames": '<html><frameset cols="20%,80%"><frame src="contents"><frame src="frame"></frameset></html>',
        "/docs/area": page("Area"),
        "/docs/iframe": page("Iframe"),
        "/docs/frame": page("Frame"),
        "/docs/contents": page("Contents"),
        "/docs/schemeless": page("Schemeless"),
    }
    assert crawler.index(site).outcomes == dict.fromkeys(site.pages, "indexed") | {"/docs/frames": "no-text"}


def test_malformed_links_harm_neither_the_page_nor_the_good_links(crawler: Crawler, site: Site) -> None:
    host = site.url.removeprefix("http://")
    bad = (
        "http://[user@]host/path", "http://", "http://[", "//[", f"http://user:secret@{host}/docs/user",
        "http://127.0.0.1:99999/docs/x", "javascript:void(0)", " JavaScript:alert(1)", "mailto:a@example.org", "tel:1",
        "data:text/html,x", "ftp://127.0.0.1/docs/x", "about:blank", "#", "", "x" * 3_000, "&#0;", "?%zz=%", "http:",
    )  # fmt: skip
    site.pages |= {
        "/docs/": page("Docs", "", "first", *bad, "back\\slash", "sp ace", " \n padded\t", "per%cent", "last"),
        "/docs/sp%20ace": page("Space"),
        "/docs/padded": page("Padded"),
        "/docs/first": page("First"),
        "/docs/last": page("Last"),
    }
    found = crawler.index(site)
    assert found.indexed == set(site.pages)
    assert {"/docs/user", "/docs/x"}.isdisjoint(docs(site))
    assert set(docs(site).values()) == {1}
    assert found.docset["status"] == "ready"


# -- scope


def test_scope_goes_by_whole_segments_of_the_path(crawler: Crawler, site: Site) -> None:
    outside = ("/docsets", "/docsets/x", "/doc", "/docs.html", "/", "/other/docs/", "../x")
    site.pages |= {path: page(f"Outside {path}") for path in outside}
    site.pages |= {
        "/docs/": page("Docs", "", *outside, "/docs/in/deep", "/docs/../docs/in"),
        "/docs/in/deep": page("Deep"),
        "/docs/in": page("In"),
    }
    found = crawler.index(site)
    assert found.outcomes == dict.fromkeys(("/docs/", "/docs/in/deep", "/docs/in"), "indexed")
    assert docs(site) == dict.fromkeys(found.pages, 1)


def test_several_paths_may_be_allowed(crawler: Crawler, site: Site) -> None:
    site.pages |= {f"/{part}/": page(part, "", "/docs/", "/api/", "/blog/", "/api", "/apis/") for part in ("docs", "api", "blog")}
    site.pages |= {"/api": page("The API"), "/apis/": page("Other")}
    found = crawler.index(site, allowedPaths=["/docs", "/api"])
    assert found.indexed == {"/docs/", "/api/", "/api"}
    assert docs(site).keys() == {"/docs/", "/api/", "/api"}


def test_a_seed_that_redirects_to_https_makes_an_https_docset(crawler: Crawler, tls: ssl.SSLContext) -> None:
    with TwoSchemes({}, tls) as site:
        site.pages |= {
            "/docs/": page("Docs", "", "a", f"{site.url}/docs/b", "moved"),
            "/docs/a": page("A", "", f"{site.url}/docs/a", f"{site.url}/docs/c"),
            "/docs/b": page("B"),
            "/docs/c": page("C"),
            "/docs/moved": moved(f"{site.url}/docs/d"),
            "/docs/d": page("D"),
            "/docs/e": page("E"),
            "/sitemap.xml": sitemap(f"{site.url}/docs/e"),
        }
        for path in ("/docs/", "/robots.txt"):
            site.by_scheme["http", path] = moved(f"{site.secure}{path}", 301)
        found = crawler.index(site)
        assert found.docset["baseUrl"] == site.secure
        assert found.indexed == {"/docs/", *(f"/docs/{name}" for name in "abcde")}
        assert all(each["url"].startswith(site.secure) for each in found.pages.values())
        assert site.asked_for("http") == {"/docs/"}
        assert ("https", "/sitemap.xml") in site.asked_by
        asked = site.requests.total()
        for url in (site.url, site.secure):
            again = crawler.post("/index", baseUrl=url, seedSlug="/docs/")
            assert again.pop("status") in ("pending", "indexing"), "another round, which asks nothing"
            assert again == {"docsetId": found.id, "seedIndexed": True}
            assert crawler.ended(found.id).outcomes == found.outcomes
        assert site.requests.total() == asked


def test_http_links_of_an_https_docset_are_asked_by_https_only(crawler: Crawler, tls: ssl.SSLContext) -> None:
    with TwoSchemes({}, tls) as site:
        site.pages |= {
            "/docs/": page("Docs", "", f"{site.url}/docs/a", f"{site.secure}/docs/a", f"{site.url}/docs/b"),
            "/docs/a": page("A", head=copy_of(f"{site.url}/docs/a")),
            "/docs/b": page("B", head=copy_of(f"{site.url}/docs/a")),
        }
        found = crawler.index(site.secure)
        assert found.outcomes == dict.fromkeys(("/docs/", "/docs/a"), "indexed")
        assert {scheme for scheme, _ in site.asked_by} == {"https"}


def test_an_https_page_that_redirects_to_http_is_left_out(crawler: Crawler, tls: ssl.SSLContext) -> None:
    with TwoSchemes({}, tls) as site:
        site.pages["/docs/"] = page("Docs", "", "down", "a")
        site.pages["/docs/a"] = page("A")
        site.by_scheme["https", "/docs/down"] = moved(f"{site.url}/docs/down")
        site.by_scheme["http", "/docs/down"] = page("Not encrypted")
        found = crawler.index(site.secure)
        assert found.outcomes == {"/docs/": "indexed", "/docs/a": "indexed", "/docs/down": "redirects"}
        assert found.said("/docs/down") == f"The page redirects to {site.url}/docs/down, which is not encrypted."
        assert {scheme for scheme, _ in site.asked_by} == {"https"}


def test_an_http_docset_may_lead_to_https_pages_of_its_host(crawler: Crawler, tls: ssl.SSLContext) -> None:
    with TwoSchemes({}, tls) as site:
        site.pages |= {
            "/docs/": page("Docs", "", "plain", f"{site.secure}/docs/secure", f"{site.secure}/docs/plain", "moves-up"),
            "/docs/plain": page("Plain"),
            "/docs/secure": page("Secure"),
            "/docs/up": page("Up"),
            "/docs/moves-up": moved(f"{site.secure}/docs/up"),
        }
        found = crawler.index(site)
        assert found.docset["baseUrl"] == site.url
        assert {each["url"] for each in found.pages.values()} == {
            f"{site.url}/docs/", f"{site.url}/docs/plain", f"{site.secure}/docs/secure", f"{site.secure}/docs/up"
        }  # fmt: skip
        assert found.outcomes == dict.fromkeys(found.pages, "indexed")


def test_the_robots_txt_of_the_https_site_counts_for_its_pages(crawler: Crawler, tls: ssl.SSLContext) -> None:
    with TwoSchemes({"/docs/": page("Docs", "", "private"), "/docs/private": page("Private")}, tls) as site:
        site.by_scheme["http", "/docs/"] = moved(f"{site.secure}/docs/")
        site.by_scheme["https", "/robots.txt"] = "User-agent: *\nDisallow: /docs/private"
        assert crawler.index(site).outcomes == {"/docs/": "indexed", "/docs/private": "robots"}
        assert "/docs/private" not in site.requests


def test_the_step_up_to_https_is_told(crawler: Crawler, tls: ssl.SSLContext) -> None:
    with TwoSchemes({"/docs/": page("Docs")}, tls) as site:
        site.by_scheme["http", "/docs/"] = moved(f"{site.secure}/docs/", 301)
        crawler.index(site)
        (why,) = crawler.get("/why", url=f"{site.url}/docs/")["docsets"]
        assert (why["url"], why["status"]) == (f"{site.secure}/docs/", "indexed")
        assert why["redirects"] == [{"url": f"{site.url}/docs/", "target": f"{site.secure}/docs/", "how": "HTTP 301"}]


def test_a_certificate_that_is_not_known_is_said(crawler: Crawler) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with TwoSchemes({"/docs/": page("Docs")}, context) as site:
        assert "certificate verify failed" in crawler.refused(site.secure)


# -- sitemaps


def test_pages_that_only_a_sitemap_names_are_indexed(crawler: Crawler, site: Site) -> None:
    with Site({"/docs/x": page("Elsewhere")}) as other:
        entries = [
            f"{site.url}/docs/hidden",
            f"{site.url}/docs/linked#a",
            f"{site.url}/docs/image.png",
            f"{site.url}/docs/hidden",
            f"{site.url}/docs/show?b=1&amp;a=2",
        ]
        outside = [f"{site.url}/blog/x", f"{site.url}/docsets/x", f"{other.url}/docs/x", "no URL at all", "mailto:a@b.c"]
        site.pages |= {
            "/docs/": page("Docs", "", "linked"),
            "/docs/linked": page("Linked"),
            "/docs/hidden": page("Hidden", "", "behind"),
            "/docs/behind": page("Behind"),
            "/docs/show?a=2&b=1": page("Shown"),
            "/blog/x": page("Blog"),
            "/docsets/x": page("Docsets"),
            "/sitemap.xml": Answer(body=sitemap(*entries, *outside), content_type="application/xml"),
        }
        found = crawler.index(site)
        assert other.requests == {}
    assert found.outcomes == dict.fromkeys(
        ("/docs/", "/docs/linked", "/docs/hidden", "/docs/behind", "/docs/show?a=2&b=1"), "indexed"
    )
    assert found.pages["/docs/hidden"]["discoveredFrom"] == f"{site.url}/sitemap.xml"
    assert found.pages["/docs/linked"]["discoveredFrom"] == f"{site.url}/docs/"
    assert found.pages["/docs/behind"]["discoveredFrom"] == f"{site.url}/docs/hidden"
    assert docs(site) == dict.fromkeys(found.pages, 1)


def test_sitemaps_that_robots_txt_names_are_read_instead(crawler: Crawler, site: Site) -> None:
    lines = (
        f"Sitemap: {site.url}/maps/one.xml", "User-agent: *", "Allow: /", f"sitemap:{site.url}/two.txt",
        "Sitemap: https://elsewhere.example/sitemap.xml", "Sitemap: /relative.xml",
    )  # fmt: skip
    site.pages |= {
        "/robots.txt": Answer(body="\n".join(lines), content_type="text/plain"),
        "/docs/": page("Docs"),
        "/maps/one.xml": sitemap(f"{site.url}/docs/one"),
        "/two.txt": Answer(body=f"{site.url}/docs/two\n{site.url}/blog\n\n", content_type="text/plain"),
        "/relative.xml": moved("/maps/three.xml"),
        "/maps/three.xml": sitemap(f"{site.url}/docs/three"),
        "/docs/one": page("One"),
        "/docs/two": page("Two"),
        "/docs/three": page("Three"),
    }
    assert crawler.index(site).indexed == {"/docs/", "/docs/one", "/docs/two", "/docs/three"}
    assert "/sitemap.xml" not in site.requests
    assert set(site.requests.values()) == {1}


def test_an_index_of_sitemaps_is_read(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs"),
        "/sitemap.xml": sitemap_index(
            f"{site.url}/sitemap.xml", f"{site.url}/a.xml", f"{site.url}/b.xml", f"{site.url}/gone.xml"
        ),
        "/a.xml": sitemap(f"{site.url}/docs/a"),
        "/b.xml": sitemap_index(f"{site.url}/c.xml", f"{site.url}/a.xml"),
        "/c.xml": sitemap(f"{site.url}/docs/c"),
        "/docs/a": page("A"),
        "/docs/c": page("C"),
    }
    assert crawler.index(site).indexed == {"/docs/", "/docs/a", "/docs/c"}
    assert set(site.requests.values()) == {1}


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        pytest.param("sitemap.xml.gz", {"Content-Type": "application/gzip"}, id="file"),
        pytest.param("sitemap.xml", {"Content-Encoding": "gzip"}, id="encoding"),
    ],
)
def test_a_packed_sitemap_is_read(crawler: Crawler, site: Site, name: str, headers: Mapping[str, str]) -> None:
    packed = gzip.compress(sitemap(f"{site.url}/docs/hidden").encode())
    site.pages |= {
        "/robots.txt": f"Sitemap: {site.url}/{name}",
        f"/{name}": Answer(body=packed, content_type="application/xml", headers=headers),
        "/docs/": page("Docs"),
        "/docs/hidden": page("Hidden"),
    }
    assert crawler.index(site).indexed == {"/docs/", "/docs/hidden"}


@pytest.mark.parametrize("end", ["<url><loc>http://", "<url></wrong>", "&unknown;<url><loc>x</loc></url>"])
def test_a_broken_sitemap_gives_what_comes_before_the_break(crawler: Crawler, site: Site, end: str) -> None:
    broken = sitemap(f"{site.url}/docs/a", f"{site.url}/docs/b").removesuffix("</urlset>") + end
    site.pages |= {"/docs/": page("Docs"), "/sitemap.xml": broken, "/docs/a": page("A"), "/docs/b": page("B")}
    assert crawler.index(site).indexed == {"/docs/", "/docs/a", "/docs/b"}


@pytest.mark.parametrize("broken", ["", "<html><body><p>Not found, says the front page.<br></p></body></html>", "\x00\x01"])
def test_what_is_no_sitemap_at_all_does_no_harm(crawler: Crawler, site: Site, broken: str) -> None:
    site.pages |= {"/docs/": page("Docs"), "/sitemap.xml": broken}
    found = crawler.index(site)
    assert (found.docset["status"], found.message, found.indexed) == ("ready", "", {"/docs/"})


def test_the_page_limit_keeps_linked_pages_rather_than_those_of_a_sitemap(crawler: Crawler, site: Site) -> None:
    linked, named = [f"linked{n}" for n in range(3)], [f"named{n}" for n in range(4)]
    site.pages["/docs/"] = page("Docs", "", *linked)
    site.pages |= {f"/docs/{name}": page(name) for name in (*linked, *named)}
    site.pages["/sitemap.xml"] = sitemap(*(f"{site.url}/docs/{name}" for name in named))
    found = crawler.index(site, maxPages=5)
    assert found.indexed == {"/docs/", *(f"/docs/{name}" for name in linked), "/docs/named0"}
    assert found.message == "The limit of 5 pages (max_pages) left out 3 more."


def test_a_page_over_the_limit_is_counted_once_when_the_sitemap_names_it_too(crawler: Crawler, site: Site) -> None:
    names = ("a", "b", "c")
    site.pages |= {f"/docs/{name}": page(name) for name in names} | {"/docs/": page("Docs", "", *names)}
    site.pages["/sitemap.xml"] = sitemap(*(f"{site.url}/docs/{name}" for name in names))
    assert crawler.index(site, maxPages=2).message == "The limit of 2 pages (max_pages) left out 2 more."


def test_the_page_limit_keeps_the_nearest_pages_in_page_order(crawler: Crawler) -> None:
    tree: Pages = {"/docs/": page("Docs", "", "c", "a", "b")}
    tree |= {f"/docs/{name}": page(name, "", f"{name}3", f"{name}1", f"{name}2") for name in "abc"}
    tree |= {f"/docs/{name}{n}": page(f"{name}{n}", "", f"{name}{n}x") for name in "abc" for n in (1, 2, 3)}
    nearest = {"/docs/", "/docs/a", "/docs/b", "/docs/c", "/docs/c3", "/docs/c1", "/docs/c2", "/docs/a3"}
    for slow in ("/docs/a", "/docs/c", "/docs/c2"):
        with Site(delayed(tree, slow)) as site:
            found = crawler.index(site, maxPages=len(nearest))
            assert found.outcomes == dict.fromkeys(nearest, "indexed")
            assert docs(site).keys() == nearest


# -- robots.txt


def test_the_longest_rule_of_robots_txt_counts(crawler: Crawler, site: Site) -> None:
    rules = """
        User-agent: *
        Disallow: /docs/private
        Allow: /docs/private/open
        Disallow: /docs/*.draft$
        Disallow: /docs/list?
        Disallow: /docs/caf%C3%A9
    """
    allowed = ("private/open", "private/open/deep", "a.draft.html", "list", "cafe")
    forbidden = ("private", "private/x", "privateer", "a.draft", "list?p=1", "café")
    site.pages |= {"/robots.txt": "\n".join(line.strip() for line in rules.splitlines())}
    site.pages["/docs/"] = page("Docs", "", *forbidden, *allowed)
    site.pages |= {f"/docs/{name}": page(name) for name in allowed}
    found = crawler.index(site)
    assert found.indexed == {"/docs/", *(f"/docs/{name}" for name in allowed)}
    left_out = {path for path, outcome in found.outcomes.items() if outcome == "robots"}
    assert left_out == {f"/docs/{name}" for name in (*forbidden[:-1], "caf%C3%A9")}
    assert left_out.isdisjoint(site.requests)
    assert all(found.pages[path]["status"] == "skipped" and "robots.txt" in found.said(path) for path in left_out)


def test_the_group_of_docworker_counts_instead_of_that_of_all(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/robots.txt": "User-agent: *\nDisallow: /\n\nUser-agent: DocWorker\nDisallow: /docs/b\n\nUser-agent: other\nDisallow: /",
        "/docs/": page("Docs", "", "a", "b"),
        "/docs/a": page("A"),
        "/docs/b": page("B"),
    }
    assert crawler.index(site).outcomes == {"/docs/": "indexed", "/docs/a": "indexed", "/docs/b": "robots"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(404, "no"), id="404"),
        pytest.param(Answer(403, "no"), id="403"),
        pytest.param(Answer(200, ""), id="empty"),
        pytest.param(Answer(200, "<html><p>The front page, whatever is asked.</p></html>"), id="html"),
        pytest.param(moved("http://elsewhere.invalid/robots.txt"), id="moved-out"),
        pytest.param(moved("/robots.txt"), id="circle"),
    ],
)
def test_a_site_without_robots_txt_allows_everything(crawler: Crawler, site: Site, answer: Answer) -> None:
    site.pages |= {"/robots.txt": answer, "/docs/": page("Docs", "", "a"), "/docs/a": page("A")}
    assert crawler.index(site).indexed == {"/docs/", "/docs/a"}


def test_a_robots_txt_that_begins_with_a_byte_order_mark_is_obeyed(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/robots.txt": "\ufeffUser-agent: *\nDisallow: /docs/a",
        "/docs/": page("Docs", "", "a"),
        "/docs/a": page("A"),
    }
    assert crawler.index(site).outcomes == {"/docs/": "indexed", "/docs/a": "robots"}


def test_a_redirect_of_robots_txt_is_followed(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/robots.txt": moved("/static/robots", 301),
        "/static/robots": moved("/static/robots.txt"),
        "/static/robots.txt": "User-agent: *\nDisallow: /docs/a",
        "/docs/": page("Docs", "", "a"),
        "/docs/a": page("A"),
    }
    assert crawler.index(site).outcomes == {"/docs/": "indexed", "/docs/a": "robots"}


def test_nothing_is_asked_of_a_site_whose_robots_txt_cannot_be_read(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/robots.txt": Answer(500, "broken"),
        "/docs/": page("Docs"),
        "/docs/a": page("A"),
        "/sitemap.xml": sitemap(f"{site.url}/docs/a"),
    }
    assert "robots.txt cannot be read, so nothing may be asked: The site answered 500" in crawler.refused(site)
    found = crawler.index(site)
    assert found.docset["status"] == "error"
    assert "robots.txt cannot be read, so nothing may be asked" in found.message
    assert found.pages["/docs/"]["status"] == "error"
    assert site.requests.keys() == {"/robots.txt"}
    site.pages["/robots.txt"] = "User-agent: *\nAllow: /"
    assert crawler.index(site).indexed == {"/docs/", "/docs/a"}


def test_a_seed_that_robots_txt_forbids_is_a_502_that_says_so(crawler: Crawler, site: Site) -> None:
    site.pages |= {"/robots.txt": "User-agent: *\nDisallow: /docs", "/docs/": page("Docs")}
    said = crawler.refused(site)
    assert said == f"{site.url}/docs/ could not be indexed: The site's robots.txt forbids it."
    assert site.requests.keys() == {"/robots.txt"}


def test_a_redirect_to_a_forbidden_page_does_not_get_there(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/robots.txt": "User-agent: *\nDisallow: /docs/private",
        "/docs/": page("Docs", "", "way-in"),
        "/docs/way-in": moved("private"),
        "/docs/private": page("Private"),
    }
    assert crawler.index(site).outcomes == {"/docs/": "indexed", "/docs/private": "robots"}
    assert "/docs/private" not in site.requests


def robots_meta(content: str, name: str = "robots") -> str:
    return f'<meta name="{name}" content="{content}">'


def robots_header(html: str, *values: str) -> Answer:
    return Answer(body=html, headers={"X-Robots-Tag": "\r\nX-Robots-Tag: ".join(values)})


def test_noindex_is_obeyed_and_the_links_of_the_page_are_followed(crawler: Crawler, site: Site) -> None:
    hidden: Pages = {
        "meta": page("Meta", "", "behind-meta", head=robots_meta("NOINDEX, follow")),
        "none-of-ours": page("Ours", "", "behind-ours", head=robots_meta("noindex", "DocWorker")),
        "header": robots_header(page("Header", "", "behind-header"), "noindex"),
        "header-list": robots_header(page("List", "", "behind-list"), "noarchive, NoIndex"),
        "header-ours": robots_header(page("Header ours", "", "behind-own"), "otherbot: nofollow", "docworker: noindex"),
    }
    shown: Pages = {
        "other-header": robots_header(page("Other header"), "otherbot: noindex"),
        "other-meta": page("Other meta", head=robots_meta("noindex", "googlebot")),
        "archive": page("Archive", head=robots_meta("index, follow, noarchive")),
    }
    behind = ("meta", "ours", "header", "list", "own")
    site.pages["/docs/"] = page("Docs", "", *hidden, *shown)
    site.pages |= {f"/docs/{name}": found for name, found in (hidden | shown).items()}
    site.pages |= {f"/docs/behind-{name}": page(f"Behind {name}") for name in behind}
    found = crawler.index(site)
    expected = {f"/docs/{name}": "noindex" for name in hidden} | dict.fromkeys((f"/docs/{name}" for name in shown), "indexed")
    assert found.outcomes == expected | {"/docs/": "indexed"} | {f"/docs/behind-{name}": "indexed" for name in behind}
    assert found.said("/docs/meta") == "The page asks not to be indexed (noindex)."


@pytest.mark.parametrize("header", ["noindex, max-snippet: 50", "max-image-preview: none, noindex"])
def test_noindex_is_obeyed_beside_a_rule_that_has_a_value(crawler: Crawler, site: Site, header: str) -> None:
    site.pages |= {"/docs/": page("Docs", "", "a"), "/docs/a": robots_header(page("A"), header)}
    assert crawler.index(site).outcomes == {"/docs/": "indexed", "/docs/a": "noindex"}


def test_nofollow_is_obeyed(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "meta", "header", "none"),
        "/docs/meta": page("Meta", "", "behind-meta", head=robots_meta("nofollow")),
        "/docs/header": robots_header(page("Header", "", "behind-header"), "nofollow"),
        "/docs/none": page("None", "", "behind-none", head=robots_meta("none")),
    }
    found = crawler.index(site)
    assert found.outcomes == {"/docs/": "indexed", "/docs/meta": "indexed", "/docs/header": "indexed", "/docs/none": "noindex"}
    assert docs(site).keys() == found.pages.keys()


def test_a_site_of_ones_own_may_be_crawled_whatever_it_says_to_robots(unruly: Crawler, site: Site) -> None:
    site.pages |= {
        "/robots.txt": "User-agent: *\nDisallow: /",
        "/docs/": page("Docs", "", "meta", "header"),
        "/docs/meta": page("Meta", "", "behind", head=robots_meta("noindex, nofollow")),
        "/docs/header": robots_header(page("Header"), "none"),
        "/docs/behind": page("Behind"),
    }
    assert unruly.index(site).indexed == {"/docs/", "/docs/meta", "/docs/header", "/docs/behind"}
    assert "/robots.txt" not in site.requests
    (why,) = unruly.get("/why", url=f"{site.url}/docs/meta")["docsets"]
    assert (why["robotsAllowed"], why["robots"]) == (None, "robots.txt is not asked for (setting ignore_robots).")


def test_robots_txt_is_not_asked_for_when_it_is_ignored_and_the_site_is_tried(unruly: Crawler, site: Site) -> None:
    """Whether a site is down, of which pages fail, is asked of its first page too."""
    site.pages |= {
        "/robots.txt": Answer(503),
        "/docs/": page("Docs", "", "one"),
        "/docs/one": page("One", "", "bad"),
        "/docs/bad": Answer(500),
    }
    assert unruly.index(site).outcomes == {"/docs/": "indexed", "/docs/one": "indexed", "/docs/bad": "server-error"}
    assert "/robots.txt" not in site.requests


def test_every_request_says_who_asks(crawler: Crawler, site: Site) -> None:
    site.pages |= {"/docs/": page("Docs", "", "a"), "/docs/a": page("A")}
    crawler.index(site)
    assert {headers["User-Agent"] for headers in site.headers} == {f"docworker/{__version__} (+{PROJECT_URL})"}
    assert len(site.headers) == 4


# -- limits


def test_pages_left_out_do_not_use_up_the_page_limit(crawler: Crawler, site: Site) -> None:
    names = ("gone", "same", "hidden", "a", "picture", "b", "c", "d")
    site.pages |= {f"/docs/{name}": page(name) for name in "abcd"}
    site.pages |= {
        "/docs/": page("Docs", "", *names),
        "/docs/same": page("Docs"),
        "/docs/hidden": page("Hidden", head=robots_meta("noindex")),
        "/docs/picture": Answer(200, b"\x89PNG", "image/png"),
    }
    found = crawler.index(site, maxPages=4)
    assert found.indexed == {"/docs/", "/docs/a", "/docs/b", "/docs/c"}
    assert found.message == "The limit of 4 pages (max_pages) left out 1 more."


def test_pages_of_a_sitemap_left_out_do_not_use_up_the_page_limit(crawler: Crawler, site: Site) -> None:
    site.pages |= {"/docs/": page("Docs"), "/docs/a": page("A"), "/docs/b": page("B"), "/docs/c": page("C")}
    site.pages["/sitemap.xml"] = sitemap(*(f"{site.url}/docs/{name}" for name in ("gone", "gone2", "a", "b", "c")))
    found = crawler.index(site, maxPages=3)
    assert found.indexed == {"/docs/", "/docs/a", "/docs/b"}
    assert found.message == "The limit of 3 pages (max_pages) left out 1 more."


def test_a_page_that_repeats_the_manual_does_not_use_up_the_page_limit(crawler: Crawler, site: Site) -> None:
    names = ("one", "two", "three", "four")
    everything = "".join(f"<h2>Chapter {each}</h2><p>{chapter(each)}</p>" for each in names[:3])
    site.pages |= manual(names) | {"/docs/": page("Docs", "", "print.html", *names)}
    site.pages["/docs/print.html"] = page("The whole manual", body=everything)
    found = crawler.index(site, maxPages=5)
    assert found.outcomes == dict.fromkeys(site.pages, "indexed") | {"/docs/print.html": "whole-manual"}


def test_a_raised_page_limit_goes_on_and_asks_for_nothing_twice(crawler: Crawler, site: Site) -> None:
    links = [f"p{number}" for number in range(6)]
    site.pages["/docs/"] = page("Docs", "", *links, "gone")
    site.pages |= {f"/docs/{link}": page(link, "", f"{link}/deep") for link in links}
    site.pages |= {f"/docs/{link}/deep": page(f"{link} deep") for link in links}
    first = crawler.index(site, maxPages=3)
    assert first.outcomes == dict.fromkeys(("/docs/", "/docs/p0", "/docs/p1"), "indexed")
    assert re.search(r"limit of 3 pages \(max_pages\) left out 7 more", first.message)
    second = crawler.index(site, maxPages=9)
    assert len(second.indexed) == 9
    assert second.outcomes["/docs/gone"] == "gone"
    third = crawler.index(site, maxPages=100)
    assert third.indexed == set(site.pages)
    assert third.message == ""
    assert site.requests == dict.fromkeys([*site.pages, "/docs/gone", "/robots.txt", "/sitemap.xml"], 1)


def test_a_raised_page_limit_brings_the_rest_of_the_sitemap(crawler: Crawler, site: Site) -> None:
    names = [f"named{n}" for n in range(5)]
    site.pages |= {f"/docs/{name}": page(name) for name in names} | {"/docs/": page("Docs")}
    site.pages["/sitemap.xml"] = sitemap(*(f"{site.url}/docs/{name}" for name in names))
    assert len(crawler.index(site, maxPages=3).indexed) == 3
    assert len(crawler.index(site, maxPages=100).indexed) == 6
    assert set(docs(site).values()) == {1}


def test_links_over_the_depth_limit_are_said_and_not_asked(crawler: Crawler, site: Site) -> None:
    site.pages["/docs/"] = page("Docs", "", "1")
    site.pages |= {f"/docs/{n}": page(f"Depth {n}", "", str(n + 1), str(n + 1) + "b") for n in range(1, MAX_DEPTH + 3)}
    found = crawler.index(site)
    assert max(each["depth"] for each in found.pages.values()) == MAX_DEPTH
    assert f"/docs/{MAX_DEPTH + 1}" not in site.requests
    assert found.message == f"Left out: 2 URLs more than {MAX_DEPTH} links away from the first page (max_depth)."


def test_a_page_over_a_limit_of_bytes_is_left_out_and_says_which(crawler: Crawler, site: Site) -> None:
    def pieces() -> Iterator[bytes]:
        while True:
            yield b"<!-- " + b"x" * 8_000 + b" -->"

    def comment(number: int) -> str:
        return page("Long", head=f"<!-- {'x' * number} -->")

    gzipped = {"Content-Encoding": "gzip"}
    site.pages |= {
        "/docs/": page("Docs", "", "announced", "endless", "packed", "fits", "bomb"),
        "/docs/announced": comment(MAX_RESPONSE_BYTES),
        "/docs/endless": Answer(stream=pieces),
        "/docs/packed": Answer(body=gzip.compress(comment(MAX_PAGE_BYTES).encode()), headers=gzipped),
        "/docs/bomb": Answer(body=gzip.compress(bytes(50 * 2**20), 9), headers=gzipped),
        "/docs/fits": Answer(body=gzip.compress(comment(MAX_PAGE_BYTES - 5_000).encode()), headers=gzipped),
    }
    found = crawler.index(site)
    assert found.indexed == {"/docs/", "/docs/fits"}
    received = f"The page is larger than {MAX_RESPONSE_BYTES} bytes (setting max_response_bytes)."
    unpacked = f"The page is larger than {MAX_PAGE_BYTES} bytes (setting max_page_bytes)."
    said = {path: found.said(path) for path, outcome in found.outcomes.items() if outcome == "too-large"}
    assert said == {
        "/docs/announced": received, "/docs/endless": received, "/docs/packed": unpacked, "/docs/bomb": unpacked
    }  # fmt: skip
    assert set(docs(site).values()) == {1}


def test_a_docset_over_its_limit_of_bytes_asks_no_more_and_says_so(crawler: Crawler, site: Site) -> None:
    names = [f"p{n}" for n in range(16)]
    site.pages["/docs/"] = page("Docs", "", *names)
    site.pages |= {f"/docs/{name}": page(name, head=f"<!-- {'x' * 90_000} -->") for name in names}
    found = crawler.index(site)
    over = {path for path, outcome in found.outcomes.items() if outcome == "limit"}
    received = sum(len(str(site.pages[path]).encode()) for path in docs(site))
    assert received - 4 * 91_000 < MAX_TOTAL_BYTES <= received, "requests under way are finished"
    assert len(found.indexed) + len(over) == 17
    assert over.isdisjoint(site.requests)
    assert {found.said(path) for path in over} == {
        f"Not asked: the docset has reached {MAX_TOTAL_BYTES} bytes (setting max_total_bytes)."
    }
    assert found.message == f"Not asked: {len(over)} more, after {MAX_TOTAL_BYTES} bytes received (max_total_bytes)."


def test_a_page_that_does_not_answer_in_time_fails_and_says_so(unruly: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "slow", "good"),
        "/docs/slow": Answer(body=page("Slow"), delay_s=3),
        "/docs/good": page("Good"),
    }
    found = unruly.index(site)
    assert found.outcomes == {"/docs/": "indexed", "/docs/good": "indexed", "/docs/slow": "no-answer"}
    assert found.pages["/docs/slow"]["status"] == "error"
    assert found.said("/docs/slow") == "The site did not answer within 1 s (1 attempt)."


def test_links_over_the_limit_of_a_page_are_said(crawler: Crawler, site: Site) -> None:
    anchors = "".join(f"<a href={n}>" for n in range(10_003))
    packed = gzip.compress(f"<nav>{anchors}</nav><h1>Docs</h1><p>Many links.</p>".encode())
    site.pages["/docs/"] = Answer(body=packed, headers={"Content-Encoding": "gzip"})
    with_limit = crawler.index(site, maxPages=1)
    assert with_limit.message == (
        "The limit of 1 page (max_pages) left out 10000 more. Not followed: 3 links on pages with over 10000 of them."
    )


def test_a_site_that_leads_nowhere_without_end_is_left(crawler: Crawler, site: Site) -> None:
    site.pages["/docs/"] = page("Docs", "", *(f"gone{n}" for n in range(120)))
    found = crawler.index(site, maxPages=2)
    assert len(docs(site)) == 5 * 2 + 100
    assert found.message == (
        "Few of the site's URLs were pages to keep: 110 were asked, which is the most for 2 pages (max_pages),"
        " and 11 more were not."
    )


# -- Markdown and plain text


def text(body: str, content_type: str) -> Answer:
    return Answer(body=body, content_type=content_type)


def test_a_site_of_markdown_is_crawled_by_its_links(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/README.md": text(
            "# The axolotl\n\nIt [grows](grow.md) and [sleeps](sub/sleep.md).", "text/markdown; charset=utf-8"
        ),
        "/docs/grow.md": text("---\ntitle: Growing\n---\nThe axolotl grows.\n\n## Legs\n\nAgain.", "text/markdown"),
        "/docs/sub/sleep.md": text("Sleeping\n========\n\nThe axolotl sleeps. See [notes](../notes.txt).", "text/plain"),
        "/docs/notes.txt": text("Notes\n\nThe axolotl has notes.", "text/plain"),
    }
    found = crawler.index(site, "/docs/README.md")
    assert found.outcomes == dict.fromkeys(site.pages, "indexed")
    assert [found.pages[path]["title"] for path in site.pages] == ["The axolotl", "Growing", "Sleeping", "Notes"]
    assert crawler.found(found.id, "axolotl") == {"The axolotl", "Growing", "Sleeping", "Notes"}


def test_source_code_that_is_sent_as_plain_text_is_no_page(crawler: Crawler, site: Site) -> None:
    names = ("x.c", "y.py", "z.patch", "w.log")
    site.pages |= {"/docs/": page("Docs", "", *names, "LICENSE", "guide.rst")}
    site.pages |= {f"/docs/{name}": text(f"of {name}", "text/plain") for name in (*names, "LICENSE", "guide.rst")}
    found = crawler.index(site)
    assert found.indexed == {"/docs/", "/docs/LICENSE", "/docs/guide.rst"}
    assert {found.outcomes[f"/docs/{name}"] for name in names} == {"not-html"}
    assert "text/plain" in found.said("/docs/x.c")


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("guide.html", "guide.md"),
        ("guide.html", "guide.html.md"),
        ("guide", "guide.md"),
        ("guide/", "guide.md"),
        ("guide/", "guide/index.md"),
    ],
)
@pytest.mark.parametrize("markdown_first", [True, False])
def test_the_markdown_twin_of_a_page_is_another_address_of_it(
    crawler: Crawler, site: Site, html: str, markdown: str, markdown_first: bool
) -> None:
    links = (markdown, html) if markdown_first else (html, markdown)
    site.pages |= {
        "/docs/": page("Docs", "", *links),
        f"/docs/{html}": page("Guide", "The ocelot waits."),
        f"/docs/{markdown}": text("# Guide\n\nThe ocelot *waits*.", "text/markdown"),
    }
    found = crawler.index(site)
    assert found.outcomes == {"/docs/": "indexed", f"/docs/{html}": "indexed"}
    why = crawler.get("/why", url=f"{site.url}/docs/{markdown}")["docsets"][0]
    assert why["url"] == f"{site.url}/docs/{html}"


def test_names_that_a_sphinx_site_lists_are_read_once(crawler: Crawler, site: Site) -> None:
    listed = zlib.compress(b"docs.f py:function 1 page.html#$ -\ndocs.f.g py:method 1 page.html#$ -\n")
    site.pages |= {
        "/docs/": page("Docs", "", "page.html", head='<script id="documentation_options" data-url_root="./"></script>'),
        "/docs/page.html": page("Page", body='<dl class="py function"><dt id="docs.f">docs.f()</dt><dd>The eland.</dd></dl>'),
        "/docs/objects.inv": Answer(
            body=b"# Sphinx inventory version 2\n#\n#\n#\n" + listed, content_type="application/octet-stream"
        ),
    }
    for _ in range(2):
        found = crawler.index(site)
        assert found.indexed == {"/docs/", "/docs/page.html"}
    assert site.requests["/docs/objects.inv"] == 1
    assert "2 names are listed, 1 of them new" in crawler.daemon.log()
    assert "1 of them new" in crawler.daemon.log()


# -- what is left out


def test_source_listings_are_left_out_without_a_request(crawler: Crawler, site: Site) -> None:
    listings = ("_modules/x.html", "src/lib/x.rs.html", "class-use/X.html", "_sources/x.txt", "package-use.html")
    named_alike = ("open_source.html", "src/guide.html", "modules/x.html", "use/class.html", "sources/x.html", "src/x.html")
    site.pages["/docs/"] = page("Docs", "", *listings, *named_alike)
    site.pages |= {f"/docs/{name}": page(name) for name in (*listings, *named_alike)}
    found = crawler.index(site)
    left_out = {f"/docs/{name}" for name in listings}
    assert {path for path, outcome in found.outcomes.items() if outcome == "source-listing"} == left_out
    assert found.indexed == set(site.pages) - left_out
    assert left_out.isdisjoint(site.requests)
    said = found.said("/docs/_modules/x.html")
    assert re.search(r"Sphinx's listing of source code\. To have it: --include '/docs/_modules/x\.html'\.$", said)
    assert all(found.pages[path]["status"] == "skipped" for path in left_out)


def test_source_listings_of_doxygen_are_left_out_and_their_links_followed(crawler: Crawler, site: Site) -> None:
    folder = f"dir_{'0123456789abcdef' * 2}.html"
    site.pages |= {
        "/docs/": page("Docs", "", "x_8h_source.html", folder, "x_8h.html", "open_source.html"),
        "/docs/x_8h_source.html": page("x.h", "", "struct_x.html"),
        f"/docs/{folder}": page("src Directory", "", "y_8h.html"),
        **{f"/docs/{name}": page(name) for name in ("struct_x.html", "x_8h.html", "y_8h.html", "open_source.html")},
    }
    found = crawler.index(site)
    left_out = dict.fromkeys(("/docs/x_8h_source.html", f"/docs/{folder}"), "source-listing")
    assert found.outcomes == dict.fromkeys(site.pages, "indexed") | left_out
    assert re.search("Doxygen's listing of source code.*--include '/docs/x_8h_source.html'", found.said("/docs/x_8h_source.html"))


def manual(names: Sequence[str]) -> Pages:
    """Pages of some length, and the front page that links them."""
    return {f"/docs/{name}": page(f"Chapter {name}", chapter(name)) for name in names}


def chapter(name: str) -> str:
    return f"Chapter {name} is long enough to be known again when it stands on another page, word for word: {name}."


@pytest.mark.parametrize("name", ["print.html", "kitchen-sink.html", "all/"])
def test_a_page_that_repeats_the_whole_manual_is_left_out_whatever_its_name(crawler: Crawler, site: Site, name: str) -> None:
    names = ("one", "two", "three", "four")
    everything = "".join(f"<h2>Chapter {each}</h2><p>{chapter(each)}</p>" for each in names)
    site.pages |= manual(names) | {
        "/docs/": page("Docs", "", name, *names),
        f"/docs/{name}": page("The whole manual", body=everything),
    }
    found = crawler.index(site)
    assert found.outcomes == dict.fromkeys(site.pages, "indexed") | {f"/docs/{name}": "whole-manual"}
    assert "repeats the text of 4 other pages" in found.said(f"/docs/{name}")
    assert crawler.found(found.id, "chapter one") >= {"Chapter one"}
    assert "The whole manual" not in crawler.found(found.id, "whole manual chapter")


def test_a_page_about_printing_is_indexed_whatever_its_name(crawler: Crawler, site: Site) -> None:
    names = ("one", "two", "three")
    quotes = (
        f"<h2>As said</h2><p>{chapter('one')}</p><h2>Paper</h2><p>{'Printing takes a printer and paper of its size. ' * 8}</p>"
    )
    site.pages |= manual(names) | {
        "/docs/": page("Docs", "", "print.html", "full/", *names),
        "/docs/print.html": page("Printing", body=quotes),
        "/docs/full/": page("Full text search", "How to search the full text."),
    }
    assert crawler.index(site).indexed == set(site.pages)


def entries(number: int) -> str:
    return "<ul>" + "".join(f'<li><a href="api{n % 3}.html#f{n}">function_{n}()</a></li>' for n in range(number)) + "</ul>"


def test_a_pure_index_is_left_out_and_its_links_are_followed(crawler: Crawler, site: Site) -> None:
    index = f"<html><head><title>Index</title></head><body><main><h1>Index</h1>{entries(60)}</main></body></html>"
    explained = page("Functions", "Every function is called by its name, with its arguments in brackets, and gives back what "
                     "its entry says; the entries below lead to the whole description of each of them, with examples of its use, "
                     "and to the functions that are alike.", body=entries(60))  # fmt: skip
    site.pages |= {f"/docs/api{n}.html": page(f"API {n}") for n in range(3)}
    site.pages |= {
        "/docs/": page("Docs", "", "genindex.html", "functions.html", "short.html"),
        "/docs/genindex.html": index,
        "/docs/functions.html": explained,
        "/docs/short.html": page("Short", "See:", body=entries(6)),
    }
    found = crawler.index(site)
    assert found.outcomes == dict.fromkeys(site.pages, "indexed") | {"/docs/genindex.html": "index-page"}
    assert re.search(
        r"^Left out: an index; \d+% of its text are links \(60\), which are followed\. ", found.said("/docs/genindex.html")
    )


INDEX = f"<html><head><title>Index</title></head><body><main><h1>Contents</h1>{entries(60)}</main></body></html>"


def test_the_first_page_is_not_left_out_for_being_an_index(crawler: Crawler, site: Site) -> None:
    site.pages |= {"/docs/": INDEX} | {f"/docs/api{n}.html": page(f"API {n}") for n in range(3)}
    assert crawler.index(site).indexed == set(site.pages)


def test_the_first_page_is_not_left_out_for_being_an_index_where_it_redirects_to(crawler: Crawler, site: Site) -> None:
    site.pages |= {"/docs": moved("/docs/en/"), "/docs/en/": INDEX}
    site.pages |= {f"/docs/en/api{n}.html": page(f"API {n}") for n in range(3)}
    assert crawler.index(site, "/docs").indexed == set(site.pages) - {"/docs"}


def test_a_page_that_only_searches_is_left_out_and_one_about_searching_is_not(crawler: Crawler, site: Site) -> None:
    form = '<form role="search"><input type="search" name="q"></form><div id="search-results"></div>'
    prose = (
        "<p>" + "The search of the frobnicator looks through every part, and ranks what it has found by weight. " * 20 + "</p>"
    )
    site.pages |= {
        "/docs/": page("Docs", "", "search.html", "guide/search.html", "api/search.html", body=form),
        "/docs/search.html": f"<title>Search</title><h1>Search</h1><p>Please activate JavaScript to search.</p>{form}",
        "/docs/guide/search.html": page("How to search", body=prose + form),
        "/docs/api/search.html": page("search()", "Looks for something."),
    }
    found = crawler.index(site)
    assert found.outcomes == dict.fromkeys(site.pages, "indexed") | {"/docs/search.html": "search-page"}
    assert found.said("/docs/search.html").startswith("Left out: it only searches the site.")


def test_pages_in_another_language_than_the_first_are_left_out(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "fr", "none", "gb", "unknown", lang="en"),
        "/docs/fr": page("Français", "", "fr/more", lang="fr-FR"),
        "/docs/fr/more": page("Encore", lang="fr"),
        "/docs/none": page("Without a language"),
        "/docs/gb": page("British", lang="EN_gb"),
        "/docs/unknown": page("Unknown", lang="''"),
    }
    found = crawler.index(site)
    french = dict.fromkeys(("/docs/fr", "/docs/fr/more"), "other-language")
    assert found.outcomes == dict.fromkeys(site.pages, "indexed") | french
    assert found.said("/docs/fr") == ("Left out: it is in another language (fr, not en). To have it: --include '/docs/fr'.")
    assert found.docset["language"] == "en"


def test_under_a_first_page_without_a_language_every_language_is_kept(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "fr", "de"),
        "/docs/fr": page("Ici", lang="fr"),
        "/docs/de": page("Hier", lang="de"),
    }
    assert crawler.index(site).indexed == set(site.pages)


# -- patterns


def with_patterns() -> Pages:
    names = ("old/a", "old/b", "new", "_modules/x.html", "_modules/y.html", "show?v=1", "show?v=2")
    pages: Pages = {"/docs/": page("Docs", "", *names)}
    return pages | {f"/docs/{name}": page(f"Wombat {name}") for name in names}


def test_patterns_decide_what_is_taken_and_what_is_left_out(crawler: Crawler, site: Site) -> None:
    site.pages |= with_patterns()
    found = crawler.index(site, include=["*/_modules/x*"], exclude=["/docs/old/*", "*[?]v=2"])
    assert found.indexed == {"/docs/", "/docs/new", "/docs/_modules/x.html", "/docs/show?v=1"}
    assert found.outcomes["/docs/_modules/y.html"] == "source-listing"
    left_out = ("/docs/old/a", "/docs/old/b", "/docs/show?v=2")
    assert [found.outcomes[path] for path in left_out] == ["excluded"] * 3
    assert found.said("/docs/old/a") == "Left out by the pattern '/docs/old/*' of the docset."
    assert docs(site).keys() == found.indexed
    assert (found.docset["include"], found.docset["exclude"]) == (["*/_modules/x*"], ["/docs/old/*", "*[?]v=2"])


def test_an_include_overrides_every_default_rule_and_an_exclude_overrides_it(crawler: Crawler, site: Site) -> None:
    names = ("one", "two", "three")
    site.pages |= manual(names) | {f"/docs/api{n}.html": page(f"API {n}") for n in range(3)}
    site.pages |= {
        "/docs/": page("Docs", "", "genindex.html", "print.html", "fr", "search.html", "_modules/x.html", *names, lang="en"),
        "/docs/genindex.html": INDEX,
        "/docs/print.html": page("All", body="".join(f"<h2>{each}</h2><p>{chapter(each)}</p>" for each in names)),
        "/docs/fr": page("Ici", lang="fr"),
        "/docs/search.html": "<title>Search</title><h1>Search</h1><p>Type here.</p><input name=q>",
        "/docs/_modules/x.html": page("Source"),
    }
    found = crawler.index(site, include=["/docs/*"], exclude=["/docs/fr"])
    assert found.outcomes == dict.fromkeys(site.pages, "indexed") | {"/docs/fr": "excluded"}


def test_other_patterns_bring_pages_in_and_take_pages_out(crawler: Crawler, site: Site) -> None:
    site.pages |= with_patterns()
    first = crawler.index(site, exclude=["/docs/new"])
    assert crawler.found(first.id, "wombat") == {"Wombat old/a", "Wombat old/b", "Wombat show?v=1", "Wombat show?v=2"}
    second = crawler.index(site, exclude=["/docs/old/*"], include=["*/_modules/*"])
    assert second.id == first.id
    assert second.outcomes == dict.fromkeys(site.pages, "indexed") | {"/docs/old/a": "excluded", "/docs/old/b": "excluded"}
    assert crawler.found(first.id, "wombat") == {
        "Wombat new", "Wombat _modules/x.html", "Wombat _modules/y.html", "Wombat show?v=1", "Wombat show?v=2"
    }  # fmt: skip
    chunks = second.docset["indexStatus"]["totalChunks"]
    third = crawler.index(site, exclude=[], include=[])
    assert third.indexed == {path for path in site.pages if "_modules" not in path}
    assert third.docset["indexStatus"]["totalChunks"] == chunks
    assert "Wombat old/a" in crawler.found(first.id, "wombat")
    assert "Wombat _modules/x.html" not in crawler.found(first.id, "wombat")


def test_indexing_again_without_patterns_keeps_them(crawler: Crawler, site: Site) -> None:
    site.pages |= with_patterns()
    found = crawler.index(site, exclude=["/docs/old/*"])
    asked = site.requests.total()
    again = crawler.index(site)
    assert (again.id, again.docset["exclude"], again.outcomes) == (found.id, ["/docs/old/*"], found.outcomes)
    assert site.requests.total() == asked


def test_indexing_again_with_other_patterns_is_not_answered_as_done(crawler: Crawler, site: Site) -> None:
    site.pages |= {"/docs/": page("Docs")}
    crawler.index(site)
    answers = []
    for number in range(8):
        answers.append(crawler.post("/index", baseUrl=site.url, seedSlug="/docs/", exclude=[f"/docs/{number}"]))
        crawler.ended(answers[-1]["docsetId"])
    assert {answer["status"] for answer in answers} <= {"pending", "indexing"}


def test_a_page_taken_out_makes_way_for_its_duplicate(crawler: Crawler, site: Site) -> None:
    site.pages |= {
        "/docs/": page("Docs", "", "wombat", "latest/wombat"),
        "/docs/wombat": page("Wombat"),
        "/docs/latest/wombat": page("Wombat"),
    }
    first = crawler.index(site)
    assert first.outcomes["/docs/latest/wombat"] == "duplicate"
    second = crawler.index(site, exclude=["/docs/wombat"])
    assert second.outcomes == {"/docs/": "indexed", "/docs/wombat": "excluded", "/docs/latest/wombat": "indexed"}
    assert crawler.found(first.id, "wombat") == {"Wombat"}


def test_a_page_that_only_a_pattern_let_in_goes_when_the_pattern_goes(crawler: Crawler, site: Site) -> None:
    site.pages |= {"/docs/": page("Docs", "", "genindex.html", lang="en"), "/docs/genindex.html": INDEX}
    site.pages |= {f"/docs/api{n}.html": page(f"API {n}") for n in range(3)}
    assert "/docs/genindex.html" in crawler.index(site, include=["*genindex*"]).indexed
    assert crawler.index(site, include=[]).outcomes["/docs/genindex.html"] == "index-page"


def test_the_command_takes_patterns(crawler: Crawler, site: Site) -> None:
    site.pages |= with_patterns()
    options = ["--exclude", "/docs/old/*", "--exclude", "*v=2", "--include", "*/_modules/x*"]

    def index(*options: str) -> Any:
        command = [sys.executable, "-m", "cli", "index", f"{site.url}/docs/", *options, "--json"]
        ended = subprocess.run(command, env=crawler.daemon.environment, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    made = index(*options)
    assert (made["include"], made["exclude"]) == (["*/_modules/x*"], ["/docs/old/*", "*v=2"])
    found = crawler.ended(made["id"])
    assert found.indexed == {"/docs/", "/docs/new", "/docs/_modules/x.html", "/docs/show?v=1"}
    index("--exclude", "/docs/new")
    again = crawler.ended(made["id"])
    assert again.indexed == set(site.pages) - {"/docs/new", "/docs/_modules/y.html"}


# -- the same site gives the same docset


@pytest.fixture
def varied(site: Site) -> Site:
    """A site with something of everything."""
    names = (
        "same-long",
        "same",
        "moved",
        "loop",
        "gone",
        "hidden",
        "a",
        "b",
        "print.html",
        "copy",
        "way",
        "out",
        "failing",
    )
    chapters = ("one", "two", "three")
    site.pages |= manual(chapters) | {
        "/robots.txt": "User-agent: *\nDisallow: /docs/private",
        "/sitemap.xml": sitemap(*(f"{site.url}/docs/{name}" for name in ("only1", "only2", "a", "private"))),
        "/docs/": page("Docs", "", *names, *chapters, "_modules/x.html", lang="en"),
        "/docs/print.html": page("All", body="".join(f"<h2>{each}</h2><p>{chapter(each)}</p>" for each in chapters)),
        "/docs/same-long": page("Same", "", "behind"),
        "/docs/same": page("Same", "", "behind", "private"),
        "/docs/behind": page("Behind"),
        "/docs/moved": moved("target"),
        "/docs/target": page("Target", "", "a", "deep"),
        "/docs/deep": page("Deep", lang="fr"),
        "/docs/loop": moved("loop2"),
        "/docs/loop2": moved("loop"),
        "/docs/hidden": page("Hidden", "", "behind-hidden", head=robots_meta("noindex")),
        "/docs/behind-hidden": page("Behind hidden", "", "a", "b"),
        "/docs/a": page("A", "", "deep", "c"),
        "/docs/b": page("B", "", "c", "deep"),
        "/docs/c": page("C"),
        "/docs/copy": page("Copy", head=copy_of("a")),
        "/docs/way": moved("way2"),
        "/docs/way2": moved("a"),
        "/docs/out": moved("/blog"),
        "/docs/failing": Answer(500, "broken"),
        "/docs/only1": page("Only 1", "", "from-only"),
        "/docs/only2": page("Only 2", "", "from-only"),
        "/docs/from-only": page("From only"),
    }
    return site


def seen(found: Crawled) -> list[tuple[object, ...]]:
    """All that a crawl decided about each page, in the order of the listing."""
    keys = ("id", "url", "status", "reason", "errorMessage", "depth", "discoveredFrom")
    return [tuple(each[key] for key in keys) for each in found.pages.values()]


def test_two_crawls_of_a_site_into_two_data_folders_come_to_the_same(
    crawler: Crawler, daemon_of: MakeDaemon, varied: Site
) -> None:
    first, other = crawler.index(varied), daemon_of(**LIMITS)
    for path in ("/docs/same-long", "/docs/a", "/docs/hidden"):  # others answer first now
        varied.pages = delayed(varied.pages, path)
    with closing(Crawler(other)) as other_crawler:
        second = other_crawler.index(varied)
    assert seen(second) == seen(first)
    assert second.docset["message"] == first.docset["message"]
    assert second.docset["indexStatus"] == first.docset["indexStatus"]
    assert Counter(first.outcomes.values()) == {
        "indexed": 14, "duplicate": 1, "redirects": 1, "gone": 1, "noindex": 1, "source-listing": 1, "other-language": 1,
        "whole-manual": 1, "robots": 1, "moved-out": 1, "server-error": 1,
    }  # fmt: skip


def test_a_target_of_two_redirects_is_always_found_from_the_first(crawler: Crawler) -> None:
    pages: Pages = {
        "/docs/": page("Docs", "", "way1", "between", "way2"),
        "/docs/way1": moved("shared"),
        "/docs/way2": moved("shared"),
        "/docs/between": page("Between"),
        "/docs/shared": page("Shared"),
    }
    for slow in ("/docs/way1", "/docs/way2"):
        with Site(delayed(pages, slow)) as site:
            found = crawler.index(site)
        assert found.pages["/docs/shared"]["discoveredFrom"] == f"{site.url}/docs/way1"
        assert list(found.pages) == ["/docs/", "/docs/shared", "/docs/between"]


def test_of_a_circle_of_redirects_always_the_same_url_is_shown(crawler: Crawler) -> None:
    pages: Pages = {"/docs/": page("Docs", "", "loop1", "loop2"), "/docs/loop1": moved("loop2"), "/docs/loop2": moved("loop1")}
    shown = []
    for slow in ("/docs/loop1", "/docs/loop2"):
        with Site(delayed(pages, slow)) as site:
            shown.append(crawler.index(site).outcomes)
    assert shown[0] == shown[1] == {"/docs/": "indexed", "/docs/loop1": "redirects"}
