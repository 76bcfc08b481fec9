"""The live queue on real brokers: expiry, order, receipts, refusals, and what comes in."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, get_args

import pytest
from brokers import FragileMosquitto, Inbox, acl_lines, wait_until

from edge import mqtt
from edge.mqtt import BrokerSession, Incoming, Outcome, Protocol
from edge.mqtt_queue import IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BURST = 60
BIG = 10_000_000
PROTOCOLS = pytest.mark.parametrize("protocol", get_args(Protocol))


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_RETRY_S", 0.05)


@PROTOCOLS
def test_a_paused_broker_gets_nothing_late(
    fragile_mosquitto: FragileMosquitto,
    protocol: Protocol,
    open_session: Callable[..., BrokerSession],
) -> None:
    """After a pause only what was on the way in time arrives, and what is still in time."""
    now_ns = [0]
    inbox = Inbox(open_session(fragile_mosquitto.port, protocol))
    inbox.subscribe("line/#")
    sender = open_session(fragile_mosquitto.port, protocol, clock_ns=lambda: now_ns[0])

    fragile_mosquitto.pause()
    for number in range(BURST):
        until_ns = 100 if number % 3 else None
        sender.publish("line/plc", b"%d" % number, qos=1, until_ns=until_ns, receipt=number)
    now_ns[0] = 101
    fragile_mosquitto.resume()
    inbox.wait_for("line/plc", b"%d" % (BURST - 3))
    wait_until(lambda: sender.unconfirmed == 0)
    outcomes = sender.outcomes()

    in_time = [n for n in range(BURST) if n < IN_FLIGHT or n % 3 == 0]
    assert inbox.payloads("line/plc") == [b"%d" % number for number in in_time]
    assert [o.receipt for o in outcomes if o.confirmed] == in_time
    assert sorted(o.receipt for o in outcomes) == list(range(BURST))
    assert (sender.confirmed, sender.unsent) == (len(in_time), BURST - len(in_time))


def test_hundreds_arrive_in_order(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession]
) -> None:
    """Far more than may be on the way at once all arrive, in order, and are confirmed in order.

    So many may wait for a slow subscriber: mosquitto drops beyond 1,000 (max_queued_messages).
    """
    count = 900
    inbox = Inbox(open_session(*broker))
    inbox.subscribe("line/#", qos=1)
    sender = open_session(*broker)

    for number in range(count):
        sender.publish("line/verdict", b"%d" % number, qos=1, receipt=number)
    wait_until(lambda: sender.unconfirmed == 0)
    inbox.wait_for("line/verdict", b"%d" % (count - 1))

    assert inbox.payloads("line/verdict") == [b"%d" % number for number in range(count)]
    assert sender.outcomes() == [Outcome(number, confirmed=True) for number in range(count)]


def test_status_keeps_its_place(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession]
) -> None:
    """QoS 0 and QoS 1 leave in the order in which they were published."""
    inbox = Inbox(open_session(*broker))
    inbox.subscribe("line/#")
    sender = open_session(*broker)

    for number in range(IN_FLIGHT + 10):
        sender.publish("line/x", b"%d" % number, qos=number % 2, receipt=number)
    inbox.wait_for("line/x", b"%d" % (IN_FLIGHT + 9))
    wait_until(lambda: sender.unconfirmed == 0)

    assert inbox.payloads("line/x") == [b"%d" % number for number in range(IN_FLIGHT + 10)]
    assert all(outcome.confirmed for outcome in sender.outcomes())


def wait_for_confirmations(session: BrokerSession, count: int) -> None:
    """Wait until so many more messages are confirmed."""
    enough = session.confirmed + count
    wait_until(lambda: session.confirmed >= enough)


@PROTOCOLS
def test_receipts_end_once_over_kills(
    fragile_mosquitto: FragileMosquitto,
    protocol: Protocol,
    open_session: Callable[..., BrokerSession],
) -> None:
    """Threads publish while the broker dies again and again: each accepted receipt ends once."""
    session = open_session(fragile_mosquitto.port, protocol)
    stop = threading.Event()
    accepted: list[list[int]] = [[], []]

    def talk(which: int) -> None:
        receipt = which
        while not stop.is_set():
            until_ns = time.monotonic_ns() + 50_000_000
            if session.publish("line/x", b"x", qos=1, until_ns=until_ns, receipt=receipt):
                accepted[which].append(receipt)
            else:
                stop.wait(0.001)
            receipt += 2

    talkers = [threading.Thread(target=talk, args=(which,)) for which in range(2)]
    for talker in talkers:
        talker.start()
    for _ in range(4):
        wait_for_confirmations(session, 100)
        fragile_mosquitto.kill()
        wait_until(lambda: not session.connected)
        fragile_mosquitto.start_again()
    stop.set()
    for talker in talkers:
        talker.join()
    session.close()
    outcomes = session.outcomes()

    receipts = Counter(outcome.receipt for outcome in outcomes)
    assert receipts == Counter(accepted[0] + accepted[1])
    assert sum(outcome.confirmed for outcome in outcomes) == session.confirmed
    assert session.unconfirmed == 0


@pytest.mark.parametrize(("protocol", "confirmed"), [("5", False), ("3.1.1", True)])
def test_a_refused_message_is_not_confirmed(
    mosquitto: str,
    tmp_path: Path,
    open_session: Callable[..., BrokerSession],
    protocol: Protocol,
    *,
    confirmed: bool,
) -> None:
    """What the broker's rules forbid is unsent in MQTT 5; 3.1.1 knows no refusal."""
    rules = acl_lines(tmp_path, "topic write line/status")
    with FragileMosquitto(mosquitto, tmp_path, *rules) as broker:
        session = open_session(broker.port, protocol)

        session.publish("line/status", b"", qos=1, receipt=1)
        session.publish("line/verdict", b"", qos=1, receipt=2)
        wait_until(lambda: session.unconfirmed == 0)
        session.close()

    refused = "" if confirmed else "Not authorized"
    assert session.outcomes() == [Outcome(1, confirmed=True), Outcome(2, confirmed, refused)]
    assert (session.confirmed, session.unsent) == (1 + confirmed, 1 - confirmed)


