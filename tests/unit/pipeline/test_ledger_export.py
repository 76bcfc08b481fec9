"""What a ledger and its images still know is a recording, whole or not at all."""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tomli_w
from factories import START, announcement
from replay_rig import SETTINGS, fake_scorer, replayed, rows, write_parts
from sqlite_utils import Database
from typer.testing import CliRunner

from edge.errors import LineError
from edge.frame import Frame
from edge.recording import Recording
from edge.recording_files import load_frame
from pipeline import ledger_export as module
from pipeline.cli import app
from pipeline.config_file import load_config
from pipeline.evidence import EvidenceStore
from pipeline.evidence_encoder import encoded
from pipeline.replay import open_source
from pipeline.replay_sources import Seen
from pipeline.reviews import add_review
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

PARTS, DEFECTS = 24, (18, 20)


class Kept:
    """A ledger of a folder of parts, its images, and the config that it was made with."""

    def __init__(self, folder: Path) -> None:
        """Judge the parts, and keep no image."""
        self.config = folder / "config.toml"
        camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
        other = {"id": "c2", "kind": "synthetic", "interval_ms": 1}
        self.config.write_text(tomli_w.dumps({"camera": [camera], **SETTINGS}))
        self.settings = load_config(self.config)
        self.images = write_parts(folder / "images", PARTS, DEFECTS)
        self.ledger = replayed(self.images, folder / "ledger.db", self.settings)
        self.store = EvidenceStore(folder / "evidence", 10_000_000)
        self.out = folder / "out"
        self.config.write_text(tomli_w.dumps({"camera": [camera, other], **SETTINGS}))

    def keep(self, *seqs: int) -> None:
        """Keep the images of these frames."""
        steps = open_source(self.images, self.settings).steps()
        frames = [step.frame for step in steps if isinstance(step, Seen)]
        with closing(Database(self.ledger)) as db:
            for seq in seqs:
                key = frames[seq - 1].key
                path = self.store.write(key, encoded(frames[seq - 1]), None)
                db.execute(
                    "update verdicts set evidence = ? where camera = ? and boot = ? and seq = ?",
                    [path, key.camera, key.boot, key.seq],
                )
            db.conn.commit()

    def image(self, seq: int) -> Path:
        """Return where the image of a frame lies."""
        (path,) = self.config.with_name("evidence").rglob(f"{seq}.png")
        return path

    def export(self, *options: str) -> Result:
        """Export on the command line, with one object at the end."""
        given = ["--config", str(self.config), "--export", str(self.out), "--json", *options]
        return CliRunner().invoke(app, ["verdicts", *given])


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """A ledger of 24 parts, two of them defective, none of whose images was kept."""
    fake_scorer(monkeypatch)
    return Kept(tmp_path)


def seqs(folder: Path) -> list[int]:
    """Return the frames of a recording."""
    return [one.key.seq for one in Recording(folder).frames("c1")]


def test_all_images_replay_to_an_equal_hash(kept: Kept, tmp_path: Path) -> None:
    """Where every image was kept the export says the same as the line; nothing is missing."""
    kept.keep(*range(1, PARTS + 1))

    done = kept.export()

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "recording": str(kept.out), "frames": PARTS, "labels": 0, "not_kept": 0, "gone": 0,
        "damaged": 0,
    }  # fmt: skip
    source = open_source(kept.out, None)
    assert source.warnings == []
    assert [camera.id for camera in source.config.camera] == ["c1"]
    assert run_hash(replayed(kept.out, tmp_path / "again.db")) == run_hash(kept.ledger)
    assert not (kept.out / "labels.csv").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_slice_has_the_frames_that_verdicts_shows(kept: Kept) -> None:
    """Filters are those of the table, and without a limit there is none; gaps are no problem."""
    kept.keep(*range(1, PARTS + 1))

    kept.export("--verdict", "FAIL")
    failed = seqs(kept.out)
    kept.out = kept.out.with_name("latest")
    kept.export("--limit", "3")

    assert failed == [row["seq"] for row in rows(kept.ledger) if row["verdict"] == "FAIL"]
    assert set(failed) >= set(DEFECTS)
    assert seqs(kept.out) == [PARTS - 2, PARTS - 1, PARTS]
    assert Recording(kept.out).problems == []


def test_what_is_missing_is_counted(kept: Kept) -> None:
    """Frames without an image, images that are gone, and images that are not whole."""
    kept.keep(1, 2, 3, 4)
    kept.image(2).unlink()
    os.truncate(kept.image(3), 40)

    told = json.loads(kept.export().stdout.splitlines()[-1])

    counts = {name: told[name] for name in ("frames", "not_kept", "gone", "damaged")}
    assert counts == {"frames": 2, "not_kept": PARTS - 4, "gone": 1, "damaged": 1}
    assert seqs(kept.out) == [1, 4]


