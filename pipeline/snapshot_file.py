"""One snapshot as a safetensors file: replaced as a whole, and refused if anything is wrong.

Tensors are kept as such, everything else as JSON in the header; nothing is pickled. The
new file is written beside the old one, forced to the disk and renamed over it: a kill at
any moment leaves the one or the other. A checksum over all of it tells a damaged file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORMAT = "musc-edge windows 1"
"""Changes whenever a file means something else than before."""

KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What a snapshot may consist of, by the format's names."""
CHUNK_BYTES = 1_000_000
"""So much is written between two waits for the disk."""


class SnapshotError(Exception):
    """A snapshot cannot be written, or not be used; the message names file and reason."""


def write_snapshot(path: Path, about: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Replace a snapshot.

    Args:
        path: The file; its folder is made.
        about: What it is of, as JSON; lies in the header and can be read alone.
        state: Nested dictionaries of JSON, tensors and numpy arrays.

    Raises:
        SnapshotError: The disk is full, or cannot be written to; the old file stays.
    """
    tensors: dict[str, Tensor] = {}
    texts = {"about": json.dumps(about), "state": json.dumps(_without_tensors(state, "", tensors))}
    metadata = {"format": FORMAT, **texts, "sha256": _digest(texts, tensors)}
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(part, tensors, metadata)
        part.replace(path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        msg = f"{path}: not written: {error}"
        raise SnapshotError(msg) from error


def read_about(path: Path) -> dict[str, Any]:
    """Return what a snapshot is of, as it says; the rest is not looked at.

    Raises:
        SnapshotError: It is no snapshot of this format.
    """
    with _opened(path) as (_, metadata):
        about: dict[str, Any] = json.loads(metadata["about"])
        return about


def read_state(path: Path) -> dict[str, Any]:
    """Return the state that was written, numpy arrays as tensors, on the CPU.

    Raises:
        SnapshotError: It is no snapshot of this format, or damaged.
    """
    with _opened(path) as (file, metadata):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        texts = {name: metadata[name] for name in ("about", "state")}
        if metadata["sha256"] != _digest(texts, tensors):
            msg = f"{path}: damaged, its checksum is another"
            raise SnapshotError(msg)
        state: dict[str, Any] = json.loads(texts["state"])
    for name, tensor in tensors.items():
        *way, last = name.split("/")
        place = state
        for step in way:
            place = place[step]
        place[last] = tensor
    return state


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Open a file of this format.

    Raises:
        SnapshotError: It is none, or what is read of it makes no sense.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                msg = f"{path}: format {metadata.get('format')!r}, this program reads {FORMAT!r}"
                raise SnapshotError(msg)
            yield file, metadata
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = f"{path}: damaged: {type(error).__name__}: {error}"
        raise SnapshotError(msg) from error


def _without_tensors(
    state: Mapping[str, Any], way: str, tensors: dict[str, Tensor]
) -> dict[str, Any]:
    """Return what is JSON; tensors are put into ``tensors`` by the way to them."""
    plain: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Tensor | np.ndarray):
            tensors[f"{way}{name}"] = torch.as_tensor(value).cpu().contiguous()
        elif isinstance(value, dict):
            plain[name] = _without_tensors(value, f"{way}{name}/", tensors)
        else:
            plain[name] = value
    return plain


def _digest(texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum of everything; 0.2 s for 100 MB, without the interpreter's lock."""
    digest = hashlib.sha256(json.dumps([texts["about"], texts["state"]]).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor).data)
    return digest.hexdigest()


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file a little at a time, each forced to the disk before the next.

    The library writes all at once, and a disk that is handed 100 MB keeps everybody
    waiting: a commit of the ledger meanwhile took 39 ms, and 1.4 ms beside this.

    Source: the format, https://github.com/huggingface/safetensors#format.

    Raises:
        OSError: The disk is full, or cannot be written to.
    """
    # Wide numbers first, as the library orders them: all are then aligned.
    ordered = sorted(tensors.items(), key=lambda one: (-one[1].element_size(), one[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        kind, shape = KINDS[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            numbers = _bytes(tensor)
            for begin in range(0, len(numbers), CHUNK_BYTES):
                file.write(numbers[begin : begin + CHUNK_BYTES].data)
                file.flush()
                os.fdatasync(file.fileno())
        file.flush()
        os.fsync(file.fileno())


def _bytes(tensor: Tensor) -> npt.NDArray[np.uint8]:
    """Return the numbers of a contiguous tensor as they lie in memory."""
    if not tensor.numel():
        return np.empty(0, np.uint8)
    numbers: npt.NDArray[np.uint8] = tensor.reshape(-1).view(torch.uint8).numpy()
    return numbers


def _sync(path: Path) -> None:
    """Force a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
