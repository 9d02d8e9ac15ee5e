"""tools/build_ros_messages.py: what it builds from, what its wheel holds, what it says where something is missing."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("build_ros_messages", ROOT / "tools" / "build_ros_messages.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def nothing_installed(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix with ROS's generators only, in which none of the packages is."""
    header = tmp_path / "share" / "std_msgs" / "msg" / "Header.json"
    header.parent.mkdir(parents=True)
    header.touch()
    monkeypatch.setattr(tool, "PREFIX", tmp_path)
    monkeypatch.setattr(tool, "installed", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    return header


def test_messages_are_built_from_the_definitions_that_rtseg_encodes_them_by(tool: Any) -> None:
    assert tool.definitions() == {
        "tf2_msgs": {"TFMessage": "geometry_msgs/TransformStamped[] transforms\n"},
        "vision_msgs": {
            "VisionClass": "uint16 class_id\nstring class_name\n",
            "LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
        },
    }


def test_the_wheel_holds_what_python_loads_with_its_digests(tool: Any, tmp_path: Path) -> None:
    package = tmp_path / "out" / "vision_msgs"
    (package / "msg").mkdir(parents=True)
    for name in ("__init__.py", "msg/_label_info.py", "msg/_label_info_s.c", "vision_msgs_s__rosidl_typesupport_c.so"):
        (package / name).write_text(name)
    path = tool.wheel(tmp_path / "out", ["vision_msgs"], "1+ab", tmp_path)
    assert path.name.startswith("rtseg_ros_messages-1+ab-cp3")
    info = "rtseg_ros_messages-1+ab.dist-info"
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        lines = [line.split(",") for line in file.read(f"{info}/RECORD").decode().splitlines()]
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.read("vision_msgs/__init__.py")).digest()).decode()
    assert names == [
        "vision_msgs/__init__.py",
        "vision_msgs/msg/_label_info.py",
        "vision_msgs/vision_msgs_s__rosidl_typesupport_c.so",
        *(f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD")),
    ]
    assert [line[0] for line in lines] == names
    assert lines[0] == ["vision_msgs/__init__.py", f"sha256={digest.rstrip('=')}", "11"]


@pytest.mark.parametrize("if_possible", [False, True])
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("generators", "vision_msgs needs ROS's generators to be built: with Python 3.11, pip install"),
        ("compiler", "vision_msgs needs g++ to be built: apt-get install g++"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    tool: Any,
    nothing_installed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
    said: str,
    if_possible: bool,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    if missing == "generators":
        nothing_installed.unlink()
    assert tool.main(["--if-possible"] if if_possible else []) == (not if_possible)
    output = capsys.readouterr()
    assert output.err.startswith(said) and output.err.count("\n") == 1 and output.out == ""
    assert ("skipped" in output.err) == if_possible


def test_packages_of_a_ros_installation_stay(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "installed", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: True)
    assert tool.main([]) == 0
    assert capsys.readouterr().out == "tf2_msgs and vision_msgs are those of a ROS installation\n"
