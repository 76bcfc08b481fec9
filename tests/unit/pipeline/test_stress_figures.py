"""Figures of streams: shares at an operating point, and seeds put together."""

from __future__ import annotations

from typing import Any

import pytest
from factories import inspection

from pipeline.stress_figures import (
    Outcome,
    Seen,
    collect,
    combined,
    figures,
    first_with,
    mean_score,
    separation,
)
from pipeline.stress_line import Reading, read


def reading(score: float | None = 0.5, verdict: Any = "PASS", **fields: Any) -> Reading:
    """What a line said of a part."""
    known: dict[str, Any] = {
        "why": "score",
        "state": "READY",
        "voted": True,
        "events": (),
        "refined": {},
    }
    return Reading(verdict=verdict, score=score, **(known | fields))


def test_shares_are_taken_at_the_operating_point() -> None:
    """A part is found at the threshold or above, and lost in a pass, whatever the judge's own."""
    bad = [reading(0.7), reading(0.6, "FAIL"), reading(0.5), reading(None, "NO_RESULT")]
    good = [reading(0.6), reading(0.2, "FAIL"), reading(0.1), reading(0.1)]

    reached = figures([Seen(True, one) for one in bad] + [Seen(False, one) for one in good], 0.6)

    assert reached == {
        "recall": 0.5,
        "false_reject_rate": 0.25,
        "auroc": pytest.approx(10.5 / 12),
        "n": 8,
        "judge_recall": 0.25,
        "judge_false_rejects": 0.25,
        "passed": 0.5,
        "no_result": 0.125,
    }


def test_stream_of_one_kind_has_no_auroc() -> None:
    """What cannot be known is None, not 0."""
    reached = figures([Seen(False, reading(0.1))], 0.6)

    assert (reached["recall"], reached["auroc"], reached["passed"]) == (None, None, None)
    assert reached["false_reject_rate"] == 0.0
    assert separation([Seen(True, reading(None)), Seen(False, reading())]) is None


def test_seeds_are_averaged_and_counts_added() -> None:
    """Each seed weighs the same in a share; a figure that one seed lacks is the others' mean."""
    whole = combined(
        [
            {"recall": 1.0, "n": 10, "event_after": None, "auroc": None},
            {"recall": 0.5, "n": 30, "event_after": 4.0, "auroc": None},
        ]
    )

    assert whole == {
        "recall": 0.75,
        "n": 40,
        "event_after": 4.0,
        "auroc": None,
        "recall_by_seed": [1.0, 0.5],
    }


def test_rejects_of_all_seeds_have_one_interval() -> None:
    """Counted rejects are added up before their 95 % interval is taken."""
    whole = combined([{"rejects": 1, "of": 100}, {"rejects": 3, "of": 100}])

    low, high = whole["rejects_interval"]
    assert (whole["rejects"], whole["of"]) == (4, 200)
    assert 0.007 < low < 0.02 < high < 0.051


def test_outcomes_of_a_stream_come_together() -> None:
    """Same scenario and params make one object; faults of all seeds stand beside its figures."""
    outcomes = [
        Outcome("burst", {"b": b}, {"plain": {"n": 1}, "guarded": {"n": 2}}, faults)
        for faults in (("seed 0: few",), ())
        for b in (1, 4)
    ]

    collected = collect(outcomes)

    assert [one.summary() for one in collected] == [
        {
            "scenario": "burst",
            "params": {"b": b},
            "plain": {"n": 2},
            "guarded": {"n": 4},
            "faults": ["seed 0: few"],
        }
        for b in (1, 4)
    ]


def test_event_is_found_where_it_came() -> None:
    """The first part that shows it counts."""
    readings = [reading(), reading(events=("same_defect",)), reading(events=("same_defect",))]

    assert first_with("same_defect", readings) == 1
    assert first_with("belt_stopped", readings) is None


def test_mean_leaves_out_what_has_no_score() -> None:
    """Parts without a score are neither 0 nor a reason for no mean."""
    assert mean_score([reading(0.2), reading(None), reading(0.4)]) == pytest.approx(0.3)
    assert mean_score([reading(None)]) is None


def test_inspection_is_read_as_it_stands() -> None:
    """Score, verdict, state and vote are the inspection's own."""
    seen = read(inspection(verdict="FAIL", score=0.9))

    assert (seen.verdict, seen.why, seen.state, seen.score) == ("FAIL", "score", "READY", 0.9)
    assert seen.voted
    assert (seen.events, seen.refined) == ((), {})
    assert seen.reaches(0.9)
    assert not seen.reaches(0.91)


def test_events_and_second_looks_are_read() -> None:
    """Kinds of events, and refined scores by the number of the part."""
    seen = read(
        inspection(
            admission="quarantine",
            events=[{"kind": "same_defect", "detail": {"parts": ["P1"]}}],
            refined=[{"boot": "0" * 16, "seq": 3, "score": 0.25}],
        )
    )

    assert not seen.voted
    assert seen.events == ("same_defect",)
    assert seen.refined == {3: 0.25}
