"""The live queue alone: nothing late, nothing out of order, one outcome for each receipt."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import mqtt_queue
from edge.mqtt_queue import Link, LiveQueue, Message, Outcome

LIMIT_S = 10.0
REFUSED = "Not authorized"


@dataclass
class Broker:
    """A connection by hand: it takes what it is sent, and answers when the test says so."""

    clock_ns: list[int] = field(default_factory=lambda: [0])
    sent: list[Message] = field(default_factory=list)
    late: list[Message] = field(default_factory=list)
    open_packets: list[int] = field(default_factory=list)
    rings: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the queue on this connection."""
        self.queue = LiveQueue(lambda: self.clock_ns[0], lambda: self.rings.append(1))
        self.link = Link(self.take, in_flight=3)
        self.queue.open(self.link)

    def take(self, message: Message) -> int:
        """Stand for paho: take a message, return its packet id."""
        self.sent.append(message)
        if message.until_ns is not None and message.until_ns < self.clock_ns[0]:
            self.late.append(message)
        self.open_packets.append(len(self.sent))
        return len(self.sent)

    def answer(self, *, confirmed: bool = True) -> None:
        """Answer the oldest packet that has no answer, if there is one."""
        if self.open_packets:
            self.queue.settle(
                self.link, self.open_packets.pop(0), refused="" if confirmed else REFUSED
            )

    def reconnect(self) -> None:
        """End the connection and make another."""
        self.queue.shut(self.link)
        self.open_packets.clear()
        self.link = Link(self.take, in_flight=3)
        self.queue.open(self.link)

    def payloads(self) -> list[bytes]:
        """Return what was sent, in order."""
        return [message.payload for message in self.sent]


def verdict(number: int, until_ns: int | None = None, qos: int = 1) -> Message:
    """Return a message whose payload and receipt are its number."""
    return Message("line/verdict", b"%d" % number, qos, until_ns=until_ns, receipt=number)


STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 1), st.none() | st.integers(-2, 6)),
    st.tuples(st.just("answer"), st.booleans(), st.none()),
    st.tuples(st.just("pass time"), st.integers(1, 4), st.none()),
    st.tuples(st.just("reconnect"), st.none(), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=60))
def test_whatever_happens_each_message_has_one_end(
    steps: list[tuple[str, int | None, int | None]],
) -> None:
    """Nothing late is handed on, order is kept, accounts are whole, each receipt ends once."""
    broker = Broker()
    taken: dict[int, bool] = {}
    outcomes: list[Outcome] = []

    for number, (what, how, until) in enumerate(steps):
        if what == "put":
            until_ns = None if until is None else broker.clock_ns[0] + until
            taken[number] = broker.queue.put(verdict(number, until_ns, how or 0))
        elif what == "answer":
            broker.answer(confirmed=bool(how))
        elif what == "pass time":
            broker.clock_ns[0] += how or 0
        else:
            broker.reconnect()
        outcomes += broker.queue.outcomes()
        assert len(broker.open_packets) <= 3
        whole = broker.queue.confirmed + broker.queue.unsent + broker.queue.unconfirmed
        assert whole == len(taken)
    broker.queue.shut(broker.link)
    outcomes += broker.queue.outcomes()

    assert broker.late == []
    assert broker.payloads() == sorted(broker.payloads(), key=int)
    assert sorted(o.receipt for o in outcomes) == [n for n, ok in taken.items() if ok]
    assert sum(o.confirmed for o in outcomes) == broker.queue.confirmed
    assert broker.queue.unconfirmed == 0


def test_what_waits_follows_at_once() -> None:
    """No more than the limit is on the way; each answer sends the next, in order."""
    broker = Broker()

    for number in range(6):
        broker.queue.put(verdict(number))
    at_first = broker.payloads()
    broker.answer()

    assert at_first == [b"0", b"1", b"2"]
    assert broker.payloads() == [b"0", b"1", b"2", b"3"]
    assert broker.queue.unconfirmed == 5


