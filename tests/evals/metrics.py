"""Figures for one question and its answer. Pure.

A page is its URL without the fragment. It counts once in a ranking, at its first place; places are counted over pages,
so that two passages of one page take up one place. Relevant is every page with a grade unless `least_grade` says more.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_DIRECTORY_INDEX = re.compile(r"(?<=/)index\.html?$")
_FENCE = re.compile(r"^[> \t]*(?:`{3,}|~{3,}).*$", re.MULTILINE)
_LINE_START = re.compile(r"^[> \t]*(?:(?:[-*+]|\d+[.)]|#{1,6})[ \t]+)?", re.MULTILINE)
_TARGET = re.compile(r"\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")
_MARKS = re.compile(r"[\s*_`\\|~\[\]\u200b\u00ad]+")


@dataclass(frozen=True, slots=True)
class Gold:
    """A page that answers; `anchor` None means that any place on it will do."""

    page: str
    anchor: str | None
    grade: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a result points to."""

    page: str
    anchor: str | None


def place(url: str) -> Place:
    """The page and the section that a URL cites, percent-decoded; `/x/index.html` is the page `/x/`."""
    parts = urlsplit(url)
    path = _DIRECTORY_INDEX.sub("", unquote(parts.path) or "/")
    query = f"?{parts.query}" if parts.query else ""
    return Place(f"{parts.scheme}://{parts.netloc}{path}{query}", unquote(parts.fragment) or None)


def ranking(places: Iterable[Place]) -> list[str]:
    """The pages, each at its first place."""
    return list(dict.fromkeys(each.page for each in places))


def grades(gold: Iterable[Gold]) -> dict[str, int]:
    """The highest grade of each page."""
    highest: dict[str, int] = {}
    for each in gold:
        highest[each.page] = max(each.grade, highest.get(each.page, 0))
    return highest


def relevant(grade_of: Mapping[str, int], least_grade: int = 1) -> set[str]:
    """The pages of at least this grade."""
    return {page for page, grade in grade_of.items() if grade >= least_grade}


def ndcg(pages: Sequence[str], grade_of: Mapping[str, int], k: int = 5) -> float:
    """Discounted gain of the first `k` pages against the best there could be; a page of grade g gains 2^g − 1.

    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", with the gains of Burges et al. 2005.
    """
    best = _dcg(sorted(grade_of.values(), reverse=True)[:k])
    return _dcg([grade_of.get(page, 0) for page in pages[:k]]) / best if best else 0.0


def _dcg(gained: Iterable[int]) -> float:
    return sum((math.exp2(grade) - 1) / math.log2(rank + 1) for rank, grade in enumerate(gained, 1))


def reciprocal_rank(pages: Sequence[str], wanted: Collection[str]) -> float:
    """1 / the place of the first wanted page; 0 when there is none."""
    return next((1 / rank for rank, page in enumerate(pages, 1) if page in wanted), 0.0)


def recall(pages: Sequence[str], wanted: Collection[str], k: int = 5) -> float:
    """The share of the wanted pages among the first `k`."""
    return len(set(pages[:k]) & set(wanted)) / len(wanted) if wanted else 0.0


def hit(pages: Sequence[str], wanted: Collection[str], k: int) -> float:
    """1 when a wanted page is among the first `k`, else 0."""
    return float(any(page in wanted for page in pages[:k]))


def anchored(places: Iterable[Place], gold: Iterable[Gold]) -> float:
    """1 when a result points to a right section of a right page, else 0. A page whose gold anchor is None is right anywhere."""
    right = {(each.page, each.anchor) for each in gold}
    return float(any((each.page, each.anchor) in right or (each.page, None) in right for each in places))


def holds(texts: Iterable[str], phrase: str) -> float:
    """1 when one of the texts holds the phrase, white space and Markdown marks aside, else 0. Case counts.

    What stands half in one text and half in the next does not count: a reader sees them apart.
    """
    wanted = fold(phrase)
    return float(bool(wanted) and any(wanted in fold(text) for text in texts))


def fold(text: str) -> str:
    """Markdown without marks, targets of links, lines of fences and any white space."""
    return _MARKS.sub("", _TARGET.sub("]", _LINE_START.sub("", _FENCE.sub("", text))))


def mean(values: Collection[float]) -> float:
    """0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def quantile(values: Collection[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
