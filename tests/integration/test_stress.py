"""Streams of real cells, the real backbone: plain scoring sees one defect, not its copies."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.stress import Stress
from pipeline.stress_bench import StressPlan
from pipeline.stress_jobs import run_stress

SMALL = StressPlan(window=16, iid_good=40, iid_defective=12, bursts=(1, 8), defects=2, after=1)


@pytest.mark.weights
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("weights_file", "solar_cells_wheel")
def test_burst_of_cells_blinds_the_plain_line() -> None:
    """Two cracked cells are found alone; of eight copies in a row the last passes as normal."""
    stress = Stress(("iid", "burst"), 1, SMALL, memory_bytes=500_000_000)

    iid, alone, many = run_stress(Console(file=io.StringIO()), stress, 1)

    assert iid.summary()["plain"]["auroc"] > 0.75
    assert alone.summary()["plain"]["recall"] == 1.0
    assert many.summary()["plain"]["recall_last"] == 0.0
    assert many.summary()["plain"]["recall"] < 0.6
    assert not many.faults
    assert replace(stress, seeds=2).parts == 2 * stress.parts
