"""``musc-edge tune``: search for better settings on recordings or folders of images."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from pipeline.cli_output import (
    FeaturesOption,
    JsonOption,
    features_summary,
    features_text,
    log_to_stderr,
    print_rows,
)

if TYPE_CHECKING:
    from pipeline.tune import Tuned

TRIALS_SHOWN = 10
INTERRUPTED = 130


def tune(
    sources: Annotated[
        list[Path], typer.Argument(metavar="REC|DIR...", help="Recordings, or images.")
    ],
    *,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="CSV with path or part, and label; one for each source, in order."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="The settings in use; else a recording's own.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE,VALUE,... or KEY=LOW..HIGH, as window.size_frames=16,32."),
    ] = None,
    goal: Annotated[
        Literal["auto", "auroc", "ap", "cost", "separation", "stability", "rejects"],
        typer.Option(help="What counts; auto is auroc with labels, separation without."),
    ] = "auto",
    trials: Annotated[int, typer.Option(min=1, help="Trials of all processes together.")] = 50,
    sampler: Annotated[
        Literal["tpe", "grid"], typer.Option(help="tpe learns from trials; grid tries all.")
    ] = "tpe",
    study: Annotated[
        str,
        typer.Option(help="File that the trials are kept in, or a storage URL of Optuna."),
    ] = "tune.db",
    searched: Annotated[
        float, typer.Option(min=0.1, max=1.0, help="Share of each source that is searched.")
    ] = 0.5,
    missed_costs: Annotated[
        float, typer.Option(min=0.0, help="Of goal cost: a missed defect, in false rejects.")
    ] = 10.0,
    out: Annotated[
        Path | None, typer.Option(help="Where the best settings are written, as a config file.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Page for a browser to write: trials, what matters, held out."),
    ] = None,
    memory_mb: Annotated[
        int, typer.Option(min=100, help="For what was computed before; less takes longer.")
    ] = 6000,
    features: FeaturesOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    json_line: JsonOption = False,
) -> None:
    """Search for better settings on recorded frames, each trial a replay.

    The search sees the first part of each source; on the rest the best settings are held
    against those in use. A killed search goes on with the same --study, and several
    processes may share one. Ctrl-C keeps what is done.
    """
    from pipeline.config_file import load_config
    from pipeline.counting_view import CountingView
    from pipeline.feature_files import FeatureFiles, folder_bytes
    from pipeline.page import check_page
    from pipeline.report_pages import write_search_report
    from pipeline.tune import Search, Tuning, check_search, open_study
    from pipeline.tune_goals import LABELLED
    from pipeline.tune_output import write_best
    from pipeline.tune_space import read_space

    tables = tuple(labels or ())
    wanted = ("auroc" if tables else "separation") if goal == "auto" else goal
    if wanted in LABELLED and not tables:
        msg = f"--goal {wanted} needs --labels"
        raise typer.BadParameter(msg)
    if report is not None:
        check_page(report)
    log_to_stderr("ERROR", "tune")
    logging.getLogger("pipeline.feature_files").setLevel("WARNING")
    search = Search(
        sources=tuple(sources),
        labels=tables,
        config=load_config(config) if config is not None else None,
        space=read_space(vary or ()),
        goal=wanted,
        trials=trials,
        sampler=sampler,
        seed=seed,
        searched=searched,
        missed_costs=missed_costs,
    )
    check_search(search)
    files = FeatureFiles(features) if features is not None else None
    tuning = Tuning(search, open_study(study, search), memory_mb * 1_000_000, files)
    interrupted = False
    with CountingView(Console(stderr=True), tuning.frames * trials) as view:
        try:
            tuning.run(view)
        except KeyboardInterrupt:
            interrupted = True
        tuned = tuning.result(view)
    kept = None
    if files is not None:
        kept = features_summary(folder_bytes(files.folder), files.counts)
    _tell(tuned, wanted, kept, as_json=json_line)
    if report is not None:
        write_search_report(report, tuned, wanted)
    if out is not None:
        write_best(tuned, config, out)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _tell(tuned: Tuned, goal: str, features: dict[str, int] | None, *, as_json: bool) -> None:
    from pipeline.report_pages import held_out_rows, trial_rows

    columns, rows = trial_rows(tuned, goal)
    print_rows(tuple(columns), rows[:TRIALS_SHOWN])
    for key, old, new in tuned.changed:
        typer.echo(f"{key} = {new!r}  # was {old!r}")
    if tuned.held_out:
        columns, rows = held_out_rows(tuned, goal)
        print_rows(tuple(columns), rows)
    if features is not None:
        typer.echo(f"features: {features_text(features)}")
    if as_json:
        held_out = {name: one.figures for name, one in tuned.held_out.items()}
        summary: dict[str, Any] = {
            "goal": goal,
            "trials": len(tuned.trials),
            "best": tuned.best,
            "changed": [key for key, _, _ in tuned.changed],
            "held_out": held_out,
        }
        if features is not None:
            summary["features"] = features
        typer.echo(json.dumps(summary))
