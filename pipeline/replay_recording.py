"""A recorded line as the source of a replay: what its scorer saw, in the scorer's order.

A frame that the scorer saw is shown to the inspector at its place, whatever became of it;
one that it never saw gets the NO_RESULT that it had. With the recording's own settings
what came too late is too late again. With other settings the question is what would have
been said, and lateness of the past does not apply unless it is asked for.

Indexes that are damaged, and pixels or inspections of judged frames that are not there,
refuse the replay: every later result may be another. What lies apart from the scorer's
frames is a warning, and so is a torn line, which is skipped: at the end of an index nothing
comes after it, elsewhere a later process has taken it off. A camera whose pixels end before
the line does, at a limit or by a kill, is replayed until there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

from pydantic import ValidationError

from edge.frame import Announcement
from edge.recording import RecordedFrame, Recording
from edge.recording_files import RecordingError
from edge.recording_lines import Ended, GateSaid, OrderDone, RecipeSaid, ScorerSaid
from edge.wire import Order
from pipeline.config import Config
from pipeline.replay_sources import (
    Fate,
    GateBegins,
    Ordered,
    RecipeBegins,
    ReplayError,
    Seen,
    Unseen,
    named,
)
from pipeline.results import Moment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from edge.frame import Frame, FrameKey
    from edge.recording import Step as Recorded
    from edge.recording_files import ProblemKind
    from edge.recording_lines import Head
    from pipeline.replay_sources import Step

FATAL: frozenset[ProblemKind] = frozenset(
    {"damaged_line", "missing_file", "damaged_file", "missing_camera"}
)


class RecordingReplay:
    """A recording, with its own settings or with others."""

    def __init__(self, folder: Path, config: Config | None, *, late: bool | None = None) -> None:
        """Open the recording and look for what is wrong with it.

        Args:
            folder: The recording.
            config: Other settings; without it the recording's own.
            late: Whether what came too late is too late again; None where that is so with
                the recording's own settings only.

        Raises:
            RecordingError: It is no recording of this version.
            ReplayError: It is damaged, or is not of this config's cameras.
        """
        self._recording = Recording(folder)
        head = self._recording.head
        self.config = config or _own_config(head, folder)
        own = config is None or config.digest == head.config_digest
        self._late = own if late is None else late
        self.boot = hashlib.sha256(head.model_dump_json().encode()).hexdigest()[:16]
        self.begins_at = head.created_at
        self.name = folder.resolve().name
        self.windows = self._recording.windows
        self._has_line = bool(self._recording.line)
        self._cut_before: FrameKey | None = None
        """The first frame that is left out, where a camera's pixels end before the line."""
        self._recorded = self._in_order()
        self._frames = [one for one in self._recorded if isinstance(one, RecordedFrame)]
        self._refuse_damage(folder)
        self._refuse_cameras(folder)
        self.recipe = self._first_recipe() if own else self.config.line.recipe
        self.warnings: Sequence[str] = self._find_warnings(own=own)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._frames)

    def names(self) -> dict[str, list[FrameKey]]:
        """Return the frames of each file that pictures came from, and of each part."""
        found: dict[str, list[FrameKey]] = defaultdict(list)
        for frame in self._frames:
            announcement = self._announcement(frame)
            for name in {announcement.origin, announcement.part_id} - {""}:
                found[name].append(frame.key)
        return found

    def steps(self) -> Iterator[Step]:
        """Yield what happened, in the scorer's order.

        Raises:
            ReplayError: The pixels of a frame are not those that were written.
        """
        gates = 0
        for one in self._recorded:
            if isinstance(one, RecordedFrame):
                yield self._frame_step(one)
            elif isinstance(one, RecipeSaid):
                yield RecipeBegins(one.recipe, Moment(one.at, one.at_ns))
            elif isinstance(one, OrderDone) and one.verb is not None:
                yield Ordered(
                    Order(
                        order=one.order,
                        verb=one.verb,
                        recipe=one.recipe or self.config.line.recipe,
                        camera=one.camera,
                        boot=one.boot,
                        seq=one.seq,
                    )
                )
            elif isinstance(one, GateSaid) and one.event == "started":
                gates += 1
                if gates > 1:
                    yield GateBegins()

    def frames(self, keys: Collection[FrameKey]) -> Iterator[Frame]:
        """Yield these frames once more, in order; one that is not there any more is left out."""
        for one in self._frames:
            if one.key in keys:
                try:
                    frame = one.load()
                except RecordingError:
                    continue
                yield frame

    def _in_order(self) -> list[Recorded]:
        """Return the steps without the frames that nobody has said anything of."""
        steps = [
            one
            for one in self._recording.steps()
            if not isinstance(one, RecordedFrame)
            or not self._has_line
            or one.inspected
            or one.result
            or one.lost
        ]
        if self._has_line:
            return self._until_pixels_end(steps)
        # No scorer had an order: frames of several cameras come as they were captured.
        frames = [one for one in steps if isinstance(one, RecordedFrame)]
        return [*sorted(frames, key=lambda frame: self._announcement(frame).captured_at)]

    def _until_pixels_end(self, steps: list[Recorded]) -> list[Recorded]:
        """Leave out what comes after a camera has stopped to record and the line went on."""
        indexes = self._recording.indexes
        ended = {name for name in indexes if any(isinstance(one, Ended) for one in indexes[name])}
        last = {
            name: max(
                (one.key.seq for one in self._recording.frames(name) if one.stored), default=0
            )
            for name in indexes
        }
        for number, one in enumerate(steps):
            if not isinstance(one, RecordedFrame) or not one.inspected or one.stored:
                continue
            camera = one.key.camera
            if camera in ended or one.key.seq > last.get(camera, 0):
                self._cut_before = one.key
                return steps[:number]
        return steps

    def _frame_step(self, frame: RecordedFrame) -> Seen | Unseen:
        if not self._was_seen(frame):
            return Unseen(self._announcement(frame), _end(frame))
        try:
            return Seen(frame.load(), self._fate(frame))
        except RecordingError as error:
            damaged = [found.where for found in self._recording.verify() if found]
            msg = f"{self._recording.folder}: {named('damaged_file', damaged)}; {error}"
            raise ReplayError(msg) from error

    def _was_seen(self, frame: RecordedFrame) -> bool:
        """Tell whether a scorer saw the frame, or with a mere camera whether one can."""
        if self._has_line:
            return frame.inspected is not None
        return frame.stored is not None and frame.lost is None

    def _fate(self, frame: RecordedFrame) -> Fate | None:
        """Return what the time of its coming made of a frame that was inspected."""
        result = frame.result
        if not self._late or result is None or result.verdict != "NO_RESULT":
            return None
        if result.scored:
            late = Fate("late", result.detail, keeps_figures=True)
            return late if result.why == "late" else None
        return Fate(result.why, result.detail)

    def _first_recipe(self) -> str:
        """Return what was in force at the first gate: not always the config's."""
        gates = (one for one in self._recording.line if isinstance(one, GateSaid))
        first = next(gates, None)
        return (first.recipe if first is not None else None) or self.config.line.recipe

    def _announcement(self, frame: RecordedFrame) -> Announcement:
        """Return a frame's announcement; of one that was counted only, what is known."""
        if frame.announcement is not None:
            return frame.announcement
        key = frame.key
        part_id = frame.result.part_id if frame.result else f"{key.camera}-{key.seq:08d}"
        return Announcement(
            camera=key.camera,
            boot=key.boot,
            seq=key.seq,
            part_id=part_id,
            captured_at=self.begins_at,
            captured_ns=0,
        )

    def _refuse_damage(self, folder: Path) -> None:
        faults: dict[str, list[str]] = defaultdict(list)
        for problem in self._recording.problems:
            if problem.kind in FATAL:
                faults[problem.kind].append(f"{problem.where} ({problem.detail})")
        for frame in self._frames:
            if self._has_line and frame.inspected is not None and frame.stored is None:
                faults["inspected, and not recorded"].append(str(frame.key))
            elif frame.result and frame.result.scored and frame.inspected is None:
                faults["judged, and its inspection is not recorded"].append(str(frame.key))
        unknown = [
            one.order
            for one in self._recorded
            if isinstance(one, OrderDone) and one.ok and one.verb is None
        ]
        if unknown:
            faults["obeyed, and nobody knows what it ordered"] += unknown
        if faults:
            told = "; ".join(named(kind, places) for kind, places in faults.items())
            msg = f"{folder}: the recording is damaged: {told}"
            raise ReplayError(msg)

    def _refuse_cameras(self, folder: Path) -> None:
        known = {camera.id for camera in self.config.camera}
        missing = sorted({frame.key.camera for frame in self._frames} - known)
        if missing:
            msg = f"{folder}: camera {', '.join(missing)} of the recording is not in the config"
            raise ReplayError(msg)
        if not self._frames:
            msg = f"{folder}: no frame is in the recording"
            raise ReplayError(msg)

    def _find_warnings(self, *, own: bool) -> list[str]:
        places: dict[str, list[str]] = defaultdict(list)
        for problem in self._recording.problems:
            many = f", {problem.count} of them" if problem.count > 1 else ""
            places[problem.kind].append(f"{problem.where} ({problem.detail}{many})")
        warnings = [named(kind, where) for kind, where in places.items()]
        if self._cut_before is not None:
            warnings.append(f"replayed until frame {self._cut_before}, whose pixels are not there")
        said = self._recording.line
        scorers = [one.scorer for one in said if isinstance(one, ScorerSaid) and one.event == "up"]
        if len(set(scorers)) > 1:
            warnings.append(
                f"the scorer was started {len(set(scorers))} times, and its windows of then are "
                "not recorded: results from the second start on may be others"
            )
        digest = self._recording.head.config_digest
        others = {one.config_digest for one in said if isinstance(one, GateSaid)} - {digest}
        if own and (others or self.config.digest != digest):
            told = ", ".join(sorted(others | {self.config.digest} - {digest}))
            warnings.append(f"settings {told} beside the recording's {digest}: results may differ")
        return warnings


def _end(frame: RecordedFrame) -> Fate:
    """Return the NO_RESULT of a frame that no scorer saw."""
    if frame.result is not None:
        return Fate(frame.result.why, frame.result.detail)
    if frame.lost is not None:
        return Fate(frame.lost.why, frame.lost.detail)
    return Fate("dropped", "its pixels were not recorded")


def _own_config(head: Head, folder: Path) -> Config:
    """Return the settings that a recording was made with.

    Raises:
        ReplayError: This program does not know one of them.
    """
    try:
        return Config.model_validate(head.config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        msg = f"{folder}: the recording's own settings, {key}: {first['msg']}; give --config"
        raise ReplayError(msg) from error
