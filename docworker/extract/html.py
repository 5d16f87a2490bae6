"""A page of HTML → its main content, links and title. Owns selectolax; trafilatura is asked where no structure helps.

    decode → repair → parse → what the page says of itself (links, redirect, canonical, language, directives)
    → without what nobody sees → profile (the generator's, else the generic one) → main content → profile's shape → shared steps
    → sections, symbols

A profile that finds no content on a page leaves it to the generic one, and that is told.
"""

import re
from collections.abc import Sequence
from urllib.parse import unquote, urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

from docworker.extract import shape
from docworker.extract.generators import GENERIC, PROFILES
from docworker.extract.hidden import drop_hidden, read_hiding
from docworker.extract.markdown import sections
from docworker.extract.profile import Profile
from docworker.model import Document, Extracted, Section, Symbol

_REFRESH = re.compile(
    r"\s*+(?P<delay>[\d.]*+)(?:\s*+[;,]\s*+|\s++)(?:url\s*+=\s*+)?+[\"']?(?P<url>[^\"'\s][^\"']*)", re.IGNORECASE
)
# A page that moves on later than this is one that reloads itself, such as a status page.
_REDIRECT_WITHIN_S = 10.0
_NOT_CONTENT = (
    "script, style, noscript, template, nav, footer, iframe, noembed, noframes, button:not([role=tab]), input, select, textarea, "
    "datalist, audio, video, canvas, progress, meter, "
    "[role=navigation], [role=search], [role=contentinfo], .sphinxsidebar, .related, "
    ".breadcrumbs, .breadcrumb, .navheader, .navfooter, .headerlink, .skip-link, .sr-only, .visually-hidden, .cookie-banner, "
    "[class*=cookie-consent], .katex-html, [class*=edit-this-page], [class*=edit-page], .edit-link, "
    "[class*=prev-next], a[rel=prev], a[rel=next], .version-switcher, .version-picker, .version-warning, .version-banner, "
    ".announcement-bar, .feedback, .last-updated, .reading-time, "
    ".share-buttons, .on-this-page, .line-numbers-wrapper, .gutter, div[class*=lang-] > span.lang, "
    "div[class*=language-] > span.lang, .noprint"
)
# Tables of contents and diagrams: no text to keep, but they count when it is judged what kind of page it is.
_CONTENTS = ".toc, svg"
_SEARCH_FORM = "input[type=search], input[name=q], form[role=search], #search-results, #searchresults, #search-documentation"
_SECTION_NUMBER = re.compile(r"^(?:[A-Z]|\d+)(?:\.\d+)*\.?\s+(?=\S)")
_MAX_TITLE_CHARS = 300  # it stands in every chunk of the page
_ROBOTS = "meta[name=robots i], meta[name=docworker i]"
_LANGUAGE = re.compile(r"\s*([A-Za-z]{2,3})(?![A-Za-z])")
# Below this share of the page's text an element that says it is the main one is not (a teaser, an empty shell).
_MAIN_SHARE = 0.3
# A page without structure of which so much stands in links is mostly navigation.
_NAVIGATION_SHARE = 0.3
_SITE_SEPARATOR = re.compile(r"\s+[—–|·:-]\s+|\s*[—–|·]\s+")


def extract_html(
    url: str, html: str, *, profiles: Sequence[Profile] = PROFILES, xml: bool = False, generator: str | None = None
) -> Extracted:
    """Read a page. Pure and deterministic; broken markup is read as a browser would read it.

    `url` is the page's own, against which links are resolved; `xml` says that it came as XHTML, `generator` names what it was
    made from when that was no page of HTML. A page that none of the `profiles` knows is read the generic way.
    """
    tree = LexborHTMLParser(shape.repair(html, xml=xml))
    shape.drop_invisible(tree)
    base_tag = tree.css_first("base[href]")
    declared = None if base_tag is None else base_tag.attributes.get("href")
    base = _absolute(url, declared) or url
    inventory = _inventory(tree, base)
    links = _links(tree, base)
    redirect = _meta_refresh(tree, base, url)
    directives = tuple(node.attributes.get("content") or "" for node in tree.css(_ROBOTS))
    search_form = tree.css_first(_SEARCH_FORM) is not None
    head_title = _text(tree.css_first("head > title"))
    profile = next((profile for profile in profiles if tree.css_first(profile.marks) is not None), GENERIC)
    hiding = read_hiding(tree)
    for box in tree.css("li input[type=checkbox]"):
        box.replace_with("[x] " if "checked" in box.attributes else "[ ] ")
    if tree.root is not None:
        shape.drop(tree.root, ", ".join(filter(None, (profile.drop, _NOT_CONTENT))))
        drop_hidden(tree, hiding)
    main, used = _main(tree, profile), profile
    if main is None:
        main, used = _main(tree, GENERIC), GENERIC
    linked_share, main_links, prose_chars = (0.0, 0, 0) if main is None else _linked(main)
    if main is not None:
        shape.drop(main, _CONTENTS)
    found, symbols = ((), ()) if main is None else _read(main, used, linked_share, tree, base, url)
    title = (_title(found, head_title) or (_file_name(url) if found else ""))[:_MAX_TITLE_CHARS]
    return Extracted(
        Document(title, _site(head_title, title), found, symbols),
        links,
        redirect,
        _canonical(tree, base),
        _declared_language(tree),
        directives,
        linked_share,
        main_links,
        prose_chars,
        search_form,
        generator or used.name,
        profile.name if used is not profile else None,
        inventory,
    )


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


