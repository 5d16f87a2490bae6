"""gi-docgen, which makes the API references of GTK and its relatives."""

import re
from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.profile import Profile
from docworker.extract.shape import line

_KINDS = {
    "virtualmethod": "method", "functionmacro": "macro", "enumeration": "enum", "flags": "enum", "bitfield": "enum",
    "errordomain": "enum", "error": "enum", "record": "struct", "callback": "type", "alias": "type",
}  # fmt: skip
_C_NAME = re.compile(r"(\w+)\s*\(")


def _shape(main: LexborNode) -> None:
    if main.id:  # no anchor of its title
        del main.attrs["id"]
    for part in main.css("summary"):
        part.attrs["data-as"] = "div"
    for code in main.css("tt"):
        code.attrs["data-as"] = "code"
    for inherited in main.css(".ancestor-methods, .ancestor-properties, .ancestor-signals"):
        for members in inherited.css(".docblock")[:1]:
            members.decompose()
    for word in main.css(".sep"):
        word.inner_html = "."
    kind, title = main.css_first("header > h3"), main.css_first("header > h1")
    if kind is not None and title is not None:
        _reference(main, line(kind), title)
        kind.decompose()
    for table in main.css("table.enum-members"):
        _members(table)
    for member in main.css("dl.enum-members > dt"):
        member.attrs["data-kind"] = "enumerator"
    for table in main.css(".arg-description table, .returns table"):
        table.attrs["role"] = "presentation"


def _reference(main: LexborNode, kind: str, title: LexborNode) -> None:
    """A page about one thing: its headings are of level 4 and 6, those in its text of 2 and 3."""
    plain = kind.lower().replace(" ", "")
    if plain != "namespace":
        title.attrs["data-name"], title.attrs["data-kind"] = line(title), _KINDS.get(plain, plain)
    declaration = main.css_first(".c-decl")
    if declaration is not None and plain not in ("property", "signal"):
        match = _C_NAME.search(declaration.text())
        if match and match[1] != line(title):
            c_kind = "macro" if "macro" in plain else "type" if plain == "callback" else "function"
            declaration.inner_html = f'<span data-name="{match[1]}" data-kind="{c_kind}"></span>{declaration.inner_html}'
    for heading in main.css("h2, h3, h4, h5, h6"):
        level = int((heading.tag or "")[1:])
        if level == 5 or (level == 6 and heading.css_first("a") is not None):
            heading.attrs["data-as"] = "p"
        else:
            heading.attrs["data-as"] = {2: "h3", 3: "h4", 4: "h2", 6: "h3"}[level]


def _members(table: LexborNode) -> None:
    """A table of the members of an enumeration → a list of entries."""
    entries = []
    for row in table.css("tr"):
        cells = row.css("td")
        if len(cells) == 2:
            anchor = cells[0].css_first("[id]")
            own = "" if anchor is None else f' id="{escape(anchor.id or "")}"'
            entries.append(f'<dt{own} data-kind="enumerator">{escape(line(cells[0]))}</dt><dd>{cells[1].inner_html}</dd>')
    table.attrs["data-as"] = "dl"
    table.inner_html = "".join(entries)


PROFILE = Profile(
    name="gidocgen",
    marks="nav.sidebar a[href*='gi-docgen'], script[src$='fzy.js'] ~ script[src$='main.js']",
    main=("section#main",),
    drop=".srclink, a.anchor:empty, #toc, nav.sidebar",
    shape=_shape,
)
