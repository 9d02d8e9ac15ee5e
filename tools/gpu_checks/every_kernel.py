"""Every kernel of kernels.cu at small awkward sizes, and whole frames: what compute-sanitizer watches.

    python -m gpu_checks.every_kernel [--emulated] [--quick]

Results are compared with the CPU kernels to the bit. Prints a JSON line {kernels, missing, cases, different}; the exit
status is 1 where a kernel was never launched or a result differs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np

from rtseg.errors import BackendError
from rtseg.geometry import FitMode, fit
from rtseg.gpu.opening import open_gpu
from rtseg.kernels import cpu
from rtseg.kernels import launch as plans
from rtseg.kernels.cuda import Kernels
from rtseg.kernels.launch import Launch
from rtseg.kernels.pixels import FORMATS, nv12_to_bgr, to_bgr
from rtseg.packages.spec import ModelSpec

__all__ = ["main"]

Case = tuple[str, bool]
"""What was run, and whether it equals the CPU's result."""
FRAMES = ((37, 61), (1, 1), (24, 128), (50, 7))
NETWORK = (19, 45)
GRIDS = ((5, 9), (1, 1), (13, 21))
THIN, WIDE = 3, 21
COLORS = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, 256).astype(np.uint8)


class Watched:
    """A device that notes which kernels it launches, and waits for each."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self.launched: set[str] = set()
        self.upload, self.empty, self.download = device.upload, device.empty, device.download

    def launch(self, launch: Launch) -> None:
        self.launched.add(launch.kernel)
        self._device.launch(launch)


def preprocess(kernels: Kernels, random: np.random.Generator) -> Iterator[Case]:
    """All pixel formats, layouts, types and fits."""
    layouts, dtypes = ("NCHW", "NHWC"), ("float32", "float16", "uint8")
    modes: tuple[FitMode, ...] = get_args(FitMode)
    for index, (pixels, layout, dtype) in enumerate(itertools.product(FORMATS, layouts, dtypes)):
        frame, mode = FRAMES[index % len(FRAMES)], modes[index % len(modes)]
        spec = ModelSpec(name="check", classes=("a", "b"), layout=layout, dtype=dtype)  # type: ignore[arg-type]
        place = fit(frame, NETWORK, mode)
        depth = {"bgr8": 3, "rgb8": 3, "bgra8": 4}.get(pixels)
        image = random.integers(0, 256, (*frame, depth) if depth else frame, dtype=np.uint8)
        chroma = None
        if pixels == "nv12":
            chroma = random.integers(0, 256, ((frame[0] + 1) // 2, (frame[1] + 1) // 2, 2), dtype=np.uint8)
        picture = to_bgr(image, pixels) if chroma is None else nv12_to_bgr(image, chroma)
        found = kernels.preprocess_picture(image, pixels, spec, place, chroma=chroma)
        expected = cpu.preprocess(picture, spec, place)
        yield f"preprocess {pixels} {layout} {dtype} {mode} {frame}", found.tobytes() == expected.tobytes()


def label(kernels: Kernels, random: np.random.Generator) -> Iterator[Case]:
    """Labels, confidence and drawing from logits and probabilities, with and without allowed classes."""
    for index, (frame, grid, dtype) in enumerate(itertools.product(FRAMES, GRIDS, (np.float32, np.float16))):
        classes = (19, 2, 1, 150)[index % 4]
        logits = random.normal(0, 3, (classes, *grid)).astype(dtype)
        allowed = random.random(max(2, classes)) < 0.7 if index % 3 == 0 else None
        if allowed is not None:
            allowed[0] = True
        image = random.integers(0, 256, (*frame, 3), dtype=np.uint8)
        level, expected_level = np.zeros(frame, np.uint8), np.zeros(frame, np.uint8)
        found, overlay = kernels.labels_and_overlay(
            logits,
            image,
            fill=(COLORS, ALPHA),
            line=(COLORS, ALPHA) if index % 2 else None,
            thickness=THIN,
            confidence=level,
            allowed=allowed,
        )
        expected = cpu.labels(logits, frame, confidence=expected_level, allowed=allowed)
        drawn = cpu.blend(image, expected, COLORS, ALPHA)
        drawn = cpu.contours(drawn, expected, COLORS, ALPHA, thickness=THIN) if index % 2 else drawn
        equal = (found == expected).all() and (level == expected_level).all() and (overlay == drawn).all()
        yield f"labels {classes} classes {grid} {np.dtype(dtype).name} {frame}", bool(equal)


def draw(kernels: Kernels, random: np.random.Generator) -> Iterator[Case]:
    """Label maps brought to the frame's size, drawing by itself, contours thin and wide, areas."""
    for frame in FRAMES:
        labels = np.repeat(np.repeat(random.integers(0, 5, frame, dtype=np.uint8)[::4, ::4], 4, 0), 4, 1)
        labels = np.ascontiguousarray(labels[: frame[0], : frame[1]])
        image = random.integers(0, 256, (*frame, 3), dtype=np.uint8)
        coarse = random.integers(0, 256, (6, 11), dtype=np.uint8)
        found = kernels.upsample_labels(coarse, frame)
        yield f"label map {frame}", bool((found == cpu.upsample_labels(coarse, frame)).all())
        found = kernels.blend(image, labels, COLORS, ALPHA)
        yield f"blend {frame}", bool((found == cpu.blend(image, labels, COLORS, ALPHA)).all())
        for thickness in (1, THIN, WIDE):
            found = kernels.contours(image, labels, COLORS, ALPHA, thickness=thickness)
            expected = cpu.contours(image, labels, COLORS, ALPHA, thickness=thickness)
            yield f"contours {thickness} {frame}", bool((found == expected).all())
        yield f"areas {frame}", bool((kernels.areas(labels, 5) == cpu.areas(labels, 5)).all())


