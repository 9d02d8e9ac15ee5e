"""What became of each message: latencies by stamp, and where those without a mask were lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtseg.timing import Samples, percentiles

Row = Sequence[int | None]
COUNTERS = {
    "replaced": "replaced by newer ones",
    "before_publishing": "dropped before publishing",
    "bad": "bad messages",
}
"""Where rtseg's node lost messages that it had, by the keys of its diagnostics."""
RECEIVED = "received"


def account(sent: Sequence[Sequence[int]], masks: Sequence[Row]) -> dict[str, Any]:
    """Match masks to the messages that they were made of.

    `sent` has for each message its stamp, when it was handed to the middleware, and how long that took; `masks` for
    each mask its stamp, arrival, publication and number, all nanoseconds of one clock. Latency is from stamp to
    arrival. A mask of no message, or a second one of the same, is an error of the node: counted, not timed.
    """
    counted = {stamp: (at, took) for stamp, at, took in sent}
    latencies, inside, back = [], [], []
    seen: set[int | None] = set()
    foreign = 0
    for stamp, arrived, published, _ in masks:
        if stamp not in counted or stamp in seen:
            foreign += 1
            continue
        assert stamp is not None
        assert arrived is not None
        seen.add(stamp)
        latencies.append(arrived - stamp)
        if published:
            inside.append(published - counted[stamp][0])
            back.append(arrived - published)
    return {
        "sent": len(counted),
        "masks": len(latencies),
        "foreign": foreign,
        "latency_ms": milliseconds(latencies),
        "late_ms": milliseconds([at - stamp for stamp, (at, _) in counted.items()]),
        "sending_ms": milliseconds([took for _, took in counted.values()]),
        "sent_to_published_ms": milliseconds(inside),
        "published_to_arrived_ms": milliseconds(back),
    }


def gaps(masks: Sequence[Row]) -> int:
    """How many masks were published between the first and the last that arrived, and did not arrive."""
    numbers = [number for _, _, _, number in masks if number is not None]
    return max(numbers) - min(numbers) + 1 - len(set(numbers)) if numbers else 0


def losses(row: Mapping[str, int], after: int, counters: Mapping[str, int] | None) -> dict[str, int]:
    """Messages without a mask by place; what nobody counts is `before_or_in_node`.

    `row` has `sent` and `masks`; `after` is what was lost between node and subscriber; `counters` are those of the
    node, by `COUNTERS` and `RECEIVED`.
    """
    missing = row["sent"] - row["masks"]
    found = {"after_node": after}
    if counters is not None:
        found |= {"lost_on_the_way": row["sent"] - counters[RECEIVED]} | {name: counters[name] for name in COUNTERS}
    found["before_or_in_node"] = missing - sum(found.values())
    return {name: count for name, count in found.items() if count > 0}


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, int]:
    """By how much the node's counters grew."""
    keys = {**COUNTERS, RECEIVED: RECEIVED}
    return {name: int(now.get(key, 0)) - int(before.get(key, 0)) for name, key in keys.items()}


def milliseconds(nanoseconds: Sequence[int]) -> list[float]:
    """With two places, to be kept in a file."""
    return [round(value / 1e6, 2) for value in nanoseconds]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Nearest-rank percentiles of milliseconds, None where samples are too few for one (see rtseg.timing.FLOORS)."""
    return percentiles(Samples(round(value * 1e6) for value in values))
