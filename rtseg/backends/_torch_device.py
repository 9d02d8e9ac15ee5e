"""torch on tensors that are on the GPU already: the network inside a frame's CUDA graph, channels last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from rtseg.backends._torch_shared import WARM_UP_RUNS, failing
from rtseg.gpu.cuda import Device, Stream
from rtseg.gpu.graph import uncollected
from rtseg.packages.shapes import answer_shape, input_shape
from rtseg.packages.spec import ModelSpec

__all__ = ["TorchDeviceNetwork"]


class TorchDeviceNetwork:
    """`rtseg.gpu.network.DeviceNetwork` for a network that is on `gpu` in `dtype`, in eval mode and channels last.

    `nhwc` says that it takes tensors 1xHxWx3, as a torch export may; else it takes 1x3xHxW.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, gpu: Device, dtype: torch.dtype, *, nhwc: bool) -> None:
        self.gpu, self._network, self._spec, self._dtype, self._nhwc = gpu, network, spec, dtype, nhwc

    def execution_context(self, size: tuple[int, int], stream: Stream) -> TorchExecutionContext:
        """The network for an input of (height, width)."""
        input_shape(self._spec, size)
        return TorchExecutionContext(self._network, self._spec, self.gpu, self._dtype, size, stream, nhwc=self._nhwc)


class TorchExecutionContext:
    """An `ExecutionContext`: preprocess writes the tensor as channels-last memory is, and in its precision."""

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        gpu: Device,
        dtype: torch.dtype,
        size: tuple[int, int],
        stream: Stream,
        *,
        nhwc: bool,
    ) -> None:
        self._network, self._place = network, torch.device(gpu.name)
        self._dtype, self._nhwc = dtype, nhwc
        kind = torch.uint8 if spec.dtype == "uint8" else torch.float16 if dtype == torch.float16 else torch.float32
        self.takes = replace(spec, dtype=_name(kind), layout="NHWC")
        self._stream = torch.cuda.ExternalStream(stream.handle, device=self._place)  # type: ignore[no-untyped-call]
        self._held: list[Any] = []
        self._pool = torch.cuda.graph_pool_handle()
        with failing(self._place), torch.cuda.stream(self._stream):
            self._tensor = torch.zeros((1, *size, 3), dtype=kind, device=self._place)
            for _ in range(WARM_UP_RUNS):
                output = self._forward()
            self._stream.synchronize()
        self.input: int = self._tensor.data_ptr()
        self.shape = answer_shape(spec, tuple(output.shape))
        self.dtype: np.dtype[Any] = np.dtype(_name(output.dtype))

    def enqueue(self) -> int:
        """Queue the network; where its output will be. The output is kept, for its address is in the graph."""
        with failing(self._place), torch.cuda.stream(self._stream):
            output = self._forward()
        self._held.append(output)
        address: int = output.data_ptr()
        return address

    @contextmanager
    def capture(self) -> Iterator[_TorchGraph]:
        """Record what is queued on the stream; all graphs of this context share memory, as only one runs at a time."""
        graph = torch.cuda.CUDAGraph()
        with (
            failing(self._place),
            uncollected(),
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
        ):
            yield _TorchGraph(graph, self._stream, self._place)

    def close(self) -> None:
        """Let go of the tensors; nothing may be running."""
        self._held.clear()
        del self._tensor

    def _forward(self) -> Tensor:
        with torch.inference_mode():
            tensor = self._tensor.to(self._dtype)
            output = self._network(tensor if self._nhwc else tensor.permute(0, 3, 1, 2))
            output = output[0] if isinstance(output, (tuple, list)) else output
            result: Tensor = output.float() if output.dtype == torch.bfloat16 else output
            return result.contiguous()


def _name(dtype: torch.dtype) -> Any:
    """NumPy's name of a type."""
    return str(dtype).removeprefix("torch.")


class _TorchGraph:
    """A graph that torch recorded, as `rtseg.gpu.network.Recorded`."""

    def __init__(self, graph: Any, stream: Any, place: torch.device) -> None:
        self._graph, self._stream, self._place = graph, stream, place

    def launch(self, stream: int) -> None:
        """Queue the frame on the context's stream, whose handle `stream` is."""
        with failing(self._place), torch.cuda.stream(self._stream):
            self._graph.replay()

    def close(self) -> None:
        """Give the graph back; it must not be running."""
        self._graph.reset()
