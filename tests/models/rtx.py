"""TensorRT-RTX builds engines on machines without a GPU: every network is compiled as `rtseg build` would do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtseg.packages.spec import ModelSpec


def build_engine(path: Path, spec: ModelSpec, precision: str = "fp32") -> int:
    """Compile an ONNX file for dynamic height and width in fp32 or fp16 and return the plan's size in bytes.

    What it took is kept in `BUILDS`. Skips the test without tensorrt_rtx. ModelError or BackendError with TensorRT's
    own words where it does not compile.
    """
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx: pip install tensorrt-rtx", exc_type=ImportError)
    from rtseg.tensorrt import fold, half
    from rtseg.tensorrt.compile import Options, compile_plan
    from rtseg.tensorrt.profiles import Profile

    model = fold.load(path)
    fold.fold(model)
    if precision == "fp16":
        assert half.halve(model).half > 0
    smallest, usual, largest = ((rows * spec.multiple, columns * spec.multiple) for rows, columns in SIDES)
    made = compile_plan(model.SerializeToString(), spec, (Profile(smallest, usual, largest),), Options())
    assert made.tensors == {
        spec.input_name: ("input", "fp32", (1, 3, -1, -1)),
        spec.output_name: ("output", "fp32", (1, len(spec.classes), -1, -1)),
    }
    if precision == "fp16":
        assert set(made.counts()["convolution"]) == {"fp16"}
    BUILDS.append((spec.name, precision, made.seconds, len(made.plan)))
    return len(made.plan)


BUILDS: list[tuple[str, str, float, int]] = []
"""Name, precision, seconds and bytes of every build so far: printed when the tests are done."""
SIDES = ((4, 4), (12, 16), (34, 60))
"""Smallest, usual and largest input as numbers of the network's multiple."""