def whole_frames() -> Iterator[Case]:
    """Frames through the graphs of rtseg.device, with the small network of tests/device."""
    from gpu_checks import agreement, loop, pictures
    from gpu_checks.networks import segmenter_of
    from tests.segmenter.block_network import BlockBackend

    images = pictures.drive((72, 130), 3)
    needs = frozenset({"overlay", "labels", "confidence", "areas"})
    for depth, half in ((1, "float16"), (2, "float32")):
        backend = BlockBackend(depth, type_in=half, type_out=half)
        with segmenter_of(backend, size=(64, 128)) as segmenter:
            painter = loop.painter_for(segmenter, needs)
            loop.frames(segmenter, painter, needs, images, 6, 60.0)
            found = agreement.compare(segmenter, backend.gpu, images)
        yield f"frames, {depth} in flight, {half}", found["equal"] == 1.0


def cases(device: Any, *, quick: bool) -> Iterator[Case]:
    """Everything; `quick` leaves out the labels without tiles, but for one."""
    random = np.random.default_rng(5)
    tiles, pixels = Kernels(device), Kernels(device, by_pixel=True)
    yield from preprocess(tiles, random)
    yield from label(tiles, random)
    yield from itertools.islice(label(pixels, random), 2 if quick else None)
    yield from draw(tiles, random)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    if args.emulated:
        from gpu_checks.child import emulate

        emulate()
    done: list[Case] = []
    with open_gpu() as gpu:
        watched = Watched(gpu)
        done += cases(watched, quick=args.quick)
    try:
        done += whole_frames()
    except (BackendError, ImportError) as exc:  # the kernels' own results are not lost for it
        done.append((f"whole frames: {exc}", False))
    missing = sorted(set(plans.KERNELS) - watched.launched)
    different = [name for name, equal in done if not equal]
    told = {"kernels": sorted(watched.launched), "missing": missing, "cases": len(done), "different": different}
    print(json.dumps(told), flush=True)
    return int(bool(missing or different))


if __name__ == "__main__":
    sys.exit(main())
