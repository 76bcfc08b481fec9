"""What the box may be told on MQTT, ``cmd/{verb}``, and what it answers, ``cmd/result``.

A command comes from a screen or a script that nobody here has tested, so any
bytes whatever are either one of the commands below or a :class:`CommandError`
that says in one short sentence what is wrong. Only what a command *is* is
decided here; whether the alarm, camera or part exists is the gate's answer.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edge.contract import (
    MESSAGE_LIMIT_BYTES,
    NAME_WORDS,
    SequenceNumber,
    annotated_values,
)
from edge.frame import BootId, CameraId, PartId, RecipeId

COMMAND_LIMIT_BYTES = 2048
"""The longest review in any alphabet of the basic plane, each letter written as ``\\u....``."""
DETAIL_LIMIT = 200
ECHO_LIMIT = 40
"""Characters of a refused message that its answer repeats."""
TXN_PATTERN = r"^[A-Za-z0-9_-]{1,36}$"
_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Control characters, line separators, and what turns or hides the text beside it."""
NAME_PATTERN = rf"^[^\s{_UNPRINTABLE}][^{_UNPRINTABLE}]*$"
NOTE_PATTERN = rf"^[^{_UNPRINTABLE}]*$"
ALARMS_PATTERN = r"^([A-Za-z0-9_-]{1,32}|\*)$"
COMMAND_WORDS = {
    **NAME_WORDS,
    ALARMS_PATTERN: "* or 1 to 32 of A-Z a-z 0-9 _ -",
    TXN_PATTERN: "1 to 36 of A-Z a-z 0-9 _ -",
    NAME_PATTERN: "printable characters, the first no space",
    NOTE_PATTERN: "printable characters",
}
"""What a person is told instead of a pattern, for every field of every command."""
SHELVE_LIMIT_MINUTES = 1440

ReviewLabel = Literal["good", "defect"]
"""What a part really was."""
Txn = Annotated[str, Field(pattern=TXN_PATTERN)]
"""The sender's name for this command; its result carries it."""
PersonName = Annotated[str, Field(min_length=1, max_length=48, pattern=NAME_PATTERN)]
"""Who orders it: 1 to 48 printable characters that do not begin with a space."""
AlarmChoice = Annotated[str, Field(pattern=ALARMS_PATTERN)]
"""Name of an alarm, or ``*`` for every one that it concerns."""
ReviewNote = Annotated[str, Field(max_length=200, pattern=NOTE_PATTERN)]


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    txn: Txn
    """The sender's name for this command, new for each; its result carries it."""
    by: PersonName
    """Who orders it."""


class AckCommand(_Command):
    """Topic ``cmd/ack``: acknowledge one alarm, or with ``*`` all of them."""

    alarm: AlarmChoice
    """Name of the alarm, or * for all that wait for it."""


class ShelveCommand(_Command):
    """Topic ``cmd/shelve``: silence one alarm, or with ``*`` all, for a time; 0 ends it."""

    alarm: AlarmChoice
    """Name of the alarm, or * for all that are not shelved; with 0 minutes, for all that are."""
    minutes: int = Field(ge=0, le=SHELVE_LIMIT_MINUTES)
    """For how long, at most a day; 0 ends a shelving."""
    note: str = Field(default="", max_length=120, pattern=NOTE_PATTERN)
    """Why."""


class ResetCommand(_Command):
    """Topic ``cmd/reset``: forget the window of one camera, or of all, and warm up again."""

    cam: CameraId | None = None
    """Id of the camera; all without it."""


class RecipeCommand(_Command):
    """Topic ``cmd/recipe``: from now on this product is on the line."""

    recipe: RecipeId
    """Name of the product."""


class PinCommand(_Command):
    """Topic ``cmd/pin``: keep this frame in the window as a good one."""

    cam: CameraId
    """Id of the camera."""
    boot: BootId
    """``boot`` of the frame's result."""
    seq: SequenceNumber
    """``seq`` of the frame's result."""


