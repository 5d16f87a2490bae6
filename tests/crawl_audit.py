"""`make crawl-audit`: the crawl checked on the real documentation of `make corpora` by a walk that shares no code with it.

    walk     from the seed over all links, read with html.parser and urllib: which pages can be reached
    clean    one crawl of an undisturbed site; every page the walk reached must be indexed, or left out with a reason
    again    the same once more: the same outcome of every page, no path asked twice (as in clean)
    faults   a site with 503s, broken-off and late answers: the same outcome
    killed   the daemon killed with SIGKILL in the middle of it, again and again: the same outcome

Every mode begins with an empty data folder and indexes words only. Prints a table and what is wrong, and ends with 1 if
anything is. Figures go to `.audit/figures.json`, reachable pages that were left out to `.audit/<docset>.txt`.
"""

import argparse
import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx
import psutil

from tests.daemon import HIDE_MODEL_PACKAGE, Daemon
from tests.site import Faults, Site

_ROOT = Path(__file__).parent.parent
_OUT = _ROOT / ".audit"
_DOCS = "usr/share/doc"
_MODES = ("clean", "again", "faults", "killed")
_FAULTS = Faults(fail=0.05, retry_after=0.5, cut=0.02, slow=0.01, slow_s=3)
_CRAWL_S = 2 * 3600.0  # of all waits for one crawl together
_MOST_URLS = 50_000  # a walk that finds more is in a trap
_ORIGIN = "http://walk.test"
_HTML = ("text/html", "application/xhtml+xml")
_REFRESH = re.compile(r"\s*(\d+)(?:\.\d*)?\s*[;,]\s*(?:url\s*=\s*)?(['\"]?)(.+)", re.IGNORECASE | re.DOTALL)
_LONGEST_REFRESH_S = 10
_LINKS = {"a": "href", "area": "href", "iframe": "src", "frame": "src"}
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


@dataclass(frozen=True)
class Corpus:
    """A folder of documentation and the docsets made of it, by name with their seeds."""

    folder: str
    seeds: Mapping[str, str]


_CORPORA = {
    "python": Corpus("python3.11/html", {"python": "/index.html"}),
    "postgresql": Corpus("postgresql-doc-15/html", {"postgresql": "/index.html"}),
    "sqlite": Corpus("sqlite3", {"sqlite": "/index.html"}),
    "git": Corpus("git-doc", {"git": "/git.html"}),
    "nodejs": Corpus("nodejs/api", {"nodejs": "/index.html"}),
    "octave": Corpus("octave/octave.html", {"octave": "/index.html"}),
    "libadwaita": Corpus("libadwaita-1", {"libadwaita": "/index.html"}),
    "eigen": Corpus("libeigen3-dev/html", {"eigen": "/index.html"}),
    "rust": Corpus("rust-doc/html", {"rust-book": "/book/index.html", "rust-reference": "/reference/index.html"}),
}


# -- the walk: what links reach


@dataclass
class Walk:
    """The paths below a seed's directory that links reach, by what they answered."""

    pages: set[str] = field(default_factory=set)
    stubs: set[str] = field(default_factory=set)
    redirects: set[str] = field(default_factory=set)
    other: set[str] = field(default_factory=set)  # not HTML
    broken: set[str] = field(default_factory=set)


class _Links(HTMLParser):
    """The URLs a page links to, as they stand in it, its base and where it refreshes to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.base = ""
        self.refresh: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Also called for `<a/>`."""
        named = {name: value or "" for name, value in reversed(attrs)}  # of two of a name the first counts
        if tag in _LINKS and _LINKS[tag] in named:
            self.found.append(named[_LINKS[tag]])
        elif tag == "base":
            self.base = self.base or named.get("href", "")
        elif tag == "meta" and named.get("http-equiv", "").lower() == "refresh":
            match = _REFRESH.match(named.get("content", ""))
            if match and int(match[1]) <= _LONGEST_REFRESH_S and self.refresh is None:
                self.refresh = match[3].split(match[2])[0] if match[2] else match[3]


def walk(site: Site, seed: str) -> Walk:
    """Follow every link from the seed inside its directory, answers straight from `site`."""
    result = Walk()
    seen, waiting = {seed}, deque([seed])
    while waiting:
        path = waiting.popleft()
        targets, kind = _visit(site, path)
        found: set[str] = getattr(result, kind)
        found.add(path)
        for target in targets:
            if target.startswith(_directory(seed)) and target not in seen:
                seen.add(target)
                waiting.append(target)
        if len(seen) > _MOST_URLS:
            raise RuntimeError(f"over {_MOST_URLS} URLs from {seed}, the last {path}")
    return result


