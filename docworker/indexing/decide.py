"""What is to be done about a page. Pure: old state and new text in, intent out."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from docworker import EXTRACTOR_VERSION
from docworker.chunking import chunk, content_hash, main_hash, passages
from docworker.crawl import rules
from docworker.crawl.discovery import pages_to_follow
from docworker.crawl.robots import directives
from docworker.model import Docset, Extracted, Fetched, PageIntent, Reason, digest
from docworker.urls import canonical, in_scope, on_site, origin, spelling


def decide(
    docset: Docset, fetched: Fetched, page: Extracted, old_ids: Iterable[str], *, is_seed: bool, obey_robots: bool
) -> PageIntent:
    """Which chunks the page has now, which of them are new, which old ones go, and where it leads; or why it is left out.

    An unchanged chunk keeps its id, so it is in neither `add` nor `remove`.
    """
    url, old = fetched.url, set(old_ids)
    noindex, nofollow = directives(page.directives, fetched.robots) if obey_robots else (False, False)
    original = _canonical(docset, url, page)
    links = page.links if original is None else (original, *page.links)
    follow, dropped = ((), 0) if nofollow else pages_to_follow(links, origin(docset.seed_url), docset.allowed_paths)
    chunks = chunk(page.document, docset.id, url)
    left_out = None if is_seed else rules.by_content(docset, url, page)
    if noindex:
        left_out = Reason.NOINDEX, "The page asks not to be indexed (noindex)."
    if left_out is None and not chunks:
        left_out = Reason.NO_TEXT, "The page holds no text."
    if left_out is not None:
        chunks = ()
    return PageIntent(
        title=page.document.title,
        read_as=page.generator if page.fell_back is None else f"{page.generator} ({page.fell_back} found nothing)",
        content_hash=content_hash(page.document),
        main_hash=main_hash(page.document, url),
        passages=passages(page.document, url),
        canonical=original,
        twins=rules.twins(url) if page.generator == "markdown" else (),
        left_out=left_out,
        chunks=chunks,
        add=tuple(piece for piece in chunks if piece.id not in old),
        remove=tuple(sorted(old - {piece.id for piece in chunks})),
        follow=follow,
        links_dropped=dropped,
    )


def rules_hash(docset: Docset, *, is_seed: bool, obey_robots: bool) -> str:
    """Hash of all that decides what a page comes to, besides what the site sends: as long as it is the same, `decide` is too."""
    language = None if is_seed else docset.language
    parts = (
        EXTRACTOR_VERSION,
        docset.seed_url,
        docset.allowed_paths,
        docset.include,
        docset.exclude,
        language,
        is_seed,
        obey_robots,
    )
    return digest(*map(repr, parts))


def _canonical(docset: Docset, url: str, page: Extracted) -> str | None:
    """The page of the docset that this one says it is a copy of.

    The front page is not believed to be the original of another one: sites name it on all their pages by mistake, and a
    docset would shrink to one page.
    """
    said = canonical(page.canonical) if page.canonical else None
    site = origin(docset.seed_url)
    said = None if said is None else on_site(said, site)
    if said is None or said == url or not in_scope(said, site, docset.allowed_paths):
        return None
    fronts = {spelling(docset.seed_url), spelling(site + "/"), *(spelling(site + path) for path in docset.allowed_paths)}
    bare = spelling(url.partition("?")[0])
    return None if spelling(said) in fronts and bare != spelling(said) and urlsplit(said).query == "" else said
