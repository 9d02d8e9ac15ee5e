"""Pixel formats in which frames reach the GPU, and what each means as BGR: the definition, in NumPy."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "Matrix", "PixelFormat", "nv12_to_bgr", "to_bgr", "yuv_numbers"]

PixelFormat = Literal["bgr8", "rgb8", "bgra8", "mono8", "nv12"]
FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)
Matrix = Literal["bt601", "bt709"]

LUMA_SHARES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
"""The shares of red and blue in luma: ITU-R BT.601-7 section 2.5.1, BT.709-6 section 3."""
FIXED_POINT = 20
"""Bits after the point of the integer conversion, as in OpenCV's; sums stay below 2**30."""


def yuv_numbers(matrix: Matrix, full_range: bool) -> tuple[int, int, int, int, int, int]:
    """Black level of luma, then the weights of luma, U in blue, U in green, V in green and V in red, times 2**20.

    Limited range is luma 16 to 235 and chroma 16 to 240 around 128, full range 0 to 255 for both.
    """
    red, blue = LUMA_SHARES[matrix]
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)
    weights = (
        luma,
        chroma * 2 * (1 - blue),
        -chroma * 2 * (1 - blue) * blue / green,
        -chroma * 2 * (1 - red) * red / green,
        chroma * 2 * (1 - red),
    )
    first, second, third, fourth, fifth = (round(weight * 2**FIXED_POINT) for weight in weights)
    return 0 if full_range else 16, first, second, third, fourth, fifth


def nv12_to_bgr(
    luma: NDArray[np.uint8], chroma: NDArray[np.uint8], matrix: Matrix = "bt601", full_range: bool = False
) -> NDArray[np.uint8]:
    """HxWx3 BGR from HxW luma and chroma of (H + 1) // 2 x (W + 1) // 2 x 2, U before V, rounded to whole numbers.

    Each chroma sample stands for 2x2 pixels, as in OpenCV's conversion.
    """
    zero, gain, u_blue, u_green, v_green, v_red = yuv_numbers(matrix, full_range)
    height, width = luma.shape
    spread = chroma.repeat(2, 0).repeat(2, 1)[:height, :width].astype(np.int64) - 128
    light, u, v = (luma.astype(np.int64) - zero) * gain, spread[..., 0], spread[..., 1]
    sums = np.stack([light + u * u_blue, light + u * u_green + v * v_green, light + v * v_red], 2)
    bgr: NDArray[np.uint8] = ((sums + (1 << FIXED_POINT - 1)) >> FIXED_POINT).clip(0, 255).astype(np.uint8)
    return bgr


def to_bgr(image: NDArray[np.uint8], pixels: PixelFormat) -> NDArray[np.uint8]:
    """HxWx3 BGR from one array: HxWx3 of bgr8 or rgb8, HxWx4 of bgra8 (alpha is dropped), HxW of mono8."""
    if pixels == "mono8":
        return np.repeat(image[:, :, None], 3, 2)
    channels: dict[Any, Any] = {"bgr8": np.s_[..., :], "rgb8": np.s_[..., ::-1], "bgra8": np.s_[..., :3]}
    return np.ascontiguousarray(image[channels[pixels]])
