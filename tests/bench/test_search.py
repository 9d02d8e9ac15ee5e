"""The bisection on rules that are known, and the choice within a budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtseg.bench.benchmark import Benchmark
from rtseg.bench.replay import Clip
from rtseg.bench.search import bisect_rate, choose, judge_budget, judge_rate
from rtseg.bench.settings import Settings
from rtseg.config import RunConfig

MS = 1_000_000


@pytest.mark.parametrize("limit", [0.7, 3.0, 11.0, 29.97, 30.0, 55.0, 400.0])
def test_the_bisection_finds_a_limit_within_five_percent_from_below(limit: float) -> None:
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    rate = bisect_rate(holds, 30.0)
    assert rate is not None and rate <= limit <= rate * 1.05
    assert len(tried) <= 15
    assert rate in tried


def test_where_nothing_holds_the_search_ends() -> None:
    tried: list[float] = []
    assert bisect_rate(lambda rate: bool(tried.append(rate)), 64.0) is None
    assert tried == [64, 32, 16, 8, 4, 2, 1]


def frames(*latencies_ms: float, dropped: int = 0) -> dict[str, Any]:
    """A repetition with these latencies."""
    return {
        "due": len(latencies_ms) + dropped,
        "drops": {"total": dropped},
        "trace": {"due_ns": [0] * len(latencies_ms), "overlay_ns": [round(value * MS) for value in latencies_ms]},
    }


def test_a_rate_holds_with_few_drops_and_p99_under_one_period() -> None:
    good = judge_rate(20.0, frames(*[30.0] * 985, *[49.0] * 14, dropped=5))
    assert good == {
        "rate": 20.0, "drops": 0.005, "p99_ms": 49.0, "samples": 999, "supported": True, "holds": True,
    }  # fmt: skip
    assert not judge_rate(20.0, frames(*[30.0] * 900, *[51.0] * 10))["holds"]
    assert not judge_rate(20.0, frames(*[30.0] * 990, dropped=10))["holds"]  # 1 % is too many
    few = judge_rate(20.0, frames(*[30.0] * 50))
    assert few["holds"] and not few["supported"]


def test_a_budget_is_held_by_the_p99_of_all_repetitions_together() -> None:
    scored = {"miou": 0.7, "as_run": True, "network_size": [416, 576]}
    one = {
        "name": "a",
        "accuracy": scored,
        "network_size": [416, 768],
        "repetitions": [frames(*[20.0] * 99, 70.0), frames(*[20.0] * 100, dropped=50)],
    }
    judged = judge_budget(one, 33)
    assert judged == {
        "name": "a", "miou": 0.7, "as_run": True, "distance": 0.0, "p99_ms": 20.0, "samples": 200, "supported": False,
        "drops": 0.2, "holds": True,
    }  # fmt: skip
    assert not judge_budget(one | {"repetitions": [frames(20.0, 34.0)]}, 33)["holds"]
    assert judge_budget(one | {"accuracy": None}, 33)["miou"] is None


def candidate(name: str, miou: float | None, *, as_run: bool = True, distance: float = 0.0, holds: bool = True) -> Any:
    return {"name": name, "miou": miou, "as_run": as_run, "distance": distance, "holds": holds}


def test_the_most_accurate_that_holds_is_chosen() -> None:
    tries = [candidate("small", 0.70), candidate("large", 0.80, holds=False), candidate("middle", 0.75)]
    chosen = choose(tries)
    assert chosen is not None and chosen["name"] == "middle"
    assert choose([candidate("large", 0.8, holds=False)]) is None


def test_what_was_scored_otherwise_comes_after_what_was_scored_as_it_runs() -> None:
    far = candidate("far", 0.9, as_run=False, distance=1.2)
    near = candidate("near", 0.8, as_run=False, distance=0.3)
    scored, unknown = candidate("scored", 0.6), candidate("unknown", None)
    order = []
    tries = [unknown, far, near, scored]
    while (one := choose(tries)) is not None:
        order.append(one["name"])
        tries.remove(one)
    assert order == ["scored", "near", "far", "unknown"]


@pytest.mark.parametrize(("broken_off", "whole"), [(2, 0), (4, 1), (6, 2)])
def test_what_is_whole_is_kept_when_the_user_interrupts(
    clip: Clip, config: RunConfig, monkeypatch: pytest.MonkeyPatch, broken_off: int, whole: int
) -> None:
    calls: list[int] = []

    def once(self: Benchmark, place: int, rate: float | None, seconds: float) -> dict[str, Any]:
        calls.append(place)
        if len(calls) == broken_off:
            raise KeyboardInterrupt
        self.facts[place] = {"name": "x"}
        return {"place": place, "capture_to_overlay_ms": {"p50": 1.0}, "rate": 1.0, "drops": {"total": 0}, "due": 1}

    monkeypatch.setattr(Benchmark, "once", once)
    running = Benchmark([config, config], clip, Settings(repetitions=3), lambda line: None)
    if not whole:
        with pytest.raises(KeyboardInterrupt):
            running.interleaved(30)
        return
    kept = running.interleaved(30)
    assert [[one["place"] for one in row] for row in kept] == [[0] * whole, [1] * whole]
    assert running.outcome == "interrupted"
    assert calls == [0, 1, 1, 0, 0, 1][:broken_off]


def test_no_rate_holds_whose_period_is_shorter_than_the_network(
    clip: Clip, config: RunConfig, network: Callable[..., None]
) -> None:
    network(delay_ms=20)
    running = Benchmark([config], clip, Settings(find_rate=True, seconds=0.4, warm_up=3), lambda line: None)
    search = running.find_rate()
    assert 0 < search["peak"] <= 50
    assert search["tries"]
    assert all(not one["holds"] for one in search["tries"] if one["rate"] >= 50)
    held = [one["rate"] for one in search["tries"] if one["holds"]]
    assert search["rate"] == (round(max(held), 2) if held else None)
