"""Bags: recorded messages of robots, as MCAP, rosbag2 (sqlite3 or MCAP) and ROS 1 bags, read without ROS.

A bag gives its messages in the order of their log times, as the bytes that were recorded.
"""

from __future__ import annotations

from rtseg.bags.contract import (
    Attachment,
    Bag,
    Message,
    Metadata,
    Schema,
    Topic,
    is_bag,
    kind_of,
    span,
    split_target,
)

__all__ = [
    "Attachment",
    "Bag",
    "Message",
    "Metadata",
    "Schema",
    "Topic",
    "is_bag",
    "kind_of",
    "span",
    "split_target",
]
