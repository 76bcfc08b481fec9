"""The broker session when broker or line fail: nothing late, nothing uncounted, no hanging."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, get_args

import pytest
from brokers import FragileMosquitto, Inbox, Line, free_port, wait_until

from edge import mqtt, mqtt_client, mqtt_queue, mqtt_retry
from edge.embedded_broker import HOST
from edge.mqtt import BrokerSession, BrokerSettings, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from brokers import EmbeddedBroker

BURST = 40
ACCEPTED = b"\x20\x02\x00\x00"
"""CONNACK of MQTT 3.1.1: no session present, accepted (section 3.2)."""


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_RETRY_S", 0.05)


@pytest.fixture
def line(broker: tuple[int, Protocol]) -> Iterator[Line]:
    """A line to that broker."""
    with contextlib.closing(Line(broker[0])) as laid:
        yield laid


def greet(session: BrokerSession) -> None:
    """Publish retained state, as a gate does on every connect."""
    session.publish("line/status", b"READY", qos=1, retain=True)


def test_lost_line_repeats_nothing(
    broker: tuple[int, Protocol], line: Line, open_session: Callable[..., BrokerSession]
) -> None:
    """What was not confirmed when the line broke is counted and never sent again."""
    port, protocol = broker
    inbox = Inbox(open_session(port, protocol))
    inbox.subscribe("line/#")
    sender = open_session(line.port, protocol, on_connect=greet)
    wait_until(lambda: (sender.confirmed, sender.unconfirmed) == (1, 0))

    line.answers_pass = False
    sent = [sender.publish("line/verdict", b"old %d" % n, qos=1) for n in range(BURST)]
    arrived = mqtt_queue.IN_FLIGHT
    inbox.wait_for("line/verdict", b"old %d" % (arrived - 1))
    before = (sender.unconfirmed, sender.unsent)
    line.cut()
    wait_until(lambda: sender.unsent == BURST)
    wait_until(lambda: sender.publish("line/verdict", b"live", qos=1))
    inbox.wait_for("line/verdict", b"live")
    wait_until(lambda: sender.unconfirmed == 0)

    assert all(sent)
    assert before == (BURST, 0)
    assert inbox.payloads("line/verdict") == [b"old %d" % n for n in range(arrived)] + [b"live"]
    # Once a connection; amqtt now and then sends a retained message twice.
    assert set(inbox.payloads("line/status")) == {b"READY"}
    assert len(inbox.payloads("line/status")) >= 2
    assert sender.confirmed == 3


@pytest.mark.parametrize("protocol", get_args(Protocol))
def test_killed_broker_gets_nothing_from_before(
    fragile_mosquitto: FragileMosquitto,
    protocol: Protocol,
    open_session: Callable[..., BrokerSession],
) -> None:
    """A broker that dies before it confirms gets the state again, and no verdict from before."""
    sender = open_session(fragile_mosquitto.port, protocol, on_connect=greet)
    inbox = Inbox(listener := open_session(fragile_mosquitto.port, protocol))
    inbox.subscribe("line/#")
    inbox.wait_for("line/status", b"READY")
    wait_until(lambda: sender.unconfirmed == 0)

    fragile_mosquitto.pause()
    for number in range(BURST):
        sender.publish("line/verdict", b"old %d" % number, qos=1)
    fragile_mosquitto.kill()
    wait_until(lambda: not sender.connected and not listener.connected)
    after = (sender.unconfirmed, sender.unsent)
    fragile_mosquitto.start_again()
    inbox.wait_until_heard()
    newcomer = Inbox(late := open_session(fragile_mosquitto.port, protocol))
    late.subscribe("line/#")
    newcomer.wait_for("line/status", b"READY")
    wait_until(lambda: sender.publish("line/verdict", b"live", qos=1))
    inbox.wait_for("line/verdict", b"live")

    assert after == (0, BURST)
    assert inbox.payloads("line/verdict") == [b"live"]
    assert newcomer.payloads("line/verdict") in ([], [b"live"])


def test_undelivered_bytes_die_with_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a silent peer is given up, what is still in this machine's buffers never arrives."""
    monkeypatch.setattr(mqtt_client, "KEEPALIVE_S", 1)
    monkeypatch.setattr(mqtt, "FIRST_RETRY_S", 60.0)
    monkeypatch.setattr(mqtt_retry, "SOON_S", 60.0)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listener.bind((HOST, 0))
        listener.listen()
        session = BrokerSession(BrokerSettings(HOST, listener.getsockname()[1], "3.1.1", "giver"))
        session.start()
        peer, _ = listener.accept()
        peer.recv(1_024)
        peer.sendall(ACCEPTED)
        wait_until(lambda: session.connected)

        for _ in range(BURST):
            session.publish("line/verdict", bytes(1_000_000), qos=1)
        wait_until(lambda: session.unsent == BURST)
        arrived = 0
        with peer, contextlib.suppress(ConnectionResetError):
            while data := peer.recv(65_536):
                arrived += len(data)
        session.close()

    assert arrived < 100_000


def test_lost_qos_0_is_not_owed(
    fragile_mosquitto: FragileMosquitto, open_session: Callable[..., BrokerSession]
) -> None:
    """QoS 0 messages that had not left when the connection ended are unsent, not unconfirmed."""
    sender = open_session(fragile_mosquitto.port)

    fragile_mosquitto.pause()
    for _ in range(BURST):
        sender.publish("line/heatmap", bytes(1_000_000), qos=0)
    waiting = sender.unconfirmed
    fragile_mosquitto.kill()
    wait_until(lambda: not sender.connected)

    assert waiting > 0
    assert sender.unsent > 0
    assert (sender.unconfirmed, sender.confirmed + sender.unsent) == (0, BURST)


