"""The stream protocol: the same images in other orders, on arrival and looked at again."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from factories import FakeBackbone
from replay_rig import MODEL, part
from rich.console import Console

from pipeline import evaluate_stream
from pipeline.backbones import BackboneChoice
from pipeline.evaluate_stream import (
    StreamError,
    StreamProtocol,
    StreamRow,
    measured,
    run_stream,
    stream_table,
    summary,
)
from pipeline.stress_line import Reading

if TYPE_CHECKING:
    from pathlib import Path

GOOD, BAD = 30, 4


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plain folder with good parts and a few with one other patch each."""
    monkeypatch.setattr(evaluate_stream, "load_backbone", lambda _choice: (FakeBackbone(), MODEL))
    for kind, count in (("good", GOOD), ("stripe", BAD)):
        folder = tmp_path / "parts" / kind
        folder.mkdir(parents=True)
        for number in range(count):
            seed = number + 100 * (kind == "stripe")
            picture = part(seed, defect=kind == "stripe")
            if kind == "stripe":  # at another place on each
                picture = np.roll(picture, 7 * number, axis=0)
            assert cv2.imwrite(str(folder / f"{number:03d}.png"), picture)
    return tmp_path / "parts"


def protocol(root: Path, **fields: Any) -> StreamProtocol:
    """Return a protocol of small windows and two seeds."""
    given: dict[str, Any] = {"windows": (9, 12), "seeds": 2, "memory_bytes": 20_000_000}
    return StreamProtocol("folder", root, BackboneChoice("dinov2-vits14"), {}, **given | fields)


def quiet() -> Console:
    """Return a console that nobody sees."""
    return Console(file=io.StringIO())


def test_each_order_window_and_line_has_a_row(root: Path) -> None:
    """Random order is shown for each seed, the given one once, and both have figures."""
    rows = run_stream(quiet(), protocol(root))

    named = [(row.order, row.window, row.side) for row in rows]
    assert named == [
        (order, window, side)
        for order in ("given", "random")
        for window in (9, 12)
        for side in ("plain", "guarded")
    ]
    assert {row.order: len(row.streams) for row in rows} == {"given": 1, "random": 2}
    for row in rows:
        found = row.figures()
        assert found["scored"] == len(row.streams) * (GOOD + BAD - 1)
        assert found["arrival"] > 0.8
    whole = summary(rows)["parts"]
    assert whole["random"]["12"]["guarded"] == rows[-1].figures()
    table = stream_table("title", rows)
    assert len(table.rows) == len(rows)
    assert "±" in table.rows[0][4]


def test_same_protocol_same_figures(root: Path) -> None:
    """Orders follow from the seeds, so a second run has the same table."""
    first, second = (run_stream(quiet(), protocol(root)) for _ in range(2))

    assert first == second
    assert first != run_stream(quiet(), protocol(root, seeds=1))


def test_images_of_another_size_are_brought_to_the_first(root: Path) -> None:
    """A set with images of several sizes is shown as one camera's."""
    odd = root / "good" / "005.png"
    picture = cv2.imread(str(odd), cv2.IMREAD_GRAYSCALE)
    assert cv2.imwrite(str(odd), cv2.resize(picture, (56, 42)))

    rows = run_stream(quiet(), protocol(root, windows=(9,), seeds=1))

    assert all(row.figures()["scored"] for row in rows)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.write_bytes(b"no image"), "003.png"),
        (
            lambda path: cv2.imwrite(str(path), np.zeros((28, 28, 3), np.uint8)),
            "003.png is bgr, the first image is mono",
        ),
    ],
)
def test_image_that_cannot_be_shown_is_named(root: Path, damage: Any, told: str) -> None:
    """Nothing is left out in silence: a stream without an image would be another stream."""
    damage(root / "good" / "003.png")

    with pytest.raises(StreamError, match=told):
        run_stream(quiet(), protocol(root))


def reading(score: float | None, refined: dict[int, float] | None = None) -> Reading:
    """Return what a line might say."""
    return Reading("PASS", "score", "READY", score, True, (), refined or {})


def test_second_looks_count_for_the_images_that_had_one() -> None:
    """The refined figure takes the second look of image 1 and the arrival of the others."""
    readings = [reading(0.9), reading(0.5), reading(0.6, {1: 0.2}), reading(None)]

    shown = measured([False, False, True, True], readings)

    assert (shown.arrival, shown.refined, shown.scored) == (0.5, 1.0, 3)


def test_what_is_not_defined_is_none() -> None:
    """Images of one kind have no AUROC, and neither has a mean over them."""
    one = measured([False, False], [reading(0.1), reading(0.2)])

    found = StreamRow("c", "random", 16, "plain", (one,)).figures()

    assert (found["arrival"], found["refined"], found["scored"]) == (None, None, 2)
    assert stream_table("t", [StreamRow("c", "random", 16, "plain", (one,))]).rows[0][4] == "-"
