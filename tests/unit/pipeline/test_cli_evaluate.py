"""``musc-edge evaluate``: its tables, its line of JSON, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dataset_rig import write_folder, write_mvtec, write_visa
from factories import FakeBackbone
from typer.testing import CliRunner

from pipeline import evaluate
from pipeline.cli import app
from pipeline.evaluate_figures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run the command without weights, with its results in ``out``."""
    monkeypatch.setattr(evaluate, "load_backbone", lambda _choice: (FakeBackbone(), "a89d1abb"))

    def run(dataset: str, *arguments: str) -> Result:
        folders = ("--root", str(tmp_path / dataset), "--out", str(tmp_path / "out"))
        return CliRunner().invoke(app, ["evaluate", "--dataset", dataset, *folders, *arguments])

    return run


def test_tables_then_one_line_of_json(invoke: Callable[..., Result], tmp_path: Path) -> None:
    """A line for each category and the mean; the JSON has the same measures."""
    write_mvtec(tmp_path / "mvtec")

    done = invoke("mvtec", "--published", "--json")

    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "mvtec, dinov2-vits14 at 28 px, masks musc" in lines
    # Both tables have the category; a footnote may follow its name.
    assert sum("\t" in line and line.startswith("bottle") for line in lines) == 2
    summary = json.loads(lines[-1])
    assert list(summary) == ["bottle", "cable", "mean"]
    assert all(tuple(figures) == MEASURES for figures in summary.values())
    page = (tmp_path / "out/examples.html").read_text()
    assert page.count("photo of ") == 12, "six of each, unless something else is said"


def test_visa_has_its_own_neighbourhoods(invoke: Callable[..., Result], tmp_path: Path) -> None:
    """RsCIN takes 1, 8, 9 for VisA, and what is given elsewhere; the settings say so."""
    write_visa(tmp_path / "visa")

    done = invoke("visa", "--degrees", "1,3", "--category", "pcb1")

    assert done.exit_code == 0, done.output
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    assert (settings["neighbours"], settings["degrees"]) == ([1, 8, 9], [1, 3])


def test_rows_of_an_ablation(invoke: Callable[..., Result], tmp_path: Path) -> None:
    """By row first, then by category."""
    write_folder(tmp_path / "folder")

    done = invoke("folder", "--ablation", "rscin", "--json")

    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout.splitlines()[-1])
    assert {row: list(own) for row, own in summary.items()} == {
        "w/o": ["folder", "mean"],
        "w": ["folder", "mean"],
    }


@pytest.mark.parametrize(
    ("dataset", "arguments", "says"),
    [
        ("mvtec", ("--degrees", "1,4"), "odd positive"),
        ("mvtec", ("--degrees", "one"), "whole numbers"),
        ("mvtec", ("--neighbours", "0,1"), "at least 1"),
        ("mvtec", ("--plus",), "--plus needs --shots"),
        ("mvtec", ("--references", "DIR", "--shots", "1"), "--references is for"),
        ("folder", ("--shots", "1"), "go together"),
        ("folder", ("--references", "DIR"), "go together"),
        ("mvtec", ("--ablation", "colour"), "--ablation"),
        ("mvtec", ("--examples", "-1"), "--examples"),
        ("coco", (), "--dataset"),
    ],
)
def test_wrong_arguments_end_with_2(
    invoke: Callable[..., Result], dataset: str, arguments: tuple[str, ...], says: str
) -> None:
    """Options that are none, or do not go together, are named before anything is read."""
    done = invoke(dataset, *arguments)

    assert done.exit_code == 2
    # The message stands in a box, broken into lines.
    assert says in " ".join(done.output.replace("│", " ").split())
