"""The wire between ingest, scorer and gate: versioned, validated, without pickle.

A frame is two parts, a JSON header and the raw pixels; every other message is
one JSON part with its kind. Pixels are never copied here: ``encode_frame``
hands out a view for ZeroMQ to send from, ``decode_frame`` a read-only view on
what ZeroMQ received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edge.contract import CameraCounts
from edge.frame import (
    END_OF_TIME,
    EPOCH,
    MAX_SIDE_PX,
    PATTERN_WORDS,
    SEQ_LIMIT,
    Announcement,
    BootId,
    CameraId,
    CameraState,
    Frame,
    PartId,
    PixelFormat,
    RecipeId,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edge.frame import Pixels

MAX_NOTE_BYTES = 8_192
"""A note is under 1 kB; anything far above is not ours."""
MAX_FRAME_BYTES = 512 * 1024 * 1024
"""A 150-megapixel colour frame at 8 bits; more needs regions, not one message."""
DETAIL_LIMIT = 512
DETAILS_LIMIT = 8
EVENT_PATTERN = r"^[a-z_]{1,32}$"
ANSWER_LIMIT = 200
BYTE_BITS = 8
MAX_BITS = 16

LostWhy = Literal["corrupt", "dropped", "missed_trigger", "stale", "camera_lost"]
OrderCode = Literal["done", "unknown_camera", "unknown_frame", "pins_full"]


class WireError(Exception):
    """A message that is not ours, of another version, or damaged."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1


_Offset = Annotated[int, Field(ge=0, le=MAX_SIDE_PX)]


class _FrameHeader(_Message):
    announcement: Announcement
    pixel_format: PixelFormat
    bit_depth: int = Field(ge=1, le=MAX_BITS)
    height: int = Field(ge=1, le=MAX_SIDE_PX)
    width: int = Field(ge=1, le=MAX_SIDE_PX)
    offset_px: tuple[_Offset, _Offset] = (0, 0)


class Announced(_Message):
    """Ingest to gate: a frame exists and wants a result before its deadline."""

    kind: Literal["announced"] = "announced"
    announcement: Announcement


class Lost(_Message):
    """Ingest to gate: the scorer will never see this frame, and why.

    With ``missed_trigger`` a part was told, or a trigger counted, and no picture
    came, with ``camera_lost`` there was no camera to take one; it has a number of
    its own all the same.
    """

    kind: Literal["lost"] = "lost"
    announcement: Announcement
    why: LostWhy
    detail: str = Field(max_length=DETAIL_LIMIT)


class Begins(_Message):
    """Ingest to gate, once a start: how many frames were counted before this boot.

    Frames up to ``seq`` that the gate does not know were counted by an ingest
    that died before it could announce them.
    """

    kind: Literal["begins"] = "begins"
    camera: CameraId
    boot: BootId
    seq: int = Field(ge=0, le=SEQ_LIMIT)


class Acknowledged(_Message):
    """Gate to ingest: the notice about this frame, or start, is committed to disk."""

    kind: Literal["acknowledged"] = "acknowledged"
    boot: BootId
    seq: int = Field(ge=0, le=SEQ_LIMIT)
    notice: Literal["announced", "lost", "begins", "happened"]


class Happened(_Message):
    """Ingest to gate: an event of the camera, for the ledger."""

    kind: Literal["happened"] = "happened"
    camera: CameraId
    boot: BootId
    seq: int = Field(ge=1, le=SEQ_LIMIT)
    """Number of the event in this boot, not of a frame."""
    at: Annotated[AwareDatetime, Field(ge=EPOCH, lt=END_OF_TIME)]
    event: str = Field(pattern=EVENT_PATTERN)
    """What it is called in the ledger."""
    detail: dict[str, str | int | float] = Field(max_length=DETAILS_LIMIT)


class CameraHere(_Message):
    """Ingest to gate, several times a second and not acknowledged: how the camera is."""

    kind: Literal["camera_here"] = "camera_here"
    camera: CameraId
    boot: BootId
    state: CameraState
    counts: CameraCounts = CameraCounts()
    """Since the start of this ingest."""


class CameraLeft(_Message):
    """Ingest to gate, not acknowledged: the camera's process ends as it was asked to."""

    kind: Literal["camera_left"] = "camera_left"
    camera: CameraId
    boot: BootId


class PartAt(_Message):
    """Gate, or any program of the plant, to ingest: the next frame is of this part."""

    kind: Literal["part_at"] = "part_at"
    part_id: PartId


class Hello(_Message):
    """Ingest to scorer, several times a second: who is here, and what was sent.

    ``sent`` counts the frames of this ``boot`` that left for any scorer. It
    travels behind them on the same connection, so whatever it counts and the
    scorer does not hold is finished or lost, and needs no credit any more.
    """

    kind: Literal["hello"] = "hello"
    camera: CameraId
    boot: BootId
    sent: int = Field(ge=0, le=SEQ_LIMIT)


class Credit(_Message):
    """Scorer to ingest: at most ``window`` frames beyond ``settled`` may be out.

    Both are totals, not increments, so a lost or repeated message does no harm.
    """

    kind: Literal["credit"] = "credit"
    boot: BootId
    settled: int = Field(ge=0, le=SEQ_LIMIT)
    """Frames of this boot that are finished or lost."""
    window: int = Field(ge=1, le=1024)


