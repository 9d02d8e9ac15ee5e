"""The segmentation node beside another one in a process."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rtseg.backends.null import NullBackend
from rtseg.packages.spec import ModelSpec, find_package
from rtseg.segmenter.host import HostSegmenter
from tests.messages.pictures import digest
from tests.ros.composed import FRAMES, SIZE
from tests.ros.processes import Domain


@pytest.mark.ros
def test_pictures_are_handed_over_within_a_process(domain: Domain) -> None:
    process = domain.start("-m", "tests.ros.composed")
    masks = json.loads(process.wait_for("sha256", 60))
    assert process.wait() == 0, process.written()
    spec = find_package("unet-fast0-camvid").spec
    assert isinstance(spec, ModelSpec)
    with HostSegmenter(NullBackend(spec=spec)) as segmenter:
        expected = digest(segmenter(np.zeros((*SIZE, 3), np.uint8)))
    assert len(masks) == FRAMES
    assert {(each["frame_id"], *each["size"], each["sha256"]) for each in masks} == {("mounted", *SIZE, expected)}
    stamps = [each["stamp_ns"] for each in masks]
    assert stamps == sorted(stamps) and stamps[0] == 1000
    assert not any("Traceback" in line for line in process.stderr)


@pytest.mark.ros
def test_a_node_leaves_nothing_behind_in_its_process(domain: Domain) -> None:
    process = domain.start("-m", "tests.ros.leftovers")
    found = json.loads(process.wait_for("handlers", 60))
    assert process.wait() == 0, process.written()
    assert found["refused"].startswith("parameter alpha")
    assert found["handlers"] == [0, 0]
    assert found["held"][0] == found["held"][1] == found["held"][2]
