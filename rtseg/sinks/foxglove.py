"""A live server for Foxglove (and Lichtblick): it connects to it, chooses topics and shows them."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import foxglove
import msgspec
from foxglove.messages import CompressedImage, RawImage, Timestamp
from foxglove.websocket import ChannelView, Client, ServerListener, WebSocketServer

from rtseg.drawing.colormap import mask_colors
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.view import View
from rtseg.errors import SinkError
from rtseg.frame import Frame, Result, StreamInfo
from rtseg.packages.spec import ModelSpec
from rtseg.sinks._encoding import check_quality
from rtseg.sinks._viewers import bracketed, host_and_port, jpeg, name_of, png, time_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FoxgloveSink"]

LOG = logging.getLogger(__name__)
# What the SDK says of strangers that knock on the port would go to standard error where no logging is set up.
logging.getLogger("foxglove").addHandler(logging.NullHandler())
PORT = 8765
STOP_SECONDS = 5.0
BACKLOG = 64
"""Messages that wait for one client; a slow one loses the oldest instead of falling ever further behind."""
NUMBER = {"type": "number"}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: its channel, the part of a result that it takes (None: every result has it), and its message."""

    channel: foxglove.Channel
    need: str | None
    message: Callable[[Result, dict[str, Any]], bytes]


