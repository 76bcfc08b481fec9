"""What an earlier gate left is brought to its one result by the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import announcement
from gate_rig import DEADLINE_MS, Rig, running_gate

from edge.sockets import Context
from edge.wire import (
    Announced,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return a running gate."""
    with running_gate(ipc_folder, zmq_context, monkeypatch) as rig:
        yield rig


def test_recipe_outlives_the_gate(rig: Rig, zmq_context: Context) -> None:
    """A gate that comes back runs the recipe of the last command."""
    rig.command("recipe", recipe="lid-blue")
    rig.close()

    rig.restart(zmq_context)

    assert rig.gate._gate.recipe == "lid-blue"


def test_latched_alarm_outlives_the_gate(rig: Rig, zmq_context: Context) -> None:
    """An alarm that nobody acknowledged is there again after a restart, and can be acknowledged."""
    for seq in range(1, 6):
        rig.inspect(seq, verdict="FAIL", score=0.9)
    rig.inspect(6)
    rig.close()

    rig.restart(zmq_context)
    rig.gate._publisher.start(rig.gate._desk.receive)
    rig.gate.step()
    before = rig.gate._alarms.states["rejects_in_a_row"]
    rig.command("ack", alarm="rejects_in_a_row")

    assert before == "RTN_UNACK"
    assert rig.answers() == [("ack", True, "done")]
    assert rig.broker.of("alarm/rejects_in_a_row")[-1] == b"NORMAL"
    assert [row["after"] for row in rig.rows("alarms")] == ["ACTIVE_UNACK", "RTN_UNACK", "NORMAL"]
    assert rig.rows("alarms")[-1]["by"] == "anna"


def test_part_half_seen_by_a_killed_gate_has_its_verdict(
    ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of which one view was closed when the gate died gets NO_RESULT from the next one."""
    cameras = [{"id": name, "kind": "synthetic", "interval_ms": 1} for name in ("c1", "c2")]
    with running_gate(ipc_folder, zmq_context, monkeypatch, camera=cameras) as rig:
        rig.inspect(1)
        rig.kill()

        rig.restart(zmq_context)
        assert rig.gate._begin()

    assert [(p["part_id"], p["verdict"], p["reason"]) for p in rig.rows("parts")] == [
        ("P1", "NO_RESULT", "missing_view")
    ]
    assert [row["part_owed"] for row in rig.rows()] == [0]


def test_results_from_before_a_reboot_are_history(rig: Rig, zmq_context: Context) -> None:
    """After the host has restarted its clock lies behind the rows; nothing of them is said live."""
    rig.send(rig.ingest, Announced(announcement=announcement(1, captured_ns=rig.clock.ns)))
    rig.step()
    rig.gate._ledger.db.execute("update verdicts set captured_ns = captured_ns + 1000000000000")
    rig.close()

    rig.restart(zmq_context)
    assert rig.gate._begin()
    rig.gate.step()

    assert [row["reason"] for row in rig.rows()] == ["gate_restart"]
    assert rig.said("verdict") == rig.said("part") == rig.broker.of("plc") == []
    assert [frame["seq"] for frame in rig.said("history")] == [1]


def test_late_view_after_a_restart_makes_no_second_part(
    ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view that was missing when its part closed is recognised by the next gate, too."""
    cameras = [{"id": name, "kind": "synthetic", "interval_ms": 1} for name in ("c1", "c2")]
    with running_gate(ipc_folder, zmq_context, monkeypatch, camera=cameras) as rig:
        rig.inspect(1)
        rig.clock.advance_ms(DEADLINE_MS + 1)
        rig.scorer_is_up()
        rig.gate.step()
        rig.close()

        rig.restart(zmq_context)
        assert rig.gate._begin()
        late = announcement(1, camera="c2", captured_ns=rig.clock.ns)
        while len(rig.rows()) < 2:
            # What is under way when a gate ends may be lost with it, so ingest says it again.
            rig.send(rig.ingest, Announced(announcement=late))
            rig.step()
        rig.clock.advance_ms(2 * DEADLINE_MS)
        rig.gate.step()

        assert [part["reason"] for part in rig.rows("parts")] == ["missing_view"]
