"""Every page in fixtures/extract comes out as is written beside it: title, sections with anchors, Markdown, symbols.

`<case>.expected.md` has a head (title, url, generator; charset and content-type when they are not the usual), the sections
(`## Heading {#anchor}`, `entry` behind an API entry's) and the symbols (`kind name #anchor`), parted by `---`.

    python -m tests.test_extract_golden CASE        prints what comes out, in that form
"""

import re
import sys
from html import unescape
from pathlib import Path

import pytest

from docworker.extract import extract
from docworker.extract.charset import decode
from docworker.model import Extracted, Section

CASES = Path(__file__).parent.parent / "fixtures" / "extract"
_SUFFIXES = (".html", ".xhtml", ".md", ".txt")


def cases() -> dict[str, tuple[Path, Path]]:
    """Page and expectation of each case, by its name."""
    found: dict[str, tuple[Path, Path]] = {}
    for expected in sorted(CASES.rglob("*.expected.md")):
        stem = expected.name.removesuffix(".expected.md")
        page = next(expected.with_name(stem + suffix) for suffix in _SUFFIXES if expected.with_name(stem + suffix).exists())
        found[f"{expected.parent.name}/{stem}"] = page, expected
    return found


def head(expected: str) -> dict[str, str]:
    lines = expected.partition("\n---\n")[0].splitlines()
    return {key: value for key, _, value in (line.partition(": ") for line in lines)}


def read(page: Path, fields: dict[str, str]) -> Extracted:
    return extract(fields["url"], page.read_bytes(), fields.get("charset"), fields.get("content-type", "text/html"))


def written(page: Extracted, fields: dict[str, str]) -> str:
    """A page in the form of the expectations."""
    given = {key: fields[key] for key in ("charset", "content-type") if key in fields}
    top = {"title": page.document.title, "url": fields["url"], "generator": page.generator} | given
    body = "\n\n".join(_section(section) for section in page.document.sections)
    symbols = "\n".join(
        f"{symbol.kind} {symbol.name}{f' #{symbol.anchor}' if symbol.anchor else ''}" for symbol in page.document.symbols
    )
    parts = ["\n".join(f"{key}: {value}" for key, value in top.items()), body, symbols]
    return "\n---\n".join(part.strip("\n") for part in parts).rstrip("\n") + "\n"


def _section(section: Section) -> str:
    if not section.heading:
        return section.text
    anchor = f" {{#{section.anchor}}}" if section.anchor else ""
    line = f"{'#' * section.level} {section.heading}{anchor}{' entry' if section.entry else ''}"
    return f"{line}\n\n{section.text}" if section.text else line


def normalised(expected: str) -> str:
    """An expectation with its head in one order."""
    _, _, rest = expected.partition("\n---\n")
    fields = head(expected)
    order = [key for key in ("title", "url", "generator", "charset", "content-type") if key in fields]
    parts = rest.rsplit("\n---", 1) if "\n---" in rest else [rest, ""]
    both = [part.strip("\n") for part in parts]
    return "\n---\n".join(["\n".join(f"{key}: {fields[key]}" for key in order), *both]).rstrip("\n") + "\n"


def test_there_is_a_case_for_every_generator() -> None:
    from docworker.extract.generators import PROFILES

    read_by = {head(expected.read_text("utf-8"))["generator"] for _, expected in cases().values()}
    assert {profile.name for profile in PROFILES} | {"generic", "markdown", "text"} <= read_by


@pytest.mark.parametrize("name", cases())
def test_a_page_comes_out_as_it_is_written_beside_it(name: str) -> None:
    page, expectation = cases()[name]
    expected = expectation.read_text("utf-8")
    fields = head(expected)
    found = written(read(page, fields), fields)
    assert found.splitlines() == normalised(expected).splitlines()


@pytest.mark.parametrize("name", cases())
def test_every_anchor_of_a_page_stands_in_it(name: str) -> None:
    page, expectation = cases()[name]
    found = read(page, head(expectation.read_text("utf-8"))).document
    source = unescape(decode(page.read_bytes(), None))
    anchors = {section.anchor for section in found.sections} | {symbol.anchor for symbol in found.symbols}
    for anchor in filter(None, anchors):
        assert re.search(rf"\b(?:id|name)=([\"']?){re.escape(anchor)}\1", source, re.IGNORECASE), anchor


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        path, expectation = cases()[wanted]
        about = head(expectation.read_text("utf-8"))
        print(written(read(path, about), about), end="")
