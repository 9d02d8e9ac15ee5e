"""What a step found, what failed, what could not run, and which targets were met; on disk after each part."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

__all__ = ["NotRun", "Record"]


class NotRun(Exception):
    """Something that is missing here, and what to do."""


class Record:
    """The part of the JSON that belongs to a step; `left` says how much of its time there still is."""

    def __init__(self, path: Path, seconds: float, tell: Callable[[str], None] = print) -> None:
        self.result: dict[str, Any] = {}
        self._path, self._deadline, self.tell = path, time.monotonic() + seconds, tell
        self._errors: list[dict[str, str]] = []
        self._not_run: list[dict[str, str]] = []
        self._targets: list[dict[str, Any]] = []

    @property
    def left(self) -> float:
        """Seconds until the step should be done."""
        return self._deadline - time.monotonic()

    def time_for(self, name: str, seconds: float) -> bool:
        """Whether as many seconds are left; that the part called `name` is not run is noted where they are not."""
        left = self.left
        if left < seconds:
            self.missing(name, f"no time was left: {left:.0f} of {seconds:.0f} s")
        return left >= seconds

    def missing(self, name: str, reason: str) -> None:
        """Note that the part called `name` cannot run here."""
        self._not_run.append({"part": name, "reason": reason})
        self.tell(f"  not run: {name}: {reason}")
        self.save()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of the step, whose failure is noted and ends nothing else."""
        begin = time.monotonic()
        try:
            yield
        except NotRun as exc:
            self.missing(name, str(exc))
        except Exception as exc:  # noqa: BLE001 - noted, and the exit status says so
            where = traceback.extract_tb(exc.__traceback__)[-1]
            text = " ".join(f"{type(exc).__name__}: {exc}".split())[:2000]
            self._errors.append({"part": name, "error": text, "where": f"{Path(where.filename).name}:{where.lineno}"})
            self.tell(f"  FAILED: {name}: {text}")
            self.tell("".join(traceback.format_exception(exc)[-6:]))
        else:
            self.tell(f"  {name} ({time.monotonic() - begin:.1f} s)")
        finally:
            self.save()

    def target(
        self,
        name: str,
        value: float,
        limit: float,
        unit: str,
        *,
        sense: Literal["most", "least"] = "most",
        required: bool = False,
    ) -> None:
        """Note whether `value` is at `most` or at `least` the limit; a `required` one that is missed is a failure."""
        met = value <= limit if sense == "most" else value >= limit
        told = {"name": name, "value": value, "limit": limit, "sense": sense, "unit": unit}
        self._targets.append({**told, "met": bool(met), "required": required})

    @property
    def status(self) -> str:
        """ "done", "failed", or "not run" where that is all that is wrong."""
        if self._errors or any(each["required"] and not each["met"] for each in self._targets):
            return "failed"
        return "not run" if self._not_run else "done"

    def save(self) -> None:
        """Write everything so far, whole."""
        content = {
            "status": self.status,
            "errors": self._errors,
            "not_run": self._not_run,
            "targets": self._targets,
            "result": self.result,
        }
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(content, default=_plain), encoding="utf-8")
        part.replace(self._path)


def _plain(value: Any) -> Any:
    """NumPy's numbers and paths as JSON's."""
    return value.item() if hasattr(value, "item") else str(value)
