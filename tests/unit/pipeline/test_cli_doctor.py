"""What the doctor found is a table on a terminal, else lines, and JSON where it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pipeline import doctor_examination
from pipeline.cli import app
from pipeline.doctor import Finding, Report, fail, ok, skipped

if TYPE_CHECKING:
    from collections.abc import Callable

FOUND = [
    ok("host.system", "[red]Linux[/red]"),
    skipped("transport.keys", "transport.keys_path is not set"),
    fail("camera.rate", "20 pictures a minute, the line needs 60", "20 came", "Raise fps."),
]


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every examination find the same."""

    def examine(path: Path, *, quick: bool, tell: Callable[[Finding], None]) -> Report:
        assert quick
        for one in FOUND:
            tell(one)
        return Report(path, readable=path.name != "bad.toml", findings=FOUND)

    monkeypatch.setattr(doctor_examination, "examine", examine)


@pytest.mark.usefixtures("examined")
def test_lines_and_remedies() -> None:
    """Each check is a line, and each fault has its remedy below, as it was given."""
    done = CliRunner().invoke(app, ["doctor", "--config", "line.toml", "--quick"])

    lines = done.output.splitlines()
    assert lines[0].split() == ["ok", "host.system", "[red]Linux[/red]"]
    assert "transport.keys_path is not set" in lines[1]
    assert "  -> Raise fps." in lines
    assert lines[-1] == "1 ok, 0 warn, 1 fail, 1 skipped"
    assert done.exit_code == 1


@pytest.mark.usefixtures("examined")
@pytest.mark.parametrize(("config", "code"), [("line.toml", 1), ("bad.toml", 2)])
def test_json_is_the_last_line(config: str, code: int) -> None:
    """With --json the last line is the whole report."""
    done = CliRunner().invoke(app, ["doctor", "--config", config, "--quick", "--json"])

    row = json.loads(done.output.splitlines()[-1])
    assert (row["config"], row["ok"], done.exit_code) == (config, False, code)
    assert row["checks"][-1] == {
        "check": "camera.rate",
        "verdict": "fail",
        "figure": "20 pictures a minute, the line needs 60",
        "detail": "20 came",
        "remedy": "Raise fps.",
    }


def test_config_that_cannot_be_read_is_exit_2(tmp_path: Path) -> None:
    """A bad config is named, the machine was looked at all the same, and the exit code is 2."""
    path = tmp_path / "line.toml"
    path.write_text("version = 999\n")

    done = CliRunner().invoke(app, ["doctor", "--config", str(path), "--json"])

    row = json.loads(done.output.splitlines()[-1])
    said = {check["check"]: check["verdict"] for check in row["checks"]}
    assert done.exit_code == 2
    assert said["host.system"] == "ok"
    assert said["config.version"] == "fail"
