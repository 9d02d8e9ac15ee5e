"""Everything that needs an NVIDIA GPU, in under eight minutes and without a network: what `make gpu` runs.

    python3 tools/gpu_check.py                                     # all steps, docs/results/gpu-<name of the GPU>.json
    python3 tools/gpu_check.py --only kernels,frame --seconds 120  # two of them, …-partial.json
    python3 tools/gpu_check.py --part 1                            # in two runs of 330 and 390 s, …-part1.json
    python3 tools/gpu_check.py --part 2
    python3 tools/gpu_check.py --part 1 --emulated                 # a dry run on the emulated driver, without a GPU

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

from gpu_checks.check import PARTS, STEPS, Options, check  # noqa: E402 - found by the line above

MODEL = "unet-fast0-camvid"
WHOLE_SECONDS = 470.0
REAL = Options((1080, 1920), (512, 1024), 10_000, MODEL, WHOLE_SECONDS, "torch", False)
DRY = Options((136, 240), (64, 128), 20, MODEL, WHOLE_SECONDS, "blocks", True)
"""What a dry run has in place of what is not asked for: as it is on a CPU, it would take hours."""


def size(text: str) -> tuple[int, int]:
    """(height, width) from HxW."""
    height, _, width = text.lower().partition("x")
    return int(height), int(width)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--part", choices=tuple(PARTS), help="one half of everything, for a machine lent for minutes")
    parser.add_argument("--only", help=f"steps, separated by commas, of {', '.join(STEPS)}")
    parser.add_argument("--frame", type=size, metavar="HxW", help="the frames' size (default: 1080x1920)")
    parser.add_argument("--size", type=size, metavar="HxW", help="the network's input (default: 512x1024)")
    parser.add_argument("--frames", type=int, help="frames of the step memory (default: 10,000); others take fewer")
    parser.add_argument("--model", default=MODEL, help="the model package")
    parser.add_argument("--out", type=Path, help="the JSON file (default: docs/results/gpu-<name of the GPU>.json)")
    parser.add_argument(
        "--seconds", type=float, help="for everything together (default: 470; 320 and 380 for the parts)"
    )
    parser.add_argument("--revision", help="git's commit, for a copy of the tree without git")
    parser.add_argument("--network", choices=("torch", "blocks"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--emulated", action="store_true", help="a dry run on tests/emulator, with small frames and a small network"
    )
    args = parser.parse_args(argv)
    if args.part and args.only:
        parser.error("--part names the steps itself: leave out --only")
    seconds, names = PARTS.get(args.part, (WHOLE_SECONDS, args.only.split(",") if args.only else list(STEPS)))
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        parser.error(f"no step '{unknown[0]}': the steps are {', '.join(STEPS)}")
    usual = DRY if args.emulated else REAL
    options = Options(
        args.frame or usual.frame,
        args.size or usual.size,
        args.frames or usual.frames,
        args.model,
        args.seconds or seconds,
        args.network or usual.network,
        args.emulated,
    )
    command = " ".join(sys.argv if argv is None else argv)
    return check(names, options, args.out, command, args.revision, f"part{args.part}" if args.part else "")


if __name__ == "__main__":
    sys.exit(main())
