"""Which chunks win. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from docworker.model import Candidate

# Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods".
RRF_K = 60


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


def choose(candidates: Iterable[Candidate], top_k: int, max_per_page: int) -> list[Candidate]:
    """The first `top_k` of the candidates, at most `max_per_page` of a page, the same text only once."""
    chosen: list[Candidate] = []
    of_page, texts = Counter[str](), set[str]()
    for candidate in candidates:
        if len(chosen) == top_k:
            break
        if of_page[candidate.page_id] < max_per_page and candidate.text_hash not in texts:
            chosen.append(candidate)
            of_page[candidate.page_id] += 1
            texts.add(candidate.text_hash)
    return chosen
