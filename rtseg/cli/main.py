"""The command line: `rtseg run INPUT [OUTPUT ...]` and its companions.

Exit codes: 0 done, 1 a known error in one line, 2 usage, 3 unexpected (traceback), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import signal
import traceback
from types import FrameType
from typing import NoReturn

from rtseg import __version__
from rtseg.cli.bench import add_bench
from rtseg.cli.build import add_build
from rtseg.cli.check import add_check
from rtseg.cli.console import print_error
from rtseg.cli.data import add_data
from rtseg.cli.eval import add_eval
from rtseg.cli.export import add_export
from rtseg.cli.models import add_models
from rtseg.cli.parser import Parser
from rtseg.cli.quantize import add_quantize
from rtseg.cli.ros import add_ros
from rtseg.cli.run import add_run
from rtseg.cli.train import add_train
from rtseg.errors import RtsegError

__all__ = ["main", "make_parser"]

COMMANDS = (
    add_run, add_bench, add_eval, add_ros, add_train, add_export, add_quantize, add_build, add_data, add_models,
    add_check,
)  # fmt: skip
EXAMPLES = """\
examples:
  rtseg run clip.mp4 out.mp4        # a video with the classes drawn over it
  rtseg run camera:0 window: --hud  # a camera, live
  rtseg bench clip.mp4              # how fast this machine is
  rtseg run --help                  # the flags of a command"""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run like Ctrl-C does, with another exit code."""

    outcome = "terminated"


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        args = make_parser().parse_args(argv)
        code: int = args.command(args)
        return code
    except RtsegError as exc:
        print_error(exc)
        return 1
    except KeyboardInterrupt as exc:
        return 143 if isinstance(exc, Terminated) else 130
    except BrokenPipeError:
        return 1
    except Exception:  # noqa: BLE001 - the one place where an unexpected error becomes an exit code
        traceback.print_exc()
        return 3
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def make_parser() -> Parser:
    """The parser with every command and flag."""
    parser = Parser(
        prog="rtseg", description="Real-time video segmentation.", usage="rtseg COMMAND ...", epilog=EXAMPLES
    )
    parser.add_argument("--version", action="version", version=f"rtseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="rtseg", required=True)
    for add in COMMANDS:
        add(commands)
    return parser
