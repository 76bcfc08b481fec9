"""A whole examination: machine, config, endpoints, broker, disks, method, cameras, in this order.

Cheap and general things come first, so that the first failure is most often the
cause of those that follow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.clock import SystemClock
from pipeline.camera_sources import make_device
from pipeline.doctor import Check, Finding, Report, run_checks
from pipeline.doctor_broker import broker_checks
from pipeline.doctor_cameras import camera_checks
from pipeline.doctor_config import read_config
from pipeline.doctor_disk import disk_checks
from pipeline.doctor_host import host_checks, read_kernel_clock
from pipeline.doctor_ledger import ledger_checks
from pipeline.doctor_method import method_checks
from pipeline.doctor_running import what_runs
from pipeline.doctor_transport import transport_checks
from pipeline.memory import free_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.clock import Clock
    from pipeline.config import Config
    from pipeline.doctor_cameras import MakeDevice
    from pipeline.doctor_host import KernelClock
    from pipeline.doctor_method import FreeBytes


@dataclass(frozen=True, slots=True)
class Instruments:
    """What the machine is measured with; a test brings its own."""

    read_clock: Callable[[], KernelClock] = read_kernel_clock
    free_bytes: FreeBytes = free_bytes
    make_device: MakeDevice = make_device
    clock: Clock = field(default_factory=SystemClock)


def examine(
    path: Path,
    *,
    quick: bool = False,
    tell: Callable[[Finding], None] = lambda _found: None,
    begin: Callable[[str], None] = lambda _name: None,
    instruments: Instruments | None = None,
) -> Report:
    """Make all checks of a line; nothing is raised for what they find.

    Args:
        path: The line's config file.
        quick: Leave out what takes long: loading the model and timing a frame.
        tell: Called with each finding as it comes.
        begin: Called with the name of each check before it is made.
        instruments: What to measure with.
    """
    tools = instruments or Instruments()
    report = Report(path)
    run_checks(host_checks(tools.read_clock), report, tell, begin)
    config: list[Config] = []

    def read() -> Iterator[Finding]:
        found, findings = read_config(path)
        config.extend([found] if found is not None else [])
        yield from findings

    run_checks([Check("config.file", read)], report, tell, begin)
    if not config:
        report.readable = False
        return report
    run_checks(line_checks(config[0], tools, quick=quick), report, tell, begin)
    return report


def line_checks(config: Config, tools: Instruments, *, quick: bool) -> list[Check]:
    """Return the checks of a line whose config is good."""
    return [
        Check("line.running", lambda: [_running(config)]),
        *transport_checks(config),
        *broker_checks(config),
        *disk_checks(config),
        *ledger_checks(config, quick=quick),
        *method_checks(config, tools.free_bytes, tools.clock, quick=quick),
        *camera_checks(config, tools.make_device, tools.clock),
    ]


def _running(config: Config) -> Finding:
    who = what_runs(config).who
    return Finding("line.running", "ok", who or "nothing of the line runs")
