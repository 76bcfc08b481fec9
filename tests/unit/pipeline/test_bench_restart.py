"""What the restart bench makes of its repeats."""

from __future__ import annotations

import pytest

from pipeline.bench_line import Outage
from pipeline.bench_restart import Restart, RestartReport, Start

START = Start(import_s=4.0, weights_s=1.0, windows_s=1.0)


def after(seconds: float, warming: int = 0) -> Restart:
    """Return a repeat that took so long."""
    return Restart(Outage(10, 10 + round(seconds * 1e9), 2 + warming, warming), START)


@pytest.mark.parametrize(
    ("repeats", "ratio", "held"),
    [
        ([after(9.0)], 1.5, True),
        ([after(9.6)], 1.6, False),
        ([after(6.0), after(7.2), after(60.0)], 1.2, True),
        ([after(7.2, warming=1)], 1.2, False),
    ],
)
def test_bar_is_one_and_a_half_times_what_no_start_can_leave_out(
    repeats: list[Restart], ratio: float, *, held: bool
) -> None:
    """The median counts, and a line that warmed up again has lost its windows."""
    summary = RestartReport(repeats, window=32, windows_bytes=7).summary()

    assert (summary["ratio"], summary["held"]) == (pytest.approx(ratio), held)


def test_table_has_median_and_ends() -> None:
    """Each row says how far the repeats differ."""
    report = RestartReport([after(6.0), after(9.0), after(7.5)], window=32, windows_bytes=7)

    rows = {name: cells for name, *cells in report.table()}

    assert rows["kill to PASS or FAIL, s"] == ["7.50", "6.00", "9.00"]
    assert rows["import, s"] == ["4.00", "4.00", "4.00"]
