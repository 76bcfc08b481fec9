"""The papers' protocol on a labelled data set: scores, measures, tables, category by category.

What a finished category yielded is kept in the output folder, so that a killed run
goes on with the next one. Every category is scored for all rows of an ablation at
once; its features are extracted once for a backbone and size.

Source: Li et al., MuSc, ICLR 2024, section 4 and appendix A.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.ablations import Row, ablation_rows, side_px
from pipeline.backbones import BackboneChoiceError, load_backbone
from pipeline.dataset_masks import check_sizes
from pipeline.datasets import open_dataset
from pipeline.evaluate_examples import KEPT, choose_examples
from pipeline.evaluate_figures import MaskReader, figures
from pipeline.evaluate_folder import (
    EvaluateError,
    EvaluateFolder,
    Finished,
    RowFigures,
    files_digest,
)
from pipeline.evaluate_page import write_examples
from pipeline.evaluate_report import (
    Table,
    ablation_table,
    category_table,
    published_table,
    with_mean,
    write_tables,
)
from pipeline.evaluate_scores import CategoryScorer
from pipeline.evaluate_view import EvaluateView
from pipeline.memory import peak_bytes, restart_peak
from pipeline.published import PUBLISHED_BACKBONE, PUBLISHED_SIDE_PX, published_figures
from pipeline.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from musc.vision_transformer import Backbone
    from pipeline.ablations import AblationName
    from pipeline.backbones import BackboneChoice
    from pipeline.dataset_masks import MaskMode
    from pipeline.dataset_samples import Category, DatasetKind


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is evaluated, and how."""

    kind: DatasetKind
    root: Path
    out: Path
    choice: BackboneChoice
    base: Row
    masks: MaskMode
    categories: tuple[str, ...] = ()
    ablation: AblationName | None = None
    references: Path | None = None
    """Good images for a plain folder; the other data sets have training images."""
    seed: int = 0
    """Decides which training images are references."""
    published: bool = False
    examples: int = 0
    """Images of each category on a page; an ablation has none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation says."""

    tables: list[Table]
    rows: dict[str, dict[str, RowFigures]]
    """Figures of each row and category."""

    def summary(self, *, is_ablation: bool) -> dict[str, Any]:
        """Return the measures by category and their mean; by row first in an ablation."""
        by_row = {
            row: {category: one.values for category, one in with_mean(own).items()}
            for row, own in self.rows.items()
        }
        return by_row if is_ablation else next(iter(by_row.values()))


def run_evaluate(console: Console, wanted: Evaluation) -> Outcome:
    """Evaluate a data set, and write tables and figures below ``wanted.out``.

    Raises:
        LineError: Of the data set, the weights, the memory or the output folder; the
            message says which.
    """
    categories = open_dataset(
        wanted.kind,
        wanted.root,
        wanted.categories,
        references=wanted.references,
        leave_out=wanted.out,
    )
    for category in categories:
        check_sizes(wanted.root, category.samples)
    rows, notes = _rows(wanted, categories)
    run = _Run(wanted, categories, rows, notes)
    with EvaluateView(console, run.images) as view:
        run.score(view)
    outcome = run.outcome()
    write_tables(wanted.out, outcome.tables, outcome.rows, run.settings)
    run.write_examples()
    return outcome


def _rows(wanted: Evaluation, categories: Sequence[Category]) -> tuple[list[Row], list[str]]:
    """Return the rows of the run, and what is left out of them.

    Raises:
        EvaluateError: Options that do not go with the ablation.
    """
    if wanted.ablation is None:
        return [wanted.base], []
    rows = ablation_rows(wanted.ablation, wanted.base)
    if wanted.base.shots and wanted.ablation in {"keep", "interval"}:
        msg = f"--shots {wanted.base.shots}: leave it out of --ablation {wanted.ablation}"
        raise EvaluateError(msg)
    if wanted.choice.stages and wanted.ablation == "backbone":
        msg = "--stages are blocks of one backbone: leave them out of --ablation backbone"
        raise EvaluateError(msg)
    if wanted.ablation == "references":
        most = min(len(category.training) for category in categories)
        note = f"rows of more than {most} references are left out: a category has no more"
        kept = [row for row in rows if row.shots <= most]
        return kept, [note] * (len(kept) < len(rows))
    return rows, []


