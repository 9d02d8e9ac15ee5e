"""Rerun: recordings read back by Rerun's own reader, a viewer at work, a page for browsers, and what goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.drawing.view import View
from rtseg.errors import ConfigError, MissingExtra, SinkError, StopRun
from rtseg.frame import Frame, Header, Result
from rtseg.sinks import _rerun_places, _rerun_viewer, sink_kind
from rtseg.sinks._viewers import listening
from tests.sinks.results import colour_bars, free_port, full_disk, open_to

chunks = pytest.importorskip("rerun.chunk", reason="needs a rerun-sdk with a reader, from Python 3.11")

LABELS = np.random.default_rng(0).choice(np.array([0, 1, 2, 255], np.uint8), (48, 64))
AREAS = np.array([0.5, 0.25, 0.125])
LOGGED = 1_700_000_001_000_000_007


def made(index: int, topic: str | None = None, pts: float | None = None, stamp: float | None = None) -> Result:
    """A result with everything in it."""
    header = None if topic is None else Header(topic, 5, "optical", LOGGED + index)
    frame = Frame(index, time.monotonic_ns(), pts, stamp, colour_bars((48, 64)), header)
    overlay = np.ascontiguousarray(frame.image[::-1])
    stages = {"infer": 8_000_000, "labels": 500_000}
    taken = frame.t_capture + 12_500_000
    return Result(frame, (LABELS + index).astype(np.uint8), None, overlay, AREAS / (1 + index), stages, taken, index)


class Recording:
    """The columns of a recording by entity and name; static ones keep their last value."""

    def __init__(self, path: Path, index: int = 0) -> None:
        reader = chunks.RrdReader(path)
        stores = reader.recordings()
        self.blueprints = reader.blueprints()
        self._rows: dict[str, dict[str, list[Any]]] = {}
        for chunk in reader.stream(store=stores[index]):
            batch = chunk.to_record_batch()
            columns = self._rows.setdefault(chunk.entity_path, {})
            for field in batch.schema:
                kind = str(field.type)
                column = batch.column(field.name)
                values = column.cast("int64").to_pylist() if kind.endswith("[ns]") else column.to_pylist()
                columns.setdefault(field.name, []).extend(values)

    def __call__(self, entity: str, name: str) -> list[Any]:
        return self._rows[entity][name]

    @property
    def entities(self) -> set[str]:
        return {entity for entity in self._rows if not entity.startswith("/__")}

    def picture(self, entity: str, row: int) -> np.ndarray:
        data = np.array(self(entity, "EncodedImage:blob")[row][0], np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR)

    def classes(self, change: int = 0) -> dict[int, tuple[str, int]]:
        """Label and 0xRRGGBBAA of each id."""
        described = [entry["class_description"]["info"] for entry in self("/", "AnnotationContext:context")[change][0]]
        return {info["id"]: (info["label"], info["color"]) for info in described}


def record(path: Path, *results: Result, view: View | None = None, **options: Any) -> Recording:
    with open_to(f"rerun:{path}", view=view, **options) as sink:
        for result in results:
            sink.write(result)
    return Recording(path)


@pytest.fixture
def seen(tmp_path: Path) -> Recording:
    view = View(alpha=0.25, hidden=frozenset({1}))
    return record(
        tmp_path / "run.rrd", *(made(index, pts=index / 25, stamp=100.5 + index) for index in range(3)), view=view
    )


def test_ids_bit_for_bit_with_names_colours_and_opacity(seen: Recording) -> None:
    ids = np.array(seen("/camera/mask", "SegmentationImage:buffer"), np.uint8).reshape(3, 48, 64)
    assert all((ids[index] == (LABELS + index).astype(np.uint8)).all() for index in range(3))
    shape = seen("/camera/mask", "SegmentationImage:format")[0][0]
    assert (shape["width"], shape["height"]) == (64, 48)
    assert [value for (value,) in seen("/camera/mask", "SegmentationImage:opacity")] == [0.25] * 3
    assert seen.classes() == {
        0: ("road", 0xC80000FF),
        1: ("car", 0x00C80000),  # hidden
        2: ("sky", 0x0000C8FF),
        255: ("unlabelled", 0x00000000 | seen.classes()[255][1]),
    }
    assert seen.classes()[255][1] & 0xFF == 0


def test_pictures_and_figures(seen: Recording) -> None:
    original = colour_bars((48, 64))
    assert np.abs(seen.picture("/camera", 2)[:, 4::11].astype(int) - original[:, 4::11]).max() < 40
    assert np.abs(seen.picture("/camera/overlay", 2).astype(int) - original[::-1]).mean() < 12
    assert seen("/camera/areas", "Scalars:scalars")[1] == [0.25, 0.125, 0.0625]
    assert seen("/camera/areas", "SeriesLines:names") == [["road", "car", "sky"]]
    assert seen("/camera/areas", "SeriesLines:colors") == [[0xC80000FF, 0x00C800FF, 0x0000C8FF]]
    assert seen("/camera/timing", "Scalars:scalars")[0] == [12.5, 8.0, 0.5]
    assert seen("/camera/timing", "SeriesLines:names") == [["latency", "infer", "labels"]]
    assert seen("/camera/drops", "Scalars:scalars") == [[0.0], [1.0], [2.0]]
    assert len(seen.blueprints) == 1


def test_timelines(seen: Recording) -> None:
    for entity in ("/camera", "/camera/mask", "/camera/areas"):
        assert seen(entity, "frame") == [0, 1, 2]
        assert seen(entity, "time") == [100_500_000_000, 101_500_000_000, 102_500_000_000]
        assert seen(entity, "pts") == [0, 40_000_000, 80_000_000]


def test_a_robots_log_time_and_a_camera_each(tmp_path: Path) -> None:
    seen = record(tmp_path / "two.rrd", made(0, "/front/image raw"), made(1, "rear"), made(2, "/front/image raw"))
    names = ("", "/areas", "/drops", "/mask", "/overlay", "/timing")
    assert seen.entities == {"/"} | {f"{camera}{name}" for camera in (r"/front/image\ raw", "/rear") for name in names}
    assert seen(r"/front/image\ raw", "time") == [LOGGED, LOGGED + 2]
    assert seen("/rear", "time") == [LOGGED + 1]
    assert seen("/rear/areas", "Scalars:scalars") == [[0.25, 0.125, 0.0625]]
    assert len(chunks.RrdReader(tmp_path / "two.rrd").blueprints()) == 2  # a new arrangement for the second camera


def test_this_machines_clock_where_the_source_has_none(tmp_path: Path) -> None:
    seen = record(tmp_path / "now.rrd", made(0))
    assert abs(seen("/camera", "time")[0] - time.time_ns()) < 5e9
    with pytest.raises(KeyError):
        seen("/camera", "pts")


def test_classes_are_logged_again_when_others_are_hidden(tmp_path: Path) -> None:
    view = View()
    with open_to(f"rerun:{tmp_path}/x.rrd", view=view) as sink:
        for index, hidden in enumerate(((), (), (0,))):
            view.hidden = frozenset(hidden)
            sink.write(made(index))
    seen = Recording(tmp_path / "x.rrd")
    assert len(seen("/", "AnnotationContext:context")) == 2
    assert [seen.classes(change)[0] for change in (0, 1)] == [("road", 0xC80000FF), ("road", 0xC8000000)]


def test_quality_is_that_of_the_pictures(tmp_path: Path) -> None:
    sizes = []
    for quality in (10, 95):
        seen = record(tmp_path / f"{quality}.rrd", made(0), quality=quality)
        sizes.append(len(seen("/camera", "EncodedImage:blob")[0][0]))
    assert 1.5 * sizes[0] < sizes[1]


def test_a_recording_has_its_name_when_it_is_whole_also_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.rrd"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), open_to(f"rerun:{path}") as sink:
        sink.write(made(0))
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert Recording(path)("/camera", "frame") == [0]
    assert [file.name for file in tmp_path.iterdir()] == ["run.rrd"]


def test_where_pipes_have_no_names_rerun_writes_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_rerun_places, "FD_FILES", False)
    with open_to(f"rerun:{tmp_path}/run.rrd") as sink:
        sink.write(made(0))
        assert not (tmp_path / "run.rrd").exists()
    assert Recording(tmp_path / "run.rrd")("/camera", "frame") == [0]
    assert [file.name for file in tmp_path.iterdir()] == ["run.rrd"]


def test_a_full_disk_ends_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    with full_disk(tmp_path / "tiny", "100k") as folder:
        full = pytest.raises(SinkError, match=r"cannot write .*run.rrd: the disk is full")
        with full, open_to(f"rerun:{folder}/run.rrd") as sink:
            for index in range(200):
                sink.write(made(index))
        assert not list(folder.iterdir())


def test_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"there is no folder .*/none: create it first"):
        open_to(f"rerun:{tmp_path}/none/x.rrd").__enter__()
    (tmp_path / "folder.rrd").mkdir()
    with pytest.raises(SinkError, match="it is a folder: give the name of a file"):
        open_to(f"rerun:{tmp_path}/folder.rrd").__enter__()


@contextmanager
def viewer(*flags: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Rerun's own program, listening."""
    port = free_port()
    process = _rerun_viewer.start("127.0.0.1", port, list(flags))
    try:
        yield port, process
    finally:
        process.send_signal(signal.SIGCONT)
        _rerun_viewer.stop(process)


