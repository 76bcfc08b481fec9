"""Sections ``[window]``, ``[musc]`` and ``[judge]``: how frames are scored and judged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config_settings import Settings
from pipeline.weights_registry import REGISTRY

if TYPE_CHECKING:
    from typing_extensions import Self

CALIBRATION_PEERS = 8
"""Below 8 peers a score depends on how many there are: ln(score) rises by up to 0.3."""

SUPPORTING_REJECTS = 10
"""Rejects that a history must be expected to hold: chance alone then leaves the count between
half and double, 95 times in 100 (Poisson: 5 to 17)."""

VOTERS_LIMIT = 512
"""Frames that may vote on one."""


def scores_needed(rejects_per_1000: float) -> int:
    """Return how many scores support a rate of rejects."""
    return math.ceil(1000 * SUPPORTING_REJECTS / rejects_per_1000)


class WindowSettings(Settings):
    """How many frames are scored together."""

    size_frames: int = Field(default=32, ge=2, le=512)
    """Frames in a window; each is scored against the others."""
    min_peers: int = Field(default=8, ge=1, le=511)
    """Fewer peers than this give NO_RESULT `warming`."""
    admission: Literal["guarded", "all"] = "guarded"
    """Which frames vote on later ones: those judged normal, or all, which hides what repeats."""
    apart_frames: int | None = Field(default=None, ge=1, le=512)
    """Frames without a vote that are held, to compare them with each other; else half a window."""
    stale_frames: int = Field(default=5, ge=0, le=10_000)
    """So many copies of a picture in a row, sensor noise aside, make a camera STALE; 0 never."""
    pins_frames: int = Field(default=4, ge=0, le=64)
    """Room for frames that are pinned as good ones."""
    pins: Literal["none", "consensus"] = "none"
    """Pin some frames of a window once it is full: those that most resemble all others, or none."""
    references: Literal["floor", "vote"] = "floor"
    """What pinned frames do: no patch scores less than they allow, or they vote as peers do."""
    snapshot_s: float = Field(default=60.0, ge=0, le=86_400)
    """Time between two snapshots of a window on the disk; 0 only at a stop and a new recipe."""

    @property
    def apart(self) -> int:
        """Frames without a vote that are held at most."""
        if self.admission == "all":
            return 0
        return self.apart_frames or max(4, self.size_frames // 2)

    @property
    def slots(self) -> int:
        """Frames that are held in all."""
        return self.size_frames + self.apart + self.pins_frames

    @model_validator(mode="after")
    def _peers_fit(self) -> Self:
        if self.min_peers >= self.size_frames:
            msg = (
                f"min_peers = {self.min_peers}: must be less than size_frames = {self.size_frames}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _pins_fit(self) -> Self:
        if self.pins == "consensus" and not self.pins_frames:
            msg = 'pins = "consensus": pins_frames = 0 has no room for them'
            raise ValueError(msg)
        voters = self.size_frames + self.pins_frames
        if self.references == "vote" and voters > VOTERS_LIMIT:
            msg = (
                f'references = "vote": size_frames + pins_frames = {voters}, '
                f"at most {VOTERS_LIMIT} can vote"
            )
            raise ValueError(msg)
        return self


class MuscSettings(Settings):
    """The method: backbone and mutual scoring."""

    backbone: str = "dinov2-vits14"
    """Vision transformer; `musc-edge weights` lists what there is."""
    weights: Path | None = None
    """A weights file to use instead of the cache: safetensors, or a checkpoint of the authors."""
    offline: bool = False
    """Never fetch weights; they must be in the cache already."""
    image_size_px: int | None = Field(default=None, ge=32, le=1036)
    """Side of the square that a frame is resized to, a multiple of the patch; else 224 or 518."""
    stages: list[Annotated[int, Field(ge=0, le=23)]] = Field(default=[], max_length=24)
    """Blocks whose patch tokens are compared, from 0; empty takes the end of each quarter."""
    degrees: list[Annotated[int, Field(ge=1, le=9)]] = Field(
        default=[1, 3, 5], min_length=1, max_length=5
    )
    """Neighbourhoods, in patches, that tokens are averaged over; odd numbers."""
    keep_lowest: float = Field(default=0.3, gt=0, le=1)
    """Share of the peers, the most similar ones, whose distances count."""
    locality_patches: int | None = Field(default=None, ge=0, le=64)
    """Compare a patch only this far from its own position; for parts that lie still in view."""
    channels: int | None = Field(default=None, ge=8, le=1024)
    """Channels kept of a token, chosen by the first frames; scores get lower. All if absent."""
    neighbours: list[Annotated[int, Field(ge=1, le=512)]] = Field(
        default=[1, 2, 3], min_length=1, max_length=8
    )
    """RsCIN's neighbourhood sizes, the frame itself included."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the scorer computes; auto takes CUDA where there is one."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Arithmetic of the backbone; auto is float16 on CUDA and float32 on a CPU."""
    compile: bool = False
    """Run the backbone through torch.compile, made ready at start; needs a C++ compiler."""
    batch_frames: int | None = Field(default=None, ge=1, le=64)
    """Most frames, of all cameras in turn, that the backbone sees at once; else 1, on CUDA 8."""

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, name: str) -> str:
        if name not in REGISTRY:
            msg = f"no such backbone; there are {', '.join(REGISTRY)}"
            raise ValueError(msg)
        return name

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        patch = REGISTRY[self.backbone].patch_px
        if self.image_size_px is not None and self.image_size_px % patch:
            msg = (
                f"image_size_px = {self.image_size_px}: must be a multiple of {patch}, "
                f"the patch of {self.backbone}"
            )
            raise ValueError(msg)
        return self

    @field_validator("degrees")
    @classmethod
    def _degrees_are_odd(cls, degrees: list[int]) -> list[int]:
        if any(degree % 2 == 0 for degree in degrees):
            msg = "each degree must be odd, so that a neighbourhood has a centre"
            raise ValueError(msg)
        return degrees

    @field_validator("stages", "degrees")
    @classmethod
    def _ascending(cls, numbers: list[int]) -> list[int]:
        if numbers != sorted(set(numbers)):
            msg = "must be ascending, without repeats"
            raise ValueError(msg)
        return numbers


