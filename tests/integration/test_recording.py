"""A line that is recorded: what came, what the scorer did, and what is left after kill -9."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from chaos import ROOT_TOPIC, Ears
from lines import RunningLine, running, write_config
from staged_line import StagedLine, staged_line

from edge.recording import RecordedFrame, Recording
from edge.recording_lines import Inspected, OrderDone
from pipeline.build import build_inspector
from pipeline.config import Config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

FRAMES = 24
"""Two windows."""
IDENTITY = {"kind", "camera", "boot", "seq"}
AFTER_A_KILL = {"torn_line", "cut", "gap", "not_accounted", "not_announced", "no_pixels"}
"""What the kill of a camera, or of the gate, may leave."""


def live_config(folder: Path, *cameras: str, **sections: Any) -> Path:
    """Write a line whose cameras are faster than its stand-in for a scorer."""
    belts = [
        {"id": name, "kind": "synthetic", "seed": number, "interval_ms": 10}
        for number, name in enumerate(cameras)
    ]
    return write_config(
        folder,
        None,
        camera=belts,
        part={"views": ["c1"], "deadline_ms": 5_000},
        transport={"policy": "drop_oldest", "queue_frames": 2},
        **sections,
    )


def command(line: StagedLine, ears: Ears, verb: str, **body: str) -> None:
    """Give the line a command and wait until it is answered."""
    txn = f"t-{verb}"
    payload = json.dumps({"txn": txn, "by": "anna", **body}).encode()
    ears.publish(f"{ROOT_TOPIC}/cmd/{verb}", payload)
    line.until(lambda: any(a["txn"] == txn for a in ears.of("cmd/result")), f"answer to {verb}")


def more_results(line: RunningLine, count: int) -> None:
    """Wait until so many more frames have a result."""
    before = len(line.rows())
    line.until(lambda: len(line.rows()) > before + count, f"{count} more results")


def scored(folder: Path) -> list[tuple[str, str, int]]:
    """Return the frames in the order in which the stand-in inspected them, by its own log."""
    rows = (row.split(",") for row in (folder / "scored.csv").read_text().splitlines())
    return [(camera, boot, int(seq)) for camera, boot, seq, _ in rows]


def inspected(recording: Recording) -> list[tuple[str, str, int]]:
    """Return the frames in the order in which the recording has them inspected."""
    steps = (step for step in recording.steps() if isinstance(step, RecordedFrame))
    return [(s.key.camera, s.key.boot, s.key.seq) for s in steps if s.inspected is not None]


def test_recording_holds_each_frame_once_and_the_order_of_all(tmp_path: Path) -> None:
    """Two cameras, drops and two commands: frames, results and the scorer's order are there."""
    folder = tmp_path / "rec"
    config = live_config(tmp_path, "c1", "c2")
    with staged_line(config, record=folder, STAND_IN_DELAY_MS="30") as line:
        ears = Ears(line.settings.mqtt.port, "3.1.1")
        more_results(line, 40)
        command(line, ears, "reset")
        more_results(line, 40)
        command(line, ears, "recipe", recipe="lid-blue")
        more_results(line, 40)
        ears.close()
        line.stop()

    recording = Recording(folder)
    assert recording.problems == []
    assert [problem for problem in recording.verify() if problem] == []
    rows = {(row["camera"], row["seq"]): row for row in line.rows()}
    frames = [frame for camera in ("c1", "c2") for frame in recording.frames(camera)]
    assert [(f.key.camera, f.key.seq) for f in frames] == [
        (camera, seq) for camera in ("c1", "c2") for seq in range(1, line.counted(camera) + 1)
    ]
    for frame in frames:
        row, result = rows[frame.key.camera, frame.key.seq], frame.result
        assert result is not None
        assert (result.verdict, result.why) == (row["verdict"], row["reason"])
        assert result.part_id == row["part_id"]
    assert any(frame.lost and frame.lost.why == "dropped" for frame in frames)
    assert inspected(recording) == scored(tmp_path)
    assert_orders_stand_where_they_were_obeyed(recording)


