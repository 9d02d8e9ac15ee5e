"""The table of parameters, and what becomes of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtseg.config import RunConfig
from rtseg.errors import ConfigError
from rtseg.ros.parameters import BY_NAME, LISTS, PARAMETERS, check, names, navigation, run_config

DEFAULTS: dict[str, Any] = {parameter.name: parameter.default for parameter in PARAMETERS}
CLASSES = ("Road", "Car", "Sky", "Sidewalk")


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_every_default_is_allowed_and_described(parameter: Any) -> None:
    check(parameter.name, parameter.default)
    assert parameter.text and parameter.name == parameter.name.lower()
    assert (parameter.low is None) == (parameter.high is None)
    assert parameter.low is None or isinstance(parameter.default, (int, float))


def test_names_are_unique_and_lists_are_parameters() -> None:
    assert len(BY_NAME) == len(PARAMETERS)
    assert set(LISTS) <= set(BY_NAME)
    assert {parameter.name for parameter in PARAMETERS if parameter.live} == {
        "enabled", "alpha", "visualize", "hidden_classes", "legend", "hud", "jpeg_quality",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("fit", "strech", r"parameter fit is 'strech': did you mean 'stretch'\? \(choices: letterbox, stretch, crop\)"),
        ("image_reliability", "", "parameter image_reliability is '': .*choices: best_effort, reliable"),
        ("visualize", "overlay,contours", "parameter visualize is 'contours': did you mean 'contour'"),
        ("alpha", -0.1, "parameter alpha is -0.1, expected 0.0 to 1.0"),
        ("jpeg_quality", 101, "parameter jpeg_quality is 101, expected 1 to 100"),
        ("image_depth", 0, "parameter image_depth is 0, expected 1 to 1000"),
        ("grid_resolution", float("nan"), "parameter grid_resolution is nan"),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(name, value)
    with pytest.raises(ConfigError, match=said):
        run_config({**DEFAULTS, name: value})


def test_words_between_commas() -> None:
    assert names(" road ,car,, sky ") == ("road", "car", "sky")
    assert names("") == ()


def test_defaults_are_those_of_a_run() -> None:
    assert run_config(DEFAULTS) == RunConfig(input="ros:image", output=("null:",))


def test_values_become_the_settings_of_a_run() -> None:
    changes = {
        "image": "/front/image", "model": "m.onnx", "spec": "s.json", "backend": "onnxruntime", "device": "cpu",
        "precision": "fp32", "threads": 2, "depth": 3, "size": "64x128", "fit": "crop", "refine": "crf",
        "ignore_classes": "sky, car", "visualize": "split,mask", "hidden_classes": "road", "alpha": 0.75,
        "legend": True, "hud": True, "palette": "camvid",
    }  # fmt: skip
    assert run_config({**DEFAULTS, **changes}) == RunConfig(
        input="ros:/front/image", output=("null:",), model="m.onnx", spec="s.json", backend="onnxruntime", device="cpu",
        precision="fp32", threads=2, depth=3, size="64x128", fit="crop", refine="crf", ignore_class=("sky", "car"),
        visualize=("split", "mask"), hide_class=("road",), alpha=0.75, legend=True, hud=True, palette="camvid",
    )  # fmt: skip


def test_what_a_run_refuses_is_said_of_the_parameters() -> None:
    with pytest.raises(ConfigError, match="parameters of the node: "):
        run_config({**DEFAULTS, "refine": "crf:radius=many"})


def test_navigation_of_usual_and_of_named_classes() -> None:
    found = navigation({**DEFAULTS, "camera_height": 1.5, "camera_tilt": 0.1}, CLASSES)
    assert found is not None and found.pose is not None
    assert found.pose.position.tolist() == [0, 0, 1.5]
    assert navigation(DEFAULTS, ("cat", "dog")) is None, "nothing to drive on"
    by_tf = navigation({**DEFAULTS, "drivable_classes": "Sidewalk", "flat_classes": ""}, CLASSES)
    assert by_tf is not None and by_tf.pose is None
    with pytest.raises(ConfigError, match="no class 'Rode' in this model: did you mean 'Road'"):
        navigation({**DEFAULTS, "drivable_classes": "Rode"}, CLASSES)
    with pytest.raises(ConfigError, match="range_min is 30"):
        navigation({**DEFAULTS, "range_min": 30.0}, CLASSES)


def test_the_page_lists_each_of_them() -> None:
    page = Path(__file__).parents[2] / "docs" / "ros.md"
    if not page.exists():
        pytest.skip("docs/ros.md is not written yet")
    text = page.read_text()
    assert [name for name in DEFAULTS if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("alpha", 1, "parameter alpha is 1, expected a number with a fraction such as 0.5"),
        ("enabled", "yes", "parameter enabled is 'yes', expected true or false such as True"),
        ("threads", True, "parameter threads is True, expected a whole number such as 0"),
    ],
)
def test_values_of_another_type(name: str, value: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        check(name, value)
