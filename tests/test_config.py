"""Configuration: typed, 1:1 with YAML, wrong keys named with the nearest right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtseg.config import RunConfig, load_config
from rtseg.errors import ConfigError
from rtseg.geometry import parse_size

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_pipeline_loads(path: Path) -> None:
    assert load_config(path).input


def test_there_is_a_shipped_pipeline() -> None:
    assert list(CONFIGS.glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_gives_the_same_record_as_python(tmp_path: Path) -> None:
    path = write(
        tmp_path, "input: a.mp4\noutput: [o.mp4, s.jsonl]\nalpha: 0.3\nvisualize: split\nsource: {start: 2.5}\n"
    )
    expected = RunConfig(
        input="a.mp4", output=("o.mp4", "s.jsonl"), alpha=0.3, visualize=("split",), source={"start": 2.5}
    )
    assert load_config(path) == expected


def test_flags_win_over_the_file_and_option_tables_are_merged(tmp_path: Path) -> None:
    path = write(tmp_path, "input: a.mp4\nalpha: 0.3\nsource: {start: 2, stride: 3}\n")
    config = load_config(path, {"alpha": 0.7, "source": {"start": 5.0}})
    assert (config.alpha, config.source) == (0.7, {"start": 5.0, "stride": 3})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input: a\nalhpa: 0.5\n", r"pipeline.yaml: unknown key 'alhpa': did you mean 'alpha'\?"),
        ("input: a\nalpha: dark\n", r"pipeline.yaml: Expected `float`, got `str` - at `\$.alpha`"),
        ("input: a\nalpha: 1.5\n", r"alpha is 1.5, expected 0 to 1"),
        ("input: a\nvisualize: [overlay, maks]\n", r"unknown view 'maks': did you mean 'mask'\?"),
        ("input: a\nfit: strech\n", r"pipeline.yaml: fit is 'strech': did you mean 'stretch'\?"),
        ("input: a\nsize: 360\n", r"Expected `str \| null`, got `int`"),
        ("input: a\nsize: 360x\n", r"size '360x' is not HEIGHTxWIDTH"),
        ("input: a\ndepth: 0\n", r"depth is 0, expected 1 or more"),
        ("output: [a.mp4]\n", r"missing required field `input`"),
        ("- a\n", r"expected keys and values, found list"),
        ("input: [\n", r"not valid YAML"),
    ],
)
def test_wrong_content_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read configuration .*none.yaml: No such file"):
        load_config(tmp_path / "none.yaml")


def test_sizes() -> None:
    assert parse_size("360x640") == (360, 640)
    with pytest.raises(ConfigError):
        parse_size("0x640")


@pytest.mark.parametrize("flags", [{}, {"start": 1.0}])
def test_an_option_table_of_the_wrong_type_is_found_whatever_the_flags(tmp_path: Path, flags: dict[str, float]) -> None:
    (tmp_path / "p.yaml").write_text("input: a.mp4\nsource: 5\n")
    with pytest.raises(ConfigError, match=r"got `int` - at `\$.source`"):
        load_config(tmp_path / "p.yaml", {"source": flags, "sink": {}})


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing yet\n")
    with pytest.raises(ConfigError, match="expected keys and values, found nothing"):
        load_config(tmp_path / "p.yaml")
