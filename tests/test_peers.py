"""docs/benchmarks.md is what was measured, and the peers compute what they are said to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tool_modules import tool_modules

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "tools" / "peers"
FILES = sorted(PEERS.glob("*.py"))
MODEL = ROOT / "engines" / "unet-fast0-camvid" / "model.onnx"
FRAME = (90, 160)
NETWORK = (64, 96)


@pytest.fixture(scope="module")
def peers() -> Iterator[Any]:
    """Imports a module of tools/peers by name."""
    with tool_modules(PEERS) as load:
        yield load


@pytest.fixture(scope="module")
def job(peers: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return peers("job").Job(MODEL, NETWORK, FRAME, 1, tmp_path_factory.mktemp("peers"))


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    smooth = rng.integers(0, 256, (4, 6, 10, 3)).astype(np.uint8)
    return [np.kron(image, np.ones((15, 16, 1), np.uint8)) for image in smooth]


def two_halves(classes: int = 11) -> np.ndarray:
    """Logits, 1xCx16x24: class 2 wins on the left, class 5 on the right."""
    logits = np.zeros((1, classes, 16, 24), np.float32)
    logits[0, 2, :, :12] = 4
    logits[0, 5, :, 12:] = 4
    return logits


def check_halves(labels: np.ndarray) -> None:
    assert labels.shape == FRAME
    assert labels.dtype == np.uint8
    assert (labels[:, :79] == 2).all()
    assert (labels[:, 81:] == 5).all()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_compile(path: Path) -> None:
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_the_page_is_what_was_measured(peers: Any) -> None:
    data = json.loads((ROOT / "docs" / "bench" / "peers.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    report = peers("report")
    assert page == report.page(data, report.measured_alone()), "run tools/peers/report.py"
    assert "by `rtseg bench`, at 70% of its own peak rate" in page
    assert set(data["contenders"]) == {row.key for row in peers("contenders").CONTENDERS}


def test_every_contender_has_its_file_and_environment(peers: Any) -> None:
    known = {"", *peers("make_env").environments()}
    for row in peers("contenders").CONTENDERS:
        assert (PEERS / f"{row.module}.py").is_file()
        assert row.environment in known
        assert row.limits


@pytest.mark.parametrize("name", ["tutorial_loop", "torch_loop", "opencv_dnn"])
def test_input_is_normalised_rgb_at_the_networks_size(peers: Any, job: Any, name: str) -> None:
    frame = np.empty((*FRAME, 3), np.uint8)
    frame[:] = (10, 100, 250)
    tensor = np.asarray(peers(name).preprocess(frame, job))
    assert tensor.shape == (1, 3, *NETWORK)
    assert tensor.dtype == np.float32
    wanted = (np.array([250, 100, 10]) / 255 - job.mean) / job.std
    np.testing.assert_allclose(tensor[0].mean(axis=(1, 2)), wanted, rtol=1e-4)


def test_labels_are_at_the_frames_size(peers: Any) -> None:
    torch = pytest.importorskip("torch")
    tutorial = peers("tutorial_loop")
    check_halves(tutorial.labels(two_halves(), FRAME))
    check_halves(tutorial.labels_nearest(two_halves(), FRAME))
    check_halves(peers("opencv_dnn").labels(two_halves(), FRAME))
    check_halves(peers("torch_loop").labels(torch.from_numpy(two_halves()), FRAME))


def test_overlay_is_half_frame_and_half_colours(peers: Any, job: Any, frames: list[np.ndarray]) -> None:
    ids = peers("tutorial_loop").labels(two_halves(), FRAME)
    picture = peers("tutorial_loop").overlay(frames[0], ids, job.palette)
    match = peers("run").overlay_match
    assert match(picture[None], frames[0][None], ids[None], job.palette) == 1.0
    assert match(frames[0][None], frames[0][None], ids[None], job.palette) < 0.1
    assert match(np.hstack([picture, picture])[None], frames[0][None], ids[None], job.palette) is None


@pytest.mark.parametrize("name", ["tutorial_loop", "torch_loop", "opencv_dnn"])
def test_peers_agree_with_rtseg(peers: Any, job: Any, frames: list[np.ndarray], name: str) -> None:
    found: dict[str, list[np.ndarray]] = {name: [], "rtseg_pipeline": []}
    for module, options in (
        (name, {}),
        ("rtseg_pipeline", {"precision": "fp32", "fit": "stretch", "antialias": False}),
    ):
        peer = peers(module).open_peer(job, **options)
        peer.run(iter(frames), lambda labels, overlay, to=found[module]: to.append(labels.copy()))
    assert len(found[name]) == len(found["rtseg_pipeline"]) == len(frames)
    assert peers("run").agreement(np.stack(found[name]), np.stack(found["rtseg_pipeline"])) > 0.8


def test_rtseg_takes_a_frame_only_when_the_last_is_done(peers: Any, job: Any, frames: list[np.ndarray]) -> None:
    order: list[str] = []

    def camera() -> Iterator[np.ndarray]:
        for frame in frames:
            order.append("taken")
            yield frame

    peer = peers("rtseg_pipeline").open_peer(job)
    peer.run(camera(), lambda labels, overlay: order.append("done"))
    assert order == ["taken", "done"] * len(frames)
    assert peer.stages_ms["infer"] > 0
    order.clear()
    peer.run(camera(), lambda labels, overlay: order.append("done"), ahead=True)
    assert sorted(order) == ["done"] * len(frames) + ["taken"] * len(frames)


def test_rtsegs_open_loop_accounts_for_every_frame(peers: Any, job: Any, frames: list[np.ndarray]) -> None:
    peer = peers("rtseg_pipeline").open_peer(job)
    done = peer.paced((frames[0] for _ in range(40)), rate=4000.0)
    assert len(done["latency_ms"]) + done["drops"] == 40
    assert done["drops"] > 0, "frames are due faster than any network runs"
    assert min(done["latency_ms"]) > 0


class Echo:
    """A peer that hands frames back."""

    concurrent = False

    def run(self, frames: Iterable[np.ndarray], emit: Any, *, ahead: bool = False) -> None:
        for frame in frames:
            emit(frame[..., 0], frame)


def test_the_worker_counts_frames_after_the_warm_up(peers: Any, frames: list[np.ndarray], tmp_path: Path) -> None:
    answer = peers("worker").answer
    done = answer(Echo(), frames, {"do": "run", "frames": 5, "warm": 2, "ahead": False})
    assert len(done["latency_ms"]) == 5
    assert 0 < done["seconds"] < 60
    answer(Echo(), frames, {"do": "outputs", "indices": [0, 3], "to": str(tmp_path / "out.npz")})
    with np.load(tmp_path / "out.npz") as saved:
        np.testing.assert_array_equal(saved["overlays"], np.stack([frames[0], frames[3]]))
        assert saved["labels"].shape == (2, *FRAME)
    with pytest.raises(ValueError, match="unknown request 'sing'"):
        answer(Echo(), frames, {"do": "sing"})


def measured(slow: float, frames: int) -> dict[str, Any]:
    """Three rounds in which the tutorial loop takes `slow` times rtseg's time."""

    def turn(ms: float) -> dict[str, Any]:
        return {"p50_ms": ms, "latency_ms": [ms], "cpu_ms": 2 * ms, "rate": 1000 / ms, "others_cores": 0.1}

    stages = {"preprocess": 1.0, "infer": 8.0, "labels": 0.5, "render": 0.5}
    loop = {"rate": 70.0, "latency_ms": [10.0] * (frames - 8) + [14.0] * 8, "drops": 1}
    contenders = {
        key: {
            "concurrent": False, "precision": "fp32", "versions": {"numpy": "2"}, "label_map": [90, 160, "uint8"],
            "overlay": [90, 160, 3, "uint8"], "agreement": 0.98, "agreement_same_resize": 0.99, "overlay_match": 1.0,
            "missing": None,
        }
        for key in ("rtseg", "rtseg-fp32", "tutorial")
    }  # fmt: skip
    return {
        "command": "run", "revision": "0" * 40, "date": "today", "machine": {"cpu": "CPU", "cores": 2},
        "load": {"before": [0.1], "after": [0.2]}, "clip": {"name": "clip.mp4"}, "model": {"name": "m"},
        "frame": [90, 160], "network": [64, 96], "threads": 2, "frames_per_turn": 1, "warm_up_frames": 0,
        "contenders": {**contenders, "torch": {"missing": "no torch"}},
        "rounds": [
            {"rtseg": {**turn(ms), "stages_ms": stages, "open_loop": loop}, "rtseg-fp32": turn(2 * ms),
             "tutorial": turn(slow * ms)}
            for ms in (10.0, 20.0, 30.0)
        ],
    }  # fmt: skip


