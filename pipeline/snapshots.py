"""Windows that outlive the scorer: what is kept of each camera and recipe, and until when.

One file holds all regions of a camera, ``windows/CAMERA/RECIPE.safetensors``, because
the regions of a frame stand or fall together: files of their own could be of different
frames after a kill. A thread writes a copy, one at a time, while inspection goes on; what
cannot be written is warned of and counted, and no frame is lost for it.

A snapshot is used only for what it was made of: model, device, camera, recipe and all
settings that windows and scores depend on. Everything else is refused with what differs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.config_geometry import GEOMETRY_KEYS
from pipeline.snapshot_file import SnapshotError, read_about, read_state, write_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from pipeline.config import Config

log = logging.getLogger(__name__)

RECIPES_KEPT = 16
"""Recipes of a camera whose snapshots stay on the disk, those used last: 1.6 GB of windows of
the default size; beyond, the oldest file goes."""


class Subject(NamedTuple):
    """Whose windows they are."""

    camera: str
    recipe: str


def what_shapes(config: Config, camera: str, good: str | None = None) -> dict[str, Any]:
    """Return the settings that the windows and scores of a camera depend on, by name.

    Narrower than ``Config.digest``: parts, other cameras and the recipe in the file do not
    matter, nor where the weights lie, which the model's digest tells.

    Args:
        config: The line's settings.
        camera: Id of the camera.
        good: Digest of its good images; None where there are none.
    """
    sections = {
        "window": config.window.model_dump(exclude={"snapshot_s"}),
        "musc": config.musc.model_dump(exclude={"weights", "offline", "device", "batch_frames"}),
        "judge": config.judge.model_dump(),
    }
    for one in config.camera:
        if one.id == camera:
            looks = one.model_dump(include=set(GEOMETRY_KEYS), mode="json")
            sections["camera"] = {**looks, "good_path": good}
    return {
        f"{section}.{key}": value
        for section, keys in sections.items()
        for key, value in keys.items()
    }


def config_hash(settings: Mapping[str, Any]) -> str:
    """Return eight hex digits over settings by name."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


class Snapshots:
    """The snapshots of all cameras and recipes of a line; for one thread at a time."""

    def __init__(
        self,
        folder: Path,
        every_s: float,
        monotonic_s: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        """Write nothing yet.

        Args:
            folder: Where they lie.
            every_s: Time between two snapshots of a camera; 0 for none but those asked for.
            monotonic_s: Seconds, for when the next is due.
            now: UTC, for a person who looks into a file.
        """
        self._folder = folder
        self._every_s = every_s
        self._monotonic_s = monotonic_s
        self._now = now
        self._thread = ThreadPoolExecutor(1, "snapshots")
        self._writing: Future[None] | None = None
        self._last_s: dict[str, float] = {}
        self.written = 0
        """Snapshots that are on the disk or were replaced since."""
        self.failed = 0
        """Snapshots that could not be made or written."""
        self._owed: set[str] = set()
        """Cameras whose last snapshot failed."""

    def path(self, subject: Subject) -> Path:
        """Return where a snapshot lies; names of cameras and recipes are safe in a path."""
        return self._folder / subject.camera / f"{subject.recipe}.safetensors"

    def due(self, camera: str, *, idle: bool) -> bool:
        """Tell whether a camera that has changed should be written down now.

        Where frames wait it may take twice the time; while one is written none is due.
        """
        if not self._every_s or (self._writing is not None and not self._writing.done()):
            return False
        last_s = self._last_s.setdefault(camera, self._monotonic_s())
        return self._monotonic_s() - last_s >= self._every_s * (1 if idle else 2)

    def owed(self) -> set[str]:
        """Return the cameras whose snapshot failed since this was asked last."""
        owed, self._owed = self._owed, set()
        return owed

    def hasten(self, camera: str) -> None:
        """Let the next snapshot of a camera be due: a person has changed what it holds."""
        self._last_s[camera] = self._monotonic_s() - 2 * self._every_s

    def put(
        self, subject: Subject, about: Mapping[str, Any], copied: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Copy a camera's state and have it written.

        Args:
            subject: Whose it is.
            about: What it depends on.
            copied: Returns a copy that nobody writes to any more.
        """
        self.wait()
        self._last_s[subject.camera] = self._monotonic_s()
        try:
            state = copied()
        except (MemoryError, RuntimeError, ValueError) as error:
            self._fail(subject, f"{self.path(subject)}: windows cannot be copied: {error}")
            return
        whole = {**about, "written_at": self._now().isoformat()}
        self._writing = self._thread.submit(self._write, subject, whole, state)

    def find(self, subject: Subject, about: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the state that was kept; None where there is none, or it is refused."""
        self.wait()
        path = self.path(subject)
        if not path.exists():
            return None
        try:
            kept = read_about(path)
            if different := differences(kept, about):
                msg = f"{path}: {'; '.join(different)}"
                raise SnapshotError(msg)
            state = read_state(path)
        except SnapshotError as error:
            log.warning("a snapshot is refused, windows begin empty: %s", error)
            return None
        log.info("camera %s goes on with the windows of %s", subject.camera, kept["written_at"])
        return state

    def forget(self, subject: Subject) -> None:
        """Remove a snapshot."""
        self.wait()
        try:
            self.path(subject).unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s", self.path(subject), error.strerror)

    def wait(self) -> None:
        """Return when nothing is being written any more."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def close(self) -> None:
        """Finish what is being written."""
        self.wait()
        self._thread.shutdown()

    def _write(self, subject: Subject, about: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        path = self.path(subject)
        try:
            write_snapshot(path, about, state)
            self.written += 1
            others = sorted(path.parent.glob("*.safetensors"), key=lambda one: one.stat().st_mtime)
            for old in others[:-RECIPES_KEPT]:
                old.unlink()
                log.info("%s: let go, %d recipes are kept", old, RECIPES_KEPT)
        except (SnapshotError, OSError, MemoryError) as error:
            self._fail(subject, str(error))

    def _fail(self, subject: Subject, why: str) -> None:
        self.failed += 1
        self._owed.add(subject.camera)
        log.warning("no snapshot of the windows, number %d: %s", self.failed, why)


def differences(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return what a snapshot was made of otherwise, in words; empty if nothing that matters."""
    found = []
    for name, value in wanted.items():
        if name == "settings" and isinstance(kept.get(name), dict):
            found += differences(kept[name], value)
        elif kept.get(name) != value and name != "config":
            found.append(f"{name} is {value!r}, the snapshot's {kept.get(name)!r}")
    return found
