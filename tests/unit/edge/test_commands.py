"""Commands: any bytes are a command or one short sentence about what is wrong with them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types

from edge.asyncapi import schemas
from edge.commands import (
    CODE_MEANINGS,
    COMMAND_LIMIT_BYTES,
    COMMAND_WORDS,
    COMMANDS,
    DETAIL_LIMIT,
    ECHO_LIMIT,
    Command,
    CommandError,
    CommandResult,
    ParseCode,
    ResultCode,
    parse_command,
)
from edge.contract import MESSAGE_LIMIT_BYTES
from edge.frame import SEQ_LIMIT
from edge.wire import OrderCode

WHO = {"txn": "t-1", "by": "Jürgen K."}
GOOD: dict[str, dict[str, Any]] = {
    "ack": {"alarm": "*"},
    "shelve": {"alarm": "disk_low", "minutes": 30, "note": "disk is on order"},
    "reset": {},
    "recipe": {"recipe": "lid-blue"},
    "pin": {"cam": "c1", "boot": "7f3a9c01b2d4e5f6", "seq": 18231},
    "release": {"cam": "c1"},
    "review": {"part": "A-000812", "label": "defect", "note": "scratch, seen at rework"},
    "rebirth": {},
    "part": {"part": "A-000812", "cam": "c1"},
}
LONGEST_REVIEW = {"txn": "t" * 36, "part": "~" * 48, "label": "defect"}
LONGEST_CODE = max(get_args(ResultCode), key=len)
PRINTABLE = st.characters(exclude_categories=("C", "Z"))
RESULT_SCHEMA = Draft202012Validator(schemas()["cmd-result"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
FIELD_NAMES = sorted({name for model in COMMANDS.values() for name in model.model_fields})


def message(verb: str, **fields: Any) -> bytes:
    """Return the payload of a good command with these fields changed."""
    return json.dumps(WHO | GOOD[verb] | fields).encode()


def outcome(verb: str, payload: bytes) -> Command | CommandError:
    """Return the command, or why there is none."""
    try:
        return parse_command(verb, payload)
    except CommandError as error:
        return error


def refusal(verb: str, payload: bytes) -> CommandError:
    """Return why a payload is no command."""
    with pytest.raises(CommandError) as caught:
        parse_command(verb, payload)
    return caught.value


@pytest.mark.parametrize("verb", COMMANDS)
def test_good_command_is_read(verb: str) -> None:
    """Each verb's message is valid by its schema and gives that verb's command, whole."""
    command = parse_command(verb, message(verb))

    assert type(command) is COMMANDS[verb]
    assert command.model_dump(exclude_unset=True) == WHO | GOOD[verb]
    Draft202012Validator(schemas()[f"cmd-{verb}"]).validate(json.loads(message(verb)))


@given(
    verb=st.sampled_from([*COMMANDS, "", "result", "é/\x00", "v" * 300]),
    payload=st.binary(max_size=80)
    | st.dictionaries(st.sampled_from(FIELD_NAMES) | st.text(max_size=60), JSON_VALUES).map(
        lambda fields: json.dumps(fields).encode()
    ),
)
@example(verb="ack", payload=b"[" * COMMAND_LIMIT_BYTES)
@example(verb="ack", payload=b'{"a":' * (COMMAND_LIMIT_BYTES // 5))
@example(verb="ack", payload=b'{"alarm":' + b"[" * 900 + b"]" * 900 + b"}")
@example(verb="shelve", payload=b'{"minutes":' + b"9" * 2000 + b"}")
@example(verb="shelve", payload=b'{"minutes":1e999}')
@example(verb="rebirth", payload=b'{"txn":"t","by":"\\ud800"}')
@example(verb="rebirth", payload=b'{"txn":"t","by":"a","\\ud800":1}')
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_command_or_an_error(verb: str, payload: bytes) -> None:
    """Whatever arrives, there is a command, or an error whose result can be published."""
    came = outcome(verb, payload)

    if isinstance(came, CommandError):
        result = CommandResult(txn=came.txn, ok=False, code=came.code, detail=came.detail)
        RESULT_SCHEMA.validate(json.loads(result.payload()))
        assert came.code in get_args(ParseCode)
        assert len(came.detail) <= DETAIL_LIMIT
        assert came.detail.isprintable()
        assert len(result.payload()) <= MESSAGE_LIMIT_BYTES
    else:
        assert type(came) is COMMANDS[verb]


@pytest.mark.parametrize(
    ("verb", "payload", "code", "says"),
    [
        ("ack", b" " * (COMMAND_LIMIT_BYTES + 1), "too_long", f"at most {COMMAND_LIMIT_BYTES}"),
        ("ack", b"", "not_json", "not JSON"),
        ("ack", b"[]", "not_json", "not a JSON object"),
        ("ack", b"\xff", "not_json", "not UTF-8 at byte 0"),
        ("ack", b'{"txn":"t","txn":"t"}', "not_json", "twice"),
        ("ack", b'{"txn":NaN}', "not_json", "NaN is no JSON number"),
        ("ack", b"[" * COMMAND_LIMIT_BYTES, "not_json", "nested too deeply"),
        ("result", message("ack"), "unknown_verb", "there are ack, shelve"),
        ("ack", message("ack", alarm="a b"), "bad_field", "alarm = 'a b'"),
        ("ack", message("ack", alarm=""), "bad_field", "alarm = ''"),
        ("shelve", message("shelve", alarm="**"), "bad_field", "'**': must be * or 1 to 32 of A-Z"),
        ("shelve", message("shelve", minutes=1441), "bad_field", "equal to 1440"),
        ("shelve", message("shelve", minutes=-1), "bad_field", "equal to 0"),
        ("shelve", message("shelve", minutes="30"), "bad_field", "minutes = '30'"),
        ("shelve", message("shelve", minutes=True), "bad_field", "minutes = True"),
        ("shelve", message("shelve", minutes=1.5), "bad_field", "minutes = 1.5"),
        ("shelve", message("shelve", note="n" * 121), "bad_field", "at most 120"),
        ("recipe", message("recipe", recipe="lid blue"), "bad_field", "recipe = 'lid blue'"),
        ("pin", message("pin", seq=0), "bad_field", "seq = 0"),
        ("pin", message("pin", seq=SEQ_LIMIT + 1), "bad_field", str(SEQ_LIMIT)),
        ("pin", message("pin", boot="7F"), "bad_field", "boot = '7F'"),
        ("release", message("release", cam="c/1"), "bad_field", "cam = 'c/1'"),
        ("review", message("review", label="bad"), "bad_field", "'good' or 'defect'"),
        ("review", message("review", note="n" * 201), "bad_field", "at most 200"),
        ("review", message("review", note="a\nb"), "bad_field", "printable characters"),
        (
            "review",
            message("review", part="A;1"),
            "bad_field",
            "part = 'A;1': must be 1 to 48 printable ASCII characters, no space, ; \" or \\",
        ),
        ("review", message("review", part="Büchse 3"), "bad_field", "part = 'Büchse 3': must be"),
        ("review", message("review", part="ж\x1b\u202e"), "bad_field", r"part = 'ж\x1b\u202e': "),
        ("part", message("part", part=["A"]), "bad_field", "part = (a list)"),
        ("part", message("part", part={"id": "A"}), "bad_field", "part = (an object)"),
        ("rebirth", message("rebirth", by=""), "bad_field", "at least 1"),
        ("rebirth", message("rebirth", by="b" * 49), "bad_field", "at most 48"),
        ("rebirth", message("rebirth", by=" b"), "bad_field", "the first no space"),
        ("rebirth", message("rebirth", by="b\x1b[2J"), "bad_field", "printable characters"),
        ("rebirth", message("rebirth", by="a\u202eb"), "bad_field", "printable characters"),
        ("rebirth", message("rebirth", txn="t" * 37), "bad_field", "1 to 36"),
        ("rebirth", message("rebirth", cam="c1"), "bad_field", "no field 'cam'"),
        ("rebirth", b'{"txn":"t-1"}', "bad_field", "by is missing"),
    ],
)
def test_refusal_names_field_and_limit(verb: str, payload: bytes, code: str, says: str) -> None:
    """Each kind of mistake has its code, and a sentence that names the field and the limit."""
    error = refusal(verb, payload)

    assert error.code == code
    assert says in error.detail


@pytest.mark.parametrize(
    ("verb", "payload", "txn"),
    [
        ("ack", message("ack", alarm=7), "t-1"),
        ("nothing", message("ack"), "t-1"),
        ("ack", message("ack", txn="t 1"), ""),
        ("ack", message("ack", txn=1), ""),
        ("ack", message("ack", txn="t\n"), ""),
        ("ack", b'{"txn":"t-1"', ""),
        ("ack", message("ack", note="n" * COMMAND_LIMIT_BYTES), ""),
    ],
)
def test_txn_is_kept_where_it_is_valid(verb: str, payload: bytes, txn: str) -> None:
    """A refusal carries the sender's txn if the message has a valid one, else none."""
    assert refusal(verb, payload).txn == txn


