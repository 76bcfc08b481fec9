"""A recorded line replays to what it said, and a damaged recording to nothing."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import recordings as made
from factories import BOOT, config
from replay_rig import READY, SETTINGS, RecordedLine, recorded_line, replayed, rows

from edge.recording_files import RecordingError
from pipeline.replay import open_source
from pipeline.replay_sources import ReplayError
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.sockets import Context
    from pipeline.config import Config

Drive = "Callable[[RecordedLine], None]"
RESULT = (
    "seq", "part_id", "recipe", "captured_at", "verdict", "reason", "score", "rescored",
    "p_value", "threshold", "warn", "window_n", "admission", "refined_score",
)  # fmt: skip
"""What a replay must come to again, beside what the hash is of."""


@pytest.fixture
def recorded(
    ipc_folder: Path, tmp_path: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Record a line that is driven; return its live ledger. The recording is ``tmp_path/rec``."""

    def record(drive: Callable[[RecordedLine], None], **sections: Any) -> Path:
        with recorded_line(
            ipc_folder, tmp_path / "rec", zmq_context, monkeypatch, **sections
        ) as line:
            drive(line)
        return line.ledger

    return record


def eventful(line: RecordedLine) -> None:
    """Let 50 parts pass with two commands, ten drops, and parts that are late in either way."""
    line.parts(READY)
    line.drop()
    line.part(defect=True)
    line.part(late=True)
    line.part(slow_disk=True)
    line.command("pin", cam="c1", boot=BOOT, seq=READY)
    for _ in range(4):
        line.parts(2)
        line.drop()
    line.command("reset")
    line.parts(12)
    for _ in range(5):
        line.drop()
    line.parts(READY)


def late_in_either_way(line: RecordedLine) -> None:
    """Let a part be dropped, one be inspected too late and one be too late on the disk."""
    line.parts(READY + 2)
    line.drop()
    line.part(late=True)
    line.part(slow_disk=True)
    line.parts(2)


def what_if(**judge: Any) -> Config:
    """Return other settings than the recording's."""
    return config(**SETTINGS | {"judge": {"method": "fixed", "fixed_threshold": 2.0, **judge}})


