"""A line of real processes and real weights that was recorded replays to what it said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from chaos import ROOT_TOPIC, Ears
from lines import running, write_config
from replay_rig import replayed, rows

from edge.recording import Recording
from edge.sources.folder import decode_image
from pipeline.config_file import load_config
from pipeline.run_identity import run_hash
from pipeline.solar_cells import select_cells, write_cells

if TYPE_CHECKING:
    from lines import RunningLine

pytestmark = [pytest.mark.weights, pytest.mark.timeout(300)]

DROPS = 10
PINS = 20
"""Tries."""
LIMIT_S = 120.0


def command(
    line: RunningLine, ears: Ears, verb: str, *, txn: str = "", **body: object
) -> dict[str, Any]:
    """Give the line a command and wait until it is answered; return the answer."""
    txn = txn or f"t-{verb}"
    payload = json.dumps({"txn": txn, "by": "anna", **body}).encode()
    ears.publish(f"{ROOT_TOPIC}/cmd/{verb}", payload)
    line.until(lambda: any(a["txn"] == txn for a in ears.of("cmd/result")), f"answer to {verb}")
    return next(answer for answer in ears.of("cmd/result") if answer["txn"] == txn)


def pin(line: RunningLine, ears: Ears) -> None:
    """Pin a good frame; one that has left the window before the command came is none."""
    for number in range(PINS):
        good = next(row for row in reversed(line.rows()) if row["admission"] == "peer")
        frame = {"cam": "c1", "boot": good["boot"], "seq": good["seq"]}
        answer = command(line, ears, "pin", txn=f"t-pin-{number}", **frame)
        if answer["ok"]:
            return
        assert answer["code"] == "unknown_frame", answer
    pytest.fail(f"no frame was pinned in {PINS} tries")


def dropped(line: RunningLine) -> int:
    """Return how many frames no scorer took; one that stands still for long counts as gone."""
    results = line.results()
    return results["dropped"] + results["scorer_down"]


def drop(line: RunningLine) -> None:
    """Let the scorer stand still until frames are dropped."""
    scorer, before = line.pids("scoring")[-1], dropped(line)
    os.kill(scorer, signal.SIGSTOP)
    try:
        line.until(lambda: dropped(line) >= before + DROPS, "drops")
    finally:
        os.kill(scorer, signal.SIGCONT)


def more_passes(line: RunningLine, count: int) -> None:
    """Wait for so many more parts that pass."""
    before = line.results()["PASS"]
    line.until(lambda: line.results()["PASS"] >= before + count, f"{count} more PASS")


def musc_edge(*arguments: object) -> str:
    """Run a command to its good end; return what it said."""
    command = [sys.executable, "-W", "error", "-m", "pipeline", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_recorded_line_replays_to_an_equal_hash(
    tmp_path: Path, weights_file: Path, solar_cells_wheel: Path
) -> None:
    """Real frames, two commands, ten drops and a stop: equal in any batch, with any threads."""
    write_cells(select_cells(solar_cells_wheel, frames=40, defect_share=0.1), tmp_path / "cells")
    camera = {"id": "c1", "kind": "folder", "path": "cells", "loop": True, "interval_ms": 100}
    config = write_config(
        tmp_path,
        weights_file,
        camera=[camera],
        transport={"policy": "drop_oldest", "queue_frames": 2},
    )
    with running(config, "--record", str(tmp_path / "rec")) as line:
        line.until(lambda: line.results()["PASS"] > 0, "PASS")
        ears = Ears(line.settings.mqtt.port, "3.1.1")
        line.until(lambda: bool(ears.heard), "a word from the broker")
        pin(line, ears)
        more_passes(line, 4)
        drop(line)
        more_passes(line, 4)
        command(line, ears, "reset")
        more_passes(line, 4)
        ears.close()
        assert line.stop() == 0, line.text()
    live = line.settings.ledger.path

    first = replayed(tmp_path / "rec", tmp_path / "first.db")
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    settings = load_config(config)
    musc = settings.musc.model_copy(update={"batch_frames": 5})
    other = replayed(
        tmp_path / "rec", tmp_path / "other.db", settings.model_copy(update={"musc": musc})
    )
    torch.set_num_threads(threads)

    assert dropped(line) >= DROPS
    assert {row["kind"] for row in rows(first, "events")} >= {"pin", "reset"}
    assert [run_hash(first), run_hash(other)] == [run_hash(live)] * 2


def test_jpeg_files_of_a_line_replay_to_an_equal_hash(
    tmp_path: Path, weights_file: Path, solar_cells_wheel: Path
) -> None:
    """A live line keeps its camera's own files, and their replay says what the line said."""
    cells = write_cells(select_cells(solar_cells_wheel, frames=40, defect_share=0.1), tmp_path)
    (tmp_path / "jpegs").mkdir()
    for cell in cells:
        picture = decode_image(cell.read_bytes())
        assert cv2.imwrite(str(tmp_path / "jpegs" / f"{cell.stem}.jpg"), picture)
    camera = {"id": "c1", "kind": "folder", "path": "jpegs"}
    config = write_config(tmp_path, weights_file, camera=[camera])
    with running(config, "--record", str(tmp_path / "rec")) as line:
        assert line.wait() == 0, line.text()

    frames = Recording(tmp_path / "rec").frames("c1")
    assert len(frames) == len(cells)
    for frame in frames:
        assert frame.stored is not None
        kept = (tmp_path / "rec" / "c1" / frame.stored.file).read_bytes()
        assert kept == (tmp_path / "jpegs" / frame.stored.announcement.origin).read_bytes()
    again = replayed(tmp_path / "rec", tmp_path / "again.db")
    assert run_hash(again) == run_hash(line.settings.ledger.path)
    assert {row["verdict"] for row in rows(again)} >= {"PASS"}