@given(noise=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=41))
@settings(max_examples=50, deadline=None)
def test_little_of_the_input_is_repeated(noise: str) -> None:
    """An answer repeats at most 40 characters of what it refuses, be it verb, name or value."""
    refused = [
        refusal(noise, message("ack")),
        refusal("ack", json.dumps(WHO | {noise: noise, "alarm": "a"}).encode()[:2048]),
        refusal("ack", message("ack", alarm=noise)),
    ]

    for error in refused:
        assert noise[: ECHO_LIMIT + 1] not in error.detail


@given(by=st.text(PRINTABLE, min_size=48, max_size=48), note=st.text(PRINTABLE, min_size=200))
@example(by="\U0001f600" * 48, note="\U0001f600" * 200)
@settings(max_examples=50, deadline=None)
def test_every_valid_command_fits(by: str, note: str) -> None:
    """No command is too long that keeps to the limits of its fields, in whatever alphabet."""
    review = LONGEST_REVIEW | {"by": by, "note": note[:200]}

    command = parse_command("review", json.dumps(review, ensure_ascii=False).encode())

    assert command.model_dump() == review


def test_longest_escaped_review_fits() -> None:
    """A review whose letters a sender escapes is within the limit too."""
    payload = json.dumps(LONGEST_REVIEW | {"by": "ж" * 48, "note": "ж" * 200}).encode()

    command = parse_command("review", payload)

    assert command.by == "ж" * 48
    assert len(payload) <= COMMAND_LIMIT_BYTES


