"""A healthy line for the doctor, with a real broker, weights and ledger, to be harmed by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from brokers import Certificates, acl_lines, login_lines, make_certificates, start_mosquitto
from factories import announcement
from lines import write_config

from edge.contract import Topics
from pipeline.doctor_examination import Instruments, examine
from pipeline.doctor_host import KernelClock
from pipeline.ledger import Ledger
from pipeline.results import LineIdentity

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    import pytest

    from pipeline.doctor import Finding, Report

ROOT = Topics("musc", "site", "area", "line", "station").root
SYNCHRONISED = KernelClock(unsynchronised=False, max_error_s=0.01)
BASLER = {"id": "c1", "kind": "basler", "serial": "0815-0000", "roi_px": [0, 0, 64, 48]}
"""One of the maker's emulated cameras, where PYLON_CAMEMU is set."""
TOLD = {"trigger": "software", "part_id": "message"}


class Plant:
    """A broker with TLS, logins and an access list; ``deaf`` may say all but what a gate hears."""

    def __init__(self, program: str, folder: Path) -> None:
        """Start it; each user's password is the name backwards."""
        self.certificates: Certificates = make_certificates(folder)
        logins = login_lines(folder, box="xob", deaf="faed", ear="rae")
        rights = acl_lines(
            folder,
            "user box", f"topic write {ROOT}/#",
            "user ear", "topic read #",
            "user deaf", *(f"topic write {ROOT}/{name}" for name in self.all_but_plc()),
        )  # fmt: skip
        self.process, self.port = start_mosquitto(
            program, folder, *self.certificates.lines(), *logins, *rights
        )

    @staticmethod
    def all_but_plc() -> tuple[str, ...]:
        """Return what a line says that is no verdict for a gate."""
        return (
            "status", "heartbeat", "part", "verdict", "history/#", "history", "cmd/result",
            "camera/#", "alarm/#", "heatmap/#",
        )  # fmt: skip


class Ground:
    """A healthy line; a test harms it, and has it examined."""

    def __init__(
        self, folder: Path, weights: Path, plant: Plant, held: ExitStack, patch: pytest.MonkeyPatch
    ) -> None:
        """Make images, a ledger with results, and a login; ``held``, ``patch`` are the test's."""
        self.folder, self.plant, self.held, self.patch = folder, plant, held, patch
        self.weights: Path | None = weights
        self.clock = SYNCHRONISED
        (folder / "images").mkdir()
        for number in range(3):
            image = np.full((60, 80), 40 * number, np.uint8)
            cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        self.ledger = folder / "ledger.db"
        writing = Ledger(self.ledger, "NORMAL", LineIdentity("91d0", "0" * 16, 500, "raw"))
        with writing.transaction():
            for seq in range(1, 300):
                writing.open_frame(announcement(seq))
        writing.close()
        self.sections: dict[str, Any] = {
            "camera": [{"id": "c1", "kind": "folder", "path": "images"}],
            "mqtt": {
                "embedded": False, "protocol": "5", "port": plant.port, "tls": True,
                "ca_file": str(plant.certificates.ca),
            } | self.login("box", "xob"),
        }  # fmt: skip

    def login(self, user: str, password: str) -> dict[str, str]:
        """Write a login into files; return the keys that name them."""
        names = {"username_file": user, "password_file": password}
        for name, secret in names.items():
            (self.folder / name).write_text(secret)
            (self.folder / name).chmod(0o600)
        return {name: name for name in names}

    def set(self, section: str, **keys: Any) -> None:
        """Set keys of a section."""
        self.sections[section] = self.sections.get(section, {}) | keys

    def camera(self, **keys: Any) -> None:
        """Have one camera, this one."""
        self.sections["camera"] = [{"id": "c1"} | keys]

    def config(self) -> Path:
        """Write the line's config."""
        return write_config(self.folder, self.weights, **self.sections)

    def examine(self, **options: Any) -> Report:
        """Examine the line in this process."""
        instruments = Instruments(read_clock=lambda: self.clock)
        return examine(self.config(), **{"quick": True, "instruments": instruments} | options)


def failed(report: Report) -> list[Finding]:
    """Return what failed."""
    return [found for found in report.findings if found.verdict == "fail"]