def test_kept_images_are_exported_bit_by_bit(
    tmp_path: Path, weights_file: Path, solar_cells_wheel: Path
) -> None:
    """What a line kept of the frames that it judged is a recording of their pixels, replayed."""
    write_cells(select_cells(solar_cells_wheel, frames=40, defect_share=0.1), tmp_path / "cells")
    camera = {"id": "c1", "kind": "folder", "path": "cells"}
    config = write_config(tmp_path, weights_file, camera=[camera], evidence={"keep": "all"})
    with running(config) as line:
        assert line.wait() == 0, line.text()
    judged = [row for row in line.rows() if row["verdict"] != "NO_RESULT"]

    done = musc_edge("verdicts", "--config", config, "--export", tmp_path / "out", "--json")

    told = json.loads(done.splitlines()[-1])
    counts = (told["frames"], told["not_kept"], told["gone"], told["damaged"])
    assert counts == (len(judged), 40 - len(judged), 0, 0)
    frames = Recording(tmp_path / "out").frames("c1")
    for frame, row in zip(frames, judged, strict=True):
        assert frame.key.seq == row["seq"]
        pixels = decode_image((tmp_path / "cells" / row["origin"]).read_bytes())
        assert np.array_equal(frame.load().pixels, pixels)
    again = rows(replayed(tmp_path / "out", tmp_path / "again.db"))
    assert [row["part_id"] for row in again] == [row["part_id"] for row in judged]
    assert again[-1]["verdict"] in {"PASS", "FAIL"}


def test_recordings_at_once_replay_to_equal_hashes(tmp_path: Path, weights_file: Path) -> None:
    """Two recordings in two processes have the ledgers that each has alone."""
    belts = [
        {"id": name, "kind": "synthetic", "seed": number, "frames": 30, "interval_ms": 10}
        for number, name in enumerate(("left", "right"))
    ]
    config = write_config(tmp_path, weights_file, camera=belts, transport={"policy": "wait"})
    sources = []
    for belt in belts:
        sources.append(str(tmp_path / f"rec-{belt['id']}"))
        musc_edge("record", "--config", config, "--camera", belt["id"], "--out", sources[-1])

    done = musc_edge("replay", *sources, "--jobs", 2, "--ledger", tmp_path / "out", "--json")

    told = json.loads(done.splitlines()[-1])
    assert list(told) == sources
    for number, source in enumerate(sources):
        alone = replayed(Path(source), tmp_path / f"{number}.db")
        ledger = tmp_path / "out" / f"{Path(source).name}.db"
        assert told[source]["hash"] == run_hash(ledger) == run_hash(alone)
        assert told[source]["pass"] > 0


def test_features_in_files_are_those_of_real_weights(
    tmp_path: Path, weights_file: Path, solar_cells_wheel: Path
) -> None:
    """Replay and search of real frames end with equal hashes, and ask the network once a frame."""
    write_cells(select_cells(solar_cells_wheel, frames=40, defect_share=0.1), tmp_path / "cells")
    camera = {"id": "c1", "kind": "folder", "path": "cells"}
    config = write_config(tmp_path, weights_file, camera=[camera])
    given = [tmp_path / "cells", "--config", config, "--json"]
    kept = ["--features", tmp_path / "features"]

    plain, cold, warm = (
        json.loads(musc_edge("replay", *given, *more).splitlines()[-1]) for more in ([], kept, kept)
    )
    study = ["--study", tmp_path / "t.db", "--vary", "window.size_frames=10,12", "--trials", 2]
    tuned = musc_edge("tune", *given, *kept, *study, "--searched", 1.0, "--goal", "rejects")

    assert plain["hash"] == cold["hash"] == warm["hash"]
    assert plain["no_result"] < 40
    size = cold["features"]["folder_bytes"]
    assert size > 40 * 4 * 16 * 384 * 4
    assert cold["features"] == {"from_folder": 0, "computed": 40, "folder_bytes": size}
    assert warm["features"] == {"from_folder": 40, "computed": 0, "folder_bytes": size}
    *_, said, last = tuned.splitlines()
    assert said == f"features: 40 from the folder, 0 computed; it has {size / 1e6:.1f} MB"
    assert json.loads(last)["features"] == warm["features"]


def test_folder_replays_to_what_a_line_says_of_it(
    tmp_path: Path, weights_file: Path, solar_cells_wheel: Path
) -> None:
    """The command gives a folder the results that a line with this camera has given it."""
    cells = select_cells(solar_cells_wheel, frames=40, defect_share=0.1)
    paths = write_cells(cells, tmp_path / "cells")
    rows_of = (f"{path.name},{cell.label}\n" for path, cell in zip(paths, cells, strict=True))
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(rows_of))
    camera = {"id": "c1", "kind": "folder", "path": "cells"}
    config = write_config(tmp_path, weights_file, camera=[camera])
    with running(config) as line:
        assert line.wait() == 0, line.text()

    arguments = ["--config", str(config), "--labels", str(tmp_path / "labels.csv"), "--json"]
    live = line.settings.ledger.path
    done = musc_edge("replay", tmp_path / "cells", *arguments, "--diff", live)

    told = json.loads(done.splitlines()[-1])
    assert told["hash"] == run_hash(live)
    assert told["diff"] == {"same": 40, "differ": 0, "only_old": 0, "only_new": 0}
    assert told["pass"] + told["fail"] == told["n"] > 0
