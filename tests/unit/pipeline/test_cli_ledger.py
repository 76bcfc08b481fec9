"""``events``, ``alarms`` and ``review`` on the command line."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import typer
from sqlite_utils import Database
from typer.testing import CliRunner

from pipeline.cli_ledger import alarms, events, review
from pipeline.ledger import LedgerError
from pipeline.ledger_schema import insert_row, migrations

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Return a ledger with one part, two events and one alarm step."""
    path = tmp_path / "ledger.db"
    with closing(Database(path)) as db:
        migrations.apply(db)
        insert_row(db, "parts", {"boot": "f" * 16, "part_seq": 1, "part_id": "A-1"})
        for day, kind in ((1, "start"), (2, "recipe")):
            event = {"time": f"2026-01-0{day}T03:04:05.678901Z", "kind": kind, "detail": '{"n":1}'}
            insert_row(db, "events", event)
        step: dict[str, Any] = {"name": "disk_low", "before": "NORMAL", "after": "ACTIVE_UNACK"}
        insert_row(db, "alarms", step | {"time": "2026-01-02T03:04:05.678901Z", "by": ""})
        db.conn.commit()
    return path


def invoke(*arguments: str, ledger: Path) -> Result:
    """Run a command on the ledger, in this process."""
    app = typer.Typer()
    for command in (events, alarms, review):
        app.command()(command)
    return CliRunner().invoke(app, [*arguments, "--ledger", str(ledger)])


def test_events_are_lines(ledger: Path) -> None:
    """Events are a line each below the names of their columns, the latest last."""
    done = invoke("events", ledger=ledger)

    assert done.output.splitlines() == [
        "time\tkind\tcamera\tdetail",
        "2026-01-01 03:04:05\tstart\t\tn=1",
        "2026-01-02 03:04:05\trecipe\t\tn=1",
    ]


def test_details_have_short_numbers(ledger: Path) -> None:
    """A table's details have six significant digits, JSON has them all."""
    detail = {"score": 0.21016919612884521, "of": [1 / 3, 7], "n": 12345678}
    with closing(Database(ledger)) as db:
        insert_row(
            db,
            "events",
            {"time": "2026-01-03T00:00:00Z", "kind": "x", "detail": json.dumps(detail)},
        )
        db.conn.commit()

    shown, whole = (
        invoke("events", "--kind", "x", *way, ledger=ledger) for way in ([], ["--json"])
    )

    assert shown.output.splitlines()[1].endswith("score=0.210169, of=[0.333333, 7], n=12345678")
    assert json.loads(whole.output)["detail"] == detail


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (["--kind", "start"], ["start"]),
        (["--since", "2026-01-02"], ["recipe"]),
        (["--since", "2026-01-01T03:04:05"], ["start", "recipe"]),
        (["--limit", "1"], ["recipe"]),
        (["--kind", "stop"], []),
    ],
)
def test_events_are_chosen(ledger: Path, options: list[str], kinds: list[str]) -> None:
    """Options choose by kind, moment in UTC, and number; JSON has an object a line."""
    done = invoke("events", "--json", *options, ledger=ledger)

    rows = [json.loads(line) for line in done.output.splitlines()]
    assert [row["kind"] for row in rows] == kinds
    assert all(row["detail"] == {"n": 1} for row in rows)


def test_alarms_are_shown(ledger: Path) -> None:
    """A step of an alarm has its states before and after."""
    shown, none = (
        invoke("alarms", "--name", name, ledger=ledger) for name in ("disk_low", "other")
    )

    assert shown.output.splitlines()[1].split("\t")[1:4] == ["disk_low", "NORMAL", "ACTIVE_UNACK"]
    assert none.output.strip() == "no results"


def test_review_is_written_and_listed(ledger: Path) -> None:
    """A review is shown as it was written, and again by --list, of its part alone."""
    said = invoke(
        "review", "A-1", "--label", "defect", "--by", "Jürgen", "--note", "ж", ledger=ledger
    )
    listed = invoke("review", "--list", "--json", ledger=ledger)
    others = invoke("review", "A-2", "--list", "--json", ledger=ledger)

    assert said.exit_code == 0
    assert said.output.splitlines()[1].split("\t")[1:] == ["A-1", "defect", "Jürgen", "ж"]
    row = json.loads(listed.output)
    assert (row["part_id"], row["label"], row["by"], row["note"]) == (
        "A-1",
        "defect",
        "Jürgen",
        "ж",
    )
    assert others.output == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["A-1", "--label", "defect"], "--by"),
        (["A-1", "--by", "J"], "--label"),
        (["--label", "good", "--by", "J"], "PART"),
        (["A-1", "--label", "bad", "--by", "J"], "'bad'"),
        (["A 1", "--label", "good", "--by", "J"], "'A 1'"),
        (["A-1", "--label", "good", "--by", "J", "--note", "n" * 201], "at most 200"),
        (["A-1", "--label", "good", "--by", "\x1b"], "printable"),
        (["A-1", "--label", "good", "--by", "\udcff"], "UTF-8"),
        (["A-1", "--list", "--label", "good"], "--list"),
    ],
)
def test_bad_review_is_exit_2(ledger: Path, arguments: list[str], says: str) -> None:
    """What is missing or outside the limits of cmd/review is said, and nothing is written."""
    done = invoke("review", *arguments, ledger=ledger)

    assert done.exit_code == 2
    assert says in done.output
    assert invoke("review", "--list", "--json", ledger=ledger).output == ""


def test_unknown_part_is_an_operators_error(ledger: Path) -> None:
    """A part without a verdict ends in the error that main prints as one line."""
    done = invoke("review", "A-9", "--label", "good", "--by", "J", ledger=ledger)

    assert isinstance(done.exception, LedgerError)
    assert "part A-9" in str(done.exception)


def test_ledger_of_the_config_is_used(ledger: Path) -> None:
    """Without --ledger the file is the one that the config names."""
    config = ledger.with_name("line.toml")
    config.write_text(
        f'[[camera]]\nid = "c1"\nkind = "synthetic"\ninterval_ms = 1\n'
        f"[ledger]\npath = '{ledger}'\n"
    )
    app = typer.Typer()
    app.command()(events)

    done = CliRunner().invoke(app, ["--config", str(config), "--json"])

    assert len(done.output.splitlines()) == 2
