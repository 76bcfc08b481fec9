"""What the broker refuses to take at the moment, said once for each cause.

A broker answers every message with QoS 1, and in MQTT 5 the answer may be a
refusal with its reason (section 3.4.2.1), most often that the access list does
not allow the topic. MQTT 3.1.1 has no such answer: a broker acknowledges what
it forbids, and nothing here ever hears of it.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

NOT_AUTHORIZED = "Not authorized"
"""Reason code 0x87 of a PUBACK, in paho's words."""
AGAIN_NS = 10_000_000_000
"""A cause that comes and goes, as a quota does, is not logged more often than this."""
CURRENT_NS = 90_000_000_000
"""A refusal that was not repeated for so long is over; what is kept is tried once a minute."""


class _Refusal(NamedTuple):
    reason: str
    at_ns: int


class Refusals:
    """The topics that the broker refuses; any thread may tell it an answer."""

    def __init__(self, username: str | None, clock_ns: Callable[[], int]) -> None:
        """Begin with nothing refused.

        Args:
            username: Who the broker knows us as, if anybody; for the log.
            clock_ns: A monotonic clock.
        """
        self._user = f"user {username} to write there" if username else "writing there"
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._refused: dict[str, _Refusal] = {}
        """By topic; the latest is the last."""
        self._told_ns: dict[str, int] = {}
        """When each reason was logged."""
        self._recovered_ns: int | None = None
        """When a topic that had been refused was last accepted."""

    @property
    def current(self) -> str:
        """The latest refusal, as "refuses TOPIC: REASON"; empty where there is none."""
        now_ns = self._clock_ns()
        with self._lock:
            topic = next(reversed(self._refused), "")
            last = self._refused.get(topic)
        if last is None or now_ns - last.at_ns > CURRENT_NS:
            return ""
        return f"refuses {topic}: {last.reason}"

    def answered(self, topic: str, refused: str) -> None:
        """Take the broker's answer to a message: a reason, or nothing where it was accepted."""
        now_ns = self._clock_ns()
        with self._lock:
            before = self._refused.pop(topic, None)
            if refused:
                self._refused[topic] = _Refusal(refused, now_ns)
            elif before is not None:
                self._recovered_ns = now_ns
            tells = bool(refused) and self._is_news(refused, now_ns)
            if tells:
                self._told_ns[refused] = now_ns
        if tells:
            allowed = f"; does its access list allow {self._user}?"
            log.warning(
                "MQTT broker refuses %s: %s%s",
                topic, refused, allowed if refused == NOT_AUTHORIZED else "",
            )  # fmt: skip

    def forget(self) -> None:
        """Begin anew: another connection has rights of its own."""
        with self._lock:
            self._refused.clear()
            self._told_ns.clear()

    def _is_news(self, reason: str, now_ns: int) -> bool:
        """Tell whether a reason is to be logged: the first time, and again after a recovery."""
        told_ns = self._told_ns.get(reason)
        if told_ns is None:
            return True
        recovered = self._recovered_ns is not None and self._recovered_ns >= told_ns
        return recovered and now_ns - told_ns >= AGAIN_NS
