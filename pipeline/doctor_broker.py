"""Checks of the broker: reached, trusted, let in, and allowed to say what a line says.

Nothing is said on any topic, see :mod:`pipeline.doctor_mqtt`; while the gate
runs not even that much is asked, since it says everything itself.
"""

from __future__ import annotations

import secrets
import ssl
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.contract import Topics
from edge.endpoints import is_loopback
from edge.mqtt_client import BrokerError, plain_reason
from pipeline.broker_login import broker_settings, check_login
from pipeline.doctor import Check, Finding, fail, ok, skipped, warn
from pipeline.doctor_mqtt import BrokerTalk, TalkError
from pipeline.doctor_running import what_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge.mqtt_client import BrokerSettings
    from pipeline.config import Config

FILES, REACH, TLS, PROTOCOL, LOGIN, PLC, TOPICS = (
    "broker.secrets", "broker.reach", "broker.tls", "broker.protocol", "broker.login",
    "broker.plc", "broker.topics",
)  # fmt: skip
OWN_NAME = frozenset({62, 64})
"""OpenSSL: the certificate is for another name or address."""
OUT_OF_TIME = frozenset({9, 10})
"""OpenSSL: the certificate is not valid yet, or not any more."""
NOT_TOLD = "a broker that does not speak MQTT 5, or QoS 2, does not tell who may say what"


def broker_checks(config: Config) -> list[Check]:
    """Return the checks of the broker, in the order in which they build upon each other."""
    checks = [Check(FILES, lambda: _files(config))]
    if config.mqtt.embedded and not what_runs(config).gate:
        return [*checks, Check(REACH, lambda: [skipped(REACH, "the line starts its own broker")])]
    return [
        *checks,
        Check(REACH, lambda: _reach(config), needs=(FILES,)),
        Check(TLS, lambda: _tls(config), needs=(REACH,)),
        Check(LOGIN, lambda: _login(config), needs=(REACH, TLS)),
        Check(PLC, lambda: _plc(config), needs=(LOGIN,)),
        Check(TOPICS, lambda: _topics(config), needs=(LOGIN,)),
    ]


def gate_settings(config: Config) -> BrokerSettings:
    """Return who the gate would be to the broker: access lists may look at its client id.

    Raises:
        BrokerError: A login or a TLS file cannot be used.
    """
    return broker_settings(config.mqtt, f"gate-{secrets.token_hex(8)}")


def _files(config: Config) -> Iterator[Finding]:
    try:
        check_login(config)
    except BrokerError as error:
        yield fail(FILES, "", str(error), "Correct this key of [mqtt], its file or its variable.")
        return
    settings = gate_settings(config)
    user = "no login" if settings.username is None else f"user {settings.username}"
    yield ok(FILES, f"{user}, {'TLS' if settings.tls else 'no TLS'}")


def _reach(config: Config) -> Iterator[Finding]:
    settings = replace(gate_settings(config), tls=None)
    where = f"{settings.host}:{settings.port}"
    begin = time.perf_counter()
    try:
        with BrokerTalk(settings):
            took_ms = 1000 * (time.perf_counter() - begin)
    except OSError as error:
        yield fail(
            REACH, where, f"cannot be reached: {error.strerror or error}",
            f"Start the broker on {where} and open its port, or correct mqtt.host and mqtt.port.",
        )  # fmt: skip
        return
    yield ok(REACH, f"{where}, {took_ms:.1f} ms")


def _tls(config: Config) -> Iterator[Finding]:
    settings = gate_settings(config)
    if settings.tls is None:
        yield _in_the_clear(settings)
        return
    try:
        with BrokerTalk(settings):
            yield ok(TLS, f"signed by {settings.tls.ca or 'whom this system trusts'}")
    except ssl.SSLCertVerificationError as error:
        why = f"certificate refused: {error.verify_message.rstrip('.')}"
        yield fail(TLS, "", why, _trust_remedy(settings, error.verify_code))
    except OSError as error:
        why = f"TLS handshake failed: {plain_reason(str(error))}"
        remedy = f"Set mqtt.port to the encrypted port (now {settings.port}), or mqtt.tls = false."
        yield fail(TLS, "", why, remedy)


def _in_the_clear(settings: BrokerSettings) -> Finding:
    try:
        here = is_loopback(settings.host)
    except (OSError, UnicodeError):
        here = False
    if here:
        return ok(TLS, "none; the broker is on this host")
    return warn(
        TLS, "none", "login and messages travel in the clear",
        "Set mqtt.tls = true, and mqtt.port to the broker's encrypted port.",
    )  # fmt: skip


def _trust_remedy(settings: BrokerSettings, code: int) -> str:
    if code in OWN_NAME:
        return f"Set mqtt.host to a name in the broker's certificate; {settings.host} is not."
    if code in OUT_OF_TIME:
        return "Set this machine's clock, or renew the broker's certificate."
    return "Set mqtt.ca_file to the certificate of the authority that signed the broker's."


