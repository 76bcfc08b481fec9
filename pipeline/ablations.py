"""The rows of the papers' tables: one setting of the method each, varied one at a time.

Source: Li et al., MuSc, ICLR 2024; the tables and figures are named with each ablation.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from musc.lnamd import DEGREES
from musc.peer_intervals import MUSC, Interval
from musc.rscin import NEIGHBOURS
from pipeline.weights_registry import find_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

AblationName: TypeAlias = Literal[
    "degrees", "keep", "rscin", "subsets", "interval", "backbone", "window", "references"
]
ABLATIONS: tuple[AblationName, ...] = get_args(AblationName)

EVERY_IMAGE = sys.maxsize
"""A neighbourhood of RsCIN without a limit: it is cut to the number of images."""

SIDE_OF_BACKBONES_PX = 518
"""Images of the comparison of backbones; rounded down to whole patches."""

_DEGREES = (
    *((1,), (3,), (5,), (1, 3), (3, 5), (1, 3, 5)),
    *((1, 3, 5, 7), (1, 3, 5, 7, 9), (1, 3, 5, 7, 9, 13)),
)
_SHARES = (0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_LEFT_OUT = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1)
_WINDOWS = range(2, 10)
_SHOTS = (1, 2, 4, 8, 16, 32)
_BACKBONES = (
    *("dino-vitb16", "dino-vitb8", "dinov2-vits14", "dinov2-vitb14", "dinov2-vitl14"),
    *("clip-vit-b-32", "clip-vit-b-16", "clip-vit-b-16-plus-240", "clip-vit-l-14"),
    "clip-vit-l-14-336",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a name and what the method is set to."""

    name: str = "MuSc"
    degrees: tuple[int, ...] = DEGREES
    interval: Interval = MUSC
    neighbours: tuple[int, ...] = NEIGHBOURS
    """Of RsCIN; none leaves the scores as they are."""
    subsets: int = 1
    shots: int = 0
    """Good training images that join the scoring, the first of a seeded order."""
    plus: bool = False
    """Whether they alone score."""
    backbone: str = ""
    """Another backbone than the run's, if any, at ``SIDE_OF_BACKBONES_PX``."""


def ablation_rows(name: AblationName, base: Row) -> list[Row]:
    """Return the rows of an ablation around the settings of a run."""
    return _ABLATIONS[name](base)


def side_px(backbone: str) -> int:
    """Return the image size at which a backbone takes part in the comparison of backbones."""
    patch = find_entry(backbone).patch_px
    return SIDE_OF_BACKBONES_PX // patch * patch


def shown(values: Sequence[int]) -> str:
    """Write a set as the papers do: {1, 3, 5}."""
    return "{" + ", ".join(map(str, values)) + "}"


def _degrees(base: Row) -> list[Row]:
    """Tables 3 and 9."""
    return [replace(base, name=shown(degrees), degrees=degrees) for degrees in _DEGREES]


def _keep(base: Row) -> list[Row]:
    """Table 4, then other shares of the lowest, as in figure 7."""
    intervals = {
        "min": Interval(0.0, 1.0, "min"),
        "max": Interval(0.0, 1.0, "max"),
        "mean": Interval(0.0, 1.0, "mean"),
        "30% + min": Interval(0.0, 0.3, "min"),
        "30% + max": Interval(0.0, 0.3, "max"),
        "30% + mean": Interval(0.0, 0.3, "mean"),
    } | {f"{share:.0%} + mean": Interval(0.0, share) for share in _SHARES}
    return [replace(base, name=name, interval=interval) for name, interval in intervals.items()]


def _interval(base: Row) -> list[Row]:
    """Table 10."""
    return [
        replace(base, name=f"{lowest:.0%} ~ 30%", interval=Interval(lowest, 0.3))
        for lowest in _LEFT_OUT
    ]


def _rscin(base: Row) -> list[Row]:
    """Table 5."""
    return [replace(base, name="w/o", neighbours=()), replace(base, name="w")]


def _window(base: Row) -> list[Row]:
    """Figure 8; the papers' C in equation 5 is the neighbourhood 1."""
    single = [replace(base, name=f"k = {k}", neighbours=(1, k)) for k in _WINDOWS]
    full = replace(base, name="k = all", neighbours=(1, EVERY_IMAGE))
    return [*single, full, replace(base, name=f"k in {shown(base.neighbours)}")]


def _subsets(base: Row) -> list[Row]:
    """Table 7."""
    return [replace(base, name=f"s = {count}", subsets=count) for count in (1, 2, 3)]


def _references(base: Row) -> list[Row]:
    """Tables 15 and 16, without their full-shot row."""
    rows = [replace(base, name="0-shot", shots=0, plus=False)]
    for plus in (False, True):
        label = "MuSc+" if plus else "MuSc"
        rows += [
            replace(base, name=f"{label} {shots}-shot", shots=shots, plus=plus) for shots in _SHOTS
        ]
    return rows


def _backbones(base: Row) -> list[Row]:
    """Table 8, without its Swin transformers; DINOv2 ViT-S/14 is this product's default."""
    return [replace(base, name=name, backbone=name) for name in _BACKBONES]


_ABLATIONS: Mapping[AblationName, Callable[[Row], list[Row]]] = {
    "degrees": _degrees,
    "keep": _keep,
    "rscin": _rscin,
    "subsets": _subsets,
    "interval": _interval,
    "backbone": _backbones,
    "window": _window,
    "references": _references,
}
