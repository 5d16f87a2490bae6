"""What texts are searched by: names whole and in parts, words by their stems; what a question takes from a text finds it."""

import re
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.words import index_words, named_words, names, question_words

# Text as documentation has it, so that names, scripts and marks meet more often than by chance.
PIECES = st.sampled_from(
    [
        "create_task", "createTask", "asyncio", "HTTPServer", "files", "the", "how", "--force", "-n", "__init__", "ERR_CLOSED",
        "node", "js", "v2", "3.11", "10", "漢字", "かな", "カタカナ", "한국어", "ไทย", "हिन्दी", "עברית", "naïve", "Straße", "İ",
        "ﬁ", "e\u0301", "Ⅷ", "²", ".", "::", "->", "#", "-", "_", "$", "@", "`", "(", ")", "\n", "\t", "\u00a0", "\u2028",
        "\x00", "🙂", " ", "  ", "'", "/",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join), st.lists(PIECES, max_size=30).map(" ".join))


# -- identifiers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("create_task", {"create_task", "creat", "task"}),
        ("createTask", {"createtask", "creat", "task"}),
        ("CreateTask", {"createtask", "creat", "task"}),
        ("asyncio.create_task", {"asyncio.create_task", "asyncio", "create_task", "creat", "task"}),
        ("--force-with-lease", {"force-with-leas", "forc", "with", "leas"}),
        ("ERR_STREAM_PREMATURE_CLOSE", {"err_stream_premature_clos", "err", "stream", "prematur", "close"}),
        ("std::vec::Vec", {"std::vec::vec", "std", "vec"}),
        ("Path#resolve", {"path#resolv", "path", "resolv"}),
        ("event->key", {"event->key", "event", "key"}),
        ("__init__", {"__init__", "init"}),
        ("HTTPServer", {"httpserver", "http", "server"}),
        ("TestHTTP2Server", {"testhttp2serv", "test", "http", "2", "server"}),
        ("node.js", {"node.j", "node", "js"}),
        (".pgpass", {"pgpass"}),
        ("$HOME", {"$home", "home"}),
        ("@decorator", {"@decor", "decor"}),
        ("sha256", {"sha256", "sha", "256"}),
        ("3.11.2", {"3.11.2", "3", "11", "2"}),
        ("C++", {"c"}),
    ],
)
def test_a_name_is_kept_whole_and_in_parts(text: str, expected: set[str]) -> None:
    assert set(index_words(text)) == expected
    assert set(question_words(text)) == expected


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("create_task", "asyncio.create_task(coro)"),
        ("create task", "createTask()"),
        ("createtask", "loop.createTask"),
        ("CREATE_TASK", "`create_task`"),
        ("force-with-lease", "git push --force-with-lease"),
        ("premature close", "ERR_STREAM_PREMATURE_CLOSE"),
        ("Vec", "std::vec::Vec<T>"),
        ("init", "__init__"),
        ("http server", "HTTPServer"),
        ("pgpass", "the file .pgpass holds"),
        (".pgpass", "pgpass"),
        ("how are files indexed", "Indexing a file"),
        ("crawled page", "The crawler crawls pages."),
        ("retries", "It retried once."),
        ("STRASSENKARTE", "strassenkarte"),
        ("ΟΔΟΣ", "οδος"),
        ("文書", "この文書は"),
        ("문서", "한국어 문서를"),
        ("setTimeout(", "window.setTimeout(f, 1)"),
    ],
)
def test_a_question_shares_words_with_what_it_asks_about(asked: str, written: str) -> None:
    assert set(question_words(asked)) & set(index_words(written))


@pytest.mark.parametrize(("one", "other"), [("create_task", "createtasks"), ("http.server", "http_server"), ("ab", "abc")])
def test_a_whole_name_is_found_only_by_itself(one: str, other: str) -> None:
    assert index_words(one)[0] not in index_words(other)


def test_a_name_that_ends_a_sentence_is_without_the_marks_around_it() -> None:
    assert index_words("See (`os.path`). Then, os.path.") == ["see", "os.path", "os", "path", "then", "os.path", "os", "path"]


# -- words


@pytest.mark.parametrize(
    "forms",
    [
        ["file", "files", "File", "FILES"],
        ["index", "indexing", "indexed", "indexes"],
        ["configure", "configured", "configuring", "configures"],
        ["retry", "retries", "retried"],
        ["connection", "connections"],
    ],
)
def test_forms_of_a_word_have_one_stem(forms: list[str]) -> None:
    assert len({tuple(index_words(form)) for form in forms}) == 1


def test_words_come_in_order_and_as_often_as_they_stand_there() -> None:
    assert index_words("Files and files: a file.") == ["file", "and", "file", "a", "file"]
    assert question_words("files, more files and a list") == Counter({"file": 2, "list": 1})


def test_common_words_are_not_asked_for_unless_there_are_no_others() -> None:
    assert question_words("How do I use the task with a file?") == Counter(["task", "file"])
    assert question_words("what is it") == Counter(["what", "is", "it"])
    assert question_words("with") == Counter(["with"])


def test_a_name_with_a_common_word_in_it_is_asked_for_as_it_is() -> None:
    assert question_words("how to use --force-with-lease") == Counter(index_words("--force-with-lease"))
    assert question_words("the is_not operator") == Counter(["is_not", "is", "not", "oper"])


def test_common_words_stand_in_the_index() -> None:
    assert index_words("to be or not") == ["to", "be", "or", "not"]


