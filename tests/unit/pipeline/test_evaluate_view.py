"""How far an evaluation is: lines with the time left, what is kept not counted as work."""

from __future__ import annotations

import io

from rich.console import Console

from pipeline.evaluate_view import EvaluateView


def test_lines_have_share_and_time_left() -> None:
    """Half of the images done in two minutes leaves two; what was kept took no time."""
    text, now = io.StringIO(), [0.0]

    with EvaluateView(Console(file=text), 120, clock=lambda: now[0]) as view:
        view.resumed("bottle", 20)
        view.begin("cable", 100)
        view.images(100)
        now[0] = 120.0
        view.scored(0.0)
        view.finished("cable", "image AUROC 99.0")

    assert text.getvalue().splitlines() == [
        "bottle: there from an earlier run",
        "cable: 58% of all images, about 2 min left",
        "cable: image AUROC 99.0",
    ]


def test_what_is_left_out_is_no_work() -> None:
    """Half of the images that remain done in a minute leaves one."""
    text, now = io.StringIO(), [0.0]

    with EvaluateView(Console(file=text), 300, clock=lambda: now[0]) as view:
        view.left_out("no weights 'dino-vitb8'", 100)
        view.left_out("no weights 'dino-vitb16'", 100)
        view.begin("cable", 100)
        now[0] = 60.0
        view.images(100)

    assert text.getvalue().splitlines() == [
        "left out: no weights 'dino-vitb8'",
        "left out: no weights 'dino-vitb16'",
        "cable: 50% of all images, about 1 min left",
    ]


def test_lines_are_not_many() -> None:
    """Without a terminal there is one every twenty seconds at most."""
    text, now = io.StringIO(), [0.0]

    with EvaluateView(Console(file=text), 100, clock=lambda: now[0]) as view:
        view.begin("cable", 100)
        for second in range(60):
            now[0] = float(second)
            view.images(1)

    assert len(text.getvalue().splitlines()) == 2
