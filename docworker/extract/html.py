"""A page's bytes → its main content, links and title. Owns selectolax; trafilatura is asked where no structure helps.

The main content is found generically: an element that says it is the main one, else the body without what is navigation
by its element, role or well-known class.
"""

import codecs
import re
from html import escape
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

from docworker.extract.markdown import sections
from docworker.model import Document, Extracted, Section

_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_DECLARED_WITHIN = 4_096
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
_REFRESH = re.compile(r"\s*(?P<delay>[\d.]*)(?:\s*[;,]\s*|\s+)(?:url\s*=\s*)?+[\"']?(?P<url>[^\"'\s][^\"']*)", re.IGNORECASE)
# A page that moves on later than this is one that reloads itself, such as a status page.
_REDIRECT_WITHIN_S = 10.0
_NOT_CONTENT = (
    "script, style, noscript, template, nav, footer, iframe, button, input, select, textarea, "
    "[hidden]:not([role=tabpanel]), [role=navigation], [role=search], [role=contentinfo], .sphinxsidebar, .related, "
    ".breadcrumbs, .navheader, .navfooter, .headerlink, .skip-link, .sr-only"
)
# Tables of contents and diagrams: no text to keep, but they count when it is judged what kind of page it is.
_CONTENTS = ".toc, svg"
_SEARCH_FORM = "input[type=search], input[name=q], form[role=search], #search-results, #searchresults, #search-documentation"
_MAIN = (
    "main", "[role=main]", "article", "#docContent", "#apicontent", "#main-content", "#content", "#main", ".main-content",
    ".content", ".document", ".body",
)  # fmt: skip
_MAX_TITLE_CHARS = 300  # it stands in every chunk of the page
_ROBOTS = "meta[name=robots i], meta[name=docworker i]"
_LANGUAGE = re.compile(r"\s*([A-Za-z]{2,3})(?![A-Za-z])")
# Below this share of the page's text an element that says it is the main one is not (a teaser, an empty shell).
_MAIN_SHARE = 0.3
_SITE_SEPARATOR = re.compile(r"\s+[—–|·:-]\s+|\s*[—–|·]\s+")


def extract(url: str, body: bytes, charset: str | None) -> Extracted:
    """Read a page. Pure and deterministic; broken markup is read as a browser would read it.

    `url` is the page's own, against which links are resolved; `charset` is what the site declared, or None.
    """
    tree = LexborHTMLParser(decode(body, charset))
    base_tag = tree.css_first("base[href]")
    declared = None if base_tag is None else base_tag.attributes.get("href")
    base = _absolute(url, declared) or url
    links = _links(tree, base)
    redirect = _meta_refresh(tree, base, url)
    directives = tuple(node.attributes.get("content") or "" for node in tree.css(_ROBOTS))
    search_form = tree.css_first(_SEARCH_FORM) is not None
    head_title = _text(tree.css_first("head > title"))
    for node in tree.css(_NOT_CONTENT):
        node.decompose()
    main = _main(tree)
    linked_share, main_links, prose_chars = (0.0, 0, 0) if main is None else _linked(main)
    for node in tree.css(_CONTENTS):
        node.decompose()
    main = _main(tree)
    found = () if main is None else _sections(main, tree)
    title = _title(found, head_title)[:_MAX_TITLE_CHARS]
    return Extracted(
        Document(title, _site(head_title, title), found),
        links,
        redirect,
        _canonical(tree, base),
        _declared_language(tree),
        directives,
        linked_share,
        main_links,
        prose_chars,
        search_form,
    )


def decode(body: bytes, charset: str | None) -> str:
    """Text of a page, by byte-order mark, then the site's word, then the page's own, then UTF-8, then Windows-1252."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    declared = _DECLARED.search(body[:_DECLARED_WITHIN])
    for candidate in (charset, declared[1].decode("ascii", "replace") if declared else None):
        if candidate and (codec := _codec(candidate)):
            return body.decode(codec, "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _codec(name: str) -> str | None:
    """The Python codec that browsers mean by a charset's name (WHATWG Encoding: Latin-1 is Windows-1252)."""
    try:
        found = codecs.lookup(name).name
        "a".encode(found)  # raises for codecs that are no charset, such as hex
    except (LookupError, ValueError):
        return None
    if found in _NO_CHARSETS:
        return None
    return "cp1252" if found in ("iso8859-1", "ascii") else found


def _links(tree: LexborHTMLParser, base: str) -> tuple[str, ...]:
    """Absolute targets of everything that leads to another page, in page order, each once."""
    found: dict[str, None] = {}
    for node in tree.css("a[href], area[href], iframe[src], frame[src]"):
        if target := _absolute(base, node.attributes.get("href") or node.attributes.get("src")):
            found[target] = None
    return tuple(found)


def _absolute(base: str, reference: str | None) -> str | None:
    if not reference or reference.startswith(("#", "javascript:", "mailto:", "data:", "tel:")):
        return None
    try:
        return urljoin(base, reference.strip())
    except ValueError:  # such as http://[user@]host/: the link is broken, the page is not
        return None


