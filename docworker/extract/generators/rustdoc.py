"""rustdoc, with the markup of 2022 (1.63) and since."""

import re
from html import escape

from selectolax.lexbor import LexborNode

from docworker.extract.names import one_line
from docworker.extract.profile import Profile
from docworker.extract.shape import inner_first, line

_PAGE_KINDS = {
    "Attribute Macro": "macro",
    "Constant": "constant",
    "Crate": "module",
    "Derive Macro": "macro",
    "Enum": "enum",
    "Foreign Type": "type",
    "Function": "function",
    "Keyword": "keyword",
    "Macro": "macro",
    "Module": "module",
    "Primitive Type": "type",
    "Static": "static",
    "Struct": "struct",
    "Trait": "trait",
    "Trait Alias": "trait",
    "Type Alias": "type",
    "Type Definition": "type",
    "Union": "union",
}
_KINDS = {
    "method": "method",
    "tymethod": "method",
    "variant": "variant",
    "structfield": "field",
    "associatedtype": "type",
    "associatedconstant": "constant",
}
_ENTRIES = ", ".join(f"[id^='{start}.']:not(.sub-variant)" for start in _KINDS)
# What is said of an entry stands behind its head, or behind the summary that its head is in.
_ABOUT = frozenset({"item-info", "docblock", "sub-variant"})
_DEPRECATED = re.compile(r"\A\s*(?:<span>)?\s*(Deprecat[^:<]*)(?::\s*)?(<p>)?")
_COPY_NUMBER = re.compile(r"-\d+$")


def _shape(main: LexborNode) -> None:
    main.attrs["id"] = ""  # "main-content" is no place to link to
    own = _title(main)
    for where in main.css(".code-header .where"):
        where.insert_before(" ")
    for heading in main.css("h2.section-header, h2.small-section-header"):
        heading.attrs["data-name"] = ""  # "Variants (Non-exhaustive)" is no call
    for pre in main.css("pre.rust"):
        pre.attrs["data-lang"] = "rust"
    for where in main.css(".item-decl .where"):
        _block(where)
    for note in main.css(".stab.deprecated:not(.item-table *)"):
        note.inner_html = _DEPRECATED.sub(r"<p><strong>\1:</strong> ", note.inner_html or "", count=1)
    for note in main.css("span.item-info"):
        note.attrs["data-as"] = "div"
    _tables(main)
    _impls(main)
    for entry in inner_first(main, _ENTRIES):
        _entry(entry, own)


def _title(main: LexborNode) -> str:
    """Write the qualified name into the page's heading, and since when there is what it names; its own name."""
    heading = main.css_first("h1")
    if heading is None or heading.parent is None:
        return ""
    path = main.css_first(".rustdoc-breadcrumbs")
    around = heading.parent if "main-heading" in (heading.parent.attributes.get("class") or "") else heading
    since = _since(around)
    for rest in heading.css(".out-of-band"):
        rest.decompose()
    kind, _, name = line(heading).rpartition(" ")
    if path is not None:
        name = "::".join(filter(None, (*line(path).split("::"), name)))
    symbol = f'data-name="{escape(name)}" data-kind="{_PAGE_KINDS[kind]}"' if kind in _PAGE_KINDS else ""
    around.attrs["data-as"] = "div"
    around.inner_html = f"<h1 {symbol}>{escape(f'{kind} {name}')}</h1>{since}"
    return name.rpartition("::")[2]


def _block(where: LexborNode) -> None:
    """A `where` that the page shows on lines of its own has them."""
    for br in where.css("br"):
        br.replace_with("\n")
    text = (where.text() or "").replace("\N{NO-BREAK SPACE}", " ").rstrip()
    where.inner_html = escape(text)
    if where.tag == "div" or "fmt-newline" in (where.attributes.get("class") or ""):
        before, after = where.prev, where.next
        if before is not None and before.is_text_node:
            before.replace_with((before.text() or "").rstrip() or " ")
        where.insert_before("\n")
        if where.tag != "div" and not (after is not None and after.is_text_node and (after.text() or "").startswith("\n")):
            where.insert_after("\n")


