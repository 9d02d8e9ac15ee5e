"""Which output of an ONNX graph holds the classes, and what it is: scores or labels, layout, channels, stride."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rtseg.errors import ModelError, nearest
from rtseg.packages.onnx_file import OnnxFile, TensorInfo

__all__ = ["Output", "find_output", "grid_strides"]

INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "bool")
PASS_THROUGH = frozenset({"Cast", "Identity", "Reshape", "Resize", "Squeeze", "Transpose", "Unsqueeze", "Upsample"})
"""Operators that change an output's shape or type but not what its numbers mean."""
PROBABILITIES = frozenset({"Sigmoid", "Softmax", "HardSigmoid"})

Size = tuple[int, int]
Shape = tuple[int | None, ...]
Kind = Literal["logits", "probabilities", "labels"]
Layout = Literal["NCHW", "NHWC", "NHW"]
Grid = tuple[Layout, int, Size]
"""One way to read an output's shape: layout, channels, (height, width)."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the chosen output turned out to be; `shown` is its name, type and shape for messages."""

    name: str
    kind: Kind
    layout: Layout
    channels: int
    stride: int
    shown: str


def find_output(
    model: OnnxFile, shapes: Mapping[str, Shape | None], size: Size, input_layout: str, known: Mapping[str, Any]
) -> Output:
    """Choose the output and read what it is from its shape at an input of `size` and the operators before it.

    `known` holds spec fields that are settled already; what the graph contradicts is a ModelError, as is a graph whose
    output is no map of its input.
    """
    shown = {out.name: TensorInfo(out.name, out.dtype, shapes.get(out.name)) for out in model.outputs}
    if not shown:
        raise ModelError(f"{model.path} has no output: re-export it with its scores or label map as an output")
    wanted = known.get("output_name")
    if wanted is not None and wanted not in shown:
        raise ModelError(f"{model.path} has no output '{wanted}': {nearest(wanted, shown)}")
    if wanted is None and len(shown) > 1:
        listed = ", ".join(map(str, shown.values()))
        if any(_is_a_list(shape, size) for shape in shapes.values()):
            raise ModelError(
                f"{model.path} looks like a detection model (outputs {listed}), rtseg runs semantic segmentation: "
                "if one output is a score or label map, pass its name with --output-name"
            )
        raise ModelError(f"{model.path} has {len(shown)} outputs: {listed}; pass one of the names with --output-name")
    info = shown[wanted] if wanted is not None else next(iter(shown.values()))
    return _read(model, info, size, input_layout, known)


