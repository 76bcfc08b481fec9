"""Images stay within their byte budget, the oldest go first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.frame import FrameKey
from pipeline.evidence import EvidenceError, EvidenceStore

if TYPE_CHECKING:
    from pathlib import Path


def key(seq: int) -> FrameKey:
    """Return the key of a frame."""
    return FrameKey("c1", "0123456789abcdef", seq)


def test_image_and_overlay_lie_side_by_side(tmp_path: Path) -> None:
    """The path is camera/boot/seq, below the root."""
    store = EvidenceStore(tmp_path, 1000)

    relative = store.write(key(7), b"image", b"heat")

    assert relative == "c1/0123456789abcdef/7.png"
    assert (tmp_path / relative).read_bytes() == b"image"
    assert (tmp_path / relative).with_suffix(".heatmap.png").read_bytes() == b"heat"


def test_oldest_go_first(tmp_path: Path) -> None:
    """Beyond the budget the earliest files are deleted, and no others."""
    store = EvidenceStore(tmp_path, 250)

    for seq in range(1, 6):
        store.write(key(seq), b"x" * 100, None)

    assert sorted(path.stem for path in tmp_path.rglob("*.png")) == ["4", "5"]


def test_files_of_an_earlier_run_count(tmp_path: Path) -> None:
    """A restart forgets nothing about the budget."""
    EvidenceStore(tmp_path, 250).write(key(1), b"x" * 200, None)

    EvidenceStore(tmp_path, 250).write(key(2), b"x" * 100, None)

    assert [path.stem for path in tmp_path.rglob("*.png")] == ["2"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    """A path that is a file is refused with its name."""
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(EvidenceError, match="file"):
        EvidenceStore(blocked / "evidence", 100)
