"""Where the CUDA toolkit's headers are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def headers() -> Path | None:
    """The folder with cuda.h: that of CUDA_ROOT or CUDA_HOME, of nvcc, or of /usr/local; None without a toolkit."""
    roots = [Path(os.environ[name]) for name in ("CUDA_ROOT", "CUDA_HOME") if os.environ.get(name)]
    nvcc = shutil.which("nvcc")
    roots += [Path(nvcc).resolve().parents[1]] if nvcc else []
    roots += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True)]
    return next((root / "include" for root in roots if (root / "include" / "cuda.h").is_file()), None)
