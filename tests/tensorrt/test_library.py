"""Which TensorRT is taken, and that our stub of it is true."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rtseg.errors import BackendError
from tests.tensorrt.rtx import library

ROOT = Path(__file__).resolve().parents[2]
RECORD: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("tensorrt_api.json").read_text(encoding="utf-8")
)
"""What the bindings of TensorRT 10.3 to 11.4 declare of our stub, read off by tools/tensorrt_api.py."""
LATER = {"SAME_COMPUTE_CAPABILITY"}
"""Members that not every version has: looked for before they are used."""
SAME = {
    "typing.SupportsInt": "int", "buffer": "bytes", "typing_extensions.Buffer": "bytes", "List[str]": "list[str]",
    "nvonnxparser::IParserError": "ParserError", "tuple": "tuple[int, ...]", "Dims": "tuple[int, ...]",
    "ILogger.Severity": "Severity",
}  # fmt: skip
"""How pybind11 spells types, and how our stub does."""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("tensorrt_api_tool", ROOT / "tools" / "tensorrt_api.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["installed", *RECORD])
def declared(request: pytest.FixtureRequest, tool: ModuleType) -> dict[str, Any]:
    """What one TensorRT declares."""
    return dict(tool.declared(library.trt)) if request.param == "installed" else RECORD[request.param]


def split(text: str) -> list[str]:
    """The parts between the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip() not in ("", "/")]


def parsed(signature: str) -> tuple[list[tuple[str, str]], set[str], str]:
    """(name, type) of every argument but self, the names that have defaults, and the type of the answer."""
    inside, _, answer = signature.partition("(")[2].rpartition(") -> ")
    arguments, optional = [], set()
    for part in split(inside)[1:]:
        name, _, kind = part.partition(":")
        kind, equals, _ = kind.partition(" = ")
        optional |= {name} if equals else set()
        arguments.append((name, SAME.get(kind.strip(), kind.strip())))
    return arguments, optional, SAME.get(answer, answer)


def stubbed() -> dict[str, tuple[list[tuple[str, str]], bool, str]]:
    """The same of each method of our stub: arguments, whether these go by place only, and the type of the answer."""
    found = {}
    for owner in ast.parse((ROOT / "typings" / "tensorrt.pyi").read_text(encoding="utf-8")).body:
        for item in owner.body if isinstance(owner, ast.ClassDef) else []:
            if not isinstance(item, ast.FunctionDef) or item.name == "__buffer__":
                continue
            places = [*item.args.posonlyargs, *item.args.args][1:]
            arguments = [(each.arg, spelt(each.annotation)) for each in places]
            found[f"{owner.name}.{item.name}"] = (arguments, bool(item.args.posonlyargs), spelt(item.returns))
    return found


def spelt(annotation: ast.expr | None) -> str:
    assert annotation is not None
    return ast.unparse(annotation).removesuffix(" | None")  # pybind11 does not tell


def agrees(ours: tuple[list[tuple[str, str]], bool, str], signature: str) -> bool:
    """Whether calls that our stub allows are calls of a signature that TensorRT declares."""
    (mine, by_place, answer), (theirs, optional, their_answer) = ours, parsed(signature)
    rest = {name for name, _ in theirs[len(mine) :]}
    names_differ = not by_place and any(one[0] != other[0] for one, other in zip(mine, theirs, strict=False))
    types_differ = any(one[1] != other[1] for one, other in zip(mine, theirs, strict=False))
    return len(mine) <= len(theirs) and rest <= optional and not names_differ and not types_differ and (
        answer == their_answer
    )  # fmt: skip


def test_the_record_is_of_the_oldest_and_of_both_major_versions(tool: ModuleType) -> None:
    assert tuple(RECORD) == tool.VERSIONS
    oldest = ".".join(map(str, library.OLDEST))
    assert [version.startswith(f"{oldest}.") for version in RECORD] == [True, False, False, False]
    assert {version.partition(".")[0] for version in RECORD} == {"10", "11"}


def test_every_name_of_the_stub_is_there(tool: ModuleType, declared: dict[str, Any]) -> None:
    names = [owner if name is None else f"{owner}.{name}" for owner, name in tool.members()]
    assert len(names) > 80
    assert [name for name in names if declared.get(name) is None] == [], "run tools/tensorrt_api.py"


def test_every_method_of_the_stub_has_the_signature_of_the_real_one(declared: dict[str, Any]) -> None:
    methods = stubbed()
    assert len(methods) > 40
    wrong = {name: declared[name] for name, ours in methods.items() if not any(agrees(ours, s) for s in declared[name])}
    assert wrong == {}


