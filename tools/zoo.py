"""Write docs/model-zoo.md from the result files of the repository; no number in it is typed by hand.

Read are docs/zoo/<name>.json and own-size.json (tools/bench_zoo.py: cost and speed), engines/<name>/eval.json and
docs/zoo/<name>.<backend>.eval.json (rtseg eval: scores), and docs/zoo/comparison/<name>.json (tools/compare.py: one
budget). Scores count only for the very file that was timed. `--check` writes nothing and fails if the page is not what
the files say.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rtseg.config import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("480x360", "960x720")
RUNS = ("openvino fp32", "openvino bf16", "onnxruntime fp32")
OWN_SIZE = "own-size.json"
Row = dict[str, Any]


def read(path: Path) -> Row:
    """The content of a result file."""
    content: Row = json.loads(path.read_text(encoding="utf-8"))
    return content


def measured(root: Path) -> list[Row]:
    """The rows of tools/bench_zoo.py, by name."""
    paths = sorted((root / "docs" / "zoo").glob("*.json"))
    return [read(path) for path in paths if ".eval" not in path.name and path.name != OWN_SIZE]


def scores_of(root: Path, row: Row) -> list[Row]:
    """The scores of a trained row's very file, by backend."""
    name = row["name"]
    paths = [root / "engines" / name / "eval.json", *sorted((root / "docs" / "zoo").glob(f"{name}.*eval.json"))]
    found = [read(path) for path in paths if path.is_file()]
    return [scores for scores in found if scores.get("sha256") == row["sha256"]]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def number(value: float | None, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def times(row: Row) -> list[str]:
    """Milliseconds per frame for every run and size, with the ratio to the reference."""
    cells = []
    for run in RUNS:
        for size in SIZES:
            timing = row["speed"].get(run, {}).get(size)
            cells.append("–" if timing is None else f"{timing['median_ms']:.1f} ({timing['ratio_to_reference']:.2f})")
    return cells


HEAD_TIMES = [f"{run} {size}" for run in RUNS for size in SIZES]


def cost(row: Row) -> list[str]:
    """Parameters and multiply-adds."""
    return [f"{row['parameters'] / 1e6:.2f}", *(number(row["gmac"][size], 2) for size in SIZES)]


HEAD_COST = ["M parameters", *(f"GMAC {size}" for size in SIZES)]


def called(root: Path, name: str) -> str:
    """A model's name, and what is special about it: the default, or that it is measured but not kept."""
    if name == DEFAULT_MODEL:
        return f"{name} (default)"
    return name if (root / "engines" / name).is_dir() else f"{name} (not kept)"


def own_size_part(root: Path, rows: list[Row]) -> list[str]:
    """Shipped models beside each other, each at the size at which it is scored."""
    path = root / "docs" / "zoo" / OWN_SIZE
    if not path.is_file():
        return []
    content = read(path)
    speed = content["speed"]
    scored = {row["name"]: [scores["miou"] for scores in scores_of(root, row)] for row in rows}
    miou = {name: min(values) for name, values in scored.items() if values}
    names = list(next(iter(speed.values())))
    runs = [run for run in RUNS if run in speed]
    slowest = {run: max(speed[run][name]["median_ms"] for name in names) for run in runs}
    lines = []
    for name in names:
        height, width = speed[runs[0]][name]["network_size"]
        cells = []
        for run in runs:
            timing = speed[run][name]
            cells.append(f"{timing['median_ms']:.1f} ({slowest[run] / timing['median_ms']:.1f}x)")
        lines.append([called(root, name), f"{width}x{height}", number(miou.get(name), 4), *cells])
    return [
        "## Models at their own size",
        "",
        "Each at the network size that it was trained for and is scored at, all timed in turn on one "
        f"{content['frame']} frame (preprocess, network and labels; median ms, and in brackets how many times as fast "
        f"as the slowest) on {content['machine']['cores']} cores of an {content['machine']['cpu']}. The default is the "
        "fast one, since an overlay in time is what this is for; `--model` names another. mIoU is the lowest of the "
        "backends below. An int8 twin that loses a point or more in any backend is not kept.",
        "",
        *table(["model", "network input", "val mIoU", *runs], lines),
        "",
    ]


def trained_part(root: Path, rows: list[Row]) -> list[str]:
    """Models with trained weights: scores, size, speed, then IoU per class."""
    summary, classes, names = [], [], []
    for row in rows:
        for scores in scores_of(root, row):
            backend = f"{scores['backend']} {scores['precision'] if row['arithmetic'] == 'float' else 'int8'}"
            refined = scores.get("refine")
            backend += f" + {refined if isinstance(refined, str) else 'crf'}" if refined else ""
            summary.append(
                [
                    called(root, row["name"]), row["network"], backend, number(scores["miou"], 4),
                    number(scores["boundary_f"], 4), f"{row['bytes'] / 1e6:.1f}", *cost(row),
                ]
            )  # fmt: skip
            names = list(scores["classes"])
            classes.append([row["name"], backend, *(number(v["iou"], 3) for v in scores["classes"].values())])
    lines = [
        "## Trained on CamVid",
        "",
        "Scored by `rtseg eval` on the 101 val images through the whole pipeline. Files marked int8 come from "
        "`rtseg quantize`. mIoU is that of the network size in the table above. CamVid's val is a part of a drive that "
        "train has too, and the weights were chosen on it: expect less elsewhere.",
        "",
        *table(["model", "network", "scored with", "val mIoU", "boundary F", "MB", *HEAD_COST], summary),
        "",
        "IoU per class:",
        "",
        *table(["model", "scored with", *names], classes),
        "",
    ]
    return lines if summary else []


def comparison_part(root: Path) -> list[str]:
    """Networks trained under one budget."""
    rows = [read(path) for path in sorted((root / "docs" / "zoo" / "comparison").glob("*.json"))]
    if not rows:
        return []
    rows.sort(key=lambda row: -row["val_miou"])
    shared = {(row["steps"], row["batch"], *row["crop"]) for row in rows}
    steps, batch, height, width = min(shared)
    budget = f"{steps} steps of {batch} crops of {height}x{width}"
    classes = list(rows[0]["classes"])
    return [
        "## One budget",
        "",
        f"Every network trained by `tools/compare.py` on {rows[0]['data'].split()[0]} for {budget}, with the same "
        "augmentation, loss and schedule: what a network learns in a few minutes, not how good it gets.",
        *([] if len(shared) == 1 else ["", f"Not all had this budget: {len(shared)} differ."]),
        "",
        *table(
            ["network", "weights", "val mIoU", "boundary F", "learning rate", "M parameters", "GMAC 480x360"],
            [
                [
                    row["network"], row["weights"], number(row["val_miou"], 4), number(row["boundary_f"], 4),
                    f"{row['learning_rate']:g}", f"{row['parameters'] / 1e6:.2f}", number(row["gmac_360x480"], 2),
                ]
                for row in rows
            ],
        ),
        "",
        "IoU per class:",
        "",
        *table(
            ["network", *classes],
            [[row["network"], *(number(row["classes"][name]["iou"], 3) for name in classes)] for row in rows],
        ),
        "",
    ]  # fmt: skip


def errors_of(row: Row) -> str:
    """The largest difference of a logit from torch's in any runtime, as a share of the largest logit."""
    shares = [found["largest_logit_difference"] / found["largest_logit"] for found in row["parity"].values()]
    return f"{max(shares):.0e}" if shares else "–"


def speed_part(rows: list[Row]) -> list[str]:
    """Cost and speed of every measured network."""
    if not rows:
        return []
    host = rows[0]["machine"]
    fewest = min(timing["samples"] for row in rows for by in row["speed"].values() for timing in by.values())
    return [
        "## Cost and speed",
        "",
        f"Milliseconds per frame (preprocess, network and labels; median of {fewest} frames or more) on "
        f"{host['cores']} cores of an {host['cpu']}, and in brackets the ratio to PIDNet-S timed in turn with it in "
        "the same run; the ratio is what carries over to another machine. Written by `tools/bench_zoo.py`. Sizes are "
        "rounded to the network's multiple, for the GMAC too. Error: the largest difference from torch's logits in "
        "OpenVINO and ONNX Runtime in fp32, as a share of the largest logit; a file with more than 1e-4 is not "
        "written (SegNet is judged by the median: where two maxima are nearly equal, either may be unpooled to).",
        "",
        *table(
            ["network or model", "weights", "stride", "error", *HEAD_COST, *HEAD_TIMES],
            [
                [
                    row["name"], "int8" if row["arithmetic"] == "int8" else row["weights"], str(row["output_stride"]),
                    errors_of(row), *cost(row), *times(row),
                ]
                for row in rows
            ],
        ),
        "",
    ]  # fmt: skip


def page(root: Path) -> str:
    """The page's text."""
    rows = measured(root)
    trained = [row for row in rows if row["weights"] == "trained"]
    lines = [
        "# Model zoo",
        "",
        "Generated from results in the repository by `tools/zoo.py`; every row is a file that a command wrote.",
        "",
        *own_size_part(root, trained),
        *trained_part(root, trained),
        *comparison_part(root),
        *speed_part(rows),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    path = ROOT / "docs" / "model-zoo.md"
    new = page(ROOT)
    if args.check:
        if not path.is_file() or path.read_text(encoding="utf-8") != new:
            print("docs/model-zoo.md is not what the result files say: run tools/zoo.py", file=sys.stderr)
            return 1
        return 0
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
