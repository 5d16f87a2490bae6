"""Document → chunks. Pure.

A section is a chunk when it fits. A small one is joined with the small ones after it that stand under the same
heading; a large one is cut between blocks (paragraph, list item, table row, fenced code), then inside them at the
best place there is: a blank line of code, a line, a sentence, a word. A cut fence is closed and opened again with its
language, a cut table repeats its header. An API entry is never joined with anything.

Links to pages of the same site are shown without their target: it would cost half of what a reader's budget holds, and what
they name can be searched. Those that lead elsewhere keep it.

    sections → _paths → _joined → _cut → Chunk(id, path, anchor, text, what is embedded, what is searched)
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from urllib.parse import unquote, urlsplit

from docworker import CHUNKER_VERSION
from docworker.model import Chunk, Document, Section, digest
from docworker.urls import origin
from docworker.words import index_words

# The default model sees 256 tokens: 1,050 characters of documentation (4.1 a token on the python corpus), title and path
# included. nDCG@5 of plain fusion, mean of git, nodejs, libadwaita and octave (110 questions): .704 with 700 to 800
# characters, .708 with 1,000, .693 with 1,200.
MAX_CHARS = 1_000
# A section shorter than this says too little alone to be found by its vector.
_SMALL_CHARS = 300
# A shorter section stands on many pages by chance ("Deprecated.").
_PASSAGE_CHARS = 60
# A line that opens or closes fenced code: what stands before it (indentation, bullet, quotation mark), fence, language.
FENCE = re.compile(r"^((?:[> \t]|[-*+][ \t]|\d+[.)][ \t])*)(`{3,}(?=[^`\n]*$)|~{3,})(.*)$", re.MULTILINE)
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")
_SPACE = re.compile(r"\s")
# Inline code or a link; only the latter has `words` and `url`.
_LINK = re.compile(
    r"(?<!`)(?P<ticks>`++)[^\n]*?(?<!`)(?P=ticks)(?!`)"
    r"|\[(?P<words>(?:[^\[\]`\n]|`[^`\n]*`|\[[^\[\]\n]*\])*)\]\((?P<url>https?://[^\s()]+)\)"
)
_SIGNATURE = re.compile(r"(`{1,2})(?!`).+\1")
_MAX_SIGNATURE_CHARS = 300
_NAME_SUFFIX = re.compile(r"(?:/index)?\.x?html?$")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+")


@dataclass(frozen=True, slots=True)
class _Passage:
    path: tuple[str, ...]
    anchor: str | None
    text: str
    entry: bool


def chunk(document: Document, docset_id: str, url: str) -> tuple[Chunk, ...]:
    """Cut a page into chunks of at most 1,000 characters of shown text (single words aside), in page order.

    `url` is the page's canonical URL. The same document gives the same chunks with the same ids. An id stands for all that the
    shelf shows of a chunk, so that a row is never changed: what differs in anything is another chunk.
    """
    chunks: list[Chunk] = []
    equal = Counter[str]()
    before = (str(CHUNKER_VERSION), docset_id, url, document.title)
    named = index_words(" ".join((document.title, _NAME_SUFFIX.sub("", unquote(urlsplit(url).path)))))
    for passage in _joined(_paths(document, url)):
        section = len(chunks)
        whole = passage.text or " ".join(passage.path[-1:] or (document.title,))
        for text in _cut_entry(whole) if passage.entry else _cut(whole, MAX_CHARS):
            same = digest(*before, passage.anchor or "", *passage.path, text, size=10)
            equal[same] += 1
            embedded = embedded_text(document.title, passage.path, text)
            chunks.append(
                Chunk(
                    id=digest(same, str(equal[same]), size=10),
                    ordinal=len(chunks),
                    section=section,
                    path=passage.path,
                    anchor=passage.anchor,
                    text=text,
                    embedded_text=embedded,
                    text_hash=digest(embedded, size=16),
                    words=" ".join((*named, *index_words(" ".join(passage.path)), *index_words(text))),
                )
            )
    return tuple(chunks)


def embedded_text(title: str, path: Iterable[str], text: str) -> str:
    """What a chunk's vector is of: its text under its page's title and the headings above it."""
    return "\n".join((" > ".join((title, *path)), text))


def content_hash(document: Document) -> str:
    """Hash of all that a page's chunks and names are made from."""
    return digest(document.title, *(repr(part) for part in (*document.sections, *document.symbols)), size=16)


