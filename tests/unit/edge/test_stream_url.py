"""URLs of streams: no password is ever shown, and nobody there is found out at once."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.endpoints import free_port
from edge.sources import CameraMissingError
from edge.sources.stream_url import check_there, is_url, shown_url

TIMEOUT_S = 5.0
SECRET = "s3cr3t-geheim"  # noqa: S105 - looked for, not used
WRITTEN = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://cam/stream1", "rtsp://cam/stream1"),
        ("rtsp://cam:8554/stream1", "rtsp://cam:8554/stream1"),
        ("rtsp://me:pw@cam/stream1", "rtsp://***@cam/stream1"),
        ("rtsp://me:p@w/d@[::1]:554/s", "rtsp://***@[::1]:554/s"),
        ("http://cam/v.cgi?user=me&pwd=pw", "http://cam/v.cgi?***"),
        ("http://me:p?w@cam/v.cgi?x=1", "http://***"),
    ],
)
def test_shown_url(url: str, shown: str) -> None:
    """A URL is shown without user, password and query."""
    assert shown_url(url) == shown


@given(before=WRITTEN, after=WRITTEN)
def test_no_password_is_shown(before: str, after: str) -> None:
    """Whatever characters a password has, written as it should be or not, it is not shown."""
    assert SECRET not in shown_url(f"rtsp://me:{before}{SECRET}{after}@cam/stream")
    assert SECRET not in shown_url(f"http://cam/v.cgi?{before}{SECRET}{after}")


def test_urls_are_told_from_paths() -> None:
    """A scheme makes a URL; a path, even one with a colon, is none."""
    urls = [is_url(source) for source in ("rtsp://cam", "http://cam/x", "RTSPS://cam")]
    paths = [is_url(source) for source in ("/dev/video0", "0", "/dev/v4l/by-id/usb-a://b")]

    assert (urls, paths) == ([True] * 3, [False] * 3)


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "rtsp://me:p@w@127.0.0.1:{}/x?a=b@c"])
def test_listener_is_found(form: str) -> None:
    """Where somebody listens nothing is said, whatever else is in the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        check_there(form.format(listener.getsockname()[1]), TIMEOUT_S)

        connection, _ = listener.accept()
        connection.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://me:pw@127.0.0.1:{}/x", "no connection to 127.0.0.1 port {}: Connection refused"),
        ("http://nobody.invalid/x", "no connection to nobody.invalid port 80: "),
        ("rtsp://127.0.0.1:99999/x", "no connection to 127.0.0.1 port 99999: "),
        (f"rtsp://{'x' * 70}.invalid/x", "port 554: "),
    ],
)
def test_nobody_there_is_named(url: str, reason: str) -> None:
    """Nobody at a URL is a missing camera with host, port and reason, and no password."""
    port = free_port()

    with pytest.raises(CameraMissingError) as caught:
        check_there(url.format(port), TIMEOUT_S)

    assert reason.format(port) in str(caught.value)
    assert "pw" not in str(caught.value)


def test_other_schemes_are_not_looked_at() -> None:
    """Of a scheme that needs no connection nothing can be said beforehand."""
    check_there("udp://127.0.0.1:1", TIMEOUT_S)
    check_there("no url", TIMEOUT_S)
