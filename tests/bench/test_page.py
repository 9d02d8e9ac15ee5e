"""The page of a benchmark: whole, on its own, and with the numbers of the JSON."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rtseg.bench import page, plots
from rtseg.bench.chart import INKS
from rtseg.errors import SinkError
from tests.bench.sample import sample

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Checks that elements are closed in order, and keeps tables, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "small" and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += " "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def read(data: dict[str, Any]) -> tuple[str, Reader]:
    text = page.page(data)
    return text, Reader(text)


@pytest.fixture(scope="module")
def whole() -> tuple[dict[str, Any], str, Reader]:
    data = sample()
    return data, *read(data)


def row(table: list[list[str]], name: str) -> list[str]:
    return next(cells[1:] for cells in table if cells[0] == name)


@pytest.mark.usefixtures("undrawn")
def test_the_file_is_the_page(tmp_path: Path) -> None:
    path = tmp_path / "bench.html"
    data = sample(due=30, repetitions=1)
    page.write(data, path)
    assert path.read_text(encoding="utf-8") == page.page(data)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(SinkError, match="cannot write page"):
        page.write(data, tmp_path / "missing" / "bench.html")


def test_nothing_comes_from_outside(whole: tuple[dict[str, Any], str, Reader]) -> None:
    _, text, reader = whole
    assert "://" not in text
    assert not reader.tags & {"script", "link", "iframe", "img", "object", "base"}
    links = [value for _, name, value in reader.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(value.startswith("#") for value in links)
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert "@import" not in text
    policy = next(value for tag, name, value in reader.attributes if tag == "meta" and name == "content")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_both_themes_have_every_colour(whole: tuple[dict[str, Any], str, Reader]) -> None:
    _, text, _ = whole
    light, dark = text.split("@media (prefers-color-scheme: dark)")[:2]
    for name, (on_light, on_dark) in INKS.items():
        assert f"--{name}: {on_light};" in light
        assert f"--{name}: {on_dark};" in dark
    assert set(re.findall(r"var\(--([\w-]+)\)", text)) <= set(INKS)


def test_ids_are_unique(whole: tuple[dict[str, Any], str, Reader]) -> None:
    ids = [value for _, name, value in whole[2].attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_first_table_has_the_numbers_of_the_json(whole: tuple[dict[str, Any], str, Reader]) -> None:
    data, _, reader = whole
    table = reader.tables[0]
    assert table[0][1:] == [one["name"] for one in data["configurations"]]
    for place, one in enumerate(data["configurations"]):
        together, p50 = one["pooled"]["capture_to_overlay_ms"], one["summary"]["capture_to_overlay_ms.p50"]
        assert row(table, "frames")[place] == f"{together['samples']} of 900 due"
        expected = f"{p50['median']:.2f} {p50['min']:.2f} to {p50['max']:.2f}"
        assert row(table, "capture-to-overlay p50")[place] == expected
        assert row(table, "capture-to-overlay p95")[place].startswith(f"{together['p95']:.2f} ")
        assert row(table, "capture-to-overlay p99")[place] == f"{together['p99']:.2f}"
        assert row(table, "capture-to-overlay p99.9")[place] == f"– {together['samples']} of 6,636"
        assert row(table, "capture-to-overlay max")[place].startswith(f"{together['max']:.2f} ")
        assert row(table, "jitter p99")[place] == f"{one['pooled']['jitter_ms']['p99']:.2f}"
        drops = sum(repetition["drops"]["total"] for repetition in one["repetitions"])
        assert row(table, "frames dropped")[place] == f"{drops} 0 in sinks"
        rates = sorted(repetition["rate"] for repetition in one["repetitions"])
        assert row(table, "frames per second")[place] == f"{rates[1]:.2f} {rates[0]:.2f} to {rates[2]:.2f}"
        assert row(table, "CPU seconds per frame")[place] == "0.0320 0.0310 to 0.0330"
        assert row(table, "peak memory, MiB")[place] == "513.3 512.3 to 514.3"
        assert row(table, "late frames of the load")[place] == "3 worst 2.2 ms"
    assert row(table, "mIoU") == ["0.7263", "0.7719 scored otherwise"]
    assert "p90 64, p95 130, p99 662, p99.9 6,636" in reader.text


def test_every_stage_and_repetition_is_told(whole: tuple[dict[str, Any], str, Reader]) -> None:
    data, _, reader = whole
    one = data["configurations"][0]
    latencies = next(table for table in reader.tables if table[0][1:2] == ["samples"])
    assert latencies[0][2:] == ["p50", "p90", "p95", "p99", "p99.9", "max"]
    for name, figures in one["pooled"]["stages_ms"].items():
        assert row(latencies, name)[:3] == [str(figures["samples"]), f"{figures['p50']:.2f}", f"{figures['p90']:.2f}"]
    single = [table for table in reader.tables if table[0][1:2] == ["samples"]][2]
    first = one["repetitions"][1]["capture_to_overlay_ms"]
    assert row(single, "capture-to-overlay") == [
        "295", f"{first['p50']:.2f}", f"{first['p90']:.2f}", f"{first['p95']:.2f}", "–", "–", f"{first['max']:.2f}",
    ]  # fmt: skip
    repetitions = next(table for table in reader.tables if table[0][0] == "repetition")
    assert row(repetitions, "frames due") == ["300", "300", "300"]
    assert row(repetitions, "seconds from the start") == ["0.0", "23.0", "46.0"]
    assert row(repetitions, "– in capture") == [str(rep["drops"]["capture"]) for rep in one["repetitions"]]
    assert row(repetitions, "final memory, MiB") == ["480.0", "481.0", "482.0"]
    assert row(repetitions, "sum of stages to whole") == [
        f"{rep['stages_sum']['ratio']:.1%}" for rep in one["repetitions"]
    ]


def test_the_circumstances_are_told(whole: tuple[dict[str, Any], str, Reader]) -> None:
    data, _, reader = whole
    for text in (
        "rtseg bench highway.mp4 --model unet-fast0-camvid --rate 30",
        data["revision"]["commit"] + " with changes",
        "AMD EPYC 9B14",
        "openvino 2026.1.0",
        data["configurations"][1]["model"]["sha256"],
        "1080x1920",
        "120 frames at 212.4 frames/s, p50 5.23 ms (120 samples)",
        "Open loop: a frame is due 30 times a second",
        "30 frames of warm-up not counted",
        "544x960",
        "rtseg.bench/1",
    ):
        assert text in reader.text, text


def test_ratios_are_of_the_second_to_the_first(whole: tuple[dict[str, Any], str, Reader]) -> None:
    data, _, reader = whole
    table = next(table for table in reader.tables if table[0][1:2] == ["ratio"])
    assert row(table, "capture-to-overlay p50") == ["2.694", "2.658 to 2.746 min and max", "3"]
    a, b = (one["name"] for one in data["configurations"])
    assert f"{b} as a multiple of {a}" in reader.text


def test_charts_stand_in_the_page_with_their_names(whole: tuple[dict[str, Any], str, Reader]) -> None:
    labels = [value for tag, name, value in whole[2].attributes if (tag, name) == ("svg", "aria-label")]
    assert labels == [
        "How long frames took", "Percentiles", "Where the time goes", "Latency over time", "Accuracy against latency",
    ]  # fmt: skip


def test_what_is_missing_is_said() -> None:
    _, reader = read(sample(trace=False, accuracy=False))
    assert reader.text.count("kept no values for each frame") == 2
    assert "None of the models has an accuracy that is known here: rtseg eval measures it." in reader.text
    assert "Medians of the repetitions' p50" in reader.text
    assert row(reader.tables[0], "mIoU") == ["– not known"] * 2
    assert sum(tag == "svg" and name == "viewbox" for tag, name, _ in reader.attributes) == 2


@pytest.mark.usefixtures("undrawn")
def test_parts_that_a_file_may_lack() -> None:
    data = sample(names=("one",), infer_ms=(9.0,), repetitions=1, due=30)
    data.update(revision=None, comparisons=[])
    data["settings"].update(loop="closed", rate="max")
    one = data["configurations"][0]
    del one["pooled"], one["repetitions"][0]["late"]
    one["repetitions"][0]["stages_sum"] = None
    data["input"]["decode"] = None
    _, reader = read(data)
    assert "Closed loop" in reader.text
    assert "not known" in reader.text
    assert row(reader.tables[0], "capture-to-overlay p90") == [f"– {one['repetitions'][0]['frames']} of 64"]
    assert row(reader.tables[0], "late frames of the load") == ["–"]


@pytest.mark.usefixtures("undrawn")
def test_a_gpu_has_its_rows() -> None:
    data = sample(gpu=True, due=100)
    _, reader = read(data)
    table = next(table for table in reader.tables if table[0][1:2] == ["samples"])
    p50 = sorted(rep["gpu_ms"]["gpu-infer"]["p50"] for rep in data["configurations"][0]["repetitions"])[1]
    assert row(table, "gpu-infer")[1] == f"{p50:.2f}"
    assert "of the GPU's stages the medians over them" in reader.text


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their charts, which take the time."""
    monkeypatch.setattr(plots, "svg", lambda data: {})


