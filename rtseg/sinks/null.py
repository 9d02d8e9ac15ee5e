"""Takes results and keeps nothing: for measuring, and for tests."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rtseg.drawing.view import View
from rtseg.errors import ConfigError, nearest
from rtseg.frame import NEEDS, Result, StreamInfo
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NullSink"]


class NullSink:
    """Discards results; `needs` names, separated by commas, what is made for it all the same (`none` for nothing).

    `written` counts the results. Errors: ConfigError for an unknown need.
    """

    threaded = False

    def __init__(self, target: str, info: StreamInfo, spec: ModelSpec, view: View, *, needs: str = "overlay") -> None:
        names = [name.strip() for name in needs.split(",") if name.strip() not in ("", "none")]
        for name in names:
            if name not in NEEDS:
                raise ConfigError(f"a null output cannot need '{name}': {nearest(name, [*sorted(NEEDS), 'none'])}")
        if target:
            raise ConfigError(f"a null output takes no name, found '{target}': write null: and set its option 'needs'")
        self.needs = frozenset(names)
        self.written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to finish."""

    def write(self, result: Result) -> None:
        """Count it."""
        self.written += 1
