"""The method in one object: MuSc on a set of images."""

import doctest
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from factories import FakeBackbone
from numpy.typing import NDArray

from musc import MuSc, batch
from musc.anomaly_map import upsample
from musc.few_shot import few_shot_scores, reference_scores
from musc.lnamd import aggregate
from musc.msm import mutual_scores
from musc.preprocess import to_batch
from musc.rscin import rescore
from musc.vision_transformer import Features

TOLERANCE = 1e-5


def images(n: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Noisy images of n different sizes."""
    noise = np.random.default_rng(seed)
    return [noise.integers(0, 256, (20 + i, 40 - i, 3), np.uint8) for i in range(n)]


def seen(of: list[NDArray[np.uint8]]) -> Features:
    """All images through the backbone at once."""
    backbone = FakeBackbone()
    return backbone.extract(to_batch(of, image_size=28, mean=backbone.mean, std=backbone.std))


def close(one: Any, other: Any) -> bool:
    """Whether two arrays of one shape differ by rounding only."""
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and bool(np.abs(one - other).max() < TOLERANCE)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_result_is_that_of_the_steps(batch_size: int) -> None:
    """In batches and group by group, the scores are those of the functions in a row."""
    shots = images(7)
    features = seen(shots)
    patch_scores = mutual_scores(aggregate(features.tokens))
    maps = upsample(patch_scores, (28, 28))
    scores = maps.amax(dim=(1, 2))

    result = MuSc(FakeBackbone(), batch_size=batch_size).score(shots)

    assert close(result.patch_scores, patch_scores)
    assert close(result.maps, maps)
    assert close(result.scores, scores)
    assert close(result.rescored, rescore(scores, features.image_features))
    arrays = (result.scores, result.rescored, result.maps, result.patch_scores)
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_settings_reach_their_steps() -> None:
    """Degrees, share, interpolation and neighbours are those of the functions."""
    shots = images(8)
    features = seen(shots)
    groups = aggregate(features.tokens, (1, 3))
    patch_scores = mutual_scores(groups, 0.5, interpolate=True)
    scores = upsample(patch_scores, (28, 28)).amax(dim=(1, 2))

    musc = MuSc(
        FakeBackbone(), degrees=(1, 3), keep_lowest=0.5, neighbours=(1, 4), interpolate=True
    )
    result = musc.score(shots)

    assert close(result.patch_scores, patch_scores)
    assert close(result.rescored, rescore(scores, features.image_features, (1, 4)))


def test_pixels_are_read_as_declared() -> None:
    """Depth and order of the channels reach the preprocessing: 12-bit BGR scores as 8-bit RGB."""
    shots = images(4)
    wide = [(image[:, :, ::-1].astype(np.uint16) * 16) for image in shots]

    result = MuSc(FakeBackbone()).score(wide, bit_depth=12, pixel_format="bgr")

    expected = MuSc(FakeBackbone()).score(shots)
    np.testing.assert_allclose(result.scores, expected.scores, atol=1e-4)


def test_references_join_the_images_that_score() -> None:
    """Few-shot: references vote, and only the images come out."""
    shots, known = images(4), images(3, seed=1)
    own, others = aggregate(seen(shots).tokens), aggregate(seen(known).tokens)

    result = MuSc(FakeBackbone()).score(shots, references=known)

    assert close(result.patch_scores, few_shot_scores(own, others))
    assert not close(result.patch_scores, mutual_scores(own))


def test_with_plus_references_alone_score() -> None:
    """MuSc+: an image's score is its distance from the references, whatever is beside it."""
    shots, known = images(4), images(3, seed=1)
    own, others = aggregate(seen(shots).tokens), aggregate(seen(known).tokens)

    result = MuSc(FakeBackbone()).score(shots, references=known, plus=True)
    alone = MuSc(FakeBackbone()).score(shots[:1], references=known, plus=True)

    assert close(result.patch_scores, reference_scores(own, others))
    assert close(result.patch_scores[:1], alone.patch_scores)


def test_subsets_are_rescored_on_their_union() -> None:
    """Scored in two parts, patch scores are each part's own and RsCIN sees all images."""
    shots = images(9)
    musc = MuSc(FakeBackbone())

    parts = [musc.features(shots[:4]), musc.features(shots[4:])]
    patch_scores = torch.cat([musc.patch_scores(part) for part in parts])
    union = torch.cat([part.image_features for part in parts])
    result = musc.result(patch_scores, union)

    first = musc.score(shots[:4])
    assert close(result.scores[:4], first.scores)
    assert not close(result.rescored[:4], first.rescored)
    assert close(result.rescored, rescore(torch.from_numpy(result.scores), union))


def test_features_extracted_once_are_scored_again() -> None:
    """Extraction and scoring apart give the result of both in one."""
    shots, known = images(4), images(2, seed=1)
    musc = MuSc(FakeBackbone())

    features, references = musc.features(shots), musc.features(known)
    result = musc.score_features(features, references=references, plus=True)

    expected = musc.score(shots, references=known, plus=True)
    assert features.tokens.shape == (4, 1, 16, 49)
    assert close(result.rescored, expected.rescored)


def test_progress_sees_every_step_of_every_loop() -> None:
    """The callback wraps batches of references, batches of images, and groups, in this order."""
    loops: list[list[int]] = []

    def progress(steps: Sequence[int]) -> Iterable[int]:
        loops.append([])
        for step in steps:
            loops[-1].append(step)
            yield step

    musc = MuSc(FakeBackbone(), batch_size=2)
    musc.score(images(5), references=images(2), progress=progress)

    assert loops == [[0], [0, 1, 2], [0, 1, 2]]


class OnDemand(Sequence[Any]):
    """Images that exist while they are asked for; it counts how many at once."""

    def __init__(self, of: list[NDArray[np.uint8]]) -> None:
        """Stand for these."""
        self._of = of
        self.asked: list[int] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._of)

    def __getitem__(self, index: Any) -> Any:
        """Read one."""
        self.asked.append(index)
        return self._of[index]


