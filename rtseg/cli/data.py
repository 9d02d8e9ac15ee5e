"""`rtseg data check`: what is in a folder of labelled images, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rtseg.cli.console import stderr_console
from rtseg.cli.flags import DATASET_HELP
from rtseg.cli.parser import add_command

__all__ = ["add_data"]

EXAMPLES = (
    "rtseg data check CamVid  # every split: class shares, problems, a contact sheet",
    "rtseg data check DIR --dataset folders --split train --out sheet.jpg  # one split of a folder of your own",
)


def add_data(commands: Any) -> None:
    """`rtseg data check`."""
    data = commands.add_parser(
        "data",
        help="check labelled images (rtseg data check DIR)",
        description="Look at labelled images.",
        usage="rtseg data check DIR [options]",
    )
    parser = add_command(
        data.add_subparsers(title="commands", metavar="COMMAND", prog="rtseg data", required=True),
        "check",
        data_check_command,
        purpose="read every file, print class shares and problems, draw a contact sheet",
        usage="rtseg data check DIR [options]",
        examples=EXAMPLES,
    )
    group = parser.add_argument_group("data")
    group.add_argument("folder", type=Path, metavar="DIR", help="folder of labelled images")
    group.add_argument("--dataset", metavar="NAME", help=DATASET_HELP)
    group.add_argument("--split", metavar="NAME", help="one split only")
    report = parser.add_argument_group("report")
    report.add_argument(
        "--out", type=Path, default=Path("contact-sheet.jpg"), metavar="FILE", help="the sheet (contact-sheet.jpg)"
    )
    report.add_argument("--json", action="store_true", help="print JSON")


def data_check_command(args: argparse.Namespace) -> int:
    """`rtseg data check`; exits with 1 when there is a problem."""
    from rich.console import Console

    from rtseg.datasets.check import check_data, print_check, report
    from rtseg.datasets.contact_sheet import check_target, contact_sheet, write_sheet

    check_target(args.out)
    checked = check_data(
        args.folder, name=args.dataset, split=args.split, progress=None if args.json else stderr_console()
    )
    found = report(args.folder, checked)
    write_sheet(args.out, contact_sheet(checked))
    if args.json:
        print(json.dumps({**found, "sheet": str(args.out)}, indent=2))
    else:
        print_check(found, Console())
        print(f"wrote {args.out}")
    return 1 if found["problems"] else 0
