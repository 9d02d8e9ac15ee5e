"""The command line as a user meets it: whole runs, exit codes, bad input in one line, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from rtseg import registry
from rtseg.cli.flags import RENAMED, SINK_FLAGS, SOURCE_FLAGS
from rtseg.cli.main import main
from tests.media import write_audio, write_clip, write_images
from tests.sources.rtsp_server import RtspServer

MODEL = "unet-fast0-camvid"
QUICK = ["--short-side", "64", "--backend", "openvino"]


def run(*words: str | Path) -> int:
    return main(["run", *map(str, words)])


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [round(float(frame.pts * frame.time_base), 6) for frame in container.decode(video=0)]


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that starts with `rtseg: error:`; there must be exactly one, and no traceback."""
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("rtseg: error: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0].removeprefix("rtseg: error: ")


def test_a_clip_becomes_an_overlaid_clip_and_a_report(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "drive.mp4", 12, (90, 160), pts=[i / 10 + (i % 3) / 100 for i in range(12)])
    out = tmp_path / "out.mp4"
    assert run(clip, out, "--hud", "--legend", *QUICK) == 0
    assert times(out) == times(clip)
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["outcome"] == "done"
    assert (report["frames"], report["drops"]["total"]) == (12, 0)
    assert report["model"]["name"] == MODEL
    assert set(report["latency"]["stages_ms"]) == {"capture", "preprocess", "infer", "labels", "render", "sink"}
    assert all(row["samples"] == 12 for row in report["latency"]["stages_ms"].values())


def test_several_outputs_at_once(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "drive.mp4", 5, (90, 160))
    outputs = [tmp_path / "o.mp4", f"labels:{tmp_path}/ids/%04d.png", tmp_path / "s.jsonl"]
    assert run(clip, *outputs, "--stats", *QUICK) == 0
    assert len(times(tmp_path / "o.mp4")) == 5
    ids = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((tmp_path / "ids").iterdir())]
    assert [image.shape for image in ids] == [(90, 160)] * 5
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(5))
    for row, image in zip(rows, ids, strict=True):
        assert sum(row["areas"].values()) == pytest.approx(1, abs=1e-4)
        assert row["areas"]["Road"] == pytest.approx((image == 3).mean(), abs=1e-4)


def labels_of(clip: Path, folder: Path, *flags: str) -> list[np.ndarray]:
    assert run(clip, f"labels:{folder}/%04d.png", *QUICK, "--precision", "fp32", *flags) == 0
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.iterdir())]


def test_labels_are_identical_between_runs_and_between_one_and_two_threads(tmp_path: Path) -> None:
    images = [np.random.default_rng(i).integers(0, 255, (91, 161, 3), np.uint8) for i in range(4)]
    clip = write_clip(
        tmp_path / "c.mkv", [cv2.GaussianBlur(i, (0, 0), 5) for i in images], codec="ffv1", pix_fmt="bgr0"
    )
    first = labels_of(clip, tmp_path / "a")
    assert len(first) == 4
    assert len(np.unique(first)) > 1
    np.testing.assert_array_equal(first, labels_of(clip, tmp_path / "b"))
    np.testing.assert_array_equal(first, labels_of(clip, tmp_path / "c", "--threads", "1"))


def test_an_ignored_class_cannot_win(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 2, (90, 160))
    before = labels_of(clip, tmp_path / "a")
    winner = int(np.bincount(before[0].ravel()).argmax())
    after = labels_of(clip, tmp_path / "b", "--ignore-class", str(winner))
    assert (before[0] == winner).any()
    assert not (after[0] == winner).any()


def test_every_option_of_a_source_or_sink_has_a_flag() -> None:
    known = {RENAMED.get(flag[2:].replace("-", "_"), flag[2:].replace("-", "_")) for flag, *_ in SOURCE_FLAGS}
    for name in registry.SOURCES:
        assert set(registry.option_names(registry.load(registry.SOURCES, name, "source"))) <= known
    known = {RENAMED.get(flag[2:].replace("-", "_"), flag[2:].replace("-", "_")) for flag, *_ in SINK_FLAGS}
    known |= {"content", "needs"}  # chosen by the prefix of the output; only for measuring
    for name in registry.SINKS:
        assert set(registry.option_names(registry.load(registry.SINKS, name, "sink"))) <= known


