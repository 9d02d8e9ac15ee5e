"""The shapes that a spec implies: of the tensor that goes into a network and of the answer that comes out."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from rtseg.errors import BackendError
from rtseg.packages.spec import ModelSpec

__all__ = ["answer_shape", "input_shape", "tensor_size"]


def input_shape(spec: ModelSpec, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The input tensor's shape for a network size (height, width); BackendError if the model cannot take that size."""
    height, width = size
    if spec.size is not None and size != spec.size:
        fixed = "x".join(map(str, spec.size))
        raise BackendError(f"model {spec.name} takes {fixed} (height x width) only, got {height}x{width}")
    if spec.size is None and (height % spec.multiple or width % spec.multiple or height < 1 or width < 1):
        up = "x".join(str(max(spec.multiple, -(-side // spec.multiple) * spec.multiple)) for side in size)
        raise BackendError(
            f"model {spec.name} takes sizes that are multiples of {spec.multiple}, got {height}x{width}: use {up}"
        )
    return (1, 3, height, width) if spec.layout == "NCHW" else (1, height, width, 3)


def tensor_size(spec: ModelSpec, tensor: NDArray[Any]) -> tuple[int, int]:
    """The (height, width) of an input tensor; BackendError with expected and got where it does not fit the spec."""
    expected = "1x3xHxW" if spec.layout == "NCHW" else "1xHxWx3"
    got = f"{tensor.dtype} {'x'.join(map(str, tensor.shape)) or 'scalar'}"
    channels = 1 if spec.layout == "NCHW" else 3
    if (
        tensor.ndim != 4
        or tensor.dtype != spec.dtype
        or (tensor.shape[0], tensor.shape[channels]) != (1, 3)
        or not tensor.flags.c_contiguous
    ):
        layout = "" if tensor.flags.c_contiguous else ", not contiguous"
        raise BackendError(
            f"model {spec.name} takes a contiguous {spec.dtype} {expected} tensor, got {got}{layout}: "
            "make it with preprocess"
        )
    height, width = tensor.shape[2:] if spec.layout == "NCHW" else tensor.shape[1:3]
    return int(height), int(width)


def answer_shape(spec: ModelSpec, raw: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without batch, (C, h, w) of scores or (h, w) of labels, of an answer whose shape is `raw`."""
    if spec.output_kind == "labels":
        return raw[-3:-1] if spec.output_layout == "NHWC" and len(raw) == 4 else raw[-2:]
    return raw[1:] if len(raw) == 4 else (1, *raw)[-3:]
