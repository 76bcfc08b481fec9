"""A camera that loses its supply and gets it back, again and again, under a running line.

The camera is Debian's fake GigE Vision camera, ended by SIGKILL; supervisor,
ingest, gate, ledger and broker are real, the scorer is the stand-in. Twice
where nothing is said, ``--camera-losses 5`` for more.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from chaos import ROOT_TOPIC, Ears
from fake_gige import ADDRESS, FakeGige, fake_gige
from lines import write_config
from staged_line import StagedLine, staged_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

pytestmark = pytest.mark.timeout(300)

STATUS = "camera/c1/status"
BACK_LIMIT_S = 15.0
"""What a camera that is there again may take to be ONLINE, on a busy machine too."""
AWAY_S = (0.0, 1.3, 2.6, 3.9, 0.6)
"""How long it stays away after it was missed: other moments of the tries to open it."""
TELL_S = 0.25
SETTLED_S = 1.5
SAME_COLOUR = 1.0
"""Of 255: the mean of a whole rainbow does not depend on where it begins."""


def line_config(folder: Path, port: int, trigger: str, pixel_format: str) -> Path:
    """Write a line with one colour camera whose parts are told.

    At half its exposure the fake camera's rainbow ends before red, and 510 columns
    hold it twice: each picture has the same mean colour, a strong blue.
    """
    camera = {
        "id": "c1",
        "kind": "aravis",
        "device": ADDRESS,
        "pixel_format": pixel_format,
        "exposure_us": 5000.0,
        "roi_px": [0, 0, 510, 64],
        "trigger": trigger,
        "part_id": "message",
        "interval_ms": 100 if trigger == "free" else 0,
    }
    return write_config(
        folder,
        None,
        camera=[camera],
        part={"deadline_ms": 1500},
        mqtt={"port": port, "protocol": "5", "embedded": False},
        transport={"policy": "drop_oldest"},
        window={"min_peers": 2, "size_frames": 12},
        evidence={"keep": "all"},
    )


class Belt:
    """Tells parts for as long as it runs, whether there is a camera or not."""

    def __init__(self, ears: Ears) -> None:
        """Start the belt."""
        self.told: list[str] = []
        self._ears = ears
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="belt")
        self._thread.start()

    def stop(self) -> None:
        """Stop it; more calls do nothing."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(TELL_S):
            part = f"A-{len(self.told) + 1:04d}"
            body = {"txn": part, "by": "plc", "part": part}
            self._ears.publish(f"{ROOT_TOPIC}/cmd/part", json.dumps(body).encode())
            self.told.append(part)


@dataclass
class Loss:
    """One loss of the camera, in seconds."""

    missed_s: float
    """From the kill to LOST."""
    away_s: float
    """From LOST to the camera's start."""
    back_s: float
    """From there to ONLINE."""
    dead_parts: list[str] = field(default_factory=list)
    """Told while it was LOST."""


@dataclass
class Plant:
    """A line, its camera, its belt and a listener."""

    line: StagedLine
    camera: FakeGige
    ears: Ears
    belt: Belt
    mosquitto_sub: str
    port: int

    def wait_for(self, state: str) -> float:
        """Wait until the camera's state is said; return when it was heard, monotonic seconds."""
        self.line.until(lambda: self.ears.retained.get(STATUS) == state.encode(), state)
        at_ns, *_ = next(one for one in reversed(self.ears.heard) if one[1] == STATUS)
        topic = f"{ROOT_TOPIC}/{STATUS}"
        arguments = [self.mosquitto_sub, "-p", str(self.port), "-t", topic, "-C", "1", "-W", "10"]
        said = subprocess.run(arguments, capture_output=True, check=True, timeout=30)
        assert said.stdout.strip() == state.encode(), "the state is retained for who comes later"
        return at_ns / 1e9

    def lose(self, away_s: float) -> Loss:
        """Kill the camera, wait until it is missed, and give it back after a while."""
        killed_s = time.monotonic()
        self.camera.kill()
        lost_s = self.wait_for("LOST")
        before = len(self.belt.told)
        while time.monotonic() < lost_s + away_s or len(self.belt.told) < before + 2:
            time.sleep(0.01)
        dead_parts = self.belt.told[before:-1]
        up_s = time.monotonic()
        self.camera.start()
        back_s = self.wait_for("ONLINE")
        return Loss(lost_s - killed_s, up_s - lost_s, back_s - up_s, dead_parts)

    @property
    def losses(self) -> tuple[int, int]:
        """What is said of the camera: how often it was lost, and opened."""
        said = json.loads(self.ears.retained.get("camera/c1/counts", b"{}"))
        return said.get("losses", 0), said.get("openings", 0)

    def settle(self) -> None:
        """Let the line score a few pictures."""
        scored = self.line.results()["PASS"]
        self.line.until(lambda: self.line.results()["PASS"] > scored + 3, "PASS")


