"""Hits → snippets inside the budget: nothing over it, cut where it shows least, and truncated says so."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.model import Hit, Snippet
from docworker.retrieval.snippets import MIN_CUT_CHARS, cut, fit
from tests.fences import are_balanced

PROSE = " ".join(f"Sentence number {n} says a little more about the matter." for n in range(1, 60))
CODE = "\n".join(f"value_{n} = compute(value_{n - 1}, step={n})" for n in range(1, 60))


def hit(text: str, *, title: str = "Page", path: tuple[str, ...] = ("Guide", "Start"), url: str = "https://x.org/a#s") -> Hit:
    return Hit(chunk_id="c", page_id="p", docset_id="d", url=url, title=title, path=path, text=text, score=0.5)


def test_a_hit_that_fits_is_given_whole_in_the_documented_format() -> None:
    (snippet,), truncated = fit([hit("The text.")], 1_000, formatted=True)
    assert snippet.formatted == "## Page\nSource: https://x.org/a#s\nSection: Guide > Start\n\nThe text."
    assert snippet.content == "The text."
    assert snippet.char_count == len(snippet.formatted)
    assert not truncated


def test_there_is_no_section_line_without_a_heading_path() -> None:
    (snippet,), _ = fit([hit("The text.", path=())], 1_000, formatted=True)
    assert snippet.formatted == "## Page\nSource: https://x.org/a#s\n\nThe text."


def test_unformatted_only_the_content_counts() -> None:
    (snippet,), truncated = fit([hit("x" * 300)], 300, formatted=False)
    assert (snippet.formatted, snippet.content, snippet.char_count) == (None, "x" * 300, 300)
    assert not truncated


def test_no_hits_are_no_snippets_and_nothing_was_truncated() -> None:
    assert fit([], 10, formatted=True) == ([], False)


@pytest.mark.parametrize("formatted", [True, False])
def test_an_exact_fit_is_not_truncated_and_one_character_less_is(formatted: bool) -> None:
    found = [hit(PROSE), hit(PROSE)]
    needed = sum(s.char_count for s in fit(found, 10**6, formatted=formatted)[0])
    assert fit(found, needed, formatted=formatted)[1] is False
    snippets, truncated = fit(found, needed - 1, formatted=formatted)
    assert truncated
    assert [s.content == PROSE for s in snippets] == [True, False]


@pytest.mark.parametrize(("remaining", "is_cut"), [(MIN_CUT_CHARS - 1, False), (MIN_CUT_CHARS, True)])
def test_a_hit_is_cut_when_200_characters_remain_else_left_out(remaining: int, is_cut: bool) -> None:
    snippets, truncated = fit([hit("x" * 500), hit(PROSE)], 500 + remaining, formatted=False)
    assert truncated
    assert len(snippets) == (2 if is_cut else 1)


def test_a_later_hit_that_fits_is_given_although_an_earlier_one_was_left_out() -> None:
    snippets, truncated = fit([hit("x" * 400), hit(PROSE), hit("short")], 500, formatted=False)
    assert [s.content for s in snippets] == ["x" * 400, "short"]
    assert truncated


def test_lines_above_the_content_that_do_not_fit_leave_the_hit_out() -> None:
    assert fit([hit("text", title="T" * 400)], 300, formatted=True) == ([], True)


def test_prose_is_cut_after_a_sentence() -> None:
    assert re.fullmatch(r"Sentence.*matter\.", cut(PROSE, 300))
    assert len(cut(PROSE, 300)) > 200


def test_a_paragraph_end_is_preferred_to_a_sentence_end() -> None:
    first = PROSE[: PROSE.index("Sentence number 6")].strip()
    assert cut(f"{first}\n\n{PROSE}", len(first) + 100) == first


def test_a_paragraph_end_that_would_waste_most_of_the_room_is_not_taken() -> None:
    result = cut(f"Short.\n\n{PROSE}", 400)
    assert len(result) > 240
    assert result.endswith("matter.")


def test_text_without_any_boundary_is_cut_between_words() -> None:
    words = " ".join(["word"] * 200)
    result = cut(words, 203)
    assert result == " ".join(["word"] * 40)


def test_not_even_one_word_fits() -> None:
    assert cut("x" * 500, 300) == ""


def test_code_is_cut_at_a_line_and_its_fence_is_closed() -> None:
    result = cut(f"Before.\n\n```python\n{CODE}\n```\n\nAfter.", 400)
    lines = result.split("\n")
    assert lines[:3] == ["Before.", "", "```python"]
    assert lines[-1] == "```"
    assert set(lines[3:-1]) <= set(CODE.split("\n"))
    assert 300 < len(result) <= 400


def test_the_closing_fence_is_as_long_as_the_opening_one() -> None:
    result = cut(f"````md\n```\n{CODE}\n```\n````", 300)
    assert result.startswith("````md\n```\n")
    assert result.endswith("\n````")


def test_a_fence_without_a_line_of_its_code_is_left_out() -> None:
    assert cut(f"A sentence of some length here.\n\n```python\n{'x' * 300}\n```", 60) == "A sentence of some length here."


@pytest.mark.parametrize(("first", "rest"), [("- ", "  "), ("1. ", "   "), ("> ", "> ")])
def test_a_fence_in_a_list_item_or_a_quotation_is_closed(first: str, rest: str) -> None:
    code = "\n".join(rest + line for line in CODE.split("\n"))
    assert are_balanced(cut(f"{first}```python\n{code}\n{rest}```", 400))


def test_inline_code_at_the_start_of_a_line_is_no_fence() -> None:
    assert cut(f"``` ``literal`` ``` marks code.\n\n{PROSE}", 400).endswith("matter.")


TEXTS = st.one_of(
    st.text(st.sampled_from("ab. \n"), max_size=600),
    st.lists(
        st.sampled_from(
            ["A sentence.", "words and words", "", "```python", "```", "````", "~~~", "  ```", "x = 1  # code", "- item", "| a |"]
        ),
        max_size=60,
    ).map("\n".join),
)
HITS = st.lists(
    st.builds(
        hit,
        TEXTS,
        title=st.sampled_from(["", "Title", "A long title " * 15]),
        path=st.sampled_from([(), ("One",), ("One", "Two" * 20)]),
    ),
    max_size=6,
)


@given(HITS, st.integers(1, 2_500), st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_budget_holds_and_truncated_is_exact(hits: list[Hit], max_total_chars: int, formatted: bool) -> None:
    snippets, truncated = fit(hits, max_total_chars, formatted=formatted)
    assert sum(s.char_count for s in snippets) <= max_total_chars
    assert truncated == ([(s.hit, s.content) for s in snippets] != [(h, h.text) for h in hits])
    for snippet in snippets:
        assert_counted(snippet, formatted)
    identities = [id(h) for h in hits]
    places = [identities.index(id(s.hit)) for s in snippets]
    assert places == sorted(places)


def assert_counted(snippet: Snippet, formatted: bool) -> None:
    shown = snippet.formatted if formatted else snippet.content
    assert shown is not None
    assert snippet.char_count == len(shown)
    assert shown.endswith(snippet.content)
    assert snippet.formatted is None or formatted


@given(TEXTS, st.integers(0, 500))
@settings(max_examples=100, deadline=None)
def test_a_cut_is_a_beginning_of_the_text_with_its_fences_closed(text: str, limit: int) -> None:
    result = cut(text, limit)
    assert len(result) <= limit
    if result != text:
        assert are_balanced(result)
        assert text.startswith(result) or text.startswith(result.rpartition("\n")[0])
