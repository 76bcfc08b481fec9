"""Nothing is said too late, and what could not be said comes as history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gate_rig import DEADLINE_MS, Rig, running_gate

from edge.sockets import Context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return a running gate."""
    with running_gate(ipc_folder, zmq_context, monkeypatch) as rig:
        yield rig


def test_pass_that_the_disk_delayed_is_said_as_no_result(rig: Rig) -> None:
    """Past its deadline a PASS is said as `late`, and the next pass corrects the ledger."""
    rig.broker.confirms = False
    rig.slow_disk(DEADLINE_MS)
    rig.inspect(1)
    rig.step()
    rig.broker.lose()
    rig.broker.come_back()
    rig.step()

    for topic in ("verdict", "part", "history", "history/part"):
        assert [(m["verdict"], m["why"]) for m in rig.said(topic)] == [("NO_RESULT", "late")]
    assert [(row["verdict"], row["reason"]) for row in rig.rows()] == [("NO_RESULT", "late")]
    assert [row["verdict"] for row in rig.rows("parts")] == ["NO_RESULT"]


def test_pass_that_the_disk_held_for_long_is_never_history(rig: Rig) -> None:
    """Long past its deadline a PASS is corrected before it can be told, live or as history."""
    rig.slow_disk(3 * DEADLINE_MS)
    rig.send_inspected(1)
    while not rig.said("history"):
        rig.step()

    assert rig.said("verdict") == rig.said("part") == rig.broker.of("plc") == []
    assert [(f["verdict"], f["why"]) for f in rig.said("history")] == [("NO_RESULT", "late")]
    assert [row["reason"] for row in rig.rows()] == ["late"]


def test_message_that_is_no_result_is_given_up(rig: Rig) -> None:
    """A kept message that cannot be read ends nothing; those behind it are told."""
    with rig.gate._ledger.transaction():
        rig.gate._outbox.put("verdict", b"{}", rig.gate._moment())
    rig.gate.step()
    rig.inspect(1)
    rig.clock.advance_ms(2_000)
    rig.gate.step()

    assert [frame["seq"] for frame in rig.said("verdict")] == [1]
    assert rig.rows("outbox") == []


def test_outage_is_told_as_history(rig: Rig) -> None:
    """What the broker missed comes on history, in order and marked late, and never live."""
    rig.inspect(1)
    rig.broker.lose()
    for seq in (2, 3):
        rig.send_inspected(seq)
        while len(rig.rows()) < seq or rig.rows()[-1]["verdict"] is None:
            rig.step()
    rig.clock.advance_ms(10 * DEADLINE_MS)
    rig.broker.come_back()
    rig.step()

    assert [frame["seq"] for frame in rig.said("verdict")] == [1]
    assert [(f["seq"], f["verdict"], f["late"]) for f in rig.said("history")] == [
        (2, "PASS", True),
        (3, "PASS", True),
    ]
    assert [part["part"] for part in rig.said("history/part")] == ["P2", "P3"]
    assert len(rig.broker.of("plc")) == 1
    rig.clock.advance_ms(2_000)
    rig.step()
    assert rig.rows("outbox") == []


def test_unconfirmed_is_told_again_as_history(rig: Rig) -> None:
    """A message that left and was not confirmed before the connection ended comes again."""
    rig.broker.confirms = False
    rig.inspect(1)
    rig.broker.lose()
    rig.step()
    rig.broker.confirms = True
    rig.broker.come_back()
    rig.step()

    assert [frame["seq"] for frame in rig.said("verdict")] == [1]
    assert [frame["seq"] for frame in rig.said("history")] == [1]


def test_fail_that_the_disk_delayed_is_history(rig: Rig) -> None:
    """Past its deadline a FAIL stays one, and is not said live."""
    rig.slow_disk(DEADLINE_MS)
    rig.send_inspected(1, verdict="FAIL", score=0.9)
    while not rig.said("history"):
        rig.step()

    assert [row["verdict"] for row in rig.rows()] == ["FAIL"]
    assert rig.said("verdict") == rig.said("part") == rig.broker.of("plc") == []
    assert [frame["verdict"] for frame in rig.said("history")] == ["FAIL"]
