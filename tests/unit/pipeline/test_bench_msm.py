"""The bench of mutual scoring: who races, how it is timed, and what the last line says."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from factories import FakeBackbone
from rich.console import Console
from typer.testing import CliRunner

from musc.lnamd import DEGREES, aggregate
from musc.msm import mutual_scores
from pipeline import bench_growth, bench_msm, bench_race
from pipeline.bench_growth import exponent, fitting
from pipeline.bench_msm import Arrivals, MsmBench, MsmBenchError, look, measure
from pipeline.bench_race import SeenFrame, SlidingContestant, start_contestants
from pipeline.bench_rivals import PlainContestant, RecomputingContestant, largest_difference
from pipeline.bench_rounds import race, shown
from pipeline.cli_bench import bench_app
from pipeline.solar_cells import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

ALWAYS = {
    "window", "locality", "repeats", "frames", "seed", "device", "threads", "gemm_gflops",
    "push_gflop", "push_ms", "auroc", "plain_ms", "recompute_ms", "recompute_rounds",
    "ratio_vs_plain", "ratio_vs_recompute", "max_abs_diff", "roofline_fraction", "growth_ms",
    "growth_exponent",
}  # fmt: skip
WITH_LOCALITY = ALWAYS | {
    "push_local_ms", "auroc_local", "speedup", "ratio_vs_unrestricted", "auroc_change",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's peak is no matter here."""
    monkeypatch.setattr(bench_race, "PRODUCT_SIDE_CPU", 32)


def made_cells(count: int, labels: Sequence[int] = (0, 0, 0, 1)) -> list[Cell]:
    """Return cells alike but for noise; a defective one has another block in the middle."""
    draw = np.random.default_rng(0)
    texture = draw.integers(20, 200, (28, 28), np.uint8)
    cells = []
    for number, label in zip(range(count), itertools.cycle(labels), strict=False):
        pixels = texture + draw.integers(0, 5, texture.shape, np.uint8)
        if label:
            pixels[7:14, 14:21] = draw.integers(20, 200, (7, 7), np.uint8)
        cells.append(Cell(f"cell{number:04}", label, cv2.imencode(".png", pixels)[1].tobytes()))
    return cells


def quiet() -> Console:
    """Return a console that shows nothing."""
    return Console(quiet=True)


class Scripted:
    """A contestant whose score of a frame is the frame's first number."""

    def __init__(self) -> None:
        """Remember every frame."""
        self.taken: list[float] = []

    def take(self, frame: SeenFrame) -> None:
        """Remember a frame."""
        self.taken.append(float(frame.image_feature[0]))

    def score(self) -> Tensor:
        """Return the newest frame's number for each of four patches."""
        return torch.full((4,), self.taken[-1])

    def refine(self) -> float:
        """Return the oldest frame's number."""
        return self.taken[0]


def numbered(values: Sequence[float], labels: Sequence[int] | None = None) -> list[SeenFrame]:
    """Return a frame for each number."""
    labels = labels or [0] * len(values)
    return [
        SeenFrame(torch.zeros(1, 4, 2), torch.tensor([value]), label)
        for value, label in zip(values, labels, strict=True)
    ]


@pytest.mark.parametrize(("locality", "keys"), [(None, ALWAYS), (1, WITH_LOCALITY)])
def test_the_last_line_names_every_figure(locality: int | None, keys: set[str]) -> None:
    """The summary has the settings, a time and an AUROC for each contestant, and the peak."""
    bench = MsmBench(window=4, locality=locality, repeats=3, frames=20, seed=5)

    said = measure(quiet(), bench, FakeBackbone(), made_cells(20)).summary()

    assert set(json.loads(json.dumps(said))) == keys
    assert [said[name] for name in ("window", "locality", "repeats")] == [4, locality, 3]
    assert (said["frames"], said["seed"]) == (20, 5)
    assert said["push_ms"] > 0
    assert said["gemm_gflops"] > 0
    assert said["push_gflop"] == pytest.approx(3 * 2 * 16 * 16 * 49 / 1e9, abs=0.005)
    assert said["auroc"] == 1.0
    assert said["recompute_rounds"] == 1
    assert 0 <= said["max_abs_diff"] <= 1e-5
    assert said["growth_ms"].keys() == {"16"}
    assert said["growth_exponent"] is None


