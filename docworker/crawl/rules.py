"""What is left out of a docset although it is in scope, and the sentence that says so. Pure.

By its URL alone, before it is asked: source listings, whose shape no page of documentation has. By what the page is, its links
being followed all the same: pure indexes, pages that search, other languages, and Doxygen's source listings, which are the only
way to some of its pages. A pattern of the docset overrides either way; what a pattern excludes is out.
"""

import re
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit, urlunsplit

from docworker.model import Docset, Extracted, Reason, Turn
from docworker.urls import path_of

LeftOut = tuple[Reason, str]

_SOURCES = (
    (re.compile(r"/_modules/"), "Sphinx's listing of source code"),
    (re.compile(r"/_sources/"), "the source text of Sphinx pages"),
    (re.compile(r"/src/.*\.rs\.html$"), "rustdoc's listing of source code"),
    (re.compile(r"/(src-html|class-use)/|/package-use\.html$"), "javadoc's listing of source code or of uses"),
)
_LISTINGS = (
    (re.compile(r"(_8\w+|/a\d{5})_source\.html$"), "Doxygen's listing of source code"),
    (re.compile(r"/dir_[0-9a-f]{32}\.html$"), "Doxygen's listing of a folder of source code"),
)
# Names of pages that may hold a whole manual: they are asked last, and judged by what they repeat.
_MAY_BE_ALL = re.compile(
    r"/(all|print|single|singlehtml|single-page|onepage|one-page|full|complete|entire|whole)(\.x?html?|/)?$", re.I
)
# The text that a page of HTML was made from, beside it: `guide.md` of `guide.html`, `guide.html.md` of itself.
_MARKDOWN = re.compile(r"(?P<page>.*/(?P<name>[^/]*?))(\.html?)?\.(md|markdown|mdx)$", re.IGNORECASE)
_SEARCH = re.compile(r"/search(-?results?|[-_]page|\d*)?(\.x?html?|\.php|/)?$", re.IGNORECASE)
_MAX_SEARCH_CHARS = 1_500  # a page that only searches has a form and a hint
# From here on a page is a list of links: it says no more than the pages that it names.
_INDEX_SHARE, _INDEX_LINKS, _INDEX_PROSE = 0.85, 20, 150
_CONTENTS_SHARE = 0.3  # of a page that holds nothing but its table of contents
_BY_CONTENT = frozenset({Reason.SOURCE, Reason.LANGUAGE, Reason.SEARCH, Reason.INDEX, Reason.MANUAL})


def by_url(docset: Docset, url: str) -> LeftOut | None:
    """Why a page is not even asked; None when it is."""
    if (pattern := _matching(docset.exclude, url)) is not None:
        return Reason.EXCLUDED, f"Left out by the pattern {pattern!r} of the docset."
    path = urlsplit(url).path
    for shape, what in _SOURCES:
        if shape.search(path) and not shape.search(urlsplit(docset.seed_url).path) and not let_in(docset, url):
            return Reason.SOURCE, f"Left out, unread: {what}. {_override(url)}"
    return None


def by_content(docset: Docset, url: str, page: Extracted) -> LeftOut | None:
    """Why a page that was read is not indexed; its links are followed all the same. Not for the seed, which is always wanted."""
    if let_in(docset, url):
        return None
    for shape, what in _LISTINGS:
        if shape.search(urlsplit(url).path):
            return Reason.SOURCE, f"Left out: {what}; its links are followed. {_override(url)}"
    if docset.language and page.language and page.language != docset.language:
        return Reason.LANGUAGE, f"Left out: it is in another language ({page.language}, not {docset.language}). {_override(url)}"
    chars = sum(len(section.text) for section in page.document.sections)
    if page.search_form and chars <= _MAX_SEARCH_CHARS and _SEARCH.search(urlsplit(url).path):
        return Reason.SEARCH, f"Left out: it only searches the site. {_override(url)}"
    many = page.main_links >= _INDEX_LINKS and page.linked_share >= _INDEX_SHARE and page.prose_chars < _INDEX_PROSE
    if many or (not chars and page.linked_share >= _CONTENTS_SHARE):
        said = f"{page.linked_share:.0%} of its text are links ({page.main_links}), which are followed"
        return Reason.INDEX, f"Left out: an index; {said}. {_override(url)}"
    return None


def reopens(docset: Docset, url: str, reason: Reason) -> bool:
    """Whether a page that was left out for `reason` is to be asked again, now that no rule about its URL leaves it out."""
    return reason is Reason.EXCLUDED or (reason in _BY_CONTENT and let_in(docset, url))


def manual(docset: Docset, url: str, repeated: int) -> LeftOut | None:
    """Why a page is left out that holds the whole text of `repeated` other pages, and little else."""
    if let_in(docset, url):
        return None
    return Reason.MANUAL, f"Left out: it repeats the text of {repeated} other pages of the docset. {_override(url)}"


def turn(url: str) -> Turn:
    """When a page that links reach is asked: last, when it is likely to be left out for what it is."""
    path = urlsplit(url).path
    late = _MARKDOWN.match(path) or _MAY_BE_ALL.search(path) or any(shape.search(path) for shape, _ in _LISTINGS)
    return Turn.LAST if late else Turn.LINKED


def twins(url: str) -> tuple[str, ...]:
    """What a Markdown page is the twin of, if it is there: the same page in HTML, as sites name it."""
    parts = urlsplit(url)
    match = _MARKDOWN.match(parts.path)
    if match is None:
        return ()
    page = match["page"]
    stem = page.removesuffix(match["name"])
    paths = (
        (stem, f"{stem}index.html")
        if match["name"].lower() in ("index", "readme")
        else (page, f"{page}.html", f"{page}/", f"{page}.htm")
    )
    return tuple(urlunsplit(parts._replace(path=path)) for path in paths)


def let_in(docset: Docset, url: str) -> bool:
    """Whether a pattern of the docset takes the page, whatever it is."""
    return _matching(docset.include, url) is not None


def _matching(patterns: tuple[str, ...], url: str) -> str | None:
    """The first pattern that the path, with its query, matches; as written or with its escapes undone."""
    path = path_of(url)
    return next((p for p in patterns if fnmatchcase(path, p) or fnmatchcase(unquote(path), p)), None)


def _override(url: str) -> str:
    return f"To have it: --include '{urlsplit(url).path}'."
