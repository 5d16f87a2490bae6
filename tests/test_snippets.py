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


def hit(
    text: str,
    *,
    before: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    title: str = "Page",
    path: tuple[str, ...] = ("Guide", "Start"),
    url: str = "https://x.org/a#s",
) -> Hit:
    return Hit("c", "p", "d", url=url, title=title, path=path, text=text, score=0.5, before=before, after=after)


def joined(*pieces: str) -> str:
    """Pieces as one text, which begins with the first paragraph of the first, that of others only when it is another."""
    signature = pieces[0].split("\n\n")[0] + "\n\n"
    return "\n\n".join([pieces[0], *(piece[len(signature) :] if piece.startswith(signature) else piece for piece in pieces[1:])])


def whole(found: Hit) -> str:
    return joined(*found.before, found.text, *found.after)


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


@pytest.mark.parametrize("formatted", [True, False])
@pytest.mark.parametrize(
    ("lacking", "expected"),
    [
        (0, "one two CORE four five"),
        (1, "one two CORE four"),
        (6, "one two CORE four"),
        (7, "one two CORE"),
        (12, "one two CORE"),
        (13, "two CORE"),
        (17, "two CORE"),
        (18, "CORE"),
        (22, "CORE"),
    ],
)
def test_a_hit_without_room_loses_what_follows_it_and_then_what_leads_up_to_it(
    lacking: int, expected: str, formatted: bool
) -> None:
    core = PROSE[:1_000]
    found = hit(core, before=("one", "two"), after=("four", "five"))
    needed = fit([found], 10**6, formatted=formatted)[0][0].char_count
    (snippet,), truncated = fit([found], needed - lacking, formatted=formatted)
    assert snippet.content == "\n\n".join(expected.split()).replace("CORE", core)
    assert snippet.char_count <= needed - lacking
    assert truncated is (lacking > 0)


def test_the_signature_above_every_piece_of_an_entry_is_shown_once() -> None:
    first, second, third = (f"`open(path, mode)`\n\n{text * 30}" for text in ("It opens. ", "It waits. ", "It fails. "))
    found = hit(second, before=(first,), after=(third,))
    (snippet,), _ = fit([found], 10**6, formatted=False)
    assert snippet.content.count("`open(path, mode)`") == 1
    assert snippet.content.startswith("`open(path, mode)`\n\nIt opens.")
    (alone,), truncated = fit([found], len(second), formatted=False)
    assert (alone.content, truncated) == (second, True)
    (exact,), truncated = fit([found], len(snippet.content), formatted=False)
    assert (exact, truncated) == (snippet, False)


def test_a_hit_that_does_not_even_fit_alone_is_cut() -> None:
    (piece,), truncated = fit([hit(PROSE, before=("one", "two"), after=("four", "five"))], 500, formatted=False)
    assert (piece.content, truncated) == (cut(PROSE, 500), True)


def test_what_a_hit_leaves_by_losing_its_neighbours_is_for_the_next_one() -> None:
    found = [hit("x" * 300, before=("b" * 300,)), hit("y" * 50)]
    snippets, truncated = fit(found, 400, formatted=False)
    assert [s.content for s in snippets] == ["x" * 300, "y" * 50]
    assert truncated


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
        before=st.lists(st.sampled_from(["Before it.", PROSE[:300]]), max_size=3).map(tuple),
        after=st.lists(st.sampled_from(["After it.", f"```python\n{CODE[:300]}\n```"]), max_size=3).map(tuple),
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
    assert truncated == ([(s.hit, s.content) for s in snippets] != [(h, whole(h)) for h in hits])
    for snippet in snippets:
        assert_counted(snippet, formatted)
        if snippet.content not in parts(snippet.hit):
            assert snippet.hit.text.startswith((snippet.content, snippet.content.rpartition("\n")[0]))
    identities = [id(h) for h in hits]
    places = [identities.index(id(s.hit)) for s in snippets]
    assert places == sorted(places)


def parts(found: Hit) -> set[str]:
    """The hit with all its neighbours, without those that follow, the last first, and then without those that lead up to it."""
    narrower = {joined(*found.before[count:], found.text) for count in range(len(found.before) + 1)}
    return narrower | {joined(*found.before, found.text, *found.after[:count]) for count in range(len(found.after) + 1)}


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


def test_with_less_than_200_characters_left_nothing_is_given_in_part() -> None:
    assert fit([hit("x" * 100, after=("y" * 500,))], 150, formatted=False) == ([], True)
