"""Real processes for tests: started in a DDS domain of their own, read by line, always ended and reaped.

A test takes the fixture `domain` (tests/ros/conftest.py), starts the program under test with `domain.start` and the
other side with `domain.peer`, a process that publishes, subscribes and calls services on command (tests/ros/peer.py).
Nothing sleeps: every wait is for a line, a match or a count, and has a limit.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import numpy as np

from rtseg.messages import records as messages

__all__ = ["Answer", "Domain", "Peer", "Process", "claimed_domain"]

ROOT = Path(__file__).parents[2]
SHARED = Path("/dev/shm")
SEGMENT = re.compile(f"{SHARED}/fastdds_[0-9a-f]{{16}}")
LIMIT = 30.0
"""Seconds that a wait may take where the test says nothing: discovery takes one on a busy machine."""
T = TypeVar("T")


class Process:
    """`python ARGUMENTS…` as a child whose output is kept by line; when `with` ends, so has the process."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self.segments: set[Path] = set()
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.child.stdout, self.stdout), (self.child.stderr, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], lines: list[str]) -> None:
        with pipe:
            for line in pipe:
                with self._changed:
                    lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_until(self, found: Callable[[], T | None], what: str, seconds: float = LIMIT) -> T:
        """What `found` gives once it is not None, looked for after every line; AssertionError when it never will be."""
        end = time.monotonic() + seconds
        with self._changed:  # held while looking, so that no line comes between a look and the wait
            while (result := found()) is None:
                left = end - time.monotonic()
                over = not any(reader.is_alive() for reader in self._readers)
                if over or left <= 0:
                    state = f"it ended with {self.child.wait(5)}" if over else f"not within {seconds} s"
                    raise AssertionError(f"no {what}: {state}; it wrote:\n{self.written()}")
                self._changed.wait(min(left, 0.2))
            return result

    def wait_for(self, text: str, seconds: float = LIMIT, times: int = 1) -> str:
        """The line of stderr or stdout that is the `times`-th with this text."""

        def found() -> str | None:
            lines = [line for line in (*self.stderr, *self.stdout) if text in line]
            return lines[times - 1] if len(lines) >= times else None

        return self.wait_until(found, f"line with {text!r}", seconds)

    def written(self) -> str:
        """The end of what it wrote, for messages."""
        return "\n".join([f"  {line[:300]}" for line in (*self.stdout[-20:], *self.stderr[-40:])]) or "  nothing"

    def send(self, line: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def stop(self, number: int = signal.SIGINT, seconds: float = LIMIT) -> int:
        """Its exit code after a signal; AssertionError, and SIGKILL, where it does not end in time."""
        if number == signal.SIGKILL:
            self._note_segments()
        self.child.send_signal(number)
        return self.wait(seconds)

    def _note_segments(self) -> None:
        """Take note of the shared memory that it will not remove itself once it is killed.

        Without its ports: they have 0.2 MB, and Fast DDS gives those of the dead to whoever comes next, of any domain.
        """
        with suppress(FileNotFoundError):
            names = Path(f"/proc/{self.child.pid}/maps").read_text(encoding="utf-8").split()
            self.segments |= {Path(name) for name in names if SEGMENT.fullmatch(name)}

    def _kill(self) -> None:
        self._note_segments()
        self.child.kill()
        self.child.wait()

    def wait(self, seconds: float = LIMIT) -> int:
        """Its exit code, with all output read; SIGKILL and AssertionError where it does not end in time."""
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError(f"still running after {seconds} s; it wrote:\n{self.written()}") from None
        for reader in self._readers:
            reader.join(5)
        return code

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):
            self.child.stdin.close()  # which ends a peer
        try:
            if self.child.poll() is None and not self._ends_by_itself():
                self.child.terminate()
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self._kill()
        for reader in self._readers:
            reader.join(5)

    def _ends_by_itself(self) -> bool:
        return False


class Answer:
    """A command that a peer works on."""

    def __init__(self, peer: Peer, number: int, what: str) -> None:
        self._peer, self._number, self._what = peer, number, what

    def result(self, seconds: float = LIMIT) -> Any:
        """What the command gave; AssertionError where it failed or did not end in time."""
        answer = self._peer.wait_until(lambda: self._peer.answer(self._number), f"answer to {self._what}", seconds)
        assert "error" not in answer, f"{self._what}: {answer['error']}; the peer wrote:\n{self._peer.written()}"
        return answer["result"]