def test_captions_say_what_the_bars_of_a_gpu_are() -> None:
    data = sample(gpu=True, due=30, repetitions=1)
    note = "those of the GPU are medians of the repetitions' p50"
    assert note not in page._facts(data["configurations"])["gpu"]
    for one in data["configurations"]:
        lasted = one["repetitions"][0]["trace"]["stages_ns"]
        for name in [name for name in lasted if name.startswith("gpu-")]:
            del lasted[name]
    assert note in page._facts(data["configurations"])["gpu"]


@pytest.mark.usefixtures("undrawn")
def test_searches_are_told() -> None:
    data = sample(due=30, repetitions=1)
    tries = [
        {"rate": 30.0, "drops": 0.12, "p99_ms": 61.5, "samples": 300, "supported": False, "holds": False},
        {"rate": 21.4, "drops": 0.0, "p99_ms": None, "samples": 700, "supported": True, "holds": True},
    ]
    data["search"] = {"kind": "rate", "rate": 21.4, "peak": 25.0, "tries": tries}
    _, reader = read(data)
    assert "21.4 frames/s (under 1 % of frames dropped" in reader.text
    table = next(table for table in reader.tables if table[0][0] == "try")
    assert table[1:] == [
        ["1", "30", "12.0%", "61.5", "300", "no", "no"],
        ["2", "21.4", "0.0%", "–", "700", "yes", "yes"],
    ]
    assert "A p99 of fewer than 662 frames is an estimate." in reader.text
    data["search"] = {"kind": "budget", "budget_ms": 33.0, "chosen": None, "written": None, "tries": []}
    assert "None of those tried." in read(data)[1].text
    data["search"].update(chosen="<b>x", written="fast.yaml")
    assert "<b>x. Its configuration is in fast.yaml." in read(data)[1].text


def test_names_are_text_whatever_is_in_them() -> None:
    evil = "<script>alert(1)</script>\"'&amp; <img src=x onerror=y> {sources} `z`"
    data = sample(names=(evil, "b"), due=70, repetitions=1, gpu=True)
    one = data["configurations"][0]
    one["config"] = {"input": evil}
    one["model"]["file"] = one["accuracy"]["from"] = data["input"]["source"] = evil
    data["machine"].update(cpu=evil, libraries={evil: evil})
    data["revision"]["commit"] = data["settings"]["order"] = evil
    data["command"] = ["rtseg", evil]
    data["search"] = {"kind": "budget", "budget_ms": 1.0, "chosen": evil, "tries": [{"name": evil, evil: evil}]}
    data["comparisons"][0].update(a=evil, metric=evil, interval=evil)
    one["repetitions"][0]["stages_ms"][evil] = one["repetitions"][0]["stages_ms"]["infer"]
    one["pooled"]["stages_ms"][evil] = one["repetitions"][0]["stages_ms"]["infer"]
    text, reader = read(data)
    assert not reader.tags & {"script", "img"}
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert reader.text.count("<script>alert(1)</script>") > 12
    assert evil in unescape(text)
