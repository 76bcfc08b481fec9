"""The ledger of a replay: complete under its name, or not there at all.

It is written as ``NAME.part`` and renamed when the replay has come to its end. Whatever
ends it before, the file that was there stays, and no part is left.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.line_lock import gate_runs
from pipeline.replay_sources import ReplayError

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITTEN_AHEAD = ("-wal", "-shm")
"""What SQLite has beside a database; with another database it would be taken for its own."""


@contextmanager
def named_ledger(path: Path | None) -> Iterator[Path]:
    """Yield the ledger's name; where it has none, one that is thrown away after the block."""
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="musc-edge-replay-") as folder:
        yield Path(folder) / "ledger.db"


@contextmanager
def new_ledger(path: Path | None, *, force: bool) -> Iterator[Path]:
    """Yield where to write; the file has its name when the block has ended well.

    Args:
        path: The ledger; None for one that is thrown away.
        force: Replace one that is there.

    Raises:
        ReplayError: It is there, a gate writes it, or its folder cannot be written.
    """
    if path is None:
        with named_ledger(None) as thrown_away:
            yield thrown_away
        return
    check_target(path, force=force)
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)
        yield part
        _sync(part)
        for ending in WRITTEN_AHEAD:
            path.with_name(path.name + ending).unlink(missing_ok=True)
        part.replace(path)
        _sync(path.parent)
    except OSError as error:
        msg = f"ledger {path}: {error.strerror or error}"
        raise ReplayError(msg) from error
    finally:
        _remove(part)


def check_target(path: Path, *, force: bool) -> None:
    """Refuse a ledger that must not be replaced.

    Raises:
        ReplayError: It is there and ``force`` is not given, or a gate writes it.
    """
    if path.exists() and not force:
        msg = f"ledger {path} is there already; name another one, or give --force"
        raise ReplayError(msg)
    if gate_runs(path):
        msg = f"ledger {path} is the one of a line that runs; name another one"
        raise ReplayError(msg)


def _remove(path: Path) -> None:
    for ending in ("", *WRITTEN_AHEAD):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
