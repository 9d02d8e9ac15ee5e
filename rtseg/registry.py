"""Every pluggable part by the word the user types: name -> ("module:attribute", extra).

Adding a source, sink, backend or model is one file and one line here. Nothing is imported until it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any

from rtseg.errors import ConfigError, MissingExtra, nearest

__all__ = [
    "BACKENDS",
    "BUILDERS",
    "DATASETS",
    "DECODERS",
    "ENCODERS",
    "ENCODER_STRIDES",
    "NETWORKS",
    "PROBES",
    "SINKS",
    "SOURCES",
    "accepted",
    "load",
    "option_names",
    "require",
]

Table = Mapping[str, tuple[str, str | None]]

SOURCES: Table = {
    "file": ("rtseg.sources.file:FileSource", None),
    "camera": ("rtseg.sources.camera:CameraSource", None),
    "stream": ("rtseg.sources.stream:StreamSource", None),
    "images": ("rtseg.sources.images:ImagesSource", None),
    "synthetic": ("rtseg.sources.synthetic:SyntheticSource", None),
    "ros": ("rtseg.ros.source:RosSource", "ros"),
    "bag": ("rtseg.sources.bag:BagSource", "bag"),
}
SINKS: Table = {
    "video": ("rtseg.sinks.video:VideoSink", None),
    "images": ("rtseg.sinks.images:ImagesSink", None),
    "labels": ("rtseg.sinks.images:labels_sink", None),
    "colors": ("rtseg.sinks.images:colors_sink", None),
    "window": ("rtseg.sinks.window:WindowSink", None),
    "stats": ("rtseg.sinks.stats:StatsSink", None),
    "foxglove": ("rtseg.sinks.foxglove:FoxgloveSink", "foxglove"),
    "rerun": ("rtseg.sinks.rerun:RerunSink", "rerun"),
    "ros": ("rtseg.ros.sink:RosSink", "ros"),
    "bag": ("rtseg.sinks.bag:BagSink", "bag"),
    "null": ("rtseg.sinks.null:NullSink", None),
}
BACKENDS: Table = {
    "openvino": ("rtseg.backends.openvino:OpenVINOBackend", None),
    "onnxruntime": ("rtseg.backends.onnxruntime:OnnxRuntimeBackend", "onnx"),
    "tensorrt": ("rtseg.backends.tensorrt:TensorRTBackend", "tensorrt"),
    "torch": ("rtseg.backends.torch:TorchBackend", "train"),
    "null": ("rtseg.backends.null:NullBackend", None),
}
PROBES: Table = {
    "openvino": ("rtseg.backends.openvino:output_shapes", None),
    "onnxruntime": ("rtseg.backends.onnxruntime:output_shapes", "onnx"),
}
"""What finds the shapes of an ONNX file's outputs for an input that the file itself says nothing of."""
BUILDERS: Table = {"tensorrt": ("rtseg.export.build:build", "tensorrt")}
"""What makes the plan of a backend that runs compiled plans, where none is in the cache."""
NETWORKS: Table = {
    "fcn-same": ("rtseg.models.fcn_same:fcn_same", "train"),
    "fcn-resnet50": ("rtseg.models.torchvision_fcn:fcn_resnet50", "train"),
    "fcn-resnet101": ("rtseg.models.torchvision_fcn:fcn_resnet101", "train"),
    "segnet": ("rtseg.models.segnet:segnet", "train"),
    "pidnet-s": ("rtseg.models.pidnet:pidnet_s", "train"),
    "pidnet-m": ("rtseg.models.pidnet:pidnet_m", "train"),
    "pidnet-l": ("rtseg.models.pidnet:pidnet_l", "train"),
    "ddrnet-23-slim": ("rtseg.models.ddrnet:ddrnet_23_slim", "train"),
    "bisenetv2": ("rtseg.models.bisenetv2:bisenetv2", "train"),
    "fast-scnn": ("rtseg.models.fast_scnn:fast_scnn", "train"),
    "segformer-b0": ("rtseg.models.segformer:segformer_b0", "train"),
    "lraspp-mobilenetv3-large": ("rtseg.models.lraspp:lraspp_mobilenetv3_large", "train"),
    "unet": ("rtseg.models.unet:unet", "train"),
    "unet-binary": ("rtseg.models.unet:unet_binary", "train"),
    "unet-residual": ("rtseg.models.unet_residual:unet_residual", "train"),
}
DECODERS: Table = {
    "fcn-32s": ("rtseg.models.fcn:fcn_32s", "train"),
    "fcn-16s": ("rtseg.models.fcn:fcn_16s", "train"),
    "fcn-8s": ("rtseg.models.fcn:fcn_8s", "train"),
    "deeplabv1": ("rtseg.models.deeplab_v1:deeplabv1", "train"),
    "deeplabv3": ("rtseg.models.deeplab_v3:deeplabv3", "train"),
    "deeplabv3plus": ("rtseg.models.deeplab:deeplabv3plus", "train"),
    "pspnet": ("rtseg.models.pspnet:pspnet", "train"),
    "unet": ("rtseg.models.unet_on_encoder:unet_on_encoder", "train"),
    "unet-lite": ("rtseg.models.unet_on_encoder:unet_lite", "train"),
    "unet-fast": ("rtseg.models.unet_on_encoder:unet_fast", "train"),
}
"""Decoders that take any encoder: a network's name is "<decoder>-<encoder>"."""
ENCODER_STRIDES: Mapping[str, tuple[int, ...]] = {"deeplabv3": (8, 16), "deeplabv3plus": (8, 16)}
"""Decoders whose encoder's output stride the name can choose: "<decoder>-<encoder>-os8"; their own default without."""
ENCODERS: Table = {
    "alexnet": ("rtseg.models.encoders.alexnet:alexnet", "train"),
    "vgg16": ("rtseg.models.encoders.vgg:vgg16", "train"),
    "googlenet": ("rtseg.models.encoders.googlenet:googlenet", "train"),
    "resnet18": ("rtseg.models.encoders.resnet:resnet18", "train"),
    "resnet34": ("rtseg.models.encoders.resnet:resnet34", "train"),
    "resnet50": ("rtseg.models.encoders.resnet:resnet50", "train"),
    "resnet101": ("rtseg.models.encoders.resnet:resnet101", "train"),
    "mobilenetv2": ("rtseg.models.encoders.mobilenet_v2:mobilenet_v2", "train"),
    "mobilenetv3-large": ("rtseg.models.encoders.mobilenet_v3:mobilenet_v3_large", "train"),
    "efficientnet-lite0": ("rtseg.models.encoders.efficientnet_lite:efficientnet_lite0", "train"),
    "efficientnet-lite1": ("rtseg.models.encoders.efficientnet_lite:efficientnet_lite1", "train"),
    "efficientnet-lite2": ("rtseg.models.encoders.efficientnet_lite:efficientnet_lite2", "train"),
}

