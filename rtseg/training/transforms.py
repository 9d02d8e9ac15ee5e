"""Seeded augmentation of an image and its label map: one affine warp, one lookup per pixel, saturation and blur."""

from __future__ import annotations

import math

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from rtseg.errors import ConfigError

__all__ = ["Augmentation", "augment"]

Image = npt.NDArray[np.uint8]
DUSK_TINT = np.array([1.25, 1.0, 0.9])
"""Gain of blue, green and red under a sky without sun, at its strongest."""


class Augmentation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How training samples are varied; ranges are inclusive (low, high).

    Raises:
        ConfigError: A value is out of its range; the message names the field.
    """

    crop: tuple[int, int]
    """Height and width of a sample, pixels."""
    label_stride: int = 1
    """Crop pixels per label in each direction; 2 makes the losses four times cheaper."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Zoom, drawn log-uniformly."""
    stretch: float = 1.1
    """Largest factor between the two axes."""
    rotation: float = 3.0
    """Largest angle, degrees."""
    focus: float = 0.0
    """Probability that a crop is centred near a pixel of one of `focus_classes`."""
    focus_classes: tuple[int, ...] = ()
    """Class ids that are rare and wanted."""
    gamma: tuple[float, float] = (0.6, 2.0)
    """Exponent on the brightness; above 1 darkens."""
    gain: tuple[float, float] = (0.6, 1.4)
    """Exposure: factor on the brightness."""
    offset: float = 0.06
    """Largest shift of the brightness, a fraction of full scale."""
    white_balance: float = 0.1
    """Largest relative gain of one channel."""
    saturation: tuple[float, float] = (0.5, 1.5)
    """Factor on the distance from grey."""
    dusk: float = 0.0
    """Probability of dusk: a steep gamma at a short exposure under a blue sky."""
    blur: float = 0.2
    """Probability of a blur."""
    noise: float = 0.2
    """Probability of noise."""

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise ConfigError(f"crop is {list(self.crop)}: expected a height and a width of 1 or more")
        if not 1 <= self.label_stride <= min(self.crop):
            raise ConfigError(f"label_stride is {self.label_stride}: expected 1 to {min(self.crop)}, the crop's side")
        for name in ("scale", "gamma"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ConfigError(f"{name} is [{low:g}, {high:g}]: expected low and high with 0 < low <= high")
        for name in ("gain", "saturation"):
            low, high = getattr(self, name)
            if not 0 <= low <= high < math.inf:
                raise ConfigError(f"{name} is [{low:g}, {high:g}]: expected low and high with 0 <= low <= high")
        for name in ("focus", "offset", "white_balance", "dusk", "blur", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name):g}: expected 0 to 1")
        if not 1 <= self.stretch < math.inf:
            raise ConfigError(f"stretch is {self.stretch:g}: expected 1 (none) or more")
        if not 0 <= self.rotation <= 180:
            raise ConfigError(f"rotation is {self.rotation:g}: expected 0 to 180 degrees")


def augment(
    image: Image,
    label: Image,
    how: Augmentation,
    rng: np.random.Generator,
    fill: tuple[int, int, int] = (104, 116, 124),
    ignore: int = 11,
) -> tuple[Image, Image]:
    """Return one varied crop of an HWC uint8 BGR image and its HW uint8 label map; outside the image it is `ignore`."""
    matrix = _placement(label, how, rng)
    height, width = how.crop
    stride = how.label_stride
    # Crop pixel u has its centre at (u + 0.5) / stride - 0.5 on the label grid.
    coarse = matrix / stride + np.array([[0, 0, 0.5 / stride - 0.5]])
    image = _warp(image, matrix, (width, height), cv2.INTER_LINEAR, fill)
    label = _warp(label, coarse, (width // stride, height // stride), cv2.INTER_NEAREST, ignore)
    return _recolour(image, how, rng), label


def _warp(source: Image, matrix: npt.NDArray[np.float64], size: tuple[int, int], flags: int, fill: object) -> Image:
    warped = cv2.warpAffine(source, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return np.asarray(warped, dtype=np.uint8)


def _placement(label: Image, how: Augmentation, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The 2x3 matrix from image to crop coordinates: zoom, stretch, rotation, flip, and where the crop lies."""
    scale = np.exp(rng.uniform(*np.log(how.scale)))
    stretch = np.exp(rng.uniform(-0.5, 0.5) * np.log(how.stretch))
    angle = np.deg2rad(rng.uniform(-how.rotation, how.rotation))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    zoom = np.array([[flip * scale * stretch, 0.0], [0.0, scale / stretch]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ zoom

    size = np.array(label.shape[::-1], dtype=np.float64)  # width, height
    crop = np.array(how.crop[::-1], dtype=np.float64)
    # The crop's centre keeps half a crop away from the image's edge, or is in the middle where the image is smaller.
    margin = np.minimum(crop / scale / 2, size / 2)
    centre = rng.uniform(margin, size - margin)
    if rng.random() < how.focus:
        pixels = np.flatnonzero(np.isin(label, how.focus_classes))
        if pixels.size:
            y, x = divmod(int(rng.choice(pixels)), label.shape[1])
            jitter = rng.uniform(-0.4, 0.4, 2) * crop / scale
            centre = np.clip(np.array([x, y]) + jitter, margin, size - margin)
    return np.hstack([linear, (crop / 2 - linear @ centre)[:, None]])


def _recolour(image: Image, how: Augmentation, rng: np.random.Generator) -> Image:
    """Exposure, gamma and white balance as one table per channel; then saturation, blur and noise."""
    gamma = np.exp(rng.uniform(*np.log(how.gamma)))
    gain = rng.uniform(*how.gain) * (1 + rng.uniform(-how.white_balance, how.white_balance, 3))
    offset = rng.uniform(-how.offset, how.offset)
    if rng.random() < how.dusk:
        gamma *= rng.uniform(1.2, 2.0)
        gain = gain * rng.uniform(0.4, 0.8) * DUSK_TINT ** rng.uniform(0, 1)
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma * gain + offset
    table = (ramp * 255).clip(0, 255).round().astype(np.uint8)
    image = np.asarray(cv2.LUT(image, table[:, None, :]), dtype=np.uint8)

    saturation = float(rng.uniform(*how.saturation))
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    image = np.asarray(cv2.addWeighted(image, saturation, grey, 1 - saturation, 0), dtype=np.uint8)
    if rng.random() < how.blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.5))), dtype=np.uint8)
    if rng.random() < how.noise:
        grain = rng.normal(0, rng.uniform(2, 10), (*image.shape[:2], 1)).astype(np.float32)
        image = (image + grain).clip(0, 255).astype(np.uint8)
    return image