def main_hash(document: Document, url: str) -> str:
    """Hash of what a reader sees, the same for pages of the same text whatever their title, anchors, white space and address."""
    texts = (f"{section.heading}\n{shown(section.text, url)}" for section in document.sections)
    return digest(*(" ".join(text.split()) for text in texts), size=16)


def passages(document: Document, url: str) -> tuple[int, ...]:
    """A 64-bit hash of each distinct section of some length, by which the same text is known on other pages."""
    texts = (" ".join(shown(section.text, url).split()) for section in document.sections)
    found = {int.from_bytes(bytes.fromhex(digest(text)), "big", signed=True) for text in texts if len(text) >= _PASSAGE_CHARS}
    return tuple(sorted(found))


def shown(text: str, url: str) -> str:
    """Markdown of the page at `url` without the targets of links to its own site."""
    site = f"{origin(url)}/"

    def words(match: re.Match[str]) -> str:
        return match["words"] if (match["url"] or "").startswith(site) else match[0]

    if site not in text:
        return text
    lines, fence = text.split("\n"), ""
    for number, line in enumerate(lines):
        match = FENCE.match(line)
        if fence:
            fence = "" if match and match[2].startswith(fence) and not match[3].strip() else fence
        elif match:
            fence = match[2]
        elif site in line:
            lines[number] = _LINK.sub(words, line)
    return "\n".join(lines)


def _paths(document: Document, url: str) -> Iterator[_Passage]:
    """Each section with the headings above it and its own; the page's title is not one of them.

    A heading without text or a section below it stands for itself.
    """
    above: list[Section] = []
    for section, after in zip_longest(document.sections, document.sections[1:]):
        while above and above[-1].level >= section.level:
            above.pop()
        above.append(section)
        path = tuple(s.heading for s in above if s.heading and (s.entry or s.heading != document.title))
        if section.text or after is None or after.level <= section.level:
            yield _Passage(path, section.anchor, shown(section.text, url), section.entry)


def _joined(passages: Iterable[_Passage]) -> Iterator[_Passage]:
    """Join a small passage with small ones that follow it under the same heading, or stand below it."""
    held: _Passage | None = None
    for passage in passages:
        joined = _join(held, passage) if held else None
        if joined is not None:
            held = joined
            continue
        if held:
            yield held
        held = passage
    if held:
        yield held


def _join(first: _Passage, second: _Passage) -> _Passage | None:
    """Both as one, the second under its heading as bold text; None when they do not belong or fit together."""
    if first.entry or second.entry or min(len(first.text), len(second.text)) > _SMALL_CHARS:
        return None
    if first.text and not second.text:  # a heading alone belongs to what follows, as the first of two signatures does
        return None
    common = first.path[:-1] if second.path[: len(first.path)] != first.path else first.path
    below = second.path[len(common) :]
    if len(below) > 1 or second.path[: len(common)] != common or (not common and first.path):
        return None
    own = (f"**{first.path[-1]}**", first.text) if common != first.path else (first.text,)
    text = "\n\n".join(filter(None, (*own, f"**{below[0]}**" if below else "", second.text)))
    return replace(first, path=common, text=text) if len(text) <= MAX_CHARS else None


def _cut(text: str, limit: int) -> Iterator[str]:
    """Pieces of at most `limit` characters, as full as blocks allow."""
    held = ""
    for block in _blocks(text):
        for piece in [block] if len(block) <= limit else _cut_block(block, limit):
            if held and len(held) + 2 + len(piece) > limit:
                yield held
                held = piece
            else:
                held = f"{held}\n\n{piece}" if held else piece
    if held:
        yield held


