"""The flags of the command line, and the RunConfig that they describe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg.errors import ConfigError
from rtseg.geometry import parse_size
from rtseg.registry import DATASETS

if TYPE_CHECKING:
    from rtseg.config import RunConfig

__all__ = [
    "DATASET_HELP",
    "add_data_flags",
    "add_drawing_flags",
    "add_model_flags",
    "add_option_flags",
    "add_queueing_flags",
    "add_spec_flags",
    "model_config",
    "names",
    "run_config_of",
    "size",
]

DATASET_HELP = "how the folder is laid out (default: recognised): " + ", ".join(DATASETS)


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def triple(text: str) -> tuple[float, ...]:
    """Three comma-separated numbers."""
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"expected three numbers such as 0.485,0.456,0.406, found '{text}'") from exc
    return red, green, blue


def size(text: str) -> tuple[int, int]:
    """HxW."""
    try:
        return parse_size(text)
    except ConfigError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def count_or(word: str) -> Any:
    """A parser of a whole number or `word`."""

    def parse(text: str) -> int | str:
        return word if text == word else int(text)

    parse.__name__ = f"number or '{word}'"
    return parse


def yes_or_no(text: str) -> bool:
    """A switch."""
    if text.lower() not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"expected yes or no, found '{text}'")
    return text.lower() == "yes"


SOURCE_FLAGS: tuple[tuple[str, Any, str, str], ...] = (
    ("--start", float, "SECONDS", "first second to read"),
    ("--end", float, "SECONDS", "second to stop at"),
    ("--loop", int, "N", "how often to play the input, 0 for ever"),
    ("--stride", int, "N", "take every N-th frame"),
    ("--input-rate", float, "FPS", "frames per second: asked of a camera, made by synthetic, given to images"),
    ("--input-size", size, "HxW", "asked of a camera, made by synthetic"),
    ("--pixel-format", str, "FOURCC", "pixel format asked of a camera, for example MJPG"),
    ("--seed", int, "N", "seed of a synthetic scene"),
    ("--length", int, "N", "frames of a synthetic scene, 0 for endless"),
    ("--live", yes_or_no, "yes|no", "play a synthetic scene in real time, as a camera would (default: no)"),
    ("--on-error", str, "raise|skip", "what a damaged image in a folder does (default: raise)"),
    ("--transport", str, "tcp|udp", "what carries RTSP (default: tcp)"),
    ("--open-timeout", float, "SECONDS", "how long to wait for a stream to answer"),
    ("--read-timeout", float, "SECONDS", "how long to wait for the next frame"),
    ("--low-latency", yes_or_no, "yes|no", "keep a stream from buffering (default: yes)"),
    ("--reconnect", count_or("forever"), "N|forever", "how often to open a lost stream or camera again, in a row"),
    ("--backoff-limit", float, "SECONDS", "longest wait between two attempts to reconnect to a stream (default: 30)"),
    ("--input-reliability", str, "best_effort|reliable", "QoS of a ROS topic that is read (default: best_effort)"),
    ("--input-history", int, "N", "messages of a ROS topic that may wait (default: 1, the newest)"),
)
SINK_FLAGS: tuple[tuple[str, Any, str, str], ...] = (
    ("--codec", str, "NAME", "video codec of the output, for example h264, hevc, vp9"),
    ("--crf", float, "N", "constant quality of the output, for example 18 (finer) to 28 (smaller)"),
    ("--bitrate", str, "RATE", "bit rate of the output, bits per second, for example 4M"),
    ("--preset", str, "NAME", "speed preset of the encoder (default for H.264: ultrafast)"),
    ("--output-rate", float, "FPS", "a fixed frame rate instead of the input's timestamps"),
    ("--quality", int, "N", "JPEG quality of images, in viewers and of overlays in bags, 1 to 100"),
    ("--confidence", yes_or_no, "yes|no", "add the confidence map to a bag (default: no)"),
    ("--original", yes_or_no, "yes|no", "add the pictures themselves to a bag (default: unless the input is one)"),
    ("--output-reliability", str, "best_effort|reliable", "QoS of ROS topics that are published (default: reliable)"),
    ("--output-history", int, "N", "messages of a published ROS topic that may wait (default: 5)"),
)
RENAMED = {
    "input_rate": "rate", "input_size": "size", "input_reliability": "reliability", "input_history": "depth",
    "output_rate": "rate", "output_reliability": "reliability", "output_history": "depth",
}  # fmt: skip
SPEC_FIELDS = (
    "mean", "std", "scale", "channels", "layout", "output_name", "output_kind", "output_layout", "multiple",
)  # fmt: skip
RUN_FIELDS = (
    "input", "model", "spec", "backend", "device", "precision", "threads", "depth", "size", "short_side", "fit",
    "antialias", "refine", "visualize", "alpha", "palette", "ignore_class", "hide_class", "legend", "hud", "policy",
    "limit", "headless", "stats", "report",
)  # fmt: skip


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that choose a network, what runs it, and the size at which it sees a frame."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="NAME", help="package name, folder, or ONNX file (default: unet-fast0-camvid)"
    )
    group.add_argument(
        "--backend", metavar="NAME", help="auto, tensorrt, openvino, onnxruntime, torch or null (default: auto)"
    )
    group.add_argument("--device", metavar="NAME", help="the backend's device, for example CPU or GPU")
    group.add_argument("--precision", metavar="NAME", help="the backend's arithmetic: fp32, bf16, fp16, int8")
    group.add_argument("--threads", type=int, metavar="N", help="threads of the backend and of the kernels")
    text = "refine the scores by a dense CRF: none, crf, or crf:radius=3,iterations=2,… (default: none)"
    group.add_argument("--refine", metavar="none|crf", help=text)
    group.add_argument("--ignore-class", metavar="NAME[,NAME]", type=names, help="classes that cannot win")
    group = parser.add_argument_group("network size")
    group.add_argument("--size", metavar="HxW", help="network input size (default: follows the frame's aspect ratio)")
    group.add_argument(
        "--short-side", type=int, metavar="N", help="short side of the network input (default: the spec's)"
    )
    group.add_argument("--fit", choices=("letterbox", "stretch", "crop"), help="how a frame is placed in --size")
    text = "shrink frames without averaging: faster, and less like training"
    group.add_argument("--no-antialias", dest="antialias", action="store_false", default=None, help=text)


def add_spec_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that describe a network which carries no spec."""
    spec = parser.add_argument_group("spec of an ONNX file that carries none")
    spec.add_argument("--spec", metavar="FILE", help="spec.json")
    spec.add_argument("--classes", metavar="FILE", help="class names, one a line")
    spec.add_argument("--mean", type=triple, metavar="R,G,B", help="mean in channel order, after scaling")
    spec.add_argument("--std", type=triple, metavar="R,G,B", help="standard deviation in channel order")
    spec.add_argument("--scale", type=float, metavar="X", help="factor on the 0-255 pixel values (default 1/255)")
    spec.add_argument("--channels", choices=("RGB", "BGR"), help="channel order of the input")
    spec.add_argument("--layout", choices=("NCHW", "NHWC"), help="layout of the input")
    spec.add_argument("--output-name", metavar="NAME", help="which output holds the classes, if there are several")
    text = "what the output holds, if the graph does not tell"
    spec.add_argument("--output-kind", choices=("logits", "probabilities", "labels"), help=text)
    spec.add_argument("--output-layout", choices=("NCHW", "NHWC", "NHW"), help="layout of the output")
    spec.add_argument("--multiple", type=int, metavar="N", help="the input's sides are multiples of this")


