"""Principal axes: the subspace that keeps most, and tokens in its coordinates."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from musc.lnamd import layer_normalised
from musc.pair_kernel import Centred, PairKernel, centre
from musc.projection import principal_axes, principal_axes_naive, project

STAGES, FRAMES, PATCHES, CHANNELS = 2, 3, 16, 12


def drawn(seed: int = 0, rank: int = CHANNELS) -> Tensor:
    """Tokens [S, n, P, C] whose channels are unevenly filled, in so many directions."""
    source = torch.Generator().manual_seed(seed)
    numbers = torch.randn(STAGES, FRAMES, PATCHES, rank, generator=source)
    mixed = torch.randn(STAGES, 1, rank, CHANNELS, generator=source)
    return (numbers * torch.linspace(2.0, 0.2, rank)) @ mixed


def projectors(axes: Tensor) -> Tensor:
    """What axes [S, C, K] span, whatever their signs and order: [S, C, C]."""
    return axes @ axes.mT


@pytest.mark.parametrize("channels", [1, 5, CHANNELS])
def test_the_subspace_is_that_of_the_singular_vectors(channels: int) -> None:
    """Both ways span the same subspace, and the axes are orthonormal."""
    tokens = drawn()

    axes = principal_axes(tokens, channels)

    true = principal_axes_naive(tokens, channels)
    assert axes.shape == (STAGES, CHANNELS, channels)
    torch.testing.assert_close(projectors(axes).double(), projectors(true), atol=1e-5, rtol=0.0)
    unit = torch.eye(channels).expand(STAGES, -1, -1)
    torch.testing.assert_close(axes.mT @ axes, unit, atol=1e-6, rtol=0.0)


def test_the_first_axis_keeps_most() -> None:
    """What an axis keeps of the tokens' squares never rises from one to the next."""
    tokens = drawn()

    kept = project(tokens, principal_axes(tokens, CHANNELS)).square().sum(dim=(1, 2))

    assert (kept.diff(dim=-1) < 0).all()
    torch.testing.assert_close(kept.sum(dim=-1), tokens.square().sum(dim=(1, 2, 3)))


def test_no_other_subspace_keeps_more() -> None:
    """Of many subspaces of the same size, drawn at random or near by, none keeps more."""
    tokens = drawn()
    axes = principal_axes(tokens, 4)
    source = torch.Generator().manual_seed(1)

    best = project(tokens, axes).square().sum(dim=(1, 2, 3))

    for spread in (0.01, 0.1, 10.0):
        other = torch.linalg.qr(axes + spread * torch.randn(axes.shape, generator=source))[0]
        assert (project(tokens, other).square().sum(dim=(1, 2, 3)) < best).all()


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads torch uses, until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_same_frames_give_the_same_axes(threads: Callable[[int], None]) -> None:
    """However many threads there are, the axes are equal bit by bit."""
    source = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 2, 64, 96, generator=source)
    found = []

    for count in (1, 2, 4, 1):
        threads(count)
        found.append(principal_axes(tokens, 40))

    assert all(torch.equal(axes, found[0]) for axes in found)


def test_tokens_of_inference_mode_have_axes() -> None:
    """Tokens made in inference mode, and axes found in it, are as any others."""
    with torch.inference_mode():
        tokens = drawn() * 1.0
        axes = principal_axes(tokens, 5)

    assert torch.equal(axes, principal_axes(drawn(), 5))
    assert torch.equal(principal_axes(tokens, 5), axes)


@pytest.mark.parametrize("tokens", [torch.zeros(1, 2, 4, 6), torch.ones(1, 2, 4, 6)])
def test_frames_without_content_have_axes_too(tokens: Tensor) -> None:
    """Where no direction is better than another the axes are finite and orthonormal."""
    axes = principal_axes(tokens, 3)

    torch.testing.assert_close(axes.mT @ axes, torch.eye(3)[None], atol=1e-6, rtol=0.0)


def test_half_precision_is_widened() -> None:
    """Of float16 tokens the axes are float32, and nearly those of the same numbers."""
    half = drawn().half()

    axes = principal_axes(half, 5)

    assert axes.dtype == torch.float32
    assert torch.equal(axes, principal_axes(half.float(), 5))


def compared(axes: Tensor | None, degrees: tuple[int, ...] = (1, 3)) -> tuple[Tensor, Tensor]:
    """Nearest tokens of a frame and two others, along axes or channels."""
    frames = [centre(tokens, degrees, torch.float32, axes) for tokens in drawn().unbind(1)]
    many = Centred(*(torch.stack(part, dim=1) for part in zip(*frames[1:], strict=True)))
    return PairKernel(degrees).compare(frames[0], many, range(2))


def test_all_axes_change_nothing() -> None:
    """Along as many axes as there are channels, pairs are those of the channels."""
    axes = principal_axes(layer_normalised(drawn().transpose(0, 1)).transpose(0, 1), CHANNELS)

    turned, plain = compared(axes), compared(None)

    for one, other in zip(turned, plain, strict=True):
        torch.testing.assert_close(2 * one, 2 * other, atol=1e-5, rtol=0.0)


def test_the_sign_of_an_axis_does_not_matter() -> None:
    """With any axes turned round, pairs are equal bit by bit."""
    axes = principal_axes(drawn(), 5)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0])

    turned, plain = compared(axes * signs), compared(axes)

    assert all(map(torch.equal, turned, plain))
