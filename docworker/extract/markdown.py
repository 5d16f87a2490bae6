"""HTML of a page's main content → sections of Markdown with heading and anchor, and symbols.

Built on markdownify. A heading, or an entry (a `dt` that has an anchor or a kind, or is an option), begins a section;
the end of a list of entries goes back to the section that the list stands in. While converting, the begin of a section is
marked in the text by its number between two separators, and the text is cut there at the end.

`data-name` (one a line) and `data-kind` tell what a `dt` or a heading describes, as profiles know it.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

from bs4 import Tag
from bs4.element import NavigableString
from markdownify import MarkdownConverter

from docworker.extract import names
from docworker.extract.soup import HEADINGS, parse
from docworker.model import Section, Symbol

_MARK = "\x02"  # stands in no page: it is removed before, and is no white space
_CUT = re.compile(rf"^[> \t]*+{_MARK}(\d+){_MARK}[ \t]*$", re.MULTILINE)
_LANGUAGE = re.compile(r"^(?:highlight-source|highlight|language|lang|brush|sourceCode)[-:_](?P<name>[\w+#.-]{1,30})$")
_NAMED_LANGUAGE = re.compile(r"[\w+#.-]{1,30}")
_NO_LANGUAGE = frozenset({"default", "none", "text", "plaintext", "plain", "notranslate", "txt"})
_SAME_LANGUAGE = {"python3": "python", "py": "python", "js": "javascript", "sh": "bash", "shell": "bash"}
_CODE = "\x03"  # before the fences of code blocks, by which they are told from prose that looks like one; in no page either
_LIKE_FENCE = re.compile(r"((?:[> \t]|[-*+][ \t]|\d+[.)][ \t])*+)(?=`{3,}[^`]*$|~~~)")
_SPACES = re.compile(r"(?<=\S)[ \t]{2,}")
# A longer one is no heading but a tag that was never closed.
_MAX_HEADING_CHARS = 300
_MAX_ANCHOR_CHARS = 500
_MANY_TERMS = 20
_BADGE = re.compile("badge", re.IGNORECASE)


def sections(html: str) -> tuple[tuple[Section, ...], tuple[Symbol, ...]]:
    """Cut the main content of a page into sections in page order; also the names that it explains, in that order.

    Text before the first heading is a section of level 0 without a heading.
    """
    converter = _Converter()
    markdown: str = converter.convert_soup(parse(html.replace(_MARK, "").replace(_CODE, "")))
    pieces = _CUT.split(markdown)
    found, seen = [], set[str]()
    for number, text in zip(["0", *pieces[1::2]], [pieces[0], *pieces[2::2]], strict=True):
        level, heading, anchor, entry = converter.started[int(number)]
        section = Section(level, heading, anchor, _tidy(text), entry)
        if section.text or (heading and number not in seen):  # a section gone back to for nothing is not one
            found.append(section)
        seen.add(number)
    return tuple(found), tuple(dict.fromkeys(converter.symbols))


class _Converter(MarkdownConverter):  # type: ignore[misc]  # see pyproject: no types
    """markdownify, with sections, entries, exact code and plain identifiers."""

    class Options:
        heading_style = "atx"
        bullets = "-"
        escape_asterisks = False
        escape_underscores = False
        wrap = True
        wrap_width = None

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[int, str, str | None, bool]] = [(0, "", None, False)]  # level, heading, anchor, entry
        self.symbols: list[Symbol] = []
        self._current = 0
        self._list_section = 0  # that the list of entries under way stands in
        self._heading_level = 0
        self._entry_depth = 0
        self._lists: dict[int, bool] = {}  # by identity: whether a definition list has entries, asked for each of its terms

    def process_tag(self, node: Tag, parent_tags: set[str] | None = None) -> str:
        if node.name in ("dl", "span") and "data-name" in node.attrs:
            self._note(node, (str(node["data-name"]),), _own_anchor(node))
        if node.name == "dl" and self._has_entries(node):
            section, self._entry_depth = self._current, self._entry_depth + 1
            outer, self._list_section, level = self._list_section, section, self._heading_level
            text = str(super().process_tag(node, parent_tags=parent_tags))
            self._current, self._entry_depth = section, self._entry_depth - 1
            self._list_section, self._heading_level = outer, level
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
        anchor = _anchor_of_heading(el)
        if "data-name" in el.attrs:
            self._note(el, tuple(str(el["data-name"]).split("\n")), anchor)
        else:
            code = el.find("code")
            badges = [_one_line(badge) for badge in el.find_all(class_=_BADGE)]
            own = functools.reduce(lambda text, badge: text.replace(badge, "", 1), badges, heading).strip()
            named = names.heading_symbol(own, _one_line(code) if isinstance(code, Tag) else "")
            if named is not None and "a" not in parent_tags:
                self.symbols.append(Symbol(named[0], str(el.get("data-kind") or named[1]), anchor))
        return self._start(n, heading, anchor, entry=False)

    def _note(self, el: Tag, found: tuple[str, ...], anchor: str | None) -> None:
        kind = str(el.get("data-kind") or "symbol")
        self.symbols += [Symbol(name[:_MAX_HEADING_CHARS], kind, anchor) for name in found if name]

    def convert_dt(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        signature = names.one_line(el.get_text())
        if el.parent is None or not self._has_entries(el.parent):
            return f"\n\n**{signature}**\n" if signature else ""
        anchor = _own_anchor(el) or self.started[self._list_section][2]
        if "data-name" in el.attrs:
            found = tuple(str(el["data-name"]).split("\n"))
        elif names.is_option(signature):
            found = names.options(signature)
            el["data-kind"] = el.get("data-kind") or "option"
        else:
            found = (names.qualified(names.subject(signature), anchor),)
            el["data-kind"] = el.get("data-kind") or ("symbol" if "(" in signature else "term")
        before = el.find_previous_sibling(["dt", "dd"])
        again = before is not None and before.name == "dt"  # several terms share one description
        noted = {symbol.name for symbol in self.symbols[-_MANY_TERMS:]} if again and _own_anchor(el) is None else set()
        self._note(el, tuple(name for name in found if name not in noted), anchor)
        code = f"{_code(signature)}\n\n" if signature else ""
        if again:
            return f"\n\n{code}"
        level = self._heading_level + self._entry_depth
        heading = ", ".join(found) if el.get("data-kind") == "option" else found[0]
        return self._start(level, heading, anchor, entry=True) + code

    def convert_hr(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return "\n\n"

    def convert_br(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return " " if "_inline" in parent_tags else "\n"

    def convert_dd(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return f"\n\n{text.strip()}\n\n"

    def convert_summary(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return text if _MARK in text else f"\n\n**{_one_line(el)}**\n\n" if _one_line(el) else ""

    def convert_blockquote(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return f"\n\n{text.strip()}\n\n"  # documentation indents with it (code, notes); it seldom quotes

    def convert_li(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        if _MARK in text or el.parent is None or el.parent.name not in ("ul", "ol"):
            return f"\n\n{text.strip()}\n\n"
        if not (text := text.strip()):
            return "\n"
        bullet = f"{el['data-number']}. " if "data-number" in el.attrs else "- "
        return bullet + text.replace("\n", "\n" + " " * len(bullet)) + "\n"

    def escape(self, text: str, parent_tags: set[str]) -> str:
        return text

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        code = el.get_text().removeprefix("\n").rstrip()
        if not code.strip():
            return ""
        longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
        fence = "`" * (longest + 1)
        return f"\n\n{_CODE}{fence}{_language(el)}\n{code}\n{_CODE}{fence}\n\n"

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_td(el, _cell(text), parent_tags))

    def convert_th(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_th(el, _cell(text), parent_tags))

    def convert_caption(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return f"\n\n{text.strip()}\n\n"

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        href = el.get("href")
        inside = {"_noformat", "dt", "a"} | HEADINGS
        if not href or str(href).startswith("#") or not text.strip() or parent_tags & inside or _MARK in text:
            return text
        words = text.strip()
        target = str(href).replace("(", "%28").replace(")", "%29").replace(" ", "%20")
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        return f"{before}[{words}]({target}){after}" if "\n\n" not in words else text

    def convert_sup(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        before = el.previous_sibling
        power = text.strip().lstrip("-+").isalnum() and isinstance(before, NavigableString) and str(before)[-1:].isdigit()
        return f"^{text.strip()}" if power else text

    def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return " ".join(str(el.get("alt") or "").split())


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def _code(text: str) -> str:
    """Inline code; its fence is longer than any run of backticks inside."""
    runs = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence, space = "`" * (runs + 1), " " * (text[:1] == "`" or text[-1:] == "`")
    return f"{fence}{space}{text}{space}{fence}"


def _has_entries(dl: Tag) -> bool:
    """Whether a definition list describes things that can be linked to or typed (and is no list of footnotes)."""
    classes = dl.get_attribute_list("class")
    if "footnote" in classes or "citation" in classes:
        return False
    terms = dl.find_all("dt", recursive=False)
    return any(_own_anchor(dt) or dt.get("data-kind") or names.is_option(_one_line(dt)) for dt in terms)


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
    near = _own_anchor(before) if isinstance(before, Tag) and not before.get_text(strip=True) else None
    if near and before.name == "a":
        return near
    return _anchor_of_section(el) or near


def _anchor_of_section(el: Tag) -> str | None:
    child: Tag = el
    for parent in _parents(el):
        first = child.find_previous_sibling(lambda tag: bool(tag.get_text(strip=True)))
        if first is not None:
            return None
        if parent.get("id") and parent.parent is not None and parent.parent.parent is not None:  # the root is no section
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
        if isinstance(named := tag.get("data-lang"), str) and _NAMED_LANGUAGE.fullmatch(named):
            return _SAME_LANGUAGE.get(named, named)
        for name in tag.get_attribute_list("class"):
            if match := _LANGUAGE.match(str(name)):
                language = match["name"].lower()
                if language not in _NO_LANGUAGE:
                    return _SAME_LANGUAGE.get(language, language)
    return ""


def _one_line(el: Tag) -> str:
    return " ".join(el.get_text().split())


def _tidy(text: str) -> str:
    """Markdown without white space that nobody sees: at the end of lines, twice in a line, more than one blank line. Prose that
    begins like a fence is escaped."""
    lines: list[str] = []
    in_code = False
    for line in text.strip().split("\n"):
        if _CODE in line:
            in_code ^= line.count(_CODE) % 2 == 1
            line = line.replace(_CODE, "")
        elif not in_code:
            line = line.replace("\N{NO-BREAK SPACE}", " ").rstrip()
            line = line if line.lstrip().startswith("|") else _SPACES.sub(" ", line)
            if match := _LIKE_FENCE.match(line):
                line = f"{match[1]}\\{line[match.end() :]}"
            if not line and lines and not lines[-1]:
                continue
        lines.append(line)
    return "\n".join(lines).strip()
