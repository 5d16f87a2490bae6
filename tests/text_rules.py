"""What a reader sees on a page of the real documentation, by simple rules that share no code with docworker.

A page is read with html.parser into a tree, as a browser would where it matters; `RULES` say for each corpus which elements
are the main content, what in it is not, what may be kept or not, where words end without white space (boxes that a style
sheet draws), what is code, and which API entries there are.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser
from typing import NamedTuple

WORD = re.compile(r"\w+")
_VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"])
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "button",
        "caption",
        "center",
        "col",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "html",
        "iframe",
        "img",
        "legend",
        "li",
        "main",
        "map",
        "menu",
        "nav",
        "ol",
        "optgroup",
        "option",
        "p",
        "pre",
        "section",
        "select",
        "summary",
        "table",
        "tbody",
        "td",
        "textarea",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_NO_P_INSIDE = _BLOCKS - {"br", "button", "img", "map", "select", "textarea", "iframe", "option", "td", "th", "tr"}
# A start tag ends open elements of these names, up to one of those names.
_ENDS = {
    "li": ({"li"}, {"ul", "ol", "menu", "table"}),
    "dt": ({"dt", "dd"}, {"dl", "table"}),
    "dd": ({"dt", "dd"}, {"dl", "table"}),
    "td": ({"td", "th"}, {"table"}),
    "th": ({"td", "th"}, {"table"}),
    "tr": ({"tr"}, {"table"}),
    "tbody": ({"tbody", "thead", "tfoot"}, {"table"}),
    "a": ({"a"}, _BLOCKS),
    "option": ({"option"}, {"select"}),
}
_CELLS = frozenset({"td", "th", "caption", "table"})
_TABLE_PARTS = frozenset({"table", "tbody", "thead", "tfoot", "tr", "td", "th", "caption"})
_NOT_SEEN = "script, style, noscript, template, svg, button, input, select, textarea, iframe, object, [hidden]"
_ADMONITIONS = frozenset(["attention", "caution", "danger", "error", "hint", "important", "note", "tip", "warning"])
_UNSEEN_STYLE = re.compile(r"display\s*:\s*none")
_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)|<\?xml[^>]+encoding=[\"']([\w-]+)")


class Node:
    """An element."""

    __slots__ = ("attributes", "children", "classes", "parent", "tag")

    def __init__(self, tag: str, attributes: dict[str, str], parent: "Node | None") -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.classes = frozenset(attributes.get("class", "").split())
        self.children: list[Node | str] = []

    def nodes(self) -> "Iterator[Node]":
        """All elements inside, in page order, and before them this one."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(child for child in reversed(node.children) if isinstance(child, Node))

    def above(self) -> "Iterator[Node]":
        """The elements it stands in, from the inside."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def find(self, selector: str) -> "Iterator[Node]":
        """The elements inside that match."""
        return (node for node in self.nodes() if node is not self and node.matches(selector))

    def matches(self, selector: str) -> bool:
        """Whether it matches one of `tag.class#id[name=value], …`; spaces (descendants) are not understood."""
        return any(
            (not tag or self.tag == tag)
            and classes <= self.classes
            and all(name in self.attributes and value in (None, self.attributes[name]) for name, value in attributes)
            for tag, classes, attributes in _selectors(selector)
        )

    def text(self) -> str:
        """All characters inside."""
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)

    @property
    def anchor(self) -> str | None:
        """What a fragment can name it by."""
        return self.attributes.get("id") or (self.attributes.get("name") if self.tag == "a" else None) or None


@lru_cache
def _selectors(text: str) -> tuple[tuple[str, frozenset[str], tuple[tuple[str, str | None], ...]], ...]:
    found = []
    for one in text.split(",") if text else ():
        attributes: list[tuple[str, str | None]] = [
            (name, value if equal else None) for name, equal, value in re.findall(r"\[([\w-]+)(=?)([^\]]*)\]", one)
        ]
        plain = re.sub(r"\[[^\]]*\]", "", one).strip()
        attributes += [("id", name) for name in re.findall(r"#([\w-]+)", plain)]
        found.append((re.split(r"[.#]", plain)[0], frozenset(re.findall(r"\.([\w-]+)", plain)), tuple(attributes)))
    return tuple(found)


class _Reader(HTMLParser):
    """Builds the tree; what authors leave open is closed where browsers close it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = self._at = Node("html", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in reversed(attrs)}
        if tag == "html" or (tag == "body" and any(node.tag == "body" for node in (self._at, *self._at.above()))):
            return  # wherever they stand, there is one of each
        if tag in _ENDS:
            self._end(*_ENDS[tag])
        if tag in _NO_P_INSIDE:
            self._end({"p"}, {"td", "th", "table", "button"})
        node = Node(tag, attributes, self._at)
        self._at.children.append(node)
        if tag not in _VOID:
            self._at = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<a id="x"/>` is meant to be empty, also where browsers take it for open: it has no text of its own to lose."""
        self.handle_starttag(tag, attrs)
        if tag in ("a", "span"):
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "br":
            self.handle_starttag(tag, [])
        elif tag not in ("html", "body"):
            self._end({tag}, set() if tag in _TABLE_PARTS else _CELLS if tag in _BLOCKS else _BLOCKS - {"br", "img"})

    def handle_data(self, data: str) -> None:
        if not self._at.children and self._at.tag in ("pre", "textarea"):
            data = data.removeprefix("\n")
        if data:
            self._at.children.append(data)

    def _end(self, names: Iterable[str], limits: Iterable[str]) -> None:
        """Close the innermost open element of these names, if it is open inside of the innermost of the limits."""
        for node in (self._at, *self._at.above()):
            if node.parent is not None and node.tag in names:
                self._at = node.parent
                return
            if node.tag in limits or node.tag == "body":
                return


class Api(NamedTuple):
    """An API entry: the words it is called by on the page, and the anchors that are right for it (None: no anchor)."""

    term: str
    anchors: frozenset[str | None]


@dataclass
class Seen:
    """What a reader sees of a page. `either` are words that may come out, or not."""

    words: Counter[str] = field(default_factory=Counter)
    either: Counter[str] = field(default_factory=Counter)
    text: str = ""
    either_text: str = ""
    codes: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    apis: list[Api] = field(default_factory=list)


def plain(text: str) -> str:
    """Text without the characters that are emphasis and code in Markdown, which may stand in the middle of a word."""
    return re.sub(r"[*`]", "", text)


