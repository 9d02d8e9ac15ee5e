"""What a plan is, for people and as plain data."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtseg.plans.build import Built
from rtseg.plans.profiles import spelt

__all__ = ["as_data", "print_layers", "print_plan"]


def as_data(built: Built) -> dict[str, Any]:
    """The plan's path, size, time, inputs and outputs, layers by precision, and agreement."""
    sidecar = built.sidecar
    identity, report = sidecar.identity, sidecar.report
    return {
        "plan": str(built.path),
        "built": built.fresh,
        "reason": built.reason,
        "bytes": sidecar.bytes,
        "sha256": sidecar.sha256,
        "seconds": report.get("seconds"),
        "model": identity.model,
        "precision": identity.precision,
        "library": f"{identity.library} {identity.version}",
        "runs_on": [identity.capability, identity.gpu],
        "sizes": [spelt([profile]) for profile in sidecar.ranges],
        "tensors": report.get("tensors", {}),
        "layers": report.get("layers", {}),
        "agreement": report.get("agreement"),
    }


def print_plan(built: Built, console: Console) -> None:
    """Print the report of a plan."""
    data = as_data(built)

    def say(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    how = f"built in {data['seconds']:.1f} s" if built.fresh else "found: nothing to build"
    say(f"{data['plan']}: {data['bytes'] / 1e6:.1f} MB, {how}")
    place = "GPUs that the library supports" if data["runs_on"][1] == "portable" else " ".join(data["runs_on"])
    say(f"{data['model']} in {data['precision']} for {', '.join(data['sizes'])}, {data['library']}, runs on: {place}")
    for name, (kind, precision, shape) in data["tensors"].items():
        say(f"{kind} {name}: {precision} {'x'.join('?' if side < 0 else str(side) for side in shape)}")
    if data["agreement"]:
        told = data["agreement"]
        say(
            f"labels equal to fp32: {told['equal']:.3%} of the pixels of {told['frames']} frames of {told['source']}, "
            f"worst frame {told['worst']:.3%} ({told['where']})"
        )
    precisions = sorted({precision for counts in data["layers"].values() for precision in counts})
    table = Table("layer", *precisions, box=None, pad_edge=False)
    for kind, counts in data["layers"].items():
        table.add_row(kind, *(str(counts.get(precision, "")) for precision in precisions))
    console.print(table)


def print_layers(built: Built, console: Console) -> None:
    """Print every layer: of the engine where there is a GPU to load it on, else of the network as parsed."""
    from rtseg.plans.engine import inspected

    layers, reason = inspected(built.data)
    if layers is None:
        console.print(Text(f"layers as parsed, before TensorRT fuses them (the engine's own need a GPU: {reason})"))
        layers = [f"{name}: {kind}, {precision}" for name, kind, precision in built.sidecar.report.get("network", [])]
    for line in layers:
        console.print(Text(line), soft_wrap=True)
