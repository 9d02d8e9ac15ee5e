"""Lists of settings to configurations, their names, and the file that `rtseg run --config` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtseg.bench.configurations import changed, check, cross, name_of, parse_changes, written_config
from rtseg.config import RunConfig, load_config
from rtseg.errors import ConfigError, ModelError

BASE = RunConfig(input="c.mp4", output=("null:",), short_side=256, visualize=("overlay", "contour"))


def test_every_combination_the_last_list_first() -> None:
    configs = cross(BASE, {"model": ["a.onnx", "b.onnx"], "backend": [], "size": ["32x32", "64x64"]})
    assert [(one.model, one.size) for one in configs] == [
        ("a.onnx", "32x32"), ("a.onnx", "64x64"), ("b.onnx", "32x32"), ("b.onnx", "64x64"),
    ]  # fmt: skip
    assert all((one.short_side, one.visualize) == (256, ("overlay", "contour")) for one in configs)
    assert cross(BASE, {"model": []}) == [BASE]
    with pytest.raises(ConfigError, match="command line: size 'x' is not HEIGHTxWIDTH"):
        cross(BASE, {"size": ["x"]})


def test_changes_have_the_types_of_yaml() -> None:
    assert parse_changes("precision=fp32, depth=2,antialias=no,short-side=128") == {
        "precision": "fp32", "depth": 2, "antialias": False, "short_side": 128,
    }  # fmt: skip
    assert parse_changes("backend=null,size=null") == {"backend": "null", "size": None}  # one is a name
    assert changed(BASE, parse_changes("depth=2"), "--vs").depth == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected KEY=VALUE"),
        ("depth", "expected KEY=VALUE[,KEY=VALUE], found 'depth'"),
        ("depth=", "expected KEY=VALUE"),
        ("dept=2", "unknown key 'dept': did you mean 'depth'"),
        ("input=other.mp4", "unknown key 'input'"),  # another clip is no comparison
        ("depth={", "depth is not a value: {"),
    ],
)
def test_changes_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_changes(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_change_of_the_wrong_type_names_its_origin() -> None:
    with pytest.raises(ConfigError, match=r"^--vs: .*depth"):
        changed(BASE, {"depth": "deep"}, "--vs")


def test_names_say_what_was_opened_and_what_differs() -> None:
    facts = {
        "model": {"name": "net", "backend": "openvino", "precision": "bf16"},
        "network_size": [256, 448],
    }
    assert name_of(BASE, facts, BASE) == "net openvino bf16 256x448"
    other = changed(BASE, {"depth": 2, "visualize": ["mask"], "precision": "fp32"}, "--vs")
    assert name_of(other, facts, BASE) == "net openvino bf16 256x448 depth=2 visualize=mask"


def test_what_can_be_wrong_is_found_before_anything_is_measured() -> None:
    with pytest.raises(ModelError, match="no model 'unet-fats0-camvid': did you mean 'unet-fast0-camvid'"):
        check([BASE, changed(BASE, {"model": "unet-fats0-camvid"}, "")])
    with pytest.raises(ConfigError, match="unknown backend 'openvin': did you mean 'openvino'"):
        check([changed(BASE, {"backend": "openvin"}, "")])
    with pytest.raises(ConfigError, match="cannot tell what to write from output"):
        check([changed(BASE, {"output": ["x.doc"]}, "")])


def test_the_written_configuration_is_the_same_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fast.yaml"
    config = changed(BASE, {"output": ["out.mp4"], "source": {"start": 2.5}, "sink": {"crf": 20.0}, "depth": 2}, "")
    written_config(path, config, "because: it is fast")
    assert load_config(path) == config
    assert path.read_text().startswith("# because: it is fast\n")
    assert "backend" not in path.read_text()


def test_an_output_that_keeps_nothing_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "fast.yaml"
    written_config(path, changed(BASE, {"sink": {"needs": "labels"}}, ""), "x")
    loaded = load_config(path)
    assert (loaded.output, loaded.sink, loaded.short_side) == ((), {}, 256)
