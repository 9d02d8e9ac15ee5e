"""What is shipped: versions and extras agree, the wheel holds what it should, and its checker tells what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import rtseg
from tests.tool_modules import tool_modules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]


@pytest.fixture
def check_wheel() -> Iterator[ModuleType]:
    with tool_modules(ROOT / "tools") as module:
        yield module("check_wheel")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, by the build backend itself."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return path


def without(wheel: Path, name: str, out: Path) -> Path:
    """A copy of the wheel that lacks one file."""
    copy = out / wheel.name
    with zipfile.ZipFile(wheel) as file, zipfile.ZipFile(copy, "w") as made:
        for item in file.infolist():
            if item.filename != name:
                made.writestr(item, file.read(item))
    return copy


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;~! ]", requirement, maxsplit=1)[0] for requirement in requirements}


def test_one_version_everywhere() -> None:
    version = PROJECT["project"]["version"]
    assert rtseg.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\]( - \d{4}-\d\d-\d\d)?", release) for release in releases[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        before, *groups = re.split(r"^### ", section, flags=re.MULTILINE)
        assert "\n- " not in before, "every line belongs under Added, Changed, Fixed …"
        assert groups


def test_the_wheel_holds_models_types_and_kernels(check_wheel: ModuleType, wheel: Path, tmp_path: Path) -> None:
    check_wheel.check_contents(wheel)
    assert "unet-fast0-camvid-int8" in check_wheel.models()
    for name in ("rtseg/py.typed", "rtseg/engines/unet-fast0-camvid-int8/model.onnx", "rtseg/errors.py"):
        with pytest.raises(check_wheel.Failed, match=f"lacks {re.escape(name)}$"):
            check_wheel.check_contents(without(wheel, name, tmp_path))


def test_the_wheel_ships_nothing_but_the_package(check_wheel: ModuleType, wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        assert not [name for name in file.namelist() if name.endswith((".plan", ".pyc", ".so"))]
    copy = without(wheel, "", tmp_path)
    with zipfile.ZipFile(copy, "a") as file:
        file.writestr("tests/__init__.py", "")
    with pytest.raises(check_wheel.Failed, match=r"would also install tests/__init__\.py$"):
        check_wheel.check_contents(copy)
    bound = copy.rename(copy.with_name("rtseg-0-cp312-cp312-linux_x86_64.whl"))
    with pytest.raises(check_wheel.Failed, match="is not pure Python"):
        check_wheel.check_contents(bound)


def test_a_python_that_is_not_here_is_said(
    check_wheel: ModuleType, wheel: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_wheel.version_of(Path(sys.executable)) == "{}.{}".format(*sys.version_info[:2])
    assert check_wheel.version_of(ROOT / "no-python") is None
    assert check_wheel.report(wheel, {}) == 1
    assert capsys.readouterr().out.splitlines()[0] == "3.10: not run: no such Python here"

    def broken(*_: Any) -> str:
        raise check_wheel.Failed("it broke")

    monkeypatch.setattr(check_wheel, "checked", broken)
    assert check_wheel.report(wheel, {"3.12": Path("python3.12")}) == 1
    assert "3.12: FAILED: it broke" in capsys.readouterr().out


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(check_wheel: ModuleType, wheel: Path) -> None:
    told = check_wheel.checked(wheel, Path(sys.executable))
    assert told.startswith("python {}.{}.{}, numpy ".format(*sys.version_info[:3]))


def test_training_brings_what_the_shipped_recipes_need() -> None:
    train = names(EXTRAS["train"])
    assert names(EXTRAS["weights"]) | names(EXTRAS["onnx"]) <= train  # published weights; scores of the exported model
    for recipe in (ROOT / "configs" / "train").glob("*.yaml"):
        needed = set(re.findall(r"package:([\w-]+)", recipe.read_text(encoding="utf-8")))
        assert needed <= train, recipe.name


def test_every_extra_that_is_named_exists() -> None:
    named: dict[str, set[str]] = {}
    texts = [*(ROOT / "rtseg").rglob("*.py"), *(ROOT / "docs").glob("*.md"), *(ROOT / "containers").iterdir()]
    for path in [*texts, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile"]:
        text = path.read_text(encoding="utf-8")
        for found in re.findall(r"(?:'\.|'rtseg|\.whl\))\[([a-z,-]+)\]", text):
            named.setdefault(path.name, set()).update(found.split(","))
    assert {"onnx", "tensorrt", "gpu"} <= named["cuda.Dockerfile"]
    assert "bag" in named["cpu.Dockerfile"]
    for where, extras in named.items():
        assert extras <= set(EXTRAS), where


def test_dependencies_have_lower_bounds_and_no_upper_ones() -> None:
    for requirement in PROJECT["project"]["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), requirement
