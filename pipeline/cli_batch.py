"""``musc-edge score`` and ``rescore``: folders of images, without a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.cli_output import JsonOption, log_to_stderr, print_summary

BackboneOption = Annotated[
    str, typer.Option(help="Backbone by name; `musc-edge weights` lists them.")
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(help="Side in px, a multiple of the patch; the backbone's own if none."),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Never fetch weights; they must be in the cache.")
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Weights file, instead of the cache.")
]


def score(
    images: Annotated[Path, typer.Argument(help="Folder of images; sub-folders are entered.")],
    out: Annotated[Path, typer.Option(help="Folder for scores.csv, heatmaps and maps.")],
    *,
    image_size: ImageSizeOption = None,
    backbone: BackboneOption = "dinov2-vits14",
    weights_file: WeightsOption = None,
    offline: OfflineOption = False,
    references: Annotated[
        Path | None, typer.Option(help="Folder of good images that join the scoring.")
    ] = None,
    plus: Annotated[
        bool, typer.Option("--plus", help="Only the references score (MuSc+).")
    ] = False,
    subsets: Annotated[
        int, typer.Option(min=1, help="Parts to score a large folder in; kept if killed.")
    ] = 1,
    maps: Annotated[bool, typer.Option("--maps", help="Write float32 maps as .npy.")] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Draw heatmaps over the images.")
    ] = False,
    rejects_per_1000: Annotated[
        float, typer.Option(min=0.01, max=499.0, help="Where the heatmaps' colour begins.")
    ] = 20.0,
    json_line: JsonOption = False,
) -> None:
    """Score a folder of images against each other, without training."""
    from pipeline.backbones import BackboneChoice
    from pipeline.batch_score import ScoreSettings
    from pipeline.score_command import Outputs, run_score

    if plus and references is None:
        msg = "--plus needs --references: only they score"
        raise typer.BadParameter(msg)
    log_to_stderr("WARNING", "score")
    summary = run_score(
        Console(),
        ScoreSettings(images, out, references, plus, subsets),
        BackboneChoice(backbone, image_size, weights_file, offline),
        Outputs(maps, overlay, rejects_per_1000),
    )
    print_summary(summary, as_json=json_line)


def rescore_scores(
    table: Annotated[Path, typer.Argument(help="CSV with the columns path and score.")],
    images: Annotated[Path, typer.Option(help="Folder that the paths count from.")],
    out: Annotated[Path, typer.Option(help="CSV to write: path, score, rescored.")],
    *,
    image_size: ImageSizeOption = None,
    backbone: BackboneOption = "dinov2-vits14",
    weights_file: WeightsOption = None,
    offline: OfflineOption = False,
    json_line: JsonOption = False,
) -> None:
    """Smooth any method's image scores by RsCIN, over images that look alike."""
    from pipeline.backbones import BackboneChoice
    from pipeline.score_command import run_rescore

    log_to_stderr("WARNING", "rescore")
    choice = BackboneChoice(backbone, image_size, weights_file, offline)
    print_summary(run_rescore(Console(), table, images, out, choice), as_json=json_line)
