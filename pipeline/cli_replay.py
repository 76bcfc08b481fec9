"""``musc-edge replay``: a recorded line, or a folder of images, through the line once more."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.cli_output import (
    FeaturesOption,
    JsonOption,
    features_summary,
    features_text,
    log_to_stderr,
    print_rows,
    print_summary,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.feature_files import FeatureFiles
    from pipeline.replay_diff import RunDiff
    from pipeline.replay_jobs import JobDone, ReplayJob
    from pipeline.replay_report import RunReport
    from pipeline.replay_sources import ReplaySource


SourcesArgument = Annotated[
    list[Path],
    typer.Argument(metavar="REC|DIR", help="Recordings, or folders of images."),
]
LabelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="CSV with path or part, and label: 0 good, 1 defective; one a source, in order."
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option(help="Config file; else the recording's own, for images the defaults."),
]
LedgerOption = Annotated[
    Path | None,
    typer.Option(
        help="Ledger to write, of several sources the folder of their ledgers; else only counted."
    ),
]
LateOption = Annotated[
    bool | None,
    typer.Option(
        "--late/--no-late",
        help="Whether what came too late is too late again; else with its own settings only.",
    ),
]
DiffOption = Annotated[
    Path | None, typer.Option(help="Ledger to compare with, as the old one, part by part.")
]


def replay(
    sources: SourcesArgument,
    *,
    labels: LabelsOption = None,
    config: SettingsOption = None,
    ledger: LedgerOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a ledger that is there already.")
    ] = False,
    speed: Annotated[
        str, typer.Option(help="max; real, as the frames were captured; x2 for twice as fast.")
    ] = "max",
    late: LateOption = None,
    diff: DiffOption = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Page for a browser to write: scores, worst frames and what good patches came "
            "nearest, alarms.",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="So many of several sources at once, a process each.")
    ] = 1,
    features: FeaturesOption = None,
    json_line: JsonOption = False,
) -> None:
    """Replay recorded lines, or folders of images as one camera each, without sockets or a broker.

    The same source with the same settings gives the same ledger; `hash` says so. A
    ledger is there when its replay is complete, or not at all. Of several sources --json
    ends with one object, by source; one that fails is named, and exit status is 1.
    """
    work = _jobs(
        sources, labels or [], config, ledger, features, force=force, late=late, speed=speed
    )
    if len(work) == 1:
        _replay_one(work[0], diff, page, as_json=json_line)
        return
    if diff is not None or page is not None:
        msg = "--diff and --report are of one source"
        raise typer.BadParameter(msg)
    _replay_several(work, jobs, as_json=json_line)


def speed_factor(text: str) -> float | None:
    """Return how many times as fast as they were captured frames come; None for at once.

    Raises:
        typer.BadParameter: It is no speed.
    """
    if text == "max":
        return None
    try:
        factor = 1.0 if text == "real" else float(text.removeprefix("x"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf") or not (text == "real" or text.startswith("x")):
        msg = f"--speed {text}: must be max, real, or x and a number above 0, as x10"
        raise typer.BadParameter(msg)
    return factor


def _jobs(
    sources: Sequence[Path],
    labels: Sequence[Path],
    config: Path | None,
    ledger: Path | None,
    features: Path | None,
    *,
    force: bool,
    late: bool | None,
    speed: str,
) -> list[ReplayJob]:
    """Return what to do with each source.

    Raises:
        typer.BadParameter: Tables of labels are too few or too many, or two sources are
            one or would have one ledger.
    """
    from pipeline.replay_jobs import ReplayJob

    if labels and len(labels) != len(sources):
        msg = f"--labels: {len(labels)} for {len(sources)} sources; one for each, in their order"
        raise typer.BadParameter(msg)
    names: dict[str, Path] = {}
    for source in sources:
        name = source.resolve().name if ledger is not None else str(source.resolve())
        if name in names:
            msg = f"{names[name]} and {source}: each source needs a name of its own"
            raise typer.BadParameter(msg)
        names[name] = source
    ledgers = [ledger] * len(sources)
    if ledger is not None and len(sources) > 1:
        ledgers = [ledger / f"{name}.db" for name in names]
    factor = speed_factor(speed)
    tables: list[Path | None] = [*labels] or [None] * len(sources)
    return [
        ReplayJob(source, to, table, config, force, late, factor, features)
        for source, to, table in zip(sources, ledgers, tables, strict=True)
    ]


def _replay_one(job: ReplayJob, diff: Path | None, page: Path | None, *, as_json: bool) -> None:
    """Replay a source; compare and report it."""
    from pipeline.config_file import load_config
    from pipeline.counting_view import CountingView
    from pipeline.feature_files import FeatureFiles, folder_bytes
    from pipeline.page import check_page
    from pipeline.replay import Pace, new_inspector, open_source, run_replay
    from pipeline.replay_diff import compare, part_results
    from pipeline.replay_ledger import named_ledger, new_ledger
    from pipeline.replay_report import match_labels, report

    if page is not None:
        check_page(page)
    settings = load_config(job.config) if job.config is not None else None
    log_to_stderr("WARNING", "replay")
    opened = open_source(job.source, settings, late=job.late)
    for warning in opened.warnings:
        typer.echo(f"warning: {warning}", err=True)
    known = match_labels(job.labels, opened.names()) if job.labels is not None else {}
    old = part_results(diff) if diff is not None else None
    files = FeatureFiles(job.features) if job.features is not None else None
    with named_ledger(job.ledger) as ledger:
        with (
            new_ledger(ledger, force=job.force) as path,
            CountingView(Console(stderr=True), len(opened)) as view,
        ):
            view.begin("replay")
            inspector_of = partial(new_inspector, files=files)
            run_replay(opened, path, Pace(job.speed), view.tick, inspector_of)
        features = None
        if files is not None:
            features = features_summary(folder_bytes(files.folder), files.counts)
        done = report(ledger, opened.config.judge.score, known)
        differences = compare(old, part_results(ledger)) if old is not None else None
        if page is not None:
            _write_page(page, opened, ledger, done, differences, files)
    labelled = job.labels is not None
    _tell(done, differences, job.ledger, features, labelled=labelled, as_json=as_json)


def _write_page(
    page: Path,
    opened: ReplaySource,
    ledger: Path,
    done: RunReport,
    differences: RunDiff | None,
    files: FeatureFiles | None,
) -> None:
    """Write the report of a replay, with the run's backbone once more."""
    from pipeline.build import line_backbone
    from pipeline.counting_view import CountingView
    from pipeline.report_pages import write_run_report

    backbone, model = line_backbone(opened.config)
    if files is not None:
        backbone = files.before(backbone, model)
    with CountingView(Console(stderr=True), 0) as view:
        view.begin("report")
        write_run_report(page, opened, ledger, done, backbone, differences, view.expect, view.tick)


