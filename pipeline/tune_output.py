"""The best settings of a search as a config file: what was changed, and all else as it was."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import tomli_w

from pipeline.config_file import load_config
from pipeline.tune import TuneError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.tune import Tuned


def write_best(tuned: Tuned, used: Path | None, out: Path) -> None:
    """Write a config file with the best settings; it is one that the line accepts.

    Args:
        tuned: What came of the search.
        used: The file of the settings in use, whose keys are kept but not its comments; without
            one all settings are written.
        out: The new file, in the folder of the other one, or paths in it must be absolute.

    Raises:
        TuneError: It is there already, or cannot be written.
        ConfigError: A line would not accept it.
    """
    tree = _tree(tuned, used)
    for key, _, value in tuned.changed:
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(tomli_w.dumps(tree))
    except FileExistsError as error:
        msg = f"{out} is there already; name another file"
        raise TuneError(msg) from error
    except OSError as error:
        msg = f"{out}: {error.strerror or error}"
        raise TuneError(msg) from error
    load_config(out)


def _tree(tuned: Tuned, used: Path | None) -> dict[str, Any]:
    whole: dict[str, Any]
    if used is not None:
        whole = tomllib.loads(used.read_text(encoding="utf-8"))
        return whole
    whole = tuned.config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    whole["camera"] = [
        one.model_dump(mode="json", exclude_none=True) for one in tuned.config.camera
    ]
    return whole
