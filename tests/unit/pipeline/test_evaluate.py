"""An evaluation from data set to tables: what is scored, measured, kept and refused."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dataset_rig import write_btad, write_folder, write_mvtec, write_visa
from factories import FakeBackbone
from rich.console import Console
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]  # no types

from pipeline import evaluate
from pipeline.ablations import Row
from pipeline.backbones import BackboneChoice
from pipeline.batch_score import BatchScoreError, ScoreSettings, score_folder
from pipeline.dataset_samples import DatasetError
from pipeline.evaluate import Evaluation, Outcome, run_evaluate
from pipeline.evaluate_figures import MEASURES
from pipeline.evaluate_folder import EvaluateError
from pipeline.score_view import ScoreView
from pipeline.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.dataset_samples import DatasetKind

LAYOUTS: dict[DatasetKind, Callable[[Path], None]] = {
    "mvtec": write_mvtec,
    "visa": write_visa,
    "btad": write_btad,
    "folder": write_folder,
}


@pytest.fixture(autouse=True)
def _fake_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights are needed; only two of the backbones are there."""

    def load(choice: BackboneChoice) -> tuple[FakeBackbone, str]:
        if choice.name not in {"dinov2-vits14", "dino-vitb8"}:
            msg = f"{choice.name} is not there"
            raise WeightsError(msg)
        return FakeBackbone(), f"model-of-{choice.name}"

    monkeypatch.setattr(evaluate, "load_backbone", load)


def wanted(tmp_path: Path, kind: DatasetKind = "mvtec", **changes: Any) -> Evaluation:
    """Write a data set if there is none, and return its evaluation."""
    root = tmp_path / kind
    if not root.exists():
        LAYOUTS[kind](root)
    usual = Evaluation(
        kind, root, tmp_path / "out", BackboneChoice("dinov2-vits14"), Row(), "gt0.5"
    )
    return replace(usual, **changes)


def run(evaluation: Evaluation) -> Outcome:
    """Run without a terminal."""
    return run_evaluate(Console(file=io.StringIO()), evaluation)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_layout_has_its_examples(tmp_path: Path, kind: DatasetKind) -> None:
    """Each category shows so many images, each with its map, and with its mask where it has one."""
    outcome = run(wanted(tmp_path, kind, examples=4))

    page = (tmp_path / "out/examples.html").read_text()
    categories = list(outcome.rows["MuSc"])
    assert re.findall(r"<h2>(.*?)</h2>", page) == categories
    assert len(re.findall(r'alt="photo of ', page)) == 4 * len(categories)
    assert len(re.findall(r'alt="anomaly map of ', page)) == 4 * len(categories)
    # Highest and lowest anomalous, highest good, highest anomalous.
    assert len(re.findall(r'alt="mask of ', page)) == 3 * len(categories)


def test_without_masks_examples_have_none(tmp_path: Path) -> None:
    """Photo and map stand alone where the data set knows no masks."""
    write_folder(tmp_path / "folder", masks=False)

    run(wanted(tmp_path, "folder", examples=6))

    page = (tmp_path / "out/examples.html").read_text()
    assert page.count("<img") == 12
    assert "mask of" not in page


