"""The broker session against real brokers: last will, reconnect, confirmations, refusals."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from brokers import LIMIT_S, EmbeddedBroker, Inbox, free_port, wait_until

from edge.embedded_broker import HOST, EmbeddedBrokerError, serve
from edge.mqtt import BrokerError, BrokerSession, BrokerSettings, Will

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.mqtt import Protocol

DOOMED = """
import sys
from edge.mqtt import BrokerSession, BrokerSettings, Will
port, protocol = int(sys.argv[1]), sys.argv[2]
settings = BrokerSettings("127.0.0.1", port, protocol, "doomed")
session = BrokerSession(settings, Will("line/status", b"OFFLINE"))
session.connect()
session.publish("line/status", b"READY", qos=1, retain=True)
while session.unconfirmed:
    pass
print("connected", flush=True)
sys.stdin.read()
"""


def test_messages_arrive_and_are_confirmed(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession]
) -> None:
    """What is published arrives in order, and each message is confirmed: none stays open."""
    session = open_session(*broker)
    inbox = Inbox(session)
    session.subscribe("line/#")

    sent = [session.publish("line/verdict", b"%d" % number, qos=1) for number in range(20)]
    sent.append(session.publish("line/heartbeat", b"1", qos=0))
    inbox.wait_for("line/heartbeat", b"1")
    inbox.wait_for("line/verdict", b"19")
    wait_until(lambda: session.unconfirmed == 0)

    assert all(sent)
    verdicts = [payload for topic, payload in inbox.messages if topic == "line/verdict"]
    assert verdicts == [b"%d" % number for number in range(20)]
    assert (session.confirmed, session.unsent) == (21, 0)


def test_killed_client_leaves_its_will(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession]
) -> None:
    """A process that is killed is OFFLINE by the broker's word, also to those who come later."""
    port, protocol = broker
    witness = open_session(port, protocol)
    seen = Inbox(witness)
    witness.subscribe("line/status")
    command = [sys.executable, "-W", "error", "-c", DOOMED, str(port), protocol]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as doomed:
        assert doomed.stdout is not None
        assert doomed.stdout.readline() == b"connected\n"
        seen.wait_for("line/status", b"READY")
        doomed.kill()

    seen.wait_for("line/status", b"OFFLINE")
    newcomer = open_session(port, protocol)
    found = Inbox(newcomer)
    newcomer.subscribe("line/status")

    found.wait_for("line/status", b"OFFLINE")
    # amqtt at times delivers a retained message twice to one who subscribes at once.
    assert set(found.messages) == {("line/status", b"OFFLINE")}


def test_clean_goodbye_has_no_will(
    broker: tuple[int, Protocol], open_session: Callable[..., BrokerSession]
) -> None:
    """A session that is closed leaves its last retained word, not its will."""
    port, protocol = broker
    leaving = BrokerSession(
        BrokerSettings(HOST, port, protocol, "leaving"), Will("line/status", b"OFFLINE")
    )
    leaving.connect(LIMIT_S)
    leaving.publish("line/status", b"STOPPED", qos=1, retain=True)
    wait_until(lambda: leaving.unconfirmed == 0)
    leaving.close()

    newcomer = open_session(port, protocol)
    found = Inbox(newcomer)
    newcomer.subscribe("#")
    newcomer.publish("end", b"", qos=1)
    found.wait_for("end", b"")

    # amqtt now and then sends a retained message twice to a new subscriber.
    assert list(dict.fromkeys(found.messages)) == [("line/status", b"STOPPED"), ("end", b"")]
    assert not leaving.connected


def test_restarted_broker_is_told_again(
    embedded_broker: EmbeddedBroker, open_session: Callable[..., BrokerSession]
) -> None:
    """After a broker restart, which forgets, retained state and subscriptions are there again."""
    greetings: list[str] = []

    def greet(session: BrokerSession) -> None:
        greetings.append("hello")
        session.publish("line/status", b"READY", qos=1, retain=True)

    speaker = open_session(embedded_broker.port, on_connect=greet)
    listener = open_session(embedded_broker.port)
    inbox = Inbox(listener)
    listener.subscribe("line/news")

    embedded_broker.stop()
    # Not the first loss: amqtt may take them in once more while it stops.
    for session in (speaker, listener):
        wait_until(lambda session=session: session.fault.startswith("cannot be reached"))
    before = len(greetings)
    embedded_broker.start()
    wait_until(lambda: len(greetings) > before)
    inbox.wait_until_heard()
    newcomer = open_session(embedded_broker.port)
    found = Inbox(newcomer)
    newcomer.subscribe("line/status")

    found.wait_for("line/status", b"READY")
    wait_until(lambda: speaker.publish("line/news", b"again", qos=1))
    inbox.wait_for("line/news", b"again")
    assert len(greetings) == before + 1