class ScorerUp(_Message):
    """Scorer to gate: a scorer process is ready for frames."""

    kind: Literal["scorer_up"] = "scorer_up"
    scorer: BootId
    model: str = Field(max_length=32)
    recipe: RecipeId
    """Whose windows it uses now."""


class ScorerLeft(_Message):
    """Scorer to gate: the scorer has finished what it held and stops as asked."""

    kind: Literal["scorer_left"] = "scorer_left"
    scorer: BootId


class Order(_Message):
    """Gate to scorer, repeated until it is answered: change what frames are compared with.

    ``camera`` is None for all cameras; ``boot`` and ``seq`` name the frame to
    pin or release.
    """

    kind: Literal["order"] = "order"
    order: BootId
    """64 random bits in hex: what makes a repeated order the same order."""
    verb: Literal["recipe", "reset", "pin", "unpin", "release"]
    recipe: RecipeId
    camera: CameraId | None = None
    boot: BootId | None = None
    seq: int | None = Field(default=None, ge=1, le=SEQ_LIMIT)


class Ordered(_Message):
    """Scorer to gate: what became of an order."""

    kind: Literal["ordered"] = "ordered"
    order: BootId
    ok: bool
    code: OrderCode
    """A word for programs: ``done``, or why not; passed on in ``cmd/result``."""
    detail: str = Field(max_length=ANSWER_LIMIT)
    """A sentence for people."""


Note = (
    Announced
    | Lost
    | Begins
    | Happened
    | Acknowledged
    | CameraHere
    | CameraLeft
    | PartAt
    | Hello
    | Credit
    | ScorerUp
    | ScorerLeft
    | Order
    | Ordered
)
_NOTES: TypeAdapter[Note] = TypeAdapter(Annotated[Note, Field(discriminator="kind")])


def encode_note(note: Note) -> bytes:
    """Return the one part of a note."""
    return note.model_dump_json().encode()


def decode_note(part: bytes | memoryview) -> Note:
    """Read a note.

    Raises:
        WireError: Longer than MAX_NOTE_BYTES, of another version, of no known
            kind, or with a wrong field.
    """
    if len(part) > MAX_NOTE_BYTES:
        msg = f"not a note: {len(part)} bytes, the limit is {MAX_NOTE_BYTES}"
        raise WireError(msg)
    try:
        return _NOTES.validate_json(bytes(part))
    except ValidationError as error:
        msg = f"not a note: {_first_line(error)}"
        raise WireError(msg) from error


def encode_frame(frame: Frame) -> tuple[bytes, memoryview]:
    """Return header and pixels; the second part is a view, not a copy."""
    height, width = frame.pixels.shape[:2]
    header = _FrameHeader(
        announcement=frame.announcement,
        pixel_format=frame.pixel_format,
        bit_depth=frame.bit_depth,
        height=height,
        width=width,
        offset_px=frame.offset_px,
    )
    pixels = np.ascontiguousarray(frame.pixels)
    return header.model_dump_json().encode(), pixels.data.cast("B")


def decode_frame(parts: Sequence[bytes | memoryview]) -> Frame:
    """Rebuild a frame; its pixels are a read-only view on the second part.

    Raises:
        WireError: Not two parts, a header of another version or with a wrong
            field, or a size that does not match the number of bytes.
    """
    try:
        head, body = parts
        header = _FrameHeader.model_validate_json(bytes(head))
        pixels: Pixels = np.frombuffer(body, _dtype(header.bit_depth)).reshape(_shape(header))
    except (ValidationError, ValueError) as error:
        msg = f"not a frame message: {_first_line(error)}"
        raise WireError(msg) from error
    pixels.flags.writeable = False
    return Frame(
        header.announcement, pixels, header.pixel_format, header.bit_depth, header.offset_px
    )


def pixel_shape_fault(pixels: Pixels, pixel_format: PixelFormat, bit_depth: int) -> str:
    """Say what is wrong with pixels for this format and depth; empty if nothing is."""
    wanted = "(height, width)" if pixel_format == "mono" else "(height, width, 3)"
    if pixels.ndim != wanted.count(",") + 1 or pixels.shape[2:] not in {(), (3,)}:
        return f"shape {pixels.shape}, {pixel_format} has {wanted}"
    if not 1 <= bit_depth <= MAX_BITS:
        return f"{bit_depth} bits a value, the limits are 1 and {MAX_BITS}"
    if pixels.dtype != _dtype(bit_depth):
        return f"{pixels.dtype} pixels cannot be {bit_depth} bits deep"
    if min(pixels.shape[:2]) < 1 or max(pixels.shape[:2]) > MAX_SIDE_PX:
        return f"shape {pixels.shape}: each side is 1 to {MAX_SIDE_PX} px"
    if pixels.nbytes > MAX_FRAME_BYTES:
        return f"{pixels.nbytes} bytes, the limit is {MAX_FRAME_BYTES}"
    return ""


def _dtype(bit_depth: int) -> npt.DTypeLike:
    return np.dtype("u1") if bit_depth <= BYTE_BITS else np.dtype("<u2")


def _shape(header: _FrameHeader) -> tuple[int, ...]:
    plane = (header.height, header.width)
    return plane if header.pixel_format == "mono" else (*plane, 3)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        limit = first["msg"]
        if first["type"] == "string_pattern_mismatch":
            pattern = first["ctx"]["pattern"]
            limit = f"must be {PATTERN_WORDS.get(pattern, pattern)}"
        return f"{'.'.join(map(str, first['loc']))}: {limit}"
    return str(error)
