"""Calls to a camera wait in a thread of their own, and whoever makes them does not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from edge.sources.camera_calls import CameraCalls

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 10.0


class RefusalError(Exception):
    """What a driver raises."""


class DeadCamera:
    """A camera that answers when the test lets it."""

    def __init__(self) -> None:
        """Be silent."""
        self.asked, self.answers = threading.Event(), threading.Event()

    def ask(self) -> bool:
        """Wait for the answer, as a driver does."""
        self.asked.set()
        assert self.answers.wait(LIMIT_S)
        return True


@pytest.fixture
def calls() -> Iterator[CameraCalls]:
    """Calls to a driver; the thread is ended after the test."""
    made = CameraCalls(RefusalError)
    yield made
    made.close()


def test_commands_are_given_in_order(calls: CameraCalls) -> None:
    """Each command is given once, one after the other."""
    given: list[int] = []

    for number in range(5):
        calls.order(lambda number=number: given.append(number))  # type: ignore[misc]
    answered = calls.confirms(lambda: given == [0, 1, 2, 3, 4], LIMIT_S)

    assert answered
    assert calls.fault == ""


def test_question_has_its_answer(calls: CameraCalls) -> None:
    """Yes and no are what the camera said."""
    assert calls.confirms(lambda: True, LIMIT_S)
    assert not calls.confirms(lambda: False, LIMIT_S)


def test_silence_is_no(calls: CameraCalls) -> None:
    """A camera that keeps silent does not keep the asker, nor does the call in progress."""
    dead = DeadCamera()

    answered = calls.confirms(dead.ask, 0.05)
    behind = calls.confirms(lambda: True, 0.05)
    asked = dead.asked.wait(LIMIT_S)
    dead.answers.set()

    assert asked
    assert (answered, behind) == (False, False)
    assert calls.confirms(lambda: True, LIMIT_S), "a late answer is no fault"


def test_order_returns_before_it_is_obeyed(calls: CameraCalls) -> None:
    """Who triggers does not wait for the camera."""
    slow = DeadCamera()

    calls.order(slow.ask)
    calls.order(slow.ask)

    assert slow.asked.wait(LIMIT_S)
    slow.answers.set()


def test_nothing_follows_a_refusal(calls: CameraCalls) -> None:
    """What the driver said is kept, and a camera that did not obey is not called again."""
    given: list[str] = []

    def refuse() -> None:
        msg = "write timeout"
        raise RefusalError(msg)

    calls.order(refuse)
    calls.order(lambda: given.append("after"))
    answered = calls.confirms(lambda: True, 0.05)
    calls.close()

    assert calls.fault == "write timeout"
    assert not answered
    assert given == []


def test_refused_question_is_a_fault(calls: CameraCalls) -> None:
    """A question that the driver cannot ask is answered with no, and the reason is kept."""

    def refuse() -> bool:
        raise RefusalError

    assert not calls.confirms(refuse, 0.2)
    assert not calls.confirms(lambda: True, LIMIT_S)
    assert calls.fault == "RefusalError"
