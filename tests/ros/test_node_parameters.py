"""Parameters by ROS's own services: what there is, what may change while pictures come, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rtseg.backends.null import NullBackend
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.messages import records as messages
from rtseg.messages.images import picture
from rtseg.packages.spec import ModelSpec, find_package
from rtseg.ros.parameters import PARAMETERS
from rtseg.segmenter.host import HostSegmenter
from tests.ros.processes import Domain
from tests.ros.segmenting import NODE, Talk, frame_message, start_node

pytestmark = pytest.mark.ros
PICTURE = frame_message(3, (64, 96))
SPEC = find_package("unet-fast0-camvid").spec
assert isinstance(SPEC, ModelSpec), "a package has a spec"


@pytest.fixture(scope="module")
def talk(module_domain: Domain) -> Talk:
    start_node(module_domain, "--diagnostics-period", "0.1", "--alpha", "0.25", "--ros-args", "-p", "jpeg_quality:=70")
    made = Talk(module_domain.peer("tuner"))
    made.offer()
    made.listen("overlay")
    made.await_first("overlay", PICTURE)
    return made


def put(talk: Talk, **values: Any) -> dict[str, str | None]:
    found: dict[str, str | None] = talk.peer.call("set_parameters", node=NODE, values=values)
    return found


def value(talk: Talk, name: str) -> Any:
    return talk.peer.call("get_parameters", node=NODE, names=[name])[name]


def drawn(**view: Any) -> np.ndarray:
    """What rtseg draws of PICTURE."""
    image = picture(messages.decode(messages.IMAGE, PICTURE))
    with HostSegmenter(NullBackend(spec=SPEC)) as segmenter:
        return Renderer(SPEC, resolve_palette(None, SPEC), View(**view)).draw(image, segmenter(image))


def overlay(talk: Talk) -> np.ndarray:
    return picture(talk.answers(PICTURE, "overlay"))


def test_every_parameter_is_listed_and_described_with_its_range(talk: Talk) -> None:
    names = [parameter.name for parameter in PARAMETERS]
    assert set(names) <= set(talk.peer.call("list_parameters", node=NODE))
    described = talk.peer.call("describe_parameters", node=NODE, names=names)
    kinds = {bool: "bool", int: "integer", float: "double", str: "string"}
    for parameter in PARAMETERS:
        shown = described[parameter.name]
        assert (shown["type"], shown["description"]) == (kinds[type(parameter.default)], parameter.text)
        assert shown["range"] == (None if parameter.low is None else [parameter.low, parameter.high])
        assert ("fixed while the node is configured" in shown["constraints"]) == (not parameter.live)
        assert all(choice in shown["constraints"] for choice in parameter.choices)


def test_flags_and_ros_arguments_set_them(talk: Talk) -> None:
    found = talk.peer.call("get_parameters", node=NODE, names=["alpha", "jpeg_quality", "backend", "image"])
    assert found == {"alpha": 0.25, "jpeg_quality": 70, "backend": "null", "image": "/camera/image"}


@pytest.mark.parametrize(
    ("parameters", "view"),
    [
        ({"alpha": 1.0}, {"alpha": 1.0}),
        ({"alpha": 0.0}, {"alpha": 0.0}),
        ({"alpha": 0.25, "hidden_classes": "sky, Road"}, {"alpha": 0.25, "hidden": frozenset({0, 3})}),
        ({"hidden_classes": "", "visualize": "split,mask"}, {"alpha": 0.25, "visualize": ("split", "mask")}),
        ({"visualize": "contour", "legend": True}, {"alpha": 0.25, "visualize": ("contour",), "legend": True}),
        ({"visualize": "", "legend": False}, {"alpha": 0.25}),
    ],
)
def test_live_ones_change_the_next_overlay(talk: Talk, parameters: dict[str, Any], view: dict[str, Any]) -> None:
    assert put(talk, **parameters) == dict.fromkeys(parameters)
    found, expected = overlay(talk), drawn(**view)
    np.testing.assert_array_equal(found, expected)


def test_jpeg_quality_changes_the_next_compressed_overlay(talk: Talk) -> None:
    talk.listen("overlay/compressed", messages.COMPRESSED_IMAGE)
    talk.await_first("overlay/compressed", PICTURE, kind=messages.COMPRESSED_IMAGE)
    sizes = []
    for quality in (95, 10):
        assert put(talk, jpeg_quality=quality) == {"jpeg_quality": None}
        sizes.append(len(talk.answers(PICTURE, "overlay/compressed", messages.COMPRESSED_IMAGE).data))
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("alpha", 1.5, "alpha"),
        ("alpha", "much", "Wrong parameter type"),
        ("alpha", 1, "Wrong parameter type"),
        ("jpeg_quality", 0, "jpeg_quality"),
        ("visualize", "overly", "parameter visualize is 'overly': did you mean 'overlay'?"),
        ("hidden_classes", "Rode", "no class 'Rode' in model unet-fast0-camvid: did you mean 'Road'"),
        ("model", "unet-lite2-camvid", "model is fixed while the node is configured: deactivate and clean it up first"),
        ("image", "/other", "image is fixed while the node is configured"),
        ("image_reliability", "reliably", "parameter image_reliability is 'reliably': did you mean 'reliable'?"),
        ("enabled", 1, "Wrong parameter type"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(talk: Talk, name: str, wrong: Any, reason: str) -> None:
    before = value(talk, name)
    found = put(talk, **{name: wrong})[name]
    assert found is not None and reason in found and "\n" not in found
    assert value(talk, name) == before


def test_a_refused_one_leaves_the_overlay_as_it_was(talk: Talk) -> None:
    before = overlay(talk)
    put(talk, alpha=2.0, hidden_classes="nothing", visualize="x")
    np.testing.assert_array_equal(overlay(talk), before)


def test_while_disabled_pictures_are_skipped_not_dropped(talk: Talk) -> None:
    talk.listen("diagnostics", messages.DIAGNOSTICS)
    before = talk.diagnostics()
    assert put(talk, enabled=False) == {"enabled": None}
    for _ in range(5):
        talk.send(PICTURE)
    skipped = str(int(before["came while nobody wanted them"]) + 5)
    after = talk.diagnostics(lambda values: values["came while nobody wanted them"] == skipped)
    assert [after[key] for key in ("processed", "dropped")] == [before[key] for key in ("processed", "dropped")]
    assert put(talk, enabled=True) == {"enabled": None}
    np.testing.assert_array_equal(overlay(talk), drawn(alpha=0.25))
