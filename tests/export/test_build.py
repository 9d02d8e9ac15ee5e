"""Plans found and made: the cache on real plans, the check of labels, two builders, a builder that is killed."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rtseg.errors import BackendError, ConfigError, ModelError
from rtseg.packages.spec import find_package
from tests.tensorrt.rtx import ONE, SIZE, Profile, library, small

from rtseg.export import agreement  # isort: skip - tests.tensorrt.rtx skips where there is no TensorRT
from rtseg.tensorrt import cache  # isort: skip - tests.tensorrt.rtx skips where there is no TensorRT
from rtseg.export import make_plan as making  # isort: skip
from rtseg.export.build import build  # isort: skip
from rtseg.tensorrt.find import find  # isort: skip
from rtseg.export.make_plan import Check  # isort: skip
from rtseg.tensorrt.profiles import chosen  # isort: skip
from rtseg.tensorrt.compile import Options  # isort: skip

QUICK = Check(count=1)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of models that are in no package go to ./engines."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "rtseg"):
        yield caplog


def plain(folder: Path, **options: Any) -> Any:
    """Build the small model in fp32, which needs no check."""
    path, spec = small(folder)
    return build(path, spec, ONE, **{"precision": "fp32", **options})


def rewrite(plan: Path, **changes: Any) -> None:
    sidecar = plan.with_name(f"{plan.name}.json")
    known = json.loads(sidecar.read_text())
    known["identity"].update(changes)
    sidecar.write_text(json.dumps(known))


def test_a_plan_is_built_once(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    made = plain(tmp_path)
    assert made.fresh
    name = f"net.64x96.fp32.tensorrt_rtx-{library.VERSION}.portable.portable.plan"
    assert made.path == Path("engines/net") / name
    assert made.path.read_bytes() == made.data
    assert hashlib.sha256(made.data).hexdigest() == made.sidecar.sha256
    assert made.sidecar.report["tensors"]["scores"] == ["output", "fp32", [-1, 5, -1, -1]]
    assert {file.name for file in made.path.parent.iterdir()} == {name, f"{name}.json", f".{name}.lock"}
    assert "building engines/net/net.64x96" in log.text
    log.clear()
    again = plain(tmp_path)
    assert (again.fresh, again.data, again.reason) == (False, made.data, None)
    assert log.text == ""
    assert cache.read_sidecar(made.path).spec == made.sidecar.spec


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"onnx": "00"}, "the model file has changed"),
        ({"version": "1.0.0.1"}, f"version of the library was 1.0.0.1, is {library.VERSION}"),
        ({"library": "tensorrt"}, "library was tensorrt, is tensorrt_rtx"),
        ({"precision": "fp16"}, "precision was fp16, is fp32"),
        ({"sizes": "32x32"}, "sizes was 32x32, is 64x96"),
        ({"gpu": "NVIDIA L4", "capability": "sm89"}, "compute capability was sm89, is portable, GPU was NVIDIA L4"),
        ({"converter": 0}, "conversion of rtseg was 0, is 1"),
        ({"options": {"workspace": 64}}, "workspace was 64, is not set"),
    ],
)
def test_a_plan_of_something_else_is_built_again(
    tmp_path: Path, log: pytest.LogCaptureFixture, change: dict[str, Any], reason: str
) -> None:
    plan = plain(tmp_path).path
    rewrite(plan, **change)
    log.clear()
    made = plain(tmp_path)
    assert made.fresh
    assert reason in made.reason
    assert f"building {plan} again: " in log.text and reason in log.text
    assert not plain(tmp_path).fresh


def test_another_model_file_under_the_same_name(tmp_path: Path) -> None:
    first = plain(tmp_path)
    path, spec = small(tmp_path)
    model = onnx.load(path)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.ones(5, np.float32), "bias"))
    onnx.save(model, path)
    made = build(path, spec, ONE, precision="fp32")
    assert made.reason == "the model file has changed"
    assert made.path == first.path
    assert made.data != first.data


def test_asked_to(tmp_path: Path) -> None:
    plain(tmp_path)
    assert plain(tmp_path, rebuild="--force").reason == "--force"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda plan: plan.write_bytes(plan.read_bytes()[:1000]), r"is cut short \(1000 of \d+ bytes\): delete it"),
        (lambda plan: plan.write_bytes(b"x" * plan.stat().st_size), "is not the file that its sidecar describes"),
        (lambda plan: plan.with_name(f"{plan.name}.json").unlink(), "has no sidecar .*so its contents are unknown"),
        (lambda plan: plan.with_name(f"{plan.name}.json").write_text("{"), "is not the sidecar of a plan .*delete it"),
        (lambda plan: plan.with_name(f"{plan.name}.json").write_text("[]"), "is not the sidecar of a plan .*delete it"),
    ],
)
def test_a_plan_that_cannot_be_trusted_is_an_error_that_names_it(tmp_path: Path, spoil: Any, told: str) -> None:
    plan = plain(tmp_path).path
    spoil(plan)
    with pytest.raises(BackendError, match=told) as error:
        plain(tmp_path)
    assert str(plan) in str(error.value) and "\n" not in str(error.value)


def test_a_plan_that_is_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, spec = small(tmp_path)
    old = plain(tmp_path)
    new = plain(tmp_path, rebuild="to see")
    data = b"x" + new.data
    sidecar = msgspec.structs.replace(
        new.sidecar, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )  # fmt: skip
    read = Path.read_bytes
    moments = iter([lambda: cache.store(old.path, data, sidecar)])

    def reading(self: Path) -> bytes:
        if self == old.path:
            next(moments, lambda: None)()
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", reading)
    assert cache.read_plan(old.path) == (data, sidecar)
    moments = iter([old.path.unlink])  # the moment in which there is only the other's sidecar
    assert find(path, spec, SIZE, precision="fp32") is None


def test_plans_elsewhere_are_read_only_when_named(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    made = plain(tmp_path, out=tmp_path / "elsewhere" / "net.plan")
    assert made.fresh
    assert not plain(tmp_path, out=made.path).fresh
    assert cache.read_plan(made.path, explicit=True)[0] == made.data
    with pytest.raises(BackendError, match=r"net\.plan is not under engines/: plans are code"):
        cache.read_plan(made.path)
    (tmp_path / "engines").mkdir(exist_ok=True)
    (tmp_path / "engines" / "net.plan").symlink_to(made.path)  # a link does not make it trusted
    with pytest.raises(BackendError, match="is not under engines/"):
        cache.read_plan(tmp_path / "engines" / "net.plan")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match=r"cannot write to .*file"):
        plain(tmp_path, out=tmp_path / "file" / "net.plan")


def test_half_precision_is_checked_and_the_agreement_kept(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    path, spec = small(tmp_path)
    made = build(path, spec, ONE, check=QUICK)
    assert made.sidecar.identity.precision == "fp16"
    told = made.sidecar.report["agreement"]
    assert 0.99 < told["equal"] <= 1 and told["frames"] == 1 and told["source"] == "synthetic:drive"
    assert "labels equal to fp32 on" in log.text
    assert not build(path, spec, ONE, check=QUICK).fresh
    with pytest.raises(BackendError, match=r"net in fp16: labels equal to fp32 on .*, 100\.000% is asked for"):
        build(path, spec, ONE, check=Check(count=1, enough=1.0))
    assert not build(path, spec, ONE, check=QUICK).fresh  # what was there is still there


def test_every_size_of_a_plan_is_checked_and_the_lowest_agreement_kept(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    path, spec = small(tmp_path)
    sizes = (*ONE, Profile((32, 32), (128, 32), (256, 256)), Profile((64, 64), SIZE, (96, 96)))
    made = build(path, spec, sizes, check=QUICK)
    found = {
        size: float(share) / 100
        for share, size in re.findall(r"equal to fp32 on ([\d.]+)% of the pixels of 1 frames of .* at (\w+) ", log.text)
    }
    assert found.keys() == {"64x96", "128x32"}
    told = made.sidecar.report["agreement"]
    assert told["equal"] == pytest.approx(min(found.values()), abs=1e-5)
    assert found["x".join(map(str, told["size"]))] == min(found.values())


def test_no_room_for_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, spec = small(tmp_path)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BackendError, match=r"cannot write .*\.onnx \(No space left on device\): set TMPDIR"):
        build(path, spec, ONE, check=QUICK)


def test_a_conversion_that_changes_labels_is_refused(tmp_path: Path) -> None:
    path, spec = small(tmp_path)
    spec = msgspec.structs.replace(spec, mean=(-4e4, 4e4, 3e4))  # logits far beyond float16's range
    with pytest.raises(BackendError, match="build it in another precision, or pass a lower --agreement") as error:
        build(path, spec, ONE, check=QUICK)
    assert "\n" not in str(error.value)
    assert not list(Path("engines").rglob("*.plan"))
    unchecked = build(path, spec, ONE, check=Check(enough=0))
    assert "agreement" not in unchecked.sidecar.report
    with pytest.raises(BackendError, match="is asked for"):  # and an unchecked plan does not pass for a checked one
        build(path, spec, ONE, check=QUICK)


def test_frames_of_a_video_or_folder(tmp_path: Path) -> None:
    import cv2

    (tmp_path / "frames").mkdir()
    for index in range(5):
        cv2.imwrite(f"frames/{index}.png", np.full((8, 8, 3), index * 10, np.uint8))
    images = agreement.frames("frames", 3)
    assert [int(image[0, 0, 0]) for image in images] == [0, 20, 40]
    assert len(agreement.frames("frames", 50)) == 5
    assert len(agreement.frames("synthetic:shapes", 2)) == 2
    with pytest.raises(ConfigError, match="0 frames to compare labels on"):
        agreement.frames("frames", 0)
    with pytest.raises(ConfigError, match="not on camera:0"):
        agreement.frames("camera:0", 2)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("int8", "is not quantized: make its int8 twin with rtseg quantize"),
        ("fp61", "unknown precision 'fp61' for tensorrt: did you mean 'fp16'"),
    ],
)
def test_precision_that_does_not_suit(tmp_path: Path, asked: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        plain(tmp_path, precision=asked)


def quantised(folder: Path) -> tuple[Path, Any, Path]:
    """The small model with QDQ pairs around its convolution, its spec, and the model it was made of."""
    path, spec = small(folder)
    model = onnx.load(path)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    scale, zero = np.array(4 / 127, np.float32), np.array(0, np.int8)
    kernel = numpy_helper.to_array(model.graph.initializer[0])
    factor = np.array(np.abs(kernel).max() / 127, np.float32)
    held = {"s": scale, "z": zero, "f": factor, "k": np.round(kernel / factor).astype(np.int8)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in held.items())
    pairs = [
        onnx.helper.make_node("QuantizeLinear", [conv.input[0], "s", "z"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        onnx.helper.make_node("DequantizeLinear", ["k", "f", "z"], ["w"]),
    ]
    conv.input[0], conv.input[1] = "d", "w"
    nodes = [*pairs, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "net8.onnx")
    return folder / "net8.onnx", spec, path


def test_int8_is_built_from_a_quantised_model_and_compared_with_its_original(tmp_path: Path) -> None:
    path, spec, original = quantised(tmp_path)
    with pytest.raises(ModelError, match=r"the float32 model that .*net8\.onnx was quantized from is not among"):
        build(path, spec, ONE, check=QUICK)
    with pytest.raises(ConfigError, match="is quantized to int8, so it cannot be built in fp16"):
        build(path, spec, ONE, precision="fp16")
    made = build(path, spec, ONE, check=Check(count=1, enough=0.9, reference=original))
    assert made.sidecar.identity.precision == "int8"
    assert made.sidecar.report["layers"]["convolution"] == {"int8": 1}
    assert 0.9 <= made.sidecar.report["agreement"]["equal"] < 1
    with pytest.raises(BackendError, match=r"net in int8: .*int8 on the CPU\), 95\.000% is asked for"):
        build(path, spec, ONE, check=Check(count=1, reference=original), rebuild="to see")


def test_the_original_is_found_by_its_hash(tmp_path: Path) -> None:
    package = find_package("unet-fast0-camvid")
    from rtseg.files import file_hash

    path, spec, _ = quantised(tmp_path)
    spec = msgspec.structs.replace(spec, provenance={"quantized": {"from": file_hash(package.path)}})
    assert making._reference(path, spec, QUICK) == package.path


def test_a_plan_that_serves_a_size_is_found(tmp_path: Path) -> None:
    path, spec = small(tmp_path)
    assert find(path, spec, SIZE, precision="fp32") is None
    ranged = (Profile((32, 32), (64, 96), (256, 256)),)
    wide = build(path, spec, ranged, precision="fp32", options=Options(workspace=64))
    for size in (SIZE, (256, 32)):
        found = find(path, spec, size, precision="fp32")
        assert found is not None and found.path == wide.path and not found.fresh
    assert find(path, spec, (288, 32), precision="fp32") is None
    assert find(path, spec, SIZE) is None  # fp16
    exact = build(path, spec, ONE, precision="fp32")
    found = find(path, spec, SIZE, precision="fp32")
    assert found is not None and found.path == exact.path
    rewrite(exact.path, onnx="00")  # out of date
    found = find(path, spec, SIZE, precision="fp32")
    assert found is not None and found.path == wide.path


def test_plans_lie_beside_a_package(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / "mine"
    folder.mkdir(parents=True)
    path, spec = small(folder)
    assert cache.folder_for(path, spec.name).resolve() == folder.resolve()
    assert cache.folder_for(tmp_path / "net.onnx", "net") == Path("engines/net")


def test_names_of_files() -> None:
    base: dict[str, Any] = {"onnx": "0", "precision": "fp16", "library": "tensorrt", "version": "10.3.0"}
    made = cache.Identity(model="a/b c", sizes="64x96", capability="sm90", gpu="NVIDIA H100 80GB HBM3", **base)
    assert made.file == "a-b-c.64x96.fp16.tensorrt-10.3.0.sm90.NVIDIA-H100-80GB-HBM3.plan"
    many = cache.Identity(model="net", sizes="+".join(f"{side}x1024" for side in range(32, 1024, 32)), **base)
    assert len(many.file) < 200 and many.file.startswith("net.31-sizes-")


BUILDER = """
import logging, sys
from pathlib import Path
from rtseg.packages.complete import complete_spec
from rtseg.export import build as building, make_plan as making
from rtseg.tensorrt.profiles import Profile
from tests.onnx_models import NORMALISATION
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
make = making.compile_plan
def compile_plan(*arguments, **options):
    print("compiling", flush=True)
    sys.stdin.readline()
    return make(*arguments, **options)
