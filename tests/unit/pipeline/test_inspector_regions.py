"""Regions, turns and masks through the inspector: where a defect is, and what cannot matter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from factories import FakeBackbone, announcement, config
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.frame import Frame
from musc.anomaly_map import frame_scores
from musc.backbone import Features
from musc.preprocess import to_batch
from musc.rscin import rescore
from musc.sliding import SlidingMuSc
from pipeline.inspector import Inspector
from pipeline.judge import RobustZ
from pipeline.regions import View, make_view
from pipeline.robust_z import robust_threshold

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.inspection import Inspection

HEIGHT, WIDTH = 100, 120
READY = 18
"""Frames until a window of ten and a judge of eight scores are ready."""


def geometry(cameras: int = 1, admission: str = "all", **camera: Any) -> Config:
    """Return a config of one or more cameras that look in the given way."""
    window = {"size_frames": 10, "min_peers": 8, "admission": admission}
    judge = {"min_scores": 8}
    ids = [f"c{number + 1}" for number in range(cameras)]
    sections = [{"id": one, "kind": "synthetic", "interval_ms": 1, **camera} for one in ids]
    return config(camera=sections, window=window, judge=judge)


def picture(seed: int) -> np.ndarray:
    """Return a noisy part with a shape of its own everywhere."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    base = 60 + 30 * np.sin(columns / 9) + 30 * np.cos(rows / 7)
    noise = np.random.default_rng(seed).normal(0, 2, base.shape)
    return (base + noise).clip(0, 255).astype(np.uint8)


def frame(
    seq: int,
    pixels: np.ndarray | None = None,
    offset_px: tuple[int, int] = (0, 0),
    depth: int = 8,
    **fields: Any,
) -> Frame:
    """Return a frame from somewhere on the sensor."""
    pixels = picture(seq) if pixels is None else pixels
    return Frame(announcement(seq, **fields), pixels, "mono", depth, offset_px)


def inspector(settings: Config, backbone: FakeBackbone | None = None) -> Inspector:
    """Return an inspector with the fake backbone."""
    return Inspector(settings, backbone or FakeBackbone(), "a89d1abb", timer=lambda: 0.0)


def run(box: Inspector, *frames: Frame) -> list[dict[str, Any]]:
    """Return everything that is said of frames, with the patch scores."""
    seen = [box.inspect(one) for one in frames]
    return [told(one) for one in seen]


def told(inspection: Inspection) -> dict[str, Any]:
    """Return all of an inspection, its map as bytes."""
    scores = inspection.patch_scores
    return inspection.model_dump() | {"map": None if scores is None else scores.tobytes()}


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (3, 3), (2, 1)])
@pytest.mark.parametrize("offset_px", [(0, 0), (310, 57)])
@pytest.mark.parametrize("centre", [(30, 20), (101, 83)])
def test_box_is_where_the_defect_is(
    rotate_deg: int,
    columns: int,
    rows: int,
    offset_px: tuple[int, int],
    centre: tuple[int, int],
) -> None:
    """A bright spot is found within one patch of where it is on the sensor, however it is seen."""
    look = geometry(rotate_deg=rotate_deg, columns=columns, rows=rows, overlap_patches=1)
    box = inspector(look)
    for seq in range(1, READY):
        box.inspect(frame(seq, offset_px=offset_px))
    x, y = centre
    spoilt = picture(READY)
    spoilt[y - 3 : y + 3, x - 3 : x + 3] = 255

    seen = box.inspect(frame(READY, spoilt, offset_px))

    assert (seen.verdict, seen.state) == ("FAIL", "READY")
    assert seen.box is not None
    assert seen.affine is not None
    a, b, _, d, e, _ = seen.affine
    pitch_x, pitch_y = abs(a) + abs(b), abs(d) + abs(e)
    left, top, width, height = seen.box
    assert left - pitch_x <= x + offset_px[0] <= left + width + pitch_x
    assert top - pitch_y <= y + offset_px[1] <= top + height + pitch_y
    assert (width, height) < (5 * pitch_x, 5 * pitch_y)
    assert offset_px[0] <= left < left + width <= offset_px[0] + WIDTH
    assert offset_px[1] <= top < top + height <= offset_px[1] + HEIGHT