def test_time_decides_when_the_turn_comes() -> None:
    """A message that waited past its time is unsent, with an outcome, and the next one goes."""
    broker = Broker()
    for number in range(3):
        broker.queue.put(verdict(number))
    broker.queue.put(verdict(3, until_ns=5))
    broker.queue.put(verdict(4, until_ns=6))

    broker.clock_ns[0] = 6
    broker.answer()

    assert broker.payloads() == [b"0", b"1", b"2", b"4"]
    assert broker.queue.outcomes() == [Outcome(0, confirmed=True), Outcome(3, confirmed=False)]
    assert (broker.queue.confirmed, broker.queue.unsent) == (1, 1)


def test_outcome_says_when_the_broker_answered() -> None:
    """An outcome is dated by the broker's answer, not by the publish or by who reads it."""
    broker = Broker(clock_ns=[10])
    broker.queue.put(verdict(0))

    broker.clock_ns[0] = 25
    broker.answer()
    broker.clock_ns[0] = 90

    assert [outcome.at_ns for outcome in broker.queue.outcomes()] == [25]


def test_what_comes_too_late_is_refused() -> None:
    """A message whose time has passed is refused at once, and so gets no outcome."""
    broker = Broker(clock_ns=[10])

    assert not broker.queue.put(verdict(0, until_ns=9))
    assert broker.queue.put(verdict(1, until_ns=10))
    broker.answer()

    assert broker.payloads() == [b"1"]
    assert broker.queue.outcomes() == [Outcome(1, confirmed=True)]


def test_an_answer_may_overtake_the_packet_id() -> None:
    """An answer that comes before ``send`` has returned counts for that message."""
    queue = LiveQueue(lambda: 0, None)

    def answered_at_once(_message: Message) -> int:
        queue.settle(link, 7)
        return 7

    link = Link(answered_at_once)
    queue.open(link)

    for number in range(50):
        queue.put(verdict(number))

    assert (queue.confirmed, queue.unconfirmed) == (50, 0)
    assert queue.outcomes() == [Outcome(number, confirmed=True) for number in range(50)]


def test_a_connection_that_ends_while_it_sends() -> None:
    """A message in hand when its connection ends is unsent, once, whatever ``send`` returns."""
    queue = LiveQueue(lambda: 0, None)

    def cut_off(_message: Message) -> int:
        queue.shut(link)
        return 1

    link = Link(cut_off)
    queue.open(link)

    assert queue.put(verdict(0))
    assert queue.outcomes() == [Outcome(0, confirmed=False)]
    assert (queue.confirmed, queue.unsent, queue.unconfirmed) == (0, 1, 0)


@pytest.mark.parametrize("fails", [True, False])
def test_what_cannot_be_sent_holds_nobody_up(*, fails: bool) -> None:
    """A message that ``send`` does not take, or fails on, is unsent; the next one is sent."""
    queue = LiveQueue(lambda: 0, None)

    def send(message: Message) -> int | None:
        if message.payload == b"0":
            if fails:
                raise MemoryError
            return None
        return 1

    queue.open(Link(send))
    if fails:
        with pytest.raises(MemoryError):
            queue.put(verdict(0))
    else:
        assert queue.put(verdict(0))
    queue.put(verdict(1))

    assert queue.outcomes() == [Outcome(0, confirmed=False)]
    assert (queue.unsent, queue.unconfirmed) == (1, 1)


def test_a_packet_id_that_comes_round_again() -> None:
    """A message that was never answered is unsent when its packet id is used again."""
    queue = LiveQueue(lambda: 0, None)
    link = Link(lambda _message: 1)
    queue.open(link)

    queue.put(verdict(0))
    queue.put(verdict(1))
    queue.settle(link, 1)

    assert queue.outcomes() == [Outcome(0, confirmed=False), Outcome(1, confirmed=True)]
    assert queue.unconfirmed == 0