def _directory(seed: str) -> str:
    return seed.rpartition("/")[0] + "/"


def _visit(site: Site, path: str) -> tuple[list[str], str]:
    """Where a path leads to, and which of `Walk`'s kinds it is."""
    answer = site.answer(path)
    location = answer.headers.get("Location")
    if location is not None:
        return _paths([location], path), "redirects"
    if answer.status != 200:
        return [], "broken"
    if answer.content_type.partition(";")[0] not in _HTML:
        return [], "other"
    links = _Links()
    links.feed(answer.body if isinstance(answer.body, str) else answer.body.decode("utf-8", "replace"))
    base = next(iter(_resolved([links.base], _ORIGIN + path)), _ORIGIN + path)
    if links.refresh is not None:
        targets = _paths([links.refresh], path, base)
        if targets != [path]:
            return targets, "stubs"
    return _paths(links.found, path, base), "pages"


def _paths(links: Sequence[str], path: str, base: str = "") -> list[str]:
    """The normal paths on the site that links on `path` lead to."""
    found = []
    for url in _resolved(links, base or _ORIGIN + path):
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" == _ORIGIN:
            found.append(_normal(parts.path or "/") + ("?" + _normal(parts.query) if parts.query else ""))
    return found


def _resolved(links: Sequence[str], base: str) -> Iterator[str]:
    for link in links:
        try:
            url = urljoin(base, link.strip())
            urlsplit(url)
        except ValueError:  # such as http://[user@]host/path
            continue
        yield url


