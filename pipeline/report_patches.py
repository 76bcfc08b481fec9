"""What the worst patch of a bad frame was compared with: the good patches that came nearest.

The ledger knows no neighbours, so they are found once more, for the few frames of a report:
the patch at the highest score, its degree-1 tokens (each patch for itself) at all stages,
and of each good frame the patch at the smallest distance, mean over the stages. Three frames
are named, the nearest first. Good frames are those of the same camera and recipe that passed
and voted, the latest before the bad one; where there are too few, the next after it.

One frame is held at a time, and no more than ``WORST`` times ``GOOD_FRAMES`` go through
the backbone, one by one: the same source gives the same patches.

Source: the distances of Li et al., MuSc, ICLR 2024, sections 3.1 and 3.2, at degree 1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2

from edge.frame import FrameKey
from musc.lnamd import aggregate
from musc.locality import too_far
from pipeline.camera_intake import CameraIntake, FrameRefusedError
from pipeline.evidence_encoder import shown
from pipeline.heatmap import box_of
from pipeline.ledger import open_for_reading
from pipeline.page import jpeg, shrunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlite_utils import Database
    from torch import Tensor

    from edge.frame import Frame
    from musc.backbone import Backbone
    from pipeline.regions import Region, View
    from pipeline.replay_sources import ReplaySource
    from pipeline.report_data import Worst

GOOD_FRAMES = 32
"""Good frames that a bad one is compared with: a window of the default size."""
NEAREST = 3
SHOWN_PATCHES = 3
"""Side of what is shown: the patch in its middle, but at the edge of the picture."""
CROP_PX = 112
"""Longer side of a picture; the page shows it half as large."""
MARK_BGR = (60, 220, 255)
_GOOD = (
    "select camera, boot, seq from verdicts where camera = ? and recipe = ? and "
    "part_id != ? and verdict = 'PASS' and admitted = 1 and (captured_at, seq) {} (?, ?) "
    "order by captured_at {}, seq {} limit ?"
)


class GoodPatch(NamedTuple):
    """A patch of a good frame."""

    distance: float
    """Between tokens of unit length, at most 2."""
    part: str
    picture: bytes
    """JPEG of the patch and what is around it."""


@dataclass(slots=True)
class Peak:
    """The worst patch of one frame."""

    picture: bytes
    """JPEG of the patch and what is around it."""
    nearest: list[GoodPatch] = field(default_factory=list)
    """The nearest first."""
    compared: int = 0
    """Good frames that were looked at."""
    gone: int = 0
    """Good frames that are not there any more, and are left out."""


class _Query(NamedTuple):
    """What is looked for."""

    peak: Peak
    region: int
    """Index of the region that the patch lies in."""
    patch: int
    """Its number there, row-major."""
    tokens: Tensor
    """[S, C]."""


def nearest_patches(
    source: ReplaySource,
    ledger: Path,
    worst: Sequence[Worst],
    backbone: Backbone,
    expect: Callable[[int], None] = lambda _frames: None,
    tick: Callable[[], None] = lambda: None,
) -> dict[FrameKey, Peak]:
    """Return the worst patch of each frame that is still there, and what came nearest.

    Args:
        source: Of the run.
        ledger: Of the run.
        worst: The frames.
        backbone: Of the run.
        expect: Told how many more frames go through the backbone, at most.
        tick: Called for each frame that went through it.

    Raises:
        LedgerError: There is no such file, or it is not a ledger.
    """
    search = _Search(source, backbone, tick)
    expect(len(worst))
    queries = search.queries(worst)
    with closing(open_for_reading(ledger)) as db:
        good = {key: _good_frames(db, key) for key in queries}
    wanted: dict[FrameKey, list[_Query]] = defaultdict(list)
    for key, frames in good.items():
        for other in frames:
            wanted[other].append(queries[key])
    expect(sum(len({query.region for query in each}) for each in wanted.values()))
    search.compare(wanted)
    for key, query in queries.items():
        query.peak.gone = len(good[key]) - query.peak.compared
    return {key: query.peak for key, query in queries.items()}


class _Search:
    """Frames of a source, seen once more with the run's backbone."""

    def __init__(self, source: ReplaySource, backbone: Backbone, tick: Callable[[], None]) -> None:
        self._source, self._backbone, self._tick = source, backbone, tick
        self._intakes = {one.id: CameraIntake(one, backbone) for one in source.config.camera}
        self._far = too_far(backbone.patches, source.config.musc.locality_patches)

    def queries(self, worst: Sequence[Worst]) -> dict[FrameKey, _Query]:
        """Return what is looked for, of each frame that is there."""
        wanted = {one.key: one for one in worst}
        found: dict[FrameKey, _Query] = {}
        for frame in self._source.frames(wanted.keys()):
            patches, view = wanted[frame.key].patches, self._view(frame)
            place = divmod(int(patches.argmax()), patches.shape[1])
            region = None if view is None else _region_at(view, place)
            if view is None or region is None:
                continue
            own = view.regions[region]
            patch = (place[0] - own.top) * own.ignored.shape[1] + place[1] - own.left
            tokens = self._tokens(frame, region)[:, patch]
            peak = Peak(_crop(frame, view, own, patch))
            found[frame.key] = _Query(peak, region, patch, tokens)
        return found

    def compare(self, wanted: dict[FrameKey, list[_Query]]) -> None:
        """Look at good frames, each for all that are compared with it."""
        for frame in self._source.frames(wanted.keys()):
            view = self._view(frame)
            if view is None:
                continue
            tokens: dict[int, Tensor] = {}
            for query in wanted[frame.key]:
                if query.region not in tokens:
                    tokens[query.region] = self._tokens(frame, query.region)
                region = view.regions[query.region]
                distance, patch = self._nearest(query, tokens[query.region], region)
                query.peak.compared += 1
                _keep(query.peak.nearest, distance, frame, view, region, patch)

    def _view(self, frame: Frame) -> View | None:
        """Return how a frame is looked at; None where it is unlike its camera's first."""
        try:
            return self._intakes[frame.key.camera].view(frame)
        except FrameRefusedError:
            return None

    def _tokens(self, frame: Frame, region: int) -> Tensor:
        """Return the degree-1 tokens of a region, [S, P, C]."""
        intake = self._intakes[frame.key.camera]
        batch = intake.batch(frame)[region : region + 1]
        self._tick()
        return aggregate(self._backbone.extract(batch).tokens, (1,))[0]

    def _nearest(self, query: _Query, tokens: Tensor, region: Region) -> tuple[float, int]:
        distances = (tokens - query.tokens[:, None]).norm(dim=-1).mean(dim=0).cpu().numpy()
        left_out = region.ignored.ravel() | self._far[query.patch].numpy()
        distances[left_out] = math.inf
        patch = int(distances.argmin())
        return float(distances[patch]), patch


