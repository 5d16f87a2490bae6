"""Which passages are shown: reciprocal rank fusion, the cap per page, what stands around a chunk, the same text once."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.model import Candidate, Member, Passage, Scored
from docworker.retrieval.fusion import SPREAD, choose, fold, fuse


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


# -- the cap per page


def scored(*found: tuple[str, str, float], section: int = 0) -> list[Scored]:
    """Candidates of (id, page, score), best first."""
    return [
        Scored(Candidate(id_, page, "d", ordinal, section, len(found)), score) for ordinal, (id_, page, score) in enumerate(found)
    ]


def falling(pages: str) -> list[Scored]:
    """A candidate of each of these pages, the first the best; its place is its id."""
    return scored(*((str(n), page, 1 - n / 100) for n, page in enumerate(pages)))


def leads(passages: Sequence[Passage]) -> list[str]:
    return [passage.lead.chunk_id for passage in passages]


def test_a_page_gets_no_more_than_its_cap_and_the_next_page_moves_up() -> None:
    assert leads(choose(falling("aaabab"), {}, 10, 2)) == ["0", "1", "3", "5"]
    assert leads(choose(falling("aaabab"), {}, 10, 1)) == ["0", "3"]


def test_no_more_than_top_k_are_chosen_and_left_out_ones_do_not_count() -> None:
    assert leads(choose(falling("aabc"), {}, 2, 1)) == ["0", "2"]
    assert leads(choose(falling("aabc"), {}, 9, 1)) == ["0", "2", "3"]
    assert choose([], {}, 9, 1) == []


def test_a_passage_is_its_lead_with_its_score_when_nothing_is_known_of_its_section() -> None:
    (best,) = found = falling("a")
    assert choose(found, {}, 1, 1, widest=5_000) == [Passage(best.candidate, best.score, ("0",))]
    elsewhere = {("a", 7): [Member("0", 7, 1), Member("x", 8, 1)], ("b", 0): [Member("0", 0, 1), Member("x", 1, 1)]}
    assert choose(found, elsewhere, 1, 1, widest=5_000) == [Passage(best.candidate, best.score, ("0",))]
    assert choose(found, {("a", 0): [Member("x", 0, 1), Member("y", 1, 1)]}, 1, 1, widest=5_000)[0].chunk_ids == ("0",)


def test_equal_scores_come_in_the_order_of_ids() -> None:
    assert leads(choose(scored(("c", "p", 0.5), ("b", "q", 0.5), ("a", "r", 0.5)), {}, 9, 9)) == ["a", "b", "c"]


# -- spread


def test_another_page_comes_before_a_second_passage_that_is_hardly_better() -> None:
    found = scored(("a1", "a", 0.80), ("a2", "a", 0.79), ("b1", "b", 0.75), ("b2", "b", 0.74))
    assert leads(choose(found, {}, 9, 9)) == ["a1", "a2", "b1", "b2"]
    spread = choose(found, {}, 9, 9, spread=SPREAD)
    assert leads(spread) == ["a1", "b1", "a2", "b2"]
    assert [passage.score for passage in spread] == pytest.approx([0.80, 0.75, 0.79 - SPREAD, 0.74 - SPREAD])


def test_a_second_passage_that_is_much_better_comes_before_another_page() -> None:
    found = scored(("a1", "a", 0.80), ("a2", "a", 0.79), ("b1", "b", 0.79 - SPREAD - 0.01))
    assert leads(choose(found, {}, 9, 9, spread=SPREAD)) == ["a1", "a2", "b1"]


def test_each_further_passage_of_a_page_counts_less() -> None:
    found = scored(*((f"a{n}", "a", 0.8) for n in range(4)), *((f"b{n}", "b", 0.7) for n in range(4)))
    assert leads(choose(found, {}, 5, 9, spread=0.06)) == ["a0", "a1", "b0", "a2", "b1"]
    assert choose(found, {}, 9, 9, spread=0.5)[-1].score == 0.0


# -- what stands around a chunk


def section(*chars: int, page: str = "p", first: int = 0) -> dict[tuple[str, int], list[Member]]:
    """A section whose chunks `0`, `1`, … have so many characters."""
    return {(page, first): [Member(str(n), first + n, count) for n, count in enumerate(chars)]}


def around(lead: str, sections: Mapping[tuple[str, int], Sequence[Member]], widest: int) -> str:
    """What is shown with `lead`, as one text."""
    (passage,) = choose(scored((lead, "p", 0.9)), sections, 1, 1, widest=widest)
    return "".join(passage.chunk_ids)


@pytest.mark.parametrize(
    ("lead", "widest", "expected"),
    [
        ("2", 508, "01234"),
        ("2", 507, "0123"),
        ("0", 204, "01"),
        ("4", 204, "34"),
        ("2", 100, "2"),
        ("2", 201, "2"),
        ("2", 99, "2"),
        ("2", 0, "2"),
    ],
)
def test_a_chunk_is_shown_with_its_neighbours_as_far_as_they_have_room(lead: str, widest: int, expected: str) -> None:
    assert around(lead, section(*[100] * 5), widest) == expected


def test_what_leads_up_to_a_chunk_comes_before_what_follows_it() -> None:
    assert around("2", section(*[100] * 5), 250) == "12"
    assert around("2", section(*[100] * 5), 350) == "012"
    assert around("2", section(*[100] * 5), 450) == "0123"


def test_a_neighbour_without_room_leaves_it_to_the_one_on_the_other_side() -> None:
    assert around("1", section(900, 100, 100, 100), 320) == "123"
    assert around("1", section(100, 100, 900), 320) == "01"
    assert around("1", section(900, 100, 900), 320) == "1"


def test_a_chunk_that_is_longer_than_there_is_room_is_shown_alone() -> None:
    assert around("1", section(10, 5_000, 10), 2_000) == "1"


def test_a_chunk_that_is_shown_already_is_neither_shown_nor_a_lead_again() -> None:
    found = scored(("1", "p", 0.9), ("0", "p", 0.8), ("3", "p", 0.7))
    passages = choose(found, section(100, 100, 100, 100), 9, 9, widest=210)
    assert [passage.chunk_ids for passage in passages] == [("0", "1"), ("2", "3")]
    assert leads(passages) == ["1", "3"]


def test_a_chunk_that_is_shown_already_does_not_use_up_its_pages_cap() -> None:
    found = scored(("1", "p", 0.9), ("0", "p", 0.8), ("3", "p", 0.7))
    assert leads(choose(found, section(*[100] * 4), 9, 2, widest=210)) == ["1", "3"]


def test_neighbours_are_not_looked_for_beyond_one_that_is_shown_already() -> None:
    found = scored(("1", "p", 0.9), ("2", "p", 0.8))
    passages = choose(found, section(10, 1_990, 10), 9, 9, widest=2_000)
    assert [passage.chunk_ids for passage in passages] == [("1",), ("2",)]


# -- any candidates


@dataclass(frozen=True)
class Found:
    """What searches may find: candidates best first, and all chunks of all sections."""

    scored: list[Scored]
    sections: dict[tuple[str, int], list[Member]]


@st.composite
def founds(draw: st.DrawFn) -> Found:
    plan = draw(st.lists(st.lists(st.lists(st.integers(1, 1_200), min_size=1, max_size=5), min_size=1, max_size=3), max_size=4))
    candidates, sections = [], {}
    for number, page in enumerate(plan):
        ordinal = 0
        for lengths in page:
            members = [Member(f"{number}.{ordinal + n}", ordinal + n, chars) for n, chars in enumerate(lengths)]
            sections[str(number), ordinal] = members
            for member in members:
                size = sum(map(len, page))
                candidates.append(Candidate(member.chunk_id, str(number), "d", member.ordinal, ordinal, size))
            ordinal += len(lengths)
    kept = draw(st.lists(st.sampled_from(candidates), unique=True)) if candidates else []
    scores = draw(st.lists(st.integers(0, 20), min_size=len(kept), max_size=len(kept)))
    best_first = sorted(zip(kept, scores, strict=True), key=lambda pair: (-pair[1], pair[0].chunk_id))
    known = draw(st.sets(st.sampled_from(sorted(sections)))) if sections else set()
    return Found([Scored(one, score / 20) for one, score in best_first], {key: sections[key] for key in known})


@given(founds(), st.integers(1, 20), st.integers(1, 4), st.sampled_from([0.0, 0.06, 0.3]), st.integers(0, 3_000))
@settings(max_examples=300, deadline=None)
def test_what_is_chosen_keeps_order_and_limits_and_nothing_fitting_is_left_out(
    found: Found, top_k: int, max_per_page: int, spread: float, widest: int
) -> None:
    passages = choose(found.scored, found.sections, top_k, max_per_page, spread=spread, widest=widest)
    of_id = {each.candidate.chunk_id: each for each in found.scored}
    pages = [passage.lead.page_id for passage in passages]
    shown = [id_ for passage in passages for id_ in passage.chunk_ids]
    assert len(passages) <= top_k
    assert all(pages.count(page) <= max_per_page for page in pages)
    assert len(shown) == len(set(shown))
    assert all(first.score >= second.score for first, second in pairwise(passages))
    for place, passage in enumerate(passages):
        own = of_id[passage.lead.chunk_id]
        assert passage.lead == own.candidate
        assert passage.score == max(0.0, own.score - spread * pages[:place].count(passage.lead.page_id))
    if len(passages) < top_k:
        for each in found.scored:
            assert each.candidate.chunk_id in shown or pages.count(each.candidate.page_id) == max_per_page


@given(founds(), st.integers(1, 4), st.integers(0, 3_000))
@settings(max_examples=300, deadline=None)
def test_what_is_shown_with_a_chunk_is_as_much_of_its_section_as_has_room(found: Found, max_per_page: int, widest: int) -> None:
    taken = set[str]()
    for passage in choose(found.scored, found.sections, 20, max_per_page, widest=widest):
        members = found.sections.get((passage.lead.page_id, passage.lead.section), [])
        ids = [member.chunk_id for member in members]
        assert passage.lead.chunk_id in passage.chunk_ids
        if not members:
            assert passage.chunk_ids == (passage.lead.chunk_id,)
            continue
        first = ids.index(passage.chunk_ids[0])
        last = first + len(passage.chunk_ids) - 1
        assert tuple(ids[first : last + 1]) == passage.chunk_ids
        chars = sum(member.chars for member in members[first : last + 1]) + 2 * (last - first)
        assert chars <= widest or passage.chunk_ids == (passage.lead.chunk_id,)
        for beside in [*members[:first][-1:], *members[last + 1 :][:1]]:
            assert beside.chunk_id in taken or chars + 2 + beside.chars > widest
        taken.update(passage.chunk_ids)


@given(founds(), st.integers(1, 20), st.integers(1, 4), st.sampled_from([0.0, 0.06]), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_same_candidates_give_the_same_passages_however_pages_are_mixed(
    found: Found, top_k: int, max_per_page: int, spread: float, shuffling: random.Random
) -> None:
    passages = choose(found.scored, found.sections, top_k, max_per_page, spread=spread, widest=2_000)
    assert choose(found.scored, found.sections, top_k, max_per_page, spread=spread, widest=2_000) == passages
    pages = sorted({each.candidate.page_id for each in found.scored})
    shuffling.shuffle(pages)
    by_page = [each for page in pages for each in found.scored if each.candidate.page_id == page]
    shuffled = dict(shuffling.sample(sorted(found.sections.items()), len(found.sections)))
    assert choose(by_page, shuffled, top_k, max_per_page, spread=spread, widest=2_000) == passages


# -- the same text once

TEXT = "The quick brown fox jumps over the lazy dog and then it sleeps under an old oak tree till dawn"
TALE = TEXT.split()


def passages_of(*texts: Sequence[str]) -> tuple[list[Passage], dict[str, str]]:
    """Passages of chunks with these texts, best first, and the texts."""
    passages: list[Passage] = []
    by_id: dict[str, str] = {}
    for number, chunks in enumerate(texts):
        ids = tuple(f"{number}.{n}" for n in range(len(chunks)))
        by_id |= dict(zip(ids, chunks, strict=True))
        lead = Candidate(ids[0], f"page{number}", "d", 0, 0, len(ids))
        passages.append(Passage(lead, 1 - number / 100, ids))
    return passages, by_id


def kept(*texts: str | Sequence[str]) -> list[int]:
    """Which of the passages with these texts are kept."""
    passages, by_id = passages_of(*([text] if isinstance(text, str) else text for text in texts))
    folded = fold(passages, by_id)
    assert folded == [passage for passage in passages if passage in folded]
    return [passages.index(passage) for passage in folded]


def test_the_same_text_comes_once_the_better_one() -> None:
    assert kept(TEXT, TEXT, "Another text.", TEXT) == [0, 2]


def test_nearly_the_same_text_comes_once() -> None:
    changed = [*TALE[:-1], "noon"]
    assert kept(TEXT, " ".join(changed)) == [0]
    assert kept(TEXT, " ".join([*TALE, "again"])) == [0]
    assert kept(" ".join([*TALE, "again"]), TEXT) == [0]


def test_white_space_and_the_order_of_words_make_no_other_text() -> None:
    assert kept(TEXT, "\n\n".join(TALE), "  ".join(TALE[::-1])) == [0]


def test_a_text_that_is_a_part_of_a_longer_one_is_another_text() -> None:
    half = " ".join(TALE[: len(TALE) // 2])
    assert kept(TEXT, half) == [0, 1]
    assert kept(half, TEXT) == [0, 1]


def test_texts_that_differ_are_kept() -> None:
    assert kept("Opens a file.", "Closes a file.", "Opens a task.") == [0, 1, 2]
    assert kept(TEXT, " ".join([*TALE[:-3], "until", "next", "morning"])) == [0, 1]


def test_all_chunks_of_a_passage_make_its_text() -> None:
    half = len(TALE) // 2
    parts = [" ".join(TALE[:half]), " ".join(TALE[half:])]
    assert kept(parts, TEXT, parts[0]) == [0, 2]


def test_passages_without_a_word_are_the_same() -> None:
    assert kept("", "a", " \n") == [0, 1]


@given(st.lists(st.lists(st.sampled_from(TALE), max_size=12).map(" ".join), max_size=8))
@settings(max_examples=200, deadline=None)
def test_the_best_is_kept_and_what_is_left_out_is_like_a_better_one_that_is_kept(texts: list[str]) -> None:
    found = kept(*texts)
    words = [set(text.split()) for text in texts]

    def alike(one: int, other: int) -> bool:
        return len(words[one] & words[other]) >= 0.9 * max(len(words[one]), len(words[other]))

    assert found[:1] == [0][: len(texts)]
    for number in range(len(texts)):
        better = [other for other in found if other < number]
        assert (number in found) is not any(alike(number, other) for other in better)
