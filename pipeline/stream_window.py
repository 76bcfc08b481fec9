"""Who votes in a window, who is kept apart, who is pinned, and whose turn it is to go.

``musc.sliding`` holds frames and their pairs; here each frame has a part in the window:

* **peers** vote on every frame that comes. There are as many as the window's size; the
  oldest goes when another comes.
* frames **apart** are scored like any other but do not vote. They are held so that they
  can be compared with each other, looked at once more, and given the vote later without
  a product. Their number is bounded, the oldest goes; and each goes once the guard has
  looked at it again, or a window has voted after it: it costs a product with every frame.
* **pins** are good frames that stay until they are let go. They vote too where the window
  was made so (few-shot MuSc), and are a floor under scores otherwise (``window_scores``).

A frame is pushed without a vote and then finds its place. Before that the oldest peer of
a full window makes room, as it would for any frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from musc.sliding import SlidingMuSc

Place = Literal["peer", "apart", "pin"]


class FrameId(NamedTuple):
    """What a held frame is called outside."""

    boot: str
    seq: int
    part: str


@dataclass(slots=True)
class Held:
    """What is known of a frame in the window."""

    frame: FrameId
    votes_before: int
    """Frames that had been given the vote when it came."""
    place: Place = "apart"
    failed: bool | None = None
    """Whether it failed on arrival; None without a result."""
    share: float = 0.0
    """Share of its patches that were unusual."""
    scale: float = 1.0
    """Raw score over the deciding one."""
    refined: bool = False
    """Whether it was looked at once more, or never has to be."""
    released: bool = False
    """Whether a person gave it its vote: what it shows is good."""


_HELD = TypeAdapter(list[tuple[int, Held]])


class StreamWindow:
    """The frames of one window and their places; the newest has none until it is placed."""

    def __init__(
        self, window: SlidingMuSc, size: int, most_apart: int, *, pins_vote: bool = False
    ) -> None:
        """Start empty.

        Args:
            window: Room for size, most_apart, and pins.
            size: Peers at most.
            most_apart: Frames apart at most.
            pins_vote: Whether pinned frames vote as peers do.
        """
        self.window = window
        self._size = size
        self._most_apart = most_apart
        self._voting: tuple[Place, ...] = ("peer", "pin") if pins_vote else ("peer",)
        self._held: dict[int, Held] = {}
        self._votes = 0
        self.newest: int | None = None
        """Slot of the frame that has no place yet."""

    @property
    def peers(self) -> list[int]:
        """Slots of the peers, oldest first."""
        return self._in("peer")

    @property
    def voters(self) -> list[int]:
        """Slots of all that vote, oldest first: the peers, and pins where they do."""
        return self._in(*self._voting)

    @property
    def apart(self) -> list[int]:
        """Slots of the frames apart, oldest first; without the newest."""
        return self._in("apart")

    @property
    def pins(self) -> list[int]:
        """Slots of the pinned frames, oldest first."""
        return self._in("pin")

    def __contains__(self, slot: int) -> bool:
        """Tell whether a slot holds a frame."""
        return slot in self._held

    def __getitem__(self, slot: int) -> Held:
        """What is known of a frame."""
        return self._held[slot]

    def find(self, boot: str, seq: int) -> int | None:
        """Return the slot of a frame, None where it is not held any more."""
        return next(
            (slot for slot, one in self._held.items() if one.frame[:2] == (boot, seq)), None
        )

    def push(self, tokens: Tensor, image_feature: Tensor, frame: FrameId) -> int:
        """Take in a frame without a place and compare it with every frame held.

        Raises:
            ValueError: As ``SlidingMuSc.push``; nothing has changed but that a full window
                has lost its oldest peer.
        """
        if len(self.peers) >= self._size:
            self._evict(self.peers[0])
        self.evict([slot for slot in self.apart if self._age(slot) > self._size])
        self.newest = self.window.push(tokens, image_feature, votes=False)
        self._held[self.newest] = Held(frame, self._votes)
        return self.newest

    def place(self, place: Place) -> None:
        """Give the newest frame its place; where that is full, the oldest makes room."""
        if self.newest is None:
            return
        slot, self.newest = self.newest, None
        self._held[slot].place = "apart"
        self.move(slot, place)

    def drop(self) -> None:
        """Forget the newest frame."""
        if self.newest is not None:
            slot, self.newest = self.newest, None
            self._evict(slot)

    def move(self, slot: int, place: Place) -> None:
        """Give a frame another place; where that is full, the oldest makes room."""
        self._held[slot].place = place
        self.window.set_votes(slot, place in self._voting)
        self._votes += place == "peer"
        for name, most in (("peer", self._size), ("apart", self._most_apart)):
            while len(self._in(name)) > most:
                self._evict(self._in(name)[0])

    def evict(self, slots: Sequence[int]) -> None:
        """Forget frames."""
        for slot in slots:
            self._evict(slot)

    def due(self, votes: int) -> list[int]:
        """Return the frames that so many votes were given after, and no second look at."""
        return [
            slot
            for slot, one in self._held.items()
            if slot != self.newest and not one.refined and self._age(slot) > votes
        ]

    def state(self) -> dict[str, Any]:
        """Copy what a restart needs, between two frames; JSON but for tensors.

        Raises:
            ValueError: A frame has no place yet.
        """
        if self.newest is not None:
            msg = f"the frame in slot {self.newest} has no place yet"
            raise ValueError(msg)
        held = _HELD.dump_python(list(self._held.items()), mode="json")
        return {"held": held, "votes": self._votes, "frames": self.window.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Hold what the window held that gave ``state``, in an empty window.

        Raises:
            ValueError: It is no state of a window like this; nothing is promised of this one.
        """
        held = dict(_HELD.validate_python(state["held"]))
        self.window.restore(state["frames"])
        if tuple(held) != self.window.slots:
            msg = f"held: slots {list(held)}, the tensors are of {list(self.window.slots)}"
            raise ValueError(msg)
        self._held, self._votes, self.newest = held, int(state["votes"]), None

    def _age(self, slot: int) -> int:
        """Votes that were given since a frame came."""
        return self._votes - self._held[slot].votes_before

    def _in(self, *places: str) -> list[int]:
        return [
            slot for slot, one in self._held.items() if one.place in places and slot != self.newest
        ]

    def _evict(self, slot: int) -> None:
        self.window.evict(slot)
        del self._held[slot]
