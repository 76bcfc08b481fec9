"""The bench of cheaper scoring: which options there are, what each loses, and the last line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from musc.vision_transformer import Features
from pipeline import bench_loss
from pipeline.bench_loss import LossBench, LossBenchError, measure
from pipeline.bench_msm import Arrivals, look
from pipeline.bench_options import (
    EXACT,
    Option,
    OptionContestant,
    OptionScores,
    cheaper_options,
)
from pipeline.cli_bench import bench_app
from pipeline.solar_cells import Cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SMALL = LossBench(window=4, frames=16, seeds=2, repeats=9)
STAGES = (2, 5, 8, 11)
CPU = torch.device("cpu")


class FourStages:
    """Tokens of four stages that are fixed mixtures of 7 x 7 blocks of pixels."""

    image_size, patches, channels, stages = 28, 16, 12, STAGES
    mean, std, device = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), CPU

    def extract(self, batch: Tensor) -> Features:
        """Mix the blocks of the first channel, differently for each stage."""
        blocks = batch[:, 0].float().unfold(1, 7, 7).unfold(2, 7, 7).reshape(len(batch), 1, 16, 49)
        mixed = torch.randn(4, 49, 12, generator=torch.Generator().manual_seed(0))
        return Features(torch.tanh(blocks @ mixed), torch.ones(len(batch), 1))


def made_cells(count: int, seed: int = 0) -> list[Cell]:
    """Cells of noise around one texture; every fourth is defective, with another block."""
    draw = np.random.default_rng(seed)
    texture = np.random.default_rng(0).integers(20, 200, (28, 28), np.uint8)
    cells = []
    for number in range(count):
        pixels = texture + draw.integers(0, 40, texture.shape, np.uint8)
        if number % 4 == 3:
            pixels[7:14, 7:14] = draw.integers(0, 255, (7, 7), np.uint8)
        png = cv2.imencode(".png", pixels)[1].tobytes()
        cells.append(Cell(f"{seed}-{number}", int(number % 4 == 3), png))
    return cells


def quiet() -> Console:
    """A console that nobody reads."""
    return Console(file=io.StringIO())


def test_each_option_is_named_by_the_keys_that_make_it() -> None:
    """The exact way comes first; a half and a third of the channels, fewer degrees, stages."""
    options = cheaper_options(384, STAGES)

    names = list(options)

    assert names[0] == EXACT
    assert {"channels 192", "channels 128", "degrees [1, 3]", "stages [2, 8]"} < set(names)
    assert options["channels 192, degrees [1, 3], stages [2, 8]"] == Option(192, (1, 3), (2, 8))
    assert len(names) == len(set(options.values()))


def test_one_window_scores_all_options_as_their_own_windows_do() -> None:
    """Groups left out of a window of all groups equal a window without them."""
    options = cheaper_options(12, STAGES)
    together = OptionScores(options, 10, STAGES, CPU)
    alone = {name: OptionContestant(one, 10, STAGES, CPU) for name, one in options.items()}

    for number, frame in enumerate(look(FourStages(), made_cells(14))):
        for window in (together, *alone.values()):
            window.take(frame)
        if not number:
            continue
        scores = together.scores()

        assert list(scores) == list(options)
        for name, window in alone.items():
            torch.testing.assert_close(scores[name], window.score(), atol=1e-5, rtol=0.0)


def test_the_report_says_what_each_option_costs_and_loses() -> None:
    """The exact way loses nothing; its AUROC is that of its scores on arrival; others are near."""
    streams = [made_cells(SMALL.frames, seed) for seed in range(SMALL.seeds)]

    report = measure(quiet(), SMALL, FourStages(), streams)

    exact = report.losses[EXACT]
    assert (exact.time_ratio, exact.memory_ratio, exact.patch_rank) == (1.0, 1.0, 1.0)
    assert exact.auroc_change.value == exact.auroc_change.low == exact.auroc_change.high == 0.0
    assert exact.auroc.value == pytest.approx(np.mean(report.exact_by_seed))
    expected = arrival_auroc(streams[0])
    assert report.exact_by_seed[0] == pytest.approx(expected)
    for name, loss in report.losses.items():
        assert loss.push_ms > 0
        assert (loss.memory_ratio < 1) == (name != EXACT)
        assert 0.3 < loss.patch_rank <= 1.0
        assert loss.auroc_change.value == pytest.approx(loss.auroc.value - exact.auroc.value)
    assert report.losses["channels 6"].patch_rank > report.losses["channels 4"].patch_rank


def arrival_auroc(cells: Sequence[Cell]) -> float | None:
    """AUROC of the exact scores on arrival, as ``bench msm`` takes it."""
    backbone = FourStages()
    arrivals = Arrivals(SMALL.window, OptionContestant(Option(), SMALL.window, STAGES, CPU))
    for frame in look(backbone, cells):
        arrivals.take(frame, backbone.image_size)
    return arrivals.auroc()


def test_a_stream_without_an_auroc_is_refused() -> None:
    """Where all scored frames are good there is nothing to tell apart."""
    good = [Cell(cell.name, 0, cell.png) for cell in made_cells(SMALL.frames)]

    with pytest.raises(LossBenchError, match=r"--frames 16: good and defective"):
        measure(quiet(), SMALL, FourStages(), [good])


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the bench cells and a backbone without fetching anything."""

    def cells(_wheel: Path, *, frames: int, seed: int, **_: Any) -> list[Cell]:
        if frames > 50:
            msg = f"{frames} cells wanted, the data set has 50"
            raise ValueError(msg)
        return made_cells(frames, seed)

    monkeypatch.setattr(bench_loss, "fetch_wheel", lambda *_: Path("a.whl"))
    monkeypatch.setattr(bench_loss, "load_backbone", lambda _choice: (FourStages(), "digest"))
    monkeypatch.setattr(bench_loss, "select_cells", cells)


