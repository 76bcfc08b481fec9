"""Where frames come from: one module a kind of source, behind one protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge.errors import LineError
from edge.frame import PixelFormat, Pixels


class SourceError(LineError):
    """A source cannot be opened or has become unusable; the message names it."""


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


class Source(Protocol):
    """A camera, or something that stands for one."""

    def read(self) -> Capture | None:
        """Return the next capture, or None when there is none at the moment.

        Never blocks for longer than one frame takes to decode.

        Raises:
            EndOfSourceError: The source is finite and finished.
            SourceError: The source is lost.
        """
        ...

    def close(self) -> None:
        """Let go of files and devices; more calls do nothing."""
        ...
