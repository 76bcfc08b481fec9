"""``musc-edge record``: the cameras of a line alone, into a recording."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.cli_output import JsonOption, log_to_stderr, print_rows, print_summary
from pipeline.config_file import load_config

if TYPE_CHECKING:
    from pipeline.camera_recording import CameraRecorded

SHOWN = ("camera", "frames", "left_out", "lost", "megabytes", "end")


def record(
    config: Annotated[Path, typer.Option("--config", help="Config file of the line.")] = Path(
        "config.toml"
    ),
    *,
    out: Annotated[Path, typer.Option(help="New folder to record into.")],
    camera: Annotated[
        list[str] | None, typer.Option(help="Only this camera; may be given several times.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frames of each camera; else until Ctrl-C or the end of the sources."
        ),
    ] = None,
    json_line: JsonOption = False,
) -> None:
    """Record cameras alone, without scorer, gate or broker, to replay them.

    Ctrl-C ends it in order. Exit status 1: a camera failed, or its recording ended at its
    limit or for the disk.
    """
    from edge.stopping import StopFlag
    from pipeline.camera_recording import choose_cameras, record_cameras
    from pipeline.ingest_stage import check_sources
    from pipeline.line_lock import line_lock
    from pipeline.record_view import RecordView

    settings = choose_cameras(load_config(config), camera or [])
    log_to_stderr("WARNING", "record")
    check_sources(settings)
    stop = StopFlag()
    stop.install()
    ids = [one.id for one in settings.camera]
    with (
        line_lock(settings.line.state_path),
        RecordView(Console(stderr=True), ids, frames) as view,
    ):
        done = record_cameras(settings, out, stop.is_set, frames, view.show)
    if json_line:
        cameras = {one.camera: asdict(one) for one in done}
        print_summary({"recording": str(out), "cameras": cameras}, as_json=True)
    else:
        print_rows(SHOWN, [_row(one) for one in done])
        typer.echo(f"recorded into {out}")
    if not all(one.is_whole for one in done):
        raise typer.Exit(1)


def _row(one: CameraRecorded) -> list[str]:
    from pipeline.record_view import MEGABYTE

    lost = ", ".join(f"{count} {why}" for why, count in one.lost.items()) or "0"
    end = f"{one.end}: {one.error}" if one.error else one.end
    megabytes = f"{one.used_bytes / MEGABYTE:.1f}"
    return [one.camera, str(one.frames), str(one.left_out), lost, megabytes, end]
