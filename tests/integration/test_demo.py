"""The demo: one command from nothing to judged parts, a summary and files to look at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config_file import load_config
from pipeline.ledger import open_for_reading

pytestmark = [pytest.mark.weights, pytest.mark.timeout(300)]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.mark.usefixtures("weights_file", "solar_cells_wheel")
def test_demo_judges_solar_cells(tmp_path: Path) -> None:
    """Every cell has a result, the summary agrees with the ledger, the files are there."""
    done = demo("--frames", "40", "--seed", "0", "--keep", str(tmp_path / "d"), "--json")

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    db = open_for_reading(tmp_path / "d" / "ledger.db")
    rows = list(db.table("verdicts").rows)
    db.close()
    assert summary["frames"] == len(rows) == 40
    assert set(summary["no_result"]) == {"warming"}
    assert sum(summary["verdicts"].values()) + summary["no_result"]["warming"] == 40
    assert summary["auroc"] is None or 0 <= summary["auroc"] <= 1
    assert load_config(tmp_path / "d" / "config.toml").mqtt.embedded
    for word in ("CC BY-NC-SA 4.0", "DINOv2", "mosquitto_sub", str(tmp_path / "d" / "ledger.db")):
        assert word in done.stdout


@pytest.mark.usefixtures("weights_file")
def test_demo_finds_synthetic_defects(tmp_path: Path) -> None:
    """On the synthetic belt the defective parts score highest."""
    done = demo("--synthetic", "--frames", "60", "--keep", str(tmp_path / "d"), "--json")

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["auroc"] > 0.9
    assert summary["example"] is not None
    assert (tmp_path / "d" / "evidence" / summary["example"]).is_file()


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    """A folder with something in it is not overwritten."""
    (tmp_path / "precious").write_text("")

    done = demo("--keep", str(tmp_path))

    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("solar_cells_wheel")
def test_more_frames_than_cells_is_refused(tmp_path: Path) -> None:
    """The limit of the data set is named."""
    done = demo("--frames", "2000", "--keep", str(tmp_path / "d"))

    assert done.returncode == 1
    assert "--frames 2000" in done.stderr
    assert "Traceback" not in done.stderr
