"""A whole benchmark: frames held once, configurations measured in turn, several times, and what follows from it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import msgspec

from rtseg.bench.accuracy import accuracy
from rtseg.bench.compare import compare, pooled, summarise
from rtseg.bench.configurations import name_of
from rtseg.bench.measure import Load, measure, rounded
from rtseg.bench.process import revision
from rtseg.bench.replay import HELD_FRAMES, Clip, hold
from rtseg.bench.search import bisect_rate, choose, judge_budget, judge_rate
from rtseg.bench.settings import Settings
from rtseg.config import RunConfig
from rtseg.errors import ConfigError
from rtseg.pipeline.checks import outputs_of
from rtseg.pipeline.opening import Notify
from rtseg.report import machine

__all__ = ["SCHEMA", "Benchmark", "bench", "without_frames"]

SCHEMA = "rtseg.bench/1"
PROBE_SECONDS = 5.0
"""How long the peak rate is measured before a rate is searched for."""


class Benchmark:
    """Measures configurations on one clip and counts the seconds since it began."""

    def __init__(self, configs: Sequence[RunConfig], clip: Clip, settings: Settings, say: Notify) -> None:
        self._configs, self._clip, self._settings, self._say = configs, clip, settings, say
        self._begin = time.monotonic_ns()
        self.facts: dict[int, dict[str, Any]] = {}
        self.outcome = "done"

    def once(self, place: int, rate: float | None, seconds: float) -> dict[str, Any]:
        """One repetition of the configuration at `place`; its description is kept in `facts` the first time."""
        known = place in self.facts
        notify = (lambda line: None) if known else self._say
        load = Load(rate, seconds, self._settings.warm_up)
        repetition, facts = measure(self._configs[place], self._clip, load, notify)
        if not known:
            facts["name"] = self._name(place, facts)
            self.facts[place] = facts
        self.facts[place]["policy"] = facts["policy"]  # a search begins with a closed loop
        return {"started_s": rounded((repetition.pop("t_first") - self._begin) / 1e9), **repetition}

    def _name(self, place: int, facts: dict[str, Any]) -> str:
        name = name_of(self._configs[place], facts, self._configs[0])
        same = Counter(one["name"].partition(" #")[0] for one in self.facts.values())[name]
        return f"{name} #{same + 1}" if same else name

    def find_rate(self) -> dict[str, Any]:
        """The highest rate that the first configuration holds, and all that was tried."""
        tries: list[dict[str, Any]] = []
        seconds = self._settings.seconds
        peak = self.once(0, None, min(PROBE_SECONDS, seconds))["rate"]
        self._say(f"peak rate in a closed loop: {peak:.1f} frames/s")

        def holds(rate: float) -> bool:
            one = judge_rate(rate, self.once(0, rate, seconds))
            tries.append(one)
            verdict = "holds" if one["holds"] else "does not hold"
            self._say(f"{rate:.2f} frames/s {verdict}: p99 {one['p99_ms']:.1f} ms, {one['drops']:.1%} dropped")
            return bool(one["holds"])

        rate = bisect_rate(holds, float(f"{0.9 * peak:.3g}"))
        return {"kind": "rate", "rate": rate and rounded(rate, 2), "peak": peak, "tries": tries}

    def interleaved(self, rate: float | None) -> list[list[dict[str, Any]]]:
        """All repetitions of every configuration: A B C, C B A, A B C, so that drift of the machine cancels out.

        Ctrl-C leaves those that are whole for every configuration, if there is one.
        """
        out: list[list[dict[str, Any]]] = [[] for _ in self._configs]
        try:
            self._turns(rate, out)
        except KeyboardInterrupt as exc:
            whole = min(map(len, out))
            if not whole:
                raise
            self.outcome = getattr(exc, "outcome", "interrupted")
            self._say(f"{self.outcome} after {whole} of {self._settings.repetitions} repetitions")
            return [one[:whole] for one in out]
        return out

    def _turns(self, rate: float | None, out: list[list[dict[str, Any]]]) -> None:
        places = list(range(len(self._configs)))
        total = self._settings.repetitions * len(places)
        for turn in range(self._settings.repetitions):
            for place in places if turn % 2 == 0 else reversed(places):
                one = self.once(place, rate, self._settings.seconds)
                out[place].append(one)
                self._say(
                    f"[{sum(map(len, out))}/{total}] {self.facts[place]['name']}: p50 "
                    f"{one['capture_to_overlay_ms']['p50']:.1f} ms, {one['rate']:.1f} frames/s, "
                    f"{one['drops']['total']} of {one['due']} dropped"
                )


def bench(
    configs: Sequence[RunConfig],
    pairs: Sequence[tuple[int, int]],
    settings: Settings,
    *,
    say: Notify,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure `configs` (all of one input) and compare `pairs` of them by place: the content of `docs/bench-schema.md`.

    `say` gets lines for a person. Errors: every RtsegError of an input, a model or an output; ConfigError.
    """
    if settings.find_rate and len(configs) > 1:
        raise ConfigError(f"--find-rate takes one configuration, here are {len(configs)}: search them one by one")
    clip = hold(configs[0], settings.memory_mb, HELD_FRAMES)
    height, width = clip.size
    say(f"input {clip.source}: {len(clip.images)} frames of {height}x{width} held in {clip.held_mb:.0f} MiB")
    running = Benchmark(configs, clip, settings, say)
    search = running.find_rate() if settings.find_rate else None
    rate: float | None = search["rate"] if search else settings.pace(clip)
    repetitions = [[] for _ in configs] if search and rate is None else running.interleaved(rate)
    done = [describe(config, running.facts[place], repetitions[place]) for place, config in enumerate(configs)]
    if settings.budget_ms is not None:
        tries = [judge_budget(one, settings.budget_ms) for one in done]
        best = choose(tries)
        search = {"kind": "budget", "budget_ms": settings.budget_ms, "chosen": best and best["name"], "tries": tries}
    return {
        "schema": SCHEMA,
        "outcome": running.outcome,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": list(command),
        "revision": revision(),
        "machine": machine(),
        "input": {
            "source": clip.source,
            "size": list(clip.size),
            "frames_held": len(clip.images),
            "held_mb": rounded(clip.held_mb, 1),
            "decode": clip.decode,
        },
        "settings": {
            "loop": "closed" if settings.rate == "max" else "open",
            "rate": "max" if settings.rate == "max" else rate,
            "duration_s": settings.seconds,
            "repetitions": len(repetitions[0]) or settings.repetitions,
            "warm_up_frames": settings.warm_up,
            "sinks": list(outputs_of(configs[0])),
            "policy": running.facts[0]["policy"],
            "order": "interleaved",
        },
        "configurations": done,
        "comparisons": [line for a, b in pairs for line in compare(done[a], done[b])],
        "search": search,
    }


def describe(config: RunConfig, facts: dict[str, Any], repetitions: list[dict[str, Any]]) -> dict[str, Any]:
    """A configuration and everything measured of it."""
    return {
        "name": facts["name"],
        "model": facts["model"],
        "network_size": facts["network_size"],
        "config": msgspec.to_builtins(config),
        "accuracy": accuracy(config, facts["network_size"]),
        "repetitions": repetitions,
        "summary": summarise(repetitions) if repetitions else {},
        "pooled": pooled(repetitions) if repetitions else {},
    }


def without_frames(data: dict[str, Any]) -> dict[str, Any]:
    """The same without the values of single frames."""
    slim = [
        {**one, "repetitions": [{k: v for k, v in rep.items() if k != "trace"} for rep in one["repetitions"]]}
        for one in data["configurations"]
    ]
    return {**data, "configurations": slim}
