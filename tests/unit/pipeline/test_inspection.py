"""Inspections and evidence travel whole, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from factories import BOOT, inspection

from edge.frame import FrameKey
from edge.wire import WireError
from pipeline.inspection import (
    decode_evidence,
    decode_inspection,
    encode_evidence,
    encode_inspection,
)


def test_inspection_travels_whole() -> None:
    """Every field and the patch scores arrive bit by bit."""
    grid = np.random.default_rng(0).random((4, 4), np.float32)
    sent = inspection(
        patch_scores=grid, box=(1, 2, 3, 4), affine=(1, 0, 0, 0, 1, 0), offset_px=(7, 9), region=5
    )

    got = decode_inspection(encode_inspection(sent))

    assert got.model_dump() == sent.model_dump()
    np.testing.assert_array_equal(got.patch_scores, grid)


def test_map_of_the_most_regions_travels() -> None:
    """Sixteen regions of the largest size side by side make a map that still arrives."""
    grid = np.zeros((4, 16 * 129), np.float32)

    got = decode_inspection(encode_inspection(inspection(patch_scores=grid)))

    assert got.patch_scores is not None
    assert got.patch_scores.shape == grid.shape


def test_inspection_without_scores_travels() -> None:
    """NO_RESULT has no patch scores."""
    got = decode_inspection(encode_inspection(inspection(verdict="NO_RESULT", why="warming")))

    assert got.patch_scores is None


@pytest.mark.parametrize("parts", [[], [b"{}"], [b"{}", b""], [b"x", b"y", b"z"]])
def test_rubbish_is_refused(parts: list[bytes]) -> None:
    """Anything else is a WireError."""
    with pytest.raises(WireError):
        decode_inspection(parts)
    with pytest.raises(WireError):
        decode_evidence(parts)


def test_grid_of_another_size_is_refused() -> None:
    """Patch scores must fill the announced grid."""
    head, body = encode_inspection(inspection(patch_scores=np.zeros((4, 4), np.float32)))

    with pytest.raises(WireError, match="reshape"):
        decode_inspection([head, body[:-4]])


@pytest.mark.parametrize(
    "wrong",
    [
        {"box": (-3, 0, 5, 5)},
        {"box": (0, 0, 0, 5)},
        {"model": "what?"},
        {"window_n": 10_000},
        {"offset_px": (-1, 0)},
        {"region": 65},
    ],
)
def test_what_no_message_could_say_is_refused(wrong: dict[str, object]) -> None:
    """Limits of the public contract hold on the way to the gate already."""
    good = inspection()
    sent = good.model_copy(update=wrong)

    with pytest.raises(WireError):
        decode_inspection(encode_inspection(sent))


def test_evidence_travels() -> None:
    """Key and image arrive."""
    key = FrameKey("c1", BOOT, 9)

    assert decode_evidence(encode_evidence(key, b"png")) == (key, b"png")
