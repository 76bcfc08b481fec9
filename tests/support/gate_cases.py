"""The reject gate's case table, run against any gate: the Python one, the structured text."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from edge.reject_gate import Answer, RejectGate

PLC = Path(__file__).parents[2] / "deploy" / "plc"
ANSWERS = tuple(answer.name.lower() for answer in Answer)
"""Reasons by their number, the same in Python and structured text."""

Told = tuple[bool, str, int]
"""A decision: open, its reason by name, and the milliseconds waited; 0 where nothing came."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Strict):
    """Something that happens at the PLC, and what it must answer."""

    at_ms: int
    event: Literal["enter", "message", "heartbeat", "status", "gate", "restart"]
    part: str = ""
    payload: str = ""
    counter: int = 0
    expect: Literal["open", "reject"] | None = None
    why: str = ""
    waited_ms: int | None = None


class Case(_Strict):
    """One row of the table."""

    name: str
    law: str
    status_wired: bool
    malformed: int
    ignored: int
    steps: list[Step]


class Table(_Strict):
    """The whole file."""

    verdict_ms: int
    cases: list[Case]


class GateUnderTest(Protocol):
    """What a gate must offer to be run against the table."""

    def switch_on(self, *, status_wired: bool) -> None:
        """Begin as at power-on, with or without the topic status."""
        ...

    def take(self, step: Step) -> Told | None:
        """Let the step happen; the decision, where it is one at the gate."""
        ...

    def counts(self) -> tuple[int, int]:
        """Return how many messages were malformed and how many ignored."""
        ...


class PythonGate:
    """The gate of ``edge.reject_gate``, or a module with the same names."""

    def __init__(self, verdict_ms: int, kind: type[RejectGate] = RejectGate) -> None:
        """Take the table's T#verdict and switch it on."""
        self._verdict_ms, self._kind = verdict_ms, kind
        self.switch_on(status_wired=True)

    def switch_on(self, *, status_wired: bool) -> None:
        """Begin as at power-on, with or without the topic status."""
        self._wired = status_wired
        self._gate = self._kind(self._verdict_ms, status_wired=status_wired)

    def take(self, step: Step) -> Told | None:
        """Let the step happen; the decision, where it is one at the gate."""
        match step.event:
            case "enter":
                self._gate.enter(step.part, step.at_ms)
            case "message":
                self._gate.message(step.payload.encode(), step.at_ms)
            case "heartbeat":
                self._gate.heartbeat(step.counter, step.at_ms)
            case "status":
                self._gate.status(step.payload)
            case "restart":
                self.switch_on(status_wired=self._wired)
            case "gate":
                decision = self._gate.decide(step.part, step.at_ms)
                return decision.open, decision.answer.name.lower(), max(decision.waited_ms or 0, 0)
        return None

    def counts(self) -> tuple[int, int]:
        """Return how many messages were malformed and how many ignored."""
        return self._gate.malformed, self._gate.ignored


def load_table() -> Table:
    """Read ``deploy/plc/cases.json``."""
    return Table.model_validate_json((PLC / "cases.json").read_text(encoding="utf-8"))


def disagreements(case: Case, gate: GateUnderTest) -> list[str]:
    """Run a case and return where the gate answers otherwise than the table."""
    found = []
    gate.switch_on(status_wired=case.status_wired)
    for number, step in enumerate(case.steps):
        told = gate.take(step)
        wanted = None if step.expect is None else (step.expect == "open", step.why)
        if (told and told[:2]) != wanted:
            found.append(f"step {number} {step.part}: {told}, not {wanted}")
        if told and step.waited_ms is not None and told[2] != step.waited_ms:
            found.append(f"step {number} {step.part}: waited {told[2]}, not {step.waited_ms}")
    if gate.counts() != (case.malformed, case.ignored):
        found.append(f"counts {gate.counts()}, not {(case.malformed, case.ignored)}")
    return found


def mutated(source: str, old: str, new: str) -> str:
    """Return the source with one guard changed.

    Raises:
        ValueError: The guard is not there exactly once, so nothing would be proven.
    """
    if source.count(old) != 1:
        msg = f"{old!r} is there {source.count(old)} times"
        raise ValueError(msg)
    return source.replace(old, new)
