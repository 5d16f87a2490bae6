"""The documentation of SQLite, written by hand: titles stand in what its search leaves out, anchors before what they name."""

import re
from html import escape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from docworker.extract.profile import Profile
from docworker.extract.shape import line

_BREAK = "\f"
# What a page of the C reference declares in its first block of code.
_DECLARED = (
    ("function", re.compile(r"^[A-Za-z_][\w *]*?[ *](\w+)\(", re.MULTILINE)),
    ("struct", re.compile(r"^(?:typedef )?struct (\w+)", re.MULTILINE)),
    ("constant", re.compile(r"^#define (\w+)", re.MULTILINE)),
)


def _shape(main: LexborNode) -> None:
    for title in main.css(".fancy_title"):
        title.attrs["data-as"] = "h1"
    subject, code = main.css_first(".nosearch > h2"), main.css_first("pre")
    if subject is not None and code is not None:
        for kind, pattern in _DECLARED:
            if kind == "constant" and main.css_first("dt") is not None:
                break  # each is explained, and has an anchor there
            if declared := pattern.findall(code.text()):
                subject.attrs["data-name"], subject.attrs["data-kind"] = "\n".join(dict.fromkeys(declared)), kind
                break
    for heading in main.css("h[_id]"):
        kind, _, name = line(heading).rpartition(" ")
        heading.attrs["data-as"], heading.attrs["data-name"], heading.attrs["data-kind"] = "h2", name, kind.lower() or "symbol"
    for anchor in main.css("a[name]"):
        term = _following(anchor)
        if term is not None and term.tag == "dt" and not term.id:
            term.attrs["id"] = anchor.attributes.get("name") or ""
            term.attrs["data-kind"] = "function" if "(" in term.text() else "symbol"
            _part(term)


def _part(term: LexborNode) -> None:
    """`count(X)<br>count(*)` → a term each."""
    for end in term.css("br"):
        end.replace_with(_BREAK)
    signatures = term.text().split(_BREAK)
    if len(signatures) > 1:
        term.inner_html = escape(signatures[0])
        kind = term.attributes["data-kind"]
        for signature in reversed(signatures[1:]):
            other = LexborHTMLParser(f'<dl><dt data-kind="{kind}">{escape(signature)}</dt></dl>').css_first("dt")
            if other is not None:
                term.insert_after(other)


def _following(anchor: LexborNode) -> LexborNode | None:
    """The element after an anchor, which may end a paragraph."""
    node: LexborNode | None = anchor
    while node is not None:
        if node.next is None and node.parent is not None and node.parent.tag in ("p", "b", "dd"):
            node = node.parent
            continue
        node = node.next
        if node is not None and (node.is_element_node or (node.text() or "").strip()):
            return node
    return None


PROFILE = Profile(
    name="sqlite",
    marks=".nosearch .mainmenu, h[_id]",
    main=("body",),
    drop=(
        ".menu, .tagline, .searchmenu, .fancy_toc, .logo, .nosearch > a, a[href$='intro.html']:has(> h2), :has(> #mtimelink), "
        ".imgcontainer[style*='display:none']"  # diagrams inside of diagrams
    ),
    shape=_shape,
)
