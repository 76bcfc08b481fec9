"""The recorder never holds anybody up, and says what it could not write."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import recordings as made
from factories import BOOT, START, announcement, frame

from edge import recorder as module
from edge.recorder import Recorder
from edge.recording import Recording
from edge.recording_files import RecordingError
from edge.recording_lines import Cut, Ended, NotRecorded, StoredFrame
from edge.wire import Announced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME_BYTES = 28 * 28


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The index of c1 in a recording that is begun."""
    return made.begin(tmp_path) / "c1" / "index.jsonl"


class Slow:
    """An encoder that waits for the test; it tells when it has begun."""

    def __init__(self, encode: Any) -> None:
        """Stand before the real one."""
        self._encode = encode
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, *given: Any) -> Any:
        """Encode once the test lets it."""
        self.begun.set()
        assert self.may_go_on.wait(made.LIMIT_S)
        return self._encode(*given)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """Frames take as long to encode as the test wants."""
    encoder = Slow(module.encode_frame_file)
    monkeypatch.setattr(module, "encode_frame_file", encoder)
    yield encoder
    encoder.may_go_on.set()


def test_lines_and_frames_keep_their_order(index: Path) -> None:
    """What is handed over is on the disk in that order once it is closed."""
    note = Announced(announcement=announcement(1))

    done = made.write(index, note, frame(1), Announced(announcement=announcement(2)))

    lines = Recording(index.parent.parent).indexes["c1"]
    assert [line.kind for line in lines] == ["announced", "frame", "announced"]
    assert lines[0] == note
    assert (done.frames, done.left_out, done.take_faults()) == (1, 0, [])
    assert sorted(path.name for path in (index.parent / "frames").rglob("*") if path.is_file()) == [
        "1.png"
    ]


