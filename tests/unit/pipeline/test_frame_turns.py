"""Cameras take turns: nobody starves, and no camera's frames change their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factories import frame
from hypothesis import given
from hypothesis import strategies as st

from pipeline.frame_turns import FrameTurns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.frame import Frame


def seqs(taken: Iterable[tuple[bytes, Frame]]) -> list[tuple[bytes, int]]:
    """Return sender and number of each frame."""
    return [(sender, one.key.seq) for sender, one in taken]


def test_senders_take_turns() -> None:
    """One frame of each in the order of their arrival, then the next of each."""
    turns = FrameTurns()
    for sender, seq in ((b"a", 1), (b"a", 2), (b"a", 3), (b"b", 1), (b"c", 1), (b"b", 2)):
        turns.put(sender, frame(seq))

    taken = turns.take(9)

    assert seqs(taken) == [(b"a", 1), (b"b", 1), (b"c", 1), (b"a", 2), (b"b", 2), (b"a", 3)]
    assert len(turns) == 0


def test_slow_sender_waits_for_one_turn() -> None:
    """However many frames a fast sender keeps waiting, a slow one's is next after one of them."""
    turns = FrameTurns()
    for seq in range(1, 100):
        turns.put(b"fast", frame(seq))
    turns.take(3)
    turns.put(b"slow", frame(1))

    taken = turns.take(2)

    assert seqs(taken) == [(b"fast", 4), (b"slow", 1)]


def test_heads_are_what_comes_next_whatever_is_put_in() -> None:
    """The first frame of each sender waits on, and is taken first by a turn of as many."""
    turns = FrameTurns()
    for sender, seq in ((b"a", 1), (b"a", 2), (b"b", 1)):
        turns.put(sender, frame(seq))

    heads = turns.heads(8)
    for sender, seq in ((b"c", 1), (b"b", 2), (b"a", 3)):
        turns.put(sender, frame(seq))

    assert [one.key.seq for one in heads] == [1, 1]
    assert all(one is taken for one, (_, taken) in zip(heads, turns.take(2), strict=True))
    assert len(turns.heads(1)) == 1


def test_no_more_than_the_limit() -> None:
    """A batch is never larger than asked for, and the rest waits."""
    turns = FrameTurns()
    for seq in range(1, 6):
        turns.put(b"a", frame(seq))

    assert [len(turns.take(2)) for _ in range(4)] == [2, 2, 1, 0]


@given(
    steps=st.lists(st.one_of(st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 4)), max_size=40)
)
def test_nothing_is_lost_and_order_is_kept(steps: list[bytes | int]) -> None:
    """What was put in comes out once, for each sender in its order; nobody waits for two turns."""
    turns = FrameTurns()
    put: list[tuple[bytes, int]] = []
    got: list[tuple[bytes, int]] = []
    overtaken: dict[bytes, list[bytes]] = {}
    for step in [*steps, 100]:
        if isinstance(step, bytes):
            put.append((step, len(put) + 1))
            turns.put(step, frame(len(put)))
            overtaken.setdefault(step, [])
            continue
        for sender, seq in seqs(turns.take(step)):
            got.append((sender, seq))
            overtaken.pop(sender)
            for others in overtaken.values():
                others.append(sender)
                assert len(others) == len(set(others))
            if len([one for one, _ in put if one == sender]) > len(
                [one for one, _ in got if one == sender]
            ):
                overtaken[sender] = []

    assert sorted(got) == sorted(put)
    for sender in (b"a", b"b", b"c"):
        assert [one for one in got if one[0] == sender] == [one for one in put if one[0] == sender]
