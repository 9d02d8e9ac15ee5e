"""Mask files of every kind, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtseg.datasets._files import image_files, read_image, read_mask
from rtseg.errors import ConfigError
from tests.datasets import pictures as make

IDS = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)


@pytest.mark.parametrize("count", [2, 4, 16, 256])
def test_an_indexed_png_gives_its_indices(tmp_path: Path, count: int) -> None:
    """With 1, 2, 4 and 8 bits per pixel, and a palette in which all colours are the same."""
    ids = IDS & (count - 1)
    picture = Image.fromarray(ids, mode="P")
    picture.putpalette([7] * 3 * count)
    picture.save(tmp_path / "a.png", bits=count.bit_length() - 1, transparency=0)
    assert np.array_equal(read_mask(tmp_path / "a.png"), ids)


def test_one_bit_is_zero_or_one(tmp_path: Path) -> None:
    Image.fromarray(IDS > 99).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), (IDS > 99).astype(np.uint8))


def test_three_equal_channels_are_ids(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([IDS] * 3))
    assert np.array_equal(read_mask(tmp_path / "a.png"), IDS)
    cv2.imwrite(str(tmp_path / "b.png"), np.dstack([IDS, IDS, IDS, np.full_like(IDS, 255)]))
    assert np.array_equal(read_mask(tmp_path / "b.png"), IDS)


def test_refused_masks(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), IDS.astype(np.uint16))
    with pytest.raises(ConfigError, match=r"deep.png: a mask of uint16: save it with 8 bits"):
        read_mask(tmp_path / "deep.png")
    cv2.imwrite(str(tmp_path / "lossy.jpg"), IDS)
    with pytest.raises(ConfigError, match=r"lossy.jpg: a mask in JPEG has other colours"):
        read_mask(tmp_path / "lossy.jpg")
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([IDS] * 4))
    with pytest.raises(ConfigError, match=r"alpha.png: a mask with transparent pixels"):
        read_mask(tmp_path / "alpha.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ConfigError, match=r"empty.png is empty"):
        read_mask(tmp_path / "empty.png")
    with pytest.raises(ConfigError, match=r"nothing.png cannot be read: no such file"):
        read_mask(tmp_path / "nothing.png")


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    make.write_indexed(path, IDS)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-20])
    with pytest.raises(ConfigError, match=r"a.png is cut off"):
        read_mask(path)
    data[data.index(b"IDAT") + 9] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"a.png is damaged: a checksum in it is wrong"):
        read_mask(path)


def test_orientation_only_where_asked(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (6, 8, 3)
    assert read_image(tmp_path / "a.jpg", upright=True).shape == (8, 6, 3)


def test_two_files_of_one_name(tmp_path: Path) -> None:
    make.write_image(tmp_path / "a.png")
    make.write_image(tmp_path / "a.jpg")
    (tmp_path / ".a.png").touch()
    with pytest.raises(ConfigError, match=r"a.jpg and a.png have one name"):
        image_files(tmp_path)
