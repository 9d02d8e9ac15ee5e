"""The network of the device tests itself: it compiles for GPUs and, on the CPU, gives the bits of its reference."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from rtseg.kernels.compile import compilers
from tests.gpu import network


@pytest.mark.skipif(not compilers(), reason="needs a CUDA compiler: pip install nvidia-cuda-nvrtc")
def test_compiles_without_warnings() -> None:
    assert network.build("sm_90", strict=True)[:4] == b"\x7fELF"


@pytest.mark.parametrize("output_type", [np.float32, np.float16])
@pytest.mark.parametrize("input_type", [np.float32, np.float16])
def test_equals_its_reference(input_type: Any, output_type: Any) -> None:
    library = ctypes.CDLL(str(network.host_library()))
    random = np.random.default_rng(3)
    tensor = random.normal(size=(1, 3, 40, 203)).astype(input_type)
    weights, bias = network.random_weights(19, seed=5)
    found = np.full((1, 19, 5, 25), np.nan, output_type)
    made = network.launch(
        tensor.ctypes.data,
        found.ctypes.data,
        (40, 203),
        weights,
        bias,
        input_type=input_type,
        output_type=output_type,
    )
    assert library.host_size(made.kernel.encode()) == made.params.nbytes
    grid, params = np.array(made.grid, np.uint32), made.params.copy()
    pointers = (ctypes.c_void_p(params.ctypes.data), ctypes.c_void_p(grid.ctypes.data))
    assert library.host_launch(made.kernel.encode(), *pointers, made.block[0], 0) == 0
    expected = network.reference(tensor, weights, bias, output_type=output_type)
    np.testing.assert_array_equal(found, expected)
    # The means and the sum written otherwise, in float64.
    means = tensor[0, :, :, :200].astype(float).reshape(3, 5, 8, 25, 8).mean((2, 4))
    plain = np.einsum("kc,cyx->kyx", weights.astype(float), means) + bias[:, None, None]
    np.testing.assert_allclose(found[0], plain, atol=1e-2 if output_type is np.float16 else 1e-5)
