"""tools/gpu_check.py: what it notes and how it ends, and the steps that the emulated driver can run."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import without

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["--emulated", "--network", "blocks", "--frame", "40x72", "--size", "32x64", "--frames", "20"]


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "tools"))
    yield
    sys.path.remove(str(ROOT / "tools"))


def part(name: str) -> ModuleType:
    return importlib.import_module(f"gpu_checks.{name}")


def run(out: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The tool's exit status and what it wrote."""
    status: int = importlib.import_module("gpu_check").main([*SMALL, "--out", str(out), *arguments])
    return status, json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.gpu
@pytest.mark.usefixtures("emulator")
def test_the_steps_on_the_emulated_driver(tmp_path: Path) -> None:
    status, report = run(tmp_path / "gpu-emulated.json", "--only", "kernels,frame,memory")
    assert {name: step["status"] for name, step in report["steps"].items()} == {
        "environment": "done",
        "kernels": "done",
        "frame": "done",
        "memory": "done",
    }, report
    assert status == 0
    assert report["ok"]
    assert report["schema"] == "rtseg.gpu/1"
    assert report["device"]["name"] == "Emulated GPU"
    assert report["options"]["frame"] == [40, 72]

    kernels = report["steps"]["kernels"]["result"]
    row = kernels["rows"]["preprocess bgr8 NCHW float16"]
    assert row["bytes"] == 3 * 40 * 72 + 3 * 32 * 64 * 2
    assert row["kernels"] == ["preprocess_bgr8"]
    assert row["limit_us"] == 15
    assert 0 < row["cold_us"]["min"] <= row["cold_us"]["median"] <= row["cold_us"]["max"]
    pixels = 40 * 72
    scores = 19 * 4 * 8 * 2
    assert kernels["rows"]["labels+overlay+confidence noise 19"]["bytes"] == scores + 8 * pixels
    assert kernels["rows"]["areas model"]["kernels"] == ["clear_areas", "count_areas"]
    assert kernels["rows"]["preprocess nv12 NHWC float16"]["bytes"] == 3 * pixels // 2 + 3 * 32 * 64 * 2

    frame = report["steps"]["frame"]["result"]
    overlay, labels = frame["rows"]["set overlay"], frame["rows"]["set labels"]
    assert overlay["frames"] == 20
    assert overlay["copies"] == {
        "up": 1,
        "down": 1,
        "up_bytes": 3 * pixels,
        "down_bytes": 3 * pixels,
        "expected_up": 3 * pixels,
        "expected_down": 3 * pixels,
    }
    assert labels["copies"]["down_bytes"] == pixels
    assert frame["rows"]["set areas"]["copies"]["down_bytes"] == 1024
    assert frame["agreement"]["set"]["equal"] == 1.0
    assert frame["agreement"]["own"]["kernel"] == 1.0
    assert set(frame["ratios"]) == {f"{name} overlay depth {depth}" for name in ("set", "own") for depth in (2, 3)}
    assert 0 < overlay["share_gpu"] < 1

    memory = report["steps"]["memory"]["result"]
    assert memory["frames"] == 20
    assert len(set(memory["free_bytes"])) == 1
    targets = {each["name"]: each for step in report["steps"].values() for each in step.get("targets", [])}
    assert targets["equal labels (set size)"]["met"]
    assert not targets["GPU time of labels+overlay model 19"]["met"]
    assert part("report").page(tmp_path).startswith("### Emulated GPU")


@pytest.mark.gpu
@pytest.mark.usefixtures("emulator")
def test_a_dry_run_in_two_parts_without_what_a_gpu_machine_may_lack(tmp_path: Path) -> None:
    """Each part in a process in which OpenVINO, PyAV, TensorRT and OpenCV 5 are not there."""
    lacking = ("openvino", "av", "tensorrt", "tensorrt_rtx")
    variables = without.environment(tmp_path / "site", *lacking, older_opencv=True)
    steps: dict[str, Any] = {}
    for number in ("1", "2"):
        out = tmp_path / f"gpu-emulated-part{number}.json"
        command = [sys.executable, "tools/gpu_check.py", "--part", number, "--emulated", "--out", str(out)]
        command += ["--frame", "40x72", "--size", "32x64"]
        subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, timeout=400)
        report = json.loads(out.read_text(encoding="utf-8"))
        assert report["seconds"] < report["options"]["seconds"] == part("check").PARTS[number][0]
        steps |= report["steps"]
    assert set(steps) == set(part("check").STEPS)
    told = {name: (step["status"], step.get("errors"), step.get("not_run")) for name, step in steps.items()}
    unable = {name: step["not_run"] for name, step in steps.items() if step["status"] == "not run"}
    assert {status for status, *_ in told.values()} == {"done", "not run"}, told
    assert {name: [each["reason"].split(":")[0] for each in reasons] for name, reasons in unable.items()} == {
        "engine": ["TensorRT is not installed"],
        "sanitizer": [unable["sanitizer"][0]["reason"].split(":")[0]],  # there may be one here
        "profile": ["it needs a GPU that is not emulated"],
    }
    assert "onnxruntime" in steps["kernels"]["result"]["logits"]
    timings = steps["timings"]["result"]
    sizes, contents = len(part("hot").EMULATED_SIZES), 3
    assert len(timings["rows"]) == sizes + 1 + 2 * 2 * contents * len(part("hot").OUTPUTS)
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in timings["rows"].values())
    assert timings["events"]["plain"] > 0
    plain = steps["profile"]["result"]["plain"]
    assert len(plain) == sizes + 1 + 2 * 2 * contents * len(part("hot").IMPORTANT)
    page = part("report").page(tmp_path)
    assert page.count("### Emulated GPU") == 1, "the two files are one run"
    assert "part1.json" in page and "part2.json" in page
    assert "| labels model 19 classes stride 8 |" in page