def _inventory(tree: LexborHTMLParser, base: str) -> str | None:
    """Where Sphinx lists the names of a site: beside its first page, to which every page knows the way."""
    for selector, name in (("html[data-content_root]", "data-content_root"), ("#documentation_options", "data-url_root")):
        node = tree.css_first(selector)
        if node is not None and (root := node.attributes.get(name)) is not None:
            return _absolute(base, f"{root}objects.inv")
    return None


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


def _main(tree: LexborHTMLParser, profile: Profile) -> LexborNode | None:
    """The element that holds what the reader came for; the body when the generic profile finds none."""
    body = tree.body
    if body is None:
        return None
    if profile is not GENERIC:
        candidates = (tree.css_first(selector) for selector in profile.main)
        return next((node for node in candidates if node is not None and node.text(strip=True)), None)
    whole = len(body.text(separator=" "))
    for selector in profile.main:
        nodes = body.css(selector)
        if len(nodes) == 1 and (
            len(nodes[0].text(separator=" ")) >= _MAIN_SHARE * whole or nodes[0].css_first("h1, h2") is not None
        ):
            return nodes[0]
    return body


def _read(
    main: LexborNode, profile: Profile, linked_share: float, tree: LexborHTMLParser, base: str, url: str
) -> tuple[tuple[Section, ...], tuple[Symbol, ...]]:
    """The sections and symbols of the main content; trafilatura decides what that is on a page without any structure."""
    if main.tag == "body" and linked_share > _NAVIGATION_SHARE and main.css_first("h1, h2, h3, h4, h5, h6, dt[id]") is None:
        found = _by_trafilatura(tree.html or "") if main.text().strip() else None
        body = LexborHTMLParser(found).body if found else None
        if body is not None and len(body.text()) >= _MAIN_SHARE * len(main.text()):
            main = body
    shape.as_browsers_read(main)
    shape.distrust(main)
    shape.resolve_links(main, base, url)
    shape.drop_permalinks(main)
    shape.drop_contents(main)
    if profile.shape is not None:
        profile.shape(main)
    shape.label_tabs(main)
    shape.label_notes(main)
    shape.label_footnotes(main)
    shape.flatten_code(main)
    shape.unwrap_spans(main)
    shape.flatten(main)
    return sections(main.html or "")


def _by_trafilatura(html: str) -> str | None:
    import trafilatura

    found: str | None = trafilatura.extract(
        html, output_format="html", include_tables=True, include_links=True, include_formatting=True, favor_recall=True
    )
    return found


def _title(found: tuple[Section, ...], head_title: str) -> str:
    """The top heading of the page; of several or none, the first that the document's title begins or ends with, else that."""
    headings = [section for section in found if section.heading and not section.entry]
    top = list(dict.fromkeys(section.heading for section in headings if section.level == 1))
    if len(top) == 1 or (top and not head_title):
        return top[0]
    first = top[0] if top else headings[0].heading if headings else ""
    own = _SECTION_NUMBER.sub("", first)
    return first if own and (not head_title or head_title.startswith(own) or head_title.endswith(own)) else head_title


def _file_name(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _site(head_title: str, title: str) -> str | None:
    """The site's name, as it stands behind the page's in most document titles."""
    parts = _SITE_SEPARATOR.split(head_title)
    return parts[-1] if len(parts) > 1 and parts[-1] != title else None


def _text(node: LexborNode | None) -> str:
    return "" if node is None else " ".join(node.text().split())
