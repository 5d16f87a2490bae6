"""Promises of POST /retrieve, kept for any question: a real daemon with the real model that has read docworker's own handbook."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import lancedb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docworker.model import Hit
from docworker.retrieval.snippets import fit
from tests.conftest import FIXTURES
from tests.daemon import Daemon
from tests.fences import are_balanced
from tests.site import Site

SOURCE = "\n\n".join(file.read_text("utf-8") for file in sorted((FIXTURES / "handbook" / "docs").rglob("*.md")))
WORDS = sorted(set(re.findall(r"[\w./-]*\w", SOURCE)))
SENTENCES = sorted(set(re.findall(r"[A-Z][^.?!|`#]{20,200}[.?!]", SOURCE)))
CODE = """```python
import asyncio

async def main() -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(work(number), name=f"worker-{number}")

asyncio.run(main())
```"""


@dataclass(frozen=True)
class Piece:
    """A chunk as the daemon's own files hold it."""

    text: str
    page_id: str
    section: int
    ordinal: int


@dataclass(frozen=True)
class Handbook:
    """The daemon, its only docset, and its chunks by id."""

    daemon: Daemon
    docset_id: str
    pieces: Mapping[str, Piece] = field(repr=False)

    def ask(self, query: str, **more: object) -> Any:
        return self.daemon.post("/retrieve", query=query, docsetIds=[self.docset_id], **more)

    def titles(self, query: str, **more: object) -> list[str]:
        return [result["title"] for result in self.ask(query, **more)["results"]]


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Handbook]:
    folder = tmp_path_factory.mktemp("retrieve") / "data"
    with Site(folder=FIXTURES / "sites" / "handbook") as site, Daemon(folder, cache_dir) as running:
        made = running.post("/index", baseUrl=site.url, seedSlug="/")
        running.wait_ready(made["docsetId"], vectors=True)
        yield Handbook(running, made["docsetId"], pieces_in(folder))


