"""The Foxglove server seen by a WebSocket client of its protocol: what it is sent, and when anything is made at all."""

from __future__ import annotations

import base64
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from websockets.sync.client import ClientConnection, connect

from rtseg.config import RunConfig
from rtseg.drawing.view import View
from rtseg.errors import ConfigError, MissingExtra, SinkError
from rtseg.frame import Frame, Header, Result
from rtseg.pipeline.opening import run_config
from rtseg.sinks import Sink, sink_kind
from tests.sinks.results import colour_bars, free_port, open_to, result

LABELS = np.random.default_rng(0).choice(np.array([0, 1, 2, 255], np.uint8), (48, 64))
AREAS = np.array([0.5, 0.25, 0.125])
STAMP, LOGGED = 1_700_000_000_123_456_789, 1_700_000_001_000_000_007
TOPICS = {"", "/overlay", "/mask", "/colors", "/areas", "/timing"}


class Client:
    """A client of the protocol (foxglove.sdk.v1) that decodes messages by the schemas that the server advertises."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.channels: dict[str, dict[str, Any]] = {}
        self.info = json.loads(connection.recv(timeout=10))

    def wait_for(self, topics: Iterable[str]) -> None:
        """Read what is advertised until all these topics are."""
        while not self.channels.keys() >= set(topics):
            text = self._connection.recv(timeout=10)
            assert isinstance(text, str)
            self._advertised(text)

    def _advertised(self, text: str) -> None:
        self.channels |= {channel["topic"]: channel for channel in json.loads(text)["channels"]}

    def subscribe(self, *topics: str) -> None:
        self.wait_for(topics)
        chosen = [{"id": self.channels[topic]["id"], "channelId": self.channels[topic]["id"]} for topic in topics]
        self._connection.send(json.dumps({"op": "subscribe", "subscriptions": chosen}))

    def unsubscribe(self, *topics: str) -> None:
        ids = [self.channels[topic]["id"] for topic in topics]
        self._connection.send(json.dumps({"op": "unsubscribe", "subscriptionIds": ids}))

    def receive(self) -> tuple[str, int, Any]:
        """The topic, log time and content of the next message."""
        while isinstance(data := self._connection.recv(timeout=10), str):
            self._advertised(data)
        kind, subscription, logged = struct.unpack_from("<BIQ", data)
        assert kind == 1
        channel = next(channel for channel in self.channels.values() if channel["id"] == subscription)
        return channel["topic"], logged, decoded(channel, data[13:])

    def collect(self, count: int) -> dict[str, tuple[int, Any]]:
        """So many messages by topic."""
        return {topic: (logged, content) for topic, logged, content in (self.receive() for _ in range(count))}


def decoded(channel: dict[str, Any], data: bytes) -> Any:
    if channel["encoding"] == "json":
        return json.loads(data)
    files = descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(channel["schema"]))
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(channel["schemaName"])).FromString(data)


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def client_of(port: int) -> Iterator[Client]:
    with connect(f"ws://127.0.0.1:{port}", subprotocols=["foxglove.sdk.v1"]) as connection:  # type: ignore[list-item]
        yield Client(connection)


def until(sink: Sink, wanted: set[str]) -> None:
    """Wait until the server knows what its clients said."""
    end = time.monotonic() + 10
    while sink.wanted != wanted:  # type: ignore[attr-defined]
        assert time.monotonic() < end, f"wanted is {sink.wanted}"  # type: ignore[attr-defined]
        time.sleep(0.005)


def made(topic: str | None = "/front/image", index: int = 0, **fields: Any) -> Result:
    """A result with everything in it, of a robot's message on `topic`."""
    header = None if topic is None else Header(topic, STAMP, "optical", LOGGED)
    frame = Frame(index, time.monotonic_ns(), None, None, colour_bars((48, 64)), header)
    given = {"labels": LABELS, "overlay": frame.image[::-1].copy(), "areas": AREAS, "drops": 3, **fields}
    return Result(frame, t_overlay=frame.t_capture + 12_345_678, stages={"infer": 8_000_000}, **given)


