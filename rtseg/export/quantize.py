"""From a model package to its int8 twin: post-training static quantization into an ONNX file of QDQ pairs.

Weights get one scale per output channel, activations one scale per tensor, found by running the network on training
images through the pipeline's own preprocessing. All of it is symmetric around zero and biases stay float32, as
TensorRT requires.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtseg import registry
from rtseg.backends import open_backend
from rtseg.datasets import Dataset, open_dataset
from rtseg.errors import ConfigError, ModelError
from rtseg.files import file_hash, make_folder, put_in_place, write_text
from rtseg.packages.card import write_card
from rtseg.packages.onnx_file import is_quantised
from rtseg.packages.spec import METADATA_KEY, ModelSpec, find_package
from rtseg.segmenter.host import HostSegmenter

__all__ = ["IMAGES", "quantize"]

IMAGES = 64
"""Images that activation ranges are measured on, evenly spaced over the split."""
Tensor = NDArray[Any]


def quantize(
    model: str, out: Path, *, data: Path, dataset: str | None = None, split: str = "train", images: int = IMAGES
) -> ModelSpec:
    """Write the int8 twin of `model` (a package name, folder or ONNX file) as the package `out` and return its spec.

    `data` is a folder of labelled images whose layout `dataset` names (None recognises it); labels are not read.
    Errors: MissingExtra without onnxruntime or onnx, ConfigError for the data, ModelError for a model that is not
    float32 or that ONNX Runtime cannot quantize.
    """
    registry.require("onnxruntime", "quantization", "onnx")
    registry.require("onnx", "quantization", "train")
    if images < 1:
        raise ConfigError(f"{images} images to calibrate on: expected 1 or more")
    path = find_package(model).path
    if (out / "model.onnx").resolve() == path.resolve():
        raise ConfigError(f"{out} is the package to quantize itself: give another --out")
    segmenter = HostSegmenter(open_backend("null", model))
    _check(path, segmenter.spec)
    chosen = open_dataset(data, split, name=dataset)
    count = min(images, len(chosen))
    spec = msgspec.structs.replace(
        segmenter.spec,
        name=out.resolve().name,
        provenance={
            **segmenter.spec.provenance,
            "quantized": {
                "from": file_hash(path),
                "to": "int8 QDQ, weights per channel, activations per tensor, symmetric",
                "calibrated_on": f"{count} images of {chosen.name} {split}, ranges from the extremes",
            },
        },
    )
    make_folder(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=".quantize.") as folder:
        made = Path(folder) / "model.onnx"
        _quantize(path, made, spec.input_name, lambda: _tensors(segmenter, chosen, count))
        _finish(made, spec)
        made.chmod(0o644)
        put_in_place(made, out / "model.onnx")
    write_text(out / "spec.json", spec.to_json())
    write_card(out)
    return spec


def _check(path: Path, spec: ModelSpec) -> None:
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path} is not an ONNX file, so it cannot be quantized: give a package that rtseg export wrote"
        )
    if spec.dtype != "float32":
        raise ModelError(f"{path} takes {spec.dtype} input: quantize the float32 model")
    if is_quantised(path):
        raise ModelError(f"{path} is quantized already: quantize the float32 model")


def _tensors(segmenter: HostSegmenter, chosen: Dataset, count: int) -> Iterator[Tensor]:
    """Input tensors of `count` images, evenly spaced."""
    for index in np.linspace(0, len(chosen) - 1, count).round().astype(int):
        yield segmenter.preprocess(chosen.read(int(index))[0])[0].copy()


def _quantize(path: Path, made: Path, input_name: str, tensors: Any) -> None:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize_graph

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = tensors()

        def get_next(self) -> dict[str, Tensor] | None:
            tensor = next(self._left, None)
            return None if tensor is None else {input_name: tensor}

    folded = made.with_name("folded.onnx")
    with _quiet():
        try:
            # Batch normalisation goes into the convolutions first: scales are measured on what will run.
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
            options.optimized_model_filepath = str(folded)
            options.log_severity_level = 3
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            quantize_graph(
                folded,
                made,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
            )
        except (ConfigError, ModelError):
            raise
        except Exception as exc:  # whatever the quantizer meets in a graph that is not ours
            raise ModelError(f"ONNX Runtime cannot quantize {path}: {' '.join(str(exc).split())[:300]}") from exc


def _finish(made: Path, spec: ModelSpec) -> None:
    """Put the spec into the file."""
    import onnx

    graph = onnx.load(made)
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {METADATA_KEY: spec.to_json()})
    onnx.save(graph, made)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice to preprocess, which is done here, out of the user's terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
