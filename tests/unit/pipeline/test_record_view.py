"""How a recording goes: a line a camera, as often as the clock says."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from pipeline.record_view import PLAIN_EVERY_S, CameraProgress, RecordView


def test_plain_lines_come_now_and_then() -> None:
    """Without a terminal each camera has a line every twenty seconds, and none in between."""
    out, times = StringIO(), iter([0.0, 1.0, PLAIN_EVERY_S, PLAIN_EVERY_S + 1])
    cameras = [
        CameraProgress("c1", "ONLINE", 12, 0, 3_400_000),
        CameraProgress("c2", "LOST", 0, 2, 512),
    ]

    with RecordView(Console(file=out), ["c1", "c2"], None, lambda: next(times)) as view:
        for _ in range(3):
            view.show(cameras)

    assert out.getvalue().splitlines() == [
        "c1: 12 frames, 3.4 MB, ONLINE",
        "c2: 0 frames, 2 left out, 0.0 MB, LOST",
    ]


def test_terminal_shows_a_bar_a_camera() -> None:
    """On a terminal each camera has its bar, with what is on the disk beside it."""
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=100)

    with RecordView(console, ["left", "right"], 20) as view:
        view.show([CameraProgress("left", "ONLINE", 5, 0, 1_000_000)])

    shown = out.getvalue()
    assert "left" in shown
    assert "right" in shown
    assert "5 frames, 1.0 MB, ONLINE" in shown