@pytest.mark.filterwarnings("ignore:RRD file has no footer")  # of a viewer that was interrupted
def test_a_viewer_that_is_open_gets_everything(tmp_path: Path) -> None:
    with viewer("--save", str(tmp_path / "got.rrd")) as (port, process):
        for index in range(2):  # a second run finds the same viewer
            with open_to(f"rerun:{port}") as sink:
                sink.write(made(index))
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert len(chunks.RrdReader(tmp_path / "got.rrd").recordings()) == 2
    assert sorted(Recording(tmp_path / "got.rrd", run)("/camera", "frame")[0] for run in range(2)) == [0, 1]


def test_a_viewer_that_goes_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rerun_places, "CHECK_SECONDS", 0.0)
    with viewer("--serve-grpc") as (port, process):
        monkeypatch.setattr(_rerun_places, "VIEWER_PORT", port)
        with open_to(f"rerun:127.0.0.1:{port}") as sink, open_to("rerun:") as local:
            sink.write(made(0))
            local.write(made(0))
            process.kill()
            process.wait()
            with pytest.raises(SinkError, match=rf"Rerun viewer at 127.0.0.1:{port}: it was closed, or the network"):
                sink.write(made(1))
            with pytest.raises(StopRun, match="the Rerun viewer was closed"):
                local.write(made(1))


