"""`rtseg models`: the model packages that `--model` knows."""

from __future__ import annotations

import argparse
from typing import Any

from rtseg.cli.parser import add_command

__all__ = ["add_models"]


def add_models(commands: Any) -> None:
    """`rtseg models`."""
    add_command(
        commands,
        "models",
        models_command,
        purpose="list the model packages that --model knows",
        usage="rtseg models",
        examples=("rtseg models  # name, classes and license, path",),
    )


def models_command(args: argparse.Namespace) -> int:
    """`rtseg models`."""
    from rtseg.packages.spec import find_package, packages

    for name, path in packages().items():
        spec = find_package(name).spec
        classes = f"{len(spec.classes)} classes, {spec.license}" if spec else "no spec"
        print(f"{name}\t{classes}\t{path}")
    return 0
