"""One region's memory: its window of recent frames, RsCIN's scores, and its judge.

The regions of a frame stand or fall together, so a frame is taken in two steps:
``score`` lets it into the window and says what the window thinks of it, and then
either ``keep`` makes it part of the memory or ``withdraw`` takes it out again.
A withdrawn frame leaves no trace: all later scores are as if it had never come.

Mutual scoring compares a frame with the voters of its window (METHOD: Li et
al., MuSc, ICLR 2024); RsCIN smooths its score over the last scored frames; the
judge sets the threshold from the scores before this one.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import torch

from musc.anomaly_map import frame_scores
from musc.rscin import rescore
from musc.sliding import SlidingMuSc
from pipeline.judge import make_judge
from pipeline.worst_region import RegionScores

if TYPE_CHECKING:
    from torch import Tensor

    from musc.pair_memory import PairMemory
    from pipeline.config import Config
    from pipeline.inspection import PatchScores
    from pipeline.regions import Mask


class NotFiniteError(ValueError):
    """A score is no number; the message has it."""


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
        musc, judge = config.musc, config.judge
        self._size = config.window.size_frames
        self._neighbours = tuple(musc.neighbours)
        self._rescores = judge.score == "rescored"
        self._image_size = image_size
        self._window = SlidingMuSc(
            self._size,
            tuple(musc.degrees),
            musc.keep_lowest,
            interpolate=True,
            locality=musc.locality_patches,
            channels=musc.channels,
            device=device,
            memory=memory,
        )
        share = judge.rejects_per_1000 / regions
        self._judge = make_judge(judge.model_copy(update={"rejects_per_1000": share}))
        self._scored: deque[tuple[float, Tensor]] = deque(maxlen=self._size)
        self._newest: int | None = None
        self._scores: tuple[RegionScores, Tensor] | None = None

    def score(self, tokens: Tensor, image_feature: Tensor, ignored: Mask) -> RegionScores | None:
        """Let a frame in and score it; None where there is nobody to compare it with.

        Whatever happens, :meth:`keep` or :meth:`withdraw` comes next.

        Args:
            tokens: The backbone's patch tokens [S, P, C] of the region.
            image_feature: Its image feature [D].
            ignored: (g, g), patches that score 0 and so cannot decide.

        Raises:
            NotFiniteError: The averaged tokens or the score are no numbers.
        """
        try:
            self._newest = self._window.push(tokens, image_feature)
        except ValueError as error:
            # Finite tokens can still be too large to be averaged.
            raise NotFiniteError(str(error)) from error
        peers = len(self._window.voters) - 1
        if peers == 0:
            return None
        patches = self._window.patch_scores(self._newest)
        patches[torch.from_numpy(ignored).flatten().to(patches.device)] = 0
        raw = float(frame_scores(patches[None], self._image_size)[0])
        if not math.isfinite(raw):
            msg = f"the score is {raw}"
            raise NotFiniteError(msg)
        rescored = self._rescored(raw, image_feature)
        deciding = rescored if self._rescores else raw
        grid = _grid(patches)
        scores = RegionScores(raw, rescored, deciding, peers, self._judge.threshold(), grid)
        self._scores = (scores, image_feature)
        return scores

    def keep(self) -> None:
        """Remember the frame that was scored last."""
        if self._scores is not None:
            scores, image_feature = self._scores
            self._scored.append((scores.raw, image_feature))
            self._judge.learn(scores.deciding, scores.peers)
        self._newest = self._scores = None

    def withdraw(self) -> None:
        """Forget the frame that was let in last, if any; it votes on none.

        It may have pushed out the window's oldest frame, but that one would have
        had to make room for the next frame in any case, before it could vote.
        """
        if self._newest is not None:
            self._window.evict(self._newest)
        self._newest = self._scores = None

    def _rescored(self, raw: float, image_feature: Tensor) -> float:
        """Smooth a score over those before it."""
        latest = [*self._scored, (raw, image_feature)][-self._size :]
        scores = torch.tensor([value for value, _ in latest])
        image_features = torch.stack([feature for _, feature in latest]).to(scores)
        return float(rescore(scores, image_features, self._neighbours)[-1])


def _grid(patches: Tensor) -> PatchScores:
    side = math.isqrt(patches.numel())
    return patches.reshape(side, side).float().cpu().numpy()
