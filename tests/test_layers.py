"""The package's floor plan: `docs/architecture.md` says which room may import which, and this holds the code to it.

A room is a file or folder directly in `rtseg/`. Imports are read out of the source with `ast`, so that those inside a
function and those under TYPE_CHECKING count too. The tables of `rtseg.registry` are strings and no imports: through
them the lower rooms reach parts that they do not know.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
TOP = "__init__"
"""The room of `rtseg/__init__.py`."""
INFERENCE = ("backends", "segmenter", "pipeline", "sources", "sinks", "drawing", "kernels")
TORCH = re.compile(r"rtseg\.(backends\._?torch\w*|kernels\.crf_torch)")
"""The modules of inference that run torch, each loaded by name when asked for."""
LONGEST, MEDIAN = 400, 125


class Import(NamedTuple):
    """`file` imports the module `target`; not `at_once` where it is inside a function or under TYPE_CHECKING."""

    file: str
    target: str
    name: str
    line: int
    at_once: bool


def read_imports(source: str, module: str, modules: frozenset[str]) -> Iterator[Import]:
    """Every import in the text of a module; of `from a import b`, a.b where that is one of `modules`."""

    def walk(node: ast.AST, at_once: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(module, a.name, "", child.lineno, at_once) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0 and child.module, f"{module}:{child.lineno}: write imports in full"
                for a in child.names:
                    inner = f"{child.module}.{a.name}"
                    target = inner if inner in modules else child.module
                    yield Import(module, target, a.name, child.lineno, at_once)
            else:
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from walk(child, at_once and not function and not typing_only)

    yield from walk(ast.parse(source), True)


@cache
def files() -> Mapping[str, Path]:
    """The files of the package by their modules' names."""
    found = {}
    for path in sorted((ROOT / "rtseg").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import of the package's own modules, but for its version, and of other packages."""
    modules = frozenset(files())
    found = [
        each
        for module, path in files().items()
        for each in read_imports(path.read_text(encoding="utf-8"), module, modules)
    ]
    return tuple(each for each in found if (each.target, each.name) != ("rtseg", "__version__"))


def own(target: str) -> bool:
    return target.partition(".")[0] == "rtseg"


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else TOP


def layers(page: str) -> dict[str, int]:
    """Room -> layer, out of the rows `| 7 | `backends`, `sinks` | … |` under the heading Layers."""
    section = page.split("\n## Layers\n")[1].split("\n## ")[0]
    found: dict[str, int] = {}
    for number, names in re.findall(r"^\| (\d+) \| ([^|]+) \|", section, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            assert name not in found, f"docs/architecture.md: {name} is on two layers"
            found[name] = int(number)
    return found


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one node, or of one that points at itself."""
    reached = {}
    for start in graph:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo.extend(graph.get(node, ()))
        reached[start] = seen
    found: list[set[str]] = []
    for node, seen in reached.items():
        if node in seen and not any(node in circle for circle in found):
            found.append({other for other in seen if node in reached.get(other, ())})
    return found


def test_every_room_has_a_layer_and_every_layer_its_rooms() -> None:
    rooms, listed = {room(module) for module in files()}, set(layers(PAGE.read_text(encoding="utf-8")))
    assert rooms - listed == set(), "give these a row of the table under Layers in docs/architecture.md"
    assert listed - rooms == set(), "these are in the table under Layers in docs/architecture.md and not in rtseg/"


def test_rooms_import_only_from_below() -> None:
    layer = layers(PAGE.read_text(encoding="utf-8"))
    wrong = {
        (room(each.file), room(each.target)): f"{each.file}:{each.line} imports {each.target}"
        for each in imports()
        if own(each.target) and room(each.file) != room(each.target)
        if layer[room(each.target)] >= layer[room(each.file)]
    }
    assert wrong == {}


def test_files_import_in_no_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in files()}
    for each in imports():
        if own(each.target):
            graph[each.file].add(each.target)
    assert circles(graph) == []


def test_a_part_imports_its_contract_and_not_its_package() -> None:
    """A folder's `__init__` gathers names for those outside: a file within that imports it depends on every other."""
    assert [
        f"{each.file}:{each.line}"
        for each in imports()
        if own(each.target) and each.file.startswith(f"{each.target}.") and each.file != "rtseg.__main__"
    ] == []


def test_inference_imports_no_torch_and_no_training() -> None:
    at_once: dict[str, set[str]] = {}
    for each in imports():
        if each.at_once:
            at_once.setdefault(each.file, set()).add(each.target)
    todo = [module for module in files() if room(module) in INFERENCE]
    seen: set[str] = set()
    while todo:
        module = todo.pop()
        if module not in seen and own(module):
            seen.add(module)
            todo.extend({*at_once.get(module, ()), module.rpartition(".")[0]} - {""})
    assert seen > {module for module in files() if room(module) == "packages" and module.endswith(".spec")}
    assert sorted(module for module in seen if room(module) == "training") == []
    assert [
        module
        for module in sorted(seen)
        if any(target.partition(".")[0] == "torch" for target in at_once.get(module, ()))
        and not TORCH.fullmatch(module)
    ] == []


def test_a_run_loads_neither() -> None:
    code = (
        "import sys, rtseg.pipeline.opening, rtseg.segmenter.host, rtseg.backends.openvino, rtseg.sources.file;"
        "print(sorted(n for n in sys.modules if n.partition('.')[0] == 'torch' or n.startswith('rtseg.training')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_whole_files_are_written_in_one_place() -> None:
    moves = {"os.replace", "os.rename", "os.renames", "shutil.move"}
    users = set()
    for module, path in files().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.Attribute) and ast.unparse(node) in moves for node in ast.walk(tree)):
            users.add(module)
    users |= {each.file for each in imports() if f"{each.target}.{each.name}" in moves}
    assert users == {"rtseg.files"}


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for suffix in ("*.py", "*.cu", "*.cpp", "*.h")
        for path in (ROOT / "rtseg").rglob(suffix)
        if path.name != "kernels.cu"  # one program for the device
    }
    assert {name: count for name, count in lengths.items() if count > LONGEST} == {}
    assert statistics.median(lengths.values()) <= MEDIAN


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from rtseg import a", [("rtseg.a", True)]),
        ("from rtseg.a import b", [("rtseg.a", True)]),
        ("import rtseg.a, torch", [("rtseg.a", True), ("torch", True)]),
        ("def f():\n    import torch", [("torch", False)]),
        ("class C:\n    import torch", [("torch", True)]),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    import b", [("torch", False), ("b", False)]),
        ("try:\n    import torch\nexcept ImportError:\n    pass", [("torch", True)]),
    ],
)
def test_imports_are_read(source: str, expected: list[tuple[str, bool]]) -> None:
    found = read_imports(source, "rtseg.m", frozenset({"rtseg", "rtseg.a"}))
    assert [(each.target, each.at_once) for each in found] == expected


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [{"a", "b", "c"}]
    assert circles({"a": {"a"}, "b": {"a"}}) == [{"a"}]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
