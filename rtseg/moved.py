"""Modules by their names of 0.1, for one release: `import rtseg.runner` is `rtseg.pipeline.opening`, with a warning.

Public names, those of `rtseg` itself, have not moved.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MOVED", "Finder", "install"]

MOVED = {
    "bench_command": "cli.bench",
    "build_command": "cli.build",
    "capture": "pipeline.capture",
    "card": "packages.card",
    "check": "cli.check",
    "cuda": "gpu.cuda",
    "delivery": "pipeline.delivery",
    "device.graph": "gpu.graph",
    "device.network": "gpu.network",
    "device.render": "drawing.device",
    "device.segmenter": "segmenter.device",
    "device.track": "segmenter.recorded",
    "flags": "cli.flags",
    "graph": "packages.complete",
    "graph_output": "packages.output",
    "inks": "drawing.colormap",
    "kernels.plans": "kernels.launch",
    "legend": "drawing.legend",
    "mailbox": "pipeline.mailbox",
    "nvidia": "gpu.driver",
    "onnx_file": "packages.onnx_file",
    "palette": "drawing.palette",
    "placement": "segmenter.placement",
    "plans": "tensorrt",
    "plans.agreement": "export.agreement",
    "plans.build": "export.build",
    "plans.cache": "tensorrt.cache",
    "plans.compile": "tensorrt.compile",
    "plans.engine": "tensorrt.engine",
    "plans.execution": "tensorrt.execution",
    "plans.fold": "tensorrt.fold",
    "plans.half": "tensorrt.half",
    "plans.library": "tensorrt.library",
    "plans.make": "export.make_plan",
    "plans.profiles": "tensorrt.profiles",
    "plans.progress": "tensorrt.progress",
    "plans.show": "export.show_plan",
    "quantize": "export.quantize",
    "refine": "kernels.crf_settings",
    "render": "drawing.render",
    "ros.camera": "navigation.camera",
    "ros.camera_info": "messages.camera_info",
    "ros.contacts": "navigation.contacts",
    "ros.encodings": "messages.encodings",
    "ros.facts": "messages.status",
    "ros.ground": "navigation.ground",
    "ros.ground_settings": "navigation.settings",
    "ros.images": "messages.images",
    "ros.intake": "ros.subscriber",
    "ros.marks": "navigation.rasterise",
    "ros.messages": "messages.records",
    "ros.navigation": "navigation.projection",
    "ros.rotations": "navigation.rotations",
    "ros.transforms": "navigation.transforms",
    "ros_command": "cli.ros",
    "runner": "pipeline.opening",
    "sinks._files": "files",
    "sinks.ros": "ros.sink",
    "sources._opencv": "image_file",
    "sources.ros": "ros.source",
    "spec": "packages.spec",
    "stages": "segmenter.contract",
    "training.contact_sheet": "datasets.contact_sheet",
    "training.crf": "kernels.crf_torch",
    "training.data_check": "datasets.check",
    "training.datasets": "datasets",
    "training.datasets.ade20k": "datasets.ade20k",
    "training.datasets.arrays": "datasets.arrays",
    "training.datasets.camvid": "datasets.camvid",
    "training.datasets.cityscapes": "datasets.cityscapes",
    "training.datasets.folders": "datasets.folders",
    "training.datasets.voc": "datasets.voc",
    "training.metrics": "evaluation.metrics",
    "training.out_folder": "files",
    "view": "drawing.view",
}
"""Old names and new ones, both below `rtseg`."""
ALONE = {
    "rtseg.nvidia.open_gpu": "rtseg.gpu.opening",
    "rtseg.spec.write_bytes": "rtseg.files",
    "rtseg.spec.write_text": "rtseg.files",
}
"""What has moved elsewhere than the rest of its module."""


class Finder(MetaPathFinder, Loader):
    """Finds the modules of MOVED; asked last, so that nothing else becomes slower."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that has moved; None for every other name."""
        package, _, name = fullname.partition(".")
        if package != "rtseg" or name not in MOVED:
            return None
        return ModuleSpec(fullname, self, is_package=name in ("plans", "training.datasets"))

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that takes everything from where it is now."""
        new = f"rtseg.{MOVED[spec.name.partition('.')[2]]}"
        warnings.warn(f"{spec.name} has moved to {new}", DeprecationWarning, stacklevel=2)
        module = ModuleType(spec.name, f"Moved to {new}.")

        def get(name: str) -> Any:
            home = ALONE.get(f"{spec.name}.{name}", new)
            return getattr(importlib.import_module(home), name)

        module.__dict__["__getattr__"] = get
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module has no names of its own."""


def install() -> None:
    """Let the old names be found."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
