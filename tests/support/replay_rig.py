"""Lines to replay: a folder of drawn parts, and a line that was recorded as it ran.

The recorded line is a gate on real sockets and an inspector that stands at the other end,
with tokens that are the pixels; whatever it says is what a live line would have said.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from factories import BOOT, START, FakeBackbone, announcement, frame
from fake_session import FakeSession
from gate_rig import DEADLINE_MS, Rig

from edge.recorder import Recorder
from edge.recording_files import write_head
from edge.recording_lines import INDEX_FILE, LINE_FILE, Head
from edge.wire import Announced, Begins, Lost, Ordered, ScorerUp, decode_note
from pipeline import publisher
from pipeline import replay as replays
from pipeline.inspection import encode_inspection
from pipeline.inspector import Inspector
from pipeline.ledger import open_for_reading
from pipeline.replay import open_source, run_replay
from pipeline.scorer_orders import ScorerOrders
from pipeline.snapshots import Snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

    from edge.sockets import Context
    from pipeline.config import Config
    from pipeline.feature_files import FeatureFiles

MODEL = "a89d1abb"
SETTINGS: dict[str, Any] = {
    "window": {"size_frames": 10, "min_peers": 8},
    "judge": {"min_scores": 8},
}
"""Eight frames to have peers, eight scores to be judged by."""
READY = 16
INTERVAL_MS = 40
RECORD_BYTES = 10_000_000


def part(seed: int, *, defect: bool = False) -> np.ndarray:
    """Return a noisy part of 28 px, with a stripe across one patch where it is defective."""
    rng = np.random.default_rng(seed)
    base = np.tile(np.arange(28, dtype=np.float64) * 4 + 40, (28, 1))
    pixels = base + rng.normal(0, 2, (28, 28))
    if defect:
        pixels[7:14, 14:21:2] += 100
    return pixels.clip(0, 255).astype(np.uint8)


def write_parts(folder: Path, count: int, defects: tuple[int, ...] = ()) -> Path:
    """Write parts 1.png, 2.png, ... of which those in ``defects`` are defective."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        picture = part(number, defect=number in defects)
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


def fake_scorer(monkeypatch: pytest.MonkeyPatch, network: FakeBackbone | None = None) -> None:
    """Let a replay inspect with tokens that are the pixels, without weights."""
    network = network or FakeBackbone()

    def build(
        config: Config,
        snapshots: Snapshots | None,
        timer: Callable[[], float],
        files: FeatureFiles | None,
    ) -> tuple[Inspector, str]:
        backbone = network if files is None else files.before(network, MODEL)
        return Inspector(config, backbone, MODEL, timer, snapshots=snapshots), MODEL

    monkeypatch.setattr(replays, "build_inspector", build)


def rows(ledger: Path, table: str = "verdicts") -> list[dict[str, Any]]:
    """Return all rows of a table."""
    db = open_for_reading(ledger)
    found = list(db.table(table).rows)
    db.close()
    return found


def replayed(source: Path, ledger: Path, config: Config | None = None, **options: Any) -> Path:
    """Replay into a ledger; return it."""
    run_replay(open_source(source, config, **options), ledger)
    return ledger


