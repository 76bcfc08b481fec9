"""Which pictures of a live camera count: all, the first after a trigger, or one a part.

A camera of whose pictures only some are taken is watched in all of them: that
it repeats itself would not show in the few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.sources import CameraEvent, Capture
from edge.sources.motion import MotionSettings, PartDetector
from edge.sources.repeats import Repeats

if TYPE_CHECKING:
    import random


class PicturePicker:
    """Picks pictures for one camera; one thread looks, another may want."""

    def __init__(
        self, *, on_demand: bool, motion: MotionSettings | None, stale_frames: int,
        rng: random.Random,
    ) -> None:  # fmt: skip
        """Begin with nothing wanted.

        Args:
            on_demand: Only the first picture after :meth:`want` counts.
            motion: Only one picture of each part counts.
            stale_frames: As ``camera.stale_frames``; only where not all pictures count.
            rng: For the moments at which the belt is learned.
        """
        self._on_demand = on_demand
        self._detector = PartDetector(motion, rng) if motion is not None else None
        self._repeats = Repeats(stale_frames if on_demand or motion is not None else 0)
        self._wanted_ns: int | None = None

    @property
    def blind(self) -> str:
        """Why no part can be seen at the moment; empty where one can."""
        if self._detector is None or self._detector.knows_the_belt:
            return ""
        return "the empty belt is being learned, parts are not seen"

    @property
    def sees_repeats(self) -> bool:
        """Whether the camera shows the same again and again."""
        return self._repeats.are_stale

    def want(self, now_ns: int) -> None:
        """Ask for the first picture that is taken from now on."""
        self._wanted_ns = now_ns

    def begin_again(self) -> None:
        """Forget what a camera before a loss was about to show."""
        self._wanted_ns = None
        if self._detector is not None:
            self._detector.forget_part()

    def choose(self, capture: Capture, now_ns: int) -> tuple[Capture | None, list[CameraEvent]]:
        """Look at the next picture; return the one that counts, if any, and what was noticed.

        Raises:
            ValueError: The zone of the motion lies outside of the picture.
        """
        if capture.pixels is None:
            # A failed picture is a trigger's; of a belt that is watched there are others.
            return (None if self._on_demand or self._detector is not None else capture), []
        events = self._repeats.see(capture.pixels)
        if self._detector is not None:
            return self._detector.see(capture, now_ns), events
        return (capture if not self._on_demand or self._is_wanted(capture) else None), events

    def _is_wanted(self, capture: Capture) -> bool:
        """Tell whether a picture is the first after a trigger, and answer the trigger with it."""
        wanted_ns = self._wanted_ns
        wanted = wanted_ns is not None and (capture.arrived_ns or 0) >= wanted_ns
        if wanted:
            self._wanted_ns = None
        return wanted
