"""A live camera as its driver sees it: open, grab, trigger, close.

One module a kind of camera speaks to one library and nothing else. What all
cameras need, a thread, reopening, states and counting, is in
:mod:`edge.sources.live`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from edge.sources import Capture

Trigger = Literal["free", "hardware", "software", "motion"]
"""Who asks for a picture: the camera's own clock, a wire, a message, or the part's motion."""


class Device(Protocol):
    """One camera; one thread calls it, only ``trigger`` may come from another."""

    name: str
    """What a person calls it: kind and serial number, path or address; no password."""
    can_trigger: bool
    """Whether ``trigger`` makes the camera expose; else a picture after it is picked out."""

    def open(self) -> None:
        """Open, set up and start; what was set is read back and compared.

        Raises:
            CameraMissingError: No such camera.
            CameraBusyError: Another program holds it.
            PixelFormatError: It does not offer the pixel format.
            CameraSetupError: It refuses another setting.
            SourceError: It cannot be opened for another reason.
        """
        ...

    def grab(self, timeout_s: float) -> Capture | None:
        """Return the next picture, waiting for at most ``timeout_s``; None where none came.

        A buffer that failed, or is not whole, is a capture without pixels and
        with its fault. ``arrived_ns`` is set, ``opening`` is not.

        Raises:
            SourceError: The camera is gone.
        """
        ...

    def trigger(self) -> None:
        """Make the camera expose, where it can.

        Raises:
            SourceError: It does not obey.
        """
        ...

    def is_alive(self) -> bool:
        """Tell whether the camera answers, though it sends no pictures."""
        ...

    def close(self) -> None:
        """Let go of the camera; more calls do nothing, and it may be opened again."""
        ...
