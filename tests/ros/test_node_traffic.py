"""What arrives, what is lost and what nobody wants, to the message; damaged messages; processes that die."""

from __future__ import annotations

import re
import signal
import struct

import numpy as np
import pytest

from rtseg.messages import records as messages
from tests.ros.processes import Domain, Process
from tests.ros.segmenting import SIZE, TOPIC, Talk, frame_message, start_node

pytestmark = pytest.mark.ros
RELIABLE = ("--image-reliability", "reliable", "--image-depth", "1000", "--output-depth", "1000")
QUICK = ("--diagnostics-period", "0.1")


def counts(values: dict[str, str]) -> dict[str, int]:
    return {key: int(value) for key, value in values.items() if re.fullmatch(r"\d+", value)}


def quiet(talk: Talk) -> dict[str, int]:
    """The counts once every message that came has been dealt with."""

    def done(values: dict[str, str]) -> bool:
        n = counts(values)
        return n["received"] == n["processed"] + n["replaced by newer ones"] + n["bad messages"]

    return counts(talk.diagnostics(done))


@pytest.fixture(scope="module")
def node(module_domain: Domain) -> Process:
    return start_node(module_domain, *RELIABLE, *QUICK)


@pytest.fixture(scope="module")
def talk(module_domain: Domain, node: Process) -> Talk:
    made = Talk(module_domain.peer("traffic"))
    made.offer(depth=1000)
    made.listen("diagnostics", messages.DIAGNOSTICS)
    return made


def test_nothing_is_computed_until_somebody_listens_and_that_is_no_drop(talk: Talk) -> None:
    for index in range(7):
        talk.send(frame_message(index))
    before = counts(talk.diagnostics(lambda values: values["came while nobody wanted them"] == "7"))
    assert [before[key] for key in ("received", "processed", "published", "dropped")] == [0] * 4
    talk.listen("mask")
    talk.await_first()
    seen = quiet(talk)
    sent = seen["received"] + seen["came while nobody wanted them"]
    assert seen["processed"] == seen["published"] == seen["received"] >= 2
    assert (seen["dropped"], seen["lost on the way"]) == (0, 0)
    assert talk.came("mask")[-1]["stamp_ns"] == 0
    talk.peer.call("close", topic="/segmentation/mask")
    assert sent >= 9


def test_500_frames_in_order(talk: Talk) -> None:
    talk.listen("mask", depth=600)
    talk.await_first()
    before, first = quiet(talk), len(talk.came("mask"))
    for index in range(500):
        talk.send(frame_message(index, stamp_ns=10_000 + index))
        talk.came("mask", first + index + 1)
    records = talk.came("mask")[first:]
    assert [each["stamp_ns"] for each in records] == list(range(10_000, 10_500))
    assert np.diff([each["sequence"] for each in records]).tolist() == [1] * 499
    after = quiet(talk)
    assert {key: after[key] - before[key] for key in after if after[key] != before[key] and "sample" not in key} == {
        "received": 500, "processed": 500, "published": 500,
    }  # fmt: skip


BIG_ENDIAN = messages.decode(messages.IMAGE, frame_message(1, encoding="mono16"))
BIG_ENDIAN.is_bigendian = 1
GOOD = frame_message(9)
NOISE = np.random.default_rng(1)


def damaged(height: int = 4, width: int = 5, encoding: str = "bgr8", rows: int = 4, step: int = 15) -> bytes:
    return messages.encode_with(
        messages.IMAGE, np.zeros(rows * step, np.uint8), header=messages.header(1, "c"), height=height, width=width,
        encoding=encoding, is_bigendian=0, step=step,
    )  # fmt: skip


