"""Which TensorRT is taken, and that our stub of it is true."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from rtseg.errors import BackendError
from tests.plans.rtx import library

STUB = Path(__file__).resolve().parents[2] / "typings" / "tensorrt.pyi"


def test_every_name_of_the_stub_is_there() -> None:
    for item in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(item, ast.FunctionDef):
            assert callable(getattr(library.trt, item.name))
        if not isinstance(item, ast.ClassDef):
            continue
        found = getattr(library.trt, item.name)
        for member in item.body:
            name = getattr(member, "name", None)
            if isinstance(member, ast.Assign):
                name = member.targets[0].id  # type: ignore[attr-defined]
            elif isinstance(member, ast.AnnAssign):
                name = member.target.id  # type: ignore[union-attr]
            if name is not None and name != "__buffer__":
                assert hasattr(found, name), f"{item.name}.{name}"


def loaded(code: str, folder: Path) -> str:
    """What a process prints whose first place to look for modules is `folder`."""
    source = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd=Path.cwd())
    return done.stdout + done.stderr


def test_tensorrt_is_taken_before_tensorrt_rtx_but_not_its_stubs(tmp_path: Path) -> None:
    show = "from rtseg.plans import library; print(library.FLAVOUR, library.VERSION)"
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
    command = "from rtseg.cli import main\nprint(main(['build', 'unet-fast0-camvid']))"
    said = loaded(hide + command, tmp_path)
    assert said == "1\nrtseg: error: command 'build' needs tensorrt: pip install 'rtseg[tensorrt]'\n"


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