def test_images_are_asked_for_one_by_one() -> None:
    """A sequence that reads files on demand is asked once for each image, by number."""
    lazy = OnDemand(images(5))

    result = MuSc(FakeBackbone(), batch_size=2).score(lazy)

    assert lazy.asked == [0, 1, 2, 3, 4]
    assert close(result.scores, MuSc(FakeBackbone()).score(images(5)).scores)


def test_the_example_in_the_docstring_runs() -> None:
    """What the documentation shows is what happens."""
    results = doctest.testmod(batch)

    assert results.attempted >= 8
    assert results.failed == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, wanted at least 1"),
        ({"keep_lowest": 1.5}, "keep_lowest is 1.5"),
        ({"degrees": (2,)}, r"degrees are \(2,\)"),
        ({"neighbours": ()}, r"neighbours are \(\)"),
    ],
)
def test_settings_outside_their_limits_are_refused_at_once(
    settings: dict[str, Any], message: str
) -> None:
    """A wrong setting is refused before the backbone has worked for minutes."""
    with pytest.raises(ValueError, match=message):
        MuSc(FakeBackbone(), **settings)


def test_sets_that_cannot_be_scored_are_refused() -> None:
    """An image needs a peer, MuSc+ a reference, and a set an image."""
    musc = MuSc(FakeBackbone())

    with pytest.raises(ValueError, match="1 images and 0 references, wanted at least 2"):
        musc.score(images(1))
    with pytest.raises(ValueError, match="plus is set and references are missing"):
        musc.score(images(3), plus=True)
    with pytest.raises(ValueError, match="plus is set and references are missing"):
        musc.score_features(musc.features(images(3)), plus=True)
    with pytest.raises(ValueError, match="images are empty, wanted at least 1"):
        musc.score([], references=images(2))
    with pytest.raises(ValueError, match="features hold 1 frame"):
        musc.score_features(musc.features(images(1)))
