"""The command line: clear lines, documented commands, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from edge.asyncapi import contract_documents
from pipeline.cli import app

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '[[camera]]\nid = "c1"\nkind = "synthetic"\ninterval_ms = 1\n'


def musc_edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, check=False
    )


def test_every_command_and_option_has_help() -> None:
    """Nothing visible is undocumented."""
    command = get_command(app)

    missing = [
        f"{name} {parameter.name}"
        for name, sub in command.commands.items()  # type: ignore[attr-defined] - a group
        for parameter in sub.params
        if not getattr(parameter, "hidden", False) and not getattr(parameter, "help", None)
    ] + [name for name, sub in command.commands.items() if not sub.help]  # type: ignore[attr-defined]

    assert missing == []


def test_check_config_accepts(tmp_path: Path) -> None:
    """A good config is exit 0."""
    path = tmp_path / "line.toml"
    path.write_text(GOOD)

    done = CliRunner().invoke(app, ["check-config", str(path)])

    assert done.exit_code == 0
    assert "c1 (synthetic)" in done.output


@pytest.mark.parametrize("command", [["check-config"], ["run", "--config"], ["gate", "--config"]])
def test_bad_config_is_exit_2_without_traceback(tmp_path: Path, command: list[str]) -> None:
    """Each command answers a bad config with its lines and exit code 2."""
    path = tmp_path / "line.toml"
    path.write_text(GOOD + "[window]\nsize_frames = 1\n")

    done = musc_edge(*command, str(path))

    assert done.returncode == 2
    assert "window.size_frames = 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_ledger_is_exit_1(tmp_path: Path) -> None:
    """A ledger that is not there is one line and exit code 1."""
    done = musc_edge("verdicts", "--ledger", str(tmp_path / "gone.db"))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == f"musc-edge: ledger {tmp_path / 'gone.db'}: no such file"


def test_missing_folder_is_said_before_anything_starts(tmp_path: Path) -> None:
    """The check notes a missing image folder, run refuses it at once."""
    path = tmp_path / "line.toml"
    path.write_text(
        GOOD.replace('kind = "synthetic"', f'kind = "folder"\npath = "{tmp_path}/gone"')
    )

    noted, refused = musc_edge("check-config", str(path)), musc_edge("run", "--config", str(path))

    assert (noted.returncode, refused.returncode) == (0, 1)
    assert f"note: image folder {tmp_path}/gone" in noted.stdout
    assert f"musc-edge: image folder {tmp_path}/gone" in refused.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_verdict_filter_is_a_choice(tmp_path: Path) -> None:
    """A result that does not exist is refused, not answered with nothing."""
    done = musc_edge("verdicts", "--ledger", str(tmp_path / "l.db"), "--verdict", "REJECT")

    assert done.returncode == 2
    assert "NO_RESULT" in done.stderr


def test_version_is_shown() -> None:
    """--version prints the version alone."""
    assert musc_edge("--version").stdout.strip() == version("musc-edge")


def test_unknown_camera_is_exit_2(tmp_path: Path) -> None:
    """A camera that the config does not have is named beside those it has."""
    path = tmp_path / "line.toml"
    path.write_text(GOOD)

    done = musc_edge("ingest", "--config", str(path), "--camera", "c9")

    assert done.returncode == 2
    assert "'c9'" in done.stderr
    assert "c1" in done.stderr


def test_schema_prints_and_writes(tmp_path: Path) -> None:
    """Without a name the documents' names, with one that document, with --out all as files."""
    runner = CliRunner()
    documents = contract_documents()

    names = runner.invoke(app, ["schema"]).output.split()
    one = json.loads(runner.invoke(app, ["schema", "part"]).output)
    runner.invoke(app, ["schema", "--out", str(tmp_path / "s")])
    unknown = runner.invoke(app, ["schema", "nothing"])
    both = runner.invoke(app, ["schema", "part", "--out", str(tmp_path)])

    assert names == [file.split(".")[0] for file in documents]
    assert one == documents["part.schema.json"]
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == sorted(documents)
    assert (unknown.exit_code, both.exit_code) == (2, 2)


def test_help_imports_no_torch() -> None:
    """The command line is there at once: torch is imported by the scorer only."""
    code = "import sys, pipeline.cli, pipeline.gate_stage, pipeline.ingest_stage\n"
    code += "assert 'torch' not in sys.modules, 'torch was imported'"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
