"""A page for a browser, self-contained: text, tables and small pictures in one file.

It can be mailed, kept for years, and opened on a machine that is on no network.
"""

from __future__ import annotations

import base64
import html
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pipeline.heatmap import Image

JPEG_QUALITY = 85
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1080px; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 3px 10px; text-align: left;
border-bottom: 1px solid #ddd; vertical-align: top } .sheet { display: grid; gap: 14px;
grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)) } figure { margin: 0 }
figcaption { font-size: 12px } .FAIL { color: #c0392b } .PASS { color: #2a7f3f }
img { max-width: 100%; display: block } .none { color: #777 }
.wide { grid-template-columns: repeat(auto-fill, minmax(520px, 1fr)) } .wide img { width: 168px }
.row { display: flex; gap: 4px; align-items: flex-start } .crops { margin-top: 4px }
.crops img { width: 57px }
"""


class ReportError(LineError):
    """A page cannot be written; the message names the file."""


def check_page(path: Path) -> None:
    """Refuse a page that has no place, before the work for it is done.

    Raises:
        ReportError: It has no name, or no folder.
    """
    if not path.name or path.is_dir():
        msg = f"report {path}: that is a folder, wanted a file's name"
        raise ReportError(msg)
    if not path.parent.is_dir():
        msg = f"report {path}: there is no folder {path.parent}"
        raise ReportError(msg)


def write_page(path: Path, title: str, pieces: Iterable[str], script: str = "") -> None:
    """Write a page, whole or not at all, piece by piece.

    Args:
        path: The file.
        title: Of the page.
        pieces: HTML.
        script: What the pieces need.

    Raises:
        ReportError: The file cannot be written.
    """
    named = html.escape(title)
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{named}</title>'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style>'
        f"<script>{script}</script></head>\n<body><h1>{named}</h1>\n"
    )
    check_page(path)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(head)
            file.writelines(f"{piece}\n" for piece in pieces)
            file.write("</body></html>\n")
        part.replace(path)
    except OSError as error:
        msg = f"report {path}: {error.strerror or error}"
        raise ReportError(msg) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, or a word that it is empty."""
    if not rows:
        return '<p class="none">none</p>'
    head = "".join(f"<th>{html.escape(one)}</th>" for one in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def shrunk(image: Image, longer_px: int) -> Image:
    """Return an image (height, width[, 3]) whose longer side has ``longer_px`` at most."""
    height, width = image.shape[:2]
    scale = min(1.0, longer_px / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    small: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def jpeg(image: Image) -> bytes:
    """Return an image, mono or BGR, as JPEG."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()


def inline(picture: bytes | None, alt: str) -> str:
    """Return a JPEG inside the page's own text, or the words that it is gone."""
    if picture is None:
        return '<p class="none">not there any more</p>'
    data = base64.b64encode(picture).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/jpeg;base64,{data}">'
