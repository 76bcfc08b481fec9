"""One region's memory: its window of recent frames, RsCIN's scores, its judge and its guard.

The regions of a frame stand or fall together, so a frame is taken in two steps:
``score`` lets it into the window and says what the window thinks of it, and then
either ``keep`` makes it part of the memory or ``withdraw`` takes it out again.
A withdrawn frame leaves no trace: all later scores are as if it had never come.

Mutual scoring compares a frame with the voters of its window (METHOD: Li et
al., MuSc, ICLR 2024); RsCIN smooths its score over the last scored frames; the
judge sets the threshold from the scores before this one; the guard decides which
frames vote on later ones (``admission``); pins stay whatever comes: good images that
the window begins with, frames that a person names, or the window's own choice (``consensus``).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from musc.rscin import rescore
from musc.sliding import SlidingMuSc
from musc.worker_threads import alone
from pipeline.admission import AdmissionGuard
from pipeline.arrival import Arrival, unusual_from
from pipeline.consensus import ConsensusPins
from pipeline.inspection import StreamEvent
from pipeline.judge import make_judge
from pipeline.stream_window import StreamWindow
from pipeline.window_scores import WindowScores
from pipeline.worst_region import RegionScores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from musc.pair_memory import PairMemory
    from pipeline.config import Config
    from pipeline.inspection import PatchScores, Pinning
    from pipeline.lookalikes import Flags
    from pipeline.regions import Mask
    from pipeline.stream_window import FrameId


RELEASED_SHARE = 0.5
"""Of a window's voters: where a release brings in so many, scores of before were of another
window. Kept beside new ones that are lower they lift the threshold: five times in 24 parts,
where the light went down to a fifth."""
MAX_DISTANCE = 2.0
"""Between tokens of unit length, and so the highest score there is."""


class NotFiniteError(ValueError):
    """A score is no number; the message has it."""


class Calibration(NamedTuple):
    """What a judge has come to."""

    decides: bool
    """Whether it has a threshold."""
    supported: bool
    """Whether its history supports the tolerated rejects."""


class RegionStream:
    """The memory of one region under one recipe."""

    def __init__(
        self,
        config: Config,
        device: torch.device,
        image_size: int,
        regions: int,
        memory: PairMemory | None = None,
    ) -> None:
        """Start with an empty window.

        Args:
            config: The line's settings.
            device: Where tokens and pairs live.
            image_size: Side of the backbone's square, at which a map's maximum is taken.
            regions: How many regions decide about a part. It is rejected if any of them
                says so, and each may say so equally often: 1/regions of what is tolerated.
            memory: Pairs that were compared before, shared with other lines.
        """
        musc, judge, window = config.musc, config.judge, config.window
        self._pins = window.pins_frames
        self._device = device
        self._neighbours = tuple(musc.neighbours)
        self._rescores = judge.score == "rescored"
        sliding = SlidingMuSc(
            window.slots,
            tuple(musc.degrees),
            musc.keep_lowest,
            interpolate=True,
            locality=musc.locality_patches,
            channels=musc.channels,
            device=device,
            memory=memory,
        )
        self.window = StreamWindow(
            sliding, window.size_frames, window.apart, pins_vote=window.references == "vote"
        )
        share = judge.rejects_per_1000 / regions
        self._rejects_per_1000 = share
        self._judge_settings = judge.model_copy(update={"rejects_per_1000": share})
        self._judge = make_judge(self._judge_settings)
        self._told = self._calibration()
        self._looks = WindowScores(
            self.window,
            musc.keep_lowest,
            image_size,
            window.min_peers,
            guarded=window.admission == "guarded",
        )
        self.guard = AdmissionGuard(window, self.window, self._looks)
        self._consensus = ConsensusPins(window, self.window, self._looks)
        self._scored: deque[tuple[float, Tensor]] = deque(maxlen=window.size_frames)
        self._scores: tuple[RegionScores, Tensor, Calibration] | None = None
        self._anew = False
        """Whether the judge has to learn from the window before the next frame is judged."""

    def score(
        self, tokens: Tensor, image_feature: Tensor, ignored: Mask, frame: FrameId
    ) -> RegionScores | None:
        """Let a frame in and score it; None where there is nobody to compare it with.

        Whatever happens, :meth:`keep` or :meth:`withdraw` comes next.

        Args:
            tokens: The backbone's patch tokens [S, P, C] of the region.
            image_feature: Its image feature [D].
            ignored: (g, g), patches that score 0 and so cannot decide.
            frame: What it is called.

        Raises:
            NotFiniteError: The averaged tokens or the score are no numbers.
        """
        try:
            slot = self.window.push(tokens, image_feature, frame)
        except ValueError as error:
            # Finite tokens can still be too large to be averaged.
            raise NotFiniteError(str(error)) from error
        if not self.window.voters:
            return None
        with alone():
            return self._looked_at(slot, image_feature, ignored.ravel())

    def _looked_at(self, slot: int, image_feature: Tensor, ignored: Flags) -> RegionScores:
        """Score the newest frame by those held, and say what becomes of it."""
        if self._anew:
            self._learn_anew(ignored)
        threshold, warning = self._judge.threshold(), self._judge.warning()
        if threshold is not None and threshold > MAX_DISTANCE:
            threshold = warning = None  # nothing could fail
        look = self._looks.at(slot, ignored, unusual_from(threshold, warning))
        raw = look.score
        if not math.isfinite(raw):
            msg = f"the score is {raw}"
            raise NotFiniteError(msg)
        rescored = self._rescored(raw, image_feature)
        deciding = rescored if self._rescores else raw
        arrival = Arrival(look, deciding, threshold, warning)
        news = self.guard.consider(slot, arrival, ignored)
        news = self._consensus.consider(slot, arrival, ignored, news)
        calibration = self._calibration()
        if calibration != self._told:
            news = replace(news, events=(*news.events, self._calibrated()))
        scores = RegionScores(
            raw=raw,
            rescored=rescored,
            deciding=deciding,
            peers=look.voters,
            threshold=threshold,
            patches=_grid(look.patches),
            p_value=self._judge.p_value(deciding),
            stream=news,
        )
        self._scores = (scores, image_feature, calibration)
        return scores

    def keep(self) -> None:
        """Remember the frame that was scored last."""
        if self._scores is None:
            self.window.place("peer")  # the first of its window
            return
        scores, image_feature, self._told = self._scores
        self.guard.keep()
        self._consensus.keep()
        self._scored.append((scores.raw, image_feature))
        if scores.stream.counts:
            self._judge.learn(scores.deciding, scores.peers)
        self._scores = None

    def withdraw(self) -> None:
        """Forget the frame that was let in last, if any; it votes on none.

        It may have pushed out the window's oldest frame, but that one would have
        had to make room for the next frame in any case, before it could vote.
        """
        self.window.drop()
        self.guard.withdraw()
        self._consensus.withdraw()
        self._scores = None

    def begin_with(self, tokens: Tensor, image_feature: Tensor, frame: FrameId) -> None:
        """Pin a good image in a window that has had no frame; arguments as :meth:`score`.

        Raises:
            NotFiniteError: The averaged tokens are no numbers.
        """
        try:
            slot = self.window.push(tokens, image_feature, frame)
        except ValueError as error:
            raise NotFiniteError(str(error)) from error
        self.window[slot].refined = True  # it has no result that a second look could contradict
        self.window.place("pin")

    def release(self) -> list[str]:
        """Give the vote to what was kept apart; return the parts, as ``AdmissionGuard.release``.

        Where the window is another one by that, the judge begins anew, with what the voters
        score by each other.
        """
        before = {*self.window.peers}
        parts = self.guard.release()
        after = {*self.window.peers}
        self._anew |= len(after - before) >= max(1.0, RELEASED_SHARE * len(after))
        return parts

    def _learn_anew(self, ignored: Flags) -> None:
        """Let the judge know what the window's peers score by each other, and nothing else.

        Patches that have no say are those of the newest frame: the region's, on one belt.
        """
        self._anew = False
        self._judge = make_judge(self._judge_settings)
        self._scored.clear()
        peers = self.window.peers
        if len(peers) == 1 == len(self.window.voters):
            return  # nobody is there to look at it
        features = self.window.window.image_features(peers)
        for slot, feature in zip(peers, features, strict=True):
            look = self._looks.at(slot, ignored, None)
            deciding = self._rescored(look.score, feature) if self._rescores else look.score
            self._scored.append((look.score, feature))
            self._judge.learn(deciding, look.voters)

    def pin(self, boot: str, seq: int) -> Pinning:
        """Keep a held frame as a good one until it is let go."""
        slot = self.window.find(boot, seq)
        if slot is None:
            return "unknown_frame"
        if self.window[slot].place == "pin":
            return "done"
        if len(self.window.pins) >= self._pins:
            return "pins_full"
        self.window.move(slot, "pin")
        return "done"

    def unpin(self) -> int:
        """Let the pinned frames go; return how many."""
        pins = self.window.pins
        self.window.evict(pins)
        return len(pins)

    def state(self) -> dict[str, Any]:
        """Copy what a restart needs, between two frames; JSON but for tensors and numpy arrays.

        Raises:
            ValueError: A frame is neither kept nor withdrawn.
        """
        features = [feature for _, feature in self._scored]
        return {
            "window": self.window.state(),
            "looks": self._looks.state(),
            "guard": self.guard.saved(),
            "pins_chosen": self._consensus.done,
            "judge": self._judge.state(),
            "judge_anew": self._anew,
            "scores": [score for score, _ in self._scored],
            "image_features": torch.stack(features) if features else torch.zeros(0, 0),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on, from empty, as the stream that gave ``state``: all later scores are the same.

        Raises:
            ValueError: It is no state of a stream with these settings; the message says
                what is wrong, and this stream is of no use any more.
        """
        self.window.restore(state["window"])
        self._looks.restore(state["looks"])
        self.guard.restore(state["guard"])
        self._consensus.done = bool(state["pins_chosen"])
        self._judge.restore(state["judge"])
        self._anew = bool(state["judge_anew"])
        features = state["image_features"].to(self._device)
        pairs = zip(map(float, state["scores"]), features, strict=True)
        self._scored = deque(pairs, maxlen=self._scored.maxlen)
        self._told = self._calibration()

    def _calibration(self) -> Calibration:
        return Calibration(
            self._judge.threshold() is not None, self._judge.support().more_needed == 0
        )

    def _calibrated(self) -> StreamEvent:
        """Tell what the judge has come to."""
        support = self._judge.support()
        return StreamEvent(
            kind="calibration",
            detail={
                "method": support.method,
                "threshold": self._judge.threshold(),
                "rejects_per_1000": self._rejects_per_1000,
                "scores": support.scores,
                "more_needed": support.more_needed,
            },
        )

    def _rescored(self, raw: float, image_feature: Tensor) -> float:
        """Smooth a score over those before it."""
        size = self._scored.maxlen or 0
        latest = [*self._scored, (raw, image_feature)][-size:]
        scores = torch.tensor([value for value, _ in latest])
        image_features = torch.stack([feature for _, feature in latest]).to(scores)
        return float(rescore(scores, image_features, self._neighbours)[-1])


def _grid(patches: Tensor) -> PatchScores:
    side = math.isqrt(patches.numel())
    return patches.reshape(side, side).float().cpu().numpy()
