"""Hostile and broken HTML: nothing raises, hangs or swells, and every visible word arrives, in order, in a chunk.

Words of generated pages are unique (`w17x`), so that each can be looked for by name. A page that might hang is read in
another process that is watched.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from docworker.chunking import MAX_CHARS, chunk
from docworker.extract import extract
from docworker.model import Chunk, Document, Extracted, Section
from docworker.words import index_words
from tests.fences import are_balanced

URL = "https://x.org/docs/page.html"
WORD = re.compile(r"w\d+x")
TOKEN = re.compile(r"\w*w\d+x\w*")  # with what is glued to a word
TARGET = re.compile(r"\]\(https://x\.org/[^)\s]*\)")
FENCE = re.compile(r"^(?P<before>(?:[ \t]|[-*+] |\d+\. )*)(?P<fence>`{3,})(?P<language>[^`]*)$")
WATCHDOG_S = 60.0
# More than this, per character of a page, is no conversion but a bomb.
MAX_GROWTH = 20


def page(html: str) -> Extracted:
    return extract(URL, html.encode("utf-8", "surrogatepass"), "utf-8")


def titled(html: str) -> Extracted:
    """A page with a heading, which is read by its structure."""
    return page(f"<h1>Title</h1>{html}")


def cut(document: Document) -> tuple[Chunk, ...]:
    return chunk(document, "docset", URL)


def shown(extracted: Extracted) -> str:
    return "\n".join(f"{s.heading}\n{s.text}" for s in extracted.document.sections)


def tokens(text: str) -> list[str]:
    """The unique words of a text, with what is glued to them; targets of links have none."""
    return TOKEN.findall(TARGET.sub("]", text))


def once(words: list[str]) -> list[str]:
    return list(dict.fromkeys(words))


def below(html: str) -> list[tuple[int, str, str | None, str]]:
    """Level, heading, anchor and text of each section of a page with the title `Title`, which is left out without text."""
    sections = titled(html).document.sections
    return [(s.level, s.heading, s.anchor, s.text) for s in sections if s.text or s.heading != "Title"]


def codes(text: str) -> list[tuple[str, str]]:
    """Language and characters of each fenced block: an independent reading, also inside of list items."""
    found, lines = [], iter(text.split("\n"))
    for line in lines:
        if opening := FENCE.match(line):
            inside = []
            for inner in lines:
                if inner.strip() == opening["fence"]:
                    break
                indent = len(opening["before"])
                inside.append(inner[indent:] if not inner[:indent].strip() else inner)
            found.append((opening["language"], "\n".join(inside)))
    return found


def check_chunks(document: Document) -> None:
    """What holds for the chunks of any page of short words."""
    chunks = cut(document)
    text = "\n".join(s.text for s in document.sections)
    assert once([w for c in chunks for w in tokens(c.text) if w in tokens(text)]) == once(tokens(text))
    headings = {w for s in document.sections if s.text for w in tokens(s.heading)}
    assert headings <= {w for c in chunks for w in tokens(c.embedded_text)}
    assert {w for heading in headings for w in index_words(heading)} <= {w for c in chunks for w in c.words.split(" ")}
    assert all(are_balanced(c.text) for c in chunks)
    assert max((len(c.text) for c in chunks), default=0) <= MAX_CHARS


# -- pages that may hang, read in a process that is watched


@dataclass(frozen=True)
class Survey:
    """What became of a page of `count` words: which are not in the sections, which not in the chunks, and sizes."""

    lost: list[str]
    cut_away: list[str]
    in_order: bool
    chars: int
    chunk_chars: int
    longest: int


def survey(html: str, count: int) -> Survey:
    extracted = page(html)
    chunks = cut(extracted.document)
    found = WORD.findall(shown(extracted))
    wanted = [f"w{n}x" for n in range(count)]
    kept = set(WORD.findall("\n".join(c.embedded_text for c in chunks))) & set(WORD.findall("\n".join(c.words for c in chunks)))
    return Survey(
        sorted(set(wanted) - set(found)),
        sorted(set(wanted) - kept),
        once(found) == wanted,
        len(shown(extracted)),
        sum(len(c.text) for c in chunks),
        max((len(c.text) for c in chunks), default=0),
    )


def answer(connection: Connection) -> None:
    """What the watched process does: survey what it is given, until it is given nothing."""
    while (asked := connection.recv()) is not None:
        connection.send(survey(*asked))


class Watched:
    """A process for pages, started when first needed; one that does not answer is ended and has failed."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def survey(self, html: str, count: int) -> Survey:
        if self._connection is None:
            context = get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=answer, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._connection.send((html, count))
        if not self._connection.poll(WATCHDOG_S):
            self.end()
            pytest.fail(f"{len(html)} characters of HTML are not read in {WATCHDOG_S:g} s")
        try:
            answered = self._connection.recv()
        except EOFError:
            self.end()
            pytest.fail(f"{len(html)} characters of HTML ended the process that read them")
        assert isinstance(answered, Survey)
        return answered

    def end(self) -> None:
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process = self._connection = None


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    process = Watched()
    yield process
    process.end()


def repeated(unit: str, times: int, every: int = 1) -> tuple[str, int]:
    """`unit` again and again, each `every`th time with the next word; also the number of words."""
    html = "".join(unit + (f"w{n // every}x " if n % every == 0 else "") for n in range(times))
    return f"<h1>Title</h1>{html}", (times + every - 1) // every


# Deeper than Python calls itself, and enough for work that grows with the square of the depth to be felt.
DEEP = ["<div>", "<blockquote>", "<b>", "<a href=u>", "<details>", "<p>"]
LESS_DEEP = [
    "<ul><li>", "<ol><li>", "<dl><dt>", "<dl><dd>", "<dl><dt id=x>term<dd>", "<table><tr><td>", "<table>", "<b><i>", "<b><p>",
    "<a><div>", "<details><summary>", "<div class=highlight-c><pre>", "<math><mi>", "<object>",
]  # fmt: skip
FEW_DEEP = ["<div class='admonition note'>", "<div><blockquote><ul><li><table><tr><td><b><dl><dd><section>"]
NESTED = (
    dict.fromkeys(["<span>", "<code>"], 10_000)
    | dict.fromkeys(DEEP, 3_000)
    | dict.fromkeys(LESS_DEEP, 1_100)
    | dict.fromkeys(FEW_DEEP, 300)
)


