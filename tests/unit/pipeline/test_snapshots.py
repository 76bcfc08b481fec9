"""A restarted inspector goes on as if it had never stopped, or begins empty and says why."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from factories import BOOT, FakeBackbone, config, frame
from safetensors.torch import load_file

from pipeline import snapshot_file
from pipeline.inspector import Inspector
from pipeline.snapshot_file import SnapshotError, read_state, write_snapshot
from pipeline.snapshots import Snapshots, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.frame import Frame

SECTIONS: dict[str, Any] = {
    "window": {"size_frames": 10, "min_peers": 8},
    "musc": {"degrees": [1]},
    "judge": {"min_scores": 8, "rejects_per_1000": 100},
}
FRAMES = 70
EVERY_S = 60.0


class Clock:
    """Seconds that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return what was set."""
        return self.seconds


class Boxes:
    """Starts inspectors on one folder, and ends what they started."""

    def __init__(self, folder: Path) -> None:
        """Have none yet."""
        self.folder = folder
        self.clock = Clock()
        self.places: list[Snapshots] = []

    def start(self, model: str = "a89d1abb", **sections: Any) -> Inspector:
        """Return an inspector, as after a start."""
        utc = datetime(2026, 1, 2, tzinfo=timezone.utc)
        self.places.append(Snapshots(self.folder, EVERY_S, self.clock, lambda: utc))
        settings = config(**(SECTIONS | sections))
        kept = self.places[-1]
        return Inspector(settings, FakeBackbone(), model, timer=lambda: 0.0, snapshots=kept)

    def path(self, recipe: str = "default") -> Path:
        """Return where a snapshot lies."""
        return self.places[-1].path(Subject("c1", recipe))


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    """Inspectors whose snapshots lie in a folder of the test."""
    made = Boxes(tmp_path)
    yield made
    for place in made.places:
        place.close()


def part(seq: int) -> Frame:
    """Return a part: noisy, sometimes defective, and the belt stands for a while."""
    shown = 30 if 30 < seq <= 36 else seq
    rng = np.random.default_rng(shown)
    pixels = np.tile(np.arange(28, dtype=np.float64) * 4 + 40, (28, 1)) + rng.normal(0, 2, (28, 28))
    if shown % 9 == 8 or 50 <= shown < 55:
        pixels[7:14, 14:21:2] += 60
    return frame(seq, pixels.clip(0, 255).astype(np.uint8))


def told(box: Inspector, first: int, last: int) -> list[dict[str, Any]]:
    """Inspect frames, and return all that is said of them; a frame is pinned on the way."""
    seen = []
    for seq in range(first, last):
        seen.append(box.inspect(part(seq)).model_dump())
        if seq == 20:
            box.pin("c1", BOOT, 19)
    return seen


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Tell whether the same is said, bit by bit."""
    for mine, yours in zip(one, other, strict=True):
        np.testing.assert_equal(mine, yours)
    return True


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"judge": {"min_scores": 8, "score": "rescored", "rejects_per_1000": 100}},
        {
            "camera": [
                {
                    "id": "c1",
                    "kind": "synthetic",
                    "interval_ms": 1,
                    "columns": 2,
                    "overlap_patches": 1,
                }
            ]
        },
        {"window": {"size_frames": 10, "min_peers": 8, "pins": "consensus"}},
        {"window": {"size_frames": 10, "min_peers": 8, "references": "vote"}},
    ],
    ids=["raw", "rescored", "regions", "consensus", "vote"],
)
@pytest.mark.parametrize("seed", range(4))
def test_inspections_after_a_restart_are_those_of_a_run_without(
    boxes: Boxes, seed: int, sections: dict[str, Any]
) -> None:
    """Killed anywhere, a box goes on as one that never received the frames that were lost."""
    rng = np.random.default_rng(seed)
    kept = int(rng.integers(1, FRAMES - 10))
    killed = kept + int(rng.integers(0, 8))
    uninterrupted = Inspector(
        config(**(SECTIONS | sections)), FakeBackbone(), "a89d1abb", timer=lambda: 0.0
    )
    box = boxes.start(**sections)
    told(box, 1, kept)
    box.windows.keep_all()
    told(box, kept, killed)

    after = told(boxes.start(**sections), killed, FRAMES)

    told(uninterrupted, 1, kept)
    assert same(after, told(uninterrupted, killed, FRAMES))


