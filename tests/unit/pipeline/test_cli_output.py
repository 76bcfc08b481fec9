"""What the commands print: tables show every character as it is."""

from __future__ import annotations

import pytest

from pipeline.cli_output import print_rows

ROWS = [["[red]a[/red]", ":smile: [/] \\"]]


def test_cells_are_no_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal a cell with rich's markup in it is shown as it was written."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")

    print_rows(("one", "two"), ROWS)

    shown = capsys.readouterr().out
    assert "\x1b[" in shown, "not printed as on a terminal"
    assert [cell in shown for cell in ROWS[0]] == [True, True]


def test_pipe_gets_whole_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal the same cells are a line, separated by tabs."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    print_rows(("one", "two"), ROWS)

    assert capsys.readouterr().out.splitlines() == ["one\ttwo", "\t".join(ROWS[0])]
