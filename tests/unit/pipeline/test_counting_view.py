"""How far the streams are: lines with the time left, as often as the clock says."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from pipeline.counting_view import CountingView


class HandClock:
    """A clock that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_plain_line_tells_the_time_left() -> None:
    """After a quarter of the parts in twenty seconds, a minute is left."""
    out, clock = StringIO(), HandClock()
    with CountingView(Console(file=out), 40, clock) as view:
        view.begin("burst, seed 2")
        for _ in range(10):
            clock.now_s += 2
            view.tick()

    lines = out.getvalue().splitlines()
    assert lines[-1] == "burst, seed 2: 10 of about 40 parts, about 1 min left"
    assert len(lines) == 1


def test_total_grows_with_what_is_found() -> None:
    """Parts that are found on the way are in the total of the next line."""
    out, clock = StringIO(), HandClock()
    with CountingView(Console(file=out), 0, clock) as view:
        view.begin("replay")
        view.expect(10)
        view.expect(30)
        clock.now_s += 20
        view.tick()

    assert out.getvalue().splitlines()[-1].startswith("replay: 1 of about 40 parts")


def test_more_parts_than_estimated_are_counted() -> None:
    """The total follows; nothing is left of less than nothing."""
    out, clock = StringIO(), HandClock()
    with CountingView(Console(file=out), 1, clock) as view:
        for _ in range(3):
            clock.now_s += 30
            view.tick()

    assert out.getvalue().splitlines()[-1].endswith("3 of about 3 parts, about 0 min left")
