"""--refine: its text, its place in the segmenter, in a run and its report, and in scores."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.backends.null import NullBackend, one_hot
from rtseg.cli.main import main
from rtseg.config import RunConfig, load_config
from rtseg.errors import ConfigError, ModelError
from rtseg.kernels import cpu
from rtseg.kernels.crf_settings import Crf, Solve, parse_refine
from rtseg.kernels.mean_field import run
from rtseg.packages.spec import ModelSpec
from rtseg.segmenter.host import HostSegmenter
from tests.training.camvid import write_camvid

SPEC = ModelSpec(name="toy", classes=("left", "right"), short_side=64, multiple=8, output_stride=8)
PULL = Crf(iterations=10, appearance=8.0, smoothness=0.0, theta_alpha=4.0, theta_beta=10.0)


def test_the_text_of_a_refinement() -> None:
    assert parse_refine("none") is None
    assert parse_refine("crf") == Crf()
    assert parse_refine("crf:radius=3, theta_beta=4.5,iterations=2") == Crf(radius=3, theta_beta=4.5, iterations=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crff", r"unknown refinement 'crff': did you mean 'crf'\? \(choices: none, crf\)"),
        ("crf:radios=3", r"refine: unknown option 'radios': did you mean 'radius'\?"),
        ("crf:radius", "refine: 'radius' is not NAME=VALUE"),
        ("crf:", "refine: '' is not NAME=VALUE"),
        ("crf:radius=3,radius=4", "refine: radius is given twice"),
        ("crf:radius=3.5", "refine: radius is '3.5', expected a whole number"),
        ("crf:radius=0", "refine: radius is 0, expected a whole number from 1 to 32"),
        ("crf:upsample=17", "refine: upsample is 17, expected a whole number from 1 to 16"),
        ("crf:appearance=-1", "refine: appearance is -1.0, expected 0 or more"),
        ("crf:smoothness=nan", "refine: smoothness is nan, expected 0 or more"),
        ("crf:theta_beta=0", "refine: theta_beta is 0.0, expected 0.01 or more"),
        ("none:radius=3", "refine: 'none' has no options, found 'radius=3'"),
    ],
)
def test_mistakes_are_named_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_refine(text)


def test_the_configuration_checks_it(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("input: a.mp4\nrefine: crf:radius=2\n", encoding="utf-8")
    assert load_config(path) == RunConfig(input="a.mp4", refine="crf:radius=2")
    path.write_text("input: a.mp4\nrefine: crt\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown refinement 'crt': did you mean 'crf'"):
        load_config(path)


def test_a_backend_on_a_gpu_is_refined_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def solver(device: str) -> Solve:
        asked.append(device)
        return run

    monkeypatch.setattr("rtseg.kernels.crf_torch.solver", solver)
    backend = NullBackend(spec=SPEC)
    on_cpu = HostSegmenter(backend, refine=PULL)(halves((64, 128), 70))
    assert asked == []
    backend.device = "cuda:1"
    on_gpu = HostSegmenter(backend, refine=PULL)(halves((64, 128), 70))
    assert asked == ["cuda:1"]
    np.testing.assert_array_equal(on_gpu, on_cpu)


def halves(frame: tuple[int, int], edge: int) -> np.ndarray:
    image = np.full((*frame, 3), 40, np.uint8)
    image[:, edge:] = 200
    return image


@pytest.mark.parametrize("frame", [(64, 128), (50, 128), (128, 120)])
def test_a_segmenters_boundary_follows_the_frames_edge_through_the_letterbox(frame: tuple[int, int]) -> None:
    def answer(tensor: np.ndarray) -> np.ndarray:
        """The edge two cells too far right, wherever the frame lies in the tensor."""
        place = segmenter.place(frame)
        cells = np.arange(tensor.shape[3] // 8) * 8 + 4
        edge = place.left + place.width // 2 + 16
        row = (cells >= edge).astype(np.uint8)
        return one_hot(np.broadcast_to(row, (tensor.shape[2] // 8, row.size)), 2) / 16

    segmenter = HostSegmenter(NullBackend(spec=SPEC, answer=answer), size=(64, 128), refine=PULL)
    image = halves(frame, frame[1] // 2)
    labels = segmenter(image)
    plain = HostSegmenter(NullBackend(spec=SPEC, answer=answer), size=(64, 128))(image)
    scale = segmenter.place(frame).width / frame[1]
    edges = (labels == 0).sum(1)
    assert np.abs(edges - frame[1] / 2).max() <= 5 / scale
    assert (plain == 0).sum(1).min() > frame[1] / 2 + 10 / scale


def test_refining_takes_the_letterboxed_cells_of_the_same_picture() -> None:
    rng = np.random.default_rng(6)
    image = rng.integers(0, 255, (50, 128, 3), np.uint8)
    scores = rng.normal(0, 2, (2, 8, 16)).astype(np.float32)
    segmenter = HostSegmenter(
        NullBackend(spec=SPEC, answer=scores), size=(64, 128), refine="crf:theta_beta=40,upsample=2"
    )
    tensor, place = segmenter.preprocess(image)
    picture = cpu.average(tensor, SPEC, place, (16, 32))
    expected = cpu.crf(scores, picture, Crf(theta_beta=40.0, upsample=2), fit=place)
    np.testing.assert_array_equal(segmenter.refine(scores, tensor, place), expected)
    np.testing.assert_array_equal(segmenter(image), cpu.labels(expected, (50, 128), fit=place))
    assert np.abs(expected[:, 2:14]).max() > 0 and not expected[:, :1].any()


def test_probabilities_are_refined_and_a_label_map_is_refused() -> None:
    rng = np.random.default_rng(7)
    scores = rng.normal(0, 1, (2, 8, 8)).astype(np.float32)
    shares = np.exp(scores) / np.exp(scores).sum(0)
    spec = ModelSpec(name="p", classes=SPEC.classes, multiple=8, short_side=64, output_kind="probabilities")
    image = rng.integers(0, 255, (64, 64, 3), np.uint8)
    logits = HostSegmenter(NullBackend(spec=SPEC, answer=scores), refine="crf")(image)
    np.testing.assert_array_equal(HostSegmenter(NullBackend(spec=spec, answer=shares), refine="crf")(image), logits)
    assert set(np.unique(logits)) == {0, 1}
    ids = ModelSpec(name="ids", classes=SPEC.classes, output_kind="labels")
    with pytest.raises(ModelError, match="model ids returns a label map, which has no scores to refine: drop --refine"):
        HostSegmenter(NullBackend(spec=ids), refine="crf")


def test_none_leaves_the_scores_alone() -> None:
    segmenter = HostSegmenter(NullBackend(spec=SPEC))
    scores = np.zeros((2, 8, 8), np.float32)
    tensor, place = segmenter.preprocess(np.zeros((64, 64, 3), np.uint8))
    assert not segmenter.refines
    assert segmenter.refine(scores, tensor, place) is scores


def test_a_run_times_it_as_a_stage_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "synthetic:shapes", "null:", "--backend", "null", "--model", "", "--limit", "3", "--json"]
    run += ["--input-size", "64x96", "--short-side", "64"]
    for refine, stages in (
        ("none", ["capture", "preprocess", "infer", "labels", "render", "sink"]),
        ("crf:radius=2", ["capture", "preprocess", "infer", "refine", "labels", "render", "sink"]),
    ):
        assert main([*run, "--refine", refine]) == 0
        report = json.loads(capsys.readouterr().out)
        assert list(report["latency"]["stages_ms"]) == stages
        assert report["model"]["refine"] == refine
    assert report["latency"]["stages_ms"]["refine"]["samples"] == 3
    assert report["latency"]["stages_ms"]["refine"]["p50"] > 0
    assert main(["run", "synthetic:shapes", "null:", "--refine", "crf:radios=2"]) == 1
    assert "did you mean 'radius'" in capsys.readouterr().err


def test_scores_say_how_they_were_refined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_camvid(tmp_path / "camvid", val=2, size=(96, 128))
    command = ["eval", "--backend", "openvino", "--data", str(data), "--json", "--short-side", "96"]
    assert main([*command, "--refine", "crf:iterations=2"]) == 0
    refined = json.loads(capsys.readouterr().out)
    assert refined["refine"]["iterations"] == 2 and refined["refine"]["radius"] == Crf().radius
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["refine"] is None


def test_the_report_table_shows_the_stage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), halves((64, 96), 48))
    run = ["run", str(tmp_path / "a.png"), "null:", "--backend", "null", "--model", "", "--refine", "crf"]
    assert main(run) == 0
    assert "refine" in capfd.readouterr().err
