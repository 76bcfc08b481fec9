"""What all sections of the config have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

ENDPOINT = r"^((ipc|tcp)://.+)?$"
"""What a ZeroMQ endpoint looks like; empty where there is a default."""


class Settings(BaseModel):
    """Base of every section: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
