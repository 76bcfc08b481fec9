"""What the package loads when it is imported."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import musc

MODULES = sorted(path.stem for path in Path(musc.__file__).parent.glob("*.py"))
STRANGERS = {"zmq", "paho", "sqlite_utils", "cv2", "pipeline", "edge"}


def loaded_by(*imports: str) -> set[str]:
    """Top-level names that a fresh interpreter has loaded after these imports.

    Fails if importing printed anything beside them.
    """
    lines = [f"import {name}" for name in imports]
    lines += [
        "import json, sys",
        "print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))",
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines)],
        capture_output=True,
        check=True,
        cwd=Path(musc.__file__).parents[1],
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return set(json.loads(done.stdout))


def test_the_method_knows_no_stranger() -> None:
    """All modules of the method together load no socket, broker, database, camera or pipeline."""
    names = [f"musc.{name}" for name in MODULES if name != "__init__"]

    loaded = loaded_by(*names)

    assert {"musc", "torch"} <= loaded
    assert not loaded & STRANGERS


@pytest.mark.parametrize("name", ["musc", "musc.architectures"])
def test_the_package_alone_is_light(name: str) -> None:
    """Importing the package, or its table of backbones, loads no library of the method."""
    loaded = loaded_by(name)

    assert "musc" in loaded
    assert not loaded & {"torch", "timm", "open_clip", "numpy"}


def test_dino_needs_no_open_clip() -> None:
    """The scorer of the embedded default starts without open_clip and its seconds."""
    loaded = loaded_by("musc.backbone", "musc.sliding")

    assert "timm" in loaded
    assert "open_clip" not in loaded


WATCH = """
import json, sys
seen = []
def watch(event, arguments):
    if event == "open" or event.startswith("socket."):
        seen.append([event, str(arguments[0])])
sys.addaudithook(watch)
import musc
print(json.dumps(seen))
"""


def test_importing_opens_nothing_else() -> None:
    """``import musc`` opens its own module and the standard library's, no other file, no socket."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCH],
        capture_output=True,
        check=True,
        cwd=Path(musc.__file__).parents[1],
        text=True,
        timeout=60,
    )
    events = json.loads(done.stdout)

    allowed = (str(Path(musc.__file__).parent), sysconfig.get_path("stdlib"))
    assert done.stderr == ""
    assert events, "the hook has seen at least the package's own module"
    assert [e for e in events if e[0] != "open" or not e[1].startswith(allowed)] == []


def test_the_package_offers_what_it_says() -> None:
    """``MuSc`` and ``Result`` come with the first use, any other name is an AttributeError."""
    assert [getattr(musc, name).__module__ for name in musc.__all__] == ["musc.batch"] * 2
    with pytest.raises(AttributeError, match="'musc' has no attribute 'nothing'"):
        _ = musc.nothing
