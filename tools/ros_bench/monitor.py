"""The subscriber of the benchmark: `monitor.py`, then JSON lines (see `Monitor`).

As the monitor node of ros2_benchmark it looks at nothing but stamps and times: when a mask is in hand here, and when
the node handed it to the middleware.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from end import MATCH_SECONDS, NANO, Command, picture_class, reliable, serve, stamp_of

LIMIT_SECONDS = 60.0


class Monitor:
    """Notes masks of one topic at a time, and the counters in the diagnostics of who publishes them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscriptions: list[Any] = []
        self._changed = threading.Condition()
        self._masks: list[list[int | None]] = []
        self._last = 0
        self._facts: dict[str, str] = {}
        self._facts_at = 0

    def listen(self, mask: str, diagnostics: str = "") -> dict[str, Any]:
        """Subscribe to masks, and to diagnostics where there are any; wait for who publishes them."""
        self.silence()
        made = self._node.create_subscription(picture_class(mask), mask, self._take, reliable(), raw=True)
        self._subscriptions = [made]
        if diagnostics:
            self._subscriptions.append(
                self._node.create_subscription(DiagnosticArray, diagnostics, self._take_facts, reliable())
            )
        end = time.monotonic() + MATCH_SECONDS
        while not all(each.get_publisher_count() for each in self._subscriptions) and time.monotonic() < end:
            time.sleep(0.02)
        return {"publishers": [each.get_publisher_count() for each in self._subscriptions]}

    def silence(self) -> None:
        """Subscribe to nothing and forget everything."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        with self._changed:
            self._masks, self._facts, self._facts_at = [], {}, 0

    def _take(self, data: bytes, info: Any) -> None:
        now = time.monotonic_ns()
        # The middleware's time is by the wall clock, which is some constant away from the monotonic one.
        published = (info.get("source_timestamp") or 0) - time.time_ns() + time.monotonic_ns()
        with self._changed:
            self._masks.append([stamp_of(data), now, published, info.get("publication_sequence_number")])
            self._last = now

    def _take_facts(self, message: DiagnosticArray) -> None:
        with self._changed:
            self._facts = {pair.key: pair.value for pair in message.status[0].values}
            self._facts_at = time.monotonic_ns()
            self._changed.notify_all()

    def collect(self, count: int, idle: float) -> list[list[int | None]]:
        """The masks since the last call, once they are `count` or none came for `idle` seconds.

        For each its stamp, arrival, publication and number.
        """
        start = time.monotonic()
        while len(self._masks) < count and (now := time.monotonic()) < start + LIMIT_SECONDS:
            end = max(start, self._last / NANO) + idle
            if now >= end:
                break
            time.sleep(min(0.05, end - now))
        with self._changed:
            masks, self._masks = self._masks, []
        return masks

    def facts(self) -> dict[str, str]:
        """The diagnostics published after this call."""
        asked = time.monotonic_ns()
        with self._changed:
            self._changed.wait_for(lambda: self._facts_at > asked, 10.0)
            return self._facts


def main() -> None:
    def commands(node: Node) -> dict[str, Command]:
        monitor = Monitor(node)
        return {name: getattr(monitor, name) for name in ("listen", "silence", "collect", "facts")}

    serve("monitor", commands)


if __name__ == "__main__":
    main()
