"""Ways to score the newest frame of a window, as contestants of a race.

Every contestant holds the same frames and is given the same next one; the rounds
are ``pipeline.bench_rounds``.

A further way to score is a class with ``take``, ``score`` and ``refine``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from musc.sliding import SlidingMuSc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

PRODUCT_SIDE_CPU = 1024
PRODUCT_SIDE_GPU = 4096
"""Sides of the square matrices whose product shows what the machine can do at most."""


class SeenFrame(NamedTuple):
    """What the backbone made of one frame."""

    tokens: Tensor
    """Patch tokens [S, P, C]."""
    image_feature: Tensor
    """[D], of unit length."""
    label: int
    """0 for good, 1 for defective."""


class Contestant(Protocol):
    """One way to score the newest frame of a window."""

    def take(self, frame: SeenFrame) -> None:
        """Let a frame into the window; the oldest goes where it is full."""

    def score(self) -> Tensor:
        """Return the patch scores [P] of the newest frame, in main memory."""

    def refine(self) -> object:
        """Score an older frame anew, now that later frames are there."""


class SlidingContestant:
    """The sliding window as the line runs it; one push costs one row and one column."""

    def __init__(
        self,
        window: int,
        degrees: Sequence[int],
        keep_lowest: float,
        *,
        locality: int | None = None,
        channels: int | None = None,
        device: torch.device,
    ) -> None:
        """Start with an empty window; arguments as ``SlidingMuSc``."""
        self._window = SlidingMuSc(
            window,
            degrees,
            keep_lowest,
            interpolate=True,
            locality=locality,
            channels=channels,
            device=device,
        )
        self._newest = 0

    def take(self, frame: SeenFrame) -> None:
        """Compare the frame with every frame held, both ways."""
        self._newest = self._window.push(frame.tokens, frame.image_feature)

    def score(self) -> Tensor:
        """Read the newest frame's scores off the pairs.

        Raises:
            SlotError: No other frame is there.
        """
        return self._window.patch_scores(self._newest).cpu()

    def refine(self) -> Tensor:
        """Score the frame in the middle of the window anew."""
        slots = self._window.slots
        return self._window.patch_scores(slots[len(slots) // 2]).cpu()

    @property
    def held_bytes(self) -> int:
        """Memory of the window's tensors."""
        return self._window.held_bytes

    def squared_distances(self, age: int) -> Tensor:
        """[n, G, P] of one frame, counted from the oldest, to all others, oldest first."""
        return self._window.squared_distances(self._window.slots[age])


def start_contestants(
    contestants: Mapping[str, Contestant], frames: Sequence[SeenFrame], window: int
) -> dict[str, Callable[[int], object]]:
    """Fill every window, and return what each contestant does in a round.

    Args:
        contestants: By name, with empty windows.
        frames: The first ``window`` fill the windows, the others come one a round.
        window: Frames that a window holds.
    """
    for contestant in contestants.values():
        for frame in frames[:window]:
            contestant.take(frame)

    def runner(contestant: Contestant) -> Callable[[int], object]:
        def run(number: int) -> object:
            contestant.take(frames[window + number])
            contestant.score()
            return contestant.refine()

        return run

    return {name: runner(contestant) for name, contestant in contestants.items()}


def square_product(device: torch.device) -> Callable[[int], object]:
    """Return the multiplication of two square float32 matrices, to run once a round."""
    side = _product_side(device)
    matrix = torch.rand(side, side, device=device)
    # One number is read back: a GPU has finished only then.
    return lambda _number: float((matrix @ matrix)[0, 0])


def square_product_flop(device: torch.device) -> int:
    """Floating-point operations of ``square_product``."""
    return int(2 * _product_side(device) ** 3)


def _product_side(device: torch.device) -> int:
    return PRODUCT_SIDE_CPU if device.type == "cpu" else PRODUCT_SIDE_GPU