def assert_orders_stand_where_they_were_obeyed(recording: Recording) -> None:
    """Check by what the stand-in says of its windows: empty after a reset, and by recipe."""
    lines = [line for line in recording.line if isinstance(line, Inspected | OrderDone)]
    reset = next(n for n, x in enumerate(lines) if isinstance(x, OrderDone) and x.verb == "reset")
    recipe = next(n for n, x in enumerate(lines) if isinstance(x, OrderDone) and x.verb == "recipe")
    for camera in ("c1", "c2"):
        mine = [
            (number, line)
            for number, line in enumerate(lines)
            if isinstance(line, Inspected) and line.camera == camera
        ]
        empty = [number for number, line in mine if line.window_n == 0]
        first_after = [
            next(number for number, _ in mine if number > start) for start in (-1, reset, recipe)
        ]
        assert empty == first_after
        assert all((line.recipe == "lid-blue") == (number > recipe) for number, line in mine)


def test_kills_leave_a_recording_that_can_be_read(tmp_path: Path) -> None:
    """After kill -9 of camera and gate the recording goes on; what is missing is named."""
    folder = tmp_path / "rec"
    config = live_config(tmp_path, "c1")
    with staged_line(config, record=folder, STAND_IN_DELAY_MS="15") as line:
        for victim in ("ingest c1", "gate", "ingest c1"):
            more_results(line, 20)
            pid = line.pid_of(victim)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            line.until(lambda: line.pid_of(victim) not in {None, pid}, victim)  # noqa: B023 - runs now
        line.until(
            lambda: len({row["boot"] for row in line.rows()}) == 3, "the third camera's frames"
        )
        more_results(line, 20)
        line.stop()

    recording = Recording(folder)
    counts = recording.counts()
    assert set(counts) <= AFTER_A_KILL
    assert [problem for problem in recording.verify() if problem] == []
    known = {frame.key.seq for frame in recording.frames("c1") if frame.announcement}
    assert len(known) + counts["gap"] == line.counted()
    assert len({frame.key.boot for frame in recording.frames("c1")}) == 3
    order = iter(scored(tmp_path))
    assert all(key in order for key in inspected(recording)), "another order than the scorer's"


def test_line_goes_on_where_its_recording_ends(tmp_path: Path) -> None:
    """At the end of the budget there is one event, and every later frame has its result."""
    folder = tmp_path / "rec"
    config = live_config(tmp_path, "c1", record={"max_bytes": 1_000_000})
    with staged_line(config, record=folder) as line:
        line.until(lambda: "recording_full" in events(line), "the end of the recording")
        more_results(line, 40)
        line.stop()

    assert events(line).count("recording_full") == 1
    assert "recording_failed" not in events(line)
    assert line.audit()["balanced"]
    recording = Recording(folder)
    assert recording.counts()["ended"] == 1
    assert [problem for problem in recording.verify() if problem] == []
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1_010_000
    assert inspected(recording) == scored(tmp_path)


def events(line: RunningLine) -> list[str]:
    """Return the kinds of the ledger's events."""
    return [row["kind"] for row in line.rows("events")]


@pytest.mark.weights
def test_recorded_line_is_inspected_again_to_equal_figures(
    tmp_path: Path, weights_file: Path
) -> None:
    """The real scorer, given the recorded frames in the recorded order, says the same again."""
    folder = tmp_path / "rec"
    camera = [{"id": "c1", "kind": "synthetic", "seed": 3, "frames": FRAMES}]
    config = write_config(tmp_path, weights_file, camera=camera)
    with running(config, "--record", str(folder)) as line:
        assert line.wait() == 0, line.text()

    recording = Recording(folder)
    inspector, _ = build_inspector(Config.model_validate(recording.head.config))
    seen = [step for step in recording.steps() if isinstance(step, RecordedFrame)]
    assert recording.problems == []
    assert len(seen) == FRAMES
    for step in seen:
        again = inspector.inspect(step.load())
        assert step.inspected is not None
        for name in set(Inspected.model_fields) - IDENTITY:
            assert getattr(again, name) == getattr(step.inspected, name), (step.key, name)


def test_folder_in_use_is_refused_before_the_line_starts(tmp_path: Path) -> None:
    """`run --record` into a folder that is not empty ends with 1 and says so."""
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "notes.txt").write_text("mine")
    config = live_config(tmp_path, "c1")

    with running(config, "--record", str(tmp_path / "rec")) as line:
        assert line.wait() == 1

    assert "not empty" in line.text()
    assert not line.pids("gate")
