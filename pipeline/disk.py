"""How much room there is on the disks that a line writes to."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def free_disk_bytes(*folders: Path) -> int | None:
    """Return the free space of the fullest disk; None where a folder is gone."""
    try:
        return min(shutil.disk_usage(folder).free for folder in folders)
    except OSError:
        return None
