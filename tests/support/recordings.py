"""Small recordings for tests, written by the real writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factories import BOOT, START, announcement, config, frame

from edge.frame import Frame
from edge.recorder import Recorder
from edge.recording_files import write_head
from edge.recording_lines import (
    INDEX_FILE,
    LINE_FILE,
    GateSaid,
    Head,
    Inspected,
    OrderDone,
    Result,
    ScorerSaid,
)
from edge.wire import Announced, Begins, Lost

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

LIMIT_S = 20.0
SCORER = "5" * 16


def begin(folder: Path, *cameras: str) -> Path:
    """Begin a recording of these cameras, by default c1."""
    settings = config()
    folder.mkdir(parents=True, exist_ok=True)
    head = Head(
        created_at=START,
        cameras=cameras or ("c1",),
        config=settings.model_dump(mode="json"),
        config_digest=settings.digest,
    )
    write_head(folder, head)
    return folder


def write(index: Path, *items: BaseModel | Frame, **limits: Any) -> Recorder:
    """Write an index, and wait until all is on the disk."""
    recorder = Recorder(index, limits.pop("max_bytes", 10_000_000), lambda: START, **limits)
    for item in items:
        if isinstance(item, Frame):
            recorder.put_frame(item)
        else:
            recorder.put(item)
    recorder.close(LIMIT_S)
    return recorder


def camera(folder: Path, *seqs: int, name: str = "c1", lost: tuple[int, ...] = ()) -> Recorder:
    """Write a camera's part: its start, and frames of these numbers that are sent or dropped."""
    items: list[BaseModel | Frame] = [Begins(camera=name, boot=BOOT, seq=min(seqs) - 1)]
    for seq in seqs:
        note = announcement(seq, camera=name)
        items += [Announced(announcement=note), frame(seq, camera=name)]
        if seq in lost:
            items.append(Lost(announcement=note, why="dropped", detail="queue full"))
    return write(folder / name / INDEX_FILE, *items)


def line(folder: Path, *lines: BaseModel) -> Recorder:
    """Write the gate's part, with the gate's start and its scorer."""
    gate = GateSaid(event="started", at=START, boot=BOOT, config_digest="a89d1abb")
    return write(folder / LINE_FILE, gate, scorer(), *lines)


def scorer(name: str = SCORER, **fields: Any) -> ScorerSaid:
    """Return the line of a scorer that comes."""
    values = {"event": "up", "at": START, "scorer": name, "model": "a89d1abb"}
    return ScorerSaid.model_validate(values | fields)


def inspected(seq: int, **fields: Any) -> Inspected:
    """Return the line of an inspection."""
    values = {
        "camera": "c1",
        "boot": BOOT,
        "seq": seq,
        "verdict": "PASS",
        "why": "score",
        "state": "READY",
        "score": 0.1 + seq / 3,
        "rescored": None,
        "threshold": 0.8,
        "p_value": None,
        "warn": False,
        "window_n": 31,
        "admission": "peer",
        "region": 0,
        "recipe": "default",
        "model": "a89d1abb",
    }
    return Inspected.model_validate(values | fields)


def result(seq: int, **fields: Any) -> Result:
    """Return the line of a frame's result."""
    values = {
        "camera": "c1",
        "boot": BOOT,
        "seq": seq,
        "part_id": f"P{seq}",
        "verdict": "PASS",
        "why": "score",
        "detail": "",
        "recipe": "default",
        "scored": True,
    }
    return Result.model_validate(values | fields)


def order(name: str = "0" * 16, **fields: Any) -> OrderDone:
    """Return the line of an order that was done: windows of all cameras are empty."""
    values = {"order": name, "verb": "reset", "ok": True, "code": "done", "detail": ""}
    return OrderDone.model_validate(values | fields)


def whole(folder: Path) -> Path:
    """Write a recording with nothing wrong: four frames, one dropped, one order."""
    begin(folder)
    camera(folder, 1, 2, 3, 4, lost=(3,))
    line(
        folder,
        inspected(1),
        result(1),
        result(3, verdict="NO_RESULT", why="dropped", scored=False),
        inspected(2),
        order(),
        inspected(4),
        result(4),
        result(2),
    )
    return folder