@pytest.mark.gpu
@pytest.mark.usefixtures("emulator")
def test_a_step_that_fails_is_noted_and_ends_nothing_else(tmp_path: Path) -> None:
    status, report = run(
        tmp_path / "gpu.json", "--only", "memory,engine,sanitizer", "--network", "torch", "--seconds", "60"
    )
    assert status == 1
    assert not report["ok"]
    memory, engine = report["steps"]["memory"], report["steps"]["engine"]
    assert memory["status"] == "failed"
    assert "BackendError" in memory["errors"][0]["error"]
    assert memory["errors"][0]["part"] == "frames"
    assert engine["status"] == "not run"
    assert "emulated" in engine["not_run"][0]["reason"]
    sanitizer = report["steps"]["sanitizer"]
    assert sanitizer["status"] == "not run", "compute-sanitizer cannot watch an emulated GPU"
    plain = sanitizer["result"]["plain"]
    assert (plain["missing"], plain["different"]) == ([], [])
    assert "label_pixels_f16" in plain["kernels"]


@pytest.mark.gpu
@pytest.mark.usefixtures("emulator")
def test_the_other_ways_give_the_same_labels(tmp_path: Path) -> None:
    _, report = run(tmp_path / "gpu.json", "--only", "side")
    side = report["steps"]["side"]
    assert side["status"] == "done", side
    assert side["result"]["equal_labels"]["torch"] > 0.99
    assert side["result"]["equal_labels"]["host"] > 0.97
    assert side["result"]["overlay_difference"]["torch"] < 1
    assert set(side["result"]["ratios"]) == {"torch", "host"}


def test_a_record_notes_failures_and_goes_on(tmp_path: Path) -> None:
    record = part("record").Record(tmp_path / "part.json", 60.0, tell=lambda text: None)
    with record.part("first"):
        record.result["first"] = 1
        raise ValueError("two\nlines")
    with record.part("second"):
        record.result["second"] = 2
    assert record.status == "failed"
    written = json.loads((tmp_path / "part.json").read_text(encoding="utf-8"))
    assert written["result"] == {"first": 1, "second": 2}
    assert written["errors"][0]["part"] == "first"
    assert written["errors"][0]["error"] == "ValueError: two lines"


def test_what_is_missing_and_what_has_no_time_is_not_run(tmp_path: Path) -> None:
    module = part("record")
    record = module.Record(tmp_path / "part.json", 5.0, tell=lambda text: None)
    assert record.time_for("short", 1.0)
    assert record.status == "done"
    assert not record.time_for("long", 100.0)
    assert record.status == "not run"
    with record.part("tool"):
        raise module.NotRun("it is not installed")
    written = json.loads((tmp_path / "part.json").read_text(encoding="utf-8"))
    assert [each["part"] for each in written["not_run"]] == ["long", "tool"]


@pytest.mark.parametrize(
    ("required", "value", "sense", "status"),
    [
        (True, 2.0, "most", "failed"),
        (False, 2.0, "most", "done"),
        (True, 1.0, "most", "done"),
        (True, 0.5, "least", "failed"),
    ],
)
def test_required_targets_that_are_missed_are_failures(
    tmp_path: Path, required: bool, value: float, sense: Any, status: str
) -> None:
    record = part("record").Record(tmp_path / "part.json", 5.0, tell=lambda text: None)
    record.target("time", value, 1.0, "us", sense=sense, required=required)
    assert record.status == status


def test_a_process_that_does_not_end_is_ended() -> None:
    begin = time.monotonic()
    children = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    assert part("check")._run([sys.executable, "-c", children], {}, 1.0) is None
    assert time.monotonic() - begin < 20


def test_a_step_that_crashes_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = part("check")
    options = check.Options((40, 72), (32, 64), 20, "none", 60.0, "blocks", True)
    monkeypatch.setattr(check, "_run", lambda *given: -11)
    found = check._step("kernels", options, 30.0)
    assert found["status"] == "crashed"
    assert "SIGSEGV" in found["errors"][-1]["error"]


def test_nothing_is_measured_where_no_kernel_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check, ran = part("check"), []

    def step(name: str, *given: Any) -> dict[str, Any]:
        ran.append(name)
        return {"status": "failed" if name == "smoke" else "done", "seconds": 1.0, "result": {}}

    monkeypatch.setattr(check, "_step", step)
    options = check.Options((40, 72), (32, 64), 20, "none", 60.0, "blocks", True)
    assert check.check(check.PARTS["1"][1], options, tmp_path / "gpu.json", "") == 1
    assert ran == ["environment", "smoke"]
    steps = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["steps"]
    assert set(steps) == set(check.PARTS["1"][1])
    assert steps["timings"]["not_run"][0]["reason"] == "no kernel ran in the step smoke"


