"""The whole way of a frame, through real processes, ZeroMQ, SQLite and a broker."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from brokers import wait_until
from jsonschema import Draft202012Validator
from lines import Listener, running, write_config

SCHEMAS = Path(__file__).parents[2] / "deploy" / "contract"

pytestmark = [pytest.mark.weights, pytest.mark.timeout(300)]


def validator(name: str) -> Draft202012Validator:
    """Return the validator of a shipped schema."""
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def states(listener: Listener) -> list[str]:
    """Return the states that were said, in order."""
    return [json.loads(payload)["state"] for payload in listener.payloads("status")]


def hear_all(listener: Listener) -> None:
    """Wait for the last word of a line that has ended, and listen no more."""
    wait_until(lambda: "STOPPED" in states(listener))
    listener.close()


def test_every_frame_reaches_ledger_and_broker(
    tmp_path: Path, weights_file: Path, mosquitto_port: int
) -> None:
    """Count = rows = verdict messages, each valid; one plc message a part; STOPPED at the end."""
    mqtt = {"port": mosquitto_port, "protocol": "5", "embedded": False}
    config = write_config(tmp_path, weights_file, mqtt=mqtt)
    listener = Listener(mosquitto_port, "5")
    listener.connect()

    with running(config) as line:
        code = line.wait()

    assert code == 0, line.text()
    hear_all(listener)
    rows = line.rows()
    verdicts = [json.loads(payload) for payload in listener.payloads("verdict")]
    parts = [json.loads(payload) for payload in listener.payloads("part")]
    plc = [payload.decode("ascii").split(";") for payload in listener.payloads("plc")]
    assert line.audit()["counted"] == len(rows) == len(verdicts) == len(parts) == len(plc) == 40
    assert line.audit()["balanced"]
    for name, messages in {"verdict": verdicts, "part": parts}.items():
        for message in messages:
            validator(name).validate(message)
    by_part = {row["part_id"]: row for row in rows}
    assert {(m["part"], m["verdict"]) for m in verdicts} == {
        (part, row["verdict"]) for part, row in by_part.items()
    }
    assert [int(fields[1]) for fields in plc] == list(range(1, 41))
    assert {fields[2]: int(fields[3]) for fields in plc} == {
        p: r["code"] for p, r in by_part.items()
    }
    counts = Counter(row["verdict"] for row in rows)
    assert counts["PASS"] > 0
    assert counts["FAIL"] > 0
    assert {row["reason"] for row in rows if row["verdict"] == "NO_RESULT"} == {"warming"}
    said = states(listener)
    assert {"WARMING", "READY"} <= set(said)
    assert said[-1] == "STOPPED"
    assert "FAULT" not in said[said.index("READY") :], "an ordered stop is no fault"
    assert listener.payloads("heartbeat")


def test_failed_frames_leave_evidence(
    tmp_path: Path, weights_file: Path, mosquitto_port: int
) -> None:
    """Each FAIL has an image, an overlay, a heatmap row and a published PNG."""
    mqtt = {"port": mosquitto_port, "embedded": False}
    config = write_config(tmp_path, weights_file, mqtt=mqtt)
    listener = Listener(mosquitto_port)
    listener.connect()

    with running(config) as line:
        assert line.wait() == 0, line.text()

    hear_all(listener)
    failed = [row for row in line.rows() if row["verdict"] == "FAIL"]
    grids = {row["seq"]: row for row in line.rows("heatmaps")}
    assert failed
    for row in failed:
        image = cv2.imread(str(tmp_path / "evidence" / row["evidence"]))
        overlay = (tmp_path / "evidence" / row["evidence"]).with_suffix(".heatmap.png")
        assert image is not None
        assert overlay.read_bytes() in listener.payloads("heatmap")
        assert grids[row["seq"]]["rows"] == 4
    assert len(listener.payloads("heatmap")) == len(failed)


def test_unusable_images_are_corrupt_and_named(tmp_path: Path, weights_file: Path) -> None:
    """Text, a truncated file, another size, another channel count: `corrupt`; the line goes on."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        pixels = rng.integers(60, 90, (64, 64), np.uint8)
        cv2.imwrite(str(folder / f"{index:02d}.png"), pixels)
    (folder / "03a_text.png").write_text("not an image")
    (folder / "05a_empty.png").write_bytes(b"")
    (folder / "07a_cut.png").write_bytes((folder / "07.png").read_bytes()[:-300])
    cv2.imwrite(str(folder / "09a_size.png"), np.zeros((32, 64), np.uint8))
    cv2.imwrite(str(folder / "10a_colour.png"), np.zeros((64, 64, 3), np.uint8))
    camera = [{"id": "c1", "kind": "folder", "path": "images"}]
    config = write_config(tmp_path, weights_file, camera=camera)

    with running(config) as line:
        assert line.wait() == 0, line.text()

    corrupt = {row["origin"]: row["detail"] for row in line.rows() if row["reason"] == "corrupt"}
    assert sorted(corrupt) == [
        "03a_text.png", "05a_empty.png", "07a_cut.png", "09a_size.png", "10a_colour.png",
    ]  # fmt: skip
    assert all(name in detail for name, detail in corrupt.items())
    assert line.audit()["counted"] == len(line.rows()) == 17
    assert line.rows()[-1]["verdict"] in {"PASS", "FAIL", "NO_RESULT"}


