"""Good images are pinned before a camera's first frame is scored, or nothing is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from factories import BOOT, FakeBackbone, config, frame

from musc.backbone import Features
from musc.few_shot import few_shot_scores
from musc.lnamd import aggregate
from musc.preprocess import to_batch
from pipeline.inspector import Inspector

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from edge.frame import Frame
    from pipeline.inspection import Inspection

NAMES = ["a.png", "b.png", "c.png"]


def picture(seed: int, width: int = 28) -> np.ndarray:
    """Return a noisy part."""
    rng = np.random.default_rng(seed)
    base = np.tile(np.arange(width, dtype=np.float64) * 4 + 40, (28, 1))
    return (base + rng.normal(0, 2, (28, width))).clip(0, 255).astype(np.uint8)


def put(folder: Path, *names: str, width: int = 28) -> Path:
    """Write good images, each of the part that its first letter stands for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), picture(ord(name[0]), width))
    return folder


def line(folder: Path, camera: dict[str, Any] | None = None, **window: Any) -> Inspector:
    """Return an inspector whose camera has good images."""
    one = {"id": "c1", "kind": "synthetic", "interval_ms": 1, "good_path": folder}
    settings = config(
        camera=[one | (camera or {})],
        window={"size_frames": 10, "min_peers": 2} | window,
        judge={"min_scores": 8},
    )
    return Inspector(settings, FakeBackbone(), "a89d1abb", timer=lambda: 0.0)


def part(seq: int) -> Frame:
    """Return a frame of a part."""
    return frame(seq, picture(seq))


def tokens(*pictures: np.ndarray) -> Tensor:
    """Return the aggregated tokens of pictures, as the line has them."""
    batch = to_batch(pictures, image_size=28, mean=(0, 0, 0), std=(1, 1, 1), pixel_format="mono")
    return aggregate(FakeBackbone().extract(batch).tokens)


def pinned(box: Inspector) -> list[list[str]]:
    """Return what each region has pinned, by name."""
    windows = [stream.window for stream in box.windows.streams("c1")]
    return [[window[slot].frame.part for slot in window.pins] for window in windows]


def told(seen: Inspection) -> list[tuple[str, Any]]:
    """Return the events of pins."""
    return [(event.kind, event.detail.get("parts")) for event in seen.events]


def test_first_frame_is_scored_against_them(tmp_path: Path) -> None:
    """Pins that vote make the first frame's score that of few-shot MuSc over all of them."""
    box = line(put(tmp_path, *NAMES), references="vote")

    seen = box.inspect(part(1))

    known = tokens(*(picture(ord(name[0])) for name in NAMES))
    twin = few_shot_scores(tokens(picture(1)), known, interpolate=True)[0]
    assert seen.patch_scores is not None
    np.testing.assert_allclose(seen.patch_scores.ravel(), twin, atol=1e-4)
    assert (seen.window_n, told(seen)) == (3, [("pinned", NAMES)])
    assert pinned(box) == [NAMES]


def test_as_a_floor_they_do_not_shorten_the_warming(tmp_path: Path) -> None:
    """The first frame has no peer, and the pins are told of once."""
    box = line(put(tmp_path, *NAMES))

    first, second = box.inspect(part(1)), box.inspect(part(2))

    assert (first.window_n, second.window_n) == (0, 1)
    assert (told(first), told(second)) == ([("pinned", NAMES)], [])
    assert pinned(box) == [NAMES]


def test_each_region_has_its_own_part_of_them(tmp_path: Path) -> None:
    """They are cut as frames are: a frame that is a good image is one in every region."""
    box = line(put(tmp_path, "a.png"), {"columns": 2, "overlap_patches": 1})

    box.inspect(frame(1, picture(ord("a"))))

    assert pinned(box) == [["a.png"], ["a.png"]]
    for stream in box.windows.streams("c1"):
        (own,), (pin,) = stream.window.peers, stream.window.pins
        distances = stream.window.window.squared_distances_to(own, [pin])
        assert float(distances.max()) < 1e-5