def test_every_step_of_a_part_gets_the_time_that_it_needs() -> None:
    check = part("check")
    assert {step for _, steps in check.PARTS.values() for step in steps} == set(check.STEPS)
    for whole, steps in check.PARTS.values():
        left = whole
        for name in steps:
            least, most = check.STEPS[name]
            given = check.share(name, steps, left)
            assert least <= given <= most, name
            left -= given
        assert left >= 0
    assert check.share("profile", ("profile",), 3.0) == 3.0


def test_a_step_without_time_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    check = part("check")
    options = check.Options((40, 72), (32, 64), 20, "none", 60.0, "blocks", True)
    monkeypatch.setattr(check, "_run", None)
    assert check._step("kernels", options, 2.0)["status"] == "not run"


@pytest.mark.parametrize(
    ("log", "errors"),
    [
        ("========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n", 0),
        ("========= ERROR SUMMARY: 1 error\n", 1),
        ("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n", 0),
        ("========= RACECHECK SUMMARY: 3 hazards displayed (1 error, 2 warnings)\n", 3),
        ("========= ERROR SUMMARY: 0 errors\n========= ERROR SUMMARY: 12 errors\n", 12),
        ("========= Target application returned an error\n", None),
    ],
)
def test_the_sanitizer_summary_is_read(log: str, errors: int | None) -> None:
    assert part("sanitizer").errors_of(log)[0] == errors


def test_the_tests_are_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.a" name="one"/>'
        '<testcase classname="tests.a" name="two"><failure message="assert 1 == 2">there</failure></testcase>'
        '<testcase classname="" name="tests.b"><error message="collection failure">No module named x</error></testcase>'
        '<testcase classname="tests.a" name="three"><skipped message="needs a camera"/></testcase>'
        "</testsuite></testsuites>",
        encoding="utf-8",
    )
    found = part("tests").counted(report)
    assert [found[name] for name in ("passed", "failed", "errors", "skipped")] == [1, 1, 1, 1]
    assert found["failures"] == [{"name": "tests.a::two", "message": "assert 1 == 2 there"}]
    assert found["collection"][0]["name"] == "tests.b"
    assert found["skips"] == {"needs a camera": 1}


def test_files_that_need_a_package_which_is_not_there_do_not_fail_the_step() -> None:
    words = "collection failure ... E   ModuleNotFoundError: No module named {!r}"
    collection = [
        {"name": "tests.backends.test_tensorrt", "message": words.format("onnx.helper")},
        {"name": "tests.gpu.test_cuda", "message": words.format("rtseg.gone")},
        {"name": "tests.test_other", "message": "SyntaxError"},
    ]
    assert part("tests").lacking(collection) == {"tests.backends.test_tensorrt": "onnx"}


def test_the_figures_of_ncu_are_read() -> None:
    text = """==PROF== Connected to process 17
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",\
"Section Name","Metric Name","Metric Unit","Metric Value","Rule Name"
"0","17","py","h","preprocess_bgr8(int, int)","1","7","(64, 1, 1)","(9, 1, 1)","0","9.0","S","Duration","us","4.51",""
"0","17","py","h","preprocess_bgr8(int, int)","1","7","(64, 1, 1)","(9, 1, 1)","0","9.0","S","Other","%","99",""
"0","17","py","h","preprocess_bgr8(int, int)","1","7","(64, 1, 1)","(9, 1, 1)","0","9.0","S","","","","Rule"
"1","17","py","h","label_f16","1","7","(256, 1, 1)","(9, 1, 1)","0","9.0","S","Achieved Occupancy","%","61.2",""
"1","17","py","h","label_f16","1","7","(256, 1, 1)","(9, 1, 1)","0","9.0","S","L1/TEX Hit Rate","%","80",""
"""
    assert list(part("profile").metrics_of(text)) == [
        {"kernel": "preprocess_bgr8(int, int)", "metrics": {"Duration": "4.51 us"}},
        {"kernel": "label_f16", "metrics": {"Achieved Occupancy": "61.2 %", "L1/TEX Hit Rate": "80 %"}},
    ]
    assert list(part("profile").metrics_of("==ERROR== no kernels\n")) == []


def test_only_files_with_marked_tests_are_read() -> None:
    marked = part("tests").marked()
    assert "tests/segmenter/test_device.py" in marked
    assert "tests/test_geometry.py" not in marked


def test_without_a_result_the_page_says_so(tmp_path: Path) -> None:
    report = part("report")
    assert report.page(tmp_path).startswith("No result yet")
    text = "before\n<!-- gpu-results -->\nold\n<!-- /gpu-results -->\nafter\n"
    assert report.renewed(text, "new") == text.replace("old", "new")
    with pytest.raises(SystemExit):
        report.renewed("no markers", "new")
