"""Checks of the endpoints between the processes: keys, exposure, paths and ports."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from edge.embedded_broker import HOST
from edge.endpoints import TCP, EndpointError, ExposedEndpointError, check_exposure, ipc_path
from edge.keys import KeysError
from pipeline.doctor import Check, Finding, fail, ok, skipped
from pipeline.doctor_disk import unwritable
from pipeline.doctor_running import what_runs
from pipeline.line_keys import line_keys, used_endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.config import Config

KEYS, EXPOSURE, PATHS, PORTS = (
    "transport.keys", "transport.exposure", "transport.ipc", "transport.ports",
)  # fmt: skip
CONNECT_S = 1.0
PORT_LIMIT = 65_535
IN_USE = "the port is in use by another process"


def transport_checks(config: Config) -> list[Check]:
    """Return the checks of everything that the processes of a line bind."""
    return [
        Check(KEYS, lambda: _keys(config)),
        Check(EXPOSURE, lambda: _exposure(config)),
        Check(PATHS, lambda: _paths(config)),
        Check(PORTS, lambda: _ports(config)),
    ]


def _keys(config: Config) -> Iterator[Finding]:
    folder = config.transport.keys_path
    if folder is None:
        yield skipped(KEYS, "transport.keys_path is not set")
        return
    try:
        line_keys(config)
    except KeysError as error:
        remedy = f"Do what the message says, or make new keys: `musc-edge keys {folder} --force`."
        yield fail(KEYS, str(folder), str(error), remedy)
        return
    yield ok(KEYS, str(folder))


def _exposure(config: Config) -> Iterator[Finding]:
    """Look at the addresses only; whether keys that are named can be read is another check."""
    has_keys = config.transport.keys_path is not None
    exposed = False
    for key, endpoint in used_endpoints(config):
        try:
            check_exposure(endpoint, has_keys=has_keys)
        except ExposedEndpointError as error:
            exposed = True
            yield fail(
                EXPOSURE, endpoint, f"{key}: {error}",
                f"Write tcp://127.0.0.1 in {key}, or run `musc-edge keys keys` "
                'and set transport.keys_path = "keys".',
            )  # fmt: skip
    if not exposed:
        yield ok(EXPOSURE, "encrypted by keys" if has_keys else "this host alone")


def _paths(config: Config) -> Iterator[Finding]:
    folders: set[str] = set()
    bad = False
    for key, endpoint in used_endpoints(config):
        try:
            path = ipc_path(endpoint)
            why = "" if path is None else _unusable(path, config)
        except EndpointError as error:
            path, why = None, str(error)
        if why:
            bad = True
            remedy = f"Give {key} a path in a folder that this user may write, at most 100 long."
            yield fail(PATHS, endpoint, f"{key}: {why}", remedy)
        elif path is not None:
            folders.add(str(path.parent))
    if not bad:
        yield ok(PATHS, ", ".join(sorted(folders)) or "no ipc endpoints")


def _unusable(path: Path, config: Config) -> str:
    """Return why an ipc path cannot be bound, or should not be: ZeroMQ takes it from its holder."""
    if why := unwritable(path.parent):
        return why
    if what_runs(config).anything or not path.is_socket():
        return ""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except OSError:  # left over from a process that has ended
            return ""
    return "another program, which is not this line, listens there"


def _ports(config: Config) -> Iterator[Finding]:
    endpoints = [(key, found) for key, found in used_endpoints(config) if found.startswith(TCP)]
    if config.mqtt.embedded:
        endpoints.append(("mqtt.port", f"{TCP}{HOST}:{config.mqtt.port}"))
    taken = False
    for key, endpoint in endpoints:
        who = what_runs(config).who
        why = _unbindable(endpoint)
        if why and who and why == IN_USE:
            yield ok(PORTS, endpoint, f"in use, as it should be: {who}")
        elif why:
            port = endpoint.rpartition(":")[2]
            yield fail(
                PORTS, endpoint, f"{key}: {why}",
                f"Stop what holds it (`ss -ltnp sport = :{port}` shows it), or change {key}.",
            )  # fmt: skip
        taken = taken or bool(why)
    if not taken:
        yield ok(PORTS, f"{len(endpoints)} tcp ports free" if endpoints else "no tcp endpoints")


def _unbindable(endpoint: str) -> str:
    """Return why a tcp endpoint cannot be bound; empty where it can, or is another host's.

    The port is bound for a moment, and nobody can connect to it.
    """
    # "tcp://source;destination" and "tcp://interface:port" are libzmq's to read.
    host, _, port = endpoint.removeprefix(TCP).rpartition(";")[2].rpartition(":")
    host = "0.0.0.0" if host == "*" else host.strip("[]")  # noqa: S104 - bound, never listened on
    if not port.isdigit() or int(port) == 0:
        return ""
    if int(port) > PORT_LIMIT:
        return f"{port} is no port, the highest is {PORT_LIMIT}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return ""
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return ""
        return IN_USE if error.errno == errno.EADDRINUSE else str(error.strerror)
    return ""
