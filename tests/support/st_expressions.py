"""Expressions of structured text, read, type-checked and compiled to functions of a frame.

No type is converted silently, and every operand of AND and OR is evaluated,
as most PLCs do.

Source: IEC 61131-3:2013, sections 6.3 (literals) and 7.3.2 (expressions, with
their precedence).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from st_values import (
    ANY_INT,
    BOOL,
    FUNCTIONS,
    INT,
    TEXT,
    Expression,
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
    from collections.abc import Callable, Iterator

TOKEN = re.compile(
    r"(?P<space>\s+|\(\*.*?\*\))|(?P<token>'[^'$\n]*'|[0-9]+|[A-Za-z_]\w*"
    r"|:=|<=|>=|<>|\.\.|[-+=<>();:,.\[\]])",
    re.DOTALL | re.ASCII,
)
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
KEYWORDS = {"AND", "OR", "NOT", "MOD", "IF", "THEN", "ELSIF", "ELSE", "FOR", "TO", "DO", "OF"}
EQUALITY: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
}
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
SUM: dict[str, Callable[[Any, Any], Any]] = {"+": lambda a, b: a + b, "-": lambda a, b: a - b}
PRODUCT: dict[str, Callable[[Any, Any], Any]] = {"MOD": lambda a, b: a % b}
BOTH: dict[str, Callable[[Any, Any], bool]] = {"AND": lambda a, b: a and b}
EITHER: dict[str, Callable[[Any, Any], bool]] = {"OR": lambda a, b: a or b}
LEVELS = (EITHER, BOTH, EQUALITY, ORDER, SUM, PRODUCT)
"""Operators, those that bind least first."""


def _tokens(source: str) -> Iterator[tuple[str, int]]:
    """Yield each token with its line."""
    at, line = 0, 1
    while at < len(source):
        found = TOKEN.match(source, at)
        if found is None:
            msg = f"line {line}: {source[at : at + 10]!r} is not in the subset"
            raise StructuredTextError(msg)
        if found["token"]:
            yield found["token"], line
        line += found[0].count("\n")
        at = found.end()


class ExpressionParser:
    """Reads the tokens of a source; knows the units so far and the one that is being read."""

    def __init__(self, source: str) -> None:
        """Take the source apart into tokens.

        Raises:
            StructuredTextError: A character is not in the subset.
        """
        self.units: dict[str, Unit] = {}
        self._unit = Unit("")
        self._tokens = [*_tokens(source), ("", source.count("\n") + 1)]
        self._at = 0

    @property
    def _token(self) -> str:
        return self._tokens[self._at][0]

    @property
    def _line(self) -> int:
        return self._tokens[self._at][1]

    def _next(self) -> str:
        token = self._token or self._fail("it ends too early")
        self._at += 1
        return token

    def _accept(self, *wanted: str) -> str:
        return self._next() if self._token in wanted else ""

    def _expect(self, *wanted: str) -> str:
        return self._accept(*wanted) or self._fail(f"expected {' or '.join(wanted)}")

    def _name(self) -> str:
        if not NAME.fullmatch(self._token) or self._token in KEYWORDS:
            self._fail("expected a name")
        return self._next()

    def _number(self) -> int:
        return int(self._next()) if self._token.isdigit() else self._fail("expected a number")

    def _fail(self, why: str) -> NoReturn:
        msg = f"line {self._line}: {why}, at {self._token!r}"
        raise StructuredTextError(msg)

    def _variable(self, name: str) -> Variable:
        return self._unit.variables.get(name) or self._fail(f"{name} is not declared")

    def _fitting(self, kind: Type, value: Expression) -> Expression:
        """Return the expression for a place of the type: the same type, or a literal in range."""
        same = kind.name == value.type.name and kind.of is None and kind.unit is None
        if not same and not (kind.is_integer and value.type == ANY_INT):
            self._fail(f"{value.type.name} where {kind.name} is needed")
        if value.type == ANY_INT and kind != ANY_INT:
            try:
                checked(kind, value.run({}))
            except RunTimeError as error:
                self._fail(str(error))
        return Expression(kind, lambda frame: checked(kind, value.run(frame)))

    def _expression(self, level: int = 0) -> Expression:
        if level == len(LEVELS):
            return self._factor()
        left = self._expression(level + 1)
        while sign := self._accept(*LEVELS[level]):
            left = self._joined(left, LEVELS[level], sign, self._expression(level + 1))
        return left

    def _joined(
        self, left: Expression, signs: dict[str, Callable[[Any, Any], Any]], sign: str,
        right: Expression,
    ) -> Expression:  # fmt: skip
        kind = right.type if left.type == ANY_INT else left.type
        kind = TEXT if kind.name == TEXT.name else kind
        left, right = self._fitting(kind, left), self._fitting(kind, right)
        if (signs in (BOTH, EITHER)) != (kind == BOOL and sign not in EQUALITY):
            self._fail(f"{sign} of {kind.name}")
        if signs in (ORDER, SUM, PRODUCT) and not kind.is_integer:
            self._fail(f"{sign} of {kind.name}")
        join, result = signs[sign], kind if signs in (SUM, PRODUCT) else BOOL

        def run(frame: Frame) -> Any:
            first, second = left.run(frame), right.run(frame)
            return checked(result, join(first, second))

        return Expression(result, run)

    def _factor(self) -> Expression:
        if self._accept("("):
            inner = self._expression()
            self._expect(")")
            return inner
        if self._accept("NOT"):
            negated = self._fitting(BOOL, self._factor())
            return Expression(BOOL, lambda frame: not negated.run(frame))
        if self._token.isdigit():
            number = self._number()
            return Expression(ANY_INT, lambda _frame: number)
        if self._token.startswith("'"):
            text = self._next()[1:-1]
            return Expression(Type("STRING", len(text)), lambda _frame: text)
        if truth := self._accept("TRUE", "FALSE"):
            return Expression(BOOL, lambda _frame: truth == "TRUE")
        return self._named()

    def _named(self) -> Expression:
        name = self._name()
        if self._accept("("):
            return self._call(name)
        variable = self._variable(name)
        if variable.type.of is not None:
            index = self._index(variable.type)
            return Expression(variable.type.of, lambda frame: frame[name][index(frame)])
        if variable.type.unit is not None:
            return self._output(name, variable.type.unit)
        return Expression(variable.type, lambda frame: frame[name])

    def _output(self, name: str, unit: Unit) -> Expression:
        self._expect(".")
        member = self._name()
        if member not in unit.names("VAR_OUTPUT"):
            self._fail(f"{member} is no output of {unit.name}")
        return Expression(unit.variables[member].type, lambda frame: frame[name][member])

    def _index(self, array: Type) -> Run:
        self._expect("[")
        index = self._fitting(INT, self._expression())
        self._expect("]")
        low, high = array.bounds

        def run(frame: Frame) -> int:
            at: int = index.run(frame)
            if not low <= at <= high:
                msg = f"index {at} is not in {low}..{high}"
                raise RunTimeError(msg)
            return at - low

        return run

    def _arguments(self, name: str, kinds: list[Type]) -> list[Run]:
        """Read positional arguments up to the closing parenthesis."""
        given = []
        for number, kind in enumerate(kinds):
            if number:
                self._expect(",")
            value = self._expression()
            given.append(self._fitting(TEXT if kind.name == "STRING" else kind, value).run)
        if not self._accept(")"):
            self._fail(f"{name} takes {len(kinds)} arguments")
        return given

    def _call(self, name: str) -> Expression:
        if name in FUNCTIONS:
            result, kinds, work = FUNCTIONS[name]
            given = self._arguments(name, list(kinds))
            return Expression(result, lambda frame: work(*(value(frame) for value in given)))
        unit = self.units.get(name) or self._fail(f"no function {name}")
        inputs = unit.names("VAR_INPUT")
        given = self._arguments(name, [unit.variables[i].type for i in inputs])
        returned = unit.result or self._fail(f"{name} is no function")

        def run(frame: Frame) -> Any:
            own = unit.new_frame()
            own.update(zip(inputs, [value(frame) for value in given], strict=True))
            unit.body(own)
            return own[name]

        return Expression(returned, run)
