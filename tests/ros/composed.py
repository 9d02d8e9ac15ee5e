"""A node that makes pictures and the segmentation node in one process and one executor: python -m tests.ros.composed

Pictures go from one to the other by `hand_over`; what each mask was is printed as a line of JSON.
"""

from __future__ import annotations

import json
from typing import Any

from rtseg.messages import records as messages
from rtseg.ros.node import SegmentationNode
from rtseg.ros.rcl import Session, qos, subscribe
from tests.messages.pictures import digest, pixels

SIZE = (32, 48)
FRAMES = 5


def main() -> None:
    masks: list[dict[str, Any]] = []
    with Session() as session, session.executor() as executor:
        segmentation = SegmentationNode(
            overrides={"backend": "null", "image": "/nobody/image"}, context=session.context
        )
        camera = session.node("camera")

        def take(data: bytes, *_: Any) -> None:
            mask = messages.decode(messages.IMAGE, data)
            facts = {"stamp_ns": messages.stamp_ns(mask), "frame_id": mask.header.frame_id}
            masks.append({**facts, "size": [mask.height, mask.width], "sha256": digest(mask.data)})

        subscribe(camera, "/segmentation/mask", messages.IMAGE, qos("reliable", 10), take)
        segmentation.trigger_configure()
        segmentation.trigger_activate()
        executor.add_node(segmentation)
        executor.add_node(camera)

        def produce() -> None:
            image = pixels(len(masks), *SIZE).reshape(*SIZE, 3)
            segmentation.hand_over(image, 1000 + len(masks), "mounted")

        camera.create_timer(0.05, produce)
        while len(masks) < FRAMES:
            executor.spin_once(timeout_sec=1)
        segmentation.destroy_node()
    print(json.dumps(masks[:FRAMES]))


if __name__ == "__main__":
    main()
