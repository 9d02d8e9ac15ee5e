"""One step of tools/gpu_check.py in a process of its own: `python -m gpu_checks.child STEP FILE OPTIONS`."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from gpu_checks.check import Options
from gpu_checks.record import Record

__all__ = ["emulate"]


def emulate() -> None:
    """Put the driver of tests/emulator in the GPU's place, before anything asks for one."""
    from rtseg.kernels.compile import SOURCE
    from tests import emulator
    from tests.gpu import network
    from tests.kernels import host

    emulator.load()
    emulator.add_kernels(host.compiled(host.HERE / "host.cpp", SOURCE))
    emulator.add_kernels(network.host_library())


def main() -> int:
    name, path, given = sys.argv[1:]
    fields: dict[str, Any] = json.loads(given)
    options = Options(**{**fields, "frame": tuple(fields["frame"]), "size": tuple(fields["size"])})
    record = Record(Path(path), options.seconds)
    with record.part(name):
        if options.emulated:
            emulate()
        if name != "environment":
            from rtseg.gpu.driver import gpus

            gpus()  # which says why there is none; PyCUDA does not even import without a driver
        importlib.import_module(f"gpu_checks.{name}").run(options, record)
    record.save()
    return int(record.status != "done")


if __name__ == "__main__":
    # A library that waits for its threads, or crashes while it is taken down, changes nothing in what was found.
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
