"""``musc-edge what-if``: other thresholds, targets and alarms, asked of a ledger."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.cli_output import JsonRowsOption, print_rows

if TYPE_CHECKING:
    from pydantic import ValidationError

    from pipeline.config import Config
    from pipeline.config_alarm import Alarm
    from pipeline.config_method import JudgeSettings
    from pipeline.what_if import Known, WhatIf
    from pipeline.what_if_ledger import LedgerParts

TARGETS = (5.0, 10.0, 20.0, 50.0)
"""Rejects per 1000 that are asked for where nothing is."""
_RULE = re.compile(r"(?P<count>[0-9]+)(/(?P<parts>[0-9]+)|/(?P<period>[0-9]+([.][0-9]+)?)s)?")
AlarmOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Rejects that raise an alarm: 5 (in a row), 3/20 (of the latest), 10/60s (in a "
        "time); likewise. Else the config's alarms."
    ),
]


def what_if(
    ledger: Annotated[
        Path | None, typer.Argument(metavar="LEDGER", help="Ledger file; else the config's.")
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="Config file with judge and alarms; with a LEDGER else the defaults."),
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(min=0.0, max=2.0, help="A fixed threshold; may be given several times."),
    ] = None,
    rejects: Annotated[
        list[float] | None,
        typer.Option("--rejects-per-1000", help="A target of rejects; likewise."),
    ] = None,
    alarm: AlarmOption = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV with path or part, and label: 0 good, 1 defective; else reviews."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Latest parts to ask of.")] = 10_000,
    as_json: JsonRowsOption = False,
) -> None:
    """Tell what other thresholds, targets of rejects and alarms would have said of known parts.

    A line for each setting: its rejects, with labels or reviews its recall and its false
    rejects of good parts, and of each alarm how often its cause comes and (during how many
    parts). Approximate, for admission is frozen: the scores are those of the run.
    """
    from pipeline.what_if_ledger import read_parts

    path, settings = _asked_of(ledger, config)
    rules = [_rule(text) for text in dict.fromkeys(alarm)] if alarm else _rules(settings)
    targets = rejects or ([] if threshold else TARGETS)
    judges = [_judge(settings, target) for target in targets]
    parts = read_parts(path, limit, settings.judge.score if settings else None)
    known = _known(path, parts, labels)
    rows = _answers(parts, threshold or [], judges, rules, known)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row.row() | {"score": parts.score}))
        return
    _print(rows, rules, f"{parts.summary()}; {known.said if known else 'no labels and no reviews'}")


def _known(path: Path, parts: LedgerParts, labels: Path | None) -> Known | None:
    """Return what parts were: by a table of labels, else by the ledger's reviews."""
    from pipeline.what_if_known import labelled, reviewed

    return labelled(path, parts, labels) if labels else reviewed(path, parts)


def _answers(
    parts: LedgerParts,
    thresholds: list[float],
    judges: list[JudgeSettings],
    rules: list[Alarm],
    known: Known | None,
) -> list[WhatIf]:
    """Answer, and show how far that is."""
    from pipeline.counting_view import CountingView
    from pipeline.what_if_ledger import what_if_ledger

    with CountingView(Console(stderr=True), len(judges) * len(parts.frames)) as view:
        view.begin("what if")
        return what_if_ledger(parts, thresholds, judges, rules, known, view.tick)


def _print(rows: list[WhatIf], rules: list[Alarm], of: str) -> None:
    """Print the table, what it is of, and that it is approximate."""
    from pipeline.what_if import SHOWN
    from pipeline.what_if_ledger import APPROXIMATE

    print_rows((*SHOWN, *(rule.name for rule in rules)), [row.cells() for row in rows])
    typer.echo(f"\n{of}")
    typer.echo(APPROXIMATE)


def _asked_of(ledger: Path | None, config: Path | None) -> tuple[Path, Config | None]:
    """Return the ledger, and the settings where a config is named or needed."""
    from pipeline.config_file import load_config

    if ledger is not None:
        return ledger, load_config(config) if config is not None else None
    settings = load_config(config or Path("config.toml"))
    return settings.ledger.path, settings


def _rule(text: str) -> Alarm:
    """Return an alarm of rejects: 5, 3/20 or 10/60s.

    Raises:
        BadParameter: It is none of these, or outside an alarm's limits.
    """
    from pydantic import TypeAdapter, ValidationError

    from pipeline.config_alarm import Alarm

    found = _RULE.fullmatch(text)
    if found is None:
        msg = f"--alarm {text}: wanted so many in a row (5), of the latest (3/20), or in (10/60s)"
        raise typer.BadParameter(msg)
    count, parts, period = found["count"], found["parts"], found["period"]
    fields: dict[str, Any] = {"name": f"{count}_in_a_row", "kind": "consecutive"}
    if parts:
        fields = {"name": f"{count}_of_{parts}", "kind": "n_of_m", "of_parts": parts}
    elif period:
        name = f"{count}_in_{period.replace('.', '-')}_s"
        fields = {"name": name, "kind": "rate", "period_s": period}
    adapter: TypeAdapter[Alarm] = TypeAdapter(Alarm)
    try:
        return adapter.validate_python({**fields, "count": count})
    except ValidationError as error:
        msg = f"--alarm {text}: {_fault(error)}"
        raise typer.BadParameter(msg) from error


def _rules(settings: Config | None) -> list[Alarm]:
    """Return those of a line's alarms that look at parts."""
    from pipeline.alarm_conditions import looks_back
    from pipeline.config_alarm import default_alarms

    alarms = settings.alarm if settings is not None else default_alarms()
    return [one for one in alarms if any(looks_back(one))]


def _judge(settings: Config | None, target: float) -> JudgeSettings:
    """Return the line's judge with another target; a fixed threshold has none.

    Raises:
        BadParameter: No judge can have it; the message says why.
    """
    from pydantic import ValidationError

    from pipeline.config_method import JudgeSettings

    own = settings.judge.model_dump() if settings is not None else {}
    if own.get("method") == "fixed":
        own["method"] = "auto"
    try:
        return JudgeSettings.model_validate({**own, "rejects_per_1000": target})
    except ValidationError as error:
        msg = f"--rejects-per-1000 {target:g}: {_fault(error)}"
        raise typer.BadParameter(msg) from error


def _fault(error: ValidationError) -> str:
    return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
