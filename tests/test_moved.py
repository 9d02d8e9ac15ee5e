"""Modules by their names of 0.1."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from rtseg.moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_every_new_name_is_a_module_and_no_old_one_is(old: str, new: str) -> None:
    assert importlib.util.find_spec(f"rtseg.{new}") is not None
    path = importlib.util.find_spec("rtseg")
    assert path is not None and path.submodule_search_locations is not None
    found = importlib.machinery.PathFinder.find_spec(f"rtseg.{old}", path.submodule_search_locations)
    assert found is None or "." in old


def test_old_imports_still_work_with_a_warning() -> None:
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "import rtseg\n"
        "warnings.simplefilter('always')\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    from rtseg.runner import make_segmenter, open_model, run_config\n"
        "    from rtseg.spec import ModelSpec, packages\n"
        "    from rtseg.kernels import plans\n"
        "    from rtseg.nvidia import gpus, open_gpu\n"
        "    from rtseg.ros.images import compressed_picture, picture\n"
        "    from rtseg.training.datasets import open_dataset\n"
        "import rtseg.kernels.launch, rtseg.packages.spec\n"
        "assert ModelSpec is rtseg.packages.spec.ModelSpec and plans.labels is rtseg.kernels.launch.labels\n"
        "assert ModelSpec is rtseg.ModelSpec\n"
        "print(len(caught), caught[0].message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "6 rtseg.runner has moved to rtseg.pipeline.opening\n", done.stderr


def test_an_unknown_module_is_still_unknown() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'rtseg\.no_such_room'"):
        importlib.import_module("rtseg.no_such_room")
