"""What a check of the doctor is and finds, and how checks are run one after the other.

A check looks at one thing and says what it found: a verdict, a figure with its
limit, and what to do about it. Each runs in a thread of its own with a time
limit, so that a device or a disk that never answers costs its limit and no
more; a check that crashes has failed with its error. Nothing here knows what
is checked.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

Verdict = Literal["ok", "warn", "fail", "skipped"]
GOOD: frozenset[Verdict] = frozenset({"ok", "warn"})
"""Verdicts that a later check may build upon."""
PUT_RIGHT = "Put right what this message names."
SAME_USER = "Run the doctor as the user that runs the line, or let this user read it."
REPORT_IT = "Report this message together with the output of `musc-edge doctor --json`."


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    """Name of the check: group and subject."""
    verdict: Verdict
    figure: str = ""
    """What was measured, and the limit."""
    detail: str = ""
    """What is wrong, or why nothing was measured."""
    remedy: str = ""
    """One sentence: what to type or change."""
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One look at one thing; it may find several things in turn."""

    name: str
    look: Callable[[], Iterable[Finding]]
    limit_s: float = 10.0
    """Time for the whole look."""
    camera: str | None = None
    needs: tuple[str, ...] = ()
    """Names of checks without which this one makes no sense."""
    if_silent: str = "Restart what this check asks, and run the doctor again."
    """Remedy where the limit is over."""


@dataclass(slots=True)
class Report:
    """Everything that was found."""

    config: Path
    readable: bool = True
    """Whether the config could be read; without it only some checks are made."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing has failed."""
        return self.readable and not any(found.verdict == "fail" for found in self.findings)

    @property
    def exit_code(self) -> int:
        """0 where nothing failed, 1 where something did, 2 without a config."""
        if not self.readable:
            return 2
        return 0 if self.ok else 1

    def row(self) -> dict[str, Any]:
        """Return the report as JSON writes it; only a camera's findings have ``camera``."""
        checks = [asdict(found) for found in self.findings]
        for check in checks:
            if check["camera"] is None:
                del check["camera"]
        return {"config": str(self.config), "ok": self.ok, "checks": checks}


def ok(check: str, figure: str, detail: str = "") -> Finding:
    """Return that all is well."""
    return Finding(check, "ok", figure, detail)


def warn(check: str, figure: str, detail: str, remedy: str) -> Finding:
    """Return what is not well, but stops no line."""
    return Finding(check, "warn", figure, detail, remedy)


def fail(check: str, figure: str, detail: str, remedy: str) -> Finding:
    """Return what must be put right before the line can do its work."""
    return Finding(check, "fail", figure, detail, remedy)


def skipped(check: str, why: str) -> Finding:
    """Return why nothing was measured."""
    return Finding(check, "skipped", detail=why)


def run_checks(
    checks: Sequence[Check],
    report: Report,
    tell: Callable[[Finding], None],
    begin: Callable[[str], None],
    clock_s: Callable[[], float] = time.monotonic,
) -> None:
    """Run the checks in order.

    Args:
        checks: What to look at.
        report: Takes each finding as it comes.
        tell: Called with each finding as it comes.
        begin: Called with the name of each check before it is made.
        clock_s: Monotonic clock of the limits, in seconds.
    """
    for check in checks:
        begin(check.name if check.camera is None else f"{check.name} {check.camera}")
        for found in _findings(check, report.findings, clock_s):
            mine = replace(found, camera=check.camera)
            report.findings.append(mine)
            tell(mine)


def _findings(
    check: Check, before: Sequence[Finding], clock_s: Callable[[], float]
) -> Iterator[Finding]:
    """Yield what a check finds within its limit; its thread is left alone where it hangs."""
    missing = set(check.needs) - {found.check for found in before if found.verdict in GOOD}
    if missing:
        yield skipped(check.name, f"needs {', '.join(sorted(missing))}")
        return
    found: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()
    threading.Thread(None, _work, f"doctor-{check.name}", (check, found), daemon=True).start()
    until_s = clock_s() + check.limit_s
    while True:
        try:
            one = found.get(timeout=max(0.0, until_s - clock_s()))
        except queue.Empty:
            detail = f"no answer within {check.limit_s:g} s"
            yield fail(check.name, "", detail, check.if_silent)
            return
        if one is None:
            return
        yield one


def _work(check: Check, found: queue.SimpleQueue[Finding | None]) -> None:
    try:
        for one in check.look():
            found.put(one)
    except LineError as error:
        found.put(fail(check.name, "", str(error), PUT_RIGHT))
    except PermissionError as error:
        found.put(fail(check.name, "", str(error), SAME_USER))
    except BaseException as error:  # noqa: BLE001 - whatever it stumbles on, the others go on
        detail = f"this check itself failed: {type(error).__name__}: {error}"
        found.put(fail(check.name, "", detail, REPORT_IT))
    found.put(None)
