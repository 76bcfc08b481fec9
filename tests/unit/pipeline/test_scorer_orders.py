"""Orders are done once each, and answered as often as they come."""

from __future__ import annotations

from typing import Any

import pytest
from factories import config, frame
from stand_in_scorer import StandInInspector

from edge.wire import Order, decode_note, encode_note
from pipeline.inspection import Pinning
from pipeline.scorer_orders import REMEMBERED_ANSWERS, ScorerOrders

CAMERAS = ("c1", "c2")


class Watched(StandInInspector):
    """Writes down what it is told to do."""

    def __init__(self) -> None:
        """Have done nothing yet."""
        super().__init__(config())
        self.done: list[tuple[str, str | None]] = []

    def change_recipe(self, recipe: str) -> None:
        """Note the change."""
        self.done.append(("recipe", recipe))
        super().change_recipe(recipe)

    def pin(self, camera: str, boot: str, seq: int) -> Pinning:  # noqa: ARG002 - the protocol's
        """Hold the second frame, and have no room for the third."""
        if seq == 2:
            self.done.append(("pin", camera))
            return "done"
        return "pins_full" if seq == 3 else "unknown_frame"

    def unpin(self, camera: str | None = None) -> int:
        """Note what is let go."""
        self.done.append(("unpin", camera))
        return 1

    def release(self, camera: str | None = None) -> list[str]:
        """Note the release."""
        self.done.append(("release", camera))
        return ["p1"]

    def reset(self, camera: str | None = None) -> None:
        """Note the reset."""
        self.done.append(("reset", camera))
        super().reset(camera)


def order(number: int = 1, verb: Any = "recipe", **fields: Any) -> Order:
    """Return an order for the recipe "lid" unless told otherwise."""
    return Order(order=f"{number:016x}", verb=verb, **({"recipe": "lid"} | fields))


@pytest.mark.parametrize(
    ("given", "done", "ok", "code"),
    [
        (order(), [("recipe", "lid")], True, "done"),
        (order(recipe="default"), [], True, "done"),
        (order(verb="reset"), [("reset", None)], True, "done"),
        (order(verb="reset", camera="c2"), [("reset", "c2")], True, "done"),
        (order(verb="reset", camera="c3"), [], False, "unknown_camera"),
        (order(verb="pin", camera="c1", boot="a" * 16, seq=1), [], False, "unknown_frame"),
        (order(verb="pin", camera="c1", boot="a" * 16, seq=2), [("pin", "c1")], True, "done"),
        (order(verb="pin", camera="c1", boot="a" * 16, seq=3), [], False, "pins_full"),
        (order(verb="pin", camera="c1"), [], False, "unknown_frame"),
        (order(verb="unpin", camera="c1"), [("unpin", "c1")], True, "done"),
        (order(verb="release"), [("release", None)], True, "done"),
    ],
)
def test_each_order_has_its_answer(
    given: Order, done: list[tuple[str, str | None]], *, ok: bool, code: str
) -> None:
    """What can be done is done, what cannot is refused by name, and both are answered."""
    inspector = Watched()

    answer = ScorerOrders(inspector, CAMERAS).answer(given)

    assert inspector.done == done
    assert (answer.order, answer.ok, answer.code) == (given.order, ok, code)
    assert decode_note(encode_note(answer)) == answer


def test_repeated_order_is_done_once() -> None:
    """An order that comes again gets the same answer and changes nothing any more."""
    inspector = Watched()
    orders = ScorerOrders(inspector, CAMERAS)

    first = orders.answer(order(1, "reset"))
    later = orders.answer(order(2, recipe="cup"))
    again = orders.answer(order(1, "reset"))

    assert again == first
    assert later.ok
    assert inspector.done == [("reset", None), ("recipe", "cup")]


def test_only_the_latest_answers_are_kept() -> None:
    """The memory is bounded: an order older than the latest 64 is done again."""
    inspector = Watched()
    orders = ScorerOrders(inspector, CAMERAS)
    for number in range(REMEMBERED_ANSWERS + 1):
        orders.answer(order(number, "reset"))

    orders.answer(order(1, "reset"))
    kept = len(inspector.done)
    orders.answer(order(0, "reset"))

    assert (kept, len(inspector.done)) == (REMEMBERED_ANSWERS + 1, REMEMBERED_ANSWERS + 2)


def test_long_names_fit_the_answer() -> None:
    """Sixteen cameras of sixteen letters do not make an answer too long to be sent."""
    orders = ScorerOrders(Watched(), [f"camera-number-{i:02d}" for i in range(16)])

    answer = orders.answer(order(verb="reset", camera="x" * 16))

    assert len(answer.detail) == 200


def test_stand_in_warms_up_like_the_real_one() -> None:
    """The stand-in says NO_RESULT for min_peers frames, after a start, a reset, and a recipe."""
    box = StandInInspector(config(window={"size_frames": 10, "min_peers": 2}))
    seen = []

    for change in (None, lambda: box.reset("c1"), lambda: box.change_recipe("lid")):
        if change is not None:
            change()
        seen += [box.inspect(frame(seq)).verdict for seq in (1, 2, 3)]

    assert seen == ["NO_RESULT", "NO_RESULT", "PASS"] * 3
