"""Whatever happens to broker and gate: each message is heard at last, and in order."""

from __future__ import annotations

from factories import moment
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from pipeline.config_plant import OutboxSettings
from pipeline.ledger_schema import migrations
from pipeline.outbox import Outbox

STEPS = ("put", "put unsent", "drain", "confirm", "refuse", "lose", "settle", "restart")


class Player:
    """An outbox, and a broker that confirms, refuses, disappears and comes back as it is told."""

    def __init__(self) -> None:
        """Begin with nothing kept."""
        self.db = Database(memory=True)
        migrations.apply(self.db)
        self.outbox = Outbox(self.db, OutboxSettings(), 0)
        self.now_ns = 0
        self.kept: list[int] = []
        self.confirmed: set[int] = set()
        self.owed: list[int] = []
        self.history: list[int] = []
        """What was sent to history since the connection or the gate began."""

    def play(self, step: str) -> None:
        """Do one step, a second after the last."""
        self.now_ns += 1_000_000_000
        if step.startswith("put"):
            self.put(live=step == "put")
        elif step == "drain":
            self.drain()
        elif step == "settle":
            self.outbox.settle(moment())
        elif step == "restart":
            self.owed, self.history = [], []
            self.outbox = Outbox(self.db, OutboxSettings(), self.now_ns)
        elif step == "refuse":
            self.refuse()
        else:
            self.end(confirmed=step == "confirm")

    def put(self, *, live: bool) -> None:
        """Keep a message; the broker is there to take it, or is not."""
        number = self.outbox.put("verdict", str(len(self.kept)).encode(), moment())
        self.kept.append(number)
        if live:
            self.outbox.sent_live(number)
            self.owed.append(number)

    def drain(self) -> None:
        """Send to history what is due."""
        for one in self.outbox.due(self.now_ns):
            self.outbox.sent_late(one.id)
            self.owed.append(one.id)
            self.history.append(one.id)

    def end(self, *, confirmed: bool) -> None:
        """Let the broker confirm everything, or the connection end."""
        for number in self.owed:
            self.outbox.outcome(number, confirmed=confirmed)
        self.confirmed.update(self.owed if confirmed else [])
        self.history = self.history if confirmed else []
        self.owed = []
        if not confirmed:
            self.outbox.resume()

    def refuse(self) -> None:
        """Let the broker refuse everything that it has not answered."""
        for number in self.owed:
            self.outbox.refused(number, self.now_ns)
        self.history, self.owed = [], []


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_every_message_is_heard_and_history_is_in_order(steps: list[str]) -> None:
    """After any steps a patient broker hears every message, and history never goes back."""
    player = Player()

    for step in [*steps, "lose", *["drain", "confirm", "settle"] * (len(steps) + 1)]:
        player.play(step)
        assert player.history == sorted(set(player.history))

    assert player.confirmed == set(player.kept)
    assert player.outbox.waiting == 0
    player.db.close()
