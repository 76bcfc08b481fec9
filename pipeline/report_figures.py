"""The drawings of a report, by plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.report_data import RunData

COLOURS = {"PASS": "#2a7f3f", "FAIL": "#c0392b", "NO_RESULT": "#8a8f98"}
HEIGHT_PX = 320
BINS = 80
_LAYOUT: dict[str, Any] = {
    "height": HEIGHT_PX,
    "margin": {"l": 60, "r": 20, "t": 36, "b": 44},
    "template": "plotly_white",
    "legend": {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 1.0, "yanchor": "bottom"},
}
Figure = Any


def library() -> str:
    """Return plotly's own script: a report has to work without a network."""
    return str(get_plotlyjs())


def html_of(figure: Figure) -> str:
    """Return a drawing as a piece of a page that has the library."""
    return str(
        figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
    )


def scores_over_time(run: RunData) -> Figure:
    """Draw each score by its result, with the threshold that was in force."""
    columns, numbers = run.columns, list(range(1, len(run) + 1))
    figure = _figure("Score on arrival", "frame", "score")
    for verdict, colour in COLOURS.items():
        chosen = [i for i, one in enumerate(columns["verdict"]) if one == verdict]
        figure.add_trace(
            go.Scatter(
                x=[numbers[i] for i in chosen],
                y=[columns["deciding"][i] for i in chosen],
                text=[f"{columns['part_id'][i]} {columns['reason'][i]}" for i in chosen],
                mode="markers",
                marker={"size": 5, "color": colour},
                name=verdict,
            )
        )
    figure.add_trace(_line(numbers, columns["threshold"], "threshold", "#34495e"))
    return figure


def histogram(run: RunData) -> Figure:
    """Draw how often each score came, by result."""
    figure = _figure("Scores", "score", "frames")
    columns = run.columns
    for verdict, colour in COLOURS.items():
        scores = [
            score
            for score, one in zip(columns["deciding"], columns["verdict"], strict=True)
            if one == verdict and score is not None
        ]
        if scores:  # plotly takes the axis of nothing for one of dates
            figure.add_trace(go.Histogram(x=scores, nbinsx=BINS, marker_color=colour, name=verdict))
    figure.update_layout(barmode="stack")
    latest = next((one for one in reversed(columns["threshold"]) if one is not None), None)
    if latest is not None:
        figure.add_vline(x=latest, line_dash="dash", annotation_text="latest threshold")
    return figure


def latency(run: RunData) -> Figure:
    """Draw the time from capture to result, and what of it was computed."""
    numbers = list(range(1, len(run) + 1))
    figure = _figure("Latency", "frame", "ms")
    figure.add_trace(_line(numbers, run.columns["latency_ms"], "capture to result", "#2c3e50"))
    figure.add_trace(_line(numbers, run.columns["compute_ms"], "the scorer's compute", "#2980b9"))
    return figure


def window_fill(run: RunData) -> Figure:
    """Draw how many frames voted on each."""
    numbers = list(range(1, len(run) + 1))
    figure = _figure("Voters", "frame", "frames that voted")
    figure.add_trace(_line(numbers, run.columns["window_n"], "voters", "#2c3e50"))
    return figure


def alarm_timeline(run: RunData) -> Figure:
    """Draw the state of each alarm over time."""
    figure = _figure("Alarms", "time", "")
    for name in dict.fromkeys(row["name"] for row in run.alarms):
        rows = [row for row in run.alarms if row["name"] == name]
        figure.add_trace(
            go.Scatter(
                x=[row["time"] for row in rows],
                y=[name] * len(rows),
                text=[f"{row['before']} to {row['after']}" for row in rows],
                mode="markers+text",
                textposition="top center",
                marker={"size": 9, "symbol": "diamond", "color": "#c0392b"},
                name=name,
                showlegend=False,
            )
        )
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """Draw how much of the goal's variance each setting explains."""
    figure = _figure("Importance of settings", "share of the goal's variance", "")
    ordered = sorted(shares.items(), key=lambda one: one[1])
    names, values = [name for name, _ in ordered], [share for _, share in ordered]
    figure.add_trace(go.Bar(x=values, y=names, orientation="h", marker_color="#2980b9"))
    return figure


def trials(numbers: Sequence[int], values: Sequence[float], goal: str) -> Figure:
    """Draw what each trial has reached, and the best until then."""
    figure = _figure("Trials", "trial", goal)
    best = [max(values[: i + 1]) for i in range(len(values))]
    figure.add_trace(
        go.Scatter(
            x=list(numbers), y=list(values), mode="markers", name="trial", marker={"size": 6}
        )
    )
    figure.add_trace(_line(list(numbers), best, "best so far", "#c0392b"))
    return figure


def _figure(title: str, x: str, y: str) -> Figure:
    figure = go.Figure(layout={**_LAYOUT, "title": title})
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    return figure


def _line(x: list[int], y: Sequence[float | None], name: str, colour: str) -> Any:  # noqa: ANN401 - plotly has no types
    return go.Scatter(x=x, y=list(y), mode="lines", name=name, line={"color": colour, "width": 1.5})
