"""Reading a config file: exact messages, absolute paths.

Every message names file, key, value and limit. Relative paths count from the
folder of the config file, so a line can be started from anywhere.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edge.contract import NAME_WORDS
from edge.errors import LineError
from pipeline.config import CONFIG_VERSION, Config
from pipeline.config_alarm import Alarm
from pipeline.config_camera import PFNC_PATTERN, Camera
from pipeline.config_settings import ENDPOINT, Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = TypeVar("Section", bound=Settings)
UNIONS: dict[str, object] = {"camera": Camera, "alarm": Alarm}
"""Sections that come several times, each of one of several kinds."""

PATTERN_WORDS = {
    **NAME_WORDS,
    ENDPOINT: "empty, ipc://PATH or tcp://ADDRESS:PORT",
    PFNC_PATTERN: "1 to 32 of A-Z a-z 0-9 _",
}
"""What a person is told instead of a pattern."""


class ConfigError(LineError):
    """The config cannot be used; each line names file, key, value and limit."""

    exit_code = 2


def load_config(path: Path) -> Config:
    """Read and check a config file; relative paths become absolute.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or a key is unknown
            or out of its limits; one line for each problem.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise ConfigError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not TOML: {error}"
        raise ConfigError(msg) from error
    _check_version(path, tree)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(path, error, tree))) from error
    return _absolute(config, path.resolve().parent)


def _check_version(path: Path, tree: dict[str, Any]) -> None:
    """Refuse a newer format as a whole: its keys would only look misspelt."""
    version = tree.get("version")
    if isinstance(version, int) and version > CONFIG_VERSION:
        msg = (
            f"{path}: version = {version}: this program understands up to {CONFIG_VERSION}; "
            "upgrade musc-edge"
        )
        raise ConfigError(msg)


def _absolute(config: Config, folder: Path) -> Config:
    cameras = [_moved(camera, folder) for camera in config.camera]
    sections = ("line", "transport", "musc", "mqtt", "ledger", "evidence")
    moved = {name: _moved(getattr(config, name), folder) for name in sections}
    return config.model_copy(update={**moved, "camera": cameras})


def _moved(section: Section, folder: Path) -> Section:
    """Return a section whose paths count from the config file's folder."""
    paths = {key: value for key, value in section if isinstance(value, Path)}
    return section.model_copy(update={key: folder / path for key, path in paths.items()})


def _lines(path: Path, error: ValidationError, tree: dict[str, Any]) -> list[str]:
    problems = error.errors(include_url=False, include_context=True)
    return [_line(path, details, tree) for details in problems]


def _line(path: Path, details: ErrorDetails, tree: dict[str, Any]) -> str:
    key = _key(details, tree)
    if details["type"] == "extra_forbidden":
        return f"{path}: {key}: unknown key; known here: {', '.join(_known_keys(details['loc']))}"
    if details["type"] == "missing":
        return f"{path}: {key}: missing"
    if details["type"] == "list_type" and key == "camera":
        return f"{path}: camera: one section for each camera, written [[camera]]"
    value = details["input"]
    if details["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return f"{path}: {key}{_kind_problem(details)}"
    shown = "" if isinstance(value, dict | BaseModel) else f" = {value!r}"
    return f"{path}: {key}{shown}: {_limit(details)}"


def _key(details: ErrorDetails, tree: dict[str, Any]) -> str:
    """Return where the problem is; of a section that has a name, also the name."""
    steps = details["loc"]
    # The third step into a union is the section's kind, which pydantic puts in.
    where = [
        str(step) for step in (steps[:2] + steps[3:] if set(steps[:1]) & UNIONS.keys() else steps)
    ]
    name = _name(tree, steps)
    if name:
        where[1] += f" ({name})"
    return ".".join(where) or "config"


def _name(tree: dict[str, Any], where: tuple[int | str, ...]) -> str:
    """Return the name or id that a section which comes several times gives itself."""
    match where:
        case (str(section), int(number), *_) if section in UNIONS:
            given = tree[section][number]
            name = given.get("name", given.get("id")) if isinstance(given, dict) else None
            return name if isinstance(name, str) and name.isprintable() else ""
    return ""


def _kind_problem(details: ErrorDetails) -> str:
    kinds = list(_kinds(UNIONS[str(details["loc"][0])]))
    allowed = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
    if details["type"] == "union_tag_not_found":
        return f".kind: missing; must be {allowed}"
    return f".kind = {details['input'].get('kind')!r}: must be {allowed}"


def _limit(details: ErrorDetails) -> str:
    """Return what is allowed, for a pattern in plain words."""
    if details["type"] == "string_pattern_mismatch":
        pattern = details["ctx"]["pattern"]
        return f"must be {PATTERN_WORDS.get(pattern, pattern)}"
    return details["msg"].removeprefix("Value error, ")


def _kinds(union: object) -> dict[str, type[Settings]]:
    """Return the sections of a union by the ``kind`` that they have."""
    models: tuple[Any, ...] = get_args(get_args(union)[0])
    return {model.model_fields["kind"].annotation.__args__[0]: model for model in models}


def _known_keys(where: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the section that an error's location points into."""
    if where[0] in UNIONS:
        kinds = _kinds(UNIONS[str(where[0])])
        chosen = [model for kind, model in kinds.items() if where[2:3] == (kind,)]
        return sorted({key for model in chosen or kinds.values() for key in model.model_fields})
    if len(where) == 1:
        return list(Config.model_fields)
    section: Any = Config.model_fields[str(where[0])].annotation
    return list(section.model_fields)
