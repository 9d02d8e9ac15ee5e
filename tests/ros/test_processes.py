"""The harness itself: two peers, and a process that is ended in every way."""

from __future__ import annotations

import base64
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from rtseg.messages import records as messages
from tests.messages.pictures import digest, pixels
from tests.ros.processes import Domain, Process

pytestmark = pytest.mark.ros


def test_pictures_arrive_in_order_with_equal_bytes(domain: Domain) -> None:
    sender, receiver = domain.peer("sender"), domain.peer("receiver")
    sender.call("advertise", topic="/camera", kind=messages.IMAGE, reliability="reliable", depth=50)
    receiver.call("subscribe", topic="/camera", kind=messages.IMAGE, reliability="reliable", depth=50, keep=50)
    assert sender.call("wait_subscribers", topic="/camera") == 1
    assert receiver.call("wait_publishers", topic="/camera") == 1
    size = {"height": 480, "width": 640}
    sent = sender.call(
        "publish_images", topic="/camera", **size, count=50, rate=100, padding=8, stamp_ns=7_000_000_000, first=3
    )
    received = receiver.call("received", topic="/camera", count=50)
    assert [each["index"] for each in sent] == list(range(3, 53))
    assert [each["sha256"] for each in received] == [each["sha256"] for each in sent]
    assert [each["stamp_ns"] for each in received] == [7_000_000_000 + index for index in range(3, 53)]
    assert np.diff([each["sequence"] for each in received]).tolist() == [1] * 49
    assert {each["frame_id"] for each in received} == {"camera"}
    assert all(there["time_ns"] < here["time_ns"] for there, here in zip(sent, received, strict=True))
    tenth = receiver.message("/camera", messages.IMAGE, 10)
    expected = pixels(13, 480, 640, padding=8)
    assert (tenth.step, tenth.width, tenth.encoding) == (1928, 640, "bgr8")
    assert np.array_equal(tenth.data, expected.reshape(-1)) and sent[10]["sha256"] == digest(expected)


def test_incompatible_qos_is_reported_on_both_sides(domain: Domain) -> None:
    sender, receiver = domain.peer("sender"), domain.peer("receiver")
    sender.call("advertise", topic="/camera", kind=messages.IMAGE, reliability="best_effort")
    receiver.call("subscribe", topic="/camera", kind=messages.IMAGE, reliability="reliable")
    assert sender.call("wait_incompatible", topic="/camera") == ["RELIABILITY"]
    assert receiver.call("wait_incompatible", topic="/camera") == ["RELIABILITY"]
    assert sender.call("wait_subscribers", topic="/camera", count=1, seconds=0) == 0
    ends = receiver.call("endpoints", topic="/camera", publishers=1, subscriptions=1)
    assert [(end["node"], end["reliability"]) for end in ends["publishers"]] == [("/sender", "best_effort")]
    assert [(end["node"], end["reliability"]) for end in ends["subscriptions"]] == [("/receiver", "reliable")]
    assert receiver.call("topics")["/camera"] == ["sensor_msgs/msg/Image"]


def test_bytes_that_are_no_message_are_passed_on(domain: Domain) -> None:
    sender, receiver = domain.peer("sender"), domain.peer("receiver")
    latched = {"reliability": "reliable", "durability": "transient_local"}
    sender.call("advertise", topic="/info", kind=messages.CAMERA_INFO, **latched)
    sender.call("publish", topic="/info", data=base64.b64encode(b"\x00\x01\x00\x00abcd").decode())
    receiver.call("subscribe", topic="/info", kind=messages.CAMERA_INFO, **latched)
    (message,) = receiver.call("received", topic="/info")
    assert (message["size"], message["stamp_ns"], message["sha256"]) == (8, None, digest(b"\x00\x01\x00\x00abcd"))


def test_what_a_peer_cannot_do_is_an_error_with_its_reason(domain: Domain) -> None:
    peer = domain.peer("alone")
    with pytest.raises(AssertionError, match="alone subscribe: ModuleNotFoundError: No module named 'nowhere'"):
        peer.call("subscribe", topic="/x", kind="nowhere/msg/Nothing")
    with pytest.raises(AssertionError, match="alone received: KeyError: '/x'"):
        peer.call("received", topic="/x")


def test_a_killed_peer_leaves_no_shared_memory(domain: Domain) -> None:
    peer = domain.peer("victim")
    peer.call("advertise", topic="/camera", kind=messages.IMAGE)
    mapped = Path(f"/proc/{peer.child.pid}/maps").read_text().split()
    files = [Path(name) for name in mapped if re.match(r"/dev/shm/fastdds_[0-9a-f]{16}", name)]
    assert files, "LARGE_DATA goes through shared memory"
    files += [file.with_name(f"{file.name}_el") for file in files]
    assert peer.stop(signal.SIGKILL) == -signal.SIGKILL
    assert any(file.exists() for file in files)
    domain.close()
    assert not any(file.exists() for file in files)


STUBBORN = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready")
sys.stdin.read()
signal.pause()
"""


def test_lines_are_waited_for_and_a_process_that_will_not_end_is_killed() -> None:
    with Process(["-u", "-c", STUBBORN], {}) as process:
        assert process.wait_for("ready") == "ready"
        with pytest.raises(AssertionError, match=r"no line with 'steady': not within 0.1 s; it wrote:\n  ready"):
            process.wait_for("steady", seconds=0.1)
        with pytest.raises(AssertionError, match=r"still running after 0.1 s"):
            process.stop(signal.SIGINT, seconds=0.1)
        assert process.child.returncode == -signal.SIGKILL
    with Process(["-c", "raise SystemExit(5)"], {}) as process:
        with pytest.raises(AssertionError, match="no line with 'ready': it ended with 5; it wrote:\n  nothing"):
            process.wait_for("ready")
        assert process.wait() == 5


LAST_WORDS = """
import time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped")
"""


def test_an_interrupted_process_says_its_last_words() -> None:
    with Process(["-c", LAST_WORDS], {}) as process:
        process.wait_for("ready")
        assert process.stop(signal.SIGINT) == 0
        assert process.stdout == ["ready", "stopped"] and process.child.args[0] == sys.executable
