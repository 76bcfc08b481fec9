"""Pictures are counted by the ids of the camera, which come round, get lost, and begin anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.sources.aravis import FrameIds


@given(steps=st.lists(st.integers(1, 2000), max_size=200), first=st.integers(1, 65_535))
def test_ids_of_16_bits_are_unwrapped(steps: list[int], first: int) -> None:
    """What a camera of 16 bits counts goes on for ever, gaps and all."""
    true = [first]
    for step in steps:
        true.append(true[-1] + step)

    ids = FrameIds(wraps=True)
    counted = [ids.count((number - 1) % 65_535 + 1) for number in true]

    assert counted == true


@given(
    lost=st.lists(st.booleans(), min_size=1, max_size=200),
    first=st.integers(65_300, 65_535),
    wraps=st.booleans(),
)
def test_lost_ids_are_counted(lost: list[bool], first: int, wraps: bool) -> None:  # noqa: FBT001 - a case
    """A picture whose id is lost counts one, so that the next is no gap; ids of 64 bits go on."""
    ids = FrameIds(wraps=wraps)
    ids.count(first)

    numbers = range(first + 1, first + 1 + len(lost))
    counted = [
        ids.count_unknown() if gone else ids.count((n - 1) % 65_535 + 1 if wraps else n)
        for n, gone in zip(numbers, lost, strict=True)
    ]

    assert counted == list(numbers)


def test_first_id_unknown_is_no_number() -> None:
    """Nobody can say the number of a picture before any id has come."""
    ids = FrameIds(wraps=True)

    assert ids.count_unknown() is None
    assert ids.count(7) == 7


def test_counting_anew_is_not_hidden() -> None:
    """A camera of 64 bits that begins again is passed on as it is: ingest tells the jump."""
    ids = FrameIds(wraps=False)

    counted = [ids.count(frame_id) for frame_id in (0, 1, 70_000, 3, 4)]

    assert counted == [0, 1, 70_000, 3, 4]