DATASETS: Table = {
    "cityscapes": ("rtseg.datasets.cityscapes:LAYOUT", None),
    "voc": ("rtseg.datasets.voc:LAYOUT", None),
    "ade20k": ("rtseg.datasets.ade20k:LAYOUT", None),
    "camvid": ("rtseg.datasets.camvid:LAYOUT", None),
    "arrays": ("rtseg.datasets.arrays:LAYOUT", None),
    "folders": ("rtseg.datasets.folders:LAYOUT", None),
}
"""Layouts of labelled images, in the order in which a folder is compared with them."""


def load(table: Table, name: str, kind: str) -> Any:
    """The object that `name` stands for in `table`; `kind` is the noun for messages.

    Errors: ConfigError with the nearest name for an unknown one; MissingExtra with the install line for a package
    that is not there.
    """
    if name not in table:
        raise ConfigError(f"unknown {kind} '{name}': {nearest(name, table)}")
    target, extra = table[name]
    module, attribute = target.split(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] == "rtseg":
            raise
        install = f"pip install 'rtseg[{extra}]'" if extra else f"pip install {exc.name}"
        raise MissingExtra(f"{kind} '{name}' needs {exc.name}: {install}") from exc
    except MissingExtra:
        raise  # raised by the loaded module, with its own message
    except (ImportError, OSError) as exc:
        if isinstance(exc, ImportError) and (exc.name or "").split(".")[0] == "rtseg":
            raise
        # The package is there, a system library that it loads is not.
        raise MissingExtra(f"{kind} '{name}' does not load: {' '.join(str(exc).split())}") from exc


def require(package: str, what: str, extra: str) -> None:
    """MissingExtra with the install line unless `package` is installed; it is not imported."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(f"{what} needs {package}: pip install 'rtseg[{extra}]'")


def accepted(factory: Any, options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`options` if every one of them is a keyword argument of `factory`; ConfigError naming the first that is not."""
    known = option_names(factory)
    for name in options:
        if name not in known:
            choices = nearest(name, known) if known else "(it has no options)"
            raise ConfigError(f"option '{name}' does not apply to {what}: {choices}")
    return dict(options)


def option_names(factory: Any) -> list[str]:
    """The keyword arguments of `factory`."""
    return [name for name, p in inspect.signature(factory).parameters.items() if p.kind is p.KEYWORD_ONLY]
