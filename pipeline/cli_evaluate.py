"""``musc-edge evaluate``: the papers' protocol and tables on a labelled data set."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console

from pipeline.cli_batch import BackboneOption, ImageSizeOption, OfflineOption, WeightsOption
from pipeline.cli_output import JsonOption, log_to_stderr, print_rows

if TYPE_CHECKING:
    from pipeline.ablations import AblationName, Row
    from pipeline.backbones import BackboneChoice
    from pipeline.dataset_masks import MaskMode
    from pipeline.dataset_samples import DatasetKind
    from pipeline.evaluate import Outcome


class DatasetChoice(str, Enum):
    """The layouts that are known."""

    MVTEC = "mvtec"
    VISA = "visa"
    BTAD = "btad"
    FOLDER = "folder"


class MaskChoice(str, Enum):
    """What counts as anomalous in a resized mask."""

    MUSC = "musc"
    GT_HALF = "gt0.5"
    GT_ZERO = "gt0"


class AblationChoice(str, Enum):
    """The tables of the paper that vary a setting."""

    DEGREES = "degrees"
    KEEP = "keep"
    RSCIN = "rscin"
    SUBSETS = "subsets"
    INTERVAL = "interval"
    BACKBONE = "backbone"
    WINDOW = "window"
    REFERENCES = "references"


def _numbers(words: str) -> tuple[int, ...]:
    """Read a list such as 1,3,5.

    Raises:
        BadParameter: Not whole numbers with commas between.
    """
    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError as error:
        msg = f"{words!r}, wanted whole numbers with commas between"
        raise typer.BadParameter(msg) from error


DatasetOption = Annotated[DatasetChoice, typer.Option(help="Layout of the data set.")]
RootOption = Annotated[Path, typer.Option(help="Folder of the data set.")]
OutOption = Annotated[
    Path, typer.Option(help="Folder for tables; finished categories are kept there.")
]
CategoryOption = Annotated[
    list[str] | None, typer.Option(help="Only this category; may be given several times.")
]
StagesOption = Annotated[
    Any,
    typer.Option(parser=_numbers, help="Blocks to take, like 5,11,17,23; if none, as the paper."),
]
DegreesOption = Annotated[
    Any, typer.Option(parser=_numbers, help="Sides of aggregation in patches, like 1,3,5.")
]
KeepOption = Annotated[
    float, typer.Option(min=0.001, max=1.0, help="Share of the peers that counts.")
]
NeighboursOption = Annotated[
    Any,
    typer.Option(parser=_numbers, help="Of RsCIN; if none 1,2,3, for visa 1,8,9; 1 is without."),
]
SubsetsOption = Annotated[int, typer.Option(min=1, help="Parts to score a category in.")]
ReferencesOption = Annotated[
    Path | None, typer.Option(help="Good images for a plain folder, not scored themselves.")
]
ShotsOption = Annotated[
    int, typer.Option(min=0, help="Good training images that join the scoring.")
]
PlusOption = Annotated[bool, typer.Option("--plus", help="Only these score (MuSc+).")]
SeedOption = Annotated[int, typer.Option(min=0, help="Which training images these are.")]
MasksOption = Annotated[
    MaskChoice | None,
    typer.Option(help="What of a resized mask is anomalous; if none musc, for folder gt0.5."),
]
AblationOption = Annotated[
    AblationChoice | None, typer.Option(help="A row for each setting, as the paper's tables.")
]
ExamplesOption = Annotated[
    int,
    typer.Option(min=0, help="Images a category in OUT/examples.html; 0, or an ablation, none."),
]
StreamOption = Annotated[
    bool, typer.Option("--stream", help="One image after the other, as a line sees them.")
]
WindowsOption = Annotated[
    Any, typer.Option(parser=_numbers, help="With --stream: frames in a window, like 16,32,64.")
]
SeedsOption = Annotated[int, typer.Option(min=1, help="With --stream: random orders.")]
PublishedOption = Annotated[
    bool, typer.Option("--published", help="Lay the paper's figures beside ours.")
]


def evaluate(
    dataset: DatasetOption,
    root: RootOption,
    out: OutOption,
    *,
    category: CategoryOption = None,
    backbone: BackboneOption = "dinov2-vits14",
    image_size: ImageSizeOption = None,
    weights_file: WeightsOption = None,
    offline: OfflineOption = False,
    stages: StagesOption = None,
    degrees: DegreesOption = None,
    keep_lowest: KeepOption = 0.3,
    neighbours: NeighboursOption = None,
    subsets: SubsetsOption = 1,
    references: ReferencesOption = None,
    shots: ShotsOption = 0,
    plus: PlusOption = False,
    seed: SeedOption = 0,
    masks: MasksOption = None,
    ablation: AblationOption = None,
    published: PublishedOption = False,
    examples: ExamplesOption = 6,
    stream: StreamOption = False,
    windows: WindowsOption = None,
    seeds: SeedsOption = 5,
    json_line: JsonOption = False,
) -> None:
    """Print the papers' tables for a labelled data set: MVTec AD, VisA, BTAD or a plain folder.

    Image measures take the scores after RsCIN. AUPRO is exact, AUPRO-200 the authors'
    curve over 200 thresholds, which the paper's PRO column shows. A killed run goes on
    where it was; other settings need another --out. OUT/examples.html shows photo, mask and
    anomaly map of the highest-scored and the lowest-scored anomalous images, and of the
    highest-scored good ones.
    """
    from pipeline.backbones import BackboneChoice
    from pipeline.evaluate import Evaluation, run_evaluate

    settings = _Settings(dataset, references, shots, plus, ablation)
    settings.check()
    row = settings.row(degrees or (1, 3, 5), keep_lowest, neighbours, subsets)
    choice = BackboneChoice(backbone, image_size, weights_file, offline, stages or ())
    if stream:
        if ablation or published or references or shots or subsets > 1:
            msg = "--stream goes without ablation, published figures, references and subsets"
            raise typer.BadParameter(msg)
        log_to_stderr("ERROR", "evaluate")
        chosen = tuple(category or ())
        _stream(settings, root, out, choice, row, chosen, windows, seeds, as_json=json_line)
        return
    log_to_stderr("WARNING", "evaluate")
    outcome = run_evaluate(
        Console(),
        Evaluation(
            kind=settings.kind,
            root=root,
            out=out,
            choice=choice,
            base=row,
            masks=settings.masks(masks),
            categories=tuple(category or ()),
            ablation=settings.ablation_name,
            references=references,
            seed=seed,
            published=published,
            examples=examples,
        ),
    )
    _print(outcome, as_json=json_line, is_ablation=ablation is not None)


class _Settings(NamedTuple):
    """What depends on the data set and the ablation."""

    dataset: DatasetChoice
    references: Path | None
    shots: int
    plus: bool
    ablation: AblationChoice | None

    @property
    def kind(self) -> DatasetKind:
        return self.dataset.value

    @property
    def ablation_name(self) -> AblationName | None:
        return None if self.ablation is None else self.ablation.value

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            BadParameter: The message names them.
        """
        is_folder = self.dataset is DatasetChoice.FOLDER
        draws = self.shots or self.ablation is AblationChoice.REFERENCES
        if self.references is not None and not is_folder:
            msg = "--references is for --dataset folder; the others have training images: --shots"
            raise typer.BadParameter(msg)
        if is_folder and bool(draws) != (self.references is not None):
            msg = "--references and --shots (or --ablation references) go together for a folder"
            raise typer.BadParameter(msg)
        if self.plus and not self.shots:
            msg = "--plus needs --shots: only they score"
            raise typer.BadParameter(msg)

    def masks(self, given: MaskChoice | None) -> MaskMode:
        """Return how masks are read."""
        default = MaskChoice.GT_HALF if self.dataset is DatasetChoice.FOLDER else MaskChoice.MUSC
        return (given or default).value

    def row(
        self,
        degrees: tuple[int, ...],
        keep_lowest: float,
        neighbours: tuple[int, ...] | None,
        subsets: int,
    ) -> Row:
        """Return the settings of the method.

        Raises:
            BadParameter: A number outside its limits.
        """
        from musc.peer_intervals import Interval
        from pipeline.ablations import Row

        if min(degrees) < 1 or any(degree % 2 == 0 for degree in degrees):
            msg = f"--degrees {degrees}, wanted odd positive numbers"
            raise typer.BadParameter(msg)
        if neighbours is not None and min(neighbours) < 1:
            msg = f"--neighbours {neighbours}, wanted numbers of at least 1"
            raise typer.BadParameter(msg)
        usual = (1, 8, 9) if self.dataset is DatasetChoice.VISA else (1, 2, 3)
        return Row(
            degrees=degrees,
            interval=Interval(highest=keep_lowest),
            neighbours=neighbours or usual,
            subsets=subsets,
            shots=self.shots,
            plus=self.plus,
        )


