"""The page of examples opens in a browser without a network and without an error."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from browser import browse
from dataset_rig import write_mvtec
from factories import FakeBackbone
from rich.console import Console

from pipeline import evaluate
from pipeline.ablations import Row
from pipeline.backbones import BackboneChoice
from pipeline.evaluate import Evaluation, run_evaluate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(300)
def test_examples_open_in_a_browser(
    tmp_path: Path, chromium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos, masks and maps of both categories are seen, and nothing is fetched."""
    monkeypatch.setattr(evaluate, "load_backbone", lambda _choice: (FakeBackbone(), "a89d1abb"))
    root, out = tmp_path / "mvtec", tmp_path / "out"
    write_mvtec(root)
    choice = BackboneChoice("dinov2-vits14")
    run_evaluate(
        Console(file=io.StringIO()),
        Evaluation("mvtec", root, out, choice, Row(), "gt0.5", examples=6),
    )

    became, complaints, shot = browse(chromium, out / "examples.html")

    assert complaints == ""
    # Four of six are anomalous and have a mask: 6 photos, 6 maps and 4 masks a category.
    assert became.count("data:image/jpeg;base64,") == 2 * (6 + 6 + 4)
    assert became.count('alt="mask of bottle/') == 4
    assert "http" not in became
    # Photos are grey; what glows is the maps.
    glows = (shot[:, :, 2] > 180) & (shot[:, :, 0] < 120)
    assert shot.std() > 10
    assert glows.sum() > 200
