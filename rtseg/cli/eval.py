"""`rtseg eval`: the scores of a model on labelled images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rtseg.cli.console import printer, stderr_console
from rtseg.cli.flags import add_data_flags, add_model_flags, add_spec_flags, model_config
from rtseg.cli.parser import add_command, add_renamed

__all__ = ["add_eval"]

EXAMPLES = (
    "rtseg eval --data CamVid  # the default model on the val split",
    "rtseg eval --data CamVid --model my-model --split test --html worst.html  # with a page of the worst images",
    "rtseg eval --data voc --dataset voc --limit 50 --json  # the first 50 images, scores as JSON",
)


def add_eval(commands: Any) -> None:
    """`rtseg eval`."""
    parser = add_command(
        commands,
        "eval",
        eval_command,
        purpose="score a model on labelled images",
        usage="rtseg eval --data DIR [options]",
        examples=EXAMPLES,
    )
    data = add_data_flags(parser, "val")
    data.add_argument("--limit", type=int, metavar="N", help="score only the first N images")
    add_model_flags(parser)
    report = parser.add_argument_group("report")
    report.add_argument(
        "--out", type=Path, metavar="FILE", help="write the scores as JSON, beside those that a package keeps"
    )
    add_renamed(report, "--html", "--page", type=Path, metavar="FILE", help="write a page of the worst images")
    report.add_argument("--worst", type=int, default=12, metavar="N", help="how many of them (default: 12)")
    report.add_argument("--json", action="store_true", help="print JSON")
    add_spec_flags(parser)


def eval_command(args: argparse.Namespace) -> int:
    """`rtseg eval`."""
    from rtseg.evaluation import Worst, evaluate, record_scores, table
    from rtseg.pipeline.opening import make_segmenter, open_model
    from rtseg.report import check_target

    config = model_config(args)
    if args.out:
        check_target(args.out)
    worst = Worst(args.html, args.worst) if args.html else None
    with open_model(config) as backend, make_segmenter(config, backend) as segmenter:
        scores = evaluate(
            segmenter,
            data=args.data,
            split=args.split,
            dataset=args.dataset,
            limit=args.limit,
            worst=worst,
            progress=None if args.json else stderr_console(),
        )
        if worst:
            worst.write(backend.spec, scores)
    print(json.dumps(scores, indent=2) if args.json else table(scores))
    say = printer(stderr_console(), quiet=args.json)
    for line in record_scores(scores, config, out=args.out, limit=args.limit):
        say(line)
    if args.html:
        say(f"wrote {args.html}")
    return 0
