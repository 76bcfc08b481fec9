"""Reading a config file: exact messages, absolute paths.

Every message names file, key, value and limit. Relative paths count from the
folder of the config file, so a line can be started from anywhere.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edge.errors import LineError
from pipeline.config import Camera, Config, FolderCamera, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = TypeVar("Section", bound=Settings)


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
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(path, error))) from error
    return _absolute(config, path.resolve().parent)


def _absolute(config: Config, folder: Path) -> Config:
    cameras = [
        camera.model_copy(update={"path": folder / camera.path})
        if isinstance(camera, FolderCamera)
        else camera
        for camera in config.camera
    ]
    weights = config.musc.weights
    return config.model_copy(
        update={
            "line": _moved(config.line, "state_path", folder),
            "ledger": _moved(config.ledger, "path", folder),
            "evidence": _moved(config.evidence, "path", folder),
            "musc": config.musc if weights is None else _moved(config.musc, "weights", folder),
            "camera": cameras,
        }
    )


def _moved(section: Section, key: str, folder: Path) -> Section:
    return section.model_copy(update={key: folder / getattr(section, key)})


def _lines(path: Path, error: ValidationError) -> list[str]:
    return [
        _line(path, details) for details in error.errors(include_url=False, include_context=True)
    ]


def _line(path: Path, details: ErrorDetails) -> str:
    kinds = {"folder", "synthetic"}
    where = [str(step) for step in details["loc"] if step not in kinds]
    key = ".".join(where) or "config"
    if details["type"] == "extra_forbidden":
        return f"{path}: {key}: unknown key; known here: {', '.join(_known_keys(details['loc']))}"
    if details["type"] == "missing":
        return f"{path}: {key}: missing"
    if details["type"] == "list_type" and key == "camera":
        return f"{path}: camera: one section for each camera, written [[camera]]"
    value = details["input"]
    shown = "" if isinstance(value, dict | BaseModel) else f" = {value!r}"
    return f"{path}: {key}{shown}: {details['msg'].removeprefix('Value error, ')}"


def _known_keys(where: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the section that an error's location points into."""
    if where[0] == "camera":
        kinds: tuple[Any, ...] = get_args(get_args(Camera)[0])
        chosen = [
            k for k in kinds if where[2:3] == (k.model_fields["kind"].annotation.__args__[0],)
        ]
        return sorted({key for kind in chosen or kinds for key in kind.model_fields})
    if len(where) == 1:
        return list(Config.model_fields)
    section: Any = Config.model_fields[str(where[0])].annotation
    return list(section.model_fields)
