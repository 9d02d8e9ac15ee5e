"""torch on tensors that are on the GPU already: the network inside a frame's CUDA graph, channels last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from rtseg.backends._shared import input_shape, one_line
from rtseg.cuda import Device, Stream
from rtseg.errors import BackendError
from rtseg.spec import ModelSpec

__all__ = ["TorchLanes"]

WARM_UP_RUNS = 3
"""Runs before recording, in which cuDNN chooses its algorithms."""


class TorchLanes:
    """`rtseg.device.network.Lanes` for a network that is on `gpu` in `dtype`, in eval mode and channels last."""

    def __init__(self, network: nn.Module, spec: ModelSpec, gpu: Device, dtype: torch.dtype) -> None:
        self.gpu, self._network, self._spec, self._dtype = gpu, network, spec, dtype

    def lane(self, size: tuple[int, int], stream: Stream) -> TorchLane:
        """The network for an input of (height, width)."""
        input_shape(self._spec, size)
        return TorchLane(self._network, self._spec, self.gpu, self._dtype, size, stream)


class TorchLane:
    """`rtseg.device.network.Lane`: preprocess writes the tensor as channels-last memory is, and in its precision."""

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        gpu: Device,
        dtype: torch.dtype,
        size: tuple[int, int],
        stream: Stream,
    ) -> None:
        self._network, self._place = network, torch.device(gpu.name)
        self._dtype = dtype
        half = dtype == torch.float16
        self.takes = replace(spec, dtype="float16" if half else "float32", layout="NHWC")
        self._stream = torch.cuda.ExternalStream(stream.handle, device=self._place)  # type: ignore[no-untyped-call]
        self._held: list[Any] = []
        self._pool = torch.cuda.graph_pool_handle()
        with self._failing(), torch.cuda.stream(self._stream):
            tensor = torch.zeros((1, 3, *size), dtype=torch.float16 if half else torch.float32, device=self._place)
            self._tensor = tensor.contiguous(memory_format=torch.channels_last)
            for _ in range(WARM_UP_RUNS):
                output = self._forward()
            self._stream.synchronize()
        self.input: int = self._tensor.data_ptr()
        self.shape = tuple(output.shape[1:])
        self.dtype: np.dtype[Any] = np.dtype(np.float16 if output.dtype == torch.float16 else np.float32)

    def enqueue(self) -> int:
        """Queue the network; where its output will be. The output is kept, for its address is in the graph."""
        with self._failing(), torch.cuda.stream(self._stream):
            output = self._forward()
        self._held.append(output)
        address: int = output.data_ptr()
        return address

    @contextmanager
    def capture(self) -> Iterator[_TorchGraph]:
        """Record what is queued on the stream; all graphs of the lane share memory, as only one runs at a time."""
        graph = torch.cuda.CUDAGraph()
        with (
            self._failing(),
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
        ):
            yield _TorchGraph(graph, self._stream, self._failing)

    def close(self) -> None:
        """Let go of the tensors; nothing may be running."""
        self._held.clear()
        del self._tensor

    def _forward(self) -> Tensor:
        with torch.inference_mode():
            output = self._network(self._tensor.to(self._dtype))
            output = output[0] if isinstance(output, (tuple, list)) else output
            result: Tensor = output.float() if output.dtype == torch.bfloat16 else output
            return result.contiguous()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BackendError:
            raise
        except RuntimeError as exc:
            raise BackendError(f"torch failed on {self._place}: {one_line(exc)}") from exc


class _TorchGraph:
    """A graph that torch recorded, as `rtseg.device.network.Recorded`."""

    def __init__(self, graph: Any, stream: Any, failing: Callable[[], Any]) -> None:
        self._graph, self._stream, self._failing = graph, stream, failing

    def launch(self, stream: int) -> None:
        """Queue the frame on the lane's stream, whose handle `stream` is."""
        with self._failing(), torch.cuda.stream(self._stream):
            self._graph.replay()

    def close(self) -> None:
        """Give the graph back; it must not be running."""
        self._graph.reset()
