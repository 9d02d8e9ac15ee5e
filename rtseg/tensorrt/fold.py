"""What is computed from constants alone is computed before TensorRT sees the graph.

Weights stored as float16 with a cast behind them become plain float32 weights, and batch normalisation goes into the
convolution before it, in float64: TensorRT would fuse the two in float32, but not across a change of precision.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from rtseg.errors import ModelError

__all__ = ["constants", "drop_unused", "fold", "load"]


def load(path: Path) -> Any:
    """The `onnx.ModelProto` of a file, with functions inlined; ModelError where it cannot be read."""
    try:
        model = onnx.load(path)
    except Exception as exc:  # protobuf and file errors share no base
        raise ModelError(f"cannot read {path}: {' '.join(str(exc).split())[:200]}") from exc
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def constants(graph: Any) -> dict[str, Any]:
    """The graph's initialisers by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def fold(model: Any) -> None:
    """Fold casts of weights and batch normalisation after convolutions, in place."""
    _settle_defaults(model.graph)
    _lift_constants(model.graph)
    _fold_casts(model.graph)
    _fold_normalisation(model.graph)
    drop_unused(model.graph)


def _settle_defaults(graph: Any) -> None:
    """Drop inputs that have an initialiser, as old files list all of them: they are never fed."""
    held = constants(graph)
    fed = [value for value in graph.input if value.name not in held]
    del graph.input[:]
    graph.input.extend(fed)


def _lift_constants(graph: Any) -> None:
    """Turn Constant nodes that hold a tensor into initialisers."""
    kept = []
    for node in graph.node:
        values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type != "Constant" or not values:
            kept.append(node)
            continue
        values[0].name = node.output[0]
        graph.initializer.append(values[0])
    del graph.node[:]
    graph.node.extend(kept)


def _fold_casts(graph: Any) -> None:
    """Replace each Cast of an initialiser by an initialiser of its result."""
    held = constants(graph)
    kept, made = [], []
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        source = held.get(node.input[0]) if node.op_type == "Cast" else None
        if source is None or node.output[0] in outputs:
            kept.append(node)
            continue
        (to,) = (attribute.i for attribute in node.attribute if attribute.name == "to")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(to)
        made.append(numpy_helper.from_array(numpy_helper.to_array(source).astype(dtype), node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(made)


def _fold_normalisation(graph: Any) -> None:
    """Put each BatchNormalization into the Conv that alone feeds it."""
    held = constants(graph)
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    producers = {name: node for node in graph.node for name in node.output}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = producers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or uses[norm.input[0]] != 1:
            continue
        if not all(name in held for name in (*conv.input[1:], *norm.input[1:])):
            continue
        gamma, beta, mean, variance = (_array(held[name]) for name in norm.input[1:5])
        epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)
        factor = gamma / np.sqrt(variance + epsilon)
        weight = _array(held[conv.input[1]])
        bias = _array(held[conv.input[2]]) if len(conv.input) > 2 else np.zeros_like(mean)
        name = norm.output[0]
        dtype = numpy_helper.to_array(held[conv.input[1]]).dtype
        folded = {
            f"{name}.folded.weight": weight * factor.reshape(-1, *(1 for _ in weight.shape[1:])),
            f"{name}.folded.bias": (bias - mean) * factor + beta,
        }
        graph.initializer.extend(numpy_helper.from_array(value.astype(dtype), key) for key, value in folded.items())
        conv.input[:] = [conv.input[0], *folded]
        conv.output[0] = name
        graph.node.remove(norm)


def _array(tensor: Any) -> NDArray[np.float64]:
    array: NDArray[np.float64] = numpy_helper.to_array(tensor).astype(np.float64)
    return array


def drop_unused(graph: Any) -> None:
    """Remove initialisers that no node reads, in place."""
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