def _replay_several(jobs: Sequence[ReplayJob], processes: int, *, as_json: bool) -> None:
    """Replay several sources, and tell of all of them; exit 1 where one failed."""
    from pipeline.config_file import load_config
    from pipeline.counting_view import CountingView
    from pipeline.lanes import Watch
    from pipeline.replay_jobs import run_jobs

    if (config := jobs[0].config) is not None:
        load_config(config)  # one that cannot be used is told once, and before anything starts
    log_to_stderr("WARNING", "replay")
    found: dict[Path, JobDone] = {}
    with CountingView(Console(stderr=True), 0) as view:
        view.begin("replay")
        for done in run_jobs(jobs, processes, Watch(view.expect, view.tick)):
            found[done.source] = done
            for warning in done.warnings:
                typer.echo(f"warning: {done.source}: {warning}", err=True)
            if done.error:
                typer.echo(f"failed: {done.source}: {done.error}", err=True)
    labelled, features = jobs[0].labels is not None, jobs[0].features
    told = [found[job.source] for job in jobs]
    _tell_several(told, features, labelled=labelled, as_json=as_json)
    if any(done.error for done in found.values()):
        raise typer.Exit(1)


def _tell_several(
    done: Sequence[JobDone], features: Path | None, *, labelled: bool, as_json: bool
) -> None:
    """Print a row a source, or one object of all."""
    from pipeline.feature_files import folder_bytes

    size_bytes = folder_bytes(features) if features is not None else 0
    summaries: dict[str, dict[str, Any]] = {}
    for one in done:
        if one.report is None:
            summaries[str(one.source)] = {"error": one.error}
            continue
        extra: dict[str, Any] = {"unlabelled": one.report.unlabelled} if labelled else {}
        if features is not None:
            extra["features"] = features_summary(size_bytes, one.features)
        summaries[str(one.source)] = one.report.summary() | extra
    if as_json:
        print_summary(summaries, as_json=True)
        return
    figures = ("auroc", "ap", "recall", "false_reject_rate", "n") if labelled else ()
    columns = ("pass", "fail", "no_result", *figures, "hash")
    rows = [
        [name, *(_cell(summary.get(column)) for column in columns), summary.get("error", "")]
        for name, summary in summaries.items()
    ]
    print_rows(("source", *columns, "error"), rows)
    if features is not None:
        counts = (one.features for one in done)
        typer.echo(f"features: {features_text(features_summary(size_bytes, *counts))}")


def _tell(
    done: RunReport,
    differences: RunDiff | None,
    ledger: Path | None,
    features: dict[str, int] | None,
    *,
    labelled: bool,
    as_json: bool,
) -> None:
    from pipeline.replay_diff import DIFF_SHOWN

    summary: dict[str, Any] = done.summary()
    if differences is not None:
        rows = differences.rows()
        if rows:
            print_rows(DIFF_SHOWN, [[_cell(row[c]) for c in DIFF_SHOWN] for row in rows])
        summary["diff"] = differences.counts()
    if labelled:
        summary["unlabelled"] = done.unlabelled
    if features is not None:
        summary["features"] = features if as_json else features_text(features)
    if not as_json:
        summary["no_result"] = _counted(done.no_result)
        if not labelled:
            for name in ("auroc", "ap", "recall", "false_reject_rate", "n"):
                del summary[name]
        if differences is not None:
            summary["diff"] = _counted(differences.counts())
        summary["ledger"] = ledger or "not kept; --ledger keeps it"
    print_summary(summary, as_json=as_json)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "0"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
