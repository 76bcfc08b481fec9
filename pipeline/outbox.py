"""The outbox: messages in the ledger until a broker has confirmed them.

A message is written in the transaction of the result that it tells, sent live
while its deadline lasts, and deleted when the broker has confirmed it. What
was not confirmed goes to the history topics, in the order of the captures and
slowly, so that a broker that comes back is not flooded. Bounded by bytes and by age; whoever is
given up is counted, and its result is in the ledger all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from pipeline.allowance import Allowance
from pipeline.ledger_schema import insert_row
from pipeline.results import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlite_utils import Database

    from pipeline.config_plant import OutboxSettings
    from pipeline.results import Moment

Topic = Literal["verdict", "part"]

BURST = 20
"""Messages that a drain may send at once; as many as MQTT may have in flight."""
DRAINING_LIMIT = 400
"""Messages on their way to history that a broker may leave without an answer."""
NEVER = "9999"
"""After every time of day."""
AGE_CHECK_NS = 60_000_000_000
FIRST_PAUSE_NS, LONGEST_PAUSE_NS = 10_000_000_000, 60_000_000_000
"""After a refusal history pauses; each further refusal doubles the pause."""
CLOCK_STEP_S = 60.0
"""Between two age checks the wall clock drifts by milliseconds."""
TRIM_ROWS = 256
"""Rows given up at a time."""


class Kept(NamedTuple):
    """A message that waits in the outbox."""

    id: int
    topic: Topic
    payload: bytes


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Messages that were deleted without having been confirmed."""

    messages: int
    limit: Literal["max_bytes", "max_age_s"]


