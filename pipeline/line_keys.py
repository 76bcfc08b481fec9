"""The keys that a config names, and whether its endpoints may do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.endpoints import ExposedEndpointError, check_exposure
from edge.keys import KeysError, LineKeys, load_keys
from pipeline.config_camera import PushedCamera

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.config import Config


def line_keys(config: Config) -> LineKeys | None:
    """Return the keys of ``transport.keys_path``; None where it is not set.

    Raises:
        KeysError: They cannot be used; the message names key, file and reason.
    """
    folder = config.transport.keys_path
    if folder is None:
        return None
    try:
        return load_keys(folder)
    except KeysError as error:
        msg = f"transport.keys_path: {error}"
        raise KeysError(msg) from error


def check_endpoints(config: Config) -> None:
    """Look at keys and tcp endpoints before anything is started; ends with exit code 2.

    Raises:
        KeysError: The keys cannot be used.
        ExposedEndpointError: A tcp endpoint beyond this host without keys; the
            message names the key of the config.
    """
    has_keys = line_keys(config) is not None
    for name, endpoint in used_endpoints(config):
        try:
            check_exposure(endpoint, has_keys=has_keys)
        except ExposedEndpointError as error:
            msg = f"{name}: {error}"
            raise ExposedEndpointError(msg) from error


def used_endpoints(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the key in the config and the address of each endpoint that is used."""
    for name in ("notices", "frames", "inspections"):
        yield f"transport.{name}", config.endpoint(name)
    for number, camera in enumerate(config.camera):
        if camera.part_id == "message":
            yield f"camera.{number}.part_endpoint", camera.part_endpoint
        if isinstance(camera, PushedCamera):
            yield f"camera.{number}.endpoint", camera.endpoint