class RecordedLine:
    """A line of one camera that is recorded, driven frame by frame."""

    def __init__(self, folder: Path, record: Path, context: Context, **sections: Any) -> None:
        """Start gate, scorer and camera with empty windows."""
        line = Recorder(record / LINE_FILE, RECORD_BYTES, lambda: START)
        self.gate = Rig(folder, context, line, **SETTINGS, **sections)
        self.ledger = self.gate.path
        self._clock = self.gate.clock
        settings = self.gate.settings
        head = Head(
            created_at=START,
            cameras=("c1",),
            config=settings.model_dump(mode="json"),
            config_digest=settings.digest,
        )
        write_head(record, head)
        windows = Snapshots(settings.line.state_path / "windows", 0, lambda: 0.0, self._clock.now)
        self._windows = windows
        self.inspector = Inspector(settings, FakeBackbone(), MODEL, snapshots=windows)
        self._orders = ScorerOrders(self.inspector, ["c1"])
        self._camera = Recorder(record / "c1" / INDEX_FILE, RECORD_BYTES, lambda: START)
        self._camera.put(Begins(camera="c1", boot=BOOT, seq=0))
        self._seq = 0

    def parts(self, count: int, **how: Any) -> None:
        """Let so many parts pass."""
        for _ in range(count):
            self.part(**how)

    def part(self, *, defect: bool = False, late: bool = False, slow_disk: bool = False) -> None:
        """Let a part pass: defective, inspected too late, or on the disk too late."""
        self._seq += 1
        self._clock.advance_ms(INTERVAL_MS)
        seen = frame(self._seq, part(self._seq, defect=defect), **self._capture())
        self._camera.put(Announced(announcement=seen.announcement))
        self._camera.put_frame(seen)
        self.gate.send(self.gate.ingest, Announced(announcement=seen.announcement))
        self.gate.step()
        if late:
            self._clock.advance_ms(DEADLINE_MS)
            self.gate.step()
        write = self.gate.gate._journal.write
        if slow_disk:
            self.gate.slow_disk(DEADLINE_MS)
        message = [b"inspection", *encode_inspection(self.inspector.inspect(seen))]
        self._say(message)
        while self.gate.rows()[-1]["verdict"] is None:
            self.gate.step()
        self.gate.gate._journal.write = write  # type: ignore[method-assign] - the disk is well again

    def drop(self, detail: str = "queue of 4 frames full, oldest dropped") -> None:
        """Let a part pass whose pixels wait for the scorer for too long."""
        self._seq += 1
        self._clock.advance_ms(INTERVAL_MS)
        lost = announcement(self._seq, **self._capture())
        seen = frame(self._seq, part(self._seq), **self._capture())
        note = Lost(announcement=lost, why="dropped", detail=detail)
        self._camera.put(Announced(announcement=lost))
        self._camera.put_frame(seen)
        self._camera.put(note)
        self.gate.send(self.gate.ingest, Announced(announcement=lost), note)
        while not any(row["seq"] == self._seq and row["verdict"] for row in self.gate.rows()):
            self.gate.step()

    def command(self, verb: str, **fields: Any) -> None:
        """Send a command, and let the scorer obey what the gate orders."""
        self._clock.advance_ms(INTERVAL_MS)
        self.gate.command(verb, step=True, **fields)
        answer = self._obey()
        assert answer.ok, answer.detail

    def close(self) -> None:
        """Stop the line and finish its recording."""
        self._camera.close(10)
        self._windows.close()
        self.gate.close()

    def _capture(self) -> dict[str, Any]:
        return {"captured_at": self._clock.now(), "captured_ns": self._clock.ns}

    def _obey(self) -> Ordered:
        while not self.gate.scorer.poll(10):
            self.gate.step()
            self._clock.advance_ms(1)
        order = decode_note(self.gate.scorer.recv())
        answer = self._orders.answer(order)  # type: ignore[arg-type] - the gate says nothing else
        self.gate.send(self.gate.scorer, answer)
        self.gate.step()
        up = ScorerUp(scorer=BOOT, model=MODEL, recipe=self.inspector.recipe)
        self.gate.send(self.gate.scorer, up)
        self.gate.step()
        return answer

    def _say(self, message: list[bytes]) -> None:
        self.gate.scorer.send_multipart(message)
        self.gate._on_the_way.add(self.gate.scorer)
        self.gate.step()


@contextmanager
def recorded_line(
    folder: Path, record: Path, context: Context, monkeypatch: pytest.MonkeyPatch, **sections: Any
) -> Iterator[RecordedLine]:
    """Run a line that is recorded; its broker is a list, and replays need no weights."""
    fake_scorer(monkeypatch)
    monkeypatch.setattr(publisher, "BrokerSession", FakeSession)
    line = RecordedLine(folder, record, context, **sections)
    yield line
    line.close()