def _keep(
    nearest: list[GoodPatch],
    distance: float,
    frame: Frame,
    view: View,
    region: Region,
    patch: int,
) -> None:
    """Take a patch up where it is among the nearest; of equal ones the first stays."""
    if len(nearest) == NEAREST and distance >= nearest[-1].distance:
        return
    part = frame.announcement.part_id
    nearest.append(GoodPatch(distance, part, _crop(frame, view, region, patch)))
    nearest.sort(key=lambda one: one.distance)
    del nearest[NEAREST:]


def _good_frames(db: Database, key: FrameKey) -> list[FrameKey]:
    """Return the good frames that one is compared with."""
    about = db.execute(
        "select recipe, part_id, captured_at from verdicts where (camera, boot, seq) = (?, ?, ?)",
        [key.camera, key.boot, key.seq],
    )
    recipe, part, captured_at = about.fetchone()
    found: list[FrameKey] = []
    for side, order in (("<", "desc"), (">", "asc")):
        values = [key.camera, recipe, part, captured_at, key.seq, GOOD_FRAMES - len(found)]
        rows = db.execute(_GOOD.format(side, order, order), values)
        found += [FrameKey(*row) for row in rows]
    return found


def _region_at(view: View, place: tuple[int, int]) -> int | None:
    """Return the first region that sees a patch of the stitched grid."""
    for number, region in enumerate(view.regions):
        row, column = place[0] - region.top, place[1] - region.left
        rows, columns = region.ignored.shape
        if 0 <= row < rows and 0 <= column < columns and not region.ignored[row, column]:
            return number
    return None


def _crop(frame: Frame, view: View, region: Region, patch: int) -> bytes:
    """Return a patch of a region, marked, and what is around it, as JPEG."""
    row, column = divmod(patch, region.ignored.shape[1])
    row, column = region.top + row, region.left + column
    rows, columns = (_shown(place, of) for place, of in zip((row, column), view.grid, strict=True))
    x, y, width, height = box_of(rows, columns, view.affine, view.frame)
    left, top = x - frame.offset_px[0], y - frame.offset_px[1]
    cut = replace(frame, pixels=frame.pixels[top : top + height, left : left + width])
    small = shrunk(shown(cut), CROP_PX)
    colour: Any = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if small.ndim == 2 else small  # noqa: PLR2004 - height and width
    mark = box_of((row, row), (column, column), view.affine, view.frame)
    scale_x, scale_y = colour.shape[1] / width, colour.shape[0] / height
    first = round(scale_x * (mark[0] - x)), round(scale_y * (mark[1] - y))
    end = round(scale_x * (mark[0] + mark[2] - x)), round(scale_y * (mark[1] + mark[3] - y))
    cv2.rectangle(colour, first, (end[0] - 1, end[1] - 1), MARK_BGR)
    return jpeg(colour)


def _shown(place: int, of: int) -> tuple[int, int]:
    """Return the first and the last row, or column, that is shown with one of them."""
    first = max(0, min(place - SHOWN_PATCHES // 2, of - SHOWN_PATCHES))
    return first, min(first + SHOWN_PATCHES, of) - 1
