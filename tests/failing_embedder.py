"""The daemon with an embedder that writes down what it embeds, and fails from some text on. The product knows nothing of it.

    python -m tests.failing_embedder RECORD [--after N]

Each text that got its vector is a line of RECORD, as JSON. What would be more than N of them breaks it: from then on every
call raises what onnxruntime raises, which is no RuntimeError.
"""

import argparse
import json
import threading
from collections.abc import Sequence
from pathlib import Path

# Nothing of docworker is imported up here: each extraction process of the daemon imports this module once more.

_recording = threading.Lock()


def watch(record: Path, after: int | None) -> None:
    """Wrap the embedder."""
    from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

    from docworker.embedding.embedder import FastembedEmbedder

    real, done, broken = FastembedEmbedder.embed, 0, False

    def embed(self: FastembedEmbedder, texts: Sequence[str]) -> list[bytes]:
        nonlocal done, broken
        with _recording:
            broken = broken or (after is not None and done + len(texts) > after)
            if broken:
                raise RuntimeException("the embedder fails")
            vectors = real(self, texts)
            done += len(texts)
            with record.open("a", encoding="utf-8") as lines:
                lines.writelines(json.dumps(text) + "\n" for text in texts)
            return vectors

    FastembedEmbedder.embed = embed  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the daemon with an embedder that fails.")
    parser.add_argument("record", type=Path)
    parser.add_argument("--after", type=int)
    given = parser.parse_args()
    from docworker.daemon import serve
    from docworker.settings import load

    watch(given.record, given.after)
    serve(load().settings, to_stderr=False)


if __name__ == "__main__":
    main()
