"""Folders, free space and the evidence's budget are measured, and nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from doctor_rig import found
from factories import config

from pipeline import doctor_disk
from pipeline.doctor_disk import disk_checks, free_on, nearest, size, unwritable

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.doctor import Finding

GB = 1_000_000_000


def line(folder: Path, **sections: Any) -> Config:
    """Return a line whose files are below a folder."""
    given: dict[str, Any] = {
        "line": {"state_path": str(folder / "state")},
        "ledger": {"path": str(folder / "ledger.db")},
        "evidence": {"path": str(folder / "evidence")} | sections.pop("evidence", {}),
    }
    return config(**given, **sections)


def looked_at(settings: Config) -> dict[str, Finding]:
    """Return what was found, by check."""
    return {one.check: one for one in found(disk_checks(settings))}


def failed(findings: dict[str, Finding]) -> list[str]:
    """Return which checks failed."""
    return [one.check for one in findings.values() if one.verdict == "fail"]


def test_line_that_never_ran(tmp_path: Path) -> None:
    """Folders that will be made are no fault, and are not made."""
    findings = looked_at(line(tmp_path))

    assert failed(findings) == []
    assert findings["state.folder"].detail == "will be made"
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file where a folder should be is named, with the key that leads there."""
    (tmp_path / "state").write_text("")

    findings = looked_at(line(tmp_path))

    assert failed(findings) == ["state.folder", "state.counters"]
    assert "is no folder" in findings["state.folder"].detail
    assert "line.state_path" in findings["state.folder"].remedy


def test_writing_is_tried_without_a_trace(tmp_path: Path) -> None:
    """A folder that can be written is as it was; one of the system says why it cannot be."""
    assert unwritable(tmp_path / "not" / "there") == ""
    assert list(tmp_path.iterdir()) == []
    assert unwritable(tmp_path) == ""
    assert "/proc" in unwritable(nearest(tmp_path.parent / "/proc/nothing"))


def test_damaged_counter(tmp_path: Path) -> None:
    """A counter that holds no number fails with what to write into it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "c1.count").write_text("seven")

    findings = looked_at(line(tmp_path))

    assert failed(findings) == ["state.counters"]
    assert "musc-edge verdicts" in findings["state.counters"].remedy


def test_counter_is_shown(tmp_path: Path) -> None:
    """The frames that a camera has counted are named."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "c1.count").write_text("00000000000000000017\n")

    assert looked_at(line(tmp_path))["state.counters"].figure == "frames so far: c1 17"


@pytest.mark.parametrize(
    ("alarms", "free", "verdict"),
    [
        ([], 2 * GB, "ok"),
        ([], GB - 1, "fail"),
        ([5 * GB], 5 * GB, "ok"),
        ([5 * GB], 5 * GB - 1, "fail"),
        ([2 * GB, 5 * GB], 3 * GB, "fail"),
        (None, GB - 1, "fail"),
    ],
)
def test_disk_is_held_to_the_alarm(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alarms: list[int] | None,
    free: int,
    verdict: str,
) -> None:
    """Less free space than the strictest disk_low alarm fails, or than its default without one."""
    given = [
        {"name": f"d{number}", "kind": "disk_low", "min_free_bytes": limit}
        for number, limit in enumerate(alarms or [])
    ] or [{"name": "d", "kind": "camera_lost"}]
    sections = {} if alarms == [] else {"alarm": given}
    monkeypatch.setattr(doctor_disk, "free_on", lambda _path: free)

    finding = looked_at(line(tmp_path, **sections))["disk.free"]

    assert finding.verdict == verdict
    assert size(free) in finding.figure


@pytest.mark.parametrize(
    ("used", "free", "verdict"),
    [
        (0, 10_000_000, "ok"),
        (0, 1_100_000, "warn"),
        (0, 999_999, "fail"),
        (200_000, 800_000, "warn"),
        (200_000, 799_999, "fail"),
        (3_000_000, 0, "ok"),
    ],
)
def test_budget_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: int, free: int, verdict: str
) -> None:
    """What the evidence may still grow by must be free; what is there already counts."""
    settings = line(tmp_path, evidence={"max_bytes": 1_000_000})
    (tmp_path / "evidence" / "c1").mkdir(parents=True)
    (tmp_path / "evidence" / "c1" / "1.png").write_bytes(bytes(used))
    monkeypatch.setattr(doctor_disk, "free_on", lambda _path: free)

    finding = looked_at(settings)["evidence.budget"]

    assert finding.verdict == verdict
    assert ("evidence.max_bytes" in finding.remedy) == (verdict != "ok")


def test_evidence_that_is_deleted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running line deletes old evidence while it is counted: that is no fault."""
    (tmp_path / "evidence").mkdir()
    gone = tmp_path / "evidence" / "1.png"
    monkeypatch.setattr(type(gone), "rglob", lambda *_: iter([gone]))

    assert looked_at(line(tmp_path))["evidence.budget"].verdict == "ok"


def test_folder_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a folder of another user, that folder is what cannot be written."""
    exists = type(tmp_path).exists

    def guarded(path: Path, **options: Any) -> bool:
        if tmp_path in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path, **options)

    monkeypatch.setattr(type(tmp_path), "exists", guarded)

    assert nearest(tmp_path / "state" / "deeper") == tmp_path


def test_no_evidence_needs_no_folder(tmp_path: Path) -> None:
    """A line that keeps no evidence is not held to its folder and budget."""
    (tmp_path / "evidence").write_text("a file")

    findings = looked_at(line(tmp_path, evidence={"keep": "none"}))

    assert findings["evidence.folder"].verdict == "skipped"
    assert findings["evidence.budget"].verdict == "skipped"


def test_free_space_of_what_is_not_there(tmp_path: Path) -> None:
    """A path that will be made lies on the disk of the folder above it."""
    assert free_on(tmp_path / "a" / "b" / "c") > 0
    assert (size(1_500_000_000), size(2_500_000)) == ("1.50 GB", "2.5 MB")
