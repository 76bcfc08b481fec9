"""Where frames come from: one module a kind of source, behind one protocol."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Protocol

from edge.errors import LineError
from edge.frame import CameraState, Jpeg, PixelFormat, Pixels

CaptureLoss = Literal["corrupt", "dropped"]
"""Why a capture has no pixels: they cannot be used, or there was no room for them."""


class SourceError(LineError):
    """A source cannot be opened or has become unusable; the message names it."""


class CameraMissingError(SourceError):
    """There is no such camera; the message says which there are."""


class CameraBusyError(SourceError):
    """Another program holds the camera."""


class CameraSetupError(SourceError):
    """The camera refuses a setting; the message names it, the value and what is offered."""


class PixelFormatError(CameraSetupError):
    """The camera does not offer the pixel format; the message says which it offers."""


class EndOfSourceError(Exception):
    """A finite source has delivered everything it has."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What one trigger yielded: pixels, or the reason why there are none.

    ``pixels`` is as in :class:`edge.frame.Frame`, or None with ``fault`` set.
    ``part_id`` is None where the source does not know the part; ingest counts
    then.
    """

    pixels: Pixels | None
    pixel_format: PixelFormat = "mono"
    bit_depth: int = 8
    part_id: str | None = None
    origin: str = ""
    fault: str = ""
    loss: CaptureLoss = "corrupt"
    """What ``fault`` counts as."""
    offset_px: tuple[int, int] = (0, 0)
    """Sensor column and row of the first pixel, where the camera itself crops."""
    arrived_ns: int | None = None
    """When the picture was complete in this host, monotonic; None means now."""
    camera_ns: int | None = None
    """The camera's own clock at the exposure, from any origin; None where it has none."""
    counter: int | None = None
    """The camera's own number of the picture, one more for each trigger."""
    opening: int = 0
    """Which opening of the device it came from: counter and clock begin anew with each."""
    jpeg: Jpeg | None = None
    """The file, where the picture came as one; ``pixels`` may be others by now, a part of it."""


@dataclass(frozen=True, slots=True)
class CameraEvent:
    """Something that happened to a camera, for the ledger."""

    kind: str
    detail: dict[str, str | int | float] = field(default_factory=dict)


class Pollable(Protocol):
    """What a poller can wait for."""

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        ...

    def clear(self) -> None:
        """Take note; the poller sleeps again."""
        ...


class Source:
    """A camera, or something that stands for one; used by one thread.

    The defaults are those of a recording: it is always there, has nothing to
    tell, and delivers the next picture whenever it is asked.
    """

    counts_triggers = False
    """Whether a gap in ``Capture.counter`` is a trigger without a picture."""
    every_picture_counts = False
    """Whether each picture is of a part, so that none may be left out or taken later."""
    wakeup: Pollable | None = None
    """Set when a capture waits, for a poller; None where ``read`` never has to wait."""

    def read(self) -> Capture | None:
        """Return the next capture, or None when there is none at the moment.

        Never blocks for longer than one frame takes to decode.

        Raises:
            EndOfSourceError: The source is finite and finished.
            SourceError: The source is lost for good.
        """
        raise NotImplementedError

    def trigger(self) -> None:
        """Ask for one picture now; only with software triggers."""

    def reopen(self, reason: str) -> None:
        """Distrust the camera: let it go and open it anew, where that can be done."""

    def let_go(self, count: int) -> None:
        """Let go of the next ``count`` pictures that were read: the gate has them on disk."""

    @property
    def state(self) -> CameraState:
        """How the camera is."""
        return "ONLINE"

    @property
    def counts(self) -> Counter[str]:
        """What was counted since the start, by name: openings, failed buffers..."""
        return Counter()

    def take_events(self) -> list[CameraEvent]:
        """Return what happened since the last call."""
        return []

    def close(self) -> None:
        """Let go of files and devices; more calls do nothing."""
