"""What the README says is what the code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_parts_are_current() -> None:
    """File map, commands and config table are those of the code."""
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "-I", "tests/support", "README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, "run: .venv/bin/cog -r -I tests/support README.md"


def test_every_module_is_described() -> None:
    """Each module of the packages has its line in the file map."""
    text = (ROOT / "README.md").read_text()

    missing = [
        str(path.relative_to(ROOT))
        for package in ("edge", "musc", "pipeline")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and f"`{path.name}`" not in text
    ]

    assert missing == []
