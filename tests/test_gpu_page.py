"""docs/gpu.md: its messages are those of the code, its commands are understood, its table is what the file says."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from rtseg.cli.main import make_parser
from rtseg.gpu.driver import REASONS
from rtseg.registry import DECODERS, NETWORKS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
OTHERS = {
    "This is a special placeholder package": "pip",
    "nvidia-smi command not found": "pip",
    "The engine plan file is not compatible with this version of TensorRT": "TensorRT",
    "tensorrt.Runtime": "a name",
}
"""What the page quotes of other programs."""
VALUES = (
    "…", r"\(\d+\)", "'[^']*'", r"CUDA_ERROR_\w+", r"cuda:\d", r"sm_\d+", "NVRTC", r"\btensorrt\b", "TensorRT",
    "pycuda", r"\d[\d.]*", "--[a-z-]+", r"kernels\.cu", "(?= failed with)",
    "libnvinfer", "libcudart", r"\.so", "expecting compute", "got compute", "OutOfMemory",
)  # fmt: skip
"""What may be another word in the same message, and words of TensorRT and of the loader inside of ours."""


def messages() -> list[str]:
    """Every message that the tables of the page quote."""
    found = []
    for part in re.findall(r"\| message \|.*\n\| --- .*\n((?:\|.*\n)+)", PAGE):
        for row in part.splitlines():
            found += re.findall(r"`([^`]+)`", row.split(" | ")[0])
    return found


def templates() -> list[str]:
    """Every string of the package, `\0` where a value goes."""
    found = []
    for file in sorted((ROOT / "rtseg").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def fixed_parts(message: str) -> list[str]:
    """The parts of a message that hold no value."""
    parts = (part.strip(" :;,/()") for part in re.split("|".join(VALUES), message))
    return [part for part in parts if len(part) > 3]


def test_every_message_is_one_of_the_code() -> None:
    quoted = messages()
    assert len(quoted) > 25
    assert set(OTHERS) <= set(quoted)
    strings = templates()
    for message in quoted:
        if message in OTHERS:
            continue
        parts = fixed_parts(message)
        named = re.search(r"CUDA_ERROR_\w+", message)
        assert parts or named, message
        for part in parts:
            assert any(part in string for string in strings), f"'{part}' of `{message}`"


def test_a_message_that_no_code_has_is_told() -> None:
    parts = fixed_parts("cuda:0 is out of memory: … MiB asked for, … free")
    assert parts == ["is out of memory", "MiB asked for", "free"]
    assert not any("is out of marmalade" in string for string in templates())


def test_codes_of_the_driver_are_explained() -> None:
    codes = {int(code) for code in re.findall(r"`CUDA_ERROR_\w+` \((\d+)\)", PAGE)}
    assert codes == {803, 804}
    assert codes <= REASONS.keys()


def commands() -> list[list[str]]:
    lines = [line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("rtseg ")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_understood(words: list[str]) -> None:
    assert make_parser().parse_args(words).command


def test_every_flag_of_build_is_one() -> None:
    parser = make_parser()
    known = {word for action in parser._subparsers._group_actions for each in action.choices.values()  # type: ignore[union-attr]
             for word in each._option_string_actions}  # fmt: skip
    for tool in ("gpu_check.py", "install_pycuda.py"):
        known |= set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', (ROOT / "tools" / tool).read_text(encoding="utf-8")))
    page = PAGE.replace("--gpus", "").replace("--system-site-packages", "")
    spans = [span for span in re.findall(r"`([^`\n]+)`", page) if not span.startswith(("pytest ", "pip "))]
    flags = {flag for span in spans for flag in re.findall(r"--[a-z][a-z-]+", span)}
    assert {"--precision", "--workspace", "--timing-cache", "--hardware-compatible", "--layers", "--agreement"} <= flags
    assert flags <= known


def test_no_registry_is_named() -> None:
    assert not re.search(r"pypi\.|index-url", PAGE)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("tensorrt_builds_tool", ROOT / "tools" / "tensorrt_builds.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_table_of_builds_is_what_the_file_says(tool: ModuleType) -> None:
    content = json.loads(tool.RESULTS.read_text(encoding="utf-8"))
    assert tool.paged(PAGE, content) == PAGE, "run tools/tensorrt_builds.py --table"
    networks = content["networks"]
    every = {*NETWORKS, *(f"{decoder}-efficientnet-lite0" for decoder in DECODERS)}
    assert {name for name, found in networks.items() if found["weights"] == "random"} == every
    for name in every:
        whole, half = networks[name]["built"]["fp32"], networks[name]["built"]["fp16"]
        assert f"| {name} | {networks[name]['size']} | {whole['seconds']:.1f} | {whole['bytes'] / 1e6:.1f} |" in PAGE
        assert half["layers"]["fp16"] > half["layers"].get("fp32", 0)
    assert {name for name in networks if name not in every} == {
        "unet-fast0-camvid", "unet-fast0-camvid-int8", "unet-lite2-camvid"
    }  # fmt: skip
    fp16 = networks["unet-fast0-camvid"]["built"]["fp16"]
    assert fp16["labels_equal_to_fp32"]["pixels"] > 0.995
    assert f"{fp16['labels_equal_to_fp32']['pixels']:.2%}, worst frame" in PAGE


def test_a_build_that_is_not_what_its_spec_says_ends_it(tool: ModuleType) -> None:
    from rtseg.packages.spec import ModelSpec

    spec = ModelSpec(name="net", classes=("a", "b"), input_name="image", output_name="logits")
    report = {
        "seconds": 0.5, "layers": {"convolution": {"fp16": 3}, "cast": {"fp32": 1, "fp16": 1}}, "fp16": {"kept": {}},
        "tensors": {"image": ["input", "fp32", [1, 3, -1, -1]], "logits": ["output", "fp32", [1, 2, -1, -1]]},
    }  # fmt: skip
    assert tool.row(10, report, spec) == {"seconds": 0.5, "bytes": 10, "layers": {"fp16": 4, "fp32": 1}}
    report["tensors"] = {**report["tensors"], "logits": ["output", "fp16", [1, 2, -1, -1]]}  # type: ignore[dict-item]
    with pytest.raises(SystemExit, match="is not what its spec says"):
        tool.row(10, report, spec)
