"""Text → vectors. Owns fastembed, onnxruntime, onnx and safetensors; knows nothing of pages or stores.

prepare.py     finds the weights, makes the ONNX graph once, checks it, keeps it in the cache     a process of its own
minilm.py      the graph of all-MiniLM-L6-v2, from its weights                                    pure
loader.py      loads the prepared model in the background and says what is missing                the daemon's side
"""

from collections.abc import Sequence
from typing import Protocol

DIMENSIONS = 384


class Embedder(Protocol):
    """Turns texts into unit vectors. The same text gets the same vector, whatever stands beside it in the batch."""

    @property
    def model_id(self) -> str:
        """Names the model and the graph: vectors of different ids are not comparable."""

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """One vector a text: 384 little-endian float32 of length 1. Blocks; may be called from several threads at once."""
