"""The step `side`: a frame's whole way beside what a user would otherwise write, in turn, in one run.

    result: network, dtype, rounds, ways: {rtseg, torch, host: {median, min, max, samples in ms}}, ratios: {torch, host:
    {median, p10, p90} of each round's time over rtseg's}, equal_labels: {torch, host: share}, overlay_difference: {…:
    mean absolute difference in levels}

Every way takes a frame in pageable memory and ends with overlay and labels in the host's memory. The frame is stretched
over the network's input, as the other two do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_checks import loop, pictures, timing
from gpu_checks.check import Options
from gpu_checks.networks import opened, rival_network
from gpu_checks.record import NotRun, Record
from rtseg.drawing.palette import resolve_palette
from rtseg.segmenter.device import DeviceSegmenter

__all__ = ["run"]

Picture = NDArray[np.uint8]
Way = Callable[[Picture], tuple[Picture, Picture]]
NEEDS = frozenset({"overlay", "labels"})
WARM, LEAST, MOST = 5, 30, 200
"""Rounds before the first that counts, and rounds that count."""


def run(options: Options, record: Record) -> None:
    """Measure the three ways in turn."""
    images = pictures.drive(options.frame, 2 if options.emulated else 8)
    least, most = (3, 3) if options.emulated else (LEAST, MOST)
    with record.part("in turn"), opened(options, size=options.size, mode="stretch") as segmenter:
        ways = _ways(options, segmenter, record)
        record.result |= {"network": list(options.size), "frame": list(options.frame)}
        _compare(ways, images, record)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(WARM + most):
            counted = turn - WARM
            if counted >= least and record.left < 3:
                break
            if record.left < 1:
                raise NotRun(f"time was left for {max(counted, 0)} rounds only")
            for name, way in ways.items():
                begin = time.perf_counter_ns()
                way(images[turn % len(images)])
                taken = (time.perf_counter_ns() - begin) / 1e6
                if counted >= 0:
                    times[name].append(taken)
            if counted >= 0:
                _note(times, record)
    for name, ratio in record.result.get("ratios", {}).items():
        record.tell(
            f"    {name}: {ratio['median']:.2f} times rtseg's latency ({ratio['p10']:.2f} to {ratio['p90']:.2f})"
        )


def _note(times: dict[str, list[float]], record: Record) -> None:
    own = np.array(times["rtseg"])
    record.result["rounds"] = len(own)
    record.result["ways"] = {name: timing.spread(values) for name, values in times.items()}
    record.result["ratios"] = {}
    for name, values in times.items():
        if name != "rtseg" and len(values) == len(own):
            low, middle, high = np.percentile(np.array(values) / own, (10, 50, 90)).round(3).tolist()
            record.result["ratios"][name] = {"median": middle, "p10": low, "p90": high}


def _ways(options: Options, segmenter: DeviceSegmenter, record: Record) -> dict[str, Way]:
    """The three, on the same weights; each of the others only if it can be made."""
    painter = loop.painter_for(segmenter, NEEDS)
    segmenter.warm_up(options.frame)

    def rtseg(image: Picture) -> tuple[Picture, Picture]:
        tensor, place = segmenter.preprocess(image)
        segmenter.backend.submit(tensor)
        scores = segmenter.backend.collect()
        labels, _ = segmenter.labels(scores, place)
        assert labels is not None
        return painter.picture(image, labels, scores, None), labels

    ways: dict[str, Way] = {"rtseg": rtseg}
    with record.part("the other ways"):
        from gpu_checks.rivals import HostRival, TorchRival

        network, device, dtype = rival_network(options)
        record.result |= {"device": device, "dtype": str(dtype)}
        colors = resolve_palette(None, segmenter.spec).colors
        given: tuple[Any, ...] = (network, segmenter.spec, options.size, colors, device, dtype)
        ways |= {"torch": TorchRival(*given), "host": HostRival(*given)}
    return ways


def _compare(ways: dict[str, Way], images: list[Picture], record: Record) -> None:
    """How far the ways agree, over all pictures: shares of equal labels, and levels between overlays."""
    equal: dict[str, list[float]] = {}
    levels: dict[str, list[float]] = {}
    for image in images:
        overlay, labels = (array.copy() for array in ways["rtseg"](image))
        for name, way in ways.items():
            if name == "rtseg":
                continue
            other_overlay, other_labels = way(image)
            equal.setdefault(name, []).append(float(np.mean(other_labels == labels)))
            difference = np.abs(other_overlay.astype(np.int16) - overlay.astype(np.int16))
            levels.setdefault(name, []).append(float(difference.mean()))
    record.result["equal_labels"] = {name: round(float(np.mean(values)), 6) for name, values in equal.items()}
    record.result["overlay_difference"] = {name: round(float(np.mean(values)), 3) for name, values in levels.items()}
