"""What a run is made of: one immutable record, the same in YAML, on the command line and in Python."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from rtseg.drawing.view import VIEWS
from rtseg.errors import ConfigError, nearest
from rtseg.geometry import FitMode, parse_size
from rtseg.kernels.crf_settings import parse_refine

__all__ = ["DEFAULT_MODEL", "RunConfig", "load_config"]

DEFAULT_MODEL = "unet-fast0-camvid"


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole pipeline; every field is a flag of `rtseg run` and a key of configs/*.yaml.

    `source` and `sink` hold the options of the input and of the outputs by name (`start`, `rate`, `codec`, …), `spec`
    a spec file or fields of the model's spec for an ONNX file that carries none. Sizes are "HxW".
    """

    input: str
    output: tuple[str, ...] = ()
    model: str = DEFAULT_MODEL
    spec: str | None = None
    spec_fields: dict[str, Any] = {}
    backend: str = "auto"
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    depth: int = 1
    size: str | None = None
    short_side: int | None = None
    fit: FitMode = "letterbox"
    antialias: bool = True
    refine: str = "none"
    visualize: tuple[str, ...] = ("overlay",)
    alpha: float = 0.5
    palette: str | None = None
    ignore_class: tuple[str, ...] = ()
    hide_class: tuple[str, ...] = ()
    legend: bool = False
    hud: bool = False
    policy: str | None = None
    limit: int | None = None
    headless: bool = False
    stats: bool = False
    report: str | None = None
    source: dict[str, Any] = {}
    sink: dict[str, Any] = {}

    def __post_init__(self) -> None:
        # One string where a list is meant is what people write, in Python as in YAML.
        for name in ("output", "visualize", "ignore_class", "hide_class"):
            value: Any = getattr(self, name)
            if isinstance(value, (str, list)):
                msgspec.structs.force_setattr(self, name, (value,) if isinstance(value, str) else tuple(value))
        parse_refine(self.refine)
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha is {self.alpha}, expected 0 to 1")
        for view in self.visualize:
            if view not in VIEWS:
                raise ConfigError(f"unknown view '{view}': {nearest(view, VIEWS)}")
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
    # One string where a list is meant is what people write; anything else must have the right type.
    plain = {
        key: [value] if isinstance(value, str) and _is_list(fields[key].type) else value
        for key, value in content.items()
    }
    try:
        return msgspec.convert(plain, kind)
    except (msgspec.ValidationError, ConfigError) as exc:
        raise ConfigError(f"{origin}: {exc}") from exc


def _is_list(annotation: Any) -> bool:
    if isinstance(annotation, types.UnionType):
        return any(_is_list(part) for part in typing.get_args(annotation))
    return typing.get_origin(annotation) in (tuple, list)
