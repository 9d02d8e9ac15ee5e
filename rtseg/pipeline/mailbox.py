"""The bounded queue between threads, with the policies that decide what happens when it is full."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from rtseg.errors import ConfigError, nearest

__all__ = ["POLICIES", "Mailbox", "parse_policy"]

T = TypeVar("T")

POLICIES = ("latest", "wait", "drop-oldest:N")
POLL_SECONDS = 0.1
"""Waits are cut into pieces of this length, so that Ctrl-C is answered on every platform."""


def parse_policy(text: str) -> tuple[str, int]:
    """(kind, capacity) of a policy: `latest` is ("drop-oldest", 1), `wait` ("wait", 1), `wait:4` ("wait", 4)."""
    match = re.fullmatch(r"(latest)|(wait|drop-oldest)(?::(\d+))?", text)
    if not match or match[3] == "0" or (match[2] == "drop-oldest" and match[3] is None):
        raise ConfigError(f"unknown policy '{text}': {nearest(text, POLICIES)}, with N from 1")
    if match[1]:
        return "drop-oldest", 1
    return match[2], int(match[3] or 1)


class Mailbox(Generic[T]):
    """A bounded queue from one thread to another.

    `wait` blocks the producer while it is full; `drop-oldest:N` (`latest` is N = 1) discards the oldest item and counts
    it in `drops`. Iterating ends when the box is closed and empty.
    """

    def __init__(self, policy: str) -> None:
        self._kind, self._capacity = parse_policy(policy)
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.drops = 0

    def wait_for_room(self) -> bool:
        """Wait until `put` would not block; False if the box was closed. Call it before making an item that can age."""
        with self._changed:
            if self._kind == "wait":
                while len(self._items) >= self._capacity and not self._closed:
                    self._changed.wait(POLL_SECONDS)
            return not self._closed

    def put(self, item: T) -> bool:
        """Add an item; False if the box was closed, and the item is then not in it."""
        with self._changed:
            if self._kind == "wait":
                while len(self._items) >= self._capacity and not self._closed:
                    self._changed.wait(POLL_SECONDS)
            if self._closed:
                return False
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.drops += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                while not self._items and not self._closed:
                    self._changed.wait(POLL_SECONDS)
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            del item

    def close(self) -> None:
        """No more items come; what is queued can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
