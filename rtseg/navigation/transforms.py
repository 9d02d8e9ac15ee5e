"""The tree of coordinate frames that /tf and /tf_static describe, without tf2."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtseg.errors import SourceError, nearest
from rtseg.messages import records as messages
from rtseg.navigation.rotations import Floats, inverse, multiply, rotate, slerp, unit

__all__ = ["NoTransform", "TransformTree"]

Transform = tuple[Floats, Floats]
"""Translation (3,) in metres and rotation (x, y, z, w): the pose of a frame in another."""


class NoTransform(SourceError):
    """The tree does not connect two frames, or not at the requested time."""


@dataclass(slots=True)
class _Link:
    """How a frame lies in its parent: one transform for ever, or several in order of time."""

    parent: str
    static: bool
    times: list[int] = field(default_factory=list)
    transforms: list[Transform] = field(default_factory=list)


class TransformTree:
    """Keeps what tf messages say for the last `history_ns` nanoseconds and answers where one frame lies in another.

    Names are compared without leading slashes. Not for several threads at once.
    """

    def __init__(self, history_ns: int = 10_000_000_000) -> None:
        self._history = history_ns
        self._links: dict[str, _Link] = {}

    def add(self, message: Any, *, static: bool = False) -> list[str]:
        """Take in a decoded tf2_msgs/TFMessage; `static` is one from /tf_static.

        Returns one line for each transform in it that was left out, because it cannot be one.
        """
        refused = []
        for stamped in message.transforms:
            parent, child = (name.lstrip("/") for name in (stamped.header.frame_id, stamped.child_frame_id))
            move, turn = stamped.transform.translation, stamped.transform.rotation
            translation = np.array([move.x, move.y, move.z], np.float64)
            try:
                rotation = unit([turn.x, turn.y, turn.z, turn.w])
            except ValueError as exc:
                refused.append(f"transform of '{child}' in '{parent}' left out: {exc}")
                continue
            if not parent or not child or parent == child or not np.isfinite(translation).all():
                refused.append(f"transform of '{child}' in '{parent}' left out: bad name or translation")
                continue
            self._keep(child, parent, static, messages.stamp_ns(stamped), (translation, rotation))
        return refused

    def frames(self) -> list[str]:
        """The names of all frames, sorted."""
        return sorted({*self._links, *(link.parent for link in self._links.values())})

    def lookup(self, target: str, source: str, stamp_ns: int | None = None, *, late_ns: int = 0) -> Transform:
        """The pose of frame `source` in frame `target`: translation (3,) and quaternion (4,).

        At a time in nanoseconds, interpolated; or, for None, at the latest time that all links on the way have, which
        also answers for times up to `late_ns` after it. Errors: NoTransform, also for a time before or after what is
        known.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        down, up = self._way(target), self._way(source)
        common = next((name for name in up if name in down), None)
        if common is None:
            raise NoTransform(f"'{source}' and '{target}' are in different trees: their roots are {up[-1]}, {down[-1]}")
        links = up[: up.index(common)], down[: down.index(common)]
        moving = [self._links[name] for part in links for name in part if not self._links[name].static]
        latest = min((link.times[-1] for link in moving), default=0)
        if stamp_ns is None or latest < stamp_ns <= latest + late_ns:
            stamp_ns = latest
        source_there, target_there = (self._chain(part, stamp_ns) for part in links)
        back = inverse(target_there[1])
        return rotate(back, source_there[0] - target_there[0]), multiply(back, source_there[1])

    def _keep(self, child: str, parent: str, static: bool, time: int, transform: Transform) -> None:
        link = self._links.get(child)
        if link is None or static or link.static or link.parent != parent:
            self._links[child] = _Link(parent, static, [time], [transform])
            return
        if time < link.times[-1] - self._history:  # the clock was set back, as when a bag starts again
            link.times, link.transforms = [time], [transform]
            return
        place = bisect_left(link.times, time)
        if place < len(link.times) and link.times[place] == time:
            link.transforms[place] = transform
            return
        link.times.insert(place, time)
        link.transforms.insert(place, transform)
        old = bisect_left(link.times, link.times[-1] - self._history)
        del link.times[:old], link.transforms[:old]

    def _way(self, name: str) -> list[str]:
        """The frame and those above it, up to its root."""
        known = self.frames()
        if name not in known:
            raise NoTransform(
                f"no frame '{name}' in tf: {nearest(name, known) if known else 'no transform was received'}"
            )
        way = [name]
        while (link := self._links.get(way[-1])) is not None:
            if link.parent in way:
                raise NoTransform(f"tf has a cycle: {' in '.join([*way[way.index(link.parent) :], link.parent])}")
            way.append(link.parent)
        return way

    def _chain(self, names: list[str], stamp_ns: int) -> Transform:
        """The pose of the first frame in the parent of the last one."""
        translation, rotation = np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])
        for name in names:
            offset, turn = self._at(name, stamp_ns)
            translation, rotation = rotate(turn, translation) + offset, multiply(turn, rotation)
        return translation, rotation

    def _at(self, name: str, stamp_ns: int) -> Transform:
        link = self._links[name]
        if link.static:
            return link.transforms[0]
        times = link.times
        if not times[0] <= stamp_ns <= times[-1]:
            side, gap = ("older", times[0] - stamp_ns) if stamp_ns < times[0] else ("newer", stamp_ns - times[-1])
            raise NoTransform(
                f"tf of '{name}' in '{link.parent}' at {stamp_ns / 1e9:.3f} s: that is {gap / 1e9:.3f} s {side} than "
                f"what is known ({times[0] / 1e9:.3f} to {times[-1] / 1e9:.3f} s)"
            )
        place = bisect_left(times, stamp_ns)
        if times[place] == stamp_ns:
            return link.transforms[place]
        part = (stamp_ns - times[place - 1]) / (times[place] - times[place - 1])
        before, after = link.transforms[place - 1], link.transforms[place]
        return before[0] + part * (after[0] - before[0]), slerp(before[1], after[1], part)
