"""Checks of the options that sources share; each returns the value or raises a one-line ConfigError."""

from __future__ import annotations

import math
from typing import Any

from rtseg.errors import ConfigError
from rtseg.geometry import parse_size

__all__ = ["at_least", "number", "retries", "size_of", "whole"]


def number(name: str, value: Any) -> float:
    """A finite number."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise ConfigError(f"{name} is {value!r}, expected a number")
    return result


def at_least(name: str, value: Any, low: float, *, above: bool = False) -> float:
    """A number from `low`, or above it."""
    result = number(name, value)
    if result < low or (above and result == low):
        raise ConfigError(f"{name} is {value}, expected {'more than' if above else 'at least'} {low:g}")
    return result


def whole(name: str, value: Any, low: int) -> int:
    """A whole number from `low`."""
    result = number(name, value)
    if result != int(result) or result < low:
        raise ConfigError(f"{name} is {value}, expected a whole number from {low}")
    return int(result)


def size_of(name: str, value: Any) -> tuple[int, int]:
    """(height, width) from a pair or from the text HEIGHTxWIDTH."""
    if isinstance(value, str):
        value = parse_size(value)
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ConfigError(f"{name} is not HEIGHTxWIDTH, for example 720x1280")
    return whole(f"height of {name}", value[0], 1), whole(f"width of {name}", value[1], 1)


def retries(value: Any) -> int | None:
    """How often to reconnect in a row: a whole number, or None for `forever`."""
    return None if value == "forever" else whole("reconnect", value, 0)
