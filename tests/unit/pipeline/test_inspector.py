"""One frame in, one inspection out: deterministic, and never PASS by accident."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factories import FakeBackbone, config, frame

from musc.backbone import Features
from musc.msm import mutual_scores
from pipeline.inspector import Inspector

WINDOW = {"size_frames": 10, "min_peers": 8}


def part(seed: int, *, defect: bool = False) -> np.ndarray:
    """Return a noisy part, with a stripe across one patch where it is defective."""
    rng = np.random.default_rng(seed)
    base = np.tile(np.arange(28, dtype=np.float64) * 4 + 40, (28, 1))
    pixels = base + rng.normal(0, 2, (28, 28))
    if defect:
        pixels[7:14, 14:21:2] += 100
    return pixels.clip(0, 255).astype(np.uint8)


def inspector(backbone: FakeBackbone | None = None, **sections: object) -> Inspector:
    """Return an inspector with the fake backbone and a small window."""
    settings = config(window=WINDOW, judge={"min_scores": 8}, **sections)
    return Inspector(settings, backbone or FakeBackbone(), "a89d1abb", timer=lambda: 0.0)


def test_never_pass_before_the_window_is_ready() -> None:
    """Too few peers, then too few scores: NO_RESULT `warming`, then PASS."""
    box = inspector()

    seen = [box.inspect(frame(seq, part(seq))) for seq in range(1, 25)]

    first_ready = next(i for i, one in enumerate(seen) if one.state == "READY")
    assert first_ready == 16  # 8 frames to have 8 peers, then 8 scores
    assert {(one.verdict, one.why) for one in seen[:first_ready]} == {("NO_RESULT", "warming")}
    assert {one.why for one in seen[first_ready:]} == {"score"}
    assert [one.window_n for one in seen[:12]] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9]


def test_defect_fails_where_it_is() -> None:
    """A defective part FAILs, and its box in sensor pixels covers the defect."""
    box = inspector()
    for seq in range(1, 21):
        box.inspect(frame(seq, part(seq)))

    seen = box.inspect(frame(21, part(21, defect=True)))

    assert (seen.verdict, seen.why, seen.evidence) == ("FAIL", "score", True)
    assert seen.box is not None
    x, y, width, height = seen.box
    assert x <= 14
    assert x + width >= 21
    assert y <= 7
    assert y + height >= 14


def test_score_is_batch_musc_on_the_window() -> None:
    """The patch scores are those of batch MuSc over the frame and its window."""
    box = inspector()
    pictures = [part(seq) for seq in range(12)]

    seen = [box.inspect(frame(seq + 1, picture)) for seq, picture in enumerate(pictures)][-1]

    from musc.lnamd import aggregate  # noqa: PLC0415 - the twin, built from the parts
    from musc.preprocess import to_batch  # noqa: PLC0415

    batch = to_batch(
        pictures[-10:], image_size=28, mean=(0, 0, 0), std=(1, 1, 1), pixel_format="mono"
    )
    twin = mutual_scores(aggregate(FakeBackbone().extract(batch).tokens), interpolate=True)[-1]
    assert seen.patch_scores is not None
    np.testing.assert_allclose(seen.patch_scores.ravel(), twin.numpy(), atol=1e-4)


def test_given_threshold_does_not_make_an_empty_window_ready() -> None:
    """A frame that is refused before the window has its peers leaves the line WARMING."""
    judge = {"method": "fixed", "fixed_threshold": 0.5}
    settings = config(window=WINDOW, judge=judge)
    box = Inspector(settings, FakeBackbone(), "a89d1abb", timer=lambda: 0.0)
    box.inspect(frame(1, part(1)))

    seen = box.inspect(frame(2, np.zeros((28, 27), np.uint8)))

    assert (seen.why, seen.state) == ("corrupt", "WARMING")


def test_same_frames_same_inspections() -> None:
    """Two inspectors that see the same frames say the same, bit by bit."""
    pictures = [part(seq, defect=seq % 7 == 6) for seq in range(30)]

    runs = [
        [box.inspect(frame(seq + 1, picture)) for seq, picture in enumerate(pictures)]
        for box in (inspector(), inspector())
    ]

    for one, other in zip(*runs, strict=True):
        assert one.model_dump() == other.model_dump()


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((28, 27), np.uint8),
        np.zeros((28, 28, 3), np.uint8),
        np.zeros((28, 28), np.uint16),
    ],
)
def test_other_layout_in_mid_stream_is_corrupt(odd: np.ndarray) -> None:
    """Another size, channel count or depth is NO_RESULT `corrupt` with the file named."""
    box = inspector()
    box.inspect(frame(1, part(1)))

    seen = box.inspect(frame(2, odd, origin="odd.png"))
    after = box.inspect(frame(3, part(3)))

    assert (seen.verdict, seen.why, seen.admitted) == ("NO_RESULT", "corrupt", False)
    assert "odd.png" in seen.detail
    assert after.window_n == 1


def test_values_above_the_declared_depth_are_corrupt() -> None:
    """A 12-bit frame with a value of 5000 is not scored."""
    box = inspector()
    pixels = np.full((28, 28), 5000, np.uint16)
    deep = frame(1, pixels)

    seen = box.inspect(type(deep)(deep.announcement, pixels, "mono", 12))

    assert (seen.verdict, seen.why) == ("NO_RESULT", "corrupt")


def test_tokens_that_are_not_finite_never_join() -> None:
    """NaN from the backbone is NO_RESULT `not_finite` and leaves the window as it was."""

    class Broken(FakeBackbone):
        def extract(self, batch: torch.Tensor) -> Features:
            features = super().extract(batch)
            if batch.mean() > 0.9:
                features.tokens[0, 0, 3] = float("nan")
            return features

    box = inspector(Broken())
    box.inspect(frame(1, part(1)))

    seen = box.inspect(frame(2, np.full((28, 28), 255, np.uint8)))
    after = box.inspect(frame(3, part(3)))

    assert (seen.verdict, seen.why, seen.admitted) == ("NO_RESULT", "not_finite", False)
    assert after.window_n == 1
    assert after.score is not None


def test_exhausted_memory_is_overload() -> None:
    """Out of memory is NO_RESULT `overload`; the next frame is scored again."""

    class Full(FakeBackbone):
        calls = 0

        def extract(self, batch: torch.Tensor) -> Features:
            self.calls += 1
            if self.calls == 2:
                message = "cannot allocate 9 GB"
                raise MemoryError(message)
            return super().extract(batch)

    box = inspector(Full())

    seen = [box.inspect(frame(seq, part(seq))) for seq in (1, 2, 3)]

    assert [one.why for one in seen] == ["warming", "overload", "warming"]
    assert "9 GB" in seen[1].detail
    assert seen[2].window_n == 1


def test_torch_says_memory_in_words_on_the_cpu() -> None:
    """Torch's plain RuntimeError of its CPU allocator is `overload`, any other is a defect."""

    class Failing(FakeBackbone):
        def extract(self, batch: torch.Tensor) -> Features:
            if batch.mean() > 0.5:
                message = "[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 GB"
                raise RuntimeError(message)
            message = "shapes do not fit"
            raise RuntimeError(message)

    box = inspector(Failing())

    assert box.inspect(frame(1, np.full((28, 28), 255, np.uint8))).why == "overload"
    with pytest.raises(RuntimeError, match="shapes"):
        box.inspect(frame(2, np.zeros((28, 28), np.uint8)))


