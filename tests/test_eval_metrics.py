"""The figures of the evaluation, against cases computed by hand."""

import math

import pytest

from tests.evals.metrics import (
    Gold,
    Place,
    anchored,
    fold,
    grades,
    hit,
    holds,
    mean,
    ndcg,
    place,
    quantile,
    ranking,
    recall,
    reciprocal_rank,
    relevant,
)
from tests.evals.questions import CORPORA, base_url, negatives, questions
from tests.evals.report import Asked, Refused, averages, differences, silence, table

A, B, C, D = (f"http://h/{name}.html" for name in "abcd")


def test_a_page_counts_once_at_its_first_place() -> None:
    assert ranking([Place(A, "x"), Place(A, "y"), Place(B, None), Place(A, "z")]) == [A, B]


def test_a_page_with_several_gold_anchors_has_its_highest_grade() -> None:
    assert grades([Gold(A, "x", 1), Gold(A, "y", 3), Gold(A, "z", 2), Gold(B, None, 1)]) == {A: 3, B: 1}


def test_ndcg_of_the_best_ranking_is_one_and_of_none_is_zero() -> None:
    assert ndcg([A, B, C], {A: 3, B: 2, C: 1}) == 1
    assert ndcg([], {A: 3}) == 0
    assert ndcg([D], {A: 3}) == 0
    assert ndcg([A], {}) == 0


def test_ndcg_gains_are_seven_three_and_one_discounted_by_log2() -> None:
    found = ndcg([D, B, A], {A: 3, B: 2, C: 1})
    # 3 / log2 3 + 7 / log2 4 against 7 / log2 2 + 3 / log2 3 + 1 / log2 4
    assert found == pytest.approx((3 / 1.5849625 + 7 / 2) / (7 + 3 / 1.5849625 + 1 / 2))
    assert found == pytest.approx(0.5741, abs=1e-4)


def test_ndcg_looks_at_five_pages_and_its_best_is_of_five_too() -> None:
    many = {f"{number}": 3 for number in range(7)}
    assert ndcg(list(many), many) == pytest.approx(1)
    assert ndcg(["x"] * 5 + [A], {A: 3}) == 0
    assert ndcg(["v", "w", "x", "y", A], {A: 3}) == pytest.approx(1 / math.log2(6))


def test_reciprocal_rank_recall_and_hits_of_a_ranking() -> None:
    pages, wanted = [D, A, "x", B, "y", C], {A, B, C}
    assert reciprocal_rank(pages, wanted) == 1 / 2
    assert reciprocal_rank(["x"], wanted) == 0
    assert recall(pages, wanted) == pytest.approx(2 / 3)
    assert recall(pages, wanted, 6) == 1
    assert recall(pages, set()) == 0
    assert [hit(pages, wanted, k) for k in (1, 2, 3)] == [0, 1, 1]


def test_relevant_is_every_graded_page_or_only_the_better_ones() -> None:
    assert relevant({A: 3, B: 1, C: 2}) == {A, B, C}
    assert relevant({A: 3, B: 1, C: 2}, 2) == {A, C}


@pytest.mark.parametrize(
    ("places", "right"),
    [
        ([Place(A, "x")], 1),
        ([Place(A, "other"), Place(D, None), Place(A, "y")], 1),
        ([Place(A, "other"), Place(A, None)], 0),
        ([Place(D, "x")], 0),
        ([Place(B, "anything")], 1),
        ([Place(B, None)], 1),
        ([], 0),
    ],
)
def test_an_anchor_is_right_on_its_own_page_and_any_is_where_none_is_asked_for(places: list[Place], right: int) -> None:
    assert anchored(places, [Gold(A, "x", 3), Gold(A, "y", 1), Gold(B, None, 2), Gold(C, "x", 1)]) == right