making.compile_plan = compile_plan
path = Path(sys.argv[1])
spec = complete_spec(path, None, NORMALISATION)
made = building.build(path, spec, [Profile.fixed((64, 96))], precision="fp32")
print("fresh" if made.fresh else "found", made.sidecar.sha256, flush=True)
"""
STORER = BUILDER.replace("make = ", "replace, os = __import__('os').replace, __import__('os')\nmake = ").replace(
    "making.compile_plan = compile_plan",
    """def stop(source, target):
    if str(target).endswith(".plan"):
        print("storing", flush=True)
        sys.stdin.readline()
    replace(source, target)
os.replace = stop""",
)


def start(code: str, model: Path) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}", str(model)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_two_builders_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    path, _ = small(tmp_path)
    with start(BUILDER, path) as first:
        try:
            assert line(first) == "compiling"
            with start(BUILDER, path) as second:
                try:
                    assert line(second).startswith("another process builds engines/net/net.64x96.fp32")
                    go_on(first)
                    made, found = line(first), line(second)
                finally:
                    second.kill()
        finally:
            first.kill()
    assert made.startswith("fresh ")
    assert found == made.replace("fresh", "found")


@pytest.mark.parametrize(("code", "said"), [(BUILDER, "compiling"), (STORER, "storing")])
def test_a_builder_that_is_killed_leaves_nothing_under_the_final_name(tmp_path: Path, code: str, said: str) -> None:
    path, spec = small(tmp_path)
    with start(code, path) as process:
        try:
            assert line(process) == said
        finally:
            process.kill()
    assert not list(tmp_path.rglob("*.plan"))
    left = list((tmp_path / "engines" / "net").glob(".*.plan.????????"))
    assert len(left) == (said == "storing")
    made = build(path, spec, ONE, precision="fp32")
    assert made.fresh
    assert not plain(tmp_path).fresh
    assert not [file for file in left if file.exists()]


def test_killed_while_replacing_leaves_no_plan_or_a_whole_one(tmp_path: Path) -> None:
    old = plain(tmp_path)
    rewrite(old.path, version="1.0.0.1")
    path, _ = small(tmp_path)
    with start(STORER, path) as process:
        try:
            assert line(process).startswith("building ")
            assert line(process) == "storing"
        finally:
            process.kill()
    assert not old.path.exists()
    assert plain(tmp_path).fresh


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision", "enough"),
    [
        ("unet-fast0-camvid", "fp16", 0.999),
        ("unet-lite2-camvid", "fp16", 0.999),
        ("unet-fast0-camvid-int8", "int8", 0.97),
    ],
)
def test_shipped_models_keep_their_labels_on_real_frames(
    data_dir: Path, tmp_path: Path, name: str, precision: str, enough: float
) -> None:
    package = find_package(name)
    assert package.spec is not None
    clip = str(data_dir / "video" / "highway_960x540.mp4")
    made = build(
        package.path, package.spec, chosen(package.spec), check=Check(clip, enough=enough), out=tmp_path / "net.plan"
    )
    told = made.sidecar.report["agreement"]
    assert made.sidecar.identity.precision == precision
    assert (told["frames"], told["source"]) == (8, clip)
    assert enough <= told["worst"] <= told["equal"] <= 1
