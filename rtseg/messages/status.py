"""Messages about a run rather than a picture: the class map, class areas, and how the node is doing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtseg.frame import Header
from rtseg.messages import records as messages
from rtseg.packages.spec import ModelSpec

__all__ = ["ERROR", "OK", "STALE", "WARN", "areas_bytes", "diagnostics_bytes", "label_info_bytes"]

OK, WARN, ERROR, STALE = 0, 1, 2, 3
"""Levels of a diagnostic_msgs/DiagnosticStatus."""


def label_info_bytes(spec: ModelSpec, header: Header, threshold: float = 0.0) -> bytes:
    """The classes of a model as CDR vision_msgs/LabelInfo: pixel value and name of each.

    255, unlabelled, has no entry. `threshold` is the confidence below which a pixel is left unlabelled.
    """
    classes = [
        messages.build("vision_msgs/msg/VisionClass", class_id=index, class_name=name)
        for index, name in enumerate(spec.classes)
    ]
    info = messages.build(
        messages.LABEL_INFO, header=messages.header_of(header), class_map=classes, threshold=threshold
    )
    return messages.encode(messages.LABEL_INFO, info)


def areas_bytes(areas: NDArray[np.float64], spec: ModelSpec) -> bytes:
    """The fraction of pixels per class as CDR std_msgs/Float32MultiArray with one dimension, `class`.

    The order is that of the class map. The message has no header: it belongs to the mask that came with it.
    """
    count = len(spec.classes)
    if areas.shape != (count,):
        raise ValueError(f"areas of {count} classes expected, found shape {areas.shape}")
    dimension = messages.build("std_msgs/msg/MultiArrayDimension", label="class", size=count, stride=count)
    layout = messages.build("std_msgs/msg/MultiArrayLayout", dim=[dimension], data_offset=0)
    message = messages.build(messages.AREAS, layout=layout, data=areas.astype(np.float32))
    return messages.encode(messages.AREAS, message)


def diagnostics_bytes(
    stamp_ns: int,
    name: str,
    hardware_id: str,
    level: int,
    message: str,
    values: Mapping[str, str | float | int],
) -> bytes:
    """One status as CDR diagnostic_msgs/DiagnosticArray; numbers with a fraction are written with six digits."""
    status = messages.build(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[messages.build("diagnostic_msgs/msg/KeyValue", key=key, value=_text(values[key])) for key in values],
    )
    array = messages.build(messages.DIAGNOSTICS, header=messages.header(stamp_ns, ""), status=[status])
    return messages.encode(messages.DIAGNOSTICS, array)


def _text(value: str | float | int) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
