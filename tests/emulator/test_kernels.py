"""Modules and kernels of the emulated driver, by real PyCUDA: our kernels from their real machine code."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np
import pytest

from rtseg.geometry import fit as make_fit
from rtseg.kernels import compile as compilation
from rtseg.kernels import cpu
from rtseg.kernels import launch as plans
from rtseg.kernels.cuda import Kernels
from rtseg.kernels.launch import Launch
from rtseg.packages.spec import ModelSpec
from tests.emulator.calls import Failed, call
from tests.gpu import network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not compilation.compilers(), reason="needs a CUDA compiler: pip install nvidia-cuda-nvrtc (or nvcc)"
    ),
]


class Memory:
    def __init__(self, allocation: Any) -> None:
        self.allocation, self.address = allocation, int(allocation)


class PyCudaDevice:
    """`rtseg.kernels.cuda.Device` on PyCUDA, one stream."""

    def __init__(self, cuda: Any) -> None:
        self.cuda, self.stream = cuda, cuda.Stream()
        self.module = cuda.module_from_buffer(compilation.compiled((9, 0)))

    def upload(self, array: Any) -> Memory:
        memory = self.cuda.mem_alloc(max(array.nbytes, 1))
        self.cuda.memcpy_htod_async(memory, np.ascontiguousarray(array), self.stream)
        return Memory(memory)

    def empty(self, size: int) -> Memory:
        return Memory(self.cuda.mem_alloc(size))

    def download(self, memory: Any, out: Any) -> None:
        self.cuda.memcpy_dtoh_async(out, memory.allocation, self.stream)

    def launch(self, launch: Launch) -> None:
        start(self.module.get_function(launch.kernel), launch, self.stream)


def start(function: Any, launch: Launch, stream: Any) -> None:
    function._launch_kernel(launch.grid, launch.block, launch.params.tobytes(), 0, stream)


@pytest.mark.parametrize("most_us", [0, 2000])
def test_preprocess_is_that_of_the_cpu(cuda: Any, emulator: Any, most_us: int) -> None:
    emulator.set_delay(4, most_us)
    image = np.random.default_rng(0).integers(0, 256, (90, 161, 3), dtype=np.uint8)
    spec = ModelSpec(name="test", classes=("a", "b"), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    fit = make_fit(image.shape[:2], (64, 96))
    found = Kernels(PyCudaDevice(cuda)).preprocess(image, spec, fit)
    np.testing.assert_array_equal(found, cpu.preprocess(image, spec, fit))
    assert emulator.counters()["launches"] == {"preprocess_bgr8": 1}


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_the_network_is_its_reference(cuda: Any, kind: Any) -> None:
    tensor = np.random.default_rng(1).normal(size=(1, 3, 64, 96)).astype(kind)
    weights, bias = network.random_weights(11)
    module = cuda.module_from_buffer(network.compiled((9, 0)))
    source, target = cuda.mem_alloc(tensor.nbytes), cuda.mem_alloc(11 * 8 * 12 * 4)
    cuda.memcpy_htod(source, tensor)
    stream = cuda.Stream()
    start(
        module.get_function(network.KERNEL),
        network.launch(int(source), int(target), (64, 96), weights, bias, input_type=kind),
        stream,
    )
    found = np.zeros((1, 11, 8, 12), np.float32)
    stream.synchronize()
    cuda.memcpy_dtoh(found, target)
    np.testing.assert_array_equal(found, network.reference(tensor, weights, bias))


def test_the_order_of_threads_varies_with_a_seed(cuda: Any, emulator: Any) -> None:
    """Both orders give the same counts: many launches with a seed run forwards and backwards."""
    labels = np.random.default_rng(2).integers(0, 5, (40, 64), dtype=np.uint8)
    emulator.set_delay(9, 0)
    device = Kernels(PyCudaDevice(cuda))
    for _ in range(8):
        np.testing.assert_array_equal(device.areas(labels, 5), cpu.areas(labels, 5))
    assert emulator.counters()["launches"] == {"clear_areas": 8, "count_areas": 8}


def test_kernels_must_be_in_the_module_and_the_library(cuda: Any) -> None:
    ours = cuda.module_from_buffer(compilation.compiled((9, 0)))
    for module, kernel in [
        (ours, "no_such_kernel"),
        (ours, network.KERNEL),
        (cuda.module_from_buffer(network.compiled((9, 0))), "preprocess_bgr8"),
        (cuda.module_from_buffer(b"//\n.version 9.0\n.target sm_90\n.visible .entry unheard(\n"), "unheard"),
    ]:
        with pytest.raises(cuda.LogicError, match="named symbol not found"):
            module.get_function(kernel)


def test_ptx_is_a_module_too(cuda: Any) -> None:
    module = cuda.module_from_buffer(network.build("compute_75"))
    assert module.get_function(network.KERNEL).num_regs > 0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"neither one nor the other", "device kernel image is invalid"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "device kernel image is invalid"),
        (b".version 9.0\n.target sm_100\n", "no kernel image is available"),
    ],
)
def test_images_that_are_none(cuda: Any, image: bytes, message: str) -> None:
    with pytest.raises(cuda.Error, match=message):
        cuda.module_from_buffer(image)


def test_machine_code_is_for_one_architecture(cuda: Any, emulator: Any) -> None:
    image = compilation.compiled((9, 0))
    for other in ((8, 0), (8, 9), (10, 0)):
        emulator.set_capability(*other)
        assert cuda.Device(0).compute_capability() == other
        with pytest.raises(cuda.Error, match="no kernel image is available"):
            cuda.module_from_buffer(image)


def test_wrong_launches_are_refused(cuda: Any, emulator: Any) -> None:
    memory, stream = cuda.mem_alloc(1024), cuda.Stream()
    clear = plans.areas(plans.Plane(int(memory), 16), (16, 16), int(memory))[0]
    function = cuda.module_from_buffer(compilation.compiled((9, 0))).get_function("clear_areas")
    params = clear.params.tobytes()
    for grid, block, bytes_ in [
        ((1, 1, 1), (256, 1, 1), params + b"\0"),
        ((1, 1, 1), (256, 1, 1), params[:-1]),
        ((0, 1, 1), (256, 1, 1), params),
        ((1, 65536, 1), (256, 1, 1), params),
        ((1, 1, 1), (0, 1, 1), params),
        ((1, 1, 1), (1025, 1, 1), params),
        ((1, 1, 1), (16, 16, 1), params),
    ]:
        with pytest.raises(cuda.LogicError, match="invalid argument"):
            function._launch_kernel(grid, block, bytes_, 0, stream)
    with pytest.raises(cuda.Error, match="too many resources"):  # More than its __launch_bounds__.
        function._launch_kernel((1, 1, 1), (512, 1, 1), params, 0, stream)
    assert function.max_threads_per_block == 256
    with pytest.raises(Failed, match="CUDA_ERROR_INVALID_HANDLE"):
        call("cuLaunchKernel", stream.handle, 1, 1, 1, 1, 1, 1, 0, ctypes.c_void_p(stream.handle), None, None)
    start(function, clear, stream)
    stream.synchronize()
    assert emulator.counters()["launches"] == {"clear_areas": 1}


def test_a_kernel_that_writes_too_far_is_a_fault(cuda: Any, emulator: Any) -> None:
    memory, stream = cuda.mem_alloc(1000), cuda.Stream()  # clear_areas writes 1024 bytes.
    start(
        cuda.module_from_buffer(compilation.compiled((9, 0))).get_function("clear_areas"),
        plans.areas(plans.Plane(int(memory), 16), (16, 16), int(memory))[0],
        stream,
    )
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    assert re.match("a launch of clear_areas wrote behind the 1000 bytes of device memory", emulator.fault())
    emulator.reset()
    ctypes.memset(int(memory) + 1000, 0x5C, 24)


def test_a_kernel_that_follows_a_null_pointer_is_a_fault(cuda: Any, emulator: Any) -> None:
    memory, found, stream = cuda.mem_alloc(1024), np.full(256, 9, np.uint32), cuda.Stream()
    function = cuda.module_from_buffer(compilation.compiled((9, 0))).get_function("clear_areas")
    start(function, plans.areas(plans.Plane(int(memory), 16), (16, 16), 0)[0], stream)
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    assert emulator.fault() == "a launch of clear_areas used an address where nothing is"
    emulator.reset()
    start(function, plans.areas(plans.Plane(int(memory), 16), (16, 16), int(memory))[0], stream)
    stream.synchronize()
    cuda.memcpy_dtoh(found, memory)
    assert not found.any()


def test_both_compilers_must_mean_the_same_parameter(cuda: Any, emulator: Any) -> None:
    """The size that the cubin tells (its attribute 0x19, here 32 bytes) and that of the struct as g++ has it."""
    image = compilation.compiled((9, 0))
    wrong = image.replace(b"\x03\x19\x20\x00", b"\x03\x19\x28\x00")
    assert wrong != image
    with pytest.raises(cuda.Error, match="device kernel image is invalid"):
        cuda.module_from_buffer(wrong).get_function("clear_areas")
    assert "clear_areas has 40 bytes in the module and 32 in the library" in emulator.fault()
    emulator.reset()
