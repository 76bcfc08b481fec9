"""The bench of the backbone: what is raced, compared and said, on a tiny network."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from musc.backbone import TimmBackbone
from musc.packed_blocks import packed_product
from pipeline import bench_backbone, bench_engines, bench_race
from pipeline.bench_backbone import (
    BackboneBench,
    BackboneBenchError,
    BackboneReport,
    Deviation,
    measure,
    vit_flop,
)
from pipeline.cli_bench import bench_app
from pipeline.solar_cells import Cell

KEYS = {
    "batch", "image_size", "repeats", "frames", "seed", "device", "threads", "gemm_gflops",
    "image_gflop", "ways", "exact", "absent",
}  # fmt: skip
FIGURES = {
    "ms", "min_ms", "images_per_s", "peak_share", "ratio_to_plain", "max_cosine_distance",
    "max_patch_score_diff",
}  # fmt: skip


def tiny(choice: Any) -> tuple[TimmBackbone, str]:
    """A network of 6 blocks and 64 channels in the place of the one asked for."""
    torch.manual_seed(0)
    state = timm.create_model("test_vit", num_classes=0, img_size=64).state_dict()
    made = TimmBackbone(
        "test_vit", state, image_size=64, precision=choice.precision, execution=choice.execution
    )
    return made, "digest"


def cells(count: int) -> list[Cell]:
    """Cells of noise."""
    draw = np.random.default_rng(0)
    pictures = (draw.integers(0, 255, (64, 64), np.uint8) for _ in range(count))
    return [
        Cell(f"cell{number}", 0, cv2.imencode(".png", one)[1].tobytes())
        for number, one in enumerate(pictures)
    ]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched, no other engine is asked, and the peak is soon measured."""

    def drawn(_wheel: Path, *, frames: int, **_: Any) -> list[Cell]:
        if frames > 50:
            msg = f"{frames} cells wanted, the data set has 50"
            raise ValueError(msg)
        return cells(frames)

    monkeypatch.setattr(bench_backbone, "fetch_wheel", lambda *_: Path("a.whl"))
    monkeypatch.setattr(bench_backbone, "select_cells", drawn)
    monkeypatch.setattr(bench_backbone, "load_backbone", tiny)
    monkeypatch.setattr(bench_backbone, "PRODUCT_SIDE_CPU", 32)
    monkeypatch.setattr(bench_race, "PRODUCT_SIDE_CPU", 32)
    monkeypatch.setattr(bench_engines, "find_spec", lambda _name: None)


def test_every_way_is_held_to_the_plain_network() -> None:
    """The line is exact, bfloat16 is not the same network, and who is missing is named."""
    report = measure(Console(file=io.StringIO()), BackboneBench(repeats=2, frames=6), cells(6))

    said = report.summary()
    assert list(said["ways"]) == ["plain", "line", "bfloat16"]
    assert said["ways"]["plain"]["max_patch_score_diff"] == 0.0
    assert said["ways"]["line"]["max_patch_score_diff"] < 1e-5
    assert said["ways"]["bfloat16"]["max_cosine_distance"] > 1e-7
    assert said["exact"][:2] == ["plain", "line"]
    assert said["absent"] == {
        "compiled": "takes part with --compiled",
        "onnxruntime": "not installed (onnxruntime, onnxscript)",
        "openvino": "not installed (openvino, onnxscript)",
    }
    assert [row[0] for row in report.table()] == [*said["ways"], *said["absent"]]