def test_queue_is_limited(
    fragile_mosquitto: FragileMosquitto,
    open_session: Callable[..., BrokerSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the limit of unconfirmed messages one more is refused and counted."""
    monkeypatch.setattr(mqtt_queue, "QUEUE_LIMIT", 5)
    sender = open_session(fragile_mosquitto.port)

    fragile_mosquitto.pause()
    taken = [sender.publish("line/verdict", b"", qos=1) for _ in range(8)]
    counted = (sender.unconfirmed, sender.unsent)
    fragile_mosquitto.resume()
    wait_until(lambda: sender.unconfirmed == 0)

    assert taken == [True] * 5 + [False] * 3
    assert counted == (5, 3)
    assert (sender.confirmed, sender.unsent) == (5, 3)


def test_a_small_receive_maximum_is_kept(
    mosquitto: str, tmp_path: Path, open_session: Callable[..., BrokerSession]
) -> None:
    """Where an MQTT 5 broker takes few at a time, no more are on their way, and all arrive."""
    with FragileMosquitto(mosquitto, tmp_path, "max_inflight_messages 3") as broker:
        inbox = Inbox(open_session(broker.port, "3.1.1"))
        inbox.subscribe("line/#")
        session = open_session(broker.port, "5")
        link = session._queue.link

        for number in range(BURST):
            session.publish("line/verdict", b"%d" % number, qos=1)
        inbox.wait_for("line/verdict", b"%d" % (BURST - 1))
        wait_until(lambda: session.unconfirmed == 0)
        session.close()

    assert link is not None
    assert link.in_flight == 3
    assert inbox.payloads("line/verdict") == [b"%d" % number for number in range(BURST)]
    assert (session.confirmed, session.unsent) == (BURST, 0)


def test_start_waits_for_no_broker(
    embedded_broker: EmbeddedBroker, open_session: Callable[..., BrokerSession]
) -> None:
    """A session that is started while the broker is away is there as soon as the broker is."""
    embedded_broker.stop()
    early = BrokerSession(BrokerSettings(HOST, embedded_broker.port, "3.1.1", "early"), None, greet)
    inbox = Inbox(early)
    early.subscribe("line/#")

    early.start()
    while_away = (early.publish("line/verdict", b"lost", qos=1), early.connected)
    embedded_broker.start()
    inbox.wait_for("line/status", b"READY")
    other = open_session(embedded_broker.port)
    other.publish("line/verdict", b"live", qos=1)
    inbox.wait_for("line/verdict", b"live")
    early.close()

    assert while_away == (False, False)
    assert inbox.payloads("line/verdict") == [b"live"]
    assert not early.connected


def test_an_error_in_a_callback_is_survived(
    embedded_broker_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What a callback raises is logged and costs the connection; the next one is made."""
    calls: list[str] = []

    def fail_once(_session: BrokerSession) -> None:
        calls.append("called")
        if len(calls) == 1:
            raise KeyError

    settings = BrokerSettings(HOST, embedded_broker_port, "3.1.1", "clumsy")
    session = BrokerSession(settings, None, fail_once)

    session.start()
    wait_until(lambda: len(calls) == 2 and session.connected)
    session.close()

    assert "error in the session's thread" in caplog.text


@pytest.mark.parametrize("state", ["silent", "absent", "deaf", "connected"])
def test_close_ends_in_every_state(fragile_mosquitto: FragileMosquitto, state: str) -> None:
    """A session can be closed while it connects, waits, is connected, or writes to a deaf peer."""
    with socket.create_server((HOST, 0)) as silent:
        ports = {"silent": silent.getsockname()[1], "absent": free_port()}
        port = ports.get(state, fragile_mosquitto.port)
        session = BrokerSession(BrokerSettings(HOST, port, "3.1.1", f"leaving-{state}"))
        session.start()
        if state in ("connected", "deaf"):
            wait_until(lambda: session.connected)
        if state == "deaf":
            fragile_mosquitto.pause()
            for _ in range(BURST):
                session.publish("line/heatmap", bytes(1_000_000), qos=0)

        session.close()

    wait_until(lambda: f"mqtt-leaving-{state}" not in [t.name for t in threading.enumerate()])
    assert (session.connected, session.unconfirmed) == (False, 0)
    assert session.confirmed + session.unsent == (BURST if state == "deaf" else 0)


@pytest.mark.parametrize("broker", ["3.1.1 mosquitto", "5 mosquitto"], indirect=True)
def test_every_message_is_counted_once(
    broker: tuple[int, Protocol], line: Line, open_session: Callable[..., BrokerSession]
) -> None:
    """Threads publish while the line breaks again and again: nothing hangs, all is counted."""
    session = open_session(line.port, broker[1], on_connect=greet)
    greetings, each = 0, 400

    def talk() -> None:
        for number in range(each):
            session.publish("line/verdict", b"%d" % number, qos=number % 2)

    for _ in range(4):
        wait_until(lambda: session.connected)
        talkers = [threading.Thread(target=talk) for _ in range(3)]
        for talker in talkers:
            talker.start()
        line.cut()
        for talker in talkers:
            talker.join()
        greetings += 1
        wait_until(lambda: session.unconfirmed == 0)
    session.close()

    counted = session.confirmed + session.unsent
    assert counted >= 4 * 3 * each + 1
    assert counted <= 4 * 3 * each + 1 + greetings
