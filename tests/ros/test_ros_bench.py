"""The arithmetic of the benchmark in ROS, its page, and one short run with real processes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ros.processes import Domain
from tests.tool_modules import tool_modules

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tools" / "ros_bench"
MS = 1_000_000


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    """Imports a module of tools/ros_bench by name."""
    with tool_modules(FOLDER) as load:
        yield load


def schedule(count: int, late: int = 0) -> list[list[int]]:
    """Messages due every 100 ms, each sent `late` ms after it was due, in 2 ms."""
    return [[100 * MS * index, (100 * index + late) * MS, 2 * MS] for index in range(count)]


def test_latency_runs_from_the_time_a_message_was_due(tool: Any) -> None:
    sent = schedule(3, late=30)
    masks = [[stamp, stamp + 50 * MS, stamp + 45 * MS, 7 + index] for index, (stamp, _, _) in enumerate(sent)]
    row = tool("counting").account(sent, masks)
    assert row == {
        "sent": 3, "masks": 3, "foreign": 0, "latency_ms": [50.0] * 3, "late_ms": [30.0] * 3, "sending_ms": [2.0] * 3,
        "sent_to_published_ms": [15.0] * 3, "published_to_arrived_ms": [5.0] * 3,
    }  # fmt: skip


def test_masks_are_matched_by_stamp_whatever_their_order(tool: Any) -> None:
    sent = schedule(4)
    masks = [[300 * MS, 340 * MS, 0, 2], [100 * MS, 350 * MS, 0, 1]]
    row = tool("counting").account(sent, masks)
    assert (row["sent"], row["masks"], row["latency_ms"]) == (4, 2, [40.0, 250.0])
    assert row["sent_to_published_ms"] == [], "some middleware does not say when it published"


def test_a_mask_of_no_message_and_a_second_one_are_not_timed(tool: Any) -> None:
    masks = [[0, 10 * MS, 0, 1], [0, 20 * MS, 0, 2], [5, 20 * MS, 0, 3]]
    row = tool("counting").account(schedule(2), masks)
    assert (row["masks"], row["foreign"], row["latency_ms"]) == (1, 2, [10.0])


def test_gaps_in_numbers_are_masks_lost_on_the_way_back(tool: Any) -> None:
    gaps = tool("counting").gaps
    assert gaps([[0, 0, 0, 11], [0, 0, 0, 12], [0, 0, 0, 15]]) == 2
    assert gaps([[0, 0, 0, None]]) == gaps([]) == 0


def test_losses_are_told_apart_by_place(tool: Any) -> None:
    losses = tool("counting").losses
    row = {"sent": 10, "masks": 4}
    counters = {"received": 8, "replaced": 3, "before_publishing": 0, "bad": 0}
    assert losses(row, 1, counters) == {"lost_on_the_way": 2, "replaced": 3, "after_node": 1}
    assert losses(row, 0, counters) == {"lost_on_the_way": 2, "replaced": 3, "before_or_in_node": 1}
    assert losses(row, 1, None) == {"after_node": 1, "before_or_in_node": 5}
    assert losses({"sent": 8, "masks": 8}, 0, counters | {"replaced": 0}) == {}


def test_counters_are_those_of_the_nodes_diagnostics(tool: Any) -> None:
    counting = tool("counting")
    text = (ROOT / "rtseg" / "ros" / "diagnostics.py").read_text(encoding="utf-8")
    assert all(f'"{key}":' in text for key in (*counting.COUNTERS.values(), counting.RECEIVED))
    before = {"received": "1", "replaced by newer ones": "2", "bad messages": "0"}
    now = {**before, "received": "11", "replaced by newer ones": "5", "dropped before publishing": "1"}
    found = counting.difference(before, now)
    assert found == {"received": 10, "replaced": 3, "before_publishing": 1, "bad": 0}


def test_percentiles_need_their_samples(tool: Any) -> None:
    summary = tool("counting").summary
    few, many = summary([1.0] * 661), summary([*[1.0] * 655, *[9.0] * 7])
    assert few["p99"] is None
    assert few["p95"] == 1.0
    assert (many["samples"], many["p50"], many["p99"], many["max"]) == (662, 1.0, 9.0, 9.0)


def test_turns_are_long_enough_for_a_p99(tool: Any) -> None:
    from rtseg.timing import FLOORS

    for rate, seconds in tool("cases").ENOUGH.items():
        assert rate * seconds >= FLOORS[99]


def test_every_turn_has_its_contender_and_every_contender_its_topics(tool: Any) -> None:
    for group in tool("cases").GROUPS:
        known = {each.key: each for each in group.contenders}
        assert {turn.contender for turn in group.turns} == set(known)
        for contender in known.values():
            command = contender.command("model", "90x160")
            assert command[command.index("--image") + 1] == contender.image
            assert contender.image.endswith("/compressed") == contender.compressed
            assert bool(contender.diagnostics) == ("rtseg" in command)


@pytest.mark.ros
def test_a_stamp_is_written_where_ros_reads_it(tool: Any) -> None:
    pytest.importorskip("rclpy", reason="needs rclpy", exc_type=ImportError)
    import numpy as np

    from rtseg.frame import Header
    from rtseg.messages import records as messages
    from rtseg.messages.images import image_bytes

    end = tool("end")
    stamp = 12_345 * end.NANO + 678
    changed = end.stamped(image_bytes(np.full((3, 5), 9, np.uint8), Header("", 1, "camera", 1)), stamp)
    message = messages.decode(messages.IMAGE, changed)
    assert messages.stamp_ns(message) == end.stamp_of(changed) == stamp
    assert (message.header.frame_id, message.data.tolist()) == ("camera", [9] * 15)


@pytest.mark.ros
def test_the_tutorials_ways_to_fill_a_message_give_the_same(tool: Any) -> None:
    pytest.importorskip("rclpy", reason="needs rclpy", exc_type=ImportError)
    import numpy as np
    from sensor_msgs.msg import Image

    tutorial = tool("tutorial_node")
    labels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    made = [tutorial.mask_message(Image(), labels, fill) for fill in tutorial.FILLS.values()]
    assert all(each == made[0] for each in made)
    assert (made[0].height, made[0].width, made[0].step, made[0].encoding) == (5, 7, 7, "mono8")
    assert made[0].data.tolist() == labels.flatten().tolist()
    picture = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    message = Image(height=5, width=6, step=18, encoding="bgr8", data=picture.tobytes())
    np.testing.assert_array_equal(tutorial.image_of(message), picture)


def turn(contender: str, rate: float, latency: float, **more: Any) -> dict[str, Any]:
    """A repetition of ten messages."""
    return {
        "repetition": 0, "contender": contender, "rate": rate, "sent": 10, "masks": 10, "foreign": 0, "lost": {},
        "received": 10, "restarts": 0, "message_bytes": 6_220_872, "latency_ms": [latency] * 10, "late_ms": [0.1] * 10,
        "sending_ms": [2.0] * 10, "sent_to_published_ms": [latency - 3] * 10, "published_to_arrived_ms": [1.0] * 10,
        "cpu_ms_per_message": {"camera": 3.0, "node": latency, "monitor": 1.0},
        "page_faults_per_message": 7, "others_cores": 0.1, "load": 0.2,
        **more,
    }  # fmt: skip


def measured() -> dict[str, Any]:
    """A file as bench.py writes it, with one group."""
    turns = [
        turn("rtseg", 30, 10.0),
        turn("cv_bridge", 30, 25.0, masks=7, latency_ms=[25.0] * 7, lost={"before_or_in_node": 3}),
    ]
    group = {
        "title": "1080p", "transports": "LARGE_DATA", "rmw": ["rmw_fastrtps_cpp"], "turns": turns,
        "contenders": {"rtseg": "`rtseg ros`", "cv_bridge": "tutorial"},
    }  # fmt: skip
    row = {"samples": 60, "p50": 0.5, "p90": None, "max": 1.25}
    return {
        "command": "python bench.py", "revision": {"commit": "0123456789abcdef", "dirty": False}, "date": "today",
        "machine": {"cpu": "CPU", "cores": 2}, "ros": {"rclpy": "9"}, "load": {"before": [0.1], "after": [0.2]},
        "clip": {"name": "clip.mp4"}, "model": {"name": "m"}, "picture": [1080, 1920], "repetitions": 1,
        "groups": {"network": group}, "costs": {"out": {"mask, bytes (rtseg)": row}},
    }  # fmt: skip


def test_the_page_says_what_was_lost_and_how_many_times_slower(tool: Any) -> None:
    page = tool("page").page(measured())
    assert "| `rtseg ros` | 30 | 10 | 0 | 10 | 10.0 | – | – | – | 10.0 | 10.0 (10.0 to 10.0) |" in page
    assert "| tutorial | 30 | 10 | 3: 3 on the way or in the node's queue | 7 | 25.0 |" in page
    assert (
        "- tutorial at 30 Hz: 2.50 (2.50 to 2.50) times the p50 of `rtseg ros`, 2.50 (2.50 to 2.50) times its CPU time."
        in page
    )
    assert "| mask, bytes (rtseg) | 60 | 0.50 | – | 1.25 |" in page
    assert "pictures of 6.22 MB" in page
    assert "| 3.0; 10.0; 1.0 | 7 (7 to 7) | 0.42 | 0.10 (0.10 to 0.10) |" in page
    assert (
        "- 1080p, `rtseg ros` at 30 Hz: 10 of 10 messages reached the node, 10 masks the subscriber; p50 10.0 ms, "
        "p99 – ms; camera, node and subscriber kept 0.42 of 2 cores busy." in page
    )


def test_the_page_is_what_was_measured(tool: Any) -> None:
    data = json.loads((ROOT / "docs" / "bench" / "ros.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "ros-latency.md").read_text(encoding="utf-8")
    assert page == tool("page").page(data), "run tools/ros_bench/page.py"
    assert set(data["groups"]) == {group.key for group in tool("cases").GROUPS}
    assert not re.search(r'"/(?!\w+/(image|mask))|/home/|/tmp/|\.venv', json.dumps(data)), "paths of a machine"


@pytest.mark.ros
@pytest.mark.slow
def test_a_short_run_accounts_for_every_message(tool: Any, domain: Domain, tmp_path: Path) -> None:
    cases, measure = tool("cases"), tool("measure")
    group = cases.Group(
        "short", "short",
        (cases.Contender("mine", "rtseg", backend="null"),
         cases.Contender("theirs", "tutorial", tutorial="cv_bridge", backend="null")),
        (cases.Turn("mine", 20, 1.0), cases.Turn("theirs", 20, 1.0)),
    )  # fmt: skip
    import numpy as np

    pictures = tmp_path / "pictures.npy"
    np.save(pictures, np.random.default_rng(1).integers(0, 256, (2, 90, 160, 3)).astype(np.uint8))
    done = measure.run_group(group, pictures, "unet-fast0-camvid", "90x160", domain.number, 1, 0.2, 1.0, tmp_path)
    mine, theirs = done["turns"]
    assert done["rmw"] == ["rmw_fastrtps_cpp"]
    assert (mine["contender"], theirs["contender"]) == ("mine", "theirs")
    for row in (mine, theirs):
        assert row["sent"] == 20
        assert row["foreign"] == 0
        assert row["masks"] + sum(row["lost"].values()) == 20
        assert len(row["latency_ms"]) == row["masks"] > 0
        assert min(row["latency_ms"]) > 0
        assert row["message_bytes"] > 90 * 160 * 3
        assert row["cpu_ms_per_message"]["node"] > 0
    assert mine["received"] + mine["lost"].get("lost_on_the_way", 0) == 20
