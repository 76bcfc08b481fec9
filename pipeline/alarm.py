"""Alarms of a line: what calls a person, and what became of the call.

Each alarm is in one state of ANSI/ISA-18.2-2016 (IEC 62682): NORMAL,
ACTIVE_UNACK (the cause is there and nobody has acknowledged it), ACTIVE_ACK,
RTN_UNACK (the cause is gone, nobody has acknowledged it) or SHELVED (an
operator has silenced it for a limited time). This is the state machine alone:
parts, sights and times come in, transitions come out; no sockets, no database,
no clock. Delays count monotonic time; UTC only ends a shelving.

``part`` may bring transitions about that the next ``update`` returns: a cause
that comes and goes between two updates is not overlooked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from textwrap import shorten
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pipeline.alarm_conditions import Delayed, looks_back, make_condition
from pipeline.results import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from edge.contract import AlarmState, Verdict, Why
    from pipeline.alarm_conditions import LineSight, Seen
    from pipeline.config_alarm import Alarm
    from pipeline.results import Moment

EVERY_ALARM: Final = "*"
"""Name that stands for all alarms at once; no alarm can be called so."""
SHELVE_LIMIT_MINUTES: Final = 1440
"""A shelved alarm calls nobody; a day later at the latest it does again."""
NAME_SHOWN: Final = 32
NAMES_SHOWN: Final = 120
"""Characters of names in an error: it must fit into the answer to a command."""
_SHELVE_LIMIT: Final = timedelta(minutes=SHELVE_LIMIT_MINUTES)
_STEP_BACK: Final = timedelta(hours=1)
"""How far the wall clock may step back while an alarm is shelved; after more, shelving ends."""

_RISEN: Final[dict[AlarmState, AlarmState]] = {
    "NORMAL": "ACTIVE_UNACK",
    "RTN_UNACK": "ACTIVE_UNACK",
}
_CLEARED: Final[dict[AlarmState, AlarmState]] = {
    "ACTIVE_UNACK": "RTN_UNACK",
    "ACTIVE_ACK": "NORMAL",
}
_ACKNOWLEDGED: Final[dict[AlarmState, AlarmState]] = {
    "ACTIVE_UNACK": "ACTIVE_ACK",
    "RTN_UNACK": "NORMAL",
}
_NOT_ACKNOWLEDGED: Final[dict[AlarmState, tuple[str, str]]] = {
    "NORMAL": ("not_active", "is not active"),
    "ACTIVE_ACK": ("acknowledged", "is acknowledged already"),
    "SHELVED": ("shelved", "is shelved; unshelve it first"),
}


class AlarmError(Exception):
    """An operator asks for what makes no sense in the alarm's state."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the answer's ``code``: a short word for programs, the message is for people."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class AlarmRecord:
    """What the ledger's last row of an alarm says; enough to go on after a restart."""

    state: AlarmState
    since: datetime
    shelved_until: datetime | None = None
    before: AlarmState = "NORMAL"
    """State ahead of the last transition: what a shelved alarm still owes."""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of one alarm's state: a row of the ledger."""

    name: str
    kind: str
    before: AlarmState
    after: AlarmState
    at: datetime
    by: str
    """Who did it; empty where the line did."""
    note: str
    detail: Seen
    """What was seen of the cause at that moment: counts, names."""
    shelved_until: datetime | None

    @property
    def record(self) -> AlarmRecord:
        """What a restart needs of this row."""
        return AlarmRecord(self.after, self.at, self.shelved_until, self.before, self.kind)


def names_moved(transitions: Iterable[Transition], limit: int) -> str:
    """Return the names of the alarms that a person moved, in at most ``limit`` characters.

    Empty where the line itself brought all of the transitions about.
    """
    names = ", ".join(one.name for one in transitions if one.by)
    return shorten(names, limit, placeholder=" ...")


