"""A page is whole or as it was before, and its pictures are small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.errors import LineError
from pipeline.page import ReportError, inline, jpeg, shrunk, table, write_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_page_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    """Whoever makes the pieces may fail: what was there stays, and nothing is left beside it."""

    def pieces() -> Iterator[str]:
        yield "<p>new</p>"
        msg = "a mask is gone"
        raise LineError(msg)

    page = tmp_path / "page.html"
    write_page(page, "old", ["<p>old</p>"])
    with pytest.raises(LineError, match="a mask is gone"):
        write_page(page, "new", pieces())

    assert "<p>old</p>" in page.read_text()
    assert list(tmp_path.iterdir()) == [page]


def test_page_without_a_place_is_refused(tmp_path: Path) -> None:
    """A folder is no page, and a page needs one; the message names what was asked for."""
    (tmp_path / "file").write_text("mine")

    for path, says in ((tmp_path, "that is a folder"), (tmp_path / "file" / "p.html", "no folder")):
        with pytest.raises(ReportError, match=f"report {path}: .*{says}"):
            write_page(path, "a", [])

    with pytest.raises(ReportError, match="File name too long"):
        write_page(tmp_path / ("a" * 252), "a", [])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 50, 3), (40, 20, 3)), ((20, 40), (20, 40)), ((1, 4000), (1, 40))],
)
def test_pictures_are_shrunk_and_never_enlarged(
    shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """The longer side decides; what is a line stays one."""
    small = shrunk(np.full(shape, 200, np.uint8), 40)

    assert small.shape == expected
    again = cv2.imdecode(np.frombuffer(jpeg(small), np.uint8), cv2.IMREAD_UNCHANGED)
    assert again.shape == expected
    assert abs(int(again.mean()) - 200) < 3


def test_names_and_cells_are_no_markup() -> None:
    """What comes from files is escaped; what is not there is said."""
    assert 'alt="&lt;b&gt;&quot;"' in inline(b"x", '<b>"')
    assert "not there any more" in inline(None, "a")
    assert "<td>&lt;i&gt;</td>" in table(("a",), [("<i>",)])
