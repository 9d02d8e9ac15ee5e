"""Views, hidden classes, legend and HUD: which pixel gets which colour, and where text may be."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.drawing.colormap import DARK, line_thickness
from rtseg.drawing.legend import BACKGROUND, Item, TextBoxes, text_size
from rtseg.drawing.palette import published, resolve_palette
from rtseg.drawing.render import Hud, Renderer
from rtseg.drawing.view import VIEWS, View
from rtseg.kernels import cpu as kernels
from rtseg.kernels.launch import FUSED_THICKNESS
from rtseg.packages.spec import ModelSpec

SPEC = ModelSpec(name="toy", classes=("road", "car", "sky"), palette=((200, 0, 0), (0, 200, 0), (0, 0, 200, 51)))
ROAD, CAR, SKY = (0, 0, 200), (0, 200, 0), (200, 0, 0)
OUTLINE_ROAD, OUTLINE_CAR, OUTLINE_SKY = (129, 129, 228), (16, 203, 16), (144, 144, 231)[::-1]


def scene(height: int = 60, width: int = 80) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A grey picture in four quarters: road, car, sky, unlabelled."""
    labels = np.zeros((height, width), np.uint8)
    labels[: height // 2, width // 2 :] = 1
    labels[height // 2 :, : width // 2] = 2
    labels[height // 2 :, width // 2 :] = 255
    return np.full((height, width, 3), 100, np.uint8), labels


def draw(view: View, hud: Hud | None = None, size: tuple[int, int] = (60, 80)) -> NDArray[np.uint8]:
    image, labels = scene(*size)
    return Renderer(SPEC, resolve_palette(None, SPEC), view).draw(image, labels, hud)


def quarters(picture: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """The colours well inside road, car, sky and unlabelled."""
    height, width = picture.shape[:2]
    points = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
    return [tuple(picture[int(y * height), int(x * width)].tolist()) for y, x in points]


def test_overlay_blends_with_the_global_alpha_and_a_classs_own() -> None:
    road, car, sky, unlabelled = quarters(draw(View(("overlay",), alpha=0.4)))
    assert np.abs(np.array(road) - (60, 60, 140)).max() <= 1
    assert np.abs(np.array(car) - (60, 140, 60)).max() <= 1
    assert np.abs(np.array(sky) - (120, 80, 80)).max() <= 1  # 51 of 255, whatever the global alpha is
    assert unlabelled == (100, 100, 100)


@pytest.mark.parametrize(("alpha", "road"), [(0.0, (100, 100, 100)), (1.0, ROAD), (7.0, ROAD), (-1.0, (100,) * 3)])
def test_alpha_ends(alpha: float, road: tuple[int, ...]) -> None:
    assert quarters(draw(View(("overlay",), alpha=alpha)))[0] == road


def test_mask_is_opaque_and_black_where_nothing_is_labelled() -> None:
    assert quarters(draw(View(("mask",), alpha=0.1))) == [ROAD, CAR, SKY, (0, 0, 0)]


def test_hidden_classes_show_the_picture_and_are_black_in_a_mask() -> None:
    hidden = frozenset({1, 2})
    assert quarters(draw(View(("overlay",), 1.0, hidden))) == [ROAD, *[(100, 100, 100)] * 3]
    assert quarters(draw(View(("mask",), 1.0, hidden))) == [ROAD, *[(0, 0, 0)] * 3]
    contours = draw(View(("contour",), 1.0, frozenset({0, 1, 2})))
    assert (contours == 100).all()


def test_contours_lie_on_boundaries_only() -> None:
    picture = draw(View(("contour",)), size=(120, 160))
    assert quarters(picture) == [(100, 100, 100)] * 4
    changed = (picture != 100).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert changed.any()
    assert (np.minimum(abs(ys - 59.5), abs(xs - 79.5)) <= 4).all()
    outlines = {tuple(c) for c in picture[changed].tolist()}
    assert outlines == {OUTLINE_ROAD, OUTLINE_CAR, OUTLINE_SKY, DARK}
    for color in outlines - {DARK}:
        assert np.dot(color, (0.0722, 0.7152, 0.2126)) >= 149, "the light part of an outline is light"


@pytest.mark.parametrize("level", [0, 60, 128, 200, 255])
def test_an_outline_is_seen_on_every_background(level: int) -> None:
    """Beside every boundary is a pixel that differs much from a background of any brightness."""
    image, labels = scene(480, 640)
    image[:] = level
    labels[labels == 255] = 1
    picture = Renderer(SPEC, resolve_palette(None, SPEC), View(("contour",))).draw(image, labels)
    luminance = picture @ np.array([0.0722, 0.7152, 0.2126])
    across = luminance[100, 310:330]
    assert (np.abs(across - level) > 80).sum() >= 2
    assert (np.abs(across - level) < 1).sum() >= 12


@pytest.mark.parametrize("size", [(1, 1), (240, 320), (360, 480), (540, 960), (720, 1280), (1080, 1920), (2160, 3840)])
def test_the_dark_core_lies_in_the_middle_of_a_light_outline(size: tuple[int, int]) -> None:
    whole, core = line_thickness(size)
    assert core == (2 if size[0] < 900 else 3 if size[0] == 1080 else 6)
    assert whole - core in (2, 4)
    assert whole <= FUSED_THICKNESS
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    drawn = np.zeros((40, 60, 3), np.uint8)
    for thickness, value in ((whole, 200), (core, 90)):
        drawn = kernels.contours(
            drawn, labels, np.full((256, 3), value, np.uint8), np.full(256, 255, np.uint8), thickness=thickness
        )
    side = (whole - core) // 2
    assert drawn[20, :, 0][drawn[20, :, 0] > 0].tolist() == [200] * side + [90] * core + [200] * side


def test_contours_are_drawn_over_an_overlay() -> None:
    both, overlay = draw(View(("overlay", "contour"))), draw(View(("overlay",)))
    assert quarters(both) == quarters(overlay)
    changed = {tuple(c) for c in both[(both != overlay).any(axis=2)].tolist()}
    assert changed == {OUTLINE_ROAD, OUTLINE_CAR, OUTLINE_SKY, DARK}
    assert (both != overlay).any()


@pytest.mark.parametrize(
    ("visualize", "panels"),
    [
        (("overlay",), ("overlay",)),
        (("split",), ("original", "overlay")),
        (("split", "mask"), ("original", "mask")),
        (("overlay", "mask"), ("overlay", "mask")),
        (VIEWS, ("original", "overlay", "mask")),
        (("split", "contour"), ("original", "contour")),
        (("contour",), ("contour",)),
    ],
)
def test_panels_stand_side_by_side(visualize: tuple[str, ...], panels: tuple[str, ...]) -> None:
    view = View(visualize)
    assert view.panels() == panels
    picture = draw(view)
    assert (
        picture.shape == Renderer(SPEC, resolve_palette(None, SPEC), view).shape((60, 80)) == (60, 80 * len(panels), 3)
    )
    for index, name in enumerate(panels):
        part = picture[:, 80 * index : 80 * (index + 1)]
        alone = scene()[0] if name == "original" else draw(View((name, *({"contour"} & set(visualize)))))
        assert (part == alone).all()


def test_the_frame_and_the_labels_are_not_written_to_and_out_is_used() -> None:
    image, labels = scene()
    image.flags.writeable = labels.flags.writeable = False
    view = View(VIEWS, legend=True, hud=True)
    renderer = Renderer(SPEC, resolve_palette(None, SPEC), view)
    out = np.empty(renderer.shape((60, 80)), np.uint8)
    assert renderer.draw(image, labels, Hud(), out) is out
    assert (out[:, :80] == image).all()


def test_a_changed_view_shows_at_the_next_frame() -> None:
    view = View(("overlay",), alpha=1.0)
    renderer = Renderer(SPEC, resolve_palette(None, SPEC), view)
    assert quarters(renderer.draw(*scene()))[0] == ROAD
    view.alpha = 0.0
    assert quarters(renderer.draw(*scene()))[0] == (100, 100, 100)
    view.alpha, view.hidden = 1.0, frozenset({0})
    assert quarters(renderer.draw(*scene()))[:2] == [(100, 100, 100), CAR]
    view.visualize = ("mask", "split")
    assert renderer.draw(*scene()).shape == (60, 160, 3)


@pytest.mark.parametrize("size", [(240, 320), (480, 360), (1080, 1920), (2160, 3840)])
def test_legend_is_a_small_box_below_with_the_right_chips(size: tuple[int, int]) -> None:
    plain, picture = draw(View(("mask",)), size=size), draw(View(("mask",), legend=True), size=size)
    ys, xs = np.nonzero((plain != picture).any(axis=2))
    box = picture[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    assert ys.min() > 0.7 * size[0]
    assert box.shape[0] * box.shape[1] < 0.12 * size[0] * size[1]
    assert (box[0, :, :] == BACKGROUND).all(), "text is clipped at the top"
    assert (box[-1, :, :] == BACKGROUND).all(), "text is clipped at the bottom"
    assert (box[:, [0, -1]] == BACKGROUND).all(), "text is clipped at a side"
    px = text_size(*size)
    for color in (ROAD, CAR, SKY):
        assert (box == color).all(axis=2).sum() >= (0.8 * px - 3) ** 2, "a chip is missing"
    assert (box >= 220).all(axis=2).sum() > px, "no text"


def legend_texts(labels: NDArray[np.uint8], spec: ModelSpec, view: View) -> list[str]:
    renderer = Renderer(spec, resolve_palette("voc", spec), view)
    renderer.draw(np.zeros((*labels.shape, 3), np.uint8), labels)
    return [item.text for item in renderer._chosen]


def test_legend_lists_the_classes_in_sight_that_are_not_hidden() -> None:
    _, labels = scene(240, 320)
    assert legend_texts(labels, SPEC, View(legend=True)) == ["road", "car", "sky"]
    assert legend_texts(labels, SPEC, View(legend=True, hidden=frozenset({1}))) == ["road", "sky"]
    labels[:] = 2
    assert legend_texts(labels, SPEC, View(legend=True)) == ["sky"]
    labels[:] = 255
    assert legend_texts(labels, SPEC, View(legend=True)) == []


CITYSCAPES = published("cityscapes")[1]


@pytest.mark.parametrize(
    "size",
    [(120, 160), (240, 320), (360, 480), (480, 360), (540, 960), (720, 1280), (1080, 1920), (2160, 3840), (400, 1600)],
)
def test_a_legend_of_19_classes_covers_at_most_a_twentieth_of_the_picture(size: tuple[int, int]) -> None:
    spec = ModelSpec(name="city", classes=CITYSCAPES)
    labels = (np.arange(size[0] * size[1]) % 19).astype(np.uint8).reshape(size)
    blank = np.full((*size, 3), 255, np.uint8)
    renderer = Renderer(spec, resolve_palette(None, spec), View(alpha=0.0, legend=True))
    picture = renderer.draw(blank, labels)
    ys, xs = np.nonzero((picture != 255).any(axis=2))
    assert (np.ptp(ys) + 1) * (np.ptp(xs) + 1) <= 0.05 * size[0] * size[1]
    texts = [item.text for item in renderer._chosen]
    shown = [text for text in texts if not text.startswith("+")]
    least = 19 if min(size) >= 1080 else 14 if min(size) >= 720 else 5 if min(size) >= 360 else 1
    assert len(shown) >= least
    assert set(shown) <= set(CITYSCAPES)
    assert texts[len(shown) :] == ([f"+{19 - len(shown)}"] if 1 < len(shown) < 19 else [])


def test_legend_leaves_out_classes_below_a_thousandth_of_the_picture() -> None:
    labels = np.zeros((1000, 1000), np.uint8)
    labels[:30, :30] = 1
    labels[-50:, -50:] = 2
    assert legend_texts(labels, SPEC, View(legend=True)) == ["road", "sky"]
    labels[:40, :40] = 1
    assert legend_texts(labels, SPEC, View(legend=True)) == ["road", "car", "sky"]


def test_a_name_too_long_for_the_legend_is_shortened_there() -> None:
    spec = ModelSpec(name="long", classes=("a class whose name has no end " * 20, "road"))
    labels = np.zeros((240, 320), np.uint8)
    image = np.full((240, 320, 3), 255, np.uint8)
    picture = Renderer(spec, resolve_palette("voc", spec), View(alpha=0.0, legend=True)).draw(image, labels)
    ys, xs = np.nonzero((picture != 255).any(axis=2))
    assert 0 < (np.ptp(ys) + 1) * (np.ptp(xs) + 1) <= 0.05 * 240 * 320


def test_legend_can_list_all_classes() -> None:
    renderer = Renderer(SPEC, resolve_palette(None, SPEC), View(legend=True), legend="all")
    renderer.draw(np.zeros((240, 320, 3), np.uint8), np.full((240, 320), 2, np.uint8))
    assert [item.text for item in renderer._chosen] == ["road", "car", "sky"]


def test_legend_of_150_classes_shows_the_largest_and_counts_the_others() -> None:
    spec = ModelSpec(name="many", classes=tuple(f"class {i}" for i in range(150)))
    labels = np.repeat(np.arange(150, dtype=np.uint8), 480 * 640 // 150).reshape(480, 640).copy()
    labels[:240] = 149
    texts = legend_texts(labels, spec, View(legend=True))
    assert "class 149" in texts
    shown = len(texts) - 1
    assert 10 < shown < 75
    assert texts[-1] == f"+{75 - shown}"
    assert texts[:-1] == sorted(texts[:-1], key=lambda text: int(text.split()[1]))


def test_legend_does_not_flicker_with_single_frames() -> None:
    renderer = Renderer(SPEC, resolve_palette(None, SPEC), View(legend=True))
    image, labels = scene(240, 320)
    shown = []
    for index in range(60):
        labels[:] = index % 2
        renderer.draw(image, labels)
        shown.append([item.text for item in renderer._chosen])
    assert shown[0] == ["road"]
    assert shown[-1] == ["road", "car"]
    assert sum(a != b for a, b in itertools.pairwise(shown)) == 1


def test_hud_is_above_and_follows_its_figures() -> None:
    view = View(("overlay",), 0.0, frozenset({0, 1, 2}), hud=True)
    renderer = Renderer(SPEC, resolve_palette(None, SPEC), view)
    image, labels = scene(240, 320)
    first = renderer.draw(image, labels, Hud(29.8, 12.3, 15.1, 3))
    ys, xs = np.nonzero((first != 100).any(axis=2))
    assert ys.max() < 30
    assert xs.max() < 260
    assert (first == renderer.draw(image, labels, Hud(29.8, 12.3, 15.1, 3))).all()
    assert (first != renderer.draw(image, labels, Hud(9.8, 12.3, 15.1, 3))).any()
    assert (renderer.draw(image, labels, None) == 100).all()
    view.hud = False
    assert (renderer.draw(image, labels, Hud(29.8, 12.3, 15.1, 3)) == 100).all()


def test_hud_text() -> None:
    texts = [item.text for item in Hud(29.97, 5.04, float("nan"), 12).items()]
    assert texts == ["30.0 fps", "p50 5.0 ms", "p95 – ms", "drops 12"]
    assert Hud().items()[0].text == "– fps"


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 400), (400, 16), (33, 47)])
def test_text_never_breaks_a_tiny_or_thin_picture(size: tuple[int, int]) -> None:
    picture = draw(View(("split",), legend=True, hud=True), Hud(1e9, 1e9, 1e9, 10**12), size)
    assert picture.shape == (size[0], 2 * size[1], 3)
    assert (picture[:, : size[1]] == 100).all()


def test_long_names_are_shortened_to_the_box() -> None:
    boxes = TextBoxes()
    box = boxes.box([Item("a very long class name " * 20, (1, 2, 3))], 20, 300)
    assert box is not None
    assert 150 < box.shape[1] <= 300
    assert boxes.box([Item("road")], 20, 8) is None


def test_text_costs_less_than_a_millisecond_a_frame() -> None:
    image, labels = scene(1080, 1920)
    renderer = Renderer(SPEC, resolve_palette(None, SPEC), View(legend=True, hud=True))
    renderer.draw(image, labels, Hud())
    times = []
    for index in range(40):
        start = time.perf_counter()
        hud = Hud(29 + index / 10, 12.3, 15.1, index // 10)
        renderer.annotate(image, (1080, 1920), hud, labels)
        times.append(time.perf_counter() - start)
    # The quickest of many: a loaded machine makes single ones slower. The limit leaves room for a slow machine.
    assert min(times) < 2e-3
