"""Part ids: one name a frame by policy, and no told part is forgotten."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.part_ids import TOLD_LIMIT, PartIds, PartPolicy, ToldPart

MS = 1_000_000


def told(part_id: str, ms: int = 0) -> ToldPart:
    """Return a part that was told at this time."""
    return ToldPart(part_id, datetime(2026, 1, 2, tzinfo=timezone.utc), ms * MS)


def names(parts: list[ToldPart]) -> list[str]:
    """Return the ids of told parts."""
    return [part.part_id for part in parts]


def borne(parts: PartIds, ms: int = 0) -> str | None:
    """Let a frame come that was taken at this time; return the part that it bears."""
    part, _, _ = parts.match(ms * MS)
    return part.part_id if part is not None else None


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

    assert parts.name(12, named) == part_id


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

    assert parts.tell(told("A")) == []
    assert parts.expects
    assert [borne(parts), borne(parts)] == ["A", None]
    assert not parts.expects
    assert parts.give_up() == []


def test_overdue_from_the_last_millisecond_on() -> None:
    """A told part may wait for less than ``wait_ms``; then it is handed back, once."""
    parts = PartIds("c1", "message", wait_ms=500)
    part = told("A", ms=1000)
    parts.tell(part)

    early = parts.overdue(1500 * MS - 1)
    late = parts.overdue(1500 * MS)

    assert (early, late, parts.overdue(9999 * MS)) == ([], [part], [])


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["tell", "frame", "wait"]), st.integers(-200, 200)), max_size=30
    ),
    after_telling=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_every_told_part_ends_once(events: list[tuple[str, int]], *, after_telling: bool) -> None:
    """Whatever happens in whatever order, each told part is borne by one frame or handed back."""
    parts = PartIds("c1", "message", wait_ms=200, after_telling=after_telling)
    sent: list[str] = []
    ended: list[str] = []

    for number, (event, off_ms) in enumerate(events):
        now = 40 * number
        if event == "wait":
            ended += names(parts.overdue(now * MS))
        if event == "tell":
            sent.append(f"P{number}")
            ended += names(parts.tell(told(sent[-1], now)))
        if event == "frame":
            part, unseen, _ = parts.match((now + off_ms) * MS)
            ended += [*names(unseen), *([part.part_id] if part else [])]
    ended += names(parts.give_up())

    assert sorted(ended) == sorted(sent)


def test_part_is_told_last_while_it_waits() -> None:
    """Whether a reader reads a part twice is known until its picture has come."""
    ids = PartIds("c1", "message", 1000)
    ids.tell(told("A"))
    ids.tell(told("B", 100))

    assert [ids.is_told(part_id) for part_id in "AB"] == [False, True]
    borne(ids, 200)
    assert not ids.is_told("B")


def test_picture_is_of_the_part_told_last_before_it() -> None:
    """A later part stays expected, earlier ones are handed back as missed."""
    ids = PartIds("c1", "message", 1000)
    for number, part_id in enumerate("ABC"):
        ids.tell(told(part_id, 200 * number))

    part, unseen, given_up = ids.match(330 * MS)

    assert part is not None
    assert (part.part_id, names(unseen), given_up) == ("B", ["A"], 1)
    assert borne(ids, 500) == "C"


def test_late_picture_takes_no_other_name() -> None:
    """A picture of a part that was given up already bears no name, and not the next part's."""
    ids = PartIds("c1", "message", 500)
    ids.tell(told("A"))
    overdue = ids.overdue(500 * MS)
    ids.tell(told("B", 550))

    assert names(overdue) == ["A"]
    assert [borne(ids, 10), borne(ids, 570)] == [None, "B"]


def test_message_may_follow_its_trigger() -> None:
    """A message that comes up to 50 ms after the exposure names it; later, it does not."""
    ids = PartIds("c1", "message", 1000)
    ids.tell(told("A", 50))
    near = borne(ids, 0)
    ids.tell(told("B", 151))

    assert (near, borne(ids, 100)) == ("A", None)


def test_no_name_is_better_than_a_wrong_one() -> None:
    """Where two told parts may be meant, the frame bears neither, and both are missed."""
    ids = PartIds("c1", "message", 1000)
    ids.tell(told("A", 0))
    ids.tell(told("B", 200))

    part, unseen, given_up = ids.match(180 * MS)

    assert part is None
    assert (names(unseen), given_up) == (["A", "B"], 2)


def test_too_many_told_parts_are_missed() -> None:
    """A camera that sends nothing keeps no endless list: the oldest told part is missed."""
    ids = PartIds("c1", "message", 10**9)

    missed = [ids.tell(told(f"P{n}", n)) for n in range(TOLD_LIMIT + 2)]

    assert [names(parts) for parts in missed[-2:]] == [["P0"], ["P1"]]
    assert not any(missed[:-2])


def test_picture_from_before_the_telling_is_of_no_part() -> None:
    """Where the telling is the trigger, a picture that is older than it is another part's."""
    ids = PartIds("c1", "message", 1000, after_telling=True)
    ids.tell(told("A", ms=100))

    assert borne(ids, ms=99) is None
    assert borne(ids, ms=100) == "A"
