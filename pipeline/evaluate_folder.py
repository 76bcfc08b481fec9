"""The output folder of an evaluation: finished categories are kept, settings are held.

``settings.json`` has all that decides the figures. A run with other settings is
refused there and told which one differs, so that no table mixes two. A category
is written in one step when it is finished; one whose images or masks have changed
since, or that cannot be read, is computed again.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.errors import LineError
from pipeline.batch_score import score_text, write_csv
from pipeline.evaluate_examples import Examples
from pipeline.image_folder import file_identity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.batch_score import FolderScores
    from pipeline.dataset_samples import Category


class EvaluateError(LineError):
    """An evaluation cannot be done as asked; the message has folder, key and values."""


class RowFigures(BaseModel):
    """What a row of a table says of one category."""

    model_config = ConfigDict(extra="forbid")

    values: dict[str, float | None]
    notes: list[str]


class Finished(BaseModel):
    """What one category yielded with one backbone."""

    model_config = ConfigDict(extra="forbid")

    files: str
    """Digest of names, sizes and times of all its images and masks."""
    images: int
    ms_per_image: float
    """Reading, backbone, scoring and nothing else, for all rows together."""
    peak_mb: float | None
    """Most memory at once while it was scored; None where the system does not tell."""
    rows: dict[str, RowFigures]
    examples: Examples
    """Of the first row."""


class EvaluateFolder:
    """Reads and writes the folder."""

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        """Hold the folder to the settings of this run.

        Args:
            out: Made if it is not there.
            settings: All that decides the figures, as JSON values.

        Raises:
            EvaluateError: The folder holds results of other settings, or cannot be written.
        """
        self._out = out
        path = out / "settings.json"
        wanted = json.loads(json.dumps(settings))
        try:
            if path.exists():
                _refuse_others(path, json.loads(path.read_text(encoding="utf-8")), wanted)
            out.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(wanted, indent=2) + "\n")
        except OSError as error:
            msg = f"--out {out}: {error.strerror}"
            raise EvaluateError(msg) from error
        except ValueError as error:
            msg = f"{path}: {error}; wanted the settings of an evaluation, or an empty --out"
            raise EvaluateError(msg) from error

    def load(self, backbone: str, category: Category, root: Path) -> Finished | None:
        """Return what is kept of a category; None if it must be computed."""
        path = self._path(backbone, category.name)
        try:
            finished = Finished.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None
        return finished if finished.files == files_digest(root, category) else None

    def keep(self, backbone: str, category: str, finished: Finished) -> None:
        """Write a category, in one step."""
        write_text(self._path(backbone, category), finished.model_dump_json(indent=2) + "\n")

    def write_scores(self, category: Category, scores: FolderScores) -> None:
        """Write OUT/scores/<category>.csv: path, label, score, rescored."""
        labels = {sample.name: int(sample.is_anomalous) for sample in category.samples}
        rows = zip(
            scores.names,
            (labels[name] for name in scores.names),
            map(score_text, scores.scores),
            map(score_text, scores.rescored),
            strict=True,
        )
        path = self._out / "scores" / f"{category.name}.csv"
        write_csv(path, ("path", "label", "score", "rescored"), rows)

    def _path(self, backbone: str, category: str) -> Path:
        return self._out / "categories" / backbone / f"{category}.json"


def files_digest(root: Path, category: Category) -> str:
    """Return a digest that changes with any image, mask or label of a category."""
    masks = [sample.mask for sample in category.samples if sample.mask]
    names = [*(sample.name for sample in category.samples), *masks, *category.training]
    files = [file_identity(root, name) for name in names]
    return hashlib.sha256(repr((category, files)).encode()).hexdigest()[:16]


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _refuse_others(path: Path, there: Any, wanted: Mapping[str, Any]) -> None:  # noqa: ANN401 - what a file holds
    """Refuse a folder of other settings.

    Raises:
        EvaluateError: The message names the first setting that differs.
        ValueError: The file holds no settings.
    """
    if not isinstance(there, dict):
        msg = "not a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - a file's content, not an argument's type
    for key in sorted(there.keys() | wanted.keys()):
        if there.get(key) != wanted.get(key):
            msg = (
                f"{path}: {key} is {json.dumps(there.get(key))}, this run has "
                f"{json.dumps(wanted.get(key))}; choose another --out"
            )
            raise EvaluateError(msg)
