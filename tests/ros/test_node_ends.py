"""How the node ends: signals in traffic and while it loads, a loop that fails, and arguments that do not fit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from rtseg.messages import records as messages
from rtseg.messages.status import ERROR
from rtseg.packages.spec import METADATA_KEY
from tests.onnx_models import save, value, weights
from tests.ros.processes import Domain, Process
from tests.ros.segmenting import SIZE, TOPIC, TOY, Talk, errors_of, frame_message, start_node

pytestmark = pytest.mark.ros
SECONDS = 10.0
"""More than an end may take; the machine may be busy."""


def error_line(process: Process) -> str:
    """The only line that starts with `rtseg: error:`."""
    lines = [line for line in process.stderr if line.startswith("rtseg: error: ")]
    assert len(lines) == 1 and not any("Traceback" in line for line in process.stderr), process.written()
    return lines[0].removeprefix("rtseg: error: ")


BOTH = [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_in_the_middle_of_traffic_ends_it_without_a_word(domain: Domain, number: int) -> None:
    node = start_node(domain)
    talk = Talk(domain.peer("camera"))
    talk.offer()
    for output in ("mask", "overlay"):
        talk.listen(output)
    talk.await_first()
    traffic = talk.peer.begin("publish_images", topic=TOPIC, height=SIZE[0], width=SIZE[1], count=100, rate=100)
    talk.came("mask", 20)
    assert node.stop(number, SECONDS) == 0
    assert not any("Traceback" in line or "ERROR" in line or "WARN" in line for line in node.stderr), node.written()
    traffic.result()


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_while_the_model_loads_ends_it_too(domain: Domain, tmp_path: Path, number: int) -> None:
    # Reading a named pipe that nobody writes to takes for ever.
    slow = tmp_path / "slow.txt"
    os.mkfifo(slow)
    node = start_node(domain, "--palette", str(slow))
    writer = node.wait_until(lambda: writing_end(slow), "reader of its palette")
    try:
        assert node.stop(number, SECONDS) == 0
    finally:
        os.close(writer)
    assert not any("Traceback" in line for line in node.stderr), node.written()


def writing_end(pipe: Path) -> int | None:
    """A named pipe opened to be written to; None while nobody has opened it to read."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_signal_while_a_string_is_executed_is_no_death_by_signal(domain: Domain) -> None:
    assert domain.start("-m", "tests.ros.interrupted").wait() == 0


def failing_model(path: Path) -> Path:
    """A network that fits the input it is tried with, 256x384, and fails at every other."""
    kernel, bias = weights()
    nodes = [
        helper.make_node("Conv", ["pixels", "kernel", "bias"], ["raw"], strides=[8, 8]),
        helper.make_node("Reshape", ["raw", "shape"], ["scores"]),
    ]
    shape = numpy_helper.from_array(np.array([1, 5, 32, 48]), "shape")
    initialisers = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias"), shape]
    pixels, scores = value("pixels", ("n", 3, "h", "w")), value("scores", (1, 5, "x", "y"))
    return save(path, nodes, [pixels], [scores], initialisers, metadata={METADATA_KEY: TOY.to_json()})


def test_a_loop_that_fails_ends_the_node_with_its_reason(domain: Domain, tmp_path: Path) -> None:
    model = failing_model(tmp_path / "failing.onnx")
    node = start_node(domain, "--backend", "onnxruntime", "--model", str(model))
    talk = Talk(domain.peer("camera"))
    talk.offer()
    talk.listen("mask")
    for index in range(200):
        talk.send(frame_message(index))
        if node.child.poll() is not None or talk.came("mask", 1, 0.1):
            break
    assert node.wait(SECONDS) == 1
    assert "failing.onnx" in error_line(node) or "onnxruntime" in error_line(node)


@pytest.mark.slow
def test_a_manager_can_take_a_failed_node_up_again(domain: Domain, tmp_path: Path) -> None:
    model = failing_model(tmp_path / "failing.onnx")
    node = start_node(domain, "--no-autostart", "--backend", "onnxruntime", "--model", str(model))
    talk = Talk(domain.peer("manager"))
    talk.peer.call("advertise", topic=TOPIC, kind=messages.IMAGE)
    for transition in ("configure", "activate"):
        assert talk.peer.call("change_state", node="/segmentation", transition=transition)
    talk.listen("mask")
    talk.listen("diagnostics", messages.DIAGNOSTICS)
    talk.diagnostics()
    told = len(talk.came("diagnostics"))
    for index in range(200):
        talk.send(frame_message(index))
        if any("segmentation ended" in line for line in node.stderr):
            break
        talk.came("mask", 1, 0.1)
    node.wait_for("segmentation ended")
    while (status := talk.next("diagnostics", messages.DIAGNOSTICS, told).status[0]).level != ERROR:
        told += 1
    assert "onnxruntime" in status.message
    assert talk.peer.call("wait_publishers", topic="/segmentation/mask", count=0) == 0
    assert talk.peer.call("get_state", node="/segmentation") == "unconfigured"
    assert talk.peer.call("set_parameters", node="/segmentation", values={"backend": "null"}) == {"backend": None}
    for transition in ("configure", "activate"):
        assert talk.peer.call("change_state", node="/segmentation", transition=transition)
    assert talk.peer.call("wait_publishers", topic="/segmentation/mask", count=1) == 1
    talk.await_first()
    assert node.stop(signal.SIGTERM, SECONDS) == 0


WRONG = [
    (["--image", "/cam era"], 1, "/cam era"),
    (["--image", "/camera/image", "--backend", "null", "--camera-info", "/in fo"], 1, "topic '/in fo'"),
    (["--image", "/camera/image", "--model", "nowhere"], 1, "nowhere"),
    (["--image", "/camera/image", "--backend", "none"], 1, "unknown backend 'none'"),
    (["--image", "/camera/image", "--alpha", "3"], 1, "parameter alpha is 3.0, expected 0.0 to 1.0"),
    (["--image", "/camera/image", "--mask-size", "half"], 1, "parameter mask_size is 'half'"),
    (["--image", "/camera/image", "--hidden-classes", "Rode"], 1, "no class 'Rode'"),
    (["--image", "/camera/image", "--name", "a node"], 1, "a node"),
    (["--image", "/camera/image", "--ros-args", "-p", "alpha:=2.0"], 1, "alpha"),
    (["--image", "/camera/image", "--ros-args", "-p", "depth:=deep"], 1, "depth"),
    (["--image", "/camera/image", "--ros-args", "-p", "depth"], 1, "--ros-args -p depth"),
    (["--image", "/camera/image", "--ros-args", "--params-file", "nowhere.yaml"], 1, "nowhere.yaml"),
    (["--image", "/camera/image", "--ros-args", "--colour"], 1, "--colour"),
    (["--image", "/camera/image", "--colour"], 2, "--colour"),
    (["--image", "/camera/image", "--threads", "many"], 2, "--threads"),
]


def test_what_does_not_fit_is_said_in_one_line(domain: Domain) -> None:
    results = errors_of(domain, [["ros", *words] for words, _, _ in WRONG])
    for (words, code, said), (found, lines) in zip(WRONG, results, strict=True):
        assert found == code, (words, lines)
        assert "Traceback" not in "".join(lines), words
        assert len([line for line in lines if line.startswith("rtseg: error: ") and said in line]) == 1 or code == 2
        assert said in lines[-1], words
