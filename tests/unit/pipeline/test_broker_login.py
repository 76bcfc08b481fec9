"""Login to the broker: from environment or files, whole, private, and never shown."""

from __future__ import annotations

import logging
import os
import socket
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from typer.testing import CliRunner

from edge.mqtt import BrokerError, TlsFiles
from pipeline.broker_login import LoginError, broker_settings
from pipeline.cli import app
from pipeline.config_file import load_config
from pipeline.config_plant import MqttSettings

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Config

POSIX = pytest.mark.skipif(os.name == "nt", reason="a file's mode says nothing on Windows")
PASSWORD = "hunter2-7f3a9c01"  # noqa: S105 - of no broker
FROM_ENVIRONMENT = {"username_env": "BOX_USER", "password_env": "BOX_PASSWORD"}
FROM_FILES = {"username_file": "user", "password_file": "password"}


def write(path: Path, content: str, mode: int = 0o600) -> Path:
    """Write a file of this mode."""
    path.write_text(content, newline="")
    path.chmod(mode)
    return path


def line_config(folder: Path, **mqtt: Any) -> Config:
    """Return a config that was read from a file."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
    path = folder / "line.toml"
    path.write_text(tomli_w.dumps({"camera": [camera], "mqtt": mqtt}))
    return load_config(path)


def test_without_login() -> None:
    """A config that names no login gives none, and the broker as it says."""
    settings = broker_settings(MqttSettings(port=1884, protocol="3.1.1"), "gate-1")

    assert (settings.host, settings.port, settings.protocol) == ("127.0.0.1", 1884, "3.1.1")
    assert (settings.client_id, settings.username, settings.password) == ("gate-1", None, None)
    assert settings.tls is None


def test_login_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """User and password are what the named variables hold, without a newline at the end."""
    monkeypatch.setenv("BOX_USER", "box")
    monkeypatch.setenv("BOX_PASSWORD", f"{PASSWORD}\n")

    settings = broker_settings(MqttSettings.model_validate(FROM_ENVIRONMENT), "gate-1")

    assert (settings.username, settings.password) == ("box", PASSWORD)


def test_login_from_files(tmp_path: Path) -> None:
    """User and password are what the named files hold, without a newline at the end."""
    write(tmp_path / "user", "box\n", 0o644)
    write(tmp_path / "password", f"{PASSWORD}\n")

    config = line_config(tmp_path, **FROM_FILES)
    settings = broker_settings(config.mqtt, "gate-1")

    assert (settings.username, settings.password) == ("box", PASSWORD)


def test_user_and_password_from_different_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One may come from the environment and the other from a file; a user alone is a login."""
    monkeypatch.setenv("BOX_USER", "box")
    file = write(tmp_path / "password", PASSWORD)

    both = broker_settings(MqttSettings(username_env="BOX_USER", password_file=file), "gate-1")
    alone = broker_settings(MqttSettings(username_env="BOX_USER"), "gate-1")

    assert (both.username, both.password) == ("box", PASSWORD)
    assert (alone.username, alone.password) == ("box", None)


@pytest.mark.parametrize("name", ["username", "password"])
@pytest.mark.parametrize(
    ("value", "reason"), [(None, "not set"), ("", "empty"), ("\n", "empty"), ("x" * 4097, "4096")]
)
def test_useless_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, reason: str
) -> None:
    """A variable that is not set, empty or too long is refused with key and variable; exit 2."""
    monkeypatch.delenv("BOX_SECRET", raising=False)
    monkeypatch.setenv("BOX_USER", "box")
    if value is not None:
        monkeypatch.setenv("BOX_SECRET", value)
    login = {"username_env": "BOX_USER", f"{name}_env": "BOX_SECRET"}

    with pytest.raises(LoginError, match=f"mqtt.{name}_env = 'BOX_SECRET': .*{reason}") as caught:
        broker_settings(MqttSettings(**login), "gate-1")

    assert isinstance(caught.value, BrokerError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["username", "password"])
@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), ("\n", "empty"), ("x" * 4097, "4096")]
)
def test_useless_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None, reason: str
) -> None:
    """A file that is missing, empty or too long is refused with key and path."""
    path = tmp_path / "secret"
    if content is not None:
        write(path, content)
    monkeypatch.setenv("BOX_USER", "box")
    login: dict[str, Any] = {f"{name}_file": path}
    if name == "password":
        login["username_env"] = "BOX_USER"

    with pytest.raises(LoginError, match=f"mqtt.{name}_file: {path}: .*{reason}"):
        broker_settings(MqttSettings(**login), "gate-1")


