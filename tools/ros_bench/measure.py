"""Measure message-to-mask latency of `rtseg ros` and of a tutorial's node, open loop, in turn, on real DDS.

    python tools/ros_bench/bench.py --clip CLIP --out docs/bench/ros.json

A camera and a monitor, processes of their own, stand around the node under test. All nodes of a group live through the
whole of it and idle while another has its turn; a turn is warm-up messages, then messages that count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from cases import HERE, ROOT, Contender, Group, Turn
from counting import RECEIVED, account, difference, gaps, losses

START_SECONDS = 120.0
IDLE_SECONDS = 2.0
"""Without a mask for so long, none is to come."""
ATTEMPTS = 4
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""Camera and monitor keep freed memory: fresh memory costs them more than all else that they do with a message."""


class BenchmarkError(RuntimeError):
    """A process did not do its part; the text is the last it said."""


@dataclass
class Process:
    """A program that is measured or measures, with what it wrote."""

    name: str
    child: subprocess.Popen[str]
    log: Path

    def ask(self, **request: Any) -> Any:
        """Send a request and wait for the answer."""
        assert self.child.stdin
        print(json.dumps(request), file=self.child.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        """The next line it says; BenchmarkError when it ended."""
        assert self.child.stdout
        line = self.child.stdout.readline()
        if not line:
            raise self.ended()
        return json.loads(line)

    def ended(self) -> BenchmarkError:
        """Why it is of no use."""
        said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return BenchmarkError(f"{self.name}: {said[-1] if said else 'it ended and said nothing'}")

    def cpu_seconds(self) -> float:
        """CPU time so far, of all threads."""
        if self.child.poll() is not None:
            raise self.ended()
        times = psutil.Process(self.child.pid).cpu_times()
        return float(times.user + times.system)

    def page_faults(self) -> int:
        """Pages of fresh memory that it was given so far (Linux only)."""
        stat = Path(f"/proc/{self.child.pid}/stat").read_text(encoding="utf-8")
        return int(stat.rpartition(")")[2].split()[7])


@contextmanager
def started(name: str, command: list[str], environment: dict[str, str], folder: Path) -> Iterator[Process]:
    """A child that has ended when the block has."""
    log = folder / f"{name}.log"
    with log.open("a") as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    try:
        yield Process(name, child, log)
    finally:
        assert child.stdin
        assert child.stdout
        child.stdin.close()
        try:
            if name not in ("camera", "monitor"):
                child.send_signal(2)
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def environment(group: Group, domain: int, folder: Path) -> dict[str, str]:
    """Of all processes of a group."""
    return {
        **{name: value for name, value in os.environ.items() if name != "ROS_AUTOMATIC_DISCOVERY_RANGE"},
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "FASTDDS_BUILTIN_TRANSPORTS": group.transports,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_LOG_DIR": str(folder / "ros"),
    }


def busy_seconds() -> float:
    """CPU time that everything on the machine used, and that its hypervisor gave to others."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))


@dataclass
class Ends:
    """What stands around a node."""

    camera: Process
    monitor: Process

    def connect(self, contender: Contender, node: Process) -> int:
        """Wait until the three have found each other; a picture's bytes, or 0 if they did not.

        Now and then a participant finds another one, and is not found by it.
        """
        heard = self.monitor.ask(do="listen", mask=contender.mask, diagnostics=contender.diagnostics)
        if not all(heard["publishers"]):
            node.cpu_seconds()  # which tells if it has ended
            return 0
        offered = self.camera.ask(do="advertise", topic=contender.image)
        return int(offered["bytes"]) if offered["subscribers"] else 0


def take_turn(turn: Turn, contender: Contender, node: Process, ends: Ends, count: int, warm: int) -> dict[str, Any]:
    """One repetition: what became of the messages, and the CPU time of each process for one of them."""
    camera, monitor = ends.camera, ends.monitor
    processes = {"camera": camera, "node": node, "monitor": monitor}
    camera.ask(do="play", topic=contender.image, rate=turn.rate, count=warm)
    monitor.ask(do="collect", count=warm, idle=IDLE_SECONDS)
    before = monitor.ask(do="facts") if contender.diagnostics else {}
    load, start = os.getloadavg()[0], time.monotonic()
    cpu, everything = {name: each.cpu_seconds() for name, each in processes.items()}, busy_seconds()
    faults = node.page_faults()
    sent = camera.ask(do="play", topic=contender.image, rate=turn.rate, count=count)
    masks = monitor.ask(do="collect", count=count, idle=IDLE_SECONDS)
    used = {name: each.cpu_seconds() - cpu[name] for name, each in processes.items()}
    faults = node.page_faults() - faults
    others = busy_seconds() - everything - sum(used.values())
    seconds = time.monotonic() - start
    facts = monitor.ask(do="facts") if contender.diagnostics else {}
    monitor.ask(do="silence")
    row = account(sent, masks)
    counters = difference(before, facts) if contender.diagnostics else None
    return {
        "contender": contender.key,
        "rate": turn.rate,
        **row,
        "received": counters[RECEIVED] if counters else None,
        "lost": losses(row, gaps(masks), counters),
        "cpu_ms_per_message": {name: round(1e3 * value / len(sent), 2) for name, value in used.items()},
        "page_faults_per_message": round(faults / len(sent)),
        "others_cores": round(others / seconds, 2),
        "load": round(load, 2),
    }


def run_group(
    group: Group, pictures: Path, model: str, size: str, domain: int, repetitions: int, warm: float, scale: float,
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Start the group's processes and take its turns, `repetitions` times all of them in turn."""
    known, rows = {each.key: each for each in group.contenders}, list[dict[str, Any]]()
    with ExitStack() as stack:
        space = environment(group, domain, folder)
        nodes: dict[str, tuple[Process, ExitStack]] = {}

        def open_node(contender: Contender) -> Process:
            if contender.key in nodes:
                nodes[contender.key][1].close()
            own = stack.enter_context(ExitStack())
            own_space = {"ROS_PYTHON_CHECK_FIELDS": "1" if contender.checked else "0"}
            if contender.kept:
                own_space |= KEEP_MEMORY
            node = own.enter_context(
                started(contender.key, contender.command(model, size), {**space, **own_space}, folder)
            )
            nodes[contender.key] = node, own
            return node

        def open_end(name: str, *arguments: str) -> Process:
            command = [sys.executable, str(HERE / f"{name}.py"), *arguments]
            return stack.enter_context(started(name, command, {**space, **KEEP_MEMORY}, folder))

        ends = Ends(open_end("camera", str(pictures)), open_end("monitor"))
        rmw = {end.answer()["rmw"] for end in (ends.camera, ends.monitor)}
        for contender in group.contenders:
            open_node(contender)
        for repetition in range(repetitions):
            for turn in group.turns:
                contender = known[turn.contender]
                node, restarts = nodes[contender.key][0], 0
                while not (message_bytes := ends.connect(contender, node)):
                    restarts += 1
                    if restarts == ATTEMPTS:
                        raise BenchmarkError(f"{contender.key} was not found, started {ATTEMPTS} times")
                    node = open_node(contender)
                count = max(1, round(turn.seconds * scale * turn.rate / repetitions))
                row = take_turn(turn, contender, node, ends, count, max(1, round(warm * turn.rate)))
                rows.append({"repetition": repetition, "restarts": restarts, "message_bytes": message_bytes, **row})
                say(group, row)
    return {
        "title": group.title,
        "transports": group.transports,
        "rmw": sorted(rmw),
        "contenders": {each.key: each.title for each in group.contenders},
        "turns": rows,
    }


def say(group: Group, row: dict[str, Any]) -> None:
    """A line of progress."""
    median = f"{np.median(row['latency_ms']):.1f}" if row["latency_ms"] else "-"
    print(
        f"{group.key} {row['contender']} {row['rate']:g} Hz: {row['masks']}/{row['sent']}, p50 {median} ms, "
        f"lost {row['lost']}, CPU {row['cpu_ms_per_message']}, load {row['load']}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
