"""Launch the segmentation node: ros2 launch PATH/segmentation.launch.py image:=/camera/image_raw [NAME:=VALUE …]

`--show-args` lists the arguments. What is not given is left to `params_file`, and what is not in that to the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

PARAMETERS = {
    "image": "topic of the pictures; a name that ends in /compressed is a CompressedImage",
    "model": "package name, folder, or ONNX file",
    "backend": "auto, tensorrt, openvino, onnxruntime, torch or null",
    "device": "the backend's device, for example CPU or cuda:0",
    "precision": "fp32, bf16, fp16 or int8",
    "image_reliability": "QoS of the image subscription: best_effort or reliable",
    "autostart": "true or false: configure and activate at once; false where a lifecycle manager does",
}
"""Parameters of the node that are arguments as well; all others go into `params_file`."""
OTHERS = {
    "params_file": ("", "YAML file with parameters; params.yaml beside this file has them all"),
    "name": ("segmentation", "the node's name"),
    "namespace": ("", "the node's namespace"),
    "remappings": ("", "names of topics, as in 'image:=/camera/image_raw ~/mask:=/mask', with spaces between"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "respawn": ("false", "true: start the node again after it failed"),
    "program": ("rtseg", "the program rtseg; its path where PATH does not have it, as in a virtual environment"),
}


def node(values: Mapping[str, str]) -> Node:
    """The node that the arguments' values ask for."""
    # Bare text would be read as YAML, and device:=0 would be a number.
    given: dict[str, Any] = {name: ParameterValue(values[name], value_type=str) for name in PARAMETERS if values[name]}
    if "autostart" in given:
        given["autostart"] = values["autostart"].lower() == "true"
    parameters: list[Any] = [values["params_file"]] if values["params_file"] else []
    if given:
        parameters.append(given)  # the last one wins
    remappings = [rule.partition(":=") for rule in values["remappings"].split()]
    for old, sign, new in remappings:
        if not (old and sign and new):
            raise ValueError(f"remappings: '{old}{sign}{new}' is not OLD:=NEW")
    return Node(
        executable=values["program"],
        arguments=["ros"],
        ros_arguments=["--log-level", values["log_level"]],
        name=values["name"],
        namespace=values["namespace"] or None,
        parameters=parameters,
        remappings=[(old, new) for old, _, new in remappings],
        respawn=values["respawn"].lower() == "true",
        respawn_delay=2.0,
        output="screen",
    )


def nodes(context: LaunchContext) -> list[Node]:
    return [node(context.launch_configurations)]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` asks for."""
    arguments = {name: ("", text) for name, text in PARAMETERS.items()} | OTHERS
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in arguments.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])
