"""A rosbag2 as its recorder leaves it: a folder of files and a metadata.yaml that names them."""

from __future__ import annotations

from pathlib import Path

import yaml

from rtseg.bags import METADATA, Bag
from rtseg.bags.mcap_bag import McapBag
from rtseg.bags.ros_bag import RosBag
from rtseg.errors import SourceError

__all__ = ["open_folder"]


def open_folder(path: Path) -> Bag:
    """Open a folder with a metadata.yaml. Errors: SourceError."""
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
