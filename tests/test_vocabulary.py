"""How often words stand in the chunks of each docset."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.store.vocabulary import Vocabulary

WORDS = st.sampled_from("abcdef")
CHUNKS = st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), st.lists(WORDS, min_size=1, max_size=8)), max_size=20)


def counted(*chunks: tuple[str, str]) -> Vocabulary:
    vocabulary = Vocabulary()
    for docset_id, words in chunks:
        vocabulary.count(docset_id, words)
    return vocabulary


def test_words_and_chunks_are_counted() -> None:
    vocabulary = counted(("docs", "file the task the"), ("docs", "file the"))
    assert vocabulary.times(["the", "file", "task", "unknown"], None) == ({"the": 3, "file": 2, "task": 1, "unknown": 0}, 2)


def test_only_the_docsets_asked_for_count() -> None:
    vocabulary = counted(("one", "task"), ("one", "task file"), ("two", "file"))
    assert vocabulary.times(["task", "file"], ["one"]) == ({"task": 2, "file": 1}, 2)
    assert vocabulary.times(["task", "file"], ["two"]) == ({"task": 0, "file": 1}, 1)
    assert vocabulary.times(["task", "file"], ["two", "one"]) == vocabulary.times(["task", "file"], None)


def test_an_unknown_docset_adds_nothing() -> None:
    vocabulary = counted(("one", "task"), ("two", "task"))
    assert vocabulary.times(["task"], ["one", "unknown"]) == ({"task": 1}, 1)
    assert vocabulary.times(["task"], ["unknown"]) == vocabulary.times(["task"], []) == ({"task": 0}, 0)


def test_a_docset_that_is_forgotten_counts_no_more() -> None:
    vocabulary = counted(("one", "task task"), ("two", "file"))
    vocabulary.forget("one")
    vocabulary.forget("never there")
    assert vocabulary.times(["task", "file"], None) == ({"task": 0, "file": 1}, 1)
    vocabulary.count("one", "file")
    assert vocabulary.times(["task", "file"], ["one"]) == ({"task": 0, "file": 1}, 1)


def test_a_chunk_that_is_taken_off_counts_no_more() -> None:
    vocabulary = counted(("one", "task task file"), ("one", "task"), ("two", "task"))
    vocabulary.uncount("one", "task task file")
    assert vocabulary.times(["task", "file"], ["one"]) == ({"task": 1, "file": 0}, 1)
    vocabulary.uncount("one", "task")
    assert vocabulary.times(["task", "file"], ["one"]) == ({"task": 0, "file": 0}, 0)
    assert vocabulary.times(["task", "file"], None) == ({"task": 1, "file": 0}, 1)


def test_a_chunk_of_a_docset_that_is_not_there_cannot_be_taken_off() -> None:
    vocabulary = counted(("one", "task"))
    vocabulary.forget("one")
    for docset_id in ("one", "never there"):
        vocabulary.uncount(docset_id, "task")
    assert vocabulary.times(["task"], None) == vocabulary.times(["task"], ["one"]) == ({"task": 0}, 0)


def test_asking_for_a_word_does_not_count_it() -> None:
    vocabulary = counted(("one", "task"))
    assert vocabulary.times(["zebra"], None) == vocabulary.times(["zebra"], ["one"]) == ({"zebra": 0}, 1)


def test_no_words_and_no_chunks_are_none() -> None:
    assert counted(("one", "task")).times([], None) == ({}, 1)
    assert Vocabulary().times(["task"], None) == ({"task": 0}, 0)


@given(CHUNKS, st.one_of(st.none(), st.lists(st.sampled_from(["one", "two", "three", "none"]), unique=True)))
@settings(max_examples=200, deadline=None)
def test_counts_are_those_of_all_chunks_of_the_docsets_in_any_order(
    chunks: list[tuple[str, list[str]]], docset_ids: list[str] | None
) -> None:
    within = [words for id_, words in chunks if docset_ids is None or id_ in docset_ids]
    times = Counter(word for words in within for word in words)
    joined = [(id_, " ".join(words)) for id_, words in chunks]
    for vocabulary in (counted(*joined), counted(*joined[::-1])):
        assert vocabulary.times("abcdefg", docset_ids) == ({word: times[word] for word in "abcdefg"}, len(within))


def test_a_docset_that_is_named_twice_counts_once() -> None:
    vocabulary = Vocabulary()
    vocabulary.count("one", "task")
    assert vocabulary.times(["task"], ["one", "one"]) == vocabulary.times(["task"], ["one"])
