"""The tables of names, and what is said of a name, a package or an option that is not there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from rtseg import registry
from rtseg.errors import ConfigError, MissingExtra

TABLES = {
    "source": registry.SOURCES,
    "sink": registry.SINKS,
    "backend": registry.BACKENDS,
    "network": registry.NETWORKS,
    "decoder": registry.DECODERS,
    "encoder": registry.ENCODERS,
    "data set": registry.DATASETS,
}
MEMBERS = [(kind, name) for kind, table in TABLES.items() for name in table]


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_every_name_loads(kind: str, name: str) -> None:
    target, _ = TABLES[kind][name]
    module, attribute = target.split(":")
    assert registry.load(TABLES[kind], name, kind) is getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("kind", ["source", "sink", "backend"])
def test_every_file_of_a_folder_is_registered(kind: str) -> None:
    """A plug-in that nobody can name is a file that was forgotten."""
    folder = Path(importlib.import_module(f"rtseg.{kind}s").__file__ or "").parent
    modules = {target.split(":")[0] for target, _ in TABLES[kind].values()}
    # The node stands above the pipeline, so its source and sink lie with it.
    registered = {module.rpartition(".")[2] for module in modules if not module.startswith("rtseg.ros.")}
    files = {path.stem for path in folder.glob("[a-z]*.py")} - {"contract"}
    assert registered <= files
    offering = {stem for stem in files - registered if _offers(f"rtseg.{kind}s.{stem}", kind.capitalize())}
    assert offering <= {"memory"}  # frames handed over in Python have no name on the command line


def _offers(module: str, ending: str) -> bool:
    return any(name.endswith(ending) for name in vars(importlib.import_module(module)) if not name.startswith("_"))


def test_extras_are_those_of_the_package() -> None:
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    for table in TABLES.values():
        for _, extra in table.values():
            assert extra is None or f"\n{extra} = [" in text


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match="unknown sink 'vidoe': did you mean 'video'"):
        registry.load(registry.SINKS, "vidoe", "sink")


def test_missing_package_of_an_extra_and_of_none() -> None:
    table = {"a": ("absent_package.sub:Thing", "gpu"), "b": ("absent_package:Thing", None)}
    with pytest.raises(MissingExtra, match=r"backend 'a' needs absent_package: pip install 'rtseg\[gpu\]'"):
        registry.load(table, "a", "backend")
    with pytest.raises(MissingExtra, match="backend 'b' needs absent_package: pip install absent_package"):
        registry.load(table, "b", "backend")


def test_a_mistake_of_ours_is_not_called_a_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError) as error:
        registry.load({"a": ("rtseg.no_such_module:Thing", "gpu")}, "a", "backend")
    assert not isinstance(error.value, MissingExtra)


def test_what_a_module_says_of_a_missing_package_itself_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from rtseg.errors import MissingExtra\nraise MissingExtra('charts need matplotlib')\n"
    (tmp_path / "says_it_itself.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match=r"^charts need matplotlib$"):
        registry.load({"a": ("says_it_itself:Thing", "bench")}, "a", "report")


def test_package_that_goes_missing_inside_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_something.py").write_text("import absent_package.sub\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match="needs absent_package"):
        registry.load({"a": ("needs_something:Thing", "gpu")}, "a", "backend")
    sys.modules.pop("needs_something", None)


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (
            "raise ImportError('libcudart.so.12: cannot open\\nshared object file')",
            "libcudart.so.12: cannot open shared",
        ),
        ("raise OSError('libGL.so.1: wrong ELF class')", "libGL.so.1: wrong ELF class"),
    ],
)
def test_package_whose_libraries_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, text: str
) -> None:
    (tmp_path / "lacks_a_library.py").write_text(statement)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra) as error:
        registry.load({"a": ("lacks_a_library:Thing", "gpu")}, "a", "backend")
    assert str(error.value).startswith(f"backend 'a' does not load: {text}")
    assert "\n" not in str(error.value)


def test_require() -> None:
    registry.require("numpy", "this", "gpu")
    with pytest.raises(MissingExtra, match=r"this needs absent_package: pip install 'rtseg\[gpu\]'"):
        registry.require("absent_package", "this", "gpu")


def factory(target: str, *, rate: float = 1.0, size: int = 3) -> Any:
    return target, rate, size


def test_accepted_options() -> None:
    assert registry.accepted(factory, {"rate": 2}, "input") == {"rate": 2}
    with pytest.raises(ConfigError, match="option 'rat' does not apply to file input 'x': did you mean 'rate'"):
        registry.accepted(factory, {"rat": 2}, "file input 'x'")
    with pytest.raises(ConfigError, match="option 'target' does not apply"):  # positional: not the user's to set
        registry.accepted(factory, {"target": "x"}, "input")
    with pytest.raises(ConfigError, match=r"\(it has no options\)"):
        registry.accepted(lambda target: target, {"rate": 2}, "input")
