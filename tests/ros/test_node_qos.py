"""QoS that matches and QoS that does not, which is said in the log with what to set."""

from __future__ import annotations

import pytest

from tests.ros.processes import Domain, Process
from tests.ros.segmenting import SIZE, Talk, frame_message, start_node

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def lenient(module_domain: Domain) -> Process:
    return start_node(module_domain, "--name", "lenient", image="/lenient_camera/image")


@pytest.fixture(scope="module")
def strict(module_domain: Domain) -> Process:
    flags = ("--image-reliability", "reliable", "--output-reliability", "best_effort")
    return start_node(module_domain, *flags, "--name", "strict", image="/strict_camera/image")


@pytest.fixture(scope="module")
def talks(module_domain: Domain, lenient: Process, strict: Process) -> dict[str, Talk]:
    peer = module_domain.peer("chooser")
    return {name: Talk(peer, f"/{name}_camera/image", f"/{name}") for name in ("lenient", "strict")}


@pytest.mark.parametrize(
    ("name", "camera", "listener"),
    [
        ("lenient", "best_effort", "reliable"),
        ("lenient", "reliable", "reliable"),
        ("lenient", "reliable", "best_effort"),
        ("strict", "reliable", "best_effort"),
    ],
)
def test_what_matches(talks: dict[str, Talk], name: str, camera: str, listener: str) -> None:
    talk = talks[name]
    talk.offer(reliability=camera)
    talk.listen("mask", reliability=listener)
    talk.await_first()
    mask = talk.answers(frame_message(4))
    assert (mask.height, mask.width) == SIZE
    ends = talk.peer.call("endpoints", topic=talk.topic, publishers=1, subscriptions=1)
    asked = {"lenient": "best_effort", "strict": "reliable"}[name]
    assert [end["reliability"] for end in ends["subscriptions"]] == [asked]
    for topic in (talk.topic, f"{talk.node}/mask"):
        talk.peer.call("close", topic=topic)


def test_a_camera_that_offers_less_is_reported_with_what_to_set(talks: dict[str, Talk], strict: Process) -> None:
    talk = talks["strict"]
    talk.peer.call("advertise", topic=talk.topic, kind="sensor_msgs/msg/Image", reliability="best_effort")
    line = strict.wait_for("do not match this subscription's QoS")
    assert line.startswith("[WARN]") and "/strict_camera/image: 1 publisher(s)" in line
    assert "reliability is less than asked for (reliability reliable" in line
    assert "image_reliability" in line
    assert talk.peer.call("wait_subscribers", topic=talk.topic, count=1, seconds=0) == 0


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("strict", {"reliability": "reliable"}, "ask for more reliability than is offered (best_effort, volatile)"),
        ("lenient", {"durability": "transient_local"}, "ask for more durability than is offered (reliable, volatile)"),
    ],
)
def test_a_listener_that_asks_for_more_is_reported(
    talks: dict[str, Talk], lenient: Process, strict: Process, name: str, asked: dict[str, str], said: str
) -> None:
    talk, node = talks[name], {"lenient": lenient, "strict": strict}[name]
    talk.peer.call("subscribe", topic=f"/{name}/confidence", kind="sensor_msgs/msg/Image", **asked)
    line = node.wait_for(said)
    assert line.startswith("[WARN]") and f"/{name}/confidence: 1 subscriber(s)" in line


def test_the_nodes_own_camera_info_is_not_taken_for_the_cameras(domain: Domain) -> None:
    node = start_node(domain, "--name", "front", image="/front/image")
    line = node.wait_for("no CameraInfo")
    assert "/front/camera_info is this node's own output: name another with camera_info" in line


def test_a_topic_of_another_type_is_reported(domain: Domain) -> None:
    node = start_node(domain, image="/chatter")
    peer = domain.peer("talker")
    peer.call("advertise", topic="/chatter", kind="sensor_msgs/msg/CompressedImage")
    line = node.wait_for("/chatter carries sensor_msgs/msg/CompressedImage")
    assert "expected sensor_msgs/msg/Image: name another topic, or the one that ends in /compressed, with image" in line
