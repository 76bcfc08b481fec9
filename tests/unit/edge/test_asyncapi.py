"""The contract's documents: what is shipped is what the program checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from jsonschema import (  # type: ignore[import-untyped]  # ships no types
    Draft7Validator,
    Draft202012Validator,
)

from edge.asyncapi import (
    ContractError,
    asyncapi,
    contract_documents,
    schemas,
    write_contract,
)
from edge.commands import COMMANDS
from edge.contract import AlarmState, CameraState, Topics, Why, plc_line

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(__file__).parents[3] / "deploy" / "contract"
ROOT = "{prefix}/v1/{site}/{area}/{line}/{station}/"
SENT = {
    "status": (1, True),
    "heartbeat": (0, False),
    "camera/{camera}/status": (1, True),
    "camera/{camera}/counts": (1, True),
    "plc": (1, False),
    "part": (1, False),
    "verdict": (1, False),
    "heatmap/{camera}/{boot}/{seq}": (0, False),
    "alarm/{alarm}": (1, True),
    "history": (1, False),
    "history/part": (1, False),
    "cmd/result": (1, False),
}
"""QoS and retain of what the box publishes."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the AsyncAPI document."""
    return asyncapi()


def references(node: object) -> Iterator[str]:
    """Yield every $ref below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def resolve(document: dict[str, Any], reference: str) -> Any:
    """Return what a $ref within the document points at, through further ones."""
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
        while isinstance(found, dict) and "$ref" in found:
            found = resolve(document, found["$ref"])
    return found


def payload_schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the schema of a channel's payload."""
    schema: dict[str, Any] = resolve(document, f"#/channels/{name}/messages/{name}/payload")
    return schema


def test_shipped_documents_are_these(tmp_path: Path) -> None:
    """deploy/contract/ holds, byte by byte, what the program writes today, and nothing else."""
    written = write_contract(tmp_path / "a" / "b")

    assert [path.name for path in written] == list(contract_documents())
    assert {path.name: path.read_bytes() for path in SHIPPED.iterdir()} == {
        path.name: path.read_bytes() for path in written
    }


def test_documents_are_the_schemas_and_asyncapi() -> None:
    """Each schema is a file of its name, beside the one AsyncAPI document."""
    documents = contract_documents()

    assert documents.pop("asyncapi.json") == asyncapi()
    assert documents == {f"{name}.schema.json": schema for name, schema in schemas().items()}


@pytest.mark.parametrize("name", sorted(schemas()))
def test_schema_is_one(name: str) -> None:
    """Each schema is valid by its dialect, and as draft 7, which AsyncAPI reads."""
    schema = schemas()[name]

    Draft202012Validator.check_schema(schema)
    Draft7Validator.check_schema({key: value for key, value in schema.items() if key != "$schema"})


@pytest.mark.parametrize("name", sorted(schemas()))
def test_every_field_is_described(name: str) -> None:
    """Each field of each message says in one line what it is."""
    fields = schemas()[name]["properties"]

    said = {field: schema.get("description", "") for field, schema in fields.items()}

    assert [field for field, words in said.items() if not words.endswith(".")] == []
    assert [field for field, words in said.items() if "\n" in words] == []


def test_every_reason_has_its_meaning() -> None:
    """The reasons of a verdict are told with what each means."""
    said = schemas()["verdict"]["properties"]["why"]

    assert said["enum"] == [one["const"] for one in said["oneOf"]] == list(get_args(Why))
    assert all(one["description"] for one in said["oneOf"])


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    """A path that cannot be written is an operator's error that names it."""
    (tmp_path / "file").touch()

    with pytest.raises(ContractError, match=re.escape(str(tmp_path / "file"))):
        write_contract(tmp_path / "file")


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    """No $ref points out of the document or at nothing."""
    found = set(references(document))

    assert len(found) > len(document["channels"])
    assert all(resolve(document, reference) for reference in found)


