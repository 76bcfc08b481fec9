"""Each message about a config names file, key, value and limit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from pipeline.config import Config
from pipeline.config_camera import FolderCamera
from pipeline.config_file import PATTERN_WORDS, UNIONS, ConfigError, load_config
from pipeline.config_method import WindowSettings

KINDS = "folder, video, synthetic, zmq, opencv, basler or aravis"
CAMERA = '[[camera]]\nid = "c1"\nkind = "folder"\npath = "images"\ninterval_ms = 10\n'


def write(tmp_path: Path, text: str) -> Path:
    """Write a config and return its path."""
    path = tmp_path / "line.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[window]\nsize_frames = 1\n", ["window.size_frames = 1", "greater than or equal to 2"]),
        ("[window]\nsise = 9\n", ["window.sise", "unknown key", "size_frames"]),
        ("[windows]\nsize_frames = 9\n", ["windows", "unknown key", "window"]),
        ("[window]\nsize_frames = 4\nmin_peers = 4\n", ["window", "min_peers = 4", "less than"]),
        ("[musc]\nimage_size_px = 225\n", ["image_size_px = 225", "multiple of 14"]),
        ("[musc]\ndegrees = [1, 2]\n", ["musc.degrees = [1, 2]", "odd"]),
        ("[musc]\nstages = [5, 2]\n", ["musc.stages = [5, 2]", "ascending"]),
        ("[judge]\nrejects_per_1000 = 700\n", ["judge.rejects_per_1000 = 700", "less than 500"]),
        ('[judge]\nmethod = "fixed"\n', ["judge", "fixed_threshold is missing"]),
        ("[judge]\nfixed_threshold = 60\n", ["judge.fixed_threshold = 60", "equal to 2"]),
        ("[judge]\nrejects_per_1000 = 1e-14\n", ["judge.rejects_per_1000", "equal to 0.01"]),
        (
            "[judge]\nrejects_per_1000 = 0.5\n",
            ["rejects_per_1000 = 0.5", "history_scores = 10000 can never", "at least 20000"],
        ),
        (
            "columns = 4\nrows = 8\n",
            ["camera c1: 32 regions share", "20, 0.625 each", "10000 can never", "at least 16000"],
        ),
        ("[window]\nsize_frames = 8\nmin_peers = 4\n", ["size_frames = 8", "at least 9"]),
        ("[part]\nviews = ['c1', 'c1']\n", ["part.views must differ: c1, c1"]),
        ("[mqtt]\nembedded = true\nprotocol = '5'\n", ["mqtt", "3.1.1"]),
        ("[musc]\nbackbone = 'resnet'\n", ["musc.backbone = 'resnet'", "clip-vit-l-14-336"]),
        ("[part]\nviews = ['c7']\n", ["part.views names c7", "c1"]),
        (CAMERA, ["camera ids must differ: c1, c1"]),
        ("[mqtt]\nport = 'x'\n", ["mqtt.port = 'x'", "integer"]),
        ("window = 3\n", ["window"]),
    ],
)
def test_bad_key_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    """Unknown and out-of-range keys are refused with file, key, value and limit."""
    body = text + CAMERA if text.startswith("window =") else CAMERA + text
    path = write(tmp_path, body)

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_camera_key_lists_those_of_its_kind(tmp_path: Path) -> None:
    """A wrong key of a folder camera is answered with a folder camera's keys."""
    path = write(tmp_path, CAMERA + "fps = 3\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    known = "known here: after, columns, good_path, id, ignore_px, interval_ms, kind, loop, "
    assert f"camera.0 (c1).fps: unknown key; {known}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            CAMERA.replace('"c1"', '"Büchse 3"'),
            "camera.0 (Büchse 3).id = 'Büchse 3': must be 1 to 16 of A-Z a-z 0-9 _ -",
        ),
        (
            CAMERA.replace('"c1"', '"\\u202ec1"'),
            r"camera.0.id = '\u202ec1': must be 1 to 16 of A-Z a-z 0-9 _ -",
        ),
        (
            CAMERA.replace('"folder"', '"synth"'),
            f"camera.0 (c1).kind = 'synth': must be {KINDS}",
        ),
        (
            CAMERA.replace('kind = "folder"\n', ""),
            f"camera.0 (c1).kind: missing; must be {KINDS}",
        ),
        (
            CAMERA + 'folder = "x"\n',
            "camera.0 (c1).folder: unknown key; known here: after, ",
        ),
        (
            CAMERA + 'part_endpoint = "c1"\n',
            "camera.0 (c1).part_endpoint = 'c1': must be empty, ipc://PATH or tcp://ADDRESS:PORT",
        ),
        (
            CAMERA + '[line]\nrecipe = "lid blue"\n',
            "line.recipe = 'lid blue': must be 1 to 24 of A-Z a-z 0-9 _ . -",
        ),
        (
            CAMERA + '[mqtt]\nprefix = "a/b"\n',
            "mqtt.prefix = 'a/b': must be 1 to 32 of A-Z a-z 0-9 _ . -",
        ),
        ("camera = [3]\n", "camera.0 = 3: "),
    ],
)
def test_limits_are_plain_words(tmp_path: Path, text: str, says: str) -> None:
    """What is wrong is said without a pattern, of a section that has a name with the name."""
    path = write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert f"{path}: {says}" in str(caught.value)


def test_every_pattern_has_words() -> None:
    """No pattern of the config is left for a person to read."""
    document = json.dumps(Config.model_json_schema())
    patterns = {
        json.loads(found) for found in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', document)
    }

    assert patterns
    assert patterns <= PATTERN_WORDS.keys()