@pytest.mark.parametrize("unit", NESTED)
def test_what_is_nested_without_end_is_read_with_all_its_words(unit: str, watched: Watched) -> None:
    html, count = repeated(unit, NESTED[unit], every=10)
    found = watched.survey(html, count)
    assert (found.lost, found.cut_away) == ([], [])
    assert found.chars <= MAX_GROWTH * len(html)
    assert found.longest <= MAX_CHARS


@pytest.mark.parametrize(
    "unit", ["<h2>", "<dt id=x>", "<pre>", "<li>", "<td>", "<tr>", "<dd>", "<option>", "<br>", "<hr>", "<p>x<h3>"]
)
def test_what_is_never_closed_is_read_with_all_its_words(unit: str, watched: Watched) -> None:
    html, count = repeated(unit, 3_000)
    found = watched.survey(html, count)
    assert found.lost == []
    assert found.chars <= MAX_GROWTH * len(html)


@pytest.mark.parametrize("around", ["<p>", "<pre>", "<table><tr><td>a<td>"])
def test_a_megabyte_in_one_line_is_read(around: str, watched: Watched) -> None:
    html, count = repeated(" words of the line ", 60_000, every=60)
    found = watched.survey(html.replace("</h1>", f"</h1>{around}"), count)
    assert (found.lost, found.cut_away, found.in_order) == ([], [], True)
    assert found.chars < 1.1 * len(html)
    assert found.chunk_chars < 1.1 * len(html)
    assert found.longest <= MAX_CHARS


GIANTS = {
    "spaces": "<p>{}" + " " * 1_000_000 + "{}<p>" + "\n" * 1_000_000 + "{}",
    "no-break spaces": "<p>{}" + "&nbsp;" * 200_000 + "{}<p>{}",
    "line feeds in code": "<pre>{}" + "\n" * 200_000 + "{}</pre>{}",
    "quotation marks in code": "<pre>{}" + ">\n" * 10_000 + "{}</pre>{}",
    "spaces in code": "<pre>{}" + " " * 500_000 + "{}</pre>{}",
    "comments": "{}" + "<!-- > -- -->" * 20_000 + "{}<!--{}",
    "less-than signs": "<p>{}" + "<" * 300_000 + " {}<p>{}",
    "ampersands": "<p>{}" + "&" * 300_000 + " {}<p>{}",
    "entities": "<p>{}" + "&amp;&#38;" * 100_000 + " {}<p>{}",
    "backticks": "<p>{} " + "`" * 500_000 + " {}<p>{}",
    "fences in prose": "<p>{}" + "<p>~~~ x" * 10_000 + "<p>``` {}" + "<p>```` x" * 10_000 + "<p>{}",
    "backticks in inline code": "<p>{} <code>" + "`" * 100_000 + "</code> {}<p>{}",
    "backticks in code": "<pre>{}\n" + "`" * 100_000 + "\n{}</pre>{}",
    "runs of backticks": "<p>{} <code>" + " ".join("`" * n for n in range(1, 600)) + "</code> {}<p>{}",
    "bars in a cell": "<table><tr><td>{}<td>" + "|" * 300_000 + " {}</table>{}",
    "brackets": "<p>{}" + "[" * 200_000 + "](" * 200_000 + " {}<p>{}",
    "marks of quotations": "<p>{}" + " &gt;" * 200_000 + " {}<p>{}",
    "marks of items": "<p>{}" + " -" * 200_000 + " {}<p>{}<p>" + "1. " * 100_000,
    "separators of sections": "<p>{}" + "\x02" * 200_000 + "1\x02" * 50_000 + " {}<p>{}",
    "empty elements": "<p>{}" + "<p></p><b></b><div></div>" * 2_000 + "{}<p>{}",
    "line breaks": "<p>{}" + "<br>" * 10_000 + "{}<p>{}",
    "long attributes": "<p id='" + "x" * 100_000 + "' title='" + "y" * 100_000 + "'>{}<h2 id='" + "z" * 100_000 + "'>{}</h2>{}",
    "long classes": "<pre class='" + "c " * 50_000 + "'>{}</pre><div class='" + "note-" * 20_000 + "'>{}</div>{}",
    "many attributes": "<p " + " ".join(f"a{n}=1" for n in range(5_000)) + ">{}<p>{}<p>{}",
    "long targets": "<p><a href='" + "x" * 100_000 + "'>{}</a> {}<a href='http://[" + "(" * 10_000 + "'>{}</a>",
    "one long word": "<p>{} " + "x" * 2_000_000 + " {}<p>{}",
    "one long heading": "<h2>{} " + "long " * 100_000 + " {}</h2>{}",
    "one long term": "<dl><dt id=a>{} " + "long " * 20_000 + " {}<dd>{}</dl>",
    "formatting that is opened again": "{}" + "".join(f"<b id=b{n}>" for n in range(200)) + "<p>x" * 200 + "{}<p>{}",
    "starts of tags": "{}<p " + "<meta " * 20_000 + ">{}<p>{}",
    "links that close themselves": "{}" + "<a name=x/>" * 5_000 + "<a " * 20_000 + ">{}</a>{}",
    "title": "<title>" + " - " * 100_000 + "</title>{}<p>{}<p>{}",
    "charset": "<meta" + " charset" * 20_000 + ">{}<p>{}<p>{}",
}


@pytest.mark.parametrize("name", GIANTS)
def test_endless_repetition_of_one_thing_is_read(name: str, watched: Watched) -> None:
    html = "<h1>Title</h1>" + GIANTS[name].format("w0x", "w1x", "w2x")
    found = watched.survey(html, 2 if name == "comments" else 3)
    assert found.lost == []
    assert found.chars <= MAX_GROWTH * len(html)
    assert found.chunk_chars <= MAX_GROWTH * len(html)


def test_a_refresh_of_nothing_but_space_is_read(watched: Watched) -> None:
    html = f"<meta http-equiv=refresh content='{' ' * 200_000}'><h1>Title</h1>w0x"
    assert watched.survey(html, 1).lost == []


