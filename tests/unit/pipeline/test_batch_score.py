"""A folder of images: every readable one scored, nothing assumed about the rest."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from factories import FakeBackbone
from rich.console import Console

from musc.batch import MuSc
from musc.few_shot import few_shot_scores, reference_scores
from musc.lnamd import aggregate
from musc.msm import mutual_scores
from musc.rscin import rescore
from pipeline import batch_score
from pipeline.batch_score import BatchScoreError, ScoreSettings, finish, score_folder
from pipeline.image_folder import ImageFolderError, list_images, output_names
from pipeline.score_output import write_heatmaps, write_maps, write_scores
from pipeline.score_view import ScoreView

if TYPE_CHECKING:
    from pathlib import Path

    from musc.vision_transformer import Features


def view() -> ScoreView:
    """Return a view that writes nowhere."""
    return ScoreView(Console(file=io.StringIO()), 0)


def fill(folder: Path, count: int, seed: int = 0) -> None:
    """Write noisy grey images of different sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        size = (28 + index, 40)
        cv2.imwrite(str(folder / f"{index:02d}.png"), rng.integers(60, 90, size, np.uint8))


def tokens(folder: Path, names: list[str]) -> Features:
    """Return the features of some images, read one by one."""
    scorer = MuSc(FakeBackbone())
    images: list[Any] = [cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) for name in names]
    return scorer.features(images, pixel_format="mono")


def run(settings: ScoreSettings) -> batch_score.FolderScores:
    """Score a folder with the fake backbone."""
    return score_folder(settings, FakeBackbone(), "a89d1abb", view())


def test_scores_are_batch_musc(tmp_path: Path) -> None:
    """Patch scores, frame scores and rescored are those of the method's own functions."""
    fill(tmp_path / "in", 7)

    got = run(ScoreSettings(tmp_path / "in", tmp_path / "out"))

    seen = tokens(tmp_path / "in", got.names)
    twin = mutual_scores(aggregate(seen.tokens))
    assert got.names == [f"{index:02d}.png" for index in range(7)]
    np.testing.assert_allclose(got.patch_scores, twin.numpy(), atol=1e-5)
    again = rescore(torch.from_numpy(got.scores), seen.image_features)
    np.testing.assert_allclose(got.rescored, again.numpy(), atol=1e-6)


@pytest.mark.parametrize("plus", [False, True])
def test_references_score(tmp_path: Path, plus: bool) -> None:  # noqa: FBT001 - a parameter
    """With references the scores are those of few-shot MuSc, or of MuSc+."""
    fill(tmp_path / "in", 4)
    fill(tmp_path / "good", 3, seed=1)

    got = run(ScoreSettings(tmp_path / "in", tmp_path / "out", tmp_path / "good", plus=plus))

    own = aggregate(tokens(tmp_path / "in", got.names).tokens)
    known = aggregate(tokens(tmp_path / "good", [f"{i:02d}.png" for i in range(3)]).tokens)
    twin = reference_scores(own, known) if plus else few_shot_scores(own, known)
    np.testing.assert_allclose(got.patch_scores, twin.numpy(), atol=1e-5)


def test_subsets_score_apart_and_rescore_together(tmp_path: Path) -> None:
    """Each subset is every s-th image; RsCIN runs once on the union."""
    fill(tmp_path / "in", 9)

    got = run(ScoreSettings(tmp_path / "in", tmp_path / "out", subsets=2))

    odd = [name for index, name in enumerate(got.names) if index % 2]
    twin = mutual_scores(aggregate(tokens(tmp_path / "in", odd).tokens))
    np.testing.assert_allclose(got.patch_scores[1::2], twin.numpy(), atol=1e-5)
    features = tokens(tmp_path / "in", got.names).image_features
    np.testing.assert_allclose(
        got.rescored, rescore(torch.from_numpy(got.scores), features).numpy(), atol=1e-6
    )


def test_unreadable_files_are_skipped_by_name(tmp_path: Path) -> None:
    """Text and an empty file are named; depth and colour may differ between images."""
    fill(tmp_path / "in" / "sub", 3)
    fill(tmp_path / "in", 2, seed=5)
    (tmp_path / "in" / "00a.png").write_text("text")
    (tmp_path / "in" / "sub" / "empty.jpg").write_bytes(b"")
    deep = np.random.default_rng(0).integers(0, 60_000, (30, 30), np.uint16)
    cv2.imwrite(str(tmp_path / "in" / "deep.tiff"), deep)
    cv2.imwrite(str(tmp_path / "in" / "colour.bmp"), np.zeros((30, 30, 3), np.uint8))

    got = run(ScoreSettings(tmp_path / "in", tmp_path / "out"))

    assert len(got.names) == 7
    assert got.names == sorted(got.names)
    assert sorted(got.skipped) == ["00a.png", "sub/empty.jpg"]
    assert np.isfinite(got.scores).all()