def words(text: str) -> Counter[str]:
    return Counter(WORD.findall(plain(text)))


def see(body: bytes, rules: "Rules") -> Seen:
    """Read a page."""
    declared = _META_CHARSET.search(body[:2048])
    reader = _Reader()
    reader.feed(body.decode((declared[1] or declared[2]).decode() if declared else "utf-8", "replace"))
    reader.close()
    page, seen = reader.root, Seen()
    seen.anchors = {value for node in page.nodes() for value in (node.attributes.get("id"), node.anchor) if value}
    mains = [node for node in page.nodes() if node.matches(rules.main)]
    mains = [node for node in mains if not any(above in mains for above in node.above())] or [*page.find("body")] or [page]
    wanted: list[str] = []
    either: list[str] = []
    for main in mains:
        _look(main, rules, wanted, either, seen.codes)
        wanted.append("\n")
    seen.text = "".join(wanted)
    for pattern in rules.either_text:
        either += [match.group() for match in pattern.finditer(seen.text)]
        seen.text = pattern.sub("\n", seen.text)
    seen.either_text = "\n".join(either)
    seen.words, seen.either = words(seen.text), words("".join(either))
    seen.apis = list(rules.apis(page, mains))
    return seen


def _look(node: Node, rules: "Rules", wanted: list[str], either: list[str], codes: list[str] | None) -> None:
    """Collect the text below an element; inside code, `codes` is None."""
    if node.matches(rules.either):
        wanted, codes = either, None
    if node.tag == "img":
        either += ["\n", node.attributes.get("alt", ""), "\n"]
    either += [f"\n{name.capitalize()}\n" for name in node.classes & _ADMONITIONS]  # a label, where the page shows an icon
    parted = node.tag in _BLOCKS or node.matches(rules.parted)
    if codes is not None and node.matches(rules.code):
        lines: list[str] = []
        _characters(node, rules, lines)
        if code := "".join(lines).rstrip():
            codes.append(code)
        codes = None
    if parted:
        wanted.append("\n")
    if node.tag == "ol":
        start = int(node.attributes.get("start") or 1)
        items = sum(isinstance(child, Node) and child.tag == "li" for child in node.children)
        either.append("\n".join(["", *map(str, range(start, start + items)), ""]))
    for child in node.children:
        if isinstance(child, str):
            wanted.append(child)
        elif not rules.hides(child):
            _look(child, rules, wanted, either, codes)
    if parted:
        wanted.append("\n")