def test_recorded_line_replays_to_the_same_results(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """Commands, drops and late frames at their place: equal hash and rows, and so once more."""
    live = recorded(eventful)

    ledger = replayed(tmp_path / "rec", tmp_path / "out.db")
    again = replayed(tmp_path / "rec", tmp_path / "again.db")

    assert run_hash(ledger) == run_hash(live)
    told = [[row[name] for name in RESULT] for row in rows(ledger)]
    assert sorted(told) == sorted([row[name] for name in RESULT] for row in rows(live))
    reasons = [row["reason"] for row in rows(live)]
    assert (reasons.count("dropped"), reasons.count("late")) == (10, 2)
    for table in ("verdicts", "parts", "heatmaps", "events", "alarms"):
        assert rows(ledger, table) == rows(again, table), table


def test_recipes_come_back_with_their_windows(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """A recipe that was used before is judged at once, as it was on the line."""

    def drive(line: RecordedLine) -> None:
        line.parts(READY + 2)
        line.command("recipe", recipe="other", txn="1")
        line.parts(3)
        line.command("recipe", recipe="default", txn="2")
        line.parts(2)

    live = recorded(drive)

    ledger = replayed(tmp_path / "rec", tmp_path / "out.db")

    assert run_hash(ledger) == run_hash(live)
    assert [row["verdict"] for row in rows(ledger)][-5:] == ["NO_RESULT"] * 3 + ["PASS"] * 2


def test_late_frames_have_changed_the_window(recorded: Callable[..., Path], tmp_path: Path) -> None:
    """A frame whose inspection came too late has no figures, and is a peer of the next ones."""

    def drive(line: RecordedLine) -> None:
        line.parts(READY + 4)
        line.parts(6, late=True)
        line.parts(2)

    live = recorded(drive)

    ledger = replayed(tmp_path / "rec", tmp_path / "out.db")

    assert run_hash(ledger) == run_hash(live)
    late = [row for row in rows(ledger) if row["reason"] == "late"]
    assert [row["score"] for row in late] == [None] * 6


def test_pass_that_was_late_on_the_disk_keeps_its_figures(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """It is NO_RESULT `late` beside its score, as the ledger corrected it."""

    def drive(line: RecordedLine) -> None:
        line.parts(READY + 4)
        line.part(slow_disk=True)

    recorded(drive)

    last = rows(replayed(tmp_path / "rec", tmp_path / "out.db"))[-1]

    assert (last["verdict"], last["reason"]) == ("NO_RESULT", "late")
    assert 0 < last["score"] < last["threshold"]


def test_what_if_forgives_lateness(recorded: Callable[..., Path], tmp_path: Path) -> None:
    """With other settings late frames are judged, unless asked not to; drops stay drops."""
    recorded(late_in_either_way)

    free = rows(replayed(tmp_path / "rec", tmp_path / "a.db", what_if()))
    held = rows(replayed(tmp_path / "rec", tmp_path / "b.db", what_if(), late=True))

    assert [row["reason"] for row in free].count("late") == 0
    assert [row["reason"] for row in held].count("late") == 2
    assert [row["reason"] for row in free].count("dropped") == 1
    assert {row["verdict"] for row in free} == {"PASS", "NO_RESULT"}  # nothing reaches 2.0


def test_own_settings_can_forgive_lateness(recorded: Callable[..., Path], tmp_path: Path) -> None:
    """Asked for, the recording's own settings show what a line in time would have said."""
    recorded(late_in_either_way)

    found = rows(replayed(tmp_path / "rec", tmp_path / "out.db", late=False))

    assert "late" not in {row["reason"] for row in found}


def test_labels_find_recorded_parts(recorded: Callable[..., Path], tmp_path: Path) -> None:
    """A recorded frame is known by its part."""
    recorded(lambda line: line.parts(3))

    names = open_source(tmp_path / "rec", None).names()

    assert {name: [key.seq for key in keys] for name, keys in names.items()} == {
        "P1": [1], "P2": [2], "P3": [3]
    }  # fmt: skip


@pytest.mark.parametrize("name", ["c1/index.jsonl", "line.jsonl"])
def test_torn_last_line_is_skipped(
    recorded: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """A line that its writer did not end is named; what stands before it is replayed."""
    live = recorded(lambda line: line.parts(READY + 4))
    index = tmp_path / "rec" / name
    os.truncate(index, index.stat().st_size - 5)

    source = open_source(tmp_path / "rec", None)
    ledger = replayed(tmp_path / "rec", tmp_path / "out.db")

    assert source.warnings[0].startswith(f"1 torn_line: {name}:")
    assert "skipped: the last" in source.warnings[0]
    # All but the second look, which comes with later frames.
    told = [[row[name] for name in RESULT[:-1]] for row in rows(live)]
    assert [[row[name] for name in RESULT[:-1]] for row in rows(ledger)] == told[: len(source)]
    assert len(source) == READY + (3 if name.startswith("c1") else 4)


@pytest.mark.parametrize("name", ["c1/index.jsonl", "line.jsonl"])
def test_index_that_a_later_process_goes_on_with_is_replayed(
    recorded: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """The torn line is taken off by whoever goes on; the replay names it and goes on, too."""
    live = recorded(lambda line: line.parts(READY + 4))
    folder = tmp_path / "rec"
    whole = [json.loads(text) for text in (folder / name).read_text().splitlines()]
    torn = next(n for n, line in enumerate(whole) if line["kind"] in {"announced", "result"})
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    (folder / name).write_bytes(b"".join(lines[:torn]) + lines[torn][:-9])
    made.write(folder / name)
    with (folder / name).open("ab") as index:
        index.writelines(lines[torn + 1 :])

    source = open_source(folder, None)

    assert source.warnings[0].startswith(f"1 cut: {name} (the last")
    assert run_hash(replayed(folder, tmp_path / "out.db")) == run_hash(live)


def test_kill_leaves_what_was_recorded_before(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """Pixels that end before the line does, as by a kill, are replayed until there, and said."""
    recorded(lambda line: line.parts(6))
    index = tmp_path / "rec" / "c1" / "index.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    first_lost = next(i for i, text in enumerate(lines) if b'"seq":5' in text)
    index.write_bytes(b"".join(lines[:first_lost]))

    source = open_source(tmp_path / "rec", None)

    assert len(source) == 4
    said = f"replayed until frame c1/{BOOT}/5, whose pixels are not there"
    assert said in source.warnings


def test_missing_frames_are_named_and_counted(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """Each file that is not there is counted, the first are named."""
    recorded(lambda line: line.parts(12))
    for seq in range(2, 10):
        (tmp_path / "rec" / "c1" / "frames" / BOOT / f"{seq}.png").unlink()

    with pytest.raises(ReplayError, match=r"8 missing_file: c1/frames/.*/2\.png .*, \.\.\."):
        open_source(tmp_path / "rec", None)


def test_other_pixels_are_refused(recorded: Callable[..., Path], tmp_path: Path) -> None:
    """A file of the same size with other content ends the replay; it is named."""
    recorded(lambda line: line.parts(3))
    file = tmp_path / "rec" / "c1" / "frames" / BOOT / "2.png"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)

    with pytest.raises(ReplayError, match=r"1 damaged_file: c1/frames/.*/2\.png"):
        replayed(tmp_path / "rec", tmp_path / "out.db")


def test_pixels_that_were_not_recorded_are_missed(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """A frame that the scorer saw and nobody wrote down makes every later result doubtful."""
    recorded(lambda line: line.parts(3))
    index = tmp_path / "rec" / "c1" / "index.jsonl"
    lines = [json.loads(text) for text in index.read_text().splitlines()]
    kept = [
        line for line in lines if not (line["kind"] == "frame" and line["announcement"]["seq"] == 2)
    ]
    index.write_text("".join(json.dumps(line) + "\n" for line in kept))

    with pytest.raises(ReplayError, match=rf"1 inspected, and not recorded: c1/{BOOT}/2"):
        open_source(tmp_path / "rec", None)


def test_recording_that_ended_is_replayed_until_there(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """At its limit a camera stops to record; what came before is replayed, with a warning."""
    recorded(lambda line: line.parts(6))
    index = tmp_path / "rec" / "c1" / "index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    first_lost = next(i for i, text in enumerate(lines) if '"seq":5' in text)
    end = {
        "kind": "ended", "at": "2026-01-01T00:00:00Z", "why": "limit_reached", "detail": "9 bytes"
    }  # fmt: skip
    index.write_text("".join(lines[:first_lost]) + json.dumps(end) + "\n")

    source = open_source(tmp_path / "rec", None)

    assert len(source) == 4
    assert any("limit_reached" in warning for warning in source.warnings)


def test_other_version_is_refused(recorded: Callable[..., Path], tmp_path: Path) -> None:
    """A recording of a later version is named with it."""
    recorded(lambda line: line.parts(1))
    head = tmp_path / "rec" / "recording.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"version": 2}))

    with pytest.raises(RecordingError, match="version is 2"):
        open_source(tmp_path / "rec", None)


def test_config_without_the_camera_is_refused(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """Frames of a camera that the config does not have cannot be replayed with it."""
    recorded(lambda line: line.parts(1))
    camera = {"id": "top", "kind": "synthetic", "interval_ms": 1}

    with pytest.raises(ReplayError, match="camera c1 of the recording is not in the config"):
        open_source(tmp_path / "rec", config(camera=[camera]))


def test_own_settings_that_are_unknown_are_named(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """A setting of another program stops the replay with its name and the way out."""
    recorded(lambda line: line.parts(1))
    head = tmp_path / "rec" / "recording.json"
    content = json.loads(head.read_text())
    content["config"]["window"]["colour"] = "blue"
    head.write_text(json.dumps(content))

    with pytest.raises(ReplayError, match=r"window\.colour: .*; give --config"):
        open_source(tmp_path / "rec", None)


def test_camera_alone_is_replayed(recorded: Callable[..., Path], tmp_path: Path) -> None:
    """Without a gate's lines the recorded pictures are inspected as they were captured."""
    live = recorded(lambda line: line.parts(READY + 4))
    (tmp_path / "rec" / "line.jsonl").unlink()

    assert run_hash(replayed(tmp_path / "rec", tmp_path / "out.db")) == run_hash(live)
