"""TensorRT-RTX builds engines on machines without a GPU: the only importer of tensorrt_rtx.

Nothing here makes a `Runtime`, which can crash the process where there is no NVIDIA driver.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtseg.spec import ModelSpec


def build_engine(path: Path, spec: ModelSpec) -> int:
    """Compile an ONNX file for dynamic height and width and return the plan's size in bytes.

    Skips the test without tensorrt_rtx. AssertionError with TensorRT's own lines where it does not compile.
    """
    trt = pytest.importorskip(
        "tensorrt_rtx", reason="needs tensorrt_rtx: pip install tensorrt-rtx", exc_type=ImportError
    )
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse_from_file(str(path))
    assert parsed, [str(parser.get_error(index)) for index in range(parser.num_errors)]
    image, logits = network.get_input(0), network.get_output(0)
    assert (image.name, logits.name) == (spec.input_name, spec.output_name)
    assert tuple(image.shape) == (1, 3, -1, -1)
    assert tuple(logits.shape) == (1, len(spec.classes), -1, -1)
    profile = builder.create_optimization_profile()
    smallest, usual, largest = ((1, 3, rows * spec.multiple, columns * spec.multiple) for rows, columns in SIDES)
    profile.set_shape(image.name, smallest, usual, largest)
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, log.lines
    return int(plan.nbytes)


SIDES = ((4, 4), (12, 16), (34, 60))
"""Smallest, usual and largest input as numbers of the network's multiple."""


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.lines.append(message)

    return Log()
