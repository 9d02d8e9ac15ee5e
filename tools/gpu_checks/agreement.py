"""Whether the GPU's labels are those of the CPU's kernels, given the logits that the GPU itself computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.gpu.cuda import Device
from rtseg.kernels import cpu
from rtseg.kernels.cuda import Kernels
from rtseg.segmenter.device import DeviceSegmenter

__all__ = ["compare"]


def compare(segmenter: DeviceSegmenter, gpu: Device, images: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Label frames by their graph, and by the CPU from the logits of the same frames; both as shares of equal pixels.

    The logits are the network's on the input that the graph's preprocess wrote, run once more outside of the graph, as
    those inside are not kept. `kernel` is the share with the GPU's kernel on just the logits that the CPU gets, which
    tells the kernel from a network that does not repeat itself.
    """
    device: Any = gpu
    kernels = Kernels(device)
    equal = same = total = 0
    worst = 1.0
    for image in images:
        (track, results), place = segmenter.preprocess(image)
        segmenter.backend.submit((track, results))
        labels, _ = segmenter.labels(segmenter.backend.collect(), place)
        assert labels is not None
        context, stream = results.buffers.execution_context, results.buffers.stream
        logits = np.empty(context.shape, context.dtype)
        gpu.copy_out(logits, context.enqueue(), stream)
        stream.synchronize()
        expected = cpu.labels(logits, place.frame, fit=place)
        alone = kernels.labels(logits, place.frame, fit=place)
        found = int(np.count_nonzero(labels == expected))
        equal, total = equal + found, total + labels.size
        same += int(np.count_nonzero(alone == expected))
        worst = min(worst, found / labels.size)
    return {
        "frames": len(images),
        "pixels": total,
        "different": total - equal,
        "equal": equal / total,
        "worst_frame": worst,
        "kernel": same / total,
    }