@pytest.mark.usefixtures("offline")
def test_the_command_ends_with_one_json_object() -> None:
    """A table for people comes first, the last line is for programs."""
    arguments = ["loss", "--window", "4", "--frames", "16", "--seeds", "2", "--repeats", "9"]

    done = CliRunner().invoke(bench_app, arguments)

    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    said = json.loads(lines[-1])
    names = list(cheaper_options(12, STAGES))
    assert list(said["options"]) == names
    assert [line.split("\t")[0] for line in lines[-1 - len(names) : -1]] == names
    assert (said["window"], said["frames"], said["seeds"], said["repeats"]) == (4, 16, 2, 9)
    assert said["shape"] == [4, 16, 12]
    assert len(said["exact_auroc_by_seed"]) == 2
    assert set(said["options"][EXACT]) == {
        "push_ms", "time_ratio", "memory_bytes", "memory_ratio", "patch_rank", "frame_rank",
        "auroc", "auroc_change", "change_excludes_0",
    }  # fmt: skip


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "32", "--frames", "47"], "--frames 47: .* take 48 frames"),
        (["--frames", "51"], "--frames 51: 51 cells wanted, the data set has 50"),
    ],
)
def test_streams_that_do_not_fit_are_refused(arguments: list[str], message: str) -> None:
    """Too few frames for the race, or more than there are, are refused with the figures."""
    done = CliRunner().invoke(bench_app, ["loss", *arguments])

    assert isinstance(done.exception, LossBenchError)
    assert done.exception.exit_code == 2
    with pytest.raises(LossBenchError, match=message):
        raise done.exception


@pytest.mark.parametrize("argument", ["--window=1", "--frames=0", "--seeds=0", "--repeats=8"])
def test_options_out_of_range_are_refused(argument: str) -> None:
    """The command line names the option and ends with 2."""
    done = CliRunner().invoke(bench_app, ["loss", argument])

    assert done.exit_code == 2
    assert argument.partition("=")[0] in done.output