def test_a_late_answer_of_an_old_connection_is_nobodys() -> None:
    """What an ended connection still reports changes no account of the next one."""
    broker = Broker()
    broker.queue.put(verdict(0))
    old = broker.link
    broker.reconnect()
    broker.queue.put(verdict(1))

    broker.queue.settle(old, 2)
    broker.queue.drop_waiting(old)
    broker.queue.shut(old)

    assert (broker.queue.confirmed, broker.queue.unsent, broker.queue.unconfirmed) == (0, 1, 1)
    assert broker.queue.put(verdict(2))


def test_heartbeats_do_not_pile_up() -> None:
    """Behind too many that wait a QoS 0 message is refused, one with QoS 1 is not."""
    broker = Broker()
    before = 3 + mqtt_queue.WAITING_LIMIT_QOS_0
    for number in range(before - 1):
        broker.queue.put(verdict(number))

    assert broker.queue.put(verdict(before, qos=0))
    assert not broker.queue.put(verdict(before + 1, qos=0))
    assert broker.queue.put(verdict(before + 2, qos=1))


def test_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of unconfirmed messages one more is refused and counted."""
    monkeypatch.setattr(mqtt_queue, "QUEUE_LIMIT", 5)
    broker = Broker()

    taken = [broker.queue.put(verdict(number)) for number in range(8)]

    assert taken == [True] * 5 + [False] * 3
    assert (broker.queue.unconfirmed, broker.queue.unsent) == (5, 3)


def test_before_the_end_what_waits_is_dropped() -> None:
    """Once nothing more is to be sent, what waits ends; what is on the way may be confirmed."""
    broker = Broker()
    for number in range(5):
        broker.queue.put(verdict(number))

    broker.queue.drop_waiting(broker.link)
    refused = not broker.queue.put(verdict(5))
    dropped = broker.queue.outcomes()
    broker.answer()

    assert refused
    assert dropped == [Outcome(3, confirmed=False), Outcome(4, confirmed=False)]
    assert broker.queue.outcomes() == [Outcome(0, confirmed=True)]
    assert len(broker.sent) == 3


def test_the_first_outcome_rings() -> None:
    """Whoever waits is woken once for outcomes that lie there, and again after taking them."""
    broker = Broker()
    for number in range(4):
        broker.queue.put(verdict(number))

    broker.answer()
    broker.answer()
    rings = len(broker.rings)
    broker.queue.outcomes()
    broker.answer(confirmed=False)

    assert (rings, len(broker.rings)) == (1, 2)


def test_a_bell_may_take_the_outcomes() -> None:
    """The wake-up is called without a lock: it may ask the queue."""
    found: list[Outcome] = []
    queue = LiveQueue(lambda: 0, lambda: found.extend(queue.outcomes()))
    link = Link(lambda _message: 1)
    queue.open(link)

    queue.put(verdict(0))
    queue.settle(link, 1)

    assert found == [Outcome(0, confirmed=True)]


def test_threads_share_the_turnstile() -> None:
    """Threads that publish and one that answers: all is sent, in each thread's order, and ends."""
    queue = LiveQueue(lambda: 0, None)
    packets: list[int] = []
    sent: list[Message] = []
    came = threading.Condition()

    def take(message: Message) -> int:
        with came:
            sent.append(message)
            packets.append(len(sent))
            came.notify()
            return len(sent)

    link = Link(take, in_flight=2)
    queue.open(link)

    def talk(first: int) -> None:
        for number in range(first, first + 200):
            assert queue.put(verdict(number))

    def answer() -> None:
        for _ in range(600):
            with came:
                assert came.wait_for(lambda: bool(packets), LIMIT_S)
                packet = packets.pop(0)
            queue.settle(link, packet)

    threads = [threading.Thread(target=talk, args=(first,)) for first in (0, 1_000, 2_000)]
    threads.append(threading.Thread(target=answer))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)

    receipts = [message.receipt or 0 for message in sent]
    assert sorted(receipts) == [*range(200), *range(1_000, 1_200), *range(2_000, 2_200)]
    for first in (0, 1_000, 2_000):
        of_one = [number for number in receipts if first <= number < first + 200]
        assert of_one == sorted(of_one)
    assert (queue.confirmed, queue.unconfirmed) == (600, 0)
