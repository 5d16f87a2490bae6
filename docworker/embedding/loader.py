"""The model as the daemon sees it: loading in the background, ready, or unavailable and why.

load_forever: look into the cache, else prepare (a child process) → open (a thread) → ready; when there is none, look again later
"""

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from docworker.embedding import Embedder
from docworker.embedding.cache import cached
from docworker.errors import ModelUnavailable

_log = logging.getLogger(__name__)
_PATIENCE_S = 900.0  # for preparing: a download of 90 MB over a slow line
_NICENESS = 10
_AT_WORK_S = 2.0  # after a batch: what it made is written, and the next one follows


class ModelState(StrEnum):
    """What the model is doing."""

    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where to look for the model, and how long to wait before looking again."""

    model_dir: Path | None
    cache_dir: Path
    download: bool
    retry_s: float


class ModelLoader:
    """Holds the embedder once there is one, and the threads that it works on.

    Questions have a thread of their own, so that they never wait behind a batch; the batch threads give way to it.
    """

    def __init__(self, source: ModelSource, threads: int) -> None:
        self._source = source
        self._batch_threads = threads
        self._batches = ThreadPoolExecutor(threads, "embed", initializer=_give_way)
        self._questions = ThreadPoolExecutor(1, "embed-question")
        self._embedder: Embedder | None = None
        self.state = ModelState.LOADING
        self.reason: str | None = None
        self.ready = asyncio.Event()
        self._batches_under_way = 0
        self._last_batch_s = float("-inf")
        self.decided = asyncio.Event()  # there is a model, or it is known why not

    @property
    def model_id(self) -> str | None:
        """The id of the model in use, None until it is ready."""
        return self._embedder.model_id if self._embedder else None

    @property
    def at_work(self) -> bool:
        """Whether vectors are being made, and not only for a question."""
        return self._batches_under_way > 0 or time.monotonic() - self._last_batch_s < _AT_WORK_S

    async def load_forever(self) -> None:
        """Load the model; while there is none, look again every `retry_s`. Ends when it is loaded."""
        while True:
            try:
                folder, model_id = await _prepare(self._source)
                loop = asyncio.get_running_loop()
                self._embedder = await loop.run_in_executor(self._questions, _open, folder, model_id)
            except ModelUnavailable as error:
                if self.reason != str(error):
                    _log.warning("answering from BM25 alone: %s", error)
                self.state, self.reason = ModelState.UNAVAILABLE, str(error)
                self.decided.set()
                await asyncio.sleep(self._source.retry_s)
                continue
            self.state, self.reason = ModelState.READY, None
            self.ready.set()
            self.decided.set()
            _log.info("embedding model %s is ready", model_id)
            return

    async def embed_question(self, text: str) -> bytes | None:
        """The vector of a question, or None while there is no model."""
        if self._embedder is None:
            return None
        loop = asyncio.get_running_loop()
        try:
            return (await loop.run_in_executor(self._questions, self._run, self._embedder, [text]))[0]
        except ModelUnavailable as error:
            _log.warning("answered from BM25 alone: %s", error)
            return None

    async def embed_batch(self, texts: Sequence[str]) -> list[bytes]:
        """The vectors of many texts, in their order, on all batch threads. Raises ModelUnavailable when there is no model."""
        if self._embedder is None:
            raise ModelUnavailable("The embedding model is not loaded yet.")
        loop = asyncio.get_running_loop()
        shares = [texts[start :: self._batch_threads] for start in range(self._batch_threads)]
        embedder = self._embedder
        self._batches_under_way += 1
        try:
            done = await asyncio.gather(*(loop.run_in_executor(self._batches, self._run, embedder, share) for share in shares))
        finally:
            self._batches_under_way -= 1
            self._last_batch_s = time.monotonic()
        vectors: list[bytes] = [b""] * len(texts)
        for start, share in enumerate(done):
            vectors[start :: self._batch_threads] = share
        return vectors

    def _run(self, embedder: Embedder, texts: Sequence[str]) -> list[bytes]:
        try:
            vectors = embedder.embed(texts)
        except Exception as error:  # onnxruntime raises its own kinds
            self.reason = f"The embedding model fails: {error or type(error).__name__}."
            raise ModelUnavailable(self.reason) from error
        self.reason = None
        return vectors

    def close(self) -> None:
        """Let the threads end with the texts that they are at."""
        self._batches.shutdown(wait=False, cancel_futures=True)
        self._questions.shutdown(wait=False, cancel_futures=True)


async def _prepare(source: ModelSource) -> tuple[Path, str]:
    """The folder and id of the model: as it stands in the cache, else as `docworker.embedding.prepare` makes it and prints it."""
    if found := cached(source.model_dir, source.cache_dir):
        return Path(found.folder), found.model_id
    command = [sys.executable, "-m", "docworker.embedding.prepare", "--cache-dir", str(source.cache_dir)]
    if source.model_dir is not None:
        command += ["--model-dir", str(source.model_dir)]
    if source.download:
        command.append("--download")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            output, complaints = await process.communicate()
    except TimeoutError:
        raise ModelUnavailable(f"The embedding model was not prepared within {_PATIENCE_S:g} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        outcome = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        last = complaints.decode(errors="replace").strip().rpartition("\n")[2][-300:]
        raise ModelUnavailable(f"The embedding model could not be prepared: {last or 'its process died'}.") from None
    if "error" in outcome:
        raise ModelUnavailable(outcome["error"])
    return Path(outcome["folder"]), outcome["model_id"]


def _open(folder: Path, model_id: str) -> Embedder:
    from docworker.embedding.embedder import FastembedEmbedder  # takes a second to import

    try:
        return FastembedEmbedder(folder, model_id)
    except Exception as error:  # onnxruntime raises its own kinds for damaged files
        raise ModelUnavailable(f"The prepared model in {folder} cannot be loaded: {error}; delete the folder.") from error


def _give_way() -> None:
    """Let the calling thread yield to others; where threads have no priority of their own, nothing happens."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
