"""The launch file and its params.yaml.

`launch` and `launch_ros` are part of a ROS installation and on no package index, so that they stand in here as what
their documentation says: the arguments that they take, and the command line that a Node becomes.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from rtseg.cli.main import make_parser
from rtseg.ros.parameters import BY_NAME, PARAMETERS, check
from tests.ros.processes import Domain
from tools.update_ros_params import PATH, text

FILE = PATH.with_name("segmentation.launch.py")


class ParameterValue:
    """launch_ros.parameter_descriptions.ParameterValue, of a type that is given."""

    def __init__(self, value: str, *, value_type: type) -> None:
        self.value = value_type(value)


def evaluated(value: Any) -> Any:
    """What launch_ros makes of a parameter's value: bare text is read as YAML."""
    if isinstance(value, ParameterValue):
        return value.value
    return yaml.safe_load(value) if isinstance(value, str) else value


class Node:
    """launch_ros.actions.Node, of Humble and later."""

    def __init__(
        self,
        *,
        executable: str,
        package: str | None = None,
        name: str | None = None,
        namespace: str | None = None,
        exec_name: str | None = None,
        parameters: list[Any] | None = None,
        remappings: list[tuple[str, str]] | None = None,
        ros_arguments: list[str] | None = None,
        arguments: list[str] | None = None,
        respawn: bool = False,
        respawn_delay: float | None = None,
        output: str = "log",
    ) -> None:
        self.respawn = respawn
        self.parameters = [
            each if isinstance(each, str) else {name: evaluated(value) for name, value in each.items()}
            for each in parameters or []
        ]
        self.command = [executable, *(arguments or [])]
        self.command += ["--ros-args", *ros_arguments] if ros_arguments is not None else []
        self.command += ["--ros-args", "-r", f"__node:={name}"]
        self.command += ["-r", f"__ns:={namespace}"] if namespace is not None else []
        for each in self.parameters:
            self.command += ["--params-file", each if isinstance(each, str) else "made from a dictionary"]
        for old, new in remappings or []:
            self.command += ["-r", f"{old}:={new}"]


class DeclareLaunchArgument:
    def __init__(self, name: str, *, default_value: str | None = None, description: str | None = None) -> None:
        self.name, self.default, self.description = name, default_value, description


class OpaqueFunction:
    def __init__(self, *, function: Any) -> None:
        self.function = function


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the launch file as `ros2 launch` does, with arguments NAME=VALUE; gives its Node."""
    modules = {
        "launch": {"LaunchContext": SimpleNamespace, "LaunchDescription": list},
        "launch.actions": {"DeclareLaunchArgument": DeclareLaunchArgument, "OpaqueFunction": OpaqueFunction},
        "launch_ros": {},
        "launch_ros.actions": {"Node": Node},
        "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    found = importlib.util.spec_from_file_location("segmentation_launch", FILE)
    assert found is not None and found.loader is not None
    file = importlib.util.module_from_spec(found)
    found.loader.exec_module(file)

    def run(**given: str) -> Node:
        *declared, action = file.generate_launch_description()
        values = {argument.name: argument.default for argument in declared}
        assert set(given) <= set(values) and all(argument.description for argument in declared)
        (node,) = action.function(SimpleNamespace(launch_configurations=values | given))
        return node

    run.file = file  # type: ignore[attr-defined]
    return run


def test_what_is_not_given_is_left_to_the_node(launch: Any) -> None:
    node = launch()
    assert node.command == [
        "rtseg",
        "ros",
        "--ros-args",
        "--log-level",
        "info",
        "--ros-args",
        "-r",
        "__node:=segmentation",
    ]
    assert node.parameters == [] and not node.respawn


def test_arguments_become_parameters_that_win_over_the_file(launch: Any) -> None:
    node = launch(
        image="/front/image_raw", precision="fp16", autostart="False", params_file="/tmp/a.yaml", name="front",
        namespace="robot", remappings="~/mask:=/mask image:=/b", program="/opt/rtseg/bin/rtseg", respawn="true",
    )  # fmt: skip
    assert node.parameters == ["/tmp/a.yaml", {"image": "/front/image_raw", "precision": "fp16", "autostart": False}]
    assert node.command == [
        "/opt/rtseg/bin/rtseg", "ros", "--ros-args", "--log-level", "info",
        "--ros-args", "-r", "__node:=front", "-r", "__ns:=robot",
        "--params-file", "/tmp/a.yaml", "--params-file", "made from a dictionary",
        "-r", "~/mask:=/mask", "-r", "image:=/b",
    ]  # fmt: skip
    assert node.respawn
    options = make_parser().parse_args(node.command[1:])
    assert options.ros_args == node.command[3:]


@pytest.mark.parametrize("rule", ["image", "image:=", ":=/camera"])
def test_a_remapping_that_is_none_is_an_error(launch: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"remappings: '{rule}' is not OLD:=NEW"):
        launch(remappings=f"~/mask:=/mask {rule}")


def test_its_parameters_are_those_of_the_node(launch: Any) -> None:
    for name in launch.file.PARAMETERS:
        node = launch(**{name: "true" if name == "autostart" else "0"})
        (given,) = node.parameters
        assert list(given) == [name]
        assert type(given[name]) is type(BY_NAME[name].default)


def test_params_yaml_has_the_parameters_of_the_node() -> None:
    assert PATH.read_text(encoding="utf-8") == text(), "run python tools/update_ros_params.py"
    values = yaml.safe_load(text())["/**"]["ros__parameters"]
    assert values == {parameter.name: parameter.default for parameter in PARAMETERS}
    for name, value in values.items():
        assert type(value) is type(BY_NAME[name].default)
        check(name, value)


@pytest.mark.ros
def test_the_node_takes_params_yaml(domain: Domain, tmp_path: Path) -> None:
    copy = tmp_path / "params.yaml"
    copy.write_text(text().replace("alpha: 0.5", "alpha: 0.25").replace("autostart: true", "autostart: false"))
    domain.start("-m", "rtseg", "ros", "--ros-args", "-r", "__ns:=/robot", "--params-file", str(copy))
    peer = domain.peer("asker")
    names = [parameter.name for parameter in PARAMETERS]
    values = peer.call("get_parameters", node="/robot/segmentation", names=names)
    expected = {parameter.name: parameter.default for parameter in PARAMETERS}
    assert values == {**expected, "alpha": 0.25, "autostart": False}
