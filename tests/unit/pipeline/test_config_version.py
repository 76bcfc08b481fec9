"""The format of a config file has a version, and what only helps to check a line has no digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.config import CONFIG_VERSION, Config
from pipeline.config_file import ConfigError, load_config

if TYPE_CHECKING:
    from pathlib import Path

CAMERA = '[[camera]]\nid = "c1"\nkind = "synthetic"\ninterval_ms = 10\n'


def test_newer_version_is_refused_whole(tmp_path: Path) -> None:
    """A newer file is one line with file, key, value, limit and remedy, whatever else is in it."""
    path = tmp_path / "line.toml"
    path.write_text(f"version = {CONFIG_VERSION + 1}\nnew_key = 3\n{CAMERA}")

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert str(caught.value) == (
        f"{path}: version = {CONFIG_VERSION + 1}: this program understands up to "
        f"{CONFIG_VERSION}; upgrade musc-edge"
    )


@pytest.mark.parametrize("value", ["0", "-1", "'one'", "1.5"])
def test_version_is_a_number_from_1(tmp_path: Path, value: str) -> None:
    """Anything but a whole number from 1 is refused with the key."""
    path = tmp_path / "line.toml"
    path.write_text(f"version = {value}\n{CAMERA}")

    with pytest.raises(ConfigError, match="version = "):
        load_config(path)


@pytest.mark.parametrize("head", ["", f"version = {CONFIG_VERSION}\n"])
def test_version_may_be_left_out(tmp_path: Path, head: str) -> None:
    """A file without a version is one of the current format."""
    path = tmp_path / "line.toml"
    path.write_text(head + CAMERA)

    config = load_config(path)

    assert config.version == CONFIG_VERSION


def test_rate_is_no_part_of_the_digest() -> None:
    """How many parts pass in a minute changes no result, so two such lines compare."""
    camera = [{"id": "c1", "kind": "synthetic", "interval_ms": 1}]

    digests = {
        Config.model_validate({"camera": camera, "part": part}).digest
        for part in ({}, {"rate_per_minute": 60}, {"rate_per_minute": 0.5})
    }

    assert len(digests) == 1
