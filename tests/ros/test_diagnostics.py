"""What the node says of itself, of counts that are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from rtseg.backends.null import NullBackend
from rtseg.messages import records as messages
from rtseg.ros import diagnostics as module
from rtseg.ros.diagnostics import SILENT_SECONDS, Diagnostics, latencies
from rtseg.ros.subscriber import Subscriber
from rtseg.segmenter.host import HostSegmenter
from rtseg.timing import Recorder, Rolling, Samples
from tests.ros.segmenting import frame_message


@dataclass
class Rig:
    """Diagnostics of an intake that is real, and of a pipeline and a publisher that are their counts alone."""

    now: float = 100.0
    intake: Subscriber = field(default_factory=lambda: Subscriber("/camera/image"))
    recorder: Recorder = field(default_factory=Recorder)
    publisher: Any = field(default_factory=lambda: SimpleNamespace(published=0, to_mask=Rolling(1024)))

    def __post_init__(self) -> None:
        self.pipeline: Any = SimpleNamespace(
            recorder=self.recorder, capture=SimpleNamespace(drops=0), delivery=SimpleNamespace(drops=0),
            segmenter=HostSegmenter(NullBackend()),
        )  # fmt: skip
        self.made = Diagnostics("/segmentation", self.intake, self.pipeline, self.publisher)

    def status(
        self, *, active: bool = True, kinds: tuple[str, ...] = (messages.IMAGE,), failure: str | None = None
    ) -> tuple[int, str]:
        status = self.array(active=active, kinds=kinds, failure=failure).status[0]
        return int(status.level), str(status.message)

    def array(self, **state: Any) -> Any:
        state = {"active": True, "kinds": [messages.IMAGE], "failure": None, **state}
        return messages.decode(messages.DIAGNOSTICS, self.made.message(**state))

    def values(self) -> dict[str, str]:
        return {each.key: each.value for each in self.array().status[0].values}


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    made: list[Rig] = []
    monkeypatch.setattr(module.time, "monotonic", lambda: made[0].now if made else 100.0)
    made.append(Rig())
    return made[0]


def test_every_message_is_in_one_count(rig: Rig) -> None:
    for sequence in (1, 2, 5):
        rig.intake.put(frame_message(0), b"a", sequence)
    rig.intake.skip(b"a", 6)
    rig.intake.bad["zero size"] = 3
    rig.intake.bad["short data"] = 1
    rig.pipeline.capture.drops, rig.pipeline.delivery.drops = 7, 2
    rig.recorder.to_overlay.add(1)
    rig.publisher.published = 1
    values = rig.values()
    expected = {
        "input": "/camera/image", "received": "3", "processed": "1", "published": "1", "lost on the way": "2",
        "replaced by newer ones": "9", "dropped before publishing": "2", "dropped": "13",
        "came while nobody wanted them": "1", "bad messages": "4", "bad: short data": "1", "bad: zero size": "3",
        "model": "null", "backend": "null cpu fp32",
    }  # fmt: skip
    assert {key: values[key] for key in expected} == expected


def test_rates_are_those_since_the_last_report(rig: Rig) -> None:
    for expected_in, expected_out in ((4, 2), (0, 0)):
        for _ in range(expected_in):
            rig.intake.put(frame_message(0))
        for _ in range(expected_out):
            rig.recorder.to_overlay.add(1)
        rig.now += 2.0
        values = rig.values()
        assert (float(values["input rate (Hz)"]), float(values["output rate (Hz)"])) == (
            expected_in / 2,
            expected_out / 2,
        )


def test_percentiles_come_with_samples_enough() -> None:
    window = Rolling(1024)
    assert latencies("x", window) == {"x, samples": 0}
    for milliseconds in range(1, 101):
        window.add(0, milliseconds * 1_000_000)
    assert latencies("x", window) == {"x, samples": 100, "x, p50 (ms)": 50.0}
    for milliseconds in range(101, 1001):
        window.add(0, milliseconds * 1_000_000)
    found = latencies("x", window)
    assert (found["x, p50 (ms)"], found["x, p95 (ms)"], found["x, p99 (ms)"]) == (500.0, 950.0, 990.0)


def test_the_verdict_is_the_worst_that_is_true(rig: Rig) -> None:
    assert rig.status() == (module.OK, "segmenting")
    assert rig.status(active=False) == (module.OK, "inactive")
    assert rig.status(failure="the network broke") == (module.ERROR, "the network broke")
    rig.intake.bad["zero size"] = 2
    rig.intake.lost = 1
    assert rig.status() == (module.WARN, "3 message(s) lost on the way or bad since the last report")
    assert rig.status() == (module.OK, "segmenting")


def test_silence_is_a_warning_until_a_message_comes(rig: Rig) -> None:
    rig.status()
    rig.now += SILENT_SECONDS + 1
    two = (messages.IMAGE, messages.IMAGE)
    assert rig.status(kinds=two) == (module.WARN, "no message on /camera/image for 6 s from 2 publisher(s)")
    assert rig.status(kinds=("std_msgs/msg/String",)) == (
        module.WARN,
        "/camera/image carries std_msgs/msg/String, expected sensor_msgs/msg/Image: name another topic with image",
    )
    rig.intake.skip()
    assert rig.status() == (module.OK, "segmenting")
    rig.now += SILENT_SECONDS + 1
    assert rig.status(active=False) == (module.OK, "inactive")
    assert rig.status() == (module.OK, "segmenting"), "it has just become active"


def test_the_array_names_node_and_device(rig: Rig) -> None:
    array = rig.array()
    (status,) = array.status
    assert (status.name, status.hardware_id) == ("/segmentation", "null cpu")
    assert messages.stamp_ns(array) > 1_600_000_000 * 10**9 and array.header.frame_id == ""
    assert isinstance(rig.recorder.to_overlay, Samples)
