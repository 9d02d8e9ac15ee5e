"""Every output of the node equals what rtseg computes in this process, at the picture's size and at the network's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.frame import Header, Image, Labels
from rtseg.messages import records as messages
from rtseg.messages.images import compressed_bytes, picture
from tests.messages.test_camera_info import K, camera_info
from tests.ros.processes import Domain, Process
from tests.ros.segmenting import TOY, Talk, frame_message, labels_of, start_node, toy_model, toy_segmenter

pytestmark = pytest.mark.ros
INFO = "/camera/camera_info"
NETWORK = (32, 64)
PICTURE = (96, 144)
"""Of a third of this size in the middle of the network's input: 32x48, with borders of eight columns."""


@dataclass
class Expected:
    image: Image
    labels: Labels
    confidence: Any
    areas: Any


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(toy_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def nodes(module_domain: Domain, model: str) -> list[Process]:
    flags = ("--backend", "onnxruntime", "--model", model, "--size", "32x64", "--threads", "1")
    return [
        start_node(module_domain, *flags, "--camera-info", INFO),
        start_node(module_domain, *flags, "--mask-size", "network", "--name", "small", image="/rear/image"),
    ]


@pytest.fixture(scope="module")
def talk(module_domain: Domain, nodes: list[Process]) -> Talk:
    made = Talk(module_domain.peer("whole"))
    made.offer()
    return made


@pytest.fixture(scope="module")
def small(module_domain: Domain, nodes: list[Process]) -> Talk:
    made = Talk(module_domain.peer("reduced"), "/rear/image", "/small")
    made.offer()
    return made


def expected(model: str, data: bytes) -> Expected:
    image = picture(messages.decode(messages.IMAGE, data))
    with toy_segmenter(Path(model), size=NETWORK) as segmenter:
        tensor, place = segmenter.preprocess(image)
        segmenter.backend.submit(tensor)
        scores = segmenter.backend.collect()
        labels, confidence = segmenter.labels(scores, place, confidence=True)
        return Expected(image, labels.copy(), confidence.copy(), segmenter.areas(labels, scores))


def ask(talk: Talk, output: str, kind: str, data: bytes, **beside: bytes) -> Any:
    """What becomes of a picture, once the node knows that somebody listens to the output."""
    talk.listen(output, kind)
    talk.await_first(output, data, kind=kind, **beside)
    return talk.answers(data, output, kind)


def test_labels_and_confidence_at_the_pictures_size(talk: Talk, model: str) -> None:
    data = frame_message(1, PICTURE)
    wanted = expected(model, data)
    np.testing.assert_array_equal(labels_of(ask(talk, "mask", messages.IMAGE, data)), wanted.labels)
    confidence = ask(talk, "confidence", messages.IMAGE, data)
    np.testing.assert_array_equal(labels_of(confidence), wanted.confidence)
    assert len(np.unique(wanted.confidence)) > 20


def test_areas_are_the_masks(talk: Talk, model: str) -> None:
    data = frame_message(2, PICTURE)
    areas = ask(talk, "areas", messages.AREAS, data)
    assert [(each.label, each.size) for each in areas.layout.dim] == [("class", len(TOY.classes))]
    np.testing.assert_allclose(areas.data, expected(model, data).areas, atol=1e-6)
    assert sum(areas.data) == pytest.approx(1, abs=1e-6)


def test_the_overlay_is_the_renderers_and_its_jpeg_too(talk: Talk, model: str) -> None:
    data = frame_message(3, PICTURE, frame_id="front")
    wanted = expected(model, data)
    drawn = Renderer(TOY, resolve_palette(None, TOY), View()).draw(wanted.image, wanted.labels)
    overlay = ask(talk, "overlay", messages.IMAGE, data)
    assert (overlay.encoding, overlay.step) == ("bgr8", 3 * PICTURE[1])
    np.testing.assert_array_equal(picture(overlay), drawn)
    compressed = ask(talk, "overlay/compressed", messages.COMPRESSED_IMAGE, data)
    same = messages.decode(messages.COMPRESSED_IMAGE, compressed_bytes(drawn, Header("", 3, "front", 3), quality=80))
    assert compressed.format == "bgr8; jpeg compressed bgr8"
    np.testing.assert_array_equal(compressed.data, same.data)


def test_camera_info_at_the_pictures_size_is_that_of_the_camera_with_the_pictures_stamp(talk: Talk) -> None:
    talk.peer.call("advertise", topic=INFO, kind=messages.CAMERA_INFO)
    info = camera_info(PICTURE)
    sent = {INFO: messages.encode(messages.CAMERA_INFO, info)}
    found = ask(talk, "camera_info", messages.CAMERA_INFO, frame_message(4, PICTURE, frame_id="front"), **sent)
    assert (messages.stamp_ns(found), found.header.frame_id) == (4, "front")
    assert (found.height, found.width, found.distortion_model) == (*PICTURE, "plumb_bob")
    for name in ("k", "d", "r", "p"):
        np.testing.assert_allclose(getattr(found, name), getattr(info, name), atol=1e-9)
    half = talk.answers(frame_message(5, (48, 72)), "camera_info", messages.CAMERA_INFO)
    assert (half.height, half.width) == (48, 72)
    assert half.k[2] == pytest.approx((K[0, 2] + 0.5) / 2 - 0.5), "pictures of half the calibrated size"


def test_a_mask_of_the_networks_size_leaves_out_its_border(small: Talk, model: str) -> None:
    data = frame_message(6, PICTURE)
    wanted = expected(model, data)
    mask = ask(small, "mask", messages.IMAGE, data)
    np.testing.assert_array_equal(labels_of(mask), wanted.labels[1::3, 1::3])
    confidence = ask(small, "confidence", messages.IMAGE, data)
    np.testing.assert_array_equal(labels_of(confidence), wanted.confidence[1::3, 1::3])


def test_camera_info_goes_with_the_mask_of_the_networks_size(small: Talk) -> None:
    small.peer.call("advertise", topic="/rear/camera_info", kind=messages.CAMERA_INFO)
    sent = {"/rear/camera_info": messages.encode(messages.CAMERA_INFO, camera_info(PICTURE))}
    found = ask(small, "camera_info", messages.CAMERA_INFO, frame_message(7, PICTURE), **sent)
    assert (messages.stamp_ns(found), found.height, found.width) == (7, 32, 48)
    k = found.k.reshape(3, 3)
    np.testing.assert_allclose(k[:2, :2], K[:2, :2] / 3)
    np.testing.assert_allclose(k[:2, 2], (K[:2, 2] + 0.5) / 3 - 0.5)


def test_an_empty_camera_info_does_no_harm(small: Talk) -> None:
    empty = camera_info((0, 0), k=np.zeros(9), p=np.zeros(12))
    for damaged in (messages.encode(messages.CAMERA_INFO, empty), b"\x00\x01\x00\x00abc"):
        small.send(damaged, "/rear/camera_info")
    found = ask(small, "mask", messages.IMAGE, frame_message(8, PICTURE))
    assert (messages.stamp_ns(found), found.height, found.width) == (8, 32, 48)


def test_who_comes_late_gets_the_class_names(talk: Talk) -> None:
    pytest.importorskip(
        "vision_msgs.msg", reason="needs vision_msgs: tools/build_ros_messages.py", exc_type=ImportError
    )
    talk.listen("label_info", messages.LABEL_INFO, durability="transient_local")
    info = talk.next("label_info", messages.LABEL_INFO, 0)
    assert [(each.class_id, each.class_name) for each in info.class_map] == list(enumerate(TOY.classes))
