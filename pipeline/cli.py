"""``musc-edge``: the command line.

Thin: each command checks its arguments and calls the module that does the
work, imported only then, so that ``--help`` is there at once. What the
operator can put right is one clear line on standard error; exit codes are 0
done, 1 failed at run time, 2 bad arguments or config.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edge.errors import LineError
from pipeline.cli_batch import rescore_scores, score
from pipeline.cli_bench import bench_app
from pipeline.cli_cells import solar_cells
from pipeline.cli_doctor import doctor
from pipeline.cli_evaluate import evaluate
from pipeline.cli_keys import keys
from pipeline.cli_ledger import alarms, events, review, verdicts
from pipeline.cli_output import JsonOption, log_to_stderr
from pipeline.cli_plc import plc_sim
from pipeline.cli_record import record
from pipeline.cli_replay import replay
from pipeline.cli_send import send
from pipeline.cli_stress import stress
from pipeline.cli_tune import tune
from pipeline.cli_what_if import what_if
from pipeline.config_file import load_config

if TYPE_CHECKING:
    from pipeline.config import Config

app = typer.Typer(
    name="musc-edge",
    help="Inspect parts on a belt by mutual scoring: no training, no labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
weights_app = typer.Typer(help="Show and fetch the weights of the backbones.")

INTERRUPTED = 130
"""As a shell says of a command that Ctrl-C ended."""

ConfigOption = Annotated[Path, typer.Option("--config", help="Config file of the line.")]
SupervisedOption = Annotated[bool, typer.Option("--supervised", hidden=True)]
RecordedOption = Annotated[Path | None, typer.Option("--record", hidden=True)]
"""Folder of a recording that ``run --record`` has begun."""


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    if wanted:
        typer.echo(version("musc-edge"))
        raise typer.Exit


@app.callback()
def about(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Inspect parts on a belt by mutual scoring: no training, no labels."""


def main() -> None:
    """Run the command line and turn operator errors into one line and an exit code."""
    try:
        app()
    except LineError as error:
        sys.stderr.write(f"musc-edge: {error}\n")
        sys.exit(error.exit_code)


@app.command()
def demo(
    *,
    frames: Annotated[
        int, typer.Option(min=1, max=2000, help="Parts to inspect; the first 24 warm the line up.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Which parts, in which order.")] = 0,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="A synthetic belt instead of solar cells.")
    ] = False,
    keep: Annotated[Path | None, typer.Option(help="Empty or new folder for the results.")] = None,
    json_line: JsonOption = False,
) -> None:
    """Watch a real line judge real parts, with an embedded broker."""
    from pipeline import demo as line_demo
    from pipeline.demo_run import run_demo

    log_to_stderr("ERROR", "demo")
    console = Console()
    folder = (keep or Path(tempfile.mkdtemp(prefix="musc-edge-demo-"))).resolve()
    prepare = line_demo.prepare_synthetic if synthetic else line_demo.prepare_cells
    summary = run_demo(console, prepare, folder, frames, seed)
    if json_line:
        typer.echo(json.dumps(asdict(summary)))
    if summary.frames < frames:
        raise typer.Exit(INTERRUPTED)


@app.command()
def run(
    config: ConfigOption = Path("config.toml"),
    *,
    record: Annotated[
        Path | None, typer.Option(help="New folder to record the line into, to replay it.")
    ] = None,
) -> None:
    """Run a line: cameras, scorer and gate under the supervisor."""
    from edge.clock import SystemClock
    from edge.stopping import StopFlag
    from pipeline.good_images import check_good_images
    from pipeline.ingest_stage import check_sources
    from pipeline.line_keys import check_endpoints
    from pipeline.line_lock import line_lock
    from pipeline.recording_start import begin_recording
    from pipeline.supervisor import Supervisor, line_commands

    settings = _load(config, "supervisor")
    check_endpoints(settings)
    check_sources(settings)
    check_good_images(settings)
    stop = StopFlag()
    stop.install()
    into = record.resolve() if record is not None else None
    with line_lock(settings.line.state_path):
        if into is not None:
            begin_recording(settings, into, SystemClock())
        Supervisor(line_commands(settings, config.resolve(), into)).run(stop.is_set)


app.command()(score)
app.command("rescore")(rescore_scores)
app.command()(evaluate)


