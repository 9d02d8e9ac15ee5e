from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rtseg.errors import ConfigError
from rtseg.geometry import fit, follow_aspect

SIDES = st.integers(1, 4000)
SIZES = st.tuples(SIDES, SIDES)


@pytest.mark.parametrize(
    ("frame", "network", "mode", "expected"),
    [
        ((1080, 1920), (512, 1024), "letterbox", (0, 57, 512, 910)),
        ((1080, 1920), (512, 1024), "stretch", (0, 0, 512, 1024)),
        ((1080, 1920), (512, 1024), "crop", (-32, 0, 576, 1024)),
        ((1920, 1080), (512, 1024), "letterbox", (0, 368, 512, 288)),
        ((100, 100), (100, 100), "letterbox", (0, 0, 100, 100)),
        ((1, 1), (3, 5), "letterbox", (0, 1, 3, 3)),
        ((1, 4000), (32, 32), "letterbox", (15, 0, 1, 32)),
    ],
)
def test_fit(frame: tuple[int, int], network: tuple[int, int], mode: str, expected: tuple[int, ...]) -> None:
    found = fit(frame, network, mode)  # type: ignore[arg-type]
    assert (found.top, found.left, found.height, found.width) == expected
    assert (found.frame, found.network) == (frame, network)


@given(SIZES, SIZES)
def test_letterbox_lies_inside_and_touches_two_sides(frame: tuple[int, int], network: tuple[int, int]) -> None:
    found = fit(frame, network)
    assert 0 <= found.top <= found.top + found.height <= network[0]
    assert 0 <= found.left <= found.left + found.width <= network[1]
    assert found.height == network[0] or found.width == network[1]
    assert abs(found.top - (network[0] - found.height - found.top)) <= 1
    assert abs(found.left - (network[1] - found.width - found.left)) <= 1


@given(SIZES, SIZES)
def test_crop_covers_the_network_input(frame: tuple[int, int], network: tuple[int, int]) -> None:
    found = fit(frame, network, "crop")
    assert found.top <= 0
    assert found.left <= 0
    assert found.top + found.height >= network[0]
    assert found.left + found.width >= network[1]


@given(SIZES, SIZES, st.sampled_from(["letterbox", "crop"]))
def test_aspect_is_kept_to_a_pixel(frame: tuple[int, int], network: tuple[int, int], mode: str) -> None:
    found = fit(frame, network, mode)  # type: ignore[arg-type]
    scales = (network[0] / frame[0], network[1] / frame[1])
    scale = min(scales) if mode == "letterbox" else max(scales)
    assert abs(found.height - frame[0] * scale) <= max(0.5, 1 - frame[0] * scale) + 1e-6
    assert abs(found.width - frame[1] * scale) <= max(0.5, 1 - frame[1] * scale) + 1e-6


@pytest.mark.parametrize("sizes", [((0, 5), (3, 3)), ((5, 5), (3, 0)), ((-1, 5), (3, 3))])
def test_a_size_of_zero(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    with pytest.raises(ConfigError, match="a size is zero"):
        fit(*sizes)


@pytest.mark.parametrize(
    ("frame", "short", "multiple", "expected"),
    [
        ((1080, 1920), 512, 32, (512, 928)),
        ((1920, 1080), 512, 32, (928, 512)),
        ((1024, 2048), 512, 32, (512, 1024)),
        ((360, 480), 360, 8, (360, 480)),
        ((720, 1280), 360, 8, (360, 640)),
        ((100, 100), 10, 32, (32, 32)),
        ((100, 100), 50, 32, (64, 64)),
    ],
)
def test_follow_aspect(frame: tuple[int, int], short: int, multiple: int, expected: tuple[int, int]) -> None:
    assert follow_aspect(frame, short, multiple) == expected


@given(SIZES, st.integers(1, 2048), st.sampled_from([1, 2, 8, 32, 64]))
def test_followed_sizes_are_multiples_that_lose_no_scale(frame: tuple[int, int], short: int, multiple: int) -> None:
    assume(max(frame) <= 16 * min(frame))
    height, width = follow_aspect(frame, short, multiple)
    assert height % multiple == width % multiple == 0
    assert min(height, width) >= multiple
    assert abs(min(height, width) - short) <= max(multiple / 2, multiple - short)
    placed = fit(frame, (height, width))
    assert min(placed.height, placed.width) >= min(height, width) * (1 - 0.5 / min(frame)) - 1
    assert height <= width if frame[0] <= frame[1] else height >= width


@pytest.mark.parametrize(
    ("frame", "network"), [((1, 500), (64, 1024)), ((900, 2), (1024, 64)), ((10, 160), (64, 1024))]
)
def test_an_extreme_aspect_is_cut_to_sixteen_to_one(frame: tuple[int, int], network: tuple[int, int]) -> None:
    assert follow_aspect(frame, 64, 32) == network
    place = fit(frame, network)
    assert (place.height, place.width)[frame[0] < frame[1]] == 1024