def test_smaller_regions_show_smaller_defects() -> None:
    """The same spot stands out more where it is a larger part of a patch."""
    excess = []
    for columns in (1, 3):
        box = inspector(geometry(columns=columns, rows=columns))
        for seq in range(1, READY):
            box.inspect(frame(seq))
        spoilt = picture(READY)
        spoilt[50:52, 40:42] += 90
        seen = box.inspect(frame(READY, spoilt))
        assert seen.score is not None
        assert seen.threshold is not None
        excess.append(seen.score / seen.threshold)

    assert excess[1] > 1.2 * excess[0]


def test_whole_frame_is_scored_as_by_its_parts() -> None:
    """Without regions, turn and mask all numbers are window's, RsCIN's and judge's, bit by bit."""
    look = geometry()
    box, backbone = inspector(look), FakeBackbone()
    window = SlidingMuSc(10, (1, 3, 5), 0.3, interpolate=True)
    judge = RobustZ(look.judge.rejects_per_1000, 8, 500)
    scored: list[tuple[float, torch.Tensor]] = []

    for seq in range(1, 30):
        seen = box.inspect(frame(seq))

        batch = to_batch(
            [picture(seq)], image_size=28, mean=(0, 0, 0), std=(1, 1, 1), pixel_format="mono"
        )
        features = backbone.extract(batch)
        slot = window.push(features.tokens[0], features.image_features[0])
        if seq == 1:
            continue
        patches = window.patch_scores(slot)
        score = float(frame_scores(patches[None], 28)[0])
        scored = [*scored, (score, features.image_features[0])][-10:]
        history = torch.tensor([value for value, _ in scored])
        latest = rescore(history, torch.stack([one for _, one in scored]), (1, 2, 3))
        assert seen.patch_scores is not None
        assert seen.patch_scores.tobytes() == patches.numpy().tobytes()
        assert (seen.score, seen.rescored) == (score, float(latest[-1]))
        assert (seen.threshold, seen.region) == (judge.threshold(), 0)
        assert seen.map_level in {None, judge.threshold()}
        assert seen.affine == (30.0, 0.0, 14.5, 0.0, 25.0, 12.0)
        judge.learn(score, seen.window_n)


@given(
    seed=st.integers(0, 2**16),
    rotate_deg=st.sampled_from([0, 90, 180, 270]),
    columns=st.integers(1, 3),
    value=st.integers(0, 2**16 - 1),
)
@settings(max_examples=15, deadline=None)
def test_what_is_ignored_cannot_matter(
    seed: int, rotate_deg: int, columns: int, value: int
) -> None:
    """Whatever lies under a mask, values beyond the declared depth too, changes not one bit."""
    corners = [(5, 8), (70, 2), (90, 95), (33, 60)]
    look = geometry(ignore_px=[corners], rotate_deg=rotate_deg, columns=columns)
    mask = make_view(look.camera[0], (HEIGHT, WIDTH), (0, 0), 4).mask
    assert mask is not None
    rng = np.random.default_rng(seed)
    plain, changed = inspector(look), inspector(look)

    for seq in range(1, 22):
        pixels = picture(seq).astype(np.uint16)
        other = pixels.copy()
        other[mask] = rng.integers(0, value + 1, int(mask.sum()))

        (one,) = run(plain, frame(seq, pixels, depth=8))
        (two,) = run(changed, frame(seq, other, depth=8))

        assert one == two
        assert one["why"] != "corrupt"


def test_what_is_not_ignored_does_matter() -> None:
    """A defect beside the mask, in a patch that it covers in part, still fails."""
    half = [(0, 0), (52, 0), (52, HEIGHT), (0, HEIGHT)]
    box = inspector(geometry(ignore_px=[half]))
    for seq in range(1, READY):
        box.inspect(frame(seq))
    spoilt = picture(READY)
    spoilt[40:46, 53:59] = 255

    seen = box.inspect(frame(READY, spoilt))

    assert seen.verdict == "FAIL"
    assert seen.patch_scores is not None
    assert (seen.patch_scores[:, 0] == 0).all()
    assert (seen.patch_scores[:, 1] > 0).all()


def test_mask_over_everything_never_passes() -> None:
    """A picture that is wholly ignored is NO_RESULT, with the reason, for ever."""
    everything = [(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)]
    box = inspector(geometry(ignore_px=[everything]))

    seen = [box.inspect(frame(seq, origin="a.png")) for seq in range(1, 25)]

    assert {(one.verdict, one.why, one.state) for one in seen} == {
        ("NO_RESULT", "corrupt", "WARMING")
    }
    assert "a.png: ignore_px covers all" in seen[-1].detail