def test_a_wrong_signature_is_told() -> None:
    real = "set_shape(self: IOptimizationProfile, input: str, min: Dims, opt: Dims) -> None"
    dims = "tuple[int, ...]"
    mine = [("input", "str"), ("min", dims), ("opt", dims)]
    assert agrees((mine, False, "None"), real)
    assert agrees(([("name", "str"), *mine[1:]], True, "None"), real)
    assert not agrees(([("name", "str"), *mine[1:]], False, "None"), real)
    assert not agrees((mine[:2], False, "None"), real)
    assert not agrees(([*mine, ("max", dims)], False, "None"), real)
    assert not agrees((mine, False, "bool"), real)
    assert not agrees(([("input", "int"), *mine[1:]], False, "None"), real)
    assert agrees(([], False, "X"), "make(self: Y, kind: K = <K.A: 0>) -> X")


def sources() -> list[ast.Module]:
    files = [
        *(ROOT / "rtseg" / "tensorrt").glob("*.py"),
        *(ROOT / "rtseg" / "export").glob("*.py"),
        ROOT / "rtseg" / "backends" / "tensorrt.py",
    ]
    return [ast.parse(file.read_text(encoding="utf-8")) for file in files]


def test_what_is_set_on_objects_of_tensorrt_can_be_set(tool: ModuleType, declared: dict[str, Any]) -> None:
    properties = {name: (f"{owner}.{name}", owner) for owner, name in tool.members() if name}
    written = set()
    for node in (node for source in sources() for node in ast.walk(source)):
        for target in node.targets if isinstance(node, ast.Assign) else []:
            if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") in ("config", "runtime"):
                written.add(properties[target.attr][0])
    assert written == {
        "IBuilderConfig.profiling_verbosity", "IBuilderConfig.hardware_compatibility_level",
        "IBuilderConfig.progress_monitor", "Runtime.engine_host_code_allowed",
    }  # fmt: skip
    assert {declared[name] for name in written} == {"property"}


def test_everything_that_is_taken_from_the_module_is_in_it() -> None:
    used = {
        ast.unparse(node)
        for source in sources()
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("trt.")
    }
    assert {"trt.Builder", "trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED", "trt.nptype"} <= used
    missing = []
    for words in sorted(used):
        found: Any = library.trt
        for word in words.split(".")[1:]:
            found = getattr(found, word, None)
        if found is None and words.rpartition(".")[2] not in LATER:
            missing.append(words)
    assert missing == []


def loaded(code: str, folder: Path) -> str:
    """What a process prints whose first place to look for modules is `folder`."""
    source = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd=Path.cwd())
    return done.stdout + done.stderr


def test_tensorrt_is_taken_before_tensorrt_rtx_but_not_its_stubs(tmp_path: Path) -> None:
    show = "from rtseg.tensorrt import library; print(library.FLAVOUR, library.VERSION)"
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.pyi").touch()
    assert loaded(show, tmp_path) == f"tensorrt_rtx {library.VERSION}\n"
    text = "__version__ = '10.3.0'\nclass ILogger: pass\nclass Builder: pass\n"
    (tmp_path / "tensorrt" / "__init__.py").write_text(text)
    assert loaded(show, tmp_path) == "tensorrt 10.3.0\n"


def test_neither_is_installed(tmp_path: Path) -> None:
    hide = "sys.modules['tensorrt_rtx'] = None; sys.modules['tensorrt'] = None\n"
    backend = "from rtseg.backends import open_backend\nopen_backend('tensorrt', 'unet-fast0-camvid')"
    assert "backend 'tensorrt' needs tensorrt: pip install 'rtseg[tensorrt]'" in loaded(hide + backend, tmp_path)
    command = "from rtseg.cli.main import main\nprint(main(['build', 'unet-fast0-camvid']))"
    said = loaded(hide + command, tmp_path)
    assert said == "1\nrtseg: error: plan builder 'tensorrt' needs tensorrt: pip install 'rtseg[tensorrt]'\n"


def test_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    library.check_version()
    monkeypatch.setattr(library, "IS_RTX", False)
    monkeypatch.setattr(library, "VERSION", "10.2.0.1")
    with pytest.raises(BackendError, match=r"TensorRT 10\.2\.0\.1 is too old, 10\.3 is the first that works"):
        library.check_version()
    for version in ("10.3.0", "11.4.0.106"):
        monkeypatch.setattr(library, "VERSION", version)
        library.check_version()


def test_log_keeps_the_first_error() -> None:
    log = library.Log()
    assert log.said == "it gave no reason"
    severity = library.trt.ILogger
    log.log(severity.WARNING, "not this")
    log.log(severity.ERROR, "Error Code 4:\n  the cause")
    log.log(severity.ERROR, "what follows")
    assert log.said == "Error Code 4: the cause"