def test_sigterm_closes_every_announced_frame(tmp_path: Path, weights_file: Path) -> None:
    """SIGTERM in the middle of a live line leaves no frame open and no process behind."""
    camera = [{"id": "c1", "kind": "synthetic", "interval_ms": 20}]
    transport = {"policy": "drop_oldest", "queue_frames": 4}
    config = write_config(tmp_path, weights_file, camera=camera, transport=transport)

    with running(config) as line:
        line.until(lambda: line.results()["PASS"] > 3, "PASS")
        pids = [line.pids(stage)[-1] for stage in ("broker", "gate", "scoring", "ingest c1")]
        code = line.stop()

    assert code == 0, line.text()
    assert line.audit()["balanced"], line.audit()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_killed_scorer_loses_no_frame(tmp_path: Path, weights_file: Path) -> None:
    """Kill -9 of the scorer: its frames are `scorer_down`; without kept windows it warms up."""
    camera = [{"id": "c1", "kind": "synthetic", "interval_ms": 20}]
    part, window = {"deadline_ms": 5_000}, {"snapshot_s": 0}
    config = write_config(tmp_path, weights_file, camera=camera, part=part, window=window)

    with running(config) as line:
        line.until(lambda: line.results()["PASS"] > 3, "PASS")
        before, warming = len(line.rows()), line.results()["warming"]
        os.kill(line.pids("scoring")[0], signal.SIGKILL)
        line.until(lambda: len(line.pids("scoring")) == 2, "a second scorer")
        line.until(
            lambda: line.results()["warming"] > warming + 8,
            "as much warming as a window costs that begins without a peer",
        )
        line.until(
            lambda: any(
                row["verdict"] == "PASS" and row["seq"] > before + 50 for row in line.rows()
            ),
            "PASS after the restart",
        )
        assert line.stop() == 0, line.text()

    results = line.results()
    assert results["scorer_down"] > 0
    assert results["warming"] > 16, "the second scorer warms up like the first"
    assert line.audit()["balanced"], line.audit()
    assert sum(results.values()) == line.audit()["counted"]
    assert [row["kind"] for row in line.rows("events")].count("scorer_lost") >= 1


def test_killed_ingest_loses_no_frame(tmp_path: Path, weights_file: Path) -> None:
    """Kill -9 of ingest, several times: what it counted and never announced is closed as well."""
    camera = [{"id": "c1", "kind": "synthetic", "interval_ms": 20}]
    config = write_config(tmp_path, weights_file, camera=camera)

    with running(config) as line:
        line.until(lambda: line.results()["PASS"] > 3, "PASS")
        for kill in range(1, 4):
            os.kill(line.pids("ingest c1")[-1], signal.SIGKILL)
            line.until(lambda: len(line.pids("ingest c1")) == kill + 1, "the next ingest")  # noqa: B023 - runs now
            # Rows may still come of the killed one's notices; those of the next have its boot.
            line.until(
                lambda: len({row["boot"] for row in line.rows()}) == kill + 1,  # noqa: B023 - runs now
                "frames of the next ingest",
            )
            known = len(line.rows())
            line.until(lambda: len(line.rows()) > known + 3, "results after the restart")  # noqa: B023 - runs now
        assert line.stop() == 0, line.text()

    assert line.audit()["balanced"], line.audit()
    assert len({row["boot"] for row in line.rows()}) == 4


def test_killed_gate_loses_no_frame(tmp_path: Path, weights_file: Path) -> None:
    """Kill -9 of the gate: open rows close as `gate_restart`, notices are sent again."""
    camera = [{"id": "c1", "kind": "synthetic", "interval_ms": 20}]
    config = write_config(tmp_path, weights_file, camera=camera)

    with running(config) as line:
        line.until(lambda: line.results()["PASS"] > 3, "PASS")
        os.kill(line.pids("gate")[0], signal.SIGKILL)
        line.until(lambda: len(line.pids("gate")) == 2, "a second gate")
        known = len(line.rows())
        line.until(lambda: len(line.rows()) > known + 5, "results after the restart")
        assert line.stop() == 0, line.text()

    assert line.audit()["balanced"], line.audit()
    assert len({row["boot"] for row in line.rows("parts")}) == 2