def grid_strides(size: Size, grid: Size) -> list[int]:
    """Input pixels per output pixel that explain an output of size `grid`, the likeliest first; empty if none does.

    A stride that does not divide the size (rounded up or down by the network) is believed for powers of two only.
    """

    def fits(side: int, cells: int, stride: int) -> bool:
        rounded = stride & (stride - 1) == 0
        return cells * stride == side or (rounded and cells in (side // stride, -(-side // stride)))

    found = [s for s in range(1, min(size) + 1) if fits(size[0], grid[0], s) and fits(size[1], grid[1], s)]
    return sorted(found, key=lambda s: (size[0] % s + size[1] % s > 0, s))


def _read(model: OnnxFile, info: TensorInfo, size: Size, input_layout: str, known: Mapping[str, Any]) -> Output:
    what = f"{model.path}: output {info} for an input of {size[0]}x{size[1]}"
    dims = _whole(info.dims)
    if dims is None:
        raise ModelError(f"{what} has a shape that depends on the data: re-export with score maps or a label map")
    _refuse_classifier(what, dims, size)
    kind = _kind(model, info, known.get("output_kind"))
    grids = _grids(dims, kind, input_layout, known.get("output_layout"))
    wanted = known.get("output_stride")
    for layout, channels, grid in grids:
        strides = grid_strides(size, grid)
        if not strides:
            continue
        if wanted is not None and wanted not in strides:
            raise ModelError(f"{what} has stride {strides[0]}, the spec says {wanted}: correct the spec")
        return Output(info.name, kind, layout, channels, wanted or strides[0], str(info))
    raise ModelError(f"{what} {_why_no_map(dims, grids, size)}")


def _why_no_map(dims: tuple[int, ...], grids: list[Grid], size: Size) -> str:
    for _, _, grid in grids:
        if grid_strides(size, grid[::-1]):
            return (
                "has height and width exchanged: re-export with the input as height x width "
                f"(it may have been meant as {size[1]}x{size[0]})"
            )
    if _is_a_list(dims, size):
        return "looks like a detection model's boxes: rtseg runs semantic segmentation, give a segmentation model"
    if not grids:
        return "is neither scores (1xCxhxw or 1xhxwxC) nor a label map (1xhxw): re-export, or pass --output-kind"
    height, width = grids[0][2]
    return (
        f"has no common stride ({size[0]}/{height} rows, {size[1]}/{width} columns), so it is no map of the input: "
        "pass another --output-name, --multiple N if it takes only multiples of N, or re-export"
    )


def _grids(dims: tuple[int, ...], kind: Kind, input_layout: str, wanted: str | None) -> list[Grid]:
    """The ways to read an output's shape, the likeliest first."""
    found: list[Grid] = []
    inner = dims[1:] if len(dims) == 4 and dims[0] == 1 else dims
    if len(inner) == 2:
        found = [("NHW", 1, inner)]
    elif len(dims) == 3 and (kind == "labels" or dims[0] == 1):
        found = [("NHW", dims[0], (dims[1], dims[2]))]
    elif len(inner) == 3:
        found = [("NCHW", inner[0], (inner[1], inner[2])), ("NHWC", inner[2], (inner[0], inner[1]))]
        if input_layout == "NHWC":
            found.reverse()
    if kind == "labels":
        found = [grid for grid in found if grid[1] == 1]
    return [grid for grid in found if grid[0] == wanted] or found


def _kind(model: OnnxFile, info: TensorInfo, wanted: Kind | None) -> Kind:
    """What the output's numbers mean, from its type and the operator that made it."""
    made_by = {name: node for node in model.nodes for name in node.outputs}
    node = made_by.get(info.name)
    while node is not None and node.op in PASS_THROUGH and node.inputs:
        node = made_by.get(node.inputs[0])
    labels = info.dtype in INTEGERS or (node is not None and node.op == "ArgMax")
    if wanted is not None:
        if labels and wanted != "labels":
            raise ModelError(
                f"{model.path}: output {info} is a label map, not {wanted} as the spec says: correct it, "
                "or --output-kind"
            )
        return wanted
    if labels:
        return "labels"
    return "probabilities" if node is not None and node.op in PROBABILITIES else "logits"


def _refuse_classifier(what: str, dims: tuple[int, ...], size: Size) -> None:
    flat = len(dims) == 2 and dims[0] == 1
    pooled = len(dims) == 4 and (1, 1) in (dims[2:], dims[1:3])
    if (len(dims) < 2 or flat or pooled) and min(size) > 1:
        raise ModelError(f"{what} is one answer for the whole image: this is a classifier, not a segmentation model")


def _is_a_list(dims: Shape | None, size: Size) -> bool:
    """Whether an output is a list (of boxes, scores) and no map of the input."""
    sides = _whole(dims)
    if sides is None or len(sides) == 1:
        return True
    return len(sides) in (2, 3) and not grid_strides(size, (sides[-2], sides[-1]))


def _whole(dims: Iterable[int | str | None] | None) -> tuple[int, ...] | None:
    """The shape if every side is known."""
    if dims is None:
        return None
    sides = tuple(dims)
    known = tuple(side for side in sides if isinstance(side, int))
    return known if len(known) == len(sides) else None
