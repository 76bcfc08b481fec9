"""``score`` and ``rescore`` as a user runs them, on real cells with real weights."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from pipeline.solar_cells import select_cells, write_cells

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.weights, pytest.mark.timeout(300)]

LIMIT_S = 120.0


def command(*arguments: str) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "pipeline", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command without a terminal."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=LIMIT_S
    )


@pytest.fixture
def cells(tmp_path: Path, solar_cells_wheel: Path) -> Path:
    """Return a folder of 30 cells, two unusable files and a 16-bit TIFF."""
    folder = tmp_path / "cells"
    paths = write_cells(select_cells(solar_cells_wheel, frames=30, seed=3), folder)
    (folder / "0005a_text.png").write_text("no image")
    (folder / "0006a_empty.png").write_bytes(b"")
    grey = cv2.imread(str(paths[6]), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    cv2.imwrite(str(folder / "0031_deep.tiff"), grey.astype(np.uint16) * 257)
    return folder


def arguments(cells: Path, out: Path, weights_file: Path) -> tuple[str, ...]:
    """Return a small fast run in three subsets."""
    size = ("--image-size", "112", "--subsets", "3")
    return ("score", str(cells), "--out", str(out), "--weights", str(weights_file), *size)


def test_killed_run_ends_with_the_same_scores(
    cells: Path, tmp_path: Path, weights_file: Path
) -> None:
    """31 scores and two named skips; killed after a subset and run again: the same CSV."""
    whole = run(*arguments(cells, tmp_path / "whole", weights_file), "--json")
    killed = subprocess.Popen(
        command(*arguments(cells, tmp_path / "killed", weights_file)), stdout=subprocess.DEVNULL
    )
    end = time.monotonic() + LIMIT_S
    while not list((tmp_path / "killed").rglob("subset-*.npz")):
        assert killed.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "no subset was finished"
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()

    resumed = run(*arguments(cells, tmp_path / "killed", weights_file), "--json")

    assert whole.returncode == resumed.returncode == 0, whole.stderr + resumed.stderr
    summary = json.loads(whole.stdout.splitlines()[-1])
    assert (summary["images"], summary["skipped"]) == (31, 2)
    for name in ("0005a_text.png", "0006a_empty.png"):
        assert f"skipped {name}" in whole.stdout
    assert "there from an earlier run" in resumed.stdout
    scores = [(tmp_path / out / "scores.csv").read_bytes() for out in ("whole", "killed")]
    assert scores[0] == scores[1]
    assert len(scores[0].splitlines()) == 1 + 31
    assert len(list((tmp_path / "whole" / "heatmaps").glob("*.png"))) == 31


def test_rescore_repeats_what_score_did(cells: Path, tmp_path: Path, weights_file: Path) -> None:
    """RsCIN alone on the raw scores of a run gives that run's rescored column."""
    run(*arguments(cells, tmp_path / "out", weights_file))

    done = run(
        "rescore",
        str(tmp_path / "out" / "scores.csv"),
        *("--images", str(cells), "--out", str(tmp_path / "again.csv")),
        *("--weights", str(weights_file), "--image-size", "112"),
    )

    assert done.returncode == 0, done.stderr
    columns = []
    for path in (tmp_path / "out" / "scores.csv", tmp_path / "again.csv"):
        with path.open() as file:
            columns.append([float(row["rescored"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(columns[0], columns[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["score", "GONE", "--out", "OUT"], 1, "GONE: no such folder"),
        (["score", "GONE", "--out", "OUT", "--plus"], 2, "--references"),
        (["rescore", "GONE.csv", "--images", "GONE", "--out", "OUT"], 1, "GONE.csv"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, given: list[str], code: int, words: str) -> None:
    """A wrong path or a missing option is named, without a traceback."""
    done = run(*(word.replace("OUT", str(tmp_path / "o")) for word in given))

    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
