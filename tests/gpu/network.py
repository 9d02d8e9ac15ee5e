"""The network of network.cu: its parameters, its launch, its machine code, and what NumPy says comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from rtseg.kernels import compile as compilation
from rtseg.kernels.launch import Launch
from tests.kernels.host import compiled as compiled_for_host

SOURCE = Path(__file__).with_name("network.cu")
KERNEL = "block_linear"
THREADS = 256
MOST_CLASSES = 32
STRIDE = 8
TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}
BLOCK_LINEAR = np.dtype(
    [
        ("input", np.uint64),
        ("output", np.uint64),
        *((name, np.int32) for name in ("height", "width", "classes", "stride", "input_type", "output_type")),
        ("weights", np.float32, (MOST_CLASSES, 3)),
        ("bias", np.float32, (MOST_CLASSES,)),
    ],
    align=True,
)


def random_weights(classes: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (classes, 3) and biases (classes,) of a network."""
    random = np.random.default_rng(seed)
    weights, bias = random.normal(size=(classes, 3)), random.normal(size=classes)
    return weights.astype(np.float32), bias.astype(np.float32)


def launch(
    source: int,
    target: int,
    size: tuple[int, int],
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    stride: int = STRIDE,
    input_type: Any = np.float32,
    output_type: Any = np.float32,
) -> Launch:
    """The launch on an input 1x3xHxW of `size` (H, W) at the address `source`, with its scores to go to `target`."""
    classes, cells = len(weights), (size[0] // stride) * (size[1] // stride)
    assert 0 < classes <= MOST_CLASSES and weights.shape == (classes, 3) and bias.shape == (classes,)
    params = np.zeros((), BLOCK_LINEAR)
    params["input"], params["output"] = source, target
    params["height"], params["width"] = size
    params["classes"], params["stride"] = classes, stride
    params["input_type"], params["output_type"] = TYPES[np.dtype(input_type)], TYPES[np.dtype(output_type)]
    params["weights"][:classes], params["bias"][:classes] = weights, bias
    return Launch(KERNEL, (-(-cells // THREADS), 1, 1), (THREADS, 1, 1), params)


def reference(
    tensor: NDArray[Any],
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    stride: int = STRIDE,
    output_type: Any = np.float32,
) -> NDArray[Any]:
    """The scores (1, classes, H // stride, W // stride) of an input 1x3xHxW, the same bits as the kernel's."""
    _, channels, height, width = tensor.shape
    rows, columns = height // stride, width // stride
    blocks = tensor[0, :, : rows * stride, : columns * stride].astype(np.float32)
    blocks = blocks.reshape(channels, rows, stride, columns, stride)
    means = np.zeros((channels, rows, columns), np.float32)
    for y in range(stride):
        for x in range(stride):
            means += blocks[:, :, y, :, x]
    means /= np.float32(stride * stride)
    scores = np.repeat(bias[:, None, None], rows, 1).repeat(columns, 2)
    for channel in range(channels):
        scores += weights[:, channel, None, None] * means[channel]
    return scores[None].astype(output_type)


def build(architecture: str, *, strict: bool = False) -> bytes:
    """Machine code of network.cu for sm_90 or the like; `strict`: warnings are errors."""
    with mock.patch.object(compilation, "SOURCE", SOURCE):
        return compilation.build(architecture, strict=strict).image


def compiled(capability: tuple[int, int], folder: Path | None = None) -> bytes:
    """The same for a GPU, kept on disk as those of kernels.cu are."""
    with mock.patch.object(compilation, "SOURCE", SOURCE):
        return compilation.compiled(capability, folder=folder)


def host_library() -> Path:
    """network.cu compiled for the CPU, for `tests.emulator.add_kernels`."""
    return compiled_for_host(SOURCE.with_name("network_host.cpp"), SOURCE)
