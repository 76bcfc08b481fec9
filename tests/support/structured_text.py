"""Structured text, parsed and executed: the subset of IEC 61131-3 that deploy/plc is written in.

Stricter than a PLC, so that a program which runs here relies on nothing that
vendors do differently; whatever is not in the subset is an error with its
line. Which statements were executed is kept, so that a test can ask for all.

Source: IEC 61131-3:2013, sections 6.6 (functions, function blocks, programs) and 7.3.3
(statements).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from st_expressions import ExpressionParser
from st_values import (
    BOOL,
    RANGES,
    STRING_LIMIT,
    Frame,
    Run,
    RunTimeError,
    StructuredTextError,
    Type,
    Unit,
    Variable,
    checked,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS = ("VAR_INPUT", "VAR_OUTPUT", "VAR")
ENDS = ("END_IF", "ELSIF", "ELSE", "END_FOR", "END_FUNCTION", "END_FUNCTION_BLOCK", "END_PROGRAM")


class Instance:
    """One instance of a function block, as a PLC's program holds it, or a program."""

    def __init__(self, unit: Unit) -> None:
        """Set the instance up as at power-on."""
        self._unit = unit
        self._frame = unit.new_frame()

    def scan(self, inputs: Mapping[str, bool | int | str | list[str]]) -> dict[str, Any]:
        """Call the block once; texts are cut at the inputs' sizes, as a PLC cuts them.

        Args:
            inputs: Values by name, an array as a list; those that are not given keep theirs.

        Returns:
            The outputs by name.

        Raises:
            StructuredTextError: An input is none, or a statement failed.
        """
        known = self._unit.names("VAR_INPUT")
        for name, value in inputs.items():
            if name not in known:
                msg = f"{self._unit.name}.{name} is no input"
                raise StructuredTextError(msg)
            kind = self._unit.variables[name].type
            self._frame[name] = checked(
                kind, value[: kind.size] if isinstance(value, str) else value
            )
        self._unit.body(self._frame)
        return {name: self._frame[name] for name in self._unit.names("VAR_OUTPUT")}


