"""``musc-edge record`` as a process: Ctrl-C and kill -9 leave what can be replayed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2
import pytest
import tomli_w
from replay_rig import SETTINGS, fake_scorer, part, replayed, rows

from edge.recording import Recording
from pipeline.replay import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 60.0
CAMERAS = ("c1", "c2")
LEFT_BY_A_KILL = {"torn_line", "no_pixels"}
"""Frames that were announced, and not written yet."""


@contextmanager
def recording(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Record a belt and JPEG files without an end into ``rec``; no process stays."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(12):
        assert cv2.imwrite(str(pictures / f"{number}.jpg"), part(number))
    belts = [
        {"id": "c1", "kind": "synthetic", "interval_ms": 10},
        {"id": "c2", "kind": "folder", "path": str(pictures), "loop": True, "interval_ms": 10},
    ]
    config = folder / "config.toml"
    config.write_text(tomli_w.dumps({"camera": belts, **SETTINGS}))
    command = [
        *(sys.executable, "-W", "error", "-m", "pipeline", "record"),
        *("--config", str(config), "--out", str(folder / "rec")),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def await_frames(folder: Path, process: subprocess.Popen[bytes], count: int) -> None:
    """Wait until each camera has so many frames on the disk."""
    end = time.monotonic() + LIMIT_S
    while any(len(list((folder / "rec" / c).rglob("[0-9]*.*"))) < count for c in CAMERAS):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end, "no frames within the limit"
        time.sleep(0.02)


def test_ctrl_c_ends_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame that was announced is there, and the command says how many."""
    with recording(tmp_path) as process:
        await_frames(tmp_path, process, 20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)

    found = Recording(tmp_path / "rec")
    frames = {name: found.frames(name) for name in CAMERAS}
    table = [line.split("\t") for line in out.decode().splitlines()]
    assert process.returncode == 0, err.decode()
    assert found.problems == []
    assert [problem for problem in found.verify() if problem] == []
    assert all(frame.stored for name in CAMERAS for frame in frames[name])
    assert [row[:2] for row in table[1:3]] == [[name, str(len(frames[name]))] for name in CAMERAS]
    fake_scorer(monkeypatch)
    ledger = replayed(tmp_path / "rec", tmp_path / "out.db")
    assert len(rows(ledger)) == sum(map(len, frames.values()))
    assert {"PASS", "NO_RESULT"} <= {row["verdict"] for row in rows(ledger)}


def test_kill_leaves_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill -9 what was written is whole, and is replayed; the rest is named."""
    with recording(tmp_path) as process:
        # A file comes before its line of the index, which the kill may cut off: more than 20.
        await_frames(tmp_path, process, 22)
        process.kill()
        process.communicate(timeout=LIMIT_S)

    found = Recording(tmp_path / "rec")
    files = {name: [f.stored.file for f in found.frames(name) if f.stored] for name in CAMERAS}
    assert all(file.endswith(".png") for file in files["c1"])
    assert all(file.endswith(".jpg") for file in files["c2"])
    assert set(found.counts()) <= LEFT_BY_A_KILL
    assert [problem for problem in found.verify() if problem] == []
    fake_scorer(monkeypatch)
    source = open_source(tmp_path / "rec", None)
    ledger = replayed(tmp_path / "rec", tmp_path / "out.db")
    seen = [row for row in rows(ledger) if row["reason"] != "dropped"]
    assert len(source) == len(rows(ledger))
    assert len(seen) == sum(bool(frame.stored) for c in CAMERAS for frame in found.frames(c)) >= 40


def test_torn_recording_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera's process that finds a torn line takes it off, names it, and writes after it."""
    with recording(tmp_path) as process:
        await_frames(tmp_path, process, 20)
        process.kill()
        process.communicate(timeout=LIMIT_S)
    index = tmp_path / "rec" / "c1" / "index.jsonl"
    whole = index.read_bytes()
    index.write_bytes(whole[: whole.rstrip().rfind(b"\n") + 1 + 40])
    before = len(Recording(tmp_path / "rec").frames("c1"))
    belt = {"id": "c1", "kind": "synthetic", "interval_ms": 10, "frames": 5}
    config = tmp_path / "again.toml"
    config.write_text(tomli_w.dumps({"camera": [belt], "part": {"deadline_ms": 50}}))

    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "pipeline", "ingest", "--camera", "c1"),
            *("--config", str(config), "--record", str(tmp_path / "rec")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )

    found = Recording(tmp_path / "rec")
    cuts = [problem.detail for problem in found.problems if problem.kind == "cut"]
    assert done.returncode == 0, done.stderr
    assert [cut.startswith("the last 40 bytes are a torn line") for cut in cuts] == [True]
    assert f"{cuts[0]}, taken off" in done.stderr
    assert len({frame.key.boot for frame in found.frames("c1")}) == 2
    assert len(found.frames("c1")) == before + 5
    assert found.counts()["torn_line"] == found.counts()["damaged_line"] == 0
    fake_scorer(monkeypatch)
    source = open_source(tmp_path / "rec", None)
    replayed(tmp_path / "rec", tmp_path / "out.db")
    assert any(warning.startswith("1 cut: c1/index.jsonl") for warning in source.warnings)
