"""The names of what is made of a camera's pictures."""

from __future__ import annotations

import pytest

from rtseg.bags.names import base_names


@pytest.mark.parametrize(
    ("topics", "names"),
    [
        (["/camera/image_raw"], ["/camera/segmentation"]),
        (["/camera/image_raw/compressed"], ["/camera/segmentation"]),
        (["/camera/color/image_rect"], ["/camera/color/segmentation"]),
        (["/image"], ["/segmentation"]),
        (["/cam_left", "/cam_right"], ["/cam_left/segmentation", "/cam_right/segmentation"]),
        (["/left/image_raw", "/right/image_raw"], ["/left/segmentation", "/right/segmentation"]),
        (
            ["/camera/image_raw", "/camera/image_rect"],
            ["/camera/image_raw/segmentation", "/camera/image_rect/segmentation"],
        ),
        (["/image_raw", "/front"], ["/segmentation", "/front/segmentation"]),
        (["camera"], ["camera/segmentation"]),
    ],
)
def test_the_namespace_is_that_of_the_camera(topics: list[str], names: list[str]) -> None:
    assert base_names(topics) == dict(zip(topics, names, strict=True))
