"""Texinfo's makeinfo, of its versions 5 to 7: definitions, tables of options, examples in several pieces."""

import re
from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.profile import Profile
from docworker.extract.shape import after, line
from docworker.extract.terms import groups, mark_options

_KINDS = {
    "function": "function", "special form": "macro", "macro": "macro", "command": "command", "variable": "data",
    "constant": "data", "user option": "setting", "option": "setting", "data type": "type", "type": "type", "class": "class",
    "method": "method", "instance variable": "attribute", "class option": "setting", "structure": "struct", "struct": "struct",
    "target hook": "macro", "environment variable": "envvar", "procedure": "function", "operator": "operator",
}  # fmt: skip
_EXAMPLE = re.compile(r"^(?:small)?(?:example|display|format|lisp)(?:-preformatted)?$")
_LISP = frozenset({"lisp", "smalllisp"})
_HEADINGS = "h1, h2, h3, h4, h5, h6"


def _shape(main: LexborNode) -> None:
    for heading in main.css(_HEADINGS):
        before = heading.prev
        if before is not None and before.tag in ("span", "a") and before.id and not heading.id and not before.text(strip=True):
            heading.attrs["id"] = before.id  # of the heading; that of the element around both is of the page
    for dt in main.css("dl > dt"):
        _definition(dt)
    for group in groups(main.css("dl > dt:not([data-kind])")):
        if not mark_options(group) and all(term.css_first(".env") is not None for term in group):
            for term in group:
                term.attrs["data-kind"], term.attrs["data-name"] = "envvar", line(term)
    for key in main.css("tt.key, kbd.key"):
        key.attrs["data-as"] = "code"
    for title in main.css(".float-caption strong, .caption strong"):
        title.unwrap()
    for box in main.css("div.example, div.smallexample, div.lisp, div.smalllisp, div.display, div.smalldisplay, div.format"):
        _example(box)
    for mark in main.css("a[href*='#FOOT'] > sup"):
        mark.inner_html = f"[{escape(line(mark).strip('()'))}]"
    for mark in main.css("h5 > a[id^=FOOT], h5 > a[name^=FOOT]"):
        _footnote(mark)


def _definition(dt: LexborNode) -> None:
    """What the line of a definition says, behind the category that it begins with."""
    name = dt.css_first("strong.def-name, strong")
    category = dt.css_first("span.category, span.category-def")
    classes = " ".join(filter(None, (dt.attributes.get("class"), dt.parent.attributes.get("class") if dt.parent else "")))
    if name is None or (category is None and "def" not in classes and not re.match(r"^[A-Z][\w -]*: ", line(dt))):
        return
    said = line(category) if category is not None else line(dt)
    words = said.partition(":")[0].strip().lower()
    if category is not None and not words:
        category.decompose()
    kind = next((kind for word, kind in _KINDS.items() if words == word or words.endswith(f" {word}")), "")
    behind = dt.css_first("em ~ em, strong ~ em, .def-code-arguments, .def-var-arguments")
    dt.attrs["data-kind"] = kind or ("function" if behind is not None else "symbol")
    dt.attrs["data-name"] = line(name)


def _example(box: LexborNode) -> None:
    """One block of code, of the pieces that `@group` makes of it."""
    blocks = box.css("pre")
    named = [name.removeprefix("user-") for name in (box.attributes.get("class") or "").split() if not _EXAMPLE.match(name)]
    lisp = _LISP.intersection((box.attributes.get("class") or "").split())
    if not blocks:
        return
    if len(blocks) > 1 and len("".join(box.text().split())) == sum(len("".join(pre.text().split())) for pre in blocks):
        blocks[0].inner_html = "".join(escape(pre.text(), quote=False) for pre in blocks)
        for pre in blocks[1:]:
            pre.decompose()
    if named or lisp:
        blocks[0].attrs["data-lang"] = named[0] if named else "lisp"


def _footnote(mark: LexborNode) -> None:
    heading = mark.parent
    text = after(heading) if heading is not None else None
    if heading is not None and text is not None and text.tag == "p":
        text.inner_html = f"[{escape(line(mark).strip('()'))}] {text.inner_html}"
        heading.decompose()


PROFILE = Profile(
    name="texinfo",
    marks="meta[name=generator i][content^=makeinfo i], meta[name=generator i][content^=texi2any i]",
    main=("body",),
    drop=(
        "div.header, div.nav-panel, table.menu, .section-toc, .mini-toc, .contents, .Contents_element, .shortcontents, "
        ".copiable-anchor, .copiable-link, .contents-heading"
    ),
    shape=_shape,
)
