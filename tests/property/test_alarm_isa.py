"""Whatever happens in whatever order, alarms keep to ISA-18.2 and to their plain twins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from alarm_rig import WELL, at
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipeline.alarm import EVERY_ALARM, AlarmBook, AlarmError, AlarmRecord, Transition
from pipeline.alarm_conditions import Condition, Delayed, make_condition
from pipeline.config_alarm import Alarm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.contract import Verdict, Why
    from pipeline.alarm_conditions import LineSight

SOME = settings(max_examples=150, deadline=None)
PARTS: list[tuple[Verdict, Why]] = [
    ("PASS", "score"),
    ("FAIL", "score"),
    ("NO_RESULT", "late"),
    ("NO_RESULT", "warming"),
]
ALARMS: list[dict[str, Any]] = [
    {"name": "few", "kind": "n_of_m", "count": 2, "of_parts": 4},
    {"name": "row", "kind": "consecutive", "count": 2, "counts": "not_pass"},
    {"name": "rate", "kind": "rate", "count": 2, "period_s": 4},
    {"name": "lost", "kind": "no_result_ratio", "ratio": 0.5, "of_parts": 4, "clear_ratio": 0.25},
    {"name": "cam", "kind": "camera_lost"},
    {"name": "scorer", "kind": "scorer_down", "latch": False},
    {"name": "disk", "kind": "disk_low", "min_free_bytes": 1_000_000},
    {"name": "regime", "kind": "regime_change"},
]
BAND: dict[str, dict[str, Any]] = {
    "few": {"count": 3, "clear_count": 0},
    "rate": {"count": 3, "clear_count": 0},
    "lost": {"clear_ratio": 0.0},
}
"""Wider hysteresis: what such an alarm does in the band only its past can tell."""
NAMES = [one["name"] for one in ALARMS]
PLENTY, BETWEEN, LITTLE = 2_000_000, 1_050_000, 900_000

Step = tuple[Any, ...]
PART = st.tuples(st.just("part"), st.sampled_from(PARTS))
SIGHT = st.one_of(
    st.tuples(st.just("sight"), st.just("scorer_down"), st.booleans()),
    st.tuples(st.just("sight"), st.just("regime_change"), st.booleans()),
    st.tuples(st.just("sight"), st.just("cameras_lost"), st.frozensets(st.sampled_from("ab"))),
    st.tuples(st.just("sight"), st.just("free_bytes"), st.sampled_from([PLENTY, LITTLE])),
)
BETWEEN_LIMITS = st.tuples(
    st.just("sight"), st.just("free_bytes"), st.sampled_from([BETWEEN, None])
)
WAIT = st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 4.0, 60.0]))
ACKNOWLEDGE = st.tuples(st.just("acknowledge"), st.sampled_from([*NAMES, EVERY_ALARM]))
SHELVE = st.tuples(st.sampled_from(["shelve", "unshelve"]), st.sampled_from([*NAMES, EVERY_ALARM]))

BY_THE_LINE = {
    ("NORMAL", "ACTIVE_UNACK"),
    ("ACTIVE_UNACK", "RTN_UNACK"),
    ("ACTIVE_ACK", "NORMAL"),
    ("RTN_UNACK", "ACTIVE_UNACK"),
    ("SHELVED", "NORMAL"),
    ("SHELVED", "ACTIVE_UNACK"),
    ("SHELVED", "RTN_UNACK"),
}
BY_A_PERSON = {
    ("ACTIVE_UNACK", "ACTIVE_ACK"),
    ("RTN_UNACK", "NORMAL"),
    ("NORMAL", "SHELVED"),
    ("ACTIVE_UNACK", "SHELVED"),
    ("ACTIVE_ACK", "SHELVED"),
    ("RTN_UNACK", "SHELVED"),
    ("SHELVED", "NORMAL"),
    ("SHELVED", "ACTIVE_UNACK"),
    ("SHELVED", "RTN_UNACK"),
}


def alarms(changes: dict[str, dict[str, Any]] | None = None, **shared: Any) -> list[Alarm]:
    """Return one alarm of each kind."""
    made = [{**one, **shared, **(changes or {}).get(one["name"], {})} for one in ALARMS]
    return TypeAdapter(list[Alarm]).validate_python(made)


@dataclass
class Line:
    """A book with everything that was ever put into it."""

    settings: Sequence[Alarm]
    book: AlarmBook
    sight: LineSight = WELL
    seconds: float = 0.0
    parts: list[tuple[Verdict, Why, int]] = field(default_factory=list)
    rows: list[Transition] = field(default_factory=list)

    def do(self, step: Step) -> list[Transition]:
        """Do one step and look at the line; return what came of it."""
        now = at(self.seconds)
        done: list[Transition] = []
        if step[0] == "part":
            verdict, why = step[1]
            self.parts.append((verdict, why, now.monotonic_ns))
            self.book.part(verdict, why, now)
        elif step[0] == "sight":
            self.sight = replace(self.sight, **{step[1]: step[2]})
        elif step[0] == "wait":
            self.seconds += step[1]
            now = at(self.seconds)
        else:
            extra = {"minutes": 1, "note": ""} if step[0] == "shelve" else {}
            try:
                done += getattr(self.book, step[0])(step[1], by="Ann", now=now, **extra)
            except AlarmError:
                assert step[1] != EVERY_ALARM
        done += self.book.update(self.sight, now)
        self.rows += done
        return done

    def restart(self) -> None:
        """Go on with a new book that knows the ledger's rows and parts only."""
        restored: dict[str, AlarmRecord] = {row.name: row.record for row in self.rows}
        self.book = AlarmBook(self.settings, restored)
        since_ns = at(self.seconds - self.book.seed_s).monotonic_ns
        judged = [number for number, part in enumerate(self.parts) if part[1] != "warming"]
        first = min(
            judged[-self.book.seed_parts :][:1]
            + [number for number, part in enumerate(self.parts) if part[2] > since_ns],
            default=0,
        )
        self.book.seed(self.parts[first:])