@pytest.mark.parametrize("references", ["floor", "vote"])
@pytest.mark.parametrize("let_go", [False, True], ids=["pinned", "let go"])
def test_good_images_stay_as_they_were_left(
    boxes: Boxes, tmp_path: Path, references: str, *, let_go: bool
) -> None:
    """A restart neither loses good images nor brings back what a person has let go."""
    sections = with_good_images(tmp_path / "good", references)
    box, uninterrupted = boxes.start(**sections), boxes.start(**sections)
    for one in (box, uninterrupted):
        told(one, 1, 25)
        if let_go:
            one.unpin("c1")
    box.windows.keep_all()

    again = boxes.start(**sections)
    after = told(again, 25, FRAMES)

    assert same(after, told(uninterrupted, 25, FRAMES))
    (stream,) = again.windows.streams("c1")
    parts = [stream.window[slot].frame.part for slot in stream.window.pins]
    assert parts == ([] if let_go else ["1.png", "2.png", "P19"])


def test_other_good_images_begin_anew(
    boxes: Boxes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot is of the images that were pinned: others in the folder are not overlooked."""
    sections = with_good_images(tmp_path / "good", "floor")
    box = boxes.start(**sections)
    told(box, 1, 30)
    (tmp_path / "good" / "2.png").unlink()
    box.windows.keep_all()

    seen = boxes.start(**sections).inspect(part(30))

    assert (seen.window_n, [event.detail["parts"] for event in seen.events]) == (0, [["1.png"]])
    assert "camera.good_path is" in caplog.text


def with_good_images(folder: Path, references: str) -> dict[str, Any]:
    """Write two good images, and return the sections of a line that has them."""
    folder.mkdir()
    for seq in (1, 2):
        cv2.imwrite(str(folder / f"{seq}.png"), part(1000 + 9 * seq).pixels)
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1, "good_path": folder}
    return {"camera": [camera], "window": SECTIONS["window"] | {"references": references}}


def test_stream_of_the_test_has_what_a_restart_could_lose(boxes: Boxes) -> None:
    """The frames above show every place, both verdicts, second looks and events."""
    seen = told(boxes.start(), 1, FRAMES)

    assert {"peer", "quarantine", "duplicate"} <= {one["admission"] for one in seen}
    assert {"PASS", "FAIL"} <= {one["verdict"] for one in seen}
    assert any(one["refined"] for one in seen)
    assert {"belt_stopped", "same_defect"} <= {e["kind"] for one in seen for e in one["events"]}


def test_recipe_goes_on_where_it_was_left(boxes: Boxes) -> None:
    """Another recipe begins empty; the first one, chosen again, has its windows and threshold."""
    box, alone = boxes.start(), boxes.start()
    told(box, 1, 40)
    told(alone, 1, 40)

    box.change_recipe("lid")
    lid = box.inspect(part(200))
    box.change_recipe("default")
    again = told(box, 40, 50)

    assert (lid.window_n, lid.recipe) == (0, "lid")
    assert same(again, told(alone, 40, 50))


def test_what_is_emptied_stays_empty(boxes: Boxes) -> None:
    """After a reset neither the box nor one that is started later knows the frames before."""
    box = boxes.start()
    told(box, 1, 30)
    box.windows.keep_all()

    box.reset("c1")

    assert box.inspect(part(30)).window_n == 0
    assert boxes.start().inspect(part(30)).window_n == 0


@pytest.mark.parametrize(
    ("model", "sections", "reason"),
    [
        ("ffffffff", {}, "model is 'ffffffff', the snapshot's 'a89d1abb'"),
        (
            "a89d1abb",
            {"window": {"size_frames": 12, "min_peers": 8}},
            "window.size_frames is 12, the snapshot's 10",
        ),
        ("a89d1abb", {"judge": {"min_scores": 9}}, "judge.min_scores is 9, the snapshot's 8"),
    ],
)
def test_snapshot_of_something_else_is_refused(
    boxes: Boxes,
    caplog: pytest.LogCaptureFixture,
    model: str,
    sections: dict[str, Any],
    reason: str,
) -> None:
    """Another model or setting: windows begin empty, and the log names what differs."""
    box = boxes.start()
    told(box, 1, 30)
    box.windows.keep_all()

    other = boxes.start(model, **sections)

    assert other.inspect(part(30)).window_n == 0
    assert reason in caplog.text


def test_snapshot_of_another_recipe_is_refused(
    boxes: Boxes, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was renamed by hand is not taken for another recipe's."""
    box = boxes.start()
    told(box, 1, 30)
    box.windows.keep_all()
    boxes.path().rename(boxes.path("lid"))

    box.change_recipe("lid")

    assert box.inspect(part(30)).window_n == 0
    assert "recipe is 'lid', the snapshot's 'default'" in caplog.text


def test_frames_of_another_layout_begin_anew(
    boxes: Boxes, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the camera sends another size after a restart, its windows begin empty."""
    box = boxes.start()
    told(box, 1, 30)
    box.windows.keep_all()

    seen = boxes.start().inspect(frame(30, np.full((56, 56), 90, np.uint8)))

    assert (seen.window_n, seen.state) == (0, "WARMING")
    assert "frames are (56, 56)" in caplog.text


def _cut(content: bytes) -> bytes:
    return content[:-100]


def _flipped(place: float) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        at = int(place * (len(content) - 1))
        return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]

    return flip


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": _cut,
    "empty": lambda _content: b"",
    "rubbish": lambda content: os.urandom(len(content)),
    "no snapshot": lambda content: content.replace(b"musc-edge windows 1", b"musc-edge windows 9"),
    "length": lambda content: b"\xff" * 8 + content[8:],
    "header": lambda content: content.replace(b'\\"votes\\": ', b'\\"votes\\": 1', 1),
    "tensor gone": lambda content: content.replace(b"tokens", b"tokenz"),
    "bit at 0.5": _flipped(0.5),
    "last bit": _flipped(1.0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_snapshot_is_refused(
    boxes: Boxes, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """Whatever happened to the file, windows begin empty and the log names it."""
    box = boxes.start()
    told(box, 1, 30)
    box.windows.keep_all()
    content = boxes.path().read_bytes()
    changed = DAMAGES[damage](content)
    boxes.path().write_bytes(changed)

    seen = boxes.start().inspect(part(30))

    assert changed != content
    assert (seen.window_n, seen.state) == (0, "WARMING")
    assert str(boxes.path()) in caplog.text


def test_kill_before_the_rename_leaves_the_old_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is written but not yet renamed changes nothing."""

    class KilledError(BaseException):
        """Stands for the kill."""

    def killed(_path: Path, _target: Path) -> None:
        raise KilledError

    path = tmp_path / "lid.safetensors"
    write_snapshot(path, {}, {"numbers": np.arange(3), "n": 1})
    monkeypatch.setattr(Path, "replace", killed)

    with pytest.raises(KilledError):
        write_snapshot(path, {}, {"numbers": np.arange(4), "n": 2})

    assert path.with_suffix(".part").exists()
    assert read_state(path)["n"] == 1


def test_file_is_what_the_library_writes(tmp_path: Path) -> None:
    """Every kind of number and shape comes back by the library's own reader."""
    path = tmp_path / "lid.safetensors"
    numbers = torch.arange(600_000)
    kinds = {str(kind): numbers.to(kind) for kind in snapshot_file.KINDS}
    shapes = {"none": torch.zeros(0, 3), "one": torch.tensor(1.5), "many": torch.rand(2, 3, 4)}

    write_snapshot(path, {"camera": "lid"}, {**kinds, **shapes})

    read = load_file(path)
    assert read.keys() == kinds.keys() | shapes.keys()
    for name, tensor in (kinds | shapes).items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_failing_write_is_counted_and_no_frame_is_lost(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk the old snapshot stays, inspection goes on, and the next one is written."""
    box = boxes.start()
    told(box, 1, 20)
    box.windows.keep_all()
    before = boxes.path().read_bytes()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.fdatasync", full)
        told(box, 20, 30)
        box.windows.keep_all()
    after = boxes.path().read_bytes()
    seen = told(box, 30, 32)
    box.windows.keep_all()

    assert (boxes.places[-1].failed, boxes.places[-1].written) == (1, 2)
    assert "No space left" in caplog.text
    assert after == before != boxes.path().read_bytes()
    assert len(seen) == 2
    assert not list(boxes.path().parent.glob("*.part"))


def test_windows_are_written_when_it_is_time(boxes: Boxes) -> None:
    """A changed camera is due after its time, where frames wait after twice; a pin hastens."""
    box = boxes.start()
    told(box, 1, 10)
    asked = []
    for seconds, idle in ((0.0, True), (59.0, True), (61.0, False), (61.0, True), (121.0, False)):
        boxes.clock.seconds = seconds
        asked.append(box.windows.due(idle=idle))

    box.windows.keep(idle=True)
    boxes.places[-1].wait()
    unchanged = box.windows.due(idle=True)
    box.pin("c1", BOOT, 5)

    assert asked == [False, False, False, True, True]
    assert boxes.path().exists()
    assert not unchanged
    assert box.windows.due(idle=False)


def test_file_that_cannot_be_read_names_itself(tmp_path: Path) -> None:
    """The error of the border has the path and the reason."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"no tensors")

    with pytest.raises(SnapshotError, match=r"x\.safetensors: damaged"):
        read_state(path)


def test_oldest_recipes_go(tmp_path: Path, boxes: Boxes, caplog: pytest.LogCaptureFixture) -> None:
    """The disk does not fill with recipes: the files used last stay."""
    caplog.set_level(logging.INFO)
    box = boxes.start()
    names = [f"r{number}" for number in range(18)]
    for name in names:
        box.change_recipe(name)
        box.inspect(part(1))
        box.windows.keep_all()
        os.utime(boxes.path(name), (names.index(name), names.index(name)))

    left = {one.stem for one in (tmp_path / "c1").iterdir()}

    assert left == {f"r{number}" for number in range(2, 18)}
