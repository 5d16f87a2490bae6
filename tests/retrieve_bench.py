"""How long does POST /retrieve take on an index of 10,000 and of 100,000 chunks of real text, and where does the time go?

    python -m tests.retrieve_bench [--sizes 10000 100000]       needs the index that `make eval` keeps, and `make corpora`

The index is put together anew of pages, texts and vectors of the one that is kept: whole pages at random for a smaller one,
all of them for a larger one, and copies of pages under another docset for what is then missing. Nothing is embedded for it.
Then, each question of `fixtures/evals` after the other over one connection, topK 5, of all docsets and of its own:

    idle          a daemon that does nothing else, warmed up with prompts that are not among the questions
    stages        the same in this process: what each step of the search takes; embed, words and names run at once
    meanwhile     while the python documentation is crawled and embedded, then while only vectors are still being made

Prints a table each and writes all of it to `.bench/retrieve.json`.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import httpx
from filelock import FileLock, Timeout

from docworker import SCHEMA_VERSION, __version__
from docworker.chunking import chunk
from docworker.contract import RetrieveRequest
from docworker.daemon import _give_memory_back
from docworker.embedding import DIMENSIONS
from docworker.embedding.loader import ModelLoader, ModelSource
from docworker.embedding.prepare import prepare
from docworker.errors import DocworkerError
from docworker.model import Chunk, digest
from docworker.retrieval.search import Question, Searcher
from docworker.store import pages, vectors
from docworker.store.catalog import Catalog
from docworker.store.frontier import page_id
from docworker.store.shelf import Row, Shelf, VectorRow
from tests.daemon import Daemon
from tests.evals.kept import docset_ids
from tests.evals.questions import CORPORA, base_url, folder, negatives, questions
from tests.evals.report import latencies
from tests.evals.run import wait_for_model

_ROOT = Path(__file__).parent.parent
_CACHE = Path(sys.prefix) / "model"
_CRAWLED = "python"
_TOP_K = 5
_PAGES_AT_ONCE = 200
_TENDED_CHUNKS = 5_000  # as many new vectors as the daemon lets come together before it tends them
_LOOK_S = 1.0
_PAUSE_S = 0.1  # between questions while vectors are made, so that it is those that keep the machine busy
_LONGEST_S = 3_600.0
_STEPS = ("embed", "vectors", "words", "names", "catalog", "score", "choose", "load", "fit", "whole")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the docset that its answer stands in."""

    query: str
    docset_id: str

    @property
    def ways(self) -> dict[str, list[str] | None]:
        """The docsets it is asked of, by what the tables call them."""
        return {"all docsets": None, "one docset": [self.docset_id]}


# -- an index of a given size


def _kept_corpora(home: Path) -> list[str]:
    """The corpora of the index that is kept in `home`. Raises RuntimeError when it cannot be used.

    What made it does not matter, as long as its vectors are those of the texts that it gives today.
    """
    if not ((home / "index.json").is_file() and (home / "data/catalog.sqlite").is_file()):
        raise RuntimeError(f"There is no index in {home}: run `make eval` first.")
    found = json.loads((home / "index.json").read_text("utf-8"))
    made = found["corpora"]
    if found["schema"] != SCHEMA_VERSION or not made or not all(each["finished"] for each in made.values()):
        raise RuntimeError(f"The index in {home} is not finished, or of another docworker: run `make eval` first.")
    return [corpus for corpus in CORPORA if corpus in made]


def _copy_catalog(home: Path, scratch: Path) -> Path:
    """The kept catalog, copied with what stands only in its log."""
    try:
        with FileLock(home / "data/lock", timeout=0):
            for file in (home / "data").glob("catalog.sqlite*"):
                shutil.copy(file, scratch)
    except Timeout:
        raise RuntimeError(f"A daemon runs on {home / 'data'}: end it first.") from None
    return scratch / "catalog.sqlite"