def _normal(text: str) -> str:
    """RFC 3986 section 6.2.2.2: unreserved characters bare, other escapes in upper case, what must be escaped escaped."""

    def decoded(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if _UNRESERVED.fullmatch(character) else match[0].upper()

    return quote(_ESCAPED.sub(decoded, text), safe="/:@!$&'()*+,;=~-._?%")


# -- the crawl: what a daemon makes of it


@dataclass(frozen=True)
class Outcome:
    """What became of a page: indexed, or why not."""

    status: str
    reason: str | None
    message: str | None

    @property
    def rightful(self) -> bool:
        """Whether a page may end like this."""
        return self.status == "indexed" if self.reason is None else self.status == "skipped"

    def __str__(self) -> str:
        return f"{self.status} ({self.reason})" if self.reason else self.status


@dataclass
class Crawl:
    """What one crawl of a docset came to. Pages by path."""

    seconds: float = 0.0
    status: str = ""
    pages: dict[str, Outcome] = field(default_factory=dict)
    aliases: dict[str, Outcome | None] = field(default_factory=dict)  # reached URLs without a row: what /why says of them
    duplicates: list[list[str]] = field(default_factory=list)
    requests: int = 0
    for_nothing: int = 0  # of a path although an earlier answer was good
    asked_twice: list[str] = field(default_factory=list)
    kills: int = 0
    health_ms: float = 0.0
    unanswered: int = 0  # times /health was asked in vain

    def ended(self, status: str) -> set[str]:
        """The pages that ended so."""
        return {path for path, page in self.pages.items() if page.status == status}


class Watched:
    """A daemon with an empty data folder and no embedding model, whose /health is asked all the time while it runs."""

    def __init__(self, scratch: Path) -> None:
        python_path = scratch / "python"
        python_path.mkdir()
        (python_path / "sitecustomize.py").write_text(HIDE_MODEL_PACKAGE, "utf-8")
        self.daemon = Daemon(scratch / "data", scratch / "cache", model_download="false")
        self.daemon.environment["PYTHONPATH"] = str(python_path)
        self.worst_s = 0.0
        self.unanswered = 0
        self._http = httpx.Client(timeout=600, trust_env=False)
        self._up, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Start the daemon, again."""
        self.daemon.start()
        self._up.set()

    def end(self, number: signal.Signals) -> None:
        """End the daemon by a signal, and whatever it leaves behind."""
        self._up.clear()
        process = self.daemon.process
        if process is None or process.poll() is not None:
            return
        workers = psutil.Process(process.pid).children(recursive=True)
        try:
            self.daemon.end(number)
        finally:
            process.kill()
            for worker in psutil.wait_procs(workers, timeout=10)[1]:
                print(f"a worker outlived its daemon: {worker}", file=sys.stderr)
                worker.kill()

    def close(self) -> None:
        """End everything."""
        self._over.set()
        self.end(signal.SIGTERM)
        self._thread.join(60)
        self._http.close()

    def get(self, path: str, **query: str | int) -> Any:
        """The JSON of a successful GET."""
        return self._json("GET", path, params=query)

    def post(self, path: str, **body: object) -> Any:
        """The JSON of a successful POST."""
        return self._json("POST", path, json=body)

    def _json(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._http.request(method, self.daemon.url + path, **arguments)
        except httpx.TransportError as error:
            raise RuntimeError(f"{method} {path}: {error!r}; the log ends with {self.daemon.log()[-1000:]}") from error
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:1000]}")
        return answer.json()

    def _watch(self) -> None:
        with httpx.Client(timeout=30, trust_env=False) as http:
            while not self._over.wait(0.25):
                if not self._up.is_set():
                    continue
                url, begin = self.daemon.url, time.monotonic()
                try:
                    http.get(url + "/health")
                except httpx.TransportError:
                    self.unanswered += self._up.is_set() and url == self.daemon.url
                else:
                    self.worst_s = max(self.worst_s, time.monotonic() - begin)


def crawl(site: Site, seeds: Mapping[str, str], walks: Mapping[str, Walk], kills_at: Sequence[int]) -> dict[str, Crawl]:
    """Crawl the docsets at once, the daemon killed when so many pages are done; what each came to."""
    results = {name: Crawl() for name in seeds}
    ids: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="docworker-audit-") as folder:
        with closing(Watched(Path(folder))) as watched:
            watched.start()
            begin = time.monotonic()
            for name, seed in seeds.items():
                ids[name] = watched.post("/index", baseUrl=site.url, seedSlug=seed, waitForSeed=True)["docsetId"]
            for kills, pages in enumerate([*kills_at, sys.maxsize]):
                for result in results.values():
                    result.kills = kills
                if _ended(watched, ids, results, begin, pages, 0.02 if kills_at else 0.2):
                    break
                watched.end(signal.SIGKILL)
                watched.start()
            for name, result in results.items():
                result.pages = dict(_pages(watched, ids[name], site.url))
                missing = sorted(walks[name].pages - result.pages.keys())
                result.aliases = {path: _why(watched, ids[name], site.url + path) for path in missing}
        for name, result in results.items():
            result.health_ms, result.unanswered = watched.worst_s * 1e3, watched.unanswered
            result.duplicates = _duplicates(Path(folder) / "data", ids[name], site.url)
    _count(results, seeds, site)
    return results


def _ended(
    watched: Watched, ids: Mapping[str, str], results: Mapping[str, Crawl], begin: float, pages: int, pause_s: float
) -> bool:
    """Wait until all docsets have ended (True) or so many pages are done (False)."""
    while True:
        done = 0
        for name, id_ in ids.items():
            docset, result = watched.get(f"/docset/{id_}"), results[name]
            done += sum(docset["indexStatus"][key] for key in ("indexedPages", "skippedPages", "errorPages"))
            if docset["status"] not in ("ready", "error"):
                result.status = ""
            elif not result.status:
                result.status, result.seconds = docset["status"], time.monotonic() - begin
        if all(result.status for result in results.values()):
            return True
        if done >= pages:
            return False
        if time.monotonic() - begin > _CRAWL_S:
            raise RuntimeError(f"the crawl has not ended after {_CRAWL_S:.0f} s, with {done} pages done")
        time.sleep(pause_s)


def _pages(watched: Watched, docset_id: str, site_url: str) -> Iterator[tuple[str, Outcome]]:
    for offset in range(0, sys.maxsize, 500):
        rows = watched.get(f"/docset/{docset_id}/pages", limit=500, offset=offset)["pages"]
        for row in rows:
            yield row["url"].removeprefix(site_url), Outcome(row["status"], row["reason"], row["errorMessage"])
        if len(rows) < 500:
            return


def _why(watched: Watched, docset_id: str, url: str) -> Outcome | None:
    """What the docset says of a URL, or of the page it stands for; None when it knows nothing."""
    for docset in watched.get("/why", url=url)["docsets"]:
        if docset["docsetId"] == docset_id and docset["status"] is not None:
            return Outcome(docset["status"], docset["reason"], docset["message"])
    return None


def _duplicates(data_dir: Path, docset_id: str, site_url: str) -> list[list[str]]:
    """The indexed pages that have the same headings and texts, group by group."""
    groups: dict[str, list[str]] = {}
    with closing(sqlite3.connect(f"{(data_dir / 'catalog.sqlite').as_uri()}?mode=ro", uri=True)) as db:
        query = "SELECT url, document FROM pages WHERE docset_id = ? AND state = 'indexed' ORDER BY seq"
        for url, document in db.execute(query, (docset_id,)):
            sections = json.loads(zlib.decompress(document))["sections"]
            texts = json.dumps([[section["heading"], section["text"]] for section in sections])
            groups.setdefault(hashlib.sha256(texts.encode()).hexdigest(), []).append(url.removeprefix(site_url))
    return [group for group in groups.values() if len(group) > 1]


def _count(results: Mapping[str, Crawl], seeds: Mapping[str, str], site: Site) -> None:
    """The requests of each docset. What lies outside of all of them, such as /robots.txt, each may ask for once."""
    good: Counter[str] = Counter()
    for (path, status), times in site.answers.items():
        good[path] += times if 0 < status < 500 and status != 429 else 0
    for path, times in site.requests.items():
        inside = [name for name, seed in seeds.items() if path.startswith(_directory(seed))]
        rightful = 1 if inside else len(seeds)
        for name in inside or seeds:
            results[name].requests += times
            results[name].for_nothing += max(0, good[path] - rightful)
            if times > rightful:
                results[name].asked_twice.append(path)


# -- the audit: both compared


def check(mode: str, walked: Walk, result: Crawl, clean: Crawl | None) -> list[str]:
    """What is wrong with a crawl."""
    found: dict[str, Sequence[str]] = {
        "reachable pages it does not know": [path for path, page in result.aliases.items() if page is None],
        "reachable pages that stand for one without a rightful end": [
            f"{path}: {page}" for path, page in result.aliases.items() if page is not None and not page.rightful
        ],
        "pages without a rightful end": [f"{path}: {page}" for path, page in result.pages.items() if not page.rightful],
        "groups of duplicates": [" = ".join(group) for group in result.duplicates],
    }
    if mode in ("clean", "again"):
        found["paths asked for more than once"] = result.asked_twice
    if clean is not None and clean is not result:
        found["pages that ended otherwise than in the clean crawl"] = _differences(clean.pages, result.pages)
    wrong = [f"{len(cases)} {what}: {_some(cases)}" for what, cases in found.items() if cases]
    if result.status != "ready":
        wrong.append(f"the docset ended as {result.status!r}")
    if len(walked.pages) < 2:
        wrong.append("the walk found no page beside the seed")
    if result.unanswered:
        wrong.append(f"/health gave no answer {result.unanswered} times")
    return wrong


def _differences(before: Mapping[str, Outcome], after: Mapping[str, Outcome]) -> list[str]:
    """The pages whose status or reason is not the same."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        was, now = str(before.get(path, "no page")), str(after.get(path, "no page"))
        if was != now:
            found.append(f"{path}: {was}, now {now}")
    return found


def _some(cases: Sequence[str], most: int = 5) -> str:
    return "; ".join(cases[:most]) + ("; …" if len(cases) > most else "")


Figures = dict[str, int | float | dict[str, int]]


def figures(walked: Walk, result: Crawl) -> Figures:
    """The figures of one crawl; what is no number does not stand in the table."""
    indexed, skipped = result.ended("indexed"), result.ended("skipped")
    return {
        "reachable": len(walked.pages),
        "indexed": len(indexed),
        "left out": len(skipped),
        "aliases": len(result.aliases),
        "errors": len(result.ended("error")),
        "broken links": len(walked.broken),
        "duplicates": sum(len(group) - 1 for group in result.duplicates),
        "requests": result.requests,
        "for nothing": result.for_nothing,
        "seconds": round(result.seconds, 1),
        "pages/s": round(len(result.pages) / max(result.seconds, 0.001), 1),
        "health ms": round(result.health_ms),
        "kills": result.kills,
        "reachable left out": _by_reason(result, skipped & walked.pages),
        "others left out": _by_reason(result, skipped - walked.pages),
        "beyond the walk": {
            "indexed": len(indexed - walked.pages),
            "stubs": len(walked.stubs),
            "redirects": len(walked.redirects),
            "not HTML": len(walked.other),
        },
    }


def _by_reason(result: Crawl, paths: Set[str]) -> dict[str, int]:
    return dict(Counter(str(result.pages[path].reason) for path in paths).most_common())


def audit(name: str, tree: Path, modes: Sequence[str], kills: int) -> Iterator[tuple[str, str, Figures, list[str]]]:
    """Walk over a corpus and crawl it in each mode; for each docset and mode the figures and what is wrong."""
    corpus = _CORPORA[name]
    folder = tree / _DOCS / corpus.folder
    if not folder.is_dir():
        yield name, "walk", {}, [f"{folder} is not there: run `make corpora` first"]
        return
    with Site(folder=folder, links_within=tree) as site:
        walks = {docset: walk(site, seed) for docset, seed in corpus.seeds.items()}
    clean: dict[str, Crawl] = {}
    for mode in modes:
        begin = time.monotonic()
        print(f"{name} {mode} … ", end="", file=sys.stderr, flush=True)
        expected = sum(len(result.pages) for result in clean.values()) or sum(len(walked.pages) for walked in walks.values())
        draw = random.Random(f"{name} {kills}")
        kills_at = sorted(draw.randrange(1, max(expected, 2)) for _ in range(kills)) if mode == "killed" else []
        try:
            with Site(folder=folder, links_within=tree, faults=_FAULTS if mode == "faults" else None) as site:
                results = crawl(site, corpus.seeds, walks, kills_at)
        except (RuntimeError, httpx.HTTPError, subprocess.TimeoutExpired) as error:
            print("failed", file=sys.stderr)
            yield name, mode, {}, [repr(error)]
            continue
        if mode == "clean":
            clean = results
        wrong = {docset: check(mode, walks[docset], result, clean.get(docset)) for docset, result in results.items()}
        pages = sum(len(result.pages) for result in results.values())
        state = "something is wrong" if any(wrong.values()) else "all right"
        print(f"{pages} pages, {time.monotonic() - begin:.0f} s, {state}", file=sys.stderr)
        for docset, result in results.items():
            if mode == "clean":
                _write_left_out(docset, walks[docset], result)
            yield docset, mode, figures(walks[docset], result), wrong[docset]


def _write_left_out(docset: str, walked: Walk, result: Crawl) -> None:
    """The pages that can be reached and are not in the index, for reading."""
    found = {**result.aliases, **result.pages}
    left_out = [(page, path) for path in sorted(walked.pages) if (page := found.get(path)) and page.status != "indexed"]
    left_out.sort(key=lambda each: str(each[0].reason))
    lines = [f"{page.reason}\t{path}\t{page.message}\n" for page, path in left_out]
    (_OUT / f"{docset}.txt").write_text("".join(lines), "utf-8")


def _merge(docset: str, mode: str, row: Figures, wrong: Sequence[str]) -> None:
    """Put one crawl's figures beside those of earlier runs."""
    file = _OUT / "figures.json"
    known: dict[str, dict[str, object]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    known.setdefault(docset, {})[mode] = {**row, "wrong": wrong}
    file.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _show(rows: Mapping[tuple[str, str], Figures]) -> None:
    """The table, and what it has no room for."""
    lines: list[list[str]] = []
    details: list[str] = []
    for (docset, mode), row in rows.items():
        numbers = {name: value for name, value in row.items() if not isinstance(value, dict)}
        lines = lines or [["docset", "mode", *numbers]]
        lines.append([docset, mode, *map(str, numbers.values())])
        if mode == "clean":
            details.append(f"\n{docset}")
            for name, value in row.items():
                if isinstance(value, dict):
                    details.append(f"  {name}: " + (", ".join(f"{what} {times}" for what, times in value.items()) or "none"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        print(line[0].ljust(widths[0]), line[1].ljust(widths[1]), *cells, sep="  ")
    print(*details, sep="\n")


def main() -> int:
    """Audit the corpora that are asked for; 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*", metavar="CORPUS", help=f"of {', '.join(_CORPORA)}; all by default")
    parser.add_argument("--modes", default=",".join(_MODES), help="comma-separated; clean is always one of them")
    parser.add_argument("--kills", type=int, default=10, help="how often the daemon is killed in one crawl")
    parser.add_argument("--tree", type=Path, default=os.environ.get("CORPORA_TREE", _ROOT / ".corpora/tree"))
    given = parser.parse_args()
    for word in ({*given.corpora} - {*_CORPORA}) | ({*given.modes.split(",")} - {*_MODES}):
        parser.error(f"{word} is no corpus of {', '.join(_CORPORA)} and no mode of {', '.join(_MODES)}")
    modes = [mode for mode in _MODES if mode == "clean" or mode in given.modes.split(",")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemon is ended too
    _OUT.mkdir(exist_ok=True)
    rows: dict[tuple[str, str], Figures] = {}
    complaints: list[str] = []
    try:
        for name in given.corpora or _CORPORA:
            for docset, mode, row, wrong in audit(name, given.tree.absolute(), modes, given.kills):
                complaints += [f"{docset} {mode}: {what}" for what in wrong]
                if row:
                    rows[docset, mode] = row
                    _merge(docset, mode, row, wrong)
    except KeyboardInterrupt:
        complaints.append("interrupted")
    if rows:
        _show(rows)
    print("", *(complaints or ["Everything is right."]), sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
