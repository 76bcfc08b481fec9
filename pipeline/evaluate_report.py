"""The tables of an evaluation, for the terminal and as CSV, JSON and Markdown.

A measure that is not defined is "-", and a footnote of its row says why. A mean is
over the categories in which the measure is defined, as many as a footnote says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.batch_score import write_csv
from pipeline.evaluate_figures import MEASURES
from pipeline.evaluate_folder import RowFigures, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.evaluate_folder import Finished

MEAN = "mean"
_HEADS = {
    "image_auroc": "img AUROC",
    "image_f1max": "img F1-max",
    "image_ap": "img AP",
    "pixel_auroc": "px AUROC",
    "pixel_f1max": "px F1-max",
    "pixel_ap": "px AP",
    "aupro": "AUPRO",
    "aupro_200": "AUPRO-200",
}


@dataclass(slots=True)
class Table:
    """A table with footnotes; figures are percent."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, cells: Sequence[str], notes: Sequence[str] = ()) -> None:
        """Add a row; its name refers to its footnotes."""
        marks = []
        for note in notes:
            if note not in self.notes:
                self.notes.append(note)
            marks.append(f"[{self.notes.index(note) + 1}]")
        self.rows.append([" ".join([name, *marks]), *cells])

    def footnotes(self) -> list[str]:
        """Return the footnotes, a line each."""
        return [f"[{number}] {note}" for number, note in enumerate(self.notes, 1)]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        head = [self.columns, ["---"] * len(self.columns), *self.rows]
        lines = ["| " + " | ".join(row) + " |" for row in head]
        return "\n".join([f"## {self.title}", "", *lines, "", *self.footnotes(), ""])


def mean_figures(figures: Mapping[str, RowFigures]) -> RowFigures:
    """Return the mean over categories, each measure over those in which it is defined.

    Its notes say over how many that is; of one category they are the category's own.
    """
    values: dict[str, float | None] = {}
    partial: dict[int, list[str]] = {}
    for measure in MEASURES:
        own = [one.values[measure] for one in figures.values()]
        defined = [value for value in own if value is not None]
        values[measure] = sum(defined) / len(defined) if defined else None
        if len(defined) < len(own):
            partial.setdefault(len(defined), []).append(measure)
    if len(figures) == 1:
        return RowFigures(values=values, notes=next(iter(figures.values())).notes)
    notes = [
        f"{', '.join(measures)}: defined in {count} of {len(figures)} categories"
        for count, measures in partial.items()
    ]
    return RowFigures(values=values, notes=notes)


def category_table(title: str, finished: Mapping[str, Finished], row: str) -> Table:
    """Return a line for each category, and their mean."""
    columns = ("category", "images", *_HEADS.values(), "ms/image", "peak MB")
    table = Table(title, columns)
    own = {name: one.rows[row] for name, one in finished.items()}
    for name, one in finished.items():
        peak = "-" if one.peak_mb is None else f"{one.peak_mb:.0f}"
        cells = [str(one.images), *_cells(own[name]), f"{one.ms_per_image:.0f}", peak]
        table.add(name, cells, own[name].notes)
    mean = mean_figures(own)
    table.add(MEAN, ["", *_cells(mean), "", ""], mean.notes)
    return table


def ablation_table(title: str, rows: Mapping[str, Mapping[str, RowFigures] | str]) -> Table:
    """Return a line for each setting: means over the categories, or why there are none."""
    table = Table(title, ("setting", *_HEADS.values()))
    for name, figures in rows.items():
        if isinstance(figures, str):
            table.add(name, ["-"] * len(MEASURES), [figures])
            continue
        mean = mean_figures(figures)
        table.add(name, _cells(mean), mean.notes)
    return table


def published_table(
    title: str,
    ours: Mapping[str, Mapping[str, float | None]],
    theirs: Mapping[str, Mapping[str, float]],
    notes: Sequence[str],
) -> Table:
    """Lay our figures beside the published ones: ours (theirs, difference)."""
    measures = [name for name in MEASURES if any(name in row for row in theirs.values())]
    table = Table(title, ("row", *(_HEADS[name] for name in measures)), notes=list(notes))
    for name, figures in ours.items():
        published = theirs.get(name, {})
        cells = [_beside(figures.get(one), published.get(one)) for one in measures]
        table.rows.append([name, *cells])
    return table


def write_tables(
    out: Path,
    tables: Sequence[Table],
    rows: Mapping[str, Mapping[str, RowFigures]],
    settings: Mapping[str, Any],
) -> None:
    """Write OUT/results.md, results.csv and results.json; figures there are 0 to 1.

    Args:
        out: The folder.
        tables: For Markdown.
        rows: The figures of each row and category.
        settings: Of the run, for the JSON.
    """
    write_text(out / "results.md", "\n".join(table.markdown() for table in tables))
    lines = [
        [row, category, *(_digits(one.values[name]) for name in MEASURES)]
        for row, categories in rows.items()
        for category, one in with_mean(categories).items()
    ]
    write_csv(out / "results.csv", ("row", "category", *MEASURES), lines)
    dumped = {
        row: {category: one.model_dump() for category, one in with_mean(categories).items()}
        for row, categories in rows.items()
    }
    text = json.dumps({"settings": settings, "rows": dumped}, indent=2)
    write_text(out / "results.json", text + "\n")


def with_mean(figures: Mapping[str, RowFigures]) -> dict[str, RowFigures]:
    """Return the figures of the categories, and of their mean as the last."""
    return {**figures, MEAN: mean_figures(figures)}


def _cells(figures: RowFigures) -> list[str]:
    return [_percent(figures.values[name]) for name in MEASURES]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _digits(value: float | None) -> str:
    return "" if value is None else repr(value)


def _beside(ours: float | None, theirs: float | None) -> str:
    if ours is None or theirs is None:
        return f"{_percent(ours)} ({_percent(theirs)})"
    return f"{_percent(ours)} ({_percent(theirs)}, {100 * (ours - theirs):+.1f})"
