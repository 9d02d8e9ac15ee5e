"""The wire-format reader against the onnx package, and every kind of file that is not one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rtseg.errors import ModelError
from rtseg.packages.onnx_file import Node, TensorInfo, read_onnx
from tests.onnx_models import conv_model, save, value


def test_structure(tmp_path: Path) -> None:
    path = conv_model(tmp_path / "net.onnx", auxiliary=True, opset=13, metadata={"key": "välue", "other": ""})
    model = read_onnx(path)
    assert model.opset == 13
    assert model.metadata == {"key": "välue", "other": ""}
    assert model.inputs == (TensorInfo("pixels", "float32", ("n", 3, "h", "w")),)
    assert model.outputs == (TensorInfo("scores", "float32", None), TensorInfo("auxiliary", "float32", None))
    assert model.nodes[0] == Node("Conv", "", ("pixels", "kernel", "bias"), ("Conv_0",))
    assert [(weight.name, weight.dims) for weight in model.weights] == [("kernel", (5, 3, 8, 8)), ("bias", (5,))]
    assert str(model.inputs[0]) == "'pixels' (float32 nx3xhxw)"
    assert str(model.outputs[0]) == "'scores' (float32, unknown shape)"


def test_initialisers_listed_as_inputs_are_not_fed(tmp_path: Path) -> None:
    path = conv_model(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.input.append(value("kernel", (5, 3, 8, 8)))
    onnx.save(model, path)
    assert [info.name for info in read_onnx(path).inputs] == ["pixels"]


def test_dynamic_dimensions_of_every_kind(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    path = save(tmp_path / "net.onnx", [node], [value("x", ("n", 3, None, -1))], [value("y", (0, 3, 5, 7))], [])
    assert read_onnx(path).inputs[0].dims == ("n", 3, None, None)
    assert read_onnx(path).outputs[0].dims == (None, 3, 5, 7)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "int32", "uint8", "int8", "bool"])
@pytest.mark.parametrize("raw", [True, False])
def test_weights(tmp_path: Path, dtype: str, raw: bool) -> None:
    values = (np.arange(-6, 6).reshape(3, 4) / (2 if "float" in dtype else 1)).astype(dtype)
    if raw:
        tensor = numpy_helper.from_array(values, "w")
    else:
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor = helper.make_tensor("w", kind, values.shape, values.flatten().tolist())
    node = helper.make_node("Identity", ["x"], ["y"])
    path = save(tmp_path / "net.onnx", [node], [value("x", (1,))], [value("y", (1,))], [tensor])
    weight = read_onnx(path).weights[0]
    assert weight.dtype == dtype
    assert np.array_equal(weight.array(tmp_path), values)


def test_bfloat16_weights_become_float32(tmp_path: Path) -> None:
    tensor = helper.make_tensor("w", TensorProto.BFLOAT16, (3,), [1.5, -2.0, 0.0078125])
    node = helper.make_node("Identity", ["x"], ["y"])
    path = save(tmp_path / "net.onnx", [node], [value("x", (1,))], [value("y", (1,))], [tensor])
    found = read_onnx(path).weights[0].array(tmp_path)
    assert found.dtype == np.float32
    assert found.tolist() == [1.5, -2.0, 0.0078125]


class TestExternalData:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = conv_model(tmp_path / "net.onnx")
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.bin", size_threshold=0)
        return path

    def test_values(self, path: Path, tmp_path: Path) -> None:
        inside = conv_model(tmp_path / "inside.onnx")
        for outer, inner in zip(read_onnx(path).weights, read_onnx(inside).weights, strict=True):
            assert np.array_equal(outer.array(tmp_path), inner.array(tmp_path))

    def test_missing(self, path: Path) -> None:
        (path.parent / "net.bin").unlink()
        with pytest.raises(ModelError, match=r"keeps its weights in net\.bin, which is not beside it: copy it there"):
            read_onnx(path)

    def test_cut_short(self, path: Path) -> None:
        (path.parent / "net.bin").write_bytes(b"1234")
        with pytest.raises(ModelError, match=r"net\.bin is cut short: net\.onnx needs \d+ bytes, it has 4"):
            read_onnx(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"hello, this is no model\n", r"is not an ONNX file: it begins with b'hello, .*; give an .onnx file"),
        (b"<!DOCTYPE html><html>", r"is not an ONNX file: it begins with b'<!DOCTYPE"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "is not an ONNX file"),
        (b"PK\x03\x04" + bytes(30), "is not an ONNX file"),
        (bytes(100), "is not an ONNX file"),
        (b"\xff" * 100, "is not an ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the model: run 'git lfs pull'"),
        (b"\x08\x08", "is cut short"),
    ],
)
def test_not_onnx(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=text) as error:
        read_onnx(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_cut_anywhere(tmp_path: Path) -> None:
    """A model cut at any byte before its last field is refused, never misread."""
    path = conv_model(tmp_path / "net.onnx")
    whole = path.read_bytes()
    for length in range(1, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"cut short|not an ONNX"):
            read_onnx(path)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read model .*: Is a directory"):
        read_onnx(tmp_path)
