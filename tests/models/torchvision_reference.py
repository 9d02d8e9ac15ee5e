"""torchvision's DeepLabV3 and LR-ASPP from their published definition: keys, shapes, and a forward pass of functions.

Nothing here comes from `rtseg.models`: the forward pass needs a state dictionary alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

RESNET50 = (3, 4, 6, 3)
RESNET_DILATIONS = ((1, 1), (1, 1), (1, 2), (2, 4))
"""Dilation of the first block of a stage and of the others, at output stride 8."""
MOBILENET_V3 = (  # kernel, expanded, output channels, squeezed, activation, stride, dilation; at output stride 16
    (3, 16, 16, 0, "relu", 1, 1),
    (3, 64, 24, 0, "relu", 2, 1),
    (3, 72, 24, 0, "relu", 1, 1),
    (5, 72, 40, 24, "relu", 2, 1),
    (5, 120, 40, 32, "relu", 1, 1),
    (5, 120, 40, 32, "relu", 1, 1),
    (3, 240, 80, 0, "hardswish", 2, 1),
    (3, 200, 80, 0, "hardswish", 1, 1),
    (3, 184, 80, 0, "hardswish", 1, 1),
    (3, 184, 80, 0, "hardswish", 1, 1),
    (3, 480, 112, 120, "hardswish", 1, 1),
    (3, 672, 112, 168, "hardswish", 1, 1),
    (5, 672, 160, 168, "hardswish", 1, 2),
    (5, 960, 160, 240, "hardswish", 1, 2),
    (5, 960, 160, 240, "hardswish", 1, 2),
)


def conv(name: str, outputs: int, inputs: int, kernel: int = 1, *, bias: bool = False) -> Shapes:
    weight: Shapes = {f"{name}.weight": (outputs, inputs, kernel, kernel)}
    return {**weight, f"{name}.bias": (outputs,)} if bias else weight


def norm(name: str, planes: int) -> Shapes:
    vectors: Shapes = {f"{name}.{key}": (planes,) for key in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}


def resnet_shapes(depths: tuple[int, ...]) -> Shapes:
    shapes, inputs = {**conv("conv1", 64, 3, 7), **norm("bn1", 64)}, 64
    for stage, depth in enumerate(depths):
        planes = 64 << stage
        for block in range(depth):
            at = f"layer{stage + 1}.{block}"
            shapes |= {**conv(f"{at}.conv1", planes, inputs), **norm(f"{at}.bn1", planes)}
            shapes |= {**conv(f"{at}.conv2", planes, planes, 3), **norm(f"{at}.bn2", planes)}
            shapes |= {**conv(f"{at}.conv3", 4 * planes, planes), **norm(f"{at}.bn3", 4 * planes)}
            if block == 0:
                shapes |= {**conv(f"{at}.downsample.0", 4 * planes, inputs), **norm(f"{at}.downsample.1", 4 * planes)}
            inputs = 4 * planes
    return shapes


def mobilenet_shapes() -> Shapes:
    shapes, inputs = {**conv("0.0", 16, 3, 3), **norm("0.1", 16)}, 16
    for index, (kernel, planes, outputs, squeezed, *_) in enumerate(MOBILENET_V3, 1):
        part = (f"{index}.block.{n}" for n in range(4))
        if planes != inputs:
            at = next(part)
            shapes |= {**conv(f"{at}.0", planes, inputs), **norm(f"{at}.1", planes)}
        at = next(part)
        shapes |= {**conv(f"{at}.0", planes, 1, kernel), **norm(f"{at}.1", planes)}
        if squeezed:
            at = next(part)
            shapes |= conv(f"{at}.fc1", squeezed, planes, bias=True) | conv(f"{at}.fc2", planes, squeezed, bias=True)
        at = next(part)
        shapes |= {**conv(f"{at}.0", outputs, planes), **norm(f"{at}.1", outputs)}
        inputs = outputs
    return {**shapes, **conv("16.0", 960, 160), **norm("16.1", 960)}


def deeplab_shapes(backbone: Shapes, inputs: int, auxiliary: int, classes: int) -> Shapes:
    shapes = {f"backbone.{key}": shape for key, shape in backbone.items()}
    head = "classifier.0.convs"
    shapes |= {**conv(f"{head}.0.0", 256, inputs), **norm(f"{head}.0.1", 256)}
    for branch in (1, 2, 3):
        shapes |= {**conv(f"{head}.{branch}.0", 256, inputs, 3), **norm(f"{head}.{branch}.1", 256)}
    shapes |= {**conv(f"{head}.4.1", 256, inputs), **norm(f"{head}.4.2", 256)}
    shapes |= {**conv("classifier.0.project.0", 256, 1280), **norm("classifier.0.project.1", 256)}
    shapes |= {**conv("classifier.1", 256, 256, 3), **norm("classifier.2", 256)}
    shapes |= conv("classifier.4", classes, 256, bias=True)
    planes = auxiliary // 4
    shapes |= {**conv("aux_classifier.0", planes, auxiliary, 3), **norm("aux_classifier.1", planes)}
    return {**shapes, **conv("aux_classifier.4", classes, planes, bias=True)}


def lraspp_shapes(classes: int) -> Shapes:
    shapes = {f"backbone.{key}": shape for key, shape in mobilenet_shapes().items()}
    shapes |= {**conv("classifier.cbr.0", 128, 960), **norm("classifier.cbr.1", 128)}
    shapes |= conv("classifier.scale.1", 128, 960)
    shapes |= conv("classifier.low_classifier", classes, 40, bias=True)
    return {**shapes, **conv("classifier.high_classifier", classes, 128, bias=True)}


def random_state(shapes: Shapes) -> State:
    """Float64 weights that keep activations near 1, and normalisation that is not the identity."""
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif len(shape) == 4:
            fan_in = shape[1] * shape[2] * shape[3]
            state[name] = torch.randn(shape, dtype=torch.float64) * (2 / fan_in) ** 0.5
        elif name.endswith(("running_mean", "bias")):
            state[name] = 0.1 * torch.randn(shape, dtype=torch.float64)
        else:
            state[name] = 0.7 + 0.6 * torch.rand(shape, dtype=torch.float64)
    return state


def _conv(state: State, name: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)


def _norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), eps=eps)


def resnet(state: State, depths: tuple[int, ...], x: Tensor) -> Iterator[Tensor]:
    """The outputs of layer1 to layer4 at output stride 8."""

    def step(at: str, n: int | str, x: Tensor, **options: int) -> Tensor:
        return _norm(state, f"{at}.bn{n}", _conv(state, f"{at}.conv{n}", x, **options), 1e-5)

    stem = _norm(state, "backbone.bn1", _conv(state, "backbone.conv1", x, stride=2, padding=3), 1e-5)
    x = F.max_pool2d(stem.relu(), 3, 2, padding=1)
    for stage, (depth, (first, others)) in enumerate(zip(depths, RESNET_DILATIONS, strict=True), 1):
        for block in range(depth):
            at = f"backbone.layer{stage}.{block}"
            stride, dilation = (2 if stage == 2 and block == 0 else 1), (others if block else first)
            y = step(at, 1, x).relu()
            y = step(at, 2, y, stride=stride, padding=dilation, dilation=dilation).relu()
            y = step(at, 3, y)
            if block == 0:
                shortcut = _conv(state, f"{at}.downsample.0", x, stride=stride)
                x = _norm(state, f"{at}.downsample.1", shortcut, 1e-5)
            x = (x + y).relu()
        yield x


def mobilenet(state: State, x: Tensor) -> Iterator[Tensor]:
    """The outputs of backbone.0 to backbone.16 at output stride 16."""

    def step(at: str, x: Tensor, activation: str | None, **options: int) -> Tensor:
        x = _norm(state, f"backbone.{at}.1", _conv(state, f"backbone.{at}.0", x, **options), 1e-3)
        return getattr(F, activation)(x) if activation else x

    x = step("0", x, "hardswish", stride=2, padding=1)
    yield x
    for index, (kernel, planes, _, squeezed, activation, stride, dilation) in enumerate(MOBILENET_V3, 1):
        part = (f"{index}.block.{n}" for n in range(4))
        y = step(next(part), x, activation) if planes != x.shape[1] else x
        padding = dilation * (kernel // 2)
        y = step(next(part), y, activation, stride=stride, padding=padding, dilation=dilation, groups=planes)
        if squeezed:
            at = f"backbone.{next(part)}"
            scale = _conv(state, f"{at}.fc1", y.mean(dim=(2, 3), keepdim=True)).relu()
            y = y * F.hardsigmoid(_conv(state, f"{at}.fc2", scale))
        y = step(next(part), y, None)
        x = x + y if stride == 1 and x.shape == y.shape else y
        yield x
    yield step("16", x, "hardswish")


def deeplab_head(state: State, x: Tensor) -> Tensor:
    def step(at: str, norm: str, x: Tensor, **options: int) -> Tensor:
        return _norm(state, f"classifier.{norm}", _conv(state, f"classifier.{at}", x, **options), 1e-5).relu()

    branches = [step("0.convs.0.0", "0.convs.0.1", x)]
    for branch, rate in ((1, 12), (2, 24), (3, 36)):
        at = f"0.convs.{branch}"
        branches.append(step(f"{at}.0", f"{at}.1", x, padding=rate, dilation=rate))
    pooled = step("0.convs.4.1", "0.convs.4.2", x.mean(dim=(2, 3), keepdim=True))
    branches.append(F.interpolate(pooled, size=x.shape[2:], mode="bilinear", align_corners=False))
    x = step("0.project.0", "0.project.1", torch.cat(branches, dim=1))
    return _conv(state, "classifier.4", step("1", "2", x, padding=1))


def auxiliary_head(state: State, x: Tensor) -> Tensor:
    """In eval mode: without dropout and with the running statistics."""
    x = _norm(state, "aux_classifier.1", _conv(state, "aux_classifier.0", x, padding=1), 1e-5).relu()
    return _conv(state, "aux_classifier.4", x)


def lraspp_head(state: State, low: Tensor, high: Tensor) -> Tensor:
    x = _norm(state, "classifier.cbr.1", _conv(state, "classifier.cbr.0", high), 1e-5).relu()
    x = x * _conv(state, "classifier.scale.1", high.mean(dim=(2, 3), keepdim=True)).sigmoid()
    x = F.interpolate(x, size=low.shape[2:], mode="bilinear", align_corners=False)
    return _conv(state, "classifier.low_classifier", low) + _conv(state, "classifier.high_classifier", x)
