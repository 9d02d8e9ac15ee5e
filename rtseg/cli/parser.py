"""The parser of every command: help with examples, and errors that name the nearest flag or command."""

from __future__ import annotations

import argparse
import difflib
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rtseg.errors import nearest

__all__ = ["Parser", "add_command", "add_renamed"]


class Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the examples, and leaves the flags room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports what it does not know itself, so that the usage shown is the command's own.

    `rest` names a list argument that takes positional words which stand between or after flags.
    """

    def __init__(self, *, rest: str | None = None, **options: Any) -> None:
        super().__init__(**{"formatter_class": Help, **options})
        self.rest = rest

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As in argparse, but whatever is left over is an error (exit code 2)."""
        words = list(sys.argv[1:] if args is None else args)
        # Before anything else: a misspelt --data would otherwise be reported as a missing one.
        unknown = self._unknown_flag(words)
        if unknown is not None:
            self.error(f"unknown flag '{unknown}'{self._hint(unknown)} (all flags: {self.prog} --help)")
        found, left = super().parse_known_args(words, namespace)
        if not left or self._subparsers is not None:
            return found, left
        if self.rest is None or any(word.startswith("-") for word in left):
            self.error(f"unexpected argument '{left[0]}'")
        setattr(found, self.rest, [*getattr(found, self.rest), *left])
        return found, []

    def _unknown_flag(self, words: Iterable[str]) -> str | None:
        """The first long flag that is neither known nor the beginning of a known one."""
        if self._subparsers is not None:  # what follows the command is the command's
            words = itertools.takewhile(lambda word: word.startswith("-"), words)
        for word in words:
            flag = word.partition("=")[0]
            action = self._option_string_actions.get(flag)
            if word == "--" or (action is not None and action.nargs == argparse.REMAINDER):
                return None
            known = any(name.startswith(flag) for name in self._option_string_actions)
            if word.startswith("--") and " " not in word and not known:
                return flag
        return None

    def _hint(self, flag: str) -> str:
        known = [word for word, action in self._option_string_actions.items() if action.help != argparse.SUPPRESS]
        close = difflib.get_close_matches(flag, known, n=1, cutoff=0.6)
        return f": did you mean '{close[0]}'?" if close else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            kind = "command" if isinstance(action, argparse._SubParsersAction) else "value"
            raise argparse.ArgumentError(
                None if kind == "command" else action,
                f"unknown {kind} '{value}': {nearest(str(value), map(str, action.choices))}",
            )


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    purpose: str,
    usage: str,
    examples: Sequence[str],
    **options: Any,
) -> Parser:
    """The parser of a command that `run` carries out; `purpose` is its line in `rtseg --help`.

    `examples` are whole command lines, with what they do after a `#`.
    """
    width = max(len(line.partition("#")[0].rstrip()) for line in examples)
    lines = []
    for line in examples:
        command, _, text = (part.strip() for part in line.partition("#"))
        lines.append(f"  {command:<{width}}  # {text}" if text else f"  {command}")
    parser: Parser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        usage=usage,
        epilog="\n".join(["examples:", *lines]),
        **options,
    )
    parser.set_defaults(command=run)
    return parser


def add_renamed(group: Any, flag: str, old: str, **options: Any) -> None:
    """Add `flag`, which also goes by the spelling `old` of earlier releases; help does not show that one."""
    dest = group.add_argument(flag, **options).dest
    group.add_argument(old, **{**options, "dest": dest, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS})
