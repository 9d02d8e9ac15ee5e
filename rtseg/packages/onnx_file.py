"""Reads an ONNX file's structure and weights straight from its protobuf wire format.

Neither `onnx` nor a runtime is needed, and a file that is not ONNX is distinguished from a truncated one. Field numbers
are those of `onnx/onnx.proto` (IR versions 3 and later).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ModelError

__all__ = ["Node", "OnnxFile", "TensorInfo", "Weight", "is_quantised", "read_onnx"]

DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph input or output. A dimension is a number, a name (dynamic) or None; `dims` is None for unknown rank."""

    name: str
    dtype: str
    dims: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        if self.dims is None:
            return f"'{self.name}' ({self.dtype}, unknown shape)"
        return f"'{self.name}' ({self.dtype} {'x'.join(str(dim or '?') for dim in self.dims) or 'scalar'})"


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the graph."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """An initialiser; its bytes stay in the file until `array` is called."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    data: memoryview
    external: dict[str, str]

    def array(self, folder: Path) -> NDArray[np.generic]:
        """The values (bfloat16 as float32); `folder` is where external data lies."""
        data: bytes | memoryview = self.data
        if self.external:
            with (folder / self.external["location"]).open("rb") as file:
                file.seek(int(self.external.get("offset", 0)))
                data = file.read(int(self.external.get("length", -1)))
        if self.dtype == "bfloat16":
            wide = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
            return wide.view(np.float32).reshape(self.dims)
        return np.frombuffer(data, self.dtype).reshape(self.dims)


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What a model file says about itself. `inputs` leaves out those that are initialisers."""

    path: Path
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: tuple[Node, ...]
    weights: tuple[Weight, ...]
    metadata: dict[str, str]


class _CutShortError(Exception):
    """The bytes end inside a field, or are not protobuf at all."""


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file; ModelError in one line if it is empty, text, cut short, not ONNX, or lacks its data file."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ModelError(f"cannot read model {path}: {exc.strerror}") from exc
    if not data:
        raise ModelError(f"{path} is empty: export or download the model again")
    if data.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path} is a Git LFS pointer, not the model: run 'git lfs pull'")
    try:
        model = _model(path, memoryview(data))
    except (_CutShortError, UnicodeDecodeError) as exc:
        # Every ONNX file begins with its IR version: field 1, a small varint.
        if data[0] == 0x08 and len(data) > 1 and 1 <= data[1] <= 64:
            raise ModelError(f"{path} is cut short ({len(data)} bytes): export or download the model again") from exc
        raise ModelError(f"{path} is not an ONNX file: it begins with {data[:24]!r}; give an .onnx file") from exc
    _check_external(model)
    return model


def is_quantised(path: Path) -> bool:
    """Whether an ONNX file computes in int8, by QDQ pairs or quantized operators; errors as of `read_onnx`."""
    quantized = ("QuantizeLinear", "DequantizeLinear", "QLinearConv")
    return any(node.op in quantized for node in read_onnx(path).nodes)


def _check_external(model: OnnxFile) -> None:
    for weight in model.weights:
        if not weight.external:
            continue
        file = model.path.parent / weight.external.get("location", "")
        if not file.is_file():
            raise ModelError(f"{model.path} keeps its weights in {file.name}, which is not beside it: copy it there")
        end = int(weight.external.get("offset", 0)) + int(weight.external.get("length", 0))
        if file.stat().st_size < end:
            raise ModelError(f"{file} is cut short: {model.path.name} needs {end} bytes, it has {file.stat().st_size}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _CutShortError


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The fields of a message: its number, its value as an integer (wire type 0) and as bytes (the other types)."""
    at, end, nothing = 0, len(data), data[:0]
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value, nothing
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _CutShortError
        if number == 0 or at + length > end:
            raise _CutShortError
        yield number, 0, data[at : at + length]
        at += length


def _text(data: memoryview) -> str:
    return bytes(data).decode()


