"""Why a broker is not there: TLS, login, absence; told once, tried again, and put right."""

from __future__ import annotations

import gc
import logging
import re
import shutil
import socket
import subprocess
import threading
import weakref
from typing import TYPE_CHECKING, Any, get_args

import pytest
from brokers import (
    LIMIT_S,
    Certificates,
    FragileMosquitto,
    free_port,
    login_lines,
    make_certificates,
    wait_until,
)

from edge import mqtt, mqtt_retry
from edge.embedded_broker import HOST
from edge.mqtt import BrokerError, BrokerSession, BrokerSettings, Protocol, TlsFiles
from edge.mqtt_client import tls_context
from edge.mqtt_connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROTOCOLS = pytest.mark.parametrize("protocol", get_args(Protocol))
TRIES = 4


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_RETRY_S", 0.02)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the sessions have warned of so far."""
    caplog.set_level(logging.WARNING, "edge")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of a broker and a client, and a foreign authority."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_broker(
    mosquitto: str, tmp_path: Path, certificates: Certificates
) -> Iterator[FragileMosquitto]:
    """A mosquitto that encrypts, and asks for a certificate."""
    lines = certificates.lines(client_needed=True)
    with FragileMosquitto(mosquitto, tmp_path, *lines) as broker:
        yield broker


@pytest.fixture
def start() -> Iterator[Callable[..., Tried]]:
    """Start a session in the background; it is closed after the test."""
    sessions: list[BrokerSession] = []

    def begin(settings: BrokerSettings) -> Tried:
        tried = Tried(settings)
        sessions.append(tried.session)
        tried.session.start()
        return tried

    yield begin
    for session in sessions:
        session.close()


class Tried:
    """A session that counts how often it has waited before another try."""

    def __init__(self, settings: BrokerSettings) -> None:
        """Prepare the session."""
        self._waits: list[int] = []
        self.session = BrokerSession(settings, chance=self._wait)

    def wait_for_tries(self, count: int) -> None:
        """Wait until so many tries have failed."""
        wait_until(lambda: len(self._waits) >= count)

    def wait_for_more_tries(self, count: int) -> None:
        """Wait until so many more have failed."""
        self.wait_for_tries(len(self._waits) + count)

    def _wait(self) -> float:
        self._waits.append(1)
        return 0.0


@PROTOCOLS
def test_tls_with_both_certificates(
    tls_broker: FragileMosquitto, certificates: Certificates, protocol: Protocol
) -> None:
    """Over TLS, each side with its certificate, messages are confirmed as without."""
    ours = TlsFiles(certificates.ca, certificates.client, certificates.client_key)
    session = BrokerSession(BrokerSettings(HOST, tls_broker.port, protocol, "ours", tls=ours))

    session.connect()
    for size in (1, 1_000_000):
        session.publish("line/x", bytes(size), qos=1)
    wait_until(lambda: session.unconfirmed == 0)
    session.close()

    assert (session.confirmed, session.unsent) == (2, 0)


@pytest.mark.parametrize("wrong", ["authority", "host name", "no certificate"])
@PROTOCOLS
def test_a_failed_handshake_is_told_once(
    tls_broker: FragileMosquitto,
    certificates: Certificates,
    warnings: Callable[[], list[str]],
    start: Callable[..., Tried],
    protocol: Protocol,
    wrong: str,
) -> None:
    """A wrong authority, host name or missing certificate is one line, however often it fails."""
    ours = (certificates.client, certificates.client_key)
    host, files, why = {
        "authority": (HOST, TlsFiles(certificates.foreign_ca, *ours), "certificate refused: self-"),
        "host name": ("localhost", TlsFiles(certificates.ca, *ours), "refused: Hostname mismatch"),
        "no certificate": (HOST, TlsFiles(certificates.ca), "refused: .*certificate required"),
    }[wrong]

    tried = start(BrokerSettings(host, tls_broker.port, protocol, "wrong", tls=files))
    tried.wait_for_tries(TRIES)

    (told,) = warnings()
    assert re.search(why, told)
    assert tried.session.fault in told
    assert not tried.session.connected


