"""Write the measured figures into README.md: speed from docs/bench/*.json, scores from engines/*/eval.json.

The text between `<!-- speed -->` and `<!-- /speed -->`, and that between `<!-- models -->` and `<!-- /models -->`, is
replaced.
`--check` writes nothing and fails if the README is not what the files say.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def read(name: str) -> Any:
    """The content of a JSON file of the repository."""
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def speed() -> str:
    """The speed table."""
    kernels, pipeline = read("docs/bench/kernels.json"), read("docs/bench/pipeline.json")
    groups = kernels["groups"]
    real = next(title for title in groups if title.startswith("labels, logits of"))
    noisy = next(title for title in groups if title.startswith("labels, noisy"))
    frame = groups[real.replace("labels", "frame")]
    pre = groups["preprocess, 1080p to 512x1024"]
    cpu = pipeline["machine"]
    rows = [
        ("exact labels at 1080p, default model", groups[real], "torch interpolate + argmax"),
        ("", groups[real], "cv2.resize + np.argmax"),
        ("exact labels at 1080p, pure noise (worst case)", groups[noisy], "torch interpolate + argmax"),
        ("", groups[noisy], "cv2.resize + np.argmax"),
        ("preprocess, 1080p to 512x1024", pre, "cv2 linear + numpy"),
        ("", pre, "cv2 area + numpy"),
    ]
    lines = [
        f"`make bench` on {cpu['cores']} cores of an {cpu['cpu']}, 1080p frames, medians of interleaved runs:",
        "",
        "| step | rtseg | instead of | takes | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for step, group, other in rows:
        own = group[next(iter(group))]["median_ms"]
        lines.append(
            f"| {step} | {f'{own:.2f} ms' if step else ''} | {other} | {group[other]['median_ms']:.1f} ms | "
            f"{group[other]['median_ms'] / own:.0f}x |"
        )
    total = frame["preprocess + labels + blend"]["median_ms"]
    ratio, network = pipeline["ratio_to_backend"], "x".join(map(str, pipeline["network"]))
    rates, backend = pipeline["rates"], pipeline["backend"]
    middle = {name: sorted(values)[len(values) // 2] for name, values in rates.items()}
    lines += [
        "",
        f"Everything but the network (preprocess + labels + blend) takes {total:.1f} ms per 1080p frame. With the "
        f"network at {network} ({backend['name']} {backend['precision']}) the whole pipeline, overlays made, runs at "
        f"{middle['memory']:.1f} frames/s from memory and {middle['file']:.1f} with decoding, where the network alone "
        f"does {middle['backend']:.1f}: a ratio of {ratio['memory']['median']:.2f} ({ratio['memory']['min']:.2f} to "
        f"{ratio['memory']['max']:.2f}) and {ratio['file']['median']:.2f}. Memory grew by "
        f"{pipeline['memory']['growth_mb']:.1f} MB over {pipeline['memory']['frames']:,} frames.",
    ]
    return "\n".join(lines)


def models() -> str:
    """The model table."""
    lines = ["| models | |", "| --- | --- |"]
    for path in sorted(ROOT.glob("engines/*/eval.json")):
        scores = read(str(path.relative_to(ROOT)))
        spec = read(f"engines/{path.parent.name}/spec.json")
        name = path.parent.name
        lines.append(
            f"| `{name}` | {spec['network']}, {len(spec['classes'])} classes; mIoU {scores['miou']:.3f}, "
            f"pixel accuracy {scores['pixel_accuracy']:.3f}, boundary F {scores['boundary_f']:.3f} on {scores['data']} "
            f"{scores['split']} ([card](engines/{name}/CARD.md)) |"
        )
    lines.append(
        "| `your.onnx` | logits, probabilities or a label map at any stride; `--spec spec.json`, or flags for what the "
        "file does not say |"
    )
    return "\n".join(lines)


def renewed(text: str) -> str:
    """README's text with every marked part made anew."""
    for name, make in (("speed", speed), ("models", models)):
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no part marked {name}")
        content = make()
        text = pattern.sub(lambda match, new=content: f"{match[1]}{new}{match[2]}", text)
    return text


def main() -> int:
    """Renew or check README.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = renewed(old)
    if args.check:
        if new != old:
            print("README.md is not what the measurement files say: run tools/update_readme.py", file=sys.stderr)
        return int(new != old)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