def _characters(node: Node, rules: "Rules", lines: list[str]) -> None:
    """The characters of a block of code as they are shown."""
    for child in node.children:
        if isinstance(child, str):
            if not node.matches("div.fragment"):
                lines.append(child)
        elif child.tag == "br":
            lines.append("\n")
        elif not rules.hides(child):
            _characters(child, rules, lines)
            if child.matches("div.line"):
                lines.append("\n")


# -- the API entries of each corpus

Apis = Callable[[Node, list[Node]], Iterator[Api]]


def _api(term: str, *anchors: str | None) -> Api:
    return Api(" ".join(re.sub("[¶◆]", "", term).split()), frozenset(anchors))


def _no_apis(page: Node, mains: list[Node]) -> Iterator[Api]:
    return iter(())


def _sphinx(page: Node, mains: list[Node]) -> Iterator[Api]:
    for term in page.find("dt[id]"):
        if term.parent is not None and term.parent.classes & {"py", "c", "cpp", "js", "rst", "std"}:
            yield _api(term.text(), term.anchor)


def _texinfo(page: Node, mains: list[Node]) -> Iterator[Api]:
    for term in page.find("dt[id]"):
        if term.parent is not None and term.parent.matches("dl.def"):
            yield _api(term.text(), term.anchor)


def _doxygen(page: Node, mains: list[Node]) -> Iterator[Api]:
    anchor: str | None = None
    for node in page.nodes():
        if node.tag == "a" and node.anchor:
            anchor = node.anchor
        elif node.matches("h2.memtitle"):
            yield _api(node.text(), anchor)


def _gi_docgen(page: Node, mains: list[Node]) -> Iterator[Api]:
    """The page's own function, method, property …, which it names in its only h1, without an anchor; a member by its id."""
    for main in mains:
        for header in main.find("header"):
            kinds, names = [*header.find("h3")], [*header.find("h1")]
            if kinds and names and kinds[0].text().split() != ["Namespace"]:
                yield _api(names[0].text(), None, "main", *filter(None, [names[0].anchor]))
        for table in main.find("table.enum-members"):
            yield from (_api(node.text(), node.anchor) for node in table.find("a[id]"))


def _docbook(page: Node, mains: list[Node]) -> Iterator[Api]:
    for term in page.find("dt[id]"):
        if term.parent is not None and term.parent.matches("dl.variablelist"):
            yield _api(term.text(), term.anchor)
    for entry in page.find("div.refentry"):
        for names in entry.find("div.refnamediv"):
            for title in names.find("span.refentrytitle"):
                yield _api(title.text(), entry.anchor)
                break


def _asciidoc(page: Node, mains: list[Node]) -> Iterator[Api]:
    anchor: str | None = None
    for main in mains:
        for node in main.nodes():
            if node.tag in ("h1", "h2", "h3", "h4", "h5") and node.anchor:
                anchor = node.anchor
            elif node.matches("dt.hdlist1") and (match := re.match(r"\s*(--?\w[\w-]*|--\[\w+-\][\w-]+)", node.text())):
                yield _api(match[1], node.anchor or anchor)


_LABEL = re.compile(r"([A-Za-z]+ ?){1,3}:")


def _nodejs(page: Node, mains: list[Node]) -> Iterator[Api]:
    for heading in page.find("h3, h4, h5"):
        codes = [child for child in heading.children if isinstance(child, Node) and child.tag == "code"]
        label = "".join(child for child in heading.children if isinstance(child, str)).strip()
        anchors = [node.anchor for node in heading.find("a[id]")]  # the present one and one of former times
        if len(codes) == 1 and anchors and (not label or _LABEL.fullmatch(label)):
            yield _api(codes[0].text(), *anchors)


_C_FUNCTION = re.compile(r"^(?:SQLITE_\w+ )?\w[\w ]*[ *](sqlite3_\w+)\(", re.MULTILINE)


def _sqlite(page: Node, mains: list[Node]) -> Iterator[Api]:
    """Pragmas by their anchors, the functions that the first code of a page of the C reference declares, constants there."""
    before: str | None = None
    c_reference = any("SQLite C Interface" in heading.text() for node in page.find("div.nosearch") for heading in node.find("h2"))
    for node in page.nodes():
        if node.tag == "a" and (name := node.anchor):
            before = name
            if name.startswith("pragma_"):
                yield _api(name.removeprefix("pragma_"), name)
        elif node.tag == "dt":
            if before and c_reference and node.text().strip():
                yield _api(node.text(), before)
            before = None
        elif node.tag not in ("p", "dl", "b"):
            before = None
    if c_reference:
        for code in page.find("pre"):
            for name in dict.fromkeys(_C_FUNCTION.findall(code.text())):
                yield _api(name, None)
            break


