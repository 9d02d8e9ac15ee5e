"""Write the tables of docs/ros.md from what the node declares: `python tools/update_ros_docs.py`."""

from __future__ import annotations

from pathlib import Path

from rtseg.files import write_text
from rtseg.messages.records import DIAGNOSTICS, LABEL_INFO
from rtseg.ros.outputs import OUTPUTS
from rtseg.ros.parameters import PARAMETERS, Parameter

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ros.md"
MEANINGS = {
    "mask": "class ids, mono8, 255 where unlabelled",
    "confidence": "255 times the winner's probability, mono8",
    "camera_info": "the calibration that goes with mask and confidence",
    "areas": "fraction of the picture per class",
    "overlay": "the classes drawn over the picture, bgr8",
    "overlay/compressed": "the same as JPEG",
    "free_space": "0 free, 100 occupied, -1 unknown, in robot_frame",
    "obstacles": "distance of the nearest obstacle per bearing, in robot_frame",
    "label_info": "class ids and names, latched",
    "diagnostics": "rate, latency, drops",
}


def topics() -> str:
    """The table of topics."""
    kinds = {output.topic: output.kind for output in OUTPUTS} | {"label_info": LABEL_INFO, "diagnostics": DIAGNOSTICS}
    rows = [f"| `~/{topic}` | `{kind.replace('/msg/', '/')}` | {MEANINGS[topic]} |" for topic, kind in kinds.items()]
    return "\n".join(["| topic | type | what |", "| --- | --- | --- |", *rows])


def allowed(parameter: Parameter) -> str:
    """What is allowed for a parameter, in a few words."""
    if parameter.choices:
        return ", ".join(parameter.choices)
    if parameter.low is not None:
        return f"{parameter.low:g} to {parameter.high:g}"
    return {str: "text", bool: "true, false", int: "integer", float: "number"}[type(parameter.default)]


def parameters() -> str:
    """The table of parameters."""
    rows = []
    for parameter in PARAMETERS:
        default = str(parameter.default).lower() if isinstance(parameter.default, bool) else str(parameter.default)
        live = " *live*" if parameter.live else ""
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{parameter.name}`{live} | {shown} | {allowed(parameter)} | {parameter.text} |")
    return "\n".join(["| parameter | default | values | what |", "| --- | --- | --- | --- |", *rows])


def updated(page: str) -> str:
    """The page with its tables made anew."""
    for name, table in (("topics", topics()), ("parameters", parameters())):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, after = page.partition(begin)[0], page.partition(end)[2]
        page = f"{before}{begin}{table}\n{end}{after}"
    return page


if __name__ == "__main__":
    write_text(PAGE, updated(PAGE.read_text(encoding="utf-8")))
    print(f"wrote {PAGE}")
