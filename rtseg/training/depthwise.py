"""Faster gradients of depthwise convolutions on CPUs.

The backward pass of a bfloat16 depthwise convolution in oneDNN takes up to thirty times as long as the forward pass
where the kernel is 5x5 (weights), dilated (weights) or strided (input). Here a strided convolution's input gradient is
a forward convolution of the zero-stuffed output gradient, a 5x5 kernel's gradient is put together from four of 3x3, and
a dilated one is taken on the phases of its grid.
"""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["speed_up"]

Pair = tuple[int, int]
CHANNELS_LAST = torch.channels_last


def speed_up(network: nn.Module) -> int:
    """Give every depthwise convolution of a network on the CPU the faster gradients; returns how many there are.

    Parameters, buffers and results stay the same (but for rounding).
    """
    count = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels > 1:
            module._conv_forward = types.MethodType(_forward, module)  # type: ignore[method-assign]
            count += 1
    return count


def _forward(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not torch.is_grad_enabled() or isinstance(self.padding, str) or bias is not None:
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
    y: Tensor = _Depthwise.apply(x, weight, self.stride, self.padding, self.dilation)  # type: ignore[no-untyped-call]
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.steps = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=CHANNELS_LAST)
        to_x = input_gradient(x, weight, grad, *ctx.steps) if ctx.needs_input_grad[0] else None
        to_weight = weight_gradient(x, weight, grad, *ctx.steps) if ctx.needs_input_grad[1] else None
        return to_x, to_weight, None, None, None


def input_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Convolve the output's gradient, with zeros between its pixels for a stride, with the turned kernel."""
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[-2:], strict=True)]
    before = [r - p for r, p in zip(reach, padding, strict=True)]
    spread = [(side - 1) * step + 1 for side, step in zip(grad.shape[-2:], stride, strict=True)]
    after = [x.shape[2 + i] + reach[i] - before[i] - spread[i] for i in (0, 1)]
    if stride == (1, 1) and before == after:
        return F.conv2d(grad, weight.flip(2, 3), None, 1, (before[0], before[1]), dilation, x.shape[1])
    sides = [before[i] + spread[i] + after[i] for i in (0, 1)]
    stuffed = torch.empty(*x.shape[:2], *sides, dtype=grad.dtype, memory_format=CHANNELS_LAST).zero_()
    rows, columns = (slice(before[i], before[i] + spread[i], stride[i]) for i in (0, 1))
    stuffed[:, :, rows, columns] = grad
    return F.conv2d(stuffed, weight.flip(2, 3), None, 1, 0, dilation, x.shape[1])


def weight_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """The gradient of a (C, 1, k, k) weight, by convolutions of 3x3 without dilation where k is 5."""
    d = dilation[0]
    if dilation != (d, d) or (d > 1 and stride != (1, 1)) or (d == 1 and weight.shape[-2:] != (5, 5)):
        return _gradient(x, weight, grad, stride, padding, dilation)
    vertical, horizontal = padding
    x = F.pad(x, (horizontal, horizontal, vertical, vertical))
    if d > 1:
        height, width = (-(-side // d) * d for side in grad.shape[-2:])
        grad = F.pad(grad, (0, width - grad.shape[3], 0, height - grad.shape[2]))
        reach = d * (weight.shape[-1] - 1)
        x = F.pad(x, (0, width + reach - x.shape[3], 0, height + reach - x.shape[2]))
        x, grad = _phases(x, d), _phases(grad, d)
    if weight.shape[-2:] != (5, 5):
        return _gradient(x, weight, grad, stride, (0, 0), (1, 1))
    out = torch.empty_like(weight)
    kernel = weight[:, :, :3, :3].contiguous()
    rows, columns = ((side - 1) * step + 3 for side, step in zip(grad.shape[-2:], stride, strict=True))
    for top in (0, 2):
        for left in (0, 2):
            part = x[:, :, top : top + rows, left : left + columns]
            out[:, :, top : top + 3, left : left + 3] = _gradient(part, kernel, grad, stride, (0, 0), (1, 1))
    return out


def _phases(x: Tensor, d: int) -> Tensor:
    """(N, C, H, W) to (N d d, C, H/d, W/d): every d-th pixel of every d-th row, from each of the d d first ones."""
    n, c, height, width = x.shape
    grid = x.reshape(n, c, height // d, d, width // d, d).permute(0, 3, 5, 1, 2, 4)
    return grid.reshape(n * d * d, c, height // d, width // d)


def _gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    x = x.contiguous(memory_format=CHANNELS_LAST)
    grad = grad.contiguous(memory_format=CHANNELS_LAST)
    mask = [False, True, False]
    found: Tensor = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, False, [0, 0], x.shape[1], mask
    )[1]
    return found