@PROTOCOLS
def test_what_waits_at_close_is_unsent(
    fragile_mosquitto: FragileMosquitto,
    protocol: Protocol,
    open_session: Callable[..., BrokerSession],
) -> None:
    """A session that is closed owes nothing more: each receipt has its outcome."""
    session = open_session(fragile_mosquitto.port, protocol)

    fragile_mosquitto.pause()
    for number in range(BURST):
        session.publish("line/x", b"", qos=1, receipt=number)
    session.close()

    outcomes = session.outcomes()
    assert sorted(o.receipt for o in outcomes) == list(range(BURST))
    assert not any(outcome.confirmed for outcome in outcomes)
    assert (session.unsent, session.unconfirmed) == (BURST, 0)
    assert not session.publish("line/x", b"", qos=1)


def test_the_waiter_is_woken(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession]
) -> None:
    """The wake-up comes for an outcome and for a message, and finds them there."""
    woken = threading.Condition()
    rings: list[int] = []

    def wake() -> None:
        with woken:
            rings.append(1)
            woken.notify_all()

    session = open_session(*broker, wakeup=wake)
    inbox = Inbox(session)
    inbox.subscribe("line/y")
    other = open_session(*broker)
    wait_until(lambda: bool(rings))
    rings.clear()

    session.publish("line/x", b"", qos=1, receipt=7)
    with woken:
        told = woken.wait_for(lambda: len(rings) == 1, 10.0)
    outcomes = session.outcomes()
    other.publish("line/y", b"", qos=1)
    with woken:
        told_again = woken.wait_for(lambda: len(rings) == 2, 10.0)

    assert (told, told_again) == (True, True)
    assert outcomes == [Outcome(7, confirmed=True)]
    assert inbox.incoming == [Incoming("line/y", b"", retained=False, size=0)]


def test_retained_messages_are_marked(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession]
) -> None:
    """What the broker had kept is marked, so that an old command is not taken for a new one."""
    speaker = open_session(*broker)
    speaker.publish("line/cmd", b"old", qos=1, retain=True)
    wait_until(lambda: speaker.unconfirmed == 0)
    inbox = Inbox(open_session(*broker))

    inbox.subscribe("line/#")
    inbox.wait_for("line/cmd", b"old")
    speaker.publish("line/cmd", b"new", qos=1)
    inbox.wait_for("line/cmd", b"new")

    # A set: amqtt now and then sends a retained message twice to a new subscriber.
    assert {(one.payload, one.retained) for one in inbox.incoming} == {
        (b"old", True),
        (b"new", False),
    }


@pytest.mark.parametrize(("protocol", "known"), [("5", True), ("3.1.1", False)])
def test_what_is_retained_while_we_listen(
    mosquitto_port: int,
    open_session: Callable[..., BrokerSession],
    protocol: Protocol,
    *,
    known: bool,
) -> None:
    """MQTT 5 marks a message that the broker is to keep for whoever listens already; 3.1.1 not."""
    inbox = Inbox(open_session(mosquitto_port, protocol))
    inbox.subscribe("line/cmd")
    speaker = open_session(mosquitto_port, protocol)

    speaker.publish("line/cmd", b"kept", qos=1, retain=True)
    speaker.publish("line/cmd", b"once", qos=1)
    inbox.wait_for("line/cmd", b"once")

    assert [(one.payload, one.retained) for one in inbox.incoming] == [
        (b"kept", known),
        (b"once", False),
    ]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_huge_message_costs_no_connection(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession], qos: int
) -> None:
    """Of 10 MB an MQTT 5 broker sends nothing and others' size alone is told; small ones come."""
    port, protocol = broker
    connections: list[str] = []
    inbox = Inbox(open_session(port, protocol, on_connect=lambda _: connections.append("one")))
    inbox.subscribe("line/#", qos)
    speaker = open_session(port, protocol)

    speaker.publish("line/cmd", bytes(BIG), qos=1)
    speaker.publish("line/cmd", bytes(65_000), qos=1)
    speaker.publish("line/cmd", b"small", qos=1)
    inbox.wait_for("line/cmd", b"small")

    sizes = [(one.size, len(one.payload)) for one in inbox.incoming]
    assert sizes == [(BIG, 0)] * (protocol == "3.1.1") + [(65_000, 65_000), (5, 5)]
    assert connections == ["one"]


@PROTOCOLS
def test_many_large_messages_block_no_command(
    mosquitto_port: int, protocol: Protocol, open_session: Callable[..., BrokerSession]
) -> None:
    """However many messages are too large for us, the one after them comes."""
    inbox = Inbox(open_session(mosquitto_port, protocol))
    inbox.subscribe("line/#")
    speaker = open_session(mosquitto_port, protocol)

    for _ in range(BURST):
        speaker.publish("line/cmd", bytes(70_000), qos=1)
    speaker.publish("line/cmd", b"small", qos=1)

    inbox.wait_for("line/cmd", b"small")


def test_a_topic_that_is_none_is_refused(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession]
) -> None:
    """Misuse raises where it happens and costs neither the connection nor an account."""
    session = open_session(*broker)

    with pytest.raises(ValueError, match="line/#"):
        session.publish("line/#", b"", qos=1)

    assert session.connected
    assert (session.confirmed, session.unsent, session.unconfirmed) == (0, 0, 0)
