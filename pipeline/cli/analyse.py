"""The commands `autos analyse ...`: each prints a table and, if asked, draws a plot."""

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # it imports torch, which takes seconds, and `--help` does without
    from pipeline.cli.analyses import Analysis, Training

app = typer.Typer(
    rich_markup_mode=None,
    help="Look into masks, trainings and surviving scores: a table, and a plot if asked.",
)

Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE.png", help="Where to draw a plot.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
MaskFile = Annotated[Path, typer.Argument(metavar="MASK", help="A mask, as `autos prune` writes.")]

Model = Annotated[
    str,
    typer.Option(metavar="MODEL", help="As for `autos prune`."),
]
Images = Annotated[
    str,
    typer.Option(
        "--data", metavar="STORE", help="An image set that `prepare` made: its path, or its name."
    ),
]
Recipe = Annotated[
    Path,
    typer.Option(
        metavar="FILE", help="The training recipe in YAML, with the fields of params.yaml."
    ),
]
TrainedMask = Annotated[
    Path | None,
    typer.Option("--mask", metavar="FILE", help="Train under this mask.  [default: dense]"),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="WEIGHTS",
        help="The initial weights: a safetensors file, or torchvision:NAME.  [default: random]",
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 3, metavar="N", help="Of the random weights.")
]


@app.command()
def connectivity(
    model: Model,
    data: Images,
    recipe: Recipe,
    mask: TrainedMask = None,
    weights: Weights = None,
    seed: Seed = 0,
    points: Annotated[
        int, typer.Option(min=2, metavar="N", help="Networks on the line, both ends included.")
    ] = 30,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Train one initialisation twice, and walk the straight line between the two networks.

    The trainings differ in the order of the images and in augmentation. Loss and error are those
    on the test images; the statistics of BatchNorm are computed anew at every point.
    """

    def analyse() -> "Analysis":
        from pipeline.cli import analyses

        training = _training(model, data, recipe, mask, weights, seed)
        return analyses.analyse_connectivity(training, points=points)

    _report(analyse, plot, as_json)


@app.command()
def gradients(
    model: Model,
    data: Images,
    recipe: Recipe,
    mask: TrainedMask = None,
    weights: Weights = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, metavar="N", help="Of the random weights and of the training."
        ),
    ] = 0,
    every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEPS",
            help="Steps from one gradient to the next.  [default: about 50 gradients in all]",
        ),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare the directions of the gradients during a training: their Gram matrix."""

    def analyse() -> "Analysis":
        from pipeline.cli import analyses

        training = _training(model, data, recipe, mask, weights, seed)
        return analyses.analyse_gradients(training, every=every)

    _report(analyse, plot, as_json)


@app.command()
def overlap(first: MaskFile, second: MaskFile, plot: Plot = None, as_json: Json = False) -> None:
    """On how many positions two masks agree, beside what chance gives, and Jaccard's index."""

    def analyse() -> "Analysis":
        from pipeline.cli import analyses

        return analyses.analyse_overlap(first, second)

    _report(analyse, plot, as_json)


@app.command()
def concordance(
    stores: Annotated[
        list[Path],
        typer.Argument(metavar="STORE...", help="Surviving-score stores, as `irp` writes them."),
    ],
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Concordance correlation of surviving scores, for every pair of networks."""

    def analyse() -> "Analysis":
        from pipeline.cli import analyses

        return analyses.analyse_concordance(stores)

    _report(analyse, plot, as_json)


@app.command()
def layer_densities(
    masks: Annotated[
        list[Path],
        typer.Argument(metavar="MASK...", help="Masks of one network, of the same density."),
    ],
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Density of each layer, beside ERK and uniform allocation of as many weights."""

    def analyse() -> "Analysis":
        from pipeline.cli import analyses

        return analyses.analyse_layer_densities(masks)

    _report(analyse, plot, as_json)


@app.command()
def effective_paths(
    mask: MaskFile,
    model: Model,
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="As for `autos prune`; only the form of a sample counts.",
        ),
    ] = "random",
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Shape of one sample, such as 3,224,224.  [default: found from the model]",
        ),
    ] = None,
    image_size: Annotated[
        int,
        typer.Option(min=1, metavar="PIXELS", help="Side to which images of a folder are resized."),
    ] = 224,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Count weights, units and paths that connect input and output under a mask."""

    def analyse() -> "Analysis":
        from pipeline.cli import analyses

        return analyses.analyse_effective_paths(
            mask, model=model, data=data, shape=shape, image_size=image_size
        )

    _report(analyse, plot, as_json)


def _training(
    model: str, data: str, recipe: Path, mask: Path | None, weights: str | None, seed: int
) -> "Training":
    from pipeline.cli.analyses import Training
    from pipeline.cli.recipe_file import read_recipe

    return Training(model, data, read_recipe(recipe), mask, weights, seed)


def _report(analyse: Callable[[], "Analysis"], plot: Path | None, as_json: bool) -> None:
    from pipeline.cli.outputs import check_writable
    from pipeline.files import replacing

    if plot is not None:
        check_writable("--plot", plot, ".png")
    with contextlib.redirect_stdout(sys.stderr):  # a user's code may print
        found = analyse()
    if plot is not None:
        with replacing(plot) as temporary:
            found.plot().savefig(temporary, format="png", dpi=150)
    if as_json:
        print(json.dumps(found.facts), flush=True)
        return
    from pipeline.cli.display import show_analysis

    show_analysis(found.facts)
