"""Anomaly maps and frame scores."""

import pytest
import torch

from musc.anomaly_map import frame_scores, upsample


def test_corners_stay_where_they_are() -> None:
    """Corners are aligned: the corners of a map are the corner patches."""
    scores = torch.arange(18.0).reshape(2, 9)

    maps = upsample(scores, (7, 11))

    assert maps.shape == (2, 7, 11)
    corners = maps[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(corners, scores[:, [0, 2, 6, 8]])


def test_values_between_patches_are_linear() -> None:
    """Half way between two patches lies their mean."""
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0]])

    maps = upsample(scores, (3, 3))

    expected = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.5, 2.0], [2.0, 2.5, 3.0]])
    torch.testing.assert_close(maps[0], expected)


def test_the_frame_score_is_the_maximum_of_the_map() -> None:
    """The score is taken at the map's size, where a peak between its pixels is cut."""
    scores = torch.zeros(40, 9)
    scores[:, 4] = torch.arange(40.0)

    assert torch.equal(frame_scores(scores, 5), torch.arange(40.0))
    torch.testing.assert_close(frame_scores(scores, 4), torch.arange(40.0) * 4.0 / 9.0)


def test_nan_reaches_the_frame_score() -> None:
    """A frame with a NaN patch has a NaN score; the others keep theirs."""
    scores = torch.ones(3, 16)
    scores[1, 7] = torch.nan

    result = frame_scores(scores, 8)

    assert result.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((2, 8), (4, 4), "8 patches"),
        ((2, 0), (4, 4), "0 patches"),
        ((9,), (4, 4), r"\(9,\)"),
        ((2, 9), (0, 4), r"size is \(0, 4\)"),
    ],
)
def test_misuse_is_named(shape: tuple[int, ...], size: tuple[int, int], message: str) -> None:
    """A grid that is not square and an empty map are refused by name."""
    with pytest.raises(ValueError, match=message):
        upsample(torch.zeros(shape), size)