class JudgeSettings(Settings):
    """From a score to PASS or FAIL."""

    score: Literal["raw", "rescored"] = "raw"
    """Which score decides: mutual scoring as it is, or smoothed by RsCIN."""
    method: Literal["auto", "robust_z", "fixed"] = "auto"
    """From the line's own scores: auto fits their tail once hundreds are there; or one is given."""
    rejects_per_1000: float = Field(default=20.0, ge=0.01, lt=500)
    """Parts in a thousand that may be rejected; the threshold follows from it."""
    min_scores: int = Field(default=16, ge=8, le=10_000)
    """Scores that must have come before anything is decided by them."""
    history_scores: int = Field(default=10_000, ge=8, le=100_000)
    """Latest scores that the threshold follows from, at most; fewer where they suffice."""
    fixed_threshold: float | None = Field(default=None, gt=0, le=2)
    """The threshold of method "fixed"; scores are distances of unit vectors, at most 2."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.method == "fixed" and self.fixed_threshold is None:
            msg = 'fixed_threshold is missing; method = "fixed" needs it'
            raise ValueError(msg)
        if self.min_scores > self.history_scores:
            msg = f"min_scores = {self.min_scores}: at most history_scores = {self.history_scores}"
            raise ValueError(msg)
        needed = scores_needed(self.rejects_per_1000)
        if self.method != "fixed" and needed > self.history_scores:
            msg = (
                f"rejects_per_1000 = {self.rejects_per_1000:g}: history_scores = "
                f"{self.history_scores} can never support it, it needs at least {needed}"
            )
            raise ValueError(msg)
        return self
