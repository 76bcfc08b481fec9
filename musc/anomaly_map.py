"""Anomaly maps: from one score for each patch to a map, and to a frame score.

The frame score is the maximum of the upsampled map, as in the authors' code,
not of the patches, as in the paper. It depends a little on the size, so it is
always taken at the backbone's image size; scaling for display comes after.

Source: Li et al., MuSc, ICLR 2024, section 3.2, and the authors' code.
"""

from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional

_FRAMES_AT_ONCE = 16  # 16 maps of 518 x 518 are 17 MB; a data set of maps need not be held


def upsample(patch_scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Spread patch scores over a map, bilinearly with aligned corners.

    Args:
        patch_scores: [N, P], row-major on a square grid.
        size: Height and width of the maps in pixels, each at least 1.

    Returns:
        Maps [N, height, width] in the type of the scores. NaN spreads to the
        neighbouring pixels.

    Raises:
        ValueError: Not two axes, P not a square number, or a size below 1.
    """
    if patch_scores.ndim != 2:  # noqa: PLR2004 - the axes are N, P
        msg = f"patch_scores have the shape {tuple(patch_scores.shape)}, wanted [N, P]"
        raise ValueError(msg)
    side = isqrt(patch_scores.shape[1])
    if side == 0 or side * side != patch_scores.shape[1]:
        msg = f"patch_scores have {patch_scores.shape[1]} patches, wanted a square number"
        raise ValueError(msg)
    if min(size) < 1:
        msg = f"size is {size}, wanted a height and a width of at least 1 pixel"
        raise ValueError(msg)
    grid = patch_scores.reshape(-1, 1, side, side)
    return functional.interpolate(grid, size=size, mode="bilinear", align_corners=True)[:, 0]


def frame_scores(patch_scores: Tensor, size: int) -> Tensor:
    """Take the maximum of each upsampled map.

    Args:
        patch_scores: [N, P], row-major on a square grid.
        size: Side of the maps in pixels: the backbone's image size.

    Returns:
        Frame scores [N]; NaN where a patch score is NaN.

    Raises:
        ValueError: As ``upsample``.
    """
    blocks = torch.split(patch_scores, _FRAMES_AT_ONCE)
    return torch.cat([upsample(block, (size, size)).amax(dim=(1, 2)) for block in blocks])
