"""What is to be done about a page. Pure: old state and new text in, intent out."""

from collections.abc import Iterable

from docworker.chunking import chunk, content_hash
from docworker.crawl.discovery import pages_to_follow
from docworker.model import Docset, Extracted, PageIntent
from docworker.urls import origin


def decide(docset: Docset, url: str, page: Extracted, old_ids: Iterable[str]) -> PageIntent:
    """Which chunks the page has now, which of them are new, which old ones go, and where it leads.

    An unchanged chunk keeps its id, so it is in neither `add` nor `remove`.
    """
    old, chunks = set(old_ids), chunk(page.document, docset.id, url)
    return PageIntent(
        title=page.document.title,
        content_hash=content_hash(page.document),
        chunks=chunks,
        add=tuple(piece for piece in chunks if piece.id not in old),
        remove=tuple(sorted(old - {piece.id for piece in chunks})),
        follow=pages_to_follow(page.links, origin(docset.seed_url), docset.allowed_paths),
    )
