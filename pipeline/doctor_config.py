"""Checks of the config file: each problem under the name of what is wrong."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from pipeline.config import CONFIG_VERSION
from pipeline.config_file import ConfigError, load_config
from pipeline.doctor import Finding, fail, ok, warn
from pipeline.good_images import GoodImagesError, check_good_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.config import Config

FILE, VERSION, KEYS, IMAGE_SIZE, VALUES, ALARMS, GOOD_IMAGES = (
    "config.file", "config.version", "config.keys", "config.image_size", "config.values",
    "config.alarms", "config.good_images",
)  # fmt: skip
NEWER = re.compile(r": version = \d+: this program understands up to ")
UNKNOWN = re.compile(r": ([^:]*?)([^.:]+): unknown key; known here: (.*)$")
NO_MULTIPLE = re.compile(r"image_size_px = (\d+): must be a multiple of (\d+)")
NOT_READ = re.compile(r": (not TOML: .*|[^:=]*)$")
"""How a line of a ConfigError tells what is wrong; any other is about a value."""
ALWAYS_WANTED = ("camera_lost", "scorer_down", "disk_low")
"""Alarms without which a line can be blind, deaf or full, and nobody is called."""


def read_config(path: Path) -> tuple[Config | None, list[Finding]]:
    """Load a config; None, with a finding for each problem, where it cannot be used."""
    try:
        config = load_config(path)
    except ConfigError as error:
        return None, [_problem(path, line) for line in str(error).splitlines()]
    return config, list(_good(config))


def _good(config: Config) -> Iterator[Finding]:
    yield ok(VERSION, f"{config.version}, at most {CONFIG_VERSION}")
    yield ok(KEYS, "all known")
    size = config.musc.image_size_px
    yield ok(IMAGE_SIZE, "the backbone's own" if size is None else f"{size} px")
    cameras = ", ".join(f"{camera.id} ({camera.kind})" for camera in config.camera)
    yield ok(VALUES, f"config hash {config.digest}; cameras {cameras}")
    yield from _good_images(config)
    kinds = {alarm.kind for alarm in config.alarm}
    missing = [kind for kind in ALWAYS_WANTED if kind not in kinds]
    if not missing:
        yield ok(ALARMS, ", ".join(alarm.name for alarm in config.alarm))
        return
    yield warn(
        ALARMS, f"{len(config.alarm)} alarms", f"none of kind {', '.join(missing)}",
        f"Add an [[alarm]] with kind = {missing[0]!r}, or remove all for the usual six.",
    )  # fmt: skip


def _good_images(config: Config) -> Iterator[Finding]:
    """Tell of good images where a camera has any."""
    try:
        counts = check_good_images(config)
    except GoodImagesError as error:
        remedy = "Put right what camera.good_path names, or raise window.pins_frames."
        yield fail(GOOD_IMAGES, f"at most {config.window.pins_frames}", str(error), remedy)
        return
    if counts:
        yield ok(GOOD_IMAGES, ", ".join(f"{camera} {count}" for camera, count in counts.items()))


def _problem(path: Path, line: str) -> Finding:
    """Return a line of a ConfigError under its check, with what to do."""
    said = line.removeprefix(str(path))
    if NEWER.search(said):
        remedy = "Upgrade musc-edge (pip install --upgrade musc-edge)."
        return fail(VERSION, f"at most {CONFIG_VERSION}", line, remedy)
    if found := UNKNOWN.search(said):
        return fail(KEYS, "", line, _instead(found[1], found[2], found[3].split(", ")))
    if found := NO_MULTIPLE.search(said):
        size, patch = int(found[1]), int(found[2])
        lower = size // patch * patch
        remedy = f"Set musc.image_size_px to {lower} or {lower + patch}."
        return fail(IMAGE_SIZE, f"{size} px, a multiple of {patch}", line, remedy)
    if NOT_READ.fullmatch(said):
        return fail(FILE, "", line, "Give a TOML file that can be read with --config.")
    return fail(VALUES, "", line, "Correct this key in the config file.")


def _instead(section: str, key: str, known: list[str]) -> str:
    """Return what to write for an unknown key."""
    near = difflib.get_close_matches(key, known, 1)
    if near:
        return f"Write {section}{near[0]} for {section}{key}, or remove it."
    return f"Remove {section}{key}."
