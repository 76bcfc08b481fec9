"""Which images of a category are shown, and what is kept of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batch_score import FolderScores
from pipeline.dataset_samples import Category, Sample
from pipeline.evaluate_examples import Examples, choose_examples
from pipeline.evaluate_page import heat


def scored(good: list[float], bad: list[float]) -> tuple[FolderScores, Category]:
    """Return scores of good images g0, g1, ... and anomalous ones b0, b1, ..."""
    names = [f"b{i}" for i in range(len(bad))] + [f"g{i}" for i in range(len(good))]
    rescored = np.array([*bad, *good], np.float32)
    rng = np.random.default_rng(0)
    patches = rng.uniform(0.1, 0.9, (len(names), 9)).astype(np.float32)
    category = Category("c", tuple(Sample(name, name.startswith("b")) for name in names))
    return FolderScores(names, 2 * rescored, rescored, patches, {}), category


def chosen(good: list[float], bad: list[float], count: int) -> list[tuple[str, str]]:
    """Return kind and name of each that is chosen."""
    return [(one.kind, one.name) for one in choose_examples(*scored(good, bad), count).images]


def test_detections_misses_and_false_alarms_come_by_turns() -> None:
    """The highest and the lowest anomalous one, the highest good one, then the next of each."""
    good, bad = [0.5, 0.1, 0.9], [0.3, 0.8, 0.2, 0.7, 0.6]

    assert chosen(good, bad, 6) == [
        ("highest anomalous", "b1"),
        ("lowest anomalous", "b2"),
        ("highest good", "g2"),
        ("highest anomalous", "b3"),
        ("lowest anomalous", "b0"),
        ("highest good", "g0"),
    ]


def test_kinds_that_are_used_up_leave_the_others_their_turn() -> None:
    """One anomalous image is shown once, and good ones follow; of equal scores by name."""
    names = [name for _, name in chosen([0.5, 0.5, 0.5], [0.1], 9)]

    assert names == ["b0", "g0", "g1", "g2"]


@given(
    st.lists(st.floats(0, 2, width=32), max_size=6),
    st.lists(st.floats(0, 2, width=32), max_size=6),
    st.integers(0, 13),
)
def test_fewer_are_the_first_of_more(good: list[float], bad: list[float], count: int) -> None:
    """No image comes twice, and a page of fewer shows the first of a page of more."""
    if not good and not bad:
        return
    all_of_them = chosen(good, bad, 13)
    some = choose_examples(*scored(good, bad), count)

    assert len({name for _, name in all_of_them}) == len(all_of_them) == len(good) + len(bad)
    assert [(one.kind, one.name) for one in some.images] == all_of_them[:count]
    assert some.whole == (count >= len(all_of_them))
    assert some.suffice(count)
    assert some.suffice(count + 1) == some.whole


def test_what_is_kept_comes_back() -> None:
    """Scores and maps survive the file; the range is that of all images, shown or not."""
    scores, category = scored([0.5, 0.2], [0.7])

    kept = choose_examples(scores, category, 1)
    again = Examples.model_validate_json(kept.model_dump_json())

    assert again == kept
    assert again.images[0].score == pytest.approx(1.4)
    assert again.images[0].rescored == pytest.approx(0.7)
    np.testing.assert_allclose(
        again.images[0].patch_scores(), scores.patch_scores[0], rtol=1e-3, atol=0
    )
    assert again.median == pytest.approx(np.median(scores.patch_scores))
    assert again.highest == pytest.approx(scores.patch_scores.max())


def test_maps_share_a_scale() -> None:
    """At the median and below a map is black, at the highest brightest, and flat where all are."""
    patches = np.array([0.1, 0.4, 0.4, 0.8], np.float32)

    shown = heat(patches, 0.4, 0.8, (5, 7)).sum(axis=2, dtype=int)

    assert shown.shape == (5, 7)
    assert shown[0, 0] == shown[0, -1] == shown.min() < 10
    assert shown[-1, -1] == shown.max() > 500
    assert (heat(patches, 0.8, 0.8, (2, 2)).sum(axis=2) < 10).all()
