"""HTML of a page's main content → sections of Markdown, each with its heading and anchor.

Built on markdownify. A heading, or a `dt` that has an id (an API entry, an option, a glossary term), begins a section;
the end of a list of entries goes back to the section that the list stands in. While converting, the begin of a section is
marked in the text by its number between two separators, and the text is cut there at the end.
"""

import re
from collections.abc import Iterator
from typing import Any

from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from docworker.model import Section

_MARK = "\x02"  # stands in no page: it is removed before, and is no white space
_CUT = re.compile(rf"^[>\s]*{_MARK}(\d+){_MARK}[ \t]*$", re.MULTILINE)
_LANGUAGE = re.compile(r"^(?:highlight-source|highlight|language|lang|brush)[-:_](?P<name>[\w+#.-]+)$")
_NO_LANGUAGE = frozenset({"default", "none", "text", "plaintext", "plain", "notranslate"})
_SAME_LANGUAGE = {"python3": "python", "py": "python", "js": "javascript", "sh": "bash", "shell": "bash"}
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "dt"})
_BLOCKS = _HEADINGS | {"pre", "p", "div", "section", "article", "ul", "ol", "dl", "table"}
_INLINE = frozenset({"b", "strong", "i", "em", "code", "kbd", "samp", "s", "del", "sub", "sup", "q"})
# A longer one is no heading but a tag that was never closed.
_MAX_HEADING_CHARS = 300
_MAX_ANCHOR_CHARS = 500
_NAMES = re.compile(r"[\w.:$-]*[\w$]\s*$")


def sections(html: str) -> tuple[Section, ...]:
    """Cut the main content of a page into sections in page order.

    Text before the first heading is a section of level 0 without a heading. Raises RecursionError for markup that is
    nested thousands deep.
    """
    converter = _Converter()
    # html.parser keeps what other parsers repair away; the markup was repaired by lexbor already
    soup = BeautifulSoup(html.replace(_MARK, ""), "html.parser", element_classes={Tag: _Tag})
    _straighten(soup)
    markdown: str = converter.convert_soup(soup)
    pieces = _CUT.split(markdown)
    found, seen = [], set[str]()
    for number, text in zip(["0", *pieces[1::2]], [pieces[0], *pieces[2::2]], strict=True):
        level, heading, anchor, entry = converter.started[int(number)]
        section = Section(level, heading, anchor, _tidy(text), entry)
        if section.text or (heading and number not in seen):  # a section gone back to for nothing is not one
            found.append(section)
        seen.add(number)
    return tuple(found)


