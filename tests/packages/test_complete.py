"""The spec of any ONNX file: what is read, what wins, and one line for each file that cannot be run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rtseg.errors import ConfigError, ModelError
from rtseg.packages.complete import complete_spec
from rtseg.packages.output import grid_strides
from rtseg.packages.spec import METADATA_KEY, ModelSpec, find_package
from tests import without
from tests.onnx_models import NORMALISATION, conv_model, save, value

FIXED = (1, 3, 64, 96)


def refusal(path: Path, base: ModelSpec | None = None, **overrides: Any) -> str:
    """The one line with which a file is refused, without the path."""
    with pytest.raises(ModelError) as error:
        complete_spec(path, base, {**NORMALISATION, **overrides})
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text.replace(str(path), "net.onnx")


def reshaped(path: Path, shape: tuple[int, ...], *, source: tuple[Any, ...] = FIXED, dtype: str = "float32") -> Path:
    """A network whose output is a constant of `shape`, whatever its input."""
    constant = numpy_helper.from_array(np.zeros(shape, dtype), "constant")
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["mean"], ["cast"], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype))),
        helper.make_node("Add", ["cast", "constant"], ["y"]),
    ]
    return save(path, nodes, [value("x", source)], [value("y", None, dtype)], [constant])


class TestRead:
    def test_dynamic(self, tmp_path: Path) -> None:
        spec = complete_spec(conv_model(tmp_path / "road.onnx"), None, NORMALISATION)
        assert spec == ModelSpec(
            name="road",
            classes=("class 0", "class 1", "class 2", "class 3", "class 4"),
            input_name="pixels",
            output_name="scores",
            output_stride=8,
            **NORMALISATION,
        )

    def test_everything_dynamic(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=("a", "b", "c", "d"))
        spec = complete_spec(path, None, NORMALISATION)
        assert (spec.layout, spec.size, spec.output_stride, len(spec.classes)) == ("NCHW", None, 8, 5)

    def test_everything_dynamic_nhwc(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=("a", "b", "c", "d"), layout="NHWC")
        assert complete_spec(path, None, NORMALISATION).layout == "NHWC"

    @pytest.mark.parametrize("stride", [1, 4, 8, 16, 32])
    def test_stride(self, tmp_path: Path, stride: int) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=FIXED, stride=stride)
        spec = complete_spec(path, None, NORMALISATION)
        assert (spec.size, spec.output_stride) == ((64, 96), stride)

    def test_kind_behind_a_resize(self, tmp_path: Path) -> None:
        scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
        nodes = [
            helper.make_node("Softmax", ["x"], ["p"], axis=1),
            helper.make_node("Resize", ["p", "", "scales"], ["y"], mode="linear"),
            helper.make_node("AveragePool", ["y"], ["pool"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Softmax", ["pool"], ["q"], axis=1),
            helper.make_node("Resize", ["q", "", "scales"], ["z"], mode="linear"),
        ]
        path = save(tmp_path / "net.onnx", nodes, [value("x", FIXED)], [value("z", None)], [scales])
        spec = complete_spec(path, None, NORMALISATION)
        assert (spec.output_kind, spec.output_stride, len(spec.classes)) == ("probabilities", 2, 3)

    def test_uint8_input_needs_only_the_channel_order(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", dtype="uint8")
        spec = complete_spec(path, None, {"channels": "BGR"})
        assert (spec.dtype, spec.scale, spec.mean, spec.std) == ("uint8", 1, (0, 0, 0), (1, 1, 1))
        with pytest.raises(ModelError, match="pass --channels "):
            complete_spec(path, None, {})

    def test_a_map_without_batch(self, tmp_path: Path) -> None:
        spec = complete_spec(reshaped(tmp_path / "net.onnx", (5, 8, 12)), None, NORMALISATION)
        assert (len(spec.classes), spec.output_stride, spec.output_layout) == (5, 8, "NCHW")

    def test_portrait_is_mentioned(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "rtseg"):
            complete_spec(conv_model(tmp_path / "net.onnx", shape=(1, 3, 96, 64)), None, NORMALISATION)
        assert "takes 96x64 (height x width), taller than wide" in caplog.text

    @pytest.mark.parametrize(
        ("size", "grid", "stride"),
        [
            ((512, 1024), (64, 128), 8),
            ((713, 713), (90, 90), 8),  # rounded up
            ((360, 640), (45, 80), 8),
            ((64, 96), (64, 96), 1),
            ((100, 100), (6, 6), 16),  # rounded down
            ((64, 96), (12, 8), None),
            ((64, 96), (8, 8), None),
            ((64, 96), (128, 192), None),
        ],
    )
    def test_grid_strides(self, size: tuple[int, int], grid: tuple[int, int], stride: int | None) -> None:
        assert next(iter(grid_strides(size, grid)), None) == stride


class TestPrecedence:
    METADATA = ModelSpec(
        name="metadata",
        classes=tuple("abcde"),
        input_name="pixels",
        output_name="scores",
        output_stride=8,
        mean=(1, 1, 1),
        std=(1, 1, 1),
        short_side=100,
    )
    FILE = ModelSpec(name="file", classes=tuple("vwxyz"), output_stride=8, mean=(2, 2, 2), short_side=200)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return conv_model(tmp_path / "net.onnx", metadata={METADATA_KEY: self.METADATA.to_json()})

    def test_metadata_over_graph(self, path: Path) -> None:
        assert complete_spec(path, None) == self.METADATA

    def test_file_over_metadata(self, path: Path) -> None:
        spec = complete_spec(path, self.FILE)
        assert (spec.name, spec.classes, spec.mean, spec.short_side) == ("file", tuple("vwxyz"), (2, 2, 2), 200)
        assert (spec.input_name, spec.output_name) == ("pixels", "scores")  # the file left them out

    def test_flags_over_file(self, path: Path) -> None:
        spec = complete_spec(path, self.FILE, {"mean": [3, 3, 3], "short_side": 300, "classes": list("12345")})
        assert (spec.mean, spec.short_side, spec.classes, spec.name) == ((3, 3, 3), 300, tuple("12345"), "file")

    def test_a_short_spec_leaves_the_rest_to_the_graph(self, tmp_path: Path) -> None:
        text = '{"name": "short", "classes": ["a", "b", "c", "d", "e"], "channels": "BGR"}'
        path = conv_model(
            tmp_path / "net.onnx", dtype="uint8", layout="NHWC", shape=("n", "h", "w", 3), end="argmax",
            metadata={METADATA_KEY: text},
        )  # fmt: skip
        spec = complete_spec(path, None)
        assert (spec.name, spec.layout, spec.dtype, spec.scale, spec.mean) == ("short", "NHWC", "uint8", 1, (0, 0, 0))
        assert (spec.output_kind, spec.output_stride) == ("labels", 8)
        path = conv_model(tmp_path / "float.onnx", metadata={METADATA_KEY: text})
        with pytest.raises(ModelError, match=r"pass --mean, --std \("):
            complete_spec(path, None)

    @pytest.mark.parametrize(
        ("overrides", "text"),
        [
            ({"std": (0, 1, 1)}, "scale and std are not zero"),
            ({"multiple": 0}, "multiple is 0, expected 1 or more"),
            ({"short_side": 0}, "multiple, short_side and output_stride start at 1"),
        ],
    )
    def test_values_that_no_spec_may_have(self, path: Path, overrides: dict[str, Any], text: str) -> None:
        with pytest.raises(ModelError, match=text):
            complete_spec(path, None, overrides)

    def test_broken_metadata(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", metadata={METADATA_KEY: '{"name": 3}'})
        assert refusal(path).startswith("net.onnx (metadata): not a valid model spec: Expected `str`, got `int`")

    @pytest.mark.parametrize(
        ("overrides", "text"),
        [
            ({"strde": 8}, r"unknown model setting 'strde': did you mean 'std'\?"),
            ({"dtype": "uint8"}, "unknown model setting 'dtype'"),
            ({"mean": (1, 2)}, "model setting mean=.*length 3"),
            ({"channels": "GBR"}, "model setting channels='GBR'"),
        ],
    )
    def test_wrong_override(self, path: Path, overrides: dict[str, Any], text: str) -> None:
        with pytest.raises(ConfigError, match=text):
            complete_spec(path, None, overrides)


class TestAsked:
    def test_normalisation(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=FIXED)
        with pytest.raises(ModelError) as error:
            complete_spec(path, None)
        assert str(error.value) == (
            f"{path} does not say how its input 'pixels' (float32 1x3x64x96) was prepared in training: "
            "pass --mean, --std, --channels (for example --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 "
            "--channels RGB), or --spec spec.json"
        )
        with pytest.raises(ModelError, match=r"pass --std, --channels \(for example --std 0\.229"):
            complete_spec(path, None, {"mean": (0, 0, 0)})

    def test_mean_of_bytes_needs_the_scale(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx")
        assert refusal(path, mean=(123.675, 116.28, 103.53)).endswith("in units of 0 to 255: pass --scale 1 with it")
        assert complete_spec(path, None, {**NORMALISATION, "mean": (123, 116, 103), "scale": 1.0}).scale == 1

    def test_classes_of_a_label_map(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=FIXED, end="argmax")
        assert refusal(path) == (
            "net.onnx: output 'scores' (int64 1x1x8x12) is a label map, which does not say how many classes there "
            "are: pass --classes classes.txt (one name a line) or --spec spec.json"
        )

    def test_output_among_several(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=FIXED, auxiliary=True)
        assert refusal(path) == (
            "net.onnx has 2 outputs: 'scores' (float32 1x5x8x12), 'auxiliary' (float32 1x5x8x12); pass one of the "
            "names with --output-name"
        )
        assert refusal(path, output_name="score") == (
            "net.onnx has no output 'score': did you mean 'scores'? (choices: scores, auxiliary)"
        )
        assert complete_spec(path, None, {**NORMALISATION, "output_name": "auxiliary"}).output_name == "auxiliary"


class TestRefused:
    @pytest.mark.parametrize(
        ("shape", "layout", "text"),
        [
            ((1, 1, 64, 96), "NCHW", "(float32 1x1x64x96) has 1 channel, rtseg feeds 3"),
            ((1, 4, 64, 96), "NCHW", "(float32 1x4x64x96) has 4 channels, rtseg feeds 3"),
            ((1, 64, 96, 4), "NHWC", "(float32 1x64x96x4) has 4 channels, rtseg feeds 3"),
            ((4, 3, 64, 96), "NCHW", "the batch of input 'pixels' (float32 4x3x64x96) is fixed at 4"),
            ((1, 3, 64, "w"), "NCHW", "(float32 1x3x64xw) has one fixed and one dynamic side"),
        ],
    )
    def test_input_shape(self, tmp_path: Path, shape: tuple[Any, ...], layout: str, text: str) -> None:
        assert text in refusal(conv_model(tmp_path / "net.onnx", shape=shape, layout=layout))

    def test_input_rank_and_type(self, tmp_path: Path) -> None:
        path = reshaped(tmp_path / "net.onnx", (1, 5, 8, 12), source=(1, 512))
        assert "input 'x' (float32 1x512) has 2 dimensions, an image has 4" in refusal(path)
        node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
        path = save(path, [node], [value("x", FIXED, "int64")], [value("y", None)], [])
        assert "input 'x' (int64 1x3x64x96) must be float32, float16, uint8" in refusal(path)

    def test_input_of_unknown_rank(self, tmp_path: Path) -> None:
        text = refusal(conv_model(tmp_path / "net.onnx", shape=None))
        assert "input 'pixels' (float32, unknown shape) has an unknown number of dimensions, an image has 4" in text

    def test_two_inputs(self, tmp_path: Path) -> None:
        node = helper.make_node("Add", ["x", "z"], ["y"])
        path = save(tmp_path / "net.onnx", [node], [value("x", FIXED), value("z", (1,))], [value("y", None)], [])
        assert "has 2 inputs ('x' (float32 1x3x64x96), 'z' (float32 1))" in refusal(path)

    @pytest.mark.parametrize("shape", [(1, 1000), (1, 1000, 1, 1), (1000,)])
    def test_classifier(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        text = refusal(reshaped(tmp_path / "net.onnx", shape))
        assert "is one answer for the whole image: this is a classifier" in text
        assert f"(float32 {'x'.join(map(str, shape))})" in text

    @pytest.mark.parametrize("shape", [(1, 8400, 6), (1, 84, 8400), (100, 6)])
    def test_boxes(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        assert "looks like a detection model's boxes" in refusal(reshaped(tmp_path / "net.onnx", shape))

    def test_detection_with_several_outputs(self, tmp_path: Path) -> None:
        nodes = [helper.make_node("Identity", [f"c{name}"], [name]) for name in ("boxes", "scores", "labels")]
        constants = [
            numpy_helper.from_array(np.zeros(shape, np.float32), f"c{name}")
            for name, shape in (("boxes", (100, 4)), ("scores", (100,)), ("labels", (100,)))
        ]
        outputs = [value(name, None) for name in ("boxes", "scores", "labels")]
        path = save(tmp_path / "net.onnx", nodes, [value("x", FIXED)], outputs, constants)
        text = refusal(path)
        assert "looks like a detection model (outputs 'boxes' (float32 100x4), 'scores' (float32 100)" in text
        assert "pass its name with --output-name" in text

    def test_height_and_width_exchanged_at_the_output(self, tmp_path: Path) -> None:
        text = refusal(reshaped(tmp_path / "net.onnx", (1, 5, 12, 8)))
        assert text.startswith(
            "net.onnx: output 'y' (float32 1x5x12x8) for an input of 64x96 has height and width exch"
        )
        assert text.endswith("(it may have been meant as 96x64)")

    def test_height_and_width_exchanged_against_the_spec(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=FIXED)
        text = refusal(path, ModelSpec(name="x", classes=tuple("abcde"), size=(96, 64)))
        assert "takes 64x96 (height x width), the spec says 96x64: height and width are exchanged" in text
        assert "the spec says 32x32: correct the spec" in refusal(path, size=(32, 32))

    def test_no_common_stride(self, tmp_path: Path) -> None:
        text = refusal(reshaped(tmp_path / "net.onnx", (1, 5, 8, 8)))
        assert "has no common stride (64/8 rows, 96/8 columns)" in text

    def test_odd_rank(self, tmp_path: Path) -> None:
        assert "is neither scores" in refusal(reshaped(tmp_path / "net.onnx", (1, 2, 5, 8, 12)))

    def test_more_channels_than_labels_can_hold(self, tmp_path: Path) -> None:
        assert "has 300 channels, more than 255" in refusal(reshaped(tmp_path / "net.onnx", (1, 300, 8, 12)))

    @pytest.mark.parametrize(
        ("spec", "text"),
        [
            ({"classes": tuple("abc")}, "has 5 channels, but 3 class names were given: give 5"),
            ({"output_stride": 4}, "has stride 8, the spec says 4"),
            ({"layout": "NHWC"}, "is NCHW, the spec says NHWC"),
            ({"input_name": "picture"}, "has no input 'picture': (choices: pixels)"),
        ],
    )
    def test_spec_that_the_graph_contradicts(self, tmp_path: Path, spec: dict[str, Any], text: str) -> None:
        assert text in refusal(conv_model(tmp_path / "net.onnx", shape=FIXED), **spec)

    def test_label_map_called_logits(self, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=FIXED, end="argmax")
        assert "is a label map, not logits as the spec says" in refusal(path, output_kind="logits")

    def test_no_output(self, tmp_path: Path) -> None:
        node = helper.make_node("Identity", ["x"], ["y"])
        assert "net.onnx has no output: " in refusal(save(tmp_path / "net.onnx", [node], [value("x", FIXED)], [], []))

    def test_a_network_of_other_multiples(self, tmp_path: Path) -> None:
        scales = numpy_helper.from_array(np.array([1, 1, 14, 14], np.float32), "scales")
        nodes = [
            helper.make_node("AveragePool", ["x"], ["pool"], kernel_shape=[14, 14], strides=[14, 14]),
            helper.make_node("Resize", ["pool", "", "scales"], ["y"], mode="linear"),
        ]
        source = value("x", ("n", 3, "h", "w"))
        path = save(tmp_path / "net.onnx", nodes, [source], [value("y", None)], [scales])
        assert "--multiple N if it takes only multiples of N" in refusal(path)
        assert complete_spec(path, None, {**NORMALISATION, "multiple": 14}).output_stride == 1

    def test_operator_that_only_onnxruntime_knows(self, tmp_path: Path) -> None:
        nodes = [
            helper.make_node("AveragePool", ["x"], ["pool"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("SampleOp", ["pool"], ["y"], domain="com.microsoft"),
        ]
        opsets = [helper.make_opsetid("com.microsoft", 1)]
        source = value("x", ("n", 3, "h", "w"))
        path = save(tmp_path / "net.onnx", nodes, [source], [value("y", None)], [], opsets=opsets)
        spec = complete_spec(path, None, NORMALISATION)
        assert (spec.layout, spec.output_stride, len(spec.classes)) == ("NCHW", 8, 3)

    def test_unsupported_operator_of_unknown_size(self, tmp_path: Path) -> None:
        node = helper.make_node("Wiggle", ["x"], ["y"], domain="acme")
        opsets = [helper.make_opsetid("acme", 1)]
        path = save(tmp_path / "net.onnx", [node], [value("x", FIXED)], [value("y", None)], [], opsets=opsets)
        assert "does not support operator acme.Wiggle of net.onnx" in refusal(path)


class TestWithoutRuntimes:
    """A file opens with whichever of OpenVINO and ONNX Runtime is installed, or by what is written down."""

    SPEC = """
