"""Rerun's viewer as a program: started, waited for, stopped."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rerun_cli

from rtseg.errors import SinkError
from rtseg.sinks._viewers import listening

__all__ = ["start", "stop"]

START_SECONDS = 30.0
"""How long a viewer may take to open: its program has 290 MB, which a slow disk reads once."""
SETTLE_SECONDS = 0.5
"""A viewer listens before it asks for the screen; within this time it has ended if there is none."""
STOP_SECONDS = 5.0


def start(host: str, port: int, flags: list[str]) -> subprocess.Popen[bytes]:
    """Start Rerun's viewer or server and wait until it listens. Errors: SinkError with the reason that it gives."""
    program = Path(rerun_cli.__file__).with_name("rerun")
    command = [str(program), "--bind", host, "--port", str(port), *flags]
    environment = {**os.environ, "RERUN_APP_ONLY": "true"}  # no questions: it is not at a terminal
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for the run, not for the viewer
            )
        except OSError as exc:
            raise SinkError(f"cannot start Rerun's viewer {program}: {exc.strerror}: reinstall rerun-sdk") from exc
        with stopping(process):
            end = time.monotonic() + START_SECONDS
            settled: float | None = None
            while settled is None or time.monotonic() < settled:
                if process.poll() is not None:
                    said.seek(0)
                    raise SinkError(refusal(said.read().decode(errors="replace")))
                if time.monotonic() > end:
                    raise SinkError(f"Rerun's viewer did not open within {START_SECONDS:.0f} s")
                if settled is None and listening(host, port):
                    settled = time.monotonic() + SETTLE_SECONDS
                time.sleep(0.05)
    return process


@contextmanager
def stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the process if what follows fails."""
    try:
        yield
    except BaseException:
        stop(process)
        raise


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and wait for it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def refusal(said: str) -> str:
    """One line about a viewer that ended at once."""
    if "DISPLAY" in said or "winit" in said:
        return "Rerun's viewer did not open: there is no screen here: use rerun:out.rrd or rerun:web"
    lines = [line for line in said.splitlines() if line.strip()]
    return f"Rerun's viewer did not open: {lines[-1].strip() if lines else 'it said nothing'}"
