"""Engines: a runtime that does not start, and what the inspector says of layers (made up: a real one needs a GPU)."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from rtseg.errors import BackendError
from tests.tensorrt.rtx import library

from rtseg.tensorrt import engine  # isort: skip - tests.tensorrt.rtx skips where there is no TensorRT
from rtseg.export import show_plan as show  # isort: skip - tests.tensorrt.rtx skips where there is no TensorRT

CONVOLUTION = {
    "Name": "stem + relu",
    "LayerType": "CaskConvolution",
    "Outputs": [
        {"Dimensions": [1, 32, 208, 384], "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}
    ],
}
RESIZE = {"Name": "up", "LayerType": "Resize", "Outputs": [{"Dimensions": [1, 11], "Format/Datatype": "Float"}]}
LINES = [
    "stem + relu: CaskConvolution -> 1x32x208x384 Channel major FP16 format where channel % 8 == 0",
    "up: Resize -> 1x11 Float",
    "a name alone",
]


class Inspected:
    """An engine whose inspector knows three layers."""

    def create_engine_inspector(self) -> Inspected:
        return self

    def get_engine_information(self, form: Any) -> str:
        assert form == library.trt.LayerInformationFormat.JSON
        return json.dumps({"Layers": [CONVOLUTION, RESIZE, "a name alone"], "Bindings": ["image"]})


@pytest.mark.gpu
def test_layers_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "deserialise", lambda plan: (Inspected(), ""))
    assert engine.inspected(b"plan") == (LINES, "")
    monkeypatch.setattr(engine, "deserialise", lambda plan: (None, "expecting compute 8.9 got compute 12.0"))
    assert engine.inspected(b"plan") == (None, "expecting compute 8.9 got compute 12.0")


def test_summary_of_layers() -> None:
    assert engine.summary(LINES) == "3 layers of the engine as fused, by what they answer in: 1 fp16, 1 fp32, 1 other"
    assert engine.summary(["half: Cask -> 1x2 Int8", "b: C -> 1x2 Half"]).endswith("1 int8, 1 fp16")


def test_layers_are_printed_with_their_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(show, "inspected", lambda plan: (LINES, ""))
    built: Any = type("Built", (), {"data": b"plan"})()
    show.print_layers(built, Console(file=out, width=40))
    assert out.getvalue().replace("\n", " ").split() == " ".join([engine.summary(LINES), *LINES]).split()


def test_runtime_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the driver is too old for this TensorRT: pybind11 then raises TypeError."""

    def nothing(log: Any) -> None:
        log.log(library.trt.ILogger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(engine, "driver", lambda: None)
    monkeypatch.setattr(library.trt, "Runtime", nothing)
    engine._runtime.cache_clear()
    with pytest.raises(BackendError, match="does not start its runtime: CUDA initialization failure with error: 35"):
        engine.deserialise(b"plan")
    assert engine._runtime.cache_info().currsize == 0  # it is asked again the next time