class Outbox:
    """The table ``outbox`` and what is known about its rows.

    All methods that write run inside a transaction of the ledger.
    """

    def __init__(self, db: Database, settings: OutboxSettings, now_ns: int) -> None:
        """Work on the ledger's open database; what an earlier gate left is history."""
        self._db = db
        self._settings = settings
        rows, size = db.execute(
            "select count(*), coalesce(sum(length(payload)), 0) from outbox"
        ).fetchone()
        self._rows, self._bytes = int(rows), int(size)
        self._live: dict[int, str] = {}
        """Sent, or waiting to be sent, on a live topic, and captured when; outcome not known."""
        self._draining: set[int] = set()
        """Sent to history; their outcome is not known."""
        self._confirmed: list[int] = []
        self._allowance = Allowance(BURST, settings.drain_per_s, now_ns)
        self._next_age_check_ns = now_ns
        self._age_checked: Moment | None = None
        self._pause_ns = 0
        """The last pause; 0 where nothing was refused since history was last taken."""
        self._pause_ends_ns = 0

    @property
    def waiting(self) -> int:
        """Messages that are neither confirmed nor on their way."""
        return self._rows - len(self._live) - len(self._draining) - len(self._confirmed)

    def put(
        self, topic: Topic, payload: bytes, now: Moment, captured_at: datetime | None = None
    ) -> int:
        """Keep a message; return its id. History is in the order of ``captured_at``."""
        row = {
            "topic": topic,
            "payload": payload,
            "captured_at": timestamp(captured_at or now.utc),
            "created_at": timestamp(now.utc),
        }
        self._rows += 1
        self._bytes += len(payload)
        return insert_row(self._db, "outbox", row)

    def replace(self, number: int, payload: bytes) -> None:
        """Correct a message that nobody has heard."""
        row = self._db.execute(
            "select length(payload) from outbox where id = ?", [number]
        ).fetchone()
        if row is not None:
            self._bytes += len(payload) - row[0]
            self._db.execute("update outbox set payload = ? where id = ?", [payload, number])

    def sent_live(self, number: int) -> None:
        """Take note that a message is on its way to its live topic."""
        row = self._db.execute("select captured_at from outbox where id = ?", [number]).fetchone()
        if row is not None:
            self._live[number] = row[0]

    def sent_late(self, number: int) -> None:
        """Take note that a message is on its way to its history topic."""
        self._draining.add(number)

    def outcome(self, number: int, *, confirmed: bool) -> None:
        """Take note of what became of a message."""
        if number in self._draining and confirmed:
            self.resume()
        self._live.pop(number, None)
        self._draining.discard(number)
        if confirmed:
            self._confirmed.append(number)

    def refused(self, number: int, now_ns: int) -> None:
        """Take note that the broker will not have a message; history pauses if it was there.

        Others that were on their way with it are refused in the same pause, which
        they do not make longer.
        """
        if number in self._draining and now_ns >= self._pause_ends_ns:
            self._pause_ns = min(2 * self._pause_ns or FIRST_PAUSE_NS, LONGEST_PAUSE_NS)
            self._pause_ends_ns = now_ns + self._pause_ns
        self.outcome(number, confirmed=False)

    def resume(self) -> None:
        """End a pause: history was taken, or the connection is another one."""
        self._pause_ns = self._pause_ends_ns = 0

    def settle(self, now: Moment) -> list[GivenUp]:
        """Delete what is confirmed and what exceeds a limit; return what was given up."""
        self._delete(self._confirmed)
        self._confirmed = []
        given_up = [GivenUp(self._trim_bytes(), "max_bytes")]
        if now.monotonic_ns >= self._next_age_check_ns:
            self._next_age_check_ns = now.monotonic_ns + AGE_CHECK_NS
            given_up.append(GivenUp(self._trim_age(now), "max_age_s"))
        return [one for one in given_up if one.messages]

    def due(self, now_ns: int) -> list[Kept]:
        """Return what may go to history now: what was captured first, as much as the rate allows.

        After a refusal it is nothing until the pause has passed, and then one message at
        a time, until one is taken. Nothing is returned beyond a message whose live
        outcome is not known: it may have to go to history before those.
        """
        allowed = self._allowed(now_ns)
        if self.waiting <= 0 or not allowed:
            return []
        done = [*self._draining, *self._confirmed]
        first_live = min(((at, number) for number, at in self._live.items()), default=(NEVER, 0))
        rows = self._db.execute(
            "select id, topic, payload from outbox "  # noqa: S608 - question marks only
            f"where id not in ({','.join('?' * len(done))}) and (captured_at, id) < (?, ?) "
            "order by captured_at, id limit ?",
            [*done, *first_live, allowed],
        )
        kept = [Kept(*row) for row in rows.fetchall()]
        self._allowance.spend(now_ns, len(kept))
        return kept

    def _allowed(self, now_ns: int) -> int:
        left = min(self._allowance.left(now_ns), DRAINING_LIMIT - len(self._draining))
        if not self._pause_ns:
            return left
        return 0 if self._draining or now_ns < self._pause_ends_ns else min(left, 1)

    def _delete(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            found = self._db.execute(
                "delete from outbox where id = ? returning length(payload)", [number]
            ).fetchone()
            if found is not None:
                self._rows -= 1
                self._bytes -= found[0]

    def _trim_bytes(self) -> int:
        given_up = 0
        while self._bytes > self._settings.max_bytes:
            rows = self._db.execute("select id from outbox order by id limit ?", [TRIM_ROWS])
            oldest = self._give_up([row[0] for row in rows.fetchall()])
            given_up += oldest
            if not oldest:  # somebody else has deleted rows
                self._rows = self._bytes = 0
        return given_up

    def _trim_age(self, now: Moment) -> int:
        """Give up what is too old by the wall clock, unless that has just been set.

        A box without a clock battery wakes up in 1970; when it learns the time,
        everything seems to be decades old.
        """
        before, self._age_checked = self._age_checked, now
        if before is None:
            return 0
        went_by_s = (now.utc - before.utc).total_seconds()
        if abs(went_by_s - (now.monotonic_ns - before.monotonic_ns) / 1e9) > CLOCK_STEP_S:
            self._db.execute("update outbox set created_at = ?", [timestamp(now.utc)])
            return 0
        oldest = timestamp(now.utc - timedelta(seconds=self._settings.max_age_s))
        rows = self._db.execute("select id from outbox where created_at < ?", [oldest])
        return self._give_up([row[0] for row in rows.fetchall()])

    def _give_up(self, numbers: list[int]) -> int:
        for number in numbers:
            self._live.pop(number, None)
        self._draining.difference_update(numbers)
        self._delete(numbers)
        return len(numbers)
