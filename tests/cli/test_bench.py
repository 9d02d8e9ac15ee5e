"""`rtseg bench` as a user meets it: tables, JSON, comparisons, searches, and bad input in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rtseg.bench.benchmark import SCHEMA
from rtseg.cli import bench as bench_command
from rtseg.cli.main import main
from rtseg.config import load_config

ROOT = Path(__file__).resolve().parents[2]
SCENE = ["synthetic:shapes", "--input-size", "48x64", "--length", "10"]
QUICK = ["--backend", "null", "--short-side", "32", "--rate", "50", "--duration", "0.2s", "--warm-up", "2"]


def bench(*words: str | Path) -> int:
    return main(["bench", *map(str, words)])


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("rtseg: error: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0].removeprefix("rtseg: error: ")


def keys(content: Any) -> set[str]:
    """Every key of nested dictionaries that is a fixed word of the schema."""
    if isinstance(content, list):
        return set().union(*map(keys, content))
    if not isinstance(content, dict):
        return set()
    fixed = set(content)
    nested = {name: value for name, value in content.items() if name not in ("config", "libraries", "summary")}
    return fixed | set().union(*map(keys, nested.values()))


def test_tables_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "b.json"
    assert bench(*SCENE, *QUICK, "--repetitions", "2", "--json", out) == 0
    text, progress = capsys.readouterr()
    assert "A  unet-fast0-camvid null fp32 32x64" in text
    assert re.search(r"A overlay .*\d", text)
    assert "open loop at 50 frames/s: latency counts from when a frame was due" in text
    assert "2 frames of warm-up" in text
    assert "frames are too few for that percentile (needed: p90 64, p95 130, p99 662, p99.9 6,636)" in text
    assert "[2/2] unet-fast0-camvid null fp32 32x64: p50 " in progress
    assert f"wrote {out}" in progress
    data = json.loads(out.read_text())
    assert data["schema"] == SCHEMA
    assert data["settings"] == {
        "loop": "open", "rate": 50.0, "duration_s": 0.2, "repetitions": 2, "warm_up_frames": 2, "sinks": ["null:"],
        "policy": "latest", "order": "interleaved",
    }  # fmt: skip
    assert (data["input"]["frames_held"], data["input"]["size"]) == (10, [48, 64])
    assert data["input"]["decode"]["ms"]["samples"] == 10
    (one,) = data["configurations"]
    assert len(one["model"]["sha256"]) == 64
    assert one["config"]["short_side"] == 32
    assert len(one["repetitions"]) == 2
    for repetition in one["repetitions"]:
        assert repetition["due"] == 10 == repetition["frames"] + repetition["drops"]["capture"]
        assert "trace" not in repetition
    assert one["pooled"]["capture_to_overlay_ms"]["samples"] == sum(rep["frames"] for rep in one["repetitions"])
    assert (data["comparisons"], data["search"]) == ([], None)


def test_every_key_is_in_the_documentation(tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    words = ["--budget", "10s", "--write", tmp_path / "b.yaml", "--json", out, "--frames-in-json"]
    assert bench(*SCENE, *QUICK, "--repetitions", "1", "--vs", "depth=2", *words) == 0
    data = json.loads(out.read_text())
    times = data["configurations"][0]["repetitions"][0]["trace"]
    assert len(times["index"]) == len(times["overlay_ns"]) == len(times["stages_ns"]["other"])
    schema = (ROOT / "docs" / "bench-schema.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`([^`]+)`", schema))
    stages = {"preprocess", "infer", "labels", "render", "sink", "other"}
    assert keys(data) - stages <= known, keys(data) - stages - known


def test_combinations_are_compared_with_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "b.json"
    words = ["--size", "32x32", "64x64,32x64", "--repetitions", "2", "--json", out]
    assert bench(*SCENE, *QUICK[:2], *QUICK[4:], *words) == 0
    data = json.loads(out.read_text())
    names = [f"unet-fast0-camvid null fp32 {size}" for size in ("32x32", "64x64", "32x64")]
    assert [one["name"] for one in data["configurations"]] == names
    pairs = {(line["a"], line["b"]) for line in data["comparisons"]}
    assert pairs == {(names[0], names[1]), (names[0], names[2])}
    begun = [[rep["started_s"] for rep in one["repetitions"]] for one in data["configurations"]]
    (a1, a2), (b1, b2), (c1, c2) = begun
    assert a1 < b1 < c1 < c2 < b2 < a2  # interleaved, there and back
    assert "C / A, CPU time per frame: " in capsys.readouterr().out


def test_pairs_of_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "b.json"
    assert bench(*SCENE, *QUICK, "--repetitions", "6", "--vs", "depth=2", "--json", out) == 0
    data = json.loads(out.read_text())
    assert [one["model"]["depth"] for one in data["configurations"]] == [1, 2]
    line = data["comparisons"][0]
    assert (line["b"], line["pairs"]) == ("unet-fast0-camvid null fp32 32x64 depth=2", 6)
    assert line["interval"] == "bootstrap 95 %"
    assert line["low"] <= line["ratio"] <= line["high"]
    assert "bootstrap 95 % of 6 pairs" in capsys.readouterr().out


def test_a_closed_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "b.json"
    assert bench(*SCENE, *QUICK, "--rate", "max", "--repetitions", "1", "--json", out) == 0
    data = json.loads(out.read_text())
    assert (data["settings"]["loop"], data["settings"]["rate"], data["settings"]["policy"]) == ("closed", "max", "wait")
    assert data["configurations"][0]["repetitions"][0]["drops"]["total"] == 0
    assert "closed loop: rates are peaks" in capsys.readouterr().out


def test_the_rate_is_that_of_the_clip_unless_another_is_given(tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    words = [*QUICK[:4], "--input-rate", "80", "--duration", "0.1s", "--repetitions", "1", "--json", out]
    assert bench(*SCENE, *words) == 0
    assert json.loads(out.read_text())["settings"]["rate"] == 80


def test_find_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "b.json"
    words = [*QUICK[:4], "--duration", "0.2s", "--repetitions", "1", "--json", out, "--find-rate"]
    code = bench(*SCENE, *words)
    data = json.loads(out.read_text())
    search = data["search"]
    assert search["kind"] == "rate"
    assert search["tries"][0]["rate"] < search["peak"]
    if search["rate"] is None:  # on a machine that does other things
        assert code == 1 and error_line(capsys).startswith("no rate holds")
        assert data["configurations"][0]["repetitions"] == []
    else:
        assert code == 0
        assert data["settings"]["rate"] == search["rate"]
        assert (data["settings"]["loop"], data["settings"]["policy"]) == ("open", "latest")
        assert "highest rate with less than 1 % dropped and p99 under one period" in capsys.readouterr().out


def test_a_budget_chooses_and_writes_what_run_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, chosen = tmp_path / "b.json", tmp_path / "fast.yaml"
    words = ["--repetitions", "1", "--budget", "60s", "--write", chosen, "--json", out]
    models = ["--model", "unet-fast0-camvid", "unet-lite2-camvid"]
    assert bench(*SCENE, *QUICK[:2], *QUICK[4:], *models, "--short-side", "416,544", *words) == 0
    data = json.loads(out.read_text())
    tries = {one["name"]: one for one in data["search"]["tries"]}
    assert len(tries) == 4
    # Each was scored at one of the two sizes; within a minute all hold, and lite2 is the better one.
    assert [one["name"] for one in tries.values() if one["as_run"]] == [
        "unet-fast0-camvid null fp32 416x576", "unet-lite2-camvid null fp32 544x736",
    ]  # fmt: skip
    assert data["search"]["chosen"] == "unet-lite2-camvid null fp32 544x736"
    assert "chosen: unet-lite2-camvid null fp32 544x736" in capsys.readouterr().out
    config = load_config(chosen)
    assert (config.model, config.short_side, config.input) == ("unet-lite2-camvid", 544, "synthetic:shapes")
    assert main(["run", "--config", str(chosen), "synthetic:shapes", "null:", "--limit", "2"]) == 0


def test_a_budget_that_nothing_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, chosen = tmp_path / "b.json", tmp_path / "fast.yaml"
    words = ["--repetitions", "1", "--budget", "0.001ms", "--write", chosen, "--json", out]
    assert bench(*SCENE, *QUICK, *words) == 1
    assert error_line(capsys).startswith("no configuration holds 0.001 ms")
    assert not chosen.exists()
    assert json.loads(out.read_text())["search"]["chosen"] is None


def test_a_pipeline_file_is_a_configuration_too(tmp_path: Path) -> None:
    out, config = tmp_path / "b.json", tmp_path / "p.yaml"
    config.write_text(
        "input: synthetic:shapes\noutput: ['window:']\nbackend: 'null'\nshort_side: 32\nlimit: 3\n"
        "source: {size: 48x64, length: 5}\n"
    )
    assert bench("--config", config, "--rate", "50", "--duration", "0.2s", "--repetitions", "1", "--json", out) == 0
    data = json.loads(out.read_text())
    assert data["settings"]["sinks"] == ["null:"]  # an output is measured where it is asked for
    assert data["configurations"][0]["repetitions"][0]["due"] == 10


def test_outputs_are_written_as_in_a_run(tmp_path: Path) -> None:
    out, video = tmp_path / "b.json", tmp_path / "o.mp4"
    assert bench(*SCENE, *QUICK, "--repetitions", "1", "--sinks", video, "null:", "--crf", "30", "--json", out) == 0
    one = json.loads(out.read_text())["configurations"][0]["repetitions"][0]
    assert video.stat().st_size > 0
    assert one["capture_to_sink_ms"]["samples"] == 2 * one["frames"] - one["drops"]["sinks"]


def test_reports_get_the_data_with_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: dict[str, tuple[dict[str, Any], Path]] = {}
    monkeypatch.setattr(bench_command, "WRITERS", {name: (f"tests.bench.writers:{name}", None) for name in ("html",)})
    from tests.bench import writers

    monkeypatch.setattr(writers, "html", lambda data, path: got.update(html=(data, path)))
    assert bench(*SCENE, *QUICK, "--repetitions", "1", "--html", tmp_path / "b.html") == 0
    data, path = got["html"]
    assert path == tmp_path / "b.html"
    assert data["configurations"][0]["repetitions"][0]["trace"]["index"]


def test_page_plots_and_trace_of_a_real_benchmark(tmp_path: Path) -> None:
    page, plots, trace = tmp_path / "b.html", tmp_path / "plots", tmp_path / "b.trace.json"
    words = ["--html", page, "--png", plots, "--trace", trace, "--vs", "depth=2", "--budget", "60s"]
    assert bench(*SCENE, *QUICK, "--repetitions", "2", *words) == 0
    assert "unet-fast0-camvid null fp32 32x64 depth=2" in page.read_text(encoding="utf-8")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plots.iterdir()) and list(plots.iterdir())
    slices = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("ph") == "X"]
    frames = [event for event in slices if event["name"].startswith("frame ")]
    assert 0 < len(frames) <= 2 * 2 * 10
    assert {"preprocess", "infer", "labels", "render", "sink"} <= {event["name"] for event in slices}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to measure: give an input"),
        (["none.mp4"], "none.mp4 does not exist"),
        ([*SCENE, "--rate", "0"], "rate is 0, expected more than 0"),
        ([*SCENE, "--rate", "nan"], "rate is nan, expected more than 0"),
        ([*SCENE, "--duration", "0"], "duration is 0, expected more than 0"),
        ([*SCENE, "--repetitions", "0"], "repetitions is 0, expected 1 or more"),
        ([*SCENE, "--warm-up", "-1"], "warm-up is -1, expected 0 or more"),
        ([*SCENE, "--memory", "-5"], "memory is -5, expected more than 0"),
        ([*SCENE, "--memory", "0.001"], "raise --memory above 0.001"),
        ([*SCENE, "--live", "yes"], "synthetic:shapes is live"),
        ([*SCENE, "--model", "unet-fats0-camvid"], "did you mean 'unet-fast0-camvid'"),
        ([*SCENE, "--backend", "openvin"], "did you mean 'openvino'"),
        ([*SCENE, "--size", "12"], "size '12' is not HEIGHTxWIDTH"),
        ([*SCENE, "--vs", "dept=2"], "--vs: unknown key 'dept': did you mean 'depth'"),
        ([*SCENE, "--backend", "null", "null"], "two configurations are the same"),
        ([*SCENE, "--backend", "null", "--vs", "backend=null"], "two configurations are the same"),
        ([*SCENE, "--find-rate", "--rate", "20"], "--find-rate finds the rate itself"),
        ([*SCENE, "--find-rate", "--size", "32x32", "64x64"], "--find-rate takes one configuration, here are 2"),
        ([*SCENE, "--budget", "33ms", "--rate", "max"], "a budget is held at a rate"),
        ([*SCENE, "--write", "x.yaml"], "--write writes what --budget chose"),
        ([*SCENE, "--frames-in-json"], "--frames-in-json needs --report"),
        ([*SCENE, "--json", "none/b.json"], "there is no folder none"),
        ([*SCENE, "--sinks", "x.doc"], "cannot tell what to write from output 'x.doc'"),
        ([*SCENE, "--rate", "max", "--policy", "latest", "--backend", "null"], "would only drop frames"),
        ([*SCENE, "--policy", "newest"], "unknown policy 'newest'"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[5:]),
)
def test_bad_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(*words) == 1
    assert message in error_line(capsys)


@pytest.mark.parametrize(
    "words",
    [["--rate", "fast"], ["--duration", "10h"], ["--budget", "soon"], ["--short-side", "a"], ["--budget", "-3"]],
)
def test_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench(*SCENE, *words)
    assert stop.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_times_with_their_units() -> None:
    parse = bench_command.seconds("ms")
    assert [parse(text) for text in ("33", "33ms", "1.5s", "2m", "2min", "0.5 s")] == [0.033, 0.033, 1.5, 120, 120, 0.5]
    assert bench_command.seconds("s")("10") == 10
