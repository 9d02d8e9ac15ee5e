"""Which segmenter a backend gets: on its GPU where it keeps frames there, else on the host."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from rtseg.backends.contract import Backend
from rtseg.geometry import FitMode
from rtseg.kernels.crf_settings import Crf
from rtseg.packages.spec import ModelSpec
from rtseg.segmenter.contract import Stages
from rtseg.segmenter.host import HostSegmenter

__all__ = ["on_host", "open_segmenter"]

log = logging.getLogger("rtseg")


def open_segmenter(
    backend: Backend,
    *,
    size: tuple[int, int] | None = None,
    short_side: int | None = None,
    mode: FitMode = "letterbox",
    ignore: Iterable[str] = (),
    antialias: bool = True,
    refine: str | Crf = "none",
) -> Stages:
    """The segmenter of a backend; the options are those of `HostSegmenter`.

    Scores that are to be refined, and networks whose answer is channels last, go through the host; that is logged.
    """
    reason = on_host(backend.spec, refine)
    # Asking for the network on its device opens the GPU by PyCUDA, which frames on the host do without.
    if reason is None and (device_network := getattr(backend, "device_network", None)) is not None:
        from rtseg.segmenter.device import DeviceSegmenter

        return DeviceSegmenter(
            backend, device_network, size=size, short_side=short_side, mode=mode, ignore=ignore, antialias=antialias
        )
    if reason is not None and backend.device.startswith("cuda"):
        log.warning("frames go through the host, only the network runs on %s: %s", backend.device, reason)
    return HostSegmenter(
        backend, size=size, short_side=short_side, mode=mode, ignore=ignore, antialias=antialias, refine=refine
    )


def on_host(spec: ModelSpec, refine: str | Crf) -> str | None:
    """Why frames cannot stay on a backend's GPU; None where they can."""
    if refine != "none":
        return "--refine works on the host's scores"
    if spec.output_layout == "NHWC" and spec.output_kind != "labels":
        return f"{spec.name} puts its classes last"
    return None
