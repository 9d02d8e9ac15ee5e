"""Results by queue, as DepthAI programs read them: `get` waits for the newest result, `try_get` takes what is there.

    python examples/depthai_style.py camera:0

The pipeline runs in a thread of its own, and a result that nobody fetched gives way to the next one, as in an output
queue with maxSize=1 and blocking=False. Where your program is the loop itself, `for result in rtseg.stream(…)` is all
it takes.
"""

import sys
import threading
from types import TracebackType
from typing import Any

import rtseg


class ResultQueue:
    """The newest result of a source, in a `with` block; `settings` are those of `rtseg.stream`."""

    def __init__(self, source: Any, **settings: Any) -> None:
        self._stream = rtseg.stream(source, **settings)
        self._changed = threading.Condition()
        self._newest: rtseg.Result | None = None
        self._error: rtseg.RtsegError | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        error = None
        try:
            for result in self._stream:
                with self._changed:
                    self._newest = result
                    self._changed.notify()
        except rtseg.RtsegError as exc:  # a camera that was unplugged: for `get` to raise
            error = exc
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def get(self) -> rtseg.Result | None:
        """The newest result that was not fetched yet, waited for; None once the source has ended.

        Raises:
            rtseg.RtsegError: the source, model or backend failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended)
            if self._newest is None and self._error is not None:
                raise self._error
            return self.try_get()

    def try_get(self) -> rtseg.Result | None:
        """The newest result that was not fetched yet, if there is one."""
        with self._changed:  # a Condition's lock may be taken twice by a thread
            result, self._newest = self._newest, None
            return result

    def __enter__(self) -> "ResultQueue":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()  # ends the loop of the other thread
        self._thread.join()


def main() -> None:
    with ResultQueue(sys.argv[1] if len(sys.argv) > 1 else "camera:0") as queue:
        for result in iter(queue.get, None):
            print(f"frame {result.frame.index}: {', '.join(result.masks())}; {result.latency_ns / 1e6:.1f} ms")


if __name__ == "__main__":
    main()
