"""The gate records what the scorer did in its order, and results as the ledger has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import recordings as made
from factories import BOOT, START, announcement, inspection
from gate_rig import DEADLINE_MS, Rig, running_gate

from edge.recorder import Recorder
from edge.recording import RecordedFrame, Recording
from edge.recording_lines import GateSaid, Inspected, OrderDone, RecipeSaid, Result, ScorerSaid
from edge.sockets import Context
from edge.wire import Announced, Ordered, ScorerLeft
from pipeline.gate_intake import SILENCE_NS
from pipeline.inspection import encode_inspection
from pipeline.line_recorder import FIGURES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.recording_lines import LineLine


class Recorded:
    """A gate that records, and what it has recorded."""

    def __init__(self, rig: Rig, writer: Recorder, folder: Path) -> None:
        """Take all three."""
        self.rig = rig
        self._writer = writer
        self._folder = folder

    def lines(self) -> list[LineLine]:
        """End the recording; return its lines."""
        self._writer.close(made.LIMIT_S)
        return Recording(self._folder).line

    def of(self, kind: type[Any]) -> list[Any]:
        """End the recording; return its lines of one kind."""
        return [line for line in self.lines() if isinstance(line, kind)]

    def send_inspection(self, seq: int, captured_ns: int) -> None:
        """Let the scorer say what it thinks of a frame."""
        note = announcement(seq, captured_ns=captured_ns)
        parts = encode_inspection(inspection(announcement=note))
        self.rig.scorer.send_multipart([b"inspection", *parts])
        self.rig._on_the_way.add(self.rig.scorer)

    def answer(self, verb: str, **fields: Any) -> None:
        """Give a command to the scorer and let it answer."""
        answered = len(self.rig.answers())
        self.rig.command(verb, step=True, **fields)
        self.rig.gate.step()
        order = self.rig.order()
        done = Ordered(order=order.order, ok=True, code="done", detail="so be it")
        self.rig.send(self.rig.scorer, done)
        while len(self.rig.answers()) == answered:
            self.rig.step()


@pytest.fixture
def gate(
    ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Recorded]:
    """A running gate with a recording."""
    folder = made.begin(tmp_path / "rec")
    writer = Recorder(folder / "line.jsonl", 10_000_000, lambda: START)
    with running_gate(ipc_folder, zmq_context, monkeypatch, recorder=writer) as rig:
        yield Recorded(rig, writer, folder)


def test_inspection_and_result_are_recorded_with_every_figure(gate: Recorded) -> None:
    """What the scorer said is there whole, and what the ledger has beside it."""
    gate.rig.inspect(1, p_value=0.25, warn=True, score=0.1 + 0.2)

    (seen,), (result,) = gate.of(Inspected), gate.of(Result)
    (row,) = gate.rig.rows()
    assert seen.score == row["score"] == 0.1 + 0.2
    for name in FIGURES - {"verdict", "why", "region"}:
        assert getattr(seen, name) == row[name], name
    assert (result.verdict, result.why, result.part_id, result.scored) == (
        row["verdict"], row["reason"], row["part_id"], True,
    )  # fmt: skip


def test_gate_and_scorer_are_recorded_when_they_come(gate: Recorded) -> None:
    """The start of the gate, the scorer once, its goodbye and the gate's are lines."""
    gate.rig.inspect(1)
    gate.rig.inspect(2)
    gate.rig.send(gate.rig.scorer, ScorerLeft(scorer=BOOT))
    gate.rig.step()
    gate.rig.gate._recorder.close(gate.rig.gate._moment())  # type: ignore[union-attr]

    told = [line for line in gate.lines() if isinstance(line, GateSaid | ScorerSaid)]

    assert [(line.kind, line.event) for line in told] == [
        ("gate", "started"), ("scorer", "up"), ("scorer", "left"), ("gate", "stopped"),
    ]  # fmt: skip
    assert told[0].recipe == told[1].recipe == "default"
    assert told[1].scorer == told[2].scorer == BOOT  # type: ignore[union-attr]


