"""A page's sections → chunks: whole where they fit, cut where it shows least, the same ids for the same text."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.chunking import MAX_CHARS, chunk, content_hash, main_hash, passages
from docworker.model import Chunk, Document, Section
from tests.fences import are_balanced

URL = "https://x.org/docs/page"
SENTENCES = [f"Sentence number {n} says a little more about the matter." for n in range(1, 80)]


def document(*sections: Section, title: str = "Page") -> Document:
    return Document(title=title, site=None, sections=sections)


def chunks(*sections: Section, title: str = "Page") -> tuple[Chunk, ...]:
    return chunk(document(*sections, title=title), "docset", URL)


def texts(*sections: Section) -> list[str]:
    return [c.text for c in chunks(*sections)]


def section(text: str, heading: str = "Part", level: int = 2, anchor: str | None = None) -> Section:
    return Section(level, heading, anchor, text)


def entry(text: str, name: str = "f", level: int = 3) -> Section:
    return Section(level, name, name, text, entry=True)


def prose(chars: int) -> str:
    """Sentences of about `chars` characters."""
    return " ".join(SENTENCES)[:chars].rpartition(". ")[0] + "."


# -- whole, joined, kept apart


def test_a_section_that_fits_stays_whole() -> None:
    text = f"{prose(600)}\n\n- one\n- two\n\n```python\nx = 1\n```"
    assert texts(section(text)) == [text]


def test_a_section_of_exactly_the_limit_stays_whole() -> None:
    text = prose(MAX_CHARS - 100).ljust(MAX_CHARS, "x")
    assert texts(section(text)) == [text]
    assert len(texts(section(text + " y"))) == 2


def test_a_page_without_text_has_no_chunks() -> None:
    assert chunks() == ()


def test_a_heading_without_text_or_sections_stands_for_itself() -> None:
    found = chunks(section("", "One"), section(prose(400), "Two"), section("", "Three"))
    assert [(c.path, c.text) for c in found] == [(("One",), "One"), (("Two",), prose(400)), (("Three",), "Three")]


def test_a_heading_without_text_is_joined_with_the_one_that_follows() -> None:
    (_, both) = chunks(section(prose(400), "Calls"), section("", "get(a)", 3, "a"), section(prose(400), "get(a, b)", 3, "b"))
    assert (both.path, both.anchor) == (("Calls",), "a")
    assert both.text == f"**get(a)**\n\n**get(a, b)**\n\n{prose(400)}"


# -- links, signatures


def test_links_to_the_same_site_show_their_words_and_others_their_target() -> None:
    text = (
        "See [`run()`](https://x.org/docs/run.html#run), [[1]](https://x.org/a_b) and [PEP 492](https://peps.python.org/pep-0492/).\n\n"
        "`[a](https://x.org/docs/code)`\n\n```\n[b](https://x.org/docs/fence)\n```"
    )
    assert texts(section(text)) == [
        "See `run()`, [1] and [PEP 492](https://peps.python.org/pep-0492/).\n\n"
        "`[a](https://x.org/docs/code)`\n\n```\n[b](https://x.org/docs/fence)\n```"
    ]


def test_pages_of_the_same_text_at_two_addresses_have_the_same_main_hash() -> None:
    one = document(section("Go [on](https://x.org/a/next)."))
    other = document(section("Go [on](https://x.org/b/next)."))
    assert main_hash(one, "https://x.org/a/page") == main_hash(other, "https://x.org/b/page")
    assert content_hash(one) != content_hash(other)


def test_every_piece_of_a_long_entry_stands_under_its_signature() -> None:
    found = texts(entry(f"`f(a, b)`\n\n{prose(2_500)}\n\n{prose(900)}"))
    assert len(found) > 2
    assert all(piece.startswith("`f(a, b)`\n\n") and len(piece) <= MAX_CHARS for piece in found)


def test_a_signature_that_fills_the_piece_is_not_repeated() -> None:
    signature = f"`f({', '.join(f'argument_{n}' for n in range(60))})`"
    assert sum(piece.count(signature) for piece in texts(entry(f"{signature}\n\n{prose(2_000)}"))) == 1


def test_small_neighbours_are_joined_under_their_common_heading() -> None:
    (joined,) = chunks(
        section("", "Guide"),
        section("First text.", "One", 3, "one"),
        section("Second text.", "Two", 3, "two"),
        section("Third text.", "Three", 3),
    )
    assert joined.path == ("Guide",)
    assert joined.text == "**One**\n\nFirst text.\n\n**Two**\n\nSecond text.\n\n**Three**\n\nThird text."
    assert joined.anchor == "one"


def test_a_small_section_is_joined_with_the_text_above_it() -> None:
    (joined,) = chunks(section("Intro.", "Guide", anchor="guide"), section("More.", "Detail", 3))
    assert (joined.path, joined.anchor, joined.text) == (("Guide",), "guide", "Intro.\n\n**Detail**\n\nMore.")


def test_large_neighbours_are_not_joined() -> None:
    found = chunks(section("", "Guide"), section(prose(450), "One", 3), section(prose(450), "Two", 3))
    assert [c.path for c in found] == [("Guide", "One"), ("Guide", "Two")]


def test_what_would_be_too_long_together_is_not_joined() -> None:
    found = chunks(section("", "Guide"), section(prose(MAX_CHARS - 50), "One", 3), section("Short one. " * 8, "Two", 3))
    assert len(found) == 2


def test_neighbours_under_different_headings_are_not_joined() -> None:
    found = chunks(section("One.", "A", 2), section("Two.", "A1", 3), section("Three.", "B", 2), section("Four.", "B1", 3))
    assert [c.path for c in found] == [("A",), ("B",)]


def test_entries_are_never_joined() -> None:
    found = chunks(
        section("Text.", "API"), entry("`f()`\n\nDoes f.", "f"), entry("`g()`\n\nDoes g.", "g"), section("End.", "More", 3)
    )
    assert [c.path for c in found] == [("API",), ("API", "f"), ("API", "g"), ("API", "More")]


# -- heading path, anchor, what is searched


def test_the_path_holds_the_headings_above_and_leaves_out_the_title() -> None:
    found = chunks(
        section(prose(500), "Page", 1),
        section(prose(500), "A", 2),
        section(prose(500), "Deep", 4, "deep"),
        section(prose(500), "B", 2),
    )
    assert [(c.path, c.anchor) for c in found] == [((), None), (("A",), None), (("A", "Deep"), "deep"), (("B",), None)]


def test_every_piece_of_a_section_has_its_path_and_anchor() -> None:
    found = chunks(section(prose(4_000), "Long", anchor="long"))
    assert len(found) > 2
    assert {(c.path, c.anchor) for c in found} == {(("Long",), "long")}


def test_title_and_path_are_searched_but_not_shown() -> None:
    (found,) = chunks(section("The text.", "Start"), title="Guide")
    assert found.embedded_text == "Guide > Start\nThe text."
    assert found.words == "guid doc page start the text"
    assert found.text == "The text."


def test_a_piece_is_searched_by_title_address_path_and_text() -> None:
    found = chunk(
        document(section("Starts a `create_task`.", "Running tasks"), title="The loop"),
        "docset",
        "https://x.org/3/lib/event%20loop.html",
    )
    assert found[0].words == "the loop 3 lib event loop run task start a create_task creat task"


@pytest.mark.parametrize("name", ["page", "page.html", "page.htm", "page.xhtml", "page/index.html"])
def test_what_every_address_has_is_not_searched(name: str) -> None:
    (found,) = chunk(document(section("The text.", "Start"), title="Guide"), "docset", f"https://x.org/docs/{name}?old=1")
    assert found.words == "guid doc page start the text"


def test_every_piece_knows_where_its_section_begins() -> None:
    found = chunks(section("Small.", "A"), section("Too.", "Deep", 3), section(prose(2_500), "B"), entry("`f`"), entry("`g`"))
    assert [(c.path, c.ordinal, c.section) for c in found] == [
        (("A",), 0, 0), (("B",), 1, 1), (("B",), 2, 1), (("B",), 3, 1), (("B", "f"), 4, 4), (("B", "f"), 5, 5)
    ]  # fmt: skip


def test_ordinals_count_up_in_page_order() -> None:
    assert [c.ordinal for c in chunks(section(prose(3_000)), entry("`f`"), section("End.", "End"))] == [0, 1, 2, 3, 4, 5]


# -- cuts


def test_prose_is_cut_between_paragraphs() -> None:
    paragraphs = [prose(500), prose(500), prose(500)]
    assert texts(section("\n\n".join(paragraphs))) == ["\n\n".join(paragraphs[:2]), paragraphs[2]]


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    found = texts(section(" ".join(SENTENCES)))
    assert all(text.startswith("Sentence") and text.endswith("matter.") for text in found)
    assert " ".join(found) == " ".join(SENTENCES)


def test_a_long_list_is_cut_between_items_with_what_belongs_to_them() -> None:
    items = [f"- item {n} with some words that explain it\n  and a second line" for n in range(40)]
    found = texts(section("\n".join(items)))
    assert len(found) > 1
    assert all(text.startswith("- item") and text.endswith("second line") for text in found)
    assert "\n".join(found) == "\n".join(items)


def test_a_long_table_is_cut_between_rows_and_repeats_its_header() -> None:
    head = "| Name | Meaning |\n| --- | --- |"
    rows = [f"| option_{n} | what option {n} is good for |" for n in range(60)]
    found = texts(section("\n".join([head, *rows])))
    assert len(found) > 1
    assert all(text.startswith(head + "\n| option_") for text in found)
    assert [row for text in found for row in text.split("\n")[2:]] == rows


def test_long_code_is_cut_at_blank_lines_and_repeats_its_fence_and_language() -> None:
    functions = [f"def function_{n}(argument):\n    value = argument + {n}\n    return value" for n in range(40)]
    found = texts(section("```python\n" + "\n\n".join(functions) + "\n```"))
    assert len(found) > 1
    bodies = [re.fullmatch(r"```python\n(def .*return value)\n```", text, re.DOTALL) for text in found]
    assert "\n\n".join(body[1] for body in bodies if body) == "\n\n".join(functions)


def test_code_without_blank_lines_is_cut_between_lines() -> None:
    lines = [f"    value_{n} = compute({n})" for n in range(100)]
    found = texts(section("~~~~sh\n" + "\n".join(lines) + "\n~~~~"))
    assert all(text.startswith("~~~~sh\n") and text.endswith("\n~~~~") for text in found)
    assert [line for text in found for line in text.split("\n")[1:-1]] == lines


def test_a_blank_line_inside_a_fence_is_no_end_of_a_block() -> None:
    code = "```python\n" + "\n\n".join(f"value_{n} = {n}" for n in range(30)) + "\n```"
    assert code in texts(section(f"{prose(1_000)}\n\n{code}"))


def test_a_word_longer_than_the_limit_stays_whole() -> None:
    word = "x" * (MAX_CHARS + 100)
    assert texts(section(f"before {word} after")) == ["before", word, "after"]


@pytest.mark.parametrize(
    ("before", "indent", "after"),
    [
        ("- ```yaml", "  ", "\n- Next item.\n\nEnd."),
        ("> Note\n>\n> ```yaml", "> ", "\n\nEnd."),
        ("1. First\n\n   ```yaml", "   ", "\n2. Next item.\n\nEnd."),
    ],
)
def test_long_code_in_a_list_item_or_a_quotation_stays_code(before: str, indent: str, after: str) -> None:
    code = "\n".join(f"{indent}key_{n}: value of the key number {n}" for n in range(60))
    found = texts(section(f"{before}\n{code}\n{indent}```{after}"))
    assert all(are_balanced(text) for text in found)
    assert all("```" in text for text in found if "key_" in text)
    assert not any(re.search(r"```yaml(?:(?!```).)*Next item", text, re.DOTALL) for text in found)


def test_inline_code_at_the_start_of_a_line_is_no_fence() -> None:
    found = texts(section(f"``` ``literal`` ``` marks code.\n\n{prose(3_000)}"))
    assert [text for text in found[1:] if "```" in text] == []


def test_a_table_with_a_long_header_keeps_to_the_limit() -> None:
    head = "| " + " | ".join(f"column number {n}" for n in range(45)) + " |\n|" + " --- |" * 45
    rows = [f"| {prose(300)} |" for _ in range(8)]
    assert max(len(text) for text in texts(section("\n".join([head, *rows])))) <= MAX_CHARS


def test_words_between_tabs_keep_to_the_limit() -> None:
    assert max(len(text) for text in texts(section("\t".join(["column"] * 400)))) <= MAX_CHARS


WORD = st.sampled_from(["alpha", "beta", "gamma.", "delta_x", "e=1", "(f)", "größe", "z" * 40])
LINE = st.lists(WORD, min_size=1, max_size=40).map(" ".join)
FENCE = st.sampled_from(["```", "````", "~~~"])
BLOCK = st.one_of(
    LINE,
    st.lists(LINE, min_size=1, max_size=12).map("\n".join),
    st.lists(LINE.map(lambda line: f"- {line}"), min_size=1, max_size=25).map("\n".join),
    st.lists(LINE.map(lambda line: f"| {line} | b |"), min_size=1, max_size=25).map(
        lambda rows: "\n".join(["| A | B |", "| --- | --- |", *rows])
    ),
    st.tuples(FENCE, st.lists(st.one_of(st.just(""), LINE, LINE.map(lambda line: f"    {line}")), min_size=1, max_size=40)).map(
        lambda pair: "\n".join([f"{pair[0]}python", *pair[1], pair[0]])
    ),
)
ITEM = st.one_of(  # list items as extract writes them, with code right after the mark or below the words
    LINE.map(lambda line: f"- {line}"),
    st.lists(LINE, min_size=1, max_size=30).map(lambda lines: "- ```yaml\n  " + "\n  ".join(lines) + "\n  ```"),
    st.lists(LINE, min_size=1, max_size=30).map(lambda lines: "1. alpha\n\n   ```\n   " + "\n   ".join(lines) + "\n   ```"),
    LINE.map(lambda line: f"- beta\n\n  {line}"),
)
WIDE_TABLE = st.tuples(st.integers(1, 120), st.lists(LINE, min_size=1, max_size=8)).map(
    lambda table: "\n".join(["| A " * table[0] + "|", "| --- " * table[0] + "|", *(f"| {row} |" for row in table[1])])
)
SECTION = st.builds(
    Section,
    level=st.integers(1, 4),
    heading=st.sampled_from(["One", "Two", "Page"]),
    anchor=st.none(),
    text=st.lists(st.one_of(BLOCK, WIDE_TABLE, st.lists(ITEM, min_size=1, max_size=6).map("\n".join)), max_size=5).map(
        "\n\n".join
    ),
    entry=st.booleans(),
)


@given(st.lists(SECTION, max_size=5))
@settings(max_examples=100, deadline=None)
def test_no_word_is_lost_no_piece_too_long_and_no_fence_left_open(sections: list[Section]) -> None:
    found = chunks(*sections)
    words = Counter(word for s in sections for word in s.text.split())
    assert not words - Counter(word for c in found for word in c.text.split())
    assert all(len(c.text) <= MAX_CHARS for c in found)
    assert all(are_balanced(c.text) for c in found)
    assert all(c.text.strip() for c in found)
    assert len({c.id for c in found}) == len(found)


# -- ids


def test_the_same_document_gives_the_same_chunks() -> None:
    page = document(section(prose(3_000)), entry("`f()`"), section("End.", "End"))
    assert chunk(page, "docset", URL) == chunk(page, "docset", URL)


def test_a_changed_section_changes_only_its_own_ids() -> None:
    sections = [section(prose(500 + n), f"Part {n}") for n in range(0, 300, 60)]
    before = chunks(*sections)
    after = chunks(*[replace(s, text=s.text + " New.") if number == 2 else s for number, s in enumerate(sections)])
    assert [a.id == b.id for a, b in zip(before, after, strict=True)] == [True, True, False, True, True]


def test_a_new_section_changes_no_other_id() -> None:
    old, new = section(prose(500), "Old"), section(prose(600), "New")
    assert {c.id for c in chunks(old)} < {c.id for c in chunks(new, old)}


def test_equal_texts_of_a_page_have_different_ids() -> None:
    same = section(prose(500))
    first, second = chunks(same, same)
    assert first.text == second.text
    assert first.id != second.id


@pytest.mark.parametrize(("docset", "url"), [("other", URL), ("docset", URL + "/2")])
def test_the_same_text_elsewhere_has_another_id_and_the_same_text_hash(docset: str, url: str) -> None:
    page = document(section("The text."))
    (here,), (elsewhere,) = chunk(page, "docset", URL), chunk(page, docset, url)
    assert here.id != elsewhere.id
    assert here.text_hash == elsewhere.text_hash


def test_the_content_hash_follows_all_that_chunks_are_made_from() -> None:
    page = document(section("The text.", anchor="a"))
    variants = [
        replace(page, title="Other"),
        document(section("Other text.", anchor="a")),
        document(section("The text.", "Other", anchor="a")),
        document(section("The text.", anchor="b")),
        document(section("The text.", anchor="a", level=3)),
        document(Section(2, "Part", "a", "The text.", entry=True)),
        document(section("The text.", anchor="a"), section("More.")),
    ]
    assert content_hash(page) == content_hash(document(section("The text.", anchor="a")))
    assert len({content_hash(variant) for variant in [page, *variants]}) == len(variants) + 1
    assert content_hash(replace(page, site="Site")) == content_hash(page)


# -- what tells that two pages are the same


def test_pages_of_the_same_text_have_one_main_hash_whatever_their_title_anchors_and_white_space() -> None:
    page = document(section("The text.\n\nGoes on.", anchor="a"), entry("`f()`"))
    same = [
        replace(page, title="Other"),
        replace(page, site="Site"),
        document(section("The text.  Goes\non.\n", anchor="b"), entry("`f()`")),
        document(section("The text.\n\nGoes on.", level=4), section("`f()`", "f", 3)),
    ]
    assert {main_hash(other, URL) for other in same} == {main_hash(page, URL)}


def test_pages_of_another_text_have_another_main_hash() -> None:
    page = document(section("The text."), section("More.", "Rest"))
    others = [
        document(section("Other text."), section("More.", "Rest")),
        document(section("The text.", "Other"), section("More.", "Rest")),
        document(section("More.", "Rest"), section("The text.")),
        document(section("The text.")),
        document(),
    ]
    assert len({main_hash(other, URL) for other in [page, *others]}) == len(others) + 1


def test_passages_are_the_longer_sections_each_once_and_their_place_does_not_matter() -> None:
    long, longer, short = prose(130), prose(300), "Deprecated."
    first = document(section(long), section(longer, "Two"), section(short, "Three"), section("", "Four"))
    second = document(section(f"  {longer.replace(' ', chr(10))}", "Other", 5, "x"), entry(long), section(long, "Again"))
    assert passages(first, URL) == passages(second, URL)
    assert len(passages(first, URL)) == 2
    assert passages(document(section(short)), URL) == passages(document(), URL) == ()
    assert not set(passages(first, URL)) & set(passages(document(section(prose(200))), URL))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=60, max_size=80), max_size=5))
@settings(max_examples=50, deadline=None)
def test_passages_are_numbers_that_a_catalog_can_keep(texts: list[str]) -> None:
    found = passages(document(*(section(text) for text in texts)), URL)
    assert list(found) == sorted(set(found))
    assert all(-(2**63) <= number < 2**63 for number in found)
