"""A site of 20,000 generated pages: does the crawl slow down, or grow, on its way?

    make crawl-bench        python -m tests.crawl_bench [--pages 20000]

Prints pages a second by tenths of the crawl, the last against the first, and the memory of daemon and workers at each
tenth. The site and the daemon share the machine, and there is no embedding model: only crawling and BM25 are measured.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from tests.daemon import HIDE_MODEL_PACKAGE, Daemon
from tests.site import Answer, Site

_FANOUT = 8
_WORDS = 250


class Generated(Site):
    """A tree of pages, each with links to its children, to its parent, to the front page and to some others."""

    def __init__(self, pages: int) -> None:
        super().__init__()
        self.number = pages

    def answer(self, path: str) -> Answer:
        name = urlsplit(path).path.strip("/")
        if name and not (name.startswith("p") and name[1:].isdigit() and int(name[1:]) < self.number):
            return Answer(404, "<h1>Not found</h1>")
        own = int(name[1:]) if name else 0
        chance = random.Random(own)
        children = [n for n in range(own * _FANOUT + 1, own * _FANOUT + 1 + _FANOUT) if n < self.number]
        others = [chance.randrange(self.number) for _ in range(10)]
        links = "".join(f'<li><a href="/p{n}">Page {n}</a></li>' for n in [*children, own // _FANOUT, *others])
        words = " ".join(chance.choice(_VOCABULARY) for _ in range(_WORDS))
        first, second = words[: len(words) // 2], words[len(words) // 2 :]
        head = f"<html><head><title>Page {own}</title></head><body><nav><ul>{links}</ul></nav>"
        main = f'<main><h1>Page {own}</h1><p>{first}</p><h2 id="more">More of {own}</h2><p>{second}</p></main>'
        return Answer(body=f"{head}{main}</body></html>")


_VOCABULARY = [
    first + second + third
    for first in ("ba", "ke", "lo", "mi", "nu", "ra", "si", "to", "vu", "za")
    for second in ("bel", "dor", "fan", "gim", "hul", "jat", "kos", "lem", "mur", "nix")
    for third in ("a", "en", "is", "or", "um")
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="docworker-bench-") as scratch, Generated(arguments.pages) as site:
        folder = Path(scratch)
        (folder / "path").mkdir()
        (folder / "path" / "sitecustomize.py").write_text(HIDE_MODEL_PACKAGE, "utf-8")
        daemon = Daemon(folder / "data", folder / "cache", model_download=False, max_pages=2 * arguments.pages)
        daemon.environment["PYTHONPATH"] = str(folder / "path")
        with daemon:
            print(json.dumps(_watch(daemon, site, arguments.pages), indent=2))


def _watch(daemon: Daemon, site: Site, pages: int) -> dict[str, object]:
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    slowest_ms, ended = [0.0], threading.Event()
    health = threading.Thread(target=_poll_health, args=(daemon.url, slowest_ms, ended))
    health.start()
    begin = time.monotonic()
    docset_id = daemon.post("/index", baseUrl=site.url, seedSlug="/")["docsetId"]
    reached: list[tuple[float, int]] = [(begin, 0)]  # when each tenth of the pages was indexed, and memory then
    while True:
        docset = daemon.get(f"/docset/{docset_id}")
        done = docset["indexStatus"]["indexedPages"]
        while len(reached) <= 10 and done >= len(reached) * pages // 10:
            reached.append((time.monotonic(), _memory_mb(process)))
            print(f"{len(reached) - 1}0 %: {reached[-1][0] - begin:.0f} s, {reached[-1][1]} MB", file=sys.stderr)
        if docset["status"] in ("ready", "error"):
            break
        time.sleep(0.2)
    took_s = time.monotonic() - begin
    ended.set()
    health.join()
    rates = [pages / 10 / (after - before) for (before, _), (after, _) in itertools.pairwise(reached)]
    return {
        "pages indexed": done,
        "requests": sum(site.requests.values()),
        "URLs asked twice": sum(number > 1 for number in site.requests.values()),
        "seconds": round(took_s, 1),
        "pages a second by tenths": [round(rate, 1) for rate in rates],
        "last tenth against first": round(rates[-1] / rates[0], 2),
        "memory by tenths, MB": [memory for _, memory in reached[1:]],
        "catalog, MB": round((daemon.settings.data_dir / "catalog.sqlite").stat().st_size / 1e6, 1),
        "slowest /health, ms": round(slowest_ms[0]),
        "message": docset["message"],
    }


def _poll_health(url: str, slowest_ms: list[float], ended: threading.Event) -> None:
    while not ended.wait(0.25):
        begin = time.monotonic()
        httpx.get(f"{url}/health", timeout=30).raise_for_status()
        slowest_ms[0] = max(slowest_ms[0], (time.monotonic() - begin) * 1e3)


def _memory_mb(process: psutil.Process) -> int:
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return round(total / 1e6)


if __name__ == "__main__":
    main()