def test_silent_scorer_is_recorded_as_lost(gate: Recorded) -> None:
    """A scorer that is not heard of any more is lost, and up again when it is heard."""
    gate.rig.clock.advance_ms(SILENCE_NS // 1_000_000 + 1)
    gate.rig.step()
    gate.rig.scorer_is_up()

    assert [line.event for line in gate.of(ScorerSaid)] == ["up", "lost", "up"]


def test_pass_that_was_too_late_on_disk_is_recorded_as_late(gate: Recorded) -> None:
    """The result is the ledger's final one; what the scorer said stays beside it."""
    gate.rig.slow_disk(DEADLINE_MS + 10)
    gate.rig.inspect(1)

    (seen,), (result,) = gate.of(Inspected), gate.of(Result)
    (row,) = gate.rig.rows()
    assert (seen.verdict, seen.why) == ("PASS", "score")
    assert (result.verdict, result.why) == ("NO_RESULT", "late")
    assert (result.verdict, result.why, result.detail) == (
        row["verdict"], row["reason"], row["detail"],
    )  # fmt: skip
    assert result.scored


def test_frame_closed_at_its_deadline_keeps_its_place(gate: Recorded) -> None:
    """An inspection after the deadline is recorded where the scorer made it."""
    captured = gate.rig.clock.ns
    late = announcement(1, captured_ns=captured)
    gate.rig.send(gate.rig.ingest, Announced(announcement=late))
    gate.rig.step()
    gate.rig.clock.advance_ms(DEADLINE_MS + 1)
    gate.rig.step()
    gate.rig.inspect(2)
    gate.send_inspection(1, captured)
    gate.rig.step()

    lines = [line for line in gate.lines() if isinstance(line, Inspected | Result)]
    assert [(line.kind, line.seq) for line in lines] == [
        ("result", 1), ("inspected", 2), ("result", 2), ("inspected", 1),
    ]  # fmt: skip
    assert not lines[0].scored  # type: ignore[union-attr]
    steps = Recording(gate._folder).steps()
    assert [step.key.seq for step in steps if isinstance(step, RecordedFrame)] == [2, 1]


def test_order_is_recorded_at_its_place(gate: Recorded) -> None:
    """What the scorer was told to do stands between the frames before and after it."""
    gate.rig.inspect(1)
    gate.answer("pin", cam="c1", boot=BOOT, seq=1)
    gate.rig.inspect(2)

    lines = [line for line in gate.lines() if isinstance(line, Inspected | OrderDone)]

    assert [line.kind for line in lines] == ["inspected", "order", "inspected"]
    order = lines[1]
    assert isinstance(order, OrderDone)
    assert (order.verb, order.camera, order.boot, order.seq) == ("pin", "c1", BOOT, 1)
    assert (order.txn, order.ok, order.code, order.detail) == ("t-pin", True, "done", "so be it")


def test_order_of_an_earlier_gate_is_recorded_without_its_verb(gate: Recorded) -> None:
    """An answer that no order of this gate explains is a line all the same."""
    gate.rig.send(gate.rig.scorer, Ordered(order="9" * 16, ok=True, code="done", detail="emptied"))
    gate.rig.step()

    (order,) = gate.of(OrderDone)
    assert (order.order, order.verb, order.detail) == ("9" * 16, None, "emptied")


def test_changeover_is_recorded_at_the_gate_and_at_the_scorer(gate: Recorded) -> None:
    """When the gate took another recipe, and where the scorer did, are two lines."""
    gate.rig.inspect(1)
    since = gate.rig.clock.ns
    gate.rig.command("recipe", recipe="lid-blue")
    gate.rig.step()
    order = gate.rig.order()
    done = Ordered(order=order.order, ok=True, code="done", detail="recipe lid-blue")
    gate.rig.send(gate.rig.scorer, done)
    gate.rig.step()

    (change,), (order_line,) = gate.of(RecipeSaid), gate.of(OrderDone)
    assert (change.recipe, change.at_ns) == ("lid-blue", since)
    assert (order_line.verb, order_line.recipe, order_line.txn) == ("recipe", "lid-blue", "")


def test_fault_of_the_recording_is_an_event(
    ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A recording that ends is told to the ledger once, and frames are judged on."""
    folder = made.begin(tmp_path / "rec")
    writer = Recorder(folder / "line.jsonl", 100, lambda: START)
    with running_gate(ipc_folder, zmq_context, monkeypatch, recorder=writer) as rig:
        writer.close(made.LIMIT_S)
        rig.inspect(1)
        rig.inspect(2)

        told = [row for row in rig.rows("events") if row["kind"] == "recording_full"]
        assert len(told) == 1
        assert "limit_reached" in told[0]["detail"]
        assert [row["verdict"] for row in rig.rows()] == ["PASS", "PASS"]
