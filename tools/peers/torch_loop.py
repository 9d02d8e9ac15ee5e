"""The same loop in PyTorch: `F.interpolate` of the logits to the frame, `argmax`, `cv2.addWeighted`.

The network is rebuilt, with the weights of the ONNX file, by `rtseg.backends.torch.rebuild`: that is the loader, and
nothing else here is rtseg's.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import torch
import torch.nn.functional as F

from job import Array, Emit, Job

PACKAGES = ("torch", "opencv-python", "numpy")


def preprocess(frame: Array, job: Job) -> torch.Tensor:
    """The network's input, 1x3xHxW float32."""
    height, width = job.network
    image = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
    tensor = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).float() / 255.0
    mean, std = torch.from_numpy(job.mean), torch.from_numpy(job.std)
    return (tensor - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


def labels(logits: torch.Tensor, size: tuple[int, int]) -> Array:
    """Labels at `size` (height, width) from 1xCxhxw logits."""
    scores = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    ids: Array = scores.argmax(dim=1).squeeze(0).to(torch.uint8).cpu().numpy()
    return ids


def overlay(frame: Array, ids: Array, palette: Array) -> Array:
    """The classes' colours over the frame, half and half."""
    return cv2.addWeighted(frame, 0.5, palette[ids], 0.5, 0)


class TorchLoop:
    """Eager, float32, on the CPU."""

    concurrent = False

    def __init__(self, job: Job) -> None:
        from rtseg.backends.torch import rebuild
        from rtseg.packages.spec import find_package

        self.job = job
        cv2.setNumThreads(job.threads)
        torch.set_num_threads(job.threads)
        spec = find_package(str(job.model)).spec
        assert spec is not None, f"{job.model} has no spec.json beside it"
        self.network = rebuild(job.model, spec)

    @torch.inference_mode()
    def run(self, frames: Iterable[Array], emit: Emit, *, ahead: bool = False) -> None:
        job, palette = self.job, self.job.palette
        for frame in frames:
            logits = self.network(preprocess(frame, job))
            ids = labels(logits, frame.shape[:2])
            emit(ids, overlay(frame, ids, palette))


open_peer = TorchLoop
