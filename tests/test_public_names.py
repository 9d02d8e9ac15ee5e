"""The public names are sorted, complete and lazy."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import rtseg


def test_names_are_sorted_and_every_one_exists() -> None:
    assert rtseg.__all__ == sorted(rtseg.__all__)
    for name in rtseg.__all__:
        assert getattr(rtseg, name) is not None
    assert set(rtseg.__all__) - {"__version__"} == set(rtseg._HOMES)


def test_the_names_of_0_1_are_still_there_and_dir_shows_the_public_ones_alone() -> None:
    first = """BackendError ConfigError Frame MissingExtra ModelError ModelSpec Result RtsegError RunConfig Segmenter
    SinkError SourceError StreamInfo __version__ load_config open_backend open_sink open_source run_config"""
    assert set(first.split()) <= set(rtseg.__all__)
    assert dir(rtseg) == rtseg.__all__


def test_the_package_is_typed() -> None:
    assert Path(rtseg.__file__).with_name("py.typed").is_file()


def test_every_public_name_is_documented() -> None:
    for name in set(rtseg.__all__) - {"__version__"}:
        thing = getattr(rtseg, name)
        assert thing.__doc__, name
        if (
            inspect.isclass(thing)
            and not issubclass(thing, BaseException)
            and not getattr(thing, "_is_protocol", False)
        ):
            for member in vars(thing):
                if not member.startswith("_") and inspect.isfunction(inspect.getattr_static(thing, member)):
                    assert getattr(thing, member).__doc__, f"{name}.{member}"


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
