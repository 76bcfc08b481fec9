"""The stream protocol: labelled images as a line would see them, one after the other.

The papers score a whole set at once. On a belt a part is scored when it comes, against the
parts before it, and once more when others have come after it. Each category is shown in
random order, a new one for each seed, and in the order of its names (good parts and each
kind of defect together); with windows of several sizes; to plain mutual scoring, where every
image joins the window, and to the guarded line. The score is the raw one, without RsCIN.

Bursts, shares, a stopped belt and odd light are streams of ``musc-edge stress``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import cv2
import numpy as np

from edge.errors import LineError
from edge.sources.folder import read_capture
from musc.metrics import auroc
from pipeline.backbones import load_backbone
from pipeline.counting_view import CountingView
from pipeline.datasets import open_dataset
from pipeline.evaluate_report import Table
from pipeline.remembered import RememberedBackbone
from pipeline.shared_runs import divided
from pipeline.stress_line import SIDES, Rig, side_config
from pipeline.tune_space import varied

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from edge.sources import Capture
    from musc.backbone import Backbone
    from pipeline.backbones import BackboneChoice
    from pipeline.dataset_samples import Category, DatasetKind
    from pipeline.stress_line import Reading, Side
    from pipeline.tune_space import Values

Order = Literal["random", "given"]
WINDOWS = (16, 32, 64)
MEMORY_BYTES = 4_000_000_000


class StreamError(LineError):
    """A category cannot be shown as a stream; the message says why."""


@dataclass(frozen=True, slots=True)
class StreamProtocol:
    """What is evaluated, and how."""

    kind: DatasetKind
    root: Path
    choice: BackboneChoice
    settings: Values
    """Of the method, by key of the config."""
    categories: tuple[str, ...] = ()
    windows: tuple[int, ...] = WINDOWS
    seeds: int = 5
    """Random orders; the given order is one."""
    memory_bytes: int = MEMORY_BYTES


class Shown(NamedTuple):
    """One stream as a line saw it: AUROC by score, None where it is not defined."""

    arrival: float | None
    """Of the scores on arrival."""
    refined: float | None
    """Of the same images, by their second look where they had one."""
    scored: int
    """Images with a score: the first ones have too few peers."""


class StreamRow(NamedTuple):
    """One line of the table: a category in one order, window and line, over all seeds."""

    category: str
    order: Order
    window: int
    side: Side
    streams: tuple[Shown, ...]

    def figures(self) -> dict[str, Any]:
        """Return means and deviations over the streams; None where one has no figure."""
        found: dict[str, Any] = {"streams": len(self.streams)}
        for name in ("arrival", "refined"):
            values = [getattr(one, name) for one in self.streams]
            known = [value for value in values if value is not None]
            whole = len(known) == len(values)
            found[name] = fmean(known) if whole else None
            found[f"{name}_deviation"] = pstdev(known) if whole else None
        found["scored"] = sum(one.scored for one in self.streams)
        return found


def run_stream(console: Console, wanted: StreamProtocol) -> list[StreamRow]:
    """Show every category in every order to every line.

    Raises:
        LineError: Of the data set, the weights or the memory, or an image that cannot be read.
    """
    categories = open_dataset(wanted.kind, wanted.root, wanted.categories)
    backbone, model = load_backbone(wanted.choice)
    total = sum(len(one.samples) for one in categories) * (wanted.seeds + 1) * len(wanted.windows)
    rows: list[StreamRow] = []
    with CountingView(console, total) as view:
        for category in categories:
            view.begin(category.name)
            rows += show_category(wanted, category, backbone, model, view)
    return rows


def show_category(
    wanted: StreamProtocol,
    category: Category,
    backbone: Backbone,
    model: str,
    view: CountingView,
) -> list[StreamRow]:
    """Return a row for each order, window and line.

    Raises:
        StreamError: An image cannot be read.
        ConfigError: A window that no line could have.
    """
    features, pairs = divided(wanted.memory_bytes)
    remembered = RememberedBackbone(backbone, features)
    captures = list(_captures(wanted.root, category))
    labels = [sample.is_anomalous for sample in category.samples]
    rows = []
    # The widest first: what it has compared serves the narrower ones.
    for window in sorted(wanted.windows, reverse=True):
        configs = {side: varied(side_config(side, window), wanted.settings) for side in SIDES}
        rig = Rig(remembered, model, pairs, configs, view.tick)
        seen: dict[tuple[Order, Side], list[Shown]] = {}
        for order, places in _orders(len(captures), wanted.seeds):
            lines = rig.lines(len(seen))
            shown = [lines.show(captures[place]) for place in places]
            truth = [labels[place] for place in places]
            for side in SIDES:
                readings = [one[side] for one in shown]
                seen.setdefault((order, side), []).append(measured(truth, readings))
        rows += [
            StreamRow(category.name, order, window, side, tuple(each))
            for (order, side), each in seen.items()
        ]
    return sorted(rows, key=lambda row: (row.order, row.window, SIDES.index(row.side)))


def measured(labels: Sequence[bool], readings: Sequence[Reading]) -> Shown:
    """Return the figures of one stream.

    Args:
        labels: Whether each image is anomalous, in the order of the stream.
        readings: What a line said of each, likewise.
    """
    latest: dict[int, float] = {}
    for reading in readings:
        latest |= reading.refined
    scored = [
        (label, reading.score, latest.get(number, reading.score))
        for number, (label, reading) in enumerate(zip(labels, readings, strict=True), 1)
        if reading.score is not None
    ]
    truth = [label for label, _, _ in scored]
    if not 0 < sum(truth) < len(truth):
        return Shown(None, None, len(scored))
    arrival, refined = ([one[i] for one in scored] for i in (1, 2))
    return Shown(auroc(truth, arrival), auroc(truth, refined), len(scored))


def stream_table(title: str, rows: Sequence[StreamRow]) -> Table:
    """Return the table: percent, with the deviation over the seeds."""
    columns = ("category", "order", "window", "line", "on arrival", "refined", "streams", "scored")
    table = Table(title, columns)
    for row in rows:
        found = row.figures()
        figures = [
            _percent(found[name], found[f"{name}_deviation"]) for name in ("arrival", "refined")
        ]
        counts = [str(found["streams"]), str(found["scored"])]
        table.add(row.category, [row.order, str(row.window), row.side, *figures, *counts])
    return table


def summary(rows: Sequence[StreamRow]) -> dict[str, Any]:
    """Return the figures by category, order, window and line."""
    whole: dict[str, Any] = {}
    for row in rows:
        by_order = whole.setdefault(row.category, {}).setdefault(row.order, {})
        by_order.setdefault(str(row.window), {})[row.side] = row.figures()
    return whole


def _orders(images: int, seeds: int) -> Iterator[tuple[Order, list[int]]]:
    yield "given", list(range(images))
    for seed in range(seeds):
        yield "random", np.random.default_rng(seed).permutation(images).tolist()


def _captures(root: Path, category: Category) -> Iterator[Capture]:
    """Yield the images, all of the first one's size and colour: a camera's are.

    Raises:
        StreamError: One cannot be read.
    """
    size: tuple[int, int] | None = None
    colour = None
    for sample in category.samples:
        capture = read_capture(root / sample.name)
        if capture.pixels is None:
            msg = f"{root / sample.name}: {capture.fault}"
            raise StreamError(msg)
        if size is None:
            size, colour = capture.pixels.shape[:2], capture.pixel_format
        if capture.pixel_format != colour:
            msg = f"{root / sample.name} is {capture.pixel_format}, the first image is {colour}"
            raise StreamError(msg)
        if capture.pixels.shape[:2] != size:
            pixels: Any = cv2.resize(capture.pixels, size[::-1], interpolation=cv2.INTER_AREA)
            capture = replace(capture, pixels=pixels)
        yield capture


def _percent(value: float | None, deviation: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} ± {100 * (deviation or 0.0):.1f}"
