"""What does a refresh cost, and does anything grow with it? Real documentation over HTTP, and a real daemon.

    python -m tests.refresh_bench [--tree FOLDER] [--keep FOLDER] [--only unchanged edited menus again]     needs `make corpora`

The python documentation is crawled once for its words alone and once with vectors. Every scenario begins with a copy of what
the second of these left, as if its server had always been of that kind: one that sends an ETag, a Last-Modified, or neither.

    unchanged    nothing is different
    edited       one paragraph of the main text is different on 5 % of the pages
    menus        the date in the footer and an entry of the menu are different on every page
    again        50 refreshes without a change: size of the data folder, memory and open files after the first and the last

Rows are compared before and after in full; when a page was last asked for, and with which answer, is counted by itself.
Prints a line of JSON for each scenario, the tables in Markdown, and what is not as it should be, which ends it with 1; writes
all of it to `.bench/refresh.json`. Site, daemon and bench share the machine: of the times only the ratios count.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from statistics import median
from typing import Any, get_args

import httpx
import lancedb
import psutil

from docworker import CHUNKER_VERSION, EXTRACTOR_VERSION, SCHEMA_VERSION
from tests.daemon import HIDE_MODEL_PACKAGE, Daemon
from tests.evals.questions import CORPORA, folder
from tests.site import Answer, Site, Validators

_ROOT = Path(__file__).parent.parent
_CACHE = Path(sys.prefix) / "model"
_CORPUS, _SEED = "python", "/index.html"
_SCENARIOS = ("unchanged", "edited", "menus", "again")
_KINDS: tuple[Validators, ...] = ("etag", "last-modified", "neither")
_SHARE = 0.05
_IDLE_S = 65.0  # the shelf drops what was replaced a minute ago
_LOOK_S = 0.2
_LONGEST_S = 3 * 3_600.0
_MOST_GROWTH = 0.1
# Each table of the catalog, and what tells its rows apart.
_TABLES = {
    "chunks": "id",
    "pages": "id",
    "passages": "docset_id, hash, page_seq",
    "symbols": "rowid",
    "vectors": "text_hash, model",
}
_OF_ASKING = ("fetched_at", "http_status")  # of a page: when it was last asked for, and what that answered
_ASKED_BESIDES = ("/robots.txt", "/sitemap.xml", "/objects.inv")
_PARAGRAPH = re.compile(r"<p>([^<>]{40,})</p>")
_MAIN = ('role="main"', 'class="sphinxsidebar"')
_MENU, _FOOTER = '<div class="sphinxsidebarwrapper">', "Last updated on "

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class First:
    """The first crawl of an undisturbed site: where it was served, how long that took with words alone, until every page could be
    found by words while vectors were being made, and until every vector was there; what it wrote, and what it cost of a core."""

    port: int
    docset_id: str
    made_with: tuple[int, ...]
    words_s: float
    ready_s: float
    vectors_s: float
    pages: int
    chunks: int
    requests: int
    words_written_mb: float
    written_mb: float
    words_cpu_s: float
    cpu_s: float


# -- the site


def _as_met_by(catalog: Path, kind: Validators) -> None:
    """Make of a catalog that knows both validators one whose server is of this kind."""
    with closing(sqlite3.connect(catalog)) as db, db:
        if kind in ("last-modified", "neither"):
            db.execute("UPDATE pages SET etag = NULL")
        if kind in ("etag", "neither"):
            db.execute("UPDATE pages SET last_modified = NULL")


def _served(site: Site, texts: Mapping[str, str]) -> dict[str, str | Answer]:
    """Texts by path as answers of this site, changed just now."""
    dated = site.validators in ("last-modified", "both")
    headers = {"Last-Modified": formatdate(time.time(), usegmt=True)} if dated else {}
    return {path: Answer(body=text, content_type="text/html", headers=headers) for path, text in texts.items()}


def _text(site: Site, path: str) -> str:
    body = site.answer(path).body
    return body.decode() if isinstance(body, bytes) else body


def _edited(site: Site, paths: Sequence[str]) -> dict[str, str]:
    """One paragraph changed on some of the pages, the same ones each time."""
    chance = random.Random(1)
    edited: dict[str, str] = {}
    for path in chance.sample(sorted(paths), len(paths)):
        text = _text(site, path)
        begin, end = (text.find(mark) for mark in _MAIN)
        found = list(_PARAGRAPH.finditer(text, begin, end)) if 0 <= begin < end else []
        if found:
            at = chance.choice(found).end(1)
            edited[path] = f"{text[:at]} This has been so since revision {len(edited) + 1}.{text[at:]}"
        if len(edited) >= round(_SHARE * len(paths)):
            return edited
    raise RuntimeError(f"Only {len(edited)} pages have a paragraph to change.")


def _with_other_menus(site: Site, paths: Sequence[str]) -> dict[str, str]:
    """Menu and footer changed on all pages."""
    changed: dict[str, str] = {}
    for path in paths:
        text = _text(site, path)
        entry = f'{_MENU}<h4>News</h4><p class="topless"><a href="{_SEED}">What is new in the documentation</a></p>'
        other = text.replace(_MENU, entry).replace(_FOOTER, f"{_FOOTER}February 03, 2031, after ")
        if other == text:  # a page of another kind: none of it is text that is kept
            other = text.replace("</body>", '<div class="footer">Built on February 03, 2031.</div></body>')
        if other == text:
            raise RuntimeError(f"{path} has neither a menu nor an end to put something to.")
        changed[path] = other
    return changed


# -- what is there


@dataclass(frozen=True, slots=True)
class State:
    """A hash of every row of catalog and shelf by table and key, and the versions of the shelf's tables."""

    rows: Mapping[str, Mapping[object, bytes]]
    versions: Mapping[str, int]