def test_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a finished subset yielded is not computed again, and the end is the same."""
    fill(tmp_path / "in", 9)
    settings = ScoreSettings(tmp_path / "in", tmp_path / "out", subsets=3)
    whole = run(ScoreSettings(tmp_path / "in", tmp_path / "whole", subsets=3))
    read: list[str] = []
    load = batch_score.load_image

    def fail_at_the_seventh(root: Path, name: str) -> Any:
        read.append(name)
        if len(read) == 7:
            raise KeyboardInterrupt
        return load(root, name)

    monkeypatch.setattr(batch_score, "load_image", fail_at_the_seventh)
    with pytest.raises(KeyboardInterrupt):
        run(settings)
    resumed = run(settings)

    assert len(read) == 7 + 3
    np.testing.assert_array_equal(resumed.scores, whole.scores)
    np.testing.assert_array_equal(resumed.rescored, whole.rescored)
    finish(settings)
    assert not (tmp_path / "out" / "partial").exists()


def test_other_settings_are_not_resumed(tmp_path: Path) -> None:
    """Scores of another model, or of a file that has changed, are computed anew."""
    fill(tmp_path / "in", 4)
    settings = ScoreSettings(tmp_path / "in", tmp_path / "out")
    before = run(settings)

    fill(tmp_path / "in", 4, seed=9)
    after = run(settings)

    assert not np.array_equal(before.scores, after.scores)


@pytest.mark.parametrize(
    ("count", "subsets", "words"),
    [(1, 1, "at most 1"), (5, 3, "at most 2")],
)
def test_too_few_images_are_refused(tmp_path: Path, count: int, subsets: int, words: str) -> None:
    """An image needs a peer in its subset."""
    fill(tmp_path / "in", count)

    with pytest.raises(BatchScoreError, match=words):
        run(ScoreSettings(tmp_path / "in", tmp_path / "out", subsets=subsets))


def test_too_little_memory_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figure and a number of subsets that would fit are in the message."""
    fill(tmp_path / "in", 8)
    backbone = FakeBackbone()
    limit = batch_score.needed_bytes(backbone, 4, 0) / batch_score.MEMORY_SHARE
    monkeypatch.setattr(batch_score, "free_bytes", lambda _device: int(limit) + 1)

    with pytest.raises(BatchScoreError, match="--subsets 2 would fit"):
        run(ScoreSettings(tmp_path / "in", tmp_path / "out"))
    fitting = run(ScoreSettings(tmp_path / "in", tmp_path / "out", subsets=2))

    assert len(fitting.names) == 8


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    """No such folder, nothing in it, nothing readable: named."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    for index in range(3):
        (tmp_path / "bad" / f"{index}.png").write_text("text")

    for name, error in (
        ("gone", ImageFolderError), ("empty", ImageFolderError), ("bad", BatchScoreError),
    ):  # fmt: skip
        with pytest.raises(error, match=name):
            run(ScoreSettings(tmp_path / name, tmp_path / "out"))


def test_results_of_an_earlier_run_are_no_input(tmp_path: Path) -> None:
    """With OUT inside the folder its heatmaps are not scored."""
    fill(tmp_path, 3)
    fill(tmp_path / "out" / "heatmaps", 2)

    assert list_images(tmp_path, leave_out=tmp_path / "out") == ["00.png", "01.png", "02.png"]


def test_output_names_never_collide() -> None:
    """Images that differ in their suffix only keep it in their results' names."""
    names = output_names(["a.png", "a.jpg", "b.png", "s/a.png"])

    assert names == {"a.png": "a_png", "a.jpg": "a_jpg", "b.png": "b", "s/a.png": "s/a"}


def test_files_are_as_documented(tmp_path: Path) -> None:
    """CSV with nine digits, float32 maps of the image size, heatmaps of the image's own size."""
    fill(tmp_path / "in", 5)
    out = tmp_path / "out"
    got = run(ScoreSettings(tmp_path / "in", out))

    write_scores(got, out)
    write_maps(got, out, 28)
    threshold = write_heatmaps(got, tmp_path / "in", out, rejects_per_1000=20, on_image=True)

    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == got.names
    read_back = np.array([row["score"] for row in rows], np.float32)
    np.testing.assert_array_equal(read_back, got.scores)
    chart = np.load(out / "maps" / "03.npy")
    assert (chart.dtype, chart.shape) == (np.float32, (28, 28))
    assert chart.max() == pytest.approx(got.scores[3])
    heatmap = cv2.imread(str(out / "heatmaps" / "03.png"))
    assert heatmap is not None
    assert heatmap.shape == (31, 40, 3)
    assert threshold > np.median(got.scores)
