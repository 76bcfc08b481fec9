"""A recorded line on the disk, opened for reading: what came when, and what is wrong with it.

``Recording`` reads the indexes whole and pixels one frame at a time. Whatever is torn,
damaged, missing or unknown becomes a ``Problem`` with its place, and the rest stays
readable; only a folder that is no recording of this version is refused. ``steps`` gives
what the scorer saw, in the order in which it saw it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.frame import FrameKey
from edge.recording_files import (
    PROBLEM_MEANINGS,
    Problem,
    ProblemKind,
    RecordingError,
    file_fault,
    load_frame,
    read_head,
    read_lines,
)
from edge.recording_lines import (
    INDEX_FILE,
    INDEX_LINES,
    LINE_FILE,
    LINE_LINES,
    WINDOWS_FOLDER,
    Cut,
    Ended,
    GateSaid,
    IndexLine,
    Inspected,
    LineLine,
    NotRecorded,
    OrderDone,
    RecipeSaid,
    Result,
    ScorerSaid,
    StoredFrame,
)
from edge.wire import Announced, Begins, Lost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.frame import Announcement, Frame


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """All that a recording knows of one frame."""

    key: FrameKey
    announcement: Announcement | None = None
    """None where the camera's index does not know it."""
    lost: Lost | None = None
    """Why the scorer never saw it, where ingest said so."""
    inspected: Inspected | None = None
    """What the scorer said; None where it did not see the frame."""
    result: Result | None = None
    """What the ledger has; None where no gate has said it."""
    stored: StoredFrame | None = None
    """Where its pixels lie; None where they were not recorded."""
    folder: Path | None = None
    """The camera's folder."""

    def load(self) -> Frame:
        """Read the pixels, bit by bit as the scorer got them.

        Raises:
            RecordingError: They were not recorded, or the file is missing or damaged.
        """
        if self.stored is None or self.folder is None:
            msg = f"frame {self.key}: its pixels were not recorded"
            raise RecordingError(msg)
        return load_frame(self.folder, self.stored)


Step = RecordedFrame | OrderDone | GateSaid | ScorerSaid | RecipeSaid


