"""The float16 conversion: what goes to half precision, what stays, and that the emulation rounds as a GPU would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rtseg.errors import ModelError
from rtseg.tensorrt.fold import fold, load
from rtseg.tensorrt.half import FRAGILE, HALF, MOVES, halve, rounded
from tests.onnx_models import conv_model, reference


def model(nodes: list[Any], weights: dict[str, NDArray[Any]], output: Any = ("n", "c", "h", "w")) -> Any:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])
    result = helper.make_tensor_value_info("out", TensorProto.FLOAT, output)
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "test", [image], [result], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(made: Any, tensor: NDArray[Any]) -> NDArray[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answer: NDArray[Any] = session.run(None, {session.get_inputs()[0].name: tensor})[0]
    return answer


def precisions(made: Any) -> dict[str, str]:
    """The type of each node's first output, by operator."""
    types = {}
    for value in (*onnx.shape_inference.infer_shapes(made).graph.value_info, *made.graph.output):
        types[value.name] = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return {node.op_type: types[node.output[0]] for node in made.graph.node if node.op_type != "Cast"}


def kernel(outputs: int, inputs: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(3).standard_normal((outputs, inputs, 1, 1)) * scale).astype(np.float32)


def test_the_tables_do_not_overlap() -> None:
    assert not HALF & MOVES and not HALF & set(FRAGILE) and not MOVES & set(FRAGILE)


def test_inputs_and_outputs_keep_their_types_and_the_spec_stays(tmp_path: Path) -> None:
    made = load(conv_model(tmp_path / "net.onnx", metadata={"rtseg.spec": "{}"}, declare=("n", 5, "y", "x")))
    fold(made)
    done = halve(made)
    onnx.checker.check_model(made, full_check=True)
    assert made.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert made.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert [entry.value for entry in made.metadata_props] == ["{}"]
    assert done.half >= 1
    tensor = np.random.default_rng(0).standard_normal((1, 3, 64, 96)).astype(np.float32)
    found = run(made, tensor)[0]
    assert not np.array_equal(found, reference(tensor).astype(np.float32))
    np.testing.assert_allclose(found, reference(tensor), atol=0.05)


def test_softmax_normalisation_and_reductions_stay() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["g"]),
        helper.make_node("Mul", ["b", "g"], ["c"]),
        helper.make_node("InstanceNormalization", ["c", "s", "t"], ["d"]),
        helper.make_node("Transpose", ["d"], ["e"], perm=[0, 1, 2, 3]),
        helper.make_node("Softmax", ["e"], ["out"], axis=1),
    ]
    made = model(nodes, {"w": kernel(4, 3), "s": np.ones(4, np.float32), "t": np.zeros(4, np.float32)})
    done = halve(made)
    onnx.checker.check_model(made, full_check=True)
    assert precisions(made) == {
        "Conv": "FLOAT16", "Relu": "FLOAT16", "Mul": "FLOAT16",
        "GlobalAveragePool": "FLOAT", "InstanceNormalization": "FLOAT", "Softmax": "FLOAT",
        "Transpose": "FLOAT",  # moves float32, so rounding it would lose for nothing
    }  # fmt: skip
    assert done.kept == Counter({"GlobalAveragePool": 1, "InstanceNormalization": 1, "Softmax": 1})


def test_resize_coordinates_and_shape_arithmetic_stay() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "factor"], ["target"]),  # 2049 * 1.0 has no float16
        helper.make_node("Div", ["target", "wide"], ["scales"]),
        helper.make_node("Resize", ["a", "", "scales"], ["out"], mode="linear"),
    ]
    made = model(nodes, {"w": kernel(2, 3), "factor": np.array([1, 1, 2, 2], np.float32)})
    halve(made)
    onnx.checker.check_model(made, full_check=True)
    assert precisions(made)["Mul"] == precisions(made)["Div"] == "FLOAT"
    resize = next(node for node in made.graph.node if node.op_type == "Resize")
    assert resize.input[2] == "scales"
    assert run(made, np.zeros((1, 3, 8, 2049), np.float32)).shape == (1, 2, 16, 4098)


def test_weight_too_large_for_float16_keeps_its_layer_in_float32() -> None:
    made = model([helper.make_node("Conv", ["image", "w"], ["out"])], {"w": kernel(2, 3) * 1e6})
    done = halve(made)
    assert (done.half, done.kept) == (0, Counter({"Conv": 1}))


