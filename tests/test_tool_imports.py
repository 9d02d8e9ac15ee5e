"""What tools, examples and tests import of rtseg is there: most of it in functions, and not type-checked."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for folder in ("tools", "examples", "tests") for path in (ROOT / folder).rglob("*.py"))
NEEDING = {"_driver", "pycuda", "tensorrt", "tensorrt_rtx", "rclpy", "torch", "onnx", "onnxruntime", "openvino"}
"""Packages that a module may need and that need not be here; `_driver` is PyCUDA's, which needs libcuda."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_imported_name_exists(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level or (node.module or "").split(".")[0] != "rtseg":
            continue
        assert node.module is not None
        try:
            module = importlib.import_module(node.module)
        except ImportError as exc:
            if (exc.name or "").split(".")[0] not in NEEDING:
                raise
            continue
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            there = hasattr(module, alias.name) or (hasattr(module, "__path__") and importlib.util.find_spec(name))
            assert there, f"line {node.lineno}: there is no {name}"