@SOME
@given(
    steps=st.lists(st.one_of(PART, SIGHT, BETWEEN_LIMITS, WAIT, ACKNOWLEDGE, SHELVE), max_size=60),
    delay_s=st.sampled_from([0.0, 2.0]),
)
def test_only_legal_transitions(steps: list[Step], delay_s: float) -> None:
    """Rows join on to each other, each takes a way of the standard, none forgets an alarm."""
    made = alarms(on_delay_s=delay_s, off_delay_s=delay_s)
    line = Line(made, AlarmBook(made))
    states = line.book.states
    owed: set[str] = set()

    for step in steps:
        for row in line.do(step):
            assert row.before == states[row.name]
            states[row.name] = row.after
            legal = BY_A_PERSON if row.by else BY_THE_LINE
            ends = (row.before, row.after) == ("ACTIVE_UNACK", "NORMAL")
            assert (row.before, row.after) in legal or (ends and row.name == "scorer")
            if row.after == "ACTIVE_UNACK":
                owed.add(row.name)
            if row.by and row.before != "SHELVED" and row.after in {"ACTIVE_ACK", "NORMAL"}:
                owed.discard(row.name)
            # Only the alarm without a latch may end without an acknowledgment.
            assert row.after != "NORMAL" or row.name == "scorer" or row.name not in owed
        assert line.book.states == states


@SOME
@given(steps=st.lists(st.one_of(SIGHT, ACKNOWLEDGE, SHELVE, WAIT), max_size=40))
def test_state_tells_the_cause(steps: list[Step]) -> None:
    """Without delays an alarm is active exactly while its cause is there, unless shelved."""
    made = alarms()
    line = Line(made, AlarmBook(made))

    for step in steps:
        line.do(step)
        causes = {
            "cam": bool(line.sight.cameras_lost),
            "scorer": line.sight.scorer_down,
            "disk": line.sight.free_bytes == LITTLE,
            "regime": line.sight.regime_change,
        }
        for name, cause in causes.items():
            state = line.book.states[name]
            assert state == "SHELVED" or state.startswith("ACTIVE") == cause


@SOME
@given(
    steps=st.lists(st.one_of(PART, SIGHT, BETWEEN_LIMITS, WAIT), max_size=60),
    on_delay_s=st.sampled_from([0.0, 1.0, 4.0]),
    off_delay_s=st.sampled_from([0.0, 1.5, 60.0]),
)
def test_no_flapping_within_the_delays(
    steps: list[Step], on_delay_s: float, off_delay_s: float
) -> None:
    """An alarm stays at least its off-delay, and away at least its on-delay."""
    made = alarms(on_delay_s=on_delay_s, off_delay_s=off_delay_s)
    line = Line(made, AlarmBook(made))
    for step in steps:
        line.do(step)

    for name in NAMES:
        rows = [row for row in line.rows if row.name == name]
        for earlier, later in pairwise(rows):
            stayed_s = (later.at - earlier.at).total_seconds()
            rose = earlier.after == "ACTIVE_UNACK"
            assert stayed_s >= (off_delay_s if rose else on_delay_s)


