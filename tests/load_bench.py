"""64 clients at once while a site is crawled, then 5,000 editor sessions: right answers? how soon? at what cost?

    make load-bench         python -m tests.load_bench [--seconds 60] [--clients 64] [--sessions 5000] [--beats 5]

Needs the index that `make eval` keeps; a copy of it is asked. Each question of `fixtures/evals` is first asked alone, of its own
docset, and then, in another order, by every client after the other. Meanwhile a site of generated pages, which nobody asks for,
is crawled and embedded. An answer that has other passages than the one found alone is asked for alone once more, with the index
as it is then: BM25 weighs a word by all chunks, so the new ones may exchange the last of what it finds. It counts as wrong
unless it is what was found alone at one of these times. Then the sessions are registered and beat, while some clients go on
asking. Clients, site and daemon share the machine; the load beside them is printed.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
from filelock import FileLock, Timeout

from tests.crawl_bench import Generated
from tests.daemon import Daemon
from tests.evals.kept import docset_ids
from tests.evals.metrics import quantile
from tests.evals.questions import CORPORA, questions
from tests.evals.run import wait_for_model

_ROOT = Path(__file__).parent.parent
_CACHE = Path(sys.prefix) / "model"
_ASKING = 8  # of the clients go on asking while sessions beat
_ANSWER_S, _LOOK_S = 120.0, 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of one docset, and the passages that it found when it was asked alone."""

    body: dict[str, object]
    alone: tuple[str, ...]


@dataclass(slots=True)
class Took:
    """What came of many requests of a kind."""

    ms: list[float] = field(default_factory=list)
    trouble: Counter[str] = field(default_factory=Counter)
    others: list[tuple[Asked, tuple[str, ...]]] = field(default_factory=list)  # found, where another answer was expected

    def row(self, name: str, seconds: float) -> str:
        """A line of the table."""
        at = "".join(f"{quantile(self.ms, share):9.1f}" for share in (0.5, 0.95, 0.99, 1.0))
        trouble = ", ".join(f"{number} {what}" for what, number in self.trouble.items()) or "none"
        return f"{name:36}{len(self.ms):8}{len(self.ms) / seconds:9.1f}{at}   {trouble}"


_HEAD = f"{'':36}{'n':>8}{'a second':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}   errors"


