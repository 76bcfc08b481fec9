"""A control timer: how late a process of this host wakes up that does nothing else.

It sleeps to one absolute instant after the other and notes how late it was. A
stall of the host makes each instant in it late, as it does each deadline. It
runs as a process of its own, because a thread would share the interpreter
lock with what it is compared to; so this module imports next to nothing.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

INTERVAL_NS = 10_000_000
STOP_LIMIT_S = 10.0


class TimerError(LineError):
    """The control timer did not keep time to the end."""


class TimerRecord(NamedTuple):
    """How late each instant was; instant ``i`` is at ``first_ns + i * INTERVAL_NS``."""

    first_ns: int
    """On the host's monotonic clock."""
    late_ns: list[int]

    def between(self, begin_ns: int, end_ns: int) -> list[int]:
        """Return the lateness, ns, of the instants from ``begin_ns`` up to ``end_ns``."""
        skipped = max(0, -((self.first_ns - begin_ns) // INTERVAL_NS))
        kept = max(0, -((self.first_ns - end_ns) // INTERVAL_NS))
        return self.late_ns[skipped:kept]


def keep_time(
    stop: Callable[[], bool],
    clock_ns: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> TimerRecord:
    """Wake up every INTERVAL_NS until ``stop``, which is asked before each sleep."""
    record = TimerRecord(clock_ns() + INTERVAL_NS, [])
    due_ns = record.first_ns
    while not stop():
        wait_ns = due_ns - clock_ns()
        if wait_ns > 0:
            sleep(wait_ns / 1e9)
        record.late_ns.append(clock_ns() - due_ns)
        due_ns += INTERVAL_NS
    return record


class ControlTimer:
    """A process that keeps time from entry until :meth:`stop`, and never outlives its owner."""

    def __enter__(self) -> ControlTimer:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.bench_timer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, where it still runs."""
        self._process.kill()
        self._process.communicate()

    def stop(self) -> TimerRecord:
        """Stop it, and return what it noted.

        Raises:
            TimerError: It has ended before, or does not stop within STOP_LIMIT_S.
        """
        try:
            said, _ = self._process.communicate(timeout=STOP_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            msg = f"the control timer did not stop within {STOP_LIMIT_S:.0f} s"
            raise TimerError(msg) from error
        if self._process.returncode != 0:
            msg = f"the control timer ended with code {self._process.returncode}"
            raise TimerError(msg)
        return TimerRecord(*json.loads(said))


def _main() -> None:
    """Keep time until standard input is closed, then write the record to standard output."""
    record = keep_time(lambda: bool(select.select([sys.stdin], [], [], 0)[0]))
    sys.stdout.write(json.dumps(record))


if __name__ == "__main__":
    _main()