def test_a_live_scene_keeps_the_newest_frame(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    words = ["--live", "yes", "--length", "20", "--input-rate", "60", "--input-size", "48x64", "--report", report]
    assert run("synthetic:shapes", "null:", *words, *QUICK) == 0
    result = json.loads(report.read_text())
    assert (result["input"]["live"], result["policy"]) == (True, "latest")
    assert result["frames"] + result["drops"]["capture"] + result["drops"]["while_starting"] == 20


def test_json_prints_the_report_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("synthetic:shapes", "null:", "--limit", "3", "--json", *QUICK) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["frames"] == 3
    assert captured.err == ""


def test_a_pipeline_file_with_flags_on_top(tmp_path: Path) -> None:
    config = tmp_path / "p.yaml"
    config.write_text("input: synthetic:drive\noutput: ['null:']\nlimit: 9\nshort_side: 64\nsource: {size: 48x64}\n")
    report = tmp_path / "r.json"
    assert main(["run", "--config", str(config), "--limit", "2", "--report", str(report)]) == 0
    result = json.loads(report.read_text())
    assert (result["frames"], result["input"]["size"]) == (2, [48, 64])


def test_images_of_mixed_sizes_each_keep_their_own(tmp_path: Path) -> None:
    write_images(tmp_path / "in", ["a1.png", "a10.png"], (64, 96))
    write_images(tmp_path / "in", ["a2.png"], (80, 70))
    assert run(tmp_path / "in", f"labels:{tmp_path}/out/%02d.png", *QUICK) == 0
    sizes = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape for path in sorted((tmp_path / "out").iterdir())]
    assert sizes == [(64, 96), (80, 70), (64, 96)]


# ---- bad input: one line, exit 1, nothing under the final name


def missing(folder: Path) -> tuple[str, str]:
    return str(folder / "none.mp4"), "none.mp4 does not exist"


def empty(folder: Path) -> tuple[str, str]:
    (folder / "empty.mp4").touch()
    return str(folder / "empty.mp4"), "empty.mp4 is empty"


def text(folder: Path) -> tuple[str, str]:
    (folder / "text.mp4").write_text("not a video\n" * 100)
    return str(folder / "text.mp4"), "not a readable video"


def audio(folder: Path) -> tuple[str, str]:
    return str(write_audio(folder / "song.mp4")), "no video track"


def headless_mp4(folder: Path) -> tuple[str, str]:
    whole = write_clip(folder / "whole.mp4", 30).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # the index is at the end, so it is lost
    return str(folder / "cut.mp4"), "not a readable video"


def empty_folder(folder: Path) -> tuple[str, str]:
    (folder / "pictures").mkdir()
    return str(folder / "pictures"), "pictures"


def empty_image(folder: Path) -> tuple[str, str]:
    write_images(folder / "pictures", ["1.png", "2.png"])
    (folder / "pictures" / "2.png").write_bytes(b"")
    return str(folder / "pictures"), "2.png"


def no_camera(folder: Path) -> tuple[str, str]:
    return "camera:97", "97"


def no_scene(folder: Path) -> tuple[str, str]:
    return "synthetic:moon", "moon"


