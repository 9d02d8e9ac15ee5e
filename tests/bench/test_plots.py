"""The charts as files and as SVG: there for what the data holds, not blank, and coloured by the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from rtseg.bench import plots
from rtseg.bench.chart import INKS
from rtseg.errors import SinkError
from tests.bench.sample import sample

NAMES = ["latency-histogram", "latency-percentiles", "stages", "latency-over-time", "accuracy"]


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller pictures take less time."""
    monkeypatch.setattr(plots, "DPI", 100)


@pytest.fixture
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Only one chart is drawn, the one that the test is parametrised with."""
    name: str = request.param
    monkeypatch.setattr(plots, "CHARTS", {name: plots.CHARTS[name]})
    return name


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return plots.svg(sample())


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter("text")]


def bgr(ink: str) -> list[int]:
    return [int(INKS[ink][0][at : at + 2], 16) for at in (5, 3, 1)]


def share(image: Any, ink: str) -> float:
    return float((np.abs(image.astype(int) - bgr(ink)).max(axis=2) < 12).mean())


def test_files_are_pictures_with_the_colours_of_both_configurations(tmp_path: Path) -> None:
    paths = plots.write(sample(), tmp_path / "new" / "folder")
    assert paths == [tmp_path / "new" / "folder" / f"{name}.png" for name in NAMES]
    for path in paths:
        image = cv2.imread(str(path))
        assert image is not None
        assert image.shape[1] == round(plots.WIDTH * plots.DPI)
        assert share(image, "paper") > 0.5
        assert (image != image[0, 0]).any(axis=2).mean() > 0.01
    over_time, stages = cv2.imread(str(paths[3])), cv2.imread(str(paths[2]))
    assert share(over_time, "drop") > 1e-3
    assert share(over_time, "series-0") > 1e-3
    assert share(over_time, "series-1") > 1e-3
    # The second configuration takes longer, so its bars are longer.
    assert share(stages, "series-1") > 1.5 * share(stages, "series-0") > 0.005


@pytest.mark.parametrize("alone", ["latency-over-time"], indirect=True)
def test_a_plot_without_drops_has_no_red(tmp_path: Path, alone: str) -> None:
    data = sample(infer_ms=(5.0, 6.0), due=200)
    for one in data["configurations"]:
        for repetition in one["repetitions"]:
            repetition["trace"]["dropped"] = []
    image = cv2.imread(str(plots.write(data, tmp_path)[0]))
    assert share(image, "series-1") > 1e-3
    assert share(image, "drop") == 0


def test_only_what_the_data_holds_is_drawn(tmp_path: Path) -> None:
    data = sample(trace=False, accuracy=False)
    assert [path.stem for path in plots.write(data, tmp_path)] == ["latency-percentiles", "stages"]
    for one in data["configurations"]:
        one.update(repetitions=[], summary={}, pooled={})
    assert plots.svg(data) == {}


def test_svg_takes_its_colours_from_the_page(drawn: dict[str, str]) -> None:
    assert list(drawn) == NAMES
    for picture in drawn.values():
        assert not re.search(r"#[0-9a-fA-F]{6}\b", picture)
        used = set(re.findall(r"var\(--([\w-]+)\)", picture))
        assert {"ink", "soft", "series-0", "series-1"} <= used <= set(INKS)
        assert "http" not in picture
        assert "<style" not in picture
    assert "var(--drop)" in drawn["latency-over-time"]


def test_ids_are_unique_over_all_charts_and_references_lead_to_them(drawn: dict[str, str]) -> None:
    ids = [found for picture in drawn.values() for found in re.findall(r'\bid="([^"]+)"', picture)]
    assert len(ids) == len(set(ids)) > 100
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', "".join(drawn.values()))
    assert set(targets) <= set(ids)
    assert targets


@pytest.mark.parametrize("alone", ["latency-histogram"], indirect=True)
def test_charts_are_the_same_each_time(drawn: dict[str, str], alone: str) -> None:
    assert plots.svg(sample()) == {alone: drawn[alone]}


def test_numbers_in_the_charts_are_those_of_the_data(drawn: dict[str, str]) -> None:
    one = sample()["configurations"][0]
    frames, p50 = one["pooled"]["capture_to_overlay_ms"]["samples"], one["summary"]["capture_to_overlay_ms.p50"]
    note = next(text for text in texts(drawn["latency-histogram"]) if text.startswith(f"{frames} frames"))
    assert f"p50 {p50['median']:.1f} " in note
    assert f"p99 {one['pooled']['capture_to_overlay_ms']['p99']:.1f} " in note
    lost = sum(repetition["drops"]["total"] for repetition in one["repetitions"])
    assert f"{lost} of 900 frames dropped" in texts(drawn["latency-over-time"])
    infer = (
        np.concatenate([repetition["trace"]["stages_ns"]["infer"] for repetition in one["repetitions"]]).mean() / 1e6
    )
    assert f"{infer:.2f}" in texts(drawn["stages"])


@pytest.mark.parametrize("name", NAMES)
def test_axes_begin_at_zero(drawn: dict[str, str], name: str) -> None:
    assert sum(text in ("0", "0.0") for text in texts(drawn[name])) >= 2
    assert not [text for text in texts(drawn[name]) if re.fullmatch(r"[-−]\d.*", text)]


@pytest.mark.parametrize("alone", ["latency-histogram"], indirect=True)
def test_slow_frames_beyond_the_histogram_are_counted(alone: str) -> None:
    data = sample(names=("one",), infer_ms=(10.0,), repetitions=1, due=1000)
    note = next(text for text in texts(plots.svg(data)[alone]) if "frames" in text)
    assert re.search(r"1 beyond, to 2\d\d ms", note)


@pytest.mark.parametrize("alone", ["stages"], indirect=True)
def test_names_are_text_whatever_is_in_them(alone: str) -> None:
    name = '<script>alert("1")</script> & $x^2$ id="a" url(#b)'
    picture = plots.svg(sample(names=(name,), infer_ms=(9.0,), due=70))[alone]
    assert "<script" not in picture
    assert name in " ".join(texts(picture))


def test_many_configurations_with_long_names_still_fit(tmp_path: Path) -> None:
    names = tuple(
        f"a-rather-long-name-of-a-model-{number} openvino bf16 1088x1920 depth 2 refined" for number in range(8)
    )
    data = sample(names=names, infer_ms=(9.0,) * 8, repetitions=1, due=40)
    for path in plots.write(data, tmp_path):
        image = cv2.imread(str(path))
        assert (image[:, -2:] == 255).all(), f"{path.stem} runs over its right edge"


@pytest.mark.parametrize("alone", ["stages"], indirect=True)
def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path, alone: str) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SinkError, match="cannot write plot"):
        plots.write(sample(due=30, repetitions=1), tmp_path / "taken")


def test_without_matplotlib_the_import_says_what_to_install() -> None:
    code = (
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'matplotlib' else real(name, *rest)\n"
        "from rtseg.errors import MissingExtra\n"
        "import rtseg.bench.trace\n"
        "try:\n    import rtseg.bench.page\nexcept MissingExtra as exc:\n    print(exc)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "matplotlib: pip install 'rtseg[bench]'" in out
