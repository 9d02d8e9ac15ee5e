"""Pictures in, masks out, over real DDS: every encoding, compressed ones, sizes that change, headers."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from rtseg.frame import Header
from rtseg.messages import records as messages
from rtseg.messages.encodings import ENCODINGS
from rtseg.messages.images import compressed_bytes, compressed_picture
from rtseg.segmenter.host import HostSegmenter
from tests.messages.pictures import image_message, pixels
from tests.ros.processes import Domain
from tests.ros.segmenting import (
    Talk,
    expected_labels,
    frame_message,
    labels_of,
    start_node,
    toy_model,
    toy_segmenter,
)

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSegmenter]:
    with toy_segmenter(toy_model(tmp_path_factory.mktemp("model"))) as made:
        yield made


@pytest.fixture(scope="module")
def talk(module_domain: Domain, tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """A node for images and one for compressed images, with the toy network."""
    model = str(toy_model(tmp_path_factory.mktemp("node")))
    flags = ("--backend", "onnxruntime", "--model", model, "--threads", "1", "--image-reliability", "reliable")
    start_node(module_domain, *flags)
    start_node(module_domain, *flags, "--name", "small", image="/camera/image/compressed")
    made = Talk(module_domain.peer("pictures"))
    made.offer()
    made.listen("mask")
    made.await_first()
    return made


@pytest.fixture(scope="module")
def small(talk: Talk) -> Talk:
    made = Talk(talk.peer, "/camera/image/compressed", "/small")
    made.offer(messages.COMPRESSED_IMAGE)
    made.listen("mask")
    made.await_first(data=compressed_bytes(np.zeros((8, 8, 3), np.uint8), Header("", 0, "c", 0)))
    return made


@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_every_encoding_gives_the_labels_of_its_picture(talk: Talk, segmenter: HostSegmenter, encoding: str) -> None:
    index = 100 + list(ENCODINGS).index(encoding)
    padded = image_message(pixels(index, 32, 48, encoding, 6), 32, 48, encoding, index, "front")
    mask = talk.answers(padded)
    expected = expected_labels(segmenter, padded)
    assert (mask.header.frame_id, messages.stamp_ns(mask)) == ("front", index)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(labels_of(mask), expected)


@pytest.mark.parametrize("name", ["jpeg", "png"])
def test_compressed_pictures(small: Talk, segmenter: HostSegmenter, name: str) -> None:
    image = cv2.resize(pixels(5, 4, 6).reshape(4, 6, 3), (48, 32), interpolation=cv2.INTER_CUBIC)
    header = Header("", 77_000_000_123, "left", 0)
    data = compressed_bytes(image, header, format=name)  # type: ignore[arg-type]
    mask = small.answers(data)
    assert (mask.header.frame_id, messages.stamp_ns(mask)) == ("left", header.stamp_ns)
    decoded = compressed_picture(messages.decode(messages.COMPRESSED_IMAGE, data))
    np.testing.assert_array_equal(labels_of(mask), segmenter(decoded))


def test_size_and_encoding_may_change_with_every_picture(talk: Talk, segmenter: HostSegmenter) -> None:
    for index, (size, encoding) in enumerate(
        [
            ((32, 48), "bgr8"),
            ((48, 32), "rgb8"),
            ((120, 33), "mono8"),
            ((2, 2), "uyvy"),
            ((64, 64), "bgr8"),
            ((1, 1), "bgr8"),
        ]
    ):
        data = frame_message(200 + index, size, encoding)
        mask = talk.answers(data)
        assert (mask.height, mask.width) == size
        np.testing.assert_array_equal(labels_of(mask), expected_labels(segmenter, data))


@pytest.mark.parametrize(
    ("stamp_ns", "frame_id"),
    [(0, ""), (999_999_999, "/camera/optical frame"), (2**31 * 1_000_000_000 - 1, "kámera_光"), (1, "x" * 300)],
)
def test_stamp_and_frame_are_copied_exactly(talk: Talk, stamp_ns: int, frame_id: str) -> None:
    mask = talk.answers(frame_message(300, stamp_ns=stamp_ns, frame_id=frame_id))
    assert (messages.stamp_ns(mask), mask.header.frame_id) == (stamp_ns, frame_id)