def picture(message: Any) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_a_client_sees_picture_labels_colours_overlay_and_figures(port: int) -> None:
    with open_to(f"foxglove:{port}", view=View(hidden=frozenset({1}))) as sink, client_of(port) as client:
        sink.write(made())
        client.subscribe(*(f"/front/image{name}" for name in TOPICS))
        until(sink, {"labels", "overlay", "areas"})
        sink.write(made())
        seen = {topic.removeprefix("/front/image"): content for topic, content in client.collect(6).items()}
    assert client.info["name"] == "rtseg: toy"
    assert seen.keys() == TOPICS
    assert {logged for logged, _ in seen.values()} == {LOGGED}
    for name in ("", "/overlay", "/mask", "/colors"):
        message = seen[name][1]
        assert message.frame_id == "optical"
        assert message.timestamp.ToNanoseconds() == STAMP
    original = colour_bars((48, 64))
    assert seen[""][1].format == seen["/overlay"][1].format == "jpeg"
    assert np.abs(picture(seen[""][1])[:, 4::11].astype(int) - original[:, 4::11]).max() < 40
    assert np.abs(picture(seen["/overlay"][1]).astype(int) - picture(seen[""][1])[::-1]).mean() < 5
    mask = seen["/mask"][1]
    assert (mask.encoding, mask.width, mask.height, mask.step) == ("mono8", 64, 48, 64)
    assert (np.frombuffer(mask.data, np.uint8).reshape(48, 64) == LABELS).all()
    colors = np.zeros((256, 3), np.uint8)
    colors[0], colors[2] = (0, 0, 200), (200, 0, 0)
    assert (picture(seen["/colors"][1]) == colors[LABELS]).all()
    assert seen["/areas"][1] == {"road": 0.5, "car": 0.25, "sky": 0.125}
    assert seen["/timing"][1] == {"latency_ms": 12.346, "stages_ms": {"infer": 8.0}, "frame": 0, "drops": 3}


def test_json_has_schemas_that_viewers_understand(port: int) -> None:
    """Foxglove offers fields by them; its parser refuses an object without `properties`."""
    with open_to(f"foxglove:{port}") as sink, client_of(port) as client:
        sink.write(made())
        client.wait_for({"/label_info", *(f"/front/image{name}" for name in TOPICS)})
        json_channels = [channel for channel in client.channels.values() if channel["encoding"] == "json"]
    assert sorted(channel["schemaName"] for channel in json_channels) == [
        "rtseg.Areas",
        "rtseg.LabelInfo",
        "rtseg.Timing",
    ]
    schemas = [json.loads(channel["schema"]) for channel in json_channels]
    assert {"road", "latency_ms", "classes"} <= {name for schema in schemas for name in schema["properties"]}
    while schemas:
        schema = schemas.pop()
        assert schema["type"] != "object" or "properties" in schema
        schemas += [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]


def test_quality_is_that_of_the_pictures(port: int) -> None:
    sizes = []
    for quality in (10, 95):
        with open_to(f"foxglove:{port}", quality=quality) as sink, client_of(port) as client:
            sink.write(made())
            client.subscribe("/front/image/overlay")
            until(sink, {"overlay"})
            sink.write(made())
            sizes.append(len(client.receive()[2].data))
    assert 1.5 * sizes[0] < sizes[1]


def test_classes_come_at_once_and_again_when_others_are_hidden(port: int) -> None:
    view = View()
    with open_to(f"foxglove:{port}", view=view) as sink, client_of(port) as client:
        client.subscribe("/label_info")
        assert client.receive()[2]["classes"] == [
            {"id": 0, "name": "road", "color": "#c80000", "hidden": False},
            {"id": 1, "name": "car", "color": "#00c800", "hidden": False},
            {"id": 2, "name": "sky", "color": "#0000c8", "hidden": False},
        ]
        sink.write(made())
        view.hidden = frozenset({2})
        sink.write(made())
        assert [kind["hidden"] for kind in client.receive()[2]["classes"]] == [False, False, True]
        with client_of(port) as late:
            late.subscribe("/label_info")
            assert [kind["name"] for kind in late.receive()[2]["classes"]] == ["road", "car", "sky"]


def test_nothing_is_wanted_until_somebody_watches_and_after_they_left(port: int) -> None:
    with open_to(f"foxglove:{port}") as sink:
        assert sink.threaded
        assert sink.needs == {"overlay", "labels", "areas"}
        sink.write(made(labels=None, overlay=None, areas=None))
        until(sink, set())
        for _ in range(2):
            with client_of(port) as client:
                client.subscribe("/front/image", "/front/image/timing")
                client.subscribe("/front/image/colors")
                until(sink, {"labels"})
                # What nobody asks for is not made, and neither missed nor encoded.
                sink.write(made(overlay=None, areas=None))
                assert client.collect(3).keys() == {f"/front/image{name}" for name in ("", "/timing", "/colors")}
                client.subscribe("/front/image/areas")
                until(sink, {"labels", "areas"})
                client.unsubscribe("/front/image/colors")
                until(sink, {"areas"})
            until(sink, set())


def test_a_part_that_was_not_yet_made_is_left_out(port: int) -> None:
    """A client may come after the result at hand was made without what it asks for."""
    with open_to(f"foxglove:{port}") as sink, client_of(port) as client:
        sink.write(made())
        client.subscribe("/front/image/mask", "/front/image/timing")
        until(sink, {"labels"})
        sink.write(made(index=1, labels=None))
        assert client.receive()[2]["frame"] == 1
        sink.write(made(index=2))
        assert client.collect(2).keys() == {"/front/image/mask", "/front/image/timing"}


