"""The commands `autos analyse ...`: each prints a table and, if asked, draws a plot.

What they run is imported inside the functions: it imports torch, which takes seconds, and `--help`
does without.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # It imports torch, which takes seconds, and `--help` does without.
    from autos.cli.analyses import Analysis, Training

app = typer.Typer(
    rich_markup_mode=None,
    help="Look into masks, trainings and surviving scores, by a table and a plot if asked.",
)

Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE.png", help="File to draw a plot into.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
MaskFile = Annotated[
    Path, typer.Argument(metavar="MASK", help="File of a mask, as `autos prune` writes it.")
]

Model = Annotated[
    str,
    typer.Option(metavar="MODEL", help="Name of the model, as `autos prune` takes it."),
]
Images = Annotated[
    str,
    typer.Option(
        "--data", metavar="IMAGES", help="Path or name of an image set that the pipeline prepared."
    ),
]
Recipe = Annotated[
    Path,
    typer.Option(
        metavar="FILE", help="YAML file of the training recipe, as `autos prune` takes it."
    ),
]
TrainedMask = Annotated[
    Path | None,
    typer.Option("--mask", metavar="FILE", help="Mask to train under.  [default: dense]"),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="WEIGHTS",
        help="Initial weights: a safetensors file, or torchvision:NAME.  [default: random]",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        max=2**32 - 3,
        metavar="N",
        help="Seed of the random weights; the two trainings take the two seeds after it.",
    ),
]


@app.command()
def mode_connectivity(
    model: Model,
    data: Images,
    recipe: Recipe,
    mask: TrainedMask = None,
    weights: Weights = None,
    seed: Seed = 0,
    points: Annotated[
        int,
        typer.Option(
            min=2, metavar="N", help="Number of networks on the line, both ends included."
        ),
    ] = 30,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Train one initialisation twice, and walk the line between the two networks.

    The trainings differ in the order of the images and in augmentation. Loss and error are those
    on the test images; the statistics of BatchNorm are computed anew at every point.
    """

    def analyse() -> "Analysis":
        from autos.cli import analyses

        training = _training(model, data, recipe, mask, weights, seed)
        return analyses.analyse_mode_connectivity(training, points=points)

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
            min=0,
            max=2**32 - 1,
            metavar="N",
            help="Seed of the random weights and of the training.",
        ),
    ] = 0,
    every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEPS",
            help="Number of steps from one gradient to the next.  [default: about 50 gradients "
            "in all]",
        ),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare the directions of the gradients during a training.

    The result is their Gram matrix, the cosines between them.
    """

    def analyse() -> "Analysis":
        from autos.cli import analyses

        training = _training(model, data, recipe, mask, weights, seed)
        return analyses.analyse_gradients(training, every=every)

    _report(analyse, plot, as_json)


@app.command()
def overlap(first: MaskFile, second: MaskFile, plot: Plot = None, as_json: Json = False) -> None:
    """Compare two masks position by position, beside what chance gives.

    Agreement is the share of positions that both masks keep or both prune. Jaccard's index is the
    share that both keep of the weights that either keeps.
    """

    def analyse() -> "Analysis":
        from autos.cli import analyses

        return analyses.analyse_overlap(first, second)

    _report(analyse, plot, as_json)


@app.command()
def concordance(
    stores: Annotated[
        list[Path],
        typer.Argument(
            metavar="STORE...", help="Stores of surviving scores, as stage `irp` writes them."
        ),
    ],
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compute the concordance of surviving scores for every pair of networks."""

    def analyse() -> "Analysis":
        from autos.cli import analyses

        return analyses.analyse_concordance(stores)

    _report(analyse, plot, as_json)


@app.command()
def layer_densities(
    masks: Annotated[
        list[Path],
        typer.Argument(metavar="MASK...", help="Masks of one network that have the same density."),
    ],
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare the layer densities of masks with ERK and uniform allocation."""

    def analyse() -> "Analysis":
        from autos.cli import analyses

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
            help="Data as `autos prune` takes it; only the form of a sample counts.",
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
        from autos.cli import analyses

        return analyses.analyse_effective_paths(
            mask, model=model, data=data, shape=shape, image_size=image_size
        )

    _report(analyse, plot, as_json)


def _training(
    model: str, data: str, recipe: Path, mask: Path | None, weights: str | None, seed: int
) -> "Training":
    from autos.cli.analyses import Training
    from autos.cli.files import read_recipe

    return Training(model, data, read_recipe(recipe), mask, weights, seed)


def _report(analyse: Callable[[], "Analysis"], plot: Path | None, as_json: bool) -> None:
    from autos.cli.files import check_writable
    from autos.storage.files import replacing

    if plot is not None:
        check_writable("--plot", plot, ".png")
    with contextlib.redirect_stdout(sys.stderr):  # A user's code may print.
        found = analyse()
    if plot is not None:
        with replacing(plot) as temporary:
            found.plot().savefig(temporary, format="png", dpi=150)
    if as_json:
        print(json.dumps(found.facts), flush=True)
        return
    from autos.cli.display import show_analysis

    show_analysis(found.facts)
