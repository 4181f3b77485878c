"""The command `autos`: prune a model, list what can be named, inspect files.

What the commands run is imported inside the functions: it imports torch, which takes seconds, and
`--help` does without.
"""

import contextlib
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autos.cli.analyse import app as analyse
from autos.errors import USER_ERROR, user_message

if TYPE_CHECKING:  # It imports torch, which takes seconds, and `--help` does without.
    from autos.cli.inspection import Facts

INTERRUPTED = 130
"""Status that typer returns after Ctrl-C."""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100},
    help="Prune neural networks, by a learned criterion (AutoS) or by any method of the field.",
)
app.add_typer(analyse, name="analyse")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def _print_version(asked: bool) -> None:
    if asked:
        import autos

        print(autos.__version__)
        raise typer.Exit


@app.callback()
def autos_(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
def prune(
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Model to prune: torchvision:NAME, timm:NAME, hf:DIRECTORY (a local transformers "
            "model, with its weights), package.module:factory, or an architecture of `autos list`.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Data that the method sees: a folder with a subfolder of images per class, an "
            "image set that the pipeline prepared (path or name), package.module:batches, or "
            "`random`, which is noise for a first look.",
        ),
    ],
    density: Annotated[
        float, typer.Option(metavar="FRACTION", help="Share of the weights to keep, such as 0.05.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="File of the mask, with the ending .safetensors.")
    ],
    predictor: Annotated[
        str | None,
        typer.Option(
            metavar="PREDICTOR",
            help="Folder of trained predictors, or models:/NAME@ALIAS in MLflow.  [default: the "
            "folder that comes with the package]",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Name of a method of `autos list`, or of a trained predictor: autos or "
            "autos_paper.",
        ),
    ] = "autos",
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Hyperparameter of the method, with its value; `autos list --json` shows all of "
            "them with their defaults. The option can be repeated.",
        ),
    ] = [],  # noqa: B006
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Training recipe, for a method that trains: a YAML file with epochs, batch_size, "
            "optimizer, lr and schedule, and other settings of a recipe.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Weights of the model: a safetensors file, or torchvision:NAME.  [default: random "
            "weights]",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="LOSS",
            help="Loss, package.module:function, from the model's output and a batch, or from "
            "logits and target as torch.nn.functional:mse_loss, to a scalar.  "
            "[default: cross-entropy]",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**32 - 1,
            metavar="N",
            help="Seed of the random weights, of the choice of data, and of all else that is "
            "drawn.",
        ),
    ] = 0,
    mode: Annotated[
        Literal["train", "eval"],
        typer.Option(
            help="Mode of BatchNorm and dropout while scoring: train for random weights, eval for "
            "trained ones. Some methods set BatchNorm themselves."
        ),
    ] = "train",
    per_class: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of images drawn per class, from a folder or an image set.",
        ),
    ] = 10,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of samples per batch.  [default: that of the recipe, or 64; for noise 8 "
            "in all]",
        ),
    ] = None,
    image_size: Annotated[
        int,
        typer.Option(min=1, metavar="PIXELS", help="Side to which images of a folder are resized."),
    ] = 224,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Shape of one sample of noise, such as 3,224,224.  [default: found from the "
            "model]",
        ),
    ] = None,
    include: Annotated[
        list[str],
        typer.Option(
            metavar="PATTERN",
            help="Weights to prune, by the name of a weight or of what holds it, such as "
            "'layer?.*'. The option can be repeated.  [default: all that are not frozen]",
        ),
    ] = [],  # noqa: B006
    exclude: Annotated[
        list[str],
        typer.Option(
            metavar="PATTERN",
            help="Weights to leave out, in the same form, such as the first layer or the "
            "classifier. The option can be repeated.",
        ),
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Find the weights of a model that are worth keeping, and write them as a mask.

    For example:

    \b
      autos prune --model torchvision:resnet50 --data photos/ --density 0.05 --out mask.safetensors
      autos prune --model lenet_5 --data random --shape 1,28,28 --method snip --density 0.1 \\
          --out mask.safetensors
    """
    from autos.cli.prune import PruneCommand

    command = PruneCommand(
        model=model,
        data=data,
        density=density,
        out=out,
        predictor=predictor,
        method=method,
        settings=settings,
        recipe=recipe,
        weights=weights,
        loss=loss,
        seed=seed,
        mode=mode,
        per_class=per_class,
        batch_size=batch_size,
        image_size=image_size,
        shape=shape,
        include=include,
        exclude=exclude,
    )
    with contextlib.redirect_stdout(sys.stderr):  # A user's code may print.
        facts = command.run()
    tell(facts, as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List methods, checks, analyses, architectures and image sets."""
    from autos.cli.catalogue import catalogue

    if as_json:
        print(json.dumps(catalogue()), flush=True)
        return
    from autos.cli.display import show_catalogue

    show_catalogue(catalogue())


@app.command()
def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Path of a mask, of trained predictors (their folder or a file in it), or of a "
            "store of surviving scores.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Tell what a file is, what its layers keep, and how it was made."""
    from autos.cli.inspection import inspect

    tell(inspect(file), as_json)


def tell(facts: "Facts", as_json: bool) -> None:
    """Print facts, for people or as JSON."""
    if as_json:
        print(json.dumps(facts), flush=True)
        return
    from autos.cli.display import show

    show(facts)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; a user's mistake ends in one line on stderr and exit code 2."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            status = app(given or ["--help"], prog_name="autos", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "autos"
        problem: str | None = f"{error.format_message().rstrip('.')}; see `{command} --help`"
    except Exception as error:
        problem = user_message(error)
        if problem is None:
            raise
    else:
        if status == INTERRUPTED:
            print("error: interrupted; nothing is written", file=sys.stderr)
            sys.exit(INTERRUPTED)
        problem = None
    if problem is not None:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(USER_ERROR)


def _warn(message: Warning | str, *_: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