def test_reviews_become_labels(kept: Kept) -> None:
    """The latest review of each exported part is its label, as replay takes it."""
    kept.keep(*range(1, 21))
    for number, label in ((20, "good"), (20, "defect"), (19, "good"), (22, "defect")):
        add_review(kept.ledger, str(number), label, "anna", "", START)  # type: ignore[arg-type] - one of two

    told = json.loads(kept.export().stdout.splitlines()[-1])

    table = kept.out / "labels.csv"
    assert told["labels"] == 2
    assert table.read_text().splitlines() == ["part,label", "19,0", "20,1"]
    done = CliRunner().invoke(app, ["replay", str(kept.out), "--labels", str(table), "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["n"], figures["auroc"], figures["recall"]) == (2, 1.0, 1.0)


def test_nothing_kept_is_an_error(kept: Kept) -> None:
    """A recording without a frame is not written; the message says why there is none."""
    kept.keep(1)
    kept.image(1).unlink()

    done = kept.export()

    assert isinstance(done.exception, LineError)
    assert "no image of the 24 chosen frames" in str(done.exception)
    assert "of 23 none was kept, 1 are not there any more" in str(done.exception)
    assert not kept.out.exists()


def test_folder_in_use_is_refused(kept: Kept) -> None:
    """What is there is not mixed with an export; an empty folder is taken."""
    kept.keep(1)
    kept.out.mkdir()
    (kept.out / "notes.txt").write_text("mine")

    refused = kept.export()
    (kept.out / "notes.txt").unlink()
    taken = kept.export()

    assert isinstance(refused.exception, LineError)
    assert "not empty" in str(refused.exception)
    assert taken.exit_code == 0, taken.output
    assert seqs(kept.out) == [1]


def test_failure_leaves_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A disk that is full in the middle leaves neither the folder nor its beginning."""
    kept.keep(1, 2)
    before = {path.name for path in tmp_path.iterdir()}

    def full(_folder: Path, _head: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_head", full)

    done = kept.export()

    assert isinstance(done.exception, LineError)
    assert "out: No space left on device" in str(done.exception)
    left = {path.name for path in tmp_path.iterdir()} - before
    assert {name for name in left if not name.startswith("ledger.db-")} == set()


def test_camera_that_the_config_lacks_is_named(kept: Kept) -> None:
    """Without the settings of a camera its frames cannot be replayed."""
    kept.keep(1)
    camera = {"id": "c9", "kind": "synthetic", "interval_ms": 1}
    kept.config.write_text(tomli_w.dumps({"camera": [camera]}))

    done = kept.export()

    assert isinstance(done.exception, LineError)
    assert done.exception.exit_code == 2
    assert "camera 'c1': not in the config; there are c9" in str(done.exception)


def test_only_one_question_at_a_time(kept: Kept) -> None:
    """An export is no audit."""
    done = kept.export("--hash")

    assert done.exit_code == 2
    assert "give one of them" in done.output


@pytest.mark.parametrize(
    ("pixels", "pixel_format", "depth", "want"),
    [
        (np.arange(64, dtype=np.uint8).reshape(8, 8), "mono", 8, ("mono", 8, 0)),
        (np.arange(64, dtype=np.uint16).reshape(8, 8), "mono", 12, ("mono", 16, 4)),
        (np.arange(192, dtype=np.uint8).reshape(8, 8, 3), "bgr", 8, ("bgr", 8, 0)),
        (np.arange(192, dtype=np.uint8).reshape(8, 8, 3), "rgb", 8, ("bgr", 8, 0)),
    ],
)
def test_pixels_come_back(
    tmp_path: Path, pixels: Any, pixel_format: Any, depth: int, want: tuple[str, int, int]
) -> None:
    """Every value survives, of 9 to 15 bits moved up to 16; red stays red."""
    seen = Frame(announcement(1), pixels, pixel_format, depth)
    path = tmp_path / "1.png"
    path.write_bytes(encoded(seen))

    stored = module._copy(announcement(1), path, tmp_path / "c1", (30, 20))

    assert stored is not None
    loaded = load_frame(tmp_path / "c1", stored)
    plain = pixels[..., ::-1] if pixel_format == "rgb" else pixels
    assert (loaded.pixel_format, loaded.bit_depth) == want[:2]
    assert np.array_equal(loaded.pixels, plain << want[2])
    assert loaded.offset_px == (30, 20)
