"""SyntheticSource: the same bytes for the same arguments, exact labels, and the geometry it promises."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.errors import ConfigError
from rtseg.sources import open_source
from rtseg.sources._drive import ROAD_HALF, DriveCamera, DriveScene
from rtseg.sources._drive_things import CAR, PAVEMENT, ROAD, SKY, TREE
from rtseg.sources.synthetic import SyntheticSource

CAMVID = "Sky,Building,Pole,Road,Pavement,Tree,SignSymbol,Fence,Car,Pedestrian,Bicyclist"


@pytest.mark.parametrize("target", ["drive", "shapes"])
def test_the_same_arguments_give_the_same_bytes(target: str) -> None:
    first, second = (SyntheticSource(target, size=(90, 160), seed=3) for _ in range(2))
    second.render(0)
    for index in (0, 7, 400):
        for one, other in zip(first.render(index), second.render(index), strict=True):
            assert np.array_equal(one, other)
    other_seed = SyntheticSource(target, size=(90, 160), seed=4)
    assert not np.array_equal(first.render(7)[1], other_seed.render(7)[1])
    assert not np.array_equal(first.render(7)[1], first.render(40)[1])


@pytest.mark.parametrize("target", ["drive", "shapes"])
def test_iterating_gives_the_rendered_frames(target: str) -> None:
    with open_source(f"synthetic:{target}", {"size": (48, 64), "rate": 10, "length": 6, "seed": 5}) as source:
        frames = list(source)
    assert isinstance(source, SyntheticSource)
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.pts for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    for frame in frames:
        image, labels = source.render(frame.index)
        assert np.array_equal(frame.image, image)
        assert image.shape == (48, 64, 3)
        assert labels.shape == (48, 64)
        assert image.dtype == labels.dtype == np.uint8
        assert labels.max() < len(source.classes)
    info = source.info
    assert (info.source, info.live, info.fps, info.size, info.frames) == (f"synthetic:{target}", False, 10, (48, 64), 6)
    assert info.time_base == Fraction(1, 10)


def test_drive_shows_all_camvid_classes_in_order() -> None:
    source = SyntheticSource("drive", size=(360, 640))
    assert ",".join(source.classes) == CAMVID
    counts = np.zeros(11)
    for index in range(0, 300, 30):
        counts += np.bincount(source.render(index)[1].ravel(), minlength=11)
    assert (counts > 0).all()
    share = counts / counts.sum()
    assert share[ROAD] > 0.3
    assert share[SKY] > 0.05
    assert share[CAR] > 0.002


def test_drive_image_changes_where_labels_do() -> None:
    # Every face fills picture and labels alike: two frames with equal pictures in a place have equal labels there.
    source = SyntheticSource("drive", size=(180, 320))
    (image_a, labels_a), (image_b, labels_b) = source.render(0), source.render(4)
    same = (image_a == image_b).all(axis=2)
    assert same.mean() > 0.3
    assert np.array_equal(labels_a[same], labels_b[same])


def test_shapes_labels_follow_the_colours_of_the_shapes() -> None:
    source = SyntheticSource("shapes", size=(180, 320))
    image, labels = source.render(12)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    for label in (1, 2, 3):
        colours = np.unique(image[labels == label], axis=0)
        assert len(colours) <= 4, "four shapes of each kind, one colour each"


@given(x=st.floats(-8, 8), y=st.floats(1.5, 120))
def test_ground_and_project_are_inverse(x: float, y: float) -> None:
    view = DriveCamera.for_size((720, 1280))
    pixel = view.project([(x, y, 0.0)])
    assert pixel[0, 1] > view.horizon
    assert view.ground(pixel)[0] == pytest.approx((x, y), abs=1e-6)


def test_geometry_by_hand() -> None:
    view = DriveCamera(focal=1000, centre_x=639.5, centre_y=359.5, height=1.5, tilt=0.0)
    assert view.project([(2.0, 10.0, 0.0)])[0] == pytest.approx((839.5, 509.5))
    assert view.ground([(839.5, 509.5)])[0] == pytest.approx((2.0, 10.0))
    assert view.horizon == 359.5


def test_road_lies_where_the_geometry_says() -> None:
    scene = DriveScene((360, 640), 30, 0)
    labels = scene.render(0)[1]
    rows = np.arange(int(scene.camera.horizon) + 40, 360)
    for row in rows[::10]:
        columns = np.arange(640)
        x = scene.camera.ground(np.stack([columns, np.full(640, row)], axis=1))[:, 0]
        seen = labels[row]
        assert (seen[np.abs(x) > ROAD_HALF + 0.01] != ROAD).all()
        # What hides the road stands on it or in front of it; it is never sky or pavement.
        assert not np.isin(seen[np.abs(x) < ROAD_HALF - 0.01], (SKY, PAVEMENT)).any()
    assert not np.isin(labels[: int(scene.camera.horizon) - 20], (ROAD, PAVEMENT)).any()
    assert np.isin(labels[int(scene.camera.horizon) - 2], (TREE,)).any()


def test_camera_moves_at_its_speed() -> None:
    slow, fast = DriveScene((90, 160), 10, 0), DriveScene((90, 160), 20, 0)
    assert slow.travelled(10) == pytest.approx(fast.travelled(20))
    assert np.array_equal(slow.render(10)[1], fast.render(20)[1])


@settings(max_examples=25, deadline=None)
@given(
    target=st.sampled_from(["drive", "shapes"]),
    height=st.integers(16, 80),
    width=st.integers(16, 80),
    index=st.integers(0, 10**6),
)
def test_any_size_and_any_frame(target: str, height: int, width: int, index: int) -> None:
    source = SyntheticSource(target, size=(height, width))
    image, labels = source.render(index)
    assert image.shape == (height, width, 3)
    assert labels.shape == (height, width)
    assert labels.max() < len(source.classes)


def test_live_is_paced_and_closes_at_once() -> None:
    with SyntheticSource("shapes", size=(16, 16), rate=50, length=11, live=True) as source:
        assert source.info.live
        frames = list(source)
    took = (frames[-1].t_capture - frames[0].t_capture) / 1e9
    assert 0.19 < took < 1.0
    assert all(abs((frame.stamp or 0) - time.time()) < 30 for frame in frames)
    with SyntheticSource("shapes", size=(16, 16), rate=0.01, length=0, live=True) as source:
        assert source.info.frames is None
        threading.Timer(0.1, source.close).start()
        begin = time.monotonic()
        assert len(list(source)) == 1
        assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("driv", {}, "did you mean 'drive'?"),
        ("drive", {"size": (8, 8)}, "expected sides from 16"),
        ("drive", {"size": "x"}, "not HEIGHTxWIDTH"),
        ("drive", {"rate": 0}, "rate is 0"),
        ("drive", {"seed": -1}, "seed is -1"),
        ("drive", {"length": 1.5}, "length is 1.5"),
        ("drive", {"colour": 1}, "option 'colour' does not apply"),
    ],
)
def test_options_out_of_range(target: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(f"synthetic:{target}", options)
    assert words in str(caught.value)