def _login(config: Config) -> Iterator[Finding]:
    settings = gate_settings(config)
    figure = f"MQTT {settings.protocol}, user {settings.username or 'none'}"
    try:
        with BrokerTalk(settings) as talk:
            greeting = talk.login()
            talk.leave()
    except ssl.SSLError as error:
        why = plain_reason(str(error))
        remedy = "Set mqtt.cert_file and mqtt.key_file to a certificate that the broker takes."
        yield fail(LOGIN, figure, f"refused: {why}", remedy)
        return
    except (TalkError, OSError) as error:
        yield fail(PROTOCOL, figure, str(error), _other_protocol(settings))
        return
    if "protocol version" in greeting.refusal:
        yield fail(PROTOCOL, figure, f"refused: {greeting.refusal}", _other_protocol(settings))
        return
    yield ok(PROTOCOL, f"MQTT {settings.protocol}")
    if greeting.refusal:
        yield fail(LOGIN, figure, f"refused: {greeting.refusal}", _login_remedy(config))
    elif not greeting.retains:
        why = "the broker keeps no retained messages, so nobody sees the line's state on joining"
        yield fail(LOGIN, figure, why, "Allow retained messages in the broker's settings.")
    else:
        yield ok(LOGIN, figure)


def _other_protocol(settings: BrokerSettings) -> str:
    other = "3.1.1" if settings.protocol == "5" else "5"
    words = f'Set mqtt.protocol = "{other}"'
    if settings.tls is None:
        return f"{words}, or mqtt.tls = true if port {settings.port} is encrypted."
    return f"{words}."


def _login_remedy(config: Config) -> str:
    """Say where the login comes from, and never what it is."""
    mqtt = config.mqtt
    user = mqtt.username_file or mqtt.username_env
    if not user:
        return "Set mqtt.username_file and mqtt.password_file to a login that the broker knows."
    password = mqtt.password_file or mqtt.password_env or "mqtt.password_file"
    return f"Correct user and password in {user} and {password}, or add them to the broker's list."


def _plc(config: Config) -> Iterator[Finding]:
    refused, why_not = _refusals(config, ("plc",))
    if why_not:
        yield skipped(PLC, why_not)
        return
    topic = _tree(config).under("plc")
    if refused:
        yield fail(PLC, topic, f"refused: {refused[topic]}", _rights_remedy(config, topic))
        return
    yield ok(PLC, f"{topic} may be written")


def _topics(config: Config) -> Iterator[Finding]:
    names = [
        "status", "heartbeat", "part", "verdict", "history", "history/part", "cmd/result",
        *(f"camera/{camera.id}/status" for camera in config.camera),
        *(f"alarm/{alarm.name}" for alarm in config.alarm),
        *(f"heatmap/{camera.id}/{'0' * 16}/1" for camera in config.camera),
    ]  # fmt: skip
    refused, why_not = _refusals(config, names)
    if why_not:
        yield skipped(TOPICS, why_not)
        return
    figure = f"{len(names) - len(refused)} of {len(names)} topics may be written"
    if refused:
        first = next(iter(refused))
        detail = f"refused: {', '.join(refused)}: {refused[first]}"
        yield fail(TOPICS, figure, detail, _rights_remedy(config, f"{_tree(config).root}/#"))
        return
    yield ok(TOPICS, figure)


def _refusals(config: Config, names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Return the topics that may not be written, with the reason, or why that cannot be asked."""
    if what_runs(config).gate:
        return {}, f"{what_runs(config).who}: its log and `status` tell of refusals"
    topics = [_tree(config).under(name) for name in names]
    # Rights are the same in both versions, but only one has a word for them.
    with BrokerTalk(replace(gate_settings(config), protocol="5")) as talk:
        try:
            greeting = talk.login()
        except (TalkError, OSError):
            return {}, NOT_TOLD
        if greeting.refusal or not greeting.takes_qos_2:
            return {}, NOT_TOLD
        return _refused(talk, topics), ""


def _refused(talk: BrokerTalk, topics: Sequence[str]) -> dict[str, str]:
    """Ask for each topic; some brokers answer a topic that they forbid with the end."""
    refused: dict[str, str] = {}
    for topic in topics:
        try:
            why = talk.refusal_to_say(topic)
        except TalkError as error:
            return refused | {topic: str(error)}
        if why:
            refused[topic] = why
    talk.leave()
    return refused


def _rights_remedy(config: Config, topic: str) -> str:
    user = gate_settings(config).username
    rule = f"topic write {topic}" if user is None else f"user {user} / topic write {topic}"
    return f"Add to the broker's access list: {rule}."


def _tree(config: Config) -> Topics:
    line = config.line
    return Topics(config.mqtt.prefix, line.site, line.area, line.line, line.station)
