"""How good each candidate is: what lifts it, what lowers it, and how sure it is that there is an answer at all."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.model import Candidate
from docworker.retrieval.scoring import Wanted, score
from docworker.words import question_words

WANTED = Wanted({"task": 0.5, "creat": 0.3, "loop": 0.2}, unknown_names=0.0, chunks=1_000)
NOTHING = Wanted({}, unknown_names=0.0, chunks=1_000)


def candidate(
    id_: str,
    page: str | None = None,
    *,
    cosine: float | None = 0.4,
    words: str = "task",
    page_chunks: int = 10,
    name: str | None = None,
) -> Candidate:
    """A chunk of a page of its own unless the page is given."""
    return Candidate(id_, page or f"page of {id_}", "d", 0, 0, page_chunks, cosine=cosine, words=words, name=name)


def order(*candidates: Candidate, wanted: Wanted = WANTED) -> list[str]:
    return [each.candidate.chunk_id for each in score(candidates, wanted)[0]]


def scores(*candidates: Candidate, wanted: Wanted = WANTED) -> dict[str, float]:
    return {each.candidate.chunk_id: each.score for each in score(candidates, wanted)[0]}


def evidence(*candidates: Candidate, wanted: Wanted = WANTED, by_meaning: bool = True) -> float:
    return score(candidates, wanted, by_meaning=by_meaning)[1]


# -- what lifts a chunk


@pytest.mark.parametrize("by_meaning", [True, False])
@pytest.mark.parametrize("wanted", [WANTED, NOTHING, replace(NOTHING, chunks=0)])
def test_no_candidates_have_no_scores_and_no_evidence(wanted: Wanted, by_meaning: bool) -> None:
    scored, sure = score([], wanted, by_meaning=by_meaning)
    assert scored == []
    assert sure < 0


def test_a_chunk_nearer_in_meaning_comes_first() -> None:
    assert order(candidate("a", cosine=0.3), candidate("b", cosine=0.5), candidate("c", cosine=-0.1)) == ["b", "a", "c"]


def test_a_chunk_that_holds_more_of_the_words_comes_first() -> None:
    held = {"a": "", "b": "task", "c": "task creat", "d": "task creat loop", "e": "creat loop", "f": "other words"}
    found = scores(*(candidate(id_, words=words) for id_, words in held.items()))
    assert found["d"] > found["c"] > found["b"] > found["a"] == found["f"]
    assert found["b"] == pytest.approx(found["e"])


def test_words_that_tell_more_count_more() -> None:
    assert order(candidate("a", words="loop"), candidate("b", words="creat"), candidate("c", words="task")) == ["c", "b", "a"]


def test_the_second_time_that_a_word_stands_there_says_less_than_the_first() -> None:
    none, once, twice = (scores(candidate("a", words=words))["a"] for words in ("", "task", "task task"))
    assert 0 < twice - once < (once - none) / 2


def test_another_word_says_more_than_the_same_once_more() -> None:
    assert order(candidate("a", words="task task task"), candidate("b", words="task creat")) == ["b", "a"]


def test_chunks_without_any_wanted_word_are_ranked_by_meaning_alone() -> None:
    assert order(candidate("a", cosine=0.2), candidate("b", cosine=0.6), wanted=NOTHING) == ["b", "a"]


def test_equal_ones_come_in_the_order_of_their_ids() -> None:
    assert order(candidate("c"), candidate("a"), candidate("b")) == ["a", "b", "c"]
    hopeless = [candidate(id_, cosine=-1.0, words="", page_chunks=1_000) for id_ in ("z", "y")]
    assert order(*hopeless) == ["y", "z"]
    assert set(scores(*hopeless).values()) == {0.0}


def test_a_chunk_that_vectors_did_not_find_counts_as_the_least_near_that_they_found() -> None:
    found = scores(candidate("a", cosine=0.6), candidate("b", cosine=0.2), candidate("c", cosine=None))
    assert found["a"] > found["b"] == found["c"]


def test_without_any_vector_words_rank_alone() -> None:
    found = scores(candidate("a", cosine=None, words=""), candidate("b", cosine=None, words="task"))
    assert found["b"] > found["a"]
    assert found == scores(candidate("a", cosine=0.0, words=""), candidate("b", cosine=0.0, words="task"))


# -- what is known of the page


def test_a_page_with_three_near_chunks_beats_a_page_with_one() -> None:
    several = [candidate(f"several{number}", "several") for number in range(3)]
    assert order(candidate("alone"), *several) == ["several0", "several1", "several2", "alone"]


def test_the_fourth_chunk_of_a_page_adds_nothing() -> None:
    near = [candidate(f"{number}", "page", words="") for number in range(4)]
    assert scores(*near)["0"] == scores(*near[:3])["0"] > scores(*near[:2])["0"]


def test_only_the_nearest_chunks_of_a_page_count() -> None:
    near = [candidate(f"{number}", "page", words="") for number in range(3)]
    assert scores(*near, candidate("far", "page", cosine=-0.9, words=""))["0"] == scores(*near)["0"]


def test_words_that_stand_in_several_chunks_of_a_page_count_together() -> None:
    spread = [candidate("a", "spread", words="task"), candidate("b", "spread", words="creat loop")]
    same = [candidate("c", "same", words="task"), candidate("d", "same", words="task")]
    found = scores(*spread, *same)
    assert found["a"] > found["c"] == found["d"]


def test_a_longer_page_loses_to_a_shorter_one() -> None:
    assert order(candidate("a", page_chunks=100), candidate("b", page_chunks=10), candidate("c", page_chunks=1)) == [
        "c",
        "b",
        "a",
    ]


# -- names


def test_a_name_that_is_the_whole_question_brings_its_definition_first() -> None:
    wanted = Wanted.of(question_words("create_task"), (), {"create_task": 2, "creat": 300, "task": 100}, 1_000, 48)
    often = candidate("often", cosine=0.5, words="create_task creat task create_task creat task")
    definition = candidate("definition", cosine=0.4, words="create_task creat task")
    assert order(often, definition, wanted=wanted) == ["often", "definition"]
    assert order(often, replace(definition, name="create_task"), wanted=wanted) == ["definition", "often"]


def test_a_name_counts_as_much_as_it_is_of_the_question() -> None:
    plain = candidate("a", words="")
    most, half, little, none = (
        scores(replace(plain, name="task"), wanted=replace(WANTED, weights={"task": weight, "other": 1 - weight}))["a"]
        for weight in (1.0, 0.5, 0.1, 0.0)
    )
    assert most > half > little > none == scores(plain)["a"]
    assert half - none < (most - none) / 2


# -- evidence


def test_evidence_grows_with_nearness() -> None:
    assert evidence(candidate("a", cosine=0.6)) > evidence(candidate("a", cosine=0.3)) > evidence(candidate("a", cosine=0.0))


def test_evidence_grows_with_what_the_best_chunk_holds() -> None:
    apart = [candidate("a", words="task"), candidate("b", words="creat")]
    one, none = candidate("a", words="task"), candidate("a", words="")
    assert evidence(candidate("a", words="task creat")) > evidence(*apart) == evidence(one) > evidence(none)


def test_evidence_is_that_of_the_best_candidate_however_many_there_are() -> None:
    best = candidate("a", cosine=0.7, words="task creat loop")
    assert evidence(best, *(candidate(f"{n}", cosine=0.1, words="") for n in range(50))) == evidence(best)


def test_evidence_of_one_that_is_near_and_another_that_holds_the_words_is_less_than_of_one_that_is_both() -> None:
    both = candidate("a", cosine=0.7, words="task creat loop")
    assert evidence(both) > evidence(candidate("a", cosine=0.7, words=""), candidate("b", cosine=0.1, words="task creat loop"))


def test_the_more_names_the_documentation_does_not_know_the_less_evidence() -> None:
    by_unknown = [evidence(candidate("a"), wanted=replace(WANTED, unknown_names=share)) for share in (0.0, 0.3, 0.8)]
    assert by_unknown == sorted(by_unknown, reverse=True)
    assert len(set(by_unknown)) == 3


def test_the_more_chunks_are_searched_the_less_nearness_tells() -> None:
    by_chunks = [evidence(candidate("a"), wanted=replace(WANTED, chunks=chunks)) for chunks in (0, 1, 100, 10_000)]
    assert by_chunks[0] == by_chunks[1] > by_chunks[2] > by_chunks[3]


def test_a_near_chunk_that_holds_the_question_is_evidence_and_a_far_one_without_a_word_of_it_is_none() -> None:
    assert evidence(candidate("a", cosine=0.7, words="task creat loop")) > 0 > evidence(candidate("a", cosine=0.1, words=""))


def test_without_vectors_evidence_is_what_the_best_chunk_holds() -> None:
    held = [evidence(candidate("a", cosine=None, words=words), by_meaning=False) for words in ("", "loop", "task", "task creat")]
    assert held == sorted(held)
    assert held[0] < 0 < held[-1]
    assert evidence(candidate("a", cosine=0.9, words=""), by_meaning=False) == held[0]


# -- what is wanted


def test_a_word_counts_the_more_the_rarer_it_is() -> None:
    wanted = Wanted.of(
        dict.fromkeys(["the", "file", "task", "none"], 1), (), {"the": 99, "file": 20, "task": 2, "none": 0}, 100, 48
    )
    assert wanted.weights["none"] > wanted.weights["task"] > wanted.weights["file"] > wanted.weights["the"] > 0
    assert wanted.chunks == 100


def test_a_word_counts_the_more_the_more_often_it_is_asked_for() -> None:
    wanted = Wanted.of({"task": 3, "file": 1}, (), {"task": 5, "file": 5}, 100, 48)
    assert wanted.weights == pytest.approx({"task": 0.75, "file": 0.25})


def test_a_word_that_stands_there_more_often_than_there_are_chunks_still_counts() -> None:
    wanted = Wanted.of({"the": 1, "task": 1}, (), {"the": 5_000, "task": 1}, 100, 48)
    assert 0 < wanted.weights["the"] < wanted.weights["task"]


def test_only_the_words_that_count_most_are_kept() -> None:
    wanted = Wanted.of(dict.fromkeys("dcba", 1), (), {"a": 90, "b": 5, "c": 5, "d": 1}, 100, 2)
    assert list(wanted.weights) == ["d", "b"]
    assert sum(wanted.weights.values()) == pytest.approx(1.0)


def test_names_that_do_not_stand_there_are_told() -> None:
    times = {"django": 0, "task": 5, "loop": 0}
    both = Wanted.of(dict.fromkeys(times, 1), {"django", "task"}, times, 100, 48)
    assert both.unknown_names == pytest.approx(both.weights["django"])
    assert Wanted.of(dict.fromkeys(times, 1), {"task"}, times, 100, 48).unknown_names == 0
    assert Wanted.of({"django": 2}, {"django"}, times, 100, 48).unknown_names == 1


def test_a_question_without_words_wants_nothing() -> None:
    wanted = Wanted.of({}, (), {}, 100, 48)
    assert (wanted.weights, wanted.unknown_names) == ({}, 0)
    assert (wanted.covered(Counter("abc"), 0.5), wanted.share("task")) == (0, 0)


def test_a_question_to_no_chunks_still_weighs_its_words() -> None:
    wanted = Wanted.of({"task": 1, "loop": 1}, {"loop"}, {"task": 0, "loop": 0}, 0, 48)
    assert (wanted.weights, wanted.unknown_names) == ({"loop": 0.5, "task": 0.5}, 0.5)


def test_a_part_of_what_is_wanted_is_covered() -> None:
    assert WANTED.covered(Counter(), 0.5) == 0
    assert WANTED.covered(Counter(["task"]), 0.5) == pytest.approx(0.5 / 1.5)
    assert WANTED.covered(Counter(["task", "task", "loop", "other"]), 0.5) == pytest.approx(0.5 * 2 / 2.5 + 0.2 / 1.5)
    assert 0.99 < WANTED.covered(Counter({"task": 1_000, "creat": 1_000, "loop": 1_000}), 0.5) <= 1


def test_a_name_is_as_much_of_the_question_as_its_words_are_each_counted_once() -> None:
    assert WANTED.share("create") == pytest.approx(0.3)
    assert WANTED.share("loop.create_task") == pytest.approx(1.0)
    assert WANTED.share("tasks.task.Task") == pytest.approx(0.5)
    assert WANTED.share("unknown") == 0


ASKED = st.dictionaries(
    st.text("abcdef", max_size=3), st.tuples(st.integers(1, 20), st.integers(0, 2_000), st.booleans()), max_size=20
)


@given(ASKED, st.integers(0, 1_000), st.integers(1, 25))
@settings(max_examples=200, deadline=None)
def test_weights_sum_to_one_and_are_those_of_the_words_that_count_most(
    words: dict[str, tuple[int, int, bool]], chunks: int, limit: int
) -> None:
    asked = {word: often for word, (often, _, _) in words.items()}
    named = {word for word, (_, _, is_name) in words.items() if is_name}
    times = {word: number for word, (_, number, _) in words.items()}
    wanted, everything = (Wanted.of(asked, named, times, chunks, most) for most in (limit, 1_000))
    assert len(wanted.weights) == min(limit, len(words))
    assert len(everything.weights) == len(words)
    assert all(weight > 0 for weight in wanted.weights.values())
    assert 0 <= wanted.unknown_names <= 1 + 1e-9
    assert 0 <= wanted.covered(dict.fromkeys(words, 3), 0.5) <= 1
    if words:
        assert sum(wanted.weights.values()) == pytest.approx(1.0)
        least = min(everything.weights[word] for word in wanted.weights)
        assert all(everything.weights[word] <= least for word in words.keys() - wanted.weights.keys())


# -- any candidates


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        chunk_id=st.text("abc", min_size=1, max_size=4),
        page_id=st.sampled_from(["p", "q", "r"]),
        docset_id=st.just("d"),
        ordinal=st.integers(0, 9),
        section=st.integers(0, 9),
        page_chunks=st.integers(1, 5_000),
        cosine=st.one_of(st.none(), st.floats(-1, 1)),
        word_rank=st.one_of(st.none(), st.integers(1, 200)),
        words=st.lists(st.sampled_from(["task", "creat", "loop", "other"]), max_size=9).map(" ".join),
        name=st.sampled_from([None, "task", "loop.create_task", "unknown"]),
    ),
    max_size=15,
    unique_by=lambda each: each.chunk_id,
)


@given(CANDIDATES, st.sampled_from([WANTED, NOTHING]), st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_every_candidate_comes_back_once_best_first_whatever_their_order(
    candidates: list[Candidate], wanted: Wanted, by_meaning: bool, shuffling: random.Random
) -> None:
    scored, sure = score(candidates, wanted, by_meaning=by_meaning)
    assert sorted(each.candidate.chunk_id for each in scored) == sorted(each.chunk_id for each in candidates)
    assert {each.candidate.chunk_id: each.candidate for each in scored} == {each.chunk_id: each for each in candidates}
    assert all(0 <= each.score <= 1 for each in scored)
    for one, other in pairwise(scored):
        assert (-one.score, one.candidate.chunk_id) < (-other.score, other.candidate.chunk_id)
    shuffled = list(candidates)
    shuffling.shuffle(shuffled)
    assert score(shuffled, wanted, by_meaning=by_meaning) == (scored, sure)