import json, pathlib, sys
from rtseg.errors import ModelError
from rtseg.packages.complete import complete_spec
from rtseg.packages.spec import find_package
package = find_package(sys.argv[1])
try:
    spec = complete_spec(package.path, package.spec, json.loads(sys.argv[2]), written=package.written)
except ModelError as exc:
    print("refused:", exc)
else:
    print(spec.to_json())
"""

    def told(self, folder: Path, model: Path | str, *missing: str, given: str = "{}") -> str:
        code = f"import sys; sys.argv[1:] = [{str(model)!r}, {given!r}]\n{self.SPEC}"
        return without.run(code, folder / "site", *missing)

    @pytest.mark.parametrize("missing", [("openvino",), ("onnxruntime",), ("openvino", "onnxruntime")])
    def test_a_package_opens_alike(self, tmp_path: Path, missing: tuple[str, ...]) -> None:
        package = find_package("unet-fast0-camvid")
        expected = complete_spec(package.path, package.spec, written=package.written)
        assert self.told(tmp_path, "unet-fast0-camvid", *missing) == expected.to_json() + "\n"

    @pytest.mark.parametrize("missing", [("openvino",), ("onnxruntime",)])
    def test_a_dynamic_file_is_asked_of_the_runtime_that_is_there(
        self, tmp_path: Path, missing: tuple[str, ...]
    ) -> None:
        path = conv_model(tmp_path / "road.onnx", shape=("a", "b", "c", "d"), layout="NHWC")
        expected = complete_spec(path, None, NORMALISATION)
        given = json.dumps(NORMALISATION)
        assert self.told(tmp_path, path, *missing, given=given) == expected.to_json() + "\n"

    def test_without_any_a_file_has_to_say_its_shapes(self, tmp_path: Path) -> None:
        given, missing = json.dumps(NORMALISATION), ("openvino", "onnxruntime")
        path = conv_model(tmp_path / "road.onnx")
        text = self.told(tmp_path, path, *missing, given=given)
        assert text.startswith("refused:") and text.count("\n") == 1
        assert "pip install openvino or onnxruntime" in text and "output_stride" in text
        source, out = value("x", FIXED), value("y", (1, 3, 8, 12))
        node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[8, 8], strides=[8, 8])
        path = save(tmp_path / "fixed.onnx", [node], [source], [out], [])
        expected = complete_spec(path, None, NORMALISATION)
        assert expected.output_stride == 8
        assert self.told(tmp_path, path, *missing, given=given) == expected.to_json() + "\n"

    def test_without_any_a_spec_that_contradicts_the_graph_is_refused(self, tmp_path: Path) -> None:
        source, out = value("x", ("n", 3, "h", "w")), value("y", ("n", 3, "h/8", "w/8"))
        node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[8, 8], strides=[8, 8])
        path = save(tmp_path / "net.onnx", [node], [source], [out], [])
        given = {**NORMALISATION, "output_name": "y", "output_layout": "NCHW", "output_stride": 8}
        for classes, refused in ((["a", "b", "c"], False), (["a", "b"], True)):
            text = self.told(tmp_path, path, "openvino", "onnxruntime", given=json.dumps({**given, "classes": classes}))
            assert ("has 3 channels, but 2 class names were given" in text) == refused, text
            assert ('"output_stride": 8' in text) != refused, text


def test_a_field_by_its_name_of_earlier_releases(tmp_path: Path) -> None:
    path = conv_model(tmp_path / "net.onnx")
    assert complete_spec(path, None, {**NORMALISATION, "licence": "MIT"}).license == "MIT"
