"""What a peer asks of a node in another process: parameters and lifecycle."""

from __future__ import annotations

import signal

import pytest

from tests.ros.processes import Domain

pytestmark = pytest.mark.ros

NODE = """
import signal
import rclpy
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.lifecycle import LifecycleNode
from rclpy.signals import SignalHandlerOptions

# With rclpy's own handlers one SIGTERM in ten ends in an RCLError, or in nothing.
signal.signal(signal.SIGTERM, signal.default_int_handler)
rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
node = LifecycleNode("segmenter", namespace="robot")
node.declare_parameter("alpha", 0.5, ParameterDescriptor(
    description="How much of the colour shows.", floating_point_range=[FloatingPointRange(to_value=1.0)]))
node.declare_parameter("hidden", ["Sky", "Tree"], ParameterDescriptor(read_only=True))
try:
    node.get_logger().info("ready")
    while True:
        rclpy.spin_once(node, timeout_sec=0.2)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_parameters_and_lifecycle_of_a_node(domain: Domain, number: int) -> None:
    process, peer = domain.start("-c", NODE), domain.peer("asker")
    process.wait_for("ready")
    node = "/robot/segmenter"
    assert {"alpha", "hidden"} < set(peer.call("list_parameters", node=node))
    assert peer.call("get_parameters", node=node, names=["alpha", "hidden"]) == {
        "alpha": 0.5,
        "hidden": ["Sky", "Tree"],
    }
    refused = peer.call("set_parameters", node=node, values={"alpha": 1.5, "hidden": ["Sky"]})
    assert "alpha" in refused["alpha"] and "read-only" in refused["hidden"]
    assert peer.call("set_parameters", node=node, values={"alpha": 0.25}) == {"alpha": None}
    assert peer.call("get_parameters", node=node, names=["alpha"]) == {"alpha": 0.25}
    described = peer.call("describe_parameters", node=node, names=["alpha", "hidden"])
    assert described["alpha"] == {
        "type": "double",
        "description": "How much of the colour shows.",
        "constraints": "",
        "read_only": False,
        "range": [0.0, 1.0],
    }
    assert (described["hidden"]["type"], described["hidden"]["read_only"]) == ("string_array", True)

    assert peer.call("get_state", node=node) == "unconfigured"
    assert not peer.call("change_state", node=node, transition="activate")
    for transition, state in [("configure", "inactive"), ("activate", "active"), ("deactivate", "inactive")]:
        assert peer.call("change_state", node=node, transition=transition)
        assert peer.call("get_state", node=node) == state
    assert process.stop(number) == 0
    assert process.stdout == ["stopped"]
