"""URLs of streams: shown without their secrets, and asked whether anybody is there."""

from __future__ import annotations

import re
import socket

from edge.sources import CameraMissingError

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Of schemes that begin with a TCP connection; others are not looked at."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WHERE = re.compile(
    r"^(?P<scheme>[^:/?#]+)://(?:[^/?#]*@)?(?P<host>\[[^]/?#]*\]|[^/?#:]*)(?::(?P<port>[0-9]+))?"
)


def is_url(source: str) -> bool:
    """Tell whether a source is a URL; else it is a path."""
    return _URL.match(source) is not None


def shown_url(url: str) -> str:
    """Return a URL without user, password and query, which may hold a password, too.

    All up to the last @ is taken for user and password: one that was not written
    as a URL wants it, with its / as %2F, must not be shown by that. Where the @
    may as well belong to the query, nothing is shown.
    """
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if "?" in login:
        return f"{scheme}://***"
    path, mark, _ = place.partition("?")
    return f"{scheme}://{'***@' if at else ''}{path}{'?***' if mark else ''}"


def check_there(url: str, timeout_s: float) -> None:
    """Connect to where a URL leads, and disconnect: FFmpeg would not say why it failed.

    Raises:
        CameraMissingError: The name is unknown, or nobody answers or listens there.
    """
    found = _WHERE.match(url)
    if found is None or found["scheme"].lower() not in PORTS:
        return
    host = found["host"].strip("[]")
    port = int(found["port"] or PORTS[found["scheme"].lower()])
    try:
        socket.create_connection((host, port), timeout_s).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        msg = f"{shown_url(url)}: no connection to {host} port {port}: {reason}"
        raise CameraMissingError(msg) from error