def test_every_code_has_its_meaning() -> None:
    """The codes of a result, a message's own among them, are told with what each means."""
    said = schemas()["cmd-result"]["properties"]["code"]

    assert list(CODE_MEANINGS) == said["enum"] == [one["const"] for one in said["oneOf"]]
    assert set(get_args(ParseCode)) < set(CODE_MEANINGS)
    assert set(get_args(OrderCode)) < set(CODE_MEANINGS)


def test_no_pattern_is_left_for_a_person() -> None:
    """Each pattern of a command has words that are said instead."""
    fields = [
        field
        for model in COMMANDS.values()
        for field in model.model_json_schema()["properties"].values()
    ]
    choices = [choice for field in fields for choice in [field, *field.get("anyOf", [])]]
    patterns = {choice["pattern"] for choice in choices if "pattern" in choice}

    assert patterns
    assert patterns <= COMMAND_WORDS.keys()


@given(detail=st.text(max_size=300))
@example(detail="\U0001f600" * 300)
@example(detail="\x00" * 300)
@example(detail='"\\' * 150)
@settings(max_examples=100, deadline=None)
def test_every_result_fits(detail: str) -> None:
    """A result is valid and within the limit whatever its detail; a short one is whole."""
    result = CommandResult(txn="t" * 36, ok=False, code=LONGEST_CODE, detail=detail)

    said = json.loads(result.payload())

    RESULT_SCHEMA.validate(said)
    assert len(result.payload()) <= MESSAGE_LIMIT_BYTES
    assert detail.startswith(said["detail"])
    assert said["detail"] == detail or len(detail) > 60


def test_result_takes_file_names() -> None:
    """A detail with bytes that are no text is said with question marks, not refused."""
    result = CommandResult(txn="", ok=True, code="done", detail="/mnt/\udcff.db")

    assert json.loads(result.payload()) == {
        "txn": "",
        "ok": True,
        "code": "done",
        "detail": "/mnt/?.db",
    }


@pytest.mark.parametrize("fields", [{"txn": "t 1"}, {"code": "Not Done"}, {"detail": 7}])
def test_result_keeps_to_its_limits(fields: dict[str, Any]) -> None:
    """A result that the contract does not allow cannot be built."""
    with pytest.raises(ValueError, match=next(iter(fields))):
        CommandResult(**{"txn": "", "ok": True, "code": "done"} | fields)
