"""Frames on a GPU give what frames on the host give, whatever is asked for, held or changed meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from tests import gpu

gpu.skip_without()

from rtseg.backends.null import NullBackend  # noqa: E402
from rtseg.drawing.colormap import ColorMaps  # noqa: E402
from rtseg.drawing.device import DeviceRenderer  # noqa: E402
from rtseg.drawing.palette import resolve_palette  # noqa: E402
from rtseg.drawing.render import Hud, Renderer  # noqa: E402
from rtseg.drawing.view import View  # noqa: E402
from rtseg.errors import BackendError, ModelError  # noqa: E402
from rtseg.segmenter.device import HELD, KEPT_RECORDED, DeviceSegmenter  # noqa: E402
from rtseg.segmenter.host import HostSegmenter  # noqa: E402
from rtseg.segmenter.recorded import GPU_STAGES  # noqa: E402
from tests.segmenter import block_network  # noqa: E402
from tests.segmenter.block_network import CLASSES, SPEC, BlockBackend, BlockExecutionContext  # noqa: E402

pytestmark = pytest.mark.gpu
ALL = frozenset({"overlay", "labels", "confidence", "areas"})
SIZE = (72, 130)


def images(count: int, size: tuple[int, int] = SIZE) -> list[NDArray[np.uint8]]:
    """Smooth pictures, each different."""
    random = np.random.default_rng(3)
    made = []
    for _ in range(count):
        coarse = random.integers(0, 256, (5, 7, 3)).astype(np.float32)
        rows, columns = (np.linspace(0, side - 1.001, pixels) for side, pixels in zip((5, 7), size, strict=True))
        made.append(coarse[rows.astype(int)][:, columns.astype(int)].astype(np.uint8))
    return made


class Both:
    """The same network behind a DeviceSegmenter and behind a HostSegmenter."""

    def __init__(self, view: View, needs: frozenset[str] = ALL, *, depth: int = 1, held: int = 2, **options: Any):
        types = {key: options.pop(key) for key in ("type_in", "type_out") if key in options}
        self.backend = BlockBackend(depth, **types)
        self.view, self.needs, palette = view, needs, resolve_palette(None, SPEC)
        self.device = DeviceSegmenter(self.backend, self.backend, **options)
        self.host = HostSegmenter(NullBackend(None, SPEC, answer=self.backend.answer), **options)
        self.painter, self.renderer = Renderer(SPEC, palette, view), Renderer(SPEC, palette, view)
        self.twin = DeviceRenderer(self.painter)
        self.device.produce(needs, view, self.painter.colormaps, held - HELD)

    def __enter__(self) -> Both:
        return self

    def __exit__(self, *error: object) -> None:
        self.device.close()

    def start(self, image: NDArray[np.uint8]) -> None:
        self.device.backend.submit(self.device.preprocess(image)[0])

    def finish(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        scores = self.device.backend.collect()
        place = self.device.place((image.shape[0], image.shape[1]))
        labels, confidence = self.device.labels(scores, place, confidence=True)
        found: dict[str, Any] = {"labels": labels, "confidence": confidence}
        if "areas" in self.needs:
            found["areas"] = self.device.areas(labels, scores)
        if "overlay" in self.needs:
            found["overlay"] = self.twin.picture(image, labels, scores, Hud(30.0, 5.0, 7.0, 1))
        return found

    def expected(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        tensor, place = self.host.preprocess(image)
        self.host.backend.submit(tensor)
        labels, confidence = self.host.labels(self.host.backend.collect(), place, confidence=True)
        made = {"labels": labels, "confidence": confidence, "areas": self.host.areas(labels, tensor)}
        made["overlay"] = self.renderer.draw(image, labels, Hud(30.0, 5.0, 7.0, 1))
        return {name: np.array(value) for name, value in made.items()}

    def check(self, image: NDArray[np.uint8], found: dict[str, Any]) -> None:
        expected = self.expected(image)
        for name in self.needs:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


VIEWS = [
    ("overlay",),
    ("mask",),
    ("contour",),
    ("overlay", "contour"),
    ("overlay", "split"),
    ("mask", "contour", "split"),
]


@pytest.mark.parametrize("visualize", VIEWS, ids="+".join)
def test_every_view_is_that_of_the_host(visualize: tuple[str, ...]) -> None:
    with Both(View(visualize, 0.4, frozenset({2}), legend=True, hud=True)) as both:
        for image in images(3):
            both.start(image)
            both.check(image, both.finish(image))


@pytest.mark.parametrize(
    "needs", [{"labels"}, {"overlay"}, {"confidence"}, {"areas"}, {"areas", "overlay"}], ids="+".join
)
def test_only_what_is_needed_comes_down(needs: set[str], emulator: Any) -> None:
    with Both(View(), frozenset(needs)) as both:
        image, *more = images(3)
        both.start(image)
        both.finish(image)
        before = emulator.counters()
        for image in more:
            both.start(image)
            both.check(image, both.finish(image))
        after = emulator.counters()
    pixels = SIZE[0] * SIZE[1]
    sizes = {"labels": pixels, "overlay": 3 * pixels, "confidence": pixels, "areas": 1024}
    down = sum(size for name, size in sizes.items() if name in needs)
    assert after["copies_up"] - before["copies_up"] == 2
    assert after["bytes_up"] - before["bytes_up"] == 2 * 3 * pixels
    assert after["copies_down"] - before["copies_down"] == 2 * len(needs)
    assert after["bytes_down"] - before["bytes_down"] == 2 * down


def test_what_nobody_listens_to_is_not_made(emulator: Any) -> None:
    wishes = [{"labels"}, set(), {"areas", "overlay"}, {"labels"}, ALL]
    down = []
    with Both(View()) as both:
        for image, wanted in zip(images(10), wishes * 2, strict=True):  # the first time each is recorded
            before = emulator.counters()["copies_down"]
            both.needs = frozenset(wanted)
            both.device.backend.submit(both.device.preprocess(image, both.needs)[0])
            found = both.finish(image)
            both.check(image, found)
            made = {name for name in ("labels", "confidence") if found[name] is not None}
            assert made == both.needs & {"labels", "confidence"}
            down.append(emulator.counters()["copies_down"] - before)
    assert down[5:] == [1, 0, 2, 1, 4]


@pytest.mark.parametrize(("type_in", "type_out"), [("float16", "float16"), ("float32", "float16")])
def test_half_precision_tensors_and_scores(type_in: str, type_out: str) -> None:
    with Both(View(), frozenset({"labels"}), type_in=type_in, type_out=type_out) as both:
        for image in images(2):
            both.start(image)
            both.check(image, both.finish(image))


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "crop"])
def test_every_fit_and_ignored_classes(mode: str) -> None:
    with Both(View(), size=(64, 80), mode=mode, ignore=["sky"], antialias=False) as both:
        for image in images(2, (90, 61)):
            both.start(image)
            both.check(image, both.finish(image))


@pytest.mark.parametrize("depth", [2, 3])
def test_several_in_flight_keep_their_order_and_their_pixels(depth: int, emulator: Any) -> None:
    emulator.set_delay(depth, 300)
    with Both(View(hud=True), depth=depth) as both:
        given, held = images(12), []
        for index, image in enumerate(given):
            both.start(image)
            if index >= depth - 1:
                held.append(both.finish(given[index - depth + 1]))
        for image in given[-depth + 1 :]:
            held.append(both.finish(image))
        for image, found in zip(given, held, strict=True):
            both.check(image, found)
        with pytest.raises(BackendError, match="nothing was submitted"):
            both.device.backend.collect()


def test_results_that_are_held_are_never_written_to_again() -> None:
    with Both(View(), held=3) as both:
        given = images(9)
        held = []
        for image in given:
            both.start(image)
            held.append(both.finish(image)["overlay"][:, 2:])  # a view of the array alone
        for image, part in zip(given, held, strict=True):
            np.testing.assert_array_equal(part, both.expected(image)["overlay"][:, 2:])
    for image, part in zip(given, held, strict=True):  # also when the GPU is gone
        np.testing.assert_array_equal(part, both.expected(image)["overlay"][:, 2:])


def test_a_steady_run_allocates_nothing(emulator: Any) -> None:
    with Both(View(legend=True), depth=2) as both:
        given = images(4)
        for image in given[:2]:
            both.start(image)
        before = emulator.counters()
        for index in range(20):
            found = both.finish(given[index % 4])
            both.check(given[index % 4], found)
            both.start(given[(index + 2) % 4])
        after = emulator.counters()
    for name in ("allocations", "device_bytes", "pinned", "graph_execs", "streams", "events"):
        assert after[name] == before[name], name
    assert after["graph_launches"] - before["graph_launches"] == 20
    warm_ups = 2 + 2 * 3  # each execution_context before it is recorded, and each of its slots' graphs
    assert emulator.counters()["launches"]["label_tiles_f32"] == warm_ups + 22


def test_sizes_and_views_change_in_mid_stream() -> None:
    view = View()
    with Both(view, depth=2) as both:
        small, tall, *_ = images(1)[0], images(1, (140, 60))[0]
        both.start(small)
        both.start(tall)  # the small one is in flight still
        both.check(small, both.finish(small))
        both.check(tall, both.finish(tall))
        for change in (
            {"alpha": 0.9},
            {"hidden": frozenset({0, 1})},
            {"visualize": ("mask", "split")},
            {"legend": True},
        ):
            for name, value in change.items():
                setattr(view, name, value)
            both.start(tall)
            both.check(tall, both.finish(tall))


def test_sizes_that_change_with_every_frame() -> None:
    with Both(View(), depth=3) as both:
        given = [images(1, size)[0] for size in (SIZE, (140, 60), (80, 80), SIZE)]
        for image in given[:3]:
            both.start(image)
        both.check(given[0], both.finish(given[0]))
        both.start(given[3])
        for image in given[1:]:
            both.check(image, both.finish(image))


def test_sizes_that_take_turns_are_recorded_once(emulator: Any) -> None:
    with Both(View()) as both:
        sizes = [(72, 130), (60, 90), (40, 64)]
        for turn in range(3):
            for size in sizes:
                image = images(1, size)[0]
                both.start(image)
                both.check(image, both.finish(image))
            if turn == 0:
                recorded = emulator.counters()["allocations"]
        assert emulator.counters()["allocations"] == recorded
        for height in range(20, 40, 2):
            image = images(1, (height, 64))[0]
            both.start(image)
            both.check(image, both.finish(image))
        slots = 1 + 3  # one to copy from, two for what sinks hold, one in flight
        assert emulator.counters()["graph_execs"] == KEPT_RECORDED * slots


def test_everything_is_given_back(emulator: Any) -> None:
    both = Both(View(), depth=2)
    image = images(1)[0]
    both.start(image)
    both.device.close()
    both.device.close()
    counters = emulator.counters()
    for name in ("device_bytes", "pinned", "contexts", "streams", "events", "graph_execs", "graphs"):
        assert counters[name] == 0, name
    with pytest.raises(BackendError, match="the blocks backend is closed"):
        both.device.backend.collect()


def test_the_gpu_times_of_a_frame_are_told() -> None:
    with Both(View()) as both:
        image = images(1)[0]
        both.start(image)
        both.finish(image)
        assert tuple(both.device.device_times) == GPU_STAGES
        assert all(value >= 0 for value in both.device.device_times.values())
        assert sum(both.device.device_times.values()) > 0


def test_called_with_an_image_it_labels_it() -> None:
    with BlockBackend() as backend, DeviceSegmenter(backend, backend) as segmenter:
        image = images(1)[0]
        expected = HostSegmenter(NullBackend(None, SPEC, answer=backend.answer))(image)
        np.testing.assert_array_equal(segmenter(image), expected)
        segmenter.produce(frozenset({"areas"}), View(), ColorMaps(resolve_palette(None, SPEC), View()))
        with pytest.raises(BackendError, match="told to make no labels"):
            segmenter(image)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_label_maps_of_a_network(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = np.random.default_rng(2).integers(0, len(CLASSES), (8, 16)).astype(dtype)
    spec = replace(SPEC, output_kind="labels", size=(64, 128))

    class LabelContext(BlockExecutionContext):
        def enqueue(self) -> int:
            self.shape, self.dtype = given.shape, given.dtype
            return answer.address

    monkeypatch.setattr(block_network, "BlockExecutionContext", LabelContext)
    image, view = images(1)[0], View(("overlay", "contour"))
    with BlockBackend(spec=spec) as backend, DeviceSegmenter(backend, backend) as segmenter:
        answer = backend.gpu.upload(given)
        renderer = Renderer(spec, resolve_palette(None, spec), view)
        segmenter.produce(ALL, view, renderer.colormaps)
        tensor, place = segmenter.preprocess(image)
        segmenter.backend.submit(tensor)
        found = segmenter.backend.collect()
        labels, confidence = segmenter.labels(found, place, confidence=True)
        expected = HostSegmenter(NullBackend(None, spec, answer=given.astype(np.uint8)))(image)
        assert labels is not None and confidence is None  # there is none, as on the host
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(found.outputs["overlay"], renderer.draw(image, expected))


@pytest.mark.parametrize("depth", [1, 2])
def test_more_than_depth_in_flight_is_an_error_and_harms_none(depth: int, emulator: Any) -> None:
    emulator.set_delay(1, 2000, 1000)
    with Both(View(), depth=depth) as both:
        given = images(2 * depth + 1)
        for image in given[:depth]:
            both.start(image)
        with pytest.raises(BackendError, match=f"{depth} in flight already"):
            both.start(given[-1])
        for first, second in zip(given[:depth], given[depth:], strict=False):
            both.check(first, both.finish(first))
            both.start(second)
        for image in given[depth:-1]:
            both.check(image, both.finish(image))


def test_wrong_sizes_and_classes_are_those_of_the_host() -> None:
    with BlockBackend() as backend:
        with pytest.raises(ModelError, match="multiples of 16"):
            DeviceSegmenter(backend, backend, size=(60, 64))
        with pytest.raises(ModelError, match="every class of blocks is ignored"):
            DeviceSegmenter(backend, backend, ignore=CLASSES)


def test_memory_that_does_not_suffice_is_an_error_and_leaves_nothing(emulator: Any) -> None:
    with BlockBackend() as backend, DeviceSegmenter(backend, backend) as segmenter:
        emulator.set_memory(100_000)
        with pytest.raises(BackendError, match=r"cuda:0 is out of memory: .* MiB asked for, .* MiB free"):
            segmenter(np.zeros((400, 400, 3), np.uint8))
        emulator.set_memory(1 << 33)
        assert segmenter(np.zeros((*SIZE, 3), np.uint8)).shape == SIZE
    assert emulator.counters()["device_bytes"] == 0
