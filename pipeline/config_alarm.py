"""Sections ``[[alarm]]``: what calls a person, one class for each kind of alarm.

Without any such section the line has those of :func:`default_alarms`.
Terms are those of ANSI/ISA-18.2: a latched alarm stays until it is
acknowledged, delays keep a condition that comes and goes from ringing each
time. Parts without a result because the window was warming, or inspection
disabled, are left out of every count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from edge.contract import AlarmName
from pipeline.config_settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self


class _Alarm(Settings):
    name: AlarmName
    """Name of the alarm: last segment of its topic."""
    latch: bool = True
    """Stay until acknowledged; otherwise the alarm ends with its condition."""
    on_delay_s: float = Field(default=0.0, ge=0, le=3600)
    """How long the condition must hold before it is an alarm."""
    off_delay_s: float = Field(default=0.0, ge=0, le=3600)
    """How long it must be gone before the alarm returns to normal."""


class _CountingAlarm(_Alarm):
    counts: Literal["fail", "not_pass"] = "fail"
    """Which parts count: those that failed, or all that did not pass."""


class NOfMAlarm(_CountingAlarm):
    """So many of the last parts."""

    kind: Literal["n_of_m"]
    count: int = Field(ge=1, le=10_000)
    """Parts that raise the alarm."""
    of_parts: int = Field(ge=1, le=10_000)
    """Latest parts that are looked at; the alarm may rise before there are so many."""
    clear_count: int | None = Field(default=None, ge=0, le=10_000)
    """Parts at which the condition ends; less than count, by default one less."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.count > self.of_parts:
            msg = f"count = {self.count}: at most of_parts = {self.of_parts}"
            raise ValueError(msg)
        if self.clear_count is not None and self.clear_count >= self.count:
            msg = f"clear_count = {self.clear_count}: must be less than count = {self.count}"
            raise ValueError(msg)
        return self


class ConsecutiveAlarm(_CountingAlarm):
    """So many parts in a row."""

    kind: Literal["consecutive"]
    count: int = Field(ge=2, le=10_000)
    """Parts in a row that raise the alarm; one other part ends it."""


class RateAlarm(_CountingAlarm):
    """So many parts within a period."""

    kind: Literal["rate"]
    count: int = Field(ge=1, le=10_000)
    """Parts that raise the alarm."""
    period_s: float = Field(ge=1, le=86_400)
    """Length of the period, which always ends now."""
    clear_count: int | None = Field(default=None, ge=0, le=10_000)
    """Parts at which the condition ends; less than count, by default one less."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.clear_count is not None and self.clear_count >= self.count:
            msg = f"clear_count = {self.clear_count}: must be less than count = {self.count}"
            raise ValueError(msg)
        return self


class NoResultRatioAlarm(_Alarm):
    """Too large a share of parts without a result."""

    kind: Literal["no_result_ratio"]
    ratio: float = Field(gt=0, le=1)
    """Share that raises the alarm."""
    of_parts: int = Field(default=50, ge=1, le=10_000)
    """Latest parts that are looked at; with fewer there is no alarm."""
    clear_ratio: float | None = Field(default=None, ge=0, lt=1)
    """Share at which the condition ends; less than ratio, by default half of it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.clear_ratio is not None and self.clear_ratio >= self.ratio:
            msg = f"clear_ratio = {self.clear_ratio}: must be less than ratio = {self.ratio}"
            raise ValueError(msg)
        return self


class CameraLostAlarm(_Alarm):
    """Any camera is not there, or repeats its picture; another one does not ring again."""

    kind: Literal["camera_lost"]


class ScorerDownAlarm(_Alarm):
    """The scorer is not there."""

    kind: Literal["scorer_down"]


class DiskLowAlarm(_Alarm):
    """The disk of the ledger or of the evidence is nearly full."""

    kind: Literal["disk_low"]
    min_free_bytes: int = Field(default=1_000_000_000, ge=1_000_000)
    """Free space below which the alarm rises; it ends at a tenth more."""


class RegimeChangeAlarm(_Alarm):
    """The parts on the belt are not those of the window any more."""

    kind: Literal["regime_change"]


Alarm = Annotated[
    NOfMAlarm
    | ConsecutiveAlarm
    | RateAlarm
    | NoResultRatioAlarm
    | CameraLostAlarm
    | ScorerDownAlarm
    | DiskLowAlarm
    | RegimeChangeAlarm,
    Field(discriminator="kind"),
]


def default_alarms() -> list[Alarm]:
    """Return the alarms of a line whose config names none."""
    return [
        CameraLostAlarm(name="camera_lost", kind="camera_lost", on_delay_s=1.0),
        ScorerDownAlarm(name="scorer_down", kind="scorer_down", on_delay_s=1.0),
        NoResultRatioAlarm(name="no_result", kind="no_result_ratio", ratio=0.2),
        ConsecutiveAlarm(name="rejects_in_a_row", kind="consecutive", count=5),
        DiskLowAlarm(name="disk_low", kind="disk_low"),
        RegimeChangeAlarm(name="regime_change", kind="regime_change"),
    ]
