"""Tables of an evaluation: means over what is defined, footnotes for what is not."""

from __future__ import annotations

import pytest

from pipeline.evaluate_figures import MEASURES
from pipeline.evaluate_folder import RowFigures
from pipeline.evaluate_report import Table, ablation_table, mean_figures, published_table


def figures(value: float | None, *notes: str, **others: float | None) -> RowFigures:
    """Return one value for all measures but the others."""
    return RowFigures(values=dict.fromkeys(MEASURES, value) | others, notes=list(notes))


def test_mean_is_over_what_is_defined() -> None:
    """A category without a figure is left out of that measure's mean, and counted."""
    mean = mean_figures({"a": figures(0.5), "b": figures(1.0, aupro=None, aupro_200=None)})

    assert mean.values["image_auroc"] == 0.75
    assert mean.values["aupro"] == 0.5
    assert mean.notes == ["aupro, aupro_200: defined in 1 of 2 categories"]


def test_mean_of_one_category_has_its_reasons() -> None:
    """The table of an ablation says why a measure is not defined."""
    one = figures(0.5, "no masks", aupro=None)

    table = ablation_table("degrees", {"{1}": {"a": one}, "{3}": {"a": one}, "swin": "no weights"})

    assert [row[0] for row in table.rows] == ["{1} [1]", "{3} [1]", "swin [2]"]
    assert table.rows[0][1:] == ["50.0"] * 6 + ["-", "50.0"]
    assert table.rows[2][1:] == ["-"] * len(MEASURES)
    assert table.footnotes() == ["[1] no masks", "[2] no weights"]


def test_markdown_has_rows_and_footnotes() -> None:
    """A head, a rule, the rows, then the footnotes."""
    table = Table("parts", ("name", "figure"))
    table.add("a", ["1.0"])
    table.add("b", ["-"], ["no masks"])

    text = table.markdown()

    assert "| name | figure |\n| --- | --- |\n| a | 1.0 |\n| b [1] | - |" in text
    assert text.endswith("[1] no masks\n")


@pytest.mark.parametrize(
    ("ours", "theirs", "cell"),
    [
        (0.978, 0.975, "97.8 (97.5, +0.3)"),
        (0.97, 0.975, "97.0 (97.5, -0.5)"),
        (None, 0.975, "- (97.5)"),
        (0.97, None, "97.0 (-)"),
    ],
)
def test_difference_is_ours_minus_theirs(
    ours: float | None, theirs: float | None, cell: str
) -> None:
    """In points; only measures that were published have a column."""
    published = {"a": {} if theirs is None else {"image_auroc": theirs}, "b": {"image_auroc": 1.0}}

    table = published_table("table 17", {"a": {"image_auroc": ours, "aupro": 0.5}}, published, [])

    assert table.columns == ("row", "img AUROC")
    assert table.rows == [["a", cell]]