def _meta_refresh(tree: LexborHTMLParser, base: str, url: str) -> str | None:
    """Where the page sends its reader by itself, unless that is the page."""
    for node in tree.css("meta[http-equiv]"):
        if (node.attributes.get("http-equiv") or "").strip().lower() != "refresh":
            continue
        match = _REFRESH.match(node.attributes.get("content") or "")
        if match and _seconds(match["delay"]) <= _REDIRECT_WITHIN_S:
            target = _absolute(base, match["url"].strip())
            if target and target.partition("#")[0] != url:
                return target
    return None


def _canonical(tree: LexborHTMLParser, base: str) -> str | None:
    """Where the page says that its content lives; None when it says nothing, or says two things."""
    said = {_absolute(base, node.attributes.get("href")) for node in tree.css("link[rel~=canonical i]")}
    return said.pop() if len(said) == 1 else None


def _declared_language(tree: LexborHTMLParser) -> str | None:
    """The primary subtag of the page's language (RFC 5646), such as `en`."""
    root = tree.root
    declared = None if root is None else root.attributes.get("lang") or root.attributes.get("xml:lang")
    found = _LANGUAGE.match(declared or "")
    return found[1].lower() if found else None


def _linked(main: LexborNode) -> tuple[float, int, int]:
    """The share of an element's characters that stand in links to other pages, how many of these there are, and how many
    characters outside of links its wordiest paragraph has."""
    links = [link for link in main.css("a[href]") if not (link.attributes.get("href") or "#").startswith("#")]
    whole = _chars(main)
    prose = max((_chars(p) - sum(map(_chars, p.css("a[href]"))) for p in main.css("p")), default=0)
    return (min(1.0, sum(map(_chars, links)) / whole) if whole else 0.0), len(links), prose


def _chars(node: LexborNode) -> int:
    return len("".join(node.text().split()))


def _seconds(text: str) -> float:
    try:
        return float(text or "0")
    except ValueError:
        return 0.0


def _main(tree: LexborHTMLParser) -> LexborNode | None:
    """The element that holds what the reader came for; the body when none says so."""
    body = tree.body
    if body is None:
        return None
    whole = len(body.text(separator=" "))
    for selector in _MAIN:
        nodes = body.css(selector)
        if len(nodes) == 1 and len(nodes[0].text(separator=" ")) >= _MAIN_SHARE * whole:
            return nodes[0]
    return body


def _sections(main: LexborNode, tree: LexborHTMLParser) -> tuple[Section, ...]:
    """The sections of the main content; trafilatura decides what that is on a page without any structure."""
    if main.tag == "body" and main.css_first("h1, h2, h3, dt[id]") is None:
        text = _by_trafilatura(tree.html or "") if main.text().strip() else None
        if text:
            return (Section(0, "", None, text),)
    _drop_permalinks(main)
    _flatten_code(main)
    try:
        return sections(main.html or "")
    except RecursionError:  # nested thousands deep: the text without its structure is better than nothing
        return (Section(0, "", None, main.text(separator="\n", strip=True)),)


def _by_trafilatura(html: str) -> str | None:
    import trafilatura

    text: str | None = trafilatura.extract(html, output_format="markdown", include_tables=True, favor_recall=True)
    return text


def _drop_permalinks(main: LexborNode) -> None:
    """Remove from headings and terms the links to themselves, whatever glyph they show: they have no word in them."""
    for link in main.css(":is(h1, h2, h3, h4, h5, h6, dt, summary, caption) a[href^='#']"):
        if not any(character.isalnum() for character in link.text()):
            link.decompose()


def _flatten_code(main: LexborNode) -> None:
    """Leave of a code block its characters and its language: the marks of highlighters are most of a page's elements."""
    inside = {inner.mem_id for inner in main.css("pre pre")}
    for block in [block for block in main.css("pre") if block.mem_id not in inside]:
        for br in block.css("br"):
            br.replace_with("\n")
        inner = block.css_first("code")
        if inner is not None:
            for name in ("class", "data-lang"):
                if value := inner.attributes.get(name):
                    block.attrs[name] = f"{block.attributes.get(name) or ''} {value}".strip()
        block.inner_html = escape(block.text(), quote=False)


def _title(found: tuple[Section, ...], head_title: str) -> str:
    """The first top heading of the page, else the document's title, else the first heading there is."""
    for section in found:
        if section.level == 1 and section.heading:
            return section.heading
    headings = [section.heading for section in found if section.heading and not section.entry]
    return head_title or (headings[0] if headings else "")


def _site(head_title: str, title: str) -> str | None:
    """The site's name, as it stands behind the page's in most document titles."""
    parts = _SITE_SEPARATOR.split(head_title)
    return parts[-1] if len(parts) > 1 and parts[-1] != title else None


def _text(node: LexborNode | None) -> str:
    return "" if node is None else " ".join(node.text().split())
