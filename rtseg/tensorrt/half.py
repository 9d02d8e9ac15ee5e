"""From a float32 ONNX graph to a float16 one: what is safe and heavy in half precision, the fragile rest in float32.

TensorRT compiles strongly typed networks only, so the graph itself says which layer runs in which precision. The
graph's inputs and outputs keep their types. What is not in `HALF` or `MOVES` stays in float32.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rtseg.errors import ModelError
from rtseg.tensorrt.fold import constants, drop_unused

__all__ = ["FRAGILE", "HALF", "LARGEST", "MOVES", "Halved", "halve", "rounded"]

LARGEST = float(np.finfo(np.float16).max)

HALF = frozenset({
    # Most of the arithmetic; sums of products are accumulated in float32.
    "Conv", "ConvTranspose", "Gemm", "MatMul",
    # One rounding for each element; what they add is of the size of what they read.
    "Add", "Sub", "Mul", "Neg", "Abs", "Max", "Min", "Sum",
    # Bounded, or no larger than their input.
    "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu",
    # Small windows: a mean of a few dozen values, a maximum, or weights that sum to one (coordinates stay float32).
    "AveragePool", "MaxPool", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth",
    # Compares only.
    "ArgMax",
})  # fmt: skip

MOVES = frozenset({
    "Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze", "Where", "Dropout",
})  # fmt: skip
"""Operators that only move values: half where what they move is half already."""

NO_ARITHMETIC = frozenset({"Cast", "CastLike", "Constant", "ConstantOfShape"})
"""Operators of float32 that lose nothing in half precision and gain nothing: not worth a word."""

FRAGILE = {
    "Softmax": "sums of exponentials",
    "LogSoftmax": "sums of exponentials",
    "Exp": "leaves the range of float16 above 11",
    "Log": "near zero the float16 grid is coarser than the logarithm",
    "Softplus": "exponential inside",
    "Mish": "exponential inside",
    "Erf": "part of GELU; composed with float32 neighbours",
    "Pow": "squares leave the range of float16 above 255",
    "Sqrt": "of variances, whose small values vanish in float16",
    "Reciprocal": "of variances and sums",
    "Div": "by sums and deviations",
    "BatchNormalization": "normalisation: differences of close numbers over small deviations",
    "InstanceNormalization": "normalisation: sums over the whole map",
    "LayerNormalization": "normalisation: sums of squares",
    "GroupNormalization": "normalisation: sums of squares",
    "RMSNormalization": "normalisation: sums of squares",
    "LpNormalization": "normalisation: sums of powers",
    "GlobalAveragePool": "a sum over the whole map leaves the range or the precision of float16",
    "ReduceMean": "a sum over many values",
    "ReduceSum": "a sum over many values",
    "ReduceL2": "a sum of squares",
    "ReduceProd": "a product over many values",
    "ReduceLogSumExp": "sums of exponentials",
    "CumSum": "errors add up",
    "GridSample": "sampling coordinates need more than float16's 11 bits",
    "Einsum": "contraction of unknown length",
}
"""Operators kept in float32 on purpose, and why."""

DATA_INPUTS = {"Resize": 1, "Upsample": 1, "Dropout": 1, "Expand": 1, "Reshape": 1, "Slice": 1, "Tile": 1, "Gather": 1}
"""How many of an operator's first inputs hold data; the others (scales, shapes, indices) keep their types."""


@dataclass
class Halved:
    """What a conversion did: nodes in half, nodes in float32 by operator, and casts between the two."""

    half: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    casts: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"half": self.half, "kept": dict(self.kept), "casts": self.casts}


def halve(model: Any, wide: frozenset[str] = frozenset()) -> Halved:
    """Convert a folded float32 `onnx.ModelProto` in place; `wide` names nodes that stay float32.

    Errors: ModelError for a graph with control flow, or whose types cannot be inferred.
    """
    for node in model.graph.node:
        if any(attribute.type in (attribute.GRAPH, attribute.GRAPHS) for attribute in node.attribute):
            raise ModelError(
                f"{node.op_type} '{node.name}' is control flow, whose precision is not converted: use --precision fp32"
            )
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as exc:  # onnx has several error classes for a bad graph
        raise ModelError(f"types of the graph cannot be inferred: {' '.join(str(exc).split())[:200]}") from exc
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    done = _Conversion(model.graph, types, wide).run()
    del model.graph.value_info[:]  # of the old types
    drop_unused(model.graph)
    return done