class _Run:
    """One evaluation under way."""

    def __init__(
        self,
        wanted: Evaluation,
        categories: Sequence[Category],
        rows: Sequence[Row],
        notes: Sequence[str],
    ) -> None:
        self._wanted, self._notes = wanted, notes
        self._categories = categories
        self._rows: dict[str, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(row.backbone, []).append(row)
        self._finished: dict[str, dict[str, Finished]] = {}
        self._missing: dict[str, str] = {}
        self._about, self._side = "", 0
        self._examples = 0 if wanted.ablation else wanted.examples
        self._per_backbone = sum(len(one.samples) for one in categories)
        self.images = len(self._rows) * self._per_backbone
        self.settings = _settings(wanted)

    def score(self, view: EvaluateView) -> None:
        """Score all categories with all backbones, or find them in the output folder.

        Raises:
            LineError: See ``run_evaluate``.
        """
        for name, rows in self._rows.items():
            choice = self._wanted.choice
            if name:
                own = choice.weights if name == choice.name else None
                size = choice.image_size_px or side_px(name)
                choice = replace(choice, name=name, image_size_px=size, weights=own)
            try:
                backbone, model = load_backbone(choice)
            except (WeightsError, BackboneChoiceError) as error:
                if not name:
                    raise
                view.left_out(str(error), self._per_backbone)
                self._missing[name] = str(error)
                continue
            self._side = backbone.image_size
            self._about = f"{choice.name} at {self._side} px"
            if not name:
                self.settings["model"] = model
            folder = EvaluateFolder(self._wanted.out, self.settings)
            found: dict[str, Finished] = {}
            self._finished[name] = found
            for category in self._categories:
                key = f"{choice.name}-{model}"
                found[category.name] = self._category(folder, key, backbone, category, rows, view)

    def _category(
        self,
        folder: EvaluateFolder,
        key: str,
        backbone: Backbone,
        category: Category,
        rows: Sequence[Row],
        view: EvaluateView,
    ) -> Finished:
        """Return what is kept of a category, or score it.

        Raises:
            LineError: See ``run_evaluate``.
        """
        what = f"{key.rpartition('-')[0]} {category.name}" if rows[0].backbone else category.name
        kept = folder.load(key, category, self._wanted.root)
        names = {row.name for row in rows}
        if kept and kept.rows.keys() == names and kept.examples.suffice(self._examples):
            view.resumed(what, len(category.samples))
            return kept
        view.begin(what, len(category.samples))
        restart_peak(backbone.device)
        begin = time.perf_counter()
        scorer = CategoryScorer(backbone, self._wanted.root, category, self._wanted.seed, view)
        scores = scorer.score(rows)
        seconds = time.perf_counter() - begin
        peak = peak_bytes(backbone.device)
        first = scores[rows[0].name]
        for name, fault in first.skipped.items():
            view.warn(f"skipped {name}: {fault}")
        if self._wanted.ablation is None:
            folder.write_scores(category, first)
        measured = {name: figures(one, category, self._masks()) for name, one in scores.items()}
        finished = Finished(
            files=files_digest(self._wanted.root, category),
            images=len(first.names),
            ms_per_image=1000 * seconds / len(first.names),
            peak_mb=None if peak is None else peak / 1e6,
            rows={
                name: RowFigures(values=one.values, notes=one.notes)
                for name, one in measured.items()
            },
            examples=choose_examples(first, category, max(KEPT, self._examples)),
        )
        folder.keep(key, category.name, finished)
        view.finished(what, _in_short(finished.rows[rows[0].name]))
        return finished

    def _masks(self) -> MaskReader:
        wanted = self._wanted
        return MaskReader(wanted.root, wanted.kind, wanted.masks, self._side)

    def write_examples(self) -> None:
        """Write the page of examples, where one is wanted.

        Raises:
            LineError: A mask cannot be read, or the page cannot be written.
        """
        if self._examples:
            kept = {name: one.examples for name, one in self._finished[""].items()}
            about = f"{self._wanted.kind}, {self._about}"
            masks, out = self._masks(), self._wanted.out
            write_examples(out, about, self._categories, kept, self._examples, masks)

    def outcome(self) -> Outcome:
        """Return the figures and their tables.

        Raises:
            EvaluateError: No backbone could be loaded.
        """
        if not self._finished:
            msg = f"no backbone could be loaded, first: {next(iter(self._missing.values()))}"
            raise EvaluateError(msg)
        rows = {
            row.name: {
                category: one.rows[row.name] for category, one in self._finished[name].items()
            }
            for name, own in self._rows.items()
            if name in self._finished
            for row in own
        }
        wanted = self._wanted
        about = wanted.choice.name if wanted.ablation == "backbone" else self._about
        title = f"{wanted.kind}, {about}, masks {wanted.masks}"
        if wanted.ablation is None:
            tables = [category_table(title, self._finished[""], wanted.base.name)]
        else:
            lines = {
                row.name: self._missing.get(name) or rows[row.name]
                for name, own in self._rows.items()
                for row in own
            }
            tables = [ablation_table(f"{wanted.ablation}: {title}", lines)]
            tables[0].notes += self._notes
        if wanted.published:
            tables.append(self._beside_published(rows))
        return Outcome(tables, rows)

    def _beside_published(self, rows: dict[str, dict[str, RowFigures]]) -> Table:
        """Lay the figures beside the paper's."""
        wanted = self._wanted
        theirs, numbers = published_figures(wanted.kind, wanted.ablation)
        if wanted.ablation is None:
            own = with_mean(next(iter(rows.values())))
            ours = {name: one.values for name, one in own.items()}
        else:
            ours = {name: with_mean(one)["mean"].values for name, one in rows.items()}
        notes = ["ours (published, difference); AUPRO-200 is the authors' curve"]
        if not theirs:
            notes = [f"the paper has no such table of {wanted.kind}"]
        elif wanted.ablation != "backbone" and self._about != _PUBLISHED_ABOUT:
            notes.append(f"published with {_PUBLISHED_ABOUT}, not with {self._about}")
        absent = sorted(theirs.keys() - ours.keys()) if wanted.ablation is None else []
        if absent:
            notes.append(f"not in this run, so the means are of other sets: {', '.join(absent)}")
        source = f"MuSc (ICLR 2024), table {', '.join(numbers)}" if numbers else "MuSc (ICLR 2024)"
        return published_table(source, ours, theirs, notes)


_PUBLISHED_ABOUT = f"{PUBLISHED_BACKBONE} at {PUBLISHED_SIDE_PX} px"


def _settings(wanted: Evaluation) -> dict[str, Any]:
    """Return all that decides the figures, but the categories and the weights."""
    base, choice = wanted.base, wanted.choice
    return {
        "dataset": wanted.kind,
        "root": str(wanted.root.resolve()),
        "backbone": choice.name,
        "image_size_px": choice.image_size_px,
        "stages": list(choice.stages),
        "degrees": list(base.degrees),
        "keep_lowest": base.interval.highest,
        "neighbours": list(base.neighbours),
        "subsets": base.subsets,
        "references": None if wanted.references is None else str(wanted.references.resolve()),
        "shots": base.shots,
        "plus": base.plus,
        "masks": wanted.masks,
        "seed": wanted.seed,
        "ablation": wanted.ablation,
    }


def _in_short(figures: RowFigures) -> str:
    """Return the two figures that most tables of the paper show."""
    words = []
    for name, measure in (("image AUROC", "image_auroc"), ("pixel AUROC", "pixel_auroc")):
        value = figures.values[measure]
        words.append(f"{name} {'-' if value is None else f'{100 * value:.1f}'}")
    return ", ".join(words)
