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
    "ddrnet-23-slim": Published(5.7e6, 36.3, (1024, 2048), 19, "Hong et al. 2021, table 4; arXiv 2101.06085"),
    "bisenetv2": Published(3.36e6, 98.4, (1024, 2048), 19, "definition of CoinCheung/BiSeNet; RDRNet's comparison"),
    "fast-scnn": Published(
        1.14e6, 6.7, (1024, 2048), 19, "definition of Tramac/Fast-SCNN-pytorch; 1.11 M in the paper"
    ),
    "segformer-b0": Published(3.8e6, 8.4, (512, 512), 150, "Xie et al. 2021, table 1"),
}
