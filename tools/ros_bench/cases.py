"""Who is measured, at which rates: groups of nodes that live together and take turns."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Contender:
    """A node: `rtseg ros` with `options`, or `tutorial_node.py` where `tutorial` is how it fills its messages.

    `checked` sets ROS_PYTHON_CHECK_FIELDS, which is off in recent releases; in older ones fields are always checked.
    `kept` lets it keep freed memory (see measure.KEEP_MEMORY), as no tutorial says. `reliable` is rtseg's QoS for
    pictures; without, they are best effort. The tutorial's is always reliable.
    """

    key: str
    title: str
    tutorial: str = ""
    backend: str = "auto"
    short_side: int = 0
    compressed: bool = False
    checked: bool = False
    kept: bool = False
    reliable: bool = False

    @property
    def image(self) -> str:
        """The topic of its pictures."""
        return f"/{self.key}/image" + ("/compressed" if self.compressed else "")

    @property
    def mask(self) -> str:
        """The topic of its masks."""
        return f"/{self.key}/mask"

    @property
    def diagnostics(self) -> str:
        """The topic of its counters; the tutorial has none."""
        return "" if self.tutorial else f"/{self.key}/diagnostics"

    def command(self, model: str, size: str) -> list[str]:
        """How it is started; `size` is that of the pictures, HxW."""
        common = ["--name", self.key, "--image", self.image, "--model", model, "--backend", self.backend]
        common += ["--warm-up-size", size]
        if self.short_side:
            common += ["--short-side", str(self.short_side)]
        if self.tutorial:
            return [sys.executable, str(HERE / "tutorial_node.py"), *common, "--fill", self.tutorial]
        common += ["--image-reliability", "reliable"] if self.reliable else []
        return [sys.executable, "-m", "rtseg", "ros", *common, "--diagnostics-period", "0.5"]


@dataclass(frozen=True)
class Turn:
    """Messages to a contender at a rate for some seconds, all repetitions together."""

    contender: str
    rate: float
    seconds: float


@dataclass(frozen=True)
class Group:
    """Contenders that are compared with each other, and the Fast DDS transports that they and both ends use."""

    key: str
    title: str
    contenders: tuple[Contender, ...]
    turns: tuple[Turn, ...]
    transports: str = "LARGE_DATA"


ENOUGH = {10: 67.0, 30: 23.0}
"""Seconds until a p99 means something: 662 messages (rtseg.timing.FLOORS), a few lost ones included."""
GROUPS = (
    Group(
        "network",
        "1080p, the default network",
        (
            Contender("rtseg", "`rtseg ros`"),
            Contender("cv_bridge", "tutorial node, `cv_bridge`", tutorial="cv_bridge"),
            Contender("list", "tutorial node, `data = labels.flatten().tolist()`", tutorial="list"),
            Contender(
                "bytes", "tutorial node, `data = labels.tobytes()`, fields checked", tutorial="bytes", checked=True
            ),
        ),
        (
            Turn("rtseg", 10, ENOUGH[10]),
            Turn("cv_bridge", 10, 23),
            Turn("list", 10, 6),
            Turn("bytes", 10, 6),
            Turn("rtseg", 30, 40),  # of which not every message gets a mask
            Turn("cv_bridge", 30, 9),
        ),
    ),
    Group(
        "reduced",
        "1080p, network at a short side of 256",
        (
            Contender("rtseg_256", "`rtseg ros --short-side 256`", short_side=256),
            Contender("cv_bridge_256", "tutorial node, `cv_bridge`", tutorial="cv_bridge", short_side=256),
        ),
        (Turn("rtseg_256", 30, ENOUGH[30]), Turn("cv_bridge_256", 30, ENOUGH[30])),
    ),
    Group(
        "ros",
        "1080p, no network (`--backend null`)",
        (
            Contender("rtseg_null", "`rtseg ros --backend null`", backend="null"),
            Contender("cv_bridge_null", "tutorial node, `cv_bridge`", tutorial="cv_bridge", backend="null"),
            Contender(
                "cv_bridge_kept",
                "the same, told to keep freed memory",
                tutorial="cv_bridge",
                backend="null",
                kept=True,
            ),
            Contender("rtseg_jpeg", "`rtseg ros --backend null`, JPEG in", backend="null", compressed=True),
        ),
        (
            Turn("rtseg_null", 30, ENOUGH[30]),
            Turn("cv_bridge_null", 30, ENOUGH[30]),
            Turn("cv_bridge_kept", 30, 9),
            Turn("rtseg_jpeg", 30, 9),
        ),
    ),
    Group(
        "default_transports",
        "1080p, no network, Fast DDS with its default transports",
        (
            Contender("rtseg_null", "`rtseg ros --backend null`", backend="null"),
            Contender("rtseg_reliable", "the same, `--image-reliability reliable`", backend="null", reliable=True),
            Contender("cv_bridge_null", "tutorial node, `cv_bridge`", tutorial="cv_bridge", backend="null"),
        ),
        (Turn("rtseg_null", 30, 5), Turn("rtseg_reliable", 30, 5), Turn("cv_bridge_null", 30, 5)),
        transports="DEFAULT",
    ),
)
