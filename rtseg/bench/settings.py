"""How a benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass

from rtseg.bench.measure import rounded
from rtseg.bench.replay import DEFAULT_RATE, Clip
from rtseg.errors import ConfigError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure. `rate` is frames per second, "max" for a closed loop, None for the clip's own.

    Errors: ConfigError for a value out of range.
    """

    rate: float | str | None = None
    seconds: float = 10.0
    repetitions: int = 5
    warm_up: int = 10
    memory_mb: float = 1024.0
    find_rate: bool = False
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        for name, low in (("repetitions", 1), ("warm_up", 0)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name.replace('_', '-')} is {getattr(self, name)}, expected {low} or more")
        for field, name in (
            ("rate", "rate"),
            ("seconds", "duration"),
            ("memory_mb", "memory"),
            ("budget_ms", "budget"),
        ):
            value = getattr(self, field)
            if isinstance(value, (int, float)) and not 0 < value < 1e6:
                raise ConfigError(f"{name} is {value:g}, expected more than 0 and less than a million")
        if self.find_rate and (self.budget_ms is not None or self.rate is not None):
            raise ConfigError("--find-rate finds the rate itself: leave out --rate and --budget")
        if self.budget_ms is not None and self.rate == "max":
            raise ConfigError("a budget is held at a rate: give --rate frames per second, not max")

    def pace(self, clip: Clip) -> float | None:
        """Frames per second of an open loop on `clip`, None for a closed one."""
        if self.rate == "max":
            return None
        return rounded(float(self.rate or clip.fps or DEFAULT_RATE))