def test_camera_that_sends_something_else_has_no_result(tmp_path: Path) -> None:
    """Each of its frames says so; one that is like the images begins the windows."""
    box = line(put(tmp_path, *NAMES, width=30))

    odd = [box.inspect(part(seq)) for seq in (1, 2)]
    like = box.inspect(frame(3, picture(3, width=30)))

    assert {(one.verdict, one.why, one.admitted) for one in odd} == {
        ("NO_RESULT", "corrupt", False)
    }
    assert "good image a.png is (28, 30) uint8, not (28, 28) uint8" in odd[1].detail
    assert (like.why, pinned(box)) == ("warming", [NAMES])


def test_folder_that_went_away_holds_the_camera(tmp_path: Path) -> None:
    """Without the references nothing is scored until they can be read again."""
    box = line(tmp_path / "share")

    away = [box.inspect(part(1))]
    box.change_recipe("lid")
    away.append(box.inspect(part(2)))
    put(tmp_path / "share" / "lid", *NAMES)
    back = box.inspect(part(3))

    assert {(one.verdict, one.why) for one in away} == {("NO_RESULT", "corrupt")}
    assert f"good_path {tmp_path / 'share'}: No such file" in away[0].detail
    assert (back.why, pinned(box)) == ("warming", [NAMES])


def test_tokens_that_are_no_numbers_hold_the_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good image that cannot be compared is named, and no frame is scored without it."""
    box = line(put(tmp_path, *NAMES))
    extract = FakeBackbone.extract

    def broken(self: FakeBackbone, batch: Tensor) -> Any:
        features = extract(self, batch)
        return Features(features.tokens * float("nan"), features.image_features)

    first = box._extraction.features(box._looked([part(1)]))[0][0]
    monkeypatch.setattr(FakeBackbone, "extract", broken)
    seen = box._inspect(part(1), first, 0.0)

    assert (seen.verdict, seen.why) == ("NO_RESULT", "not_finite")
    assert "good image a.png" in seen.detail


def test_reset_pins_what_the_folder_holds_then(tmp_path: Path) -> None:
    """Windows that begin anew have the images of now; what a person let go is back."""
    box = line(put(tmp_path, *NAMES))
    box.inspect(part(1))

    let_go = box.unpin("c1")
    without = [told(box.inspect(part(2))), *pinned(box)]
    (tmp_path / "b.png").unlink()
    box.reset("c1")
    again = box.inspect(part(3))

    assert (let_go, without) == (3, [[], []])
    assert told(again) == [("pinned", ["a.png", "c.png"])]


def test_each_recipe_has_its_own(tmp_path: Path) -> None:
    """Another recipe never gets the images of the first; without its own the ledger is told."""
    box = line(put(tmp_path, *NAMES))
    put(tmp_path / "lid", "d.png")
    seen = [told(box.inspect(part(1)))]

    for number, recipe in enumerate(("lid", "cup", "default"), 2):
        box.change_recipe(recipe)
        seen.append(told(box.inspect(part(number))))

    assert seen == [
        [("pinned", NAMES)],
        [("pinned", ["d.png"])],
        [("no_good_images", None)],
        [("pinned", NAMES)],
    ]


def test_release_keeps_them(tmp_path: Path) -> None:
    """An order lets go of what it names: what was kept apart gets the vote, pins stay."""
    box = line(put(tmp_path, *NAMES))
    box.inspect(part(1))

    box.release("c1")

    assert pinned(box) == [NAMES]


def test_they_take_the_room_of_others(tmp_path: Path) -> None:
    """What a person pins goes beside them, as far as window.pins_frames reaches."""
    box = line(put(tmp_path, *NAMES))
    for seq in (1, 2):
        box.inspect(part(seq))

    answers = [box.pin("c1", BOOT, seq) for seq in (1, 2)]

    assert answers == ["done", "pins_full"]
    assert pinned(box) == [[*NAMES, "P1"]]


def test_second_looks_leave_them_alone(tmp_path: Path) -> None:
    """They have no result that could be contradicted; what they are held for goes on."""
    box = line(put(tmp_path, *NAMES), references="vote")

    seen = [box.inspect(part(seq)) for seq in range(1, 41)]

    assert any(one.refined for one in seen)
    assert {refined.boot for one in seen for refined in one.refined} == {BOOT}
    assert pinned(box) == [NAMES]