def test_ratio_speedup_and_change_follow_from_the_figures() -> None:
    """The ratio is local over unrestricted, the speedup its inverse, of the medians."""
    times = {
        "push": [8.0, 4.0, 6.0],
        "push_local": [9.0, 3.0, 2.0],
        "plain": [16.0, 12.0, 9.0],
        "recompute": [400.0],
        "product": [1.0, 0.5],
    }
    aurocs = {"push": 0.9, "push_local": 0.85}
    bench = MsmBench(locality=2)
    growth = {16: 3.0, 32: 6.0, 64: 12.0}

    report = bench_msm.MsmReport(
        bench, times, aurocs, (4, 64, 32), 1e-6, growth, torch.device("cpu")
    )

    said = report.summary()
    assert (said["push_ms"], said["push_local_ms"]) == (6.0, 3.0)
    assert (said["ratio_vs_unrestricted"], said["speedup"]) == (0.5, 2.0)
    assert said["auroc_change"] == -0.05
    assert (said["ratio_vs_plain"], said["ratio_vs_recompute"]) == (2.0, 50.0)
    assert said["growth_exponent"] == 1.0
    ideal_ms = 31 * 4 * 2 * 64 * 64 * 32 / (2 * 32**3 / 0.5)
    assert said["roofline_fraction"] == round(ideal_ms / 6.0, 3)
    assert said["gemm_gflops"] == round(2 * 32**3 / 0.5 / 1e6, 1)
    assert report.table() == [
        ["all patches", "6.0", "4.0", "8.0", "1.00", "0.9000"],
        ["locality 2", "3.0", "2.0", "9.0", "0.50", "0.8500"],
        ["all, a product a degree", "12.0", "9.0", "16.0", "2.00", "-"],
        ["all, window recomputed", "400.0", "400.0", "400.0", "66.67", "-"],
    ]


def test_cells_of_one_label_have_no_auroc() -> None:
    """Where no scored frame is defective, the AUROC is null and the times stand."""
    bench = MsmBench(window=4, locality=1, repeats=1, frames=8)

    report = measure(quiet(), bench, FakeBackbone(), made_cells(8, labels=[0]))

    said = report.summary()
    assert said["auroc"] is said["auroc_local"] is said["auroc_change"] is None
    assert [row[-1] for row in report.table()] == ["-"] * 4


def test_frames_are_the_backbones_in_order() -> None:
    """Every cell is seen once, in order, with its label, as the line would see it."""
    cells = made_cells(11)

    seen = list(look(FakeBackbone(), cells))

    assert [frame.label for frame in seen] == [cell.label for cell in cells]
    assert all(frame.tokens.shape == (1, 16, 49) for frame in seen)
    alone = [next(look(FakeBackbone(), [cell])) for cell in cells]
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(seen, alone, strict=True))


@pytest.mark.parametrize("locality", [None, 1])
def test_the_sliding_contestant_scores_as_a_batch(locality: int | None) -> None:
    """A full window's newest frame scores as in a batch of the last frames."""
    frames = list(look(FakeBackbone(), made_cells(7)))
    window = SlidingContestant(4, DEGREES, 0.3, locality=locality, device=torch.device("cpu"))
    for frame in frames:
        window.take(frame)

    scores = window.score()

    held = aggregate(torch.stack([frame.tokens for frame in frames[-4:]]))
    batch = mutual_scores(held, interpolate=True, locality=locality)
    torch.testing.assert_close(scores, batch[-1], atol=1e-5, rtol=0.0)


def test_the_slower_ways_score_as_a_batch() -> None:
    """Plain and recomputed, the newest and the middle frame of a window score as in a batch."""
    frames = list(look(FakeBackbone(), made_cells(7)))
    cpu = torch.device("cpu")
    plain = PlainContestant(4, DEGREES, 0.3, cpu)
    recomputing = RecomputingContestant(4, DEGREES, 0.3, cpu)
    window = SlidingContestant(4, DEGREES, 0.3, locality=None, device=cpu)
    for frame in frames:
        for contestant in (plain, recomputing, window):
            contestant.take(frame)

    newest = [plain.score(), recomputing.score(), window.score()]

    held = aggregate(torch.stack([frame.tokens for frame in frames[-4:]]))
    batch = mutual_scores(held, interpolate=True)
    for scores in newest:
        torch.testing.assert_close(scores, batch[-1], atol=1e-4, rtol=0.0)
    for scores in (plain.refine(), window.refine()):
        torch.testing.assert_close(scores, batch[2], atol=1e-4, rtol=0.0)
    assert largest_difference(window, plain, 4) <= 1e-5


def test_the_window_is_recomputed_in_the_first_rounds_only() -> None:
    """As many rounds as asked for; without any there is no figure."""
    cells, backbone = made_cells(12), FakeBackbone()
    bench = MsmBench(window=4, repeats=3, frames=12, recomputed=2)

    twice = measure(quiet(), bench, backbone, cells).summary()
    never = measure(quiet(), replace(bench, recomputed=0), backbone, cells).summary()

    assert twice["recompute_rounds"] == 2
    assert twice["recompute_ms"] > 0
    assert never["recompute_ms"] is never["ratio_vs_recompute"] is None


def test_windows_that_frames_do_not_fill_are_left_out() -> None:
    """A window needs its frames, one to warm up, and one for each counted round."""
    assert fitting(25, 9) == ()
    assert fitting(26, 9) == (16,)
    assert fitting(138, 9) == (16, 32, 64, 128)


def test_the_exponent_is_that_of_a_power_law() -> None:
    """Times that grow with the square have exponent 2; one window has none."""
    assert exponent({size: 3.0 * size**2 for size in (16, 32, 64)}) == pytest.approx(2.0)
    assert exponent({16: 3.0}) is None


