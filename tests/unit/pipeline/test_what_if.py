"""All thresholds at once say what a line says part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipeline.config_alarm import Alarm
from pipeline.what_if import Parts, held, held_naive, what_if

if TYPE_CHECKING:
    from collections.abc import Sequence

RULE = TypeAdapter[Alarm](Alarm)
THRESHOLDS = (0.0, 0.3, 0.5, 0.5000001, 0.9, 2.0)
NAN = float("nan")


def rule(**fields: Any) -> Alarm:
    """Return an alarm as the config would have it."""
    return RULE.validate_python({"name": "a", **fields})


def parts(scores: Sequence[float], at_s: Sequence[float] | None = None) -> Parts:
    """Return parts, one a second by default."""
    seconds = np.arange(len(scores)) if at_s is None else np.array(at_s)
    return Parts(np.array(scores, float), (seconds * 1e9).astype(np.int64))


RULES = st.one_of(
    st.builds(
        lambda count, more, clear, counts: rule(
            kind="n_of_m",
            count=count,
            of_parts=count + more,
            clear_count=min(clear, count - 1),
            counts=counts,
        ),
        st.integers(1, 6),
        st.integers(0, 6),
        st.integers(0, 5),
        st.sampled_from(["fail", "not_pass"]),
    ),
    st.builds(
        lambda count, counts: rule(kind="consecutive", count=count, counts=counts),
        st.integers(2, 5),
        st.sampled_from(["fail", "not_pass"]),
    ),
    st.builds(
        lambda count, clear, period: rule(
            kind="rate", count=count, clear_count=min(clear, count - 1), period_s=period
        ),
        st.integers(1, 5),
        st.integers(0, 4),
        st.sampled_from([1.0, 2.5, 10.0]),
    ),
    st.builds(
        lambda ratio, size: rule(kind="no_result_ratio", ratio=ratio, of_parts=size),
        st.sampled_from([0.1, 0.3, 0.5, 1.0]),
        st.integers(1, 8),
    ),
)
SCORES = st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.95, NAN]), max_size=40)
GAPS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=40, max_size=40)


@given(RULES, SCORES, GAPS)
def test_all_at_once_is_part_by_part(asked: Alarm, scores: list[float], gaps: list[float]) -> None:
    """Every rule, threshold and stream of parts gives what the line's own condition gives."""
    some = parts(scores, np.cumsum(gaps)[: len(scores)].tolist())
    fails = some.scores[None, :] >= np.array(THRESHOLDS)[:, None]

    holds = held(asked, fails, some)

    assert holds.shape == (len(THRESHOLDS), len(scores))
    assert holds.tolist() == [held_naive(asked, one, some) for one in THRESHOLDS]


def test_answer_counts_rejects_and_what_they_call() -> None:
    """Two bursts of three: an alarm of three in a row comes twice, one of five never."""
    some = parts([0.1, 0.8, 0.8, 0.8, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9])
    three, five = (rule(kind="consecutive", count=count) for count in (3, 5))

    answer = what_if(some, [0.5, 0.85, 1.0], [three, five])

    assert answer.rejects.tolist() == [7, 4, 0]
    assert answer.alarms.tolist() == [[2, 0], [1, 0], [0, 0]]
    assert answer.alarmed.tolist() == [[3, 0], [2, 0], [0, 0]]


def test_part_without_a_result_is_no_reject() -> None:
    """What has no score fails at no threshold, and counts where results are asked for."""
    some = parts([NAN, 0.2, NAN, NAN])

    answer = what_if(some, [0.1], [rule(kind="consecutive", count=2, counts="not_pass")])

    assert answer.rejects.tolist() == [1]
    assert answer.alarms.tolist() == [[1]]


def test_no_rules_and_no_parts_have_an_answer() -> None:
    """Nothing asked is nothing answered, of nothing there is nothing."""
    assert what_if(parts([]), [0.5], [rule(kind="rate", count=1, period_s=1)]).alarms.tolist() == [
        [0]
    ]
    assert what_if(parts([0.6]), [0.5], []).alarms.shape == (1, 0)


def test_rule_that_looks_at_no_parts_is_refused() -> None:
    """A lost camera is no question of thresholds."""
    with pytest.raises(ValueError, match="alarm a: kind camera_lost does not look at parts"):
        what_if(parts([0.5]), [0.5], [rule(kind="camera_lost")])