def test_figures_follow_from_the_times() -> None:
    """Rates and shares are those of the medians, ratios those of the rounds, the peak the best."""
    report = BackboneReport(
        BackboneBench(batch=2),
        {
            "plain": [20.0, 40.0, 30.0],
            "line": [10.0, 10.0, 10.0],
            "square product": [4.0, 2.0, 8.0],
            "packed square product": [3.0, 1.0, 5.0],
        },
        {"plain": Deviation(0.0, 0.0), "line": Deviation(1e-9, 2e-3)},
        {},
        0.5,
        torch.device("cpu"),
    )

    line = report.figures("line")

    assert report.gemm_gflops == pytest.approx(2 * 32**3 / 1.0 / 1e6)
    assert line["ms"] == 5.0
    assert line["images_per_s"] == 200.0
    assert line["peak_share"] == pytest.approx(0.5 / 5e-3 / report.gemm_gflops, rel=1e-3)
    assert line["ratio_to_plain"] == pytest.approx(1 / 3, abs=1e-3)
    assert report.summary()["exact"] == ["plain"]


def test_operations_are_those_that_torch_counts() -> None:
    """The count from the shape is torch's own, attention by hand included."""
    backbone = tiny(bench_backbone.BackboneChoice("dinov2-vits14", execution="plain"))[0]
    net = backbone._net
    for block in net.blocks:
        block.attn.fused_attn = False
    batch = torch.zeros(1, 3, 64, 64)

    with FlopCounterMode(display=False) as counter:
        net(batch)

    assert vit_flop(backbone) == counter.get_total_flops()


def test_an_engine_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is there but cannot start takes no part, and its first line says why."""

    def broken(*_: object) -> None:
        msg = "no such operator\nand more"
        raise RuntimeError(msg)

    monkeypatch.setattr(bench_engines, "find_spec", lambda _name: "there")
    monkeypatch.setattr(bench_engines, "_export", broken)

    found = bench_engines.other_engines(nn.Identity(), torch.zeros(1))

    assert found == dict.fromkeys(bench_engines.ENGINES, "failed: no such operator")


def test_a_packed_product_is_the_product() -> None:
    """What the peak is measured with multiplies a matrix by its transpose."""
    product = packed_product(8)
    assert product is not None

    first, second = product(), product()

    assert torch.equal(first, second)
    assert torch.equal(first.round(decimals=4), first.T.round(decimals=4))
    assert _positive(first.diagonal())


def _positive(values: Tensor) -> bool:
    """Whether all values are squares' sums."""
    return bool((values > 0).all())


def test_the_command_ends_with_one_json_object() -> None:
    """A table for people comes first, the last line is for programs."""
    done = CliRunner().invoke(
        bench_app, ["backbone", "--repeats", "9", "--frames", "4", "--batch", "2"]
    )

    assert done.exit_code == 0, done.output
    said = json.loads(done.output.splitlines()[-1])
    assert set(said) == KEYS
    assert set(said["ways"]["line"]) == FIGURES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", "5", "--batch", "2"], "--frames 5: must be a multiple of --batch 2"),
        (["--frames", "2", "--batch", "4"], "--frames 2: must be a multiple of --batch 4"),
        (["--frames", "51"], "--frames 51: 51 cells wanted, the data set has 50"),
    ],
)
def test_frames_that_do_not_fit_are_refused(arguments: list[str], message: str) -> None:
    """Frames that leave a call half full, or more than there are, are refused with the figures."""
    done = CliRunner().invoke(bench_app, ["backbone", *arguments])

    assert isinstance(done.exception, BackboneBenchError)
    assert done.exception.exit_code == 2
    assert str(done.exception) == message


@pytest.mark.weights
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("weights_file", "solar_cells_wheel")
def test_the_line_says_what_the_library_says_on_real_cells(tmp_path: Path) -> None:
    """With the real weights the line's patch scores are the library's to a millionth or so."""
    command = [sys.executable, "-W", "error", "-m", "pipeline", "bench", "backbone"]

    done = subprocess.run(
        [*command, "--repeats", "9", "--frames", "4"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert "CC BY-NC-SA" in done.stdout
    assert said["image_gflop"] == pytest.approx(12.25, abs=0.01)
    assert said["ways"]["line"]["max_patch_score_diff"] <= 1e-5
    assert "line" in said["exact"]
    assert list(tmp_path.iterdir()) == []
