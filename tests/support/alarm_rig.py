"""A line with alarms, driven second by second."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from pipeline.alarm_conditions import LineSight
from pipeline.config_alarm import ScorerDownAlarm
from pipeline.results import Moment

if TYPE_CHECKING:
    from pipeline.alarm import AlarmBook, Transition

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
WELL = LineSight(frozenset(), scorer_down=False, free_bytes=None, regime_change=False)
DOWN = LineSight(frozenset(), scorer_down=True, free_bytes=None, regime_change=False)


def at(seconds: float) -> Moment:
    """Return the moment so many seconds after the start, on both clocks."""
    return Moment(START + timedelta(seconds=seconds), round(seconds * 1e9))


def scorer(**fields: Any) -> ScorerDownAlarm:
    """Return an alarm whose cause is simply there or not."""
    return ScorerDownAlarm.model_validate({"name": "scorer", "kind": "scorer_down", **fields})


def drive(book: AlarmBook, steps: str, start_s: int = 0) -> list[str]:
    """Do one step a second; return the transitions as ``before>after by``.

    ``!`` the scorer is down, ``.`` it is there, ``a`` acknowledge, ``s`` shelve
    for one minute, ``u`` unshelve, each by Ann.
    """
    done: list[Transition] = []
    for second, step in enumerate(steps, start_s):
        done += {
            "!": lambda now: book.update(DOWN, now),
            ".": lambda now: book.update(WELL, now),
            "a": lambda now: book.acknowledge("scorer", "Ann", now),
            "s": lambda now: book.shelve("scorer", "Ann", 1, "known", now),
            "u": lambda now: book.unshelve("scorer", "Ann", now),
        }[step](at(second))
    return [f"{one.before}>{one.after} {one.by}".rstrip() for one in done]
