"""The input sizes that a plan takes: one optimisation profile for each fixed size, or one from smallest to largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtseg.errors import BackendError, ConfigError
from rtseg.geometry import follow_aspect
from rtseg.packages.shapes import input_shape
from rtseg.packages.spec import ModelSpec

__all__ = ["FRAME", "Profile", "chosen", "covering", "spelt"]

FRAME = (1080, 1920)
"""Frame whose aspect ratio decides the input size where none is given."""
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Profile:
    """Network sizes (height, width) that one optimisation profile serves; it is fastest at `usual`."""

    smallest: Size
    usual: Size
    largest: Size

    @classmethod
    def fixed(cls, size: Size) -> Profile:
        """The profile of one size."""
        return cls(size, size, size)

    def covers(self, size: Size) -> bool:
        """Whether the profile serves `size`."""
        return all(low <= side <= high for low, side, high in zip(self.smallest, size, self.largest, strict=True))

    @property
    def area(self) -> int:
        """Input pixels at the largest size."""
        return self.largest[0] * self.largest[1]

    def __str__(self) -> str:
        if self.smallest == self.largest:
            return _shown(self.usual)
        return f"{_shown(self.smallest)}-{_shown(self.usual)}-{_shown(self.largest)}"


def chosen(
    spec: ModelSpec,
    sizes: Sequence[Size] = (),
    smallest: Size | None = None,
    usual: Size | None = None,
    largest: Size | None = None,
) -> tuple[Profile, ...]:
    """The profiles that flags describe; ConfigError where they contradict each other or the model.

    Without any: the model's fixed size, or the one that it gives a 16:9 frame.
    """
    ends = {"--min": smallest, "--opt": usual, "--max": largest}
    given = [flag for flag, size in ends.items() if size is not None]
    profiles = [Profile.fixed(size) for size in dict.fromkeys(sizes)]
    if given and len(given) < len(ends):
        missing = ", ".join(flag for flag in ends if flag not in given)
        raise ConfigError(f"{', '.join(given)} without {missing}: a range of sizes takes all three, or give --size")
    if smallest and usual and largest:
        for side, name in enumerate(("height", "width")):
            if not smallest[side] <= usual[side] <= largest[side]:
                raise ConfigError(
                    f"--min {_shown(smallest)}, --opt {_shown(usual)}, --max {_shown(largest)}: "
                    f"the {name}s must not decrease"
                )
        profiles.append(Profile(smallest, usual, largest))
    if not profiles:
        profiles = [Profile.fixed(spec.size or follow_aspect(FRAME, spec.short_side, spec.multiple))]
    for profile in profiles:
        for size in (profile.smallest, profile.usual, profile.largest):
            try:
                input_shape(spec, size)
            except BackendError as exc:
                raise ConfigError(str(exc)) from exc
    return tuple(profiles)


def covering(profiles: Sequence[Profile], size: Size) -> int | None:
    """The index of the narrowest profile that serves `size`; None where there is none."""
    fitting = [index for index, profile in enumerate(profiles) if profile.covers(size)]
    return min(fitting, key=lambda index: profiles[index].area, default=None)


def spelt(profiles: Sequence[Profile]) -> str:
    """The profiles as a part of a file name."""
    return "+".join(map(str, profiles))


def _shown(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