BAD = {
    "short data": [damaged(rows=3), damaged(rows=0), damaged(height=2**31)],
    "zero size": [damaged(height=0), damaged(width=0)],
    "wrong step": [damaged(step=14)],
    "unknown encoding": [damaged(encoding="bgr9"), damaged(encoding=""), damaged(encoding="32FC1")],
    "odd size": [damaged(encoding="uyvy")],
    "big-endian": [messages.encode(messages.IMAGE, BIG_ENDIAN)],
    "not a message": [
        GOOD[: len(GOOD) // 2],
        GOOD[:30],
        GOOD[:4],
        b"\x00\x01\x00\x00" + NOISE.integers(0, 256, 400, np.uint8).tobytes(),
        b"\x00\x01\x00\x00" + struct.pack("<iII", 1, 2, 2**32 - 1),
        NOISE.integers(0, 256, 64, np.uint8).tobytes(),
        b"\x00",
    ],
}


def test_damaged_messages_are_counted_by_kind_and_logged_once(talk: Talk, node: Process) -> None:
    talk.peer.call("close", topic="/segmentation/mask")
    talk.listen("mask")
    talk.await_first()
    before = quiet(talk)
    assert before["bad messages"] == 0
    expected: dict[str, int] = {}
    for repeat in range(2):
        for kind, variants in BAD.items():
            for data in variants[repeat:]:
                talk.send(data)
                expected[f"bad: {kind}"] = expected.get(f"bad: {kind}", 0) + 1
                # One waits while newer ones come: each has to be looked at before the next.
                total = str(sum(expected.values()))
                talk.diagnostics(lambda values, total=total: values["bad messages"] == total)
        mask = talk.answers(frame_message(50, stamp_ns=900 + repeat))
        assert (mask.height, mask.width) == SIZE
    after = quiet(talk)
    found = {key: count for key, count in after.items() if key.startswith("bad: ")}
    assert found == expected
    assert after["received"] - before["received"] == after["bad messages"] + 2 == sum(expected.values()) + 2
    lines = [line for line in node.stderr if "message left out" in line]
    assert len(lines) == len(BAD), lines
    assert all(line.startswith("[WARN]") and TOPIC in line for line in lines)
    assert not any("Traceback" in line for line in node.stderr)


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_a_burst_at_200_hz_is_accounted_for_to_the_message(domain: Domain, reliability: str) -> None:
    flags = RELIABLE if reliability == "reliable" else ("--output-depth", "1000")
    node = start_node(domain, *QUICK, *flags, "--visualize", "split,mask,contour", "--legend")
    talk = Talk(domain.peer("burst"))
    talk.offer(depth=1000)
    talk.listen("diagnostics", messages.DIAGNOSTICS)
    talk.listen("mask", depth=1000)
    talk.listen("overlay", depth=10, keep=1)
    talk.await_first()
    before, masks = quiet(talk), len(talk.came("mask"))
    height, width = 480, 640
    picture = {"topic": TOPIC, "height": height, "width": width, "distinct": False}
    sent = talk.peer.call("publish_images", **picture, count=200, rate=200, first=1000)
    assert len(sent) == 200
    # A message that comes later tells of all before it that did not come.
    talk.answers(frame_message(1, stamp_ns=5000))
    after = quiet(talk)
    new = {key: after[key] - before.get(key, 0) for key in after}
    assert new["received"] + new["lost on the way"] == 201
    assert new["processed"] + new["replaced by newer ones"] + new["lost on the way"] == 201
    assert new["dropped"] == new["lost on the way"] + new["replaced by newer ones"] + new["dropped before publishing"]
    assert new["published"] + new["dropped"] == 201
    assert new["replaced by newer ones"] > 0, "a burst that the node keeps up with shows nothing"
    if reliability == "reliable":
        assert new["lost on the way"] == 0
    stamps = [each["stamp_ns"] for each in talk.came("mask", masks + new["published"])[masks:]]
    assert len(stamps) == new["published"]
    assert stamps == sorted(set(stamps)) and set(stamps) <= {*range(1000, 1200), 5000}
    assert node.stop(signal.SIGINT) == 0


@pytest.mark.slow
def test_a_killed_node_comes_back_while_the_publisher_goes_on(domain: Domain) -> None:
    first = start_node(domain, *RELIABLE, *QUICK)
    talk = Talk(domain.peer("steady"))
    talk.offer(depth=1000)
    talk.listen("mask", depth=1000)
    talk.listen("diagnostics", messages.DIAGNOSTICS)
    traffic = talk.peer.begin("publish_images", topic=TOPIC, height=SIZE[0], width=SIZE[1], count=700, rate=100)
    talk.came("mask", 20)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    start_node(domain, *RELIABLE, *QUICK)
    died = len(talk.came("mask"))
    again = talk.came("mask", died + 20)
    stamps = [each["stamp_ns"] for each in again]
    assert len(stamps) >= died + 20 and stamps == sorted(set(stamps))
    traffic.result(60)
    before = quiet(talk)
    assert before["lost on the way"] == 0
    assert before["published"] == len(talk.came("mask", died + before["published"])) - died
    for index in range(10):
        talk.answers(frame_message(index, stamp_ns=10_000 + index))
    after = quiet(talk)
    assert (after["processed"] - before["processed"], after["dropped"] - before["dropped"]) == (10, 0)
