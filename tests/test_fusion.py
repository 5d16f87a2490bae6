"""Which chunks win: reciprocal rank fusion, the cap per page, the same text once."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.model import Candidate
from docworker.retrieval.fusion import choose, fuse


def test_scores_are_the_sums_of_reciprocal_ranks_over_the_best_possible_sum() -> None:
    # RRF with k = 60: a 1/61 + 1/62, b 1/62 + 1/61, c 1/63, d 1/63; first in both would be 2/61
    fused = dict(fuse([["a", "b", "c"], ["b", "a", "d"]]))
    assert fused == pytest.approx({"a": 123 / 124, "b": 123 / 124, "c": 61 / 126, "d": 61 / 126}, abs=1e-12)


def test_a_place_in_both_rankings_beats_the_first_place_in_one() -> None:
    assert [id_ for id_, _ in fuse([["a", "b"], ["c", "b"]])] == ["b", "a", "c"]


def test_first_in_every_ranking_scores_one() -> None:
    assert fuse([["a", "b"], ["a", "c"], ["a"]])[0] == ("a", 1.0)


def test_a_ranking_that_found_nothing_costs_nothing() -> None:
    assert fuse([["a", "b"], []]) == fuse([["a", "b"]])
    assert fuse([["a"], []]) == [("a", 1.0)]


@pytest.mark.parametrize("rankings", [[], [[]], [[], []]])
def test_no_ranking_gives_no_result(rankings: list[list[str]]) -> None:
    assert fuse(rankings) == []


def test_ties_go_to_the_better_best_rank_then_to_the_smaller_id() -> None:
    assert [id_ for id_, _ in fuse([["z"], ["a"], ["m"]])] == ["a", "m", "z"]


RANKINGS = st.lists(st.lists(st.sampled_from("abcdefghij"), unique=True), max_size=4)


@given(RANKINGS)
@settings(max_examples=100, deadline=None)
def test_every_id_comes_back_once_with_scores_from_one_down(rankings: list[list[str]]) -> None:
    fused = fuse(rankings)
    assert sorted(id_ for id_, _ in fused) == sorted({id_ for ranking in rankings for id_ in ranking})
    assert all(0 < score <= 1 for _, score in fused)
    assert all(first >= second for (_, first), (_, second) in pairwise(fused))


@given(RANKINGS)
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_rankings_does_not_matter(rankings: list[list[str]]) -> None:
    forward, backward = dict(fuse(rankings)), dict(fuse(rankings[::-1]))
    assert forward == pytest.approx(backward, abs=1e-12)


def candidate(id_: str, page: str, text: str) -> Candidate:
    return Candidate(chunk_id=id_, page_id=page, docset_id="d", text_hash=text, score=0.5)


def chosen(candidates: list[Candidate], top_k: int = 10, max_per_page: int = 10) -> list[str]:
    return [c.chunk_id for c in choose(candidates, top_k, max_per_page)]


def test_a_page_gets_no_more_than_its_cap_and_the_next_page_moves_up() -> None:
    candidates = [candidate(str(n), page, str(n)) for n, page in enumerate("aaabab")]
    assert chosen(candidates, max_per_page=2) == ["0", "1", "3", "5"]
    assert chosen(candidates, max_per_page=1) == ["0", "3"]


def test_the_same_text_comes_once_and_does_not_use_up_its_pages_cap() -> None:
    candidates = [candidate("1", "a", "x"), candidate("2", "b", "x"), candidate("3", "b", "y")]
    assert chosen(candidates, max_per_page=1) == ["1", "3"]


def test_no_more_than_top_k_are_chosen_and_left_out_ones_do_not_count() -> None:
    candidates = [candidate(str(n), page, str(n)) for n, page in enumerate("aabc")]
    assert chosen(candidates, top_k=2, max_per_page=1) == ["0", "2"]
    assert chosen(candidates, top_k=9, max_per_page=1) == ["0", "2", "3"]
    assert chosen([]) == []


@given(
    st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("stuvwx")), max_size=15),
    st.integers(1, 6),
    st.integers(1, 4),
)
@settings(max_examples=100, deadline=None)
def test_what_is_chosen_keeps_order_and_limits_and_nothing_fitting_is_left_out(
    pairs: list[tuple[str, str]], top_k: int, max_per_page: int
) -> None:
    candidates = [candidate(str(n), page, text) for n, (page, text) in enumerate(pairs)]
    taken = choose(candidates, top_k, max_per_page)
    assert taken == [c for c in candidates if c in taken]
    assert len(taken) <= top_k
    assert len({c.text_hash for c in taken}) == len(taken)
    pages = [c.page_id for c in taken]
    assert all(pages.count(page) <= max_per_page for page in pages)
    if len(taken) < top_k:
        for c in candidates:
            assert c in taken or pages.count(c.page_id) == max_per_page or c.text_hash in {t.text_hash for t in taken}