@POSIX
@pytest.mark.parametrize("key", ["password_file", "key_file"])
def test_open_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Password and private key that others can read are refused with mode and remedy."""
    path = write(tmp_path / "secret", PASSWORD, 0o644)
    monkeypatch.setenv("BOX_USER", "box")
    login: dict[str, Any] = {"username_env": "BOX_USER", key: path}
    if key == "key_file":
        login |= {"tls": True, "cert_file": path}

    with pytest.raises(LoginError, match=f"mqtt.{key}: {path}: mode 0644 .* chmod 600 {path}"):
        broker_settings(MqttSettings(**login), "gate-1")


def test_password_needs_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password without a user would never be sent, and is refused."""
    monkeypatch.setenv("BOX_PASSWORD", PASSWORD)

    with pytest.raises(LoginError, match="a password without a user"):
        broker_settings(MqttSettings(**{**FROM_ENVIRONMENT, "username_env": ""}), "gate-1")


def test_tls_files_are_handed_on(tmp_path: Path) -> None:
    """With TLS the three files go to the session; without a CA the system's list is used."""
    ca, cert, key = (write(tmp_path / name, "PEM") for name in ("ca", "cert", "key"))

    full = broker_settings(MqttSettings(tls=True, ca_file=ca, cert_file=cert, key_file=key), "g")
    bare = broker_settings(MqttSettings(tls=True), "g")

    assert full.tls == TlsFiles(ca, cert, key)
    assert bare.tls == TlsFiles(None, None, None)


@pytest.mark.parametrize(
    ("mqtt", "warnings"),
    [
        ({"host": "192.0.2.7"}, ["messages travel in the clear"]),
        ({"host": "192.0.2.7", "username_env": "BOX_USER"}, ["password and messages travel"]),
        ({"host": "192.0.2.7", "username_env": "BOX_USER", "tls": True}, []),
        ({"host": "127.0.0.1", "username_env": "BOX_USER"}, []),
        ({"host": "localhost"}, []),
    ],
)
def test_clear_text_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mqtt: dict[str, Any],
    warnings: list[str],
) -> None:
    """Without TLS one line warns of a broker on another host, of one on this host none."""
    monkeypatch.setenv("BOX_USER", "box")

    broker_settings(MqttSettings(**mqtt), "gate-1")

    assert len(caplog.messages) == len(warnings)
    assert all(text in said for text, said in zip(warnings, caplog.messages, strict=True))


def test_unresolvable_host_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker whose name is not known yet is the session's trouble, not the login's."""

    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)

    assert broker_settings(MqttSettings(host="broker"), "gate-1").host == "broker"
    assert "broker:1883 without TLS" in caplog.text


@pytest.mark.parametrize("kind", ["env", "file"])
def test_password_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """No repr, log line, config dump or check of the config holds the password."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("BOX_PASSWORD", PASSWORD)
    write(tmp_path / "user", "box")
    write(tmp_path / "password", PASSWORD)
    password = {"password_env": "BOX_PASSWORD"} if kind == "env" else {"password_file": "password"}
    config = line_config(tmp_path, host="192.0.2.7", username_file="user", **password)

    settings = broker_settings(config.mqtt, "gate-1")
    checked = CliRunner().invoke(app, ["check-config", str(tmp_path / "line.toml")])

    assert settings.password == PASSWORD
    shown = (repr(settings), repr(config), config.model_dump_json(), caplog.text, checked.output)
    assert checked.exit_code == 0
    assert [text for text in shown if PASSWORD in text] == []


@pytest.mark.parametrize("content", [PASSWORD.encode() + b"\xff", PASSWORD.encode() * 300])
def test_refused_password_is_never_shown(tmp_path: Path, content: bytes) -> None:
    """A password that cannot be used is not repeated, neither in the message nor the traceback."""
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(0o600)
    user = write(tmp_path / "user", "box")

    with pytest.raises(LoginError) as caught:
        broker_settings(MqttSettings(username_file=user, password_file=path), "gate-1")

    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
