"""The doctor names what is wrong with a line, each fault alone and with its remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from brokers import LIMIT_S, Inbox
from doctor_faults import FAULTS
from doctor_ground import BASLER, ROOT, SYNCHRONISED, TOLD, Ground, Plant, failed
from fake_gige import ADDRESS, fake_gige
from lines import running, write_config

from edge.clock import SystemClock
from edge.embedded_broker import HOST
from edge.endpoints import free_port
from edge.mqtt import BrokerSession, BrokerSettings, TlsFiles
from pipeline.camera_sources import make_device
from pipeline.config_file import load_config
from pipeline.doctor_examination import Instruments, examine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.weights, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def plant(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant's broker; the tests of this file share it, and nobody says anything on it."""
    started = Plant(mosquitto, tmp_path_factory.mktemp("plant"))
    yield started
    started.process.terminate()
    started.process.wait(LIMIT_S)


@pytest.fixture
def ground(
    ipc_folder: Path, weights_file: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    """A healthy line, with the maker's emulated Basler cameras beside it."""
    monkeypatch.setenv("PYLON_CAMEMU", "2")
    with ExitStack() as held:
        yield Ground(ipc_folder, weights_file, plant, held, monkeypatch)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named_alone(ground: Ground, fault: str) -> None:
    """A seeded fault fails its own check, and no other, with its remedy."""
    seed, check, remedy = FAULTS[fault]
    seed(ground)

    report = ground.examine()

    assert [found.check for found in failed(report)] == [check]
    assert remedy in failed(report)[0].remedy
    assert failed(report)[0].detail
    assert report.exit_code == (2 if check.startswith("config.") else 1)


def test_healthy_line_is_healthy(ground: Ground) -> None:
    """On a healthy line nothing fails and nothing is warned of, the scorer's speed included."""
    report = ground.examine(quick=False)

    said = {found.check: found for found in report.findings}
    assert [f for f in report.findings if f.verdict not in {"ok", "skipped"}] == []
    assert [f.check for f in report.findings if f.verdict == "skipped"] == ["transport.keys"]
    assert said["broker.plc"].verdict == said["method.speed"].verdict == "ok"
    assert report.exit_code == 0


@pytest.mark.parametrize(
    "camera",
    [
        BASLER | {"fps": 20.0},
        BASLER | TOLD | {"exposure_us": 1000.0},
        {"id": "c1", "kind": "aravis", "device": ADDRESS, "fps": 20.0},
    ],
    ids=["basler free", "basler triggered", "aravis"],
)
def test_healthy_live_camera(ground: Ground, camera: dict[str, Any]) -> None:
    """A live camera that keeps up with its line is opened, measured, and let go."""
    if camera["kind"] == "aravis":
        ground.held.enter_context(fake_gige())
    ground.camera(**camera)
    ground.set("part", rate_per_minute=600.0)

    report = ground.examine()

    assert failed(report) == []
    assert report.findings[-1].check in {"camera.rate", "camera.trigger_rate"}
    # Packets of the fake GigE camera are lost where the host is busy, which is warned of.
    lost = camera["kind"] == "aravis" and "buffers failed" in report.findings[-1].detail
    assert report.findings[-1].verdict == ("warn" if lost else "ok")
    again = make_device(load_config(ground.config()).camera[0], SystemClock(), None)  # type: ignore[arg-type] - a live one
    again.open()
    again.close()


def test_nothing_is_said_and_nothing_is_left(ground: Ground, plant: Plant) -> None:
    """An examination publishes nothing, makes no file and changes none."""
    settings = BrokerSettings(
        HOST, plant.port, "5", "ear", "ear", "rae", TlsFiles(plant.certificates.ca)
    )
    session = BrokerSession(settings)
    session.connect(LIMIT_S)
    inbox = Inbox(session)
    session.subscribe("#", 1)
    config = ground.config()
    before = {path: path.read_bytes() for path in config.parent.rglob("*") if path.is_file()}

    report = examine(config, quick=True, instruments=Instruments(read_clock=lambda: SYNCHRONISED))

    box = BrokerSession(replace(settings, client_id="box", username="box", password="xob"))  # noqa: S106
    box.connect(LIMIT_S)
    box.publish(f"{ROOT}/status", b"fence", qos=1)
    inbox.wait_for(f"{ROOT}/status", b"fence")
    session.close()
    box.close()
    after = {path: path.read_bytes() for path in config.parent.rglob("*") if path.is_file()}
    assert failed(report) == []
    assert inbox.messages == [(f"{ROOT}/status", b"fence")]
    assert after == before


def test_running_line_is_not_disturbed(ipc_folder: Path, weights_file: Path) -> None:
    """What a running line holds is no fault, and its frames are all accounted for."""
    port = free_port()
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 50}
    config = write_config(
        ipc_folder, weights_file, camera=[camera],
        transport={"notices": f"tcp://{HOST}:{port}", "policy": "wait"},
    )  # fmt: skip
    instruments = Instruments(read_clock=lambda: SYNCHRONISED)

    with running(config) as line:
        line.until(lambda: line.results()["PASS"] > 0, "PASS")
        report = examine(config, instruments=instruments)
        line.until(lambda: len(line.rows()) >= 40, "frames")
        code = line.stop()
        audit = line.audit()

    said = {found.check: found for found in report.findings}
    assert [f for f in report.findings if f.verdict == "fail"] == []
    assert said["line.running"].figure == "the line is running"
    assert "the line is running" in said["transport.ports"].detail
    assert {said[check].verdict for check in ("method.speed", "broker.plc")} == {"skipped"}
    assert (code, audit["balanced"]) == (0, True)
    assert audit["counted"] >= 40


def test_command_line(ground: Ground) -> None:
    """The command prints checks, remedies and JSON, and its exit code says that one failed."""
    ground.set("mqtt", port=free_port())
    config = ground.config()

    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "doctor", "--config", str(config), "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    row = json.loads(done.stdout.splitlines()[-1])
    verdicts = {check["check"]: check["verdict"] for check in row["checks"]}
    # The machine's own clock is as it is.
    assert {name for name, said in verdicts.items() if said == "fail"} - {"host.clock"} == {
        "broker.reach"
    }
    assert (row["config"], row["ok"], done.returncode) == (str(config), False, 1)
    assert "Traceback" not in done.stderr
    assert f"-> Start the broker on {HOST}:" in done.stdout