class ReleaseCommand(_Command):
    """Topic ``cmd/release``: the parts that were kept apart are good, and vote from now on.

    After a regime change they become the window. With ``what`` "pins" the pinned
    frames are let go instead.
    """

    cam: CameraId | None = None
    """Id of the camera; all without it."""
    what: Literal["apart", "pins"] = "apart"
    """Whether frames that were kept apart get the vote, or pinned frames are let go."""


class ReviewCommand(_Command):
    """Topic ``cmd/review``: state what a part really was."""

    part: PartId
    """Id of the part."""
    label: ReviewLabel
    """What it really was."""
    note: ReviewNote = ""
    """Why."""


class RebirthCommand(_Command):
    """Topic ``cmd/rebirth``: publish all retained topics again, the status last."""


class PartCommand(_Command):
    """Topic ``cmd/part``: the next frame of one camera, or of each, is of this part."""

    part: PartId
    """Id of the part."""
    cam: CameraId | None = None
    """Id of the camera; without it each that takes part messages."""


Command = (
    AckCommand
    | ShelveCommand
    | ResetCommand
    | RecipeCommand
    | PinCommand
    | ReleaseCommand
    | ReviewCommand
    | RebirthCommand
    | PartCommand
)

COMMANDS: dict[str, type[Command]] = {
    "ack": AckCommand,
    "shelve": ShelveCommand,
    "reset": ResetCommand,
    "recipe": RecipeCommand,
    "pin": PinCommand,
    "release": ReleaseCommand,
    "review": ReviewCommand,
    "rebirth": RebirthCommand,
    "part": PartCommand,
}
"""The command of each verb."""

ParseCode = Literal["too_long", "not_json", "unknown_verb", "bad_field", "retained"]
"""Why a message is no command that can be done."""
ResultCode = Literal[
    "done", "too_long", "not_json", "unknown_verb", "bad_field", "retained", "txn_used",
    "unknown_alarm", "not_active", "acknowledged", "shelved", "not_shelved", "out_of_range",
    "unknown_part", "not_expected", "camera_lost", "unknown_camera",
    "scorer_down", "unknown_frame", "pins_full",
]  # fmt: skip
CODE_MEANINGS: dict[ResultCode, str] = {
    "done": "It is done, or was so already; the only code with ok true.",
    "too_long": f"The message has more than {COMMAND_LIMIT_BYTES} bytes.",
    "not_json": "The message is not one flat JSON object in UTF-8.",
    "unknown_verb": "There is no such command.",
    "bad_field": "A field is missing, unknown, or outside its limits; detail names it.",
    "retained": "The message was retained; such a command is not done.",
    "txn_used": "Another command had this txn; nothing was done.",
    "unknown_alarm": "ack, shelve: no alarm has this name.",
    "not_active": "ack: the alarm is NORMAL.",
    "acknowledged": "ack: the alarm is acknowledged already.",
    "shelved": "ack, shelve: the alarm is shelved; shelve it for 0 minutes first.",
    "not_shelved": "shelve for 0 minutes: the alarm is not shelved.",
    "out_of_range": f"shelve: minutes are not 1 to {SHELVE_LIMIT_MINUTES}.",
    "unknown_part": "review: the ledger has no such part.",
    "not_expected": 'part: no such camera has part_id = "message".',
    "camera_lost": "part: the camera's ingest is not there.",
    "unknown_camera": "part, reset, pin, release: no camera has this id.",
    "scorer_down": "reset, pin, release: the scorer is not there, or has not answered.",
    "unknown_frame": "pin: no window holds this frame any more.",
    "pins_full": "pin: window.pins_frames are pinned already; release them first.",
}
"""What each code of a result means."""


class CommandError(ValueError):
    """A message that is no command; everything its result needs is here."""

    def __init__(self, code: ParseCode, detail: str, txn: str) -> None:
        """Say what is wrong; ``txn`` is empty where the message has no valid one."""
        self.code: ParseCode = code
        self.detail = detail[:DETAIL_LIMIT]
        self.txn = txn
        super().__init__(f"{code}: {self.detail}")


