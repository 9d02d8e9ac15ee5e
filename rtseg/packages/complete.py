"""A complete ModelSpec for any ONNX file: the graph is read and checked, the flags for the rest are named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

import msgspec

from rtseg import registry
from rtseg.errors import BackendError, ConfigError, MissingExtra, ModelError, nearest
from rtseg.packages.onnx_file import OnnxFile, TensorInfo, read_onnx
from rtseg.packages.output import Output, Shape, Size, find_output
from rtseg.packages.spec import METADATA_KEY, ModelSpec, current_keys, read_spec, written_fields

__all__ = ["complete_spec"]

logger = logging.getLogger(__name__)

FIELDS = {field.name: field for field in msgspec.structs.fields(ModelSpec)}
READ_ONLY = ("dtype",)
"""Fields that only the graph decides."""
INPUT_DTYPES = ("float32", "float16", "uint8")
PROBE = (256, 384)
"""Size for which a dynamic network's output shapes are computed: not square, so that exchanged sides show."""
NORMALISATION = {
    "mean": "--mean 0.485,0.456,0.406",
    "std": "--std 0.229,0.224,0.225",
    "channels": "--channels RGB",
}
"""What no graph holds, with the flags of a network trained like those on ImageNet as an example."""


def complete_spec(
    path: Path,
    base: ModelSpec | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    written: Set[str] = frozenset(FIELDS),
) -> ModelSpec:
    """The spec to run an ONNX file with.

    `overrides` (fields of ModelSpec by name) win over `base` (from a spec file or package), which wins over the file's
    own metadata, which wins over what the graph says. What the graph says is checked against all of them. `written`
    names the fields of `base` that count (those its file contains); for the others the graph is read.
    Errors: ModelError in one line, with what was found and what to pass; ConfigError for an unknown override.
    """
    model = read_onnx(path)
    if base is None and METADATA_KEY in model.metadata:
        base = read_spec(model.metadata[METADATA_KEY], f"{path} (metadata)")
        written = written_fields(model.metadata[METADATA_KEY])
    known = {**_settled(model, base, written), **_given(overrides or {})}

    source = _input(model, known.get("input_name"))
    layouts = _input_layouts(model, source, known.get("layout"))
    size = _size(model, source, layouts[0], known.get("size"))
    multiple = known.get("multiple", FIELDS["multiple"].default)
    if multiple < 1:
        raise ModelError(f"multiple is {multiple}, expected 1 or more")
    probe = size or (-(-PROBE[0] // multiple) * multiple, -(-PROBE[1] // multiple) * multiple)
    layout, shapes = _output_shapes(model, source, layouts, probe, known, fixed=size is not None)
    output = find_output(model, shapes, probe, layout, known)
    if base is None:
        known.setdefault("name", path.stem if path.stem != "model" else path.resolve().parent.name)
        if probe[0] > probe[1]:
            logger.warning("%s takes %dx%d (height x width), taller than wide: is that meant?", path, *probe)
    _ask_for_normalisation(model, source, known)
    known |= {
        "input_name": source.name,
        "output_name": output.name,
        "layout": layout,
        "dtype": source.dtype,
        "size": size,
        "output_kind": output.kind,
        "output_layout": output.layout,
        "output_stride": output.stride,
        "classes": _classes(model, output, known),
    }
    return ModelSpec(**known)


def _settled(model: OnnxFile, base: ModelSpec | None, written: Set[str]) -> dict[str, Any]:
    """The written fields of a spec, less default names that say nothing about this file."""
    if base is None:
        return {}
    known = {name: value for name, value in msgspec.structs.asdict(base).items() if name in written}
    for field, tensors in (("input_name", model.inputs), ("output_name", model.outputs)):
        if known.get(field) == FIELDS[field].default and known[field] not in [tensor.name for tensor in tensors]:
            del known[field]
    return known


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    choices = [name for name in FIELDS if name not in READ_ONLY]
    given = {}
    for name, value in current_keys(overrides).items():
        if name not in choices:
            raise ConfigError(f"unknown model setting '{name}': {nearest(name, choices)}")
        try:
            given[name] = msgspec.convert(value, FIELDS[name].type)
        except msgspec.ValidationError as exc:
            raise ConfigError(f"model setting {name}={value!r}: {exc}") from exc
    return given


def _input(model: OnnxFile, wanted: str | None) -> TensorInfo:
    if len(model.inputs) != 1:
        listed = ", ".join(map(str, model.inputs)) or "none"
        raise ModelError(
            f"{model.path} has {len(model.inputs)} inputs ({listed}), a segmentation network takes one image: "
            "re-export with one input"
        )
    source = model.inputs[0]
    if wanted not in (None, source.name):
        raise ModelError(f"{model.path} has no input '{wanted}': {nearest(str(wanted), [source.name])}")
    dims = source.dims
    if dims is None or len(dims) != 4:
        count = "an unknown number of" if dims is None else len(dims)
        raise ModelError(
            f"{model.path}: input {source} has {count} dimensions, an image has 4 (1x3xHxW or 1xHxWx3): "
            "re-export, or give a segmentation model"
        )
    if source.dtype not in INPUT_DTYPES:
        raise ModelError(f"{model.path}: input {source} must be {', '.join(INPUT_DTYPES)}: re-export with one of them")
    if isinstance(dims[0], int) and dims[0] != 1:
        raise ModelError(
            f"{model.path}: the batch of input {source} is fixed at {dims[0]}: re-export with batch 1 or dynamic"
        )
    return source


def _input_layouts(model: OnnxFile, source: TensorInfo, wanted: str | None) -> list[str]:
    """The layouts that the input's shape allows, the likeliest first."""
    dims = source.dims or (None,) * 4
    channels = {"NCHW": dims[1], "NHWC": dims[3]}
    sure = [layout for layout, count in channels.items() if count == 3]
    # With no dimension fixed at 3, a dynamic one may be the channels.
    possible = sure or [layout for layout, count in channels.items() if not isinstance(count, int)]
    if not possible or (not sure and any(count in (1, 4) for count in channels.values())):
        count = next((count for count in channels.values() if count in (1, 4)), None)
        found = f"{count} channel{'s' if count != 1 else ''}" if count else "no side of 3 channels"
        raise ModelError(
            f"{model.path}: input {source} has {found}, rtseg feeds 3 (a colour image): re-export with 3 input channels"
        )
    if wanted is None:
        return possible
    if wanted not in possible:
        raise ModelError(
            f"{model.path}: input {source} is {possible[0]}, the spec says {wanted}: correct it or --layout"
        )
    return [wanted]


def _size(model: OnnxFile, source: TensorInfo, layout: str, wanted: Size | None) -> Size | None:
    """The fixed input size, None where it is dynamic."""
    dims = source.dims or (None,) * 4
    sides = dims[2:4] if layout == "NCHW" else dims[1:3]
    height, width = (side if isinstance(side, int) else None for side in sides)
    if wanted is not None:
        if all(fixed in (None, side) for fixed, side in zip((height, width), wanted, strict=True)):
            return wanted
        swapped = (height, width) == wanted[::-1]
        raise ModelError(
            f"{model.path}: input {source} takes {height or '?'}x{width or '?'} (height x width), the spec says "
            f"{wanted[0]}x{wanted[1]}: "
            + ("height and width are exchanged, re-export or correct the spec" if swapped else "correct the spec")
        )
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise ModelError(
            f"{model.path}: input {source} has one fixed and one dynamic side: re-export with both fixed or both "
            "dynamic, or give the size in --spec spec.json"
        )
    return height, width


def _output_shapes(
    model: OnnxFile, source: TensorInfo, layouts: list[str], size: Size, known: Mapping[str, Any], *, fixed: bool
) -> tuple[str, dict[str, Shape | None]]:
    """The layout that the network accepts, and every output's shape at an input of `size`.

    Whichever runtime is installed is asked, OpenVINO first, as it runs nothing for that. Without any, what exporter and
    spec wrote down has to do, and is believed. Errors: ModelError with what the runtimes said, or what to install.
    """
    problems: list[BackendError] = []
    shapes = {layout: (1, 3, *size) if layout == "NCHW" else (1, *size, 3) for layout in layouts}
    if (output_shapes := _probe("openvino")) is not None:
        for layout, shape in shapes.items():
            try:
                return layout, output_shapes(model.path, source.name, shape)
            except BackendError as exc:
                problems.append(exc)
        del problems[1:]  # of the layouts, the likeliest tells most
    # What OpenVINO cannot read another backend may; then what the exporter wrote down is known, or found by running.
    written = {out.name: None if out.dims is None else _shape(out.dims) for out in model.outputs}
    if fixed and all(dims is not None and None not in dims for dims in written.values()):
        return layouts[0], written
    if (tried_shapes := _probe("onnxruntime")) is not None:
        failed: BackendError | None = None
        for layout, shape in shapes.items():
            try:
                return layout, tried_shapes(model.path, source.name, shape, source.dtype)
            except BackendError as exc:
                failed = exc
        problems += [failed] if failed is not None else []
    if problems:
        raise ModelError("; ".join(map(str, problems))) from problems[-1]
    return layouts[0], {**written, **_described_shape(model, written, size, known)}


def _probe(runtime: str) -> Callable[..., dict[str, Shape | None]] | None:
    """What finds output shapes by a runtime; None where its package is not there or does not load."""
    try:
        probe: Callable[..., dict[str, Shape | None]] = registry.load(registry.PROBES, runtime, "runtime")
    except MissingExtra as exc:
        logger.debug("%s", exc)
        return None
    return probe


def _described_shape(
    model: OnnxFile, written: Mapping[str, Shape | None], size: Size, known: Mapping[str, Any]
) -> dict[str, Shape | None]:
    """The shape of the output that a spec describes in full; dimensions that the graph fixes are the graph's.

    Errors: ModelError where the spec leaves something out or the graph's output has another rank.
    """
    fields = ("output_name", "output_layout", "output_stride", "classes")
    name, layout, stride, classes = (known.get(field) for field in fields)
    dims = written.get(name or "") or (None,) * len(layout or "")
    if name is None or layout is None or stride is None or classes is None or len(dims) != len(layout):
        raise ModelError(
            f"{model.path} does not say the shape of its output for every input: pip install openvino or onnxruntime, "
            f"which find it, or pass --spec spec.json with all of {', '.join(fields)}"
        )
    sides = {"N": 1, "C": len(classes), "H": -(-size[0] // stride), "W": -(-size[1] // stride)}
    return {name: tuple(sides[axis] if dim is None else dim for axis, dim in zip(layout, dims, strict=True))}


def _shape(dims: tuple[int | str | None, ...]) -> Shape:
    """A shape as written, with a named batch of 1 and None for other dimensions that are not fixed."""
    named_batch = isinstance(dims[0], str) if dims else False
    return tuple(1 if at == 0 and named_batch else dim if isinstance(dim, int) else None for at, dim in enumerate(dims))


def _classes(model: OnnxFile, output: Output, known: Mapping[str, Any]) -> tuple[str, ...]:
    names: tuple[str, ...] | None = known.get("classes")
    if output.kind == "labels":
        if names is None:
            raise ModelError(
                f"{model.path}: output {output.shown} is a label map, which does not say how many classes there are: "
                "pass --classes classes.txt (one name a line) or --spec spec.json"
            )
        return names
    binary = output.channels == 1
    count = 2 if binary else output.channels
    if names is None:
        if count > 255:
            raise ModelError(f"{model.path}: output {output.shown} has {count} channels, more than 255 classes")
        return ("background", "foreground") if binary else tuple(f"class {index}" for index in range(count))
    if len(names) != count:
        meaning = "one channel, background against foreground" if binary else f"{count} channels"
        raise ModelError(
            f"{model.path}: output {output.shown} has {meaning}, but {len(names)} class names were given: give {count}"
        )
    return names


def _ask_for_normalisation(model: OnnxFile, source: TensorInfo, known: dict[str, Any]) -> None:
    """Fill in what a uint8 input implies; ModelError listing the flags that are still needed."""
    if source.dtype == "uint8":
        known.setdefault("scale", 1.0)
        known.setdefault("mean", (0.0, 0.0, 0.0))
        known.setdefault("std", (1.0, 1.0, 1.0))
    missing = [name for name in NORMALISATION if name not in known]
    if missing:
        flags = ", ".join(f"--{name}" for name in missing)
        example = " ".join(NORMALISATION[name] for name in missing)
        raise ModelError(
            f"{model.path} does not say how its input {source} was prepared in training: pass {flags} "
            f"(for example {example}), or --spec spec.json"
        )
    if "scale" not in known and any(abs(value) > 4 for value in known["mean"]):
        raise ModelError(f"{model.path}: mean {known['mean']} is in units of 0 to 255: pass --scale 1 with it")
