"""The broker of a plant, set up as shipped: who may hear and say what, and who gets in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from brokers import (
    LIMIT_S,
    Certificates,
    Inbox,
    login_lines,
    make_certificates,
    start_mosquitto,
    wait_until,
)

from edge.commands import COMMANDS
from edge.contract import Topics
from edge.embedded_broker import HOST
from edge.mqtt import BrokerError, BrokerSession, BrokerSettings, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.mqtt import Protocol

DEPLOYED = Path(__file__).parents[2] / "deploy" / "mosquitto"
TOPICS = Topics("musc", "site", "area", "line", "station")
OTHER = Topics("musc", "site", "area", "line", "other")
COMMAND_TOPICS = {f"cmd/{verb}" for verb in COMMANDS}
ALL = COMMAND_TOPICS | {
    "status", "heartbeat", "plc", "part", "verdict", "history", "history/part", "cmd/result",
    "camera/c1/status", "heatmap/c1/7f3a9c01b2d4e5f6/1", "alarm/scorer_down",
}  # fmt: skip
MAY_HEAR = {
    "box": COMMAND_TOPICS | {"cmd/result"},
    "plc": {
        "plc", "part", "heartbeat", "status", "alarm/scorer_down", "camera/c1/status",
        "cmd/result",
    },
    "operator": ALL,
    "mes": {"verdict", "part", "history", "history/part"},
    "guest": set(),
}  # fmt: skip
MAY_SAY = {
    "box": ALL,
    "plc": {"cmd/part"},
    "operator": COMMAND_TOPICS,
    "mes": set(),
    "guest": set(),
}
"""The user ``guest`` has a password, and nothing in the shipped access file."""
PROTOCOLS: tuple[Protocol, ...] = ("5", "3.1.1")


class Plant:
    """A broker with the shipped settings, on a free port, its files in a folder of the test."""

    def __init__(self, program: str, folder: Path) -> None:
        """Start it; each user's password is the name backwards."""
        self.certificates: Certificates = make_certificates(folder)
        users = (*MAY_HEAR, "auditor")
        logins = login_lines(folder, **{user: user[::-1] for user in users})
        access = folder / "acl"
        access.write_text((DEPLOYED / "acl").read_text() + "\nuser auditor\ntopic read #\n")
        access.chmod(0o600)
        ours = {"acl_file": str(access)}
        for line in (*self.certificates.lines(), *logins):
            key, _, value = line.partition(" ")
            ours[key] = value
        self.process, self.port = start_mosquitto(program, folder, *shipped_lines(ours))


def shipped_lines(ours: dict[str, str]) -> list[str]:
    """Return the shipped settings without the listener's line, with our files for theirs."""
    lines = (DEPLOYED / "mosquitto.conf").read_text().splitlines()
    settings = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    changed = [(key, ours.get(key, value)) for key, value in settings if key != "listener"]
    assert not any(value.startswith("/etc/") for _, value in changed), "a file is not replaced"
    return [f"{key} {value}" for key, value in changed]


