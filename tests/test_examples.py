"""The programs in examples/ do what they say, run as a user runs them or called from here."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

import rtseg
from rtseg.sources.synthetic import SyntheticSource
from tests.media import number_of
from tests.ros.processes import Process
from tests.sources.rtsp_server import RtspServer
from tests.tool_modules import tool_modules

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb"))
NULL: dict[str, Any] = {"model": "", "backend": "null"}
SCENE = SyntheticSource("drive", size=(90, 160)).scene
IMAGES = [SCENE.render(index)[0] for index in (0, 40, 80, 120)]


@pytest.fixture(scope="module")
def example() -> Iterator[Callable[[str], ModuleType]]:
    with tool_modules(EXAMPLES) as imported:
        yield imported


@pytest.fixture(scope="module")
def segment() -> Iterator[rtseg.Segmenter]:
    with rtseg.Segmenter() as opened:
        yield opened


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of images, the tenth after the second."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in zip((1, 2, 10, 11), IMAGES, strict=True):
        assert cv2.imwrite(str(folder / f"img{number}.png"), image)
    return folder


def command(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`python examples/…`, which has to end with `code` and without a traceback."""
    done = subprocess.run(
        [sys.executable, f"examples/{words[0]}", *map(str, words[1:])], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_in_the_table_and_says_how_to_run_it(name: str) -> None:
    assert f"[{name}]({name})" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    if name.endswith(".py"):
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert f"python examples/{name}" in text.split('"""')[1]
        assert len(text.splitlines()) <= 95


def test_webcam_with_a_source_and_output_of_its_own(tmp_path: Path) -> None:
    done = command("webcam.py", "synthetic:drive", "--output", tmp_path / "out.mp4", "--limit", 3)
    assert re.fullmatch(
        r"3 frames at [\d.]+ per second, 0 dropped; from capture to overlay [\d.]+ ms in the median\n", done.stdout
    )
    written = pictures(tmp_path / "out.mp4")
    assert len(written) == 3 and written[0].shape == (720, 1280, 3)
    original = SyntheticSource("drive").render(0)[0]
    assert np.abs(written[0].astype(int) - original).mean() > 5, "nothing is drawn over it"
    failed = command("webcam.py", "camera:77", "--output", "null:", code=1)
    assert failed.stderr.startswith("webcam: camera /dev/video77 ") and failed.stderr.count("\n") == 1


def test_the_recorder_goes_on_after_a_hang_up_and_begins_a_file_each_period(
    example: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    recorder = example("rtsp_recorder")
    recorder.PERIODS["second"] = "%H:%M:%S"
    options = {"reconnect": 1, "backoff_limit": 0.2}
    with RtspServer(40, connections=2) as server, pytest.raises(rtseg.SourceError, match="gave up after 1 attempt"):
        recorder.record(server.url, tmp_path / "new", "second", options=options, policy="wait", alpha=0.0, **NULL)
    files = sorted((tmp_path / "new").iterdir())
    assert len(files) >= 2 and all(re.fullmatch(r"\d{4}-\d\d-\d\d_\d{6}\.mp4", path.name) for path in files)
    numbers = [number_of(picture) for path in files for picture in pictures(path)]
    assert numbers == [*range(40), *range(40)]


def test_the_recorder_leaves_a_playable_file_on_sigterm(tmp_path: Path) -> None:
    with RtspServer(40, end="stall") as server:
        words = ["examples/rtsp_recorder.py", server.url, str(tmp_path)]
        with Process(words, dict(os.environ)) as recorder:
            recorder.wait_until(lambda: next(tmp_path.iterdir(), None), "file")
            assert recorder.stop(signal.SIGTERM) == 0, recorder.written()
            assert recorder.stdout == [f"the last file in {tmp_path} is complete"]
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".mp4" and len(pictures(path)) >= 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools' own decode
def test_coco_reads_back_as_the_labels(photos: Path, tmp_path: Path, segment: rtseg.Segmenter) -> None:
    done = command("masks_to_coco.py", photos, tmp_path / "labels.json")
    coco = COCO(str(tmp_path / "labels.json"))
    assert f"4 images, {len(coco.anns)} masks" in done.stdout
    assert [coco.imgs[number]["file_name"] for number in (1, 2, 3, 4)] == [
        "img1.png", "img2.png", "img10.png", "img11.png"
    ]  # fmt: skip
    assert tuple(each["name"] for each in coco.loadCats(coco.getCatIds())) == segment.spec.classes
    for number, image in enumerate(IMAGES, 1):
        labels = np.full(image.shape[:2], 255, np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=number)):
            inside = coco.annToMask(annotation).astype(bool)
            assert (labels[inside] == 255).all() and annotation["area"] == inside.sum()
            rows, columns = np.nonzero(inside)
            left, top, width, height = annotation["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
            labels[inside] = annotation["category_id"] - 1
        np.testing.assert_array_equal(labels, segment(image))
    (photos / "img3.png").write_bytes(b"no image")
    failed = command("masks_to_coco.py", photos, tmp_path / "none.json", code=1)
    assert "img3.png cannot be decoded" in failed.stderr and not (tmp_path / "none.json").exists()


def test_a_folder_becomes_label_pictures_and_a_table(photos: Path, tmp_path: Path, segment: rtseg.Segmenter) -> None:
    (photos / "img3.png").write_bytes(b"no image")
    out = tmp_path / "labels"
    done = command("batch_folder.py", photos, out)
    assert done.stdout == f"4 images labelled in {out}\n" and "img3.png cannot be decoded" in done.stderr
    header, *rows = csv.reader((out / "shares.csv").read_text(encoding="utf-8").splitlines())
    assert header == ["file", *segment.spec.classes]
    assert [row[0] for row in rows] == ["img1.png", "img2.png", "img10.png", "img11.png"]
    for row, image in zip(rows, IMAGES, strict=True):
        labels = cv2.imread(str(out / row[0]), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(labels, segment(image))
        shares = np.bincount(labels.ravel(), minlength=11) / labels.size
        np.testing.assert_allclose([float(share) for share in row[1:]], shares, atol=1e-6)
    failed = command("batch_folder.py", photos, photos, code=1)
    assert "would overwrite the images" in failed.stderr
    assert cv2.imwrite(str(photos / "img2.jpg"), IMAGES[1])
    assert "two images of" in command("batch_folder.py", photos, tmp_path / "more", code=1).stderr


def test_the_sink_tells_when_a_class_comes_and_goes(
    example: Callable[[str], ModuleType], segment: rtseg.Segmenter
) -> None:
    clip = [IMAGES[0], IMAGES[1], np.zeros_like(IMAGES[0]), IMAGES[2]]
    shares = []
    for image in clip:
        areas = segment.result(image, needs="areas").areas
        assert areas is not None
        shares.append(float(areas[segment.spec.class_id("Road")]))
    limit = float(np.mean([min(shares), max(shares)]))
    expected, on = [], False
    for index, share in enumerate(shares):
        if (share >= limit) != on:
            on = not on
            expected.append(f"frame {index}: Road {'in sight' if on else 'gone'} ({share:.1%})")
    alarm = example("custom_sink").Alarm("Road", limit)
    assert rtseg.run(clip, alarm)["frames"] == 4
    assert alarm.lines == expected and len(expected) == 3
    with pytest.raises(rtseg.ConfigError, match="there is no class 'Raod': choose one of Sky"):
        rtseg.run(clip, example("custom_sink").Alarm("Raod", 0.1))


def test_the_source_hands_over_what_the_camera_called_back_with(example: Callable[[str], ModuleType]) -> None:
    module = example("custom_source")
    camera = module.DrawingCamera()
    stream = rtseg.stream(module.CallbackSource(camera), limit=8, **NULL)
    indices = []
    for result in stream:
        left = int(np.flatnonzero(result.frame.image[100, :, 0] == 60)[0])
        assert left == 4 * result.frame.index % 260
        indices.append(result.frame.index)
    assert len(indices) == 8 and np.diff(indices).min() > 0
    stream.close()
    assert not camera._thread.is_alive()


def test_the_queue_gives_the_newest_result_and_then_the_end(example: Callable[[str], ModuleType]) -> None:
    module = example("depthai_style")
    with module.ResultQueue(IMAGES, **NULL) as results:
        results._thread.join(60)
        assert results.get().frame.index == 3  # the others gave way to it
        assert results.get() is None and results.try_get() is None
    with module.ResultQueue("synthetic:drive", options={"size": (48, 64), "length": 0}, **NULL) as results:
        seen = [results.get().frame.index for _ in range(5)]
        assert np.diff(seen).min() > 0
    assert not results._thread.is_alive()
    with module.ResultQueue("no/such.mp4", **NULL) as results, pytest.raises(rtseg.SourceError, match=r"no/such\.mp4"):
        results.get()


def test_two_models_side_by_side(example: Callable[[str], ModuleType], tmp_path: Path) -> None:
    names = ("unet-fast0-camvid", "unet-lite2-camvid")
    clip = tmp_path / "two.mp4"
    agreement = example("two_models").compare(IMAGES, str(clip), *names, short_side=96)
    with rtseg.Segmenter(names[0], short_side=96) as left, rtseg.Segmenter(names[1], short_side=96) as right:
        labels = [(left(image), right(image)) for image in IMAGES]
        assert agreement == pytest.approx([(one == two).mean() for one, two in labels])
        written = pictures(clip)
        assert len(written) == 4 and written[0].shape == (90, 320, 3)
        for picture, image, (one, two) in zip(written, IMAGES, labels, strict=True):
            drawn = np.hstack([rtseg.draw(image, one, left.spec), rtseg.draw(image, two, right.spec)])
            assert cv2.PSNR(picture, drawn) > 25