def test_nothing_is_kept_for_an_absent_broker(
    embedded_broker: EmbeddedBroker, open_session: Callable[..., BrokerSession]
) -> None:
    """A message while the broker is away is refused, counted, and not sent when it is back."""
    session = open_session(embedded_broker.port)
    inbox = Inbox(session)
    session.subscribe("line/#")
    embedded_broker.stop()
    # Not the first loss: amqtt may take us in once more while it stops.
    wait_until(lambda: session.fault.startswith("cannot be reached"))

    while_away = [session.publish("line/verdict", b"late", qos=qos) for qos in (0, 1)]
    counted = session.unsent
    embedded_broker.start()
    wait_until(lambda: session.connected)
    wait_until(lambda: session.publish("line/verdict", b"live", qos=1))
    inbox.wait_for("line/verdict", b"live")

    assert while_away == [False, False]
    assert counted == 2
    assert ("line/verdict", b"late") not in inbox.messages
    wait_until(lambda: session.unconfirmed == 0)


def test_before_connect_nothing_is_sent() -> None:
    """A session that was never connected takes no message, and can be closed."""
    session = BrokerSession(BrokerSettings(HOST, free_port(), "5", "early"))

    taken = session.publish("line/verdict", b"early", qos=1)
    session.close()

    assert not taken
    assert (session.unsent, session.unconfirmed, session.connected) == (1, 0, False)


def test_absent_broker_is_named() -> None:
    """Where nobody listens the error names host, port and reason."""
    port = free_port()
    session = BrokerSession(BrokerSettings(HOST, port, "5", "lonely"))

    with pytest.raises(BrokerError, match=f"{HOST}:{port} cannot be reached: Connection refused"):
        session.connect()


def test_unknown_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has no address is named, with the port."""

    def unknown(*_asked: Any, **_more: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a resolver may take its time
    session = BrokerSession(BrokerSettings("broker.invalid", 1883, "5", "lost"))

    with pytest.raises(BrokerError, match=r"broker\.invalid:1883 cannot be reached: "):
        session.connect()


def test_silent_port_is_named() -> None:
    """A port that takes the connection and says nothing is given up at the limit, by name."""
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        session = BrokerSession(BrokerSettings(HOST, port, "5", "patient"))

        with pytest.raises(BrokerError, match=f"{HOST}:{port} does not answer"):
            session.connect(limit_s=0.2)

    wait_until(lambda: "mqtt-patient" not in [t.name for t in threading.enumerate()])


def test_embedded_broker_refuses_mqtt_5(embedded_broker_port: int) -> None:
    """The embedded broker speaks 3.1.1 only: asked in MQTT 5 the session fails by name."""
    session = BrokerSession(BrokerSettings(HOST, embedded_broker_port, "5", "modern"))

    with pytest.raises(BrokerError, match=f"{HOST}:{embedded_broker_port} (refused|does not)"):
        session.connect(limit_s=1.0)


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_refused_login_is_named(closed_mosquitto_port: int, protocol: Protocol) -> None:
    """A broker that refuses the login is an error with host, port and the broker's reason."""
    who = ("stranger", "nobody", "not the password")
    settings = BrokerSettings(HOST, closed_mosquitto_port, protocol, *who)
    session = BrokerSession(settings)

    with pytest.raises(
        BrokerError, match=f"{HOST}:{closed_mosquitto_port} refused: Not authorized"
    ):
        session.connect(LIMIT_S)

    assert not session.connected
    assert not session.publish("line/verdict", b"", qos=1)


def test_taken_port_of_the_embedded_broker_is_named(embedded_broker_port: int) -> None:
    """An embedded broker that cannot listen says on which port, and does not report ready."""
    ready: list[str] = []

    with pytest.raises(EmbeddedBrokerError, match=f"port {embedded_broker_port} on {HOST}"):
        serve(embedded_broker_port, lambda: ready.append("ready"), lambda: True)

    assert ready == []
