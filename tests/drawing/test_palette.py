"""Palettes: published values, the VOC colormap past their end, and users' files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtseg.drawing.palette import (
    PALETTES,
    is_foreign,
    published,
    read_classes,
    read_colors,
    resolve_palette,
    voc_colormap,
)
from rtseg.errors import ConfigError
from rtseg.packages.spec import ModelSpec

CAMVID = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
)


def spec(classes: tuple[str, ...] = CAMVID, palette: tuple[tuple[int, ...], ...] = ()) -> ModelSpec:
    return ModelSpec(name="toy", classes=classes, palette=palette)


def rgb(palette: str | None, index: int, model: ModelSpec | None = None) -> tuple[int, ...]:
    return tuple(int(v) for v in resolve_palette(palette, model or spec()).colors[index][::-1])


def test_voc_colormap_is_the_published_one_and_never_repeats() -> None:
    colors = voc_colormap()
    assert colors[:8] == [
        *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)),
        *((0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128)),
    ]
    assert colors[20] == (0, 64, 128)
    assert colors[255] == (224, 224, 192)
    assert len(set(colors)) == 256


@pytest.mark.parametrize(
    ("name", "count", "samples"),
    [
        ("camvid", 11, {0: ("Sky", (128, 128, 128)), 4: ("Pavement", (60, 40, 222)), 10: ("Bicyclist", (0, 128, 192))}),
        ("cityscapes", 19, {0: ("road", (128, 64, 128)), 13: ("car", (0, 0, 142)), 18: ("bicycle", (119, 11, 32))}),
        ("voc", 21, {0: ("background", (0, 0, 0)), 15: ("person", (192, 128, 128)), 20: ("tvmonitor", (0, 64, 128))}),
        ("street", 20, {0: ("sky", (43, 147, 252)), 3: ("road", (70, 35, 232)), 8: ("car", (252, 55, 3))}),
        ("ade20k", 150, {0: ("wall", (120, 120, 120)), 2: ("sky", (6, 230, 230)), 149: ("flag", (92, 0, 255))}),
        ("coco-stuff", 171, {0: ("person", (0, 192, 64)), 80: ("banner", (0, 192, 0)), 170: ("wood", (64, 64, 0))}),
    ],
)
def test_published_palettes(name: str, count: int, samples: dict[int, tuple[str, tuple[int, ...]]]) -> None:
    rows, names = published(name)
    assert len(rows) == len(names) == len(set(names)) == count
    for index, (label, color) in samples.items():
        assert (names[index], rows[index]) == (label, color)


@pytest.mark.parametrize("name", sorted(PALETTES))
def test_all_256_colours_of_a_published_palette_differ(name: str) -> None:
    palette = resolve_palette(name, spec(("a", "b")))
    assert palette.colors.shape == (256, 3)
    assert palette.colors.dtype == np.uint8
    assert len({tuple(row) for row in palette.colors.tolist()}) == 256
    assert (palette.alpha == -1).all()


def test_the_voc_table_is_the_colormap() -> None:
    assert published("voc")[0] == voc_colormap(21)


def test_a_repeated_published_colour_goes_to_the_first_class() -> None:
    rows, names = published("ade20k")
    assert rows[names.index("road")] == (140, 140, 140)
    assert rows[names.index("skyscraper")] in voc_colormap()


def test_no_choice_takes_the_models_own_palette_with_its_alpha() -> None:
    palette = resolve_palette(None, spec(("a", "b"), ((1, 2, 3), (4, 5, 6, 7))))
    assert palette.colors[:2].tolist() == [[3, 2, 1], [6, 5, 4]]
    assert palette.alpha[:3].tolist() == [-1, 7, -1]


def test_no_choice_draws_street_scenes_in_the_street_palette() -> None:
    rows, names = published("street")
    wanted = dict(zip(names, rows, strict=True))
    assert rgb(None, 3) == wanted["road"]
    assert rgb(None, 0, spec(CAMVID[::-1])) == wanted["rider"]
    cityscapes, labels = published("cityscapes")
    for given in ((), tuple(cityscapes)):
        model = spec(labels, given)
        assert {name: rgb(None, i, model) for i, name in enumerate(labels)} == {name: wanted[name] for name in labels}
    assert rgb(None, 0, spec(CAMVID, tuple(published("camvid")[0]))) == wanted["sky"]


def test_no_choice_keeps_colours_that_somebody_chose() -> None:
    own = [*published("camvid")[0][:-1], (1, 2, 3)]
    assert rgb(None, 0, spec(CAMVID, tuple(own))) == (128, 128, 128)
    assert rgb(None, 10, spec(CAMVID, tuple(own))) == (1, 2, 3)
    with_alpha = tuple((*row, 90) for row in published("camvid")[0])
    assert rgb(None, 0, spec(CAMVID, with_alpha)) == (128, 128, 128)


def test_no_choice_finds_the_published_palette_by_class_names_in_any_order() -> None:
    rows, names = published("ade20k")
    assert rgb(None, 0, spec(names[::-1])) == rows[-1]
    assert rgb(None, 3, spec(published("voc")[1])) == (128, 128, 0)


def test_no_choice_and_unknown_classes_take_the_voc_colormap() -> None:
    assert rgb(None, 1, spec(("a", "b"))) == (128, 0, 0)


@pytest.mark.parametrize(
    ("palette", "classes", "wanted"),
    [
        (
            "cityscapes",
            CAMVID,
            (
                *("sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic sign", "fence", "car"),
                *("person", "rider"),
            ),
        ),
        ("camvid", ("vegetation", "rider", "sidewalk", "road"), ("Tree", "Bicyclist", "Pavement", "Road")),
        ("ade20k", ("terrain", "motorcycle", "Pavement", "SignSymbol"), ("grass", "minibike", "sidewalk", "signboard")),
        ("coco-stuff", ("Sky", "Building", "terrain"), ("sky-other", "building-other", "grass")),
        ("voc", ("motorcycle", "Pedestrian", "traffic_light"), ("motorbike", "person", None)),
        ("cityscapes", ("Bicyclist", "person", "bicycle"), ("rider", "person", "bicycle")),
        ("camvid", ("TrafficSign", "column-pole"), ("SignSymbol", "Pole")),
    ],
)
def test_a_published_palette_is_applied_by_what_class_names_mean(
    palette: str, classes: tuple[str, ...], wanted: tuple[str | None, ...]
) -> None:
    rows, names = published(palette)
    found = [rgb(palette, index, spec(classes)) for index in range(len(classes))]
    assert [names[rows.index(color)] if color in rows else None for color in found] == list(wanted)


def test_classes_that_a_palette_lacks_get_other_colours_and_are_told() -> None:
    palette = resolve_palette("cityscapes", spec(("Car", "lion", "road")))
    assert palette.note == "palette cityscapes has no colour for lion: they get colours of the VOC colormap"
    colors = [tuple(row[::-1]) for row in palette.colors[:3].tolist()]
    assert (colors[0], colors[2]) == ((0, 0, 142), (128, 64, 128))
    assert colors[1] in voc_colormap()
    assert colors[1] not in published("cityscapes")[0]
    assert "draws Bicyclist as bicycle and has no colour for Sky, Building," in resolve_palette("voc", spec()).note
    assert resolve_palette("cityscapes", spec()).note == ""
    many = resolve_palette("camvid", spec(published("ade20k")[1])).note
    assert " more: " in many
    assert len(many) < 300


def test_a_palette_that_names_no_class_is_applied_by_id_and_that_is_told() -> None:
    assert rgb("cityscapes", 0, spec(("ant", "lion"))) == (128, 64, 128)
    assert "names none of the classes of toy" in resolve_palette("cityscapes", spec(("ant", "lion"))).note


def test_no_choice_has_nothing_to_tell() -> None:
    assert resolve_palette(None, spec((*CAMVID, "pothole"))).note == ""


def test_palettes_of_other_data_sets_are_foreign() -> None:
    camvid = tuple(published("camvid")[0])
    assert not is_foreign(spec(CAMVID, camvid))
    assert not is_foreign(spec(("sky", "buildings", "pole"), camvid[:3]))
    assert not is_foreign(spec(("a", "b"), ((1, 2, 3), (4, 5, 6))))
    assert not is_foreign(spec(("a", "b")))
    assert is_foreign(spec(("crop", "weed", "soil"), camvid[:3]))
    assert is_foreign(spec(("crop", "weed", "soil"), tuple(voc_colormap(3))))
    assert is_foreign(spec(CAMVID, tuple(published("cityscapes")[0][:11])))


def test_colors_file_in_both_styles_with_comments_alpha_and_names(tmp_path: Path) -> None:
    file = tmp_path / "colors.txt"
    file.write_text("\ufeff# a comment\n10 20 30\n\n(40, 50, 60),\n70 80 90 100 # tail\n[1, 2, 3, 0]\n", "utf-8")
    palette = resolve_palette(str(file), spec(("a", "b", "c", "d")))
    assert palette.colors[:4].tolist() == [[30, 20, 10], [60, 50, 40], [90, 80, 70], [3, 2, 1]]
    assert palette.alpha[:5].tolist() == [-1, -1, 100, 0, -1]
    assert palette.colors[4].tolist() == [0, 0, 128]
    assert len({tuple(color) for color in palette.colors.tolist()}) == 256


def test_a_named_colors_file_is_applied_by_name(tmp_path: Path) -> None:
    file = tmp_path / "colors.txt"
    file.write_text("1 2 3 traffic light\n4 5 6 200 Car\n")
    assert read_colors(file) == ([(1, 2, 3), (4, 5, 6, 200)], ("traffic light", "Car"))
    assert rgb(str(file), 0, spec(("car", "Traffic light"))) == (4, 5, 6)


def test_a_class_that_a_named_colors_file_calls_otherwise_takes_the_row_of_its_id(tmp_path: Path) -> None:
    file = tmp_path / "colors.txt"
    file.write_text("1 2 3 road\n4 5 6 Himmel\n7 8 9 car\n")
    model = spec(("road", "sky", "car", "lion"))
    assert [rgb(str(file), index, model) for index in range(3)] == [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    assert "no colour for lion:" in resolve_palette(str(file), model).note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n1 2\n", r":2: expected 'R G B' or 'R G B A', whole numbers, found '1 2'"),
        ("1 2 3 4 5\n", r":1: expected 'R G B'"),
        ("1 2 x\n", r":1: expected"),
        ("1 2 3O\n", r":1: expected"),
        ("0.5 0.1 0.2\n", r":1: expected"),
        ("-1 2 3\n", r":1: expected"),
        ("1 2 256\n", r":1: a colour value is 0 to 255, found 256"),
        ("#ff0000\n", r": 0 colours, expected 1 to 256"),
        ("", r": 0 colours"),
        ("1 2 3\n" * 257, r": 257 colours"),
    ],
)
def test_a_bad_colors_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "colors.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"colors.txt{message}") as caught:
        resolve_palette(str(file), spec())
    assert "\n" not in str(caught.value)


def test_unknown_palettes_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no palette 'cityscape'.*did you mean 'cityscapes'"):
        resolve_palette("cityscape", spec())
    with pytest.raises(ConfigError, match=r"palette file not found: .*none.txt"):
        resolve_palette(str(tmp_path / "none.txt"), spec())
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        resolve_palette(str(tmp_path), spec())
    binary = tmp_path / "colors.txt"
    binary.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        resolve_palette(str(binary), spec())


def test_classes_file(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("road\n traffic light \ncar\n\n")
    assert read_classes(file) == ("road", "traffic light", "car")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": 0 class names"),
        ("a\n\nb\n", ":2: an empty line between class names"),
        ("a\nb\nA\n", ":3: class 'A' is already on line 1"),
        ("\n".join(f"c{i}" for i in range(256)), ": 256 class names"),
    ],
)
def test_a_bad_classes_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "classes.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"classes.txt{message}"):
        read_classes(file)


def test_missing_classes_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="class name file not found"):
        read_classes(tmp_path / "classes.txt")
