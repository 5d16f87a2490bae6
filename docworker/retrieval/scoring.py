"""How good an answer each candidate is, and whether any is good enough. Pure.

A chunk's score is made of what is known of it and of what is known of its page, since a page that has several passages about
the matter is more often the right one than a page that mentions it once:

      cosine                 how near the chunk is to the question in meaning
    + covered                how much of the question's words it holds
    + 1.5 page_cosine        the mean of its page's three nearest chunks
    + .5 page_covered        how much of the question's words its page's candidates hold together
    − .08 ln(chunks)         a long page holds everything somewhere
    + .4 named²              it explains a name that is so much of the question

All parts are absolute, 0 to 1, so that docsets of any size compare; and so is the evidence that there is an answer at all. The
log in tests/evals tells what was tried instead.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from docworker.model import Candidate, Scored
from docworker.words import index_words

_NEAREST_OF_PAGE = 3
# The second time that a word stands in a chunk says little more: BM25's k1 (Robertson and Zaragoza 2009), and twice of it
# for the page. There is no correction for length: chunks are about as long as each other.
_SATURATION, _PAGE_SATURATION = 0.5, 1.0
# Evidence below which nothing is worth showing: 2 % of the questions of fixtures/evals that the documentation answers have
# less, asked of whole manuals or of small parts of them. More chunks come nearer by chance, hence their number.
_FLOOR, _PER_CHUNKS, _UNKNOWN = 0.185, 0.04, 0.2
_FLOOR_WITHOUT_VECTORS = 0.13


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts against the cosine. Chosen on the questions of fixtures/evals; the optimum is flat."""

    covered: float = 1.0
    page_cosine: float = 1.5
    page_covered: float = 0.5
    per_length: float = 0.08
    named: float = 0.4

    @property
    def most(self) -> float:
        """What there is to be had, names aside."""
        return 1.0 + self.covered + self.page_cosine + self.page_covered


CHOSEN = Weights()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a question asks for: how much each of its words counts, together 1; how much of it are names that do not stand in the
    documentation; and the number of chunks that are searched."""

    weights: Mapping[str, float]
    unknown_names: float
    chunks: int

    @classmethod
    def of(cls, asked: Mapping[str, int], named: Collection[str], times: Mapping[str, int], chunks: int, limit: int) -> "Wanted":
        """The `limit` words that count most: a word counts the more the rarer it is and the more often it is `asked` for.

        `named` are the words of names, `times` tells how often each word stands in the `chunks` that are searched. Rarity is
        BM25's inverse document frequency (Robertson and Zaragoza 2009).
        """
        weights = {word: often * _rarity(min(times[word], chunks), chunks) for word, often in asked.items()}
        kept = sorted(weights, key=lambda word: (-weights[word], word))[:limit]
        total = sum(weights[word] for word in kept)
        unknown = sum(weights[word] for word in kept if word in named and not times[word])
        return cls({word: weights[word] / total for word in kept}, unknown / total if kept else 0.0, chunks)

    def covered(self, counts: Mapping[str, int], saturation: float) -> float:
        """How much of it is held where the words stand that often; 0 to 1."""
        return sum(weight * counts[word] / (counts[word] + saturation) for word, weight in self.weights.items() if counts[word])

    def share(self, name: str) -> float:
        """How much of the question a name is; 0 to 1."""
        return sum(self.weights.get(word, 0.0) for word in dict.fromkeys(index_words(name)))


def score(
    candidates: Sequence[Candidate], wanted: Wanted, *, by_meaning: bool = True, weights: Weights = CHOSEN
) -> tuple[list[Scored], float]:
    """Candidates with their scores, best first, equal ones in the order of their ids; and the evidence that there is an answer
    among them, over the floor: below 0 nothing is worth showing.

    The evidence is large when the best candidate is near to the question in meaning and holds much of it, and small when the
    question names what the documentation does not know. While chunks cannot be found `by_meaning`, words alone tell.
    """
    counts = [_counts(candidate, wanted) for candidate in candidates]
    lowest = min((candidate.cosine for candidate in candidates if candidate.cosine is not None), default=0.0)
    cosines = [lowest if candidate.cosine is None else candidate.cosine for candidate in candidates]
    covered = [wanted.covered(words, _SATURATION) for words in counts]
    of_page = _of_pages([candidate.page_id for candidate in candidates], cosines, counts, wanted)
    scored = []
    for candidate, cosine, held in zip(candidates, cosines, covered, strict=True):
        page_cosine, page_covered = of_page[candidate.page_id]
        total = cosine + weights.covered * held + weights.page_cosine * page_cosine + weights.page_covered * page_covered
        total -= weights.per_length * math.log(candidate.page_chunks)
        if candidate.name:
            total += weights.named * wanted.share(candidate.name) ** 2
        scored.append(Scored(candidate, min(1.0, max(0.0, total / weights.most))))
    if by_meaning:
        best = max((cosine + held for cosine, held in zip(cosines, covered, strict=True)), default=0.0)
        evidence = max(cosines, default=0.0) + best / 3 - _UNKNOWN * wanted.unknown_names
        evidence -= _FLOOR + _PER_CHUNKS * math.log(max(1, wanted.chunks))
    else:
        evidence = max(covered, default=0.0) - _FLOOR_WITHOUT_VECTORS
    return sorted(scored, key=lambda each: (-each.score, each.candidate.chunk_id)), evidence


def _of_pages(
    page_ids: Sequence[str], cosines: Sequence[float], counts: Sequence[Mapping[str, int]], wanted: Wanted
) -> dict[str, tuple[float, float]]:
    """Of each page how near its nearest candidates are, and how much of the question all of them hold."""
    nearest, together = defaultdict[str, list[float]](list), defaultdict[str, Counter[str]](Counter)
    for page_id, cosine, words in zip(page_ids, cosines, counts, strict=True):
        nearest[page_id].append(cosine)
        together[page_id].update(words)
    return {
        page_id: (
            sum(sorted(some, reverse=True)[:_NEAREST_OF_PAGE]) / _NEAREST_OF_PAGE,
            wanted.covered(together[page_id], _PAGE_SATURATION),
        )
        for page_id, some in nearest.items()
    }


def _counts(candidate: Candidate, wanted: Wanted) -> Counter[str]:
    return Counter(word for word in candidate.words.split(" ") if word in wanted.weights)


def _rarity(times: int, chunks: int) -> float:
    return math.log(1 + (chunks - times + 0.5) / (times + 0.5))
