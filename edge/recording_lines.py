"""What the files of a recording hold, line by line.

A recording is a folder::

    recording.json         what was recorded: Head
    windows/...            the scorer's snapshots as they were when the line started
    CAMERA/index.jsonl     written by that camera's ingest: IndexLine
    CAMERA/frames/BOOT/SEQ.png, or SEQ.jpg
    line.jsonl             written by the gate: LineLine; absent where no line ran

Both indexes are only ever appended to; a torn last line is taken off first. ``line.jsonl``
keeps the order in which the scorer inspected frames and obeyed orders; the cameras' indexes
keep what was announced, and where its pixels lie. Notices are the wire's own models.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from edge.contract import Digest, State, Verdict, Why
from edge.frame import (
    CLOCK_LIMIT_NS,
    MAX_SIDE_PX,
    SEQ_LIMIT,
    Announcement,
    BootId,
    CameraId,
    FrameKey,
    PartId,
    PixelFormat,
    RecipeId,
)
from edge.wire import ANSWER_LIMIT, MAX_BITS, Announced, Begins, Happened, Lost, OrderCode

FORMAT: Final = "musc-edge recording"
VERSION: Final = 1
HEAD_FILE = "recording.json"
INDEX_FILE = "index.jsonl"
LINE_FILE = "line.jsonl"
WINDOWS_FOLDER = "windows"
FRAMES_FOLDER = "frames"

Seq = Annotated[int, Field(ge=1, le=SEQ_LIMIT)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
Offset = Annotated[int, Field(ge=0, le=MAX_SIDE_PX)]
EndWhy = Literal["limit_reached", "disk_low", "io_error"]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Head(_Line):
    """``recording.json``."""

    format: Literal["musc-edge recording"] = FORMAT
    version: Literal[1] = VERSION
    created_at: AwareDatetime
    cameras: tuple[CameraId, ...]
    """Each has a folder of its name, once it has begun."""
    config: dict[str, Any]
    """The whole config as JSON, without secrets."""
    config_digest: Digest
    excerpt: bool = False
    """Whether frames were chosen from a longer run: numbers are missing on purpose."""


class StoredFrame(_Line):
    """The pixels of a frame, as ``edge.frame.Frame`` has them.

    A PNG loses nothing; a JPEG is the file itself that the frame was decoded from.
    """

    kind: Literal["frame"] = "frame"
    announcement: Announcement
    pixel_format: PixelFormat
    bit_depth: int = Field(ge=1, le=MAX_BITS)
    shape: tuple[Side, Side]
    """Height and width."""
    offset_px: tuple[Offset, Offset]
    file: str = Field(pattern=r"^frames/[0-9a-f]{16}/[0-9]{1,12}\.(png|jpg)$")
    """Below the camera's folder."""
    size_bytes: int = Field(ge=1)
    crc32: int = Field(ge=0, le=2**32 - 1)
    """Of the whole file."""
    pixels_crc32: int | None = Field(default=None, ge=0, le=2**32 - 1)
    """Of the frame's pixels where the file is a JPEG, which decoders may decode differently."""


class NotRecorded(_Line):
    """A frame that was announced and whose pixels are not in the recording."""

    kind: Literal["not_recorded"] = "not_recorded"
    camera: CameraId
    boot: BootId
    seq: Seq
    why: Literal["queue_full", "stopped"]
    """The writer was behind by its limit, or still behind when the line stopped."""


class Ended(_Line):
    """The last line of this file by this process: from here on nothing is recorded."""

    kind: Literal["ended"] = "ended"
    at: AwareDatetime
    why: EndWhy
    detail: str


class Cut(_Line):
    """An earlier process ended in the middle of a line, whose torn rest was taken off here."""

    kind: Literal["cut"] = "cut"
    at: AwareDatetime
    size_bytes: int = Field(ge=1)
    """What was taken off."""
    detail: str
    """What can still be said of the line."""


class GateSaid(_Line):
    """A gate started or stopped; between two gates inspections may be missing."""

    kind: Literal["gate"] = "gate"
    event: Literal["started", "stopped"]
    at: AwareDatetime
    boot: BootId
    config_digest: Digest
    recipe: RecipeId | None = None
    """What was in force then; not always the config's, for a gate remembers the last command."""


class ScorerSaid(_Line):
    """A scorer came, went as it was asked to (``left``), or was lost.

    A scorer of another ``scorer`` id begins with the windows that the one before kept
    on the disk, which may be older than what it held.
    """

    kind: Literal["scorer"] = "scorer"
    event: Literal["up", "left", "lost"]
    at: AwareDatetime
    scorer: BootId | None = None
    model: str | None = None
    recipe: RecipeId | None = None
    """Whose windows it uses when it comes."""


class RecipeSaid(_Line):
    """Another recipe is in force at the gate; what is captured from then on needs it.

    The scorer's own change is an ``Ordered`` line of its own.
    """

    kind: Literal["recipe"] = "recipe"
    recipe: RecipeId
    at: AwareDatetime
    at_ns: int = Field(ge=0, le=CLOCK_LIMIT_NS)


class OrderDone(_Line):
    """An order that the scorer has answered, at its place among the inspections."""

    kind: Literal["order"] = "order"
    order: BootId
    """The id that the gate gave it."""
    verb: Literal["recipe", "reset", "pin", "unpin", "release"] | None
    """None where an earlier gate ordered it: nobody knows any more what it was."""
    recipe: RecipeId | None = None
    camera: CameraId | None = None
    """None for all cameras."""
    boot: BootId | None = None
    seq: Seq | None = None
    """The frame to pin."""
    txn: str = ""
    """The command's transaction; the ledger's ``commands`` says by whom."""
    ok: bool
    code: OrderCode
    detail: str = Field(max_length=ANSWER_LIMIT)


class _OfFrame(_Line):
    camera: CameraId
    boot: BootId
    seq: Seq

    @property
    def key(self) -> FrameKey:
        """Key of the frame."""
        return FrameKey(self.camera, self.boot, self.seq)


class Inspected(_OfFrame):
    """What the scorer said of a frame, in the order in which it inspected.

    Also of one that was closed before, as ``late``. Figures are as in the ledger, exact.
    """

    kind: Literal["inspected"] = "inspected"
    verdict: Verdict
    why: Why
    state: State
    score: float | None
    rescored: float | None
    threshold: float | None
    p_value: float | None
    warn: bool
    window_n: int = Field(ge=0)
    admission: str
    region: int = Field(ge=0)
    recipe: RecipeId
    model: Digest


class Result(_OfFrame):
    """The result of a frame, as it finally is on the ledger."""

    kind: Literal["result"] = "result"
    part_id: PartId
    verdict: Verdict
    why: Why
    detail: str
    recipe: RecipeId
    scored: bool
    """Whether it rests on the inspection, whose figures are then in its row."""


IndexLine = Announced | Lost | Begins | Happened | StoredFrame | NotRecorded | Ended | Cut
LineLine = GateSaid | ScorerSaid | RecipeSaid | OrderDone | Inspected | Result | Ended | Cut
INDEX_LINES: TypeAdapter[IndexLine] = TypeAdapter(Annotated[IndexLine, Field(discriminator="kind")])
LINE_LINES: TypeAdapter[LineLine] = TypeAdapter(Annotated[LineLine, Field(discriminator="kind")])


def frame_file(boot: str, seq: int, kind: Literal["png", "jpg"] = "png") -> str:
    """Return where a frame's pixels lie, below its camera's folder."""
    return f"{FRAMES_FOLDER}/{boot}/{seq}.{kind}"