def test_region_without_content_holds_nothing_up() -> None:
    """A region that is the same in every frame waits for no threshold while others have one."""
    look = geometry(columns=2, overlap_patches=0)
    box = inspector(look)

    def half(seq: int) -> Frame:
        pixels = picture(seq)
        pixels[:, WIDTH // 2 :] = 255
        return frame(seq, pixels)

    for seq in range(1, READY):
        box.inspect(half(seq))
    constant = box.inspect(half(READY))
    spoilt = half(READY).pixels.copy()
    spoilt[40:50, 90:100] = 0
    odd = box.inspect(frame(READY + 1, spoilt))

    assert (constant.verdict, constant.region) == ("PASS", 1)
    assert (odd.verdict, odd.why, odd.region) == ("NO_RESULT", "warming", 2)


def test_each_region_may_reject_its_share() -> None:
    """With n regions each judge tolerates an n-th of the rejects, so that the part's rate stays."""
    box = inspector(geometry(columns=4, overlap_patches=0))
    scores: dict[int, list[float]] = {number: [] for number in range(1, 5)}
    seen: list[Inspection] = []
    for seq in range(1, 30):
        before = {number: list(history) for number, history in scores.items()}
        seen.append(box.inspect(frame(seq)))
        for key, stream in box.windows.camera("c1").streams:
            if stream._scored and seq > 8:
                scores[key.region].append(stream._scored[-1][0])

    last = seen[-1]
    assert last.verdict == "PASS"
    assert last.threshold == robust_threshold(before[last.region], 20.0 / 4)


def fail_at(monkeypatch: pytest.MonkeyPatch, box: Inspector, region: int, fault: str) -> None:
    """Let the next frame's scoring of one region end in a fault."""
    if fault == "last memory":

        def stitch(*_arguments: object) -> None:
            raise MemoryError

        monkeypatch.setattr(View, "stitch", stitch)
        return
    (_, stream) = box.windows.camera("c1").streams[region]
    window = stream.window.window
    if fault == "score":
        nan = torch.full((16,), math.nan)
        monkeypatch.setattr(window, "scores_of", lambda _distances: nan)
        return

    def raise_it(*_arguments: object, **_named: object) -> int:
        if fault == "tokens":
            message = "tokens or image_feature hold numbers that are not finite"
            raise ValueError(message)
        raise MemoryError

    monkeypatch.setattr(window, "push" if fault != "late memory" else "scores_of", raise_it)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("score", "not_finite"),
        ("tokens", "not_finite"),
        ("memory", "overload"),
        ("late memory", "overload"),
        ("last memory", "overload"),
    ],
)
@pytest.mark.parametrize("region", [0, 2, 5])
@pytest.mark.parametrize("before", [1, 5, READY])
@pytest.mark.parametrize("admission", ["all", "guarded"])
def test_frame_joins_all_windows_or_none(
    fault: str,
    why: str,
    region: int,
    before: int,
    admission: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault in one region leaves no trace in any: all goes on as if the frame had not come."""
    look = geometry(columns=3, rows=2, overlap_patches=1, admission=admission)
    spared, hit = inspector(look), inspector(look)
    for box in (spared, hit):
        run(box, *(frame(seq) for seq in range(1, before + 1)))

    with monkeypatch.context() as patch:
        fail_at(patch, hit, region, fault)
        (lost,) = run(hit, frame(100))

    later = [frame(seq) for seq in range(101, 115)]
    assert (lost["verdict"], lost["why"], lost["admission"]) == ("NO_RESULT", why, "none")
    assert run(hit, *later) == run(spared, *later)


def test_one_region_that_is_not_finite_spoils_the_frame() -> None:
    """NaN in the tokens of one region is NO_RESULT for the frame, and no window has it."""

    class Broken(FakeBackbone):
        def extract(self, batch: torch.Tensor) -> Features:
            features = super().extract(batch)
            features.tokens[batch.mean(dim=(1, 2, 3)) > 0.9] = math.nan
            return features

    look = geometry(columns=3, overlap_patches=0)
    spared, hit = inspector(look, Broken()), inspector(look, Broken())
    spoilt = picture(3)
    spoilt[:, 80:] = 255

    lost = run(hit, frame(1), frame(2), frame(3, spoilt))[-1]
    run(spared, frame(1), frame(2))

    assert (lost["why"], lost["admission"]) == ("not_finite", "none")
    assert run(hit, frame(4)) == run(spared, frame(4))


def test_picture_from_another_place_is_corrupt() -> None:
    """A frame whose offset is not its camera's would be judged by other patches."""
    box = inspector(geometry())
    box.inspect(frame(1, offset_px=(8, 9)))

    seen = box.inspect(frame(2, offset_px=(8, 10)))

    assert (seen.verdict, seen.why) == ("NO_RESULT", "corrupt")
    assert "at 8, 10, this camera sends" in seen.detail


def test_picture_beyond_the_sensor_is_corrupt() -> None:
    """A frame that would end beyond the largest sensor is refused, with its place."""
    seen = inspector(geometry()).inspect(frame(1, offset_px=(32_768, 0)))

    assert (seen.verdict, seen.why) == ("NO_RESULT", "corrupt")
    assert "32768, 0" in seen.detail


def test_offset_travels_with_the_inspection() -> None:
    """Whoever draws the overlay knows where the image begins, also of a frame without a score."""
    seen = inspector(geometry()).inspect(frame(1, offset_px=(8, 9)))

    assert seen.offset_px == (8, 9)


def test_each_region_has_its_window() -> None:
    """Windows are named by camera, region and recipe; several regions count from 1."""
    box = inspector(geometry(2, columns=2))
    box.inspect(frame(1))
    box.inspect(frame(1, camera="c2"))

    keys = box.streams
    box.reset("c1")

    assert keys == tuple((one, number, "default") for one in ("c1", "c2") for number in (1, 2))
    assert box.streams == keys[2:]


class Counting(FakeBackbone):
    """Counts the pictures of each call, and has memory for a limited number."""

    def __init__(self, limit: int = 1000) -> None:
        """Begin with no call."""
        self.calls: list[int] = []
        self.limit = limit

    def extract(self, batch: torch.Tensor) -> Features:
        """Refuse more than the limit."""
        self.calls.append(len(batch))
        if len(batch) > self.limit:
            raise MemoryError
        return super().extract(batch)


def mixed_frames() -> list[Frame]:
    """Return frames of two cameras, some of them unusable."""
    frames = [
        frame(seq, camera=camera, pixels=picture(40 * seq + shift))
        for seq in range(1, 25)
        for shift, camera in enumerate(("c1", "c2"))
    ]
    frames[7] = frame(7, np.zeros((4, 4), np.uint8), origin="small.png")
    frames[11] = Frame(announcement(9), np.full((HEIGHT, WIDTH), 999, np.uint16), "mono", 8)
    return frames


@pytest.mark.parametrize("size", [2, 5, 48])
@pytest.mark.parametrize("limit", [1000, 4])
def test_batch_says_what_one_by_one_says(size: int, limit: int) -> None:
    """Frames of two cameras, in batches of any size, and where memory suffices for one only."""
    look = geometry(2, columns=2, rows=2, overlap_patches=1)
    alone, together = inspector(look), inspector(look, Counting(limit))
    frames = mixed_frames()

    expected = run(alone, *frames)
    seen = [
        told(one)
        for first in range(0, len(frames), size)
        for one in together.inspect_batch(frames[first : first + size])
    ]

    assert seen == expected
    assert {one["why"] for one in seen} >= {"warming", "corrupt", "score"}


def test_regions_and_frames_share_one_extraction() -> None:
    """All regions of all frames of a batch go through the backbone in one call."""
    backbone = Counting()
    box = inspector(geometry(columns=3, rows=3), backbone)

    box.inspect(frame(1))
    box.inspect_batch([frame(2), frame(3)])

    assert backbone.calls == [9, 18]


def test_time_of_a_batch_is_shared_out() -> None:
    """The compute times of a batch add up to the time that it took."""
    now = 0.0

    def timer() -> float:
        nonlocal now
        now += 0.001
        return now

    box = Inspector(geometry(), FakeBackbone(), "a89d1abb", timer)

    seen = box.inspect_batch([frame(1), frame(2)])

    # One tick for the extraction of both, one for each frame's own scores.
    assert [one.compute_ms for one in seen] == pytest.approx([1.5, 1.5])


def test_empty_batch_is_nothing() -> None:
    """No frames, no inspections."""
    assert inspector(geometry()).inspect_batch([]) == []


def test_one_frame_at_a_time_on_a_cpu() -> None:
    """A CPU takes one frame a call unless the config says more."""
    look = geometry()
    more = look.model_copy(update={"musc": look.musc.model_copy(update={"batch_frames": 3})})

    assert (inspector(look).batch_frames, inspector(more).batch_frames) == (1, 3)