@PROTOCOLS
def test_a_broker_with_the_right_certificate_is_found(
    tls_broker: FragileMosquitto,
    certificates: Certificates,
    start: Callable[..., Tried],
    protocol: Protocol,
) -> None:
    """A session that a broker lets in no more comes back by itself once it does."""
    files = TlsFiles(certificates.ca)
    tried = start(BrokerSettings(HOST, tls_broker.port, protocol, "patient", tls=files))
    tried.wait_for_tries(2)
    fault = tried.session.fault

    tls_broker.kill()
    tls_broker.start_again(*certificates.lines(client_needed=False))
    wait_until(lambda: tried.session.connected)

    assert fault.startswith("refused: ")
    assert tried.session.fault == ""


def test_renewed_files_are_read_again(
    tls_broker: FragileMosquitto,
    certificates: Certificates,
    start: Callable[..., Tried],
    tmp_path: Path,
) -> None:
    """An authority that is put right on disk, or was missing, is used without a restart."""
    ca = tmp_path / "authority.pem"
    shutil.copy(certificates.foreign_ca, ca)
    files = TlsFiles(ca, certificates.client, certificates.client_key)
    tried = start(BrokerSettings(HOST, tls_broker.port, "5", "renewed", tls=files))
    tried.wait_for_tries(2)
    wrong = tried.session.fault

    ca.unlink()
    wait_until(lambda: tried.session.fault != wrong)
    missing = tried.session.fault
    shutil.copy(certificates.ca, ca)
    wait_until(lambda: tried.session.connected)

    assert wrong.startswith("certificate refused")
    assert missing == f"cannot be reached: TLS: {ca} cannot be read: No such file or directory"


def test_plain_port_and_tls_client(mosquitto_port: int, certificates: Certificates) -> None:
    """TLS to a port that does not speak it is an error that says so, not a hang."""
    files = TlsFiles(certificates.ca)
    session = BrokerSession(BrokerSettings(HOST, mosquitto_port, "5", "secret", tls=files))

    with pytest.raises(BrokerError, match=f"{HOST}:{mosquitto_port} .*(reset|TLS|closed|EOF)"):
        session.connect()


