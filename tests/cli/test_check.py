"""`rtseg check` reports; it does not fail because something is missing or broken."""

from __future__ import annotations

import io
import json
from importlib import metadata
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from rtseg import registry
from rtseg.cli import check
from rtseg.errors import BackendError


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return check.check()


def printed(report: dict[str, Any]) -> str:
    out = io.StringIO()
    check.print_check(report, Console(file=out, width=200))
    return out.getvalue()


def by_backend(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in report["backends"] if entry["backend"] == name)


def test_the_tiny_network_is_what_it_is_said_to_be() -> None:
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("AveragePool", ["image"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
                helper.make_node("Conv", ["p", "w", "b"], ["logits"]),
            ],
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, "y", "x"])],
            [
                numpy_helper.from_array(np.array(check.KERNEL, np.float32)[..., None, None], "w"),
                numpy_helper.from_array(np.array(check.BIAS, np.float32), "b"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 11)],
        ir_version=6,
    )
    assert onnx.load_from_string(check.TINY_ONNX) == model


def test_every_backend_works_here(report: dict[str, Any]) -> None:
    for name in ("openvino", "onnxruntime", "torch"):
        entry = by_backend(report, name)
        assert (entry["works"], entry["device"], entry["detail"]) == (True, "cpu", "")
        assert entry["milliseconds"] > 0
    assert report["ok"]


def test_versions_and_machine(report: dict[str, Any]) -> None:
    assert report["versions"]["numpy"] == np.__version__
    assert report["versions"]["openvino"] == metadata.version("openvino")
    assert report["cpu"]["cores"] >= 1
    assert set(report["cpu"]["flags"]) <= set(check.FLAGS)
    assert report["video"]["ffmpeg (in av)"][0].isdigit() or report["video"]["ffmpeg (in av)"][0] in "nN"
    assert json.loads(json.dumps(report)) == report


def test_print(report: dict[str, Any]) -> None:
    extras = {"onnx": {"missing": ["onnxruntime"], "install": "pip install 'rtseg[onnx]'"}}
    text = printed({**report, "extras": {**extras, "train": {"missing": [], "install": ""}}})
    assert "lacks onnxruntime: pip install 'rtseg[onnx]'" in text
    assert "train  complete" in text
    assert np.__version__ in text
    assert "works, " in text
    assert "no backend works" not in text


def test_missing_extra_and_nothing_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BACKENDS", {"tensorrt": ("nowhere_to_be_found.x:Y", "tensorrt")})
    report = check.check()
    assert by_backend(report, "tensorrt")["detail"] == (
        "backend 'tensorrt' needs nowhere_to_be_found: pip install 'rtseg[tensorrt]'"
    )
    assert report["ok"] is False
    assert "no backend works" in printed(report)


class Broken:
    """A backend whose answers are wrong, or that raises."""

    name = "broken"
    precision = "fp32"
    raises = False

    def __init__(self, *args: Any, **options: Any) -> None:
        if self.raises:
            raise BackendError("driver too old")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None: ...

    def prepare(self, size: Any) -> None: ...

    def submit(self, tensor: Any) -> None:
        self.tensor = tensor

    def collect(self) -> Any:
        return check.expected(self.tensor) + 0.5


def devices() -> list[str]:
    return ["CPU"]


@pytest.mark.parametrize(("raises", "detail"), [(False, "wrong numbers: off by 0.5"), (True, "driver too old")])
def test_backend_that_does_not_work(monkeypatch: pytest.MonkeyPatch, raises: bool, detail: str) -> None:
    monkeypatch.setattr(registry, "BACKENDS", {"broken": (f"{__name__}:Broken", None)})
    monkeypatch.setattr(Broken, "raises", raises)
    entry = by_backend(check.check(), "broken")
    assert (entry["works"], entry["device"], entry["detail"]) == (False, "cpu", detail)
    assert "does not work" in printed(check.check())


def test_library_that_is_installed_but_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(module: str) -> Any:
        raise ImportError(f"libGL.so.1: cannot open shared object file\n({module})")

    monkeypatch.setattr(check.importlib, "import_module", fails)
    monkeypatch.setattr(registry, "BACKENDS", {})
    report = check.check()
    assert "does not import: libGL.so.1: cannot open shared object file (cv2)" in report["versions"]["opencv-python"]


def test_extras_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    required = ["numpy>=2", "absent>=1; extra == 'gpu'", 'numpy>=2; extra == "gpu"', "pytest; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda name: required)
    assert check.check()["extras"] == {"gpu": {"missing": ["absent"], "install": "pip install 'rtseg[gpu]'"}}
