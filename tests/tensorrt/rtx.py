"""Plans of small models by the real TensorRT-RTX, which needs no GPU to build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

library = pytest.importorskip(
    "rtseg.tensorrt.library", reason="needs tensorrt_rtx: pip install 'rtseg[tensorrt-rtx]'", exc_type=ImportError
)
if not library.IS_RTX:
    pytest.skip("TensorRT itself is installed, which builds on a GPU only", allow_module_level=True)

from rtseg.packages.complete import complete_spec  # noqa: E402
from rtseg.packages.spec import ModelSpec  # noqa: E402
from rtseg.tensorrt.profiles import Profile  # noqa: E402
from tests.onnx_models import NORMALISATION, conv_model  # noqa: E402

SIZE = (64, 96)
ONE = (Profile.fixed(SIZE),)


def small(folder: Path, **options: Any) -> tuple[Path, ModelSpec]:
    """The convolution of tests.onnx_models and its spec."""
    path = conv_model(folder / "net.onnx", **options)
    return path, complete_spec(path, None, NORMALISATION)
