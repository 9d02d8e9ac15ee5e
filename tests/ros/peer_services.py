"""What a peer asks of other nodes: their parameters, their lifecycle, and what the graph says of them."""

from __future__ import annotations

import threading
import time
from typing import Any

from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient

LIMIT = 20.0
"""Seconds for a service to appear and to answer."""


class Services:
    """Commands of a peer; `node` is the name of the other one, with its namespace."""

    def __init__(self, own: Node) -> None:
        self._own = own
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = threading.Lock()

    def _parameters(self, node: str) -> AsyncParameterClient:
        with self._making:
            client = self._clients.get((node, "parameters"))
            if client is None:
                client = self._clients[node, "parameters"] = AsyncParameterClient(self._own, node)
        if not client.wait_for_services(LIMIT):
            raise TimeoutError(f"no parameter services of {node}")
        return client

    @staticmethod
    def _answer(future: Any) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(LIMIT):
            raise TimeoutError(f"no answer within {LIMIT} s")
        return future.result()

    def get_parameters(self, node: str, names: list[str]) -> dict[str, Any]:
        """The values, null where a parameter is not set."""
        values = self._answer(self._parameters(node).get_parameters(names)).values
        return {name: plain(parameter_value_to_python(value)) for name, value in zip(names, values, strict=True)}

    def set_parameters(self, node: str, values: dict[str, Any]) -> dict[str, str | None]:
        """For each parameter null where it was set, and else the reason."""
        wanted = [Parameter(name, value=value) for name, value in values.items()]
        results = self._answer(self._parameters(node).set_parameters(wanted)).results
        return {name: None if each.successful else each.reason for name, each in zip(values, results, strict=True)}

    def list_parameters(self, node: str) -> list[str]:
        return sorted(self._answer(self._parameters(node).list_parameters()).result.names)

    def describe_parameters(self, node: str, names: list[str]) -> dict[str, dict[str, Any]]:
        """For each its type's name, description, constraints, whether it is read-only, and its range or null."""
        found = self._answer(self._parameters(node).describe_parameters(names)).descriptors
        return {
            each.name: {
                "type": Parameter.Type(each.type).name.lower(),
                "description": each.description,
                "constraints": each.additional_constraints,
                "read_only": each.read_only,
                "range": next(
                    ([span.from_value, span.to_value] for span in (*each.integer_range, *each.floating_point_range)),
                    None,
                ),
            }
            for each in found
        }

    def _lifecycle(self, node: str, service: str, kind: Any, request: Any) -> Any:
        with self._making:
            client = self._clients.get((node, service))
            if client is None:
                client = self._clients[node, service] = self._own.create_client(kind, f"{node}/{service}")
        if not client.wait_for_service(LIMIT):
            raise TimeoutError(f"no service {node}/{service}")
        return self._answer(client.call_async(request))

    def change_state(self, node: str, transition: str) -> bool:
        """Whether the node went through "configure", "activate", "deactivate", "cleanup" or "shutdown"."""
        request = ChangeState.Request()
        request.transition.label = transition
        return bool(self._lifecycle(node, "change_state", ChangeState, request).success)

    def get_state(self, node: str) -> str:
        """ "unconfigured", "inactive", "active" or "finalized"."""
        return str(self._lifecycle(node, "get_state", GetState, GetState.Request()).current_state.label)

    def topics(self) -> dict[str, list[str]]:
        """The types of every topic."""
        return {name: list(types) for name, types in self._own.get_topic_names_and_types()}

    def endpoints(
        self, topic: str, publishers: int = 0, subscriptions: int = 0, seconds: float = LIMIT
    ) -> dict[str, list[dict[str, str]]]:
        """Who publishes and subscribes, once there are so many of each or the time is over.

        For each end its node, type, the type's hash, reliability and durability, in ROS's words.
        """
        end = time.monotonic() + seconds
        while True:
            found = {
                "publishers": [facts(each) for each in self._own.get_publishers_info_by_topic(topic)],
                "subscriptions": [facts(each) for each in self._own.get_subscriptions_info_by_topic(topic)],
            }
            enough = len(found["publishers"]) >= publishers and len(found["subscriptions"]) >= subscriptions
            # A topic's end may become known before the node that it is of.
            named = not any("UNKNOWN" in each["node"] for ends in found.values() for each in ends)
            if (enough and named) or time.monotonic() >= end:
                return found
            time.sleep(0.02)


def facts(end: Any) -> dict[str, str]:
    return {
        "node": f"{end.node_namespace.rstrip('/')}/{end.node_name}",
        "type": end.topic_type,
        "hash": str(end.topic_type_hash),
        "reliability": end.qos_profile.reliability.name.lower(),
        "durability": end.qos_profile.durability.name.lower(),
    }


def plain(value: Any) -> Any:
    """A parameter's value as JSON has it."""
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value
