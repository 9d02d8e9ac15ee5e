"""The launches that a frame spends its time in, at more sizes than the step `kernels` has: for timings and for ncu.

    python -m gpu_checks.hot [--emulated]

launches each of the important ones once, printing its name before: what the step `profile` runs under ncu.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpu_checks import pictures
from rtseg.gpu.opening import open_gpu
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:  # PyCUDA is imported with these, which a dry run may only once the emulated driver is loaded
    from gpu_checks.launches import Make, Set
    from rtseg.gpu.cuda import Device

__all__ = ["EMULATED_FRAME", "FRAME", "IMPORTANT", "cases", "held", "picture"]

FRAME, EMULATED_FRAME = (1080, 1920), (136, 240)
SIZES = ((512, 1024), (416, 768), (540, 960), (544, 992), (405, 720))
"""Networks' inputs at 1080p. The last three shrink the frame by factors at which tables may meet in one memory bank."""
EMULATED_SIZES = ((64, 128), (54, 96))
CLASSES, STRIDES = (11, 19), (4, 8)
OUTPUTS = (
    ("labels",),
    ("labels", "overlay"),
    ("labels", "overlay", "confidence"),
    ("labels", "overlay", "contours"),
)
SPEC = ModelSpec(name="check", classes=("a", "b"), layout="NCHW", dtype="float16")
IMPORTANT = ("labels+overlay", "labels+overlay+confidence")


def flat(classes: int, grid: tuple[int, int]) -> NDArray[np.float16]:
    """Logits whose winner is the same everywhere, by far: the easiest case, no cell lies on a boundary."""
    column = np.arange(classes, dtype=np.float16)[:, None, None]
    return np.ascontiguousarray(np.broadcast_to(column, (classes, *grid)))


def picture(*, emulated: bool) -> NDArray[np.uint8]:
    """The frame of all launches."""
    return pictures.drive(EMULATED_FRAME if emulated else FRAME, 1)[0]


def cases(
    device: Device, image: NDArray[np.uint8], base: NDArray[np.float32], *, emulated: bool
) -> Iterator[tuple[str, Make]]:
    """Name and maker of every launch: preprocess at all SIZES and of NV12, labels at the first size's grids.

    `base` are the logits of `image` that the realistic ones are made of.
    """
    from gpu_checks import launches

    sizes = EMULATED_SIZES if emulated else SIZES
    for size in sizes:
        yield f"preprocess bgr8 {size[0]}x{size[1]}", launches.preprocess(device, image, None, size, SPEC)
    luma, chroma = pictures.nv12(image)
    height, width = sizes[0]
    yield f"preprocess nv12 {height}x{width}", launches.preprocess(device, luma, chroma, sizes[0], SPEC)
    for classes in CLASSES:
        for stride in STRIDES:
            grid = (height // stride, width // stride)
            contents = {
                "model": pictures.to_grid(base, classes, grid, "float16"),
                "noise": pictures.noise(classes, grid, "float16"),
                "flat": flat(classes, grid),
            }
            for content, logits in contents.items():
                for wanted in OUTPUTS:
                    name = f"{'+'.join(wanted)} {content} {classes} classes stride {stride}"
                    yield name, launches.label(device, logits, image, wanted)


@contextmanager
def held(make: Make) -> Iterator[Set]:
    """Launches and their buffers, which go back afterwards."""
    made = make()
    try:
        yield made
    finally:
        made.free()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--model", default="unet-fast0-camvid")
    args = parser.parse_args(argv)
    if args.emulated:
        from gpu_checks.child import emulate

        emulate()
    image = picture(emulated=args.emulated)
    base, _ = pictures.logits(args.model, image)
    with open_gpu() as device:
        stream = device.stream()
        for name, make in cases(device, image, base, emulated=args.emulated):
            if not name.startswith("preprocess") and name.split()[0] not in IMPORTANT:
                continue
            print(name, flush=True)
            with held(make) as made:
                for launch in made.launches:
                    device.launch(launch, stream)
                stream.synchronize()


if __name__ == "__main__":
    main()
