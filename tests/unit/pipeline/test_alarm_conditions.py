"""A condition begins at one limit, ends at another, and stays while too little is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.alarm_conditions import Condition, Delayed, LineSight, looks_back, make_condition
from pipeline.config_alarm import (
    CameraLostAlarm,
    ConsecutiveAlarm,
    DiskLowAlarm,
    NOfMAlarm,
    NoResultRatioAlarm,
    RateAlarm,
    RegimeChangeAlarm,
    ScorerDownAlarm,
    default_alarms,
)

if TYPE_CHECKING:
    from edge.contract import Verdict, Why
    from pipeline.config_alarm import Alarm

S = 1_000_000_000
PARTS: dict[str, tuple[Verdict, Why]] = {
    "P": ("PASS", "score"),
    "F": ("FAIL", "score"),
    "L": ("NO_RESULT", "late"),
    "G": ("NO_RESULT", "gate_restart"),
    "E": ("FAIL", "warming"),
    "w": ("NO_RESULT", "warming"),
    "d": ("NO_RESULT", "disabled"),
}
"""Parts by one letter; small letters for those that no alarm counts."""
N_OF_M = NOfMAlarm(name="a", kind="n_of_m", count=3, of_parts=5)
IN_A_ROW = ConsecutiveAlarm(name="a", kind="consecutive", count=3)
RATE = RateAlarm(name="a", kind="rate", count=3, period_s=10)
RATIO = NoResultRatioAlarm(name="a", kind="no_result_ratio", ratio=0.5, of_parts=4)
DISK = DiskLowAlarm(name="a", kind="disk_low", min_free_bytes=1_000_000)


def sight(
    *lost: str, scorer_down: bool = False, free_bytes: int | None = None, regime: bool = False
) -> LineSight:
    """Return a line that is well unless told otherwise."""
    return LineSight(frozenset(lost), scorer_down, free_bytes, regime)


def course(condition: Condition, parts: str, start_s: int = 0) -> str:
    """Feed one part a second; return after each + where the condition holds, else -."""
    answers = []
    for second, letter in enumerate(parts, start_s):
        condition.part(*PARTS[letter], second * S)
        answers.append("+" if condition.holds else "-")
    return "".join(answers)


@pytest.mark.parametrize(
    ("alarm", "parts", "expected"),
    [
        # 3 fails of 5, from the first parts on; ends at 2 of the latest 5.
        (N_OF_M, "PFFPFPPP", "----++--"),
        (N_OF_M, "FFFPPPP", "--+++--"),
        (N_OF_M.model_copy(update={"clear_count": 0}), "FFFPPPPP", "--+++++-"),
        # Lost results count only where the config asks for it.
        (N_OF_M, "LLLLF", "-----"),
        (N_OF_M.model_copy(update={"counts": "not_pass"}), "LFGPP", "--+++"),
        # What was not judged is no part at all: neither counts nor thins out.
        (N_OF_M.model_copy(update={"counts": "not_pass"}), "wdwdw", "-----"),
        (N_OF_M, "FwwwwFwwwwF", "----------+"),
        (IN_A_ROW, "FFPFFFFP", "-----++-"),
        (IN_A_ROW, "FFLFFF", "-----+"),
        (IN_A_ROW, "FFwdFwP", "----++-"),
        # A part that failed counts, however young the window was.
        (IN_A_ROW, "FEF", "--+"),
        (IN_A_ROW.model_copy(update={"counts": "not_pass"}), "FLGP", "--+-"),
        # Half of 4, not before there are 4; ends at a quarter.
        (RATIO, "LLLPPPPP", "---++---"),
        (RATIO, "LLwwwPPPP", "------+--"),
        (RATIO, "FFFFLF", "------"),
        (RATIO.model_copy(update={"clear_ratio": 0.0}), "LLPPPPP", "---++--"),
    ],
)
def test_course_of_counting_conditions(alarm: Alarm, parts: str, expected: str) -> None:
    """Counting conditions begin and end at their limits, part by part."""
    assert course(make_condition(alarm, holds=False), parts) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        # One part a second, three within ten seconds; the part of ten seconds ago is out.
        ("FPPPPFPPPFPPPPPP", "---------+------"),
        ("FPPPPFPPPPF", "-----------"),
        ("FFFFPPPPPPPPPP", "--+++++++++---"),
    ],
)
def test_rate_looks_at_a_period(parts: str, expected: str) -> None:
    """A part counts until it is exactly one period old."""
    assert course(make_condition(RATE, holds=False), parts) == expected


def test_rate_ends_without_parts() -> None:
    """A belt that stands lets the rate fall, as time goes by."""
    condition = make_condition(RATE, holds=False)
    course(condition, "FFF")

    condition.look(sight(), 10 * S - 1)
    assert (condition.holds, condition.seen()) == (True, {"parts": 3})
    condition.look(sight(), 10 * S)
    assert (condition.holds, condition.seen()) == (False, {"parts": 2})


@pytest.mark.parametrize(
    ("alarm", "parts", "expected"),
    [
        (N_OF_M, "PPPPP", "++++-"),
        (N_OF_M, "PPwdPPP", "++++++-"),
        (IN_A_ROW, "FwFP", "+++-"),
        (RATIO, "PPPP", "+++-"),
        (RATE, "PPPPPPPPPPP", "++++++++++-"),
    ],
)
def test_what_was_known_stands_until_the_opposite_is_seen(
    alarm: Alarm, parts: str, expected: str
) -> None:
    """After a restart too few parts are no proof that the cause is gone."""
    assert course(make_condition(alarm, holds=True), parts) == expected


def test_recalled_period_is_proof() -> None:
    """A rate that was told all of the last period needs to wait for none."""
    condition = make_condition(RATE, holds=True)
    course(condition, "FF", start_s=-5)
    condition.recalled()

    condition.look(sight(), 0)

    assert (condition.holds, condition.seen()) == (False, {"parts": 2})


@pytest.mark.parametrize("ratio", [0.07, 0.14, 0.28, 0.29, 0.55, 0.57, 0.58])
def test_ratio_is_free_of_rounding(ratio: float) -> None:
    """Exactly the share in the config raises the alarm, one part less does not."""
    alarm = NoResultRatioAlarm(name="a", kind="no_result_ratio", ratio=ratio, of_parts=100)
    lost = round(ratio * 100)

    enough = course(make_condition(alarm, holds=False), "P" * (100 - lost) + "L" * lost)
    less = course(make_condition(alarm, holds=False), "P" * (101 - lost) + "L" * (lost - 1))

    assert (enough[-1], less[-1]) == ("+", "-")


@pytest.mark.parametrize(
    ("free_bytes", "before", "after"),
    [
        (999_999, False, True),
        (1_000_000, False, False),
        (1_000_000, True, True),
        (1_099_999, True, True),
        (1_100_000, True, False),
        (None, True, True),
        (None, False, False),
    ],
)
def test_disk_has_a_tenth_of_hysteresis(
    free_bytes: int | None, *, before: bool, after: bool
) -> None:
    """Below the limit it begins, a tenth above it ends; an unknown disk changes nothing."""
    condition = make_condition(DISK, holds=before)

    condition.look(sight(free_bytes=free_bytes), 0)

    assert condition.holds is after
    assert condition.seen() == ({} if free_bytes is None else {"free_bytes": free_bytes})


@pytest.mark.parametrize(
    ("alarm", "bad", "seen"),
    [
        (
            CameraLostAlarm(name="a", kind="camera_lost"),
            sight("c2", "c1"),
            {"cameras": ["c1", "c2"]},
        ),
        (ScorerDownAlarm(name="a", kind="scorer_down"), sight(scorer_down=True), {}),
        (RegimeChangeAlarm(name="a", kind="regime_change"), sight(regime=True), {}),
    ],
)
def test_what_is_seen_holds_at_once(
    alarm: Alarm, bad: LineSight, seen: dict[str, list[str]]
) -> None:
    """Camera, scorer and regime hold as long as they are seen so, whatever the parts are."""
    condition = make_condition(alarm, holds=False)

    condition.look(bad, 0)
    assert (condition.holds, condition.seen()) == (True, seen)
    condition.part("PASS", "score", 1)
    assert condition.holds
    condition.look(sight(), 2)
    assert not condition.holds


@pytest.mark.parametrize(
    ("alarm", "seen"),
    [
        (N_OF_M, {"parts": 2, "of_parts": 5}),
        (IN_A_ROW, {"parts_in_a_row": 1}),
        (RATE, {"parts": 3}),
        (RATIO, {"parts": 1, "of_parts": 4}),
    ],
)
def test_seen_gives_the_figures(alarm: Alarm, seen: dict[str, int]) -> None:
    """What was counted can be told: of the latest parts, in a row, within the period."""
    condition = make_condition(alarm, holds=False)

    course(condition, "FFPPLF")

    assert condition.seen() == seen


def test_delays_follow_what_lasts() -> None:
    """Two seconds to begin, three to end; an interruption starts the delay anew."""
    condition = make_condition(ScorerDownAlarm(name="a", kind="scorer_down"), holds=False)
    delayed = Delayed(2.0, 3.0, active=False)
    answers = []

    for second, down in enumerate([1, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0]):
        condition.look(sight(scorer_down=bool(down)), second * S)
        delayed.follow(condition, second * S)
        answers.append(int(delayed.active))

    assert answers == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("alarm", "reach"),
    [(N_OF_M, (5, 0)), (IN_A_ROW, (3, 0)), (RATE, (0, 10)), (RATIO, (4, 0)), (DISK, (0, 0))],
)
def test_conditions_tell_how_far_they_reach(alarm: Alarm, reach: tuple[int, float]) -> None:
    """Only counting conditions need earlier parts: so many, or of so many seconds."""
    assert looks_back(alarm) == reach


def test_every_default_alarm_has_a_condition() -> None:
    """Each alarm of a line that names none rests at first, whatever it looks at."""
    conditions = [make_condition(alarm, holds=False) for alarm in default_alarms()]

    for condition in conditions:
        condition.part("PASS", "score", 0)
        condition.look(sight(free_bytes=10**12), 0)

    assert not any(condition.holds for condition in conditions)