def test_other_recipe_warms_up_anew() -> None:
    """After a change of recipe frames are NO_RESULT `warming` under it until READY again."""
    box = inspector()
    for seq in range(1, 21):
        box.inspect(frame(seq, part(seq)))

    box.change_recipe("lid")
    seen = [box.inspect(frame(seq, part(seq))) for seq in range(21, 41)]

    assert box.recipe == "lid"
    assert {one.recipe for one in seen} == {"lid"}
    assert [one.window_n for one in seen[:3]] == [0, 1, 2]
    assert [one.why for one in seen] == ["warming"] * 16 + ["score"] * 4


def test_recipe_back_and_forth_leaves_no_trace() -> None:
    """The windows of a recipe are not kept for its return, so memory does not grow."""
    box = inspector()
    box.inspect(frame(1, part(1)))
    layouts = []

    for number in range(2, 6):
        box.change_recipe(f"r{number % 2}")
        layouts.append(box.inspect(frame(number, np.full((28 * number, 28), 9, np.uint8))))

    assert {(one.why, one.window_n) for one in layouts} == {("warming", 0)}
    assert box.streams == (("c1", 0, "r1"),)


def test_recipe_in_use_stays_as_it_is() -> None:
    """The gate repeats the recipe until it is heard: saying it again empties nothing."""
    box = inspector(line={"recipe": "lid"})
    box.inspect(frame(1, part(1)))

    box.change_recipe("lid")

    assert box.inspect(frame(2, part(2))).window_n == 1


@pytest.mark.parametrize(("camera", "left"), [("c1", [0, 1]), (None, [0, 0]), ("c3", [1, 1])])
def test_reset_empties_what_it_names(camera: str | None, left: list[int]) -> None:
    """A reset empties the windows of one camera, or of all, and of no other."""
    box = inspector()
    for name in ("c1", "c2"):
        box.inspect(frame(1, part(1), camera=name))

    box.reset(camera)

    seen = [box.inspect(frame(2, part(2), camera=name)).window_n for name in ("c1", "c2")]
    assert seen == left


def test_cameras_do_not_share_a_window() -> None:
    """Each camera is scored against its own frames."""
    box = inspector()
    for seq in range(1, 6):
        box.inspect(frame(seq, part(seq)))

    seen = box.inspect(frame(1, part(50), camera="c2"))

    assert seen.window_n == 0


def test_constant_frames_stay_finite() -> None:
    """Black frames, all alike, get finite scores and no crash."""
    box = inspector()

    seen = [box.inspect(frame(seq, np.zeros((28, 28), np.uint8))) for seq in range(1, 25)]

    assert all(one.score is None or np.isfinite(one.score) for one in seen)
    assert {one.verdict for one in seen} <= {"NO_RESULT", "PASS", "FAIL"}


def test_rescored_decides_where_the_config_says_so() -> None:
    """With score = "rescored" threshold and verdict refer to RsCIN's score."""
    judge = {"score": "rescored", "method": "fixed", "fixed_threshold": 1e-9}
    box = Inspector(
        config(window={**WINDOW, "admission": "all"}, judge=judge),
        FakeBackbone(),
        "a89d1abb",
        timer=lambda: 0.0,
    )

    seen = [box.inspect(frame(seq, part(seq))) for seq in range(1, 12)][-1]

    assert seen.verdict == "FAIL"
    assert seen.rescored is not None
    assert seen.score is not None
    assert seen.map_level == pytest.approx(1e-9 * seen.score / seen.rescored)
