"""Endpoints are looked at without being held; a running line's own are no fault."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from doctor_rig import found
from factories import config

from edge.endpoints import free_port
from edge.keys import make_keys
from pipeline.doctor_running import what_runs
from pipeline.doctor_transport import transport_checks
from pipeline.line_lock import ledger_lock, line_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.doctor import Finding


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield int(holder.getsockname()[1])


def line(folder: Path, **sections: object) -> Config:
    """Return a line whose files are below a folder."""
    given = {
        "line": {"state_path": str(folder / "state")},
        "ledger": {"path": str(folder / "ledger.db")},
    }
    return config(**given, **sections)


def looked_at(settings: Config) -> dict[str, Finding]:
    """Return what was found, by check."""
    return {one.check: one for one in found(transport_checks(settings))}


def test_good_endpoints_leave_nothing_behind(ipc_folder: Path) -> None:
    """Free ports and a folder that can be made are no fault, and neither is made nor held."""
    port = free_port()
    settings = line(ipc_folder, transport={"frames": f"tcp://127.0.0.1:{port}"})

    findings = looked_at(settings)

    assert {one.verdict for one in findings.values()} <= {"ok", "skipped"}
    assert list(ipc_folder.iterdir()) == []
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("key", ["notices", "part_endpoint", "endpoint", "embedded"])
def test_port_in_use_is_named(ipc_folder: Path, taken_port: int, key: str) -> None:
    """A port that another process listens on fails with the key it is in and how to find it."""
    endpoint = f"tcp://127.0.0.1:{taken_port}"
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
    sections = {
        "notices": {"transport": {"notices": endpoint}},
        "part_endpoint": {"camera": [camera | {"part_id": "message", "part_endpoint": endpoint}]},
        "endpoint": {"camera": [{"id": "c1", "kind": "zmq", "endpoint": endpoint}]},
        "embedded": {"mqtt": {"embedded": True, "port": taken_port}},
    }
    settings = line(ipc_folder, **sections[key])

    failed = [one for one in looked_at(settings).values() if one.verdict == "fail"]

    assert [one.check for one in failed] == ["transport.ports"]
    assert key.replace("embedded", "mqtt.port") in failed[0].detail
    assert f"ss -ltnp sport = :{taken_port}" in failed[0].remedy


@pytest.mark.parametrize("who", ["the line", "the gate"])
def test_port_of_the_running_line_is_no_fault(ipc_folder: Path, taken_port: int, who: str) -> None:
    """While the line or one of its stages runs, a port in use is as it should be, and said."""
    settings = line(ipc_folder, transport={"notices": f"tcp://127.0.0.1:{taken_port}"})
    held = (
        line_lock(settings.line.state_path)
        if who == "the line"
        else ledger_lock(settings.ledger.path)
    )

    with held:
        finding = looked_at(settings)["transport.ports"]

    assert finding.verdict == "ok"
    assert who in finding.detail + finding.figure


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://192.0.2.1:5555",
        "tcp://nowhere.invalid:5555",
        "tcp://127.0.0.1:*",
        "tcp://127.0.0.1:0",
    ],
)
def test_address_of_another_host_is_not_bound_here(ipc_folder: Path, endpoint: str) -> None:
    """A scorer may be elsewhere: what cannot be bound here is no port in use."""
    settings = line(ipc_folder, transport={"frames": endpoint})

    assert looked_at(settings)["transport.ports"].verdict == "ok"


def test_number_that_is_no_port(ipc_folder: Path) -> None:
    """A port over 65535 fails."""
    settings = line(ipc_folder, transport={"frames": "tcp://127.0.0.1:70000"})

    assert "70000 is no port" in looked_at(settings)["transport.ports"].detail


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:5555", "tcp://*:5555"])
def test_public_address_without_keys(ipc_folder: Path, endpoint: str) -> None:
    """An address that strangers reach fails without keys, and with keys does not."""
    folder = ipc_folder / "keys"
    make_keys(folder)
    transport = {"frames": endpoint}

    bare = looked_at(line(ipc_folder, transport=transport))
    guarded = looked_at(line(ipc_folder, transport=transport | {"keys_path": str(folder)}))

    assert bare["transport.exposure"].verdict == "fail"
    assert "transport.frames" in bare["transport.exposure"].detail
    assert "musc-edge keys" in bare["transport.exposure"].remedy
    assert guarded["transport.exposure"].verdict == "ok"
    assert guarded["transport.keys"].verdict == "ok"


def test_keys_that_cannot_be_read_fail_alone(ipc_folder: Path) -> None:
    """Missing keys are the fault of the keys, not of the endpoints that need them."""
    transport = {"frames": "tcp://0.0.0.0:5555", "keys_path": str(ipc_folder / "gone")}

    findings = looked_at(line(ipc_folder, transport=transport))

    assert [one.check for one in findings.values() if one.verdict == "fail"] == ["transport.keys"]
    assert "musc-edge keys" in findings["transport.keys"].remedy


@pytest.mark.parametrize("path", ["/proc/musc-edge/frames.ipc", "@frames", "/var/" + "x" * 100])
def test_ipc_path_that_cannot_be_bound(ipc_folder: Path, path: str) -> None:
    """A path that is not writable, abstract or too long fails with its key."""
    settings = line(ipc_folder, transport={"frames": f"ipc://{path}"})

    findings = looked_at(settings)

    assert findings["transport.ipc"].verdict == "fail"
    assert "transport.frames" in findings["transport.ipc"].detail
    assert "transport.frames" in findings["transport.ipc"].remedy


def test_ipc_path_that_another_program_holds(ipc_folder: Path) -> None:
    """ZeroMQ would take the path from its holder, so it fails; a socket left over does not."""
    settings = line(ipc_folder, transport={"frames": f"ipc://{ipc_folder}/frames"})
    with socket.socket(socket.AF_UNIX) as holder:
        holder.bind(str(ipc_folder / "frames"))
        holder.listen()

        held = looked_at(settings)["transport.ipc"]
    left_over = looked_at(settings)["transport.ipc"]

    assert (held.verdict, left_over.verdict) == ("fail", "ok")
    assert "listens there" in held.detail


def test_who_runs(ipc_folder: Path) -> None:
    """The line holds all its cameras; a stage that runs alone is named."""
    settings = line(ipc_folder)
    before = what_runs(settings)

    with ledger_lock(settings.ledger.path):
        gate = what_runs(settings)
    with line_lock(settings.line.state_path):
        whole = what_runs(settings)

    assert not before.anything
    assert (gate.gate, gate.cameras, gate.who) == (True, frozenset(), "the gate of the line runs")
    assert (whole.gate, whole.cameras) == (True, {"c1"})
    assert whole.who == "the line is running"
