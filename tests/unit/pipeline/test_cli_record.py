"""``musc-edge record`` on the command line: what it says, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from typer.testing import CliRunner

from edge.errors import LineError
from edge.recording import Recording
from edge.stopping import StopFlag
from pipeline.cli import app
from pipeline.line_lock import line_lock

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A line of two cameras, one with an end; the signals stay the test's own."""
    monkeypatch.setattr(StopFlag, "install", lambda _self: None)
    return write(tmp_path)


def write(folder: Path, **sections: Any) -> Path:
    """Write the config of a line."""
    cameras = [
        {"id": "c1", "kind": "synthetic", "interval_ms": 1},
        {"id": "c2", "kind": "synthetic", "interval_ms": 1, "frames": 4},
    ]
    path = folder / "config.toml"
    path.write_text(tomli_w.dumps({"camera": cameras, **sections}))
    return path


def invoke(config: Path, *options: str) -> Result:
    """Record into ``rec`` beside the config."""
    out = str(config.with_name("rec"))
    return CliRunner().invoke(app, ["record", "--config", str(config), "--out", out, *options])


def test_what_was_written_is_a_table(config: Path) -> None:
    """A line a camera, and where it lies; the end of a source is no failure."""
    done = invoke(config, "--frames", "6")

    table = [line.split("\t") for line in done.stdout.splitlines()]
    assert done.exit_code == 0, done.output
    assert table[0] == ["camera", "frames", "left_out", "lost", "megabytes", "end"]
    assert [[row[0], row[1], row[5]] for row in table[1:3]] == [
        ["c1", "6", "taken"], ["c2", "4", "finished"],
    ]  # fmt: skip
    assert table[3] == [f"recorded into {config.with_name('rec')}"]


def test_one_camera_as_json(config: Path) -> None:
    """With --camera there is no other one; --json ends with one object."""
    done = invoke(config, "--camera", "c2", "--json")

    told = json.loads(done.stdout.splitlines()[-1])
    assert told["recording"] == str(config.with_name("rec"))
    assert list(told["cameras"]) == ["c2"]
    assert (told["cameras"]["c2"]["frames"], told["cameras"]["c2"]["end"]) == (4, "finished")
    assert Recording(config.with_name("rec")).head.cameras == ("c2",)


def test_recording_that_ended_at_its_limit_is_exit_1(config: Path) -> None:
    """Whoever asked for more than fits learns of it."""
    write(config.parent, record={"max_bytes": 1_000_000})

    done = invoke(config, "--camera", "c1")

    assert done.exit_code == 1
    assert "limit_reached" in done.stdout


def test_running_line_is_not_disturbed(config: Path) -> None:
    """Cameras of a line that runs are not opened a second time."""
    with line_lock(config.with_name("state")):
        done = invoke(config)

    assert isinstance(done.exception, LineError)
    assert "this line runs already" in str(done.exception)
    assert not config.with_name("rec").exists()