def add_data_flags(parser: argparse.ArgumentParser, split: str, *, title: str = "data") -> Any:
    """The flags that choose labelled images, `split` unless another is given; returns their group."""
    group = parser.add_argument_group(title)
    group.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of labelled images")
    group.add_argument("--dataset", metavar="NAME", help=DATASET_HELP)
    group.add_argument("--split", default=split, metavar="NAME", help=f"which images (default: {split})")
    return group


def add_queueing_flags(parser: argparse.ArgumentParser) -> None:
    """Which frames wait, and how many are under way."""
    group = parser.add_argument_group("queueing")
    group.add_argument(
        "--policy",
        metavar="POLICY",
        help="latest, wait, or drop-oldest:N (default: latest for live input and in bench, else wait)",
    )
    group.add_argument(
        "--depth", type=int, metavar="N", help="frames in flight in the backend (default: 1, lowest latency)"
    )


def add_drawing_flags(parser: argparse.ArgumentParser) -> None:
    """How the overlay looks."""
    drawing = parser.add_argument_group("drawing")
    drawing.add_argument("--visualize", type=names, metavar="VIEW[,VIEW]", help="overlay, mask, split, contour")
    drawing.add_argument("--alpha", type=float, metavar="X", help="opacity from 0 to 1 (default 0.5)")
    drawing.add_argument(
        "--palette", metavar="NAME", help="street, camvid, cityscapes, voc, ade20k, coco-stuff, or a colors.txt"
    )
    drawing.add_argument("--hide-class", type=names, metavar="NAME[,NAME]", help="labelled but drawn transparent")
    drawing.add_argument(
        "--legend", action=argparse.BooleanOptionalAction, default=None, help="names of the classes in sight"
    )
    drawing.add_argument("--hud", action=argparse.BooleanOptionalAction, default=None, help="rate, latency and drops")


