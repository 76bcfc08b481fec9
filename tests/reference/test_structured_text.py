"""The shipped structured text: parsed strictly, executed on the case table, equal to Python."""

from __future__ import annotations

from typing import Any

import pytest
from gate_cases import (
    ANSWERS,
    PLC,
    Case,
    PythonGate,
    Step,
    Told,
    disagreements,
    load_table,
    mutated,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from st_values import StructuredTextError
from structured_text import Program

from edge.plc_sim import HOPS_MS
from edge.reject_gate import BELT_LIMIT, PART_LIMIT, RETIRED_LIMIT, SILENCE_MS
from pipeline.config_plant import PartSettings

SOURCE = (PLC / "reject_gate.st").read_text(encoding="ascii")
TABLE = load_table()
PROGRAM = Program(SOURCE)
QUIET = {"entry": False, "newLine": False, "atGate": False}
BOOTS = [digit * 16 for digit in "abcdef"]
LINES = st.builds(
    "{};{};{};{}".format,
    st.sampled_from(BOOTS),
    st.integers(0, 9),
    st.sampled_from(["A-1", "A-2", "A-3", "L" * 48, "L" * 49]),
    st.sampled_from("01123"),
)
PARTS = st.sampled_from(["A-1", "A-2", "A-3", "L" * 48, "L" * 49, ""])
EVENTS = st.one_of(
    st.builds(lambda part: {"event": "enter", "part": part}, PARTS),
    st.builds(lambda line: {"event": "message", "payload": line}, LINES),
    st.builds(lambda line: {"event": "message", "payload": line}, LINES),
    st.builds(lambda text: {"event": "message", "payload": text}, st.text("01a;A-", max_size=24)),
    st.builds(lambda counter: {"event": "heartbeat", "counter": counter}, st.integers(1, 3)),
    st.builds(
        lambda payload: {"event": "status", "payload": payload},
        st.sampled_from(["", *(f'{{"state":"{s}"}}' for s in ("READY", "DEGRADED", "FAULT"))]),
    ),
    st.builds(lambda part: {"event": "gate", "part": part}, PARTS),
)
GUARDS = {
    "time": ("IF waited[i] > verdictMs THEN", "IF FALSE THEN"),
    "time is inclusive": ("waited[i] > verdictMs", "waited[i] >= verdictMs"),
    "clock": ("answer[i] := LATE;\n                    ELSE", "waited[i] := 0;\n ELSE"),
    "part": ("(belt[i] = line.part) AND (answer", "(belt[i] <> '') AND (answer"),
    "first verdict": (" AND (answer[i] = NO_VERDICT)", ""),
    "retired boot": ("IF retired[i] = line.boot THEN", "IF FALSE THEN"),
    "retiring": ("retired[nextRetired] := boot", "retired[nextRetired] := ''"),
    "how many boots": ("LAST_RETIRED : INT := 3", "LAST_RETIRED : INT := 2"),
    "sequence": ("line.partSeq > lastSeq", "line.partSeq <> lastSeq"),
    "repetition": ("line.partSeq > lastSeq", "line.partSeq >= lastSeq"),
    "sequence of a boot": ("            lastSeq := 0;\n", ""),
    "heartbeat": ("IF isSilent THEN", "IF FALSE THEN"),
    "how long silent": (">= SILENCE_MS", "> SILENCE_MS"),
    "no heartbeat ever": ("IF alive AND (nowMs", "IF (nowMs"),
    "first heartbeat": ("IF beat <> 0 THEN", "IF TRUE THEN"),
    "heartbeat changes": ("IF heartbeat <> beat THEN", "IF TRUE THEN"),
    "no status yet": ("NOT statusWired OR (", "NOT statusWired OR (status = '') OR ("),
    "status not wired": ("NOT statusWired OR (", "("),
    "status at the gate": ("ELSIF NOT trusted THEN", "ELSIF FALSE THEN"),
    "status of a verdict": ("IF NOT trusted THEN\n                        ", "IF FALSE THEN "),
    "unknown status": ('(FIND(status, \'"state":"READY"\') > 0)', "TRUE"),
    "used up at the gate": ("            belt[i] := '';\n            why", "            why"),
    "entering anew": ("IF belt[i] = entryPart THEN", "IF FALSE THEN"),
    "empty id": ("(LEN(gatePart) > 0) AND ", ""),
    "shortest id": ("(LEN(entryPart) >= 1)", "TRUE"),
    "longest id": ("entryPart : STRING(49)", "entryPart : STRING(48)"),
    "cut id": ("gatePart  : STRING(49)", "gatePart  : STRING(48)"),
    "old answer": ("answer[nextSlot] := NO_VERDICT;", ""),
    "belt": ("MOD (LAST_SLOT + 1)", "MOD LAST_SLOT"),
    "pass alone opens": ("(why = PASS)", "(why <= PASS)"),
    "code": ("F_HoldsOnly(fields[3], '012')", "F_HoldsOnly(fields[3], '0123')"),
    "code's length": ("AND (LEN(fields[3]) = 1) ", ""),
    "boot's digits": ("F_HoldsOnly(fields[0], '0123456789abcdef')", "TRUE"),
    "boot's length": ("(LEN(fields[0]) = 16) AND ", ""),
    "sequence's length": ("AND (LEN(fields[1]) <= 12) ", ""),
    "sequence's digits": ("F_HoldsOnly(fields[1], '0123456789')", "TRUE"),
    "sequence from 1": ("ok := partSeq > 0;", "ok := TRUE;"),
    "id's length": ("AND (LEN(fields[2]) <= 48)", ""),
    "id is there": ("AND (LEN(fields[2]) >= 1) ", ""),
    "empty field": ("F_HoldsOnly := LEN(text) > 0", "F_HoldsOnly := TRUE"),
}
OUTSIDE = {
    "unknown statement": ("RETURN;", "RETURN is not declared"),
    "unknown name": ("b := c;", "c is not declared"),
    "unknown function": ("s := TRIM(s);", "no function TRIM"),
    "silent conversion": ("u := n;", "INT where ULINT is needed"),
    "number as text": ("s := 1;", "literal integer where STRING is needed"),
    "condition of a number": ("IF n THEN b := TRUE; END_IF;", "INT where BOOL is needed"),
    "AND of numbers": ("n := n AND n;", "AND of INT"),
    "order of texts": ("b := s < 'a';", "< of STRING"),
    "literal out of range": ("n := 32768;", "32768 is no INT"),
    "written input": ("given := 1;", "given is not to be written"),
    "written constant": ("TOP := 1;", "TOP is not to be written"),
    "missing end": ("IF b THEN b := b;", "expected ELSIF or ELSE or END_IF"),
    "strange character": ("n := n # n;", "is not in the subset"),
    "too few arguments": ("n := LEN();", "expected a name"),
}
FAULTS = {
    "integer below zero": ("u := u - 1;", "-1 is no ULINT"),
    "integer too large": ("n := 32767 + given;", "32768 is no INT"),
    "text is cut": ("s := '12345678';", "is longer than 4"),
    "index": ("a[given + 2] := 1;", "index 3 is not in 0..2"),
    "piece outside": ("s := MID('ab', 2, 2);", "2 characters at 2"),
    "nothing to find": ("n := FIND('ab', '');", "FIND of an empty text"),
    "no number": ("n := STRING_TO_INT('x');", "'x' is no number"),
    "operands of OR": ("b := b OR (FIND('ab', s) > 0);", "FIND of an empty text"),
}
WRAPPING = """FUNCTION_BLOCK FB
VAR_INPUT given : INT := 1; END_VAR
VAR CONSTANT TOP : INT := 2; END_VAR
VAR b : BOOL := TRUE; n : INT; u : ULINT; s : STRING(4); a : ARRAY[0..2] OF INT; END_VAR
{}
END_FUNCTION_BLOCK
"""


class TextGate:
    """The gate in structured text, called as a PLC's program calls it: once a scan."""

    def __init__(self, program: Program = PROGRAM) -> None:
        """Take a program and switch it on."""
        self._program = program
        self.switch_on(status_wired=True)

    def switch_on(self, *, status_wired: bool) -> None:
        """Begin as at power-on, with the table's T#verdict, with or without the topic status."""
        self._wired = status_wired
        self._block = self._program.instance("FB_RejectGate")
        self._last = self.scan(verdictMs=TABLE.verdict_ms, statusWired=status_wired)

    def scan(self, **inputs: bool | int | str) -> dict[str, Any]:
        """Call the block once; sensors that are not given show nothing."""
        return self._block.scan({**QUIET, **inputs})

    def take(self, step: Step) -> Told | None:
        """Let the step happen in one scan, and be over in the next."""
        if step.event == "restart":
            self.switch_on(status_wired=self._wired)
            return None
        inputs: dict[str, dict[str, bool | int | str]] = {
            "enter": {"entry": True, "entryPart": step.part},
            "message": {"newLine": True, "payload": step.payload},
            "heartbeat": {"heartbeat": step.counter},
            "status": {"status": step.payload},
            "gate": {"atGate": True, "gatePart": step.part},
        }
        out = self.scan(nowMs=step.at_ms, **inputs[step.event])
        self._last = self.scan()
        return (out["open"], ANSWERS[out["why"]], out["waitedMs"]) if out["decided"] else None

    def counts(self) -> tuple[int, int]:
        """Return how many messages were malformed and how many ignored."""
        return self._last["malformed"], self._last["ignored"]


@pytest.fixture
def awake() -> TextGate:
    """A gate whose box is alive, and that holds a PASS for A-1, at 100 ms."""
    gate = TextGate()
    gate.scan(nowMs=0, heartbeat=1, status='{"state":"READY"}')
    gate.scan(nowMs=0, heartbeat=2)
    gate.scan(nowMs=50, entry=True, entryPart="A-1")
    gate.scan(nowMs=100, newLine=True, payload=f"{BOOTS[0]};1;A-1;1")
    return gate


@pytest.mark.parametrize("case", TABLE.cases, ids=lambda case: case.name)
def test_case_table(case: Case) -> None:
    """The structured text decides, and counts, each case as the table says."""
    assert disagreements(case, TextGate()) == []


def test_table_executes_every_statement() -> None:
    """No statement of the structured text is untested."""
    program = Program(SOURCE)

    for case in TABLE.cases:
        disagreements(case, TextGate(program))

    assert program.statement_lines - program.executed_lines == set()


@pytest.mark.parametrize(("old", "new"), GUARDS.values(), ids=GUARDS)
def test_table_notices_a_guard_that_is_gone(old: str, new: str) -> None:
    """Whichever guard is weakened, at least one case fails or is refused."""
    weakened = Program(mutated(SOURCE, old, new))

    def fails(case: Case) -> bool:
        try:
            return bool(disagreements(case, TextGate(weakened)))
        except StructuredTextError:
            return True

    assert any(fails(case) for case in TABLE.cases)


@given(
    wired=st.booleans(),
    events=st.lists(st.tuples(st.sampled_from([0, 1, 250, 499, 1500]), EVENTS), max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_structured_text_equals_python(
    *, wired: bool, events: list[tuple[int, dict[str, Any]]]
) -> None:
    """Whatever happens in whatever order, both gates decide and count the same."""
    python, text = PythonGate(TABLE.verdict_ms), TextGate()
    python.switch_on(status_wired=wired)
    text.switch_on(status_wired=wired)
    now = 0
    for pause_ms, event in events:
        now += pause_ms
        step = Step(at_ms=now, **event)

        assert text.take(step) == python.take(step)

    assert text.counts() == python.counts()


def test_limits_are_the_same_in_both() -> None:
    """Belt, retired boots, silence and id have the limits of the Python gate, and its defaults."""
    block = PROGRAM.units["FB_RejectGate"].variables

    assert block["statusWired"].initial is True
    assert block["verdictMs"].initial == PartSettings().deadline_ms + HOPS_MS
    assert block["SILENCE_MS"].initial == SILENCE_MS
    assert block["PART_LIMIT"].initial == PART_LIMIT
    assert block["LAST_SLOT"].initial + 1 == BELT_LIMIT
    assert block["LAST_RETIRED"].initial + 1 == RETIRED_LIMIT
    assert [block[name.upper()].initial for name in ANSWERS[3:]] == [3, 4, 5, 6, 7]
    assert {block[n].type.bounds for n in ("belt", "enteredMs", "answer", "waited")} == {(0, 31)}


def test_gate_shuts_behind_the_part(awake: TextGate) -> None:
    """The gate is open while the part is there, and shut as soon as it is not."""
    opened = [awake.scan(nowMs=now, atGate=True, gatePart="A-1") for now in (300, 310, 320)]
    after = awake.scan(nowMs=330)

    assert [out["open"] for out in opened] == [True, True, True]
    assert [out["decided"] for out in opened] == [True, False, False]
    assert not after["open"]


def test_touching_parts_are_two(awake: TextGate) -> None:
    """A part that follows without a gap does not pass on the verdict of the one before it."""
    first = awake.scan(nowMs=300, atGate=True, gatePart="A-1")
    second = awake.scan(nowMs=310, atGate=True, gatePart="A-2")

    assert (first["open"], second["open"]) == (True, False)
    assert ANSWERS[second["why"]] == "unknown_part"


def test_parts_that_enter_without_a_gap(awake: TextGate) -> None:
    """Another id at the entry sensor is another part, also where the signal did not fall."""
    awake.scan(nowMs=110, entry=True, entryPart="A-2")
    awake.scan(nowMs=120, entry=True, entryPart="A-3")
    awake.scan(nowMs=130, newLine=True, payload=f"{BOOTS[0]};2;A-3;1")

    assert awake.scan(nowMs=300, atGate=True, gatePart="A-3")["open"]


def test_entry_signal_that_stays_is_one_entry(awake: TextGate) -> None:
    """A part that stands at the entry sensor enters once: its timer does not start again."""
    for now in (200, 500, 900):
        awake.scan(nowMs=now, entry=True, entryPart="A-2")
    awake.scan(nowMs=950, newLine=True, payload=f"{BOOTS[0]};2;A-2;1")

    out = awake.scan(nowMs=1000, atGate=True, gatePart="A-2")

    assert ANSWERS[out["why"]] == "late"


def test_sensors_at_power_on_are_no_events() -> None:
    """Parts that stand at the sensors when the PLC starts are neither entered nor passed."""
    block = PROGRAM.instance("FB_RejectGate")

    first = block.scan({"entry": True, "entryPart": "A-1", "atGate": True, "gatePart": "A-0"})
    block.scan({"nowMs": 10, **QUIET})
    block.scan({"nowMs": 20, "newLine": True, "payload": f"{BOOTS[0]};1;A-1;1"})
    at_gate = block.scan({"nowMs": 30, **QUIET, "atGate": True, "gatePart": "A-1"})

    assert (first["open"], first["decided"]) == (False, False)
    assert ANSWERS[at_gate["why"]] == "unknown_part"


def test_everything_in_one_scan(awake: TextGate) -> None:
    """What one scan brings is taken in the order entry, verdict, gate."""
    out = awake.scan(
        nowMs=300, entry=True, entryPart="A-2", newLine=True,
        payload=f"{BOOTS[0]};2;A-2;1", atGate=True, gatePart="A-2",
    )  # fmt: skip

    assert (out["open"], out["waitedMs"]) == (True, 0)


def test_a_grammar_of_others_accepts_it() -> None:
    """The source is structured text also to a parser that was written for TwinCAT."""
    blark = pytest.importorskip("blark.parse", reason="blark is not installed")

    parsed = blark.parse_source_code(SOURCE).transform()

    assert [type(item).__name__ for item in parsed.items] == [
        "Function",
        "FunctionBlock",
        "FunctionBlock",
    ]


@pytest.mark.parametrize(("statement", "why"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_is_not_in_the_subset_is_refused(statement: str, why: str) -> None:
    """The interpreter runs nothing that it does not know, and says the line."""
    with pytest.raises(StructuredTextError, match=r"line \d+: ") as refused:
        Program(WRAPPING.format(statement))

    assert why in str(refused.value)


def test_array_bound_that_may_change_is_refused() -> None:
    """The bound of an array is a number or a constant, never a variable."""
    with pytest.raises(StructuredTextError, match="given is no constant number"):
        Program(WRAPPING.format("b := b;").replace("0..2", "0..given"))


@pytest.mark.parametrize(("statement", "why"), FAULTS.values(), ids=FAULTS)
def test_what_vendors_do_differently_is_a_fault(statement: str, why: str) -> None:
    """Nothing wraps round, is cut, or lies outside of its text or array without being noticed."""
    block = Program(WRAPPING.format(statement)).instance("FB")

    with pytest.raises(StructuredTextError, match="line 5: ") as failed:
        block.scan({})

    assert why in str(failed.value)