def _fill(catalog: Path, kept: Path, size: int) -> None:
    """Copy whole pages of `kept`, of `size` chunks in all, into an empty catalog, with their vectors but without the chunks."""
    with closing(sqlite3.connect(catalog)) as db, db:
        db.execute("ATTACH ? AS kept", (str(kept),))
        db.execute("CREATE TEMP TABLE chosen (kept_seq INTEGER, docset_id TEXT, id TEXT)")
        chosen = _choose(db, size)
        db.executemany(
            "INSERT INTO chosen VALUES (?, ?, ?)",
            ((seq, _id(docset_id, copy), page_id(_id(docset_id, copy), url)) for copy, seq, docset_id, url in chosen),
        )
        same = _columns(db, "docsets", "id", "name", "created_at")
        db.executemany(  # a copy is listed after its original
            f"INSERT INTO docsets (id, name, created_at, {same}) SELECT ?1, name || ?2, created_at + ?3, {same}"
            " FROM kept.docsets WHERE id = ?4",
            {(_id(docset_id, copy), f" (copy {copy})" if copy else "", copy, docset_id) for copy, _, docset_id, _ in chosen},
        )
        same = _columns(db, "pages", "seq", "id", "docset_id")
        db.execute(
            f"INSERT INTO pages (id, docset_id, {same}) SELECT chosen.id, chosen.docset_id, {same}"
            " FROM chosen JOIN kept.pages ON kept_seq = seq ORDER BY chosen.rowid"
        )
        for name in ("symbols", "passages"):
            same = _columns(db, name, "docset_id", "page_seq")
            db.execute(
                f"INSERT INTO {name} (docset_id, page_seq, {same}) SELECT chosen.docset_id, main.pages.seq, {same}"
                f" FROM chosen JOIN main.pages ON main.pages.id = chosen.id JOIN kept.{name} ON page_seq = kept_seq"
            )
        db.execute(
            "INSERT INTO vectors SELECT * FROM kept.vectors WHERE text_hash IN (SELECT text_hash FROM kept.chunks"
            " WHERE page_id IN (SELECT id FROM kept.pages WHERE seq IN (SELECT kept_seq FROM chosen)))"
        )


def _choose(db: sqlite3.Connection, size: int) -> list[tuple[int, int, str, str]]:
    """(which copy, 0 for the page itself; seq, docset id, URL) of pages that have `size` chunks together."""
    rows: list[tuple[int, str, str, int]] = db.execute(
        "SELECT seq, docset_id, url, (SELECT count(*) FROM kept.chunks WHERE page_id = kept.pages.id) FROM kept.pages"
        " WHERE state = 'indexed'"
    ).fetchall()
    rows.sort(key=lambda row: digest(row[1], row[2]))  # at random, but the same ones each time
    chosen: list[tuple[int, int, str, str]] = []
    left, before, copy = size, 0, 0
    while left != before:
        before = left
        for seq, docset_id, url, number in rows:
            if number <= left:
                chosen.append((copy, seq, docset_id, url))
                left -= number
        copy += 1
    return sorted(chosen)  # as they were crawled


def _columns(db: sqlite3.Connection, name: str, *but: str) -> str:
    return ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({name})") if row[1] not in but)


def _id(docset_id: str, copy: int) -> str:
    return digest(docset_id, str(copy), size=6) if copy else docset_id


async def _build(data: Path, kept: Path, size: int, model_id: str) -> dict[str, float]:
    """A data folder with `size` chunks and the shelf that a daemon would have made for them."""
    begin = time.monotonic()
    catalog = await Catalog.open(data / "catalog.sqlite")
    await asyncio.to_thread(_fill, data / "catalog.sqlite", kept, size)
    shelf = await Shelf.open(data / "shelf", DIMENSIONS)
    rows: list[Row] = []
    there: list[VectorRow] = []
    page_seq, made, pages_made = 0, 0, 0
    while batch := await catalog.read(pages.documents, page_seq, _PAGES_AT_ONCE):
        page_seq = batch[-1].seq
        pages_made += len(batch)
        for page in batch:
            if page.document is None:
                raise RuntimeError(f"The text of {page.url} in the kept index is damaged: run `make eval` first.")
            pieces = chunk(page.document, page.docset_id, page.url)
            known = await catalog.read(vectors.known, model_id, [piece.text_hash for piece in pieces])
            if any(piece.text_hash not in known for piece in pieces):
                raise RuntimeError(f"{page.url} has no vectors in the kept index: run `make eval` first.")
            await catalog.write(_list, page.page_id, page.docset_id, pieces)
            rows += (_row(piece, page.page_id, page.docset_id, page.url, page.document.title) for piece in pieces)
            there += (VectorRow(piece.id, page.docset_id, known[piece.text_hash]) for piece in pieces)
            if len(rows) >= _TENDED_CHUNKS:
                made += await _put(shelf, rows, there)
    made += await _put(shelf, rows, there)
    await shelf.prune(alone=True)
    await catalog.write(_forget_vectors, base_url(_CRAWLED))
    await shelf.close()
    await catalog.close()
    return {"chunks": made, "pages": pages_made, "built in s": round(time.monotonic() - begin, 1)}