class _TrackedAlarm:
    """One alarm: its condition, behind its delays, and its state."""

    def __init__(self, settings: Alarm, record: AlarmRecord | None) -> None:
        self._settings = settings
        self.state: AlarmState = record.state if record else "NORMAL"
        self._shelved_until = record.shelved_until if record else None
        self._shelved_from: AlarmState = record.before if record else "NORMAL"
        known = self._shelved_from if self.state == "SHELVED" else self.state
        active = known in {"ACTIVE_UNACK", "ACTIVE_ACK"}
        self.condition = make_condition(settings, holds=active)
        self._delayed = Delayed(settings.on_delay_s, settings.off_delay_s, active=active)

    def settle(self, now: Moment) -> Transition | None:
        """Follow the condition, also where a shelved alarm does not show it."""
        self._delayed.follow(self.condition, now.monotonic_ns)
        after = (_RISEN if self._delayed.active else _CLEARED).get(self.state)
        if after == "RTN_UNACK" and not self._settings.latch:
            after = "NORMAL"
        return self._go(after, now) if after else None

    def acknowledge(self, by: str, now: Moment) -> Transition:
        """Take note that a person knows."""
        if self.state not in _ACKNOWLEDGED:
            code, words = _NOT_ACKNOWLEDGED[self.state]
            msg = f"{self._settings.name} {words}"
            raise AlarmError(code=code, message=msg)
        return self._go(_ACKNOWLEDGED[self.state], now, by)

    def shelve(self, by: str, minutes: int, note: str, now: Moment) -> Transition:
        """Silence the alarm; that it was not acknowledged is kept for later."""
        if self.state == "SHELVED":
            msg = f"{self._settings.name} is shelved already; unshelve it first"
            raise AlarmError(code="shelved", message=msg)
        self._shelved_from = self.state
        self._shelved_until = now.utc + timedelta(minutes=minutes)
        return self._go("SHELVED", now, by, note)

    def unshelve(self, by: str, now: Moment, note: str = "") -> Transition:
        """Go where the condition is, or back to what was not acknowledged."""
        if self.state != "SHELVED":
            msg = f"{self._settings.name} is not shelved"
            raise AlarmError(code="not_shelved", message=msg)
        self._shelved_until = None
        latched = self._shelved_from == "ACTIVE_UNACK" and self._settings.latch
        after: AlarmState = "NORMAL"
        if self._delayed.active:
            after = "ACTIVE_UNACK"
        elif latched or self._shelved_from == "RTN_UNACK":
            after = "RTN_UNACK"
        return self._go(after, now, by, note)

    def expire(self, now: Moment) -> Transition | None:
        """End a shelving whose time is over."""
        until = self._shelved_until
        over = until is None or not now.utc < until <= now.utc + _SHELVE_LIMIT + _STEP_BACK
        if self.state != "SHELVED" or not over:
            return None
        return self.unshelve("", now, "its time is over")

    def _go(self, after: AlarmState, now: Moment, by: str = "", note: str = "") -> Transition:
        before, self.state = self.state, after
        return Transition(
            name=self._settings.name,
            kind=self._settings.kind,
            before=before,
            after=after,
            at=now.utc,
            by=by,
            note=note,
            detail=self.condition.seen(),
            shelved_until=self._shelved_until,
        )


