"""docs/keys.md has every key of a run and of a recipe, as the code has it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from rtseg.config import RunConfig
from tests.tool_modules import tool_modules

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, "tools/update_keys.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def records() -> list[tuple[str, type]]:
    pytest.importorskip("torch")
    from rtseg.training.losses import LossWeights
    from rtseg.training.recipe import Recipe
    from rtseg.training.transforms import Augmentation

    return [("run", RunConfig), ("recipe", Recipe), ("augmentation", Augmentation), ("loss", LossWeights)]


@pytest.mark.parametrize("index", range(4))
def test_every_field_has_a_row(index: int) -> None:
    """By the types themselves, which the script reads the source of."""
    mark, kind = records()[index]
    table = PAGE.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]
    keys = [row.split("`")[1] for row in table.splitlines() if row.startswith("| `")]
    assert keys == [field.name for field in msgspec.structs.fields(kind)]


@pytest.fixture
def tool() -> Iterator[ModuleType]:
    with tool_modules(ROOT / "tools") as load:
        yield load("update_keys")


def test_a_changed_page_is_told(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "PAGE", tmp_path / "keys.md")
    tool.PAGE.write_text(PAGE.replace("| `short_side` |", "| `shortside` |"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["update_keys.py", "--check"])
    assert tool.main() == 1 and "is not what the code says" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["update_keys.py"])
    assert tool.main() == 0 and tool.PAGE.read_text(encoding="utf-8") == PAGE


def test_a_field_that_says_nothing_is_an_error(tool: ModuleType, tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    module.write_text('class C:\n    a: int = 1\n    """one"""\n    b: int = 2\n    c: int = 3\n    """three"""\n')
    with pytest.raises(SystemExit, match=r"C\.b has no string"):
        list(tool.fields(module, "C"))