def test_named_nodes_stay() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], name="body"),
        helper.make_node("Conv", ["a", "v"], ["out"], name="head"),
    ]
    made = model(nodes, {"w": kernel(4, 3), "v": kernel(2, 4)})
    done = halve(made, frozenset({"head"}))
    assert (done.half, done.kept["Conv"]) == (1, 1)


def test_maximum_with_indices_keeps_them() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b", "at"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Cast", ["at"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["b", "f"], ["out"]),
    ]
    made = model(nodes, {"w": kernel(2, 3, 0.1)})
    tensor = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    expected = run(made, tensor)
    halve(made)
    onnx.checker.check_model(made, full_check=True)
    rounded(made)
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_allclose(run(made, tensor), expected, atol=0.1)


def test_control_flow_is_refused() -> None:
    inside = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["y"])],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "h", "w"])],
    )
    nodes = [helper.make_node("If", ["yes"], ["out"], then_branch=inside, else_branch=inside)]
    made = model(nodes, {"yes": np.array(True)}, (1, 3, "h", "w"))
    with pytest.raises(ModelError, match="control flow, whose precision is not converted: use --precision fp32"):
        halve(made)


def test_the_emulation_overflows_where_float16_does() -> None:
    """300 * 300 is 90,000, beyond float16's 65,504; ONNX Runtime on a CPU would carry on."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node("Conv", ["a", "v"], ["out"]),
    ]
    weights = {"w": np.full((1, 3, 1, 1), 100, np.float32), "v": np.full((1, 1, 1, 1), 1 / 256, np.float32)}
    made = model(nodes, weights)
    halve(made)
    tensor = np.full((1, 3, 4, 4), 300, np.float32)
    assert np.isfinite(run(made, tensor)).all()
    rounded(made)
    onnx.checker.check_model(made, full_check=True)
    assert np.isinf(run(made, tensor)).all()


def test_the_emulation_equals_numpy_in_float16() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["b", "c"], ["out"]),
    ]
    weights = {"w": kernel(4, 3), "c": np.full((1, 4, 1, 1), 0.1, np.float32)}
    made = model(nodes, weights)
    halve(made)
    rounded(made)
    tensor = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    image, w = (array.astype(np.float16).astype(np.float32) for array in (tensor, weights["w"]))
    product = np.einsum("oihw,nixy->noxy", w, image).astype(np.float16)
    expected = np.maximum(product, np.float16(0)) + weights["c"].astype(np.float16)
    assert np.abs(run(made, tensor) - expected.astype(np.float32)).max() <= 2**-9 * 8  # a unit in the last place


def test_folding_keeps_what_is_computed() -> None:
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Cast", ["w16"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", "g", "b", "m", "v"], ["n"], epsilon=1e-3),
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32))),
        helper.make_node("Add", ["n", "one"], ["out"]),
    ]
    weights = {
        "w16": kernel(4, 3).astype(np.float16),
        "g": rng.standard_normal(4).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "m": rng.standard_normal(4).astype(np.float32),
        "v": rng.random(4).astype(np.float32),
    }
    made = model(nodes, weights)
    tensor = rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    expected = run(made, tensor)
    fold(made)
    onnx.checker.check_model(made, full_check=True)
    assert [node.op_type for node in made.graph.node] == ["Conv", "Add"]
    assert {held.name for held in made.graph.initializer} == {"n.folded.weight", "n.folded.bias", "one"}
    np.testing.assert_allclose(run(made, tensor), expected, rtol=1e-5, atol=1e-5)


def test_normalisation_of_a_shared_convolution_stays() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", "g", "b", "m", "g"], ["n"]),
        helper.make_node("Add", ["n", "a"], ["out"]),
    ]
    ones = np.ones(2, np.float32)
    made = model(nodes, {"w": kernel(2, 3), "g": ones, "b": ones, "m": ones})
    fold(made)
    assert [node.op_type for node in made.graph.node] == ["Conv", "BatchNormalization", "Add"]


def test_file_that_is_not_onnx(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("hello")
    with pytest.raises(ModelError, match=r"cannot read .*net\.onnx"):
        load(tmp_path / "net.onnx")
