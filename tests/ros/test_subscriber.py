"""The intake: what is counted as what, how messages are numbered, and what is said of bad ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from rtseg.frame import Frame
from rtseg.messages import records as messages
from rtseg.ros import subscriber as module
from rtseg.ros.subscriber import Picture, Subscriber, picture_kind
from tests.messages.pictures import pixels
from tests.ros.segmenting import frame_message

FIRST, SECOND = b"first", b"second"
BAD = b"\x00\x01\x00\x00"


@pytest.fixture
def intake() -> Iterator[Subscriber]:
    with Subscriber("/camera/image") as made:
        yield made


def counts(intake: Subscriber) -> tuple[int, int, int, int, int]:
    return intake.received, intake.lost, intake.replaced, intake.skipped, intake.bad.total()


def put(intake: Subscriber, *sequences: int, publisher: bytes = FIRST) -> None:
    for sequence in sequences:
        intake.put(frame_message(sequence), publisher, sequence)


def test_a_name_tells_the_kind() -> None:
    assert picture_kind("/camera/image/compressed") == messages.COMPRESSED_IMAGE
    assert picture_kind("/camera/compressed/image") == messages.IMAGE
    info = Subscriber("/camera/image", (480, 640)).info
    assert (info.source, info.live, info.size, info.fps) == ("ros:/camera/image", True, (480, 640), None)


def test_a_frame_has_the_pictures_header_and_the_time_it_arrived(
    intake: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "monotonic_ns", lambda: 1_000_000)
    intake.put(frame_message(4, stamp_ns=7_500_000_001, frame_id="left"), age_ns=400_000)
    frame = next(iter(intake))
    assert (frame.index, frame.t_capture, frame.pts, frame.stamp) == (0, 600_000, None, 7.500000001)
    assert frame.header is not None
    assert (frame.header.topic, frame.header.stamp_ns, frame.header.frame_id) == (
        "/camera/image",
        7_500_000_001,
        "left",
    )
    assert frame.header.log_time_ns == 7_500_000_001
    assert frame.image.tobytes() == pixels(4, 32, 48).tobytes()


def test_the_newest_replaces_what_waits_and_the_gap_is_in_the_number(intake: Subscriber) -> None:
    frames = iter(intake)
    put(intake, 1)
    assert next(frames).index == 0
    put(intake, 2, 3, 4)
    frame = next(frames)
    assert (frame.index, frame.header and frame.header.stamp_ns) == (3, 4)
    assert counts(intake) == (4, 0, 2, 0, 0)


def test_gaps_in_a_publishers_numbers_are_losses(intake: Subscriber) -> None:
    frames = iter(intake)
    put(intake, 10)
    assert next(frames).index == 0, "what was before we came is no loss"
    put(intake, 14)
    assert next(frames).index == 4
    assert counts(intake) == (2, 3, 0, 0, 0)


def test_each_publisher_has_its_own_numbers(intake: Subscriber) -> None:
    frames = iter(intake)
    for sequence, publisher in [(5, FIRST), (900, SECOND), (6, FIRST), (902, SECOND)]:
        put(intake, sequence, publisher=publisher)
        last = next(frames)
    assert last.index == 4
    assert counts(intake) == (4, 1, 0, 0, 0)


def test_a_restarted_publisher_begins_anew(intake: Subscriber) -> None:
    frames = iter(intake)
    put(intake, 400)
    next(frames)
    put(intake, 1, publisher=SECOND)
    assert next(frames).index == 1
    put(intake, 2, 2, 1, publisher=SECOND)
    assert counts(intake) == (5, 0, 2, 0, 0), "numbers that go back are no loss"


def test_publishers_of_long_ago_are_forgotten(intake: Subscriber) -> None:
    for number in range(200):
        put(intake, 1, publisher=bytes([number]))
    assert len(intake._last) == module.KNOWN_PUBLISHERS
    put(intake, 3, publisher=bytes([199]))
    put(intake, 3, publisher=bytes([0]))
    assert intake.lost == 1


def test_without_numbers_nothing_is_known_to_be_lost(intake: Subscriber) -> None:
    for _ in range(3):
        intake.put(frame_message(0), FIRST, None)
    assert counts(intake) == (3, 0, 2, 0, 0)


def test_what_nobody_wants_is_neither_received_nor_lost(intake: Subscriber) -> None:
    frames = iter(intake)
    put(intake, 1)
    next(frames)
    for sequence in (2, 3, 6):
        intake.skip(FIRST, sequence)
    put(intake, 7)
    assert next(frames).index == 1
    assert counts(intake) == (2, 0, 0, 5, 0)


def test_what_was_sent_while_nothing_was_subscribed_to_is_not_lost(intake: Subscriber) -> None:
    frames = iter(intake)
    put(intake, 1)
    next(frames)
    intake.forget()
    put(intake, 50)
    assert next(frames).index == 1
    put(intake, 53)
    assert next(frames).index == 4
    assert counts(intake) == (3, 2, 0, 0, 0)


def test_bad_messages_are_counted_by_kind_and_leave_no_gap(intake: Subscriber) -> None:
    frames = iter(intake)
    put(intake, 1)
    assert next(frames).index == 0
    for sequence, data in enumerate((BAD, b"", frame_message(0)[:-7], frame_message(0, encoding="bgr8")), start=2):
        intake.put(data, FIRST, sequence)
        if sequence < 5:
            threading.Timer(0, put, (intake, 100), {"publisher": SECOND}).cancel()
            bad = intake._next()
            assert bad is not None and intake._frame(bad) is None
    assert next(frames).index == 1
    assert intake.bad == {"not a message": 3}


def test_each_kind_of_bad_message_is_logged_now_and_then(
    intake: Subscriber, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    empty = messages.encode_with(
        messages.IMAGE, b"", header=messages.header(0, ""), height=0, width=0, encoding="bgr8", is_bigendian=0, step=0
    )

    def take(data: bytes) -> None:
        intake.put(data)
        waiting = intake._next()
        assert waiting is not None and intake._frame(waiting) is None

    with caplog.at_level(logging.WARNING, "rtseg"):
        for _ in range(5):
            take(empty)
            take(BAD)
        assert len(caplog.messages) == 2
        assert caplog.messages[0].startswith("/camera/image: message left out: bgr8 image of 0x0")
        now += module.COMPLAINT_SECONDS
        take(empty)
        take(empty)
    assert caplog.messages[2:] == [caplog.messages[0] + " (4 more like it since the last such line)"]
    assert intake.bad == {"zero size": 7, "not a message": 5}


def test_a_picture_that_is_handed_over_needs_no_message(intake: Subscriber) -> None:
    image = pixels(1, 4, 6).reshape(4, 6, 3)
    intake.put(Picture(image, 55, "arm"))
    frame = next(iter(intake))
    assert frame.image is image
    assert frame.header is not None and (frame.header.stamp_ns, frame.header.frame_id) == (55, "arm")


def test_closing_from_another_thread_ends_a_wait_and_forgets_what_waits() -> None:
    intake = Subscriber("/camera/image")
    found: list[Frame] = []
    reader = threading.Thread(target=lambda: found.extend(intake))
    reader.start()
    intake.close()
    reader.join(5)
    assert not reader.is_alive() and found == []
    put(intake, 1)
    assert list(intake) == []


def test_an_error_of_the_receiving_thread_ends_the_iteration(intake: Subscriber) -> None:
    put(intake, 1)
    frames = iter(intake)
    assert next(frames).index == 0
    intake.close(RuntimeError("the middleware is gone"))
    intake.close()
    with pytest.raises(RuntimeError, match="the middleware is gone"):
        next(frames)