class FoxgloveSink:
    """Serves results to any number of Foxglove clients; nothing is made or encoded for a topic without subscribers.

    `target` is HOST:PORT, HOST or PORT; 127.0.0.1:8765 without. The topics of a camera, which is called as the topic
    that brought the frames, else `/camera`: its own name for the picture (JPEG of `quality` 1 to 100), and below it
    `overlay` (JPEG), `mask` (class ids, mono8), `colors` (the classes' colours, PNG), `areas` (fraction of the pixels
    by class name, JSON) and `timing` (milliseconds and drops, JSON). `/label_info` has id, name, and colour of the
    classes and whether they are hidden; it is sent to each new client, and when it changes.
    Errors: ConfigError for a target or option, SinkError where the server cannot listen.
    """

    needs = frozenset({"overlay", "labels", "areas"})
    threaded = True

    def __init__(self, target: str, info: StreamInfo, spec: ModelSpec, view: View, *, quality: int = 80) -> None:
        self._host, self._port = host_and_port(target, PORT, f"foxglove output 'foxglove:{target}'")
        self._quality = check_quality(quality)
        self._spec, self._view = spec, view
        self._cameras: dict[str, tuple[Topic, ...]] = {}
        self._server: WebSocketServer | None = None
        self._context = foxglove.Context()
        self._told: frozenset[int] | None = None

    def __enter__(self) -> Self:
        self._palette = resolve_palette(self._view.palette, self._spec)
        self._classes = self._channel("/label_info", CLASSES)
        try:
            self._server = foxglove.start_server(
                name=f"rtseg: {self._spec.name}",
                host=self._host,
                port=self._port,
                context=self._context,
                server_listener=_Greeter(self),
                message_backlog_size=BACKLOG,
            )
        except RuntimeError as exc:
            raise self._refused(str(exc)) from exc
        LOG.info("Foxglove: open a connection to ws://%s:%d", bracketed(self._host), self._port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()
            end = time.monotonic() + STOP_SECONDS
            while not _free(self._host, self._port) and time.monotonic() < end:
                time.sleep(0.005)  # the SDK returns before the port is free, and the next run may want it
        self._cameras = {}

    @property
    def wanted(self) -> frozenset[str]:
        """The part of the needs that somebody watches now."""
        topics = [topic for camera in tuple(self._cameras.values()) for topic in camera]
        return frozenset(topic.need for topic in topics if topic.need is not None and topic.channel.has_sinks())

    def write(self, result: Result) -> None:
        """Send a frame's messages to those who watch. Errors: SinkError for a picture that cannot be compressed."""
        name = name_of(result.frame)
        if name not in self._cameras:
            self._cameras[name] = self._topics(name)
        if self._told != self._view.hidden:
            self.tell_classes()
        taken = time_of(result.frame)
        head = _head(result.frame, taken)
        for topic in self._cameras[name]:
            # A client may have come after the result was made: then the next one has what it asks for.
            made = topic.need is None or getattr(result, topic.need) is not None
            if made and topic.channel.has_sinks():
                topic.channel.log(topic.message(result, head), log_time=taken)

    def tell_classes(self) -> None:
        """Send the classes' names and colours to every client that requested them."""
        hidden = self._view.hidden
        classes = [
            {"id": index, "name": name, "color": "#{2:02x}{1:02x}{0:02x}".format(*color), "hidden": index in hidden}
            for index, (name, color) in enumerate(zip(self._spec.classes, self._palette.colors.tolist(), strict=False))
        ]
        self._told = hidden
        self._classes.log(msgspec.json.encode({"classes": classes}))

    def _topics(self, name: str) -> tuple[Topic, ...]:
        picture, raw = CompressedImage.get_schema(), RawImage.get_schema()
        areas = _object("rtseg.Areas", dict.fromkeys(self._spec.classes, NUMBER))
        channel = self._channel
        return (
            Topic(channel(name, picture), None, lambda result, head: self._jpeg(result.frame.image, head)),
            Topic(
                channel(f"{name}/overlay", picture), "overlay", lambda result, head: self._jpeg(result.overlay, head)
            ),
            Topic(channel(f"{name}/mask", raw), "labels", self._mask),
            Topic(channel(f"{name}/colors", picture), "labels", self._colors),
            Topic(channel(f"{name}/areas", areas), "areas", self._areas),
            Topic(channel(f"{name}/timing", TIMING), None, _timing),
        )

    def _channel(self, topic: str, schema: Any) -> foxglove.Channel:
        encoding = "json" if isinstance(schema, dict) else "protobuf"
        return foxglove.Channel(topic, schema=schema, message_encoding=encoding, context=self._context)

    def _jpeg(self, image: Any, head: dict[str, Any]) -> bytes:
        return CompressedImage(**head, data=jpeg(image, self._quality), format="jpeg").encode()

    def _mask(self, result: Result, head: dict[str, Any]) -> bytes:
        assert result.labels is not None
        height, width = result.labels.shape
        data = result.labels.tobytes()
        return RawImage(**head, width=width, height=height, encoding="mono8", step=width, data=data).encode()

    def _colors(self, result: Result, head: dict[str, Any]) -> bytes:
        lut = mask_colors(self._palette, self._view).reshape(256, 1, 3)
        assert result.labels is not None
        painted = cv2.applyColorMap(result.labels, lut)
        return CompressedImage(**head, data=png(painted), format="png").encode()

    def _areas(self, result: Result, head: dict[str, Any]) -> bytes:
        assert result.areas is not None
        areas = result.areas.round(6).tolist()
        return msgspec.json.encode(dict(zip(self._spec.classes, areas, strict=False)))

    def _refused(self, text: str) -> SinkError:
        place = f"{bracketed(self._host)}:{self._port}"
        if "in use" in text:
            return SinkError(f"Foxglove server: {place} is in use: give another port, as foxglove:{self._port + 1}")
        reason = " ".join(text.removeprefix("FoxgloveError: ").removeprefix("Failed to bind port: ").split())
        return SinkError(f"Foxglove server: cannot listen on {place}: {reason}: give an address of this machine")


class _Greeter(ServerListener):
    """Tells clients that ask for the classes what they are, at once: a frame may be long in coming."""

    def __init__(self, sink: FoxgloveSink) -> None:
        self._sink = sink

    def on_subscribe(self, client: Client, channel: ChannelView) -> None:
        """A client watches a topic from now on."""
        if channel.topic == "/label_info":
            self._sink.tell_classes()


def _object(title: str, properties: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema, by which viewers offer the fields for plots."""
    return {"type": "object", "title": title, "properties": properties}


CLASS = {
    "id": {"type": "integer"},
    "name": {"type": "string"},
    "color": {"type": "string"},
    "hidden": {"type": "boolean"},
}
CLASSES = _object("rtseg.LabelInfo", {"classes": {"type": "array", "items": _object("rtseg.Class", CLASS)}})
STAGES = {"type": "object", "properties": {}, "additionalProperties": NUMBER}
TIMING = _object(
    "rtseg.Timing",
    {"latency_ms": NUMBER, "stages_ms": STAGES, "frame": {"type": "integer"}, "drops": {"type": "integer"}},
)


def _head(frame: Frame, taken: int) -> dict[str, Any]:
    """Time and frame of a message: those of the robot's header where there is one."""
    header = frame.header
    nanoseconds = taken if header is None else header.stamp_ns
    stamp = Timestamp(nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)
    return {"timestamp": stamp, "frame_id": "camera" if header is None else header.frame_id}


def _timing(result: Result, head: dict[str, Any]) -> bytes:
    stages = {name: round(took / 1e6, 3) for name, took in result.stages.items()}
    latency = round(result.latency_ns / 1e6, 3)
    fields = {"latency_ms": latency, "stages_ms": stages, "frame": result.frame.index, "drops": result.drops}
    return msgspec.json.encode(fields)


def _free(host: str, port: int) -> bool:
    """Whether one could listen there."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        return False
    return True
