"""Everything that needs an NVIDIA GPU, in under eight minutes and without a network: what `make gpu` runs.

    python3 tools/gpu_check.py                                     # all steps, docs/results/gpu-<name of the GPU>.json
    python3 tools/gpu_check.py --only kernels,frame --seconds 120  # two of them, …-partial.json

Every step is a process of its own with a time limit: whatever happens to one, the others run. The JSON is written anew,
whole, after each. The exit status is 1 where a step failed, lacked a tool, ran out of time or found something wrong.

The JSON (`"schema": "rtseg.gpu/1"`):

    schema, command, started       this format; the arguments; the time of day, UTC
    revision, dirty                git's commit, and whether the tree differs from it; null without git
    options                        frame, size, frames, model, seconds, network, emulated
    device                         name, capability, memory_bytes of the GPU; null where there is none
    seconds                        of the whole run
    ok                             what the exit status says
    steps                          by name:
      status                       "done", "failed", "not run", "timed out" or "crashed"
      seconds                      that it took, its process included
      errors                       [{part, error, where}]: a failed part does not end its step
      not_run                      [{part, reason}]: a tool or package that is missing
      targets                      [{name, value, limit, sense, unit, met, required}]: a required one missed fails
      result                       the figures, as the step's module in tools/gpu_checks says

Times are in the unit that their name ends with (_us, _ms, _s), rates in GB/s of 10**9 bytes, sizes (height, width).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from gpu_checks.check import STEPS, Options, check  # noqa: E402 - found by the line above


def size(text: str) -> tuple[int, int]:
    """(height, width) from HxW."""
    height, _, width = text.lower().partition("x")
    return int(height), int(width)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", help=f"steps, separated by commas, of {', '.join(STEPS)}")
    parser.add_argument("--frame", type=size, default=(1080, 1920), metavar="HxW", help="the frames' size")
    parser.add_argument("--size", type=size, default=(512, 1024), metavar="HxW", help="the network's input size")
    parser.add_argument("--frames", type=int, default=10_000, help="frames of the step memory; others take fewer")
    parser.add_argument("--model", default="unet-fast0-camvid", help="the model package")
    parser.add_argument("--out", type=Path, help="the JSON file (default: docs/results/gpu-<name of the GPU>.json)")
    parser.add_argument("--seconds", type=float, default=470.0, help="for everything together")
    parser.add_argument("--revision", help="git's commit, for a copy of the tree without git")
    parser.add_argument("--network", choices=("torch", "blocks"), default="torch", help=argparse.SUPPRESS)
    parser.add_argument("--emulated", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    names = args.only.split(",") if args.only else list(STEPS)
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        parser.error(f"no step '{unknown[0]}': the steps are {', '.join(STEPS)}")
    options = Options(args.frame, args.size, args.frames, args.model, args.seconds, args.network, args.emulated)
    return check(names, options, args.out, " ".join(sys.argv if argv is None else argv), args.revision)


if __name__ == "__main__":
    sys.exit(main())
