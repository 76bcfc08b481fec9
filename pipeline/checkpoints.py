"""Weights files of every common form, read to plain tensors of the image tower.

A file is known by its content, not by its name: safetensors; OpenAI's CLIP,
which is a TorchScript archive; and checkpoints of ``torch.save`` from Meta's
DINO and DINOv2, timm and open_clip. What wraps the network (training state,
data-parallel prefixes, a CLIP model's text tower) is taken off.

Nothing is unpickled but tensors: ``torch.load`` runs with ``weights_only``, and
torch's TorchScript reader knows no Python objects.

This module imports torch; only the scorer's side may import it.

Source of the names: timm's VisionTransformer, which kept those of DINO and
DINOv2, and open_clip's VisionTransformer, which kept OpenAI's.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.weights_layout import check_shapes
from pipeline.weights_registry import WeightsError, find_entry

if TYPE_CHECKING:
    from typing import Any

Tensors: TypeAlias = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model", "teacher")
_PREFIXES = ("module.", "backbone.", "visual.")
_TRAINING_ONLY = frozenset({"mask_token"})  # in Meta's DINOv2 files; no inference uses it
_HEADER_BYTES = 9
_HEADER_LIMIT_BYTES = 100_000_000  # safetensors refuses longer headers, too


def read_checkpoint(path: Path) -> Tensors:
    """Read the image tower's tensors from a weights file.

    Args:
        path: Safetensors, a TorchScript archive, or a checkpoint of ``torch.save``.

    Returns:
        Tensors on the CPU by their names in timm (DINO, DINOv2) or, without
        ``visual.``, in open_clip (CLIP); floating-point ones in float32.

    Raises:
        WeightsError: The file is missing, damaged, of another form, holds
            Python objects or no tensors; the message names file and reason.
    """
    try:
        tensors = _read_tensors(path)
    except pickle.UnpicklingError as error:
        # Torch's own text goes on to advise loading the objects after all.
        msg = f"weights file {path}: not a checkpoint, or it holds objects other than tensors"
        raise WeightsError(msg) from error
    except Exception as error:  # a damaged file raises whatever its reader stumbles on
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        msg = f"weights file {path} cannot be read: {type(error).__name__}: {reason}"
        raise WeightsError(msg) from error
    for prefix in _PREFIXES:
        tensors = _below(tensors, prefix)
    tensors = {name: _plain(tensors[name]) for name in tensors if name not in _TRAINING_ONLY}
    if not tensors:
        msg = f"weights file {path} holds no tensors"
        raise WeightsError(msg)
    return tensors


def load_weights(name: str, path: Path) -> Tensors:
    """Read a weights file as :func:`read_checkpoint` does and hold it to a registered name.

    Raises:
        WeightsError: No such name, an unusable file, or a file of another network.
    """
    entry = find_entry(name)
    tensors = read_checkpoint(path)
    check_shapes(entry, path, {key: tuple(value.shape) for key, value in tensors.items()})
    return tensors


def _read_tensors(path: Path) -> Tensors:
    """Read all tensors with the reader that the file's content asks for."""
    if _is_safetensors(path):
        return load_file(path)
    if not _is_torchscript(path):
        return _unwrapped(torch.load(path, map_location="cpu", weights_only=True))
    with warnings.catch_warnings():
        # Deprecated in torch, but nothing else reads the files that OpenAI published.
        warnings.simplefilter("ignore", FutureWarning)
        module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]  # untyped in torch
    return _unwrapped(module.state_dict())


def _is_safetensors(path: Path) -> bool:
    """Tell by the first bytes: the length of a JSON object, then the object."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length <= _HEADER_LIMIT_BYTES


def _is_torchscript(path: Path) -> bool:
    """Tell by the record that torch itself looks for."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _unwrapped(content: Any) -> Tensors:  # noqa: ANN401 - whatever a training script saved
    """Return the tensors of the innermost dictionary that holds a network."""
    while isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            return {
                name: value
                for name, value in content.items()
                if isinstance(name, str) and isinstance(value, Tensor)
            }
        content = inner[0]
    return {}


def _below(tensors: Tensors, prefix: str) -> Tensors:
    """Return what stands below a prefix, without it; everything where nothing does."""
    below = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    return below or tensors


def _plain(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 if it is floating-point, contiguous and without gradient."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
