"""Whatever is killed, stopped or set wrong: each frame has one result, and nothing unscored passes.

Short here; ``--chaos-frames 2000 --chaos-kills 50``, or ``--hours 8``, for longer.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chaos import ChaosLine, Ears, Plc, chaos_config, chaos_line, write_belt
from jsonschema import Draft202012Validator

from edge.contract import MESSAGE_LIMIT_BYTES

if TYPE_CHECKING:
    from brokers import FragileMosquitto

CONTRACT = Path(__file__).parents[2] / "deploy" / "contract"
FRAMES_AN_HOUR = 60_000
"""At 20 a second, less the time that ingest is away."""


def amounts(config: pytest.Config, frames: int, kills: int) -> tuple[int, int]:
    """Return how many frames and kills were asked for."""
    hours = config.getoption("--hours")
    if hours:
        return int(hours * FRAMES_AN_HOUR), int(hours * FRAMES_AN_HOUR / 40)
    return config.getoption("--chaos-frames") or frames, config.getoption("--chaos-kills") or kills


def check_ledger(line: ChaosLine) -> list[dict[str, Any]]:
    """Every counted frame has one result with its reason, and one part; return the results."""
    rows = line.rows()
    assert line.audit()["balanced"], line.audit()
    assert line.audit()["counted"] == len(rows)
    assert len({(row["camera"], row["seq"]) for row in rows}) == len(rows)
    assert all(row["reason"] for row in rows)
    parts = Counter(row["part_id"] for row in line.rows("parts"))
    assert parts == Counter(row["part_id"] for row in rows)
    return rows


def check_passes(line: ChaosLine, rows: list[dict[str, Any]]) -> None:
    """Only what the stand-in scorer scored, with a number, has passed."""
    scored = [text.split(",") for text in line.scored_log.read_text().splitlines()]
    passed = {(camera, boot, int(seq)) for camera, boot, seq, what in scored if what == "PASS"}
    no_number = {(camera, boot, int(seq)) for camera, boot, seq, what in scored if what == "NAN"}
    said = {(r["camera"], r["boot"], r["seq"]) for r in rows if r["verdict"] == "PASS"}
    assert said <= passed
    assert no_number
    assert not said & no_number


def check_messages(ears: Ears, rows: list[dict[str, Any]]) -> None:
    """Each JSON message is valid and small, none is said live twice, and none contradicts."""
    verdict_of = {(row["boot"], row["seq"]): row["verdict"] for row in rows}
    names = {"verdict": "verdict", "part": "part", "status": "status", "history": "history"}
    names["history/part"] = "history-part"
    for topic, name in names.items():
        schema = json.loads((CONTRACT / f"{name}.schema.json").read_text())
        validator = Draft202012Validator(schema)
        for _, heard, payload in ears.heard:
            if heard == topic:
                assert len(payload) <= MESSAGE_LIMIT_BYTES
                validator.validate(json.loads(payload))
    live = Counter((m["boot"], m["seq"]) for m in ears.of("verdict"))
    assert set(live.values()) <= {1}
    late = [(m["boot"], m["seq"], m["verdict"]) for m in ears.of("history")]
    for boot, seq, verdict in late:
        assert verdict_of[boot, seq] == verdict
    for message in ears.of("verdict"):
        if message["verdict"] == "PASS":
            assert verdict_of[message["boot"], message["seq"]] == "PASS"


def check_gate(decisions: list[dict[str, Any]], line: ChaosLine) -> Counter[str]:
    """The reject gate opened for parts that passed and no other; return why, for these."""
    entered = line.sensor.read_text().split()
    passed = {row["part_id"] for row in line.rows("parts") if row["verdict"] == "PASS"}
    assert sorted(row["part"] for row in decisions) == sorted(entered), "one decision a part"
    assert {row["part"] for row in decisions if row["open"]} <= passed
    return Counter(row["why"] for row in decisions if row["part"] in passed)


def attack(
    folder: Path,
    broker: FragileMosquitto,
    frames: int,
    kills: int,
    *,
    real_scorer: bool = False,
    weights: Path | None = None,
) -> tuple[ChaosLine, list[dict[str, Any]]]:
    """Run a line through an attack and check what must hold."""
    write_belt(folder)
    config = chaos_config(folder, broker.port, weights)
    ears = Ears(broker.port)
    (folder / "belt.txt").touch()
    plc = Plc(config, folder / "belt.txt")
    try:
        with chaos_line(config, broker, real_scorer=real_scorer) as line:
            line.until(lambda: line.is_right(ears), "a first READY")
            line.attack(ears, frames, kills)
            line.until(lambda: line.is_right(ears), "a last READY")
            latched = ears.retained["alarm/scorer_down"]
            line.stop()
            decisions = plc.finish()
            rows = check_ledger(line)
            if not real_scorer:
                check_passes(line, rows)
            check_messages(ears, rows)
            report(line, rows, check_gate(decisions, line))
    finally:
        plc.kill()
        ears.close()
    assert latched == b"RTN_UNACK", "a latched alarm survives every restart"
    return line, rows


def report(line: ChaosLine, rows: list[dict[str, Any]], why: Counter[str]) -> None:
    """Print the figures of an attack; pytest shows them with -s or -rP."""
    results = Counter(r["reason"] if r["verdict"] == "NO_RESULT" else r["verdict"] for r in rows)
    victims = Counter(victim for victim, _ in line.recoveries)
    worst = max(line.recoveries, key=lambda recovery: recovery[1], default=("", 0.0))
    print(f"\n{len(rows)} results: {dict(results)}")  # noqa: T201 - the figures of the test
    print(f"harmed {dict(victims)}; right again {worst[1]:.2f} s after {worst[0]} at worst")  # noqa: T201
    print(f"the reject gate on the parts that passed: {dict(why)}")  # noqa: T201


@pytest.mark.timeout(0)
def test_line_under_attack(
    tmp_path: Path, fragile_mosquitto: FragileMosquitto, request: pytest.FixtureRequest
) -> None:
    """Kills and stops of everything, garbage, NaN and clock steps: the account balances."""
    frames, kills = amounts(request.config, frames=240, kills=8)

    _, rows = attack(tmp_path, fragile_mosquitto, frames, kills)

    assert len(rows) >= frames
    assert {"PASS", "FAIL"} <= {row["verdict"] for row in rows}
    assert {"corrupt", "not_finite"} <= {row["reason"] for row in rows}


@pytest.mark.weights
@pytest.mark.timeout(0)
def test_real_scorer_under_attack(
    tmp_path: Path, weights_file: Path, fragile_mosquitto: FragileMosquitto
) -> None:
    """The same with the real scorer, which takes seconds to come back."""
    _, rows = attack(tmp_path, fragile_mosquitto, 200, 4, real_scorer=True, weights=weights_file)

    assert len(rows) >= 200
