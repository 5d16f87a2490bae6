"""Where the prepared model stands. Light: the daemon looks here first; what is not there, another process prepares."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from docworker.errors import ModelUnavailable

_CACHE_NAME = "all-MiniLM-L6-v2-1"  # the number changes when `prepare` makes something else of the same weights


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder that fastembed loads, and the name of what is in it."""

    folder: str
    model_id: str


def place(model_dir: Path | None, cache_dir: Path) -> Path:
    """The folder of the model that is made of the weights in `model_dir`, or, with None, of those found elsewhere."""
    if model_dir is None:
        return cache_dir / _CACHE_NAME
    key = hashlib.blake2b(str(model_dir.absolute()).encode(), digest_size=4).hexdigest()
    return cache_dir / f"{_CACHE_NAME}-{key}"


def cached(model_dir: Path | None, cache_dir: Path) -> Prepared | None:
    """What an earlier run made, unless the weights in `model_dir` have changed since."""
    folder = place(model_dir, cache_dir)
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        if model_dir is not None and manifest["source"] != weights_in(model_dir)[1]:
            return None
        return Prepared(str(folder), manifest["model_id"])
    except (OSError, ValueError, KeyError, ModelUnavailable):
        return None


def weights_in(folder: Path) -> tuple[Path, str]:
    """The file with the weights in `folder`, and what tells it from another. Raises ModelUnavailable when there is none."""
    for name in ("model.onnx", "model.safetensors"):
        file = folder / name
        if file.is_file():
            found = file.stat()
            return file, f"{name}:{found.st_size}:{found.st_mtime_ns}"
    raise ModelUnavailable(f"{folder} holds neither model.onnx nor model.safetensors.")
