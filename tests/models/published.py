"""Parameters and multiply-adds of the networks as published, for `test_zoo.py`."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """What a paper or a published definition says of a network: counts without auxiliary heads unless `heads`."""

    parameters: float
    gmac: float | None
    size: tuple[int, int]
    classes: int
    source: str
    heads: bool = False


PUBLISHED: dict[str, Published] = {
    "pidnet-s": Published(7.63e6, 11.8, (512, 1024), 19, "Xu et al. 2023, published definition"),
    "pidnet-m": Published(28.54e6, 44.3, (512, 1024), 19, "Xu et al. 2023, published definition"),
    "pidnet-l": Published(36.94e6, 68.7, (512, 1024), 19, "Xu et al. 2023, published definition"),
}
