"""The CURVE keys of a line, where its config names a folder of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import Config


def line_keys(config: Config) -> None:
    """Return the keys of the line; None without transport.keys_path."""
    del config
