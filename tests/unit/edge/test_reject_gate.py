"""The reject gate: the case table, the law under any course of events, and guards with teeth."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from gate_cases import Case, PythonGate, disagreements, load_table, mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edge import reject_gate
from edge.contract import State, StatusMessage, plc_line
from edge.frame import PartId
from edge.reject_gate import PART_LIMIT, TRUSTED_STATES, Answer, RejectGate

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.contract import Verdict

BOOT, NEXT_BOOT = "0123456789abcdef", "fedcba9876543210"
VERDICT_MS = 500
TABLE = load_table()
PART_PATTERN: str = TypeAdapter(PartId).json_schema()["pattern"]
STATES: tuple[State, ...] = ("WARMING", "READY", "DEGRADED", "FAULT", "STOPPED", "OFFLINE")
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 700),
        st.sampled_from(["enter", "message", "message", "gate", "heartbeat", "status"]),
        st.sampled_from(["A-1", "A-2", "A-3"]),
        st.sampled_from([BOOT, BOOT, NEXT_BOOT]),
        st.integers(1, 12),
        st.sampled_from(["PASS", "PASS", "FAIL", "NO_RESULT"]),
    ),
    max_size=40,
)
GUARDS = {
    "time": ("0 <= entry.waited_ms <= self._verdict_ms", "0 <= entry.waited_ms"),
    "time is inclusive": ("ms <= self._verdict_ms", "ms < self._verdict_ms"),
    "clock": ("if not 0 <= entry.waited_ms <=", "if not entry.waited_ms <="),
    "part": ("entry.part == part and entry.answer", "entry.part and entry.answer"),
    "first verdict": ("and entry.answer is Answer.NO_VERDICT", ""),
    "retired boot": ("if boot in self._retired:", "if False:"),
    "retiring": ("self._retired.append(self._boot)", "pass"),
    "how many boots": ("RETIRED_LIMIT = 4", "RETIRED_LIMIT = 3"),
    "boots are bounded": ("RETIRED_LIMIT = 4", "RETIRED_LIMIT = 5"),
    "sequence": ("if part_seq <= self._last_seq:", "if part_seq == self._last_seq:"),
    "repetition": ("if part_seq <= self._last_seq:", "if part_seq < self._last_seq:"),
    "sequence of a boot": ("self._boot, self._last_seq = boot, 0", "self._boot = boot"),
    "heartbeat": ("if self._is_silent(at_ms):", "if False:"),
    "how long silent": ("< self._silence_ms", "<= self._silence_ms"),
    "no heartbeat ever": ("self._alive_ms is None or", "self._alive_ms is not None and"),
    "first heartbeat": ("if self._beat != 0:", "if True:"),
    "heartbeat changes": ("if counter != self._beat:", "if True:"),
    "heartbeat to come": ("not 0 <= at_ms - self._alive_ms <", "not at_ms - self._alive_ms <"),
    "status at the gate": ("   answer = Answer.UNTRUSTED", "   pass"),
    "status of a verdict": ("entry.answer = Answer.UNTRUSTED", "pass"),
    "unknown status": ("or any(said)", 'or "FAULT" not in payload'),
    "empty status": ("or any(said)", 'or payload == "" or any(said)'),
    "no status yet": ("self._trusted = not status_wired", "self._trusted = True"),
    "status not wired": ("not self._status_wired or any", "any"),
    "not wired at first": ("self._trusted = not status_wired", "self._trusted = False"),
    "used up at the gate": ('                entry.part = ""\n', ""),
    "entering anew": ("        self._take(part)\n        if", "        if"),
    "empty id": ("if part and entry.part == part:", "if entry.part == part:"),
    "shortest id": ("if 1 <= len(part) <=", "if len(part) <="),
    "longest id": ("1 <= len(part) <= PART_LIMIT", "1 <= len(part)"),
    "cut id": ("if part and entry.part == part:", "if part and entry.part == part[:48]:"),
    "belt": ("BELT_LIMIT = 32", "BELT_LIMIT = 31"),
    "belt is bounded": ("BELT_LIMIT = 32", "BELT_LIMIT = 33"),
    "pass alone opens": ("self.answer is Answer.PASS", "self.answer in (0, 1)"),
    "whole message": ("_LINE.fullmatch(payload)", "_LINE.match(payload)"),
    "code": (";([012])", ";([0-3])"),
    "boot's digits": ("([0-9a-f]{16})", "([^;]{16})"),
    "boot's length": ("([0-9a-f]{16})", "([0-9a-f]+)"),
    "sequence's length": ("([0-9]{1,12})", "([0-9]+)"),
    "sequence from 1": ("or part_seq < 1:", ":"),
    "id's length": ("([^;]{1,48})", "([^;]+)"),
}  # fmt: skip


@pytest.fixture
def gate_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type[RejectGate]]:
    """Return what makes a gate's class from a source text."""

    def load(source: str) -> type[RejectGate]:
        module = ModuleType("edge.mutated_reject_gate")
        # Dataclasses look their module up while they are made.
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(source, module.__name__, "exec"), vars(module))  # noqa: S102 - our own source
        kind: type[RejectGate] = module.RejectGate
        return kind

    return load


