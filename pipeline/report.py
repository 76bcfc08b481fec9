"""One page that tells what a run, or a search, has shown: self-contained, for a browser.

Everything is in the one file, plotly's script and the pictures too.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from pipeline import report_figures as draw
from pipeline.page import inline, table, write_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edge.frame import FrameKey
    from pipeline.report_data import RunData, Worst
    from pipeline.report_patches import Peak

_SHEET = (
    "Colour begins at the threshold. Below each frame the patch with its highest score, and the "
    "three patches nearest to it, each of another good frame: of the same camera and recipe, the "
    "latest that passed and voted. Distances are those of single patches, mean over the stages."
)


def run_sections(
    run: RunData,
    summary: Mapping[str, Any],
    changed: tuple[Sequence[str], Sequence[Sequence[str]]] | None,
    pictures: Mapping[FrameKey, bytes],
    peaks: Mapping[FrameKey, Peak],
) -> list[str]:
    """Return the pieces of a page about one run.

    Args:
        run: What was read of it.
        summary: Names and figures for the beginning.
        changed: Columns and rows of the parts whose verdict is another than before; None where
            nothing was compared.
        pictures: JPEG of the worst frames, for those that are still there.
        peaks: Their worst patches, and the good ones that came nearest, likewise.
    """
    pieces = [
        table(("", ""), [(name, _text(value)) for name, value in summary.items()]),
        draw.html_of(draw.scores_over_time(run)),
        draw.html_of(draw.histogram(run)),
    ]
    if changed is not None:
        columns, rows = changed
        pieces += [f"<h2>What changed: {len(rows)} parts</h2>", table(columns, rows)]
    pieces += [
        f"<h2>The worst {len(run.worst)} frames</h2>",
        f"<p>{_SHEET}</p>",
        _sheet(run.worst, pictures, peaks),
        draw.html_of(draw.window_fill(run)),
        draw.html_of(draw.latency(run)),
        "<h2>Alarms</h2>",
        draw.html_of(draw.alarm_timeline(run)) if run.alarms else '<p class="none">none</p>',
        "<h2>Events</h2>",
        table(
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
        pieces += ["<h2>Held out</h2>", table(*held_out)]
    return [*pieces, "<h2>Trials, the best first</h2>", table(columns, rows)]


def write_report(path: Path, title: str, pieces: Iterable[str]) -> None:
    """Write a page with drawings, whole or not at all.

    Raises:
        ReportError: The file cannot be written.
    """
    write_page(path, title, pieces, draw.library())


def _sheet(
    worst: Sequence[Worst], pictures: Mapping[FrameKey, bytes], peaks: Mapping[FrameKey, Peak]
) -> str:
    figures = [_figure(one, pictures.get(one.key), peaks.get(one.key)) for one in worst]
    return f'<div class="sheet">{"".join(figures)}</div>'


def _figure(one: Worst, picture: bytes | None, peak: Peak | None) -> str:
    threshold = "-" if one.threshold is None else f"{one.threshold:.4f}"
    return (
        f"<figure>{inline(picture, one.part)}<figcaption>"
        f'<b class="{one.verdict}">{one.verdict}</b> '
        f"{html.escape(one.part)}<br>{html.escape(str(one.key))}<br>"
        f"score {one.score:.4f}, threshold {threshold}</figcaption>"
        f"{'' if peak is None else _crops(one.part, peak)}</figure>"
    )


def _crops(part: str, peak: Peak) -> str:
    """Show the worst patch and the nearest ones beside it."""
    own = inline(peak.picture, f"worst patch of {part}")
    others = "".join(inline(one.picture, f"patch of {one.part}") for one in peak.nearest)
    named = ", ".join(f"{one.part} {one.distance:.3f}" for one in peak.nearest)
    words = f"nearest: {named}" if named else "no good frame to compare it with"
    if peak.gone:
        words += f"; {peak.gone} good frames are not there any more"
    return (
        f'<div class="row crops">{own}{others}</div><figcaption>{html.escape(words)}</figcaption>'
    )


def _text(value: Any) -> str:  # noqa: ANN401 - of any column
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
