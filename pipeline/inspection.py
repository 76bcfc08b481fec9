"""What the scorer says about one frame, and how it travels to the gate.

An inspection is two parts, JSON and the patch scores as raw float32; evidence
is JSON and an encoded image. Neither is pickled, both are validated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edge.contract import Digest, State, Verdict, Why
from edge.frame import MAX_SIDE_PX, SEQ_LIMIT, Announcement, BootId, CameraId, FrameKey, RecipeId
from edge.wire import DETAIL_LIMIT, WireError
from pipeline.config_geometry import REGIONS_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

PatchScores = npt.NDArray[np.float32]
Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x = a*column + b*row + c, y = d*column + e*row + f, sensor pixels."""
Corner = Annotated[int, Field(ge=0, le=MAX_SIDE_PX)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
Box = tuple[Corner, Corner, Side, Side]
"""x, y, width, height in sensor pixels."""


def _shortened(detail: object) -> object:
    return detail[:DETAIL_LIMIT] if isinstance(detail, str) else detail


Admission = Literal["none", "peer", "doubtful", "quarantine", "duplicate"]
"""In its window a frame votes on later ones (peer) or does not: its score warned (doubtful) or
failed (quarantine), or it repeats another frame (duplicate). Unscored frames are in none."""
Pinning = Literal["done", "unknown_frame", "pins_full"]
"""What became of an order to pin a frame."""
EventKind = Literal[
    "same_defect",
    "regime_change",
    "belt_stopped",
    "belt_moves",
    "second_look",
    "calibration",
    "pinned",
    "no_good_images",
]
EVENT_MEANINGS: dict[EventKind, str] = {
    "same_defect": "Several parts show the same defect; `parts` lists them.",
    "regime_change": "The parts on the belt are not those of the window any more.",
    "belt_stopped": "Pictures repeat the one before: no new parts, or a frozen camera.",
    "belt_moves": "Pictures do not repeat any more.",
    "second_look": "The refined score contradicts the result on arrival.",
    "calibration": "There is a threshold now, or the history supports the tolerated rejects.",
    "pinned": "A window has pinned its own references; `parts` lists them.",
    "no_good_images": "The camera has `good_path`, and no folder in it for this recipe.",
}
"""What a scorer may report about a stream, as kinds of the ledger's events."""


class StreamEvent(BaseModel):
    """What the frames of a camera have shown together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: EventKind
    detail: dict[str, str | int | float | bool | list[str] | None] = {}


class RefinedScore(BaseModel):
    """The score that an earlier frame has against the voters of now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    boot: BootId
    seq: int = Field(ge=1, le=SEQ_LIMIT)
    score: float


class Inspection(BaseModel):
    """The scorer's opinion of one frame; only the gate makes it a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    v: Literal[1] = 1
    announcement: Announcement
    verdict: Verdict
    why: Why
    detail: Annotated[str, BeforeValidator(_shortened)] = ""
    state: State
    """WARMING until the frame's window and judge are filled, then READY."""
    score: float | None = None
    """Largest value of the region's upsampled anomaly map, from mutual scoring alone."""
    rescored: float | None = None
    """The score after RsCIN over the region's window."""
    threshold: float | None = None
    """What the deciding score was compared with; None while there is none."""
    map_level: float | None = None
    """The value in the patch scores at which the threshold lies, for all regions."""
    window_n: int = Field(default=0, ge=0, le=512)
    """Peers that the frame was scored against."""
    window_size: int = Field(ge=2, le=512)
    admission: Admission = "none"
    """What became of the frame in its window."""
    warn: bool = False
    """Whether the score is unusual, yet below the threshold."""
    p_value: float | None = Field(default=None, gt=0, le=1)
    """Share of the latest scores, this one among them, that are at least as high."""
    events: tuple[StreamEvent, ...] = ()
    """What this frame has shown of the stream."""
    refined: tuple[RefinedScore, ...] = ()
    """Second looks at earlier frames, now that later ones have come."""
    recipe: RecipeId
    model: Digest
    compute_ms: float = Field(ge=0)
    box: Box | None = None
    """Strongest region, only on FAIL."""
    affine: Affine | None = None
    """From the patch grid to sensor pixels."""
    offset_px: tuple[Corner, Corner] = (0, 0)
    """Sensor column and row of the frame's first pixel; its image begins there."""
    region: int = Field(default=0, ge=0, le=REGIONS_LIMIT)
    """The worst region, whose score and threshold these are; 0 is the whole frame."""
    evidence: bool = False
    """Whether an image of this frame follows."""
    patch_scores: PatchScores | None = Field(default=None, exclude=True)
    """Shape (rows, columns), float32: the regions' scores on one grid, scaled to one level."""

    @property
    def admitted(self) -> bool:
        """Whether the frame votes on later ones."""
        return self.admission == "peer"


GridSide = Annotated[int, Field(ge=1, le=4096)]
"""16 regions of 1036 px make 1184 patches of 14 px side by side, and 2072 of 8 px."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    inspection: Inspection
    grid: tuple[GridSide, GridSide] | None


class _EvidenceHeader(BaseModel):
    model_config = ConfigDict(extra="forbid")

    v: Literal[1] = 1
    camera: CameraId
    boot: BootId
    seq: int = Field(ge=1, le=SEQ_LIMIT)


def encode_inspection(inspection: Inspection) -> tuple[bytes, bytes]:
    """Return header and patch scores (empty where there are none)."""
    scores = inspection.patch_scores
    grid = None if scores is None else (scores.shape[0], scores.shape[1])
    header = _Header(inspection=inspection, grid=grid).model_dump_json().encode()
    return header, b"" if scores is None else np.ascontiguousarray(scores, "<f4").tobytes()


def decode_inspection(parts: Sequence[bytes | memoryview]) -> Inspection:
    """Read an inspection.

    Raises:
        WireError: Not two parts, a wrong field, or a grid of another size.
    """
    try:
        head, body = parts
        header = _Header.model_validate_json(bytes(head))
        if header.grid is None:
            return header.inspection
        scores = np.frombuffer(body, "<f4").reshape(header.grid)
    except (ValidationError, ValueError) as error:
        msg = f"not an inspection: {str(error).splitlines()[0]}"
        raise WireError(msg) from error
    return header.inspection.model_copy(update={"patch_scores": scores})


def encode_evidence(key: FrameKey, image: bytes) -> tuple[bytes, bytes]:
    """Return header and encoded image of one frame."""
    header = _EvidenceHeader(camera=key.camera, boot=key.boot, seq=key.seq)
    return header.model_dump_json().encode(), image


def decode_evidence(parts: Sequence[bytes | memoryview]) -> tuple[FrameKey, bytes]:
    """Read evidence: the frame's key and its encoded image.

    Raises:
        WireError: Not two parts, or a wrong field.
    """
    try:
        head, image = parts
        header = _EvidenceHeader.model_validate_json(bytes(head))
    except (ValidationError, ValueError) as error:
        msg = f"not evidence: {str(error).splitlines()[0]}"
        raise WireError(msg) from error
    return FrameKey(header.camera, header.boot, header.seq), bytes(image)
