"""What the broker refuses is said once for each cause, and known while it lasts."""

from __future__ import annotations

import logging

import pytest

from edge.mqtt_queue import Link, LiveQueue, Message, Outcome
from edge.mqtt_refusals import AGAIN_NS, CURRENT_NS, NOT_AUTHORIZED, Refusals

QUESTION = "does its access list allow"


class Rig:
    """Refusals on a clock that the test moves, and what they log."""

    def __init__(self, caplog: pytest.LogCaptureFixture, username: str | None = "box") -> None:
        """Begin at an hour after the clock's start."""
        caplog.set_level(logging.INFO, "edge.mqtt_refusals")
        self._caplog = caplog
        self.now_ns = 3_600_000_000_000
        self.refusals = Refusals(username, lambda: self.now_ns)

    def answers(self, *topics: str, reason: str = NOT_AUTHORIZED) -> None:
        """Let the broker answer a message on each topic."""
        for topic in topics:
            self.refusals.answered(topic, reason)

    @property
    def said(self) -> list[str]:
        """Everything that was logged."""
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def rig(caplog: pytest.LogCaptureFixture) -> Rig:
    """Return refusals of a user."""
    return Rig(caplog)


def test_a_cause_is_said_once(rig: Rig) -> None:
    """Whatever else is refused for the same reason, however long, one line tells it."""
    for _ in range(100):
        rig.answers("r/part", "r/status", "r/history")
        rig.now_ns += AGAIN_NS

    assert rig.said == [
        "MQTT broker refuses r/part: Not authorized; "
        "does its access list allow user box to write there?"
    ]


def test_nobody_is_named_where_nobody_logged_in(caplog: pytest.LogCaptureFixture) -> None:
    """Without a user the question is asked without one."""
    rig = Rig(caplog, username=None)

    rig.answers("r/part")

    assert rig.said == [
        "MQTT broker refuses r/part: Not authorized; does its access list allow writing there?"
    ]


def test_each_reason_is_a_cause_of_its_own(rig: Rig) -> None:
    """A second reason is said too; only a missing right asks about the access list."""
    rig.answers("r/part")
    rig.answers("r/part", reason="Quota exceeded")

    assert rig.said[1:] == ["MQTT broker refuses r/part: Quota exceeded"]
    assert [QUESTION in line for line in rig.said] == [True, False]


def test_topics_that_are_allowed_change_nothing(rig: Rig) -> None:
    """Where some topics were always accepted, those that are refused are said once all the same."""
    for _ in range(10):
        rig.answers("r/part")
        rig.answers("r/verdict", reason="")
        rig.now_ns += AGAIN_NS

    assert len(rig.said) == 1


def test_a_cause_that_returns_is_said_again(rig: Rig) -> None:
    """After a refused topic was accepted, a refusal is news, but not more often than the limit."""
    rig.answers("r/part")
    for _ in range(5):
        rig.answers("r/part", reason="")
        rig.answers("r/part")
    soon = len(rig.said)
    rig.now_ns += AGAIN_NS
    rig.answers("r/part")

    assert (soon, len(rig.said)) == (1, 2)


def test_another_connection_begins_anew(rig: Rig) -> None:
    """After a reconnect nothing is refused yet, and the first refusal is said."""
    rig.answers("r/part")
    rig.refusals.forget()
    between = rig.refusals.current
    rig.answers("r/part")

    assert between == ""
    assert len(rig.said) == 2


def test_the_latest_refusal_is_current(rig: Rig) -> None:
    """The text names the topic that was refused last, and of those that still are."""
    texts = [rig.refusals.current]
    for topic, reason in (("r/part", "No"), ("r/plc", "No"), ("r/plc", ""), ("r/part", "")):
        rig.answers(topic, reason=reason)
        texts.append(rig.refusals.current)

    assert texts == ["", "refuses r/part: No", "refuses r/plc: No", "refuses r/part: No", ""]


def test_what_is_not_refused_again_is_over(rig: Rig) -> None:
    """A topic on which nothing more is said does not count as refused for ever."""
    rig.answers("r/cmd/result")
    rig.now_ns += CURRENT_NS
    last = rig.refusals.current
    rig.now_ns += 1

    assert last == "refuses r/cmd/result: Not authorized"
    assert rig.refusals.current == ""


def message(number: int, qos: int = 1) -> Message:
    """Return a message whose receipt is its number."""
    return Message("line/verdict", b"", qos, receipt=number)


def test_a_refusal_has_its_reason() -> None:
    """An outcome tells a refusal from a loss, and each answer is handed on with its topic."""
    answers: list[tuple[str, str]] = []
    queue = LiveQueue(lambda: 0, None, lambda *answer: answers.append(answer))
    packets = iter(range(4))
    link = Link(lambda _message: next(packets))
    queue.open(link)

    for number in range(4):
        queue.put(message(number, qos=int(number != 2)))
    queue.settle(link, 0, refused=NOT_AUTHORIZED)
    queue.settle(link, 1)
    queue.settle(link, 2)
    queue.shut(link)

    assert queue.outcomes() == [
        Outcome(0, confirmed=False, refused=NOT_AUTHORIZED),
        Outcome(1, confirmed=True),
        Outcome(2, confirmed=True),
        Outcome(3, confirmed=False),
    ]
    assert answers == [("line/verdict", NOT_AUTHORIZED), ("line/verdict", "")]


def test_a_refusal_may_overtake_the_packet_id() -> None:
    """A refusal that comes before ``send`` has returned is one all the same."""
    answers: list[tuple[str, str]] = []
    queue = LiveQueue(lambda: 0, None, lambda *answer: answers.append(answer))

    def refused_at_once(_message: Message) -> int:
        queue.settle(link, 7, refused=NOT_AUTHORIZED)
        return 7

    link = Link(refused_at_once)
    queue.open(link)

    queue.put(message(0))

    assert queue.outcomes() == [Outcome(0, confirmed=False, refused=NOT_AUTHORIZED)]
    assert answers == [("line/verdict", NOT_AUTHORIZED)]
