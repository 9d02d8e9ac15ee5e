"""`rtseg run` with a ROS topic as input, and with topics as output."""

from __future__ import annotations

import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.backends.null import NullBackend
from rtseg.messages import records as messages
from rtseg.packages.spec import ModelSpec, find_package
from rtseg.segmenter.host import HostSegmenter
from rtseg.sources.synthetic import SyntheticSource
from tests.ros.processes import Domain
from tests.ros.segmenting import (
    TOPIC,
    Talk,
    errors_of,
    expected_labels,
    frame_message,
    labels_of,
    toy_model,
    toy_segmenter,
)

pytestmark = pytest.mark.ros
SPEC = find_package("unet-fast0-camvid").spec
assert isinstance(SPEC, ModelSpec), "a package has a spec"


def test_a_topic_becomes_label_maps(domain: Domain, tmp_path: Path) -> None:
    model = toy_model(tmp_path)
    words = ["--backend", "onnxruntime", "--model", str(model), "--threads", "1", "--limit", "3"]
    quality = ["--input-reliability", "reliable", "--input-history", "50"]
    run = domain.start("-m", "rtseg", "run", f"ros:{TOPIC}", f"labels:{tmp_path}/out/%06d.png", *words, *quality)
    talk = Talk(domain.peer("camera"))
    talk.offer()
    pictures = [frame_message(index) for index in range(500)]
    sent = 0
    while sent < len(pictures) and run.child.poll() is None:
        talk.send(pictures[sent])
        sent += 1
        # The next picture comes when this one's map is there: a newer one would take its place.
        talk.peer.call("wait_subscribers", topic=TOPIC, count=-1, seconds=0.1)
    assert run.wait() == 0, run.written()
    made = sorted((tmp_path / "out").iterdir())
    assert len(made) == 3
    with toy_segmenter(model) as segmenter:
        expected = [expected_labels(segmenter, data).copy() for data in pictures[:sent]]
    for path in made:
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert sum(np.array_equal(labels, each) for each in expected) == 1


def test_a_clip_becomes_topics(domain: Domain) -> None:
    words = [
        "--backend",
        "null",
        "--live",
        "yes",
        "--length",
        "0",
        "--input-size",
        "48x64",
        "--input-rate",
        "20",
        "--short-side",
        "64",
    ]
    run = domain.start("-m", "rtseg", "run", "synthetic:drive", "ros:street", *words, "--output-history", "20")
    talk = Talk(domain.peer("viewer"), node="/street")
    talk.listen("mask")
    talk.listen("overlay")
    mask = talk.next("mask", messages.IMAGE, 2)
    image, _ = SyntheticSource("drive", size=(48, 64), rate=20).render(0)
    with HostSegmenter(NullBackend(spec=SPEC), short_side=64) as segmenter:
        np.testing.assert_array_equal(labels_of(mask), segmenter(image))
    assert mask.header.frame_id == "camera"
    records = talk.came("mask", 5)
    assert np.diff([each["stamp_ns"] for each in records]).min() > 0
    overlay = talk.next("overlay", messages.IMAGE, 0)
    assert (overlay.height, overlay.width, overlay.encoding) == (48, 64, "bgr8")
    assert run.stop(signal.SIGINT) == 130, run.written()
    assert not any("Traceback" in line for line in run.stderr)


WRONG = [
    (["ros:", "null:"], "ros: needs a topic, for example ros:/camera/image_raw"),
    (["ros:/cam era", "null:"], "topic '/cam era'"),
    (["ros:/camera/image", "null:", "--input-reliability", "perhaps"], "reliability is 'perhaps'"),
    (["ros:/camera/image", "null:", "--input-history", "0"], "depth is 0, expected 1 or more"),
    (["synthetic:drive", "ros:my node"], "my node"),
    (["synthetic:drive", "ros:", "--output-reliability", "perhaps"], "reliability is 'perhaps'"),
]


def test_what_does_not_fit_is_said_in_one_line(domain: Domain) -> None:
    results = errors_of(domain, [["run", *words, "--backend", "null"] for words, _ in WRONG])
    for (words, said), (code, lines) in zip(WRONG, results, strict=True):
        assert code == 1, (words, lines)
        (line,) = (line for line in lines if "error" in line)
        assert line.startswith("rtseg: error: ") and said in line, words
        assert "Traceback" not in "".join(lines), words