@pytest.fixture(scope="module")
def plant(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant's broker; the tests of this file share it."""
    started = Plant(mosquitto, tmp_path_factory.mktemp("plant"))
    yield started
    started.process.terminate()
    started.process.wait(LIMIT_S)


@pytest.fixture
def join(plant: Plant) -> Iterator[Callable[..., BrokerSession]]:
    """Connect a user, encrypted and with its password; all are disconnected after the test."""
    sessions: list[BrokerSession] = []

    def connect(user: str, protocol: Protocol, password: str | None = None) -> BrokerSession:
        secret = password or user[::-1]
        name = f"{user}-{len(sessions)}"
        tls = TlsFiles(plant.certificates.ca)
        session = BrokerSession(BrokerSettings(HOST, plant.port, protocol, name, user, secret, tls))
        sessions.append(session)
        session.connect(LIMIT_S)
        return session

    yield connect
    for session in sessions:
        session.close()


def say(session: BrokerSession, *topics: str, payload: bytes = b"word") -> None:
    """Publish, and wait until the broker has answered for each of them."""
    for topic in topics:
        assert session.publish(topic, payload, qos=1)
    wait_until(lambda: session.unconfirmed == 0)


def hear(session: BrokerSession) -> Inbox:
    """Subscribe to everything, and wait until the broker has taken that."""
    inbox = Inbox(session)
    session.subscribe("#", 1)
    say(session, "nobody/may/say/this")  # it is answered after the subscription
    return inbox


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("user", MAY_HEAR)
def test_who_hears_what(join: Callable[..., BrokerSession], user: str, protocol: Protocol) -> None:
    """Each user, subscribed to everything, is sent exactly what it may hear."""
    box, listener, auditor = join("box", protocol), join(user, protocol), join("auditor", protocol)
    inbox, everything = hear(listener), hear(auditor)
    fence = TOPICS.under(min(MAY_HEAR[user], default="status"))

    say(box, *(TOPICS.under(name) for name in sorted(ALL)))
    say(box, fence, payload=b"fence")
    everything.wait_for(fence, b"fence")
    if MAY_HEAR[user]:
        inbox.wait_for(fence, b"fence")
    else:
        say(listener, "nobody/may/say/this")  # what was sent to it came before the answer

    heard = {topic for topic, payload in inbox.messages if payload == b"word"}
    assert heard == {TOPICS.under(name) for name in MAY_HEAR[user]}
    assert {topic for topic, _ in everything.messages} == {TOPICS.under(name) for name in ALL}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("user", MAY_SAY)
def test_who_says_what(join: Callable[..., BrokerSession], user: str, protocol: Protocol) -> None:
    """Of each user exactly what it may say is passed on, and nothing at another station."""
    box, speaker, auditor = join("box", protocol), join(user, protocol), join("auditor", protocol)
    inbox = hear(auditor)

    say(speaker, *(TOPICS.under(name) for name in sorted(ALL)))
    say(speaker, *(OTHER.under(name) for name in sorted(ALL)), "other", "$SYS/broker/version")
    say(box, TOPICS.under("status"), payload=b"fence")
    inbox.wait_for(TOPICS.under("status"), b"fence")

    said = {topic for topic, payload in inbox.messages if payload == b"word"}
    assert said == {TOPICS.under(name) for name in MAY_SAY[user]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mqtt_5_tells_who_may_not(join: Callable[..., BrokerSession], protocol: Protocol) -> None:
    """A refused message counts as unsent on MQTT 5; on 3.1.1 the broker confirms it anyway."""
    plc = join("plc", protocol)

    say(plc, TOPICS.under("plc"))

    assert (plc.unsent, plc.confirmed) == ((1, 0) if protocol == "5" else (0, 1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("user", "password"), [("box", "plc"[::-1]), ("nobody", "ydobon"), ("auditor", "x")]
)
def test_wrong_login_is_refused(
    join: Callable[..., BrokerSession], user: str, password: str, protocol: Protocol
) -> None:
    """Nobody gets in with another's password, under an unknown name, or by guessing."""
    with pytest.raises(BrokerError, match=re.compile("not authori[sz]ed", re.IGNORECASE)):
        join(user, protocol, password)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mistake", ["no login", "no TLS", "foreign CA"])
def test_half_a_login_is_refused(plant: Plant, protocol: Protocol, mistake: str) -> None:
    """Without a login, without TLS, or trusting another authority, there is no connection."""
    good = BrokerSettings(
        HOST, plant.port, protocol, "half", "box", "xob", TlsFiles(plant.certificates.ca)
    )
    settings = {
        "no login": replace(good, username=None, password=None),
        "no TLS": replace(good, tls=None),
        "foreign CA": replace(good, tls=TlsFiles(plant.certificates.foreign_ca)),
    }
    session = BrokerSession(settings[mistake])

    with pytest.raises(BrokerError, match=f"MQTT broker {HOST}:{plant.port}"):
        session.connect(LIMIT_S)

    assert not session.connected
    session.close()


def test_rules_are_of_one_station() -> None:
    """Every rule of the access file stands below the root that its comment says to replace."""
    rules = [line for line in (DEPLOYED / "acl").read_text().splitlines() if line[:5] == "topic"]

    assert rules
    assert [rule for rule in rules if f" {TOPICS.root}/" not in rule] == []
