"""Rankings put together, and which passages are shown of what they found. Pure."""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from docworker.model import Candidate, Member, Passage, Scored

# Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods".
RRF_K = 60
# What each further passage of a page loses in a short list: another page is more likely to tell something new.
SPREAD = 0.05
# A result grows to its neighbours of the same section up to so many characters.
WIDEST_CHARS = 2_500
_GLUE = 2  # characters between two chunks of a passage
_ALIKE = 0.9


def fuse(rankings: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """Reciprocal rank fusion of rankings of ids (best first, each id once a ranking).

    Returns (id, score) best first; 1 is first place in every ranking that has any. Ties go to the better best rank, then
    to the smaller id, so that the same rankings give the same order.
    """
    used = [ranking for ranking in rankings if ranking]
    scores, best = defaultdict[str, float](float), dict[str, int]()
    for ranking in used:
        for rank, id_ in enumerate(ranking, 1):
            scores[id_] += 1 / (RRF_K + rank)
            best[id_] = min(rank, best.get(id_, rank))
    top = len(used) / (RRF_K + 1)
    return [(id_, min(1.0, scores[id_] / top)) for id_ in sorted(scores, key=lambda id_: (-scores[id_], best[id_], id_))]


def choose(
    scored: Iterable[Scored],
    sections: Mapping[tuple[str, int], Sequence[Member]],
    top_k: int,
    max_per_page: int,
    *,
    spread: float = 0.0,
    widest: int = 0,
) -> list[Passage]:
    """The `top_k` best passages, at most `max_per_page` of a page, best first; each further one of a page counts `spread` less.

    A passage is the chunk that won and its neighbours in the same section, as far as `widest` characters go and `sections`
    (by page and first ordinal, in page order) tells them. No chunk is in two passages.
    """
    waiting: dict[str, deque[Scored]] = defaultdict(deque)
    for each in scored:
        waiting[each.candidate.page_id].append(each)
    heap = [(-queue[0].score, queue[0].candidate.chunk_id, page_id) for page_id, queue in waiting.items()]
    heapify(heap)
    shown, taken, passages = set[str](), Counter[str](), list[Passage]()
    while heap and len(passages) < top_k:
        negative, _, page_id = heappop(heap)
        lead = waiting[page_id].popleft().candidate
        if lead.chunk_id not in shown:
            chunk_ids = _widened(lead, sections.get((page_id, lead.section), ()), shown, widest)
            passages.append(Passage(lead, max(0.0, -negative), chunk_ids))
            shown.update(chunk_ids)
            taken[page_id] += 1
        if waiting[page_id] and taken[page_id] < max_per_page:
            following = waiting[page_id][0]
            heappush(heap, (spread * taken[page_id] - following.score, following.candidate.chunk_id, page_id))
    return passages


def _widened(lead: Candidate, section: Sequence[Member], shown: Collection[str], widest: int) -> tuple[str, ...]:
    """The lead and its neighbours as far as there is room: first what leads up to it, then what follows."""
    at = next((place for place, member in enumerate(section) if member.chunk_id == lead.chunk_id), None)
    if at is None:
        return (lead.chunk_id,)
    first = last = at
    room = widest - section[at].chars
    while True:
        if first > 0 and section[first - 1].chunk_id not in shown and section[first - 1].chars + _GLUE <= room:
            first -= 1
            room -= section[first].chars + _GLUE
        elif last + 1 < len(section) and section[last + 1].chunk_id not in shown and section[last + 1].chars + _GLUE <= room:
            last += 1
            room -= section[last].chars + _GLUE
        else:
            return tuple(member.chunk_id for member in section[first : last + 1])


def fold(passages: Iterable[Passage], texts: Mapping[str, str]) -> list[Passage]:
    """Passages without those that say nearly the same as a better one: nine tenths of all words that stand in either are in
    both."""
    kept: list[tuple[Passage, frozenset[str]]] = []
    for passage in passages:
        words = frozenset(word for id_ in passage.chunk_ids for word in texts[id_].split())
        if not any(_ALIKE * max(len(words), len(other)) <= len(words & other) for _, other in kept):
            kept.append((passage, words))
    return [passage for passage, _ in kept]
