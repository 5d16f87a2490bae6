"""Sphinx's list of names: read whole, bounded, and nothing else is taken for one."""

import zlib
from pathlib import Path

import pytest

from docworker.crawl.inventory import read_inventory
from docworker.model import Symbol

URL = "https://x.org/docs/objects.inv"
HEAD = b"# Sphinx inventory version 2\n# Project: kettle\n# Version: 2\n# The remainder of this file is compressed using zlib.\n"
REAL = Path(__file__).parent.parent / "fixtures" / "extract" / "sphinx" / "furo-objects.inv"


def packed(*lines: str) -> bytes:
    return HEAD + zlib.compress("\n".join(lines).encode())


def test_the_inventory_that_sphinx_wrote_is_read_with_pages_and_anchors() -> None:
    found = read_inventory(REAL.read_bytes(), URL)
    assert ("https://x.org/docs/api.html", Symbol("kettle.Queue.get", "method", "kettle.Queue.get")) in found
    assert {page for page, _ in found} <= {f"https://x.org/docs/{name}.html" for name in ("api", "guide", "tools", "index")}
    assert not {symbol.kind for _, symbol in found} & {"doc", "label"}


@pytest.mark.parametrize(
    ("line", "page", "symbol"),
    [
        ("a.b py:function 1 lib/a.html#$ -", "https://x.org/docs/lib/a.html", Symbol("a.b", "function", "a.b")),
        (
            "python.-m std:cmdoption 1 c.html#cmdoption-m -m",
            "https://x.org/docs/c.html",
            Symbol("python.-m", "option", "cmdoption-m"),
        ),
        (
            "abstract base class std:term -1 g.html#term-abc -",
            "https://x.org/docs/g.html",
            Symbol("abstract base class", "term", "term-abc"),
        ),
        ("m py:module 0 m.html -", "https://x.org/docs/m.html", Symbol("m", "module", None)),
        ("up py:data 1 ../up.html#$ -", "https://x.org/up.html", Symbol("up", "data", "up")),
    ],
)
def test_a_line_names_a_thing_its_page_and_its_anchor(line: str, page: str, symbol: Symbol) -> None:
    assert read_inventory(packed(line), URL) == [(page, symbol)]


@pytest.mark.parametrize(
    "line",
    ["x std:doc -1 x.html X", "x std:label 1 x.html#x X", "# a remark", "", "no kind 1 x.html -", "x py:f 1 http://[bad/ -"],
)
def test_what_is_no_name_of_an_api_is_left_out(line: str) -> None:
    assert read_inventory(packed(line, "a py:data 1 a.html#$ -"), URL) == [
        ("https://x.org/docs/a.html", Symbol("a", "data", "a"))
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>404</html>",
        HEAD,
        HEAD + b"not packed",
        packed("a py:data 1 a.html#$ -")[:-12] + b"!",
        b"# Sphinx inventory version 1\n\n\n\n",
    ],
)
def test_what_is_no_inventory_names_nothing(body: bytes) -> None:
    assert all(isinstance(symbol, Symbol) for _, symbol in read_inventory(body, URL)) and len(read_inventory(body, URL)) <= 1


def test_an_inventory_that_unpacks_to_gigabytes_costs_no_more_than_the_limit() -> None:
    labels, names = b"x std:label 1 x.html#x X\n" * 199_999, b"a py:data 1 a.html#$ -\n" * 4_000_000
    assert len(read_inventory(HEAD + zlib.compress(labels + names, 1), URL)) == 1  # of its first 200,000 lines
