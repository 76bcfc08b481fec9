"""Two Basler cameras on a real line, some of whose buffers fail: each picture has one result.

The cameras are pylon's emulated ones: the driver is real, the sensor is not.
``--camera-s 60`` for longer.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from lines import write_config
from staged_line import StagedLine, staged_line

from pipeline.queries import audit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(0)

CAMERAS = {"c1": "0815-0000", "c2": "0815-0001"}
FPS = 10
SHORT_S = 8.0
FAIL_EVERY, FAIL_BUFFERS = 13, 2
ROI_PX = [100, 0, 64, 48]
"""Where the emulator's moving test image becomes brighter than the stand-in scorer lets pass."""


def line_config(folder: Path, port: int) -> Path:
    """Write a line of two emulated cameras that run by their own clock."""
    common = {"kind": "basler", "fps": FPS, "roi_px": ROI_PX, "interval_ms": 20}
    return write_config(
        folder,
        None,
        camera=[{"id": name, "serial": serial, **common} for name, serial in CAMERAS.items()],
        part={"deadline_ms": 5000, "views": ["c1"]},
        mqtt={"port": port, "protocol": "5", "embedded": False},
        transport={"policy": "drop_oldest"},
        window={"min_peers": 4, "size_frames": 12},
    )


def run_for(line: StagedLine, seconds: float) -> None:
    """Let each camera take as many pictures as it takes in this time."""
    for frames in range(FPS, int(seconds * FPS) + 1, FPS):
        line.until(
            lambda frames=frames: all(line.counted(name) >= frames for name in CAMERAS),  # type: ignore[misc]
            f"{frames} pictures of each camera",
        )


def check_account(line: StagedLine, camera: str, delivered: Counter[str]) -> Counter[str]:
    """All that ingest counted has a result; what failed is corrupt, and was never scored."""
    rows = [row for row in line.rows() if row["camera"] == camera]
    corrupt = [row for row in rows if row["reason"] == "corrupt"]
    scored = keys_of(line.config.with_name("scored.csv").read_text())
    verdicts = Counter(row["verdict"] for row in rows)

    assert line.counted(camera) == len(rows) == verdicts.total()
    assert set(verdicts) == {"PASS", "FAIL", "NO_RESULT"}
    assert {row["detail"] for row in corrupt} == {
        "buffer failed: 0x0 The buffer was incompletely grabbed."
    }
    assert not {key_of(row) for row in corrupt} & scored
    assert {key_of(row) for row in rows if row["verdict"] in {"PASS", "FAIL"}} <= scored
    # Of a camera that runs freely, a picture that ingest was too busy for is overtaken by the next.
    overtaken = delivered.total() - len(rows)
    assert 0 <= delivered["failed"] - len(corrupt) <= overtaken
    return Counter(r["reason"] if r["verdict"] == "NO_RESULT" else r["verdict"] for r in rows)


def key_of(row: dict[str, Any]) -> tuple[str, str, int]:
    """Return what makes a frame unique."""
    return row["camera"], row["boot"], row["seq"]


def keys_of(scored: str) -> set[tuple[str, str, int]]:
    """Return the frames in the log of the stand-in scorer."""
    fields = [line.split(",") for line in scored.splitlines()]
    return {(camera, boot, int(seq)) for camera, boot, seq, _ in fields}


def test_failed_buffers_are_corrupt(
    tmp_path: Path, mosquitto_port: int, request: pytest.FixtureRequest
) -> None:
    """For each camera, captured = pass + fail + no_result, and a failed buffer is `corrupt`."""
    config = line_config(tmp_path, mosquitto_port)
    files = {f"DELIVERED_{name}": str(tmp_path / f"{name}.txt") for name in CAMERAS}

    with staged_line(
        config,
        ingest="failing_buffer_stage",
        PYLON_CAMEMU=str(len(CAMERAS)),
        FAIL_EVERY=str(FAIL_EVERY),
        FAIL_BUFFERS=str(FAIL_BUFFERS),
        **files,
    ) as line:
        run_for(line, request.config.getoption("--camera-s") or SHORT_S)

    counters = {name: line.settings.counter_path(name) for name in CAMERAS}
    for account in audit(line.settings.ledger.path, counters, line.settings.part.deadline_ms):
        assert account["balanced"], account
    for name in CAMERAS:
        delivered = Counter((tmp_path / f"{name}.txt").read_text().split())
        assert delivered["failed"] >= FAIL_BUFFERS * (delivered.total() // FAIL_EVERY - 1)
        results = check_account(line, name, delivered)
        print(f"\n{name}: delivered {dict(delivered)}, results {dict(results)}")  # noqa: T201 - the figures