@pytest.mark.parametrize("case", TABLE.cases, ids=lambda case: case.name)
def test_case_table(case: Case) -> None:
    """Each case of deploy/plc/cases.json is decided, and counted, as it says."""
    assert disagreements(case, PythonGate(TABLE.verdict_ms)) == []


def test_case_table_is_whole() -> None:
    """Every reason is in the table, and each case has a name of its own."""
    reasons = {step.why for case in TABLE.cases for step in case.steps if step.expect}

    assert reasons == {answer.name.lower() for answer in Answer}
    assert len({case.name for case in TABLE.cases}) == len(TABLE.cases)


@pytest.mark.parametrize(("old", "new"), GUARDS.values(), ids=GUARDS)
def test_table_notices_a_guard_that_is_gone(
    gate_of: Callable[[str], type[RejectGate]], old: str, new: str
) -> None:
    """Whichever guard is weakened, at least one case of the table fails."""
    source = Path(reject_gate.__file__).read_text(encoding="utf-8")
    weakened = gate_of(mutated(source, old, new))

    failed = [c for c in TABLE.cases if disagreements(c, PythonGate(TABLE.verdict_ms, weakened))]

    assert failed


@given(events=EVENTS)
@settings(max_examples=200, deadline=None)
def test_open_means_pass_in_time(events: list[tuple[int, str, str, str, int, Verdict]]) -> None:
    """The gate opens only for a PASS for the part since its entry, in time, new and trusted."""
    gate, now, beaten_at, ready = RejectGate(VERDICT_MS), 0, -3000, False
    entered: dict[str, int] = {}
    passed: set[str] = set()
    used: set[tuple[str, int]] = set()
    for number, (pause_ms, event, part, boot, part_seq, verdict) in enumerate(events, 1):
        now += pause_ms
        if event == "enter":
            gate.enter(part, now)
            entered[part] = now
            passed.discard(part)
        elif event == "message":
            gate.message(plc_line(boot, part_seq, part, verdict), now)
            in_time = part in entered and now - entered[part] <= VERDICT_MS
            if verdict == "PASS" and in_time and ready and (boot, part_seq) not in used:
                passed.add(part)
            used.add((boot, part_seq))
        elif event == "heartbeat":
            gate.heartbeat(number, now)
            beaten_at = now
        elif event == "status":
            ready = verdict == "PASS"
            gate.status('{"state":"READY"}' if ready else '{"state":"FAULT"}')
        elif gate.decide(part, now).open:
            assert part in passed
            assert ready
            assert now - beaten_at < 3000
        if event == "gate":
            entered.pop(part, None)
            passed.discard(part)


@given(payload=st.binary(max_size=100))
@settings(max_examples=200, deadline=None)
def test_rubbish_opens_nothing(payload: bytes) -> None:
    """Any bytes that are no line are counted as malformed and change nothing else."""
    gate = RejectGate(VERDICT_MS)

    gate.message(payload, 0)

    assert (gate.malformed, gate.ignored) == (1, 0)


@given(part=st.from_regex(PART_PATTERN, fullmatch=True))
@settings(max_examples=100, deadline=None)
def test_every_id_of_the_contract_is_judged(part: str) -> None:
    """Whatever id the contract allows may pass: nothing in it breaks the line."""
    gate = RejectGate(VERDICT_MS, status_wired=False)
    gate.heartbeat(1, 0)
    gate.heartbeat(2, 0)
    gate.enter(part, 0)

    gate.message(plc_line(BOOT, 1, part, "PASS"), 1)

    assert gate.decide(part, 2).open


@pytest.mark.parametrize("state", STATES)
def test_states_are_read_as_the_gate_says_them(state: State) -> None:
    """The status as it is published is trusted where verdicts are promised, and only there."""
    gate = RejectGate(VERDICT_MS)
    gate.heartbeat(1, 0)
    gate.heartbeat(2, 0)
    gate.status('{"state":"READY"}')
    gate.enter("A-1", 0)
    gate.message(plc_line(BOOT, 1, "A-1", "PASS"), 1)

    gate.status(StatusMessage(state=state, boot=BOOT, cfg="0a1b2c3d").payload().decode())

    assert gate.decide("A-1", 2).open == (state in TRUSTED_STATES)


def test_undecided_parts_are_counted() -> None:
    """What has entered and was not decided is undecided, once an id."""
    gate = RejectGate(VERDICT_MS)
    for part in ("A-1", "A-2", "A-2", "L" * (PART_LIMIT + 1)):
        gate.enter(part, 0)

    gate.decide("A-1", 1)

    assert gate.undecided == 1


@pytest.mark.parametrize("limits", [(0, 3000), (500, 0)])
def test_limits_are_positive(limits: tuple[int, int]) -> None:
    """A limit that nothing could keep is refused by its name."""
    with pytest.raises(ValueError, match="_ms = 0: must be at least 1"):
        RejectGate(*limits)
