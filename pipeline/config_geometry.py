"""What every ``[[camera]]`` section says of where it looks, in sensor pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from edge.frame import MAX_SIDE_PX
from pipeline.config_settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self

REGIONS_LIMIT = 64
Coordinate = Annotated[int, Field(ge=0, le=MAX_SIDE_PX)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
Rectangle = tuple[Coordinate, Coordinate, Side, Side]
"""x, y, width, height in sensor pixels."""
Polygon = Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=3, max_length=64)]
"""Corners, x and y in sensor pixels; the last is joined to the first."""


class GeometrySettings(Settings):
    """Which part of the sensor is inspected, and how it is cut up."""

    roi_px: Rectangle | None = None
    """x, y, width, height of what is inspected; without it all that the camera sends."""
    rotate_deg: Literal[0, 90, 180, 270] = 0
    """Clockwise turn before inspection; results stay in sensor pixels."""
    ignore_px: list[Polygon] = Field(default=[], max_length=32)
    """Polygons whose content has no influence, each a list of [x, y] corners."""
    columns: int = Field(default=1, ge=1, le=16)
    """Regions side by side, each with a window of its own; for small defects on large frames."""
    rows: int = Field(default=1, ge=1, le=16)
    """Regions one above the other; the frame's result is its worst region's."""
    overlap_patches: int = Field(default=2, ge=0, le=8)
    """How far neighbouring regions overlap, in patches."""

    @model_validator(mode="after")
    def _regions_are_few(self) -> Self:
        if self.regions > REGIONS_LIMIT:
            msg = f"columns x rows = {self.regions}: at most {REGIONS_LIMIT} regions"
            raise ValueError(msg)
        return self

    @field_validator("roi_px", mode="before")
    @classmethod
    def _roi_has_four_numbers(cls, given: Any) -> Any:  # noqa: ANN401 - not validated yet
        if isinstance(given, list) and len(given) != 4:  # noqa: PLR2004 - x, y, width, height
            msg = "must be four numbers: x, y, width, height"
            raise ValueError(msg)
        return given

    @property
    def regions(self) -> int:
        """How many regions a frame has."""
        return self.columns * self.rows


GEOMETRY_KEYS = frozenset(GeometrySettings.model_fields)
"""Keys that can change a score."""
