"""What is to be published is checked where it is given, not in the thread that sends it."""

from __future__ import annotations

import pytest

from edge import mqtt_queue
from edge.mqtt_queue import Message


@pytest.mark.parametrize(
    ("topic", "qos", "named"),
    [
        ("", 1, "topic ''"),
        ("a/+", 1, r"topic 'a/\+'"),
        ("#", 0, "topic '#'"),
        ("a\0", 1, "topic 'a"),
        ("a" * 65_536, 1, "65535 bytes"),
        ("line/x", 2, "QoS 2 of line/x"),
    ],
)
def test_what_cannot_be_published_is_named(topic: str, qos: int, named: str) -> None:
    """A topic or QoS that cannot be published with is refused where it is given, by name."""
    with pytest.raises(ValueError, match=named):
        Message(topic, b"", qos)


def test_a_payload_beyond_a_packet_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload that no packet can hold is refused with its size and the limit."""
    monkeypatch.setattr(mqtt_queue, "PAYLOAD_LIMIT_BYTES", 10)

    with pytest.raises(ValueError, match="11 bytes to line/x: 10 at most"):
        Message("line/x", bytes(11), 1)
