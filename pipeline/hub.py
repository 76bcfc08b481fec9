"""One file of the Hugging Face hub: found in its cache, or fetched, resumed and verified.

The hub's own client downloads a file whole or not at all, and compares only
its length. At 1.7 GB over a plant's uplink that is not enough: here a cut
download stays as ``<etag>.part`` and goes on at the next call, and what has
arrived is held to the SHA-256 that the hub announces for large files. The
client still does the talking: proxies, tokens, redirects, retries, progress.
It writes blocks of 10 MB, so a cut loses at most that much.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants as hub_constants
from huggingface_hub.file_download import http_get

# Both are there, but not marked as exported, which mypy asks for.
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from edge.errors import LineError
from pipeline.wheels import sha256_of, user_cache

log = logging.getLogger(__name__)

HUB_ANSWER_LIMIT_S = 3.0
"""How long the hub may take to answer at all before the next way is tried."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubError(LineError):
    """The hub is out of reach, has no such file, or sent another than it announced."""


def download_from_hub(
    repo: str,
    file: str,
    *,
    partial: Path | None = None,
    endpoint: str | None = None,
    limit_s: float = HUB_ANSWER_LIMIT_S,
) -> Path:
    """Return a verified file of the hub, from the client's own cache or the network.

    Args:
        repo: Repository, ``organisation/name``.
        file: File name in it.
        partial: Folder for downloads; the result lies in it, for the caller to
            move away. ``partial`` in this user's weights cache if None.
        endpoint: Address of the hub; where None, what the client was started
            with (``HF_ENDPOINT``).
        limit_s: Longest wait for an answer; a hub that is out of reach costs no more.

    Raises:
        HubError: The hub cannot be reached, answers with an error, breaks off
            again and again, or sends a file of another SHA-256 than announced.
    """
    if (known := _known_to_client(repo, file)) is not None:
        return known
    folder = (partial or user_cache() / "weights" / "partial") / repo.replace("/", "--")
    try:
        return _download(repo, file, folder, endpoint or hub_constants.ENDPOINT, limit_s)
    except HubError:
        raise
    except Exception as error:  # the client raises whatever its transport does
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        msg = f"{file} of {repo}: {type(error).__name__}: {reason}"
        raise HubError(msg) from error


def _download(repo: str, file: str, folder: Path, endpoint: str, limit_s: float) -> Path:
    """Return the complete, verified part."""
    url = huggingface_hub.hf_hub_url(repo, file, endpoint=endpoint)
    # One question without the client's retries, which go on for half a minute.
    head = huggingface_hub.get_hf_file_metadata(url, timeout=limit_s, endpoint=endpoint)
    if head.etag is None or head.commit_hash is None:
        msg = f"{url}: the answer has no ETag or no commit; not a hub"
        raise HubError(msg)
    log.info("fetching %s of %s from %s", file, repo, endpoint)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{head.etag}.part"
    exact = huggingface_hub.hf_hub_url(repo, file, revision=head.commit_hash, endpoint=endpoint)
    with WeakFileLock(folder / "lock"):
        _discard_others(part, head.size)
        _fetch_rest(exact, part, head.size)
        _verify(part, head.etag, exact)
    return part


def _known_to_client(repo: str, file: str) -> Path | None:
    """Return the file from the client's cache if it is there and undamaged.

    The cache holds large files under their SHA-256, behind a link.
    """
    known = huggingface_hub.try_to_load_from_cache(repo, file)
    if not isinstance(known, str):
        return None
    announced = Path(known).resolve().name
    if _SHA256.fullmatch(announced) and sha256_of(Path(known)) != announced:
        log.warning("%s is damaged: its SHA-256 is not %s; fetching it anew", known, announced)
        return None
    return Path(known)


def _discard_others(part: Path, size_bytes: int | None) -> None:
    """Delete what cannot become this file: parts of other versions, a part too long."""
    for other in part.parent.glob("*.part"):
        too_long = size_bytes is not None and other.stat().st_size > size_bytes
        if other != part or too_long:
            other.unlink()


def _fetch_rest(url: str, part: Path, size_bytes: int | None) -> None:
    """Append what is missing; the client tries again a few times after a cut."""
    with part.open("ab") as file:
        if begun := file.tell():
            log.info("going on at byte %d of %s", begun, size_bytes or "unknown")
        http_get(url, file, resume_size=begun, headers=build_hf_headers(), expected_size=size_bytes)


def _verify(part: Path, etag: str, url: str) -> None:
    """Hold the file to the announced SHA-256; a wrong one is deleted."""
    if not _SHA256.fullmatch(etag):
        log.warning("%s: the hub announces no SHA-256, only the ETag %s", url, etag)
        return
    found = sha256_of(part)
    if found != etag:
        part.unlink()
        msg = f"{url}: SHA-256 is {found}, the hub announces {etag}"
        raise HubError(msg)
