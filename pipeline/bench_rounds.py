"""Rounds of a bench: every contestant once a round, in turns, and how far it is.

What else the machine does falls on all contestants alike that way; the order moves
on by one each round, and a first round is not counted. Nothing here imports torch.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, TypeVar

from rich.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

_Step = TypeVar("_Step")

PLAIN_EVERY_S = 5.0
"""Without a terminal: a line every so many seconds."""


def race(
    runners: Mapping[str, Callable[[int], object]],
    rounds: Iterable[int],
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, list[float]]:
    """Time each runner once a round, in turns.

    Args:
        runners: By name; each is called with the number of the round.
        rounds: Numbers 0, 1, ...; round 0 warms up and is not counted.
        clock_ns: Nanoseconds.

    Returns:
        Milliseconds by name, one for each counted round.
    """
    times_ms: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for number in rounds:
        first = number % len(names)
        for name in names[first:] + names[:first]:
            begin = clock_ns()
            runners[name](number)
            if number:
                times_ms[name].append((clock_ns() - begin) / 1e6)
    return times_ms


def ratio_of(times_ms: Sequence[float], to_times_ms: Sequence[float]) -> float:
    """Return the median over the rounds of one contestant's time over another's.

    Round by round, because both saw the same load then.
    """
    return statistics.median(one / other for one, other in zip(times_ms, to_times_ms, strict=True))


def shown(
    console: Console,
    what: str,
    steps: Iterable[_Step],
    total: int,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[_Step]:
    """Pass steps on: a bar on a terminal, a plain line every few seconds otherwise."""
    next_s = clock() + PLAIN_EVERY_S
    # Drawn between two steps only: a thread that draws would take part in the race.
    with Progress(console=console, auto_refresh=False, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        for done, step in enumerate(steps):
            bar.update(task, completed=done, refresh=True)
            if not console.is_terminal and clock() >= next_s:
                next_s = clock() + PLAIN_EVERY_S
                console.print(f"{done} of {total} {what}", highlight=False)
            yield step
        bar.update(task, completed=total, refresh=True)
