"""Small ONNX files for tests: one convolution with known weights, in every shape an exporter may give it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES = 5
STRIDE = 8
NORMALISATION: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "channels": "RGB"}
TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
}


def weights(classes: int = CLASSES, stride: int = STRIDE, channels: int = 3) -> tuple[NDArray[Any], NDArray[Any]]:
    """Kernel (classes, channels, stride, stride) and bias (classes,) of the network, float32, always the same."""
    random = np.random.default_rng(7)
    kernel = random.normal(0, 0.3, (classes, channels, stride, stride)).astype(np.float32)
    return kernel, random.normal(0, 0.1, classes).astype(np.float32)


def reference(tensor: NDArray[Any], classes: int = CLASSES, stride: int = STRIDE) -> NDArray[np.float64]:
    """The network's logits (classes, h, w) for an NCHW tensor, in float64 NumPy."""
    kernel, bias = weights(classes, stride)
    _, channels, height, width = tensor.shape
    h, w = height // stride, width // stride
    patches = tensor[0, :, : h * stride, : w * stride].astype(np.float64).reshape(channels, h, stride, w, stride)
    return np.einsum("chiwj,kcij->khw", patches, kernel.astype(np.float64)) + bias[:, None, None]


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], initialisers: list[Any], **options: Any
) -> Path:
    """Write a graph; `metadata` and `opset` are options."""
    graph = helper.make_graph(nodes, "test", inputs, outputs, initialisers)
    opsets = [helper.make_opsetid("", options.get("opset", 17)), *options.get("opsets", [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=options.get("ir_version", 8))
    for key, value in options.get("metadata", {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def value(name: str, shape: Any, dtype: str = "float32") -> Any:
    """A graph input or output; `shape` None leaves the rank open."""
    return helper.make_tensor_value_info(name, TYPES[dtype], shape)


def conv_model(
    path: Path,
    *,
    shape: tuple[Any, ...] | None = ("n", 3, "h", "w"),
    dtype: str = "float32",
    layout: str = "NCHW",
    end: str = "logits",
    output_layout: str = "NCHW",
    output_dtype: str | None = None,
    classes: int = CLASSES,
    stride: int = STRIDE,
    input_name: str = "pixels",
    output_name: str = "scores",
    auxiliary: bool = False,
    declare: Any = None,
    **options: Any,
) -> Path:
    """A segmentation network of one strided convolution.

    `end` is logits, softmax, sigmoid, argmax (keeps its channel dimension), or argmax-flat (does not).
    `auxiliary` adds a second output; `declare` is the output shape written into the file.
    """
    channels = 3
    if shape is not None and all(isinstance(dim, int) for dim in shape):
        channels = shape[1] if layout == "NCHW" else shape[3]
    kernel, bias = weights(classes, stride, channels)
    nodes, last = [], input_name

    def add(op: str, *more: str, **attributes: Any) -> None:
        nonlocal last
        nodes.append(helper.make_node(op, [last, *more], [f"{op}_{len(nodes)}"], **attributes))
        last = nodes[-1].output[0]

    if layout == "NHWC":
        add("Transpose", perm=[0, 3, 1, 2])
    if dtype != "float32":
        add("Cast", to=TensorProto.FLOAT)
    add("Conv", "kernel", "bias", strides=[stride, stride])
    if end == "softmax":
        add("Softmax", axis=1)
    elif end == "sigmoid":
        add("Sigmoid")
    elif end.startswith("argmax"):
        add("ArgMax", axis=1, keepdims=int(end == "argmax"))
    if output_layout == "NHWC":
        add("Transpose", perm=[0, 2, 3, 1])
    result = output_dtype or ("int64" if end.startswith("argmax") else "float32")
    add("Cast", to=TYPES[result])
    add("Identity")
    nodes[-1].output[0] = output_name
    outputs = [value(output_name, declare, result)]
    if auxiliary:
        nodes.append(helper.make_node("Identity", [nodes[-1].input[0]], ["auxiliary"]))
        outputs.append(value("auxiliary", None, result))
    initialisers = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")]
    return save(path, nodes, [value(input_name, shape, dtype)], outputs, initialisers, **options)
