"""A broker that is away, and a gate that is killed meanwhile: every result is heard at last.

Six seconds here; ``--outage-s 60`` for the length of a real one.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from brokers import Line, wait_until
from chaos import DEADLINE_MS, ChaosLine, Ears, chaos_config, chaos_line, write_belt

from pipeline.results import moment_of

if TYPE_CHECKING:
    from pathlib import Path

    from brokers import FragileMosquitto

TOLERANCE_MS = 2_000
"""From the gate's hand to the test's: two hops, a proxy, and a busy machine.

What is said only after the outage is later: it lasts more than twice as long.
"""


def p95_ms(rows: list[dict[str, Any]], begin_ns: int, end_ns: int) -> float:
    """Return the latency that 95 % of the frames captured in a period stayed below."""
    waited = [
        1000 * (moment_of(row["decided_at"]) - moment_of(row["captured_at"])).total_seconds()
        for row in rows
        if begin_ns <= row["captured_ns"] < end_ns and row["reason"] == "score"
    ]
    return float(np.percentile(waited, 95)) if waited else float("nan")


def wait_s(line: ChaosLine, seconds: float) -> None:
    """Let the line work for a while."""
    end = time.monotonic() + seconds
    line.until(lambda: time.monotonic() >= end, "the end of a period")


@pytest.mark.timeout(0)
def test_outage_with_a_killed_gate(
    tmp_path: Path, fragile_mosquitto: FragileMosquitto, request: pytest.FixtureRequest
) -> None:
    """Each result comes on `verdict` in time or on `history` in order, whatever was killed."""
    outage_s = request.config.getoption("--outage-s") or 6.0
    network = Line(fragile_mosquitto.port)
    write_belt(tmp_path)
    camera = [{"id": "c1", "kind": "folder", "path": "belt", "loop": True, "interval_ms": 100}]
    config = chaos_config(tmp_path, network.port, None, camera=camera)
    ears = Ears(fragile_mosquitto.port)
    with chaos_line(config, fragile_mosquitto, delay_ms=50) as line:
        line.until(lambda: line.is_right(ears), "a first READY")
        began_ns = time.monotonic_ns()
        wait_s(line, outage_s / 2)
        cut_ns = time.monotonic_ns()
        network.takes_clients = False
        network.cut()
        wait_s(line, outage_s / 2)
        pid = line.pid_of("gate")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        line.until(lambda: line.pid_of("gate") not in {None, pid}, "another gate")
        line.until(line.is_up, "the whole line")
        back_ns = time.monotonic_ns()
        wait_s(line, outage_s / 2)
        kept = [row["id"] for row in line.rows("outbox")]
        mended_ns = time.monotonic_ns()
        network.takes_clients = True
        line.until(lambda: line.is_right(ears), "READY after the outage")
        line.until(
            lambda: not {row["id"] for row in line.rows("outbox")} & set(kept), "a drained outbox"
        )
        line.stop()
        # The line's last word: what it said before it has been heard then.
        wait_until(lambda: json.loads(ears.retained["status"])["state"] == "STOPPED")
        rows = line.rows()
        assert line.audit()["balanced"]
    network.close()
    ears.close()

    live = {(m["boot"], m["seq"]): m["verdict"] for m in ears.of("verdict")}
    history = [(m["boot"], m["seq"]) for m in ears.of("history")]
    captured = {(row["boot"], row["seq"]): row["captured_ns"] for row in rows}
    assert len(history) >= len(kept) / 2 > 0, "frames and parts were kept"
    assert set(live) | set(history) == set(captured), "every result is heard"
    assert history == sorted(dict.fromkeys(history), key=lambda key: key[1]), "in order, once"
    parts = {m["part"] for m in ears.of("part")} | {m["part"] for m in ears.of("history/part")}
    assert parts == {row["part_id"] for row in rows}
    for heard_ns, topic, payload in ears.heard:
        if topic == "plc":
            part_id = payload.decode().split(";")[2]
            row = next(row for row in rows if row["part_id"] == part_id)
            late_ms = (heard_ns - row["captured_ns"]) / 1e6 - DEADLINE_MS
            assert late_ms <= TOLERANCE_MS + (250 if row["verdict"] == "NO_RESULT" else 0)
    before, during = p95_ms(rows, began_ns, cut_ns), p95_ms(rows, cut_ns, mended_ns)
    after_kill = p95_ms(rows, back_ns, mended_ns)
    print(f"\n{len(live)} live, {len(history)} as history")  # noqa: T201 - the figures of the test
    print(f"p95 {before:.1f} ms before, {during:.1f} ms away, {after_kill:.1f} after the kill")  # noqa: T201
