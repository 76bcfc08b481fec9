"""What the gate says on MQTT, in the terms of the public contract.

Retained state is said again after every connect, the status last. A message
that the broker cannot take at its time is counted and not kept: a verdict
after its deadline must not reach a live topic, and the ledger has it anyway.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from edge.contract import StatusMessage, Topics, plc_line
from edge.mqtt import BrokerError, BrokerSession, BrokerSettings, Will
from pipeline.results import (
    FrameResult,
    LineIdentity,
    PartVerdict,
    frame_message,
    part_message,
)

if TYPE_CHECKING:
    from edge.contract import State
    from edge.frame import FrameKey
    from pipeline.config_plant import MqttSettings

CONFIRM_POLL_S = 0.01


def broker_settings(config: MqttSettings, client_id: str) -> BrokerSettings:
    """Return where the broker is; user and password come from the environment.

    Raises:
        BrokerError: The config names an environment variable that is not set.
    """
    username, password = (
        _secret(key, getattr(config, key)) for key in ("username_env", "password_env")
    )
    return BrokerSettings(config.host, config.port, config.protocol, client_id, username, password)


def _secret(key: str, variable: str) -> str | None:
    if variable and variable not in os.environ:
        msg = f"mqtt.{key} = {variable!r}: this environment variable is not set"
        raise BrokerError(msg)
    return os.environ[variable] if variable else None


class Publisher:
    """The station's voice."""

    def __init__(self, settings: BrokerSettings, topics: Topics, identity: LineIdentity) -> None:
        """Prepare the session; ``connect`` makes it."""
        self._topics = topics
        self._identity = identity
        self._state: State = "WARMING"
        self._lock = threading.Lock()
        self._announcing = self._state_is_due = False
        self._beat = 0
        self._state_refused = False
        will = Will(topics.under("status"), self._status("OFFLINE"))
        self._session = BrokerSession(settings, will, on_connect=self._announce_state)

    @property
    def unsent(self) -> int:
        """Messages that no broker took, or that were lost with a connection unconfirmed."""
        return self._session.unsent

    def connect(self, *, required: bool = True) -> None:
        """Connect to the broker, and again whenever the connection is lost.

        Args:
            required: Wait for the broker's answer. A line that starts needs its
                broker; a gate that restarts must not wait for one that is away.

        Raises:
            BrokerError: Required, and the broker cannot be reached or refuses.
        """
        if required:
            self._session.connect()
        else:
            self._session.start()

    def state(self, state: State) -> None:
        """Publish the line's state, retained, where it has changed."""
        with self._lock:
            changed = state != self._state
            self._state = state
        if changed:
            self._announce_state(self._session)

    def heartbeat(self) -> None:
        """Count one more second of life; say the state again where it was refused."""
        if self._state_refused and self._session.connected:
            self._state_refused = False
            self._announce_state(self._session)
        self._beat += 1
        self._session.publish(self._topics.under("heartbeat"), str(self._beat).encode(), qos=0)

    def frame(self, result: FrameResult) -> None:
        """Publish a frame result."""
        message = frame_message(result, self._identity)
        self._session.publish(self._topics.under("verdict"), message.payload(), qos=1)

    def part(self, part: PartVerdict) -> None:
        """Publish a part verdict: first what the gate is wired to, then the details."""
        line = plc_line(self._identity.gate_boot, part.part_seq, part.part_id, part.verdict)
        self._session.publish(self._topics.under("plc"), line, qos=1)
        message = part_message(part, self._identity)
        self._session.publish(self._topics.under("part"), message.payload(), qos=1)

    def heatmap(self, key: FrameKey, png: bytes) -> None:
        """Publish a heatmap for screens."""
        topic = self._topics.heatmap(key.camera, key.boot, key.seq)
        self._session.publish(topic, png, qos=0)

    def close(self, limit_s: float) -> None:
        """Say STOPPED, wait for confirmations, disconnect; the rest counts as unsent."""
        self.state("STOPPED")
        until = time.monotonic() + limit_s
        while self._session.connected and self._owes() and time.monotonic() < until:
            time.sleep(CONFIRM_POLL_S)
        self._session.close()

    def _owes(self) -> bool:
        return self._announcing or self._session.unconfirmed > 0

    def _announce_state(self, session: BrokerSession) -> None:
        """Publish the state; of two threads that want to, one does it for both.

        So an older state never follows a newer one, and no lock is held while
        paho, which has its own, is called.
        """
        with self._lock:
            self._state_is_due = True
            if self._announcing:
                return
            self._announcing = True
        while (payload := self._next_status()) is not None:
            if not session.publish(self._topics.under("status"), payload, qos=1, retain=True):
                self._state_refused = True

    def _next_status(self) -> bytes | None:
        """Return the state that is to be said now; None ends the announcing."""
        with self._lock:
            self._announcing = due = self._state_is_due
            self._state_is_due = False
            return self._status(self._state) if due else None

    def _status(self, state: State) -> bytes:
        message = StatusMessage(
            state=state, boot=self._identity.gate_boot, cfg=self._identity.config_hash
        )
        return message.payload()