class AlarmBook:
    """All alarms of a line, in the order of its config."""

    def __init__(
        self,
        settings: Sequence[Alarm],
        restored: Mapping[str, AlarmRecord] = MappingProxyType({}),
    ) -> None:
        """Go on from what the ledger says, by the alarms' names.

        What was active stays so until its condition is seen to have ended;
        delays start anew. An alarm that the config has no more is dropped with
        the first transitions, and remains in ``states`` as NORMAL.
        """
        self._alarms = {one.name: _TrackedAlarm(one, restored.get(one.name)) for one in settings}
        self._dropped = {
            name: record
            for name, record in restored.items()
            if name not in self._alarms and record.state != "NORMAL"
        }
        self._farewells = list(self._dropped)
        self._pending: list[Transition] = []
        reach = [looks_back(one) for one in settings]
        self._seed_parts = max((parts for parts, _ in reach), default=0)
        self._seed_s = max((period_s for _, period_s in reach), default=0.0)

    @property
    def seed_parts(self) -> int:
        """How many of the latest judged parts :meth:`seed` needs."""
        return self._seed_parts

    @property
    def seed_s(self) -> float:
        """How far back :meth:`seed` needs all parts, beyond ``seed_parts``."""
        return self._seed_s

    @property
    def states(self) -> dict[str, AlarmState]:
        """State of each alarm, by name: what the retained topics say."""
        states: dict[str, AlarmState] = dict.fromkeys(self._dropped, "NORMAL")
        return states | {name: alarm.state for name, alarm in self._alarms.items()}

    def seed(self, parts: Iterable[tuple[Verdict, Why, int]]) -> None:
        """Recall part verdicts from before a restart; no state changes.

        Args:
            parts: Verdict, reason and monotonic time of consecutive parts,
                oldest first: the latest ``seed_parts`` that were judged and all of
                the last ``seed_s``. The time may lie before the host was started.
        """
        for verdict, why, monotonic_ns in parts:
            for alarm in self._alarms.values():
                alarm.condition.part(verdict, why, monotonic_ns)
        for alarm in self._alarms.values():
            alarm.condition.recalled()

    def part(self, verdict: Verdict, why: Why, now: Moment) -> None:
        """Take note of a part verdict; the next call below returns what follows from it."""
        for alarm in self._alarms.values():
            alarm.condition.part(verdict, why, now.monotonic_ns)
        self._settle(now)

    def update(self, sight: LineSight, now: Moment) -> list[Transition]:
        """Return what has changed, oldest first; at least once a second, and after parts."""
        for alarm in self._alarms.values():
            alarm.condition.look(sight, now.monotonic_ns)
        self._settle(now)
        # Only now: what ends a shelving must know the line as it is, not as it was.
        self._keep(alarm.expire(now) for alarm in self._alarms.values())
        return self._take_pending()

    def acknowledge(self, name: str, by: str, now: Moment) -> list[Transition]:
        """Acknowledge one alarm, or with ``*`` all that can be.

        Raises:
            AlarmError: ``unknown_alarm``, ``not_active``, ``acknowledged`` or
                ``shelved``; never for ``*``.
        """
        chosen = self._chosen(name, lambda alarm: alarm.state in _ACKNOWLEDGED)
        self._pending += [alarm.acknowledge(by, now) for alarm in chosen]
        return self._take_pending()

    def shelve(self, name: str, by: str, minutes: int, note: str, now: Moment) -> list[Transition]:
        """Silence an alarm, or with ``*`` all that are not, for 1 to 1440 minutes.

        The conditions are still followed.

        Raises:
            AlarmError: ``unknown_alarm``, ``shelved`` or ``out_of_range``; for ``*``
                only the last.
        """
        chosen = self._chosen(name, lambda alarm: alarm.state != "SHELVED")
        if not 1 <= minutes <= SHELVE_LIMIT_MINUTES:
            msg = f"{name}: minutes = {minutes}: 1 to {SHELVE_LIMIT_MINUTES}"
            raise AlarmError(code="out_of_range", message=msg)
        self._pending += [alarm.shelve(by, minutes, note, now) for alarm in chosen]
        return self._take_pending()

    def unshelve(self, name: str, by: str, now: Moment) -> list[Transition]:
        """End a shelving, or with ``*`` every one, before its time.

        Raises:
            AlarmError: ``unknown_alarm`` or ``not_shelved``; never for ``*``.
        """
        chosen = self._chosen(name, lambda alarm: alarm.state == "SHELVED")
        self._pending += [alarm.unshelve(by, now) for alarm in chosen]
        return self._take_pending()

    def _chosen(self, name: str, concerned: Callable[[_TrackedAlarm], bool]) -> list[_TrackedAlarm]:
        """Return the alarm of this name, or for ``*`` all that are concerned."""
        if name == EVERY_ALARM:
            return [alarm for alarm in self._alarms.values() if concerned(alarm)]
        return [self._named(name)]

    def _named(self, name: str) -> _TrackedAlarm:
        if name not in self._alarms:
            known = shorten(", ".join(self._alarms) or "none", NAMES_SHOWN, placeholder=" ...")
            msg = f"no alarm is called {name[:NAME_SHOWN]!r}; there are: {known}"
            raise AlarmError(code="unknown_alarm", message=msg)
        return self._alarms[name]

    def _settle(self, now: Moment) -> None:
        while self._farewells:
            self._pending.append(self._farewell(self._farewells.pop(0), now))
        self._keep(alarm.settle(now) for alarm in self._alarms.values())

    def _keep(self, transitions: Iterable[Transition | None]) -> None:
        self._pending += [one for one in transitions if one is not None]

    def _farewell(self, name: str, now: Moment) -> Transition:
        record = self._dropped[name]
        note = f"not in the config any more; {record.state} since {timestamp(record.since)}"
        return Transition(name, record.kind, record.state, "NORMAL", now.utc, "", note, {}, None)

    def _take_pending(self) -> list[Transition]:
        pending, self._pending = self._pending, []
        return pending
