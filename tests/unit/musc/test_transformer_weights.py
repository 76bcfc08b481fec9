"""From a checkpoint to a network's weights: positions, stages, files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from musc.transformer_weights import (
    BackboneError,
    chosen_stages,
    read_weights,
    resized_positions,
)

CHANNELS = 6


def positions(side: int, prefix: int) -> Tensor:
    """Random position embeddings [1, prefix + side * side, CHANNELS]."""
    source = torch.Generator().manual_seed(side)
    return torch.randn(1, prefix + side * side, CHANNELS, generator=source)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("old", "new"), [(16, 24), (16, 37), (37, 16), (7, 6)])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_positions_are_resampled_as_torch_does(
    prefix: int,
    old: int,
    new: int,
    antialias: bool,  # noqa: FBT001 - a table of cases
) -> None:
    """The grid is torch's bicubic of the old one, the entries before it are kept."""
    given = positions(old, prefix)

    resized = resized_positions(given, new, prefix=prefix, antialias=antialias)

    grid = given[0, prefix:].T.reshape(1, CHANNELS, old, old)
    expected = functional.interpolate(grid, (new, new), mode="bicubic", antialias=antialias)
    torch.testing.assert_close(
        resized[0, prefix:], expected.reshape(CHANNELS, -1).T, atol=1e-6, rtol=0.0
    )
    assert torch.equal(resized[:, :prefix], given[:, :prefix])


def test_antialias_makes_a_difference_when_the_grid_shrinks() -> None:
    """The two variants are two: from 37 to 16 patches they differ by more than rounding."""
    given = positions(37, 1)

    smooth, sharp = (
        resized_positions(given, 16, prefix=1, antialias=antialias) for antialias in (True, False)
    )

    assert float((smooth - sharp).abs().max()) > 0.1


def test_positions_for_the_same_grid_are_left_alone() -> None:
    """Nothing is resampled where nothing has to be."""
    given = positions(5, 1)

    resized = resized_positions(given, 5, prefix=1, antialias=True)

    assert torch.equal(resized, given)


def test_half_precision_positions_are_resampled_in_float32() -> None:
    """A checkpoint in halves loses nothing more when it is resized."""
    given = positions(8, 1).half()

    resized = resized_positions(given, 5, prefix=1, antialias=False)

    expected = resized_positions(given.float(), 5, prefix=1, antialias=False)
    assert torch.equal(resized, expected)


@pytest.mark.parametrize(("depth", "ends"), [(12, (2, 5, 8, 11)), (24, (5, 11, 17, 23))])
def test_stages_default_to_the_quarters(depth: int, ends: tuple[int, ...]) -> None:
    """Without a choice the last block of each quarter is taken."""
    stages = chosen_stages("net", depth, None)

    assert stages == ends


def test_weights_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A safetensors file gives its tensors; anything else is refused with its path."""
    path, rubbish = tmp_path / "w.safetensors", tmp_path / "rubbish.safetensors"
    save_file({"w": torch.arange(3.0)}, path)
    rubbish.write_bytes(b"not tensors")

    assert torch.equal(read_weights(path)["w"], torch.arange(3.0))
    for unreadable in (rubbish, tmp_path / "missing.safetensors"):
        with pytest.raises(BackboneError, match=unreadable.name):
            read_weights(unreadable)
