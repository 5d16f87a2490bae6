"""The tree that markdownify walks, with what would mislead it put right. Owns the element names that profiles give by `data-as`.

markdownify parts words only at the block elements it knows, and a section begins only at a heading that stands in no
emphasis and in no table.
"""

from typing import Any

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "dt"})
_BLOCKS = HEADINGS | {"dd", "pre", "p", "div", "section", "article", "ul", "ol", "dl", "table"}
_INLINE = frozenset({"b", "strong", "i", "em", "code", "kbd", "samp", "s", "del", "sub", "sup", "q", "a"})
# What markdownify takes for inline, and would join with the words around it.
_LIKE_DIV = (
    "figure", "figcaption", "aside", "header", "main", "details", "fieldset", "center", "hgroup", "address", "form", "body",
    "dialog", "dir", "legend", "listing", "menu", "search", "xmp",
)  # fmt: skip
_SAME_TAG = dict.fromkeys(_LIKE_DIV, "div") | {"tt": "code", "tfoot": "tbody"}
_TABLE_PARTS = ("thead", "tbody", "tr", "td", "th", "caption")
_MAKES_LAYOUT = ("h1", "h2", "h3", "h4", "h5", "h6", "pre", "dl", "table")
_MAX_COLSPAN = "9"  # each column more is written out
_MAX_DIGITS = 8  # of the number that a list begins with


def parse(html: str) -> BeautifulSoup:
    """Parse markup that lexbor has repaired already; html.parser keeps what other parsers repair away."""
    soup = BeautifulSoup(html, "html.parser", element_classes={Tag: _Tag})
    every = [node for node in soup.descendants if isinstance(node, Tag)]
    for tag in every:
        _name(tag)
    for tag in every:
        _number(tag)
    _part_headings(soup)
    for tag in every:
        if tag.name == "br":
            _break(tag)
        elif tag.name in _BLOCKS and tag.parent is not None:  # else it was a group
            _stand_alone(tag)
    return soup


def _name(tag: Tag) -> None:
    """Give an element the name by which it is meant."""
    if "data-as" in tag.attrs:
        tag.name = str(tag["data-as"])
    tag.name = _SAME_TAG.get(tag.name, tag.name)
    if "colspan" in tag.attrs and len(str(tag["colspan"])) > 1:
        tag["colspan"] = _MAX_COLSPAN
    if tag.name in ("colgroup", "col"):
        tag.extract()
    elif tag.name in ("table", "thead", "tbody", "tr"):
        for child in [child for child in tag.children if isinstance(child, NavigableString) and not child.strip()]:
            child.extract()


def _number(tag: Tag) -> None:
    """Number a list's items once: markdownify would count those before each. Terms in groups stand in their list."""
    if tag.name == "ol":
        start = str(tag.get("start") or "1")
        first = int(start) if start.isdecimal() and len(start) <= _MAX_DIGITS else 1
        for number, item in enumerate(tag.find_all("li", recursive=False), first):
            item["data-number"] = str(number)
    elif tag.name == "dl":
        for group in tag.find_all("div", recursive=False):
            if group.find("dt", recursive=False) is not None:
                group.unwrap()


def _part_headings(soup: BeautifulSoup) -> None:
    """Keep the words of blocks in a heading apart: it becomes one line."""
    inside = {id(block): block for head in soup.find_all(list(HEADINGS)) for block in head.find_all(list(_BLOCKS))}
    for block in inside.values():
        block.insert_before(" ")
        block.insert_after(" ")


def _break(br: Tag) -> None:
    if isinstance(br.next_sibling, NavigableString):
        br.next_sibling.replace_with(br.next_sibling.lstrip())
    if any(parent.name in HEADINGS for parent in br.parents):
        br.replace_with(" ")


def _stand_alone(block: Tag) -> None:
    """Free a block of emphasis and links around it, and a table that arranges blocks of being one."""
    if not block.contents and not (block.get("id") or block.name in ("dt", "dd")):
        block.replace_with("\n")  # it parts the words around it
        return
    if block.name in HEADINGS:
        for outer in [parent for parent in block.parents if parent.name in _INLINE and parent is not block.parent]:
            outer.unwrap()
    while block.parent is not None and block.parent.name in _INLINE:
        if block.parent.name == "a" and not str(block.parent.get("href", "#")).startswith("#"):
            block["data-name"] = ""  # it names another page
        block.parent.unwrap()
    if block.name == "table" and _is_layout(block):
        for part in [block, *block.find_all(_TABLE_PARTS)]:
            if part.find_parent("table") in (block, None):
                part.name = "div"


def _is_layout(table: Tag) -> bool:
    """Whether a table arranges blocks: headings, code, entries, other tables; or is of one cell."""
    if table.get("role") == "presentation" or table.find(_MAKES_LAYOUT) is not None:
        return True
    return len(table.find_all(["td", "th"], limit=2)) < 2


class _Tag(Tag):
    """A tag whose `find_parent` by name is quick: markdownify calls it for every tag."""

    def find_parent(self, name: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(name, str) or args or kwargs:
            return super().find_parent(name, *args, **kwargs)
        parent = self.parent
        while parent is not None and parent.name != name:
            parent = parent.parent
        return parent
