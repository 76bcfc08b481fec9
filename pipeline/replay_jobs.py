"""Several sources replayed at once, each with the results that it has alone.

A source that cannot be replayed, or whose process is killed, is a result of its own, and
the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edge.errors import LineError
from pipeline.config_file import load_config
from pipeline.feature_files import FeatureFiles
from pipeline.lanes import run_lanes
from pipeline.replay import Pace, new_inspector, open_source, run_replay
from pipeline.replay_ledger import new_ledger
from pipeline.replay_report import match_labels, report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pipeline.feature_files import FeatureCounts
    from pipeline.lanes import Watch, Work
    from pipeline.replay_report import RunReport


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """One source, and how it is replayed; see ``musc-edge replay``."""

    source: Path
    ledger: Path | None = None
    labels: Path | None = None
    config: Path | None = None
    force: bool = False
    late: bool | None = None
    speed: float | None = None
    features: Path | None = None

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"replay {self.source}"


@dataclass(frozen=True, slots=True)
class JobDone:
    """What came of a source: its numbers, or why there are none."""

    source: Path
    report: RunReport | None
    error: str = ""
    warnings: tuple[str, ...] = ()
    features: FeatureCounts | None = None


def run_job(job: ReplayJob, watch: Watch) -> JobDone:
    """Replay one source; what is wrong with it is in the answer."""
    files = FeatureFiles(job.features) if job.features is not None else None
    counts = files.counts if files is not None else None
    try:
        settings = load_config(job.config) if job.config is not None else None
        source = open_source(job.source, settings, late=job.late)
        known = match_labels(job.labels, source.names()) if job.labels is not None else {}
        watch.expect(len(source))
        with new_ledger(job.ledger, force=job.force) as path:
            inspector_of = partial(new_inspector, files=files)
            run_replay(source, path, Pace(job.speed), watch.tick, inspector_of)
            numbers = report(path, source.config.judge.score, known)
    except LineError as error:
        return JobDone(job.source, None, str(error), features=counts)
    return JobDone(job.source, numbers, warnings=tuple(source.warnings), features=counts)


def run_jobs(
    jobs: Sequence[ReplayJob],
    processes: int,
    watch: Watch,
    work: Work[ReplayJob, JobDone] = run_job,
) -> Iterator[JobDone]:
    """Yield what comes of each source, in the order in which they end.

    Args:
        jobs: One a source.
        processes: As ``run_lanes``.
        watch: Told how far they are.
        work: What replays a source.
    """
    return run_lanes(jobs, processes, watch, work, _lost)


def _lost(job: ReplayJob, how: str) -> JobDone:
    return JobDone(job.source, None, how)
