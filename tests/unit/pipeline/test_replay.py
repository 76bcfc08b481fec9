"""A replay: the same source, the same results, in whatever portions it is inspected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from factories import config
from replay_rig import READY, SETTINGS, fake_scorer, replayed, rows, write_parts

from pipeline.replay import Pace, open_source, run_replay
from pipeline.replay_sources import FolderReplay
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.config import Config

PARTS, DEFECTS = 40, (20, 31)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty parts, two of them defective."""
    fake_scorer(monkeypatch)
    return write_parts(tmp_path / "images", PARTS, DEFECTS)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch have one thread, and give it back what it had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def settings(**musc: object) -> Config:
    """A line with a small window."""
    return config(**SETTINGS, musc=musc)


def test_results_are_a_line_s(images: Path, tmp_path: Path) -> None:
    """Each image has one row and one part; the window warms up, and defects FAIL."""
    ledger = replayed(images, tmp_path / "out.db", settings())

    found = rows(ledger)
    assert [row["seq"] for row in found] == list(range(1, PARTS + 1))
    assert {row["reason"] for row in found[:READY]} == {"warming"}
    assert [row["seq"] for row in found if row["verdict"] == "FAIL"] == list(DEFECTS)
    assert {row["latency_ms"] for row in found} == {0}
    parts = rows(ledger, "parts")
    assert [part["part_id"] for part in parts] == [row["part_id"] for row in found]
    assert [part["verdict"] for part in parts] == [row["verdict"] for row in found]
    assert len(rows(ledger, "heatmaps")) == sum(row["score"] is not None for row in found)


def test_same_images_same_ledger(images: Path, tmp_path: Path) -> None:
    """Two replays write the same rows into each table, times included."""
    one = replayed(images, tmp_path / "one.db", settings())
    other = replayed(images, tmp_path / "other.db", settings())

    for table in ("verdicts", "parts", "heatmaps", "events", "alarms"):
        assert rows(one, table) == rows(other, table), table
    assert run_hash(one) == run_hash(other)


@pytest.mark.parametrize("batch_frames", [2, 7, 64])
def test_batches_change_nothing(images: Path, tmp_path: Path, batch_frames: int) -> None:
    """However many frames are inspected at once, the results are the same."""
    alone = replayed(images, tmp_path / "one.db", settings())
    batched = replayed(images, tmp_path / "other.db", settings(batch_frames=batch_frames))

    assert run_hash(batched) == run_hash(alone)


def test_threads_change_nothing(
    images: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With one thread the results are those of many."""
    many = replayed(images, tmp_path / "one.db", settings())
    request.getfixturevalue("one_thread")

    assert run_hash(replayed(images, tmp_path / "other.db", settings())) == run_hash(many)


def test_unusable_image_has_its_result(images: Path, tmp_path: Path) -> None:
    """A file that is no image is NO_RESULT `corrupt` under its part, and the others go on."""
    (images / "3.png").write_bytes(b"no image")

    found = rows(replayed(images, tmp_path / "out.db", settings()))

    assert len(found) == PARTS
    assert (found[2]["verdict"], found[2]["reason"], found[2]["part_id"]) == (
        "NO_RESULT",
        "corrupt",
        "3",
    )


def test_alarms_follow_the_frames_own_clock(images: Path, tmp_path: Path) -> None:
    """An alarm on rejects rises at the frame that fails."""
    alarm = {"name": "rejects", "kind": "n_of_m", "count": 1, "of_parts": 5}

    ledger = replayed(images, tmp_path / "out.db", config(**SETTINGS, alarm=[alarm]))

    steps = rows(ledger, "alarms")
    failed = next(row for row in rows(ledger) if row["verdict"] == "FAIL")
    assert steps[0]["after"] == "ACTIVE_UNACK"
    assert steps[0]["time"] == failed["captured_at"]


def test_pace_holds_frames_until_they_are_due(images: Path) -> None:
    """At twice the speed a frame a second is due every half second; a late one does not wait."""
    now, slept = 100.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(round(seconds, 6))
        now += seconds

    steps = Pace(2.0, lambda: now, sleep).hold(FolderReplay(images, None).steps())
    next(steps)
    next(steps)
    now += 1.2
    next(steps)
    next(steps)
    next(steps)

    assert slept == [0.5, 0.3]


def test_ledger_says_that_it_is_a_replay(images: Path, tmp_path: Path) -> None:
    """Its first event has the name of what was replayed, and how many frames."""
    first = rows(replayed(images, tmp_path / "out.db", settings()), "events")[0]

    assert first["kind"] == "replay"
    assert first["detail"] == '{"of": "images", "frames": 40}'


def test_each_frame_is_counted(images: Path, tmp_path: Path) -> None:
    """The tick comes once a frame."""
    ticks: list[None] = []

    run_replay(
        open_source(images, settings()), tmp_path / "out.db", tick=lambda: ticks.append(None)
    )

    assert len(ticks) == PARTS