class Peer(Process):
    """A process that does what tests/ros/peer.py can, its commands being the methods of that file's `Peer`."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        super().__init__(["-m", "tests.ros.peer", name], environment)
        self.name = name
        self._folder = folder
        self._number = 0
        self._read_lines = 0
        self._answers: dict[int, dict[str, Any]] = {}

    def _ends_by_itself(self) -> bool:
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            return False
        return True

    def answer(self, number: int) -> dict[str, Any] | None:
        for line in self.stdout[self._read_lines :]:
            self._read_lines += 1
            answer = json.loads(line)
            self._answers[answer["number"]] = answer
        return self._answers.pop(number, None)

    def begin(self, command: str, **arguments: Any) -> Answer:
        """Let it work on a command beside others."""
        self._number += 1
        self.send(json.dumps({"number": self._number, "command": command, "arguments": arguments}))
        return Answer(self, self._number, f"{self.name} {command}")

    def call(self, command: str, **arguments: Any) -> Any:
        """The result of a command; its own time limit, `seconds` where it takes one, is the peer's to keep."""
        return self.begin(command, **arguments).result(arguments.get("seconds", 0) + LIMIT)

    def message(self, topic: str, kind: str, index: int = -1) -> Any:
        """One of the messages that were kept, decoded by rtseg."""
        path = self._folder / f"{self.name}-{self._number}.npy"
        self.call("save", topic=topic, index=index, path=str(path))
        return messages.decode(kind, np.load(path).tobytes())


@contextmanager
def claimed_domain() -> Iterator[int]:
    """A DDS domain, 1 to 100, that no other test of this machine uses; higher ones meet the system's own ports."""
    for attempt in range(100):
        number = (os.getpid() + _taken() + attempt) % 100 + 1
        with (Path(tempfile.gettempdir()) / f"rtseg-test-domain-{number}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise AssertionError("all DDS domains are taken")


_count = 0


def _taken() -> int:
    """A number that grows, so that a test does not meet what is left of the one before."""
    global _count
    _count += 1
    return _count


class Domain:
    """A DDS domain on this machine only, and the processes in it."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self._folder = folder
        self._stack = ExitStack()
        self._processes: list[Process] = []

    def environment(self, transports: str = "LARGE_DATA") -> dict[str, str]:
        """What a process in the domain needs; `transports` is FASTDDS_BUILTIN_TRANSPORTS.

        With Fast DDS's default, pictures of some megabytes get lost on the way.
        """
        return {
            **os.environ,
            "ROS_DOMAIN_ID": str(self.number),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(self._folder / "log"),
            "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
            "FASTDDS_BUILTIN_TRANSPORTS": transports,
            "PYTHONUNBUFFERED": "1",
        }

    def _add(self, process: Process) -> None:
        self._processes.append(process)
        self._stack.enter_context(process)

    def start(self, *arguments: str, transports: str = "LARGE_DATA") -> Process:
        """`python ARGUMENTS…` in the domain, ended with it at the latest."""
        process = Process(list(arguments), self.environment(transports))
        self._add(process)
        return process

    def peer(self, name: str, transports: str = "LARGE_DATA") -> Peer:
        """A peer whose node has this name, ended with the domain at the latest."""
        peer = Peer(name, self.environment(transports), self._folder)
        self._add(peer)
        return peer

    def __enter__(self) -> Domain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, and remove what they left in shared memory."""
        self._stack.close()
        for segment in set().union(*(process.segments for process in self._processes)):
            segment.unlink(missing_ok=True)
            segment.with_name(f"{segment.name}_el").unlink(missing_ok=True)
        # Fast DDS keeps a file for each port of a domain, now and then beyond its last process.
        for port in range(7400 + 250 * self.number, 7650 + 250 * self.number):
            for name in (f"fastdds_port{port}", f"fastdds_port{port}_el", f"sem.fastdds_port{port}_mutex"):
                (SHARED / name).unlink(missing_ok=True)