class Clients:
    """Requests to one daemon over as many connections as are needed."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def post(self, path: str, body: dict[str, object], took: Took) -> dict[str, object] | None:
        """The answer; None when there was none, which is counted."""
        begin = time.perf_counter()
        try:
            async with self._http.post(self._url + path, json=body) as answer:
                told: dict[str, object] = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            took.trouble[type(error).__name__] += 1
            return None
        took.ms.append((time.perf_counter() - begin) * 1e3)
        if answer.status != 200:
            took.trouble[f"{answer.status} ({str(told.get('error'))[:60]})"] += 1
            return None
        return told

    async def ids(self, body: dict[str, object], took: Took) -> tuple[str, ...] | None:
        """The passages that a question finds, best first."""
        told = await self.post("/retrieve", body, took)
        if told is None:
            return None
        results = told["results"]
        assert isinstance(results, list)
        return tuple(str(each["chunkId"]) for each in results)

    async def ask_until(self, over: Callable[[], bool], asked: Sequence[Asked], number: int, took: Took) -> None:
        """Ask one question after the other, and compare."""
        order = random.Random(number).sample(list(asked), len(asked))
        while True:
            for each in order:
                if over():
                    return
                found = await self.ids(each.body, took)
                if found is not None and found != each.alone:
                    took.others.append((each, found))

    async def settle(self, took: Took) -> str:
        """Ask once more, alone, what was answered otherwise; what is answered otherwise still is trouble."""
        wrong = [each for each, found in took.others if found != await self.ids(each.body, Took())]
        if wrong:
            took.trouble["wrong answers"] = len(wrong)
        questions_, others = {str(each.body) for each, _ in took.others}, len(took.others) - len(wrong)
        return f"{others} answers are found alone now, and were not before; {len(questions_)} questions have such, or wrong, ones"


@asynccontextmanager
async def _clients(url: str) -> AsyncIterator[Clients]:
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=_ANSWER_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as http:
        yield Clients(http, url)


def _copied(keep: Path, scratch: Path) -> Path:
    """A copy of the kept data folder. Raises RuntimeError when there is none, or a daemon runs on it."""
    if not (keep / "data/catalog.sqlite").is_file():
        raise RuntimeError(f"There is no index in {keep}: run `make eval` first.")
    try:
        with FileLock(keep / "data/lock", timeout=0):
            return Path(shutil.copytree(keep / "data", scratch / "data", ignore=shutil.ignore_patterns("lock", "docworker.log*")))
    except Timeout:
        raise RuntimeError(f"A daemon runs on {keep / 'data'}: end it first.") from None


@contextmanager
def _generated(pages: int, scratch: Path) -> Iterator[str]:
    """The URL of a generated site, served by another process."""
    site, folder = Generated(pages), scratch / "site"
    folder.mkdir()
    for number in range(pages):
        body = str(site.answer(f"/p{number}").body)
        name = f"p{number}.html" if number else "index.html"
        (folder / name).write_text(re.sub(r'href="/p(\d+)"', r'href="/p\1.html"', body), "utf-8")
    command = [sys.executable, "-m", "tests.site", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


async def _alone(clients: Clients, daemon: Daemon) -> tuple[list[Asked], Took]:
    took, asked = Took(), []
    for corpus in CORPORA:
        for docset_id in docset_ids(daemon, corpus)[:1]:
            for each in questions(corpus):
                body: dict[str, object] = {"query": each.query, "docsetIds": [docset_id], "topK": 5}
                found = await clients.ids(body, took)
                if found is None:
                    raise RuntimeError(f"No answer to {each.query!r}: {dict(took.trouble)}")
                asked.append(Asked(body, found))
    return asked, took


async def _beat(clients: Clients, path: str, sessions: int, beats: int, at_once: int) -> Took:
    """Every session registers, or beats, so often."""
    took, names = Took(), (f"editor {number}" for _ in range(beats) for number in range(sessions))

    async def some() -> None:
        for name in names:
            await clients.post(path, {"sessionId": name}, took)

    await asyncio.gather(*(some() for _ in range(at_once)))
    return took


async def _measure(daemon: Daemon, site: str, given: argparse.Namespace) -> None:
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)

    def told(when: str) -> None:
        print(f"{when}: {process.memory_info().rss / 2**20:.0f} MiB, {process.num_fds()} files", flush=True)

    async with _clients(daemon.url) as clients:
        begin = time.monotonic()
        asked, took = await _alone(clients, daemon)
        print(f"{_HEAD}\n{took.row('alone, one after the other', time.monotonic() - begin)}", flush=True)
        told("begin")
        docset_id = daemon.post("/index", baseUrl=site, seedSlug="/", name="crawled meanwhile")["docsetId"]
        begin, took = time.monotonic(), Took()
        asking = [
            clients.ask_until(lambda: time.monotonic() - begin > given.seconds, asked, n, took) for n in range(given.clients)
        ]
        halfway = asyncio.get_running_loop().call_later(given.seconds / 2, told, "middle")
        await asyncio.gather(*asking)
        halfway.cancel()
        seconds = time.monotonic() - begin
        settled = await clients.settle(took)
        print(took.row(f"{given.clients} clients, while a site is crawled", seconds), settled, sep="\n")
        told("end")
        counts = (await asyncio.to_thread(daemon.get, f"/docset/{docset_id}"))["indexStatus"]
        print(f"crawled meanwhile: {counts['indexedPages']} pages, {counts['embeddedChunks']} vectors", flush=True)
        await asyncio.to_thread(daemon.request, "DELETE", f"/docset/{docset_id}")

        took, over, start = Took(), False, time.monotonic()
        asks = [asyncio.create_task(clients.ask_until(lambda: over, asked, n, took)) for n in range(_ASKING)]
        for path, beats in (("/session/register", 1), ("/session/heartbeat", given.beats)):
            begin = time.monotonic()
            done = await _beat(clients, path, given.sessions, beats, given.clients)
            print(done.row(f"{given.clients} clients, {path}", time.monotonic() - begin))
        seconds, over = time.monotonic() - start, True
        await asyncio.gather(*asks)
        settled = await clients.settle(took)
        print(took.row(f"{_ASKING} clients that ask meanwhile", seconds), settled, sep="\n")
        told("end")
        count = daemon.get("/sessions")["count"]
        failed = [line for line in daemon.log().splitlines() if " ERROR " in line or "Traceback" in line]
        print(f"{count} sessions are listed; {len(failed)} lines of the log tell of failures")


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, default=_ROOT / ".eval", metavar="FOLDER", help="where `make eval` keeps its index")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--pages", type=int, default=1_000, help="of the site that is crawled meanwhile")
    parser.add_argument("--sessions", type=int, default=5_000)
    parser.add_argument("--beats", type=int, default=5)
    given = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    try:
        with tempfile.TemporaryDirectory(prefix="docworker-load-") as folder:
            data = _copied(given.keep.absolute(), Path(folder))
            with (
                _generated(given.pages, Path(folder)) as site,
                Daemon(data, _CACHE, keep_alive=True, model_download=False) as daemon,
            ):
                wait_for_model(daemon)
                while not (found := daemon.post("/doctor"))["ok"]:  # an index of an older docworker is made anew first
                    print(next(check["message"] for check in found["checks"] if not check["ok"]), flush=True)
                    time.sleep(_LOOK_S)
                asyncio.run(_measure(daemon, site, given))
    except (RuntimeError, json.JSONDecodeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
