"""Hits → snippets inside a budget of characters. Pure.

A hit is given with all its neighbours that fit: without the last ones first. If it does not fit alone, it is cut at the best
boundary if at least 200 characters of the budget remain, else left out. Every character that is handed over counts, the
lines above the content included.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence

from docworker.chunking import FENCE
from docworker.model import Hit, Snippet

# Contract: with less than this left, a piece of a result is not worth its place.
MIN_CUT_CHARS = 200
_GLUE = "\n\n"  # between a hit and its neighbours
_BOUNDARIES = (
    re.compile(r"\n\n"),  # paragraph
    re.compile(r"\n"),  # line of code, list item, table row
    re.compile(r"(?<=[.!?])\s"),  # sentence
)
# A boundary is good enough when it keeps this share of what would fit; else the next finer one is tried.
_GOOD_SHARE = 0.6


def fit(hits: Iterable[Hit], max_total_chars: int, *, formatted: bool) -> tuple[list[Snippet], bool]:
    """Snippets of `hits` in their order, together at most `max_total_chars`; and whether any was shortened or left out."""
    snippets: list[Snippet] = []
    remaining, truncated = max_total_chars, False
    for hit in hits:
        head = _head(hit) if formatted else ""
        content, whole = _widest(hit, remaining - len(head))
        if not whole:
            truncated = True
            content = cut(content, remaining - len(head)) if remaining >= MIN_CUT_CHARS else ""
            if not content:
                continue
        count = len(head) + len(content)
        snippets.append(Snippet(hit, content, head + content if formatted else None, count))
        remaining -= count
    return snippets, truncated


def _widest(hit: Hit, room: int) -> tuple[str, bool]:
    """The hit with as many of its neighbours as there is room for, what leads up to it before what follows; and whether
    that is all of it."""
    before, after = deque(hit.before), list(hit.after)
    while True:
        text = _joined((*before, hit.text, *after))
        if len(text) <= room or not (before or after):
            return text, len(text) <= room and len(before) + len(after) == len(hit.before) + len(hit.after)
        if after:
            after.pop()
        else:
            before.popleft()


def _joined(pieces: Sequence[str]) -> str:
    """Pieces of one section as one text; the signature that stands above every piece of an API entry only once."""
    signature = pieces[0].partition(_GLUE)[0] + _GLUE
    return _GLUE.join((pieces[0], *(piece.removeprefix(signature) for piece in pieces[1:])))


def _head(hit: Hit) -> str:
    section = f"Section: {' > '.join(hit.path)}\n" if hit.path else ""
    return f"## {hit.title}\nSource: {hit.url}\n{section}\n"


def cut(text: str, limit: int) -> str:
    """The longest good beginning of `text` in at most `limit` characters; a code fence that is cut is closed.

    Ends at a paragraph, line or sentence, failing these at a word; empty when not even a word fits.
    """
    if len(text) <= limit:
        return text
    room = limit
    while room > 0:
        end = _boundary(text, room)
        kept = text[:end].rstrip()
        closing = _closing(kept)
        if closing is None:
            return kept
        opened, fence = closing
        if kept[opened:].count("\n") == 0:  # nothing of the code is left: leave the bare fence out too
            kept = kept[:opened].rstrip()
            return kept
        if len(kept) + 1 + len(fence) <= limit:
            return f"{kept}\n{fence}"
        room = min(room, end) - 1 - len(fence)
    return ""


def _boundary(text: str, room: int) -> int:
    """Where to end within `room` characters."""
    in_code = _closing(text[:room]) is not None
    last = 0
    for pattern in _BOUNDARIES[1:2] if in_code else _BOUNDARIES:
        ends = [match.start() for match in pattern.finditer(text, 0, room + 1) if match.start() <= room]
        last = max(ends, default=0)
        if last >= _GOOD_SHARE * room:
            return last
    if in_code and last > 0:
        return last
    word = max(text.rfind(" ", 0, room + 1), text.rfind("\n", 0, room + 1))
    return max(word, 0)


def _closing(text: str) -> tuple[int, str] | None:
    """Where the fence that is open at the end of `text` begins, and the line that closes it; None when none is open."""
    opened: tuple[int, str] | None = None
    for match in FENCE.finditer(text):
        if opened is None:
            opened = (match.start(), re.sub(r"[^>\s]", " ", match[1]) + match[2])
        elif match[2].startswith(opened[1].strip("> \t")) and not match[3].strip():
            opened = None
    return opened