# Each is a page of a few kilobytes that would be megabytes of Markdown if what it says were done.
BOMBS = {
    "cells over many columns": "<table><tr><td>w0x<td>x</tr>" + "<tr><td colspan=1000>x</tr>" * 500 + "</table>",
    "a cell over all columns there can be": "<table><tr><td colspan=99999999999>w0x<td rowspan=99999999999>x</table>",
    "links below a long base": "<base href='https://x.org/" + "x" * 20_000 + "/'>w0x " + "<a href=x>x</a> " * 200,
    "code in a long language": "<pre class='language-"
    + "x" * 20_000
    + "'>w0x\n"
    + "some more words of code\n\n" * 500
    + "</pre>",
    "code in a long language of a wrapper": "".join(f"<div class='highlight-{'x' * 5_000}'>" for _ in range(3))
    + "<pre>w0x</pre>" * 400,
    "lists in lists": "<ul><li>w0x" + "<ul><li>x" * 1_000,
    "a long term of many": "<dl>w0x" + f"<dt id=a data-name='{'x' * 20_000}'>t<dd>x" * 20 + "</dl>",
    "headings of a section with a long id": "w0x" + f"<section id={'x' * 20_000}><h2>x</h2>x</section>" * 20,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_page_does_not_swell(name: str, watched: Watched) -> None:
    html = f"<h1>Title</h1>{BOMBS[name]}"
    found = watched.survey(html, 1)
    assert found.lost == []
    assert found.chars <= MAX_GROWTH * len(html)
    assert found.chunk_chars <= MAX_GROWTH * len(html)


def work(html: str) -> int:
    """Functions called while a page is read and cut."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        cut(page(html).document)
    finally:
        sys.setprofile(before)
    return calls


ROWS = {
    "paragraphs": "<p>word",
    "words": " word",
    "spans": "<span>word</span> ",
    "emphasis": "<b>word</b> ",
    "links": "<a href=u>word</a> ",
    "inline code": "<code>word</code> ",
    "line breaks": "word<br>",
    "headings": "<h2 id=x>word</h2>text",
    "headings without id": "<h2>word</h2>",
    "permalinks": "<h2 id=x>word<a class=headerlink href=#x>¶</a></h2>",
    "items": "<li>word",
    "bulleted items": "<ul><li>word</ul>",
    "numbered items": "NUMBERED",
    "terms": "<dt id=x>word",
    "entries": "<dt id=x>word<dd>text",
    "lists of entries": "<dl><dt id=x>word<dd>text</dl>",
    "descriptions": "<dt>word<dd>text",
    "rows": "<tr><td>word<td>text",
    "cells": "<td>word",
    "tables": "<table><tr><th>word<th>text<tr><td>word<td>text</table>",
    "code": "<pre>word</pre>",
    "code with lines": "<pre class=language-c><span class=k>word</span><br></pre>",
    "lines of code": "CODE",
    "quotations": "<blockquote>word</blockquote>",
    "notes": "<div class='admonition note'><p class=admonition-title>word<p>text</div>",
    "details": "<details><summary>word</summary>text</details>",
    "tabs": "<div class=tabbed-set><label>word</label><div class=tabbed-content><div class=tabbed-block>text</div></div></div>",
    "images": "<img alt=word> ",
    "empty blocks": "<div></div>",
    "sections": "<section id=x><h2>word</h2>text</section>",
    "comments": "<!-- x -->word ",
    "nested blocks": "<div>word",
    "nested items": "<ul><li>word",
    "nested emphasis": "<b>word",
    "nested entries": "<dl><dt id=x>word<dd>",
}
IN = {"NUMBERED": ("<ol>", "<li>word"), "CODE": ("<pre>", "word\n\nword\n")}


@pytest.mark.parametrize("name", ROWS)
def test_four_times_as_much_is_about_four_times_the_work(name: str) -> None:
    before, unit = IN.get(ROWS[name], ("", ROWS[name]))
    before = before or {"<dt": "<dl>", "<tr": "<table>", "<td": "<table><tr>", "<li": "<ul>"}.get(unit[:3], "")
    work(f"<h1>Title</h1>{before}{unit}")  # what is imported when first needed
    times = 200 if name.startswith("nested") else 100  # what is nested less deep is not flattened
    some, more = (work(f"<h1>Title</h1>{before}{unit * n}") for n in (times, 4 * times))
    assert more <= 5 * some


# -- no word is lost


@dataclass(frozen=True)
class Part:
    """An element of a generated page; `variant` chooses among what it may look like."""

    kind: str
    parts: tuple["Part", ...] = ()
    variant: int = 0


INLINE = [
    "{}",
    "<b>{}</b>",
    "<i>{}</i>",
    "<code>{}</code>",
    "<a href=u>{}</a>",
    "<span class=x>{}</span>",
    "<em><code>{}</code></em>",
    "<a href=#x><b>{}</b></a>",
    "<a href=u><code>{}</code></a>",
    "<kbd>{}</kbd>",
    "<a name=y>{}</a>",
    "<strong><i>{}</i></strong>",
    "<q>{}</q>",
    "<del>{}</del>",
]
# What means something in Markdown, in HTML, or to those who read it, and is only text here.
NOISE = [
    "",
    "|",
    "`",
    "](u)",
    "*",
    "&lt;b&gt;",
    "&amp;amp;",
    "#",
    "\\",
    "\u202e",
    "``",
    "[",
    "&nbsp;",
    "<!-- x -->",
    "~~",
    "$",
    "-",
    "1.",
]
CODE_LINES = [
    "{} = 1  # {}",
    "    {}: |",
    "```",
    "",
    "| {} | --- |",
    "# {}",
    '<{} a="1">&amp;',
    "~~~~",
    "\t{}\\",
    "- {}  ",
    "`{}` **{}** [{}](u)",
    "",
    "> {}",
    "> ```",
]
LANGUAGES = ["", "c", "python", "yaml"]


class Page:
    """Writes parts as HTML, and notes what must come out: words in order, code, ids."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.words: list[str] = []
        self.codes: list[tuple[str, str]] = []
        self.ids: set[str] = {"x", "y"}
        self._turn = 0
        self.html = f"<main><h1>Title</h1>{self._all(parts)}</main>"

    def _word(self) -> str:
        self.words.append(f"w{len(self.words)}x")
        return self.words[-1]

    def _inline(self, variant: int) -> str:
        pieces = []
        for _ in range(1 + variant % 3):
            self._turn += 1
            noise = NOISE[self._turn * 5 % len(NOISE)]
            pieces.append(INLINE[(self._turn + variant) % len(INLINE)].format(f"{self._word()} {noise}".strip()))
        return " ".join(pieces)

    def _id(self, wanted: bool) -> str:
        if not wanted:
            return ""
        self.ids.add(f"id{len(self.ids)}")
        return f" id=id{len(self.ids) - 1}"

    def _code(self, variant: int) -> str:
        lines: list[str] = []
        for number in range(1 + variant * 2):
            line = CODE_LINES[(self._turn + number) % len(CODE_LINES)]
            line = line if line or lines else "    {}"  # a blank line at the begin is no loss
            lines.append(line.format(*(self._word() for _ in range(line.count("{}")))))
        lines.append(self._word())
        self._turn += 3
        code, language = "\n".join(lines), LANGUAGES[variant % len(LANGUAGES)]
        self.codes.append((language, code))
        text = code.replace("&", "&amp;").replace("<", "&lt;")
        if not language:
            return f"<pre>\n{text}\n</pre>"
        if variant % 2:
            return f"<pre><code class=language-{language}>{text}\n</code></pre>"
        return f"<div class=highlight-{language}><div class=highlight><pre><span></span>{text}\n</pre></div></div>"

    def _all(self, parts: tuple[Part, ...]) -> str:
        return "".join(self._part(part) for part in parts)

    def _part(self, part: Part) -> str:
        variant, inside = part.variant, part.parts
        match part.kind:
            case "p":
                return f"<p>{self._inline(variant)}</p>"
            case "text":
                return f" {self._inline(variant)} "
            case "pre":
                return self._code(variant)
            case "h":
                name = f"h{2 + variant % 5}"
                return f"<{name}{self._id(variant % 2 == 0)}>{self._inline(variant)}</{name}>"
            case "ul" | "ol":
                return f"<{part.kind}>{''.join(f'<li>{self._part(item)}</li>' for item in inside)}</{part.kind}>"
            case "items":  # words before the blocks of an item, as they mostly are
                return "<ul>" + "".join(f"<li>{self._inline(variant)}{self._part(item)}</li>" for item in inside) + "</ul>"
            case "dl":
                return f"<dl>{''.join(self._entry(item, variant, number) for number, item in enumerate(inside))}</dl>"
            case "table":
                return self._table(inside, variant)
            case "details":
                return f"<details><summary>{self._inline(variant)}</summary>{self._all(inside)}</details>"
            case "note":
                title = f"<p class=admonition-title>{self._inline(variant)}</p>"
                return f"<div class='admonition {['note', 'tip', 'warning'][variant % 3]}'>{title}{self._all(inside)}</div>"
            case "section":
                return f"<section{self._id(True)}>{self._all(inside)}</section>"
            case "figure":
                return f"<figure>{self._all(inside)}<figcaption>{self._inline(variant)}</figcaption></figure>"
            case kind:
                return f"<{kind}>{self._all(inside)}</{kind}>"

    def _entry(self, item: Part, variant: int, number: int) -> str:
        def term() -> str:
            return f"<dt{self._id(variant % 4 > number % 2)}>{self._inline(variant)}</dt>"

        return "".join(term() for _ in range(1 + variant % 2)) + f"<dd>{self._part(item)}</dd>"

    def _table(self, cells: tuple[Part, ...], variant: int) -> str:
        caption = f"<caption>{self._inline(variant)}</caption>" if variant % 2 else ""
        head = f"<tr><th>{self._inline(variant)}</th><th>{self._inline(variant)}</th></tr>" if variant % 4 > 1 else ""
        rows = "".join(f"<tr><td>{self._inline(variant)}</td><td>{self._part(cell)}</td></tr>" for cell in cells)
        return f"<table>{caption}{head}{rows}</table>"


def parts(leaves: list[str], containers: list[str]) -> st.SearchStrategy[tuple[Part, ...]]:
    variants = st.integers(0, 7)
    leaf = st.builds(Part, st.sampled_from(leaves), st.just(()), variants)

    def around(inner: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
        return st.builds(Part, st.sampled_from(containers), st.lists(inner, min_size=1, max_size=4).map(tuple), variants)

    return st.lists(st.recursive(leaf, around, max_leaves=16), min_size=1, max_size=5).map(tuple)


LEAVES = ["p", "text", "pre", "h"]
CONTAINERS = [
    "div", "section", "article", "blockquote", "ul", "ol", "items", "dl", "table", "details", "note", "aside", "figure", "b",
    "span",
]  # fmt: skip


def check_page(written: Page) -> None:
    extracted = page(written.html)
    document = extracted.document
    flow: list[str] = []
    headings: set[str] = set()
    for section in document.sections:
        if not section.entry:  # what an entry is called stands in its text too
            flow += [w for w in tokens(section.heading) if w not in headings]
            headings.update(tokens(section.heading))  # a section that is gone back to has its heading again
        flow += tokens(section.text)
    assert flow == written.words, written.html
    found = [code for section in document.sections for code in codes(section.text)]
    assert found == written.codes, written.html
    anchors = {section.anchor for section in document.sections} | {symbol.anchor for symbol in document.symbols}
    assert anchors <= written.ids | {None}
    check_chunks(document)


@given(parts(LEAVES, CONTAINERS))
@settings(max_examples=90, deadline=None, derandomize=True)
def test_every_word_of_a_page_comes_out_once_and_in_order(of: tuple[Part, ...]) -> None:
    check_page(Page(of))


@given(parts(["p", "pre"], ["ul", "ol", "items", "dl", "blockquote", "table"]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_code_keeps_its_characters_wherever_it_stands(of: tuple[Part, ...]) -> None:
    check_page(Page(of))


@given(parts(["h", "p"], ["dl", "table", "section", "items", "details", "note"]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_headings_and_entries_in_one_another_lose_no_word(of: tuple[Part, ...]) -> None:
    check_page(Page(of))


# -- one hostile thing at a time


def test_every_kind_of_element_left_open_keeps_what_follows() -> None:
    names = [unit.strip("<>") for unit in NESTED if " " not in unit and "><" not in unit]
    for name in [*names, "td", "tr", "li", "dd", "dt", "pre", "h2", "em", "center", "form", "label", "figure", "x-y", "summary"]:
        words = re.findall("one|two|three|four|five", shown(titled(f"<p>one</p><{name}>two<p>three</p><h2>four</h2>five")))
        assert once(words) == ["one", "two", "three", "four", "five"], name


BLOCK_ELEMENTS = [
    "address", "article", "aside", "blockquote", "center", "dd", "details", "dialog open", "dir", "div", "dt", "fieldset",
    "figcaption", "figure", "form", "h4", "header", "hgroup", "legend", "li", "listing", "main", "menu", "ol", "p", "pre",
    "search", "section", "summary", "ul", "xmp",
]  # fmt: skip


@pytest.mark.parametrize("name", BLOCK_ELEMENTS)
def test_a_block_parts_the_words_around_it(name: str) -> None:
    """The elements that browsers show as blocks (WHATWG HTML, 15.3)."""
    shown_text = shown(titled(f"<p>0</p><div>one<{name}>two</{name}>three<{name}>four</{name}><{name}>five</{name}></div>"))
    assert re.findall(r"[a-z]+", shown_text.removeprefix("Title")) == ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a&nbsp;b &#160;c", "a b c"),
        ("a&ensp;b&emsp;c&thinsp;d", "a b c d"),
        ("&#0;a&#xD800;b&#x110000;c&#99999999999999999999;d", "\ufffda\ufffdb\ufffdc\ufffdd"),
        ("a&#x80;b&#150;c", "a€b–c"),
        ("a&bogus;b&#x;c&#;d&;e", "a&bogus;b&#x;c&#;d&;e"),
        ("a&ltb&gtc&ampd&copye", "a<b>c&d©e"),
        ("&amp;lt;b&amp;gt; &amp;amp;", "&lt;b&gt; &amp;"),
        ("&notin; &notit; &acE;", "∉ ¬it; \u223e\u0333"),
        ("a\0b", "ab"),
        ("a\ud800b", "a\ufffd\ufffd\ufffdb"),
        ("\u202eabc\u202c \u2066d\u2069 \u200fe", "abc d e"),
        ("a\x01\x07\x1bb\x7fc", "abc"),
        ("x < y and 1<2 <3", "x < y and 1<2 <3"),
        ("a<![CDATA[ hidden ]]>b", "ab"),
        ("<math><mtext><![CDATA[x < y]]></mtext></math>", "x < y"),
        ("a<? hidden ?>b</ hidden>c<!hidden>d<!>e", "abcde"),
        ("a<!-->b<!--->c<!----!>d", "abcd"),
        ("a<!-- hidden", "a"),
        ("a<svg><text>hidden</text><![CDATA[hidden]]><style>hidden</style></svg>b", "ab"),
        ("a<svg><foreignObject><p>hidden</p></foreignObject></svg>b", "ab"),
        ("a<svg><b>b</b></svg>c", "a**b**c"),
        ("a<math><mi>b</mi><mo>&lt;</mo><mn>2</mn></math>c", "ab<2c"),
        ("a<noscript>hidden</noscript><template><h2>hidden</h2></template>b", "ab"),
        ("<b>a<p>b</b>c", "**a**\n\n**b**c"),
        ("<pre>a<b>b<i>c</pre>", "```\nabc\n```"),
        ("<pre>a<h2>b</h2>c</pre>", "```\nabc\n```"),
        ("<pre>a<!-- x -->b<script>c</script></pre>", "```\nab\n```"),
        ("<pre>&lt;!-- a --&gt; &amp;lt; <b>&lt;b&gt;</b></pre>", "```\n<!-- a --> &lt; <b>\n```"),
        ("<pre>a\r\nb\rc&#10;d</pre>", "```\na\nb\nc\nd\n```"),
        ("<pre>\ta\u2028b\x0cc</pre>", "```\n\ta\nb\nc\n```"),
        ("<p id=a id=b class=x class=y>a", "a"),
        ('<p a"b\'c<d=e =f " <b>a</p><p \'=">">b</p>', "a\n\nb"),
    ],
)
def test_characters_and_constructs_are_read_as_a_browser_reads_them(html: str, text: str) -> None:
    ((*_, found),) = below(f"<p>{html}")
    assert re.sub(r"[^\S\n\t\u2028\x0c]+", " ", found) == text  # which of the spaces it is does not matter


# Newer versions of Python read these as browsers do.
RAW_TEXT = [
    "<xmp>a < b <h2>c</h2></xmp>d",
    "<xmp><!-- </xmp>a<!-- -->b",
    "<plaintext>a<h2>b",
    "<noembed><h2>a</h2></noembed>b",
    "<iframe><h2>a</h2><!-- </iframe>b<!-- -->c",
    "<noframes><!-- </noframes>a<!-- -->b",
]


@pytest.mark.parametrize("html", RAW_TEXT)
def test_what_is_only_text_begins_no_section(html: str) -> None:
    """The content of some elements is characters, whatever they look like (WHATWG HTML, 13.2.5.2 to 13.2.5.5)."""
    extracted = titled(html)
    assert [s.heading for s in extracted.document.sections] == ["Title"]
    assert shown(extracted).rstrip("`\n")[-1] == re.sub("<[^>]*>|[^a-z]", "", html)[-1]


COMMENTS = ["one<!-- a -- > hidden --> two", "one<!-- --!x hidden --> two", "one<!-- <!-- --> two"]


@pytest.mark.parametrize("html", COMMENTS)
def test_a_comment_ends_where_browsers_end_it(html: str) -> None:
    assert shown(titled(html)).split() == ["Title", "one", "two"]


@pytest.mark.parametrize(
    "html",
    [
        "<a href=u><h2 id=h>Head</h2></a>text",
        "<h2 id=h><a href=u>Head</a></h2>text",
        "<ul><li><h2 id=h>Head</h2>text</ul>",
        "<ol><li><a href=u><b><h2 id=h>Head</h2></b></a>text</ol>",
        "<table><tr><td><h2 id=h>Head</h2>text</table>",
        "<table><tr><td><table><tr><td><h2 id=h>Head</h2>text</table></table>",
        "<dl><dt>term<dd><h2 id=h>Head</h2>text</dl>",
        "<dl><dt><h2 id=h>Head</h2></dt><dd>text</dl>",
        "<blockquote><h2 id=h>Head</h2>text</blockquote>",
        "<details><summary><h2 id=h>Head</h2></summary>text</details>",
        "<fieldset><legend><h2 id=h>Head</h2></legend>text</fieldset>",
        "<b><i><h2 id=h>Head</h2></i></b>text",
        "<div id=h><div><a name=x></a></div><h2 id=h>Head</h2></div>text",
        "<h2 id=h id=other>Head</h2>text",
        "<center><font><h2 id=h>Head</h2></font>text",
    ],
)
def test_a_heading_begins_its_section_wherever_it_stands(html: str) -> None:
    found = below(html)
    (text,) = [text for _, heading, anchor, text in found if (heading, anchor) == ("Head", "h")]
    assert text.endswith("text")


@pytest.mark.parametrize(
    "html", ["<h2>one<p>two", "<h2>one<div>two</div></h2>three", "<dl><dt id=x>one<p>two</p>three<dd>x</dl>"]
)
def test_a_block_in_a_heading_parts_its_words(html: str) -> None:
    (heading,) = [heading for _, heading, _, _ in below(html)]
    assert heading.split() == re.findall("one|two|three", html)[: len(heading.split())]
    assert len(heading.split()) > 1


@pytest.mark.parametrize(
    ("html", "found"),
    [
        (
            "<dl><dt>term<dd><table><tr><td>a<td><pre>code\n  more</pre></table></dl>",
            [(1, "Title", None, "**term**\n\na\n\n```\ncode\n  more\n```")],
        ),
        (
            "<table><tr><td>a<td><dl><dt id=o>outer<dd>b<dl><dt id=i>inner<dd>c</dl>d</dl></table>e",
            [
                (1, "Title", None, "a"),
                (2, "outer", "o", "`outer`\n\nb"),
                (3, "inner", "i", "`inner`\n\nc"),
                (2, "outer", "o", "d"),
                (1, "Title", None, "e"),
            ],
        ),
        (
            "<dl><div><dt id=a>first<dd>b</div><div><dt id=c>second<dd>d</div></dl>e",
            [
                (2, "first", "a", "`first`\n\nb"),
                (2, "second", "c", "`second`\n\nd"),
                (1, "Title", None, "e"),
            ],
        ),
        (
            "<ul><li>a<dl><dt id=o>outer<dd><ul><li><pre>code</pre></ul></dl>b<li>c</ul>",
            [(1, "Title", None, "a"), (2, "outer", "o", "`outer`\n\n- ```\n  code\n  ```"), (1, "Title", None, "b\n\n- c")],
        ),
    ],
)
def test_entries_and_code_inside_of_tables_and_lists(html: str, found: list[tuple[int, str, str | None, str]]) -> None:
    assert below(html) == found


MARKED = [
    "<p>{}0{}", "{}0{}", "<pre>{}0{}</pre>", "<img alt='{}0{}'>", "<h2>{}0{}</h2>", "<dl><dt id=x>{}0{}<dd>x</dl>",
    "<p>{}<b>0</b>{}", "<code>{}0{}</code>", "<a href='{}0{}'>{}0{}</a>", "<td>{}0{}", "<p data-x='{}0{}'>0",
]  # fmt: skip


@pytest.mark.parametrize("mark", ["\x02", "&#2;", "&#x02;", "\x02\n", "\n\n&#2;"])
@pytest.mark.parametrize("html", MARKED)
def test_the_separators_of_sections_are_no_text(mark: str, html: str) -> None:
    extracted = titled("Text." + html.replace("{}", mark))
    assert "\x02" not in shown(extracted)
    assert "0" in shown(extracted)
    assert [s.heading for s in extracted.document.sections if s.level == 1] == ["Title"]


SPOOFED = [
    "<p data-as=script>Text.",
    "<p data-as=h2 id=x>Text.",
    "<p data-as=''>Text.",
    "<p data-as='a b>'>Text.",
    "<div data-as=table>Text.</div>",
    "<p data-as=pre>Text.",
    "<p data-as=img alt=x>Text.",
]


@pytest.mark.parametrize("html", SPOOFED)
def test_a_page_cannot_say_what_only_profiles_say(html: str) -> None:
    assert below(html) == [(1, "Title", None, "Text.")]


SPOOFED_NAMES = ["<h2 id=x data-name=tracker>Overview</h2>x", "<h2 id=x data-name=tracker data-kind=function>Overview</h2>x"]


@pytest.mark.parametrize("html", SPOOFED_NAMES)
def test_names_that_are_not_on_the_page_are_no_symbols(html: str) -> None:
    assert titled(html).document.symbols == ()


SPOOFED_TERMS = ["<dl><dt id=x data-name='a\nb' data-kind=k>term<dd>x</dl>", "<dl><dt data-kind=k>term<dd>x</dl>"]


@pytest.mark.parametrize("html", SPOOFED_TERMS)
def test_the_name_of_a_term_is_the_one_that_is_shown(html: str) -> None:
    assert {symbol.name for symbol in titled(html).document.symbols} <= {"term"}


LANGUAGES_GIVEN = {
    "data-lang": "<pre data-lang='{}'>code</pre>",
    "class": "<pre class='language-{}'>code</pre>",
    "class of a wrapper": "<div class='highlight-{}'><pre>code</pre></div>",
}
HOSTILE_LANGUAGES = ["x\n```\n# Fake", "x`y", "x```", "two words", "x\r", "\n", "<b>", "x" * 500]


@pytest.mark.parametrize("language", HOSTILE_LANGUAGES)
@pytest.mark.parametrize("place", LANGUAGES_GIVEN)
def test_a_language_cannot_break_out_of_its_fence(place: str, language: str) -> None:
    html = LANGUAGES_GIVEN[place].format(language)
    (section,) = titled(f"{html}<p>after").document.sections
    ((name, code),) = codes(section.text)
    assert code == "code"
    assert len(name) < 100
    assert not re.search(r"\s|`", name)


FENCES = ["```", "````", "~~~", "``` begins a fence", "~~~ ~~~", "```python", "- ```", "1. ~~~", "&gt; ```"]


@pytest.mark.parametrize("fence", FENCES)
def test_prose_that_imitates_a_fence_does_not_turn_code_into_prose(fence: str) -> None:
    document = titled(f"<p>{fence}</p><p>before</p><pre>code\n\ncode</pre><p>after</p>").document
    text = "\n\n".join(c.text for c in cut(document))
    assert ("", "code\n\ncode") in codes(text)
    assert are_balanced(text)


def test_prose_that_is_cut_at_a_fence_stays_balanced() -> None:
    document = titled(f"<p>{' ```'.join('word' for _ in range(2_000))}</p><pre>code</pre>").document
    assert all(are_balanced(c.text) for c in cut(document))


@pytest.mark.parametrize("backticks", range(1, 9))
def test_code_with_backticks_keeps_them(backticks: int) -> None:
    ticks = "`" * backticks
    ((*_, text),) = below(f"<pre>a\n{ticks}\nb {ticks} c\n{ticks}x</pre>")
    assert codes(text) == [("", f"a\n{ticks}\nb {ticks} c\n{ticks}x")]
    ((*_, text),) = below(f"<p><code>a{ticks}b</code> <code>{ticks}</code> <code>c</code>")
    assert [match[2].strip() for match in re.finditer(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", text)] == [f"a{ticks}b", ticks, "c"]


OPERATORS = ["+", "&amp;&amp;", "<code>-&gt;</code>", "<b>[]</b>"]


@pytest.mark.parametrize("words", OPERATORS)
def test_an_operator_that_leads_to_its_section_keeps_its_sign(words: str) -> None:
    sign = re.sub("<[^>]*>", "", words).replace("&amp;", "&").replace("&gt;", ">")
    assert sign in shown(
        titled(f"<table><tr><th>Operator<th>Use<tr><td><a href='#add'>{words}</a><td>adds</table><p id=add>Text.")
    )


LINKED_PARTS = [
    "<h2 id=foo><a class=anchor href='#foo'>Foo</a> since 1.2</h2>x",
    "<h2 id=foo><a class=mark href='#foo'>Foo</a> and more</h2>x",
    "<h2 id=foo><a class=anchor href='other.html#foo'>Foo</a> and more</h2>x",
]


@pytest.mark.parametrize("html", LINKED_PARTS)
def test_a_link_that_is_part_of_a_heading_is_kept(html: str) -> None:
    assert "Foo" in shown(titled(html))


NESTED_NOTES = [
    "<div class=note>one <div class='admonition tip'><p class=admonition-title>two<p>three</div></div>",
    "<div class=note><p>one<p>two<div class=warning><p class=title>three</div></div>",
    "<div class=alert><pre>one</pre><div class=callout><span class=title>two</span> three</div></div>",
    "<div class='admonition note'><p class=admonition-title>one<div class=tip>two<p class=title>three</div></div>",
    "<blockquote class=note>one<ul><li>two<li><div class=title>three</div></ul></blockquote>",
    "<div role=note><h3 class=title>one</h3><table><tr><td>two<td class=icon>three</table></div>",
    "<table class=tip><tr><td class=icon>one<td>two<div class=title>three</div></table>",
]


@pytest.mark.parametrize(
    "html",
    NESTED_NOTES,
)
def test_notes_in_notes_keep_their_words_in_order(html: str) -> None:
    assert re.findall("one|two|three", shown(titled(html))) == ["one", "two", "three"]


@pytest.mark.parametrize(
    "html",
    [
        "<div class=tabs><span role=tab>one</span><div role=tabpanel>two</div><p>three</div>",
        "<div class=tabs><span role=tab>one</span><p>two<p>three</div>",
        "<div role=tablist><span role=tab id=t>one</span></div><div role=tabpanel aria-labelledby=t>two</div>three",
        "<div class=tabbed-set><label>one</label><div class=tabbed-block>two</div><div class=tabbed-block>three</div></div>",
        "<div class=tabbed-set><div class=tabbed-block>one <label>two</label> three</div></div>",
    ],
)
def test_tabs_that_are_not_as_they_should_be_keep_their_words(html: str) -> None:
    assert {"one", "two", "three"} <= set(re.findall("[a-z]+", shown(titled(html))))


WITHOUT_HEADINGS = [
    "<p>one<p>two<p>three",
    "<pre>one\ntwo</pre>three",
    "<table><tr><td>one<td>two<tr><td>three<td>three</table>",
    "<ul><li><a href=u>one</a><li><a href=u>two</a></ul><a href=u>three</a>",
    "<dl><dt>one<dd>two<dt>three</dl>",
    "<h4>one</h4><p>two<h5>three</h5>",
    "<div>one<div>two<div>three",
    "<p>one<p>one<p>two<p>two<p>three<p>three",
    "<p>one</p><div class=comments>two</div><div class=sidebar-note>three</div>",
]


@pytest.mark.parametrize("html", WITHOUT_HEADINGS)
def test_a_page_without_headings_loses_no_word(html: str) -> None:
    assert {"one", "two", "three"} <= set(re.findall("[a-z]+", shown(page(html))))


# -- soups: what the parser of browsers takes for text comes out, and nothing else

PIECES = [
    "<p>", "</p>", "<div>", "</div>", "<b>", "</b>", "<i>", "</i>", "<a href=u>", "<a name=n>", "</a>", "<code>", "</code>",
    "<pre>", "</pre>", "<ul>", "<ol>", "<li>", "</li>", "</ul>", "<dl>", "<dt>", "<dt id=d>", "<dd>", "</dl>", "<table>",
    "<tr>", "<td>", "<th>", "</td>", "</table>", "<caption>", "<tbody>", "<h2>", "</h2>", "<h3 id=h>", "</h3>",
    "<section id=s>", "</section>", "<blockquote>", "</blockquote>", "<details>", "<summary>", "</summary>", "</details>",
    "<svg>", "</svg>", "<math>", "<mi>", "<mtext>", "</math>", "<annotation-xml>", "<foreignObject>", "<desc>", "<noscript>",
    "</noscript>", "<template>", "</template>", "<style>", "</style>", "<script>", "</script>", "<!--", "-->", "--!>",
    "<!-->", "<![CDATA[", "]]>", "<?", "</ ", "<", ">", "<p a='", "'", '"', "/>", "<a id=x/>", "<br>", "</br>", "<hr>",
    "<img alt='", "&#0;", "&amp;", "&lt;", "\0", "\x02", "\x0c", "`", "```", "|", "](", "<font color=x>", "</font>",
    "<nobr>", "<form>", "<object>", "<frameset>", "</body>", "</html>", "<body>", "<html>", "<span title='>'>", "</span>",
    "<x-y>", "</x-y>", "<figure>", "<figcaption>",
]  # fmt: skip


def visible(html: str) -> set[str]:
    """The words of a page that a browser shows, as its parser sees it."""
    tree = LexborHTMLParser(html)
    for node in tree.css("script, style, noscript, template, svg, head"):
        node.decompose()
    return set(WORD.findall(tree.body.text() if tree.body is not None else ""))


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.integers(0, 50).map(lambda n: f" w{n}x ")), max_size=40))
@settings(max_examples=250, deadline=None, derandomize=True)
def test_of_any_soup_comes_out_what_a_browser_shows(pieces: list[str]) -> None:
    html = "<h1>Title</h1>" + "".join(pieces)
    extracted = page(html)
    assert set(WORD.findall(shown(extracted))) == visible(html), html
    assert "\x02" not in shown(extracted)
    shown(extracted).encode()  # no lone surrogate
    ids = {node.attributes.get("id") or node.attributes.get("name") for node in LexborHTMLParser(html).css("[id], a[name]")}
    assert {section.anchor for section in extracted.document.sections} <= ids | {None}
    chunks = cut(extracted.document)
    assert set(WORD.findall("".join(s.text for s in extracted.document.sections))) <= set(
        WORD.findall("".join(c.text for c in chunks))
    )


@given(st.text(st.characters(), max_size=80), st.sampled_from(["utf-8", "utf-16", "utf-7", "shift_jis", None]))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_characters_are_read_and_can_be_stored(text: str, charset: str | None) -> None:
    extracted = extract(URL, b"<h1>T</h1><p>x " + text.encode("utf-8", "surrogatepass"), charset)
    for c in cut(extracted.document):
        c.embedded_text.encode()
        c.words.encode()


# -- chunks of generated documents


@dataclass(frozen=True)
class Written:
    """A block of Markdown, with what must be told with each of its words."""

    kind: str
    lines: int
    words: int
    note: str

    def markdown(self, numbers: Iterator[int]) -> tuple[str, list[str]]:
        made: list[str] = []

        def words(count: int) -> str:
            made.extend(f"w{next(numbers)}x" for _ in range(count))
            return " ".join(made[-count:])

        match self.kind:
            case "table":
                head = f"| {words(1)} | {words(1)} |\n| --- | --- |"
                rows = "\n".join(f"| {words(1)} | {words(self.words)} |" for _ in range(self.lines))
                return f"{head}\n{rows}", made
            case "code":
                code = "\n".join(f"{'    ' * (n % 3)}{words(self.words)}" + "\n" * (n % 7 == 6) for n in range(self.lines))
                return f"```{self.note}\n{code}\n```", made
            case "list":
                return "\n".join(f"- {words(self.words)}" for _ in range(self.lines)), made
            case _:
                return " ".join(f"{words(self.words)}." for _ in range(self.lines)), made


BLOCKS = st.builds(
    Written,
    st.sampled_from(["prose", "table", "code", "list"]),
    st.integers(1, 40),
    st.integers(1, 30),
    st.sampled_from(["python", "c", "yaml", ""]),
)


def write(plan: list[list[Written]], start: int = 0) -> tuple[Document, list[tuple[Written, list[str]]]]:
    """A document of a section for each list of blocks, and the words of each block."""
    numbers = iter(range(start, start + 1_000_000))
    sections, told = [], []
    for number, blocks in enumerate(plan):
        texts = []
        for block in blocks:
            text, made = block.markdown(numbers)
            texts.append(text)
            told.append((block, made))
        sections.append(Section(2 + number % 3, f"Part {number}", f"part-{number}", "\n\n".join(texts), number % 2 == 1))
    return Document("Page", None, tuple(sections), ()), told


PLANS = st.lists(st.lists(BLOCKS, min_size=1, max_size=4), min_size=1, max_size=4)


@given(PLANS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_chunks_hold_the_words_in_order_and_whole(plan: list[list[Written]]) -> None:
    document, told = write(plan)
    chunks = cut(document)
    assert once([w for c in chunks for w in tokens(c.text)]) == [w for _, made in told for w in made]
    assert [c.ordinal for c in chunks] == list(range(len(chunks)))
    assert all(len(c.text) <= MAX_CHARS and are_balanced(c.text) for c in chunks)


@given(PLANS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_each_piece_of_a_table_or_of_code_says_what_it_is(plan: list[list[Written]]) -> None:
    document, told = write(plan)
    for c in cut(document):
        present = set(tokens(c.text))
        in_code = {w: language for language, code in codes(c.text) for w in tokens(code)}
        for block, made in told:
            here = present & set(made)
            if here and block.kind == "code":
                assert {in_code.get(w) for w in here} == {block.note}
            elif block.kind == "table":
                assert not here or f"| {made[0]} | {made[1]} |\n| --- | --- |" in c.text
                assert not here & set(in_code)


@given(PLANS, st.integers(0, 3), st.lists(BLOCKS, max_size=3))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_another_section_changes_no_id(plan: list[list[Written]], which: int, other: list[Written]) -> None:
    document, _ = write(plan)
    # a long section is joined with none, so what stands beside it does not matter
    sections = [replace(s, text=f"{s.text}\n\n{'more words ' * 40}", level=2) for s in document.sections]
    which %= len(sections)
    changed, _ = write([other], start=500_000)
    text = f"{changed.sections[0].text}\n\n{'other words ' * 40}"
    after = [replace(s, text=text) if number == which else s for number, s in enumerate(sections)]
    before_chunks = cut(replace(document, sections=tuple(sections)))
    after_chunks = cut(replace(document, sections=tuple(after)))
    heading = sections[which].heading
    assert [c.id for c in before_chunks if heading not in c.path] == [c.id for c in after_chunks if heading not in c.path]
    assert {c.id for c in before_chunks if heading in c.path}.isdisjoint(c.id for c in after_chunks)


LINES = [
    "```",
    "````",
    "~~~",
    "```python",
    "- ",
    "1. ",
    "> ",
    "| a | b |",
    "| --- | --- |",
    "",
    "   ",
    "[",
    "](",
    "https://x.org/",
    "`",
    "# x",
    "\t",
]


@given(
    st.lists(st.one_of(st.sampled_from(LINES), st.integers(0, 999).map(lambda n: f"w{n}x")), max_size=60),
    st.sampled_from([" ", "\n", ""]),
    st.integers(1, 60),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_markdown_is_cut_without_loss(pieces: list[str], glue: str, times: int) -> None:
    text = "\n".join([glue.join(pieces)] * times)
    longest = max(map(len, text.split()), default=0)
    for entry in (False, True):
        chunks = cut(Document("Page", None, (Section(2, "Part", None, text, entry),), ()))
        assert set(WORD.findall(text)) == set(WORD.findall(" ".join(c.text for c in chunks)))
        assert max((len(c.text) for c in chunks), default=0) <= max(MAX_CHARS, 2 * longest)