def pieces_in(folder: Path) -> dict[str, Piece]:
    """All chunks, once they are folded into the index of words: that changes how equal ones are ordered."""
    deadline = time.monotonic() + 60
    while True:
        table = lancedb.connect(str(folder / "shelf")).open_table("chunks")
        stats = table.index_stats("words_idx")
        if stats is not None and stats.num_unindexed_rows == 0:
            break
        assert time.monotonic() < deadline, "the new rows are not folded into the index within a minute"
        time.sleep(0.1)
    texts = {row["id"]: row["text"] for row in table.to_arrow().select(["id", "text"]).to_pylist()}
    db = apsw.Connection(str(folder / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    rows: list[tuple[Any, ...]] = db.execute("SELECT id, page_id, section, ordinal FROM chunks").fetchall()
    db.close()
    return {id_: Piece(texts[id_], page_id, section, ordinal) for id_, page_id, section, ordinal in rows}


# -- any question


@dataclass(frozen=True)
class Asked:
    """A question and what its answer may be."""

    query: str
    top_k: int
    budget: int
    per_page: int
    formatted: bool

    def of(self, handbook: Handbook, budget: int | None = None) -> Any:
        return handbook.ask(
            self.query,
            topK=self.top_k,
            maxTotalChars=budget or self.budget,
            maxChunksPerPage=self.per_page,
            formatSnippets=self.formatted,
        )


def slices(text: str, longest: int) -> st.SearchStrategy[str]:
    return st.tuples(st.integers(0, len(text) - 1), st.integers(1, longest)).map(lambda at: text[at[0] : at[0] + at[1]])


QUERIES = st.one_of(
    st.sampled_from(SENTENCES),
    st.lists(st.sampled_from(SENTENCES), min_size=2, max_size=40).map(" ".join),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join),
    slices(SOURCE, 8_192),
    slices(CODE, 400),
    st.tuples(slices(SOURCE, 1_000), slices(SOURCE, 2_000)).map(lambda parts: f"{parts[0]}\n\n{CODE}\n\n{parts[1]}"),
    st.text(min_size=1, max_size=60),
    st.text(st.characters(categories=["L", "P", "S", "Zs"]), min_size=1, max_size=8_192),
).filter(lambda query: bool(query.strip()))
ASKED = st.builds(
    Asked,
    QUERIES,
    # the first ones are the most likely
    st.one_of(st.sampled_from([5, 3, 8, 20, 1, 100]), st.integers(1, 100)),
    st.one_of(st.sampled_from([8_000, 2_500, 1_500, 4_000, 15_000, 900, 40_000, 500, 200, 199, 1]), st.integers(1, 40_000)),
    st.sampled_from([2, 5, 1, 3, 4]),
    st.booleans(),
)
SOME = settings(max_examples=40, deadline=None)


def counted(body: Any, *, formatted: bool) -> list[int]:
    """The characters of each result, checked against what is handed over."""
    if not formatted:
        assert all(result.get("snippet") is None for result in body["results"])
        return [len(result["content"]) for result in body["results"]]
    for result in body["results"]:
        snippet = result["snippet"]
        assert snippet["charCount"] == len(snippet["formatted"])
        assert snippet["formatted"].endswith(snippet["content"])
        assert snippet["content"] == result["content"]
    return [result["snippet"]["charCount"] for result in body["results"]]


@given(ASKED)
@SOME
def test_limits_are_kept_and_the_same_question_has_the_same_answer(handbook: Handbook, asked: Asked) -> None:
    body = asked.of(handbook)
    results = body["results"]
    assert len(results) <= asked.top_k
    assert body["totalChars"] == sum(counted(body, formatted=asked.formatted)) <= asked.budget
    assert max(Counter(result["pageId"] for result in results).values(), default=0) <= asked.per_page
    assert len({result["chunkId"] for result in results}) == len(results)
    assert all(0 <= result["score"] <= 1 for result in results)
    assert all(one["score"] >= other["score"] for one, other in pairwise(results))
    for result in results:
        assert result["content"]
        assert are_balanced(result["content"])
        assert (result["docsetId"], result["pageId"]) == (handbook.docset_id, handbook.pieces[result["chunkId"]].page_id)
    assert asked.of(handbook) == body


@given(ASKED)
@SOME
def test_truncated_is_told_exactly_when_the_budget_shortened_or_left_out_a_result(handbook: Handbook, asked: Asked) -> None:
    """The budget does not choose the passages: with a very large one the same come whole."""
    body, unlimited = asked.of(handbook), asked.of(handbook, 10**6)
    assert not unlimited["truncated"]
    hits = [hit(handbook, result) for result in unlimited["results"]]
    assert max(Counter(place for one in hits for place in places(handbook, one)).values(), default=1) == 1
    snippets, truncated = fit(hits, asked.budget, formatted=asked.formatted)
    assert [(result["chunkId"], result["content"]) for result in body["results"]] == [
        (s.hit.chunk_id, s.content) for s in snippets
    ]
    assert body["truncated"] is truncated
    assert truncated is (contents(body) != contents(unlimited))


def contents(body: Any) -> list[str]:
    return [result["content"] for result in body["results"]]


def places(handbook: Handbook, found: Hit) -> list[tuple[str, int]]:
    """The chunks that are shown, by page and ordinal."""
    at = handbook.pieces[found.chunk_id].ordinal
    return [(found.page_id, ordinal) for ordinal in range(at - len(found.before), at + len(found.after) + 1)]


def hit(handbook: Handbook, result: Any) -> Hit:
    """What a whole result was made from: its chunk, and neighbours of its section."""
    lead = handbook.pieces[result["chunkId"]]
    section = [
        piece.text
        for piece in sorted(handbook.pieces.values(), key=lambda piece: piece.ordinal)
        if (piece.page_id, piece.section) == (lead.page_id, lead.section)
    ]
    alone = Hit(
        chunk_id=result["chunkId"],
        page_id=result["pageId"],
        docset_id=result["docsetId"],
        url=result["url"],
        title=result["title"],
        path=tuple(filter(None, [result["snippet"]["breadcrumb"]])) if result.get("snippet") else (),
        text=lead.text,
        score=result["score"],
    )
    at = lead.ordinal - lead.section
    widths = [(first, last) for first in range(at + 1) for last in range(at + 1, len(section) + 1)]
    made = [replace(alone, before=tuple(section[first:at]), after=tuple(section[at + 1 : last])) for first, last in widths]
    (found,) = [one for one in made if fit([one], 10**6, formatted=False)[0][0].content == result["content"]]
    return found


# -- answers


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("What happens to a crawl if the daemon is killed halfway through?", "Crawling"),
        ("How does the character budget shorten code blocks?", "Character budget and snippets"),
        ("How do I use docworker on a machine without internet?", "Offline use"),
        ("DOCWORKER_PORT", "Settings"),
        ("maxTotalChars", "Character budget and snippets"),
        ("robots.txt", "Crawling"),
    ],
)
def test_a_question_about_the_site_finds_its_page_first(handbook: Handbook, query: str, title: str) -> None:
    assert handbook.titles(query, topK=3)[0] == title


