"""Steps that all profiles share: what the main content's markup means, said in the few words that `markdown` reads.

repair            before parsing: `<a id="x"/>` closes itself, as its author meant
drop_invisible    characters that nobody sees
flatten           what is nested too deep loses its wrappers
drop_permalinks   links of headings and terms to themselves
resolve_links     links lead where they lead from anywhere
label_tabs        each side of a tab set stands under its label
label_notes       admonitions begin with their label
label_footnotes   `[1]` where a footnote is named, and before its text
flatten_code      code blocks are their characters and their language
"""

import re
from collections.abc import Container, Iterable
from html import escape
from urllib.parse import quote, urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

from docworker.visible import is_suspect, visible

_SELF_CLOSED = re.compile(r"<(a|span|div|p|i|b|em|strong|td|th|li|dt|dd|section|h[1-6])(\s[^<>]*?)?/>", re.IGNORECASE)
_SELF_CLOSED_LINK = re.compile(r"<(a)(\s[^<>]*?)?/>", re.IGNORECASE)
# Deeper than this, elements are wrappers of wrappers, or were never closed; markdownify walks by recursion.
_MAX_DEPTH = 100
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6", "dt", "summary", "caption", "figcaption", "legend")
_PERMALINK = frozenset(
    [
        "headerlink",
        "header-anchor",
        "headeranchor",
        "hash-link",
        "permalink",
        "anchorjs-link",
        "copiable-anchor",
        "heading-anchor",
        "direct-link",
        "heading-link",
        "anchor-link",
        "self-link",
        "anchor",
        "mark",
    ]
)
# What a link says that does something to the page.
_CONTROLS = frozenset(
    (
        "edit this page", "edit this page on github", "edit on github", "edit on gitlab", "edit page", "view source",
        "show source", "view page source", "report a bug", "report an issue", "suggest edits", "back to top",
        "skip to content", "skip to main content", "copy page", "share", "top of page", "go to top",
    )
)  # fmt: skip
_NO_PARAGRAPH = frozenset({"pre", "ul", "ol", "dl", "table"})
_KEPT_WHOLE = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "pre"})
_INLINE = frozenset({"a", "b", "i", "em", "strong", "span", "code", "font", "u", "s", "sub", "sup", "small", "big", "kbd", "tt"})
_SAYS_NOTHING = "span:not([id]):not([data-name]):not([data-as]):not([class*=badge i])"
_CONTENTS = frozenset({"contents", "table of contents", "on this page", "in this article", "page contents", "toc"})
_MAX_CONTENTS_TITLE = 30
_LINE_NUMBERS = (
    ".linenos, .lineno, .line-number, .linenumber, .line-numbers-rows, .gutter, .line-numbers-wrapper, .lnum, .ln, "
    ".boring, .copybtn, .copy-code-button, .clipboard, [data-line-number]:empty"
)
_NUMBER_COLUMN = "td.linenos, td.gutter, td.line-numbers, td.linenumbers, .line-numbers-wrapper, .linenodiv"
# The set, its labels, its panels; labels and panels stand in the same order.
_TAB_SETS = (
    (".tabbed-set", "label", ".tabbed-block", ".tabbed-content"),
    (".sd-tab-set", ".sd-tab-label", ".sd-tab-content", ""),
    (".tab-set", ".tab-label", ".tab-content", ""),
    (".vp-code-group", ".tabs label", ".blocks > div", ""),
)
_NOTES = (
    "aside[class*=admonition], "
    ".admonition, .custom-block, .theme-admonition, .markdown-alert, .callout, .alert, .admonitionblock, [role=note], "
    "div.note, div.tip, div.important, div.warning, div.caution, div.hint, div.danger, aside.note, aside.tip, "
    "aside.warning, aside.caution, blockquote[class*=note], blockquote[class*=warning], blockquote[class*=tip]"
)
_NOTE_TITLES = (
    ".admonition-title, .custom-block-title, [class*=admonitionHeading], [class*=admonition-heading], .markdown-alert-title, "
    ".callout-title, .alert-heading, .alert-title, .blockquote-tag-title, .note-title, td.icon .title, td.icon, "
    "h3.title, h4.title, p.title, .title, summary"
)
_FOOTNOTE_MARKS = "a.footnote-ref, .footnote-ref > a, a[data-footnote-ref], .footnote-reference > a, sup > a[href^='#fn']"
_FOOTNOTE_LISTS = (
    ":is(.footnotes, .footnote, [data-footnotes], .footnotes-list) > ol > li, ol:is(.footnotes-list, .footnote-list) > li"
)
_FOOTNOTE_BACK = ".footnote-backref, .data-footnote-backref, [data-footnote-backref]"
_KINDS = {
    kind.lower().replace(" ", ""): kind
    for kind in [
        "Note",
        "Tip",
        "Hint",
        "Info",
        "Important",
        "Warning",
        "Caution",
        "Danger",
        "Error",
        "Attention",
        "Deprecated",
        "Todo",
        "Success",
        "Example",
        "Question",
        "Bug",
        "Quote",
    ]
} | {"seealso": "See also", "see-also": "See also"}
_MAX_TARGET_CHARS = 2_000
_GLYPHS = frozenset("¶#§🔗◆⚓↩↑^\uf0c1*\N{VARIATION SELECTOR-16}")
_PERMALINK_WORDS = re.compile(r"(permalink|permanent link|link to|direct link|copy link|anchor|link)\b", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


def inner_first(root: LexborNode, selector: str) -> list[LexborNode]:
    """What a selector finds, each once, what stands inside of another one before it: changing an element frees what it held."""
    return list({node.mem_id: node for node in root.css(selector)}.values())[::-1]


def around(node: LexborNode, *tags: str) -> LexborNode | None:
    """The nearest element around a node that has one of these names."""
    outer = node.parent
    while outer is not None and outer.tag not in tags:
        outer = outer.parent
    return outer


def after(node: LexborNode, *tags: str) -> LexborNode | None:
    """The next sibling that is an element, of these names if any are given."""
    found = node.next
    while found is not None and not _is_one(found, tags):
        found = found.next
    return found


def before(node: LexborNode, *tags: str) -> LexborNode | None:
    """The sibling before a node that is an element, of these names if any are given."""
    found = node.prev
    while found is not None and not _is_one(found, tags):
        found = found.prev
    return found


def _is_one(node: LexborNode, tags: tuple[str, ...]) -> bool:
    return node.is_element_node and (not tags or node.tag in tags)


def drop(root: LexborNode, selector: str) -> None:
    """Remove all that a selector finds."""
    for node in inner_first(root, selector):
        node.decompose()


def repair(html: str, *, xml: bool) -> str:
    """Give elements that close themselves an end: parsers of HTML take them for opened, and nest what follows in them.

    `xml`: the page is XHTML, and any element may do so; else only `a`, which authors never mean to leave open.
    """
    return (_SELF_CLOSED if xml else _SELF_CLOSED_LINK).sub(r"<\1\2></\1>", html)


def drop_invisible(tree: LexborHTMLParser) -> None:
    """Remove from the page's text the characters that nobody sees; of one that parts a word, the parts are together again."""
    root = tree.root
    if root is None or not is_suspect(root.text()):
        return
    for node in [node for node in root.traverse(include_text=True) if node.is_text_node]:
        text = node.text() or ""
        if (seen := visible(text)) != text:
            node.replace_with(seen)


def flatten(main: LexborNode) -> None:
    """Take away what stands more than 100 elements deep and holds other elements; its text stays."""
    deep: list[LexborNode] = []
    waiting = [(child, 1) for child in main.iter()]
    while waiting:
        node, depth = waiting.pop()
        if depth == _MAX_DEPTH:
            deep.append(node)
        else:
            waiting += [(child, depth + 1) for child in node.iter()]
    for node in deep:
        node.inner_html = _flat(node)


def _flat(outer: LexborNode) -> str:
    """What an element holds, without nesting: its texts in paragraphs, its headings and its code."""
    parts: list[str] = []
    waiting: list[LexborNode | str] = [outer]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            parts.append(node)
        elif node.is_text_node:
            parts.append(escape(node.text() or "", quote=False))
        elif node.tag in _KEPT_WHOLE:
            anchor = f' id="{escape(node.id)}"' if node.id else ""
            parts.append(f"<{node.tag}{anchor}>{escape(node.text(), quote=False)}</{node.tag}>")
        elif node.is_element_node:
            inline = node.tag in _INLINE
            waiting += ["" if inline else "<p>", *reversed(list(node.iter(include_text=True))), "" if inline else "<p>"]
    return "".join(parts)


def drop_permalinks(main: LexborNode) -> None:
    """Remove links of headings and terms to themselves, known by what they are: they lead to the page's own fragment and have
    no word, or a class of theirs beside other words. A link around the words of a heading is not one. Links by which pages are
    moved about, edited and shared go too."""
    in_heading = {link.mem_id for link in main.css(f":is({', '.join(_HEADINGS)}) a[href^='#']")}
    for link in inner_first(main, "a[href]"):
        words = line(link)
        if words.lower() in _CONTROLS or (
            link.attributes.get("href") == "#" and "toggle" in (link.attributes.get("class") or "")
        ):
            link.decompose()
            continue
        if not (link.attributes.get("href") or "").startswith("#"):
            continue
        heading = around(link, *_HEADINGS) if link.mem_id in in_heading else None
        marked = bool(_PERMALINK.intersection((link.attributes.get("class") or "").split()))
        spoken = any(character.isalnum() for character in words) or link.css_first("img[alt]") is not None
        wordless = not spoken and (heading is not None or marked or _GLYPHS.issuperset(words.replace(" ", "")))
        if wordless or (heading is not None and marked and _PERMALINK_WORDS.match(words) and _letters(heading) > _letters(link)):
            if heading is not None and link.id and not heading.id:
                heading.attrs["id"] = link.id
            if wordless and heading is None and link.id:
                link.attrs["data-as"], link.inner_html = "span", ""  # it marks a place
            else:
                link.decompose()


def _letters(node: LexborNode) -> int:
    return sum(character.isalnum() for character in node.text())


def as_browsers_read(main: LexborNode) -> None:
    """Leave nothing in the tree that html.parser, which reads it next, would read in another way than lexbor did: comments,
    and elements whose content is characters."""
    for node in inner_first(main, "xmp, plaintext"):
        node.replace_with(LexborHTMLParser(f"<pre>{escape(node.text(), quote=False)}</pre>").css("pre")[0])
    for node in [node for node in main.traverse() if node.is_comment_node]:
        node.decompose()


def distrust(main: LexborNode) -> None:
    """Remove what a page may say in our own words."""
    for node in main.css("[data-as], [data-name], [data-kind], [data-number]"):
        for name in ("data-as", "data-name", "data-kind", "data-number"):
            if name in node.attributes:
                del node.attrs[name]


def resolve_links(main: LexborNode, base: str, url: str) -> None:
    """Make links absolute, against `base`; those to the page itself, `url`, become fragments, those to no page words."""
    for link in main.css("a[href]"):
        href = (link.attributes.get("href") or "").strip()
        if href.startswith("#"):
            continue
        target = ""
        if href and not href.startswith(("javascript:", "data:")):
            try:
                target = urljoin(base, href)
            except ValueError:
                target = ""
        page, _, fragment = target.partition("#")
        if not target or len(target) > _MAX_TARGET_CHARS:
            del link.attrs["href"]
        elif page == url:
            link.attrs["href"] = f"#{fragment}"
        else:
            link.attrs["href"] = quote(target, safe="!#$%&'*+,/:;=?@[]~-._")


def drop_contents(main: LexborNode) -> None:
    """Remove lists of the page's own sections, with the title that they stand under."""
    for node in inner_first(main, "h1, h2, h3, h4, h5, h6, p, div, b, strong"):
        if (
            node.first_child is None
            or len(words := line(node)) > _MAX_CONTENTS_TITLE
            or words.lower().strip(": ") not in _CONTENTS
        ):
            continue
        following = after(node)
        if following is not None and following.tag in ("ul", "ol"):
            links = following.css("a[href]")
            if links and all((link.attributes.get("href") or "").startswith("#") for link in links):
                following.decompose()
                node.decompose()


def unwrap_spans(main: LexborNode) -> None:
    """Take away elements that say nothing: they are most of a page of signatures, and each costs time later on."""
    for span in inner_first(main, _SAYS_NOTHING):
        span.unwrap()


def label_tabs(main: LexborNode) -> None:
    """Write each tab's label before its content, and take the row of labels away."""
    for sets, labels, panels, older_panels in _TAB_SETS:
        for tabs in inner_first(main, sets):
            names = _own(tabs, sets, labels)
            sides = _own(tabs, sets, panels) or (_own(tabs, sets, older_panels) if older_panels else [])
            if not names or len(names) != len(sides):
                continue
            for name, side in zip(names, sides, strict=True):
                _put_first(side, f"<p><strong>{escape(line(name))}</strong></p>")
                side.attrs["data-as"] = "div"
                side.attrs["role"] = "group"
            for label in names:
                label.decompose()
    by_id = {node.id: line(node) for node in main.css("[role=tab][id]")}
    for row in inner_first(main, "[role=tablist]"):
        inner = [line(tab) for tab in row.css("[role=tab]")]
        sides = [] if row.parent is None else _own(row.parent, ":has(> [role=tablist])", "[role=tabpanel]")
        for number, side in enumerate(sides):
            text = by_id.get(side.attributes.get("aria-labelledby") or "")
            text = text or (inner[number] if len(inner) == len(sides) else "")
            if text:
                _put_first(side, f"<p><strong>{escape(text)}</strong></p>")
    drop(main, "[role=tablist]")


def _own(tabs: LexborNode, sets: str, selector: str) -> list[LexborNode]:
    """What `selector` finds in a tab set, without what stands in a set inside it."""
    inner = {node.mem_id for nested in tabs.css(sets) if nested.mem_id != tabs.mem_id for node in nested.css(selector)}
    return [node for node in tabs.css(selector) if node.mem_id not in inner]


def label_notes(main: LexborNode) -> None:
    """Begin each admonition with its label in bold: the title that it shows, else the kind that its class names."""
    known = {note.mem_id for note in main.css(_NOTES)}
    for note in inner_first(main, f"{_NOTES}, details[class]"):
        if note.mem_id not in known and not any(part in _KINDS for part in _class_words(note)):
            continue  # <details> of another kind
        title = _title_of(note, known)
        label = line(title) if title is not None else ""
        if not label and title is not None and (image := title.css_first("img[alt]")) is not None:
            label = (image.attributes.get("alt") or "").strip()
        if not label or label.lower() in _KINDS:
            label = _KINDS.get(label.lower()) or next(filter(None, (_KINDS.get(part) for part in _class_words(note))), "")
        if title is not None and (label or not title.text(strip=True)):
            title.decompose()
        if label:
            label_block(note, label)


def _title_of(note: LexborNode, notes: Container[int]) -> LexborNode | None:
    """The title that a note begins with, and no item or note inside it; `notes` are their `mem_id`s."""
    title = note.css_first(_NOTE_TITLES)
    node = None if title is None else title.parent
    while node is not None and node.mem_id != note.mem_id:
        if node.tag in ("li", "dd") or node.mem_id in notes:
            return None
        node = node.parent
    return title if title is None or line(note).startswith(line(title)) else None


def _class_words(node: LexborNode) -> Iterable[str]:
    for name in (node.attributes.get("class") or "").lower().split():
        yield name
        yield from name.split("-")


def label_footnotes(main: LexborNode) -> None:
    """Write a footnote's number in brackets where it is named and before its text, which stays where it stands."""
    for mark in inner_first(main, _FOOTNOTE_MARKS):
        number = line(mark).strip("[]() ")
        mark.inner_html = f"[{escape(number)}]"
    number_in_list: dict[int, int] = {}
    for note in {node.mem_id: node for node in main.css(_FOOTNOTE_LISTS)}.values():
        drop(note, _FOOTNOTE_BACK)
        of = note.parent.mem_id if note.parent is not None else 0
        number_in_list[of] = number_in_list.get(of, 0) + 1
        first = note.css_first("p") or note
        first.inner_html = f"[{number_in_list[of]}] {(first.inner_html or '').strip()}"
        note.attrs["data-as"] = "div"


def label_block(block: LexborNode, label: str) -> None:
    """Begin a block with a label in bold, on the line of its first paragraph if it begins with one."""
    if label.endswith(("?", "!", ".")):
        _put_first(block, f"<p><strong>{escape(label)}</strong></p>")
        return
    bold = f"<strong>{escape(label.rstrip(': '))}:</strong>"
    first = _first(block)
    while first is not None and first.tag in ("div", "td", "tr", "tbody", "table", "section") and first.css_first("p, div, td"):
        first = _first(first)
    if first is not None and first.tag == "p":
        said = rf"\s*(?:<\w+>\s*)*{re.escape(escape(label.rstrip(': ')))}\s*:\s*(?:</\w+>\s*)*:?"
        first.inner_html = f"{bold} {re.sub(rf'^{said}', '', first.inner_html or '', count=1, flags=re.IGNORECASE)}"
    elif first is not None and (first.tag in _NO_PARAGRAPH or first.css_first("pre, ul, ol, dl, table, p")):
        _put_first(block, f"<p>{bold}</p>")
    else:
        block.inner_html = f"{bold} {block.inner_html or ''}"


def _first(block: LexborNode) -> LexborNode | None:
    """The element that a block begins with; None when it begins with text."""
    for child in block.iter(include_text=True):
        if child.is_element_node:
            return child
        if child.is_text_node and (child.text() or "").strip():
            return None
    return None


def _put_first(block: LexborNode, html: str) -> None:
    block.inner_html = html + (block.inner_html or "")


def flatten_code(main: LexborNode) -> None:
    """Leave of a code block its characters and its language: the marks of highlighters are most of a page's elements."""
    for table in _tables_of_code(main):
        numbers = table.css(_NUMBER_COLUMN)
        blocks = [pre for pre in table.css("pre") if not any(_within(pre, column) for column in numbers)]
        if not numbers and len(blocks) == 2 and "".join(blocks[0].text().split()).isdigit():
            numbers = [blocks.pop(0)]
        if numbers and len(blocks) == 1:
            table.replace_with(blocks[0])
    drop(main, _NUMBER_COLUMN)
    inside = {inner.mem_id for inner in main.css(":is(pre, [data-as=pre]) :is(pre, [data-as=pre])")}
    for block in [block for block in main.css("pre, [data-as=pre]") if block.mem_id not in inside]:
        drop(block, _LINE_NUMBERS)
        for br in block.css("br"):
            br.replace_with("\n")
        for row in block.css("div"):  # a line of code each
            if row.next is not None and not row.text().endswith("\n"):
                row.insert_after("\n")
        inner = block.css_first("code")
        if inner is not None:
            for name in ("class", "data-lang"):
                if value := inner.attributes.get(name):
                    block.attrs[name] = f"{block.attributes.get(name) or ''} {value}".strip()
        block.inner_html = escape(block.text(), quote=False)


def _tables_of_code(main: LexborNode) -> list[LexborNode]:
    """The innermost table around each block of code."""
    found: dict[int, LexborNode] = {}
    for pre in main.css("table pre"):
        if (table := around(pre, "table")) is not None:
            found[table.mem_id] = table
    return list(found.values())


def _within(node: LexborNode, outer: LexborNode) -> bool:
    parent: LexborNode | None = node
    while parent is not None and parent.mem_id != outer.mem_id:
        parent = parent.parent
    return parent is not None


def line(node: LexborNode) -> str:
    """The words of an element, in one line."""
    return _SPACE.sub(" ", node.text()).strip()
