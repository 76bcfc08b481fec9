"""One page that tells what a run, or a search, has shown: self-contained, for a browser.

Everything is in the one file, plotly's script and the pictures too: it can be mailed, kept
beside a ledger for years, and opened on a machine that is on no network.
"""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING, Any

from edge.errors import LineError
from pipeline import report_figures as draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edge.frame import FrameKey
    from pipeline.report_data import RunData, Worst

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1080px; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 3px 10px; text-align: left;
border-bottom: 1px solid #ddd; vertical-align: top } .sheet { display: grid; gap: 14px;
grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)) } figure { margin: 0 }
figcaption { font-size: 12px } .FAIL { color: #c0392b } .PASS { color: #2a7f3f }
img { max-width: 100%; display: block } .none { color: #777 }
"""


class ReportError(LineError):
    """The report cannot be written; the message names the file."""


def run_sections(
    run: RunData,
    summary: Mapping[str, Any],
    changed: tuple[Sequence[str], Sequence[Sequence[str]]] | None,
    pictures: Mapping[FrameKey, bytes],
) -> list[str]:
    """Return the pieces of a page about one run.

    Args:
        run: What was read of it.
        summary: Names and figures for the beginning.
        changed: Columns and rows of the parts whose verdict is another than before; None where
            nothing was compared.
        pictures: JPEG of the worst frames, for those that there are.
    """
    pieces = [
        _table(("", ""), [(name, _text(value)) for name, value in summary.items()]),
        draw.html_of(draw.scores_over_time(run)),
        draw.html_of(draw.histogram(run)),
    ]
    if changed is not None:
        columns, rows = changed
        pieces += [f"<h2>What changed: {len(rows)} parts</h2>", _table(columns, rows)]
    pieces += [
        f"<h2>The worst {len(run.worst)} frames</h2>",
        _sheet(run.worst, pictures),
        draw.html_of(draw.window_fill(run)),
        draw.html_of(draw.latency(run)),
        "<h2>Alarms</h2>",
        draw.html_of(draw.alarm_timeline(run)) if run.alarms else '<p class="none">none</p>',
        "<h2>Events</h2>",
        _table(
            ("time", "kind", "camera", "detail"),
            [
                tuple(_text(one[name]) for name in ("time", "kind", "camera", "detail"))
                for one in run.events
            ],
        ),
    ]
    return pieces


def search_sections(
    goal: str,
    trials: Sequence[tuple[int, float, Mapping[str, Any]]],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    importances: Mapping[str, float],
    held_out: tuple[Sequence[str], Sequence[Sequence[str]]] | None,
) -> list[str]:
    """Return the pieces of a page about a search.

    Args:
        goal: What counted.
        trials: Number, goal and settings of each finished trial.
        columns: Of the table of trials.
        rows: Of the table of trials, the best first.
        importances: Share of the goal's variance by setting; empty where it cannot be told.
        held_out: Columns and rows of the frames that no trial has seen.
    """
    ordered = sorted(trials)
    pieces = [
        draw.html_of(draw.trials([n for n, _, _ in ordered], [v for _, v, _ in ordered], goal))
    ]
    if importances:
        pieces.append(draw.html_of(draw.importances(importances)))
    if held_out is not None:
        pieces += ["<h2>Held out</h2>", _table(*held_out)]
    return [*pieces, "<h2>Trials, the best first</h2>", _table(columns, rows)]


def write_page(path: Path, title: str, pieces: Iterable[str]) -> None:
    """Write a page, whole or not at all.

    Raises:
        ReportError: The file cannot be written.
    """
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f'</title><link rel="icon" href="data:,"><style>{_STYLE}</style>'
        f"<script>{draw.library()}</script></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n" + "\n".join(pieces) + "\n</body></html>\n"
    )
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        msg = f"report {path}: {error.strerror or error}"
        raise ReportError(msg) from error


def _sheet(worst: Sequence[Worst], pictures: Mapping[FrameKey, bytes]) -> str:
    return (
        '<div class="sheet">'
        + "".join(_figure(one, pictures.get(one.key)) for one in worst)
        + "</div>"
    )


def _figure(one: Worst, picture: bytes | None) -> str:
    threshold = "-" if one.threshold is None else f"{one.threshold:.4f}"
    shown = '<p class="none">no picture</p>'
    if picture is not None:
        data = base64.b64encode(picture).decode()
        shown = f'<img alt="{html.escape(one.part)}" src="data:image/jpeg;base64,{data}">'
    return (
        f'<figure>{shown}<figcaption><b class="{one.verdict}">{one.verdict}</b> '
        f"{html.escape(one.part)}<br>{html.escape(str(one.key))}<br>"
        f"score {one.score:.4f}, threshold {threshold}</figcaption></figure>"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return '<p class="none">none</p>'
    head = "".join(f"<th>{html.escape(one)}</th>" for one in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: Any) -> str:  # noqa: ANN401 - of any column
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
