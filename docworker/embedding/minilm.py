"""The ONNX graph of all-MiniLM-L6-v2 (a six-layer BERT, Wang et al. 2020), built from its weights alone.

Shapes: B texts, S tokens, H = 384 hidden, A = 12 heads, D = H / A. The graph ends at the last hidden state [B, S, H]; mean
pooling and normalisation are fastembed's. Weight names are those of the Hugging Face checkpoint.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

_HIDDEN, _LAYERS, _HEADS = 384, 6, 12
_HEAD = _HIDDEN // _HEADS
_EPSILON = 1e-12
_MASKED = -1e9  # added to the scores of padding; small enough that softmax gives it nothing
_OPSET, _IR_VERSION = 20, 9  # the first opset with Gelu; an IR that onnxruntime 1.17 reads


class _Graph:
    """Nodes and weights in the making; every method returns the name of what it computes."""

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def op(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def linear(self, x: str, prefix: str) -> str:
        weight = self.constant(f"{prefix}.weight", self.weights[f"{prefix}.weight"].T)
        bias = self.constant(f"{prefix}.bias", self.weights[f"{prefix}.bias"])
        return self.op("Add", [self.op("MatMul", [x, weight]), bias])

    def norm(self, x: str, prefix: str) -> str:
        scale = self.constant(f"{prefix}.weight", self.weights[f"{prefix}.weight"])
        bias = self.constant(f"{prefix}.bias", self.weights[f"{prefix}.bias"])
        return self.op("LayerNormalization", [x, scale, bias], axis=-1, epsilon=_EPSILON)

    def lookup(self, table: str, indices: str) -> str:
        return self.op("Gather", [self.constant(table, self.weights[table]), indices])


def build(safetensors: Path, target: Path) -> None:
    """Write the float32 graph for the weights in `safetensors` (about 90 MB) to `target`.

    Raises KeyError when a weight is missing: the file is another model's.
    """
    graph = _Graph(load_file(safetensors))
    x = _embeddings(graph)
    # [B, S] of 1 and 0 → [B, 1, 1, S] of 0 and -1e9, added to the attention scores
    kept = graph.op("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    dropped = graph.op("Sub", [graph.constant("one", np.array(1, np.float32)), kept])
    mask = graph.op("Mul", [dropped, graph.constant("masked", np.array(_MASKED, np.float32))])
    mask = graph.op("Unsqueeze", [mask, graph.constant("mask_axes", np.array([1, 2]))])
    for layer in range(_LAYERS):
        x = _layer(graph, x, mask, f"encoder.layer.{layer}")
    graph.nodes[-1].output[0] = "last_hidden_state"
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", _HIDDEN])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "all-MiniLM-L6-v2", inputs, [output], list(graph.constants.values())),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def _embeddings(graph: _Graph) -> str:
    words = graph.lookup("embeddings.word_embeddings.weight", "input_ids")
    types = graph.lookup("embeddings.token_type_embeddings.weight", "token_type_ids")
    length = graph.op("Shape", ["input_ids"], start=1, end=2)
    table = "embeddings.position_embeddings.weight"
    first, rows = graph.constant("first", np.array([0])), graph.constant("rows", np.array([0]))
    positions = graph.op("Slice", [graph.constant(table, graph.weights[table]), first, length, rows])
    return graph.norm(graph.op("Add", [graph.op("Add", [words, types]), positions]), "embeddings.LayerNorm")


def _layer(graph: _Graph, x: str, mask: str, prefix: str) -> str:
    split = graph.constant("split_heads", np.array([0, 0, _HEADS, _HEAD]))
    merge = graph.constant("merge_heads", np.array([0, 0, _HIDDEN]))
    scale = graph.constant("scale", np.array(_HEAD**-0.5, np.float32))

    def heads(which: str, order: list[int]) -> str:
        projected = graph.linear(x, f"{prefix}.attention.self.{which}")
        return graph.op("Transpose", [graph.op("Reshape", [projected, split])], perm=order)

    query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    scores = graph.op("Add", [graph.op("Mul", [graph.op("MatMul", [query, key]), scale]), mask])  # [B, A, S, S]
    mixed = graph.op("MatMul", [graph.op("Softmax", [scores], axis=-1), value])  # [B, A, S, D]
    merged = graph.op("Reshape", [graph.op("Transpose", [mixed], perm=[0, 2, 1, 3]), merge])
    attended = graph.linear(merged, f"{prefix}.attention.output.dense")
    x = graph.norm(graph.op("Add", [attended, x]), f"{prefix}.attention.output.LayerNorm")
    inner = graph.op("Gelu", [graph.linear(x, f"{prefix}.intermediate.dense")])
    return graph.norm(graph.op("Add", [graph.linear(inner, f"{prefix}.output.dense"), x]), f"{prefix}.output.LayerNorm")