def test_single_bracket_camera_is_explained(tmp_path: Path) -> None:
    """[camera] instead of [[camera]] is answered with how it is written."""
    path = write(tmp_path, CAMERA.replace("[[camera]]", "[camera]"))

    with pytest.raises(ConfigError, match=r"written \[\[camera\]\]"):
        load_config(path)


def test_embedded_broker_needs_no_protocol(tmp_path: Path) -> None:
    """The embedded broker speaks 3.1.1, and that need not be said."""
    config = load_config(write(tmp_path, CAMERA + "[mqtt]\nembedded = true\n"))

    assert config.mqtt.protocol == "3.1.1"


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    """Three mistakes, three lines."""
    path = write(tmp_path, CAMERA + "[window]\nsize_frames = 1\nsise = 2\n[log]\nlevel = 'LOUD'\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("text", ["not toml", "a = \xff"])
def test_not_toml_is_said(tmp_path: Path, text: str) -> None:
    """A file that is not TOML is refused with its name."""
    path = tmp_path / "line.toml"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(ConfigError, match=r"line\.toml: not TOML"):
        load_config(path)


def test_missing_file_is_said(tmp_path: Path) -> None:
    """A config that does not exist is refused with its name."""
    with pytest.raises(ConfigError, match=r"gone\.toml: No such file"):
        load_config(tmp_path / "gone.toml")


def test_paths_count_from_the_config(tmp_path: Path) -> None:
    """Relative paths become absolute below the folder of the config file."""
    good = 'good_path = "good"\n'
    config = load_config(write(tmp_path, CAMERA + good + '[ledger]\npath = "db/l.db"\n'))

    assert config.ledger.path == tmp_path / "db" / "l.db"
    assert config.evidence.path == tmp_path / "evidence"
    assert isinstance(config.camera[0], FolderCamera)
    assert config.camera[0].path == tmp_path / "images"
    assert config.camera[0].good_path == tmp_path / "good"
    assert config.endpoint("frames") == f"ipc://{tmp_path}/state/frames.ipc"


def test_live_camera_without_interval_is_refused(tmp_path: Path) -> None:
    """Dropping the oldest of a folder read at full speed would lose most of it."""
    path = write(tmp_path, CAMERA.replace("interval_ms = 10", "interval_ms = 0"))

    with pytest.raises(ConfigError, match="interval_ms = 0"):
        load_config(path)


def test_digest_follows_what_changes_results() -> None:
    """The config hash changes with the window, and not with the port."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}

    def digest(**sections: object) -> str:
        return Config.model_validate({"camera": [camera], **sections}).digest

    assert digest() == digest(mqtt={"port": 1884})
    assert digest() != digest(window={"size_frames": 33})
    assert digest() != digest(line={"recipe": "lid-blue"})
    assert digest() == digest(musc={"batch_frames": 4})


@pytest.mark.parametrize(
    "look",
    [
        {"roi_px": [0, 0, 9, 9]},
        {"rotate_deg": 90},
        {"ignore_px": [[[0, 0], [9, 0], [9, 9]]]},
        {"columns": 2},
        {"rows": 2},
        {"overlap_patches": 1},
    ],
)
def test_digest_follows_where_a_camera_looks(look: dict[str, object]) -> None:
    """Region of interest, turn, mask and regions change the config hash; a camera's source not."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}

    def digest(**keys: object) -> str:
        return Config.model_validate({"camera": [camera | keys]}).digest

    assert digest(**look) != digest()
    assert digest(seed=7) == digest()


def test_digest_follows_good_images(tmp_path: Path) -> None:
    """What the files hold changes the config hash, of any recipe; where they lie does not."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
    (tmp_path / "a" / "lid").mkdir(parents=True)
    (tmp_path / "a" / "1.png").write_bytes(b"1")

    def digest(folder: Path) -> str:
        return Config.model_validate({"camera": [camera | {"good_path": folder}]}).digest

    first = digest(tmp_path / "a")
    copied = digest(Path(shutil.copytree(tmp_path / "a", tmp_path / "b")))
    (tmp_path / "a" / "lid" / "2.png").write_bytes(b"2")
    recipe = digest(tmp_path / "a")
    (tmp_path / "a" / "1.png").write_bytes(b"3")

    assert first == copied
    assert len({first, recipe, digest(tmp_path / "a"), digest(tmp_path / "gone")}) == 4


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({"pins": "consensus", "pins_frames": 0}, "pins_frames = 0 has no room"),
        (
            {"references": "vote", "size_frames": 500, "pins_frames": 13},
            "size_frames + pins_frames = 513, at most 512",
        ),
    ],
)
def test_pins_that_cannot_be_are_refused(window: dict[str, object], words: str) -> None:
    """A window that must pin has room to; no more can vote than a result may name."""
    with pytest.raises(ValueError, match=re.escape(words)):
        WindowSettings.model_validate(window)


def test_shipped_config_names_every_key() -> None:
    """The shipped config.toml is valid and shows every key of every section."""
    path = Path(__file__).parents[3] / "config.toml"
    text = path.read_text()
    load_config(path)
    sections = [
        model
        for name, field in Config.model_fields.items()
        for model in (get_args(get_args(UNIONS[name])[0]) if name in UNIONS else [field.annotation])
        if hasattr(model, "model_fields")
    ]

    missing = [
        f"{section.__name__}.{key}"
        for section in sections
        for key in section.model_fields
        if f"\n{key} =" not in text and f"\n# {key} =" not in text
    ]

    assert missing == []


def test_endpoints_differ(tmp_path: Path) -> None:
    """Two stages on one address are refused, each named."""
    path = write(
        tmp_path,
        CAMERA
        + """
[transport]
frames = "tcp://127.0.0.1:5001"
inspections = "tcp://127.0.0.1:5001"
""",
    )

    with pytest.raises(ConfigError, match=r"transport\.frames and transport\.inspections are both"):
        load_config(path)
