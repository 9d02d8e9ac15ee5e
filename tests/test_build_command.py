"""`rtseg build` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rtseg.cli import main
from rtseg.spec import METADATA_KEY
from tests.onnx_models import conv_model
from tests.plans.rtx import library, small


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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--size", "60x96"], "takes sizes that are multiples of 32, got 60x96: use 64x96"),
        (["--min", "32x32"], "--min without --opt, --max"),
        (["--precision", "int9"], "unknown precision 'int9' for tensorrt: did you mean 'int8'"),
        (["--precision", "int8"], "is not quantised"),
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