def test_a_large_window_tells_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors held are the estimate, and the process grew by no less than it wrote."""
    monkeypatch.setattr(bench_growth, "VIT_L", (2, 25, 8))

    said = bench_growth.measure_vit_l(quiet(), window=3, repeats=2, seed=0)

    assert said["peak_bytes"] == said["estimated_bytes"] > 0
    assert said["push_ms"] > 0
    assert said["rss_growth_bytes"] is None or said["rss_growth_bytes"] >= 0


def test_frames_are_scored_once_they_have_peers() -> None:
    """The first eight frames are let in without a score; the AUROC is that of the others."""
    values, labels = [*[9.0] * 8, 1.0, 3.0, 2.0, 4.0], [*[0] * 8, 0, 0, 1, 1]
    stream = Arrivals(32, Scripted())

    for frame in numbered(values, labels):
        stream.take(frame, image_size=4)

    assert stream.auroc() == 0.75


def test_contestants_hold_the_same_frames() -> None:
    """Each is filled with a window of frames, and gets one further frame a round."""
    contestants = {"a": Scripted(), "b": Scripted()}
    frames = numbered([0, 1, 2, 3, 4])

    runners = start_contestants(contestants, frames, 3)
    for number in range(2):
        for run in runners.values():
            run(number)

    assert contestants["a"].taken == contestants["b"].taken == [0, 1, 2, 3, 4]


def test_the_race_takes_turns() -> None:
    """Each round runs everybody once, another first; round 0 is not counted."""
    clock = itertools.count(0, 1_500_000)
    ran: list[tuple[str, int]] = []

    def runner(name: str) -> Callable[[int], object]:
        return lambda number: ran.append((name, number))

    times = race({name: runner(name) for name in "abc"}, range(4), lambda: next(clock))

    order = ["abc", "bca", "cab", "abc"]
    assert ran == [(name, number) for number, names in enumerate(order) for name in names]
    assert times == {name: [1.5] * 3 for name in "abc"}


def test_progress_is_plain_without_a_terminal() -> None:
    """A line every few seconds says how far it is; every step is passed on."""
    clock, out = itertools.count(0, 2.0), io.StringIO()

    steps = list(shown(Console(file=out), "rounds", "abcdefg", 7, lambda: next(clock)))

    assert steps == list("abcdefg")
    assert out.getvalue().splitlines() == ["2 of 7 rounds", "5 of 7 rounds"]


def test_progress_is_a_bar_on_a_terminal() -> None:
    """On a terminal the bar reaches its end."""
    out = io.StringIO()

    steps = list(shown(Console(file=out, force_terminal=True, width=80), "rounds", range(3), 3))

    assert steps == [0, 1, 2]
    assert "100%" in out.getvalue()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the bench cells and a backbone without fetching anything."""

    def cells(_wheel: Path, *, frames: int, **_: Any) -> list[Cell]:
        if frames > 50:
            msg = f"{frames} cells wanted, the data set has 50"
            raise ValueError(msg)
        return made_cells(frames)

    monkeypatch.setattr(bench_msm, "fetch_wheel", lambda *_: Path("a.whl"))
    monkeypatch.setattr(bench_msm, "load_backbone", lambda _choice: (FakeBackbone(), "digest"))
    monkeypatch.setattr(bench_msm, "select_cells", cells)


@pytest.mark.usefixtures("offline")
def test_the_command_ends_with_one_json_object() -> None:
    """A table for people comes first, the last line is for programs."""
    arguments = ["msm", "--window", "4", "--locality", "1", "--repeats", "2", "--frames", "12"]

    done = CliRunner().invoke(bench_app, arguments)

    assert done.exit_code == 0, done.output
    *_, head, free, local, _plain, _recomputed, last = done.output.splitlines()
    assert head.split("\t")[0] == "newest frame against"
    assert (free.split("\t")[0], local.split("\t")[0]) == ("all patches", "locality 1")
    assert set(json.loads(last)) == WITH_LOCALITY


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "32", "--frames", "41"], "--frames 41: .* take 42 frames"),
        (["--repeats", "200"], "take 233 frames"),
        (["--frames", "51"], "--frames 51: 51 cells wanted, the data set has 50"),
    ],
)
def test_a_stream_that_does_not_fit_is_refused(arguments: list[str], message: str) -> None:
    """Too few frames for the race, or more than there are, are refused with the figures."""
    done = CliRunner().invoke(bench_app, ["msm", *arguments])

    assert isinstance(done.exception, MsmBenchError)
    assert done.exception.exit_code == 2
    with pytest.raises(MsmBenchError, match=message):
        raise done.exception


@pytest.mark.parametrize(
    "argument",
    ["--window=1", "--window=513", "--locality=-1", "--locality=65", "--repeats=0", "--frames=0"],
)
def test_options_out_of_range_are_refused(argument: str) -> None:
    """The command line names the option and ends with 2."""
    done = CliRunner().invoke(bench_app, ["msm", argument])

    assert done.exit_code == 2
    assert argument.partition("=")[0] in done.output
