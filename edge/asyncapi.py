"""The contract as documents: JSON Schema for each JSON topic, and AsyncAPI 3.0 for all.

Both are made from the models of :mod:`edge.contract` and :mod:`edge.commands`,
so that they say what the program checks. ``deploy/contract/`` ships them.

Source: AsyncAPI specification 3.0.0, with the MQTT bindings 0.2.0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from edge.commands import COMMAND_LIMIT_BYTES, COMMANDS, CommandResult
from edge.contract import (
    MESSAGE_LIMIT_BYTES,
    AlarmState,
    CameraCounts,
    CameraState,
    HistoryMessage,
    PartHistoryMessage,
    PartMessage,
    StatusMessage,
    VerdictMessage,
)
from edge.errors import LineError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

CONTRACT_VERSION = "1.0.0"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROOT_SEGMENTS = {
    "prefix": "First segment of every topic; by default musc.",
    "site": "ISA-95 site.",
    "area": "ISA-95 area.",
    "line": "ISA-95 line.",
    "station": "The station of the box on its line.",
}
SEGMENTS = ROOT_SEGMENTS | {
    "camera": "Id of a camera: 1 to 16 of A-Z a-z 0-9 _ -",
    "boot": "Start of the camera's ingest: 16 hexadecimal digits.",
    "seq": "Number of the frame at its camera: 1 to 12 decimal digits.",
    "alarm": "Name of an alarm: 1 to 32 of A-Z a-z 0-9 _ -",
}
"""Every topic parameter and what it is."""
PLC_PATTERN = r"^[0-9a-f]{16};[1-9][0-9]{0,11};[!#-:<-\[\]-~]{1,48};[012]$"

Document = dict[str, Any]
MODELS: dict[str, type[BaseModel]] = {
    "verdict": VerdictMessage,
    "part": PartMessage,
    "status": StatusMessage,
    "camera-counts": CameraCounts,
    "history": HistoryMessage,
    "history-part": PartHistoryMessage,
    **{f"cmd-{verb}": model for verb, model in COMMANDS.items()},
    "cmd-result": CommandResult,
}
"""The model of each JSON payload."""


class ContractError(LineError):
    """The documents cannot be written; the message names the file."""


@dataclass(frozen=True, slots=True)
class _Topic:
    """One line of the contract's table."""

    name: str
    """Of channel, message and schema."""
    path: str
    """Below the station's root; parameters in braces."""
    qos: Literal[0, 1]
    meaning: str
    retain: bool = False
    content_type: str = "application/json"
    action: Literal["send", "receive"] = "send"
    """From the box: it sends results and receives commands."""

    @property
    def parameters(self) -> list[str]:
        """Return the parameters of the whole topic, the root's first."""
        own = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        return [*ROOT_SEGMENTS, *own]


def _sent_topics() -> list[_Topic]:
    text = "text/plain"
    return [
        _Topic("status", "status", 1, "State of the line, said last after each connect; OFFLINE"
               " is the last will.", retain=True),
        _Topic("heartbeat", "heartbeat", 0, "One more each second; three seconds of silence are"
               " OFFLINE.", content_type=text),
        _Topic("camera-status", "camera/{camera}/status", 1, "State of one camera: a dead camera"
               " is not a belt without parts.", retain=True, content_type=text),
        _Topic("camera-counts", "camera/{camera}/counts", 1, "What one camera has delivered, lost"
               " and missed since its process began.", retain=True),
        _Topic("plc", "plc", 1, "What a reject gate is wired to: boot;part_seq;part;code. Code 1"
               " is pass, 2 fail, 0 no result; reject unless 1 for this part is there in time,"
               " and use each part_seq once.", content_type=text),
        _Topic("part", "part", 1, "The one verdict of a part."),
        _Topic("verdict", "verdict", 1, "The one result of a frame."),
        _Topic("heatmap", "heatmap/{camera}/{boot}/{seq}", 0, "Where a frame is anomalous, for"
               " screens.", content_type="image/png"),
        _Topic("alarm", "alarm/{alarm}", 1, "State of one alarm after ISA-18.2, latched until it"
               " is acknowledged.", retain=True, content_type=text),
        _Topic("history", "history", 1, "Frame results that an outage kept back, in order; never"
               " wired to a gate."),
        _Topic("history-part", "history/part", 1, "Part verdicts that an outage kept back, in"
               " order; never wired to a gate."),
        _Topic("cmd-result", "cmd/result", 1, "What became of each command, by its txn."),
    ]  # fmt: skip


