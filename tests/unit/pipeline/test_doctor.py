"""Checks are made one after the other, and nothing that one does ends the others."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from doctor_rig import found

from edge.errors import LineError
from pipeline.doctor import Check, Finding, Report, fail, ok, run_checks, skipped, warn

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_findings_come_in_order_and_at_once() -> None:
    """Each check is announced before it is made, each finding told as it comes."""
    said: list[str] = []

    def two() -> Iterator[Finding]:
        yield ok("a", "1")
        yield warn("b", "2", "little", "Do more.")

    checks = [Check("a", two), Check("c", lambda: [skipped("c", "no need")], camera="c1")]
    run_checks(checks, Report(Path("x")), lambda one: said.append(one.check), said.append)

    assert said == ["a", "a", "b", "c c1", "c"]


def test_camera_is_named_in_its_findings_alone() -> None:
    """A finding of a camera's check names the camera, in the report and in its row."""
    report = Report(Path("x"))

    checks = [
        Check("a", lambda: [ok("a", "")]),
        Check("b", lambda: [ok("b", "")], camera="c1"),
    ]
    run_checks(checks, report, lambda _: None, lambda _: None)

    rows = report.row()["checks"]
    assert [row.get("camera", "none") for row in rows] == ["none", "c1"]


def test_crash_is_a_failure_of_its_check_alone() -> None:
    """Whatever a check raises is its failure, with the error, and the next is made."""

    def crash() -> Iterator[Finding]:
        yield ok("a.first", "")
        msg = "no such thing"
        raise KeyError(msg)

    findings = found([Check("a", crash), Check("b", lambda: [ok("b", "")])])

    assert [(one.check, one.verdict) for one in findings] == [
        ("a.first", "ok"), ("a", "fail"), ("b", "ok"),
    ]  # fmt: skip
    assert "KeyError: 'no such thing'" in findings[1].detail
    assert "--json" in findings[1].remedy


def test_operator_error_is_told_as_it_is() -> None:
    """An error that is the operator's to put right is the detail, without its class."""

    def refuse() -> Iterator[Finding]:
        msg = "transport.keys_path: /keys: no such folder"
        raise LineError(msg)
        yield

    findings = found([Check("a", refuse)])

    assert findings[0].detail == "transport.keys_path: /keys: no such folder"


def test_wrong_user_is_told() -> None:
    """What this user may not look at is no fault of the program."""

    def refuse() -> Iterator[Finding]:
        raise PermissionError(13, "Permission denied", "/var/lib/line")
        yield

    findings = found([Check("a", refuse)])

    assert "/var/lib/line" in findings[0].detail
    assert "as the user that runs the line" in findings[0].remedy


def test_hanging_check_costs_its_limit_and_no_more() -> None:
    """A check that never answers has failed after its limit, and the next is made."""
    never = threading.Event()

    def hang() -> Iterator[Finding]:
        yield ok("a", "the first answer")
        never.wait()

    checks = [
        Check("a", hang, limit_s=1.0, if_silent="Pull the plug."),
        Check("b", lambda: [ok("b", "")]),
    ]
    findings = found(checks)
    never.set()

    assert [(one.check, one.verdict) for one in findings] == [
        ("a", "ok"), ("a", "fail"), ("b", "ok"),
    ]  # fmt: skip
    assert "no answer within 1 s" in findings[1].detail
    assert findings[1].remedy == "Pull the plug."


@pytest.mark.parametrize(
    ("before", "made"),
    [
        (ok("a", ""), True),
        (warn("a", "", "", ""), True),
        (fail("a", "", "", ""), False),
        (skipped("a", ""), False),
    ],
)
def test_check_needs_what_it_builds_upon(before: Finding, *, made: bool) -> None:
    """A check is skipped, and says why, unless all that it needs is in order."""
    findings = found(
        [Check("a", lambda: [before]), Check("b", lambda: [ok("b", "made")], needs=("a",))]
    )

    assert findings[1].verdict == ("ok" if made else "skipped")
    assert findings[1].detail == ("" if made else "needs a")


@pytest.mark.parametrize(
    ("findings", "readable", "code"),
    [
        ([ok("a", ""), warn("b", "", "", ""), skipped("c", "")], True, 0),
        ([ok("a", ""), fail("b", "", "", "")], True, 1),
        ([fail("config.keys", "", "", "")], False, 2),
    ],
)
def test_exit_code(findings: list[Finding], code: int, *, readable: bool) -> None:
    """0 where nothing failed, 1 where something did, 2 where there is no config."""
    report = Report(Path("line.toml"), readable, findings)

    row = report.row()

    assert report.exit_code == code
    assert (row["config"], row["ok"]) == ("line.toml", code == 0)
    assert [check["check"] for check in row["checks"]] == [one.check for one in findings]
