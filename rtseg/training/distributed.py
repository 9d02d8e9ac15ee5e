"""Data-parallel training under `torchrun`: which process this is, and the few things that processes agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rtseg.errors import ConfigError

__all__ = ["Processes", "joined"]

PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: the first one validates alone."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process' `rank` among `count`, and its device; alone it is 0 of 1 and nothing is sent."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose backward pass averages gradients over the processes."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def agree(self, *values: float) -> list[float]:
        """The first process' values, in all of them."""
        return self._exchanged(values, dist.broadcast, src=0)

    def mean(self, values: Sequence[float]) -> list[float]:
        """The mean of each value over the processes."""
        return [value / self.count for value in self._exchanged(values, dist.all_reduce)]

    def _exchanged(self, values: Sequence[float], how: object, **options: int) -> list[float]:
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        how(tensor, **options)  # type: ignore[operator]
        return [float(value) for value in tensor.tolist()]


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, or be alone; `device` is `auto`, `cpu`, `cuda` or `cuda:N`.

    Under torchrun each process has the GPU of its local rank. Errors: ConfigError.
    """
    local = os.environ.get("LOCAL_RANK")  # the contract of torchrun
    count = int(os.environ.get("WORLD_SIZE", "1")) if local is not None else 1
    chosen = find_device(device, int(local or 0))
    if count == 1:
        yield Processes(chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """The torch device of a name; ConfigError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdecimal()):
        raise ConfigError(f"unknown device '{name}' (choices: auto, cpu, cuda, cuda:N)")
    number, found = int(index) if index else local_rank, torch.cuda.device_count()
    if number >= found:
        raise ConfigError(f"no device '{name}': torch {torch.__version__} finds {found} CUDA devices here")
    return torch.device("cuda", number)