def _command_topics() -> list[_Topic]:
    return [
        _Topic(f"cmd-{verb}", f"cmd/{verb}", 1, _summary(model), action="receive")
        for verb, model in COMMANDS.items()
    ]


def _summary(model: type[BaseModel]) -> str:
    """Return a model's sentence without the topic that it begins with."""
    said = (model.__doc__ or "").split(": ", 1)[-1].replace("``", "")
    return said[:1].upper() + said[1:]


def schemas() -> dict[str, Document]:
    """Return a JSON Schema (2020-12) for each JSON topic, by its name."""
    return {
        name: {"$schema": DIALECT, **model.model_json_schema()} for name, model in MODELS.items()
    }


def asyncapi() -> Document:
    """Return the AsyncAPI 3.0 document of every topic, from the side of the box."""
    topics = [*_sent_topics(), *_command_topics()]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "musc-edge",
            "version": CONTRACT_VERSION,
            "description": "Inspection results of one station on MQTT, and its commands. JSON is"
            f" flat; what is published has at most {MESSAGE_LIMIT_BYTES} bytes outside heatmap,"
            f" a command at most {COMMAND_LIMIT_BYTES}.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": {topic.name: _channel(topic) for topic in topics},
        "operations": {f"{topic.action}-{topic.name}": _operation(topic) for topic in topics},
        "components": {
            "schemas": _payload_schemas(),
            "messages": {topic.name: _message(topic) for topic in topics},
            "parameters": {name: {"description": text} for name, text in SEGMENTS.items()},
        },
    }


def _server() -> Document:
    return {
        "host": "{host}:{port}",
        "protocol": "mqtt",
        "protocolVersion": "5",
        "description": "The plant's broker, MQTT 5 or 3.1.1; mqtts where [mqtt] has tls = true.",
        "variables": {
            "host": {"default": "127.0.0.1", "description": "[mqtt] host of the config."},
            "port": {"default": "1883", "description": "[mqtt] port of the config."},
        },
    }


def _channel(topic: _Topic) -> Document:
    root = "{prefix}/v1/{site}/{area}/{line}/{station}"
    return {
        "address": f"{root}/{topic.path}",
        "description": topic.meaning,
        "messages": {topic.name: {"$ref": f"#/components/messages/{topic.name}"}},
        "parameters": {
            name: {"$ref": f"#/components/parameters/{name}"} for name in topic.parameters
        },
    }


def _operation(topic: _Topic) -> Document:
    operation: Document = {
        "action": topic.action,
        **_on_channel(topic.name),
        "bindings": {"mqtt": {"qos": topic.qos, "retain": topic.retain, "bindingVersion": "0.2.0"}},
    }
    if topic.action == "receive":
        operation["reply"] = _on_channel("cmd-result")
    return operation


def _on_channel(name: str) -> Document:
    return {
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
    }


def _message(topic: _Topic) -> Document:
    message: Document = {
        "name": topic.name,
        "summary": topic.meaning,
        "contentType": topic.content_type,
        "payload": {"$ref": f"#/components/schemas/{topic.name}"},
    }
    if topic.name.startswith("cmd-"):
        message["correlationId"] = {
            "description": "The sender's name for a command; its result carries it.",
            "location": "$message.payload#/txn",
        }
    return message


def _payload_schemas() -> dict[str, Document]:
    """Return the schemas of all payloads; those that are not JSON are strings."""
    return {
        **{name: model.model_json_schema() for name, model in MODELS.items()},
        "heartbeat": {"type": "string", "pattern": "^[0-9]+$"},
        "camera-status": {"type": "string", "enum": list(get_args(CameraState))},
        "plc": {"type": "string", "pattern": PLC_PATTERN},
        "heatmap": {"type": "string", "format": "binary"},
        "alarm": {"type": "string", "enum": list(get_args(AlarmState))},
    }


def contract_documents() -> dict[str, Document]:
    """Return every document of the contract by its file name."""
    files = {f"{name}.schema.json": schema for name, schema in schemas().items()}
    return files | {"asyncapi.json": asyncapi()}


def write_contract(folder: Path) -> list[Path]:
    """Write every document of the contract into a folder, made where it is not there.

    Returns:
        The files, in the order of :func:`contract_documents`.

    Raises:
        ContractError: The folder or a file in it cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, document in contract_documents().items():
            written.append(folder / name)
            written[-1].write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"contract {error.filename or folder}: {error.strerror}"
        raise ContractError(msg) from error
    return written