@pytest.mark.parametrize(
    "case",
    [missing, empty, text, audio, headless_mp4, empty_folder, no_camera, no_scene],
    ids=lambda case: case.__name__,
)
def test_input_that_cannot_be_read(case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    uri, message = case(tmp_path)
    out = tmp_path / "result" / "out.mp4"
    out.parent.mkdir()
    assert run(uri, out, *QUICK) == 1
    assert message in error_line(capsys)
    assert list(out.parent.iterdir()) == []


def test_a_zero_size_image_in_a_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri, message = empty_image(tmp_path)
    assert run(uri, f"{tmp_path}/out/%02d.png", *QUICK) == 1
    assert message in error_line(capsys)


def test_a_truncated_clip_is_processed_up_to_the_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(60)]  # noise, so that pictures are most of it
    clip = write_clip(tmp_path / "whole.mp4", images, container_options={"movflags": "faststart"})
    data = clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * 0.6)])
    out = tmp_path / "out.mp4"
    assert run(cut, out, *QUICK) == 1
    assert "cut.mp4" in error_line(capsys)
    kept = times(out)
    assert 5 < len(kept) < 60
    assert kept == times(clip)[: len(kept)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ignore-class", "Raod"], "no class 'Raod' in model unet-fast0-camvid: did you mean 'Road'?"),
        (["--hide-class", "Cra"], "no class 'Cra' in model unet-fast0-camvid: did you mean 'Car'?"),
        (["--backend", "openvno"], "unknown backend 'openvno': did you mean 'openvino'?"),
        (["--model", "unet-fast0-camvit"], "no model 'unet-fast0-camvit': did you mean 'unet-fast0-camvid'?"),
        (["--model", "none.onnx"], "model file not found: none.onnx"),
        (["--visualize", "overlya"], "unknown view 'overlya': did you mean 'overlay'?"),
        (["--policy", "newest"], "unknown policy 'newest'"),
        (["--size", "100x200"], "size 100x200 does not suit model unet-fast0-camvid"),
        (["--codec", "h266x"], "h266x"),
        (["--transport", "tcp"], "option 'transport' does not apply to file input"),
        (["--alpha", "7"], "alpha is 7.0, expected 0 to 1"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_flags_that_do_not_fit(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "c.mp4", 2)
    out = tmp_path / "result" / "out.mp4"
    out.parent.mkdir()
    assert run(clip, out, *flags) == 1
    assert message in error_line(capsys)
    assert list(out.parent.iterdir()) == []


def test_a_model_that_is_not_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_text("weights\n" * 50)
    assert run("synthetic:drive", "null:", "--model", tmp_path / "m.onnx") == 1
    assert "m.onnx" in error_line(capsys)


def test_yaml_with_a_wrong_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.yaml").write_text("input: synthetic:drive\nmodle: x\n")
    assert main(["run", "--config", str(tmp_path / "p.yaml")]) == 1
    assert "unknown key 'modle': did you mean 'model'?" in error_line(capsys)


def test_an_output_of_unknown_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("synthetic:drive", "out.mp5") == 1
    line = error_line(capsys)
    assert "cannot tell what to write from output 'out.mp5': did you mean '.mp4'?" in line
    assert "ros:, bag:, null:" in line


def test_an_output_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("synthetic:drive", tmp_path / "no" / "out.mp4", *QUICK) == 1
    assert "no" in error_line(capsys)


def test_no_input_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 1
    assert "nothing to run" in error_line(capsys)
    with pytest.raises(SystemExit) as stop:
        main(["run", "a.mp4", "--alpha", "dark"])
    assert stop.value.code == 2


def test_help_names_every_value_as_a_person_would(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    assert "SOURCE_" not in text and "SINK_" not in text
    assert "--start SECONDS" in text and "--bitrate RATE" in text
    assert text.startswith("usage: rtseg run [options] INPUT [OUTPUT ...]\n")


def test_a_bit_rate_with_a_unit(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 2)
    assert run(clip, tmp_path / "o.mp4", "--bitrate", "800k", *QUICK) == 0
    assert len(times(tmp_path / "o.mp4")) == 2


def test_long_lines_of_the_log_are_not_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "c.mp4", 2, (65, 97), codec="libx264", pix_fmt="yuv444p")
    out = tmp_path / ("long" * 20 + ".mp4")
    assert run(clip, out, *QUICK) == 0
    line = f"{out}: 65x97 extended to even sides, as yuv420p needs"
    assert line in capsys.readouterr().err.splitlines()


def test_ctrl_c_while_flags_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(text: str) -> tuple[int, int]:
        raise KeyboardInterrupt

    monkeypatch.setattr("rtseg.cli.flags.parse_size", interrupted)
    assert run("synthetic:drive", "null:", "--input-size", "48x64") == 130


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["a.mp4", "./a.mp4"], "output './a.mp4' is given twice"),
        (["x/%d.png", "labels:x/%d.png"], "output 'labels:x/%d.png' is given twice"),
        (["a.jsonl", "--crf", "20"], "option 'crf' does not apply to any output (a.jsonl)"),
        (["a.mp4", "--report", "none/r.json"], "cannot write report none/r.json: there is no folder none"),
        (["a.mp4", "--report", "."], "cannot write report .: it is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_outputs_are_checked_before_the_input_is_opened(
    outputs: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("camera:97", *outputs) == 1
    assert message in error_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_preset_that_is_not_one_is_told_in_plain_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "c.mp4", 2)
    assert run(clip, tmp_path / "o.mp4", "--preset", "foo", *QUICK) == 1
    line = error_line(capsys)
    assert line.endswith("o.mp4 with encoder libx264: invalid argument: try another codec or suffix")
    assert [path.name for path in tmp_path.iterdir()] == ["c.mp4"]


def test_a_permission_that_is_missing(tmp_path: Path) -> None:
    """In a process of its own that gave up root's right to read everything."""
    clip = write_clip(tmp_path / "c.mp4", 2)
    clip.chmod(0)
    command = [sys.executable, "-m", "rtseg", "run", str(clip), "null:", "--backend", "null"]
    if os.getuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv to give up root's rights")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "cannot be read: permission denied" in done.stderr


def test_a_stream_that_never_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://user:secret@127.0.0.1:{server.getsockname()[1]}/live"
        assert run(url, out, "--open-timeout", "0.5", "--reconnect", "0", *QUICK) == 1
    line = error_line(capsys)
    assert "no data for 0.5 s" in line
    assert "secret" not in line
    assert not out.exists()


def test_a_stream_that_stops_leaves_what_came_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    with RtspServer(40, end="stall") as server:
        assert run(server.url, out, "--read-timeout", "0.5", "--reconnect", "0", *QUICK) == 1
    assert "no data for 0.5 s" in error_line(capsys)
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["outcome"] == "source failed"
    assert len(times(out)) == report["frames"] > 0


def test_a_full_disk_leaves_nothing_under_the_final_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        assert run("synthetic:drive", disk / "out.mp4", "--length", "60", "--crf", "1", *QUICK) == 1
        assert "the disk is full" in error_line(capsys)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ---- signals, in real processes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_playable_file(number: signal.Signals, code: int, tmp_path: Path) -> None:
    out, stats = tmp_path / "out.mp4", tmp_path / "s.jsonl"
    words = ["run", "synthetic:drive", str(out), str(stats), "--length", "0", "--input-size", "90x160", *QUICK]
    process = subprocess.Popen([sys.executable, "-m", "rtseg", *words], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (stats.exists() and len(stats.read_text().splitlines()) > 20) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(number)
        _, text = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, text
    assert "Traceback" not in text
    assert len(times(out)) > 20
    assert json.loads((tmp_path / "out.report.json").read_text())["outcome"] in ("interrupted", "terminated")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
