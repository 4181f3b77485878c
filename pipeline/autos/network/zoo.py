"""From the name of a model to the model, for the command line and for the pipeline alike.

A name with a colon leads to a library, "torchvision:NAME", "timm:NAME" or "hf:DIRECTORY" (a local
transformers model), or to anybody's code, "package.module:factory". A name without one is an entry
of `ARCHITECTURES` in the package `models` of the current folder, where this project keeps its own.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autos.errors import SettingError, UserError, did_you_mean, explained, extra, unknown
from autos.images.image_set import ImageForm
from autos.network.batches import logits, run
from autos.network.initialize import initialize
from autos.network.pretrained import load_pretrained
from autos.network.working_copy import random_state
from autos.storage.files import file_digest
from autos.user_code import load
from autos.work.fingerprint import code, version

PROJECT = "models:ARCHITECTURES"
OTHERS = "torchvision:NAME, timm:NAME, hf:DIRECTORY, package.module:factory"

Build = Callable[..., nn.Module]


def architectures() -> Mapping[str, Build]:
    """Return the table of the project in the current folder; it is empty where there is none."""
    try:
        table = load(PROJECT)
    except UserError:
        return {}
    return table if isinstance(table, Mapping) else {}


def known_architecture(name: str) -> str:
    """Return the name of a model as it is, if it can be one.

    Names with a colon are looked up only when the model is built.

    Raises:
        ValueError: The name has no colon, and no architecture of the project is called so.
    """
    known = architectures()
    if ":" not in name and name not in known:
        none = f"unknown architecture {name!r}; `{PROJECT}` is not in this folder"
        told = unknown("architecture", name, known) if known else none
        raise ValueError(f"{told}; or {OTHERS}")
    return name


def build(
    name: str,
    *,
    seed: int,
    form: Callable[[], ImageForm],
    fitted: bool = False,
    width: float = 1.0,
    weights: str | None = None,
) -> nn.Module:
    """Build a model on the CPU, in eval mode. Of models nothing is downloaded.

    Architectures of the project start from Kaiming-normal weights (`initialize`), all others from
    the initial weights that they have by themselves.

    Args:
        name: Name of the model.
        seed: Seed of the initial weights.
        form: Gives the form of the images; it is asked only if it matters.
        fitted: Whether all models are made for the images. Otherwise only architectures of the
            project are, and the others come as they are.
        width: Multiplies the number of channels, for architectures that allow it.
        weights: Safetensors file, or "torchvision:NAME", of weights in the place of random ones.

    Raises:
        SettingError: There is no such model, or it does not take these images or this width.
        UserError: A library that it needs is not installed, the user's code fails, or the weights
            do not fit.
    """
    source, colon, rest = name.partition(":")
    with random_state(seed):
        if not colon:
            model = _architecture(name, form, width, seed)
        elif source in LIBRARIES:
            if width != 1:
                raise SettingError(f"{name}: width {width:g} is not supported by {source}")
            model = LIBRARIES[source](rest, form() if fitted else None)
        else:
            model = _made_by(name, form() if fitted else None, width)
        if fitted and colon:
            _check_fits(name, model, form())
    if weights is not None:
        load_pretrained(model, weights, new_head=fitted)
    return model.eval()


def model_digest(name: str) -> str:
    """Return what identifies the code behind a name: a hash of it, or a library's version.

    Raises:
        SettingError: There is no source of the user's module.
    """
    source, colon, rest = name.partition(":")
    identity: Any
    if not colon:
        entry, arguments = architectures()[name], dict[str, Any]()
        while isinstance(entry, partial):
            arguments = {**entry.keywords, **arguments}
            entry = entry.func
        identity = [code(frozenset({entry.__module__})), arguments]
    elif source == "hf":
        files = sorted(Path(rest).glob("*.json")) + sorted(Path(rest).glob("*.safetensors"))
        identity = [version("transformers"), *map(file_digest, files)]
    elif source in LIBRARIES:
        identity = version(source)
    else:
        load(name)  # It may be the first to put the current folder on the path.
        try:
            identity = code(frozenset({source}))
        except ModuleNotFoundError:
            raise SettingError(f"{name}: {source} has no source file") from None
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _architecture(name: str, form: Callable[[], ImageForm], width: float, seed: int) -> nn.Module:
    try:
        known_architecture(name)
    except ValueError as error:
        raise SettingError(str(error)) from None
    images = form()
    try:
        model = architectures()[name](
            num_classes=images.classes,
            in_channels=images.channels,
            image_size=images.size,
            width=width,
        )
    except ValueError as error:
        raise SettingError(f"{name}: {error}") from None
    return initialize(model, seed)


def _torchvision(name: str, form: ImageForm | None) -> nn.Module:
    with extra("pipeline"):
        import torchvision.models  # It takes seconds to import.

    known = torchvision.models.list_models()
    if name not in known:
        raise SettingError(_unknown_model("torchvision", name, known))
    builder = torchvision.models.get_model_builder(name)
    accepted = inspect.signature(builder).parameters
    # Detection and segmentation models download a backbone unless told not to.
    none = {part: None for part in ("weights", "weights_backbone") if part in accepted}
    if form is None:
        return builder(**none)
    if form.channels != 3:
        raise SettingError(f"torchvision:{name}: takes 3 channels, the images have {form.channels}")
    with explained(f"torchvision:{name}"):
        return builder(**none, num_classes=form.classes)


def _timm(name: str, form: ImageForm | None) -> nn.Module:
    with extra("timm"):
        import timm  # It takes seconds to import.

    if not timm.is_model(name):
        raise SettingError(_unknown_model("timm", name, timm.list_models()))
    options: dict[str, Any] = {}
    if form is not None:
        options = {"num_classes": form.classes, "in_chans": form.channels}
        told = timm.get_pretrained_cfg(name)
        if told is not None and told.fixed_input_size:
            options["img_size"] = form.size
    with explained(f"timm:{name}"):
        return timm.create_model(name, pretrained=False, **options)


def _transformers(folder: str, form: ImageForm | None) -> nn.Module:
    with extra("transformers"):
        import transformers  # It takes seconds to import.

    if not (Path(folder) / "config.json").is_file():
        raise SettingError(f"hf:{folder}: no config.json there; name the folder of a local model")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    local = {"local_files_only": True, "trust_remote_code": False}
    with explained(f"hf:{folder}"):
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        wanted = (config.architectures or ["AutoModel"])[0]
        kind = getattr(transformers, wanted, transformers.AutoModel)
        return kind.from_pretrained(folder, config=config, use_safetensors=True, **local)


LIBRARIES: dict[str, Callable[[str, ImageForm | None], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _transformers,
}


def _made_by(name: str, form: ImageForm | None, width: float) -> nn.Module:
    """Call the user's factory, with what it names among our own architectures' arguments."""
    factory = load(name)
    options: dict[str, Any] = {}
    if form is not None:
        options = {
            "num_classes": form.classes,
            "in_channels": form.channels,
            "image_size": form.size,
            "width": width,
        }
        with explained(name):
            accepted = inspect.signature(factory).parameters
        if width != 1 and "width" not in accepted:
            raise SettingError(f"{name}: width {width:g}, but the factory takes no `width`")
        options = {option: value for option, value in options.items() if option in accepted}
    with explained(name):
        model = factory(**options)
    if not isinstance(model, nn.Module):
        raise UserError(f"{name}: returns {type(model).__name__}, not a torch.nn.Module")
    return model


@torch.no_grad()
def _check_fits(name: str, model: nn.Module, form: ImageForm) -> None:
    """Run two black images through the model.

    Raises:
        SettingError: The model does not take them, or does not give one logit per class.
    """
    training = model.training
    images = torch.zeros(2, form.channels, form.size, form.size)
    size = f"images of {form.channels} x {form.size} x {form.size}"
    try:
        scores = logits(run(model.eval(), (images,)))
    except UserError as error:
        raise SettingError(f"{name}: does not take {size}: {error}") from None
    finally:
        model.train(training)
    if scores.shape != (2, form.classes):
        raise SettingError(
            f"{name}: gives {list(scores.shape)} for two {size}; expected [2, {form.classes}], a "
            "logit per class"
        )


def _unknown_model(library: str, name: str, known: list[str]) -> str:
    hint = did_you_mean(name, known).strip()
    return f"unknown {library} model {name!r}" + (f"; {hint}" if hint else "")
