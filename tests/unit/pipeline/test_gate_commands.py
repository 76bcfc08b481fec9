"""Commands change what the gate does, and reach scorer and cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import BOOT, config
from gate_rig import LIMIT_MS, Rig, running_gate

from edge.commands import PartCommand
from edge.sockets import Context
from edge.wire import (
    CameraHere,
    Ordered,
    PartAt,
    decode_note,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


PART = PartCommand(txn="t-1", by="anna", part="A-1")


@pytest.fixture
def rig(ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return a running gate."""
    with running_gate(ipc_folder, zmq_context, monkeypatch) as rig:
        yield rig


def test_changeover_needs_the_new_window(rig: Rig) -> None:
    """After `recipe` nothing compared with the old product passes; the scorer is told."""
    rig.inspect(1)
    rig.command("recipe", recipe="lid-blue")
    rig.clock.advance_ms(1)
    rig.inspect(2)
    rig.inspect(3, recipe="lid-blue")

    assert rig.answers() == [("recipe", True, "done")]
    assert [(f["verdict"], f["why"], f["recipe"]) for f in rig.said("verdict")] == [
        ("PASS", "score", "default"),
        ("NO_RESULT", "warming", "lid-blue"),
        ("PASS", "score", "lid-blue"),
    ]
    order = rig.order()
    assert (order.verb, order.recipe) == ("recipe", "lid-blue")
    assert [row["kind"] for row in rig.rows("events")] == ["recipe"]


def test_order_waits_for_the_scorer(rig: Rig) -> None:
    """`reset` is answered with what the scorer says; delivered again it is not done again."""
    rig.command("reset", step=True)
    rig.gate.step()
    order = rig.order()
    rig.send(rig.scorer, Ordered(order=order.order, ok=True, code="done", detail="emptied"))
    while not rig.answers():
        rig.step()
    rig.command("reset")

    assert (order.verb, order.camera) == ("reset", None)
    assert rig.answers() == [("reset", True, "done"), ("reset", True, "done")]
    assert not rig.scorer.poll(100)


def test_part_message_reaches_its_camera(rig: Rig) -> None:
    """`part` goes to the cameras that wait for it; others, and cameras that are away, refuse."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1, "part_id": "message"}
    assert rig.gate._verbs.execute(PART, rig.gate._moment()).code == "not_expected"
    rig.gate._verbs._config = config(camera=[camera])
    assert rig.gate._verbs.execute(PART, rig.gate._moment()).code == "camera_lost"
    rig.send(rig.ingest, CameraHere(camera="c1", boot=BOOT, state="ONLINE"))
    rig.step()

    assert rig.gate._verbs.execute(PART, rig.gate._moment()).ok
    rig.gate.step()
    assert rig.ingest.poll(LIMIT_MS)
    assert decode_note(rig.ingest.recv()) == PartAt(part_id="A-1")
