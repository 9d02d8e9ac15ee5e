"""Searches: the highest rate that holds, by bisection, and the most accurate configuration within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rtseg.bench.accuracy import distance
from rtseg.bench.compare import latencies_of
from rtseg.bench.measure import rounded
from rtseg.timing import FLOORS, rank

__all__ = ["bisect_rate", "choose", "judge_budget", "judge_rate", "p99_ms"]

DROPS = 0.01
"""A rate holds with fewer drops than this fraction of the frames due."""
TOLERANCE = 1.05
"""The bisection ends when the rate that failed is at most this many times the one that held."""
GROWTH = 1.5
LOWEST = 1 / 64
"""The fraction of the first try below which no rate is tried."""


def p99_ms(repetitions: Sequence[dict[str, Any]]) -> tuple[float, int, bool]:
    """(p99 of capture-to-overlay, samples, whether they are enough to support it), over all repetitions together."""
    ordered = sorted(value for one in repetitions for value in latencies_of(one))
    return rounded(ordered[rank(99, len(ordered))] / 1e6), len(ordered), len(ordered) >= FLOORS[99]


def judge_rate(rate: float, repetition: dict[str, Any]) -> dict[str, Any]:
    """Whether a rate held: less than 1 % of the frames dropped, and p99 under one period."""
    p99, samples, supported = p99_ms([repetition])
    drops = repetition["drops"]["total"] / repetition["due"]
    holds = drops < DROPS and p99 < 1e3 / rate
    return {
        "rate": rate,
        "drops": rounded(drops, 4),
        "p99_ms": p99,
        "samples": samples,
        "supported": supported,
        "holds": holds,
    }


def bisect_rate(holds: Callable[[float], bool], first: float) -> float | None:
    """The highest rate known to hold, within 5 % of one known not to; None if none does down to 1/64 of `first`.

    Tries go up from `first` by halves while they hold and down by halves while they do not, then between the two,
    geometrically. It supposes that what holds at a rate holds below it.
    """
    low, high, rate = 0.0, math.inf, first
    while True:
        if holds(rate):
            low = rate
        else:
            high = rate
        if high <= low * TOLERANCE or (not low and high <= first * LOWEST):
            return low or None
        if not low:
            rate = high / 2
        elif high == math.inf:
            rate = low * GROWTH
        else:
            rate = math.sqrt(low * high)


def judge_budget(configuration: dict[str, Any], budget_ms: float) -> dict[str, Any]:
    """Whether p99 over all repetitions is within the budget, beside what is known of the configuration's accuracy."""
    p99, samples, supported = p99_ms(configuration["repetitions"])
    due = sum(one["due"] for one in configuration["repetitions"])
    scored = configuration["accuracy"]
    return {
        "name": configuration["name"],
        "miou": scored["miou"] if scored else None,
        "as_run": bool(scored and scored["as_run"]),
        "distance": rounded(distance(scored["network_size"], configuration["network_size"]), 4) if scored else None,
        "p99_ms": p99,
        "samples": samples,
        "supported": supported,
        "drops": rounded(sum(one["drops"]["total"] for one in configuration["repetitions"]) / due, 4),
        "holds": p99 <= budget_ms,
    }


def choose(tries: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The most accurate of the configurations that hold; None where none does.

    One whose accuracy was measured as it runs comes before one whose model was only scored otherwise (at another size,
    without its refinement): among those, the nearest to the size that was scored, then the more accurate model. What
    nothing is known of comes last, in the order given.
    """

    def order(one: dict[str, Any]) -> tuple[Any, ...]:
        if one["miou"] is None:
            return 2, 0.0, 0.0
        return (0, 0.0, -one["miou"]) if one["as_run"] else (1, one["distance"], -one["miou"])

    return min((one for one in tries if one["holds"]), key=order, default=None)