@pytest.mark.parametrize(
    "query",
    [
        "{code}\n\n{question}",
        "{question}\n\n{code}\n\nThanks!",
        "I have been at this since the morning. {question} Here is what I have:\n\n{code}\n\n{code}",
    ],
    ids=["code first", "code last", "code after"],
)
def test_a_question_in_a_long_prompt_with_code_finds_its_page(handbook: Handbook, query: str) -> None:
    asked = query.format(code=CODE, question="How do I use docworker on a machine without internet?")
    assert "Offline use" in handbook.titles(asked, topK=3)


# -- silence


@pytest.mark.parametrize(
    "query",
    [
        "thanks, looks good, now commit it",
        "yes please, go ahead",
        "ok",
        "bake bread",
        "how do I fix this failing test in payments_controller.rb",
        "refactor UserService to use dependency injection",
        "rename the variable foo to bar in utils.ts",
        "what is the capital of France",
        "漢字",
        "🙂",
        "x" * 8_192,
    ],
)
def test_a_prompt_about_nothing_on_the_site_finds_nothing(handbook: Handbook, query: str) -> None:
    body = handbook.ask(query, topK=20, maxTotalChars=20_000)
    assert (body["results"], body["totalChars"], body["truncated"]) == ([], 0, False)


QUESTION = "How do I use docworker on a machine without internet?"
FRAMES = "\n".join(
    f'  File "/srv/app/module_{n}.py", line {n}, in handler_{n}\n    await self.process_{n}(request)' for n in range(40)
)
TRACEBACK = f"Traceback (most recent call last):\n{FRAMES}\nTimeoutError: the upstream did not answer"
STEPS = "\n".join(f"def step_{n}(value, other):\n    return normalise(value * {n} + other, factor={n})" for n in range(40))


@pytest.mark.parametrize(
    "before", [TRACEBACK, f"```python\n{STEPS}\n```", f"{CODE}\n\n" * 8], ids=["frames", "code", "the same again"]
)
def test_a_question_after_much_code_finds_its_page(handbook: Handbook, before: str) -> None:
    assert "Offline use" in handbook.titles(f"{before}\n\n{QUESTION}", topK=3)


def test_a_docset_that_is_named_again_and_again_is_one_docset(handbook: Handbook) -> None:
    once, often = (handbook.daemon.post("/retrieve", query=QUESTION, docsetIds=[handbook.docset_id] * n) for n in (1, 50))
    assert once["results"]
    assert once == often


def test_a_long_list_ends_where_only_weak_results_would_follow(handbook: Handbook) -> None:
    scores = [each["score"] for each in handbook.ask("robots.txt", topK=100, maxTotalChars=10**6, maxChunksPerPage=50)["results"]]
    assert scores[-1] >= scores[0] / 2 - 0.15  # a further passage of a page counts less