class _Converter(MarkdownConverter):  # type: ignore[misc]  # see pyproject: no types
    """markdownify, with sections, entries, exact code and plain identifiers."""

    class Options:
        heading_style = "atx"
        bullets = "-"
        escape_asterisks = False
        escape_underscores = False
        table_infer_header = True

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[int, str, str | None, bool]] = [(0, "", None, False)]  # level, heading, anchor, entry
        self._current = 0
        self._heading_level = 0
        self._entry_depth = 0
        self._lists: dict[int, bool] = {}  # by identity: whether a definition list has entries, asked for each of its terms

    def process_tag(self, node: Tag, parent_tags: set[str] | None = None) -> str:
        if node.name == "dl" and self._has_entries(node):
            section, self._entry_depth = self._current, self._entry_depth + 1
            text = str(super().process_tag(node, parent_tags=parent_tags))
            self._current, self._entry_depth = section, self._entry_depth - 1
            return f"{text}\n\n{_MARK}{section}{_MARK}\n\n"
        return str(super().process_tag(node, parent_tags=parent_tags))

    def _has_entries(self, dl: Tag) -> bool:
        if id(dl) not in self._lists:
            self._lists[id(dl)] = _has_entries(dl)
        return self._lists[id(dl)]

    def _start(self, level: int, heading: str, anchor: str | None, entry: bool) -> str:
        self.started.append((level, heading[:_MAX_HEADING_CHARS], anchor, entry))
        self._current = len(self.started) - 1
        return f"\n\n{_MARK}{self._current}{_MARK}\n\n"

    def convert_hN(self, n: int, el: Tag, text: str, parent_tags: set[str]) -> str:
        heading = _one_line(el)
        if not heading or "table" in parent_tags or len(heading) > _MAX_HEADING_CHARS:
            return f"\n\n{text}\n\n" if heading else ""
        self._heading_level = n
        return self._start(n, heading, _anchor_of_heading(el), entry=False)

    def convert_dt(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        if el.parent is None or not self._has_entries(el.parent):
            return f"\n\n**{_one_line(el)}**\n" if _one_line(el) else ""
        signature = _one_line(el)
        code = f"`{signature}`\n\n" if signature else ""
        before = el.find_previous_sibling(["dt", "dd"])
        if before is not None and before.name == "dt":  # several terms share one description
            return f"\n\n{code}"
        level = self._heading_level + self._entry_depth
        name, anchor = _name(signature), _own_anchor(el)
        # `pop_all` with the anchor `contextlib.ExitStack.pop_all` is known by the longer name
        qualified = anchor if anchor and anchor.endswith("." + name) else name
        return self._start(level, qualified, anchor, entry=True) + code

    def convert_dd(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return f"\n\n{text.strip()}\n\n"

    def convert_blockquote(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return f"\n\n{text.strip()}\n\n"  # documentation indents with it (code, notes); it seldom quotes

    def convert_li(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return text if _MARK in text else str(super().convert_li(el, text, parent_tags))

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        code = el.get_text().removeprefix("\n").rstrip()
        if not code.strip():
            return ""
        longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
        fence = "`" * (longest + 1)
        return f"\n\n{fence}{_language(el)}\n{code}\n{fence}\n\n"

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_td(el, text.replace("|", r"\|"), parent_tags))

    def convert_th(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_th(el, text.replace("|", r"\|"), parent_tags))

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return text  # where a link leads is for the crawler; a reader of the passage needs its words

    def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(el.get("alt") or "")


def _straighten(soup: BeautifulSoup) -> None:
    """What would hide a section or join words: line breaks in headings, empty blocks, emphasis around blocks."""
    for tag in [node for node in soup.descendants if isinstance(node, Tag)]:
        if tag.name == "br":
            if any(parent.name in _HEADINGS for parent in tag.parents):
                tag.replace_with(" ")
        elif tag.name in _BLOCKS:
            if not tag.contents:
                tag.replace_with("\n")  # it parts the words around it
                continue
            while tag.parent is not None and tag.parent.name in _INLINE:
                tag.parent.unwrap()
            if tag.name == "table":
                _drop_line_numbers(tag)


def _drop_line_numbers(table: Tag) -> None:
    """A table of one column of numbers and one of code is the code."""
    columns = table.find_all("pre")
    if len(columns) == 2 and columns[0].get_text().replace("\n", "").replace(" ", "").isdigit():
        table.replace_with(columns[1])


class _Tag(Tag):
    """A tag whose `find_parent` by name is quick: markdownify calls it for every tag."""

    def find_parent(self, name: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(name, str) or args or kwargs:
            return super().find_parent(name, *args, **kwargs)
        parent = self.parent
        while parent is not None and parent.name != name:
            parent = parent.parent
        return parent


def _has_entries(dl: Tag) -> bool:
    """Whether a definition list describes things that can be linked to (and is no list of footnotes)."""
    classes = dl.get_attribute_list("class")
    if "footnote" in classes or "citation" in classes:
        return False
    return any(_own_anchor(dt) for dt in dl.find_all("dt", recursive=False))


def _own_anchor(el: Tag) -> str | None:
    """The element's id, or that of something it contains."""
    for candidate in (el, el.find(id=True), el.find("a", attrs={"name": True})):
        if isinstance(candidate, Tag) and (anchor := candidate.get("id") or candidate.get("name")):
            return str(anchor) if len(anchor) <= _MAX_ANCHOR_CHARS else None
    return None


def _anchor_of_heading(el: Tag) -> str | None:
    """A heading's own anchor, else that of an anchor right before it, else of the section that it opens."""
    if anchor := _own_anchor(el):
        return anchor
    before: Any = el.previous_sibling
    while before is not None and not isinstance(before, Tag) and not str(before).strip():
        before = before.previous_sibling
    if isinstance(before, Tag) and before.name in ("a", "span") and not before.get_text(strip=True) and _own_anchor(before):
        return _own_anchor(before)
    child: Tag = el
    for parent in _parents(el):
        first = child.find_previous_sibling(lambda tag: bool(tag.get_text(strip=True)))
        if first is not None:
            return None
        if parent.get("id"):
            return str(parent["id"]) if len(parent["id"]) <= _MAX_ANCHOR_CHARS else None
        child = parent
    return None


def _parents(el: Tag) -> Iterator[Tag]:
    for parent in el.parents:
        if parent.name not in ("section", "div", "article", "header", "main"):
            return
        yield parent


def _language(pre: Tag) -> str:
    """The language that the block or its wrappers name, in its usual short form; empty when none does."""
    for tag in [pre, *(parent for parent in list(pre.parents)[:3] if parent.name == "div")]:
        if isinstance(named := tag.get("data-lang"), str) and named:
            return _SAME_LANGUAGE.get(named, named)
        for name in tag.get_attribute_list("class"):
            if match := _LANGUAGE.match(str(name)):
                language = match["name"].lower()
                if language not in _NO_LANGUAGE:
                    return _SAME_LANGUAGE.get(language, language)
    return ""


def _name(signature: str) -> str:
    """What a signature is about: `awaitable asyncio.gather(*aws)` → `asyncio.gather`; without arguments, all of it."""
    before, parenthesis, _ = signature.partition("(")
    match = _NAMES.search(before) if parenthesis else None
    return match.group().strip() if match else signature


def _one_line(el: Tag) -> str:
    return " ".join(el.get_text().split())


def _tidy(text: str) -> str:
    return text.strip("\n").rstrip()