def _stream(
    settings: _Settings,
    root: Path,
    out: Path,
    choice: BackboneChoice,
    row: Row,
    categories: tuple[str, ...],
    windows: tuple[int, ...] | None,
    seeds: int,
    *,
    as_json: bool,
) -> None:
    """Run the stream protocol, print its table and write it to OUT/stream.md and stream.json."""
    from pipeline.evaluate_folder import write_text
    from pipeline.evaluate_stream import WINDOWS, StreamProtocol, run_stream, stream_table, summary

    method = {
        "musc.degrees": list(row.degrees),
        "musc.keep_lowest": row.interval.highest,
    }
    protocol = StreamProtocol(
        settings.kind, root, choice, method, categories, windows or WINDOWS, seeds
    )
    rows = run_stream(Console(stderr=True), protocol)
    table = stream_table(f"{settings.kind}, {choice.name}, as a stream: image AUROC", rows)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "stream.md", table.markdown())
    write_text(out / "stream.json", json.dumps(summary(rows), indent=1) + "\n")
    typer.echo(table.title)
    print_rows(table.columns, table.rows)
    if as_json:
        typer.echo(json.dumps(summary(rows)))


def _print(outcome: Outcome, *, as_json: bool, is_ablation: bool) -> None:
    """Print the tables with their footnotes, and the figures as one line of JSON."""
    for table in outcome.tables:
        typer.echo(f"\n{table.title}")
        print_rows(table.columns, table.rows)
        typer.echo("".join(f"{line}\n" for line in table.footnotes()), nl=False)
    if as_json:
        typer.echo(json.dumps(outcome.summary(is_ablation=is_ablation)))