def add_option_flags(parser: argparse.ArgumentParser) -> None:
    """The options of the input and of the outputs."""
    source = parser.add_argument_group("input options")
    for flag, kind, shown, text in SOURCE_FLAGS:
        source.add_argument(flag, type=kind, dest=f"source_{flag[2:].replace('-', '_')}", metavar=shown, help=text)
    sink = parser.add_argument_group("output options")
    for flag, kind, shown, text in SINK_FLAGS:
        sink.add_argument(flag, type=kind, dest=f"sink_{flag[2:].replace('-', '_')}", metavar=shown, help=text)


def given(args: argparse.Namespace, fields: tuple[str, ...]) -> dict[str, Any]:
    """The flags that were given, by field name."""
    return {name: getattr(args, name) for name in fields if getattr(args, name, None) is not None}


def spec_fields(args: argparse.Namespace) -> dict[str, Any]:
    """The spec fields that flags set, with class names read from their file."""
    fields = given(args, SPEC_FIELDS)
    if args.classes:
        from rtseg.drawing.palette import read_classes

        fields["classes"] = read_classes(Path(args.classes))
    return fields


def run_config_of(args: argparse.Namespace) -> RunConfig:
    """The RunConfig that flags, and the file they may name, describe."""
    from rtseg.config import RunConfig, from_mapping, load_config

    over = given(args, RUN_FIELDS)
    if args.output:
        over["output"] = tuple(args.output)
    for table in ("source", "sink"):
        prefix = f"{table}_"
        options = {key[len(prefix) :]: value for key, value in vars(args).items() if key.startswith(prefix)}
        over[table] = {RENAMED.get(key, key): value for key, value in options.items() if value is not None}
    over["spec_fields"] = spec_fields(args)
    if args.config:
        return load_config(args.config, over)
    if "input" not in over:
        raise ConfigError("nothing to run: give an input, for example `rtseg run clip.mp4 out.mp4`, or --config")
    return from_mapping(over, RunConfig, "command line")


def model_config(args: argparse.Namespace) -> RunConfig:
    """A RunConfig of the model flags alone, for commands that read no stream; its input means nothing."""
    from rtseg.config import RunConfig, from_mapping

    fields = {**given(args, RUN_FIELDS), "input": "none", "spec_fields": spec_fields(args)}
    return from_mapping(fields, RunConfig, "command line")
