"""Same-position matching: which tokens meet, and that only the others are left out."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from musc import locality, msm
from musc.lnamd import aggregate
from musc.locality import (
    check_locality,
    multiply_nearby,
    nearest_nearby,
    nearest_nearby_naive,
    restricts,
    too_far,
)
from musc.msm import half_square_norms, mutual_scores, mutual_scores_naive, nearest_both_ways
from musc.sliding import SlidingMuSc

Pair = tuple[Tensor, Tensor, Tensor, Tensor]
Nearest = Callable[[Tensor, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]


def unit_tokens(*shape: int, seed: int = 0) -> Tensor:
    """Random tokens of length 1."""
    return functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def pair(side: int, peers: int, groups: int = 1, channels: int = 8, seed: int = 0) -> Pair:
    """A frame, its peers, and their half norms; one token of each is zero."""
    one = unit_tokens(groups, side * side, channels, seed=seed)
    many = unit_tokens(groups, peers, side * side, channels, seed=seed + 1)
    one[:, seed % side**2] = 0.0
    many[:, :, (seed + 1) % side**2] = 0.0
    return one, many, half_square_norms(one), half_square_norms(many)


@pytest.mark.parametrize("tile", [1, 2, 3, 4, 8])
@settings(max_examples=30, deadline=None)
@given(
    side=st.integers(1, 9),
    peers=st.integers(0, 5),
    groups=st.integers(1, 3),
    q=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_equals_the_naive_twin(
    tile: int, side: int, peers: int, groups: int, q: int, seed: int
) -> None:
    """Tiles of any size give what all products and a mask give, both ways, on any grid."""
    given_pair = pair(side, peers, groups, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locality, "_TILE_CPU", tile)

        fast = nearest_nearby(*given_pair, q)

    naive = nearest_nearby_naive(*given_pair, q)
    for ours, true in zip(fast, naive, strict=True):
        assert ours.shape == (groups, peers, side * side)
        torch.testing.assert_close(ours.double(), true, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("side", [1, 2, 5, 16])
def test_the_whole_grid_is_no_restriction(side: int) -> None:
    """With q = H-1 the tiled products themselves equal the unrestricted ones."""
    one, many, half, half_many = pair(side, 3, channels=32)

    tiled = nearest_nearby(one, many, half, half_many, side - 1)

    everywhere = nearest_both_ways(one[0], many[0], half[0], half_many[0])
    for (ours,), free in zip(tiled, everywhere, strict=True):
        torch.testing.assert_close(ours, free, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("beyond", [0, 1, 50])
def test_a_locality_beyond_the_grid_changes_no_number(beyond: int) -> None:
    """From q = H-1 on, scores of batch and window are bit for bit the unrestricted ones."""
    side, tokens = 5, unit_tokens(6, 2, 25, 12)
    free, wide = SlidingMuSc(4), SlidingMuSc(4, locality=side - 1 + beyond)
    for frame in tokens:
        free.push(frame, frame[0, 0])
        wide.push(frame, frame[0, 0])

    scores = mutual_scores(tokens, locality=side - 1 + beyond)

    assert torch.equal(scores, mutual_scores(tokens))
    assert torch.equal(wide.all_patch_scores(), free.all_patch_scores())


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize(("side", "q"), [(3, 0), (5, 1), (7, 2), (16, 2), (16, 5)])
def test_batch_scores_equal_the_naive_twin(side: int, q: int, interpolate: bool) -> None:  # noqa: FBT001 - a table of cases
    """Batch scores near the same position equal plain loops over the pairs that are near."""
    features = unit_tokens(6, 2, side * side, 8, seed=side)

    fast = mutual_scores(features, interpolate=interpolate, locality=q)
    naive = mutual_scores_naive(features, interpolate=interpolate, locality=q)

    torch.testing.assert_close(fast.double(), naive, atol=1e-5, rtol=0.0)


def test_the_same_position_alone_is_a_plain_distance() -> None:
    """With q = 0 a patch is compared with the one patch of each peer at its own position."""
    features = unit_tokens(2, 1, 25, 6)

    scores = mutual_scores(features, locality=0)

    distances = (features[0, 0] - features[1, 0]).norm(dim=-1)
    torch.testing.assert_close(scores, distances.expand(2, -1), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(("shift", "found"), [(0, True), (2, True), (3, False), (15, False)])
def test_a_patch_in_the_wrong_place_stands_out(shift: int, found: bool) -> None:  # noqa: FBT001 - a table of cases
    """A patch that moved by q columns finds its like, one that moved further does not."""
    peers = unit_tokens(3, 1, 256, 64).expand(3, -1, -1, -1)
    moved = peers[:1].clone()
    moved[0, 0, 16 * 8 + shift] = peers[0, 0, 16 * 8]

    near = mutual_scores(torch.cat([moved, peers]), locality=2)
    anywhere = mutual_scores(torch.cat([moved, peers]))

    assert (near[0, 16 * 8 + shift] == 0.0) == found
    assert anywhere[0, 16 * 8 + shift] == 0.0


def test_copies_score_exactly_zero() -> None:
    """Identical frames are at distance 0 with a locality too."""
    features = unit_tokens(1, 3, 64, 384).expand(5, -1, -1, -1)

    scores = mutual_scores(features, locality=1)

    assert torch.equal(scores, torch.zeros_like(scores))


def test_zero_tokens_have_their_true_distance() -> None:
    """A zero token is at 0 from a zero token near it, and at 1 from every unit token."""
    features = unit_tokens(3, 1, 16, 5)
    features[0, 0, 0] = 0.0
    features[1, 0, 1] = 0.0
    features[2, 0, 15] = 0.0

    scores = mutual_scores(features, keep_lowest=0.5, locality=1)

    assert scores[0, 0] == scores[1, 1] == 0.0
    torch.testing.assert_close(scores[2, 15], torch.tensor(1.0))


def test_tokens_of_any_length_find_their_nearest() -> None:
    """The nearest token is the Euclidean one, among those that are near."""
    lengths = torch.linspace(0.5, 3.0, 25)[:, None]
    one = unit_tokens(25, 6) * lengths
    many = unit_tokens(4, 25, 6, seed=1) * lengths.flip(0)
    far = too_far(25, 1)
    true = (one[:, None] - many[:, None]).square().sum(dim=-1).masked_fill(far, torch.inf)
    half, half_many = half_square_norms(one), half_square_norms(many)

    of_one, of_many = nearest_both_ways(one, many, half, half_many, locality=1)

    squares = msm.squared_distances(of_one, half), msm.squared_distances(of_many, half_many)
    torch.testing.assert_close(squares[0], true.transpose(1, 2).amin(dim=1), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(squares[1], true.transpose(1, 2).amin(dim=2), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_frame_that_is_not_finite_never_scores_finite(value: float) -> None:
    """A token that is not finite leaves its own patch without a finite score."""
    features = unit_tokens(6, 2, 49, 4)
    features[2, 1, 17, 0] = value

    scores = mutual_scores(features, locality=1)

    assert not scores[2, 17].isfinite()


def test_half_precision_tokens_are_compared_in_float32() -> None:
    """Scores of float16 tokens are those of the same values in float32."""
    features = unit_tokens(5, 2, 36, 32).half()

    scores = mutual_scores(features, locality=1)

    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, mutual_scores(features.float(), locality=1))


@pytest.mark.parametrize("frames", [0, 2, 7, 14])
def test_blocks_do_not_change_the_result(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many peers and groups enter one product is no part of the result."""
    given_pair = pair(6, 7, groups=3)
    whole = nearest_nearby(*given_pair, 1)
    monkeypatch.setattr(locality, "_BLOCK_BYTES_CPU", frames * 4 * 16 * (8 + 36))

    blocks = nearest_nearby(*given_pair, 1)

    for ours, true in zip(blocks, whole, strict=True):
        torch.testing.assert_close(ours, true, atol=1e-6, rtol=0.0)


