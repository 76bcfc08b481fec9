"""What lanes of replays do in tests: found by its name in their processes."""

from __future__ import annotations

import os
import signal

import pytest
from replay_rig import fake_scorer

from pipeline.lanes import Watch
from pipeline.replay_jobs import JobDone, ReplayJob, run_job

KILLED = "killed"


def replay_without_weights(job: ReplayJob, watch: Watch) -> JobDone:
    """Replay with tokens that are the pixels; a source of a certain name ends the process."""
    if job.source.name == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.MonkeyPatch.context() as patch:
        fake_scorer(patch)
        return run_job(job, watch)
