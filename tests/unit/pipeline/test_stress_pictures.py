"""Pictures under stress stay pictures of their camera, and are drawn by the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from edge.sources import Capture
from pipeline.stress_pictures import Jitter, carried, jittered, lit, noisy

STILL = Jitter(light=0.0, noise=0.0, turn_deg=0.0)


def spot(dtype: type = np.uint8, depth: int = 8) -> Capture:
    """A dark picture of 40 x 30 px with one bright spot."""
    pixels = np.full((30, 40), 10, dtype)
    pixels[14:17, 19:22] = 200
    return Capture(pixels, bit_depth=depth, origin="spot")


def centre(capture: Capture) -> tuple[float, float]:
    """Column and row of the bright spot."""
    assert capture.pixels is not None
    weights = capture.pixels.astype(float) - capture.pixels.min()
    rows, columns = np.indices(weights.shape)
    return (
        float((weights * columns).sum() / weights.sum()),
        float((weights * rows).sum() / weights.sum()),
    )


@pytest.mark.parametrize("seed", range(8))
def test_shift_is_within_its_limits(seed: int) -> None:
    """A copy lies 1 to 3 px from the part, in any direction."""
    moved = jittered(spot(), np.random.default_rng(seed), STILL)

    away = np.hypot(*np.subtract(centre(moved), centre(spot())))
    assert 0.9 <= away <= 3.1


def test_light_changes_as_it_is_told() -> None:
    """Without shift and noise a copy is brighter or darker by at most the share."""
    even = Capture(np.full((20, 20), 100, np.uint8))
    jitter = Jitter(turn_deg=0.0, noise=0.0, light=0.05)

    levels = [
        jittered(even, np.random.default_rng(seed), jitter).pixels.mean()  # type: ignore[union-attr]
        for seed in range(20)
    ]

    assert 95 <= min(levels) < 98
    assert 102 < max(levels) <= 105


def test_same_seed_makes_the_same_picture() -> None:
    """Everything that is drawn comes from the generator."""
    one, two, other = (
        jittered(spot(), np.random.default_rng(seed), Jitter()).pixels for seed in (3, 3, 4)
    )

    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("dtype", "depth"), [(np.uint8, 8), (np.uint16, 12)])
def test_values_end_at_full_scale(dtype: type, depth: int) -> None:
    """A sensor of this depth yields no more than its full scale, whatever the lamp."""
    bright = lit(spot(dtype, depth), 1000.0)

    assert bright.pixels is not None
    assert bright.pixels.dtype == dtype
    assert bright.pixels.max() == 2**depth - 1
    assert bright.bit_depth == depth


def test_same_light_changes_nothing() -> None:
    """A gain of 1 leaves the pixels as they are."""
    assert np.array_equal(lit(spot(), 1.0).pixels, spot().pixels)  # type: ignore[arg-type]


def test_noise_has_the_spread_that_it_is_told() -> None:
    """Noise is a share of full scale, not of the picture's own range."""
    even = Capture(np.full((200, 200), 2000, np.uint16), bit_depth=12)

    grainy = noisy(even, np.random.default_rng(0), 0.01)

    assert grainy.pixels is not None
    assert grainy.pixels.std() == pytest.approx(0.01 * 4095, rel=0.05)


def test_blemish_is_carried_alone() -> None:
    """Another part gets what the marred one has beyond its twin, moved, and nothing else."""
    twin = Capture(np.tile(np.arange(40, dtype=np.uint8), (30, 1)))
    assert twin.pixels is not None
    marred = twin.pixels.copy()
    marred[10:12, 5:7] += 100
    good = Capture(np.full((30, 40), 50, np.uint8), origin="another")

    marked = carried(good, twin, Capture(marred), (3, -2))

    expected = np.full((30, 40), 50, np.uint8)
    expected[8:10, 8:10] += 100
    assert np.array_equal(marked.pixels, expected)  # type: ignore[arg-type]
    assert marked.origin == "another"


def test_blemish_that_leaves_the_picture_is_lost() -> None:
    """Nothing comes in again at the other side."""
    twin = Capture(np.zeros((10, 10), np.uint8))
    marred = Capture(np.zeros((10, 10), np.uint8))
    assert marred.pixels is not None
    marred.pixels[:, 9] = 90

    marked = carried(twin, twin, marred, (2, 0))

    assert marked.pixels is not None
    assert not marked.pixels.any()


def test_capture_without_pixels_is_refused() -> None:
    """There is nothing to move in a fault, and its reason is told."""
    with pytest.raises(ValueError, match="the file is empty"):
        jittered(Capture(None, fault="the file is empty"), np.random.default_rng(0), Jitter())
