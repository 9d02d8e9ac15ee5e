"""The network that the whole-frame steps run: torch on the GPU, or for dry runs the one of tests/device."""

from __future__ import annotations

from typing import Any

from gpu_checks.check import Options
from rtseg.backends import open_backend
from rtseg.errors import BackendError
from rtseg.geometry import FitMode
from rtseg.segmenter.device import DeviceSegmenter

__all__ = ["opened", "rival_network", "segmenter_of"]


def opened(
    options: Options, *, size: tuple[int, int] | None = None, depth: int = 1, mode: FitMode = "letterbox"
) -> DeviceSegmenter:
    """The model in fp16 on frames that stay on the GPU; `size` None is the model's own for the frame."""
    if options.network == "blocks":
        from tests.segmenter.block_network import BlockBackend

        backend: Any = BlockBackend(depth, type_in="float16", type_out="float16")
    else:
        backend = open_backend("torch", options.model, device="cuda", precision="fp16", depth=depth)
    return segmenter_of(backend, size=size, mode=mode)


def segmenter_of(backend: Any, *, size: tuple[int, int] | None, mode: FitMode = "letterbox") -> DeviceSegmenter:
    """Frames on the GPU of a backend, which is closed with it. Errors: BackendError for one on the host."""
    try:
        device_network = getattr(backend, "device_network", None)
        if device_network is None:
            raise BackendError(f"{backend.name} on {backend.device} takes the host's tensors only")
        return DeviceSegmenter(backend, device_network, size=size, mode=mode)
    except BaseException:
        backend.close()
        raise


def rival_network(options: Options) -> tuple[Any, str, Any]:
    """The same network for torch's own pipelines: the module in eval mode, its device and its dtype."""
    import torch

    if options.network == "blocks":
        return _blocks(), "cpu", torch.float32
    from rtseg.backends.torch import rebuild
    from rtseg.packages.spec import find_package

    package = find_package(options.model)
    if package.spec is None:
        raise BackendError(f"{package.path} has no spec.json: give a model package")
    network = rebuild(package.path, package.spec).to("cuda", torch.float16, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, "cuda", torch.float16


def _blocks() -> Any:
    """tests/device/network.cu in torch."""
    import torch

    from tests.gpu import network
    from tests.segmenter.block_network import CLASSES

    weights, bias = network.random_weights(len(CLASSES))
    linear: Any = torch.nn.Conv2d(3, len(CLASSES), 1)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weights)[:, :, None, None])
        linear.bias.copy_(torch.from_numpy(bias))
    return torch.nn.Sequential(torch.nn.AvgPool2d(network.STRIDE), linear).eval()