@pytest.mark.parametrize("changes", [{"examples": 0}, {"examples": 6, "ablation": "rscin"}])
def test_no_examples_where_none_are_wanted(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Without examples, and of an ablation, there is no page."""
    run(wanted(tmp_path, **changes))

    assert not (tmp_path / "out/examples.html").exists()


def test_example_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo that vanishes before the page is written leaves its place empty; its map stays."""
    write = evaluate.write_examples

    def lose_one(*arguments: Any) -> None:
        (tmp_path / "folder/dent/00.png").unlink()
        write(*arguments)

    monkeypatch.setattr(evaluate, "write_examples", lose_one)
    run(wanted(tmp_path, "folder", examples=12))

    page = (tmp_path / "out/examples.html").read_text()
    assert page.count("not there any more") == 1
    assert page.count("anomaly map of") == 12


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_layout_is_measured(tmp_path: Path, kind: DatasetKind) -> None:
    """Each category has every measure, the last line is their mean, and the files say the same."""
    outcome = run(wanted(tmp_path, kind))

    summary = outcome.summary(is_ablation=False)
    mean = summary.pop("mean")
    assert len(summary) == (1 if kind == "folder" else 2)
    for figures in summary.values():
        assert tuple(figures) == MEASURES
        assert all(0.0 <= value <= 1.0 for value in figures.values())
    for name in MEASURES:
        assert mean[name] == pytest.approx(np.mean([one[name] for one in summary.values()]))
    assert len(outcome.tables[0].rows) == len(summary) + 1
    dumped = json.loads((tmp_path / "out/results.json").read_text())
    assert dumped["rows"]["MuSc"]["mean"]["values"] == mean
    with (tmp_path / "out/results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(lines[-1][name]) for name in MEASURES] == list(mean.values())
    assert "| mean |" in (tmp_path / "out/results.md").read_text()


@pytest.mark.parametrize("subsets", [1, 2])
def test_scores_are_those_of_score(tmp_path: Path, subsets: int) -> None:
    """The image AUROC is that of the CSV which ``score`` writes for the same folder."""
    root = tmp_path / "folder"
    write_folder(root, masks=False)

    outcome = run(wanted(tmp_path, "folder", base=Row(subsets=subsets)))

    settings = ScoreSettings(root, tmp_path / "scored", subsets=subsets)
    view = ScoreView(Console(file=io.StringIO()), 0)
    scored = score_folder(settings, FakeBackbone(), "a89d1abb", view)
    labels = [not name.startswith("good/") for name in scored.names]
    expected = roc_auc_score(labels, scored.rescored)
    figures = outcome.summary(is_ablation=False)["folder"]
    assert figures["image_auroc"] == pytest.approx(expected, abs=1e-9)
    with (tmp_path / "out/scores/folder.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == scored.names
    np.testing.assert_array_equal(
        np.array([row["rescored"] for row in rows], np.float32), scored.rescored
    )


def test_without_masks_pixel_measures_are_no_figures(tmp_path: Path) -> None:
    """They are None in JSON and "-" in the table, with a footnote; never 0 or NaN."""
    write_folder(tmp_path / "folder", masks=False)

    outcome = run(wanted(tmp_path, "folder"))

    figures = outcome.summary(is_ablation=False)["folder"]
    assert figures["pixel_auroc"] is None
    assert figures["image_auroc"] is not None
    row = outcome.tables[0].rows[0]
    assert row[0] == "folder [1]"
    assert row[5:10] == ["-"] * 5
    assert outcome.tables[0].footnotes()[0].startswith("[1] no masks")


def test_unreadable_images_are_left_out_and_noted(tmp_path: Path) -> None:
    """What cannot be read is counted beside the figures."""
    evaluation = wanted(tmp_path, "folder")
    (tmp_path / "folder/good/00.png").write_text("text")

    outcome = run(evaluation)

    assert "1 images could not be read" in outcome.tables[0].footnotes()[0]
    assert outcome.tables[0].rows[0][1] == "11"


def test_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished category is kept, a half-written one is redone; tables and page are the same."""
    whole = run(wanted(tmp_path, out=tmp_path / "whole", examples=6))
    scored: list[str] = []
    score = evaluate.CategoryScorer.score

    def fail_at_the_second(self: Any, rows: Any) -> Any:
        scored.append(self._names[0])
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score(self, rows)

    monkeypatch.setattr(evaluate.CategoryScorer, "score", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(wanted(tmp_path, examples=6))
    (half,) = (tmp_path / "out/categories").iterdir()
    (half / "cable.json").write_text('{"files": "')

    resumed = run(wanted(tmp_path, examples=6))

    assert scored == [
        "bottle/test/dent/000.png", "cable/test/dent/000.png", "cable/test/dent/000.png",
    ]  # fmt: skip
    assert resumed.rows == whole.rows
    pages = [(tmp_path / name / "examples.html").read_bytes() for name in ("whole", "out")]
    assert pages[0] == pages[1]


def test_finished_run_shows_more_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept shows as many images as a new run would; beyond that it is scored again."""
    monkeypatch.setattr(evaluate, "KEPT", 5)
    scored: list[str] = []
    score = evaluate.CategoryScorer.score

    def counted(self: Any, rows: Any) -> Any:
        scored.append(self._names[0].partition("/")[0])
        return score(self, rows)

    monkeypatch.setattr(evaluate.CategoryScorer, "score", counted)
    run(wanted(tmp_path, examples=0))
    for count, again in ((5, []), (2, []), (7, ["bottle", "cable"]), (99, ["bottle", "cable"])):
        scored.clear()
        run(wanted(tmp_path, examples=count))
        page = (tmp_path / "out/examples.html").read_text()

        assert scored == again
        assert page.count("photo of bottle/") == min(count, 10)


def test_a_changed_image_is_scored_again(tmp_path: Path) -> None:
    """What is kept holds for the files it was computed from, and for no others."""
    evaluation = wanted(tmp_path)
    before = run(evaluation)
    image = tmp_path / "mvtec/bottle/test/good/000.png"
    image.write_bytes((tmp_path / "mvtec/bottle/test/dent/000.png").read_bytes())

    after = run(evaluation)

    assert before.rows["MuSc"]["bottle"] != after.rows["MuSc"]["bottle"]
    assert before.rows["MuSc"]["cable"] == after.rows["MuSc"]["cable"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base": Row(degrees=(1,))}, r"degrees is \[1, 3, 5\], this run has \[1\]"),
        ({"masks": "gt0"}, 'masks is "gt0.5", this run has "gt0"'),
        ({"ablation": "rscin"}, 'ablation is null, this run has "rscin"'),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """A folder never mixes two runs; the message names the setting that differs."""
    run(wanted(tmp_path))

    with pytest.raises(EvaluateError, match=words):
        run(wanted(tmp_path, **changes))


def test_another_folder_of_settings_is_refused(tmp_path: Path) -> None:
    """A file of that name that is none of ours is left alone."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/settings.json").write_text("[1]")

    with pytest.raises(EvaluateError, match="wanted the settings of an evaluation"):
        run(wanted(tmp_path))


def test_degrees_share_the_work_of_their_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of an ablation equals a run of its own, and images are read once for all rows."""
    read: list[int] = []
    extract = FakeBackbone.extract

    def counted(self: FakeBackbone, batch: Any) -> Any:
        read.append(len(batch))
        return extract(self, batch)

    monkeypatch.setattr(FakeBackbone, "extract", counted)
    outcome = run(wanted(tmp_path, ablation="degrees", out=tmp_path / "rows"))
    images = sum(read)

    alone = run(wanted(tmp_path, base=Row(degrees=(3, 5)), out=tmp_path / "alone"))

    assert images == 20
    assert len(outcome.rows) == len(outcome.tables[0].rows) == 9
    assert outcome.rows["{3, 5}"] == alone.rows["MuSc"]


@pytest.mark.parametrize(
    ("ablation", "row", "base"),
    [
        ("keep", "30% + mean", Row()),
        ("interval", "0% ~ 30%", Row()),
        ("rscin", "w", Row()),
        ("subsets", "s = 2", Row(subsets=2)),
        ("window", "k in {1, 2, 3}", Row()),
        ("references", "MuSc 2-shot", Row(shots=2)),
        ("references", "MuSc+ 4-shot", Row(shots=4, plus=True)),
    ],
)
def test_rows_equal_runs_of_their_own(tmp_path: Path, ablation: Any, row: str, base: Row) -> None:
    """Every ablation has the run's own setting, or that of a run with other options, in a row."""
    outcome = run(wanted(tmp_path, ablation=ablation, out=tmp_path / "rows"))

    alone = run(wanted(tmp_path, base=base, out=tmp_path / "alone"))

    for category, figures in alone.rows["MuSc"].items():
        got = outcome.rows[row][category].values
        assert got == pytest.approx(figures.values, abs=1e-6)


def test_rows_without_enough_references_are_noted(tmp_path: Path) -> None:
    """Four training images allow 4-shot at most; the table says what is left out."""
    outcome = run(wanted(tmp_path, ablation="references"))

    assert [row[0] for row in outcome.tables[0].rows][-1] == "MuSc+ 4-shot"
    assert "more than 4 references" in outcome.tables[0].footnotes()[-1]


def test_backbones_without_weights_are_noted(tmp_path: Path) -> None:
    """A row for each backbone; those whose weights are not there say so."""
    outcome = run(wanted(tmp_path, ablation="backbone"))

    assert list(outcome.rows) == ["dino-vitb8", "dinov2-vits14"]
    rows = {row[0]: row[1:] for row in outcome.tables[0].rows}
    assert len(rows) == 10
    assert any(name.startswith("clip-vit-l-14-336 [") for name in rows)
    assert any("clip-vit-l-14-336 is not there" in note for note in outcome.tables[0].notes)


def test_published_figures_lie_beside_ours(tmp_path: Path) -> None:
    """Ours, the paper's and the difference; what is not like for like is said."""
    outcome = run(wanted(tmp_path, published=True))

    table = outcome.tables[1]
    ours = outcome.rows["MuSc"]["bottle"].values["image_auroc"]
    assert ours is not None
    row = next(row for row in table.rows if row[0] == "bottle")
    assert row[1] == f"{100 * ours:.1f} (99.9, {100 * ours - 99.9:+.1f})"
    assert "table 17" in table.title
    words = " ".join(table.footnotes())
    assert "published with clip-vit-l-14-336 at 518 px" in words
    assert "not in this run, so the means are of other sets: capsule" in words


def test_mask_of_another_size_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    """It is named, and nothing is scored."""
    evaluation = wanted(tmp_path)
    (tmp_path / "mvtec/bottle/ground_truth/dent/000_mask.png").write_bytes(
        (tmp_path / "mvtec/bottle/ground_truth/dent/001_mask.png").read_bytes()[:50]
    )

    with pytest.raises(DatasetError, match="000_mask"):
        run(evaluation)
    assert not (tmp_path / "out").exists()


def test_too_few_references_are_refused(tmp_path: Path) -> None:
    """The message has both numbers."""
    with pytest.raises(BatchScoreError, match="4 good training images, 9 references"):
        run(wanted(tmp_path, base=Row(shots=9)))


def test_unreadable_category_is_refused(tmp_path: Path) -> None:
    """Without an image there is no figure; the first fault is named."""
    evaluation = wanted(tmp_path, "folder", base=Row(shots=2), references=tmp_path / "known")
    write_mvtec(tmp_path / "other", ("bottle",))
    (tmp_path / "other/bottle/train/good").rename(tmp_path / "known")
    for image in (tmp_path / "folder").rglob("*.png"):
        if "ground_truth" not in image.parts:
            image.write_text("text")

    with pytest.raises(BatchScoreError, match=r"0 of 12 images are readable, dent/00.png"):
        run(evaluation)


def test_stages_of_one_backbone_are_not_those_of_others(tmp_path: Path) -> None:
    """Blocks are counted in the backbone's own depth."""
    choice = BackboneChoice("dinov2-vits14", stages=(2, 5))

    with pytest.raises(EvaluateError, match="--stages are blocks of one backbone"):
        run(wanted(tmp_path, choice=choice, ablation="backbone"))


def test_references_and_intervals_do_not_go_together(tmp_path: Path) -> None:
    """No table of the paper has both."""
    with pytest.raises(EvaluateError, match="--shots 2: leave it out of --ablation keep"):
        run(wanted(tmp_path, base=Row(shots=2), ablation="keep"))
