"""A GPU by its name, opened by PyCUDA: the driver is asked first, since PyCUDA does not even import without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtseg import registry
from rtseg.gpu.driver import gpu

if TYPE_CHECKING:
    from rtseg.gpu.cuda import Device

__all__ = ["open_gpu"]


def open_gpu(device: str | None = None) -> Device:
    """The GPU called cuda or cuda:N, opened by PyCUDA.

    Raises:
        BackendError: There is no driver, or no GPU of that name.
        MissingExtra: PyCUDA is not installed.
    """
    gpu(device)
    opened: Device = registry.load({"cuda": ("rtseg.gpu.cuda:Device", "gpu")}, "cuda", "device")(device)
    return opened
