"""The MQTT contract: small, flat, valid by the shipped schemas, and never a false PASS."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from pydantic import ValidationError

from edge.asyncapi import schemas
from edge.contract import (
    CODES,
    LATENCY_LIMIT_MS,
    MESSAGE_LIMIT_BYTES,
    NUMBER_FLOOR,
    PartMessage,
    State,
    StatusMessage,
    Topics,
    Verdict,
    VerdictMessage,
    Why,
    late_payload,
    plc_line,
)
from edge.frame import FRAME_KEY_LIMIT, SEQ_LIMIT, FrameKey

PART_CHARACTERS = "".join(char for char in map(chr, range(0x21, 0x7F)) if char not in ';"\\')
LONGEST_NUMBER = -1.23456789e-99
LONGEST_WHY = max(get_args(Why), key=len)
LONGEST_STATE = max(get_args(State), key=len)
LONGEST_KEY = FrameKey("c" * 16, "f" * 16, SEQ_LIMIT)
LONGEST_RESULT: dict[str, Any] = {
    "boot": "f" * 16,
    "part": "~" * 48,
    "t_cap": "2026-11-22T08:14:03.123456Z",
    "t_exp": "2026-11-22T08:14:03.623456Z",
    "why": LONGEST_WHY,
    "warn": False,
    "score": LONGEST_NUMBER,
    "thr": LONGEST_NUMBER,
    "state": LONGEST_STATE,
    "recipe": "r" * 24,
    "model": "f" * 8,
    "cfg": "f" * 8,
    "lat_ms": 10**15,
    "img": str(LONGEST_KEY),
}
LONGEST_FRAME: dict[str, Any] = LONGEST_RESULT | {
    "seq": SEQ_LIMIT,
    "cam": "c" * 16,
    "p": abs(LONGEST_NUMBER),
    "win": 9_999,
    "n": 9_999,
}
LONGEST_PART: dict[str, Any] = LONGEST_RESULT | {
    "part_seq": SEQ_LIMIT,
    "views": 99,
    "seen": 99,
    "worst": "c" * 16,
}
TOPICS = Topics("musc", "berlin", "press", "l3", "s1")
BOX = dict.fromkeys("xywh", 32_768)
EXAMPLE: dict[str, Any] = {
    "v": 1, "boot": "7f3a9c01b2d4e5f6", "seq": 18231, "part": "A-000812", "cam": "c1",
    "t_cap": "2026-11-22T08:14:03.123456Z", "t_exp": "2026-11-22T08:14:03.623456Z",
    "verdict": "FAIL", "code": 2, "why": "score", "warn": False, "score": 0.873, "thr": 0.610,
    "p": 0.032, "state": "READY", "win": 64, "n": 61, "recipe": "lid-blue", "model": "b3c9",
    "cfg": "91d0", "lat_ms": 212, "x": 412, "y": 96, "w": 38, "h": 22,
    "img": "c1/7f3a9c01b2d4e5f6/18231",
}  # fmt: skip


def outcome(verdict: Verdict) -> dict[str, Any]:
    """Return verdict and code, and the box that a FAIL may have."""
    fields: dict[str, Any] = {"verdict": verdict, "code": CODES[verdict]}
    return fields | BOX if verdict == "FAIL" else fields


def check(name: str, payload: bytes) -> dict[str, Any]:
    """Validate a payload by its schema and return what it says."""
    document: dict[str, Any] = json.loads(payload)
    Draft202012Validator(schemas()[name]).validate(document)
    return document


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_longest_verdict_fits(verdict: Verdict) -> None:
    """A frame result with every field at its longest is valid and within the limit."""
    message = VerdictMessage(**LONGEST_FRAME, **outcome(verdict))

    said = check("verdict", message.payload())

    assert len(message.payload()) <= MESSAGE_LIMIT_BYTES
    assert said["lat_ms"] == LATENCY_LIMIT_MS
    left_out = set(LONGEST_FRAME) - set(said)
    assert left_out <= {"img"}


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_longest_part_fits(verdict: Verdict) -> None:
    """A part verdict with every field at its longest is whole, valid and within the limit."""
    fields = {"verdict": verdict, "code": CODES[verdict]}
    message = PartMessage(**LONGEST_PART, **fields)

    said = check("part", message.payload())

    assert len(message.payload()) <= MESSAGE_LIMIT_BYTES
    assert set(said) == {"v", *LONGEST_PART, *fields}
    assert said["img"] == str(LONGEST_KEY)
    assert len(str(LONGEST_KEY)) == FRAME_KEY_LIMIT


@given(part=st.text(PART_CHARACTERS, min_size=1, max_size=48), verdict=st.sampled_from(list(CODES)))
@settings(max_examples=100, deadline=None)
def test_every_part_id_fits(part: str, verdict: Verdict) -> None:
    """Whatever characters a part id has, no message is over the limit or loses more than img."""
    outcome_only = {"verdict": verdict, "code": CODES[verdict], "part": part}
    frame = VerdictMessage(**LONGEST_FRAME | outcome(verdict) | {"part": part})
    whole = PartMessage(**LONGEST_PART | outcome_only)

    assert len(frame.payload()) <= MESSAGE_LIMIT_BYTES
    assert set(LONGEST_FRAME) - set(check("verdict", frame.payload())) <= {"img"}
    assert len(whole.payload()) <= MESSAGE_LIMIT_BYTES
    assert set(LONGEST_PART) - set(check("part", whole.payload())) == set()
    assert check("part", whole.payload())["part"] == part


@given(
    part=st.text(PART_CHARACTERS, min_size=1, max_size=48),
    number=st.floats(allow_nan=False, allow_infinity=False),
    p=st.floats(0, 1, exclude_min=True),
    verdict=st.sampled_from(list(CODES)),
)
@settings(max_examples=100, deadline=None)
def test_history_says_the_same_late(part: str, number: float, p: float, verdict: Verdict) -> None:
    """What an outage kept back is valid, within the limit, and differs by late and at most img."""
    said = {"verdict": verdict, "code": CODES[verdict], "part": part, "score": number}
    frame = VerdictMessage(**LONGEST_FRAME | outcome(verdict) | said | {"p": p}).payload()
    whole = PartMessage(**LONGEST_PART | said).payload()

    for name, kept in (("history", frame), ("history-part", whole)):
        late = late_payload(kept)
        fields = check(name, late)

        assert len(late) <= MESSAGE_LIMIT_BYTES
        assert fields.pop("late") is True
        assert json.loads(kept).items() >= fields.items()
        assert set(json.loads(kept)) - set(fields) <= {"img"}


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_longest_history_fits(verdict: Verdict) -> None:
    """The longest kept messages fit their limit with late; they lose at most img."""
    fields = {"verdict": verdict, "code": CODES[verdict]}
    frame = late_payload(VerdictMessage(**LONGEST_FRAME, **outcome(verdict)).payload())
    part = late_payload(PartMessage(**LONGEST_PART, **fields).payload())

    assert max(len(frame), len(part)) <= MESSAGE_LIMIT_BYTES
    assert set(LONGEST_FRAME) - set(check("history", frame)) <= {"img"}
    assert set(LONGEST_PART) - set(check("history-part", part)) <= {"img"}


def test_history_of_a_short_message_keeps_its_image() -> None:
    """An ordinary message goes to history with everything that it said."""
    late = late_payload(VerdictMessage(**EXAMPLE).payload())

    assert check("history", late) == EXAMPLE | {"late": True}
    assert late_payload(late) == late


@pytest.mark.parametrize("payload", [b"", b"7", b"[]", b"{}", b"\xff", b'{"part_seq":1}'])
def test_rubbish_has_no_history(payload: bytes) -> None:
    """What is no result is refused with ValueError, not sent."""
    with pytest.raises(ValueError, match=r".+"):
        late_payload(payload)


@pytest.mark.parametrize("state", get_args(State))
def test_longest_status_fits(state: State) -> None:
    """A status in every state is valid and within the limit."""
    message = StatusMessage(state=state, boot="f" * 16, cfg="f" * 8)

    said = check("status", message.payload())

    assert len(message.payload()) <= MESSAGE_LIMIT_BYTES
    assert said == {"v": 1, "state": state, "boot": "f" * 16, "cfg": "f" * 8}


@pytest.mark.parametrize("number", [LONGEST_NUMBER, 5e-324, -1.7e308, 123_456_789.0, 0.1 + 0.2])
def test_any_number_is_short(number: float) -> None:
    """Any finite score takes at most as many characters as the longest one assumed here."""
    message = VerdictMessage(**EXAMPLE | {"score": number})

    shown = json.dumps(check("verdict", message.payload())["score"])

    size = max(NUMBER_FLOOR, min(99_999.0, abs(number)))
    assert len(shown) <= len("-1.23457e-99")
    assert float(shown) == pytest.approx(math.copysign(size, number), rel=1e-5, abs=0)


def test_zero_stays_zero() -> None:
    """The floor of what is shown is for numbers near zero, not for zero itself."""
    assert VerdictMessage(**EXAMPLE | {"score": 0.0, "thr": -0.0}).score == 0.0
    assert VerdictMessage(**EXAMPLE | {"score": 0.0, "thr": -0.0}).thr == 0.0


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["score", "thr", "p"])
def test_numbers_are_finite(field: str, number: float) -> None:
    """What is no finite number cannot be said: it is left out by whoever knows that."""
    with pytest.raises(ValidationError, match=field):
        VerdictMessage(**EXAMPLE | {field: number})


def test_the_example_is_said_as_it_is_printed() -> None:
    """The example of the contract is valid and goes out unchanged, image included."""
    message = VerdictMessage(**EXAMPLE)

    assert check("verdict", message.payload()) == EXAMPLE


@pytest.mark.parametrize("verdict", get_args(Verdict))
@pytest.mark.parametrize("code", [0, 1, 2])
@pytest.mark.parametrize("kind", [VerdictMessage, PartMessage])
def test_code_and_verdict_agree(
    kind: type[VerdictMessage | PartMessage], verdict: Verdict, code: int
) -> None:
    """A message whose code contradicts its verdict cannot be built: 1 is PASS, only PASS is 1."""
    longest = LONGEST_PART if issubclass(kind, PartMessage) else LONGEST_FRAME
    fields = longest | {"verdict": verdict, "code": code}

    if CODES[verdict] == code:
        assert kind(**fields).code == code
    else:
        with pytest.raises(ValidationError, match=f"code {code} does not mean {verdict}"):
            kind(**fields)


@pytest.mark.parametrize(
    "fields",
    [outcome("PASS") | BOX, outcome("NO_RESULT") | {"x": 1}, outcome("FAIL") | {"h": None}],
)
def test_box_is_whole_and_on_fail(fields: dict[str, Any]) -> None:
    """A box has four sides and belongs to a FAIL."""
    with pytest.raises(ValidationError, match="x, y, w, h come together and only on FAIL"):
        VerdictMessage(**LONGEST_FRAME | fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", 0),
        ("seq", SEQ_LIMIT + 1),
        ("part", "A;1"),
        ("part", "A 1"),
        ("part", ""),
        ("part", "P" * 49),
        ("part", "\u00e9"),
        ("part", 'A"1'),
        ("part", "A\\1"),
        ("part", "A\x7f"),
        ("cam", "a/b"),
        ("cam", "c1\n"),
        ("boot", "7F3A9C01B2D4E5F6"),
        ("t_cap", "2026-11-22 08:14:03.123456Z"),
        ("t_cap", "\u0662026-11-22T08:14:03.123456Z"),
        ("why", "because"),
        ("recipe", "lid blue"),
        ("model", "f" * 9),
        ("p", 0.0),
        ("p", 1.1),
        ("x", 32_769),
        ("lat_ms", -1),
        ("colour", "blue"),
    ],
)
def test_fields_outside_their_limits_are_refused(field: str, value: object) -> None:
    """A field outside its limits, or one that the contract does not have, is refused by name."""
    with pytest.raises(ValidationError, match=field):
        VerdictMessage(**EXAMPLE | {field: value})


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_plc_line_is_four_ascii_fields(verdict: Verdict) -> None:
    """The PLC reads four ASCII fields between semicolons; every part id keeps it to four."""
    for part in (PART_CHARACTERS[:48], PART_CHARACTERS[-48:]):
        line = plc_line("f" * 16, SEQ_LIMIT, part, verdict)
        fields = line.decode("ascii").split(";")

        assert fields == ["f" * 16, str(SEQ_LIMIT), part, str(CODES[verdict])]
        assert len(line) <= MESSAGE_LIMIT_BYTES


def test_only_pass_is_one() -> None:
    """0 is never pass: each verdict has its own code."""
    assert CODES == {"NO_RESULT": 0, "PASS": 1, "FAIL": 2}


def test_topics_are_the_contracts() -> None:
    """The topic tree is prefix, version, site, area, line, station, in this order."""
    root = "musc/v1/berlin/press/l3/s1"

    assert TOPICS.under("plc") == f"{root}/plc"
    assert TOPICS.heatmap("c1", "ab", 7) == f"{root}/heatmap/c1/ab/7"
    assert TOPICS.camera("c1") == f"{root}/camera/c1/status"
    assert TOPICS.alarm("disk_low") == f"{root}/alarm/disk_low"
    assert TOPICS.command("ack") == f"{root}/cmd/ack"


@pytest.mark.parametrize(
    ("topic", "verb"),
    [
        ("cmd/ack", "ack"),
        ("cmd/anything", "anything"),
        ("cmd/result", None),
        ("cmd/", None),
        ("cmd/ack/now", None),
        ("verdict", None),
        ("cmd", None),
    ],
)
def test_verb_of_a_topic(topic: str, verb: str | None) -> None:
    """A command topic has one verb; the box's own results and all other topics have none."""
    assert TOPICS.verb(TOPICS.under(topic)) == verb
    assert TOPICS.verb(f"elsewhere/{topic}") is None


@pytest.mark.parametrize("name", sorted(schemas()))
def test_payloads_are_flat(name: str) -> None:
    """No field of any payload is an object or a list."""
    for field in schemas()[name]["properties"].values():
        kinds = {option.get("type") for option in field.get("anyOf", [field])}

        assert not kinds & {"object", "array"}
