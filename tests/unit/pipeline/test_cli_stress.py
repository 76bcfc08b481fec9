"""``musc-edge stress``: what it refuses, its table, its lines of JSON and its exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from factories import FakeBackbone
from stress_rig import TINY, DrawnParts
from typer.testing import CliRunner

from pipeline import stress as streams
from pipeline import stress_bench, stress_jobs
from pipeline.cli import app
from pipeline.stress import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

FIGURES = {"recall", "false_reject_rate", "auroc", "n"}


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command on tiny streams of drawn parts, without weights."""
    changes: dict[str, Any] = {}

    def tiny_plan(window: int) -> stress_bench.StressPlan:
        return replace(TINY, window=min(window, TINY.window), **changes)

    def run(*arguments: str, **plan: Any) -> Result:
        changes.update(plan)
        return CliRunner().invoke(app, ["stress", "--jobs", "1", *arguments])

    stress_jobs._load.cache_clear()
    monkeypatch.setattr(stress_bench, "StressPlan", tiny_plan)
    monkeypatch.setattr(streams, "load_backbone", lambda _choice: (FakeBackbone(), "a89d1abb"))
    monkeypatch.setattr(streams, "_supply", lambda _stress: lambda _seed: DrawnParts())
    return run


def test_each_stream_ends_as_one_line_of_json(invoke: Callable[..., Result]) -> None:
    """After the table: scenario, params, and the figures of both lines."""
    done = invoke("--scenario", "iid", "--scenario", "burst", "--seeds", "2", "--json")

    assert done.exit_code == 0, done.output
    objects = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [one["scenario"] for one in objects] == ["iid", "burst", "burst", "burst"]
    for one in objects:
        assert set(one) == {"scenario", "params", "plain", "guarded"}
        assert set(one["plain"]) >= FIGURES
        assert set(one["guarded"]) >= FIGURES
    assert [len(one["plain"]["recall_by_seed"]) for one in objects] == [2] * 4
    assert done.stdout.splitlines()[-1] == json.dumps(objects[-1])


def test_table_has_a_row_for_each_line(invoke: Callable[..., Result]) -> None:
    """Without --json there is the table alone."""
    done = invoke("--scenario", "poisoning", "--seeds", "1")

    rows = [line.split("\t") for line in done.stdout.splitlines() if line.startswith("poisoning")]
    assert [row[2] for row in rows] == ["plain", "guarded"]
    assert "{" not in done.stdout


def test_too_few_defects_end_with_1(invoke: Callable[..., Result]) -> None:
    """Figures are printed, the fault is named, and the exit code tells."""
    done = invoke("--scenario", "burst", "--seeds", "1", "--json", defects=20)

    assert done.exit_code == 1
    assert "fault: seed 0: 8 of 20 defects" in done.output
    assert all(
        "faults" in json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--scenario", "flood"), "no stream 'flood'"),
        (("--synthetic", "--folder", "parts"), "two kinds of parts"),
        (("--seeds", "0"), "--seeds"),
    ],
)
def test_wrong_arguments_end_with_2(
    invoke: Callable[..., Result], arguments: tuple[str, ...], says: str
) -> None:
    """Nothing is shown to any line before the arguments are right."""
    done = invoke(*arguments)

    assert done.exit_code == 2
    assert says in done.output


def test_unknown_stream_names_those_there_are(invoke: Callable[..., Result]) -> None:
    """The operator need not look them up."""
    done = invoke("--scenario", "flood")

    words = done.output.replace("\n", " ")
    assert all(name in words for name in SCENARIOS)
