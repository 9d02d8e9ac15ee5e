"""Record what the Python bindings of several TensorRT versions declare, of all that rtseg uses of them.

    python tools/tensorrt_api.py    # downloads the bindings' wheels with pip, writes tests/tensorrt/tensorrt_api.json

The bindings alone are a megabyte and need no GPU, but do not import without TensorRT's libraries: empty ones made by
the C compiler stand for them. Nothing of TensorRT runs; signatures, members and writable properties are read off.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "typings" / "tensorrt.pyi"
RECORD = ROOT / "tests" / "plans" / "tensorrt_api.json"
VERSIONS = ("10.3.0", "10.13.0.35", "10.16.1.11", "11.4.0.106")
"""The oldest that rtseg takes, the last of each major version, and one between."""
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip


def members(stub: Path = STUB) -> list[tuple[str, str | None]]:
    """(class or function, member or None) for everything that our stub declares."""
    found: list[tuple[str, str | None]] = []
    for item in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(item, ast.FunctionDef):
            found.append((item.name, None))
        elif isinstance(item, ast.ClassDef):
            found += [(item.name, name) for name in map(_name, item.body) if name not in (None, "__buffer__")]
    return found


def _name(item: ast.stmt) -> str | None:
    if isinstance(item, (ast.FunctionDef, ast.ClassDef)):
        return item.name
    target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
    return target.id if isinstance(target, ast.Name) else None


def declared(module: Any) -> dict[str, Any]:
    """What a TensorRT module has of our stub: signatures for functions, else the kind of member; null for nothing."""
    found: dict[str, Any] = {}
    for owner, name in members():
        holder = getattr(module, owner, None)
        key = owner if name is None else f"{owner}.{name}"
        found[key] = _describe(holder if name is None else inspect.getattr_static(holder, name, None))
    return found


def _describe(member: Any) -> Any:
    if member is None:
        return None
    if isinstance(member, property):
        return "property" if member.fset is not None else "read-only property"
    if inspect.isfunction(member):
        return [f"{member.__name__}{inspect.signature(member)} -> object"]
    text = member.__doc__ or ""
    lines = [re.sub(r"\b(?:tensorrt\w*\.)+", "", line.strip()) for line in text.splitlines() if ") -> " in line]
    lines = [re.sub(r"^\d+\. ", "", line) for line in lines if re.match(r"(\d+\. )?\w+\(", line)]
    return lines if lines and not inspect.isclass(member) else "value"


def _bindings(version: str, folder: Path) -> dict[str, Any]:
    """Download a version's bindings and read them in a process of their own."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
    subprocess.run([*command, f"tensorrt-cu12-bindings=={version}"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    source = folder / "stand_in.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for library in LIBRARIES:
        name = f"lib{library}.so.{version.split('.')[0]}"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-o", str(folder / name), str(source), f"-Wl,-soname,{name}"], check=True
        )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder)}
    words = [sys.executable, __file__, "--print", "tensorrt_bindings"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Write the record, or print what one installed module declares."""
    if sys.argv[1:2] == ["--print"]:
        print(json.dumps(declared(__import__(sys.argv[2]))))
        return 0
    record = {}
    for version in VERSIONS:
        with tempfile.TemporaryDirectory(prefix="rtseg-api-") as folder:
            record[version] = _bindings(version, Path(folder))
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
