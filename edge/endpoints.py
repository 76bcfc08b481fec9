"""Which ZeroMQ endpoints may be used: no path too long, nothing open to strangers.

Frames and verdicts without keys stay on this host. A tcp endpoint that others
could reach, or that is theirs, is refused unless the line has CURVE keys; a
local socket is guarded by the permissions of its folder.
"""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from edge.errors import LineError

IPC, TCP = "ipc://", "tcp://"
IPC_PATH_LIMIT = 100
"""sun_path holds 108 bytes on Linux; the rest is kept for the temporary suffix."""


class EndpointError(LineError):
    """An endpoint cannot be bound or is not usable; the message names it."""


class ExposedEndpointError(EndpointError):
    """A tcp endpoint beyond this host without keys; the message names the remedy."""

    exit_code = 2


def check_exposure(endpoint: str, *, has_keys: bool) -> None:
    """Refuse a tcp endpoint that is not a loopback address, unless there are keys.

    It holds for both directions: a connection in the clear would send pictures
    to, and take verdicts from, whoever is at that address.

    Raises:
        ExposedEndpointError: With the endpoint, why it is refused, and the remedy.
    """
    if has_keys or not endpoint.startswith(TCP):
        return
    # libzmq reads "tcp://source;destination"; what counts is where it leads.
    host, colon, _ = endpoint.removeprefix(TCP).rpartition(";")[2].rpartition(":")
    reason = _exposure(host.strip("[]")) if colon else ""
    if reason:
        msg = (
            f"{endpoint} without keys: {reason}, so strangers could read and send messages; "
            "use 127.0.0.1, or make keys with `musc-edge keys` and set transport.keys_path"
        )
        raise ExposedEndpointError(msg)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this host and nothing else.

    Raises:
        OSError: The name cannot be resolved.
        UnicodeError: It is not a name at all.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = {str(address[0]) for *_, address in found}
    return all(ipaddress.ip_address(one).is_loopback for one in addresses)


def prepare_ipc(endpoint: str) -> None:
    """Check an ipc path, and make its folder, for its owner alone, where there is none.

    Raises:
        EndpointError: The path is too long or abstract, or its folder cannot be made.
    """
    path = ipc_path(endpoint)
    if path is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{endpoint}: cannot make its folder: {error.strerror}"
        raise EndpointError(msg) from error


def ipc_path(endpoint: str) -> Path | None:
    """Return the path of an ipc endpoint; None where it is of another kind.

    Raises:
        EndpointError: The path is too long or abstract.
    """
    if not endpoint.startswith(IPC):
        return None
    path = Path(endpoint.removeprefix(IPC))
    if str(path).startswith("@"):
        msg = f"{endpoint}: any user could connect to an abstract socket; give a path"
        raise EndpointError(msg)
    if len(str(path)) > IPC_PATH_LIMIT:
        msg = f"{endpoint}: {len(str(path))} characters, an ipc path has at most {IPC_PATH_LIMIT}"
        raise EndpointError(msg)
    return path


def close_to_others(bound: str) -> None:
    """Take a bound ipc socket from all but its owner and group, whatever the umask was.

    Raises:
        EndpointError: Its mode cannot be changed.
    """
    if not bound.startswith(IPC):
        return
    path = Path(bound.removeprefix(IPC))
    try:
        path.chmod(path.stat().st_mode & 0o770)
    except OSError as error:
        msg = f"{bound}: cannot set its permissions: {error.strerror}"
        raise EndpointError(msg) from error


def _exposure(host: str) -> str:
    """Return why a host is not this host alone; empty where it is."""
    if host in {"", "*"}:
        return "it is every address of this host"
    # libzmq takes the name of a network interface before it resolves a name.
    if host in {name for _, name in socket.if_nameindex()}:
        return f"{host} is a network interface, not a loopback address"
    try:
        return "" if is_loopback(host) else f"{host} is not a loopback address"
    except (OSError, UnicodeError) as error:
        return f"{host} cannot be resolved ({getattr(error, 'strerror', error)})"


def free_port() -> int:
    """Return a tcp port of the loopback address that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
