"""Importing a package without one that it would use; OpenVINO reports nothing to anybody."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata

import pytest

from rtseg.imports import TELEMETRY, without

CODE = """
import sys
from rtseg.cli.check import _import_problem
assert _import_problem("openvino") is None
import rtseg.backends.openvino as backend
from openvino.tools.ovc import telemetry
print(sorted(name for name in sys.modules if name.startswith({name!r})), type(telemetry).__module__, backend.devices())
import {name}
"""


def test_openvino_is_imported_without_its_telemetry() -> None:
    assert metadata.version(TELEMETRY)  # it would be used
    done = subprocess.run([sys.executable, "-c", CODE.format(name=TELEMETRY)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] openvino.tools.ovc.telemetry_stub ['CPU'")


def test_a_module_is_gone_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with without("this"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("this")
    assert "this" not in sys.modules
    with without("json"):
        importlib.import_module("json")
    assert "json" in sys.modules
