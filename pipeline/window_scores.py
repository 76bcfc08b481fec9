"""A look at a frame of a window: its patch scores, and who must not count for them.

Plain mutual scoring asks all voters. Guarded, it leaves out frames that this one is a
copy of, and those that share an unusual spot with it (``lookalikes``). Where frames are
pinned, they vote too, whatever they show (few-shot MuSc), or else no patch scores less than
they allow: MuSc+ as a floor under the window's score.
References score on a scale of their own; the ratio of both medians on the normal frames
of late, a slow change of light included, brings the floor to the window's.

Source: Li et al., MuSc, ICLR 2024, section 3.2 and appendix A.6.1, A.6.2.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from musc.anomaly_map import frame_scores
from pipeline.lookalikes import copies, look_alikes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor

    from pipeline.lookalikes import Distances, Flags
    from pipeline.stream_window import StreamWindow

LATEST = 64
"""Normal frames that tell what is usual."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the voters of now say of a frame."""

    patches: Tensor
    """Patch scores [P], on the window's device."""
    score: float
    """The largest value of their map at the backbone's size."""
    voters: int
    """Frames that counted."""
    twins: tuple[int, ...] = ()
    """Slots of the peers that it is a copy of."""
    alike: tuple[int, ...] = ()
    """Slots of peers that were left out because they share its unusual spot."""
    ratio: float | None = None
    """Median of the window's patch scores over that of the pinned frames."""
    usual: float = 0.0
    """Median patch score with all voters, copies too."""

    def spot(self, limit: float) -> Flags:
        """Return the unusual patches [P], the highest in any case."""
        patches = self.patches.cpu().numpy()
        return np.asarray(patches >= min(limit, patches.max()))

    def share(self, limit: float) -> float:
        """Return the share of unusual patches."""
        return float(self.spot(limit).mean())


class WindowScores:
    """Looks at the frames of one window."""

    def __init__(
        self,
        window: StreamWindow,
        keep_lowest: float,
        image_size: int,
        min_peers: int,
        *,
        guarded: bool,
    ) -> None:
        """Look at ``window``; plain mutual scoring unless ``guarded``.

        Args:
            window: Where the frames are.
            keep_lowest: As the window's.
            image_size: Side of the backbone's square, at which a map's maximum is taken.
            min_peers: With fewer nobody knows what is usual, and no frame is a copy.
            guarded: Whether copies and look-alikes are left out.
        """
        self._window = window
        self._keep_lowest = keep_lowest
        self._image_size = image_size
        self._min_peers = min_peers
        self._guarded = guarded
        self._ratios: deque[float] = deque(maxlen=LATEST)
        self._medians: deque[float] = deque(maxlen=LATEST)

    def at(
        self,
        slot: int,
        ignored: Flags,
        limit: float | None,
        known_alike: Collection[int] = (),
        *,
        at_first: bool = False,
    ) -> Look:
        """Look at a frame; which peers are left out stays so until it is looked at again.

        Args:
            slot: A held frame; there must be another that votes.
            ignored: [P], patches that score 0 and have no say.
            limit: Patch score from which a frame is unusual; None while there is none.
            known_alike: Slots of frames that are look-alikes by what another one has shown.
            at_first: Whether the frame is one of the window's first.
        """
        sliding = self._window.window
        sliding.mask_pairs(slot, ())
        # Peers may be left out. Pins that vote are good by decree, and so is what they show.
        peers = [other for other in self._window.peers if other != slot]
        known = {slot, *peers}
        voters = [*peers, *(other for other in self._window.voters if other not in known)]
        of_groups = sliding.squared_distances_to(slot, voters).sqrt_()
        patches = sliding.scores_of(of_groups)
        usual = float(patches.median())
        copied: set[int] = set()
        alike: set[int] = set()
        if self._guarded:
            distances = _mean_of_groups(of_groups[: len(peers)])
            seen = ~ignored
            if len(peers) >= self._min_peers:
                flags = copies(distances[:, seen], float(np.median(self._medians or [usual])))
                copied = {other for other, one in zip(peers, flags, strict=True) if one}
            if limit is not None:
                others = [k for k, other in enumerate(peers) if other not in copied]
                flags = look_alikes(
                    np.where(seen, distances[others], 0.0),
                    limit,
                    self._keep_lowest,
                    at_first=at_first,
                )
                alike = {peers[k] for k, one in zip(others, flags, strict=True) if one}
            alike |= {other for other in peers if other in known_alike}
            alike = {other for other in alike if not self._window[other].released}
            if 0 < len(left_out := copied | alike) < len(voters):
                sliding.mask_pairs(slot, left_out)
                counting = [k for k, other in enumerate(voters) if other not in left_out]
                patches = sliding.scores_of(of_groups[counting])
        patches, ratio = self._floored(slot, patches)
        patches[torch.from_numpy(ignored).to(patches.device)] = 0
        return Look(
            patches,
            float(frame_scores(patches[None], self._image_size)[0]),
            len(voters) - len(sliding.masked_pairs(slot)),
            tuple(sorted(copied)),
            tuple(sorted(alike)),
            ratio,
            usual,
        )

    def distances(self, slot: int, others: Sequence[int]) -> Distances:
        """Return [n, P] of a frame's patches to other held frames, mean over the groups."""
        return _mean_of_groups(self._window.window.squared_distances_to(slot, others).sqrt_())

    def forget(self) -> None:
        """Forget what is usual: the window has others in it now."""
        self._medians.clear()
        self._ratios.clear()

    def learn(self, look: Look) -> None:
        """Take note of what is usual by a normal frame or a copy of one.

        Copies too: where parts are so alike that all seem copies, they are the usual.
        """
        self._medians.append(look.usual)
        if look.ratio is not None:
            self._ratios.append(look.ratio)

    def state(self) -> dict[str, Any]:
        """Return what is usual, for a restart."""
        return {"medians": list(self._medians), "ratios": list(self._ratios)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Know what is usual as whoever gave ``state`` did.

        Raises:
            ValueError: There are no numbers.
        """
        self._medians = deque(map(float, state["medians"]), maxlen=LATEST)
        self._ratios = deque(map(float, state["ratios"]), maxlen=LATEST)

    def _floored(self, slot: int, patches: Tensor) -> tuple[Tensor, float | None]:
        """Lift patch scores to what pins that do not vote allow; and the ratio of both."""
        pins = sorted({*self._window.pins} - {slot, *self._window.voters})
        if not pins:
            return patches, None
        squared = self._window.window.squared_distances_to(slot, pins)
        floor = squared.sqrt_().amin(dim=0).mean(dim=0)
        ratio = float(patches.median() / floor.median().clamp_min(1e-6))
        if self._ratios:
            patches = torch.maximum(patches, floor * float(np.median(self._ratios)))
        return patches, ratio


def _mean_of_groups(distances: Tensor) -> Distances:
    """Return [n, P] of distances [n, G, P]."""
    return np.asarray(distances.mean(dim=1).float().cpu().numpy())
