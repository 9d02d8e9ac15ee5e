"""The step `prepare`: what is compiled once on a fresh machine, so that no other step pays for it.

result: kernels {seconds, compilers, bytes, capability}, cpu_kernels_s, torch {seconds, version, cuda, cudnn,
device}, network_s (the first inference on the GPU)
"""

from __future__ import annotations

import time
from typing import Any

from gpu_checks.check import Options
from gpu_checks.record import NotRun, Record

__all__ = ["run"]


def run(options: Options, record: Record) -> None:
    """Compile the kernels for GPU and CPU, and load torch once."""
    result = record.result
    with record.part("kernels.cu"):
        from rtseg.gpu.driver import gpu
        from rtseg.kernels import compile as compilation

        capability = gpu().capability
        begin = time.monotonic()
        image = compilation.compiled(capability)
        result["kernels"] = {
            "seconds": round(time.monotonic() - begin, 2),
            "compilers": list(compilation.compilers()),
            "bytes": len(image),
            "capability": list(capability),
        }
    with record.part("CPU kernels"):
        from rtseg.kernels import cpu

        result["cpu_kernels_s"] = round(cpu.warm_up(), 2)
    with record.part("torch"):
        begin = time.monotonic()
        import torch

        cudnn: Any = torch.backends.cudnn
        result["torch"] = {
            "seconds": round(time.monotonic() - begin, 2),
            "version": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": cudnn.version() if torch.cuda.is_available() else None,
            "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        }
    if options.network == "torch":
        with record.part("network"):
            from gpu_checks.networks import opened
            from rtseg.backends.torch import cuda_problem

            problem = cuda_problem()
            if problem is not None:
                raise NotRun(problem)
            begin = time.monotonic()
            with opened(options, size=options.size) as segmenter:
                segmenter.warm_up(options.frame)
            result["network_s"] = round(time.monotonic() - begin, 2)
