"""Who we are to the broker: login and certificates, from the environment or from files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edge.mqtt import BrokerError, BrokerSettings

if TYPE_CHECKING:
    from pipeline.config_plant import MqttSettings


def broker_settings(config: MqttSettings, client_id: str) -> BrokerSettings:
    """Return where the broker is; user and password come from the environment.

    Raises:
        BrokerError: The config names an environment variable that is not set.
    """
    username, password = (
        _secret(key, getattr(config, key)) for key in ("username_env", "password_env")
    )
    return BrokerSettings(config.host, config.port, config.protocol, client_id, username, password)


def _secret(key: str, variable: str) -> str | None:
    if variable and variable not in os.environ:
        msg = f"mqtt.{key} = {variable!r}: this environment variable is not set"
        raise BrokerError(msg)
    return os.environ[variable] if variable else None
