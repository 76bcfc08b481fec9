"""Writers of all habits at once: every picture is read once, and whole."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from picture_writers import Writers, number_of

from edge.sources.hot_folder import DONE, HotFolderSource

if TYPE_CHECKING:
    from pathlib import Path

    from edge.sources import Capture

PICTURES = 500
LIMIT_S = 60.0


@pytest.mark.parametrize("after", ["move", "delete", "keep"])
def test_five_hundred_slow_files(tmp_path: Path, after: str) -> None:
    """500 files, written in pieces in six ways, are each read once with the right pixels."""
    source = HotFolderSource(tmp_path, after=after)  # type: ignore[arg-type] - one of three
    writers = Writers(tmp_path, range(PICTURES))
    captures: list[Capture] = []
    end = time.monotonic() + LIMIT_S

    while not (writers.are_done and len(captures) >= PICTURES) and time.monotonic() < end:
        source.let_go(1)
        capture = source.read()
        if capture is None:
            time.sleep(0.001)
        else:
            captures.append(capture)
    writers.stop()
    left = source.read()
    source.let_go(1)
    source.close()

    assert left is None
    assert [capture.fault for capture in captures if capture.fault] == []
    read = Counter(number_of(capture.pixels) for capture in captures if capture.pixels is not None)
    assert read == Counter(range(PICTURES))
    there = {"move": 0, "delete": 0, "keep": PICTURES}[after]
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == there
    assert len(list((tmp_path / DONE).glob("*"))) == (PICTURES if after == "move" else 0)
