"""What signatures, terms and headings name."""

import pytest

from docworker.extract import names
from docworker.extract.terms import options


@pytest.mark.parametrize(
    ("heading", "code", "named"),
    [
        ("fs.readFile(path[, options], callback)", "", ("fs.readFile", "function")),
        ("new Agent([options])", "", ("Agent", "function")),
        ("Class: fs.Stats", "", ("fs.Stats", "class")),
        ("Event: 'close'", "", ("close", "event")),
        ("Static method: Buffer.alloc(size)", "", ("Buffer.alloc", "method")),
        ("2.3.1. os.path", "", ("os.path", "symbol")),
        ("work_mem", "", ("work_mem", "symbol")),
        ("createTask", "", ("createTask", "symbol")),
        ("std::vec::Vec", "", ("std::vec::Vec", "symbol")),
        ("lock", "lock", ("lock", "symbol")),
        ("Installing", "", None),
        ("Class methods and inheritance", "", None),
        ("Using fs.readFile()", "fs.readFile()", None),
        ("Module contents", "", None),
        ("Variants (Non-exhaustive)", "", None),
        ("What is new?", "", None),
        ("", "", None),
    ],
)
def test_a_heading_names_a_thing_of_an_api_or_nothing(heading: str, code: str, named: tuple[str, str] | None) -> None:
    assert names.heading_symbol(heading, code) == named


@pytest.mark.parametrize(
    ("term", "named"),
    [
        ("-n, --dry-run", ["-n", "--dry-run"]),
        ("--force-with-lease=<refname>:<expect>", ["--force-with-lease"]),
        ("--[no-]verify", ["--verify", "--no-verify"]),
        ("-o <file>, --output=<file>", ["-o", "--output"]),
        ("<repository>", []),
        ("-200", []),
    ],
)
def test_a_term_names_the_options_that_it_stands_for(term: str, named: list[str]) -> None:
    assert options(term) == named


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("f(\n    a,\n    b = 1 ,\n)", "f(a, b = 1,)"),
        ("class  tasks.Task( coro )", "class tasks.Task(coro)"),
        ("a.b [ x ]", "a.b [x]"),
    ],
)
def test_a_signature_stands_in_one_line(text: str, line: str) -> None:
    assert names.one_line(text) == line


@pytest.mark.parametrize(
    ("signature", "about"),
    [
        ("awaitable asyncio.gather(*aws)", "asyncio.gather"),
        ("template<class T> std::swap(T& a, T& b)", "std::swap"),
        ("PATH", "PATH"),
        ("some words", "some words"),
    ],
)
def test_a_signature_is_about_what_stands_before_its_arguments(signature: str, about: str) -> None:
    assert names.subject(signature) == about
