"""The command `autos`: prune a model, list what can be named, inspect files."""

import contextlib
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.analyse import app as analyse
from pipeline.exits import USER_ERROR, one_line

if TYPE_CHECKING:  # it imports torch, which takes seconds, and `--help` does without
    from pipeline.cli.inspection import Facts

INTERRUPTED = 130
"""What typer returns after Ctrl-C."""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100},
    help="Prune neural networks at initialisation, by a learned criterion (AutoS) or a hand-made "
    "one.",
)
app.add_typer(analyse, name="analyse")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def prune(
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="torchvision:NAME, timm:NAME, hf:DIRECTORY (a local transformers model, with its "
            "weights), package.module:factory, or an architecture of `autos list`.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="A folder with a subfolder of images per class, a store that the pipeline "
            "prepared (path or name), package.module:batches, or `random`: noise, for a first "
            "look.",
        ),
    ],
    density: Annotated[
        float, typer.Option(metavar="FRACTION", help="Share of the weights to keep, such as 0.05.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the mask goes, a .safetensors file.")
    ],
    predictor: Annotated[
        str | None,
        typer.Option(
            metavar="PREDICTOR",
            help="Trained predictors: folder, or models:/NAME@ALIAS in MLflow.  [default: the "
            "one that comes with the package]",
        ),
    ] = None,
    criterion: Annotated[
        str,
        typer.Option(metavar="NAME", help="A method of `autos list`, or autos_paper."),
    ] = "autos",
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A hyperparameter of the method; `autos list --json` has them with their "
            "defaults. Repeatable.",
        ),
    ] = [],  # noqa: B006
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="How a method that trains does so: YAML with epochs, optimizer, lr, and the other "
            "settings of a recipe in params.yaml.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="The model's weights: a safetensors file, or torchvision:NAME.  [default: random "
            "ones]",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="LOSS",
            help="package.module:function, from the model's output and a batch to a scalar.  "
            "[default: cross-entropy]",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**32 - 1,
            metavar="N",
            help="Of random weights, the choice of data, and all else that is drawn.",
        ),
    ] = 0,
    mode: Annotated[
        Literal["train", "eval"],
        typer.Option(
            help="Of BatchNorm and dropout while scoring: train for random weights, eval for "
            "trained ones. Some criteria set BatchNorm themselves."
        ),
    ] = "train",
    per_class: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Images per class, of a folder or a prepared store."),
    ] = 10,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Samples per batch.  [default: 64; of noise 8 in all]",
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
    as_json: Json = False,
) -> None:
    """Find the weights of a model that are worth keeping, and write them as a mask.

    For example:

    \b
      autos prune --model torchvision:resnet50 --data photos/ --density 0.05 --out mask.safetensors
      autos prune --model lenet_5 --data random --shape 1,28,28 --criterion snip --density 0.1 \\
          --out mask.safetensors
    """
    from pipeline.cli.prune_command import PruneCommand

    command = PruneCommand(
        model=model,
        data=data,
        density=density,
        out=out,
        predictor=predictor,
        criterion=criterion,
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
    )
    with contextlib.redirect_stdout(sys.stderr):  # a user's code may print
        facts = command.run()
    tell(facts, as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List methods, architectures, image sets and prepared stores."""
    from pipeline.cli.catalogue import catalogue

    if as_json:
        print(json.dumps(catalogue()), flush=True)
        return
    from pipeline.cli.display import show_catalogue

    show_catalogue(catalogue())


@app.command()
def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A mask, a predictor (its folder or a file in it), or a surviving-score store.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Tell what a file is: its layers, and how it was made."""
    from pipeline.cli.inspection import inspect

    tell(inspect(file), as_json)


def tell(facts: "Facts", as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts), flush=True)
        return
    from pipeline.cli.display import show

    show(facts)


def main(arguments: list[str] | None = None) -> None:
    """Run the command. A user's mistake ends in one line on stderr and exit code 2."""
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
        problem = one_line(error)
        if problem is None:
            raise
    else:
        problem = "interrupted; nothing is written" if status == INTERRUPTED else None
    if problem is not None:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(USER_ERROR)


def _warn(message: Warning | str, *_: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
