"""Software triggers through a real line: each told part has its one result, seen or not.

Basler's emulated cameras speak the real driver; some of their triggers are
swallowed on purpose.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from chaos import ROOT_TOPIC, Ears
from lines import write_config
from staged_line import StagedLine, staged_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)


def line_config(folder: Path, port: int, cameras: list[str]) -> Path:
    """Write a line of emulated cameras that are triggered by message."""
    camera = [
        {
            "id": name,
            "kind": "basler",
            "serial": f"0815-000{number}",
            "trigger": "software",
            "part_id": "message",
            "stale_frames": 0,  # the emulator's test image stands still
        }
        for number, name in enumerate(cameras)
    ]
    return write_config(
        folder,
        None,
        camera=camera,
        part={"deadline_ms": 3000},
        mqtt={"port": port, "protocol": "5", "embedded": False},
        transport={"policy": "drop_oldest"},
        window={"min_peers": 1, "size_frames": 12},
    )


def tell(ears: Ears, part: str, **fields: Any) -> None:
    """Tell a part, as a PLC would."""
    body = {"txn": part, "by": "plc", "part": part, **fields}
    ears.publish(f"{ROOT_TOPIC}/cmd/part", json.dumps(body).encode())


def tell_parts(
    line: StagedLine, ears: Ears, count: int, swallowed: Mapping[str, Collection[int]]
) -> list[str]:
    """Tell parts one after the other; return their ids.

    A camera that is triggered again before its picture has come misses the trigger, so
    each part waits for the pictures of the one before, but those that are swallowed.
    """
    line.until(
        lambda: all(
            ears.retained.get(f"camera/{camera.id}/status") == b"ONLINE"
            for camera in line.settings.camera
        ),
        "cameras",
    )
    line.until(lambda: line._supervisor.stages[1].ready, "the scorer")
    told = [f"A-{number:03d}" for number in range(1, count + 1)]
    for number, part in enumerate(told, start=1):
        tell(ears, part)
        seen = {(c.id, part) for c in line.settings.camera if number not in swallowed.get(c.id, ())}
        line.until(
            lambda: seen <= {(row["camera"], row["part_id"]) for row in line.rows()},  # noqa: B023 - runs now
            f"pictures of {part}",
        )
    return told


def test_swallowed_triggers_are_missed(tmp_path: Path, mosquitto_port: int) -> None:
    """Five triggers that yield no picture are five NO_RESULT `missed_trigger`, under their ids."""
    config = line_config(tmp_path, mosquitto_port, ["c1"])
    swallowed = (4, 9, 10, 17, 20)
    ears = Ears(mosquitto_port)

    with staged_line(
        config,
        ingest="trigger_stage",
        PYLON_CAMEMU="2",
        SWALLOW_c1=",".join(map(str, swallowed)),
    ) as line:
        told = tell_parts(line, ears, 20, {"c1": swallowed})
        line.until(lambda: len(line.rows("parts")) == len(told), "a verdict for each part")
    ears.close()

    rows = {row["part_id"]: row for row in line.rows()}
    missed = sorted(part for part, row in rows.items() if row["reason"] == "missed_trigger")
    assert missed == [f"A-{number:03d}" for number in swallowed]
    assert {rows[part]["verdict"] for part in missed} == {"NO_RESULT"}
    assert sorted(rows) == told
    assert line.audit()["balanced"], line.audit()
    parts = {row["part_id"]: row["reason"] for row in line.rows("parts")}
    assert Counter(parts.values())["missed_trigger"] == len(swallowed)
    scored = (tmp_path / "scored.csv").read_text().splitlines()
    assert len(scored) == len(told) - len(swallowed), "what has no picture is never scored"


def test_one_of_two_views_is_missing(tmp_path: Path, mosquitto_port: int) -> None:
    """Where one of two cameras yields no picture, that part alone is `missing_view`."""
    config = line_config(tmp_path, mosquitto_port, ["c1", "c2"])
    ears = Ears(mosquitto_port)

    with staged_line(config, ingest="trigger_stage", PYLON_CAMEMU="2", SWALLOW_c2="5") as line:
        told = tell_parts(line, ears, 8, {"c2": [5]})
        line.until(lambda: len(line.rows("parts")) == len(told), "a verdict for each part")
    ears.close()

    parts = {row["part_id"]: row for row in line.rows("parts")}
    short = {part: row for part, row in parts.items() if row["reason"] == "missing_view"}
    assert list(short) == ["A-005"]
    assert (short["A-005"]["verdict"], short["A-005"]["seen"], short["A-005"]["views"]) == (
        "NO_RESULT", 1, 2,
    )  # fmt: skip
    frames = {(row["camera"], row["part_id"]): row["reason"] for row in line.rows()}
    assert frames["c2", "A-005"] == "missed_trigger"
    assert len(frames) == 2 * len(told)
