"""What ingest owes the gate: notices that are repeated until they are acknowledged.

In order, oldest first. A notice that could not be sent is due at once, one that
was sent is due again after RESEND_NS; the acknowledgement comes after the
gate's commit, so nothing here is forgotten before it is on disk there.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from edge.sockets import Socket, receive_all, try_send
from edge.wire import Announced, Begins, Happened, Lost, WireError, decode_note, encode_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.wire import Acknowledged, Note

    Notice = Announced | Lost | Begins | Happened

log = logging.getLogger(__name__)

RESEND_NS = 500_000_000
NEVER_NS = -RESEND_NS
LIMIT = 50_000
"""About 25 MB; an hour and a half at ten frames a second without any gate."""


class NoticeOutbox:
    """Notices on their way to the gate."""

    def __init__(self, socket: Socket, on_put: Callable[[Notice], None] | None = None) -> None:
        """Send through ``socket``, a DEALER connected to the gate; ``on_put`` hears each once."""
        self._socket = socket
        self._on_put = on_put
        self._unacknowledged: OrderedDict[tuple[int, str], tuple[bytes, int]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many notices are not acknowledged."""
        return len(self._unacknowledged)

    def owes(self, seq: int) -> bool:
        """Tell whether the notice of a frame is not acknowledged yet."""
        return (seq, "announced") in self._unacknowledged or (seq, "lost") in self._unacknowledged

    @property
    def full(self) -> bool:
        """Tell whether no more frames should be counted until a gate comes back."""
        return len(self) >= LIMIT

    def put(self, note: Notice, now_ns: int) -> None:
        """Send a notice, and keep it until it is acknowledged."""
        if self._on_put is not None:
            self._on_put(note)
        seq = note.seq if isinstance(note, Begins | Happened) else note.announcement.seq
        if isinstance(note, Lost):
            # A loss tells everything that the announcement did.
            self._unacknowledged.pop((seq, "announced"), None)
        body = encode_note(note)
        sent = try_send(self._socket, [body])
        self._unacknowledged[seq, note.kind] = body, now_ns if sent else NEVER_NS

    def resend(self, now_ns: int) -> None:
        """Send again what is due, as far as the gate takes it."""
        while self._unacknowledged:
            key, (body, sent_ns) = next(iter(self._unacknowledged.items()))
            if now_ns - sent_ns < RESEND_NS or not try_send(self._socket, [body]):
                return
            self._unacknowledged[key] = body, now_ns
            self._unacknowledged.move_to_end(key)

    def acknowledge(self, note: Acknowledged) -> None:
        """Forget a notice that is on disk."""
        self._unacknowledged.pop((note.seq, note.notice), None)


def receive_notes(socket: Socket, limit: int = 256) -> Iterator[Note]:
    """Yield the notes that have arrived at ingest; what is none is logged and left out."""
    for parts in receive_all(socket, limit):
        try:
            yield decode_note(parts[-1])
        except WireError as error:
            log.warning("ingest ignored a message: %s", error)