class Program(ExpressionParser):
    """The units of one source, and which of its statements were executed."""

    def __init__(self, source: str) -> None:
        """Parse and type-check the source.

        Raises:
            StructuredTextError: The source is not in the subset.
        """
        super().__init__(source)
        self.statement_lines: set[int] = set()
        self.executed_lines: set[int] = set()
        while self._token:
            self._parse_unit()

    def instance(self, name: str) -> Instance:
        """Return a new instance of a function block."""
        return Instance(self.units[name])

    def _parse_unit(self) -> None:
        kind = self._expect("FUNCTION", "FUNCTION_BLOCK", "PROGRAM")
        self._unit = unit = Unit(self._name())
        if unit.name in self.units:
            self._fail(f"{unit.name} is there twice")
        if kind == "FUNCTION":
            self._expect(":")
            unit.result = self._type()
            unit.variables[unit.name] = Variable(unit.result, "VAR")
        while section := self._accept(*SECTIONS):
            if self._accept("CONSTANT"):
                section = "VAR CONSTANT"
            while not self._accept("END_VAR"):
                self._declare(section)
        unit.body = self._block()
        self._expect(f"END_{kind}")
        self.units[unit.name] = unit

    def _declare(self, section: str) -> None:
        name = self._name()
        # A PLC does not tell upper from lower case; here a name is always written the same.
        if name.lower() in {known.lower() for known in self._unit.variables}:
            self._fail(f"{name} is declared twice")
        self._expect(":")
        kind = self._type()
        initial = self._fitting(kind, self._factor()).run({}) if self._accept(":=") else None
        if section == "VAR CONSTANT" and initial is None:
            self._fail(f"constant {name} has no value")
        self._unit.variables[name] = Variable(kind, section, initial)
        self._expect(";")

    def _type(self) -> Type:
        name = self._name()
        if name in RANGES or name == BOOL.name:
            return Type(name)
        if name == "STRING":
            self._expect("(")
            size = self._number()
            self._expect(")")
            return Type(name, size) if size <= STRING_LIMIT else self._fail(f"STRING({size})")
        if name == "ARRAY":
            return self._array()
        if name in self.units and self.units[name].result is None:
            return Type(name, unit=self.units[name])
        return self._fail(f"no type {name}")

    def _array(self) -> Type:
        self._expect("[")
        low = self._bound()
        self._expect("..")
        high = self._bound()
        self._expect("]")
        self._expect("OF")
        return Type("ARRAY", bounds=(low, high), of=self._type())

    def _bound(self) -> int:
        """Read a bound of an array: a number, or a constant that was declared before."""
        if self._token.isdigit():
            return self._number()
        name = self._name()
        constant = self._variable(name)
        if constant.section != "VAR CONSTANT" or not constant.type.is_integer:
            self._fail(f"{name} is no constant number")
        return int(constant.initial)

    def _block(self) -> Run:
        """Parse statements until what ends them."""
        steps: list[Run] = []
        while self._token not in ENDS:
            line = self._line
            self.statement_lines.add(line)
            steps.append(self._marked(line, self._statement()))
            self._expect(";")

        def run(frame: Frame) -> None:
            for step in steps:
                step(frame)

        return run

    def _marked(self, line: int, step: Run) -> Run:
        """Return the step as one that notes that it ran, and says its line where it fails."""

        def run(frame: Frame) -> None:
            self.executed_lines.add(line)
            try:
                step(frame)
            except RunTimeError as error:
                msg = f"line {line}: {error}"
                raise StructuredTextError(msg) from error

        return run

    def _statement(self) -> Run:
        if self._accept("IF"):
            return self._if()
        if self._accept("FOR"):
            return self._for()
        name = self._name()
        variable = self._variable(name)
        if variable.type.unit is not None:
            return self._block_call(name, variable.type.unit)
        if variable.section not in {"VAR", "VAR_OUTPUT"}:
            self._fail(f"{name} is not to be written")
        return self._assignment(name, variable.type)

    def _assignment(self, name: str, kind: Type) -> Run:
        index = self._index(kind) if kind.of is not None else None
        self._expect(":=")
        value = self._fitting(kind.of or kind, self._expression())

        def assign(frame: Frame) -> None:
            if index is None:
                frame[name] = value.run(frame)
            else:
                frame[name][index(frame)] = value.run(frame)

        return assign

    def _if(self) -> Run:
        branches: list[tuple[Run, Run]] = []
        more = "ELSIF"
        while more == "ELSIF":
            condition = self._fitting(BOOL, self._expression())
            self._expect("THEN")
            branches.append((condition.run, self._block()))
            more = self._expect("ELSIF", "ELSE", "END_IF")
        if more == "ELSE":
            branches.append((lambda _frame: True, self._block()))
            self._expect("END_IF")

        def run(frame: Frame) -> None:
            for holds, body in branches:
                if holds(frame):
                    body(frame)
                    return

        return run

    def _for(self) -> Run:
        name = self._name()
        kind = self._variable(name).type
        self._expect(":=")
        first = self._fitting(kind, self._expression())
        self._expect("TO")
        last = self._fitting(kind, self._expression())
        self._expect("DO")
        body = self._block()
        self._expect("END_FOR")

        def run(frame: Frame) -> None:
            for value in range(first.run(frame), last.run(frame) + 1):
                frame[name] = value
                body(frame)

        return run

    def _block_call(self, name: str, unit: Unit) -> Run:
        given: dict[str, Run] = {}
        self._expect("(")
        while not given or self._accept(","):
            parameter = self._name()
            if parameter not in unit.names("VAR_INPUT"):
                self._fail(f"{parameter} is no input of {unit.name}")
            self._expect(":=")
            given[parameter] = self._fitting(unit.variables[parameter].type, self._expression()).run
        self._expect(")")

        def call(frame: Frame) -> None:
            frame[name].update({key: value(frame) for key, value in given.items()})
            unit.body(frame[name])

        return call