def test_handshake_that_never_ends(
    certificates: Certificates, start: Callable[..., Tried], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that takes the connection and is silent in the handshake is given up."""
    monkeypatch.setattr("edge.mqtt_client.REACH_S", 0.1)
    files = TlsFiles(certificates.ca)
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        tried = start(BrokerSettings(HOST, port, "5", "patient", tls=files))
        tried.wait_for_tries(1)

        assert "timed out" in tried.session.fault


def test_tls_cannot_be_weakened(certificates: Certificates) -> None:
    """Whatever files are given, certificate and host name are checked, from TLS 1.2 on."""
    for files in (TlsFiles(), TlsFiles(certificates.ca)):
        context = tls_context(files)

        assert context.verify_mode.name == "CERT_REQUIRED"
        assert context.check_hostname
        assert context.minimum_version.name == "TLSv1_2"


def test_bad_files_are_named(certificates: Certificates, tmp_path: Path) -> None:
    """A TLS file that cannot be used is named when the session is made, with the reason."""
    ca, cert, key = certificates.ca, certificates.client, certificates.client_key
    locked = tmp_path / "locked.key"
    words = ["openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(words, check=True, capture_output=True)
    missing = tmp_path / "missing.pem"

    for files, named in {
        TlsFiles(missing): f"{missing} cannot be read: No such file",
        TlsFiles(tmp_path): f"{tmp_path} cannot be read: Is a directory",
        TlsFiles(key): f"{key} holds no certificate",
        TlsFiles(ca, cert, missing): f"{missing} cannot be read",
        TlsFiles(ca, None, key): f"key {key} without a certificate",
        TlsFiles(ca, cert, certificates.server_key): "key values mismatch",
        TlsFiles(ca, key, key): f"{key} and key {key} cannot be used: one of them is not in PEM",
        TlsFiles(ca, cert, locked): f"key {locked} cannot be used: the key is encrypted",
    }.items():
        with pytest.raises(BrokerError, match=named):
            BrokerSession(BrokerSettings(HOST, free_port(), "5", "bad", tls=files))


@PROTOCOLS
def test_a_wrong_password_is_told_once(
    mosquitto: str,
    tmp_path: Path,
    warnings: Callable[[], list[str]],
    start: Callable[..., Tried],
    protocol: Protocol,
) -> None:
    """A refused login is one line, without the password, and right again when the broker is."""
    wrong = login_lines(tmp_path, gate="another")
    with FragileMosquitto(mosquitto, tmp_path, *wrong, anonymous=False) as broker:
        settings = BrokerSettings(HOST, broker.port, protocol, "gate", "gate", "pass-phrase")

        tried = start(settings)
        tried.wait_for_tries(TRIES)
        told = warnings()
        broker.kill()
        broker.start_again(*login_lines(tmp_path, gate="pass-phrase"))
        wait_until(lambda: tried.session.connected)
        tried.session.close()

    where = f"MQTT broker {HOST}:{broker.port}"
    assert told == [f"{where} refused: Not authorized; trying again"]
    assert "pass-phrase" not in f"{warnings()} {settings}"


def test_each_fault_is_told_when_it_changes(
    mosquitto: str,
    tmp_path: Path,
    warnings: Callable[[], list[str]],
    start: Callable[..., Tried],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loss, then an absence, are one line each, and told again after a connection between."""
    monkeypatch.setattr(mqtt_retry, "SOON_S", 0.05)
    with FragileMosquitto(mosquitto, tmp_path) as broker:
        tried = start(BrokerSettings(HOST, broker.port, "5", "loser"))
        wait_until(lambda: tried.session.connected)
        at_first = (tried.session.fault, warnings())

        for _ in range(2):
            broker.kill()
            wait_until(lambda: not tried.session.connected)
            tried.wait_for_more_tries(TRIES)
            broker.start_again()
            wait_until(lambda: tried.session.connected)
        tried.session.close()

    where = f"MQTT broker {HOST}:{broker.port}"
    lost = f"{where} lost: the connection was closed; trying again"
    away = f"{where} cannot be reached: Connection refused; trying again"
    assert at_first == ("", [])
    assert warnings() == [lost, away, lost, away]
    assert tried.session.fault == "closed"


def test_a_login_that_goes_wrong_leaves_no_thread(closed_mosquitto_port: int) -> None:
    """A session that gives up at the first refusal has no thread and no second line in the log."""
    settings = BrokerSettings(HOST, closed_mosquitto_port, "5", "given-up", "nobody", "x")
    session = BrokerSession(settings)

    with pytest.raises(BrokerError, match="refused: Not authorized"):
        session.connect()

    wait_until(lambda: "mqtt-given-up" not in [t.name for t in threading.enumerate()])
    assert session.fault == "closed"


def test_a_client_that_is_not_needed_any_more_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is closed while it makes a client leaves nothing to the garbage collector."""
    made: list[weakref.ref[object]] = []
    in_hand, go_on = threading.Event(), threading.Event()

    def make_slowly(*arguments: Any) -> Connection:
        connection = Connection(*arguments)
        made.append(weakref.ref(connection._client))
        in_hand.set()
        assert go_on.wait(LIMIT_S)
        return connection

    monkeypatch.setattr(mqtt, "Connection", make_slowly)
    session = BrokerSession(BrokerSettings(HOST, free_port(), "5", "hasty"))
    gc.disable()
    try:
        session.start()
        assert in_hand.wait(LIMIT_S)
        session._closing.set()
        go_on.set()
        session.close()
        wait_until(lambda: made[0]() is None)
    finally:
        gc.enable()

    assert len(made) == 1
