"""A frame and its announcement: what a camera saw, and that it saw something.

The announcement is made at trigger time, before anybody knows whether there
are pixels; the frame is the announcement together with its pixels. Limits on
identifiers are what keeps every MQTT message within its 512 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

CAMERA_PATTERN = r"^[A-Za-z0-9_-]{1,16}$"
BOOT_PATTERN = r"^[0-9a-f]{16}$"
PART_PATTERN = r"^[!#-:<-\[\]-~]{1,48}$"
RECIPE_PATTERN = r"^[A-Za-z0-9_.-]{1,24}$"
PATTERN_WORDS = {
    CAMERA_PATTERN: "1 to 16 of A-Z a-z 0-9 _ -",
    BOOT_PATTERN: "16 hexadecimal digits, a to f in lower case",
    PART_PATTERN: '1 to 48 printable ASCII characters, no space, ; " or \\',
    RECIPE_PATTERN: "1 to 24 of A-Z a-z 0-9 _ . -",
}
"""What a person is told instead of a pattern."""

CameraId = Annotated[str, Field(pattern=CAMERA_PATTERN)]
"""Name of a camera: a path and topic segment, at most 16 characters."""

BootId = Annotated[str, Field(pattern=BOOT_PATTERN)]
"""64 random bits in hex: one start of one process."""

PartId = Annotated[str, Field(pattern=PART_PATTERN)]
"""What is on the belt: 1 to 48 visible ASCII characters without the semicolon,
which separates the fields of the ``plc`` message, and without quotation mark
and backslash, which JSON writes as two."""

RecipeId = Annotated[str, Field(pattern=RECIPE_PATTERN)]
"""Name of a product set-up, at most 24 characters."""

CameraState = Literal["ONLINE", "LOST", "STALE", "NO_TRIGGER"]
"""A camera that is away, repeats itself or is not triggered is not 'no parts'."""

PixelFormat = Literal["mono", "bgr", "rgb"]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Jpeg(NamedTuple):
    """A JPEG file, and the pixels that were decoded from it."""

    content: bytes
    pixels: Pixels


MAX_SIDE_PX = 32_768
ORIGIN_LIMIT = 256
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""What a box without a clock battery believes at power-on."""
END_OF_TIME = datetime(3000, 1, 1, tzinfo=timezone.utc)
SEQ_LIMIT = 999_999_999_999
"""Twelve digits: 31 years at a thousand frames a second."""
CLOCK_LIMIT_NS = 2**63 - 1
"""What SQLite and a signed 64-bit clock hold."""
FRAME_KEY_LIMIT = 46
"""Characters of camera/boot/seq at their longest: 16 + 1 + 16 + 1 + 12."""


class Announcement(BaseModel):
    """One trigger of one camera, numbered when it happened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    camera: CameraId
    boot: BootId
    """The start of the ingest process that counted this frame."""
    seq: int = Field(ge=1, le=SEQ_LIMIT)
    """Durable number of the frame at its camera; it goes on across restarts."""
    part_id: PartId
    captured_at: Annotated[AwareDatetime, Field(ge=EPOCH, lt=END_OF_TIME)]
    """Trigger time, UTC."""
    captured_ns: int = Field(ge=0, le=CLOCK_LIMIT_NS)
    """The same moment on the host's monotonic clock; deadlines count from it."""
    origin: str = Field(default="", max_length=ORIGIN_LIMIT)
    """Where the pixels came from, for a person: a file name, a device."""

    @property
    def key(self) -> FrameKey:
        """What makes the frame unique for ever."""
        return FrameKey(self.camera, self.boot, self.seq)


@dataclass(frozen=True, slots=True, order=True)
class FrameKey:
    """Primary key of a frame, in the ledger and on every wire."""

    camera: str
    boot: str
    seq: int

    def __str__(self) -> str:
        """Path of the frame's evidence: camera/boot/seq."""
        return f"{self.camera}/{self.boot}/{self.seq}"


@dataclass(frozen=True, slots=True)
class Frame:
    """Pixels with the announcement they belong to.

    ``pixels`` has shape (height, width) for ``mono`` and (height, width, 3)
    otherwise; dtype uint8 up to 8 bits, uint16 above. Values are scaled by the
    declared ``bit_depth``, never by what the picture happens to contain.
    """

    announcement: Announcement
    pixels: Pixels
    pixel_format: PixelFormat
    bit_depth: int
    offset_px: tuple[int, int] = (0, 0)
    """Sensor column and row of ``pixels[0, 0]``; not the origin where only a part is read."""

    @property
    def key(self) -> FrameKey:
        """Key of the announcement."""
        return self.announcement.key
