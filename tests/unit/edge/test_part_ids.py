"""Part ids: one name a frame by policy, and no told part is forgotten."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.part_ids import TOLD_LIMIT, PartIds, PartPolicy, ToldPart

MS = 1_000_000


def told(part_id: str, ms: int = 0, trigger: int | None = None) -> ToldPart:
    """Return a part that was told at this time."""
    return ToldPart(part_id, datetime(2026, 1, 2, tzinfo=timezone.utc), ms * MS, trigger)


def names(parts: list[ToldPart]) -> list[str]:
    """Return the ids of told parts."""
    return [part.part_id for part in parts]


def borne(parts: PartIds, counter: int | None = None, opening: int = 1, ms: int = 0) -> str | None:
    """Let a frame come; return the part that it bears."""
    part, _, _ = parts.match(ms * MS, counter, opening)
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
        st.tuples(st.sampled_from(["tell", "frame", "wait"]), st.integers(0, 3)), max_size=30
    ),
    numbered=st.booleans(),
    after_telling=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_every_told_part_ends_once(
    events: list[tuple[str, int]],
    *,
    numbered: bool,
    after_telling: bool,
) -> None:
    """Whatever happens in whatever order, each told part is borne by one frame or handed back."""
    parts = PartIds("c1", "message", wait_ms=2, after_telling=after_telling)
    sent: list[str] = []
    ended: list[str] = []
    counter = trigger = 0

    for ms, (event, skipped) in enumerate(events):
        if event == "wait":
            ended += names(parts.overdue(ms * MS))
        if event == "tell":
            trigger += 1 + skipped
            sent.append(f"P{ms}")
            ended += names(parts.tell(told(sent[-1], ms, trigger if numbered else None)))
        if event == "frame":
            counter += 1 + skipped
            part, unseen, _ = parts.match((ms - skipped) * MS, counter, 1)
            ended += [*names(unseen), *([part.part_id] if part else [])]
    ended += names(parts.give_up())

    assert sorted(ended) == sorted(sent)


def test_part_told_twice_stays_one() -> None:
    """A reader that reads a part twice before its picture makes no second part of it."""
    ids = PartIds("c1", "message", 1000)

    replaced = ids.tell(told("A-1")), ids.tell(told("A-1", 5))

    assert replaced == ([], [])
    assert [borne(ids), borne(ids)] == ["A-1", None]


def test_triggers_find_their_parts() -> None:
    """Where both sides count, a frame bears the part of its trigger, whatever else is told."""
    ids = PartIds("c1", "message", 1000)
    ids.tell(told("A", trigger=101))

    first = borne(ids, counter=7)
    for part_id, trigger in (("B", 102), ("C", 103), ("D", 104)):
        assert ids.tell(told(part_id, trigger=trigger)) == []
    second = borne(ids, counter=8)
    part, unseen, given_up = ids.match(0, 10, 1)

    assert (first, second) == ("A", "B")
    assert part is not None
    assert (part.part_id, names(unseen), given_up) == ("D", ["C"], 1)


def test_late_message_names_no_other_frame() -> None:
    """A frame that comes before its own message bears no name, and never that of a later part."""
    ids = PartIds("c1", "message", 1000)
    ids.tell(told("A", trigger=1))
    borne(ids, counter=1)
    ids.tell(told("C", trigger=3))

    unnamed = borne(ids, counter=2)
    named = borne(ids, counter=3)

    assert (unnamed, named) == (None, "C")


def test_counts_are_not_joined_by_guess() -> None:
    """With several parts on their way and no known relation of the counts, none is named."""
    ids = PartIds("c1", "message", 1000)
    ids.tell(told("A", trigger=1))
    ids.tell(told("B", trigger=2))

    part, unseen, given_up = ids.match(0, 50, 1)
    ids.tell(told("C", trigger=3))

    assert part is None
    assert (names(unseen), given_up) == (["A", "B"], 2)
    assert borne(ids, counter=51) == "C"


@pytest.mark.parametrize("begins", ["camera", "plant"])
def test_new_count_is_joined_anew(begins: str) -> None:
    """A camera that was opened again, or a plant that counts anew, makes a new relation."""
    ids = PartIds("c1", "message", 1000)
    ids.tell(told("A", trigger=101))
    borne(ids, counter=7)
    trigger, opening, counter = (102, 2, 1) if begins == "camera" else (1, 1, 8)

    ids.tell(told("B", trigger=trigger))

    assert borne(ids, counter=counter, opening=opening) == "B"


def test_too_many_told_parts_are_missed() -> None:
    """A camera that sends nothing keeps no endless list: the oldest told part is missed."""
    ids = PartIds("c1", "message", 10**9)

    missed = [ids.tell(told(f"P{n}", trigger=n + 1)) for n in range(TOLD_LIMIT + 2)]

    assert [names(parts) for parts in missed[-2:]] == [["P0"], ["P1"]]
    assert not any(missed[:-2])


def test_picture_from_before_the_telling_is_of_no_part() -> None:
    """Where the telling is the trigger, a picture that is older than it is another part's."""
    ids = PartIds("c1", "message", 1000, after_telling=True)
    ids.tell(told("A", ms=100))

    assert borne(ids, ms=99) is None
    assert borne(ids, ms=100) == "A"