def _list(db: apsw.Connection, of_page: str, docset_id: str, pieces: Sequence[Chunk]) -> None:
    """List chunks of an indexed page, as `pages.commit_indexed` does."""
    db.executemany(
        "INSERT INTO chunks (id, page_id, docset_id, ordinal, section, anchor, chars, text_hash, embedded)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
        (
            (piece.id, of_page, docset_id, piece.ordinal, piece.section, piece.anchor, len(piece.text), piece.text_hash)
            for piece in pieces
        ),
    )


def _forget_vectors(db: apsw.Connection, crawled: str) -> None:
    """Let the texts of a site be unknown, so that they are embedded when it is crawled again at another address."""
    db.execute(
        "DELETE FROM vectors WHERE text_hash IN (SELECT text_hash FROM chunks JOIN docsets ON docsets.id = docset_id"
        " WHERE base_url = ?)",
        (crawled,),
    )


def _row(piece: Chunk, of_page: str, docset_id: str, url: str, title: str) -> Row:
    return Row(piece.id, docset_id, of_page, url, title, piece.path, piece.anchor, piece.text, piece.words)


async def _put(shelf: Shelf, rows: list[Row], there: list[VectorRow]) -> int:
    """Put all on the shelf and tend it; returns how many there were and leaves none."""
    number = len(rows)
    await shelf.add(rows, new=True)
    await shelf.add_vectors(there)
    await shelf._index_vectors()
    await shelf.prune()
    rows.clear()
    there.clear()
    return number


# -- asking


