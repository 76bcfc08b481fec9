"""The station's voice: its retained state is the newest one, with or without a broker."""

from __future__ import annotations

import json
import threading
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from brokers import EmbeddedBroker, Inbox, open_sessions, wait_until

from edge import mqtt
from edge.contract import Topics
from edge.embedded_broker import HOST
from edge.mqtt import BrokerSession, BrokerSettings, Incoming
from pipeline.publisher import Publisher
from pipeline.results import LineIdentity

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.contract import State

TOPICS = Topics("musc", "site", "area", "line", "station")
LIMIT_S = 10.0


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_RETRY_S", 0.05)


def make_publisher(port: int) -> Publisher:
    """Return a publisher that is not connected yet."""
    identity = LineIdentity("91d0", "f" * 16, 500)
    return Publisher(BrokerSettings(HOST, port, "3.1.1", "gate"), TOPICS, identity)


def ignore(_command: Incoming) -> None:
    """Take a command and do nothing."""


def connected_publisher(port: int) -> Publisher:
    """Return a publisher whose broker is there."""
    publisher = make_publisher(port)
    publisher.start(ignore)
    # The status of the connect is out: nobody is announcing any more.
    wait_until(lambda: publisher._session.confirmed > 0)
    return publisher


def states(inbox: Inbox) -> list[str]:
    """Return the states that were heard, in order, repeats once.

    amqtt now and then sends a retained message twice to a new subscriber.
    """
    heard = (json.loads(payload)["state"] for payload in inbox.payloads(TOPICS.under("status")))
    return [state for state, _ in groupby(heard)]


def test_a_gate_need_not_wait_for_its_broker(embedded_broker: EmbeddedBroker) -> None:
    """An absent broker stops nothing, and hears the newest state when it comes."""
    embedded_broker.stop()
    publisher = make_publisher(embedded_broker.port)

    publisher.start(ignore)
    publisher.state("READY")
    refused = publisher._session.unsent
    embedded_broker.start()
    with open_sessions() as connect:
        inbox = Inbox(listener := connect(embedded_broker.port))
        listener.subscribe("#")
        wait_until(lambda: bool(states(inbox)))
        publisher.close(LIMIT_S)
        wait_until(lambda: "STOPPED" in states(inbox))

    assert (publisher._session.unsent, refused) == (1, 1)
    assert states(inbox) == ["READY", "STOPPED"]


def test_an_older_state_never_follows_a_newer(
    embedded_broker_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one thread hangs with the old state in its hands, another one's state comes after."""
    publisher = connected_publisher(embedded_broker_port)
    in_hand, go_on = threading.Event(), threading.Event()
    publish: Callable[..., bool] = BrokerSession.publish
    said: list[str] = []

    def slow(session: BrokerSession, topic: str, payload: bytes, **options: Any) -> bool:
        state: State = json.loads(payload)["state"]
        if state == "DEGRADED":
            in_hand.set()
            assert go_on.wait(LIMIT_S)
        said.append(state)
        return publish(session, topic, payload, **options)

    monkeypatch.setattr(BrokerSession, "publish", slow)
    slow_thread = threading.Thread(target=publisher.state, args=("DEGRADED",))
    slow_thread.start()
    assert in_hand.wait(LIMIT_S)
    publisher.state("READY")
    go_on.set()
    slow_thread.join(LIMIT_S)
    publisher.close(LIMIT_S)

    assert said == ["DEGRADED", "READY", "STOPPED"]


def test_the_last_word_is_stopped(embedded_broker_port: int) -> None:
    """However many threads change the state, what the broker keeps in the end is STOPPED."""
    publisher = connected_publisher(embedded_broker_port)
    kinds: tuple[State, ...] = ("READY", "DEGRADED", "FAULT")

    def change() -> None:
        for number in range(60):
            publisher.state(kinds[number % 3])

    threads = [threading.Thread(target=change) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    publisher.close(LIMIT_S)
    with open_sessions() as connect:
        inbox = Inbox(listener := connect(embedded_broker_port))
        listener.subscribe("#")
        wait_until(lambda: bool(states(inbox)))

    assert publisher._session.unsent == 0
    assert states(inbox) == ["STOPPED"]


def test_all_retained_topics_are_said_again_the_status_last(embedded_broker_port: int) -> None:
    """`rebirth` repeats every retained topic with its newest payload, and then the status."""
    publisher = connected_publisher(embedded_broker_port)
    publisher.camera("c1", "ONLINE")
    publisher.alarm("disk_low", "ACTIVE_UNACK")
    publisher.alarm("disk_low", "ACTIVE_ACK")
    publisher.state("READY")
    with open_sessions() as connect:
        inbox = Inbox(listener := connect(embedded_broker_port))
        listener.subscribe(TOPICS.under("#"))
        wait_until(lambda: "READY" in states(inbox))
        before = len(inbox.messages)
        publisher.rebirth()
        newest = [TOPICS.camera("c1"), TOPICS.alarm("disk_low"), TOPICS.under("status")]
        # What was retained at the subscription may still come before.
        wait_until(
            lambda: (
                len(inbox.messages) >= before + 3
                and [topic for topic, _ in inbox.messages[-3:]] == newest
            )
        )
        again = inbox.messages[-3:]
        publisher.close(LIMIT_S)

    assert again[:2] == [
        (TOPICS.camera("c1"), b"ONLINE"),
        (TOPICS.alarm("disk_low"), b"ACTIVE_ACK"),
    ]


def test_commands_are_heard(embedded_broker_port: int) -> None:
    """Whatever is published on `cmd/+` reaches the publisher's listener."""
    heard: list[Incoming] = []
    publisher = make_publisher(embedded_broker_port)
    publisher.start(heard.append)
    wait_until(lambda: publisher.connected)
    with open_sessions() as connect:
        sender = connect(embedded_broker_port)

        def arrived() -> bool:
            sender.publish(TOPICS.command("rebirth"), b"{}", qos=1)
            return bool(heard)

        wait_until(arrived)
    publisher.close(LIMIT_S)

    assert (heard[0].topic, heard[0].payload) == (TOPICS.command("rebirth"), b"{}")
