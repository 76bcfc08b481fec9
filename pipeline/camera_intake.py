"""From a camera's frames to the backbone's input: one layout, one view, checked pixels.

The first frame of a camera decides what its frames are like; one of another
size, format, depth or place is refused, because its patches could not be
compared with those of the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from musc.preprocess import to_batch
from pipeline.regions import RegionsError, View, make_view, mean_colour

if TYPE_CHECKING:
    from torch import Tensor

    from edge.contract import Why
    from edge.frame import Frame
    from musc.backbone import Backbone
    from pipeline.config_geometry import GeometrySettings


class FrameRefusedError(Exception):
    """A frame gets no result; the message says why."""

    def __init__(self, detail: str, why: Why) -> None:
        """Keep the reason that its result will have."""
        super().__init__(detail)
        self.why: Why = why


class _Layout(NamedTuple):
    """What all frames of a camera have in common."""

    shape: tuple[int, ...]
    pixel_format: str
    bit_depth: int
    offset_px: tuple[int, int]

    def __str__(self) -> str:
        x, y = self.offset_px
        return f"{self.shape} {self.pixel_format} {self.bit_depth} bit at {x}, {y}"


class CameraIntake:
    """Cuts the frames of one camera into its regions."""

    def __init__(self, geometry: GeometrySettings, backbone: Backbone) -> None:
        """Wait for the first frame."""
        self._geometry = geometry
        self._backbone = backbone
        self._layout: _Layout | None = None
        self._view: View | None = None

    @property
    def layout(self) -> str:
        """What this camera's frames are like, in words; empty before the first usable one."""
        return "" if self._layout is None else str(self._layout)

    def view(self, frame: Frame) -> View:
        """Return how the frame is looked at.

        Raises:
            FrameRefusedError: It is unlike the first, or cannot be cut.
        """
        layout = _layout(frame)
        if self._layout is not None and self._layout != layout:
            detail = f"{_name(frame)}: {layout}, this camera sends {self._layout}"
            raise FrameRefusedError(detail, "corrupt")
        if self._view is None:
            size = (frame.pixels.shape[0], frame.pixels.shape[1])
            patches = math.isqrt(self._backbone.patches)
            try:
                self._view = make_view(self._geometry, size, frame.offset_px, patches)
            except RegionsError as error:
                detail = f"{_name(frame)}: {error}"
                raise FrameRefusedError(detail, "corrupt") from error
            # Only now: a first frame that cannot be cut must not refuse all after it.
            self._layout = layout
        return self._view

    def known_view(self, frame: Frame) -> View | None:
        """Return how the frame is looked at where it is like the first, None where not.

        Changes nothing; may be asked by any thread.
        """
        return self._view if self._layout == _layout(frame) else None

    def batch(self, frame: Frame) -> Tensor:
        """Return the regions of a frame as the backbone's input [regions, 3, side, side].

        Raises:
            FrameRefusedError: It is unlike the first, cannot be cut, or its pixels
                are not what it declares.
        """
        return self.cut(frame, self.view(frame))

    def cut(self, frame: Frame, view: View) -> Tensor:
        """Return what :meth:`batch` does, where the view is known; changes nothing.

        Raises:
            FrameRefusedError: The pixels are not what the frame declares.
        """
        backbone = self._backbone
        colour = mean_colour(backbone.mean, frame.pixel_format, frame.bit_depth)
        pixels = view.cut(frame.pixels, colour)
        try:
            return to_batch(
                pixels,
                image_size=backbone.image_size,
                mean=backbone.mean,
                std=backbone.std,
                bit_depth=frame.bit_depth,
                pixel_format=frame.pixel_format,
                device=backbone.device,
            )
        except ValueError as error:
            detail = f"{_name(frame)}: {error}"
            raise FrameRefusedError(detail, "corrupt") from error


def _layout(frame: Frame) -> _Layout:
    return _Layout(frame.pixels.shape, frame.pixel_format, frame.bit_depth, frame.offset_px)


def _name(frame: Frame) -> str:
    return frame.announcement.origin or "frame"