def _state(data: Path) -> State:
    rows: dict[str, dict[object, bytes]] = {}
    versions: dict[str, int] = {}
    with closing(sqlite3.connect(f"file:{data / 'catalog.sqlite'}?mode=ro", uri=True)) as db:
        for name, key in _TABLES.items():
            columns = ", ".join(row[1] for row in db.execute(f"PRAGMA table_info({name})") if row[1] not in _OF_ASKING)
            width = key.count(",") + 1
            found = db.execute(f"SELECT {key}, {columns} FROM {name}")
            rows[f"catalog {name}"] = {row[:width]: _hash(row[width:]) for row in found}
        found = db.execute(f"SELECT id, {', '.join(_OF_ASKING)} FROM pages")
        rows["asked pages"] = {row[:1]: _hash(row[1:]) for row in found}
    database = lancedb.connect(str(data / "shelf"))
    for name in ("chunks", "vectors"):
        table = database.open_table(name)
        versions[name] = table.version
        rows[f"shelf {name}"] = dict(_shelf_rows(table))
    return State(rows, versions)


def _shelf_rows(table: Any) -> Iterator[tuple[object, bytes]]:
    for batch in table.to_arrow().to_batches():
        if "vector" in batch.schema.names:
            vectors = batch["vector"].flatten().to_numpy().reshape(batch.num_rows, -1)
            others = batch.select([name for name in batch.schema.names if name != "vector"]).to_pylist()
            yield from ((row["id"], _hash((row, vector.tobytes()))) for row, vector in zip(others, vectors, strict=True))
        else:
            yield from ((row["id"], _hash(row)) for row in batch.to_pylist())


def _hash(row: object) -> bytes:
    return hashlib.blake2b(repr(row).encode(), digest_size=16).digest()


def _difference(before: State, after: State) -> Figures:
    """Rows that came, are different and went, by table, of those tables that differ; and how often the shelf was written."""
    differs: Figures = {}
    for table, old in before.rows.items():
        new = after.rows[table]
        came, went = len(new.keys() - old.keys()), len(old.keys() - new.keys())
        other = sum(old[key] != new[key] for key in old.keys() & new.keys())
        if came or went or other:
            differs[table] = {"new": came, "other": other, "gone": went}
    return {
        "catalog rows written": _sum(differs, "catalog"),
        "shelf rows written": _sum(differs, "shelf"),
        "rows written": differs,
        "shelf versions": {name: after.versions[name] - before.versions[name] for name in before.versions},
    }


def _sum(differs: Mapping[str, Mapping[str, int]], store: str) -> int:
    return sum(sum(numbers.values()) for table, numbers in differs.items() if table.startswith(store))