class _Conversion:
    def __init__(self, graph: Any, types: dict[str, int], wide: frozenset[str]) -> None:
        self._graph, self._types, self._wide = graph, types, wide
        self._weights = constants(graph)
        self._half: set[str] = set()  # tensors that are float16 now
        self._casts: dict[tuple[str, int], str] = {}
        self._nodes: list[Any] = []
        self._done = Halved()

    def run(self) -> Halved:
        """Convert node by node in the graph's order, then give the outputs back their types."""
        dynamic = _data_dependent(self._graph)
        outputs = {output.name for output in self._graph.output}
        for node in self._graph.node:
            half = bool(dynamic.intersection(node.output)) and self._is_half(node)
            self._convert(node, half)
            self._nodes.append(node)
        for name in outputs & self._half:
            self._restore(name)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        return self._done

    def _is_half(self, node: Any) -> bool:
        data = self._data(node)
        floats = [name for name in data if self._types.get(name) == TensorProto.FLOAT]
        if not floats or node.domain not in ("", "ai.onnx") or node.name in self._wide:
            return False
        if any(self._types.get(name) is None for name in data):
            return False
        if not all(self._fits(name) for name in floats):
            return False
        if node.op_type in MOVES:
            return any(name in self._half for name in floats)
        return node.op_type in HALF

    def _data(self, node: Any) -> list[str]:
        count = DATA_INPUTS.get(node.op_type, len(node.input))
        return [name for name in node.input[:count] if name]

    def _fits(self, name: str) -> bool:
        if name not in self._weights:
            return True
        array = numpy_helper.to_array(self._weights[name])
        return array.size == 0 or bool(np.abs(array).max() <= LARGEST)

    def _convert(self, node: Any, half: bool) -> None:
        data = set(self._data(node)) if half else set()
        for index, name in enumerate(node.input):
            if self._types.get(name) == TensorProto.FLOAT:
                node.input[index] = self._as(name, half and name in data)
        if half:
            self._done.half += 1
            self._half.update(name for name in node.output if self._types.get(name) == TensorProto.FLOAT)
        elif node.op_type not in MOVES | NO_ARITHMETIC and TensorProto.FLOAT in map(self._types.get, node.output):
            self._done.kept[node.op_type] += 1

    def _as(self, name: str, half: bool) -> str:
        """The name of the tensor in the wanted precision, cast if need be."""
        if half == (name in self._half):
            return name
        to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        made = self._casts.get((name, to))
        if made is None:
            made = self._casts[(name, to)] = f"{name}.{'half' if half else 'float'}"
            if name in self._weights:
                array = numpy_helper.to_array(self._weights[name]).astype(np.float16)
                self._graph.initializer.append(numpy_helper.from_array(array, made))
            else:
                self._nodes.append(helper.make_node("Cast", [name], [made], name=f"cast {made}", to=to))
                self._done.casts += 1
        return made

    def _restore(self, name: str) -> None:
        """Make the graph's output `name` float32 again: its producer writes under another name."""
        inner = f"{name}.inner"
        for node in self._nodes:
            for names in (node.input, node.output):
                for index, used in enumerate(names):
                    if used == name:
                        names[index] = inner
        cast = helper.make_node("Cast", [inner], [name], name=f"cast {name}", to=TensorProto.FLOAT)
        self._nodes.append(cast)
        self._done.casts += 1


def _data_dependent(graph: Any) -> set[str]:
    """Tensors computed from the image's values; the rest is shapes and coordinates, whose arithmetic stays exact."""
    found = {value.name for value in graph.input} - set(constants(graph))
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and found.intersection(node.input):
            found.update(node.output)
    return found


def rounded(model: Any) -> None:
    """Turn a half graph into float32 arithmetic with every half tensor rounded to float16, in place.

    ONNX Runtime on a CPU runs float16 graphs in float32 and drops the rounding between operators (a sum of 70,000
    stays finite), so that a half graph would look better than it is. Casts that the graph itself holds are kept.
    """
    graph = model.graph
    halves = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    weights = []
    for tensor in graph.initializer:
        if tensor.name in halves:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor = numpy_helper.from_array(array, tensor.name)
        weights.append(tensor)
    nodes = []
    for node in graph.node:
        to = next((a.i for a in node.attribute if node.op_type == "Cast" and a.name == "to"), 0)
        if node.op_type == "Cast" and node.input[0] in halves and to == TensorProto.FLOAT:
            nodes.append(helper.make_node("Identity", [node.input[0]], [node.output[0]], name=node.name))
            continue
        nodes.append(node)
        if to != TensorProto.FLOAT16 and not (halves.intersection(node.input) and node.op_type in HALF | MOVES):
            continue
        if node.op_type == "ArgMax":
            continue
        floats = node.output[:1] if node.op_type in ("MaxPool", "Dropout") else node.output  # then indices, a mask
        for index, name in enumerate(floats):
            halves.add(name)
            node.output[index] = f"{name}.wide"
            nodes.append(helper.make_node("Cast", [f"{name}.wide"], [f"{name}.r"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name}.r"], [name], to=TensorProto.FLOAT))
    del graph.initializer[:]
    graph.initializer.extend(weights)
    del graph.node[:]
    graph.node.extend(nodes)
