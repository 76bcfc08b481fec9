"""``musc-edge replay``: a recorded line, or a folder of images, through the line once more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.cli_output import JsonOption, log_to_stderr, print_rows, print_summary

if TYPE_CHECKING:
    from pipeline.replay_diff import RunDiff
    from pipeline.replay_report import RunReport


SourceArgument = Annotated[
    Path, typer.Argument(metavar="REC|DIR", help="Recording, or folder of images.")
]
LabelsOption = Annotated[
    Path | None, typer.Option(help="CSV with path or part, and label: 0 good, 1 defective.")
]
SettingsOption = Annotated[
    Path | None,
    typer.Option(help="Config file; else the recording's own, for images the defaults."),
]
LedgerOption = Annotated[
    Path | None, typer.Option(help="Ledger to write; without it results are only counted.")
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
    source: SourceArgument,
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
    json_line: JsonOption = False,
) -> None:
    """Replay a recorded line, or a folder of images as one camera, without sockets or a broker.

    The same source with the same settings gives the same ledger; `hash` says so. The
    ledger is there when the replay is complete, or not at all.
    """
    from pipeline.config_file import load_config
    from pipeline.counting_view import CountingView
    from pipeline.replay import Pace, open_source, run_replay
    from pipeline.replay_diff import compare, part_results
    from pipeline.replay_ledger import new_ledger
    from pipeline.replay_report import match_labels, report

    pace = Pace(speed_factor(speed))
    settings = load_config(config) if config is not None else None
    log_to_stderr("WARNING", "replay")
    opened = open_source(source, settings, late=late)
    for warning in opened.warnings:
        typer.echo(f"warning: {warning}", err=True)
    known = match_labels(labels, opened.names()) if labels is not None else {}
    old = part_results(diff) if diff is not None else None
    with (
        new_ledger(ledger, force=force) as path,
        CountingView(Console(stderr=True), len(opened)) as view,
    ):
        view.begin("replay")
        run_replay(opened, path, pace, view.tick)
        done = report(path, opened.config.judge.score, known)
        differences = compare(old, part_results(path)) if old is not None else None
        if page is not None:
            from pipeline.build import line_backbone
            from pipeline.report_pages import write_run_report

            view.begin("report")
            backbone, _ = line_backbone(opened.config)
            write_run_report(page, opened, path, done, backbone, differences, view.tick)
    _tell(done, differences, ledger, labelled=labels is not None, as_json=json_line)


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


def _tell(
    done: RunReport,
    differences: RunDiff | None,
    ledger: Path | None,
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
