"""A headless browser that opens a page: what it becomes, what it complains of, how it looks."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

LIMIT_S = 100


def browse(chromium: str, page: Path) -> tuple[str, str, np.ndarray]:
    """Open a page; return what it has become, what the browser complained of, and a picture."""
    shot = page.with_suffix(".shot.png")
    said = []
    for action in (f"--screenshot={shot}", "--dump-dom"):
        done = subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr",
                "--virtual-time-budget=20000", "--window-size=1100,2400", action, page.as_uri(),
            ],
            capture_output=True, text=True, timeout=LIMIT_S, check=True,
        )  # fmt: skip
        said.append(done)
    complaints = [line for one in said for line in one.stderr.splitlines() if "CONSOLE" in line]
    return said[1].stdout, "\n".join(complaints), cv2.imread(str(shot))
