"""AsciiDoc, its first implementation: articles and manual pages."""

import re
from collections.abc import Iterator
from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.profile import Profile
from docworker.extract.shape import inner_first, line
from docworker.extract.terms import groups, is_variable, mark_options

_PAGE_OF_MANUAL = re.compile(r"^(?P<name>[\w.+-]+)\(\d\w*\)(?: Manual Page)?$")
_SETTING = re.compile(r"^[a-z][A-Za-z0-9-]*(?:\.[\w<>()*/-]+)+$")
_FILE = re.compile(
    r"^[^.<>*]+\.(?:html?|xml|json|ya?ml|toml|ini|conf|cfg|properties|txt|md|adoc|pdf|sh|py|js|ts|rb|c|h|jar|gz|zip)$"
)
_REMARK = re.compile(r"\s+\([a-z]+\)$")
_BLOCK = "p, div, pre, ul, ol, dl, table"


def shape(main: LexborNode) -> None:
    """What AsciiDoc's and Asciidoctor's markup have in common."""
    header = main.css_first("#header")
    if header is not None:
        del header.attrs["id"]  # the anchor of its title would be one that says nothing
    for foot in main.css("tfoot"):
        foot.attrs["data-as"] = "tbody"
    title = main.css_first("h1")
    if title is not None and (match := _PAGE_OF_MANUAL.match(line(title))):
        title.attrs["data-name"], title.attrs["data-kind"] = match["name"], "command"
    for group in groups(main.css("dt.hdlist1")):
        if not mark_options(group):
            for term in group:
                _term(term)
    for note in inner_first(main, "div.admonitionblock"):
        _admonition(note)
    for note in main.css("span.footnote, span.footnoteref"):
        for number, br in enumerate(note.css("br")):
            br.replace_with("" if number else " ")


def _term(term: LexborNode) -> None:
    """Say of a term that it is a setting, as `push.default`, or an environment variable, when it looks like one."""
    words = _REMARK.sub("", line(term))
    kind = ""
    if _SETTING.match(words) and not _FILE.match(words):
        kind = "setting"
    elif is_variable(words) and any("environment" in heading or "variable" in heading for heading in _headings(term)):
        kind = "envvar"
    if kind:
        term.attrs["data-kind"], term.attrs["data-name"] = kind, words


def _headings(node: LexborNode) -> Iterator[str]:
    """The headings of the sections that an element stands in."""
    parent = node.parent
    while parent is not None:
        if (parent.attributes.get("class") or "").startswith("sect"):
            heading = parent.css_first("h2, h3, h4, h5, h6")
            if heading is not None:
                yield heading.text().lower()
        parent = parent.parent


def _admonition(note: LexborNode) -> None:
    """The label and the content, instead of a table of them."""
    icon, content = note.css_first("td.icon"), note.css_first("td.content")
    if icon is None or content is None:
        return
    image = icon.css_first("img[alt], i[title]")
    label = line(icon) or (image.attributes.get("alt") or image.attributes.get("title") or "" if image is not None else "")
    title = content.css_first("div.title")
    own = f"<p>{escape(line(title))}</p>" if title is not None and title.parent and title.parent.tag == "td" else ""
    if title is not None and own:
        title.decompose()
    text = content.inner_html or ""
    text = text if content.css_first(_BLOCK) is not None else f"<p>{text.strip()}</p>"
    note.inner_html = f'<div class="title">{escape(label)}</div>{own}{text}'


PROFILE = Profile(
    name="asciidoc",
    marks="meta[name=generator i][content^='AsciiDoc ']",
    main=("body",),
    drop="#footer, #toc, #header > span, #header > br, body > #footnotes",
    shape=shape,
)
