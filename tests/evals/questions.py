"""The questions of `fixtures/evals/dev` and the corpora they are asked of. Owns the ports: a docset's URL holds its site's."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.crawl_audit import _CORPORA, _DOCS, Corpus
from tests.evals.metrics import Gold, place

CORPORA = _CORPORA
_LABELS = Path(__file__).parent.parent.parent / "fixtures/evals/dev"
_FIRST_PORT = 17_501


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the pages that answer it and a phrase that its answer needs."""

    id: str
    corpus: str
    query: str
    intent: str
    style: str
    gold: tuple[Gold, ...]
    phrase: str


@dataclass(frozen=True, slots=True)
class Negative:
    """A prompt that its corpus cannot answer."""

    id: str
    corpus: str
    query: str


def port(corpus: str) -> int:
    """Where the corpus is served, in every run."""
    return _FIRST_PORT + list(CORPORA).index(corpus)


def base_url(corpus: str) -> str:
    """The origin of every page of the corpus."""
    return f"http://127.0.0.1:{port(corpus)}"


def folder(corpus: str, tree: Path) -> Path:
    """Where the corpus lies in the unpacked packages."""
    found: Corpus = CORPORA[corpus]
    return tree / _DOCS / found.folder


def questions(corpus: str) -> list[Question]:
    """All questions of a corpus."""
    return [
        Question(
            row["id"],
            corpus,
            row["query"],
            row["intent"],
            row["style"],
            tuple(Gold(place(base_url(corpus) + g["path"]).page, g["anchor"], g["grade"]) for g in row["gold"]),
            row["answer"],
        )
        for row in map(json.loads, (_LABELS / f"{corpus}.jsonl").read_text("utf-8").splitlines())
    ]


def negatives(corpus: str) -> list[Negative]:
    """All prompts that the corpus cannot answer."""
    rows = map(json.loads, (_LABELS / "negatives.jsonl").read_text("utf-8").splitlines())
    return [Negative(row["id"], row["corpus"], row["query"]) for row in rows if row["corpus"] == corpus]