def test_every_topic_is_there_once(document: dict[str, Any]) -> None:
    """The channels are the contract's topics, each with one message and its own parameters."""
    addresses = {name: channel["address"] for name, channel in document["channels"].items()}

    assert sorted(addresses.values()) == sorted(
        ROOT + path for path in [*SENT, *(f"cmd/{verb}" for verb in COMMANDS)]
    )
    for name, channel in document["channels"].items():
        assert set(channel["messages"]) == {name}
        assert set(channel["parameters"]) == set(re.findall(r"{(\w+)}", channel["address"]))


def test_addresses_are_the_programs_topics(document: dict[str, Any]) -> None:
    """An address with its parameters filled in is the topic that the program uses."""
    topics = Topics("musc", "berlin", "press", "l3", "s1")
    values = {
        "prefix": "musc", "site": "berlin", "area": "press", "line": "l3", "station": "s1",
        "camera": "c1", "boot": "ab", "seq": 7, "alarm": "disk_low",
    }  # fmt: skip

    filled = {
        name: channel["address"].format(**values) for name, channel in document["channels"].items()
    }

    assert filled["heatmap"] == topics.heatmap("c1", "ab", 7)
    assert filled["camera-status"] == topics.camera("c1")
    assert filled["camera-counts"] == topics.camera_counts("c1")
    assert filled["alarm"] == topics.alarm("disk_low")
    assert {verb: filled[f"cmd-{verb}"] for verb in COMMANDS} == {
        verb: topics.command(verb) for verb in COMMANDS
    }
    assert filled["history-part"] == topics.under("history/part")


def test_operations_have_the_tables_qos_and_retain(document: dict[str, Any]) -> None:
    """The box sends each topic with the table's QoS and retain, and receives commands with 1."""
    qos: dict[str, dict[str, tuple[int, bool]]] = {"send": {}, "receive": {}}
    for operation in document["operations"].values():
        mqtt = operation["bindings"]["mqtt"]
        address = resolve(document, operation["channel"]["$ref"])["address"]
        qos[operation["action"]][address.removeprefix(ROOT)] = (mqtt["qos"], mqtt["retain"])

    assert qos["send"] == SENT
    assert qos["receive"] == {f"cmd/{verb}": (1, False) for verb in COMMANDS}


def test_operations_say_their_channels_messages(document: dict[str, Any]) -> None:
    """Each operation names messages of its own channel, and each command its answer."""
    for name, operation in document["operations"].items():
        sides = [operation, operation["reply"]] if "reply" in operation else [operation]

        for side in sides:
            channel = side["channel"]["$ref"]
            assert side["messages"]
            assert all(
                message["$ref"].startswith(f"{channel}/messages/") for message in side["messages"]
            )
        assert (operation["action"] == "receive") == ("reply" in operation), name
        assert len(sides) == 1 or sides[1]["channel"]["$ref"] == "#/channels/cmd-result"


def test_json_payloads_are_the_models(document: dict[str, Any]) -> None:
    """A JSON payload's schema is the shipped one, without its dialect."""
    for name, schema in schemas().items():
        assert {"$schema": schema["$schema"], **payload_schema(document, name)} == schema


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("heartbeat", ["0", "18231"], ["", "-1", "1.5"]),
        ("camera-status", get_args(CameraState), ["OFFLINE", "online"]),
        ("alarm", get_args(AlarmState), ["ACTIVE", ""]),
        (
            "plc",
            [plc_line("f" * 16, 999_999_999_999, "~" * 48, verdict).decode()
             for verdict in ("PASS", "FAIL", "NO_RESULT")],
            ["f;1;A;1", f"{'f' * 16};0;A;1", f"{'f' * 16};1;A;3", f"{'f' * 16};1;A;B;1"],
        ),
    ],
)  # fmt: skip
def test_plain_payloads(
    document: dict[str, Any], name: str, good: list[str], bad: list[str]
) -> None:
    """The words and lines that the program says are what the document allows, and only they."""
    validator = Draft7Validator(payload_schema(document, name))

    assert all(validator.is_valid(payload) for payload in good)
    assert not any(validator.is_valid(payload) for payload in bad)
