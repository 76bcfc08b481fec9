"""Software triggers that hold nobody up: see :mod:`edge.sources.camera_calls`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.sources.camera_calls import CameraCalls

if TYPE_CHECKING:
    from collections.abc import Callable


class SoftwareTrigger(CameraCalls):
    """Makes a camera expose, once for each call of ``ask``."""

    def __init__(self, fire: Callable[[], None], refusal: type[Exception]) -> None:
        """Start the thread.

        Args:
            fire: Gives the command.
            refusal: What it raises where the camera does not obey.
        """
        super().__init__(refusal)
        self._fire = fire

    def ask(self) -> None:
        """Ask for one picture, and return at once."""
        self.order(self._fire)
