"""Opening bags, to read and to write, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from rtseg.bags.contract import METADATA, Bag, Topic
from rtseg.bags.folder_writer import FolderWriter
from rtseg.bags.mcap_bag import McapBag
from rtseg.bags.mcap_writer import McapWriter
from rtseg.bags.ros_bag import RosBag
from rtseg.bags.writers import Writer
from rtseg.errors import SourceError

__all__ = ["open_bag", "open_writer"]


def open_bag(path: str | Path) -> Bag:
    """Open a bag for reading. Errors: SourceError for what is none, or damaged beyond use."""
    path = Path(path)
    try:
        if not path.exists():
            raise SourceError(f"{path} does not exist")
        if path.is_dir():
            return _folder(path)
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)")
        return McapBag(path, [path]) if path.suffix.lower() == ".mcap" else RosBag(path)
    except SourceError:
        raise
    except OSError as exc:
        raise SourceError(f"{path} cannot be read: {(exc.strerror or str(exc)).lower()}") from exc


def _folder(path: Path) -> Bag:
    """A rosbag2 as its recorder leaves it: files, and a metadata.yaml that names them."""
    metadata = path / METADATA
    if not metadata.is_file():
        raise SourceError(f"{path} is a folder without {METADATA}, expected a rosbag2: give its .mcap or .db3 file")
    try:
        facts = yaml.safe_load(metadata.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        storage, compressed = facts["storage_identifier"], facts.get("compression_mode") or "none"
        files = [path / Path(name).name for name in facts["relative_file_paths"]]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise SourceError(f"{metadata} is not that of a rosbag2: {' '.join(str(exc).split())}") from exc
    if not files:
        raise SourceError(f"{metadata} names no file")
    for file in files:
        if not file.is_file():
            raise SourceError(f"{file} does not exist, but {metadata} names it")
    if storage == "mcap" and compressed.lower() == "none":
        return McapBag(path, files)
    return RosBag(path)


def open_writer(path: Path, topics: Sequence[Topic]) -> Writer:
    """The writer for a name: .mcap is a file, anything else a rosbag2's folder; `topics` will be copied into it.

    Errors: SinkError.
    """
    if path.suffix.lower() == ".mcap":
        return McapWriter(path, topics)
    return FolderWriter(path, topics)
