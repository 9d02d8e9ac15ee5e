"""docs/ros.md says what the node declares."""

from __future__ import annotations

import shlex

from rtseg.cli.main import make_parser
from rtseg.messages.encodings import ENCODINGS
from tools.update_ros_docs import PAGE, updated

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_node() -> None:
    assert updated(TEXT) == TEXT, "run python tools/update_ros_docs.py"


def test_every_encoding_is_named() -> None:
    named = TEXT.partition("Encodings: ")[2].partition("\n\n")[0].lower()
    missing = [name for name in ENCODINGS if name.lower() not in named and not name.startswith("bayer_")]
    assert missing == []


def test_the_commands_are_understood() -> None:
    commands = [line for line in TEXT.splitlines() if line.startswith("rtseg ")]
    assert len(commands) >= 4
    for line in commands:
        assert make_parser().parse_args(shlex.split(line)[1:]).command
