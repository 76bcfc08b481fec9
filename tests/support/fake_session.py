"""Stands for a broker session: a list of what was published, and outcomes on demand."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from edge.mqtt import Incoming, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable


REFUSED = "Not authorized"


class Published(NamedTuple):
    """One message that the broker took."""

    topic: str
    """Below the station's root."""
    payload: bytes
    retain: bool
    until_ns: int | None
    receipt: int | None


class FakeSession:
    """A broker that takes everything while it is connected, and confirms when told to."""

    fault = ""
    refusal = ""
    """What was refused last; empty after the next message that is taken."""

    def __init__(self, _settings: object, _will: object, on_connect: Callable[[Any], None]) -> None:
        """Be connected from the start."""
        self.on_message: Callable[[Incoming], None] = lambda _incoming: None
        self.connected = True
        self.unsent = self.unconfirmed = 0
        self.published: list[Published] = []
        self.confirms = True
        """Whether each message is confirmed as soon as it is published."""
        self.refuses: Callable[[str], bool] = lambda _topic: False
        """Whether the access list forbids a topic below the station's root."""
        self.refused: list[Published] = []
        self._on_connect = on_connect
        self._outcomes: deque[Outcome] = deque()
        self._owed: list[int] = []

    def subscribe(self, topic: str) -> None:
        """Deliver what a test gives to ``deliver``."""

    def start(self) -> None:
        """Say the retained topics, as after every connect."""
        self._on_connect(self)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool = False,
        until_ns: int | None = None,
        receipt: int | None = None,
    ) -> bool:
        """Take a message."""
        del qos
        if not self.connected:
            self.unsent += 1
            return False
        name = "/".join(topic.split("/")[6:])
        message = Published(name, payload, retain, until_ns, receipt)
        if self.refuses(name):
            self._refuse(message)
            return True
        self.refusal = ""
        self.published.append(message)
        if receipt is not None:
            if self.confirms:
                self._outcomes.append(Outcome(receipt, confirmed=True))
            else:
                self._owed.append(receipt)
        return True

    def outcomes(self) -> list[Outcome]:
        """Return what has become of messages since the last call."""
        taken = list(self._outcomes)
        self._outcomes.clear()
        return taken

    def lose(self) -> None:
        """End the connection: what was not confirmed is lost."""
        self.connected = False
        self._outcomes.extend(Outcome(receipt, confirmed=False) for receipt in self._owed)
        self._owed.clear()

    def come_back(self) -> None:
        """Connect again."""
        self.connected = True
        self._on_connect(self)

    def deliver(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Let a message arrive."""
        self.on_message(Incoming(topic, payload, retained, len(payload)))

    def close(self) -> None:
        """Go."""
        self.connected = False

    def _refuse(self, message: Published) -> None:
        self.unsent += 1
        self.refused.append(message)
        self.refusal = f"refuses {message.topic}: {REFUSED}"
        if message.receipt is not None:
            self._outcomes.append(Outcome(message.receipt, confirmed=False, refused=REFUSED))

    def of(self, topic: str) -> list[bytes]:
        """Return the payloads of one topic, below the station's root."""
        return [message.payload for message in self.published if message.topic == topic]
