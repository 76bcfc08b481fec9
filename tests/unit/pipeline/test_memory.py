"""Peak memory: read where the system tells it, counted anew where it lets itself be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pipeline.memory import peak_bytes, restart_peak

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def test_peak_is_the_high_water_mark(tmp_path: Path) -> None:
    """VmHWM in kB; None on a system without it."""
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  99 kB\nVmHWM:\t    12 kB\n")

    assert peak_bytes(CPU, status) == 12 * 1024
    assert peak_bytes(CPU, tmp_path / "gone") is None


def test_a_peak_that_cannot_be_reset_is_left(tmp_path: Path) -> None:
    """5 resets it; a file that cannot be written, or is not there, is no fault."""
    refs = tmp_path / "clear_refs"
    refs.write_text("")

    restart_peak(CPU, refs)
    restart_peak(CPU, tmp_path)
    restart_peak(CPU, tmp_path / "gone")

    assert refs.read_text() == "5"