def test_a_camera_each(port: int) -> None:
    with open_to(f"foxglove:{port}") as sink, client_of(port) as client:
        sink.write(made("/front/image"))
        sink.write(made("rear"))
        client.subscribe("/front/image/timing", "/rear/timing", "/rear/areas")
        until(sink, {"areas"})
        sink.write(made("/front/image", 1))
        topic, _, timing = client.receive()
        assert (topic, timing["frame"]) == ("/front/image/timing", 1)
        sink.write(made("rear", 2, areas=AREAS / 2))
        assert client.collect(2)["/rear/areas"][1]["road"] == 0.25


def test_log_times_are_the_sources_clock_else_this_machines(port: int) -> None:
    with open_to(f"foxglove:{port}") as sink, client_of(port) as client:
        sink.write(made(None))
        client.subscribe("/camera", "/camera/areas")
        until(sink, {"areas"})
        sink.write(made(None))
        logged, message = client.collect(2)["/camera"]
        assert 0 <= time.time_ns() - logged < 5e9
        assert message.timestamp.ToNanoseconds() == logged
        assert message.frame_id == "camera"
        sink.write(Result(Frame(1, 0, None, 1_700_000_000.5, colour_bars()), None))
        topic, logged, _ = client.receive()
        assert (topic, logged) == ("/camera", 1_700_000_000_500_000_000)


def test_the_port_is_free_afterwards_also_for_clients_that_stay(port: int) -> None:
    for _ in range(3):
        with open_to(f"foxglove:{port}") as sink:
            connection = connect(f"ws://127.0.0.1:{port}", subprotocols=["foxglove.sdk.v1"])  # type: ignore[list-item]
            with connection as staying:
                client = Client(staying)
                sink.write(made())
                client.subscribe("/front/image/timing")
                start = time.monotonic()
                sink.__exit__(None, None, None)
                assert time.monotonic() - start < 2
                with socket.create_server(("127.0.0.1", port)):
                    pass


def test_a_run_that_nobody_watched_ends_well_and_reports_areas_only_if_asked(port: int) -> None:
    config = RunConfig(
        input="synthetic:drive", output=(f"foxglove:{port}",), backend="null", limit=3, source={"size": (48, 64)}
    )
    report = run_config(config)
    assert (report["frames"], report["areas"]) == (3, None)
    report = run_config(msgspec.structs.replace(config, stats=True))
    assert sum(report["areas"].values()) == pytest.approx(1)


def test_strangers_that_knock_on_the_port_are_not_talked_of(port: int) -> None:
    code = (
        "import socket, sys, time; from tests.sinks.results import open_to, result\n"
        f"with open_to('foxglove:{port}') as sink:\n"
        f"    with socket.create_connection(('127.0.0.1', {port}), 5) as stranger:\n"
        "        stranger.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\n"
        "        print(stranger.recv(100))\n"
        "    time.sleep(0.1)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("b''\n", "")


def test_a_port_in_use_and_an_address_of_another_machine(port: int) -> None:
    with open_to(f"foxglove:127.0.0.1:{port}") as first:
        first.write(result(0))
        with pytest.raises(SinkError, match=rf"127.0.0.1:{port} is in use: give another port, as foxglove:{port + 1}$"):
            open_to(f"foxglove:{port}").__enter__()
    with pytest.raises(SinkError, match=r"cannot listen on 192.0.2.7:8765: Cannot assign requested address \(os error"):
        open_to("foxglove:192.0.2.7").__enter__()


@pytest.mark.parametrize("target", ["127.0.0.1:", "a b", "1:2:3", "ws://127.0.0.1:8765", "0", "99999", "host:70000"])
def test_bad_targets(target: str) -> None:
    with pytest.raises(
        ConfigError, match=r"foxglove output 'foxglove:.*'(: write the address as HOST:PORT|: port \d+ is not)"
    ):
        open_to(f"foxglove:{target}")


def test_bad_options_and_the_kind() -> None:
    with pytest.raises(ConfigError, match="image quality 0 is not between 1 and 100"):
        open_to("foxglove:", quality=0)
    assert sink_kind("foxglove:") == ("foxglove", "")
    assert sink_kind("foxglove:0.0.0.0:8765") == ("foxglove", "0.0.0.0:8765")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foxglove", None)
    monkeypatch.delitem(sys.modules, "rtseg.sinks.foxglove", raising=False)
    with pytest.raises(MissingExtra, match=r"sink 'foxglove' needs foxglove: pip install 'rtseg\[foxglove\]'"):
        open_to("foxglove:")