def test_both_directions_agree() -> None:
    """Swapping the frame and its only peer swaps the two results."""
    one, many, half, half_many = pair(7, 1)

    of_one, of_many = nearest_nearby(one, many, half, half_many, 2)
    of_peer, of_frame = nearest_nearby(many[:, 0], one[:, None], half_many[:, 0], half[:, None], 2)

    torch.testing.assert_close(of_one, of_frame, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(of_many, of_peer, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(("side", "q"), [(1, 0), (5, 1), (9, 2), (9, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_products_of_near_tokens_are_filled_in(side: int, q: int, dtype: torch.dtype) -> None:
    """Each product of tokens that are near is there, whatever stood in its place."""
    one, many, _, _ = pair(side, 3)
    one, many = one[0], many[0].to(dtype)
    products = torch.full((3, side**2, side**2), 7.0)

    multiply_nearby(many, one, q, products)

    true = many.float() @ one.T
    near = ~too_far(side**2, q)
    torch.testing.assert_close(products[:, near], true[:, near], atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("degrees", [(1,), (3,), (1, 3, 5), (5, 1)])
@pytest.mark.parametrize("q", [0, 1, 2])
def test_averages_near_the_same_position_are_exact(degrees: tuple[int, ...], q: int) -> None:
    """Averages reach beyond the patches that meet; every product they need is there."""
    tokens = torch.randn(20, 1, 100, 8, generator=torch.Generator().manual_seed(0)) + 2.0
    window = SlidingMuSc(20, degrees, locality=q)
    for frame in tokens:
        window.push(frame, frame[0, 0])

    batch = mutual_scores(aggregate(tokens, degrees), locality=q)

    torch.testing.assert_close(window.all_patch_scores(), batch, atol=1e-4, rtol=0.0)


def test_far_pairs_are_counted_in_rows_and_columns() -> None:
    """On 3 x 3 patches with q = 1 the corner sees four patches, the middle all nine."""
    far = too_far(9, 1)

    assert torch.equal(far, far.T)
    assert (~far).sum(dim=1).tolist() == [4, 6, 4, 6, 9, 6, 4, 6, 4]
    assert far[0].tolist() == [False, False, True, False, False, True, True, True, True]
    assert not too_far(9, None).any()
    assert not too_far(8, None).any()


@pytest.mark.parametrize(
    ("q", "patches", "expected"),
    [
        (None, 16, False),
        (None, 15, False),
        (0, 1, False),
        (0, 16, True),
        (2, 16, True),
        (3, 16, False),
        (100, 16, False),
    ],
)
def test_what_a_locality_restricts(q: int | None, patches: int, expected: bool) -> None:  # noqa: FBT001 - a table of cases
    """A locality restricts as long as two patches of the grid are further apart."""
    assert restricts(q, patches) == expected


def test_a_window_near_the_same_position_equals_its_batch() -> None:
    """After every push all frames score as a batch with the same locality, slots reused or not."""
    tokens = torch.randn(9, 2, 49, 12, generator=torch.Generator().manual_seed(0))
    window = SlidingMuSc(5, locality=1, interpolate=True)

    for i, frame in enumerate(tokens):
        window.push(frame, frame[0, 0])

        if i:
            held = aggregate(tokens[max(0, i - 4) : i + 1])
            batch = mutual_scores(held, interpolate=True, locality=1)
            torch.testing.assert_close(window.all_patch_scores(), batch, atol=1e-5, rtol=0.0)


def test_a_slot_that_is_free_again_scores_nobody() -> None:
    """The tokens that an evicted frame left between two peers do not reach any score."""
    tokens = torch.randn(5, 2, 49, 12, generator=torch.Generator().manual_seed(0))
    window = SlidingMuSc(6, locality=1)
    for frame in tokens[:3]:
        window.push(frame, frame[0, 0])
    window.push(tokens[4], tokens[4, 0, 0])
    window.evict(1)

    slot = window.push(tokens[4], tokens[4, 0, 0])

    window.evict(3)
    batch = mutual_scores(aggregate(tokens[[0, 2, 4]]), locality=1)
    assert slot == 1
    torch.testing.assert_close(window.all_patch_scores(), batch, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("step", [mutual_scores, mutual_scores_naive])
@pytest.mark.parametrize(
    ("patches", "q", "message"),
    [(16, -1, "locality is -1"), (15, 2, "15 patches"), (15, 100, "15 patches")],
)
def test_misuse_of_scores_is_named(
    step: Callable[..., Tensor], patches: int, q: int, message: str
) -> None:
    """A negative locality, or one on patches that are no square grid, is refused by name."""
    with pytest.raises(ValueError, match=message):
        step(torch.zeros(3, 2, patches, 4), locality=q)


@pytest.mark.parametrize("step", [nearest_nearby, nearest_nearby_naive])
def test_misuse_of_a_pair_is_named(step: Nearest) -> None:
    """A negative locality, no square grid and peers of another grid are refused by name."""
    one, many, half, half_many = pair(3, 2)

    with pytest.raises(ValueError, match="locality is -2"):
        step(one, many, half, half_many, -2)
    with pytest.raises(ValueError, match="8 patches"):
        step(one[:, :8], many[:, :, :8], half[:, :8], half_many[:, :, :8], 1)
    with pytest.raises(ValueError, match="4 patches and the frame 9"):
        step(one, many[:, :, :4], half, half_many[:, :, :4], 1)


def test_a_window_refuses_a_negative_locality() -> None:
    """The window says so when it is made, not at the first push."""
    with pytest.raises(ValueError, match="locality is -1"):
        SlidingMuSc(4, locality=-1)
    with pytest.raises(ValueError, match="locality is -1"):
        check_locality(-1)
