"""The node as a lifecycle manager sees it."""

from __future__ import annotations

import signal

import pytest

from rtseg.messages import records as messages
from tests.ros.processes import Domain, Process
from tests.ros.segmenting import NODE, SIZE, TOPIC, Talk, frame_message, start_node

pytestmark = pytest.mark.ros


@pytest.fixture
def node(domain: Domain) -> Process:
    return start_node(domain, "--no-autostart", "--diagnostics-period", "0.1")


def test_through_every_state_by_an_outside_manager(domain: Domain, node: Process) -> None:
    talk = Talk(domain.peer("manager"))

    def change(transition: str) -> tuple[bool, str]:
        done = talk.peer.call("change_state", node=NODE, transition=transition)
        return done, talk.peer.call("get_state", node=NODE)

    assert talk.peer.call("get_state", node=NODE) == "unconfigured"
    talk.peer.call("advertise", topic=TOPIC, kind=messages.IMAGE, reliability="reliable")

    # A model that does not exist: the reason is logged, and the node can be set right.
    assert talk.peer.call("set_parameters", node=NODE, values={"model": "unet-fast1-camvid"}) == {"model": None}
    assert change("configure") == (False, "unconfigured")
    line = node.wait_for("unet-fast1-camvid")
    assert line.startswith("[ERROR]") and "unet-fast0-camvid" in line, "the nearest name is said"
    assert f"{NODE}/mask" not in talk.peer.call("topics")
    assert talk.peer.call("set_parameters", node=NODE, values={"model": "unet-fast0-camvid"}) == {"model": None}

    assert change("configure") == (True, "inactive")
    assert talk.peer.call("wait_subscribers", topic=TOPIC, count=0) == 0
    talk.listen("mask")
    talk.listen("diagnostics", messages.DIAGNOSTICS)
    assert talk.diagnostics()["message"] == "inactive"

    for _ in range(2):
        assert change("activate") == (True, "active")
        assert talk.peer.call("wait_subscribers", topic=TOPIC, count=1) == 1
        talk.await_first()
        mask = talk.answers(frame_message(1))
        assert (mask.height, mask.width) == SIZE
        assert change("deactivate") == (True, "inactive")
        assert talk.peer.call("wait_subscribers", topic=TOPIC, count=0) == 0
        for index in range(5):
            talk.send(frame_message(index))
    values = talk.diagnostics()
    assert (values["lost on the way"], values["dropped"]) == ("0", "0"), "what came while it was inactive is no loss"

    assert change("cleanup") == (True, "unconfigured")
    assert talk.peer.call("wait_publishers", topic=f"{NODE}/mask", count=0) == 0
    assert talk.peer.call("set_parameters", node=NODE, values={"mask_size": "network"}) == {"mask_size": None}
    assert change("configure") == (True, "inactive")
    assert change("activate") == (True, "active")
    assert talk.peer.call("wait_publishers", topic=f"{NODE}/mask", count=1) == 1
    talk.await_first()
    assert (talk.answers(frame_message(2)).height) > SIZE[0], "the network's size is larger than the picture"

    assert change("shutdown") == (True, "finalized")
    assert talk.peer.call("wait_publishers", topic=f"{NODE}/mask", count=0) == 0
    assert node.stop(signal.SIGINT) == 0
    assert not any("Traceback" in line for line in node.stderr)
