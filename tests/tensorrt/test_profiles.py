"""Sizes as flags give them, as file names spell them, and the profile that serves one."""

from __future__ import annotations

from typing import Any

import pytest

from rtseg.errors import ConfigError
from rtseg.packages.spec import ModelSpec
from rtseg.tensorrt.profiles import Profile, chosen, covering, spelt

SPEC = ModelSpec(name="net", classes=("a", "b"), multiple=32, short_side=352)


def test_what_is_chosen() -> None:
    assert chosen(SPEC) == (Profile.fixed((352, 640)),)  # a 16:9 frame, its long side rounded up
    fixed = ModelSpec(name="net", classes=("a", "b"), size=(100, 200))
    assert chosen(fixed) == (Profile.fixed((100, 200)),)
    assert chosen(SPEC, [(64, 96), (64, 96), (96, 64)]) == (Profile.fixed((64, 96)), Profile.fixed((96, 64)))
    ranged = Profile((64, 64), (352, 640), (512, 1024))
    assert chosen(SPEC, [(64, 96)], (64, 64), (352, 640), (512, 1024)) == (Profile.fixed((64, 96)), ranged)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"smallest": (64, 64)}, "--min without --opt, --max: a range of sizes takes all three"),
        ({"smallest": (64, 64), "largest": (96, 96)}, "--min, --max without --opt"),
        (
            {"smallest": (64, 64), "usual": (32, 96), "largest": (96, 96)},
            "--min 64x64, --opt 32x96, --max 96x96: the heights must not decrease",
        ),
        (
            {"smallest": (64, 64), "usual": (64, 96), "largest": (96, 64)},
            "the widths must not decrease",
        ),
        ({"sizes": [(60, 96)]}, "takes sizes that are multiples of 32, got 60x96: use 64x96"),
        ({"sizes": [(0, 96)]}, "got 0x96: use 32x96"),
    ],
)
def test_misuse(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        chosen(SPEC, **given)


def test_a_fixed_model_refuses_another_size() -> None:
    fixed = ModelSpec(name="net", classes=("a", "b"), size=(100, 200))
    with pytest.raises(ConfigError, match=r"takes 100x200 \(height x width\) only, got 64x96"):
        chosen(fixed, [(64, 96)])


def test_the_narrowest_profile_that_serves_a_size() -> None:
    profiles = (Profile((32, 32), (64, 64), (512, 512)), Profile.fixed((64, 96)), Profile((32, 32), (64, 64), (96, 96)))
    assert covering(profiles, (64, 96)) == 1
    assert covering(profiles, (96, 96)) == 2
    assert covering(profiles, (512, 32)) == 0
    assert covering(profiles, (544, 32)) is None
    assert covering(profiles, (16, 32)) is None


def test_spelling() -> None:
    assert spelt([Profile.fixed((64, 96)), Profile((32, 64), (64, 96), (96, 128))]) == "64x96+32x64-64x96-96x128"
