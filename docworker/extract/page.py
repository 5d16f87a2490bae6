"""A page of any kind that is text → Extracted."""

from collections.abc import Sequence
from dataclasses import replace

from docworker.extract.charset import decode
from docworker.extract.generators import PROFILES
from docworker.extract.html import extract_html
from docworker.extract.profile import Profile
from docworker.extract.text import to_html
from docworker.model import Document, Extracted, Section, Symbol
from docworker.visible import visible, visible_line

# What can be read, by media type; True: as XML.
HTML_TYPES = {"text/html": False, "application/xhtml+xml": True}
MARKDOWN_TYPES = frozenset({"text/markdown", "text/x-markdown"})
TEXT_TYPES = frozenset({"text/plain"})


def extract(
    url: str, body: bytes, charset: str | None, content_type: str = "text/html", profiles: Sequence[Profile] = PROFILES
) -> Extracted:
    """Read a page. Pure and deterministic; broken markup is read as a browser would read it.

    `url` is the page's own, against which links are resolved; `charset` and `content_type` (a media type in lower case,
    without parameters) are what the site declared.
    """
    return _as_seen(_read(url, decode(body, charset), content_type, profiles))


def _read(url: str, text: str, content_type: str, profiles: Sequence[Profile]) -> Extracted:
    if content_type in MARKDOWN_TYPES or (content_type in TEXT_TYPES and url.partition("?")[0].endswith((".md", ".markdown"))):
        return _without_anchors(extract_html(url, to_html(text, markdown=True), generator="markdown"))
    if content_type in TEXT_TYPES:
        return _without_anchors(extract_html(url, to_html(text, markdown=False), generator="text"))
    return extract_html(url, text, profiles=profiles, xml=HTML_TYPES.get(content_type, False))


def _without_anchors(page: Extracted) -> Extracted:
    """A page that is no HTML has no fragments to lead to."""
    document = page.document
    sections = tuple(replace(section, anchor=None) for section in document.sections)
    symbols = tuple(replace(symbol, anchor=None) for symbol in document.symbols)
    return replace(page, document=replace(document, sections=sections, symbols=symbols))


def _as_seen(page: Extracted) -> Extracted:
    """A page without characters that nobody sees, also where they stood in attributes. An anchor with such leads nowhere else."""
    document = page.document
    sections = tuple(
        Section(each.level, visible_line(each.heading), _seen_anchor(each.anchor), visible(each.text), each.entry)
        for each in document.sections
    )
    named = (Symbol(visible_line(each.name), visible_line(each.kind), _seen_anchor(each.anchor)) for each in document.symbols)
    return replace(
        page,
        document=Document(
            visible_line(document.title),
            None if document.site is None else visible_line(document.site) or None,
            sections,
            tuple(dict.fromkeys(symbol for symbol in named if symbol.name)),
        ),
    )


def _seen_anchor(anchor: str | None) -> str | None:
    return anchor if anchor is None or visible(anchor) == anchor else None
