"""What a network expects and returns: ModelSpec, carried in the ONNX file and in spec.json, and model packages."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from rtseg.errors import ModelError, nearest

__all__ = [
    "METADATA_KEY",
    "ModelSpec",
    "Package",
    "current_keys",
    "find_package",
    "package_folders",
    "packages",
    "read_spec",
    "written_fields",
]

METADATA_KEY = "rtseg.spec"
"""Key of the ONNX metadata entry that holds the spec as JSON."""
RENAMED = {"licence": "license"}
RENAMED_PROVENANCE = {"quantised": "quantized"}
"""Keys of 0.1, which are read and never written."""


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that must be known to feed a segmentation network and read its output; sizes are (height, width).

    The input tensor is `(pixel * scale - mean) / std` per channel in `channels` order. `size` is the fixed input size
    or None where any multiple of `multiple` is accepted; then `short_side` is the size it was trained for.
    `output_stride` is input pixels per output pixel. `palette` is one (R, G, B) or (R, G, B, A) row per class.
    `network` names the class in `rtseg.models`, so that the torch backend can rebuild it.
    """

    name: str
    classes: tuple[str, ...]
    input_name: str = "image"
    output_name: str = "logits"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    size: tuple[int, int] | None = None
    short_side: int = 512
    multiple: int = 32
    output_kind: Literal["logits", "probabilities", "labels"] = "logits"
    output_layout: Literal["NCHW", "NHWC", "NHW"] = "NCHW"
    output_stride: int = 1
    palette: tuple[tuple[int, ...], ...] = ()
    ignore_index: int = 255
    network: str | None = None
    license: str = "unknown"
    provenance: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 255:
            raise ModelError(f"spec of {self.name}: {len(self.classes)} classes, expected 1 to 255")
        if len(set(self.classes)) != len(self.classes):
            raise ModelError(f"spec of {self.name}: a class name appears twice")
        if self.palette and len(self.palette) != len(self.classes):
            raise ModelError(f"spec of {self.name}: {len(self.palette)} colours for {len(self.classes)} classes")
        if any(len(row) not in (3, 4) or not all(0 <= v <= 255 for v in row) for row in self.palette):
            raise ModelError(f"spec of {self.name}: a colour is 3 or 4 numbers from 0 to 255")
        if self.multiple < 1 or self.short_side < 1 or self.output_stride < 1:
            raise ModelError(f"spec of {self.name}: multiple, short_side and output_stride start at 1")
        if not all(map(math.isfinite, (self.scale, *self.mean, *self.std))):
            raise ModelError(f"spec of {self.name}: scale, mean and std are finite numbers")
        if 0 in (self.scale, *self.std):
            raise ModelError(f"spec of {self.name}: scale and std are not zero")

    def class_id(self, name: str) -> int:
        """The id of a class by name (any case) or by number; ModelError with the nearest name otherwise."""
        lowered = [known.lower() for known in self.classes]
        if name.lower() in lowered:
            return lowered.index(name.lower())
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        raise ModelError(f"no class '{name}' in model {self.name}: {nearest(name, self.classes)}")

    @property
    def licence(self) -> str:
        """`license` by the name that it had in 0.1; deprecated."""
        warnings.warn("ModelSpec.licence is called license", DeprecationWarning, stacklevel=2)
        return self.license

    def to_json(self) -> str:
        """The spec as indented JSON, the text of spec.json."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"


class Package(msgspec.Struct, frozen=True):
    """A model on disk: the ONNX file and, where one was found, its spec and the fields that its file names."""

    path: Path
    spec: ModelSpec | None
    written: frozenset[str] = frozenset()


def read_spec(text: str | bytes, origin: str) -> ModelSpec:
    """Parse spec JSON, of earlier releases too; ModelError naming `origin` and the offending field otherwise."""
    try:
        return msgspec.convert(current_keys(msgspec.json.decode(text)), ModelSpec)
    except (msgspec.DecodeError, ModelError) as exc:
        raise ModelError(f"{origin}: not a valid model spec: {exc}") from exc


def written_fields(text: str | bytes) -> frozenset[str]:
    """The fields that valid spec JSON names: in a short file by hand the others are left to the graph, not defaults."""
    return frozenset(current_keys(msgspec.json.decode(text)))


def current_keys(content: Any) -> Any:
    """Fields of a spec with the keys of earlier releases, also in `provenance`, by today's names; else as they are."""
    if not isinstance(content, Mapping):
        return content
    fields = _renamed(content, RENAMED)
    if isinstance(fields.get("provenance"), Mapping):
        fields["provenance"] = _renamed(fields["provenance"], RENAMED_PROVENANCE)
    return fields


def _renamed(content: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A copy with old keys by their new names; where both are there, the old one stays, and is an unknown key."""
    return {names[key] if key in names and names[key] not in content else key: content[key] for key in content}


def package_folders() -> list[Path]:
    """Folders searched for model packages: ./engines, the checkout's engines/, and the installed copy."""
    here = Path(__file__).resolve().parents[1]
    folders = [Path("engines"), here.parent / "engines", here / "engines"]
    return [folder for folder in folders if folder.is_dir()]


def packages() -> dict[str, Path]:
    """Installed model packages by name."""
    found: dict[str, Path] = {}
    for folder in package_folders():
        for model in sorted(folder.glob("*/model.onnx")):
            found.setdefault(model.parent.name, model)
    return found


def find_package(model: str, spec_file: str | None = None) -> Package:
    """Resolve `model`: a package name, a package folder, or an ONNX file, with its spec.json where there is one.

    A spec inside the ONNX file is read by the backends' graph reader, not here. Errors: ModelError.
    """
    path = Path(model)
    if path.is_dir():
        path = path / "model.onnx"
    elif not path.suffix:
        known = packages()
        if model not in known:
            raise ModelError(
                f"no model '{model}': {nearest(model, known) if known else 'no model package is installed'}"
            )
        path = known[model]
    if not path.is_file():
        raise ModelError(f"model file not found: {path}")
    spec_path = Path(spec_file) if spec_file else path.with_name("spec.json")
    if spec_file and not spec_path.is_file():
        raise ModelError(f"spec file not found: {spec_path}")
    # A spec.json belongs to the model.onnx beside it, not to any other ONNX file that happens to lie there.
    if spec_file or (path.name == "model.onnx" and spec_path.is_file()):
        text = spec_path.read_bytes()
        return Package(path, read_spec(text, str(spec_path)), written_fields(text))
    return Package(path, None)