def _tables(main: LexborNode) -> None:
    """Each item of a module is a line with its linked name and badges, and its description below."""
    for sign in main.css(".item-table [title]:has(> sup), .item-table sup[title]"):
        sign.replace_with(f" {sign.attributes.get('title')}")
    for badge in main.css(".item-table .stab"):
        badge.insert_before(" ")
        badge.insert_after(" ")
    for part in main.css(".item-table, .item-table > li, .item-table > dd"):
        part.attrs["data-as"] = "div"
    for name in main.css(".item-left, .item-name, .item-table > dt"):
        name.attrs["data-as"] = "p"
        name.inner_html = f"<strong>{name.inner_html}</strong>"


def _impls(main: LexborNode) -> None:
    """What is implemented is a heading above its items; the many implementations that show none are a list."""
    runs: list[list[LexborNode]] = []
    last = 0
    for impl in main.css("section.impl"):
        head = impl.css_first(".code-header")
        if head is None:
            continue
        if impl.parent is not None and impl.parent.tag == "summary":
            impl.inner_html = "".join([head.html or "", *_said(impl)])
            continue
        words = _since(impl, " (since {})") + "".join(f" {escape(line(said))}" for said in impl.css(".item-info"))
        impl.inner_html = f"<li><code>{escape(one_line(head.text()))}</code>{words}</li>"
        before = impl.prev
        while before is not None and before.is_text_node and not (before.text() or "").strip():
            before = before.prev
        if before is None or before.mem_id != last:
            runs.append([])
        runs[-1].append(impl)
        last = impl.mem_id
    for first, *others in runs:
        first.inner_html = "".join(impl.inner_html or "" for impl in [first, *others])
        first.attrs["data-as"] = "ul"
        for impl in others:
            impl.decompose()


def _entry(entry: LexborNode, own: str) -> None:
    """Make an entry of the head of a method, field, variant …, and of what is said about it."""
    anchor, head = entry.id or "", entry.css_first(".code-header, code") or entry
    start, _, member = _COPY_NUMBER.sub("", anchor).partition(".")
    kind = "field" if ".field." in member else _KINDS[start]
    name = "::".join([own, *member.replace(".field.", ".").split(".")])
    signature, about = line(head), _said(entry)
    around, summary = entry, entry.parent
    if summary is not None and summary.tag == "summary" and summary.parent is not None:
        around, about = summary.parent, about + _take(entry)
        about += _take(summary)
    else:
        about += _take(entry)
    about.sort(key=lambda html: "sub-variant" in html.partition(">")[0])  # the fields of a variant come last
    around.attrs["data-as"] = "dl"
    if around.mem_id == entry.mem_id:
        del around.attrs["id"]
    around.inner_html = (  # a real dt would close the entry around this one
        f'<div data-as="dt" id="{escape(anchor)}" data-kind="{kind}" data-name="{escape(name)}">{escape(signature)}</div>'
        f'<div data-as="dd">{"".join(about)}</div>'
    )


def _since(node: LexborNode, form: str = "<p>Since: {}</p>") -> str:
    """Since which version there is what a head names, as HTML; empty when the page does not say."""
    since = node.css_first(".since")
    return "" if since is None else form.format(since.inner_html)


def _said(head: LexborNode) -> list[str]:
    """What is said of an entry in its head itself, as HTML."""
    return [_since(head), *(said.html or "" for said in head.css(".item-info"))]


def _take(node: LexborNode) -> list[str]:
    """Take away what is said about an entry and stands right behind its head."""
    taken: list[str] = []
    following = node.next
    while following is not None:
        after = following.next
        if following.is_element_node:
            if not _ABOUT.intersection((following.attributes.get("class") or "").split()):
                break
            taken.append(following.html or "")
            following.decompose()
        following = after
    return taken


PROFILE = Profile(
    name="rustdoc",
    marks="meta[name=generator][content=rustdoc]",
    main=("#main-content", "main"),
    drop=(
        "#blanket-implementations, #blanket-implementations-list, .top-doc > summary, .type-contents-toggle > summary, a.src, "
        "a.srclink, #toggle-all-docs, .test-arrow, .example-wrap > .tooltip, a.tooltip, .information, .notable-traits, .emoji, "
        ".sub-variant > h4, .example-line-numbers, .src-line-numbers, pre a[data-nosnippet]"
    ),
    shape=_shape,
)
