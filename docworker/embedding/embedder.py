"""The Embedder that runs all-MiniLM-L6-v2 through fastembed on the CPU."""

from collections.abc import Sequence
from pathlib import Path

from fastembed import TextEmbedding

MODEL_NAME = "sentence-transformers/all-MiniLM-L6-v2"


class FastembedEmbedder:
    """One onnxruntime session, usable from several threads at once; each call computes on its own thread.

    Texts are embedded one by one: dynamic int8 scales activations by the largest value in the batch, so that a text's vector
    would depend on its neighbours (cosine about .993). One by one is also faster than padded batches on CPUs: 121 to 135
    against 73 texts a second in batches of 32 sorted by length (int8, two threads, python documentation).
    """

    def __init__(self, folder: Path, model_id: str) -> None:
        """Load the model in `folder` (model.onnx and the tokenizer's files)."""
        self._model = TextEmbedding(MODEL_NAME, specific_model_path=str(folder), threads=1)
        self._model_id = model_id

    @property
    def model_id(self) -> str:
        return self._model_id

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        return [vector.astype("<f4").tobytes() for vector in self._model.embed(list(texts), batch_size=1)]
