"""``what-if`` on the command line: its table, its lines of JSON, what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import tomli_w
from replay_rig import SETTINGS, fake_scorer, replayed, write_parts
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config_file import load_config
from pipeline.ledger import LedgerError

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

DEFECTS = (20, 21, 25)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger of thirty parts, three of them defective; the config beside it names it."""
    fake_scorer(monkeypatch)
    path = tmp_path / "ledger.db"
    alarms = [
        {"name": "pair", "kind": "consecutive", "count": 2},
        {"name": "gone", "kind": "camera_lost"},
    ]
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
    sections = {"camera": [camera], "alarm": alarms, "ledger": {"path": str(path)}, **SETTINGS}
    (tmp_path / "config.toml").write_text(tomli_w.dumps(sections))
    config = load_config(tmp_path / "config.toml")
    return replayed(write_parts(tmp_path / "images", 30, DEFECTS), path, config)


def invoke(*arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["what-if", *map(str, arguments)])


def test_table_has_a_line_for_each_setting(ledger: Path) -> None:
    """What was judged first, then what is asked for; then that it is approximate."""
    done = invoke(ledger, "--threshold", "0.001", "--rejects-per-1000", "50", "--alarm", "2")

    assert done.exit_code == 0, done.output
    head, judged, low, target, _, of, note = done.stdout.splitlines()
    assert head.split("\t") == [
        "setting", "threshold", "rejects", "per_1000", "recall", "false_rejects", "2_in_a_row",
    ]  # fmt: skip
    assert judged.split("\t")[0] == "as judged"
    assert judged.split("\t")[2:] == ["3", "214.3", "", "", "1 (1)"]
    assert low.split("\t") == ["threshold=0.001", "0.001", "14", "1000", "", "", "1 (13)"]
    assert target.split("\t")[0] == "rejects_per_1000=50"
    assert of == "14 parts judged by raw scores, 0 without result; no labels and no reviews"
    assert note.startswith("approximate: admission is frozen")


def test_json_is_an_object_a_line(ledger: Path, tmp_path: Path) -> None:
    """Labels give shares; each object says that it is approximate."""
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n" + "".join(f"{i}.png,{int(i in DEFECTS)}\n" for i in (19, 20)))

    done = invoke(ledger, "--labels", table, "--alarm", "1/5", "--alarm", "2/60s", "--json")

    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["setting"] for row in rows] == ["as judged"] + [
        f"rejects_per_1000={target}" for target in (5, 10, 20, 50)
    ]
    assert {row["approximate"] for row in rows} == {"admission is frozen"}
    assert {row["score"] for row in rows} == {"raw"}
    assert (rows[0]["rejects"], rows[0]["recall"], rows[0]["false_rejects"]) == (3, 1.0, 0.0)
    assert rows[0]["alarms"] == {
        "1_of_5": {"times": 1, "parts": 10},
        "2_in_60_s": {"times": 1, "parts": 10},
    }


def test_config_has_ledger_judge_and_alarms(ledger: Path, tmp_path: Path) -> None:
    """Without a ledger it is the config's; alarms that look at no parts are no question."""
    config = tmp_path / "config.toml"

    both, alone, bare = (
        invoke(*words, "--rejects-per-1000", "20", "--json")
        for words in ((ledger, "--config", config), ("--config", config), (ledger,))
    )

    assert both.stdout == alone.stdout
    judged, own = (json.loads(line) for line in both.stdout.splitlines())
    assert list(own["alarms"]) == ["pair"]
    assert own["threshold"] == pytest.approx(judged["threshold"], rel=0.05)
    # By the defaults sixteen scores must have come before there is a threshold.
    judged, own = (json.loads(line) for line in bare.stdout.splitlines())
    assert list(own["alarms"]) == ["no_result", "rejects_in_a_row"]
    assert own["rejects"] < judged["rejects"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--alarm", "3of20"), "--alarm 3of20: wanted so many"),
        (("--alarm", "1"), "--alarm 1: Input should be greater than or equal to 2"),
        (("--alarm", "21/20"), "at most of_parts = 20"),
        (("--alarm", "2/0.5s"), "--alarm 2/0.5s: Input should be greater than or equal to 1"),
        (("--rejects-per-1000", "500"), "--rejects-per-1000 500: Input should be less than 500"),
        (("--rejects-per-1000", "0.5"), "it needs at least 20000"),
        (("--threshold", "-1"), "--threshold"),
        (("--threshold", "inf"), "Input should be less than or equal to 2"),
        (("--threshold", "nan"), "Input should be less than or equal to 2"),
        (("--rejects-per-1000", "nan"), "--rejects-per-1000 nan"),
        (("--limit", "0"), "--limit"),
    ],
)
def test_what_no_line_could_have_is_refused(
    ledger: Path, arguments: tuple[str, ...], says: str
) -> None:
    """A bad rule, target or limit ends with exit code 2 and says what is allowed."""
    done = invoke(ledger, *arguments)

    assert done.exit_code == 2
    # The message stands in a box, broken into lines.
    assert says in " ".join(done.output.replace("│", " ").split())


def test_ledger_must_be_there(tmp_path: Path) -> None:
    """No such file is an operator's error."""
    done = invoke(tmp_path / "none.db")

    assert isinstance(done.exception, LedgerError)
    assert "none.db: no such file" in str(done.exception)
