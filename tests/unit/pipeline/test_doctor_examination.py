"""A whole examination goes from the machine to the cameras, and ends early without a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tomli_w

from edge.endpoints import free_port
from pipeline.doctor_examination import Instruments, examine
from pipeline.doctor_host import KernelClock

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = ["host", "config", "line", "transport", "broker", "state", "disk", "evidence", "ledger",
          "method", "camera"]  # fmt: skip
INSTRUMENTS = Instruments(
    read_clock=lambda: KernelClock(unsynchronised=False, max_error_s=0.0),
    free_bytes=lambda _device: 10**12,
)


def test_from_the_general_to_the_special(ipc_folder: Path) -> None:
    """Machine and config come first, cameras last; each check is announced before its finding."""
    path = ipc_folder / "line.toml"
    config = {
        "camera": [{"id": "c1", "kind": "synthetic", "interval_ms": 1}],
        "mqtt": {"embedded": True, "port": free_port()},
        "musc": {"weights": "gone.safetensors"},
    }
    path.write_text(tomli_w.dumps(config))
    said: list[str] = []

    report = examine(
        path, quick=True, tell=lambda one: said.append(f"found {one.check}"),
        begin=said.append, instruments=INSTRUMENTS,
    )  # fmt: skip

    groups = [found.check.partition(".")[0] for found in report.findings]
    assert list(dict.fromkeys(groups)) == GROUPS
    assert said[:2] == ["host.system", "found host.system"]
    assert said[-3:] == ["camera.present c1", "found camera.present", "found camera.picture"]
    assert [f.check for f in report.findings if f.verdict == "fail"] == ["method.weights"]
    assert report.readable


def test_without_a_config_the_machine_is_looked_at(tmp_path: Path) -> None:
    """A config that cannot be read ends the examination after the machine and itself."""
    report = examine(tmp_path / "gone.toml", instruments=INSTRUMENTS)

    assert [found.check for found in report.findings] == [
        "host.system", "host.clock", "host.opencv", "config.file",
    ]  # fmt: skip
    assert (report.readable, report.ok, report.exit_code) == (False, False, 2)
