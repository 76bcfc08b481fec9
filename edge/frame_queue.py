"""What ingest holds for the scorer: frames that wait, and the credit to send them on.

The queue is the only place where pixels wait; its length is limited, and a
frame leaves only on credit. Credit is a matter of totals, so lost or repeated
messages do no harm, and a scorer that was restarted frees what died with it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from edge.notices import receive_notes
from edge.sockets import Socket, try_send
from edge.wire import Credit, Hello, encode_frame, encode_note

if TYPE_CHECKING:
    from edge.frame import Frame


class FrameQueue:
    """Frames of one camera on their way to the scorer."""

    def __init__(self, socket: Socket, camera: str, boot: str, limit_frames: int) -> None:
        """Send through ``socket``, a DEALER connected to the scorer; there is no credit yet."""
        self._socket = socket
        self._camera = camera
        self._boot = boot
        self._limit_frames = limit_frames
        self._waiting: deque[Frame] = deque()
        self._sent = self._settled = self._window = 0

    def __len__(self) -> int:
        """Return how many frames wait."""
        return len(self._waiting)

    @property
    def credit(self) -> int:
        """Frames that may leave now."""
        return self._window - self.in_flight

    @property
    def in_flight(self) -> int:
        """Frames that were sent and are not settled."""
        return self._sent - self._settled

    @property
    def welcome(self) -> bool:
        """Tell whether a scorer has ever granted credit."""
        return self._window > 0

    def put(self, frame: Frame) -> Frame | None:
        """Let a frame wait; return the oldest one where the queue is full."""
        self._waiting.append(frame)
        return self._waiting.popleft() if len(self) > self._limit_frames else None

    def give_up(self) -> list[Frame]:
        """Return every frame that waits, and forget them."""
        frames = list(self._waiting)
        self._waiting.clear()
        return frames

    def take_credit(self) -> None:
        """Read what the scorer has settled; totals never count back."""
        for note in receive_notes(self._socket):
            if isinstance(note, Credit) and note.boot == self._boot:
                self._settled = max(self._settled, note.settled)
                self._window = note.window

    def say_hello(self) -> None:
        """Tell the scorer, where one is there, who we are and what was sent."""
        hello = Hello(camera=self._camera, boot=self._boot, sent=self._sent)
        try_send(self._socket, [encode_note(hello)])

    def send(self) -> None:
        """Send as many frames as there is credit for and the scorer takes."""
        while self._waiting and self.credit > 0:
            if not try_send(self._socket, list(encode_frame(self._waiting[0]))):
                return
            self._waiting.popleft()
            self._sent += 1
