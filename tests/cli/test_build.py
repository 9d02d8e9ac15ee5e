"""`rtseg build` as a user meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rtseg.cli.main import main
from rtseg.packages.spec import METADATA_KEY, ModelSpec
from tests.onnx_models import conv_model, save, value
from tests.tensorrt.rtx import library, small

from rtseg.gpu import driver  # isort: skip


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The small model with its spec inside."""
    _, spec = small(tmp_path)
    monkeypatch.chdir(tmp_path)
    return str(conv_model(tmp_path / "net.onnx", metadata={METADATA_KEY: spec.to_json()}))


def test_report_for_people(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", model, "--size", "64x96,96x64", "--size", "32x32", "--precision", "fp32"]
    assert main(words) == 0
    out = capsys.readouterr().out
    name = f"engines/net/net.64x96+96x64+32x32.fp32.tensorrt_rtx-{library.VERSION}.portable.portable.plan"
    assert out.startswith(f"{name}: ")
    assert Path(name).is_file()
    assert " MB, built in " in out
    assert "net in fp32 for 64x96, 96x64, 32x32, tensorrt_rtx" in out
    assert "input pixels: fp32 ?x3x?x?" in out and "output scores: fp32 ?x5x?x?" in out
    assert "convolution" in out
    assert main([*words, "--layers"]) == 0
    out = capsys.readouterr().out
    assert "found: nothing to build" in out
    assert "Conv" in out or "conv" in out


def test_report_in_half_precision(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", model, "--size", "64x96", "--frame-count", "2"]) == 0
    out, err = capsys.readouterr()
    assert "comparing labels with fp32 on 2 frames of synthetic:drive (fp16 rounding emulated on the CPU)" in err
    equal = re.search(r"net in fp16: labels equal to fp32 on ([\d.]+%) of .* at 64x96 \(worst frame ([\d.]+%)", err)
    assert equal is not None
    assert (
        f"labels equal to fp32: {equal[1]} of the pixels of 2 frames of synthetic:drive at 64x96, "
        f"worst frame {equal[2]} (fp16 rounding emulated on the CPU)"
    ) in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert rows["layer"] == ["fp32", "fp16"]
    assert rows["convolution"] == ["1"]
    assert main(["build", model, "--size", "64x96", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"].values()
    assert rows["all"] == [str(sum(counts.get(kind, 0) for counts in layers)) for kind in ("fp32", "fp16")]


def test_what_stays_in_fp32_is_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nodes = [
        onnx.helper.make_node("Conv", ["image", "kernel"], ["scores"]),
        onnx.helper.make_node("Softmax", ["scores"], ["sums"], axis=1),
        onnx.helper.make_node("Shape", ["sums"], ["shape"]),
        onnx.helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        onnx.helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        onnx.helper.make_node("Reshape", ["sums", "target"], ["logits"]),
    ]
    held = {
        "kernel": np.random.default_rng(0).standard_normal((2, 3, 1, 1)).astype(np.float32),
        "zero": np.array([0], np.int64),
        "rest": np.array([2, 32, 32], np.int64),
    }
    path = save(
        tmp_path / "net.onnx", nodes, [value("image", (1, 3, 32, 32))], [value("logits", None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    spec = ModelSpec(name="net", classes=("a", "b"), size=(32, 32), input_name="image", output_name="logits")
    Path("net.json").write_text(spec.to_json())
    assert main(["build", str(path), "--spec", "net.json", "--frame-count", "1"]) == 0
    out = capsys.readouterr().out
    assert "kept in fp32: 1 Softmax (sums of exponentials)" in out


def test_older_report_without_the_size(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", model, "--size", "32x32", "--frame-count", "1", "--out", "net.plan"]
    assert main(words) == 0
    known = json.loads(Path("net.plan.json").read_text())
    del known["report"]["agreement"]["size"]
    Path("net.plan.json").write_text(json.dumps(known))
    capsys.readouterr()
    assert main(words) == 0
    assert "of 1 frames of synthetic:drive, worst frame" in capsys.readouterr().out


def test_device_that_is_not_there(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name means that device, even where building takes none."""
    driver._library.cache_clear()
    monkeypatch.setattr(driver, "LIBRARY", "libnowhere.so.1")
    assert main(["build", model, "--size", "32x32", "--device", "cuda:1"]) == 1
    assert "rtseg: error: no NVIDIA driver here" in capsys.readouterr().err
    driver._library.cache_clear()


def test_report_as_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--min", "32x32", "--opt", "64x96", "--max", "128x128", "--frame-count", "1", "--json"]
    assert main(["build", model, *words, "--workspace", "64", "--out", "net.plan"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert (report["plan"], report["built"], report["precision"]) == ("net.plan", True, "fp16")
    assert report["sizes"] == ["32x32-64x96-128x128"]
    assert report["bytes"] == Path("net.plan").stat().st_size
    assert report["agreement"]["equal"] > 0.99
    assert report["layers"]["convolution"] == {"fp16": 1}
    assert "network" not in report
    assert main(["build", model, *words, "--workspace", "64", "--out", "net.plan", "--layers"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert ["convolution", "fp16"] in [layer[1:] for layer in report["network"]]
    assert len([kind for _, kind, _ in report["network"] if kind == "convolution"]) == 1
    assert (report["engine"] is None) == bool(report["reason"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--size", "60x96"], "takes sizes that are multiples of 32, got 60x96: use 64x96"),
        (["--min", "32x32"], "--min without --opt, --max"),
        (["--precision", "int9"], "unknown precision 'int9' for tensorrt: did you mean 'int8'"),
        (["--precision", "int8"], "is not quantized"),
        (["--agreement", "2"], "--agreement is 2.0: a fraction from 0 to 1"),
        (["--frames", "camera:0", "--size", "32x32"], "not on camera:0"),
        (["--frames", "nowhere.mp4", "--size", "32x32"], "nowhere.mp4"),
        (["--frame-count", "0", "--size", "32x32"], "0 frames to compare labels on"),
        (["--out", "net.engine"], "--out net.engine does not end in .plan"),
        (["--hardware-compatible"], "TensorRT-RTX does not have --hardware-compatible"),
        (["--version-compatible"], "TensorRT-RTX does not have --version-compatible"),
        (["--timing-cache", "t"], "TensorRT-RTX does not have --timing-cache"),
        (["--workspace", "-1"], "--workspace is -1 MiB"),
        (["--reference", "no-such-model"], "no model 'no-such-model'"),
    ],
)
def test_misuse_is_told_in_one_line(
    model: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", model, *words]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rtseg: error: ")]
    assert len(errors) == 1 and told in errors[0]
    assert not list(Path().rglob("*.plan"))


@pytest.mark.parametrize("words", [["--size", "big"], ["--min", "1"], ["--hardware-compatible", "all"], []])
def test_usage(model: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["build", *([model] if words else []), *words])
    assert error.value.code == 2
    assert "usage: rtseg build" in capsys.readouterr().err


def test_foreign_plan_in_the_way(model: str, capsys: Any) -> None:
    Path("mine.plan").write_bytes(b"something of the user's")
    assert main(["build", model, "--size", "32x32", "--out", "mine.plan"]) == 1
    assert "mine.plan has no sidecar mine.plan.json" in capsys.readouterr().err
    assert Path("mine.plan").read_bytes() == b"something of the user's"


@pytest.mark.slow
def test_shipped_packages_in_every_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("unet-fast0-camvid", "unet-lite2-camvid"):
        for precision in ("fp32", "fp16"):
            words = ["--precision", precision, "--frame-count", "2", "--json", "--out", f"{name}.{precision}.plan"]
            assert main(["build", name, *words]) == 0
            report = json.loads(capsys.readouterr().out)
            assert report["tensors"]["logits"] == ["output", "fp32", [1, 11, -1, -1]]
            if precision == "fp16":
                assert report["agreement"]["equal"] > 0.995
