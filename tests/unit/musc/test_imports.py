"""What the package loads when it is imported."""

import json
import subprocess
import sys
from pathlib import Path

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


def test_the_package_alone_is_light() -> None:
    """Importing the package loads neither torch nor timm nor numpy."""
    loaded = loaded_by("musc")

    assert "musc" in loaded
    assert not loaded & {"torch", "timm", "numpy"}
