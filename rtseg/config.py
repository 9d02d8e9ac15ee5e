"""What a run is made of: one immutable record, the same in YAML, on the command line and in Python."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from rtseg.drawing.view import checked_alpha, checked_views
from rtseg.errors import ConfigError, nearest
from rtseg.geometry import FitMode, parse_size
from rtseg.kernels.crf_settings import parse_refine

__all__ = ["DEFAULT_MODEL", "RunConfig", "load_config"]

DEFAULT_MODEL = "unet-fast0-camvid"


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole pipeline; every field is a flag of `rtseg run` and a key of configs/*.yaml.

    Raises:
        ConfigError: A value is out of its range; the message names the field.
    """

    input: str
    """What is read: a file, `camera:0`, a stream's URL, a folder, a bag with its topic, `synthetic:drive`."""
    output: tuple[str, ...] = ()
    """What is written, one or several: `out.mp4`, `labels:ids/%06d.png`, `window:`, `stats.jsonl`, …"""
    model: str = DEFAULT_MODEL
    """Name or folder of a package, or an ONNX file."""
    spec: str | None = None
    """A spec.json for an ONNX file that carries none."""
    spec_fields: dict[str, Any] = {}
    """Fields of the model's spec by name (`mean`, `std`, `classes`, `output_kind`, …); they win over its own."""
    backend: str = "auto"
    """What runs the network: auto, tensorrt, openvino, onnxruntime, torch or null."""
    device: str | None = None
    """The backend's device, for example `GPU` or `cuda:1`; left out, its own choice."""
    precision: str | None = None
    """The backend's arithmetic: fp32, bf16, fp16, int8; left out, its own choice."""
    threads: int | None = None
    """Threads of the backend and of the kernels; left out, all cores."""
    depth: int = 1
    """Frames in flight in the backend: 1 for the lowest latency, 2 or 3 for the highest rate."""
    size: str | None = None
    """The network's input as "HxW"; left out, it follows the frame's aspect ratio."""
    short_side: int | None = None
    """Short side of the network's input in pixels; left out, the spec's."""
    fit: FitMode = "letterbox"
    """How a frame is placed in the network's input."""
    antialias: bool = True
    """Average over the pixels that fall into one where a frame is shrunk, as in training; false is faster."""
    refine: str = "none"
    """A dense CRF on the scores: none, crf, or `crf:radius=3,iterations=2`."""
    visualize: tuple[str, ...] = ("overlay",)
    """The pictures side by side: overlay, mask, split, contour."""
    alpha: float = 0.5
    """Opacity of the classes' colours, 0 to 1."""
    palette: str | None = None
    """Name of a palette or a colors.txt; left out, the model's own."""
    ignore_class: tuple[str, ...] = ()
    """Classes that cannot win, by name."""
    hide_class: tuple[str, ...] = ()
    """Classes that are labelled but drawn transparent, by name."""
    legend: bool = False
    """Names of the classes in sight, in the picture."""
    hud: bool = False
    """Rate, latency and drops, in the picture."""
    policy: str | None = None
    """What a full queue does: latest, wait, or drop-oldest:N; left out, latest for live input and wait for files."""
    limit: int | None = None
    """Stop after this many frames."""
    headless: bool = False
    """No window, even if one is among the outputs."""
    stats: bool = False
    """Mean area of each class in the report."""
    report: str | None = None
    """File of the report, or `none`; left out, beside a video output."""
    source: dict[str, Any] = {}
    """Options of the input, by name: see below."""
    sink: dict[str, Any] = {}
    """Options of the outputs, by name: see below."""

    def __post_init__(self) -> None:
        # One string where a list is meant is what people write, in Python as in YAML.
        for name in ("output", "visualize", "ignore_class", "hide_class"):
            value: Any = getattr(self, name)
            if isinstance(value, (str, list)):
                msgspec.structs.force_setattr(self, name, (value,) if isinstance(value, str) else tuple(value))
        parse_refine(self.refine)
        checked_alpha(self.alpha)
        checked_views(self.visualize)
        for name in ("threads", "depth", "short_side", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, expected 1 or more")
        if self.size is not None:
            parse_size(self.size)


def load_config(path: Path, overrides: dict[str, Any] | None = None) -> RunConfig:
    """Read a YAML pipeline; `overrides` (from flags) win over it, option tables are merged.

    Errors: ConfigError with the file, the key's path and the nearest known key.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read configuration {path}: {getattr(exc, 'strerror', None) or exc}") from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise ConfigError(f"{path}: expected keys and values, found {found}")
    return from_mapping(merge(content, overrides or {}), RunConfig, str(path))


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the entries of `over` on top; dictionaries are merged one level deep."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key, {})
        if not isinstance(value, dict):
            merged[key] = value
        elif isinstance(old, dict):
            merged[key] = {**old, **value}
        # else what is there has the wrong type, and is kept so that it is found
    return merged


T = typing.TypeVar("T")


def from_mapping(content: dict[str, Any], kind: type[T], origin: str) -> T:
    """A checked record of type `kind` out of plain data; ConfigError with `origin` and the key otherwise."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}  # type: ignore[arg-type]
    for key in content:
        if key not in fields:
            raise ConfigError(f"{origin}: unknown key '{key}': {nearest(str(key), fields)}")
    for key, value in content.items():
        choices = _choices(fields[key].type)
        if choices and isinstance(value, str) and value not in choices:
            raise ConfigError(f"{origin}: {key} is '{value}': {nearest(value, choices)}")
    # One string where a list is meant is what people write; anything else must have the right type.
    plain = {
        key: [value] if isinstance(value, str) and _is_list(fields[key].type) else value
        for key, value in content.items()
    }
    try:
        return msgspec.convert(plain, kind)
    except (msgspec.ValidationError, ConfigError) as exc:
        raise ConfigError(f"{origin}: {exc}") from exc


def _choices(annotation: Any) -> tuple[str, ...]:
    """The words that a field of type Literal takes; none for any other."""
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def _is_list(annotation: Any) -> bool:
    if isinstance(annotation, types.UnionType):
        return any(_is_list(part) for part in typing.get_args(annotation))
    return typing.get_origin(annotation) in (tuple, list)
