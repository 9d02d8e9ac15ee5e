"""A sink of your own: a class with the four members of `rtseg.Sink`, used beside the ones that rtseg has.

    python examples/custom_sink.py drive.mp4 out.mp4 --name Pedestrian --share 0.02

This one prints a line whenever a class begins or ceases to cover a share of the picture, where yours may switch a
relay, write to a database or publish on MQTT.
"""

import argparse
import sys
from types import TracebackType

import rtseg


class Alarm:
    """Tells when `name` covers at least `share` (0 to 1) of the picture."""

    needs = frozenset({"areas"})
    """What is to be made of each frame: labels, confidence, overlay, areas. What nobody needs is not computed."""
    threaded = False
    """A sink that takes long, on a disk or a network, says True: it gets a thread and a queue of its own."""

    def __init__(self, name: str, share: float) -> None:
        self._name, self._share = name, share
        self._on = False
        self.lines: list[str] = []

    def __enter__(self) -> "Alarm":
        return self  # open files and connections here

    def write(self, result: rtseg.Result) -> None:
        """Called with every result; `raise rtseg.StopRun("why")` ends the run as a closed window does."""
        if self._name not in result.classes:
            raise rtseg.ConfigError(f"there is no class '{self._name}': choose one of {', '.join(result.classes)}")
        share = result.areas[result.classes.index(self._name)]
        if (share >= self._share) != self._on:
            self._on = not self._on
            state = "in sight" if self._on else "gone"
            self.lines.append(f"frame {result.frame.index}: {self._name} {state} ({share:.1%})")
            print(self.lines[-1])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them here; it is called however the run ends."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--name", default="Pedestrian")
    parser.add_argument("--share", type=float, default=0.01)
    args = parser.parse_args()
    try:
        rtseg.run(args.source, [args.output, Alarm(args.name, args.share)])
    except rtseg.RtsegError as error:
        sys.exit(f"custom_sink: {error}")


if __name__ == "__main__":
    main()
