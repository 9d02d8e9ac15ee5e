"""What a run writes, checked before anything is opened or compiled: its outputs' names and options, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtseg import registry
from rtseg.config import RunConfig
from rtseg.errors import ConfigError
from rtseg.frame import checked_needs
from rtseg.sinks import sink_kind
from rtseg.sinks.contract import Sink

__all__ = ["check_outputs", "checked_sink", "outputs_of", "report_path", "sink_options"]


def outputs_of(config: RunConfig) -> tuple[str, ...]:
    """The outputs of a run: a window unless others are named, none but null where that is not wanted."""
    outputs = config.output or ("window:",)
    if config.headless:
        outputs = tuple(uri for uri in outputs if sink_kind(uri)[0] != "window") or ("null:",)
    return outputs


def check_outputs(config: RunConfig) -> None:
    """ConfigError for what is wrong with the outputs' names and options, before anything is opened or compiled."""
    outputs, seen = outputs_of(config), set[str]()
    options = {uri: sink_options(uri) for uri in outputs}
    for name in config.sink:
        if not any(name in known for known in options.values()):
            raise ConfigError(f"option '{name}' does not apply to any output ({', '.join(outputs)})")
    for uri in outputs:
        kind, target = sink_kind(uri)
        place = str(Path(target).absolute()) if kind not in ("window", "null") else kind
        if place in seen and kind != "null":
            raise ConfigError(f"output '{uri}' is given twice: give each its own name")
        seen.add(place)


def sink_options(uri: str) -> list[str]:
    """The names of the options that the sink of an output string has."""
    return registry.option_names(registry.load(registry.SINKS, sink_kind(uri)[0], "sink"))


def report_path(report: str | None, outputs: tuple[str, ...]) -> Path | None:
    """Where the report goes: the given file, none for "none", else beside the first video output."""
    if report is not None:
        return None if report == "none" else Path(report)
    for uri in outputs:
        kind, target = sink_kind(uri)
        if kind == "video":
            return Path(target).with_suffix(".report.json")
    return None


def checked_sink(sink: Any) -> Sink:
    """`sink` if it has the members of `rtseg.sinks.Sink`.

    Raises:
        ConfigError: one of them is missing, or it needs what does not exist.
    """
    missing = [name for name in ("needs", "threaded", "write", "__enter__", "__exit__") if not hasattr(sink, name)]
    if missing:
        raise ConfigError(
            f"an output is a string or a sink; {type(sink).__name__} has no {', no '.join(missing)}: see rtseg.Sink"
        )
    checked_needs(sink.needs)
    checked: Sink = sink
    return checked
