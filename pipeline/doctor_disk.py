"""Checks of folders and disks: state, counters, evidence, free space."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from typing import TYPE_CHECKING

from edge.counter import CounterError, read_count
from pipeline.config_alarm import DiskLowAlarm
from pipeline.doctor import Check, Finding, fail, ok, skipped, warn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.config import Config

GB, MB = 1_000_000_000, 1_000_000
SCAN_S = 20.0
"""For the sizes of the evidence: 100,000 files take about a second on a local disk."""
STATE, COUNTERS, FREE, EVIDENCE, BUDGET = (
    "state.folder", "state.counters", "disk.free", "evidence.folder", "evidence.budget",
)  # fmt: skip


def disk_checks(config: Config) -> list[Check]:
    """Return the checks of everything that the line writes beside the ledger."""
    return [
        Check(STATE, lambda: _folder(STATE, config.line.state_path, "line.state_path")),
        Check(COUNTERS, lambda: _counters(config)),
        Check(FREE, lambda: _free(config)),
        Check(EVIDENCE, lambda: _evidence(config)),
        Check(BUDGET, lambda: _budget(config), limit_s=SCAN_S, needs=(EVIDENCE,)),
    ]


def unwritable(folder: Path) -> str:
    """Return why nobody could write into a folder, or make it; empty where this can be done.

    The file that is tried has no name on Linux, so that nobody sees it.
    """
    there = nearest(folder)
    if not there.is_dir():
        return f"{there} is no folder"
    try:
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError as error:
        return f"{there}: {error.strerror}"


def nearest(path: Path) -> Path:
    """Return the path, or the nearest above it that exists."""
    while path != path.parent:
        # Where a folder above it may not be entered, that folder is the answer.
        with contextlib.suppress(PermissionError):
            if path.exists():
                break
        path = path.parent
    return path


def free_on(path: Path) -> int:
    """Return the free bytes of the disk that a path is on, or will be."""
    return shutil.disk_usage(nearest(path)).free


def size(count: float) -> str:
    """Return a number of bytes as a person reads it."""
    return f"{count / GB:.2f} GB" if count >= GB else f"{count / MB:.1f} MB"


def _folder(check: str, folder: Path, key: str) -> Iterator[Finding]:
    why = unwritable(folder)
    if why:
        remedy = f"Make {folder} writable for this user, or give another folder in {key}."
        yield fail(check, str(folder), why, remedy)
        return
    yield ok(check, str(folder), "" if folder.exists() else "will be made")


def _counters(config: Config) -> Iterator[Finding]:
    counts = []
    for camera in config.camera:
        try:
            counts.append(f"{camera.id} {read_count(config.counter_path(camera.id))}")
        except CounterError as error:
            yield fail(
                COUNTERS, "", str(error),
                "Write into it the highest seq that `musc-edge verdicts` shows for this camera.",
            )  # fmt: skip
            return
    yield ok(COUNTERS, f"frames so far: {', '.join(counts)}")


def _free(config: Config) -> Iterator[Finding]:
    """Hold the disks to the alarm that would ring, or to its default where there is none."""
    alarms = [alarm for alarm in config.alarm if isinstance(alarm, DiskLowAlarm)]
    default = DiskLowAlarm(name="disk_low", kind="disk_low")
    limit = max(alarm.min_free_bytes for alarm in alarms or [default])
    paths = {"ledger.path": config.ledger.path, "evidence.path": config.evidence.path}
    frees = {key: free_on(path) for key, path in paths.items()}
    least = min(frees, key=lambda key: frees[key])
    figure = f"{size(frees[least])} free, limit {size(limit)}"
    if frees[least] < limit:
        yield fail(
            FREE, figure, f"the disk of {paths[least]} is nearly full",
            f"Free space there, or give {least} on a larger disk.",
        )  # fmt: skip
        return
    yield ok(FREE, figure)


def _evidence(config: Config) -> Iterator[Finding]:
    if config.evidence.keep == "none":
        yield skipped(EVIDENCE, "evidence.keep is 'none'")
        return
    yield from _folder(EVIDENCE, config.evidence.path, "evidence.path")


def _budget(config: Config) -> Iterator[Finding]:
    """Hold what the evidence may still grow by to what is free beside the alarm's limit."""
    evidence = config.evidence
    used = sum(_bytes_of(file) for file in evidence.path.rglob("*.png"))
    free = free_on(evidence.path)
    growth = max(0, evidence.max_bytes - used)
    figure = f"may grow by {size(growth)}, {size(free)} free"
    if growth > free:
        yield fail(
            BUDGET, figure,
            f"evidence.max_bytes is {size(evidence.max_bytes)}, {size(used)} are used",
            f"Set evidence.max_bytes to at most {used + int(0.8 * free):_}, or free space.",
        )  # fmt: skip
        return
    if growth > 0.8 * free:
        yield warn(
            BUDGET, figure, "little is left for the ledger then",
            f"Set evidence.max_bytes to at most {used + int(0.8 * free):_}.",
        )  # fmt: skip
        return
    yield ok(BUDGET, figure)


def _bytes_of(file: Path) -> int:
    """Return the size of a file; a running line may just have deleted it."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
