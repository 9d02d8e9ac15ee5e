"""ModelSpec's own rules, its JSON, and finding a model by name, folder or file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg.errors import ModelError
from rtseg.files import write_text
from rtseg.packages import spec as spec_module
from rtseg.packages.onnx_file import read_onnx
from rtseg.packages.spec import METADATA_KEY, ModelSpec, find_package, packages, read_spec

SPEC = ModelSpec(
    name="road",
    classes=("Road", "Car"),
    palette=((1, 2, 3), (4, 5, 6, 128)),
    size=(64, 96),
    provenance={"data": "CamVid", "steps": 3},
)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"classes": ()}, "0 classes, expected 1 to 255"),
        ({"classes": tuple(map(str, range(256))), "palette": ()}, "256 classes"),
        ({"classes": ("a", "a")}, "a class name appears twice"),
        ({"palette": ((1, 2, 3),)}, "1 colours for 2 classes"),
        ({"palette": ((1, 2), (1, 2))}, "a colour is 3 or 4 numbers from 0 to 255"),
        ({"palette": ((1, 2, 256), (1, 2, 3))}, "a colour is 3 or 4 numbers from 0 to 255"),
        ({"multiple": 0}, "multiple, short_side and output_stride start at 1"),
        ({"output_stride": 0}, "start at 1"),
        ({"std": (1.0, 0.0, 1.0)}, "scale and std are not zero"),
        ({"scale": 0.0}, "scale and std are not zero"),
        ({"mean": (1.0, float("nan"), 1.0)}, "scale, mean and std are finite numbers"),
    ],
)
def test_rules(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=f"spec of road: .*{text}"):
        msgspec.structs.replace(SPEC, **change)


def test_json_round_trip() -> None:
    assert read_spec(SPEC.to_json(), "spec.json") == SPEC
    assert SPEC.to_json().endswith("}\n")
    assert '\n  "name": "road",\n' in SPEC.to_json()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "truncated"),
        ("{", "truncated"),
        ('{"classes": ["a"]}', "missing required field `name`"),
        ('{"name": "x", "classes": ["a"], "strde": 8}', "unknown field `strde`"),
        ('{"name": "x", "classes": ["a"], "layout": "CHWN"}', r"Invalid enum value 'CHWN' - at `\$\.layout`"),
        ('{"name": "x", "classes": ["a"], "mean": [1, 2]}', r"length 3.*`\$\.mean`"),
        ('{"name": "x", "classes": []}', "0 classes"),
    ],
)
def test_bad_json(text: str, why: str) -> None:
    with pytest.raises(ModelError, match=f"my.json: not a valid model spec: .*{why}") as error:
        read_spec(text, "my.json")
    assert "\n" not in str(error.value)


def test_class_id() -> None:
    assert [SPEC.class_id(name) for name in ("Road", "car", "1", "0")] == [0, 1, 0 + 1, 0]
    with pytest.raises(
        ModelError, match=r"no class 'raod' in model road: did you mean 'Road'\? \(choices: Road, Car\)"
    ):
        SPEC.class_id("raod")
    for unknown in ("2", "-1", ""):
        with pytest.raises(ModelError, match="no class"):
            SPEC.class_id(unknown)


@given(st.text(max_size=8))
def test_class_id_of_anything_is_an_id_or_a_known_error(name: str) -> None:
    try:
        assert 0 <= SPEC.class_id(name) < 2
    except ModelError as exc:
        assert "no class" in str(exc)  # noqa: PT017


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(spec_module, "package_folders", lambda: [tmp_path])
    for name in ("road", "bare"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(b"x")
    (tmp_path / "road" / "spec.json").write_text(SPEC.to_json())
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_find_package(engines: Path) -> None:
    assert sorted(packages()) == ["bare", "road"]
    model = engines / "road" / "model.onnx"
    for name in ("road", str(engines / "road"), str(model)):
        assert find_package(name) == spec_module.Package(model, SPEC, frozenset(msgspec.structs.asdict(SPEC)))
    assert find_package("bare").spec is None


def test_a_spec_belongs_to_its_own_model_only(engines: Path) -> None:
    other = engines / "road" / "other.onnx"
    other.write_bytes(b"y")
    assert find_package(str(other)).spec is None
    assert find_package(str(other), str(engines / "road" / "spec.json")).spec == SPEC


@pytest.mark.parametrize(
    ("model", "spec_file", "text"),
    [
        ("raod", None, r"no model 'raod': did you mean 'road'\? \(choices: bare, road\)"),
        ("nothing.onnx", None, r"model file not found: nothing\.onnx"),
        ("empty", None, r"no model 'empty'"),
        ("road", "none.json", r"spec file not found: none\.json"),
    ],
)
def test_what_is_not_there(engines: Path, model: str, spec_file: str | None, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        find_package(model, spec_file)


def test_folder_without_a_model(engines: Path) -> None:
    with pytest.raises(ModelError, match=r"model file not found: .*empty/model\.onnx"):
        find_package(str(engines / "empty"))


def test_no_package_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_module, "package_folders", lambda: [tmp_path])
    with pytest.raises(ModelError, match="no model 'road': no model package is installed"):
        find_package("road")


def test_write_text_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "first")
    write_text(path, "zweiter: ä")
    assert path.read_text(encoding="utf-8") == "zweiter: ä"
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "zweiter: ä"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_keys_of_earlier_releases_are_read_and_not_written(tmp_path: Path) -> None:
    old = '{"name": "x", "classes": ["a"], "licence": "MIT", "provenance": {"quantised": {"to": "int8"}, "steps": 3}}'
    spec = read_spec(old, "spec.json")
    assert (spec.license, spec.provenance) == ("MIT", {"quantized": {"to": "int8"}, "steps": 3})
    with pytest.warns(DeprecationWarning, match="ModelSpec.licence is called license"):
        assert spec.licence == "MIT"
    assert (
        '"license": "MIT"' in spec.to_json() and "licence" not in spec.to_json() and "quantised" not in spec.to_json()
    )
    assert spec_module.written_fields(old) == {"name", "classes", "license", "provenance"}
    with pytest.raises(ModelError, match="unknown field `licence`"):
        read_spec('{"name": "x", "classes": ["a"], "licence": "MIT", "license": "MIT"}', "spec.json")


def test_packages_here_have_todays_keys_beside_files_that_carry_the_old_ones() -> None:
    for path in packages().values():
        package, inside = find_package(str(path.parent)), read_onnx(path).metadata[METADATA_KEY]
        assert package.spec is not None and package.spec.license != "unknown"
        assert path.with_name("spec.json").read_text() == package.spec.to_json()
        assert read_spec(inside, "metadata") == package.spec
