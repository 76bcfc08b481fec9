"""The good patches beside a bad one are the nearest there are, and what is gone is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from factories import BOOT, FakeBackbone, config
from replay_rig import (
    SETTINGS,
    fake_scorer,
    recorded_line,
    replayed,
    rows,
    write_parts,
)

from edge.frame import FrameKey
from musc.lnamd import aggregate_naive
from musc.preprocess import to_batch
from pipeline import report_patches
from pipeline.heatmap import decode_8bit, encode_png
from pipeline.replay import open_source
from pipeline.report_data import read_run
from pipeline.report_patches import GOOD_FRAMES, MARK_BGR, Peak, nearest_patches

if TYPE_CHECKING:
    from pathlib import Path

    from edge.sockets import Context
    from pipeline.config import Config
    from pipeline.report_data import Worst

PARTS, DEFECTS = 70, (22, 60)
BRIGHT = 165
"""Only the stripe of a defect is as bright, and grey; the mark is yellow."""


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seventy parts, two of them defective."""
    fake_scorer(monkeypatch)
    return write_parts(tmp_path / "images", PARTS, DEFECTS)


def settings(**sections: Any) -> Config:
    """Return a line's settings; ``camera`` adds to the one camera."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1, **sections.pop("camera", {})}
    return config(camera=[camera], **{**SETTINGS, **sections})


def found(images: Path, ledger: Path, used: Config) -> tuple[list[Worst], dict[FrameKey, Peak]]:
    """Replay, and return the failed frames with what came nearest to their worst patch."""
    replayed(images, ledger, used)
    worst = [one for one in read_run(ledger, "raw").worst if one.verdict == "FAIL"]
    return worst, nearest_patches(open_source(images, used), ledger, worst, FakeBackbone())


def tokens(path: Path) -> torch.Tensor:
    """Return the degree-1 tokens of an image, [P, C], in plain loops."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    batch = to_batch(
        [pixels], image_size=28, mean=(0, 0, 0), std=(1, 1, 1), bit_depth=8, pixel_format="mono"
    )
    return aggregate_naive(FakeBackbone().extract(batch).tokens, (1,))[0, 0]


