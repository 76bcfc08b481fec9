"""The scorer grants what is settled, whatever was lost on the way."""

from __future__ import annotations

from pipeline.scoring import CameraLink

BOOT, OTHER = "a" * 16, "b" * 16


def test_frames_settle_when_finished() -> None:
    """A frame that is held is not settled, a finished one is."""
    link = CameraLink(BOOT)
    link.hello(BOOT, sent=0)
    for _ in range(2):
        link.received(BOOT)
    settled = [link.settled]

    link.finished(BOOT)

    assert [*settled, link.settled] == [0, 1]


def test_frames_lost_on_the_way_settle_with_the_next_hello() -> None:
    """What the camera counts as sent and is not held here needs no credit any more."""
    link = CameraLink(BOOT)
    link.hello(BOOT, sent=0)
    link.received(BOOT)

    link.hello(BOOT, sent=3)

    assert link.settled == 2


def test_new_scorer_owes_nothing() -> None:
    """A scorer that never saw the camera's frames settles all of them."""
    link = CameraLink("")

    link.hello(BOOT, sent=17)

    assert link.settled == 17


def test_frame_before_the_first_hello_is_counted() -> None:
    """A frame may come before the hello; the count never exceeds what is finished."""
    link = CameraLink("")
    link.received(BOOT)
    early = link.settled

    link.hello(BOOT, sent=5)

    assert (early, link.settled) == (0, 4)


def test_restarted_camera_starts_anew() -> None:
    """Frames of the camera's earlier start no longer count when they finish."""
    link = CameraLink(BOOT)
    link.hello(BOOT, sent=2)
    link.received(BOOT)
    link.hello(OTHER, sent=0)
    link.received(OTHER)

    link.finished(BOOT)

    assert link.settled == 0
    link.finished(OTHER)
    assert link.settled == 1
