"""What a search may change: keys of the config and the values that each may take.

A key is ``section.name`` as in the config file, ``window.size_frames``; its values are
written as TOML writes them. A range of numbers is ``LOW..HIGH``, both within.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import ValidationError

from pipeline.config import Config
from pipeline.config_file import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Values: TypeAlias = dict[str, Any]
"""Values by key."""

TUNED_SECTIONS = ("window", "musc", "judge")
"""Sections that decide about results and can be tried without another recording."""
_RANGE = re.compile(r"^(-?[0-9.]+(?:e-?[0-9]+)?)\.\.(-?[0-9.]+(?:e-?[0-9]+)?)$")


@dataclass(frozen=True, slots=True)
class Choices:
    """Some values, each of which may be taken."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """All numbers between two, both within; whole ones where both ends are."""

    low: float
    high: float

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Space: TypeAlias = dict[str, Choices | Range]

DEFAULT_SPACE: Space = {
    "window.size_frames": Choices((16, 24, 32, 48, 64)),
    "musc.degrees": Choices(([1], [1, 3], [1, 3, 5])),
    "musc.keep_lowest": Choices((0.1, 0.2, 0.3, 0.4, 0.5)),
    "musc.neighbours": Choices(([1], [1, 2, 3], [1, 8, 9])),
    "judge.score": Choices(("raw", "rescored")),
}
"""What is tried where nothing is named: what needs no other backbone, and changes scores."""


def read_space(given: Sequence[str]) -> Space:
    """Read ``KEY=VALUE,VALUE,...`` or ``KEY=LOW..HIGH`` of each text.

    Raises:
        ConfigError: No such key, or no such values; the message has the text.
    """
    return dict(map(_read_one, given)) or DEFAULT_SPACE


def _read_one(text: str) -> tuple[str, Choices | Range]:
    key, found, values = text.partition("=")
    section, _, name = key.strip().partition(".")
    known = Config.model_fields[section].annotation if section in TUNED_SECTIONS else None
    names = getattr(known, "model_fields", {})
    if not found or name not in names:
        known_keys = ", ".join(f"{one}.*" for one in TUNED_SECTIONS)
        more = f"; {section} has {', '.join(names)}" if names else ""
        msg = f"--vary {text}: must be KEY=VALUES with a key of {known_keys}{more}"
        raise ConfigError(msg)
    return key.strip(), _read_values(text, values.strip())


def _read_values(text: str, values: str) -> Choices | Range:
    if match := _RANGE.match(values):
        low, high = (_read_toml(text, end) for end in match.groups())
        if low >= high:
            msg = f"--vary {text}: the range begins at {low} and ends at {high}"
            raise ConfigError(msg)
        return Range(low, high)
    found = _read_toml(text, f"[{values}]")
    if not found:
        msg = f"--vary {text}: no values"
        raise ConfigError(msg)
    return Choices(tuple(found))


def _read_toml(text: str, value: str) -> Any:  # noqa: ANN401 - whatever TOML holds
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        msg = f'--vary {text}: values are written as in the config file, texts as "raw": {error}'
        raise ConfigError(msg) from error


def varied(config: Config, values: Mapping[str, Any]) -> Config:
    """Return a config with other values.

    Raises:
        ConfigError: They do not go together; the message names keys and limits.
    """
    tree = config.model_dump()
    for key, value in values.items():
        section, _, name = key.partition(".")
        tree[section][name] = value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'config'}: "
            f"{one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False)
        )
        raise ConfigError(faults) from error


def current(config: Config, keys: Sequence[str]) -> Values:
    """Return what a config has of some keys."""
    return {key: _value(config, key) for key in keys}


def _value(config: Config, key: str) -> Any:  # noqa: ANN401 - of any key
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def changes(config: Config, values: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return key, old and new value of what differs from a config, in the order of the keys."""
    return [
        (key, _value(config, key), value)
        for key, value in values.items()
        if _value(config, key) != value
    ]
