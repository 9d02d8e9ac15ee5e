"""A segmentation node under test, and a peer that sends it pictures and gets what it publishes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.backends import open_backend
from rtseg.messages import records as messages
from rtseg.messages.images import picture
from rtseg.packages.spec import METADATA_KEY, ModelSpec
from rtseg.segmenter.host import HostSegmenter
from tests.messages.pictures import image_message, pixels
from tests.onnx_models import conv_model
from tests.ros.processes import LIMIT, Domain, Peer, Process

__all__ = [
    "NODE",
    "SIZE",
    "TOPIC",
    "TOY",
    "Talk",
    "errors_of",
    "expected_labels",
    "frame_message",
    "labels_of",
    "start_node",
    "toy_model",
    "toy_segmenter",
]

TOPIC, NODE = "/camera/image", "/segmentation"
SIZE = (32, 48)
TOY = ModelSpec(name="toy", classes=("road", "car", "sky", "tree", "pole"), short_side=32, multiple=8, output_stride=8)
TRIES = 100
"""Pictures that are sent, a fifth of a second apart, until the node knows of its listener."""


def toy_model(folder: Path) -> Path:
    """An ONNX file of one convolution, with its spec: labels depend on every pixel."""
    return conv_model(folder / "toy.onnx", metadata={METADATA_KEY: TOY.to_json()})


def toy_segmenter(path: Path, **options: Any) -> HostSegmenter:
    """What the node runs with `--backend onnxruntime --model path`."""
    return HostSegmenter(open_backend("onnxruntime", str(path), threads=1), **options)


def start_node(domain: Domain, *flags: str, image: str = TOPIC, **options: Any) -> Process:
    """`rtseg ros` with the null backend, unless `flags` name another."""
    backend = () if "--backend" in flags else ("--backend", "null")
    return domain.start("-m", "rtseg", "ros", "--image", image, *backend, *flags, **options)


def frame_message(index: int, size: tuple[int, int] = SIZE, encoding: str = "bgr8", **header: Any) -> bytes:
    """Picture `index` of tests/messages/pictures.py as a message; its stamp is the index unless `header` says more."""
    return image_message(pixels(index, *size, encoding), *size, encoding, **{"stamp_ns": index, **header})


def labels_of(mask: Any) -> np.ndarray:
    """HW uint8 of a decoded mono8 message."""
    assert (mask.encoding, mask.step) == ("mono8", mask.width)
    return np.asarray(mask.data).reshape(mask.height, mask.width)


class Talk:
    """A peer's side of a node: publishes on `topic`, listens below the node's name."""

    def __init__(self, peer: Peer, topic: str = TOPIC, node: str = NODE) -> None:
        self.peer, self.topic, self.node = peer, topic, node
        self.kind = messages.IMAGE
        self._came: dict[str, list[dict[str, Any]]] = {}

    def offer(self, kind: str = messages.IMAGE, reliability: str = "reliable", **qos: Any) -> None:
        """Publish the node's pictures from now on."""
        self.kind = kind
        self.peer.call("advertise", topic=self.topic, kind=kind, reliability=reliability, **qos)
        assert self.peer.call("wait_subscribers", topic=self.topic) == 1

    def listen(self, output: str, kind: str = messages.IMAGE, keep: int = 5000, **qos: Any) -> None:
        """Subscribe to one of the node's outputs; the peer keeps all messages, unless `keep` is less."""
        self._came[output] = []
        qos = {"reliability": "reliable", "depth": 50, **qos}
        self.peer.call("subscribe", topic=f"{self.node}/{output}", kind=kind, keep=keep, **qos)
        assert self.peer.call("wait_publishers", topic=f"{self.node}/{output}") == 1

    def send(self, data: bytes, topic: str = "") -> None:
        """Publish a message's bytes."""
        self.peer.call("publish", topic=topic or self.topic, data=base64.b64encode(data).decode())

    def came(self, output: str, count: int = 0, seconds: float = LIMIT) -> list[dict[str, Any]]:
        """What the peer noted of each message of an output, once there are `count` or the time is over."""
        known = self._came.setdefault(output, [])
        topic = f"{self.node}/{output}"
        known += self.peer.call("received", topic=topic, count=count, first=len(known), seconds=seconds)
        return known

    def await_first(
        self, output: str = "mask", data: bytes | None = None, *, kind: str = messages.IMAGE, **beside: bytes
    ) -> None:
        """Send pictures until the node, having found its listener, answers each of them.

        `beside` are messages that are sent before each picture, by topic.
        """
        before, data = len(self.came(output)), data or frame_message(0)
        for _ in range(TRIES):
            for topic, message in beside.items():
                self.send(message, topic)
            self.send(data)
            if len(self.came(output, before + 1, 0.2)) > before:
                break
        else:
            raise AssertionError(f"no {output} after {TRIES} pictures")
        self.answers(data, output, kind)

    def answers(self, data: bytes, output: str = "mask", kind: str = messages.IMAGE) -> Any:
        """What the node makes of a message, decoded: the next message of an output with its stamp, if it has one."""
        stamp = None if kind == messages.AREAS else messages.stamp_ns(messages.decode(self.kind, data))
        before = len(self.came(output))
        self.send(data)
        return self.next(output, kind, before, stamp)

    def next(self, output: str, kind: str, before: int, stamp: int | None = None) -> Any:
        """The first message of an output after `before` of them, decoded; with `stamp`, the first that has it."""
        topic = f"{self.node}/{output}"
        while True:
            found = self.came(output, before + 1)
            assert len(found) > before, f"no {output} came"
            if stamp is None or found[before]["stamp_ns"] == stamp:
                return self.peer.message(topic, kind, before)
            before += 1

    def diagnostics(self, enough: Callable[[dict[str, str]], bool] = lambda _: True) -> dict[str, str]:
        """The values of the next diagnostics of which `enough` holds, with `level` and `message`."""
        before = len(self.came("diagnostics"))
        values: dict[str, str] = {}
        for index in range(before, before + int(LIMIT * 5)):
            found = self.next("diagnostics", messages.DIAGNOSTICS, index)
            status = found.status[0]
            values = {each.key: each.value for each in status.values}
            values |= {"level": str(status.level), "message": status.message, "name": status.name}
            if enough(values):
                return values
        raise AssertionError(f"the diagnostics stay {values}")


def expected_labels(segmenter: HostSegmenter, data: bytes) -> np.ndarray:
    """What the network makes of the picture in a sensor_msgs/Image."""
    return segmenter(picture(messages.decode(messages.IMAGE, data)))


COMMANDS = """
import contextlib, io, json, sys
from rtseg.cli.main import main
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            code = main(words)
        except SystemExit as exc:
            code = exc.code
    print(json.dumps([code, said.getvalue().splitlines()]))
"""


def errors_of(domain: Domain, commands: list[list[str]]) -> list[tuple[int, list[str]]]:
    """What each `rtseg` command, of those that end at once, exits with and writes to sys.stderr; all in one process."""
    process = domain.start("-c", COMMANDS, json.dumps(commands))
    assert process.wait(10.0 * len(commands)) == 0, process.written()
    return [tuple(json.loads(line)) for line in process.stdout if line.startswith("[")]
