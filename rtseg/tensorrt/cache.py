"""Plans on disk: `<model>.<sizes>.<precision>.<library>-<version>.<capability>.<GPU>.plan` and a sidecar of that name.

A plan is code that TensorRT runs, so only a plan under an `engines/` folder, or one that the user names, is read at
all, and only if its SHA-256 is the one in its sidecar `<plan>.json`. The sidecar also says what the plan was built
from and how; where that differs from what is needed now, the plan is built again. Its name holds a whole plan or none:
the old plan goes, then the sidecar is replaced, then the new plan gets its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from rtseg.errors import BackendError
from rtseg.files import put_in_place, write_bytes
from rtseg.packages.spec import ModelSpec, package_folders
from rtseg.platforms import lock
from rtseg.tensorrt.profiles import Profile

__all__ = [
    "Identity",
    "Sidecar",
    "folder_for",
    "locked",
    "mismatch",
    "read_plan",
    "read_sidecar",
    "sidecar_path",
    "store",
]

SCHEMA = "rtseg.plan/1"
PORTABLE = "portable"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether a plan is the one that is wanted.

    `onnx` is the SHA-256 of the model's file, `sizes` the profiles, `capability` and `gpu` what it was built for
    ("portable" where it runs on others too), `options` the builder's, `converter` the version of our conversions.
    """

    model: str
    onnx: str
    sizes: str
    precision: str
    library: str
    version: str
    capability: str = PORTABLE
    gpu: str = PORTABLE
    options: dict[str, Any] = {}
    converter: int = 1

    @property
    def file(self) -> str:
        """The plan's file name."""
        parts = (self.model, self.sizes, self.precision, f"{self.library}-{self.version}", self.capability, self.gpu)
        name = ".".join(re.sub(r"[^\w.+-]+", "-", part).strip("-") for part in parts)
        if len(name) > 200:  # many sizes: file systems end at 255
            digest = hashlib.sha256(self.sizes.encode()).hexdigest()[:12]
            return msgspec.structs.replace(self, sizes=f"{self.sizes.count('+') + 1}-sizes-{digest}").file
        return f"{name}.plan"


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a plan: what it is, its bytes' SHA-256, the model's spec, and the report of its build."""

    schema: str = SCHEMA
    identity: Identity
    sha256: str
    bytes: int
    profiles: list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]
    spec: ModelSpec
    report: dict[str, Any] = {}

    @property
    def ranges(self) -> tuple[Profile, ...]:
        """The sizes that the plan takes."""
        return tuple(Profile(*sizes) for sizes in self.profiles)


def folder_for(model: Path, name: str) -> Path:
    """Where plans of a model file go: beside it if that is a writable folder under `engines/`, else `engines/NAME`."""
    here = model.resolve().parent
    inside = any(here.is_relative_to(folder.resolve()) for folder in package_folders())
    return here if inside and os.access(here, os.W_OK) else Path("engines") / name


def sidecar_path(plan: Path) -> Path:
    """The sidecar's path."""
    return plan.with_name(f"{plan.name}.json")


def read_sidecar(plan: Path) -> Sidecar:
    """The sidecar of a plan; BackendError naming the plan where there is none, or it is not ours."""
    path = sidecar_path(plan)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Sidecar)
    except FileNotFoundError as exc:
        raise BackendError(
            f"{plan} has no sidecar {path.name}, so its contents are unknown: delete it, or copy the sidecar beside it"
        ) from exc
    except (OSError, msgspec.DecodeError, ValueError) as exc:
        raise BackendError(
            f"{path} is not the sidecar of a plan ({' '.join(str(exc).split())}): delete it and {plan}"
        ) from exc
    if found.schema != SCHEMA:
        raise BackendError(f"{path} is of another rtseg ({found.schema}, this one writes {SCHEMA}): build it again")
    return found


def read_plan(plan: Path, *, explicit: bool = False) -> tuple[bytes, Sidecar]:
    """A plan's bytes and sidecar, checked against each other.

    Errors: BackendError naming the file where it lies outside of every `engines/` folder and is not `explicit`, has no
    sidecar, or is not the file that the sidecar describes.
    """
    if not explicit and not _trusted(plan):
        raise BackendError(f"{plan} is not under engines/: plans are code, so give its path with --model to load it")
    sidecar = read_sidecar(plan)
    while True:
        try:
            data = plan.read_bytes()
        except OSError as exc:
            raise BackendError(f"cannot read {plan}: {exc.strerror}") from exc
        now = read_sidecar(plan)
        if now.sha256 == sidecar.sha256:
            break
        sidecar = now  # another process has just replaced both
    if len(data) < sidecar.bytes:
        raise BackendError(f"{plan} is cut short ({len(data)} of {sidecar.bytes} bytes): delete it, or copy it again")
    if hashlib.sha256(data).hexdigest() != sidecar.sha256:
        raise BackendError(f"{plan} is not the file that its sidecar describes (SHA-256 differs): delete it")
    return data, sidecar


def _trusted(plan: Path) -> bool:
    here = plan.resolve()
    folders = [*package_folders(), Path("engines")]
    return any(here.is_relative_to(folder.resolve()) for folder in folders)


def mismatch(found: Identity, wanted: Identity) -> str | None:
    """Why a plan is not the wanted one, in words; None where it is."""
    words = {
        "model": "model", "onnx": "model file", "sizes": "sizes", "precision": "precision", "library": "library",
        "version": "version of the library", "capability": "compute capability", "gpu": "GPU",
        "converter": "conversion of rtseg",
    }  # fmt: skip
    reasons = []
    for field, word in words.items():
        was, is_now = getattr(found, field), getattr(wanted, field)
        if was != is_now:
            reasons.append("the model file has changed" if field == "onnx" else f"{word} was {was}, is {is_now}")
    for option in sorted({*found.options, *wanted.options}):
        was, is_now = found.options.get(option), wanted.options.get(option)
        if was != is_now:
            told = ("not set" if value is None else value for value in (was, is_now))
            reasons.append("{} was {}, is {}".format(option.replace("_", " "), *told))
    return ", ".join(reasons) or None


@contextmanager
def locked(plan: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the plan's lock: one process builds it, the others wait (`waiting` is called once) and find it made.

    What a process that was killed left behind is removed.
    """
    try:
        plan.parent.mkdir(parents=True, exist_ok=True)
        file = (plan.parent / f".{plan.name}.lock").open("w")
    except OSError as exc:
        raise BackendError(f"cannot write to {plan.parent} ({exc.strerror}): give --out FILE.plan elsewhere") from exc
    with file:
        lock(file, waiting)
        for name in (plan.name, sidecar_path(plan).name):
            for left in plan.parent.glob(f".{_escaped(name)}.????????"):  # mkstemp's eight characters
                left.unlink(missing_ok=True)
        yield


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def store(plan: Path, data: bytes, sidecar: Sidecar) -> None:
    """Write a plan and its sidecar under the plan's lock; BackendError where that is not possible."""
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=plan.parent, prefix=f".{plan.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        plan.unlink(missing_ok=True)
        text = msgspec.json.format(msgspec.json.encode(sidecar), indent=2)
        write_bytes(sidecar_path(plan), text + b"\n")
        put_in_place(temporary, plan)
    except OSError as exc:
        raise BackendError(f"cannot write {plan}: {exc.strerror or exc}") from exc
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
