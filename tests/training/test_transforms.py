"""Augmentation: seeded, the label map goes with the image, and each part does what its range says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rtseg.training.transforms import Augmentation, augment

PLAIN = {
    "scale": (1.0, 1.0), "stretch": 1.0, "rotation": 0.0, "gamma": (1.0, 1.0), "gain": (1.0, 1.0), "offset": 0.0,
    "white_balance": 0.0, "saturation": (1.0, 1.0), "blur": 0.0, "noise": 0.0,
}  # fmt: skip


def how(**changes: object) -> Augmentation:
    return Augmentation(**{"crop": (40, 60), **PLAIN, **changes})  # type: ignore[arg-type]


def picture(height: int = 40, width: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Blobs whose grey value is 20 times their label."""
    noise = cv2.GaussianBlur(np.random.default_rng(5).random((height, width)), (0, 0), 5)
    label = np.digitize(noise, np.quantile(noise, np.linspace(0, 1, 9)[1:-1])).astype(np.uint8)
    return np.repeat(label[:, :, None] * 20, 3, axis=2), label


def seeds(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_same_seed_same_sample() -> None:
    image, label = picture()
    full = Augmentation(crop=(24, 24), focus=0.5, focus_classes=(2,))
    for seed in range(5):
        one = augment(image, label, full, np.random.default_rng(seed))
        two = augment(image, label, full, np.random.default_rng(seed))
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], augment(image, label, full, np.random.default_rng(99))[0])


def test_does_not_write_to_its_input() -> None:
    image, label = picture()
    before = image.copy(), label.copy()
    augment(image, label, Augmentation(crop=(24, 24), noise=1.0, blur=1.0), np.random.default_rng(0))
    assert np.array_equal(image, before[0])
    assert np.array_equal(label, before[1])


def test_plain_is_the_image_or_its_mirror() -> None:
    image, label = picture()
    seen = set()
    for rng in seeds(12):
        found, classes = augment(image, label, how(), rng)
        mirrored = np.array_equal(classes[:, 1:], label[:, ::-1][:, :-1]) or np.array_equal(classes, label[:, ::-1])
        assert mirrored or np.array_equal(classes, label)
        inside = classes != 11
        assert np.array_equal(found[..., 0][inside], classes[inside] * 20)
        seen.add(mirrored)
    assert seen == {True, False}


@pytest.mark.parametrize("stride", [1, 2])
def test_labels_go_with_the_image(stride: int) -> None:
    image, label = picture(160, 240)
    geometry = how(scale=(0.7, 2.0), stretch=1.2, rotation=8.0, label_stride=stride)
    for rng in seeds(10):
        found, classes = augment(image, label, geometry, rng)
        grey = cv2.resize(found[..., 0], (60 // stride, 40 // stride), interpolation=cv2.INTER_AREA)
        inside = classes != 11
        assert inside.mean() > 0.5
        # Only pixels on an outline may differ, by interpolation.
        assert np.mean(np.abs(grey[inside] / 20 - classes[inside]) < 0.75) > 0.93


def test_outside_the_image_is_void() -> None:
    image, label = picture()
    found, classes = augment(image, label, how(crop=(80, 120)), np.random.default_rng(0))
    assert classes[0, 0] == classes[-1, -1] == 11
    assert 0.2 < (classes != 11).mean() < 0.27  # a quarter of the crop is image
    assert tuple(found[0, 0]) == (104, 116, 124)


def test_scale_bounds_the_zoom() -> None:
    label = np.zeros((100, 100), np.uint8)
    label[:, 50:] = 1
    image = np.zeros((100, 100, 3), np.uint8)
    for rng in seeds(8):
        _, classes = augment(image, label, how(crop=(200, 200), scale=(0.5, 2.0)), rng)
        side = np.sqrt((classes != 11).sum())
        assert 49 <= side <= 200


def test_focus_finds_the_rare_class() -> None:
    label = np.zeros((200, 200), np.uint8)
    label[20:24, 170:174] = 10
    image = np.zeros((200, 200, 3), np.uint8)
    for rng in seeds(20):
        assert (augment(image, label, how(focus=1.0, focus_classes=(10,)), rng)[1] == 10).any()
    without = sum((augment(image, label, how(), rng)[1] == 10).any() for rng in seeds(20))
    assert without < 10


def test_exposure_and_gamma() -> None:
    image, label = np.full((40, 60, 3), 128, np.uint8), np.zeros((40, 60), np.uint8)
    middle = (20, 30)
    dusk = augment(image, label, how(gamma=(2.0, 2.0)), np.random.default_rng(0))[0][middle]
    assert abs(int(dusk[0]) - round(255 * (128 / 255) ** 2)) <= 1
    bright = augment(image, label, how(gain=(1.5, 1.5)), np.random.default_rng(0))[0][middle]
    assert abs(int(bright[0]) - 192) <= 1
    coloured = augment(image, label, how(white_balance=0.2), np.random.default_rng(0))[0][middle]
    assert len(set(coloured.tolist())) > 1


def test_saturation_zero_is_grey_and_noise_is_noisy() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    label = np.zeros((40, 60), np.uint8)
    grey = augment(image, label, how(saturation=(0.0, 0.0)), np.random.default_rng(0))[0]
    assert np.array_equal(grey[..., 0], grey[..., 2])
    flat = np.full((40, 60, 3), 128, np.uint8)
    assert augment(flat, label, how(), np.random.default_rng(0))[0][2:-2, 2:-2].std() == 0
    assert augment(flat, label, how(noise=1.0), np.random.default_rng(0))[0][2:-2, 2:-2].std() > 1
    sharp = image[..., 0].astype(int)
    soft = augment(image, label, how(blur=1.0), np.random.default_rng(1))[0][..., 0].astype(int)
    assert np.abs(np.diff(soft)).mean() < np.abs(np.diff(sharp)).mean()


def test_dusk_darkens_and_turns_blue() -> None:
    image = np.full((40, 60, 3), 160, np.uint8)
    label = np.zeros((40, 60), np.uint8)
    for rng in seeds(10):
        dusky, _ = augment(image, label, how(dusk=1.0), rng)
        blue, green, red = np.median(dusky.reshape(-1, 3), axis=0)
        assert green <= 255 * (160 / 255) ** 1.2 * 0.8 + 1
        assert blue >= green >= red
    assert np.array_equal(augment(image, label, how(dusk=0.0), seeds(1)[0])[0][2:-2, 2:-2], image[2:-2, 2:-2])
