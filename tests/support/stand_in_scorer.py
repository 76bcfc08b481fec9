"""A scorer without a network: the real loop around an inspector of fixed delay and verdicts.

Run as ``python -m stand_in_scorer inspect --config X --supervised`` it stands
for the scorer of a line in tests; it starts in a fraction of the time, for it
imports no torch. Environment: ``STAND_IN_DELAY_MS`` (10) a frame,
``STAND_IN_NAN_EVERY`` (0, never) the frames whose PASS has a score that is no
number, ``STAND_IN_LOG`` the file that gets a line for each frame.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from edge.clock import SystemClock
from edge.stopping import announce_ready, stage_stop_flag
from pipeline.cli_output import log_to_stderr
from pipeline.config_file import load_config
from pipeline.inspection import Inspection, Pinning
from pipeline.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.frame import Frame
    from edge.sockets import Context
    from pipeline.config import Config

MODEL = "0badcafe"
THRESHOLD = 0.5
GOOD_SCORE, BAD_SCORE = 0.2, 0.9
BRIGHT = 200.0
"""A frame whose mean is above this FAILs."""
WINDOW_N = 16


class StandInInspector:
    """Says PASS, FAIL or not yet, from nothing but the pixels and the number of a frame."""

    def __init__(
        self,
        config: Config,
        delay_s: float = 0.0,
        nan_every: int = 0,
        log: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        batch_frames: int = 1,
    ) -> None:
        """Begin with nothing seen; ``nan_every`` 0 means never."""
        self.batch_frames = batch_frames
        self.batches: list[int] = []
        self.prepared: list[list[int]] = []
        self._config = config
        self._delay_s = delay_s
        self._nan_every = nan_every
        self._log = log
        self._sleep = sleep
        self._recipe = config.line.recipe
        self._seen: Counter[str] = Counter()

    @property
    def recipe(self) -> str:
        """The recipe that frames are inspected under now."""
        return self._recipe

    def change_recipe(self, recipe: str) -> None:
        """Warm up again, under another recipe."""
        if recipe != self._recipe:
            self._recipe = recipe
            self._seen.clear()

    def reset(self, camera: str | None = None) -> None:
        """Warm up again, for one camera or for all."""
        for known in [camera] if camera is not None else list(self._seen):
            self._seen[known] = 0

    def pin(self, camera: str, boot: str, seq: int) -> Pinning:  # noqa: ARG002 - the protocol's
        """Hold no frames."""
        return "unknown_frame"

    def unpin(self, camera: str | None = None) -> int:  # noqa: ARG002 - the protocol's
        """Hold no frames."""
        return 0

    def release(self, camera: str | None = None) -> list[str]:  # noqa: ARG002 - the protocol's
        """Keep nothing apart."""
        return []

    def inspect(self, frame: Frame) -> Inspection:
        """Take the delay, note the verdict in the log, and only then return it."""
        self._sleep(self._delay_s)
        peers = self._seen[frame.key.camera]
        self._seen[frame.key.camera] += 1
        inspection = self._inspection(frame, peers)
        self._note(inspection)
        return inspection

    def inspect_batch(self, frames: Sequence[Frame]) -> list[Inspection]:
        """Inspect one after the other, and remember how many they were."""
        self.batches.append(len(frames))
        return [self.inspect(frame) for frame in frames]

    def prepare(self, frames: Sequence[Frame]) -> None:
        """Remember what would be made ready."""
        self.prepared.append([frame.key.seq for frame in frames])

    def _inspection(self, frame: Frame, peers: int) -> Inspection:
        ready = peers >= self._config.window.min_peers
        bad = float(frame.pixels.mean()) > BRIGHT
        known: dict[str, Any] = {"verdict": "NO_RESULT", "why": "warming", "state": "WARMING"}
        if ready:
            peers = max(WINDOW_N, self._config.window.min_peers)
            known = {"verdict": "FAIL" if bad else "PASS", "why": "score", "state": "READY"}
        score = BAD_SCORE if bad else GOOD_SCORE
        if not bad and self._nan_every and frame.key.seq % self._nan_every == 0:
            score = math.nan
        return Inspection(
            announcement=frame.announcement,
            score=score,
            rescored=score,
            threshold=THRESHOLD if ready else None,
            window_n=peers,
            window_size=self._config.window.size_frames,
            recipe=self._recipe,
            model=MODEL,
            compute_ms=1000 * self._delay_s,
            evidence=ready and self._config.evidence.keep == "all",
            **known,
        )

    def _note(self, inspection: Inspection) -> None:
        """Append ``camera,boot,seq,verdict``; a PASS that is none is noted as NAN."""
        if self._log is None:
            return
        key = inspection.announcement.key
        no_number = inspection.verdict == "PASS" and not math.isfinite(inspection.score or 0.0)
        verdict = "NAN" if no_number else inspection.verdict
        # One write in append mode: whole lines, also from two scorers and up to a kill.
        file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, f"{key.camera},{key.boot},{key.seq},{verdict}\n".encode())
        finally:
            os.close(file)


def main() -> None:
    """Run the scorer until it is told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=["inspect"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--supervised", action="store_true")
    given = parser.parse_args()
    config = load_config(given.config)
    log_to_stderr(config.log.level, "scoring")
    stop = stage_stop_flag(supervised=given.supervised)
    noted = os.environ.get("STAND_IN_LOG")
    inspector = StandInInspector(
        config,
        delay_s=float(os.environ.get("STAND_IN_DELAY_MS", "10")) / 1000,
        nan_every=int(os.environ.get("STAND_IN_NAN_EVERY", "0")),
        log=Path(noted) if noted else None,
    )
    context: Context = zmq.Context()
    loop = Scoring(config, inspector, MODEL, SystemClock(), context)
    announce_ready(supervised=given.supervised)
    try:
        loop.run(stop.is_set)
    finally:
        loop.close()
        context.term()


if __name__ == "__main__":
    main()