def _sizes_mb(data: Path) -> dict[str, float]:
    """How large the data folder is, as du counts it, and each part of it."""
    parts: Counter[str] = Counter()
    for file in data.rglob("*"):
        try:
            found = file.stat()
        except FileNotFoundError:
            continue
        first, *rest = file.relative_to(data).parts
        name = f"{first}/{rest[0].partition('.')[0]}" if first == "shelf" and rest else first
        parts["docworker.log" if name.startswith("docworker.log") else name] += found.st_blocks * 512
    return {"all": round(parts.total() / 1e6, 2)} | {name: round(size / 1e6, 2) for name, size in sorted(parts.items())}


@dataclass(frozen=True, slots=True)
class _Used:
    daemon_cpu_s: float
    workers_cpu_s: float
    own_cpu_s: float
    written: int

    @classmethod
    def by(cls, process: psutil.Process) -> "_Used":
        times = process.cpu_times()
        workers: float = times.children_user + times.children_system  # those that have ended
        for each in process.children(recursive=True):
            try:
                workers += sum(each.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        own = sum(psutil.Process().cpu_times()[:2])
        return cls(times.user + times.system, workers, own, process.io_counters().write_bytes)

    def since(self, begin: "_Used") -> Figures:
        return {
            "CPU s": {
                "daemon": round(self.daemon_cpu_s - begin.daemon_cpu_s, 2),
                "workers": round(self.workers_cpu_s - begin.workers_cpu_s, 2),
                "site and bench": round(self.own_cpu_s - begin.own_cpu_s, 2),
            },
            "MB written": round((self.written - begin.written) / 1e6, 2),
        }


# -- the first crawl


def _first(site: Site, scratch: Path, data: Path) -> First:
    """Crawl twice; the second one's folder is left in `data`."""
    (scratch / "path").mkdir()
    (scratch / "path" / "sitecustomize.py").write_text(HIDE_MODEL_PACKAGE, "utf-8")
    words = Daemon(scratch / "words", scratch / "cache", model_download=False)
    words.environment["PYTHONPATH"] = str(scratch / "path")
    with words:
        words_s, _, words_used, _ = _crawl(words, site, vectors=False)
    shutil.rmtree(scratch / "words")
    site.requests.clear()
    with _running(data) as daemon:
        ready_s, vectors_s, used, docset = _crawl(daemon, site, vectors=True)
        daemon.end()
        daemon.start()  # it tidies the shelf up: no scenario is to begin with that
    counts = docset["indexStatus"]
    return First(
        port=httpx.URL(site.url).port or 0,
        docset_id=docset["id"],
        made_with=_made_with(),
        words_s=round(words_s, 2),
        ready_s=round(ready_s, 2),
        vectors_s=round(vectors_s, 2),
        pages=counts["indexedPages"],
        chunks=counts["totalChunks"],
        requests=site.requests.total(),
        words_written_mb=words_used["MB written"],
        written_mb=used["MB written"],
        words_cpu_s=_cpu_s(words_used),
        cpu_s=_cpu_s(used),
    )


def _crawl(daemon: Daemon, site: Site, *, vectors: bool) -> tuple[float, float, Figures, Figures]:
    """Seconds until all is found by its words, and until every vector is there; what that used; and the docset."""
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    used = _Used.by(process)
    begin = time.monotonic()
    docset_id = daemon.post("/index", baseUrl=site.url, seedSlug=_SEED)["docsetId"]
    docset = daemon.wait_ready(docset_id, timeout_s=_LONGEST_S)
    ready_s = time.monotonic() - begin
    if vectors:
        docset = daemon.wait_ready(docset_id, vectors=True, timeout_s=_LONGEST_S)
    vectors_s = time.monotonic() - begin
    if docset["status"] != "ready":
        raise RuntimeError(f"The first crawl failed: {docset['message']}")
    return ready_s, vectors_s, _Used.by(process).since(used), docset


def _cpu_s(used: Figures) -> float:
    """What daemon and workers together computed."""
    daemon_s: float = used["CPU s"]["daemon"]
    workers_s: float = used["CPU s"]["workers"]
    return round(daemon_s + workers_s, 2)


def _made_with() -> tuple[int, ...]:
    return SCHEMA_VERSION, EXTRACTOR_VERSION, CHUNKER_VERSION


@contextmanager
def _running(data: Path) -> Iterator[Daemon]:
    """A daemon with its model; ended also when it does not come up."""
    daemon = Daemon(data, _CACHE, model_download=False)
    try:
        daemon.start()
        _wait_for_model(daemon)
        yield daemon
    finally:
        daemon.end()


def _wait_for_model(daemon: Daemon) -> None:
    deadline = time.monotonic() + 300
    while (model := daemon.get("/status")["model"])["state"] != "ready":
        if model["state"] == "unavailable" or time.monotonic() > deadline:
            raise RuntimeError(f"There is no embedding model: {model['message']}")
        time.sleep(0.1)


# -- a refresh


def _refresh(daemon: Daemon, site: Site, first: First) -> Figures:
    """One refresh, from the request to its end."""
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    for counter in (site.answers, site.requests):
        counter.clear()
    site.headers.clear()
    used = _Used.by(process)
    begin, begun_at = time.monotonic(), time.time()
    daemon.post("/refresh", docsetId=first.docset_id, force=True)
    with httpx.Client(base_url=daemon.url, timeout=120) as http:  # one connection: looking is to cost little
        while (docset := http.get(f"/docset/{first.docset_id}").raise_for_status().json())["refresh"] is not None:
            if time.monotonic() - begin > _LONGEST_S:
                raise RuntimeError(f"The refresh has not ended after {_LONGEST_S:.0f} s.")
            time.sleep(_LOOK_S)
    took_s = time.monotonic() - begin
    report = docset["lastRefresh"]
    if report is None or not report["done"]:
        raise RuntimeError(f"The refresh failed: {report and report['message']}")
    answers: Counter[int] = Counter()
    for (path, status), number in site.answers.items():
        if path not in _ASKED_BESIDES:
            answers[status] += number
    spent = _Used.by(process).since(used)
    return {
        "s": round(took_s, 2),
        "of the first crawl": {
            "words alone": round(took_s / first.words_s, 3),
            "until ready": round(took_s / first.ready_s, 3),
            "with vectors": round(took_s / first.vectors_s, 3),
            "CPU of words alone": round(_cpu_s(spent) / first.words_cpu_s, 3),
            "CPU of all with vectors": round(_cpu_s(spent) / first.cpu_s, 3),
        },
        "pages": report["pages"],
        "requests for pages": answers.total(),
        "requests besides": {path: site.requests[path] for path in _ASKED_BESIDES if site.requests[path]},
        "answers": {str(status): number for status, number in sorted(answers.items())},
        "asked twice": sum(number > 1 for number in site.requests.values()),
        "report": {name: report[name] for name in report if name not in ("begunAt", "endedAt", "message", "done")},
        "phases, s": _phases(daemon.log(), begun_at, begun_at + took_s),
        **spent,
    }


def _phases(log: str, begun_at: float, ended_at: float) -> dict[str, float]:
    """How long it took until the first page was done, then to the last one, to publish that, and to tidy up, as the log tells."""
    pages: list[float] = []
    published = ended_at
    for line in log.splitlines():
        try:
            at = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
        except ValueError:
            continue
        if at >= begun_at - 0.001 and ": page http" in line:
            pages.append(at)
        elif at >= begun_at and " pages refreshed with " in line:
            published = at
    if not pages:
        return {}
    marks = (begun_at, pages[0], pages[-1], published, ended_at)
    names = ("first page", "other pages", "publish", "tidy")
    return {name: round(marks[number + 1] - marks[number], 2) for number, name in enumerate(names)}


def _indexed(daemon: Daemon, first: First) -> list[str]:
    """Paths of all pages in the index."""
    paths: list[str] = []
    while True:
        found = daemon.get(f"/docset/{first.docset_id}/pages", status="indexed", limit=500, offset=len(paths))
        paths += [httpx.URL(page["url"]).raw_path.decode() for page in found["pages"]]
        if len(paths) >= found["total"]:
            return paths


def _scenario(what: str, kind: Validators, site: Site, first: First, data: Path) -> Figures:
    """One refresh after a change of the site, and what it wrote."""
    with _running(data) as daemon:
        paths = _indexed(daemon, first)
        changed = {"edited": _edited, "menus": _with_other_menus}[what](site, paths) if what != "unchanged" else {}
        before = _state(data)
        site.pages = _served(site, changed)
        figures = _refresh(daemon, site, first)
        difference = _difference(before, _state(data))
    return {"scenario": what, "server": kind, "pages changed": len(changed), **figures, **difference}


def _again(kind: Validators, site: Site, first: First, data: Path, times: int) -> Figures:
    """Many refreshes without a change, and what becomes of the daemon and its folder."""
    with _running(data) as daemon:
        there = {"before": _held(daemon, data)}
        before = _state(data)
        seconds, written, embedded = [], [], 0
        for number in range(1, times + 1):
            figures = _refresh(daemon, site, first)
            seconds.append(figures["s"])
            written.append(figures["MB written"])
            embedded += figures["report"]["embedded"]
            if number in (1, times):
                name = "the first" if number == 1 else f"the last of {times}"
                there[f"right after {name}"] = _held(daemon, data)
                time.sleep(_IDLE_S)
                there[f"idle after {name}"] = _held(daemon, data)
        difference = _difference(before, _state(data))
        daemon.end()
        daemon.start()
        _wait_for_model(daemon)
        there["started again"] = _held(daemon, data)
        growth = there[f"idle after the last of {times}"]["MB"]["all"] / there["idle after the first"]["MB"]["all"] - 1
    return {
        "scenario": "again",
        "server": kind,
        "refreshes": times,
        "s": {"first": seconds[0], "median": round(median(seconds), 2), "last ten, median": round(median(seconds[-10:]), 2)},
        "MB written": {"first": written[0], "median": round(median(written), 2), "all": round(sum(written), 1)},
        "texts embedded": embedded,
        "growth": round(growth, 4),
        "held": there,
        **difference,
    }


def _held(daemon: Daemon, data: Path) -> Figures:
    """What the daemon has on disk, open and in memory."""
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    return {
        "MB": _sizes_mb(data),
        "files": sum(file.is_file() for file in data.rglob("*")),
        "open files": process.num_fds(),
        "threads": process.num_threads(),
        "RSS MB": round(process.memory_info().rss / 1e6, 1),
    }


# -- all of it


def _wrong(row: Figures) -> list[str]:
    """What is not as it should be."""
    name = f"{row['scenario']}, {row['server']}"
    if row["scenario"] == "again":
        parts = [
            (abs(row["growth"]) > _MOST_GROWTH, f"the data folder grew by {row['growth']:.1%}"),
            (row["texts embedded"] > 0, f"{row['texts embedded']} texts embedded"),
        ]
        return [f"{name}: {said}" for wrong, said in parts if wrong]
    edited, embedded = row["pages changed"] if row["scenario"] == "edited" else 0, row["report"]["embedded"]
    rows = row["catalog rows written"] + row["shelf rows written"]
    parts = [
        (not edited <= embedded <= 2 * edited, f"{embedded} texts embedded of {edited} paragraphs changed"),
        (row["report"]["changed"] != edited, f"{row['report']['changed']} pages changed, not {edited}"),
        (bool(row["asked twice"]), f"{row['asked twice']} URLs asked twice"),
        (row["scenario"] == "unchanged" and rows > 0, f"{rows} rows written: {row['rows written']}"),
        (row["scenario"] == "menus" and row["shelf rows written"] > 0, f"{row['shelf rows written']} shelf rows written"),
        (row["report"]["pages"] != row["report"]["notModified"] + edited, f"not all as they were: {row['report']}"),
    ]
    return [f"{name}: {said}" for wrong, said in parts if wrong]


def _tables(first: First, rows: Sequence[Figures]) -> str:
    head = (
        "| | server | s | of words alone | of all with vectors | CPU s | of words alone | requests | pages | as they were"
        " | changed | texts embedded | catalog rows written | shelf rows written | MB written |"
    )
    lines = [head, re.sub(r"[^|]+", "---", head)]
    for name, took_s, cpu_s, written_mb in (
        ("words alone", first.words_s, first.words_cpu_s, first.words_written_mb),
        ("with vectors", first.vectors_s, first.cpu_s, first.written_mb),
    ):
        cells: list[object] = [f"first crawl, {name}", "", f"{took_s:.1f}", f"{took_s / first.words_s:.2f}"]
        cells += [
            f"{took_s / first.vectors_s:.2f}",
            f"{cpu_s:.1f}",
            f"{cpu_s / first.words_cpu_s:.2f}",
            first.requests,
            first.pages,
        ]
        lines.append(_line([*cells, "", "", first.chunks if name == "with vectors" else 0, "", "", f"{written_mb:.0f}"]))
    for row in (row for row in rows if row["scenario"] != "again"):
        ratio, answers = row["of the first crawl"], ", ".join(f"{number} × {code}" for code, number in row["answers"].items())
        cells = [row["scenario"], row["server"], f"{row['s']:.1f}", f"{ratio['words alone']:.2f}", f"{ratio['with vectors']:.3f}"]
        cells += [f"{_cpu_s(row):.1f}", f"{ratio['CPU of words alone']:.2f}", f"{row['requests for pages']} ({answers})"]
        cells += [row["pages"], row["report"]["notModified"], row["report"]["changed"], row["report"]["embedded"]]
        lines.append(_line([*cells, row["catalog rows written"], row["shelf rows written"], row["MB written"]]))
    for row in (row for row in rows if row["scenario"] == "again"):
        lines += ["", f"| {row['refreshes']} times unchanged | MB | of it catalog | shelf | files | open files | RSS MB |"]
        lines.append(re.sub(r"[^|]+", "---", lines[-1]))
        for name, held in row["held"].items():
            size = held["MB"]
            parts = (sum(mb for part, mb in size.items() if part.startswith(of)) for of in ("catalog", "shelf"))
            lines.append(
                _line([name, size["all"], *(round(mb, 1) for mb in parts), held["files"], held["open files"], held["RSS MB"]])
            )
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """Measure what is asked for; 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=os.environ.get("CORPORA_TREE", _ROOT / ".corpora/tree"))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the first crawl there, and begin with it the next time")
    parser.add_argument("--only", nargs="+", choices=_SCENARIOS, default=_SCENARIOS, metavar="SCENARIO")
    parser.add_argument("--servers", nargs="+", choices=get_args(Validators), default=_KINDS, metavar="KIND")
    parser.add_argument("--times", type=int, default=50, help="how often `again` refreshes")
    parser.add_argument("--out", type=Path, default=_ROOT / ".bench/refresh.json", metavar="FILE")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended too
    tree = given.tree.absolute()
    docs = folder(_CORPUS, tree)
    assert CORPORA[_CORPUS].seeds == {_CORPUS: _SEED}
    if not docs.is_dir():
        print(f"{docs}: not there; run `make corpora` first, or name the tree with --tree.", file=sys.stderr)
        return 1
    load = round(os.getloadavg()[0], 2)
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load}", flush=True)
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="docworker-bench-") as scratch:
        home = given.keep.absolute() if given.keep else Path(scratch) / "first"
        known = _known(home)
        with Site(folder=docs, links_within=tree, port=known.port if known else 0, validators="both") as site:
            first = known or _make_first(site, Path(scratch), home)
            print(json.dumps({"first crawl": asdict(first)}), flush=True)
            for what, kind in _planned(given.only, given.servers):
                data = Path(scratch) / "data"
                shutil.copytree(home / "data", data)
                _as_met_by(data / "catalog.sqlite", kind)
                site.validators, site.pages = kind, {}
                if what == "again":
                    rows.append(_again(kind, site, first, data, given.times))
                else:
                    rows.append(_scenario(what, kind, site, first, data))
                print(json.dumps(rows[-1]), flush=True)
                shutil.rmtree(data)
    print(f"\n{_tables(first, rows)}")
    wrong = [said for row in rows for said in _wrong(row)]
    print("\n" + "\n".join(wrong or ["All as it should be."]))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"load": load, "first crawl": asdict(first), "scenarios": rows, "wrong": wrong}
    given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 1 if wrong else 0


def _planned(scenarios: Sequence[str], kinds: Sequence[Validators]) -> Iterator[tuple[str, Validators]]:
    for what in scenarios:
        yield from ((what, kind) for kind in (kinds[:1] if what == "again" else kinds))


def _known(home: Path) -> First | None:
    """The first crawl that is kept there, if it is of this code."""
    if not (home / "first.json").is_file():
        return None
    found = json.loads((home / "first.json").read_text("utf-8"))
    first = First(**found | {"made_with": tuple(found["made_with"])})
    return first if first.made_with == _made_with() else None


def _make_first(site: Site, scratch: Path, home: Path) -> First:
    shutil.rmtree(home / "data", ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    first = _first(site, scratch, home / "data")
    (home / "first.json").write_text(json.dumps(asdict(first)) + "\n", "utf-8")
    return first


if __name__ == "__main__":
    sys.exit(main())
