"""The law of the reject gate: reject unless PASS for this very part arrives in time.

What the PLC at the end of the belt does, as pure logic: no broker, no clock of
its own. ``deploy/plc/reject_gate.st`` is the same in structured text; the case
table ``deploy/plc/cases.json`` holds the two together. In doubt the gate stays
shut: a good part that is rejected costs a part, a bad one that passes a recall.

All times are milliseconds of one monotonic clock, the PLC's own; what a message
says about time is never looked at.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from enum import IntEnum

PART_LIMIT = 48
"""Characters of a part id; a longer one is never registered, so never cut into another's."""
BELT_LIMIT = 32
"""Parts that are remembered between entry and gate; beyond, the oldest is forgotten."""
RETIRED_LIMIT = 4
"""Boots that are remembered as replaced."""
SILENCE_MS = 3000
"""A heartbeat that has not changed for so long means that the box is away."""
TRUSTED_STATES = ("READY", "WARMING", "DEGRADED")
"""States in which a verdict may be believed; any other, known or not, is none."""

_LINE = re.compile(rb"([0-9a-f]{16});([0-9]{1,12});([^;]{1,48});([012])")


class Answer(IntEnum):
    """What is known of a part at the gate; only PASS opens. The first three are wire codes."""

    NO_RESULT = 0
    """The box has no result for the part."""
    PASS = 1
    FAIL = 2
    NO_VERDICT = 3
    """Nothing came for the part."""
    LATE = 4
    """What came for the part came too late."""
    UNKNOWN_PART = 5
    """The part never entered, was decided before, or was forgotten."""
    SILENT = 6
    """The heartbeat stands still."""
    UNTRUSTED = 7
    """The box is, or was when the verdict came, in a state without verdicts, or in none yet."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate does with one part, and why."""

    part: str
    answer: Answer
    waited_ms: int | None
    """From entry to the first verdict for the part; None where nothing came."""

    @property
    def open(self) -> bool:
        """Tell whether the part may pass."""
        return self.answer is Answer.PASS


@dataclass(slots=True)
class _Entry:
    """A part between entry sensor and gate."""

    part: str
    entered_ms: int
    answer: Answer = Answer.NO_VERDICT
    waited_ms: int | None = None


class RejectGate:
    """The memory of one reject gate; a new one knows nothing and rejects everything."""

    def __init__(
        self, verdict_ms: int, silence_ms: int = SILENCE_MS, *, status_wired: bool = True
    ) -> None:
        """Prepare for a belt whose verdicts come within ``verdict_ms`` of a part's entry.

        Args:
            verdict_ms: How long after its entry a part's verdict counts.
            silence_ms: How long the heartbeat may stand still.
            status_wired: Whether ``status`` is heard at all. Where it is, nothing is believed
                before it says so; where it is not, the heartbeat alone is watched.

        Raises:
            ValueError: A limit is not a positive number of milliseconds.
        """
        for name, limit in (("verdict_ms", verdict_ms), ("silence_ms", silence_ms)):
            if limit < 1:
                msg = f"{name} = {limit}: must be at least 1"
                raise ValueError(msg)
        self.malformed = 0
        """Messages that are no line ``boot;part_seq;part;code``."""
        self.ignored = 0
        """Messages that were well formed and answered nothing: stale, repeated, not awaited."""
        self._verdict_ms = verdict_ms
        self._silence_ms = silence_ms
        # Decided entries keep their place, as in a ring: the last 32 entries count, not
        # the last 32 undecided parts.
        self._belt: deque[_Entry] = deque(maxlen=BELT_LIMIT)
        self._retired: deque[bytes] = deque(maxlen=RETIRED_LIMIT)
        self._boot = b""
        self._last_seq = 0
        self._beat = 0
        self._alive_ms: int | None = None
        self._status_wired = status_wired
        self._trusted = not status_wired

    @property
    def undecided(self) -> int:
        """Parts that have entered and were not decided yet."""
        # A copy, so that another thread than the gate's may ask.
        return sum(bool(entry.part) for entry in tuple(self._belt))

    def heartbeat(self, counter: int, at_ms: int) -> None:
        """Take the box's counter; only a change of it is a sign of life.

        The first value says nothing: it may have stood in a buffer for hours.
        """
        if counter != self._beat:
            if self._beat != 0:
                self._alive_ms = at_ms
            self._beat = counter

    def status(self, payload: str) -> None:
        """Take the JSON of ``status``; one that is empty or cannot be read is not trusted."""
        said = (f'"state":"{state}"' in payload for state in TRUSTED_STATES)
        self._trusted = not self._status_wired or any(said)

    def enter(self, part: str, at_ms: int) -> None:
        """Register a part at the entry sensor and start its timer.

        An id that is on the belt already starts anew: what came for it is void.
        """
        self._take(part)
        if 1 <= len(part) <= PART_LIMIT:
            self._belt.append(_Entry(part, at_ms))

    def message(self, payload: bytes, at_ms: int) -> None:
        """Take a payload of ``plc``; it counts once, in time, for a part on the belt."""
        fields = _LINE.fullmatch(payload)
        part_seq = int(fields[2]) if fields else 0
        if not fields or part_seq < 1:
            self.malformed += 1
        elif not self._is_new(fields[1], part_seq) or not self._note(
            fields[3].decode("latin-1"), Answer(int(fields[4])), at_ms
        ):
            self.ignored += 1

    def decide(self, part: str, at_ms: int) -> Decision:
        """Return what happens to the part that is at the gate now, and forget it."""
        entry = self._take(part)
        if entry is None:
            return Decision(part, Answer.UNKNOWN_PART, None)
        answer = entry.answer
        if self._is_silent(at_ms):
            answer = Answer.SILENT
        elif not self._trusted:
            answer = Answer.UNTRUSTED
        return Decision(part, answer, entry.waited_ms)

    def _is_new(self, boot: bytes, part_seq: int) -> bool:
        """Use up a sequence number; False where it, or its boot, was used up before."""
        if boot in self._retired:
            return False
        if boot != self._boot:
            if self._boot:
                self._retired.append(self._boot)
            self._boot, self._last_seq = boot, 0
        if part_seq <= self._last_seq:
            return False
        self._last_seq = part_seq
        return True

    def _note(self, part: str, answer: Answer, at_ms: int) -> bool:
        """Keep the first answer for a part on the belt; False where none was awaited."""
        for entry in self._belt:
            if entry.part == part and entry.answer is Answer.NO_VERDICT:
                entry.waited_ms = at_ms - entry.entered_ms
                entry.answer = answer
                # A clock that goes back proves nothing about time, so it is late as well.
                if not 0 <= entry.waited_ms <= self._verdict_ms:
                    entry.answer = Answer.LATE
                elif not self._trusted:
                    entry.answer = Answer.UNTRUSTED
                return True
        return False

    def _take(self, part: str) -> _Entry | None:
        """Take a part off the belt's memory; an empty id, a failed reading, is no part."""
        for entry in self._belt:
            if part and entry.part == part:
                entry.part = ""
                return entry
        return None

    def _is_silent(self, at_ms: int) -> bool:
        """Tell whether the box gave no sign of life lately, or ever."""
        return self._alive_ms is None or not 0 <= at_ms - self._alive_ms < self._silence_ms
