"""What `autos prune` does: find model, data and method by name, score, save the mask."""

import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml
from torch import nn

from autos.cli.data import Data, open_data
from autos.cli.display import progress
from autos.cli.files import check_writable, read_recipe
from autos.cli.inspection import MASK_SUFFIX, Facts, mask_facts
from autos.cli.noise import NAME, SMALL, image_form, noise
from autos.compute import Hardware
from autos.errors import UserError, brief, explained, unknown
from autos.methods import METHODS
from autos.methods.base import Method
from autos.network.batches import Loss, cross_entropy
from autos.network.pretrained import weights_digest
from autos.network.zoo import build
from autos.predictors import PREDICTORS
from autos.predictors.base import SHIPPED
from autos.pruning import find
from autos.storage.files import NOT_YAML
from autos.storage.mlflow_models import located
from autos.storage.tensors import write_tensors
from autos.training.recipe import TrainConfig
from autos.user_code import load

BATCH_SIZE, NOISE_SAMPLES = 64, 8
"""Numbers of samples in a batch, and of samples of noise, if the user does not say."""


@dataclass(frozen=True)
class PruneCommand:
    """One call of `autos prune`, with the options that its `--help` describes."""

    model: str
    data: str
    density: float
    out: Path
    predictor: str | None
    method: str
    settings: list[str]
    recipe: Path | None
    weights: str | None
    loss: str | None
    seed: int
    mode: Literal["train", "eval"]
    per_class: int
    batch_size: int | None
    image_size: int
    shape: str | None
    include: list[str]
    exclude: list[str]

    def run(self) -> Facts:
        """Write the mask; return what `autos inspect` tells of it, and the seconds of scoring.

        Raises:
            UserError: An option has no meaning, or the model cannot be scored on the data.
        """
        if not 0 < self.density <= 1:
            raise UserError(
                f"--density {self.density:g}: must be above 0 and at most 1; 0.05 is 5 %"
            )
        check_writable("--out", self.out, MASK_SUFFIX)
        method, named = self._method()
        settings = parse_settings(self.settings, method)
        recipe = read_recipe(self.recipe) if self.recipe else None
        loss: Loss = cross_entropy if self.loss is None else load(self.loss)
        model, data = self._model_and_data(recipe)
        start = time.perf_counter()
        model.to(Hardware().device).train(self.mode == "train")
        what = f"{self.model} cannot be scored on {self.data}"
        with explained(what), progress(data.batches) as batches:
            found = find(
                model,
                method,
                batches,
                density=self.density,
                seed=self.seed,
                loss=loss,
                settings=settings,
                recipe=recipe,
                include=self.include or None,
                exclude=self.exclude,
            )
        seconds = round(time.perf_counter() - start, 3)
        about = {
            "model": self.model,
            **_weights(self.weights),
            "data": data.about,
            **named,
            **({"settings": settings} if settings else {}),
            **({"recipe": recipe.model_dump(mode="json")} if recipe else {}),
            "loss": self.loss or "cross-entropy",
            "mode": self.mode,
            "density": self.density,
            "coverage": round(found.coverage or 0, 4),
            **({"include": self.include} if self.include else {}),
            **({"exclude": self.exclude} if self.exclude else {}),
            "seed": self.seed,
            "autos": version("autos"),
        }
        found.mask.save(self.out, about)
        facts = {"file": str(self.out), "seconds": seconds, **mask_facts(found.mask, about)}
        if found.start:
            weights = self.out.with_name(f"{self.out.stem}-weights{MASK_SUFFIX}")
            write_tensors(weights, found.start, kind="weights", version=1, about=about)
            facts |= {"weights_file": str(weights), "step": found.step, "trained": found.trained}
        return facts

    def _method(self) -> tuple[Method[Any], Facts]:
        """Return the method, and how the mask's description names it."""
        name = self.method
        if name in PREDICTORS:
            folder, shown = _predictor_folder(self.predictor)
            predictor = PREDICTORS[name]
            about = {"name": shown, "sha256": predictor.digest(folder)}
            return predictor.load(folder).criterion, {"method": name, "predictor": about}
        if self.predictor is not None:
            raise UserError(f"--predictor goes with --method {' or '.join(PREDICTORS)} only")
        if name not in METHODS:
            raise UserError(unknown("method", name, [*METHODS, *PREDICTORS]))
        method = METHODS[name]
        if method.data == "training" and self.recipe is None:
            raise UserError(f"--method {name} trains: give --recipe FILE")
        return method, {"method": name}

    def _model_and_data(self, recipe: TrainConfig | None) -> tuple[nn.Module, Data]:
        """Make noise for the model, or an architecture of the project for the data."""
        shape = parse_shape(self.shape)
        if self.data != NAME:
            if shape:
                raise UserError(f"--shape is of --data {NAME} only")
            data = open_data(
                self.data,
                per_class=self.per_class,
                batch_size=self.batch_size or (recipe.batch_size if recipe else BATCH_SIZE),
                image_size=self.image_size,
                seed=self.seed,
            )
            return build(self.model, seed=self.seed, form=data.form, weights=self.weights), data
        if shape is None and ":" not in self.model:
            shape = SMALL
        model = build(
            self.model,
            seed=self.seed,
            form=lambda: image_form(shape or SMALL),
            weights=self.weights,
        )
        samples = self.batch_size or NOISE_SAMPLES
        labelled = self.loss is None
        return model, noise(model, shape=shape, samples=samples, seed=self.seed, labelled=labelled)


def _weights(source: str | None) -> Facts:
    if source is None:
        return {}
    digest = weights_digest(source)
    return {"weights": {"name": source, **({"sha256": digest} if digest != source else {})}}


def parse_settings(pairs: list[str], method: Method[Any]) -> dict[str, Any]:
    """Read hyperparameters from "NAME=VALUE" each, with values as in YAML.

    Raises:
        UserError: A pair has another form, or the method has no such setting or does not take
            its value.
    """
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UserError(f"--set {pair}: must be NAME=VALUE")
        try:
            settings[name] = yaml.safe_load(value)
        except NOT_YAML as error:
            raise UserError(f"--set {pair}: not valid YAML: {brief(error)}") from None
    method.settings.validated(settings, "--set")
    return settings


def parse_shape(shape: str | None) -> tuple[int, ...] | None:
    """Read a shape from sizes with commas between them; None stays None.

    Raises:
        UserError: The text is not a shape.
    """
    sizes = shape.split(",") if shape else []
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise UserError(f"--shape {shape}: must be sizes with commas, such as 3,224,224")
    return tuple(map(int, sizes)) or None


def _predictor_folder(name: str | None) -> tuple[Path, str]:
    if name is None:
        return SHIPPED, "shipped"
    return located(name), name