def test_line_of_a_frame_follows_its_file(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the line of a frame is appended, its file is whole and has its name."""
    sizes: list[int] = []
    append = os.write

    def look(file: int, content: bytes) -> int:
        if b'"kind":"frame"' in content:
            sizes.append((index.parent / "frames" / BOOT / "1.png").stat().st_size)
        return append(file, content)

    monkeypatch.setattr(module.os, "write", look)
    made.write(index, frame(1))

    stored = Recording(index.parent.parent).frames("c1")[0].stored
    assert stored is not None
    assert sizes == [stored.size_bytes]


def test_torn_line_of_an_earlier_process_is_taken_off(index: Path) -> None:
    """A process that goes on says in its place, and to the ledger, which line was torn."""
    made.write(index, frame(1), frame(2))
    os.truncate(index, index.stat().st_size - 5)
    torn = len(index.read_bytes().splitlines()[-1])

    done = made.write(index, frame(3))

    recording = Recording(index.parent.parent)
    lines = recording.indexes["c1"]
    assert [line.kind for line in lines] == ["frame", "cut", "frame"]
    assert [one.key.seq for one in recording.frames("c1") if one.stored] == [1, 3]
    named = f"the last {torn} bytes are a torn line 'frame' of number 2"
    assert [p.detail for p in recording.problems if p.kind == "cut"] == [named]
    assert isinstance(lines[1], Cut)
    assert lines[1].size_bytes == torn
    assert [(f.kind, f.detail["detail"]) for f in done.take_faults()] == [
        ("recording_torn", f"{named}, taken off")
    ]


def test_whole_index_is_gone_on_with_as_it_is(index: Path) -> None:
    """Where nothing is torn, nothing is taken off and nothing said."""
    made.write(index, frame(1))
    before = index.read_bytes()

    done = made.write(index, frame(2))

    assert index.read_bytes().startswith(before)
    assert Recording(index.parent.parent).problems == []
    assert done.take_faults() == []


def test_full_queue_leaves_frames_out_and_says_so(index: Path, slow: Slow) -> None:
    """Frames that find the queue full are named, told once, and hold nobody up."""
    recorder = Recorder(index, 10_000_000, lambda: START, waiting_limit_bytes=2 * FRAME_BYTES)
    recorder.put_frame(frame(1))
    assert slow.begun.wait(made.LIMIT_S)

    for seq in (2, 3, 4):
        recorder.put_frame(frame(seq))
    slow.may_go_on.set()
    recorder.close(made.LIMIT_S)

    lines = Recording(index.parent.parent).indexes["c1"]
    assert [line.kind for line in lines] == ["frame", "frame", "not_recorded", "not_recorded"]
    left_out = [line for line in lines if isinstance(line, NotRecorded)]
    assert [(line.seq, line.why) for line in left_out] == [(3, "queue_full"), (4, "queue_full")]
    assert recorder.left_out == 2
    assert [(f.kind, f.detail["why"]) for f in recorder.take_faults()] == [
        ("recording_failed", "queue_full")
    ]


def test_lines_have_a_limit_too(index: Path, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs does not fill the memory: lines beyond their limit are counted only."""
    monkeypatch.setattr(module, "LINES_LIMIT_BYTES", 0)
    recorder = Recorder(index, 10_000_000, lambda: START, waiting_limit_bytes=FRAME_BYTES)
    recorder.put_frame(frame(1))
    assert slow.begun.wait(made.LIMIT_S)

    recorder.put(Announced(announcement=announcement(2)))
    slow.may_go_on.set()
    recorder.close(made.LIMIT_S)

    assert [line.kind for line in Recording(index.parent.parent).indexes["c1"]] == ["frame"]
    assert recorder.left_out == 1


def test_frame_larger_than_the_queue_is_recorded(index: Path) -> None:
    """A frame that alone is over the limit is taken when nothing else waits."""
    done = made.write(index, frame(1), waiting_limit_bytes=FRAME_BYTES // 2)

    assert done.frames == 1


def test_close_names_what_it_does_not_write_any_more(index: Path, slow: Slow) -> None:
    """At a stop the frames beyond the limit of time are named; lines are all written."""
    recorder = Recorder(index, 10_000_000, lambda: START)
    for seq in (1, 2, 3):
        recorder.put_frame(frame(seq))
    recorder.put(Announced(announcement=announcement(4)))
    assert slow.begun.wait(made.LIMIT_S)

    def let_go_on() -> None:
        end = time.monotonic() + made.LIMIT_S
        while not recorder._hurries and time.monotonic() < end:
            time.sleep(0.001)
        slow.may_go_on.set()

    helper = threading.Thread(target=let_go_on)
    helper.start()
    recorder.close(0.0)
    helper.join()
    recorder._thread.join(made.LIMIT_S)

    lines = Recording(index.parent.parent).indexes["c1"]
    assert [line.kind for line in lines] == ["frame", "not_recorded", "not_recorded", "announced"]
    assert {line.why for line in lines if isinstance(line, NotRecorded)} == {"stopped"}


def test_writer_is_behind_where_half_of_its_room_is_taken(index: Path, slow: Slow) -> None:
    """Whoever can wait is told to before frames are left out."""
    recorder = Recorder(index, 10_000_000, lambda: START, waiting_limit_bytes=4 * FRAME_BYTES)
    said = [recorder.behind]
    for seq in (1, 2, 3):
        recorder.put_frame(frame(seq))
        said.append(recorder.behind)

    slow.may_go_on.set()
    recorder.close(made.LIMIT_S)
    recorder.close(made.LIMIT_S)

    assert said == [False, False, False, True]
    assert (recorder.behind, recorder.left_out, recorder.frames) == (False, 0, 3)


def test_budget_ends_the_recording(index: Path) -> None:
    """At its share of the bytes it stops, says so once in index and ledger, and counts on."""
    frames = [frame(seq) for seq in range(1, 40)]

    done = made.write(index, *frames, max_bytes=10_000)

    recording = Recording(index.parent.parent)
    lines = recording.indexes["c1"]
    ends = [line for line in lines if isinstance(line, Ended)]
    assert [end.why for end in ends] == ["limit_reached"]
    assert lines[-1] == ends[0]
    assert 0 < done.frames == sum(isinstance(line, StoredFrame) for line in lines) < 39
    files = sum(path.stat().st_size for path in index.parent.rglob("*") if path.is_file())
    assert files <= 10_000 + len(ends[0].model_dump_json()) + 1
    assert [(f.kind, f.detail["why"]) for f in done.take_faults()] == [
        ("recording_full", "limit_reached")
    ]


def test_budget_counts_what_is_there(index: Path) -> None:
    """A process that goes on has the rest of the budget only."""
    made.write(index, *(frame(seq) for seq in range(1, 11)))
    used = sum(path.stat().st_size for path in index.parent.rglob("*") if path.is_file())

    done = made.write(index, frame(11), max_bytes=used + 100)

    assert done.frames == 0
    assert [f.kind for f in done.take_faults()] == ["recording_full"]


def test_disk_that_is_nearly_full_is_left_to_the_ledger(index: Path) -> None:
    """Below the space that is kept free nothing is written."""
    done = made.write(index, frame(1), keep_free_bytes=2**62)

    assert done.frames == 0
    assert not list(index.parent.rglob("*.png"))
    assert [(f.kind, f.detail["why"]) for f in done.take_faults()] == [
        ("recording_full", "disk_low")
    ]


def test_failing_disk_ends_the_recording(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk is one fault; whoever hands over never sees it."""

    def full(_file: int, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", full)

    done = made.write(index, frame(1), frame(2), Announced(announcement=announcement(3)))

    assert [(f.kind, f.detail["detail"]) for f in done.take_faults()] == [
        ("recording_failed", "No space left on device")
    ]
    assert index.read_bytes() == b""


def test_half_written_line_is_taken_back(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes a part of a line only is full; the line that says so stands alone."""
    append = os.write

    def write(file: int, content: bytes) -> int:
        return append(file, content if b'"ended"' in content else content[:-9])

    monkeypatch.setattr(module.os, "write", write)

    done = made.write(index, Announced(announcement=announcement(1)))

    assert [f.kind for f in done.take_faults()] == ["recording_failed"]
    recording = Recording(index.parent.parent)
    assert [line.kind for line in recording.indexes["c1"]] == ["ended"]
    assert [problem.kind for problem in recording.problems] == ["ended"]


def test_frame_that_cannot_be_encoded_ends_the_recording(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in the thread, it is told and no thread dies of it."""

    def none_left(_frame: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(module, "encode_frame_file", none_left)

    done = made.write(index, frame(1), frame(2))

    assert [f.kind for f in done.take_faults()] == ["recording_failed"]
    lines = Recording(index.parent.parent).indexes["c1"]
    assert [line.kind for line in lines] == ["ended"]


def test_index_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """Where the index cannot be written at all, that is said before the line starts."""
    (tmp_path / "c1").write_text("in the way")

    with pytest.raises(RecordingError, match="c1"):
        Recorder(tmp_path / "c1" / "index.jsonl", 10_000, lambda: START)
