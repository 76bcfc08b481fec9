"""``musc-edge keys``: what it writes, what it says, what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from edge.keys import KEY_FILES, KeysError, load_keys
from pipeline.cli_keys import keys

if TYPE_CHECKING:
    from pathlib import Path

app = typer.Typer()
app.command()(keys)


def test_keys_are_made_and_explained(tmp_path: Path) -> None:
    """Four files are written and listed, with what to set and to copy, and no secret."""
    done = CliRunner().invoke(app, [str(tmp_path / "keys")])

    made = load_keys(tmp_path / "keys")
    assert done.exit_code == 0
    assert done.output.splitlines()[:4] == [str(tmp_path / "keys" / name) for name in KEY_FILES]
    assert f'keys_path = "{tmp_path / "keys"}"' in done.output
    assert made.line_secret.decode() not in done.output
    assert made.client_secret.decode() not in done.output


def test_second_keys_need_force(tmp_path: Path) -> None:
    """Keys are replaced on demand only."""
    first = CliRunner().invoke(app, [str(tmp_path / "keys")])
    old = load_keys(tmp_path / "keys")

    with pytest.raises(KeysError, match="--force"):
        CliRunner().invoke(app, [str(tmp_path / "keys")], catch_exceptions=False)
    kept = load_keys(tmp_path / "keys")
    forced = CliRunner().invoke(app, [str(tmp_path / "keys"), "--force"])

    assert (first.exit_code, forced.exit_code) == (0, 0)
    assert kept == old
    assert load_keys(tmp_path / "keys") != old
