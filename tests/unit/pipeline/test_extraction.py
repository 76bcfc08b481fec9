"""What is made ready ahead changes no result, whatever comes between."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from factories import FakeBackbone, config, frame
from hypothesis import given, settings
from hypothesis import strategies as st

from musc.preprocess import to_batch
from pipeline.camera_intake import CameraIntake
from pipeline.config_geometry import GeometrySettings
from pipeline.extraction import Extraction, Looked
from pipeline.inspector import Inspector

if TYPE_CHECKING:
    from edge.frame import Frame

CAMERAS = ("c1", "c2")
STEPS = st.one_of(
    st.tuples(st.just("inspect"), st.integers(1, 2)),
    st.tuples(st.just("prepare"), st.integers(0, 3)),
    st.tuples(st.just("recipe"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("reset"), st.sampled_from([*CAMERAS, None])),
)


class Weak(FakeBackbone):
    """Runs out of memory in some frames, by what they show; never by when."""

    def extract(self, batch: torch.Tensor) -> Any:
        """Refuse what is very dark."""
        if batch.flatten(1).amax(1).min() < 0.05:
            message = "cannot allocate 9 GB"
            raise MemoryError(message)
        return super().extract(batch)


def picture(seq: int) -> Frame:
    """Return a frame of one of two cameras; some are unlike the others, too bright or dark."""
    rng = np.random.default_rng(seq)
    pixels = rng.integers(60, 90, (28, 28)).astype(np.uint8)
    if seq % 7 == 3:
        pixels = pixels[:, :21]
    if seq % 11 == 5:
        pixels = pixels // 32
    if seq % 13 == 6:
        pixels = pixels.astype(np.uint16) * 700
    one = frame(seq, pixels, camera=CAMERAS[seq % 2])
    depth = 12 if pixels.dtype == np.uint16 else 8
    return type(one)(one.announcement, pixels, "mono", depth)


def inspector(*, runs_ahead: bool) -> Inspector:
    """Return an inspector with a small window."""
    look = config(window={"size_frames": 10, "min_peers": 8}, judge={"min_scores": 8})
    box = Inspector(look, Weak(), "a89d1abb", timer=lambda: 0.0)
    box._extraction._runs_ahead = runs_ahead
    return box


def said(seen: Any) -> list[Any]:
    """Return all that inspections hold, patch scores as bytes."""
    return [
        (one.model_dump(), None if one.patch_scores is None else one.patch_scores.tobytes())
        for one in seen
    ]


@pytest.mark.parametrize("runs_ahead", [False, True], ids=["pixels", "tokens"])
@given(steps=st.lists(STEPS, min_size=5, max_size=40))
@settings(max_examples=40, deadline=None)
def test_prepared_says_what_unprepared_says(*, runs_ahead: bool, steps: list[Any]) -> None:
    """Frames made ready, in vain or not, give bit for bit what one after the other gives."""
    plain, ahead = inspector(runs_ahead=runs_ahead), inspector(runs_ahead=runs_ahead)
    ahead.prepare([])
    seq = 1

    for verb, argument in [*steps, ("prepare", 1), ("inspect", 1)]:
        if verb == "inspect":
            frames = [picture(seq + n) for n in range(argument)]
            again = ahead.inspect_batch(frames)
            one_by_one = [plain.inspect(one) for one in frames]

            assert said(again) == said(one_by_one)
            seq += argument
        elif verb == "prepare":
            ahead.prepare([picture(seq + n) for n in range(argument)])
        for box in (plain, ahead):
            if verb == "recipe":
                box.change_recipe(argument)
            elif verb == "reset":
                box.reset(argument)


class Watched(CameraIntake):
    """An intake that notes in which thread pixels are cut."""

    def __init__(self) -> None:
        """Look at whole frames."""
        super().__init__(GeometrySettings(), FakeBackbone())
        self.threads: list[str] = []

    def cut(self, one: Any, view: Any) -> torch.Tensor:
        """Note the thread."""
        self.threads.append(threading.current_thread().name)
        return super().cut(one, view)


def looked(intake: CameraIntake, *frames: Frame) -> list[Looked]:
    """Return frames with their intake."""
    return [Looked(one, intake) for one in frames]


def test_next_turn_may_be_made_ready_before_this_one_is_taken_up() -> None:
    """Behind a backlog the loop is a turn ahead of the worker: nothing is cut twice."""
    intake, extraction = Watched(), Extraction(FakeBackbone(), lambda: 0.0)
    extraction.features(looked(intake, frame(1)))
    before, frames = len(intake.threads), [frame(seq) for seq in range(2, 6)]

    extraction.prepare(looked(intake, frames[0]))
    for one, following in pairwise(frames):
        extraction.prepare(looked(intake, following))
        extraction.features(looked(intake, one))
    extraction.features(looked(intake, frames[-1]))

    assert len(intake.threads) == before + len(frames)
    assert "MainThread" not in intake.threads[before:]


def test_known_frame_is_cut_once_and_elsewhere() -> None:
    """A frame like the first is made ready by the thread, and not again in its turn."""
    intake, extraction = Watched(), Extraction(FakeBackbone(), lambda: 0.0)
    extraction.features(looked(intake, frame(1)))
    second = frame(2)

    extraction.prepare(looked(intake, second))
    (found,), _ = extraction.features(looked(intake, second))

    assert [name[:5] for name in intake.threads] == [threading.current_thread().name[:5], "ahead"]
    batch = to_batch(
        [second.pixels], image_size=28, mean=(0,) * 3, std=(1,) * 3, pixel_format="mono"
    )
    assert torch.equal(found.tokens, FakeBackbone().extract(batch).tokens[0][None])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "other", [frame(1), frame(2, np.zeros((28, 27), np.uint8))], ids=["first", "unlike"]
)
def test_what_decides_a_layout_waits_for_its_turn(other: Frame) -> None:
    """A first frame, and one unlike it, is not looked at before its turn."""
    intake, extraction = Watched(), Extraction(FakeBackbone(), lambda: 0.0)
    if other.key.seq > 1:
        extraction.features(looked(intake, frame(1)))
    before = len(intake.threads)

    extraction.prepare(looked(intake, other))

    assert not extraction._ahead
    assert len(intake.threads) == before


def test_other_turn_is_not_mixed_up() -> None:
    """What was made ready of one frame is never taken for another."""
    intake, extraction = Watched(), Extraction(FakeBackbone(), lambda: 0.0)
    extraction.features(looked(intake, frame(1)))
    extraction.prepare(looked(intake, frame(2)))

    (found,), _ = extraction.features(looked(intake, frame(3)))

    (alone,), _ = extraction.features(looked(intake, frame(3)))
    assert torch.equal(found.tokens, alone.tokens)  # type: ignore[union-attr]


def test_seconds_ahead_are_counted() -> None:
    """The reported time of a frame holds what was done for it ahead."""
    ticks = iter(range(100))
    intake, extraction = Watched(), Extraction(FakeBackbone(), lambda: float(next(ticks)))
    extraction.features(looked(intake, frame(1)))
    second = frame(2)
    extraction.prepare(looked(intake, second))

    _, seconds = extraction.features(looked(intake, second))

    assert seconds == 2.0


def test_thread_leaves_the_number_of_threads_alone() -> None:
    """Starting the thread changes no other thread's number of torch's threads."""
    before = torch.get_num_threads()
    extraction = Extraction(FakeBackbone(), lambda: 0.0)

    extraction.prepare([])

    assert extraction._thread is not None
    assert extraction._thread.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == before


@pytest.mark.gpu
def test_backbone_beside_the_scoring_on_cuda() -> None:
    """On CUDA the tokens that were made ahead are those of the frame's own turn, bit for bit."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")

    class OnCuda(FakeBackbone):
        device = torch.device("cuda")

    intake = CameraIntake(GeometrySettings(), OnCuda())
    extraction = Extraction(OnCuda(), lambda: 0.0)
    extraction.features(looked(intake, frame(1)))
    second = frame(2)
    extraction.prepare(looked(intake, second))

    (ahead,), _ = extraction.features(looked(intake, second))

    (alone,), _ = extraction.features(looked(intake, second))
    assert torch.equal(ahead.tokens, alone.tokens)  # type: ignore[union-attr]
