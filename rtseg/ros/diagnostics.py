"""What the node says of itself: rate, latency percentiles, and every message that was not used, by reason."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rtseg.messages.records import COMPRESSED_IMAGE
from rtseg.messages.status import ERROR, OK, WARN, diagnostics_bytes
from rtseg.pipeline.loop import Pipeline
from rtseg.ros.publishing import ResultPublisher
from rtseg.ros.subscriber import Subscriber
from rtseg.timing import FLOORS, Rolling

__all__ = ["Diagnostics", "wrong_kind"]

SILENT_SECONDS = 5.0
"""How long no message at all may come while the node is active before that is worth a warning."""


class Diagnostics:
    """Makes the diagnostics of a running node; each call reports rates since the last one."""

    def __init__(self, name: str, intake: Subscriber, pipeline: Pipeline, publisher: ResultPublisher) -> None:
        self._name, self._intake, self._pipeline, self._publisher = name, intake, pipeline, publisher
        self._then, self._received, self._used, self._unusable = time.monotonic(), 0, 0, 0
        self._came, self._last_message = 0, self._then

    def message(self, *, active: bool, kinds: Sequence[str], failure: str | None) -> bytes:
        """CDR of a DiagnosticArray; `kinds` are the message types of the image topic's publishers, one for each."""
        level, text = self._verdict(active, kinds, failure)
        intake, pipeline = self._intake, self._pipeline
        now, used = time.monotonic(), len(pipeline.recorder.to_overlay)
        passed = max(now - self._then, 1e-9)
        rates = (intake.received - self._received) / passed, (used - self._used) / passed
        self._then, self._received, self._used = now, intake.received, used
        backend = pipeline.segmenter.backend
        values: dict[str, str | float | int] = {
            "input": intake.topic,
            "input rate (Hz)": rates[0],
            "output rate (Hz)": rates[1],
            "received": intake.received,
            "processed": used,
            "published": self._publisher.published,
            "dropped": intake.lost + intake.replaced + pipeline.capture.drops + pipeline.delivery.drops,
            "lost on the way": intake.lost,
            "replaced by newer ones": intake.replaced + pipeline.capture.drops,
            "dropped before publishing": pipeline.delivery.drops,
            "came while nobody wanted them": intake.skipped,
            "bad messages": intake.bad.total(),
        }
        values.update({f"bad: {kind}": count for kind, count in sorted(intake.bad.items())})
        values.update(latencies("message to mask", self._publisher.to_mask))
        values["model"] = pipeline.segmenter.spec.name
        values["backend"] = f"{backend.name} {backend.device} {backend.precision}"
        return diagnostics_bytes(time.time_ns(), self._name, f"{backend.name} {backend.device}", level, text, values)

    def _verdict(self, active: bool, kinds: Sequence[str], failure: str | None) -> tuple[int, str]:
        intake, now = self._intake, time.monotonic()
        came = intake.received + intake.skipped
        if came != self._came or not active:
            self._came, self._last_message = came, now
        unusable = intake.bad.total() + intake.lost
        fresh, self._unusable = unusable - self._unusable, unusable
        if failure is not None:
            return ERROR, failure
        if not active:
            return OK, "inactive"
        if now - self._last_message > SILENT_SECONDS:
            silent = f"no message on {intake.topic} for {now - self._last_message:.0f} s from {len(kinds)} publisher(s)"
            return WARN, wrong_kind(intake, kinds) or silent
        if fresh:
            return WARN, f"{fresh} message(s) lost on the way or bad since the last report"
        return OK, "segmenting"


def wrong_kind(intake: Subscriber, kinds: Sequence[str]) -> str | None:
    """What to say where the image topic has publishers, and none of pictures of the kind that is subscribed to."""
    if not kinds or intake.kind in kinds:
        return None
    other = "another topic, or the one that ends in /compressed," if COMPRESSED_IMAGE in kinds else "another topic"
    return f"{intake.topic} carries {', '.join(sorted(set(kinds)))}, expected {intake.kind}: name {other} with image"


def latencies(what: str, window: Rolling) -> dict[str, str | float | int]:
    """The percentiles that the window has samples enough for, in milliseconds."""
    out: dict[str, str | float | int] = {f"{what}, samples": len(window)}
    for percent in (50, 95, 99):
        if len(window) >= FLOORS[percent]:
            out[f"{what}, p{percent} (ms)"] = window.latency_ms(percent)
    return out
