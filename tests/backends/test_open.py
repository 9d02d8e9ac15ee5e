"""open_backend: names, `auto`, packages, and the same answers from every runtime for the model that is shipped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from rtseg import backends, registry
from rtseg.backends import open_backend
from rtseg.backends.openvino import core
from rtseg.errors import BackendError, ConfigError, MissingExtra, ModelError
from rtseg.packages.spec import METADATA_KEY, ModelSpec
from tests.onnx_models import CLASSES, NORMALISATION, conv_model, save, value

ENGINE = Path(__file__).resolve().parents[2] / "engines" / "unet-fast0-camvid" / "model.onnx"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(conv_model(tmp_path / "net.onnx"))


def test_unknown_name(model: str) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown backend 'openvin': did you mean 'openvino'\? \(choices: auto, open"
    ):
        open_backend("openvin", model)


def test_missing_extra_is_said_before_the_model_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BACKENDS", {"tensorrt": ("nowhere_to_be_found.x:Y", "tensorrt")})
    with pytest.raises(MissingExtra, match=r"needs nowhere_to_be_found: pip install 'rtseg\[tensorrt\]'"):
        open_backend("tensorrt", "no-such-model.onnx")


def test_depth_and_overrides(model: str) -> None:
    with pytest.raises(ConfigError, match="depth is 0"):
        open_backend("openvino", model, depth=0, overrides=NORMALISATION)
    with pytest.raises(ConfigError, match="unknown model setting 'men': did you mean 'mean'"):
        open_backend("openvino", model, overrides={**NORMALISATION, "men": 1})


def test_auto_takes_openvino_where_there_is_no_gpu(
    model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "DRIVERS", ())
    with caplog.at_level(logging.INFO, "rtseg"), open_backend("auto", model, overrides=NORMALISATION) as backend:
        assert backend.name == "openvino"
    assert (
        "auto chose openvino on cpu (tensorrt on cuda: no NVIDIA driver; torch on cuda: no NVIDIA driver)"
        in caplog.text
    )


def test_auto_goes_on_and_gives_every_reason(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(registry.BACKENDS)
    table["openvino"] = ("nowhere_to_be_found.x:Y", None)
    monkeypatch.setattr(backends, "DRIVERS", ())
    monkeypatch.setattr(registry, "BACKENDS", table)
    with open_backend("auto", model, overrides=NORMALISATION) as backend:
        assert backend.name == "onnxruntime"
    table["onnxruntime"] = ("neither_this.x:Y", "onnx")
    with pytest.raises(BackendError) as error:
        open_backend("auto", model, overrides=NORMALISATION)
    for reason in ("no NVIDIA driver", "needs nowhere_to_be_found", r"needs neither_this: pip install 'rtseg[onnx]'"):
        assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_auto_does_not_hide_a_bad_model(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("hello")
    with pytest.raises(ModelError, match="is not an ONNX file"):
        open_backend("auto", str(tmp_path / "net.onnx"))


def test_auto_chooses_the_device_too(model: str) -> None:
    with pytest.raises(ConfigError, match="--device CPU needs a --backend"):
        open_backend("auto", model, device="CPU", overrides=NORMALISATION)


def test_unsupported_operator(tmp_path: Path) -> None:
    path = save(
        tmp_path / "net.onnx",
        [helper.make_node("Wiggle", ["x"], ["y"], domain="acme")],
        [value("x", (1, 3, 64, 96))],
        [value("y", (1, CLASSES, 8, 12))],
        [],
        opsets=[helper.make_opsetid("acme", 1)],
    )
    with pytest.raises(
        BackendError, match=r"OpenVINO does not support operator acme\.Wiggle of .*net\.onnx: re-export"
    ):
        open_backend("openvino", str(path), overrides=NORMALISATION)
    with pytest.raises(BackendError, match=r"onnxruntime cannot run .*Wiggle"):
        open_backend("onnxruntime", str(path), overrides=NORMALISATION)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_explicit_device_and_precision_are_kept_or_refused(model: str, name: str) -> None:
    def opened(**options: Any) -> Any:
        return open_backend(name, model, overrides=NORMALISATION, **options)

    with opened(device="CPU", precision="fp32") as backend:
        backend.prepare((64, 96))
        assert (backend.device, backend.precision) == ("cpu", "fp32")
    with pytest.raises(BackendError, match=f"(?i){name} has no device '?cuda7'? here .*cpu"):
        opened(device="cuda7")
    with pytest.raises((BackendError, ConfigError), match="fp8"):
        opened(precision="fp8")


def test_openvino_never_changes_a_precision_silently(model: str) -> None:
    """On a CPU without fp16 arithmetic OpenVINO compiles in another precision and says nothing."""
    capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision in ("bf16", "fp16"):
        if precision.upper() in capabilities:
            with open_backend("openvino", model, precision=precision, overrides=NORMALISATION) as backend:
                backend.prepare((64, 96))
                assert backend.precision == precision
        else:
            with pytest.raises(BackendError, match=f"OpenVINO cannot run {precision} on CPU here .*fp32"):
                open_backend("openvino", model, precision=precision, overrides=NORMALISATION)


def test_onnxruntime_too_old_for_a_file(tmp_path: Path) -> None:
    path = conv_model(tmp_path / "net.onnx", ir_version=60)
    with pytest.raises(BackendError, match="upgrade onnxruntime or export with an older onnx"):
        open_backend("onnxruntime", str(path), overrides=NORMALISATION)


def test_package_folder_needs_no_flags(tmp_path: Path) -> None:
    spec = ModelSpec(name="mine", classes=tuple("abcde"), multiple=8, output_stride=8, mean=(1, 2, 3))
    folder = tmp_path / "mine"
    folder.mkdir()
    conv_model(folder / "model.onnx", input_name="image", output_name="logits")
    (folder / "spec.json").write_text(spec.to_json())
    with open_backend("openvino", str(folder)) as backend:
        assert backend.spec == spec
    with open_backend("null", str(folder)) as backend:
        assert backend.spec == spec


def test_spec_in_the_metadata_needs_no_flags(tmp_path: Path) -> None:
    spec = ModelSpec(name="inside", classes=tuple("abcde"), output_stride=8, input_name="pixels", output_name="scores")
    path = conv_model(tmp_path / "net.onnx", metadata={METADATA_KEY: spec.to_json()})
    with open_backend("onnxruntime", str(path)) as backend:
        assert backend.spec == spec


@pytest.mark.skipif(not ENGINE.is_file(), reason="engines/unet-fast0-camvid/model.onnx has not been exported")
def test_the_shipped_model_gives_the_same_logits_everywhere() -> None:
    tensor = np.random.default_rng(0).standard_normal((1, 3, 128, 192)).astype(np.float32)
    found = {}
    for name in ("openvino", "onnxruntime", "torch"):
        precision = None if name == "onnxruntime" else "fp32"
        with open_backend(name, str(ENGINE.parent), precision=precision) as backend:
            backend.submit(tensor)
            found[name] = backend.collect().copy()
    assert found["torch"].shape == (11, 32, 48)
    for name in ("openvino", "onnxruntime"):
        np.testing.assert_allclose(found[name], found["torch"], atol=1e-3)
