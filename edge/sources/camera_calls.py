"""Commands and questions to a camera that hold nobody up.

A driver waits for the camera's answer; where the camera is dead that takes
seconds, in which the caller's other parts would miss their deadlines. So a
thread of its own does the waiting: that a command was not obeyed is told later,
and a question that is not answered in time has its answer.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class CameraCalls:
    """Calls a driver, one call after the other; nothing after the first that fails."""

    def __init__(self, refusal: type[Exception]) -> None:
        """Start the thread.

        Args:
            refusal: What the driver raises where the camera does not do as it is told.
        """
        self.fault = ""
        """What the driver said of the call that failed."""
        self._refusal = refusal
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="camera calls", daemon=True)
        self._thread.start()

    def order(self, command: Callable[[], None]) -> None:
        """Give a command, and return at once."""
        self._calls.put(command)

    def confirms(self, question: Callable[[], bool], limit_s: float) -> bool:
        """Tell whether the answer to a question is yes; none within the limit is no."""
        if self.fault:
            return False
        answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._calls.put(lambda: answer.put(question()))
        try:
            return answer.get(timeout=limit_s)
        except queue.Empty:
            return False

    def close(self) -> None:
        """End the thread, which may have to wait for a dead camera's answer."""
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self.fault:
                continue
            try:
                call()
            except self._refusal as error:
                self.fault = str(getattr(error, "message", error)) or type(error).__name__
            except Exception as error:  # the thread must live on, and the camera be distrusted
                log.exception("a camera's driver")
                self.fault = f"{type(error).__name__}: {error}"