class Asker:
    """Asks one daemon over one connection, and counts questions without an answer."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self.unanswered = 0

    def ask_ms(self, query: str, docsets: list[str] | None) -> float:
        """What one question takes."""
        begin = time.perf_counter()
        answer = self.http.post("/retrieve", json=_body(query, docsets))
        ms = (time.perf_counter() - begin) * 1e3
        self.unanswered += not answer.raise_for_status().json()["results"]
        return ms


def _body(query: str, docsets: list[str] | None) -> dict[str, object]:
    return {"query": query, "docsetIds": docsets, "topK": _TOP_K}


def _warm_up() -> list[str]:
    """Prompts that the corpora cannot answer: what is asked in earnest is asked for the first time."""
    return [negative.query for corpus in CORPORA for negative in negatives(corpus)]


@contextmanager
def _asking(data: Path, corpora: Sequence[str]) -> Iterator[tuple[Daemon, Asker, list[Asked]]]:
    """A daemon on the folder, warmed up, and what to ask it."""
    with Daemon(data, _CACHE, keep_alive=True, model_download=False) as daemon:
        wait_for_model(daemon)
        asker = Asker(daemon.url)
        with closing(asker.http):
            first = {corpus: docset_ids(daemon, corpus)[0] for corpus in corpora}
            for query in _warm_up():
                asker.ask_ms(query, None)
            asker.unanswered = 0
            yield daemon, asker, [Asked(each.query, first[corpus]) for corpus in corpora for each in questions(corpus)]


def _idle(data: Path, corpora: Sequence[str]) -> tuple[list[Asked], dict[str, list[float]], float]:
    """What was asked, the milliseconds, and the share without any answer."""
    took: dict[str, list[float]] = defaultdict(list)
    with _asking(data, corpora) as (_, asker, asked):
        for way in asked[0].ways:
            for each in asked:
                took[way].append(asker.ask_ms(each.query, each.ways[way]))
        return asked, took, asker.unanswered / sum(map(len, took.values()))


def _meanwhile(data: Path, corpora: Sequence[str], tree: Path) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The milliseconds as long as vectors are made, by what the daemon was doing; and how long that took it."""
    took: dict[str, list[float]] = defaultdict(list)
    ((name, seed),) = CORPORA[_CRAWLED].seeds.items()
    with _served(folder(_CRAWLED, tree)) as url, _asking(data, corpora) as (daemon, asker, asked):
        begin = looked = time.monotonic()
        docset_id = daemon.post("/index", baseUrl=url, seedSlug=seed, name=f"{name} again")["docsetId"]
        text_s, doing, number = 0.0, "", 0
        while True:
            if not doing or time.monotonic() - looked >= _LOOK_S:
                looked = time.monotonic()
                docset = asker.http.get(f"/docset/{docset_id}").raise_for_status().json()
                counts, ready = docset["indexStatus"], docset["status"] == "ready"
                if docset["status"] == "error" or looked - begin > _LONGEST_S:
                    raise RuntimeError(docset["message"] or f"{url} is not indexed after {_LONGEST_S:.0f} s")
                if ready and counts["embeddedChunks"] == counts["totalChunks"]:
                    break
                text_s = text_s or (looked - begin if ready else 0.0)
                doing = "vectors made" if ready else "crawled, vectors made"
            each = asked[number // 2 % len(asked)]
            way = list(each.ways)[number % 2]
            took[f"{doing}, {way}"].append(asker.ask_ms(each.query, each.ways[way]))
            number += 1
            time.sleep(_PAUSE_S)
        whole_s = time.monotonic() - begin
        with suppress(httpx.ReadTimeout):  # the figure says that it took long
            daemon.request("DELETE", f"/docset/{docset_id}").raise_for_status()
        deleted_s = time.monotonic() - begin - whole_s
        daemon.end(signal.SIGKILL)  # it has much to tend now, and its folder is thrown away
    return took, {
        "pages": counts["indexedPages"],
        "chunks": counts["totalChunks"],
        "crawled in s": round(text_s, 1),
        "embedded in s": round(whole_s, 1),
        "vectors a second": round(counts["totalChunks"] / whole_s, 1),
        "deleted in s": round(deleted_s, 1),
    }


@contextmanager
def _served(site: Path) -> Iterator[str]:
    """The URL of a folder, served by another process: this one measures."""
    command = [sys.executable, "-m", "tests.site", str(site), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


async def _stages(data: Path, asked: Sequence[Asked]) -> dict[str, dict[str, list[float]]]:
    """The milliseconds of each step, by the docsets asked; with the same stores, model and use of memory as a daemon's."""
    _give_memory_back()
    catalog = await Catalog.open(data / "catalog.sqlite")
    shelf = await Shelf.open(data / "shelf", DIMENSIONS)
    model = ModelLoader(ModelSource(None, _CACHE, False, 1.0), os.cpu_count() or 2)
    took: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    try:
        await asyncio.wait_for(model.load_forever(), 120)
        searcher = Searcher(catalog, shelf, model)
        for query in _warm_up():
            await searcher.answer(_question(query, None))
        for way in asked[0].ways:
            for each in asked:
                question = _question(each.query, each.ways[way])
                begin = time.perf_counter()
                answer = await searcher.answer(question)
                took[way]["whole"].append((time.perf_counter() - begin) * 1e3)
                for step, ms in answer.took_ms.items():
                    took[way][step].append(ms)
    finally:
        model.close()
        await shelf.close()
        await catalog.close()
    return took


def _question(query: str, docsets: list[str] | None) -> Question:
    asked = RetrieveRequest.model_validate(_body(query, docsets))
    return Question(
        asked.query, asked.top_k, asked.docset_ids, asked.max_chunks_per_page, asked.max_total_chars, asked.format_snippets
    )


# -- all of it


def _measure(scratch: Path, kept: Path, size: int, corpora: Sequence[str], tree: Path, model_id: str) -> dict[str, Any]:
    data = scratch / str(size)
    data.mkdir(mode=0o700)
    index = asyncio.run(_build(data, kept, size, model_id))
    index["MB"] = round(sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) / 1e6, 1)
    title = f"{index['chunks']:,.0f} chunks"
    print(f"\n{title} of {index['pages']:,.0f} pages, {index['MB']:.0f} MB, put together in {index['built in s']:.0f} s")
    asked, idle_ms, unanswered = _idle(data, corpora)
    idle = latencies(idle_ms)
    print(f"{len(asked)} questions; {unanswered:.1%} of the answers are empty\n{_table(f'{title}, idle', idle)}", flush=True)
    stages = {
        way: latencies({step: ms[step] for step in _STEPS if step in ms}) for way, ms in asyncio.run(_stages(data, asked)).items()
    }
    for way, rows in stages.items():
        print(f"\n{_table(f'{title}, by step, {way}', rows)}", flush=True)
    busy_ms, crawl = _meanwhile(data, corpora, tree)
    both: dict[str, list[float]] = {way: [] for way in idle}
    for name, ms in busy_ms.items():
        both[name.rpartition(", ")[2]] += ms
    busy = latencies(dict(sorted(busy_ms.items())) | {f"both, {way}": ms for way, ms in both.items()})
    for name, row in busy.items():
        row["x idle"] = row["p95 ms"] / idle[name.rpartition(", ")[2]]["p95 ms"]
    print(f"\n{_table(f'{title}, meanwhile', busy)}\n{_CRAWLED}: {_told(crawl)}", flush=True)
    shutil.rmtree(data)
    return {
        "index": index,
        "empty answers": round(unanswered, 4),
        "idle": _rounded(idle),
        "stages": {way: _rounded(rows) for way, rows in stages.items()},
        "meanwhile": _rounded(busy),
        "crawl": crawl,
    }


def _table(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(next(iter(rows.values())))
    width = max(map(len, [title, *rows]))
    lines = [f"{title:{width}}" + "".join(f"{column:>9}" for column in columns)]
    for name, row in rows.items():
        lines.append(f"{name:{width}}" + "".join(f"{row[column]:9.{0 if column == 'n' else 1}f}" for column in columns))
    return "\n".join(lines)


def _told(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,g}" for name, value in figures.items())


def _rounded(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {column: round(value, 2) for column, value in row.items()} for name, row in rows.items()}


def main() -> int:
    """Measure every size that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=os.environ.get("CORPORA_TREE", _ROOT / ".corpora/tree"))
    parser.add_argument("--keep", type=Path, default=_ROOT / ".eval", metavar="FOLDER", help="where `make eval` keeps its index")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], metavar="CHUNKS")
    parser.add_argument("--out", type=Path, default=_ROOT / ".bench/retrieve.json", metavar="FILE")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended too
    tree = given.tree.absolute()
    if not folder(_CRAWLED, tree).is_dir():
        print(f"{folder(_CRAWLED, tree)}: not there; run `make corpora` first, or name the tree with --tree.", file=sys.stderr)
        return 1
    load = round(os.getloadavg()[0], 2)
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load}")
    try:
        model_id = prepare(None, _CACHE, download=False).model_id
        corpora = _kept_corpora(given.keep.absolute())
        with tempfile.TemporaryDirectory(prefix="docworker-bench-") as scratch:
            kept = _copy_catalog(given.keep.absolute(), Path(scratch))
            sizes = {str(size): _measure(Path(scratch), kept, size, corpora, tree, model_id) for size in given.sizes}
    except (RuntimeError, httpx.HTTPError, subprocess.TimeoutExpired, DocworkerError) as error:
        print(error, file=sys.stderr)
        return 1
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "docworker": __version__,
        "model": model_id,
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "load": load},
        "corpora": corpora,
        "sizes": sizes,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(f"\nwritten to {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