def test_a_lost_viewer_is_one_line_and_nothing_from_rerun() -> None:
    code = (
        "import time\n"
        "from tests.sinks.results import open_to\n"
        "from tests.sinks.test_rerun import SinkError, _rerun_places, made, viewer\n"
        "_rerun_places.CHECK_SECONDS = 0\n"
        "with viewer('--serve-grpc') as (port, process):\n"
        "    try:\n"
        "        with open_to(f'rerun:{port}') as sink:\n"
        "            for index in range(100):\n"
        "                sink.write(made(index)); time.sleep(0.01)\n"
        "                if index == 3: process.kill(); process.wait()\n"
        "    except SinkError as error:\n"
        "        print(index, error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    quiet = {name: value for name, value in os.environ.items() if name != "RUST_LOG"}
    code = "import rtseg.sinks.rerun\n" + code
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=quiet, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("4 Rerun viewer at 127.0.0.1:")


def test_a_viewer_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rerun_places, "FLUSH_SECONDS", 0.5)
    with viewer("--serve-grpc") as (port, process):
        sink = open_to(f"rerun:{port}").__enter__()
        sink.write(made(0))
        process.send_signal(signal.SIGSTOP)
        for index in range(20):
            sink.write(made(index))
        start = time.monotonic()
        with pytest.raises(SinkError, match=r"it did not take what was left to send within 0 s"):
            sink.__exit__(None, None, None)
        assert time.monotonic() - start < 5


def test_no_viewer_there() -> None:
    port = free_port()
    with pytest.raises(SinkError, match=rf"no Rerun viewer answers at 127.0.0.1:{port}: start one there: rerun --port"):
        open_to(f"rerun:{port}").__enter__()


def test_a_page_for_browsers_that_ends_with_the_run() -> None:
    port = free_port()
    for _ in range(2):
        with open_to(f"rerun:web:{port}") as sink:
            sink.write(made(0))
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
                assert b"Rerun" in page.read()
            assert listening("127.0.0.1", port + 1)
            with pytest.raises(SinkError, match=rf"127.0.0.1:{port} is in use: give another, as rerun:web:{port + 10}"):
                open_to(f"rerun:web:{port}").__enter__()
        assert not listening("127.0.0.1", port)
        assert not listening("127.0.0.1", port + 1)


def test_a_window_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rerun_places, "VIEWER_PORT", free_port())
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SinkError, match=r"there is no screen here: use rerun:out.rrd or rerun:web"):
        open_to("rerun:").__enter__()


@pytest.mark.parametrize("target", ["out.mp4:", "http://127.0.0.1:9876", "a b", "web:0", "127.0.0.1:99999"])
def test_bad_targets(target: str) -> None:
    with pytest.raises(ConfigError, match=r"Rerun output 'rerun:.*': (use a file.rrd|port \d+ is not between)"):
        open_to(f"rerun:{target}")


def test_bad_options_and_the_kind() -> None:
    with pytest.raises(ConfigError, match="image quality 101 is not between 1 and 100"):
        open_to("rerun:x.rrd", quality=101)
    assert sink_kind("rerun:out.rrd") == ("rerun", "out.rrd")
    assert open_to("rerun:x.rrd").needs == {"overlay", "labels", "areas"}


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    monkeypatch.delitem(sys.modules, "rtseg.sinks.rerun", raising=False)
    with pytest.raises(MissingExtra, match=r"sink 'rerun' needs rerun: pip install 'rtseg\[rerun\]'"):
        open_to("rerun:")


def test_the_environment_is_left_as_it_was() -> None:
    assert "RUST_LOG" not in os.environ
