"""Images are another thread's work: nothing waits for them, and none is lost in silence."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from factories import announcement, inspection

from pipeline.config_geometry import GeometrySettings
from pipeline.evidence import EvidenceStore
from pipeline.evidence_worker import (
    QUEUE_LIMIT,
    SCREEN_SIDE_PX,
    STOPPED,
    EvidenceWorker,
    Stored,
)
from pipeline.heatmap import decode_8bit, encode_png
from pipeline.regions import grid_to_sensor, make_view

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 20.0
IMAGE = encode_png(np.full((32, 32), 90, np.uint8))


def collected(worker: EvidenceWorker, count: int) -> list[Stored]:
    """Wait for what came of a number of images."""
    done: list[Stored] = []
    end = time.monotonic() + LIMIT_S
    while len(done) < count:
        assert time.monotonic() < end, f"{len(done)} of {count} images"
        done += worker.collect()
    return done


def test_failed_frame_gets_image_and_overlay(tmp_path: Path) -> None:
    """A FAIL is stored with its heatmap, a PASS without."""
    grid = np.zeros((4, 4), np.float32)
    grid[1, 1] = 1.0
    affine = grid_to_sensor((4, 4), 32, 32)
    worker = EvidenceWorker(EvidenceStore(tmp_path, 1_000_000))

    for seq, verdict in ((1, "FAIL"), (2, "PASS")):
        seen = inspection(seq, verdict=verdict, patch_scores=grid, affine=affine, map_level=0.5)
        worker.put(announcement(seq).key, IMAGE, seen)
    failed, passed = collected(worker, 2)
    worker.close(1.0)

    assert failed.path is not None
    assert (tmp_path / failed.path).read_bytes() == IMAGE
    assert (tmp_path / failed.path).with_suffix(".heatmap.png").read_bytes() == failed.heatmap
    assert passed.path is not None
    assert passed.heatmap is None


def test_overlay_of_a_cropped_picture(tmp_path: Path) -> None:
    """The image begins where the frame did: the colour lies on it as on the sensor, less that."""
    grid = np.zeros((4, 4), np.float32)
    grid[1, 2] = 1.0
    affine = make_view(GeometrySettings(), (32, 32), (500, 70), 4).affine
    worker = EvidenceWorker(EvidenceStore(tmp_path, 1_000_000))
    seen = inspection(
        verdict="FAIL", patch_scores=grid, affine=affine, map_level=0.5, offset_px=(500, 70)
    )

    worker.put(announcement(1).key, IMAGE, seen)
    (stored,) = collected(worker, 1)
    worker.close(1.0)

    assert stored.heatmap is not None
    rows, columns = np.nonzero((decode_8bit(stored.heatmap, "") != 90).any(axis=2))
    assert rows.mean() == pytest.approx(1.5 * 8 - 0.5, abs=0.6)
    assert columns.mean() == pytest.approx(2.5 * 8 - 0.5, abs=0.6)


def test_screens_get_a_small_heatmap(tmp_path: Path) -> None:
    """The overlay of a large frame is whole on disk and small for the broker's connection."""
    grid = np.ones((4, 4), np.float32)
    image = encode_png(np.full((600, 900), 90, np.uint8))
    affine = grid_to_sensor((4, 4), 600, 900)
    worker = EvidenceWorker(EvidenceStore(tmp_path, 10_000_000))
    seen = inspection(verdict="FAIL", patch_scores=grid, affine=affine, map_level=0.5)

    worker.put(announcement(1).key, image, seen)
    (stored,) = collected(worker, 1)
    worker.close(1.0)

    assert stored.path is not None
    assert stored.heatmap is not None
    whole = (tmp_path / stored.path).with_suffix(".heatmap.png").read_bytes()
    assert decode_8bit(whole, "").shape[:2] == (600, 900)
    assert max(decode_8bit(stored.heatmap, "").shape[:2]) == SCREEN_SIDE_PX


def test_unusable_image_is_told(tmp_path: Path) -> None:
    """An image that cannot be decoded is lost with its reason, and the next is written."""
    grid = np.ones((4, 4), np.float32)
    affine = grid_to_sensor((4, 4), 32, 32)
    worker = EvidenceWorker(EvidenceStore(tmp_path, 1_000_000))
    seen = inspection(verdict="FAIL", patch_scores=grid, affine=affine, map_level=0.5)

    worker.put(announcement(1).key, b"rubbish", seen)
    worker.put(announcement(2).key, IMAGE, None)
    bad, good = collected(worker, 2)
    worker.close(1.0)

    assert bad.path is None
    assert "not an image" in bad.error
    assert good.path is not None


def test_full_queue_and_stop_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images beyond the queue, and those that the stop left over, are each told as lost."""
    store = EvidenceStore(tmp_path, 1_000_000)
    gate = threading.Event()
    write = store.write
    monkeypatch.setattr(store, "write", lambda *args: (gate.wait(LIMIT_S), write(*args))[1])
    worker = EvidenceWorker(store)

    for seq in range(1, QUEUE_LIMIT + 4):
        worker.put(announcement(seq).key, IMAGE, None)
    full = collected(worker, 2)
    worker.close(0.05)
    rest = worker.collect()
    gate.set()

    assert all("wait to be written" in one.error for one in full)
    assert {one.error for one in rest} == {STOPPED}
    assert len({one.key for one in full + rest}) == QUEUE_LIMIT + 3


def test_no_exception_ends_the_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image too large for the memory is lost by name; the next one is written."""
    store = EvidenceStore(tmp_path, 1_000_000)
    write = store.write
    calls: list[int] = []

    def once_too_large(*args: Any) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return write(*args)

    monkeypatch.setattr(store, "write", once_too_large)
    worker = EvidenceWorker(store)
    worker.put(announcement(1).key, IMAGE, None)
    worker.put(announcement(2).key, IMAGE, None)

    lost, written = collected(worker, 2)
    worker.close(1.0)

    assert "MemoryError" in lost.error
    assert written.path is not None
