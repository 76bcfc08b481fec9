"""A gate on real sockets and a real ledger; ingest and scorer say what a test wants."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from factories import BOOT, announcement, config, inspection
from fake_session import FakeSession
from ingest_rig import FakeClock

from edge.sockets import Context, Socket, connect_dealer
from edge.wire import (
    Acknowledged,
    Announced,
    Note,
    Order,
    ScorerUp,
    decode_note,
    encode_note,
)
from pipeline import publisher
from pipeline.gate_loop import GateLoop
from pipeline.inspection import encode_inspection
from pipeline.ledger import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from edge.recorder import Recorder

DEADLINE_MS = 500
NEXT_BOOT = "b" * 16
LIMIT_MS = 5_000
MARK = b"end"
"""Follows whatever the gate has sent: behind it comes nothing that was sent before."""


class Rig:
    """A gate, an ingest and a scorer that say what a test wants."""

    def __init__(
        self, folder: Path, context: Context, recorder: Recorder | None = None, **sections: Any
    ) -> None:
        """Start the gate on the ledger of the folder."""
        self.clock = FakeClock()
        self.path = folder / "ledger.db"
        self.settings = config(
            line={"state_path": str(folder)},
            part={"deadline_ms": DEADLINE_MS},
            ledger={"path": str(self.path), "synchronous": "NORMAL"},
            evidence={"path": str(folder / "evidence")},
            **sections,
        )
        self.gate = GateLoop(self.settings, self.clock, context, recorder=recorder)
        self.broker: Any = self.gate._publisher._session
        self.gate._publisher.start(self.gate._desk.receive)
        self.ingest = connect_dealer(context, self.settings.endpoint("notices"), "c1")
        self.scorer = connect_dealer(context, self.settings.endpoint("inspections"), "s")
        self._on_the_way: set[Socket] = set()
        self.scorer_is_up()

    def scorer_is_up(self) -> None:
        """Let the scorer say that it is there, until the gate has noticed."""
        while not self.gate._gate.has_scorer:
            self.send(self.scorer, ScorerUp(scorer=BOOT, model="a89d1abb", recipe="default"))
            self.step()

    def send(self, socket: Socket, *notes: Note) -> None:
        """Send notes."""
        for note in notes:
            assert socket.poll(LIMIT_MS, 2), "the gate takes nothing"
            socket.send(encode_note(note))
            self._on_the_way.add(socket)

    def step(self) -> None:
        """Wait for a message, for one on each socket that was sent on, and let the gate work.

        Of several notes on one socket those behind the first may still be under way.
        """
        sockets = self.gate._sockets
        for socket, end in ((self.ingest, sockets.notices), (self.scorer, sockets.inspections)):
            if socket in self._on_the_way:
                end.poll(LIMIT_MS)
        self._on_the_way.clear()
        self.gate._poller().poll(100)
        self.gate.step()

    def command(self, verb: str, *, step: bool = False, **fields: Any) -> None:
        """Send a command, always as the same transaction, and wait for its answer."""
        body = {"txn": f"t-{verb}", "by": "anna", **fields}
        before = len(self.answers())
        topic = f"musc/v1/site/area/line/station/cmd/{verb}"
        self.broker.deliver(topic, json.dumps(body).encode())
        self.gate.step()
        assert step or len(self.answers()) == before + 1

    def answers(self) -> list[tuple[str, bool, str]]:
        """Return verb, success and code of each answer."""
        return [(a["txn"][2:], a["ok"], a["code"]) for a in self.said("cmd/result")]

    def order(self) -> Order:
        """Return the next order that the scorer gets."""
        assert self.scorer.poll(LIMIT_MS)
        note = decode_note(self.scorer.recv())
        assert isinstance(note, Order)
        return note

    def acknowledgements(self) -> list[tuple[int, str]]:
        """Return what the gate acknowledged; it must have heard of this ingest."""
        self.gate._sockets.notices.send_multipart([b"c1", MARK])
        found: list[tuple[int, str]] = []
        while True:
            assert self.ingest.poll(LIMIT_MS), "the gate's mark did not come"
            message = self.ingest.recv()
            if message == MARK:
                return found
            note = decode_note(message)
            assert isinstance(note, Acknowledged)
            found.append((note.seq, note.notice))

    def slow_disk(self, ms: int) -> None:
        """Let the next commit of results take this long."""
        write = self.gate._journal.write

        def slow_write(work: Any) -> None:
            write(work)
            if work.results:
                self.clock.advance_ms(ms)

        self.gate._journal.write = slow_write  # type: ignore[method-assign] - a slow disk

    def send_inspected(self, seq: int, **fields: Any) -> None:
        """Announce a frame and let the scorer say PASS, or what ``fields`` say."""
        note = announcement(seq, captured_ns=self.clock.ns)
        self.send(self.ingest, Announced(announcement=note))
        parts = encode_inspection(inspection(announcement=note, **fields))
        self.scorer.send_multipart([b"inspection", *parts])

    def inspect(self, seq: int, **fields: Any) -> None:
        """Send an inspected frame and wait until it is said."""
        self.send_inspected(seq, **fields)
        while not any(frame["seq"] == seq for frame in self.said("verdict")):
            self.step()

    def said(self, topic: str) -> list[dict[str, Any]]:
        """Return what was said on a topic."""
        return [json.loads(payload) for payload in self.broker.of(topic)]

    def state(self) -> str:
        """Return the line's state as the broker has it."""
        return str(self.said("status")[-1]["state"])

    def rows(self, table: str = "verdicts") -> list[dict[str, Any]]:
        """Return all rows of a table."""
        db = open_for_reading(self.path)
        rows = list(db.table(table).rows)
        db.close()
        return rows

    def kill(self) -> None:
        """End the gate as a power cut would."""
        self.gate._ledger.close()
        for socket in (self.gate._sockets.notices, self.gate._sockets.inspections):
            socket.close(linger=0)
        self.gate._sockets.scorers.monitor.close(linger=0)
        self.gate._evidence.close(1.0)

    def restart(self, context: Context) -> None:
        """Start another gate on the same ledger."""
        self.gate = GateLoop(self.settings, self.clock, context)
        self.broker = self.gate._publisher._session

    def close(self) -> None:
        """Stop the gate."""
        self.gate._evidence.close(1.0)
        self.gate.close()


@contextmanager
def running_gate(
    folder: Path, context: Context, monkeypatch: pytest.MonkeyPatch, **sections: Any
) -> Iterator[Rig]:
    """Run a gate whose broker is a list."""
    monkeypatch.setattr(publisher, "BrokerSession", FakeSession)
    rig = Rig(folder, context, **sections)
    yield rig
    rig.close()
