"""What is compared: the cross product of lists of settings, and a configuration with some of them changed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from rtseg import registry
from rtseg.config import RunConfig, from_mapping
from rtseg.errors import ConfigError, nearest
from rtseg.files import write_text
from rtseg.packages.spec import find_package
from rtseg.pipeline.checks import check_outputs
from rtseg.sinks import sink_kind

__all__ = ["changed", "check", "cross", "name_of", "parse_changes", "written_config"]

IN_NAME = ("model", "backend", "precision", "size", "short_side", "spec", "spec_fields")
"""Fields that a configuration's name shows anyway, by what was really opened."""
FIXED = ("input", "source", "limit", "report", "headless")
"""Fields that are the same for all configurations of a benchmark, or mean nothing in one."""


def cross(base: RunConfig, lists: Mapping[str, Sequence[Any]]) -> list[RunConfig]:
    """`base` with every combination of the values in `lists`, the last list changing fastest; an empty list is none."""
    given = {field: values for field, values in lists.items() if values}
    return [
        changed(base, dict(zip(given, values, strict=True)), "command line")
        for values in itertools.product(*given.values())
    ]


def changed(config: RunConfig, fields: Mapping[str, Any], origin: str) -> RunConfig:
    """`config` with some fields replaced; ConfigError naming `origin` for a field or value that cannot be."""
    return from_mapping({**msgspec.to_builtins(config), **fields}, RunConfig, origin)


def parse_changes(text: str) -> dict[str, Any]:
    """The fields in `key=value,key=value`, values as in YAML; ConfigError for a key that cannot differ."""
    types = {field.name: field.type for field in msgspec.structs.fields(RunConfig)}
    known = [name for name in types if name not in FIXED]
    fields: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        key = key.replace("-", "_")
        if not equals or not value:
            raise ConfigError(f"--vs: expected KEY=VALUE[,KEY=VALUE], found '{part.strip()}'")
        if key not in known:
            raise ConfigError(f"--vs: unknown key '{key}': {nearest(key, known)}")
        try:
            fields[key] = value if types[key] is str else yaml.safe_load(value)
        except yaml.YAMLError as exc:
            raise ConfigError(f"--vs: {key} is not a value: {value}") from exc
    return fields


def check(configs: Sequence[RunConfig]) -> None:
    """Raise the errors of the configurations that are known before anything is read or measured."""
    for config in configs:
        check_outputs(config)
        if config.backend != "auto" and config.backend not in registry.BACKENDS:
            raise ConfigError(f"unknown backend '{config.backend}': {nearest(config.backend, registry.BACKENDS)}")
        if config.model or config.backend != "null":
            find_package(config.model, config.spec)


def name_of(config: RunConfig, facts: Mapping[str, Any], base: RunConfig) -> str:
    """What a configuration is called: model, backend, precision, network size, and in what else it differs from base.

    `facts` is its description by `rtseg.bench.measure.measure`.
    """
    model, size = facts["model"], "x".join(map(str, facts["network_size"]))
    parts = [model["name"], model["backend"], model["precision"], size]
    mine, other = msgspec.to_builtins(config), msgspec.to_builtins(base)
    for field, value in mine.items():
        if field not in (*IN_NAME, *FIXED) and value != other[field]:
            shown = "+".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            parts.append(f"{field}={shown}")
    return " ".join(parts)


def written_config(path: Path, config: RunConfig, comment: str) -> None:
    """Write what `rtseg run --config` takes: the settings that differ from the defaults, under a line of comment.

    Outputs that keep nothing are left out, so that the run opens a window unless configured otherwise.
    """
    plain, defaults = msgspec.to_builtins(config), msgspec.to_builtins(RunConfig(input=""))
    fields = {key: value for key, value in plain.items() if value != defaults[key]}
    if all(sink_kind(uri)[0] == "null" for uri in config.output):
        fields.pop("output", None)
        fields.pop("sink", None)
    content = {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
    write_text(path, f"# {comment}\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}")
