"""Several replays at once say what each says alone, and one that fails fails alone."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import tomli_w
from replay_lanes import KILLED, replay_without_weights
from replay_rig import SETTINGS, fake_scorer, replayed, write_parts

from pipeline.config_file import load_config
from pipeline.feature_files import FeatureCounts
from pipeline.lanes import Watch
from pipeline.replay_jobs import JobDone, ReplayJob, run_jobs
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)
"""Each process imports torch, which takes seconds, more on a busy machine."""

SIZES = {"a": 22, "b": 18, "c": 30}


class Seen:
    """Counts what a watch is told."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self.expected: list[int] = []
        self.ticks = 0
        self.watch = Watch(self.expected.append, self._tick)

    def _tick(self) -> None:
        self.ticks += 1


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config with a small window."""
    path = tmp_path / "config.toml"
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
    path.write_text(tomli_w.dumps({"camera": [camera], **SETTINGS}))
    return path


@pytest.fixture
def jobs(tmp_path: Path, config: Path) -> list[ReplayJob]:
    """Three folders of parts, each with a ledger to write."""
    return [
        ReplayJob(
            write_parts(tmp_path / name, size, (size - 1,)),
            ledger=tmp_path / "ledgers" / f"{name}.db",
            config=config,
        )
        for name, size in SIZES.items()
    ]


def by_name(done: list[JobDone]) -> dict[str, JobDone]:
    """Return what came of each source."""
    return {one.source.name: one for one in done}


@pytest.fixture
def alone(config: Path, jobs: list[ReplayJob], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The hash that each source has when it is replayed alone."""
    fake_scorer(monkeypatch)
    settings, folder = load_config(config), config.parent
    return {
        job.source.name: run_hash(replayed(job.source, folder / f"{job.source.name}.db", settings))
        for job in jobs
    }


def hashes(done: dict[str, JobDone]) -> dict[str, str]:
    """Return the hash of each source that was replayed."""
    return {name: one.report.hash for name, one in done.items() if one.report}


def test_one_after_the_other(jobs: list[ReplayJob], alone: dict[str, str]) -> None:
    """In this process each source has what it has alone, and all frames are told."""
    seen = Seen()

    done = by_name(list(run_jobs(jobs, 1, seen.watch, replay_without_weights)))

    assert hashes(done) == alone
    assert len(set(alone.values())) == len(SIZES)
    assert seen.expected == list(SIZES.values())
    assert seen.ticks == sum(SIZES.values())


def test_results_at_once_are_those_of_one_by_one(
    jobs: list[ReplayJob], alone: dict[str, str], tmp_path: Path
) -> None:
    """A source that fails, and one whose process is killed, are named; others are as alone."""
    (tmp_path / "empty").mkdir()
    empty = ReplayJob(tmp_path / "empty", ledger=tmp_path / "ledgers" / "empty.db")
    killed = ReplayJob(write_parts(tmp_path / KILLED, 3))
    seen = Seen()

    given = [empty, jobs[0], killed, *jobs[1:]]
    done = by_name(list(run_jobs(given, 2, seen.watch, replay_without_weights)))

    assert hashes(done) == alone
    assert {job.source.name: run_hash(job.ledger) for job in jobs if job.ledger} == alone
    assert {name for name, one in done.items() if one.error} == {"empty", KILLED}
    assert "has no image" in done["empty"].error
    assert done[KILLED].error == "its process ended with code -9"
    assert sorted(seen.expected) == sorted(SIZES.values())
    assert seen.ticks == sum(SIZES.values())
    assert len(list((tmp_path / "ledgers").glob("*.db"))) == len(SIZES)


def test_processes_share_a_folder_of_features(
    jobs: list[ReplayJob], alone: dict[str, str], tmp_path: Path
) -> None:
    """Two at once with the same frames say what they say alone; after them none is computed."""
    folder = tmp_path / "features"
    twin = shutil.copytree(jobs[2].source, tmp_path / "twin")
    given = [
        replace(jobs[2], ledger=None, features=folder, source=source)
        for source in (jobs[2].source, twin)
    ]

    cold, warm = (
        by_name(list(run_jobs(given, count, Seen().watch, replay_without_weights)))
        for count in (2, 1)
    )

    assert set(hashes(cold).values()) == set(hashes(warm).values()) == {alone["c"]}
    assert [one.features for one in warm.values()] == [FeatureCounts(SIZES["c"], 0)] * 2
    counts = [one.features for one in cold.values()]
    assert sum(one.computed + one.from_folder for one in counts if one) == 2 * SIZES["c"]
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".safetensors"}
    assert len(kept) == SIZES["c"]


def test_processes_end_with_whoever_started_them(jobs: list[ReplayJob]) -> None:
    """A caller that wants no more leaves no process, and no half ledger."""
    running = run_jobs(jobs, 2, Seen().watch, replay_without_weights)

    first = next(running)
    running.close()  # type: ignore[attr-defined] - it is a generator

    assert first.report is not None
    assert multiprocessing.active_children() == []
    assert [path for job in jobs if job.ledger for path in job.ledger.parent.glob("*.part*")] == []
