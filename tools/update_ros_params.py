"""Write rtseg/ros/launch/params.yaml from what the node declares: `python tools/update_ros_params.py`."""

from __future__ import annotations

import json
from pathlib import Path

from rtseg.files import write_text
from rtseg.ros.parameters import PARAMETERS, Parameter

PATH = Path(__file__).resolve().parents[1] / "rtseg" / "ros" / "launch" / "params.yaml"
HEAD = """\
# Every parameter of the segmentation node with its default; a copy needs only what differs.
# rtseg ros --ros-args --params-file params.yaml
# ros2 launch …/segmentation.launch.py params_file:=params.yaml
/**:
  ros__parameters:
"""


def lines(parameter: Parameter) -> str:
    """A parameter as YAML with what it is and what it may be."""
    allowed = ""
    if parameter.choices:
        allowed = f"; {', '.join(parameter.choices)}"
    elif parameter.low is not None:
        allowed = f"; {parameter.low:g} to {parameter.high:g}"
    live = "; may be changed at any time" if parameter.live else ""
    # JSON's words and numbers are YAML's.
    value = json.dumps(parameter.default)
    return f"    # {parameter.text}{allowed}{live}\n    {parameter.name}: {value}\n"


def text() -> str:
    """The content of params.yaml."""
    return HEAD + "".join(lines(parameter) for parameter in PARAMETERS)


if __name__ == "__main__":
    write_text(PATH, text())
    print(f"wrote {PATH}")
