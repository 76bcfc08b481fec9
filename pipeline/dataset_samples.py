"""What a labelled data set is made of: images with their label and mask, by category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DatasetKind: TypeAlias = Literal["mvtec", "visa", "btad", "folder"]
"""The layouts that are known."""

NAMED = 3
"""Faulty files that a message names; the others are counted."""


class DatasetError(LineError):
    """A data set is not laid out as expected; the message has path and expectation."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of the test split."""

    name: str
    """Path below the data set's root, with forward slashes."""

    is_anomalous: bool
    mask: str | None = None
    """Path of its mask below the root; None for a good image, or where there is none."""


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of part: what is scored together."""

    name: str
    samples: tuple[Sample, ...]
    """The test split, by name in code point order."""

    training: tuple[str, ...] = ()
    """Good images of the training split, likewise."""


def refuse(what: str, faults: Sequence[Any], wanted: str) -> None:
    """Raise if there are faults, naming the first of them.

    Args:
        what: What they are, in the plural: "images without a mask".
        faults: The files, or whatever shows each fault.
        wanted: What was expected instead.

    Raises:
        DatasetError: There is a fault.
    """
    if faults:
        shown = ", ".join(map(str, faults[:NAMED])) + (", ..." if len(faults) > NAMED else "")
        msg = f"{len(faults)} {what}: {shown}; wanted {wanted}"
        raise DatasetError(msg)


def keyed(names: Iterable[str], key: Callable[[str], str]) -> dict[str, str]:
    """Return each name under its key.

    Raises:
        DatasetError: Two names have the same key.
    """
    found: dict[str, str] = {}
    twice = [name for name in names if found.setdefault(key(name), name) != name]
    refuse("files whose name is there with another suffix", twice, "one file for each name")
    return found