# -- the rules


@dataclass(frozen=True)
class Rules:
    """What is seen on the pages of a corpus. What may come out `either` way is no measure of anything."""

    main: str
    drop: str = ""
    either: str = ""
    either_text: tuple[re.Pattern[str], ...] = ()
    parted: str = ""
    code: str = "pre"
    apis: Apis = _no_apis
    also_hides: Callable[[Node], bool] = lambda node: False

    def hides(self, node: Node) -> bool:
        """Whether an element is no content, or is not shown."""
        return (
            node.matches(_NOT_SEEN)
            or node.matches(self.drop)
            or ("style" in node.attributes and not node.matches(self.either) and _is_unseen(node))
            or self.also_hides(node)
        )


def _is_unseen(node: Node) -> bool:
    return _UNSEEN_STYLE.search(node.attributes["style"]) is not None


def _sqlite_hides(node: Node) -> bool:
    """The head of the page without its title, and its last line."""
    if node.matches("p, small, center") and any(True for _ in node.find("#mtimelink")):
        return True
    if node.parent is None or "nosearch" not in node.parent.classes:
        return False
    return not node.matches("div.fancy_title, h1, h2") or any(True for _ in node.find("a"))


_SPHINX = Rules(
    main="[role=main]",
    drop=".headerlink, .viewcode-link, .viewcode-back, nav.contents, .contents.local, .linenos, footer, [role=navigation], "
    ".prev-next-area",
    either=".backrefs, .fn-backref",
    parted="span.classifier",
    apis=_sphinx,
)
RULES = {
    "python": _SPHINX,
    "postgresql": Rules(
        main="#docContent",
        drop=".navheader, .navfooter, div.toc, .list-of-tables, .list-of-figures, .list-of-examples",
        apis=_docbook,
    ),
    "sqlite": Rules(
        main="body",
        drop=".menu, .tagline, .searchmenu, .fancy_toc, .logo",
        either="h, .mobileonly",
        either_text=(re.compile(r"\A\s*(SQLite|Session Module) C Interface\n"),),
        apis=_sqlite,
        also_hides=_sqlite_hides,
    ),
    "git": Rules(main="#header, #content, #footnotes", drop="#toc, div.toc, .navheader, .navfooter", apis=_asciidoc),
    "nodejs": Rules(main="#apicontent", drop="a.mark, #toc, .toc", apis=_nodejs),
    "octave": Rules(
        main="body",
        drop="div.header, .copiable-anchor",
        code="div.example, pre",
        either=".contents, .Contents_element, table.menu, .section-toc",
        apis=_texinfo,
    ),
    # The lists of inherited members are collapsed, and the same on every page of a class; the head's h3 is the kind of page.
    "libadwaita": Rules(
        main="section#main",
        drop="a.anchor, a.md-anchor, .srclink, #toc",
        either=".ancestor-methods, .ancestor-properties, .ancestor-signals",
        parted="span.sep",
        apis=_gi_docgen,
        also_hides=lambda node: node.tag == "h3" and node.parent is not None and node.parent.tag == "header",
    ),
    "eigen": Rules(
        main="div.contents, div.title",
        drop=".permalink, .ttc, .ingroups, .lineno, .levels, .dyncontent",
        either=".memtitle, .inherit, .inherit_header, .dynheader, .icona, .arrow, .toc",
        either_text=(
            re.compile(r"The documentation for this \w+( \w+)* was generated from the following files?:\s*(?:[\w./+-]+\s*)+\Z"),
            re.compile(r"\bMore\.\.\."),
        ),
        parted="span.mlabel, span.icona, span.arrow",
        code="pre, div.fragment",
        apis=_doxygen,
    ),
    "rust-book": Rules(main="main", drop=".boring, .tooltip, .buttons", parted="sup.footnote-reference"),
    "rust-reference": Rules(main="main", drop=".boring, .tooltip, .buttons", parted="sup.footnote-reference"),
    "pandas": _SPHINX,
    "linux": _SPHINX,
}