def naive(images: Path, ledger: Path, bad: int, patch: int, reach: int) -> list[tuple[str, float]]:
    """Return the three nearest parts in plain loops: of the last good ones before, then after."""
    good = [r["seq"] for r in rows(ledger) if r["verdict"] == "PASS" and r["admission"] == "peer"]
    before, after = [s for s in good if s < bad][-GOOD_FRAMES:], [s for s in good if s > bad]
    chosen = [*before, *after[: GOOD_FRAMES - len(before)]]
    wanted = tokens(images / f"{bad}.png")[patch]
    near = []
    for seq in chosen:
        own = tokens(images / f"{seq}.png")
        places = [
            p for p in range(16)
            if max(abs(p // 4 - patch // 4), abs(p % 4 - patch % 4)) <= reach
        ]  # fmt: skip
        near.append((min(float((own[p] - wanted).norm()) for p in places), str(seq)))
    return [(part, distance) for distance, part in sorted(near)[:3]]


@pytest.mark.parametrize("locality", [None, 0, 1])
def test_nearest_are_those_of_plain_loops(
    images: Path, tmp_path: Path, locality: int | None
) -> None:
    """Part, distance and order are what the definition says, with locality too."""
    used = settings(musc={"locality_patches": locality})

    worst, peaks = found(images, tmp_path / "run.db", used)

    assert {one.part for one in worst} >= {str(number) for number in DEFECTS}
    reach = 4 if locality is None else locality
    for one in worst:
        peak, patch = peaks[one.key], int(one.patches.argmax())
        expected = naive(images, tmp_path / "run.db", one.key.seq, patch, reach)
        assert [good.part for good in peak.nearest] == [part for part, _ in expected]
        assert [good.distance for good in peak.nearest] == pytest.approx(
            [distance for _, distance in expected], abs=1e-5
        )
        assert (peak.compared, peak.gone) == (GOOD_FRAMES, 0)


def test_same_source_gives_the_same_pictures(images: Path, tmp_path: Path) -> None:
    """Whatever is asked twice is answered alike, to the last byte."""
    assert (
        found(images, tmp_path / "a.db", settings())[1]
        == found(images, tmp_path / "b.db", settings())[1]
    )


@pytest.mark.parametrize(
    ("camera", "shape"),
    [
        ({}, (21, 21)),
        ({"rotate_deg": 90}, (21, 21)),
        ({"roi_px": (7, 0, 21, 28)}, (21, 16)),
        ({"columns": 2, "rows": 2, "overlap_patches": 2}, None),
        ({"columns": 2, "rotate_deg": 270}, None),
        ({"ignore_px": [[(0, 21), (28, 21), (28, 28), (0, 28)]]}, (21, 21)),
    ],
)
def test_picture_shows_the_patch(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    camera: dict[str, Any],
    shape: tuple[int, int] | None,
) -> None:
    """Turned, cut or in regions: the stripe lies in the mark, and good patches show none."""
    monkeypatch.setattr(report_patches, "jpeg", encode_png)
    used = settings(camera=camera, musc={"degrees": [1]})
    worst, peaks = found(images, tmp_path / "run.db", used)

    seen = [peaks[one.key] for one in worst if one.part in {str(number) for number in DEFECTS}]
    assert len(seen) == len(DEFECTS)
    for peak in seen:
        shown = decode_8bit(peak.picture, "peak")
        assert shape is None or shown.shape[:2] == shape
        rows_of_mark, columns_of_mark = np.nonzero((shown == MARK_BGR).all(axis=2))
        inside = shown[
            rows_of_mark.min() : rows_of_mark.max(), columns_of_mark.min() : columns_of_mark.max()
        ]
        assert (inside.min(axis=2) > BRIGHT).any()
        assert len(peak.nearest) == 3
        goods = [decode_8bit(good.picture, good.part) for good in peak.nearest]
        assert not any((good.min(axis=2) > BRIGHT).any() for good in goods)


def test_good_frames_that_are_gone_are_counted(images: Path, tmp_path: Path) -> None:
    """Files that were deleted since are left out, and the next nearest take their place."""
    ledger, used = tmp_path / "run.db", settings()
    worst, before = found(images, ledger, used)
    key = next(one.key for one in worst if one.part == "60")
    source = open_source(images, used)
    lost = before[key].nearest[0].part
    (images / f"{lost}.png").unlink()
    (images / "22.png").unlink()

    after = nearest_patches(source, ledger, worst, FakeBackbone())

    assert (after[key].compared, after[key].gone) == (GOOD_FRAMES - 1, 1)
    assert [one.part for one in after[key].nearest[:2]] == [
        one.part for one in before[key].nearest[1:]
    ]
    assert not any(found.part == lost for found in after[key].nearest)
    # Of a bad frame that is gone nothing can be shown.
    assert {one.part for one in worst if one.key not in after} == {"22"}


def test_without_good_frames_nothing_is_near(images: Path, tmp_path: Path) -> None:
    """Where everything fails the patch stands alone."""
    worst, peaks = found(
        images, tmp_path / "run.db", settings(judge={"method": "fixed", "fixed_threshold": 1e-6})
    )

    assert len(worst) > 0
    assert all((peaks[one.key].nearest, peaks[one.key].compared) == ([], 0) for one in worst)


def test_recorded_line_shows_its_frames(
    tmp_path: Path,
    ipc_folder: Path,
    zmq_context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a recording the frames' own files are read; one whose file is gone is left out."""
    record = tmp_path / "record"
    with recorded_line(ipc_folder, record, zmq_context, monkeypatch) as line:
        line.parts(30)
        line.part(defect=True)
        line.parts(3)
    ledger = replayed(record, tmp_path / "run.db")
    worst = [one for one in read_run(ledger, "raw").worst if one.verdict == "FAIL"]
    source = open_source(record, None)

    whole = nearest_patches(source, ledger, worst, FakeBackbone())
    for number in (20, 33):
        (record / "c1/frames" / BOOT / f"{number}.png").unlink()
    damaged = nearest_patches(source, ledger, worst, FakeBackbone())

    key = next(one.key for one in worst if one.key.seq == 31)
    assert whole[key].gone == 0
    assert damaged[key].gone == 2
    assert damaged[key].compared == whole[key].compared - 2
    assert len(damaged[key].nearest) == 3
