"""Keys and values of a search are read as a config file is, and refused by name."""

from __future__ import annotations

import pytest
from factories import config

from pipeline.config_file import ConfigError
from pipeline.tune_space import DEFAULT_SPACE, Choices, Range, changes, current, read_space, varied


def test_values_and_ranges_are_written_as_toml() -> None:
    """Lists, texts and numbers are values, LOW..HIGH is a range, whole where both ends are."""
    space = read_space(
        [
            "window.size_frames=16, 32",
            "musc.degrees=[1],[1,3]",
            'judge.score="raw"',
            "musc.keep_lowest=0.1..0.5",
            "window.min_peers=8..12",
        ]
    )

    assert space == {
        "window.size_frames": Choices((16, 32)),
        "musc.degrees": Choices(([1], [1, 3])),
        "judge.score": Choices(("raw",)),
        "musc.keep_lowest": Range(0.1, 0.5),
        "window.min_peers": Range(8, 12),
    }
    whole = [one.whole for one in space.values() if isinstance(one, Range)]
    assert whole == [False, True]


def test_nothing_named_is_the_default_space() -> None:
    """Without any key those are tried that change scores and need no other backbone."""
    assert read_space([]) == DEFAULT_SPACE
    assert varied(config(), {key: one.values[0] for key, one in DEFAULT_SPACE.items()})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("window.size_frames", "must be KEY=VALUES"),
        ("mqtt.port=1,2", "a key of window"),
        ("window.sizes=1", "window has size_frames"),
        ("judge.score=raw", "texts as"),
        ("window.size_frames=", "no values"),
        ("musc.keep_lowest=0.5..0.1", "begins at 0.5 and ends at 0.1"),
    ],
)
def test_what_is_no_key_or_value_is_named(text: str, told: str) -> None:
    """A text that cannot be read is repeated, with what it should be."""
    with pytest.raises(ConfigError, match=told) as caught:
        read_space([text])

    assert text in str(caught.value)


def test_varied_config_is_checked() -> None:
    """Values that do not go together are refused with key and limit."""
    with pytest.raises(ConfigError, match="min_peers = 40: must be less than size_frames = 32"):
        varied(config(window={"size_frames": 32}), {"window.min_peers": 40})


def test_changes_are_told_beside_what_was() -> None:
    """Only what differs is a change; all else is as it was."""
    used = config(window={"size_frames": 32})
    values = {"window.size_frames": 48, "judge.score": used.judge.score}

    other = varied(used, values)

    assert changes(used, values) == [("window.size_frames", 32, 48)]
    assert current(other, list(values)) == values
    assert other.model_copy(update={"window": used.window}) == used
