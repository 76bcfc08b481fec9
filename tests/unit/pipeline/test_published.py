"""The published figures: their tables are whole, and rows bear the names of ours."""

from __future__ import annotations

import pytest

from pipeline.ablations import ABLATIONS, Row, ablation_rows
from pipeline.evaluate_figures import MEASURES
from pipeline.published import published_figures


@pytest.mark.parametrize(("kind", "categories"), [("mvtec", 15), ("visa", 12)])
def test_means_are_those_of_the_categories(kind: str, categories: int) -> None:
    """Each published mean is that of its column, as far as its one decimal goes."""
    figures, _ = published_figures(kind, None)

    mean = figures.pop("mean")
    assert len(figures) == categories
    for measure, value in mean.items():
        column = [row[measure] for row in figures.values()]
        assert value == pytest.approx(sum(column) / categories, abs=0.0011)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("kind", ["mvtec", "visa"])
def test_rows_are_rows_of_the_ablation(kind: str, ablation: str) -> None:
    """Every published row of an ablation is one of ours, and every measure too."""
    rows = {row.name for row in ablation_rows(ablation, Row())}  # type: ignore[arg-type]

    figures, _ = published_figures(kind, ablation)

    assert figures.keys() <= rows
    assert {measure for row in figures.values() for measure in row} <= set(MEASURES)


def test_a_folder_has_no_published_figures() -> None:
    """There is nothing to lay beside it."""
    assert published_figures("folder", None) == ({}, [])
