"""How much memory is free, so that a window or a set too large is refused at the start."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")


def free_bytes(device: torch.device, meminfo: Path = MEMINFO) -> int | None:
    """Return the free memory of a device; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if not meminfo.exists():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def restart_peak(device: torch.device, refs: Path = Path("/proc/self/clear_refs")) -> None:
    """Let ``peak_bytes`` count from now on, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif refs.exists():
        with contextlib.suppress(OSError):  # some containers do not let it be written
            refs.write_text("5")


def peak_bytes(device: torch.device, status: Path = Path("/proc/self/status")) -> int | None:
    """Return the most memory that this process has had at once; None where nothing tells.

    On a CPU all of the process counts, its libraries and weights too; on a GPU what
    torch has had there.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not status.exists():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024