def _pair(data: memoryview) -> tuple[str, str]:
    found = {number: _text(value) for number, _, value in _fields(data)}
    return found.get(1, ""), found.get(2, "")


def _model(path: Path, data: memoryview) -> OnnxFile:
    metadata: dict[str, str] = {}
    graph, opset = None, 0
    for number, _, value in _fields(data):
        if number == 7:
            graph = value
        elif number == 8:
            domain, version = "", 0
            for inner, integer, text in _fields(value):
                domain = _text(text) if inner == 1 else domain
                version = integer if inner == 2 else version
            opset = version if domain in ("", "ai.onnx") else opset
        elif number == 14:
            key, entry = _pair(value)
            metadata[key] = entry
    if graph is None or opset == 0:
        raise _CutShortError
    return _graph(path, opset, graph, metadata)


def _graph(path: Path, opset: int, data: memoryview, metadata: dict[str, str]) -> OnnxFile:
    nodes: list[Node] = []
    weights: list[Weight] = []
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    for number, _, value in _fields(data):
        if number == 1:
            nodes.append(_node(value))
        elif number == 5:
            weights.append(_weight(value))
        elif number == 11:
            inputs.append(_tensor_info(value))
        elif number == 12:
            outputs.append(_tensor_info(value))
    names = {weight.name for weight in weights}
    fed = tuple(info for info in inputs if info.name not in names)
    return OnnxFile(path, opset, fed, tuple(outputs), tuple(nodes), tuple(weights), metadata)


def _node(data: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    op = domain = ""
    for number, _, value in _fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            op = _text(value)
        elif number == 7:
            domain = _text(value)
    return Node(op, domain, tuple(inputs), tuple(outputs))


def _tensor_info(data: memoryview) -> TensorInfo:
    name, dtype = "", "unknown"
    dims: tuple[int | str | None, ...] | None = None
    for number, _, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for kind, _, tensor in _fields(value):
                if kind != 1:
                    dtype = "not a tensor"
                    continue
                for part, integer, shape in _fields(tensor):
                    if part == 1:
                        dtype = DTYPES.get(integer, f"type {integer}")
                    elif part == 2:
                        dims = tuple(_dim(dim) for field, _, dim in _fields(shape) if field == 1)
    return TensorInfo(name, dtype, dims)


def _dim(data: memoryview) -> int | str | None:
    for number, integer, text in _fields(data):
        if number == 1:
            # Some exporters write -1 (as a 64-bit varint) or 0 for a dynamic dimension.
            return integer if 0 < integer < 1 << 62 else None
        if number == 2:
            return _text(text) or None
    return None


def _weight(data: memoryview) -> Weight:
    name, dtype, values = "", "unknown", data[:0]
    dims: list[int] = []
    external: dict[str, str] = {}
    integers: list[int] = []
    for number, integer, value in _fields(data):
        if number == 1:
            dims += _packed(value) if len(value) else [integer]
        elif number == 2:
            dtype = DTYPES.get(integer, f"type {integer}")
        elif number == 8:
            name = _text(value)
        elif number in (4, 9, 10) and len(value):  # packed floats and doubles have the layout of raw data
            values = value
        elif number in (5, 7, 11):
            integers += _packed(value) if len(value) else [integer]
        elif number == 13:
            key, entry = _pair(value)
            external[key] = entry
    if integers:
        values = memoryview(_from_integers(integers, dtype).tobytes())
    return Weight(name, dtype, tuple(dims), values, external)


def _packed(data: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _from_integers(values: list[int], dtype: str) -> NDArray[np.generic]:
    wide = np.array([value & (1 << 64) - 1 for value in values], np.uint64)
    if dtype in ("float16", "bfloat16"):  # stored as their bit patterns
        return wide.astype(np.uint16)
    return wide.astype(np.int64).astype(dtype if dtype in DTYPES.values() and dtype != "string" else "int64")
