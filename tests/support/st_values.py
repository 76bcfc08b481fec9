"""Types, values and standard functions of structured text, stricter than a PLC.

Integers do not wrap round, no string is cut within the program, and string
functions are called within their text only: what vendors do differently is an
error here.

Source: IEC 61131-3:2013, sections 6.4 (types) and 6.6.2 (standard functions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

RANGES = {
    "INT": (-(2**15), 2**15 - 1),
    "UDINT": (0, 2**32 - 1),
    "ULINT": (0, 2**64 - 1),
}
STRING_LIMIT = 255

Frame = dict[str, Any]
"""The variables of one running unit by name; a function block's frame outlives the call."""
Run = Callable[[Frame], Any]


class StructuredTextError(Exception):
    """Not in the subset, ill typed, or out of range at run time; the message names the line."""


class RunTimeError(ArithmeticError):
    """A value that a PLC would wrap, cut or leave undefined."""


@dataclass(frozen=True)
class Type:
    """A type: elementary, STRING with its size, ARRAY with its bounds, or a function block."""

    name: str
    size: int = 0
    bounds: tuple[int, int] = (0, 0)
    of: Type | None = None
    unit: Unit | None = None

    @property
    def is_integer(self) -> bool:
        """Tell whether it counts, a literal included."""
        return self.name in RANGES or self == ANY_INT


@dataclass(frozen=True)
class Variable:
    """A declared name."""

    type: Type
    section: str
    initial: Any = None


@dataclass(eq=False)
class Unit:
    """A function or function block; ``body`` runs one call on a frame."""

    name: str
    result: Type | None = None
    variables: dict[str, Variable] = field(default_factory=dict)
    body: Run = lambda _frame: None

    def new_frame(self) -> Frame:
        """Return the variables with their initial values, as at power-on."""
        return {name: _initial(v.type, v.initial) for name, v in self.variables.items()}

    def names(self, section: str) -> list[str]:
        """Return the names of a section in the order of their declaration."""
        return [name for name, v in self.variables.items() if v.section == section]


@dataclass(frozen=True)
class Expression:
    """A typed expression, compiled."""

    type: Type
    run: Run


BOOL, INT, ULINT = Type("BOOL"), Type("INT"), Type("ULINT")
ANY_INT = Type("a literal integer")
TEXT = Type("STRING", STRING_LIMIT)


def checked(kind: Type, value: Any) -> Any:
    """Return the value as one of the type.

    Raises:
        RunTimeError: It is out of the type's range, or longer than its size.
    """
    if kind.name in RANGES:
        low, high = RANGES[kind.name]
        if isinstance(value, bool) or not low <= value <= high:
            msg = f"{value} is no {kind.name}"
            raise RunTimeError(msg)
    elif kind.name == "STRING":
        if len(value) > kind.size:
            msg = f"{value!r} is longer than {kind.size}"
            raise RunTimeError(msg)
    elif kind == BOOL and not isinstance(value, bool):
        msg = f"{value!r} is no BOOL"
        raise RunTimeError(msg)
    return value


def _initial(kind: Type, given: Any) -> Any:
    if kind.of is not None:
        low, high = kind.bounds
        return [_initial(kind.of, None) for _ in range(low, high + 1)]
    if kind.unit is not None:
        return kind.unit.new_frame()
    if given is not None:
        return given
    return {"STRING": "", "BOOL": False}.get(kind.name, 0)


def _within(text: str, start: int, length: int) -> None:
    """Refuse a piece that is empty or not wholly in the text; vendors differ on those."""
    if length < 1 or start < 1 or start + length - 1 > len(text):
        msg = f"{length} characters at {start} are not in {text!r}"
        raise RunTimeError(msg)


def _find(text: str, wanted: str) -> int:
    if not wanted:
        msg = "FIND of an empty text"
        raise RunTimeError(msg)
    return text.find(wanted) + 1


def _left(text: str, length: int) -> str:
    _within(text, 1, length)
    return text[:length]


def _mid(text: str, length: int, start: int) -> str:
    _within(text, start, length)
    return text[start - 1 : start - 1 + length]


def _delete(text: str, length: int, start: int) -> str:
    _within(text, start, length)
    return text[: start - 1] + text[start - 1 + length :]


def _to_integer(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        msg = f"{text!r} is no number"
        raise RunTimeError(msg)
    return int(text)


FUNCTIONS: dict[str, tuple[Type, tuple[Type, ...], Callable[..., Any]]] = {
    "LEN": (INT, (TEXT,), len),
    "FIND": (INT, (TEXT, TEXT), _find),
    "LEFT": (TEXT, (TEXT, INT), _left),
    "MID": (TEXT, (TEXT, INT, INT), _mid),
    "DELETE": (TEXT, (TEXT, INT, INT), _delete),
    "STRING_TO_INT": (INT, (TEXT,), _to_integer),
    "STRING_TO_ULINT": (ULINT, (TEXT,), _to_integer),
}
"""Standard functions: result, parameters in order, and what they do."""
