"""What the gate makes of what it hears of a camera: events once, counts retained, faults said."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from factories import BOOT, MS, announcement
from gate_rig import NEXT_BOOT, Rig, running_gate

from edge.contract import CameraCounts
from edge.wire import CameraHere, Happened, Lost
from pipeline.gate_loop import COUNTS_NS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.frame import CameraState
    from edge.sockets import Context

AT = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=timezone.utc)
ROOT = "musc/v1/site/area/line/station"


@pytest.fixture
def rig(ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return a running gate."""
    with running_gate(ipc_folder, zmq_context, monkeypatch) as rig:
        yield rig


def happened(number: int, boot: str = BOOT, **detail: Any) -> Happened:
    """Return an event of the camera."""
    return Happened(camera="c1", boot=boot, seq=number, at=AT, event="camera_lost", detail=detail)


def here(state: CameraState = "ONLINE", **counts: int) -> CameraHere:
    """Return what ingest says several times a second."""
    return CameraHere(camera="c1", boot=BOOT, state=state, counts=CameraCounts(**counts))


def test_event_is_on_disk_then_acknowledged(rig: Rig) -> None:
    """A camera's event is a row with its own time, camera and detail."""
    rig.send(rig.ingest, happened(1, why="pulled out", away_s=1.5))
    rig.step()

    (row,) = rig.rows("events")
    assert rig.acknowledgements() == [(1, "happened")]
    assert (row["time"], row["kind"], row["camera"]) == (
        "2026-11-24T08:00:00.123456Z", "camera_lost", "c1",
    )  # fmt: skip
    assert json.loads(row["detail"]) == {"boot": BOOT, "why": "pulled out", "away_s": 1.5}


def test_event_told_twice_is_one(rig: Rig) -> None:
    """An event that is repeated is acknowledged again and written once; another boot's is new."""
    for note in (happened(1), happened(1), happened(2), happened(1, NEXT_BOOT)):
        rig.send(rig.ingest, note)
    while len(rig.rows("events")) < 3:
        rig.step()

    assert len(rig.acknowledgements()) == 4
    assert len(rig.rows("events")) == 3


def test_counts_are_retained(rig: Rig) -> None:
    """A screen that comes later finds what each camera has counted, at most seconds old."""
    rig.send(rig.ingest, here(frames=7, failed=2))
    rig.step()
    rig.clock.ns += COUNTS_NS
    rig.gate.step()

    (counts,) = rig.said("camera/c1/counts")

    assert (counts["frames"], counts["failed"], counts["openings"]) == (7, 2, 0)


def test_stale_camera_is_a_fault(rig: Rig) -> None:
    """A camera that shows the same for ever is as good as none: FAULT, and no PASS of it."""
    rig.send(rig.ingest, here("ONLINE"))
    rig.step()
    rig.inspect(1)
    before = rig.state()

    rig.send(rig.ingest, here("STALE"))
    rig.step()
    rig.inspect(2)

    assert before == "READY"
    assert rig.state() == "FAULT"
    assert [row["reason"] for row in rig.rows()] == ["score", "camera_lost"]
    assert rig.broker.of("camera/c1/status")[-1] == b"STALE"


def test_camera_without_trigger_is_none(rig: Rig) -> None:
    """That nothing triggers a camera is no fault of the line, and said."""
    rig.send(rig.ingest, here("ONLINE"))
    rig.step()
    rig.inspect(1)

    rig.send(rig.ingest, here("NO_TRIGGER"))
    rig.step()

    assert rig.state() == "READY"
    assert rig.broker.of("camera/c1/status")[-1] == b"NO_TRIGGER"


@pytest.mark.parametrize("why", ["stale", "missed_trigger", "camera_lost", "corrupt"])
def test_lost_frame_has_its_reason(rig: Rig, why: Any) -> None:
    """What ingest says of a frame that nobody can judge is its result."""
    note = announcement(1, captured_ns=rig.clock.ns - 10 * MS)
    rig.send(rig.ingest, Lost(announcement=note, why=why, detail="so it is"))
    rig.step()

    assert [(row["verdict"], row["reason"], row["detail"]) for row in rig.rows()] == [
        ("NO_RESULT", why, "so it is")
    ]
