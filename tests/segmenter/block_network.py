"""A backend for tests whose network is `network.cu`: on any GPU, the emulated one too, without torch or TensorRT."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from rtseg.gpu.cuda import Device, Graph, Stream
from rtseg.packages.spec import ModelSpec
from tests.gpu import network

CLASSES = ("road", "sky", "tree", "car", "sign")
SPEC = ModelSpec(
    name="blocks",
    classes=CLASSES,
    short_side=64,
    multiple=16,
    output_stride=8,
    mean=(0.4, 0.45, 0.5),
    std=(0.2, 0.25, 0.3),
    license="Apache-2.0",
)


class BlockExecutionContext:
    """`network.cu` at one size on one stream."""

    def __init__(self, owner: BlockBackend, size: tuple[int, int], stream: Stream) -> None:
        self._gpu, self._stream = owner.gpu, stream
        self.takes, self.dtype = replace(owner.spec, dtype=owner.type_in), np.dtype(owner.type_out)
        grid = (size[0] // network.STRIDE, size[1] // network.STRIDE)
        self.shape: tuple[int, ...] = (len(CLASSES), *grid)
        self._tensor = self._gpu.empty(3 * size[0] * size[1] * np.dtype(owner.type_in).itemsize)
        self._scores = self._gpu.empty(int(np.prod(self.shape)) * self.dtype.itemsize)
        self.input = self._tensor.address
        self._launch = network.launch(
            self.input,
            self._scores.address,
            size,
            owner.weights,
            owner.bias,
            input_type=owner.type_in,
            output_type=owner.type_out,
        )
        self._function = owner.function

    def enqueue(self) -> int:
        launch = self._launch
        self._function._launch_kernel(launch.grid, launch.block, launch.params.tobytes(), 0, self._stream.pycuda)
        return self._scores.address

    def capture(self) -> AbstractContextManager[Graph]:
        return self._gpu.capture(self._stream)

    def close(self) -> None:
        self._tensor.free()
        self._scores.free()


class BlockBackend:
    """Runs `network.cu`; `answer` computes the same on the host."""

    name, precision = "blocks", "fp32"

    def __init__(self, depth: int = 1, spec: ModelSpec = SPEC, type_in: str = "float32", type_out: str = "float32"):
        self.gpu, self.depth, self.spec = Device(), depth, spec
        self.type_in, self.type_out, self.device = type_in, type_out, self.gpu.name
        self.weights, self.bias = network.random_weights(len(CLASSES))
        self._module = self.gpu.module(network.compiled(self.gpu.capability))
        self.function: Any = self._module.get_function(network.KERNEL)
        self.device_network = self
        self.made: list[BlockExecutionContext] = []

    def execution_context(self, size: tuple[int, int], stream: Stream) -> BlockExecutionContext:
        self.made.append(BlockExecutionContext(self, size, stream))
        return self.made[-1]

    def answer(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The scores (C, h, w) of a tensor 1x3xHxW."""
        scores: NDArray[Any] = network.reference(
            tensor.astype(self.type_in), self.weights, self.bias, output_type=self.type_out
        )[0]
        return scores.astype(np.float32)

    def __enter__(self) -> BlockBackend:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def prepare(self, size: tuple[int, int]) -> None:
        raise AssertionError("frames on the device need no tensors of the host")

    submit = collect = prepare

    def close(self) -> None:
        self.function = self._module = None
        self.gpu.close()
