"""Real MQTT brokers for tests: each on a free loopback port, each stopped by its owner."""

from __future__ import annotations

import contextlib
import getpass
import select
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.embedded_broker import HOST, serve
from edge.endpoints import free_port
from edge.mqtt import BrokerSession, BrokerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.mqtt import Incoming, Protocol, Will

LIMIT_S = 60.0
RETRY_S = 0.02


class EmbeddedBroker:
    """The box's own broker in a thread; it can be stopped and started again."""

    def __init__(self, port: int) -> None:
        """Prepare a broker; nothing listens yet."""
        self.port = port
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Listen; when this returns clients can connect."""
        ready = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=serve, args=(self.port, ready.set, self._stop.is_set), name="embedded-broker"
        )
        self._thread.start()
        if not ready.wait(LIMIT_S):
            msg = f"the embedded broker did not start on port {self.port}"
            raise TimeoutError(msg)

    def stop(self) -> None:
        """Stop listening and drop all clients; a stopped broker stays stopped."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(LIMIT_S)
            self._thread = None


def start_mosquitto(
    program: str, folder: Path, *more: str, port: int | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    """Start mosquitto with these lines of config, on a free port or this; return it and the port.

    Raises:
        TimeoutError: It does not listen; the message holds what it said.
    """
    port = port or free_port()
    config = folder / "mosquitto.conf"
    # Started by root, mosquitto would become a user who cannot read the test's folder.
    first = (f"listener {port} {HOST}", "persistence false", f"user {getpass.getuser()}")
    config.write_text("\n".join((*first, *more, "")))
    log = folder / "mosquitto.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-c", str(config)], stdout=output, stderr=output)
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        if _listens(port):
            return process, port
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(RETRY_S)
    process.kill()
    process.wait()
    msg = f"mosquitto does not listen on port {port}: {log.read_text()}"
    raise TimeoutError(msg)


class FragileMosquitto:
    """A mosquitto that can be paused, killed and started again on its port."""

    def __init__(self, program: str, folder: Path, *more: str, anonymous: bool = True) -> None:
        """Start it; ``more`` are lines of its config, ``anonymous`` who needs no login."""
        self._program, self._folder = program, folder
        self._access = f"allow_anonymous {str(anonymous).lower()}"
        self._more = more
        self._process, self.port = start_mosquitto(program, folder, self._access, *more)

    def __enter__(self) -> FragileMosquitto:
        """Return the broker, which runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever the test did."""
        self.kill()

    def pause(self) -> None:
        """Let it take bytes from its clients no more, and answer none."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would; it forgets everything."""
        self._process.kill()
        self._process.wait(LIMIT_S)

    def start_again(self, *more: str) -> None:
        """Start it on the same port, with other lines of config where some are given."""
        self._more = more or self._more
        self._process, self.port = start_mosquitto(
            self._program, self._folder, self._access, *self._more, port=self.port
        )


def login_lines(folder: Path, **passwords: str) -> tuple[str, ...]:
    """Return config with which mosquitto knows these users, and write its password file."""
    file = folder / "passwords"
    file.touch(mode=0o600)
    for user, password in passwords.items():
        _run("mosquitto_passwd", "-b", str(file), user, password)
    return (f"password_file {file}",)


def acl_lines(folder: Path, *rules: str) -> tuple[str, ...]:
    """Return config with which mosquitto keeps these rules, and write its access file.

    Rules before the first ``user NAME`` are those of clients without a login.
    """
    file = folder / "access"
    file.write_text("\n".join((*rules, "")))
    file.chmod(0o600)
    return (f"acl_file {file}",)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of a broker and its clients; the broker's is valid for 127.0.0.1, no other name."""

    ca: Path
    foreign_ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def lines(self, *, client_needed: bool = False) -> tuple[str, ...]:
        """Return config with which mosquitto encrypts, and perhaps asks for a certificate."""
        return (
            f"cafile {self.ca}",
            f"certfile {self.server}",
            f"keyfile {self.server_key}",
            f"require_certificate {str(client_needed).lower()}",
        )


def make_certificates(folder: Path) -> Certificates:
    """Make two authorities, and a certificate of the first for a broker and for a client."""
    ca, _ = _authority(folder, "ca")
    foreign_ca, _ = _authority(folder, "foreign")
    server, client = (_signed(folder, name) for name in ("server", "client"))
    return Certificates(ca, foreign_ca, *server, *client)


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _authority(folder: Path, name: str) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    files = ("-keyout", str(key), "-out", str(cert))
    _run("openssl", "req", "-x509", *NEW_KEY, "-days", "2", "-subj", f"/CN={name}", *files)
    return cert, key


