"""The reports of ``replay`` and ``tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna

from pipeline.replay_diff import DIFF_SHOWN
from pipeline.report import run_sections, search_sections, write_report
from pipeline.report_data import pictures, read_run
from pipeline.report_patches import nearest_patches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from musc.backbone import Backbone
    from pipeline.replay_diff import RunDiff
    from pipeline.replay_report import RunReport
    from pipeline.replay_sources import ReplaySource
    from pipeline.tune import Tuned

SHOWN = ("auroc", "ap", "recall", "false_reject_rate", "rejected", "separation", "stability")
"""Figures of a trial beside the goal."""
LEAST_TRIALS = 8
"""With fewer nobody can say which setting matters."""


def write_run_report(
    out: Path,
    source: ReplaySource,
    ledger: Path,
    done: RunReport,
    backbone: Backbone,
    differences: RunDiff | None = None,
    expect: Callable[[int], None] = lambda _frames: None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Write the page of a replay.

    Args:
        out: The file.
        source: What was replayed; its worst frames, and good ones, are read once more.
        ledger: Of the replay.
        done: Its figures.
        backbone: Of the replay.
        differences: From an older ledger.
        expect: Told how many frames go through the backbone once more, at most.
        tick: Called for each frame that goes through the backbone once more.

    Raises:
        LineError: The ledger cannot be read, or the file cannot be written.
    """
    run = read_run(ledger, source.config.judge.score)
    changed = None
    if differences is not None:
        rows = [[cell(row[name]) for name in DIFF_SHOWN] for row in differences.rows()]
        changed = (DIFF_SHOWN, rows)
    reasons = ", ".join(f"{count} {why}" for why, count in done.no_result.items())
    summary = {
        **done.summary(),
        "reasons": reasons or "-",
        "settings": source.config.digest,
        "warnings": "; ".join(source.warnings) or "-",
    }
    peaks = nearest_patches(source, ledger, run.worst, backbone, expect, tick)
    sections = run_sections(run, summary, changed, pictures(source, run.worst), peaks)
    write_report(out, f"Replay of {source.name}", sections)


def write_search_report(out: Path, tuned: Tuned, goal: str) -> None:
    """Write the page of a search.

    Raises:
        LineError: The file cannot be written.
    """
    columns, rows = trial_rows(tuned, goal)
    trials = [(one.number, one.value or 0.0, one.params) for one in tuned.trials]
    held_out = held_out_rows(tuned, goal) if tuned.held_out else None
    sections = search_sections(goal, trials, columns, rows, _importances(tuned), held_out)
    changed = ", ".join(f"{key} = {new!r} (was {old!r})" for key, old, new in tuned.changed)
    write_report(out, f"Search for {goal}: {changed or 'nothing is better'}", sections)


def trial_rows(tuned: Tuned, goal: str) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of a table of trials, the best first."""
    shown = _shown(goal)
    rows = [
        [
            str(one.number),
            " ".join(f"{key}={value}" for key, value in one.params.items()),
            *(cell(one.user_attrs.get(name)) for name in shown),
        ]
        for one in tuned.trials
    ]
    return ["trial", "settings", *shown], rows


def held_out_rows(tuned: Tuned, goal: str) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of a table of what was held out."""
    shown = _shown(goal)
    rows = [
        [name, *(cell(one.figures.get(figure)) for figure in shown)]
        for name, one in tuned.held_out.items()
    ]
    return ["held out", *shown], rows


def cell(value: Any) -> str:  # noqa: ANN401 - of any column
    """Return a figure as a cell of a table."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _shown(goal: str) -> list[str]:
    return [goal, *(name for name in SHOWN if name != goal)]


def _importances(tuned: Tuned) -> Mapping[str, float]:
    """Return how much of the goal's variance each setting explains (fANOVA); empty if unknown.

    Source: Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing
    hyperparameter importance", ICML 2014.
    """
    values = {one.value for one in tuned.trials}
    varied = _varied([one.params for one in tuned.trials])
    if len(tuned.trials) < LEAST_TRIALS or len(values) == 1 or not varied:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(tuned.trials)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
    return {name: float(share) for name, share in found.items()}


def _varied(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings that took several values."""
    return [name for name in params[0] if len({str(one.get(name)) for one in params}) > 1]
