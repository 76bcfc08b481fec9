"""Part ids: one name a frame by policy, and no told part is forgotten."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.part_ids import PartIds, PartPolicy, ToldPart

MS = 1_000_000


def told(part_id: str, ms: int = 0) -> ToldPart:
    """Return a part that was told at this time."""
    return ToldPart(part_id, datetime(2026, 1, 2, tzinfo=timezone.utc), ms * MS)


@pytest.mark.parametrize(
    ("policy", "named", "part_id"),
    [
        ("source", "lid_07", "lid_07"),
        ("source", None, "c1-00000012"),
        ("source", "", "c1-00000012"),
        ("source", "A;2", "c1-00000012"),
        ("counter", "lid_07", "c1-00000012"),
        ("message", "lid_07", "c1-00000012"),
    ],
)
def test_name_follows_the_policy(policy: PartPolicy, named: str | None, part_id: str) -> None:
    """The source's name counts under ``source`` alone, and only a valid one."""
    parts = PartIds("c1", policy, wait_ms=500)

    assert parts.take(12, named) == part_id


@pytest.mark.parametrize(
    ("policy", "complaint"), [("source", "part id"), ("counter", ""), ("message", "")]
)
def test_unused_name_has_no_fault(policy: PartPolicy, complaint: str) -> None:
    """A name that is not used cannot make a frame corrupt."""
    parts = PartIds("c1", policy, wait_ms=500)

    assert parts.fault("A;2").startswith(complaint)
    assert bool(parts.fault("A;2")) == bool(complaint)
    assert parts.fault(None) == ""


def test_told_part_names_one_frame() -> None:
    """A told part is the next frame's, and no other's."""
    parts = PartIds("c1", "message", wait_ms=500)

    assert parts.tell(told("A")) is None
    assert [parts.take(seq, None) for seq in (1, 2)] == ["A", "c1-00000002"]
    assert parts.give_up() is None


def test_overdue_from_the_last_millisecond_on() -> None:
    """A told part may wait for less than ``wait_ms``; then it is handed back, once."""
    parts = PartIds("c1", "message", wait_ms=500)
    part = told("A", ms=1000)
    parts.tell(part)

    early = parts.overdue(1500 * MS - 1)
    late = parts.overdue(1500 * MS)

    assert (early, late, parts.overdue(9999 * MS)) == (None, part, None)


@given(events=st.lists(st.sampled_from(["tell", "frame", "wait"]), max_size=30))
@settings(max_examples=100, deadline=None)
def test_every_told_part_ends_once(events: list[str]) -> None:
    """Whatever happens in whatever order, each told part is borne by one frame or handed back."""
    parts = PartIds("c1", "message", wait_ms=2)
    sent: list[str] = []
    ended: list[str] = []

    for ms, event in enumerate(events):
        missed = parts.overdue(ms * MS) if event == "wait" else None
        if event == "tell":
            sent.append(f"P{ms}")
            missed = parts.tell(told(sent[-1], ms))
        if event == "frame":
            ended.append(parts.take(ms, None))
        ended += [missed.part_id] if missed else []
    last = parts.give_up()
    ended += [last.part_id] if last else []

    assert [part_id for part_id in ended if part_id.startswith("P")] == sent


def test_part_told_twice_stays_one() -> None:
    """A reader that reads a part twice before its picture makes no second part of it."""
    ids = PartIds("c1", "message", 1000)

    replaced = ids.tell(told("A-1")), ids.tell(told("A-1", 5))

    assert replaced == (None, None)
    assert ids.take(1, None) == "A-1"
    assert ids.take(2, None) == "c1-00000002"
