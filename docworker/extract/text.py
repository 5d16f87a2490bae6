"""Markdown and plain text → HTML, so that one path reads all.

Markdown is CommonMark with what documentation adds to it: tables, footnotes, definition lists, task lists, admonitions and
tabs of MkDocs, alerts of GitHub, front matter. Plain text stays as it is, in blocks of characters between its headings.
"""

import re
from collections.abc import Iterator
from html import escape

from markdown_it import MarkdownIt
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.tasklists import tasklists_plugin

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<fields>.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:\s*(?P<title>.+?)\s*$", re.MULTILINE)
_ALERT = re.compile(r"<blockquote>\s*<p>\[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\]\s*(?:<br ?/?>)?\s*", re.IGNORECASE)
_ATTRIBUTES = re.compile(r"^(#{1,6} .*?)(?: #+)?[ \t]*\{[^{}\n]*\}[ \t]*$", re.MULTILINE)  # `## Kinds {#kinds}`
_TAB = re.compile(r'^([ \t]*)=== "', re.MULTILINE)
_TAB_TITLE = re.compile(r'<div class="admonition tab">\s*<p class="admonition-title">(.*?)</p>')
_CONTENTS = re.compile(r"^\[(TOC|\[toc\])\]$", re.MULTILINE | re.IGNORECASE)

_PAGE_BREAK = re.compile(r"\n+[^\n]*\[Page \d+\][ \t]*\n*(?:\f\n?[^\n]*\n*)?|\f")
_MAX_HEADING_CHARS = 75
_NUMBERED = re.compile(r"(?P<number>\d+(?:\.\d+)*|[A-Z](?:\.\d+)+)\.?\s+\S")
_UNDERLINE = re.compile(r"([=\-~*^#\"'`])\1{2,}$")
_CONTENTS_LINE = re.compile(r"(?:\. ?){3,}\s*\d+$")


def to_html(text: str, *, markdown: bool) -> str:
    """A whole page of HTML with the same content."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _of_markdown(text) if markdown else _of_plain(text)


def _of_markdown(text: str) -> str:
    title = ""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        if named := _TITLE.search(front["fields"]):
            title = named["title"].strip("\"'")
    text = _TAB.sub(r'\1!!! tab "', _ATTRIBUTES.sub(r"\1", _CONTENTS.sub("", text)))
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for plugin in (footnote_plugin, deflist_plugin, tasklists_plugin, admon_plugin):
        reader.use(plugin)
    body = _ALERT.sub(lambda match: f'<blockquote class="markdown-alert {match[1].lower()}"><p>', reader.render(text))
    body = _TAB_TITLE.sub(r"<div><p><strong>\1</strong></p>", body)
    return _page(title, body)


def _of_plain(text: str) -> str:
    """Headings are lines at the left edge that stand alone, and are underlined, numbered or in capitals."""
    parts, held = list[str](), list[str]()
    title = ""
    for line, level in _lines(_PAGE_BREAK.sub("\n", text.expandtabs() if "\f" in text else text)):
        if level:
            parts += [_pre(held), f"<h{level}>{escape(line.strip())}</h{level}>"]
            held, title = [], title or line.strip()
        else:
            held.append(line)
    parts.append(_pre(held))
    if title and parts[0]:  # what stands before the first heading tells the title, if a line of it is centred or the first
        title = ""
    return _page(title or _first_line(text), "".join(parts))


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """The lines of a text, each with its level if it is a heading, else 0. Tables of contents are left out."""
    lines = text.split("\n")
    in_contents = False
    number = 0
    while number < len(lines):
        line = lines[number]
        alone = number == 0 or not lines[number - 1].strip()
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        underlined = bool(_UNDERLINE.match(following)) and 0 < len(line.rstrip()) <= len(following) + 2
        level = _level(line, underlined=underlined, alone=alone and (not following or underlined))
        if in_contents or line.strip().lower() == "table of contents":
            in_contents = not level or line.strip().lower() == "table of contents"
        if not in_contents and not _CONTENTS_LINE.search(line.rstrip()):
            yield line, level
        number += 2 if underlined and level else 1


def _level(line: str, *, underlined: bool, alone: bool) -> int:
    if not alone or not line.strip() or line[0].isspace() or len(line) > _MAX_HEADING_CHARS:
        return 0
    if underlined:
        return 1
    if match := _NUMBERED.match(line):
        return min(6, 2 + match["number"].count("."))
    letters = [character for character in line if character.isalpha()]
    words = line.split()
    if len(letters) > 2 and line.upper() == line:
        return 2
    return 2 if len(words) == 1 and words[0].istitle() and words[0].isalpha() else 0


def _pre(lines: list[str]) -> str:
    text = "\n".join(lines).strip("\n")
    return f"<pre>{escape(text, quote=False)}</pre>" if text.strip() else ""


def _first_line(text: str) -> str:
    """The centred line of the text's head, as RFCs have it, else its first line if that is short."""
    head = [line for line in text.split("\n")[:30] if line.strip()]
    centred = [line.strip() for line in head if line.startswith(" " * 12) and len(line.strip()) <= _MAX_HEADING_CHARS]
    first = head[0].strip() if head else ""
    return centred[0] if centred else first if len(first) <= _MAX_HEADING_CHARS else ""


def _page(title: str, body: str) -> str:
    return f"<html><head><title>{escape(title)}</title></head><body><main>{body}</main></body></html>"