class CommandResult(BaseModel):
    """Topic ``cmd/result``: what became of a command."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    txn: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,36}$")]
    """The command's; empty where it had no valid one."""
    ok: bool
    """Whether it was done."""
    code: Annotated[ResultCode, Field(json_schema_extra=annotated_values(CODE_MEANINGS))]
    """A word for programs: done, or why not."""
    detail: Annotated[str, Field(max_length=DETAIL_LIMIT)] = ""
    """One sentence for a person; cut where it is too long."""

    @field_validator("detail", mode="before")
    @classmethod
    def _cut(cls, detail: object) -> object:
        if not isinstance(detail, str):
            return detail
        # A lone surrogate, as file names have them that are not UTF-8, is no text on a wire.
        return detail[:DETAIL_LIMIT].encode(errors="replace").decode()

    def payload(self) -> bytes:
        """Return the JSON; of a detail that takes it over its limit as much as fits."""
        body = self.model_dump_json().encode()
        over = len(body) - MESSAGE_LIMIT_BYTES
        if over <= 0:
            return body
        # Each character is a byte or more, so this is enough, and seldom needed.
        shorter = self.model_copy(update={"detail": self.detail[:-over]})
        return shorter.model_dump_json().encode()


def parse_command(verb: str, payload: bytes) -> Command:
    """Return the command of a message on ``cmd/{verb}``.

    Numbers must be JSON numbers and words JSON strings; a field that the verb
    does not have, and a field given twice, are refused.

    Raises:
        CommandError: ``too_long``, ``not_json`` (no object, not UTF-8, NaN, a
            field twice), ``unknown_verb``, or ``bad_field``.
    """
    if len(payload) > COMMAND_LIMIT_BYTES:
        detail = f"the message has {len(payload)} bytes; at most {COMMAND_LIMIT_BYTES}"
        raise CommandError(code="too_long", detail=detail, txn="")
    fields = _read(payload)
    txn = _valid_txn(fields.get("txn"))
    if verb not in COMMANDS:
        detail = f"there is no verb {_shown(verb)}; there are {', '.join(COMMANDS)}"
        raise CommandError(code="unknown_verb", detail=detail, txn=txn)
    try:
        return COMMANDS[verb].model_validate(fields, strict=True)
    except ValidationError as error:
        raise CommandError(code="bad_field", detail=_complaint(error), txn=txn) from None


def _read(payload: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(
            payload.decode(), object_pairs_hook=_once_each, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        detail = f"not UTF-8 at byte {error.start}"
    except RecursionError:  # a message may have 2048 brackets, Python follows about 1000
        detail = "nested too deeply; a command is flat"
    except ValueError as error:
        detail = f"not JSON: {error}"
    else:
        if isinstance(fields, dict):
            return fields
        detail = 'not a JSON object, {"txn":"..","by":"..",...}'
    raise CommandError(code="not_json", detail=detail, txn="")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        msg = "a field is there twice"
        raise ValueError(msg)
    return fields


def _refuse_constant(constant: str) -> NoReturn:
    msg = f"{constant} is no JSON number"
    raise ValueError(msg)


def _valid_txn(txn: object) -> str:
    valid = isinstance(txn, str) and re.fullmatch(TXN_PATTERN, txn)
    return str(txn) if valid else ""


def _complaint(error: ValidationError) -> str:
    """Return the first problem: field, what it is, and the limit."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:  # a name with a lone surrogate, which pydantic cannot say
        return "the name of a field is not text"
    field, limit = first["loc"][0], first["msg"]
    if first["type"] == "extra_forbidden":
        return f"there is no field {_shown(field)} in this command"
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "string_pattern_mismatch":
        pattern = first["ctx"]["pattern"]
        limit = f"must be {COMMAND_WORDS.get(pattern, pattern)}"
    return f"{field} = {_shown(first['input'])}: {limit}"


def _shown(value: object) -> str:
    """Return the beginning of an input, all of it printable; of lists and objects what they are."""
    if isinstance(value, list | dict):
        return "(a list)" if isinstance(value, list) else "(an object)"
    text = repr(value)
    return text if len(text) <= ECHO_LIMIT else text[: ECHO_LIMIT - 2] + ".."
