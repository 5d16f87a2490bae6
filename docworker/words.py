"""What a text is searched by. Pure; owns py_rust_stemmers, which is Snowball's English stemmer.

A word is kept in its stem. A name is kept whole and in parts, so that it is found either way: `asyncio.create_task` is
`asyncio.create_task`, `create_task`, `create` and `task`; `createTask` is `createtask`, `create` and `task`;
`--force-with-lease` is `force-with-lease` and its words. Scripts that do not set words apart are kept in pairs of characters.

    passage  → words             index_words, in the order of the text, as often as they stand there
    question → {word: how often} question_words, without the words that every question has
    question → named_words       those of them that look like names: documentation that knows none of them is another's
    question → names             the names as they stand there, to be looked up among the symbols
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from py_rust_stemmers import SnowballStemmer

_stem = SnowballStemmer("english").stem_word

_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"  # kana, Han, Hangul
_WORD = re.compile(
    rf"(?P<unspaced>[{_UNSPACED}]+)|(?:(?![{_UNSPACED}])[^\W\d]|[$@])(?:(?![{_UNSPACED}])[\w$])*"
    rf"(?:(?:\.|::|->|#|-)(?![{_UNSPACED}])[^\W\d](?:(?![{_UNSPACED}])[\w$])*)*|\d+(?:\.\d+)*"
)
_SEGMENT = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NAME = re.compile(
    r"`(?P<quoted>[^`\n]+)`"
    r"|(?<![\w-])(?P<option>--?[A-Za-z][\w-]*)"
    r"|(?<![\w$])(?P<qualified>[^\W\d][\w$]*(?:(?:\.|::|->|#)[^\W\d][\w$]*)+)"
    r"|(?<!\w)(?P<joined>\w*_\w+)"
    r"|(?<!\w)(?P<cased>[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*)"
    r"|(?<!\w)(?P<called>\w++)(?=\()"
    r"|(?<![\w.])\.(?P<method>[^\W\d]\w*)"
)
_LIKE_NAME = re.compile(r"[a-z][A-Z]|[A-Z]{2}|[_\d.:#@$]")
_SENTENCE_START = re.compile(r"(?:^|[.!?:])\s*$")
_MAX_WORD_CHARS = 100  # a longer one is data, not a word
_MAX_NAMES = 20
# Said in questions whatever they are about.
_COMMON_TEXT = """
a about after all also am an and any are as at be because been before being but by can could d did do does doing don down each
few for from further get gets getting had has have having he her here him his how i if in into is it its itself just let like ll
m make me more most my need no nor not now of off on once only or other our out over own please re s same she should so some such
t than that the their them then there these they this those through to too try trying under until up us use used using ve very
want was we were what when where whether which while who whom why will with would you your yours
"""
_COMMON = frozenset(_COMMON_TEXT.split())


def index_words(text: str) -> list[str]:
    """The words of a passage, in order, each in every form that it is found by."""
    return [form for match in _WORD.finditer(text) for form in _forms(match)]


def prose(text: str) -> str:
    """A long prompt without what is no prose: fenced blocks and indented lines, such as code and the frames of a traceback."""
    kept, fenced = [], False
    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and not line.startswith(("  ", "\t")):
            kept.append(line)
    return "\n".join(kept) if any(map(str.strip, kept)) else text


def question_words(text: str) -> Counter[str]:
    """How often each word is asked for. Common words count only when there are no others."""
    matches = list(_WORD.finditer(text))
    telling = [match for match in matches if match[0].lower() not in _COMMON]
    return Counter(form for match in telling or matches for form in _forms(match))


def named_words(text: str) -> frozenset[str]:
    """The words of a question that look like names: joined, with digits or capitals inside, or capital in mid-sentence."""
    return frozenset(
        form
        for match in _WORD.finditer(text)
        if _LIKE_NAME.search(match[0])
        or (
            match[0] != "I"
            and match[0][0].isupper()
            and not _SENTENCE_START.search(text, max(0, match.start() - 9), match.start())
        )
        for form in _forms(match)
    )


def names(text: str) -> list[str]:
    """What looks like the name of something, as it stands in a question of any length; a question of two words may be one."""
    found = [match[match.lastgroup or 0].strip() for match in _NAME.finditer(text)]
    if len(text.split()) <= 2:
        found.append(text.strip())
    return list(dict.fromkeys(name for name in found if 1 < len(name) <= _MAX_WORD_CHARS))[:_MAX_NAMES]


def _forms(match: re.Match[str]) -> Iterator[str]:
    word = match[0]
    if match["unspaced"]:
        yield from (word[start : start + 2] for start in range(max(1, len(word) - 1)))
    elif len(word) <= _MAX_WORD_CHARS:
        yield from _spaced_forms(word)


@lru_cache(100_000)
def _spaced_forms(word: str) -> tuple[str, ...]:
    segments = _SEGMENT.findall(word)
    parts = [part for segment in segments if segment.isascii() for part in _PART.findall(segment)]
    return tuple(dict.fromkeys(_stem(form.lower()) for form in (word, *segments, *parts)))
