"""The page for controls engineers: its program runs, and its tables are those of the code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from gate_cases import ANSWERS, PLC, Case, Step, Table, mutated
from structured_text import Program

if TYPE_CHECKING:
    from structured_text import Instance

PAGE = (PLC / "README.md").read_text(encoding="utf-8")
BLOCKS = (PLC / "reject_gate.st").read_text(encoding="ascii")
READY = '{"state":"READY"}'
ROOM = 16
"""Payloads that the page's program lets wait."""


def example() -> str:
    """Return the page's program."""
    found = re.search(r"```iecst\n(PROGRAM .*?END_PROGRAM)\n```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


class Plc:
    """The page's program, called every 10 ms; the time is an input, as the tests have no clock."""

    def __init__(self) -> None:
        """Switch it on with a box that is alive and ready."""
        source = mutated(example(), "LTIME_TO_ULINT(LTIME()) / 1000000", "nowMs")
        source = mutated(source, "VAR_INPUT\n", "VAR_INPUT\n    nowMs : ULINT;\n")
        self._block: Instance = Program(BLOCKS + source).instance("PRG_RejectGate")
        self._now = 0
        self.scan(heartbeat=1, status=READY)
        self.scan(heartbeat=2)

    def scan(self, *lines: str, **inputs: bool | int | str) -> dict[str, Any]:
        """Call it once, with the payloads that this scan brings."""
        self._now += 10
        payloads = [*lines, *[""] * (ROOM - len(lines))]
        quiet = {"entry": False, "atGate": False, "brought": len(lines), "nowMs": self._now}
        return self._block.scan({**quiet, "lines": payloads, **inputs})

    def enter(self, *parts: str) -> None:
        """Let parts pass the entry sensor, one a scan."""
        for part in parts:
            self.scan(entry=True, entryPart=part)

    def opens_for(self, part: str) -> bool:
        """Let a part reach the gate."""
        opened: bool = self.scan(atGate=True, gatePart=part)["open"]
        return opened


def passes(count: int) -> tuple[list[str], list[str]]:
    """Return parts, and a PASS for each."""
    parts = [f"A-{number}" for number in range(1, count + 1)]
    return parts, [f"{'a' * 16};{number};{part};1" for number, part in enumerate(parts, 1)]


def test_payloads_of_one_scan_are_taken_one_by_one() -> None:
    """What comes in one scan waits, and is taken in order, one payload a scan."""
    plc, (parts, lines) = Plc(), passes(3)
    plc.enter(*parts)

    first = plc.scan(*lines, atGate=True, gatePart="A-3")
    for _ in parts:
        plc.scan()

    assert not first["open"]
    assert [plc.opens_for(part) for part in ("A-1", "A-2")] == [True, True]


def test_payload_that_finds_no_room_rejects_its_part() -> None:
    """Sixteen payloads wait; of more the newest are counted as lost, and their parts rejected."""
    plc, (parts, lines) = Plc(), passes(ROOM + 4)
    plc.enter(*parts)

    plc.scan(*lines[:ROOM])
    lost = plc.scan(*lines[ROOM:])["lost"]
    for _ in parts:
        plc.scan()

    assert lost == 3
    assert [part for part in parts if plc.opens_for(part)] == parts[: ROOM + 1]


def test_a_grammar_of_others_accepts_it() -> None:
    """The program is structured text also to a parser that was written for TwinCAT."""
    blark = pytest.importorskip("blark.parse", reason="blark is not installed")

    parsed = blark.parse_source_code(example()).transform()

    assert [type(item).__name__ for item in parsed.items] == ["Program"]


def test_reasons_have_their_names() -> None:
    """The page's table gives each number of ``why`` the name that plc-sim prints."""
    rows = re.findall(r"^\| ([0-9]) \| `([a-z_]+)` \|", PAGE, re.MULTILINE)

    assert rows == [(str(number), name) for number, name in enumerate(ANSWERS)]


@pytest.mark.parametrize("model", [Table, Case, Step])
def test_every_key_of_the_cases_is_described(model: type[Table | Case | Step]) -> None:
    """Who ports the gate finds each key of cases.json on the page."""
    assert [key for key in model.model_fields if f"`{key}`" not in PAGE] == []
