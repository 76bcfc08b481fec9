"""What is said to a broker, byte by byte, and what it may answer."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from edge.mqtt_client import BrokerSettings
from pipeline.doctor_mqtt import BrokerTalk, Greeting, TalkError, connect_packet, publish_packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.mqtt_client import Protocol

LIMIT_S = 10.0
PUBREC_DENIED = b"\x50\x03\x00\x01\x87"
PUBREC_TAKEN = b"\x50\x02\x00\x01"


def settings(port: int = 1883, protocol: Protocol = "5", **login: str) -> BrokerSettings:
    """Return a client on the loopback address."""
    return BrokerSettings("127.0.0.1", port, protocol, "gate-1", **login)


@pytest.fixture
def broker() -> Iterator[Callable[..., BrokerSettings]]:
    """Answer the first bytes of one client with these, a reply for each; then end it."""
    threads: list[threading.Thread] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve(replies: tuple[bytes, ...]) -> None:
        client, _ = server.accept()
        with client:
            for reply in replies:
                client.recv(4096)
                client.sendall(reply)

    def answer(*replies: bytes, protocol: Protocol = "5") -> BrokerSettings:
        threads.append(threading.Thread(target=serve, args=(replies,)))
        threads[-1].start()
        return settings(server.getsockname()[1], protocol)

    yield answer
    for thread in threads:
        thread.join(LIMIT_S)
    server.close()


def test_connect_is_the_standards() -> None:
    """A login in MQTT 5 has the bytes of section 3.1, in 3.1.1 no properties."""
    five = connect_packet(settings(username="box", password="x"))  # noqa: S106 - of no broker
    three = connect_packet(settings(protocol="3.1.1"))

    assert five == b"\x10\x1b\x00\x04MQTT\x05\xc2\x00\x1e\x00\x00\x06gate-1\x00\x03box\x00\x01x"
    assert three == b"\x10\x12\x00\x04MQTT\x04\x02\x00\x1e\x00\x06gate-1"


def test_question_is_never_a_message() -> None:
    """What asks for a right is QoS 2, empty and not retained; long topics have two length bytes."""
    packet, long = publish_packet("a/plc", 7), publish_packet("x" * 200, 1)

    assert packet == b"\x34\x0a\x00\x05a/plc\x00\x07\x00"
    assert long[:3] == b"\x34\xcd\x01"


@pytest.mark.parametrize(
    ("reply", "protocol", "greeting"),
    [
        (b"\x20\x03\x00\x00\x00", "5", Greeting("", retains=True, takes_qos_2=True)),
        (b"\x20\x02\x00\x00", "3.1.1", Greeting("", retains=True, takes_qos_2=True)),
        (
            b"\x20\x07\x00\x00\x04\x25\x00\x24\x01", "5",
            Greeting("", retains=False, takes_qos_2=False),
        ),
        (b"\x20\x03\x00\x87\x00", "5", Greeting("Not authorized", retains=True, takes_qos_2=True)),
        (
            b"\x20\x03\x00\x84\x00", "5",
            Greeting("Unsupported protocol version", retains=True, takes_qos_2=True),
        ),
        (
            b"\x20\x02\x00\x01", "5",
            Greeting("Unsupported protocol version", retains=True, takes_qos_2=True),
        ),
        (
            b"\x20\x02\x00\x04", "3.1.1",
            Greeting("Bad user name or password", retains=True, takes_qos_2=True),
        ),
        (b"\x20\x02\x00\x63", "3.1.1", Greeting("code 99", retains=True, takes_qos_2=True)),
    ],
)  # fmt: skip
def test_greeting_is_understood(
    broker: Callable[..., BrokerSettings], reply: bytes, protocol: Protocol, greeting: Greeting
) -> None:
    """Acceptance, refusal in either version, and what the broker cannot do."""
    with BrokerTalk(broker(reply, protocol=protocol)) as talk:
        assert talk.login() == greeting


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "ended without an answer"),
        (b"\x20\x03\x00", "ended without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n", "no CONNACK|no MQTT|without an answer"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "no CONNACK"),
        (b"\x20\xff\xff\xff\x7f", "no MQTT"),
    ],
)
def test_rubbish_is_no_broker(
    broker: Callable[..., BrokerSettings], reply: bytes, words: str
) -> None:
    """Whatever is no broker's answer is a TalkError, never anything else."""
    with BrokerTalk(broker(reply)) as talk, pytest.raises(TalkError, match=words):
        talk.login()


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        (PUBREC_TAKEN, ""),
        (PUBREC_DENIED, "Not authorized"),
        (b"\x50\x04\x00\x01\x10\x00", ""),
        (b"\x30\x05\x00\x01aB\x00" + PUBREC_DENIED, "Not authorized"),
        (b"\x50\x03\x00\x09\x00" + PUBREC_DENIED, "Not authorized"),
        (b"\x50\x03\x00\x01\xfe", "reason 0xfe"),
    ],
)
def test_right_is_in_the_answer(
    broker: Callable[..., BrokerSettings], reply: bytes, refusal: str
) -> None:
    """The answer to our own question counts, whatever else comes before it."""
    with BrokerTalk(broker(b"\x20\x03\x00\x00\x00", reply)) as talk:
        talk.login()

        assert talk.refusal_to_say("a/plc") == refusal


def test_broker_that_throws_us_out(broker: Callable[..., BrokerSettings]) -> None:
    """A broker that disconnects over the question says why."""
    with BrokerTalk(broker(b"\x20\x03\x00\x00\x00", b"\xe0\x01\x9b")) as talk:
        talk.login()

        with pytest.raises(TalkError, match="QoS not supported"):
            talk.refusal_to_say("a/plc")


def test_silence_has_a_limit() -> None:
    """A broker that takes the connection and says nothing is given up."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        BrokerTalk(settings(server.getsockname()[1]), answer_s=0.05) as talk,
        pytest.raises(TimeoutError),
    ):
        talk.login()