def _cut_entry(text: str) -> Iterator[str]:
    """Pieces of an entry, each under its signature."""
    signature, _, body = text.partition("\n\n")
    if len(text) <= MAX_CHARS or len(signature) > _MAX_SIGNATURE_CHARS or not _SIGNATURE.fullmatch(signature):
        yield from _cut(text, MAX_CHARS)
        return
    for piece in _cut(body, MAX_CHARS - len(signature) - 2):
        yield f"{signature}\n\n{piece}"


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs, lists, tables and whole fenced blocks: what stands between blank lines outside a fence."""
    lines: list[str] = []
    fence: str | None = None
    for line in text.split("\n"):
        match = FENCE.match(line)
        if fence is None and match:
            fence = match[2]
        elif fence is not None and match and match[2].startswith(fence) and not match[3].strip():
            fence = None
        if fence is None and not line.strip():
            if lines:
                yield "\n".join(lines)
            lines = []
        else:
            lines.append(line)
    if lines:
        yield "\n".join(lines)


def _cut_block(block: str, limit: int) -> Iterator[str]:
    """A block that is too long, cut where it shows least; every piece stands for itself."""
    lines = block.split("\n")
    parts = list(_parts(lines))
    if len(parts) > 1:
        yield from _pack(parts, limit, "\n", _cut_block)
    elif match := FENCE.match(lines[0]):
        indent = re.sub(r"[^>\s]", " ", match[1])
        closing = indent + match[2]
        body = lines[1:-1] if len(lines) > 1 and lines[-1].strip("> \t") == match[2] else lines[1:]
        opening, room = lines[0], max(limit - len(lines[0]) - len(closing) - 2, limit // 2)
        for piece in _pack(re.split(r"\n(?=\n)", "\n".join(body)), room, "\n", _cut_lines):
            yield f"{opening}\n{piece.strip(chr(10))}\n{closing}"
            opening = indent + lines[0][len(match[1]) :]
    elif lines[0].startswith("|") and len(lines) > 2:
        head = "\n".join(lines[:2]) + "\n"
        if len(head) > limit // 2:  # repeated, it would leave no room for the rows
            head, lines = "", ["", "", *lines]
        for piece in _pack(lines[2:], limit - len(head), "\n", _words):
            yield head + piece
    else:
        yield from _cut_sentences(block, limit)


def _parts(lines: Iterable[str]) -> Iterator[str]:
    """List items, fences and what stands between them; a block that has none of them is one part."""
    held: list[str] = []
    fence: str | None = None
    for line in lines:
        match = FENCE.match(line)
        closes = fence is not None and match is not None and match[2].startswith(fence) and not match[3].strip()
        opens = fence is None and match is not None
        if held and (opens or (fence is None and _ITEM.match(line))):
            yield "\n".join(held)
            held = []
        held.append(line)
        if closes:
            yield "\n".join(held)
            held, fence = [], None
        elif opens and match is not None:
            fence = match[2]
    if held:
        yield "\n".join(held)


def _cut_lines(text: str, limit: int) -> Iterator[str]:
    yield from _pack(text.split("\n"), limit, "\n", _words)


def _cut_sentences(text: str, limit: int) -> Iterator[str]:
    yield from _pack(_SENTENCE_END.split(text), limit, " ", _words)


def _pack(parts: Iterable[str], limit: int, glue: str, cut: Callable[[str, int], Iterator[str]]) -> Iterator[str]:
    """Put parts together again as far as `limit` allows; a part that is too long is `cut`."""
    held: str | None = None
    for part in parts:
        for piece in [part] if len(part) <= limit else cut(part, limit):
            if held is not None and len(held) + len(glue) + len(piece) <= limit:
                held = held + glue + piece
            else:
                if held is not None and held.strip():
                    yield held
                held = piece
    if held is not None and held.strip():
        yield held


def _words(text: str, limit: int) -> Iterator[str]:
    """Cut at white space; a single word longer than `limit` stays whole."""
    while len(text) > limit:
        before = [match.start() for match in _SPACE.finditer(text, 1, limit + 1)]
        following = None if before else _SPACE.search(text, limit)
        at = before[-1] if before else following.start() if following else len(text)
        yield text[:at]
        text = text[at + 1 :]
    if text:
        yield text
