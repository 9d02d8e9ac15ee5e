"""The command line: one file per command, `main` runs it."""

from rtseg.cli.main import main

__all__ = ["main"]
