"""The bounded queue: order, exact drop counts, blocking, closing."""

from __future__ import annotations

import threading
import time

import pytest

from rtseg.errors import ConfigError
from rtseg.pipeline.mailbox import Mailbox, parse_policy


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("latest", ("drop-oldest", 1)),
        ("wait", ("wait", 1)),
        ("wait:3", ("wait", 3)),
        ("drop-oldest:8", ("drop-oldest", 8)),
    ],
)
def test_policies(text: str, parsed: tuple[str, int]) -> None:
    assert parse_policy(text) == parsed


@pytest.mark.parametrize("text", ["", "newest", "drop-oldest", "drop-oldest:0", "wait:-1", "latest:2", "wait:x"])
def test_a_wrong_policy_names_the_choices(text: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown policy.*latest, wait, drop-oldest:N"):
        parse_policy(text)


def test_latest_keeps_the_newest_and_counts_every_overwritten_item() -> None:
    box: Mailbox[int] = Mailbox("latest")
    for item in range(7):
        assert box.put(item)
    box.close()
    assert (list(box), box.drops) == ([6], 6)


def test_drop_oldest_keeps_the_last_n_in_order() -> None:
    box: Mailbox[int] = Mailbox("drop-oldest:3")
    for item in range(10):
        box.put(item)
    box.close()
    assert (list(box), box.drops) == ([7, 8, 9], 7)


def test_wait_loses_nothing_and_bounds_the_queue() -> None:
    box: Mailbox[int] = Mailbox("wait:2")
    put: list[int] = []

    def produce() -> None:
        for item in range(50):
            box.put(item)
            put.append(item)
        box.close()

    producer = threading.Thread(target=produce)
    producer.start()
    time.sleep(0.05)
    assert put == [0, 1]  # the third is held back until one is taken
    assert list(box) == list(range(50))
    producer.join(5)
    assert box.drops == 0


def test_closing_frees_a_blocked_producer_and_refuses_its_item() -> None:
    box: Mailbox[int] = Mailbox("wait")
    box.put(1)
    answers: list[bool] = []
    producer = threading.Thread(target=lambda: answers.append(box.put(2)))
    producer.start()
    time.sleep(0.02)
    box.close()
    producer.join(5)
    assert answers == [False]
    assert list(box) == [1]