def test_a_page_that_answers_with_and_without_an_anchor_is_right_anywhere() -> None:
    assert anchored([Place(A, "other")], [Gold(A, "x", 3), Gold(A, None, 1)]) == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h/a.html#x", Place(A, "x")),
        ("http://h/a.html#%3Cinit%3E()", Place(A, "<init>()")),
        ("http://h/a.html", Place(A, None)),
        ("http://h/a.html#", Place(A, None)),
        ("http://h/a%20b.html", Place("http://h/a b.html", None)),
        ("http://h/a.html?x=1#y", Place("http://h/a.html?x=1", "y")),
        ("http://h/book/index.html", Place("http://h/book/", None)),
        ("http://h/book/", Place("http://h/book/", None)),
        ("http://h", Place("http://h/", None)),
        ("http://h/myindex.html", Place("http://h/myindex.html", None)),
    ],
)
def test_a_url_is_a_page_and_a_decoded_anchor(url: str, expected: Place) -> None:
    assert place(url) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the `assume-unchanged` and\n**skip-worktree** bits",
        "> the assume-unchanged and [skip-worktree](http://h/a_(b).html) bits",
        "- the assume-unchanged\n- and skip-worktree bits",
        "| the assume-unchanged | and skip-worktree bits |",
        "1. the *assume-unchanged*\xa0and skip\\-worktree bits",
        "the assume-unchanged\n```text\nand skip-worktree bits\n```",
        '## the assume-unchanged\n\nand [skip-worktree](/x "title") bits',
    ],
)
def test_a_phrase_is_found_whatever_markdown_makes_of_it(text: str) -> None:
    assert holds(["something else", f"Before.\n\n{text} after it."], "the assume-unchanged and skip-worktree bits") == 1


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["the assume-unchanged and", "skip-worktree bits"],
        ["the assume-unchanged bits and skip-worktree"],
        ["The Assume-unchanged and skip-worktree bits"],
    ],
)
def test_a_phrase_is_not_found_in_other_words_order_case_or_halves(texts: list[str]) -> None:
    assert holds(texts, "the assume-unchanged and skip-worktree bits") == 0


def test_an_empty_phrase_is_nowhere() -> None:
    assert holds(["text"], " ** ") == 0


def test_folding_keeps_what_is_no_mark() -> None:
    assert fold("a-b < c->d # e `f`_g 1. h") == "a-b<c->d#efg1.h"


def test_quantiles_are_values_that_occurred() -> None:
    assert [quantile(range(1, 101), share) for share in (0.5, 0.95, 1)] == [50, 95, 100]
    assert (quantile([7], 0.5), quantile([3, 1], 0.95), quantile([], 0.5)) == (7, 3, 0)
    assert (mean([1, 2]), mean([])) == (1.5, 0)


def asked(id_: str, corpus: str, ndcg_own: float, anchor: float = 0, ndcg_all: float = 0) -> Asked:
    own = {"nDCG@5": ndcg_own, "Anchor@5": anchor}
    return Asked(id_, corpus, "how-to", "question", f"{id_}?", own, {"nDCG@5": ndcg_all}, [], [], 1, 1)


def test_averages_are_over_questions_by_corpus_intent_style_and_overall() -> None:
    rows = averages([asked("1", "git", 1), asked("2", "git", 0.5), asked("3", "rust", 0)], lambda each: each.own)
    assert list(rows) == ["corpus git", "corpus rust", "intent how-to", "style question", "overall"]
    assert rows["corpus git"] == {"n": 2, "nDCG@5": 0.75, "Anchor@5": 0}
    assert rows["overall"] == {"n": 3, "nDCG@5": 0.5, "Anchor@5": 0}
    assert "0.750" in table("its corpus alone", rows)


def test_silence_is_the_share_of_prompts_that_found_nothing() -> None:
    refused = [Refused(str(number), "git", "?", results, [], 1) for number, results in enumerate((0, 5, 0, 1))]
    assert silence(refused)["overall"] == {"n": 4, "silent": 0.5, "results": 1.5}


def test_differences_name_the_questions_that_got_better_and_worse() -> None:
    def scores(*all_: Asked) -> dict[str, dict[str, dict[str, float]]]:
        return {each.id: {"own": dict(each.own), "all": dict(each.all)} for each in all_}

    before = scores(asked("up", "git", 0.5), asked("down", "git", 1, 1), asked("still", "git", 1), asked("gone", "git", 1))
    now = scores(asked("up", "git", 1), asked("down", "git", 1, 0), asked("still", "git", 1), asked("new", "git", 1))
    said = differences(before, now, {id_: f"{id_}?" for id_ in now})
    assert said.startswith("3 questions in both runs: 1 better, 1 worse, 0 both, 1 as before")
    assert "up               nDCG@5 0.50 → 1.00  “up?”" in said
    assert "down             Anchor@5 1.00 → 0.00  “down?”" in said
    assert "own nDCG@5       0.833 → 1.000 (+0.167)" in said
    assert "gone" not in said and "still?" not in said


def test_every_corpus_has_questions_with_a_best_page_on_its_own_site() -> None:
    bases = [base_url(corpus) for corpus in CORPORA]
    assert len({*bases}) == len(CORPORA)
    for corpus in CORPORA:
        for question in questions(corpus):
            assert {gold.page.startswith(f"{base_url(corpus)}/") for gold in question.gold} == {True}
            assert max(gold.grade for gold in question.gold) == 3 and fold(question.phrase)
    assert sum(len(questions(corpus)) for corpus in CORPORA) == 310
    assert sum(len(negatives(corpus)) for corpus in CORPORA) == 40
