"""Software triggers that hold nobody up.

A driver waits for the camera's answer; where the camera is dead that takes
seconds, in which the caller's other parts would miss their deadlines. So the
command is given by a thread of its own, and that it failed is told later.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SoftwareTrigger:
    """Makes a camera expose, once for each call of ``ask``."""

    def __init__(self, fire: Callable[[], None], refusal: type[Exception]) -> None:
        """Start the thread.

        Args:
            fire: Gives the command.
            refusal: What it raises where the camera does not obey.
        """
        self.fault = ""
        """Why the camera did not obey; it is not asked again."""
        self._fire = fire
        self._refusal = refusal
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="software trigger", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Ask for one picture, and return at once."""
        self._asked.put(True)

    def close(self) -> None:
        """End the thread, which may have to wait for a dead camera's answer."""
        self._asked.put(False)
        self._thread.join()

    def _work(self) -> None:
        while self._asked.get():
            if self.fault:
                continue
            try:
                self._fire()
            except self._refusal as error:
                self.fault = str(getattr(error, "message", error)) or type(error).__name__