@pytest.fixture(params=["free RGB8", "software BayerRG8"])
def plant(
    request: pytest.FixtureRequest, tmp_path: Path, mosquitto_port: int, mosquitto_sub: str
) -> Iterator[Plant]:
    """A line whose camera has shown itself: by its own clock, or asked for each part."""
    trigger, pixel_format = request.param.split()
    config = line_config(tmp_path, mosquitto_port, trigger, pixel_format)
    ears = Ears(mosquitto_port)
    with fake_gige() as camera, staged_line(config) as line:
        line.until(line.is_up, "the whole line")
        line.until(lambda: ears.retained.get(STATUS) == b"ONLINE", "the camera")
        belt = Belt(ears)
        try:
            yield Plant(line, camera, ears, belt, mosquitto_sub, mosquitto_port)
        finally:
            belt.stop()
            ears.close()


def colour_of(folder: Path, row: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Return mean blue, green and red of the picture of a result."""
    image: Any = cv2.imread(str(folder / row["evidence"]))
    assert image is not None, row
    colour: npt.NDArray[np.float64] = image.reshape(-1, 3).mean(axis=0)
    return colour


def check_colours(line: StagedLine, rows: list[dict[str, Any]], lost_at: list[str]) -> None:
    """The first picture after each return, and all others, have the colours of before."""
    seen = [row for row in rows if row["evidence"]]
    folder = line.settings.evidence.path
    known = np.mean([colour_of(folder, r) for r in seen if r["captured_at"] < lost_at[0]], axis=0)
    assert np.ptp(known) > 50.0, "grey could not tell an exchange of colours"
    for at in lost_at:
        first = next(row for row in seen if row["captured_at"] > at)
        assert np.abs(colour_of(folder, first) - known).max() < SAME_COLOUR, first
    for row in seen:
        assert np.abs(colour_of(folder, row) - known).max() < SAME_COLOUR, row


def check_account(plant: Plant, losses: list[Loss]) -> list[dict[str, Any]]:
    """Each frame and each told part has its one result; return the results."""
    rows, audit = plant.line.rows(), plant.line.audit()
    assert audit["balanced"], audit
    assert [row["seq"] for row in rows] == list(range(1, audit["counted"] + 1))
    assert audit["counted"] == sum(audit["results"].values()) == len(rows)
    assert all(row["reason"] for row in rows)
    results = Counter(row["part_id"] for row in rows)
    assert {results[part] for part in plant.belt.told} == {1}, "one result for each told part"
    by_part = {row["part_id"]: row for row in rows}
    for loss in losses:
        told = [by_part[part] for part in loss.dead_parts]
        assert {(row["verdict"], row["reason"]) for row in told} == {("NO_RESULT", "camera_lost")}
    verdicts = {row["part_id"]: row["verdict"] for row in plant.line.rows("parts")}
    assert {verdicts[part] for loss in losses for part in loss.dead_parts} == {"NO_RESULT"}
    return rows


def check_events(line: StagedLine, losses: list[Loss]) -> list[str]:
    """Each loss and each return is in the ledger, with the time away; return when it was lost."""
    events = [row for row in line.rows("events") if row["kind"].startswith("camera_")]
    kinds = [row["kind"] for row in events]
    assert kinds == ["camera_opened"] + ["camera_lost", "camera_back"] * len(losses), kinds
    backs = [json.loads(row["detail"]) for row in events if row["kind"] == "camera_back"]
    for back, loss in zip(backs, losses, strict=True):
        assert back["away_s"] > loss.away_s
        assert back["away_s"] == pytest.approx(loss.away_s + loss.back_s, abs=5.0)
    return [row["time"] for row in events if row["kind"] == "camera_lost"]


def report(name: str, losses: list[Loss], plant: Plant) -> None:
    """Print the figures; pytest shows them with -s or -rP."""
    print()  # noqa: T201 - the figures of the test
    for loss in losses:
        print(  # noqa: T201
            f"{name}: LOST {loss.missed_s:.2f} s after the kill, away {loss.away_s:.2f} s more,"
            f" ONLINE {loss.back_s:.2f} s after the camera was started"
        )
    print(f"{plant.line.audit()['results']}, {len(plant.belt.told)} parts told")  # noqa: T201


def test_killed_camera_comes_back(plant: Plant, request: pytest.FixtureRequest) -> None:
    """LOST, then ONLINE within a limit, with the same colours, and the account balances."""
    rounds = request.config.getoption("--camera-losses")
    plant.settle()
    losses = []

    for number in range(rounds):
        losses.append(plant.lose(AWAY_S[number % len(AWAY_S)]))
        plant.settle()
    plant.belt.stop()
    known = set(plant.belt.told)
    plant.line.until(lambda: known <= {r["part_id"] for r in plant.line.rows("parts")}, "verdicts")
    said = [payload for _, topic, payload in plant.ears.heard if topic == STATUS]
    plant.line.until(lambda: plant.losses == (rounds, rounds + 1), "losses and openings counted")
    plant.line.stop()

    report(request.node.callspec.id, losses, plant)
    assert max(loss.back_s for loss in losses) < BACK_LIMIT_S
    assert said[said.index(b"ONLINE") :] == [b"ONLINE", *[b"LOST", b"ONLINE"] * rounds]
    rows = check_account(plant, losses)
    check_colours(plant.line, rows, check_events(plant.line, losses))
