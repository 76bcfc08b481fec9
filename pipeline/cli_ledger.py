"""``musc-edge verdicts``, ``events``, ``alarms`` and ``review``: what the ledger knows."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from pipeline.cli_output import JsonRowsOption, print_rows, print_summary
from pipeline.config_file import load_config

if TYPE_CHECKING:
    from edge.commands import ReviewCommand

ConfigOption = Annotated[Path, typer.Option("--config", help="Config file of the line.")]
LedgerOption = Annotated[
    Path | None, typer.Option("--ledger", help="Ledger file, instead of a config.")
]


SHOWN_ROWS = 20


class VerdictChoice(str, Enum):
    """The three results."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    NO_RESULT = "NO_RESULT"


class LabelChoice(str, Enum):
    """What a part can have been."""

    GOOD = "good"
    DEFECT = "defect"


def verdicts(
    config: ConfigOption = Path("config.toml"),
    *,
    ledger: LedgerOption = None,
    verdict: Annotated[VerdictChoice | None, typer.Option(help="Only these results.")] = None,
    part: Annotated[str | None, typer.Option(help="Only this part id.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"Latest frames; {SHOWN_ROWS} without, all to export."),
    ] = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Compare the cameras' counts with the results.")
    ] = False,
    rates: Annotated[
        bool, typer.Option("--rates", help="Rates of rejects; of false ones by the reviews.")
    ] = False,
    identity: Annotated[
        bool, typer.Option("--hash", help="One hash of all results: the identity of the run.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="New folder: frames with a kept image, as a recording, and labels.csv."),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="Folder of the images to export, instead of the config's.")
    ] = None,
    as_json: JsonRowsOption = False,
) -> None:
    """Show results from the ledger, the latest last; or export their frames."""
    from pipeline import queries

    if sum((audit, rates, identity, export is not None)) > 1:
        msg = "--audit, --rates, --hash and --export: give one of them"
        raise typer.BadParameter(msg)
    if audit and ledger is not None:
        msg = "--audit needs --config, not --ledger: the counters are the line's"
        raise typer.BadParameter(msg)
    wanted = verdict.value if verdict else None
    if rates:
        _print_rates(_path(config, ledger), as_json=as_json)
    elif identity:
        _print_hash(_path(config, ledger), as_json=as_json)
    elif audit:
        _print_audit(config, as_json=as_json)
    elif export is not None:
        _export(
            config,
            ledger,
            evidence,
            export,
            limit=limit,
            verdict=wanted,
            part=part,
            as_json=as_json,
        )
    else:
        path = _path(config, ledger)
        rows = queries.latest(path, limit=limit or SHOWN_ROWS, verdict=wanted, part=part)
        _print_frames(rows, as_json=as_json)


def events(
    config: ConfigOption = Path("config.toml"),
    *,
    ledger: LedgerOption = None,
    kind: Annotated[str | None, typer.Option(help="Only events of this kind.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only from this moment on, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Latest events to show.")] = 20,
    as_json: JsonRowsOption = False,
) -> None:
    """Show what happened to the line, the latest last."""
    from pipeline import queries

    begin = since.replace(tzinfo=timezone.utc) if since else None
    rows = queries.events(_path(config, ledger), limit=limit, kind=kind, since=begin)
    _print(queries.EVENTS_SHOWN, rows, as_json=as_json)


def alarms(
    config: ConfigOption = Path("config.toml"),
    *,
    ledger: LedgerOption = None,
    name: Annotated[str | None, typer.Option(help="Only this alarm.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Latest steps to show.")] = 20,
    as_json: JsonRowsOption = False,
) -> None:
    """Show the history of the alarms, the latest step last."""
    from pipeline import queries

    rows = queries.alarms(_path(config, ledger), limit=limit, name=name)
    _print(queries.ALARMS_SHOWN, rows, as_json=as_json)


def review(
    part: Annotated[str | None, typer.Argument(help="Id of the part.")] = None,
    config: ConfigOption = Path("config.toml"),
    *,
    ledger: LedgerOption = None,
    label: Annotated[LabelChoice | None, typer.Option(help="What the part really was.")] = None,
    by: Annotated[str, typer.Option(help="Who says so.")] = "",
    note: Annotated[str, typer.Option(help="Why, at most 200 characters.")] = "",
    list_them: Annotated[
        bool, typer.Option("--list", help="Show the reviews, of PART alone where it is given.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Latest reviews to show.")] = 20,
    as_json: JsonRowsOption = False,
) -> None:
    """State what a part really was, or show what was stated."""
    from pipeline import queries
    from pipeline.reviews import add_review

    if list_them:
        if label is not None or by or note:
            msg = "--list shows reviews; --label, --by and --note write one"
            raise typer.BadParameter(msg)
        rows = queries.reviews(_path(config, ledger), limit=limit, part=part)
        _print(queries.REVIEWS_SHOWN, rows, as_json=as_json)
        return
    said = _statement(part, label, by, note)
    path = _path(config, ledger)
    add_review(path, said.part, said.label, said.by, said.note, datetime.now(timezone.utc))
    _print(queries.REVIEWS_SHOWN, queries.reviews(path, limit=1, part=part), as_json=as_json)


def _print_audit(config: Path, *, as_json: bool) -> None:
    """Print the account of each camera; exit 1 where one is not balanced."""
    from pipeline import queries

    settings = load_config(config)
    counters = {camera.id: settings.counter_path(camera.id) for camera in settings.camera}
    result = queries.audit(settings.ledger.path, counters, settings.part.deadline_ms)
    typer.echo(json.dumps(result) if as_json else queries.audit_text(result))
    if not all(line["balanced"] for line in result):
        raise typer.Exit(1)


def _export(
    config: Path,
    ledger: Path | None,
    evidence: Path | None,
    folder: Path,
    *,
    as_json: bool,
    **wanted: Any,  # noqa: ANN401 - what choose_images takes
) -> None:
    """Write a recording and say what is in it, and what is not."""
    from pipeline.counting_view import CountingView
    from pipeline.ledger_export import LABELS_FILE, choose_images, export

    settings = load_config(config)
    path = ledger or settings.ledger.path
    chosen = choose_images(path, evidence or settings.evidence.path, **wanted)
    with CountingView(Console(stderr=True), len(chosen.images)) as view:
        view.begin("export")
        done = export(chosen, path, settings, folder, view.tick)
    summary: dict[str, Any] = {"recording": str(folder), **asdict(done)}
    if not as_json:
        summary["labels"] = f"{done.labels} parts in {LABELS_FILE}" if done.labels else "no reviews"
        summary["not_kept"] = f"{done.not_kept} frames without a kept image"
        summary["gone"] = f"{done.gone} images that are not there any more"
        summary["damaged"] = f"{done.damaged} images that are not whole"
    print_summary(summary, as_json=as_json)


def _print_frames(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    from pipeline import queries

    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    print_rows(queries.SHOWN, [[queries.cell(c, row[c]) for c in queries.SHOWN] for row in rows])


def _print_rates(path: Path, *, as_json: bool) -> None:
    """Print how many parts a ledger's line rejected, and rightly so as far as reviews tell."""
    from pipeline.reject_rates import RATES_SHOWN, reject_rates

    _print(RATES_SHOWN, reject_rates(path).rows(), as_json=as_json)


def _print_hash(path: Path, *, as_json: bool) -> None:
    """Print the identity of a ledger's run."""
    from pipeline.run_identity import run_hash

    identity = run_hash(path)
    typer.echo(json.dumps({"hash": identity}) if as_json else identity)


def _statement(part: str | None, label: LabelChoice | None, by: str, note: str) -> ReviewCommand:
    """Return the review by the rules of ``cmd/review``.

    Raises:
        typer.BadParameter: Something is missing or outside its limits.
    """
    from edge.commands import CommandError, parse_command

    if part is None or label is None or not by:
        msg = "a review needs PART, --label and --by; --list shows those that there are"
        raise typer.BadParameter(msg)
    fields = {"txn": "cli", "by": by, "part": part, "label": label.value, "note": note}
    payload = json.dumps(fields, ensure_ascii=False).encode(errors="surrogatepass")
    try:
        return cast("ReviewCommand", parse_command("review", payload))
    except CommandError as error:
        raise typer.BadParameter(error.detail) from error


def _path(config: Path, ledger: Path | None) -> Path:
    return ledger or load_config(config).ledger.path


def _print(columns: tuple[str, ...], rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    print_rows(columns, [[_cell(column, row[column]) for column in columns] for row in rows])


def _cell(column: str, value: object) -> str:
    """Return a table cell, the numbers of a detail with six significant digits."""
    from pipeline.queries import cell

    return cell(column, _shortened(value))


def _shortened(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    return value
