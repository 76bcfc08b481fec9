"""The gate's orders to the scorer: sent until they are answered.

The recipe is a state: whichever scorer says that it works with another one is
told, for as long as it does. Everything else is done once: the order carries a
number, is repeated until the scorer answers, and given up after a limit.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from edge.sockets import try_send
from edge.wire import Order, encode_note

if TYPE_CHECKING:
    from edge.sockets import Socket
    from edge.wire import Ordered, ScorerUp

REPEAT_NS = 300_000_000
ANSWER_LIMIT_NS = 5_000_000_000
"""A scorer reads its orders between two frames."""
ORDERS_REMEMBERED = 256
"""Orders whose answer may still come, though nobody waits for it."""


@dataclass(slots=True)
class _Pending:
    order: Order
    txn: str
    given_up_ns: int
    next_ns: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the order of one transaction."""

    txn: str
    ok: bool
    code: str
    detail: str


class Answered(NamedTuple):
    """An order and what the scorer answered; the first time that it does, it was just done."""

    order: Order | None
    """None where an earlier gate gave it."""
    txn: str
    """Empty where no command asked for it."""
    note: Ordered


class ScorerLink:
    """Orders on their way to the scorer that was heard last."""

    def __init__(self, socket: Socket) -> None:
        """Send through ``socket``, the ROUTER that inspections come in at."""
        self._socket = socket
        self._scorer: bytes | None = None
        self._scorers_recipe = ""
        self._next_recipe_ns = 0
        self._pending: dict[str, _Pending] = {}
        self._sent: OrderedDict[str, tuple[Order, str]] = OrderedDict()
        """The latest orders, with their transaction."""

    def heard(self, identity: bytes, note: ScorerUp) -> None:
        """Take note of a scorer and of the recipe that it works with."""
        self._scorer, self._scorers_recipe = identity, note.recipe

    def order(self, order: Order, txn: str, now_ns: int) -> None:
        """Send an order until it is answered."""
        self._pending[order.order] = _Pending(order, txn, now_ns + ANSWER_LIMIT_NS, now_ns)

    def answered(self, note: Ordered) -> Answer | None:
        """Return the answer for the transaction of an order; None if nobody waits for it."""
        pending = self._pending.pop(note.order, None)
        return Answer(pending.txn, note.ok, note.code, note.detail) if pending else None

    def told_of(self, note: Ordered) -> Answered:
        """Return what was answered, whether or not anybody waits for it."""
        order, txn = self._sent.get(note.order, (None, ""))
        return Answered(order, txn, note)

    def tend(self, recipe: str, now_ns: int) -> list[Answer]:
        """Send what is due; return the answers of the orders that are given up."""
        if self._scorer is not None and self._scorers_recipe != recipe:
            self._tell_recipe(recipe, now_ns)
        for pending in self._pending.values():
            if now_ns >= pending.next_ns:
                pending.next_ns = now_ns + REPEAT_NS
                self._send(pending.order, pending.txn)
        late = [p for p in self._pending.values() if now_ns >= p.given_up_ns]
        for pending in late:
            del self._pending[pending.order.order]
        detail = f"the scorer has not answered for {ANSWER_LIMIT_NS / 1e9:.0f} s"
        return [Answer(p.txn, ok=False, code="scorer_down", detail=detail) for p in late]

    def _tell_recipe(self, recipe: str, now_ns: int) -> None:
        if now_ns < self._next_recipe_ns:
            return
        self._next_recipe_ns = now_ns + REPEAT_NS
        self._send(Order(order=secrets.token_hex(8), verb="recipe", recipe=recipe), "")

    def _send(self, order: Order, txn: str) -> None:
        if self._scorer is not None:
            self._sent[order.order] = order, txn
            if len(self._sent) > ORDERS_REMEMBERED:
                self._sent.popitem(last=False)
            try_send(self._socket, [self._scorer, encode_note(order)])
