"""Install PyCUDA into the Python that runs this: python tools/install_pycuda.py [--if-possible] [--wheels DIR]

PyPI has PyCUDA's source only, and its build asks for a whole CUDA toolkit and a driver. It needs neither: two headers,
which come from the toolkit where there is one and else from pip, and something to link to in the driver's place. What
is built loads the driver, libcuda.so.1, when it is imported. cuRAND is left out. The first time takes two minutes; the
wheel is kept in ~/.cache/rtseg/wheels. `--if-possible`: where something is missing say so and leave it at that.
`--wheels`: take PyCUDA and what it needs from a folder of wheels, for machines without a network or a compiler.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
HEADERS = ("nvidia-cuda-runtime==13.0.*", "nvidia-cuda-profiler-api==13.0.*")
"""cuda.h and cudaProfiler.h as packages (3 MB), for machines without the toolkit."""
SITECONF = """
CUDA_INC_DIR = [{headers!r}]
CUDA_ENABLE_CURAND = False
CUDADRV_LIB_DIR = [{stub!r}]
"""


class Missing(Exception):
    """Something that has to be installed first."""


def toolkit_headers() -> Path | None:
    """The folder with cuda.h of CUDA_ROOT or CUDA_HOME, of nvcc's toolkit, or of the newest in /usr/local."""
    roots = [Path(os.environ[name]) for name in ("CUDA_ROOT", "CUDA_HOME") if os.environ.get(name)]
    if nvcc := shutil.which("nvcc"):
        roots.append(Path(nvcc).resolve().parents[1])
    found = [path for path in Path("/usr/local").glob("cuda-*") if re.fullmatch(r"cuda-[\d.]+", path.name)]
    roots.extend(sorted(found, key=lambda path: [int(part) for part in path.name[5:].split(".")], reverse=True))
    folders = (root / "include" for root in roots)
    return next((each for each in folders if (each / "cuda.h").is_file() and (each / "cudaProfiler.h").is_file()), None)


def cuda_version(headers: Path) -> int:
    """13000 for CUDA 13.0."""
    found = re.search(r"#define CUDA_VERSION (\d+)", (headers / "cuda.h").read_text(errors="replace"))
    return int(found[1]) if found else 0


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments[:1], "-q", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise SystemExit("\n".join((*lines[-15:], f"pip {arguments[0]} failed, see above")))


def pip_headers(folder: Path) -> Path:
    pip("install", "--no-deps", "--target", str(folder), *HEADERS)
    return next(path.parent for path in folder.rglob("cuda.h"))


def check_compiler() -> str:
    compiler = shutil.which("g++")
    if compiler is None:
        raise Missing("PyCUDA needs g++ to be built: apt-get install g++")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        raise Missing("PyCUDA needs Python.h to be built: apt-get install python3-dev")
    return compiler


def build(compiler: str, headers: Path, work: Path, kept: Path) -> None:
    """PyCUDA's wheel into the folder `kept`."""
    print(f"building PyCUDA with {headers}/cuda.h (two minutes, this once) ...", flush=True)
    stub = work / "stub"
    stub.mkdir()
    # With a function that PyCUDA calls, or the linker would think the library unneeded.
    (stub / "cuda.c").write_text("int cuInit(unsigned flags) { return (int)flags; }\n")
    flags = ["-x", "c", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([compiler, *flags, str(stub / "cuda.c"), "-o", str(stub / "libcuda.so")], check=True)
    pip("download", "--no-deps", "--no-binary", "pycuda", "-c", str(CONSTRAINTS), "-d", str(work), "pycuda")
    archive = next(work.glob("pycuda-*.tar.gz"))
    with tarfile.open(archive) as file:
        file.extractall(work)
    source = work / archive.name.removesuffix(".tar.gz")
    (source / "siteconf.py").write_text(SITECONF.format(headers=str(headers), stub=str(stub)))
    pip("wheel", "--no-deps", "-w", str(work / "wheel"), str(source))
    kept.mkdir(parents=True, exist_ok=True)
    for wheel in (work / "wheel").glob("*.whl"):
        shutil.copy(wheel, kept / f"{wheel.name}.part")
        os.replace(kept / f"{wheel.name}.part", kept / wheel.name)


def wheel_of(kept: Path, version: str) -> Path | None:
    """The wheel that was built for this Python, if it was."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    machine = sysconfig.get_platform().rsplit("-", 1)[-1]
    return next(kept.glob(f"pycuda-{version}-{tag}-*{machine}.whl"), None)


def from_wheels(folder: Path, version: str) -> None:
    """Install from the folder alone. Errors: Missing where it has no wheel of this version for this Python."""
    if wheel_of(folder, version) is None:
        found = ", ".join(sorted(path.name for path in folder.glob("pycuda-*.whl"))) or "none of PyCUDA"
        tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
        raise Missing(f"no wheel of PyCUDA {version} for this Python ({tag}) in {folder}: {found}")
    pip("install", "--no-index", "--find-links", str(folder), f"pycuda=={version}")


def install(wheels: Path | None = None) -> None:
    version = next(line.split("==")[1] for line in CONSTRAINTS.read_text().splitlines() if line.startswith("pycuda=="))
    try:
        if importlib.metadata.version("pycuda") == version:
            return
    except importlib.metadata.PackageNotFoundError:
        pass
    if wheels is not None:
        from_wheels(wheels, version)
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtseg" / "wheels"
    headers = toolkit_headers()
    kept = cache / f"cuda-{cuda_version(headers) if headers else 'pip'}"
    wheel = wheel_of(kept, version)
    if wheel is None:
        compiler = check_compiler()
        with tempfile.TemporaryDirectory(prefix="rtseg-pycuda-") as work:
            build(compiler, headers or pip_headers(Path(work) / "headers"), Path(work), kept)
        wheel = wheel_of(kept, version)
        assert wheel is not None, f"the build left no wheel for this Python in {kept}"
    pip("install", "-c", str(CONSTRAINTS), str(wheel))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--if-possible", action="store_true", help="skip it where something is missing")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install from this folder, without a network")
    options = parser.parse_args(argv)
    try:
        install(options.wheels)
    except Missing as exc:
        if not options.if_possible:
            print(exc, file=sys.stderr)
            return 1
        print(f"{exc}; without it the GPU tests are skipped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
