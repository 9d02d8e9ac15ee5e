"""examples/ros_node.py over real DDS."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

import rtseg
from rtseg.messages import records as messages
from rtseg.messages.images import picture
from tests.ros.processes import Domain
from tests.ros.segmenting import SIZE, TOPIC, Talk, frame_message, labels_of, toy_model

pytestmark = pytest.mark.ros


def test_the_example_answers_pictures_with_masks_and_overlays(domain: Domain, tmp_path: Path) -> None:
    model = toy_model(tmp_path)
    run = domain.start("examples/ros_node.py", TOPIC, "--node", "street", "--model", str(model))
    talk = Talk(domain.peer("camera"), node="/street")
    talk.offer()
    talk.send(frame_message(0))  # the outputs are offered once the first picture has told its size
    talk.listen("mask")
    talk.listen("overlay")
    talk.await_first("mask")
    with rtseg.Segmenter(model) as segment:
        for index in range(1, 4):
            message = frame_message(index)
            image = picture(messages.decode(messages.IMAGE, message))
            np.testing.assert_array_equal(labels_of(talk.answers(message)), segment(image))
    overlay = talk.next("overlay", messages.IMAGE, 0)
    assert (overlay.height, overlay.width, overlay.encoding) == (*SIZE, "bgr8")
    assert run.stop(signal.SIGINT) == 0, run.written()
    assert run.stdout[-1].endswith(" dropped") and not any("Traceback" in line for line in run.stderr)
    failed = domain.start("examples/ros_node.py", "/no topic")
    assert failed.wait() == 1
    assert failed.stderr[-1].startswith("ros_node: ") and "/no topic" in failed.stderr[-1]
