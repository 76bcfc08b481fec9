"""Which network a weights file is of: told by the shapes of a few tensors.

A safetensors file says its shapes in its header, so the answer costs neither
torch nor the reading of a gigabyte.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pipeline.weights_registry import WeightsEntry, WeightsError


def check_layout(path: Path, entry: WeightsEntry) -> None:
    """Hold a safetensors file to the shapes that tell these weights from others.

    Raises:
        WeightsError: The file cannot be read, or is of another network.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            # A CLIP file may hold both towers, or the image tower alone.
            both = any(name.startswith(entry.prefix) for name in names)
            prefix = entry.prefix if both else ""
            found = {
                name: tuple(file.get_slice(prefix + name).get_shape())
                for name in entry.shapes
                if prefix + name in names
            }
    except (OSError, SafetensorError) as error:
        msg = f"weights file {path} of {entry.name}: {str(error).strip() or type(error).__name__}"
        raise WeightsError(msg) from error
    check_shapes(entry, path, found)


def check_shapes(entry: WeightsEntry, path: Path, found: Mapping[str, tuple[int, ...]]) -> None:
    """Hold the shapes found in a file, under the entry's own names, to the entry.

    Raises:
        WeightsError: One is missing or differs; the message names file and tensor.
    """
    for name, shape in entry.shapes.items():
        if found.get(name) != shape:
            msg = (
                f"weights file {path} is not of {entry.name} ({entry.timm_name}): "
                f"tensor {name!r} has shape {found.get(name)}, must be {shape}"
            )
            raise WeightsError(msg)