def _signed(folder: Path, name: str) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    request, names = folder / f"{name}.csr", folder / "names"
    names.write_text(f"subjectAltName = IP:{HOST}\n")
    files = ("-keyout", str(key), "-out", str(request))
    _run("openssl", "req", "-new", *NEW_KEY, "-subj", f"/CN={name}", *files)
    signer = ("-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key"), "-CAcreateserial")
    signed = ("-in", str(request), "-out", str(cert), "-extfile", str(names))
    _run("openssl", "x509", "-req", *signer, "-days", "2", *signed)
    return cert, key


def _run(program: str, *words: str) -> None:
    subprocess.run([program, *words], check=True, capture_output=True, timeout=LIMIT_S)


class Line:
    """A TCP line to a broker that can swallow what the broker answers, and be cut."""

    def __init__(self, broker_port: int) -> None:
        """Lay the line; clients connect to ``port``."""
        self.answers_pass = self.takes_clients = True
        self._broker_port = broker_port
        self._socket = socket.create_server((HOST, 0))
        self.port: int = self._socket.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._cut: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="line")]
        self._threads[0].start()

    def cut(self) -> None:
        """End all connections, whatever the broker still answers on them.

        New ones are let through, answers and all, as long as it takes clients.
        """
        self._cut = list(self._clients)
        self.answers_pass = True
        for client in self._cut:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all connections and take no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(LIMIT_S)
        self._socket.close()
        self.cut()
        for thread in self._threads:
            thread.join(LIMIT_S)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._carry, args=(client,)))
                self._threads[-1].start()

    def _carry(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection((HOST, self._broker_port)) as broker,
        ):
            while self.takes_clients:
                for source in select.select([client, broker], [], [])[0]:
                    data = source.recv(65_536)
                    if not data:
                        return
                    if source is client:
                        broker.sendall(data)
                    elif self.answers_pass and client not in self._cut:
                        client.sendall(data)


class Inbox:
    """What a session received, in order; a test waits for what it needs."""

    def __init__(self, session: BrokerSession) -> None:
        """Listen to the session."""
        self._session = session
        self.messages: list[tuple[str, bytes]] = []
        self.incoming: list[Incoming] = []
        self._came = threading.Condition()
        session.on_message = self._take

    def subscribe(self, topic: str, qos: int = 0) -> None:
        """Subscribe, and wait until the broker knows: it takes a client's packets in order."""
        ready = "inbox/ready"
        self._session.subscribe(topic, qos)
        self._session.subscribe(ready)
        self._session.publish(ready, b"", qos=1)
        self.wait_for(ready, b"")
        with self._came:
            self.incoming = [one for one in self.incoming if one.topic != ready]
            self.messages = [one for one in self.messages if one[0] != ready]

    def wait_until_heard(self) -> None:
        """Wait until the broker has taken what this session has sent it on this connection."""
        wait_until(lambda: self._session.publish("inbox/heard", b"", qos=1))
        wait_until(lambda: self._session.unconfirmed == 0)

    def wait_for(self, topic: str, payload: bytes) -> None:
        """Wait until this message is among those that came."""
        with self._came:
            came = self._came.wait_for(lambda: (topic, payload) in self.messages, LIMIT_S)
            assert came, f"{topic} = {payload!r} did not come, but {self.messages}"

    def payloads(self, topic: str) -> list[bytes]:
        """Return what came on a topic."""
        return [payload for said, payload in self.messages if said == topic]

    def _take(self, message: Incoming) -> None:
        with self._came:
            self.incoming.append(message)
            self.messages.append((message.topic, message.payload))
            self._came.notify_all()


@contextlib.contextmanager
def open_sessions() -> Iterator[Callable[..., BrokerSession]]:
    """Yield what connects a session to a port of this machine; all are closed at the end."""
    sessions: list[BrokerSession] = []

    def connect(
        port: int,
        protocol: Protocol = "3.1.1",
        will: Will | None = None,
        on_connect: Callable[[BrokerSession], None] | None = None,
        **options: Any,
    ) -> BrokerSession:
        settings = BrokerSettings(HOST, port, protocol, f"test-{len(sessions)}")
        session = BrokerSession(settings, will, on_connect, **options)
        sessions.append(session)
        session.connect(LIMIT_S)
        return session

    yield connect
    for session in sessions:
        session.close()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that a thread of the session or broker brings about."""
    pause = threading.Event()
    for _ in range(round(LIMIT_S / RETRY_S)):
        if holds():
            return
        pause.wait(RETRY_S)
    msg = "did not come about within the limit"
    raise TimeoutError(msg)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
