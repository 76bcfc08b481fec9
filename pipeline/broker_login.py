"""Who we are to the broker: login and certificates, from outside the config.

User and password come from environment variables or files that the config
names, never from the config itself, so that it can be shown and copied. They
are in no message and no log line.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from edge.endpoints import is_loopback
from edge.mqtt import BrokerError, BrokerSettings, TlsFiles
from edge.mqtt_client import tls_context
from edge.secret_file import SecretFileError, check_private, read_secret, secret_text

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.config_plant import MqttSettings

log = logging.getLogger(__name__)


class LoginError(BrokerError):
    """User, password or key cannot be used; the message names the config's key and the source."""

    exit_code = 2


def broker_settings(config: MqttSettings, client_id: str) -> BrokerSettings:
    """Return where the broker is and who we are to it.

    A broker on another host without TLS is warned of, once for each call.

    Raises:
        LoginError: A variable is not set, a file cannot be read, is empty, too
            long or open to others, or there is a password and no user.
    """
    username = _secret("username", config.username_env, config.username_file, private=False)
    password = _secret("password", config.password_env, config.password_file, private=True)
    if password is not None and username is None:
        msg = "mqtt: a password without a user; set username_env or username_file"
        raise LoginError(msg)
    tls = _tls_files(config)
    if tls is None and not _is_here(config.host):
        what = "messages" if username is None else "user, password and messages"
        log.warning(
            "MQTT broker %s:%d without TLS: %s travel in the clear; set mqtt.tls = true",
            config.host, config.port, what,
        )  # fmt: skip
    return BrokerSettings(
        config.host, config.port, config.protocol, client_id, username, password, tls
    )


def check_login(config: Config) -> None:
    """Look at login and certificates without connecting.

    Raises:
        BrokerError: One of them cannot be used; the message names it.
    """
    settings = broker_settings(config.mqtt, "check")
    if settings.tls is not None:
        tls_context(settings.tls)


def _secret(name: str, variable: str, file: Path | None, *, private: bool) -> str | None:
    """Return a secret from its variable or file; None where the config names neither."""
    if file is not None:
        try:
            return read_secret(file, private=private)
        except SecretFileError as error:
            msg = f"mqtt.{name}_file: {error}"
            raise LoginError(msg) from error
    if not variable:
        return None
    where = f"mqtt.{name}_env = {variable!r}: this environment variable"
    if variable not in os.environ:
        msg = f"{where} is not set"
        raise LoginError(msg)
    try:
        return secret_text(os.environ[variable].encode("utf-8", "surrogateescape"))
    except ValueError as error:
        msg = f"{where}: {error}"
        raise LoginError(msg) from error


def _tls_files(config: MqttSettings) -> TlsFiles | None:
    if not config.tls:
        return None
    if config.key_file is not None:
        try:
            check_private(config.key_file)
        except SecretFileError as error:
            msg = f"mqtt.key_file: {error}"
            raise LoginError(msg) from error
    return TlsFiles(config.ca_file, config.cert_file, config.key_file)


def _is_here(host: str) -> bool:
    try:
        return is_loopback(host)
    except (OSError, UnicodeError):
        return False
