"""Orders from the gate, done once each: another recipe, empty windows.

The gate repeats an order until it hears the answer. So the latest answers are
kept, and an order that comes again gets its answer without being done again.
This module knows nothing of sockets, and imports no torch.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from edge.wire import ANSWER_LIMIT, Order, Ordered

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from edge.frame import Frame
    from edge.wire import OrderCode
    from pipeline.inspection import Inspection, Pinning

log = logging.getLogger(__name__)

REMEMBERED_ANSWERS = 64
"""A gate repeats an order for seconds and has a few at a time."""


class FrameInspector(Protocol):
    """What the scorer needs of whoever looks at the frames."""

    @property
    def recipe(self) -> str:
        """The recipe that frames are inspected under now."""
        ...

    @property
    def batch_frames(self) -> int:
        """Most frames that should be inspected in one call, at least 1."""
        ...

    def inspect(self, frame: Frame) -> Inspection:
        """Score and judge one frame."""
        ...

    def inspect_batch(self, frames: Sequence[Frame]) -> list[Inspection]:
        """Score and judge frames as ``inspect`` would one after the other, in their order."""
        ...

    def prepare(self, frames: Sequence[Frame]) -> None:
        """Make frames ready that will be inspected next; no result depends on it.

        May be called while another thread inspects. The first call, before the first
        frame and with none, starts what it takes.
        """
        ...

    def change_recipe(self, recipe: str) -> None:
        """Inspect the frames from now on under ``recipe``, with the windows kept of it, if any."""
        ...

    def reset(self, camera: str | None = None) -> None:
        """Empty the windows of one camera, or of all."""
        ...

    def pin(self, camera: str, boot: str, seq: int) -> Pinning:
        """Keep a frame as a good one until it is let go."""
        ...

    def unpin(self, camera: str | None = None) -> int:
        """Let the pinned frames of one camera, or of all, go; return how many."""
        ...

    def release(self, camera: str | None = None) -> list[str]:
        """Give the vote to what was kept apart; return the parts."""
        ...


class ScorerOrders:
    """Does what the gate orders and answers for it."""

    def __init__(self, inspector: FrameInspector, cameras: Collection[str]) -> None:
        """Take orders for ``inspector``; ``cameras`` are the ids that an order may name."""
        self._inspector = inspector
        self._cameras = cameras
        self._answers: OrderedDict[str, Ordered] = OrderedDict()

    def answer(self, order: Order) -> Ordered:
        """Do the order, unless it was done before; return what became of it."""
        known = self._answers.get(order.order)
        if known is not None:
            return known
        ok, code, detail = self._do(order)
        log.log(
            logging.INFO if ok else logging.WARNING, "order %s: %s, %s", order.verb, code, detail
        )
        answer = Ordered(order=order.order, ok=ok, code=code, detail=detail[:ANSWER_LIMIT])
        self._answers[order.order] = answer
        if len(self._answers) > REMEMBERED_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    def _do(self, order: Order) -> tuple[bool, OrderCode, str]:
        if order.camera is not None and order.camera not in self._cameras:
            known = ", ".join(self._cameras)
            return False, "unknown_camera", f"no camera {order.camera}; there are {known}"
        if order.verb == "recipe":
            if order.recipe == self._inspector.recipe:
                return True, "done", f"recipe {order.recipe} is in use already"
            self._inspector.change_recipe(order.recipe)
            return True, "done", f"recipe {order.recipe}, windows are empty or those kept of it"
        if order.verb == "reset":
            self._inspector.reset(order.camera)
            return True, "done", f"windows of {order.camera or 'all cameras'} are empty"
        return self._kept(order)

    def _kept(self, order: Order) -> tuple[bool, OrderCode, str]:
        """Obey what concerns frames that are kept apart or pinned."""
        if order.verb == "release":
            parts = self._inspector.release(order.camera)
            return True, "done", f"{len(parts)} parts have the vote: {' '.join(parts[-8:])}"
        if order.verb == "unpin":
            return True, "done", f"{self._inspector.unpin(order.camera)} frames are let go"
        return self._pin(order)

    def _pin(self, order: Order) -> tuple[bool, OrderCode, str]:
        camera, boot, seq = order.camera, order.boot, order.seq
        if camera is None or boot is None or seq is None:
            return False, "unknown_frame", "a pin names camera, boot and seq"
        code = self._inspector.pin(camera, boot, seq)
        return code == "done", code, f"{camera}/{boot}/{seq}: {PINNING[code]}"


PINNING: dict[Pinning, str] = {
    "done": "is pinned",
    "unknown_frame": "no window holds it any more",
    "pins_full": "there is no room for another",
}
