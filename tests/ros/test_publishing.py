"""Results to topics: what is asked of the loop, what is published, and in which order."""

from __future__ import annotations

import time

import numpy as np
import pytest

from rtseg.frame import Frame, Header, Result
from rtseg.geometry import fit
from rtseg.messages import records as messages
from rtseg.packages.spec import ModelSpec
from rtseg.ros import publishing
from rtseg.ros.outputs import OUTPUTS, Outputs
from rtseg.ros.publishing import NEEDS, ResultPublisher, made_up_header
from rtseg.sinks import NEEDS as KNOWN

SPEC = ModelSpec(name="toy", classes=("road", "car"))
IMAGE = np.zeros((4, 6, 3), np.uint8)
LABELS = np.arange(24, dtype=np.uint8).reshape(4, 6) % 2


class Recorded:
    """Topics that keep what is published; `listeners` are those that somebody listens to."""

    def __init__(self, *listeners: str) -> None:
        self.listeners = frozenset(listeners)
        self.published: list[tuple[str, bytes]] = []

    def listened(self) -> frozenset[str]:
        return self.listeners

    def publish(self, topic: str, data: bytes) -> None:
        self.published.append((topic, data))


def publisher(topics: Recorded) -> ResultPublisher:
    return ResultPublisher(topics, Outputs(SPEC, lambda size: fit(size, size)))


def result(header: Header | None = None, t_capture: int = 0, **fields: object) -> Result:
    return Result(Frame(0, t_capture, None, 12.5, IMAGE, header), LABELS, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listeners", "wanted"),
    [
        ((), set()),
        (("mask",), {"labels"}),
        (("overlay/compressed",), {"overlay"}),
        (("mask", "areas", "confidence"), {"labels", "areas", "confidence"}),
        (("free_space", "obstacles", "camera_info"), {"labels"}),
        (("unknown",), set()),
    ],
)
def test_the_loop_makes_what_the_listeners_need(listeners: tuple[str, ...], wanted: set[str]) -> None:
    topics = Recorded(*listeners)
    sink = publisher(topics)
    assert sink.wanted == wanted and sink.needs >= wanted
    topics.listeners = frozenset({"overlay"})
    assert sink.wanted == {"overlay"}, "asked anew for each frame"


def test_it_needs_what_its_outputs_do() -> None:
    assert frozenset({"labels", "confidence", "areas", "overlay"}) == NEEDS
    assert set(KNOWN) >= NEEDS and len({output.topic for output in OUTPUTS}) == len(OUTPUTS)


def test_masks_go_first_with_the_pictures_header_and_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = Recorded("overlay", "mask", "areas")
    sink = publisher(topics)
    monkeypatch.setattr(publishing.time, "monotonic_ns", lambda: 5_000_000)
    with sink:
        header = Header("/camera", 77, "front", 77)
        sink.write(result(header, 3_000_000, overlay=IMAGE, areas=np.array([0.5, 0.5])))
    assert [topic for topic, _ in topics.published] == ["mask", "areas", "overlay"]
    mask = messages.decode(messages.IMAGE, topics.published[0][1])
    assert (messages.stamp_ns(mask), mask.header.frame_id) == (77, "front")
    np.testing.assert_array_equal(mask.data.reshape(4, 6), LABELS)
    assert (len(sink.to_mask), sink.to_mask.latency_ms(50), sink.published) == (1, 2.0, 1)


def test_a_result_that_nobody_listens_to_is_not_counted() -> None:
    topics = Recorded()
    sink = publisher(topics)
    sink.write(result())
    topics.listeners = frozenset({"overlay"})
    sink.write(result())
    assert (topics.published, sink.published, len(sink.to_mask)) == ([], 0, 0), "there is no overlay in it"


def test_a_frame_without_a_header_has_its_wall_clock() -> None:
    frame = Frame(0, 0, None, 12.5, IMAGE)
    assert made_up_header(frame) == Header("", 12_500_000_000, "camera", 12_500_000_000)
    before = time.time_ns()
    now = made_up_header(Frame(0, 0, None, None, IMAGE)).stamp_ns
    assert before <= now <= time.time_ns()
