"""Help that can be read and copied, and errors that name the flag or command that was meant."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest

import rtseg.cli
from rtseg.cli.main import main, make_parser

COMMANDS = ("run", "bench", "eval", "ros", "train", "export", "quantize", "build", "data", "models", "check")


def show_help(*words: str) -> None:
    with pytest.raises(SystemExit) as stop, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        make_parser().parse_args([*words, "--help"])
    assert stop.value.code == 0


def examples(text: str) -> list[str]:
    return [line.strip() for line in text.partition("\nexamples:\n")[2].splitlines() if line.strip()]


@pytest.mark.parametrize("command", ["", *COMMANDS[:8], "data check", *COMMANDS[9:]])
def test_help_has_examples_that_are_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_help(*command.split())
    text = capsys.readouterr().out
    assert text.startswith(f"usage: rtseg {command}".rstrip())
    lines = examples(text)
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[0] == "rtseg" and " ".join(words[1:]).startswith(command)
        if "--help" not in words:
            assert make_parser().parse_args(words[1:]).command


def test_each_command_has_one_line_that_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    show_help()
    lines = capsys.readouterr().out.partition("  COMMAND\n")[2].partition("\n\n")[0].splitlines()
    assert tuple(line.split()[0] for line in lines) == COMMANDS
    assert all(re.match(r"    \w+ +\w+ \w+", line) for line in lines)


@pytest.mark.parametrize(
    ("command", "groups"),
    [
        ("run", ["input and outputs", "model", "network size", "drawing", "queueing", "report", "input options"]),
        ("bench", ["input and outputs", "load", "model", "network size", "drawing", "queueing", "report"]),
        ("eval", ["data", "model", "network size", "report"]),
        ("ros", ["topics", "model", "network size", "drawing", "queueing", "free space and obstacles", "node"]),
    ],
)
def test_flags_are_grouped_alike(command: str, groups: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    show_help(command)
    text = capsys.readouterr().out
    for group in groups:
        assert f"\n{group}:\n" in text
    assert text.partition("\noptions:\n")[2].partition("\n\n")[0].split() == [
        "-h,",
        "--help",
        "show",
        "this",
        "help",
        "message",
        "and",
        "exit",
    ]


@pytest.mark.parametrize(
    ("words", "usage", "message"),
    [
        ("rnu a.mp4", "rtseg COMMAND", "unknown command 'rnu': did you mean 'run'?"),
        ("data chek x", "rtseg data check", "unknown command 'chek': did you mean 'check'?"),
        ("--verison", "rtseg COMMAND", "unknown flag '--verison': did you mean '--version'?"),
        ("run a.mp4 b.mp4 --alhpa 0.3", "rtseg run", "unknown flag '--alhpa': did you mean '--alpha'?"),
        ("run --limt=3 a.mp4", "rtseg run", "unknown flag '--limt': did you mean '--limit'?"),
        ("eval --dta x", "rtseg eval", "unknown flag '--dta': did you mean '--data'?"),
        ("bench a.mp4 --rtae max", "rtseg bench", "unknown flag '--rtae': did you mean '--rate'?"),
        ("ros --hide-clsas car", "rtseg ros", "unknown flag '--hide-clsas': did you mean '--hide-class'?"),
        ("run a.mp4 --fit letterbx", "rtseg run", "unknown value 'letterbx': did you mean 'letterbox'?"),
        ("models --qqqq", "rtseg models", "unknown flag '--qqqq' (all flags: rtseg models --help)"),
        ("eval --data x y", "rtseg eval", "unexpected argument 'y'"),
        ("train", "rtseg train", "the following arguments are required: RECIPE, --data, --out"),
    ],
)
def test_what_is_misspelt(words: str, usage: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith(f"usage: {usage}")
    assert message in text


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("bench a.mp4 --output null: --report b.json", "bench a.mp4 --sinks null: --json b.json"),
        ("eval --data x --html w.html", "eval --data x --page w.html"),
        (
            "ros --hide-class a --ignore-class b --quality 7 --input-reliability reliable --input-history 2 "
            "--output-history 3",
            "ros --hidden-classes a --ignore-classes b --jpeg-quality 7 --image-reliability reliable --image-depth 2 "
            "--output-depth 3",
        ),
    ],
)
def test_old_spellings_mean_the_same_and_are_not_shown(new: str, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert vars(make_parser().parse_args(new.split())) == vars(make_parser().parse_args(old.split()))
    show_help(new.split()[0])
    text = capsys.readouterr().out
    flags = re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)
    assert {word for word in new.split() if word.startswith("--")} <= set(flags)
    assert not {word for word in old.split() if word.startswith("--")} - {"--data"} & set(flags)


def test_flags_of_the_same_meaning_have_the_same_name() -> None:
    """What run, bench, eval and ros have in common by the field that it sets is one flag."""
    shown: dict[str, set[str]] = {}
    action = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    fields = {"hidden_classes": "hide_class", "ignore_classes": "ignore_class", "jpeg_quality": "sink_quality"}
    for command in ("run", "bench", "eval", "ros"):
        for each in action.choices[command]._actions:
            if each.help != argparse.SUPPRESS and each.option_strings and each.dest != "json":
                shown.setdefault(fields.get(each.dest, each.dest), set()).add(each.option_strings[0])
    assert {field: flags for field, flags in shown.items() if len(flags) > 1} == {}
    assert shown["hide_class"] == {"--hide-class"} and shown["sink_quality"] == {"--quality"}


def test_outputs_may_stand_after_flags() -> None:
    args = make_parser().parse_args(["run", "a.mp4", "--limit", "3", "b.mp4", "--hud", "c.png"])
    assert (args.input, args.output, args.limit) == ("a.mp4", ["b.mp4", "c.png"], 3)
    args = make_parser().parse_args(["run", "--limit", "3", "a.mp4", "b.mp4"])
    assert (args.input, args.output) == ("a.mp4", ["b.mp4"])


def test_what_follows_ros_args_is_not_looked_at() -> None:
    args = make_parser().parse_args(["ros", "--ros-args", "--params-file", "p.yaml", "-r", "a:=b"])
    assert args.ros_args == ["--params-file", "p.yaml", "-r", "a:=b"]


def test_no_command_imports_the_main_parser() -> None:
    folder = Path(rtseg.cli.__file__).parent
    for file in folder.glob("*.py"):
        if file.name == "__init__.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.module == "rtseg.cli.main"), file
