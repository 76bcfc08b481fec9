"""Which folder is meant, and whether its files are still the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.good_folder import content_digest, good_files, recipe_folder

if TYPE_CHECKING:
    from pathlib import Path


def filled(folder: Path, **files: bytes) -> Path:
    """Return a folder with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("recipe", "found"),
    [("lid", "lid"), ("own", ""), ("cup", None), ("..", None), (".hidden", None)],
)
def test_each_recipe_has_its_own_folder(tmp_path: Path, recipe: str, found: str | None) -> None:
    """Images directly in the folder are of the config's recipe alone; no name leads out of it."""
    filled(tmp_path / "good" / "lid")
    filled(tmp_path / "good" / ".hidden")

    folder = recipe_folder(tmp_path / "good", recipe, "own")

    assert folder == (None if found is None else tmp_path / "good" / found)


def test_digest_is_of_what_the_files_hold(tmp_path: Path) -> None:
    """It changes with a byte, an added file and a lost one; not with a copy, or a hidden file."""
    one = content_digest(filled(tmp_path / "one", a=b"1", b=b"2"))

    same = content_digest(filled(tmp_path / "two", c=b"1", d=b"2", **{".index": b"x"}))
    byte = content_digest(filled(tmp_path / "three", a=b"1", b=b"3"))
    more = content_digest(filled(tmp_path / "four", a=b"1", b=b"2", c=b""))
    less = content_digest(filled(tmp_path / "five", a=b"12"))

    assert one == same
    assert len({one, byte, more, less}) == 4


def test_no_folder_has_no_digest(tmp_path: Path) -> None:
    """Gate and scorer may be on two hosts: a folder that is not here is no error."""
    assert content_digest(None) is None
    assert content_digest(tmp_path / "gone") is None


def test_files_come_by_name(tmp_path: Path) -> None:
    """Folders and hidden files are left out."""
    filled(tmp_path, b=b"", a=b"", B=b"", **{".c": b""})
    filled(tmp_path / "inner")

    assert [path.name for path in good_files(tmp_path)] == ["B", "a", "b"]