@SOME
@given(
    steps=st.lists(
        st.one_of(PART, PART, SIGHT, WAIT, ACKNOWLEDGE, SHELVE, st.just(("restart",))), max_size=60
    )
)
def test_restart_changes_nothing(steps: list[Step]) -> None:
    """Ledger rows and seeded parts are all that a book is: a restart makes no transition."""
    same_after_restarts(alarms(), steps)


@SOME
@given(
    steps=st.lists(
        st.one_of(PART, PART, SIGHT, BETWEEN_LIMITS, WAIT, ACKNOWLEDGE, st.just(("restart",))),
        max_size=60,
    )
)
def test_restart_within_the_hysteresis_changes_nothing(steps: list[Step]) -> None:
    """Between its limits, too, an alarm that is not shelved is after a restart what it was."""
    same_after_restarts(alarms(BAND), steps)


def same_after_restarts(made: list[Alarm], steps: list[Step]) -> None:
    """Do the same with a book that lives on and one that is restarted."""
    steady, restarted = Line(made, AlarmBook(made)), Line(made, AlarmBook(made))
    for step in steps:
        if step == ("restart",):
            restarted.restart()
            assert restarted.book.update(restarted.sight, at(restarted.seconds)) == []
            continue
        done, again = steady.do(step), restarted.do(step)
        assert [(row.name, row.after) for row in again] == [(row.name, row.after) for row in done]
    assert restarted.book.states == steady.book.states


def naive(alarm: Any, history: list[tuple[Verdict, Why, int]], now_ns: int) -> int | None:
    """Count a condition's parts in plain loops over all that ever came; None for too few."""
    judged = [(verdict, ns) for verdict, why, ns in history if why != "warming"]
    which = getattr(alarm, "counts", "no_result")
    bad = {"fail": ["FAIL"], "not_pass": ["FAIL", "NO_RESULT"], "no_result": ["NO_RESULT"]}[which]
    if alarm.kind == "consecutive":
        row = 0
        for verdict, _ in judged:
            row = row + 1 if verdict in bad else 0
        return row
    if alarm.kind == "rate":
        begins_ns = now_ns - int(alarm.period_s * 1e9)
        return sum(verdict in bad and ns > begins_ns for verdict, ns in judged)
    latest = judged[max(0, len(judged) - alarm.of_parts) :]
    if alarm.kind == "no_result_ratio" and len(latest) < alarm.of_parts:
        return None
    return sum(verdict in bad for verdict, _ in latest)


@SOME
@given(
    parts=st.lists(st.tuples(st.sampled_from(PARTS), st.integers(0, 3)), max_size=80),
    name=st.sampled_from(["few", "row", "rate", "lost"]),
    band=st.booleans(),
)
def test_conditions_count_as_their_plain_twin(
    parts: list[tuple[tuple[Verdict, Why], int]], name: str, *, band: bool
) -> None:
    """What is counted incrementally is what plain loops over the whole past count."""
    (alarm,) = [one for one in alarms(BAND if band else None) if one.name == name]
    limits = {"few": (2, 1), "row": (2, 1), "rate": (2, 1), "lost": (2, 1)}
    if band:
        limits = {"few": (3, 0), "row": (2, 1), "rate": (3, 0), "lost": (2, 0)}
    raise_at, clear_at = limits[name]
    condition: Condition = make_condition(alarm, holds=False)
    history: list[tuple[Verdict, Why, int]] = []
    holds, now_ns = False, 0

    for part, pause_s in parts:
        now_ns += pause_s * 1_000_000_000
        history.append((*part, now_ns))
        condition.part(*part, now_ns)
        count = naive(alarm, history, now_ns)
        if count is not None:
            holds = count >= raise_at or (holds and count > clear_at)
        assert condition.holds == holds


@SOME
@given(
    samples=st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60),
    on_delay_s=st.integers(0, 5),
    off_delay_s=st.integers(0, 5),
)
def test_delay_is_its_plain_twin(
    samples: list[tuple[bool, int]], on_delay_s: int, off_delay_s: int
) -> None:
    """An answer changes once all samples of its delay agree on the other."""
    condition = Condition(holds=False)
    delayed = Delayed(on_delay_s, off_delay_s, active=False)
    active, now_s = False, 0
    run: list[int] = []

    for holds, pause_s in samples:
        now_s += pause_s
        run = [*run, now_s] if condition.holds == holds else [now_s]
        condition.holds = holds
        delayed.follow(condition, now_s * 1_000_000_000)
        if now_s - run[0] >= (on_delay_s if holds else off_delay_s):
            active = holds
        assert delayed.active == active
