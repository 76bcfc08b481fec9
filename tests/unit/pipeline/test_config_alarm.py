"""Sections [[alarm]] are refused where an alarm could never ring, or never end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.config import Config
from pipeline.config_alarm import Alarm, default_alarms
from pipeline.config_file import ConfigError, load_config

if TYPE_CHECKING:
    from pathlib import Path

CAMERA = '[[camera]]\nid = "c1"\nkind = "folder"\npath = "images"\ninterval_ms = 10\n'
KINDS: dict[str, dict[str, Any]] = {
    "n_of_m": {"count": 3, "of_parts": 5},
    "consecutive": {"count": 3},
    "rate": {"count": 3, "period_s": 60},
    "no_result_ratio": {"ratio": 0.2},
    "camera_lost": {},
    "scorer_down": {},
    "disk_low": {},
    "regime_change": {},
}


def alarm(kind: str, **keys: Any) -> Any:
    """Return an alarm of one kind with its required keys, and these."""
    values = {"name": "a", "kind": kind, **KINDS[kind], **keys}
    return TypeAdapter[Any](Alarm).validate_python(values)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_chooses_the_section(kind: str) -> None:
    """Each kind has its own keys; latched and without delays unless told otherwise."""
    made = alarm(kind)

    assert (made.kind, made.latch, made.on_delay_s, made.off_delay_s) == (kind, True, 0.0, 0.0)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a+", "#", "*", "x" * 33, "ü"])
@pytest.mark.parametrize("kind", ["n_of_m", "camera_lost"])
def test_name_is_a_topic_segment(kind: str, name: str) -> None:
    """A name that could not end a topic, or means all alarms, is refused."""
    with pytest.raises(ValidationError):
        alarm(kind, name=name)


@pytest.mark.parametrize(
    ("kind", "keys", "words"),
    [
        ("n_of_m", {"count": 6}, "count = 6: at most of_parts = 5"),
        ("n_of_m", {"clear_count": 3}, "clear_count = 3: must be less than count = 3"),
        ("n_of_m", {"count": 0}, "greater than or equal to 1"),
        ("n_of_m", {"of_parts": 10_001}, "less than or equal to 10000"),
        ("consecutive", {"count": 1}, "greater than or equal to 2"),
        ("rate", {"clear_count": 4}, "clear_count = 4: must be less than count = 3"),
        ("rate", {"period_s": 0.5}, "greater than or equal to 1"),
        ("rate", {"period_s": 86_401}, "less than or equal to 86400"),
        ("no_result_ratio", {"ratio": 0}, "greater than 0"),
        ("no_result_ratio", {"ratio": 1.1}, "less than or equal to 1"),
        ("no_result_ratio", {"clear_ratio": 0.2}, "clear_ratio = 0.2: must be less than ratio"),
        ("disk_low", {"min_free_bytes": 999}, "greater than or equal to 1000000"),
        ("scorer_down", {"on_delay_s": 3601}, "less than or equal to 3600"),
        ("scorer_down", {"off_delay_s": -1}, "greater than or equal to 0"),
        ("scorer_down", {"count": 3}, "Extra inputs are not permitted"),
        ("consecutive", {"counts": "pass"}, "'fail' or 'not_pass'"),
    ],
)
def test_limit_is_named(kind: str, keys: dict[str, Any], words: str) -> None:
    """A key out of its limits is refused with the limit."""
    with pytest.raises(ValidationError) as caught:
        alarm(kind, **keys)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("rate", "period_s"),
        ("no_result_ratio", "ratio"),
        ("no_result_ratio", "clear_ratio"),
        ("camera_lost", "on_delay_s"),
        ("camera_lost", "off_delay_s"),
    ],
)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_refused(kind: str, key: str, number: float) -> None:
    """TOML knows nan and inf; no limit of an alarm can be either."""
    with pytest.raises(ValidationError):
        alarm(kind, **{key: number})


def test_default_alarms_are_those_of_a_config_without_any() -> None:
    """A config without sections has the default alarms, each name once."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}

    config = Config.model_validate({"camera": [camera]})

    assert config.alarm == default_alarms()
    assert len({one.name for one in config.alarm}) == len(config.alarm)


def test_sections_are_read_from_toml(tmp_path: Path) -> None:
    """Written sections take the place of the default alarms."""
    path = tmp_path / "line.toml"
    path.write_text(CAMERA + '[[alarm]]\nname = "rejects"\nkind = "consecutive"\ncount = 4\n')

    (rejects,) = load_config(path).alarm

    assert (rejects.name, rejects.kind) == ("rejects", "consecutive")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "a"\nkind = "consecutive"\ncount = 1\n', ["alarm.0 (a).count = 1", "equal to 2"]),
        (
            'name = "a"\nkind = "disk"\n',
            ["alarm.0 (a).kind = 'disk': must be n_of_m, ", "disk_low or regime_change"],
        ),
        ('name = "a"\nkind = "rate"\ncount = 2\n', ["alarm.0 (a).period_s", "missing"]),
        (
            'name = "a"\nkind = "camera_lost"\ncount = 2\n',
            [
                "alarm.0 (a).count",
                "unknown key; known here: kind, latch, name, off_delay_s, on_delay_s",
            ],
        ),
        (
            'name = "a"\nkind = "camera_lost"\n[[alarm]]\nname = "a"\nkind = "scorer_down"\n',
            ["alarm names must differ: a, a"],
        ),
    ],
)
def test_mistake_in_a_file_is_located(tmp_path: Path, text: str, words: list[str]) -> None:
    """The message names file, section, key and limit."""
    path = tmp_path / "line.toml"
    path.write_text(f"{CAMERA}[[alarm]]\n{text}")

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    for word in [str(path), *words]:
        assert word in str(caught.value)