@pytest.mark.parametrize("text", ["", " ", "!?", "...", "::", "--", "🙂", "\x00", "\n\t"])
def test_a_text_without_words_has_none(text: str) -> None:
    assert index_words(text) == []
    assert question_words(text) == Counter()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("漢字かな交じり", ["漢字", "字か", "かな", "な交", "交じ", "じり"]),
        ("漢", ["漢"]),
        ("한국어 문서", ["한국", "국어", "문서"]),
        ("Pythonの関数def", ["python", "の関", "関数", "def"]),
        ("設定。保存", ["設定", "保存"]),
    ],
)
def test_scripts_that_do_not_set_words_apart_are_kept_in_pairs(text: str, expected: list[str]) -> None:
    assert index_words(text) == expected


@pytest.mark.parametrize(("length", "kept"), [(100, True), (101, False), (100_000, False)])
@pytest.mark.parametrize("unit", ["x", "X", "1", "é", "_", "a.", "aB"])
def test_a_word_that_is_too_long_is_data(unit: str, length: int, kept: bool) -> None:
    word = (unit * length)[: length - 1] + ("1" if unit == "1" else "z")
    first, *between, last = index_words(f"one {word} two")
    assert (first, bool(between), last) == ("one", kept, "two")


# -- names


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("what does `git rebase` do to my branch", ["git rebase"]),
        ("why would --force-with-lease and -n fail here", ["--force-with-lease", "-n"]),
        ("when is asyncio.create_task better than std::vec::Vec", ["asyncio.create_task", "std::vec::Vec"]),
        ("is create_task or __init__ called first", ["create_task", "__init__"]),
        ("are createTask and HttpServer the same", ["createTask", "HttpServer"]),
        ("what happens after open(path) and close() here", ["open", "close"]),
        ("where does the .pgpass file belong to", ["pgpass"]),
        ("does event->key or Path#resolve raise here", ["event->key", "Path#resolve"]),
        ("what does create_task do when create_task fails", ["create_task"]),
        ("how do I start a task in the background", []),
        ("a well-known word is not an option", []),
        ("see the end. Then go on with it", []),
        ("create", ["create"]),
        ("git rebase", ["git rebase"]),
        ("how git rebases", []),
        ("  padded  ", ["padded"]),
        ("x", []),
        ("", []),
    ],
)
def test_what_looks_like_a_name_is_one(question: str, expected: list[str]) -> None:
    assert names(question) == expected


def test_names_are_found_in_code_of_a_long_prompt() -> None:
    code = "```python\nasync with asyncio.TaskGroup() as group:\n    group.create_task(work())\n```"
    found = names(f"My program hangs. {'It used to work. ' * 100}\n\n{code}\n\nWhat is wrong?")
    assert {"asyncio.TaskGroup", "group.create_task", "work"} <= set(found)


def test_a_long_question_has_no_more_than_some_names_the_first_ones() -> None:
    assert names(" ".join(f"name_{n}" for n in range(500))) == [f"name_{n}" for n in range(20)]


def test_a_name_that_is_too_long_is_none() -> None:
    assert names(f"what is {'a' * 50}_{'b' * 49} and {'a' * 50}_{'b' * 50} here") == [f"{'a' * 50}_{'b' * 49}"]
    assert names("x" * 101) == []


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("how does Django render a template", {"django"}),
        ("how do I start a task", set()),
        ("Why does it fail? Nothing helps. Tell me: Is it slow?", set()),
        ("I think I know", set()),
        ("what does createTask do", {"createtask", "creat", "task"}),
        ("what does create_task do", {"create_task", "creat", "task"}),
        ("is HTTP faster than http2", {"http", "http2", "2"}),
        ("what does os.path.join return", {"os.path.join", "os", "path", "join"}),
        ("a well-known option", set()),
        ("`rebase` and files", set()),
        ("", set()),
    ],
)
def test_words_that_look_like_names_are_told_from_others(question: str, expected: set[str]) -> None:
    assert named_words(question) == expected


# -- any text


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_whatever_a_text_asks_for_is_what_it_is_found_by(text: str) -> None:
    assert question_words(text).keys() | named_words(text) <= set(index_words(text))


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_words_are_short_and_have_no_blank_in_them(text: str) -> None:
    for word in index_words(text):
        assert word
        assert [word] == re.split(r"\s", word) == word.split()
        assert len(word) <= 300  # of 100 characters, each of which may be three in lower case


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_a_text_has_few_names_each_of_which_stands_in_it(text: str) -> None:
    found = names(text)
    assert len(found) == len(set(found)) <= 20
    for name in found:
        assert 1 < len(name) <= 100
        assert name in text
        assert name == name.strip()


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_the_same_text_has_the_same_words_in_the_same_order(text: str) -> None:
    assert index_words(text) == index_words(text)
    assert list(question_words(text).items()) == list(question_words(text).items())
    assert (names(text), named_words(text)) == (names(text), named_words(text))


@pytest.mark.parametrize(
    "unit",
    ["a", "1", "A", "_", "漢", "é", "$", "`", "`a", "-", "-a", "a.", "a_", "aB", "a(", "a->", "a::", "a-", " ", "A ", ". A"],
)
def test_no_prompt_takes_long(unit: str) -> None:
    text = unit * (8_192 // len(unit))
    begin = time.perf_counter()
    names(text), named_words(text), question_words(text)
    assert time.perf_counter() - begin < 0.5


@given(TEXTS, TEXTS)
@settings(max_examples=200, deadline=None)
def test_texts_set_apart_by_a_line_have_the_words_of_each(first: str, second: str) -> None:
    assert index_words(f"{first}\n{second}") == index_words(first) + index_words(second)
