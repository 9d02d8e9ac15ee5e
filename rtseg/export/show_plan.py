"""What a plan is, for people and as plain data."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtseg.tensorrt.engine import inspected, summary
from rtseg.tensorrt.find import Built
from rtseg.tensorrt.half import FRAGILE
from rtseg.tensorrt.profiles import spelt

__all__ = ["as_data", "layers_as_data", "print_layers", "print_plan"]

FLOATS = ("fp32", "fp16", "bf16", "int8")


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
        "fp16": report.get("fp16"),
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
        size = f" at {'x'.join(map(str, told['size']))}" if "size" in told else ""
        say(
            f"labels equal to fp32: {told['equal']:.3%} of the pixels of {told['frames']} frames of {told['source']}"
            f"{size}, worst frame {told['worst']:.3%} ({told['where']})"
        )
    if data["fp16"] and data["fp16"]["kept"]:
        say(f"kept in fp32: {', '.join(_kept(kind, count) for kind, count in sorted(data['fp16']['kept'].items()))}")
    table, others = _layers(data["layers"])
    console.print(table)
    if others:
        say(f"and {sum(others.values())} layers of shapes and indices ({', '.join(sorted(others))})")


def _kept(kind: str, count: int) -> str:
    why = FRAGILE.get(kind, "not known to be safe in fp16")
    return f"{count} {kind} ({why})"


def _layers(layers: dict[str, dict[str, int]]) -> tuple[Table, dict[str, int]]:
    """Layers by kind and precision, and by type those of whole numbers, which are no arithmetic on the image."""
    sums: Counter[str] = Counter()
    for counts in layers.values():
        sums.update(counts)
    precisions = [precision for precision in FLOATS if precision in sums]
    table = Table("layer", *precisions, box=None, pad_edge=False)
    for kind, counts in layers.items():
        if set(counts).intersection(precisions):
            table.add_row(kind, *(str(counts.get(precision, "")) for precision in precisions))
    table.add_row("all", *(str(sums[precision]) for precision in precisions))
    return table, {precision: count for precision, count in sums.items() if precision not in FLOATS}


def layers_as_data(built: Built) -> dict[str, Any]:
    """Layers of the network as parsed (name, kind, precision) and of the engine, a line each, or why there are none."""
    layers, reason = inspected(built.data)
    return {"network": built.sidecar.report.get("network", []), "engine": layers, "reason": reason or None}


def print_layers(built: Built, console: Console) -> None:
    """Print every layer: of the engine where there is a GPU to load it on, else of the network as parsed."""
    layers, reason = inspected(built.data)
    if layers is None:
        console.print(Text(f"layers as parsed, before TensorRT fuses them (the engine's own need a GPU: {reason})"))
        layers = [f"{name}: {kind}, {precision}" for name, kind, precision in built.sidecar.report.get("network", [])]
    else:
        console.print(Text(summary(layers)), soft_wrap=True)
    for line in layers:
        console.print(Text(line), soft_wrap=True)
