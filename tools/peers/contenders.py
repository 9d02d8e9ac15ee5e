"""Who is compared: a row of the report for each, with where it runs and what it does not do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / "envs"


@dataclass(frozen=True)
class Contender:
    """`module` is a file of this folder. `environment` is "" for the interpreter that runs the comparison.

    `comparable` is False where the outputs are not those that the others give. `limits` is what it cannot do.
    """

    key: str
    title: str
    module: str
    limits: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: str = ""
    comparable: bool = True


CONTENDERS = (
    Contender(
        "rtseg",
        "rtseg, as it comes",
        "rtseg_pipeline",
        "nothing is missing; OpenVINO chooses the precision, as it does for Model API",
    ),
    Contender(
        "rtseg-fp32",
        "rtseg `--precision fp32`",
        "rtseg_pipeline",
        "its labels are the ones that all others are compared with",
        {"precision": "fp32"},
    ),
    Contender(
        "tutorial",
        "tutorial loop: cv2 + ONNX Runtime + NumPy",
        "tutorial_loop",
        "float32 only; the frame is stretched to the network's input; `cv2.resize` does not antialias",
    ),
    Contender(
        "tutorial-nearest",
        "the same, argmax first, labels enlarged without interpolation",
        "tutorial_loop",
        "no exact upsampling: edges are blocks of the network's output stride; otherwise as above",
        {"nearest": True},
    ),
    Contender(
        "torch",
        "PyTorch loop: `F.interpolate` + `argmax`",
        "torch_loop",
        "float32 eager; stretched, not antialiased; the network must exist as Python code; of all, other work on the "
        "machine slows it most",
    ),
    Contender(
        "opencv-dnn",
        "OpenCV DNN, `cv2.dnn.readNetFromONNX`",
        "opencv_dnn",
        "no exact upsampling in its sample; one scale for all channels; the classic engine, the only one of OpenCV 4, "
        "does not read the file (it stops at a Constant node), the one that OpenCV 5 chooses does",
    ),
    Contender(
        "supervision",
        "supervision `MaskAnnotator` on the tutorial loop's labels",
        "supervision_overlay",
        "draws only: no network and no label map, so a full-size mask for each class; otherwise as the tutorial loop",
        environment="supervision",
    ),
    Contender(
        "model-api",
        "Model API, `AsyncPipeline`, labels only, overlay of the OMZ demo",
        "model_api_pipeline",
        "no exact upsampling: argmax at the network's output, then `INTER_NEAREST`, also for scores; normalisation and "
        "channel order are not read from the ONNX file, and without a fixed input size frames are not resized",
        environment="model_api",
    ),
    Contender(
        "model-api-fp32",
        "the same with `INFERENCE_PRECISION_HINT` f32",
        "model_api_pipeline",
        "as above",
        {"precision": "f32"},
        environment="model_api",
    ),
    Contender(
        "model-api-documented",
        "Model API, `AsyncPipeline` and `Visualizer`, its defaults",
        "model_api_pipeline",
        "no overlay of the frame: its `Visualizer` puts one picture per class side by side, without the first class; "
        "scores of all classes are enlarged to the frame as well",
        {"documented": True},
        environment="model_api",
        comparable=False,
    ),
)


def interpreter(contender: Contender, own: Path) -> Path:
    """The Python that runs a contender."""
    return ENVIRONMENTS / contender.environment / "bin" / "python" if contender.environment else own