@app.command()
def ingest(
    camera: Annotated[str, typer.Option(help="Id of the camera in the config.")],
    config: ConfigOption = Path("config.toml"),
    *,
    supervised: SupervisedOption = False,
    record: RecordedOption = None,
) -> None:
    """Run one camera alone."""
    from pipeline.ingest_stage import run_ingest

    run_ingest(_load(config, f"ingest {camera}"), camera, supervised=supervised, record=record)


@app.command()
def inspect(
    config: ConfigOption = Path("config.toml"),
    *,
    supervised: SupervisedOption = False,
) -> None:
    """Run the scorer alone."""
    from pipeline.scoring_stage import run_scoring

    run_scoring(_load(config, "scoring"), supervised=supervised)


@app.command()
def gate(
    config: ConfigOption = Path("config.toml"),
    *,
    supervised: SupervisedOption = False,
    record: RecordedOption = None,
) -> None:
    """Run the gate alone."""
    from pipeline.gate_stage import run_gate

    run_gate(_load(config, "gate"), supervised=supervised, record=record)


@app.command()
def broker(
    config: ConfigOption = Path("config.toml"),
    *,
    supervised: SupervisedOption = False,
) -> None:
    """Run the embedded MQTT broker alone, on the loopback address."""
    from edge.embedded_broker import serve
    from edge.stopping import announce_ready, stage_stop_flag

    settings = _load(config, "broker")
    stop = stage_stop_flag(supervised=supervised)
    serve(settings.mqtt.port, lambda: announce_ready(supervised=supervised), stop.is_set)


@app.command("check-config")
def check_config(path: Annotated[Path, typer.Argument(help="Config file.")]) -> None:
    """Validate a config file; each problem with key, value and limit."""
    from edge.mqtt import BrokerError
    from edge.sources import SourceError
    from pipeline.broker_login import check_login
    from pipeline.good_images import check_good_images
    from pipeline.ingest_stage import check_sources
    from pipeline.line_keys import check_endpoints

    settings = load_config(path)
    check_endpoints(settings)
    good = check_good_images(settings)
    cameras = ", ".join(f"{camera.id} ({camera.kind})" for camera in settings.camera)
    alarms = ", ".join(alarm.name for alarm in settings.alarm) or "none"
    typer.echo(f"{path}: good; cameras {cameras}; alarms {alarms}; config hash {settings.digest}")
    for camera_id, count in good.items():
        typer.echo(f"camera {camera_id}: {count} good images")
    for check in (check_sources, check_login):
        try:
            check(settings)
        except (SourceError, BrokerError) as error:
            typer.echo(f"note: {error}")


@app.command()
def schema(
    name: Annotated[
        str | None, typer.Argument(help="One document: verdict, status, asyncapi...")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write all documents to.")] = None,
) -> None:
    """Print the MQTT contract: JSON Schemas of the messages, AsyncAPI of the topics."""
    from edge.asyncapi import contract_documents, write_contract

    if out is not None:
        if name is not None:
            msg = "--out writes all documents; leave the name out"
            raise typer.BadParameter(msg)
        for path in write_contract(out):
            typer.echo(str(path))
        return
    documents = {file.split(".")[0]: content for file, content in contract_documents().items()}
    if name is None:
        typer.echo("\n".join(documents))
        return
    if name not in documents:
        msg = f"no document {name!r}; there are {', '.join(documents)}"
        raise typer.BadParameter(msg)
    typer.echo(json.dumps(documents[name], indent=2))


for command in (verdicts, events, alarms, review, send, keys, doctor, record, replay, stress, tune):
    app.command()(command)
app.command("what-if")(what_if)
app.command("plc-sim")(plc_sim)
app.command("solar-cells")(solar_cells)
app.add_typer(bench_app, name="bench")
app.add_typer(weights_app, name="weights")


@weights_app.callback(invoke_without_command=True)
def weights(context: typer.Context) -> None:
    """List the known weights with source, licence and SHA-256."""
    if context.invoked_subcommand is not None:
        return
    from pipeline.weights import describe, weights_cache

    for row in describe(weights_cache()):
        typer.echo("\n".join(f"{key}: {value}" for key, value in asdict(row).items()) + "\n")


@weights_app.command("fetch")
def weights_fetch(name: Annotated[str, typer.Argument(help="Name from the list.")]) -> None:
    """Fetch weights into the cache and verify them."""
    from pipeline.weights import resolve, weights_cache

    log_to_stderr("INFO", "weights")
    typer.echo(str(resolve(name, cache=weights_cache(), replace_damaged=True)))


def _load(path: Path, stage: str) -> Config:
    config = load_config(path)
    log_to_stderr(config.log.level, stage)
    return config
