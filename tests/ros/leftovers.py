"""A segmentation node that is made, configured and cleaned up twice: python -m tests.ros.leftovers

A line of JSON says what it had of ROS before and after each time, and what was left in rtseg's log.
"""

from __future__ import annotations

import json
import logging

from rtseg.errors import ConfigError
from rtseg.ros.node import SegmentationNode
from rtseg.ros.rcl import Session


def main() -> None:
    log = logging.getLogger("rtseg")
    handlers = []
    with Session() as session:
        try:
            SegmentationNode(overrides={"alpha": 5.0}, context=session.context)
        except ConfigError as exc:
            refused = str(exc)
        handlers.append(len(log.handlers))
        node = SegmentationNode(overrides={"backend": "null"}, context=session.context)

        def entities() -> list[int]:
            return [len(list(kind)) for kind in (node.timers, node.publishers, node.subscriptions, node.waitables)]

        held = [entities()]
        for _ in range(2):
            for change in (
                node.trigger_configure,
                node.trigger_activate,
                node.trigger_deactivate,
                node.trigger_cleanup,
            ):
                assert change().name == "SUCCESS"
            held.append(entities())
        node.destroy_node()
        handlers.append(len(log.handlers))
    print(json.dumps({"refused": refused, "handlers": handlers, "held": held}))


if __name__ == "__main__":
    main()