class Recording:
    """A recording that was opened."""

    def __init__(self, folder: Path) -> None:
        """Read the indexes and look for the frames' files; the pixels are not read.

        Raises:
            RecordingError: The folder is no recording, or one of another version, or an
                index cannot be read.
        """
        self.folder = folder
        self.head = read_head(folder)
        self.problems: list[Problem] = []
        """What is wrong."""
        windows = folder / WINDOWS_FOLDER
        self.windows: Path | None = windows if windows.is_dir() else None
        """The snapshots that the scorer started from; None where it started empty."""
        self.indexes: dict[str, list[IndexLine]] = {}
        """Each camera's own lines, in the order in which they were written."""
        self.line: list[LineLine] = []
        """The lines of the gate; empty where only cameras were recorded."""
        self._frames: dict[FrameKey, RecordedFrame] = {}
        self._began: dict[str, int] = {}
        """What each camera had counted before it was recorded."""
        self._read()

    def steps(self) -> Iterator[Step]:
        """Yield what happened in the order in which the scorer saw it.

        A frame that was inspected stands where it was inspected, another one where its
        result was written; all that is known of it comes with it. Last come the frames
        that have no line of the gate, by camera and number: where there is no
        ``line.jsonl`` these are all.
        """
        said: set[FrameKey | tuple[str | None, str]] = set()
        scorer: str | None = None
        for line in self.line:
            scorer = line.scorer if isinstance(line, ScorerSaid) else scorer
            step = self._step(line)
            if step is None:
                continue
            if isinstance(step, RecordedFrame | OrderDone):
                # A gate repeats an order; a scorer answers it again, and does it once.
                once = step.key if isinstance(step, RecordedFrame) else (scorer, step.order)
                if once in said:
                    continue
                said.add(once)
            yield step
        for camera in self.head.cameras:
            yield from (frame for frame in self.frames(camera) if frame.key not in said)

    def frames(self, camera: str) -> list[RecordedFrame]:
        """Return the frames of a camera by their number, whoever saw them.

        Raises:
            ValueError: No camera of this recording.
        """
        if camera not in self.indexes:
            msg = f"no camera {camera!r} in {self.folder}; there are {', '.join(self.indexes)}"
            raise ValueError(msg)
        mine = (frame for key, frame in self._frames.items() if key.camera == camera)
        return sorted(mine, key=lambda frame: frame.key.seq)

    def verify(self) -> Iterator[Problem | None]:
        """Read the pixels of each stored frame; yield what is wrong, None where nothing is."""
        for frame in self._frames.values():
            if frame.stored is None:
                continue
            try:
                frame.load()
            except RecordingError as error:
                yield Problem("damaged_file", f"{frame.key.camera}/{frame.stored.file}", str(error))
            else:
                yield None

    def counts(self) -> Counter[ProblemKind]:
        """Return how many lines, frames or files each kind of problem concerns."""
        counts: Counter[ProblemKind] = Counter()
        for problem in self.problems:
            counts[problem.kind] += problem.count
        return counts

    def _read(self) -> None:
        for camera in self.head.cameras:
            name = f"{camera}/{INDEX_FILE}"
            path = self.folder / name
            if not path.is_file():
                self._note("missing_camera", name)
                self.indexes[camera] = []
                continue
            self.indexes[camera] = read_lines(path, name, INDEX_LINES, self.problems)
            self._take_index(camera)
        path = self.folder / LINE_FILE
        if path.is_file():
            self.line = read_lines(path, LINE_FILE, LINE_LINES, self.problems)
            self._take_line()
        self._find_silent()
        self._look_around()

    def _step(self, line: LineLine) -> Step | None:
        """Return what a line of the gate stands for; None where that stands elsewhere."""
        if isinstance(line, Ended | Cut):
            return None
        if not isinstance(line, Inspected | Result):
            return line
        frame = self._frames.get(line.key)
        elsewhere = frame is None or (isinstance(line, Result) and frame.inspected is not None)
        return None if elsewhere else frame

    def _note(self, kind: ProblemKind, where: str, detail: str = "", count: int = 1) -> None:
        self.problems.append(Problem(kind, where, detail or PROBLEM_MEANINGS[kind], count))

    def _note_end(self, where: str, line: Ended | Cut) -> None:
        why = "" if isinstance(line, Cut) else f"{line.why}: "
        self._note(line.kind, where, why + line.detail)

    def _take_index(self, camera: str) -> None:
        """Gather a camera's frames from its lines."""
        for line in self.indexes[camera]:
            if isinstance(line, Begins):
                self._began.setdefault(camera, line.seq)
            elif isinstance(line, NotRecorded):
                self._note("not_recorded", f"{camera}/{line.boot}/{line.seq}", line.why)
            elif isinstance(line, Ended | Cut):
                self._note_end(f"{camera}/{INDEX_FILE}", line)
            elif isinstance(line, Announced | Lost | StoredFrame):
                self._take_frame(camera, line)
        self._find_gaps(camera)

    def _take_frame(self, camera: str, line: Announced | Lost | StoredFrame) -> None:
        key = line.announcement.key
        if key.camera != camera:
            self._note("damaged_line", f"{camera}/{INDEX_FILE}", f"a line of camera {key.camera}")
            return
        known = self._frames.get(key) or RecordedFrame(key, line.announcement)
        if isinstance(line, StoredFrame):
            if known.stored is not None:
                self._note("repeated_line", f"{camera}/{INDEX_FILE}", f"the pixels of {key}")
                return
            folder = self.folder / camera
            known = replace(known, stored=line, folder=folder)
            fault = file_fault(folder, line)
            self.problems += [fault] if fault else []
        elif isinstance(line, Lost):
            known = replace(known, lost=line)
        self._frames[key] = known

    def _find_gaps(self, camera: str) -> None:
        """Note the numbers that were counted and of which there is no line."""
        if self.head.excerpt:
            return
        index = self.indexes[camera]
        numbers = {key.seq for key in self._frames if key.camera == camera}
        counted = [line.seq for line in index if isinstance(line, Begins)]
        first = self._began.get(camera, min(numbers, default=1) - 1) + 1
        last = max([*numbers, *counted], default=0)
        expected = first
        for seq in [*sorted(seq for seq in numbers if seq >= first), last + 1]:
            if seq > expected:
                self._note("gap", f"{camera}: {expected} to {seq - 1}", count=seq - expected)
            expected = seq + 1

    def _take_line(self) -> None:
        """Join what the gate said to the frames."""
        strangers: dict[str, list[FrameKey]] = defaultdict(list)
        for line in self.line:
            if isinstance(line, Ended | Cut):
                self._note_end(LINE_FILE, line)
            if not isinstance(line, Inspected | Result):
                continue
            key = line.key
            if key not in self._frames:
                if key.seq <= self._began.get(key.camera, 0):
                    continue  # an earlier run's, closed when this one began
                strangers[key.camera].append(key)
                self._frames[key] = RecordedFrame(key)
            known = self._frames[key]
            if (known.inspected if isinstance(line, Inspected) else known.result) is not None:
                self._note("repeated_line", LINE_FILE, f"{line.kind}: {key}")
            elif isinstance(line, Inspected):
                self._frames[key] = replace(known, inspected=line)
            else:
                self._frames[key] = replace(known, result=line)
        for camera, keys in strangers.items():
            self._note_frames("not_announced", camera, sorted(key.seq for key in keys))

    def _note_frames(self, kind: ProblemKind, camera: str, seqs: list[int]) -> None:
        if seqs:
            self._note(kind, f"{camera}: from {seqs[0]}", count=len(seqs))

    def _find_silent(self) -> None:
        """Note frames that went to a scorer and of which something is missing."""
        for camera in self.head.cameras:
            sent = [one for one in self.frames(camera) if one.announcement and not one.lost]
            if self.line:
                silent = [one.key.seq for one in sent if not one.inspected]
                self._note_frames("not_accounted", camera, silent)
            seen = [one for one in sent if one.inspected or not self.line]
            self._note_frames("no_pixels", camera, [o.key.seq for o in seen if not o.stored])

    def _look_around(self) -> None:
        """Note folders that belong to no camera."""
        known = {*self.head.cameras, WINDOWS_FOLDER}
        for path in sorted(self.folder.iterdir()):
            if path.is_dir() and path.name not in known:
                self._note("unknown_folder", path.name)
