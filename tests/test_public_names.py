"""The public names are sorted, complete and lazy."""

from __future__ import annotations

import subprocess
import sys

import rtseg


def test_names_are_sorted_and_every_one_exists() -> None:
    assert rtseg.__all__ == sorted(rtseg.__all__)
    for name in rtseg.__all__:
        assert getattr(rtseg, name) is not None
    assert set(rtseg.__all__) - {"__version__"} == set(rtseg._HOMES)


def test_importing_rtseg_loads_numpy_at_most() -> None:
    code = (
        "import sys, rtseg; from rtseg import errors, frame, geometry, registry;"
        "print(sorted({n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)))"
    )
    before = "import sys; print(sorted({n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)))"
    out, start = (
        eval(subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout)
        for source in (code, before)
    )
    assert set(out) - set(start) <= {"rtseg", "numpy"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(rtseg, "no_such_name")
