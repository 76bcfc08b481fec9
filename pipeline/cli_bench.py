"""``musc-edge bench``: measured figures; the last line of each is one JSON object."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from pipeline.cli_output import log_to_stderr, print_rows

bench_app = typer.Typer(
    help="Measure this machine; the last line is one JSON object.", no_args_is_help=True
)


@bench_app.callback()
def bench() -> None:
    """Measure this machine; the last line is one JSON object."""


@bench_app.command()
def deadline(
    *,
    frames: Annotated[int, typer.Option(min=1, help="Frames that the camera takes.")] = 2000,
    fps: Annotated[int, typer.Option(min=1, max=1000, help="Frames a second.")] = 50,
    deadline_ms: Annotated[
        int, typer.Option(min=10, max=60_000, help="From capture to NO_RESULT.")
    ] = 200,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the ledger lies while it runs; the system's temporary folder."),
    ] = None,
) -> None:
    """Measure how punctual the gate is with no scorer at all.

    Broker, gate and camera run as on a line. Every frame must get exactly one
    NO_RESULT, and none before its deadline; otherwise the exit code is 1. The
    99.9th percentile is held to 20 ms plus what a control timer was late by.
    """
    from edge.stopping import StopFlag
    from pipeline.bench_deadline import DeadlineBench, run_deadline_bench

    log_to_stderr("ERROR", "bench")
    stop = StopFlag()
    stop.install()
    with tempfile.TemporaryDirectory(prefix="musc-edge-bench-", dir=folder) as place:
        settings = DeadlineBench(frames, fps, deadline_ms)
        report = run_deadline_bench(Console(), settings, Path(place), stop.is_set)
    print_rows(("ms after the deadline", "p50", "p99", "p99.9", "max"), report.table())
    typer.echo(json.dumps(report.summary(fps)))
    if report.early:
        raise typer.Exit(1)


@bench_app.command()
def msm(
    *,
    window: Annotated[int, typer.Option(min=2, max=512, help="Frames in a window.")] = 32,
    locality: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Compare also near the same position only, in patches."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that are timed.")] = 9,
    frames: Annotated[int, typer.Option(min=1, help="Frames whose AUROC is taken.")] = 200,
    seed: Annotated[int, typer.Option(help="Which cells, and their order.")] = 0,
    recompute: Annotated[
        int, typer.Option(min=0, help="Rounds in which the whole window is recomputed too.")
    ] = 1,
    shape: Annotated[
        Literal["vit-s", "vit-l"],
        typer.Option(help="vit-l: time and memory of a large float16 window of drawn tokens."),
    ] = "vit-s",
) -> None:
    """Measure how long a push takes that scores the newest frame of a window.

    The frames are real solar cells, fetched once with the weights. All ways to
    score take turns in one run; beside the times stand the AUROC of each and the
    machine's best float32 product. An older frame is scored anew each time too.
    """
    from pipeline.bench_growth import measure_vit_l
    from pipeline.bench_msm import MsmBench, run_msm_bench

    log_to_stderr("ERROR", "bench")
    if shape == "vit-l":
        typer.echo(json.dumps(measure_vit_l(Console(), window, repeats, seed)))
        return
    report = run_msm_bench(Console(), MsmBench(window, locality, repeats, frames, seed, recompute))
    print_rows(
        ("newest frame against", "median ms", "min", "max", "share", "AUROC"), report.table()
    )
    typer.echo(json.dumps(report.summary()))


@bench_app.command()
def loss(
    *,
    window: Annotated[int, typer.Option(min=2, max=512, help="Frames in a window.")] = 32,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a stream.")] = 200,
    seeds: Annotated[
        int, typer.Option(min=1, max=20, help="Streams: other cells, in another order.")
    ] = 3,
    repeats: Annotated[int, typer.Option(min=9, help="Rounds that are timed.")] = 15,
) -> None:
    """Measure what cheaper scoring loses: fewer channels, degrees, stages, and together.

    Real solar cells are scored on arrival by each way at once. Beside time and memory
    stand the rank correlation with the exact scores, within frames and of frames, and
    the change of the AUROC; where its 95 % interval covers 0 it may be chance.
    """
    from pipeline.bench_loss import COLUMNS, LossBench, run_loss_bench

    log_to_stderr("ERROR", "bench")
    report = run_loss_bench(Console(), LossBench(window, frames, seeds, repeats))
    print_rows(COLUMNS, report.table())
    typer.echo(json.dumps(report.summary()))


@bench_app.command()
def backbone(
    *,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Frames in a call.")] = 1,
    image_size: Annotated[
        int, typer.Option(min=28, max=1036, help="Side of the input, a multiple of 14 pixels.")
    ] = 224,
    repeats: Annotated[int, typer.Option(min=9, help="Rounds that are timed.")] = 15,
    frames: Annotated[
        int, typer.Option(min=2, max=512, help="Frames whose tokens and scores are compared.")
    ] = 16,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="torch.compile takes part; it takes minutes.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Which cells.")] = 0,
) -> None:
    """Measure how fast the backbone runs, how near to the machine's peak, and how exact.

    Real solar cells are seen by DINOv2 ViT-S/14: as the library runs it, as the line
    does, in bfloat16, and by ONNX Runtime and OpenVINO where they are installed
    (pip install 'musc-edge[engines]'). Tokens and scores are held to the library's.
    """
    from pipeline.bench_backbone import COLUMNS, BackboneBench, run_backbone_bench

    log_to_stderr("ERROR", "bench")
    settings = BackboneBench(batch, image_size, repeats, frames, seed, compiled)
    report = run_backbone_bench(Console(), settings)
    print_rows(COLUMNS, report.table())
    typer.echo(json.dumps(report.summary()))


@bench_app.command()
def ledger(
    *,
    passes: Annotated[int, typer.Option(min=1, help="Transactions a round.")] = 25,
    results: Annotated[int, typer.Option(min=1, max=64, help="Results a transaction.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that are timed.")] = 21,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the ledgers lie while it runs; the system's temporary folder."),
    ] = None,
) -> None:
    """Measure how many results a second the gate makes durable.

    A result is a closed frame with its heatmap, its part, and two messages in the
    outbox. The same rows are written by hand with sqlite3 in the same rounds.
    """
    from pipeline.bench_ledger import LedgerBench, run_ledger_bench

    log_to_stderr("ERROR", "bench")
    with tempfile.TemporaryDirectory(prefix="musc-edge-bench-", dir=folder) as place:
        settings = LedgerBench(passes, results, repeats)
        report = run_ledger_bench(Console(), settings, Path(place))
    columns = ("synchronous", "who", "results/s", "commit ms p50", "p99", "time to gate's")
    print_rows(columns, report.table())
    typer.echo(json.dumps(report.summary()))


@bench_app.command()
def transport(
    *,
    frames: Annotated[int, typer.Option(min=1, max=48, help="Frames a round.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that are timed.")] = 15,
) -> None:
    """Measure how fast pictures go from ingest to the scorer, beside a copy in memory.

    The pictures are 1920x1080 pixels in colour, and the processes, queue, credit and
    messages those of a line, over ipc and over tcp. Every byte is checked once.
    """
    from pipeline.bench_transport import TransportBench, run_transport_bench

    log_to_stderr("ERROR", "bench")
    with tempfile.TemporaryDirectory(prefix="musc-edge-bench-") as place:
        report = run_transport_bench(Console(), TransportBench(frames, repeats), Path(place))
    columns = ("way", "frames/s", "slowest", "fastest", "GB/s", "share of memcpy")
    print_rows(columns, report.table())
    typer.echo(json.dumps(report.summary()))


@bench_app.command()
def pipeline(
    *,
    frames: Annotated[
        int, typer.Option(min=2, max=600, help="Frames that count, of each phase.")
    ] = 40,
    repeats: Annotated[int, typer.Option(min=1, max=99, help="Phases of each kind.")] = 9,
    window: Annotated[int, typer.Option(min=17, max=512, help="Frames in a window.")] = 32,
    broker: Annotated[
        Literal["embedded", "mosquitto"],
        typer.Option(help="Which broker confirms; mosquitto must be installed."),
    ] = "embedded",
    seed: Annotated[int, typer.Option(min=0, help="Which cells, and their order.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the line lies while it runs; the system's temporary folder."),
    ] = None,
) -> None:
    """Measure what the line costs beside the scorer's own compute.

    Real cells go from a camera process to a verdict that the broker has confirmed.
    Overhead is what of that time the scorer did not compute, with frames at half the
    rate that the line can take; frames a second are of a line that is never without
    a frame. Backbone and mutual scoring alone take turns with both.
    """
    from edge.stopping import StopFlag
    from pipeline.bench_pipeline import PipelineBench, run_pipeline_bench

    log_to_stderr("ERROR", "bench")
    stop = StopFlag()
    stop.install()
    bench = PipelineBench(frames, repeats, window, broker, seed)
    with tempfile.TemporaryDirectory(prefix="musc-edge-bench-", dir=folder) as place:
        report = run_pipeline_bench(Console(), bench, Path(place), stop.is_set)
    print_rows(("pipeline", "median", "p99", "of"), report.table())
    typer.echo(json.dumps(report.summary()))


@bench_app.command()
def restart(
    *,
    repeats: Annotated[int, typer.Option(min=1, max=50, help="Kills.")] = 5,
    window: Annotated[int, typer.Option(min=17, max=512, help="Frames in a window.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Which cells, and their order.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the line lies while it runs; the system's temporary folder."),
    ] = None,
) -> None:
    """Measure how soon a line judges again after its scorer was killed in mid-stream.

    Beside the time from the kill to the next PASS or FAIL stands what no start can leave
    out: the import, the weights, and the windows that are read from the disk.
    """
    from edge.stopping import StopFlag
    from pipeline.bench_restart import RestartBench, run_restart_bench

    log_to_stderr("ERROR", "bench")
    stop = StopFlag()
    stop.install()
    bench = RestartBench(repeats, window, seed)
    with tempfile.TemporaryDirectory(prefix="musc-edge-bench-", dir=folder) as place:
        report = run_restart_bench(Console(), bench, Path(place), stop.is_set)
    print_rows(("restart", "median", "least", "most"), report.table())
    typer.echo(json.dumps(report.summary()))


@bench_app.command("what-if")
def what_if(
    *,
    frames: Annotated[
        int, typer.Option(min=70, max=600, help="Real cells, one after another.")
    ] = 400,
    repeats: Annotated[int, typer.Option(min=1, help="Of the shared runs.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Which cells, and their order.")] = 0,
) -> None:
    """Measure how fast 'what if' is answered beside replays: thresholds, rules, windows.

    The answers are held to each other; where they differ the exit code is 1.
    """
    from pipeline.bench_what_if import WhatIfBench, run_what_if_bench

    log_to_stderr("ERROR", "bench")
    with tempfile.TemporaryDirectory(prefix="musc-edge-bench-") as place:
        report = run_what_if_bench(Console(), WhatIfBench(frames, repeats, seed), Path(place))
    print_rows(("what if", "s at once", "s of replays", "times"), report.table())
    typer.echo(json.dumps(report.summary()))


@bench_app.command()
def tiling(
    *,
    columns: Annotated[int, typer.Option(min=1, max=8, help="Regions side by side.")] = 3,
    rows: Annotated[int, typer.Option(min=1, max=8, help="Regions one above the other.")] = 3,
    image_size_px: Annotated[
        int, typer.Option(min=56, max=1036, help="Side of the backbone's square, both times.")
    ] = 308,
    good: Annotated[int, typer.Option(min=20, help="Good parts that count.")] = 60,
    defective: Annotated[int, typer.Option(min=1, help="Parts with one scratch each.")] = 20,
    contrast: Annotated[
        float, typer.Option(min=1, max=255, help="Of the scratches, in grey levels of 255.")
    ] = 20.0,
    roi: Annotated[
        bool, typer.Option(help="Inspect where the part can be, or all of the sensor.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Which parts and scratches.")] = 0,
) -> None:
    """Measure what regions do for small defects: scratches of 24 x 3 px on 2448 x 2048 px.

    The same drawn parts are inspected whole and in regions, with the same backbone
    at the same size. Recall at 5 % false rejects is the share of defective parts
    that score above what not more than 5 % of the good ones exceed; a found scratch
    is located where the box, grown by a patch, covers its centre.
    """
    from pipeline.bench_tiling import COLUMNS, SENSOR_PX, TilingBench, run_tiling_bench

    log_to_stderr("ERROR", "bench")
    bench = TilingBench(
        columns=columns,
        rows=rows,
        image_size_px=image_size_px,
        good=good,
        defective=defective,
        contrast=contrast,
        seed=seed,
    )
    report = run_tiling_bench(Console(), bench if roi else replace(bench, roi_px=SENSOR_PX))
    print_rows(COLUMNS, report.table())
    typer.echo(json.dumps(report.summary()))