def test_targets_are_judged_by_the_ratio_within_rounds(peers: Any) -> None:
    page = peers("report").page(measured(4.0, 240))
    four, two = "4.00 (4.00 to 4.00)", "2.00 (2.00 to 2.00)"
    assert f"| tutorial loop's p50 over rtseg's, both as they come | at least 3x | {four} | {four} | met |" in page
    assert f"| the same, both fp32 | at least 3x | {two} | {two} | **not met** |" in page
    assert "| at most 1.5x | 1.40 (14 / 10 ms, 720 frames, 3 dropped) | – | met |" in page
    assert "- `torch` did not run: no torch" in page
    assert "the network takes 8.0 ms; preprocessing, exact labels and the overlay together 2.0 ms" in page


def test_disturbed_rounds_count(peers: Any) -> None:
    data = measured(4.0, 240)
    data["rounds"][1]["tutorial"] |= {"others_cores": 1.5, "p50_ms": 2000.0}
    page = peers("report").page(data)
    assert "both as they come | at least 3x | 4.00 (4.00 to 100.00) | 4.00 (4.00 to 4.00) | met |" in page
    assert "other work used 0.10 (0.10 to 1.50) cores" in page


def test_too_few_frames_give_no_p99(peers: Any) -> None:
    page = peers("report").page(measured(4.0, 200))
    assert "at most 1.5x | 600 frames, 3 dropped: p99 needs 662 | – | not judged |" in page


def test_what_others_use_of_the_machine(peers: Any) -> None:
    if not Path("/proc/stat").is_file():
        pytest.skip("needs /proc")
    busy = peers("run").busy
    mine = busy(str(os.getpid()))
    while busy(str(os.getpid())) < mine + 0.05:
        pass
    assert busy() > busy(str(os.getpid())) > mine
