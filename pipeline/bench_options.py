"""Cheaper ways to score a window that are not exact: what is left out, under which name.

Each is a combination of three keys of ``[musc]``: fewer ``channels`` of a token, fewer
``degrees``, fewer ``stages``. The first of all is the exact one, which the others are
held to.

Fewer degrees or stages leave out groups of distances and change no other, so that one
window of all groups scores all options of as many channels (``OptionScores``). Its
twin is a window with the option's own settings (``OptionContestant``), which is also
what takes part in a race; tests hold one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from musc.msm import mean_of_lowest
from pipeline.bench_race import SeenFrame, SlidingContestant
from pipeline.config_method import MuscSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor

EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Option:
    """What is kept of a frame's tokens."""

    channels: int | None = None
    """Channels of a token; all if None."""
    degrees: tuple[int, ...] = (1, 3, 5)
    stages: tuple[int, ...] = ()
    """Blocks of the backbone; all that it gives if empty."""

    @property
    def name(self) -> str:
        """The keys of ``[musc]`` that differ from the exact way's, as the config has them."""
        exact = Option()
        said = [f"channels {self.channels}"] if self.channels else []
        said += [f"degrees {list(self.degrees)}"] if self.degrees != exact.degrees else []
        said += [f"stages {list(self.stages)}"] if self.stages else []
        return ", ".join(said) or EXACT


def cheaper_options(channels: int, stages: tuple[int, ...]) -> dict[str, Option]:
    """Return the options by name, the exact one first.

    Args:
        channels: C of the backbone's tokens; a half and a third of it are kept.
        stages: Its four blocks; the subsets leave out the last, and more.
    """
    half, third = channels // 2, channels // 3
    early, middle, late, _ = stages
    two = (early, late)
    options = (
        Option(),
        Option(half),
        Option(third),
        Option(degrees=(1, 3)),
        Option(stages=(early, middle, late)),
        Option(stages=two),
        Option(stages=(middle,)),
        Option(half, degrees=(1, 3)),
        Option(third, degrees=(1, 3)),
        Option(half, stages=two),
        Option(half, degrees=(1, 3), stages=two),
        Option(third, degrees=(1, 3), stages=two),
    )
    return {option.name: option for option in options}


class OptionContestant(SlidingContestant):
    """The line's sliding window with an option."""

    def __init__(
        self, option: Option, window: int, stages: tuple[int, ...], device: torch.device
    ) -> None:
        """Start with an empty window.

        Args:
            option: What is kept.
            window: Frames held.
            stages: Blocks whose tokens the frames have, in their order.
            device: Where the window lives.
        """
        keep_lowest = MuscSettings().keep_lowest
        super().__init__(
            window, option.degrees, keep_lowest, channels=option.channels, device=device
        )
        self._taken_stages = [stages.index(block) for block in option.stages]

    def take(self, frame: SeenFrame) -> None:
        """Compare what is kept of the frame with every frame held."""
        tokens = frame.tokens
        kept = tokens[self._taken_stages] if self._taken_stages else tokens
        super().take(frame._replace(tokens=kept))


class OptionScores:
    """Scores of the newest frame by all options; one window for each number of channels."""

    def __init__(
        self,
        options: Mapping[str, Option],
        window: int,
        stages: Sequence[int],
        device: torch.device,
    ) -> None:
        """Start with empty windows; arguments as ``OptionContestant``, for each option."""
        self._options = options
        self._stages = list(stages)
        self._degrees = sorted({r for option in options.values() for r in option.degrees})
        self._windows = {
            channels: OptionContestant(
                Option(channels, tuple(self._degrees)), window, tuple(stages), device
            )
            for channels in {option.channels for option in options.values()}
        }

    def take(self, frame: SeenFrame) -> None:
        """Compare the frame with every frame held, in every group."""
        for window in self._windows.values():
            window.take(frame)

    def scores(self) -> dict[str, Tensor]:
        """Return the patch scores [P] of the newest frame by each option, in main memory."""
        groups = {channels: self._groups(window) for channels, window in self._windows.items()}
        return {
            name: self._chosen(groups[option.channels], option)
            for name, option in self._options.items()
        }

    def _groups(self, window: OptionContestant) -> Tensor:
        """Scores of each group, [S, R, P]."""
        distances = window.squared_distances(-1).sqrt_()
        kept = mean_of_lowest(distances, MuscSettings().keep_lowest, interpolate=True)
        return kept.view(len(self._stages), len(self._degrees), -1).cpu()

    def _chosen(self, groups: Tensor, option: Option) -> Tensor:
        """Mean over the groups that an option keeps."""
        stages = [self._stages.index(block) for block in option.stages or self._stages]
        degrees = [self._degrees.index(r) for r in option.degrees]
        return groups[stages][:, degrees].mean(dim=(0, 1))
